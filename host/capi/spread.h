/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_SPREAD_H
#define HOST_CAPI_SPREAD_H

/*
 * A pool of workers with several places is one MachineDeployment for each of them, since one has one failure domain at
 * most. Places are counted from 0, in the order in which the provider exported their templates.
 */

#include "core/json.h"

#include <stddef.h>
#include <stdint.h>

/* A MachineDeployment's name is the value of a label of its machines. */
#define SPREAD_NAME_SIZE 64

/* How many of the pool's machines are in a place: as even as can be, the first ones get one more. */
int64_t spread_size(int64_t size, size_t place, size_t places);
/* CLUSTER-POOL of a pool with one place, CLUSTER-POOL-N of one with more, N from 1. What is too long for a label, or the
 * name of another of the spec's pools, ends in a hash of what it stands for in place of that. */
void spread_name(const json_t *spec, const char *pool, size_t place, size_t places, char out[SPREAD_NAME_SIZE]);

#endif
