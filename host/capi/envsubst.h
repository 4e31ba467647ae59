/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_ENVSUBST_H
#define HOST_CAPI_ENVSUBST_H

/*
 * Variables in component files, as clusterctl substitutes them: ${VAR}, ${VAR:-default},
 * ${VAR:=default}, ${VAR=default} (the default stands in for an unset or empty variable, and may
 * hold variables; clusterctl takes ":?" and ":+" for the same; an empty default is none), and "$$"
 * for "$" outside of them. $VAR and backslashes are text. variables is an object of strings. Every
 * variable that has neither value nor default is named in one error, also where clusterctl puts an
 * empty text without a word: inside a default, or after a default that another place gives.
 */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"

int envsubst_expand(const char *text, size_t len, const char *what, const json_t *variables,
		    struct buf *out, struct pcg_error *err);
/* What a text asks for: [{"name","default"}] in order of appearance; default as it stands, null
 * where there is none. */
int envsubst_variables(const char *text, size_t len, const char *what, json_t **variables,
		       struct pcg_error *err);

#endif
