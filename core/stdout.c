/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/stdout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int why; /* the first time that it could not be written */

/* The wrong way round: to read or write them fails as it did, so that nothing is thought to be shown. */
void stdio_begin(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

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
