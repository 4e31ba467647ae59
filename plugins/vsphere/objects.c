/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/objects_impl.h"

#include "plugins/vsphere/finish.h"
#include "plugins/vsphere/storage.h"

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

json_t *export_object(const struct export *e, const char *kind, const char *name, json_t *spec)
{
	return json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:o}", "apiVersion", API_VERSION, "kind", kind, "metadata", "name", name,
			 "labels", CLUSTER_LABEL, e->name, "spec", spec);
}

void export_add(struct export *e, const char *role, const char *owner, const char *pool, const char *machine, json_t *object,
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

void export_text(json_t *object, const char *key, const char *text)
{
	if (*text)
		json_object_set_new(object, key, json_string(text));
}

static bool keeps_together(const struct export *e)
{
	const json_t *pools = json_object_get(json_object_get(e->cluster, "spec"), "pools"), *pool;
	json_t *problems = json_array();
	bool together = false;
	struct vs_options o;
	size_t i;

	json_array_foreach(pools, i, pool) {
		options_read(e->v, e->cluster, pool, NULL, &o, problems);
		together = together || (o.together && json_is_true(json_object_get(pool, "controlPlane")));
	}
	json_decref(problems);
	return together;
}

static void export_cluster(struct export *e)
{
	json_t *status;
	json_t *spec = json_pack("{s:s, s:O?, s:{s:s, s:s}}", "server", e->v->session.server, "controlPlaneEndpoint",
				 json_object_get(e->doc, "endpoint"), "identityRef", "kind", "Secret", "name", e->name);

	export_text(spec, "thumbprint", e->thumbprint);
	if (keeps_together(e))
		json_object_set_new(spec, "disableClusterModule", json_true());
	if (json_array_size(e->domains))
		json_object_set_new(spec, "failureDomainSelector", json_pack("{s:{s:s}}", "matchLabels", CLUSTER_LABEL, e->name));
	status = json_pack("{s:{s:b}, s:[o]}", "initialization", "provisioned", 1, "conditions", condition());
	if (json_array_size(e->domains))
		json_object_set_new(status, "failureDomains", export_domains(e));
	export_add(e, "identity", "", "", "",
	    json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:s, s:{s:s, s:s}}", "apiVersion", "v1", "kind", "Secret", "metadata", "name",
		      e->name, "labels", CLUSTER_LABEL, e->name, "type", "Opaque", "stringData", "username", e->v->session.user,
		      "password", e->v->session.password), NULL);
	export_add(e, "cluster", "Cluster", "", "", export_object(e, "VSphereCluster", e->name, spec), status);
}

static json_t *custom_keys(const struct export *e, const char *pool, const char *role)
{
	json_t *keys = json_pack("{s:s, s:s, s:s}", MARK_CLUSTER, vs_str(e->cluster, "uid"), MARK_POOL, pool, MARK_ROLE, role);
	char epoch[24];

	export_text(keys, MARK_GATEWAY, vs_str(e->mark, "gateway"));
	snprintf(epoch, sizeof(epoch), "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(e->mark, "epoch")));
	if (json_object_get(e->mark, "epoch"))
		json_object_set_new(keys, MARK_EPOCH, json_string(epoch));
	return keys;
}

static void set_number(json_t *spec, const char *key, json_int_t value)
{
	if (value > 0)
		json_object_set_new(spec, key, json_integer(value));
}

/* Quantities as the controllers take them: "2000M" are 2000 MHz. */
static void set_quantity(json_t *resources, const char *group, const char *key, json_int_t n, const char *unit)
{
	json_t *of = json_object_get(resources, group);

	if (!n)
		return;
	if (!of) {
		of = json_object();
		json_object_set_new(resources, group, of);
	}
	json_object_set_new(of, key, *unit ? json_sprintf("%" JSON_INTEGER_FORMAT "%s", n, unit) : json_integer(n));
}

static void set_resources(json_t *spec, const struct vs_options *o)
{
	json_t *resources = json_object();

	set_quantity(resources, "requests", "cpu", o->cpu.reservation, "M");
	set_quantity(resources, "requests", "memory", o->memory.reservation, "Mi");
	set_quantity(resources, "limits", "cpu", o->cpu.limit, "M");
	set_quantity(resources, "limits", "memory", o->memory.limit, "Mi");
	set_quantity(resources, "shares", "cpu", o->cpu.shares, "");
	set_quantity(resources, "shares", "memory", o->memory.shares, "");
	if (json_object_size(resources))
		json_object_set(spec, "resources", resources);
	json_decref(resources);
}

static void set_disks(json_t *spec, const struct vs_options *o)
{
	json_t *disks, *one;
	size_t i;

	set_number(spec, "diskGiB", o->disk_gib);
	if (o->template_disks)
		json_object_set_new(spec, "additionalDisksGiB", json_deep_copy(o->template_disks));
	if (!o->data_disks)
		return;
	disks = json_array();
	json_array_foreach(o->data_disks, i, one) {
		json_t *disk = json_pack("{s:s, s:O}", "name", vs_str(one, "name"), "sizeGiB", json_object_get(one, "sizeGiB"));

		export_text(disk, "provisioningMode", vs_str(one, "provisioningMode"));
		json_array_append_new(disks, disk);
	}
	json_object_set_new(spec, "dataDisks", disks);
}

/* Of a datastore cluster one of its datastores; none when a policy says which, for the controllers then choose. */
bool export_datastore(struct export *e, json_t *object, const struct spot *spot, const struct vs_options *o)
{
	char path[512];

	if (!spot->pod.value[0]) {
		export_path_text(object, "datastore", spot->datastore_path);
		return true;
	}
	if (*o->policy)
		return true;
	if (storage_member(e->v, e->call, spot, path, sizeof(path), &e->err))
		return false;
	export_path_text(object, "datastore", path);
	return true;
}

static bool set_tags(struct export *e, json_t *spec, const json_t *tags)
{
	json_t *ids = json_array(), *problems = json_array();
	int r = tags_resolve(e->v, e->call, tags, ids, problems, &e->err);

	if (!r && json_array_size(problems)) {
		vs_fail(&e->err, PCG_ERR_NOT_FOUND, vs_str(json_array_get(problems, 0), "remedy"), "%s",
			vs_str(json_array_get(problems, 0), "text"));
		r = -1;
	}
	json_object_set(spec, "tagIDs", ids);
	json_decref(ids);
	json_decref(problems);
	return !r;
}

static bool set_policy(struct export *e, json_t *spec, const char *policy)
{
	char name[512];

	if (!*policy)
		return true;
	if (storage_policy_name(e->v, e->call, policy, name, sizeof(name), &e->err))
		return false;
	vs_utf8(name);
	export_text(spec, "storagePolicyName", name);
	return true;
}

/* What template and machine have in common; NULL with err. A full clone takes no snapshot, and a linked one gets the
 * one that was meant by its name. */
static json_t *clone_spec(struct export *e, const json_t *pool, size_t zone, const char *pool_name, const char *role)
{
	struct vs_options o;
	struct spot spot;
	json_t *spec;

	if (clone_find(e->v, e->call, e->cluster, pool, zone, &spot, &o, &e->err)) {
		struct vs_err why = e->err;

		vs_fail(&e->err, why.class, why.remedy, "pool %s: %s", pool_name, why.text);
		return NULL;
	}
	spec = json_pack("{s:s, s:o, s:o, s:o, s:o, s:s, s:s, s:o, s:{s:o}}", "server", e->v->session.server, "datacenter",
			 export_path(spot.datacenter), "folder", export_path(*e->folder ? e->folder : spot.folder_path), "resourcePool",
			 export_path(spot.pool_path), "template", export_path(spot.template_path), "cloneMode",
			 o.linked ? "linkedClone" : "fullClone", "powerOffMode", o.power_off_mode, "customVMXKeys",
			 custom_keys(e, pool_name, role), "network", "devices", export_netdevices(&spot));
	export_text(spec, "thumbprint", e->thumbprint);
	export_text(spec, "snapshot", o.linked ? o.snapshot : "");
	export_text(spec, "hardwareVersion", o.hardware);
	set_number(spec, "guestSoftPowerOffTimeoutSeconds", o.soft_off_s);
	set_number(spec, "numCPUs", o.cpus);
	set_number(spec, "numCoresPerSocket", o.cores);
	set_number(spec, "memoryMiB", o.memory_mib);
	set_disks(spec, &o);
	set_resources(spec, &o);
	if (!set_policy(e, spec, o.policy) || !export_datastore(e, spec, &spot, &o) || (o.tags && !set_tags(e, spec, o.tags))) {
		json_decref(spec);
		return NULL;
	}
	return spec;
}

static void export_template(struct export *e, const json_t *pool, size_t zone, const char *name, json_t *spec)
{
	bool control_plane = json_is_true(json_object_get(pool, "controlPlane"));
	char domain[256];

	export_add(e, control_plane ? "controlPlaneTemplate" : "workerTemplate", "Cluster", vs_str(pool, "name"), "",
	    export_object(e, "VSphereMachineTemplate", name, json_pack("{s:{s:o}}", "template", "spec", spec)), NULL);
	zone_name(e->cluster, pool, zone, domain, sizeof(domain));
	if (!control_plane && export_has_zone(e, domain))
		export_text(json_array_get(e->objects, json_array_size(e->objects) - 1), "failureDomain", domain);
}

/* The controllers spread a control plane over its failure domains themselves: it has one template. Workers stay where their
 * template says, so they have one for each placement; with dots in it its name is no other pool's. */
static bool export_pool(struct export *e, const json_t *pool)
{
	bool control_plane = json_is_true(json_object_get(pool, "controlPlane"));
	size_t zones = control_plane ? 1 : placement_zones(pool);
	char name[160], number[24];

	for (size_t zone = 0; zone < zones; zone++) {
		json_t *spec = clone_spec(e, pool, zone, vs_str(pool, "name"), control_plane ? "control-plane" : "worker");

		if (!spec)
			return false;
		snprintf(number, sizeof(number), ".%zu", zone + 1);
		snprintf(name, sizeof(name), "%s-%s%s", e->name, control_plane ? "cp" : vs_str(pool, "name"), zones > 1 ? number : "");
		export_template(e, pool, zone, name, spec);
	}
	return true;
}

static bool export_pools(struct export *e)
{
	const json_t *pools = json_object_get(e->doc, "pools"), *pool;
	bool good = true;
	size_t i;

	if (!pools)
		pools = json_object_get(json_object_get(e->cluster, "spec"), "pools");
	json_array_foreach(pools, i, pool)
		good = good && export_pool(e, pool);
	return good;
}

/* Where the controllers get the addresses from a pool, they write them themselves. */
static void machine_network(const json_t *machine, json_t *spec)
{
	json_t *devices = json_object_get(json_object_get(spec, "network"), "devices"), *device;
	size_t i;

	netdevice_address(devices, json_object_get(machine, "addresses"));
	json_array_foreach(devices, i, device) {
		if (!json_object_get(device, "addressesFromPools"))
			continue;
		json_object_del(device, "ipAddrs");
		json_object_del(device, "gateway4");
		json_object_del(device, "gateway6");
	}
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
	export_text(spec, "providerID", provider_id);
	export_text(vm, "biosUUID", bios);
	json_object_set_new(vm, "bootstrapRef", json_pack("{s:s}", "name", name));
	export_add(e, "machine", "Machine", pool, uid, export_object(e, "VSphereMachine", name, spec),
	    json_pack("{s:{s:b}, s:O?, s:[o]}", "initialization", "provisioned", 1, "addresses",
		      json_object_get(observed, "addresses"), "conditions", condition()));
	vm_status = json_pack("{s:b, s:O, s:[o]}", "ready", 1, "addresses", ips, "conditions", condition());
	if (*vs_str(observed, "mac")) {
		nic = json_pack("{s:s, s:b, s:O}", "macAddr", vs_str(observed, "mac"), "connected", 1, "ipAddrs", ips);
		json_object_set_new(vm_status, "network", json_pack("[o]", nic));
	}
	export_add(e, "extra", "Machine", pool, uid, export_object(e, "VSphereVM", name, vm), vm_status);
	json_object_set_new(json_array_get(e->objects, json_array_size(e->objects) - 1), "claims",
			    json_pack("{s:s}", "finalizer", "vspherevm.infrastructure.cluster.x-k8s.io/ip-claim-protection"));
	json_decref(ips);
}

static bool export_machines(struct export *e)
{
	const json_t *machine;
	size_t i;

	json_array_foreach(json_object_get(e->doc, "machines"), i, machine) {
		json_t *spec = clone_spec(e, json_object_get(machine, "poolSpec"),
					  (size_t)json_integer_value(json_object_get(json_object_get(machine, "observed"), "zone")),
					  vs_str(machine, "pool"), vs_str(machine, "role"));

		if (!spec)
			return false;
		machine_network(machine, spec);
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
	e.domains = json_array();
	folder_read(&e);
	if (!*e.name) {
		v->svc->error(call, PCG_ERR_BUG, "export_objects was given no cluster name", "");
	} else if (!thumbprint_find(&e) || !export_find_zones(&e)) {
		vs_error(v, call, &e.err);
	} else {
		export_cluster(&e);
		if (export_zones(&e) && export_pools(&e) && export_machines(&e))
			vs_done(v, call, json_pack("{s:O}", "objects", e.objects));
		else
			vs_error(v, call, &e.err);
	}
	json_decref(e.objects);
	json_decref(e.domains);
	json_decref(doc);
}
