/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/task.h"

#include "plugins/vsphere/fault.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Tasks that an op waits for itself: those that options ask for, which are over in a second or two. */

#define FIRST_MS 100u
#define MOST_MS 2000u
#define SPARE_MS 1500u /* of the op's time: for its answer */

/* Up to and with the properties; the objects and soap_close() are the caller's. */
static int read_begin(struct vsphere *v, struct pcg_call *call, struct soap *s, const char *type, const char *const *paths, size_t n,
		      struct vs_err *err)
{
	unsigned generation;

	/* The collector is the session's. */
	if (vs_session_open(&v->session, call, &generation, err))
		return -1;
	soap_begin(s, "RetrievePropertiesEx", &v->session.collector);
	soap_open(s, "specSet");
	soap_open(s, "propSet");
	soap_text(s, "type", type);
	for (size_t i = 0; i < n; i++)
		soap_text(s, "pathSet", paths[i]);
	soap_close(s);
	return 0;
}

int object_read(struct vsphere *v, struct pcg_call *call, const struct vs_ref *ref, const char *const *paths, size_t n,
		void (*cb)(void *arg, const struct xn *object), void *arg, struct vs_err *err)
{
	struct soap s;

	if (read_begin(v, call, &s, ref->type, paths, n, err))
		return -1;
	soap_open(&s, "objectSet");
	soap_ref(&s, "obj", ref);
	soap_bool(&s, "skip", false);
	soap_close(&s);
	soap_close(&s);
	return vs_retrieve(&v->session, call, &s, 0, 0, cb, arg, err);
}

struct ending {
	bool ended, failed;
	struct vs_err err;
};

static void on_task(void *arg, const struct xn *object)
{
	const char *state = xn_text(xn_prop(object, "info.state"));
	const struct xn *error = xn_prop(object, "info.error"), *fault = xn_child(error, "fault");
	struct ending *e = arg;

	e->ended = strcmp(state, "success") == 0 || strcmp(state, "error") == 0;
	e->failed = strcmp(state, "error") == 0;
	if (e->failed)
		vs_fault(&e->err, xn_text(xn_prop(object, "info.descriptionId")), fault && fault->xsi ? fault->xsi : "",
			 xn_get(error, "localizedMessage"));
}

int task_end(struct vsphere *v, struct pcg_call *call, const struct vs_ref *task, struct vs_err *err)
{
	static const char *const paths[] = { "info.state", "info.error", "info.descriptionId" };
	struct ending e = { .ended = false };
	uint64_t ms = FIRST_MS;

	while (v->svc->remaining_ms(call) > SPARE_MS + ms) {
		if (v->svc->wait(v->host, call, ms))
			break;
		if (object_read(v, call, task, paths, sizeof(paths) / sizeof(paths[0]), on_task, &e, err)) {
			/* Forgotten by the server some time after its end; what it was about tells how that was. */
			if (strcmp(err->fault, "ManagedObjectNotFound") == 0)
				return 0;
			return -1;
		}
		if (e.failed)
			*err = e.err;
		if (e.ended)
			return e.failed ? -1 : 0;
		ms = ms * 2 > MOST_MS ? MOST_MS : ms * 2;
	}
	vs_fail(err, PCG_ERR_RETRY, "Nothing: it is asked again.", "the task %s has not ended yet", task->value);
	return -1;
}

/* It is over meanwhile (InvalidState), or cannot be canceled (NotSupported): it is waited for in any case. */
void task_cancel(struct vsphere *v, struct pcg_call *call, const struct vs_ref *task)
{
	struct xn *reply = NULL;
	struct vs_err err;
	struct soap s;

	soap_begin(&s, "CancelTask", task);
	soap_finish(&s);
	vs_call(&v->session, call, &s, 0, 0, 0, &reply, &err);
	xn_free(reply);
}

/* vCenter tells who began a task as DOMAIN\user, whatever form the login had; the domain may have another name there. What does not say
 * who (info.reason may not be read, as with a vCenter before 7 and a role without System.Read on the template) may be ours. */
static bool others(const struct vsphere *v, const struct xn *reason)
{
	const char *who = xn_get(reason, "userName"), *me = v->session.user, *at = strchr(who, '\\'), *domain = strchr(me, '\\');
	size_t n;

	if (!reason)
		return false;
	if (!reason->xsi || strcmp(reason->xsi, "TaskReasonUser") != 0)
		return true;
	who = at ? at + 1 : who;
	me = domain ? domain + 1 : me;
	n = strcspn(me, "@");
	return strcspn(who, "@") != n || strncasecmp(who, me, n) != 0;
}

bool task_clone(const struct vsphere *v, const struct xn *object, const struct vs_ref *template, struct vs_ref *task)
{
	const char *state = xn_text(xn_prop(object, "info.state"));
	struct vs_ref entity;

	if (others(v, xn_prop(object, "info.reason")))
		return false;
	if (template && !(xn_ref(xn_prop(object, "info.entity"), &entity) && strcmp(entity.value, template->value) == 0))
		return false;
	return (strcmp(state, "running") == 0 || strcmp(state, "queued") == 0) &&
	       strcasestr(xn_text(xn_prop(object, "info.descriptionId")), "clone") && xn_ref(xn_child(object, "obj"), task);
}

struct clones {
	const struct vsphere *v;
	const struct vs_ref *template;
	json_t *ids;
};

static void on_clone(void *arg, const struct xn *object)
{
	const struct clones *c = arg;
	struct vs_ref task;

	if (task_clone(c->v, object, c->template, &task))
		json_array_append_new(c->ids, json_string(task.value));
}

void task_recent_write(const struct vsphere *v, struct soap *s)
{
	static const char *const paths[] = { "info.state", "info.descriptionId", "info.entity", "info.reason" };

	soap_open(s, "specSet");
	soap_open(s, "propSet");
	soap_text(s, "type", "Task");
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		soap_text(s, "pathSet", paths[i]);
	soap_close(s);
	soap_open(s, "objectSet");
	soap_ref(s, "obj", &v->session.tasks);
	soap_bool(s, "skip", true);
	soap_open_type(s, "selectSet", "TraversalSpec");
	soap_text(s, "type", "TaskManager");
	soap_text(s, "path", "recentTask");
	soap_bool(s, "skip", false);
	soap_close(s);
	soap_close(s);
	soap_bool(s, "reportMissingObjectsInResults", true);
	soap_close(s);
}

/* A clone is a task of its template, and says nowhere which machine it makes. */
int task_clones(struct vsphere *v, struct pcg_call *call, const struct vs_ref *template, json_t *ids, struct vs_err *err)
{
	struct clones c = { v, template, ids };
	unsigned generation;
	struct soap s;

	if (vs_session_open(&v->session, call, &generation, err))
		return -1;
	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	task_recent_write(v, &s);
	return vs_retrieve(&v->session, call, &s, 0, 0, on_clone, &c, err);
}
