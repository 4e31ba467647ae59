/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/devices.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Members stand in the order of the schema: vCenter refuses another one. */

#define KIB_OF_GIB (INT64_C(1) << 20)
#define NIC_KEY (-100)
#define DISK_KEY (-200)
#define UNITS_MAX 64

static bool type_is(const struct xn *d, const char *xsi)
{
	return d->xsi && strcmp(d->xsi, xsi) == 0;
}

static const struct xn *next_disk(const struct xn *d)
{
	while (d && !type_is(d, "VirtualDisk"))
		d = d->next;
	return d;
}

static const struct xn *first_disk(const struct xn *devices)
{
	return next_disk(devices ? devices->child : NULL);
}

static int64_t kib_of(const struct xn *disk)
{
	return atoll(xn_get(disk, "capacityInKB"));
}

/* Disk number i of the template, in GiB; 0: as it is. */
static json_int_t wanted_gib(const struct vs_options *o, size_t i)
{
	return i ? json_integer_value(json_array_get(o->template_disks, i - 1)) : o->disk_gib;
}

/* Units of a disk controller that are taken; returns how many it has. vSphere's configuration maximums that hold for 7.0 and
 * 8.0 and all hardware versions: newer ones have more units on PVSCSI and NVMe. */
static unsigned controller_units(const struct xn *devices, const char *key, bool taken[UNITS_MAX])
{
	unsigned units = 16;

	memset(taken, 0, UNITS_MAX * sizeof(*taken));
	for (const struct xn *d = devices->child; d; d = d->next) {
		long unit = atol(xn_get(d, "unitNumber"));

		if (strcmp(xn_get(d, "controllerKey"), key) == 0 && xn_child(d, "unitNumber") && unit >= 0 && unit < UNITS_MAX)
			taken[unit] = true;
		if (strcmp(xn_get(d, "key"), key) != 0)
			continue;
		if (type_is(d, "VirtualAHCIController"))
			units = 30;
		else if (type_is(d, "VirtualNVMEController"))
			units = 15;
		else if (type_is(d, "VirtualIDEController"))
			units = 2;
		else
			taken[7] = true; /* the SCSI controller itself */
	}
	return units;
}

static size_t units_free(const struct xn *devices, const char *key)
{
	bool taken[UNITS_MAX];
	unsigned units = controller_units(devices, key, taken);
	size_t n = 0;

	for (unsigned i = 0; i < units; i++)
		n += !taken[i];
	return n;
}

static void check_sizes(const struct xn *devices, const struct vs_options *o, const char *template_path, json_t *problems)
{
	const struct xn *d = first_disk(devices);
	size_t i = 0;

	for (; d; d = next_disk(d->next), i++) {
		json_int_t gib = wanted_gib(o, i);
		int64_t kib = kib_of(d);

		if (!gib || gib * KIB_OF_GIB == kib)
			continue;
		if (o->linked && i)
			vs_problem(problems, "pool.cloudConfig.additionalDisksGiB", "Take cloneMode fullClone, or leave it out.",
				   "disk %zu of template %s keeps its size in a linked clone", i + 1, template_path);
		else if (!o->linked && gib * KIB_OF_GIB < kib)
			vs_problem(problems, i ? "pool.cloudConfig.additionalDisksGiB" : "pool.cloudConfig.instanceType.diskGiB",
				   "Ask for that much or more, or take a template with a smaller disk.",
				   "disk %zu of template %s has %" PRId64 " GiB and is never made smaller; %" JSON_INTEGER_FORMAT " are "
				   "asked for", i + 1, template_path, (kib + KIB_OF_GIB - 1) / KIB_OF_GIB, gib);
	}
	if (!i)
		vs_problem(problems, "image.template", "Take a template with a disk.", "template %s has no disk", template_path);
	else if (json_array_size(o->template_disks) > i - 1)
		vs_problem(problems, "pool.cloudConfig.additionalDisksGiB", "Name disks that are to be added in dataDisks.",
			   "template %s has %zu disks beside its first, additionalDisksGiB names %zu", template_path, i - 1,
			   json_array_size(o->template_disks));
}

void disk_check(const struct xn *devices, const struct vs_options *o, const char *template_path, json_t *problems)
{
	size_t more = json_array_size(o->data_disks);
	const struct xn *disk = first_disk(devices);

	check_sizes(devices, o, template_path, problems);
	if (disk && more > units_free(devices, xn_get(disk, "controllerKey")))
		vs_problem(problems, "pool.cloudConfig.dataDisks", "Take some out, or make the template's controller one with more "
			   "units.", "the disk controller of template %s has room for %zu disks more, %zu are asked for", template_path,
			   units_free(devices, xn_get(disk, "controllerKey")), more);
}

static void write_grown(struct soap *s, const struct xn *disk, int64_t kib)
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

static void write_backing_mode(struct soap *s, const char *mode)
{
	soap_open_type(s, "backing", "VirtualDiskFlatVer2BackingInfo");
	soap_text(s, "fileName", ""); /* vCenter names it, beside the machine's first */
	soap_text(s, "diskMode", "persistent");
	if (*mode)
		soap_bool(s, "thinProvisioned", strcmp(mode, "Thin") == 0);
	if (strcmp(mode, "EagerlyZeroed") == 0)
		soap_bool(s, "eagerlyScrub", true);
	soap_close(s);
}

static void write_added(struct soap *s, const json_t *disk, int key, const char *controller, unsigned unit, const char *profile)
{
	json_int_t kib = json_integer_value(json_object_get(disk, "sizeGiB")) * KIB_OF_GIB;

	soap_open(s, "deviceChange");
	soap_text(s, "operation", "add");
	soap_text(s, "fileOperation", "create");
	soap_open_type(s, "device", "VirtualDisk");
	soap_int(s, "key", key);
	write_backing_mode(s, vs_str(disk, "provisioningMode"));
	soap_text(s, "controllerKey", controller);
	soap_int(s, "unitNumber", unit);
	soap_int(s, "capacityInKB", kib);
	soap_int(s, "capacityInBytes", kib * 1024);
	soap_close(s);
	profile_write(s, profile);
	soap_close(s);
}

void disk_write(struct soap *s, const struct xn *devices, const struct vs_options *o, const char *profile)
{
	const struct xn *first = first_disk(devices), *d;
	bool taken[UNITS_MAX];
	unsigned unit = 0, units;
	size_t i = 0;
	json_t *disk;

	for (d = first; d; d = next_disk(d->next), i++)
		if (!o->linked && wanted_gib(o, i) * KIB_OF_GIB > kib_of(d))
			write_grown(s, d, wanted_gib(o, i) * KIB_OF_GIB);
	if (!first)
		return;
	units = controller_units(devices, xn_get(first, "controllerKey"), taken);
	json_array_foreach(o->data_disks, i, disk) {
		while (unit < units && taken[unit])
			unit++;
		write_added(s, disk, DISK_KEY - (int)i, xn_get(first, "controllerKey"), unit++, profile);
	}
}

static bool thin(const struct xn *disk)
{
	return strcmp(xn_get(xn_child(disk, "backing"), "thinProvisioned"), "true") == 0;
}

/* Of the template's own disks. */
static int64_t copied_kib(const struct xn *devices, const struct vs_options *o, int64_t committed)
{
	int64_t thick_kib = 0, thin_kib = 0, written_kib = committed / 1024;
	size_t i = 0;

	for (const struct xn *d = first_disk(devices); d; d = next_disk(d->next), i++) {
		int64_t kib = wanted_gib(o, i) * KIB_OF_GIB > kib_of(d) ? wanted_gib(o, i) * KIB_OF_GIB : kib_of(d);

		if (thin(d)) {
			thin_kib += kib;
		} else {
			thick_kib += kib;
			written_kib -= kib_of(d);
		}
	}
	if (committed > 0 && written_kib < thin_kib)
		thin_kib = written_kib > 0 ? written_kib : 0;
	return thick_kib + thin_kib;
}

int64_t disk_bytes(const struct xn *devices, const struct vs_options *o, int64_t committed)
{
	int64_t kib = o->linked ? 0 : copied_kib(devices, o, committed);
	json_t *disk;
	size_t i;

	json_array_foreach(o->data_disks, i, disk)
		if (strcmp(vs_str(disk, "provisioningMode"), "Thin") != 0)
			kib += json_integer_value(json_object_get(disk, "sizeGiB")) * KIB_OF_GIB;
	return (kib + (o->memory_mib - o->memory.reservation) * 1024) * 1024;
}

void disk_locate(struct soap *s, const struct xn *devices, const struct vs_ref *datastore, const char *move_type,
		 const char *profile)
{
	/* A recommendation is asked for before the datastore is known, which a locator must name. */
	if (!*profile || !datastore->value[0])
		return;
	for (const struct xn *d = first_disk(devices); d; d = next_disk(d->next)) {
		soap_open(s, "disk");
		soap_text(s, "diskId", xn_get(d, "key"));
		soap_ref(s, "datastore", datastore);
		soap_text(s, "diskMoveType", move_type);
		profile_write(s, profile);
		soap_close(s);
	}
}

static bool is_nic(const struct xn *d)
{
	return d->xsi && (strncmp(d->xsi, "VirtualVmxnet", 13) == 0 || strncmp(d->xsi, "VirtualE1000", 12) == 0 ||
			  strcmp(d->xsi, "VirtualPCNet32") == 0 || strcmp(d->xsi, "VirtualSriovEthernetCard") == 0);
}

static void write_removed(struct soap *s, const struct xn *d)
{
	soap_open(s, "deviceChange");
	soap_text(s, "operation", "remove");
	soap_open_type(s, "device", d->xsi);
	for (const struct xn *c = d->child; c; c = c->next)
		if (strcmp(c->name, "key") == 0 || strcmp(c->name, "backing") == 0 || strcmp(c->name, "controllerKey") == 0 ||
		    strcmp(c->name, "unitNumber") == 0)
			soap_copy(s, c, NULL);
	soap_close(s);
	soap_close(s);
}

static void write_network(struct soap *s, const struct spot_nic *nic)
{
	if (strcmp(nic->network.type, "DistributedVirtualPortgroup") == 0) {
		assert(*nic->switch_uuid); /* else the placement was a problem */
		soap_open_type(s, "backing", "VirtualEthernetCardDistributedVirtualPortBackingInfo");
		soap_open(s, "port");
		soap_text(s, "switchUuid", nic->switch_uuid);
		soap_text(s, "portgroupKey", *nic->key ? nic->key : nic->network.value);
		soap_close(s);
	} else if (strcmp(nic->network.type, "OpaqueNetwork") == 0) {
		soap_open_type(s, "backing", "VirtualEthernetCardOpaqueNetworkBackingInfo");
		soap_text(s, "opaqueNetworkId", nic->key);
		soap_text(s, "opaqueNetworkType", nic->key_type);
	} else {
		soap_open_type(s, "backing", "VirtualEthernetCardNetworkBackingInfo");
		soap_text(s, "deviceName", nic->name);
		soap_ref(s, "network", &nic->network);
	}
	soap_close(s);
}

/* The address is given rather than waited for: so the metadata is right before the first boot, and
 * the machine can be powered on by the clone itself. */
static void write_nic(struct soap *s, const struct spot_nic *nic, int key, const char *mac)
{
	soap_open(s, "deviceChange");
	soap_text(s, "operation", "add");
	soap_open_type(s, "device", "VirtualVmxnet3");
	soap_int(s, "key", key);
	write_network(s, nic);
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

void nic_write(struct soap *s, const struct spot *spot, const json_t *netdevices)
{
	for (const struct xn *d = spot->devices->child; d; d = d->next)
		if (is_nic(d))
			write_removed(s, d);
	for (size_t i = 0; i < spot->n_nics; i++)
		write_nic(s, &spot->nics[i], NIC_KEY - (int)i, vs_str(json_array_get(netdevices, i), "macAddr"));
}

void profile_write(struct soap *s, const char *profile)
{
	if (!*profile)
		return;
	soap_open_type(s, "profile", "VirtualMachineDefinedProfileSpec");
	soap_text(s, "profileId", profile);
	soap_close(s);
}
