/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_CLONE_LIMIT_H
#define PLUGINS_VSPHERE_CLONE_LIMIT_H

#include "plugins/vsphere/vsphere.h"

/*
 * How many clone tasks of the account run at once: at first as many as the setting cloneTasks allows. The window is halved when
 * a clone, or the request for it, is answered as by a vCenter with too much to do, or a clone takes several times as
 * long as the fastest, once for what began before the last time; it opens by one for each window of clones that end
 * well. Who finds it full waits in the order of coming.
 */

struct clone_limit;
struct clone_task_end {
	const char *fault;     /* "" when it ended well */
	uint64_t began, now;   /* monotonic */
};

struct clone_limit *clone_limit_new(unsigned bound);
void clone_limit_free(struct clone_limit *cl);
/* True: the clone may be sent, and clone_limit_sent follows. running: clone tasks that run, without those being sent. */
bool clone_limit_enter(struct clone_limit *cl, const char *subject, unsigned running, uint64_t now);
/* err: of the request, NULL when it was taken or came to none; class RETRY of one that was not answered counts as too much. */
void clone_limit_sent(struct clone_limit *cl, const struct vs_err *err, uint64_t now);
/* Some are on their way to the vCenter. */
bool clone_limit_sending(struct clone_limit *cl);
void clone_limit_ended(struct clone_limit *cl, const struct clone_task_end *end);
/* A clone of that machine that failed is not tried again in a hurry: until then the same answer is given. */
void clone_limit_failed(struct clone_limit *cl, const char *subject, const struct vs_err *err, uint64_t now);
bool clone_limit_held(struct clone_limit *cl, const char *subject, uint64_t now, struct vs_err *err);
void clone_limit_made(struct clone_limit *cl, const char *subject);
/* Takes out of the line who may come in now: false when there is nobody, or no room. */
bool clone_limit_next(struct clone_limit *cl, unsigned running, uint64_t now, char subject[64]);
unsigned clone_limit_window(struct clone_limit *cl);

#endif
