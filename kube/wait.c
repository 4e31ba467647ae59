/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "kube/kube_impl.h"

#include "core/attr.h"
#include "core/clock.h"

#include <string.h>

#define POLL_FIRST_MS 10
#define POLL_LAST_MS 1000

static const json_t *condition(const json_t *o, const char *type)
{
	size_t i;
	json_t *c;

	json_array_foreach (json_at(o, "status.conditions"), i, c)
		if (strcmp(json_str_or(c, "type", ""), type) == 0)
			return c;
	return NULL;
}

static bool condition_true(const json_t *o, const char *type, char *says, size_t size)
{
	const json_t *c = condition(o, type);

	if (c && strcmp(json_str_or(c, "status", ""), "True") == 0)
		return true;
	if (c)
		snprintf(says, size, "%s is %s: %s: %.300s", type,
			 json_str_or(c, "status", "unknown"), json_str_or(c, "reason", "no reason"),
			 json_str_or(c, "message", ""));
	else
		snprintf(says, size, "%s is not reported yet", type);
	return false;
}

static bool observed(const json_t *o, char *says, size_t size)
{
	if (json_int_or(o, "status.observedGeneration", 0) >=
	    json_int_or(o, "metadata.generation", 1))
		return true;
	snprintf(says, size, "its controller has not seen it yet");
	return false;
}

static bool counted(const json_t *o, const char *have, int64_t want, char *says, size_t size)
{
	int64_t n = json_int_or(o, have, 0);

	if (n >= want)
		return true;
	snprintf(says, size, "%s is %lld of %lld", strrchr(have, '.') + 1, (long long)n,
		 (long long)want);
	return false;
}

static bool daemon_set(const json_t *o, char *says, size_t size)
{
	int64_t want = json_int_or(o, "status.desiredNumberScheduled", 0);

	return observed(o, says, size) &&
	       counted(o, "status.updatedNumberScheduled", want, says, size) &&
	       counted(o, "status.numberAvailable", want, says, size);
}

static bool deployment(const json_t *o, char *says, size_t size)
{
	int64_t want = json_int_or(o, "spec.replicas", 1);

	return observed(o, says, size) && counted(o, "status.updatedReplicas", want, says, size) &&
	       (want == 0 || condition_true(o, "Available", says, size));
}

static bool stateful_set(const json_t *o, char *says, size_t size)
{
	int64_t want = json_int_or(o, "spec.replicas", 1);

	return observed(o, says, size) && counted(o, "status.readyReplicas", want, says, size);
}

static bool definition(const json_t *o, char *says, size_t size)
{
	return condition_true(o, "Established", says, size);
}

static bool api_service(const json_t *o, char *says, size_t size)
{
	return condition_true(o, "Available", says, size);
}

static bool job(const json_t *o, char *says, size_t size)
{
	return condition_true(o, "Complete", says, size);
}

/* Somebody else (cert-manager) puts the CA in; before that every call of it fails. */
static bool webhooks(const json_t *o, char *says, size_t size)
{
	size_t i;
	json_t *w;

	json_array_foreach (json_at(o, "webhooks"), i, w)
		if (json_at(w, "clientConfig.service") &&
		    !*json_str_or(w, "clientConfig.caBundle", "")) {
			snprintf(says, size, "webhook %s has no caBundle yet",
				 json_str_or(w, "name", ""));
			return false;
		}
	return true;
}

bool kube_available(const json_t *object, char *says, size_t size)
{
	static const struct {
		const char *kind;
		bool (*check)(const json_t *o, char *says, size_t size);
	} table[] = {
		{"Deployment", deployment},
		{"DaemonSet", daemon_set},
		{"StatefulSet", stateful_set},
		{"CustomResourceDefinition", definition},
		{"APIService", api_service},
		{"Job", job},
		{"MutatingWebhookConfiguration", webhooks},
		{"ValidatingWebhookConfiguration", webhooks},
	};
	const char *kind = json_str_or(object, "kind", "");

	says[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (strcmp(table[i].kind, kind) == 0)
			return table[i].check(object, says, size);
	return true;
}

struct wait {
	struct kube_op op;
	struct kube_op *step;
	struct kube_timer *timer;
	json_t *object;
	int64_t deadline;
	uint32_t timeout_ms, poll_ms;
	char says[512];
	kube_cb cb;
	void *arg;
};

static void destroy(struct kube_op *op)
{
	struct wait *w = (struct wait *)op;

	kube_op_cancel(w->step);
	kube_timer_stop(&w->timer);
	json_decref(w->object);
	free(w);
}

static void finish(struct wait *w, const struct kube_reply *reply)
{
	kube_cb cb = w->cb;
	void *arg = w->arg;

	kube_op_end(&w->op);
	cb(arg, reply);
}

static void look(void *arg);

static void later(struct wait *w)
{
	struct kube_reply reply = {0};
	char name[256];

	if (clock_mono_ms() + w->poll_ms < w->deadline) {
		w->timer = kube_timer_start(w->op.k, w->poll_ms, look, w);
		w->poll_ms = w->poll_ms * 2 < POLL_LAST_MS ? w->poll_ms * 2 : POLL_LAST_MS;
		return;
	}
	kube_object_name(w->object, NULL, name);
	pcg_fail(&reply.err, PCG_CLASS_RETRY, "see its status and events in the cluster",
		 "%s did not become available in %u s: %s", name, w->timeout_ms / 1000, w->says);
	finish(w, &reply);
}

static void on_object(void *arg, const struct kube_reply *reply)
{
	struct wait *w = arg;

	w->step = NULL;
	if (reply->status == 200) {
		if (kube_available(reply->body, w->says, sizeof(w->says))) {
			finish(w, reply);
			return;
		}
	} else if (reply->err.class == PCG_CLASS_RETRY || reply->err.class == PCG_CLASS_NOT_FOUND ||
		   reply->err.class == PCG_CLASS_CONFLICT) {
		snprintf(w->says, sizeof(w->says), "%.500s", reply->err.text);
	} else {
		finish(w, reply);
		return;
	}
	later(w);
}

static void on_path(void *arg, char *path, const struct pcg_error *err)
{
	struct wait *w = arg;
	struct kube_reply reply = {0};

	w->step = NULL;
	if (!err) {
		w->step = kube_request(w->op.k, "GET", path, NULL, NULL, 0, on_object, w);
		free(path);
		return;
	}
	if (err->class != PCG_CLASS_RETRY && err->class != PCG_CLASS_NOT_FOUND) {
		reply.err = *err;
		finish(w, &reply);
		return;
	}
	snprintf(w->says, sizeof(w->says), "%.500s", err->text);
	later(w);
}

static void look(void *arg)
{
	struct wait *w = arg;

	kube_timer_stop(&w->timer);
	w->step = kube_find_start(w->op.k, json_str_or(w->object, "apiVersion", "v1"),
				  json_str(w->object, "kind"),
				  json_str(w->object, "metadata.namespace"),
				  json_str(w->object, "metadata.name"), on_path, w);
}

struct kube_op *kube_wait_available(struct kube *k, const json_t *object, uint32_t timeout_ms,
				    kube_cb cb, void *arg)
{
	struct wait *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	kube_op_start(&w->op, k, destroy);
	w->object = json_incref((json_t *)(uintptr_t)object); /* read only */
	w->timeout_ms = timeout_ms;
	w->deadline = clock_mono_ms() + timeout_ms;
	w->poll_ms = POLL_FIRST_MS;
	w->cb = cb;
	w->arg = arg;
	/* What was applied just now is not there at once. */
	w->timer = kube_timer_start(k, POLL_FIRST_MS, look, w);
	return &w->op;
}
