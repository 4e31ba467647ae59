/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROVIDER_OPS_H
#define HOST_PROVIDER_OPS_H

/* The ops of struct pcg_provider, once: member, and the capability that makes it needed (0: always). */

#include "pcg/provider.h"

#define PROVIDER_OPS(X)                                                                           \
	X(account_validate, 0)                                                                    \
	X(pick_list, 0)                                                                           \
	X(cluster_ensure, 0)                                                                      \
	X(cluster_delete, 0)                                                                      \
	X(machine_ensure, 0)                                                                      \
	X(machine_delete, 0)                                                                      \
	X(machine_redact, PCG_CAP_REDACT)                                                         \
	X(machine_power_off, PCG_CAP_POWER_OFF)                                                   \
	X(inventory, 0)                                                                           \
	X(watch, PCG_CAP_WATCH)                                                                   \
	X(export_objects, 0)                                                                      \
	X(import_objects, 0)

struct provider_op {
	const char *name;
	size_t offset;    /* in struct pcg_provider */
	uint64_t cap;
};

extern const struct provider_op provider_ops[]; /* ends with a NULL name */
const struct provider_op *provider_op_find(const char *name); /* NULL: no such op */
pcg_op provider_op_of(const struct pcg_provider *table, const struct provider_op *op); /* may be NULL */

#endif
