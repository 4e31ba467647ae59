/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_ATTACHED_H
#define HOST_CAPI_ATTACHED_H

/*
 * What a cluster has in the infrastructure beside its machines, made by its cloud provider and its
 * storage drivers: load balancers of Services, and volumes. Only these can remove it again, so it
 * goes while the machines are still there.
 */

#include "host/capi/op.h"

struct attached {
	json_t *load_balancers; /* [{"namespace","name","uid","addresses":[text],"deleting":bool}] */
	/* [{"name","reclaimPolicy","driver","handle","capacity","phase","message",
	 * "claim":{"namespace","name","uid"}|null}] */
	json_t *volumes;
	void (*done)(struct capi_op *op, struct attached *a);
};

/* Reads both; a volume that is a folder or disk of one machine is left out. Calls done, or fails
 * the op. a outlives that; zeroed before the first use. */
void attached_read(struct capi_op *op, struct attached *a,
		   void (*done)(struct capi_op *op, struct attached *a));
void attached_free(struct attached *a);

/* Whether the cluster itself removes this volume when it is asked to. */
bool attached_is_removed(const json_t *volume, const json_t *keep);

#endif
