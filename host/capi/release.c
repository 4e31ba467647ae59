/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load balancers and volumes go by the hands of the controllers that made them, while these still
 * run. A claim is held by the pods that use it, and made again by a StatefulSet that finds it gone:
 * so whatever made the pods goes too, and everything is looked at anew until nothing is left or the
 * time is over. What stays is told, and holds nothing up.
 *
 * A volume that a driver is making is seen by nobody until it is there. Its claim is left alone for a fifth of the time, so
 * that it becomes one that can be removed; after that the claim goes, and what its driver still makes is waited for a while.
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
	json_t *making;     /* claims that a driver makes a volume for, in this round: [{"namespace","name","uid"}] */
	json_t *unmade;     /* those that were deleted all the same */
	json_t *asked;      /* labels of what was deleted before: told once */
	int64_t started_ms, deadline_ms;
	int64_t settled_ms; /* not done before */
	bool overdue;       /* what is still being made goes */
	uint32_t look_ms;
};

/* How long a volume that is being made is waited for before its claim goes. */
static int64_t making_ms(const struct release *r)
{
	return (r->deadline_ms - r->started_ms) / 5;
}

/* How long one that a driver goes on making without its claim. */
static int64_t settle_ms(const struct release *r)
{
	return (r->deadline_ms - r->started_ms) / 20;
}

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
	json_decref(r->making);
	json_decref(r->unmade);
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

static bool is_claim(const json_t *claim, const char *ns, const char *name)
{
	return strcmp(json_str_or(claim, "namespace", ""), ns) == 0 &&
	       strcmp(json_str_or(claim, "name", ""), name) == 0;
}

static bool claim_goes(const struct release *r, const char *ns, const char *name)
{
	json_t *v, *claim;
	size_t i;

	json_array_foreach (r->making, i, claim)
		if (r->overdue && is_claim(claim, ns, name))
			return true;
	json_array_foreach (r->attached.volumes, i, v)
		if (attached_is_removed(v, json_object_get(r->input, "keepVolumes")) &&
		    is_claim(json_object_get(v, "claim"), ns, name))
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

static void add_unmade(struct release *r, const json_t *claim)
{
	json_t *known;
	size_t i;

	json_array_foreach (r->unmade, i, known)
		if (strcmp(json_str_or(known, "uid", ""), json_str_or(claim, "uid", "")) == 0)
			return;
	json_array_append_new(r->unmade, json_deep_copy(claim));
}

static bool is_volume_of(const json_t *volumes, const char *uid)
{
	json_t *v;
	size_t i;

	json_array_foreach (volumes, i, v)
		if (strcmp(json_str_or(v, "claim.uid", ""), uid) == 0)
			return true;
	return false;
}

/* One whose volume was seen after all is told as that volume, or is gone. */
static void forget_made(struct release *r)
{
	size_t i = 0;

	while (i < json_array_size(r->unmade)) {
		const json_t *claim = json_array_get(r->unmade, i);

		if (is_volume_of(r->attached.volumes, json_str_or(claim, "uid", "")))
			json_array_remove(r->unmade, i);
		else
			i++;
	}
}

/* External provisioners call a volume pvc-UID. */
static json_t *left_unmade(const json_t *claim)
{
	AUTO_FREE char *id = NULL;
	AUTO_FREE char *name = NULL;

	if (asprintf(&id, "pvc-%s", json_str_or(claim, "uid", "")) < 0 ||
	    asprintf(&name, "volume of claim %s/%s", json_str_or(claim, "namespace", ""),
		     json_str_or(claim, "name", "")) < 0)
		abort();
	return json_pack("{s:s,s:s,s:s}", "id", id, "name", name, "why",
			 "may be there: its driver had been asked for it and had not made it in time");
}

static json_t *left(const struct release *r)
{
	AUTO_JSON json_t *seen = json_pack("{s:O,s:O}", "loadBalancers", r->attached.load_balancers,
					   "volumes", r->attached.volumes);
	json_t *out = capi_attached_left(seen, json_object_get(r->input, "keepVolumes"), NULL);
	json_t *claim;
	size_t i;

	json_array_foreach (r->unmade, i, claim)
		json_array_append_new(out, left_unmade(claim));
	return out;
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

static void add_targets(struct release *r)
{
	json_t *o;
	size_t i;

	drop_targets(r);
	json_array_clear(r->namespaces);
	json_array_foreach (r->attached.load_balancers, i, o)
		if (!json_bool_or(o, "deleting", false))
			add_target(r, "v1", "Service", json_str(o, "namespace"),
				   json_str(o, "name"), json_str(o, "uid"));
	json_array_foreach (r->attached.volumes, i, o)
		if (attached_is_removed(o, json_object_get(r->input, "keepVolumes")) &&
		    strcmp(json_str_or(o, "phase", ""), "Bound") == 0 && json_str(o, "claim.name"))
			add_claim(r, json_object_get(o, "claim"));
	if (!json_array_size(r->making) || !r->overdue)
		return;
	if (!json_array_size(r->unmade))
		r->look_ms = LOOK_FIRST_MS;
	json_array_foreach (r->making, i, o) {
		add_claim(r, o);
		add_unmade(r, o);
	}
	r->settled_ms = clock_mono_ms() + settle_ms(r);
}

/* What a driver was given and has not bound yet. The annotation is set when a driver is asked: at once, or when the
 * claim's first pod has a node. */
static void take_making(struct release *r, const json_t *claims)
{
	static const char *const asked[] = {"volume.kubernetes.io/storage-provisioner",
					    "volume.beta.kubernetes.io/storage-provisioner"};
	json_t *c;
	size_t i;

	json_array_clear(r->making);
	json_array_foreach (claims, i, c) {
		const json_t *annotations = json_at(c, "metadata.annotations");

		if (*json_str_or(c, "spec.volumeName", "") || (!json_object_get(annotations, asked[0]) &&
							       !json_object_get(annotations, asked[1])))
			continue;
		json_array_append_new(r->making,
				      json_pack("{s:s,s:s,s:s}", "namespace",
						json_str_or(c, "metadata.namespace", ""), "name",
						json_str_or(c, "metadata.name", ""), "uid",
						json_str_or(c, "metadata.uid", "")));
	}
}

static void on_attached(struct capi_op *op, struct attached *a)
{
	struct release *r = op_state(op);
	size_t going = count_going(r) + json_array_size(r->making);
	int64_t now = clock_mono_ms();

	(void)a;
	forget_made(r);
	if ((going == 0 && now >= r->settled_ms) || now >= r->deadline_ms) {
		op_progress(op, going ? "given up" : "released", "load balancers and volumes");
		op_done(op, json_pack("{s:o}", "left", left(r)));
		return;
	}
	add_targets(r);
	op_batch(op, json_array_size(r->namespaces), begin_pods, end_pods, r);
}

/* Claims are read before the volumes: one that is bound meanwhile has its volume in what is read next. */
static void on_claims(struct capi_op *op, void *arg, const struct kube_reply *reply)
{
	struct release *r = op_state(op);
	struct pcg_error err = reply->err;

	(void)arg;
	if (reply->status != 200) {
		pcg_fail_prefix(&err, "listing the claims of the cluster");
		op_fail(op, &err);
		return;
	}
	take_making(r, json_object_get(reply->body, "items"));
	r->overdue = clock_mono_ms() - r->started_ms >= making_ms(r);
	attached_read(op, &r->attached, on_attached);
}

static void read_again(struct capi_op *op, void *arg)
{
	(void)arg;
	op_list(op, "/api/v1/persistentvolumeclaims", NULL, on_claims, NULL);
}

static void start_release(struct capi_op *op)
{
	struct release *r = op_state(op);

	r->started_ms = clock_mono_ms();
	r->deadline_ms = r->started_ms + json_int_or(r->input, "timeoutMs", RELEASE_MS);
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
	r->making = json_array();
	r->unmade = json_array();
	r->asked = json_array();
	return op;
}
