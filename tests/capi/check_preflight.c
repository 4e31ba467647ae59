/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes wrong after a hand-over, refused before it. Each row of "refused" is a fault that was
 * tried with the real controllers: most of them adopt without an error, and replace a machine or make
 * keys anew later.
 */
#include "config.h"
#include "host/capi/check.h"
#include "host/capi/path.h"
#include "tests/capi/rig.h"
#include "tests/capi/sample.h"
#include "tests/capi/world.h"
#include "core/base64.h"
#include "core/clock.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define NODE "/api/v1/nodes/c1-cp-bcdfg"
#define CORE "/apis/apps/v1/namespaces/cluster-api/deployments/manager"

static json_t *keys, *plan;

static void setup(void)
{
	rig_setup();
	keys = world_keys();
	plan = world_plan(keys);
	world_ready();
}

static void teardown(void)
{
	json_decref(keys);
	json_decref(plan);
	rig_teardown();
}

static json_t *object(const char *kind, const char *name)
{
	json_t *entry = sample_entry(plan, kind, name);

	ck_assert_msg(entry, "no %s/%s in the plan", kind, name);
	return json_object_get(entry, "object");
}

static json_t *machine(void)
{
	return object("Machine", "c1-cp-bcdfg");
}

static void drop(const char *kind, const char *name)
{
	json_t *objects = json_object_get(plan, "objects"), *e = sample_entry(plan, kind, name);

	for (size_t i = 0; i < json_array_size(objects); i++)
		if (json_array_get(objects, i) == e) {
			json_array_remove(objects, i);
			return;
		}
	ck_abort_msg("no %s/%s in the plan", kind, name);
}

static void unlabel(json_t *o, const char *key)
{
	ck_assert_int_eq(json_object_del(json_at(o, "metadata.labels"), key), 0);
}

static void put_data(const char *name, const char *key, const char *text)
{
	AUTO_FREE char *coded = base64_encode(text, strlen(text));

	json_object_set_new(json_object_get(object("Secret", name), "data"), key, json_string(coded));
}

START_TEST(a_cluster_that_can_take_over_passes_every_check)
{
	const json_t *records = world_preflight(plan, keys);
	size_t n = fake_api_count(rig.api), i;
	struct pcg_error err;
	json_t *r;

	json_array_foreach (records, i, r)
		ck_assert_msg(strcmp(json_str(r, "state"), "ok") == 0, "%s: %s, %s",
			      json_str(r, "check"), json_str(r, "state"), json_str_or(r, "seen", ""));
	ck_assert_uint_eq(i, CHECK_COUNT);
	ck_assert_int_eq(check_first_failure(records, &err), 0);
	ck_assert_ptr_null(json_object_get(rig.result, "plan"));
	world_preflight(plan, keys);
	ck_assert_uint_eq(fake_api_count(rig.api), n);
	ck_assert_uint_eq(json_array_size(fake_api_violations(rig.api)), 0);
}
END_TEST

START_TEST(checks_once_written_too)
{
	struct capi_callbacks cb = rig_callbacks();

	ck_assert(rig_run(capi_write(fake_api_kube(rig.api), plan, &cb)));
	ck_assert_str_eq(json_str(world_check(world_preflight(plan, keys), "webhooks"), "state"),
			 "ok");
}
END_TEST

/* ---- the plan ---- */

static void foreign_owner_uid(void)
{
	json_put(machine(), "metadata.ownerReferences",
		 json_pack("[{s:s,s:s,s:s,s:s}]", "apiVersion", "x/v1", "kind", "KubeadmControlPlane",
			   "name", "c1-cp", "uid", "of-another-cluster"));
}

static void unpaused_cluster(void)
{
	json_object_del(json_object_get(object("Cluster", "c1"), "spec"), "paused");
}

static void no_control_plane_label(void)
{
	unlabel(machine(), "cluster.x-k8s.io/control-plane");
}

static void command_differs(void)
{
	json_put(object("KubeadmConfig", "c1-cp-bcdfg"), "spec.postKubeadmCommands",
		 json_pack("[s]", "true"));
}

static void control_plane_command_differs(void)
{
	json_put(object("KubeadmControlPlane", "c1-cp"), "spec.kubeadmConfigSpec.postKubeadmCommands",
		 json_pack("[s]", "true"));
}

static void init_and_join(void)
{
	json_put(object("KubeadmConfig", "c1-cp-bcdfg"), "spec.joinConfiguration",
		 json_deep_copy(json_at(object("KubeadmControlPlane", "c1-cp"),
					"spec.kubeadmConfigSpec.joinConfiguration")));
}

static void cloned_from_another(void)
{
	json_object_set_new(json_at(object("VSphereMachine", "c1-cp-bcdfg"), "metadata.annotations"),
			    "cluster.x-k8s.io/cloned-from-name", json_string("c1-old"));
}

static void one_cloned_from_annotation(void)
{
	json_object_del(json_at(object("VSphereMachine", "c1-cp-bcdfg"), "metadata.annotations"),
			"cluster.x-k8s.io/cloned-from-name");
}

static void no_template(void)
{
	drop("VSphereMachineTemplate", "c1-cp");
}

static void no_worker_template(void)
{
	drop("VSphereMachineTemplate", "c1-md");
}

static void no_config_template(void)
{
	drop("KubeadmConfigTemplate", "c1-md");
}

static void no_zone(void)
{
	json_put_str(object("MachineDeployment", "c1-md"), "spec.template.spec.failureDomain", "c1-elsewhere");
}

static void no_config(void)
{
	drop("KubeadmConfig", "c1-cp-bcdfg");
}

static void no_config_ref(void)
{
	json_object_del(json_at(machine(), "spec.bootstrap"), "configRef");
}

static void no_ca(void)
{
	drop("Secret", "c1-ca");
}

static void no_etcd(void)
{
	drop("Secret", "c1-etcd");
}

static void no_sa(void)
{
	drop("Secret", "c1-sa");
}

static void no_proxy(void)
{
	drop("Secret", "c1-proxy");
}

static void foreign_ca(void)
{
	put_data("c1-ca", "tls.crt", json_str(keys, "etcd.crt"));
	put_data("c1-ca", "tls.key", json_str(keys, "etcd.key"));
}

static void foreign_etcd(void)
{
	put_data("c1-etcd", "tls.crt", json_str(keys, "proxy.crt"));
	put_data("c1-etcd", "tls.key", json_str(keys, "proxy.key"));
}

static void foreign_proxy(void)
{
	put_data("c1-proxy", "tls.crt", json_str(keys, "etcd.crt"));
	put_data("c1-proxy", "tls.key", json_str(keys, "etcd.key"));
}

static void foreign_sa(void)
{
	put_data("c1-sa", "tls.key", json_str(keys, "etcd.key"));
}

static void key_of_another(void)
{
	put_data("c1-etcd", "tls.key", json_str(keys, "proxy.key"));
	json_object_del(json_object_get(keys, "etcd"), "key");
}

static void unlabelled_kubeconfig(void)
{
	unlabel(object("Secret", "c1-kubeconfig"), "cluster.x-k8s.io/cluster-name");
}

static void unlabelled_ca(void)
{
	unlabel(object("Secret", "c1-ca"), "cluster.x-k8s.io/cluster-name");
}

static void no_identity(void)
{
	drop("Secret", "c1");
}

static void no_provider_id(void)
{
	json_object_del(json_object_get(machine(), "spec"), "providerID");
}

static void provider_ids_differ(void)
{
	json_put_str(object("VSphereMachine", "c1-cp-bcdfg"), "spec.providerID", "vsphere://43");
}

static void other_bios_uuid(void)
{
	json_put_str(object("VSphereVM", "c1-cp-bcdfg"), "spec.biosUUID", "43");
}

static void provider_id_twice(void)
{
	json_t *e = json_deep_copy(sample_entry(plan, "Machine", "c1-cp-bcdfg"));

	json_put_str(e, "object.metadata.name", "c1-cp-other");
	json_array_append_new(json_object_get(plan, "objects"), e);
}

static void worker_without_set(void)
{
	json_t *e = json_deep_copy(sample_entry(plan, "Machine", "c1-cp-bcdfg"));

	json_put_str(e, "object.metadata.name", "c1-md-1");
	json_put(e, "object.metadata.labels",
		 json_pack("{s:s,s:s,s:s}", "cluster.x-k8s.io/cluster-name", "c1",
			   "cluster.x-k8s.io/deployment-name", "c1-md", "cluster.x-k8s.io/set-name",
			   "c1-md-x"));
	json_put_str(e, "object.spec.providerID", "vsphere://44");
	json_array_append_new(json_object_get(plan, "objects"), e);
}

static void other_version(void)
{
	json_put_str(machine(), "spec.version", "v1.35.0");
}

static void another_year(void)
{
	clock_turn_ms(INT64_C(11) * 365 * 86400000);
}

static const struct {
	const char *name;
	void (*change)(void);
	const char *check, *seen;
} refused[] = {
	{"owner_uid_of_another_cluster", foreign_owner_uid, "owners", "Machine/c1-cp-bcdfg"},
	{"cluster_unpaused_before_its_machines", unpaused_cluster, "paused", "Cluster/c1"},
	{"machine_without_control_plane_label", no_control_plane_label, "machines", "c1-cp-bcdfg"},
	{"configuration_differs_by_a_command", command_differs, "configuration",
	 "postKubeadmCommands"},
	{"control_plane_differs_by_a_command", control_plane_command_differs, "configuration",
	 "postKubeadmCommands"},
	{"configuration_with_init_and_join", init_and_join, "configuration", "has both"},
	{"cloned_from_another_template", cloned_from_another, "template", "c1-old"},
	{"one_of_two_cloned_from_annotations", one_cloned_from_annotation, "template", "none"},
	{"no_machine_template", no_template, "template", "VSphereMachineTemplate/c1-cp"},
	{"no_template_of_workers", no_worker_template, "template", "MachineDeployment/c1-md names VSphereMachineTemplate/c1-md"},
	{"no_configuration_of_workers", no_config_template, "template", "KubeadmConfigTemplate/c1-md"},
	{"workers_in_a_failure_domain_that_is_not_written", no_zone, "template", "c1-elsewhere"},
	{"no_kubeadm_config", no_config, "configuration", "c1-cp-bcdfg"},
	{"no_config_ref", no_config_ref, "configuration", "none"},
	{"no_ca", no_ca, "key-pairs", "c1-ca"},
	{"no_etcd", no_etcd, "key-pairs", "c1-etcd"},
	{"no_sa", no_sa, "key-pairs", "c1-sa"},
	{"no_proxy", no_proxy, "key-pairs", "c1-proxy"},
	{"ca_of_another", foreign_ca, "serving-ca", "c1-ca"},
	{"etcd_of_another", foreign_etcd, "key-pairs", "c1-etcd"},
	{"proxy_of_another", foreign_proxy, "key-pairs", "c1-proxy"},
	{"sa_of_another", foreign_sa, "key-pairs", "c1-sa"},
	{"key_that_does_not_belong", key_of_another, "key-pairs", "belong together"},
	{"kubeconfig_without_label", unlabelled_kubeconfig, "labels", "Secret/c1-kubeconfig"},
	{"ca_without_label", unlabelled_ca, "labels", "Secret/c1-ca"},
	{"no_identity_secret", no_identity, "identity", "Secret/c1"},
	{"machine_without_provider_id", no_provider_id, "provider-ids", "none"},
	{"provider_ids_differ", provider_ids_differ, "provider-ids", "vsphere://43"},
	{"vm_of_another_uuid", other_bios_uuid, "provider-ids", "43"},
	{"provider_id_twice", provider_id_twice, "provider-ids", "c1-cp-other"},
	{"worker_without_its_machine_set", worker_without_set, "machines", "c1-md-1"},
	{"machine_of_another_version", other_version, "versions", "v1.35.0"},
	{"certificates_that_ended", another_year, "validity", "valid from"},
};

START_TEST(what_would_go_wrong_after_the_commit_is_refused_before)
{
	AUTO_JSON json_t *records = json_array();
	struct check_facts facts = {.keys = keys, .serving_ca = fake_api_ca(rig.api)};
	const json_t *r;
	struct pcg_error err;

	refused[_i].change();
	check_plan(plan, &facts, records);
	r = world_check(records, refused[_i].check);
	ck_assert_msg(strcmp(json_str(r, "state"), "failed") == 0, "%s was let pass",
		      refused[_i].name);
	ck_assert_msg(strstr(json_str(r, "seen"), refused[_i].seen), "%s: %s", refused[_i].name,
		      json_str(r, "seen"));
	ck_assert_str_ne(json_str(r, "expected"), "");
	ck_assert_str_ne(json_str(r, "remedy"), "");
	ck_assert_int_eq(check_first_failure(records, &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "before the hand-over"));
}
END_TEST

START_TEST(pairs_that_were_made_here_are_compared_all_the_same)
{
	AUTO_JSON json_t *records = json_array(), *changed = json_array();
	struct check_facts facts = {
		.keys = keys, .serving_ca = fake_api_ca(rig.api), .made = true};

	check_plan(plan, &facts, records);
	ck_assert_str_eq(json_str(world_check(records, "key-pairs"), "state"), "ok");
	foreign_etcd();
	check_plan(plan, &facts, changed);
	ck_assert_str_eq(json_str(world_check(changed, "key-pairs"), "state"), "failed");
}
END_TEST

/* ---- the cluster ---- */

static json_t *stored(const char *path)
{
	json_t *o = fake_api_get(rig.api, path);

	ck_assert_msg(o, "%s is not there", path);
	return o;
}

static void node_not_ready(void)
{
	json_put(stored(NODE), "status.conditions", json_pack("[{s:s,s:s}]", "type", "Ready", "status",
							      "False"));
}

static void node_cordoned(void)
{
	json_put(stored(NODE), "spec.unschedulable", json_true());
}

static void node_tainted(void)
{
	json_array_append_new(json_at(stored(NODE), "spec.taints"),
			      json_pack("{s:s,s:s}", "key",
					"node.cloudprovider.kubernetes.io/uninitialized", "effect",
					"NoSchedule"));
}

static void node_of_another_id(void)
{
	json_put_str(stored(NODE), "spec.providerID", "vsphere://ABC");
}

static void node_without_id(void)
{
	json_object_del(json_object_get(stored(NODE), "spec"), "providerID");
}

static void node_id_in_upper_case(void)
{
	json_put_str(stored(NODE), "spec.providerID", "VSPHERE://42");
}

static void two_nodes_of_one_id(void)
{
	json_t *other = json_deep_copy(stored(NODE));

	json_put_str(other, "metadata.name", "other");
	fake_api_put(rig.api, "/api/v1/nodes/other", other);
}

static void controller_down(void)
{
	json_put(stored(CORE), "status.conditions", json_pack("[{s:s,s:s}]", "type", "Available",
							      "status", "False"));
	fake_api_deaf_controllers(rig.api);
}

static void controller_stopped(void)
{
	json_put(stored(CORE), "spec.replicas", json_integer(0));
}

static void controller_without_label(void)
{
	json_object_clear(json_at(stored(CORE), "metadata.labels"));
}

#define DEFINITIONS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"

static void no_contract(void)
{
	json_object_clear(
		json_at(stored(DEFINITIONS "vspheremachines.infrastructure.cluster.x-k8s.io"),
			"metadata.labels"));
}

static void other_definition(void)
{
	json_put_str(stored(DEFINITIONS "vspheremachines.infrastructure.cluster.x-k8s.io"),
		     "metadata.name", "vspheremachine.infrastructure.cluster.x-k8s.io");
}

static void unknown_version(void)
{
	fake_api_serve(rig.api, "controlplane.cluster.x-k8s.io", "v1beta9");
}

static void clock_ahead(void)
{
	fake_api_turn_clock(rig.api, 86400000);
}

static void clock_behind(void)
{
	fake_api_turn_clock(rig.api, -86400000);
}

static void object_refused(void)
{
	json_put(machine(), "spec.failureDomain", json_string(""));
}

static const struct {
	const char *name;
	void (*change)(void);
	const char *check, *state, *seen;
} unready[] = {
	{"node_not_ready", node_not_ready, "node", "waiting", "not ready"},
	{"node_cordoned", node_cordoned, "node", "waiting", "cordoned"},
	{"node_tainted", node_tainted, "node", "waiting", "uninitialized"},
	{"node_of_another_id", node_of_another_id, "node-ids", "failed", "vsphere://ABC"},
	{"node_without_id", node_without_id, "node-ids", "waiting", "no provider id"},
	{"node_id_in_upper_case", node_id_in_upper_case, "node-ids", "failed", "VSPHERE://42"},
	{"two_nodes_of_one_id", two_nodes_of_one_id, "node-ids", "failed", "2 Nodes"},
	{"controller_down", controller_down, "controllers", "waiting", "cluster-api/manager"},
	{"controller_stopped", controller_stopped, "controllers", "failed", "scaled to 0"},
	{"controller_without_label", controller_without_label, "controllers", "failed",
	 "none of cluster-api"},
	{"no_contract", no_contract, "contracts", "failed", "vspheremachines"},
	{"definition_of_another_name", other_definition, "contracts", "failed", "VSphereMachine"},
	{"unknown_version", unknown_version, "kinds", "failed", "KubeadmControlPlane"},
	{"clock_a_day_ahead", clock_ahead, "clock", "waiting", " s ahead"},
	{"clock_a_day_behind", clock_behind, "clock", "waiting", "behind"},
	{"object_refused", object_refused, "webhooks", "failed", "Machine/c1-cp-bcdfg"},
};

START_TEST(a_cluster_that_cannot_take_over_is_named_with_what_to_do)
{
	size_t before = fake_api_count(rig.api);
	const json_t *r;

	unready[_i].change();
	before = fake_api_count(rig.api);
	r = world_check(world_preflight(plan, keys), unready[_i].check);
	ck_assert_msg(strcmp(json_str(r, "state"), unready[_i].state) == 0, "%s: %s (%s)",
		      unready[_i].name, json_str(r, "state"), json_str_or(r, "seen", ""));
	ck_assert_msg(strstr(json_str(r, "seen"), unready[_i].seen), "%s: %s", unready[_i].name,
		      json_str(r, "seen"));
	ck_assert_str_ne(json_str(r, "remedy"), "");
	ck_assert_uint_eq(fake_api_count(rig.api), before);
}
END_TEST

START_TEST(webhooks_that_are_not_up_yet_are_waited_for)
{
	fake_api_webhooks_down(rig.api, 3);
	ck_assert_str_eq(json_str(world_check(world_preflight(plan, keys), "webhooks"), "state"),
			 "ok");
}
END_TEST

START_TEST(no_record_holds_a_secret)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *records = json_array();
	struct check_facts facts = {.keys = keys, .serving_ca = fake_api_ca(rig.api)};

	foreign_etcd();
	unlabelled_ca();
	no_identity();
	check_plan(plan, &facts, records);
	text = json_text(records);
	ck_assert_ptr_null(strstr(text, "PRIVATE KEY"));
	ck_assert_ptr_null(strstr(text, "dQ=="));
}
END_TEST

/* ---- older controllers ---- */

static void serve_old(void)
{
	static const char *const groups[] = {
		"cluster.x-k8s.io", "bootstrap.cluster.x-k8s.io", "controlplane.cluster.x-k8s.io",
		"infrastructure.cluster.x-k8s.io"};

	for (size_t i = 0; i < ARRAY_LEN(groups); i++)
		fake_api_serve(rig.api, groups[i], "v1beta1");
}

static const json_t *old_object(const char *kind, const char *name)
{
	return json_object_get(sample_entry(json_object_get(rig.result, "plan"), kind, name), "object");
}

START_TEST(a_cluster_that_serves_v1beta1_alone_gets_its_shapes)
{
	const json_t *records, *o;
	struct pcg_error err = {.text = ""};

	serve_old();
	records = world_preflight(plan, keys);
	ck_assert_msg(check_first_failure(records, &err) == 0, "%s", err.text);
	o = old_object("Cluster", "c1");
	ck_assert_str_eq(json_str(o, "apiVersion"), "cluster.x-k8s.io/v1beta1");
	ck_assert_str_eq(json_str(o, "spec.controlPlaneRef.apiVersion"),
			 "controlplane.cluster.x-k8s.io/v1beta1");
	ck_assert_str_eq(json_str(o, "spec.controlPlaneRef.namespace"), "default");
	ck_assert_ptr_null(json_at(o, "spec.controlPlaneRef.apiGroup"));
	o = old_object("KubeadmControlPlane", "c1-cp");
	ck_assert_str_eq(json_str(o, "spec.machineTemplate.infrastructureRef.name"), "c1-cp");
	ck_assert_ptr_null(json_at(o, "spec.machineTemplate.spec"));
	ck_assert_str_eq(json_str(o, "spec.kubeadmConfigSpec.initConfiguration.nodeRegistration."
				     "kubeletExtraArgs.cloud-provider"),
			 "");
	ck_assert_ptr_null(json_at(o, "spec.kubeadmConfigSpec.clusterConfiguration.encryptionAlgorithm"));
	ck_assert_ptr_null(json_at(old_object("KubeadmConfig", "c1-cp-bcdfg"),
				   "spec.clusterConfiguration.encryptionAlgorithm"));
	o = old_object("MachineDeployment", "c1-md");
	ck_assert_str_eq(json_str(o, "spec.strategy.type"), "RollingUpdate");
	ck_assert_ptr_null(json_at(o, "spec.rollout"));
	ck_assert_str_eq(json_str(o, "spec.template.spec.bootstrap.configRef.apiVersion"),
			 "bootstrap.cluster.x-k8s.io/v1beta1");
	ck_assert_int_eq(json_bool_or(sample_entry(json_object_get(rig.result, "plan"),
						   "VSphereMachine", "c1-cp-bcdfg"),
				      "status.ready", false),
			 true);
	ck_assert(json_bool_or(sample_entry(json_object_get(rig.result, "plan"), "Machine",
					    "c1-cp-bcdfg"),
			       "status.bootstrapReady", false));
}
END_TEST

START_TEST(what_serves_v1beta1_alone_is_committed_and_taken_back)
{
	AUTO_JSON json_t *two = rig_identity(2), *three = rig_identity(3), *old = NULL;
	struct capi_callbacks cb = rig_callbacks();

	serve_old();
	world_preflight(plan, keys);
	old = json_deep_copy(json_object_get(rig.result, "plan"));
	ck_assert_msg(rig_run(capi_write(fake_api_kube(rig.api), old, &cb)), "%s", rig.err.text);
	ck_assert_msg(rig_run(capi_commit(fake_api_kube(rig.api), two, &cb)), "%s", rig.err.text);
	ck_assert_msg(rig_run(capi_commit_check(fake_api_kube(rig.api), two, &cb)), "%s",
		      rig.err.text);
	ck_assert_str_eq(json_str(rig.result, "state"), "committed");
	json_object_set_new(three, "observeTimeoutMs", json_integer(50));
	ck_assert_msg(rig_run(capi_take_back(fake_api_kube(rig.api), three, &cb)), "%s",
		      rig.err.text);
	ck_assert_uint_eq(json_array_size(json_object_get(rig.result, "machines")), 1);
	ck_assert_uint_ge(json_array_size(json_object_get(rig.result, "objects")), 10);
}
END_TEST

/* After a restart there is no plan but the newest one. */
START_TEST(what_serves_v1beta1_alone_is_rolled_back_by_a_plan_made_anew)
{
	AUTO_JSON json_t *three = rig_identity(3), *old = NULL;
	struct capi_callbacks cb = rig_callbacks();
	size_t i;
	json_t *entry;

	serve_old();
	world_preflight(plan, keys);
	old = json_deep_copy(json_object_get(rig.result, "plan"));
	ck_assert_msg(rig_run(capi_write(fake_api_kube(rig.api), old, &cb)), "%s", rig.err.text);
	ck_assert_msg(rig_run(capi_rollback(fake_api_kube(rig.api), plan, three, &cb)), "%s",
		      rig.err.text);
	json_array_foreach(json_object_get(old, "objects"), i, entry) {
		const json_t *o = json_object_get(entry, "object");
		AUTO_FREE char *path = path_of(o);

		if (strcmp(json_str_or(o, "kind", ""), "Namespace") != 0)
			ck_assert_msg(!fake_api_get(rig.api, path), "%s is still there", path);
	}
}
END_TEST

START_TEST(old_infrastructure_beside_new_core_is_written_as_each_serves)
{
	const json_t *o;

	fake_api_serve(rig.api, "infrastructure.cluster.x-k8s.io", "v1beta1");
	world_preflight(plan, keys);
	o = old_object("Cluster", "c1");
	ck_assert_str_eq(json_str(o, "apiVersion"), "cluster.x-k8s.io/v1beta2");
	ck_assert_str_eq(json_str(o, "spec.infrastructureRef.apiGroup"),
			 "infrastructure.cluster.x-k8s.io");
	o = old_object("VSphereMachine", "c1-cp-bcdfg");
	ck_assert_str_eq(json_str(o, "apiVersion"), "infrastructure.cluster.x-k8s.io/v1beta1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capi preflight");
	TCase *t = tcase_create("preflight");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_cluster_that_can_take_over_passes_every_check);
	tcase_add_test(t, checks_once_written_too);
	tcase_add_test(t, pairs_that_were_made_here_are_compared_all_the_same);
	tcase_add_loop_test(t, what_would_go_wrong_after_the_commit_is_refused_before, 0,
			    ARRAY_LEN(refused));
	tcase_add_loop_test(t, a_cluster_that_cannot_take_over_is_named_with_what_to_do, 0,
			    ARRAY_LEN(unready));
	tcase_add_test(t, webhooks_that_are_not_up_yet_are_waited_for);
	tcase_add_test(t, no_record_holds_a_secret);
	tcase_add_test(t, a_cluster_that_serves_v1beta1_alone_gets_its_shapes);
	tcase_add_test(t, what_serves_v1beta1_alone_is_committed_and_taken_back);
	tcase_add_test(t, what_serves_v1beta1_alone_is_rolled_back_by_a_plan_made_anew);
	tcase_add_test(t, old_infrastructure_beside_new_core_is_written_as_each_serves);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
