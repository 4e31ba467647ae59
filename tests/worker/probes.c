/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/worker/probes.h"
#include "core/frame.h"
#include "host/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static long try_open(const char *arg)
{
	return open(arg, O_RDONLY | O_CLOEXEC);
}

static long try_write(const char *arg)
{
	return open(arg, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

static long try_exec(const char *arg)
{
	char *argv[] = { (char *)(uintptr_t)arg, NULL };

	return execve(arg, argv, environ);
}

static long try_fork(const char *arg)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return pid;
}

static long try_ptrace(const char *arg)
{
	return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

static long try_read_parent(const char *arg)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)&environ, 1 };

	return syscall(SYS_process_vm_readv, getppid(), &here, 1, &there, 1, 0);
}

static long try_kill_parent(const char *arg)
{
	return kill(getppid(), 0);
}

static long try_limit_parent(const char *arg)
{
	struct rlimit now;

	return prlimit(getppid(), RLIMIT_NOFILE, NULL, &now);
}

static long try_socket(const char *arg)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long try_packet_socket(const char *arg)
{
	return socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static long try_unix_socket(const char *arg)
{
	return syscall(SYS_socket, (long)(0x100000000 | AF_UNIX), SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long try_listen(const char *arg)
{
	int one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr any = { .sa_family = AF_INET };

	return bind(one, &any, sizeof(any));
}

/* On a port that the kernel chooses. */
static long try_listen_unbound(const char *arg)
{
	return listen(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 1);
}

static long try_mount(const char *arg)
{
	return mount("none", "/", "tmpfs", 0, NULL);
}

static long try_unshare(const char *arg)
{
	return unshare(CLONE_NEWUSER);
}

static long try_bpf(const char *arg)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long try_keyctl(const char *arg)
{
	return syscall(SYS_keyctl, 0, 0, 0, 0, 0);
}

static long try_io_uring(const char *arg)
{
	return syscall(SYS_io_uring_setup, 0, NULL);
}

static long try_setuid(const char *arg)
{
	return setuid(getuid());
}

static long try_memory(const char *arg)
{
	void *p = mmap(NULL, strtoul(arg, NULL, 10), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : 0;
}

static long try_files(const char *arg)
{
	long n = strtol(arg, NULL, 10), fd = 0;

	while (n-- > 0 && fd >= 0)
		fd = dup(3);
	return fd;
}

/* 0 when a core could be written. */
static long try_core(const char *arg)
{
	struct rlimit core = { 0, 0 };

	getrlimit(RLIMIT_CORE, &core);
	errno = EPERM;
	return core.rlim_max > 0 || prctl(PR_GET_DUMPABLE) != 0 ? 0 : -1;
}

static void *nothing(void *arg)
{
	return arg;
}

static long try_thread(const char *arg)
{
	pthread_t t;
	int r = pthread_create(&t, NULL, nothing, NULL);

	if (!r)
		pthread_join(t, NULL);
	errno = r;
	return r ? -1 : 0;
}

/* 0 when the environment has that variable. */
static long try_environment(const char *arg)
{
	errno = ENOENT;
	return getenv(arg) ? 0 : -1;
}

/* 0 when any descriptor but the standard ones and the conversation is open. */
static long try_inherited(const char *arg)
{
	errno = EBADF;
	for (int fd = 4; fd < 256; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			return 0;
	return -1;
}

static long try_capability(const char *arg)
{
	return syscall(SYS_chroot, "/");
}

static const struct {
	const char *name;
	long (*run)(const char *arg);
} probes[] = {
	{ "open", try_open },
	{ "write", try_write },
	{ "exec", try_exec },
	{ "fork", try_fork },
	{ "ptrace", try_ptrace },
	{ "read_parent", try_read_parent },
	{ "kill_parent", try_kill_parent },
	{ "limit_parent", try_limit_parent },
	{ "socket", try_socket },
	{ "packet_socket", try_packet_socket },
	{ "unix_socket", try_unix_socket },
	{ "listen_unbound", try_listen_unbound },
	{ "listen", try_listen },
	{ "mount", try_mount },
	{ "unshare", try_unshare },
	{ "bpf", try_bpf },
	{ "keyctl", try_keyctl },
	{ "io_uring", try_io_uring },
	{ "setuid", try_setuid },
	{ "memory", try_memory },
	{ "files", try_files },
	{ "core", try_core },
	{ "thread", try_thread },
	{ "environment", try_environment },
	{ "inherited", try_inherited },
	{ "chroot", try_capability },
};

static int run_probe(const char *name, const char *arg)
{
	for (size_t i = 0; i < ARRAY_LEN(probes); i++)
		if (strcmp(probes[i].name, name) == 0)
			return probes[i].run(arg) < 0 ? errno : 0;
	return -1;
}

static void answer(json_t *doc)
{
	struct pcg_error err;

	if (frame_send_fd(3, doc, &err))
		_exit(4);
	json_decref(doc);
}

/* Many, since the last ones may still stand on the stack. */
static void lose_memory(void)
{
	for (int i = 0; i < 100; i++) {
		char *volatile lost = malloc(100);

		lost[0] = 1;
	}
}

int probe_role_main(json_t *hello)
{
	struct frame_reader reader;
	struct pcg_error err;
	json_t *doc;

	frame_reader_init(&reader, FRAME_MAX);
	answer(json_pack("{s:s, s:s}", "missing", json_str_or(hello, "missing", "?"), "secret",
			 json_str_or(hello, "secret", "")));
	json_wipe(hello);
	while (frame_recv_fd(3, &reader, 0, &doc, &err) == 0 && doc) {
		const char *what = json_str_or(doc, "try", "");

		if (strcmp(what, "exit") == 0)
			_exit((int)json_int_or(doc, "status", 0));
		if (strcmp(what, "crash") == 0)
			raise(SIGSEGV);
		if (strcmp(what, "garbage") == 0) {
			if (write(3, "\0\0\0\2{]", 6) != 6)
				_exit(5);
			pause();
		}
		if (strcmp(what, "leak") == 0) {
			lose_memory();
			_exit(worker_child_leaks());
		}
		if (strcmp(what, "stay") == 0)
			for (;;)
				pause();
		if (strcmp(what, "flood") == 0)
			for (int i = 0; i < 1000; i++)
				answer(json_pack("{s:i}", "flood", i));
		else
			answer(json_pack("{s:i}", "errno", run_probe(what, json_str_or(doc, "arg", ""))));
		json_decref(doc);
	}
	answer(json_pack("{s:b}", "leaving", 1));
	frame_reader_free(&reader);
	return 0;
}
