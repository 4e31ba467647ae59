/* SPDX-License-Identifier: Apache-2.0 */
/* One worker for each question, in the caller's loop, or waited for in a loop of its own: what check,
 * test and reload use, so that a hostile script is parsed where an evaluation would run. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include "host/worker/worker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 4

struct run {
	struct policy_crew *crew;
	struct policy_job *job;
	struct worker *worker; /* NULL: none runs */
	uv_timer_t timer;
	char script[300];
	bool late;
};

struct policy_crew {
	uv_loop_t *loop;
	const char *exe;
	struct policy_job *jobs;
	size_t next, n;
	uint32_t deadline_ms;
	uint64_t memory_max;
	struct run runs[AT_ONCE];
	unsigned open; /* runs that have not ended */
	void (*done)(void *arg);
	void *arg;
};

static void take_job(struct run *r);
static void on_deadline(uv_timer_t *t);

json_t *policy_hello(const json_t *scripts, uint64_t memory_max)
{
	return json_pack("{s:O,s:I}", "scripts", scripts, "memoryMax", (json_int_t)memory_max);
}

static void on_frame(void *arg, struct worker *w, json_t *doc)
{
	struct run *r = arg;

	struct pcg_error err;

	if (r->job->reply)
		return;
	if (json_object_get(doc, "ready")) {
		if (worker_send(w, r->job->request, &err))
			worker_kill(w, err.text);
		return;
	}
	if (!json_str(doc, "begin")) {
		r->job->reply = json_incref(doc);
		uv_timer_stop(&r->timer);
		worker_end(w, 1000);
		return;
	}
	/* All scripts of one question share one deadline; that of the start is over. */
	if (!*r->script)
		uv_timer_start(&r->timer, on_deadline, r->crew->deadline_ms, 0);
	snprintf(r->script, sizeof(r->script), "%s", json_str(doc, "begin"));
}

static void on_deadline(uv_timer_t *t)
{
	struct run *r = t->data;

	r->late = true;
	worker_kill(r->worker, "past its deadline");
}

static void on_end(void *arg, struct worker *w, const char *reason)
{
	struct run *r = arg;
	struct pcg_error *err = &r->job->err;

	r->worker = NULL;
	uv_timer_stop(&r->timer);
	if (r->job->reply)
		;
	else if (!*r->script)
		pcg_fail(err, PCG_CLASS_RETRY,
			 "look whether the machine is short of memory or processes",
			 "trying policies: the worker ended: %s", reason);
	else if (r->late)
		pcg_fail(err, PCG_CLASS_PERMANENT, "look for a loop in it that does not end",
			 "policy %s: stopped after %u ms without a result", r->script,
			 r->crew->deadline_ms);
	else
		pcg_fail(err, PCG_CLASS_PERMANENT, "look for what uses that much memory in it",
			 "policy %s: its worker ended: %s", r->script, reason);
	take_job(r);
}

static int start(struct run *r)
{
	struct policy_crew *c = r->crew;
	AUTO_JSON json_t *hello = policy_hello(r->job->scripts, c->memory_max);
	struct worker_spec spec = {.exe = c->exe,
				   .role = "policy",
				   .name = "check",
				   .hello = hello,
				   .memory_max = POLICY_PROCESS_MAX(c->memory_max),
				   .max_files = 16,
				   .on_frame = on_frame,
				   .on_end = on_end,
				   .arg = r};

	r->late = false;
	r->script[0] = '\0';
	return worker_start(c->loop, &spec, &r->worker, &r->job->err);
}

static void on_closed(uv_handle_t *h)
{
	struct run *r = h->data;
	struct policy_crew *c = r->crew;

	if (--c->open)
		return;
	c->done(c->arg);
	free(c);
}

static void take_job(struct run *r)
{
	struct policy_crew *c = r->crew;

	while (c->next < c->n) {
		r->job = &c->jobs[c->next++];
		if (start(r))
			continue;
		uv_timer_start(&r->timer, on_deadline, POLICY_START_MS, 0);
		return;
	}
	uv_close((uv_handle_t *)&r->timer, on_closed);
}

struct policy_crew *policy_crew_new(uv_loop_t *loop, const char *exe, struct policy_job *jobs, size_t n,
				    uint32_t deadline_ms, uint64_t memory_max,
				    void (*done)(void *arg), void *arg)
{
	struct policy_crew *c = calloc(1, sizeof(*c));

	assert(c);
	c->loop = loop;
	c->exe = exe;
	c->jobs = jobs;
	c->n = n;
	c->deadline_ms = deadline_ms;
	c->memory_max = memory_max ? memory_max : POLICY_MEMORY_MAX;
	c->done = done;
	c->arg = arg;
	c->open = AT_ONCE;
	for (size_t i = 0; i < AT_ONCE; i++) {
		struct run *r = &c->runs[i];

		r->crew = c;
		uv_timer_init(loop, &r->timer);
		r->timer.data = r;
		take_job(r);
	}
	return c;
}

void policy_crew_stop(struct policy_crew *c)
{
	c->next = c->n;
	for (size_t i = 0; i < AT_ONCE; i++)
		if (c->runs[i].worker)
			worker_kill(c->runs[i].worker, "the gateway is stopping");
}

static void nothing(void *arg)
{
}

void policy_run_jobs(const char *exe, struct policy_job *jobs, size_t n, uint32_t deadline_ms,
		     uint64_t memory_max)
{
	uv_loop_t loop;

	uv_loop_init(&loop);
	policy_crew_new(&loop, exe, jobs, n, deadline_ms, memory_max, nothing, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
}
