/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_server_impl.h"

#include "core/id.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BACKLOG_MAX (4u << 20) /* bytes that a slow reader of a stream may leave waiting */
#define HEAD_MAX (64u << 10)
#define JOIN_MAX (16u << 10) /* a body up to this size goes with the header, in one write */

static const struct {
	int status;
	const char *text;
} reasons[] = {
	{ 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" },
	{ 206, "Partial Content" }, { 301, "Moved Permanently" }, { 302, "Found" },
	{ 303, "See Other" }, { 304, "Not Modified" }, { 307, "Temporary Redirect" },
	{ 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" },
	{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 406, "Not Acceptable" },
	{ 408, "Request Timeout" }, { 409, "Conflict" }, { 410, "Gone" },
	{ 412, "Precondition Failed" }, { 413, "Payload Too Large" },
	{ 415, "Unsupported Media Type" }, { 422, "Unprocessable Entity" },
	{ 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" }, { 501, "Not Implemented" }, { 502, "Bad Gateway" },
	{ 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
	{ 505, "HTTP Version Not Supported" },
};

static const char *reason(int status)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Status";
}

static void exchange_free(struct http_exchange *x)
{
	buf_free(&x->parsed.target);
	buf_free(&x->parsed.headers);
	buf_free(&x->parsed.body);
	buf_free(&x->extra);
	free(x->path);
	json_decref(x->query);
	x->magic = 0;
	free(x);
}

/* The exchange takes the buffers, the parser begins with new ones. */
static void parsed_take(struct http_parsed *from, struct http_parsed *to)
{
	*to = *from;
	buf_init(&from->target, to->target.max);
	buf_init_secret(&from->headers, to->headers.max);
	buf_init_secret(&from->body, to->body.max);
}

static bool query_read(struct http_exchange *x, const char *query)
{
	char *copy = strdup(query), *save = NULL;
	bool ok = true;

	if (!copy)
		abort();
	x->query = json_object();
	for (char *p = strtok_r(copy, "&", &save); p && ok; p = strtok_r(NULL, "&", &save)) {
		char *value = strchr(p, '=');

		if (value)
			*value++ = '\0';
		else
			value = p + strlen(p);
		ok = http_parse_unescape(p, true) && http_parse_unescape(value, true);
		if (ok && !json_object_get(x->query, p))
			json_object_set_new(x->query, p, json_string(value));
	}
	free(copy);
	return ok;
}

static bool request_fill(struct http_exchange *x)
{
	const char *target = x->parsed.target.data, *query;

	x->path = malloc(x->parsed.target.len + 2);
	if (!x->path)
		abort();
	x->path[0] = '\0';
	x->req.method = x->parsed.method;
	x->req.raw_target = target;
	x->req.path = x->path;
	x->req.body = x->parsed.body.data;
	x->req.body_len = x->parsed.body.len;
	x->req.peer_address = x->conn->peer;
	x->req.client = x->conn->client;
	return http_parse_path(target, x->path, &query) && (!query || query_read(x, query));
}

static struct http_exchange *exchange_new(struct conn *c)
{
	struct http_exchange *x = calloc(1, sizeof(*x));

	if (!x)
		abort();
	x->magic = HTTP_EXCHANGE_MAGIC;
	x->conn = c;
	c->exchange = x;
	parsed_take(http_parse_result(c->parse), &x->parsed);
	x->keep_alive = x->parsed.keep_alive;
	x->chunked = !x->parsed.http10;
	x->head = !strcmp(x->parsed.method, "HEAD");
	buf_init_secret(&x->extra, HEAD_MAX);
	return x;
}

static const char *code_of(int status)
{
	switch (status) {
	case 405:
		return "MethodNotAllowed";
	case 408:
		return "RequestTimeout";
	case 413:
		return "RequestTooLarge";
	case 431:
		return "HeaderTooLarge";
	case 501:
	case 505:
		return "NotSupported";
	default:
		return "InvalidRequest";
	}
}

/* The plane's form of an error: its clients read a number as code as no error at all. */
static void reply_text(struct http_exchange *x, int status, const char *text)
{
	char ref[37];
	json_t *j;

	id_uuid4(ref);
	j = json_pack("{s:s, s:s, s:{}, s:s}", "code", code_of(status), "message", text, "details",
		      "ref", ref);
	http_exchange_reply_json(x, status, j);
	json_decref(j);
}

void http_exchange_begin(struct conn *c)
{
	struct http_exchange *x = exchange_new(c);

	if (!request_fill(x))
		reply_text(x, 400, "the path or the query cannot be read");
	else
		c->server->handler(c->server->arg, x, &x->req);
}

void http_exchange_error(struct conn *c, int status, const char *text)
{
	struct http_exchange *x = exchange_new(c);

	x->keep_alive = false;
	x->chunked = true;
	reply_text(x, status, text);
}

void http_exchange_gone(struct http_exchange *x)
{
	x->conn = NULL;
	if (!x->gone)
		return; /* the handler does not know yet, and still answers it */
	x->gone(x->gone_arg, x);
	exchange_free(x);
}

const char *http_exchange_header(struct http_exchange *x, const char *lower_name)
{
	return http_parse_header(&x->parsed, lower_name);
}

const char *http_exchange_query(struct http_exchange *x, const char *name)
{
	return json_string_value(json_object_get(x->query, name));
}

const json_t *http_exchange_queries(struct http_exchange *x)
{
	return x->query;
}

void http_exchange_set_header(struct http_exchange *x, const char *name, const char *value)
{
	assert(x->magic == HTTP_EXCHANGE_MAGIC);
	buf_adds(&x->extra, name);
	buf_adds(&x->extra, ": ");
	for (const char *p = value; *p; p++) /* a value never becomes a header line of its own */
		buf_add(&x->extra, (unsigned char)*p < ' ' ? " " : p, 1);
	buf_adds(&x->extra, "\r\n");
}

static void head_write(struct http_exchange *x, int status, const char *content_type, struct buf *out)
{
	buf_addf(out, "HTTP/1.1 %d %s\r\n", status, reason(status));
	if (content_type)
		buf_addf(out, "Content-Type: %s\r\n", content_type);
	buf_add(out, x->extra.data, x->extra.len);
	if (!x->keep_alive)
		buf_adds(out, "Connection: close\r\n");
	else if (x->parsed.http10)
		buf_adds(out, "Connection: keep-alive\r\n");
}

/* The connection may be freed by its own end in here: nothing of x is touched after. */
static void exchange_end(struct http_exchange *x)
{
	struct conn *c = x->conn;
	bool keep = x->keep_alive;

	exchange_free(x);
	if (c)
		conn_exchange_done(c, keep);
}

void http_exchange_reply(struct http_exchange *x, int status, const char *content_type,
			 const void *body, size_t len)
{
	bool none = status == 204 || status == 304;
	struct buf out;

	assert(x->magic == HTTP_EXCHANGE_MAGIC && !x->streaming);
	if (x->conn) {
		buf_init_secret(&out, HEAD_MAX + JOIN_MAX + 1024);
		head_write(x, status, none ? NULL : content_type, &out);
		if (!none)
			buf_addf(&out, "Content-Length: %zu\r\n", len);
		buf_adds(&out, "\r\n");
		if (none || x->head)
			len = 0;
		if (len && len <= JOIN_MAX)
			buf_add(&out, body, len);
		conn_write(x->conn, out.data, out.len);
		if (len > JOIN_MAX)
			conn_write(x->conn, body, len);
		buf_free(&out);
	}
	exchange_end(x);
}

void http_exchange_reply_json(struct http_exchange *x, int status, const json_t *body)
{
	char *text = body ? json_text_secret(body, &(size_t){ 0 }) : NULL;
	size_t len = text ? strlen(text) : 0;

	http_exchange_reply(x, status, text ? "application/json" : NULL, text, len);
	if (text)
		secret_wipe(text, len);
	free(text);
}

void http_exchange_stream_begin(struct http_exchange *x, int status, const char *content_type)
{
	struct buf out;

	assert(x->magic == HTTP_EXCHANGE_MAGIC && !x->streaming);
	x->streaming = true;
	if (!x->conn)
		return;
	if (!x->chunked)
		x->keep_alive = false;
	buf_init_secret(&out, HEAD_MAX + 1024);
	head_write(x, status, content_type, &out);
	buf_adds(&out, x->chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
	conn_write(x->conn, out.data, out.len);
	buf_free(&out);
}

int http_exchange_stream_write(struct http_exchange *x, const void *data, size_t len)
{
	struct buf out;

	assert(x->magic == HTTP_EXCHANGE_MAGIC && x->streaming);
	if (!x->conn || x->conn->state != CONN_OPEN)
		return -1;
	if (conn_backlog(x->conn) > BACKLOG_MAX) {
		conn_abort(x->conn);
		return -1;
	}
	if (!len || x->head)
		return 0;
	buf_init_secret(&out, len + 32);
	if (x->chunked)
		buf_addf(&out, "%zx\r\n", len);
	buf_add(&out, data, len);
	if (x->chunked)
		buf_adds(&out, "\r\n");
	conn_write(x->conn, out.data, out.len);
	buf_free(&out);
	return x->conn->state == CONN_OPEN ? 0 : -1;
}

void http_exchange_stream_end(struct http_exchange *x)
{
	assert(x->magic == HTTP_EXCHANGE_MAGIC && x->streaming);
	if (x->conn && x->chunked && !x->head)
		conn_write(x->conn, "0\r\n\r\n", 5);
	exchange_end(x);
}

void http_exchange_on_gone(struct http_exchange *x, void (*gone)(void *arg, struct http_exchange *x),
			   void *arg)
{
	assert(x->magic == HTTP_EXCHANGE_MAGIC);
	x->gone = gone;
	x->gone_arg = arg;
}
