/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/worker/confine.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's interface (linux/landlock.h), spelled out because the rights are chosen at run time
 * and headers of the machine that builds may be older than the kernel that runs. */
#define LL_CREATE_VERSION 1u
#define LL_RULE_PATH 1

#define LL_EXECUTE (UINT64_C(1) << 0)
#define LL_WRITE_FILE (UINT64_C(1) << 1)
#define LL_READ_FILE (UINT64_C(1) << 2)
#define LL_READ_DIR (UINT64_C(1) << 3)
#define LL_MAKE_REG (UINT64_C(1) << 8)
#define LL_FS_ABI1 ((UINT64_C(1) << 13) - 1)
#define LL_REFER (UINT64_C(1) << 13)     /* ABI 2 */
#define LL_TRUNCATE (UINT64_C(1) << 14)  /* ABI 3 */
#define LL_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5 */
#define LL_NET_BIND (UINT64_C(1) << 0)   /* ABI 4 */
#define LL_NET_CONNECT (UINT64_C(1) << 1)
#define LL_SCOPE_ABSTRACT_UNIX (UINT64_C(1) << 0) /* ABI 6 */
#define LL_SCOPE_SIGNAL (UINT64_C(1) << 1)

struct ll_ruleset {
	uint64_t handled_fs;
	uint64_t handled_net;
	uint64_t scoped;
};

struct ll_path {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* Resolver, time zone, trusted CAs, OpenSSL's settings, shared objects. /etc/ssl as a whole is not
 * there: it holds private keys. */
static const char *const network_paths[] = {
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf",
	"/etc/services", "/etc/protocols", "/etc/localtime", "/run/systemd/resolve",
	"/run/resolvconf", "/run/NetworkManager", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
	"/usr/lib/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
	"/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf", "/etc/pki/ca-trust/extracted",
	"/var/lib/ca-certificates",
	"/etc/crypto-policies", "/etc/ld.so.cache", "/etc/ld.so.preload", "/lib", "/lib64",
	"/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo",
	"/dev/urandom", "/dev/random", "/dev/null", "/sys/devices/system/cpu", "/proc/meminfo",
	NULL,
};

#ifdef PCG_SANITIZED
static const char *const sanitizer_paths[] = { "/proc", "/usr", "/lib", NULL };
#endif

int confine_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_CREATE_VERSION);

	return abi > 0 ? (int)abi : 0;
}

/* A path that is not there needs no rule. */
static void allow_path(int ruleset, const char *path, uint64_t rights)
{
	struct ll_path rule = { .allowed = rights };
	struct stat st;
	AUTO_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		return;
	if (!S_ISDIR(st.st_mode))
		rule.allowed &= LL_EXECUTE | LL_WRITE_FILE | LL_READ_FILE | LL_TRUNCATE;
	rule.parent_fd = fd;
	syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PATH, &rule, 0);
}

static void allow_list(int ruleset, const json_t *paths)
{
	json_t *path;
	size_t i;

	json_array_foreach(paths, i, path)
		allow_path(ruleset, json_string_value(path), LL_READ_FILE | LL_READ_DIR);
}

static void allow_all(int ruleset, const char *const *paths)
{
	for (; *paths; paths++)
		allow_path(ruleset, *paths, LL_READ_FILE | LL_READ_DIR);
}

/* What OpenSSL reads in place of its own folder; SSL_CERT_DIR may be a list. */
static void allow_system_cas(int ruleset)
{
	const char *file = getenv("SSL_CERT_FILE"), *dirs = getenv("SSL_CERT_DIR");
	AUTO_FREE char *list = dirs ? strdup(dirs) : NULL;
	char *rest = NULL;

	if (file)
		allow_path(ruleset, file, LL_READ_FILE);
	for (char *dir = list ? strtok_r(list, ":", &rest) : NULL; dir; dir = strtok_r(NULL, ":", &rest))
		allow_path(ruleset, dir, LL_READ_FILE | LL_READ_DIR);
}

static struct ll_ruleset rights_of(int abi, bool network)
{
	struct ll_ruleset set = { .handled_fs = LL_FS_ABI1 };

	if (abi >= 2)
		set.handled_fs |= LL_REFER;
	if (abi >= 3)
		set.handled_fs |= LL_TRUNCATE;
	if (abi >= 4)
		set.handled_net = network ? LL_NET_BIND : LL_NET_BIND | LL_NET_CONNECT;
	if (abi >= 5)
		set.handled_fs |= LL_IOCTL_DEV;
	if (abi >= 6)
		set.scoped = LL_SCOPE_ABSTRACT_UNIX | LL_SCOPE_SIGNAL;
	return set;
}

static size_t ruleset_size(int abi)
{
	if (abi >= 6)
		return sizeof(struct ll_ruleset);
	return abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

int confine_landlock(const json_t *confine)
{
	bool network = json_bool_or(confine, "network", false);
	int abi = confine_landlock_abi();
	struct ll_ruleset set = rights_of(abi, network);
	AUTO_CLOSE int fd = -1;

	if (!abi)
		return -1;
	fd = (int)syscall(SYS_landlock_create_ruleset, &set, ruleset_size(abi), 0);
	if (fd < 0)
		return -1;
	allow_list(fd, json_at(confine, "read"));
	allow_list(fd, json_at(confine, "exec"));
	if (network) {
		allow_all(fd, network_paths);
		allow_system_cas(fd);
	}
#ifdef PCG_SANITIZED
	allow_all(fd, sanitizer_paths);
#endif
#ifdef PCG_FAULT_POINTS
	if (getenv("PCG_FAULT_DIR"))
		allow_path(fd, getenv("PCG_FAULT_DIR"),
			   LL_READ_FILE | LL_READ_DIR | LL_WRITE_FILE | LL_MAKE_REG);
	if (getenv("PCG_TEST_CLOCK_FILE"))
		allow_path(fd, getenv("PCG_TEST_CLOCK_FILE"), LL_READ_FILE);
#endif
	return syscall(SYS_landlock_restrict_self, fd, 0) ? -1 : 0;
}
