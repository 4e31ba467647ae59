/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_FOUND_H
#define PLANE_FOUND_H

/* Clusters that only their gateway knows: this database came from a backup that is older than they are. */

#include "plane/plane.h"

/* A report cluster.found, inside a transaction. PCG_ECONFLICT: refused. One about a cluster that is known changes
 * nothing. */
int found_take(struct plane *p, const char *gateway, const json_t *doc, struct pcg_error *err);
/* Addresses that another cluster had until now are those of who was found with them. */
int found_keep_addresses(struct plane *p, const char *gateway, struct pcg_error *err);

#endif
