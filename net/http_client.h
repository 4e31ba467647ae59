/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_CLIENT_H
#define NET_HTTP_CLIENT_H

/*
 * HTTP client: one libcurl multi handle in a libuv loop. Everything is asynchronous, in the
 * loop's thread; callbacks run from the loop, never from inside http_submit. Limits on all that
 * comes back. Certificates are always verified, by the CA that the request names or by
 * thumbprint, unless the request says insecure by name.
 */

#include "core/error.h"
#include "core/secret.h"
#include "net/proxy.h"

#include <stdint.h>
#include <uv.h>

struct http_client;
struct http_call;

/* How the peer proves who it is. All strings may be NULL; copied on submit. One object for a class of
 * connections, counted references, immutable once used. */
struct http_tls {
	const char *ca_pem;        /* these CAs and no others; NULL and no thumbprint: the system's */
	const char *thumbprint;    /* SHA-1 or SHA-256 of the leaf certificate, hex with or without colons: compared inside
				      the handshake, before a byte of HTTP is sent; replaces the CA check and the host name */
	bool insecure;             /* an account said so by name */
	const char *client_cert_pem;
	struct secret *client_key_pem;
	const char *server_name;   /* name to verify instead of the URL's host (an endpoint reached by address) */
};

struct http_tls_ctx; /* prepared form */
int http_tls_new(const struct http_tls *spec, struct http_tls_ctx **out, struct pcg_error *err);
/* After the last call with a context, and its unref: idle connections that only it could use are closed at once, not
 * after their time. */
void http_client_sweep_soon(struct http_client *c);
struct http_tls_ctx *http_tls_ref(struct http_tls_ctx *t);
void http_tls_unref(struct http_tls_ctx *t);
/* When the client certificate ends; 0: there is none. */
int64_t http_tls_not_after_ms(const struct http_tls_ctx *t);
/* Thumbprints, lower-case hex, of the certificate that a server of this class showed last, accepted or not; ""
 * before the first. Loop thread; valid until the next connection. */
const char *http_tls_peer_sha1(const struct http_tls_ctx *t);
const char *http_tls_peer_sha256(const struct http_tls_ctx *t);

struct http_header {
	const char *name;
	const char *value;
};

struct http_request {
	const char *method;
	const char *url;
	const struct http_header *headers; /* copied */
	size_t n_headers;
	const void *body;                  /* copied */
	size_t body_len;
	struct http_tls_ctx *tls;          /* ref taken; NULL: system CAs */
	const struct proxy_set *proxy;     /* NULL: direct. The decision is made for this URL at submit */
	uint32_t connect_timeout_ms;       /* 0: 10 s */
	uint32_t timeout_ms;               /* 0: 60 s; whole call */
	uint64_t max_response;             /* 0: 8 MiB */
	bool repeatable;                   /* carried out twice it does what it does once: when a kept connection ends before an
					      answer came, it is sent again on another one. GET, HEAD, PUT and DELETE always are */
	bool own_connection;               /* long waits: a connection of its own, not counted in the host limit */
	uint32_t host_connections;         /* 0: the client's max_host; else this host gets no more for such calls */
	/* When set, body bytes go here as they come (watch, long poll) and the response has none. Return nonzero to end. */
	int (*on_data)(void *arg, const char *data, size_t len);
	/* May be NULL: the whole request is with the system, and no answer was read. From inside libcurl: no call of this
	 * header is allowed in it. Costs a trace of the connection. */
	void (*on_sent)(void *arg);
};

struct http_response {
	long status;               /* 0: no HTTP answer, err says why */
	struct pcg_error err;      /* set when status == 0: class RETRY (connection, timeout: it may have been carried out), PERMANENT (TLS verify, URL), CANCELLED,
				      with issuer seen for verify failures, the proxy named for proxy failures (407 credentials, 403 policy) */
	const char *body;          /* zero-terminated; valid during the callback */
	size_t body_len;
	const struct http_header *headers; /* lower-case names */
	size_t n_headers;
	/* Of an https call, also of one whose request names no class: as http_tls_peer_sha1; else "". */
	const char *peer_sha1, *peer_sha256;
};

typedef void (*http_done_cb)(void *arg, const struct http_response *resp);

struct http_client_limits {
	uint32_t max_total;     /* connections in all; 0: 256 */
	uint32_t max_host;      /* connections to one host; 0: 64 */
	uint32_t idle_close_ms; /* unused connections are closed after; 0: 60 s */
};

struct http_client *http_client_new(uv_loop_t *loop, const struct http_client_limits *limits);
uv_loop_t *http_client_loop(const struct http_client *c);
/* Ends every call with CANCELLED (callbacks run inside), closes connections. closed is called from the loop later; may be NULL. */
void http_client_close(struct http_client *c, void (*closed)(void *arg), void *arg);
/* Always calls done once, from the loop, unless cancelled. NULL, and no callback, once http_client_close was called.
 * When on_data ended the call, done gets the status as it came. */
struct http_call *http_submit(struct http_client *c, const struct http_request *req, http_done_cb done, void *arg);
/* No callback any more; the call ends at once, its connection is closed. NULL is fine, and so is the call inside its own callback. */
void http_cancel(struct http_call *call);
const char *http_response_header(const struct http_response *r, const char *lower_name);
/* Turns a status >= 400 (or 0) into an error: 401/403 auth, 404 not_found, 409 conflict, 429/5xx retry, else permanent. what = "GET https://..." */
int http_response_error(const struct http_response *r, const char *what, struct pcg_error *err);
/* libcurl, OpenSSL once, before any thread. */
void http_global_init(void);

#endif
