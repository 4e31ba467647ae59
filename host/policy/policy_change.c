/* SPDX-License-Identifier: Apache-2.0 */
/* What admission may change in a cluster document, and doing so. The host does it again with what a
 * worker answered, so nothing here may trust a path. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MAX 128
#define STEPS_MAX 16

/* What names a cluster, says who owns it and where it reports to, is not a policy's to change. */
static const char *const fixed[] = {
	"uid",     "name",      "tenant",  "tenantName", "project",  "projectName", "generation",
	"desired", "cloudType", "account", "problems",   "recovery", "planeUrl",    "planeCa"};

static bool is_below(const char *path, const char *above)
{
	size_t n = strlen(above);

	return !strncmp(path, above, n) && path[n] == '.';
}

static const char *type_name(const json_t *v)
{
	if (json_is_object(v))
		return "a record";
	if (json_is_array(v))
		return "a list";
	if (json_is_string(v))
		return "a text";
	return json_is_number(v) ? "a number" : "true or false";
}

static int refuse(struct pcg_error *err, const char *path, const char *why)
{
	return pcg_fail(err, PCG_CLASS_PERMANENT, "docs/policy.md says what admission may change",
			"the change of \"%s\" %s", path, why);
}

/* A copy of the step that path begins with; returns what follows it, NULL after the last. */
static const char *take_step(const char *path, char step[STEP_MAX])
{
	size_t n = strcspn(path, ".");

	if (!n || n >= STEP_MAX)
		step[0] = '\0';
	else
		snprintf(step, STEP_MAX, "%.*s", (int)n, path);
	return path[n] ? path + n + 1 : NULL;
}

static int check_path(const char *path, struct pcg_error *err)
{
	char step[STEP_MAX];
	const char *at = path;

	for (unsigned n = 0; at; n++) {
		at = take_step(at, step);
		if (!step[0] || n == STEPS_MAX)
			return refuse(err, path, "is not a path of names with dots between them");
	}
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		if (!strcmp(path, fixed[i]) || is_below(path, fixed[i]))
			return refuse(err, path,
				      "is not allowed: it names the cluster or its owner");
	return 0;
}

int policy_changes_check(const json_t *changes, struct pcg_error *err)
{
	const char *path, *other;
	json_t *v, *w;

	json_object_foreach ((json_t *)changes, path, v) {
		int r = check_path(path, err);

		if (r)
			return r;
		json_object_foreach ((json_t *)changes, other, w)
			if (is_below(other, path))
				return refuse(err, other,
					      "lies below another change of the same "
					      "result: give the whole of it once");
	}
	return 0;
}

/* NULL: no such element. Lists do not grow by a path. */
static json_t *list_element(const json_t *list, const char *step, size_t *index)
{
	char *end;

	*index = strtoul(step, &end, 10);
	if (*end || step[0] < '0' || step[0] > '9')
		return NULL;
	return json_array_get(list, *index);
}

static json_t *step_into(json_t *at, const char *step)
{
	size_t index;
	json_t *child;

	if (json_is_array(at))
		return list_element(at, step, &index);
	child = json_object_get(at, step);
	if (!child || json_is_null(child)) {
		child = json_object();
		json_object_set_new(at, step, child);
	}
	return child;
}

/* The value in the shape of what it replaces; NULL: it has another. */
static json_t *shaped(const json_t *old, const json_t *value)
{
	if (json_is_array(old) && json_is_object(value) && !json_object_size(value))
		return json_array();
	if (json_is_object(old) && json_is_array(value) && !json_array_size(value))
		return json_object();
	if (old && !json_is_null(old) && strcmp(type_name(old), type_name(value)))
		return NULL;
	return json_deep_copy(value);
}

static int set_last(json_t *at, const char *step, const char *path, const json_t *value,
		    struct pcg_error *err)
{
	size_t index = 0;
	json_t *old =
		json_is_array(at) ? list_element(at, step, &index) : json_object_get(at, step);
	json_t *copy;
	char why[160];

	if (json_is_array(at) && !old)
		return refuse(err, path,
			      "names no element of that list: lists are numbered from 0; "
			      "to make one longer, give all of it");
	copy = shaped(old, value);
	if (!copy) {
		snprintf(why, sizeof(why), "puts %s where %s was", type_name(value),
			 type_name(old));
		return refuse(err, path, why);
	}
	if (json_is_array(at))
		json_array_set_new(at, index, copy);
	else
		json_object_set_new(at, step, copy);
	return 0;
}

static int apply_one(json_t *spec, const char *path, const json_t *value, struct pcg_error *err)
{
	const char *rest = path;
	char step[STEP_MAX];
	json_t *at = spec;
	int r = check_path(path, err);

	if (r)
		return r;
	for (;;) {
		rest = take_step(rest, step);
		if (!json_is_object(at) && !json_is_array(at))
			return refuse(err, path,
				      "leads through what is neither a record nor an "
				      "element of a list");
		if (!rest)
			return set_last(at, step, path, value, err);
		at = step_into(at, step);
	}
}

int policy_changes_apply(json_t *spec, const json_t *changes, struct pcg_error *err)
{
	const char *path;
	json_t *v;
	int r;

	json_object_foreach ((json_t *)changes, path, v) {
		r = apply_one(spec, path, v, err);
		if (r)
			return r;
	}
	return 0;
}

void policy_changes_join(json_t *total, const json_t *more)
{
	const char *path, *old;
	json_t *v, *w;
	void *next;

	json_object_foreach ((json_t *)more, path, v) {
		json_object_foreach_safe (total, next, old, w)
			if (!strcmp(old, path) || is_below(old, path))
				json_object_del(total, old);
		json_object_set(total, path, v);
	}
}
