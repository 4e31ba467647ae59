/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_client_impl.h"

#include "core/secret.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEP_IDLE_S 20L
#define KEEP_INTERVAL_S 5L
#define USER_TIMEOUT_MS 30000u

/* A socket of a connection keeps its handle while it lives, idle or not: libcurl forgets it with each
 * transfer, and to make and start one anew is five calls of the kernel. */
struct http_sock {
	struct http_pool *pool;
	struct http_client *client;
	uv_poll_t poll;
	curl_socket_t fd;
	int events;   /* that are polled for */
	bool kept;    /* of a connection: until libcurl closes it */
	bool proven;  /* it has been connected */
	bool made;    /* poll is a handle of the loop */
	bool in_use;  /* by a transfer */
	LIST_ENTRY(http_sock) link;
};

static void pool_drive(struct http_pool *p, curl_socket_t fd, int mask)
{
	struct http_client *c = p->client;
	int running, left;
	CURLMsg *msg;

	c->in_done++; /* keeps the pool */
	c->in_curl++;
	curl_multi_socket_action(p->multi, fd, mask, &running);
	c->in_curl--;
	while ((msg = curl_multi_info_read(p->multi, &left))) {
		struct http_slot *s = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&s);
		assert(s && s->call);
		http_call_finish(s->call, msg->data.result);
	}
	c->in_done--;
	http_client_settle(c);
}

static void sock_watch(struct http_sock *k, int events);

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct http_sock *k = handle->data;
	int mask = 0;

	/* Of an idle connection: its other end has closed it. libcurl sees that before it uses it. */
	if (!k->in_use) {
		sock_watch(k, 0);
		return;
	}
	if (status < 0) {
		k->events = 0; /* libuv has stopped it */
		mask = CURL_CSELECT_ERR;
	}
	if (events & UV_READABLE)
		mask |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		mask |= CURL_CSELECT_OUT;
	pool_drive(k->pool, k->fd, mask);
}

static void sock_watch(struct http_sock *k, int events)
{
	if (events == k->events)
		return;
	k->events = events;
	if (events)
		uv_poll_start(&k->poll, events, on_poll);
	else
		uv_poll_stop(&k->poll);
}

/* An idle connection must not keep the loop alive. */
static void sock_use(struct http_sock *k, bool in_use)
{
	k->in_use = in_use;
	if (in_use)
		uv_ref((uv_handle_t *)&k->poll);
	else
		uv_unref((uv_handle_t *)&k->poll);
}

static void on_sock_closed(uv_handle_t *handle)
{
	struct http_sock *k = handle->data;

	http_client_handle_gone(k->client);
	free(k);
}

static void sock_end(struct http_sock *k)
{
	LIST_REMOVE(k, link);
	if (k->made)
		uv_close((uv_handle_t *)&k->poll, on_sock_closed);
	else
		free(k);
}

static struct http_sock *sock_find(const struct http_pool *p, curl_socket_t fd)
{
	struct http_sock *k;

	LIST_FOREACH(k, &p->socks, link)
		if (k->fd == fd)
			return k;
	return NULL;
}

/* The number is a new socket's: whoever had it before has been closed without a word. */
static void sock_forget(const struct http_client *c, curl_socket_t fd)
{
	struct http_pool *p;
	struct http_sock *k;

	LIST_FOREACH(p, &c->pools, link)
		while ((k = sock_find(p, fd)))
			sock_end(k);
}

static struct http_sock *sock_new(struct http_pool *p, curl_socket_t fd, bool kept)
{
	struct http_sock *k = calloc(1, sizeof(*k));

	if (!k)
		abort();
	sock_forget(p->client, fd);
	k->pool = p;
	k->client = p->client;
	k->fd = fd;
	k->kept = kept;
	LIST_INSERT_HEAD(&p->socks, k, link);
	return k;
}

static bool sock_make(struct http_sock *k)
{
	if (k->made)
		return true;
	if (uv_poll_init_socket(k->client->loop, &k->poll, k->fd))
		return false;
	k->poll.data = k;
	k->made = true;
	k->client->handles++;
	return true;
}

/* A socket that never connected is closed by libcurl without on_close_socket, as the transfer is let go: its number may
 * be anybody's the next moment, and the loop must not know it then. */
static bool sock_lives(struct http_sock *k)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if (!k->proven)
		k->proven = !getpeername(k->fd, (struct sockaddr *)&peer, &len);
	return k->proven;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *sockp)
{
	struct http_pool *p = arg;
	struct http_sock *k = sockp ? sockp : sock_find(p, fd);
	int events = 0;

	if (what == CURL_POLL_REMOVE) {
		if (sockp)
			curl_multi_assign(p->multi, fd, NULL);
		if (k && (!k->kept || !sock_lives(k)))
			sock_end(k);
		else if (k && k->made)
			sock_use(k, false);
		return 0;
	}
	if (!k) /* of a name lookup */
		k = sock_new(p, fd, false);
	if (!sock_make(k))
		return -1;
	if (!sockp)
		curl_multi_assign(p->multi, fd, k);
	if (what != CURL_POLL_OUT)
		events |= UV_READABLE;
	if (what != CURL_POLL_IN)
		events |= UV_WRITABLE;
	sock_use(k, true);
	sock_watch(k, events);
	return 0;
}

static int on_close_socket(void *arg, curl_socket_t fd)
{
	struct http_sock *k = sock_find(arg, fd);

	if (k)
		sock_end(k);
	return close(fd);
}

static void on_timer(uv_timer_t *timer)
{
	pool_drive(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_pool *p = arg;

	if (timeout_ms < 0)
		uv_timer_stop(&p->timer);
	else
		uv_timer_start(&p->timer, on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

/* A dead peer is noticed although nothing is sent (keepalive) or acknowledged (user timeout). */
static int on_sockopt(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	unsigned ms = USER_TIMEOUT_MS;

	if (purpose == CURLSOCKTYPE_IPCXN) {
		sock_new(arg, fd, true);
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	}
	return CURL_SOCKOPT_OK;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static struct http_pool *pool_find(struct http_client *c, const struct http_tls_ctx *tls,
				   const char *proxy, const char *ca)
{
	struct http_pool *p;

	LIST_FOREACH(p, &c->pools, link)
		if (p->tls == tls && same(p->proxy_ca, ca) &&
		    same(p->proxy ? secret_data(p->proxy) : NULL, proxy))
			return p;
	return NULL;
}

static struct http_pool *pool_new(struct http_client *c, struct http_tls_ctx *tls, const char *proxy,
				  const char *shown, const char *ca, struct pcg_error *err)
{
	struct http_pool *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	if (tls->store && ca) {
		p->store = http_tls_store_with(tls, ca, err);
		if (!p->store) {
			free(p);
			return NULL;
		}
	} else if (tls->store) {
		X509_STORE_up_ref(tls->store);
		p->store = tls->store;
	}
	p->client = c;
	p->tls = http_tls_ref(tls);
	p->proxy = proxy ? secret_new_str(proxy) : NULL;
	p->proxy_shown = proxy ? strdup(shown) : NULL;
	p->proxy_ca = ca ? strdup(ca) : NULL;
	p->multi = curl_multi_init();
	if (!p->multi)
		abort();
	curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
	curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
	curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, (long)c->limits.max_total);
	uv_timer_init(c->loop, &p->timer);
	p->timer.data = p;
	c->handles++;
	p->idle_since = uv_now(c->loop);
	LIST_INSERT_HEAD(&c->pools, p, link);
	http_client_sweep_later(c);
	return p;
}

int http_pool_get(struct http_client *c, struct http_tls_ctx *tls, const struct proxy_set *set,
		  const char *url, struct http_pool **out, struct pcg_error *err)
{
	const char *proxy = proxy_url_secret(set, url);
	const char *ca = proxy ? proxy_ca_pem(set) : NULL;

	*out = pool_find(c, tls, proxy, ca);
	if (!*out)
		*out = pool_new(c, tls, proxy, proxy ? proxy_for_url(set, url) : NULL, ca, err);
	return *out ? 0 : pcg_error_code(err);
}

static void slot_free(struct http_slot *s)
{
	curl_easy_cleanup(s->easy);
	free(s->host);
	free(s);
}

static void on_pool_closed(uv_handle_t *handle)
{
	struct http_pool *p = handle->data;

	http_client_handle_gone(p->client);
	free(p);
}

void http_pool_destroy(struct http_pool *p)
{
	struct http_client *c = p->client;
	struct http_slot *s;
	struct http_sock *k;

	assert(p->active == 0 && c->in_curl == 0 && c->in_done == 0);
	LIST_REMOVE(p, link);
	c->in_curl++;
	/* The multi first: closing a connection may still look at its slot. */
	curl_multi_cleanup(p->multi);
	while ((s = LIST_FIRST(&p->free_slots))) {
		LIST_REMOVE(s, link);
		slot_free(s);
	}
	c->in_curl--;
	/* libcurl does not tell of each socket that it closes with its connections. */
	while ((k = LIST_FIRST(&p->socks)))
		sock_end(k);
	X509_STORE_free(p->store);
	http_tls_unref(p->tls);
	secret_unref(p->proxy);
	free(p->proxy_shown);
	free(p->proxy_ca);
	uv_close((uv_handle_t *)&p->timer, on_pool_closed);
}

static void slot_protocols(CURL *e)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(e, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Else a cancelled call would wait for its name lookup; and the CA store is ours. */
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
}

/* Everything that is the same for all calls of the pool. */
static void slot_setup(struct http_slot *s)
{
	struct http_pool *p = s->pool;
	bool verify = !p->tls->insecure || p->tls->thumb_len;
	CURL *e = s->easy;

	curl_easy_setopt(e, CURLOPT_PRIVATE, (char *)s);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, s->errbuf);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "pcg/" PACKAGE_VERSION);
	curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(e, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, KEEP_IDLE_S);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, KEEP_INTERVAL_S);
	curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_sockopt);
	curl_easy_setopt(e, CURLOPT_SOCKOPTDATA, p);
	curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
	curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, p);
	curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)(p->client->limits.idle_close_ms / 1000 + 1));
	slot_protocols(e);
	curl_easy_setopt(e, CURLOPT_PROXY, p->proxy ? secret_data(p->proxy) : "");
	curl_easy_setopt(e, CURLOPT_NOPROXY, p->proxy ? "" : "*");
	curl_easy_setopt(e, CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC);
	curl_easy_setopt(e, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(e, CURLOPT_SSL_ENABLE_ALPN, 1L);
	/* A resumed session would pass by the verification. */
	curl_easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, verify && !p->tls->thumb_len ? 2L : 0L);
	curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, http_tls_setup);
	curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, s);
}

struct http_slot *http_pool_slot(struct http_pool *p)
{
	struct http_slot *s = LIST_FIRST(&p->free_slots);

	if (s) {
		LIST_REMOVE(s, link);
	} else {
		s = calloc(1, sizeof(*s));
		if (!s || !(s->easy = curl_easy_init()))
			abort();
		s->pool = p;
		slot_setup(s);
	}
	s->errbuf[0] = '\0';
	s->verify_failed = s->verify_time = false;
	s->verify_text[0] = '\0';
	p->active++;
	return s;
}

void http_pool_release(struct http_slot *s, bool close)
{
	struct http_pool *p = s->pool;

	assert(p->client->in_curl == 0);
	if (close)
		curl_easy_setopt(s->easy, CURLOPT_FORBID_REUSE, 1L);
	p->client->in_curl++;
	curl_multi_remove_handle(p->multi, s->easy);
	p->client->in_curl--;
	curl_easy_setopt(s->easy, CURLOPT_FORBID_REUSE, 0L);
	curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(s->easy, CURLOPT_CONNECT_TO, NULL);
	curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, NULL);
	curl_easy_setopt(s->easy, CURLOPT_VERBOSE, 0L);
	s->call = NULL;
	/* A slot stays while its connections may live: they point to it. */
	LIST_INSERT_HEAD(&p->free_slots, s, link);
	if (--p->active == 0) {
		p->idle_since = uv_now(p->client->loop);
		http_client_sweep_later(p->client);
	}
}
