/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_COMPARE_H
#define HOST_CAPI_COMPARE_H

/*
 * Compares by meaning what was written with what a server answers: defaulting adds members, so
 * everything that was wanted must be there and the rest is the server's. Members of a metadata that
 * the server or controllers own are passed over.
 */

#include "core/json.h"

/* NULL: got holds all of want; else the path of the first difference. Caller frees.
 * lastTransitionTime is passed over. */
char *compare_contains(const json_t *want, const json_t *got);
/* The same for whole objects: ownerReferences, finalizers and status are not looked at. */
char *compare_object(const json_t *want, const json_t *got);

#endif
