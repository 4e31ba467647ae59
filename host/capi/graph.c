/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/graph.h"
#include "host/capi/path.h"
#include "host/capi/shapes.h"
#include "core/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *api, *kind;
} core_kinds[] = {
	{CAPI_API, "Cluster"},
	{CAPI_CONTROL_PLANE_API, "KubeadmControlPlane"},
	{CAPI_API, "MachineDeployment"},
	{CAPI_API, "MachineSet"},
	{CAPI_API, "Machine"},
	{CAPI_BOOTSTRAP_API, "KubeadmConfig"},
	{CAPI_BOOTSTRAP_API, "KubeadmConfigTemplate"},
};

/* What a provider keeps beside cluster, machines and templates. */
static const struct {
	const char *infra_machine, *api, *kind;
} companions[] = {
	{"VSphereMachine", NULL, "VSphereVM"},
	{"OpenStackMachine", "infrastructure.cluster.x-k8s.io/v1alpha1", "OpenStackServer"},
};

static void forget_objects(struct graph *g)
{
	json_decref(g->kinds);
	json_decref(g->objects);
	json_decref(g->groups);
}

void graph_free(struct graph *g)
{
	forget_objects(g);
	json_decref(g->versions);
}

static void add_kind(struct graph *g, const char *api, const char *kind, bool optional)
{
	json_t *k;
	size_t i;

	json_array_foreach (g->kinds, i, k)
		if (strcmp(json_str(k, "kind"), kind) == 0)
			return;
	json_array_append_new(g->kinds, json_pack("{s:s,s:s,s:b}", "apiVersion", api, "kind", kind,
						  "optional", optional));
}

static void add_core_kind(struct graph *g, const char *api, const char *kind)
{
	AUTO_FREE char *group = path_group(api);
	char old[300];

	snprintf(old, sizeof(old), "%s/v1beta1", group);
	add_kind(g, g->old ? old : api, kind, false);
}

/* Of a reference in either shape; caller frees. NULL: none. */
static char *reference_group(const json_t *ref)
{
	const char *group = json_str(ref, "apiGroup"), *api = json_str(ref, "apiVersion");
	char *copy = group ? strdup(group) : NULL;

	assert(!group || copy);
	return group || !api ? copy : path_group(api);
}

static void fail(struct capi_op *op, const struct kube_reply *r, const char *what)
{
	struct pcg_error err = r->err;

	pcg_fail_prefix(&err, "reading %s", what);
	op_fail(op, &err);
}

static void drop_managed_fields(json_t *item)
{
	json_object_del(json_object_get(item, "metadata"), "managedFields");
}

/* Items of a list carry neither kind nor apiVersion: both are put back from what was asked for. The
 * list came for this graph alone. */
static void take_items(struct graph *g, const json_t *kind, const json_t *items)
{
	json_t *item;
	size_t i;

	json_array_foreach (items, i, item) {
		json_object_set(item, "apiVersion", json_object_get(kind, "apiVersion"));
		json_object_set(item, "kind", json_object_get(kind, "kind"));
		drop_managed_fields(item);
		json_array_append(g->objects, item);
	}
}

static void on_listed(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct graph_listing *l = arg;
	const json_t *kind = json_array_get(l->graph->kinds, l->index);

	if (r->status == 404 && json_bool_or(kind, "optional", false)) {
		op_item_done(op);
	} else if (r->status != 200) {
		fail(op, r, json_str(kind, "kind"));
	} else {
		take_items(l->graph, kind, json_object_get(r->body, "items"));
		op_item_done(op);
	}
}

static void begin_list(struct capi_op *op, void *arg, size_t i)
{
	struct graph *g = arg;
	struct graph_listing *l = &g->listings[g->listed + i];
	const json_t *kind = json_array_get(g->kinds, l->index);
	AUTO_FREE char *path =
		path_collection(json_str(kind, "apiVersion"), json_str(kind, "kind"), g->ns);
	char selector[300];

	snprintf(selector, sizeof(selector), "%s=%s", CAPI_LABEL_CLUSTER, g->cluster);
	op_list(op, path, selector, on_listed, l);
}

static void list_kinds(struct capi_op *op, struct graph *g, op_end end)
{
	size_t all = json_array_size(g->kinds);

	assert(all <= GRAPH_KINDS_MAX);
	for (size_t i = g->listed; i < all; i++)
		g->listings[i] = (struct graph_listing){g, i};
	op_batch(op, all - g->listed, begin_list, end, g);
}

static void end_infrastructure(struct capi_op *op, void *arg)
{
	struct graph *g = arg;

	g->done(op, g);
}

/* Every reference to infrastructure, with the kinds that follow from it. */
static void add_reference(struct graph *g, const json_t *ref)
{
	AUTO_FREE char *group = reference_group(ref);
	const char *kind = json_str(ref, "kind");
	const char *version = group ? json_string_value(json_object_get(g->versions, group)) : NULL;
	const char *suffix = kind ? strstr(kind, "Template") : NULL;
	char api[300], machine[128];

	if (!version || json_array_size(g->kinds) + 3 > GRAPH_KINDS_MAX)
		return;
	snprintf(api, sizeof(api), "%s/%s", group, version);
	add_kind(g, api, kind, false);
	snprintf(machine, sizeof(machine), "%.*s",
		 suffix ? (int)(suffix - kind) : (int)strlen(kind), kind);
	if (suffix)
		add_kind(g, api, machine, false);
	for (size_t i = 0; i < ARRAY_LEN(companions); i++)
		if (strcmp(companions[i].infra_machine, machine) == 0)
			add_kind(g, companions[i].api ? companions[i].api : api, companions[i].kind,
				 true);
}

static const char *const reference_paths[] = {
	"spec.infrastructureRef",
	"spec.machineTemplate.spec.infrastructureRef",
	"spec.template.spec.infrastructureRef",
};

static void each_reference(struct graph *g, void (*fn)(struct graph *g, const json_t *ref))
{
	json_t *object;
	size_t i;

	json_array_foreach (g->objects, i, object)
		for (size_t p = 0; p < ARRAY_LEN(reference_paths); p++)
			if (json_at(object, reference_paths[p]))
				fn(g, json_at(object, reference_paths[p]));
}

static void end_groups(struct capi_op *op, void *arg)
{
	struct graph *g = arg;

	g->listed = json_array_size(g->kinds);
	each_reference(g, add_reference);
	list_kinds(op, g, end_infrastructure);
}

static void on_group(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct graph *g = arg;
	const char *name = json_str(r->body, "name"),
		   *version = json_str(r->body, "preferredVersion.version");

	if (r->status != 200 || !name || !version) {
		fail(op, r, "an API group of the infrastructure");
		return;
	}
	json_object_set_new(g->versions, name, json_string(version));
	op_item_done(op);
}

static void begin_group(struct capi_op *op, void *arg, size_t i)
{
	struct graph *g = arg;
	char path[300];

	snprintf(path, sizeof(path), "/apis/%s", json_string_value(json_array_get(g->groups, i)));
	op_call(op, "GET", path, NULL, NULL, 0, on_group, g);
}

static void add_group(struct graph *g, const json_t *ref)
{
	AUTO_FREE char *group = reference_group(ref);
	json_t *known;
	size_t i;

	json_array_foreach (g->groups, i, known)
		if (group && strcmp(json_string_value(known), group) == 0)
			return;
	if (group && !json_object_get(g->versions, group))
		json_array_append_new(g->groups, json_string(group));
}

static void end_core(struct capi_op *op, void *arg)
{
	struct graph *g = arg;

	each_reference(g, add_group);
	op_batch(op, json_array_size(g->groups), begin_group, end_groups, g);
}

void graph_read(struct capi_op *op, struct graph *g, const char *ns, const char *cluster,
		void (*done)(struct capi_op *op, struct graph *g))
{
	forget_objects(g);
	g->ns = ns;
	g->cluster = cluster;
	g->done = done;
	g->listed = 0;
	g->kinds = json_array();
	g->objects = json_array();
	if (!g->versions) /* what a group prefers is asked once */
		g->versions = json_object();
	g->groups = json_array();
	for (size_t i = 0; i < ARRAY_LEN(core_kinds); i++)
		add_core_kind(g, core_kinds[i].api, core_kinds[i].kind);
	list_kinds(op, g, end_core);
}

json_t *graph_core_kinds(void)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(core_kinds); i++)
		json_array_append_new(list, json_string(core_kinds[i].kind));
	return list;
}

static const json_t *find(const struct graph *g, const char *kind, const char *name)
{
	json_t *o;
	size_t i;

	json_array_foreach (g->objects, i, o)
		if (strcmp(json_str_or(o, "kind", ""), kind) == 0 &&
		    strcmp(json_str_or(o, "metadata.name", ""), name) == 0)
			return o;
	return NULL;
}

static const char *annotation(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(json_at(object, "metadata.annotations"), key));
}

static const char *label(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(json_at(object, "metadata.labels"), key));
}

/* A MachineDeployment says of which pool it is; one that was made by somebody else is a pool of its own. */
static const char *pool_of_deployment(const struct graph *g, const char *name)
{
	const json_t *deployment = find(g, "MachineDeployment", name);
	const char *pool = deployment ? annotation(deployment, CAPI_POOL) : NULL;
	size_t n = strlen(g->cluster);

	if (pool)
		return pool;
	return strncmp(name, g->cluster, n) == 0 && name[n] == '-' ? name + n + 1 : name;
}

static const char *pool_of(const struct graph *g, const json_t *object)
{
	const char *pool = annotation(object, CAPI_POOL),
		   *deployment = label(object, CAPI_LABEL_DEPLOYMENT);

	if (pool)
		return pool;
	return deployment ? pool_of_deployment(g, deployment) : "";
}

static json_t *pool_named(json_t *pools, const char *name)
{
	json_t *pool;
	size_t i;

	json_array_foreach (pools, i, pool)
		if (strcmp(json_str(pool, "name"), name) == 0)
			return pool;
	pool = json_pack("{s:s,s:i,s:[]}", "name", name, "size", 0, "deployments");
	json_array_append_new(pools, pool);
	return pool;
}

json_t *graph_pools(const struct graph *g)
{
	json_t *pools = json_array(), *o, *pool;
	size_t i;

	json_array_foreach (g->objects, i, o) {
		const char *name = json_str_or(o, "metadata.name", "");

		if (strcmp(json_str_or(o, "kind", ""), "MachineDeployment") != 0)
			continue;
		pool = pool_named(pools, pool_of_deployment(g, name));
		json_object_set_new(pool, "size",
				    json_integer((json_int_t)(json_int_or(pool, "size", 0) +
							      json_int_or(o, "spec.replicas", 0))));
		json_array_append_new(json_object_get(pool, "deployments"), json_string(name));
	}
	return pools;
}

static json_t *describe(const struct graph *g, const json_t *machine, const json_t *infra)
{
	const json_t *from = machine ? machine : infra;
	const char *provider = json_str(machine, "spec.providerID");
	const json_t *addresses = json_at(machine, "status.addresses");

	if (!provider)
		provider = json_str_or(infra, "spec.providerID", "");
	if (!addresses)
		addresses = json_at(infra, "status.addresses");
	return json_pack(
		"{s:s,s:s,s:s,s:s,s:o,s:s}", "name", json_str_or(from, "metadata.name", ""), "pool",
		pool_of(g, from), "role",
		label(from, CAPI_LABEL_CONTROL_PLANE) ? "control-plane" : "worker", "providerID",
		provider, "addresses", addresses ? json_deep_copy(addresses) : json_array(), "uid",
		annotation(from, CAPI_MACHINE_UID) ? annotation(from, CAPI_MACHINE_UID) : "");
}

/* Kinds that Machines of this cluster are made of. */
static bool is_infra_machine(const struct graph *g, const json_t *object)
{
	const char *kind = json_str_or(object, "kind", "");
	char template[160];
	json_t *k;
	size_t i;

	snprintf(template, sizeof(template), "%sTemplate", kind);
	json_array_foreach (g->kinds, i, k)
		if (strcmp(json_str(k, "kind"), template) == 0)
			return strcmp(kind, "KubeadmConfig") != 0;
	return false;
}

json_t *graph_machines(const struct graph *g)
{
	json_t *out = json_array(), *o;
	size_t i;

	json_array_foreach (g->objects, i, o)
		if (strcmp(json_str(o, "kind"), "Machine") == 0)
			json_array_append_new(
				out,
				describe(g, o,
					 find(g, json_str_or(o, "spec.infrastructureRef.kind", ""),
					      json_str_or(o, "spec.infrastructureRef.name", ""))));
	json_array_foreach (g->objects, i, o)
		if (is_infra_machine(g, o) &&
		    !find(g, "Machine", json_str_or(o, "metadata.name", "")))
			json_array_append_new(out, describe(g, NULL, o));
	return out;
}

static bool is_machine(const struct graph *g, const json_t *object)
{
	return strcmp(json_str_or(object, "kind", ""), "Machine") == 0 || is_infra_machine(g, object);
}

void graph_read_machines(struct capi_op *op, struct graph *g,
			 void (*done)(struct capi_op *op, struct graph *g))
{
	json_t *kind;
	size_t i, n = 0;

	g->done = done;
	for (i = json_array_size(g->objects); i > 0; i--)
		if (is_machine(g, json_array_get(g->objects, i - 1)))
			json_array_remove(g->objects, i - 1);
	json_array_foreach (g->kinds, i, kind)
		if (is_machine(g, kind))
			g->listings[n++] = (struct graph_listing){g, i};
	g->listed = 0;
	op_batch(op, n, begin_list, end_infrastructure, g);
}
