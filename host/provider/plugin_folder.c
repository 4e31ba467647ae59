/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/plugin_folder.h"
#include "core/buf.h"
#include "host/provider/plugin_load.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_MAX_LEN 32

bool plugin_name_good(const char *name)
{
	size_t len = name ? strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") : 0;

	return len > 0 && len <= NAME_MAX_LEN && !name[len];
}

struct file_mark file_mark_of(const char *path)
{
	struct file_mark mark = { 0 };
	struct stat st;

	if (stat(path, &st))
		return mark;
	mark.dev = st.st_dev;
	mark.ino = st.st_ino;
	mark.size = st.st_size;
	mark.mtime_ns = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
	mark.ctime_ns = st.st_ctim.tv_sec * INT64_C(1000000000) + st.st_ctim.tv_nsec;
	return mark;
}

bool file_mark_same(const struct file_mark *a, const struct file_mark *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

struct plugin_file *plugin_folder_find(struct plugin_file *list, const char *name)
{
	while (list && strcmp(list->name, name) != 0)
		list = list->next;
	return list;
}

static bool plugin_of_file(const char *file, char name[NAME_MAX_LEN + 1])
{
	size_t pre = strlen(PROVIDER_PLUGIN_PREFIX), suf = strlen(PROVIDER_PLUGIN_SUFFIX);
	size_t len = strlen(file);

	if (len <= pre + suf || len - pre - suf > NAME_MAX_LEN ||
	    strncmp(file, PROVIDER_PLUGIN_PREFIX, pre) != 0 ||
	    strcmp(file + len - suf, PROVIDER_PLUGIN_SUFFIX) != 0)
		return false;
	memcpy(name, file + pre, len - pre - suf);
	name[len - pre - suf] = 0;
	return plugin_name_good(name);
}

static void add_file(const char *dir, const char *file, const char *name, struct plugin_file **list)
{
	struct plugin_file *f = calloc(1, sizeof(*f));

	assert(f);
	f->name = strdup(name);
	if (asprintf(&f->path, "%s/%s", dir, file) < 0)
		f->path = NULL;
	assert(f->name && f->path);
	while (*list && strcmp((*list)->name, name) < 0)
		list = &(*list)->next;
	f->next = *list;
	*list = f;
}

void plugin_folder_scan(const char *dir, struct plugin_file **list)
{
	char name[NAME_MAX_LEN + 1];
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)))
		if (plugin_of_file(e->d_name, name) && !plugin_folder_find(*list, name))
			add_file(dir, e->d_name, name, list);
	if (d)
		closedir(d);
	for (struct plugin_file *f = *list; f; f = f->next)
		f->mark = file_mark_of(f->path);
}

int plugin_folder_missing(const char *dir, const struct plugin_file *list, const char *name,
			  struct pcg_error *err)
{
	char remedy[256];
	struct buf there;
	int r;

	buf_init(&there, 400);
	for (; list; list = list->next)
		if (list->mark.mtime_ns)
			buf_addf(&there, "%s" PROVIDER_PLUGIN_PREFIX "%s" PROVIDER_PLUGIN_SUFFIX,
				 there.len ? ", " : "", list->name);
	snprintf(remedy, sizeof(remedy),
		 "put " PROVIDER_PLUGIN_PREFIX "%.32s" PROVIDER_PLUGIN_SUFFIX " there, then: pcgctl plugin rescan",
		 name);
	r = pcg_fail(err, PCG_CLASS_PERMANENT, remedy,
		     "no plugin for cloud type \"%s\": folder %s has %s", name, dir,
		     there.len ? there.data : "none");
	buf_free(&there);
	return r;
}

void plugin_folder_free(struct plugin_file *list)
{
	while (list) {
		struct plugin_file *next = list->next;

		free(list->name);
		free(list->path);
		free(list);
		list = next;
	}
}
