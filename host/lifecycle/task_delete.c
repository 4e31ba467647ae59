/* SPDX-License-Identifier: Apache-2.0 */
/* Deleting: what the store knows and what the infrastructure itself says is there goes, until an
 * inventory finds nothing. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "pcg/provider.h"

#include <assert.h>
#include <string.h>

#define INVENTORY_MS 120000
#define DELETE_MS 120000
#define SECOND_LOOK_MS 30000
#define LOOK_AGAIN_MS 100
#define SETTLE_MS 1800000 /* what controllers had begun is waited for so long: it may be something else that runs */
#define REMOVAL_MAGIC 0x7265606du

/* A machine on its way out: one of ours, or one that the controllers made. */
struct removal {
	uint32_t magic;
	struct removal *next;
	struct cluster *cluster;
	struct machine *machine; /* NULL: not in the store */
	char *name;
	const char *op;
	json_t *doc;
	char *subject;
	struct provider_call *call;
	uv_timer_t *timer; /* asked again */
};

static void on_removed(void *arg, const struct provider_reply *reply);

static void timer_closed(uv_handle_t *h)
{
	free(h);
}

static void removal_free(struct removal *r)
{
	if (r->timer)
		uv_close((uv_handle_t *)r->timer, timer_closed);
	free(r->name);
	free(r->subject);
	json_decref(r->doc);
	free(r);
}

void task_removals_cancel(struct cluster *c)
{
	while (c->removals) {
		struct removal *r = c->removals;

		c->removals = r->next;
		if (r->call)
			provider_call_cancel(r->call);
		removal_free(r);
	}
}

static void removal_send(struct removal *r)
{
	struct cluster *c = r->cluster;

	r->call = provider_call(c->l->spec.providers, c->account, r->op, r->subject, r->doc,
				DELETE_MS, on_removed, r);
}

static void on_later(uv_timer_t *t)
{
	removal_send(t->data);
}

static void removal_later(struct removal *r, uint32_t after_ms)
{
	if (!r->timer) {
		r->timer = calloc(1, sizeof(*r->timer));
		assert(r->timer);
		uv_timer_init(r->cluster->l->spec.loop, r->timer);
		r->timer->data = r;
	}
	uv_timer_start(r->timer, on_later, after_ms, 0);
}

static void removal_add(struct cluster *c, const char *op, struct machine *m, const char *uid,
			const char *id, const char *name, const char *pool, const char *role,
			const json_t *observed)
{
	struct removal *r = calloc(1, sizeof(*r));

	assert(r);
	r->magic = REMOVAL_MAGIC;
	r->cluster = c;
	r->machine = m;
	r->op = op;
	r->name = strdup(*name ? name : id);
	r->subject = strdup(*uid ? uid : id);
	r->doc = json_pack("{s:o,s:o,s:o,s:O?}", "cluster", task_cluster_doc(c), "machine",
			   task_machine_doc(c, uid, name, pool, role), "mark",
			   task_mark(c, pool, uid), "observed", observed);
	r->next = c->removals;
	c->removals = r;
}

static void add_row(struct cluster *c, const char *op, struct machine *m)
{
	removal_add(c, op, m, m->uid, m->uid, m->name, m->pool, m->role, m->observed);
}

static void add_item(struct cluster *c, const char *op, const json_t *item)
{
	const char *uid = json_str_or(item, "machine", "");
	struct machine *m = *uid ? machine_find(c, uid) : NULL;

	removal_add(c, op, m, uid, json_str_or(item, "id", ""), json_str_or(item, "name", ""),
		    json_str_or(item, "pool", ""), json_str_or(item, "role", ""), item);
}

/* All at once; the task ends when the last of them has answered. */
static void removals_begin(struct cluster *c)
{
	memset(&c->worst, 0, sizeof(c->worst));
	for (struct removal *r = c->removals; r; r = r->next)
		removal_send(r);
}

static void removals_ended(struct cluster *c)
{
	bool power = c->lc.task == LC_TASK_FORCED_OFF;

	if (*c->worst.text)
		cluster_failed(c, &c->worst);
	else if (c->lc.task == LC_TASK_INVENTORY)
		cluster_pending(c, LOOK_AGAIN_MS);
	else if (power || c->lc.task == LC_TASK_MACHINES_GONE)
		cluster_done(c);
}

/* A hint about a machine on its way out asks for it now. */
void task_removal_hint(struct cluster *c, const char *subject)
{
	for (struct removal *r = c->removals; r; r = r->next)
		if (!strcmp(r->subject, subject) && r->timer && !r->call)
			uv_timer_start(r->timer, on_later, 0, 0);
}

/* What a forced delete has seen: it may end without seeing it again. */
static void remember_seen(struct cluster *c, const json_t *items)
{
	if (c->lc.forced)
		json_object_set(c->state, "seen", (json_t *)items);
}

static void forget_seen(struct cluster *c, const json_t *gone)
{
	json_t *seen = json_object_get(c->state, "seen"), *item;
	const char *id = json_str(gone, "id");
	size_t i;

	json_array_foreach(seen, i, item)
		if (id && !strcmp(json_str_or(item, "id", ""), id)) {
			json_array_remove(seen, i);
			return;
		}
}

static void removal_unlink(struct removal *r)
{
	struct removal **p = &r->cluster->removals;

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
}

/* Nobody waits for more of an abandoned delete than this. */
static bool removal_waited_for(const struct cluster *c)
{
	return c->lc.desired != LC_ABANDONED ||
	       clock_mono_ms() - c->lc.task_mono_ms < c->l->settings.take_back_ms;
}

static void on_removed(void *arg, const struct provider_reply *reply)
{
	struct removal *r = arg;
	struct cluster *c = r->cluster;
	bool gone = reply->status == PCG_STEP_DONE ||
		    (reply->status == PCG_STEP_ERROR && reply->err.class == PCG_CLASS_NOT_FOUND);

	r->call = NULL;
	if (reply->status == PCG_STEP_PENDING && removal_waited_for(c)) {
		if (reply->checkpoint)
			json_object_set(r->doc, "checkpoint", reply->checkpoint);
		removal_later(r, reply->after_ms);
		return;
	}
	if (reply->status == PCG_STEP_PENDING) {
		pcg_fail(&c->worst, PCG_CLASS_RETRY, "", "removing machine %s: the infrastructure does not "
			 "come to an end of it", r->name);
	} else if (!gone) {
		c->worst = reply->err;
		pcg_fail_prefix(&c->worst, "removing machine %s", r->name);
	} else if (!strcmp(r->op, "machine_delete")) {
		FAULT_POINT("lifecycle.machine_removed");
		if (r->machine) {
			r->machine->state = MACHINE_GONE;
			r->machine->dirty = true;
		}
		forget_seen(c, json_object_get(r->doc, "observed"));
		cluster_note(c, "machine_removed", json_pack("{s:s}", "machine", r->name));
	} else {
		cluster_note(c, "machine_off", json_pack("{s:s}", "machine", r->name));
	}
	removal_unlink(r);
	removal_free(r);
	if (!c->removals)
		removals_ended(c);
}

/* The lookup that a delete works from. settled: with the machines that controllers had begun to make when they were stopped. */
static void call_inventory(struct cluster *c, bool settled, provider_cb cb)
{
	AUTO_JSON json_t *doc = json_pack("{s:s}", "cluster", c->uid);

	if (settled && c->lc.desired != LC_ABANDONED && clock_wall_ms() - c->lc.task_since_ms < SETTLE_MS)
		json_object_set_new(doc, "settled", json_true());
	c->call = provider_call(c->l->spec.providers, c->account, "inventory", c->uid, doc,
				INVENTORY_MS, cb, c);
}

/* What somebody has copied of a machine carries its mark, and is not ours to touch. */
static bool is_machine(const json_t *item)
{
	return !strcmp(json_str_or(item, "kind", "machine"), "machine") && !json_str(item, "stranger");
}

static void leave_strangers(struct cluster *c, const json_t *items)
{
	AUTO_JSON json_t *left = json_array();
	json_t *item;
	size_t i;

	json_array_foreach(items, i, item)
		if (json_str(item, "stranger"))
			json_array_append_new(left, json_pack("{s:s,s:s,s:s,s:O*,s:O*}", "id",
							      json_str_or(item, "id", ""), "name",
							      json_str_or(item, "name", ""), "why",
							      json_str(item, "stranger"), "providerID",
							      json_object_get(item, "providerID"), "addresses",
							      json_object_get(item, "addresses")));
	if (json_array_size(left))
		cluster_left(c, left);
}

/* False when the task has been answered for already. */
static bool inventory_usable(struct cluster *c, const struct provider_reply *r)
{
	c->call = NULL;
	if (r->status == PCG_STEP_ERROR)
		cluster_failed(c, &r->err);
	else if (r->status == PCG_STEP_PENDING)
		cluster_pending(c, r->after_ms);
	return r->status == PCG_STEP_DONE;
}

static bool in_inventory(const json_t *items, const char *uid)
{
	size_t i;
	json_t *item;

	json_array_foreach(items, i, item)
		if (is_machine(item) && !strcmp(json_str_or(item, "machine", ""), uid))
			return true;
	return false;
}

static void remove_all(struct cluster *c, const json_t *items)
{
	size_t i;
	json_t *item;

	json_array_foreach(items, i, item)
		if (is_machine(item))
			add_item(c, "machine_delete", item);
	/* A machine that is not seen may still be on its way: its own delete waits for it. */
	for (struct machine *m = c->machines; m; m = m->next)
		if (strcmp(m->state, MACHINE_GONE) && !in_inventory(items, m->uid))
			add_row(c, "machine_delete", m);
	if (c->removals)
		removals_begin(c);
	else
		cluster_done(c);
}

static void on_first_inventory(void *arg, const struct provider_reply *r)
{
	struct cluster *c = arg;

	if (!inventory_usable(c, r))
		return;
	remember_seen(c, json_object_get(r->doc, "items"));
	remove_all(c, json_object_get(r->doc, "items"));
}

void task_machines_gone(struct cluster *c)
{
	/* Before the first pivot nobody but this gateway made machines. */
	if (c->lc.epoch == 1)
		remove_all(c, NULL);
	else
		call_inventory(c, true, on_first_inventory);
}

static void on_power_inventory(void *arg, const struct provider_reply *r)
{
	struct cluster *c = arg;
	size_t i;
	json_t *item;

	if (!inventory_usable(c, r))
		return;
	remember_seen(c, json_object_get(r->doc, "items"));
	json_array_foreach(json_object_get(r->doc, "items"), i, item)
		if (is_machine(item) && strcmp(json_str_or(item, "role", ""), "worker") &&
		    strcmp(json_str_or(item, "power", "on"), "off"))
			add_item(c, "machine_power_off", item);
	if (c->removals)
		removals_begin(c);
	else
		cluster_done(c);
}

/* An API that we cannot reach may still be alive, with controllers that would make machines anew:
 * every control-plane machine goes off before the first one is removed. */
void task_forced_off(struct cluster *c)
{
	call_inventory(c, false, on_power_inventory);
}

static void on_infra_gone(void *arg, const struct provider_reply *r)
{
	struct cluster *c = arg;

	c->call = NULL;
	if (r->status == PCG_STEP_ERROR && r->err.class != PCG_CLASS_NOT_FOUND) {
		cluster_failed(c, &r->err);
		return;
	}
	if (r->status == PCG_STEP_PENDING) {
		cluster_pending(c, r->after_ms);
		return;
	}
	cluster_left(c, json_object_get(r->doc, "left"));
	cluster_done(c);
}

void task_infra_gone(struct cluster *c)
{
	AUTO_JSON json_t *doc = json_pack("{s:o,s:o,s:O?}", "cluster", task_cluster_doc(c), "mark",
					  task_mark(c, NULL, NULL), "observed",
					  json_object_get(c->state, "infra"));

	c->call = provider_call(c->l->spec.providers, c->account, "cluster_delete", c->uid, doc,
				DELETE_MS, on_infra_gone, c);
}

static void on_last_inventory(void *arg, const struct provider_reply *r)
{
	struct cluster *c = arg;
	json_t *items, *item;
	size_t i;

	if (!inventory_usable(c, r))
		return;
	items = json_object_get(r->doc, "items");
	remember_seen(c, items);
	json_array_foreach(items, i, item)
		if (is_machine(item))
			add_item(c, "machine_delete", item);
	if (c->removals) {
		c->empty = 0;
		removals_begin(c);
		return;
	}
	if (++c->empty < (c->lc.forced ? 2u : 1u)) {
		cluster_pending(c, SECOND_LOOK_MS);
		return;
	}
	leave_strangers(c, items);
	cluster_done(c);
}

void task_inventory(struct cluster *c)
{
	call_inventory(c, false, on_last_inventory);
}
