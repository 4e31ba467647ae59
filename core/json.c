/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/json.h"
#include "core/secret.h"
#include "core/utf8.h"

#include <assert.h>
#include <string.h>

#define MAX_BYTES ((size_t)64 << 20)
/* What does not fit is written a second time: recovery documents fit. */
#define TEXT_ROOM 32768

/* The quote that ends the string that begins at p; NULL: none does. */
static const char *string_end(const char *p, const char *end)
{
	const char *quote;

	while ((quote = memchr(p, '"', (size_t)(end - p)))) {
		const char *slash = quote;

		while (slash > p && slash[-1] == '\\')
			slash--;
		if ((quote - slash) % 2 == 0)
			return quote;
		p = quote + 1;
	}
	return NULL;
}

/* How many levels the text opens; of one that is no JSON any number. */
static int depth_of(const char *text, size_t len)
{
	const char *end = text + len, *quote;
	int depth = 0, most = 0;

	for (; text < end; text++) {
		char c = *text;

		if (c == '"') {
			quote = string_end(text + 1, end);
			if (!quote)
				return most;
			text = quote;
		} else if (c == '{' || c == '[') {
			if (++depth > most)
				most = depth;
		} else if (c == '}' || c == ']') {
			depth--;
		}
	}
	return most;
}

int json_parse(const char *text, size_t len, const char *what, json_t **out, struct pcg_error *err)
{
	return json_parse_within(text, len, JSON_DEPTH_MAX, what, out, err);
}

int json_parse_within(const char *text, size_t len, int max_depth, const char *what, json_t **out,
		      struct pcg_error *err)
{
	json_error_t je;
	char *near;
	int depth;

	*out = NULL;
	if (len > MAX_BYTES)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s: %zu bytes of JSON, allowed are %zu",
				what, len, MAX_BYTES);
	/* jansson allows 2048 levels (and can be built with others), too many for recursion over them. */
	depth = depth_of(text, len);
	if (depth > max_depth)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s: JSON nested deeper than %d levels: %d", what,
				max_depth, depth);
	*out = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
	if (*out)
		return 0;
	/* What follows is a piece of the document, which may hold a secret. */
	near = strstr(je.text, " near ");
	if (near)
		*near = 0;
	return pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s: not JSON: line %d, column %d: %s", what,
			je.line, je.column, je.text);
}

/* The step of a path up to the next dot; returns what follows, NULL at the end. */
static const char *path_step(const char *path, size_t *len)
{
	const char *dot = strchr(path, '.');

	*len = dot ? (size_t)(dot - path) : strlen(path);
	return dot ? dot + 1 : NULL;
}

static bool step_index(const char *step, size_t len, size_t *index)
{
	size_t v = 0;

	if (len == 0 || len > 9)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (step[i] < '0' || step[i] > '9')
			return false;
		v = v * 10 + (size_t)(step[i] - '0');
	}
	*index = v;
	return true;
}

static json_t *get_step(const json_t *at, const char *step, size_t len)
{
	char key[256];
	size_t index;

	if (json_is_array(at))
		return step_index(step, len, &index) ? json_array_get(at, index) : NULL;
	if (!json_is_object(at) || len >= sizeof(key))
		return NULL;
	memcpy(key, step, len);
	key[len] = 0;
	return json_object_get(at, key);
}

json_t *json_at(const json_t *root, const char *path)
{
	const json_t *at = root;

	while (at && path) {
		size_t len;
		const char *next = path_step(path, &len);

		at = get_step(at, path, len);
		path = next;
	}
	return (json_t *)(uintptr_t)at;
}

const char *json_str(const json_t *root, const char *path)
{
	return json_string_value(json_at(root, path));
}

const char *json_str_or(const json_t *root, const char *path, const char *def)
{
	const char *s = json_str(root, path);

	return s ? s : def;
}

int64_t json_int_or(const json_t *root, const char *path, int64_t def)
{
	const json_t *j = json_at(root, path);

	return json_is_integer(j) ? (int64_t)json_integer_value(j) : def;
}

bool json_bool_or(const json_t *root, const char *path, bool def)
{
	const json_t *j = json_at(root, path);

	return json_is_boolean(j) ? json_is_true(j) : def;
}

static bool takes_step(const json_t *at, const char *step, size_t len)
{
	size_t index;

	if (json_is_array(at))
		return step_index(step, len, &index) && index <= json_array_size(at);
	return json_is_object(at);
}

static void set_step(json_t *at, const char *step, size_t len, json_t *value)
{
	char key[256];
	size_t index = 0;
	int r;

	assert(takes_step(at, step, len));
	if (json_is_array(at)) {
		step_index(step, len, &index);
		r = index == json_array_size(at) ? json_array_append_new(at, value) :
						   json_array_set_new(at, index, value);
	} else {
		assert(len < sizeof(key));
		memcpy(key, step, len);
		key[len] = 0;
		r = json_object_set_new(at, key, value);
	}
	assert(r == 0);
}

void json_put(json_t *root, const char *path, json_t *value)
{
	json_t *at = root;

	if (!value)
		value = json_null();
	for (;;) {
		size_t len, next_len;
		const char *next = path_step(path, &len);
		json_t *child;

		if (!next) {
			set_step(at, path, len, value);
			return;
		}
		child = get_step(at, path, len);
		path_step(next, &next_len);
		if (!takes_step(child, next, next_len)) {
			child = json_object();
			set_step(at, path, len, child);
		}
		at = child;
		path = next;
	}
}

void json_put_str(json_t *root, const char *path, const char *value)
{
	json_t *s;

	if (!value)
		return;
	s = json_string(value);
	if (!s) {
		AUTO_FREE char *repaired = utf8_repair(value, strlen(value));

		s = json_string(repaired);
		assert(s);
	}
	json_put(root, path, s);
}

void json_add(json_t *list, json_t *value)
{
	int r = json_array_append_new(list, value);

	assert(r == 0);
}

static int deeper(int below, const json_t *child)
{
	int depth = json_depth(child);

	return depth > below ? depth : below;
}

int json_depth(const json_t *j)
{
	const char *key;
	json_t *child;
	size_t i;
	int below = 0;

	if (!json_is_object(j) && !json_is_array(j))
		return 0;
	json_object_foreach((json_t *)(uintptr_t)j, key, child)
		below = deeper(below, child);
	json_array_foreach(j, i, child)
		below = deeper(below, child);
	return below + 1;
}

char *json_text(const json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : strdup("null");

	assert(text);
	return text;
}

char *json_text_secret(const json_t *j, size_t *len)
{
	char room[TEXT_ROOM], *text;
	size_t n = json_dumpb(j, room, sizeof(room), JSON_COMPACT | JSON_ENCODE_ANY);

	assert(n > 0);
	text = malloc(n + 1);
	assert(text);
	if (n <= sizeof(room))
		memcpy(text, room, n);
	else if (json_dumpb(j, text, n, JSON_COMPACT | JSON_ENCODE_ANY) != n)
		abort();
	secret_wipe(room, n < sizeof(room) ? n : sizeof(room));
	text[n] = 0;
	if (len)
		*len = n;
	return text;
}

char *json_text_large(const json_t *j, size_t room, size_t *len)
{
	char *text = malloc(room);
	size_t n;

	assert(text && room);
	n = json_dumpb(j, text, room - 1, JSON_COMPACT | JSON_ENCODE_ANY);
	assert(n > 0);
	if (n >= room) {
		secret_wipe(text, room);
		free(text);
		return json_text_large(j, n + 1, len);
	}
	text[n] = 0;
	*len = n;
	return text;
}

json_t *json_from_error(const struct pcg_error *err)
{
	json_t *j = json_object();

	json_put_str(j, "class", pcg_class_name(err->class));
	json_put_str(j, "text", err->text);
	json_put_str(j, "remedy", err->remedy);
	return j;
}

void json_to_error(const json_t *j, struct pcg_error *err)
{
	enum pcg_class class;

	if (!pcg_class_parse(json_str(j, "class"), &class))
		class = PCG_CLASS_BUG;
	pcg_fail(err, class, json_str_or(j, "remedy", ""), "%s",
		 json_str_or(j, "text", "an error without a text"));
}

/* Shared parts stay: their other holder still reads them. */
static void wipe_below(json_t *j)
{
	const char *key;
	json_t *child;
	size_t i;

	if (!j || j->refcount != 1)
		return;
	if (json_is_string(j)) {
		secret_wipe((char *)(uintptr_t)json_string_value(j), json_string_length(j));
	} else if (json_is_array(j)) {
		json_array_foreach(j, i, child)
			wipe_below(child);
	} else if (json_is_object(j)) {
		json_object_foreach(j, key, child)
			wipe_below(child);
	}
}

void json_wipe(json_t *j)
{
	wipe_below(j);
	json_decref(j);
}
