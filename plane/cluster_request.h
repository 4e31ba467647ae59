/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_CLUSTER_REQUEST_H
#define PLANE_CLUSTER_REQUEST_H

/* What a request for a cluster must be to be understood at all. Appends {field, text} for everything wrong.
 * What is merely missing is not a matter of these: document.h. The checks are pure. */

#include "core/error.h"
#include "core/json.h"

struct api_call;

void cluster_request_check(const char *cloud, const json_t *body, json_t *fields);
/* One {poolConfig, cloudConfig}. */
void cluster_request_check_pool(const char *cloud, const json_t *pool, const char *field, json_t *fields);
/* All pools together: names differ, exactly one control plane. */
void cluster_request_check_pools(const json_t *pools, json_t *fields);

/* clusters_refresh for a request that changed the cluster: refused when its gateway could not be told. */
int cluster_request_apply(struct api_call *c, json_t *cluster, struct pcg_error *err);

#endif
