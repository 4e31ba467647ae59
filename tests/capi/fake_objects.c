/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/fake_api_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 7 /* small, so that every list of any size has several pages */

void fake_violation(struct fake_api *f, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(f->violations, json_string(text));
}

struct answer fake_refuse(int code, const char *reason, const char *message)
{
	return (struct answer){code, json_pack("{s:s,s:s,s:s,s:s,s:s,s:i}", "kind", "Status",
					       "apiVersion", "v1", "status", "Failure", "reason",
					       reason, "message", message, "code", code)};
}

/* ---- rules of the server ---- */

void fake_stamp(struct fake_api *f, json_t *object)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, ++f->version);
	json_put(object, "metadata.resourceVersion", json_string(text));
}

static const char *group_of(const json_t *object)
{
	return json_str_or(object, "apiVersion", "");
}

/* Schemas of v1beta2: no empty object, string or list in a spec or status. Path of the first. */
static bool find_empty(const json_t *v, const char *key, char *where, size_t size)
{
	size_t i;
	json_t *item;
	const char *name;

	if (strcmp(key, "labels") == 0 || strcmp(key, "annotations") == 0 ||
	    strcmp(key, "matchLabels") == 0)
		return false;
	if (((json_is_object(v) && json_object_size(v) == 0) ||
	     (json_is_array(v) && json_array_size(v) == 0 && strcmp(key, "taints")) ||
	     (json_is_string(v) && json_string_length(v) == 0 && strcmp(key, "value")))) {
		snprintf(where, size, "%s", key);
		return true;
	}
	if (json_is_object(v))
		json_object_foreach ((json_t *)v, name, item)
			if (find_empty(item, name, where, size))
				return true;
	if (json_is_array(v))
		json_array_foreach (v, i, item)
			if (find_empty(item, key, where, size))
				return true;
	return false;
}

static bool uid_exists(struct fake_api *f, const char *uid, const char *kind, const char *name)
{
	const char *path;
	json_t *o;

	json_object_foreach (f->objects, path, o)
		if (strcmp(json_str_or(o, "metadata.uid", ""), uid) == 0)
			return strcmp(json_str_or(o, "kind", ""), kind) == 0 &&
			       strcmp(json_str_or(o, "metadata.name", ""), name) == 0;
	return false;
}

/* o as it would stand, written what the client sent for it. */
static bool check_object(struct fake_api *f, const json_t *o, const json_t *written, char *why,
			 size_t size)
{
	char where[128];
	json_t *ref;
	size_t i;

	if (strstr(group_of(o), "cluster.x-k8s.io/v1beta2") &&
	    !strstr(group_of(o), "infrastructure")) {
		json_t *spec = json_object_get(o, "spec");

		if (!spec || find_empty(spec, "spec", where, sizeof(where))) {
			snprintf(why, size, "%s is invalid: %s: empty",
				 json_str_or(o, "metadata.name", "?"), spec ? where : "spec");
			return false;
		}
	}
	json_array_foreach (json_at(written, "metadata.ownerReferences"), i, ref)
		if (!uid_exists(f, json_str_or(ref, "uid", ""), json_str_or(ref, "kind", ""),
				json_str_or(ref, "name", "")))
			fake_violation(f, "%s/%s was written with an owner that is not there: %s",
				  json_str_or(o, "kind", "?"), json_str_or(o, "metadata.name", "?"),
				  json_str_or(ref, "name", "?"));
	return true;
}

void fake_merge(json_t *into, const json_t *patch)
{
	const char *key;
	json_t *v, *have;

	json_object_foreach ((json_t *)patch, key, v) {
		if (json_is_null(v)) {
			json_object_del(into, key);
			continue;
		}
		if (!json_is_object(v)) {
			json_object_set_new(into, key, json_deep_copy(v));
			continue;
		}
		have = json_object_get(into, key);
		if (!json_is_object(have)) {
			have = json_object();
			json_object_set_new(into, key, have);
		}
		fake_merge(have, v);
	}
}

static void drop_if_finished(struct fake_api *f, const char *path)
{
	json_t *o = json_object_get(f->objects, path);

	if (o && json_str(o, "metadata.deletionTimestamp") &&
	    json_array_size(json_at(o, "metadata.finalizers")) == 0)
		json_object_del(f->objects, path);
}

/* ---- verbs ---- */

struct answer fake_create(struct fake_api *f, const char *collection, const json_t *body)
{
	const char *name = json_str(body, "metadata.name");
	char path[512], uid[64], why[256];
	json_t *o;

	if (!name || !json_str(body, "kind") || !json_str(body, "apiVersion"))
		return fake_refuse(422, "Invalid", "name, kind and apiVersion are needed");
	if (!strstr(collection, json_str(body, "apiVersion")))
		return fake_refuse(400, "BadRequest", "the object's apiVersion is not that of the path");
	if (f->webhooks_down > 0 && strstr(group_of(body), "cluster.x-k8s.io")) {
		f->webhooks_down--;
		return fake_refuse(500, "InternalError",
			      "Internal error occurred: failed calling webhook "
			      "\"default.cluster.x-k8s.io\": no endpoints available");
	}
	snprintf(path, sizeof(path), "%s/%s", collection, name);
	if (json_object_get(f->objects, path))
		return fake_refuse(409, "AlreadyExists", "already exists");
	if (!check_object(f, body, body, why, sizeof(why)))
		return fake_refuse(422, "Invalid", why);
	o = json_deep_copy(body);
	json_object_del(o, "status");
	if (f->dry_run)
		return (struct answer){201, o};
	snprintf(uid, sizeof(uid), "uid-%ld", ++f->uid);
	json_put(o, "metadata.uid", json_string(uid));
	json_put(o, "metadata.generation", json_integer(1));
	json_put(o, "metadata.creationTimestamp", json_string("2026-01-01T00:00:00Z"));
	fake_stamp(f, o);
	json_object_set_new(f->objects, path, o);
	return (struct answer){201, json_deep_copy(o)};
}

/* metav1.Condition: every member is required. */
static bool conditions_are_whole(const json_t *body)
{
	static const char *const needed[] = {"type", "status", "reason", "message",
					     "lastTransitionTime"};
	size_t i;
	json_t *c;

	json_array_foreach (json_at(body, "status.conditions"), i, c)
		for (size_t n = 0; n < ARRAY_LEN(needed); n++)
			if (!json_str(c, needed[n]))
				return false;
	return true;
}

struct answer fake_patch_status(struct fake_api *f, const char *path, const json_t *body)
{
	char object[512];
	json_t *o;

	snprintf(object, sizeof(object), "%.*s", (int)(strlen(path) - strlen("/status")), path);
	o = json_object_get(f->objects, object);
	if (!o || strstr(json_str_or(o, "kind", ""), "Template"))
		return fake_refuse(404, "NotFound", "the server could not find the requested resource");
	if (json_object_get(body, "metadata"))
		return fake_refuse(409, "Conflict", "the object has been modified");
	if (!strstr(group_of(o), "v1beta1") && !conditions_are_whole(body))
		return fake_refuse(422, "Invalid", "status.conditions: Required value");
	fake_merge(o, json_object_get(body, "status") ? body : json_null());
	fake_stamp(f, o);
	return (struct answer){200, json_deep_copy(o)};
}

struct answer fake_patch(struct fake_api *f, const char *path, const json_t *body)
{
	json_t *o = json_object_get(f->objects, path), *before;
	const char *rv = json_str(body, "metadata.resourceVersion"),
		   *uid = json_str(body, "metadata.uid");
	AUTO_JSON json_t *change = json_deep_copy(body);
	AUTO_JSON json_t *after = NULL;
	char why[256];

	if (!o)
		return fake_refuse(404, "NotFound", "not found");
	if (rv && strcmp(rv, json_str(o, "metadata.resourceVersion")) != 0)
		return fake_refuse(409, "Conflict",
			      "the object has been modified; please apply your changes to the "
			      "latest version");
	if (uid && strcmp(uid, json_str(o, "metadata.uid")) != 0)
		return fake_refuse(409, "Conflict", "Precondition failed: UID in precondition");
	json_object_del(change, "status");
	json_object_del(json_object_get(change, "metadata"), "resourceVersion");
	before = json_object_get(o, "spec");
	after = json_deep_copy(o);
	fake_merge(after, change);
	if (strstr(json_str(o, "kind"), "MachineTemplate") &&
	    !json_equal(before, json_object_get(after, "spec")))
		return fake_refuse(422, "Invalid", "spec: Forbidden: templates are immutable");
	if (!check_object(f, after, change, why, sizeof(why)))
		return fake_refuse(422, "Invalid", why);
	if (!json_equal(before ? before : json_null(), json_object_get(after, "spec")
							       ? json_object_get(after, "spec")
							       : json_null()))
		json_put(after, "metadata.generation",
			 json_integer(json_int_or(o, "metadata.generation", 1) + 1));
	fake_stamp(f, after);
	json_object_set(f->objects, path, after);
	drop_if_finished(f, path);
	return (struct answer){200, json_deep_copy(after)};
}

struct answer fake_remove(struct fake_api *f, const char *path, const json_t *body)
{
	json_t *o = json_object_get(f->objects, path);
	const char *uid = json_str(body, "preconditions.uid");

	if (!o)
		return fake_refuse(404, "NotFound", "not found");
	if (uid && strcmp(uid, json_str(o, "metadata.uid")) != 0)
		return fake_refuse(409, "Conflict", "Precondition failed: UID in precondition");
	if (f->refused_deletes > 0 && strcmp(json_str(o, "kind"), f->refused_kind) == 0) {
		f->refused_deletes--;
		return fake_refuse(400, "BadRequest", "Pool has IPAddresses allocated");
	}
	if (strcmp(json_str(o, "kind"), "Machine") == 0 ||
	    strcmp(json_str(o, "kind"), "Cluster") == 0) {
		const char *p;
		json_t *c;

		json_object_foreach (f->objects, p, c)
			if (strcmp(json_str(c, "kind"), "Cluster") == 0 &&
			    !json_bool_or(c, "spec.paused", false))
				fake_violation(f, "%s was deleted while the cluster was not paused",
					  path);
	}
	json_put(o, "metadata.deletionTimestamp", json_string("2026-01-01T00:00:00Z"));
	fake_stamp(f, o);
	drop_if_finished(f, path);
	return (struct answer){200, json_pack("{s:s,s:s}", "kind", "Status", "status", "Success")};
}

static bool selected(const json_t *o, const char *selector)
{
	char copy[512], *save = NULL;

	if (!selector || !*selector)
		return true;
	snprintf(copy, sizeof(copy), "%s", selector);
	for (char *part = strtok_r(copy, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(part, '=');
		const char *have;

		if (!eq && !json_object_get(json_at(o, "metadata.labels"), part))
			return false;
		if (!eq)
			continue;
		*eq = '\0';
		have = json_string_value(json_object_get(json_at(o, "metadata.labels"), part));
		if (!have || strcmp(have, eq + 1) != 0)
			return false;
	}
	return true;
}

/* Whether path is in a list's collection: "/apis/apps/v1/deployments" holds those of all
 * namespaces. */
static bool in_collection(const char *path, const char *collection)
{
	const char *last = strrchr(path, '/'), *plural = strrchr(collection, '/');
	size_t n = strlen(collection);
	size_t group = (size_t)(plural - collection);

	if ((size_t)(last - path) == n && strncmp(path, collection, n) == 0)
		return true;
	if (strstr(collection, "/namespaces/") || strncmp(path, collection, group) != 0 ||
	    strncmp(path + group, "/namespaces/", 12) != 0)
		return false;
	return (size_t)(last - path) > strlen(plural) &&
	       strncmp(last - strlen(plural), plural, strlen(plural)) == 0;
}

static struct answer list(struct fake_api *f, const char *path, const char *selector,
			  const char *from)
{
	json_t *items = json_array(), *o, *body;
	size_t skip = from ? strtoul(from, NULL, 10) : 0, seen = 0;
	const char *p;
	char next[32] = "";

	json_object_foreach (f->objects, p, o) {
		json_t *copy;

		if (!in_collection(p, path) || !selected(o, selector) || seen++ < skip)
			continue;
		if (json_array_size(items) == PAGE) {
			snprintf(next, sizeof(next), "%zu", skip + PAGE);
			break;
		}
		copy = json_deep_copy(o);
		json_object_del(copy, "kind"); /* as real servers do in lists */
		json_object_del(copy, "apiVersion");
		json_array_append_new(items, copy);
	}
	body = json_pack("{s:s,s:s,s:{s:s},s:o}", "kind", "List", "apiVersion", "v1", "metadata",
			 "resourceVersion", "1", "items", items);
	if (*next)
		json_put(body, "metadata.continue", json_string(next));
	return (struct answer){200, body};
}

static const char *version_of(struct fake_api *f, const char *group)
{
	const char *version = json_string_value(json_object_get(f->served, group));

	return version ? version : "v1beta2";
}

static struct answer api_group(struct fake_api *f, const char *path)
{
	const char *group = path + strlen("/apis/"), *version = version_of(f, group);

	return (struct answer){200, json_pack("{s:s,s:s,s:{s:s},s:[{s:s}]}", "kind", "APIGroup",
					      "name", group, "preferredVersion", "version", version,
					      "versions", "version", version)};
}

static struct answer api_groups(struct fake_api *f)
{
	static const char *const served[] = {
		"/apis/cluster.x-k8s.io", "/apis/bootstrap.cluster.x-k8s.io",
		"/apis/controlplane.cluster.x-k8s.io", "/apis/infrastructure.cluster.x-k8s.io"};
	json_t *groups = json_array();

	for (size_t i = 0; i < ARRAY_LEN(served); i++)
		json_array_append_new(groups, api_group(f, served[i]).body);
	return (struct answer){200, json_pack("{s:s,s:o}", "kind", "APIGroupList", "groups", groups)};
}

/* Of Cluster API's groups one version is served. */
bool fake_serves(struct fake_api *f, const char *path)
{
	const char *group = path + strlen("/apis/"), *slash = strchr(path, '/');
	char name[128];

	if (strncmp(path, "/apis/", 6) != 0 || !(slash = strchr(group, '/')))
		return true;
	snprintf(name, sizeof(name), "%.*s", (int)(slash - group), group);
	return strstr(name, "cluster.x-k8s.io") == NULL || strstr(name, "clusterctl") ||
	       strncmp(slash + 1, version_of(f, name), strlen(version_of(f, name))) == 0;
}

static struct answer resources(const char *version)
{
	static const struct {
		const char *version, *kind, *name;
		bool namespaced;
	} served[] = {
		{"v1", "Namespace", "namespaces", false},
		{"v1", "ConfigMap", "configmaps", true},
		{"apps/v1", "Deployment", "deployments", true},
		{"apps/v1", "DaemonSet", "daemonsets", true},
		{"apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions",
		 false},
		{"clusterctl.cluster.x-k8s.io/v1alpha3", "Provider", "providers", true},
	};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(served); i++)
		if (strcmp(served[i].version, version) == 0)
			json_array_append_new(
				list, json_pack("{s:s,s:s,s:b,s:[s]}", "name", served[i].name,
						"kind", served[i].kind, "namespaced",
						served[i].namespaced, "verbs", "patch"));
	return (struct answer){200, json_pack("{s:s,s:s,s:o}", "kind", "APIResourceList",
					      "groupVersion", version, "resources", list)};
}

struct answer fake_apply(struct fake_api *f, const char *path, const json_t *body)
{
	char collection[512];
	json_t *o = json_object_get(f->objects, path);

	if (!o) {
		snprintf(collection, sizeof(collection), "%.*s", (int)(strrchr(path, '/') - path),
			 path);
		return fake_create(f, collection, body);
	}
	fake_merge(o, body);
	fake_stamp(f, o);
	return (struct answer){200, json_deep_copy(o)};
}

/* Unlike a kind that is not served, an object that is not there is named. */
static struct answer missing(const char *path)
{
	struct answer a = fake_refuse(404, "NotFound", "not found");

	json_object_set_new(a.body, "details", json_pack("{s:s}", "name", strrchr(path, '/') + 1));
	return a;
}

/* Objects' names follow a namespace and a plural, or a plural alone: told apart by what is stored.
 */
struct answer fake_get(struct fake_api *f, const char *path, const char *selector,
			 const char *from)
{
	json_t *o = json_object_get(f->objects, path);
	const char *ns = strstr(path, "/namespaces/");
	int slashes = 0;

	if (o)
		return (struct answer){200, json_deep_copy(o)};
	if (strcmp(path, "/api/v1") == 0)
		return resources("v1");
	if (strcmp(path, "/apis") == 0)
		return api_groups(f);
	if (strncmp(path, "/apis/", 6) == 0 && !strchr(path + 6, '/'))
		return api_group(f, path);
	if (strncmp(path, "/apis/", 6) == 0 && !strchr(strchr(path + 6, '/') + 1, '/'))
		return resources(path + 6);
	for (const char *c = ns ? ns + 12 : path; *c; c++)
		slashes += *c == '/';
	if ((ns && slashes == 1) || (!ns && slashes == (strncmp(path, "/apis", 5) == 0 ? 4 : 3)))
		return list(f, path, selector, from);
	return missing(path);
}
