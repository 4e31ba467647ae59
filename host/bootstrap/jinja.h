/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTSTRAP_JINJA_H
#define BOOTSTRAP_JINJA_H

/*
 * User data that begins with "## template: jinja" is rendered on the node before it is read as
 * YAML: text that must arrive as it is has to be protected.
 */

#include <jansson.h>
#include <stdbool.h>

/* True when jinja would take something in s for its own. */
bool jinja_touches(const char *s);
/* s so that jinja gives s back, also when it stands inside quotes of any kind. Caller frees. */
char *jinja_escape(const char *s);
json_t *jinja_json(const char *s); /* the same as a JSON string */

#endif
