/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_CLUSTER_REQUEST_H
#define PLANE_CLUSTER_REQUEST_H

/* What a request for a cluster must be to be understood at all. Appends {field, text} for everything wrong.
 * What is merely missing is not a matter of these: document.h. Pure. */

#include "core/json.h"

void cluster_request_check(const char *cloud, const json_t *body, json_t *fields);
/* One {poolConfig, cloudConfig}. */
void cluster_request_check_pool(const char *cloud, const json_t *pool, const char *field, json_t *fields);
/* All pools together: names differ, exactly one control plane. */
void cluster_request_check_pools(const json_t *pools, json_t *fields);

#endif
