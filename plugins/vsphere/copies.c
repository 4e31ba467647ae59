/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/track_impl.h"

#include "plugins/vsphere/task.h"

#include <stdio.h>
#include <string.h>

/*
 * A machine of the controllers is known by its metadata, which names it; so is a copy in another folder that has its name, as backups
 * are restored. vCenter gives the devices of a copy addresses of their own, and metadata has those of the machine that it
 * was written for. This is read of machines that share a name alone.
 */

static void on_copy(void *arg, const struct xn *object)
{
	const struct xn *devices = xn_prop(object, "config.hardware.device");
	const char *metadata = track_option(object, METADATA);
	bool *own = arg;

	for (const struct xn *one = devices ? devices->child : NULL; one; one = one->next)
		*own = *own || (*xn_get(one, "macAddress") && vs_metadata_has(metadata, xn_get(one, "macAddress")));
}

static int has_own_devices(struct vsphere *v, struct pcg_call *call, const json_t *item, bool *own, struct vs_err *err)
{
	static const char *const paths[] = { "config.hardware.device", "config.extraConfig[\"" METADATA "\"]" };
	struct vs_ref vm = { "VirtualMachine", "" };
	int r;

	*own = false;
	snprintf(vm.value, sizeof(vm.value), "%s", vs_str(item, "vm"));
	r = object_read(v, call, &vm, paths, 2, on_copy, own, err);
	/* Gone meanwhile. */
	return r && strcmp(err->fault, "ManagedObjectNotFound") == 0 ? 0 : r;
}

static void leave(json_t *item, const char *why, const json_t *other)
{
	char text[256];

	snprintf(text, sizeof(text), "%s (%s)", why, vs_str(other, "vm"));
	json_object_set_new(item, "stranger", json_string(text));
}

/* When nothing tells them apart all are left alone: one of them is somebody's. */
static int tell_apart(struct vsphere *v, struct pcg_call *call, const json_t *same, struct vs_err *err)
{
	json_t *item, *machine = NULL;
	size_t i, n = 0;
	bool own;

	json_array_foreach((json_t *)same, i, item) {
		if (has_own_devices(v, call, item, &own, err))
			return -1;
		if (own)
			machine = item;
		n += own;
	}
	json_array_foreach((json_t *)same, i, item)
		if (n != 1)
			leave(item, "another machine has its name and metadata, and nothing tells which of them is the copy",
			      json_array_get(same, !i));
		else if (item != machine)
			leave(item, "its name and metadata are those of another machine, and its network devices are not, as in a copy",
			      machine);
	return 0;
}

int copies_tell(struct vsphere *v, struct pcg_call *call, json_t *items, struct vs_err *err)
{
	json_t *by_name = json_object(), *item, *same;
	const char *key;
	int r = 0;
	size_t i;

	json_array_foreach(items, i, item) {
		char name[256];

		if (*vs_str(item, "machine") || *vs_str(item, "stranger"))
			continue;
		snprintf(name, sizeof(name), "%.64s/%.128s", vs_str(item, "cluster"), vs_str(item, "name"));
		same = json_object_get(by_name, name);
		if (!same) {
			same = json_array();
			json_object_set_new(by_name, name, same);
		}
		json_array_append(same, item);
	}
	json_object_foreach(by_name, key, same)
		if (!r && json_array_size(same) > 1)
			r = tell_apart(v, call, same, err);
	json_decref(by_name);
	return r;
}
