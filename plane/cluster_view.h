/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_CLUSTER_VIEW_H
#define PLANE_CLUSTER_VIEW_H

/* A cluster as the public API shows it. */

#include "plane/plane.h"

int cluster_view(struct plane *p, const json_t *cluster, const json_t *status, json_t **out,
		 struct pcg_error *err);
int cluster_view_status(struct plane *p, const json_t *cluster, const json_t *status, json_t **out,
			struct pcg_error *err);
/* brief: without its profiles. */
int cluster_view_overview(struct plane *p, const json_t *cluster, const json_t *status, bool brief,
			  json_t **out, struct pcg_error *err);
/* One pool of the request, poolConfig and cloudConfig in one object. New reference. */
int cluster_view_pools(struct plane *p, const json_t *cluster, json_t **pools, struct pcg_error *err);
json_t *cluster_view_machine(const json_t *cluster, const json_t *machine);

#endif
