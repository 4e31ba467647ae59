/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_SESSION_H
#define PLUGINS_VSPHERE_SESSION_H

/*
 * One session with a vCenter, shared by all threads. The login happens once (the others wait for
 * it), and again when the server says that the session is over; refused passwords are remembered
 * across workers, so that nobody tries one in a hurry. Every such login begins a new generation: what belonged to
 * the session (views, filters) went with it.
 *
 * Each login goes out under a user agent of its own, kept before it is sent. When its answer never
 * came, for the worker was killed or the reply lost, the session that it may have begun is found by that
 * agent in the server's list and ended, once there is another one. The list asks for the privilege
 * Sessions.TerminateSession; without it such a session lasts until the server ends it for being idle. So is one that the
 * server disowns although it has just begun: what stands between may have asked another server. A validation
 * keeps its agent until it has logged out, for the next validation of the same user of that vCenter.
 */

#include "plugins/vsphere/outage.h"
#include "plugins/vsphere/soap.h"

#include <pthread.h>

#define VS_REFUSED 16 /* passwords that are remembered */

struct vs_rest;

/* A password that was refused. */
struct vs_refused {
	char credential[17];
	char fault[64];
	unsigned count;         /* in a row */
	int64_t until;          /* wall clock: not tried again before */
};

struct vs_session {
	const struct pcg_services *svc;
	struct pcg_host *host;
	char *server;           /* host[:port], as vs_endpoint() gives it */
	char *user, *password;
	bool keep;              /* the cookie is kept as a secret; else only what ends the session after a kill */
	char secret[64];        /* name of that */
	struct vs_outage *outage; /* NULL: of a validation, which tries whatever others have seen */

	pthread_mutex_t lock;   /* everything below */
	pthread_cond_t changed;
	bool busy;              /* somebody logs in */
	bool tried_kept;
	bool doubt;             /* the last login was not answered */
	bool tidied;            /* this session has looked for what the lost ones left */
	unsigned generation;
	uint64_t began;         /* monotonic: of this session, when this worker began it */
	char *cookie;
	char key[64];           /* the session's, which is not its cookie; "" when it is not known */
	char agent[80];         /* of the session, "" before the first */
	json_t *lost;           /* agents of logins whose end is not known */
	struct vs_ref session_manager, collector, search, views, root, tasks;
	struct vs_ref authorization, fields; /* AuthorizationManager, CustomFieldsManager */
	char version[128];      /* of the product, "" when it is not known */
	char release[32];       /* "8.0.3", "" when it is not known */
	char thumbprint[65];    /* SHA-256 of the server's certificate when the host told it, hex */
	bool replaced;          /* the kept session is one of former credentials: to be ended */
	struct vs_refused refused[VS_REFUSED]; /* the newest last */
	size_t n_refused;
	char salt[33];          /* of what is kept: without it a credential tells nothing */
	char credential[17];    /* tells this password from another */
	char turn[64];          /* under which the log-ins of this user of this vCenter are counted */

	struct vs_rest *rest;   /* rest.h */
};

/* spec as in the account; strings are copied. -1 when it cannot be used, with why. */
int vs_session_init(struct vs_session *ss, const struct pcg_services *svc, struct pcg_host *host,
		    const json_t *spec, bool keep, struct vs_err *err);
void vs_session_fini(struct vs_session *ss); /* no logout */
/* Logs in unless that was done; fills the references. Returns the generation in *generation. */
int vs_session_open(struct vs_session *ss, struct pcg_call *call, unsigned *generation, struct vs_err *err);
/* The server has shown its certificate: by one request without a session, unless an earlier one has. */
int vs_session_certificate(struct vs_session *ss, struct pcg_call *call, struct vs_err *err);
void vs_session_close(struct vs_session *ss, struct pcg_call *call); /* logout, when there is a session */
/* A call of another service of the vCenter that the session is good for: its cookie, the caller's to vs_wipe(); NULL with err.
 * When that service says that the session is over, vs_session_over() (session_impl.h) and once more. */
char *vs_session_cookie(struct vs_session *ss, struct pcg_call *call, unsigned *generation, struct vs_err *err);
bool vs_session_current(struct vs_session *ss, unsigned generation);

#define VS_LONG 1u       /* the one long wait */
#define VS_SESSION 2u    /* uses objects of the session of *generation: never repeated in another one */

/*
 * Sends what s holds and frees it. The reply is in *reply (the envelope; vs_result gives what
 * matters); caller frees. A call that the server refused for want of a session is sent again after a
 * login: it had done nothing. Returns 0, or -1 with err.
 */
int vs_call(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned generation,
	    uint32_t timeout_ms, struct xn **reply, struct vs_err *err);
const struct xn *vs_result(const struct xn *envelope); /* the element METHODResponse */
/* The object that a reply returns; *out is empty when there is none and there need not be one. -1 with err, in which what is
 * the call: it cannot be read, or must be there. Nothing may be taken for absent because of that. */
int vs_returned(const struct xn *reply, const char *what, bool must, struct vs_ref *out, struct vs_err *err);

/* Hands every <objects> of a RetrievePropertiesEx to cb, over all pages. s: begun, specSet written. */
int vs_retrieve(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned generation,
		void (*cb)(void *arg, const struct xn *object), void *arg, struct vs_err *err);

/* The same, page by page. first: *generation is that of the session that the rest belongs to. token is "" after the last
 * page; a token that is not asked for any more is held by the server until the session ends. */
#define VS_TOKEN 128
int vs_retrieve_first(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned *generation,
		      unsigned max_objects, void (*cb)(void *arg, const struct xn *object), void *arg, char token[VS_TOKEN],
		      struct vs_err *err);
int vs_retrieve_next(struct vs_session *ss, struct pcg_call *call, unsigned generation,
		     void (*cb)(void *arg, const struct xn *object), void *arg, char token[VS_TOKEN], struct vs_err *err);

/* A task method: s is finished and sent, *task is its task. */
int vs_task(struct vs_session *ss, struct pcg_call *call, struct soap *s, struct vs_ref *task, struct vs_err *err);

#endif
