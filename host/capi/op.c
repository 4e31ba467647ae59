/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/op.h"
#include "core/buf.h"
#include "core/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define OP_MAGIC 0x43415049u
#define BATCH_PARALLEL 8
#define REQUEST_TIMEOUT_MS 30000
#define RETRY_FOR_MS 60000
#define LOST_READS_MAX 3

/* One thing under way. It is unlinked before its callback runs, so a callback may end the op. */
struct task {
	struct capi_op *op;
	struct task *prev, *next;
	struct kube_op *kube_op;
	uv_timer_t timer;
	bool has_timer;
	op_reply reply;
	void (*applied)(struct capi_op *op, const struct pcg_error *err);
	const char *(*text)(struct capi_op *op, const json_t *object, size_t *len);
	void (*elapsed)(struct capi_op *op, void *arg);
	void *arg;
	/* what op_call may send again */
	char *method, *path, *content_type;
	json_t *body;
	bool metadata, list;
	char *selector; /* of a list */
	unsigned flags;
	int64_t retry_until_ms;
	uint32_t pause_ms;
	int lost;
};

struct capi_op {
	uint32_t magic;
	struct kube *kube;
	struct capi_callbacks cb;
	const struct op_type *type;
	void *state;
	struct task *tasks;
	uv_timer_t turn; /* the first turn, and the one that tells the end */
	bool ended, failed;
	json_t *result;
	struct pcg_error err;
	struct {
		size_t n, next, running;
		bool pumping;
		op_begin begin;
		op_end end;
		void *arg;
	} batch;
};

static void op_check(const struct capi_op *op)
{
	assert(op && op->magic == OP_MAGIC);
}

static void on_op_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void op_free(struct capi_op *op)
{
	op->magic = 0;
	if (op->type->free_state)
		op->type->free_state(op->state);
	free(op->state);
	json_decref(op->result);
	uv_close((uv_handle_t *)&op->turn, on_op_closed);
}

static void on_start(uv_timer_t *timer)
{
	struct capi_op *op = timer->data;

	op_check(op);
	op->type->start(op);
}

struct capi_op *op_new(struct kube *k, const struct op_type *type, const struct capi_callbacks *cb)
{
	struct capi_op *op = calloc(1, sizeof(*op));

	assert(op);
	op->magic = OP_MAGIC;
	op->kube = k;
	op->cb = *cb;
	op->type = type;
	op->state = calloc(1, type->state_size ? type->state_size : 1);
	assert(op->state);
	uv_timer_init(kube_loop(k), &op->turn);
	op->turn.data = op;
	uv_timer_start(&op->turn, on_start, 0, 0);
	return op;
}

void *op_state(struct capi_op *op)
{
	op_check(op);
	return op->state;
}

struct kube *op_kube(struct capi_op *op)
{
	op_check(op);
	return op->kube;
}

bool op_ended(const struct capi_op *op)
{
	op_check(op);
	return op->ended;
}

void op_progress(struct capi_op *op, const char *step, const char *object)
{
	op_check(op);
	if (!op->ended && op->cb.progress)
		op->cb.progress(op->cb.arg, step, object);
}

static void task_release(struct task *t)
{
	free(t->method);
	free(t->path);
	free(t->content_type);
	free(t->selector);
	json_wipe(t->body);
	free(t);
}

static void on_task_closed(uv_handle_t *handle)
{
	task_release(handle->data);
}

static void task_unlink(struct task *t)
{
	if (t->prev)
		t->prev->next = t->next;
	else
		t->op->tasks = t->next;
	if (t->next)
		t->next->prev = t->prev;
}

static void task_end(struct task *t)
{
	task_unlink(t);
	if (t->has_timer)
		uv_close((uv_handle_t *)&t->timer, on_task_closed);
	else
		task_release(t);
}

static struct task *task_new(struct capi_op *op, void *arg)
{
	struct task *t = calloc(1, sizeof(*t));

	assert(t);
	t->op = op;
	t->arg = arg;
	t->next = op->tasks;
	if (t->next)
		t->next->prev = t;
	op->tasks = t;
	return t;
}

static void task_timer(struct task *t, uint32_t ms, uv_timer_cb cb)
{
	if (!t->has_timer) {
		uv_timer_init(kube_loop(t->op->kube), &t->timer);
		t->timer.data = t;
		t->has_timer = true;
	}
	uv_timer_start(&t->timer, cb, ms, 0);
}

static void end_tasks(struct capi_op *op)
{
	while (op->tasks) {
		struct task *t = op->tasks;

		if (t->kube_op)
			kube_op_cancel(t->kube_op);
		task_end(t);
	}
}

static void on_end(uv_timer_t *timer)
{
	struct capi_op *op = timer->data;
	struct capi_callbacks cb = op->cb;
	struct pcg_error err = op->err;
	json_t *result = TAKE(op->result);
	bool failed = op->failed;

	op_check(op);
	op_free(op);
	cb.done(cb.arg, result, failed ? &err : NULL);
	json_decref(result);
}

static void end_soon(struct capi_op *op)
{
	op->ended = true;
	end_tasks(op);
	uv_timer_start(&op->turn, on_end, 0, 0);
}

void op_done(struct capi_op *op, json_t *result)
{
	op_check(op);
	if (op->ended) {
		json_decref(result);
		return;
	}
	op->result = result;
	end_soon(op);
}

void op_fail(struct capi_op *op, const struct pcg_error *err)
{
	op_check(op);
	if (op->ended)
		return;
	op->failed = true;
	op->err = *err;
	end_soon(op);
}

void capi_op_cancel(struct capi_op *op)
{
	op_check(op);
	end_tasks(op);
	op_free(op);
}

static bool webhook_not_ready(const struct kube_reply *r)
{
	const char *message = json_str_or(r->body, "message", r->err.text);

	return r->status == 500 &&
	       (strstr(message, "failed calling webhook") || strstr(message, "conversion webhook"));
}

static bool may_send_again(struct task *t, const struct kube_reply *r)
{
	if ((t->flags & OP_ONCE) || clock_mono_ms() >= t->retry_until_ms)
		return false;
	if (r->status == 429 || r->status == 503 || webhook_not_ready(r))
		return true;
	return r->status == 0 && r->err.class == PCG_CLASS_RETRY && strcmp(t->method, "GET") == 0 &&
	       t->lost++ < LOST_READS_MAX;
}

static void on_reply(void *arg, const struct kube_reply *r);

static void send_task(struct task *t)
{
	if (t->list)
		t->kube_op = kube_list(t->op->kube, t->path, t->selector, on_reply, t);
	else if (t->metadata)
		t->kube_op = kube_get_metadata(t->op->kube, t->path, on_reply, t);
	else if (t->flags & (OP_METADATA | OP_UNREAD))
		t->kube_op = kube_write(t->op->kube, t->method, t->path, t->content_type, t->body,
					REQUEST_TIMEOUT_MS, t->flags & OP_UNREAD, on_reply, t);
	else
		t->kube_op = kube_request(t->op->kube, t->method, t->path, t->content_type,
					  t->body, REQUEST_TIMEOUT_MS, on_reply, t);
}

static void on_send_again(uv_timer_t *timer)
{
	send_task(timer->data);
}

static void on_reply(void *arg, const struct kube_reply *r)
{
	struct task *t = arg;
	struct capi_op *op = t->op;
	op_reply cb = t->reply;
	void *cb_arg = t->arg;

	op_check(op);
	t->kube_op = NULL;
	if (t->method && may_send_again(t, r)) {
		t->pause_ms = t->pause_ms ? t->pause_ms * 2 : 25;
		if (t->pause_ms > 2000)
			t->pause_ms = 2000;
		task_timer(t, t->pause_ms, on_send_again);
		return;
	}
	task_end(t);
	cb(op, cb_arg, r);
}

static char *copy_text(const char *s)
{
	char *out = s ? strdup(s) : NULL;

	assert(!s || out);
	return out;
}

void op_call(struct capi_op *op, const char *method, const char *path, const char *content_type,
	     const json_t *body, unsigned flags, op_reply cb, void *arg)
{
	struct task *t;

	op_check(op);
	if (op->ended)
		return;
	t = task_new(op, arg);
	t->reply = cb;
	t->method = copy_text(method);
	t->path = copy_text(path);
	t->content_type = copy_text(content_type);
	t->body = json_incref((json_t *)body);
	t->flags = flags;
	t->retry_until_ms = clock_mono_ms() + RETRY_FOR_MS;
	send_task(t);
}

void op_metadata(struct capi_op *op, const char *path, op_reply cb, void *arg)
{
	struct task *t;

	op_check(op);
	if (op->ended)
		return;
	t = task_new(op, arg);
	t->reply = cb;
	t->method = copy_text("GET");
	t->path = copy_text(path);
	t->metadata = true;
	t->retry_until_ms = clock_mono_ms() + RETRY_FOR_MS;
	send_task(t);
}

/* A server whose caches are not filled yet answers lists 429. */
void op_list(struct capi_op *op, const char *path, const char *label_selector, op_reply cb,
	     void *arg)
{
	struct task *t;

	op_check(op);
	if (op->ended)
		return;
	t = task_new(op, arg);
	t->reply = cb;
	t->method = copy_text("GET");
	t->path = copy_text(path);
	t->selector = copy_text(label_selector);
	t->list = true;
	t->retry_until_ms = clock_mono_ms() + RETRY_FOR_MS;
	send_task(t);
}

void op_wait_available(struct capi_op *op, const json_t *object, uint32_t timeout_ms, op_reply cb,
		       void *arg)
{
	struct task *t;

	op_check(op);
	if (op->ended)
		return;
	t = task_new(op, arg);
	t->reply = cb;
	t->kube_op = kube_wait_available(op->kube, object, timeout_ms, on_reply, t);
}

static void on_applied(void *arg, const struct pcg_error *err)
{
	struct task *t = arg;
	struct capi_op *op = t->op;
	void (*applied)(struct capi_op * op, const struct pcg_error *err) = t->applied;

	op_check(op);
	t->kube_op = NULL;
	task_end(t);
	applied(op, err);
}

static void on_apply_progress(void *arg, const json_t *object, bool created)
{
	struct task *t = arg;
	const char *ns = json_str(object, "metadata.namespace");
	struct buf label;

	buf_init(&label, 1024);
	buf_addf(&label, "%s/%s%s%s", json_str_or(object, "kind", "?"), ns ? ns : "", ns ? "/" : "",
		 json_str_or(object, "metadata.name", "?"));
	op_progress(t->op, created ? "created" : "applied", label.data);
	buf_free(&label);
}

static const char *apply_text(void *arg, const json_t *object, size_t *len)
{
	struct task *t = arg;

	return t->text(t->op, object, len);
}

void op_apply(struct capi_op *op, const json_t *objects, uint32_t timeout_ms,
	      const char *(*text)(struct capi_op *op, const json_t *object, size_t *len),
	      void (*done)(struct capi_op *op, const struct pcg_error *err))
{
	struct kube_apply_spec spec = {
		.objects = objects,
		.timeout_ms = timeout_ms,
		.progress = on_apply_progress,
		.text = text ? apply_text : NULL,
		.done = on_applied,
	};
	struct task *t;

	op_check(op);
	if (op->ended)
		return;
	t = task_new(op, NULL);
	t->applied = done;
	t->text = text;
	spec.arg = t;
	t->kube_op = kube_apply(op->kube, &spec);
}

static void on_elapsed(uv_timer_t *timer)
{
	struct task *t = timer->data;
	struct capi_op *op = t->op;
	void (*elapsed)(struct capi_op * op, void *arg) = t->elapsed;
	void *arg = t->arg;

	task_end(t);
	elapsed(op, arg);
}

void op_after(struct capi_op *op, uint32_t ms, void (*fn)(struct capi_op *op, void *arg), void *arg)
{
	struct task *t;

	op_check(op);
	if (op->ended)
		return;
	t = task_new(op, arg);
	t->elapsed = fn;
	task_timer(t, ms, on_elapsed);
}

static void pump(struct capi_op *op)
{
	if (op->batch.pumping)
		return;
	op->batch.pumping = true;
	while (!op->ended && op->batch.next < op->batch.n && op->batch.running < BATCH_PARALLEL) {
		op->batch.running++;
		op->batch.begin(op, op->batch.arg, op->batch.next++);
	}
	op->batch.pumping = false;
	if (!op->ended && op->batch.next == op->batch.n && op->batch.running == 0)
		op->batch.end(op, op->batch.arg);
}

void op_batch(struct capi_op *op, size_t n, op_begin begin, op_end end, void *arg)
{
	op_check(op);
	assert(op->batch.running == 0 || op->ended);
	op->batch.n = n;
	op->batch.next = 0;
	op->batch.begin = begin;
	op->batch.end = end;
	op->batch.arg = arg;
	pump(op);
}

void op_item_done(struct capi_op *op)
{
	op_check(op);
	if (op->ended)
		return;
	assert(op->batch.running > 0);
	op->batch.running--;
	pump(op);
}
