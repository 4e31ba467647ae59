/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kapi.h"

#include <string.h>

/*
 * What volume controllers and a storage driver do with claims and volumes that are bound to each
 * other by name: both get Bound; a volume whose claim is gone is removed, or Released when its
 * reclaim policy is not Delete. Nothing is provisioned.
 */

static void kvolume_phase(struct kapi *k, struct kres *r, const json_t *obj, const char *phase)
{
	json_t *edited;

	if (strcmp(json_str_or(obj, "status.phase", ""), phase) == 0)
		return;
	edited = kstore_edit(obj);
	if (!json_object_get(edited, "status"))
		json_object_set_new(edited, "status", json_object());
	json_put(edited, "status.phase", json_string(phase));
	kstore_update(k, r, edited);
}

static void kvolume_bind(struct kapi *k, struct kres *volumes, struct kres *claims, json_t *volume, json_t *claim)
{
	json_t *edited = kstore_edit(volume);

	json_put(edited, "spec.claimRef.uid", json_string(kstore_uid(claim)));
	kvolume_phase(k, volumes, kstore_update(k, volumes, edited), "Bound");
	kvolume_phase(k, claims, claim, "Bound");
}

static void kvolume_one(struct kapi *k, struct kres *volumes, struct kres *claims, json_t *volume)
{
	const char *name = json_str(volume, "spec.claimRef.name"), *uid = json_str(volume, "spec.claimRef.uid");
	json_t *claim = name ? kstore_get(claims, json_str_or(volume, "spec.claimRef.namespace", "default"), name) : NULL;
	bool bound = strcmp(json_str_or(volume, "status.phase", ""), "Bound") == 0;

	if (claim && (!uid || strcmp(uid, kstore_uid(claim)) == 0) &&
	    strcmp(json_str_or(claim, "spec.volumeName", ""), kstore_name(volume)) == 0) {
		if (!bound)
			kvolume_bind(k, volumes, claims, volume, claim);
		return;
	}
	if (!bound)
		return;
	if (strcmp(json_str_or(volume, "spec.persistentVolumeReclaimPolicy", "Retain"), "Delete") == 0)
		kstore_delete(k, volumes, volume, "Background");
	else
		kvolume_phase(k, volumes, volume, "Released");
}

void kvolume_run(struct kapi *k)
{
	struct kres *volumes = kres_find(k, "", "persistentvolumes"), *claims = kres_find(k, "", "persistentvolumeclaims");
	AUTO_JSON json_t *all = json_copy(volumes->objects);
	const char *key;
	json_t *volume;

	json_object_foreach(all, key, volume)
		kvolume_one(k, volumes, claims, volume);
}
