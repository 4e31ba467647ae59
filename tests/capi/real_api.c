/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a real kube-apiserver, with the real definitions and a real garbage collector, through a
 * hand-over and back; test-real-api starts these and runs this. Prints a line for each thing that held.
 *
 * usage: real_api SERVER CA.pem CA.key DEFINITIONS.yaml... POOLS.yaml
 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"
#include "host/capi/capi.h"
#include "host/capi/check.h"
#include "host/capi/path.h"
#include "tests/capi/sample.h"
#include "tests/capi/vsphere_plan.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/yaml.h"
#include "net/pki.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLUSTER "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/clusters/c1"
#define IPAM "/apis/ipam.cluster.x-k8s.io/"
#define MACHINE "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines/c1-cp-bcdfg"

static uv_loop_t loop;
static struct kube *k;
static char *ca, *ca_key;
static int failures, turns_done;
static struct pcg_error last_err;
static json_t *last_result, *progress;
static bool last_failed;

static bool check(bool ok, const char *what, const char *why)
{
	printf("%s %s%s%s\n", ok ? "ok  " : "FAIL", what, ok ? "" : ": ", ok ? "" : why);
	fflush(stdout);
	failures += !ok;
	return ok;
}

static int mint(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	AUTO_JSON json_t *keys =
		json_pack("{s:{s:s,s:s}}", "ca", "crt", ca, "key", ca_key);

	(void)arg;
	return bootstrap_mint_admin(keys, "pcg-gateway", 3600000, cert_pem, key_pem, err);
}

/* ---- one thing at a time ---- */

static void wait_turn(void)
{
	int64_t until = clock_mono_ms() + 120000;

	while (!turns_done && clock_mono_ms() < until)
		uv_run(&loop, UV_RUN_ONCE);
	if (!turns_done) {
		printf("FAIL nothing came back within 120 s\n");
		exit(1);
	}
}

static void on_progress(void *arg, const char *step, const char *object)
{
	char line[300];

	(void)arg;
	snprintf(line, sizeof(line), "%s %s", step, object);
	json_array_append_new(progress, json_string(line));
}

static void on_done(void *arg, json_t *result, const struct pcg_error *err)
{
	(void)arg;
	last_failed = err != NULL;
	if (err)
		last_err = *err;
	json_decref(last_result);
	last_result = json_deep_copy(result);
	turns_done = 1;
}

static struct capi_callbacks callbacks(void)
{
	turns_done = 0;
	last_err.text[0] = '\0';
	json_array_clear(progress);
	return (struct capi_callbacks){.progress = on_progress, .done = on_done};
}

static bool progressed(const char *line)
{
	size_t i;
	json_t *v;

	json_array_foreach (progress, i, v)
		if (strcmp(json_string_value(v), line) == 0)
			return true;
	return false;
}

static bool run(struct capi_op *op)
{
	(void)op;
	wait_turn();
	return !last_failed;
}

static int reply_status;
static json_t *reply_body;

static void on_reply(void *arg, const struct kube_reply *r)
{
	(void)arg;
	reply_status = r->status;
	json_decref(reply_body);
	reply_body = json_deep_copy(r->body);
	last_err = r->err;
	turns_done = 1;
}

static int request(const char *method, const char *path, const char *type, json_t *body)
{
	turns_done = 0;
	kube_request(k, method, path, type, body, 30000, on_reply, NULL);
	wait_turn();
	json_decref(body);
	return reply_status;
}

static int patch(const char *path, json_t *body)
{
	return request("PATCH", path, "application/merge-patch+json", body);
}

static void on_applied(void *arg, const struct pcg_error *err)
{
	on_done(arg, NULL, err);
}

static bool apply(json_t *objects)
{
	struct kube_apply_spec spec = {
		.objects = objects, .timeout_ms = 60000, .done = on_applied};

	callbacks();
	kube_apply(k, &spec);
	wait_turn();
	json_decref(objects);
	return !last_failed;
}

static void pause_ms(int ms)
{
	int64_t until = clock_mono_ms() + ms;
	struct timespec t = {.tv_nsec = 20000000};

	while (clock_mono_ms() < until)
		nanosleep(&t, NULL);
}

/* ---- what the cluster is made of ---- */

/* The conversions are webhooks of controllers that are not here. */
static bool load_definitions(char **files, int n)
{
	json_t *all = json_array();

	for (int f = 0; f < n; f++) {
		AUTO_FREE char *text = sample_read(files[f]);
		AUTO_JSON json_t *docs = NULL;
		struct pcg_error err;
		size_t i;
		json_t *o;

		if (yaml_load_all(text, strlen(text), files[f], &docs, &err)) {
			printf("FAIL %s\n", err.text);
			exit(1);
		}
		json_array_foreach (docs, i, o) {
			if (strcmp(json_str_or(o, "kind", ""), "CustomResourceDefinition") != 0)
				continue;
			json_object_del(json_object_get(o, "spec"), "conversion");
			json_object_del(json_object_get(o, "metadata"), "annotations");
			json_array_append(all, o);
		}
	}
	return apply(all);
}

static json_t *controller(const char *provider)
{
	return json_pack(
		"{s:s,s:s,s:{s:s,s:s,s:{s:s}},s:{s:{s:{s:s}},s:{s:{s:{s:s}},s:{s:[{s:s,s:s}]}}}}",
		"apiVersion", "apps/v1", "kind", "Deployment", "metadata", "name", provider,
		"namespace", "default", "labels", "cluster.x-k8s.io/provider", provider, "spec",
		"selector", "matchLabels", "a", provider, "template", "metadata", "labels", "a",
		provider, "spec", "containers", "name", "manager", "image", "none");
}

static void make_world(void)
{
	static const char *const providers[] = {"cluster-api", "bootstrap-kubeadm",
						"control-plane-kubeadm", "infrastructure-vsphere", "ipam-in-cluster"};
	json_t *node = json_pack("{s:s,s:s,s:{s:s},s:{s:s}}", "apiVersion", "v1", "kind", "Node",
				 "metadata", "name", "c1-cp-bcdfg", "spec", "providerID", VSPHERE_PLAN_ID);
	char path[200];

	apply(json_pack("[o,o,o,o,o,o]", node, controller(providers[0]), controller(providers[1]),
			controller(providers[2]), controller(providers[3]), controller(providers[4])));
	for (size_t i = 0; i < ARRAY_LEN(providers); i++) {
		snprintf(path, sizeof(path), "/apis/apps/v1/namespaces/default/deployments/%s/status",
			 providers[i]);
		patch(path, json_pack("{s:{s:i,s:[{s:s,s:s,s:s}]}}", "status", "observedGeneration", 1,
				      "conditions", "type", "Available", "status", "True", "reason",
				      "ok"));
	}
	patch("/api/v1/nodes/c1-cp-bcdfg/status",
	      json_pack("{s:{s:[{s:s,s:s,s:s,s:s}]}}", "status", "conditions", "type", "Ready",
			"status", "True", "reason", "ok", "message", "ok"));
	patch("/api/v1/nodes/c1-cp-bcdfg", json_pack("{s:{s:n}}", "spec", "taints"));
}

static json_t *make_plan(json_t *keys, int epoch)
{
	return vsphere_plan_static(ca, keys, epoch, 3, 5);
}

/* ---- what has to hold ---- */

static bool write_plan(const json_t *plan)
{
	struct capi_callbacks cb = callbacks();

	return run(capi_write(k, plan, &cb));
}

static json_t *identity(int epoch)
{
	return json_pack("{s:s,s:s,s:s,s:i,s:i}", "namespace", "default", "name", "c1", "gatewayUid",
			 "gw-1", "epoch", epoch, "observeTimeoutMs", 500);
}

static void preflight_passes(const json_t *plan, json_t *keys)
{
	AUTO_JSON json_t *in = json_pack("{s:O}", "keys", keys);
	struct capi_callbacks cb = callbacks();
	struct pcg_error err = {.text = ""};

	check(run(capi_preflight(k, plan, in, &cb)), "the_preflight_ends", last_err.text);
	check(check_first_failure(json_object_get(last_result, "checks"), &err) == 0,
	      "a_real_api_server_accepts_every_object_strictly", err.text);
	check(request("GET", CLUSTER, NULL, NULL) == 404, "a_dry_run_leaves_nothing", "");
}

/* Served and listed are two things: the list of groups is made a little later. */
static bool is_listed(const char *group, const char *version)
{
	int64_t until = clock_mono_ms() + 30000;
	json_t *g, *v;
	size_t i, n;

	while (clock_mono_ms() < until) {
		request("GET", "/apis", NULL, NULL);
		json_array_foreach (json_object_get(reply_body, "groups"), i, g)
			json_array_foreach (json_object_get(g, "versions"), n, v)
				if (strcmp(json_str_or(g, "name", ""), group) == 0 &&
				    strcmp(json_str_or(v, "version", ""), version) == 0)
					return true;
		pause_ms(50);
	}
	return false;
}

/* Cluster API itself brings the claims; pools are the address provider's. */
static void pools_need_their_definition(const json_t *plan, json_t *keys, char **file)
{
	AUTO_JSON json_t *in = json_pack("{s:O}", "keys", keys);
	struct capi_callbacks cb = callbacks();
	struct pcg_error err = {.text = ""};

	run(capi_preflight(k, plan, in, &cb));
	check(check_first_failure(json_object_get(last_result, "checks"), &err) != 0 &&
		      strstr(err.text, "InClusterIPPool") && strstr(err.remedy, "into the bundle"),
	      "static_addresses_without_their_provider_are_refused", err.text);
	check(load_definitions(file, 1) && is_listed("ipam.cluster.x-k8s.io", "v1alpha2"), "the_pools_definition_is_there",
	      last_err.text);
}

static void addresses_are_bound(void)
{
	request("GET", IPAM "v1beta2/namespaces/default/ipaddresses/c1-cp-bcdfg-0-0", NULL, NULL);
	check(reply_status == 200 && !strcmp(json_str_or(reply_body, "spec.address", ""), "10.0.0.20") &&
		      !strcmp(json_str_or(reply_body, "metadata.ownerReferences.0.kind", ""), "IPAddressClaim") &&
		      json_bool_or(reply_body, "metadata.ownerReferences.0.controller", false) &&
		      !strcmp(json_str_or(reply_body, "metadata.ownerReferences.1.kind", ""), "InClusterIPPool") &&
		      json_bool_or(reply_body, "metadata.ownerReferences.1.blockOwnerDeletion", false),
	      "the_first_machines_address_belongs_to_its_claim_and_pool", "");
	request("GET", IPAM "v1beta2/namespaces/default/ipaddressclaims/c1-cp-bcdfg-0-0", NULL, NULL);
	check(!strcmp(json_str_or(reply_body, "status.addressRef.name", ""), "c1-cp-bcdfg-0-0") &&
		      !strcmp(json_str_or(reply_body, "metadata.ownerReferences.0.kind", ""), "VSphereVM"),
	      "its_claim_is_bound_and_belongs_to_the_machine", "");
	request("GET", IPAM "v1alpha2/namespaces/default/inclusterippools/lab", NULL, NULL);
	check(json_array_size(json_at(reply_body, "spec.addresses")) == 6, "the_pool_holds_what_is_reserved", "");
}

static void unknown_fields_are_refused(const json_t *plan, json_t *keys)
{
	AUTO_JSON json_t *in = json_pack("{s:O}", "keys", keys), *bad = json_deep_copy(plan);
	struct capi_callbacks cb = callbacks();
	struct pcg_error err = {.text = ""};

	json_put_str(sample_entry(bad, "VSphereVM", "c1-cp-bcdfg"), "object.spec.biosUUIDs", "x");
	run(capi_preflight(k, bad, in, &cb));
	check(check_first_failure(json_object_get(last_result, "checks"), &err) != 0 &&
		      strstr(err.text, "biosUUIDs"),
	      "a_field_that_is_not_known_is_named_before_anything_is_written", err.text);
}

static void written_and_again(const json_t *plan)
{
	char what[700];

	if (!check(write_plan(plan), "everything_is_written_and_reads_back", last_err.text))
		exit(1);
	check(progressed("verified objects") && progressed("created VSphereVM/c1-cp-bcdfg"),
	      "each_object_is_told", "");
	check(write_plan(plan), "writing_again_is_well", last_err.text);
	for (size_t i = 0; i < json_array_size(progress); i++) {
		snprintf(what, sizeof(what), "%s", json_string_value(json_array_get(progress, i)));
		check(strncmp(what, "changed", 7) && strncmp(what, "created", 7) &&
			      strncmp(what, "replaced", 8),
		      "writing_again_changes_nothing", what);
	}
	request("GET", MACHINE, NULL, NULL);
	check(json_bool_or(reply_body, "status.initialization.infrastructureProvisioned", false),
	      "status_is_written_while_paused", "");
}

static void stale_owners_are_replaced(const json_t *plan)
{
	int status = patch(
		MACHINE, json_pack("{s:{s:[{s:s,s:s,s:s,s:s,s:b,s:b}]}}", "metadata", "ownerReferences",
				   "apiVersion", "controlplane.cluster.x-k8s.io/v1beta2", "kind",
				   "KubeadmControlPlane", "name", "c1-cp", "uid",
				   "9d5f1b1e-0000-4000-8000-000000000000", "controller", 1,
				   "blockOwnerDeletion", 1));

	check(status == 200, "an_owner_uid_of_another_cluster_is_taken_by_the_server", last_err.text);
	check(write_plan(plan), "an_object_with_a_stale_owner_is_made_anew", last_err.text);
	check(progressed("replaced Machine/c1-cp-bcdfg") || progressed("created Machine/c1-cp-bcdfg"),
	      "and_that_is_told", "");
	pause_ms(4000);
	request("GET", MACHINE, NULL, NULL);
	check(reply_status == 200 && !json_str(reply_body, "metadata.deletionTimestamp"),
	      "the_garbage_collector_leaves_it_alone", "");
}

#define DEPLOYMENT "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machinedeployments/"
#define INFRA "/apis/infrastructure.cluster.x-k8s.io/v1beta2/"

/* The server's own answers, in whose stores what it does not know would be missing. */
static void a_pool_in_two_places_is_two_deployments(void)
{
	static const struct {
		const char *path, *domain, *template;
		int replicas;
	} want[] = {
		{DEPLOYMENT "c1-zoned-1", "c1-north", "c1-zoned-1", 2},
		{DEPLOYMENT "c1-zoned-2", "c1-south.zoned", "c1-zoned-2", 1},
		{DEPLOYMENT "c1-md", "", "c1-md", 5},
	};

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		const json_t *spec;

		check(request("GET", want[i].path, NULL, NULL) == 200, "each_place_has_its_deployment", want[i].path);
		spec = json_at(reply_body, "spec.template.spec");
		check(json_int_or(reply_body, "spec.replicas", -1) == want[i].replicas &&
			      strcmp(json_str_or(spec, "failureDomain", ""), want[i].domain) == 0 &&
			      strcmp(json_str_or(spec, "infrastructureRef.name", ""), want[i].template) == 0,
		      "with_its_share_its_failure_domain_and_its_template", want[i].path);
	}
	request("GET", INFRA "namespaces/default/vspheremachinetemplates/c1-zoned-2", NULL, NULL);
	check(strcmp(json_str_or(reply_body, "spec.template.spec.resourcePool", ""), "/DC0/host/DC0_C1/Resources") == 0,
	      "and_the_template_is_the_place_s", json_str_or(reply_body, "message", ""));
}

static void read_back_as_one_pool(void)
{
	json_t *pool;
	size_t i, pools = 0;
	bool whole = false;

	json_array_foreach (json_object_get(last_result, "pools"), i, pool) {
		pools++;
		whole = whole || (strcmp(json_str_or(pool, "name", ""), "zoned") == 0 && json_int_or(pool, "size", 0) == 3 &&
				  json_array_size(json_object_get(pool, "deployments")) == 2);
	}
	check(pools == 2 && whole, "the_places_of_a_pool_are_read_back_as_one", "");
}

/* Nobody is here who would stop them. */
static void controllers_go(void)
{
	request("DELETE",
		"/apis/apps/v1/namespaces/default/deployments?labelSelector=cluster.x-k8s.io%2Fprovider",
		NULL, NULL);
}

static void committed_taken_back_and_again(json_t *keys)
{
	AUTO_JSON json_t *two = identity(2), *three = identity(3), *five = identity(5), *plan = NULL,
			 *again = NULL;
	struct capi_callbacks cb = callbacks();

	check(run(capi_commit(k, two, &cb)), "the_commit_is_one_guarded_patch", last_err.text);
	request("GET", CLUSTER, NULL, NULL);
	check(!json_at(reply_body, "spec.paused"), "the_cluster_is_not_paused_then", "");
	cb = callbacks();
	check(run(capi_commit(k, two, &cb)), "a_second_commit_finds_the_first", last_err.text);
	plan = make_plan(keys, 1);
	check(!write_plan(plan), "nothing_is_written_into_a_cluster_that_owns_itself", "");
	controllers_go();
	cb = callbacks();
	check(run(capi_take_back(k, three, &cb)), "it_is_taken_back", last_err.text);
	check(json_array_size(json_object_get(last_result, "machines")) == 1 &&
		      json_array_size(json_object_get(last_result, "objects")) >= 10,
	      "its_graph_is_read", "");
	read_back_as_one_pool();
	cb = callbacks();
	again = make_plan(keys, 3);
	check(run(capi_rollback(k, again, five, &cb)), "it_is_rolled_back", last_err.text);
	check(request("GET", CLUSTER, NULL, NULL) == 404, "nothing_of_it_is_left", "");
	check(request("GET", DEPLOYMENT "c1-zoned-2", NULL, NULL) == 404 &&
		      request("GET", INFRA "vspheredeploymentzones/c1-south.zoned", NULL, NULL) == 404,
	      "nor_of_its_places", "");
	check(request("GET", IPAM "v1alpha2/namespaces/default/inclusterippools/lab", NULL, NULL) == 404 &&
		      request("GET", IPAM "v1beta2/namespaces/default/ipaddresses/c1-cp-bcdfg-0-0", NULL, NULL) == 404,
	      "nor_of_its_addresses", "");
	json_decref(TAKE(again));
	again = make_plan(keys, 5);
	check(write_plan(again), "it_is_written_again", last_err.text);
	json_object_set_new(five, "epoch", json_integer(6));
	cb = callbacks();
	check(run(capi_commit(k, five, &cb)), "it_is_committed_again", last_err.text);
}

int main(int argc, char **argv)
{
	struct kube_spec spec = {.mint = mint, .field_manager = "pcg"};
	json_t *keys, *plan;
	struct pcg_error err;

	if (argc < 6) {
		fprintf(stderr, "usage: real_api SERVER CA.pem CA.key DEFINITIONS.yaml... POOLS.yaml\n");
		return 2;
	}
	log_init("real_api", LOG_L_WARN);
	http_global_init();
	uv_loop_init(&loop);
	spec.http = http_client_new(&loop, NULL);
	spec.server = argv[1];
	spec.ca_pem = ca = sample_read(argv[2]);
	ca_key = sample_read(argv[3]);
	progress = json_array();
	if (kube_new(&spec, &k, &err)) {
		printf("FAIL %s\n", err.text);
		return 1;
	}
	if (!check(load_definitions(argv + 4, argc - 5), "the_real_definitions_are_there",
		   last_err.text))
		return 1;
	make_world();
	keys = vsphere_plan_keys(ca, ca_key);
	plan = make_plan(keys, 1);
	pools_need_their_definition(plan, keys, argv + argc - 1);
	preflight_passes(plan, keys);
	unknown_fields_are_refused(plan, keys);
	written_and_again(plan);
	addresses_are_bound();
	a_pool_in_two_places_is_two_deployments();
	stale_owners_are_replaced(plan);
	committed_taken_back_and_again(keys);
	kube_free(k);
	json_decref(plan);
	json_decref(keys);
	printf("%s\n", failures ? "some failed" : "all held");
	return failures ? 1 : 0;
}
