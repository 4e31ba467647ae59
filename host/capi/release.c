/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load balancers and volumes go by the hands of the controllers that made them, while these still
 * run. A claim is held by the pods that use it, and made again by a StatefulSet that finds it gone:
 * so whatever made the pods goes too, and everything is looked at anew until nothing is left or the
 * time is over. What stays is told, and holds nothing up.
 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/attached.h"
#include "host/capi/path.h"
#include "core/clock.h"
#include "core/fault.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RELEASE_MS 300000
#define LOOK_FIRST_MS 100
#define LOOK_LAST_MS 5000

struct target {
	char *path, *label;
	char uid[64];
};

struct release {
	json_t *input;
	struct attached attached;
	struct target *targets; /* of the round under way */
	size_t n, room;
	json_t *namespaces; /* of the claims that go, in this round */
	json_t *asked;      /* labels of what was deleted before: told once */
	int64_t deadline_ms;
	uint32_t look_ms;
};

static void drop_targets(struct release *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->targets[i].path);
		free(r->targets[i].label);
	}
	r->n = 0;
}

static void free_release(void *state)
{
	struct release *r = state;

	drop_targets(r);
	free(r->targets);
	attached_free(&r->attached);
	json_decref(r->namespaces);
	json_decref(r->asked);
	json_decref(r->input);
}

/* ---- what is deleted in a round ---- */

static void add_target(struct release *r, const char *api, const char *kind, const char *ns,
		       const char *name, const char *uid)
{
	AUTO_FREE char *path = path_object(api, kind, ns, name);
	struct target *t;

	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->targets[i].path, path) == 0)
			return;
	if (r->n == r->room) {
		r->room = r->room ? r->room * 2 : 16;
		r->targets = realloc(r->targets, r->room * sizeof(*r->targets));
		assert(r->targets);
	}
	t = &r->targets[r->n++];
	memset(t, 0, sizeof(*t));
	if (asprintf(&t->label, "%s/%s/%s", kind, ns, name) < 0)
		abort();
	snprintf(t->uid, sizeof(t->uid), "%s", uid ? uid : "");
	t->path = TAKE(path);
}

static bool claim_goes(const struct release *r, const char *ns, const char *name)
{
	json_t *v;
	size_t i;

	json_array_foreach (r->attached.volumes, i, v)
		if (attached_is_removed(v, json_object_get(r->input, "keepVolumes")) &&
		    strcmp(json_str_or(v, "claim.namespace", ""), ns) == 0 &&
		    strcmp(json_str_or(v, "claim.name", ""), name) == 0)
			return true;
	return false;
}

static bool uses_a_claim_that_goes(const struct release *r, const json_t *pod)
{
	const char *ns = json_str_or(pod, "metadata.namespace", "");
	json_t *v;
	size_t i;

	json_array_foreach (json_at(pod, "spec.volumes"), i, v) {
		const char *claim = json_str(v, "persistentVolumeClaim.claimName");
		char made[600];

		/* A claim that was made for the pod alone is called by both names. */
		if (!claim && json_object_get(v, "ephemeral")) {
			snprintf(made, sizeof(made), "%s-%s",
				 json_str_or(pod, "metadata.name", ""), json_str_or(v, "name", ""));
			claim = made;
		}
		if (claim && claim_goes(r, ns, claim))
			return true;
	}
	return false;
}

static const json_t *controller_of(const json_t *object)
{
	json_t *ref;
	size_t i;

	json_array_foreach (json_at(object, "metadata.ownerReferences"), i, ref)
		if (json_bool_or(ref, "controller", false))
			return ref;
	return NULL;
}

/* Kinds that make pods, and those that make these. Others belong to controllers that we do not
 * know: their pods are deleted each time that they are seen. */
static bool makes_pods(const char *api, const char *kind)
{
	static const char *const known[][2] = {
		{"apps/v1", "StatefulSet"}, {"apps/v1", "ReplicaSet"}, {"apps/v1", "Deployment"},
		{"apps/v1", "DaemonSet"},   {"batch/v1", "Job"},       {"batch/v1", "CronJob"},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(known[i][0], api) == 0 && strcmp(known[i][1], kind) == 0)
			return true;
	return false;
}

static void add_controller(struct release *r, const json_t *object)
{
	const json_t *ref = controller_of(object);
	const char *api = json_str_or(ref, "apiVersion", ""), *kind = json_str_or(ref, "kind", "");

	if (ref && makes_pods(api, kind))
		add_target(r, api, kind, json_str_or(object, "metadata.namespace", ""),
			   json_str_or(ref, "name", ""), json_str(ref, "uid"));
}

/* ---- deleting ---- */

static void read_again(struct capi_op *op, void *arg);

static void on_deleted(struct capi_op *op, void *arg, const struct kube_reply *reply)
{
	struct target *t = arg;
	struct release *r = op_state(op);
	json_t *seen;
	size_t i;

	/* 409: somebody made another one of that name; the next look decides about it. */
	if (reply->status != 404 && reply->status != 409 &&
	    (reply->status < 200 || reply->status >= 300)) {
		struct pcg_error err = reply->err;

		pcg_fail_prefix(&err, "deleting %s", t->label);
		op_fail(op, &err);
		return;
	}
	json_array_foreach (r->asked, i, seen)
		if (strcmp(json_string_value(seen), t->label) == 0) {
			op_item_done(op);
			return;
		}
	json_array_append_new(r->asked, json_string(t->label));
	op_progress(op, "deleting", t->label);
	FAULT_POINT("capi.after_release_object");
	op_item_done(op);
}

static void begin_delete(struct capi_op *op, void *arg, size_t i)
{
	struct release *r = arg;
	struct target *t = &r->targets[i];
	AUTO_JSON json_t *body =
		json_pack("{s:s,s:s,s:s}", "apiVersion", "v1", "kind", "DeleteOptions",
			  "propagationPolicy", "Background");

	if (t->uid[0])
		json_put(body, "preconditions.uid", json_string(t->uid));
	op_call(op, "DELETE", t->path, NULL, body, 0, on_deleted, t);
}

static void end_delete(struct capi_op *op, void *arg)
{
	struct release *r = arg;

	op_after(op, r->look_ms, read_again, NULL);
	if (r->look_ms < LOOK_LAST_MS)
		r->look_ms *= 2;
}

static void delete_targets(struct capi_op *op)
{
	struct release *r = op_state(op);

	FAULT_POINT("capi.before_release");
	op_batch(op, r->n, begin_delete, end_delete, r);
}

/* ReplicaSets and Jobs are made again by what owns them. */
static void on_owner(struct capi_op *op, void *arg, const struct kube_reply *reply)
{
	(void)arg;
	if (reply->status == 200)
		add_controller(op_state(op), reply->body);
	op_item_done(op);
}


static void begin_owner(struct capi_op *op, void *arg, size_t i)
{
	struct release *r = arg;
	const struct target *t = &r->targets[i];

	if (strncmp(t->label, "ReplicaSet/", 11) == 0 || strncmp(t->label, "Job/", 4) == 0)
		op_call(op, "GET", t->path, NULL, NULL, 0, on_owner, NULL);
	else
		op_item_done(op);
}

static void end_owners(struct capi_op *op, void *arg)
{
	(void)arg;
	delete_targets(op);
}

static void on_pods(struct capi_op *op, void *arg, const struct kube_reply *reply)
{
	struct release *r = op_state(op);
	struct pcg_error err = reply->err;
	json_t *pod;
	size_t i;

	(void)arg;
	if (reply->status != 200) {
		pcg_fail_prefix(&err, "listing the pods that use volumes");
		op_fail(op, &err);
		return;
	}
	json_array_foreach (json_object_get(reply->body, "items"), i, pod) {
		if (!uses_a_claim_that_goes(r, pod))
			continue;
		add_controller(r, pod);
		add_target(r, "v1", "Pod", json_str_or(pod, "metadata.namespace", ""),
			   json_str_or(pod, "metadata.name", ""), json_str(pod, "metadata.uid"));
	}
	op_item_done(op);
}

static void begin_pods(struct capi_op *op, void *arg, size_t i)
{
	struct release *r = arg;
	AUTO_FREE char *path =
		path_collection("v1", "Pod", json_string_value(json_array_get(r->namespaces, i)));

	op_list(op, path, NULL, on_pods, NULL);
}

static void end_pods(struct capi_op *op, void *arg)
{
	struct release *r = arg;

	op_batch(op, r->n, begin_owner, end_owners, r);
}

/* ---- a round ---- */

static json_t *left(const struct release *r)
{
	AUTO_JSON json_t *seen = json_pack("{s:O,s:O}", "loadBalancers", r->attached.load_balancers,
					   "volumes", r->attached.volumes);

	return capi_attached_left(seen, json_object_get(r->input, "keepVolumes"), NULL);
}

static size_t count_going(const struct release *r)
{
	size_t n = json_array_size(r->attached.load_balancers), i;
	json_t *v;

	json_array_foreach (r->attached.volumes, i, v)
		n += attached_is_removed(v, json_object_get(r->input, "keepVolumes"));
	return n;
}

static void add_claim(struct release *r, const json_t *claim)
{
	const char *ns = json_str_or(claim, "namespace", "");
	json_t *known;
	size_t i;

	add_target(r, "v1", "PersistentVolumeClaim", ns, json_str(claim, "name"),
		   json_str(claim, "uid"));
	json_array_foreach (r->namespaces, i, known)
		if (strcmp(json_string_value(known), ns) == 0)
			return;
	json_array_append_new(r->namespaces, json_string(ns));
}

static void on_attached(struct capi_op *op, struct attached *a)
{
	struct release *r = op_state(op);
	json_t *o;
	size_t i;

	if (count_going(r) == 0 || clock_mono_ms() >= r->deadline_ms) {
		op_progress(op, count_going(r) ? "given up" : "released",
			    "load balancers and volumes");
		op_done(op, json_pack("{s:o}", "left", left(r)));
		return;
	}
	drop_targets(r);
	json_array_clear(r->namespaces);
	json_array_foreach (a->load_balancers, i, o)
		if (!json_bool_or(o, "deleting", false))
			add_target(r, "v1", "Service", json_str(o, "namespace"),
				   json_str(o, "name"), json_str(o, "uid"));
	json_array_foreach (a->volumes, i, o)
		if (attached_is_removed(o, json_object_get(r->input, "keepVolumes")) &&
		    strcmp(json_str_or(o, "phase", ""), "Bound") == 0 && json_str(o, "claim.name"))
			add_claim(r, json_object_get(o, "claim"));
	op_batch(op, json_array_size(r->namespaces), begin_pods, end_pods, r);
}

static void read_again(struct capi_op *op, void *arg)
{
	struct release *r = op_state(op);

	(void)arg;
	attached_read(op, &r->attached, on_attached);
}

static void start_release(struct capi_op *op)
{
	struct release *r = op_state(op);

	r->deadline_ms =
		clock_mono_ms() + json_int_or(r->input, "timeoutMs", RELEASE_MS);
	r->look_ms = LOOK_FIRST_MS;
	read_again(op, NULL);
}

struct capi_op *capi_release(struct kube *k, const json_t *input, const struct capi_callbacks *cb)
{
	static const struct op_type type = {
		.name = "release",
		.start = start_release,
		.free_state = free_release,
		.state_size = sizeof(struct release),
	};
	struct capi_op *op = op_new(k, &type, cb);
	struct release *r = op_state(op);

	r->input = json_deep_copy(input);
	r->namespaces = json_array();
	r->asked = json_array();
	return op;
}
