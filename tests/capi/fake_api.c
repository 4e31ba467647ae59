/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/fake_api.h"
#include "tests/capi/relay.h"
#include "host/capi/capi.h"
#include "core/clock.h"
#include "net/http_server.h"
#include "net/pki.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE 7 /* small, so that every list of any size has several pages */

struct fake_api {
	uv_loop_t *loop;
	struct http_server *server;
	struct relay *relay;
	struct kube *kube;
	char *ca, *server_cert, url[64];
	struct secret *ca_key, *server_key;
	json_t *objects; /* path -> object */
	json_t *violations;
	long requests, fail_at, cluster_patches, fail_cluster_patch_at, overtake_at;
	const char *overtake_name, *overtake_value;
	enum fake_fault fault;
	bool fired, deaf, stuck_pod, dry_run;
	int64_t clock_ms; /* ahead of ours */
	char *warning;
	json_t *served; /* group: version, where it is not v1beta2 */
	void (*controller)(struct fake_api *f);
	int webhooks_down;
	uint64_t version;
	long uid;
	bool closed;
};

struct answer {
	int status;
	json_t *body; /* owned */
};

static void violation(struct fake_api *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void violation(struct fake_api *f, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(f->violations, json_string(text));
}

static struct answer refuse(int code, const char *reason, const char *message)
{
	return (struct answer){code, json_pack("{s:s,s:s,s:s,s:s,s:s,s:i}", "kind", "Status",
					       "apiVersion", "v1", "status", "Failure", "reason",
					       reason, "message", message, "code", code)};
}

/* ---- rules of the server ---- */

static void stamp(struct fake_api *f, json_t *object)
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
			violation(f, "%s/%s was written with an owner that is not there: %s",
				  json_str_or(o, "kind", "?"), json_str_or(o, "metadata.name", "?"),
				  json_str_or(ref, "name", "?"));
	return true;
}

static void merge(json_t *into, const json_t *patch)
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
		merge(have, v);
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

static struct answer create(struct fake_api *f, const char *collection, const json_t *body)
{
	const char *name = json_str(body, "metadata.name");
	char path[512], uid[64], why[256];
	json_t *o;

	if (!name || !json_str(body, "kind") || !json_str(body, "apiVersion"))
		return refuse(422, "Invalid", "name, kind and apiVersion are needed");
	if (!strstr(collection, json_str(body, "apiVersion")))
		return refuse(400, "BadRequest", "the object's apiVersion is not that of the path");
	if (f->webhooks_down > 0 && strstr(group_of(body), "cluster.x-k8s.io")) {
		f->webhooks_down--;
		return refuse(500, "InternalError",
			      "Internal error occurred: failed calling webhook "
			      "\"default.cluster.x-k8s.io\": no endpoints available");
	}
	snprintf(path, sizeof(path), "%s/%s", collection, name);
	if (json_object_get(f->objects, path))
		return refuse(409, "AlreadyExists", "already exists");
	if (!check_object(f, body, body, why, sizeof(why)))
		return refuse(422, "Invalid", why);
	o = json_deep_copy(body);
	json_object_del(o, "status");
	if (f->dry_run)
		return (struct answer){201, o};
	snprintf(uid, sizeof(uid), "uid-%ld", ++f->uid);
	json_put(o, "metadata.uid", json_string(uid));
	json_put(o, "metadata.generation", json_integer(1));
	json_put(o, "metadata.creationTimestamp", json_string("2026-01-01T00:00:00Z"));
	stamp(f, o);
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

static struct answer patch_status(struct fake_api *f, const char *path, const json_t *body)
{
	char object[512];
	json_t *o;

	snprintf(object, sizeof(object), "%.*s", (int)(strlen(path) - strlen("/status")), path);
	o = json_object_get(f->objects, object);
	if (!o || strstr(json_str_or(o, "kind", ""), "Template"))
		return refuse(404, "NotFound", "the server could not find the requested resource");
	if (json_object_get(body, "metadata"))
		return refuse(409, "Conflict", "the object has been modified");
	if (!strstr(group_of(o), "v1beta1") && !conditions_are_whole(body))
		return refuse(422, "Invalid", "status.conditions: Required value");
	merge(o, json_object_get(body, "status") ? body : json_null());
	stamp(f, o);
	return (struct answer){200, json_deep_copy(o)};
}

static struct answer patch(struct fake_api *f, const char *path, const json_t *body)
{
	json_t *o = json_object_get(f->objects, path), *before;
	const char *rv = json_str(body, "metadata.resourceVersion"),
		   *uid = json_str(body, "metadata.uid");
	AUTO_JSON json_t *change = json_deep_copy(body);
	AUTO_JSON json_t *after = NULL;
	char why[256];

	if (!o)
		return refuse(404, "NotFound", "not found");
	if (rv && strcmp(rv, json_str(o, "metadata.resourceVersion")) != 0)
		return refuse(409, "Conflict",
			      "the object has been modified; please apply your changes to the "
			      "latest version");
	if (uid && strcmp(uid, json_str(o, "metadata.uid")) != 0)
		return refuse(409, "Conflict", "Precondition failed: UID in precondition");
	json_object_del(change, "status");
	json_object_del(json_object_get(change, "metadata"), "resourceVersion");
	before = json_object_get(o, "spec");
	after = json_deep_copy(o);
	merge(after, change);
	if (strstr(json_str(o, "kind"), "MachineTemplate") &&
	    !json_equal(before, json_object_get(after, "spec")))
		return refuse(422, "Invalid", "spec: Forbidden: templates are immutable");
	if (!check_object(f, after, change, why, sizeof(why)))
		return refuse(422, "Invalid", why);
	if (!json_equal(before ? before : json_null(), json_object_get(after, "spec")
							       ? json_object_get(after, "spec")
							       : json_null()))
		json_put(after, "metadata.generation",
			 json_integer(json_int_or(o, "metadata.generation", 1) + 1));
	stamp(f, after);
	json_object_set(f->objects, path, after);
	drop_if_finished(f, path);
	return (struct answer){200, json_deep_copy(after)};
}

static struct answer remove_object(struct fake_api *f, const char *path, const json_t *body)
{
	json_t *o = json_object_get(f->objects, path);
	const char *uid = json_str(body, "preconditions.uid");

	if (!o)
		return refuse(404, "NotFound", "not found");
	if (uid && strcmp(uid, json_str(o, "metadata.uid")) != 0)
		return refuse(409, "Conflict", "Precondition failed: UID in precondition");
	if (strcmp(json_str(o, "kind"), "Machine") == 0 ||
	    strcmp(json_str(o, "kind"), "Cluster") == 0) {
		const char *p;
		json_t *c;

		json_object_foreach (f->objects, p, c)
			if (strcmp(json_str(c, "kind"), "Cluster") == 0 &&
			    !json_bool_or(c, "spec.paused", false))
				violation(f, "%s was deleted while the cluster was not paused",
					  path);
	}
	json_put(o, "metadata.deletionTimestamp", json_string("2026-01-01T00:00:00Z"));
	stamp(f, o);
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
static bool is_served(struct fake_api *f, const char *path)
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

static struct answer apply(struct fake_api *f, const char *path, const json_t *body)
{
	char collection[512];
	json_t *o = json_object_get(f->objects, path);

	if (!o) {
		snprintf(collection, sizeof(collection), "%.*s", (int)(strrchr(path, '/') - path),
			 path);
		return create(f, collection, body);
	}
	merge(o, body);
	stamp(f, o);
	return (struct answer){200, json_deep_copy(o)};
}

/* Unlike a kind that is not served, an object that is not there is named. */
static struct answer missing(const char *path)
{
	struct answer a = refuse(404, "NotFound", "not found");

	json_object_set_new(a.body, "details", json_pack("{s:s}", "name", strrchr(path, '/') + 1));
	return a;
}

/* Objects' names follow a namespace and a plural, or a plural alone: told apart by what is stored.
 */
static struct answer get(struct fake_api *f, const char *path, const char *selector,
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

/* ---- controllers, between requests ---- */

static void report_paused(struct fake_api *f, json_t *o)
{
	json_t *conditions = json_at(o, "status.conditions"), *c;
	size_t i;

	if (!json_is_array(conditions)) {
		conditions = json_array();
		json_put(o, "status.conditions", conditions);
	}
	json_array_foreach (conditions, i, c)
		if (strcmp(json_str_or(c, "type", ""), "Paused") == 0)
			return;
	json_array_append_new(conditions, json_pack("{s:s,s:s,s:s}", "type", "Paused", "status",
						    "True", "reason", "Paused"));
	stamp(f, o);
}

/* As a real Deployment: its status follows the spec a request later, its pod goes a request after
 * that. */
static void run_deployment(struct fake_api *f, json_t *d)
{
	json_int_t wanted = json_int_or(d, "spec.replicas", 1);
	const char *ns = json_str(d, "metadata.namespace"), *name = json_str(d, "metadata.name");
	char pod[512];
	json_t *labels;

	snprintf(pod, sizeof(pod), "/api/v1/namespaces/%s/pods/%s-1", ns, name);
	if (json_int_or(d, "status.observedGeneration", 0) ==
	    json_int_or(d, "metadata.generation", 1)) {
		if (wanted == 0 && !f->stuck_pod)
			json_object_del(f->objects, pod);
		return;
	}
	json_put(d, "status.replicas", json_integer(wanted));
	json_put(d, "status.updatedReplicas", json_integer(wanted));
	json_put(d, "status.observedGeneration",
		 json_integer(json_int_or(d, "metadata.generation", 1)));
	json_put(d, "status.conditions",
		 json_pack("[{s:s,s:s}]", "type", "Available", "status", "True"));
	if (wanted == 0 || json_object_get(f->objects, pod))
		return;
	labels = json_at(d, "spec.template.metadata.labels");
	json_object_set_new(f->objects, pod,
			    json_pack("{s:s,s:s,s:{s:s,s:s,s:O}}", "apiVersion", "v1", "kind",
				      "Pod", "metadata", "name", strrchr(pod, '/') + 1, "namespace",
				      ns, "labels", labels));
}

static void controllers(struct fake_api *f)
{
	const char *path;
	json_t *o;
	void *next;

	if (f->deaf)
		return;
	if (f->controller)
		f->controller(f);
	json_object_foreach_safe (f->objects, next, path, o) {
		if (strcmp(json_str(o, "kind"), "Deployment") == 0 && json_object_get(o, "spec"))
			run_deployment(f, o);
		else if (strcmp(json_str(o, "kind"), "DaemonSet") == 0)
			json_put(o, "status.observedGeneration",
				 json_integer(json_int_or(o, "metadata.generation", 1)));
		else if (strcmp(json_str(o, "kind"), "Cluster") == 0 &&
			 json_bool_or(o, "spec.paused", false) && f->requests % 5 == 4)
			report_paused(f, o);
	}
}

/* ---- requests ---- */

static struct answer act(struct fake_api *f, const char *method, const char *path,
			 const char *selector, const char *from, const char *type,
			 const json_t *body)
{
	size_t n = strlen(path);
	struct answer a;

	if (!is_served(f, path))
		a = refuse(404, "NotFound", "the server could not find the requested resource");
	else if (strcmp(method, "GET") == 0)
		a = get(f, path, selector, from);
	else if (strcmp(method, "POST") == 0)
		a = create(f, path, body);
	else if (strcmp(method, "DELETE") == 0)
		a = remove_object(f, path, body);
	else if (strcmp(method, "PATCH") == 0 && type &&
		 strcmp(type, "application/apply-patch+yaml") == 0)
		a = apply(f, path, body);
	else if (strcmp(method, "PATCH") == 0 &&
		 (!type || strcmp(type, "application/merge-patch+json") != 0))
		a = refuse(415, "UnsupportedMediaType", "only merge patches");
	else if (strcmp(method, "PATCH") == 0)
		a = n > 7 && strcmp(path + n - 7, "/status") == 0 ? patch_status(f, path, body)
								  : patch(f, path, body);
	else
		a = refuse(405, "MethodNotAllowed", method);
	controllers(f);
	return a;
}

static enum fake_fault next_fault(struct fake_api *f, const char *method, const char *path)
{
	bool cluster_patch = strcmp(method, "PATCH") == 0 && strstr(path, "/clusters/") &&
			     !strstr(path, "/status");

	f->requests++;
	f->cluster_patches += cluster_patch;
	if (cluster_patch && f->overtake_at && f->cluster_patches == f->overtake_at) {
		AUTO_JSON json_t *other = json_pack("{s:{s:{s:s}}}", "metadata", "annotations",
						    f->overtake_name, f->overtake_value);

		f->overtake_at = 0;
		fake_api_request(f, "PATCH", path, "application/merge-patch+json", other);
	}
	if (f->fail_at && f->requests == f->fail_at) {
		f->fail_at = 0;
	} else if (cluster_patch && f->fail_cluster_patch_at &&
		   f->cluster_patches == f->fail_cluster_patch_at) {
		f->fail_cluster_patch_at = 0;
	} else {
		return FAKE_NONE;
	}
	f->fired = true;
	return f->fault;
}

/* An exchange that is never answered ends when its client has gone. */
static void on_gone(void *arg, struct http_exchange *x)
{
	(void)arg;
	(void)x;
}

static void check_write(struct fake_api *f, struct http_exchange *x,
			const struct http_server_request *req)
{
	const char *strict = http_exchange_query(x, "fieldValidation");

	if (strcmp(req->method, "GET") != 0 && strcmp(req->method, "DELETE") != 0 &&
	    (!strict || strcmp(strict, "Strict") != 0))
		violation(f, "%s %s: unknown fields would be dropped", req->method, req->path);
}

static void tell_clock(struct fake_api *f, struct http_exchange *x)
{
	time_t now = (time_t)((clock_wall_ms() + f->clock_ms) / 1000);
	struct tm tm;
	char date[64];

	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	http_exchange_set_header(x, "Date", date);
	if (f->warning)
		http_exchange_set_header(x, "Warning", f->warning);
}

static bool wants_metadata(struct http_exchange *x)
{
	const char *accept = http_exchange_header(x, "accept");

	return accept && strstr(accept, "as=PartialObjectMetadata");
}

/* As a real server does, for every verb. */
static void cut_down(struct answer *a)
{
	json_t *whole = a->body, *items = json_object_get(whole, "items"), *item, *cut;
	size_t i;

	a->body = json_pack("{s:s,s:s,s:O}", "kind",
			    items ? "PartialObjectMetadataList" : "PartialObjectMetadata",
			    "apiVersion", "meta.k8s.io/v1", "metadata",
			    json_object_get(whole, "metadata"));
	if (items) {
		cut = json_array();
		json_array_foreach (items, i, item)
			json_array_append_new(cut, json_pack("{s:O}", "metadata",
							     json_object_get(item, "metadata")));
		json_object_set_new(a->body, "items", cut);
	}
	json_decref(whole);
}

static void on_request(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	struct fake_api *f = arg;
	AUTO_JSON json_t *body = NULL;
	enum fake_fault fault = next_fault(f, req->method, req->path);
	struct pcg_error err;
	struct answer a;

	check_write(f, x, req);
	f->dry_run = http_exchange_query(x, "dryRun") != NULL;
	tell_clock(f, x);
	if (req->body_len && json_parse(req->body, req->body_len, "body", &body, &err))
		violation(f, "%s %s: %s", req->method, req->path, err.text);
	if (fault == FAKE_BUSY) {
		a = refuse(429, "TooManyRequests", "storage is (re)initializing");
	} else if (fault == FAKE_DENIED) {
		a = refuse(401, "Unauthorized", "Unauthorized");
	} else if (fault == FAKE_ERROR) {
		a = refuse(500, "InternalError", "etcdserver: request timed out");
	} else if (fault == FAKE_CONFLICT) {
		a = refuse(409, "Conflict",
			   "the object has been modified; please apply your changes to the latest "
			   "version");
	} else if (fault == FAKE_CUT_BEFORE) {
		http_exchange_on_gone(x, on_gone, NULL);
		relay_cut(f->relay);
		return;
	} else {
		a = act(f, req->method, req->path, http_exchange_query(x, "labelSelector"),
			http_exchange_query(x, "continue"), http_exchange_header(x, "content-type"),
			body);
	}
	if (fault == FAKE_CUT_AFTER) {
		http_exchange_on_gone(x, on_gone, NULL);
		relay_cut(f->relay);
	} else {
		if (a.status < 400 && wants_metadata(x))
			cut_down(&a);
		http_exchange_reply_json(x, a.status, a.body);
	}
	json_decref(a.body);
}

int fake_api_request(struct fake_api *f, const char *method, const char *path,
		     const char *content_type, const json_t *body)
{
	struct answer a = act(f, method, path, NULL, NULL, content_type, body);

	json_decref(a.body);
	return a.status;
}

/* ---- set-up ---- */

static void make_certificates(struct fake_api *f)
{
	static const char *const ip[] = {"127.0.0.1", NULL};
	int64_t now = clock_wall_ms();
	struct pki_cert_spec ca = {.common_name = "kubernetes",
				   .is_ca = true,
				   .not_before_ms = now - 300000,
				   .not_after_ms = now + INT64_C(315360000000)};
	struct pki_cert_spec leaf = {.common_name = "kube-apiserver",
				     .ip = ip,
				     .server_auth = true,
				     .not_before_ms = now - 300000,
				     .not_after_ms = now + INT64_C(315360000000)};
	struct pcg_error err;

	assert(pki_key_new(PKI_ECDSA_P256, &f->ca_key, &err) == 0);
	assert(pki_self_signed(&ca, f->ca_key, &f->ca, &err) == 0);
	assert(pki_key_new(PKI_ECDSA_P256, &f->server_key, &err) == 0);
	assert(pki_sign(&leaf, f->server_key, f->ca, f->ca_key, &f->server_cert, &err) == 0);
}

static int mint(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	struct fake_api *f = arg;
	int64_t now = clock_wall_ms();
	struct pki_cert_spec spec = {.common_name = "pcg",
				     .organization = "system:masters",
				     .client_auth = true,
				     .not_before_ms = now - 60000,
				     .not_after_ms = now + 3600000};
	int r = pki_key_new(PKI_ECDSA_P256, key_pem, err);

	return r ? r : pki_sign(&spec, *key_pem, f->ca, f->ca_key, cert_pem, err);
}

struct fake_api *fake_api_new(uv_loop_t *loop, struct http_client *http)
{
	struct fake_api *f = calloc(1, sizeof(*f));
	struct http_server_tls tls;
	struct kube_spec spec;
	struct pcg_error err;

	assert(f);
	f->loop = loop;
	f->objects = json_object();
	f->violations = json_array();
	f->served = json_object();
	make_certificates(f);
	tls = (struct http_server_tls){.cert_pem = f->server_cert,
				       .key_pem = f->server_key,
				       .client_ca_pem = f->ca,
				       .client_required = true};
	assert(http_server_new(loop, "127.0.0.1", 0, &tls, NULL, on_request, f, &f->server, &err) ==
	       0);
	f->relay = relay_new(loop, http_server_port(f->server));
	snprintf(f->url, sizeof(f->url), "https://127.0.0.1:%u", relay_port(f->relay));
	spec = (struct kube_spec){.http = http,
				  .server = f->url,
				  .ca_pem = f->ca,
				  .mint = mint,
				  .mint_arg = f,
				  .field_manager = "pcg"};
	assert(kube_new(&spec, &f->kube, &err) == 0);
	return f;
}

static void on_closed(void *arg)
{
	((struct fake_api *)arg)->closed = true;
}

void fake_api_free(struct fake_api *f)
{
	kube_free(f->kube);
	relay_close(f->relay);
	http_server_close(f->server, on_closed, f);
	while (!f->closed)
		uv_run(f->loop, UV_RUN_ONCE);
	json_decref(f->objects);
	json_decref(f->violations);
	json_decref(f->served);
	free(f->warning);
	free(f->ca);
	free(f->server_cert);
	secret_unref(f->ca_key);
	secret_unref(f->server_key);
	free(f);
}

struct kube *fake_api_kube(struct fake_api *f)
{
	return f->kube;
}

const char *fake_api_ca(const struct fake_api *f)
{
	return f->ca;
}

const struct secret *fake_api_ca_key(const struct fake_api *f)
{
	return f->ca_key;
}

void fake_api_fail(struct fake_api *f, long n, enum fake_fault fault)
{
	f->fail_at = n ? f->requests + n : 0;
	f->fault = fault;
	f->fired = false;
}

void fake_api_overtake_cluster_patch(struct fake_api *f, long n, const char *name, const char *value)
{
	f->overtake_at = f->cluster_patches + n;
	f->overtake_name = name;
	f->overtake_value = value;
}

void fake_api_fail_cluster_patch(struct fake_api *f, long n, enum fake_fault fault)
{
	f->fail_cluster_patch_at = f->cluster_patches + n;
	f->fault = fault;
	f->fired = false;
}

void fake_api_heal(struct fake_api *f)
{
	f->fail_at = f->fail_cluster_patch_at = 0;
	relay_heal(f->relay);
}

bool fake_api_fired(const struct fake_api *f)
{
	return f->fired;
}

long fake_api_requests(const struct fake_api *f)
{
	return f->requests;
}

void fake_api_webhooks_down(struct fake_api *f, int n)
{
	f->webhooks_down = n;
}

void fake_api_deaf_controllers(struct fake_api *f)
{
	f->deaf = true;
}

void fake_api_stuck_pod(struct fake_api *f, bool stuck)
{
	f->stuck_pod = stuck;
}

void fake_api_controller(struct fake_api *f, void (*fn)(struct fake_api *f))
{
	f->controller = fn;
}

void fake_api_drop(struct fake_api *f, const char *path)
{
	json_object_del(f->objects, path);
}

json_t *fake_api_get(struct fake_api *f, const char *path)
{
	return json_object_get(f->objects, path);
}

size_t fake_api_count(struct fake_api *f)
{
	return json_object_size(f->objects);
}

void fake_api_put(struct fake_api *f, const char *path, json_t *object)
{
	char uid[64];

	if (!json_str(object, "metadata.uid")) {
		snprintf(uid, sizeof(uid), "uid-%ld", ++f->uid);
		json_put(object, "metadata.uid", json_string(uid));
	}
	stamp(f, object);
	json_object_set_new(f->objects, path, object);
}

const json_t *fake_api_violations(const struct fake_api *f)
{
	return f->violations;
}

void fake_api_turn_clock(struct fake_api *f, int64_t ahead_ms)
{
	f->clock_ms = ahead_ms;
}

void fake_api_warn(struct fake_api *f, const char *header)
{
	free(f->warning);
	f->warning = header ? strdup(header) : NULL;
}

void fake_api_serve(struct fake_api *f, const char *group, const char *version)
{
	json_object_set_new(f->served, group, json_string(version));
}

const char *fake_api_url(const struct fake_api *f)
{
	return f->url;
}
