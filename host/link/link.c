/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/link/link_impl.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/id.h"
#include "net/pki.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_MAX (24u << 20)
#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 30000
#define REFUSED_MS 60000
#define SLACK_MS 15000
#define EARLY_MS 1000
#define EARLY_MAX 3
#define PLANE_ID_MAX 64
#define PLANE_ID_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

static const char *const state_names[] = { "connecting", "connected", "offline", "refused", "unpaired" };

static char *copy(const char *s)
{
	char *out = s ? strdup(s) : NULL;

	assert(!s || out);
	return out;
}

static void on_poll_timer(uv_timer_t *t);

json_t *link_status(const struct link *l)
{
	char since[CLOCK_RFC3339_SIZE], contact[CLOCK_RFC3339_SIZE];
	json_t *out = json_pack("{s:s,s:s,s:I}", "state", state_names[l->state], "since",
				clock_rfc3339(l->since_ms, since), "cursor", (json_int_t)l->cursor);

	if (l->state != LINK_CONNECTED && l->state != LINK_CONNECTING) {
		json_put_str(out, "cause", l->why.text);
		json_put_str(out, "remedy", l->why.remedy);
	}
	if (l->contact_ms)
		json_put_str(out, "lastContact", clock_rfc3339(l->contact_ms, contact));
	json_put_str(out, "planeId", l->plane_id);
	return out;
}

void link_set_state(struct link *l, enum link_state state, const struct pcg_error *why)
{
	AUTO_JSON json_t *doc = NULL;

	if (state == LINK_CONNECTED) {
		l->contact_ms = clock_wall_ms();
		log_outage_end(&l->poll.outage, "plane_reached", l->url);
	} else if (why) {
		l->why = *why;
		log_outage_begin(&l->poll.outage, "plane_not_reached", l->url, why);
	}
	if (l->state == state)
		return;
	l->state = state;
	l->since_ms = clock_wall_ms();
	doc = link_status(l);
	if (l->hooks.state)
		l->hooks.state(l->hooks.arg, doc);
}

struct http_call *link_request(struct link *l, const char *method, const char *path, const void *body,
			       size_t len, uint32_t timeout_ms, bool own_connection, http_done_cb done,
			       void *arg)
{
	static const struct http_header json_body = { "Content-Type", "application/json" };
	AUTO_FREE char *url = NULL;
	struct http_request req = { .method = method, .body = body, .body_len = len, .tls = l->tls,
				    .proxy = l->proxy, .timeout_ms = timeout_ms, .max_response = ANSWER_MAX,
				    .repeatable = true, /* docs/protocol.md: every message may come twice */
				    .own_connection = own_connection };
	int n = asprintf(&url, "%s%s", l->url, path);

	assert(n >= 0);
	req.url = url;
	if (body) {
		req.headers = &json_body;
		req.n_headers = 1;
	}
	return http_submit(l->http, &req, done, arg);
}

int link_response_error(const struct http_response *resp, const char *what, struct pcg_error *err)
{
	int r = http_response_error(resp, what, err);
	AUTO_JSON json_t *body = NULL;
	struct pcg_error ignored;
	const char *text;

	if (resp->status && json_parse(resp->body, resp->body_len, "an answer", &body, &ignored) == 0 &&
	    (text = json_str(body, "message")))
		r = pcg_fail(err, err->class, resp->status == 401 || resp->status == 403 ?
						      "pair this gateway again: pcg-planectl pair --overlord UID" :
						      "",
			     "%s: %ld: %.700s", what, resp->status, text);
	return r;
}

static uint64_t jitter(uint64_t ms)
{
	uint32_t dice;

	id_random(&dice, sizeof(dice));
	return ms - dice % (ms / 2 + 1);
}

void link_again(struct link_lane *lane, uint64_t at_least_ms, uv_timer_cb cb)
{
	uint64_t ms = BACKOFF_MIN_MS;

	for (unsigned int i = 0; i < lane->failures && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	lane->failures++;
	ms = jitter(ms);
	uv_timer_start(&lane->timer, cb, ms > at_least_ms ? ms : at_least_ms, 0);
}

static void poll_failed(struct link *l, const struct http_response *resp, const struct pcg_error *why)
{
	bool refused = resp->status == 401 || resp->status == 403;

	link_set_state(l, refused ? LINK_REFUSED : LINK_OFFLINE, why);
	link_again(&l->poll, refused ? REFUSED_MS : 0, on_poll_timer);
}

static void give_queries(struct link *l, const json_t *doc)
{
	json_t *query;
	size_t i;

	json_array_foreach(json_object_get(doc, "queries"), i, query)
		if (l->hooks.query && json_str(query, "id"))
			l->hooks.query(l->hooks.arg, query);
}

/* The plane ends a request when a newer one comes with the same certificate: two installations that
 * are copies of each other would end each other's without a pause. */
static bool ended_early(struct link *l, const json_t *doc)
{
	if (!l->asked_ms || uv_now(l->loop) - l->asked_ms >= EARLY_MS ||
	    json_array_size(json_object_get(doc, "queries"))) {
		l->early = 0;
		return false;
	}
	if (++l->early == EARLY_MAX)
		log_warn("plane_request_ended_early", LS("plane", l->url), LS("gateway", l->gateway_uid),
			 LS("cause", "the plane ends requests at once, as when another installation asks with this "
				     "gateway's certificate"),
			 LS("remedy", "stop the other copy of this gateway, or pair this one again"));
	return l->early >= EARLY_MAX;
}

static void take_answer(struct link *l, json_t *doc)
{
	const char *plane_id = json_str_or(doc, "planeId", "");
	bool any = json_array_size(json_object_get(doc, "items")) || json_bool_or(doc, "resync", false);

	link_set_state(l, LINK_CONNECTED, NULL);
	l->poll.failures = 0;
	if (l->post.failures) {
		l->post.failures = 0;
		uv_timer_stop(&l->post.timer);
	}
	link_post_start(l);
	free(l->plane_id);
	l->plane_id = copy(plane_id);
	give_queries(l, doc);
	if (l->closing)
		return;
	if (!any) {
		if (ended_early(l, doc)) {
			l->poll.failures = l->early - EARLY_MAX;
			link_again(&l->poll, 0, on_poll_timer);
		} else {
			link_poll_start(l);
		}
		return;
	}
	l->early = 0;
	l->again = json_bool_or(doc, "resync", false) || json_int_or(doc, "cursor", 0) == l->cursor ? l->again + 1 : 0;
	FAULT_POINT("link.after_instructions_received");
	json_object_del(doc, "queries");
	l->batch_pending = true;
	l->hooks.batch(l->hooks.arg, doc);
}

/* What goes back to the plane in the next request, and is durable before: a number and a plain word. */
static int check_answer(const json_t *doc, struct pcg_error *err)
{
	const json_t *cursor = json_object_get(doc, "cursor");
	const char *id = json_str_or(doc, "planeId", "");

	if (!json_is_object(doc) || !json_is_integer(cursor) || !json_is_array(json_object_get(doc, "items")))
		return pcg_fail(err, PCG_CLASS_RETRY, "see that plane.url names a pcg-plane of this version",
				"the plane's answer has no cursor and items");
	if (json_integer_value(cursor) < 0 || strlen(id) > PLANE_ID_MAX || id[strspn(id, PLANE_ID_CHARS)])
		return pcg_fail(err, PCG_CLASS_RETRY, "see that plane.url names a pcg-plane of this version",
				"the plane's answer has a cursor or a planeId that is none: %lld, %.80s",
				(long long)json_integer_value(cursor), id);
	return 0;
}

static void on_poll_done(void *arg, const struct http_response *resp)
{
	struct link *l = arg;
	struct pcg_error err = { 0 };
	json_t *doc = NULL;

	l->poll.call = NULL;
	if (resp->status != 200)
		link_response_error(resp, "asking the plane for instructions", &err);
	else if (json_parse(resp->body, resp->body_len, "the plane's instructions", &doc, &err) == 0)
		check_answer(doc, &err);
	if (err.text[0])
		poll_failed(l, resp, &err);
	else
		take_answer(l, doc);
	json_wipe(doc);
}

void link_poll_start(struct link *l)
{
	/* The first one does not wait: its answer says that the plane is there. */
	int wait_s = l->state == LINK_CONNECTED ? LINK_WAIT_S : 0;
	char path[256];

	assert(l->magic == LINK_MAGIC);
	if (l->closing || l->poll.call || l->batch_pending)
		return;
	uv_timer_stop(&l->poll.timer);
	uv_update_time(l->loop);
	l->asked_ms = wait_s ? uv_now(l->loop) : 0;
	snprintf(path, sizeof(path),
		 "/gateway/v1/instructions?cursor=%lld&wait=%d&reported=%lld&plane=%s",
		 (long long)l->cursor, wait_s, (long long)l->reported, l->plane_id ? l->plane_id : "");
	l->poll.call = link_request(l, "GET", path, NULL, 0, LINK_WAIT_S * 1000 + SLACK_MS, true, on_poll_done,
				    l);
}

static void on_poll_timer(uv_timer_t *t)
{
	struct link_lane *lane = t->data;

	link_poll_start(lane->link);
}

static void on_start(uv_timer_t *t)
{
	struct link_lane *lane = t->data;

	link_poll_start(lane->link);
	link_post_start(lane->link);
	link_renew_plan(lane->link);
}

void link_batch_durable(struct link *l, int64_t cursor)
{
	l->cursor = cursor;
	l->batch_pending = false;
	if (l->again <= EARLY_MAX || l->closing) {
		link_poll_start(l);
		return;
	}
	if (l->again == EARLY_MAX + 1)
		log_warn("plane_repeats_itself", LS("plane", l->url),
			 LS("cause", "the plane begins one resync after another, or sends what was acknowledged"),
			 LS("remedy", "see its log"));
	l->poll.failures = l->again - EARLY_MAX - 1;
	link_again(&l->poll, 0, on_poll_timer);
}

static int make_tls(struct link *l, struct http_tls_ctx **out, struct pcg_error *err)
{
	struct http_tls spec = { .ca_pem = l->ca_pem, .client_cert_pem = l->cert_pem,
				 .client_key_pem = l->key_pem };

	return http_tls_new(&spec, out, err);
}

static void lane_init(struct link *l, struct link_lane *lane)
{
	lane->link = l;
	uv_timer_init(l->loop, &lane->timer);
	lane->timer.data = lane;
	l->open++;
}

static void free_link(struct link *l)
{
	http_tls_unref(l->tls);
	proxy_set_unref((struct proxy_set *)l->proxy);
	secret_unref(l->key_pem);
	secret_unref(l->next_key);
	secret_unref(l->asked_key);
	json_decref(l->post_seqs);
	free(l->url);
	free(l->ca_pem);
	free(l->gateway_uid);
	free(l->plane_id);
	free(l->cert_pem);
	free(l->next_cert);
	l->magic = 0;
	free(l);
}

int link_new(const struct link_spec *spec, struct link **out, struct pcg_error *err)
{
	struct link *l = calloc(1, sizeof(*l));
	int r;

	assert(l && spec->hooks.batch && spec->hooks.reports && spec->hooks.refused && spec->hooks.reported);
	l->magic = LINK_MAGIC;
	l->loop = spec->loop;
	l->http = spec->http;
	l->hooks = spec->hooks;
	l->url = copy(spec->url);
	l->ca_pem = copy(spec->ca_pem);
	l->gateway_uid = copy(spec->gateway_uid);
	l->plane_id = copy(spec->plane_id);
	l->cert_pem = copy(spec->cert_pem);
	l->key_pem = secret_ref(spec->key_pem);
	l->proxy = spec->proxy ? proxy_set_ref(spec->proxy) : NULL;
	l->cursor = spec->cursor;
	l->reported = spec->reported;
	l->post_max = LINK_REPORTS_MAX;
	l->since_ms = clock_wall_ms();
	if (strlen(l->url) && l->url[strlen(l->url) - 1] == '/')
		l->url[strlen(l->url) - 1] = 0;
	r = make_tls(l, &l->tls, err);
	if (r) {
		free_link(l);
		return r;
	}
	lane_init(l, &l->poll);
	lane_init(l, &l->post);
	lane_init(l, &l->renew);
	uv_timer_start(&l->poll.timer, on_start, 0, 0);
	*out = l;
	return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
	struct link_lane *lane = h->data;
	struct link *l = lane->link;
	void (*closed)(void *arg) = l->closed;
	void *arg = l->closed_arg;

	if (--l->open)
		return;
	free_link(l);
	if (closed)
		closed(arg);
}

static void lane_end(struct link_lane *lane)
{
	if (lane->call)
		http_cancel(TAKE(lane->call));
	uv_timer_stop(&lane->timer);
	uv_close((uv_handle_t *)&lane->timer, on_timer_closed);
}

void link_close(struct link *l, void (*closed)(void *arg), void *arg)
{
	assert(l->magic == LINK_MAGIC && !l->closing);
	l->closing = true;
	l->closed = closed;
	l->closed_arg = arg;
	link_answers_end(l);
	lane_end(&l->poll);
	lane_end(&l->post);
	lane_end(&l->renew);
}

/* Everything under way is asked again over new connections. */
static void restart(struct link *l)
{
	l->poll.failures = l->post.failures = 0;
	if (l->poll.call)
		http_cancel(TAKE(l->poll.call));
	if (l->post.call)
		http_cancel(TAKE(l->post.call));
	uv_timer_stop(&l->post.timer);
	link_poll_start(l);
	link_post_start(l);
}

void link_reconfigure(struct link *l, const char *url, const char *ca_pem, const struct proxy_set *proxy)
{
	struct http_tls_ctx *tls = NULL;
	struct pcg_error err = { 0 };
	char *old_ca = l->ca_pem;

	l->ca_pem = copy(ca_pem);
	if (make_tls(l, &tls, &err)) {
		log_err("plane_ca_refused", &err);
		free(l->ca_pem);
		l->ca_pem = old_ca;
		return;
	}
	free(old_ca);
	http_tls_unref(l->tls);
	l->tls = tls;
	free(l->url);
	l->url = copy(url);
	proxy_set_unref((struct proxy_set *)l->proxy);
	l->proxy = proxy ? proxy_set_ref(proxy) : NULL;
	restart(l);
}

void link_certificate_durable(struct link *l)
{
	struct http_tls_ctx *tls = NULL;
	struct pcg_error err = { 0 };

	if (!l->next_cert)
		return;
	free(l->cert_pem);
	l->cert_pem = TAKE(l->next_cert);
	secret_unref(l->key_pem);
	l->key_pem = TAKE(l->next_key);
	if (make_tls(l, &tls, &err)) {
		log_err("certificate_not_used", &err);
		return;
	}
	http_tls_unref(l->tls);
	l->tls = tls;
	restart(l);
	link_renew_plan(l);
}
