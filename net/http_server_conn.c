/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_server_impl.h"

#include "core/attr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <openssl/err.h>
#include <string.h>

#define LINGER_MS 2000
#define HANDSHAKE_MS 1000 /* of a client in no hurry */
#define AHEAD_MAX (64u << 10) /* bytes taken in while an exchange is open */

struct write {
	uv_write_t req;
	struct conn *conn;
	size_t len;
	char data[];
};

static void conn_parse(struct conn *c);

size_t conn_backlog(const struct conn *c)
{
	return uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
}

static void on_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;
	struct http_server *s = c->server;
	struct http_exchange *x = c->exchange;

	if (x) {
		c->exchange = NULL;
		http_exchange_gone(x);
	}
	LIST_REMOVE(c, link);
	SSL_free(c->ssl);
	http_parse_free(c->parse);
	buf_free(&c->in);
	pki_subject_free(c->client);
	free(c);
	http_server_handle_gone(s);
}

void conn_abort(struct conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_CLOSED;
	c->server->n_conns--;
	uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_write(uv_write_t *req, int status)
{
	struct write *w = (struct write *)req;

	if (status && status != UV_ECANCELED)
		conn_abort(w->conn);
	free(w);
}

static void raw_write(struct conn *c, const char *data, size_t len)
{
	uv_buf_t b = uv_buf_init((char *)data, (unsigned)len);
	struct write *w;
	int n = 0;

	if (c->state == CONN_CLOSED || !len)
		return;
	if (!conn_backlog(c)) {
		n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
		if (n < 0 && n != UV_EAGAIN) {
			conn_abort(c);
			return;
		}
		n = n < 0 ? 0 : n;
		c->progress_at = uv_now(c->server->loop);
	}
	if ((size_t)n == len)
		return;
	w = malloc(sizeof(*w) + len - (size_t)n);
	if (!w)
		abort();
	w->conn = c;
	w->len = len - (size_t)n;
	memcpy(w->data, data + n, w->len);
	c->queued += w->len;
	b = uv_buf_init(w->data, (unsigned)w->len);
	if (uv_write(&w->req, (uv_stream_t *)&c->tcp, &b, 1, on_write)) {
		free(w);
		conn_abort(c);
	}
}

static void tls_flush(struct conn *c)
{
	char *data;
	long len = BIO_get_mem_data(c->to_peer, &data);

	if (len > 0) {
		raw_write(c, data, (size_t)len);
		(void)BIO_reset(c->to_peer);
	}
}

void conn_write(struct conn *c, const void *data, size_t len)
{
	if (c->state == CONN_CLOSED || !len)
		return;
	if (!c->ssl) {
		raw_write(c, data, len);
		return;
	}
	ERR_clear_error();
	for (size_t done = 0; done < len;) { /* a memory BIO takes all; this bounds one call's int */
		size_t part = len - done > (1u << 20) ? 1u << 20 : len - done;
		int n = SSL_write(c->ssl, (const char *)data + done, (int)part);

		if (n <= 0) {
			conn_abort(c);
			return;
		}
		done += (size_t)n;
	}
	tls_flush(c);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
	struct conn *c = req->data;

	if (status || c->eof)
		conn_abort(c);
	else
		c->linger_start = uv_now(c->server->loop);
}

/* Sends the end, then waits a little for the client's own: closing at once with unread input would
 * make the kernel reset the connection, and the client may lose the answer. */
static void conn_end(struct conn *c)
{
	if (c->state == CONN_CLOSED || c->state == CONN_LINGER)
		return;
	if (c->ssl && c->state == CONN_OPEN) {
		SSL_shutdown(c->ssl);
		tls_flush(c);
	}
	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_LINGER;
	c->linger_start = 0;
	buf_reset(&c->in);
	c->shutdown.data = c;
	if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown))
		conn_abort(c);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct conn *c = handle->data;

	*out = uv_buf_init(c->server->rbuf, sizeof(c->server->rbuf));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void read_flow(struct conn *c)
{
	bool stop = c->exchange && c->in.len > AHEAD_MAX;

	if (c->state == CONN_CLOSED || stop == c->read_stopped)
		return;
	c->read_stopped = stop;
	if (stop)
		uv_read_stop((uv_stream_t *)&c->tcp);
	else
		uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

void conn_exchange_done(struct conn *c, bool keep_alive)
{
	c->exchange = NULL;
	c->request_start = 0;
	c->idle_start = uv_now(c->server->loop);
	if (c->state == CONN_CLOSED)
		return;
	if (!keep_alive || c->server->closing) {
		conn_end(c);
		return;
	}
	http_parse_reset(c->parse);
	if (!c->parsing)
		conn_parse(c);
	read_flow(c);
}

static void continue_send(struct conn *c, enum http_parse_state before)
{
	static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const struct http_parsed *r = http_parse_result(c->parse);

	if (before < HTTP_PARSE_BODY && http_parse_state(c->parse) == HTTP_PARSE_BODY &&
	    r->expect_continue && !r->http10 && !r->body.len)
		conn_write(c, line, sizeof(line) - 1);
}

/* Requests that have come, one after the other; an answer that is given at once does not recurse. */
static void conn_parse(struct conn *c)
{
	c->parsing = true;
	while (c->state == CONN_OPEN && !c->exchange && c->in.len) {
		enum http_parse_state before = http_parse_state(c->parse);
		size_t used = http_parse_feed(c->parse, c->in.data, c->in.len);
		const char *text;
		int status;

		buf_consume(&c->in, used);
		if (http_parse_state(c->parse) != HTTP_PARSE_START && !c->request_start)
			c->request_start = uv_now(c->server->loop);
		if (http_parse_state(c->parse) == HTTP_PARSE_ERROR) {
			status = http_parse_error(c->parse, &text);
			http_exchange_error(c, status, text);
			break;
		}
		if (http_parse_state(c->parse) == HTTP_PARSE_DONE)
			http_exchange_begin(c);
		else
			continue_send(c, before);
	}
	c->parsing = false;
}

static void conn_input(struct conn *c, const char *data, size_t len)
{
	if (c->state != CONN_OPEN)
		return;
	if (buf_add(&c->in, data, len)) {
		conn_abort(c);
		return;
	}
	conn_parse(c);
	read_flow(c);
}

static void tls_input(struct conn *c)
{
	char data[16 << 10];
	int n;

	ERR_clear_error();
	if (c->state == CONN_HANDSHAKE) {
		n = SSL_do_handshake(c->ssl);
		tls_flush(c);
		if (n != 1) {
			if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
				conn_end(c); /* the alert is sent first */
			return;
		}
		if (c->state != CONN_HANDSHAKE)
			return;
		c->state = CONN_OPEN;
		c->request_start = 0;
		c->idle_start = uv_now(c->server->loop);
		c->client = http_server_tls_client(c->ssl);
	}
	while (c->state == CONN_OPEN && (n = SSL_read(c->ssl, data, sizeof(data))) > 0)
		conn_input(c, data, (size_t)n);
	OPENSSL_cleanse(data, sizeof(data));
	if (c->state != CONN_OPEN)
		return;
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		tls_flush(c);
		break;
	default: /* close_notify or a broken record */
		conn_abort(c);
	}
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = stream->data;

	if (n == 0 || c->state == CONN_CLOSED)
		return;
	if (n < 0) {
		c->eof = true;
		if (c->state != CONN_LINGER || c->linger_start)
			conn_abort(c);
		else
			uv_read_stop(stream); /* what is queued is still sent */
		return;
	}
	if (c->state == CONN_LINGER)
		return;
	if (c->ssl) {
		BIO_write(c->from_peer, buf->base, (int)n);
		tls_input(c);
	} else {
		conn_input(c, buf->base, (size_t)n);
	}
}

static void peer_name(struct conn *c)
{
	struct sockaddr_storage a;
	int len = sizeof(a);

	if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&a, &len))
		return;
	if (a.ss_family == AF_INET)
		uv_ip4_name((struct sockaddr_in *)&a, c->peer, sizeof(c->peer));
	else
		uv_ip6_name((struct sockaddr_in6 *)&a, c->peer, sizeof(c->peer));
}

/* Since when nothing has been asked of it, or 0: it is in use. A handshake that is still young is. */
static uint64_t unused_since(const struct conn *c, uint64_t now)
{
	if (c->state == CONN_HANDSHAKE)
		return now - c->request_start >= HANDSHAKE_MS ? c->request_start : 0;
	return c->state == CONN_OPEN && !c->exchange && !c->request_start && !conn_backlog(c) ?
		       c->idle_start :
		       0;
}

/* Idle ones before those whose handshake does not end. The list begins with the newest. */
static struct conn *longest_unused(const struct http_server *s)
{
	uint64_t now = uv_now(s->loop), since;
	struct conn *c, *best = NULL;

	LIST_FOREACH(c, &s->conns, link) {
		since = unused_since(c, now);
		if (since && (!best || c->state > best->state ||
			      (c->state == best->state && since <= unused_since(best, now))))
			best = c;
	}
	return best;
}

/* Whoever holds a connection that is not used must not keep others off. */
static bool make_room(const struct http_server *s)
{
	struct conn *c = longest_unused(s);

	if (!c)
		return false;
	if (c->ssl && c->state == CONN_OPEN) {
		SSL_shutdown(c->ssl);
		tls_flush(c);
	}
	conn_abort(c);
	return true;
}

void conn_accept(struct http_server *s)
{
	bool room = s->n_conns < s->limits.max_connections || make_room(s);
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->server = s;
	uv_tcp_init(s->loop, &c->tcp);
	c->tcp.data = c;
	s->handles++;
	s->n_conns++;
	LIST_INSERT_HEAD(&s->conns, c, link);
	c->parse = http_parse_new(s->limits.max_header, s->limits.max_body);
	buf_init_secret(&c->in, AHEAD_MAX + 2 * sizeof(s->rbuf) + (64u << 10));
	c->state = CONN_OPEN;
	c->idle_start = c->progress_at = uv_now(s->loop);
	if (uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&c->tcp) || !room) {
		conn_abort(c);
		return;
	}
	uv_tcp_nodelay(&c->tcp, 1);
	peer_name(c);
	if (s->tls) {
		c->state = CONN_HANDSHAKE;
		c->request_start = uv_now(s->loop);
		c->ssl = http_server_tls_start(s->tls, &c->from_peer, &c->to_peer);
	}
	uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

void conn_sweep(struct conn *c, uint64_t now)
{
	const struct http_server_limits *l = &c->server->limits;
	uint64_t sent = c->queued - conn_backlog(c);

	if (c->state == CONN_CLOSED)
		return;
	if (sent != c->sent || !conn_backlog(c)) {
		c->sent = sent;
		c->progress_at = now;
	} else if (now - c->progress_at > l->write_stall_ms) {
		conn_abort(c);
		return;
	}
	if (c->state == CONN_LINGER) {
		if (c->linger_start && now - c->linger_start > LINGER_MS)
			conn_abort(c);
	} else if (c->exchange) {
		return;
	} else if (c->state == CONN_HANDSHAKE) {
		if (now - c->request_start > l->request_ms)
			conn_abort(c);
	} else if (c->request_start) {
		if (now - c->request_start > l->request_ms)
			http_exchange_error(c, 408, "the request did not come in time");
	} else if (now - c->idle_start > l->idle_ms) {
		conn_end(c);
	}
}
