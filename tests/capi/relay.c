/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/relay.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

struct relay {
	uv_loop_t *loop;
	uv_tcp_t listener;
	uint16_t to_port, port;
	struct pair *pairs;
	int refuse; /* so many of the next connections */
};

struct side {
	uv_tcp_t tcp;
	struct pair *pair;
	struct side *other;
};

struct pair {
	struct relay *relay;
	struct side client, server;
	uv_connect_t connect;
	struct pair *prev, *next;
	int open;
	bool ending;
};

static void on_side_closed(uv_handle_t *h)
{
	struct pair *p = ((struct side *)h->data)->pair;

	if (--p->open == 0)
		free(p);
}

static void pair_end(struct pair *p)
{
	if (p->ending)
		return;
	p->ending = true;
	if (p->prev)
		p->prev->next = p->next;
	else
		p->relay->pairs = p->next;
	if (p->next)
		p->next->prev = p->prev;
	uv_close((uv_handle_t *)&p->client.tcp, on_side_closed);
	uv_close((uv_handle_t *)&p->server.tcp, on_side_closed);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
	(void)h;
	buf->base = malloc(size);
	buf->len = size;
}

static void on_written(uv_write_t *req, int status)
{
	(void)status;
	free(req->data);
	free(req);
}

static void on_data(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct side *s = stream->data;
	uv_buf_t out = uv_buf_init(buf->base, n > 0 ? (unsigned)n : 0);
	uv_write_t *req;

	if (n <= 0) {
		free(buf->base);
		if (n < 0)
			pair_end(s->pair);
		return;
	}
	req = calloc(1, sizeof(*req));
	assert(req);
	req->data = buf->base;
	uv_write(req, (uv_stream_t *)&s->other->tcp, &out, 1, on_written);
}

static void on_connected(uv_connect_t *c, int status)
{
	struct pair *p = c->data;

	if (p->ending)
		return;
	if (status) {
		pair_end(p);
		return;
	}
	uv_read_start((uv_stream_t *)&p->client.tcp, on_alloc, on_data);
	uv_read_start((uv_stream_t *)&p->server.tcp, on_alloc, on_data);
}

static void side_init(struct side *s, struct pair *p, struct side *other)
{
	uv_tcp_init(p->relay->loop, &s->tcp);
	s->tcp.data = s;
	s->pair = p;
	s->other = other;
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct relay *r = listener->data;
	struct pair *p = calloc(1, sizeof(*p));
	struct sockaddr_in to;

	assert(p && status == 0);
	p->relay = r;
	p->open = 2;
	side_init(&p->client, p, &p->server);
	side_init(&p->server, p, &p->client);
	p->next = r->pairs;
	if (p->next)
		p->next->prev = p;
	r->pairs = p;
	uv_accept(listener, (uv_stream_t *)&p->client.tcp);
	if (r->refuse > 0) {
		r->refuse--;
		pair_end(p);
		return;
	}
	uv_ip4_addr("127.0.0.1", r->to_port, &to);
	p->connect.data = p;
	uv_tcp_connect(&p->connect, &p->server.tcp, (struct sockaddr *)&to, on_connected);
}

struct relay *relay_new(uv_loop_t *loop, uint16_t to_port)
{
	struct relay *r = calloc(1, sizeof(*r));
	struct sockaddr_in at;
	int len = sizeof(at);

	assert(r);
	r->loop = loop;
	r->to_port = to_port;
	uv_tcp_init(loop, &r->listener);
	r->listener.data = r;
	uv_ip4_addr("127.0.0.1", 0, &at);
	uv_tcp_bind(&r->listener, (struct sockaddr *)&at, 0);
	assert(uv_listen((uv_stream_t *)&r->listener, 64, on_connection) == 0);
	uv_tcp_getsockname(&r->listener, (struct sockaddr *)&at, &len);
	r->port = ntohs(at.sin_port);
	return r;
}

uint16_t relay_port(const struct relay *r)
{
	return r->port;
}

void relay_cut(struct relay *r)
{
	for (; r->pairs; r->refuse++)
		pair_end(r->pairs);
}

void relay_heal(struct relay *r)
{
	r->refuse = 0;
}

static void on_listener_closed(uv_handle_t *h)
{
	free(h->data);
}

void relay_close(struct relay *r)
{
	relay_cut(r);
	uv_close((uv_handle_t *)&r->listener, on_listener_closed);
}
