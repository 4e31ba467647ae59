/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_TASK_H
#define PLUGINS_VSPHERE_TASK_H

#include "plugins/vsphere/vsphere.h"

/* Waits for the end of a short task: 0, or -1 with err when it failed, or has not ended before the op's deadline (a
 * RETRY: asked again, the op finds what the task has done). */
int task_end(struct vsphere *v, struct pcg_call *call, const struct vs_ref *task, struct vs_err *err);
/* Ids of the clones of a template (NULL: of any) that run or are queued now; added to ids. */
int task_clones(struct vsphere *v, struct pcg_call *call, const struct vs_ref *template, json_t *ids, struct vs_err *err);
/* Some properties of one object, which is handed to cb. */
int object_read(struct vsphere *v, struct pcg_call *call, const struct vs_ref *ref, const char *const *paths, size_t n,
		void (*cb)(void *arg, const struct xn *object), void *arg, struct vs_err *err);

#endif
