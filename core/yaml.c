/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/yaml.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#define MAX_DEPTH 64

struct load {
	yaml_parser_t parser;
	yaml_event_t ev;
	const char *what;
	int depth;
	struct pcg_error *err;
};

static int bad_at(struct load *l, const yaml_mark_t *mark, const char *text, const char *remedy)
{
	return pcg_fail(l->err, PCG_CLASS_PERMANENT, remedy, "%s: line %zu, column %zu: %s", l->what,
			mark->line + 1, mark->column + 1, text);
}

static int bad(struct load *l, const char *text, const char *remedy)
{
	return bad_at(l, &l->ev.start_mark, text, remedy);
}

static int next_event(struct load *l)
{
	yaml_event_delete(&l->ev);
	if (yaml_parser_parse(&l->parser, &l->ev))
		return 0;
	/* problem is one of libyaml's fixed texts: nothing of the document is in it. */
	return bad_at(l, &l->parser.problem_mark,
		      l->parser.problem ? l->parser.problem : "not YAML", "");
}

/* Digits of base between s and the end. */
static bool all_digits(const char *s, int base)
{
	if (!*s)
		return false;
	for (; *s; s++) {
		int d = isdigit((unsigned char)*s) ? *s - '0' :
			isxdigit((unsigned char)*s) ? tolower((unsigned char)*s) - 'a' + 10 : 99;

		if (d >= base)
			return false;
	}
	return true;
}

/* 0: no whole number. Kubernetes' readers take 0644 and 0o644 as octal, so do we. */
static int number_base(const char *digits, const char **at)
{
	*at = digits;
	if (digits[0] == '0' && digits[1]) {
		if (digits[1] == 'x') {
			*at = digits + 2;
			return all_digits(*at, 16) ? 16 : 0;
		}
		*at = digits + (digits[1] == 'o' ? 2 : 1);
		return all_digits(*at, 8) ? 8 : 0;
	}
	return all_digits(digits, 10) ? 10 : 0;
}

static bool is_float(const char *s)
{
	bool digits = false;

	for (; isdigit((unsigned char)*s); s++)
		digits = true;
	if (*s == '.')
		for (s++; isdigit((unsigned char)*s); s++)
			digits = true;
	if (!digits)
		return false;
	if (*s == 'e' || *s == 'E') {
		s++;
		if (*s == '+' || *s == '-')
			s++;
		return all_digits(s, 10);
	}
	return !*s;
}

static bool is_inf_or_nan(const char *s)
{
	return !strcasecmp(s, ".inf") || !strcasecmp(s, ".nan");
}

static int load_number(struct load *l, const char *s, json_t **out)
{
	bool minus = *s == '-';
	const char *digits = s + (*s == '-' || *s == '+'), *at;
	int base = number_base(digits, &at);

	if (base) {
		unsigned long long v;

		errno = 0;
		v = strtoull(at, NULL, base);
		if (errno || v > (unsigned long long)INT64_MAX + minus)
			return bad(l, "a whole number that does not fit into 64 bits",
				   "put it into quotes if it is text");
		*out = json_integer(minus ? (json_int_t)(0 - v) : (json_int_t)v);
	} else if (is_inf_or_nan(digits)) {
		return bad(l, "infinity and NaN have no form in JSON", "put it into quotes if it is text");
	} else if (is_float(digits) && !all_digits(digits, 10)) {
		*out = json_real(strtod(s, NULL));
		if (!*out)
			return bad(l, "a number that is too large", "put it into quotes if it is text");
	}
	return 0;
}

static bool one_of(const char *s, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(s, *list))
			return true;
	return false;
}

static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
/* As Kubernetes' readers have them: a manifest that kubectl takes must not mean something else here. */
static const char *const trues[] = { "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y", NULL };
static const char *const falses[] = { "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N", NULL };

static int load_scalar(struct load *l, json_t **out)
{
	const char *s = (const char *)l->ev.data.scalar.value;
	size_t len = l->ev.data.scalar.length;
	int r;

	if (strlen(s) != len)
		return bad(l, "a zero byte in a text", "");
	if (l->ev.data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
		if (one_of(s, nulls))
			*out = json_null();
		else if (one_of(s, trues) || one_of(s, falses))
			*out = json_boolean(one_of(s, trues));
		else if ((r = load_number(l, s, out)))
			return r;
		if (*out)
			return 0;
	}
	*out = json_stringn(s, len);
	return *out ? 0 : bad(l, "a text that is not UTF-8", "");
}

static int refuse_anchor(struct load *l, const void *anchor, const void *tag)
{
	if (anchor)
		return bad(l, "anchors (&name) are not taken", "write the value out");
	if (tag)
		return bad(l, "tags (!name) are not taken", "leave the tag out; put texts into quotes");
	return 0;
}

static int load_node(struct load *l, json_t **out);

static int load_sequence(struct load *l, json_t *array)
{
	for (;;) {
		json_t *item = NULL;
		int r = next_event(l);

		if (r || l->ev.type == YAML_SEQUENCE_END_EVENT)
			return r;
		r = load_node(l, &item);
		if (r)
			return r;
		json_array_append_new(array, item);
	}
}

static int load_mapping(struct load *l, json_t *object)
{
	for (;;) {
		AUTO_FREE char *key = NULL;
		json_t *value = NULL;
		int r = next_event(l);

		if (r || l->ev.type == YAML_MAPPING_END_EVENT)
			return r;
		if (l->ev.type != YAML_SCALAR_EVENT)
			return bad(l, "a key must be a text", "");
		r = refuse_anchor(l, l->ev.data.scalar.anchor, l->ev.data.scalar.tag);
		if (r)
			return r;
		key = strdup((const char *)l->ev.data.scalar.value);
		assert(key);
		if (strlen(key) != l->ev.data.scalar.length)
			return bad(l, "a zero byte in a key", "");
		if (json_object_get(object, key))
			return bad(l, "the key stands twice in one mapping", "");
		r = next_event(l);
		if (!r)
			r = load_node(l, &value);
		if (r)
			return r;
		if (json_object_set_new(object, key, value))
			return bad(l, "a key that is not UTF-8", "");
	}
}

static int load_node(struct load *l, json_t **out)
{
	int r;

	switch (l->ev.type) {
	case YAML_SCALAR_EVENT:
		r = refuse_anchor(l, l->ev.data.scalar.anchor, l->ev.data.scalar.tag);
		return r ? r : load_scalar(l, out);
	case YAML_SEQUENCE_START_EVENT:
		r = refuse_anchor(l, l->ev.data.sequence_start.anchor, l->ev.data.sequence_start.tag);
		break;
	case YAML_MAPPING_START_EVENT:
		r = refuse_anchor(l, l->ev.data.mapping_start.anchor, l->ev.data.mapping_start.tag);
		break;
	default:
		return bad(l, "aliases (*name) are not taken", "write the value out");
	}
	if (r)
		return r;
	if (++l->depth > MAX_DEPTH)
		return bad(l, "nested deeper than 64 levels", "");
	if (l->ev.type == YAML_SEQUENCE_START_EVENT) {
		*out = json_array();
		r = load_sequence(l, *out);
	} else {
		*out = json_object();
		r = load_mapping(l, *out);
	}
	l->depth--;
	if (r) {
		json_wipe(*out);
		*out = NULL;
	}
	return r;
}

static bool is_empty_document(const yaml_event_t *ev)
{
	return ev->type == YAML_SCALAR_EVENT && ev->data.scalar.length == 0 &&
	       ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !ev->data.scalar.tag &&
	       !ev->data.scalar.anchor;
}

/* The event is a document's start. */
static int load_document(struct load *l, json_t *docs)
{
	json_t *doc = NULL;
	int r = next_event(l);

	if (r)
		return r;
	if (!is_empty_document(&l->ev)) {
		r = load_node(l, &doc);
		if (r)
			return r;
		json_array_append_new(docs, doc);
	}
	return next_event(l); /* its end */
}

int yaml_load_all(const char *text, size_t len, const char *what, json_t **docs, struct pcg_error *err)
{
	struct load l = { .what = what, .err = err };
	json_t *all = json_array();
	int r, ok = yaml_parser_initialize(&l.parser);

	assert(ok && all);
	*docs = NULL;
	yaml_parser_set_input_string(&l.parser, (const unsigned char *)text, len);
	do {
		r = next_event(&l);
		if (!r && l.ev.type == YAML_DOCUMENT_START_EVENT)
			r = load_document(&l, all);
	} while (!r && l.ev.type != YAML_STREAM_END_EVENT);
	yaml_event_delete(&l.ev);
	yaml_parser_delete(&l.parser);
	if (r)
		json_wipe(all);
	else
		*docs = all;
	return r;
}

int yaml_load_one(const char *text, size_t len, const char *what, json_t **doc, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	int r;

	*doc = NULL;
	r = yaml_load_all(text, len, what, &docs, err);
	if (r)
		return r;
	if (json_array_size(docs) != 1)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s: %zu YAML documents, exactly one is taken",
				what, json_array_size(docs));
	*doc = json_incref(json_array_get(docs, 0));
	return 0;
}

static int write_out(void *data, unsigned char *bytes, size_t len)
{
	return buf_add(data, bytes, len) == 0;
}

/* Texts that some reader, of YAML 1.1 or 1.2, takes for a null, a boolean or a merge. */
static bool is_word(const char *s)
{
	static const char *const words[] = { "~", "null", "true", "false", "yes", "no", "on", "off",
					     "y", "n", "=", "<<", NULL };

	for (int i = 0; words[i]; i++)
		if (!strcasecmp(s, words[i]))
			return true;
	return false;
}

/* Numbers in every notation, and dates and times: none of them has another letter in it. */
static bool looks_numeric(const char *s)
{
	if (!isdigit((unsigned char)*s) && !strchr("+-.", *s))
		return false;
	return s[strspn(s, "0123456789abcdefABCDEFxXoOiInNpPtTzZ_+-.,: ")] == 0;
}

static bool literal_is_exact(const char *s, size_t len)
{
	if (!memchr(s, '\n', len) || isspace((unsigned char)s[0]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] != '\n' && (s[i] < ' ' || s[i] > '~'))
			return false;
	return true;
}

static yaml_scalar_style_t choose_style(const char *s, size_t len, bool is_key)
{
	bool ascii = true, control = false;

	if (!is_key && literal_is_exact(s, len))
		return YAML_LITERAL_SCALAR_STYLE;
	for (size_t i = 0; i < len; i++) {
		ascii &= s[i] > 0;
		control |= (s[i] >= 0 && s[i] < ' ') || s[i] == 0x7f;
	}
	if (control || !ascii)
		return YAML_DOUBLE_QUOTED_SCALAR_STYLE;
	if (len == 0 || is_word(s) || looks_numeric(s))
		return YAML_SINGLE_QUOTED_SCALAR_STYLE;
	return YAML_PLAIN_SCALAR_STYLE;
}

static bool emit_scalar(yaml_emitter_t *e, const char *s, size_t len, yaml_scalar_style_t style)
{
	yaml_event_t ev;

	return yaml_scalar_event_initialize(&ev, NULL, NULL, (const unsigned char *)s, (int)len, 1, 1,
					    style) &&
	       yaml_emitter_emit(e, &ev);
}

static bool emit_text(yaml_emitter_t *e, const char *s, size_t len, bool is_key)
{
	return len <= INT32_MAX && emit_scalar(e, s, len, choose_style(s, len, is_key));
}

/* The shortest form that reads back the same, with the point that readers of 1.1 need. */
static bool emit_real(yaml_emitter_t *e, const json_t *j)
{
	char text[64];
	size_t n = 0, mantissa;

	for (int precision = 15; precision <= 17; precision++) {
		AUTO_FREE char *s = json_dumps(j, JSON_ENCODE_ANY | JSON_REAL_PRECISION(precision));

		assert(s && strlen(s) < sizeof(text) - 4);
		mantissa = strcspn(s, "eE");
		n = (size_t)snprintf(text, sizeof(text), "%.*s%s%s%s%s", (int)mantissa, s,
				     memchr(s, '.', mantissa) ? "" : ".0", s[mantissa] ? "e" : "",
				     s[mantissa] && isdigit((unsigned char)s[mantissa + 1]) ? "+" : "",
				     s[mantissa] ? s + mantissa + 1 : "");
		if (strtod(text, NULL) == json_real_value(j))
			break;
	}
	return emit_scalar(e, text, n, YAML_PLAIN_SCALAR_STYLE);
}

static bool emit_node(yaml_emitter_t *e, const json_t *j, int depth);

static bool emit_array(yaml_emitter_t *e, const json_t *j, int depth)
{
	yaml_event_t ev;
	size_t i;
	json_t *item;

	if (!yaml_sequence_start_event_initialize(&ev, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE) ||
	    !yaml_emitter_emit(e, &ev))
		return false;
	json_array_foreach(j, i, item)
		if (!emit_node(e, item, depth + 1))
			return false;
	return yaml_sequence_end_event_initialize(&ev) && yaml_emitter_emit(e, &ev);
}

static bool emit_object(yaml_emitter_t *e, const json_t *j, int depth)
{
	yaml_event_t ev;
	const char *key;
	json_t *item;

	if (!yaml_mapping_start_event_initialize(&ev, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) ||
	    !yaml_emitter_emit(e, &ev))
		return false;
	json_object_foreach((json_t *)(uintptr_t)j, key, item)
		if (!emit_text(e, key, strlen(key), true) || !emit_node(e, item, depth + 1))
			return false;
	return yaml_mapping_end_event_initialize(&ev) && yaml_emitter_emit(e, &ev);
}

static bool emit_node(yaml_emitter_t *e, const json_t *j, int depth)
{
	char num[24];

	switch (json_typeof(j)) {
	case JSON_OBJECT:
		return depth < MAX_DEPTH && emit_object(e, j, depth);
	case JSON_ARRAY:
		return depth < MAX_DEPTH && emit_array(e, j, depth);
	case JSON_STRING:
		return emit_text(e, json_string_value(j), json_string_length(j), false);
	case JSON_REAL:
		return emit_real(e, j);
	case JSON_INTEGER:
		snprintf(num, sizeof(num), "%lld", (long long)json_integer_value(j));
		return emit_scalar(e, num, strlen(num), YAML_PLAIN_SCALAR_STYLE);
	case JSON_TRUE:
		return emit_scalar(e, "true", 4, YAML_PLAIN_SCALAR_STYLE);
	case JSON_FALSE:
		return emit_scalar(e, "false", 5, YAML_PLAIN_SCALAR_STYLE);
	default:
		return emit_scalar(e, "null", 4, YAML_PLAIN_SCALAR_STYLE);
	}
}

static bool emit_document(yaml_emitter_t *e, const json_t *doc, bool mark)
{
	yaml_event_t ev;

	return yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, !mark) &&
	       yaml_emitter_emit(e, &ev) && emit_node(e, doc, 0) &&
	       yaml_document_end_event_initialize(&ev, 1) && yaml_emitter_emit(e, &ev);
}

static int dump(const json_t *const *docs, size_t n, struct buf *out, struct pcg_error *err)
{
	yaml_emitter_t e;
	yaml_event_t ev;
	bool ok = yaml_emitter_initialize(&e);

	assert(ok);
	yaml_emitter_set_output(&e, write_out, out);
	yaml_emitter_set_unicode(&e, 1);
	yaml_emitter_set_width(&e, -1);
	ok = yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING) && yaml_emitter_emit(&e, &ev);
	for (size_t i = 0; ok && i < n; i++)
		ok = emit_document(&e, docs[i], i > 0);
	ok = ok && yaml_stream_end_event_initialize(&ev) && yaml_emitter_emit(&e, &ev);
	yaml_emitter_delete(&e);
	if (out->overflow)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "writing YAML: longer than the limit of %zu bytes",
				out->max);
	if (!ok)
		return pcg_fail(err, PCG_CLASS_BUG, "",
				"writing YAML: nested deeper than %d levels, or refused by libyaml", MAX_DEPTH);
	return 0;
}

int yaml_dump(const json_t *doc, struct buf *out, struct pcg_error *err)
{
	return dump(&doc, 1, out, err);
}

int yaml_dump_all(const json_t *docs, struct buf *out, struct pcg_error *err)
{
	size_t n = json_array_size(docs);
	AUTO_FREE const json_t **list = calloc(n + 1, sizeof(*list));

	assert(list);
	for (size_t i = 0; i < n; i++)
		list[i] = json_array_get(docs, i);
	return dump(list, n, out, err);
}
