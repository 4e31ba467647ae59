/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/compare.h"
#include "host/capi/path.h"
#include "tests/capi/rig.h"
#include "tests/capi/sample.h"
#include "net/pki.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define DEPLOYMENTS "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machinedeployments"

static json_t *plan;

static void setup(void)
{
	rig_setup();
	plan = rig_plan();
}

static void teardown(void)
{
	json_decref(plan);
	rig_teardown();
}

static bool write_plan(void)
{
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_write(fake_api_kube(rig.api), plan, &cb));
}

static bool roll_back(int64_t epoch)
{
	AUTO_JSON json_t *in = rig_identity(epoch);
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_rollback(fake_api_kube(rig.api), plan, in, &cb));
}

static json_t *stored(const json_t *entry)
{
	AUTO_FREE char *path = path_of(json_object_get(entry, "object"));

	return fake_api_get(rig.api, path);
}

static json_t *stored_named(const char *kind, const char *name)
{
	return stored(sample_entry(plan, kind, name));
}

/* Exactly the plan is there: each object once, as wanted, owned by what is there now, status and
 * all. */
static void check_converged(void)
{
	json_t *entry, *got;
	size_t i;

	ck_assert_uint_eq(fake_api_count(rig.api),
			  json_array_size(json_object_get(plan, "objects")));
	json_array_foreach (json_object_get(plan, "objects"), i, entry) {
		const json_t *object = json_object_get(entry, "object"),
			     *owner = json_object_get(entry, "owner");
		AUTO_FREE char *difference = NULL;
		AUTO_FREE char *status = NULL;
		AUTO_FREE char *label = path_label(object);

		got = stored(entry);
		ck_assert_msg(got, "%s is missing", label);
		difference = compare_object(object, got);
		ck_assert_msg(!difference, "%s differs at %s", label, difference);
		ck_assert_msg(!json_str(got, "metadata.deletionTimestamp"), "%s is being deleted",
			      label);
		if (json_is_object(json_object_get(entry, "status")) &&
		    !strstr(label, "Template")) {
			status = compare_contains(json_at(entry, "status.initialization"),
						  json_at(got, "status.initialization"));
			ck_assert_msg(!status, "status of %s differs at %s", label, status);
		}
		if (json_is_object(owner)) {
			json_t *holder =
				stored_named(json_str(owner, "kind"), json_str(owner, "name"));

			ck_assert_uint_eq(json_array_size(json_at(got, "metadata.ownerReferences")),
					  1);
			ck_assert_str_eq(json_str(got, "metadata.ownerReferences.0.uid"),
					 json_str(holder, "metadata.uid"));
			ck_assert_int_eq(
				json_bool_or(got, "metadata.ownerReferences.0.controller", false),
				json_bool_or(entry, "controller", false));
		}
	}
	ck_assert_msg(json_array_size(fake_api_violations(rig.api)) == 0, "%s",
		      json_string_value(json_array_get(fake_api_violations(rig.api), 0)));
}

START_TEST(writes_everything_once_owned_and_with_status)
{
	ck_assert_msg(write_plan(), "%s", rig.err.text);
	check_converged();
	ck_assert_str_eq(json_str(rig.result, "cluster.uid"),
			 json_str(stored_named("Cluster", "c1"), "metadata.uid"));
	ck_assert_ptr_nonnull(json_str(rig.result, "cluster.resourceVersion"));
	ck_assert(rig_progressed("created Machine/c1-cp-bcdfg"));
}
END_TEST

START_TEST(writing_again_changes_nothing)
{
	AUTO_JSON json_t *before = NULL;

	ck_assert(write_plan());
	before = json_deep_copy(stored_named("Machine", "c1-cp-bcdfg"));
	ck_assert(write_plan());
	ck_assert(json_equal(before, stored_named("Machine", "c1-cp-bcdfg")));
	check_converged();
}
END_TEST

static void put_deployment(const char *name, const char *pool)
{
	json_t *o = json_pack("{s:s,s:{s:s,s:s,s:{s:s}},s:{s:i}}", "kind", "MachineDeployment", "metadata", "name", name, "namespace",
			      "default", "labels", "cluster.x-k8s.io/cluster-name", "c1", "spec", "replicas", 2);
	char path[256];

	if (pool)
		json_put(o, "metadata.annotations", json_pack("{s:s}", "pcg.dev/pool", pool));
	json_put(o, "metadata.finalizers", json_pack("[s]", "cluster.x-k8s.io/machinedeployment"));
	snprintf(path, sizeof(path), DEPLOYMENTS "/%s", name);
	fake_api_put(rig.api, path, o);
}

/* Of a pool whose places were others, and of one that is gone. */
START_TEST(what_the_request_had_before_is_removed_when_it_is_written_again)
{
	ck_assert(write_plan());
	put_deployment("c1-md-2", "md");
	put_deployment("c1-gone", "gone");
	put_deployment("c1-of-somebody", NULL);
	ck_assert_msg(write_plan(), "%s", rig.err.text);
	ck_assert(rig_progressed("removed, as the request no longer has it, MachineDeployment/c1-md-2"));
	ck_assert_ptr_null(fake_api_get(rig.api, DEPLOYMENTS "/c1-md-2"));
	ck_assert_ptr_null(fake_api_get(rig.api, DEPLOYMENTS "/c1-gone"));
	ck_assert_ptr_nonnull(fake_api_get(rig.api, DEPLOYMENTS "/c1-of-somebody"));
	ck_assert_ptr_nonnull(fake_api_get(rig.api, DEPLOYMENTS "/c1-md"));
}
END_TEST

START_TEST(reads_its_secrets_back_by_one_list)
{
	long all = (long)json_array_size(json_object_get(plan, "objects")), requests;

	ck_assert(write_plan());
	requests = fake_api_requests(rig.api);
	ck_assert(write_plan());
	/* The Cluster; each object created, in vain, and read; each read back, but most Secrets. */
	ck_assert_int_lt(fake_api_requests(rig.api) - requests, 1 + 3 * all - 3);
}
END_TEST

static const enum fake_fault faults[] = {FAKE_ERROR, FAKE_CUT_BEFORE, FAKE_CUT_AFTER};

/* Fails the first request, then the second, ...: whatever was reached, the next attempt arrives at
 * the same state. */
START_TEST(any_request_may_fail_and_writing_again_arrives)
{
	/* The step leaves the run short where the server did nothing. */
	for (long n = 1;; n += faults[_i] == FAKE_CUT_AFTER ? 1 : 3) {
		bool wrote;

		fake_api_fail(rig.api, n, faults[_i]);
		wrote = write_plan();
		if (!fake_api_fired(rig.api)) {
			ck_assert(wrote);
			ck_assert_int_gt(n, 30);
			break;
		}
		fake_api_heal(rig.api);
		ck_assert_msg(write_plan(), "after failure at request %ld: %s", n, rig.err.text);
		check_converged();
		ck_assert_msg(roll_back(3), "after failure at request %ld: %s", n, rig.err.text);
		ck_assert_uint_eq(fake_api_count(rig.api), 0);
	}
}
END_TEST

START_TEST(any_request_may_fail_and_rolling_back_again_arrives)
{
	for (long n = 1;; n += faults[_i] == FAKE_CUT_AFTER ? 1 : 3) {
		ck_assert(write_plan());
		fake_api_fail(rig.api, n, faults[_i]);
		roll_back(3);
		if (!fake_api_fired(rig.api)) {
			ck_assert_int_gt(n, 19);
			break;
		}
		fake_api_heal(rig.api);
		ck_assert_msg(roll_back(3), "after failure at request %ld: %s", n, rig.err.text);
		ck_assert_uint_eq(fake_api_count(rig.api), 0);
		ck_assert_msg(json_array_size(fake_api_violations(rig.api)) == 0, "%s",
			      json_string_value(json_array_get(fake_api_violations(rig.api), 0)));
	}
	ck_assert_uint_eq(fake_api_count(rig.api), 0);
}
END_TEST

START_TEST(a_conflict_does_not_hold_a_roll_back_up)
{
	for (long n = 4; n < 13; n++) { /* the three before take it and read */
		ck_assert(write_plan());
		fake_api_fail(rig.api, n, FAKE_CONFLICT);
		ck_assert_msg(roll_back(3), "at request %ld: %s", n, rig.err.text);
		ck_assert(fake_api_fired(rig.api));
		ck_assert_uint_eq(fake_api_count(rig.api), 0);
	}
}
END_TEST

START_TEST(a_webhook_that_is_behind_does_not_hold_a_roll_back_up)
{
	ck_assert(write_plan());
	fake_api_refuse_deletes(rig.api, "VSphereMachineTemplate", 3);
	ck_assert_msg(roll_back(3), "%s", rig.err.text);
	ck_assert_uint_eq(fake_api_count(rig.api), 0);
}
END_TEST

START_TEST(object_owned_by_an_earlier_life_is_made_anew)
{
	json_t *machine;
	const char *old;

	ck_assert(write_plan());
	machine = stored_named("Machine", "c1-cp-bcdfg");
	old = strdup(json_str(machine, "metadata.uid"));
	json_put(json_array_get(json_at(machine, "metadata.ownerReferences"), 0), "uid",
		 json_string("uid-of-another-cluster"));
	ck_assert_msg(write_plan(), "%s", rig.err.text);
	ck_assert_str_ne(json_str(stored_named("Machine", "c1-cp-bcdfg"), "metadata.uid"), old);
	free((char *)old);
	check_converged();
	ck_assert(rig_progressed("replaced Machine/c1-cp-bcdfg"));
}
END_TEST

START_TEST(object_on_its_way_out_is_made_anew)
{
	ck_assert(write_plan());
	json_put(stored_named("Cluster", "c1"), "metadata.deletionTimestamp",
		 json_string("2026-01-01T00:00:00Z"));
	ck_assert_msg(write_plan(), "%s", rig.err.text);
	check_converged();
}
END_TEST

START_TEST(object_that_differs_is_changed_and_immutable_one_replaced)
{
	ck_assert(write_plan());
	json_put(stored_named("MachineDeployment", "c1-md"), "spec.replicas", json_integer(1));
	json_put(stored_named("VSphereMachineTemplate", "c1-cp"), "spec.template.spec.numCPUs",
		 json_integer(64));
	json_put(stored_named("Secret", "c1-ca"), "data",
		 json_pack("{s:s}", "tls.crt", "b3RoZXI="));
	ck_assert_msg(write_plan(), "%s", rig.err.text);
	check_converged();
	ck_assert(rig_progressed("changed MachineDeployment/c1-md"));
	ck_assert(rig_progressed("replaced VSphereMachineTemplate/c1-cp"));
}
END_TEST

START_TEST(members_that_the_server_adds_are_no_difference)
{
	AUTO_JSON json_t *before = NULL;

	ck_assert(write_plan());
	json_put(stored_named("Machine", "c1-cp-bcdfg"), "spec.deletion.nodeDeletionTimeoutSeconds",
		 json_integer(10));
	json_array_append_new(
		json_at(stored_named("Machine", "c1-cp-bcdfg"), "metadata.finalizers"),
		json_string("x/y"));
	before = json_deep_copy(stored_named("Machine", "c1-cp-bcdfg"));
	ck_assert(write_plan());
	ck_assert(json_equal(before, stored_named("Machine", "c1-cp-bcdfg")));
}
END_TEST

START_TEST(webhooks_that_are_not_ready_are_waited_for)
{
	fake_api_webhooks_down(rig.api, 4);
	ck_assert_msg(write_plan(), "%s", rig.err.text);
	check_converged();
}
END_TEST

START_TEST(another_ca_than_the_serving_one_is_never_written)
{
	struct pki_cert_spec spec = {.common_name = "kubernetes",
				     .is_ca = true,
				     .not_before_ms = 0,
				     .not_after_ms = 4102444800000};
	struct secret *key = NULL;
	char *pem = NULL;
	AUTO_JSON json_t *in = NULL;
	struct pcg_error err;

	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, &key, &err), 0);
	ck_assert_int_eq(pki_self_signed(&spec, key, &pem, &err), 0);
	in = sample_input(pem);
	json_decref(plan);
	ck_assert_int_eq(capi_objects_build(in, &plan, &err), 0);
	ck_assert(!write_plan());
	ck_assert_int_eq(rig.err.class, PCG_CLASS_PERMANENT);
	ck_assert_ptr_nonnull(strstr(rig.err.text, "c1-ca"));
	ck_assert_uint_eq(fake_api_count(rig.api), 0);
	secret_unref(key);
	free(pem);
}
END_TEST

START_TEST(cluster_that_was_handed_over_is_not_written_to)
{
	long before;

	ck_assert(write_plan());
	json_object_set_new(json_at(stored_named("Cluster", "c1"), "metadata.annotations"),
			    CAPI_AUTHORITY, json_string("cluster"));
	before = fake_api_requests(rig.api);
	ck_assert(!write_plan());
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	ck_assert_int_eq(fake_api_requests(rig.api), before + 1);
	ck_assert(!roll_back(3));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	ck_assert_uint_eq(fake_api_count(rig.api), 19);
}
END_TEST

/* Between the read of the Cluster and the change of it. */
static const struct {
	const char *name, *value;
	bool ours;
} overtakers[] = {
	{CAPI_AUTHORITY, "cluster", false},
	{CAPI_EPOCH, "7", false},
	{"somebody/else", "x", true},
};

START_TEST(authority_that_changes_while_the_cluster_is_mended_stands)
{
	ck_assert(write_plan());
	json_put(stored_named("Cluster", "c1"), "spec.paused", json_false());
	fake_api_overtake_cluster_patch(rig.api, 1, overtakers[_i].name, overtakers[_i].value);
	ck_assert_int_eq(write_plan(), overtakers[_i].ours);
	ck_assert_str_eq(json_string_value(json_object_get(
				 json_at(stored_named("Cluster", "c1"), "metadata.annotations"),
				 overtakers[_i].name)),
			 overtakers[_i].value);
	ck_assert_int_eq(json_bool_or(stored_named("Cluster", "c1"), "spec.paused", true),
			 overtakers[_i].ours);
	if (overtakers[_i].ours)
		check_converged();
	else
		ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
}
END_TEST

START_TEST(refused_object_is_named_with_the_servers_reason)
{
	json_put(sample_entry(plan, "Machine", "c1-cp-bcdfg"), "object.spec.failureDomain",
		 json_string(""));
	ck_assert(!write_plan());
	ck_assert_int_eq(rig.err.class, PCG_CLASS_PERMANENT);
	ck_assert_ptr_nonnull(strstr(rig.err.text, "Machine/c1-cp-bcdfg"));
	ck_assert_ptr_nonnull(strstr(rig.err.text, "failureDomain"));
}
END_TEST

START_TEST(cancelled_writing_never_calls_back)
{
	struct capi_callbacks cb = rig_callbacks();
	struct capi_op *op = capi_write(fake_api_kube(rig.api), plan, &cb);

	rig.done = 0;
	while (fake_api_requests(rig.api) < 5)
		uv_run(&rig.loop, UV_RUN_ONCE);
	capi_op_cancel(op);
	rig_turn(50);
	ck_assert_int_eq(rig.done, 0);
	op = capi_write(fake_api_kube(rig.api), plan, &cb);
	capi_op_cancel(op);
	ck_assert(write_plan());
	check_converged();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capi write");
	TCase *t = tcase_create("write");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, writes_everything_once_owned_and_with_status);
	tcase_add_test(t, writing_again_changes_nothing);
	tcase_add_test(t, what_the_request_had_before_is_removed_when_it_is_written_again);
	tcase_add_test(t, reads_its_secrets_back_by_one_list);
	tcase_add_loop_test(t, any_request_may_fail_and_writing_again_arrives, 0,
			    ARRAY_LEN(faults));
	tcase_add_loop_test(t, any_request_may_fail_and_rolling_back_again_arrives, 0,
			    ARRAY_LEN(faults));
	tcase_add_test(t, a_conflict_does_not_hold_a_roll_back_up);
	tcase_add_test(t, a_webhook_that_is_behind_does_not_hold_a_roll_back_up);
	tcase_add_test(t, object_owned_by_an_earlier_life_is_made_anew);
	tcase_add_test(t, object_on_its_way_out_is_made_anew);
	tcase_add_test(t, object_that_differs_is_changed_and_immutable_one_replaced);
	tcase_add_test(t, members_that_the_server_adds_are_no_difference);
	tcase_add_test(t, webhooks_that_are_not_ready_are_waited_for);
	tcase_add_test(t, another_ca_than_the_serving_one_is_never_written);
	tcase_add_test(t, cluster_that_was_handed_over_is_not_written_to);
	tcase_add_loop_test(t, authority_that_changes_while_the_cluster_is_mended_stands, 0,
			    ARRAY_LEN(overtakers));
	tcase_add_test(t, refused_object_is_named_with_the_servers_reason);
	tcase_add_test(t, cancelled_writing_never_calls_back);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
