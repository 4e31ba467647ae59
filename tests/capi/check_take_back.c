/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/rig.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPI "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/"
#define INFRA "/apis/infrastructure.cluster.x-k8s.io/v1beta2/namespaces/default/"
#define WORKERS 20

static const char *const namespaces[] = {"capi-system",
					 "capi-kubeadm-bootstrap-system",
					 "capi-kubeadm-control-plane-system",
					 "capv-system",
					 "somewhere-else",
					 "kube-system"};

/* What controllers would have made: machines of a pool, more than a page of a list holds. */
static void add_workers(void)
{
	char path[256], name[64], id[64];

	for (int i = 0; i < WORKERS; i++) {
		snprintf(name, sizeof(name), "c1-md-x-%05d", i);
		snprintf(id, sizeof(id), "vsphere://%d", i);
		snprintf(path, sizeof(path), CAPI "machines/%s", name);
		fake_api_put(rig.api, path,
			     json_pack("{s:s,s:{s:s,s:s,s:{s:s,s:s}},s:{s:s,s:{s:s,s:s,s:s}},s:{s:["
				       "{s:s,s:s}]}}",
				       "kind", "Machine", "metadata", "name", name, "namespace",
				       "default", "labels", "cluster.x-k8s.io/cluster-name", "c1",
				       "cluster.x-k8s.io/deployment-name", "c1-md", "spec",
				       "providerID", id, "infrastructureRef", "apiGroup",
				       "infrastructure.cluster.x-k8s.io", "kind", "VSphereMachine",
				       "name", name, "status", "addresses", "type", "InternalIP",
				       "address", "10.0.1.1"));
	}
	fake_api_put(rig.api, INFRA "vspheremachines/c1-md-orphan",
		     json_pack("{s:s,s:{s:s,s:s,s:{s:s}},s:{s:s}}", "kind", "VSphereMachine",
			       "metadata", "name", "c1-md-orphan", "namespace", "default", "labels",
			       "cluster.x-k8s.io/cluster-name", "c1", "spec", "providerID",
			       "vsphere://orphan"));
	fake_api_put(rig.api, CAPI "machines/other",
		     json_pack("{s:s,s:{s:s,s:s,s:{s:s}}}", "kind", "Machine", "metadata", "name",
			       "other", "namespace", "default", "labels",
			       "cluster.x-k8s.io/cluster-name", "c2"));
}

static void deployment_path(char path[256], const char *ns)
{
	snprintf(path, 256, "/apis/apps/v1/namespaces/%s/deployments/%s-manager", ns, ns);
}

static void add_controllers(void)
{
	char path[256], name[128];

	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		bool labelled = strcmp(namespaces[i], "somewhere-else") == 0;
		json_t *labels = labelled ? json_pack("{s:s}", "cluster.x-k8s.io/provider",
						      "infrastructure-x")
					  : json_object();

		snprintf(name, sizeof(name), "%s-manager", namespaces[i]);
		deployment_path(path, namespaces[i]);
		fake_api_put(rig.api, path,
			     json_pack("{s:s,s:{s:s,s:s,s:o,s:i},s:{s:i,s:{s:{s:s}},s:{s:{s:{s:s}}}"
				       "},s:{s:i}}",
				       "kind", "Deployment", "metadata", "name", name, "namespace",
				       namespaces[i], "labels", labels, "generation", 1, "spec",
				       "replicas", 1, "selector", "matchLabels", "control-plane",
				       namespaces[i], "template", "metadata", "labels",
				       "control-plane", namespaces[i], "status", "replicas", 1));
	}
}

static void setup(void)
{
	AUTO_JSON json_t *plan = NULL, *in = rig_identity(2);
	struct capi_callbacks cb;

	rig_setup();
	plan = rig_plan();
	cb = rig_callbacks();
	ck_assert_msg(rig_run(capi_write(fake_api_kube(rig.api), plan, &cb)), "%s", rig.err.text);
	ck_assert(rig_run(capi_commit(fake_api_kube(rig.api), in, &cb)));
	json_put(fake_api_get(rig.api, CAPI "clusters/c1"), "status.conditions", json_array());
	add_workers();
	add_controllers();
}

static void teardown(void)
{
	rig_teardown();
}

static bool take_back(int64_t epoch, int observe_ms)
{
	AUTO_JSON json_t *in = rig_identity(epoch);
	struct capi_callbacks cb = rig_callbacks();

	json_object_set_new(in, "observeTimeoutMs", json_integer(observe_ms));
	return rig_run(capi_take_back(fake_api_kube(rig.api), in, &cb));
}

START_TEST(a_server_that_is_busy_for_a_moment_is_asked_again)
{
	bool fired = true;
	int refused = 0;

	for (long n = 1; fired; n++) {
		fake_api_fail(rig.api, n, FAKE_BUSY);
		if (!take_back(3, 50)) {
			/* Only the one change is not sent twice by itself. */
			ck_assert_int_eq(rig.err.class, PCG_CLASS_RETRY);
			refused++;
		}
		fired = fake_api_fired(rig.api);
		fake_api_heal(rig.api);
	}
	ck_assert_int_le(refused, 1);
}
END_TEST

static const json_t *named(const char *list, const char *name)
{
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(rig.result, list), i, one)
		if (strcmp(json_str_or(one, "name", ""), name) == 0)
			return one;
	ck_abort_msg("no %s among %s", name, list);
	return NULL;
}

static const json_t *machine(const char *name)
{
	return named("machines", name);
}

static void check_taken(void)
{
	const json_t *cluster = fake_api_get(rig.api, CAPI "clusters/c1"),
		     *annotations = json_at(cluster, "metadata.annotations");
	char path[256];

	ck_assert(json_bool_or(cluster, "spec.paused", false));
	ck_assert_str_eq(json_string_value(json_object_get(annotations, CAPI_AUTHORITY)),
			 "gateway");
	ck_assert_str_eq(json_string_value(json_object_get(annotations, CAPI_EPOCH)), "3");
	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		bool controller = strcmp(namespaces[i], "kube-system") != 0;

		deployment_path(path, namespaces[i]);
		ck_assert_int_eq(json_int_or(fake_api_get(rig.api, path), "spec.replicas", 9),
				 controller ? 0 : 1);
		snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods/%s-manager-1",
			 namespaces[i], namespaces[i]);
		ck_assert_int_eq(fake_api_get(rig.api, path) == NULL, controller);
	}
	ck_assert_uint_eq(json_array_size(json_object_get(rig.result, "machines")),
			  1 + WORKERS + 1);
	ck_assert_int_eq(json_int_or(rig.result, "epoch", 0), 3);
}

START_TEST(takes_over_stops_controllers_and_reads_all_machines)
{
	const json_t *m;

	ck_assert_msg(take_back(3, 10000), "%s", rig.err.text);
	check_taken();
	ck_assert(rig_progressed("observed pause"));
	m = machine("c1-cp-bcdfg");
	ck_assert_str_eq(json_str(m, "role"), "control-plane");
	ck_assert_str_eq(json_str(m, "pool"), "control");
	ck_assert_str_eq(json_str(m, "uid"), "m-1");
	ck_assert_str_eq(json_str(m, "providerID"), "vsphere://42");
	ck_assert_str_eq(json_str(m, "addresses.0.address"), "10.0.0.5");
	m = machine("c1-md-x-00019");
	ck_assert_str_eq(json_str(m, "role"), "worker");
	ck_assert_str_eq(json_str(m, "pool"), "md");
	ck_assert_str_eq(json_str(m, "uid"), "");
	ck_assert_str_eq(json_str(m, "providerID"), "vsphere://19");
	ck_assert_str_eq(json_str(machine("c1-md-orphan"), "providerID"), "vsphere://orphan");
}
END_TEST

static void add_deployment(const char *name, const char *pool, int replicas)
{
	json_t *o = json_pack("{s:s,s:{s:s,s:s,s:{s:s}},s:{s:i}}", "kind", "MachineDeployment", "metadata", "name", name, "namespace",
			      "default", "labels", "cluster.x-k8s.io/cluster-name", "c1", "spec", "replicas", replicas);
	char path[256];

	if (pool)
		json_put(o, "metadata.annotations", json_pack("{s:s}", "pcg.dev/pool", pool));
	snprintf(path, sizeof(path), CAPI "machinedeployments/%s", name);
	fake_api_put(rig.api, path, o);
}

static const json_t *pool(const char *name)
{
	return named("pools", name);
}

/* Scaled by somebody meanwhile; a machine's label names the deployment, and that the pool. One that was handed over before they
 * did so is a pool by its name. */
START_TEST(several_deployments_of_a_pool_are_read_back_as_one)
{
	add_deployment("c1-zoned-1", "zoned", 2);
	add_deployment("c1-zoned-2", "zoned", 7);
	add_deployment("c1-older", NULL, 1);
	fake_api_put(rig.api, CAPI "machines/c1-zoned-2-abcde",
		     json_pack("{s:s,s:{s:s,s:s,s:{s:s,s:s}},s:{s:s}}", "kind", "Machine", "metadata", "name", "c1-zoned-2-abcde",
			       "namespace", "default", "labels", "cluster.x-k8s.io/cluster-name", "c1",
			       "cluster.x-k8s.io/deployment-name", "c1-zoned-2", "spec", "providerID", "vsphere://z"));
	ck_assert_msg(take_back(3, 10000), "%s", rig.err.text);
	ck_assert_uint_eq(json_array_size(json_object_get(rig.result, "pools")), 3);
	ck_assert_int_eq((int)json_int_or(pool("zoned"), "size", 0), 9);
	ck_assert_uint_eq(json_array_size(json_object_get(pool("zoned"), "deployments")), 2);
	ck_assert_int_eq((int)json_int_or(pool("md"), "size", 0), 5);
	ck_assert_int_eq((int)json_int_or(pool("older"), "size", 0), 1);
	ck_assert_str_eq(json_str(machine("c1-zoned-2-abcde"), "pool"), "zoned");
}
END_TEST

START_TEST(graph_holds_kinds_and_none_of_another_cluster)
{
	json_t *o;
	size_t i;
	bool vm = false, template = false;

	ck_assert(take_back(3, 10000));
	json_array_foreach (json_object_get(rig.result, "objects"), i, o) {
		ck_assert_ptr_nonnull(json_str(o, "kind"));
		ck_assert_ptr_nonnull(json_str(o, "apiVersion"));
		ck_assert_str_ne(json_str(o, "kind"), "Secret");
		ck_assert_str_ne(json_str(o, "metadata.name"), "other");
		vm |= strcmp(json_str(o, "kind"), "VSphereVM") == 0;
		template |= strcmp(json_str(o, "kind"), "KubeadmConfigTemplate") == 0;
	}
	ck_assert(vm && template);
}
END_TEST

START_TEST(taking_back_again_is_the_same)
{
	long requests;
	AUTO_JSON json_t *first = NULL;

	ck_assert(take_back(3, 10000));
	first = json_deep_copy(rig.result);
	requests = fake_api_requests(rig.api);
	ck_assert(take_back(3, 10000));
	ck_assert(json_equal(json_object_get(first, "machines"),
			     json_object_get(rig.result, "machines")));
	ck_assert_int_lt(fake_api_requests(rig.api) - requests, 60);
	check_taken();
}
END_TEST

static const enum fake_fault faults[] = {FAKE_ERROR, FAKE_CUT_AFTER};

START_TEST(any_request_may_fail_and_taking_back_again_arrives)
{
	for (long n = 1; n < 60; n += 4) {
		AUTO_JSON json_t *in = rig_identity(3);

		fake_api_fail(rig.api, n, faults[_i]);
		take_back(3, 1000);
		fake_api_heal(rig.api);
		ck_assert_msg(take_back(3, 1000), "after failure at request %ld: %s", n,
			      rig.err.text);
		check_taken();
	}
}
END_TEST

START_TEST(controllers_that_do_not_look_are_stopped_all_the_same)
{
	char path[256];
	long before;

	fake_api_deaf_controllers(rig.api);
	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		deployment_path(path, namespaces[i]);
		json_put(fake_api_get(rig.api, path), "status",
			 json_pack("{s:i}", "observedGeneration", 99));
	}
	before = fake_api_requests(rig.api);
	ck_assert_msg(take_back(3, 500), "%s", rig.err.text);
	ck_assert(rig_progressed("not observed in time pause"));
	/* The whole graph once, at the end: 97 requests when each look lists it. */
	ck_assert_int_lt(fake_api_requests(rig.api) - before, 70);
	ck_assert_uint_eq(json_array_size(json_object_get(rig.result, "machines")),
			  1 + WORKERS + 1);
}
END_TEST

START_TEST(nobody_to_observe_is_not_waited_for)
{
	char path[256];

	fake_api_deaf_controllers(rig.api);
	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		deployment_path(path, namespaces[i]);
		json_put(fake_api_get(rig.api, path), "spec.replicas", json_integer(0));
		json_put(fake_api_get(rig.api, path), "status",
			 json_pack("{s:i}", "observedGeneration", 99));
	}
	ck_assert(take_back(3, 15000));
	ck_assert(!rig_progressed("observed pause") &&
		  !rig_progressed("not observed in time pause"));
}
END_TEST

static void on_let_go(uv_timer_t *t)
{
	ck_assert_int_eq(rig.done, 0);
	fake_api_stuck_pod(rig.api, false);
	uv_close((uv_handle_t *)t, NULL);
}

START_TEST(pod_that_still_runs_is_waited_for)
{
	uv_timer_t t;

	fake_api_stuck_pod(rig.api, true);
	uv_timer_init(&rig.loop, &t);
	uv_timer_start(&t, on_let_go, 3000, 0);
	ck_assert_msg(take_back(3, 1000), "%s", rig.err.text);
	check_taken();
}
END_TEST

START_TEST(unanswered_patch_is_in_doubt_and_repeats_to_the_same_end)
{
	fake_api_fail_cluster_patch(rig.api, 1, FAKE_CUT_AFTER);
	ck_assert(!take_back(3, 1000));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_RETRY);
	fake_api_heal(rig.api);
	ck_assert_msg(take_back(3, 1000), "%s", rig.err.text);
	check_taken();
}
END_TEST

START_TEST(unpaused_by_somebody_when_its_webhooks_are_stopped_it_is_taken_back_again)
{
	json_t *cluster;

	ck_assert_msg(take_back(3, 500), "%s", rig.err.text);
	cluster = json_deep_copy(fake_api_get(rig.api, CAPI "clusters/c1"));
	json_object_del(json_object_get(cluster, "spec"), "paused");
	fake_api_put(rig.api, CAPI "clusters/c1", cluster);
	fake_api_fail_cluster_patch(rig.api, 1, FAKE_ERROR);
	ck_assert_msg(take_back(3, 500), "%s", rig.err.text);
	ck_assert(rig_progressed("found unpaused by somebody c1"));
	fake_api_fail_cluster_patch(rig.api, 1, FAKE_ERROR);
	ck_assert(!take_back(4, 500));
}
END_TEST

START_TEST(older_epoch_takes_nothing)
{
	AUTO_JSON json_t *before = json_deep_copy(fake_api_get(rig.api, CAPI "clusters/c1"));

	ck_assert(!take_back(2, 1000));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	ck_assert(json_equal(before, fake_api_get(rig.api, CAPI "clusters/c1")));
}
END_TEST

static bool take_back_after(int64_t epoch)
{
	AUTO_JSON json_t *in = rig_identity(epoch + 1);
	struct capi_callbacks cb = rig_callbacks();

	json_object_del(in, "epoch");
	json_object_set_new(in, "afterEpoch", json_integer(epoch));
	return rig_run(capi_take_back(fake_api_kube(rig.api), in, &cb));
}

START_TEST(epoch_is_higher_than_the_clusters_and_than_ours)
{
	ck_assert_msg(take_back_after(1), "%s", rig.err.text);
	check_taken();
	ck_assert_msg(take_back_after(7), "%s", rig.err.text);
	ck_assert_int_eq(json_int_or(rig.result, "epoch", 0), 8);
}
END_TEST

static void change_cluster(const char *owner, bool paused)
{
	json_t *cluster = json_deep_copy(fake_api_get(rig.api, CAPI "clusters/c1"));

	json_object_set_new(json_object_get(json_object_get(cluster, "metadata"), "annotations"),
			    CAPI_OWNER, json_string(owner));
	json_object_set_new(json_object_get(cluster, "spec"), "paused",
			    paused ? json_true() : json_null());
	fake_api_put(rig.api, CAPI "clusters/c1", cluster);
}

/* The gateway was killed after it had stopped the controllers, whose webhooks refuse every patch since. */
START_TEST(what_it_took_back_before_it_was_killed_stands)
{
	AUTO_JSON json_t *in = rig_identity(1);
	const char *gateway = json_str(in, "gatewayUid");

	ck_assert_msg(take_back_after(2), "%s", rig.err.text);
	fake_api_fail_cluster_patch(rig.api, 1, FAKE_ERROR);
	ck_assert_msg(take_back_after(2), "%s", rig.err.text);
	check_taken();
	change_cluster(gateway, false);
	ck_assert_msg(take_back_after(2), "%s", rig.err.text);
	ck_assert(rig_progressed("found unpaused by somebody c1"));
	ck_assert_int_eq(json_int_or(rig.result, "epoch", 0), 3);
	fake_api_heal(rig.api);
	change_cluster("another", true);
	ck_assert_msg(take_back_after(2), "%s", rig.err.text);
	ck_assert_int_eq(json_int_or(rig.result, "epoch", 0), 4);
}
END_TEST

START_TEST(epoch_that_was_found_stays_when_another_is_faster)
{
	fake_api_overtake_cluster_patch(rig.api, 1, CAPI_EPOCH, "9");
	ck_assert(!take_back_after(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
}
END_TEST

START_TEST(cluster_that_is_not_there_has_nothing_to_take_back)
{
	fake_api_drop(rig.api, CAPI "clusters/c1");
	ck_assert_msg(take_back_after(2), "%s", rig.err.text);
	ck_assert(!json_bool_or(rig.result, "exists", true));
}
END_TEST

START_TEST(pods_that_wear_the_label_are_looked_for_by_one_list)
{
	char path[256];
	long requests;

	ck_assert(take_back(3, 10000));
	requests = fake_api_requests(rig.api);
	ck_assert(take_back(3, 10000));
	requests = fake_api_requests(rig.api) - requests;
	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		json_t *d;

		deployment_path(path, namespaces[i]);
		d = fake_api_get(rig.api, path);
		json_put(d, "metadata.labels",
			 json_pack("{s:s}", "cluster.x-k8s.io/provider", namespaces[i]));
		json_put(d, "spec.selector.matchLabels",
			 json_pack("{s:s}", "cluster.x-k8s.io/provider", namespaces[i]));
	}
	fake_api_drop(rig.api, "/apis/apps/v1/namespaces/kube-system/deployments/kube-system-manager");
	requests += fake_api_requests(rig.api);
	ck_assert_msg(take_back(3, 10000), "%s", rig.err.text);
	ck_assert_int_lt(fake_api_requests(rig.api),
			 requests - (long)ARRAY_LEN(namespaces) + 3);
}
END_TEST

static uv_timer_t drop_timer;
static bool pod_dropped;

static void on_drop_pod(uv_timer_t *t)
{
	ck_assert_int_eq(rig.done, 0);
	fake_api_drop(rig.api, "/api/v1/namespaces/capi-system/pods/left");
	pod_dropped = true;
	uv_close((uv_handle_t *)t, NULL);
}

START_TEST(labelled_pod_that_still_runs_is_waited_for)
{
	char path[256];

	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		json_t *d;

		deployment_path(path, namespaces[i]);
		d = fake_api_get(rig.api, path);
		json_put(d, "metadata.labels",
			 json_pack("{s:s}", "cluster.x-k8s.io/provider", namespaces[i]));
		json_put(d, "spec.selector.matchLabels",
			 json_pack("{s:s}", "cluster.x-k8s.io/provider", namespaces[i]));
		json_put(d, "spec.replicas", json_integer(0));
		json_put(d, "status", json_pack("{s:i}", "observedGeneration", 99));
	}
	fake_api_put(rig.api, "/api/v1/namespaces/capi-system/pods/left",
		     json_pack("{s:s,s:{s:s,s:s,s:{s:s}}}", "kind", "Pod", "metadata", "name", "left",
			       "namespace", "capi-system", "labels", "cluster.x-k8s.io/provider",
			       "capi-system"));
	uv_timer_init(&rig.loop, &drop_timer);
	uv_timer_start(&drop_timer, on_drop_pod, 500, 0);
	ck_assert_msg(take_back(3, 100), "%s", rig.err.text);
	ck_assert(pod_dropped);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capi take back");
	TCase *t = tcase_create("take_back");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, takes_over_stops_controllers_and_reads_all_machines);
	tcase_add_test(t, several_deployments_of_a_pool_are_read_back_as_one);
	tcase_add_test(t, graph_holds_kinds_and_none_of_another_cluster);
	tcase_add_test(t, taking_back_again_is_the_same);
	tcase_add_test(t, a_server_that_is_busy_for_a_moment_is_asked_again);
	tcase_add_loop_test(t, any_request_may_fail_and_taking_back_again_arrives, 0,
			    ARRAY_LEN(faults));
	tcase_add_test(t, controllers_that_do_not_look_are_stopped_all_the_same);
	tcase_add_test(t, nobody_to_observe_is_not_waited_for);
	tcase_add_test(t, pod_that_still_runs_is_waited_for);
	tcase_add_test(t, unanswered_patch_is_in_doubt_and_repeats_to_the_same_end);
	tcase_add_test(t, unpaused_by_somebody_when_its_webhooks_are_stopped_it_is_taken_back_again);
	tcase_add_test(t, older_epoch_takes_nothing);
	tcase_add_test(t, epoch_is_higher_than_the_clusters_and_than_ours);
	tcase_add_test(t, what_it_took_back_before_it_was_killed_stands);
	tcase_add_test(t, epoch_that_was_found_stays_when_another_is_faster);
	tcase_add_test(t, cluster_that_is_not_there_has_nothing_to_take_back);
	tcase_add_test(t, pods_that_wear_the_label_are_looked_for_by_one_list);
	tcase_add_test(t, labelled_pod_that_still_runs_is_waited_for);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
