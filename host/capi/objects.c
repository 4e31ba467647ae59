/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/capi.h"
#include "core/base64.h"
#include "host/capi/address_shapes.h"
#include "host/capi/objects_impl.h"
#include "core/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void objects_add(struct build *b, enum group group, json_t *object, json_t *status,
		 const char *owner_kind, const char *owner_name, bool controller)
{
	json_t *owner = owner_kind ? json_pack("{s:s,s:s}", "kind", owner_kind, "name", owner_name)
				   : json_null();
	json_t *entry =
		json_pack("{s:i,s:o,s:o,s:o,s:b}", "group", (int)group, "object", object, "status",
			  status ? status : json_null(), "owner", owner, "controller", controller);

	assert(entry);
	json_array_append_new(b->objects, entry);
}

const json_t *objects_item(const struct build *b, const char *role, const char *key,
			   const char *value)
{
	size_t i;
	json_t *item;

	json_array_foreach (json_object_get(b->s.input, "providerObjects"), i, item)
		if (strcmp(json_str_or(item, "role", ""), role) == 0 &&
		    (!key || strcmp(json_str_or(item, key, ""), value) == 0))
			return item;
	return NULL;
}

int objects_missing(struct build *b, const char *role, const char *of)
{
	return pcg_fail(b->err, PCG_CLASS_PERMANENT,
			"the provider plugin must export this object: update it",
			"objects of cluster %s: the provider exported no object with role %s%s%s",
			b->s.cluster, role, of ? " for " : "", of ? of : "");
}

static int check_provider_object(struct build *b, const json_t *item)
{
	const json_t *o = json_object_get(item, "object");

	if (json_str(o, "apiVersion") && json_str(o, "kind") && json_str(o, "metadata.name"))
		return 0;
	return pcg_fail(b->err, PCG_CLASS_PERMANENT, "update the provider plugin",
			"objects of cluster %s: an object of the provider with role %s lacks "
			"apiVersion, kind or metadata.name",
			b->s.cluster, json_str_or(item, "role", "?"));
}

/* The API turns a Secret's stringData into data when it is written: what is read back is compared
 * with data. */
static void secret_data_only(json_t *o)
{
	json_t *plain = json_object_get(o, "stringData"), *v;
	json_t *data = json_object_get(o, "data");
	const char *key;

	if (!json_is_object(plain) || strcmp(json_str_or(o, "kind", ""), "Secret") != 0)
		return;
	if (!json_is_object(data)) {
		data = json_object();
		json_object_set_new(o, "data", data);
	}
	json_object_foreach (plain, key, v) {
		AUTO_FREE char *coded =
			base64_encode(json_string_value(v), json_string_length(v));

		json_object_set_new(data, key, json_string(coded));
	}
	json_object_del(o, "stringData");
}

json_t *objects_of_provider(struct build *b, const json_t *item)
{
	json_t *o = json_deep_copy(json_object_get(item, "object"));

	json_object_del(o, "status");
	json_object_del(json_object_get(o, "metadata"), "ownerReferences");
	secret_data_only(o);
	shape_mark(&b->s, o);
	if (json_bool_or(item, "clusterScoped", false))
		json_object_del(json_object_get(o, "metadata"), "namespace");
	return o;
}

/* What a plugin exports has no time; all five members of a condition are required. */
json_t *objects_status(const struct build *b, const json_t *item)
{
	json_t *status = json_object_get(item, "status"), *c;
	size_t i;

	if (!json_is_object(status))
		status = json_at(item, "object.status");
	if (!json_is_object(status) || !json_object_size(status))
		return NULL;
	status = json_deep_copy(status);
	json_array_foreach (json_object_get(status, "conditions"), i, c) {
		if (!json_str(c, "message"))
			json_object_set_new(c, "message", json_string(""));
		if (!json_str(c, "lastTransitionTime"))
			json_object_set_new(c, "lastTransitionTime", json_string(b->s.now));
	}
	return status;
}

static const json_t *control_plane_pool(const struct build *b)
{
	size_t i;
	json_t *pool;

	json_array_foreach (json_object_get(b->s.spec, "pools"), i, pool)
		if (json_bool_or(pool, "controlPlane", false))
			return pool;
	return NULL;
}

static int add_before(struct build *b)
{
	json_t *item;
	size_t i;

	if (strcmp(b->s.ns, "default") != 0)
		objects_add(b, GROUP_NAMESPACE,
			    json_pack("{s:s,s:s,s:{s:s}}", "apiVersion", "v1", "kind", "Namespace",
				      "metadata", "name", b->s.ns),
			    NULL, NULL, NULL, false);
	objects_add(b, GROUP_BEFORE, shape_back_reference(&b->s), NULL, NULL, NULL, false);
	json_array_foreach (json_object_get(b->s.spec, "addressPools"), i, item)
		objects_add(b, GROUP_BEFORE, address_shape_pool(&b->s, item), NULL, NULL, NULL, false);
	json_array_foreach (json_object_get(b->s.input, "providerObjects"), i, item) {
		const char *role = json_str_or(item, "role", "");
		int r = check_provider_object(b, item);

		if (r)
			return r;
		if (strcmp(role, "identity") == 0 ||
		    (strcmp(role, "extra") == 0 && json_str_or(item, "owner", "")[0] == '\0'))
			objects_add(b, GROUP_BEFORE, objects_of_provider(b, item), objects_status(b, item), NULL,
				    NULL, false);
	}
	return 0;
}

static int add_of_cluster(struct build *b, const json_t *pool)
{
	const json_t *infra = objects_item(b, "cluster", NULL, NULL);
	const json_t *template = objects_item(b, "controlPlaneTemplate", NULL, NULL);
	size_t i, machines = json_array_size(json_object_get(b->s.input, "machines"));
	json_t *item;

	if (!infra)
		return objects_missing(b, "cluster", NULL);
	if (!template)
		return objects_missing(b, "controlPlaneTemplate", NULL);
	objects_add(b, GROUP_CLUSTER, shape_cluster(&b->s, json_object_get(infra, "object")),
		    shape_cluster_status(&b->s), NULL, NULL, false);
	objects_add(b, GROUP_OF_CLUSTER, objects_of_provider(b, infra), objects_status(b, infra), "Cluster",
		    b->s.cluster, false);
	objects_add(b, GROUP_OF_CLUSTER, objects_of_provider(b, template), objects_status(b, template), "Cluster",
		    b->s.cluster, false);
	objects_add(b, GROUP_OF_CLUSTER,
		    shape_control_plane(&b->s, pool, json_object_get(template, "object")),
		    shape_control_plane_status(&b->s, machines), "Cluster", b->s.cluster, false);
	json_array_foreach (json_object_get(b->s.input, "providerObjects"), i, item)
		if (strcmp(json_str_or(item, "role", ""), "extra") == 0 &&
		    strcmp(json_str_or(item, "owner", ""), "Cluster") == 0)
			objects_add(b, GROUP_OF_CLUSTER, objects_of_provider(b, item), objects_status(b, item),
				    "Cluster", b->s.cluster, false);
	return 0;
}

/* Every pair must be there: one that is missing is silently made anew by the control plane
 * provider, and joins then fail. */
static int add_secrets(struct build *b)
{
	static const struct {
		const char *suffix, *crt, *key;
	} pairs[] = {
		{"ca", "keys.ca.crt", "keys.ca.key"},
		{"etcd", "keys.etcd.crt", "keys.etcd.key"},
		{"proxy", "keys.proxy.crt", "keys.proxy.key"},
		{"sa", "keys.sa.pub", "keys.sa.key"},
	};
	const char *kubeconfig = json_str(b->s.input, "kubeconfig");

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		const char *crt = json_str(b->s.input, pairs[i].crt),
			   *key = json_str(b->s.input, pairs[i].key);

		if (!crt || !key)
			return pcg_fail(b->err, PCG_CLASS_BUG, "",
					"objects of cluster %s: the %s pair of keys is not there",
					b->s.cluster, pairs[i].suffix);
		objects_add(b, GROUP_OF_CONTROL_PLANE, shape_pair_secret(&b->s, pairs[i].suffix, crt, key),
			    NULL, "KubeadmControlPlane", b->s.control_plane, true);
	}
	if (kubeconfig)
		objects_add(b, GROUP_OF_CONTROL_PLANE, shape_kubeconfig_secret(&b->s, kubeconfig), NULL,
			    "KubeadmControlPlane", b->s.control_plane, true);
	return 0;
}

/* Both or none: a name that differs from the template in use makes the control plane provider
 * replace the machine. */
static void note_template(struct build *b, json_t *infra)
{
	const json_t *template =
		json_object_get(objects_item(b, "controlPlaneTemplate", NULL, NULL), "object");
	json_t *ref = shape_reference(template);
	char kind[300];

	snprintf(kind, sizeof(kind), "%s.%s", json_str(ref, "kind"), json_str(ref, "apiGroup"));
	shape_annotate(infra, "cluster.x-k8s.io/cloned-from-name", json_str(ref, "name"));
	shape_annotate(infra, "cluster.x-k8s.io/cloned-from-groupkind", kind);
	json_decref(ref);
}

static void add_machine_extras(struct build *b, const json_t *machine, const json_t *infra)
{
	json_t *item;
	size_t i;

	json_array_foreach (json_object_get(b->s.input, "providerObjects"), i, item)
		if (strcmp(json_str_or(item, "role", ""), "extra") == 0 &&
		    strcmp(json_str_or(item, "owner", ""), "Machine") == 0 &&
		    strcmp(json_str_or(item, "machine", ""), json_str_or(machine, "uid", "?")) == 0)
			objects_add(b, GROUP_LAST, objects_of_provider(b, item), objects_status(b, item),
				    json_str(infra, "kind"), json_str(infra, "metadata.name"), false);
}

/* The object that the claims of a machine belong to. */
static const json_t *claimant(const struct build *b, const json_t *machine)
{
	json_t *item;
	size_t i;

	json_array_foreach (json_object_get(b->s.input, "providerObjects"), i, item)
		if (strcmp(json_str_or(item, "machine", ""), json_str_or(machine, "uid", "?")) == 0 &&
		    json_is_object(json_object_get(item, "claims")))
			return item;
	return NULL;
}

/* What the machine has is bound, so that nobody else gets it from the pool. */
static int add_addresses(struct build *b, const json_t *machine)
{
	const json_t *item = claimant(b, machine), *owner = json_object_get(item, "object");
	json_t *address, *entry;
	size_t i;

	if (json_array_size(json_object_get(machine, "addresses")) && !item)
		return objects_missing(b, "that claims the addresses of a machine", json_str_or(machine, "name", "?"));
	json_array_foreach (json_object_get(machine, "addresses"), i, address) {
		int64_t device = json_int_or(address, "device", 0), n = 0;
		char name[300];

		for (size_t k = 0; k < i; k++)
			n += json_int_or(json_array_get(json_object_get(machine, "addresses"), k), "device", 0) == device;
		snprintf(name, sizeof(name), "%s-%" PRId64 "-%" PRId64, json_str(owner, "metadata.name"), device, n);
		objects_add(b, GROUP_CLAIM,
			    address_shape_claim(&b->s, name, address, json_str_or(item, "claims.finalizer", "")),
			    address_shape_claim_status(name), json_str(owner, "kind"), json_str(owner, "metadata.name"), false);
		objects_add(b, GROUP_ADDRESS, address_shape_address(&b->s, name, address), NULL, "IPAddressClaim", name, true);
		entry = json_array_get(b->objects, json_array_size(b->objects) - 1);
		json_object_set_new(entry, "holder", json_pack("{s:s,s:s}", "kind", CAPI_IPAM_POOL, "name",
							       json_str_or(address, "pool", "")));
	}
	return 0;
}

static int add_machine(struct build *b, const json_t *machine, bool first)
{
	const char *name = json_str_or(machine, "name", "?");
	const json_t *item =
		objects_item(b, "machine", "machine", json_str_or(machine, "uid", "?"));
	json_t *infra;

	if (strcmp(json_str_or(machine, "role", ""), "control-plane") != 0)
		return pcg_fail(b->err, PCG_CLASS_BUG, "",
				"objects of cluster %s: machine %s is no control plane; workers "
				"are made by the cluster itself",
				b->s.cluster, name);
	if (!item)
		return objects_missing(b, "machine", name);
	infra = objects_of_provider(b, item);
	shape_label(infra, CAPI_LABEL_CONTROL_PLANE, "");
	shape_label(infra, CAPI_LABEL_CONTROL_PLANE_NAME, b->s.control_plane);
	note_template(b, infra);
	objects_add(b, GROUP_OF_CONTROL_PLANE, shape_machine(&b->s, machine, infra),
		    shape_machine_status(&b->s, machine), "KubeadmControlPlane", b->s.control_plane, true);
	objects_add(b, GROUP_OF_MACHINE, shape_config(&b->s, machine, first), shape_config_status(machine),
		    "Machine", name, true);
	objects_add(b, GROUP_OF_MACHINE, infra, objects_status(b, item), "Machine", name, true);
	objects_add(b, GROUP_LAST, shape_bootstrap_secret(&b->s, machine), NULL, "KubeadmConfig", name,
		    true);
	add_machine_extras(b, machine, infra);
	return add_addresses(b, machine);
}

static int add_machines(struct build *b)
{
	json_t *machine;
	size_t i;
	int r;

	json_array_foreach (json_object_get(b->s.input, "machines"), i, machine) {
		r = add_machine(b, machine, i == 0);
		if (r)
			return r;
	}
	return 0;
}

static int check_input(struct build *b)
{
	static const char *const needed[] = {"spec.name", "spec.kubernetesVersion", "gatewayUid",
					     "endpoint.host"};
	const json_t *input = b->s.input;

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!json_str(input, needed[i]))
			return pcg_fail(b->err, PCG_CLASS_BUG, "",
					"objects of a cluster without %s", needed[i]);
	if (json_int_or(input, "epoch", 0) < 1)
		return pcg_fail(b->err, PCG_CLASS_BUG, "",
				"objects of a cluster without its epoch");
	if (!json_is_object(json_object_get(input, "controlPlaneSpec")))
		return pcg_fail(b->err, PCG_CLASS_BUG, "",
				"objects of a cluster without controlPlaneSpec");
	if (json_array_size(json_object_get(input, "machines")) == 0)
		return pcg_fail(b->err, PCG_CLASS_BUG, "",
				"objects of a cluster without its first machine");
	return 0;
}

/* In order of groups; within one as added. */
static json_t *sorted(const json_t *objects)
{
	json_t *out = json_array(), *entry;
	size_t i;

	for (int group = GROUP_NAMESPACE; group <= GROUP_ADDRESS; group++)
		json_array_foreach (objects, i, entry)
			if (json_int_or(entry, "group", 0) == group)
				json_array_append(out, entry);
	return out;
}

static int build_all(struct build *b)
{
	const json_t *pool = control_plane_pool(b);
	int r;

	if (!pool)
		return pcg_fail(b->err, PCG_CLASS_BUG, "",
				"objects of cluster %s: no control plane pool", b->s.cluster);
	if ((r = add_before(b)) || (r = add_of_cluster(b, pool)) || (r = objects_workers(b)) ||
	    (r = add_secrets(b)))
		return r;
	return add_machines(b);
}

int capi_objects_build(const json_t *input, json_t **plan, struct pcg_error *err)
{
	struct build b = {.s = {.input = input, .spec = json_object_get(input, "spec")},
			  .err = err};
	char full[CLOCK_RFC3339_SIZE];
	int r = check_input(&b);

	if (r)
		return r;
	b.s.cluster = json_str(b.s.spec, "name");
	b.s.ns = json_str_or(input, "namespace", "default");
	b.s.version = json_str(b.s.spec, "kubernetesVersion");
	snprintf(b.s.control_plane, sizeof(b.s.control_plane), "%s-cp", b.s.cluster);
	clock_rfc3339(clock_wall_ms(), full);
	snprintf(b.s.now, sizeof(b.s.now), "%.19sZ", full);
	b.s.control_plane_spec = shape_without_empty(json_object_get(input, "controlPlaneSpec"));
	b.objects = json_array();
	r = build_all(&b);
	if (r == 0)
		*plan = json_pack("{s:o}", "objects", sorted(b.objects));
	json_decref(b.objects);
	json_decref(b.s.control_plane_spec);
	return r;
}
