/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_KVALID_H
#define SIMCLOUD_KVALID_H

#include "plugins/sim/simcloud/kapi.h"

/* What the API server would refuse (err says which field), as far as it is cheap to tell. Objects of a CRD are defaulted and
 * pruned by its schema. */
int kvalid_check(struct kapi *k, const struct kres *r, json_t *obj, struct pcg_error *err);

#endif
