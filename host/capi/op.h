/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_OP_H
#define HOST_CAPI_OP_H

/*
 * What every operation on a cluster's API is made of: tasks (a request, a list, an apply, a wait, a
 * pause) that call back once, and a batch that runs many items a few at a time.
 *
 * An operation begins in the loop's next turn, never inside the call that made it. op_done and
 * op_fail end its tasks at once and call the owner back in a later turn: the op stays valid until
 * the callback that called them has returned. Nothing calls back after capi_op_cancel. Cancel
 * operations before kube_free.
 */

#include "host/capi/capi.h"

struct capi_op;

struct op_type {
	const char *name;
	void (*start)(struct capi_op *op);
	void (*free_state)(void *state);
	size_t state_size;
};

/* state is zeroed; the caller fills it before it returns to the loop. */
struct capi_op *op_new(struct kube *k, const struct op_type *type, const struct capi_callbacks *cb);
void *op_state(struct capi_op *op);
struct kube *op_kube(struct capi_op *op);
void op_progress(struct capi_op *op, const char *step, const char *object);
void op_done(struct capi_op *op, json_t *result); /* steals result; may be NULL */
void op_fail(struct capi_op *op, const struct pcg_error *err);
bool op_ended(const struct capi_op *op);

typedef void (*op_reply)(struct capi_op *op, void *arg, const struct kube_reply *r);

#define OP_MERGE_PATCH "application/merge-patch+json"
#define OP_METADATA 2u /* of what was written, only metadata comes back */
#define OP_UNREAD 4u   /* the same, and the reply has no body unless it is an error */
#define OP_ONCE 1u /* sent once: whoever asked decides what an unclear answer means */

/* Sends; 429, 503 and webhooks that do not answer yet are tried again for a minute, a GET also
 * after a lost connection. */
void op_call(struct capi_op *op, const char *method, const char *path, const char *content_type,
	     const json_t *body, unsigned flags, op_reply cb, void *arg);
/* kube_get_metadata, tried again as a GET of op_call. */
void op_metadata(struct capi_op *op, const char *path, op_reply cb, void *arg);
void op_list(struct capi_op *op, const char *path, const char *label_selector, op_reply cb,
	     void *arg);
void op_wait_available(struct capi_op *op, const json_t *object, uint32_t timeout_ms, op_reply cb,
		       void *arg);
/* objects, text, arguments and order as kube_apply; done gets NULL or what could not be applied. */
void op_apply(struct capi_op *op, const json_t *objects, uint32_t timeout_ms,
	      const char *(*text)(struct capi_op *op, const json_t *object, size_t *len),
	      void (*done)(struct capi_op *op, const struct pcg_error *err));
void op_after(struct capi_op *op, uint32_t ms, void (*fn)(struct capi_op *op, void *arg),
	      void *arg);

/* Runs begin for each i below n, at most eight at a time; each ends by op_item_done, which may be
 * inside begin. One batch at a time; end is called after the last, at once when n is 0. */
typedef void (*op_begin)(struct capi_op *op, void *arg, size_t i);
typedef void (*op_end)(struct capi_op *op, void *arg);
void op_batch(struct capi_op *op, size_t n, op_begin begin, op_end end, void *arg);
void op_item_done(struct capi_op *op);

#endif
