/* SPDX-License-Identifier: Apache-2.0 */
/* Bootstrapping: the first control-plane machine, until its Kubernetes API answers. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/secret.h"
#include "host/bootstrap/bootstrap.h"
#include "pcg/provider.h"

#include <string.h>

#define STEP_MS 120000
#define USER_DATA_MAX (1u << 20)

/* An answer without one leaves the last: none at all means that nothing was ever begun. */
static void keep_checkpoint(struct machine *m, json_t *checkpoint)
{
	if (!checkpoint || json_equal(m->checkpoint, checkpoint))
		return;
	json_decref(m->checkpoint);
	m->checkpoint = json_deep_copy(checkpoint);
	m->dirty = true;
	cluster_save(m->cluster, NULL, NULL);
}

static void on_machine(void *arg, const struct provider_reply *r)
{
	struct cluster *c = arg;
	struct machine *m;

	m = task_first_machine(c);
	c->call = NULL;
	if (r->status != PCG_STEP_PENDING)
		secret_unref(TAKE(c->user_data));
	if (r->status == PCG_STEP_ERROR) {
		cluster_failed(c, &r->err);
		return;
	}
	if (r->status == PCG_STEP_PENDING) {
		keep_checkpoint(m, r->checkpoint);
		cluster_pending(c, r->after_ms);
		return;
	}
	machine_observe(m, json_object_get(r->doc, "observed"));
	FAULT_POINT("lifecycle.machine_observed");
	cluster_note(c, "machine_created",
		     json_pack("{s:s,s:s,s:s}", "machine", m->name, "providerID",
			       json_str_or(m->observed, "providerID", ""), "address",
			       json_str_or(m->observed, "addresses.0.address", "")));
	cluster_done(c);
}

static int render(struct cluster *c, struct pcg_error *err)
{
	AUTO_JSON json_t *input = NULL;
	struct buf text;
	int r;

	if (c->user_data)
		return 0;
	input = task_render_input(c);
	buf_init_secret(&text, USER_DATA_MAX);
	r = bootstrap_user_data(input, &text, err);
	if (!r)
		c->user_data = secret_new_str(text.data);
	buf_free(&text);
	return r;
}

void task_machine(struct cluster *c)
{
	struct machine *m = task_first_machine(c);
	AUTO_JSON json_t *doc = NULL;
	struct pcg_error err;

	if (render(c, &err)) {
		cluster_failed(c, &err);
		return;
	}
	doc = json_pack("{s:o,s:o,s:o,s:s,s:O?,s:O?}", "cluster", task_cluster_doc(c), "machine",
			task_machine_doc(c, m->uid, m->name, m->pool, m->role), "mark",
			task_mark(c, m->pool, m->uid), "userData", secret_data(c->user_data), "checkpoint",
			m->checkpoint, "observed", json_object_get(c->state, "infra"));
	FAULT_POINT("lifecycle.before_machine");
	c->call = provider_call(c->l->spec.providers, c->account, "machine_ensure", m->uid, doc,
				STEP_MS, on_machine, c);
}

static void report_kubeconfig(struct cluster *c)
{
	struct store_batch *b = store_batch_new(c->l->spec.store);

	report_cluster_kubeconfig(c, b);
	store_batch_commit(b, NULL, NULL);
}

static void on_ready(void *arg, const struct kube_reply *r)
{
	struct cluster *c = arg;
	struct pcg_error err;

	c->kube_op = NULL;
	if (r->status == 200) {
		report_kubeconfig(c);
		cluster_done(c);
		return;
	}
	/* Ten minutes are enough for any node to answer; until then it is just not up. */
	if (clock_wall_ms() - c->lc.task_since_ms < 600000 && r->err.class == PCG_CLASS_RETRY) {
		int64_t waited = clock_wall_ms() - c->lc.task_since_ms;

		cluster_pending(c, waited < 2000 ? 50 : waited < 20000 ? 250 : 2000);
		return;
	}
	err = r->err;
	pcg_fail_prefix(&err, "waiting for the Kubernetes API of cluster %s", c->name);
	if (!*err.remedy)
		snprintf(err.remedy, sizeof(err.remedy),
			 "look at the machine's console and its /var/log/cloud-init-output.log");
	cluster_failed(c, &err);
}

void task_api(struct cluster *c)
{
	struct pcg_error err;

	if (task_kube(c, &err)) {
		cluster_failed(c, &err);
		return;
	}
	c->kube_op = kube_ready(c->kube, on_ready, c);
}

static void on_redacted(void *arg, const struct provider_reply *r)
{
	struct cluster *c = arg;

	c->call = NULL;
	if (r->status == PCG_STEP_ERROR)
		cluster_failed(c, &r->err);
	else if (r->status == PCG_STEP_PENDING)
		cluster_pending(c, r->after_ms);
	else
		cluster_done(c);
}

void task_redact(struct cluster *c)
{
	struct machine *m = task_first_machine(c);
	AUTO_JSON json_t *doc =
		json_pack("{s:o,s:o,s:o,s:O?}", "cluster", task_cluster_doc(c), "machine",
			  task_machine_doc(c, m->uid, m->name, m->pool, m->role), "mark",
			  task_mark(c, m->pool, m->uid), "observed", m->observed);

	c->call = provider_call(c->l->spec.providers, c->account, "machine_redact", m->uid, doc,
				STEP_MS, on_redacted, c);
}
