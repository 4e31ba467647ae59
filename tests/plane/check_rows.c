/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/rows.h"

#include "core/clock.h"
#include "core/log.h"
#include "plane/clusters.h"
#include "plane/gateways.h"

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

static char dir[64];
static struct plane p;
static uv_loop_t loop;
static struct pcg_error err;

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	return remove(path);
}

static void open_plane(void)
{
	bool first;

	memset(&p, 0, sizeof(p));
	p.opt.state_dir = dir;
	p.loop = &loop;
	ck_assert_msg(setup_open(&p, &first, &err) == 0, "%s", err.text);
	p.gateways = gateways_new(&p);
}

static void close_plane(void)
{
	gateways_free(p.gateways, NULL, NULL);
	setup_close(&p);
}

static void setup(void)
{
	log_init("check_rows", LOG_L_ERROR);
	strcpy(dir, "/tmp/check_rows.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	uv_loop_init(&loop);
	open_plane();
}

static void teardown(void)
{
	close_plane();
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Each hour looks whether it is still good. */
START_TEST(looking_at_the_server_certificate_keeps_one)
{
	AUTO_FREE char *first = NULL;
	size_t before = 0;

	for (int i = 0; i < 520; i++) {
		ck_assert_msg(setup_server_certificate(&p, &err) == 0, "%s", err.text);
		if (i == 0)
			first = strdup(p.server_pem);
		if (i == 20)
			before = mallinfo2().uordblks;
		ck_assert_str_eq(p.server_pem, first);
	}
	ck_assert_ptr_nonnull(p.server_key);
	ck_assert_msg(mallinfo2().uordblks < before + (64u << 10), "500 looks took %zu bytes", mallinfo2().uordblks - before);
}
END_TEST

static void put_cluster(const char *uid, int64_t deleted_at)
{
	AUTO_JSON json_t *cluster = json_pack("{s:s,s:s,s:s,s:s}", "uid", uid, "name", uid, "cfg", "cfg",
					      "overlord", "gw");

	if (deleted_at)
		json_object_set_new(cluster, "deletedAt", json_integer(deleted_at));
	ck_assert_int_eq(clusters_put(&p, cluster, &err), 0);
}

START_TEST(a_deleted_cluster_is_there_for_72_hours_and_then_gone)
{
	static const struct {
		int64_t turn_ms;
		int found;
	} cases[] = { { 0, 1 }, { PLANE_DELETED_KEPT_MS - 60000, 1 }, { 120000, 0 } };

	put_cluster("c1", clock_wall_ms());
	put_cluster("c2", 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_JSON json_t *cluster = NULL;
		AUTO_JSON json_t *status = NULL;

		clock_turn_ms(cases[i].turn_ms);
		ck_assert_int_eq(clusters_get(&p, "c1", &cluster, &status, &err), cases[i].found);
	}
	ck_assert_int_eq(clusters_purge(&p, &err), 0);
	for (int i = 0; i < 2; i++) {
		AUTO_JSON json_t *row = NULL;

		ck_assert_int_eq(rows_get(&p, ROWS_CLUSTER, i ? "c2" : "c1", &row, &err), i);
	}
}
END_TEST

START_TEST(numbers_grow_also_when_the_clock_goes_back)
{
	int64_t last = 0, seq;

	for (int i = 0; i < 100; i++) {
		if (i % 10 == 0)
			clock_turn_ms(i % 20 ? -3600000 : 1800000);
		ck_assert_int_eq(rows_next_seq(&p, &seq, &err), 0);
		ck_assert_int_gt(seq, last);
		last = seq;
	}
}
END_TEST

START_TEST(a_secret_opens_only_in_its_own_place)
{
	struct secret *s = NULL;

	ck_assert_int_eq(rows_secret_put(&p, "a", "spec", "hush", 4, &err), 0);
	ck_assert_int_eq(db_exec(p.db, &err, "INSERT INTO secrets SELECT 'b', what, sealed FROM secrets", ""), 0);
	ck_assert_int_eq(rows_secret_get(&p, "a", "spec", &s, &err), 1);
	ck_assert_str_eq(secret_data(s), "hush");
	secret_unref(s);
	s = NULL;
	ck_assert_int_lt(rows_secret_get(&p, "b", "spec", &s, &err), 0);
	ck_assert_int_eq(rows_secret_get(&p, "c", "spec", &s, &err), 0);
}
END_TEST

START_TEST(a_plane_without_its_key_says_so_and_does_not_start)
{
	char path[128];
	bool first;

	close_plane();
	snprintf(path, sizeof(path), "%s/plane.key", dir);
	ck_assert_int_eq(unlink(path), 0);
	memset(&p, 0, sizeof(p));
	p.opt.state_dir = dir;
	p.loop = &loop;
	ck_assert_int_lt(setup_open(&p, &first, &err), 0);
	ck_assert(!first);
	ck_assert_ptr_nonnull(strstr(err.text, "plane.key"));
	ck_assert_int_ne(access(path, F_OK), 0);
	p.gateways = gateways_new(&p);
}
END_TEST

START_TEST(a_state_folder_that_others_may_write_to_is_refused)
{
	struct plane other = { .opt.state_dir = dir };
	bool first;

	ck_assert_int_eq(chmod(dir, 0777), 0);
	ck_assert_int_lt(setup_open(&other, &first, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "others may write"));
	ck_assert_int_eq(chmod(dir, 0700), 0);
}
END_TEST

START_TEST(events_of_a_cluster_are_kept_once_and_newest_first)
{
	AUTO_JSON json_t *events = NULL;
	char text[16];

	for (int i = 0; i < 5; i++) {
		AUTO_JSON json_t *event = NULL;

		snprintf(text, sizeof(text), "e%d", i % 3);
		event = json_pack("{s:s}", "reason", text);
		ck_assert_int_eq(rows_event_add(&p, "c", event, &err), 0);
	}
	ck_assert_int_eq(rows_event_list(&p, "c", 50, &events, &err), 0);
	ck_assert_uint_eq(json_array_size(events), 3);
	ck_assert_str_eq(json_str(events, "0.reason"), "e2");
}
END_TEST

START_TEST(a_cluster_that_its_gateway_has_deleted_is_not_shown_as_pending)
{
	AUTO_JSON json_t *cluster = json_pack("{s:s}", "uid", "c1");
	AUTO_JSON json_t *status = json_pack("{s:s}", "phase", "Deleted");

	ck_assert_str_eq(clusters_state(cluster, status), "Deleted");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rows");
	TCase *t = tcase_create("database");
	SRunner *r;
	int failed;

	tcase_add_test(t, looking_at_the_server_certificate_keeps_one);
	tcase_add_test(t, a_cluster_that_its_gateway_has_deleted_is_not_shown_as_pending);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_deleted_cluster_is_there_for_72_hours_and_then_gone);
	tcase_add_test(t, numbers_grow_also_when_the_clock_goes_back);
	tcase_add_test(t, a_secret_opens_only_in_its_own_place);
	tcase_add_test(t, a_plane_without_its_key_says_so_and_does_not_start);
	tcase_add_test(t, a_state_folder_that_others_may_write_to_is_refused);
	tcase_add_test(t, events_of_a_cluster_are_kept_once_and_newest_first);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
