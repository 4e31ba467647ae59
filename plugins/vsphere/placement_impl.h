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
/* vCenter writes slash, backslash and percent in names as %2f, %5c, %25; a person does not. A slash stays as it is
 * written, else a path would have a part too many. Caller frees. */
char *plain_name(const char *name);
/* given: a name, a path, the end of one, or a managed object's id, below the path "within". The best of *count. */
const struct place *placement_match(const struct placement *p, enum place_kind kind, const char *given,
				    const char *within, size_t *count);
bool path_below(const char *path, const char *within);
/* Does path name what was given: the path itself, its end after a slash, or its last part. */
bool path_is(const char *path, const char *given);
/* Does the place go by what was given: path_is(), or its id. */
bool place_is(const struct place *x, const char *given);
/* "; there are: PATH (ID), .. and 4 more" */
void candidates_text(const json_t *candidates, char *out, size_t size);
json_t *candidate(const char *path, const char *id);

/* template.c */
/* Looks the template up by path, name, id or instance uuid; *out stays the placement's. NULL when there is not exactly
 * one: candidates are the *count of that name, or, when there is none, all. */
int template_find(struct vsphere *v, struct pcg_call *call, const char *datacenter_path, const char *given,
		  const struct template **out, json_t *candidates, size_t *count, struct vs_err *err);
/* The snapshot of that name, of a path of names, or id; "": the current one. Problems say why there is none. */
bool template_snapshot(const struct template *t, const char *given, struct vs_ref *out, json_t *problems);
/* Candidates of all templates of a datacenter. */
int template_list(struct vsphere *v, struct pcg_call *call, const char *datacenter_path, json_t *candidates,
		  struct vs_err *err);
void template_free_all(struct placement *p);

#endif
