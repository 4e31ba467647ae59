/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_FAULT_H
#define CORE_FAULT_H

/*
 * Named fault points, compiled in with --enable-fault-points only (tests). FAULT_POINT("store.after_commit")
 * kills this process with SIGKILL when the folder that PCG_FAULT_DIR names says so. Its file "arm" has
 * lines "NAME COUNT": from the COUNT-th passage in one process on, the first process that makes the
 * file "fired.NAME" there dies, so a line kills once. "hit.NAME" is made at the first passage. A
 * confined process needs leave to read and write that folder.
 * Every name stands once in core/fault_points.def with the program that has it.
 */

#include "config.h"

#ifdef PCG_FAULT_POINTS
void fault_point(const char *name);
#define FAULT_POINT(name) fault_point(name)
#else
#define FAULT_POINT(name) ((void)0)
#endif

#endif
