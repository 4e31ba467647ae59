/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/policy/policy_impl.h"

#include <string.h>

enum shape { S_BOOL, S_TEXT, S_TEXTS, S_CHANGES, S_CERTIFICATES, S_FILES };

static const char *const shape_docs[] = { "true or false", "text", "a list of texts",
					  "a table of path = value",
					  "a list of {name = text, pem = text}",
					  "a list of {path, content, owner, permissions}" };

static const struct field {
	const char *hook, *name;
	enum shape shape;
} fields[] = {
	{ "admission", "allow", S_BOOL },
	{ "admission", "reason", S_TEXT },
	{ "admission", "change", S_CHANGES },
	{ "ca_bundle", "certificates", S_CERTIFICATES },
	{ "proxy", "httpProxy", S_TEXT },
	{ "proxy", "httpsProxy", S_TEXT },
	{ "proxy", "noProxy", S_TEXTS },
	{ "node_bootstrap", "files", S_FILES },
	{ "node_bootstrap", "preKubeadmCommands", S_TEXTS },
	{ "node_bootstrap", "postKubeadmCommands", S_TEXTS },
};

/* What names a cluster, or who owns it, is not a policy's to change. */
static const char *const fixed[] = { "uid",	"name",	     "tenant",	 "tenantName", "project",
				     "projectName", "generation", "desired", "cloudType",
				     "account", "problems",  "recovery" };

bool policy_hook_known(const char *hook)
{
#define X(id, input, result)                                                                       \
	if (!strcmp(hook, #id))                                                                    \
		return true;
	POLICY_HOOKS(X)
#undef X
	return false;
}

static const struct field *find(const char *hook, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (!strcmp(fields[i].hook, hook) && !strcmp(fields[i].name, name))
			return &fields[i];
	return NULL;
}

static bool all_texts(const json_t *list)
{
	size_t i;
	json_t *v;

	json_array_foreach(list, i, v)
		if (!json_is_string(v))
			return false;
	return true;
}

static bool objects_of_texts(const json_t *list, const char *const *needed,
			     const char *const *allowed)
{
	size_t i, k;
	json_t *o, *v;
	const char *key;

	json_array_foreach(list, i, o) {
		if (!json_is_object(o))
			return false;
		for (k = 0; needed[k]; k++)
			if (!json_str(o, needed[k]))
				return false;
		json_object_foreach(o, key, v) {
			for (k = 0; allowed[k] && strcmp(allowed[k], key); k++)
				;
			if (!allowed[k] || !json_is_string(v))
				return false;
		}
	}
	return true;
}

static bool changes_allowed(const json_t *changes)
{
	const char *path;
	json_t *v;

	json_object_foreach((json_t *)changes, path, v)
		for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
			size_t n = strlen(fixed[i]);

			if (!strncmp(path, fixed[i], n) && (!path[n] || path[n] == '.'))
				return false;
		}
	return true;
}

static bool fits(enum shape shape, const json_t *v)
{
	static const char *const cert[] = { "name", "pem", NULL };
	static const char *const file_needed[] = { "path", "content", NULL };
	static const char *const file[] = { "path", "content", "owner", "permissions", NULL };

	switch (shape) {
	case S_BOOL:
		return json_is_boolean(v);
	case S_TEXT:
		return json_is_string(v);
	case S_TEXTS:
		return json_is_array(v) && all_texts(v);
	case S_CHANGES:
		return json_is_object(v) && changes_allowed(v);
	case S_CERTIFICATES:
		return json_is_array(v) && objects_of_texts(v, cert, cert);
	default:
		return json_is_array(v) && objects_of_texts(v, file_needed, file);
	}
}

/* An empty Lua table may be a list or a record: the hook's field decides. */
static void settle_empty(const char *hook, json_t *result)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		json_t *v = json_object_get(result, fields[i].name);

		if (strcmp(fields[i].hook, hook) || !v)
			continue;
		if (fields[i].shape == S_CHANGES && json_is_array(v) && !json_array_size(v))
			json_object_set_new(result, fields[i].name, json_object());
		if (fields[i].shape >= S_TEXTS && fields[i].shape != S_CHANGES &&
		    json_is_object(v) && !json_object_size(v))
			json_object_set_new(result, fields[i].name, json_array());
	}
}

int policy_schema_check(const char *hook, json_t *result, struct pcg_error *err)
{
	const char *key;
	json_t *v;

	if (!json_is_object(result) && !(json_is_array(result) && !json_array_size(result)))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "return a table, or nothing",
				"the result is not a table");
	settle_empty(hook, result);
	json_object_foreach(result, key, v) {
		const struct field *f = find(hook, key);

		if (!f)
			return pcg_fail(err, PCG_CLASS_PERMANENT,
					"leave it out; docs/policy.md lists what a hook may return",
					"the result has a field \"%s\" that is not known", key);
		if (!fits(f->shape, v))
			return pcg_fail(err, PCG_CLASS_PERMANENT,
					"correct the script; docs/policy.md lists what a hook may "
					"return",
					"the result's field \"%s\" is not %s%s", key,
					shape_docs[f->shape],
					f->shape == S_CHANGES ? ", or it changes what names a cluster"
							      : "");
	}
	return 0;
}

static void extend(json_t *total, const char *key, const json_t *more)
{
	json_t *list = json_object_get(total, key);

	if (!list) {
		list = json_array();
		json_object_set_new(total, key, list);
	}
	json_array_extend(list, (json_t *)more);
}

static void merge_admission(json_t *total, const json_t *result, json_t *input)
{
	json_t *changes = json_object_get(result, "change"), *v;
	json_t *all = json_object_get(total, "change");
	const char *path;

	json_object_set_new(total, "allow", json_boolean(json_bool_or(result, "allow", true)));
	if (json_object_get(result, "reason"))
		json_object_set(total, "reason", json_object_get(result, "reason"));
	if (!all) {
		all = json_object();
		json_object_set_new(total, "change", all);
	}
	json_object_foreach(changes, path, v) {
		json_object_set(all, path, v);
		json_put(input, path, json_deep_copy(v));
	}
}

void policy_merge(const char *hook, json_t *total, const json_t *result, json_t *input)
{
	const char *key;
	json_t *v;

	if (!strcmp(hook, "admission")) {
		merge_admission(total, result, input);
		return;
	}
	json_object_foreach((json_t *)result, key, v) {
		if (!strcmp(hook, "node_bootstrap"))
			extend(total, key, v);
		else
			json_object_set(total, key, v);
		if (!strcmp(hook, "ca_bundle"))
			json_object_set(input, key, v);
	}
	if (!strcmp(hook, "proxy"))
		json_object_set(input, "proxy", total);
}
