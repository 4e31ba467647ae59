/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_GRAPH_H
#define HOST_CAPI_GRAPH_H

/* Reads what belongs to a cluster out of its API, kind by kind, by paged lists. */

#include "host/capi/op.h"

#define GRAPH_KINDS_MAX 32

struct graph;

struct graph_listing {
	struct graph *graph;
	size_t index;
};

struct graph {
	const char *ns, *cluster;
	bool old; /* Cluster API's own kinds by v1beta1; set before graph_read */
	json_t *kinds; /* [{"apiVersion","kind","optional"}] */
	size_t listed; /* kinds before this one were listed in an earlier batch */
	struct graph_listing listings[GRAPH_KINDS_MAX];
	json_t *objects;  /* what was read */
	json_t *groups;   /* API groups of the infrastructure */
	json_t *versions; /* group: its preferred version */
	void (*done)(struct capi_op *op, struct graph *g);
};

/* g is zeroed by its owner and lives as long as the op, as the names do. Errors end the op. */
void graph_read(struct capi_op *op, struct graph *g, const char *ns, const char *cluster,
		void (*done)(struct capi_op *op, struct graph *g));
/* After graph_read: Machines and infrastructure machines anew, the others as they were read. */
void graph_read_machines(struct capi_op *op, struct graph *g,
			 void (*done)(struct capi_op *op, struct graph *g));
/* [{"name","pool","role","providerID","addresses","uid"}] out of Machines and infrastructure
 * machines without one. uid: "" when the machine was not made by a gateway. */
json_t *graph_machines(const struct graph *g);
/* [{"name","size","deployments":[NAME]}]: pools of workers, each once, with the sum of what its MachineDeployments want. */
json_t *graph_pools(const struct graph *g);
/* What is always read: ["Cluster", ...]. New reference. */
json_t *graph_core_kinds(void);
void graph_free(struct graph *g);

#endif
