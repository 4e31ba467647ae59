/* SPDX-License-Identifier: Apache-2.0 */
/* Before a cluster's machines go: whether policy allows the delete, and what the cluster has in the
 * infrastructure beside its machines. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "core/log.h"

#include <string.h>

#define RELEASE_LEAST_MS 1000

/* One line for each id, the last word about it. */
void cluster_left(struct cluster *c, const json_t *items)
{
	json_t *left = json_object_get(c->state, "left"), *item, *old;
	size_t i, k;

	if (!json_is_array(left)) {
		left = json_array();
		json_object_set_new(c->state, "left", left);
	}
	json_array_foreach(items, i, item) {
		json_array_foreach(left, k, old)
			if (!strcmp(json_str_or(old, "id", ""), json_str_or(item, "id", "?")))
				break;
		if (k < json_array_size(left))
			json_array_set(left, k, item);
		else
			json_array_append(left, item);
	}
	if (!json_array_size(left))
		json_object_del(c->state, "left");
}

/* ---- may it be deleted ---- */

static void on_decision(void *arg, const json_t *result, const struct pcg_error *err)
{
	struct cluster *c = task_guard_take(arg);
	struct pcg_error denied;
	json_t *keep;

	if (!c)
		return;
	if (err && err->class == PCG_CLASS_RETRY) {
		cluster_failed(c, err);
		return;
	}
	if (err) {
		log_err("policy_passed_over", err, LS("cluster", c->name), LS("hook", "delete_guard"));
		cluster_note(c, "policy_passed_over",
			     json_pack("{s:s,s:s,s:s}", "hook", "delete_guard", "cause", err->text,
				       "remedy", err->remedy));
		cluster_done(c);
		return;
	}
	if (result && !json_bool_or(result, "allow", false)) {
		pcg_fail(&denied, PCG_CLASS_PERMANENT,
			 "do what the policy asks for, or change it (pcgctl reload), or force the delete",
			 "blocked by policy %s: %s", json_str_or(result, "script", ""),
			 json_str_or(result, "reason", ""));
		cluster_failed(c, &denied);
		return;
	}
	keep = json_object_get(result, "keepVolumes");
	if (json_array_size(keep))
		json_object_set_new(c->state, "keepVolumes", json_deep_copy(keep));
	cluster_done(c);
}

/* attached NULL: the cluster's API did not say what it has. */
static void decide(struct cluster *c, const json_t *attached)
{
	AUTO_JSON json_t *spec = cluster_public_spec(c), *in = NULL;

	in = json_pack("{s:O,s:b,s:O*,s:O*}", "cluster", spec, "reachable", attached != NULL,
		       "loadBalancers", json_object_get(attached, "loadBalancers"), "volumes",
		       json_object_get(attached, "volumes"));
	policy_eval(c->l->spec.policy, c->tenant, json_str(c->spec, "tenantName"), "delete_guard", in,
		    on_decision, task_guard(c));
}

static void on_attached(void *arg, json_t *result, const struct pcg_error *err)
{
	struct cluster *c = arg;

	c->op = NULL;
	if (err)
		cluster_note(c, "not_looked_at",
			     json_pack("{s:s,s:s}", "what", "load balancers and volumes", "cause",
				       err->text));
	else
		json_object_set(c->state, "attached", result);
	decide(c, err ? NULL : result);
}

void task_delete_guard(struct cluster *c)
{
	struct capi_callbacks cb = task_callbacks(c, on_attached);
	struct pcg_error err;

	if (!policy_asks(c->l->spec.policy, c->tenant, json_str(c->spec, "tenantName"),
			 "delete_guard"))
		cluster_done(c);
	else if (task_kube(c, &err))
		decide(c, NULL);
	else
		c->op = capi_attached(c->kube, &cb);
}

/* ---- load balancers and volumes ---- */

static void on_released(void *arg, json_t *result, const struct pcg_error *err)
{
	struct cluster *c = arg;

	c->op = NULL;
	if (err) {
		cluster_failed(c, err);
		return;
	}
	cluster_left(c, json_object_get(result, "left"));
	json_object_del(c->state, "attached");
	cluster_done(c);
}

void cluster_left_unasked(struct cluster *c, const char *why)
{
	json_t *seen = json_object_get(c->state, "attached");
	AUTO_FREE char *id = NULL, *name = NULL, *text = NULL;
	AUTO_JSON json_t *left = NULL;

	if (seen) {
		left = capi_attached_left(seen, json_object_get(c->state, "keepVolumes"), why);
		cluster_left(c, left);
		json_object_del(c->state, "attached");
		return;
	}
	if (asprintf(&id, "attached/%s", c->uid) < 0 ||
	    asprintf(&name, "load balancers and volumes of cluster %s", c->name) < 0 ||
	    asprintf(&text, "which of them there were is not known: %s", why) < 0)
		abort();
	left = json_pack("[{s:s,s:s,s:s}]", "id", id, "name", name, "why", text);
	cluster_left(c, left);
}

void task_release(struct cluster *c)
{
	json_t *keep = json_object_get(c->state, "keepVolumes");
	int64_t time_left = c->lc.task_mono_ms + c->l->settings.release_ms - clock_mono_ms();
	struct capi_callbacks cb = task_callbacks(c, on_released);
	AUTO_JSON json_t *in = NULL;
	struct pcg_error err;

	if (task_kube(c, &err)) {
		cluster_failed(c, &err);
		return;
	}
	in = json_pack("{s:I,s:O*}", "timeoutMs",
		       (json_int_t)(time_left > RELEASE_LEAST_MS ? time_left : RELEASE_LEAST_MS),
		       "keepVolumes", keep);
	c->op = capi_release(c->kube, in, &cb);
}
