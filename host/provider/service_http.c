/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/account_worker.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/secret.h"

#include <assert.h>
#include <string.h>

/* What one response points to. Freed by http_free, or when the op ends. */
struct http_result {
	struct http_result *next;
	const void *owner;             /* the plugin's response struct */
	const struct pcg_call *call;
	long status;
	struct pcg_error err;
	struct pcg_http_header *headers;
	size_t n_headers;
	char *names;                   /* all names and values */
	size_t names_len;
	char *body;
	size_t body_len;
	char peer_sha256[65];
};

static void result_free(struct http_result *res)
{
	if (!res)
		return;
	secret_wipe(res->names, res->names_len);
	secret_wipe(res->body, res->body_len);
	free(res->headers);
	free(res->names);
	free(res->body);
	free(res);
}

static void copy_headers(struct http_result *res, const struct http_response *resp)
{
	char *at;

	for (size_t i = 0; i < resp->n_headers; i++)
		res->names_len += strlen(resp->headers[i].name) + strlen(resp->headers[i].value) + 2;
	res->headers = calloc(resp->n_headers + 1, sizeof(*res->headers));
	res->names = at = malloc(res->names_len + 1);
	assert(res->headers && res->names);
	for (size_t i = 0; i < resp->n_headers; i++) {
		res->headers[i].name = at;
		at = stpcpy(at, resp->headers[i].name) + 1;
		res->headers[i].value = at;
		at = stpcpy(at, resp->headers[i].value) + 1;
	}
	res->n_headers = resp->n_headers;
}

static struct http_result *result_new(const struct http_response *resp)
{
	struct http_result *res = calloc(1, sizeof(*res));

	assert(res);
	res->status = resp->status;
	if (!resp->status) {
		res->err = resp->err;
		return res;
	}
	copy_headers(res, resp);
	res->body_len = resp->body_len;
	res->body = malloc(resp->body_len + 1);
	assert(res->body);
	if (resp->body_len)
		memcpy(res->body, resp->body, resp->body_len);
	res->body[resp->body_len] = 0;
	return res;
}

static struct http_result *result_error(enum pcg_class class, const char *text)
{
	struct http_response none = { 0 };

	pcg_fail(&none.err, class, "", "%s", text);
	return result_new(&none);
}

/* The job is the waiting thread's: not to be touched after this. */
static void finish(struct pcg_host *h, struct http_job *job, struct http_result *res)
{
	pthread_mutex_lock(&h->lock);
	job->result = res;
	job->done = true;
	pthread_cond_signal(&job->cond);
	pthread_mutex_unlock(&h->lock);
}

static void unlink_live(struct pcg_host *h, struct http_job *job)
{
	struct http_job **at = &h->jobs_live;

	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
}

struct submitted {
	struct pcg_host *host;
	struct http_job *job;
};

/* The host hears of each certificate once. */
static void tell_peer(struct pcg_host *h, const struct http_response *resp)
{
	AUTO_JSON json_t *frame = NULL;

	if (!*resp->peer_sha256 || strcmp(resp->peer_sha256, h->peer_told) == 0)
		return;
	snprintf(h->peer_told, sizeof(h->peer_told), "%s", resp->peer_sha256);
	frame = json_pack("{s:s, s:s, s:s}", "t", "peer", "sha256", resp->peer_sha256, "sha1", resp->peer_sha1);
	account_send(h, frame);
}

static void on_response(void *arg, const struct http_response *resp)
{
	struct submitted *s = arg;
	struct http_result *res = result_new(resp);

	tell_peer(s->host, resp);
	snprintf(res->peer_sha256, sizeof(res->peer_sha256), "%s", resp->peer_sha256);
	unlink_live(s->host, s->job);
	finish(s->host, s->job, res);
	free(s);
}

static void on_sent(void *arg)
{
	trial_die(((struct submitted *)arg)->host);
}

static bool job_cancelled(const struct pcg_host *h, const struct http_job *job)
{
	return job->call ? job->call->cancelled : h->stopping && !job->in_stop;
}

static void submit(struct pcg_host *h, struct http_job *job)
{
	struct submitted *s = malloc(sizeof(*s));
	struct http_request req = *job->req;

	assert(s);
	s->host = h;
	s->job = job;
	job->next = h->jobs_live;
	h->jobs_live = job;
	if (job->dies_when_sent)
		req.on_sent = on_sent;
	job->live = http_submit(h->http, &req, on_response, s);
	job->live_arg = s;
}

void account_http_submit_new(struct pcg_host *h)
{
	struct http_job *job, *next;

	pthread_mutex_lock(&h->lock);
	job = h->jobs_new;
	h->jobs_new = NULL;
	pthread_mutex_unlock(&h->lock);
	for (; job; job = next) {
		bool cancelled;

		next = job->next;
		pthread_mutex_lock(&h->lock);
		cancelled = job_cancelled(h, job);
		pthread_mutex_unlock(&h->lock);
		if (cancelled)
			finish(h, job, result_error(PCG_CLASS_CANCELLED, "the op was cancelled"));
		else
			submit(h, job);
	}
}

void account_http_cancel(struct pcg_host *h, const struct pcg_call *call)
{
	struct http_job *job, *next;

	for (job = h->jobs_live; job; job = next) {
		next = job->next;
		if (job->call != call || job->in_stop)
			continue;
		http_cancel(job->live);
		free(job->live_arg);
		unlink_live(h, job);
		finish(h, job, result_error(PCG_CLASS_CANCELLED, "the op was cancelled"));
	}
}

/* Milliseconds that a request may take; 0: none are left. */
static uint32_t time_for(struct pcg_host *h, const struct pcg_call *call, uint32_t asked_ms, bool in_stop)
{
	int64_t end = call ? call->deadline_ms : in_stop ? h->stop_deadline_ms : INT64_MAX;
	int64_t left = end == INT64_MAX ? INT64_MAX : end - clock_mono_ms();

	if (left <= 0)
		return 0;
	if (asked_ms && asked_ms < left)
		return asked_ms;
	return left > 3600000 ? 3600000 : (uint32_t)left;
}

static struct http_result *run(struct pcg_host *h, struct pcg_call *call, const struct http_request *req,
			       bool in_stop)
{
	struct http_job job = { .call = call, .req = req, .in_stop = in_stop };
	enum trial_when dies = h->trial ? trial_request(h, call, req) : TRIAL_NEVER;

	job.dies_when_sent = dies == TRIAL_SENT;
	account_cond_init(&job.cond);
	pthread_mutex_lock(&h->lock);
	job.next = h->jobs_new;
	h->jobs_new = &job;
	uv_async_send(&h->async);
	while (!job.done)
		pthread_cond_wait(&job.cond, &h->lock);
	pthread_mutex_unlock(&h->lock);
	pthread_cond_destroy(&job.cond);
	FAULT_POINT("worker.after_http_reply");
	if (dies == TRIAL_ANSWERED)
		trial_die(h);
	return job.result;
}

/* stop() has no call, but may still log out. */
static bool within_stop(struct pcg_host *h)
{
	bool yes;

	pthread_mutex_lock(&h->lock);
	yes = h->stopping && pthread_equal(h->stop_thread, pthread_self());
	pthread_mutex_unlock(&h->lock);
	return yes;
}

static struct http_result *send_request(struct pcg_host *h, struct pcg_call *call,
					const struct pcg_http_request *in)
{
	bool in_stop = !call && within_stop(h);
	struct http_request req = {
		.method = in->method ? in->method : "GET",
		.url = in->url,
		.headers = (const struct http_header *)(const void *)in->headers,
		.n_headers = in->n_headers,
		.body = in->body,
		.body_len = in->body_len,
		.tls = h->tls,
		.proxy = h->proxy,
		.timeout_ms = time_for(h, call, in->timeout_ms, in_stop),
		.max_response = in->max_response,
		.own_connection = in->flags & PCG_HTTP_LONG_WAIT,
	};

	if (!in->url)
		return result_error(PCG_CLASS_BUG, "the plugin asked for a request without URL");
	if (!call && !in->timeout_ms)
		return result_error(PCG_CLASS_BUG, "the plugin asked for a request outside of an op without timeout_ms");
	if (!req.timeout_ms)
		return result_error(PCG_CLASS_CANCELLED, "the op is past its deadline");
	return run(h, call, &req, in_stop);
}

static_assert(sizeof(struct http_header) == sizeof(struct pcg_http_header) &&
	      offsetof(struct http_header, value) == offsetof(struct pcg_http_header, value),
	      "headers of plugins are handed on as they are");

static void fill(struct pcg_http_response *resp, struct http_result *res)
{
	uint32_t size = resp->struct_size;
	struct pcg_http_response full = {
		.struct_size = size,
		.status = (uint32_t)res->status,
		.headers = res->headers,
		.n_headers = res->n_headers,
		.body = res->body,
		.body_len = res->body_len,
		.peer_sha256 = res->status && *res->peer_sha256 ? res->peer_sha256 : NULL,
	};

	if (!res->status) {
		full.error_class = res->err.class;
		full.error = res->err.text;
		full.remedy = res->err.remedy;
	}
	memcpy(resp, &full, size < sizeof(full) ? size : sizeof(full));
}

int32_t account_http(struct pcg_host *h, struct pcg_call *call, const struct pcg_http_request *req,
		     struct pcg_http_response *resp)
{
	struct pcg_http_request full = { 0 };
	struct http_result *res;

	if (req->struct_size < offsetof(struct pcg_http_request, reserved0) ||
	    resp->struct_size < offsetof(struct pcg_http_response, peer_sha256))
		return -1;
	memcpy(&full, req, req->struct_size < sizeof(full) ? req->struct_size : sizeof(full));
	res = send_request(h, call, &full);
	/* A request that ran into the op's own deadline was ended by it, not by the other end. */
	if (!res->status && call && clock_mono_ms() >= call->deadline_ms)
		res->err.class = PCG_CLASS_CANCELLED;
	account_http_free(h, resp);
	fill(resp, res);
	res->owner = resp;
	res->call = call;
	pthread_mutex_lock(&h->lock);
	res->next = h->results;
	h->results = res;
	pthread_mutex_unlock(&h->lock);
	return 0;
}

static struct http_result *take_result(struct pcg_host *h, const void *owner, const struct pcg_call *call)
{
	struct http_result **at, *res;

	pthread_mutex_lock(&h->lock);
	at = &h->results;
	while (*at && !(owner ? (*at)->owner == owner : (*at)->call == call))
		at = &(*at)->next;
	res = *at;
	if (res)
		*at = res->next;
	pthread_mutex_unlock(&h->lock);
	return res;
}

void account_http_free(struct pcg_host *h, struct pcg_http_response *resp)
{
	result_free(take_result(h, resp, NULL));
}

void account_http_free_call(struct pcg_host *h, struct pcg_call *call)
{
	struct http_result *res;

	while ((res = take_result(h, NULL, call)))
		result_free(res);
}
