/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_IP_POOLS_H
#define PLANE_IP_POOLS_H

/* IP pools of gateways in the public API. Row "pool": {uid, overlord, metadata, spec {pool, restrictToSingleCluster}}. */

#include "plane/plane.h"

/* All of a gateway as the public API shows them, a new array. brief: without the lists of addresses. */
int ip_pools_public(struct plane *p, const char *gateway, bool brief, json_t **items, struct pcg_error *err);
/* 0: none of one gateway's overlaps with, or is called as, one of the other's; else *why says which, 256 bytes. */
int ip_pools_collide(struct plane *p, const char *gateway, const char *other, char *why, struct pcg_error *err);

#endif
