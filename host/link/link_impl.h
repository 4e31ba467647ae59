/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LINK_IMPL_H
#define HOST_LINK_IMPL_H

#include "host/link/link.h"

#include "core/log.h"

#define LINK_MAGIC 0x4c494e4bu
#define LINK_WAIT_S 25
#define LINK_REPORTS_MAX 64

enum link_state { LINK_CONNECTING, LINK_CONNECTED, LINK_OFFLINE, LINK_REFUSED, LINK_UNPAIRED };

/* One request whose answer can be lost, tried again with back-off. */
struct link_lane {
	struct link *link;
	struct http_call *call;
	uv_timer_t timer;
	unsigned int failures;
	struct log_outage outage;
};

struct link_answer; /* a query's answer on its way */

/* Loop thread only. Freed when its last timer has closed. */
struct link {
	unsigned int magic;
	uv_loop_t *loop;
	struct http_client *http;
	struct link_hooks hooks;
	char *url, *ca_pem, *gateway_uid, *plane_id, *cert_pem;
	struct secret *key_pem;
	const struct proxy_set *proxy;
	struct http_tls_ctx *tls;
	int64_t cursor, reported;

	struct link_lane poll, post, renew;
	uint64_t asked_ms;     /* when the request that waits was sent, by the loop's clock; 0: it does not wait */
	unsigned int early;    /* requests in a row that ended with nothing before their time */
	unsigned int again;    /* batches in a row that led nowhere: resyncs, or with the cursor that was there */
	bool batch_pending;    /* given to the receiver, not durable yet */
	size_t post_max;       /* shrinks when a batch is refused as a whole */
	json_t *post_seqs;     /* of the batch under way */
	bool gathering;        /* post.timer is not of a back-off */
	bool post_urgent;      /* somebody waits for what came after the batch under way */
	struct link_answer *answers;

	char *next_cert;       /* given to the receiver, not durable yet */
	struct secret *next_key;
	struct secret *asked_key;

	enum link_state state;
	int64_t since_ms, contact_ms;
	struct pcg_error why;

	bool closing;
	unsigned int open;     /* timers that have not closed yet */
	void (*closed)(void *arg);
	void *closed_arg;
};

void link_set_state(struct link *l, enum link_state state, const struct pcg_error *why);
/* A request with this gateway's certificate. path begins with "/". body may be NULL. */
struct http_call *link_request(struct link *l, const char *method, const char *path, const void *body,
			       size_t len, uint32_t timeout_ms, bool own_connection, http_done_cb done,
			       void *arg);
/* The plane's own words where it has some. Returns err's code. */
int link_response_error(const struct http_response *resp, const char *what, struct pcg_error *err);
/* Starts the lane's timer: back-off by its failures (counted here), or at_least_ms when that is longer. */
void link_again(struct link_lane *lane, uint64_t at_least_ms, uv_timer_cb cb);

void link_poll_start(struct link *l);
void link_post_start(struct link *l);
void link_answers_end(struct link *l);
void link_renew_plan(struct link *l);

#endif
