/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/path.h"
#include "tests/capi/sample.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static json_t *plan;

static void setup(void)
{
	AUTO_JSON json_t *in = sample_input("ca crt\n");
	struct pcg_error err;

	ck_assert_int_eq(capi_objects_build(in, &plan, &err), 0);
}

static void teardown(void)
{
	json_decref(plan);
}

static const json_t *object(const char *kind, const char *name)
{
	const json_t *e = sample_entry(plan, kind, name);

	ck_assert_msg(e, "%s/%s is not in the plan", kind, name);
	return json_object_get(e, "object");
}

static const char *label(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(json_at(o, "metadata.labels"), key));
}

static const char *annotation(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(json_at(o, "metadata.annotations"), key));
}

/* What real controllers adopted, and the owner that each has in upstream's own graph. */
static const struct {
	const char *kind, *name, *api, *owner, *owner_name;
	bool controller;
} expected[] = {
	{"ConfigMap", "pcg-back-reference", "v1", NULL, NULL, false},
	{"Secret", "c1", "v1", NULL, NULL, false},
	{"Cluster", "c1", "cluster.x-k8s.io/v1beta2", NULL, NULL, false},
	{"VSphereCluster", "c1", "infrastructure.cluster.x-k8s.io/v1beta2", "Cluster", "c1", false},
	{"VSphereMachineTemplate", "c1-cp", "infrastructure.cluster.x-k8s.io/v1beta2", "Cluster",
	 "c1", false},
	{"KubeadmControlPlane", "c1-cp", "controlplane.cluster.x-k8s.io/v1beta2", "Cluster", "c1",
	 false},
	{"VSphereMachineTemplate", "c1-md", "infrastructure.cluster.x-k8s.io/v1beta2", "Cluster",
	 "c1", false},
	{"KubeadmConfigTemplate", "c1-md", "bootstrap.cluster.x-k8s.io/v1beta2", "Cluster", "c1",
	 false},
	{"MachineDeployment", "c1-md", "cluster.x-k8s.io/v1beta2", "Cluster", "c1", false},
	{"Secret", "c1-ca", "v1", "KubeadmControlPlane", "c1-cp", true},
	{"Secret", "c1-etcd", "v1", "KubeadmControlPlane", "c1-cp", true},
	{"Secret", "c1-proxy", "v1", "KubeadmControlPlane", "c1-cp", true},
	{"Secret", "c1-sa", "v1", "KubeadmControlPlane", "c1-cp", true},
	{"Secret", "c1-kubeconfig", "v1", "KubeadmControlPlane", "c1-cp", true},
	{"Machine", "c1-cp-bcdfg", "cluster.x-k8s.io/v1beta2", "KubeadmControlPlane", "c1-cp",
	 true},
	{"KubeadmConfig", "c1-cp-bcdfg", "bootstrap.cluster.x-k8s.io/v1beta2", "Machine",
	 "c1-cp-bcdfg", true},
	{"VSphereMachine", "c1-cp-bcdfg", "infrastructure.cluster.x-k8s.io/v1beta2", "Machine",
	 "c1-cp-bcdfg", true},
	{"Secret", "c1-cp-bcdfg", "v1", "KubeadmConfig", "c1-cp-bcdfg", true},
	{"VSphereVM", "c1-cp-bcdfg", "infrastructure.cluster.x-k8s.io/v1beta2", "VSphereMachine",
	 "c1-cp-bcdfg", false},
};

START_TEST(plan_is_the_list_that_controllers_adopt)
{
	ck_assert_uint_eq(json_array_size(json_object_get(plan, "objects")), ARRAY_LEN(expected));
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		const json_t *e = json_array_get(json_object_get(plan, "objects"), i);

		e = sample_entry(plan, expected[i].kind, expected[i].name);
		ck_assert_msg(e, "%s/%s", expected[i].kind, expected[i].name);
		ck_assert_str_eq(json_str(e, "object.apiVersion"), expected[i].api);
		ck_assert_str_eq(
			label(json_object_get(e, "object"), "cluster.x-k8s.io/cluster-name"), "c1");
		ck_assert_str_eq(json_str(e, "object.metadata.namespace"),
				 strcmp(expected[i].kind, "ConfigMap") ? "default" : "kube-system");
		ck_assert_ptr_null(json_at(e, "object.metadata.ownerReferences"));
		ck_assert_ptr_null(json_at(e, "object.status"));
		ck_assert_int_eq(json_bool_or(e, "controller", false), expected[i].controller);
		if (!expected[i].owner) {
			ck_assert(json_is_null(json_object_get(e, "owner")));
			continue;
		}
		ck_assert_str_eq(json_str(e, "owner.kind"), expected[i].owner);
		ck_assert_str_eq(json_str(e, "owner.name"), expected[i].owner_name);
	}
}
END_TEST

START_TEST(owner_stands_in_an_earlier_group)
{
	const json_t *list = json_object_get(plan, "objects"), *e, *owner;
	json_int_t last = 0;
	size_t i;

	json_array_foreach (list, i, e) {
		ck_assert_int_ge(json_int_or(e, "group", -1), last);
		last = json_int_or(e, "group", -1);
		if (json_is_null(json_object_get(e, "owner")))
			continue;
		owner = sample_entry(plan, json_str(e, "owner.kind"), json_str(e, "owner.name"));
		ck_assert_ptr_nonnull(owner);
		ck_assert_int_lt(json_int_or(owner, "group", 99), last);
	}
}
END_TEST

static void check_no_empty(const json_t *v, const char *key)
{
	size_t i;
	json_t *item;
	const char *name;

	ck_assert_msg(!json_is_object(v) || json_object_size(v), "empty object %s", key);
	ck_assert_msg(!json_is_array(v) || json_array_size(v) || !strcmp(key, "taints"),
		      "empty list %s", key);
	ck_assert_msg(!json_is_string(v) || json_string_length(v) || !strcmp(key, "value") ||
			      !strcmp(key, "message"),
		      "empty string %s", key);
	ck_assert_msg(!json_is_null(v), "null %s", key);
	if (json_is_object(v))
		json_object_foreach ((json_t *)v, name, item)
			check_no_empty(item, name);
	json_array_foreach (v, i, item)
		check_no_empty(item, key);
}

START_TEST(nothing_empty_is_sent)
{
	const json_t *e;
	size_t i;

	json_array_foreach (json_object_get(plan, "objects"), i, e) {
		if (json_at(e, "object.spec"))
			check_no_empty(json_at(e, "object.spec"), "spec");
		if (json_is_object(json_object_get(e, "status")))
			check_no_empty(json_object_get(e, "status"), "status");
	}
}
END_TEST

START_TEST(cluster_is_paused_and_in_the_gateways_hands)
{
	const json_t *o = object("Cluster", "c1");

	ck_assert(json_bool_or(o, "spec.paused", false));
	ck_assert_str_eq(annotation(o, CAPI_AUTHORITY), "gateway");
	ck_assert_str_eq(annotation(o, CAPI_EPOCH), "1");
	ck_assert_str_eq(annotation(o, CAPI_OWNER), "gw-1");
	ck_assert_str_eq(annotation(o, "overlordUid"), "gw-1");
	ck_assert_str_eq(json_str(o, "spec.controlPlaneEndpoint.host"), "10.0.0.5");
	ck_assert_str_eq(json_str(o, "spec.infrastructureRef.apiGroup"),
			 "infrastructure.cluster.x-k8s.io");
	ck_assert_str_eq(json_str(o, "spec.infrastructureRef.kind"), "VSphereCluster");
	ck_assert_str_eq(json_str(o, "spec.clusterNetwork.pods.cidrBlocks.0"), "192.168.0.0/16");
	ck_assert_ptr_null(json_at(o, "spec.infrastructureRef.apiVersion"));
}
END_TEST

START_TEST(ranges_of_both_families_are_a_block_each)
{
	AUTO_JSON json_t *in = sample_input("ca crt\n"), *two = NULL,
			 *pods = json_pack("[s,s]", "10.0.0.0/16", "fd00::/48"),
			 *services = json_pack("[s,s]", "10.96.0.0/12", "fd01::/112");
	const json_t *o;
	struct pcg_error err;

	json_put_str(in, "spec.podCIDR", "10.0.0.0/16,fd00::/48");
	json_put_str(in, "spec.serviceCIDR", "10.96.0.0/12,fd01::/112");
	ck_assert_int_eq(capi_objects_build(in, &two, &err), 0);
	o = json_object_get(sample_entry(two, "Cluster", "c1"), "object");
	ck_assert(json_equal(json_at(o, "spec.clusterNetwork.pods.cidrBlocks"), pods));
	ck_assert(json_equal(json_at(o, "spec.clusterNetwork.services.cidrBlocks"), services));
}
END_TEST

START_TEST(pools_have_their_wanted_sizes_and_workers_no_machines)
{
	const json_t *md = object("MachineDeployment", "c1-md");
	AUTO_JSON json_t *selector = json_pack("{s:s,s:s}", "cluster.x-k8s.io/cluster-name", "c1",
					       "cluster.x-k8s.io/deployment-name", "c1-md");

	ck_assert_int_eq(json_int_or(object("KubeadmControlPlane", "c1-cp"), "spec.replicas", 0),
			 3);
	ck_assert_int_eq(json_int_or(md, "spec.replicas", 0), 5);
	ck_assert(json_equal(json_at(md, "spec.selector.matchLabels"), selector));
	ck_assert_str_eq(json_str(md, "spec.template.spec.bootstrap.configRef.name"), "c1-md");
	ck_assert_int_eq(json_int_or(md, "spec.rollout.strategy.rollingUpdate.maxUnavailable", 0),
			 1);
	ck_assert_str_eq(
		json_string_value(json_object_get(json_at(md, "spec.template.metadata.labels"),
						  "node-role.kubernetes.io/gpu")),
		"yes");
	ck_assert_ptr_null(sample_entry(plan, "MachineSet", "c1-md"));
}
END_TEST

START_TEST(labels_and_taints_of_a_pool_reach_its_nodes)
{
	const json_t *o = object("KubeadmConfigTemplate", "c1-md");
	const char *labels = json_str(
		o,
		"spec.template.spec.joinConfiguration.nodeRegistration.kubeletExtraArgs.0.value");

	ck_assert_ptr_nonnull(strstr(labels, "zone=a"));
	ck_assert_ptr_nonnull(strstr(labels, "empty="));
	ck_assert_ptr_nonnull(strstr(labels, "given=yes"));
	ck_assert_ptr_null(strstr(labels, "node-role"));
	ck_assert_str_eq(
		json_str(o, "spec.template.spec.joinConfiguration.nodeRegistration.taints.0.key"),
		"gpu");
}
END_TEST

START_TEST(labels_that_kubelet_may_not_set_reach_control_plane_nodes_by_their_machines)
{
	AUTO_JSON json_t *in = sample_input("ca crt\n"), *labelled = NULL,
			 *want = json_pack("{s:s}", "node-role.kubernetes.io/infra", "");
	const json_t *o;
	struct pcg_error err;

	json_object_set_new(json_at(in, "spec.pools.0"), "labels",
			    json_pack("{s:s,s:s}", "node-role.kubernetes.io/infra", "", "zone", "a"));
	ck_assert_int_eq(capi_objects_build(in, &labelled, &err), 0);
	o = json_object_get(sample_entry(labelled, "KubeadmControlPlane", "c1-cp"), "object");
	ck_assert(json_equal(json_at(o, "spec.machineTemplate.metadata.labels"), want));
}
END_TEST

START_TEST(machine_of_kubeadm_init_has_the_control_planes_configuration_without_join)
{
	const json_t *kcp =
		json_at(object("KubeadmControlPlane", "c1-cp"), "spec.kubeadmConfigSpec");
	const json_t *mine = json_object_get(object("KubeadmConfig", "c1-cp-bcdfg"), "spec");
	AUTO_JSON json_t *want = json_deep_copy(kcp);

	ck_assert_ptr_nonnull(json_object_get(kcp, "joinConfiguration"));
	json_object_del(want, "joinConfiguration");
	ck_assert(json_equal(want, (json_t *)mine));
}
END_TEST

START_TEST(second_control_plane_machine_has_it_without_init)
{
	AUTO_JSON json_t *in = sample_input("ca crt\n"), *two = NULL;
	json_t *machines = json_object_get(in, "machines"),
	       *machine = json_deep_copy(json_array_get(machines, 0));
	json_t *objects = json_object_get(in, "providerObjects"),
	       *infra = json_deep_copy(json_array_get(objects, 4));
	struct pcg_error err;

	json_object_set_new(machine, "name", json_string("c1-cp-zzzzz"));
	json_object_set_new(machine, "uid", json_string("m-2"));
	json_array_append_new(machines, machine);
	json_object_set_new(infra, "machine", json_string("m-2"));
	json_put(infra, "object.metadata.name", json_string("c1-cp-zzzzz"));
	json_array_append_new(objects, infra);
	ck_assert_int_eq(capi_objects_build(in, &two, &err), 0);
	ck_assert_ptr_null(json_at(sample_entry(two, "KubeadmConfig", "c1-cp-zzzzz"),
				   "object.spec.initConfiguration"));
	ck_assert_ptr_nonnull(json_at(sample_entry(two, "KubeadmConfig", "c1-cp-zzzzz"),
				      "object.spec.joinConfiguration"));
}
END_TEST

static const struct {
	const char *version;
	bool gate;
} gates[] = {{"v1.30.9", false}, {"v1.31.0", true}, {"v1.35.4", true}, {"v1.36.3", false}};

START_TEST(gate_that_the_control_plane_provider_adds_is_in_the_machines_configuration)
{
	AUTO_JSON json_t *in = sample_input("ca crt\n"), *p = NULL;
	struct pcg_error err;

	json_put(in, "spec.kubernetesVersion", json_string(gates[_i].version));
	ck_assert_int_eq(capi_objects_build(in, &p, &err), 0);
	ck_assert_int_eq(json_bool_or(sample_entry(p, "KubeadmConfig", "c1-cp-bcdfg"),
				      "object.spec.clusterConfiguration.featureGates."
				      "ControlPlaneKubeletLocalMode",
				      false),
			 gates[_i].gate);
	ck_assert_ptr_null(
		json_at(sample_entry(p, "KubeadmControlPlane", "c1-cp"),
			"object.spec.kubeadmConfigSpec.clusterConfiguration.featureGates"));
}
END_TEST

START_TEST(machine_is_what_the_control_plane_provider_counts)
{
	const json_t *m = object("Machine", "c1-cp-bcdfg"),
		     *infra = object("VSphereMachine", "c1-cp-bcdfg");

	ck_assert_str_eq(label(m, "cluster.x-k8s.io/control-plane"), "");
	ck_assert_str_eq(label(m, "cluster.x-k8s.io/control-plane-name"), "c1-cp");
	ck_assert_str_eq(json_str(m, "spec.version"), "v1.36.3");
	ck_assert_str_eq(json_str(m, "spec.providerID"), "vsphere://42");
	ck_assert_str_eq(json_str(m, "spec.bootstrap.dataSecretName"), "c1-cp-bcdfg");
	ck_assert_str_eq(annotation(infra, "cluster.x-k8s.io/cloned-from-name"), "c1-cp");
	ck_assert_str_eq(annotation(infra, "cluster.x-k8s.io/cloned-from-groupkind"),
			 "VSphereMachineTemplate.infrastructure.cluster.x-k8s.io");
	ck_assert_str_eq(label(infra, "cluster.x-k8s.io/control-plane"), "");
}
END_TEST

START_TEST(status_says_what_controllers_would_have_found)
{
	const json_t *m = sample_entry(plan, "Machine", "c1-cp-bcdfg");

	ck_assert_str_eq(json_str(m, "status.nodeRef.name"), "c1-cp-bcdfg");
	ck_assert_str_eq(json_str(m, "status.addresses.0.address"), "10.0.0.5");
	ck_assert(json_bool_or(m, "status.initialization.infrastructureProvisioned", false));
	ck_assert(json_bool_or(sample_entry(plan, "Cluster", "c1"),
			       "status.initialization.controlPlaneInitialized", false));
	ck_assert(json_bool_or(sample_entry(plan, "KubeadmControlPlane", "c1-cp"),
			       "status.initialization.controlPlaneInitialized", false));
	ck_assert_str_eq(json_str(sample_entry(plan, "KubeadmControlPlane", "c1-cp"),
				  "status.conditions.0.type"),
			 "Initialized");
	ck_assert(json_bool_or(sample_entry(plan, "VSphereMachine", "c1-cp-bcdfg"),
			       "status.initialization.provisioned", false));
}
END_TEST

START_TEST(values_with_quotes_lines_and_braces_stay_as_they_are)
{
	const json_t *spec =
		json_at(object("KubeadmControlPlane", "c1-cp"), "spec.kubeadmConfigSpec");

	ck_assert_str_eq(json_str(spec, "preKubeadmCommands.0"), SAMPLE_NASTY);
	ck_assert_str_eq(json_str(spec, "files.0.content"), SAMPLE_NASTY);
	ck_assert_str_eq(
		json_str(spec, "initConfiguration.nodeRegistration.kubeletExtraArgs.0.value"), "");
	ck_assert(json_is_array(json_at(spec, "initConfiguration.nodeRegistration.taints")));
}
END_TEST

START_TEST(secrets_have_the_form_that_controllers_read)
{
	const json_t *ca = object("Secret", "c1-ca"), *sa = object("Secret", "c1-sa");

	ck_assert_str_eq(json_str(ca, "type"), "cluster.x-k8s.io/secret");
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(ca, "data"), "tls.crt")),
			 "Y2EgY3J0Cg==");
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(sa, "data"), "tls.crt")),
			 "c2EgcHViCg==");
	ck_assert_str_eq(json_str(object("Secret", "c1-cp-bcdfg"), "data.format"),
			 "Y2xvdWQtY29uZmln");
	ck_assert_str_eq(json_str(object("ConfigMap", "pcg-back-reference"), "data.gatewayUid"),
			 "gw-1");
	ck_assert_str_eq(json_str(object("ConfigMap", "pcg-back-reference"), "data.planeUrl"),
			 "https://plane.example:8443");
}
END_TEST

static const struct {
	const char *remove, *says;
} incomplete[] = {
	{"keys.sa.key", "sa pair"},
	{"keys.etcd.crt", "etcd pair"},
	{"controlPlaneSpec", "controlPlaneSpec"},
	{"workerSpec", "pool md"},
	{"machines", "first machine"},
	{"endpoint.host", "endpoint.host"},
	{"epoch", "epoch"},
	{"providerObjects", "role cluster"},
};

START_TEST(what_is_missing_is_named)
{
	AUTO_JSON json_t *in = sample_input("ca crt\n"), *p = NULL;
	char path[64], *dot;
	struct pcg_error err;

	snprintf(path, sizeof(path), "%s", incomplete[_i].remove);
	dot = strrchr(path, '.');
	if (dot)
		*dot = '\0';
	json_object_del(dot ? json_at(in, path) : in, dot ? dot + 1 : path);
	ck_assert_int_lt(capi_objects_build(in, &p, &err), 0);
	ck_assert_msg(strstr(err.text, incomplete[_i].says), "%s", err.text);
	ck_assert_ptr_null(p);
}
END_TEST

START_TEST(paths_follow_from_the_kind)
{
	static const struct {
		const char *api, *kind, *path;
	} table[] = {
		{"v1", "Secret", "/api/v1/namespaces/n/secrets/x"},
		{"v1", "Namespace", "/api/v1/namespaces/x"},
		{"cluster.x-k8s.io/v1beta2", "Cluster",
		 "/apis/cluster.x-k8s.io/v1beta2/namespaces/n/clusters/x"},
		{"g/v1", "VSphereVM", "/apis/g/v1/namespaces/n/vspherevms/x"},
		{"g/v1", "VSphereClusterIdentity", "/apis/g/v1/vsphereclusteridentities/x"},
		{"g/v1", "MachineHealthCheck", "/apis/g/v1/namespaces/n/machinehealthchecks/x"},
		{"g/v1", "IPAddress", "/apis/g/v1/namespaces/n/ipaddresses/x"},
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		AUTO_FREE char *path = path_object(table[i].api, table[i].kind, "n", "x");

		ck_assert_str_eq(path, table[i].path);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capi objects");
	TCase *t = tcase_create("objects");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, plan_is_the_list_that_controllers_adopt);
	tcase_add_test(t, owner_stands_in_an_earlier_group);
	tcase_add_test(t, nothing_empty_is_sent);
	tcase_add_test(t, cluster_is_paused_and_in_the_gateways_hands);
	tcase_add_test(t, ranges_of_both_families_are_a_block_each);
	tcase_add_test(t, pools_have_their_wanted_sizes_and_workers_no_machines);
	tcase_add_test(t, labels_and_taints_of_a_pool_reach_its_nodes);
	tcase_add_test(t, labels_that_kubelet_may_not_set_reach_control_plane_nodes_by_their_machines);
	tcase_add_test(t,
		       machine_of_kubeadm_init_has_the_control_planes_configuration_without_join);
	tcase_add_test(t, second_control_plane_machine_has_it_without_init);
	tcase_add_loop_test(
		t, gate_that_the_control_plane_provider_adds_is_in_the_machines_configuration, 0,
		ARRAY_LEN(gates));
	tcase_add_test(t, machine_is_what_the_control_plane_provider_counts);
	tcase_add_test(t, status_says_what_controllers_would_have_found);
	tcase_add_test(t, values_with_quotes_lines_and_braces_stay_as_they_are);
	tcase_add_test(t, secrets_have_the_form_that_controllers_read);
	tcase_add_loop_test(t, what_is_missing_is_named, 0, ARRAY_LEN(incomplete));
	tcase_add_test(t, paths_follow_from_the_kind);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
