/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/session_impl.h"

#include "plugins/vsphere/fault.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/*
 * vCenter locks a user after five wrong passwords within three minutes, for five minutes ("vSphere Authentication: edit the
 * vCenter Single Sign-On lockout policy": the defaults of 7.0 and 8.0). So a password that was refused is tried again after two
 * minutes at the earliest, then ever later, whichever others came in between and whoever restarts. And of all
 * log-ins of one user of one vCenter, whatever account, validation or password they are of, no more than LOGINS_MOST are
 * refused in the time that vCenter counts over: the next one waits, also a good one. The rest of the five is
 * left to people.
 */

#define REFUSED_FIRST_MS 120000
#define REFUSED_MAX_MS 3600000
#define LOGINS_MOST 3
#define LOGINS_MS 190000       /* vCenter's clock need not go as ours does */
#define WAIT_AT_ONCE_MS 20000  /* waited for within the call, when it has the time */
#define CALL_NEEDS_MS 5000

json_t *vs_refused_doc(const struct vs_session *ss)
{
	json_t *list = ss->n_refused ? json_array() : NULL;

	for (size_t i = 0; i < ss->n_refused; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:I}", "credential", ss->refused[i].credential, "fault",
						      ss->refused[i].fault, "count", (int)ss->refused[i].count, "until",
						      (json_int_t)ss->refused[i].until));
	return list;
}

static void forget(struct vs_session *ss, size_t i)
{
	memmove(&ss->refused[i], &ss->refused[i + 1], (--ss->n_refused - i) * sizeof(ss->refused[0]));
}

static struct vs_refused *find(struct vs_session *ss, const char *credential)
{
	for (size_t i = 0; i < ss->n_refused; i++)
		if (strcmp(ss->refused[i].credential, credential) == 0)
			return &ss->refused[i];
	return NULL;
}

/* A wait is no longer than it may be: the clock may have been set. What was good to be tried again an hour ago is forgotten. */
static void tidy(struct vs_session *ss)
{
	int64_t now = ss->svc->wall_ms(ss->host);

	for (size_t i = ss->n_refused; i--;) {
		if (ss->refused[i].until > now + REFUSED_MAX_MS)
			ss->refused[i].until = now + REFUSED_MAX_MS;
		if (ss->refused[i].until + REFUSED_MAX_MS < now)
			forget(ss, i);
	}
}

void vs_refused_restore(struct vs_session *ss, const json_t *doc)
{
	json_t *one;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)doc, i, one) {
		struct vs_refused *r = &ss->refused[ss->n_refused];

		if (ss->n_refused == VS_REFUSED)
			break;
		ss->n_refused++;
		snprintf(r->credential, sizeof(r->credential), "%s", json_string_value(json_object_get(one, "credential")) ?: "");
		snprintf(r->fault, sizeof(r->fault), "%s", json_string_value(json_object_get(one, "fault")) ?: "");
		r->count = (unsigned)json_integer_value(json_object_get(one, "count"));
		r->until = json_integer_value(json_object_get(one, "until"));
	}
	tidy(ss);
}

static void time_text(int64_t wall_ms, char out[24])
{
	time_t s = (time_t)((wall_ms + 999) / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(out, 24, "%H:%M:%S UTC", &tm);
}

static void say_refused(const struct vs_session *ss, const struct vs_refused *refused, int64_t left_ms, struct vs_err *err)
{
	char what[320], until[24];
	size_t at;

	snprintf(what, sizeof(what), "Login at %s", ss->server);
	vs_fault(err, what, refused->fault, "");
	err->class = PCG_ERR_AUTH;
	time_text(refused->until, until);
	at = strlen(err->text);
	snprintf(err->text + at, sizeof(err->text) - at,
		 "; the same password is not tried again for %lld s (until %s), so that vCenter does not lock the user",
		 (long long)(left_ms + 999) / 1000, until);
}

bool vs_login_must_wait(struct vs_session *ss, struct vs_err *err)
{
	const struct vs_refused *mine;
	int64_t left;

	pthread_mutex_lock(&ss->lock);
	vs_content_restore(ss);
	mine = find(ss, ss->credential);
	left = mine ? mine->until - ss->svc->wall_ms(ss->host) : 0;
	if (left > 0)
		say_refused(ss, mine, left, err);
	pthread_mutex_unlock(&ss->lock);
	return left > 0;
}

static bool host_counts(const struct vs_session *ss)
{
	return ss->svc->struct_size >= offsetof(struct pcg_services, turn_end) + sizeof(ss->svc->turn_end) && ss->svc->turn_begin;
}

int vs_login_begin(struct vs_session *ss, struct pcg_call *call, struct vs_err *err)
{
	const struct pcg_services *svc = ss->svc;
	int64_t left = 0;
	char until[24];

	if (!host_counts(ss))
		return 0;
	for (int attempt = 0; attempt < 2; attempt++) {
		left = svc->turn_begin(ss->host, call, ss->turn, LOGINS_MOST, LOGINS_MS);
		if (!left)
			return 0;
		if (left < 0 || left > WAIT_AT_ONCE_MS || !call || svc->remaining_ms(call) < (uint64_t)left + CALL_NEEDS_MS ||
		    svc->wait(ss->host, call, (uint64_t)left))
			break;
	}
	if (left < 0) {
		vs_fail(err, PCG_ERR_RETRY, "Nothing: it is tried again.", "Login at %s: others of this user are not answered yet",
			ss->server);
	} else {
		time_text(svc->wall_ms(ss->host) + left, until);
		vs_fail(err, PCG_ERR_RETRY, "Correct the password of the cloud account; nothing, when that was done.",
			"Login at %s: %d log-ins of this user were refused or not answered within %d s, and vCenter locks a user after five in three "
			"minutes: the next one is tried at %s, in %lld s", ss->server, LOGINS_MOST, LOGINS_MS / 1000, until,
			(long long)(left + 999) / 1000);
	}
	snprintf(err->fault, sizeof(err->fault), VS_LOGINS_BOUNDED);
	return -1;
}

/* lock held */
static void note_refused(struct vs_session *ss, const struct vs_err *err)
{
	struct vs_refused mine = { .count = 0 }, *known = find(ss, ss->credential);
	int64_t wait;

	if (known) {
		mine = *known;
		forget(ss, (size_t)(known - ss->refused));
	} else if (ss->n_refused == VS_REFUSED) {
		forget(ss, 0);
	}
	wait = (int64_t)REFUSED_FIRST_MS << (mine.count < 5 ? mine.count : 5);
	mine.count++;
	mine.until = ss->svc->wall_ms(ss->host) + (wait < REFUSED_MAX_MS ? wait : REFUSED_MAX_MS);
	snprintf(mine.credential, sizeof(mine.credential), "%s", ss->credential);
	snprintf(mine.fault, sizeof(mine.fault), "%s", strcmp(err->fault, "UNAUTHENTICATED") == 0 ? "InvalidLogin" : err->fault);
	ss->refused[ss->n_refused++] = mine;
}

void vs_login_end(struct vs_session *ss, const struct vs_err *err, bool refused, bool unknown)
{
	const struct vs_refused *mine;

	if (host_counts(ss))
		ss->svc->turn_end(ss->host, ss->turn, refused || unknown);
	pthread_mutex_lock(&ss->lock);
	tidy(ss);
	mine = find(ss, ss->credential);
	if (refused)
		note_refused(ss, err);
	else if (!err && mine)
		forget(ss, (size_t)(mine - ss->refused));
	if (refused || (!err && mine))
		vs_content_keep(ss);
	pthread_mutex_unlock(&ss->lock);
}
