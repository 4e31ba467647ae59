/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_TASK_H
#define PLUGINS_VSPHERE_TASK_H

#include "plugins/vsphere/vsphere.h"

/* Waits for the end of a short task: 0, or -1 with err when it failed, or has not ended before the op's deadline (a
 * RETRY: asked again, the op finds what the task has done). */
int task_end(struct vsphere *v, struct pcg_call *call, const struct vs_ref *task, struct vs_err *err);
/* Ids of the clones of a template (NULL: of any) that run or are queued now, without those that are known to be begun by other users;
 * added to ids. */
int task_clones(struct vsphere *v, struct pcg_call *call, const struct vs_ref *template, json_t *ids, struct vs_err *err);
/* The same in a request of somebody else's: adds a specSet to it; and whether an object of its answer is such a clone, which. */
void task_recent_write(const struct vsphere *v, struct soap *s);
bool task_clone(const struct vsphere *v, const struct xn *object, const struct vs_ref *template, struct vs_ref *task);
/* Asks for the end of a task that was begun by this account; it ends later, with RequestCanceled, or as if it had not been asked.
 * Needs no privilege (vim.Task.CancelTask of the Web Services API); more than one request is the same as one. */
void task_cancel(struct vsphere *v, struct pcg_call *call, const struct vs_ref *task);
/* Some properties of one object, which is handed to cb. */
int object_read(struct vsphere *v, struct pcg_call *call, const struct vs_ref *ref, const char *const *paths, size_t n,
		void (*cb)(void *arg, const struct xn *object), void *arg, struct vs_err *err);

#endif
