/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/session_impl.h"

#include "plugins/vsphere/fault.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* One SOAP request over HTTP and what its answer says. */

#define CALL_MS 60000u
#define RESPONSE_MAX (32u << 20)

static char *cookie_of(const struct pcg_http_response *resp)
{
	for (size_t i = 0; i < resp->n_headers; i++) {
		const char *v = resp->headers[i].value;

		if (strcasecmp(resp->headers[i].name, "set-cookie") == 0 && strncmp(v, "vmware_soap_session=", 20) == 0)
			return strndup(v, strcspn(v, ";"));
	}
	return NULL;
}

static void fault_of(struct vs_err *err, const char *what, const struct xn *fault)
{
	const struct xn *detail = xn_child(fault, "detail");

	vs_fault_of(err, what, detail ? detail->child : NULL, xn_get(fault, "faultstring"));
}

const struct xn *vs_result(const struct xn *envelope)
{
	const struct xn *body = xn_child(envelope, "Body");

	return body ? body->child : NULL;
}

/* What stands between may answer as well-formed as wrong: of another call, or of none. That is not an answer "nothing". */
static bool answers(const struct xn *reply, const char *method)
{
	const struct xn *result = vs_result(reply);
	size_t n = strlen(method);

	return result && strncmp(result->name, method, n) == 0 && strcmp(result->name + n, "Response") == 0;
}

static int read_reply(const char *what, const char *method, const struct pcg_http_response *resp, struct xn **reply,
		      struct vs_err *err)
{
	const struct xn *fault;
	struct vs_err parse;

	if (xn_parse(resp->body ? resp->body : "", resp->body_len, reply, &parse)) {
		uint32_t class = resp->status == 401 || resp->status == 403 ? PCG_ERR_AUTH :
				 resp->status == 404 ? PCG_ERR_PERMANENT : PCG_ERR_RETRY;

		if (resp->status == 200)
			vs_fail(err, PCG_ERR_RETRY, parse.remedy, "%s: %s", what, parse.text);
		else
			vs_fail(err, class, class == PCG_ERR_PERMANENT ?
				"Check that vcenterServer of the cloud account names a vCenter." :
				"Check the vCenter, and the proxy if there is one.",
				"%s: the server answered HTTP status %u", what, resp->status);
		return -1;
	}
	fault = xn_at(*reply, "Body", "Fault");
	if (!fault && resp->status == 200 && answers(*reply, method))
		return 0;
	if (fault)
		fault_of(err, what, fault);
	else if (resp->status == 200)
		vs_fail(err, PCG_ERR_RETRY, "Check the vCenter, and the proxy if there is one.", "%s: the answer is none to that call", what);
	else
		vs_fail(err, PCG_ERR_RETRY, "Check the vCenter.", "%s: the server answered HTTP status %u", what, resp->status);
	xn_free(*reply);
	*reply = NULL;
	return -1;
}

static void note_peer(struct vs_session *ss, const struct pcg_http_response *resp)
{
	if (!resp->peer_sha256)
		return;
	pthread_mutex_lock(&ss->lock);
	snprintf(ss->thumbprint, sizeof(ss->thumbprint), "%s", resp->peer_sha256);
	pthread_mutex_unlock(&ss->lock);
}

void vs_no_answer(struct vs_err *err, const char *what, const struct pcg_http_response *resp)
{
	vs_fail(err, resp->error_class, resp->remedy && *resp->remedy ? resp->remedy :
		"Check vcenterServer of the cloud account, the network and the proxy.", "%s: %s", what,
		resp->error ? resp->error : "no answer");
}

/* Nobody answered, or a gateway before the vCenter for it. */
static bool is_away(const struct pcg_http_response *resp)
{
	return resp->status ? resp->status >= 502 && resp->status <= 504 : resp->error_class == PCG_ERR_RETRY;
}

/* The storage profile service is one of its own: that it is down says nothing of the vCenter. */
static void note_result(struct vs_session *ss, const struct soap *s, int r, const struct pcg_http_response *resp, struct vs_err *err)
{
	bool away = r && is_away(resp), other = s->service != &soap_vim;

	if (away && other)
		snprintf(err->remedy, sizeof(err->remedy), "Check the vCenter's storage profile service (vmware-sps).");
	vs_outage_result(ss->outage, away && !other,
			 (away && other) || (r && !resp->status && resp->error_class != PCG_ERR_RETRY), err);
}

int vs_exchange(struct vs_session *ss, struct pcg_call *call, struct soap *s, const char *cookie, unsigned flags,
		    uint32_t timeout_ms, struct xn **reply, char **cookie_out, struct vs_err *err)
{
	char agent[sizeof(ss->agent)], what[320], url[400];
	struct pcg_http_header headers[5] = { { "content-type", "text/xml; charset=utf-8" },
					      { "soapaction", s->service->action },
					      { "user-agent", agent },
					      { "cookie", cookie }, { "connection", "close" } };
	struct pcg_http_request req = {
		.struct_size = sizeof(req), .timeout_ms = timeout_ms ? timeout_ms : CALL_MS, .method = "POST",
		.url = url, .headers = headers, .n_headers = cookie ? 4 : 3, .body = xmlBufferContent(s->buf),
		.body_len = (size_t)xmlBufferLength(s->buf), .max_response = RESPONSE_MAX,
		.flags = flags & VS_LONG ? PCG_HTTP_LONG_WAIT : 0,
	};
	struct pcg_http_response resp = { .struct_size = sizeof(resp) };
	int r = -1;

	*reply = NULL;
	if (vs_outage_blocks(ss->outage, err))
		return -1;
	snprintf(url, sizeof(url), "https://%s%s", ss->server, s->service->path);
	pthread_mutex_lock(&ss->lock);
	snprintf(agent, sizeof(agent), "%s", *ss->agent ? ss->agent : "pcg");
	pthread_mutex_unlock(&ss->lock);
	if (flags & VS_CLOSE_AFTER) {
		assert(!cookie);
		headers[3] = headers[4];
		req.n_headers = 4;
	}
	snprintf(what, sizeof(what), "%s at %s", s->method, ss->server);
	if (ss->svc->http(ss->host, call, &req, &resp)) {
		vs_fail(err, PCG_ERR_BUG, "", "%s: the host refused the request", what);
	} else if (!resp.status) {
		vs_no_answer(err, what, &resp);
	} else {
		note_peer(ss, &resp);
		r = read_reply(what, s->method, &resp, reply, err);
		if (!r && cookie_out)
			*cookie_out = cookie_of(&resp);
	}
	note_result(ss, s, r, &resp, err);
	ss->svc->http_free(ss->host, &resp);
	return r;
}

int vs_returned(const struct xn *reply, const char *what, bool must, struct vs_ref *out, struct vs_err *err)
{
	const struct xn *value = xn_child(vs_result(reply), "returnval");

	if (xn_ref(value, out) || (!value && !must))
		return 0;
	memset(out, 0, sizeof(*out));
	vs_fail(err, PCG_ERR_RETRY, "Check the vCenter, and the proxy if there is one.", "%s: the answer names no object", what);
	return -1;
}
