/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The clone specification. Members stand in the order of the schema: vCenter refuses another one. */

#define KIB_OF_GIB (INT64_C(1) << 20)

static json_int_t number(const json_t *pool, const char *key, json_int_t otherwise)
{
	const json_t *type = json_object_get(json_object_get(pool, "cloudConfig"), "instanceType");
	const json_t *n = json_object_get(type, key);

	return json_is_number(n) && json_number_value(n) >= 1 ? (json_int_t)json_number_value(n) : otherwise;
}

static bool name_good(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.");

	return n && n <= 80 && !name[n];
}

static const struct xn *first_disk(const struct xn *devices)
{
	for (const struct xn *d = devices ? devices->child : NULL; d; d = d->next)
		if (d->xsi && strcmp(d->xsi, "VirtualDisk") == 0)
			return d;
	return NULL;
}

static bool is_nic(const struct xn *d)
{
	return d->xsi && (strncmp(d->xsi, "VirtualVmxnet", 13) == 0 || strncmp(d->xsi, "VirtualE1000", 12) == 0 ||
			  strcmp(d->xsi, "VirtualPCNet32") == 0 || strcmp(d->xsi, "VirtualSriovEthernetCard") == 0);
}

static void write_disk(struct soap *s, const struct xn *disk, json_int_t kib)
{
	static const char *const skip[] = { "capacityInKB", "capacityInBytes", "deviceInfo", "shares", "storageIOAllocation",
					    "diskObjectId", "iofilter", "vDiskId", "parent", "uuid", "contentId", "changeId",
					    "nativeUnmanagedLinkedClone", "virtualDiskFormat", "backingObjectId", NULL };

	soap_open(s, "deviceChange");
	soap_text(s, "operation", "edit");
	soap_open_type(s, "device", disk->xsi);
	for (const struct xn *c = disk->child; c; c = c->next) {
		bool skipped = false;

		for (const char *const *k = skip; *k; k++)
			skipped = skipped || strcmp(*k, c->name) == 0;
		if (!skipped)
			soap_copy(s, c, skip);
	}
	soap_int(s, "capacityInKB", kib);
	soap_int(s, "capacityInBytes", kib * 1024);
	soap_close(s);
	soap_close(s);
}

static void write_backing(struct soap *s, const struct spot *spot)
{
	if (strcmp(spot->network.type, "DistributedVirtualPortgroup") == 0) {
		soap_open_type(s, "backing", "VirtualEthernetCardDistributedVirtualPortBackingInfo");
		soap_open(s, "port");
		soap_text(s, "switchUuid", spot->switch_uuid);
		soap_text(s, "portgroupKey", *spot->network_key ? spot->network_key : spot->network.value);
		soap_close(s);
	} else if (strcmp(spot->network.type, "OpaqueNetwork") == 0) {
		soap_open_type(s, "backing", "VirtualEthernetCardOpaqueNetworkBackingInfo");
		soap_text(s, "opaqueNetworkId", spot->network_key);
		soap_text(s, "opaqueNetworkType", spot->network_key_type);
	} else {
		soap_open_type(s, "backing", "VirtualEthernetCardNetworkBackingInfo");
		soap_text(s, "deviceName", spot->network_name);
		soap_ref(s, "network", &spot->network);
	}
	soap_close(s);
}

/* The address is given rather than waited for: so the metadata is right before the first boot, and
 * the machine can be powered on by the clone itself. */
static void write_nics(struct soap *s, const struct spot *spot, const char *mac)
{
	for (const struct xn *d = spot->devices->child; d; d = d->next) {
		if (!is_nic(d))
			continue;
		soap_open(s, "deviceChange");
		soap_text(s, "operation", "remove");
		soap_open_type(s, "device", d->xsi);
		for (const struct xn *c = d->child; c; c = c->next)
			if (strcmp(c->name, "key") == 0 || strcmp(c->name, "backing") == 0 ||
			    strcmp(c->name, "controllerKey") == 0 || strcmp(c->name, "unitNumber") == 0)
				soap_copy(s, c, NULL);
		soap_close(s);
		soap_close(s);
	}
	soap_open(s, "deviceChange");
	soap_text(s, "operation", "add");
	soap_open_type(s, "device", "VirtualVmxnet3");
	soap_int(s, "key", -100);
	write_backing(s, spot);
	soap_open(s, "connectable");
	soap_bool(s, "startConnected", true);
	soap_bool(s, "allowGuestControl", true);
	soap_bool(s, "connected", true);
	soap_close(s);
	soap_text(s, "addressType", "manual");
	soap_text(s, "macAddress", mac);
	soap_bool(s, "wakeOnLanEnabled", true);
	soap_close(s);
	soap_close(s);
}

static void write_mark(struct soap *s, const struct subject *sub)
{
	char epoch[24];

	snprintf(epoch, sizeof(epoch), "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(sub->mark, "epoch")));
	soap_option(s, MARK_CLUSTER, vs_str(sub->cluster, "uid"));
	soap_option(s, MARK_POOL, vs_str(sub->machine, "pool"));
	soap_option(s, MARK_MACHINE, sub->uid);
	soap_option(s, MARK_ROLE, vs_str(sub->machine, "role"));
	soap_option(s, MARK_GATEWAY, vs_str(sub->mark, "gateway"));
	soap_option(s, MARK_EPOCH, epoch);
}

static void write_location(struct soap *s, const struct spot *spot, bool linked)
{
	soap_open(s, "location");
	soap_ref(s, "folder", &spot->folder);
	soap_ref(s, "datastore", &spot->datastore);
	soap_text(s, "diskMoveType", linked ? "createNewChildDiskBacking" : "moveAllDiskBackingsAndConsolidate");
	soap_ref(s, "pool", &spot->pool);
	soap_close(s);
}

static void write_config(struct soap *s, const json_t *pool, const struct subject *sub, const struct spot *spot,
			 bool linked, const char *user_data, const char *encoding)
{
	const struct xn *disk = first_disk(spot->devices);
	json_int_t kib = number(pool, "diskGiB", 0) * KIB_OF_GIB;
	char mac[18], *metadata;

	vs_mac(sub->uid, mac);
	metadata = vs_metadata(sub->name, mac);
	soap_open(s, "config");
	soap_text(s, "instanceUuid", sub->uuid);
	soap_text(s, "annotation", "Machine of a Kubernetes cluster, made by its private cloud gateway.");
	soap_open(s, "flags");
	soap_bool(s, "diskUuidEnabled", true);
	soap_close(s);
	soap_int(s, "numCPUs", number(pool, "numCPUs", 2));
	soap_int(s, "memoryMB", number(pool, "memoryMiB", 4096));
	if (disk && !linked && kib > atoll(xn_get(disk, "capacityInKB")))
		write_disk(s, disk, kib);
	write_nics(s, spot, mac);
	soap_option(s, "guestinfo.userdata", user_data);
	soap_option(s, "guestinfo.userdata.encoding", encoding);
	soap_option(s, "guestinfo.metadata", metadata);
	soap_option(s, "guestinfo.metadata.encoding", "base64");
	write_mark(s, sub);
	soap_close(s);
	free(metadata);
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

static int clone_task(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *sub,
		      const struct spot *spot, struct vs_ref *task, struct vs_err *err)
{
	const json_t *pool = json_object_get(sub->machine, "poolSpec");
	const char *mode = vs_at(v->account, "settings", "cloneMode"), *encoding;
	bool linked = strcmp(mode, "linkedClone") == 0 && spot->snapshot.value[0];
	char *user_data = vs_user_data(vs_str(doc, "userData"), &encoding, err);
	struct soap s;
	int r;

	if (!user_data)
		return -1;
	soap_begin(&s, "CloneVM_Task", &spot->template);
	soap_ref(&s, "folder", &spot->folder);
	soap_text(&s, "name", sub->name);
	soap_open(&s, "spec");
	write_location(&s, spot, linked);
	soap_bool(&s, "template", false);
	write_config(&s, pool, sub, spot, linked, user_data, encoding);
	soap_bool(&s, "powerOn", true);
	if (linked)
		soap_ref(&s, "snapshot", &spot->snapshot);
	soap_close(&s);
	explicit_bzero(user_data, strlen(user_data));
	free(user_data);
	if (machine_untouched(doc) && v->svc->checkpoint(call, "{\"begun\":true}")) {
		soap_free(&s);
		vs_fail(err, PCG_ERR_RETRY, "Nothing: it is tried again.",
			"cloning %s: that it begins could not be kept", sub->name);
		return -1;
	}
	v->svc->fault_point(v->host, "vsphere.before_clone");
	r = vs_task(&v->session, call, &s, task, err);
	v->svc->fault_point(v->host, "vsphere.after_clone_sent");
	return r;
}

int clone_send(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *sub,
	       struct vs_ref *task, struct vs_ref *folder, struct vs_err *err)
{
	const json_t *pool = json_object_get(sub->machine, "poolSpec");
	json_t *problems;
	struct spot spot;
	int r;

	if (!name_good(sub->name)) {
		vs_fail(err, PCG_ERR_BUG, "", "\"%s\" is no name of a machine", sub->name);
		return -1;
	}
	problems = json_array();
	r = placement_find(v, call, sub->cluster, pool, &spot, problems, err);
	if (!r && json_array_size(problems)) {
		problems_text(problems, err);
		/* Somebody may mend it: the next look is a real one. */
		placement_forget(v);
		r = -1;
	}
	json_decref(problems);
	if (!r)
		r = cluster_folder(v, call, sub, &spot, err);
	if (!r)
		r = clone_task(v, call, doc, sub, &spot, task, err);
	if (r && strcmp(err->fault, "ManagedObjectNotFound") == 0)
		placement_forget(v);
	*folder = spot.folder;
	return r;
}
