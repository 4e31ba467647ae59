/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_client_impl.h"

#include "core/log.h"
#include "core/memory.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define ORPHAN_MS 1000
#define GIVE_BACK_MS 1000 /* after a connection has ended */

void http_global_init(void)
{
	const curl_version_info_data *v;

	curl_global_sslset(CURLSSLBACKEND_OPENSSL, NULL, NULL);
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		abort();
	v = curl_version_info(CURLVERSION_NOW);
	if (!v->ssl_version || strncmp(v->ssl_version, "OpenSSL/", 8)) {
		log_error("libcurl_unusable", LS("tls", v->ssl_version),
			  LS("remedy", "install the libcurl that uses OpenSSL"));
		exit(1);
	}
	/* OpenSSL writes to sockets without MSG_NOSIGNAL. */
	signal(SIGPIPE, SIG_IGN);
}

static void on_kick(uv_timer_t *timer)
{
	http_client_settle(timer->data);
}

void http_client_kick(struct http_client *c)
{
	c->pump_all = true;
	if (!c->closing && !uv_is_active((uv_handle_t *)&c->kick))
		uv_timer_start(&c->kick, on_kick, 0, 0);
}

static bool host_may_start(struct http_client *c, const struct http_host *h,
			   const struct http_call *call)
{
	if (call->own_connection)
		return true;
	if (h->active >= call->host_connections)
		return false;
	c->full |= c->active >= c->limits.max_total;
	return c->active < c->limits.max_total;
}

static void host_pump(struct http_client *c, struct http_host *h)
{
	struct http_call *call, *next;

	for (call = TAILQ_FIRST(&h->queue); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (!host_may_start(c, h, call))
			return;
		TAILQ_REMOVE(&h->queue, call, link);
		http_call_start(call);
	}
}

/* When the earliest queued call runs out of time, the sweep ends it. */
static uint64_t queue_expire(struct http_client *c, uint64_t now)
{
	struct http_host *h;
	struct http_call *call, *next;
	uint64_t first = UINT64_MAX;

	LIST_FOREACH(h, &c->hosts, link) {
		for (call = TAILQ_FIRST(&h->queue); call; call = next) {
			next = TAILQ_NEXT(call, link);
			if (call->deadline <= now) {
				TAILQ_REMOVE(&h->queue, call, link);
				call->timed_out = true;
				call->state = HTTP_CALL_FAILED;
				TAILQ_INSERT_TAIL(&c->failed, call, link);
			} else if (call->deadline < first) {
				first = call->deadline;
			}
		}
	}
	return first;
}

static uint64_t pools_expire(struct http_client *c, uint64_t now, bool *ended)
{
	struct http_pool *p, *next;
	uint64_t first = UINT64_MAX;

	for (p = LIST_FIRST(&c->pools); p; p = next) {
		uint64_t end = p->idle_since + c->limits.idle_close_ms;

		next = LIST_NEXT(p, link);
		/* Nobody else has its context: no call can come for it any more, but one that is queued. */
		if (http_tls_unshared(p->tls) && end > now)
			end = p->idle_since < now ? now : now + ORPHAN_MS;
		if (p->active)
			continue;
		if (end <= now) {
			http_pool_destroy(p);
			*ended = true;
		} else if (end < first) {
			first = end;
		}
	}
	return first;
}

/* A pool that queued calls point to must stay. */
static void pools_hold(struct http_client *c, uint64_t now)
{
	struct http_host *h;
	struct http_call *call;

	LIST_FOREACH(h, &c->hosts, link)
		TAILQ_FOREACH(call, &h->queue, link)
			call->pool->idle_since = now;
}

/* A connection with TLS holds 100 KiB. Not for each that ends in a burst: it is a walk over the heap,
 * and what is given back is wanted again at once. */
static uint64_t give_back_due(struct http_client *c, uint64_t now, uint64_t first)
{
	if (!c->give_back_at)
		return first;
	if (c->give_back_at > now)
		return c->give_back_at < first ? c->give_back_at : first;
	c->give_back_at = 0;
	memory_give_back();
	return first;
}

static void on_sweep(uv_timer_t *timer)
{
	struct http_client *c = timer->data;
	uint64_t now = uv_now(c->loop), queue, pools, first;
	bool ended = false;

	queue = queue_expire(c, now);
	pools_hold(c, now);
	pools = pools_expire(c, now, &ended);
	if (ended && !c->give_back_at)
		c->give_back_at = now + GIVE_BACK_MS;
	first = queue < pools ? queue : pools;
	first = give_back_due(c, now, first);
	if (first != UINT64_MAX)
		uv_timer_start(&c->sweep, on_sweep, first - now, 0);
	if (!TAILQ_EMPTY(&c->failed))
		http_client_kick(c);
}

static void sweep_within(struct http_client *c, uint64_t ms)
{
	if (c->closing)
		return;
	if (!uv_is_active((uv_handle_t *)&c->sweep) || uv_timer_get_due_in(&c->sweep) > ms)
		uv_timer_start(&c->sweep, on_sweep, ms, 0);
}

void http_client_sweep_later(struct http_client *c)
{
	sweep_within(c, c->limits.idle_close_ms);
}

void http_client_sweep_soon(struct http_client *c)
{
	sweep_within(c, 0);
}

void http_client_pump(struct http_client *c)
{
	struct http_host *h;

	if (c->closing)
		return;
	c->full = c->pump_all = false;
	LIST_FOREACH(h, &c->hosts, link)
		host_pump(c, h);
}

void http_client_pump_host(struct http_client *c, struct http_host *h)
{
	if (c->full)
		http_client_pump(c);
	else if (!c->closing)
		host_pump(c, h);
}

static void close_now(struct http_client *c)
{
	struct http_call *call;
	struct http_pool *p;

	while ((call = LIST_FIRST(&c->calls))) {
		if (call->state == HTTP_CALL_QUEUED)
			TAILQ_REMOVE(&call->host->queue, call, link);
		else if (call->state == HTTP_CALL_FAILED)
			TAILQ_REMOVE(&c->failed, call, link);
		http_call_fail(call);
	}
	while ((p = LIST_FIRST(&c->pools)))
		http_pool_destroy(p);
	http_tls_unref(c->system_tls);
	http_tls_unref(c->no_tls);
	c->system_tls = c->no_tls = NULL;
	http_client_handle_gone(c); /* the count that http_client_new holds */
}

void http_client_settle(struct http_client *c)
{
	struct http_call *call, *next;

	if (c->in_curl || c->in_done)
		return;
	if (c->closing) {
		close_now(c);
		return;
	}
	for (call = c->cancelled ? LIST_FIRST(&c->calls) : NULL; call; call = next) {
		next = LIST_NEXT(call, all);
		if (call->cancelled)
			http_call_fail(call);
	}
	if (c->pump_all || c->full)
		http_client_pump(c);
	c->in_done++;
	while ((call = TAILQ_FIRST(&c->failed))) {
		TAILQ_REMOVE(&c->failed, call, link);
		http_call_fail(call);
		if (c->closing)
			break;
	}
	c->in_done--;
	if (c->closing)
		close_now(c);
}

static void on_timer_closed(uv_handle_t *handle)
{
	http_client_handle_gone(handle->data);
}

void http_client_handle_gone(struct http_client *c)
{
	void (*closed)(void *arg) = c->closed;
	void *arg = c->closed_arg;

	if (--c->handles)
		return;
	assert(c->closing && LIST_EMPTY(&c->calls) && LIST_EMPTY(&c->pools));
	c->magic = 0;
	free(c);
	if (closed)
		closed(arg);
}

struct http_client *http_client_new(uv_loop_t *loop, const struct http_client_limits *limits)
{
	struct http_client *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->magic = HTTP_CLIENT_MAGIC;
	c->loop = loop;
	if (limits)
		c->limits = *limits;
	if (!c->limits.max_total)
		c->limits.max_total = 256;
	if (!c->limits.max_host)
		c->limits.max_host = 64;
	if (!c->limits.idle_close_ms)
		c->limits.idle_close_ms = 60000;
	TAILQ_INIT(&c->failed);
	uv_timer_init(loop, &c->kick);
	uv_timer_init(loop, &c->sweep);
	uv_unref((uv_handle_t *)&c->sweep);
	c->kick.data = c->sweep.data = c;
	c->handles = 3;
	return c;
}

uv_loop_t *http_client_loop(const struct http_client *c)
{
	return c->loop;
}

void http_client_close(struct http_client *c, void (*closed)(void *arg), void *arg)
{
	assert(c->magic == HTTP_CLIENT_MAGIC && !c->closing);
	c->closing = true;
	c->closed = closed;
	c->closed_arg = arg;
	uv_close((uv_handle_t *)&c->kick, on_timer_closed);
	uv_close((uv_handle_t *)&c->sweep, on_timer_closed);
	http_client_settle(c);
}

struct http_call *http_submit(struct http_client *c, const struct http_request *req,
			      http_done_cb done, void *arg)
{
	struct http_call *call;

	assert(c->magic == HTTP_CLIENT_MAGIC);
	if (c->closing)
		return NULL;
	call = http_call_new(c, req, done, arg);
	if (call->err) {
		call->state = HTTP_CALL_FAILED;
		TAILQ_INSERT_TAIL(&c->failed, call, link);
		http_client_kick(c);
		return call;
	}
	call->state = HTTP_CALL_QUEUED;
	if (call->own_connection)
		TAILQ_INSERT_HEAD(&call->host->queue, call, link);
	else
		TAILQ_INSERT_TAIL(&call->host->queue, call, link);
	if (c->in_curl)
		http_client_kick(c);
	else
		host_pump(c, call->host);
	if (call->state == HTTP_CALL_QUEUED)
		sweep_within(c, call->deadline - uv_now(c->loop));
	return call;
}

void http_cancel(struct http_call *call)
{
	struct http_client *c;

	if (!call || call->cancelled || !call->done) /* without: inside its own callback */
		return;
	assert(call->magic == HTTP_CALL_MAGIC);
	c = call->client;
	if (call->state == HTTP_CALL_RUNNING) {
		call->cancelled = true;
		c->cancelled++;
		if (c->in_curl || c->closing) {
			http_client_kick(c);
			return;
		}
		http_call_fail(call);
		http_client_pump(c);
		return;
	}
	if (call->state == HTTP_CALL_QUEUED)
		TAILQ_REMOVE(&call->host->queue, call, link);
	else
		TAILQ_REMOVE(&c->failed, call, link);
	http_call_free(call);
}

const char *http_response_header(const struct http_response *r, const char *lower_name)
{
	for (size_t i = 0; i < r->n_headers; i++)
		if (!strcmp(r->headers[i].name, lower_name))
			return r->headers[i].value;
	return NULL;
}

int http_response_error(const struct http_response *r, const char *what, struct pcg_error *err)
{
	enum pcg_class class = PCG_CLASS_PERMANENT;

	if (r->status == 0) {
		*err = r->err;
		return pcg_error_code(err);
	}
	if (r->status < 400)
		return 0;
	if (r->status == 401 || r->status == 403)
		class = PCG_CLASS_AUTH;
	else if (r->status == 404)
		class = PCG_CLASS_NOT_FOUND;
	else if (r->status == 409)
		class = PCG_CLASS_CONFLICT;
	else if (r->status == 429 || r->status >= 500)
		class = PCG_CLASS_RETRY;
	return pcg_fail(err, class,
			class == PCG_CLASS_AUTH ? "check the credentials and their permissions" : "",
			"%s: answered %ld", what, r->status);
}
