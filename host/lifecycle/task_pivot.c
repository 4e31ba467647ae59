/* SPDX-License-Identifier: Apache-2.0 */
/* Installing, Pivoting, and the way back: operations of host/capi on the cluster's own API. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/secret.h"
#include "host/bootstrap/bootstrap.h"
#include "host/capi/check.h"
#include "pcg/provider.h"

#include <string.h>

/* Each attempt to install passes by the same stages: they are told once, what is made in them each time. */
static bool told_before(struct cluster *c, const char *step, const char *object)
{
	AUTO_FREE char *line = NULL;

	if (strcmp(step, "installing") && strcmp(step, "available"))
		return false;
	if (asprintf(&line, "%s %s", step, object) < 0)
		abort();
	if (!c->stages)
		c->stages = json_object();
	if (json_object_get(c->stages, line))
		return true;
	json_object_set_new(c->stages, line, json_true());
	return false;
}

static void on_progress(void *arg, const char *step, const char *object)
{
	json_t *line = json_pack("{s:s,s:s}", "step", step, "object", object ? object : "");

	if (told_before(arg, step, object ? object : ""))
		cluster_tell(arg, "object", line);
	else
		cluster_note(arg, "object", line);
}

struct capi_callbacks task_callbacks(struct cluster *c,
				     void (*done)(void *arg, json_t *result,
						  const struct pcg_error *err))
{
	return (struct capi_callbacks){ .progress = on_progress, .done = done,
					.arg = c };
}

static json_t *identity(const struct cluster *c, int64_t epoch)
{
	return json_pack("{s:s,s:s,s:I,s:s}", "namespace", "default", "name", c->name, "epoch",
			 (json_int_t)epoch, "gatewayUid", c->l->gateway_uid);
}

static bool no_kube(struct cluster *c)
{
	struct pcg_error err;

	if (!task_kube(c, &err))
		return false;
	cluster_failed(c, &err);
	return true;
}

static void mark_healthy(struct cluster *c)
{
	char at[CLOCK_RFC3339_SIZE];

	json_object_set_new(c->state, "health",
			    json_pack("{s:s,s:s}", "state", "Healthy", "at",
				      clock_rfc3339(clock_wall_ms(), at)));
}

static void on_authority(void *arg, json_t *result, const struct pcg_error *err)
{
	struct cluster *c = arg;
	int64_t epoch;

	c->op = NULL;
	if (err) {
		cluster_failed(c, err);
		return;
	}
	epoch = json_int_or(result, "epoch", 0);
	if (!strcmp(json_str_or(result, "state", ""), "committed")) {
		mark_healthy(c);
		cluster_done_epoch(c, epoch, true);
		return;
	}
	/* An earlier attempt that was rolled back left a higher epoch behind. */
	if (epoch > c->lc.epoch)
		c->lc.epoch = epoch;
	cluster_done(c);
}

void task_authority(struct cluster *c)
{
	AUTO_JSON json_t *in = identity(c, c->lc.epoch + 1);
	struct capi_callbacks cb;

	if (no_kube(c))
		return;
	cb = task_callbacks(c, on_authority);
	c->op = capi_commit_check(c->kube, in, &cb);
}

static void on_step(void *arg, json_t *result, const struct pcg_error *err)
{
	struct cluster *c = arg;

	c->op = NULL;
	if (err)
		cluster_failed(c, err);
	else
		cluster_done(c);
}

void task_install(struct cluster *c)
{
	json_t *layers = json_object_get(c->spec, "layers");
	AUTO_JSON json_t *in =
		json_pack("{s:O,s:b,s:s,s:s,s:{},s:s}", "layers", layers ? layers : json_null(), "addresses",
			  json_array_size(json_object_get(c->spec, "addressPools")) != 0,
			  "bundle", c->l->bundle_dir, "provider",
			  json_str_or(c->spec, "cloudType", ""), "variables", "imageRepository",
			  c->l->image_repository);
	struct capi_callbacks cb;

	if (no_kube(c))
		return;
	cb = task_callbacks(c, on_step);
	c->op = capi_install(c->kube, in, &cb);
}

json_t *task_machines(const struct cluster *c)
{
	json_t *list = json_array();

	for (const struct machine *m = c->machines; m; m = m->next) {
		json_t *o = task_machine_doc(c, m->uid, m->name, m->pool, m->role);

		if (!strcmp(m->state, MACHINE_GONE)) {
			json_decref(o);
			continue;
		}
		json_object_set(o, "observed", m->observed ? m->observed : json_null());
		json_object_set_new(o, "mark", task_mark(c, m->pool, m->uid));
		json_array_append_new(list, o);
	}
	return list;
}

int task_plan(const struct cluster *c, const struct plan_parts *parts, json_t **plan,
	      struct pcg_error *err)
{
	AUTO_JSON json_t *render = task_render_input(c), *cp = NULL, *worker = NULL, *in = NULL;
	int r;

	json_object_set(render, "endpoint", parts->endpoint);
	json_object_set(render, "keys", parts->keys);
	r = bootstrap_control_plane_spec(render, &cp, err);
	if (!r)
		r = bootstrap_worker_spec(render, &worker, err);
	if (r)
		return r;
	in = json_pack("{s:O,s:O,s:O,s:O,s:I,s:s,s:O,s:O,s:O?,s:s,s:s*}", "spec", c->spec,
		       "machines", parts->machines, "endpoint", parts->endpoint, "keys", parts->keys,
		       "epoch", (json_int_t)c->lc.epoch, "gatewayUid", c->l->gateway_uid,
		       "controlPlaneSpec", cp, "workerSpec", worker, "providerObjects",
		       parts->objects, "namespace", "default", "kubeconfig", parts->kubeconfig);
	return capi_objects_build(in, plan, err);
}

static int build_plan(struct cluster *c, const json_t *exported, struct pcg_error *err)
{
	AUTO_JSON json_t *machines = task_machines(c);
	struct plan_parts parts = {
		.machines = machines,
		.endpoint = json_object_get(c->state, "endpoint"),
		.keys = json_object_get(c->recovery, "keys"),
		.objects = json_object_get(exported, "objects"),
	};
	int r = task_kubeconfig(c, err);

	if (r)
		return r;
	parts.kubeconfig = secret_data(c->kubeconfig);
	peer_handed_over(c, exported);
	json_wipe(TAKE(c->plan));
	c->plan_generation = c->lc.generation;
	return task_plan(c, &parts, &c->plan, err);
}

static void roll_back(struct cluster *c);

/* Each outcome once: a check that is waited for would fill the history otherwise. */
static void note_checks(struct cluster *c, const json_t *records)
{
	size_t i;
	json_t *r;

	json_array_foreach(records, i, r) {
		const json_t *before = json_array_get(c->checks, i);

		if (before && json_equal((json_t *)before, r))
			continue;
		cluster_note(c, "check", json_pack("{s:s,s:s,s:s*}", "check", json_str(r, "check"),
						   "state", json_str(r, "state"), "seen",
						   json_str(r, "seen")));
	}
	json_decref(c->checks);
	c->checks = json_deep_copy(records);
}

static void on_preflight(void *arg, json_t *result, const struct pcg_error *err)
{
	const json_t *records = json_object_get(result, "checks");
	struct cluster *c = arg;
	struct capi_callbacks cb;
	struct pcg_error failed;

	c->op = NULL;
	if (err) {
		cluster_failed(c, err);
		return;
	}
	note_checks(c, records);
	if (json_object_get(result, "plan")) {
		json_wipe(TAKE(c->plan));
		c->plan = json_deep_copy(json_object_get(result, "plan"));
	}
	if (check_first_failure(records, &failed)) {
		cluster_failed(c, &failed);
		return;
	}
	if (c->lc.task == LC_TASK_PREFLIGHT) {
		cluster_done(c);
		return;
	}
	cb = task_callbacks(c, on_step);
	c->op = capi_write(c->kube, c->plan, &cb);
}

static void on_export(void *arg, const struct provider_reply *r)
{
	struct cluster *c = arg;
	AUTO_JSON json_t *in = NULL;
	struct capi_callbacks cb;
	struct pcg_error err;

	c->call = NULL;
	if (r->status == PCG_STEP_ERROR) {
		cluster_failed(c, &r->err);
		return;
	}
	if (r->status == PCG_STEP_PENDING) {
		cluster_pending(c, r->after_ms);
		return;
	}
	if (build_plan(c, r->doc, &err)) {
		cluster_failed(c, &err);
		return;
	}
	if (c->lc.task == LC_TASK_ROLLBACK) {
		roll_back(c);
		return;
	}
	in = json_pack("{s:O?,s:b}", "keys", json_object_get(c->recovery, "keys"), "made",
		       c->keys_made);
	cb = task_callbacks(c, on_preflight);
	c->op = capi_preflight(c->kube, c->plan, in, &cb);
}

json_t *task_export_doc(const struct cluster *c, json_t *machines)
{
	return json_pack("{s:o,s:O,s:O,s:O?,s:O?,s:o}", "cluster", task_cluster_doc(c), "machines",
			 machines, "pools", json_object_get(c->spec, "pools"), "endpoint",
			 json_object_get(c->state, "endpoint"), "observed",
			 json_object_get(c->state, "infra"), "mark", task_mark(c, NULL, NULL));
}

static void make_plan(struct cluster *c)
{
	AUTO_JSON json_t *machines = task_machines(c), *doc = task_export_doc(c, machines);

	c->call = provider_call(c->l->spec.providers, c->account, "export_objects", c->uid, doc,
				30000, on_export, c);
}

void task_preflight(struct cluster *c)
{
	if (!no_kube(c))
		make_plan(c);
}

/* After a restart there is no plan in memory, and after a change of the request an old one: it is made
 * and checked again. */
void task_write(struct cluster *c)
{
	struct capi_callbacks cb;

	if (no_kube(c))
		return;
	if (!c->plan || c->plan_generation != c->lc.generation) {
		make_plan(c);
		return;
	}
	cb = task_callbacks(c, on_step);
	c->op = capi_write(c->kube, c->plan, &cb);
}

static void on_rolled_back(void *arg, json_t *result, const struct pcg_error *err)
{
	struct cluster *c = arg;

	c->op = NULL;
	if (err)
		cluster_failed(c, err);
	else
		cluster_done_epoch(c, c->lc.epoch + 2, false);
}

static void roll_back(struct cluster *c)
{
	AUTO_JSON json_t *in = identity(c, c->lc.epoch + 2);
	struct capi_callbacks cb = task_callbacks(c, on_rolled_back);

	c->op = capi_rollback(c->kube, c->plan, in, &cb);
}

/* After a restart the plan is made again: it names what has to come out. */
void task_rollback(struct cluster *c)
{
	if (no_kube(c))
		return;
	if (c->plan)
		roll_back(c);
	else
		make_plan(c);
}

static void on_committed(void *arg, json_t *result, const struct pcg_error *err)
{
	struct cluster *c = arg;

	c->op = NULL;
	if (err) {
		cluster_failed(c, err);
		return;
	}
	mark_healthy(c);
	FAULT_POINT("lifecycle.after_commit");
	cluster_done_epoch(c, c->lc.epoch + 1, false);
}

/* That this may have been sent is durable (the task is COMMIT) before it is: a repetition reads
 * first, and finds its own earlier success. */
void task_commit(struct cluster *c)
{
	AUTO_JSON json_t *in = identity(c, c->lc.epoch + 1);
	struct capi_callbacks cb;

	if (no_kube(c))
		return;
	FAULT_POINT("lifecycle.before_commit");
	cb = task_callbacks(c, on_committed);
	c->op = capi_commit(c->kube, in, &cb);
}

static void learn_machines(struct cluster *c, const json_t *machines)
{
	size_t i;
	json_t *m;

	json_array_foreach(machines, i, m) {
		const char *name = json_str_or(m, "name", "");
		bool known = false;

		for (struct machine *k = c->machines; k; k = k->next)
			known = known || !strcmp(k->name, name);
		if (!known)
			cluster_note(c, "machine_of_controllers",
				     json_pack("{s:s,s:s}", "machine", name, "providerID",
					       json_str_or(m, "providerID", "")));
	}
}

/* How many workers the cluster wanted by then, and the request before. */
static void note_pools(struct cluster *c, const json_t *pools)
{
	size_t i;
	json_t *p;

	json_array_foreach(pools, i, p) {
		const char *name = json_str_or(p, "name", "");

		cluster_note(c, "pool_of_controllers",
			     json_pack("{s:s,s:I,s:I,s:I}", "pool", name, "size", (json_int_t)json_int_or(p, "size", 0),
				       "requested", (json_int_t)json_int_or(cluster_pool(c, name), "size", 0), "deployments",
				       (json_int_t)json_array_size(json_object_get(p, "deployments"))));
	}
}

static void on_taken_back(void *arg, json_t *result, const struct pcg_error *err)
{
	struct cluster *c = arg;

	c->op = NULL;
	if (err) {
		cluster_failed(c, err);
		return;
	}
	if (!json_bool_or(result, "exists", true)) {
		cluster_done_epoch(c, c->lc.epoch + 1, false);
		return;
	}
	learn_machines(c, json_object_get(result, "machines"));
	note_pools(c, json_object_get(result, "pools"));
	FAULT_POINT("lifecycle.after_take_back");
	cluster_done_epoch(c, json_int_or(result, "epoch", c->lc.epoch + 1), false);
}

void task_take_back(struct cluster *c)
{
	AUTO_JSON json_t *in = identity(c, c->lc.epoch + 1);
	struct capi_callbacks cb;

	if (no_kube(c))
		return;
	json_object_del(in, "epoch");
	json_object_set_new(in, "afterEpoch", json_integer(c->lc.epoch));
	cb = task_callbacks(c, on_taken_back);
	c->op = capi_take_back(c->kube, in, &cb);
}
