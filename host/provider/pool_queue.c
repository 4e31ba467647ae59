/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/pool_impl.h"
#include "core/fault.h"
#include "core/log.h"
#include "pcg/provider.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MAGIC 0x70636c6cu
#define PENDING_GRACE_MS 60000 /* after the time at which it should be asked again */

static uint64_t hash_of(const char *op, const char *subject)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; *op; op++)
		h = (h ^ (unsigned char)*op) * UINT64_C(1099511628211);
	h = (h ^ 0xff) * UINT64_C(1099511628211);
	for (; *subject; subject++)
		h = (h ^ (unsigned char)*subject) * UINT64_C(1099511628211);
	return h;
}

static void call_free(struct provider_call *c)
{
	free(c->cluster);
	free(c->project);
	free(c->op);
	free(c->subject);
	json_decref(c->doc);
	c->magic = 0;
	free(c);
}

static struct project_turn *project_get(struct account *a, const char *name)
{
	struct project_turn *p = a->projects;

	while (p && strcmp(p->name, name) != 0)
		p = p->next;
	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	assert(p);
	p->name = strdup(name);
	assert(p->name);
	p->next = a->projects;
	a->projects = p;
	return p;
}

void pool_projects_free(struct account *a)
{
	while (a->projects) {
		struct project_turn *next = a->projects->next;

		free(a->projects->name);
		free(a->projects);
		a->projects = next;
	}
}

static struct cluster_queue *cluster_get(struct account *a, const char *uid, const char *project)
{
	struct cluster_queue *q = a->clusters;

	while (q && strcmp(q->uid, uid) != 0)
		q = q->next;
	if (q)
		return q;
	q = calloc(1, sizeof(*q));
	assert(q);
	q->uid = strdup(uid);
	assert(q->uid);
	q->project = project_get(a, project);
	q->tail = &q->head;
	*a->clusters_end = q;
	a->clusters_end = &q->next;
	return q;
}

static void cluster_unlink(struct account *a, struct cluster_queue *q)
{
	struct cluster_queue **at = &a->clusters;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	if (a->clusters_end == &q->next)
		a->clusters_end = at;
	q->next = NULL;
}

static void queue_put(struct account *a, struct provider_call *c)
{
	struct cluster_queue *q = cluster_get(a, c->cluster, c->project);

	c->state = CALL_QUEUED;
	c->next = NULL;
	*q->tail = c;
	q->tail = &c->next;
	a->queued++;
}

/* at is the link that points to the call. An empty queue goes. */
static struct provider_call *queue_take(struct account *a, struct cluster_queue *q, struct provider_call **at)
{
	struct provider_call *c = *at;

	*at = c->next;
	if (q->tail == &c->next)
		q->tail = at;
	c->next = NULL;
	a->queued--;
	if (!q->head) {
		cluster_unlink(a, q);
		free(q->uid);
		free(q);
	}
	return c;
}

/* Also another op: the delete of a machine waits for the step that may still be making it. */
static bool overlaps(const struct account *a, const struct provider_call *c)
{
	for (const struct pool_worker *w = a->workers; w; w = w->next)
		for (const struct provider_call *o = w->calls; o; o = o->next)
			if (strcmp(o->subject, c->subject) == 0)
				return true;
	return false;
}

static struct provider_call **runnable(const struct account *a, struct cluster_queue *q)
{
	for (struct provider_call **at = &q->head; *at; at = &(*at)->next)
		if (!overlaps(a, *at))
			return at;
	return NULL;
}

/* The next call that may run: from the project that was served the longest time ago, in it from the
 * cluster whose turn it is; that one goes to the end of the line. */
static struct provider_call *queue_next(struct account *a)
{
	struct provider_call **best_at = NULL;
	struct cluster_queue *best = NULL;

	for (struct cluster_queue *q = a->clusters; q; q = q->next) {
		struct provider_call **at;

		if (best && q->project->turn >= best->project->turn)
			continue;
		at = runnable(a, q);
		if (!at)
			continue;
		best = q;
		best_at = at;
	}
	if (!best)
		return NULL;
	best->project->turn = ++a->turns;
	cluster_unlink(a, best);
	*a->clusters_end = best;
	a->clusters_end = &best->next;
	return queue_take(a, best, best_at);
}

struct provider_call *pool_inflight_find(struct pool_worker *w, uint64_t id)
{
	struct provider_call *c = w->calls;

	while (c && c->id != id)
		c = c->next;
	return c;
}

static void inflight_take(struct provider_call *c)
{
	struct pool_worker *w = c->worker;
	struct provider_call **at = &w->calls;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->next = NULL;
	c->worker = NULL;
	w->n_calls--;
	w->account->inflight--;
	w->idle_since = pool_now(w->pool);
}

static struct pending_key *pending_find(struct account *a, uint64_t key)
{
	for (size_t i = 0; i < a->n_pending; i++)
		if (a->pending[i].key == key)
			return &a->pending[i];
	return NULL;
}

static void note_pending(struct account *a, uint64_t key, uint64_t until)
{
	struct pending_key *k = pending_find(a, key);

	if (!k) {
		a->pending = reallocarray(a->pending, a->n_pending + 1, sizeof(*a->pending));
		assert(a->pending);
		k = &a->pending[a->n_pending++];
		k->key = key;
	}
	k->until = until;
}

static void note_finished(struct account *a, uint64_t key)
{
	struct pending_key *k = pending_find(a, key);

	if (k)
		*k = a->pending[--a->n_pending];
}

void pool_defer_error(struct provider_call *c, const struct pcg_error *err)
{
	struct provider_pool *p = c->pool;

	if (c->account)
		note_finished(c->account, c->key);
	c->account = NULL; /* may be gone before the answer is told */
	c->state = CALL_DEFERRED;
	c->err = *err;
	c->next = NULL;
	*p->deferred_end = c;
	p->deferred_end = &c->next;
	uv_idle_start(&p->deliver, pool_deliver);
}

void pool_deliver(uv_idle_t *idle)
{
	struct provider_pool *p = idle->data;
	struct provider_reply reply = { .status = PCG_STEP_ERROR };
	size_t n = 0;

	/* What a callback adds waits for the next turn of the loop. */
	for (struct provider_call *c = p->deferred; c; c = c->next)
		n++;
	for (; n && p->deferred; n--) {
		struct provider_call *c = p->deferred;

		p->deferred = c->next;
		if (!p->deferred)
			p->deferred_end = &p->deferred;
		reply.err = c->err;
		if (c->cb)
			c->cb(c->arg, &reply);
		call_free(c);
	}
	if (!p->deferred)
		uv_idle_stop(idle);
}

void pool_fail_queued(struct account *a, const struct pcg_error *err)
{
	while (a->clusters)
		pool_defer_error(queue_take(a, a->clusters, &a->clusters->head), err);
}

void pool_fail_inflight(struct pool_worker *w, const struct pcg_error *err)
{
	while (w->calls) {
		struct provider_call *c = w->calls;

		inflight_take(c);
		pool_defer_error(c, err);
	}
}

static void send_call(struct pool_worker *w, struct provider_call *c)
{
	json_t *frame = json_pack("{s:s, s:I, s:s, s:s, s:I, s:O*}", "t", "op", "id", (json_int_t)c->id,
				  "op", c->op, "subject", c->subject, "timeoutMs",
				  (json_int_t)c->timeout_ms, "account", json_object_get(c->doc, "account"));
	struct pcg_error err;

	assert(frame);
	c->state = CALL_INFLIGHT;
	c->worker = w;
	c->next = w->calls;
	w->calls = c;
	w->n_calls++;
	w->account->inflight++;
	w->account->calls++;
	c->kill_at = c->timeout_ms ? pool_now(w->pool) + c->timeout_ms + POOL_OVERDUE_MS : UINT64_MAX;
	FAULT_POINT("provider.before_call_sent");
	if (pool_worker_send_op(w, frame, c->doc, &err)) {
		inflight_take(c);
		pool_defer_error(c, &err);
		/* What waits is for the worker that comes after it: its end is on the way, or its calls are
		 * overdue one day. */
		w->deaf = err.class == PCG_CLASS_RETRY;
		return;
	}
	/* The worker has its own copy now, and a call that is asked again brings its document. */
	json_decref(c->doc);
	c->doc = NULL;
	pool_due(w->pool, c->kill_at);
}

void pool_dispatch(struct account *a)
{
	while (a->queued && !a->pool->closing && a->inflight < POOL_MAX_INFLIGHT) {
		struct pool_worker *w = pool_worker_get(a);
		struct provider_call *c;

		if (!w || w->state != PW_READY || w->deaf || w->n_calls >= w->max_parallel)
			return;
		c = queue_next(a);
		if (!c)
			return;
		send_call(w, c);
	}
}

bool pool_pending(struct account *a)
{
	uint64_t now = pool_now(a->pool);

	for (size_t i = 0; i < a->n_pending;)
		if (a->pending[i].until <= now)
			a->pending[i] = a->pending[--a->n_pending];
		else
			i++;
	return a->n_pending > 0;
}

static void read_reply(const json_t *frame, struct provider_reply *reply)
{
	memset(reply, 0, sizeof(*reply));
	reply->status = (uint32_t)json_int_or(frame, "status", PCG_STEP_ERROR);
	reply->after_ms = (uint32_t)json_int_or(frame, "afterMs", 0);
	reply->doc = json_at(frame, "doc");
	reply->checkpoint = json_at(frame, "checkpoint");
	if (reply->status == PCG_STEP_ERROR)
		json_to_error(json_at(frame, "error"), &reply->err);
}

void pool_reply(struct pool_worker *w, const json_t *frame)
{
	struct provider_call *c = pool_inflight_find(w, (uint64_t)json_int_or(frame, "id", 0));
	struct account *a = w->account;
	struct provider_reply reply;

	if (!c) {
		log_warn("provider_reply_unexpected", LS("account", a->uid),
			 LI("id", json_int_or(frame, "id", 0)));
		return;
	}
	FAULT_POINT("provider.after_reply_received");
	read_reply(frame, &reply);
	inflight_take(c);
	w->answered++;
	if (reply.status == PCG_STEP_PENDING && c->cb)
		note_pending(a, c->key, pool_now(w->pool) + reply.after_ms + PENDING_GRACE_MS);
	else
		note_finished(a, c->key);
	/* The next one goes to the worker first: what the caller does with this answer takes its time. */
	pool_dispatch(a);
	if (c->cb)
		c->cb(c->arg, &reply);
	call_free(c);
	pool_dispatch(a);
	pool_worker_settle(w);
}

static const char *cluster_of(const json_t *doc, const char *subject)
{
	const char *uid = json_str(doc, "cluster.uid");

	if (!uid)
		uid = json_str(doc, "cluster");
	return uid ? uid : subject;
}

/* Calls that belong to no project share one. */
static char *project_of(const json_t *doc)
{
	char *name;

	if (asprintf(&name, "%s/%s", json_str_or(doc, "cluster.tenant", ""),
		     json_str_or(doc, "cluster.project", "")) < 0)
		abort();
	return name;
}

static struct provider_call *call_new(struct provider_pool *p, const char *op, const char *subject,
				      json_t *doc, uint32_t timeout_ms, provider_cb cb, void *arg)
{
	struct provider_call *c = calloc(1, sizeof(*c));

	assert(c);
	c->magic = CALL_MAGIC;
	c->pool = p;
	c->op = strdup(op);
	c->subject = strdup(subject ? subject : "");
	assert(c->op && c->subject);
	c->cluster = strdup(cluster_of(doc, c->subject));
	assert(c->cluster);
	c->project = project_of(doc);
	c->key = hash_of(c->op, c->subject);
	c->id = ++p->next_id;
	c->doc = doc ? json_incref(doc) : json_object();
	c->timeout_ms = timeout_ms;
	c->cb = cb;
	c->arg = arg;
	return c;
}

struct provider_call *provider_call(struct provider_pool *p, const char *account, const char *op,
				    const char *subject, json_t *doc, uint32_t timeout_ms,
				    provider_cb cb, void *arg)
{
	struct provider_call *c = call_new(p, op, subject, doc, timeout_ms, cb, arg);
	struct account *a = pool_account(p, account);
	struct pcg_error err;

	assert(!p->closing);
	if (!a || !a->doc) {
		pcg_fail(&err, PCG_CLASS_NOT_FOUND, "add the account again, or choose another for the cluster",
			 "%s for account %s: this gateway has no such account", op, account);
		pool_defer_error(c, &err);
		return c;
	}
	c->account = a;
	queue_put(a, c);
	pool_dispatch(a);
	return c;
}

static void unlink_deferred(struct provider_call *c)
{
	struct provider_call **at = &c->pool->deferred;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	if (c->pool->deferred_end == &c->next)
		c->pool->deferred_end = at;
}

static void unlink_queued(struct provider_call *c)
{
	struct cluster_queue *q = c->account->clusters;
	struct provider_call **at;

	while (strcmp(q->uid, c->cluster) != 0)
		q = q->next;
	at = &q->head;
	while (*at != c)
		at = &(*at)->next;
	queue_take(c->account, q, at);
}

void provider_call_cancel(struct provider_call *c)
{
	struct pcg_error err;

	assert(c->magic == CALL_MAGIC);
	if (c->account)
		note_finished(c->account, c->key);
	if (c->state == CALL_INFLIGHT) {
		c->cb = NULL;
		pool_worker_send(c->worker, json_pack("{s:s, s:I}", "t", "cancel", "id", (json_int_t)c->id),
				 &err);
		return;
	}
	if (c->state == CALL_QUEUED)
		unlink_queued(c);
	else
		unlink_deferred(c);
	call_free(c);
}

void pool_drop_calls(struct provider_pool *p)
{
	while (p->deferred) {
		struct provider_call *c = p->deferred;

		p->deferred = c->next;
		call_free(c);
	}
	p->deferred_end = &p->deferred;
	for (struct account *a = p->accounts; a; a = a->next) {
		while (a->clusters)
			call_free(queue_take(a, a->clusters, &a->clusters->head));
		for (struct pool_worker *w = a->workers; w; w = w->next)
			for (struct provider_call *c = w->calls; c; c = c->next)
				if (c->cb)
					provider_call_cancel(c);
	}
}
