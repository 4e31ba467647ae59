/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/ops.h"
#include "core/error.h"

#include <assert.h>
#include <string.h>

/* Classes cross the line as numbers: both lists have to be the same. */
static_assert(PCG_ERR_RETRY == PCG_CLASS_RETRY && PCG_ERR_PERMANENT == PCG_CLASS_PERMANENT &&
	      PCG_ERR_AUTH == PCG_CLASS_AUTH && PCG_ERR_QUOTA == PCG_CLASS_QUOTA &&
	      PCG_ERR_NOT_FOUND == PCG_CLASS_NOT_FOUND && PCG_ERR_CONFLICT == PCG_CLASS_CONFLICT &&
	      PCG_ERR_CANCELLED == PCG_CLASS_CANCELLED && PCG_ERR_BUG == PCG_CLASS_BUG,
	      "error classes of pcg/provider.h and core/error.h");

const struct provider_op provider_ops[] = {
#define X(op, cap) { #op, offsetof(struct pcg_provider, op), cap },
	PROVIDER_OPS(X)
#undef X
	{ NULL, 0, 0 },
};

const struct provider_op *provider_op_find(const char *name)
{
	for (const struct provider_op *op = provider_ops; op->name; op++)
		if (strcmp(op->name, name) == 0)
			return op;
	return NULL;
}

pcg_op provider_op_of(const struct pcg_provider *table, const struct provider_op *op)
{
	pcg_op fn;

	memcpy(&fn, (const char *)table + op->offset, sizeof(fn));
	return fn;
}
