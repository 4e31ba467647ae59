/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LIFECYCLE_PROXY_VIEW_H
#define HOST_LIFECYCLE_PROXY_VIEW_H

/* The proxy settings of nodes as a policy sees them, and back: credentials stay here. Pure. */

#include "core/json.h"

/* {"httpProxy","httpsProxy","noProxy":[..]} with credentials (noProxy may be the text of NO_PROXY), or null, in the
 * form that nodes are rendered from: noProxy a list, no empty URL; null when there is neither proxy. New reference, secret. */
json_t *proxy_view_settings(const json_t *proxy);
/* The same without user and password. New reference. */
json_t *proxy_view_public(const json_t *settings);
/* settings as the hook's result leaves them: what it leaves out stays; a URL that is, but for the credentials, one of
 * the settings' gets these back; null when there is neither proxy any more. New reference, secret. */
json_t *proxy_view_merge(const json_t *settings, const json_t *result);

#endif
