/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/folders.h"

#include "host/capi/capi.h"
#include "host/policy/policy.h"
#include "host/provider/plugin_folder.h"
#include "host/provider/plugin_load.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OTHERS_WRITE 0022

static void tell(const struct conf *c, const char *name, const struct pcg_error *err, struct buf *report)
{
	conf_where(c, name, report);
	buf_addf(report, "%s%s%s\n", err->text, *err->remedy ? "; " : "", err->remedy);
}

static bool readable(const struct conf *c, const char *name, const char *what, struct buf *report)
{
	const char *path = conf_str(c, name);
	DIR *d = opendir(path);

	if (d) {
		closedir(d);
		return true;
	}
	conf_where(c, name, report);
	buf_addf(report, "%s: %s; allowed: %s that this user may read\n", path, strerror(errno), what);
	return false;
}

/* How many of them a worker would load. */
static size_t check_plugins(const struct conf *c, const struct plugin_file *plugins, struct buf *report)
{
	struct pcg_error err;
	size_t good = 0;

	for (const struct plugin_file *p = plugins; p; p = p->next) {
		if (plugin_file_check(p->path, &err))
			tell(c, "plugins_dir", &err, report);
		else
			good++;
	}
	if (!plugins) {
		conf_where(c, "plugins_dir", report);
		buf_addf(report, "%s holds no %sNAME%s; allowed: the folder of the infrastructure providers\n",
			 conf_str(c, "plugins_dir"), PROVIDER_PLUGIN_PREFIX, PROVIDER_PLUGIN_SUFFIX);
	}
	return good;
}

static void check_bundles(const struct conf *c, const struct plugin_file *plugins, struct buf *report,
			  struct buf *notes)
{
	const char *dir = conf_str(c, "bundle_dir");
	struct buf missing;
	bool any = false;

	buf_init(&missing, 1u << 16);
	for (const struct plugin_file *p = plugins; p; p = p->next) {
		struct pcg_error err;

		if (capi_bundle_check(dir, p->name, false, &err)) {
			conf_where(c, "bundle_dir", &missing);
			buf_addf(&missing, "no cluster of type %s can be made: %s; %s\n", p->name, err.text,
				 err.remedy);
		} else {
			any = true;
		}
	}
	buf_adds(any ? notes : report, missing.data);
	buf_free(&missing);
}

/* A folder that is not there allows everything: told, for its name may be misspelt. */
static void check_policies(const struct conf *c, struct buf *report, struct buf *notes)
{
	const char *dir = conf_str(c, "policy_dir");
	struct buf found;
	char *line, *rest;

	if (access(dir, F_OK) && errno == ENOENT) {
		conf_where(c, "policy_dir", notes);
		buf_addf(notes, "%s is not there: every cluster is allowed, and none is changed\n", dir);
		return;
	}
	buf_init(&found, 1u << 20);
	if (policy_check_dir("/proc/self/exe", dir, &found))
		for (rest = found.data; (line = strsep(&rest, "\n"));) {
			if (!*line)
				continue;
			conf_where(c, "policy_dir", report);
			buf_addf(report, "%s\n", line);
		}
	buf_free(&found);
}

static int parent_check(const char *dir, struct pcg_error *err)
{
	AUTO_FREE char *parent = strdup(dir);
	char *end;
	int why;

	assert(parent);
	for (end = parent + strlen(parent); end > parent + 1 && end[-1] == '/'; end--)
		end[-1] = '\0';
	end = strrchr(parent, '/');
	if (end)
		end[end == parent] = '\0';
	if (!access(end ? parent : ".", W_OK | X_OK))
		return 0;
	why = errno;
	pcg_fail_errno(err, why, "making %s", dir);
	if (why == ENOENT)
		snprintf(err->remedy, sizeof(err->remedy), "make the folder that it is to be in");
	return pcg_error_code(err);
}

int folders_state_dir(const char *dir, struct pcg_error *err)
{
	struct stat st;

	if (stat(dir, &st))
		return errno == ENOENT ? parent_check(dir, err) : pcg_fail_errno(err, errno, "looking at %s", dir);
	if (st.st_mode & OTHERS_WRITE)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "give state_dir a folder of its own that only this user may change, or chmod go-w it",
				"others may write to %s", dir);
	if (access(dir, W_OK | X_OK))
		return pcg_fail_errno(err, errno, "writing to %s", dir);
	return 0;
}

/* What is not there or not this user's may be so to pcgd's own: told, and no failure. */
static void check_state(const struct conf *c, struct buf *report, struct buf *notes)
{
	const char *dir = conf_str(c, "state_dir");
	struct pcg_error err;
	struct stat st;

	if (folders_state_dir(dir, &err))
		tell(c, "state_dir", &err, !stat(dir, &st) && (st.st_mode & OTHERS_WRITE) ? report : notes);
}

void folders_check(const struct conf *c, struct buf *report, struct buf *notes)
{
	struct plugin_file *plugins = NULL;
	bool bundles = readable(c, "bundle_dir", "a folder of controllers (docs/bundle.md)", report);

	if (readable(c, "plugins_dir", "the folder of the infrastructure providers", report)) {
		plugin_folder_scan(conf_str(c, "plugins_dir"), &plugins);
		if (check_plugins(c, plugins, report) && bundles)
			check_bundles(c, plugins, report, notes);
	}
	plugin_folder_free(plugins);
	check_state(c, report, notes);
	check_policies(c, report, notes);
}
