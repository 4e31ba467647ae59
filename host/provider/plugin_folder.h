/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROVIDER_PLUGIN_FOLDER_H
#define HOST_PROVIDER_PLUGIN_FOLDER_H

/* The plugins folder as the host sees it: names and whether a file is still the same. Files are
 * checked and opened by the worker alone. */

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct file_mark {
	dev_t dev;
	ino_t ino;
	off_t size;
	int64_t mtime_ns, ctime_ns; /* all zero: no file */
};

struct plugin_file {
	struct plugin_file *next;
	char *name;      /* "vsphere" */
	char *path;      /* DIR/libpcg-vsphere.so */
	struct file_mark mark;
	int64_t checked_ms;
	char version[64], abi[16]; /* what a worker reported last; empty: never loaded */
};

bool plugin_name_good(const char *name);
struct file_mark file_mark_of(const char *path);
bool file_mark_same(const struct file_mark *a, const struct file_mark *b);
/* Brings the list up to date: new files are added, marks renewed; one that has gone stays, with an empty mark. */
void plugin_folder_scan(const char *dir, struct plugin_file **list);
struct plugin_file *plugin_folder_find(struct plugin_file *list, const char *name);
/* The error for a cloud type without a plugin: names the folder and what is in it. */
int plugin_folder_missing(const char *dir, const struct plugin_file *list, const char *name,
			  struct pcg_error *err);
void plugin_folder_free(struct plugin_file *list);

#endif
