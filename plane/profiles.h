/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_PROFILES_H
#define PLANE_PROFILES_H

#include "plane/plane.h"

/* Appends the packs of one of a cluster's profiles ({uid, packValues, variables}), the cluster's own values put over the
 * profile's, each with "vars" {name: text} and "tag". A profile that is gone becomes a problem. */
int profiles_packs(struct plane *p, const json_t *given, json_t *packs, json_t *problems,
		   struct pcg_error *err);

/* A cluster's profile as the public API shows it in the cluster: {uid, name, type, cloudType, version, packs, ...}. */
int profiles_template(struct plane *p, const json_t *given, json_t **out, struct pcg_error *err);

#endif
