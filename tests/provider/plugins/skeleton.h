/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PROVIDER_SKELETON_H
#define TESTS_PROVIDER_SKELETON_H

/* A provider whose every op is done at once; each plugin of the tests changes one thing. */

#include "pcg/provider.h"

#include <stddef.h>

static struct pcg_host *the_host;
static const struct pcg_services *services;

static inline int32_t skeleton_start(struct pcg_host *host, const struct pcg_services *s, void **plugin,
				     char *err, size_t err_size)
{
	the_host = host;
	services = s;
	*plugin = &the_host;
	return 0;
}

static inline void skeleton_stop(void *plugin, uint32_t final)
{
}

static inline void skeleton_op(void *plugin, struct pcg_call *call, const char *doc)
{
	services->done(call, "{}");
}

static inline struct pcg_provider skeleton(const char *name)
{
	return (struct pcg_provider){
		.struct_size = sizeof(struct pcg_provider),
		.abi_major = PCG_PROVIDER_ABI_MAJOR,
		.abi_minor = PCG_PROVIDER_ABI_MINOR,
		.max_parallel = 8,
		.name = name,
		.version = "1.2.3",
		.start = skeleton_start,
		.stop = skeleton_stop,
		.account_validate = skeleton_op,
		.pick_list = skeleton_op,
		.cluster_ensure = skeleton_op,
		.cluster_delete = skeleton_op,
		.machine_ensure = skeleton_op,
		.machine_delete = skeleton_op,
		.inventory = skeleton_op,
		.export_objects = skeleton_op,
		.import_objects = skeleton_op,
	};
}

PCG_PROVIDER_EXPORT const struct pcg_provider *pcg_provider_v0(uint32_t host_abi);

#endif
