/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_server_impl.h"

#include "core/log.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

static void on_sweep(uv_timer_t *timer)
{
	struct http_server *s = timer->data;
	uint64_t now = uv_now(s->loop);
	struct conn *c, *next;

	for (c = LIST_FIRST(&s->conns); c; c = next) {
		next = LIST_NEXT(c, link);
		conn_sweep(c, now);
	}
	if (!s->n_conns)
		uv_timer_stop(timer);
}

/* A quarter of the shortest limit, so that none is passed by much; no connection, no timer. */
static uint64_t sweep_ms(const struct http_server_limits *l)
{
	uint32_t ms = l->request_ms;

	if (l->idle_ms < ms)
		ms = l->idle_ms;
	if (l->write_stall_ms < ms)
		ms = l->write_stall_ms;
	ms /= 4;
	return ms < 10 ? 10 : ms > 1000 ? 1000 : ms;
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct http_server *s = listener->data;
	uint64_t ms = sweep_ms(&s->limits);

	if (status) {
		log_warn("http_accept_failed", LS("cause", uv_strerror(status)));
		return;
	}
	if (!uv_is_active((uv_handle_t *)&s->sweep))
		uv_timer_start(&s->sweep, on_sweep, ms, ms);
	conn_accept(s);
}

static void limits_fill(struct http_server_limits *l)
{
	if (!l->max_connections)
		l->max_connections = 1024;
	if (!l->max_header)
		l->max_header = 32u << 10;
	if (!l->max_body)
		l->max_body = 4u << 20;
	if (!l->request_ms)
		l->request_ms = 15000;
	if (!l->idle_ms)
		l->idle_ms = 60000;
	if (!l->write_stall_ms)
		l->write_stall_ms = 30000;
}

static void on_handle_closed(uv_handle_t *handle)
{
	http_server_handle_gone(handle->data);
}

void http_server_handle_gone(struct http_server *s)
{
	void (*closed)(void *arg) = s->closed;
	void *arg = s->closed_arg;

	if (--s->handles)
		return;
	SSL_CTX_free(s->tls);
	s->magic = 0;
	free(s);
	if (closed)
		closed(arg);
}

static void close_handles(struct http_server *s)
{
	s->closing = true;
	uv_close((uv_handle_t *)&s->listener, on_handle_closed);
	uv_close((uv_handle_t *)&s->sweep, on_handle_closed);
}

static int listen_on(struct http_server *s, const char *address, uint16_t port,
		     struct pcg_error *err)
{
	struct sockaddr_storage a;
	int len = sizeof(a), r;

	if (uv_ip4_addr(address, port, (struct sockaddr_in *)&a) &&
	    uv_ip6_addr(address, port, (struct sockaddr_in6 *)&a))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "give an IPv4 or IPv6 address of this machine",
				"listening on \"%s\": it is no IP address", address);
	r = uv_tcp_bind(&s->listener, (struct sockaddr *)&a, 0);
	if (!r)
		r = uv_listen((uv_stream_t *)&s->listener, 512, on_connection);
	if (!r)
		r = uv_tcp_getsockname(&s->listener, (struct sockaddr *)&a, &len);
	if (r)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"choose an address of this machine and a free port",
				"listening on %s port %u: %s", address, port, uv_strerror(r));
	s->port = ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port :
						 ((struct sockaddr_in6 *)&a)->sin6_port);
	return 0;
}

int http_server_new(uv_loop_t *loop, const char *address, uint16_t port,
		    const struct http_server_tls *tls, const struct http_server_limits *limits,
		    http_handler handler, void *arg, struct http_server **out, struct pcg_error *err)
{
	SSL_CTX *ctx = NULL;
	struct http_server *s;
	int r = 0;

	*out = NULL;
	if (tls)
		r = http_server_tls_new(tls, &ctx, err);
	if (r)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		abort();
	s->magic = HTTP_SERVER_MAGIC;
	s->loop = loop;
	s->tls = ctx;
	s->handler = handler;
	s->arg = arg;
	if (limits)
		s->limits = *limits;
	limits_fill(&s->limits);
	uv_tcp_init(loop, &s->listener);
	uv_timer_init(loop, &s->sweep);
	uv_unref((uv_handle_t *)&s->sweep);
	s->listener.data = s->sweep.data = s;
	s->handles = 2;
	r = listen_on(s, address, port, err);
	if (r) {
		close_handles(s);
		return r;
	}
	*out = s;
	return 0;
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

int http_server_set_tls(struct http_server *s, const struct http_server_tls *tls,
			struct pcg_error *err)
{
	SSL_CTX *ctx;
	int r = http_server_tls_new(tls, &ctx, err);

	if (r)
		return r;
	SSL_CTX_free(s->tls); /* connections hold their own reference */
	s->tls = ctx;
	return 0;
}

void http_server_close(struct http_server *s, void (*closed)(void *arg), void *arg)
{
	struct conn *c, *next;

	assert(s->magic == HTTP_SERVER_MAGIC && !s->closing);
	s->closed = closed;
	s->closed_arg = arg;
	close_handles(s);
	for (c = LIST_FIRST(&s->conns); c; c = next) {
		next = LIST_NEXT(c, link);
		conn_abort(c);
	}
}
