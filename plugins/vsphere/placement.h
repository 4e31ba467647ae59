/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_PLACEMENT_H
#define PLUGINS_VSPHERE_PLACEMENT_H

/*
 * Where machines go: the vCenter's inventory without its machines, read in one paged call and kept
 * for a minute; names and paths of requests are looked up in it, all at once. Readers wait for the
 * one that asks.
 */

#include "plugins/vsphere/vsphere.h"

enum place_kind { PLACE_FOLDER, PLACE_DATACENTER, PLACE_CLUSTER, PLACE_POOL, PLACE_DATASTORE, PLACE_NETWORK, PLACE_SWITCH };

struct place {
	struct vs_ref ref, parent, extra; /* extra: a cluster's root pool, a port group's switch */
	enum place_kind kind;
	char *name, *path;
	char *key;                        /* port group key, switch uuid, opaque network id */
	char *key_type;                   /* type of an opaque network */
};

struct template {
	struct template *next;
	char *path;
	struct vs_ref ref, snapshot;
	struct xn *devices;               /* val of config.hardware.device */
	uint64_t at;
};

/* What a machine's clone needs. Copies: valid on their own, but for devices (placement_release). */
struct spot {
	char datacenter[256];
	struct vs_ref folder, pool, datastore, network, vswitch;
	char folder_path[512], pool_path[512], datastore_path[512], network_path[512], template_path[512];
	char network_name[256], network_key[128], network_key_type[64], switch_uuid[64];
	struct vs_ref template, snapshot;
	const struct xn *devices;         /* of the template; lives as long as the plugin keeps it */
};

struct placement *placement_new(void);
void placement_free(struct placement *p);
/* Looked up anew at the next need. */
void placement_forget(struct vsphere *v);

/* Everything that the cluster's request names, for one pool (NULL: only what all pools share) and its first
 * placement; what is missing is added to problems. Returns -1 with err when nothing could be asked. */
int placement_find(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const json_t *pool,
		   struct spot *out, json_t *problems, struct vs_err *err);
/* kind of pick_list -> items. */
int placement_list(struct vsphere *v, struct pcg_call *call, const char *kind, const char *datacenter, json_t **items,
		   struct vs_err *err);
/* Looks for a folder by parent and name in the server itself. *found is empty when there is none. */
int placement_child(struct vsphere *v, struct pcg_call *call, const struct vs_ref *parent, const char *name,
		    struct vs_ref *found, struct vs_err *err);

#endif
