/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/plugin_load.h"
#include "host/provider/ops.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FROZEN_SIZE (offsetof(struct pcg_provider, version) + sizeof(const char *))
#define KNOWN_CAPS (PCG_CAP_WATCH | PCG_CAP_REDACT | PCG_CAP_POWER_OFF)
#define MAX_PARALLEL 64
#define REBUILD "rebuild it against this gateway's pcg/provider.h, or install the plugin that belongs to it"

static int check_owner(const struct stat *st, const char *what, const char *path, struct pcg_error *err)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return pcg_fail(err, PCG_CLASS_PERMANENT, "chown it to root, or to the user that runs pcgd",
				"loading plugin: %s %s belongs to user %u, expected root or user %u",
				what, path, (unsigned)st->st_uid, (unsigned)geteuid());
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "chmod go-w it, after a look at who changed it",
				"loading plugin: %s %s has mode %04o, expected not writable by group or others",
				what, path, (unsigned)st->st_mode & 07777);
	return 0;
}

static int open_checked(const char *path, int *out, struct pcg_error *err)
{
	char dir[4096];
	char *slash;
	struct stat st;
	AUTO_CLOSE int dir_fd = -1;
	AUTO_CLOSE int fd = -1;
	int r;

	if ((size_t)snprintf(dir, sizeof(dir), "%s", path) >= sizeof(dir) || !(slash = strrchr(dir, '/')))
		return pcg_fail(err, PCG_CLASS_BUG, "", "loading plugin: %s is no absolute path", path);
	*slash = 0;
	dir_fd = open(slash == dir ? "/" : dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 || fstat(dir_fd, &st))
		return pcg_fail_errno(err, errno, "loading plugin: opening folder %s", dir);
	r = check_owner(&st, "folder", dir, err);
	if (r)
		return r;
	fd = openat(dir_fd, slash + 1, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st))
		return pcg_fail_errno(err, errno, "loading plugin: opening %s", path);
	if (!S_ISREG(st.st_mode))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "put the plugin's shared object there",
				"loading plugin: %s is not a regular file", path);
	r = check_owner(&st, "file", path, err);
	if (r)
		return r;
	*out = fd;
	fd = -1;
	return 0;
}

int plugin_file_check(const char *path, struct pcg_error *err)
{
	AUTO_CLOSE int fd = -1;

	return open_checked(path, &fd, err);
}

static int no_symbol(void *handle, const char *path, struct pcg_error *err)
{
	char other[32];

	for (int major = 0; major < 10; major++) {
		snprintf(other, sizeof(other), "pcg_provider_v%d", major);
		if (dlsym(handle, other))
			return pcg_fail(err, PCG_CLASS_PERMANENT, REBUILD,
					"loading plugin %s: it exports %s, this gateway expects %s", path,
					other, PCG_PROVIDER_SYMBOL);
	}
	return pcg_fail(err, PCG_CLASS_PERMANENT,
			"export the entry with PCG_PROVIDER_EXPORT, or take the file out of the plugins folder",
			"loading plugin %s: it is a shared object without the symbol %s", path,
			PCG_PROVIDER_SYMBOL);
}

static int load_table(int fd, const char *path, const struct pcg_provider **out, struct pcg_error *err)
{
	pcg_provider_entry entry;
	char by_fd[64];
	void *handle, *symbol;

	snprintf(by_fd, sizeof(by_fd), "/proc/self/fd/%d", fd);
	handle = dlopen(by_fd, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"a plugin is a shared object of this machine's architecture that needs no symbol of the host",
				"loading plugin %s: %s", path, dlerror());
	symbol = dlsym(handle, PCG_PROVIDER_SYMBOL);
	if (!symbol)
		return no_symbol(handle, path, err);
	memcpy(&entry, &symbol, sizeof(entry));
	*out = entry((uint32_t)PCG_PROVIDER_ABI_MAJOR << 16 | PCG_PROVIDER_ABI_MINOR);
	if (!*out)
		return pcg_fail(err, PCG_CLASS_PERMANENT, REBUILD,
				"loading plugin %s: it refuses a host with ABI %d.%d", path,
				PCG_PROVIDER_ABI_MAJOR, PCG_PROVIDER_ABI_MINOR);
	return 0;
}

/* Before 1.0 a minor may change anything, so it has to be the same. */
static int check_prefix(const struct pcg_provider *t, const char *path, struct pcg_error *err)
{
	if (t->struct_size < FROZEN_SIZE)
		return pcg_fail(err, PCG_CLASS_PERMANENT, REBUILD,
				"loading plugin %s: its table says %u bytes, expected at least %zu", path,
				t->struct_size, FROZEN_SIZE);
	if (t->abi_major != PCG_PROVIDER_ABI_MAJOR || t->abi_minor != PCG_PROVIDER_ABI_MINOR)
		return pcg_fail(err, PCG_CLASS_PERMANENT, REBUILD,
				"loading plugin %s: built for ABI %u.%u, this gateway has %d.%d", path,
				t->abi_major, t->abi_minor, PCG_PROVIDER_ABI_MAJOR, PCG_PROVIDER_ABI_MINOR);
	if (t->caps_required & ~KNOWN_CAPS)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "install a newer gateway, or an older plugin",
				"loading plugin %s: it requires the capabilities 0x%" PRIx64 ", this gateway knows 0x%" PRIx64,
				path, t->caps_required, (uint64_t)KNOWN_CAPS);
	if (t->max_parallel < 1 || t->max_parallel > MAX_PARALLEL)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "set max_parallel in its table",
				"loading plugin %s: it wants %u ops at once, expected 1 to %d", path,
				t->max_parallel, MAX_PARALLEL);
	return 0;
}

static int check_name(const struct pcg_provider *t, const char *path, const char *name, struct pcg_error *err)
{
	if (!t->name || !t->version || !*t->version)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "set name and version in its table",
				"loading plugin %s: its table has no name or no version", path);
	if (strcmp(t->name, name) != 0)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "name the file " PROVIDER_PLUGIN_PREFIX "NAME" PROVIDER_PLUGIN_SUFFIX " after the provider in it",
				"loading plugin %s: the provider in it is \"%s\", expected \"%s\"", path,
				t->name, name);
	return 0;
}

static int check_ops(const struct pcg_provider *t, const char *path, struct pcg_error *err)
{
	if (!t->start || !t->stop)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "give it start and stop",
				"loading plugin %s: its table has no %s", path, t->start ? "stop" : "start");
	for (const struct provider_op *op = provider_ops; op->name; op++) {
		if (op->cap && !((t->caps_optional | t->caps_required) & op->cap))
			continue;
		if (!provider_op_of(t, op))
			return pcg_fail(err, PCG_CLASS_PERMANENT, "give it the op, or take away the capability that promises it",
					"loading plugin %s: its table (%u bytes) has no %s, expected one%s",
					path, t->struct_size, op->name,
					op->cap ? " by its capabilities" : "");
	}
	return 0;
}

static int read_settings(struct plugin *p, const char *path, struct pcg_error *err)
{
	struct pcg_error why;

	if (!p->table.settings) {
		p->settings = json_array();
		return 0;
	}
	if (json_parse(p->table.settings, strlen(p->table.settings), "settings table", &p->settings, &why) == 0) {
		if (json_is_array(p->settings))
			return 0;
		pcg_fail(&why, PCG_CLASS_PERMANENT, "", "settings table: found no array");
	}
	return pcg_fail(err, PCG_CLASS_PERMANENT,
			"make it an array of objects with name, type, default, doc",
			"loading plugin %s: %s, expected an array", path, why.text);
}

int plugin_load(const char *path, const char *name, struct plugin *out, struct pcg_error *err)
{
	const struct pcg_provider *found = NULL;
	AUTO_CLOSE int fd = -1;
	int r = open_checked(path, &fd, err);

	memset(out, 0, sizeof(*out));
	if (!r)
		r = load_table(fd, path, &found, err);
	if (!r)
		r = check_prefix(found, path, err);
	if (!r) {
		size_t size = found->struct_size;

		memcpy(&out->table, found, size < sizeof(out->table) ? size : sizeof(out->table));
		r = check_name(&out->table, path, name, err);
	}
	if (!r)
		r = check_ops(&out->table, path, err);
	return r ? r : read_settings(out, path, err);
}
