/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/authority.h"

#include <inttypes.h>
#include <string.h>

struct commit {
	json_t *input;
	struct authority_attempt attempt;
	bool old;
};

static void free_commit(void *state)
{
	json_decref(((struct commit *)state)->input);
}

static enum authority_verdict decide_commit(struct capi_op *op, const json_t *cluster,
					    const struct authority *now, struct pcg_error *err)
{
	struct commit *c = op_state(op);
	int64_t epoch = json_int_or(c->input, "epoch", 0);
	const char *owner = json_string_value(
		json_object_get(json_at(cluster, "metadata.annotations"), CAPI_OWNER));
	const char *name = json_str(c->input, "name");

	if (strcmp(now->holder, "cluster") == 0 && now->epoch == epoch)
		return AUTHORITY_DONE;
	/* A commit would let controllers finish the delete, machines included. */
	if (json_str(cluster, "metadata.deletionTimestamp")) {
		pcg_fail(err, PCG_CLASS_NOT_FOUND,
			 "the objects are written anew by itself; delete a cluster in the plane",
			 "commit of cluster %s: somebody deleted its Cluster object", name);
		return AUTHORITY_REFUSED;
	}
	if (!*now->holder && now->epoch == 0) {
		pcg_fail(err, PCG_CLASS_NOT_FOUND, "the objects are written anew by itself",
			 "commit of cluster %s: somebody removed the annotations that say who is in "
			 "charge", name);
		return AUTHORITY_REFUSED;
	}
	if (now->epoch >= epoch || strcmp(now->holder, "gateway") != 0) {
		pcg_fail(err, PCG_CLASS_CONFLICT, "nothing was changed; the newer authority stands",
			 "commit of cluster %s with epoch %" PRId64
			 ": its authority is \"%s\" with epoch %" PRId64,
			 name, epoch, now->holder, now->epoch);
		return AUTHORITY_REFUSED;
	}
	if (owner && strcmp(owner, json_str(c->input, "gatewayUid")) != 0) {
		pcg_fail(err, PCG_CLASS_CONFLICT,
			 "nothing was changed; the gateway that is named there goes on with it",
			 "commit of cluster %s: it belongs to gateway %s", name, owner);
		return AUTHORITY_REFUSED;
	}
	/* Everything is written: controllers that were let loose early do what they do after it. */
	if (!now->paused)
		op_progress(op, "found unpaused by somebody", name);
	return AUTHORITY_CHANGE;
}

static json_t *describe(const json_t *cluster)
{
	return json_pack("{s:{s:s,s:s}}", "cluster", "resourceVersion",
			 json_str_or(cluster, "metadata.resourceVersion", ""), "uid",
			 json_str_or(cluster, "metadata.uid", ""));
}

static void on_committed(struct capi_op *op, const json_t *cluster)
{
	struct commit *c = op_state(op);

	op_progress(op, "committed", json_str(c->input, "name"));
	op_done(op, describe(cluster));
}

static const struct authority_change commit_change = {
	.what = "commit",
	.holder = "cluster",
	.paused = false,
	.before_point = "capi.before_commit_patch",
	.after_point = "capi.after_commit_patch",
	.decide = decide_commit,
	.changed = on_committed,
};

static void start_commit(struct capi_op *op)
{
	struct commit *c = op_state(op);
	struct pcg_error err;

	if (authority_check_input(c->input, &err))
		op_fail(op, &err);
	else
		authority_change(op, &c->attempt, &commit_change, c->input);
}

static struct capi_op *begin(struct kube *k, const json_t *input, const struct op_type *type,
			     const struct capi_callbacks *cb)
{
	struct capi_op *op = op_new(k, type, cb);
	struct commit *c = op_state(op);

	c->input = json_deep_copy(input);
	return op;
}

struct capi_op *capi_commit(struct kube *k, const json_t *input, const struct capi_callbacks *cb)
{
	static const struct op_type type = {
		.name = "commit",
		.start = start_commit,
		.free_state = free_commit,
		.state_size = sizeof(struct commit),
	};

	return begin(k, input, &type, cb);
}

static void on_checked(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct commit *c = op_state(op);
	struct authority now = {.holder = ""};
	struct pcg_error err = r->err;
	bool committed;

	(void)arg;
	if (authority_not_served(r) && !c->old) {
		c->old = true;
		authority_get(op, c->input, true, on_checked);
		return;
	}
	if (r->status != 200 && r->status != 404) {
		pcg_fail_prefix(&err, "who is in charge of cluster %s cannot be read",
				json_str(c->input, "name"));
		if (err.class != PCG_CLASS_AUTH)
			err.class = PCG_CLASS_RETRY;
		op_fail(op, &err);
		return;
	}
	if (r->status == 200)
		authority_read(r->body, &now);
	committed = strcmp(now.holder, "cluster") == 0 &&
		    now.epoch == json_int_or(c->input, "epoch", 0);
	op_done(op, json_pack("{s:s,s:I,s:s,s:b,s:b}", "state",
			      committed ? "committed" : "not_committed", "epoch",
			      (json_int_t)now.epoch, "authority", now.holder, "paused", now.paused,
			      "exists", r->status == 200));
}

static void start_check(struct capi_op *op)
{
	struct commit *c = op_state(op);
	struct pcg_error err;

	if (authority_check_input(c->input, &err))
		op_fail(op, &err);
	else
		authority_get(op, c->input, false, on_checked);
}

struct capi_op *capi_commit_check(struct kube *k, const json_t *input,
				  const struct capi_callbacks *cb)
{
	static const struct op_type type = {
		.name = "commit_check",
		.start = start_check,
		.free_state = free_commit,
		.state_size = sizeof(struct commit),
	};

	return begin(k, input, &type, cb);
}
