/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kapi.h"

#include "core/clock.h"
#include "core/id.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *kstore_name(const json_t *obj)
{
	return json_string_value(json_object_get(json_object_get(obj, "metadata"), "name"));
}

const char *kstore_ns(const json_t *obj)
{
	return json_string_value(json_object_get(json_object_get(obj, "metadata"), "namespace"));
}

const char *kstore_uid(const json_t *obj)
{
	return json_string_value(json_object_get(json_object_get(obj, "metadata"), "uid"));
}

const char *kstore_label(const json_t *obj, const char *label)
{
	return json_string_value(json_object_get(
		json_object_get(json_object_get(obj, "metadata"), "labels"), label));
}

char *kstore_key(const char *ns, const char *name)
{
	char *key;

	if (asprintf(&key, "%s%s%s", ns ? ns : "", ns ? "/" : "", name) < 0)
		abort();
	return key;
}

json_t *kstore_get(const struct kres *r, const char *ns, const char *name)
{
	AUTO_FREE char *key = kstore_key(r->namespaced ? ns : NULL, name);

	return json_object_get(r->objects, key);
}

static void kstore_event(struct kapi *k, struct kres *r, enum kevent_type type, json_t *obj, json_t *before)
{
	struct kevent *e = &k->events[k->next_event++ % KAPI_EVENTS];

	json_decref(e->object);
	json_decref(e->before);
	e->rv = k->rv;
	e->type = type;
	e->res = r;
	e->object = json_incref(obj);
	e->before = json_incref(before);
}

static char *kstore_res_id(const struct kres *r)
{
	char *id;

	if (asprintf(&id, "%s.%s", r->plural, r->group) < 0)
		abort();
	return id;
}

static void kstore_set_rv(struct kapi *k, json_t *obj)
{
	char rv[24];

	snprintf(rv, sizeof(rv), "%" PRIu64, ++k->rv);
	json_object_set_new(json_object_get(obj, "metadata"), "resourceVersion", json_string(rv));
}

static bool kstore_is_crds(const struct kres *r)
{
	return r->builtin && strcmp(r->plural, "customresourcedefinitions") == 0;
}

json_t *kstore_put(struct kapi *k, struct kres *r, json_t *obj)
{
	AUTO_FREE char *key = kstore_key(r->namespaced ? kstore_ns(obj) : NULL, kstore_name(obj));
	AUTO_FREE char *res = kstore_res_id(r);
	AUTO_JSON json_t *before = json_incref(json_object_get(r->objects, key));

	kstore_set_rv(k, obj);
	json_object_set_new(r->objects, key, obj);
	r->changed_rv = k->rv;
	persist_object(k->cloud->persist, k->id, res, key, obj);
	kstore_event(k, r, before ? KEVENT_MODIFIED : KEVENT_ADDED, obj, before);
	if (kstore_is_crds(r))
		kres_from_crd(k, obj);
	kcontrol_wake(k, 0);
	return obj;
}

void kstore_remove(struct kapi *k, struct kres *r, json_t *obj)
{
	AUTO_FREE char *key = kstore_key(r->namespaced ? kstore_ns(obj) : NULL, kstore_name(obj));
	AUTO_FREE char *res = kstore_res_id(r);
	AUTO_JSON json_t *last = kstore_edit(obj);

	kstore_set_rv(k, last);
	json_object_del(r->objects, key);
	r->changed_rv = k->rv;
	persist_object(k->cloud->persist, k->id, res, key, NULL);
	kstore_event(k, r, KEVENT_DELETED, last, NULL);
	if (kstore_is_crds(r))
		kres_remove(k, json_str_or(last, "spec.group", ""), json_str_or(last, "spec.names.plural", ""));
	kcontrol_wake(k, 0);
	kcontrol_wake_gc(k);
}

/* What can be changed is copied: strings and numbers never are. */
json_t *kstore_edit(const json_t *obj)
{
	json_t *copy, *v;
	const char *key;
	size_t i;

	if (json_is_object(obj)) {
		copy = json_object();
		json_object_foreach((json_t *)obj, key, v)
			json_object_set_new_nocheck(copy, key, kstore_edit(v));
	} else if (json_is_array(obj)) {
		copy = json_array();
		json_array_foreach(obj, i, v)
			json_array_append_new(copy, kstore_edit(v));
	} else {
		copy = json_incref((json_t *)obj);
	}
	return copy;
}

static bool kstore_spec_differs(const json_t *a, const json_t *b)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)a, key, v)
		if (strcmp(key, "metadata") != 0 && strcmp(key, "status") != 0 &&
		    !json_equal(v, json_object_get(b, key)))
			return true;
	return false;
}

json_t *kstore_update(struct kapi *k, struct kres *r, json_t *edited)
{
	json_t *old = kstore_get(r, kstore_ns(edited), kstore_name(edited));
	json_t *meta = json_object_get(edited, "metadata");

	assert(old);
	if (json_equal(old, edited)) {
		json_decref(edited);
		return old;
	}
	if (kstore_spec_differs(old, edited) || kstore_spec_differs(edited, old))
		json_object_set_new(meta, "generation",
				    json_integer(json_int_or(old, "metadata.generation", 0) + 1));
	if (json_object_get(meta, "deletionTimestamp") && !json_array_size(json_object_get(meta, "finalizers")) &&
	    !json_array_size(json_at(edited, "spec.finalizers"))) {
		kstore_remove(k, r, edited);
		json_decref(edited);
		return NULL;
	}
	if (json_array_size(json_object_get(meta, "ownerReferences")))
		kcontrol_wake_gc(k);
	return kstore_put(k, r, edited);
}

static void kstore_now(char out[CLOCK_RFC3339_SIZE])
{
	clock_rfc3339(clock_wall_ms() / 1000 * 1000, out);
	memcpy(out + 19, "Z", 2);
}

json_t *kstore_create(struct kapi *k, struct kres *r, json_t *obj)
{
	json_t *meta = json_object_get(obj, "metadata");
	char uid[37], now[CLOCK_RFC3339_SIZE];

	if (!meta) {
		meta = json_object();
		json_object_set_new(obj, "metadata", meta);
	}
	id_uuid4(uid);
	kstore_now(now);
	json_object_set_new(meta, "uid", json_string(uid));
	json_object_set_new(meta, "creationTimestamp", json_string(now));
	json_object_set_new(meta, "generation", json_integer(1));
	json_object_del(meta, "deletionTimestamp");
	if (r->builtin && strcmp(r->plural, "namespaces") == 0) {
		json_object_set_new(obj, "spec", json_pack("{s:[s]}", "finalizers", "kubernetes"));
		json_object_set_new(obj, "status", json_pack("{s:s}", "phase", "Active"));
		if (!json_object_get(meta, "labels"))
			json_object_set_new(meta, "labels", json_object());
		json_object_set(json_object_get(meta, "labels"), "kubernetes.io/metadata.name",
				json_object_get(meta, "name"));
	}
	if (json_array_size(json_object_get(meta, "ownerReferences")))
		kcontrol_wake_gc(k);
	return kstore_put(k, r, obj);
}

void kstore_delete(struct kapi *k, struct kres *r, json_t *obj, const char *propagation)
{
	json_t *edited = kstore_edit(obj), *meta = json_object_get(edited, "metadata");
	json_t *finalizers = json_object_get(meta, "finalizers");
	char now[CLOCK_RFC3339_SIZE];

	if (propagation && strcmp(propagation, "Foreground") == 0 && !json_object_get(meta, "deletionTimestamp")) {
		if (!finalizers) {
			finalizers = json_array();
			json_object_set_new(meta, "finalizers", finalizers);
		}
		json_array_append_new(finalizers, json_string("foregroundDeletion"));
		kcontrol_wake_gc(k);
	}
	if (!json_array_size(finalizers) && !json_array_size(json_at(edited, "spec.finalizers"))) {
		kstore_remove(k, r, obj);
		json_decref(edited);
		return;
	}
	if (!json_object_get(meta, "deletionTimestamp")) {
		kstore_now(now);
		json_object_set_new(meta, "deletionTimestamp", json_string(now));
		json_object_set_new(meta, "deletionGracePeriodSeconds", json_integer(0));
		if (strcmp(r->plural, "namespaces") == 0 && r->builtin)
			json_put(edited, "status.phase", json_string("Terminating"));
	}
	kstore_update(k, r, edited);
}

static void kstore_load_one(void *arg, const char *res, const char *key, json_t *body)
{
	struct kapi *k = arg;
	AUTO_FREE char *plural = strdup(res);
	char *group = strchr(plural, '.');
	uint64_t rv = strtoull(json_str_or(body, "metadata.resourceVersion", "0"), NULL, 10);
	struct kres *r;

	*group++ = '\0';
	r = kres_find(k, group, plural);
	if (rv > k->rv)
		k->rv = rv;
	if (!r)
		return;
	json_object_set(r->objects, key, body);
	if (kstore_is_crds(r)) {
		kres_from_crd(k, body);
		kres_find(k, json_str_or(body, "spec.group", ""), json_str_or(body, "spec.names.plural", ""))
			->established = json_at(body, "status.conditions") != NULL;
	}
}

void kstore_load(struct kapi *k)
{
	/* Twice: objects of kinds that CRDs define come before them or after. */
	persist_each_object(k->cloud->persist, k->id, kstore_load_one, k);
	persist_each_object(k->cloud->persist, k->id, kstore_load_one, k);
	/* A removal may have had a later version than any object that is left. */
	k->rv += 1000;
	k->delivered_rv = k->rv;
}
