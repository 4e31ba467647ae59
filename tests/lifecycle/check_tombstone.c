/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/lifecycle/lifecycle.h"

#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UID "00000000-0000-4000-8000-%012d"

static struct lifecycle *begin(void)
{
	struct lifecycle_spec spec = { .gateway_uid = "gw" };

	return lifecycle_new(&spec);
}

/* As a start of the gateway reads it from the store. */
static void load(struct lifecycle *l, int n, const char *name, const char *phase)
{
	char uid[64];
	struct store_cluster_row row = {
		.name = name,
		.phase = phase,
		.task = strcmp(phase, "Deleted") ? "" : "report_gone",
		.desired = strcmp(phase, "Deleted") ? "present" : "absent",
		.generation = 7,
		.epoch = 3,
		.state = json_pack("{s:I,s:I,s:b,s:b,s:[{s:s,s:s}]}", "phaseSince",
				   (json_int_t)1700000000000, "taskSince", (json_int_t)1700000000000,
				   "touched", 1, "forced", 0, "left", "id", "vm-1", "why", "it is locked"),
	};

	snprintf(uid, sizeof(uid), UID, n);
	row.uid = uid;
	row.spec = json_pack("{s:s,s:s,s:s,s:s,s:{s:s,s:s}}", "uid", uid, "name", name, "tenant", "t1",
			     "cloudType", "sim", "account", "uid", "a1", "name", "lab");
	lifecycle_load_cluster(l, &row);
	json_decref(row.state);
	json_decref(row.spec);
}

static int64_t number(json_t *doc, const char *path)
{
	int64_t n = json_int_or(doc, path, -1);

	json_decref(doc);
	return n;
}

START_TEST(shows_a_deleted_cluster_as_it_was)
{
	struct lifecycle *l = begin();
	json_t *view;

	load(l, 1, "prod", "Deleted");
	view = lifecycle_show(l, "prod");
	ck_assert_ptr_nonnull(view);
	ck_assert_str_eq(json_str_or(view, "uid", ""), "00000000-0000-4000-8000-000000000001");
	ck_assert_str_eq(json_str_or(view, "name", ""), "prod");
	ck_assert_str_eq(json_str_or(view, "phase", ""), "Deleted");
	ck_assert_str_eq(json_str_or(view, "desired", ""), "absent");
	ck_assert_str_eq(json_str_or(view, "provider", ""), "sim");
	ck_assert_str_eq(json_str_or(view, "account", ""), "a1");
	ck_assert_str_eq(json_str_or(view, "accountName", ""), "lab");
	ck_assert_str_eq(json_str_or(view, "left.0.why", ""), "it is locked");
	ck_assert_str_eq(json_str_or(view, "phaseSince", ""), "2023-11-14T22:13:20.000Z");
	ck_assert_int_eq(json_int_or(view, "generation", 0), 7);
	ck_assert_int_eq(json_int_or(view, "epoch", 0), 3);
	json_decref(view);
	ck_assert(lifecycle_knows(l, "00000000-0000-4000-8000-000000000001"));
	ck_assert(!lifecycle_knows(l, "other"));
	lifecycle_free(l);
}
END_TEST

START_TEST(a_living_cluster_comes_before_a_deleted_one_of_its_name)
{
	struct lifecycle *l = begin();
	json_t *view;

	load(l, 1, "prod", "Running");
	load(l, 2, "prod", "Deleted");
	view = lifecycle_show(l, "prod");
	ck_assert_str_eq(json_str_or(view, "phase", ""), "Running");
	json_decref(view);
	lifecycle_free(l);
}
END_TEST

START_TEST(counts_and_lists_deleted_clusters)
{
	struct lifecycle *l = begin();
	json_t *list;

	load(l, 1, "a", "Running");
	load(l, 2, "b", "Deleted");
	load(l, 3, "c", "Deleted");
	ck_assert_int_eq(number(lifecycle_counts(l), "clusters"), 1);
	ck_assert_int_eq(number(lifecycle_counts(l), "phases.Deleted"), 2);
	ck_assert_int_eq(number(lifecycle_counts(l), "inFlight"), 0);
	list = lifecycle_list(l, false);
	ck_assert_uint_eq(json_array_size(json_object_get(list, "items")), 1);
	json_decref(list);
	list = lifecycle_list(l, true);
	ck_assert_uint_eq(json_array_size(json_object_get(list, "items")), 3);
	json_decref(list);
	lifecycle_free(l);
}
END_TEST

#ifndef PCG_SANITIZED
START_TEST(a_deleted_cluster_takes_less_than_a_kibibyte)
{
	enum { N = 1000 };
	struct lifecycle *l = begin();
	size_t before = mallinfo2().uordblks, after;

	for (int i = 0; i < N; i++)
		load(l, i, "prod", "Deleted");
	after = mallinfo2().uordblks;
	ck_assert_uint_lt((after - before) / N, 1024);
	lifecycle_free(l);
}
END_TEST
#endif

int main(void)
{
	Suite *s = suite_create("tombstone");
	TCase *t = tcase_create("tombstone");
	SRunner *r;
	int failed;

	tcase_add_test(t, shows_a_deleted_cluster_as_it_was);
	tcase_add_test(t, a_living_cluster_comes_before_a_deleted_one_of_its_name);
	tcase_add_test(t, counts_and_lists_deleted_clusters);
#ifndef PCG_SANITIZED
	tcase_add_test(t, a_deleted_cluster_takes_less_than_a_kibibyte);
#endif
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
