/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_STDOUT_H
#define CORE_STDOUT_H

#include <stdbool.h>

/* Standard output of a program that shows things. Not thread-safe. */

/* First of all in main: one of descriptors 0 to 2 that is closed would be taken by a file or socket of the program, which
 * then has its log written into it; libuv aborts when it closes one. */
void stdio_begin(void);

/* What was printed goes out now, for whoever watches. False: not everything could be written, now or before. */
bool stdout_flush(void);
/* The end: what could not be written was not shown. status when everything was written, else failed (a status that is not 0
 * stays), told on standard error; but not when the reader has gone. */
int stdout_end(const char *program, int status, int failed);

#endif
