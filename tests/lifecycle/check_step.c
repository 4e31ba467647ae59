/* SPDX-License-Identifier: Apache-2.0 */
/* The pure core: driven without a process, over every path. */
#include "config.h"

#include "host/lifecycle/step.h"

#include "core/attr.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static const struct lc_settings settings = { .take_back_ms = 120000, .release_ms = 300000 };
static struct lc_state s;
static struct lc_actions a;
static int64_t now, mono;

static void begin(enum lc_desired desired)
{
	now = 1000;
	lc_state_init(&s, 1, desired, now);
	s.busy = true;
}

static void event(enum lc_event_type type)
{
	struct lc_event e = { .type = type, .now_ms = ++now, .mono_ms = ++mono, .epoch = s.epoch };

	lc_step(&s, &e, &settings, &a);
}

static void done(void)
{
	struct lc_event e = { .type = LC_EV_DONE, .now_ms = ++now, .mono_ms = ++mono, .epoch = s.epoch };

	if (s.task == LC_TASK_COMMIT || s.task == LC_TASK_TAKE_BACK)
		e.epoch++;
	lc_step(&s, &e, &settings, &a);
}

static void go_wrong(enum pcg_class class, const char *text)
{
	struct pcg_error err;
	struct lc_event e = { .type = LC_EV_FAILED, .now_ms = ++now, .mono_ms = ++mono, .err = &err };

	pcg_fail(&err, class, "do this", "%s", text);
	lc_step(&s, &e, &settings, &a);
}

static void instruct(int64_t generation, enum lc_desired desired)
{
	struct lc_event e = { .type = LC_EV_INSTRUCTION, .now_ms = ++now, .mono_ms = ++mono,
			      .generation = generation, .desired = desired };

	lc_step(&s, &e, &settings, &a);
}

static void recover(enum lc_phase phase, enum lc_desired desired, bool endpoint)
{
	struct lc_event e = { .type = LC_EV_RECOVERED, .now_ms = 1, .phase = phase, .epoch = 4, .endpoint = endpoint };

	lc_state_init(&s, 7, desired, 1);
	lc_step(&s, &e, &settings, &a);
}

static void go_to(enum lc_task task)
{
	if (task == LC_TASK_IN_CHARGE)
		recover(LC_PIVOTING, LC_PRESENT, true);
	else
		begin(LC_PRESENT);
	for (int i = 0; i < LC_TASK_COUNT && s.task != task; i++)
		done();
	ck_assert_int_eq(s.task, task);
}

static bool noted(const char *event_name)
{
	for (unsigned i = 0; i < ARRAY_LEN(a.history) && a.history[i]; i++)
		if (!strcmp(a.history[i], event_name))
			return true;
	return false;
}

START_TEST(every_task_that_succeeds_leads_to_a_running_cluster)
{
	enum lc_phase seen = LC_PENDING;

	begin(LC_PRESENT);
	for (int i = 0; s.task != LC_TASK_NONE; i++) {
		ck_assert_int_lt(i, LC_TASK_COUNT);
		ck_assert_int_ge(s.phase, seen);
		seen = s.phase;
		done();
		ck_assert(a.what & LC_ACT_PERSIST);
	}
	ck_assert_int_eq(s.phase, LC_RUNNING);
	ck_assert_int_eq(s.epoch, 2);
	ck_assert(a.what & LC_ACT_LET_GO);
	ck_assert(!s.busy);
}
END_TEST

START_TEST(a_delete_ends_from_every_task)
{
	bool touched;

	go_to((enum lc_task)_i);
	touched = s.touched;
	instruct(s.generation + 1, LC_ABSENT);
	if (!touched)
		ck_assert_int_eq(s.phase, LC_DELETED);
	for (int i = 0; s.phase != LC_DELETED; i++) {
		ck_assert_int_lt(i, LC_TASK_COUNT);
		ck_assert_int_ge(s.phase, LC_PIVOTING_BACK);
		done();
	}
	ck_assert(a.what & LC_ACT_GONE);
}
END_TEST

START_TEST(a_commit_that_may_have_been_sent_is_taken_back_before_anything_is_removed)
{
	go_to(LC_TASK_COMMIT);
	instruct(2, LC_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_GUARD);
	ck_assert(a.what & LC_ACT_CANCEL);
	done();
	ck_assert_int_eq(s.task, LC_TASK_TAKE_BACK);
}
END_TEST

static const enum lc_task layered_tasks[] = { LC_TASK_INSTALL, LC_TASK_PREFLIGHT, LC_TASK_WRITE, LC_TASK_SNAPSHOT };

START_TEST(before_the_commit_a_delete_takes_no_authority_and_asks_for_what_layers_have_made)
{
	go_to(layered_tasks[_i]);
	instruct(2, LC_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_RELEASE_EARLY);
	ck_assert_int_eq(s.phase, LC_DELETING);
	ck_assert_int_eq(s.epoch, 1);
	done();
	ck_assert_int_eq(s.task, LC_TASK_MACHINES_GONE);
	go_to(layered_tasks[_i]);
	instruct(2, LC_FORCE_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_MACHINES_GONE);
}
END_TEST

START_TEST(layers_that_cannot_be_asked_hold_no_delete_up)
{
	struct pcg_error err;
	struct lc_event e = { .type = LC_EV_FAILED, .err = &err };

	go_to(LC_TASK_INSTALL);
	instruct(2, LC_ABSENT);
	pcg_fail(&err, PCG_CLASS_RETRY, "", "no route to host");
	e.now_ms = ++now;
	e.mono_ms = ++mono;
	lc_step(&s, &e, &settings, &a);
	ck_assert_int_eq(s.task, LC_TASK_RELEASE_EARLY);
	ck_assert_msg(strstr(s.condition.remedy, "after 120 s"), "%s", s.condition.remedy);
	ck_assert_ptr_null(strstr(s.condition.remedy, "powered off"));
	mono += settings.take_back_ms;
	event(LC_EV_TIMER);
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_MACHINES_GONE);
	ck_assert(noted("release_given_up"));
	go_to(LC_TASK_INSTALL);
	instruct(2, LC_ABSENT);
	instruct(3, LC_FORCE_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_MACHINES_GONE);
}
END_TEST

START_TEST(the_same_instruction_twice_changes_nothing)
{
	struct lc_state before;

	go_to(LC_TASK_INSTALL);
	before = s;
	instruct(1, LC_ABSENT);
	ck_assert_int_eq(a.what, 0);
	ck_assert_mem_eq(&s, &before, sizeof(s));
}
END_TEST

START_TEST(a_delete_cannot_be_taken_back)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	instruct(3, LC_PRESENT);
	ck_assert_int_eq(s.task, LC_TASK_GUARD);
	ck_assert_int_eq(s.desired, LC_ABSENT);
	ck_assert(noted("create_ignored"));
	ck_assert(a.what & LC_ACT_REPORT);
}
END_TEST

START_TEST(a_clock_that_is_set_back_does_not_put_off_the_forced_way)
{
	go_to(LC_TASK_NONE);
	now = 1000000000;
	instruct(2, LC_ABSENT);
	done();
	now = 5000;
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_TAKE_BACK);
	mono += settings.take_back_ms + 1;
	event(LC_EV_TIMER);
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_FORCED_OFF);
}
END_TEST

START_TEST(a_clock_that_jumps_forward_does_not_lead_to_the_forced_way)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	done();
	now += 1000 * settings.take_back_ms;
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_TAKE_BACK);
	ck_assert(!s.forced);
}
END_TEST

START_TEST(a_gateway_that_was_away_asks_the_cluster_for_the_set_time_again)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	done();
	s.busy = false;
	mono += 10 * settings.take_back_ms;
	event(LC_EV_STARTED);
	ck_assert(a.what & LC_ACT_START);
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_TAKE_BACK);
	mono += settings.take_back_ms;
	event(LC_EV_TIMER);
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_FORCED_OFF);
}
END_TEST

START_TEST(an_api_that_does_not_answer_is_given_up_after_the_set_time)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	done();
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_TAKE_BACK);
	mono += settings.take_back_ms;
	event(LC_EV_TIMER);
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_FORCED_OFF);
	ck_assert(s.forced);
}
END_TEST

static const enum pcg_class refusals[] = { PCG_CLASS_AUTH, PCG_CLASS_CONFLICT };

START_TEST(an_api_that_answers_keeps_its_cluster_however_long_it_refuses)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	done();
	for (int i = 0; i < 3; i++) {
		mono += settings.take_back_ms;
		go_wrong(refusals[_i], "a newer authority");
		ck_assert_int_eq(s.task, LC_TASK_TAKE_BACK);
		ck_assert_msg(strstr(s.condition.remedy, "cluster delete NAME --force"), "%s", s.condition.remedy);
		event(LC_EV_TIMER);
	}
	/* The time of one that does not answer begins when it does not. */
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_TAKE_BACK);
	mono += settings.take_back_ms;
	event(LC_EV_TIMER);
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_FORCED_OFF);
}
END_TEST

START_TEST(a_cluster_that_does_not_answer_says_when_the_delete_goes_on_without_it)
{
	struct pcg_error err;
	struct lc_event e = { .type = LC_EV_FAILED, .err = &err };

	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	done();
	pcg_fail(&err, PCG_CLASS_RETRY, "", "no route to host");
	e.now_ms = ++now;
	e.mono_ms = ++mono;
	lc_step(&s, &e, &settings, &a);
	ck_assert_msg(strstr(s.condition.remedy, "after 120 s"), "%s", s.condition.remedy);
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_str_eq(s.condition.remedy, "do this");
}
END_TEST

START_TEST(force_delete_passes_by_the_cluster_at_once)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	go_wrong(PCG_CLASS_PERMANENT, "certificate is foreign");
	instruct(3, LC_FORCE_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_FORCED_OFF);
	go_to(LC_TASK_NONE);
	instruct(2, LC_FORCE_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_FORCED_OFF);
}
END_TEST

START_TEST(policy_that_cannot_be_asked_does_not_hold_a_delete_up)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	go_wrong(PCG_CLASS_RETRY, "the worker did not start");
	ck_assert_int_eq(s.task, LC_TASK_GUARD);
	mono += settings.take_back_ms;
	event(LC_EV_TIMER);
	go_wrong(PCG_CLASS_RETRY, "the worker did not start");
	ck_assert_int_eq(s.task, LC_TASK_TAKE_BACK);
	ck_assert(noted("guard_given_up"));
	ck_assert(!s.forced);
}
END_TEST

START_TEST(a_refusal_holds_until_policy_changes_or_the_delete_is_forced)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	go_wrong(PCG_CLASS_PERMANENT, "blocked by policy");
	mono += settings.take_back_ms + settings.release_ms;
	event(LC_EV_TIMER);
	go_wrong(PCG_CLASS_PERMANENT, "blocked by policy");
	ck_assert_int_eq(s.task, LC_TASK_GUARD);
	ck_assert_int_eq(s.epoch, 2);
	instruct(3, LC_FORCE_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_FORCED_OFF);
}
END_TEST

START_TEST(load_balancers_and_volumes_go_before_machines_and_hold_nothing_up)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	done();
	done();
	ck_assert_int_eq(s.task, LC_TASK_RELEASE);
	ck_assert_int_eq(s.epoch, 3);
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_RELEASE);
	mono += settings.release_ms;
	event(LC_EV_TIMER);
	go_wrong(PCG_CLASS_PERMANENT, "a webhook forbids it");
	ck_assert_int_eq(s.task, LC_TASK_MACHINES_GONE);
	ck_assert(noted("release_given_up"));
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	done();
	done();
	instruct(3, LC_FORCE_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_MACHINES_GONE);
	ck_assert(s.forced);
}
END_TEST

START_TEST(an_error_becomes_a_condition_that_is_told_once)
{
	go_to(LC_TASK_MACHINE);
	go_wrong(PCG_CLASS_QUOTA, "no space on datastore");
	ck_assert(s.condition.set && s.next_try_ms > now);
	ck_assert(a.what & LC_ACT_REPORT);
	ck_assert(noted("waiting"));
	event(LC_EV_TIMER);
	ck_assert(a.what & LC_ACT_START);
	go_wrong(PCG_CLASS_QUOTA, "no space on datastore");
	ck_assert(!(a.what & LC_ACT_REPORT));
	event(LC_EV_TIMER);
	done();
	ck_assert(!s.condition.set);
}
END_TEST

START_TEST(what_passes_by_itself_says_so)
{
	struct pcg_error err;
	struct lc_event e = { .type = LC_EV_FAILED, .err = &err };

	go_to(LC_TASK_COMMIT);
	pcg_fail(&err, PCG_CLASS_RETRY, "", "Empty reply from server");
	e.now_ms = ++now;
	e.mono_ms = ++mono;
	lc_step(&s, &e, &settings, &a);
	ck_assert_str_eq(s.condition.remedy, "it is tried again by itself");
	ck_assert_str_eq(err.remedy, "");
}
END_TEST

START_TEST(new_credentials_try_again_at_once)
{
	go_to(LC_TASK_INFRA);
	go_wrong(PCG_CLASS_AUTH, "password refused");
	ck_assert_int_ge(s.next_try_ms - now, 10000);
	event(LC_EV_NUDGE);
	ck_assert(a.what & LC_ACT_START);
	ck_assert_int_eq(s.next_try_ms, 0);
}
END_TEST

START_TEST(a_changed_request_counts_until_something_was_made)
{
	go_to(LC_TASK_CHECK);
	instruct(2, LC_PRESENT);
	ck_assert_int_eq(s.task, LC_TASK_ADMIT);
	go_to(LC_TASK_MACHINE);
	instruct(2, LC_PRESENT);
	ck_assert_int_eq(s.task, LC_TASK_MACHINE);
	ck_assert(noted("request_noted"));
}
END_TEST

START_TEST(a_pivot_that_is_refused_is_rolled_back_and_tried_again)
{
	go_to(LC_TASK_WRITE);
	go_wrong(PCG_CLASS_PERMANENT, "field is immutable");
	ck_assert_int_eq(s.task, LC_TASK_ROLLBACK);
	ck_assert(s.condition.set);
	done();
	ck_assert_int_eq(s.task, LC_TASK_PREFLIGHT);
}
END_TEST

START_TEST(a_check_that_fails_waits_and_rolls_nothing_back)
{
	go_to(LC_TASK_PREFLIGHT);
	go_wrong(PCG_CLASS_PERMANENT, "check node-ids");
	ck_assert_int_eq(s.task, LC_TASK_PREFLIGHT);
	ck_assert(s.condition.set && (a.what & LC_ACT_TIMER));
	event(LC_EV_TIMER);
	ck_assert(a.what & LC_ACT_START);
	instruct(2, LC_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_RELEASE_EARLY);
}
END_TEST

START_TEST(a_commit_of_what_somebody_removed_is_written_anew)
{
	go_to(LC_TASK_COMMIT);
	go_wrong(PCG_CLASS_CONFLICT, "a newer authority");
	ck_assert_int_eq(s.task, LC_TASK_COMMIT);
	go_wrong(PCG_CLASS_NOT_FOUND, "somebody deleted the Cluster");
	ck_assert_int_eq(s.task, LC_TASK_ROLLBACK);
	ck_assert(noted("pivot_failed"));
	done();
	ck_assert_int_eq(s.task, LC_TASK_PREFLIGHT);
	ck_assert_str_eq(s.condition.cause, "somebody deleted the Cluster");
}
END_TEST

START_TEST(a_pivot_that_is_refused_again_and_again_waits_longer_each_time)
{
	int64_t waits[3];

	go_to(LC_TASK_WRITE);
	for (int i = 0; i < 3; i++) {
		go_wrong(PCG_CLASS_AUTH, "wrong password");
		ck_assert_int_eq(s.task, LC_TASK_ROLLBACK);
		done();
		ck_assert_int_eq(s.task, LC_TASK_PREFLIGHT);
		ck_assert(!s.busy && (a.what & LC_ACT_TIMER) && !(a.what & LC_ACT_START));
		ck_assert_str_eq(s.condition.cause, "wrong password");
		waits[i] = s.next_try_ms - now;
		event(LC_EV_TIMER);
		ck_assert(a.what & LC_ACT_START);
		done();
		ck_assert_int_eq(s.task, LC_TASK_WRITE);
	}
	ck_assert_int_ge(waits[0], 1000);
	ck_assert_int_gt(waits[1], waits[0]);
	ck_assert_int_gt(waits[2], waits[1]);
	done();
	ck_assert(!s.condition.set);
	ck_assert_int_eq(s.rollbacks, 0);
}
END_TEST

START_TEST(a_recovered_cluster_goes_on_where_it_is_safe)
{
	static const struct {
		enum lc_phase was;
		enum lc_desired desired;
		enum lc_task task;
	} rows[] = {
		{ LC_PREPARING, LC_PRESENT, LC_TASK_CHECK },
		{ LC_BOOTSTRAPPING, LC_PRESENT, LC_TASK_CHECK },
		{ LC_PIVOTING, LC_PRESENT, LC_TASK_IN_CHARGE },
		{ LC_PIVOTING_BACK, LC_PRESENT, LC_TASK_IN_CHARGE },
		{ LC_RUNNING, LC_PRESENT, LC_TASK_NONE },
		{ LC_PREPARING, LC_ABSENT, LC_TASK_MACHINES_GONE },
		{ LC_INSTALLING, LC_ABSENT, LC_TASK_RELEASE_EARLY },
		{ LC_INSTALLING, LC_FORCE_ABSENT, LC_TASK_MACHINES_GONE },
		{ LC_PIVOTING, LC_ABSENT, LC_TASK_GUARD },
		{ LC_RUNNING, LC_ABSENT, LC_TASK_GUARD },
		{ LC_DELETING, LC_ABSENT, LC_TASK_MACHINES_GONE },
		{ LC_RUNNING, LC_FORCE_ABSENT, LC_TASK_FORCED_OFF },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		recover(rows[i].was, rows[i].desired, true);
		ck_assert_int_eq(s.task, rows[i].task);
		ck_assert_int_eq(s.epoch, 4);
		ck_assert(s.touched);
	}
}
END_TEST

START_TEST(a_recovered_cluster_that_may_be_in_charge_is_asked_before_anything_is_made)
{
	struct lc_event e = { .type = LC_EV_DONE, .skip = true, .epoch = 5 };

	recover(LC_PIVOTING, LC_PRESENT, true);
	ck_assert_int_eq(s.phase, LC_PREPARING);
	go_wrong(PCG_CLASS_RETRY, "no route to host");
	ck_assert_int_eq(s.task, LC_TASK_IN_CHARGE);
	event(LC_EV_TIMER);
	e.now_ms = ++now;
	e.mono_ms = ++mono;
	lc_step(&s, &e, &settings, &a);
	ck_assert_int_eq(s.phase, LC_RUNNING);
	ck_assert_int_eq(s.epoch, 5);
	/* It is not: everything is asked again, as of others. */
	recover(LC_PIVOTING, LC_PRESENT, true);
	done();
	ck_assert_int_eq(s.task, LC_TASK_CHECK);
	ck_assert(!s.handed);
	instruct(8, LC_ABSENT);
	ck_assert_int_eq(s.task, LC_TASK_MACHINES_GONE);
}
END_TEST

/* _i: by force. endpoint: whether it can be asked first. */
START_TEST(a_recovered_cluster_that_may_be_in_charge_gives_authority_back_before_it_is_deleted)
{
	static const enum lc_task until[] = { LC_TASK_IN_CHARGE, LC_TASK_CHECK, LC_TASK_INFRA, LC_TASK_MACHINE, LC_TASK_AUTHORITY };

	for (size_t i = 0; i < ARRAY_LEN(until); i++) {
		recover(LC_PIVOTING, LC_PRESENT, until[i] == LC_TASK_IN_CHARGE);
		while (s.task != until[i])
			done();
		instruct(8, _i ? LC_FORCE_ABSENT : LC_ABSENT);
		ck_assert_int_eq(s.task, _i ? LC_TASK_FORCED_OFF : LC_TASK_GUARD);
	}
}
END_TEST

static const enum lc_task infra_tasks[] = { LC_TASK_FORCED_OFF, LC_TASK_MACHINES_GONE, LC_TASK_INFRA_GONE,
					    LC_TASK_INVENTORY };

static void go_to_forced(enum lc_task task)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	instruct(3, LC_FORCE_ABSENT);
	for (int i = 0; i < LC_TASK_COUNT && s.task != task; i++)
		done();
	ck_assert_int_eq(s.task, task);
}

START_TEST(a_forced_delete_waits_for_its_infrastructure_and_says_how_to_let_go)
{
	go_to_forced(infra_tasks[_i]);
	for (int i = 0; i < 50; i++) {
		go_wrong(PCG_CLASS_RETRY, "nobody answers");
		ck_assert_int_eq(s.task, infra_tasks[_i]);
		ck_assert(s.condition.set);
		ck_assert_ptr_nonnull(strstr(s.condition.remedy, "do this; it goes on by itself"));
		ck_assert_ptr_nonnull(strstr(s.condition.remedy, "--force --abandon"));
		mono += 600000;
		event(LC_EV_TIMER);
	}
	done();
	ck_assert_int_ne(s.task, infra_tasks[_i]);
}
END_TEST

START_TEST(an_abandoned_delete_tries_twice_more_and_ends)
{
	go_to_forced(infra_tasks[_i]);
	for (int i = 0; i < 5; i++) {
		go_wrong(PCG_CLASS_AUTH, "account removed");
		event(LC_EV_TIMER);
	}
	go_wrong(PCG_CLASS_AUTH, "account removed");
	instruct(4, LC_ABANDONED);
	ck_assert(noted("delete_abandoned"));
	ck_assert(a.what & LC_ACT_START); /* does not wait for its next try */
	ck_assert_int_eq(s.task, infra_tasks[_i]);
	go_wrong(PCG_CLASS_AUTH, "account removed");
	ck_assert_int_eq(s.task, infra_tasks[_i]);
	event(LC_EV_TIMER);
	go_wrong(PCG_CLASS_AUTH, "account removed");
	ck_assert_int_eq(s.phase, LC_DELETED);
	ck_assert(s.abandoned);
	ck_assert(noted("left_behind"));
	ck_assert(a.what & LC_ACT_GONE);
}
END_TEST

START_TEST(an_infrastructure_that_is_back_leaves_nothing_of_an_abandoned_cluster)
{
	go_to_forced(infra_tasks[_i]);
	go_wrong(PCG_CLASS_RETRY, "nobody answers");
	instruct(4, LC_ABANDONED);
	while (s.phase != LC_DELETED) {
		go_wrong(PCG_CLASS_RETRY, "once");
		event(LC_EV_TIMER);
		done();
	}
	ck_assert(!s.abandoned);
}
END_TEST

/* An inventory that always finds something more is no failure. */
START_TEST(an_abandoned_delete_that_goes_on_for_ever_ends_too)
{
	struct lc_event e = { .type = LC_EV_PENDING, .after_ms = 100 };

	go_to_forced(LC_TASK_INVENTORY);
	mono += 10 * settings.take_back_ms;
	instruct(4, LC_ABANDONED);
	for (int64_t end = mono + settings.take_back_ms; mono < end - 1000;) {
		e.now_ms = ++now;
		e.mono_ms = mono += 1000;
		lc_step(&s, &e, &settings, &a);
		ck_assert_int_eq(s.task, LC_TASK_INVENTORY);
		event(LC_EV_TIMER);
	}
	e.now_ms = ++now;
	e.mono_ms = mono += 2000;
	lc_step(&s, &e, &settings, &a);
	ck_assert_int_eq(s.phase, LC_DELETED);
	ck_assert(s.abandoned);
}
END_TEST

START_TEST(what_the_cluster_itself_does_not_answer_is_no_reason_to_abandon_it)
{
	go_to(LC_TASK_NONE);
	instruct(2, LC_ABSENT);
	done();
	ck_assert_int_eq(s.task, LC_TASK_TAKE_BACK);
	instruct(3, LC_ABANDONED);
	ck_assert_int_eq(s.task, LC_TASK_FORCED_OFF);
	ck_assert(s.forced);
	done();
	ck_assert_int_eq(s.task, LC_TASK_MACHINES_GONE);
}
END_TEST

/* Any order of events: phases follow only the edges of the table (asserted in the core), and a
 * delete at the end still ends. */
START_TEST(random_events_never_leave_the_table)
{
	unsigned seed = (unsigned)_i * 2654435761u + 1;

	begin(LC_PRESENT);
	for (int i = 0; i < 400; i++) {
		seed = seed * 1103515245u + 12345u;
		switch ((seed >> 16) % 9) {
		case 0:
			go_wrong((enum pcg_class)((seed >> 20) % PCG_CLASS_COUNT), "x");
			break;
		case 1:
			event(LC_EV_TIMER);
			break;
		case 2:
			event(LC_EV_NUDGE);
			break;
		case 3:
			if (!((seed >> 20) % 16))
				instruct(s.generation + 1, (enum lc_desired)((seed >> 24) % 4));
			break;
		case 4: {
			struct lc_event e = { .type = LC_EV_PENDING, .now_ms = ++now, .mono_ms = ++mono,
					      .after_ms = 5 };
			if (s.busy)
				lc_step(&s, &e, &settings, &a);
			break;
		}
		default:
			if (s.busy)
				done();
		}
		ck_assert(s.task == LC_TASK_NONE || lc_task_phase(s.task) == s.phase);
	}
	instruct(s.generation + 1, LC_ABSENT);
	for (int i = 0; s.phase != LC_DELETED; i++) {
		ck_assert_int_lt(i, LC_TASK_COUNT);
		if (!s.busy)
			event(LC_EV_TIMER);
		done();
	}
}
END_TEST

START_TEST(names_are_unique_and_can_be_read_back)
{
	for (unsigned i = 0; i < LC_PHASE_COUNT; i++) {
		enum lc_phase p;

		ck_assert(lc_phase_parse(lc_phase_name((enum lc_phase)i), &p));
		ck_assert_uint_eq(p, i);
		ck_assert_int_gt(strlen(lc_phase_doc(p)), 0);
	}
	for (unsigned i = 0; i < LC_TASK_COUNT; i++) {
		enum lc_task t;

		ck_assert(lc_task_parse(lc_task_name((enum lc_task)i), &t));
		ck_assert_uint_eq(t, i);
	}
	ck_assert_uint_eq(lc_edge_allowed(LC_DELETED, LC_PENDING), 0);
}
END_TEST

static const enum lc_task changing[] = {
	LC_TASK_INFRA,	   LC_TASK_MACHINE,    LC_TASK_REDACT,	   LC_TASK_INSTALL,	  LC_TASK_WRITE,
	LC_TASK_ROLLBACK,  LC_TASK_COMMIT,     LC_TASK_TAKE_BACK, LC_TASK_FORCED_OFF, LC_TASK_RELEASE, LC_TASK_RELEASE_EARLY, LC_TASK_MACHINES_GONE,
	LC_TASK_INFRA_GONE,
};

START_TEST(what_changes_something_outside_waits_until_its_state_is_durable)
{
	ck_assert(!lc_task_at_once(changing[_i]));
}
END_TEST

START_TEST(what_only_looks_at_a_new_request_waits_for_no_disk)
{
	ck_assert(lc_task_at_once(LC_TASK_ADMIT));
	ck_assert(lc_task_at_once(LC_TASK_CHECK));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lifecycle step");
	TCase *t = tcase_create("step");
	SRunner *r;
	int failed;

	tcase_add_test(t, every_task_that_succeeds_leads_to_a_running_cluster);
	tcase_add_loop_test(t, a_delete_ends_from_every_task, LC_TASK_ADMIT, LC_TASK_ROLLBACK);
	tcase_add_test(t, a_commit_that_may_have_been_sent_is_taken_back_before_anything_is_removed);
	tcase_add_loop_test(t, before_the_commit_a_delete_takes_no_authority_and_asks_for_what_layers_have_made, 0,
			    ARRAY_LEN(layered_tasks));
	tcase_add_test(t, layers_that_cannot_be_asked_hold_no_delete_up);
	tcase_add_test(t, the_same_instruction_twice_changes_nothing);
	tcase_add_test(t, a_delete_cannot_be_taken_back);
	tcase_add_test(t, a_clock_that_is_set_back_does_not_put_off_the_forced_way);
	tcase_add_test(t, a_clock_that_jumps_forward_does_not_lead_to_the_forced_way);
	tcase_add_test(t, a_gateway_that_was_away_asks_the_cluster_for_the_set_time_again);
	tcase_add_test(t, an_api_that_does_not_answer_is_given_up_after_the_set_time);
	tcase_add_loop_test(t, an_api_that_answers_keeps_its_cluster_however_long_it_refuses, 0, ARRAY_LEN(refusals));
	tcase_add_test(t, a_cluster_that_does_not_answer_says_when_the_delete_goes_on_without_it);
	tcase_add_test(t, force_delete_passes_by_the_cluster_at_once);
	tcase_add_test(t, policy_that_cannot_be_asked_does_not_hold_a_delete_up);
	tcase_add_test(t, a_refusal_holds_until_policy_changes_or_the_delete_is_forced);
	tcase_add_test(t, load_balancers_and_volumes_go_before_machines_and_hold_nothing_up);
	tcase_add_test(t, an_error_becomes_a_condition_that_is_told_once);
	tcase_add_test(t, what_passes_by_itself_says_so);
	tcase_add_test(t, new_credentials_try_again_at_once);
	tcase_add_test(t, a_changed_request_counts_until_something_was_made);
	tcase_add_test(t, a_pivot_that_is_refused_is_rolled_back_and_tried_again);
	tcase_add_test(t, a_check_that_fails_waits_and_rolls_nothing_back);
	tcase_add_test(t, a_commit_of_what_somebody_removed_is_written_anew);
	tcase_add_test(t, a_pivot_that_is_refused_again_and_again_waits_longer_each_time);
	tcase_add_test(t, a_recovered_cluster_goes_on_where_it_is_safe);
	tcase_add_test(t, a_recovered_cluster_that_may_be_in_charge_is_asked_before_anything_is_made);
	tcase_add_loop_test(t, a_recovered_cluster_that_may_be_in_charge_gives_authority_back_before_it_is_deleted, 0, 2);
	tcase_add_loop_test(t, a_forced_delete_waits_for_its_infrastructure_and_says_how_to_let_go, 0,
			    ARRAY_LEN(infra_tasks));
	tcase_add_loop_test(t, an_abandoned_delete_tries_twice_more_and_ends, 0,
			    ARRAY_LEN(infra_tasks));
	tcase_add_loop_test(t, an_infrastructure_that_is_back_leaves_nothing_of_an_abandoned_cluster, 0,
			    ARRAY_LEN(infra_tasks));
	tcase_add_test(t, an_abandoned_delete_that_goes_on_for_ever_ends_too);
	tcase_add_test(t, what_the_cluster_itself_does_not_answer_is_no_reason_to_abandon_it);
	tcase_add_loop_test(t, random_events_never_leave_the_table, 0, 300);
	tcase_add_test(t, names_are_unique_and_can_be_read_back);
	tcase_add_loop_test(t, what_changes_something_outside_waits_until_its_state_is_durable, 0,
			    ARRAY_LEN(changing));
	tcase_add_test(t, what_only_looks_at_a_new_request_waits_for_no_disk);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
