/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/authority.h"
#include "host/capi/downgrade.h"
#include "host/capi/path.h"
#include "host/capi/remove.h"
#include "core/fault.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct target {
	struct capi_op *op;
	char *path, *label;
	json_int_t group;
	struct removal removal;
};

struct rollback {
	json_t *input, *plan;
	struct target *targets; /* in order of removal: the reverse of writing */
	size_t n, first, count;
	struct authority_attempt attempt;
};

static void free_rollback(void *state)
{
	struct rollback *b = state;

	for (size_t i = 0; i < b->n; i++) {
		free(b->targets[i].path);
		free(b->targets[i].label);
	}
	free(b->targets);
	json_wipe(b->plan);
	json_decref(b->input);
}

static enum authority_verdict decide_rollback(struct capi_op *op, const json_t *cluster,
					      const struct authority *now, struct pcg_error *err)
{
	struct rollback *b = op_state(op);
	int64_t epoch = json_int_or(b->input, "epoch", 0);

	(void)cluster;
	if (strcmp(now->holder, "cluster") == 0 || now->epoch > epoch) {
		pcg_fail(err, PCG_CLASS_CONFLICT,
			 "nothing was removed; take the cluster back instead",
			 "roll-back of cluster %s with epoch %" PRId64
			 ": its authority is \"%s\" with epoch %" PRId64,
			 json_str(b->input, "name"), epoch, now->holder, now->epoch);
		return AUTHORITY_REFUSED;
	}
	return now->epoch == epoch && now->paused ? AUTHORITY_DONE : AUTHORITY_CHANGE;
}

static void next_group(struct capi_op *op);

static void on_gone(struct capi_op *op, void *arg)
{
	struct target *t = arg;

	op_progress(op, "removed", t->label);
	FAULT_POINT("capi.after_rollback_object");
	op_item_done(op);
}

static void begin_target(struct capi_op *op, void *arg, size_t i)
{
	struct rollback *b = arg;
	struct target *t = &b->targets[b->first + i];

	remove_object(op, &t->removal, t->path, NULL, on_gone, t);
}

static void end_group(struct capi_op *op, void *arg)
{
	struct rollback *b = arg;

	b->first += b->count;
	next_group(op);
}

static void next_group(struct capi_op *op)
{
	struct rollback *b = op_state(op);

	if (b->first >= b->n) {
		op_done(op, NULL);
		return;
	}
	b->count = 0;
	while (b->first + b->count < b->n &&
	       b->targets[b->first + b->count].group == b->targets[b->first].group)
		b->count++;
	op_batch(op, b->count, begin_target, end_group, b);
}

static void add_target(struct capi_op *op, const json_t *entry)
{
	struct rollback *b = op_state(op);
	const json_t *object = json_object_get(entry, "object");
	struct target *t = &b->targets[b->n];

	/* What else is in it may be somebody else's. */
	if (strcmp(json_str_or(object, "kind", ""), "Namespace") == 0)
		return;
	t->op = op;
	t->path = path_of(object);
	t->label = path_label(object);
	t->group = json_int_or(entry, "group", 0);
	b->n++;
}

/* A plan that was made again after a restart has the newest versions; a path of one that the cluster
 * does not serve would look as if the object were gone. */
static void on_groups(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct rollback *b = op_state(op);
	const json_t *objects = json_object_get(b->plan, "objects");
	AUTO_JSON json_t *served = NULL;
	size_t n = json_array_size(objects);

	(void)arg;
	if (r->status != 200) {
		op_fail(op, &r->err);
		return;
	}
	served = served_of(r->body);
	downgrade_plan(b->plan, served);
	b->targets = calloc(n ? n : 1, sizeof(*b->targets));
	assert(b->targets);
	while (n-- > 0)
		add_target(op, json_array_get(objects, n));
	next_group(op);
}

static void on_taken(struct capi_op *op, const json_t *cluster)
{
	(void)cluster;
	op_call(op, "GET", "/apis", NULL, NULL, 0, on_groups, NULL);
}

static const struct authority_change rollback_change = {
	.what = "roll-back",
	.holder = "gateway",
	.paused = true,
	.before_point = "capi.before_rollback_patch",
	.after_point = "capi.after_rollback_patch",
	.decide = decide_rollback,
	.changed = on_taken,
	.missing_ok = true,
};

static void start_rollback(struct capi_op *op)
{
	struct rollback *b = op_state(op);
	struct pcg_error err;

	if (authority_check_input(b->input, &err))
		op_fail(op, &err);
	else
		authority_change(op, &b->attempt, &rollback_change, b->input);
}

struct capi_op *capi_rollback(struct kube *k, const json_t *plan, const json_t *input,
			      const struct capi_callbacks *cb)
{
	static const struct op_type type = {
		.name = "rollback",
		.start = start_rollback,
		.free_state = free_rollback,
		.state_size = sizeof(struct rollback),
	};
	struct capi_op *op = op_new(k, &type, cb);
	struct rollback *b = op_state(op);

	b->input = json_deep_copy(input);
	b->plan = json_deep_copy(plan);
	return op;
}
