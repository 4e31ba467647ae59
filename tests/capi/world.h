/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CAPI_WORLD_H
#define TESTS_CAPI_WORLD_H

/* A cluster behind the stand-in API that can take over, and the sample's plan with real keys. */

#include "core/json.h"

/* {"ca":{"crt","key"},...} as of the recovery document; the CA is the stand-in's. */
json_t *world_keys(void);
json_t *world_plan(const json_t *keys);
/* Definitions with contract labels, controllers that are available, the machine's Node. */
void world_ready(void);
/* Runs the preflight of a plan; its records, borrowed until the next operation. */
const json_t *world_preflight(const json_t *plan, const json_t *keys);
/* The record of a check by name. */
const json_t *world_check(const json_t *records, const char *name);

#endif
