/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/track.h"
#include "plugins/vsphere/track_impl.h"

#include "plugins/vsphere/addresses.h"
#include "plugins/vsphere/clone_limit.h"
#include "plugins/vsphere/fault.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ASK_MS 1000u
#define CLONE_MAX_MS (4u * 3600 * 1000) /* one that nobody has asked for in that time runs no more */
#define SHORT_MIN_MS 60u      /* a short task is looked at after what the last ones took */
#define SHORT_MAX_MS 2000u

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

static void forget_addresses(struct track *t)
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
		forget_addresses(t);
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

uint64_t track_off_ms(struct vsphere *v, const char *subject)
{
	uint64_t now = v->svc->mono_ms(v->host), ms = 0;
	struct track *t;

	pthread_mutex_lock(&v->tracks->lock);
	t = track_find_locked(v->tracks, subject);
	if (t && t->known && !t->on) {
		ms = t->off_since ? now - t->off_since : 0;
		t->off_since = now - ms;
	}
	pthread_mutex_unlock(&v->tracks->lock);
	return ms;
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

const char *track_option(const struct xn *object, const char *key)
{
	char path[96];
	const struct xn *val;

	snprintf(path, sizeof(path), "config.extraConfig[\"%s\"]", key);
	val = xn_prop(object, path);
	return val && xn_child(val, "value") ? xn_get(val, "value") : xn_text(val);
}

static bool copy_prop(const struct xn *object, const char *path, char *out, size_t size)
{
	const struct xn *val = xn_prop(object, path);

	if (!val || strcmp(out, xn_text(val)) == 0)
		return false;
	snprintf(out, size, "%s", xn_text(val));
	vs_utf8(out);
	return true;
}

/* The property is told, if only that it is not set any more: then *val is NULL. */
static bool told(const struct xn *object, const char *path, const struct xn **val)
{
	*val = NULL;
	for (const struct xn *p = object->child; p; p = p->next)
		if ((strcmp(p->name, "propSet") == 0 || strcmp(p->name, "changeSet") == 0) &&
		    strcmp(xn_get(p, "name"), path) == 0) {
			*val = xn_child(p, "val");
			return true;
		}
	return false;
}

/* An update tells what has changed, which may be one of the two. */
static bool observe_addresses(struct track *t, const struct xn *object)
{
	const struct xn *net, *ip;
	bool net_told = told(object, "guest.net", &net), ip_told = told(object, "guest.ipAddress", &ip);
	json_t *found;

	if (net_told) {
		json_decref(t->net);
		t->net = addresses_of_net(net);
	}
	if (ip_told)
		snprintf(t->ip, sizeof(t->ip), "%s", xn_text(ip));
	if (!net_told && !ip_told)
		return false;
	found = addresses_of_guest(t->net, t->ip);
	if (t->addresses && json_equal(found, t->addresses)) {
		json_decref(found);
		return false;
	}
	json_decref(t->addresses);
	t->addresses = found;
	return true;
}

/* What may not be read for another reason than that it, or the session, is gone. */
static void observe_missing(struct track *t, const struct xn *object)
{
	t->blind[0] = 0;
	for (const struct xn *m = xn_child(object, "missingSet"); m; m = xn_next(m, "missingSet")) {
		const struct xn *fault = xn_child(xn_child(m, "fault"), "fault");
		const char *type = fault && fault->xsi ? fault->xsi : "";

		if (*type && strcmp(type, "ManagedObjectNotFound") != 0 && strcmp(type, "NotAuthenticated") != 0 &&
		    strcmp(type, "InvalidProperty") != 0)
			snprintf(t->blind, sizeof(t->blind), "%.60s: %.32s", xn_get(m, "path"), type);
	}
}

static bool observe_vm(struct track *t, const struct xn *object, const struct vs_ref *ref)
{
	const struct xn *power = xn_prop(object, "runtime.powerState"), *val;
	const char *cluster = track_option(object, MARK_CLUSTER), *machine = track_option(object, MARK_MACHINE);
	bool changed = !t->known || !t->vm.value[0];

	t->vm = *ref;
	t->known = true;
	observe_missing(t, object);
	if (power) {
		bool on = strcmp(xn_text(power), "poweredOff") != 0;

		changed = changed || on != t->on;
		t->on = on;
		if (on)
			t->off_since = 0;
		else
			forget_addresses(t);
	}
	changed |= copy_prop(object, "config.uuid", t->bios, sizeof(t->bios));
	changed |= copy_prop(object, "name", t->name, sizeof(t->name));
	copy_prop(object, "config.instanceUuid", t->instance, sizeof(t->instance));
	if (told(object, "guest.toolsRunningStatus", &val))
		t->tools = strcmp(xn_text(val), "guestToolsRunning") == 0;
	if (told(object, "config.template", &val))
		t->template = strcmp(xn_text(val), "true") == 0;
	if (told(object, "summary.config.numVirtualDisks", &val))
		t->disks = (unsigned)atoi(xn_text(val));
	if (*cluster)
		snprintf(t->cluster, sizeof(t->cluster), "%s", cluster);
	if (*machine)
		snprintf(t->machine, sizeof(t->machine), "%s", machine);
	return (t->on && observe_addresses(t, object)) || changed;
}

static bool observe_task(struct track *t, const struct xn *object)
{
	const char *state = xn_text(xn_prop(object, "info.state"));
	const struct xn *error = xn_prop(object, "info.error"), *fault = xn_child(error, "fault");
	static const char *const what[] = { "", "cloning the template", "powering on", "powering off", "destroying",
					    "redacting the user data", "detaching volumes" };
	struct vs_ref vm;

	if (strcmp(state, "success") != 0 && strcmp(state, "error") != 0)
		return false;
	if (t->task_done)
		return false;
	t->task_done = true;
	t->task_failed = *state == 'e';
	if (t->task_failed)
		vs_fault_of(&t->task_err, what[t->kind], fault, xn_get(error, "localizedMessage"));
	else if (t->kind == TASK_CLONE && xn_ref(xn_prop(object, "info.result"), &vm) && !t->vm.value[0] &&
		 strcmp(vm.type, "VirtualMachine") == 0)
		t->vm = vm;
	else if (t->kind == TASK_DESTROY)
		t->gone = true;
	return true;
}

bool track_same(const struct vs_ref *a, const struct vs_ref *b)
{
	return *a->value && strcmp(a->value, b->value) == 0 && strcmp(a->type, b->type) == 0;
}

static bool observe_folder(struct track *t, const struct xn *object)
{
	const struct xn *list = xn_prop(object, "childEntity");

	t->known = true;
	copy_prop(object, "name", t->name, sizeof(t->name));
	t->children = list ? 0 : CHILDREN_UNKNOWN;
	for (const struct xn *c = list ? list->child : NULL; c; c = c->next)
		t->children++;
	return true;
}

bool track_watched(const struct track *t)
{
	return t->active && t->kind != TASK_REDACT && t->kind != TASK_DETACH && strcmp(t->vm.type, "Folder") != 0;
}

/* How long short tasks take here: so that one look at the next is enough. lock held */
static void short_learn(struct vsphere *v, const struct track *t)
{
	uint64_t took = v->svc->mono_ms(v->host) - t->begun, *usual = &v->tracks->short_ms;

	if (track_watched(t))
		return;
	*usual = t->looks > 1 ? took : *usual * 3 / 4;
	*usual = *usual < SHORT_MIN_MS ? SHORT_MIN_MS : *usual > SHORT_MAX_MS ? SHORT_MAX_MS : *usual;
}

static bool observe_one(struct track *t, const struct xn *object, const struct vs_ref *ref, const char *uuid, bool left)
{
	if (track_same(&t->task, ref))
		return !left && observe_task(t, object);
	if (strcmp(ref->type, "Folder") == 0)
		return track_same(&t->vm, ref) && !left && observe_folder(t, object);
	if (strcmp(ref->type, "VirtualMachine") != 0)
		return false;
	if (!track_same(&t->vm, ref) && !(*uuid && strcasecmp(uuid, t->uuid) == 0 && !t->vm.value[0]))
		return false;
	if (!left)
		return observe_vm(t, object, ref);
	/* It left the folder: destroyed when that was asked for, else perhaps moved, which a read tells. */
	if (t->kind == TASK_DESTROY)
		t->gone = true;
	t->next_poll = 0;
	return true;
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

static void clone_ended(struct vsphere *v, const struct track *t)
{
	struct clone_task_end ended = { t->task_failed ? t->task_err.fault : "", t->begun, v->svc->mono_ms(v->host) };

	clone_limit_ended(v->clones, &ended);
}

/* Those who wait for a clone to end come one after the other. */
static void clones_call(struct vsphere *v)
{
	char subject[64];

	while (clone_limit_next(v->clones, track_clones_running(v), v->svc->mono_ms(v->host), subject))
		v->svc->hint(v->host, subject);
}

bool track_observe(struct vsphere *v, const struct xn *object, bool left)
{
	const char *uuid = xn_text(xn_prop(object, "config.instanceUuid"));
	char subjects[8][64];
	struct vs_ref ref;
	bool cloned = false, known = left;
	size_t n = 0;

	if (!xn_ref(xn_child(object, "obj"), &ref))
		return false;
	pthread_mutex_lock(&v->tracks->lock);
	for (struct track *t = v->tracks->first; t; t = t->next) {
		bool over = t->task_done;

		known |= track_same(&t->task, &ref) || track_same(&t->vm, &ref) || track_same(&t->folder, &ref);
		if (!observe_one(t, object, &ref, uuid, left))
			continue;
		if (t->task_done && !over)
			short_learn(v, t);
		if (t->task_done && !over && t->kind == TASK_CLONE) {
			clone_ended(v, t);
			cloned = true;
		}
		if (t->active && n < 8)
			snprintf(subjects[n++], sizeof(subjects[0]), "%s", t->subject);
	}
	pthread_mutex_unlock(&v->tracks->lock);
	while (n--)
		v->svc->hint(v->host, subjects[n]);
	if (cloned)
		clones_call(v);
	return known;
}

void track_missing(struct vsphere *v, const struct vs_ref *ref)
{
	char subject[64] = "";

	pthread_mutex_lock(&v->tracks->lock);
	for (struct track *t = v->tracks->first; t; t = t->next)
		if (track_same(&t->vm, ref) || track_same(&t->task, ref) || track_same(&t->folder, ref)) {
			t->next_poll = 0;
			if (t->active)
				snprintf(subject, sizeof(subject), "%s", t->subject);
		}
	pthread_mutex_unlock(&v->tracks->lock);
	if (*subject)
		v->svc->hint(v->host, subject);
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
