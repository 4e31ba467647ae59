/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kwatch.h"

#include "core/buf.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

struct kwatch {
	struct kwatch *next;
	struct kapi *k;
	struct kres *res;
	struct http_exchange *x; /* NULL: ended */
	char *ns, *name, *labels, *fields, *version;
	uint64_t rv;
	uv_timer_t timer;
};

static void kwatch_timer_closed(uv_handle_t *h)
{
	struct kwatch *w = h->data;

	free(w->ns);
	free(w->name);
	free(w->labels);
	free(w->fields);
	free(w->version);
	free(w);
}

static void kwatch_unlink(struct kwatch *w)
{
	struct kwatch **at = &w->k->watches;

	while (*at && *at != w)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = w->next;
	w->k->cloud->watches--;
	uv_close((uv_handle_t *)&w->timer, kwatch_timer_closed);
}

static void kwatch_gone(void *arg, struct http_exchange *x)
{
	struct kwatch *w = arg;

	w->x = NULL;
	kwatch_unlink(w);
}

static void kwatch_end(struct kwatch *w)
{
	struct http_exchange *x = w->x;

	w->x = NULL;
	if (x)
		http_exchange_stream_end(x);
	kwatch_unlink(w);
}

static void kwatch_timer(uv_timer_t *t)
{
	kwatch_end(t->data);
}

static bool kwatch_selects(const struct kwatch *w, const json_t *obj)
{
	if (w->ns && strcmp(kstore_ns(obj) ?: "", w->ns) != 0)
		return false;
	if (w->name && strcmp(kstore_name(obj), w->name) != 0)
		return false;
	return kselect_labels(w->labels, obj) && kselect_fields(w->fields, obj);
}

/* Returns -1 when the client has gone. */
static int kwatch_write(struct kwatch *w, const char *type, json_t *obj)
{
	struct kreq q = { .k = w->k, .res = w->res, .version = w->version };
	AUTO_JSON json_t *event = json_pack("{s:s, s:o}", "type", type, "object",
					    w->res ? kapi_view(&q, obj) : json_incref(obj));
	AUTO_FREE char *text = json_dumps(event, JSON_COMPACT);
	size_t len = strlen(text);
	AUTO_FREE char *line = malloc(len + 2);

	memcpy(line, text, len);
	memcpy(line + len, "\n", 2);
	return http_exchange_stream_write(w->x, line, len + 1);
}

static int kwatch_event(struct kwatch *w, const struct kevent *e)
{
	bool now, before;

	if (e->res != w->res)
		return 0;
	now = kwatch_selects(w, e->object);
	before = e->before && kwatch_selects(w, e->before);
	if (e->type == KEVENT_MODIFIED && before != now)
		return kwatch_write(w, now ? "ADDED" : "DELETED", e->object);
	if (!now)
		return 0;
	return kwatch_write(w, e->type == KEVENT_ADDED ? "ADDED" :
			       e->type == KEVENT_DELETED ? "DELETED" : "MODIFIED", e->object);
}

static void kwatch_expired(struct kwatch *w)
{
	AUTO_JSON json_t *status = json_pack("{s:s, s:s, s:{}, s:s, s:s, s:s, s:i}", "kind", "Status",
					     "apiVersion", "v1", "metadata", "status", "Failure", "message",
					     "too old resource version", "reason", "Expired", "code", 410);

	w->res = NULL;
	if (w->x)
		kwatch_write(w, "ERROR", status);
	kwatch_end(w);
}

/* The oldest resourceVersion of which everything later is still known. */
static uint64_t kwatch_horizon(const struct kapi *k)
{
	size_t n = k->next_event < KAPI_EVENTS ? k->next_event : KAPI_EVENTS;

	return n ? k->events[(k->next_event - n) % KAPI_EVENTS].rv - 1 : k->rv;
}

static void kwatch_deliver(struct kwatch *w)
{
	struct kapi *k = w->k;
	size_t n = k->next_event < KAPI_EVENTS ? k->next_event : KAPI_EVENTS;

	if (w->rv == k->rv)
		return;
	if (w->rv < kwatch_horizon(k)) {
		kwatch_expired(w);
		return;
	}
	for (size_t i = k->next_event - n; i < k->next_event; i++) {
		const struct kevent *e = &k->events[i % KAPI_EVENTS];

		if (e->rv <= w->rv)
			continue;
		w->rv = e->rv;
		if (!w->x || kwatch_event(w, e)) {
			if (w->x)
				kwatch_end(w);
			return;
		}
	}
	w->rv = k->rv;
}

static void kwatch_deliver_api(void *arg, const char *id, void *value)
{
	struct kapi *k = value;
	struct kwatch *w = k->watches;

	if (k->delivered_rv == k->rv)
		return;
	k->delivered_rv = k->rv;
	while (w) {
		struct kwatch *next = w->next;

		kwatch_deliver(w);
		w = next;
	}
}

void kwatch_deliver_all(struct cloud *c)
{
	if (c->watches)
		map_each(&c->apis, kwatch_deliver_api, NULL);
}

static char *kwatch_dup(const char *s)
{
	return s && *s ? strdup(s) : NULL;
}

void kwatch_start(struct kreq *q)
{
	const char *rv = http_exchange_query(q->x, "resourceVersion");
	const char *timeout = http_exchange_query(q->x, "timeoutSeconds");
	uint64_t seconds = timeout ? strtoull(timeout, NULL, 10) : 1800;
	struct kwatch *w = calloc(1, sizeof(*w));
	bool from_now = !rv || !*rv || strcmp(rv, "0") == 0;

	assert(w);
	w->k = q->k;
	w->res = q->res;
	w->x = q->x;
	w->ns = kwatch_dup(q->ns);
	w->name = kwatch_dup(q->name);
	w->labels = kwatch_dup(http_exchange_query(q->x, "labelSelector"));
	w->fields = kwatch_dup(http_exchange_query(q->x, "fieldSelector"));
	w->version = strdup(q->version);
	w->rv = from_now ? q->k->rv : strtoull(rv, NULL, 10);
	uv_timer_init(q->k->cloud->loop, &w->timer);
	w->timer.data = w;
	uv_timer_start(&w->timer, kwatch_timer, (seconds ? seconds : 1) * 1000, 0);
	w->next = q->k->watches;
	q->k->watches = w;
	q->k->cloud->watches++;
	http_exchange_on_gone(q->x, kwatch_gone, w);
	http_exchange_stream_begin(q->x, 200, "application/json");
	if (from_now) {
		const char *key;
		json_t *obj;

		json_object_foreach(q->res->objects, key, obj)
			if (kwatch_selects(w, obj) && kwatch_write(w, "ADDED", obj)) {
				kwatch_end(w);
				return;
			}
		return;
	}
	kwatch_deliver(w);
}

void kwatch_close_all(struct kapi *k)
{
	while (k->watches)
		kwatch_end(k->watches);
}
