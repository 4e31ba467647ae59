/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_REST_H
#define PLUGINS_VSPHERE_REST_H

/*
 * The vCenter's REST API (vAPI), which tags and content libraries are behind. It has a session of its own beside the
 * SOAP one: begun by the first call, kept across the worker's death as that one's cookie is, ended when
 * nobody called for half a minute and something else is asked of the vCenter, or the worker ends. All threads share it.
 *
 * vCenter 7.0 U2 and newer have /api, with POST /api/session for the session; older ones have /rest, where the
 * session is /rest/com/vmware/cis/session, an object's id has "id:" before it, an action is ?~action=, bodies are
 * wrapped and replies stand in "value". A caller writes for /api; which of both it is, is found at the login.
 * (vSphere Automation API reference, "Authentication" and "com.vmware.cis.tagging".)
 */

#include "plugins/vsphere/session.h"

#define VS_REST_IDLE_MS 30000u

struct vs_rest_call {
	const char *method;  /* "GET", "POST", "PATCH", "PUT", "DELETE" */
	const char *service; /* as below /api: "cis/tagging/tag" */
	const char *id;      /* of the object; NULL: none */
	const char *rest_id; /* of an object that older ones have in the path, where newer ones have it in the body; then they take none */
	const char *action;  /* "attach"; NULL: none */
	const char *query;   /* "library_id=...", its values escaped; NULL: none */
	const char *wrap;    /* member that an older vCenter wants the body in ("create_spec"); NULL: none */
	const json_t *body;  /* NULL: none */
};

/* Sends and waits. *reply is what came back, a new reference (JSON null when nothing did). Returns 0, or -1 with err:
 * err->fault is the API's error type ("NOT_FOUND", "ALREADY_EXISTS", ...), "" when there was no answer. A call
 * that was refused for want of a session is sent again after one login: it had done nothing. */
int vs_rest(struct vs_session *ss, struct pcg_call *call, const struct vs_rest_call *what, json_t **reply,
	    struct vs_err *err);

/* For session.c. */
struct vs_rest *vs_rest_new(void);
void vs_rest_free(struct vs_rest *rest);
/* Ends the session when it was not used for VS_REST_IDLE_MS. */
void vs_rest_idle(struct vs_session *ss, struct pcg_call *call);
/* Ends the session, also one that a worker before this one left. */
void vs_rest_close(struct vs_session *ss, struct pcg_call *call);

#endif
