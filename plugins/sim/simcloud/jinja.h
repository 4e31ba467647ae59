/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_JINJA_H
#define SIMCLOUD_JINJA_H

/* The part of Jinja that user data uses, rendered as cloud-init does: {{ name }}, {{ 'text' }}, {# comment #},
 * {% raw %}...{% endraw %}. A name that is not there becomes CI_MISSING_JINJA_VAR/name. Anything else is an error. */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"

int jinja_render(const char *text, const json_t *vars, struct buf *out, struct pcg_error *err);

#endif
