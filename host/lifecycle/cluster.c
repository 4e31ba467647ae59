/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "core/id.h"
#include "core/log.h"

#include <assert.h>
#include <string.h>

unsigned cluster_bucket(const char *uid)
{
	uint32_t h = 2166136261u;

	for (; *uid; uid++)
		h = (h ^ (uint8_t)*uid) * 16777619u;
	return h % ARRAY_LEN(((struct lifecycle *)0)->buckets);
}

struct cluster *cluster_find(struct lifecycle *l, const char *uid_or_name)
{
	struct cluster *c, *named = NULL;

	for (c = l->buckets[cluster_bucket(uid_or_name)]; c; c = c->next)
		if (!strcmp(c->uid, uid_or_name))
			return c;
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (c = l->buckets[i]; c; c = c->next)
			if (!strcmp(c->name, uid_or_name) &&
			    (!named || named->lc.phase == LC_DELETED))
				named = c;
	return named;
}

static void load_condition(struct lc_state *s, const json_t *condition)
{
	if (!condition)
		return;
	s->condition.set = true;
	pcg_class_parse(json_str_or(condition, "class", "retry"), &s->condition.class);
	s->condition.since_ms = json_int_or(condition, "since", 0);
	snprintf(s->condition.cause, sizeof(s->condition.cause), "%s",
		 json_str_or(condition, "cause", ""));
	snprintf(s->condition.remedy, sizeof(s->condition.remedy), "%s",
		 json_str_or(condition, "remedy", ""));
}

struct cluster *cluster_from_row(struct lifecycle *l, const struct store_cluster_row *row)
{
	struct cluster *c = cluster_new(l, row->uid, row->spec);
	struct lc_state *s = &c->lc;

	c->spec_dirty = false;
	lc_state_init(s, row->generation, LC_PRESENT, clock_wall_ms());
	if (!lc_phase_parse(row->phase, &s->phase) || !lc_task_parse(row->task, &s->task) ||
	    !lc_desired_parse(row->desired, &s->desired))
		log_error("store_row_unknown", LS("cluster", row->name), LS("phase", row->phase),
			  LS("task", row->task));
	s->epoch = row->epoch;
	json_decref(c->state);
	c->state = row->state ? json_deep_copy(row->state) : json_object();
	c->recovery = row->recovery ? json_deep_copy(row->recovery) : NULL;
	s->phase_since_ms = json_int_or(c->state, "phaseSince", s->phase_since_ms);
	s->task_since_ms = json_int_or(c->state, "taskSince", s->task_since_ms);
	s->touched = json_bool_or(c->state, "touched", true);
	s->handed = json_bool_or(c->state, "handed", false);
	s->forced = json_bool_or(c->state, "forced", false);
	load_condition(s, json_object_get(c->state, "condition"));
	return c;
}

static void replace(char **field, const char *value)
{
	free(*field);
	*field = strdup(value ? value : "");
	assert(*field);
}

/* Of the recovery document, so that another installation knows it. */
#define CHANGE "policyChange"

void cluster_keep_change(struct cluster *c, const json_t *change)
{
	if (!json_object_size(change) && !json_object_get(c->recovery, CHANGE))
		return;
	if (!c->recovery)
		c->recovery = json_object();
	if (json_object_size(change))
		json_object_set_new(c->recovery, CHANGE, json_deep_copy(change));
	else
		json_object_del(c->recovery, CHANGE);
	c->recovery_dirty = true;
}

const json_t *cluster_change(const struct cluster *c)
{
	return json_object_get(c->recovery, CHANGE);
}

void cluster_change_again(struct cluster *c)
{
	json_t *spec;
	struct pcg_error err;

	if (!cluster_change(c))
		return;
	spec = json_deep_copy(c->spec);
	if (policy_changes_apply(spec, cluster_change(c), &err)) {
		log_err("policy_change_lost", &err, LS("cluster", c->name));
		cluster_note(c, "policy_change_lost", json_pack("{s:s,s:s}", "cause", err.text, "remedy", err.remedy));
		json_wipe(spec);
		return;
	}
	json_wipe(c->spec);
	c->spec = spec;
	c->spec_dirty = true;
}

void cluster_set_spec(struct cluster *c, const json_t *spec)
{
	json_wipe(c->spec);
	secret_unref(TAKE(c->user_data));
	c->spec = json_copy((json_t *)(uintptr_t)spec); /* its parts are never changed */
	c->spec_dirty = true;
	json_object_del(c->spec, "recovery");
	json_object_del(c->spec, "hasKubeConfig");
	replace(&c->name, json_str_or(spec, "name", c->uid));
	replace(&c->tenant, json_str(spec, "tenant"));
	replace(&c->project, json_str(spec, "project"));
	replace(&c->account, json_str(spec, "account.uid"));
	if (!lc_begins_again(&c->lc))
		cluster_change_again(c);
}

struct cluster *cluster_new(struct lifecycle *l, const char *uid, const json_t *spec)
{
	struct cluster *c = calloc(1, sizeof(*c));

	assert(c);
	c->magic = CLUSTER_MAGIC;
	c->l = l;
	c->uid = strdup(uid);
	c->state = json_object();
	cluster_set_spec(c, spec);
	return c;
}

void cluster_link(struct cluster *c)
{
	struct cluster **at = &c->l->buckets[cluster_bucket(c->uid)];

	c->next = *at;
	*at = c;
}

void cluster_unlink(struct cluster *c)
{
	struct cluster **p = &c->l->buckets[cluster_bucket(c->uid)];

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
}

static void machine_free(struct machine *m)
{
	free(m->uid);
	free(m->name);
	free(m->pool);
	free(m->role);
	json_decref(m->observed);
	json_decref(m->checkpoint);
	free(m);
}

static void machines_free(struct cluster *c)
{
	while (c->machines) {
		struct machine *next = c->machines->next;

		machine_free(c->machines);
		c->machines = next;
	}
}

void cluster_forget_machines(struct cluster *c, struct store_batch *b)
{
	assert(!c->removals);
	machines_free(c);
	addresses_forget(c);
	store_remove_machines(b, c->uid);
}

void cluster_begin_again(struct cluster *c, struct store_batch *b)
{
	cluster_cancel(c);
	cluster_let_go(c);
	cluster_forget_machines(c, b);
	json_wipe(c->recovery);
	c->recovery = json_object();
	c->recovery_dirty = true;
	c->keys_made = false;
}

static void timer_closed(uv_handle_t *h)
{
	free(h);
}

void cluster_free(struct cluster *c)
{
	plans_end_cluster(c);
	cluster_cancel(c);
	cluster_let_go(c);
	machines_free(c);
	if (c->timer) {
		uv_timer_stop(c->timer);
		uv_close((uv_handle_t *)c->timer, timer_closed);
	}
	json_wipe(c->spec);
	json_wipe(c->recovery);
	json_decref(c->state);
	json_decref(c->checks);
	json_decref(c->stages);
	free(c->warning);
	free(c->uid);
	free(c->name);
	free(c->tenant);
	free(c->project);
	free(c->account);
	c->magic = 0;
	free(c);
}

struct machine *machine_find(struct cluster *c, const char *uid)
{
	for (struct machine *m = c->machines; m; m = m->next)
		if (!strcmp(m->uid, uid))
			return m;
	return NULL;
}

struct machine *machine_new(struct cluster *c, const char *uid, const char *name, const char *pool,
			    const char *role)
{
	struct machine *m = calloc(1, sizeof(*m));

	assert(m);
	m->cluster = c;
	m->uid = strdup(uid);
	m->name = strdup(name);
	m->pool = strdup(pool ? pool : "");
	m->role = strdup(role ? role : "");
	m->state = MACHINE_INTENT;
	m->op = "ensure";
	m->dirty = true;
	m->next = c->machines;
	c->machines = m;
	return m;
}

void machine_observe(struct machine *m, const json_t *observed)
{
	json_decref(m->observed);
	m->observed = json_deep_copy(observed);
	m->state = MACHINE_PRESENT;
	m->dirty = true;
}

const json_t *cluster_pool(const struct cluster *c, const char *name)
{
	size_t i;
	json_t *pool;

	json_array_foreach(json_object_get(c->spec, "pools"), i, pool)
		if (name && !strcmp(json_str_or(pool, "name", ""), name))
			return pool;
	return NULL;
}

const json_t *cluster_control_plane_pool(const struct cluster *c)
{
	size_t i;
	json_t *pool;

	json_array_foreach(json_object_get(c->spec, "pools"), i, pool)
		if (json_bool_or(pool, "controlPlane", false))
			return pool;
	return NULL;
}

static void put_time(json_t *o, const char *key, int64_t ms)
{
	char text[CLOCK_RFC3339_SIZE];

	json_object_set_new(o, key, ms ? json_string(clock_rfc3339(ms, text)) : json_null());
}

/* One condition says whether it goes on, and if not, why and what to do. */
static json_t *condition_view(const struct cluster *c)
{
	const struct lc_condition *k = &c->lc.condition;
	json_t *o = json_object();

	json_object_set_new(o, "type", json_string("Progressing"));
	json_object_set_new(o, "status", json_string(k->set ? "False" : "True"));
	json_object_set_new(o, "waitingFor", json_string(lc_task_waits(c->lc.task)));
	put_time(o, "since", k->set ? k->since_ms : c->lc.task_since_ms);
	put_time(o, "nextTry", c->lc.next_try_ms);
	json_object_set_new(o, "cause", k->set ? json_string(k->cause) : json_null());
	json_object_set_new(o, "remedy", k->set ? json_string(k->remedy) : json_null());
	if (k->set)
		json_object_set_new(o, "class", json_string(pcg_class_name(k->class)));
	return o;
}

static json_t *conditions_view(const struct cluster *c)
{
	json_t *list = json_array(), *health = json_object_get(c->state, "health");
	json_t *peer = c->lc.phase == LC_RUNNING ? peer_condition(c) : NULL;

	if (c->lc.phase != LC_RUNNING && c->lc.phase != LC_DELETED)
		json_array_append_new(list, condition_view(c));
	if (cluster_unknown(c))
		json_array_append_new(list, cluster_unknown_condition(c));
	if (health && c->lc.phase == LC_RUNNING)
		json_array_append_new(
			list, json_pack("{s:s,s:s,s:O?,s:n,s:s,s:n}", "type", "Healthy", "status", "True",
					"since", json_object_get(health, "at"), "nextTry", "cause",
					"as the gateway saw it when the cluster took over", "remedy"));
	if (peer)
		json_array_append_new(list, peer);
	return list;
}

static json_t *machine_view(const struct machine *m)
{
	json_t *addresses = json_object_get(m->observed, "addresses");
	const char *given = json_str_or(addresses_of_machine(m->cluster, m->uid), "0.address", "");
	const char *address = json_str_or(addresses, "0.address", given);
	json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "uid", m->uid, "name", m->name,
			      "pool", m->pool, "role", m->role, "state", m->state, "providerID",
			      json_str_or(m->observed, "providerID", ""), "address", address);

	if (addresses)
		json_object_set(o, "addresses", addresses);
	return o;
}

json_t *cluster_view(const struct cluster *c)
{
	json_t *machines = json_array();
	json_t *o = json_pack(
		"{s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:s,s:s,s:o}", "uid", c->uid, "name", c->name,
		"phase", lc_phase_name(c->lc.phase), "task", lc_task_name(c->lc.task), "generation",
		(json_int_t)c->lc.generation, "epoch", (json_int_t)c->lc.epoch, "provider",
		json_str_or(c->spec, "cloudType", ""), "account", c->account, "desired",
		lc_desired_name(c->lc.desired), "conditions", conditions_view(c));
	json_t *endpoint = json_object_get(c->state, "endpoint");
	json_t *health = json_object_get(c->state, "health");
	json_t *left = json_object_get(c->state, "left");

	for (const struct machine *m = c->machines; m; m = m->next)
		if (strcmp(m->state, MACHINE_GONE))
			json_array_insert_new(machines, 0, machine_view(m));
	json_object_set_new(o, "machines", machines);
	json_object_set(o, "endpoint", endpoint ? endpoint : json_null());
	json_object_set_new(o, "accountName",
			    json_string(json_str_or(c->spec, "account.name", "")));
	if (health && c->lc.phase == LC_RUNNING)
		json_object_set(o, "health", health);
	if (left)
		json_object_set(o, "left", left);
	if (json_array_size(json_object_get(c->spec, "addressPools")))
		json_object_set_new(o, "addressPools", addresses_view(c));
	put_time(o, "phaseSince", c->lc.phase_since_ms);
	return o;
}

json_t *cluster_public_spec(const struct cluster *c)
{
	json_t *copy = json_copy(c->spec);

	json_object_del(copy, "recovery");
	json_object_del(copy, "problems");
	json_object_del(copy, "request");
	return copy;
}
