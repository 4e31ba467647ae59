/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_OBJECTS_IMPL_H
#define HOST_CAPI_OBJECTS_IMPL_H

/* Inside capi_objects_build: objects.c has all but the pools of workers, which objects_workers.c has. */

#include "host/capi/shapes.h"
#include "core/error.h"

/* Written one after the other; objects of one group at the same time. An owner always stands in an
 * earlier group. */
enum group {
	GROUP_NAMESPACE,
	GROUP_BEFORE,
	GROUP_CLUSTER,
	GROUP_OF_CLUSTER,
	GROUP_OF_CONTROL_PLANE,
	GROUP_OF_MACHINE,
	GROUP_LAST,
	GROUP_CLAIM,
	GROUP_ADDRESS
};

struct build {
	struct shapes s;
	json_t *objects;
	struct pcg_error *err;
};

/* Steals object and status. owner_kind NULL: none. */
void objects_add(struct build *b, enum group group, json_t *object, json_t *status,
		 const char *owner_kind, const char *owner_name, bool controller);
/* The first that the provider exported with that role and that member; key NULL: any. NULL: none. */
const json_t *objects_item(const struct build *b, const char *role, const char *key,
			   const char *value);
/* Always an error: of may be NULL. */
int objects_missing(struct build *b, const char *role, const char *of);
/* What the provider exported, as it is written; a new reference. */
json_t *objects_of_provider(struct build *b, const json_t *item);
/* NULL: none. */
json_t *objects_status(const struct build *b, const json_t *item);

int objects_workers(struct build *b);

#endif
