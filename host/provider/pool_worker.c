/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/pool_impl.h"
#include "core/clock.h"
#include "core/log.h"
#include "pcg/provider.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PW_MAGIC 0x70776f72u
#define WORKER_MEMORY (UINT64_C(1) << 30)
#define WORKER_FILES 512
#define END_GRACE_MS 2000
#define WATCH_LULL_MS 1000     /* without a call that waits, the watch ends */
#define WATCH_BACKOFF_MS 1000
#define WATCH_BACKOFF_MAX_MS 60000
#define CRASH_BACKOFF_MS 100

struct pool_ack {
	struct pool_worker *worker;
	json_int_t id;
};

void pool_worker_unref(struct pool_worker *w)
{
	if (--w->refs)
		return;
	w->magic = 0;
	free(w);
}

int pool_worker_send(struct pool_worker *w, json_t *frame, struct pcg_error *err)
{
	return pool_worker_send_op(w, frame, NULL, err);
}

int pool_worker_send_op(struct pool_worker *w, json_t *frame, const json_t *doc, struct pcg_error *err)
{
	int r = -1;

	if (w->state == PW_READY || w->state == PW_STOPPING)
		r = worker_send_pair(w->process, frame, doc, err);
	else
		r = pcg_fail(err, PCG_CLASS_RETRY, "", "sending to the worker of account %s: it has ended",
			     w->account->uid);
	json_decref(frame);
	return r;
}

void provider_ack(void *ack, int result)
{
	struct pool_ack *a = ack;
	struct pcg_error err;

	assert(a->worker->magic == PW_MAGIC);
	if (a->worker->state != PW_DEAD)
		pool_worker_send(a->worker, json_pack("{s:s, s:I, s:i}", "t", "ack", "id", a->id, "result", result),
				 &err);
	pool_worker_unref(a->worker);
	free(a);
}

static struct pool_ack *ack_new(struct pool_worker *w, const json_t *frame)
{
	struct pool_ack *ack = calloc(1, sizeof(*ack));

	assert(ack);
	ack->worker = w;
	ack->id = json_int_or(frame, "id", 0);
	w->refs++;
	return ack;
}

/* A worker that is replaced ends while the next one works already: what that one has kept, a session, is not to be lost by it. */
static bool is_outdated(struct pool_worker *w, const char *name)
{
	struct account *a = w->account;

	if ((uint64_t)json_integer_value(json_object_get(a->secrets_of, name)) > w->number)
		return true;
	if (!a->secrets_of)
		a->secrets_of = json_object();
	json_object_set_new(a->secrets_of, name, json_integer((json_int_t)w->number));
	return false;
}

static void on_secret_put(struct pool_worker *w, const json_t *frame)
{
	const struct provider_hooks *hooks = &w->pool->hooks;
	const char *name = json_str(frame, "name"), *value = json_str(frame, "value");
	struct pool_ack *ack = ack_new(w, frame);
	struct secret *secret = value ? secret_new_str(value) : NULL;

	/* A worker whose account is gone must not bring its secrets back. */
	if (!hooks->secret_put || !name || !w->account->doc)
		provider_ack(ack, -1);
	else if (is_outdated(w, name))
		provider_ack(ack, 0);
	else
		hooks->secret_put(hooks->arg, w->account->uid, name, secret, ack);
	secret_unref(secret);
}

static void on_checkpoint(struct pool_worker *w, const json_t *frame)
{
	const struct provider_hooks *hooks = &w->pool->hooks;
	struct provider_call *c = pool_inflight_find(w, (uint64_t)json_int_or(frame, "call", 0));
	struct pool_ack *ack = ack_new(w, frame);

	if (!hooks->checkpoint || !c || !c->cb)
		provider_ack(ack, -1);
	else
		hooks->checkpoint(hooks->arg, c->arg, json_at(frame, "doc"), ack);
}

static void on_ready(struct pool_worker *w, const json_t *frame)
{
	struct plugin_file *f = w->plugin;

	if (w->state != PW_STARTING)
		return;
	w->state = PW_READY;
	w->max_parallel = (size_t)json_int_or(frame, "maxParallel", 1);
	w->has_watch = json_bool_or(frame, "watch", false);
	w->idle_since = pool_now(w->pool);
	snprintf(f->version, sizeof(f->version), "%s", json_str_or(frame, "version", ""));
	snprintf(f->abi, sizeof(f->abi), "%s", json_str_or(frame, "abi", ""));
	log_info("provider_worker_ready", LS("account", w->account->uid), LS("provider", f->name),
		 LS("version", f->version), LS("abi", f->abi), LI("pid", worker_pid(w->process)));
	pool_dispatch(w->account);
	pool_worker_settle(w);
}

static void on_refused(struct pool_worker *w, const json_t *frame)
{
	struct account *a = w->account;

	w->refused = true;
	json_to_error(json_at(frame, "error"), &a->err);
	if (a->err.class != PCG_CLASS_AUTH)
		a->err.class = PCG_CLASS_PERMANENT;
	log_err("provider_plugin_refused", &a->err, LS("account", a->uid), LS("provider", w->plugin->name));
	if (a->current == w) {
		a->current = NULL;
		a->refused = true;
		pool_fail_queued(a, &a->err);
	}
	worker_end(w->process, END_GRACE_MS);
}

static void on_watch_reply(struct pool_worker *w, const json_t *frame)
{
	bool done = json_int_or(frame, "status", PCG_STEP_ERROR) == PCG_STEP_DONE;
	uint64_t wait = WATCH_BACKOFF_MAX_MS;

	w->watch_id = 0;
	if (done || w->watch_cancelled)
		w->watch_failures = 0;
	else if (w->watch_failures++ < 6)
		wait = (uint64_t)WATCH_BACKOFF_MS << (w->watch_failures - 1);
	w->watch_at = pool_now(w->pool) + (w->watch_cancelled ? 0 : wait);
	if (!done && !w->watch_cancelled)
		log_debug("provider_watch_failed", LS("account", w->account->uid),
			  LS("cause", json_str_or(frame, "error.text", "")));
	w->watch_cancelled = false;
	pool_worker_settle(w);
}

static void on_hint(struct pool_worker *w, const json_t *frame)
{
	const struct provider_hooks *hooks = &w->pool->hooks;
	const char *subject = json_str(frame, "subject");

	w->watch_failures = 0;
	if (hooks->hint && subject && w->account->doc)
		hooks->hint(hooks->arg, w->account->uid, subject);
}

static void on_peer(struct pool_worker *w, const json_t *frame)
{
	const struct provider_hooks *hooks = &w->pool->hooks;
	const char *sha1 = json_str(frame, "sha1"), *sha256 = json_str(frame, "sha256");

	if (hooks->peer && sha1 && sha256 && w->account->doc)
		hooks->peer(hooks->arg, w->account->uid, sha1, sha256);
}

static void on_trial(struct pool_worker *w, const json_t *frame)
{
	const struct provider_hooks *hooks = &w->pool->hooks;

	if (hooks->trial)
		hooks->trial(hooks->arg, w->account->uid, frame);
}

static void on_frame(void *arg, struct worker *process, json_t *frame)
{
	struct pool_worker *w = arg;
	const char *t = json_str_or(frame, "t", "");

	if (strcmp(t, "reply") == 0 && w->watch_id &&
	    (uint64_t)json_int_or(frame, "id", 0) == w->watch_id)
		on_watch_reply(w, frame);
	else if (strcmp(t, "reply") == 0)
		pool_reply(w, frame);
	else if (strcmp(t, "hint") == 0)
		on_hint(w, frame);
	else if (strcmp(t, "peer") == 0)
		on_peer(w, frame);
	else if (strcmp(t, "checkpoint") == 0)
		on_checkpoint(w, frame);
	else if (strcmp(t, "secret_put") == 0)
		on_secret_put(w, frame);
	else if (strcmp(t, "turn") == 0)
		provider_ack(ack_new(w, frame), turns_begin(w, frame));
	else if (strcmp(t, "turn_end") == 0)
		turns_end(w, frame, ack_new(w, frame));
	else if (strcmp(t, "ready") == 0)
		on_ready(w, frame);
	else if (strcmp(t, "refused") == 0)
		on_refused(w, frame);
	else if (strcmp(t, "trial") == 0)
		on_trial(w, frame);
	else if (strcmp(t, "stopped") == 0)
		worker_end(process, END_GRACE_MS);
	else
		log_warn("provider_frame_unknown", LS("account", w->account->uid), LS("type", t));
}

static void quarantine(struct account *a, const char *provider, const char *reason)
{
	a->refused = a->quarantined = true;
	pcg_fail(&a->err, PCG_CLASS_PERMANENT,
		 "mend or replace the plugin, then: pcgctl plugin rescan (new credentials of the account end it, too)",
		 "plugin %s is quarantined for account %s: its worker died %d times within 10 minutes, at last: %s",
		 provider, a->uid, POOL_CRASHES, reason);
	log_err("provider_quarantined", &a->err, LS("account", a->uid), LS("provider", provider));
	pool_fail_queued(a, &a->err);
}

/* A worker died that was not told to. The first one is followed by another at once. */
static void note_crash(struct account *a, const char *provider, const char *reason)
{
	int64_t now = clock_mono_ms(), *t = a->crashes;
	size_t recent = 0;

	if (a->n_crashes == POOL_CRASHES)
		memmove(t, t + 1, (POOL_CRASHES - 1) * sizeof(*t));
	else
		a->n_crashes++;
	t[a->n_crashes - 1] = now;
	for (size_t i = 0; i < a->n_crashes; i++)
		recent += now - t[i] <= POOL_CRASH_WINDOW_MS;
	if (recent >= POOL_CRASHES)
		quarantine(a, provider, reason);
	else if (recent > 1)
		a->restart_at = pool_now(a->pool) + ((uint64_t)CRASH_BACKOFF_MS << (recent - 2));
}

static void unlink_worker(struct pool_worker *w)
{
	struct account *a = w->account;
	struct pool_worker **at = &a->workers;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	if (a->current == w)
		a->current = NULL;
	w->pool->n_workers--;
}

static void on_end(void *arg, struct worker *process, const char *reason)
{
	struct pool_worker *w = arg;
	struct provider_pool *p = w->pool;
	struct account *a = w->account;
	bool crashed = w->state != PW_STOPPING && !w->refused && !w->retired_early;
	struct pcg_error err;

	w->state = PW_DEAD;
	w->process = NULL;
	turns_drop(w);
	pcg_fail(&err, PCG_CLASS_RETRY, "", "the worker of account %s (plugin %s) ended in the middle: %s",
		 a->uid, w->plugin->name, reason);
	pool_fail_inflight(w, &err);
	unlink_worker(w);
	if (crashed) {
		log_warn("provider_worker_died", LS("account", a->uid), LS("provider", w->plugin->name),
			 LS("reason", reason));
		if (a->doc && !p->closing && !worker_killed_outside(process)) {
			note_crash(a, w->plugin->name, reason);
			if (p->hooks.died)
				p->hooks.died(p->hooks.arg, a->uid, reason);
		}
	} else {
		log_info("provider_worker_ended", LS("account", a->uid), LS("reason", reason));
	}
	pool_worker_unref(w);
	pool_dispatch(a);
	pool_account_gone(a);
	pool_check_closed(p);
}

static json_t *proxy_doc(const struct provider_pool *p)
{
	json_t *doc;

	if (!p->proxy)
		return NULL;
	doc = proxy_to_json(p->proxy);
	json_put_str(doc, "caPem", proxy_ca_pem(p->proxy));
	return doc;
}

static json_t *hello_doc(struct account *a, struct plugin_file *f, json_t *secrets)
{
	json_t *hello = json_object(), *proxy = proxy_doc(a->pool);

	json_object_set(hello, "account", a->doc);
	json_object_set(hello, "secrets", secrets);
	json_put_str(hello, "plugin.path", f->path);
	if (proxy)
		json_object_set_new(hello, "proxy", proxy);
	json_put(hello, "limits.connections", json_integer(a->pool->max_connections));
	json_put_str(hello, "gatewayUid", a->pool->gateway_uid);
	if (a->pool->trial)
		json_object_set(hello, "trial", a->pool->trial);
	return hello;
}

static int start_process(struct pool_worker *w, struct pcg_error *err)
{
	struct account *a = w->account;
	struct provider_pool *p = w->pool;
	char real[PATH_MAX];
	const char *paths[] = { p->plugins_dir, NULL, NULL };
	json_t *secrets = p->hooks.secrets ? p->hooks.secrets(p->hooks.arg, a->uid) : NULL;
	json_t *hello;
	struct worker_spec spec = {
		.exe = p->exe,
		.role = "account",
		.name = a->uid,
		.exec_paths = paths,
		.network = true,
		.memory_max = WORKER_MEMORY,
		.max_files = WORKER_FILES,
		.on_frame = on_frame,
		.on_end = on_end,
		.arg = w,
	};
	int r;

	if (!secrets)
		secrets = json_object();
	if (realpath(w->plugin->path, real))
		paths[1] = real;
	spec.hello = hello = hello_doc(a, w->plugin, secrets);
	r = worker_start(p->loop, &spec, &w->process, err);
	json_decref(hello);
	json_wipe(secrets);
	return r;
}

static struct pool_worker *start(struct account *a, struct plugin_file *f)
{
	struct pool_worker *w = calloc(1, sizeof(*w));

	assert(w);
	w->magic = PW_MAGIC;
	w->refs = 1;
	w->pool = a->pool;
	w->account = a;
	w->number = ++a->last_number;
	w->plugin = f;
	w->mark = f->mark;
	w->max_parallel = 1;
	w->started_ms = clock_wall_ms();
	w->due = pool_now(a->pool) + POOL_START_MS;
	if (start_process(w, &a->err)) {
		log_err("provider_worker_not_started", &a->err, LS("account", a->uid));
		free(w);
		pool_fail_queued(a, &a->err);
		return NULL;
	}
	w->next = a->workers;
	a->workers = a->current = w;
	a->pool->n_workers++;
	pool_due(a->pool, w->due);
	return w;
}

/* A changed plugin, and a changed resolver (which a confined process cannot open any more), mean
 * a new worker. Looked at now and then, when a call comes. */
static void check_files(struct account *a, struct plugin_file *f)
{
	static const char *const resolver[] = { "/etc/resolv.conf", "/etc/hosts" };
	struct provider_pool *p = a->pool;
	uint64_t now = pool_now(p);
	bool changed = false;

	if (now - (uint64_t)f->checked_ms >= POOL_CHECK_MS) {
		f->checked_ms = (int64_t)now;
		f->mark = file_mark_of(f->path);
	}
	if (now - p->resolver_checked >= POOL_CHECK_MS) {
		p->resolver_checked = now;
		for (size_t i = 0; i < ARRAY_LEN(resolver); i++) {
			struct file_mark mark = file_mark_of(resolver[i]);

			changed = changed || !file_mark_same(&mark, &p->resolver[i]);
			p->resolver[i] = mark;
		}
		for (struct account *o = p->accounts; o && changed; o = o->next)
			if (o->current)
				pool_worker_retire(o->current, false);
	}
	if (a->current && !file_mark_same(&a->current->mark, &f->mark))
		pool_worker_retire(a->current, false);
	else if (a->refused && !a->quarantined && !file_mark_same(&a->refused_mark, &f->mark))
		pool_account_forgive(a);
}

struct pool_worker *pool_worker_get(struct account *a)
{
	struct provider_pool *p = a->pool;
	struct plugin_file *f = plugin_folder_find(p->plugins, a->provider);
	struct pcg_error err;

	if (!f && provider_known(p, a->provider, &err)) {
		pool_fail_queued(a, &err);
		return NULL;
	}
	if (!f)
		f = plugin_folder_find(p->plugins, a->provider);
	check_files(a, f);
	if (a->refused) {
		pool_fail_queued(a, &a->err);
		return NULL;
	}
	if (a->current)
		return a->current;
	if (a->restart_at > pool_now(p)) {
		pool_due(p, a->restart_at);
		return NULL;
	}
	a->refused_mark = f->mark;
	return start(a, f);
}

static void stop_process(struct pool_worker *w)
{
	struct pcg_error err;

	/* Of a removed account it may have a session to end, which nobody else will. */
	if (w->state == PW_STARTING && !w->account->doc && !w->pool->closing)
		return;
	if (w->state == PW_STARTING) {
		w->retired_early = true;
		worker_end(w->process, END_GRACE_MS);
		return;
	}
	if (w->state != PW_READY)
		return;
	if (w->watch_id)
		pool_worker_send(w, json_pack("{s:s, s:I}", "t", "cancel", "id", (json_int_t)w->watch_id), &err);
	pool_worker_send(w, json_pack("{s:s, s:b}", "t", "stop", "final", w->final), &err);
	w->state = PW_STOPPING;
	w->due = pool_now(w->pool) + POOL_STOP_MS;
	pool_due(w->pool, w->due);
}

void pool_worker_retire(struct pool_worker *w, bool final)
{
	w->retired = true;
	w->final = w->final || final;
	if (w->account->current == w)
		w->account->current = NULL;
	if (w->n_calls == 0)
		stop_process(w);
}

/* The calls were cancelled: the worker's stop() runs as soon as they have ended. */
void pool_worker_close(struct pool_worker *w)
{
	if (w->account->current == w)
		w->account->current = NULL;
	w->retired = true;
	stop_process(w);
}

static void watch_start(struct pool_worker *w)
{
	AUTO_JSON json_t *doc = json_object();
	struct pcg_error err;

	w->watch_id = ++w->pool->next_id;
	w->watch_cancelled = false;
	pool_worker_send_op(w,
			    json_pack("{s:s, s:I, s:s, s:s, s:i}", "t", "op", "id", (json_int_t)w->watch_id,
				      "op", "watch", "subject", "", "timeoutMs", 0),
			    doc, &err);
}

static void watch_cancel(struct pool_worker *w)
{
	struct pcg_error err;

	w->watch_cancelled = true;
	pool_worker_send(w, json_pack("{s:s, s:I}", "t", "cancel", "id", (json_int_t)w->watch_id), &err);
}

/* The watch runs while somebody waits for something to become ready. */
static uint64_t tick_watch(struct pool_worker *w, uint64_t now, bool waiting)
{
	if (!w->has_watch)
		return UINT64_MAX;
	if (waiting && !w->watch_id && now >= w->watch_at)
		watch_start(w);
	else if (waiting && !w->watch_id)
		return w->watch_at;
	else if (!waiting && w->watch_id && !w->watch_cancelled) {
		if (now < w->idle_since + WATCH_LULL_MS)
			return w->idle_since + WATCH_LULL_MS;
		watch_cancel(w);
	}
	return UINT64_MAX;
}

static uint64_t tick_calls(struct pool_worker *w, uint64_t now)
{
	uint64_t next = UINT64_MAX;
	char why[200];

	for (struct provider_call *c = w->calls; c; c = c->next) {
		if (c->kill_at <= now) {
			snprintf(why, sizeof(why), "%s of %.64s did not end %d ms after its deadline of %u ms",
				 c->op, c->subject, POOL_OVERDUE_MS, c->timeout_ms);
			worker_kill(w->process, why);
			return UINT64_MAX;
		}
		if (c->kill_at < next)
			next = c->kill_at;
	}
	return next;
}

static uint64_t tick_ready(struct pool_worker *w, uint64_t now)
{
	bool waiting = pool_pending(w->account);
	uint64_t next = tick_calls(w, now), at;

	if (!w->retired) {
		at = tick_watch(w, now, waiting);
		next = at < next ? at : next;
	}
	if (w->n_calls || (w->account->queued && !w->retired))
		return next;
	at = w->idle_since + (w->brief && !w->answered ? 0 : w->pool->idle_ms);
	if (w->retired || (!waiting && at <= now)) {
		pool_worker_retire(w, w->final);
		return w->due;
	}
	/* With calls pending, their own time limit decides when the idle time begins to count. */
	at = waiting ? now + w->pool->idle_ms : at;
	return at < next ? at : next;
}

uint64_t pool_worker_tick(struct pool_worker *w, uint64_t now)
{
	switch (w->state) {
	case PW_READY:
		return tick_ready(w, now);
	case PW_STARTING:
	case PW_STOPPING:
		if (w->due > now)
			return w->due;
		worker_kill(w->process, w->state == PW_STARTING ? "the plugin's start() did not end in 10 s"
								: "the plugin's stop() did not end in 5 s");
		return UINT64_MAX;
	case PW_DEAD:
		break;
	}
	return UINT64_MAX;
}

void pool_worker_settle(struct pool_worker *w)
{
	uint64_t next;

	if (w->state != PW_READY)
		return;
	next = pool_worker_tick(w, pool_now(w->pool));
	if (next != UINT64_MAX)
		pool_due(w->pool, next);
}
