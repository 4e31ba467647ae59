/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_OUTDATED_H
#define HOST_CAPI_OUTDATED_H

/*
 * MachineDeployments that an earlier plan had and this one has not: the request was changed between two attempts to write,
 * by a pool that it no longer has or whose places are others. They would make machines that nobody wants. Those that
 * do not say of which pool they are were made by somebody else, and stay. The cluster is paused.
 */

#include "host/capi/op.h"
#include "host/capi/remove.h"

struct outdated_target {
	char *path, *label;
	struct removal removal;
};

struct outdated {
	const json_t *plan;
	struct outdated_target *targets;
	size_t n;
	void (*done)(struct capi_op *op);
};

/* o is zeroed by its owner and lives as long as the op, as the plan does. Errors end the op. */
void outdated_remove(struct capi_op *op, struct outdated *o, const json_t *plan, void (*done)(struct capi_op *op));
void outdated_free(struct outdated *o);

#endif
