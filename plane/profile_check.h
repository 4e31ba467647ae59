/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_PROFILE_CHECK_H
#define PLANE_PROFILE_CHECK_H

#include "core/json.h"

/* What can be told of a cluster profile before a cluster uses it: body is the request ({metadata, spec}); each mistake is appended
 * to fields as api_field does. Texts with variables are looked at where the variables have values: in the cluster. */
void profile_check(const json_t *body, json_t *fields);

/* "variables" of a profile: [{name, defaultValue, ...}]. at: how the field is called. */
void profile_check_variables(const json_t *variables, const char *at, json_t *fields);

#endif
