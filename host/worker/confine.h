/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_WORKER_CONFINE_H
#define HOST_WORKER_CONFINE_H

/* What a worker does to itself before it trusts anything. Each function is called once, while the
 * process has one thread. */

#include "core/error.h"
#include "core/json.h"

#define WORKER_FD 3

/* Files: only what confine names (read, exec) and, with network, what resolver, TLS and loader
 * need. 0, or -1 when this kernel has no Landlock. */
int confine_landlock(const json_t *confine);
int confine_landlock_abi(void); /* 0: none */
/* System calls: a deny list. 0, or -1 when this kernel has no seccomp filters. */
int confine_seccomp(bool network);
bool confine_seccomp_there(void);

#endif
