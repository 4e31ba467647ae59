/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/session_impl.h"

#include "plugins/vsphere/fault.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Properties, page by page. */

#define PAGE_OBJECTS 500
#define PAGES_MAX 2000   /* of one answer: more objects than a vCenter holds */

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
	to->service = from->service;
	snprintf(to->method, sizeof(to->method), "%s", from->method);
	to->buf = xmlBufferCreate();
	assert(to->buf);
	xmlBufferAdd(to->buf, xmlBufferContent(from->buf), xmlBufferLength(from->buf));
}

/* -1: there would be more, but nothing came: nor does it ever. A token that is too long would be another one. */
static int hand_out(const struct xn *reply, void (*cb)(void *arg, const struct xn *object), void *arg,
		    char token[VS_TOKEN], struct vs_err *err)
{
	const struct xn *result = xn_child(vs_result(reply), "returnval");
	const char *more = xn_get(result, "token");

	if (*more && (!xn_child(result, "objects") || strlen(more) >= VS_TOKEN)) {
		vs_fail(err, PCG_ERR_RETRY, "Check the vCenter, and the proxy if there is one.",
			"RetrievePropertiesEx: the answer is a page without objects, or one whose token nobody can give back");
		return -1;
	}
	for (const struct xn *o = xn_child(result, "objects"); o; o = xn_next(o, "objects"))
		cb(arg, o);
	snprintf(token, VS_TOKEN, "%s", more);
	return 0;
}

int vs_retrieve_first(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned *generation,
		      unsigned max_objects, void (*cb)(void *arg, const struct xn *object), void *arg, char token[VS_TOKEN],
		      struct vs_err *err)
{
	struct xn *reply;
	struct soap again;
	int r;

	soap_open(s, "options");
	soap_int(s, "maxObjects", max_objects);
	soap_close(s);
	soap_finish(s);
	soap_again(&again, s);
	r = retrieve_page(ss, call, s, flags, *generation, &reply, err);
	if (r && strcmp(err->fault, "NotAuthenticated") == 0 && !(flags & VS_SESSION))
		r = retrieve_page(ss, call, &again, flags, *generation, &reply, err);
	else
		soap_free(&again);
	if (r)
		return -1;
	/* The rest belongs to the session that was asked first. */
	if (!(flags & VS_SESSION)) {
		pthread_mutex_lock(&ss->lock);
		*generation = ss->generation;
		pthread_mutex_unlock(&ss->lock);
	}
	r = hand_out(reply, cb, arg, token, err);
	xn_free(reply);
	return r;
}

int vs_retrieve_next(struct vs_session *ss, struct pcg_call *call, unsigned generation,
		     void (*cb)(void *arg, const struct xn *object), void *arg, char token[VS_TOKEN], struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	int r;

	soap_begin(&s, "ContinueRetrievePropertiesEx", &ss->collector);
	soap_text(&s, "token", token);
	soap_finish(&s);
	if (retrieve_page(ss, call, &s, VS_SESSION, generation, &reply, err))
		return -1;
	r = hand_out(reply, cb, arg, token, err);
	xn_free(reply);
	return r;
}

int vs_retrieve(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned generation,
		void (*cb)(void *arg, const struct xn *object), void *arg, struct vs_err *err)
{
	char token[VS_TOKEN];
	unsigned pages = 0;

	if (vs_retrieve_first(ss, call, s, flags, &generation, PAGE_OBJECTS, cb, arg, token, err))
		return -1;
	while (*token && pages++ < PAGES_MAX)
		if (vs_retrieve_next(ss, call, generation, cb, arg, token, err))
			return -1;
	if (!*token)
		return 0;
	vs_fail(err, PCG_ERR_RETRY, "Check the vCenter, and the proxy if there is one.",
		"RetrievePropertiesEx: the answer has more than %d pages", PAGES_MAX);
	return -1;
}
