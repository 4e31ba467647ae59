/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded: a disk that takes SLOW_SYNC_MS for each sync while the folder SLOW_SYNC_DIR holds a file
 * "armed", and leaves a byte in its file "done" after each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int in_dir(const char *name, int flags)
{
	const char *dir = getenv("SLOW_SYNC_DIR");
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : "", name);
	return open(path, flags | O_CLOEXEC, 0600);
}

int fdatasync(int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	int armed = in_dir("armed", O_RDONLY), done, r = real(fd);
	const char *ms = getenv("SLOW_SYNC_MS");
	long wait = ms ? atol(ms) : 0;
	struct timespec t = { wait / 1000, wait % 1000 * 1000000 };

	if (armed < 0)
		return r;
	close(armed);
	nanosleep(&t, NULL);
	done = in_dir("done", O_WRONLY | O_CREAT | O_APPEND);
	if (done >= 0 && write(done, ".", 1) != 1)
		abort();
	close(done);
	return r;
}
