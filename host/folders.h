/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_FOLDERS_H
#define HOST_FOLDERS_H

/* What pcgd --check-config looks at beyond the settings themselves. A gateway that runs does not depend on it:
 * what is missing then is a condition of the clusters that need it. */

#include "core/conf.h"

/* Plugins that workers would load, for at least one of them all controllers, and policies, which a worker
 * tries. Problems, one a line, into report; what only concerns clusters of one infrastructure into notes. No
 * plugin is loaded. */
void folders_check(const struct conf *c, struct buf *report, struct buf *notes);

#endif
