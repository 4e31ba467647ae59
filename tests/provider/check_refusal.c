/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/provider/rig.h"
#include "core/attr.h"
#include "pcg/provider.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *name, *found, *expected;
} bad_plugins[] = {
	{ "othermajor", "built for ABI 7.1", "this gateway has 0.1" },
	{ "otherminor", "built for ABI 0.2", "this gateway has 0.1" },
	{ "short", "its table says 24 bytes", "expected at least" },
	{ "olderstruct", "has no import_objects", "expected one" },
	{ "needscap", "requires the capabilities 0x10000000000", "this gateway knows 0x7" },
	{ "missingop", "has no machine_ensure", "expected one" },
	{ "missingcap", "has no machine_power_off", "by its capabilities" },
	{ "parallel", "wants 0 ops at once", "expected 1 to 64" },
	{ "wrongname", "provider in it is \"another\"", "expected \"wrongname\"" },
	{ "badsettings", "settings table", "expected an array" },
	{ "refuseshost", "refuses a host with ABI 0.1", "" },
	{ "nosymbol", "without the symbol", "pcg_provider_v0" },
	{ "newsymbol", "exports pcg_provider_v1", "expects pcg_provider_v0" },
	{ "undefined", "symbol_that_nobody_has", "" },
	{ "startrefuse", "the account looks wrong: ***", "" },
};

START_TEST(refuses_a_plugin_and_says_found_expected_and_remedy)
{
	struct rig r;
	struct got g;
	const char *name = bad_plugins[_i].name;

	rig_open(&r, 0);
	rig_plugin(&r, name);
	rig_account(&r, "a1", name, "swordfish");
	rig_do(&r, &g, "a1", "done");
	ck_assert_uint_eq(g.status, PCG_STEP_ERROR);
	ck_assert_int_eq(g.err.class, PCG_CLASS_PERMANENT);
	ck_assert_msg(strstr(g.err.text, bad_plugins[_i].found), "%s: %s", name, g.err.text);
	ck_assert_msg(strstr(g.err.text, bad_plugins[_i].expected), "%s: %s", name, g.err.text);
	ck_assert_msg(g.err.remedy[0], "%s: %s", name, g.err.text);
	got_free(&g);
	/* Told again without another worker, and shown in the list. */
	rig_wait_workers(&r, 0);
	rig_do(&r, &g, "a1", "done");
	ck_assert_ptr_nonnull(strstr(g.err.text, bad_plugins[_i].found));
	ck_assert_uint_eq(provider_workers(r.pool), 0);
	AUTO_JSON json_t *list = provider_list(r.pool);

	ck_assert_str_eq(json_str_or(list, "items.0.state", ""), "refused");
	ck_assert_ptr_nonnull(strstr(json_str_or(list, "items.0.reason", ""), bad_plugins[_i].found));
	got_free(&g);
	rig_close(&r);
}
END_TEST

static void file_group_writable(struct rig *r, const char *path)
{
	chmod(path, 0775);
}

static void file_world_writable(struct rig *r, const char *path)
{
	chmod(path, 0757);
}

static void folder_writable(struct rig *r, const char *path)
{
	chmod(r->dir, 0777);
}

static void other_owner(struct rig *r, const char *path)
{
	ck_assert_int_eq(chown(path, 12345, 0), 0);
}

static void a_folder(struct rig *r, const char *path)
{
	unlink(path);
	mkdir(path, 0755);
}

static void a_fifo(struct rig *r, const char *path)
{
	unlink(path);
	mkfifo(path, 0600);
}

static void gone(struct rig *r, const char *path)
{
	unlink(path);
}

static const struct {
	void (*spoil)(struct rig *r, const char *path);
	const char *text;
	bool as_root;
} bad_files[] = {
	{ file_group_writable, "mode 0775, expected not writable", false },
	{ file_world_writable, "mode 0757, expected not writable", false },
	{ folder_writable, "has mode 0777, expected not writable", false },
	{ other_owner, "belongs to user 12345, expected root", true },
	{ a_folder, "is not a regular file", false },
	{ a_fifo, "is not a regular file", false },
	{ gone, "opening", false },
};

START_TEST(loads_no_file_that_others_could_have_changed)
{
	struct rig r;
	struct got g;

	if (bad_files[_i].as_root && geteuid() != 0) {
		printf("skipped: needs root to give a file away\n");
		return;
	}
	rig_open(&r, 0);
	rig_plugin(&r, "good");
	rig_account(&r, "a1", "good", "swordfish");
	provider_known(r.pool, "good", &g.err);
	AUTO_FREE char *path = rig_plugin_path(&r, "good");

	bad_files[_i].spoil(&r, path);
	rig_do(&r, &g, "a1", "done");
	ck_assert_uint_eq(g.status, PCG_STEP_ERROR);
	ck_assert_msg(strstr(g.err.text, bad_files[_i].text), "%s", g.err.text);
	ck_assert_msg(strstr(g.err.text, r.dir), "%s", g.err.text);
	got_free(&g);
	/* Mended: a rescan is enough. */
	chmod(r.dir, 0700);
	rmdir(path);
	rig_plugin(&r, "good");
	json_decref(provider_rescan(r.pool));
	rig_do(&r, &g, "a1", "done");
	ck_assert_msg(g.status == PCG_STEP_DONE, "%s", g.err.text);
	got_free(&g);
	rig_close(&r);
}
END_TEST

START_TEST(names_the_folder_and_its_plugins_when_one_is_missing)
{
	struct rig r;
	struct got g;
	struct pcg_error err;

	rig_open(&r, 0);
	rig_plugin(&r, "good");
	rig_plugin(&r, "short");
	ck_assert_int_eq(provider_known(r.pool, "good", &err), 0);
	ck_assert_int_eq(provider_known(r.pool, "maas", &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, r.dir));
	ck_assert_ptr_nonnull(strstr(err.text, "libpcg-good.so, libpcg-short.so"));
	ck_assert_ptr_nonnull(strstr(err.remedy, "libpcg-maas.so"));
	ck_assert_int_lt(provider_known(r.pool, "../good", &err), 0);
	rig_account(&r, "a1", "maas", "x");
	rig_do(&r, &g, "a1", "done");
	ck_assert_int_eq(g.err.class, PCG_CLASS_PERMANENT);
	got_free(&g);
	rig_do(&r, &g, "nobody", "done");
	ck_assert_int_eq(g.err.class, PCG_CLASS_NOT_FOUND);
	got_free(&g);
	/* A file that is dropped in is found without a rescan. */
	rig_account(&r, "a2", "parallel", "x");
	rig_plugin(&r, "parallel");
	rig_do(&r, &g, "a2", "done");
	ck_assert_ptr_nonnull(strstr(g.err.text, "wants 0 ops"));
	got_free(&g);
	rig_close(&r);
}
END_TEST

START_TEST(refuses_wrong_tls_of_an_account)
{
	struct rig r;
	struct got g;
	AUTO_JSON json_t *doc = json_pack("{s:s, s:s, s:{s:s}}", "uid", "a1", "provider", "good", "spec",
					  "thumbprint", "not-hex");

	rig_open(&r, 0);
	rig_plugin(&r, "good");
	provider_account_set(r.pool, doc);
	rig_do(&r, &g, "a1", "done");
	ck_assert_int_eq(g.err.class, PCG_CLASS_PERMANENT);
	ck_assert_msg(strstr(g.err.text, "account a1"), "%s", g.err.text);
	got_free(&g);
	rig_account(&r, "a1", "good", "x");
	rig_do(&r, &g, "a1", "done");
	ck_assert_msg(g.status == PCG_STEP_DONE, "%s", g.err.text);
	got_free(&g);
	rig_close(&r);
}
END_TEST

TCase *refusal_cases(void)
{
	TCase *c = tcase_create("refusal");

	tcase_set_timeout(c, 60);
	tcase_add_loop_test(c, refuses_a_plugin_and_says_found_expected_and_remedy, 0, ARRAY_LEN(bad_plugins));
	tcase_add_loop_test(c, loads_no_file_that_others_could_have_changed, 0, ARRAY_LEN(bad_files));
	tcase_add_test(c, names_the_folder_and_its_plugins_when_one_is_missing);
	tcase_add_test(c, refuses_wrong_tls_of_an_account);
	return c;
}
