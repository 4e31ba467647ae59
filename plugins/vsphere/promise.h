/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_PROMISE_H
#define PLUGINS_VSPHERE_PROMISE_H

#include "plugins/vsphere/vsphere.h"

/*
 * Space on datastores that clones were sent to, and that vCenter does not count yet: a datastore's freeSpace is updated periodically
 * (DatastoreSummary), and Storage DRS recommends by it. So many machines at once would all go to the same one. What a clone
 * was promised counts for PROMISE_MS, whatever becomes of it: a copy takes minutes, and so does vCenter's next look. Only memory:
 * after a crash vCenter's own numbers hold.
 */

#define PROMISE_MS 600000u

struct promises *promises_new(void);
void promises_free(struct promises *p);

struct promise_ask {
	const struct vs_ref *stores;
	const int64_t *free;    /* bytes, as vCenter told; NULL: not known, and it is the first store */
	const bool *good;       /* NULL: all of them are */
	size_t n;
	int64_t bytes;          /* for the new machine; 0: nothing is promised */
	const char *name;       /* of the machine, whose former promise is none any more; "" not known */
	bool first;             /* the first with room, else none; false: the one with the most left, be that less than nothing */
};
/* Chooses a store by what is left of it, and promises the bytes there. -1: none. */
int promise_space(struct vsphere *v, const struct promise_ask *ask);
/* Is anything promised there to others than name? */
bool promise_there(struct vsphere *v, const struct vs_ref *store, const char *name);

#endif
