/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/track_impl.h"

#include "plugins/vsphere/addresses.h"
#include "plugins/vsphere/clone_limit.h"
#include "plugins/vsphere/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a reply says of the machines, tasks and folders that are tracked, from the wait or from a read. */

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

/* A read of all that does not tell of one says that there is none. */
static bool observe_question(struct track *t, const struct xn *object)
{
	char before[sizeof(t->question)];
	const struct xn *question, *template;

	memcpy(before, t->question, sizeof(before));
	if (told(object, "runtime.question", &question) || told(object, "config.template", &template))
		snprintf(t->question, sizeof(t->question), "%s", xn_get(question, "text"));
	vs_utf8(t->question);
	return strcmp(before, t->question) != 0;
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
		bool suspended = strcmp(xn_text(power), "suspended") == 0;
		bool on = suspended ? !t->as_off : strcmp(xn_text(power), "poweredOff") != 0;

		t->suspended = suspended;
		changed = changed || on != t->on;
		t->on = on;
		if (on) {
			t->off_since = 0;
		} else {
			t->on_since = 0;
			track_forget_addresses(t);
		}
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
	changed |= observe_question(t, object);
	return (t->on && observe_addresses(t, object)) || changed;
}

static bool observe_task(struct track *t, const struct xn *object)
{
	const char *state = xn_text(xn_prop(object, "info.state"));
	const struct xn *error = xn_prop(object, "info.error"), *fault = xn_child(error, "fault");
	static const char *const what[] = { "", "cloning the template", "powering on", "powering off", "destroying",
					    "redacting the user data", "detaching volumes", "removing snapshots" };
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
