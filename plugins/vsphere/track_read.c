/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/track_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads of many: one at a time, for all who want one when it begins. */

#define APART_MS 100u         /* calls for many are at least this far apart, */
#define APART_EACH_MS 10u     /* and this for each that is in flight, */
#define APART_MAX_MS 1000u    /* and no more than this; */
#define APART_OPS_MS (APART_MS + APART_EACH_MS * VS_OPS_MAX) /* where ops wait for it, more of them could not join */
#define POLL_MAX_MS 10000u

static bool only_missing(const struct xn *object)
{
	const struct xn *m = xn_child(object, "missingSet"), *fault = xn_child(xn_child(m, "fault"), "fault");

	return !xn_child(object, "propSet") && fault && fault->xsi && strcmp(fault->xsi, "ManagedObjectNotFound") == 0;
}

static void on_polled(void *arg, const struct xn *object)
{
	struct vsphere *v = arg;
	struct track_read *p = &v->tracks->read;
	struct vs_ref ref;

	if (only_missing(object) || !xn_ref(xn_child(object, "obj"), &ref))
		return;
	if (p->n < p->max)
		p->seen[p->n++] = ref;
	track_observe(v, object, false);
}

void track_vm_paths(struct soap *s, bool marks)
{
	static const char *const keys[] = { MARK_CLUSTER, MARK_MACHINE };
	char path[96];

	soap_open(s, "propSet");
	soap_text(s, "type", "VirtualMachine");
	soap_text(s, "pathSet", "name");
	soap_text(s, "pathSet", "runtime.powerState");
	soap_text(s, "pathSet", "runtime.question");
	soap_text(s, "pathSet", "config.instanceUuid");
	soap_text(s, "pathSet", "config.uuid");
	soap_text(s, "pathSet", "guest.ipAddress");
	soap_text(s, "pathSet", "guest.net");
	soap_text(s, "pathSet", "guest.toolsRunningStatus");
	soap_text(s, "pathSet", "summary.config.numVirtualDisks");
	if (marks)
		soap_text(s, "pathSet", "config.template");
	for (size_t i = 0; marks && i < 2; i++) {
		snprintf(path, sizeof(path), "config.extraConfig[\"%s\"]", keys[i]);
		soap_text(s, "pathSet", path);
	}
	soap_close(s);
	soap_open(s, "propSet");
	soap_text(s, "type", "Task");
	soap_text(s, "pathSet", "info.state");
	soap_text(s, "pathSet", "info.error");
	soap_text(s, "pathSet", "info.result");
	soap_close(s);
	if (!marks)
		return;
	soap_open(s, "propSet");
	soap_text(s, "type", "Folder");
	soap_text(s, "pathSet", "name");
	soap_text(s, "pathSet", "childEntity");
	soap_close(s);
}

static void object_set(struct soap *s, const struct vs_ref *ref)
{
	if (!ref->value[0])
		return;
	soap_open(s, "objectSet");
	soap_ref(s, "obj", ref);
	soap_bool(s, "skip", false);
	soap_close(s);
}

/* Writes what all tracks that want it need. lock held */
static void read_write_locked(struct vsphere *v, struct soap *s)
{
	struct track_read *p = &v->tracks->read;

	soap_open(s, "specSet");
	track_vm_paths(s, true);
	p->n = p->max = 0;
	for (struct track *t = v->tracks->first; t; t = t->next) {
		if (!t->want_poll)
			continue;
		t->want_poll = false;
		t->polled = true;
		t->looks++;
		t->polled_vm = t->vm.value[0] != 0;
		object_set(s, &t->vm);
		object_set(s, &t->task);
		p->max += (t->vm.value[0] != 0) + (t->task.value[0] != 0);
	}
	soap_bool(s, "reportMissingObjectsInResults", true);
	soap_close(s);
	p->seen = calloc(p->max + 1, sizeof(*p->seen));
	assert(p->seen);
}

static bool seen(const struct track_read *p, const struct vs_ref *ref)
{
	for (size_t i = 0; i < p->n; i++)
		if (track_same(&p->seen[i], ref))
			return true;
	return false;
}

/* Gone before it was ever read. A task that ended long ago told of it, and has nothing more to tell. */
static void vanished(struct track *t)
{
	memset(&t->vm, 0, sizeof(t->vm));
	if (!t->task_done || t->task_failed)
		return;
	memset(&t->task, 0, sizeof(t->task));
	t->kind = TASK_NONE;
	t->task_done = false;
}

static void read_end_locked(struct vsphere *v, bool good)
{
	struct track_read *p = &v->tracks->read;
	uint64_t now = v->svc->mono_ms(v->host);

	for (struct track *t = v->tracks->first; t; t = t->next) {
		if (!t->polled)
			continue;
		t->polled = false;
		t->poll_step = t->poll_step * 2 > POLL_MAX_MS ? POLL_MAX_MS : t->poll_step ? t->poll_step * 2 : POLL_FIRST_MS;
		t->next_poll = now + (v->tracks->live ? POLL_WATCHED_MS : t->poll_step);
		if (!track_watched(t) || t->kind == TASK_ON || t->kind == TASK_OFF)
			t->next_poll = now + t->poll_step;
		if (!good)
			continue;
		/* A machine that a task has just named was not asked for. */
		if (t->polled_vm && !seen(p, &t->vm) && t->known)
			t->gone = true;
		else if (t->polled_vm && !seen(p, &t->vm))
			vanished(t);
		if (t->kind == TASK_CLONE && t->task_done && !t->task_failed && !t->known)
			t->next_poll = 0;
		/* A task is forgotten by the server some time after its end. */
		if (t->task.value[0] && !seen(p, &t->task) && !t->task_done) {
			memset(&t->task, 0, sizeof(t->task));
			t->kind = TASK_NONE;
		}
	}
	free(p->seen);
	memset(p, 0, sizeof(*p));
}

static int poll_all(struct vsphere *v, struct pcg_call *call, struct vs_err *err)
{
	struct soap s;
	unsigned generation;
	size_t objects;
	int r;

	/* The references are those of the session. */
	r = vs_session_open(&v->session, call, &generation, err);
	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	pthread_mutex_lock(&v->tracks->lock);
	read_write_locked(v, &s);
	objects = v->tracks->read.max;
	pthread_mutex_unlock(&v->tracks->lock);
	if (!r && objects)
		r = vs_retrieve(&v->session, call, &s, 0, 0, on_polled, v, err);
	else
		soap_free(&s);
	pthread_mutex_lock(&v->tracks->lock);
	read_end_locked(v, !r);
	pthread_mutex_unlock(&v->tracks->lock);
	return r;
}

bool track_join_begin(struct vsphere *v, const char *subject)
{
	struct track_table *tt = v->tracks;
	struct track *t, *mine = NULL;
	bool alone = true;

	pthread_mutex_lock(&tt->lock);
	for (t = tt->first; t; t = t->next) {
		if (strcmp(t->subject, subject) == 0)
			mine = t;
		else
			alone = alone && !t->active && !t->want_poll && !t->task.value[0];
	}
	alone = alone && mine && !tt->polling;
	if (alone)
		tt->polling = mine->want_poll = true;
	pthread_mutex_unlock(&tt->lock);
	return alone;
}

void track_join_write(struct vsphere *v, struct soap *s)
{
	pthread_mutex_lock(&v->tracks->lock);
	read_write_locked(v, s);
	pthread_mutex_unlock(&v->tracks->lock);
}

void track_join_object(struct vsphere *v, const struct xn *object)
{
	on_polled(v, object);
}

void track_join_end(struct vsphere *v, const char *subject, bool good)
{
	struct track *t;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	if (t)
		t->want_poll = false; /* when it came to no request */
	read_end_locked(v, good);
	v->tracks->polling = false;
	v->tracks->polled_at = v->svc->mono_ms(v->host);
	pthread_cond_broadcast(&v->tracks->changed);
	pthread_mutex_unlock(&v->tracks->lock);
}

void track_pace(struct vsphere *v, struct pcg_call *call, uint64_t last, bool ops_wait)
{
	uint64_t now = v->svc->mono_ms(v->host), until = last + APART_MS, most = last + (ops_wait ? APART_OPS_MS : APART_MAX_MS);

	pthread_mutex_lock(&v->tracks->lock);
	for (struct track *t = v->tracks->first; t; t = t->next)
		if (t->active && until < most)
			until += APART_EACH_MS;
	pthread_mutex_unlock(&v->tracks->lock);
	if (now < until)
		v->svc->wait(v->host, call, until - now);
}

int track_poll(struct vsphere *v, struct pcg_call *call, const char *subject, struct vs_err *err)
{
	struct track_table *tt = v->tracks;
	struct track *t;
	int r = 0;

	pthread_mutex_lock(&tt->lock);
	t = track_find_locked(tt, subject);
	if (t)
		t->want_poll = true;
	while (!r && (t = track_find_locked(tt, subject)) && (t->want_poll || t->polled)) {
		if (tt->polling) {
			track_wait_locked(tt, 100);
			continue;
		}
		tt->polling = true;
		pthread_mutex_unlock(&tt->lock);
		track_pace(v, call, tt->polled_at, true);
		tt->polled_at = v->svc->mono_ms(v->host);
		r = poll_all(v, call, err);
		pthread_mutex_lock(&tt->lock);
		tt->polling = false;
		pthread_cond_broadcast(&tt->changed);
	}
	pthread_mutex_unlock(&tt->lock);
	return r;
}
