/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/policy/rig.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALLOW "function admission(c) return {allow = true} end\n"
#define DENY "function admission(c) return {allow = false, reason = 'no'} end\n"

static int check(struct rig *r, struct buf *out)
{
	buf_init(out, 65536);
	return policy_check_dir(rig_exe, r->dir, out);
}

static const struct bad {
	const char *path, *text, *says[3];
} bads[] = {
	{ "t1/10-x.lua", "function admission(c)\n\treturn {allow = true\nend\n",
	  { "t1/10-x.lua", ":3:", "expected" } },
	{ "_all/10-x.lua", "\n\nerror('at the top')\n" ALLOW, { "_all/10-x.lua", ":3:", "at the top" } },
	{ "t1/10-x.lua", "while true do end\n" ALLOW, { "t1/10-x.lua", "stopped after 1000 ms" } },
	{ "t1/10-x.lua", "local s = 'x' while true do s = s .. s end\n" ALLOW,
	  { "t1/10-x.lua", "more memory than is allowed" } },
	{ "t1/10-x.lua", "function admision(c) return {allow = true} end\n", { "t1/10-x.lua", "no hook" } },
	{ "t1/10-x.lua", "admission = {}\n", { "t1/10-x.lua", "a table, not a function" } },
	{ "t1/10-x.lua", "\x1bLuaT", { "t1/10-x.lua", "attempt to load a binary chunk" } },
	{ "t1/10-x.lua", "\x1bLua\xff", { "t1/10-x.lua", "not a text in UTF-8 (compiled Lua" } },
	{ "t1/10-x.lua", "-- \xff\n" ALLOW, { "t1/10-x.lua", "not a text in UTF-8" } },
	{ "10-x.lua", ALLOW, { "10-x.lua", "put it into a folder of the tenant's uid or name" } },
	{ "t1/more/10-x.lua", ALLOW, { "t1/more", "no folder but tests" } },
	{ "t1/\x01.lua", ALLOW, { "name with bytes" } },
	{ "t1/\xff.lua", ALLOW, { "name with bytes" } },
	{ "\xff/10-x.lua", ALLOW, { "name with bytes" } },
};

START_TEST(a_bad_folder_is_refused_whole_and_the_old_set_stays)
{
	const struct bad *b = &bads[_i];
	struct rig r;
	struct got g;
	struct buf out;

	rig_begin(&r);
	rig_write(&r, "t2/10-old.lua", DENY);
	rig_open(&r);
	/* New and good, and new and bad: neither is taken up. */
	rig_write(&r, "t2/10-old.lua", ALLOW);
	rig_write(&r, b->path, b->text);
	buf_init(&out, 65536);
	ck_assert_int_lt(rig_reload(&r, &out), 0);
	for (unsigned i = 0; i < 3 && b->says[i]; i++)
		ck_assert_msg(strstr(out.data, b->says[i]), "%s", out.data);
	buf_free(&out);
	ck_assert_int_lt(check(&r, &out), 0);
	for (unsigned i = 0; i < 3 && b->says[i]; i++)
		ck_assert_msg(strstr(out.data, b->says[i]), "%s", out.data);
	buf_free(&out);
	rig_do(&r, &g, "t2", "admission", "{}");
	ck_assert_str_eq(json_str(g.result, "reason"), "no");
	got_free(&g);
	rig_end(&r);
}
END_TEST

START_TEST(a_daemon_does_not_start_with_a_bad_folder)
{
	struct policy_spec spec = { .exe = rig_exe };
	struct pcg_error err;
	struct rig r;

	rig_begin(&r);
	rig_write(&r, "t1/10-x.lua", "x = ");
	spec.dir = r.dir;
	ck_assert_int_lt(policy_new(&r.loop, &spec, &r.policy, &err), 0);
	ck_assert_msg(strstr(err.text, "t1/10-x.lua") && strstr(err.remedy, "pcgctl policy check"), "%s", err.text);
	rig_end(&r);
}
END_TEST

enum trouble { LINK, DANGLING, LINKED_FOLDER, FIFO, FOLDER, OPEN_FILE, OPEN_FOLDER, BIG, TROUBLES };

static const char *const troubles[TROUBLES] = {
	[LINK] = "symbolic link", [DANGLING] = "symbolic link", [LINKED_FOLDER] = "symbolic link",
	[FIFO] = "a regular file", [FOLDER] = "a regular file", [OPEN_FILE] = "writable by everybody",
	[OPEN_FOLDER] = "writable by everybody", [BIG] = "at most 1048576 bytes",
};

static void make_trouble(struct rig *r, enum trouble t)
{
	char path[512], dir[512], *big;

	snprintf(path, sizeof(path), "%s/t1/20-y.lua", r->dir);
	snprintf(dir, sizeof(dir), "%s/t3", r->dir);
	switch (t) {
	case LINK:
		ck_assert_int_eq(symlink("10-x.lua", path), 0);
		break;
	case DANGLING:
		ck_assert_int_eq(symlink("nowhere", path), 0);
		break;
	case LINKED_FOLDER:
		ck_assert_int_eq(symlink("t1", dir), 0);
		break;
	case FIFO:
		ck_assert_int_eq(mkfifo(path, 0644), 0);
		break;
	case FOLDER:
		ck_assert_int_eq(mkdir(path, 0755), 0);
		break;
	case OPEN_FILE:
		rig_write(r, "t1/20-y.lua", ALLOW);
		ck_assert_int_eq(chmod(path, 0646), 0);
		break;
	case OPEN_FOLDER:
		rig_write(r, "t3/10-x.lua", ALLOW);
		ck_assert_int_eq(chmod(dir, 0777), 0);
		break;
	default:
		big = malloc((1u << 20) + 2);
		memset(big, '-', (1u << 20) + 1);
		big[(1u << 20) + 1] = 0;
		rig_write(r, "t1/20-y.lua", big);
		free(big);
	}
}

START_TEST(what_is_no_plain_file_is_named)
{
	struct rig r;
	struct buf out;

	rig_begin(&r);
	rig_write(&r, "t1/10-x.lua", ALLOW);
	make_trouble(&r, (enum trouble)_i);
	ck_assert_int_lt(check(&r, &out), 0);
	ck_assert_msg(strstr(out.data, troubles[_i]), "%s", out.data);
	buf_free(&out);
	rig_end(&r);
}
END_TEST

/* In place of libc's: spoils a file when a folder is about to be listed for the n-th time. */
static const char *spoilt;
static int spoil_in;

int scandir(const char *dir, struct dirent ***list, int (*filter)(const struct dirent *),
	    int (*compare)(const struct dirent **, const struct dirent **))
{
	int (*real)(const char *, struct dirent ***, int (*)(const struct dirent *),
		    int (*)(const struct dirent **, const struct dirent **)) = dlsym(RTLD_NEXT, "scandir");

	if (spoilt && --spoil_in == 0)
		ck_assert_int_eq(chmod(spoilt, 0646), 0);
	return real(dir, list, filter, compare);
}

START_TEST(a_script_that_spoils_while_the_folder_is_read_is_not_left_out)
{
	char path[512];
	struct rig r;
	struct got g;
	struct buf out;

	rig_begin(&r);
	rig_write(&r, "t1/20-deny.lua", DENY);
	rig_write(&r, "t1/10-allow.lua", ALLOW);
	rig_open(&r);
	rig_write(&r, "t1/10-allow.lua", "-- changed\n" ALLOW);
	snprintf(path, sizeof(path), "%s/t1/20-deny.lua", r.dir);
	spoilt = path;
	spoil_in = 4; /* the folder, _all and t1 are listed in one reading */
	buf_init(&out, 65536);
	ck_assert_int_lt(rig_reload(&r, &out), 0);
	spoilt = NULL;
	buf_free(&out);
	rig_do(&r, &g, "t1", "admission", "{}");
	ck_assert_str_eq(json_str_or(g.result, "reason", ""), "no");
	got_free(&g);
	rig_end(&r);
}
END_TEST

START_TEST(an_absent_or_empty_folder_allows_everything)
{
	struct rig r;
	struct got g;

	rig_begin(&r);
	if (_i)
		ck_assert_int_eq(rmdir(r.dir), 0);
	rig_open(&r);
	rig_do(&r, &g, "t1", "admission", "{}");
	ck_assert(!g.failed && !g.result);
	ck_assert_int_eq(rig_child(), 0);
	rig_end(&r);
}
END_TEST

START_TEST(a_reload_reaches_a_worker_that_runs)
{
	struct rig r;
	struct got g;
	struct buf out;

	rig_one(&r, ALLOW);
	buf_init(&out, 65536);
	rig_do(&r, &g, "t1", "admission", "{}");
	ck_assert(json_is_true(json_object_get(g.result, "allow")));
	got_free(&g);
	rig_write(&r, "t1/10-x.lua", DENY);
	ck_assert_int_eq(rig_reload(&r, &out), 0);
	rig_do(&r, &g, "t1", "admission", "{}");
	ck_assert(json_is_false(json_object_get(g.result, "allow")));
	got_free(&g);
	rig_write(&r, "_all/05-new.lua", "function proxy(c) return {httpProxy = 'http://new:1'} end");
	ck_assert_int_eq(rig_reload(&r, &out), 0);
	rig_do(&r, &g, "t9", "proxy", "{}");
	ck_assert_str_eq(json_str(g.result, "httpProxy"), "http://new:1");
	got_free(&g);
	buf_free(&out);
	rig_end(&r);
}
END_TEST

START_TEST(a_reload_that_tries_a_slow_script_holds_no_question_up)
{
	struct rig r;
	struct reloaded got;
	struct got g;

	rig_begin(&r);
	rig_write(&r, "t1/10-x.lua", ALLOW);
	rig_open(&r);
	rig_write(&r, "t2/10-x.lua", "while true do end\n" ALLOW);
	rig_reload_begin(&r, &got);
	ck_assert(!got.done);
	rig_do(&r, &g, "t1", "admission", "{}");
	ck_assert(json_is_true(json_object_get(g.result, "allow")));
	rig_wait(&r, &got.done);
	ck_assert_uint_lt(g.order, got.order);
	ck_assert_msg(got.problems && strstr(got.problems, "stopped after"), "%s", got.problems);
	free(got.problems);
	got_free(&g);
	rig_end(&r);
}
END_TEST

START_TEST(who_closes_during_a_reload_does_not_wait_for_its_scripts)
{
	struct rig r;
	struct reloaded got;
	uint64_t begun;

	rig_begin(&r);
	rig_open(&r);
	for (int i = 0; i < 9; i++) {
		char path[32];

		snprintf(path, sizeof(path), "t%d/10-x.lua", i);
		rig_write(&r, path, "while true do end\n" ALLOW);
	}
	rig_reload_begin(&r, &got);
	begun = uv_hrtime();
	rig_end(&r);
	ck_assert_uint_lt((uv_hrtime() - begun) / 1000000, 2500); /* three deadlines and their starts */
	ck_assert(got.done);
	ck_assert_msg(strstr(got.problems, "stopping"), "%s", got.problems);
	free(got.problems);
	ck_assert_int_eq(rig_child(), 0);
}
END_TEST

struct answer {
	uv_loop_t *loop;
	bool done;
	json_t *result;
	char error[1024];
};

static void on_answer(void *arg, const json_t *result, const struct pcg_error *err)
{
	struct answer *a = arg;

	a->done = true;
	uv_stop(a->loop);
	a->result = json_incref((json_t *)(uintptr_t)result);
	snprintf(a->error, sizeof(a->error), "%s", err ? err->text : "");
}

START_TEST(a_folder_is_named_by_the_tenants_uid_or_name_but_not_both)
{
	static const struct {
		const char *uid, *name, *reason;
	} asks[] = {
		{ "u1", "blue", "by uid" }, { "u2", "green", "by name" }, { "u3", "red", NULL },
		{ "u1", NULL, "by uid" }, { "u5", "_all", NULL }, { "_all", NULL, NULL }, { NULL, NULL, NULL },
	};
	struct answer a;
	struct rig r;
	AUTO_JSON json_t *in = json_object();

	rig_begin(&r);
	rig_write(&r, "u1/10-x.lua", "function admission(c) return {allow = false, reason = 'by uid'} end");
	rig_write(&r, "green/10-x.lua", "function admission(c) return {allow = false, reason = 'by name'} end");
	rig_open(&r);
	for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
		const char *want = asks[i].reason, *got;

		a = (struct answer){ .loop = &r.loop };
		policy_eval(r.policy, asks[i].uid, asks[i].name, "admission", in, on_answer, &a);
		rig_wait(&r, &a.done);
		got = json_str(a.result, "reason");
		ck_assert_msg(want ? got && !strcmp(want, got) : !a.result && !*a.error, "%zu: %s %s", i,
			      got ? got : "", a.error);
		json_decref(a.result);
	}
	a = (struct answer){ .loop = &r.loop };
	policy_eval(r.policy, "u1", "green", "admission", in, on_answer, &a);
	rig_wait(&r, &a.done);
	ck_assert_msg(strstr(a.error, "two policy folders") && strstr(a.error, "u1 and green"), "%s", a.error);
	rig_end(&r);
}
END_TEST

START_TEST(what_is_no_script_is_not_read)
{
	struct rig r;
	struct buf out;

	rig_begin(&r);
	rig_write(&r, "t1/10-x.lua", ALLOW);
	rig_write(&r, "t1/README", "no script");
	rig_write(&r, "t1/10-x.lua~", "not read");
	rig_write(&r, "t1/.10-x.lua.swp", "not read");
	rig_write(&r, ".git/x.lua", "not read");
	ck_assert_int_eq(check(&r, &out), 0);
	ck_assert_str_eq(out.data, "t1/10-x.lua: admission\n");
	buf_free(&out);
	rig_end(&r);
}
END_TEST

START_TEST(tests_beside_the_scripts_are_run)
{
	struct rig r;
	struct buf out;

	rig_begin(&r);
	rig_write(&r, "t1/10-x.lua", DENY);
	rig_write(&r, "t1/tests/a.json",
		  "[{\"name\":\"one\",\"hook\":\"admission\",\"input\":{},\"expect\":{\"allow\":false}},"
		  "{\"name\":\"two\",\"hook\":\"admission\",\"input\":{},\"expect\":{\"allow\":true}},"
		  "{\"name\":\"three\",\"hook\":\"admission\",\"input\":{},\"expectError\":\"x\"},"
		  "{\"name\":\"four\",\"hook\":\"proxy\",\"input\":{},\"expect\":null}]");
	buf_init(&out, 65536);
	ck_assert_int_lt(policy_test_dir(rig_exe, r.dir, &out), 0);
	ck_assert_msg(strstr(out.data, "ok   t1/tests/a.json: one\nFAIL t1/tests/a.json: two: got {"), "%s", out.data);
	ck_assert_msg(strstr(out.data, "FAIL t1/tests/a.json: three"), "%s", out.data);
	ck_assert_msg(strstr(out.data, "ok   t1/tests/a.json: four\n2 passed, 2 failed\n"), "%s", out.data);
	buf_reset(&out);
	rig_write(&r, "t1/tests/b.json", "{\"hook\":\"nothing\"}");
	ck_assert_int_lt(policy_test_dir(rig_exe, r.dir, &out), 0);
	ck_assert_msg(strstr(out.data, "t1/tests/b.json: a test is"), "%s", out.data);
	buf_free(&out);
	rig_end(&r);
}
END_TEST

TCase *folder_cases(void)
{
	TCase *c = tcase_create("folder");

	tcase_set_timeout(c, 20);
	tcase_add_loop_test(c, a_bad_folder_is_refused_whole_and_the_old_set_stays, 0, ARRAY_LEN(bads));
	tcase_add_test(c, a_daemon_does_not_start_with_a_bad_folder);
	tcase_add_loop_test(c, what_is_no_plain_file_is_named, 0, TROUBLES);
	tcase_add_test(c, a_script_that_spoils_while_the_folder_is_read_is_not_left_out);
	tcase_add_loop_test(c, an_absent_or_empty_folder_allows_everything, 0, 2);
	tcase_add_test(c, a_reload_reaches_a_worker_that_runs);
	tcase_add_test(c, a_reload_that_tries_a_slow_script_holds_no_question_up);
	tcase_add_test(c, who_closes_during_a_reload_does_not_wait_for_its_scripts);
	tcase_add_test(c, a_folder_is_named_by_the_tenants_uid_or_name_but_not_both);
	tcase_add_test(c, what_is_no_script_is_not_read);
	tcase_add_test(c, tests_beside_the_scripts_are_run);
	return c;
}
