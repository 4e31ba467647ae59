/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BLOCKS_H
#define CORE_BLOCKS_H

/* Small blocks that one thread, the program's loop, has freed and is given again. Trees of JSON and what OpenSSL makes for a
 * handshake are thousands of them that come and go together, and malloc without caches of threads takes 250 instructions for
 * each. All are malloc's own, so they may go from thread to thread, and whoever frees one by free does no harm. */

#include <stddef.h>

/* In the thread that is to have them, before anything else: jansson and OpenSSL ask here from now on. Nothing in a sanitized
 * build, which is to see each block. */
void blocks_begin(void);
/* What is kept goes back to malloc; from other threads nothing. */
void blocks_give_back(void);
size_t blocks_kept(void);

#endif
