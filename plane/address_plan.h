/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_ADDRESS_PLAN_H
#define PLANE_ADDRESS_PLAN_H

/*
 * Inside addresses_reserve: address_networks.c walks the networks of a request, address_plan.c finds what a cluster needs and
 * whether there is enough, address_document.c keeps it and writes the document.
 */

#include "plane/addresses.h"

struct address_need {
	json_t *doc;             /* row "pool"; NULL: none of this gateway */
	char *uid;               /* as the request has it, of any length */
	char domain[256];        /* the DNS mapping's of a network that names it */
	struct ip_range range;
	int64_t nodes, have;     /* have: already reserved for nodes */
	const json_t *counted;   /* cloudConfig of the machine pool whose nodes came last: they count once */
	bool endpoint;           /* the endpoint is one of its addresses */
	bool endpoint_new;       /* and not reserved yet */
	json_t *fresh;           /* what it gets now, texts */
};

struct address_plan {
	struct plane *p;
	const json_t *cluster;
	const char *uid, *gateway, *name;
	json_t *doc, *problems;
	json_t *rows;            /* what it has */
	struct address_need *uses;
	size_t n;
	struct addresses_taken taken;
	char endpoint[IP_TEXT_SIZE]; /* one that is taken from a pool here */
};

/* ---- address_networks.c ---- */

/* Other than 0 ends. device: which of a machine's network devices. */
typedef int (*address_network_fn)(void *arg, json_t *network, size_t device);
int address_networks(const json_t *cloud_config, address_network_fn fn, void *arg);
/* Of where machines are made first. */
int address_first_networks(const json_t *cloud_config, address_network_fn fn, void *arg);
/* How many addresses of a pool that many machines have. spread: evenly over the placements, the first ones get one more, as the
 * gateway hands workers over (host/capi/spread.h); else all of them may be in any one. */
int64_t address_needed(const json_t *cloud_config, const char *pool, int64_t nodes, bool spread);

/* ---- address_plan.c ---- */

/* NULL: the cluster does not use that pool. */
struct address_need *address_use(struct address_plan *w, const char *pool);
/* Empty: it has none. */
const char *address_endpoint(const struct address_plan *w);

/* ---- address_document.c ---- */

/* Everything that was found free for it, in rows. */
int address_keep_all(struct address_plan *w, struct pcg_error *err);
/* What it has, also of a pool that the request names no more. */
void address_write_document(struct address_plan *w);

#endif
