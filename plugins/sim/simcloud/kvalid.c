/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kvalid.h"

#include "core/base64.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static int kvalid_fail(struct pcg_error *err, const char *field, const char *what)
{
	return pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s: %s", field, what);
}

static bool kvalid_dns(const char *s, size_t max, bool dots)
{
	size_t len = strlen(s);

	if (!len || len > max || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[len - 1]))
		return false;
	for (; *s; s++)
		if (!(islower((unsigned char)*s) || isdigit((unsigned char)*s) || *s == '-' || (dots && *s == '.')))
			return false;
	return true;
}

static int kvalid_metadata(const struct kres *r, const json_t *obj, struct pcg_error *err)
{
	const char *name = kstore_name(obj), *key;
	bool rbac = strcmp(r->group, "rbac.authorization.k8s.io") == 0;
	json_t *v;
	size_t i;

	if (!name)
		return kvalid_fail(err, "metadata.name", "Required value: name or generateName is required");
	if (rbac ? !*name || strpbrk(name, "/%") :
		   !kvalid_dns(name, 253, strcmp(r->plural, "namespaces") && strcmp(r->plural, "services")))
		return kvalid_fail(err, "metadata.name", "Invalid value: a lowercase RFC 1123 subdomain must consist of "
				   "lower case alphanumeric characters, '-' or '.', and must start and end with an "
				   "alphanumeric character");
	json_object_foreach(json_at(obj, "metadata.labels"), key, v)
		if (!json_is_string(v) || json_string_length(v) > 63)
			return kvalid_fail(err, "metadata.labels", "Invalid value: must be a text of at most 63 characters");
	json_object_foreach(json_at(obj, "metadata.annotations"), key, v)
		if (!json_is_string(v))
			return kvalid_fail(err, "metadata.annotations", "Invalid value: must be text");
	json_array_foreach(json_at(obj, "metadata.ownerReferences"), i, v) {
		static const char *const needed[] = { "apiVersion", "kind", "name", "uid" };

		for (size_t n = 0; n < ARRAY_LEN(needed); n++)
			if (!*json_str_or(v, needed[n], ""))
				return kvalid_fail(err, "metadata.ownerReferences", "Required value: apiVersion, kind, name and "
						   "uid must not be empty");
	}
	return 0;
}

static int kvalid_crd(const json_t *crd, struct pcg_error *err)
{
	static const char *const needed[] = { "spec.group", "spec.scope", "spec.names.kind", "spec.names.plural" };
	AUTO_FREE char *name = NULL;
	size_t stored = 0, i;
	json_t *v;

	for (i = 0; i < ARRAY_LEN(needed); i++)
		if (!*json_str_or(crd, needed[i], ""))
			return kvalid_fail(err, needed[i], "Required value");
	if (strcmp(json_str(crd, "spec.scope"), "Namespaced") && strcmp(json_str(crd, "spec.scope"), "Cluster"))
		return kvalid_fail(err, "spec.scope", "Unsupported value: supported values: \"Cluster\", \"Namespaced\"");
	if (asprintf(&name, "%s.%s", json_str(crd, "spec.names.plural"), json_str(crd, "spec.group")) < 0)
		abort();
	if (strcmp(name, kstore_name(crd)) != 0)
		return kvalid_fail(err, "metadata.name", "Invalid value: must be spec.names.plural+\".\"+spec.group");
	json_array_foreach(json_at(crd, "spec.versions"), i, v) {
		stored += json_bool_or(v, "storage", false);
		if (!json_at(v, "schema.openAPIV3Schema"))
			return kvalid_fail(err, "spec.versions.schema.openAPIV3Schema",
					   "Required value: schemas are required");
	}
	return stored == 1 ? 0 : kvalid_fail(err, "spec.versions", "Invalid value: must have exactly one version marked as "
					     "storage version");
}

static int kvalid_workload(const json_t *obj, struct pcg_error *err)
{
	const json_t *selector = json_at(obj, "spec.selector");

	if (!json_is_object(selector))
		return kvalid_fail(err, "spec.selector", "Required value");
	if (!kselect_object(selector, json_at(obj, "spec.template.metadata.labels")))
		return kvalid_fail(err, "spec.template.metadata.labels", "Invalid value: `selector` does not match template "
				   "`labels`");
	if (!json_array_size(json_at(obj, "spec.template.spec.containers")))
		return kvalid_fail(err, "spec.template.spec.containers", "Required value");
	return 0;
}

static int kvalid_secret(const json_t *obj, struct pcg_error *err)
{
	const char *key;
	json_t *v;

	json_object_foreach(json_object_get(obj, "data"), key, v) {
		size_t len;
		AUTO_FREE uint8_t *raw = json_is_string(v) ? base64_decode(json_string_value(v),
									   json_string_length(v), &len) : NULL;

		if (!raw)
			return kvalid_fail(err, "data", "illegal base64 data");
	}
	return 0;
}

static bool kvalid_type(const char *type, const json_t *v)
{
	return !*type || (strcmp(type, "object") == 0 && json_is_object(v)) ||
	       (strcmp(type, "array") == 0 && json_is_array(v)) ||
	       (strcmp(type, "string") == 0 && json_is_string(v)) ||
	       (strcmp(type, "integer") == 0 && json_is_integer(v)) ||
	       (strcmp(type, "number") == 0 && json_is_number(v)) ||
	       (strcmp(type, "boolean") == 0 && json_is_boolean(v));
}

static int kvalid_schema(const json_t *schema, json_t *v, const char *path, bool root, struct pcg_error *err);

static int kvalid_object(const json_t *schema, json_t *v, const char *path, bool root, struct pcg_error *err)
{
	json_t *props = json_object_get(schema, "properties"), *extra = json_object_get(schema, "additionalProperties");
	bool keep = json_bool_or(schema, "x-kubernetes-preserve-unknown-fields", false) || json_is_true(extra) ||
		    json_bool_or(schema, "x-kubernetes-embedded-resource", false);
	json_t *member, *sub;
	const char *key;
	void *tmp;
	size_t i;

	json_object_foreach(props, key, sub)
		if (!json_object_get(v, key) && json_object_get(sub, "default"))
			json_object_set_new(v, key, json_deep_copy(json_object_get(sub, "default")));
	json_object_foreach_safe(v, tmp, key, member) {
		AUTO_FREE char *where = NULL;
		int r;

		if (root && (!strcmp(key, "metadata") || !strcmp(key, "apiVersion") || !strcmp(key, "kind")))
			continue;
		sub = json_object_get(props, key);
		if (!sub && json_is_object(extra))
			sub = extra;
		if (!sub) {
			if (!keep)
				json_object_del(v, key);
			continue;
		}
		if (asprintf(&where, "%s%s%s", path, *path ? "." : "", key) < 0)
			abort();
		r = kvalid_schema(sub, member, where, false, err);
		if (r)
			return r;
	}
	json_array_foreach(json_object_get(schema, "required"), i, member)
		if (!json_object_get(v, json_string_value(member)))
			return pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s%s%s: Required value", path, *path ? "." : "",
					json_string_value(member));
	return 0;
}

static int kvalid_schema(const json_t *schema, json_t *v, const char *path, bool root, struct pcg_error *err)
{
	json_t *list = json_object_get(schema, "enum"), *e;
	bool in = !list;
	size_t i;
	int r;

	if (json_is_null(v) || json_bool_or(schema, "x-kubernetes-int-or-string", false))
		return 0;
	if (!kvalid_type(json_str_or(schema, "type", ""), v))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s: Invalid value: must be of type %s", path,
				json_str_or(schema, "type", ""));
	json_array_foreach(list, i, e)
		in = in || json_equal(e, v);
	if (!in)
		return kvalid_fail(err, path, "Unsupported value");
	if (json_is_object(v))
		return kvalid_object(schema, v, path, root, err);
	e = json_object_get(schema, "items");
	json_array_foreach(v, i, list) {
		r = e ? kvalid_schema(e, list, path, false, err) : 0;
		if (r)
			return r;
	}
	return 0;
}

static int kvalid_custom(struct kapi *k, const struct kres *r, json_t *obj, struct pcg_error *err)
{
	AUTO_FREE char *name = NULL;
	const json_t *crd;
	json_t *v;
	size_t i;

	if (asprintf(&name, "%s.%s", r->plural, r->group) < 0)
		abort();
	crd = kstore_get(kres_find(k, "apiextensions.k8s.io", "customresourcedefinitions"), NULL, name);
	json_array_foreach(json_at(crd, "spec.versions"), i, v)
		if (strcmp(json_str_or(v, "name", ""), r->version) == 0)
			return kvalid_schema(json_at(v, "schema.openAPIV3Schema"), obj, "", true, err);
	return 0;
}

int kvalid_check(struct kapi *k, const struct kres *r, json_t *obj, struct pcg_error *err)
{
	int rc = kvalid_metadata(r, obj, err);

	if (rc)
		return rc;
	if (!r->builtin)
		return kvalid_custom(k, r, obj, err);
	if (strcmp(r->plural, "customresourcedefinitions") == 0)
		return kvalid_crd(obj, err);
	if (strcmp(r->plural, "secrets") == 0)
		return kvalid_secret(obj, err);
	if (strcmp(r->group, "apps") == 0)
		return kvalid_workload(obj, err);
	return 0;
}
