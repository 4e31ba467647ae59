/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_PLACEMENT_IMPL_H
#define PLUGINS_VSPHERE_PLACEMENT_IMPL_H

#include "plugins/vsphere/placement.h"

struct placement {
	pthread_mutex_t lock;      /* held while the server is asked: readers want that answer */
	struct place *places;
	size_t n;
	uint64_t at;               /* monotonic; 0: never read */
	struct template *templates;
};

/* All with lock held. */
int placement_read(struct vsphere *v, struct pcg_call *call, struct vs_err *err);
const struct place *placement_by_ref(const struct placement *p, const struct vs_ref *ref);
/* given: a name, a path, or the end of one, below the path "within". The only one; NULL with *count. */
const struct place *placement_match(const struct placement *p, enum place_kind kind, const char *given,
				    const char *within, size_t *count);
bool path_below(const char *path, const char *within);
/* Does path name what was given: the path itself, its end after a slash, or its last part. */
bool path_is(const char *path, const char *given);

/* template.c */
/* Looks the template up; *out stays the placement's. NULL and candidates filled when there is none. */
int template_find(struct vsphere *v, struct pcg_call *call, const char *datacenter_path, const char *given,
		  const struct template **out, json_t *candidates, struct vs_err *err);
int template_list(struct vsphere *v, struct pcg_call *call, const char *datacenter_path, json_t *paths,
		  struct vs_err *err);
void template_free_all(struct placement *p);

#endif
