/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/jinja.h"

#include <ctype.h>
#include <string.h>

static int jinja_fail(struct pcg_error *err, const char *what, const char *at)
{
	return pcg_fail(err, PCG_CLASS_PERMANENT, "Escape what is not meant for the template.",
			"the template: %s at \"%.40s\"", what, at);
}

static int jinja_expression(const char *expr, size_t len, const json_t *vars, struct buf *out,
			    struct pcg_error *err)
{
	AUTO_FREE char *name = NULL;
	const json_t *v;

	while (len && isspace((unsigned char)*expr))
		expr++, len--;
	while (len && isspace((unsigned char)expr[len - 1]))
		len--;
	if (len >= 2 && (*expr == '\'' || *expr == '"') && expr[len - 1] == *expr)
		return buf_add(out, expr + 1, len - 2);
	name = strndup(expr, len);
	if (!len || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") != len)
		return jinja_fail(err, "an expression that is neither a name nor a text", name);
	v = json_at(vars, name);
	if (json_is_string(v))
		return buf_adds(out, json_string_value(v));
	return buf_addf(out, "CI_MISSING_JINJA_VAR/%s", name);
}

/* {% raw %} ... {% endraw %}; returns the end, NULL on error. */
static const char *jinja_raw(const char *p, struct buf *out, struct pcg_error *err)
{
	static const char *const ends[] = { "{% endraw %}", "{%endraw%}", "{%- endraw -%}" };
	const char *body = strstr(p, "%}"), *word = p + 2 + strspn(p + 2, "- \t"), *end = NULL;
	size_t end_len = 0;

	if (!body || strncmp(word, "raw", 3) != 0) {
		jinja_fail(err, "a statement other than raw", p);
		return NULL;
	}
	body += 2;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		const char *e = strstr(body, ends[i]);

		if (e && (!end || e < end)) {
			end = e;
			end_len = strlen(ends[i]);
		}
	}
	if (!end) {
		jinja_fail(err, "raw without endraw", p);
		return NULL;
	}
	buf_add(out, body, (size_t)(end - body));
	return end + end_len;
}

int jinja_render(const char *text, const json_t *vars, struct buf *out, struct pcg_error *err)
{
	const char *p = text;

	for (;;) {
		const char *open = p, *close;
		int r;

		while ((open = strchr(open, '{')) && open[1] != '{' && open[1] != '%' && open[1] != '#')
			open++;
		if (!open)
			return buf_adds(out, p);
		buf_add(out, p, (size_t)(open - p));
		if (open[1] == '%') {
			p = jinja_raw(open, out, err);
			if (!p)
				return PCG_EPERMANENT;
			continue;
		}
		close = strstr(open + 2, open[1] == '#' ? "#}" : "}}");
		if (!close)
			return jinja_fail(err, "a tag that does not end", open);
		if (open[1] == '{') {
			r = jinja_expression(open + 2, (size_t)(close - open - 2), vars, out, err);
			if (r)
				return r;
		}
		p = close + 2;
	}
}
