/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_KEPT_H
#define PLUGINS_VSPHERE_KEPT_H

#include "plugins/vsphere/vsphere.h"

/* Ids that names were resolved to, for five minutes. Any thread. */
struct kept *kept_new(void);
void kept_free(struct kept *k);
/* False: not known, or too old. */
bool kept_get(struct vsphere *v, const char *kind, const char *name, char *id, size_t size);
void kept_put(struct vsphere *v, const char *kind, const char *name, const char *id);
/* One of them turned out to be gone. */
void kept_forget(struct vsphere *v);

#endif
