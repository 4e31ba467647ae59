/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of a cluster's whole life that is cut: at deadlines, by cancelling, by the worker's death, and several at once. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "pcg/provider.h"

#include <stdio.h>
#include <string.h>

/* A cluster of one machine from nothing to nothing; whatever happens meanwhile there is one of it, then none. */
static int whole_life(struct verify *v, struct life *l)
{
	struct machine *m = &l->machines[0];

	if (life_make(v, l) || life_count(v, l, 1, "machine_ensure done"))
		return -1;
	if (verify_has(v, PCG_CAP_REDACT) && life_do(v, l, m, "machine_redact"))
		return -1;
	if (verify_has(v, PCG_CAP_POWER_OFF) && life_do(v, l, m, "machine_power_off"))
		return -1;
	return life_remove(v, l) || life_count(v, l, 0, "deleted");
}

static int killed_everywhere(struct verify *v, const char *when, const char *words)
{
	uint64_t n = v->limits.kill_first, tried = 0;
	int r = 0;

	for (; !r && !v->stopped && tried < v->limits.kills; n += v->limits.kill_step, tried++) {
		struct life *l;

		if (verify_fresh(v, n, when))
			return -1;
		snprintf(v->context, sizeof(v->context), "the worker killed %s counted request %llu", words,
			 (unsigned long long)n);
		l = life_new(v, 1);
		r = whole_life(v, l);
		if (!v->killed)
			break;
		json_array_append_new(v->at, json_string(v->killed_at));
	}
	snprintf(v->did, sizeof(v->did), "%zu kills", json_array_size(v->at));
	if (!r && !tried)
		return verify_skip(v, "a whole life has fewer than %u counted requests", v->limits.kill_first);
	if (!r && tried == v->limits.kills && !json_at(v->docs, "limits.kills"))
		return verify_fail(v, "limits.kills of DOCS.json", "fewer", "a whole life has more than %u counted requests; raise limits.kills of DOCS.json",
				   v->limits.kills);
	return r;
}

int check_kill_before(struct verify *v)
{
	return killed_everywhere(v, "before", "before");
}

int check_kill_sent(struct verify *v)
{
	return killed_everywhere(v, "sent", "when it had sent");
}

int check_kill_answered(struct verify *v)
{
	return killed_everywhere(v, "answered", "when the answer arrived to");
}

static void cancel_at(struct verify *v, uint64_t n)
{
	if (n != v->cancel_n)
		return;
	for (size_t i = 0; i < v->n_steps; i++)
		step_cancel(&v->steps[i]);
}

int check_cancel(struct verify *v)
{
	uint64_t n = v->limits.kill_first;
	int r = 0;

	for (uint64_t tried = 0; !r && !v->stopped && tried < v->limits.kills; n += v->limits.kill_step, tried++) {
		struct life *l;
		uint64_t all;

		if (verify_fresh(v, 0, NULL))
			return -1;
		snprintf(v->context, sizeof(v->context), "cancelled at counted request %llu and asked again", (unsigned long long)n);
		v->cancel_n = n;
		v->on_counted = cancel_at;
		l = life_new(v, 1);
		r = whole_life(v, l);
		all = v->counted;
		v->on_counted = NULL;
		if (n > all)
			break;
		snprintf(v->did, sizeof(v->did), "%llu times", (unsigned long long)tried + 1);
	}
	return r;
}

/* Asked with a deadline that it cannot keep: an error that passes, or the work is done. */
static int cut(struct verify *v, struct life *l, struct machine *m, const char *op, uint32_t ms)
{
	json_t *none = NULL, **kept = strcmp(op, "machine_ensure") == 0 ? &m->ensured :
				      strcmp(op, "machine_delete") == 0 ? &m->deleted : &none;
	struct step s;
	int r = 0;

	step_init(&s, ACCOUNT, op, m ? m->uid : l->uid, life_doc(l, m, op), TAKE(*kept));
	s.once = true;
	s.timeout_ms = ms;
	steps_run(v, &s, 1);
	v->tried++;
	v->was_cut += s.status == PCG_STEP_ERROR;
	if (s.status == PCG_STEP_ERROR && s.err.class != PCG_CLASS_CANCELLED && s.err.class != PCG_CLASS_RETRY)
		r = verify_fail(v, CLAUSE_SERVICES, "done, pending, or error cancelled or retry", "%s cut after %u ms: %s", op, ms,
				step_status(&s));
	if (m && kept != &none)
		*kept = TAKE(s.checkpoint);
	step_free(&s);
	return r;
}

static int cut_one(struct verify *v, struct life *l, struct machine *m, const char *op, uint64_t cap, uint32_t ms)
{
	if (!verify_has(v, cap))
		return 0;
	return cut(v, l, m, op, ms) || life_do(v, l, m, op);
}

int check_interrupt(struct verify *v)
{
	static const uint32_t times[] = { 1, 2, 5, 10, 20, 50, 150 };
	int r = 0;

	v->tried = v->was_cut = 0;
	for (size_t i = 0; i < ARRAY_LEN(times) && !r && !v->stopped; i++) {
		struct life *l = life_new(v, 1);
		struct machine *m = &l->machines[0];

		snprintf(v->context, sizeof(v->context), "each op cut after %u ms and asked again", times[i]);
		l->maybe = m->maybe = true;
		r = cut(v, l, NULL, "cluster_ensure", times[i]) || life_cluster(v, l) ||
		    cut(v, l, m, "machine_ensure", times[i]) || life_machine(v, l, m) || life_count(v, l, 1, "machine_ensure done") ||
		    cut_one(v, l, m, "machine_redact", PCG_CAP_REDACT, times[i]) ||
		    cut_one(v, l, m, "machine_power_off", PCG_CAP_POWER_OFF, times[i]) ||
		    cut(v, l, m, "machine_delete", times[i]) || life_delete(v, l, m) || life_count(v, l, 0, "deleted") ||
		    cut(v, l, NULL, "cluster_delete", times[i]) || life_end(v, l) ? -1 : 0;
	}
	snprintf(v->did, sizeof(v->did), "%u of %u calls cut", v->was_cut, v->tried);
	return r;
}

static int each_apart(struct verify *v, const struct life *l)
{
	static const char *const members[] = { "id", "providerID" };

	for (size_t i = 0; i < l->n; i++)
		for (size_t k = 0; k < i; k++)
			for (size_t j = 0; j < ARRAY_LEN(members); j++)
				if (strcmp(json_str_or(l->machines[i].observed, members[j], "?"),
					   json_str_or(l->machines[k].observed, members[j], "")) == 0)
					return verify_fail(v, CLAUSE_ENSURE, "one of each machine's own", "two machines have the same %s %s",
							   members[j], json_str_or(l->machines[i].observed, members[j], ""));
	return 0;
}

/* All machines by one op, with an inventory and a validation among them. */
static int all_together(struct verify *v, struct life *l, const char *op)
{
	struct step s[LIFE_MACHINES + 2];
	bool ensure = strcmp(op, "machine_ensure") == 0;
	size_t n = l->n;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		struct machine *m = &l->machines[i];

		m->maybe = true;
		step_init(&s[i], ACCOUNT, op, m->uid, life_doc(l, m, op), TAKE(*(ensure ? &m->ensured : &m->deleted)));
	}
	step_init(&s[n], ACCOUNT, "inventory", l->uid, json_pack("{s:s}", "cluster", l->uid), NULL);
	step_init(&s[n + 1], ACCOUNT, "account_validate", "validate", json_pack("{s:O}", "account", json_at(v->docs, "account.spec")),
		  NULL);
	steps_run(v, s, n + 2);
	for (size_t i = 0; i < n + 2; i++) {
		r = step_done(v, &s[i], "ops run in threads of the worker, at most max_parallel at once") || r;
		if (i < n && ensure)
			life_ensured(l, &l->machines[i], &s[i]);
		else if (i < n && s[i].status == PCG_STEP_DONE)
			l->machines[i].maybe = false;
		step_free(&s[i]);
	}
	return r ? -1 : 0;
}

int check_together(struct verify *v)
{
	struct life *l = life_new(v, v->limits.machines);

	if (life_cluster(v, l) || all_together(v, l, "machine_ensure") || each_apart(v, l) ||
	    life_count(v, l, l->n, "made at once"))
		return -1;
	return all_together(v, l, "machine_delete") || life_count(v, l, 0, "deleted at once") || life_end(v, l);
}
