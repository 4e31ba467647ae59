/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/machine.h"

#include "plugins/vsphere/devices.h"
#include "plugins/vsphere/kept.h"
#include "plugins/vsphere/netconfig.h"
#include "plugins/vsphere/storage.h"
#include "plugins/vsphere/task.h"
#include "plugins/vsphere/zones.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The clone specification. Members stand in the order of the schema: vCenter refuses another one. */

#define NOTES "Machine of a Kubernetes cluster, made by its private cloud gateway."

static bool name_good(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.");

	return n && n <= 80 && !name[n];
}

static void write_mark(struct soap *s, const struct subject *sub, size_t zone)
{
	char epoch[24];

	snprintf(epoch, sizeof(epoch), "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(sub->mark, "epoch")));
	soap_option(s, MARK_CLUSTER, vs_str(sub->cluster, "uid"));
	soap_option(s, MARK_POOL, vs_str(sub->machine, "pool"));
	soap_option(s, MARK_MACHINE, sub->uid);
	soap_option(s, MARK_ROLE, vs_str(sub->machine, "role"));
	soap_option(s, MARK_GATEWAY, vs_str(sub->mark, "gateway"));
	soap_option(s, MARK_EPOCH, epoch);
	if (placement_zones(json_object_get(sub->machine, "poolSpec")) > 1) {
		snprintf(epoch, sizeof(epoch), "%zu", zone);
		soap_option(s, MARK_ZONE, epoch);
	}
}

/* What a clone is made from beside its place. */
struct making {
	const struct subject *sub;
	struct spot *spot;
	const struct vs_options *o;
	json_t *netdevices;
	char *user_data;
	bool *asked;
	size_t zone;
	const char *encoding;
	char profile[POLICY_ID]; /* id of the storage policy, "" none */
};

static void write_location(struct soap *s, const struct making *m)
{
	const char *move_type = m->o->linked ? "createNewChildDiskBacking" : "moveAllDiskBackingsAndConsolidate";

	soap_open(s, "location");
	soap_ref(s, "folder", &m->spot->folder);
	if (m->spot->datastore.value[0])
		soap_ref(s, "datastore", &m->spot->datastore);
	soap_text(s, "diskMoveType", move_type);
	soap_ref(s, "pool", &m->spot->pool);
	disk_locate(s, m->spot->devices, &m->spot->datastore, move_type, m->profile);
	profile_write(s, m->profile);
	soap_close(s);
}

static void write_share(struct soap *s, const char *name, const struct vs_share *share)
{
	if (!share->reservation && !share->limit && !share->shares)
		return;
	soap_open(s, name);
	if (share->reservation)
		soap_int(s, "reservation", share->reservation);
	if (share->limit)
		soap_int(s, "limit", share->limit);
	if (share->shares) {
		soap_open(s, "shares");
		soap_int(s, "shares", share->shares);
		soap_text(s, "level", "custom");
		soap_close(s);
	}
	soap_close(s);
}

/* Left out, the template's cores per socket would hold, which may be no divisor of numCPUs: vCenter refuses that. The vSphere controllers make one
 * socket of a machine that says nothing. */
static void write_size(struct soap *s, const struct vs_options *o)
{
	soap_int(s, "numCPUs", o->cpus);
	soap_int(s, "numCoresPerSocket", o->cores ? o->cores : o->cpus);
	soap_int(s, "memoryMB", o->memory_mib);
}

static void write_guestinfo(struct soap *s, const struct making *m)
{
	char *metadata = netconfig_metadata(m->sub->name, m->netdevices);

	soap_option(s, "guestinfo.userdata", m->user_data);
	soap_option(s, "guestinfo.userdata.encoding", m->encoding);
	soap_option(s, "guestinfo.metadata", metadata);
	soap_option(s, "guestinfo.metadata.encoding", "base64");
	free(metadata);
}

static void write_config(struct soap *s, const struct making *m)
{
	soap_open(s, "config");
	soap_text(s, "instanceUuid", m->sub->uuid);
	soap_text(s, "annotation", *m->o->notes ? m->o->notes : NOTES);
	soap_open(s, "flags");
	soap_bool(s, "diskUuidEnabled", true);
	soap_close(s);
	write_size(s, m->o);
	disk_write(s, m->spot->devices, m->o, m->profile);
	nic_write(s, m->spot, m->netdevices);
	write_share(s, "cpuAllocation", &m->o->cpu);
	write_share(s, "memoryAllocation", &m->o->memory);
	write_guestinfo(s, m);
	write_mark(s, m->sub, m->zone);
	/* With properties of an OVF in it cloud-init would take these for its data, and not look at guestinfo. */
	soap_bool(s, "vAppConfigRemoved", true);
	soap_close(s);
}

/* A machine that is upgraded is powered on after that. */
static bool upgrade_wanted(const struct vs_options *o, const struct spot *spot)
{
	return options_hardware(o->hardware) > options_hardware(spot->hardware);
}

static void write_clone(struct soap *s, const char *element, const struct making *m)
{
	soap_open(s, element);
	write_location(s, m);
	soap_bool(s, "template", false);
	write_config(s, m);
	soap_bool(s, "powerOn", !upgrade_wanted(m->o, m->spot));
	if (m->o->linked)
		soap_ref(s, "snapshot", &m->spot->snapshot);
	soap_close(s);
}

static void problems_text(const json_t *problems, struct vs_err *err)
{
	const json_t *first = json_array_get(problems, 0);

	vs_fail(err, PCG_ERR_PERMANENT, vs_str(first, "remedy"), "%s%s", vs_str(first, "text"),
		json_array_size(problems) > 1 ? " (and more)" : "");
}

/* The folder of the cluster, made by cluster_ensure, below the one that the request names. */
static int cluster_folder(struct vsphere *v, struct pcg_call *call, const struct subject *sub, struct spot *spot,
			  struct vs_err *err)
{
	const char *id = vs_at(sub->observed, "folder", "id");
	struct vs_ref found;

	if (*id) {
		snprintf(spot->folder.value, sizeof(spot->folder.value), "%s", id);
		return 0;
	}
	if (placement_child(v, call, &spot->folder, vs_str(sub->cluster, "name"), &found, err))
		return -1;
	if (strcmp(found.type, "Folder") == 0)
		spot->folder = found;
	return 0;
}

static int clone_task(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct making *m, struct vs_ref *task,
		      struct vs_err *err)
{
	struct soap s;
	int r;

	soap_begin(&s, "CloneVM_Task", &m->spot->template);
	soap_ref(&s, "folder", &m->spot->folder);
	soap_text(&s, "name", m->sub->name);
	write_clone(&s, "spec", m);
	/* Clones that were waited for are over: the next look is for this one. */
	if ((machine_untouched(doc) || json_object_get(json_object_get(doc, "checkpoint"), "clones")) && v->svc->checkpoint(call, "{\"begun\":true}")) {
		soap_free(&s);
		vs_fail(err, PCG_ERR_RETRY, "Nothing: it is tried again.",
			"cloning %s: that it begins could not be kept", m->sub->name);
		return -1;
	}
	v->svc->fault_point(v->host, "vsphere.before_clone");
	*m->asked = true;
	r = vs_task(&v->session, call, &s, task, err);
	v->svc->fault_point(v->host, "vsphere.after_clone_sent");
	return r;
}

json_t *clone_netdevices(const struct spot *spot)
{
	json_t *devices = json_array();

	for (size_t i = 0; i < spot->n_nics; i++)
		json_array_append_new(devices, netdevice_of(netdevice_network(spot->where, i), spot->nics[i].path));
	return devices;
}

static void write_recommended(struct soap *s, const char *element, void *arg)
{
	struct making without = *(struct making *)arg;

	without.user_data = (char *)(uintptr_t)"";
	write_clone(s, element, &without);
}

static int clone_storage(struct vsphere *v, struct pcg_call *call, struct making *m, struct vs_err *err)
{
	json_t *problems = json_array();
	int r = storage_policy(v, call, m->o, m->spot, m->profile, problems, err);

	if (!r && json_array_size(problems)) {
		problems_text(problems, err);
		kept_forget(v);
		r = -1;
	}
	json_decref(problems);
	if (!r && m->spot->pod.value[0])
		r = storage_recommend(v, call, m->sub->name, m->spot, write_recommended, m, err);
	return r;
}

static int clone_make(struct vsphere *v, struct pcg_call *call, const json_t *doc, struct making *m, struct vs_ref *task,
		      struct vs_err *err)
{
	int r;

	m->netdevices = clone_netdevices(m->spot);
	netdevice_address(m->netdevices, json_object_get(m->sub->machine, "addresses"));
	m->user_data = vs_user_data(vs_str(doc, "userData"), &m->encoding, err);
	r = m->user_data ? netdevice_ready(m->netdevices, m->spot->where, m->sub->uid, err) : -1;
	if (!r)
		r = clone_storage(v, call, m, err);
	if (!r)
		r = clone_task(v, call, doc, m, task, err);
	if (m->user_data)
		explicit_bzero(m->user_data, strlen(m->user_data));
	free(m->user_data);
	json_decref(m->netdevices);
	return r;
}

/* Where the machine goes, with all that the request says of it; -1 with err also when that cannot be. */
int clone_find(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const json_t *pool, size_t zone, struct spot *spot,
	       struct vs_options *o, struct vs_err *err)
{
	json_t *problems = json_array();
	int r = placement_find(v, call, cluster, pool, zone, spot, problems, err);

	if (!r && json_array_size(problems)) {
		problems_text(problems, err);
		/* Somebody may mend it: the next look is a real one. */
		placement_forget(v);
		r = -1;
	}
	json_array_clear(problems);
	options_read(v, cluster, pool, spot->where, o, problems);
	json_decref(problems);
	return r;
}

static void nothing(void *arg, const struct xn *object)
{
}

/* Something that the clone names is not there. Names are looked up anew; the cluster's folder is known by its id. */
static void names_nothing(struct vsphere *v, struct pcg_call *call, const struct subject *sub, const struct spot *spot, struct vs_err *err)
{
	static const char *const paths[] = { "name" };
	struct vs_err gone;

	placement_forget(v);
	if (!*vs_at(sub->observed, "folder", "id") || !object_read(v, call, &spot->folder, paths, 1, nothing, NULL, &gone) ||
	    strcmp(gone.fault, "ManagedObjectNotFound") != 0)
		return;
	vs_fail(err, PCG_ERR_CONFLICT, "Delete the cluster, and create it again.",
		"machine %s cannot be cloned: somebody removed the folder of its cluster, %s (%s)", sub->name,
		vs_at(sub->observed, "folder", "path"), spot->folder.value);
}

int clone_send(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *sub,
	       struct vs_ref *task, struct vs_ref *folder, bool *asked, struct vs_err *err)
{
	struct vs_options o;
	struct spot spot;
	struct making m = { .sub = sub, .spot = &spot, .o = &o, .asked = asked, .zone = zone_pick(v, sub) };
	int r;

	*asked = false;
	if (!name_good(sub->name)) {
		vs_fail(err, PCG_ERR_BUG, "", "\"%s\" is no name of a machine", sub->name);
		return -1;
	}
	r = clone_find(v, call, sub->cluster, json_object_get(sub->machine, "poolSpec"), m.zone, &spot, &o, err);
	if (!r)
		r = cluster_folder(v, call, sub, &spot, err);
	if (!r)
		r = clone_make(v, call, doc, &m, task, err);
	if (r && strcmp(err->fault, "ManagedObjectNotFound") == 0)
		names_nothing(v, call, sub, &spot, err);
	*folder = spot.folder;
	return r;
}
