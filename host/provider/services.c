/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/account_worker.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/secret.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define LOG_FIELDS_MAX 16
#define SECRET_NAME_MAX 64
#define SECRET_VALUE_MAX 65536
#define TURN_POLL_MS 100

void account_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

bool account_cond_wait(struct pcg_host *h, pthread_cond_t *cond, int64_t deadline_ms)
{
	int64_t left = deadline_ms == INT64_MAX ? 3600000 : deadline_ms - clock_mono_ms();
	struct timespec until;

	if (left <= 0)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += left / 1000;
	until.tv_nsec += (long)(left % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(cond, &h->lock, &until);
	return true;
}

static const char *svc_account(struct pcg_host *h)
{
	return h->account;
}

static char *redacted(struct pcg_host *h, const char *text)
{
	char *copy;

	pthread_mutex_lock(&h->lock);
	copy = redact_text(h->redact, text);
	pthread_mutex_unlock(&h->lock);
	if (h->trial && text && strcmp(copy, text) != 0)
		trial_secret(h, copy);
	return copy;
}

static bool event_name_good(const char *event)
{
	size_t len = event ? strspn(event, "abcdefghijklmnopqrstuvwxyz0123456789_") : 0;

	return len > 0 && len < 64 && !event[len];
}

static void svc_log(struct pcg_host *h, uint32_t level, const char *event, const char *fields)
{
	static const enum log_level levels[] = { LOG_L_ERROR, LOG_L_WARN, LOG_L_INFO, LOG_L_DEBUG };
	struct log_kv kv[LOG_FIELDS_MAX + 2] = { { "account", json_str_or(h->identity, "uid", ""), 0 } };
	char *texts[LOG_FIELDS_MAX];
	size_t n = 0;
	struct pcg_error err;
	AUTO_JSON json_t *doc = NULL;
	const char *name;
	json_t *value;

	if (fields)
		json_parse(fields, strlen(fields), "fields of a log event", &doc, &err);
	json_object_foreach(doc, name, value) {
		if (n == LOG_FIELDS_MAX)
			break;
		texts[n] = json_is_string(value) ? redacted(h, json_string_value(value)) : NULL;
		kv[n + 1] = (struct log_kv){ name, texts[n], (int64_t)json_number_value(value) };
		n++;
	}
	if (h->trial)
		trial_log(h, level, event, fields);
	else
		log_write(levels[level < ARRAY_LEN(levels) ? level : 1],
			  event_name_good(event) ? event : "plugin_event", kv);
	while (n--)
		free(texts[n]);
}

/* lock held */
static bool call_over(const struct pcg_host *h, const struct pcg_call *call)
{
	if (!call)
		return h->stopping;
	return call->cancelled || clock_mono_ms() >= call->deadline_ms;
}

static uint64_t svc_remaining_ms(struct pcg_call *call)
{
	struct pcg_host *h = call->host;
	uint64_t left = 0;

	pthread_mutex_lock(&h->lock);
	if (!call_over(h, call))
		left = call->deadline_ms == INT64_MAX ? UINT32_MAX
						      : (uint64_t)(call->deadline_ms - clock_mono_ms());
	pthread_mutex_unlock(&h->lock);
	return left;
}

static uint32_t svc_wait(struct pcg_host *h, struct pcg_call *call, uint64_t ms)
{
	int64_t until = clock_mono_ms() + (int64_t)(ms > 3600000 ? 3600000 : ms);
	bool over;

	if (call && call->deadline_ms < until)
		until = call->deadline_ms;
	pthread_mutex_lock(&h->lock);
	while (!(over = call_over(h, call)) &&
	       account_cond_wait(h, call ? &call->cond : &h->changed, until))
		;
	pthread_mutex_unlock(&h->lock);
	return over;
}

/* Sends doc with an id of its own and waits for the host's word. The wait has no deadline: whether
 * something is durable has to be known, and a host that is gone takes this process with it. */
static int32_t send_and_wait(struct pcg_host *h, json_t *doc)
{
	struct ack_wait ack = { 0 };

	account_cond_init(&ack.cond);
	pthread_mutex_lock(&h->lock);
	ack.id = ++h->next_ack;
	ack.next = h->acks;
	h->acks = &ack;
	pthread_mutex_unlock(&h->lock);
	json_object_set_new(doc, "id", json_integer((json_int_t)ack.id));
	account_send(h, doc);
	pthread_mutex_lock(&h->lock);
	while (!ack.done)
		pthread_cond_wait(&ack.cond, &h->lock);
	pthread_mutex_unlock(&h->lock);
	pthread_cond_destroy(&ack.cond);
	return ack.result;
}

void account_acked(struct pcg_host *h, const json_t *frame)
{
	uint64_t id = (uint64_t)json_int_or(frame, "id", 0);
	struct ack_wait **at;

	pthread_mutex_lock(&h->lock);
	for (at = &h->acks; *at && (*at)->id != id; at = &(*at)->next)
		;
	if (*at) {
		struct ack_wait *ack = *at;

		*at = ack->next;
		ack->result = (int)json_int_or(frame, "result", -1);
		ack->done = true;
		pthread_cond_signal(&ack->cond);
	}
	pthread_mutex_unlock(&h->lock);
}

static bool secret_name_good(const char *name)
{
	size_t len = name ? strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") : 0;

	return len > 0 && len <= SECRET_NAME_MAX && !name[len];
}

static int32_t svc_secret_put(struct pcg_host *h, const char *name, const char *value)
{
	json_t *doc;
	int32_t r;

	if (!secret_name_good(name) || (value && strlen(value) > SECRET_VALUE_MAX))
		return -1;
	doc = json_pack("{s:s, s:s, s:s?}", "t", "secret_put", "name", name, "value", value);
	if (!doc)
		return -1;
	pthread_mutex_lock(&h->lock);
	if (value)
		redact_learn_text(h->redact, value);
	pthread_mutex_unlock(&h->lock);
	r = send_and_wait(h, doc);
	json_wipe(doc);
	if (r)
		return -1;
	pthread_mutex_lock(&h->lock);
	if (value)
		json_object_set_new(h->secrets, name, json_string(value));
	else
		json_object_del(h->secrets, name);
	pthread_mutex_unlock(&h->lock);
	return 0;
}

static const char *svc_secret_get(struct pcg_host *h, const char *name)
{
	static _Thread_local char *last;
	const char *value;

	if (last)
		secret_wipe(last, strlen(last));
	free(last);
	last = NULL;
	pthread_mutex_lock(&h->lock);
	value = json_string_value(json_object_get(h->secrets, name));
	if (value)
		last = strdup(value);
	pthread_mutex_unlock(&h->lock);
	return last;
}

static int64_t svc_turn_begin(struct pcg_host *h, struct pcg_call *call, const char *name, uint32_t most, uint32_t window_ms)
{
	int32_t r;

	if (!secret_name_good(name) || !most || !window_ms || window_ms > INT32_MAX)
		return -1;
	do {
		json_t *doc = json_pack("{s:s, s:s, s:I, s:I}", "t", "turn", "name", name, "most", (json_int_t)most, "windowMs",
					(json_int_t)window_ms);

		r = send_and_wait(h, doc);
		json_decref(doc);
	} while (r == TURN_TAKEN && !svc_wait(h, call, TURN_POLL_MS));
	return r == TURN_TAKEN ? -1 : r;
}

static int32_t svc_turn_end(struct pcg_host *h, const char *name, uint32_t counts)
{
	json_t *doc = json_pack("{s:s, s:s, s:b}", "t", "turn_end", "name", name, "counts", counts != 0);
	int32_t r = doc ? send_and_wait(h, doc) : -1;

	json_decref(doc);
	return r;
}

static int32_t svc_checkpoint(struct pcg_call *call, const char *json)
{
	struct pcg_error err;
	json_t *doc = NULL, *frame;
	int32_t r;

	if (!json || json_parse(json, strlen(json), "checkpoint", &doc, &err) || !json_is_object(doc)) {
		json_decref(doc);
		return -1;
	}
	frame = json_pack("{s:s, s:I, s:o}", "t", "checkpoint", "call", (json_int_t)call->id, "doc", doc);
	r = send_and_wait(call->host, frame);
	json_decref(frame);
	return r ? -1 : 0;
}

static void svc_hint(struct pcg_host *h, const char *subject)
{
	AUTO_JSON json_t *frame = json_pack("{s:s, s:s}", "t", "hint", "subject", subject);

	if (frame)
		account_send(h, frame);
}

static void answer(struct pcg_call *call, json_t *reply)
{
	struct pcg_host *h = call->host;
	json_t *extra = reply;

	pthread_mutex_lock(&h->lock);
	assert(call->magic == CALL_MAGIC);
	if (call->answers++ == 0) {
		call->reply = reply;
		extra = NULL;
	}
	pthread_mutex_unlock(&h->lock);
	json_decref(extra);
}

void account_answer_error(struct pcg_call *call, unsigned class, const char *text, const char *remedy)
{
	char *t = redacted(call->host, text), *m = redacted(call->host, remedy);
	struct pcg_error err;

	pcg_fail(&err, class < PCG_CLASS_COUNT ? (enum pcg_class)class : PCG_CLASS_BUG, m, "%s", t);
	free(t);
	free(m);
	answer(call, json_pack("{s:i, s:o}", "status", (int)PCG_STEP_ERROR, "error", json_from_error(&err)));
}

/* A document of an answer: an object, or NULL for none. false: it was refused, and the answer is that. */
static bool parse_answer(struct pcg_call *call, const char *text, const char *what, json_t **out)
{
	char where[128];
	struct pcg_error err;
	int r = 0;

	*out = NULL;
	if (!text)
		return true;
	snprintf(where, sizeof(where), "%s of %s", what, call->op->name);
	r = json_parse(text, strlen(text), where, out, &err);
	if (!r && !json_is_object(*out))
		r = pcg_fail(&err, PCG_CLASS_BUG, "", "%s: not a JSON object", where);
	if (!r)
		return true;
	json_decref(*out);
	*out = NULL;
	account_answer_error(call, PCG_ERR_BUG, err.text, "report it to the plugin's author");
	return false;
}

static void svc_done(struct pcg_call *call, const char *doc)
{
	json_t *d;

	if (parse_answer(call, doc, "answer", &d))
		answer(call, json_pack("{s:i, s:o*}", "status", (int)PCG_STEP_DONE, "doc", d));
}

static void svc_pending(struct pcg_call *call, uint32_t after_ms, const char *doc, const char *checkpoint)
{
	json_t *d, *c;

	if (!parse_answer(call, doc, "answer", &d))
		return;
	if (!parse_answer(call, checkpoint, "checkpoint", &c)) {
		json_decref(d);
		return;
	}
	answer(call, json_pack("{s:i, s:I, s:o*, s:o*}", "status", (int)PCG_STEP_PENDING, "afterMs",
			       (json_int_t)after_ms, "doc", d, "checkpoint", c));
}

json_t *account_take_reply(struct pcg_call *call)
{
	char text[160];

	if (call->answers != 1) {
		snprintf(text, sizeof(text), "%s of plugin %s answered %u times, expected once",
			 call->op->name, call->host->plugin.table.name, call->answers);
		json_decref(call->reply);
		call->reply = NULL;
		call->answers = 0;
		account_answer_error(call, PCG_ERR_BUG, text, "report it to the plugin's author");
	}
	json_object_set_new(call->reply, "t", json_string("reply"));
	json_object_set_new(call->reply, "id", json_integer((json_int_t)call->id));
	return TAKE(call->reply);
}

static uint64_t svc_mono_ms(struct pcg_host *h)
{
	return (uint64_t)clock_mono_ms();
}

static int64_t svc_wall_ms(struct pcg_host *h)
{
	return clock_wall_ms();
}

static void svc_fault_point(struct pcg_host *h, const char *name)
{
	FAULT_POINT(name);
}

const struct pcg_services account_services = {
	.struct_size = sizeof(struct pcg_services),
	.abi_major = PCG_PROVIDER_ABI_MAJOR,
	.abi_minor = PCG_PROVIDER_ABI_MINOR,
	.account = svc_account,
	.log = svc_log,
	.http = account_http,
	.http_free = account_http_free,
	.remaining_ms = svc_remaining_ms,
	.wait = svc_wait,
	.secret_put = svc_secret_put,
	.secret_get = svc_secret_get,
	.checkpoint = svc_checkpoint,
	.hint = svc_hint,
	.done = svc_done,
	.pending = svc_pending,
	.error = account_answer_error,
	.mono_ms = svc_mono_ms,
	.wall_ms = svc_wall_ms,
	.fault_point = svc_fault_point,
	.turn_begin = svc_turn_begin,
	.turn_end = svc_turn_end,
};
