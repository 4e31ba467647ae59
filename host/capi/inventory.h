/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_INVENTORY_H
#define HOST_CAPI_INVENTORY_H

/*
 * What clusterctl knows of a cluster: one Provider object for each component, of a kind that is
 * clusterctl's own. Written as "clusterctl init" leaves them, so that it can upgrade and move such a
 * cluster later. Pure; new references.
 */

#include "host/capi/bundle.h"

json_t *inventory_definition(void);
/* NULL: a part that is no provider (the certificate manager), or one without a Namespace. */
json_t *inventory_entry(const struct bundle_part *part, const char *provider, const char *version,
			const json_t *objects);

#endif
