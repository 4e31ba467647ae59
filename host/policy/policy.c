/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side: the set in force, a worker for each tenant on need, one question at a time. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include "core/clock.h"
#include "core/log.h"
#include "host/worker/worker.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define IDLE_MS 30000
#define STARTS_MAX 2 /* workers that one question may lose before a script of it ran */

/*
 * A question waits in its tenant's queue; once answered it waits in the policy's ready list, and
 * the loop tells it from there: no callback runs inside a function of this file that holds a
 * tenant. A tenant lives while it has questions or a worker.
 */
struct question {
	struct question *next;
	char *hook, *folder;
	json_t *input, *result;
	struct pcg_error err;
	bool failed;
	unsigned starts;
	policy_cb cb;
	void *arg;
};

struct queue {
	struct question *head, **tail;
};

struct tenant {
	struct tenant *next;
	struct policy *policy;
	char *name;
	json_t *scripts; /* that the running worker was given */
	struct worker *worker;
	struct queue waiting;
	bool asked;  /* the head is with the worker, or its start is under way for it */
	bool ready;  /* the worker has said so */
	bool ending; /* the worker gets no question any more */
	bool late;
	int64_t id;
	uv_timer_t *timer; /* deadline while asked, else idle end */
	char script[300];  /* that runs now */
};

/* A reload under way: the new set, tried by workers in the loop. */
struct trial {
	struct policy *policy;
	struct policy_crew *crew;
	struct set_check check;
	json_t *set;
	policy_reloaded cb; /* NULL: told that the gateway is stopping */
	void *arg;
};

struct policy {
	uv_loop_t *loop;
	char *exe, *dir;
	uint32_t deadline_ms;
	uint64_t memory_max;
	json_t *set, *hooks;
	int64_t since_ms;
	struct tenant *tenants;
	struct queue ready;
	struct trial *trial; /* NULL: none */
	uv_timer_t *soon;
	bool closing;
	void (*closed)(void *arg);
	void *closed_arg;
};

static void ask_next(struct tenant *t);
static void send_head(struct tenant *t);
static void tenant_free(struct tenant *t);
static void on_soon(uv_timer_t *timer);

static void queue_init(struct queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
}

static void queue_put(struct queue *queue, struct question *q)
{
	q->next = NULL;
	*queue->tail = q;
	queue->tail = &q->next;
}

static struct question *queue_take(struct queue *queue)
{
	struct question *q = queue->head;

	if (q && !(queue->head = q->next))
		queue->tail = &queue->head;
	return q;
}

static void question_tell(struct question *q)
{
	q->cb(q->arg, q->failed ? NULL : q->result, q->failed ? &q->err : NULL);
	free(q->hook);
	free(q->folder);
	json_decref(q->input);
	json_decref(q->result);
	free(q);
}

static void make_ready(struct policy *p, struct question *q)
{
	queue_put(&p->ready, q);
	uv_ref((uv_handle_t *)p->soon);
	if (!uv_is_active((uv_handle_t *)p->soon))
		uv_timer_start(p->soon, on_soon, 0, 0);
}

static void on_soon(uv_timer_t *timer)
{
	struct policy *p = timer->data;
	struct question *q;

	while ((q = queue_take(&p->ready)))
		question_tell(q);
	uv_unref((uv_handle_t *)p->soon);
}

static struct question *pop(struct tenant *t)
{
	t->asked = false;
	uv_timer_stop(t->timer);
	return queue_take(&t->waiting);
}

static void answer(struct tenant *t, json_t *result)
{
	struct question *q = pop(t);

	q->result = json_incref(result);
	make_ready(t->policy, q);
}

static void fail(struct tenant *t, const struct pcg_error *err)
{
	struct question *q = pop(t);

	q->failed = true;
	q->err = *err;
	make_ready(t->policy, q);
}

static void end_worker(struct tenant *t)
{
	t->ending = true;
	worker_end(t->worker, 1000);
}

static void on_idle(uv_timer_t *timer)
{
	struct tenant *t = timer->data;

	if (t->worker && !t->waiting.head && !t->ending)
		end_worker(t);
}

static void on_deadline(uv_timer_t *timer)
{
	struct tenant *t = timer->data;

	if (!t->worker)
		return;
	t->late = t->ending = true;
	worker_kill(t->worker, *t->script ? "a policy ran past its deadline" : "it did not start");
}

/* The worker runs strangers' code: what it says is checked as if a script had said it. */
static void take_reply(struct tenant *t, json_t *doc)
{
	json_t *result = json_object_get(doc, "result"), *error = json_object_get(doc, "error");
	const char *hook = t->waiting.head->hook;
	struct pcg_error err;

	if (error) {
		json_to_error(error, &err);
		err.class = PCG_CLASS_PERMANENT;
		fail(t, &err);
	} else if (json_is_null(result)) {
		answer(t, NULL);
	} else if (!result || policy_schema_check(hook, result, &err)) {
		if (!result)
			pcg_fail(&err, PCG_CLASS_PERMANENT, "",
				 "its worker answered without a result");
		err.class = PCG_CLASS_PERMANENT;
		pcg_fail_prefix(&err, "policy %s, hook %s", t->script, hook);
		fail(t, &err);
	} else {
		if (json_is_false(json_object_get(result, "allow")))
			json_put_str(result, "script", t->script);
		answer(t, result);
	}
}

static void on_frame(void *arg, struct worker *w, json_t *doc)
{
	struct tenant *t = arg;

	if (json_object_get(doc, "ready") && !t->ready) {
		t->ready = true;
		if (t->asked && !t->ending)
			send_head(t);
		return;
	}
	if (!t->asked || json_int_or(doc, "id", 0) != t->id)
		return;
	if (!json_str(doc, "begin")) {
		take_reply(t, doc);
		ask_next(t);
		return;
	}
	/* All scripts of one question share one deadline; that of the start is over. */
	if (!*t->script && !t->ending)
		uv_timer_start(t->timer, on_deadline, t->policy->deadline_ms, 0);
	snprintf(t->script, sizeof(t->script), "%s", json_str(doc, "begin"));
}

static void why_ended(const struct tenant *t, struct worker *w, const char *reason,
		      struct pcg_error *err)
{
	const char *hook = t->waiting.head->hook;

	if (!*t->script || (!t->late && worker_killed_outside(w)))
		pcg_fail(err, PCG_CLASS_RETRY,
			 "look whether the machine is short of memory or processes",
			 "policies of tenant %s, hook %s: the worker ended: %s", t->name, hook,
			 reason);
	else if (t->late)
		pcg_fail(err, PCG_CLASS_PERMANENT, "look for a loop in it that does not end",
			 "policy %s, hook %s: stopped after %u ms without a result", t->script,
			 hook, t->policy->deadline_ms);
	else
		pcg_fail(err, PCG_CLASS_PERMANENT, "look for what uses that much memory in it",
			 "policy %s, hook %s: its worker ended: %s", t->script, hook, reason);
}

static void on_end(void *arg, struct worker *w, const char *reason)
{
	struct tenant *t = arg;
	struct pcg_error err;

	t->worker = NULL;
	t->ending = t->ready = false;
	if (t->asked) {
		why_ended(t, w, reason, &err);
		log_err("policy_worker_ended", &err, LS("tenant", t->name));
		/* Not the script's doing and not ours: once more with another worker. */
		if (err.class == PCG_CLASS_RETRY && !t->late &&
		    t->waiting.head->starts < STARTS_MAX) {
			t->asked = false;
			uv_timer_stop(t->timer);
		} else {
			fail(t, &err);
		}
	}
	if (t->waiting.head)
		ask_next(t);
	else
		tenant_free(t);
}

static json_t *scripts_of(const struct policy *p, const char *folder)
{
	json_t *scripts = json_object_get(p->set, folder);

	return scripts ? scripts : json_object_get(p->set, POLICY_ALL);
}

static int start_worker(struct tenant *t, json_t *scripts, struct pcg_error *err)
{
	struct policy *p = t->policy;
	AUTO_JSON json_t *hello = policy_hello(scripts, p->memory_max);
	struct worker_spec spec = {.exe = p->exe,
				   .role = "policy",
				   .name = t->name,
				   .hello = hello,
				   .memory_max = POLICY_PROCESS_MAX(p->memory_max),
				   .max_files = 16,
				   .on_frame = on_frame,
				   .on_end = on_end,
				   .arg = t};

	json_decref(t->scripts);
	t->scripts = json_incref(scripts);
	return worker_start(p->loop, &spec, &t->worker, err);
}

/* A worker that takes nothing any more is about to end, and on_end comes to the head again. */
static void send_head(struct tenant *t)
{
	struct question *q = t->waiting.head;
	AUTO_JSON json_t *req = json_pack("{s:s,s:I,s:s,s:O}", "op", "eval", "id",
					  (json_int_t)t->id, "hook", q->hook, "input", q->input);
	struct pcg_error err;

	if (!worker_send(t->worker, req, &err))
		return;
	t->ending = true;
	worker_kill(t->worker, err.text);
	if (err.class != PCG_CLASS_RETRY)
		fail(t, &err);
}

static void ask_head(struct tenant *t)
{
	t->id++;
	t->late = false;
	t->script[0] = '\0';
	t->asked = true;
	t->waiting.head->starts++;
	uv_timer_start(t->timer, on_deadline, POLICY_START_MS, 0);
	if (t->ready)
		send_head(t);
}

static void ask_next(struct tenant *t)
{
	struct policy *p = t->policy;
	struct pcg_error err;

	while (!t->asked && !t->ending && !p->closing && t->waiting.head) {
		json_t *scripts = scripts_of(p, t->waiting.head->folder);

		if (t->worker && t->scripts != scripts)
			end_worker(t);
		else if (!t->worker && start_worker(t, scripts, &err))
			fail(t, &err);
		else
			ask_head(t);
	}
	if (t->worker && !t->waiting.head && !t->ending)
		uv_timer_start(t->timer, on_idle, IDLE_MS, 0);
}

static uv_timer_t *timer_new(uv_loop_t *loop, void *data)
{
	uv_timer_t *t = calloc(1, sizeof(*t));

	assert(t);
	uv_timer_init(loop, t);
	uv_unref((uv_handle_t *)t);
	t->data = data;
	return t;
}

static void timer_closed(uv_handle_t *h)
{
	free(h);
}

static struct tenant *tenant_of(struct policy *p, const char *name)
{
	struct tenant *t;

	for (t = p->tenants; t; t = t->next)
		if (!strcmp(t->name, name))
			return t;
	t = calloc(1, sizeof(*t));
	assert(t);
	t->policy = p;
	t->name = strdup(name);
	queue_init(&t->waiting);
	t->timer = timer_new(p->loop, t);
	t->next = p->tenants;
	p->tenants = t;
	return t;
}

static bool has_hook(const struct policy *p, const char *folder, const char *hook)
{
	json_t *scripts = json_object_get(p->hooks, folder), *names, *name;
	const char *script;
	size_t i;

	if (!scripts)
		scripts = json_object_get(p->hooks, POLICY_ALL);
	json_object_foreach (scripts, script, names)
		json_array_foreach (names, i, name)
			if (!strcmp(json_string_value(name), hook))
				return true;
	return false;
}

/* A folder carries the tenant's uid or its name. Both: nobody knows which one was meant. */
static int folder_of(const struct policy *p, const char *uid, const char *name, const char **folder,
		     struct pcg_error *err)
{
	bool by_uid = *uid && strcmp(uid, POLICY_ALL) && json_object_get(p->set, uid);
	bool by_name = name && strcmp(name, uid) && strcmp(name, POLICY_ALL) &&
		       json_object_get(p->set, name);

	if (by_uid && by_name)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"put the scripts of both into one, remove the other, pcgctl reload",
				"tenant %s has two policy folders in %s: %s and %s", name, p->dir,
				uid, name);
	*folder = by_uid ? uid : by_name ? name : POLICY_ALL;
	return 0;
}

bool policy_asks(const struct policy *p, const char *tenant, const char *tenant_name, const char *hook)
{
	const char *folder = NULL;
	struct pcg_error err;

	return folder_of(p, tenant ? tenant : "", tenant_name, &folder, &err) != 0 ||
	       has_hook(p, folder, hook);
}

void policy_eval(struct policy *p, const char *tenant, const char *tenant_name, const char *hook,
		 const json_t *input, policy_cb cb, void *arg)
{
	struct question *q = calloc(1, sizeof(*q));
	const char *folder = NULL;
	struct tenant *t;

	assert(q && policy_hook_known(hook));
	if (!tenant)
		tenant = "";
	q->cb = cb;
	q->arg = arg;
	q->failed = folder_of(p, tenant, tenant_name, &folder, &q->err) != 0;
	if (p->closing) {
		q->failed = true;
		pcg_fail(&q->err, PCG_CLASS_CANCELLED, "", "the gateway is stopping");
		question_tell(q);
		return;
	}
	if (q->failed || !has_hook(p, folder, hook)) {
		make_ready(p, q);
		return;
	}
	q->hook = strdup(hook);
	q->folder = strdup(folder);
	q->input = json_deep_copy(input);
	t = tenant_of(p, tenant);
	queue_put(&t->waiting, q);
	ask_next(t);
}

static void take_up(struct policy *p, json_t *set, json_t *hooks)
{
	struct tenant *next;

	if (json_equal(set, p->set))
		return;
	json_decref(p->set);
	json_decref(p->hooks);
	p->set = json_incref(set);
	p->hooks = json_incref(hooks);
	p->since_ms = clock_wall_ms();
	for (struct tenant *t = p->tenants; t; t = next) {
		next = t->next;
		if (t->worker && !t->asked && !t->ending)
			end_worker(t);
	}
	log_info("policy_taken_up", LS("dir", p->dir), LI("tenants", json_object_size(set)));
}

static void trial_free(struct trial *t)
{
	json_decref(t->set);
	free(t);
}

static void free_when_closed(struct policy *p);

static void on_tried(void *arg)
{
	struct trial *t = arg;
	struct policy *p = t->policy;
	AUTO_JSON json_t *hooks = NULL;
	struct buf report;
	int r;

	p->trial = NULL;
	if (!t->cb) {
		set_check_free(&t->check);
		trial_free(t);
		free_when_closed(p);
		return;
	}
	buf_init(&report, 1u << 16);
	r = set_check_take(&t->check, &report, &hooks);
	if (!r)
		take_up(p, t->set, hooks);
	t->cb(t->arg, r ? report.data : NULL);
	buf_free(&report);
	trial_free(t);
}

void policy_reload(struct policy *p, policy_reloaded cb, void *arg)
{
	struct trial *t = calloc(1, sizeof(*t));
	struct buf report;

	assert(t && !p->trial && !p->closing);
	buf_init(&report, 1u << 16);
	if (policy_dir_read(p->dir, &t->set, &report)) {
		trial_free(t);
		cb(arg, report.data);
		buf_free(&report);
		return;
	}
	buf_free(&report);
	t->policy = p;
	t->cb = cb;
	t->arg = arg;
	set_check_prepare(&t->check, t->set, p->set, p->hooks);
	p->trial = t;
	t->crew = policy_crew_new(p->loop, p->exe, t->check.jobs, t->check.n, POLICY_DEADLINE_MS, 0,
				  on_tried, t);
}

/* At the start there is no loop to hold up. */
static int take_first(struct policy *p, struct buf *report)
{
	AUTO_JSON json_t *set = NULL, *hooks = NULL;

	if (policy_dir_read(p->dir, &set, report) ||
	    policy_set_check(p->exe, set, NULL, NULL, report, &hooks))
		return -1;
	take_up(p, set, hooks);
	return 0;
}

int policy_new(uv_loop_t *loop, const struct policy_spec *spec, struct policy **out,
	       struct pcg_error *err)
{
	struct policy *p = calloc(1, sizeof(*p));
	struct buf report;
	int r;

	assert(p);
	p->loop = loop;
	p->exe = strdup(spec->exe);
	p->dir = strdup(spec->dir ? spec->dir : "");
	p->deadline_ms = spec->deadline_ms ? spec->deadline_ms : POLICY_DEADLINE_MS;
	p->memory_max = spec->memory_max ? spec->memory_max : POLICY_MEMORY_MAX;
	p->set = json_null();
	p->hooks = json_object();
	queue_init(&p->ready);
	p->soon = timer_new(loop, p);
	buf_init(&report, 1u << 16);
	r = take_first(p, &report);
	if (r)
		r = pcg_fail(err, PCG_CLASS_PERMANENT,
			     "correct what is named; pcgctl policy check DIR shows it again",
			     "reading the policies in %s: %s", p->dir, report.data);
	buf_free(&report);
	if (r) {
		policy_close(p, NULL, NULL);
		return r;
	}
	*out = p;
	return 0;
}

static void policy_freed(uv_handle_t *h)
{
	struct policy *p = h->data;

	free(h);
	if (p->closed)
		p->closed(p->closed_arg);
	free(p->exe);
	free(p->dir);
	json_decref(p->set);
	json_decref(p->hooks);
	free(p);
}

static void free_when_closed(struct policy *p)
{
	if (p->closing && !p->tenants && !p->trial)
		uv_close((uv_handle_t *)p->soon, policy_freed);
}

static void tenant_free(struct tenant *t)
{
	struct policy *p = t->policy;
	struct tenant **at = &p->tenants;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	uv_close((uv_handle_t *)t->timer, timer_closed);
	json_decref(t->scripts);
	free(t->name);
	free(t);
	free_when_closed(p);
}

static void cancel_all(struct queue *queue)
{
	struct question *q;

	while ((q = queue_take(queue))) {
		q->failed = true;
		pcg_fail(&q->err, PCG_CLASS_CANCELLED, "", "the gateway is stopping");
		question_tell(q);
	}
}

void policy_close(struct policy *p, void (*closed)(void *arg), void *arg)
{
	struct tenant *next;

	assert(!p->closing);
	p->closing = true;
	p->closed = closed;
	p->closed_arg = arg;
	uv_timer_stop(p->soon);
	cancel_all(&p->ready);
	for (struct tenant *t = p->tenants; t; t = t->next) {
		t->asked = false;
		uv_timer_stop(t->timer);
		cancel_all(&t->waiting);
	}
	if (p->trial) {
		policy_reloaded cb = p->trial->cb;

		p->trial->cb = NULL;
		cb(p->trial->arg, "the gateway is stopping\n");
		policy_crew_stop(p->trial->crew);
	}
	free_when_closed(p);
	for (struct tenant *t = p->tenants; t; t = next) {
		next = t->next;
		if (t->worker)
			worker_kill(t->worker, "the gateway is stopping");
		else
			tenant_free(t);
	}
}

json_t *policy_list(const struct policy *p)
{
	json_t *tenants = json_array(), *scripts, *hooks;
	char since[CLOCK_RFC3339_SIZE];
	const char *tenant;

	clock_rfc3339(p->since_ms, since);
	json_object_foreach (p->hooks, tenant, scripts) {
		json_t *names = json_array();
		const char *script;

		json_object_foreach (scripts, script, hooks)
			json_array_append_new(
				names, json_pack("{s:s,s:O}", "name", script, "hooks", hooks));
		json_array_append_new(tenants, json_pack("{s:s,s:o,s:s}", "tenant", tenant,
							 "scripts", names, "since", since));
	}
	return json_pack("{s:o,s:s}", "tenants", tenants, "dir", p->dir);
}
