/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_OBJECTS_IMPL_H
#define PLUGINS_VSPHERE_OBJECTS_IMPL_H

/* Inside vs_export_objects: objects.c has all but the failure domains, which objects_zones.c has. */

#include "plugins/vsphere/zones.h"

#define CLUSTER_LABEL "cluster.x-k8s.io/cluster-name"

struct export {
	struct vsphere *v;
	struct pcg_call *call;
	const json_t *doc, *cluster, *mark;
	const char *name;
	char folder[600], thumbprint[128];
	json_t *objects;
	json_t *domains; /* of export_find_zones: [{"name", "controlPlane", "pool": its number, "placement", "region", "zone"}] */
	struct vs_err err;
};

json_t *export_object(const struct export *e, const char *kind, const char *name, json_t *spec);
void export_add(struct export *e, const char *role, const char *owner, const char *pool, const char *machine, json_t *object,
		json_t *status);
/* Nothing for an empty text. */
void export_text(json_t *object, const char *key, const char *text);
/* objects_path.c: a path as govmomi's finder takes it, by which the controllers look things up: names as vCenter writes them, and
 * nothing of them a pattern. A new reference. */
json_t *export_path(const char *path);
/* The same as a member, nothing for "". */
void export_path_text(json_t *object, const char *key, const char *path);
/* Of a network; by its reference where others have its path. */
json_t *export_network(const struct spot_nic *nic);
/* The machines' devices, without addresses. */
json_t *export_netdevices(const struct spot *spot);
bool export_datastore(struct export *e, json_t *object, const struct spot *spot, const struct vs_options *o);

/* Which failure domains there are, once each, in e->domains. A control plane has all that its placements are; one of workers alone
 * is left out when the vCenter has no tags for it: their templates say where they go. False with e->err. */
bool export_find_zones(struct export *e);
bool export_has_zone(const struct export *e, const char *name);
/* As the cluster's status has them; a new reference. */
json_t *export_domains(const struct export *e);
bool export_zones(struct export *e);

#endif
