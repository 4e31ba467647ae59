/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_SESSION_IMPL_H
#define PLUGINS_VSPHERE_SESSION_IMPL_H

/*
 * What the files of a session share: session.c (login, the cookie, calls), session_kept.c (what outlives the worker),
 * session_refused.c (what keeps vCenter from locking the user), session_lost.c (sessions whose login was never answered),
 * exchange.c (one request), retrieve.c (pages), rest.c.
 */

#include "plugins/vsphere/session.h"

#define VS_LOGINS_BOUNDED "LoginsBounded" /* in err->fault: none of vCenter's */
#define VS_REST_SECRET "vsphere.rest"
#define VS_CLOSE_AFTER 0x100u /* flag: what comes next gets a connection of its own */

/* One request and its answer; the body stays the caller's. cookie_out may be NULL. */
int vs_exchange(struct vs_session *ss, struct pcg_call *call, struct soap *s, const char *cookie, unsigned flags,
		uint32_t timeout_ms, struct xn **reply, char **cookie_out, struct vs_err *err);
/* Ends the sessions of these user agents. True when there is nothing more to be tried: all ended, or we may not. */
bool vs_lost_end(struct vs_session *ss, struct pcg_call *call, const char *cookie, const json_t *agents);

/* err for an exchange without an HTTP answer. */
void vs_no_answer(struct vs_err *err, const char *what, const struct pcg_http_response *resp);
/* The cookie of this generation is no session any longer. */
void vs_session_over(struct vs_session *ss, unsigned generation);

void vs_wipe(char **text);                     /* overwrites, frees, sets to NULL */
void vs_cond_init(pthread_cond_t *cond);
void vs_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock); /* at most 100 ms */

void vs_kept_name(struct vs_session *ss);      /* once, when server, user and password are known */
bool vs_content_read(struct vs_session *ss, const struct xn *content); /* false: something is missing */
/* The three with the session's lock held. restore: what a worker before this one left, once; good until the
 * server says otherwise. */
void vs_content_keep(struct vs_session *ss);
void vs_content_restore(struct vs_session *ss);

/* What of it is kept; NULL: nothing. The lock is held. */
json_t *vs_refused_doc(const struct vs_session *ss);
void vs_refused_restore(struct vs_session *ss, const json_t *doc);

/* Without the lock. True, with err: this password was refused, and may not be tried yet. */
bool vs_login_must_wait(struct vs_session *ss, struct vs_err *err);
/* Without the lock, before every login that names a password. -1, with err: too many were refused of late. */
int vs_login_begin(struct vs_session *ss, struct pcg_call *call, struct vs_err *err);
/* What came of it. err NULL: a session; refused: not for anything else than the password; unknown: it may have been, and counts. */
void vs_login_end(struct vs_session *ss, const struct vs_err *err, bool refused, bool unknown);

#endif
