/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/authority.h"
#include "host/capi/path.h"
#include "core/fault.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFLICTS_MAX 20
#define EPOCH_MAX (INT64_C(1) << 53)

/* Whoever owns the cluster can write here: a number that nobody could count to is none. */
static int64_t read_epoch(const char *text)
{
	int64_t n = text ? strtoll(text, NULL, 10) : 0;

	return n > 0 && n < EPOCH_MAX ? n : 0;
}

void authority_read(const json_t *cluster, struct authority *out)
{
	const json_t *annotations = json_at(cluster, "metadata.annotations");
	const char *holder = json_string_value(json_object_get(annotations, CAPI_AUTHORITY));
	const char *epoch = json_string_value(json_object_get(annotations, CAPI_EPOCH));

	out->holder = holder ? holder : "";
	out->epoch = read_epoch(epoch);
	out->paused = json_bool_or(cluster, "spec.paused", false);
}

int authority_check_input(const json_t *input, struct pcg_error *err)
{
	static const char *const needed[] = {"namespace", "name", "gatewayUid"};

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!json_str(input, needed[i]))
			return pcg_fail(err, PCG_CLASS_BUG, "", "a change of authority without %s",
					needed[i]);
	if (json_int_or(input, "epoch", 0) < 1)
		return pcg_fail(err, PCG_CLASS_BUG, "", "a change of authority without an epoch");
	return 0;
}

static char *cluster_path(const json_t *input, bool old)
{
	return path_object(old ? CAPI_CLUSTER_API_OLD : CAPI_CLUSTER_API, "Cluster",
			   json_str(input, "namespace"), json_str(input, "name"));
}

bool authority_not_served(const struct kube_reply *r)
{
	return r->status == 404 && !json_str(r->body, "details.name");
}

void authority_get(struct capi_op *op, const json_t *input, bool old, op_reply cb)
{
	AUTO_FREE char *path = cluster_path(input, old);

	op_call(op, "GET", path, NULL, NULL, 0, cb, NULL);
}

static json_t *patch_body(const struct authority_change *change, const json_t *input,
			  const json_t *cluster)
{
	json_t *annotations = json_object();
	char epoch[32];

	snprintf(epoch, sizeof(epoch), "%" PRId64, json_int_or(input, "epoch", 0));
	json_object_set_new(annotations, CAPI_AUTHORITY, json_string(change->holder));
	json_object_set_new(annotations, CAPI_EPOCH, json_string(epoch));
	json_object_set_new(annotations, CAPI_OWNER, json_string(json_str(input, "gatewayUid")));
	return json_pack("{s:{s:s,s:o},s:{s:o}}", "metadata", "resourceVersion",
			 json_str_or(cluster, "metadata.resourceVersion", ""), "annotations",
			 annotations, "spec", "paused", change->paused ? json_true() : json_null());
}

static void read_cluster(struct capi_op *op, struct authority_attempt *a);

static void fail_prefixed(struct capi_op *op, struct authority_attempt *a,
			  const struct kube_reply *r)
{
	struct pcg_error err = r->err;

	pcg_fail_prefix(&err, "%s of cluster %s", a->change->what, json_str(a->input, "name"));
	op_fail(op, &err);
}

static void fail_read(struct capi_op *op, struct authority_attempt *a, const struct kube_reply *r)
{
	struct kube_reply unknown = *r;

	if (a->change->patient && r->err.class != PCG_CLASS_AUTH)
		unknown.err.class = PCG_CLASS_RETRY;
	fail_prefixed(op, a, &unknown);
}

static void on_patched(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct authority_attempt *a = arg;
	const struct authority_change *change = a->change;
	struct pcg_error err;

	if (r->status == 409 && a->conflicts++ < CONFLICTS_MAX) {
		read_cluster(op, a);
		return;
	}
	FAULT_POINT(change->after_point);
	if (r->status >= 200 && r->status < 300) {
		change->changed(op, r->body);
		return;
	}
	if (r->status >= 400 && a->stands && change->unpaused_ok) {
		AUTO_JSON json_t *cluster = json_pack(
			"{s:s}", "apiVersion", a->old ? CAPI_CLUSTER_API_OLD : CAPI_CLUSTER_API);

		op_progress(op, "found unpaused by somebody", json_str(a->input, "name"));
		change->changed(op, cluster);
		return;
	}
	if (r->status == 0 || r->status >= 500) {
		pcg_fail(&err, PCG_CLASS_RETRY, "it is only read again until the answer is known",
			 "%s of cluster %s is in doubt: %s", change->what,
			 json_str(a->input, "name"), r->err.text);
		op_fail(op, &err);
		return;
	}
	fail_prefixed(op, a, r);
}

static void send_patch(struct capi_op *op, struct authority_attempt *a, const json_t *cluster)
{
	AUTO_FREE char *path = cluster_path(a->input, a->old);
	AUTO_JSON json_t *body = patch_body(a->change, a->input, cluster);

	FAULT_POINT(a->change->before_point);
	op_call(op, "PATCH", path, OP_MERGE_PATCH, body, OP_ONCE, on_patched, a);
}

static void on_read(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct authority_attempt *a = arg;
	const struct authority_change *change = a->change;
	enum authority_verdict verdict;
	struct authority now;
	struct pcg_error err;

	if (authority_not_served(r) && !a->old) {
		a->old = true;
		read_cluster(op, a);
		return;
	}
	if (r->status == 404 && change->missing_ok) {
		change->changed(op, NULL);
		return;
	}
	if (r->status == 404) {
		pcg_fail(&err, PCG_CLASS_NOT_FOUND,
			 "somebody removed it; before a hand-over it is written anew by itself",
			 "%s of cluster %s: its Cluster object is not there", change->what,
			 json_str(a->input, "name"));
		op_fail(op, &err);
		return;
	}
	if (r->status != 200) {
		fail_read(op, a, r);
		return;
	}
	authority_read(r->body, &now);
	verdict = change->decide(op, r->body, &now, &err);
	/* Which epoch is wanted may have been decided just now. */
	a->stands = strcmp(now.holder, change->holder) == 0 &&
		    now.epoch == json_int_or(a->input, "epoch", 0);
	switch (verdict) {
	case AUTHORITY_CHANGE:
		send_patch(op, a, r->body);
		return;
	case AUTHORITY_DONE:
		change->changed(op, r->body);
		return;
	case AUTHORITY_REFUSED:
		op_fail(op, &err);
		return;
	}
}

static void read_cluster(struct capi_op *op, struct authority_attempt *a)
{
	AUTO_FREE char *path = cluster_path(a->input, a->old);

	op_call(op, "GET", path, NULL, NULL, 0, on_read, a);
}

void authority_change(struct capi_op *op, struct authority_attempt *a,
		      const struct authority_change *change, const json_t *input)
{
	a->change = change;
	a->input = input;
	a->conflicts = 0;
	a->old = a->stands = false;
	read_cluster(op, a);
}
