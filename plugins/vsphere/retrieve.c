/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/session_impl.h"

#include "plugins/vsphere/fault.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Properties, page by page. */

#define PAGE_OBJECTS 500

/* Without a session the property collector answers all the same, each property missing for that reason. */
static bool session_missing(const struct xn *result)
{
	for (const struct xn *o = xn_child(result, "objects"); o; o = xn_next(o, "objects")) {
		const struct xn *fault = xn_child(xn_child(xn_child(o, "missingSet"), "fault"), "fault");

		if (fault && fault->xsi && strcmp(fault->xsi, "NotAuthenticated") == 0)
			return true;
	}
	return false;
}

/* A page of results; *again: the session was over, and the first page is to be asked for again. */
static int retrieve_page(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned generation,
			 struct xn **reply, struct vs_err *err)
{
	unsigned current;

	if (vs_session_open(ss, call, &current, err))
		return -1;
	if (vs_call(ss, call, s, flags, generation, 0, reply, err))
		return -1;
	if (!session_missing(xn_child(vs_result(*reply), "returnval")))
		return 0;
	vs_session_over(ss, current);
	xn_free(*reply);
	*reply = NULL;
	vs_fault(err, "RetrievePropertiesEx", "NotAuthenticated", "");
	return -1;
}

static void soap_again(struct soap *to, const struct soap *from)
{
	memset(to, 0, sizeof(*to));
	snprintf(to->method, sizeof(to->method), "%s", from->method);
	to->buf = xmlBufferCreate();
	assert(to->buf);
	xmlBufferAdd(to->buf, xmlBufferContent(from->buf), xmlBufferLength(from->buf));
}

int vs_retrieve(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned generation,
		void (*cb)(void *arg, const struct xn *object), void *arg, struct vs_err *err)
{
	char token[128] = "";
	struct xn *reply;
	const struct xn *result;
	struct soap again;
	int r;

	soap_open(s, "options");
	soap_int(s, "maxObjects", PAGE_OBJECTS);
	soap_close(s);
	soap_finish(s);
	soap_again(&again, s);
	r = retrieve_page(ss, call, s, flags, generation, &reply, err);
	if (r && strcmp(err->fault, "NotAuthenticated") == 0 && !(flags & VS_SESSION))
		r = retrieve_page(ss, call, &again, flags, generation, &reply, err);
	else
		soap_free(&again);
	if (r)
		return -1;
	for (;;) {
		result = xn_child(vs_result(reply), "returnval");
		for (const struct xn *o = xn_child(result, "objects"); o; o = xn_next(o, "objects"))
			cb(arg, o);
		snprintf(token, sizeof(token), "%s", xn_get(result, "token"));
		xn_free(reply);
		if (!*token)
			return 0;
		/* The rest belongs to the session that was asked first. */
		if (!(flags & VS_SESSION)) {
			pthread_mutex_lock(&ss->lock);
			generation = ss->generation;
			pthread_mutex_unlock(&ss->lock);
			flags |= VS_SESSION;
		}
		soap_begin(s, "ContinueRetrievePropertiesEx", &ss->collector);
		soap_text(s, "token", token);
		soap_finish(s);
		if (retrieve_page(ss, call, s, flags, generation, &reply, err))
			return -1;
	}
}
