/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/compare.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define PATH_MAX_LEN 512

struct place {
	char path[PATH_MAX_LEN];
	size_t len;
	bool object; /* of an API: what servers and controllers write is left out */
};

static size_t enter(struct place *at, const char *sep, const char *name)
{
	size_t before = at->len;
	int n = snprintf(at->path + at->len, sizeof(at->path) - at->len, "%s%s", sep, name);

	at->len +=
		(size_t)n < sizeof(at->path) - at->len ? (size_t)n : sizeof(at->path) - 1 - at->len;
	return before;
}

static void leave(struct place *at, size_t before)
{
	at->len = before;
	at->path[before] = '\0';
}

static bool contains(const json_t *want, const json_t *got, struct place *at);

static bool is_left_out(const struct place *at, const char *key)
{
	if (strcmp(key, "lastTransitionTime") == 0)
		return true;
	if (!at->object)
		return false;
	return at->len == 0 ? strcmp(key, "status") == 0
			    : strcmp(at->path, "metadata") == 0 && (strcmp(key, "ownerReferences") == 0 ||
								    strcmp(key, "finalizers") == 0);
}

static bool contains_members(const json_t *want, const json_t *got, struct place *at)
{
	const char *key;
	json_t *value;

	if (!json_is_object(got))
		return json_object_size(want) == 0 && !got;
	json_object_foreach ((json_t *)want, key, value) {
		size_t before;

		if (is_left_out(at, key) || json_is_null(value))
			continue;
		before = enter(at, at->len ? "." : "", key);
		if (!contains(value, json_object_get(got, key), at))
			return false;
		leave(at, before);
	}
	return true;
}

static bool contains_items(const json_t *want, const json_t *got, struct place *at)
{
	size_t i;
	json_t *value;

	if (!json_is_array(got) || json_array_size(got) != json_array_size(want))
		return false;
	json_array_foreach (want, i, value) {
		char index[24];
		size_t before;

		snprintf(index, sizeof(index), "[%zu]", i);
		before = enter(at, "", index);
		if (!contains(value, json_array_get(got, i), at))
			return false;
		leave(at, before);
	}
	return true;
}

static bool contains(const json_t *want, const json_t *got, struct place *at)
{
	switch (json_typeof(want)) {
	case JSON_OBJECT:
		return contains_members(want, got, at);
	case JSON_ARRAY:
		return contains_items(want, got, at);
	case JSON_FALSE: /* a false that is the default is left out by servers */
		return !got || json_is_false(got);
	default:
		return got && json_equal((json_t *)want, (json_t *)got);
	}
}

static char *compare(const json_t *want, const json_t *got, bool object)
{
	struct place at = {.object = object};
	char *path;

	if (contains(want, got, &at))
		return NULL;
	path = strdup(at.len ? at.path : ".");
	assert(path);
	return path;
}

char *compare_contains(const json_t *want, const json_t *got)
{
	return compare(want, got, false);
}

char *compare_object(const json_t *want, const json_t *got)
{
	return compare(want, got, true);
}
