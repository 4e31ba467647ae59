/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/machine.h"

#include "plugins/vsphere/addresses.h"
#include "plugins/vsphere/clone_limit.h"
#include "plugins/vsphere/finish.h"
#include "plugins/vsphere/kept.h"
#include "plugins/vsphere/task.h"
#include "plugins/vsphere/zones.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CLONE_FIRST_MS 1500u
#define TASK_FIRST_MS 1000u
#define CLONE_LINE_MS 5000u
#define POWERS_ON_MS 5000u      /* a clone that has ended: vCenter begins to power it on by then */
#define POWER_AGAIN_MS 1000u
#define POWER_REFUSED_MS 60000u /* and it is told who refuses */
#define POWER_TOLD_MS 120000u    /* a power-on of ours that has not ended is told */
#define NAME_TAKEN_TRIES 20
#define ADDRESS_KEPT_MS 60000u   /* without an address for so long: since when is kept, */
#define ADDRESS_TOLD_MS 300000   /* and it is told */

static bool is_uuid(const char *s)
{
	size_t i;

	for (i = 0; s[i]; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
			return false;
	return i == 36;
}

void subject_read(const json_t *doc, struct subject *s)
{
	const char *id, *provider_id;

	memset(s, 0, sizeof(*s));
	s->cluster = json_object_get(doc, "cluster");
	s->machine = json_object_get(doc, "machine");
	s->mark = json_object_get(doc, "mark");
	s->observed = json_object_get(doc, "observed");
	s->uid = vs_str(s->machine, "uid");
	s->name = vs_str(s->machine, "name");
	id = vs_str(s->observed, "id");
	provider_id = vs_str(s->observed, "providerID");
	if (*s->uid)
		vs_instance_uuid(s->uid, s->uuid);
	else if (is_uuid(id))
		snprintf(s->uuid, sizeof(s->uuid), "%s", id);
	if (strncmp(provider_id, "vsphere://", 10) == 0 && is_uuid(provider_id + 10))
		snprintf(s->bios, sizeof(s->bios), "%s", provider_id + 10);
	snprintf(s->key, sizeof(s->key), "%s", *s->uid ? s->uid : *id ? id : s->bios);
}

static int find_uuid(struct vsphere *v, struct pcg_call *call, const char *uuid, bool instance, struct vs_ref *found,
		     struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	unsigned generation;
	int r;

	memset(found, 0, sizeof(*found));
	if (vs_session_open(&v->session, call, &generation, err))
		return -1;
	soap_begin(&s, "FindByUuid", &v->session.search);
	soap_text(&s, "uuid", uuid);
	soap_bool(&s, "vmSearch", true);
	soap_bool(&s, "instanceUuid", instance);
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, 0, 0, 0, &reply, err))
		return -1;
	r = vs_returned(reply, "FindByUuid", false, found, err);
	xn_free(reply);
	return r;
}

int machine_find(struct vsphere *v, struct pcg_call *call, const struct subject *s, struct vs_ref *found, struct vs_err *err)
{
	memset(found, 0, sizeof(*found));
	if (*s->uuid && find_uuid(v, call, s->uuid, true, found, err))
		return -1;
	/* A machine of ours is found by its own uuid alone: the BIOS one may be a restored copy's. */
	if (!found->value[0] && !*s->uid && *s->bios)
		return find_uuid(v, call, s->bios, false, found, err);
	return 0;
}

bool machine_other(const struct subject *s, const struct track *t)
{
	return *s->uid && *t->instance && strcasecmp(t->instance, s->uuid) != 0;
}

bool machine_untouched(const json_t *doc)
{
	const json_t *checkpoint = json_object_get(doc, "checkpoint");

	return !checkpoint || json_is_null(checkpoint);
}

int machine_known(struct vsphere *v, struct pcg_call *call, const struct subject *s, struct track *t, struct vs_err *err)
{
	struct vs_ref found;

	if (track_get(v, s->key, t) && (t->vm.value[0] || t->task.value[0] || t->gone))
		return 0;
	track_copy_free(t);
	if (machine_find(v, call, s, &found, err))
		return -1;
	if (found.value[0])
		track_set_vm(v, s->key, s->uuid, &found);
	track_get(v, s->key, t);
	return 0;
}

int machine_task(struct vsphere *v, struct pcg_call *call, const char *method, const struct vs_ref *vm,
		 struct vs_ref *task, struct vs_err *err)
{
	struct soap s;

	soap_begin(&s, method, vm);
	return vs_task(&v->session, call, &s, task, err);
}

static json_t *task_checkpoint(const struct vs_ref *task, const struct vs_ref *folder, json_int_t tries)
{
	return json_pack("{s:s, s:s, s:I}", "task", task->value, "folder", folder->value, "nameTaken", tries);
}

static json_t *usable(const struct vsphere *v, const struct subject *s, const struct track *t)
{
	return addresses_for(v, s->cluster, json_object_get(s->machine, "poolSpec"), t->addresses);
}

/* It has an address beside the cluster's virtual one, which may come and go. */
static bool reachable(const struct vsphere *v, const struct subject *s, const struct track *t)
{
	json_t *list = usable(v, s, t);
	bool yes = json_array_size(list) > 0;

	json_decref(list);
	return yes;
}

static json_t *observed_of(const struct vsphere *v, const struct subject *s, const struct track *t, size_t zone)
{
	const json_t *pool = json_object_get(s->machine, "poolSpec");
	json_t *observed;
	char provider_id[64], mac[18], name[256];
	json_t *addresses = json_array(), *list = usable(v, s, t), *a;
	size_t i;

	snprintf(provider_id, sizeof(provider_id), "vsphere://%s", t->bios);
	vs_mac(s->uid, mac);
	json_array_foreach(list, i, a)
		json_array_append_new(addresses, json_pack("{s:s, s:O}", "type", "ExternalIP", "address", a));
	json_decref(list);
	json_array_append_new(addresses, json_pack("{s:s, s:s}", "type", "InternalDNS", "address", s->name));
	observed = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "id", s->uuid, "providerID", provider_id, "biosUUID", t->bios, "vm",
			     t->vm.value, "mac", mac, "addresses", addresses);
	zone_name(s->cluster, pool, zone, name, sizeof(name));
	if (*name) {
		json_object_set_new(observed, "zone", json_integer((json_int_t)zone));
		json_object_set_new(observed, "failureDomain", json_string(name));
	}
	return observed;
}

static void ask_later(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	/* One call for the watch to see it, shared with whoever begins something at the same time. */
	watch_sync(v, call);
	vs_pending(v, call, track_after_ms(v, s->key),
		   t->kind == TASK_CLONE ? task_checkpoint(&t->task, &t->folder, 0) : NULL);
}

static void clone_begin(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s)
{
	uint64_t now = v->svc->mono_ms(v->host);
	struct vs_ref task, folder;
	struct vs_err err;
	bool asked;
	int r;

	if (clone_limit_held(v->clones, s->key, now, &err)) {
		vs_error(v, call, &err);
		return;
	}
	/* Nothing was done yet: the answer leaves no checkpoint. A place that gets free is told by a hint. */
	if (!clone_limit_enter(v->clones, s->key, track_clones_running(v), now)) {
		vs_pending(v, call, CLONE_LINE_MS, NULL);
		return;
	}
	r = clone_send(v, call, doc, s, &task, &folder, &asked, &err);
	/* What was wrong before the request, and a vCenter that is away, say nothing of how much one can do. */
	clone_limit_sent(v->clones, r && asked && !vs_outage_on(v->session.outage) ? &err : NULL, v->svc->mono_ms(v->host));
	if (r) {
		vs_error(v, call, &err);
		return;
	}
	track_set_task(v, s->key, s->uuid, TASK_CLONE, &task, &folder, CLONE_FIRST_MS);
	watch_sync(v, call);
	vs_pending(v, call, track_after_ms(v, s->key), task_checkpoint(&task, &folder, 0));
}

/* The name is taken. By an earlier clone of the same machine, whose reply was lost: then its uuid is found now or
 * when that clone is done. Else by somebody else's machine. */
static void name_taken(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s,
		       const struct track *t)
{
	json_int_t tries = json_integer_value(json_object_get(json_object_get(doc, "checkpoint"), "nameTaken"));
	struct vs_ref found;
	struct vs_err err = t->task_err;

	if (machine_find(v, call, s, &found, &err)) {
		vs_error(v, call, &err);
	} else if (found.value[0]) {
		track_clear_task(v, s->key);
		track_set_vm(v, s->key, s->uuid, &found);
		vs_pending(v, call, 20, NULL);
	} else if (tries < NAME_TAKEN_TRIES) {
		vs_pending(v, call, 1000, task_checkpoint(&t->task, &t->folder, tries + 1));
	} else {
		vs_fail(&err, PCG_ERR_CONFLICT, "Remove or rename the other one in vCenter.",
			"cloning %s: another machine or folder has that name in the cluster's folder", s->name);
		track_drop(v, s->key);
		v->svc->checkpoint(call, "{}");
		vs_error(v, call, &err);
	}
}

/* Somebody else is at it, or has done it: vCenter itself, which powers a clone on by a task of its own after the clone's. */
static bool power_on_waits(struct vsphere *v, const struct subject *s, const struct vs_err *err)
{
	if (strcmp(err->fault, "InvalidPowerState") != 0 && strcmp(err->fault, "TaskInProgress") != 0)
		return false;
	return track_off_ms(v, s->key) < POWER_REFUSED_MS;
}

static void task_failed(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s,
			const struct track *t)
{
	struct vs_err err;

	if (t->kind == TASK_CLONE && strcmp(t->task_err.fault, "DuplicateName") == 0) {
		name_taken(v, call, doc, s, t);
		return;
	}
	track_clear_task(v, s->key);
	if (t->kind == TASK_ON && power_on_waits(v, s, &t->task_err)) {
		vs_pending(v, call, POWER_AGAIN_MS, NULL);
		return;
	}
	/* What the task was about may have changed meanwhile, and the next attempt begins with a new one. */
	track_drop(v, s->key);
	placement_forget(v);
	kept_forget(v);
	v->svc->checkpoint(call, "{}");
	vs_fail(&err, t->task_err.class, t->task_err.remedy, "machine %s: %s", s->name, t->task_err.text);
	if (t->kind == TASK_CLONE)
		clone_limit_failed(v->clones, s->key, &err, v->svc->mono_ms(v->host));
	vs_error(v, call, &err);
}

/* A machine that is found off is being cloned still, or about to be powered on, unless it stays so. One that was upgraded is powered on by
 * us alone. */
static void power_on(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	uint64_t off_ms = track_off_ms(v, s->key);
	bool upgraded = false;
	struct vs_ref task;
	struct vs_err err;

	if ((!off_ms || off_ms >= POWERS_ON_MS) && finish_off(v, call, s, &t->vm, &upgraded, &err)) {
		vs_error(v, call, &err);
		return;
	}
	if (!upgraded && off_ms < POWERS_ON_MS) {
		ask_later(v, call, s, t);
		return;
	}
	v->svc->fault_point(v->host, "vsphere.before_power_on");
	if (machine_task(v, call, "PowerOnVM_Task", &t->vm, &task, &err)) {
		if (power_on_waits(v, s, &err)) {
			track_clear_task(v, s->key);
			vs_pending(v, call, POWER_AGAIN_MS, NULL);
			return;
		}
		if (strcmp(err.fault, "ManagedObjectNotFound") == 0)
			track_drop(v, s->key);
		vs_error(v, call, &err);
		return;
	}
	v->svc->fault_point(v->host, "vsphere.after_power_on");
	track_set_task(v, s->key, s->uuid, TASK_ON, &task, NULL, TASK_FIRST_MS);
	watch_sync(v, call);
	vs_pending(v, call, track_after_ms(v, s->key), NULL);
}

static void tell_no_address(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_err err;

	if (t->suspended)
		vs_fail(&err, PCG_ERR_RETRY, "Resume it in vCenter.", "machine %s (%s) is suspended", s->name, t->vm.value);
	else if (json_array_size(t->addresses))
		vs_fail(&err, PCG_ERR_RETRY, "Give the cluster another endpoint, or the machine another address.",
			"machine %s (%s) runs, but has no address beside the cluster's endpoint", s->name, t->vm.value);
	else if (t->tools)
		vs_fail(&err, PCG_ERR_RETRY, "Look at its console in vCenter: whether its network has DHCP, or takes the static address that it was given, "
			"and what cloud-init says.",
			"machine %s (%s) runs with VMware Tools, but these tell no address of it", s->name, t->vm.value);
	else
		vs_fail(&err, PCG_ERR_RETRY, "Look at its console in vCenter: whether it boots. The template needs open-vm-tools, which tell its "
			"addresses, and cloud-init.",
			"machine %s (%s) is powered on, but VMware Tools do not run in it, so that its address is not known", s->name,
			t->vm.value);
	vs_error(v, call, &err);
}

/* Any machine has no address until it has booted; one without tools or DHCP never gets one. Since when is kept, so that another worker goes on
 * telling, but not for those that boot as they should. */
static void wait_for_address(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s, const struct track *t)
{
	json_int_t since = json_integer_value(json_object_get(json_object_get(doc, "checkpoint"), "noAddressSince"));
	json_int_t now = v->svc->wall_ms(v->host);
	uint64_t on_ms = track_on_ms(v, s->key);

	watch_sync(v, call);
	if (since <= 0 || since > now)
		since = on_ms >= ADDRESS_KEPT_MS ? now - (json_int_t)on_ms : 0;
	if (since > 0 && now - since >= ADDRESS_TOLD_MS)
		tell_no_address(v, call, s, t);
	else
		vs_pending(v, call, track_after_ms(v, s->key), since > 0 ? json_pack("{s:b, s:I}", "begun", 1, "noAddressSince", since) : NULL);
}

static bool waits_for_clone(const struct track *t)
{
	return t->kind == TASK_CLONE && !t->task_done;
}

static void machine_ready(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_err err;
	size_t zone;

	if (finish_on(v, call, s, &t->vm, &err) || zone_of(v, call, s, &t->vm, &zone, &err)) {
		vs_error(v, call, &err);
		return;
	}
	track_idle(v, s->key);
	clone_limit_made(v->clones, s->key);
	vs_done(v, call, json_pack("{s:o}", "observed", observed_of(v, s, t, zone)));
}

/* The one that has the uuid, if there is one. No other is made: it would be one more that nobody knows. */
static void other_machine(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_ref found;
	struct vs_err err;

	if (machine_find(v, call, s, &found, &err)) {
		vs_error(v, call, &err);
		return;
	}
	if (found.value[0]) {
		track_clear_task(v, s->key);
		track_set_vm(v, s->key, s->uuid, &found);
		vs_pending(v, call, 20, NULL);
		return;
	}
	if (t->known)
		vs_fail(&err, PCG_ERR_CONFLICT, "Look at it in vCenter; nothing was done to it. Delete the cluster when its machine is lost.",
			"machine %s: %s (%s), which its clone made, has the instance uuid %s, and not %s: it is another machine by now, or "
			"somebody changed that", s->name, t->name, t->vm.value, t->instance, s->uuid);
	else
		vs_fail(&err, PCG_ERR_RETRY, "Look at the task in vCenter, and for a machine of that name.",
			"machine %s: task %s, which cloned it, has ended well but names no machine, and none has the instance uuid %s", s->name,
			t->task.value, s->uuid);
	track_drop(v, s->key);
	vs_error(v, call, &err);
}

static bool power_on_hangs(struct vsphere *v, const struct track *t)
{
	return t->kind == TASK_ON && !t->task_done && v->svc->mono_ms(v->host) - t->begun >= POWER_TOLD_MS;
}

static void tell_power_on(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_err err;

	watch_sync(v, call);
	vs_fail(&err, PCG_ERR_RETRY, "Look at the machine in vCenter: it may wait for the answer to a question.",
		"machine %s (%s): the task that powers it on, %s, does not end", s->name, t->vm.value, t->task.value);
	vs_error(v, call, &err);
}

static bool clone_names_nothing(const struct track *t)
{
	return t->kind == TASK_CLONE && t->task_done && !t->task_failed && !t->known && strcmp(t->vm.type, "VirtualMachine") != 0;
}

/* Vanished since: as if it had never been. Who removes it each time is told of, and not kept busy. */
static void vanished(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_err err;

	if (t->gone) {
		vs_fail(&err, PCG_ERR_RETRY, "Look in vCenter who removes it, and end that.",
			"machine %s (%s) was made, and removed by somebody before it was handed over", s->name, t->vm.value);
		clone_limit_failed(v->clones, s->key, &err, v->svc->mono_ms(v->host));
	}
	track_drop(v, s->key);
	vs_pending(v, call, 20, json_object());
}

static void machine_go_on(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s,
			  const struct track *t)
{
	if (t->gone || (!t->vm.value[0] && !t->task.value[0])) {
		vanished(v, call, s, t);
	} else if (t->task_failed && t->kind != TASK_OFF && t->kind != TASK_DESTROY) {
		task_failed(v, call, doc, s, t);
	} else if ((t->known && machine_other(s, t)) || clone_names_nothing(t)) {
		other_machine(v, call, s, t);
	} else if (t->known && t->on && *t->bios && reachable(v, s, t)) {
		machine_ready(v, call, s, t);
	} else if (t->known && !t->on && !waits_for_clone(t) && !(t->kind == TASK_ON && !t->task_done)) {
		power_on(v, call, s, t);
	} else if (t->known && !t->on && power_on_hangs(v, t)) {
		tell_power_on(v, call, s, t);
	} else if (t->known && t->on && !waits_for_clone(t)) {
		wait_for_address(v, call, doc, s, t);
	} else {
		ask_later(v, call, s, t);
	}
}

static int clone_resume(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s, struct track *t)
{
	const json_t *checkpoint = json_object_get(doc, "checkpoint");
	struct vs_ref task = { "Task", "" }, folder = { "Folder", "" };

	snprintf(task.value, sizeof(task.value), "%s", vs_str(checkpoint, "task"));
	snprintf(folder.value, sizeof(folder.value), "%s", vs_str(checkpoint, "folder"));
	if (!task.value[0])
		return 0;
	track_set_task(v, s->key, s->uuid, TASK_CLONE, &task, &folder, 0);
	track_copy_free(t);
	track_get(v, s->key, t);
	return 1;
}

/* A clone that an earlier call sent may still run, though its reply was lost and the machine cannot be seen yet:
 * those of the template that run now are waited for, and after the last of them it is looked for. True when the op was
 * answered; false: there is none, it may be cloned. */
static bool earlier_clone(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s)
{
	struct vs_options o;
	struct vs_ref found;
	struct vs_err err;
	struct spot spot;

	if (clone_find(v, call, s->cluster, json_object_get(s->machine, "poolSpec"), zone_pick(v, s), &spot, &o, &err)) {
		vs_error(v, call, &err);
		return true;
	}
	if (earlier_clones(v, call, doc, s, &spot.template) == EARLIER_ANSWERED)
		return true;
	/* One that ended between the look for the machine and the one at the tasks. */
	if (machine_find(v, call, s, &found, &err)) {
		vs_error(v, call, &err);
		return true;
	}
	if (!found.value[0])
		return false;
	track_set_vm(v, s->key, s->uuid, &found);
	vs_pending(v, call, 1, NULL);
	return true;
}

void vs_machine_ensure(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	json_t *doc = vs_doc(v, call, text);
	struct vs_err err;
	struct subject s;
	struct track t = { .next = NULL };

	if (!doc)
		return;
	subject_read(doc, &s);
	if (!*s.uid || !*s.name) {
		v->svc->error(call, PCG_ERR_BUG, "machine_ensure was given no machine", "");
	} else if (machine_untouched(doc) && !track_there(v, s.key)) {
		clone_begin(v, call, doc, &s);
	} else if (machine_known(v, call, &s, &t, &err)) {
		vs_error(v, call, &err);
	} else {
		if (!t.vm.value[0] && !t.task.value[0] && !t.gone && !clone_resume(v, call, doc, &s, &t)) {
			if (!earlier_clone(v, call, doc, &s))
				clone_begin(v, call, doc, &s);
		} else if (track_poll_due(v, call, s.key, &err)) {
			vs_error(v, call, &err);
		} else {
			track_copy_free(&t);
			track_get(v, s.key, &t);
			machine_go_on(v, call, doc, &s, &t);
		}
	}
	track_copy_free(&t);
	json_decref(doc);
}
