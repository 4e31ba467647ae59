/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what is seen from outside: inventory, watch, ends, and what was noted of all answers. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "core/id.h"
#include "pcg/provider.h"

#include <stdio.h>
#include <string.h>

static int same_text(struct verify *v, const json_t *item, const char *member, const char *expected)
{
	if (strcmp(json_str_or(item, member, ""), expected) == 0)
		return 0;
	return verify_fail(v, CLAUSE_INVENTORY, expected, "%s of the machine is \"%s\" with an empty store", member,
			   json_str_or(item, member, ""));
}

static int found_in(struct verify *v, struct life *l, const char *cluster, const char *what)
{
	AUTO_JSON json_t *items = life_inventory(v, ACCOUNT_EMPTY, cluster);
	const struct machine *m = &l->machines[0];
	const json_t *item;
	size_t n;

	if (!items)
		return -1;
	item = life_item(items, m, &n);
	if (n != 1)
		return verify_fail(v, CLAUSE_INVENTORY, "the machine, once", "%s finds it %zu times with an empty store", what, n);
	return same_text(v, item, "name", m->name) || same_text(v, item, "pool", m->pool) ||
	       same_text(v, item, "cluster", l->uid) || same_text(v, item, "power", "on") ||
	       same_text(v, item, "providerID", json_str_or(m->observed, "providerID", "")) ||
	       (*json_str_or(item, "role", "") && same_text(v, item, "role", m->role));
}

static int others_apart(struct verify *v)
{
	char uid[25];
	AUTO_JSON json_t *items = NULL;

	id_hex24(uid);
	items = life_inventory(v, ACCOUNT_EMPTY, uid);
	if (!items)
		return -1;
	if (!json_array_size(items))
		return 0;
	return verify_fail(v, "inventory: {\"cluster\":UID|null}", "nothing", "the inventory of a cluster that there is not has %zu items",
			   json_array_size(items));
}

int check_inventory(struct verify *v)
{
	struct life *l = life_new(v, 1);

	if (life_make(v, l) || found_in(v, l, l->uid, "the inventory of its cluster") ||
	    found_in(v, l, NULL, "the inventory of all") || others_apart(v))
		return -1;
	return life_remove(v, l) || life_count(v, l, 0, "deleted");
}

/* Controllers of the cluster know its name and give one of their own. */
static const json_t *foreign_item(const json_t *items, const char *name)
{
	size_t i;
	json_t *e;

	json_array_foreach(items, i, e)
		if (strcmp(json_str_or(e, "name", ""), name) == 0 && strcmp(json_str_or(e, "kind", ""), "machine") == 0 &&
		    !json_str(e, "stranger"))
			return e;
	return NULL;
}

int check_foreign(struct verify *v)
{
	AUTO_FREE char *out = NULL;
	AUTO_JSON json_t *items = NULL;
	struct life *l;
	struct machine *m;

	if (!command_there(v, "foreign"))
		return verify_skip(v, "DOCS.json has no commands.foreign");
	l = life_new(v, 1);
	m = &l->machines[0];
	if (life_cluster(v, l) || command_run(v, "foreign", l, m, &out))
		return -1;
	m->maybe = true;
	items = life_inventory(v, ACCOUNT_EMPTY, l->uid);
	if (!items)
		return -1;
	if (!foreign_item(items, m->name))
		return verify_fail(v, CLAUSE_INVENTORY ", also what controllers made", "it",
				   "machine %s that commands.foreign made is not in the inventory", m->name);
	if (verify_delete_found(v, l) || life_count(v, l, 0, "what another client made was deleted"))
		return -1;
	m->maybe = false;
	return life_end(v, l);
}

static void noop(void *arg, const struct provider_reply *reply)
{
}

/* The second watch is answered once the first, cancelled one has ended. */
int check_watch(struct verify *v)
{
	static const char clause[] = "watch: runs until cancelled: waits for changes and gives hints. done when there is nothing to watch";
	AUTO_JSON json_t *doc = json_object();
	struct provider_call *c;
	uint64_t began;
	struct step s;

	if (!verify_has(v, PCG_CAP_WATCH))
		return verify_skip(v, "the plugin has no watch");
	c = provider_call(v->pool, ACCOUNT, "watch", "watch", doc, 3000, noop, NULL);
	began = verify_now(v);
	while (verify_now(v) - began < 300)
		verify_turn(v, 50);
	provider_call_cancel(c);
	began = verify_now(v);
	step_init(&s, ACCOUNT, "watch", "watch", json_incref(doc), NULL);
	s.once = true;
	s.timeout_ms = 500;
	steps_run(v, &s, 1);
	if (verify_now(v) - began > 2500)
		verify_fail(v, clause, "an end as soon as it is cancelled", "a watch had not ended %llu ms after it was cancelled",
			    (unsigned long long)(verify_now(v) - began));
	else if (s.status == PCG_STEP_PENDING || (s.status == PCG_STEP_ERROR && s.err.class != PCG_CLASS_CANCELLED &&
						  s.err.class != PCG_CLASS_RETRY))
		verify_fail(v, clause, "done, or error cancelled", "a watch at its deadline: %s", step_status(&s));
	step_free(&s);
	return 0;
}

int check_ends(struct verify *v)
{
	AUTO_JSON json_t *items = life_inventory(v, ACCOUNT, NULL), *other = life_inventory(v, ACCOUNT_EMPTY, NULL);

	return items && other ? verify_fresh(v, 0, NULL) : -1;
}

/* With --only this one there was nothing yet. */
static void exercise(struct verify *v)
{
	struct life *l = life_new(v, 1);

	if (life_make(v, l) || life_count(v, l, 1, "made"))
		return;
	if (verify_has(v, PCG_CAP_REDACT))
		life_do(v, l, &l->machines[0], "machine_redact");
	life_remove(v, l);
}

static int told(struct verify *v, const json_t *list)
{
	size_t i;
	json_t *e;

	exercise(v);
	rig_said(v);
	json_array_foreach(list, i, e)
		json_array_append(v->failures, e);
	return json_array_size(v->failures) ? -1 : 0;
}

int check_documents(struct verify *v)
{
	return told(v, v->documents);
}

int check_secrets(struct verify *v)
{
	return told(v, v->leaks);
}
