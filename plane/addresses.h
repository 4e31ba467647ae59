/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_ADDRESSES_H
#define PLANE_ADDRESSES_H

/*
 * Which cluster has which address of which IP pool. The plane alone decides, in the transaction that makes the cluster's
 * document, and an address is free again in the transaction that makes the cluster Deleted: never before, since what the
 * gateway or the cluster's own controllers do with a document that was sent cannot be seen here.
 *
 * Row "address": uid is "GATEWAY/ADDRESS", so that no address is given twice, name the pool's uid, parent the cluster's;
 * {gateway, pool, cluster, address, role ("node" or "endpoint"), object (the name that the cluster's InClusterIPPool has)}.
 * Row "endpoint": uid is the cluster's, name "GATEWAY/ADDRESS": what it says its control plane's endpoint is.
 * All of these are called inside a transaction.
 */

#include "plane/ip_range.h"
#include "plane/plane.h"

/* The pools that a cluster's networks name get nodes plus three addresses each for it, all of them or none, and only
 * when doc has no problem; what it cannot get becomes one. doc gets "addressPools", the same of each device in its pools, and
 * where the request has none the "controlPlaneEndpoint". */
int addresses_reserve(struct plane *p, const json_t *cluster, json_t *doc, struct pcg_error *err);
/* The cluster is gone. *pools: uids of pools that have room again, a new array. */
int addresses_release(struct plane *p, const char *cluster, json_t **pools, struct pcg_error *err);
/* What a document of a cluster says that this database does not know. Addresses that another cluster has stay that
 * one's: *taken (128 bytes) is then one of them, with the other's uid; empty: none. */
int addresses_found(struct plane *p, const char *gateway, const char *cluster, const json_t *doc, char *taken,
		    struct pcg_error *err);
/* Rows "address" of a pool, a new array. */
int addresses_of_pool(struct plane *p, const char *pool, json_t **rows, struct pcg_error *err);
/* Every address of a gateway that is reserved, or the endpoint of a cluster, in order. Ended with addresses_taken_free. */
struct addresses_taken {
	struct ip *v;
	size_t n;
};
int addresses_taken(struct plane *p, const char *gateway, struct addresses_taken *out, struct pcg_error *err);
void addresses_taken_add(struct addresses_taken *t, const struct ip *ip);
void addresses_taken_free(struct addresses_taken *t);
/* The first max addresses that are free, as texts in out (NULL: none). Returns how many are free in all; UINT64_MAX: that
 * many or more. */
uint64_t addresses_free(const struct addresses_taken *t, const struct ip_range *range, json_t *out, size_t max);
struct addresses_row {
	const char *gateway, *pool, *cluster, *address, *role, *object;
};
int addresses_keep(struct plane *p, const struct addresses_row *row, struct pcg_error *err);
/* What the cluster says that its endpoint is; a name, or NULL, takes back what it said before. */
int addresses_keep_endpoint(struct plane *p, const char *gateway, const char *cluster, const char *host,
			    struct pcg_error *err);
/* 1: *row is a new reference; 0: nobody has it. */
int addresses_holder(struct plane *p, const char *gateway, const char *address, json_t **row, struct pcg_error *err);
/* Everything of one gateway becomes another's. */
int addresses_migrate(struct plane *p, const char *from, const char *to, struct pcg_error *err);
/* The pool of a machine's first network device, by its cloudConfig: that of the first placement. "": none. */
const char *addresses_pool_of(const json_t *cloud_config);
/* Whether a cluster's request names the pool. */
bool addresses_names_pool(const json_t *cluster, const char *pool);

#endif
