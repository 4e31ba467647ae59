/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_PLACEMENT_H
#define PLUGINS_VSPHERE_PLACEMENT_H

/*
 * Where machines go: the vCenter's inventory without its machines, read in one paged call and kept
 * for a minute; names and paths of requests are looked up in it, all at once. Readers wait for the
 * one that asks.
 */

#include "plugins/vsphere/netdevice.h"
#include "plugins/vsphere/options.h"

enum place_kind { PLACE_FOLDER, PLACE_DATACENTER, PLACE_CLUSTER, PLACE_POOL, PLACE_DATASTORE, PLACE_POD, PLACE_NETWORK,
		  PLACE_SWITCH };

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
	struct vs_ref ref;
	struct xn *devices;               /* val of config.hardware.device */
	struct xn *snapshots;             /* val of snapshot, NULL when there is none */
	char hardware[16];                /* "vmx-19" */
	bool is_template;
	int64_t committed;                /* bytes that its files take; 0: not told */
	uint64_t at;
};

/* A network as a device's backing names it. */
struct spot_nic {
	struct vs_ref network;
	char path[512], name[256], key[128], key_type[64], switch_uuid[64];
	bool twin;                        /* another network has that path, too */
};

/* What a machine's clone needs. Copies: valid on their own, but for devices, which live as long as the plugin. */
struct spot {
	char datacenter[256];
	struct vs_ref dc, folder, cluster, pool;
	struct vs_ref datastore, pod;     /* one of both; neither: the storage policy says */
	char folder_path[512], cluster_path[512], pool_path[512], datastore_path[512], template_path[512];
	struct spot_nic nics[NICS_MAX];
	size_t n_nics;
	struct vs_ref template, snapshot; /* snapshot: of a linked clone */
	char hardware[16];                /* of the template */
	int64_t committed;                /* likewise */
	int64_t bytes;                    /* that a machine takes of its datastore when it is made; storage_policy() fills this and.. */
	char policy[64];                  /* .. the id of the storage policy */
	const struct xn *devices;
	const json_t *where;              /* the placement in the request, borrowed */
};

struct placement *placement_new(void);
void placement_free(struct placement *p);
/* Looked up anew at the next need. */
void placement_forget(struct vsphere *v);

/* Everything that the cluster's request names, for one pool (NULL: only what all pools share) and its placement
 * number zone; what is missing or cannot be is added to problems. Returns -1 with err when nothing could be asked. */
int placement_find(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const json_t *pool, size_t zone,
		   struct spot *out, json_t *problems, struct vs_err *err);
size_t placement_zones(const json_t *pool); /* how many placements it has, 1 at least */
const json_t *placement_at(const json_t *pool, size_t zone); /* NULL: there is none of that number */
/* Looks for a folder by parent and name in the server itself. *found is empty when there is none. */
int placement_child(struct vsphere *v, struct pcg_call *call, const struct vs_ref *parent, const char *name,
		    struct vs_ref *found, struct vs_err *err);

#endif
