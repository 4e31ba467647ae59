/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/remove.h"
#include "core/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define GONE_WITHIN_MS 30000
#define LOOK_AGAIN_MS 100
#define REFUSED_WITHIN_MS 5000

static void end(struct capi_op *op, struct removal *r)
{
	r->gone(op, r->arg);
}

static bool is_gone(const struct removal *r, const struct kube_reply *reply)
{
	const char *uid = json_str(reply->body, "metadata.uid");

	return reply->status == 404 ||
	       (reply->status == 200 && r->uid && uid && strcmp(uid, r->uid) != 0);
}

static void fail(struct capi_op *op, const struct removal *r, const struct kube_reply *reply)
{
	struct pcg_error err = reply->err;

	pcg_fail_prefix(&err, "removing %s", r->path);
	op_fail(op, &err);
}

static void look(struct capi_op *op, void *arg);
static void send_delete(struct capi_op *op, void *arg);
static void send_strip(struct capi_op *op, void *arg);

/* A conflict, or somebody who writes at the same time, can have kept either request from acting. */
static void on_look(struct capi_op *op, void *arg, const struct kube_reply *reply)
{
	struct removal *r = arg;
	struct pcg_error err;

	if (is_gone(r, reply)) {
		end(op, r);
	} else if (reply->status != 200) {
		fail(op, r, reply);
	} else if (clock_mono_ms() >= r->deadline_ms) {
		pcg_fail(&err, PCG_CLASS_RETRY,
			 "it is tried again; see what holds the object with kubectl get -o yaml",
			 "removing %s: still there %d s after it was deleted and its finalizers "
			 "taken off",
			 r->path, GONE_WITHIN_MS / 1000);
		op_fail(op, &err);
	} else if (!json_str(reply->body, "metadata.deletionTimestamp")) {
		op_after(op, LOOK_AGAIN_MS, send_delete, r);
	} else if (json_array_size(json_at(reply->body, "metadata.finalizers"))) {
		op_after(op, LOOK_AGAIN_MS, send_strip, r);
	} else {
		op_after(op, LOOK_AGAIN_MS, look, r);
	}
}

static void look(struct capi_op *op, void *arg)
{
	struct removal *r = arg;

	op_call(op, "GET", r->path, NULL, NULL, 0, on_look, r);
}

static void on_stripped(struct capi_op *op, void *arg, const struct kube_reply *reply)
{
	struct removal *r = arg;

	if (reply->status == 404)
		end(op, r);
	else if (reply->status == 200 || reply->status == 409 || reply->status == 422)
		look(op, r); /* a refusal can mean that another object has the name by now */
	else
		fail(op, r, reply);
}

static void send_strip(struct capi_op *op, void *arg)
{
	struct removal *r = arg;
	AUTO_JSON json_t *strip =
		json_pack("{s:{s:n,s:s*}}", "metadata", "finalizers", "uid", r->uid);

	op_call(op, "PATCH", r->path, OP_MERGE_PATCH, strip, 0, on_stripped, r);
}

/* A webhook that decides by a cache of its own may not have seen yet what went a moment ago: the IPAM provider's refuses to
 * delete a pool whose addresses have just been removed. */
static bool refused_for_now(const struct removal *r, int status)
{
	return status == 400 && clock_mono_ms() < r->deadline_ms - GONE_WITHIN_MS + REFUSED_WITHIN_MS;
}

static void on_deleted(struct capi_op *op, void *arg, const struct kube_reply *reply)
{
	struct removal *r = arg;

	if (reply->status == 404)
		end(op, r);
	else if (reply->status == 409)
		look(op, r);
	else if (refused_for_now(r, reply->status))
		op_after(op, LOOK_AGAIN_MS, send_delete, r);
	else if (reply->status < 200 || reply->status >= 300)
		fail(op, r, reply);
	else
		send_strip(op, r);
}

static void send_delete(struct capi_op *op, void *arg)
{
	struct removal *r = arg;
	AUTO_JSON json_t *options = json_pack("{s:s,s:s,s:i,s:s}", "kind", "DeleteOptions",
					      "apiVersion", "v1", "gracePeriodSeconds", 0,
					      "propagationPolicy", "Background");

	if (r->uid)
		json_object_set_new(options, "preconditions", json_pack("{s:s}", "uid", r->uid));
	op_call(op, "DELETE", r->path, NULL, options, 0, on_deleted, r);
}

void remove_object(struct capi_op *op, struct removal *r, const char *path, const char *uid,
		   void (*gone)(struct capi_op *op, void *arg), void *arg)
{
	r->path = path;
	r->uid = NULL;
	if (uid) {
		snprintf(r->uid_copy, sizeof(r->uid_copy), "%s", uid);
		r->uid = r->uid_copy;
	}
	r->gone = gone;
	r->arg = arg;
	r->deadline_ms = clock_mono_ms() + GONE_WITHIN_MS;
	send_delete(op, r);
}
