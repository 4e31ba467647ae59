/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BLOCKS_H
#define CORE_BLOCKS_H

/* Blocks of JSON trees that one thread, the program's loop, has freed and is given again: a tree is made of hundreds of small
 * ones that come and go together, and malloc without caches of threads takes 250 instructions for each. All are malloc's
 * own, so trees may go from thread to thread, and whoever frees a block by free does no harm. */

#include <stddef.h>

/* In the thread that is to have them: jansson asks here from now on. Nothing in a sanitized build, which is to see each block. */
void blocks_begin(void);
/* What is kept goes back to malloc; from other threads nothing. */
void blocks_give_back(void);
size_t blocks_kept(void);

#endif
