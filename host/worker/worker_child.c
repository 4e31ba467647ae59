/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/worker/worker.h"
#include "core/frame.h"
#include "core/log.h"
#include "core/secret.h"
#include "host/worker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HELLO_MS 10000

static int limit(int what, const char *name, uint64_t value, struct pcg_error *err)
{
	struct rlimit now, want = { value, value };

	if (getrlimit(what, &now) == 0 && now.rlim_max != RLIM_INFINITY && want.rlim_max > now.rlim_max)
		want.rlim_cur = want.rlim_max = now.rlim_max;
	if (setrlimit(what, &want))
		return pcg_fail_errno(err, errno, "limiting %s of a worker to %llu", name,
				      (unsigned long long)value);
	return 0;
}

/* RLIMIT_NPROC counts everything that the user runs, so a limit that is fit for this process would
 * depend on others: that no process is made is seccomp's business. */
static int apply_limits(const json_t *confine, struct pcg_error *err)
{
	uint64_t files = (uint64_t)json_int_or(confine, "files", 0);
	int r = limit(RLIMIT_CORE, "core dumps", 0, err);

	if (!r && files)
		r = limit(RLIMIT_NOFILE, "open files", files, err);
#ifndef PCG_SANITIZED
	uint64_t memory = (uint64_t)json_int_or(confine, "memory", 0);

	if (!r && memory)
		r = limit(RLIMIT_AS, "address space", memory, err);
	if (!r && memory)
		r = limit(RLIMIT_DATA, "data", memory, err);
#endif
	return r;
}

/* A worker of a host that runs as root keeps none of root's privileges. */
static int drop_capabilities(struct pcg_error *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none))
		return pcg_fail_errno(err, errno, "dropping the capabilities of a worker");
	return 0;
}

static void note_missing(char *missing, size_t size, const char *what)
{
	size_t len = strlen(missing);

	snprintf(missing + len, size - len, "%s%s", len ? "," : "", what);
}

static int confine_self(const json_t *confine, char *missing, size_t size, struct pcg_error *err)
{
	int r = apply_limits(confine, err);

	if (!r)
		r = drop_capabilities(err);
	if (r)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return pcg_fail_errno(err, errno, "giving up new privileges in a worker");
	if (confine_landlock(confine))
		note_missing(missing, size, "landlock");
	if (confine_seccomp(json_bool_or(confine, "network", false)))
		note_missing(missing, size, "seccomp");
	return 0;
}

static int read_hello(json_t **hello, struct pcg_error *err)
{
	struct frame_reader reader;
	int r;

	frame_reader_init(&reader, FRAME_MAX);
	/* The host sends nothing after the hello before it has heard of us: no frame is lost here. */
	r = frame_recv_fd(WORKER_FD, &reader, HELLO_MS, hello, err);
	frame_reader_free(&reader);
	if (!r && !*hello)
		r = pcg_fail(err, PCG_CLASS_CANCELLED, "", "the host closed before its hello frame");
	if (!r && !json_is_object(json_at(*hello, "confine")))
		r = pcg_fail(err, PCG_CLASS_BUG, "workers are started by pcgd, never by hand",
			     "the hello frame has no member confine");
	return r;
}

static void set_title(const json_t *confine)
{
	char title[16];

	snprintf(title, sizeof(title), "pcg-%s", json_str_or(confine, "role", "worker"));
	prctl(PR_SET_NAME, title, 0, 0, 0);
}

int worker_child_enter(json_t **hello, char *missing, size_t missing_size, struct pcg_error *err)
{
	int r;

	*hello = NULL;
	missing[0] = 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	secret_no_core();
	umask(077);
	syscall(SYS_close_range, WORKER_FD + 1, ~0u, 0);
	if (fcntl(WORKER_FD, F_SETFD, FD_CLOEXEC))
		return pcg_fail_errno(err, errno, "a worker finds no conversation on descriptor %d",
				      WORKER_FD);
	r = read_hello(hello, err);
	if (!r)
		r = confine_self(json_at(*hello, "confine"), missing, missing_size, err);
	if (r) {
		json_wipe(*hello);
		*hello = NULL;
		return r;
	}
	set_title(json_at(*hello, "confine"));
	json_object_set_new(*hello, "missing", json_string(missing));
	return 0;
}

#ifdef PCG_SANITIZED
int __lsan_do_recoverable_leak_check(void) __attribute__((weak)); /* not there with every sanitizer */

int worker_child_leaks(void)
{
	return __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() ? 23 : 0;
}
#else
int worker_child_leaks(void)
{
	return 0;
}
#endif

int worker_child_main(const char *role, const struct worker_role *roles, size_t n)
{
	struct pcg_error err = { 0 };
	char missing[128];
	json_t *hello;

	for (size_t i = 0; i < n; i++) {
		if (strcmp(roles[i].name, role) != 0)
			continue;
		if (worker_child_enter(&hello, missing, sizeof(missing), &err)) {
			log_err("worker_start_failed", &err, LS("role", role));
			return 1;
		}
		return roles[i].main(hello);
	}
	fprintf(stderr, "there is no worker role \"%s\"\n", role);
	return 2;
}

json_t *worker_confinement_report(void)
{
	return json_pack("{s:i, s:b, s:b, s:b}", "landlock", confine_landlock_abi(), "seccomp",
			 confine_seccomp_there() ? 1 : 0, "noNewPrivs", 1, "coreDumps", 0);
}
