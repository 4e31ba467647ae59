/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/folders.h"

#include "host/capi/capi.h"
#include "host/policy/policy.h"
#include "host/provider/plugin_folder.h"
#include "host/provider/plugin_load.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

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

/* A folder that is not there allows everything. */
static void check_policies(const struct conf *c, struct buf *report)
{
	const char *dir = conf_str(c, "policy_dir");
	struct buf found;
	char *line, *rest;

	if (access(dir, F_OK) && errno == ENOENT)
		return;
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
	check_policies(c, report);
}
