/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define CLUSTER "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/clusters/c1"

static json_t *plan;

static void setup(void)
{
	struct capi_callbacks cb;

	rig_setup();
	plan = rig_plan();
	cb = rig_callbacks();
	ck_assert_msg(rig_run(capi_write(fake_api_kube(rig.api), plan, &cb)), "%s", rig.err.text);
}

static void teardown(void)
{
	json_decref(plan);
	rig_teardown();
}

static bool commit(int64_t epoch)
{
	AUTO_JSON json_t *in = rig_identity(epoch);
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_commit(fake_api_kube(rig.api), in, &cb));
}

static bool check(int64_t epoch)
{
	AUTO_JSON json_t *in = rig_identity(epoch);
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_commit_check(fake_api_kube(rig.api), in, &cb));
}

static bool roll_back(int64_t epoch)
{
	AUTO_JSON json_t *in = rig_identity(epoch);
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_rollback(fake_api_kube(rig.api), plan, in, &cb));
}

static const char *annotation(const char *key)
{
	return json_string_value(json_object_get(
		json_at(fake_api_get(rig.api, CLUSTER), "metadata.annotations"), key));
}

static void check_holder(const char *holder, const char *epoch, bool paused)
{
	ck_assert_str_eq(annotation(CAPI_AUTHORITY), holder);
	ck_assert_str_eq(annotation(CAPI_EPOCH), epoch);
	ck_assert_int_eq(json_bool_or(fake_api_get(rig.api, CLUSTER), "spec.paused", false),
			 paused);
}

START_TEST(commit_is_one_request_that_hands_over_and_unpauses)
{
	long before = fake_api_requests(rig.api);

	ck_assert_msg(commit(2), "%s", rig.err.text);
	ck_assert_int_eq(fake_api_requests(rig.api), before + 2);
	check_holder("cluster", "2", false);
	ck_assert_ptr_null(json_at(fake_api_get(rig.api, CLUSTER), "spec.paused"));
	ck_assert_str_eq(annotation("overlordUid"), "gw-1");
}
END_TEST

START_TEST(commit_again_only_reads)
{
	AUTO_JSON json_t *before = NULL;

	ck_assert(commit(2));
	before = json_deep_copy(fake_api_get(rig.api, CLUSTER));
	ck_assert(commit(2));
	ck_assert(json_equal(before, fake_api_get(rig.api, CLUSTER)));
}
END_TEST

START_TEST(unanswered_commit_is_in_doubt_until_it_is_read)
{
	fake_api_fail_cluster_patch(rig.api, 1, FAKE_CUT_AFTER);
	ck_assert(!commit(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_RETRY);
	ck_assert_ptr_nonnull(strstr(rig.err.text, "in doubt"));
	fake_api_heal(rig.api);
	check_holder("cluster", "2", false);
	ck_assert(check(2));
	ck_assert_str_eq(json_str(rig.result, "state"), "committed");
	ck_assert(commit(2));
	check_holder("cluster", "2", false);
}
END_TEST

START_TEST(commit_that_never_arrived_is_known_not_to_have)
{
	fake_api_fail_cluster_patch(rig.api, 1, FAKE_CUT_BEFORE);
	ck_assert(!commit(2));
	fake_api_heal(rig.api);
	ck_assert_int_eq(rig.err.class, PCG_CLASS_RETRY);
	ck_assert(check(2));
	ck_assert_str_eq(json_str(rig.result, "state"), "not_committed");
	ck_assert_int_eq(json_int_or(rig.result, "epoch", 0), 1);
	ck_assert_str_eq(json_str(rig.result, "authority"), "gateway");
	check_holder("gateway", "1", true);
}
END_TEST

START_TEST(check_that_gets_no_answer_does_not_know)
{
	fake_api_fail(rig.api, 1, FAKE_ERROR);
	ck_assert(!check(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_RETRY);
}
END_TEST

/* The request that a commit would have sent with what it read before the roll-back. */
START_TEST(commit_that_arrives_after_a_roll_back_is_refused)
{
	AUTO_JSON json_t *late = json_pack(
		"{s:{s:s,s:{s:s,s:s}},s:{s:n}}", "metadata", "resourceVersion",
		json_str(fake_api_get(rig.api, CLUSTER), "metadata.resourceVersion"), "annotations",
		CAPI_AUTHORITY, "cluster", CAPI_EPOCH, "2", "spec", "paused");
	/* The last request of the roll-back's first step is the guarded patch; what follows fails,
	 * so the objects stay. */
	fake_api_fail(rig.api, 3, FAKE_ERROR);
	ck_assert(!roll_back(3));
	check_holder("gateway", "3", true);
	ck_assert_int_eq(
		fake_api_request(rig.api, "PATCH", CLUSTER, "application/merge-patch+json", late),
		409);
	check_holder("gateway", "3", true);
	ck_assert(!commit(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	ck_assert_msg(roll_back(3), "%s", rig.err.text);
	ck_assert_uint_eq(fake_api_count(rig.api), 0);
	ck_assert_int_eq(
		fake_api_request(rig.api, "PATCH", CLUSTER, "application/merge-patch+json", late),
		404);
}
END_TEST

START_TEST(roll_back_after_a_commit_is_refused)
{
	ck_assert(commit(2));
	ck_assert(!roll_back(3));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	check_holder("cluster", "2", false);
}
END_TEST

START_TEST(roll_back_of_nothing_is_done)
{
	ck_assert(roll_back(3));
	ck_assert(roll_back(3));
}
END_TEST

START_TEST(roll_back_leaves_the_namespace_to_whoever_else_is_in_it)
{
	const char *path = "/api/v1/namespaces/team";
	json_t *team = json_pack("{s:s,s:s,s:{s:s}}", "apiVersion", "v1", "kind", "Namespace",
				 "metadata", "name", "team");

	json_array_insert_new(json_object_get(plan, "objects"), 0,
			      json_pack("{s:i,s:O}", "group", 0, "object", team));
	fake_api_put(rig.api, path, team);
	ck_assert_msg(roll_back(3), "%s", rig.err.text);
	ck_assert_ptr_nonnull(fake_api_get(rig.api, path));
	ck_assert_ptr_null(fake_api_get(rig.api, CLUSTER));
}
END_TEST

START_TEST(commit_survives_a_status_that_changes_at_the_same_time)
{
	/* The PATCH is refused once as if a controller had written in between. */
	fake_api_fail_cluster_patch(rig.api, 1, FAKE_CONFLICT);
	ck_assert_msg(commit(2), "%s", rig.err.text);
	check_holder("cluster", "2", false);
}
END_TEST

/* Another installation takes over between the read and the PATCH. */
START_TEST(commit_that_was_overtaken_after_its_read_changes_nothing)
{
	fake_api_overtake_cluster_patch(rig.api, 1, CAPI_EPOCH, "7");
	ck_assert(!commit(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	check_holder("gateway", "7", true);
}
END_TEST

START_TEST(roll_back_that_was_overtaken_after_its_read_removes_nothing)
{
	size_t count = fake_api_count(rig.api);

	fake_api_overtake_cluster_patch(rig.api, 1, CAPI_AUTHORITY, "cluster");
	ck_assert(!roll_back(3));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	check_holder("cluster", "1", true);
	ck_assert_uint_eq(fake_api_count(rig.api), count);
}
END_TEST

static const struct {
	const char *holder, *epoch, *owner;
} foreign[] = {
	{"cluster", "5", "gw-1"},
	{"gateway", "5", "gw-1"},
	{"gateway", "1", "gw-2"},
	{"somebody", "1", "gw-1"},
};

START_TEST(commit_yields_to_another_authority)
{
	json_t *annotations = json_at(fake_api_get(rig.api, CLUSTER), "metadata.annotations");

	json_object_set_new(annotations, CAPI_AUTHORITY, json_string(foreign[_i].holder));
	json_object_set_new(annotations, CAPI_EPOCH, json_string(foreign[_i].epoch));
	json_object_set_new(annotations, CAPI_OWNER, json_string(foreign[_i].owner));
	ck_assert(!commit(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	check_holder(foreign[_i].holder, foreign[_i].epoch, true);
}
END_TEST

static const char *const wild_epochs[] = {"9223372036854775807", "99999999999999999999", "-5", ""};

START_TEST(an_epoch_that_nobody_could_have_counted_to_is_none)
{
	json_t *annotations = json_at(fake_api_get(rig.api, CLUSTER), "metadata.annotations");

	json_object_set_new(annotations, CAPI_EPOCH, json_string(wild_epochs[_i]));
	ck_assert_msg(check(2), "%s", rig.err.text);
	ck_assert_int_eq(json_int_or(rig.result, "epoch", -1), 0);
}
END_TEST

START_TEST(commit_without_a_cluster_says_so)
{
	ck_assert(roll_back(3));
	ck_assert(!commit(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_NOT_FOUND);
	ck_assert(check(2));
	ck_assert_str_eq(json_str(rig.result, "state"), "not_committed");
	ck_assert(!json_bool_or(rig.result, "exists", true));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capi authority");
	TCase *t = tcase_create("authority");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, commit_is_one_request_that_hands_over_and_unpauses);
	tcase_add_test(t, commit_again_only_reads);
	tcase_add_test(t, unanswered_commit_is_in_doubt_until_it_is_read);
	tcase_add_test(t, commit_that_never_arrived_is_known_not_to_have);
	tcase_add_test(t, check_that_gets_no_answer_does_not_know);
	tcase_add_test(t, commit_that_arrives_after_a_roll_back_is_refused);
	tcase_add_test(t, roll_back_after_a_commit_is_refused);
	tcase_add_test(t, roll_back_of_nothing_is_done);
	tcase_add_test(t, roll_back_leaves_the_namespace_to_whoever_else_is_in_it);
	tcase_add_test(t, commit_that_was_overtaken_after_its_read_changes_nothing);
	tcase_add_test(t, roll_back_that_was_overtaken_after_its_read_removes_nothing);
	tcase_add_test(t, commit_survives_a_status_that_changes_at_the_same_time);
	tcase_add_loop_test(t, commit_yields_to_another_authority, 0, ARRAY_LEN(foreign));
	tcase_add_loop_test(t, an_epoch_that_nobody_could_have_counted_to_is_none, 0,
			    ARRAY_LEN(wild_epochs));
	tcase_add_test(t, commit_without_a_cluster_says_so);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
