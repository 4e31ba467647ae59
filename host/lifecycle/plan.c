/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hand-over on paper, from Pending on. What is not known yet stands in the plan in words, and is
 * listed. Once the cluster's API is there the checks ask it, by reads and dry runs.
 */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "host/bootstrap/bootstrap.h"
#include "host/capi/check.h"
#include "host/capi/plan_view.h"
#include "pcg/provider.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define EXPORT_MS 60000
#define LATER "(not known yet)"

struct planning {
	struct planning *next;
	struct lifecycle *l;
	struct cluster *c; /* outlives this: plans_end_cluster */
	struct provider_call *call;
	struct capi_op *op;
	struct kube *kube;
	json_t *machines, *endpoint, *keys, *plan, *unknown;
	void (*done)(void *arg, json_t *result, const struct pcg_error *err);
	void *arg;
};

static void plan_free(struct planning *p)
{
	struct planning **at = &p->l->plans;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	if (p->call)
		provider_call_cancel(p->call);
	if (p->op)
		capi_op_cancel(p->op);
	kube_free(p->kube);
	json_decref(p->machines);
	json_decref(p->endpoint);
	json_decref(p->keys);
	json_decref(p->unknown);
	json_wipe(p->plan);
	free(p);
}

void plans_end_all(struct lifecycle *l)
{
	while (l->plans) {
		l->plans->done(l->plans->arg, NULL, NULL);
		plan_free(l->plans);
	}
}

static void fail(struct planning *p, const struct pcg_error *cause)
{
	struct pcg_error err = *cause;

	pcg_fail_prefix(&err, "the plan of cluster %s", p->c->name);
	p->done(p->arg, NULL, &err);
	plan_free(p);
}

void plans_end_cluster(struct cluster *c)
{
	struct planning *p, *next;
	struct pcg_error err;

	for (p = c->l->plans; p; p = next) {
		next = p->next;
		if (p->c != c)
			continue;
		pcg_fail(&err, PCG_CLASS_NOT_FOUND, "pcgctl cluster history tells where it went",
			 "the cluster went away meanwhile");
		fail(p, &err);
	}
}

void plans_set_proxy(struct lifecycle *l)
{
	for (struct planning *p = l->plans; p; p = p->next)
		if (p->kube)
			kube_set_proxy(p->kube, l->proxy);
}

/* checks NULL: there are none. */
static void finish(struct planning *p, const json_t *checks, json_t *steps)
{
	AUTO_JSON json_t *result = json_pack(
		"{s:s,s:s,s:s,s:o,s:o,s:O,s:o}", "cluster", p->c->name, "uid", p->c->uid, "phase",
		lc_phase_name(p->c->lc.phase), "groups", plan_view(p->plan), "checks",
		checks ? json_incref((json_t *)checks) : json_array(), "unknown", p->unknown, "steps",
		steps);

	p->done(p->arg, result, NULL);
	plan_free(p);
}

static void unknown(struct planning *p, const char *what)
{
	json_array_append_new(p->unknown, json_string(what));
}

/* ---- what is not known yet ---- */

static void first_machine(struct planning *p)
{
	const json_t *pool = cluster_control_plane_pool(p->c);
	char name[200];
	json_t *o;

	if (json_array_size(p->machines)) {
		if (!json_is_object(json_at(p->machines, "0.observed")))
			unknown(p, "the first machine's provider id and addresses: it is made in "
				   "Bootstrapping");
		return;
	}
	snprintf(name, sizeof(name), "%s-cp-xxxxx", p->c->name);
	o = task_machine_doc(p->c, LATER, name, json_str_or(pool, "name", "control-plane"),
			     "control-plane");
	json_object_set_new(o, "observed", json_null());
	json_object_set_new(o, "mark", task_mark(p->c, json_str(pool, "name"), NULL));
	json_array_append_new(p->machines, o);
	unknown(p, "the first machine's name: its last five letters are chosen in Preparing");
	unknown(p, "the first machine's provider id and addresses: it is made in Bootstrapping");
}

static json_t *no_pair(const char *crt)
{
	return json_pack("{s:s,s:s}", crt, LATER, "key", LATER);
}

static void collect(struct planning *p)
{
	json_t *endpoint = json_object_get(p->c->state, "endpoint"),
	       *asked = json_object_get(p->c->spec, "controlPlaneEndpoint"),
	       *keys = json_object_get(p->c->recovery, "keys");

	p->machines = task_machines(p->c);
	first_machine(p);
	if (!json_str(endpoint, "host"))
		endpoint = asked;
	if (json_str(endpoint, "host")) {
		p->endpoint = json_incref(endpoint);
	} else {
		p->endpoint = json_pack("{s:s,s:i}", "host", LATER, "port", 6443);
		unknown(p, "the control plane endpoint: the provider answers it in Preparing");
	}
	if (keys) {
		p->keys = json_incref(keys);
		return;
	}
	p->keys = json_pack("{s:o,s:o,s:o,s:o}", "ca", no_pair("crt"), "etcd", no_pair("crt"), "proxy",
			    no_pair("crt"), "sa", no_pair("pub"));
	unknown(p, "the cluster's keys: they are made in Preparing");
}

/* ---- checks ---- */

static json_t *checks_on_paper(struct planning *p)
{
	static const enum check_id of_keys[] = { CHECK_KEY_PAIRS, CHECK_SERVING_CA, CHECK_VALIDITY };
	struct check_facts facts = { .keys = p->keys };
	json_t *records = json_array();
	const struct machine *m = task_first_machine(p->c);

	if (!json_object_get(p->c->recovery, "keys"))
		for (size_t i = 0; i < ARRAY_LEN(of_keys); i++)
			check_later(records, of_keys[i]);
	if (!m || !m->observed)
		check_later(records, CHECK_PROVIDER_IDS);
	check_plan(p->plan, &facts, records);
	check_complete(records);
	return records;
}

static void on_preflight(void *arg, json_t *result, const struct pcg_error *err)
{
	struct planning *p = arg;

	p->op = NULL;
	if (err) {
		fail(p, err);
		return;
	}
	if (json_object_get(result, "plan")) {
		json_wipe(p->plan);
		p->plan = json_incref(json_object_get(result, "plan"));
	}
	finish(p, json_object_get(result, "checks"), plan_steps());
}

static int mint(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	struct planning *p = arg;

	return bootstrap_mint_admin(p->keys, "pcg-gateway", 3600000, cert_pem, key_pem, err);
}

static void check(struct planning *p)
{
	struct capi_callbacks cb = { .done = on_preflight, .arg = p };
	AUTO_JSON json_t *in = json_pack("{s:O}", "keys", p->keys), *records = NULL;
	struct pcg_error err;
	bool there = p->c->lc.phase == LC_INSTALLING || p->c->lc.phase == LC_PIVOTING;

	if (there && !task_kube_new(p->c, mint, p, &p->kube, &err)) {
		p->op = capi_preflight(p->kube, p->plan, in, &cb);
		return;
	}
	records = checks_on_paper(p);
	finish(p, records, plan_steps());
}

static void on_export(void *arg, const struct provider_reply *r)
{
	struct planning *p = arg;
	struct plan_parts parts = { .machines = p->machines,
				    .endpoint = p->endpoint,
				    .keys = p->keys,
				    .objects = json_object_get(r->doc, "objects"),
				    .kubeconfig = LATER };
	struct pcg_error err = r->err;

	p->call = NULL;
	if (r->status == PCG_STEP_PENDING)
		pcg_fail(&err, PCG_CLASS_RETRY, "ask again",
			 "the infrastructure needs more time to answer");
	if (r->status != PCG_STEP_DONE || task_plan(p->c, &parts, &p->plan, &err))
		fail(p, &err);
	else
		check(p);
}

void lifecycle_plan(struct lifecycle *l, const char *uid_or_name,
		    void (*done)(void *arg, json_t *result, const struct pcg_error *err), void *arg)
{
	struct cluster *c = cluster_find(l, uid_or_name);
	AUTO_JSON json_t *doc = NULL;
	AUTO_FREE char *subject = NULL;
	struct planning *p;
	struct pcg_error err;

	if (!c) {
		pcg_fail(&err, PCG_CLASS_NOT_FOUND, "pcgctl cluster list shows what there is",
			 "cluster %s is not known to this gateway", uid_or_name);
		done(arg, NULL, &err);
		return;
	}
	p = calloc(1, sizeof(*p));
	assert(p);
	*p = (struct planning){ .next = l->plans, .l = l, .c = c, .done = done, .arg = arg };
	p->unknown = json_array();
	l->plans = p;
	if (c->lc.phase >= LC_RUNNING) {
		finish(p, NULL, plan_take_back_steps());
		return;
	}
	collect(p);
	doc = task_export_doc(c, p->machines);
	if (asprintf(&subject, "plan/%s", c->uid) < 0)
		abort();
	p->call = provider_call(l->spec.providers, c->account, "export_objects", subject, doc,
				EXPORT_MS, on_export, p);
}
