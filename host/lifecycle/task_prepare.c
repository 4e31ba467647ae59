/* SPDX-License-Identifier: Apache-2.0 */
/* Pending and Preparing: everything that can be wrong is told before anything is made; keys and
 * names are kept by the plane before the first side effect. */
#include "config.h"

#include "host/lifecycle/cluster.h"
#include "host/lifecycle/proxy_view.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/id.h"
#include "host/bootstrap/bootstrap.h"
#include "pcg/provider.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define QUERY_MS 60000

/* Several problems as one condition: the first leads, the others are counted and listed. */
static void problems_error(const json_t *problems, struct pcg_error *err)
{
	char text[sizeof(err->text)] = "", remedy[sizeof(err->remedy)] = "";
	size_t i, tn = 0, rn = 0;
	json_t *p;

	json_array_foreach(problems, i, p) {
		int n = snprintf(text + tn, sizeof(text) - tn, "%s%s: %s", i ? "; " : "",
				 json_str_or(p, "field", "request"), json_str_or(p, "text", ""));
		const char *r = json_str_or(p, "remedy", "");

		if (n > 0 && tn + (size_t)n < sizeof(text))
			tn += (size_t)n;
		if (!*r || strstr(remedy, r))
			continue;
		n = snprintf(remedy + rn, sizeof(remedy) - rn, "%s%s", rn ? "; " : "", r);
		if (n > 0 && rn + (size_t)n < sizeof(remedy))
			rn += (size_t)n;
	}
	pcg_fail(err, PCG_CLASS_PERMANENT, remedy, "%s", text);
}

static bool fail_on_problems(struct cluster *c, const json_t *problems)
{
	struct pcg_error err;

	if (!json_array_size(problems))
		return false;
	problems_error(problems, &err);
	cluster_failed(c, &err);
	return true;
}

/* What a policy changed is looked at as a request is, and taken whole or not at all. */
static bool apply_change(struct cluster *c, const json_t *change)
{
	AUTO_JSON json_t *spec = NULL, *problems = NULL;
	struct pcg_error err;
	bool failed;

	if (!json_object_size(change)) {
		cluster_keep_change(c, NULL);
		return true;
	}
	spec = json_deep_copy(c->spec);
	failed = policy_changes_apply(spec, change, &err) != 0;
	if (!failed) {
		problems = bootstrap_check(spec);
		failed = json_array_size(problems) != 0;
		if (failed)
			problems_error(problems, &err);
	}
	if (failed) {
		pcg_fail_prefix(&err, "what a policy changed in cluster %s", c->name);
		cluster_failed(c, &err);
		return false;
	}
	if (!json_equal(spec, c->spec)) {
		json_wipe(c->spec);
		c->spec = TAKE(spec);
		c->spec_dirty = true;
	}
	cluster_keep_change(c, change);
	return true;
}

static void on_admission(void *arg, const json_t *result, const struct pcg_error *err)
{
	struct cluster *c = task_guard_take(arg);
	struct pcg_error denied;

	if (!c)
		return;
	if (err) {
		cluster_failed(c, err);
		return;
	}
	if (result && !json_bool_or(result, "allow", false)) {
		pcg_fail(&denied, PCG_CLASS_PERMANENT,
			 "change the request, or the policy (pcgctl policy test shows the decision)",
			 "blocked by policy %s: %s", json_str_or(result, "script", ""),
			 json_str_or(result, "reason", ""));
		cluster_failed(c, &denied);
		return;
	}
	if (apply_change(c, json_object_get(result, "change")))
		cluster_done(c);
}

static bool account_known(struct cluster *c)
{
	struct pcg_error err;

	if (json_object_get(c->l->accounts, c->account))
		return true;
	pcg_fail(&err, PCG_CLASS_NOT_FOUND,
		 "add the cloud account again in the plane, or delete the cluster",
		 "the cloud account %s of cluster %s has not come from the plane",
		 *c->account ? c->account : "(none)", c->name);
	cluster_failed(c, &err);
	return false;
}

static void tell_ignored(struct cluster *c)
{
	json_t *ignored = json_at(c->spec, "kubeadmConfig.ignored"), *member;
	struct buf text;
	size_t i;

	if (!json_array_size(ignored) || c->lc.attempts)
		return;
	buf_init(&text, 4096);
	json_array_foreach(ignored, i, member)
		buf_addf(&text, "%skubeadmconfig.%s", i ? ", " : "", json_string_value(member));
	cluster_note(c, "profile_ignored", json_pack("{s:s,s:s}", "what", text.len ? text.data : "", "remedy",
						     "correct the names, or take them out of the profile: no node is given them"));
	buf_free(&text);
}

void task_admit(struct cluster *c)
{
	AUTO_JSON json_t *problems = NULL, *input = NULL;
	struct pcg_error err;

	if (fail_on_problems(c, json_object_get(c->spec, "problems")))
		return;
	problems = bootstrap_check(c->spec);
	if (fail_on_problems(c, problems) || !account_known(c))
		return;
	if (provider_known(c->l->spec.providers, json_str_or(c->spec, "cloudType", ""), &err) ||
	    capi_bundle_check(c->l->bundle_dir, json_str_or(c->spec, "cloudType", ""),
			      json_array_size(json_object_get(c->spec, "addressPools")) != 0, &err)) {
		cluster_failed(c, &err);
		return;
	}
	tell_ignored(c);
	if (policy_asks(c->l->spec.policy, c->tenant, json_str(c->spec, "tenantName"), "admission"))
		input = cluster_public_spec(c);
	policy_eval(c->l->spec.policy, c->tenant, json_str(c->spec, "tenantName"), "admission", input,
		    on_admission, task_guard(c));
}

static void on_check(void *arg, const struct provider_reply *r)
{
	struct cluster *c = arg;

	c->call = NULL;
	if (r->status == PCG_STEP_ERROR)
		cluster_failed(c, &r->err);
	else if (r->status == PCG_STEP_PENDING)
		cluster_pending(c, r->after_ms);
	else if (!fail_on_problems(c, json_object_get(r->doc, "problems")))
		cluster_done(c);
}

void task_check(struct cluster *c)
{
	AUTO_JSON json_t *doc = NULL;

	if (!account_known(c))
		return;
	doc = json_pack("{s:o,s:o,s:b}", "cluster", task_cluster_doc(c), "mark",
			task_mark(c, NULL, NULL), "check", 1);
	c->call = provider_call(c->l->spec.providers, c->account, "cluster_ensure", c->uid, doc,
				QUERY_MS, on_check, c);
}

/* Identity: the policy hooks decide what nodes are given, then keys are made on the loop's pool. */
struct identity {
	struct guard *guard;
	uv_work_t work;
	json_t *spec, *render, *keys;
	struct pcg_error err;
	int result;
	unsigned hook;
};

static const char *const render_hooks[] = { "proxy", "ca_bundle", "node_bootstrap" };

static void identity_free(struct identity *id)
{
	json_wipe(id->spec);
	json_wipe(id->render);
	json_wipe(id->keys);
	free(id);
}

/* What cannot go into the cluster is told before there is a machine for it. */
static void make_keys(uv_work_t *work)
{
	struct identity *id = work->data;

	id->result = capi_layers_check(json_object_get(id->spec, "layers"), &id->err);
	if (!id->result)
		id->result = bootstrap_keys_new(id->spec, clock_wall_ms(), &id->keys, &id->err);
}

/* Its name, uid and addresses. */
static int first_machine(struct cluster *c, struct pcg_error *err)
{
	const json_t *pool = cluster_control_plane_pool(c);
	struct machine *m = task_first_machine(c);
	char uid[37], suffix[6], name[128];

	if (!m) {
		id_uuid4(uid);
		id_suffix_from(uid, suffix, 5);
		snprintf(name, sizeof(name), "%s-cp-%s", c->name, suffix);
		m = machine_new(c, uid, name, json_str_or(pool, "name", "control-plane"), "control-plane");
	}
	return addresses_assign(c, m->uid, m->pool, err);
}

/* The end of the task: what it made is durable with the state that follows. */
static void identity_done(struct cluster *c)
{
	struct pcg_error err;

	if (first_machine(c, &err)) {
		cluster_failed(c, &err);
		return;
	}
	if (addresses_of_machine(c, task_first_machine(c)->uid))
		FAULT_POINT("lifecycle.address_given");
	cluster_done(c);
}

static void on_keys(uv_work_t *work, int status)
{
	struct identity *id = work->data;
	struct cluster *c = task_guard_take(id->guard);

	if (!c) {
		identity_free(id);
		return;
	}
	if (id->result) {
		cluster_failed(c, &id->err);
	} else {
		AUTO_JSON json_t *change = json_incref((json_t *)(uintptr_t)cluster_change(c));

		json_wipe(c->recovery);
		c->recovery = json_object();
		cluster_keep_change(c, change);
		json_object_set_new(c->recovery, "keys", TAKE(id->keys));
		c->keys_made = true;
		json_object_set_new(c->recovery, "render", TAKE(id->render));
		json_object_set_new(c->recovery, "namespace", json_string("default"));
		c->recovery_dirty = true;
		identity_done(c);
	}
	identity_free(id);
}

static void next_hook(struct identity *id);

/* What a hook answered joins what nodes are given, its certificates in place of the tenant's; what it
 * leaves out stays. policy_eval has checked the shape. */
static void merge(struct identity *id, const char *hook, const json_t *result)
{
	const char *key;
	json_t *value;

	if (!strcmp(hook, "proxy")) {
		json_object_set_new(id->render, "proxy",
				    proxy_view_merge(json_object_get(id->render, "proxy"), result));
		return;
	}
	json_object_foreach((json_t *)result, key, value)
		json_object_set(id->render, key, value);
}

static void on_hook(void *arg, const json_t *result, const struct pcg_error *err)
{
	struct identity *id = arg;
	struct cluster *c = id->guard->cluster;

	if (!c || err) {
		if (task_guard_take(id->guard))
			cluster_failed(c, err);
		identity_free(id);
		return;
	}
	if (result)
		merge(id, render_hooks[id->hook], result);
	id->hook++;
	next_hook(id);
}

static json_t *hook_input(const struct identity *id, struct cluster *c)
{
	AUTO_JSON json_t *spec = cluster_public_spec(c);
	json_t *in = json_pack("{s:O,s:O,s:s}", "cluster", spec, "certificates",
			       json_object_get(id->render, "certificates"), "role",
			       "control-plane");

	json_object_set_new(in, "proxy", proxy_view_public(json_object_get(id->render, "proxy")));
	return in;
}

static void next_hook(struct identity *id)
{
	struct cluster *c = id->guard->cluster;
	const char *tenant = json_str(c->spec, "tenantName");
	AUTO_JSON json_t *in = NULL;

	if (id->hook < ARRAY_LEN(render_hooks)) {
		if (policy_asks(c->l->spec.policy, c->tenant, tenant, render_hooks[id->hook]))
			in = hook_input(id, c);
		policy_eval(c->l->spec.policy, c->tenant, tenant, render_hooks[id->hook], in, on_hook, id);
		return;
	}
	id->work.data = id;
	uv_queue_work(c->l->spec.loop, &id->work, make_keys, on_keys);
}

void task_identity(struct cluster *c)
{
	json_t *certificates = json_object_get(c->spec, "certificates");
	AUTO_JSON json_t *proxy = NULL;
	struct identity *id;

	if (json_object_get(c->recovery, "keys") && task_first_machine(c)) {
		identity_done(c);
		return;
	}
	id = calloc(1, sizeof(*id));
	assert(id);
	id->guard = task_guard(c);
	id->spec = json_incref(c->spec);
	id->render = json_object();
	json_object_set_new(id->render, "certificates",
			    certificates ? json_deep_copy(certificates) : json_array());
	if (c->l->proxy)
		proxy = proxy_to_json(c->l->proxy);
	json_object_set_new(id->render, "proxy", proxy_view_settings(proxy));
	next_hook(id);
}

/* Done when the plane has acknowledged it: reports.c ends this task. */
void task_recovery(struct cluster *c)
{
	struct store_batch *b = store_batch_new(c->l->spec.store);

	report_cluster_recovery(c, b);
	FAULT_POINT("lifecycle.before_recovery_durable");
	store_batch_commit(b, NULL, NULL);
	c->l->spec.reports_ready(c->l->spec.arg, true);
}

static void on_infra(void *arg, const struct provider_reply *r)
{
	struct cluster *c = arg;
	json_t *endpoint, *asked = json_object_get(c->spec, "controlPlaneEndpoint");
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
	if (fail_on_problems(c, json_object_get(r->doc, "problems")))
		return;
	endpoint = json_object_get(r->doc, "endpoint");
	if (!json_is_object(endpoint) && json_str(asked, "host"))
		endpoint = asked;
	if (!json_is_object(endpoint) || !json_str(endpoint, "host")) {
		pcg_fail(&err, PCG_CLASS_PERMANENT,
			 "give cloudConfig.controlPlaneEndpoint.host in the request",
			 "cluster %s has no control plane endpoint and its provider makes none",
			 c->name);
		cluster_failed(c, &err);
		return;
	}
	json_object_set_new(c->state, "endpoint",
			    json_pack("{s:s,s:I}", "host", json_str(endpoint, "host"), "port",
				      (json_int_t)json_int_or(endpoint, "port", 6443)));
	if (json_object_get(r->doc, "observed"))
		json_object_set(c->state, "infra", json_object_get(r->doc, "observed"));
	cluster_done(c);
}

void task_infra(struct cluster *c)
{
	AUTO_JSON json_t *doc = NULL;

	if (!account_known(c))
		return;
	doc = json_pack("{s:o,s:o}", "cluster", task_cluster_doc(c), "mark",
			task_mark(c, NULL, NULL));
	FAULT_POINT("lifecycle.before_infra");
	c->call = provider_call(c->l->spec.providers, c->account, "cluster_ensure", c->uid, doc,
				QUERY_MS, on_infra, c);
}
