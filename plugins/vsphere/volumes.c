/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Destroy_Task removes the files of all disks that the machine has, of volumes too that a storage driver has attached. They are detached
 * first. A first class disk (vDiskId, vSphere 6.5 and later; the volumes of the CSI driver) never is the machine's own, nor
 * is a file that lies elsewhere and is not named after the machine (volumes of the in-tree driver in kubevols/, disks that
 * somebody attached by hand). Removing a disk from a machine asks for VirtualMachine.Config.RemoveDisk, whether its file goes or stays
 * (ReconfigVM_Task, vSphere Web Services API).
 *
 * A snapshot keeps the disks that the machine had then (VirtualMachineSnapshot.config), also when they are detached later, and they
 * would go with it; what was written since is in a file of the snapshot's. So snapshots of a machine with such disks are
 * consolidated into them first. Independent disks, as the CSI driver attaches its volumes, are in none.
 */

static size_t folder_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "[store] folder/name.vmx" and "[store] folder/name_1.vmdk" */
static bool own_file(const char *vmx, const char *file)
{
	size_t home = folder_len(vmx), stem = strcspn(base_name(vmx), ".");

	if (home && home == folder_len(file) && strncmp(vmx, file, home) == 0)
		return true;
	return stem && strncmp(base_name(vmx), base_name(file), stem) == 0 && strchr("_-.", base_name(file)[stem]);
}

static bool foreign(const char *vmx, const struct xn *disk)
{
	const char *file = xn_get(xn_child(disk, "backing"), "fileName");

	if (*xn_get(xn_child(disk, "vDiskId"), "id"))
		return true;
	return *file && *vmx && !own_file(vmx, file);
}

static void write_detach(struct soap *s, const struct xn *disk)
{
	static const char *const members[] = { "key", "backing", "controllerKey", "unitNumber", "capacityInKB" };
	static const char *const skip[] = { "parent", NULL };

	soap_open(s, "deviceChange");
	soap_text(s, "operation", "remove"); /* without fileOperation: the file stays */
	soap_open_type(s, "device", "VirtualDisk");
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		if (xn_child(disk, members[i]))
			soap_copy(s, xn_child(disk, members[i]), skip);
	soap_close(s);
	soap_close(s);
}

struct detach {
	struct vsphere *v;
	const struct subject *s;
	struct soap soap;
	size_t n;
	bool told;
	bool kept;          /* a snapshot may have one of them */
};

static void tell(const struct detach *d, const struct xn *disk)
{
	json_t *fields = json_pack("{s:s, s:s, s:s}", "machine", d->s->name, "file",
				   xn_get(xn_child(disk, "backing"), "fileName"), "disk",
				   xn_get(xn_child(disk, "vDiskId"), "id"));
	char *text = json_dumps(fields, JSON_COMPACT);

	d->v->svc->log(d->v->host, PCG_LOG_INFO, "vsphere_volume_detached", text);
	free(text);
	json_decref(fields);
}

static bool snapshot_may_have(const struct xn *disk)
{
	return strncmp(xn_get(xn_child(disk, "backing"), "diskMode"), "independent", 11) != 0;
}

static bool detached(const struct xn *device, const char *vmx)
{
	return device->xsi && strcmp(device->xsi, "VirtualDisk") == 0 && foreign(vmx, device);
}

static void on_devices(void *arg, const struct xn *object)
{
	const struct xn *devices = xn_prop(object, "config.hardware.device");
	const char *vmx = xn_text(xn_prop(object, "config.files.vmPathName"));
	bool snapshots = xn_child(xn_prop(object, "snapshot"), "rootSnapshotList") != NULL;
	struct detach *d = arg;

	d->told = d->told || devices;
	for (const struct xn *one = devices ? devices->child : NULL; one; one = one->next)
		d->kept = d->kept || (snapshots && detached(one, vmx) && snapshot_may_have(one));
	for (const struct xn *one = devices ? devices->child : NULL; one && !d->kept; one = one->next)
		if (detached(one, vmx)) {
			write_detach(&d->soap, one);
			tell(d, one);
			d->n++;
		}
}

static int devices_read(struct vsphere *v, struct pcg_call *call, const struct vs_ref *vm, struct detach *d,
			struct vs_err *err)
{
	struct soap s;
	unsigned generation;

	if (vs_session_open(&v->session, call, &generation, err))
		return -1;
	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	soap_open(&s, "specSet");
	soap_open(&s, "propSet");
	soap_text(&s, "type", "VirtualMachine");
	soap_text(&s, "pathSet", "config.files.vmPathName");
	soap_text(&s, "pathSet", "config.hardware.device");
	soap_text(&s, "pathSet", "snapshot");
	soap_close(&s);
	soap_open(&s, "objectSet");
	soap_ref(&s, "obj", vm);
	soap_bool(&s, "skip", false);
	soap_close(&s);
	soap_close(&s);
	return vs_retrieve(&v->session, call, &s, 0, 0, on_devices, d, err);
}

/* A machine that is not there any more is looked for. */
static bool refused(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct vs_err *err)
{
	if (strcmp(err->fault, "ManagedObjectNotFound") == 0) {
		track_drop(v, s->key);
		vs_pending(v, call, 20, NULL);
	} else {
		remove_error(v, call, err);
	}
	return true;
}

static void snapshots_begin(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_ref task;
	struct vs_err err;
	struct soap soap;

	soap_begin(&soap, "RemoveAllSnapshots_Task", &t->vm);
	soap_bool(&soap, "consolidate", true);
	v->svc->fault_point(v->host, "vsphere.before_snapshots");
	if (vs_task(&v->session, call, &soap, &task, &err)) {
		refused(v, call, s, &err);
		return;
	}
	v->svc->fault_point(v->host, "vsphere.after_snapshots");
	track_set_task(v, s->key, s->uuid, TASK_SNAPSHOTS, &task, NULL, TRACK_SHORT);
	vs_pending(v, call, track_after_ms(v, s->key), NULL);
}

static void detach_begin(struct vsphere *v, struct pcg_call *call, struct detach *d)
{
	struct vs_ref task;
	struct vs_err err;

	v->svc->fault_point(v->host, "vsphere.before_detach");
	if (vs_task(&v->session, call, &d->soap, &task, &err)) {
		refused(v, call, d->s, &err);
		return;
	}
	v->svc->fault_point(v->host, "vsphere.after_detach");
	track_set_task(v, d->s->key, d->s->uuid, TASK_DETACH, &task, NULL, TRACK_SHORT);
	vs_pending(v, call, track_after_ms(v, d->s->key), NULL);
}

bool volumes_detach(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct detach d = { .v = v, .s = s };
	struct vs_err err;

	if ((t->kind == TASK_DETACH || t->kind == TASK_SNAPSHOTS) && !t->task_done) {
		vs_pending(v, call, track_after_ms(v, s->key), NULL);
		return true;
	}
	/* One disk is the one that it was made with. */
	if (t->disks == 1 && t->kind != TASK_DETACH && t->kind != TASK_SNAPSHOTS)
		return false;
	soap_begin(&d.soap, "ReconfigVM_Task", &t->vm);
	soap_open(&d.soap, "spec");
	if (devices_read(v, call, &t->vm, &d, &err)) {
		soap_free(&d.soap);
		return refused(v, call, s, &err);
	}
	soap_close(&d.soap);
	if (d.kept) {
		soap_free(&d.soap);
		snapshots_begin(v, call, s, t);
		return true;
	}
	if (d.n) {
		detach_begin(v, call, &d);
		return true;
	}
	soap_free(&d.soap);
	if (!d.told) {
		vs_fail(&err, PCG_ERR_RETRY, "If the machine is shown as inaccessible or orphaned in vCenter, register it anew, or remove it "
			"from the inventory.", "machine %s: its disks cannot be seen, so that it is not known which are its own", s->name);
		vs_error(v, call, &err);
		return true;
	}
	return false;
}
