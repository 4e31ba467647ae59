/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/machine.h"

#include "plugins/vsphere/task.h"

#include <stdio.h>
#include <string.h>

/* Clones that an earlier call sent and whose answer nobody has: a clone does not say which machine it makes. */

#define ASK_AGAIN_MS 300u
#define TOLD_AFTER_MS 30000 /* waited for longer, it is told */

static bool holds(const json_t *ids, const char *id)
{
	size_t i;
	json_t *one;

	json_array_foreach(ids, i, one)
		if (strcmp(json_string_value(one) ?: "", id) == 0)
			return true;
	return false;
}

/* Clones that are begun later than the first look are none of this machine's, and neither are those that are known to be another's. */
json_t *earlier_left(struct vsphere *v, const char *key, const json_t *first, const json_t *now)
{
	json_t *left = json_array(), *one;
	size_t i;

	json_array_foreach(now, i, one)
		if ((!json_is_array(first) || holds(first, json_string_value(one))) &&
		    !track_task_of_other(v, key, json_string_value(one)))
			json_array_append(left, one);
	return left;
}

json_t *earlier_running(struct vsphere *v, struct pcg_call *call, const char *key, const json_t *first, const struct vs_ref *template,
			struct vs_err *err)
{
	json_t *now = json_array(), *left = NULL;

	if (!task_clones(v, call, template, now, err))
		left = earlier_left(v, key, first, now);
	json_decref(now);
	return left;
}

static void tell(struct vsphere *v, struct pcg_call *call, const struct subject *s, const json_t *left)
{
	struct vs_err err;

	vs_fail(&err, PCG_ERR_RETRY, "Nothing: the machine is looked for when these tasks have ended. Canceling them in vCenter ends the wait.",
		"machine %s: whether an earlier clone makes it is known when %zu clones have ended that this account's user began (%s%s)",
		s->name, json_array_size(left), json_string_value(json_array_get(left, 0)), json_array_size(left) > 1 ? ", ..." : "");
	vs_error(v, call, &err);
}

/* Keeps what is waited for; after a while it is an error that passes, so that people see it. */
static void wait_for(struct vsphere *v, struct pcg_call *call, const struct subject *s, const json_t *checkpoint, json_t *left)
{
	json_int_t now = v->svc->wall_ms(v->host), since = json_integer_value(json_object_get(checkpoint, "since"));
	json_t *keep;

	if (!since || since > now)
		since = now;
	keep = json_pack("{s:b, s:O, s:I}", "begun", 1, "clones", left, "since", since);
	if (json_array_size(left) && now - since > TOLD_AFTER_MS) {
		char *text = json_dumps(keep, JSON_COMPACT);

		v->svc->checkpoint(call, text);
		free(text);
		tell(v, call, s, left);
		json_decref(keep);
	} else {
		vs_pending(v, call, json_array_size(left) ? ASK_AGAIN_MS : 1, keep);
	}
	json_decref(left);
}

enum earlier earlier_clones(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s,
			    const struct vs_ref *template)
{
	const json_t *checkpoint = json_object_get(doc, "checkpoint"), *first = json_object_get(checkpoint, "clones");
	json_t *left;
	struct vs_err err;

	if (json_is_array(first) && !json_array_size(first))
		return EARLIER_NONE;
	left = earlier_running(v, call, s->key, first, template, &err);
	if (!left) {
		vs_error(v, call, &err);
		return EARLIER_ANSWERED;
	}
	/* Those that have just ended: it is looked for once more. */
	if (json_array_size(left) || json_array_size(first)) {
		wait_for(v, call, s, checkpoint, left);
		return EARLIER_ANSWERED;
	}
	json_decref(left);
	return EARLIER_NONE;
}
