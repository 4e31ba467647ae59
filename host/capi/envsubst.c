/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/envsubst.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

#define NESTING_MAX 16
#define NAME_MAX_LEN 128

struct expansion {
	const char *p;
	const char *end;
	const char *start;
	const char *what;
	const json_t *variables;
	json_t *missing;
	json_t *asked; /* NULL: not wanted */
	struct pcg_error *err;
};

static int line_of(const struct expansion *x, const char *at)
{
	int line = 1;

	for (const char *c = x->start; c < at; c++)
		line += *c == '\n';
	return line;
}

static int refuse(struct expansion *x, const char *at, const char *why)
{
	int shown = (int)(x->end - at > 40 ? 40 : x->end - at);

	return pcg_fail(x->err, PCG_CLASS_PERMANENT,
			"mend the file: ${VAR}, ${VAR:-default}, ${VAR:=default} are substituted, "
			"$$ outside of them stands for $",
			"%s line %d: %s at \"%.*s\"", x->what, line_of(x, at), why, shown, at);
}

/* Only outside of expressions: patterns of definitions are full of backslashes, and stay. */
static bool is_escape(const struct expansion *x, int depth)
{
	return depth == 0 && x->p + 1 < x->end && x->p[0] == '$' && x->p[1] == '$';
}

static bool is_open(const struct expansion *x)
{
	return x->p + 1 < x->end && x->p[0] == '$' && x->p[1] == '{';
}

static void skip_space(struct expansion *x)
{
	while (x->p < x->end && isspace((unsigned char)*x->p))
		x->p++;
}

static int read_name(struct expansion *x, const char *open, char name[NAME_MAX_LEN])
{
	size_t n = 0;

	skip_space(x);
	while (x->p < x->end && (isalnum((unsigned char)*x->p) || *x->p == '_')) {
		if (n + 1 >= NAME_MAX_LEN)
			return refuse(x, open, "the name of a variable is too long");
		name[n++] = *x->p++;
	}
	name[n] = '\0';
	skip_space(x);
	if (n == 0)
		return refuse(x, open, "a variable without a name");
	return 0;
}

static int expand(struct expansion *x, struct buf *out, int depth, bool wanted);

/* After the name: nothing, or an operator with a default. */
static int read_operator(struct expansion *x, const char *open, bool *has_default)
{
	*has_default = false;
	if (x->p < x->end && *x->p == '}')
		return 0;
	if (x->p + 1 < x->end && x->p[0] == ':' && strchr("-=?+", x->p[1]))
		x->p += 2;
	else if (x->p < x->end && *x->p == '=')
		x->p++;
	else
		return refuse(x, open,
			      x->p < x->end ? "an expression that is not known"
					    : "an expression without its end");
	*has_default = true;
	return 0;
}

static void note_missing(struct expansion *x, const char *name)
{
	size_t i;
	json_t *m;

	json_array_foreach (x->missing, i, m)
		if (strcmp(json_string_value(m), name) == 0)
			return;
	json_array_append_new(x->missing, json_string(name));
}

static void note_asked(struct expansion *x, const char *name, const char *text, size_t len)
{
	size_t i;
	json_t *m;

	json_array_foreach (x->asked, i, m) {
		if (strcmp(json_str(m, "name"), name) != 0)
			continue;
		if (!len)
			json_object_set_new(m, "default", json_null());
		return;
	}
	if (x->asked)
		json_array_append_new(x->asked,
				      json_pack("{s:s,s:o}", "name", name, "default",
						len ? json_stringn(text, len) : json_null()));
}

/* wanted is false inside a default that is not used: its variables need no value. */
static int expand_variable(struct expansion *x, struct buf *out, int depth, bool wanted)
{
	const char *open = x->p;
	char name[NAME_MAX_LEN];
	const json_t *value;
	bool has_default, set;
	const char *from;
	int r;

	if (depth >= NESTING_MAX)
		return refuse(x, open, "variables nested too deeply");
	x->p += 2;
	r = read_name(x, open, name);
	if (r)
		return r;
	r = read_operator(x, open, &has_default);
	if (r)
		return r;
	from = x->p;
	value = json_object_get(x->variables, name);
	set = json_is_string(value) && (!has_default || json_string_length(value) > 0);
	if (has_default) {
		r = expand(x, out, depth + 1, wanted && !set);
		if (r)
			return r;
		has_default = x->p > from; /* an empty one is none, to clusterctl too */
		set |= json_is_string(value) && !has_default;
	}
	note_asked(x, name, from, (size_t)(x->p - from));
	if (x->p >= x->end || *x->p != '}')
		return refuse(x, open, "an expression without its end");
	x->p++;
	if (set && wanted)
		buf_add(out, json_string_value(value), json_string_length(value));
	else if (!set && !has_default && wanted)
		note_missing(x, name);
	return 0;
}

/* Text up to the end, or inside a default up to its closing brace. */
static int expand(struct expansion *x, struct buf *out, int depth, bool wanted)
{
	int r;

	while (x->p < x->end && (depth == 0 || *x->p != '}')) {
		if (is_escape(x, depth)) {
			x->p++;
		} else if (is_open(x)) {
			r = expand_variable(x, out, depth, wanted);
			if (r)
				return r;
			continue;
		}
		if (wanted)
			buf_add(out, x->p, 1);
		x->p++;
	}
	return 0;
}

static int report_missing(struct expansion *x)
{
	char list[512] = "";
	size_t i, used = 0;
	json_t *m;

	if (json_array_size(x->missing) == 0)
		return 0;
	json_array_foreach (x->missing, i, m) {
		const char *name = json_string_value(m);
		size_t need = strlen(name) + 2;

		if (used + need >= sizeof(list))
			break;
		if (i) {
			memcpy(list + used, ", ", 2);
			used += 2;
		}
		memcpy(list + used, name, strlen(name) + 1);
		used += strlen(name);
	}
	return pcg_fail(x->err, PCG_CLASS_PERMANENT,
			"give each of them a value in the file, as default: ${VAR:=value}",
			"%s: no value for %zu variable%s: %s", x->what, json_array_size(x->missing),
			json_array_size(x->missing) == 1 ? "" : "s", list);
}

int envsubst_expand(const char *text, size_t len, const char *what, const json_t *variables,
		    struct buf *out, struct pcg_error *err)
{
	struct expansion x = {
		.p = text,
		.end = text + len,
		.start = text,
		.what = what,
		.variables = variables,
		.err = err,
	};
	int r;

	x.missing = json_array();
	r = expand(&x, out, 0, true);
	if (r == 0)
		r = report_missing(&x);
	json_decref(x.missing);
	if (r == 0 && out->overflow)
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "give smaller values",
			     "%s: too large after substitution", what);
	return r;
}

int envsubst_variables(const char *text, size_t len, const char *what, json_t **variables,
		       struct pcg_error *err)
{
	struct expansion x = {
		.p = text,
		.end = text + len,
		.start = text,
		.what = what,
		.err = err,
	};
	struct buf out;
	int r;

	buf_init(&out, len + 1);
	x.missing = json_array();
	x.asked = json_array();
	r = expand(&x, &out, 0, true);
	buf_free(&out);
	json_decref(x.missing);
	if (r)
		json_decref(x.asked);
	else
		*variables = x.asked;
	return r;
}
