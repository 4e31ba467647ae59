/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks and what they make durable. */
#include "config.h"
#include "tests/lifecycle/rig.h"

static const char empty[] = "{\"items\":[]}",
		  one[] = "{\"items\":[{\"id\":\"vm-9\",\"name\":\"prod-w-y\",\"kind\":\"machine\",\"machine\":\"\"}]}";

START_TEST(a_forced_delete_ends_when_two_inventories_in_a_row_were_empty)
{
	struct cluster *c = load("Deleting", "inventory", "force-absent", true, 2);

	lifecycle_begin(l);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "inventory");
	answer(PCG_STEP_DONE, empty, NULL);
	ck_assert_int_eq(c->lc.phase, LC_DELETING);
	ck_assert_int_ge(c->lc.next_try_ms, clock_wall_ms() + 20000); /* controllers that still run get their time */
	lifecycle_nudge_all(l);
	/* One that came up in between goes, and it counts from the beginning. */
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, one, NULL);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "machine_delete");
	ck_assert_str_eq(call.subject, "vm-9");
	answer(PCG_STEP_DONE, "{}", NULL);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(c->lc.phase, LC_DELETING);
		lifecycle_nudge_all(l);
		UNTIL(call.cb);
		ck_assert_str_eq(call.op, "inventory");
		answer(PCG_STEP_DONE, empty, NULL);
	}
	ck_assert_int_eq(c->lc.phase, LC_DELETED);
}
END_TEST

START_TEST(other_deletes_look_once)
{
	struct cluster *c = load("Deleting", "inventory", "absent", false, 2);

	lifecycle_begin(l);
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, empty, NULL);
	ck_assert_int_eq(c->lc.phase, LC_DELETED);
}
END_TEST

START_TEST(a_strangers_copy_does_not_hold_up_a_delete_and_is_told)
{
	struct cluster *c = load("Deleting", "inventory", "absent", false, 2);

	lifecycle_begin(l);
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, "{\"items\":[{\"id\":\"vm-5\",\"name\":\"keepsake\",\"kind\":\"machine\",\"machine\":\""
	       MACHINE_UID "\",\"stranger\":\"a copy\"}]}", NULL);
	ck_assert_int_eq(c->lc.phase, LC_DELETED);
	ck_assert_uint_eq(call.count, 1);
	ck_assert_str_eq(json_str_or(c->state, "left.0.id", ""), "vm-5");
	ck_assert_str_eq(json_str_or(c->state, "left.0.why", ""), "a copy");
}
END_TEST

/* Nor does it stand for the machine that it is a copy of. */
START_TEST(a_machine_is_removed_although_a_copy_of_it_is_seen)
{
	load("Deleting", "machines_gone", "absent", false, 2);
	lifecycle_begin(l);
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, "{\"items\":[{\"id\":\"vm-5\",\"name\":\"keepsake\",\"kind\":\"machine\",\"machine\":\""
	       MACHINE_UID "\",\"stranger\":\"a copy\"}]}", NULL);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "machine_delete");
	ck_assert_str_eq(call.subject, MACHINE_UID);
}
END_TEST

/* Some time: what runs there may be somebody else's. */
START_TEST(machines_that_controllers_had_begun_are_waited_for_before_the_others_are_removed)
{
	struct cluster *c = load("Deleting", "machines_gone", _i == 2 ? "abandoned" : "absent", false, 2);

	c->lc.task_since_ms = clock_wall_ms() - (_i == 1 ? 1800001 : 0);
	lifecycle_begin(l);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "inventory");
	ck_assert_int_eq(json_bool_or(call.doc, "settled", false), !_i);
	answer(PCG_STEP_PENDING, NULL, NULL);
	lifecycle_nudge_all(l);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "inventory");
	answer(PCG_STEP_DONE, one, NULL);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "machine_delete");
}
END_TEST

static void report(struct cluster *c, void (*add)(struct cluster *c, struct store_batch *b))
{
	struct store_batch *b = store_batch_new(store);

	add(c, b);
	store_batch_commit(b, NULL, NULL);
}

static int64_t only_report(json_t *reports)
{
	ck_assert_uint_eq(json_array_size(reports), 1);
	return json_int_or(reports, "0.seq", 0);
}

START_TEST(a_report_that_was_not_sent_stands_for_those_that_follow)
{
	struct cluster *c = load("Running", "", "present", false, 4);
	AUTO_JSON json_t *first = NULL, *second = NULL;
	int64_t seq;

	report(c, report_cluster_recovery);
	seq = l->report_seq;
	c->lc.epoch = 9;
	json_put_str(c->state, "endpoint.host", "192.0.2.8");
	report(c, report_cluster_recovery);
	ck_assert_int_eq(l->report_seq, seq);
	first = lifecycle_reports(l, 10);
	ck_assert_int_eq(only_report(first), seq);
	ck_assert_int_eq(json_int_or(first, "0.doc.recovery.epoch", 0), 9);
	ck_assert_str_eq(json_str_or(first, "0.doc.recovery.endpoint.host", ""), "192.0.2.8");
	ck_assert_str_eq(json_str_or(first, "0.doc.recovery.machines.0.uid", ""), MACHINE_UID);
	ck_assert_ptr_nonnull(json_at(first, "0.doc.recovery.keys.ca.crt"));
	/* What changes while it is on its way is told once more. */
	report(c, report_cluster_recovery);
	second = lifecycle_reports(l, 10);
	ck_assert_int_gt(only_report(second), seq);
}
END_TEST

START_TEST(a_machine_that_is_asked_for_again_gets_the_same_user_data_until_the_request_changes)
{
	struct cluster *c = load("Bootstrapping", "machine", "present", false, 1);
	AUTO_JSON json_t *spec = spec_document("present");
	AUTO_FREE char *first = NULL;

	lifecycle_begin(l);
	UNTIL(call.cb);
	first = strdup(json_str_or(call.doc, "userData", ""));
	ck_assert_ptr_nonnull(strstr(first, "v1.36.3"));
	answer(PCG_STEP_PENDING, "{}", NULL);
	lifecycle_nudge_all(l);
	UNTIL(call.cb);
	ck_assert_str_eq(json_str_or(call.doc, "userData", ""), first);
	ck_assert_ptr_nonnull(c->user_data);
	json_put_str(spec, "kubernetesVersion", "v1.36.2");
	cluster_set_spec(c, spec);
	answer(PCG_STEP_PENDING, "{}", NULL);
	lifecycle_nudge_all(l);
	UNTIL(call.cb);
	ck_assert_ptr_nonnull(strstr(json_str_or(call.doc, "userData", ""), "v1.36.2"));
	answer(PCG_STEP_ERROR, NULL, NULL);
	ck_assert_ptr_null(c->user_data);
}
END_TEST

START_TEST(an_answer_without_a_checkpoint_leaves_the_last)
{
	struct cluster *c = load("Bootstrapping", "machine", "present", false, 1);
	struct machine *m = machine_find(c, MACHINE_UID);

	lifecycle_begin(l);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "machine_ensure");
	ck_assert(json_is_null(json_object_get(call.doc, "checkpoint"))); /* nothing was begun */
	answer(PCG_STEP_PENDING, NULL, "{\"begun\":true}");
	ck_assert(!m->dirty); /* it is with the store's writer */
	for (int i = 0; i < 2; i++) {
		lifecycle_nudge_all(l);
		UNTIL(call.cb);
		ck_assert(json_is_true(json_at(call.doc, "checkpoint.begun")));
		answer(PCG_STEP_PENDING, NULL, NULL);
	}
}
END_TEST

START_TEST(the_machines_of_a_deleted_cluster_leave_no_row)
{
	struct cluster *c = load("Deleting", "inventory", "absent", false, 2);
	struct machine *m = machine_find(c, MACHINE_UID);

	m->state = MACHINE_GONE;
	m->dirty = true;
	cluster_save(c, NULL, NULL);
	ck_assert_uint_eq(rows("machines"), 1);
	lifecycle_begin(l);
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, empty, NULL);
	UNTIL(!cluster_find(l, UID));
	ck_assert_uint_eq(rows("machines"), 0);
}
END_TEST

static bool is_deleted(void)
{
	AUTO_JSON json_t *view = lifecycle_show(l, UID);

	return !strcmp(json_str_or(view, "phase", ""), "Deleted");
}

START_TEST(an_abandoned_delete_ends_although_a_machine_never_goes)
{
	AUTO_JSON json_t *view = NULL;

	lifecycle_set_limits(l, 50, 1000);
	load("Deleting", "machines_gone", "abandoned", true, 1);
	lifecycle_begin(l);
	for (;;) {
		UNTIL(call.cb || is_deleted());
		if (!call.cb)
			break;
		ck_assert_str_eq(call.op, "machine_delete");
		answer(PCG_STEP_PENDING, NULL, NULL);
	}
	view = lifecycle_show(l, UID);
	ck_assert_str_eq(json_str_or(view, "left.0.id", ""), MACHINE_UID);
	ck_assert_str_eq(json_str_or(view, "left.0.name", ""), "prod-cp-x");
	ck_assert_ptr_nonnull(strstr(json_str_or(view, "left.0.why", ""), "does not come to an end"));
	ck_assert_str_eq(json_str_or(view, "left.1.id", ""), UID);
}
END_TEST

static const char *left_of(const struct cluster *c, size_t i, const char *member)
{
	return json_str_or(json_array_get(json_object_get(c->state, "left"), i), member, "");
}

static void fail_with(struct cluster *c, enum pcg_class class)
{
	struct pcg_error err;

	pcg_fail(&err, class, "", "no route to host");
	cluster_failed(c, &err);
}

START_TEST(what_a_forced_delete_did_not_ask_the_cluster_for_is_told)
{
	struct cluster *c = load("Running", "", "present", false, 2);

	take(4, spec_document("force-absent"));
	ck_assert_int_eq(c->lc.task, LC_TASK_FORCED_OFF);
	ck_assert_uint_eq(json_array_size(json_object_get(c->state, "left")), 1);
	ck_assert_str_eq(left_of(c, 0, "name"), "load balancers and volumes of cluster prod");
	ck_assert_ptr_nonnull(strstr(left_of(c, 0, "why"), "the delete was forced"));
}
END_TEST

START_TEST(what_a_forced_delete_did_not_ask_a_cluster_for_that_was_being_built_is_told)
{
	struct cluster *c = load("Installing", "install", "present", false, 1);

	take(4, spec_document("force-absent"));
	ck_assert_int_eq(c->lc.task, LC_TASK_MACHINES_GONE);
	ck_assert_uint_eq(json_array_size(json_object_get(c->state, "left")), 1);
	ck_assert_str_eq(left_of(c, 0, "name"), "load balancers and volumes of cluster prod");
}
END_TEST

static const char attached[] =
	"{\"loadBalancers\":[{\"namespace\":\"default\",\"name\":\"web\",\"uid\":\"s1\",\"addresses\":[\"192.0.2.9\"]}],"
	"\"volumes\":[{\"name\":\"pv1\",\"reclaimPolicy\":\"Delete\",\"handle\":\"disk-1\",\"claim\":null},"
	"{\"name\":\"pv2\",\"reclaimPolicy\":\"Retain\",\"handle\":\"disk-2\",\"claim\":null}]}";

static const struct {
	const char *phase, *task, *why;
} passed_by[] = {
	{ "PivotingBack", "take_back", "the cluster did not answer, so it was not asked" },
	{ "PivotingBack", "release", "the cluster did not answer any more" },
	{ "Deleting", "release_early", "the cluster did not answer any more" },
};

START_TEST(what_was_seen_of_a_cluster_that_does_not_answer_any_more_is_told_one_by_one)
{
	struct cluster *c = load(passed_by[_i].phase, passed_by[_i].task, "absent", false, 3);

	json_object_set_new(c->state, "attached", json_loads(attached, 0, NULL));
	lifecycle_set_limits(l, 0, 0);
	fail_with(c, PCG_CLASS_RETRY);
	ck_assert_uint_eq(json_array_size(json_object_get(c->state, "left")), 3);
	ck_assert_str_eq(left_of(c, 0, "id"), "192.0.2.9");
	ck_assert_str_eq(left_of(c, 1, "id"), "disk-1");
	for (size_t i = 0; i < 2; i++)
		ck_assert_msg(strstr(left_of(c, i, "why"), passed_by[_i].why), "%s", left_of(c, i, "why"));
	ck_assert_str_eq(left_of(c, 2, "id"), "disk-2");
	ck_assert_str_eq(left_of(c, 2, "why"), "kept: its reclaim policy is not Delete");
	ck_assert_ptr_null(json_object_get(c->state, "attached"));
}
END_TEST

static void add_tests(TCase *t)
{
	tcase_add_test(t, a_forced_delete_ends_when_two_inventories_in_a_row_were_empty);
	tcase_add_test(t, other_deletes_look_once);
	tcase_add_test(t, a_strangers_copy_does_not_hold_up_a_delete_and_is_told);
	tcase_add_test(t, a_machine_is_removed_although_a_copy_of_it_is_seen);
	tcase_add_loop_test(t, machines_that_controllers_had_begun_are_waited_for_before_the_others_are_removed, 0, 3);
	tcase_add_test(t, the_machines_of_a_deleted_cluster_leave_no_row);
	tcase_add_test(t, an_abandoned_delete_ends_although_a_machine_never_goes);
	tcase_add_test(t, a_report_that_was_not_sent_stands_for_those_that_follow);
	tcase_add_test(t, a_machine_that_is_asked_for_again_gets_the_same_user_data_until_the_request_changes);
	tcase_add_test(t, an_answer_without_a_checkpoint_leaves_the_last);
	tcase_add_test(t, what_a_forced_delete_did_not_ask_the_cluster_for_is_told);
	tcase_add_test(t, what_a_forced_delete_did_not_ask_a_cluster_for_that_was_being_built_is_told);
	tcase_add_loop_test(t, what_was_seen_of_a_cluster_that_does_not_answer_any_more_is_told_one_by_one, 0,
			    ARRAY_LEN(passed_by));
}

RIG_MAIN("tasks", add_tests)
