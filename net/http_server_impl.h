/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_SERVER_IMPL_H
#define NET_HTTP_SERVER_IMPL_H

/*
 * What the files of the HTTP server share. A connection reads one request at a time: while its
 * exchange is open, further bytes wait in conn->in (a little), and the end of the stream is still
 * seen. An exchange outlives its connection when nobody asked to be told that the client went.
 */

#include "core/buf.h"
#include "net/http_parse.h"
#include "net/http_server.h"

#include <openssl/ssl.h>
#include <sys/queue.h>

#define HTTP_EXCHANGE_MAGIC 0x68657863
#define HTTP_SERVER_MAGIC 0x68737276

enum conn_state {
	CONN_HANDSHAKE,
	CONN_OPEN,
	CONN_LINGER, /* all is sent; what still comes is dropped, so that the answer is not lost to a reset */
	CONN_CLOSED,
};

struct conn {
	struct http_server *server;
	uv_tcp_t tcp;
	uv_shutdown_t shutdown;
	enum conn_state state;
	SSL *ssl;
	BIO *from_peer, *to_peer;
	struct http_parse *parse;
	struct http_exchange *exchange;
	struct buf in;
	bool parsing, read_stopped, eof;
	uint64_t request_start; /* 0: no byte of a request yet */
	uint64_t idle_start;
	uint64_t linger_start;
	uint64_t queued, sent, progress_at;
	char peer[64];
	struct pki_subject *client;
	LIST_ENTRY(conn) link;
};

struct http_exchange {
	unsigned magic;
	struct conn *conn; /* NULL: has gone */
	struct http_server_request req;
	struct http_parsed parsed; /* owns its buffers */
	char *path;
	json_t *query; /* name -> decoded value, first wins */
	struct buf extra; /* header lines */
	bool streaming, chunked, head, keep_alive;
	void (*gone)(void *arg, struct http_exchange *x);
	void *gone_arg;
};

struct http_server {
	unsigned magic;
	uv_loop_t *loop;
	uv_tcp_t listener;
	uv_timer_t sweep;
	struct http_server_limits limits;
	SSL_CTX *tls; /* NULL: plain */
	http_handler handler;
	void *arg;
	uint16_t port;
	unsigned n_conns; /* not closed */
	unsigned handles;
	bool closing;
	LIST_HEAD(, conn) conns;
	void (*closed)(void *arg);
	void *closed_arg;
	char rbuf[64 << 10];
};

/* http_server_tls.c */
int http_server_tls_new(const struct http_server_tls *spec, SSL_CTX **out, struct pcg_error *err);
SSL *http_server_tls_start(SSL_CTX *ctx, BIO **from_peer, BIO **to_peer);
struct pki_subject *http_server_tls_client(SSL *ssl); /* NULL: none */

/* http_server_conn.c */
void conn_accept(struct http_server *s);
void conn_abort(struct conn *c);
void conn_sweep(struct conn *c, uint64_t now);
void conn_write(struct conn *c, const void *data, size_t len);
size_t conn_backlog(const struct conn *c);
/* The exchange is answered: go on with the next request or end. */
void conn_exchange_done(struct conn *c, bool keep_alive);

/* http_exchange.c */
/* Takes what conn->parse has read and calls the handler, or answers what cannot be handled. */
void http_exchange_begin(struct conn *c);
void http_exchange_gone(struct http_exchange *x);
void http_exchange_error(struct conn *c, int status, const char *text);

/* http_server.c */
void http_server_handle_gone(struct http_server *s);

#endif
