/* SPDX-License-Identifier: Apache-2.0 */
/* The queue to the plane: in memory in order, and the same in the store. A recovery document that
 * the plane has acknowledged lets its cluster go on. Of a cluster's status and recovery document only that there
 * is a new one is queued: what it is, is looked at when it is sent, so one that was not sent yet stands for all
 * that follow. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "core/log.h"

#include <stdio.h>
#include <string.h>

static void drop_key(struct lifecycle *l, const char *key)
{
	size_t i;
	json_t *r;

	json_array_foreach(l->reports, i, r) {
		const char *other = json_string_value(json_object_get(r, "key"));

		if (!other || strcmp(other, key))
			continue;
		json_array_remove(l->reports, i);
		return;
	}
}

/* doc is stolen. */
void report_add(struct lifecycle *l, struct store_batch *b, const char *kind, const char *key,
		json_t *doc)
{
	int64_t seq = ++l->report_seq;

	if (key)
		drop_key(l, key);
	store_put_report(b, seq, kind, key, doc);
	json_array_append_new(l->reports, json_pack("{s:I,s:s,s:s?,s:o}", "seq", (json_int_t)seq,
						    "kind", kind, "key", key, "doc", doc));
}

static bool waits_to_be_sent(const struct lifecycle *l, const char *key)
{
	size_t i;
	json_t *r;

	for (i = json_array_size(l->reports); i > 0; i--) {
		r = json_array_get(l->reports, i - 1);
		if (json_integer_value(json_object_get(r, "seq")) <= l->taken_seq)
			return false;
		if (!strcmp(json_str_or(r, "key", ""), key))
			return true;
	}
	return false;
}

static void add_made_when_sent(struct cluster *c, struct store_batch *b, const char *kind, const char *prefix)
{
	AUTO_FREE char *key = NULL;

	if (asprintf(&key, "%s/%s", prefix, c->uid) < 0)
		abort();
	if (!waits_to_be_sent(c->l, key))
		report_add(c->l, b, kind, key, json_pack("{s:s}", "uid", c->uid));
}

void report_cluster_status(struct cluster *c, struct store_batch *b)
{
	add_made_when_sent(c, b, "cluster.status", "status");
}

static json_t *machines_document(const struct cluster *c)
{
	json_t *list = json_array();

	for (const struct machine *m = c->machines; m; m = m->next) {
		json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s}", "uid", m->uid, "name", m->name,
				      "pool", m->pool, "role", m->role, "state", m->state);

		if (m->observed)
			json_object_set(o, "observed", m->observed);
		if (addresses_of_machine(c, m->uid))
			json_object_set(o, "addresses", (json_t *)addresses_of_machine(c, m->uid));
		json_array_append_new(list, o);
	}
	return list;
}

json_t *cluster_recovery_document(const struct cluster *c)
{
	json_t *doc = json_copy(c->recovery), *endpoint = json_object_get(c->state, "endpoint");
	enum lc_phase phase = c->lc.handed ? LC_PIVOTING : c->lc.phase; /* whoever is next has to ask it, too */

	json_object_set_new(doc, "epoch", json_integer(c->lc.epoch));
	json_object_set_new(doc, "phase", json_string(lc_phase_name(phase)));
	json_object_set_new(doc, "machines", machines_document(c));
	if (endpoint)
		json_object_set(doc, "endpoint", endpoint);
	return doc;
}

void report_cluster_recovery(struct cluster *c, struct store_batch *b)
{
	cluster_save_into(c, b);
	add_made_when_sent(c, b, "cluster.recovery", "recovery");
}

void report_cluster_kubeconfig(struct cluster *c, struct store_batch *b)
{
	AUTO_FREE char *key = NULL;
	struct pcg_error err;

	if (task_kubeconfig(c, &err))
		return;
	if (asprintf(&key, "kubeconfig/%s", c->uid) < 0)
		abort();
	report_add(c->l, b, "cluster.kubeconfig", key,
		   json_pack("{s:s,s:s}", "uid", c->uid, "kubeconfig",
			     secret_data(c->kubeconfig)));
}

void lifecycle_load_report(struct lifecycle *l, int64_t seq, const char *kind, const char *key,
			   json_t *doc)
{
	json_array_append_new(l->reports, json_pack("{s:I,s:s,s:s?,s:O}", "seq", (json_int_t)seq,
						    "kind", kind, "key", key, "doc", doc));
	lifecycle_load_report_seq(l, seq);
}

void lifecycle_load_report_seq(struct lifecycle *l, int64_t seq)
{
	if (seq > l->report_seq)
		l->report_seq = seq;
}

static json_t *status_now(struct lifecycle *l, const char *uid)
{
	json_t *view = lifecycle_show(l, uid);

	if (view && !json_object_get(view, "health"))
		json_object_set_new(view, "health", json_null());
	return view;
}

static json_t *recovery_now(struct lifecycle *l, const char *uid)
{
	const struct cluster *c = cluster_find(l, uid);

	if (!c || !json_object_get(c->recovery, "keys"))
		return NULL;
	return json_pack("{s:s,s:I,s:o}", "uid", c->uid, "generation", (json_int_t)c->lc.generation,
			 "recovery", cluster_recovery_document(c));
}

/* Of these kinds a queued document that holds nothing but a uid stands for what there is to tell now. */
static const struct {
	const char *kind;
	json_t *(*now)(struct lifecycle *l, const char *uid);
} made_when_sent[] = {
	{ "cluster.status", status_now },
	{ "cluster.recovery", recovery_now },
};

/* As it is sent; NULL: of a cluster that is deleted or not known any more. */
static json_t *report_now(struct lifecycle *l, json_t *report)
{
	json_t *doc = json_object_get(report, "doc"), *now;
	size_t i = 0;

	while (i < ARRAY_LEN(made_when_sent) &&
	       strcmp(json_str_or(report, "kind", ""), made_when_sent[i].kind))
		i++;
	if (i == ARRAY_LEN(made_when_sent) || json_object_size(doc) != 1)
		return json_incref(report);
	doc = made_when_sent[i].now(l, json_str_or(doc, "uid", ""));
	if (!doc)
		return NULL;
	now = json_copy(report);
	json_object_set_new(now, "doc", doc);
	return now;
}

static void withdraw(struct lifecycle *l, size_t i)
{
	struct store_batch *b = store_batch_new(l->spec.store);

	store_remove_report(b, json_int_or(json_array_get(l->reports, i), "seq", 0));
	store_batch_commit(b, NULL, NULL);
	json_array_remove(l->reports, i);
}

json_t *lifecycle_reports(struct lifecycle *l, size_t max)
{
	json_t *list = json_array();
	size_t i = 0;

	while (i < json_array_size(l->reports) && i < max) {
		json_t *now = report_now(l, json_array_get(l->reports, i));

		if (now) {
			json_array_append_new(list, now);
			l->taken_seq = json_int_or(now, "seq", 0);
			i++;
		} else {
			withdraw(l, i);
		}
	}
	return list;
}

/* The cluster whose task waits for this report; NULL: none. */
static struct cluster *waiter(struct lifecycle *l, const json_t *report)
{
	struct cluster *c;

	if (strcmp(json_str_or(report, "kind", ""), "cluster.recovery"))
		return NULL;
	c = cluster_find(l, json_str_or(report, "doc.uid", ""));
	if (!c || !c->lc.busy || (c->lc.task != LC_TASK_RECOVERY && c->lc.task != LC_TASK_SNAPSHOT))
		return NULL;
	return c;
}

static void acknowledged(struct lifecycle *l, const json_t *report)
{
	struct cluster *c = waiter(l, report);

	if (c)
		cluster_done(c);
}

static const json_t *queued(const struct lifecycle *l, int64_t seq)
{
	size_t i;
	json_t *r;

	json_array_foreach(l->reports, i, r)
		if (json_integer_value(json_object_get(r, "seq")) == seq)
			return r;
	return NULL;
}

/* Without the recovery document in the plane there is no way back to what would be made next. */
static void refuse(struct lifecycle *l, const json_t *report, const json_t *refusal)
{
	const char *text = json_str_or(refusal, "text", "");
	bool unknown = !strcmp(json_str_or(refusal, "code", ""), "ClusterUnknown");
	struct cluster *c = waiter(l, report);
	struct pcg_error err;

	if (c) {
		pcg_fail(&err, PCG_CLASS_PERMANENT,
			 unknown ? "let the plane adopt the cluster: pcg-planectl cluster adopt UID" :
				   "see the plane's log; compare the versions of plane and gateway",
			 "the plane refused the recovery document of cluster %s: %.600s", c->name, text);
		cluster_failed(c, &err);
	}
	c = cluster_find(l, json_str_or(report, "doc.uid", ""));
	if (unknown && c)
		cluster_unknown_begin(c, text);
}

void lifecycle_refused(struct lifecycle *l, const json_t *refused)
{
	json_t *one;
	size_t i;

	json_array_foreach(refused, i, one) {
		AUTO_JSON json_t *report = json_incref((json_t *)queued(l, json_int_or(one, "seq", 0)));

		if (report)
			refuse(l, report, one);
	}
}

void lifecycle_reported(struct lifecycle *l, const json_t *seqs, int64_t reported)
{
	struct store_batch *b = store_batch_new(l->spec.store);
	AUTO_JSON json_t *acked = json_array();
	char text[24];
	size_t i, k;
	json_t *seq, *r;

	json_array_foreach(seqs, i, seq) {
		int64_t n = json_integer_value(seq);

		json_array_foreach(l->reports, k, r) {
			if (json_integer_value(json_object_get(r, "seq")) != n)
				continue;
			json_array_append(acked, r);
			json_array_remove(l->reports, k);
			store_remove_report(b, n);
			break;
		}
	}
	if (store_batch_empty(b)) {
		store_batch_free(b);
	} else {
		/* A plane that does not have this one has lost what it was told. */
		snprintf(text, sizeof(text), "%lld", (long long)reported);
		store_put_meta(b, "reported", text);
		store_batch_commit(b, NULL, NULL);
	}
	json_array_foreach(acked, i, r)
		acknowledged(l, r);
}

void lifecycle_report(struct lifecycle *l, const char *kind, const char *key, json_t *doc)
{
	struct store_batch *b = store_batch_new(l->spec.store);

	report_add(l, b, kind, key, doc);
	store_batch_commit(b, NULL, NULL);
	l->spec.reports_ready(l->spec.arg, false);
}
