/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/session_impl.h"

#include <stdio.h>
#include <string.h>

/* Sessions of logins whose end is not known, by their user agents in the server's list. */

#define LOST_MS 5000u

struct lost_sessions {
	const json_t *agents;
	json_t *keys;
	bool seen, forbidden;
};

static void on_sessions(struct lost_sessions *l, const struct xn *object)
{
	const struct xn *list = xn_prop(object, "sessionList");
	const struct xn *fault = xn_child(xn_child(xn_child(object, "missingSet"), "fault"), "fault");
	size_t i;
	json_t *agent;

	for (const struct xn *one = list ? list->child : NULL; one; one = one->next)
		json_array_foreach(l->agents, i, agent)
			if (strcmp(xn_get(one, "userAgent"), json_string_value(agent) ?: "") == 0 && *xn_get(one, "key"))
				json_array_append_new(l->keys, json_string(xn_get(one, "key")));
	l->seen = list != NULL;
	l->forbidden = fault && fault->xsi && strcmp(fault->xsi, "NoPermission") == 0;
}

static int lost_find(struct vs_session *ss, struct pcg_call *call, const char *cookie, struct lost_sessions *l,
		     struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	int r;

	soap_begin(&s, "RetrievePropertiesEx", &ss->collector);
	soap_open(&s, "specSet");
	soap_open(&s, "propSet");
	soap_text(&s, "type", "SessionManager");
	soap_text(&s, "pathSet", "sessionList");
	soap_close(&s);
	soap_open(&s, "objectSet");
	soap_ref(&s, "obj", &ss->session_manager);
	soap_bool(&s, "skip", false);
	soap_close(&s);
	soap_close(&s);
	soap_open(&s, "options");
	soap_close(&s);
	soap_finish(&s);
	r = vs_exchange(ss, call, &s, cookie, 0, LOST_MS, &reply, NULL, err);
	soap_free(&s);
	if (!r)
		on_sessions(l, xn_at(vs_result(reply), "returnval", "objects"));
	xn_free(reply);
	return r;
}

/* One that has ended by itself meanwhile is answered by a fault, and need not hold up the others. */
static int lost_end(struct vs_session *ss, struct pcg_call *call, const char *cookie, const char *key, struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	int r;

	soap_begin(&s, "TerminateSession", &ss->session_manager);
	soap_text(&s, "sessionId", key);
	soap_finish(&s);
	r = vs_exchange(ss, call, &s, cookie, 0, LOST_MS, &reply, NULL, err);
	soap_free(&s);
	xn_free(reply);
	return r && strcmp(err->fault, "NotFound") != 0 ? -1 : 0;
}

bool vs_lost_end(struct vs_session *ss, struct pcg_call *call, const char *cookie, const json_t *agents)
{
	struct lost_sessions l = { .agents = agents, .keys = json_array() };
	struct vs_err err = { .fault = "" };
	size_t i;
	json_t *key;
	int r = lost_find(ss, call, cookie, &l, &err);

	json_array_foreach(l.keys, i, key)
		if (!r)
			r = lost_end(ss, call, cookie, json_string_value(key), &err);
	if (l.forbidden || strcmp(err.fault, "NoPermission") == 0) {
		ss->svc->log(ss->host, PCG_LOG_WARN, "vsphere_session_left",
			     "{\"remedy\":\"Give the account's role the privilege Sessions.TerminateSession, "
			     "or wait until vCenter ends the idle session.\"}");
		l.seen = true;
		r = 0;
	} else if (!r && json_array_size(l.keys)) {
		ss->svc->log(ss->host, PCG_LOG_INFO, "vsphere_session_ended", NULL);
	}
	json_decref(l.keys);
	return !r && l.seen;
}
