/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/check.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The objects of a placement, read in one call, and whether they do. */

#define HARDWARE_LEAST 10  /* guestinfo as cloud-init reads it, and 64-bit guests of today */
#define HARDWARE_CSI 15    /* what the vSphere CSI driver asks of nodes ("vSphere CSI: compatibility", requirements) */

/* A datastore of a datastore cluster. */
struct member {
	struct vs_ref ref, pod;
	int64_t free_gib;
	bool usable;            /* accessible, not in maintenance */
};

struct reading {
	const struct check_entity *e;
	size_t n;
	unsigned uses;
	const struct check_sizes *sizes;
	json_t *problems, *warnings;
	bool *seen;             /* by entity */
	struct xn *cluster;     /* what the compute cluster has: kept until all were read */
	struct member *members; /* likewise */
	size_t n_members;
};

static bool is_true(const struct xn *value)
{
	return strcmp(xn_text(value), "true") == 0;
}

static void judge_guest(const struct reading *r, const struct check_entity *e, const char *guest)
{
	if (strncmp(guest, "win", 3) == 0)
		vs_problem(r->problems, e->field, "Name a template of a Linux system with cloud-init.",
			   "template %s has guest id %s: nodes are Linux machines", e->path, guest);
	else if (*guest && !strstr(guest, "64"))
		check_warn(r->warnings, "template %s has guest id %s, which is not a 64-bit Linux: nodes may not start", e->path, guest);
}

static void judge_template(const struct reading *r, const struct check_entity *e, const struct xn *o)
{
	const char *version = xn_text(xn_prop(o, "config.version"));
	int hardware = strncmp(version, "vmx-", 4) == 0 ? atoi(version + 4) : 0;
	struct vs_ref snapshot;

	if (!xn_prop(o, "config.template")) {
		vs_problem(r->problems, e->field, "Give the account's role System.Read on the template, with its folder.",
			   "the configuration of template %s cannot be read", e->path);
		return;
	}
	if (!is_true(xn_prop(o, "config.template")))
		vs_problem(r->problems, e->field, "Convert it to a template in vCenter.", "%s is a machine, not a template", e->path);
	if (r->uses & CHECK_SNAPSHOT && !xn_ref(xn_prop(o, "snapshot.currentSnapshot"), &snapshot))
		vs_problem(r->problems, e->field, "Make a snapshot of it, or use full clones (cloneMode fullClone).",
			   "%s has no snapshot, which a linked clone needs", e->path);
	if (hardware && hardware < HARDWARE_LEAST)
		vs_problem(r->problems, e->field, "Upgrade the template's compatibility in vCenter.",
			   "%s has hardware version %s; nodes need vmx-%d at least", e->path, version, HARDWARE_LEAST);
	else if (hardware && hardware < HARDWARE_CSI && !(r->uses & CHECK_UPGRADE))
		check_warn(r->warnings, "%s has hardware version %s; the vSphere CSI driver needs vmx-%d", e->path, version, HARDWARE_CSI);
	judge_guest(r, e, xn_text(xn_prop(o, "config.guestId")));
}

static int64_t free_gib_of(const struct xn *o)
{
	return strtoll(xn_text(xn_prop(o, "summary.freeSpace")), NULL, 10) >> 30;
}

static void judge_datastore(const struct reading *r, const struct check_entity *e, const struct xn *o)
{
	int64_t free_gib = free_gib_of(o);
	const char *maintenance = xn_text(xn_prop(o, "summary.maintenanceMode"));

	if (xn_prop(o, "summary.accessible") && !is_true(xn_prop(o, "summary.accessible")))
		vs_problem(r->problems, e->field, "Check the storage in vCenter, or choose another datastore.",
			   "datastore %s is not accessible", e->path);
	if (*maintenance && strcmp(maintenance, "normal") != 0)
		vs_problem(r->problems, e->field, "Take it out of maintenance, or choose another datastore.",
			   "datastore %s is in maintenance mode", e->path);
	if (xn_prop(o, "summary.freeSpace") && r->sizes && r->sizes->disk_gib > 0 && free_gib < r->sizes->disk_gib) {
		/* A linked clone, or a thin disk, takes what is written alone. */
		if (r->uses & CHECK_LINKED)
			check_warn(r->warnings, "datastore %s has %" PRId64 " GiB free; %" JSON_INTEGER_FORMAT " machines may come to take %"
			     JSON_INTEGER_FORMAT " GiB", e->path, free_gib, r->sizes->machines, r->sizes->disk_gib);
		else
			vs_problem(r->problems, e->field, "Free space on it, choose another one, or smaller disks.",
				   "datastore %s has %" PRId64 " GiB free, and the disks of %" JSON_INTEGER_FORMAT " machines are %"
				   JSON_INTEGER_FORMAT " GiB", e->path, free_gib, r->sizes->machines, r->sizes->disk_gib);
	}
}

/* A distributed port group, a standard network of hosts, an NSX segment (opaque in 6.7, a port group from 7.0 on). */
static void judge_network(const struct reading *r, const struct check_entity *e, const struct xn *o)
{
	const struct xn *tags = xn_prop(o, "tag");

	for (const struct xn *t = tags ? tags->child : NULL; t; t = t->next)
		if (strcmp(xn_get(t, "key"), "SYSTEM/DVS.UPLINKPG") == 0)
			vs_problem(r->problems, e->field, "Name a port group for machines.",
				   "%s carries the uplinks of its switch: machines cannot be connected to it", e->path);
	if (xn_prop(o, "summary.accessible") && !is_true(xn_prop(o, "summary.accessible")))
		vs_problem(r->problems, e->field, "Give a host of the compute cluster that network, or choose another one.",
			   "network %s is on no host that is connected", e->path);
}

static const struct check_entity *entity_of(const struct reading *r, const struct vs_ref *ref)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->e[i].ref.value, ref->value) == 0) {
			r->seen[i] = true;
			return &r->e[i];
		}
	return NULL;
}

/* Copies what decides about the others. */
static void keep_cluster(struct reading *r, const struct xn *o)
{
	struct xn *own = (struct xn *)(uintptr_t)o, *copy;

	if (r->cluster)
		return;
	copy = calloc(1, sizeof(*copy));
	assert(copy);
	copy->name = (char *)xmlStrdup(BAD_CAST "objects");
	copy->child = own->child;
	own->child = NULL;
	r->cluster = copy;
}

static void keep_member(struct reading *r, const struct vs_ref *ref, const struct xn *o)
{
	const char *maintenance = xn_text(xn_prop(o, "summary.maintenanceMode"));
	struct member m = { .ref = *ref, .free_gib = free_gib_of(o) };

	if (!xn_ref(xn_prop(o, "parent"), &m.pod))
		return;
	m.usable = is_true(xn_prop(o, "summary.accessible")) && (!*maintenance || strcmp(maintenance, "normal") == 0);
	r->members = realloc(r->members, (r->n_members + 1) * sizeof(m));
	assert(r->members);
	r->members[r->n_members++] = m;
}

static void on_object(void *arg, const struct xn *o)
{
	struct reading *r = arg;
	const struct check_entity *e;
	struct vs_ref ref;
	size_t n;

	if (!xn_ref(xn_child(o, "obj"), &ref))
		return;
	n = strlen(ref.type);
	if (n >= 15 && strcmp(ref.type + n - 15, "ComputeResource") == 0) {
		entity_of(r, &ref);
		keep_cluster(r, o);
		return;
	}
	e = entity_of(r, &ref);
	if (!e && strcmp(ref.type, "Datastore") == 0)
		keep_member(r, &ref, o);
	if (!e)
		return;
	if (e->kind == CHECK_TEMPLATE && xn_prop(o, "config.keyId"))
		r->uses |= CHECK_ENCRYPTED;
	if (e->kind == CHECK_TEMPLATE)
		judge_template(r, e, o);
	else if (e->kind == CHECK_DATASTORE && strcmp(ref.type, "StoragePod") != 0)
		judge_datastore(r, e, o);
	else if (e->kind == CHECK_NETWORK)
		judge_network(r, e, o);
}

static bool listed(const struct xn *list, const struct vs_ref *ref)
{
	for (const struct xn *m = list ? list->child : NULL; m; m = m->next)
		if (strcmp(xn_text(m), ref->value) == 0)
			return true;
	return false;
}

/* VirtualMachineRelocateSpec.host of the API's documentation (8.0): a clone into the pool of a cluster, with no host named, goes to a random compatible
 * one. That of older versions, and reports of them, have InvalidArgument where DRS is off; vSphere Standard has none. */
static void judge_drs(const struct reading *r, const char *name, const char *field)
{
	const struct xn *all = xn_prop(r->cluster, "configurationEx"), *config = xn_child(all, "drsConfig");

	if (!all && r->uses & CHECK_RULES)
		vs_problem(r->problems, field, "Name a compute cluster, or leave antiAffinity out.",
			   "%s keeps no rule that keeps control planes apart: it is a host of its own, or the user may not read its "
			   "configuration", name);
	if (strcmp(xn_get(config, "enabled"), "false") != 0)
		return;
	if (r->uses & CHECK_RULES)
		vs_problem(r->problems, field, "Turn DRS on (partially automated is enough), or leave antiAffinity out.",
			   "compute cluster %s has no DRS, which obeys the rule that keeps control planes apart", name);
	else
		check_warn(r->warnings, "compute cluster %s has no DRS: vCenter puts each machine on a random host that can run it, and moves it "
			   "nowhere else; should it ask for a host, DRS has to be turned on", name);
}

/* Whether the hosts of the compute cluster reach what machines need. */
static void judge_cluster(const struct reading *r)
{
	const struct xn *hosts = r->cluster ? xn_prop(r->cluster, "host") : NULL;
	const char *name = r->cluster ? xn_text(xn_prop(r->cluster, "name")) : "", *field = "pool.cloudConfig.placements.cluster";

	if (!r->cluster)
		return;
	if (hosts && !hosts->child)
		vs_problem(r->problems, field, "Add hosts to it, or name another compute cluster.", "compute cluster %s has no host", name);
	judge_drs(r, name, field);
	for (size_t i = 0; i < r->n; i++) {
		const struct check_entity *e = &r->e[i];
		const char *what = e->kind == CHECK_DATASTORE ? "datastore" : e->kind == CHECK_NETWORK ? "network" : NULL;
		const struct xn *list = what ? xn_prop(r->cluster, what) : NULL;

		if (list && r->seen[i] && strcmp(e->ref.type, "StoragePod") != 0 && !listed(list, &e->ref))
			vs_problem(r->problems, e->field, "Connect the hosts of the compute cluster to it, or choose another one.",
				   "no host of compute cluster %s reaches %s %s", name, what, e->path);
	}
}

struct pod {
	size_t members, usable, reached;
	int64_t free_gib, largest_gib;
	json_int_t machines;   /* for so many there is room */
};

/* Storage DRS places a disk on one datastore, whatever the others have. */
static void pod_sum(const struct reading *r, const struct check_entity *e, int64_t disk_gib, struct pod *pod)
{
	const struct xn *reach = r->cluster ? xn_prop(r->cluster, "datastore") : NULL;

	for (size_t i = 0; i < r->n_members; i++) {
		const struct member *m = &r->members[i];

		if (strcmp(m->pod.value, e->ref.value) != 0)
			continue;
		pod->members++;
		pod->usable += m->usable;
		if (!m->usable || (reach && !listed(reach, &m->ref)))
			continue;
		pod->reached++;
		pod->free_gib += m->free_gib;
		pod->largest_gib = m->free_gib > pod->largest_gib ? m->free_gib : pod->largest_gib;
		pod->machines += disk_gib > 0 ? m->free_gib / disk_gib : 0;
	}
}

static void judge_pod_space(const struct reading *r, const struct check_entity *e, const struct pod *pod, int64_t disk_gib)
{
	if (disk_gib <= 0 || pod->machines >= r->sizes->machines)
		return;
	if (r->uses & CHECK_LINKED)
		check_warn(r->warnings, "datastore cluster %s has %" PRId64 " GiB free; %" JSON_INTEGER_FORMAT " machines may come to take %"
			   PRId64 " GiB each", e->path, pod->free_gib, r->sizes->machines, disk_gib);
	else
		vs_problem(r->problems, e->field, "Free space on its datastores, add one, choose another one, or smaller disks.",
			   "datastore cluster %s has %" PRId64 " GiB free, %" PRId64 " GiB of it on one datastore: room for %"
			   JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " machines with disks of %" PRId64 " GiB each", e->path,
			   pod->free_gib, pod->largest_gib, pod->machines, r->sizes->machines, disk_gib);
}

static void judge_pod(const struct reading *r, const struct check_entity *e)
{
	json_int_t machines = r->sizes ? r->sizes->machines : 0;
	int64_t disk_gib = machines > 0 ? (r->sizes->disk_gib + machines - 1) / machines : 0;
	struct pod pod = { 0 };

	pod_sum(r, e, disk_gib, &pod);
	if (!pod.members)
		vs_problem(r->problems, e->field, "Add datastores to it, or give the account's role System.Read on those that it has.",
			   "the user sees no datastore in datastore cluster %s", e->path);
	else if (!pod.usable)
		vs_problem(r->problems, e->field, "Take one out of maintenance, check the storage in vCenter, or choose another one.",
			   "no datastore of datastore cluster %s is accessible and out of maintenance mode", e->path);
	else if (!pod.reached)
		vs_problem(r->problems, e->field, "Connect the hosts of the compute cluster to it, or choose another one.",
			   "no host of compute cluster %s reaches a datastore of datastore cluster %s",
			   xn_text(xn_prop(r->cluster, "name")), e->path);
	else
		judge_pod_space(r, e, &pod, disk_gib);
}

static void judge_pods(const struct reading *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->e[i].kind == CHECK_DATASTORE && strcmp(r->e[i].ref.type, "StoragePod") == 0)
			judge_pod(r, &r->e[i]);
}

static const struct { const char *type; const char *props[8]; } wanted[] = {
	{ "VirtualMachine", { "config.template", "config.version", "config.guestId", "config.keyId", "snapshot.currentSnapshot" } },
	{ "Datastore", { "summary.accessible", "summary.maintenanceMode", "summary.freeSpace", "parent" } },
	{ "Network", { "tag", "summary.accessible" } },
	{ "ComputeResource", { "name", "host", "datastore", "network" } },
	{ "ClusterComputeResource", { "configurationEx" } },
	{ "ResourcePool", { "owner" } },
};

static void write_spec(struct soap *s, const struct check_entity *e, size_t n)
{
	soap_open(s, "specSet");
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		soap_open(s, "propSet");
		soap_text(s, "type", wanted[i].type);
		for (size_t k = 0; k < 8 && wanted[i].props[k]; k++)
			soap_text(s, "pathSet", wanted[i].props[k]);
		soap_close(s);
	}
	for (size_t i = 0; i < n; i++) {
		bool pod = strcmp(e[i].ref.type, "StoragePod") == 0;

		if (e[i].kind == CHECK_ROOT || e[i].kind == CHECK_FOLDER)
			continue;
		soap_open(s, "objectSet");
		soap_ref(s, "obj", &e[i].ref);
		soap_bool(s, "skip", pod || e[i].kind == CHECK_POOL);
		if (pod || e[i].kind == CHECK_POOL) {
			soap_open_type(s, "selectSet", "TraversalSpec");
			soap_text(s, "type", pod ? "StoragePod" : "ResourcePool");
			soap_text(s, "path", pod ? "childEntity" : "owner");
			soap_bool(s, "skip", false);
			soap_close(s);
		}
		soap_close(s);
	}
	soap_close(s);
}

static bool anything(const struct check_entity *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (e[i].kind != CHECK_ROOT && e[i].kind != CHECK_FOLDER)
			return true;
	return false;
}

int check_objects(struct vs_session *ss, struct pcg_call *call, const struct check_entity *e, size_t n, unsigned *uses,
		  const struct check_sizes *sizes, json_t *problems, json_t *warnings, struct vs_err *err)
{
	struct reading r = { .e = e, .n = n, .uses = *uses, .sizes = sizes, .problems = problems, .warnings = warnings };
	struct soap s;
	unsigned generation;
	int result;

	if (!anything(e, n))
		return 0;
	if (vs_session_open(ss, call, &generation, err))
		return -1;
	r.seen = calloc(n, sizeof(*r.seen));
	assert(r.seen);
	soap_begin(&s, "RetrievePropertiesEx", &ss->collector);
	write_spec(&s, e, n);
	result = vs_retrieve(ss, call, &s, 0, 0, on_object, &r, err);
	if (!result) {
		judge_cluster(&r);
		judge_pods(&r);
	}
	*uses = r.uses;
	xn_free(r.cluster);
	free(r.members);
	free(r.seen);
	return result;
}
