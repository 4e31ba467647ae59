/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/vsphere.h"

#include <stdio.h>
#include <string.h>

/* Machines, as the objects of the vSphere controllers that are read back from a cluster name them. */

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
