/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/worker/confine.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By name: what libseccomp does not know on this machine is left out. */
static const char *const denied[] = {
	/* other programs and their memory */
	"execve", "execveat", "fork", "vfork", "process_vm_readv", "process_vm_writev",
#ifndef PCG_SANITIZED
	"ptrace",
#endif
	"process_madvise", "process_mrelease", "kcmp", "pidfd_open", "pidfd_getfd",
	"pidfd_send_signal", "tkill",
	/* namespaces and file systems */
	"mount", "umount", "umount2", "pivot_root", "chroot", "setns", "unshare", "fsopen",
	"fsconfig", "fsmount", "fspick", "move_mount", "open_tree", "mount_setattr", "quotactl",
	"quotactl_fd", "name_to_handle_at", "open_by_handle_at", "mknod", "mknodat",
	"fanotify_init",
	/* kernel */
	"init_module", "finit_module", "delete_module", "create_module", "kexec_load",
	"kexec_file_load", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key",
	"request_key", "io_uring_setup", "io_uring_enter", "io_uring_register", "syslog",
	"lookup_dcookie", "reboot", "swapon", "swapoff", "acct", "iopl", "ioperm", "modify_ldt",
	"vhangup", "vm86", "vm86old", "personality", "sysfs", "uselib", "nfsservctl",
	/* clock and names of the machine */
	"settimeofday", "stime", "clock_settime", "clock_settime64", "clock_adjtime", "adjtimex",
	"sethostname", "setdomainname",
	/* rights */
	"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid",
	"setfsgid", "setgroups", "capset", "move_pages", "migrate_pages", "mbind",
	"set_mempolicy",
	/* Landlock refuses to bind a port, but listen() takes a free one by itself. */
	"listen", "accept", "accept4",
	NULL,
};

static const char *const denied_network[] = {
	"socket", "socketpair", "connect", "bind", "socketcall", NULL,
};

/* The leak check looks into the process from a second one that shares its memory and attaches by ptrace;
 * Landlock still keeps that away from all other processes. */
#ifdef PCG_SANITIZED
#define CLONE_ALLOWED (CLONE_THREAD | CLONE_UNTRACED)
#else
#define CLONE_ALLOWED CLONE_THREAD
#endif

static int deny(scmp_filter_ctx ctx, const char *name, int errnum, unsigned n,
		struct scmp_arg_cmp cmp)
{
	int nr = seccomp_syscall_resolve_name(name), r;

	if (nr == __NR_SCMP_ERROR)
		return 0;
	r = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO((uint16_t)errnum), nr, n, n ? &cmp : NULL);
	return r == -EDOM ? 0 : r;
}

static int deny_all(scmp_filter_ctx ctx, const char *const *names)
{
	static const struct scmp_arg_cmp any;
	int r = 0;

	for (; *names && !r; names++)
		r = deny(ctx, *names, EPERM, 0, any);
	return r;
}

/* A compare takes 64 bits while the kernel looks at 32: every rule here lets the one exact value pass. */
static int deny_other_processes(scmp_filter_ctx ctx)
{
	static const char *const by_pid[] = { "kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo" };
	static const struct scmp_arg_cmp any;
	scmp_datum_t self = (scmp_datum_t)getpid();
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(by_pid) && !r; i++)
		r = deny(ctx, by_pid[i], EPERM, 1, SCMP_A0_64(SCMP_CMP_NE, self));
	if (!r)
		r = deny(ctx, "prlimit64", EPERM, 1, SCMP_A0_64(SCMP_CMP_NE, 0));
	/* Threads yes, processes no. clone3 hides its flags behind a pointer: libc then takes clone. */
	if (!r)
		r = deny(ctx, "clone", EPERM, 1, SCMP_A0_64(SCMP_CMP_MASKED_EQ, CLONE_ALLOWED, 0));
	return r ? r : deny(ctx, "clone3", ENOSYS, 0, any);
}

int confine_seccomp(bool network)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (!ctx)
		return -1;
	r = deny_all(ctx, denied);
	if (!r)
		r = deny_other_processes(ctx);
	if (!r && !network)
		r = deny_all(ctx, denied_network);
	/* Only families that names and HTTP need; AF_NETLINK is the highest. Behind Unix sockets are programs of this machine, the
	 * gateway's own among them, which would take its user's word; a resolver there is passed by for DNS. */
	if (!r && network)
		r = deny(ctx, "socket", EPERM, 1, SCMP_A0_64(SCMP_CMP_GT, AF_NETLINK));
	if (!r && network)
		r = deny(ctx, "socket", EPERM, 1, SCMP_A0_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, AF_UNIX));
	if (!r)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r ? -1 : 0;
}

bool confine_seccomp_there(void)
{
	uint32_t action = SECCOMP_RET_ERRNO;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}
