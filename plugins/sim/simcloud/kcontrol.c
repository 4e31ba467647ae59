/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kapi.h"

#include "core/clock.h"

#include <string.h>

/*
 * What kube-controller-manager, scheduler and kubelet do, in one pass over the objects that comes a
 * moment after each change: CRDs get established, namespaces end, nodes get ready by a network
 * layer, workloads become available where they may run, objects without owners are collected.
 */

/* A burst of writes is looked at once. */
#define PASS_MS 5

static void kcontrol_pass(uv_timer_t *t);

void kcontrol_wake(struct kapi *k, int64_t after_ms)
{
	int64_t due;

	after_ms = after_ms < PASS_MS ? PASS_MS : after_ms;
	due = clock_mono_ms() + after_ms;

	if (k->gone || !k->control_armed || (k->control_due_ms && k->control_due_ms <= due))
		return;
	k->control_due_ms = due;
	uv_update_time(k->cloud->loop);
	uv_timer_start(&k->control, kcontrol_pass, (uint64_t)after_ms, 0);
}

void kcontrol_poke(struct kapi *k)
{
	for (size_t i = 0; i < KSTAGES; i++)
		k->stages[i].idle = false;
	kcontrol_wake(k, 0);
}

void kcontrol_again(struct kapi *k, int64_t after_ms)
{
	k->waits = true;
	kcontrol_wake(k, after_ms);
}

void kcontrol_wake_gc(struct kapi *k)
{
	if (!k->gc_due_ms)
		k->gc_due_ms = clock_mono_ms() + k->cloud->settings.gc_ms;
	kcontrol_wake(k, k->cloud->settings.gc_ms);
}

bool kcontrol_due(struct kapi *k, const char *key, int64_t ms)
{
	json_t *since = json_object_get(k->due, key);
	int64_t now = clock_mono_ms(), left;

	if (!since) {
		json_object_set_new(k->due, key, json_integer(now));
		since = json_object_get(k->due, key);
	}
	left = json_integer_value(since) + ms - now;
	if (left > 0) {
		kcontrol_again(k, left);
		return false;
	}
	return true;
}

static void kcontrol_now(char out[CLOCK_RFC3339_SIZE])
{
	clock_rfc3339(clock_wall_ms() / 1000 * 1000, out);
	memcpy(out + 19, "Z", 2);
}

void kcontrol_condition(json_t *obj, const char *type, const char *status, const char *reason, const char *message)
{
	json_t *st = json_object_get(obj, "status"), *list, *c;
	char now[CLOCK_RFC3339_SIZE];
	size_t i;

	if (!st) {
		st = json_object();
		json_object_set_new(obj, "status", st);
	}
	list = json_object_get(st, "conditions");
	if (!list) {
		list = json_array();
		json_object_set_new(st, "conditions", list);
	}
	kcontrol_now(now);
	json_array_foreach(list, i, c) {
		if (strcmp(json_str_or(c, "type", ""), type) != 0)
			continue;
		if (strcmp(json_str_or(c, "status", ""), status) != 0)
			json_object_set_new(c, "lastTransitionTime", json_string(now));
		json_object_set_new(c, "status", json_string(status));
		json_object_set_new(c, "reason", json_string(reason));
		json_object_set_new(c, "message", json_string(message));
		return;
	}
	json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "type", type, "status", status, "reason", reason,
					      "message", message, "lastTransitionTime", now));
}

static void kcontrol_crds(struct kapi *k)
{
	struct kres *crds = kres_find(k, "apiextensions.k8s.io", "customresourcedefinitions");
	AUTO_JSON json_t *all = json_copy(crds->objects);
	const char *key;
	json_t *crd;

	json_object_foreach(all, key, crd) {
		struct kres *r = kres_find(k, json_str_or(crd, "spec.group", ""), json_str_or(crd, "spec.names.plural", ""));
		json_t *edited, *names;

		if (!r || r->established || !kcontrol_due(k, kstore_uid(crd), k->cloud->settings.crd_ms))
			continue;
		json_object_del(k->due, kstore_uid(crd));
		r->established = true;
		edited = kstore_edit(crd);
		names = json_deep_copy(json_at(crd, "spec.names"));
		if (!json_object_get(edited, "status"))
			json_object_set_new(edited, "status", json_object());
		json_put(edited, "status.acceptedNames", names);
		json_put(edited, "status.storedVersions", json_pack("[s]", r->version));
		kcontrol_condition(edited, "NamesAccepted", "True", "NoConflicts", "no conflicts found");
		kcontrol_condition(edited, "Established", "True", "InitialNamesAccepted",
				   "the initial names have been accepted");
		kstore_update(k, crds, edited);
	}
}

static bool kcontrol_empty_namespace(struct kapi *k, const char *ns)
{
	bool empty = true;

	for (size_t i = 0; i < k->n_res; i++) {
		AUTO_JSON json_t *all = json_copy(k->res[i]->objects);
		const char *key;
		json_t *obj;

		if (!k->res[i]->namespaced)
			continue;
		json_object_foreach(all, key, obj) {
			if (strcmp(kstore_ns(obj) ?: "", ns) != 0)
				continue;
			if (!json_at(obj, "metadata.deletionTimestamp"))
				kstore_delete(k, k->res[i], obj, "Background");
			empty = empty && !json_object_get(k->res[i]->objects, key);
		}
	}
	return empty;
}

static void kcontrol_namespaces(struct kapi *k)
{
	struct kres *namespaces = kres_find(k, "", "namespaces");
	AUTO_JSON json_t *all = json_copy(namespaces->objects);
	const char *key;
	json_t *ns;

	json_object_foreach(all, key, ns) {
		json_t *edited;

		if (!json_at(ns, "metadata.deletionTimestamp") || !json_array_size(json_at(ns, "spec.finalizers")))
			continue;
		if (!kcontrol_empty_namespace(k, key)) {
			k->waits = true;
			continue;
		}
		edited = kstore_edit(ns);
		json_put(edited, "spec.finalizers", json_array());
		kstore_update(k, namespaces, edited);
	}
}

/* A DaemonSet of kube-system on the host's network that is not kube-proxy is what brings the network. */
static bool kcontrol_has_network(struct kapi *k)
{
	struct kres *sets = kres_find(k, "apps", "daemonsets");
	const char *key;
	json_t *ds;

	json_object_foreach(sets->objects, key, ds)
		if (json_bool_or(ds, "spec.template.spec.hostNetwork", false) &&
		    strcmp(kstore_name(ds), "kube-proxy") != 0 && strncmp(kstore_name(ds), "kube-vip", 8) != 0)
			return true;
	return false;
}

static const char *kcontrol_condition_status(const json_t *obj, const char *type)
{
	size_t i;
	json_t *c;

	json_array_foreach(json_at(obj, "status.conditions"), i, c)
		if (strcmp(json_str_or(c, "type", ""), type) == 0)
			return json_str_or(c, "status", "");
	return "";
}

static void kcontrol_nodes(struct kapi *k)
{
	struct kres *nodes = kres_find(k, "", "nodes");
	AUTO_JSON json_t *all = json_copy(nodes->objects);
	bool network = kcontrol_has_network(k);
	const char *key;
	json_t *node;

	json_object_foreach(all, key, node) {
		AUTO_FREE char *due = NULL;
		json_t *edited;
		size_t i;
		json_t *taint, *taints;

		const char *ready = kcontrol_condition_status(node, "Ready");

		if (strcmp(ready, "True") == 0 || (!network && strcmp(ready, "False") == 0))
			continue;
		if (asprintf(&due, "network %s", kstore_uid(node)) < 0)
			abort();
		if (network && !kcontrol_due(k, due, k->cloud->settings.pods_ms))
			continue;
		edited = kstore_edit(node);
		kcontrol_condition(edited, "Ready", network ? "True" : "False", network ? "KubeletReady" : "KubeletNotReady",
				   network ? "kubelet is posting ready status" :
					     "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
					     "message:Network plugin returns error: cni plugin not initialized");
		taints = json_at(edited, "spec.taints");
		json_array_foreach(taints, i, taint) {
			if (network && strcmp(json_str_or(taint, "key", ""), "node.kubernetes.io/not-ready") == 0) {
				json_array_remove(taints, i);
				break;
			}
		}
		kstore_update(k, nodes, edited);
	}
}

static bool kcontrol_tolerates(const json_t *tolerations, const json_t *taint)
{
	const char *key = json_str_or(taint, "key", ""), *effect = json_str_or(taint, "effect", "");
	size_t i;
	json_t *t;

	json_array_foreach(tolerations, i, t) {
		const char *t_key = json_str_or(t, "key", ""), *t_effect = json_str_or(t, "effect", "");

		if (*t_effect && strcmp(t_effect, effect) != 0)
			continue;
		if (!*t_key && strcmp(json_str_or(t, "operator", ""), "Exists") == 0)
			return true;
		if (strcmp(t_key, key) == 0 &&
		    (strcmp(json_str_or(t, "operator", "Equal"), "Exists") == 0 ||
		     strcmp(json_str_or(t, "value", ""), json_str_or(taint, "value", "")) == 0))
			return true;
	}
	return false;
}

static bool kcontrol_runs_on(const json_t *pod, const json_t *node)
{
	bool host_network = json_bool_or(pod, "hostNetwork", false);
	const char *key;
	json_t *taint, *v;
	size_t i;

	if (!host_network && strcmp(kcontrol_condition_status(node, "Ready"), "True") != 0)
		return false;
	json_object_foreach(json_object_get(pod, "nodeSelector"), key, v)
		if (!json_equal(v, json_object_get(json_at(node, "metadata.labels"), key)))
			return false;
	json_array_foreach(json_at(node, "spec.taints"), i, taint) {
		const char *effect = json_str_or(taint, "effect", "");

		if (strcmp(effect, "PreferNoSchedule") == 0 ||
		    (host_network && strcmp(json_str_or(taint, "key", ""), "node.kubernetes.io/not-ready") == 0))
			continue;
		if (!kcontrol_tolerates(json_object_get(pod, "tolerations"), taint))
			return false;
	}
	return true;
}

static size_t kcontrol_places(struct kapi *k, const json_t *pod)
{
	size_t n = 0;
	const char *key;
	json_t *node;

	json_object_foreach(kres_find(k, "", "nodes")->objects, key, node)
		n += kcontrol_runs_on(pod, node);
	return n;
}

static void kcontrol_deployment_status(json_t *edited, json_int_t want, json_int_t up)
{
	json_t *old = json_object_get(json_object_get(edited, "status"), "conditions");
	json_t *st = json_pack("{s:I, s:I, s:I}", "observedGeneration",
			       (json_int_t)json_int_or(edited, "metadata.generation", 1), "replicas", want,
			       "updatedReplicas", want);

	if (up) {
		json_object_set_new(st, "readyReplicas", json_integer(up));
		json_object_set_new(st, "availableReplicas", json_integer(up));
	}
	if (want - up)
		json_object_set_new(st, "unavailableReplicas", json_integer(want - up));
	if (old)
		json_object_set(st, "conditions", old);
	json_object_set_new(edited, "status", st);
	kcontrol_condition(edited, "Available", up == want ? "True" : "False",
			   up == want ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
			   up == want ? "Deployment has minimum availability." :
					"Deployment does not have minimum availability.");
	kcontrol_condition(edited, "Progressing", "True", up == want ? "NewReplicaSetAvailable" : "ReplicaSetUpdated",
			   up == want ? "ReplicaSet has successfully progressed." : "ReplicaSet is progressing.");
}

static void kcontrol_daemonset_status(json_t *edited, json_int_t want, json_int_t up)
{
	json_object_set_new(edited, "status",
			    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "observedGeneration",
				      (json_int_t)json_int_or(edited, "metadata.generation", 1), "desiredNumberScheduled",
				      want, "currentNumberScheduled", want, "updatedNumberScheduled", want, "numberReady",
				      up, "numberAvailable", up, "numberMisscheduled", (json_int_t)0));
	if (want - up)
		json_put(edited, "status.numberUnavailable", json_integer(want - up));
}

/* Says already what there is to say: most passes find nothing new. */
static bool kcontrol_settled(const json_t *obj, bool daemons, json_int_t want, json_int_t up)
{
	const json_t *status = json_object_get(obj, "status");

	return status && json_int_or(status, "observedGeneration", 0) == json_int_or(obj, "metadata.generation", 1) &&
	       json_int_or(status, daemons ? "desiredNumberScheduled" : "replicas", -1) == want &&
	       json_int_or(status, daemons ? "numberAvailable" : "availableReplicas", 0) == up;
}

static void kcontrol_workloads(struct kapi *k, const char *plural)
{
	struct kres *r = kres_find(k, "apps", plural);
	AUTO_JSON json_t *all = json_copy(r->objects);
	bool daemons = strcmp(plural, "daemonsets") == 0;
	const char *key;
	json_t *obj;

	json_object_foreach(all, key, obj) {
		size_t places = kcontrol_places(k, json_at(obj, "spec.template.spec"));
		json_int_t want = daemons ? (json_int_t)places : json_int_or(obj, "spec.replicas", 1);
		json_int_t up = places ? want : 0;
		AUTO_FREE char *due = NULL;
		json_t *edited;

		if (kcontrol_settled(obj, daemons, want, up))
			continue;
		if (asprintf(&due, "up %s %lld %lld", kstore_uid(obj), (long long)json_int_or(obj, "metadata.generation", 1),
			     (long long)up) < 0)
			abort();
		if (up && !kcontrol_due(k, due, k->cloud->settings.pods_ms))
			up = 0;
		if (kcontrol_settled(obj, daemons, want, up))
			continue;
		edited = kstore_edit(obj);
		if (daemons)
			kcontrol_daemonset_status(edited, want, up);
		else
			kcontrol_deployment_status(edited, want, up);
		kstore_update(k, r, edited);
	}
}

static json_t *kcontrol_uids(struct kapi *k)
{
	json_t *uids = json_object();

	for (size_t i = 0; i < k->n_res; i++) {
		const char *key;
		json_t *obj;

		json_object_foreach(k->res[i]->objects, key, obj) {
			json_t *ns = json_object_get(json_object_get(obj, "metadata"), "namespace");

			json_object_set_new(uids, kstore_uid(obj), ns ? json_incref(ns) : json_string(""));
		}
	}
	return uids;
}

/* An owner exists by its uid, and only within the namespace or cluster-scoped. */
static bool kcontrol_owner_there(const json_t *uids, const json_t *owner, const json_t *obj)
{
	const char *ns = json_string_value(json_object_get(uids, json_str_or(owner, "uid", "")));

	return ns && (!*ns || strcmp(ns, kstore_ns(obj) ?: "") == 0);
}

static bool kcontrol_has_dependents(struct kapi *k, const char *uid)
{
	for (size_t i = 0; i < k->n_res; i++) {
		const char *key;
		json_t *obj, *o;
		size_t n;

		json_object_foreach(k->res[i]->objects, key, obj)
			json_array_foreach(json_at(obj, "metadata.ownerReferences"), n, o)
				if (strcmp(json_str_or(o, "uid", ""), uid) == 0 &&
				    json_bool_or(o, "blockOwnerDeletion", false))
					return true;
	}
	return false;
}

static bool kcontrol_foreground(const json_t *obj)
{
	size_t i;
	json_t *f;

	json_array_foreach(json_at(obj, "metadata.finalizers"), i, f)
		if (strcmp(json_string_value(f), "foregroundDeletion") == 0)
			return json_at(obj, "metadata.deletionTimestamp") != NULL;
	return false;
}

static void kcontrol_end_foreground(struct kapi *k, struct kres *r, const json_t *obj)
{
	json_t *edited, *list;

	if (kcontrol_has_dependents(k, kstore_uid(obj))) {
		kcontrol_wake_gc(k);
		return;
	}
	edited = kstore_edit(obj);
	list = json_at(edited, "metadata.finalizers");
	for (size_t i = json_array_size(list); i > 0; i--)
		if (strcmp(json_string_value(json_array_get(list, i - 1)), "foregroundDeletion") == 0)
			json_array_remove(list, i - 1);
	kstore_update(k, r, edited);
}

static bool kcontrol_owner_foreground(struct kapi *k, const json_t *owner)
{
	for (size_t i = 0; i < k->n_res; i++) {
		const char *key;
		json_t *obj;

		json_object_foreach(k->res[i]->objects, key, obj)
			if (strcmp(kstore_uid(obj), json_str_or(owner, "uid", "")) == 0)
				return kcontrol_foreground(obj);
	}
	return false;
}

static void kcontrol_collect_one(struct kapi *k, struct kres *r, json_t *obj, const json_t *uids)
{
	json_t *owners = json_at(obj, "metadata.ownerReferences"), *o, *edited;
	size_t i, lost = 0, ending = 0;

	if (kcontrol_foreground(obj))
		kcontrol_end_foreground(k, r, obj);
	json_array_foreach(owners, i, o) {
		if (!kcontrol_owner_there(uids, o, obj))
			lost++;
		else if (kcontrol_owner_foreground(k, o))
			ending++;
	}
	if (!lost && !ending)
		return;
	if (lost + ending == json_array_size(owners)) {
		if (!json_at(obj, "metadata.deletionTimestamp"))
			kstore_delete(k, r, obj, ending ? "Foreground" : "Background");
		return;
	}
	edited = kstore_edit(obj);
	owners = json_at(edited, "metadata.ownerReferences");
	for (i = json_array_size(owners); i > 0; i--)
		if (!kcontrol_owner_there(uids, json_array_get(owners, i - 1), obj))
			json_array_remove(owners, i - 1);
	kstore_update(k, r, edited);
}

/* Paused or not: the garbage collector knows nothing of Cluster API. */
static void kcontrol_collect(struct kapi *k)
{
	AUTO_JSON json_t *uids = NULL;

	if (!k->gc_due_ms || k->gc_due_ms > clock_mono_ms()) {
		if (k->gc_due_ms)
			kcontrol_wake(k, k->gc_due_ms - clock_mono_ms());
		return;
	}
	k->gc_due_ms = 0;
	uids = kcontrol_uids(k);
	for (size_t i = 0; i < k->n_res; i++) {
		AUTO_JSON json_t *all = json_copy(k->res[i]->objects);
		const char *key;
		json_t *obj;

		json_object_foreach(all, key, obj) {
			json_t *now = json_object_get(k->res[i]->objects, key);

			if (now && (json_at(now, "metadata.ownerReferences") || kcontrol_foreground(now))) {
				AUTO_JSON json_t *held = json_incref(now);

				kcontrol_collect_one(k, k->res[i], held, uids);
			}
		}
	}
}

static void kcontrol_daemonsets(struct kapi *k)
{
	kcontrol_workloads(k, "daemonsets");
}

static void kcontrol_deployments(struct kapi *k)
{
	kcontrol_workloads(k, "deployments");
}

/* inputs: kinds that it looks at; with custom also every kind that a CRD defines. */
static const struct {
	void (*run)(struct kapi *k);
	const char *inputs[4];
	bool custom;
} stages[KSTAGES] = {
	{ kcontrol_crds, { "customresourcedefinitions" }, false },
	{ kcontrol_nodes, { "nodes", "daemonsets" }, false },
	{ kcontrol_daemonsets, { "daemonsets", "nodes" }, false },
	{ kcontrol_deployments, { "deployments", "nodes" }, false },
	{ kvolume_run, { "persistentvolumes", "persistentvolumeclaims" }, false },
	{ kcontrol_namespaces, { "namespaces" }, false },
	{ capictl_run, { "deployments", "nodes", "secrets", "customresourcedefinitions" }, true },
};

static bool stage_looks_at(size_t stage, const struct kres *r)
{
	if (!r->builtin)
		return stages[stage].custom;
	for (size_t i = 0; i < ARRAY_LEN(stages[stage].inputs) && stages[stage].inputs[i]; i++)
		if (strcmp(stages[stage].inputs[i], r->plural) == 0)
			return true;
	return false;
}

static bool stage_idle(const struct kapi *k, size_t stage)
{
	const struct kstage *s = &k->stages[stage];

	if (!s->idle)
		return false;
	for (size_t i = 0; i < k->n_res; i++)
		if (k->res[i]->changed_rv > s->seen_rv && stage_looks_at(stage, k->res[i]))
			return false;
	return true;
}

static void stage_run(struct kapi *k, size_t stage)
{
	uint64_t before = k->rv;

	if (stage_idle(k, stage))
		return;
	k->waits = false;
	stages[stage].run(k);
	k->stages[stage] = (struct kstage){ .idle = !k->waits, .seen_rv = before };
}

static void kcontrol_pass(uv_timer_t *t)
{
	struct kapi *k = t->data;

	k->control_due_ms = 0;
	for (size_t i = 0; i + 1 < KSTAGES; i++)
		stage_run(k, i);
	kcontrol_collect(k);
	stage_run(k, KSTAGES - 1);
}

void kcontrol_start(struct kapi *k)
{
	uv_timer_init(k->cloud->loop, &k->control);
	k->control.data = k;
	k->control_armed = true;
	k->open_handles++;
	k->control_due_ms = 0;
	kcontrol_wake(k, 0);
	kcontrol_wake_gc(k);
}
