/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_FOLDERS_H
#define HOST_FOLDERS_H

/* What pcgd --check-config looks at beyond the settings themselves. A gateway that runs does not depend on it:
 * what is missing then is a condition of the clusters that need it. */

#include "core/conf.h"

/* Not there and can be made, or a folder that this user may write and no other. */
int folders_state_dir(const char *dir, struct pcg_error *err);

/* state_dir; plugins that workers would load, for at least one of them all controllers, and policies, which a worker
 * tries. Problems, one a line, into report; what only concerns clusters of one infrastructure, and policies that are not
 * there, into notes. No plugin is loaded. */
void folders_check(const struct conf *c, struct buf *report, struct buf *notes);

#endif
