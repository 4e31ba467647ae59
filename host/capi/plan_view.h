/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_PLAN_VIEW_H
#define HOST_CAPI_PLAN_VIEW_H

/* A plan for people: group by group, with nothing in it that may be secret. Pure. */

#include "core/json.h"

/* [{"group":"of the cluster","objects":[{"object":"Machine/x","owner":"KubeadmControlPlane/y"|null,"status":bool,
 * "manifest":{..}}]}] in order of writing. Values of Secrets, contents of files and commands are told by
 * their length alone. New reference. */
json_t *plan_view(const json_t *plan);
/* What happens to the objects, in order; what a take-back does. New references. */
json_t *plan_steps(void);
json_t *plan_take_back_steps(void);

#endif
