/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the cluster, before anything is written, whether it can take its own state over. Only reads
 * and dry runs: it may be run at any time, and again.
 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/address_shapes.h"
#include "host/capi/check.h"
#include "host/capi/downgrade.h"
#include "host/capi/op.h"
#include "host/capi/path.h"
#include "host/capi/shapes.h"
#include "core/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_APART_MS 300000
#define TAINT "node-role.kubernetes.io/control-plane"
#define DEFINITIONS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#define PROVIDER_LABEL "cluster.x-k8s.io/provider"

struct preflight {
	json_t *input, *plan;
	json_t *records;
	json_t *served;  /* group: {version: true} */
	bool downgraded;
};

static void free_preflight(void *state)
{
	struct preflight *f = state;

	json_wipe(f->input);
	json_wipe(f->plan);
	json_decref(f->records);
	json_decref(f->served);
}

static json_t *objects(const struct preflight *f)
{
	return json_object_get(f->plan, "objects");
}

static json_t *object_at(const struct preflight *f, size_t i)
{
	return json_object_get(json_array_get(objects(f), i), "object");
}

static void cannot_ask(struct preflight *f, enum check_id id, const struct kube_reply *r,
		       const char *what)
{
	const char *remedy = *r->err.remedy ? r->err.remedy :
			     "it is asked again; if it stays so, see the API server's log";

	check_fail(f->records, id, r->err.class == PCG_CLASS_RETRY, remedy, "an answer",
		   "%s: %s", what, r->err.text);
}

static void finish(struct capi_op *op)
{
	struct preflight *f = op_state(op);
	json_t *result;

	check_complete(f->records);
	result = json_pack("{s:O}", "checks", f->records);
	if (f->downgraded)
		json_object_set(result, "plan", f->plan);
	op_progress(op, "checked", "the hand-over");
	op_done(op, result);
}

/* ---- a dry run of every object ---- */

static const json_t *namespace_of_plan(const struct preflight *f)
{
	for (size_t i = 0; i < json_array_size(objects(f)); i++)
		if (strcmp(json_str_or(object_at(f, i), "kind", ""), "Namespace") == 0)
			return object_at(f, i);
	return NULL;
}

/* There already also means: after admission. */
static void on_dry_run(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct preflight *f = op_state(op);
	const json_t *object = arg;
	AUTO_FREE char *label = path_label(object);
	bool ok = (r->status >= 200 && r->status < 300) || r->status == 409;

	if (!ok && !(r->status == 404 && namespace_of_plan(f)))
		check_fail(f->records, CHECK_WEBHOOKS, r->err.class == PCG_CLASS_RETRY,
			   r->err.class == PCG_CLASS_RETRY ?
				   "it is tried again; see the pods of the webhook that is named" :
				   "see which rule of the cluster refuses it, or take a release of the "
				   "controllers that knows the field",
			   "the object is accepted", "%s: %s", label, r->err.text);
	op_item_done(op);
}

/* Secrets of one type differ by what nobody but their reader looks into. */
static bool stands_for(const json_t *earlier, const json_t *object)
{
	static const char *const same[] = {"kind", "type", "metadata.namespace", "metadata.labels"};

	if (strcmp(json_str_or(object, "kind", ""), "Secret") != 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		if (!json_equal(json_at(earlier, same[i]), json_at(object, same[i])))
			return false;
	return true;
}

static void begin_dry_run(struct capi_op *op, void *arg, size_t i)
{
	struct preflight *f = arg;
	json_t *object = object_at(f, i);
	AUTO_FREE char *collection = path_of_collection(object);
	AUTO_FREE char *path = NULL;

	for (size_t k = 0; k < i; k++)
		if (stands_for(object_at(f, k), object)) {
			op_item_done(op);
			return;
		}
	if (asprintf(&path, "%s?dryRun=All", collection) < 0)
		abort();
	op_call(op, "POST", path, NULL, object, OP_UNREAD, on_dry_run, object);
}

static void end_dry_runs(struct capi_op *op, void *arg)
{
	struct preflight *f = arg;

	check_ok(f->records, CHECK_WEBHOOKS);
	finish(op);
}

static void dry_run(struct capi_op *op)
{
	struct preflight *f = op_state(op);

	/* Without the kind no dry run can tell more. */
	if (check_failed(f->records, CHECK_KINDS))
		finish(op);
	else
		op_batch(op, json_array_size(objects(f)), begin_dry_run, end_dry_runs, f);
}

/* ---- controllers ---- */

static bool is_available(const json_t *deployment)
{
	size_t i;
	json_t *c;

	json_array_foreach (json_at(deployment, "status.conditions"), i, c)
		if (strcmp(json_str_or(c, "type", ""), "Available") == 0)
			return strcmp(json_str_or(c, "status", ""), "True") == 0;
	return false;
}

static const char *provider_of(const json_t *object)
{
	const char *p = json_string_value(
		json_object_get(json_at(object, "metadata.labels"), PROVIDER_LABEL));

	return p ? p : "";
}

static void check_provider(struct preflight *f, const json_t *deployments, const char *prefix)
{
	const char *waits = "see the Deployment and its pods (kubectl -n NAMESPACE describe)";
	size_t i, found = 0;
	json_t *d;

	json_array_foreach (deployments, i, d) {
		if (strncmp(provider_of(d), prefix, strlen(prefix)) != 0)
			continue;
		found++;
		if (json_int_or(d, "spec.replicas", 1) == 0)
			check_fail(f->records, CHECK_CONTROLLERS, false,
				   "scale it up again; somebody stopped it", "it runs",
				   "Deployment %s/%s of %s is scaled to 0",
				   json_str_or(d, "metadata.namespace", ""),
				   json_str_or(d, "metadata.name", ""), provider_of(d));
		else if (!is_available(d))
			check_fail(f->records, CHECK_CONTROLLERS, true, waits, "Available",
				   "Deployment %s/%s of %s is not available",
				   json_str_or(d, "metadata.namespace", ""),
				   json_str_or(d, "metadata.name", ""), provider_of(d));
	}
	if (!found)
		check_fail(f->records, CHECK_CONTROLLERS, false,
			   "look at the bundle (pcgctl bundle show DIR): its objects carry this label",
			   "a Deployment with label " PROVIDER_LABEL, "none of %s%s", prefix,
			   prefix[strlen(prefix) - 1] == '-' ? "*" : "");
}

static bool has_address_pools(const struct preflight *f)
{
	for (size_t i = 0; i < json_array_size(objects(f)); i++)
		if (strcmp(json_str_or(object_at(f, i), "kind", ""), CAPI_IPAM_POOL) == 0)
			return true;
	return false;
}

static void on_deployments(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	static const char *const providers[] = {"cluster-api", "bootstrap-", "control-plane-",
						"infrastructure-"};
	struct preflight *f = op_state(op);

	(void)arg;
	if (r->status != 200)
		cannot_ask(f, CHECK_CONTROLLERS, r, "the controllers' Deployments");
	for (size_t i = 0; r->status == 200 && i < ARRAY_LEN(providers); i++)
		check_provider(f, json_object_get(r->body, "items"), providers[i]);
	if (r->status == 200 && has_address_pools(f))
		check_provider(f, json_object_get(r->body, "items"), "ipam-in-cluster");
	check_ok(f->records, CHECK_CONTROLLERS);
	dry_run(op);
}

/* ---- kinds ---- */

static const json_t *definition(const json_t *all, const char *group, const char *kind)
{
	AUTO_FREE char *plural = path_plural(kind);
	char name[300];
	size_t i;
	json_t *d;

	snprintf(name, sizeof(name), "%s.%s", plural, group);
	json_array_foreach (json_object_get(all, "items"), i, d)
		if (strcmp(json_str_or(d, "metadata.name", ""), name) == 0)
			return d;
	return NULL;
}

/* The core controllers find the version of what they refer to by this label, and by nothing else. */
static bool has_contract(const json_t *definition)
{
	const json_t *labels = json_at(definition, "metadata.labels");

	return json_string_length(json_object_get(labels, "cluster.x-k8s.io/v1beta2")) ||
	       json_string_length(json_object_get(labels, "cluster.x-k8s.io/v1beta1"));
}

static void check_reference(struct preflight *f, const json_t *definitions, const json_t *ref)
{
	const char *kind = json_str(ref, "kind"), *api = json_str(ref, "apiVersion"), *group;
	AUTO_FREE char *of_api = api ? path_group(api) : NULL;
	const json_t *d;

	group = of_api ? of_api : json_str_or(ref, "apiGroup", "");
	if (!kind)
		return;
	d = definition(definitions, group, kind);
	if (!d)
		check_fail(f->records, CHECK_CONTRACTS, false,
			   "look at the bundle (pcgctl bundle show DIR): a release of the provider "
			   "brings this kind", "a CustomResourceDefinition", "none for %s of %s", kind,
			   group);
	else if (!has_contract(d))
		check_fail(f->records, CHECK_CONTRACTS, false,
			   "take the components file of a release: its definitions carry the label",
			   "label cluster.x-k8s.io/v1beta2 or cluster.x-k8s.io/v1beta1",
			   "CustomResourceDefinition %s has none",
			   json_str_or(d, "metadata.name", ""));
}

static void on_definitions(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	static const char *const paths[] = {
		"spec.infrastructureRef",
		"spec.controlPlaneRef",
		"spec.bootstrap.configRef",
		"spec.machineTemplate.spec.infrastructureRef",
		"spec.machineTemplate.infrastructureRef",
		"spec.template.spec.infrastructureRef",
		"spec.template.spec.bootstrap.configRef",
	};
	struct preflight *f = op_state(op);

	(void)arg;
	if (r->status != 200)
		cannot_ask(f, CHECK_CONTRACTS, r, "the definitions");
	for (size_t i = 0; r->status == 200 && i < json_array_size(objects(f)); i++)
		for (size_t p = 0; p < ARRAY_LEN(paths); p++)
			check_reference(f, r->body, json_at(object_at(f, i), paths[p]));
	check_ok(f->records, CHECK_CONTRACTS);
	op_list(op, "/apis/apps/v1/deployments", PROVIDER_LABEL, on_deployments, NULL);
}

static bool serves(const struct preflight *f, const char *group, const char *version)
{
	return json_object_get(json_object_get(f->served, group), version) != NULL;
}

static void check_kind(struct preflight *f, const json_t *object)
{
	const char *api = json_str_or(object, "apiVersion", "");
	const char *version = strchr(api, '/');
	AUTO_FREE char *group = path_group(api);

	if (!version || !strstr(group, "."))
		return;
	if (strcmp(api, CAPI_IPAM_POOL_API) == 0 && !serves(f, group, version + 1))
		check_fail(f->records, CHECK_KINDS, false,
			   "put the IPAM provider in-cluster into the bundle (docs/bundle.md): the cluster has static "
			   "addresses", api, "the cluster does not serve InClusterIPPool in it");
	else if (!serves(f, group, version + 1))
		check_fail(f->records, CHECK_KINDS, false,
			   "take releases that belong together into the bundle; v1beta2 and v1beta1 "
			   "can be written", api, "the cluster does not serve %s in it",
			   json_str_or(object, "kind", "?"));
}

static void on_groups(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct preflight *f = op_state(op);

	(void)arg;
	if (r->status != 200)
		cannot_ask(f, CHECK_KINDS, r, "the API groups");
	json_decref(f->served);
	f->served = served_of(r->body);
	if (downgrade_needed(f->plan, f->served)) {
		json_t *copy = json_deep_copy(f->plan);

		json_wipe(f->plan);
		f->plan = copy;
		f->downgraded = true;
		downgrade_plan(f->plan, f->served);
	}
	for (size_t i = 0; i < json_array_size(objects(f)); i++)
		check_kind(f, object_at(f, i));
	check_ok(f->records, CHECK_KINDS);
	op_metadata(op, DEFINITIONS, on_definitions, NULL);
}

/* ---- nodes ---- */

static bool is_ready(const json_t *node)
{
	size_t i;
	json_t *c;

	json_array_foreach (json_at(node, "status.conditions"), i, c)
		if (strcmp(json_str_or(c, "type", ""), "Ready") == 0)
			return strcmp(json_str_or(c, "status", ""), "True") == 0;
	return false;
}

/* The taint that keeps the controllers' pods away; NULL: none. */
static const char *repels(const json_t *node)
{
	size_t i;
	json_t *t;

	json_array_foreach (json_at(node, "spec.taints"), i, t)
		if (strcmp(json_str_or(t, "key", ""), TAINT) != 0 &&
		    strcmp(json_str_or(t, "effect", ""), "PreferNoSchedule") != 0)
			return json_str_or(t, "key", "?");
	return NULL;
}

static void check_nodes(struct preflight *f, const json_t *nodes)
{
	char why[256] = "there is no Node";
	size_t i;
	json_t *n;

	json_array_foreach (nodes, i, n) {
		const char *name = json_str_or(n, "metadata.name", "?");

		if (!is_ready(n))
			snprintf(why, sizeof(why), "Node %s is not ready", name);
		else if (json_bool_or(n, "spec.unschedulable", false))
			snprintf(why, sizeof(why), "Node %s is cordoned", name);
		else if (repels(n))
			snprintf(why, sizeof(why), "Node %s has the taint %s", name, repels(n));
		else
			return;
	}
	check_fail(f->records, CHECK_NODE, true,
		   "see kubectl describe node; the network layer makes it ready",
		   "a Node that is ready and takes pods that tolerate " TAINT, "%s", why);
}

static const json_t *node_named(const json_t *nodes, const char *name)
{
	size_t i;
	json_t *n;

	json_array_foreach (nodes, i, n)
		if (strcmp(json_str_or(n, "metadata.name", ""), name) == 0)
			return n;
	return NULL;
}

static void check_node_id(struct preflight *f, const json_t *nodes, const json_t *machine)
{
	const char *name = json_str_or(machine, "metadata.name", "?"),
		   *id = json_str_or(machine, "spec.providerID", ""), *has;
	size_t i, same = 0;
	const json_t *node = node_named(nodes, name);
	json_t *n;

	json_array_foreach (nodes, i, n)
		same += strcmp(json_str_or(n, "spec.providerID", ""), id) == 0;
	if (same == 1)
		return;
	has = json_str_or(node, "spec.providerID", "");
	if (same > 1)
		check_fail(f->records, CHECK_NODE_IDS, false,
			   "see which Node is real, and delete the others", "one Node",
			   "%zu Nodes have the provider id %s of Machine/%s", same, id, name);
	else if (node && *has)
		check_fail(f->records, CHECK_NODE_IDS, false,
			   "see what gives the node its provider id: kubelet's argument, or the cloud "
			   "provider layer; the Machine would never be ready", id,
			   "Node %s has the provider id %s", name, has);
	else
		check_fail(f->records, CHECK_NODE_IDS, true,
			   "the cloud provider layer writes it, or kubelet's argument provider-id", id,
			   node ? "Node %s has no provider id" : "there is no Node %s", name);
}

static void check_clock(struct preflight *f, int64_t date_ms)
{
	int64_t apart = date_ms - clock_wall_ms();

	if (!date_ms)
		return;
	if (apart > CLOCK_APART_MS || apart < -CLOCK_APART_MS)
		check_fail(f->records, CHECK_CLOCK, true,
			   "set the clocks of this machine and of the cluster's nodes (NTP)",
			   "at most 300 s", "the API server's clock is %" PRId64 " s %s",
			   (apart < 0 ? -apart : apart) / 1000, apart < 0 ? "behind" : "ahead");
}

static void on_nodes(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct preflight *f = op_state(op);
	const json_t *nodes = json_object_get(r->body, "items");

	(void)arg;
	check_clock(f, r->date_ms);
	if (r->status != 200) {
		cannot_ask(f, CHECK_NODE, r, "the cluster's Nodes");
		finish(op);
		return;
	}
	check_ok(f->records, CHECK_CLOCK);
	check_nodes(f, nodes);
	check_ok(f->records, CHECK_NODE);
	for (size_t i = 0; i < json_array_size(objects(f)); i++)
		if (strcmp(json_str_or(object_at(f, i), "kind", ""), "Machine") == 0)
			check_node_id(f, nodes, object_at(f, i));
	check_ok(f->records, CHECK_NODE_IDS);
	op_call(op, "GET", "/apis", NULL, NULL, 0, on_groups, NULL);
}

static void start_preflight(struct capi_op *op)
{
	struct preflight *f = op_state(op);
	struct check_facts facts = {.keys = json_object_get(f->input, "keys"),
				    .serving_ca = kube_ca_pem(op_kube(op)),
				    .made = json_bool_or(f->input, "made", false)};

	f->records = json_array();
	f->served = json_object();
	check_plan(f->plan, &facts, f->records);
	op_list(op, "/api/v1/nodes", NULL, on_nodes, NULL);
}

struct capi_op *capi_preflight(struct kube *k, const json_t *plan, const json_t *input,
			       const struct capi_callbacks *cb)
{
	static const struct op_type type = {
		.name = "preflight",
		.start = start_preflight,
		.free_state = free_preflight,
		.state_size = sizeof(struct preflight),
	};
	struct capi_op *op = op_new(k, &type, cb);
	struct preflight *f = op_state(op);

	f->plan = json_incref((json_t *)(uintptr_t)plan); /* both are read only */
	f->input = json_incref((json_t *)(uintptr_t)input);
	return op;
}
