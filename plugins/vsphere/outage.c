/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/outage.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECRET_NAME "vsphere.outage"
#define FAILURES 3u       /* calls without an answer, one after the other */
#define PROBE_FIRST_MS 1000u
#define PROBE_MAX_MS 15000u
#define TURNED_MAX 2048u

struct vs_outage {
	const struct pcg_services *svc;
	struct pcg_host *host;
	char server[256];

	pthread_mutex_t lock;  /* everything below */
	unsigned failures;
	bool on, probing;
	int64_t since_ms;      /* wall clock: of the first failure */
	uint64_t probe_at, step_ms; /* monotonic */
	uint64_t turned_away;
	struct vs_err err;     /* what those are told who are turned away */
	json_t *subjects;      /* theirs: an object, for its keys */
};

static _Thread_local char subject_of_thread[64];

void vs_outage_subject(const char *subject)
{
	snprintf(subject_of_thread, sizeof(subject_of_thread), "%s", subject);
}

static void tell_since(struct vs_outage *o, const char *cause, const char *remedy)
{
	char at[32] = "";
	time_t s = (time_t)(o->since_ms / 1000);
	struct tm tm;

	if (gmtime_r(&s, &tm))
		strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);
	vs_fail(&o->err, PCG_ERR_RETRY, remedy, "the vCenter %s has not answered since %s: %s", o->server, at, cause);
}

/* A worker before this one has logged it; the first call sees whether it is over. */
static void restore(struct vs_outage *o)
{
	const char *text = o->svc->secret_get(o->host, SECRET_NAME);
	json_t *kept = text ? json_loads(text, 0, NULL) : NULL;
	const char *cause = json_string_value(json_object_get(kept, "cause"));
	const char *remedy = json_string_value(json_object_get(kept, "remedy"));

	o->since_ms = json_integer_value(json_object_get(kept, "since"));
	if (o->since_ms > 0 && cause && remedy) {
		o->on = true;
		o->step_ms = PROBE_FIRST_MS;
		tell_since(o, cause, remedy);
	}
	json_decref(kept);
}

struct vs_outage *vs_outage_new(const struct pcg_services *svc, struct pcg_host *host, const char *server)
{
	struct vs_outage *o = calloc(1, sizeof(*o));

	assert(o);
	o->svc = svc;
	o->host = host;
	o->subjects = json_object();
	snprintf(o->server, sizeof(o->server), "%s", server);
	pthread_mutex_init(&o->lock, NULL);
	restore(o);
	return o;
}

void vs_outage_free(struct vs_outage *o)
{
	if (!o)
		return;
	json_decref(o->subjects);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

static bool turn_away(struct vs_outage *o, bool probe, struct vs_err *err)
{
	bool tries;

	pthread_mutex_lock(&o->lock);
	tries = !o->on || (!o->probing && o->svc->mono_ms(o->host) >= o->probe_at);
	if (tries) {
		o->probing = o->on && (probe || o->probing);
	} else {
		*err = o->err;
		o->turned_away++;
		if (*subject_of_thread && json_object_size(o->subjects) < TURNED_MAX)
			json_object_set_new(o->subjects, subject_of_thread, json_true());
	}
	pthread_mutex_unlock(&o->lock);
	return !tries;
}

bool vs_outage_blocks(struct vs_outage *o, struct vs_err *err)
{
	return o && turn_away(o, true, err);
}

bool vs_outage_refuses(struct vs_outage *o, struct vs_err *err)
{
	return o && turn_away(o, false, err);
}

static void keep(struct vs_outage *o, const struct vs_err *err)
{
	json_t *doc = json_pack("{s:I, s:s, s:s}", "since", (json_int_t)o->since_ms, "cause", err->text, "remedy", err->remedy);
	char *text = json_dumps(doc, JSON_COMPACT);

	o->svc->secret_put(o->host, SECRET_NAME, text);
	free(text);
	json_decref(doc);
}

static void say(struct vs_outage *o, uint32_t level, const char *event, json_t *fields)
{
	char *text = json_dumps(fields, JSON_COMPACT);

	o->svc->log(o->host, level, event, text);
	free(text);
	json_decref(fields);
}

/* lock held, released for what takes time */
static void begin_locked(struct vs_outage *o, const struct vs_err *why)
{
	struct vs_err cause = *why;

	o->on = true;
	o->probing = false;
	o->turned_away = 0;
	o->step_ms = PROBE_FIRST_MS;
	o->probe_at = o->svc->mono_ms(o->host) + o->step_ms;
	if (!*cause.remedy)
		snprintf(cause.remedy, sizeof(cause.remedy), "Nothing, if it is restarted or in maintenance: it goes on by itself.");
	tell_since(o, cause.text, cause.remedy);
	pthread_mutex_unlock(&o->lock);
	say(o, PCG_LOG_WARN, "vcenter_away", json_pack("{s:s, s:s, s:s}", "server", o->server, "cause", cause.text, "remedy",
						       cause.remedy));
	keep(o, &cause);
	pthread_mutex_lock(&o->lock);
}

/* lock held, released for what takes time */
static void end_locked(struct vs_outage *o)
{
	json_t *subjects = o->subjects, *value;
	int64_t ms = o->svc->wall_ms(o->host) - o->since_ms;
	uint64_t turned_away = o->turned_away;
	const char *subject;

	o->on = o->probing = false;
	o->subjects = json_object();
	pthread_mutex_unlock(&o->lock);
	say(o, PCG_LOG_INFO, "vcenter_back", json_pack("{s:s, s:I, s:I}", "server", o->server, "ms", (json_int_t)ms, "turnedAway",
						       (json_int_t)turned_away));
	o->svc->secret_put(o->host, SECRET_NAME, NULL);
	json_object_foreach(subjects, subject, value)
		o->svc->hint(o->host, subject);
	json_decref(subjects);
	pthread_mutex_lock(&o->lock);
}

static void failed_locked(struct vs_outage *o, const struct vs_err *err)
{
	if (!o->failures++)
		o->since_ms = o->on ? o->since_ms : o->svc->wall_ms(o->host);
	if (!o->on && o->failures >= FAILURES) {
		begin_locked(o, err);
	} else if (o->on && o->probing) {
		o->probing = false;
		o->step_ms = o->step_ms * 2 > PROBE_MAX_MS ? PROBE_MAX_MS : o->step_ms * 2;
		o->probe_at = o->svc->mono_ms(o->host) + o->step_ms;
	}
}

void vs_outage_result(struct vs_outage *o, bool away, bool gave_up, const struct vs_err *err)
{
	if (!o)
		return;
	pthread_mutex_lock(&o->lock);
	if (away) {
		failed_locked(o, err);
	} else if (gave_up) {
		o->probing = false; /* the next one sees */
	} else {
		o->failures = 0;
		if (o->on)
			end_locked(o);
	}
	pthread_mutex_unlock(&o->lock);
}

bool vs_outage_on(struct vs_outage *o)
{
	bool on;

	if (!o)
		return false;
	pthread_mutex_lock(&o->lock);
	on = o->on;
	pthread_mutex_unlock(&o->lock);
	return on;
}

uint64_t vs_outage_wait_ms(struct vs_outage *o)
{
	uint64_t now, left = 0;

	if (!o)
		return 0;
	pthread_mutex_lock(&o->lock);
	now = o->svc->mono_ms(o->host);
	if (o->on)
		left = o->probe_at > now ? o->probe_at - now : o->probing ? PROBE_FIRST_MS : 0;
	pthread_mutex_unlock(&o->lock);
	return left;
}
