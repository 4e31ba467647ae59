/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/memory.h"
#include "core/blocks.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#if defined(__GLIBC__) && !defined(PCG_SANITIZED)
/* A program with more rights than its user would be given nothing by the environment, and start over for
 * ever. Where it cannot be started again it goes on as it is. */
static void start_over(char **argv)
{
	static char setting[] = MEMORY_ENVIRONMENT;
	char exe[4096];
	ssize_t n;

	if (getenv("GLIBC_TUNABLES") || getauxval(AT_SECURE))
		return;
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n <= 0 || putenv(setting))
		return;
	exe[n] = 0;
	execv(exe, argv);
}
#else
static void start_over(char **argv)
{
}
#endif

void memory_begin(char **argv)
{
	if (argv)
		start_over(argv);
#ifdef M_ARENA_MAX
	/* Many threads that each take little: an arena for each would be the larger part of a process. */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_TRIM_THRESHOLD, 256 << 10);
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
}

void memory_give_back(void)
{
	blocks_give_back();
#ifdef HAVE_MALLOC_TRIM
	malloc_trim(0);
#endif
}
