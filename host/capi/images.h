/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_IMAGES_H
#define HOST_CAPI_IMAGES_H

/* Container images of workloads: which there are, and taken from another place. Pure. */

#include "core/json.h"

/* Appends each image of the containers and init containers of a workload to list, once. */
void images_list(const json_t *workload, json_t *list);
/* clusterctl's rule: what stands before the last "/" becomes repository; name, tag and digest stay. */
void images_move(json_t *workload, const char *repository);

#endif
