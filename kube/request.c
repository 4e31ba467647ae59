/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "kube/kube_impl.h"

#include "core/attr.h"
#include "core/clock.h"
#include "core/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define CLOCK_APART_MS 60000

/* Of an error that tells the server's words, in bytes. */
#define WHAT_MAX 300
#define REASON_MAX 64
#define MESSAGE_MAX 500
#define CAUSES_MAX 8
#define FIELD_MAX 100
#define CAUSE_MAX 120
#define LINE_MAX_SHOWN 200 /* of what is no Status */

struct request {
	struct kube_op op;
	struct http_call *call;
	struct kube_timer *timer; /* of a request that could not be sent */
	struct pcg_error err;
	char *what;
	bool raw, read_old;
	kube_cb cb;
	void *arg;
};

static enum pcg_class class_of(int status, const json_t *body)
{
	const char *message = json_str_or(body, "message", "");

	switch (status) {
	case 401:
		return PCG_CLASS_AUTH;
	case 403:
		if (strstr(message, "exceeded quota"))
			return PCG_CLASS_QUOTA;
		return strstr(message, "is being terminated") ? PCG_CLASS_RETRY : PCG_CLASS_AUTH;
	case 404:
		return PCG_CLASS_NOT_FOUND;
	case 409:
	case 410:
	case 412:
		return PCG_CLASS_CONFLICT;
	case 408:
	case 429:
		return PCG_CLASS_RETRY;
	default:
		return status >= 500 ? PCG_CLASS_RETRY : PCG_CLASS_PERMANENT;
	}
}

static const char *remedy_of(int status)
{
	switch (status) {
	case 401:
		return "compare the cluster's CA with the one that the API server trusts, and the "
		       "clocks";
	case 403:
		return "see which admission or authorization rule of the cluster forbids it";
	case 410:
		return "list again, and watch from there";
	case 400:
	case 422:
		return "correct the object";
	default:
		return "";
	}
}

/* A message can be longer than an error may be, and what follows it must still be seen. */
static void add_cut(struct buf *b, const char *text, size_t max)
{
	size_t len = strlen(text), n = utf8_cut(text, len, max);

	buf_add(b, text, n);
	if (n < len)
		buf_adds(b, "...");
}

static void add_causes(struct buf *b, const json_t *body)
{
	size_t i;
	json_t *c;

	json_array_foreach (json_at(body, "details.causes"), i, c) {
		const char *message = json_str_or(c, "message", ""), *field = json_str(c, "field");

		if (i == CAUSES_MAX)
			break;
		if (strstr(b->data, message) && !field)
			continue;
		buf_adds(b, "; ");
		add_cut(b, field ? field : "", FIELD_MAX);
		buf_adds(b, field ? ": " : "");
		add_cut(b, message, CAUSE_MAX);
	}
}

void kube_status_error(int status, const json_t *body, const char *what, struct pcg_error *err)
{
	const char *message = json_str(body, "message"), *reason = json_str(body, "reason");
	struct buf b;

	buf_init(&b, WHAT_MAX + REASON_MAX + MESSAGE_MAX + CAUSES_MAX * (FIELD_MAX + CAUSE_MAX + 16) + 64);
	add_cut(&b, what, WHAT_MAX);
	buf_addf(&b, ": the API server answered %d", status);
	if (reason && *reason) {
		buf_adds(&b, " ");
		add_cut(&b, reason, REASON_MAX);
	}
	if (message && *message) {
		buf_adds(&b, ": ");
		add_cut(&b, message, MESSAGE_MAX);
	}
	add_causes(&b, body);
	assert(!b.overflow);
	pcg_fail(err, class_of(status, body), remedy_of(status), "%s", b.data);
	buf_free(&b);
}

static void destroy(struct kube_op *op)
{
	struct request *r = (struct request *)op;

	if (r->call)
		http_cancel(r->call);
	kube_timer_stop(&r->timer);
	free(r->what);
	free(r);
}

/* The operation is gone when the callback runs. */
static void finish(struct request *r, struct kube_reply *reply)
{
	kube_cb cb = r->cb;
	void *arg = r->arg;

	kube_op_end(&r->op);
	cb(arg, reply);
	json_decref(reply->body);
}

/* A proxy's page, or plain text: its beginning says what it is. */
static json_t *first_line(const char *text)
{
	size_t n = utf8_cut(text, strcspn(text, "\r\n"), LINE_MAX_SHOWN);
	AUTO_FREE char *line = utf8_repair(text, n);

	return json_string(line);
}

static void parse_body(struct request *r, const struct http_response *resp,
		       struct kube_reply *reply)
{
	struct pcg_error err;

	if (resp->body_len == 0)
		return;
	if (json_parse(resp->body, resp->body_len, "the answer", &reply->body, &err) == 0)
		return;
	reply->body = NULL;
	if (reply->status >= 400) {
		reply->body = json_pack("{s:o}", "message", first_line(resp->body));
		return;
	}
	reply->status = 0;
	pcg_fail(&reply->err, PCG_CLASS_RETRY, "see what answers at this address",
		 "%s: the API server's answer cannot be read: %s", r->what, err.text);
}

static int64_t date_of(const struct http_response *resp)
{
	const char *text = http_response_header(resp, "date"), *end;
	struct tm tm = {0};

	end = text ? strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) : NULL;
	return end && !*end ? (int64_t)timegm(&tm) * 1000 : 0;
}

/* Certificates of an hour are no good to a clock that stands elsewhere. */
static void explain_refusal(struct kube_reply *reply)
{
	int64_t apart = reply->date_ms ? reply->date_ms - clock_wall_ms() : 0;

	if (reply->status != 401 || (apart < CLOCK_APART_MS && apart > -CLOCK_APART_MS))
		return;
	pcg_fail_prefix(&reply->err, "the API server's clock is %" PRId64 " s %s of this machine's",
			(apart < 0 ? -apart : apart) / 1000, apart < 0 ? "behind" : "ahead");
	snprintf(reply->err.remedy, sizeof(reply->err.remedy),
		 "set the clocks of this machine and of the cluster's nodes (NTP); it is tried again");
}

/* Warning: 299 - "text", which a webhook of the cluster may have put into any bytes */
static void tell_warnings(const struct request *r, const struct http_response *resp)
{
	const struct kube *k = r->op.k;
	char text[512];

	for (size_t i = 0; k->warned && i < resp->n_headers; i++) {
		const char *from = resp->headers[i].value, *quote;
		AUTO_FREE char *shown = NULL;
		size_t n = 0;

		if (strcmp(resp->headers[i].name, "warning") != 0 || strncmp(from, "299 ", 4) != 0)
			continue;
		quote = strchr(from, '"');
		for (quote = quote ? quote + 1 : ""; *quote && *quote != '"'; quote++) {
			if (*quote == '\\' && quote[1])
				quote++;
			if (n < sizeof(text))
				text[n++] = *quote;
		}
		shown = utf8_repair(text, utf8_cut(text, n, sizeof(text) - 1));
		k->warned(k->warned_arg, r->what, shown);
	}
}

/* A redirect is followed by nobody, so it is as little an answer as a refusal. */
static void not_done(const struct request *r, const struct http_response *resp, struct kube_reply *reply)
{
	if (reply->status >= 400) {
		kube_status_error(reply->status, reply->body, r->what, &reply->err);
		return;
	}
	json_decref(reply->body);
	reply->body = NULL;
	reply->status = 0;
	pcg_fail(&reply->err, PCG_CLASS_RETRY, "see what answers at this address",
		 "%s: a redirect (%ld) came back, and no API server sends one", r->what, resp->status);
}

static void on_done(void *arg, const struct http_response *resp)
{
	struct request *r = arg;
	struct kube_reply reply = {.status = (int)resp->status};

	r->call = NULL;
	reply.date_ms = date_of(resp);
	tell_warnings(r, resp);
	if (resp->status == 0)
		reply.err = resp->err;
	else if (!r->raw || resp->status >= 400 || (r->read_old && resp->status == 200))
		parse_body(r, resp, &reply);
	if (reply.status >= 300)
		not_done(r, resp, &reply);
	explain_refusal(&reply);
	if (reply.status == 401)
		kube_refused(r->op.k);
	else if (reply.status)
		r->op.k->refused = false;
	finish(r, &reply);
}

static void on_unsent(void *arg)
{
	struct request *r = arg;
	struct kube_reply reply = {.err = r->err};

	finish(r, &reply);
}

static bool is_write(const char *method)
{
	return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
	       strcmp(method, "PATCH") == 0;
}

static char *url_of(const struct kube *k, const struct kube_request_spec *spec)
{
	AUTO_FREE char *plain = kube_url(k, spec->path);
	struct buf b;

	if (!plain || !is_write(spec->method))
		return TAKE(plain);
	buf_init(&b, 1 << 20);
	buf_adds(&b, plain);
	kube_query_add(&b, "fieldValidation", "Strict");
	return buf_take(&b);
}

static const char *accepted(const struct kube_request_spec *spec)
{
	if (spec->metadata && is_write(spec->method))
		return "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, "
		       "application/json";
	if (spec->metadata)
		return "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, "
		       "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, "
		       "application/json";
	return spec->raw ? "*/*" : "application/json";
}

static int send_request(struct request *r, const struct kube_request_spec *spec)
{
	struct http_header headers[2] = {{"Accept", accepted(spec)}};
	struct kube *k = r->op.k;
	AUTO_FREE char *url = url_of(k, spec);
	struct http_request req = {
		.method = spec->method,
		.url = url,
		.headers = headers,
		.n_headers = 1,
		.proxy = k->proxy,
		.timeout_ms = spec->timeout_ms ? spec->timeout_ms : 30000,
		.max_response = KUBE_RESPONSE_MAX,
		.host_connections = KUBE_CONNECTIONS,
	};
	char *body = NULL;
	int ret;

	if (!url)
		return kube_too_long(r->what, &r->err);
	ret = kube_tls(k, &req.tls, &r->err);
	if (ret)
		return ret;
	if (spec->text) {
		req.body = spec->text;
		req.body_len = spec->text_len;
	} else if (spec->body) {
		body = json_text_secret(spec->body, &req.body_len);
		req.body = body;
	}
	if (req.body)
		headers[req.n_headers++] = (struct http_header){
			"Content-Type",
			spec->content_type ? spec->content_type : "application/json"};
	r->call = http_submit(k->http, &req, on_done, r);
	if (body)
		secret_wipe(body, req.body_len);
	free(body);
	http_tls_unref(req.tls);
	if (!r->call)
		return pcg_fail(&r->err, PCG_CLASS_CANCELLED, "", "%s: the program is ending",
				r->what);
	return 0;
}

struct kube_op *kube_request_start(struct kube *k, const struct kube_request_spec *spec, kube_cb cb,
				   void *arg)
{
	struct request *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	kube_op_start(&r->op, k, destroy);
	r->cb = cb;
	r->arg = arg;
	r->raw = spec->raw;
	r->read_old = spec->read_old;
	if (asprintf(&r->what, "%s %s%.*s", spec->method, k->server, (int)strcspn(spec->path, "?"),
		     spec->path) < 0)
		abort();
	if (send_request(r, spec))
		r->timer = kube_timer_start(k, 0, on_unsent, r);
	return &r->op;
}

struct kube_op *kube_request(struct kube *k, const char *method, const char *path,
			     const char *content_type, const json_t *body, uint32_t timeout_ms,
			     kube_cb cb, void *arg)
{
	struct kube_request_spec spec = {.method = method,
					 .path = path,
					 .content_type = content_type,
					 .body = body,
					 .timeout_ms = timeout_ms};

	return kube_request_start(k, &spec, cb, arg);
}

struct kube_op *kube_get_metadata(struct kube *k, const char *path, kube_cb cb, void *arg)
{
	struct kube_request_spec spec = {.method = "GET", .path = path, .metadata = true};

	return kube_request_start(k, &spec, cb, arg);
}

struct kube_op *kube_write(struct kube *k, const char *method, const char *path,
			   const char *content_type, const json_t *body, uint32_t timeout_ms,
			   bool unread, kube_cb cb, void *arg)
{
	struct kube_request_spec spec = {.method = method,
					 .path = path,
					 .content_type = content_type,
					 .body = body,
					 .timeout_ms = timeout_ms,
					 .metadata = true,
					 .raw = unread};

	return kube_request_start(k, &spec, cb, arg);
}

struct kube_op *kube_ready(struct kube *k, kube_cb cb, void *arg)
{
	struct kube_request_spec spec = {
		.method = "GET", .path = "/readyz", .timeout_ms = 5000, .raw = true};

	return kube_request_start(k, &spec, cb, arg);
}
