/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_CLUSTERS_H
#define PLANE_CLUSTERS_H

/*
 * A cluster as the plane keeps it. Row "cluster": {uid, cfg (uid of its cloud config), name, cloudType, overlord,
 * account, metadata, spec (the request's), desired, generation, problems and
 * kubernetesVersion (of its document), deletingSince, deletedAt (ms), location,
 * namespaces, rbacs, features, locked}. Row "status": what the gateway reported last.
 */

#include "plane/plane.h"

/* 1: found, and not older than the time that deleted clusters are kept. */
int clusters_get(struct plane *p, const char *uid, json_t **cluster, json_t **status,
		 struct pcg_error *err);
int clusters_put(struct plane *p, const json_t *cluster, struct pcg_error *err);
/* Palette's word for where it is. */
const char *clusters_state(const json_t *cluster, const json_t *status);
/* Makes its document anew; when that differs from the last one it gets the next generation and goes to the
 * gateway. Inside a transaction. Stores the cluster too. A document that no message can carry stays where it is: the last one is kept, and this is
 * a problem of the cluster with the field CLUSTERS_UNSENDABLE. */
#define CLUSTERS_UNSENDABLE "document"
int clusters_refresh(struct plane *p, json_t *cluster, struct pcg_error *err);
/* Whether something was made of its document: before that it may be what holds the cluster up. */
bool clusters_begun(const json_t *status);
/* clusters_refresh for every cluster whose building has not begun and that uses it: kind is ROWS_ACCOUNT, ROWS_PROFILE,
 * ROWS_POOL, ROWS_OVERLORD or ROWS_CERT (uid is ignored for the last). */
int clusters_refresh_users(struct plane *p, const char *kind, const char *uid, struct pcg_error *err);
/* How many clusters that are not Deleted use the account, profile, overlord or pool. *name: one of them, 128 bytes. */
int clusters_users(struct plane *p, const char *kind, const char *uid, int64_t *n, char *name,
		   struct pcg_error *err);
/* The gateway is done with it (or nobody can be asked any more): a tombstone from now on. left may be NULL. */
int clusters_deleted(struct plane *p, json_t *cluster, json_t *status, const json_t *left,
		     struct pcg_error *err);
int clusters_event(struct plane *p, const json_t *cluster, const char *at, const char *severity,
		   const char *reason, const char *message, const char *component, const char *host,
		   struct pcg_error *err);
/* Removes tombstones that are old enough. */
int clusters_purge(struct plane *p, struct pcg_error *err);

#endif
