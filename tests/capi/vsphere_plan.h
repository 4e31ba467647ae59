/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CAPI_VSPHERE_PLAN_H
#define TESTS_CAPI_VSPHERE_PLAN_H

/* A plan that a real API server with the real definitions accepts: cluster c1, its first machine in
 * the shapes that the vSphere plugin exports. Beside the workers' pool md there is zoned, of three in two places. */

#include "core/json.h"

#define VSPHERE_PLAN_ID "vsphere://42305f0b-dad7-1d3d-5727-0eafffffbbbf" /* of the first machine */

/* Recovery keys around the CA of the server. */
json_t *vsphere_plan_keys(const char *ca, const char *ca_key);
json_t *vsphere_plan(const char *ca, json_t *keys, int epoch, int control_planes, int workers);
/* With addresses of an IP pool, lab, of which the first machine has 10.0.0.20. */
json_t *vsphere_plan_static(const char *ca, json_t *keys, int epoch, int control_planes, int workers);

#endif
