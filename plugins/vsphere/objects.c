/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/placement.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * The objects that the vSphere controllers (CAPV, v1beta2 shapes) go on from. The mark goes into
 * what they build from, so the inventory finds what they made. They verify the vCenter's certificate
 * by its thumbprint, SHA-256 or SHA-1 in the form AA:BB:.., and without one not at all: it is always
 * set, unless the account says that nothing shall be verified.
 */

#define API_VERSION "infrastructure.cluster.x-k8s.io/v1beta2"
#define CLUSTER_LABEL "cluster.x-k8s.io/cluster-name"

struct export {
	struct vsphere *v;
	struct pcg_call *call;
	const json_t *doc, *cluster, *mark;
	const char *name;
	char folder[600], thumbprint[128];
	json_t *objects;
	struct vs_err err;
};

static json_t *new_object(const struct export *e, const char *kind, const char *name, json_t *spec)
{
	return json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:o}", "apiVersion", API_VERSION, "kind", kind, "metadata", "name", name,
			 "labels", CLUSTER_LABEL, e->name, "spec", spec);
}

static void add(struct export *e, const char *role, const char *owner, const char *pool, const char *machine, json_t *object,
		json_t *status)
{
	json_t *item = json_pack("{s:s, s:s, s:s, s:s, s:o}", "role", role, "owner", owner, "pool", pool, "machine", machine,
				 "object", object);

	if (status)
		json_object_set_new(item, "status", status);
	json_array_append_new(e->objects, item);
}

static json_t *condition(void)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "type", "Ready", "status", "True", "reason", "Ready", "message", "");
}

static bool verifies_nothing(const struct export *e)
{
	const json_t *spec = vs_spec(e->v);

	return json_is_true(json_object_get(spec, "insecure")) && !*vs_str(spec, "caCert") && !*vs_str(spec, "thumbprint");
}

/* AA:BB:.. of what the account says, in whatever form it was given, else of what the host saw. */
static void thumbprint_read(struct export *e)
{
	const char *given = vs_str(vs_spec(e->v), "thumbprint");
	char seen[sizeof(e->v->session.thumbprint)];
	char *to = e->thumbprint;
	size_t n = 0;

	pthread_mutex_lock(&e->v->session.lock);
	snprintf(seen, sizeof(seen), "%s", e->v->session.thumbprint);
	pthread_mutex_unlock(&e->v->session.lock);
	if (!*given)
		given = seen;
	if (strncasecmp(given, "sha256:", 7) == 0)
		given += 7;
	for (; *given && n < 64; given++) {
		if (!isxdigit((unsigned char)*given))
			continue;
		if (n && n % 2 == 0)
			*to++ = ':';
		*to++ = (char)toupper((unsigned char)*given);
		n++;
	}
	*to = 0;
}

/* Whatever it is verified by. A session that an earlier worker left shows none: nothing has been asked by this one. */
static bool thumbprint_find(struct export *e)
{
	if (verifies_nothing(e))
		return true;
	if (!*vs_str(vs_spec(e->v), "thumbprint") && vs_session_certificate(&e->v->session, e->call, &e->err))
		return false;
	thumbprint_read(e);
	if (!*e->thumbprint)
		vs_fail(&e->err, PCG_ERR_RETRY, "Ask again; if it stays so, give the account its thumbprint.",
			"the certificate of %s has not been seen, so its thumbprint cannot be handed over",
			e->v->session.server);
	return *e->thumbprint;
}

static void set_text(json_t *object, const char *key, const char *text)
{
	if (*text)
		json_object_set_new(object, key, json_string(text));
}

static void export_cluster(struct export *e)
{
	json_t *spec = json_pack("{s:s, s:O?, s:{s:s, s:s}}", "server", e->v->session.server, "controlPlaneEndpoint",
				 json_object_get(e->doc, "endpoint"), "identityRef", "kind", "Secret", "name", e->name);

	set_text(spec, "thumbprint", e->thumbprint);
	add(e, "identity", "", "", "",
	    json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:s, s:{s:s, s:s}}", "apiVersion", "v1", "kind", "Secret", "metadata", "name",
		      e->name, "labels", CLUSTER_LABEL, e->name, "type", "Opaque", "stringData", "username", e->v->session.user,
		      "password", e->v->session.password), NULL);
	add(e, "cluster", "Cluster", "", "", new_object(e, "VSphereCluster", e->name, spec),
	    json_pack("{s:{s:b}, s:[o]}", "initialization", "provisioned", 1, "conditions", condition()));
}

static json_t *custom_keys(const struct export *e, const char *pool, const char *role)
{
	json_t *keys = json_pack("{s:s, s:s, s:s}", MARK_CLUSTER, vs_str(e->cluster, "uid"), MARK_POOL, pool, MARK_ROLE, role);
	char epoch[24];

	set_text(keys, MARK_GATEWAY, vs_str(e->mark, "gateway"));
	snprintf(epoch, sizeof(epoch), "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(e->mark, "epoch")));
	if (json_object_get(e->mark, "epoch"))
		json_object_set_new(keys, MARK_EPOCH, json_string(epoch));
	return keys;
}

static void set_number(json_t *spec, const char *key, const json_t *type, const char *of, json_int_t least)
{
	const json_t *n = json_object_get(type, of);
	json_int_t value = json_is_number(n) ? (json_int_t)json_number_value(n) : 0;

	if (value > 0)
		json_object_set_new(spec, key, json_integer(value < least ? least : value));
}

/* What template and machine have in common; NULL with err. */
static json_t *clone_spec(struct export *e, const json_t *pool, const char *pool_name, const char *role)
{
	const json_t *type = json_object_get(json_object_get(pool, "cloudConfig"), "instanceType");
	const char *mode = vs_at(e->v->account, "settings", "cloneMode");
	json_t *problems = json_array(), *spec;
	struct spot spot;
	int r = placement_find(e->v, e->call, e->cluster, pool, &spot, problems, &e->err);

	if (!r && json_array_size(problems)) {
		vs_fail(&e->err, PCG_ERR_PERMANENT, vs_str(json_array_get(problems, 0), "remedy"), "pool %s: %s", pool_name,
			vs_str(json_array_get(problems, 0), "text"));
		placement_forget(e->v);
		r = -1;
	}
	json_decref(problems);
	if (r)
		return NULL;
	spec = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:{s:[{s:s, s:b}]}}", "server", e->v->session.server,
			 "datacenter", spot.datacenter, "folder", *e->folder ? e->folder : spot.folder_path, "datastore",
			 spot.datastore_path, "resourcePool", spot.pool_path, "template", spot.template_path, "cloneMode",
			 *mode && spot.snapshot.value[0] ? mode : "fullClone", "powerOffMode", "hard", "customVMXKeys",
			 custom_keys(e, pool_name, role), "network", "devices", "networkName", spot.network_path, "dhcp4", 1);
	set_text(spec, "thumbprint", e->thumbprint);
	set_number(spec, "numCPUs", type, "numCPUs", 2);
	set_number(spec, "memoryMiB", type, "memoryMiB", 1);
	set_number(spec, "diskGiB", type, "diskGiB", 1);
	return spec;
}

static bool export_pools(struct export *e)
{
	const json_t *pools = json_object_get(e->doc, "pools"), *pool;
	size_t i;

	if (!pools)
		pools = json_object_get(json_object_get(e->cluster, "spec"), "pools");
	json_array_foreach(pools, i, pool) {
		bool control_plane = json_is_true(json_object_get(pool, "controlPlane"));
		const char *pool_name = vs_str(pool, "name");
		json_t *spec = clone_spec(e, pool, pool_name, control_plane ? "control-plane" : "worker");
		char name[160];

		if (!spec)
			return false;
		snprintf(name, sizeof(name), "%s-%s", e->name, control_plane ? "cp" : pool_name);
		add(e, control_plane ? "controlPlaneTemplate" : "workerTemplate", "Cluster", pool_name, "",
		    new_object(e, "VSphereMachineTemplate", name, json_pack("{s:{s:o}}", "template", "spec", spec)), NULL);
	}
	return true;
}

static json_t *ips_of(const json_t *observed)
{
	json_t *ips = json_array(), *a;
	size_t i;

	json_array_foreach(json_object_get(observed, "addresses"), i, a)
		if (strstr(vs_str(a, "type"), "IP"))
			json_array_append(ips, json_object_get(a, "address"));
	return ips;
}

static void export_machine(struct export *e, const json_t *machine, json_t *spec)
{
	const json_t *observed = json_object_get(machine, "observed");
	const char *name = vs_str(machine, "name"), *uid = vs_str(machine, "uid"), *pool = vs_str(machine, "pool");
	const char *provider_id = vs_str(observed, "providerID"), *bios = vs_str(observed, "biosUUID");
	json_t *vm = json_deep_copy(spec), *ips = ips_of(observed), *vm_status, *nic;

	if (!*bios && strncmp(provider_id, "vsphere://", 10) == 0)
		bios = provider_id + 10;
	set_text(spec, "providerID", provider_id);
	set_text(vm, "biosUUID", bios);
	json_object_set_new(vm, "bootstrapRef", json_pack("{s:s}", "name", name));
	add(e, "machine", "Machine", pool, uid, new_object(e, "VSphereMachine", name, spec),
	    json_pack("{s:{s:b}, s:O?, s:[o]}", "initialization", "provisioned", 1, "addresses",
		      json_object_get(observed, "addresses"), "conditions", condition()));
	vm_status = json_pack("{s:b, s:O, s:[o]}", "ready", 1, "addresses", ips, "conditions", condition());
	if (*vs_str(observed, "mac")) {
		nic = json_pack("{s:s, s:b, s:O}", "macAddr", vs_str(observed, "mac"), "connected", 1, "ipAddrs", ips);
		json_object_set_new(vm_status, "network", json_pack("[o]", nic));
	}
	add(e, "extra", "Machine", pool, uid, new_object(e, "VSphereVM", name, vm), vm_status);
	json_object_set_new(json_array_get(e->objects, json_array_size(e->objects) - 1), "claims",
			    json_pack("{s:s}", "finalizer", "vspherevm.infrastructure.cluster.x-k8s.io/ip-claim-protection"));
	json_decref(ips);
}

static bool export_machines(struct export *e)
{
	const json_t *machine;
	size_t i;

	json_array_foreach(json_object_get(e->doc, "machines"), i, machine) {
		json_t *spec = clone_spec(e, json_object_get(machine, "poolSpec"), vs_str(machine, "pool"), vs_str(machine, "role"));

		if (!spec)
			return false;
		export_machine(e, machine, spec);
	}
	return true;
}

static void folder_read(struct export *e)
{
	const char *path = vs_at(json_object_get(e->doc, "observed"), "folder", "path");

	snprintf(e->folder, sizeof(e->folder), "%s", path);
}

void vs_export_objects(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	struct export e = { .v = v, .call = call };
	json_t *doc = vs_doc(v, call, text);

	if (!doc)
		return;
	e.doc = doc;
	e.cluster = json_object_get(doc, "cluster");
	e.mark = json_object_get(doc, "mark");
	e.name = vs_str(e.cluster, "name");
	e.objects = json_array();
	folder_read(&e);
	if (!*e.name) {
		v->svc->error(call, PCG_ERR_BUG, "export_objects was given no cluster name", "");
	} else if (!thumbprint_find(&e)) {
		vs_error(v, call, &e.err);
	} else {
		export_cluster(&e);
		if (export_pools(&e) && export_machines(&e))
			vs_done(v, call, json_pack("{s:O}", "objects", e.objects));
		else
			vs_error(v, call, &e.err);
	}
	json_decref(e.objects);
	json_decref(doc);
}

static json_t *imported(const json_t *object, const json_t *vm)
{
	const json_t *spec = json_object_get(object, "spec"), *meta = json_object_get(object, "metadata");
	const char *provider_id = vs_str(spec, "providerID"), *bios = vs_str(json_object_get(vm, "spec"), "biosUUID");
	char made[64] = "";

	if (!*provider_id && *bios) {
		snprintf(made, sizeof(made), "vsphere://%s", bios);
		provider_id = made;
	}
	return json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:O?}}", "name", vs_str(meta, "name"), "pool",
			 vs_at(spec, "customVMXKeys", MARK_POOL), "role",
			 json_object_get(json_object_get(meta, "labels"), "cluster.x-k8s.io/control-plane") ? "control-plane" : "worker",
			 "observed", "id", strncmp(provider_id, "vsphere://", 10) == 0 ? provider_id + 10 : "", "providerID",
			 provider_id, "addresses", json_object_get(json_object_get(object, "status"), "addresses"));
}

void vs_import_objects(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	json_t *doc = json_loads(text ? text : "", 0, NULL), *list, *machines, *item, *other;
	size_t i, k;

	if (!doc) {
		v->svc->error(call, PCG_ERR_BUG, "the op's document is no JSON object", "");
		return;
	}
	list = json_object_get(doc, "objects");
	machines = json_array();
	json_array_foreach(list, i, item) {
		json_t *object = json_object_get(item, "object") ? json_object_get(item, "object") : item, *vm = NULL;

		if (strcmp(vs_str(object, "kind"), "VSphereMachine") != 0)
			continue;
		json_array_foreach(list, k, other) {
			json_t *o = json_object_get(other, "object") ? json_object_get(other, "object") : other;

			if (strcmp(vs_str(o, "kind"), "VSphereVM") == 0 &&
			    strcmp(vs_at(o, "metadata", "name"), vs_at(object, "metadata", "name")) == 0)
				vm = o;
		}
		json_array_append_new(machines, imported(object, vm));
	}
	vs_done(v, call, json_pack("{s:o}", "machines", machines));
	json_decref(doc);
}
