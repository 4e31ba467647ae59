/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORKER_PROBES_H
#define TESTS_WORKER_PROBES_H

/* A worker role that tries what a worker must not do: each frame {"try":NAME,"arg":TEXT} is answered
 * with {"errno":N} of the attempt, 0 when it was let through. */

#include "core/json.h"

int probe_role_main(json_t *hello);

#endif
