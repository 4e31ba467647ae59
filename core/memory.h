/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

/* The allocator as programs need it that work in bursts and rest for most of the time. Nothing of it
 * is needed where malloc knows no such settings. Any thread. */

/* A setting that malloc takes from the environment alone: no cache of free blocks for each thread. It costs
 * 9 ns for each block, and what it would hold keeps a third of the pages of a program at rest, more with
 * every burst. */
#define MEMORY_ENVIRONMENT "GLIBC_TUNABLES=glibc.malloc.tcache_count=0"

/* Before the first thread: few arenas, large blocks by themselves. With argv (of main, as it came) the
 * program is started over in its place once, with MEMORY_ENVIRONMENT, unless the environment says
 * something of its own: nothing may have been done yet. NULL: whoever started this one has seen to it. */
void memory_begin(char **argv);
/* Whole pages that are free go back to the system. Costs a walk over the heap: for the end of a burst, in the loop's thread,
 * which alone has blocks of its own (core/blocks.h). */
void memory_give_back(void);

#endif
