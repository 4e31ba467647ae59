/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/reply.h"

#include "core/log.h"
#include "plugins/sim/simcloud/kwatch.h"

#include <assert.h>
#include <string.h>

struct reply {
	struct reply *next;
	struct cloud *cloud;
	struct http_exchange *x; /* NULL: the client has gone */
	int status;
	json_t *body;
	char *text;
	const char *content_type;
	int64_t delay_ms;
	uint64_t since;          /* of a long wait */
	bool waiting;            /* in cloud->waiters */
	bool delayed;            /* its timer runs, and nothing else knows of it */
	uv_timer_t timer;
};

static void reply_free(struct reply *r)
{
	json_decref(r->body);
	free(r->text);
	free(r);
}

static void reply_timer_closed(uv_handle_t *h)
{
	reply_free(h->data);
}

/* An answer that nobody waits for must not keep the process from ending. */
static void reply_gone(void *arg, struct http_exchange *x)
{
	struct reply *r = arg;

	r->x = NULL;
	if (r->delayed)
		uv_close((uv_handle_t *)&r->timer, reply_timer_closed);
	r->delayed = false;
}

static struct reply *reply_new(struct cloud *c, struct http_exchange *x)
{
	struct reply *r = calloc(1, sizeof(*r));

	assert(r);
	r->cloud = c;
	r->x = x;
	http_exchange_on_gone(x, reply_gone, r);
	return r;
}

static void reply_send(struct reply *r)
{
	struct http_exchange *x = r->x;

	r->x = NULL;
	if (!x)
		return;
	if (r->text)
		http_exchange_reply(x, r->status, r->content_type, r->text, strlen(r->text));
	else
		http_exchange_reply_json(x, r->status, r->body);
}

static void reply_queue(struct reply *r)
{
	r->next = r->cloud->replies;
	r->cloud->replies = r;
}

void reply_json(struct cloud *c, struct http_exchange *x, int status, json_t *body, int64_t delay_ms)
{
	struct reply *r = reply_new(c, x);

	r->status = status;
	r->body = body;
	r->delay_ms = delay_ms;
	reply_queue(r);
}

void reply_text(struct cloud *c, struct http_exchange *x, int status, const char *content_type,
		const char *text)
{
	struct reply *r = reply_new(c, x);

	r->status = status;
	r->text = strdup(text);
	r->content_type = content_type;
	reply_queue(r);
}

static void reply_timer(uv_timer_t *t)
{
	struct reply *r = t->data;

	r->delayed = false;
	reply_send(r);
	uv_close((uv_handle_t *)t, reply_timer_closed);
}

static void reply_start_timer(struct reply *r, uv_timer_cb cb, int64_t ms)
{
	uv_timer_init(r->cloud->loop, &r->timer);
	r->timer.data = r;
	uv_update_time(r->cloud->loop);
	uv_timer_start(&r->timer, cb, (uint64_t)ms, 0);
}

void reply_settle(struct cloud *c)
{
	struct reply *list = NULL;

	if (c->replies || c->watches || persist_urgent(c->persist))
		persist_flush(c->persist);
	kwatch_deliver_all(c);
	while (c->replies) {
		struct reply *r = c->replies;

		c->replies = r->next;
		r->next = list;
		list = r;
	}
	while (list) {
		struct reply *r = list;

		list = r->next;
		if (r->delay_ms > 0 && r->x) {
			r->delayed = true;
			reply_start_timer(r, reply_timer, r->delay_ms);
			continue;
		}
		reply_send(r);
		reply_free(r);
	}
}

static json_t *reply_changes(struct cloud *c, uint64_t since)
{
	bool reset;
	json_t *uids = cloud_changes_since(c, since, &reset);

	return json_pack("{s:I, s:o, s:b}", "seq", (json_int_t)c->seq, "changed", uids, "reset", reset);
}

/* The long wait ends: its answer goes the way of all others. */
static void reply_wait_over(struct reply *r)
{
	struct reply **at = &r->cloud->waiters;

	while (*at && *at != r)
		at = &(*at)->next;
	if (*at)
		*at = r->next;
	r->waiting = false;
	if (r->x) {
		r->status = 200;
		r->body = reply_changes(r->cloud, r->since);
		reply_send(r);
	}
	uv_close((uv_handle_t *)&r->timer, reply_timer_closed);
}

static void reply_wait_timer(uv_timer_t *t)
{
	reply_wait_over(t->data);
}

void reply_when_changed(struct cloud *c, struct http_exchange *x, uint64_t since, int64_t timeout_ms)
{
	struct reply *r;

	if (since < c->first_seq || since < c->seq) {
		reply_json(c, x, 200, reply_changes(c, since), 0);
		return;
	}
	r = reply_new(c, x);
	r->since = since;
	r->waiting = true;
	r->next = c->waiters;
	c->waiters = r;
	reply_start_timer(r, reply_wait_timer, timeout_ms);
}

void reply_wake(struct cloud *c)
{
	for (struct reply *r = c->waiters; r; r = r->next)
		uv_timer_start(&r->timer, reply_wait_timer, 0, 0);
}

void reply_close(struct cloud *c)
{
	while (c->waiters)
		reply_wait_over(c->waiters);
	reply_settle(c);
}
