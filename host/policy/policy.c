/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side: the set in force, a worker for each tenant on need, one question at a time each. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include "core/clock.h"
#include "core/log.h"
#include "host/worker/worker.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define IDLE_MS 30000

struct question {
	struct question *next;
	char *hook;
	json_t *input;
	policy_cb cb;
	void *arg;
};

struct tenant {
	struct tenant *next;
	struct policy *policy;
	char *name;
	json_t *scripts; /* that the running worker was given */
	struct worker *worker;
	struct question *head, **tail;
	bool asked; /* the head is with the worker */
	int64_t id;
	uv_timer_t *timer; /* deadline while asked, else idle end */
	char script[300];
	bool late;
};

struct policy {
	uv_loop_t *loop;
	char *exe, *dir;
	uint32_t deadline_ms;
	uint64_t memory_max;
	json_t *set, *hooks;
	int64_t since_ms;
	struct tenant *tenants;
	struct question *none, **none_tail; /* answered from the loop: no script has the hook */
	uv_timer_t *soon;
	bool closing;
	void (*closed)(void *arg);
	void *closed_arg;
};

static void ask_next(struct tenant *t);

static void tenant_free(struct tenant *t);

static void question_end(struct question *q, const json_t *result, const struct pcg_error *err)
{
	q->cb(q->arg, result, err);
	free(q->hook);
	json_decref(q->input);
	free(q);
}

static struct question *pop(struct tenant *t)
{
	struct question *q = t->head;

	t->head = q->next;
	if (!t->head)
		t->tail = &t->head;
	t->asked = false;
	uv_timer_stop(t->timer);
	return q;
}

static void on_idle(uv_timer_t *timer)
{
	struct tenant *t = timer->data;

	if (t->worker && !t->head)
		worker_end(t->worker, 1000);
}

static void on_deadline(uv_timer_t *timer)
{
	struct tenant *t = timer->data;

	t->late = true;
	if (t->worker)
		worker_kill(t->worker, "a policy ran past its deadline");
}

static void on_frame(void *arg, struct worker *w, json_t *doc)
{
	struct tenant *t = arg;
	json_t *result = json_object_get(doc, "result"), *error = json_object_get(doc, "error");
	struct pcg_error err;
	struct question *q;

	if (json_int_or(doc, "id", 0) != t->id || !t->asked)
		return;
	if (json_str(doc, "begin")) {
		snprintf(t->script, sizeof(t->script), "%s", json_str(doc, "begin"));
		return;
	}
	q = pop(t);
	if (error) {
		json_to_error(error, &err);
		err.class = PCG_CLASS_PERMANENT;
		question_end(q, NULL, &err);
	} else {
		question_end(q, json_is_null(result) ? NULL : result, NULL);
	}
	ask_next(t);
}

static void on_end(void *arg, struct worker *w, const char *reason)
{
	struct tenant *t = arg;
	struct pcg_error err;

	t->worker = NULL;
	if (t->policy->closing) {
		tenant_free(t);
		return;
	}
	if (t->asked) {
		if (t->late)
			pcg_fail(&err, PCG_CLASS_PERMANENT,
				 "look for a loop in it that does not end",
				 "policy %s, hook %s: stopped after %u ms without a result", t->script,
				 t->head->hook, t->policy->deadline_ms);
		else
			pcg_fail(&err, PCG_CLASS_PERMANENT,
				 "look for what uses that much memory in it",
				 "policy %s, hook %s: its worker ended: %s", t->script, t->head->hook,
				 reason);
		log_err("policy_worker_ended", &err, LS("tenant", t->name));
		question_end(pop(t), NULL, &err);
	}
	ask_next(t);
}

static int start_worker(struct tenant *t, struct pcg_error *err)
{
	struct policy *p = t->policy;
	AUTO_JSON json_t *hello = NULL;
	struct worker_spec spec = { .exe = p->exe, .role = "policy", .name = t->name,
				    .memory_max = 4 * p->memory_max, .max_files = 16,
				    .on_frame = on_frame, .on_end = on_end, .arg = t };
	json_t *scripts = json_object_get(p->set, t->name);

	if (!scripts)
		scripts = json_object_get(p->set, POLICY_ALL);
	json_decref(t->scripts);
	t->scripts = json_incref(scripts);
	hello = policy_hello(scripts, p->memory_max);
	spec.hello = hello;
	return worker_start(p->loop, &spec, &t->worker, err);
}

static bool outdated(const struct tenant *t)
{
	json_t *scripts = json_object_get(t->policy->set, t->name);

	return t->scripts != (scripts ? scripts : json_object_get(t->policy->set, POLICY_ALL));
}

static void ask_next(struct tenant *t)
{
	struct policy *p = t->policy;
	AUTO_JSON json_t *req = NULL;
	struct pcg_error err;

	if (t->asked)
		return;
	if (t->worker && outdated(t)) {
		worker_end(t->worker, 1000);
		return;
	}
	if (!t->head) {
		if (t->worker)
			uv_timer_start(t->timer, on_idle, IDLE_MS, 0);
		return;
	}
	req = json_pack("{s:s,s:I,s:s,s:O}", "op", "eval", "id", (json_int_t)++t->id, "hook",
			t->head->hook, "input", t->head->input);
	t->late = false;
	t->script[0] = '\0';
	if ((!t->worker && start_worker(t, &err)) || worker_send(t->worker, req, &err)) {
		question_end(pop(t), NULL, &err);
		return;
	}
	t->asked = true;
	uv_timer_start(t->timer, on_deadline, p->deadline_ms, 0);
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
	t->tail = &t->head;
	t->timer = timer_new(p->loop, t);
	t->next = p->tenants;
	p->tenants = t;
	return t;
}

static void on_soon(uv_timer_t *timer)
{
	struct policy *p = timer->data;
	struct question *q = p->none;

	p->none = NULL;
	p->none_tail = &p->none;
	uv_unref((uv_handle_t *)p->soon);
	while (q) {
		struct question *next = q->next;

		question_end(q, NULL, NULL);
		q = next;
	}
}

static bool has_hook(const struct policy *p, const char *tenant, const char *hook)
{
	json_t *scripts = json_object_get(p->hooks, tenant), *names, *name;
	const char *script;
	size_t i;

	if (!scripts)
		scripts = json_object_get(p->hooks, POLICY_ALL);
	json_object_foreach(scripts, script, names)
		json_array_foreach(names, i, name)
			if (!strcmp(json_string_value(name), hook))
				return true;
	return false;
}

void policy_eval(struct policy *p, const char *tenant, const char *hook, const json_t *input,
		 policy_cb cb, void *arg)
{
	struct question *q = calloc(1, sizeof(*q));
	struct tenant *t;

	assert(q && policy_hook_known(hook));
	q->cb = cb;
	q->arg = arg;
	q->hook = strdup(hook);
	if (!has_hook(p, tenant, hook)) {
		*p->none_tail = q;
		p->none_tail = &q->next;
		uv_ref((uv_handle_t *)p->soon);
		uv_timer_start(p->soon, on_soon, 0, 0);
		return;
	}
	q->input = json_deep_copy(input);
	t = tenant_of(p, tenant);
	*t->tail = q;
	t->tail = &q->next;
	ask_next(t);
}

int policy_reload(struct policy *p, struct buf *report)
{
	AUTO_JSON json_t *set = NULL, *hooks = NULL;

	if (policy_dir_read(p->dir, &set, report) || policy_set_check(p->exe, set, report, &hooks))
		return -1;
	if (json_equal(set, p->set))
		return 0;
	json_decref(p->set);
	json_decref(p->hooks);
	p->set = json_incref(set);
	p->hooks = json_incref(hooks);
	p->since_ms = clock_wall_ms();
	for (struct tenant *t = p->tenants; t; t = t->next)
		ask_next(t);
	log_info("policy_taken_up", LS("dir", p->dir), LI("tenants", json_object_size(set)));
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
	p->none_tail = &p->none;
	p->soon = timer_new(loop, p);
	buf_init(&report, 1u << 16);
	r = policy_reload(p, &report);
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
	if (!p->tenants)
		uv_close((uv_handle_t *)p->soon, policy_freed);
}

static void drop_questions(struct question *q)
{
	struct pcg_error err;

	pcg_fail(&err, PCG_CLASS_CANCELLED, "", "the gateway is stopping");
	while (q) {
		struct question *next = q->next;

		question_end(q, NULL, &err);
		q = next;
	}
}

void policy_close(struct policy *p, void (*closed)(void *arg), void *arg)
{
	struct tenant *next;

	p->closing = true;
	p->closed = closed;
	p->closed_arg = arg;
	drop_questions(TAKE(p->none));
	if (!p->tenants)
		uv_close((uv_handle_t *)p->soon, policy_freed);
	for (struct tenant *t = p->tenants; t; t = next) {
		next = t->next;
		drop_questions(TAKE(t->head));
		t->asked = false;
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
	json_object_foreach(p->hooks, tenant, scripts) {
		json_t *names = json_array();
		const char *script;

		json_object_foreach(scripts, script, hooks)
			json_array_append_new(names, json_pack("{s:s,s:O}", "name", script, "hooks",
							       hooks));
		json_array_append_new(tenants, json_pack("{s:s,s:o,s:s}", "tenant", tenant,
							 "scripts", names, "since", since));
	}
	return json_pack("{s:o,s:s}", "tenants", tenants, "dir", p->dir);
}
