/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/jinja.h"

#include <stdlib.h>
#include <string.h>

/* Gives one "{". It holds no quote and no backslash, so it survives whatever quoting YAML, Go's
 * %q or our emitter put around it before jinja sees it. */
#define BRACE "{{ {}|string|first }}"

static bool opens(const char *p)
{
	return p[0] == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#');
}

bool jinja_touches(const char *s)
{
	for (; *s; s++)
		if (opens(s))
			return true;
	return false;
}

char *jinja_escape(const char *s)
{
	size_t len = strlen(s), braces = 0;
	char *out, *w;

	for (const char *p = s; *p; p++)
		braces += opens(p);
	w = out = malloc(len + braces * (sizeof(BRACE) - 2) + 1);
	if (!out)
		abort();
	for (; *s; s++) {
		if (opens(s))
			w = stpcpy(w, BRACE);
		else
			*w++ = *s;
	}
	*w = '\0';
	return out;
}

json_t *jinja_json(const char *s)
{
	char *e = jinja_escape(s);
	json_t *j = json_string(e);

	free(e);
	return j;
}
