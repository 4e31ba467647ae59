/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_TRACK_IMPL_H
#define PLUGINS_VSPHERE_TRACK_IMPL_H

/* What track.c and watch.c share. */

#include "plugins/vsphere/track.h"

/* The list of what one filter of the property collector sees: tasks, machines, folders with the
 * machines in them. Belongs to one session. */
struct watch_view {
	bool made;
	bool syncing, asked;   /* asked: somebody wants a sync that the running one may have missed */
	uint64_t synced_at;    /* of who syncs */
	unsigned generation;
	struct vs_ref list, filter, collector;
	char version[64];
	struct vs_ref *members;
	size_t n;
};

/* A read of many, by whoever set polling. */
struct track_read {
	struct vs_ref *seen;
	size_t n, max;
};

struct track_table {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct track *first;
	bool polling, live;
	uint64_t polled_at;    /* of who polls */
	uint64_t short_ms;     /* what short tasks take */
	struct track_read read;
	struct watch_view view;
};

#define POLL_FIRST_MS 1000u
#define SHORT_MIN_MS 60u      /* a short task is looked at after what the last ones took */
#define SHORT_MAX_MS 2000u
#define POLL_WATCHED_MS 5000u /* the watch tells; a read finds what it cannot */

void track_forget_addresses(struct track *t);
struct track *track_find_locked(struct track_table *tt, const char *subject);
bool track_same(const struct vs_ref *a, const struct vs_ref *b);
/* The watch has nothing to do with what is over in a moment, nor with folders. */
bool track_watched(const struct track *t);
void track_wait_locked(struct track_table *tt, uint32_t ms);
void track_vm_paths(struct soap *s, bool marks);
/* Value of config.extraConfig["KEY"], "" when it is not there. */
const char *track_option(const struct xn *object, const char *key);

#endif
