/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/machine.h"
#include "plugins/vsphere/options.h"
#include "plugins/vsphere/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Power off, delete, redaction. The mark is read before anything is done to a machine. */

#define FIRST_POLL_MS 2000u
#define READ_FRESH_MS 10000
#define SAME_MS 1000u
#define ANEW_MS 250u
#define TOLD_AFTER_MS 300000u /* a task that takes longer is told */
#define SOFT_OFF_S 300 /* the controllers' own guestSoftPowerOffTimeout */

/* Ours is what carries the cluster's mark, or has the uuid that only the machine's uid gives. */
static bool marked(const struct subject *s, const struct track *t)
{
	const char *cluster = vs_str(s->cluster, "uid");

	if (machine_other(s, t))
		return false;
	if (*t->cluster)
		return strcmp(t->cluster, cluster) == 0 && (!*s->uid || !*t->machine || strcmp(t->machine, s->uid) == 0);
	return *s->uid != 0;
}

static void not_ours(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_err err;

	if (machine_other(s, t))
		vs_fail(&err, PCG_ERR_CONFLICT, "Look at the machine in vCenter; nothing was done to it.",
			"machine %s (%s) has the instance uuid %s, not %s of machine %s", t->name, t->vm.value, t->instance, s->uuid,
			s->name);
	else
		vs_fail(&err, PCG_ERR_CONFLICT, "Look at the machine in vCenter; nothing was done to it.",
			"machine %s (%s) carries the mark of cluster \"%s\", not of %s", t->name, t->vm.value, t->cluster,
			vs_str(s->cluster, "uid"));
	/* It is looked for anew. */
	if (machine_other(s, t))
		track_drop(v, s->key);
	vs_error(v, call, &err);
}

void remove_error(struct vsphere *v, struct pcg_call *call, const struct vs_err *err)
{
	struct vs_err why = *err;

	if (why.class == PCG_ERR_NOT_FOUND)
		vs_fail(&why, PCG_ERR_RETRY, "Look at the machine and its tasks in vCenter.", "%s", err->text);
	vs_error(v, call, &why);
}

enum look { LOOK_ANSWERED, LOOK_ABSENT, LOOK_THERE };

/* A delete that follows an inventory at once goes on from what that has read: mark, power, reference. A machine that
 * turned out to be gone, or in another state, is looked at. */
static bool read_already(struct vsphere *v, const json_t *doc, const struct subject *s)
{
	json_int_t at = json_integer_value(json_object_get(s->observed, "readAt"));
	json_int_t age = (json_int_t)v->svc->mono_ms(v->host) - at;
	struct track t;
	bool busy;

	if (at <= 0 || age < 0 || age > READ_FRESH_MS || !*vs_str(s->observed, "vm") ||
	    json_is_object(json_object_get(doc, "checkpoint")))
		return false;
	/* A copy that somebody made of a machine of ours carries its mark, but never its uuid. */
	if (strcasecmp(vs_str(s->observed, "id"), s->uuid) != 0)
		return false;
	busy = track_get(v, s->key, &t) && t.active;
	track_copy_free(&t);
	if (!busy)
		track_set_read(v, s->key, s->uuid, s->observed);
	return !busy;
}

/* Where it was last is looked at first, together with others: the reference is the infrastructure's, and asking by uuid is a call for
 * each. It says nothing when it is not there, or is another machine (of a vCenter that was set back). */
static int look_where_it_was(struct vsphere *v, struct pcg_call *call, const struct subject *s, bool *found, struct vs_err *err)
{
	struct vs_ref vm = { "VirtualMachine", "" };
	struct track t;
	int r;

	*found = false;
	snprintf(vm.value, sizeof(vm.value), "%s", vs_str(s->observed, "vm"));
	if (!vm.value[0] || !*s->uuid || strcasecmp(vs_str(s->observed, "id"), s->uuid) != 0 || track_there(v, s->key))
		return 0;
	track_set_vm(v, s->key, s->uuid, &vm);
	r = track_poll(v, call, s->key, err);
	track_get(v, s->key, &t);
	*found = !r && t.known && !t.gone && strcasecmp(t.instance, s->uuid) == 0;
	track_copy_free(&t);
	if (!*found)
		track_drop(v, s->key);
	return r;
}

/* What is known of the machine, its mark read. An answered op is over. */
static enum look look_at(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s,
			 struct track *t)
{
	struct vs_err err;
	bool read, looked = false;
	int r = 0;

	memset(t, 0, sizeof(*t));
	if (!*s->key) {
		v->svc->error(call, PCG_ERR_BUG, "the op was given neither machine nor id", "");
		return LOOK_ANSWERED;
	}
	read = read_already(v, doc, s);
	if (!read)
		r = look_where_it_was(v, call, s, &looked, &err);
	if (!r)
		r = machine_known(v, call, s, t, &err);
	if (!r && !read && !looked && (t->vm.value[0] || t->task.value[0]) && !t->gone) {
		bool fresh = !t->known || (!*t->cluster && !t->active);

		/* An op that begins reads; one that goes on is told. */
		r = fresh || !t->active ? track_poll(v, call, s->key, &err) : track_poll_due(v, call, s->key, &err);
		track_copy_free(t);
		track_get(v, s->key, t);
	}
	if (r) {
		/* Something that the look needs is not there (a view of an ended session): it says nothing of the machine. */
		if (err.class == PCG_ERR_NOT_FOUND)
			err.class = PCG_ERR_RETRY;
		vs_error(v, call, &err);
		return LOOK_ANSWERED;
	}
	if (t->gone || (!t->vm.value[0] && !(t->kind == TASK_CLONE && !t->task_done)))
		return LOOK_ABSENT;
	if (t->known && !marked(s, t)) {
		not_ours(v, call, s, t);
		return LOOK_ANSWERED;
	}
	return LOOK_THERE;
}

static void later(struct vsphere *v, struct pcg_call *call, const struct subject *s)
{
	watch_sync(v, call);
	vs_pending(v, call, track_after_ms(v, s->key), NULL);
}

/* A task that waits for people does not end before they have answered, and no fault says so: the question stands at the machine. */
static void later_or_told(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	uint64_t ms = v->svc->mono_ms(v->host) - t->begun;
	const char *name = *s->name ? s->name : t->name;
	struct vs_err err;

	if (!*t->question && ms <= TOLD_AFTER_MS) {
		later(v, call, s);
		return;
	}
	if (*t->question)
		vs_fail(&err, PCG_ERR_RETRY, "Answer the question that vCenter shows at the machine.",
			"machine %s (%s): %s does not end while vCenter asks: %s", name, t->vm.value, t->task.value, t->question);
	else
		vs_fail(&err, PCG_ERR_RETRY, "Look at the task in vCenter; it is waited for.",
			"machine %s (%s): %s has not ended after %u minutes", name, t->vm.value, t->task.value, (unsigned)(ms / 60000));
	watch_sync(v, call);
	vs_error(v, call, &err);
}

/* It is not there any more, or somewhere else. */
static void look_anew(struct vsphere *v, struct pcg_call *call, const struct subject *s)
{
	track_drop(v, s->key);
	vs_pending(v, call, ANEW_MS, json_object());
}

/* The state was another one than we knew: a read tells, and the next step follows from it. A server that reads as it was, and
 * refuses what follows from that, is not asked in a hurry. A suspended machine cannot be powered off (PowerOffVM_Task, API 8.0: "if the
 * power state is not poweredOn"), but it does not run either. */
static void other_power(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_err err;
	struct track now;

	if (track_poll(v, call, s->key, &err)) {
		vs_error(v, call, &err);
		return;
	}
	if (track_as_off(v, s->key) && t->as_off) {
		vs_fail(&err, PCG_ERR_RETRY, "Resume it in vCenter, or remove it there.",
			"machine %s (%s) is suspended, and vCenter does not remove it like that", s->name, t->vm.value);
		vs_error(v, call, &err);
		return;
	}
	track_get(v, s->key, &now);
	vs_pending(v, call, now.on == t->on && !now.gone ? SAME_MS : 20, NULL);
	track_copy_free(&now);
}

static void begin(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t,
		  const char *method, enum track_task kind)
{
	struct vs_ref task;
	struct vs_err err;

	if (machine_task(v, call, method, &t->vm, &task, &err)) {
		if (strcmp(err.fault, "ManagedObjectNotFound") == 0) {
			look_anew(v, call, s);
		} else if (strcmp(err.fault, "InvalidPowerState") == 0) {
			other_power(v, call, s, t);
		} else {
			remove_error(v, call, &err);
		}
		return;
	}
	track_set_task(v, s->key, s->uuid, kind, &task, NULL, FIRST_POLL_MS);
	later(v, call, s);
}

/* True when the task of that kind has ended badly and the op was answered. */
static bool failed(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_err err;

	if (!t->task_failed || (t->kind != TASK_OFF && t->kind != TASK_DESTROY && t->kind != TASK_DETACH && t->kind != TASK_SNAPSHOTS))
		return false;
	track_clear_task(v, s->key);
	if (strcmp(t->task_err.fault, "InvalidPowerState") == 0) {
		other_power(v, call, s, t);
		return true;
	}
	if (strcmp(t->task_err.fault, "ManagedObjectNotFound") == 0) {
		look_anew(v, call, s);
		return true;
	}
	vs_fail(&err, t->task_err.class, t->kind == TASK_SNAPSHOTS ? "Remove the machine's snapshots in vCenter, or detach the volumes from it." :
		t->task_err.remedy, "machine %s: %s%s%s", s->name, t->task_err.text, *t->question ? "; vCenter asks: " : "", t->question);
	remove_error(v, call, &err);
	return true;
}

static const struct act {
	enum track_task kind;
	const char *method, *before, *after;
} power_off = { TASK_OFF, "PowerOffVM_Task", "vsphere.before_power_off", "vsphere.after_power_off" },
  destroy = { TASK_DESTROY, "Destroy_Task", "vsphere.before_destroy", "vsphere.after_destroy" };

static void act(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t,
		const struct act *a)
{
	if (t->kind == a->kind && !t->task_done) {
		later_or_told(v, call, s, t);
		return;
	}
	v->svc->fault_point(v->host, a->before);
	begin(v, call, s, t, a->method, a->kind);
	v->svc->fault_point(v->host, a->after);
}

/* How long a guest may take to shut down by itself before it is powered off; 0: it is not asked. As the controllers would do it
 * (powerOffMode, their limit when none is given), else by the account's setting. */
static json_int_t shutdown_ms(const struct vsphere *v, const json_t *doc)
{
	const json_t *set = json_object_get(json_object_get(v->account, "settings"), "guestShutdownSeconds");
	json_t *problems = json_array();
	struct vs_options o;

	options_read(v, json_object_get(doc, "cluster"), json_object_get(json_object_get(doc, "machine"), "poolSpec"), NULL, &o, problems);
	json_decref(problems);
	if (strcmp(o.power_off_mode, "hard") != 0)
		return (o.soft_off_s ? o.soft_off_s : SOFT_OFF_S) * 1000;
	return json_is_integer(set) && json_integer_value(set) > 0 ? json_integer_value(set) * 1000 : 0;
}

static int shutdown_send(struct vsphere *v, struct pcg_call *call, const struct track *t, struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	int r;

	soap_begin(&s, "ShutdownGuest", &t->vm);
	soap_finish(&s);
	v->svc->fault_point(v->host, "vsphere.before_shutdown");
	r = vs_call(&v->session, call, &s, 0, 0, 0, &reply, err);
	v->svc->fault_point(v->host, "vsphere.after_shutdown");
	xn_free(reply);
	return r;
}

/* ShutdownGuest has no task: the machine is off, or it is not. True while it is waited for; the op is answered then. Without
 * tools, and when the guest cannot be asked, the machine is powered off at once. */
static bool guest_shuts_down(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s,
			     const struct track *t)
{
	json_int_t began = json_integer_value(json_object_get(json_object_get(doc, "checkpoint"), "shutdownAt"));
	json_int_t limit = shutdown_ms(v, doc), now = v->svc->wall_ms(v->host);
	struct vs_err err;
	uint32_t after;

	if (!limit || (t->kind == TASK_OFF && !t->task_done) || (began && (now - began >= limit || now < began)))
		return false;
	if (!began) {
		began = now;
		if (shutdown_send(v, call, t, &err))
			return false;
	}
	watch_sync(v, call);
	after = track_after_ms(v, s->key);
	vs_pending(v, call, limit - (now - began) < after ? (uint32_t)(limit - (now - began)) + 1 : after,
		   json_pack("{s:I}", "shutdownAt", began));
	return true;
}

/* What somebody made a template of, they want to keep. */
static void template_left(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	json_t *fields = json_pack("{s:s, s:s}", "machine", *s->name ? s->name : t->name, "vm", t->vm.value);
	char *text = json_dumps(fields, JSON_COMPACT);

	v->svc->log(v->host, PCG_LOG_WARN, "vsphere_template_left", text);
	free(text);
	json_decref(fields);
	track_drop(v, s->key);
	vs_done(v, call, json_object());
}

/* One step nearer to the machine's end. */
static void remove_step(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s,
			const struct track *t)
{
	if (t->template)
		template_left(v, call, s, t);
	else if (t->on && !guest_shuts_down(v, call, doc, s, t))
		act(v, call, s, t, &power_off);
	else if (!t->on && ((t->kind == TASK_DESTROY && !t->task_done) || !volumes_detach(v, call, s, t)))
		act(v, call, s, t, &destroy);
}

/* The clone that would have made it has ended at our word. */
static bool canceled(const struct track *t)
{
	return t->kind == TASK_CLONE && t->task_failed && strcmp(t->task_err.fault, "RequestCanceled") == 0;
}

/* What is on its way is not waited for if vCenter can end it: clones take long, and stand in line behind those of others. */
static void making(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	if (t->kind == TASK_CLONE && !t->task_done && track_cancel(v, s->key))
		task_cancel(v, call, &t->task);
	later(v, call, s);
}

/* A machine that was never seen may still be on its way: the clones that run are waited for, and it is
 * looked for once more after the last of them. */
static void absent(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s, const struct track *t)
{
	if (!t->gone && !canceled(t) && *s->uid && !*vs_str(s->observed, "providerID") &&
	    earlier_clones(v, call, doc, s, NULL) == EARLIER_ANSWERED)
		return;
	track_drop(v, s->key);
	vs_done(v, call, json_object());
}

static void off_or_gone(struct vsphere *v, struct pcg_call *call, const char *text, bool gone)
{
	json_t *doc = vs_doc(v, call, text);
	struct subject s;
	struct track t;

	if (!doc)
		return;
	subject_read(doc, &s);
	switch (look_at(v, call, doc, &s, &t)) {
	case LOOK_ANSWERED:
		break;
	case LOOK_ABSENT:
		if (gone) {
			absent(v, call, doc, &s, &t);
		} else {
			track_drop(v, s.key);
			vs_done(v, call, json_object());
		}
		break;
	case LOOK_THERE:
		if (gone && t.kind == TASK_CLONE && !t.task_done) {
			making(v, call, &s, &t);
		} else if (!t.known || (t.kind == TASK_CLONE && !t.task_done)) {
			later(v, call, &s);
		} else if (failed(v, call, &s, &t)) {
			break;
		} else if (gone) {
			remove_step(v, call, doc, &s, &t);
		} else if (t.on) {
			act(v, call, &s, &t, &power_off);
		} else {
			track_idle(v, s.key);
			vs_done(v, call, json_object());
		}
		break;
	}
	track_copy_free(&t);
	json_decref(doc);
}

void vs_machine_delete(void *plugin, struct pcg_call *call, const char *text)
{
	off_or_gone(plugin, call, text, true);
}

void vs_machine_power_off(void *plugin, struct pcg_call *call, const char *text)
{
	off_or_gone(plugin, call, text, false);
}

static int redact_send(struct vsphere *v, struct pcg_call *call, const struct track *t, struct vs_ref *task,
		       struct vs_err *err)
{
	struct soap s;

	/* As cloud-init's VMware data source does it. The metadata stays: another instance-id would be another machine. */
	soap_begin(&s, "ReconfigVM_Task", &t->vm);
	soap_open(&s, "spec");
	soap_option(&s, "guestinfo.userdata", "---");
	soap_option(&s, "guestinfo.userdata.encoding", "");
	soap_close(&s);
	return vs_task(&v->session, call, &s, task, err);
}

static void redact_go_on(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_err err;

	if (t->task_failed) {
		track_clear_task(v, s->key);
		vs_fail(&err, t->task_err.class, t->task_err.remedy, "machine %s: %s", s->name, t->task_err.text);
		vs_error(v, call, &err);
	} else if (t->task_done) {
		track_idle(v, s->key);
		track_clear_task(v, s->key);
		vs_done(v, call, json_object());
	} else {
		vs_pending(v, call, track_after_ms(v, s->key), NULL);
	}
}

static void redact_begin(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t)
{
	struct vs_ref task;
	struct vs_err err;

	v->svc->fault_point(v->host, "vsphere.before_redact");
	if (redact_send(v, call, t, &task, &err)) {
		vs_error(v, call, &err);
		return;
	}
	v->svc->fault_point(v->host, "vsphere.after_redact");
	track_set_task(v, s->key, s->uuid, TASK_REDACT, &task, NULL, TRACK_SHORT);
	vs_pending(v, call, track_after_ms(v, s->key), NULL);
}

void vs_machine_redact(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	json_t *doc = vs_doc(v, call, text);
	struct vs_err err;
	struct subject s;
	struct track t;

	if (!doc)
		return;
	subject_read(doc, &s);
	if (machine_known(v, call, &s, &t, &err)) {
		vs_error(v, call, &err);
	} else if (t.gone || !t.vm.value[0]) {
		vs_fail(&err, PCG_ERR_NOT_FOUND, "Nothing, if somebody removed it on purpose.", "machine %s is gone", s.name);
		track_drop(v, s.key);
		vs_error(v, call, &err);
	} else if (machine_other(&s, &t)) {
		not_ours(v, call, &s, &t);
	} else if (t.kind != TASK_REDACT) {
		redact_begin(v, call, &s, &t);
	} else if (track_poll_due(v, call, s.key, &err)) {
		vs_error(v, call, &err);
	} else {
		track_copy_free(&t);
		track_get(v, s.key, &t);
		redact_go_on(v, call, &s, &t);
	}
	track_copy_free(&t);
	json_decref(doc);
}
