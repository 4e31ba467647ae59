/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_DOWNGRADE_H
#define HOST_CAPI_DOWNGRADE_H

/*
 * Objects in the v1beta1 shapes of Cluster API, for a cluster whose controllers serve nothing newer:
 * references with apiVersion and namespace, arguments as maps, status.ready. Pure.
 */

#include "core/json.h"

/* {GROUP: {VERSION: true}} of the server's answer to /apis. */
json_t *served_of(const json_t *api_groups);

/* Changes each object of the plan whose group serves v1beta1 and not v1beta2, and its status.
 * served: {GROUP: {VERSION: true}}. */
void downgrade_plan(json_t *plan, const json_t *served);
/* There is one. */
bool downgrade_needed(const json_t *plan, const json_t *served);

#endif
