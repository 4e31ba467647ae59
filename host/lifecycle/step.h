/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LIFECYCLE_STEP_H
#define HOST_LIFECYCLE_STEP_H

/*
 * The core of the lifecycle: step(state, event) -> (state, actions), a pure function. No clock but
 * the event's, no I/O, no memory: a test drives every path of it without a process.
 */

#include "core/error.h"
#include "host/lifecycle/phase.h"

/* What shall be. Abandoned: a forced delete, which ends with what is left where the infrastructure does
 * not let it go on. */
enum lc_desired { LC_PRESENT, LC_ABSENT, LC_FORCE_ABSENT, LC_ABANDONED };
const char *lc_desired_name(enum lc_desired d);
bool lc_desired_parse(const char *name, enum lc_desired *d);

/* What keeps a cluster from going on. */
struct lc_condition {
	bool set;
	enum pcg_class class;
	int64_t since_ms;
	char cause[sizeof(((struct pcg_error *)0)->text)];
	char remedy[sizeof(((struct pcg_error *)0)->remedy)];
};

struct lc_state {
	enum lc_phase phase;
	enum lc_task task;
	enum lc_desired desired;
	int64_t generation;
	int64_t epoch;
	int64_t phase_since_ms, task_since_ms;
	int64_t task_mono_ms; /* since when this process is at the task; not durable */
	int64_t next_try_ms; /* 0: not waiting for a time */
	uint32_t attempts;   /* of this task, in a row, that failed */
	uint32_t rollbacks;  /* of this pivot, in a row */
	bool touched;        /* something of it may exist in the infrastructure */
	bool handed;         /* it may have been handed over by another installation; nobody has asked it yet */
	bool forced;         /* the cluster's own API is not part of the delete any more */
	bool abandoned;      /* the delete ended without the infrastructure; not durable */
	bool busy;           /* a task runs; not durable */
	struct lc_condition condition;
};

enum lc_event_type {
	LC_EV_INSTRUCTION,     /* generation, desired */
	LC_EV_RECOVERED,       /* first sight of a cluster that another store once knew: phase, epoch, endpoint */
	LC_EV_STARTED,         /* the host has started and this state was loaded */
	LC_EV_DONE,            /* the task is done; skip: AUTHORITY or IN_CHARGE found the cluster in charge */
	LC_EV_PENDING,         /* ask again in after_ms */
	LC_EV_FAILED,          /* err */
	LC_EV_TIMER,           /* next_try_ms has come */
	LC_EV_NUDGE            /* credentials, policy or settings changed, a hint came: try now */
};

struct lc_event {
	enum lc_event_type type;
	int64_t now_ms;
	int64_t mono_ms; /* what has an end counts by it: the other clock can be set */
	int64_t generation;
	enum lc_desired desired;
	enum lc_phase phase;
	int64_t epoch;
	bool skip;
	bool endpoint; /* its API's is known */
	uint32_t after_ms;
	const struct pcg_error *err;
};

/* What the shell does, after the new state is durable, in this order. */
#define LC_ACT_CANCEL (1u << 0)  /* the running task is not wanted any more */
#define LC_ACT_PERSIST (1u << 1) /* the state changed */
#define LC_ACT_REPORT (1u << 2)  /* tell the plane */
#define LC_ACT_START (1u << 3)   /* begin state.task */
#define LC_ACT_TIMER (1u << 4)   /* wake at state.next_try_ms */
#define LC_ACT_LET_GO (1u << 5)  /* the cluster owns itself, or is gone: drop connections and keys in memory */
#define LC_ACT_GONE (1u << 6)    /* report the end, keep a tombstone */

struct lc_actions {
	uint32_t what;
	const char *history[4]; /* events for the history, in order; NULL ends */
};

struct lc_settings {
	int64_t take_back_ms; /* how long one process asks an unreachable cluster API before the
			       * forced way; one that answers and refuses is asked for ever */
	int64_t release_ms;   /* how long one process waits for load balancers and volumes */
};

/* Whether a changed request counts from the beginning: nothing was made from the old one. */
bool lc_begins_again(const struct lc_state *s);
void lc_state_init(struct lc_state *s, int64_t generation, enum lc_desired desired, int64_t now_ms);
void lc_step(struct lc_state *s, const struct lc_event *e, const struct lc_settings *settings,
	     struct lc_actions *out);
/* Milliseconds until the next try after this many failures of this class. */
uint32_t lc_backoff_ms(enum pcg_class class, uint32_t attempts);

#endif
