/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/clone_limit.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUND_DEFAULT 256u /* vCenter has a line of its own; what is too long for it, it says */
#define SLOW_TIMES 6u      /* as long as the fastest: vCenter queues them */
#define SLOW_MIN_MS 60000u /* and no clone is slow before that */
#define SEND_MS 2000u      /* requests that were on their way together are refused together */
#define FORGET_MS 15000u   /* who has not asked for so long does not wait any more */
#define HOLD_FIRST_MS 1000u
#define HOLD_MAX_MS 60000u
#define CALLED_MS 3000u    /* room is kept so long for who was told to come */

struct waiting {
	struct waiting *next;
	char subject[64];
	uint64_t asked, called; /* called: 0, or when it was told to come */
};

struct failure {
	struct failure *next;
	char subject[64];
	unsigned times;
	uint64_t until;
	struct vs_err err;
};

struct clone_limit {
	pthread_mutex_t lock;
	double window;
	unsigned bound;
	bool was_full;         /* it was too much once */
	uint64_t cut_at;       /* when the window was halved */
	uint64_t fastest_ms;
	unsigned sending;
	struct waiting *first;
	struct failure *failures;
};

struct clone_limit *clone_limit_new(unsigned bound)
{
	struct clone_limit *cl = calloc(1, sizeof(*cl));

	assert(cl);
	pthread_mutex_init(&cl->lock, NULL);
	cl->bound = bound ? bound : BOUND_DEFAULT;
	cl->window = cl->bound;
	return cl;
}

void clone_limit_free(struct clone_limit *cl)
{
	while (cl->first) {
		struct waiting *w = cl->first;

		cl->first = w->next;
		free(w);
	}
	while (cl->failures) {
		struct failure *f = cl->failures;

		cl->failures = f->next;
		free(f);
	}
	pthread_mutex_destroy(&cl->lock);
	free(cl);
}

/* Where its pointer stands, or the end of the line. Those who do not ask any more are taken out on the way. */
static struct waiting **find_locked(struct clone_limit *cl, const char *subject, uint64_t now)
{
	struct waiting **at = &cl->first;

	while (*at && strcmp((*at)->subject, subject) != 0) {
		struct waiting *w = *at;

		if (now - w->asked < FORGET_MS) {
			at = &w->next;
		} else {
			*at = w->next;
			free(w);
		}
	}
	return at;
}

static void leave_locked(struct waiting **at)
{
	struct waiting *w = *at;

	if (w) {
		*at = w->next;
		free(w);
	}
}

/* Room that is not kept for somebody before it in the line. */
static bool room_locked(const struct clone_limit *cl, const struct waiting *mine, unsigned running, uint64_t now)
{
	unsigned taken = running + cl->sending;

	for (const struct waiting *w = cl->first; w && w != mine; w = w->next)
		if (!w->called || now - w->called < CALLED_MS)
			taken++;
	return taken < (unsigned)cl->window;
}

bool clone_limit_enter(struct clone_limit *cl, const char *subject, unsigned running, uint64_t now)
{
	struct waiting **at;
	bool enter;

	pthread_mutex_lock(&cl->lock);
	at = find_locked(cl, subject, now);
	enter = room_locked(cl, *at, running, now);
	if (enter) {
		leave_locked(at);
		cl->sending++;
	} else {
		if (!*at) {
			*at = calloc(1, sizeof(**at));
			assert(*at);
			snprintf((*at)->subject, sizeof((*at)->subject), "%s", subject);
		}
		(*at)->asked = now;
	}
	pthread_mutex_unlock(&cl->lock);
	return enter;
}

/* As a vCenter with too much to do answers, or its hosts and its storage. */
static bool too_much(const char *fault)
{
	static const char *const faults[] = { "LimitExceeded", "TaskInProgress", "ResourceInUse", "Timedout", "HostCommunication",
					      "HostNotReachable", "ConcurrentAccess", "DatabaseError", "SystemError",
					      "UnexpectedFault", "NetworkCopyFault", "FileLocked", "CannotAccessFile",
					      "TooManyConcurrentNativeClones", "TooManyNativeClonesOnFile" };

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (strcmp(fault, faults[i]) == 0)
			return true;
	return false;
}

static void cut_locked(struct clone_limit *cl, uint64_t began, uint64_t now)
{
	if (cl->was_full && began <= cl->cut_at)
		return;
	cl->was_full = true;
	cl->cut_at = now;
	cl->window = cl->window / 2 < 1 ? 1 : cl->window / 2;
}

void clone_limit_sent(struct clone_limit *cl, const struct vs_err *err, uint64_t now)
{
	pthread_mutex_lock(&cl->lock);
	assert(cl->sending);
	cl->sending--;
	if (err && (too_much(err->fault) || (!*err->fault && err->class == PCG_ERR_RETRY)))
		cut_locked(cl, now < SEND_MS ? 0 : now - SEND_MS, now);
	pthread_mutex_unlock(&cl->lock);
}

bool clone_limit_sending(struct clone_limit *cl)
{
	bool sending;

	pthread_mutex_lock(&cl->lock);
	sending = cl->sending > 0;
	pthread_mutex_unlock(&cl->lock);
	return sending;
}

void clone_limit_ended(struct clone_limit *cl, const struct clone_task_end *end)
{
	uint64_t took = end->now - end->began;

	pthread_mutex_lock(&cl->lock);
	if (*end->fault) {
		if (too_much(end->fault))
			cut_locked(cl, end->began, end->now);
	} else if (cl->fastest_ms && took > SLOW_MIN_MS && took > cl->fastest_ms * SLOW_TIMES) {
		cut_locked(cl, end->began, end->now);
	} else {
		if (!cl->fastest_ms || took < cl->fastest_ms)
			cl->fastest_ms = took ? took : 1;
		cl->window += 1 / cl->window;
		if (cl->window > cl->bound)
			cl->window = cl->bound;
	}
	pthread_mutex_unlock(&cl->lock);
}

bool clone_limit_next(struct clone_limit *cl, unsigned running, uint64_t now, char subject[64])
{
	struct waiting *w;
	bool some;

	pthread_mutex_lock(&cl->lock);
	for (w = cl->first; w && w->called && now - w->called < CALLED_MS; w = w->next)
		;
	some = w && room_locked(cl, w, running, now);
	if (some) {
		w->called = now ? now : 1;
		snprintf(subject, sizeof(w->subject), "%s", w->subject);
	}
	pthread_mutex_unlock(&cl->lock);
	return some;
}

static struct failure **failure_locked(struct clone_limit *cl, const char *subject)
{
	struct failure **at = &cl->failures;

	while (*at && strcmp((*at)->subject, subject) != 0)
		at = &(*at)->next;
	return at;
}

void clone_limit_failed(struct clone_limit *cl, const char *subject, const struct vs_err *err, uint64_t now)
{
	struct failure *f;
	uint64_t hold;

	pthread_mutex_lock(&cl->lock);
	f = *failure_locked(cl, subject);
	if (!f) {
		f = calloc(1, sizeof(*f));
		assert(f);
		snprintf(f->subject, sizeof(f->subject), "%s", subject);
		f->next = cl->failures;
		cl->failures = f;
	}
	/* The first may have been bad luck. */
	hold = f->times ? (uint64_t)HOLD_FIRST_MS << (f->times < 8 ? f->times : 8) : 0;
	f->times++;
	f->until = now + (hold < HOLD_MAX_MS ? hold : HOLD_MAX_MS);
	f->err = *err;
	pthread_mutex_unlock(&cl->lock);
}

bool clone_limit_held(struct clone_limit *cl, const char *subject, uint64_t now, struct vs_err *err)
{
	struct failure *f;
	bool held;

	pthread_mutex_lock(&cl->lock);
	f = *failure_locked(cl, subject);
	held = f && now < f->until;
	if (held)
		*err = f->err;
	pthread_mutex_unlock(&cl->lock);
	return held;
}

void clone_limit_made(struct clone_limit *cl, const char *subject)
{
	struct failure **at, *f;

	pthread_mutex_lock(&cl->lock);
	at = failure_locked(cl, subject);
	f = *at;
	if (f)
		*at = f->next;
	free(f);
	pthread_mutex_unlock(&cl->lock);
}

unsigned clone_limit_window(struct clone_limit *cl)
{
	unsigned n;

	pthread_mutex_lock(&cl->lock);
	n = (unsigned)cl->window;
	pthread_mutex_unlock(&cl->lock);
	return n;
}
