/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/provider_pool.h"
#include "host/provider/account_worker.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/secret.h"
#include "host/worker/confine.h"
#include "host/worker/worker.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OP_STACK (256u << 10)
#define STOP_MS 5000
#define DEFAULT_CONNECTIONS 4

#ifdef PCG_SANITIZED
#define STACK_SIZE (8 * OP_STACK) /* sanitizers make frames larger */
#else
#define STACK_SIZE OP_STACK
#endif

int account_send(struct pcg_host *h, const json_t *doc)
{
	struct pcg_error err;
	int r;

	pthread_mutex_lock(&h->send_lock);
	r = frame_send_fd(WORKER_FD, doc, &err);
	if (r && r != PCG_EPERMANENT)
		_exit(0); /* the host is gone */
	if (r)
		log_err("worker_frame_refused", &err);
	pthread_mutex_unlock(&h->send_lock);
	return r;
}

static void send_reply(struct pcg_call *call)
{
	struct pcg_host *h = call->host;
	json_t *reply = account_take_reply(call);

	/* Nothing of a frame that is too large has gone out, and the host waits for an answer. */
	if (account_send(h, reply)) {
		json_decref(reply);
		call->answers = 0;
		account_answer_error(call, PCG_ERR_BUG, "the answer is larger than a frame may be", "");
		reply = account_take_reply(call);
		account_send(h, reply);
	}
	json_decref(reply);
}

static void call_free(struct pcg_call *call)
{
	if (call->doc)
		secret_wipe(call->doc, strlen(call->doc));
	free(call->doc);
	json_decref(call->reply);
	pthread_cond_destroy(&call->cond);
	call->magic = 0;
	free(call);
}

static struct pcg_call *call_new(struct pcg_host *h, enum job_kind kind)
{
	struct pcg_call *call = calloc(1, sizeof(*call));

	assert(call);
	call->magic = CALL_MAGIC;
	call->host = h;
	call->kind = kind;
	call->deadline_ms = INT64_MAX;
	account_cond_init(&call->cond);
	return call;
}

static bool has_watch(const struct pcg_provider *t)
{
	return (t->caps_optional | t->caps_required) & PCG_CAP_WATCH;
}

static void send_ready(struct pcg_host *h)
{
	const struct pcg_provider *t = &h->plugin.table;
	char abi[32];
	json_t *doc;

	snprintf(abi, sizeof(abi), "%u.%u", t->abi_major, t->abi_minor);
	doc = json_pack("{s:s, s:s, s:s, s:s, s:i, s:b}", "t", "ready", "name", t->name, "version",
			t->version, "abi", abi, "maxParallel", (int)t->max_parallel, "watch", has_watch(t));
	assert(doc);
	if (h->trial) /* first: after "ready" an op may be answered by another thread */
		trial_loaded(h);
	account_send(h, doc);
	json_decref(doc);
}

static void send_refused(struct pcg_host *h, const struct pcg_error *err)
{
	AUTO_JSON json_t *doc = json_pack("{s:s, s:o}", "t", "refused", "error", json_from_error(err));

	account_send(h, doc);
}

static void run_start(struct pcg_host *h)
{
	char text[512] = "";
	struct pcg_error err;

	if (h->plugin.table.start(h, &account_services, &h->state, text, sizeof(text)) == 0) {
		send_ready(h);
		return;
	}
	text[sizeof(text) - 1] = 0;
	pthread_mutex_lock(&h->lock);
	AUTO_FREE char *clean = redact_text(h->redact, text);
	pthread_mutex_unlock(&h->lock);
	pcg_fail(&err, PCG_CLASS_PERMANENT, "mend the account, or ask the plugin's author",
		 "starting plugin %s for account %s: %s", h->plugin.table.name,
		 json_str_or(h->identity, "uid", ""), *clean ? clean : "it refused without a reason");
	send_refused(h, &err);
}

static void run_stop(struct pcg_host *h)
{
	AUTO_JSON json_t *doc = json_pack("{s:s}", "t", "stopped");

	pthread_mutex_lock(&h->lock);
	while (h->busy)
		pthread_cond_wait(&h->changed, &h->lock);
	h->stop_thread = pthread_self();
	h->stopping = true;
	h->stop_deadline_ms = clock_mono_ms() + STOP_MS;
	pthread_cond_broadcast(&h->changed);
	uv_async_send(&h->async);
	pthread_mutex_unlock(&h->lock);
	h->plugin.table.stop(h->state, h->final);
	account_send(h, doc);
}

static void run_op(struct pcg_call *call)
{
	struct pcg_host *h = call->host;
	bool cancelled;

	pthread_mutex_lock(&h->lock);
	cancelled = call->cancelled;
	pthread_mutex_unlock(&h->lock);
	FAULT_POINT("worker.before_op");
	if (cancelled)
		account_answer_error(call, PCG_ERR_CANCELLED, "cancelled before it began", "");
	else
		provider_op_of(&h->plugin.table, call->op)(h->state, call, call->doc);
	FAULT_POINT("worker.after_op");
	account_http_free_call(h, call);
	/* Out of the list first: the host may ask the same again as soon as it has the reply. */
	pthread_mutex_lock(&h->lock);
	struct pcg_call **at = &h->running;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	pthread_mutex_unlock(&h->lock);
	send_reply(call);
	pthread_mutex_lock(&h->lock);
	h->busy--;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static void *op_thread(void *arg)
{
	struct pcg_host *h = arg;
	struct pcg_call *call;

	for (;;) {
		pthread_mutex_lock(&h->lock);
		h->idle++;
		while (!h->queue)
			pthread_cond_wait(&h->work, &h->lock);
		h->idle--;
		call = h->queue;
		h->queue = call->next;
		if (!h->queue)
			h->queue_end = &h->queue;
		h->queued--;
		if (call->kind == JOB_OP) {
			call->next = h->running;
			h->running = call;
			h->busy++;
		}
		pthread_mutex_unlock(&h->lock);
		if (call->kind == JOB_START)
			run_start(h);
		else if (call->kind == JOB_STOP)
			run_stop(h);
		else
			run_op(call);
		call_free(call);
	}
	return NULL;
}

static void grow(struct pcg_host *h)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (h->queued <= h->idle || h->threads >= h->max_threads)
		return;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, op_thread, h) == 0)
		h->threads++;
	else
		assert(h->threads > 0 && "the first thread of a worker");
	pthread_attr_destroy(&attr);
}

static void enqueue(struct pcg_host *h, struct pcg_call *call)
{
	pthread_mutex_lock(&h->lock);
	*h->queue_end = call;
	h->queue_end = &call->next;
	h->queued++;
	grow(h);
	pthread_cond_signal(&h->work);
	pthread_mutex_unlock(&h->lock);
}

static void no_such_op(struct pcg_host *h, uint64_t id, const char *name)
{
	AUTO_JSON json_t *reply = NULL;
	struct pcg_error err;

	pcg_fail(&err, PCG_CLASS_PERMANENT, "", "plugin %s %s has no op %s", h->plugin.table.name,
		 h->plugin.table.version, name);
	reply = json_pack("{s:s, s:I, s:i, s:o}", "t", "reply", "id", (json_int_t)id, "status",
			  (int)PCG_STEP_ERROR, "error", json_from_error(&err));
	account_send(h, reply);
}

/* The document is the plugin's, and nobody reads it here. */
static void on_op(struct pcg_host *h, const json_t *frame, char *doc)
{
	uint64_t id = (uint64_t)json_int_or(frame, "id", 0);
	const char *name = json_str_or(frame, "op", "");
	const struct provider_op *op = provider_op_find(name);
	int64_t timeout_ms = json_int_or(frame, "timeoutMs", 0);
	struct pcg_call *call;

	if (!op || !provider_op_of(&h->plugin.table, op)) {
		no_such_op(h, id, name);
		secret_wipe(doc, strlen(doc));
		free(doc);
		return;
	}
	call = call_new(h, JOB_OP);
	call->id = id;
	call->op = op;
	call->doc = doc;
	if (timeout_ms)
		call->deadline_ms = clock_mono_ms() + timeout_ms;
	pthread_mutex_lock(&h->lock);
	redact_learn(h->redact, json_object_get(frame, "account"), false);
	pthread_mutex_unlock(&h->lock);
	enqueue(h, call);
}

static void on_cancel(struct pcg_host *h, uint64_t id)
{
	struct pcg_call *lists[2], *call, *found = NULL;

	pthread_mutex_lock(&h->lock);
	lists[0] = h->queue;
	lists[1] = h->running;
	for (int i = 0; i < 2; i++)
		for (call = lists[i]; call; call = call->next)
			if (call->kind == JOB_OP && call->id == id) {
				call->cancelled = true;
				pthread_cond_broadcast(&call->cond);
				found = call;
			}
	pthread_mutex_unlock(&h->lock);
	/* Only compared, never followed: the op may have ended since. */
	if (found)
		account_http_cancel(h, found);
}

static void on_stop(struct pcg_host *h, bool final)
{
	h->final = final;
	enqueue(h, call_new(h, JOB_STOP));
}

static void on_frame(struct pcg_host *h, json_t *frame)
{
	const char *t = json_str_or(frame, "t", "");

	if (strcmp(t, "op") == 0)
		h->op = json_incref(frame);
	else if (strcmp(t, "cancel") == 0)
		on_cancel(h, (uint64_t)json_int_or(frame, "id", 0));
	else if (strcmp(t, "ack") == 0)
		account_acked(h, frame);
	else if (strcmp(t, "stop") == 0)
		on_stop(h, json_bool_or(frame, "final", false));
	json_wipe(frame);
}

/* 1: something was taken; 0: no frame is whole yet. */
static int take_frame(struct pcg_host *h, struct pcg_error *err)
{
	json_t *frame = h->op;
	char *doc = NULL;
	int r = frame ? frame_reader_text(&h->reader, &doc, err) : frame_reader_next(&h->reader, &frame, err);

	if (r <= 0)
		return r;
	if (doc) {
		h->op = NULL;
		on_op(h, frame, doc);
		json_wipe(frame);
	} else {
		on_frame(h, frame);
	}
	return r;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	static char piece[32768];

	*buf = uv_buf_init(piece, sizeof(piece));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct pcg_host *h = stream->data;
	struct pcg_error err;
	int r;

	if (n < 0)
		_exit(worker_child_leaks());
	if (n == 0)
		return;
	r = frame_reader_feed(&h->reader, buf->base, (size_t)n, &err);
	secret_wipe(buf->base, (size_t)n);
	while (!r && (r = take_frame(h, &err)) > 0)
		r = 0;
	if (r) {
		log_err("worker_conversation_broken", &err);
		_exit(1);
	}
}

static void on_async(uv_async_t *async)
{
	struct pcg_host *h = async->data;
	bool stopping;

	pthread_mutex_lock(&h->lock);
	stopping = h->stopping;
	pthread_mutex_unlock(&h->lock);
	if (stopping)
		account_http_cancel(h, NULL);
	account_http_submit_new(h);
}

static json_t *settings_of(const struct plugin *plugin, const json_t *account)
{
	json_t *settings = json_object(), *item;
	size_t i;

	json_array_foreach(plugin->settings, i, item)
		if (json_str(item, "name") && json_at(item, "default"))
			json_object_set(settings, json_str(item, "name"), json_at(item, "default"));
	if (json_is_object(json_at(account, "settings")))
		json_object_update(settings, json_at(account, "settings"));
	return settings;
}

/* What the plugin is given; returns the limit of connections, which its settings may name. */
static uint32_t read_account(struct pcg_host *h, const json_t *hello)
{
	json_t *account = json_copy(json_at(hello, "account"));
	json_t *settings = settings_of(&h->plugin, account);
	int64_t connections = json_int_or(hello, "limits.connections", 0);
	size_t len;

	if (!connections)
		connections = json_int_or(settings, "maxConnections", DEFAULT_CONNECTIONS);
	json_object_set_new(account, "settings", settings);
	json_object_set_new(account, "gatewayUid", json_string(json_str_or(hello, "gatewayUid", "")));
	h->account = json_text_secret(account, &len);
	json_decref(account);
	return connections < 1 ? 1 : connections > 256 ? 256 : (uint32_t)connections;
}

static int make_tls(struct pcg_host *h, const json_t *hello, struct pcg_error *err)
{
	const json_t *spec = json_at(hello, "account.spec");
	const char *ca = json_str(spec, "caCert"), *thumbprint = json_str(spec, "thumbprint");
	struct http_tls tls = {
		.ca_pem = ca && *ca ? ca : NULL,
		.thumbprint = thumbprint && *thumbprint ? thumbprint : NULL,
	};
	int r;

	/* A certificate that the account names is checked even when it says insecure. */
	tls.insecure = !tls.ca_pem && !tls.thumbprint && json_bool_or(spec, "insecure", false);
	/* The system's authorities: loaded by the client when it first meets https. */
	if (!tls.ca_pem && !tls.thumbprint && !tls.insecure)
		return 0;
	r = http_tls_new(&tls, &h->tls, err);
	return r ? pcg_fail_prefix(err, "account %s", json_str_or(h->identity, "uid", "")) : 0;
}

static int make_http(struct pcg_host *h, const json_t *hello, uint32_t connections, struct pcg_error *err)
{
	const json_t *proxy = json_at(hello, "proxy");
	struct http_client_limits limits = { .max_host = connections };
	int r = make_tls(h, hello, err);

	if (!r && json_is_object(proxy))
		r = proxy_set_new(json_str(proxy, "httpProxy"), json_str(proxy, "httpsProxy"),
				  json_str(proxy, "noProxy"), json_str(proxy, "caPem"), &h->proxy, err);
	if (!r)
		h->http = http_client_new(&h->loop, &limits);
	return r;
}

static void host_init(struct pcg_host *h)
{
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->send_lock, NULL);
	account_cond_init(&h->work);
	account_cond_init(&h->changed);
	h->queue_end = &h->queue;
	h->redact = redact_new();
	uv_loop_init(&h->loop);
	uv_async_init(&h->loop, &h->async, on_async);
	h->async.data = h;
	frame_reader_init(&h->reader, FRAME_MAX);
	uv_pipe_init(&h->loop, &h->conversation, 0);
	uv_pipe_open(&h->conversation, WORKER_FD);
	h->conversation.data = h;
}

static int host_load(struct pcg_host *h, json_t *hello, struct pcg_error *err)
{
	const json_t *account = json_at(hello, "account");
	uint32_t connections;
	int r;

	h->identity = json_pack("{s:s, s:s}", "uid", json_str_or(account, "uid", ""), "provider",
				json_str_or(account, "provider", ""));
	h->secrets = json_deep_copy(json_at(hello, "secrets"));
	if (!h->secrets)
		h->secrets = json_object();
	redact_learn(h->redact, json_at(account, "spec"), false);
	redact_learn(h->redact, h->secrets, true);
	r = plugin_load(json_str_or(hello, "plugin.path", ""), json_str_or(account, "provider", ""),
			&h->plugin, err);
	if (r)
		return r;
	h->max_threads = h->plugin.table.max_parallel + 2; /* watch and, at the end, stop */
	connections = read_account(h, hello);
	if (json_is_object(json_at(hello, "trial")))
		h->trial = trial_new(json_at(hello, "trial"));
	/* The long wait has one of them to itself. */
	if (has_watch(&h->plugin.table) && connections > 1)
		connections--;
	return make_http(h, hello, connections, err);
}

int account_worker_main(json_t *hello)
{
	static struct pcg_host host;
	struct pcg_error err;
	int r;

	memory_begin(NULL);
	signal(SIGPIPE, SIG_IGN);
	http_global_init();
	host_init(&host);
	r = host_load(&host, hello, &err);
	json_wipe(hello);
	if (r)
		send_refused(&host, &err);
	else
		enqueue(&host, call_new(&host, JOB_START));
	/* Also after a refusal: the host reads it, closes, and the end of the conversation ends us. */
	uv_read_start((uv_stream_t *)&host.conversation, on_alloc, on_read);
	uv_run(&host.loop, UV_RUN_DEFAULT);
	return 0;
}
