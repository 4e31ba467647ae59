/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"

#include <assert.h>
#include <string.h>

#define TAKE_BACK_MS 120000
#define RELEASE_MS 300000
#define EPOCH_MAX (INT64_C(1) << 53)

struct taken {
	struct lifecycle *l;
	struct feed_group group;
	int64_t cursor;
	void (*stored)(void *arg, int64_t cursor);
	void *arg;
};

struct lifecycle *lifecycle_new(const struct lifecycle_spec *spec)
{
	struct lifecycle *l = calloc(1, sizeof(*l));

	assert(l);
	l->spec = *spec;
	l->gateway_uid = strdup(spec->gateway_uid ? spec->gateway_uid : "");
	lifecycle_set_bundle(l, spec->bundle_dir, spec->image_repository);
	l->proxy = spec->proxy ? proxy_set_ref(spec->proxy) : NULL;
	l->held = true;
	l->accounts = json_object();
	l->reports = json_array();
	l->settings.take_back_ms = spec->take_back_ms ? spec->take_back_ms : TAKE_BACK_MS;
	l->settings.release_ms = spec->release_ms ? spec->release_ms : RELEASE_MS;
	return l;
}

static void notes_timer_closed(uv_handle_t *h)
{
	free(h);
}

void lifecycle_close(struct lifecycle *l)
{
	l->closing = true;
	lifecycle_flush_notes(l);
	if (l->notes_timer)
		uv_close((uv_handle_t *)l->notes_timer, notes_timer_closed);
	audit_end_all(l);
	plans_end_all(l);
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++) {
		while (l->buckets[i]) {
			struct cluster *next = l->buckets[i]->next;

			cluster_free(l->buckets[i]);
			l->buckets[i] = next;
		}
	}
	tombstone_free_all(l);
	json_wipe(l->accounts);
	json_wipe(l->reports);
	l->accounts = json_object();
	l->reports = json_array();
}

void lifecycle_free(struct lifecycle *l)
{
	if (!l->closing)
		lifecycle_close(l);
	json_decref(l->accounts);
	json_decref(l->reports);
	proxy_set_unref(l->proxy);
	free(l->gateway_uid);
	free(l->bundle_dir);
	free(l->image_repository);
	free(l);
}

void lifecycle_set_gateway_uid(struct lifecycle *l, const char *uid)
{
	free(l->gateway_uid);
	l->gateway_uid = strdup(uid);
}

void lifecycle_set_proxy(struct lifecycle *l, struct proxy_set *proxy)
{
	struct proxy_set *old = l->proxy;

	l->proxy = proxy ? proxy_set_ref(proxy) : NULL;
	proxy_set_unref(old);
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *c = l->buckets[i]; c; c = c->next)
			if (c->kube)
				kube_set_proxy(c->kube, proxy);
	plans_set_proxy(l);
}

/* Those that run the task with settings of before begin it anew: each finds what it did already. */
static void restart(struct lifecycle *l, enum lc_task task)
{
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *c = l->buckets[i]; c; c = c->next)
			if (c->lc.task == task && c->op)
				task_start(c);
}

void lifecycle_set_limits(struct lifecycle *l, int64_t take_back_ms, int64_t release_ms)
{
	bool other = release_ms != l->settings.release_ms;

	l->settings.take_back_ms = take_back_ms;
	l->settings.release_ms = release_ms;
	if (!other)
		return;
	restart(l, LC_TASK_RELEASE);
	restart(l, LC_TASK_RELEASE_EARLY);
}

void lifecycle_set_bundle(struct lifecycle *l, const char *dir, const char *image_repository)
{
	bool other = l->bundle_dir && (strcmp(l->bundle_dir, dir ? dir : "") ||
				       strcmp(l->image_repository, image_repository ? image_repository : ""));

	free(l->bundle_dir);
	free(l->image_repository);
	l->bundle_dir = strdup(dir ? dir : "");
	l->image_repository = strdup(image_repository ? image_repository : "");
	if (other)
		restart(l, LC_TASK_INSTALL);
}

void lifecycle_load_cluster(struct lifecycle *l, const struct store_cluster_row *row)
{
	struct cluster *c = cluster_from_row(l, row);

	if (c->lc.phase == LC_DELETED)
		tombstone_put(c);
	else
		cluster_link(c);
}

void lifecycle_load_machine(struct lifecycle *l, const struct store_machine_row *row)
{
	struct cluster *c = cluster_find(l, row->cluster);
	struct machine *m;

	if (!c)
		return;
	m = machine_new(c, row->uid, row->name, row->pool, row->role);
	m->dirty = false;
	if (row->observed)
		m->observed = json_deep_copy(row->observed);
	if (row->checkpoint)
		m->checkpoint = json_deep_copy(row->checkpoint);
	if (!strcmp(row->state, MACHINE_PRESENT))
		m->state = MACHINE_PRESENT;
	else if (!strcmp(row->state, MACHINE_GONE))
		m->state = MACHINE_GONE;
}

void lifecycle_begin(struct lifecycle *l)
{
	if (!l->held)
		return;
	l->held = false;
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *c = l->buckets[i]; c; c = c->next) {
			struct lc_event e = { .type = LC_EV_STARTED, .now_ms = clock_wall_ms() };

			cluster_feed(c, &e, NULL);
		}
}

void lifecycle_hold(struct lifecycle *l)
{
	if (l->held || l->closing)
		return;
	l->held = true;
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *c = l->buckets[i]; c; c = c->next) {
			if (c->timer)
				uv_timer_stop(c->timer);
			cluster_cancel(c);
			c->lc.busy = false;
		}
}

static void for_account(struct lifecycle *l, const char *account)
{
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *c = l->buckets[i]; c; c = c->next)
			if (!account || !strcmp(c->account, account))
				cluster_nudge(c);
}

void lifecycle_nudge_all(struct lifecycle *l)
{
	for_account(l, NULL);
}

static void adopt_recovery(struct cluster *c, const json_t *recovery)
{
	size_t i;
	json_t *m;

	c->recovery = json_deep_copy(recovery);
	c->recovery_dirty = true;
	cluster_change_again(c);
	if (json_object_get(recovery, "endpoint"))
		json_object_set(c->state, "endpoint", json_object_get(recovery, "endpoint"));
	json_array_foreach(json_object_get(recovery, "machines"), i, m) {
		struct machine *row = machine_new(c, json_str_or(m, "uid", ""),
						  json_str_or(m, "name", ""),
						  json_str_or(m, "pool", ""),
						  json_str_or(m, "role", ""));

		if (json_object_get(m, "observed"))
			machine_observe(row, json_object_get(m, "observed"));
		if (json_object_get(m, "addresses"))
			addresses_keep(c, row->uid, json_object_get(m, "addresses"));
		/* Not null: what was begun for it is not known here. */
		row->checkpoint = json_object();
	}
}

static void take_new(struct lifecycle *l, const char *uid, const json_t *doc, int64_t generation,
		     enum lc_desired desired, struct feed_group *g)
{
	const json_t *recovery = json_object_get(doc, "recovery");
	struct lc_event e = { .now_ms = clock_wall_ms(), .generation = generation,
			      .desired = desired };
	struct cluster *c = cluster_new(l, uid, doc);

	cluster_link(c);
	lc_state_init(&c->lc, generation, desired, e.now_ms);
	store_add_history(g->batch, c->uid, c->name, e.now_ms, "instructed", NULL);
	if (json_is_object(recovery) && json_object_get(recovery, "keys")) {
		adopt_recovery(c, recovery);
		e.type = LC_EV_RECOVERED;
		e.epoch = json_int_or(recovery, "epoch", 1);
		if (e.epoch < 1 || e.epoch > EPOCH_MAX)
			e.epoch = 1;
		if (!lc_phase_parse(json_str_or(recovery, "phase", ""), &e.phase))
			e.phase = LC_PREPARING;
		e.endpoint = json_str(c->state, "endpoint.host") != NULL;
		cluster_feed(c, &e, g);
	} else if (desired == LC_PRESENT) {
		cluster_begin_saved(c, g);
	} else {
		e.type = LC_EV_STARTED;
		cluster_feed(c, &e, g);
	}
}

/* No longer this gateway's: it touches nothing of it any more. */
static void forget(struct cluster *c, struct feed_group *g)
{
	log_info("cluster_forgotten", LS("cluster", c->name), LS("uid", c->uid));
	store_add_history(g->batch, c->uid, c->name, clock_wall_ms(), "moved_away", NULL);
	store_remove_cluster(g->batch, c->uid);
	cluster_unlink(c);
	cluster_free(c);
}

static void take_cluster(struct lifecycle *l, const json_t *item, struct feed_group *g)
{
	const char *uid = json_str_or(item, "uid", "");
	const json_t *doc = json_object_get(item, "document");
	int64_t generation = json_int_or(item, "generation", 0);
	enum lc_desired desired = LC_PRESENT;
	struct cluster *c = cluster_find(l, uid);
	struct tombstone *t = c ? NULL : tombstone_find(l, uid);
	struct lc_event e = { .type = LC_EV_INSTRUCTION, .now_ms = clock_wall_ms(),
			      .generation = generation };

	if (t && (json_is_null(doc) || generation > tombstone_generation(t)))
		c = tombstone_take(l, t);
	else if (t)
		return;
	if (c && json_is_null(doc)) {
		forget(c, g);
		return;
	}
	if (!*uid || !json_is_object(doc) ||
	    !lc_desired_parse(json_str_or(doc, "desired", ""), &desired)) {
		log_error("instruction_unreadable", LS("uid", uid), LI("generation", generation));
		return;
	}
	if (!c) {
		take_new(l, uid, doc, generation, desired, g);
		return;
	}
	if (generation <= c->lc.generation)
		return;
	if (desired == LC_PRESENT && lc_begins_again(&c->lc))
		cluster_begin_again(c, g->batch);
	if (c->lc.phase != LC_DELETED)
		cluster_set_spec(c, doc);
	e.desired = desired;
	cluster_unknown_end(c, g->batch);
	cluster_retell(c, doc, g->batch);
	cluster_feed(c, &e, g);
}

/* What waited for the plane to know it. */
static void nudge_known_again(struct lifecycle *l, const json_t *item)
{
	struct cluster *c = cluster_find(l, json_str_or(item, "uid", ""));

	if (!c || !c->known_again)
		return;
	c->known_again = false;
	cluster_nudge(c);
}

static void on_taken(void *arg)
{
	struct taken *t = arg;

	FAULT_POINT("lifecycle.instructions_durable");
	t->stored(t->arg, t->cursor);
	feed_group_durable(&t->group);
	free(t);
}

void lifecycle_take(struct lifecycle *l, const json_t *batch,
		    void (*stored)(void *arg, int64_t cursor), void *arg)
{
	struct taken *t = calloc(1, sizeof(*t));
	AUTO_JSON json_t *changed = json_array();
	char cursor[32];
	size_t i;
	json_t *item;

	assert(t);
	t->l = l;
	t->stored = stored;
	t->arg = arg;
	t->cursor = json_int_or(batch, "cursor", 0);
	t->group.batch = store_batch_new(l->spec.store);
	if (json_bool_or(batch, "resync", false))
		lifecycle_retell(l, t->group.batch);
	json_array_foreach(json_object_get(batch, "items"), i, item) {
		const char *kind = json_str_or(item, "kind", "");

		if (!strcmp(kind, "account")) {
			lifecycle_take_account(l, item, t->group.batch);
			json_array_append(changed, item);
		} else if (!strcmp(kind, "cluster")) {
			take_cluster(l, item, &t->group);
			json_array_append(changed, item);
		} else {
			log_warn("instruction_kind_unknown", LS("kind", kind));
		}
	}
	lifecycle_drop_accounts(l, t->group.batch);
	snprintf(cursor, sizeof(cursor), "%lld", (long long)t->cursor);
	store_put_meta(t->group.batch, "cursor", cursor);
	store_put_meta(t->group.batch, "plane_id", json_str_or(batch, "planeId", ""));
	FAULT_POINT("lifecycle.before_instructions_durable");
	store_batch_commit(t->group.batch, on_taken, t);
	json_array_foreach(changed, i, item) {
		const char *uid = json_str_or(item, "uid", "");
		json_t *doc = json_object_get(l->accounts, uid);

		if (!strcmp(json_str_or(item, "kind", ""), "cluster")) {
			nudge_known_again(l, item);
		} else if (doc) {
			provider_account_set(l->spec.providers, doc);
			for_account(l, uid);
		}
	}
	feed_group_submitted(&t->group);
}

static void checkpoint_durable(void *ack)
{
	provider_ack(ack, 0);
}

void lifecycle_checkpoint(struct lifecycle *l, void *call_arg, json_t *checkpoint, void *ack)
{
	struct cluster *c = call_arg;
	bool ours = c && c->magic == CLUSTER_MAGIC && c->lc.task == LC_TASK_MACHINE;
	struct machine *m = ours ? task_first_machine(c) : NULL;
	struct store_batch *b;

	if (!m) {
		provider_ack(ack, -1);
		return;
	}
	json_decref(m->checkpoint);
	m->checkpoint = json_deep_copy(checkpoint);
	m->dirty = true;
	b = store_batch_new(l->spec.store);
	cluster_save_into(c, b);
	store_batch_commit(b, checkpoint_durable, ack);
}

void lifecycle_hint(struct lifecycle *l, const char *account, const char *subject)
{
	struct cluster *c = cluster_find(l, subject);

	for (size_t i = 0; !c && i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *k = l->buckets[i]; k && !c; k = k->next)
			if (!strcmp(k->account, account) && machine_find(k, subject))
				c = k;
	if (c && c->removals)
		task_removal_hint(c, subject);
	else if (c && c->lc.task != LC_TASK_NONE &&
		 (!c->lc.condition.set || c->lc.condition.class == PCG_CLASS_RETRY))
		cluster_nudge(c);
}

json_t *lifecycle_list(struct lifecycle *l, bool with_deleted)
{
	json_t *items = json_array();

	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *c = l->buckets[i]; c; c = c->next)
			if (with_deleted || c->lc.phase != LC_DELETED)
				json_array_append_new(items, cluster_view(c));
	if (with_deleted)
		tombstone_views(l, items);
	return json_pack("{s:o}", "items", items);
}

json_t *lifecycle_show(struct lifecycle *l, const char *uid_or_name)
{
	struct cluster *c = cluster_find(l, uid_or_name);
	struct tombstone *t = c ? NULL : tombstone_find(l, uid_or_name);

	if (t)
		return tombstone_view(l, t);
	return c ? cluster_view(c) : NULL;
}

bool lifecycle_knows(struct lifecycle *l, const char *uid_or_name)
{
	return cluster_find(l, uid_or_name) || tombstone_find(l, uid_or_name);
}

json_t *lifecycle_counts(struct lifecycle *l)
{
	json_t *phases = json_object();
	size_t in_flight = 0, all = 0;

	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *c = l->buckets[i]; c; c = c->next) {
			const char *name = lc_phase_name(c->lc.phase);

			json_object_set_new(phases, name,
					    json_integer(json_int_or(phases, name, 0) + 1));
			all += c->lc.phase != LC_DELETED;
			in_flight += c->lc.phase != LC_DELETED && c->lc.phase != LC_RUNNING;
		}
	if (l->n_tombstones)
		json_object_set_new(phases, lc_phase_name(LC_DELETED),
				    json_integer(json_int_or(phases, lc_phase_name(LC_DELETED), 0) +
						 (json_int_t)l->n_tombstones));
	return json_pack("{s:I,s:I,s:o,s:I}", "clusters", (json_int_t)all, "inFlight",
			 (json_int_t)in_flight, "phases", phases, "reportsWaiting",
			 (json_int_t)json_array_size(l->reports));
}
