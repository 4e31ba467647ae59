/* SPDX-License-Identifier: Apache-2.0 */
/* Events go into the pure core; what comes out is made durable first and acted upon after. A state
 * that was overtaken before it was durable starts nothing: each save carries a serial number. Only a task
 * that may begin at once (phase.h) does not wait, but its state is with the writer before it begins: what it
 * leads to is durable after it. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/attr.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"

#include <assert.h>
#include <string.h>

#define NOTES_MS 50

struct saved {
	struct saved *next;
	struct lifecycle *l;
	char *uid;
	uint64_t serial;
	uint32_t what;
};

void cluster_cancel(struct cluster *c)
{
	if (c->guard) {
		c->guard->cluster = NULL;
		c->guard = NULL;
	}
	if (c->call)
		provider_call_cancel(TAKE(c->call));
	if (c->op)
		capi_op_cancel(TAKE(c->op));
	if (c->kube_op)
		kube_op_cancel(TAKE(c->kube_op));
	task_removals_cancel(c);
}

void cluster_let_go(struct cluster *c)
{
	if (c->kube)
		kube_free(TAKE(c->kube));
	json_wipe(TAKE(c->plan));
	json_decref(TAKE(c->checks));
	json_decref(TAKE(c->stages));
	secret_unref(TAKE(c->kubeconfig));
	secret_unref(TAKE(c->user_data));
	c->empty = 0;
}

static json_t *state_document(struct cluster *c)
{
	const struct lc_state *s = &c->lc;
	json_t *o = c->state;

	json_object_set_new(o, "phaseSince", json_integer(s->phase_since_ms));
	json_object_set_new(o, "taskSince", json_integer(s->task_since_ms));
	json_object_set_new(o, "touched", json_boolean(s->touched));
	json_object_set_new(o, "handed", json_boolean(s->handed));
	json_object_set_new(o, "forced", json_boolean(s->forced));
	if (s->condition.set)
		json_object_set_new(o, "condition",
				    json_pack("{s:s,s:s,s:s,s:I}", "class",
					      pcg_class_name(s->condition.class), "cause",
					      s->condition.cause, "remedy", s->condition.remedy,
					      "since", (json_int_t)s->condition.since_ms));
	else
		json_object_del(o, "condition");
	return o;
}

void cluster_save_into(struct cluster *c, struct store_batch *b)
{
	struct store_cluster_row row = {
		.uid = c->uid,
		.name = c->name,
		.tenant = c->tenant,
		.project = c->project,
		.account = c->account,
		.phase = lc_phase_name(c->lc.phase),
		.task = lc_task_name(c->lc.task),
		.desired = lc_desired_name(c->lc.desired),
		.generation = c->lc.generation,
		.epoch = c->lc.epoch,
		.state = state_document(c),
		.spec = c->spec_dirty ? c->spec : NULL,
		.recovery = c->recovery_dirty ? c->recovery : NULL,
	};

	store_put_cluster(b, &row);
	c->spec_dirty = c->recovery_dirty = false;
	for (struct machine *m = c->machines; m; m = m->next) {
		struct store_machine_row mrow = {
			.uid = m->uid,
			.cluster = c->uid,
			.name = m->name,
			.pool = m->pool,
			.role = m->role,
			.state = m->state,
			.op = m->op,
			.observed = m->observed,
			.checkpoint = m->checkpoint,
		};

		if (!m->dirty)
			continue;
		store_put_machine(b, &mrow);
		m->dirty = false;
	}
}

void cluster_save(struct cluster *c, store_cb cb, void *arg)
{
	struct store_batch *b = store_batch_new(c->l->spec.store);

	cluster_save_into(c, b);
	store_batch_commit(b, cb, arg);
}

static json_t *history_fields(const struct cluster *c, const char *event, enum lc_phase before)
{
	json_t *f = json_object();

	if (!strcmp(event, "phase")) {
		json_object_set_new(f, "from", json_string(lc_phase_name(before)));
		json_object_set_new(f, "to", json_string(lc_phase_name(c->lc.phase)));
	} else if (!strcmp(event, "waiting") || !strcmp(event, "pivot_failed")) {
		json_object_set_new(f, "for", json_string(lc_task_waits(c->lc.task)));
	} else {
		json_object_set_new(f, "generation", json_integer(c->lc.generation));
		json_object_set_new(f, "epoch", json_integer(c->lc.epoch));
	}
	if (c->lc.condition.set) {
		json_object_set_new(f, "cause", json_string(c->lc.condition.cause));
		json_object_set_new(f, "remedy", json_string(c->lc.condition.remedy));
	}
	return f;
}

/* A cluster tells of dozens of objects within a second: a transaction for each would be most of the
 * store's work. They become durable with the next change of any cluster, or soon. */
void lifecycle_flush_notes(struct lifecycle *l)
{
	if (l->notes)
		store_batch_commit(TAKE(l->notes), NULL, NULL);
	if (l->notes_timer)
		uv_timer_stop(l->notes_timer);
}

static void on_notes_due(uv_timer_t *t)
{
	lifecycle_flush_notes(t->data);
}

void cluster_show(struct cluster *c, json_t *note)
{
	const struct lifecycle_spec *spec = &c->l->spec;
	json_t *view;

	if (!spec->watched(spec->arg)) {
		json_decref(note);
		return;
	}
	view = cluster_view(c);
	if (note)
		json_object_set_new(view, "note", note);
	spec->changed(spec->arg, view);
	json_decref(view);
}

/* Of dozens in a second nothing else changes: whoever watches has the rest already. */
static bool changes_nothing(const char *event)
{
	return !strcmp(event, "object") || !strcmp(event, "check");
}

static void show_note(struct cluster *c, const char *event, const json_t *fields)
{
	const struct lifecycle_spec *spec = &c->l->spec;
	AUTO_JSON json_t *view = NULL;
	json_t *note;

	if (!spec->watched(spec->arg))
		return;
	note = json_copy((json_t *)fields);
	json_object_set_new(note, "event", json_string(event));
	if (!changes_nothing(event)) {
		cluster_show(c, note);
		return;
	}
	view = json_pack("{s:s,s:s,s:s,s:o}", "uid", c->uid, "name", c->name, "phase",
			 lc_phase_name(c->lc.phase), "note", note);
	spec->changed(spec->arg, view);
}

void cluster_tell(struct cluster *c, const char *event, json_t *fields)
{
	show_note(c, event, fields);
	json_decref(fields);
}

void cluster_note(struct cluster *c, const char *event, json_t *fields)
{
	struct lifecycle *l = c->l;

	show_note(c, event, fields);

	if (!l->notes)
		l->notes = store_batch_new(l->spec.store);
	store_add_history(l->notes, c->uid, c->name, clock_wall_ms(), event, fields);
	json_decref(fields);
	if (!l->notes_timer) {
		l->notes_timer = calloc(1, sizeof(*l->notes_timer));
		assert(l->notes_timer);
		uv_timer_init(l->spec.loop, l->notes_timer);
		l->notes_timer->data = l;
	}
	if (!uv_is_active((uv_handle_t *)l->notes_timer))
		uv_timer_start(l->notes_timer, on_notes_due, NOTES_MS, 0);
}

static void on_timer(uv_timer_t *t)
{
	struct cluster *c = t->data;
	struct lc_event e = { .type = LC_EV_TIMER, .now_ms = clock_wall_ms() };

	cluster_feed(c, &e, NULL);
}

static void set_timer(struct cluster *c)
{
	int64_t wait = c->lc.next_try_ms - clock_wall_ms();

	if (!c->timer) {
		c->timer = calloc(1, sizeof(*c->timer));
		assert(c->timer);
		uv_timer_init(c->l->spec.loop, c->timer);
		c->timer->data = c;
	}
	uv_timer_start(c->timer, on_timer, wait > 0 ? (uint64_t)wait : 0, 0);
}

static void end_report(struct cluster *c, struct store_batch *b)
{
	AUTO_FREE char *key = NULL;
	json_t *left = json_object_get(c->state, "left");

	if (asprintf(&key, "deleted/%s", c->uid) < 0)
		abort();
	report_add(c->l, b, "cluster.deleted", key,
		   json_pack("{s:s,s:I,s:o}", "uid", c->uid, "generation",
			     (json_int_t)c->lc.generation, "left",
			     left ? json_incref(left) : json_array()));
}

static void act(struct cluster *c, uint32_t what)
{
	if (what & LC_ACT_LET_GO) {
		cluster_let_go(c);
		if (c->timer)
			uv_timer_stop(c->timer);
	}
	if (c->l->held)
		c->lc.busy = false;
	else if (what & LC_ACT_START)
		task_start(c);
	else if (what & LC_ACT_TIMER)
		set_timer(c);
}

static void start_at_once(struct saved *s)
{
	struct cluster *c = cluster_find(s->l, s->uid);

	if (!c || c->serial != s->serial || !(s->what & LC_ACT_START) || !lc_task_at_once(c->lc.task))
		return;
	s->what &= ~LC_ACT_START;
	act(c, LC_ACT_START);
}

static void on_saved(void *arg)
{
	struct saved *s = arg;
	struct cluster *c = s->l->closing ? NULL : cluster_find(s->l, s->uid);

	if (c && c->serial == s->serial) {
		act(c, s->what);
		if (c->lc.phase == LC_DELETED) {
			cluster_unlink(c);
			tombstone_put(c);
		}
	}
	if (!s->l->closing && (s->what & LC_ACT_REPORT))
		s->l->spec.reports_ready(s->l->spec.arg, false);
	free(s->uid);
	free(s);
}

/* From the hand-over on, who is in charge is what another installation must know first. */
static bool recovery_matters(const struct cluster *c)
{
	return json_object_get(c->recovery, "keys") &&
	       (c->lc.phase == LC_RUNNING || c->lc.phase == LC_PIVOTING_BACK ||
		c->lc.phase == LC_DELETING);
}

void feed_group_submitted(struct feed_group *g)
{
	for (struct saved *s = g->saved; s; s = s->next)
		start_at_once(s);
}

void feed_group_durable(struct feed_group *g)
{
	while (g->saved) {
		struct saved *s = g->saved;

		g->saved = s->next;
		on_saved(s);
	}
}

/* What a deleted cluster is still shown by: its name and what it was. Keys, layers, machines go. */
static void keep_tombstone(struct cluster *c)
{
	static const char *const kept[] = { "uid", "name", "tenant", "project", "cloudType",
					    "account", "generation", "desired" };
	json_t *spec = json_object();

	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		json_t *v = json_object_get(c->spec, kept[i]);

		if (v)
			json_object_set_new(spec, kept[i], json_deep_copy(v));
	}
	json_wipe(c->spec);
	c->spec = spec;
	json_wipe(c->recovery);
	c->recovery = json_object();
	c->spec_dirty = c->recovery_dirty = true;
}

/* Without a group, what was saved is the writer's and stays until the loop's next turn. */
static struct saved *save(struct cluster *c, const struct lc_actions *a, enum lc_phase before,
			  struct feed_group *g)
{
	struct store_batch *b = g ? g->batch : store_batch_new(c->l->spec.store);
	struct saved *s = calloc(1, sizeof(*s));

	assert(s);
	lifecycle_flush_notes(c->l);
	for (unsigned i = 0; i < ARRAY_LEN(a->history) && a->history[i]; i++) {
		json_t *f = history_fields(c, a->history[i], before);

		store_add_history(b, c->uid, c->name, clock_wall_ms(), a->history[i], f);
		json_decref(f);
	}
	if (a->what & LC_ACT_GONE) {
		json_object_del(c->state, "seen");
		json_object_del(c->state, "attached");
		cluster_forget_machines(c, b);
		end_report(c, b);
		keep_tombstone(c);
		lifecycle_drop_accounts(c->l, b);
	}
	if (a->what & LC_ACT_REPORT)
		report_cluster_status(c, b);
	if (c->lc.phase != before && recovery_matters(c))
		report_cluster_recovery(c, b); /* saves the cluster too */
	else
		cluster_save_into(c, b);
	s->l = c->l;
	s->uid = strdup(c->uid);
	s->serial = ++c->serial;
	s->what = a->what;
	if (!g) {
		store_batch_commit(b, on_saved, s);
		return s;
	}
	s->next = g->saved;
	g->saved = s;
	return s;
}

/* Why the cluster itself is not asked, or asked no further, to remove what it has in the infrastructure beside its
 * machines; NULL: it is, or it has. */
static const char *passed_by(enum lc_task before, const struct lc_state *now, const struct lc_event *e)
{
	if (before != LC_TASK_FORCED_OFF && now->task == LC_TASK_FORCED_OFF)
		return e->type == LC_EV_FAILED ? "the cluster did not answer, so it was not asked to remove them" :
						 "the delete was forced, so the cluster was not asked to remove them";
	if (now->task != LC_TASK_MACHINES_GONE || e->type == LC_EV_DONE)
		return NULL;
	if (lc_task_phase(before) == LC_INSTALLING || lc_task_phase(before) == LC_PIVOTING)
		return "the delete was forced, so the cluster was not asked to remove them";
	if (before == LC_TASK_RELEASE || before == LC_TASK_RELEASE_EARLY)
		return e->type == LC_EV_FAILED ? "the cluster did not answer any more while it removed them" :
						 "the delete was forced while the cluster removed them";
	return NULL;
}

void cluster_feed(struct cluster *c, const struct lc_event *e, struct feed_group *g)
{
	enum lc_phase before = c->lc.phase;
	enum lc_task task = c->lc.task;
	struct lc_event now = *e;
	struct saved *saved = NULL;
	const char *unasked;
	int64_t since_ms;
	struct lc_actions a;

	since_ms = c->lc.phase_since_ms;
	now.mono_ms = clock_mono_ms();
	lc_step(&c->lc, &now, &c->l->settings, &a);
	if (a.what & LC_ACT_CANCEL)
		cluster_cancel(c);
	if (c->lc.phase != before) {
		log_info("cluster_phase", LS("cluster", c->name), LS("uid", c->uid),
			 LS("from", lc_phase_name(before)), LS("to", lc_phase_name(c->lc.phase)),
			 LI("ms", e->now_ms - since_ms));
	}
	unasked = passed_by(task, &c->lc, e);
	if (unasked)
		cluster_left_unasked(c, unasked);
	if ((a.what & LC_ACT_GONE) && c->lc.abandoned)
		cluster_left_behind(c, task != LC_TASK_INVENTORY, e->err);
	if (a.what & (LC_ACT_PERSIST | LC_ACT_GONE))
		saved = save(c, &a, before, g);
	else
		act(c, a.what);
	if (a.what & LC_ACT_REPORT)
		cluster_show(c, NULL);
	if (saved && !g)
		start_at_once(saved);
}

void cluster_begin_saved(struct cluster *c, struct feed_group *g)
{
	struct lc_actions a = { .what = LC_ACT_PERSIST | LC_ACT_REPORT | LC_ACT_START };

	c->lc.busy = true;
	save(c, &a, c->lc.phase, g);
}

void cluster_done_epoch(struct cluster *c, int64_t epoch, bool skip)
{
	struct lc_event e = { .type = LC_EV_DONE, .now_ms = clock_wall_ms(), .epoch = epoch,
			      .skip = skip };

	cluster_feed(c, &e, NULL);
}

void cluster_done(struct cluster *c)
{
	cluster_done_epoch(c, c->lc.epoch, false);
}

void cluster_pending(struct cluster *c, uint32_t after_ms)
{
	struct lc_event e = { .type = LC_EV_PENDING, .now_ms = clock_wall_ms(),
			      .after_ms = after_ms };

	cluster_feed(c, &e, NULL);
}

#define TOLD_AGAIN_MS 600000

/* An infrastructure that is away is one event, not one of each of its clusters at each attempt: what passes by itself and was
 * told of the account in the same words lately is told again at the level debug alone. */
static bool failure_told(struct cluster *c, const struct pcg_error *err)
{
	const char *account = c->account ? c->account : "";
	struct lifecycle *l = c->l;
	int64_t now = clock_mono_ms();
	struct told *t;

	for (size_t i = 0; i < ARRAY_LEN(l->told); i++) {
		t = &l->told[i];
		if (!strcmp(t->account, account) && !strcmp(t->text, err->text) && t->at_ms && now - t->at_ms < TOLD_AGAIN_MS)
			return err->class == PCG_CLASS_RETRY;
	}
	t = &l->told[l->told_next++ % ARRAY_LEN(l->told)];
	snprintf(t->account, sizeof(t->account), "%s", account);
	snprintf(t->text, sizeof(t->text), "%s", err->text);
	t->at_ms = now;
	return false;
}

void cluster_failed(struct cluster *c, const struct pcg_error *err)
{
	struct pcg_error copy = *err;
	struct lc_event e = { .type = LC_EV_FAILED, .now_ms = clock_wall_ms(), .err = &copy };

	if (failure_told(c, err))
		log_debug("task_failed", LS("cluster", c->name), LS("task", lc_task_name(c->lc.task)),
			  LI("attempt", c->lc.attempts + 1), LS("cause", copy.text));
	else
		log_err("task_failed", &copy, LS("cluster", c->name), LS("task", lc_task_name(c->lc.task)),
			LI("attempt", c->lc.attempts + 1));
	cluster_feed(c, &e, NULL);
}

void cluster_nudge(struct cluster *c)
{
	struct lc_event e = { .type = LC_EV_NUDGE, .now_ms = clock_wall_ms() };

	if (c->timer)
		uv_timer_stop(c->timer);
	cluster_feed(c, &e, NULL);
}
