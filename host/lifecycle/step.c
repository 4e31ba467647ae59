/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/lifecycle/step.h"

#include "core/attr.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Of an abandoned delete: once can be an accident. */
#define ABANDON_ATTEMPTS 2

static const char *const desired_names[] = { "present", "absent", "force-absent", "abandoned" };

const char *lc_desired_name(enum lc_desired d)
{
	return desired_names[d];
}

bool lc_desired_parse(const char *name, enum lc_desired *d)
{
	for (unsigned i = 0; name && i < ARRAY_LEN(desired_names); i++) {
		if (strcmp(desired_names[i], name))
			continue;
		*d = (enum lc_desired)i;
		return true;
	}
	return false;
}

/* What passes by itself is tried soon, what needs somebody slowly: a change of the request,
 * credentials or policy nudges at once. */
uint32_t lc_backoff_ms(enum pcg_class class, uint32_t attempts)
{
	uint32_t first, limit;

	switch (class) {
	case PCG_CLASS_RETRY:
	case PCG_CLASS_CONFLICT:
	case PCG_CLASS_CANCELLED:
		first = 250;
		limit = 60000;
		break;
	case PCG_CLASS_QUOTA:
		first = 2000;
		limit = 300000;
		break;
	default:
		first = 10000;
		limit = 300000;
		break;
	}
	for (uint32_t i = 1; i < attempts && first < limit; i++)
		first *= 2;
	return first < limit ? first : limit;
}

static void note(struct lc_actions *a, const char *event)
{
	for (unsigned i = 0; i < 3; i++) {
		if (a->history[i])
			continue;
		a->history[i] = event;
		return;
	}
}

static void clear_condition(struct lc_state *s)
{
	s->condition.set = false;
	s->condition.cause[0] = s->condition.remedy[0] = '\0';
}

static void set_condition(struct lc_state *s, const struct pcg_error *err, int64_t now_ms)
{
	struct lc_condition *c = &s->condition;

	if (!c->set)
		c->since_ms = now_ms;
	c->set = true;
	c->class = err->class;
	snprintf(c->cause, sizeof(c->cause), "%s", err->text);
	snprintf(c->remedy, sizeof(c->remedy), "%s", err->remedy);
}

/* Goes to a task, and to its phase; begins it. */
static void enter(struct lc_state *s, enum lc_task task, int64_t now_ms, struct lc_actions *a)
{
	enum lc_phase phase = lc_task_phase(task);

	if (s->busy)
		a->what |= LC_ACT_CANCEL;
	if (phase != s->phase) {
		assert(lc_edge_allowed(s->phase, phase));
		s->phase = phase;
		s->phase_since_ms = now_ms;
		note(a, "phase");
	}
	s->task = task;
	s->task_since_ms = now_ms;
	s->attempts = 0;
	s->next_try_ms = 0;
	clear_condition(s);
	if (task >= LC_TASK_INFRA && task <= LC_TASK_INVENTORY)
		s->touched = true;
	s->busy = task != LC_TASK_NONE && task != LC_TASK_REPORT_GONE;
	a->what |= LC_ACT_PERSIST | LC_ACT_REPORT;
	if (s->busy)
		a->what |= LC_ACT_START;
	if (task == LC_TASK_NONE)
		a->what |= LC_ACT_LET_GO;
	if (task == LC_TASK_REPORT_GONE)
		a->what |= LC_ACT_LET_GO | LC_ACT_GONE;
}

/* Where a delete begins, seen from what has been done. */
static void begin_delete(struct lc_state *s, int64_t now_ms, struct lc_actions *a)
{
	s->forced = s->desired >= LC_FORCE_ABSENT;
	note(a, s->forced ? "delete_forced" : "delete_requested");
	if (s->handed) {
		s->handed = false;
		enter(s, s->forced ? LC_TASK_FORCED_OFF : LC_TASK_GUARD, now_ms, a);
		return;
	}
	switch (s->phase) {
	case LC_PENDING:
	case LC_PREPARING:
		enter(s, s->touched ? LC_TASK_MACHINES_GONE : LC_TASK_REPORT_GONE, now_ms, a);
		return;
	case LC_BOOTSTRAPPING:
		enter(s, LC_TASK_MACHINES_GONE, now_ms, a);
		return;
	case LC_INSTALLING:
		enter(s, s->forced ? LC_TASK_MACHINES_GONE : LC_TASK_RELEASE_EARLY, now_ms, a);
		return;
	case LC_PIVOTING:
		/* Once a commit may have been sent the cluster may be in charge: it gives authority
		 * back like a running one. Before, the objects in it are still paused, but its layers
		 * work, and may have made load balancers and volumes. */
		if (s->task != LC_TASK_COMMIT) {
			enter(s, s->forced ? LC_TASK_MACHINES_GONE : LC_TASK_RELEASE_EARLY, now_ms, a);
			return;
		}
		/* fall through */
	case LC_RUNNING:
		enter(s, s->forced ? LC_TASK_FORCED_OFF : LC_TASK_GUARD, now_ms, a);
		return;
	default:
		return;
	}
}

static void again(struct lc_state *s, struct lc_actions *a);

static void on_absent(struct lc_state *s, int64_t now_ms, struct lc_actions *a)
{
	if (s->phase < LC_PIVOTING_BACK) {
		begin_delete(s, now_ms, a);
		return;
	}
	if (s->desired >= LC_FORCE_ABSENT && !s->forced) {
		s->forced = true;
		note(a, "delete_forced");
		if (s->task == LC_TASK_GUARD || s->task == LC_TASK_TAKE_BACK)
			enter(s, LC_TASK_FORCED_OFF, now_ms, a);
		else if (s->task == LC_TASK_RELEASE || s->task == LC_TASK_RELEASE_EARLY)
			enter(s, LC_TASK_MACHINES_GONE, now_ms, a);
	}
	if (s->desired == LC_ABANDONED) {
		note(a, "delete_abandoned");
		s->attempts = 0;
		again(s, a);
	}
}

bool lc_begins_again(const struct lc_state *s)
{
	return s->phase == LC_PENDING || (s->phase == LC_PREPARING && !s->touched);
}

static void on_instruction(struct lc_state *s, const struct lc_event *e, struct lc_actions *a)
{
	if (e->generation <= s->generation)
		return;
	s->generation = e->generation;
	a->what |= LC_ACT_PERSIST;
	if (s->phase == LC_DELETED && e->desired != LC_PRESENT) {
		/* A plane that was restored asks again for what is long gone: it is told again. */
		a->what |= LC_ACT_REPORT | LC_ACT_GONE;
		return;
	}
	if (s->phase >= LC_PIVOTING_BACK && e->desired == LC_PRESENT) {
		note(a, "create_ignored");
		a->what |= LC_ACT_REPORT; /* a plane that was restored does not know how far it is */
		return;
	}
	s->desired = e->desired;
	if (e->desired != LC_PRESENT) {
		on_absent(s, e->now_ms, a);
		return;
	}
	if (lc_begins_again(s)) {
		note(a, "request_changed");
		enter(s, LC_TASK_ADMIT, e->now_ms, a);
		return;
	}
	note(a, "request_noted");
	a->what |= LC_ACT_REPORT;
}

/* A cluster that another installation had begun: nothing is taken for granted but the ways in
 * which each of its phases can be asked again. */
static void on_recovered(struct lc_state *s, const struct lc_event *e, struct lc_actions *a)
{
	assert(s->phase == LC_PENDING);
	s->touched = true;
	s->epoch = e->epoch;
	s->handed = s->desired == LC_PRESENT && (e->phase == LC_PIVOTING || e->phase == LC_PIVOTING_BACK);
	note(a, "recovered");
	if (s->desired == LC_PRESENT) {
		if (e->phase == LC_RUNNING)
			enter(s, LC_TASK_NONE, e->now_ms, a);
		else if (s->handed && e->endpoint)
			enter(s, LC_TASK_IN_CHARGE, e->now_ms, a);
		else
			enter(s, LC_TASK_CHECK, e->now_ms, a);
		return;
	}
	s->forced = s->desired >= LC_FORCE_ABSENT;
	if (e->phase == LC_PIVOTING || e->phase == LC_RUNNING || e->phase == LC_PIVOTING_BACK)
		enter(s, s->forced ? LC_TASK_FORCED_OFF : LC_TASK_GUARD, e->now_ms, a);
	else if (e->phase == LC_INSTALLING && e->endpoint && !s->forced)
		enter(s, LC_TASK_RELEASE_EARLY, e->now_ms, a);
	else
		enter(s, LC_TASK_MACHINES_GONE, e->now_ms, a);
}

/* What refused the objects refuses them again at once: the next try waits, and says why. */
static void after_rollback(struct lc_state *s, const struct lc_event *e, struct lc_actions *a)
{
	struct lc_condition why = s->condition;

	enter(s, lc_task_next(LC_TASK_ROLLBACK), e->now_ms, a);
	s->condition = why;
	s->rollbacks++;
	s->busy = false;
	s->next_try_ms = e->now_ms + lc_backoff_ms(why.set ? why.class : PCG_CLASS_RETRY,
						   s->rollbacks);
	a->what = (a->what & ~LC_ACT_START) | LC_ACT_TIMER;
}

static void on_done(struct lc_state *s, const struct lc_event *e, struct lc_actions *a)
{
	bool asked = s->task == LC_TASK_AUTHORITY || s->task == LC_TASK_IN_CHARGE;
	enum lc_task next = lc_task_next(s->task);

	s->busy = false;
	if (asked)
		s->handed = false;
	if (asked && e->skip)
		next = LC_TASK_NONE;
	if (s->task == LC_TASK_COMMIT || s->task == LC_TASK_TAKE_BACK ||
	    s->task == LC_TASK_ROLLBACK || (asked && e->skip))
		s->epoch = e->epoch;
	if (s->task == LC_TASK_COMMIT)
		note(a, "handed_over");
	if (s->task == LC_TASK_TAKE_BACK)
		note(a, "taken_back");
	if (s->task == LC_TASK_ROLLBACK) {
		after_rollback(s, e, a);
		return;
	}
	if (s->task == LC_TASK_WRITE)
		s->rollbacks = 0;
	enter(s, next, e->now_ms, a);
}

static bool needs_infrastructure(enum lc_task task)
{
	return task == LC_TASK_FORCED_OFF || lc_task_phase(task) == LC_DELETING;
}

/* Whoever abandons a cluster is not kept waiting by an infrastructure that does not answer, nor by one
 * in which there is always something more. */
static bool abandon(struct lc_state *s, const struct lc_event *e, const struct lc_settings *set,
		    struct lc_actions *a)
{
	if (s->desired != LC_ABANDONED || !needs_infrastructure(s->task) ||
	    ((e->type != LC_EV_FAILED || s->attempts + 1 < ABANDON_ATTEMPTS) &&
	     e->mono_ms - s->task_mono_ms < set->take_back_ms))
		return false;
	s->abandoned = true;
	note(a, "left_behind");
	enter(s, LC_TASK_REPORT_GONE, e->now_ms, a);
	return true;
}

static void on_pending(struct lc_state *s, const struct lc_event *e, const struct lc_settings *set,
		       struct lc_actions *a)
{
	s->busy = false;
	if (abandon(s, e, set, a))
		return;
	s->attempts = 0;
	s->next_try_ms = e->now_ms + (e->after_ms ? e->after_ms : 1);
	a->what |= LC_ACT_TIMER;
	if (s->condition.set) {
		clear_condition(s);
		a->what |= LC_ACT_PERSIST | LC_ACT_REPORT;
	}
}

/* Its API is there: what it refuses is not taken from it by cutting its power. */
static bool refused(const struct lc_state *s, const struct pcg_error *err)
{
	return s->task == LC_TASK_TAKE_BACK &&
	       (err->class == PCG_CLASS_AUTH || err->class == PCG_CLASS_CONFLICT);
}

/* The ways out of a task that does not succeed; false: it is tried again. */
static bool way_out(struct lc_state *s, const struct lc_event *e, const struct lc_settings *set,
		    struct lc_actions *a)
{
	bool passes = e->err->class == PCG_CLASS_RETRY || e->err->class == PCG_CLASS_CANCELLED;

	if (refused(s, e->err)) {
		s->task_mono_ms = e->mono_ms; /* of an API that does not answer the time is still to come */
		return false;
	}
	if (s->task == LC_TASK_TAKE_BACK && e->mono_ms - s->task_mono_ms >= set->take_back_ms) {
		s->forced = true;
		note(a, "take_back_given_up");
		enter(s, LC_TASK_FORCED_OFF, e->now_ms, a);
		return true;
	}
	/* No policy could be asked: that a worker does not start must not hold a delete up. */
	if (s->task == LC_TASK_GUARD && passes &&
	    e->mono_ms - s->task_mono_ms >= set->take_back_ms) {
		note(a, "guard_given_up");
		enter(s, LC_TASK_TAKE_BACK, e->now_ms, a);
		return true;
	}
	if ((s->task == LC_TASK_RELEASE && e->mono_ms - s->task_mono_ms >= set->release_ms) ||
	    (s->task == LC_TASK_RELEASE_EARLY && e->mono_ms - s->task_mono_ms >= set->take_back_ms)) {
		note(a, "release_given_up");
		enter(s, LC_TASK_MACHINES_GONE, e->now_ms, a);
		return true;
	}
	if (s->task == LC_TASK_WRITE && !passes) {
		note(a, "pivot_failed");
		enter(s, LC_TASK_ROLLBACK, e->now_ms, a);
		return true;
	}
	/* What was to be committed has been removed by somebody: it is written anew. */
	if (s->task == LC_TASK_COMMIT && e->err->class == PCG_CLASS_NOT_FOUND) {
		note(a, "pivot_failed");
		enter(s, LC_TASK_ROLLBACK, e->now_ms, a);
		return true;
	}
	return false;
}

static void offer_abandon(struct pcg_error *err)
{
	size_t len = strlen(err->remedy);

	snprintf(err->remedy + len, sizeof(err->remedy) - len,
		 "%sit goes on by itself when the infrastructure answers; to let go of what is there: "
		 "pcg-planectl cluster delete NAME --force --abandon",
		 len ? "; " : "");
}

static void offer_force(struct pcg_error *err)
{
	size_t len = strlen(err->remedy);

	snprintf(err->remedy + len, sizeof(err->remedy) - len,
		 "%sit is asked again by itself; to delete the cluster without asking it: "
		 "pcg-planectl cluster delete NAME --force",
		 len ? "; " : "");
}

static void on_failed(struct lc_state *s, const struct lc_event *e, const struct lc_settings *set,
		      struct lc_actions *a)
{
	bool known = s->condition.set && s->condition.class == e->err->class &&
		     !strcmp(s->condition.cause, e->err->text);
	struct pcg_error err = *e->err;

	s->busy = false;
	if (abandon(s, e, set, a))
		return;
	if (way_out(s, e, set, a)) {
		if (s->task == LC_TASK_ROLLBACK)
			set_condition(s, &err, e->now_ms);
		return;
	}
	if (refused(s, &err))
		offer_force(&err);
	if ((s->task == LC_TASK_TAKE_BACK || s->task == LC_TASK_RELEASE_EARLY) && !*err.remedy)
		snprintf(err.remedy, sizeof(err.remedy),
			 "bring its API back; after %" PRId64 " s of asking the delete goes on "
			 "without it%s", set->take_back_ms / 1000,
			 s->task == LC_TASK_TAKE_BACK ? ", its control plane powered off first" : "");
	if (!*err.remedy && err.class == PCG_CLASS_RETRY)
		snprintf(err.remedy, sizeof(err.remedy), "it is tried again by itself");
	if (s->forced && needs_infrastructure(s->task))
		offer_abandon(&err);
	s->attempts++;
	s->next_try_ms = e->now_ms + lc_backoff_ms(e->err->class, s->attempts);
	set_condition(s, &err, e->now_ms);
	a->what |= LC_ACT_TIMER;
	if (!known) {
		note(a, "waiting");
		a->what |= LC_ACT_PERSIST | LC_ACT_REPORT;
	}
}

static void again(struct lc_state *s, struct lc_actions *a)
{
	if (s->busy || s->task == LC_TASK_NONE || s->task == LC_TASK_REPORT_GONE)
		return;
	s->busy = true;
	s->next_try_ms = 0;
	a->what |= LC_ACT_START;
}

void lc_state_init(struct lc_state *s, int64_t generation, enum lc_desired desired, int64_t now_ms)
{
	memset(s, 0, sizeof(*s));
	s->phase = LC_PENDING;
	s->task = LC_TASK_ADMIT;
	s->generation = generation;
	s->desired = desired;
	s->epoch = 1;
	s->phase_since_ms = s->task_since_ms = now_ms;
}

void lc_step(struct lc_state *s, const struct lc_event *e, const struct lc_settings *settings,
	     struct lc_actions *out)
{
	enum lc_task before = s->task;

	memset(out, 0, sizeof(*out));
	/* A clock that was set back must not make a wait look as if it were yet to begin. */
	if (e->now_ms < s->task_since_ms)
		s->task_since_ms = e->now_ms;
	switch (e->type) {
	case LC_EV_INSTRUCTION:
		on_instruction(s, e, out);
		break;
	case LC_EV_RECOVERED:
		on_recovered(s, e, out);
		break;
	case LC_EV_STARTED:
		if (s->phase == LC_PENDING && s->desired != LC_PRESENT)
			begin_delete(s, e->now_ms, out);
		else
			again(s, out);
		break;
	case LC_EV_DONE:
		on_done(s, e, out);
		break;
	case LC_EV_PENDING:
		on_pending(s, e, settings, out);
		break;
	case LC_EV_FAILED:
		on_failed(s, e, settings, out);
		break;
	case LC_EV_TIMER:
	case LC_EV_NUDGE:
		again(s, out);
		break;
	}
	if (s->task != before || e->type == LC_EV_STARTED ||
	    (e->type == LC_EV_INSTRUCTION && s->desired == LC_ABANDONED))
		s->task_mono_ms = e->mono_ms;
}
