/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "kube/kube_impl.h"

#include "core/attr.h"

#include <string.h>

#define LINE_MAX_BYTES (16u << 20)
#define SERVER_ENDS_S "300"
#define CALL_ENDS_MS 330000

struct watch {
	struct kube_op op;
	struct http_call *call;
	struct kube_timer *timer;
	struct buf in;
	char *what;
	struct pcg_error err;
	bool failed;  /* err says why, and the call is ending */
	bool events;  /* one has come */
	bool refused; /* what comes is no stream of events, but an answer */
	bool *gone;   /* set when the operation ends inside on_event */
	void (*on_event)(void *arg, const char *type, json_t *object);
	void (*end)(void *arg, const struct pcg_error *err);
	void *arg;
};

static void destroy(struct kube_op *op)
{
	struct watch *w = (struct watch *)op;

	if (w->gone)
		*w->gone = true;
	if (w->call)
		http_cancel(w->call);
	kube_timer_stop(&w->timer);
	buf_free(&w->in);
	free(w->what);
	free(w);
}

static void finish(struct watch *w)
{
	void (*end)(void *, const struct pcg_error *) = w->end;
	struct pcg_error err = w->err;
	void *arg = w->arg;

	kube_op_end(&w->op);
	end(arg, &err);
}

enum taken { TAKEN, NO_EVENT, ENDS, GONE };

static enum taken take_event(struct watch *w, const char *line, size_t len)
{
	AUTO_JSON json_t *event = NULL;
	bool gone = false;
	struct pcg_error err;
	const char *type;
	json_t *object;

	if (json_parse(line, len, "an event", &event, &err) || !json_str(event, "type")) {
		if (!w->events)
			return NO_EVENT;
		pcg_fail(&w->err, PCG_CLASS_RETRY, "", "%s: what came is no event", w->what);
		w->failed = true;
		return ENDS;
	}
	type = json_str(event, "type");
	object = json_at(event, "object");
	w->events = true;
	if (strcmp(type, "ERROR") == 0) {
		kube_status_error((int)json_int_or(object, "code", 500), object, w->what, &w->err);
		w->failed = true;
		return ENDS;
	}
	w->gone = &gone;
	w->on_event(w->arg, type, object);
	if (gone)
		return GONE;
	w->gone = NULL;
	return TAKEN;
}

/* Nonzero ends the call. */
static int on_data(void *arg, const char *data, size_t len)
{
	struct watch *w = arg;
	enum taken taken = TAKEN;
	size_t done = 0;
	char *end;

	if (buf_add(&w->in, data, len)) {
		pcg_fail(&w->err, PCG_CLASS_PERMANENT, "", "%s: an event is larger than %u bytes",
			 w->what, LINE_MAX_BYTES);
		w->failed = true;
		return 1;
	}
	while (!w->refused && (end = memchr(w->in.data + done, '\n', w->in.len - done))) {
		size_t n = (size_t)(end - w->in.data) - done;

		taken = take_event(w, w->in.data + done, n);
		if (taken == GONE || taken == ENDS)
			return 1;
		w->refused = taken == NO_EVENT;
		if (taken == TAKEN)
			done += n + 1;
	}
	buf_consume(&w->in, done);
	return 0;
}

static void on_done(void *arg, const struct http_response *resp)
{
	struct watch *w = arg;
	AUTO_JSON json_t *status = NULL;
	struct pcg_error ignored;

	w->call = NULL;
	if (w->failed) {
		finish(w);
		return;
	}
	if (resp->status == 0) {
		w->err = resp->err;
	} else if (resp->status >= 400) {
		if (json_parse(w->in.data, w->in.len, "the answer", &status, &ignored))
			status = NULL;
		kube_status_error((int)resp->status, status, w->what, &w->err);
	} else {
		pcg_fail(&w->err, PCG_CLASS_RETRY, "", "%s: the API server ended the watch%s",
			 w->what, w->in.len ? " inside an event" : "");
	}
	finish(w);
}

static void on_unsent(void *arg)
{
	finish(arg);
}

static int send_watch(struct watch *w, const char *path)
{
	static const struct http_header accept = {"Accept", "application/json"};
	struct kube *k = w->op.k;
	AUTO_FREE char *url = kube_url(k, path);
	struct http_request req = {.method = "GET",
				   .url = url,
				   .headers = &accept,
				   .n_headers = 1,
				   .proxy = k->proxy,
				   .timeout_ms = CALL_ENDS_MS,
				   .own_connection = true,
				   .on_data = on_data};
	int r = url ? kube_tls(k, &req.tls, &w->err) : kube_too_long(w->what, &w->err);

	if (r)
		return r;
	w->call = http_submit(k->http, &req, on_done, w);
	http_tls_unref(req.tls);
	if (!w->call)
		return pcg_fail(&w->err, PCG_CLASS_CANCELLED, "", "%s: the program is ending",
				w->what);
	return 0;
}

struct kube_op *kube_watch(struct kube *k, const char *path, const char *resource_version,
			   void (*on_event)(void *arg, const char *type, json_t *object),
			   void (*end)(void *arg, const struct pcg_error *err), void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));
	struct buf b;

	if (!w)
		abort();
	kube_op_start(&w->op, k, destroy);
	buf_init(&w->in, LINE_MAX_BYTES);
	w->on_event = on_event;
	w->end = end;
	w->arg = arg;
	if (asprintf(&w->what, "watching %s%.*s", k->server, (int)strcspn(path, "?"), path) < 0)
		abort();
	buf_init(&b, 1 << 20);
	buf_adds(&b, path);
	kube_query_add(&b, "watch", "1");
	kube_query_add(&b, "allowWatchBookmarks", "true");
	kube_query_add(&b, "timeoutSeconds", SERVER_ENDS_S);
	if (resource_version && *resource_version)
		kube_query_add(&b, "resourceVersion", resource_version);
	if (send_watch(w, b.data))
		w->timer = kube_timer_start(k, 0, on_unsent, w);
	buf_free(&b);
	return &w->op;
}
