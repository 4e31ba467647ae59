/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_ENVSUBST_H
#define HOST_CAPI_ENVSUBST_H

/*
 * Variables in component files, as clusterctl substitutes them: ${VAR}, ${VAR:-default},
 * ${VAR:=default}, ${VAR=default} (the default stands in for an unset or empty variable, and may
 * hold variables), "$$" for "$", "\\" for "\" and "\/" for "/". $VAR is text. variables is an
 * object of strings. Every variable that has neither value nor default is named in one error.
 */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"

int envsubst_expand(const char *text, size_t len, const char *what, const json_t *variables,
		    struct buf *out, struct pcg_error *err);

#endif
