/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of machines that nothing disturbs: made, asked again, out of order, read back, removed. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "pcg/provider.h"

#include <stdio.h>
#include <string.h>

#define STRANGE "q'\"\\ {{ x }} {% y %} ]]> &lt; <!-- é"

static void ask_missing(struct verify *v, const json_t *patch, size_t number)
{
	struct life *l = life_new(v, 1);
	json_t *doc = life_doc(l, NULL, "cluster_ensure");
	struct step s;

	json_object_set_new(doc, "check", json_true());
	json_object_set_new(doc, "cluster", input_patched(l->cluster, json_object_get(patch, "cluster")));
	step_init(&s, ACCOUNT, "cluster_ensure", l->uid, doc, NULL);
	v->changes = 0;
	steps_run(v, &s, 1);
	if (s.status != PCG_STEP_DONE)
		verify_fail(v, "cluster_ensure: check: done {\"problems\":[...]}", "problems", "missing[%zu] of DOCS.json: %s", number,
			    step_status(&s));
	else if (!json_array_size(json_object_get(s.answer, "problems")))
		verify_fail(v, "cluster_ensure: check: everything the request names is looked up", "a problem that names it",
			    "missing[%zu] of DOCS.json: no problem was found", number);
	if (v->changes)
		verify_fail(v, "cluster_ensure: check: nothing is made", "no request that changes", "missing[%zu]: %s", number,
			    v->counted_last);
	step_free(&s);
}

int check_looks(struct verify *v)
{
	const json_t *missing = json_object_get(v->docs, "missing");
	struct life *l = life_new(v, 1);
	json_t *doc = life_doc(l, NULL, "cluster_ensure"), *problems, *e;
	struct step s;
	size_t i;

	json_object_set_new(doc, "check", json_true());
	step_init(&s, ACCOUNT, "cluster_ensure", l->uid, doc, NULL);
	steps_run(v, &s, 1);
	if (!step_done(v, &s, "cluster_ensure: check: done {\"problems\":[...],\"endpoint\":...}")) {
		problems = json_object_get(s.answer, "problems");
		if (!problems)
			verify_fail(v, "cluster_ensure: check: done {\"problems\":[...]}", "a list, empty when there are none",
				    "an answer without problems");
		json_array_foreach(problems, i, e)
			verify_fail(v, "cluster_ensure", "none (mend DOCS.json if it is one)", "a problem: %s: %s",
				    json_str_or(e, "field", ""), json_str_or(e, "text", ""));
	}
	step_free(&s);
	if (v->changes)
		verify_fail(v, "cluster_ensure: check: nothing is made", "no request that changes", "%s", v->counted_last);
	json_array_foreach(missing, i, e)
		ask_missing(v, e, i);
	return 0;
}

/* machine_ensure again: the same machine. checkpoint is stolen. */
static int same_again(struct verify *v, struct life *l, struct machine *m, json_t *checkpoint, const char *how)
{
	struct step s;
	int r;

	step_init(&s, ACCOUNT, "machine_ensure", m->uid, life_doc(l, m, "machine_ensure"), checkpoint);
	steps_run(v, &s, 1);
	if (s.status != PCG_STEP_DONE)
		r = verify_fail(v, CLAUSE_STEPS, "done", "machine_ensure asked again %s: %s", how, step_status(&s));
	else if (strcmp(json_str_or(s.answer, "observed.providerID", ""), json_str_or(m->observed, "providerID", "")) != 0 ||
		 strcmp(json_str_or(s.answer, "observed.id", ""), json_str_or(m->observed, "id", "")) != 0)
		r = verify_fail(v, CLAUSE_STEPS, "the same id and providerID", "machine_ensure asked again %s: %s, was %s", how,
				json_str_or(s.answer, "observed.providerID", "none"), json_str_or(m->observed, "providerID", "none"));
	else
		r = 0;
	step_free(&s);
	return r;
}

static int cluster_again(struct verify *v, struct life *l)
{
	AUTO_JSON json_t *before = json_incref(l->endpoint);
	int r = life_cluster(v, l);

	if (!r && before && !json_equal(before, l->endpoint))
		r = verify_fail(v, CLAUSE_STEPS, "the same endpoint", "cluster_ensure asked again gives another endpoint");
	return r;
}

static int delete_again(struct verify *v, struct life *l, struct machine *m)
{
	json_decref(m->deleted);
	m->deleted = json_object();
	if (life_delete(v, l, m))
		return -1;
	json_decref(m->deleted);
	m->deleted = NULL;
	return life_delete(v, l, m);
}

int check_repeat(struct verify *v)
{
	struct life *l = life_new(v, 1);
	struct machine *m = &l->machines[0];

	if (life_cluster(v, l) || cluster_again(v, l) || life_machine(v, l, m) || life_count(v, l, 1, "once done"))
		return -1;
	if (same_again(v, l, m, json_deep_copy(m->ensured), "after done") ||
	    same_again(v, l, m, json_object(), "with the checkpoint {} of a gateway that lost its store"))
		return -1;
	if (cluster_again(v, l) || life_count(v, l, 1, "asked again after done"))
		return -1;
	if (life_delete(v, l, m) || life_count(v, l, 0, "once deleted") || life_delete(v, l, m) || delete_again(v, l, m) || life_count(v, l, 0, "deleted again"))
		return -1;
	return life_end(v, l) || life_end(v, l);
}

/* Of what never was: done, or that it is not found. */
static void never_was(struct verify *v, struct life *l, const char *op)
{
	struct step s;

	step_init(&s, ACCOUNT, op, l->machines[0].uid, life_doc(l, &l->machines[0], op), NULL);
	steps_run(v, &s, 1);
	if (s.status != PCG_STEP_DONE && !(s.status == PCG_STEP_ERROR && s.err.class == PCG_CLASS_NOT_FOUND))
		verify_fail(v, op, "done, or error not_found", "%s of a machine that never was: %s", op, step_status(&s));
	step_free(&s);
}

static void ask_once(struct verify *v, struct life *l, struct machine *m, struct step *s)
{
	step_init(s, ACCOUNT, "machine_ensure", m->uid, life_doc(l, m, "machine_ensure"), TAKE(m->ensured));
	s->once = true;
	m->maybe = true;
	steps_run(v, s, 1);
}

/* A machine before its cluster: whatever is answered, it does no harm. */
static int machine_first(struct verify *v, struct life *l, struct machine *m)
{
	struct step s;

	ask_once(v, l, m, &s);
	life_ensured(l, m, &s);
	step_free(&s);
	return life_cluster(v, l) || life_machine(v, l, m) || life_count(v, l, 1, "asked for before its cluster");
}

/* A repeat of the first call, come late, with the checkpoint that it had then. */
static int late_repeat(struct verify *v, struct life *l, struct machine *m)
{
	json_t *first;
	struct step s;

	ask_once(v, l, m, &s);
	first = json_deep_copy(s.checkpoint);
	life_ensured(l, m, &s);
	step_free(&s);
	if (life_machine(v, l, m)) {
		json_decref(first);
		return -1;
	}
	return same_again(v, l, m, first ? first : json_object(), "by a late repeat of its first call");
}

/* Deleted while it is being made. */
static int deleted_first(struct verify *v, struct life *l, struct machine *m)
{
	struct step s;

	ask_once(v, l, m, &s);
	life_ensured(l, m, &s);
	step_free(&s);
	return life_delete(v, l, m);
}

int check_reorder(struct verify *v)
{
	struct life *l = life_new(v, 3), *never = life_new(v, 1);

	life_delete(v, never, &never->machines[0]);
	if (verify_has(v, PCG_CAP_POWER_OFF))
		never_was(v, never, "machine_power_off");
	if (verify_has(v, PCG_CAP_REDACT))
		never_was(v, never, "machine_redact");
	life_end(v, never);
	if (machine_first(v, l, &l->machines[0]) || late_repeat(v, l, &l->machines[1]) ||
	    deleted_first(v, l, &l->machines[2]))
		return -1;
	if (life_count(v, l, 2, "two made, one deleted while it was made"))
		return -1;
	return life_remove(v, l);
}

static int compare_user_data(struct verify *v, struct life *l, struct machine *m)
{
	AUTO_FREE char *out = NULL;
	size_t at = 0;

	if (!command_there(v, "userData"))
		return 0;
	if (command_run(v, "userData", l, m, &out))
		return -1;
	while (out[at] && out[at] == m->user_data[at])
		at++;
	if (out[at] == m->user_data[at])
		return 0;
	return verify_fail(v, "machine_ensure: \"userData\":text", "byte for byte what was given",
			   "commands.userData: byte %zu differs: \"%.40s\", given was \"%.40s\"", at, out + at, m->user_data + at);
}

int check_values(struct verify *v)
{
	struct life *l = life_new(v, 1);
	struct machine *m = &l->machines[0];
	json_t *unknown = json_pack("{s:s, s:[i, n, b]}", "text", STRANGE "\n\ttwo", "list", 1, 1);
	struct step s;
	int r;

	json_object_set(l->cluster, "xVerify", unknown);
	json_object_set(json_object_get(l->cluster, "spec"), "xVerify", unknown);
	json_object_set(m->pool_spec, "xVerify", unknown);
	if (life_cluster(v, l)) {
		json_decref(unknown);
		return -1;
	}
	step_init(&s, ACCOUNT, "machine_ensure", m->uid, life_doc(l, m, "machine_ensure"), NULL);
	json_object_set(s.doc, "xVerify", unknown);
	json_object_set(json_object_get(s.doc, "machine"), "xVerify", unknown);
	json_object_set(json_object_get(s.doc, "mark"), "xVerify", unknown);
	json_object_set_new(json_object_get(s.doc, "mark"), "gateway", json_string(STRANGE));
	json_decref(unknown);
	m->maybe = true;
	steps_run(v, &s, 1);
	r = step_done(v, &s, "Unknown members are ignored by both sides; texts are UTF-8 and may hold anything");
	life_ensured(l, m, &s);
	step_free(&s);
	return r || life_count(v, l, 1, "with unknown members") || compare_user_data(v, l, m) || life_remove(v, l);
}

static int holds_key(struct verify *v, struct life *l, struct machine *m, bool *there)
{
	AUTO_FREE char *out = NULL;

	*there = false;
	if (!command_there(v, "userData"))
		return 0;
	if (command_run(v, "userData", l, m, &out))
		return -1;
	*there = strstr(out, v->canary) != NULL;
	return 0;
}

int check_redact(struct verify *v)
{
	struct life *l;
	struct machine *m;
	bool there;

	if (!verify_has(v, PCG_CAP_REDACT))
		return verify_skip(v, "the plugin has no machine_redact");
	l = life_new(v, 1);
	m = &l->machines[0];
	if (life_make(v, l) || holds_key(v, l, m, &there))
		return -1;
	if (command_there(v, "userData") && !there)
		return verify_fail(v, "commands.userData of DOCS.json", "the user data, with its key ${CANARY}",
				   "before machine_redact the key is not there");
	if (life_do(v, l, m, "machine_redact") || life_do(v, l, m, "machine_redact") || holds_key(v, l, m, &there))
		return -1;
	if (there)
		return verify_fail(v, "machine_redact: takes keys out of what the infrastructure keeps of the user data", "none",
				   "the key of the user data is still there");
	if (life_count(v, l, 1, "redacted") || life_remove(v, l))
		return -1;
	return command_there(v, "userData") ? 0 : verify_skip(v, "asked for without error; that keys are gone shows only "
								 "with commands.userData in DOCS.json");
}

static int power_is(struct verify *v, struct life *l, struct machine *m, const char *expected, const char *when)
{
	AUTO_JSON json_t *items = life_inventory(v, ACCOUNT, l->uid);
	const json_t *item;
	size_t n;

	if (!items)
		return -1;
	item = life_item(items, m, &n);
	if (item && strcmp(json_str_or(item, "power", ""), expected) == 0)
		return 0;
	return verify_fail(v, "machine_power_off: hard power off, nothing removed; inventory: \"power\":\"on|off\"", expected,
			   "%s the machine's power in the inventory is %s", when, item ? json_str_or(item, "power", "none") :
			   "not told: it is not there");
}

int check_power(struct verify *v)
{
	struct life *l;
	struct machine *m;

	if (!verify_has(v, PCG_CAP_POWER_OFF))
		return verify_skip(v, "the plugin has no machine_power_off");
	l = life_new(v, 1);
	m = &l->machines[0];
	if (life_make(v, l) || power_is(v, l, m, "on", "once made") || life_do(v, l, m, "machine_power_off") ||
	    power_is(v, l, m, "off", "after power_off") || life_do(v, l, m, "machine_power_off"))
		return -1;
	return power_is(v, l, m, "off", "after a second power_off") || life_count(v, l, 1, "powered off") || life_remove(v, l);
}

/* As the lifecycle deletes what only the inventory knows: the item is what was observed. */
static int delete_item(struct verify *v, struct life *l, const json_t *item)
{
	const char *uid = json_str_or(item, "machine", ""), *id = json_str_or(item, "id", "");
	json_t *doc = life_doc(l, NULL, "machine_delete"), *machine;
	struct step s;
	int r;

	machine = json_pack("{s:s, s:s, s:s, s:s}", "uid", uid, "name", json_str_or(item, "name", ""), "pool",
			    json_str_or(item, "pool", ""), "role", json_str_or(item, "role", ""));
	json_object_set_new(doc, "machine", machine);
	json_object_set_new(json_object_get(doc, "mark"), "machine", json_string(uid));
	json_object_set_new(json_object_get(doc, "mark"), "pool", json_string(json_str_or(item, "pool", "")));
	json_object_set(doc, "observed", (json_t *)item);
	step_init(&s, ACCOUNT, "machine_delete", *uid ? uid : id, doc, NULL);
	steps_run(v, &s, 1);
	r = step_done(v, &s, CLAUSE_DELETE);
	step_free(&s);
	return r;
}

int verify_delete_found(struct verify *v, struct life *l)
{
	AUTO_JSON json_t *items = life_inventory(v, ACCOUNT, l->uid);
	size_t i;
	json_t *e;
	int r = items ? 0 : -1;

	json_array_foreach(items, i, e)
		if (!r && strcmp(json_str_or(e, "kind", ""), "machine") == 0 && !json_str(e, "stranger"))
			r = delete_item(v, l, e);
	return r;
}

int check_deletes(struct verify *v)
{
	struct life *l = life_new(v, 2);
	struct machine *m = &l->machines[0];

	if (life_make(v, l))
		return -1;
	json_decref(m->observed);
	m->observed = NULL;
	if (life_delete(v, l, m) || life_count(v, l, 1, "one of two deleted without \"observed\"") ||
	    verify_delete_found(v, l) || life_count(v, l, 0, "deleted by what the inventory found"))
		return -1;
	l->machines[1].maybe = false;
	return life_end(v, l) || life_end(v, l);
}
