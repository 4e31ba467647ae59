/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kapi.h"

#include "core/base64.h"
#include "core/id.h"
#include "core/yaml.h"
#include "plugins/sim/simcloud/kvalid.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void kwrite_not_found(struct kreq *q)
{
	kapi_fail(q->k, q->x, 404, "NotFound", q->res, q->name, "%s%s%s \"%s\" not found", q->res->plural,
		  *q->res->group ? "." : "", q->res->group, q->name);
}

static void kwrite_conflict(struct kreq *q, const char *name)
{
	kapi_fail(q->k, q->x, 409, "Conflict", q->res, name,
		  "Operation cannot be fulfilled on %s%s%s \"%s\": the object has been modified; please apply your "
		  "changes to the latest version and try again", q->res->plural, *q->res->group ? "." : "",
		  q->res->group, name);
}

/* The body as JSON; NULL after an answer. */
static json_t *kwrite_body(struct kreq *q, bool yaml)
{
	struct pcg_error err = { 0 };
	json_t *body = NULL;
	int r = -1;

	/* Most YAML that is sent is JSON, which is read in half the time. */
	if (!yaml || q->http->body[0] == '{')
		r = json_parse(q->http->body, q->http->body_len, "body", &body, &err);
	if (r && yaml)
		r = yaml_load_one(q->http->body, q->http->body_len, "body", &body, &err);
	if (!r && json_is_object(body))
		return body;
	json_decref(body);
	kapi_fail(q->k, q->x, 400, "BadRequest", NULL, NULL, "the body is not an object: %s", err.text);
	return NULL;
}

/* Puts name, namespace, version in order and says what is wrong; false after an answer. */
static bool kwrite_identity(struct kreq *q, json_t *obj)
{
	AUTO_FREE char *api_version = kres_api_version(q->res, q->version);
	const char *kind = json_str_or(obj, "kind", q->res->kind);
	const char *version = json_str_or(obj, "apiVersion", api_version);
	const char *ns;

	if (strcmp(kind, q->res->kind) != 0 || strcmp(version, api_version) != 0) {
		kapi_fail(q->k, q->x, 400, "BadRequest", q->res, q->name,
			  "the API version in the data (%s, kind %s) does not match the expected API version (%s, kind %s)",
			  version, kind, api_version, q->res->kind);
		return false;
	}
	if (!json_is_object(json_object_get(obj, "metadata")))
		json_object_set_new(obj, "metadata", json_object());
	ns = kstore_ns(obj);
	if (q->ns && ns && strcmp(ns, q->ns) != 0) {
		kapi_fail(q->k, q->x, 400, "BadRequest", q->res, q->name,
			  "the namespace of the provided object does not match the namespace sent on the request");
		return false;
	}
	if (q->name && kstore_name(obj) && strcmp(kstore_name(obj), q->name) != 0) {
		kapi_fail(q->k, q->x, 400, "BadRequest", q->res, q->name,
			  "the name of the object (%s) does not match the name on the URL (%s)", kstore_name(obj),
			  q->name);
		return false;
	}
	if (q->name)
		json_put_str(obj, "metadata.name", q->name);
	if (q->ns)
		json_put_str(obj, "metadata.namespace", q->ns);
	json_put_str(obj, "kind", q->res->kind);
	/* What is kept has one version, whichever was written. */
	free(TAKE(api_version));
	api_version = kres_api_version(q->res, NULL);
	json_put_str(obj, "apiVersion", api_version);
	return true;
}

/* Secret.stringData is written only: it becomes data. */
static void kwrite_string_data(const struct kres *r, json_t *obj)
{
	json_t *text = json_object_get(obj, "stringData"), *data = json_object_get(obj, "data"), *v;
	const char *key;

	if (strcmp(r->plural, "secrets") != 0 || !r->builtin)
		return;
	if (!json_object_get(obj, "type"))
		json_object_set_new(obj, "type", json_string("Opaque"));
	if (!text)
		return;
	if (!data) {
		data = json_object();
		json_object_set_new(obj, "data", data);
	}
	json_object_foreach(text, key, v) {
		AUTO_FREE char *b64 = base64_encode(json_string_value(v) ?: "", json_string_length(v));

		json_object_set_new(data, key, json_string(b64));
	}
	json_object_del(obj, "stringData");
}

/* False after an answer. */
static bool kwrite_valid(struct kreq *q, json_t *obj)
{
	struct pcg_error err = { 0 };
	const char *name = kstore_name(obj) ?: "";

	kwrite_string_data(q->res, obj);
	if (!kvalid_check(q->k, q->res, obj, &err))
		return true;
	kapi_fail(q->k, q->x, 422, "Invalid", q->res, name, "%s%s%s \"%s\" is invalid: %s", q->res->kind,
		  *q->res->group ? "." : "", q->res->group, name, err.text);
	return false;
}

static bool kwrite_namespace_there(struct kreq *q)
{
	const struct kres *namespaces = kres_find(q->k, "", "namespaces");
	json_t *ns = q->ns ? kstore_get(namespaces, NULL, q->ns) : NULL;

	if (q->ns && !ns) {
		kapi_fail(q->k, q->x, 404, "NotFound", namespaces, q->ns, "namespaces \"%s\" not found", q->ns);
		return false;
	}
	if (ns && json_at(ns, "metadata.deletionTimestamp")) {
		kapi_fail(q->k, q->x, 403, "Forbidden", q->res, NULL,
			  "unable to create new content in namespace %s because it is being terminated", q->ns);
		return false;
	}
	return true;
}

/* Everything but the storing; steals obj. */
static bool kwrite_dry_run(struct kreq *q, int status, json_t *obj)
{
	const char *dry = http_exchange_query(q->x, "dryRun");

	if (!dry || strcmp(dry, "All") != 0)
		return false;
	kapi_answer(q, status, obj);
	json_decref(obj);
	return true;
}

/* Creates and answers 201; steals obj. */
static void kwrite_make(struct kreq *q, json_t *obj)
{
	json_t *made;

	if (!kwrite_namespace_there(q) || !kwrite_valid(q, obj)) {
		json_decref(obj);
		return;
	}
	if (q->res->status)
		json_object_del(obj, "status");
	json_object_del(json_object_get(obj, "metadata"), "managedFields");
	if (kwrite_dry_run(q, 201, obj))
		return;
	made = kstore_create(q->k, q->res, obj);
	kapi_answer(q, 201, made);
}

void kwrite_create(struct kreq *q)
{
	json_t *obj = kwrite_body(q, strstr(http_exchange_header(q->x, "content-type") ?: "", "yaml") != NULL);
	const char *generate;

	if (!obj)
		return;
	if (q->res->namespaced && !q->ns) {
		kapi_fail(q->k, q->x, 405, "MethodNotAllowed", q->res, NULL,
			  "the server does not allow this method on the requested resource");
		json_decref(obj);
		return;
	}
	if (!kwrite_identity(q, obj)) {
		json_decref(obj);
		return;
	}
	generate = json_str(obj, "metadata.generateName");
	if (!kstore_name(obj) && generate) {
		char suffix[6];

		id_suffix(suffix, 5);
		json_put(obj, "metadata.name", json_sprintf("%s%s", generate, suffix));
	}
	if (kstore_name(obj) && kstore_get(q->res, q->ns, kstore_name(obj))) {
		kapi_fail(q->k, q->x, 409, "AlreadyExists", q->res, kstore_name(obj),
			  "%s%s%s \"%s\" already exists", q->res->plural, *q->res->group ? "." : "", q->res->group,
			  kstore_name(obj));
		json_decref(obj);
		return;
	}
	if (json_str(obj, "metadata.resourceVersion") && *json_str(obj, "metadata.resourceVersion")) {
		kapi_fail(q->k, q->x, 400, "BadRequest", q->res, kstore_name(obj),
			  "resourceVersion should not be set on objects to be created");
		json_decref(obj);
		return;
	}
	kwrite_make(q, obj);
}

/* What a write may not change comes from what is there; /status changes status alone, the rest all but it. */
static void kwrite_keep(struct kreq *q, json_t *edited, const json_t *old)
{
	static const char *const fixed[] = { "uid", "creationTimestamp", "generation", "deletionTimestamp",
					     "deletionGracePeriodSeconds", "resourceVersion" };
	json_t *meta = json_object_get(edited, "metadata");
	const json_t *old_meta = json_object_get(old, "metadata");

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		json_t *v = json_object_get(old_meta, fixed[i]);

		if (v)
			json_object_set(meta, fixed[i], v);
		else
			json_object_del(meta, fixed[i]);
	}
	json_object_del(meta, "managedFields");
	if (q->sub && strcmp(q->sub, "status") == 0) {
		json_t *status = json_incref(json_object_get(edited, "status"));
		json_t *rest = kstore_edit(old);

		json_object_clear(edited);
		json_object_update(edited, rest);
		json_decref(rest);
		if (status)
			json_object_set_new(edited, "status", status);
	} else if (q->res->status) {
		json_t *status = json_object_get(old, "status");

		if (status)
			json_object_set(edited, "status", status);
		else
			json_object_del(edited, "status");
	}
}

/* Steals edited; answers. */
static void kwrite_store(struct kreq *q, json_t *old, json_t *edited)
{
	const char *rv = json_str(edited, "metadata.resourceVersion");
	const char *uid = kstore_uid(edited);
	json_t *now, *gone;

	if ((rv && *rv && strcmp(rv, json_str_or(old, "metadata.resourceVersion", "")) != 0) ||
	    (uid && strcmp(uid, kstore_uid(old)) != 0)) {
		kwrite_conflict(q, q->name);
		json_decref(edited);
		return;
	}
	kwrite_keep(q, edited, old);
	if (!kwrite_valid(q, edited)) {
		json_decref(edited);
		return;
	}
	if (kwrite_dry_run(q, 200, edited))
		return;
	gone = json_incref(edited);
	now = kstore_update(q->k, q->res, edited);
	kapi_answer(q, 200, now ? now : gone);
	json_decref(gone);
}

void kwrite_update(struct kreq *q)
{
	json_t *obj = kwrite_body(q, false), *old = kstore_get(q->res, q->ns, q->name);

	if (!obj)
		return;
	if (!old || !kwrite_identity(q, obj)) {
		if (!old)
			kwrite_not_found(q);
		json_decref(obj);
		return;
	}
	if (q->sub && strcmp(q->sub, "finalize") == 0 && strcmp(q->res->plural, "namespaces") == 0) {
		json_t *edited = kstore_edit(old);

		json_object_set(edited, "spec", json_object_get(obj, "spec"));
		json_decref(obj);
		obj = edited;
	}
	kwrite_store(q, old, obj);
}

/* RFC 7386. Lists are replaced, in an apply too: one manager writes them here. */
static void kwrite_merge(json_t *target, const json_t *patch)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)patch, key, v) {
		json_t *have = json_object_get(target, key);

		if (json_is_null(v)) {
			json_object_del(target, key);
		} else if (json_is_object(v)) {
			if (!json_is_object(have)) {
				have = json_object();
				json_object_set_new(target, key, have);
			}
			kwrite_merge(have, v);
		} else {
			json_object_set_new(target, key, json_deep_copy(v));
		}
	}
}

static void kwrite_apply(struct kreq *q, json_t *patch)
{
	json_t *old = kstore_get(q->res, q->ns, q->name), *edited;
	const char *manager = http_exchange_query(q->x, "fieldManager");

	if (!manager || !*manager) {
		kapi_fail(q->k, q->x, 422, "Invalid", NULL, NULL,
			  "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply "
			  "patch");
		json_decref(patch);
		return;
	}
	if (!json_str(patch, "apiVersion") || !json_str(patch, "kind")) {
		kapi_fail(q->k, q->x, 400, "BadRequest", NULL, NULL,
			  "an applied object must have apiVersion and kind");
		json_decref(patch);
		return;
	}
	if (!kwrite_identity(q, patch)) {
		json_decref(patch);
		return;
	}
	if (!old && q->sub) {
		kwrite_not_found(q);
		json_decref(patch);
		return;
	}
	if (!old && json_str(patch, "metadata.uid")) {
		kwrite_conflict(q, q->name);
		json_decref(patch);
		return;
	}
	if (!old) {
		json_object_del(json_object_get(patch, "metadata"), "resourceVersion");
		kwrite_make(q, patch);
		return;
	}
	edited = kstore_edit(old);
	if (!json_str(patch, "metadata.resourceVersion"))
		json_object_del(json_object_get(edited, "metadata"), "resourceVersion");
	kwrite_merge(edited, patch);
	json_decref(patch);
	kwrite_store(q, old, edited);
}

static void kwrite_merge_patch(struct kreq *q, json_t *patch)
{
	json_t *old = kstore_get(q->res, q->ns, q->name), *edited;

	if (!old) {
		kwrite_not_found(q);
		json_decref(patch);
		return;
	}
	edited = kstore_edit(old);
	json_object_del(json_object_get(edited, "metadata"), "resourceVersion");
	kwrite_merge(edited, patch);
	json_decref(patch);
	/* The body may name any served version. */
	json_object_set(edited, "apiVersion", json_object_get(old, "apiVersion"));
	if (strcmp(kstore_name(edited) ?: "", q->name) != 0) {
		kapi_fail(q->k, q->x, 400, "BadRequest", q->res, q->name,
			  "the name of the object does not match the name on the URL (%s)", q->name);
		json_decref(edited);
		return;
	}
	kwrite_store(q, old, edited);
}

void kwrite_patch(struct kreq *q)
{
	const char *type = http_exchange_header(q->x, "content-type") ?: "";
	bool apply = strncmp(type, "application/apply-patch", 23) == 0;
	json_t *patch;

	if (!apply && strncmp(type, "application/merge-patch+json", 28) != 0 &&
	    strncmp(type, "application/strategic-merge-patch+json", 38) != 0) {
		kapi_fail(q->k, q->x, 415, "UnsupportedMediaType", NULL, NULL,
			  "the body of the request was in an unknown format - accepted media types include: "
			  "application/merge-patch+json, application/apply-patch+yaml");
		return;
	}
	if (strncmp(type, "application/strategic", 21) == 0 && !q->res->builtin) {
		kapi_fail(q->k, q->x, 415, "UnsupportedMediaType", NULL, NULL,
			  "strategic merge patch is not supported for custom resources");
		return;
	}
	patch = kwrite_body(q, apply && strstr(type, "yaml") != NULL);
	if (!patch)
		return;
	if (apply)
		kwrite_apply(q, patch);
	else
		kwrite_merge_patch(q, patch);
}

static const char *kwrite_propagation(struct kreq *q, const json_t *options)
{
	const char *p = http_exchange_query(q->x, "propagationPolicy");

	return p ? p : json_str(options, "propagationPolicy");
}

static void kwrite_orphan(struct kapi *k, const char *uid)
{
	for (size_t i = 0; i < k->n_res; i++) {
		AUTO_JSON json_t *all = json_copy(k->res[i]->objects);
		const char *key;
		json_t *obj;

		json_object_foreach(all, key, obj) {
			json_t *edited, *owners, *o;
			size_t n;

			if (!json_at(obj, "metadata.ownerReferences"))
				continue;
			edited = kstore_edit(obj);
			owners = json_at(edited, "metadata.ownerReferences");
			for (n = json_array_size(owners); n > 0; n--) {
				o = json_array_get(owners, n - 1);
				if (strcmp(json_str_or(o, "uid", ""), uid) == 0)
					json_array_remove(owners, n - 1);
			}
			kstore_update(k, k->res[i], edited);
		}
	}
}

void kwrite_delete(struct kreq *q)
{
	AUTO_JSON json_t *options = NULL, *obj = json_incref(kstore_get(q->res, q->ns, q->name));
	AUTO_JSON json_t *left = NULL;
	struct pcg_error err = { 0 };
	const char *uid, *rv, *policy;

	if (!obj) {
		kwrite_not_found(q);
		return;
	}
	if (q->http->body_len && json_parse(q->http->body, q->http->body_len, "body", &options, &err)) {
		kapi_fail(q->k, q->x, 400, "BadRequest", NULL, NULL, "%s", err.text);
		return;
	}
	uid = json_str(options, "preconditions.uid");
	rv = json_str(options, "preconditions.resourceVersion");
	if ((uid && strcmp(uid, kstore_uid(obj)) != 0) ||
	    (rv && strcmp(rv, json_str_or(obj, "metadata.resourceVersion", "")) != 0)) {
		kwrite_conflict(q, q->name);
		return;
	}
	policy = kwrite_propagation(q, options);
	if (policy && strcmp(policy, "Orphan") == 0)
		kwrite_orphan(q->k, kstore_uid(obj));
	kstore_delete(q->k, q->res, obj, policy);
	left = json_incref(kstore_get(q->res, q->ns, q->name));
	if (left)
		kapi_reply(q->k, q->x, 200, kapi_view(q, left));
	else
		kapi_reply(q->k, q->x, 200, json_pack("{s:s, s:s, s:{}, s:s, s:{s:s, s:s, s:s}}", "kind", "Status",
						      "apiVersion", "v1", "metadata", "status", "Success", "details",
						      "name", q->name, "kind", q->res->plural, "uid",
						      kstore_uid(obj)));
}

void kwrite_delete_collection(struct kreq *q)
{
	const char *labels = http_exchange_query(q->x, "labelSelector");
	AUTO_FREE char *api_version = kres_api_version(q->res, q->version);
	AUTO_JSON json_t *all = json_copy(q->res->objects);
	const char *key;
	json_t *obj;

	json_object_foreach(all, key, obj)
		if ((!q->ns || strcmp(kstore_ns(obj) ?: "", q->ns) == 0) && kselect_labels(labels, obj))
			kstore_delete(q->k, q->res, obj, http_exchange_query(q->x, "propagationPolicy"));
	kapi_reply(q->k, q->x, 200, json_pack("{s:s, s:s, s:{}, s:[]}", "kind", q->res->list_kind, "apiVersion",
					      api_version, "metadata", "items"));
}
