/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_CLIENT_IMPL_H
#define NET_HTTP_CLIENT_IMPL_H

/*
 * What the files of the HTTP client share.
 *
 * client -> hosts (limits, queues) and pools. A pool is a multi handle of its own for one way to
 * connect (TLS context, proxy, the proxy's CA): libcurl cannot compare what an SSL_CTX callback
 * sets, so connections verified in different ways must not meet in one connection cache. A pool
 * keeps its easy handles (slots) for reuse. A call waits in its host's queue, then holds a slot.
 *
 * libcurl refuses to add or remove handles inside its own callbacks: while client->in_curl is set
 * such work is left to the kick timer. While client->in_done is set pools are not destroyed.
 */

#include "core/buf.h"
#include "net/http_client.h"

#include <curl/curl.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define HTTP_CALL_MAGIC 0x68636c6c
#define HTTP_CLIENT_MAGIC 0x68636c69
#define HTTP_TLS_MAGIC 0x68746c73
#define HTTP_HEADERS_MAX (64u << 10)

struct http_tls_ctx {
	unsigned magic;
	atomic_int refs;
	char *ca_pem;
	X509_STORE *store; /* NULL with a thumbprint or insecure */
	unsigned char thumb[32];
	unsigned thumb_len; /* 0: none, 20 or 32 */
	bool insecure;
	X509 *cert;
	STACK_OF(X509) *chain;
	EVP_PKEY *key;
	char *server_name;
	/* Of the last server that showed one, accepted or not; loop thread. */
	char peer_sha1[41], peer_sha256[65];
};

struct http_slot {
	struct http_pool *pool;
	CURL *easy;
	struct http_call *call;
	char *host; /* the name to verify; of the last call */
	bool verify_failed, verify_time; /* not accepted; because of the time */
	char verify_text[512];
	char errbuf[CURL_ERROR_SIZE];
	LIST_ENTRY(http_slot) link;
};

struct http_pool {
	struct http_client *client;
	struct http_tls_ctx *tls;
	X509_STORE *store; /* tls->store, or a copy that also trusts the proxy's CA */
	struct secret *proxy; /* NULL: direct */
	char *proxy_shown;
	char *proxy_ca;
	CURLM *multi;
	uv_timer_t timer;
	unsigned active;
	uint64_t idle_since;
	LIST_HEAD(, http_slot) free_slots;
	LIST_HEAD(, http_sock) socks; /* that libcurl has open */
	LIST_ENTRY(http_pool) link;
};

enum http_call_state { HTTP_CALL_QUEUED, HTTP_CALL_RUNNING, HTTP_CALL_FAILED };

struct http_call {
	unsigned magic;
	enum http_call_state state;
	struct http_client *client;
	struct http_pool *pool;
	struct http_host *host;
	struct http_slot *slot;
	http_done_cb done;
	void *arg;

	char *method;
	char *url;  /* what libcurl gets: with server_name as host */
	char *shown;
	char *verify_host;
	struct curl_slist *headers, *connect_to;
	struct buf body;
	uint32_t connect_timeout_ms;
	uint64_t deadline; /* uv_now */
	uint64_t max_response;
	bool own_connection;
	bool repeatable;
	bool sent_once; /* libcurl may have written it to a connection */
	bool not_again; /* and wanted to write it to another one */
	uint32_t host_connections;
	int (*on_data)(void *arg, const char *data, size_t len);
	void (*on_sent)(void *arg);
	bool headers_sent;
	size_t body_sent;

	bool cancelled; /* inside a callback of libcurl: removed by the kick */
	bool ended;     /* on_data has had enough */
	bool too_large;
	bool timed_out; /* in the queue */
	struct pcg_error *err; /* of a call that could not start */
	struct buf in, in_headers; /* headers: name 0 value 0 ... */
	size_t n_headers;
	TAILQ_ENTRY(http_call) link;
	LIST_ENTRY(http_call) all;
};
TAILQ_HEAD(http_call_list, http_call);

struct http_host {
	char *key; /* host:port */
	unsigned active;
	unsigned refs; /* calls that point here */
	struct http_call_list queue;
	LIST_ENTRY(http_host) link;
};

struct http_client {
	unsigned magic;
	uv_loop_t *loop;
	struct http_client_limits limits;
	struct http_tls_ctx *system_tls; /* made when a call first needs it */
	struct http_tls_ctx *no_tls;     /* of calls that have none */
	LIST_HEAD(, http_pool) pools;
	LIST_HEAD(, http_host) hosts;
	LIST_HEAD(, http_call) calls;
	struct http_call_list failed;
	unsigned active;
	unsigned in_curl, in_done;
	bool full;    /* a call had to wait for the client's total, not for its host */
	bool pump_all; /* calls came or ended where nothing could be started */
	unsigned cancelled; /* calls that the kick must remove */
	uint64_t give_back_at; /* 0: nothing is to be given back */
	unsigned handles;
	bool closing;
	uv_timer_t kick, sweep;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* http_tls.c */
X509_STORE *http_tls_store_with(const struct http_tls_ctx *t, const char *more_pem,
				struct pcg_error *err);
bool http_tls_unshared(const struct http_tls_ctx *t); /* one reference is left */
CURLcode http_tls_setup(CURL *easy, void *ssl_ctx, void *slot);

/* http_pool.c */
int http_pool_get(struct http_client *c, struct http_tls_ctx *tls, const struct proxy_set *proxy,
		  const char *url, struct http_pool **out, struct pcg_error *err);
void http_pool_destroy(struct http_pool *p);
struct http_slot *http_pool_slot(struct http_pool *p);
/* Takes the easy handle out of the multi; with close the connection ends too. */
void http_pool_release(struct http_slot *s, bool close);

/* http_call.c */
struct http_call *http_call_new(struct http_client *c, const struct http_request *req,
				http_done_cb done, void *arg);
void http_call_start(struct http_call *call);
void http_call_finish(struct http_call *call, CURLcode code);
void http_call_fail(struct http_call *call);
void http_call_free(struct http_call *call);

/* http_client.c */
void http_client_kick(struct http_client *c);
void http_client_pump(struct http_client *c);
/* After a connection to this host became free. */
void http_client_pump_host(struct http_client *c, struct http_host *h);
void http_client_handle_gone(struct http_client *c);
void http_client_sweep_later(struct http_client *c);
/* After callbacks of the user: does what they could not do inside. */
void http_client_settle(struct http_client *c);

#endif
