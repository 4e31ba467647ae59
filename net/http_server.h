/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_SERVER_H
#define NET_HTTP_SERVER_H

/*
 * HTTP/1.1 server in a libuv loop, TLS by OpenSSL, parsing by llhttp or http_parser. Limits on
 * sizes, time and connections; slow clients are cut. One thread; handlers run in the loop and may
 * answer later (long poll, watch).
 */

#include "core/error.h"
#include "core/json.h"
#include "core/secret.h"
#include "net/pki.h"

#include <stdint.h>
#include <uv.h>

struct http_server;
struct http_exchange; /* one request and its answer; ends when answered, or the client has gone */

struct http_server_tls {
	const char *cert_pem;         /* chain */
	struct secret *key_pem;
	const char *client_ca_pem;    /* NULL: client certificates are not asked for */
	bool client_required;         /* no certificate: the handshake ends */
	bool client_expired_told;     /* one that has expired is shown to the handler (client->expired), which says so; else the handshake ends */
};

struct http_server_limits {
	uint32_t max_connections;     /* beyond: the longest idle one is closed, else the new one; 0: 1024 */
	uint32_t max_header;          /* bytes; 0: 32 KiB */
	uint64_t max_body;            /* bytes; 0: 4 MiB */
	uint32_t request_ms;          /* from the first byte to the whole request; 0: 15 s */
	uint32_t idle_ms;             /* between requests; 0: 60 s */
	uint32_t write_stall_ms;      /* a client that takes nothing; 0: 30 s */
};

struct http_server_request {
	const char *method;
	const char *path;             /* decoded, no query, no "..", begins with "/" */
	const char *raw_target;
	const char *body;             /* zero-terminated */
	size_t body_len;
	const char *peer_address;
	const struct pki_subject *client; /* of the verified certificate that it showed, or NULL */
};

typedef void (*http_handler)(void *arg, struct http_exchange *x, const struct http_server_request *req);

/* address "127.0.0.1" or "::1" or "0.0.0.0"; port 0: a free one, see http_server_port. tls NULL: plain HTTP (loopback simulators only). */
int http_server_new(uv_loop_t *loop, const char *address, uint16_t port, const struct http_server_tls *tls,
		    const struct http_server_limits *limits, http_handler handler, void *arg,
		    struct http_server **out, struct pcg_error *err);
uint16_t http_server_port(const struct http_server *s);
/* New certificates for connections from now on. */
int http_server_set_tls(struct http_server *s, const struct http_server_tls *tls, struct pcg_error *err);
void http_server_close(struct http_server *s, void (*closed)(void *arg), void *arg);

/* In the handler or later, same thread. req stays valid until the exchange is answered. */
const char *http_exchange_header(struct http_exchange *x, const char *lower_name);
const char *http_exchange_query(struct http_exchange *x, const char *name); /* decoded; NULL when absent */
const json_t *http_exchange_queries(struct http_exchange *x); /* all of them, name -> value; NULL: none */
void http_exchange_set_header(struct http_exchange *x, const char *name, const char *value);
void http_exchange_reply(struct http_exchange *x, int status, const char *content_type, const void *body, size_t len);
void http_exchange_reply_json(struct http_exchange *x, int status, const json_t *body); /* NULL body: empty */
/* Chunked stream: begin, any number of writes, end. */
void http_exchange_stream_begin(struct http_exchange *x, int status, const char *content_type);
int http_exchange_stream_write(struct http_exchange *x, const void *data, size_t len); /* -1: client has gone or is too slow */
void http_exchange_stream_end(struct http_exchange *x);
/* Told once when the client goes before the answer was complete; x is not valid after. */
void http_exchange_on_gone(struct http_exchange *x, void (*gone)(void *arg, struct http_exchange *x), void *arg);

#endif
