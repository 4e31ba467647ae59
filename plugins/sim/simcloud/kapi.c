/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kapi.h"

#include "core/clock.h"
#include "core/log.h"
#include "plugins/sim/simcloud/kwatch.h"
#include "plugins/sim/simcloud/reply.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void kapi_reply(struct kapi *k, struct http_exchange *x, int status, json_t *body)
{
	reply_json(k->cloud, x, status, body, k->cloud->settings.kube_call_ms);
}

void kapi_fail(struct kapi *k, struct http_exchange *x, int code, const char *reason, const struct kres *r,
	       const char *name, const char *fmt, ...)
{
	json_t *details = json_object(), *body;
	char message[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (name)
		json_object_set_new(details, "name", json_string(name));
	if (r) {
		if (*r->group)
			json_object_set_new(details, "group", json_string(r->group));
		json_object_set_new(details, "kind", json_string(r->plural));
	}
	body = json_pack("{s:s, s:s, s:{}, s:s, s:o, s:s, s:o, s:i}", "kind", "Status", "apiVersion", "v1",
			 "metadata", "status", "Failure", "message", json_string(message) ?: json_string(""),
			 "reason", reason, "details", details, "code", code);
	kapi_reply(k, x, code, body);
}

static bool kapi_is_open(const char *path)
{
	return strcmp(path, "/readyz") == 0 || strcmp(path, "/livez") == 0 || strcmp(path, "/healthz") == 0 ||
	       strcmp(path, "/version") == 0;
}

/* Groups are the O entries, the user the CN, as kube-apiserver's x509 authenticator has it. */
static bool kapi_is_admin(const struct pki_subject *client)
{
	for (char **group = client->organizations; *group; group++)
		if (strcmp(*group, "system:masters") == 0 || strcmp(*group, "kubeadm:cluster-admins") == 0)
			return true;
	return false;
}

/* True: may go on. */
static bool kapi_authorize(struct kapi *k, struct http_exchange *x, const struct http_server_request *req)
{
	const char *bearer = http_exchange_header(x, "authorization");

	if (kapi_is_open(req->path))
		return true;
	if (!req->client && bearer) {
		kapi_fail(k, x, 401, "Unauthorized", NULL, NULL, "Unauthorized");
		return false;
	}
	if (!req->client) {
		kapi_fail(k, x, 403, "Forbidden", NULL, NULL,
			  "forbidden: User \"system:anonymous\" cannot access path \"%s\"", req->path);
		return false;
	}
	if (kapi_is_admin(req->client))
		return true;
	kapi_fail(k, x, 403, "Forbidden", NULL, NULL, "forbidden: User \"%s\" cannot access path \"%s\"",
		  req->client->common_name, req->path);
	return false;
}

static void kapi_version(struct kapi *k, struct http_exchange *x)
{
	const char *v = json_str_or(k->config, "version", "");
	unsigned major = 0, minor = 0;

	sscanf(v, "v%u.%u", &major, &minor);
	kapi_reply(k, x, 200, json_pack("{s:o, s:o, s:s, s:s}", "major", json_sprintf("%u", major), "minor",
					json_sprintf("%u", minor), "gitVersion", v, "platform", "linux/amd64"));
}

json_t *kapi_view(const struct kreq *q, json_t *obj)
{
	AUTO_FREE char *api_version = kres_api_version(q->res, q->version);
	json_t *copy;

	if (strcmp(json_str_or(obj, "apiVersion", ""), api_version) == 0)
		return json_incref(obj);
	copy = json_copy(obj);
	json_object_set_new(copy, "apiVersion", json_string(api_version));
	json_object_set_new(copy, "kind", json_string(q->res->kind));
	return copy;
}

static bool kapi_accepts(struct kreq *q, const char *kind)
{
	const char *at = http_exchange_header(q->x, "accept");
	size_t n = strlen(kind);

	while (at && (at = strstr(at, kind)) && !strchr(";,", at[n]))
		at += n;
	return at != NULL;
}

static json_t *kapi_partial(json_t *obj)
{
	return json_pack("{s:s, s:s, s:O}", "kind", "PartialObjectMetadata", "apiVersion", "meta.k8s.io/v1", "metadata",
			 json_object_get(obj, "metadata"));
}

void kapi_answer(struct kreq *q, int status, json_t *obj)
{
	if (kapi_accepts(q, "as=PartialObjectMetadata"))
		kapi_reply(q->k, q->x, status, kapi_partial(obj));
	else
		kapi_reply(q->k, q->x, status, kapi_view(q, obj));
}

static int kapi_by_key(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct kapi_page {
	const char **keys;
	size_t n, limit;
	const char *after; /* the continue token: the last key that was given */
};

static json_t *kapi_list_items(struct kreq *q, struct kapi_page *p, bool partial, const char **next)
{
	const char *labels = http_exchange_query(q->x, "labelSelector");
	const char *fields = http_exchange_query(q->x, "fieldSelector");
	json_t *items = json_array();

	*next = NULL;
	for (size_t i = 0; i < p->n; i++) {
		json_t *obj = json_object_get(q->res->objects, p->keys[i]);

		if (p->after && strcmp(p->keys[i], p->after) <= 0)
			continue;
		if ((q->ns && strcmp(kstore_ns(obj) ?: "", q->ns) != 0) || !kselect_labels(labels, obj) ||
		    !kselect_fields(fields, obj))
			continue;
		if (p->limit && json_array_size(items) == p->limit) {
			*next = p->keys[i - 1];
			break;
		}
		json_array_append_new(items, partial ? kapi_partial(obj) : kapi_view(q, obj));
	}
	return items;
}

static void kapi_list(struct kreq *q)
{
	const char *limit = http_exchange_query(q->x, "limit"), *next, *key;
	struct kapi_page p = { .limit = limit ? strtoul(limit, NULL, 10) : 0,
			       .after = http_exchange_query(q->x, "continue") };
	AUTO_FREE char *api_version = kres_api_version(q->res, q->version);
	bool partial = kapi_accepts(q, "as=PartialObjectMetadataList");
	json_t *items, *body, *v;
	char rv[24];

	if (p.after && !*p.after)
		p.after = NULL;
	p.keys = calloc(json_object_size(q->res->objects) + 1, sizeof(char *));
	json_object_foreach(q->res->objects, key, v)
		p.keys[p.n++] = key;
	qsort(p.keys, p.n, sizeof(char *), kapi_by_key);
	items = kapi_list_items(q, &p, partial, &next);
	snprintf(rv, sizeof(rv), "%" PRIu64, q->k->rv);
	body = json_pack("{s:s, s:s, s:{s:s}, s:o}", "kind",
			 partial ? "PartialObjectMetadataList" : q->res->list_kind, "apiVersion",
			 partial ? "meta.k8s.io/v1" : api_version, "metadata", "resourceVersion", rv, "items", items);
	if (next)
		json_put_str(body, "metadata.continue", next);
	free(p.keys);
	kapi_reply(q->k, q->x, 200, body);
}

static void kapi_get(struct kreq *q)
{
	const char *watch = http_exchange_query(q->x, "watch");
	json_t *obj;

	if (!q->name && watch && (strcmp(watch, "true") == 0 || strcmp(watch, "1") == 0)) {
		kwatch_start(q);
		return;
	}
	if (!q->name) {
		kapi_list(q);
		return;
	}
	obj = kstore_get(q->res, q->ns, q->name);
	if (obj)
		kapi_answer(q, 200, obj);
	else
		kapi_fail(q->k, q->x, 404, "NotFound", q->res, q->name, "%s%s%s \"%s\" not found", q->res->plural,
			  *q->res->group ? "." : "", q->res->group, q->name);
}

static void kapi_dispatch(struct kreq *q)
{
	const char *method = q->http->method;

	if (q->sub && strcmp(q->sub, "status") != 0 && strcmp(q->sub, "finalize") != 0)
		kapi_fail(q->k, q->x, 404, "NotFound", NULL, NULL,
			  "the server could not find the requested resource");
	else if (strcmp(method, "GET") == 0)
		kapi_get(q);
	else if (strcmp(method, "POST") == 0 && !q->name)
		kwrite_create(q);
	else if (strcmp(method, "PUT") == 0 && q->name)
		kwrite_update(q);
	else if (strcmp(method, "PATCH") == 0 && q->name)
		kwrite_patch(q);
	else if (strcmp(method, "DELETE") == 0 && q->name)
		kwrite_delete(q);
	else if (strcmp(method, "DELETE") == 0)
		kwrite_delete_collection(q);
	else
		kapi_fail(q->k, q->x, 405, "MethodNotAllowed", q->res, q->name,
			  "the server does not allow this method on the requested resource");
}

/* parts[0..n) behind the group and version: [namespaces NS] PLURAL [NAME [SUB]] */
static bool kapi_target(struct kreq *q, const char *group, char **parts, size_t n)
{
	if (n >= 3 && strcmp(parts[0], "namespaces") == 0 &&
	    !(*group == '\0' && (strcmp(parts[2], "status") == 0 || strcmp(parts[2], "finalize") == 0))) {
		q->ns = parts[1];
		parts += 2;
		n -= 2;
	}
	if (!n || n > 3)
		return false;
	q->res = kres_find(q->k, group, parts[0]);
	q->name = n > 1 ? parts[1] : NULL;
	q->sub = n > 2 ? parts[2] : NULL;
	if (!q->res || !q->res->established || !kres_serves(q->res, q->version))
		return false;
	if (q->res->namespaced ? q->name && !q->ns : q->ns != NULL)
		return false;
	return !q->sub || strcmp(q->sub, "status") != 0 || q->res->status;
}

static bool kapi_resource(struct kreq *q, char *path)
{
	char *parts[8], *save = NULL;
	size_t n = 0, skip;
	const char *group;

	for (char *p = strtok_r(path, "/", &save); p; p = strtok_r(NULL, "/", &save)) {
		if (n == ARRAY_LEN(parts))
			return false;
		parts[n++] = p;
	}
	if (n >= 3 && strcmp(parts[0], "api") == 0 && strcmp(parts[1], "v1") == 0) {
		group = "";
		q->version = "v1";
		skip = 2;
	} else if (n >= 4 && strcmp(parts[0], "apis") == 0) {
		group = parts[1];
		q->version = parts[2];
		skip = 3;
	} else {
		return false;
	}
	if (!kapi_target(q, group, parts + skip, n - skip))
		return false;
	kapi_dispatch(q);
	return true;
}

void kapi_handle(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	struct kapi *k = arg;
	struct kreq q = { .k = k, .x = x, .http = req };
	AUTO_FREE char *path = strdup(req->path);

	k->cloud->stats.kube_calls++;
	if (!kapi_authorize(k, x, req)) {
		k->cloud->stats.kube_refused++;
		return;
	}
	if (strcmp(req->path, "/version") == 0) {
		kapi_version(k, x);
		return;
	}
	if (kapi_is_open(req->path)) {
		reply_text(k->cloud, x, 200, "text/plain; charset=utf-8", "ok");
		return;
	}
	if (kdiscovery_handle(k, x, req->path) || kapi_resource(&q, path))
		return;
	kapi_fail(k, x, 404, "NotFound", NULL, NULL, "the server could not find the requested resource");
}
