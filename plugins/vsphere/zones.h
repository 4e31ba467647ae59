/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_ZONES_H
#define PLUGINS_VSPHERE_ZONES_H

#include "plugins/vsphere/machine.h"

/*
 * Several placements of a pool are its failure domains, by their number. A machine gets the one that has the fewest of
 * its pool, and says which in its extraConfig: whoever lost its memory finds it there. A pool with one placement costs nothing.
 */

#define MARK_ZONE "pcg.zone"

struct zones *zones_new(void);
void zones_free(struct zones *z);
/* For a machine that is to be cloned; the same again when it is asked again. */
size_t zone_pick(struct vsphere *v, const struct subject *s);
/* Of a machine that is there: from memory, else read from it. */
int zone_of(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct vs_ref *vm, size_t *zone,
	    struct vs_err *err);
/* Name of the failure domain in Kubernetes: what the placement says ("zone"), else its compute cluster; with the
 * cluster's name before it, for these objects have no namespace. Placements of the cluster that would have the same name share it
 * only when they are the same place: the controllers take resource pool, datastore and networks from the failure domain, whatever
 * the machine's template says. Else the later one, of a control plane before workers, has ".POOL" after it, or ".POOL.N".
 * "" when the pool has one placement. */
void zone_name(const json_t *cluster, const json_t *pool, size_t zone, char *out, size_t size);
/* Tags that the vSphere controllers know a failure domain by, of the categories that Palette asks for: k8s-region on the
 * datacenter, k8s-zone on the compute cluster. A missing one is added to problems. */
#define REGION_CATEGORY "k8s-region"
#define ZONE_CATEGORY "k8s-zone"
int zone_tags(struct vsphere *v, struct pcg_call *call, const struct spot *spot, char region[256], char zone[256],
	      json_t *problems, struct vs_err *err);
/* A control plane's machines have one template and so the IP pools of one placement, wherever the controllers put them: others
 * are a problem. */
void zone_addresses(const json_t *pool, json_t *problems);
/* The same with storage policies. */
void zone_policies(const struct vsphere *v, const json_t *cluster, const json_t *pool, json_t *problems);

#endif
