/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pivot back: authority and pause in one guarded patch, wait until controllers have seen it, stop
 * them, read what there is. A controller that is not there cannot observe the pause, so that wait
 * has an end; that no controller's pod is left has none.
 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/authority.h"
#include "host/capi/graph.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/fault.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define OBSERVE_MS 30000
#define STOP_MS 180000
#define LOOK_FIRST_MS 20
#define LOOK_LAST_MS 320
#define PROVIDER_LABEL "cluster.x-k8s.io/provider"
#define DEPLOYMENTS "/apis/apps/v1/deployments"

struct take_back {
	json_t *input;
	struct authority_attempt attempt;
	struct graph graph;
	json_t *deployments; /* of controllers */
	int64_t deadline_ms;
	uint32_t look_ms; /* until the next look at what controllers do */
	bool epoch_found;
	bool observed; /* by every controller */
	bool left; /* in the round under way: something still runs */
	char left_name[256];
};

static void free_take_back(void *state)
{
	struct take_back *t = state;

	graph_free(&t->graph);
	json_decref(t->deployments);
	json_decref(t->input);
}

static bool is_ours(const struct take_back *t, const json_t *cluster)
{
	const char *owner = json_string_value(
		json_object_get(json_at(cluster, "metadata.annotations"), CAPI_OWNER));

	return owner && strcmp(owner, json_str(t->input, "gatewayUid")) == 0;
}

/* The cluster itself knows its epoch best: a store that was lost may be behind. What was found first
 * holds, so that whoever is faster afterwards is seen. What this gateway had already taken back when it
 * was ended stands: its controllers may be stopped, and a patch is then refused for want of their webhooks. */
static void find_epoch(struct take_back *t, const json_t *cluster, const struct authority *now)
{
	int64_t after = json_int_or(t->input, "afterEpoch", 0), epoch;

	if (!after || t->epoch_found)
		return;
	t->epoch_found = true;
	if (strcmp(now->holder, "gateway") == 0 && now->epoch > after && is_ours(t, cluster))
		epoch = now->epoch;
	else
		epoch = (now->epoch > after ? now->epoch : after) + 1;
	json_object_set_new(t->input, "epoch", json_integer(epoch));
}

static enum authority_verdict decide_take_back(struct capi_op *op, const json_t *cluster,
					       const struct authority *now, struct pcg_error *err)
{
	struct take_back *t = op_state(op);
	int64_t epoch;

	find_epoch(t, cluster, now);
	epoch = json_int_or(t->input, "epoch", 0);
	if (strcmp(now->holder, "gateway") == 0 && now->epoch == epoch && is_ours(t, cluster))
		return now->paused ? AUTHORITY_DONE : AUTHORITY_CHANGE;
	if (now->epoch >= epoch) {
		pcg_fail(err, PCG_CLASS_CONFLICT, "nothing was changed; the newer authority stands",
			 "taking back cluster %s with epoch %" PRId64
			 ": its authority is \"%s\" with epoch %" PRId64,
			 json_str(t->input, "name"), epoch, now->holder, now->epoch);
		return AUTHORITY_REFUSED;
	}
	return AUTHORITY_CHANGE;
}

static void look_later(struct capi_op *op, void (*look)(struct capi_op *op, void *arg))
{
	struct take_back *t = op_state(op);

	op_after(op, t->look_ms, look, NULL);
	if (t->look_ms < LOOK_LAST_MS)
		t->look_ms *= 2;
}

static void fail(struct capi_op *op, const struct kube_reply *r, const char *what)
{
	struct pcg_error err = r->err;

	pcg_fail_prefix(&err, "%s", what);
	op_fail(op, &err);
}

/* ---- the graph, read after the controllers have stopped ---- */

static void on_final_graph(struct capi_op *op, struct graph *g)
{
	struct take_back *t = op_state(op);

	op_progress(op, "read", "objects");
	op_done(op, json_pack("{s:O,s:o,s:o,s:O}", "objects", g->objects, "machines", graph_machines(g),
			      "pools", graph_pools(g), "epoch", json_object_get(t->input, "epoch")));
}

static void read_final_graph(struct capi_op *op)
{
	struct take_back *t = op_state(op);

	FAULT_POINT("capi.after_controllers_stopped");
	/* Nothing changed since all had seen the pause, but machines that were on their way. */
	if (t->observed)
		graph_read_machines(op, &t->graph, on_final_graph);
	else
		graph_read(op, &t->graph, json_str(t->input, "namespace"),
			   json_str(t->input, "name"), on_final_graph);
}

/* ---- controllers ---- */

static const char *const controller_namespaces[] = {
	"capi-system",
	"capi-kubeadm-bootstrap-system",
	"capi-kubeadm-control-plane-system",
	"capv-system",
	"capo-system",
	"capmaas-system",
	"capsim-system",
};

static bool is_labelled(const json_t *deployment)
{
	return json_object_get(json_at(deployment, "metadata.labels"), PROVIDER_LABEL);
}

static bool is_controller(const struct take_back *t, const json_t *deployment)
{
	const char *ns = json_str_or(deployment, "metadata.namespace", "");
	json_t *more;
	size_t i;

	if (is_labelled(deployment))
		return true;
	for (i = 0; i < ARRAY_LEN(controller_namespaces); i++)
		if (strcmp(ns, controller_namespaces[i]) == 0)
			return true;
	json_array_foreach (json_object_get(t->input, "infrastructureNamespaces"), i, more)
		if (json_is_string(more) && strcmp(ns, json_string_value(more)) == 0)
			return true;
	return false;
}

static char *deployment_path(const json_t *deployment)
{
	char *path = NULL;
	int n = asprintf(&path, "/apis/apps/v1/namespaces/%s/deployments/%s",
			 json_str(deployment, "metadata.namespace"),
			 json_str(deployment, "metadata.name"));

	assert(n > 0);
	return path;
}

static void note_left(struct take_back *t, const char *what, const char *name)
{
	t->left = true;
	snprintf(t->left_name, sizeof(t->left_name), "%s %s", what, name);
}

static void check_stopped(struct capi_op *op, void *arg);

static void end_pods(struct capi_op *op, void *arg)
{
	struct take_back *t = arg;
	struct pcg_error err;

	if (!t->left) {
		op_progress(op, "stopped", "controllers");
		read_final_graph(op);
	} else if (clock_mono_ms() >= t->deadline_ms) {
		pcg_fail(&err, PCG_CLASS_RETRY,
			 "it is tried again; if its node is lost, remove the pod with kubectl "
			 "delete pod --force, or force the delete",
			 "controllers of cluster %s do not stop: %s is still there after %d s",
			 json_str(t->input, "name"), t->left_name, STOP_MS / 1000);
		op_fail(op, &err);
	} else {
		look_later(op, check_stopped);
	}
}

static bool wears(const json_t *labels, const json_t *wanted)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)wanted, key, value)
		if (!json_equal(value, json_object_get(labels, key)))
			return false;
	return json_object_size(wanted) > 0;
}

static const json_t *selected(const json_t *deployment)
{
	return json_at(deployment, "spec.selector.matchLabels");
}

static bool is_pod_of(const json_t *pod, const json_t *deployment)
{
	return strcmp(json_str_or(pod, "metadata.namespace", ""),
		      json_str_or(deployment, "metadata.namespace", "")) == 0 &&
	       wears(json_at(pod, "metadata.labels"), selected(deployment));
}

static void on_pods(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct take_back *t = arg;
	json_t *pod, *d;
	size_t i, k;

	if (r->status != 200) {
		fail(op, r, "listing the pods of a controller");
		return;
	}
	json_array_foreach (json_object_get(r->body, "items"), i, pod)
		json_array_foreach (t->deployments, k, d)
			if (is_pod_of(pod, d))
				note_left(t, "pod", json_str_or(pod, "metadata.name", "?"));
	op_item_done(op);
}

static void list_pods(struct capi_op *op, struct take_back *t, const json_t *deployment)
{
	struct buf selector;
	char path[300];
	const char *key;
	json_t *value;

	buf_init(&selector, 4096);
	json_object_foreach ((json_t *)selected(deployment), key, value)
		buf_addf(&selector, "%s%s=%s", selector.len ? "," : "", key,
			 json_string_value(value) ? json_string_value(value) : "");
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods",
		 json_str(deployment, "metadata.namespace"));
	if (selector.len)
		op_list(op, path, selector.data, on_pods, t);
	else
		op_item_done(op);
	buf_free(&selector);
}

/* Every pod wears the provider's label when each selector asks for it: then one list has them all. */
static bool pods_are_labelled(const struct take_back *t)
{
	json_t *d;
	size_t i;

	json_array_foreach (t->deployments, i, d)
		if (!json_object_get(selected(d), PROVIDER_LABEL))
			return false;
	return true;
}

static void begin_pods(struct capi_op *op, void *arg, size_t i)
{
	struct take_back *t = arg;

	if (pods_are_labelled(t))
		op_list(op, "/api/v1/pods", PROVIDER_LABEL, on_pods, t);
	else
		list_pods(op, t, json_array_get(t->deployments, i));
}

static const json_t *same_deployment(const json_t *items, const json_t *deployment)
{
	json_t *d;
	size_t i;

	json_array_foreach (items, i, d)
		if (json_equal(json_at(d, "metadata.name"), json_at(deployment, "metadata.name")) &&
		    json_equal(json_at(d, "metadata.namespace"),
			       json_at(deployment, "metadata.namespace")))
			return d;
	return NULL;
}

static void note_running(struct take_back *t, const json_t *deployment)
{
	bool seen = json_int_or(deployment, "status.observedGeneration", 0) >=
		    json_int_or(deployment, "metadata.generation", 0);

	if (!seen || json_int_or(deployment, "status.replicas", 0) > 0)
		note_left(t, "Deployment", json_str_or(deployment, "metadata.name", "?"));
}

/* Its number of replicas leaves out pods that are ending, so the pods are counted too. */
static void on_stopping(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct take_back *t = op_state(op);
	size_t n = json_array_size(t->deployments), i;
	json_t *d;

	(void)arg;
	if (r->status != 200) {
		fail(op, r, "listing the controllers' Deployments");
		return;
	}
	json_array_foreach (t->deployments, i, d)
		note_running(t, same_deployment(json_object_get(r->body, "items"), d));
	if (t->left)
		end_pods(op, t);
	else
		op_batch(op, n && pods_are_labelled(t) ? 1 : n, begin_pods, end_pods, t);
}

static const char *common_label(const struct take_back *t)
{
	json_t *d;
	size_t i;

	json_array_foreach (t->deployments, i, d)
		if (!is_labelled(d))
			return NULL;
	return PROVIDER_LABEL;
}

static void check_stopped(struct capi_op *op, void *arg)
{
	struct take_back *t = op_state(op);

	(void)arg;
	t->left = false;
	if (json_array_size(t->deployments))
		op_list(op, DEPLOYMENTS, common_label(t), on_stopping, NULL);
	else
		end_pods(op, t);
}

static void on_scaled(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	(void)arg;
	if (r->status != 200 && r->status != 404)
		fail(op, r, "stopping a controller");
	else
		op_item_done(op);
}

static void begin_scale(struct capi_op *op, void *arg, size_t i)
{
	struct take_back *t = arg;
	const json_t *deployment = json_array_get(t->deployments, i);
	AUTO_FREE char *path = deployment_path(deployment);
	AUTO_JSON json_t *body = json_pack("{s:{s:i}}", "spec", "replicas", 0);

	if (json_int_or(deployment, "spec.replicas", 1) == 0) {
		op_item_done(op);
		return;
	}
	op_progress(op, "stopping", json_str(deployment, "metadata.name"));
	op_call(op, "PATCH", path, OP_MERGE_PATCH, body, OP_UNREAD, on_scaled, NULL);
}

static void end_scale(struct capi_op *op, void *arg)
{
	struct take_back *t = arg;

	t->deadline_ms = clock_mono_ms() + STOP_MS;
	t->look_ms = LOOK_FIRST_MS;
	look_later(op, check_stopped);
}

static void stop_controllers(struct capi_op *op)
{
	struct take_back *t = op_state(op);

	FAULT_POINT("capi.before_controllers_stopped");
	op_batch(op, json_array_size(t->deployments), begin_scale, end_scale, t);
}

static bool anyone_runs(const struct take_back *t)
{
	json_t *d;
	size_t i;

	json_array_foreach (t->deployments, i, d)
		if (json_int_or(d, "status.replicas", 0) > 0 ||
		    json_int_or(d, "spec.replicas", 1) > 0)
			return true;
	return false;
}

static void observe(struct capi_op *op, void *arg);

static void on_deployments(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct take_back *t = op_state(op);
	json_t *d;
	size_t i;

	(void)arg;
	if (r->status != 200) {
		fail(op, r, "listing the controllers' Deployments");
		return;
	}
	json_decref(t->deployments);
	t->deployments = json_array();
	json_array_foreach (json_object_get(r->body, "items"), i, d)
		if (is_controller(t, d))
			json_array_append(t->deployments, d);
	t->look_ms = LOOK_FIRST_MS;
	if (anyone_runs(t))
		look_later(op, observe);
	else
		stop_controllers(op);
}

/* ---- the pause observed ---- */

/* 1: says that it is paused; 0: says that it is not; -1: says nothing about it. */
static int reports_paused(const json_t *object)
{
	json_t *c;
	size_t i;

	json_array_foreach (json_at(object, "status.conditions"), i, c)
		if (strcmp(json_str_or(c, "type", ""), "Paused") == 0)
			return strcmp(json_str_or(c, "status", ""), "True") == 0;
	return -1;
}

/* An infrastructure object without an owner does not know its Cluster and never reports the pause.
 */
static bool all_observed(const struct graph *g)
{
	bool cluster = false;
	json_t *o;
	size_t i;

	json_array_foreach (g->objects, i, o) {
		int paused = reports_paused(o);

		if (strcmp(json_str(o, "kind"), "Cluster") == 0)
			cluster = paused == 1;
		else if (paused == 0 && json_array_size(json_at(o, "metadata.ownerReferences")))
			return false;
	}
	return cluster;
}

static void after_look(struct capi_op *op, bool observed)
{
	struct take_back *t = op_state(op);

	if (observed) {
		t->observed = true;
		op_progress(op, "observed", "pause");
		stop_controllers(op);
	} else if (clock_mono_ms() >= t->deadline_ms) {
		op_progress(op, "not observed in time", "pause");
		stop_controllers(op);
	} else {
		look_later(op, observe);
	}
}

static void on_observed_graph(struct capi_op *op, struct graph *g)
{
	after_look(op, all_observed(g));
}

/* Whoever is not seen in the Cluster is not looked for in all the rest. */
static void on_observed_cluster(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct take_back *t = op_state(op);

	(void)arg;
	if (r->status != 200)
		fail(op, r, "reading whether the Cluster's pause is observed");
	else if (reports_paused(r->body) != 1)
		after_look(op, false);
	else
		graph_read(op, &t->graph, json_str(t->input, "namespace"),
			   json_str(t->input, "name"), on_observed_graph);
}

static void observe(struct capi_op *op, void *arg)
{
	struct take_back *t = op_state(op);

	(void)arg;
	authority_get(op, t->input, t->graph.old, on_observed_cluster);
}

static void on_taken(struct capi_op *op, const json_t *cluster)
{
	struct take_back *t = op_state(op);

	if (!cluster) {
		op_done(op, json_pack("{s:b}", "exists", false));
		return;
	}
	t->graph.old =
		strcmp(json_str_or(cluster, "apiVersion", ""), CAPI_CLUSTER_API_OLD) == 0;
	if (json_bool_or(cluster, "spec.paused", false))
		op_progress(op, "paused", json_str(t->input, "name"));
	t->deadline_ms = clock_mono_ms() + json_int_or(t->input, "observeTimeoutMs", OBSERVE_MS);
	op_list(op, DEPLOYMENTS, NULL, on_deployments, NULL);
}

static const struct authority_change take_back_change = {
	.what = "taking back",
	.holder = "gateway",
	.paused = true,
	.before_point = "capi.before_take_back_patch",
	.after_point = "capi.after_take_back_patch",
	.decide = decide_take_back,
	.changed = on_taken,
	/* The webhooks that refuse it belong to controllers that are stopped already. */
	.unpaused_ok = true,
};

static const struct authority_change take_back_after = {
	.what = "taking back",
	.holder = "gateway",
	.paused = true,
	.before_point = "capi.before_take_back_patch",
	.after_point = "capi.after_take_back_patch",
	.decide = decide_take_back,
	.changed = on_taken,
	.missing_ok = true,
	.patient = true,
	.unpaused_ok = true,
};

static void start_take_back(struct capi_op *op)
{
	struct take_back *t = op_state(op);
	int64_t after = json_int_or(t->input, "afterEpoch", 0);
	struct pcg_error err;

	if (after)
		json_object_set_new(t->input, "epoch", json_integer(after + 1));
	if (authority_check_input(t->input, &err))
		op_fail(op, &err);
	else
		authority_change(op, &t->attempt, after ? &take_back_after : &take_back_change,
				 t->input);
}

struct capi_op *capi_take_back(struct kube *k, const json_t *input, const struct capi_callbacks *cb)
{
	static const struct op_type type = {
		.name = "take_back",
		.start = start_take_back,
		.free_state = free_take_back,
		.state_size = sizeof(struct take_back),
	};
	struct capi_op *op = op_new(k, &type, cb);
	struct take_back *t = op_state(op);

	t->input = json_deep_copy(input);
	return op;
}
