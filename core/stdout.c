/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/stdout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int why; /* the first time that it could not be written */

bool stdout_flush(void)
{
	/* A buffer that was full was written before this, and errno is from then. */
	if ((fflush(stdout) || ferror(stdout)) && !why)
		why = errno;
	return !ferror(stdout);
}

int stdout_end(const char *program, int status, int failed)
{
	if (stdout_flush())
		return status;
	if (why != EPIPE)
		fprintf(stderr, "%s: writing to standard output: %s\n", program, strerror(why));
	return status ? status : failed;
}
