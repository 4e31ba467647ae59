/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/fault.h"

#ifdef PCG_FAULT_POINTS

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef FAULT_POINTS_DEF
#define FAULT_POINTS_DEF "core/fault_points.def"
#endif

static struct fault {
	const char *program;
	const char *name;
	long passed;
} faults[] = {
#define FAULT_POINT_NAME(program_, name_) { .program = program_, .name = name_ },
#include FAULT_POINTS_DEF
#undef FAULT_POINT_NAME
	{ .program = NULL },
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct fault *find(const char *name)
{
	for (struct fault *f = faults; f->program; f++)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

/* True when this call made the file. */
static bool make_file(int dir, const char *prefix, const char *name)
{
	char file[256];
	int fd;

	snprintf(file, sizeof(file), "%s.%s", prefix, name);
	fd = openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* The count that stands for name in the arm file, 0 when none does. */
static long armed_count(int dir, const char *name)
{
	int fd = openat(dir, "arm", O_RDONLY | O_CLOEXEC);
	char line[256];
	long count = 0;
	FILE *f;

	if (fd < 0)
		return 0;
	f = fdopen(fd, "r");
	assert(f);
	while (fgets(line, sizeof(line), f)) {
		size_t len = strlen(name);

		if (strncmp(line, name, len) == 0 && line[len] == ' ')
			count = strtol(line + len, NULL, 10);
	}
	fclose(f);
	return count;
}

void fault_point(const char *name)
{
	struct fault *f = find(name);
	const char *path = getenv("PCG_FAULT_DIR");
	long count;
	int dir;

	assert(f && "listed in core/fault_points.def");
	if (!path)
		return;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return;
	pthread_mutex_lock(&lock);
	if (f->passed++ == 0)
		make_file(dir, "hit", name);
	count = armed_count(dir, name);
	if (count > 0 && f->passed >= count && make_file(dir, "fired", name)) {
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	pthread_mutex_unlock(&lock);
	close(dir);
}

#endif
