/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/track.h"
#include "plugins/vsphere/track_impl.h"

#include "plugins/vsphere/fault.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ASK_MS 1000u
#define CLONE_MAX_MS (4u * 3600 * 1000) /* one that nobody has asked for in that time runs no more */

struct track_table *track_table_new(void)
{
	struct track_table *tt = calloc(1, sizeof(*tt));
	pthread_condattr_t attr;

	assert(tt);
	pthread_mutex_init(&tt->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&tt->changed, &attr);
	pthread_condattr_destroy(&attr);
	return tt;
}

static void track_free(struct track *t)
{
	json_decref(t->addresses);
	json_decref(t->net);
	free(t);
}

void track_table_free(struct track_table *tt)
{
	while (tt->first) {
		struct track *t = tt->first;

		tt->first = t->next;
		track_free(t);
	}
	free(tt->view.members);
	pthread_mutex_destroy(&tt->lock);
	pthread_cond_destroy(&tt->changed);
	free(tt);
}

void track_wait_locked(struct track_table *tt, uint32_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&tt->changed, &tt->lock, &until);
}

struct track *track_find_locked(struct track_table *tt, const char *subject)
{
	struct track *t = tt->first;

	while (t && strcmp(t->subject, subject) != 0)
		t = t->next;
	return t;
}

static struct track *get_locked(struct track_table *tt, const char *subject, const char *uuid)
{
	struct track *t = track_find_locked(tt, subject);

	if (!t) {
		t = calloc(1, sizeof(*t));
		assert(t);
		snprintf(t->subject, sizeof(t->subject), "%s", subject);
		t->next = tt->first;
		tt->first = t;
	}
	if (uuid && *uuid)
		snprintf(t->uuid, sizeof(t->uuid), "%s", uuid);
	t->active = true;
	return t;
}

bool track_get(struct vsphere *v, const char *subject, struct track *out)
{
	struct track *t;

	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	if (t) {
		*out = *t;
		out->addresses = t->addresses ? json_deep_copy(t->addresses) : NULL;
		out->net = NULL;
	}
	pthread_mutex_unlock(&v->tracks->lock);
	return t != NULL;
}

bool track_there(struct vsphere *v, const char *subject)
{
	bool there;

	pthread_mutex_lock(&v->tracks->lock);
	there = track_find_locked(v->tracks, subject) != NULL;
	pthread_mutex_unlock(&v->tracks->lock);
	return there;
}

void track_copy_free(struct track *copy)
{
	json_decref(copy->addresses);
	copy->addresses = NULL;
}

void track_forget_addresses(struct track *t)
{
	json_decref(t->addresses);
	json_decref(t->net);
	t->addresses = t->net = NULL;
	t->ip[0] = 0;
}

void track_set_vm(struct vsphere *v, const char *subject, const char *uuid, const struct vs_ref *vm)
{
	struct track *t;

	pthread_mutex_lock(&v->tracks->lock);
	t = get_locked(v->tracks, subject, uuid);
	if (!track_same(&t->vm, vm)) { /* nothing that was read of another one */
		t->known = false;
		t->instance[0] = t->cluster[0] = t->machine[0] = 0;
		track_forget_addresses(t);
	}
	t->vm = *vm;
	t->gone = false;
	t->next_poll = 0;
	pthread_cond_broadcast(&v->tracks->changed);
	pthread_mutex_unlock(&v->tracks->lock);
}

static void copy_text(const json_t *item, const char *key, char *out, size_t size)
{
	snprintf(out, size, "%s", json_string_value(json_object_get(item, key)) ?: "");
	vs_utf8(out);
}

void track_set_read(struct vsphere *v, const char *subject, const char *uuid, const json_t *item)
{
	char provider_id[47], power[8];
	struct track *t;

	copy_text(item, "providerID", provider_id, sizeof(provider_id));
	copy_text(item, "power", power, sizeof(power));
	pthread_mutex_lock(&v->tracks->lock);
	t = get_locked(v->tracks, subject, uuid);
	snprintf(t->vm.type, sizeof(t->vm.type), "VirtualMachine");
	copy_text(item, "vm", t->vm.value, sizeof(t->vm.value));
	copy_text(item, "name", t->name, sizeof(t->name));
	copy_text(item, "cluster", t->cluster, sizeof(t->cluster));
	copy_text(item, "machine", t->machine, sizeof(t->machine));
	copy_text(item, "id", t->instance, sizeof(t->instance));
	if (strncmp(provider_id, "vsphere://", 10) == 0)
		snprintf(t->bios, sizeof(t->bios), "%s", provider_id + 10);
	t->known = true;
	t->gone = false;
	t->on = strcmp(power, "off") != 0;
	t->disks = (unsigned)json_integer_value(json_object_get(item, "disks"));
	t->poll_step = 0;
	t->next_poll = v->svc->mono_ms(v->host) + POLL_FIRST_MS;
	pthread_cond_broadcast(&v->tracks->changed);
	pthread_mutex_unlock(&v->tracks->lock);
}

void track_set_task(struct vsphere *v, const char *subject, const char *uuid, enum track_task kind,
		    const struct vs_ref *task, const struct vs_ref *folder, uint64_t first_poll_ms)
{
	struct track *t;

	pthread_mutex_lock(&v->tracks->lock);
	t = get_locked(v->tracks, subject, uuid);
	t->task = *task;
	t->kind = kind;
	t->task_done = t->task_failed = t->canceled = false;
	if (folder)
		t->folder = *folder;
	t->begun = v->svc->mono_ms(v->host);
	if (first_poll_ms == TRACK_SHORT)
		first_poll_ms = v->tracks->short_ms ? v->tracks->short_ms : SHORT_MIN_MS;
	t->poll_step = first_poll_ms ? first_poll_ms : POLL_FIRST_MS;
	t->next_poll = t->begun + first_poll_ms;
	t->looks = 0;
	pthread_cond_broadcast(&v->tracks->changed);
	pthread_mutex_unlock(&v->tracks->lock);
}

static uint64_t power_ms(struct vsphere *v, const char *subject, bool on)
{
	uint64_t now = v->svc->mono_ms(v->host), ms = 0;
	struct track *t;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	if (t && t->known && t->on == on) {
		uint64_t *since = on ? &t->on_since : &t->off_since;

		ms = *since ? now - *since : 0;
		*since = now - ms;
	}
	pthread_mutex_unlock(&v->tracks->lock);
	return ms;
}

uint64_t track_off_ms(struct vsphere *v, const char *subject)
{
	return power_ms(v, subject, false);
}

uint64_t track_on_ms(struct vsphere *v, const char *subject)
{
	return power_ms(v, subject, true);
}

bool track_as_off(struct vsphere *v, const char *subject)
{
	struct track *t;
	bool suspended;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	suspended = t && t->known && !t->gone && t->suspended;
	if (suspended) {
		t->as_off = true;
		t->on = false;
	}
	pthread_mutex_unlock(&v->tracks->lock);
	return suspended;
}

bool track_cancel(struct vsphere *v, const char *subject)
{
	struct track *t;
	bool first;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	first = t && t->task.value[0] && !t->task_done && !t->canceled;
	if (first)
		t->canceled = true;
	pthread_mutex_unlock(&v->tracks->lock);
	return first;
}

void track_clear_task(struct vsphere *v, const char *subject)
{
	struct track *t;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	if (t) {
		memset(&t->task, 0, sizeof(t->task));
		t->kind = TASK_NONE;
		t->task_done = t->task_failed = false;
		t->next_poll = 0;
	}
	pthread_mutex_unlock(&v->tracks->lock);
}

void track_idle(struct vsphere *v, const char *subject)
{
	struct track *t;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	if (t)
		t->active = false;
	pthread_mutex_unlock(&v->tracks->lock);
}

void track_drop(struct vsphere *v, const char *subject)
{
	struct track **at = &v->tracks->first;

	pthread_mutex_lock(&v->tracks->lock);
	while (*at && strcmp((*at)->subject, subject) != 0)
		at = &(*at)->next;
	if (*at) {
		struct track *t = *at;

		*at = t->next;
		track_free(t);
	}
	pthread_mutex_unlock(&v->tracks->lock);
}

bool track_same(const struct vs_ref *a, const struct vs_ref *b)
{
	return *a->value && strcmp(a->value, b->value) == 0 && strcmp(a->type, b->type) == 0;
}

bool track_watched(const struct track *t)
{
	return t->active && t->kind != TASK_REDACT && t->kind != TASK_DETACH && t->kind != TASK_SNAPSHOTS &&
	       strcmp(t->vm.type, "Folder") != 0;
}

static unsigned clones_running_locked(struct vsphere *v)
{
	uint64_t now = v->svc->mono_ms(v->host);
	unsigned n = 0;

	for (struct track *t = v->tracks->first; t; t = t->next)
		n += t->kind == TASK_CLONE && t->task.value[0] && !t->task_done && now - t->begun < CLONE_MAX_MS;
	return n;
}

bool track_task_of_other(struct vsphere *v, const char *subject, const char *task)
{
	bool other = false;

	pthread_mutex_lock(&v->tracks->lock);
	for (struct track *t = v->tracks->first; t && !other; t = t->next)
		other = strcmp(t->task.value, task) == 0 && strcmp(t->subject, subject) != 0;
	pthread_mutex_unlock(&v->tracks->lock);
	return other;
}

unsigned track_clones_running(struct vsphere *v)
{
	unsigned n;

	pthread_mutex_lock(&v->tracks->lock);
	n = clones_running_locked(v);
	pthread_mutex_unlock(&v->tracks->lock);
	return n;
}

static bool covered_locked(const struct track_table *tt, const struct vs_ref *ref)
{
	for (size_t i = 0; i < tt->view.n; i++)
		if (track_same(&tt->view.members[i], ref))
			return true;
	return false;
}

static bool watched_locked(const struct track_table *tt, const struct track *t)
{
	return tt->live && (covered_locked(tt, &t->folder) || covered_locked(tt, &t->vm));
}

/* Nothing that is waited for of it would ever be seen. */
static int unreadable(struct vsphere *v, const char *subject, struct vs_err *err)
{
	struct track *t;
	int r = 0;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	if (t && *t->blind) {
		const char *type = strrchr(t->blind, ' ') + 1;
		char what[200];

		snprintf(what, sizeof(what), "reading machine %s", *t->name ? t->name : t->vm.value);
		vs_fault(err, what, type, t->blind);
		t->next_poll = 0;
		r = -1;
	}
	pthread_mutex_unlock(&v->tracks->lock);
	return r;
}

int track_poll_due(struct vsphere *v, struct pcg_call *call, const char *subject, struct vs_err *err)
{
	uint64_t now = v->svc->mono_ms(v->host);
	struct track *t;
	bool due;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	due = t && now >= t->next_poll && (t->vm.value[0] || t->task.value[0]);
	/* What the watch sees needs no read of its own at the first time. */
	if (due && t->next_poll && t->kind == TASK_CLONE && watched_locked(v->tracks, t) && t->poll_step < POLL_WATCHED_MS) {
		t->poll_step = POLL_WATCHED_MS;
		t->next_poll = now + POLL_FIRST_MS;
		due = false;
	}
	pthread_mutex_unlock(&v->tracks->lock);
	return due && track_poll(v, call, subject, err) ? -1 : unreadable(v, subject, err);
}

uint32_t track_after_ms(struct vsphere *v, const char *subject)
{
	uint64_t now = v->svc->mono_ms(v->host), left = ASK_MS;
	struct track *t;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	if (t && t->next_poll > now && t->next_poll - now < ASK_MS)
		left = t->next_poll - now;
	pthread_mutex_unlock(&v->tracks->lock);
	return (uint32_t)(left < 20 ? 20 : left);
}

bool track_any_active(struct vsphere *v, uint32_t wait_ms)
{
	struct track *t;

	pthread_mutex_lock(&v->tracks->lock);
	for (int pass = 0;; pass++) {
		for (t = v->tracks->first; t && !track_watched(t); t = t->next)
			;
		if (t || pass || !wait_ms)
			break;
		track_wait_locked(v->tracks, wait_ms);
	}
	pthread_mutex_unlock(&v->tracks->lock);
	return t != NULL;
}

static void need(struct vs_ref *list, size_t *n, const struct vs_ref *ref)
{
	for (size_t i = 0; i < *n; i++)
		if (track_same(&list[i], ref))
			return;
	if (ref->value[0])
		list[(*n)++] = *ref;
}

struct vs_ref *track_needed(struct vsphere *v, size_t *n)
{
	struct vs_ref *list;
	size_t max = 1;

	*n = 0;
	pthread_mutex_lock(&v->tracks->lock);
	for (struct track *t = v->tracks->first; t; t = t->next)
		max += 2;
	list = calloc(max, sizeof(*list));
	assert(list);
	for (struct track *t = v->tracks->first; t; t = t->next) {
		if (!track_watched(t) || t->gone)
			continue;
		need(list, n, t->folder.value[0] ? &t->folder : &t->vm);
		if (t->kind == TASK_CLONE && !t->task_done)
			need(list, n, &t->task);
	}
	pthread_mutex_unlock(&v->tracks->lock);
	return list;
}

static bool uncovered_locked(const struct track_table *tt, const struct track *t)
{
	const struct vs_ref *place = t->folder.value[0] ? &t->folder : &t->vm;

	if (!track_watched(t) || t->gone)
		return false;
	return (place->value[0] && !covered_locked(tt, place)) ||
	       (t->kind == TASK_CLONE && !t->task_done && t->task.value[0] && !covered_locked(tt, &t->task));
}

bool track_uncovered(struct vsphere *v, char subject[64])
{
	struct track_table *tt = v->tracks;
	struct track *t;

	pthread_mutex_lock(&tt->lock);
	for (t = tt->first; t && !uncovered_locked(tt, t); t = t->next)
		;
	if (t)
		snprintf(subject, sizeof(t->subject), "%s", t->subject);
	pthread_mutex_unlock(&tt->lock);
	return t != NULL;
}

void track_watch_live(struct vsphere *v, bool live)
{
	pthread_mutex_lock(&v->tracks->lock);
	v->tracks->live = live;
	pthread_mutex_unlock(&v->tracks->lock);
}
