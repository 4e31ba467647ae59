/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a policy folder: TENANT/NN-name.lua in order of names; _all comes first for everybody. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include "core/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n > k && !strcmp(s + n - k, end);
}

static int visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static char *read_text(const char *path, struct buf *report)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO_FREE char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st)) {
		buf_addf(report, "%s: cannot be read: %s\n", path, strerror(errno));
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > POLICY_FILE_MAX) {
		buf_addf(report, "%s: allowed: a regular file of at most %u bytes\n", path,
			 POLICY_FILE_MAX);
		return NULL;
	}
	if (st.st_mode & 0002) {
		buf_addf(report, "%s: writable by everybody; chmod o-w it\n", path);
		return NULL;
	}
	text = calloc(1, (size_t)st.st_size + 1);
	n = text ? read(fd, text, (size_t)st.st_size) : -1;
	if (n < 0) {
		buf_addf(report, "%s: cannot be read: %s\n", path, strerror(errno));
		return NULL;
	}
	if (!utf8_valid(text, (size_t)n) || strlen(text) != (size_t)n) {
		buf_addf(report, "%s: not a text in UTF-8 (compiled Lua is not accepted)\n", path);
		return NULL;
	}
	return TAKE(text);
}

static int for_each(const char *dir, const char *sub, const char *ending, struct buf *report,
		    void (*take)(void *arg, const char *name, const char *text), void *arg)
{
	struct dirent **list = NULL;
	char path[4096];
	int n, r = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, sub);
	n = scandir(path, &list, visible, by_name);
	if (n < 0) {
		if (errno == ENOENT)
			return 0;
		buf_addf(report, "%s: cannot be read: %s\n", path, strerror(errno));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		AUTO_FREE char *name = NULL, *file = NULL, *text = NULL;

		if (ends_with(list[i]->d_name, ending)) {
			if (asprintf(&name, "%s/%s", sub, list[i]->d_name) < 0 ||
			    asprintf(&file, "%s/%s", dir, name) < 0)
				abort();
			text = read_text(file, report);
			if (text)
				take(arg, name, text);
			else
				r = -1;
		}
		free(list[i]);
	}
	free(list);
	return r;
}

static void take_script(void *arg, const char *name, const char *text)
{
	json_array_append_new(arg, json_pack("{s:s,s:s}", "name", name, "text", text));
}

struct test_reader {
	json_t *list;
	struct buf *report;
	int result;
};

static void take_test(void *arg, const char *name, const char *text)
{
	struct test_reader *t = arg;
	struct pcg_error err;
	json_t *doc;

	if (json_parse(text, strlen(text), name, &doc, &err)) {
		buf_addf(t->report, "%s\n", err.text);
		t->result = -1;
		return;
	}
	if (!json_str(doc, "hook") || !policy_hook_known(json_str(doc, "hook")) ||
	    !json_object_get(doc, "input") ||
	    (!json_object_get(doc, "expect") && !json_object_get(doc, "expectError"))) {
		buf_addf(t->report,
			 "%s: a test is {\"hook\": admission, ca_bundle, proxy or node_bootstrap, "
			 "\"input\": {...}, \"expect\": {...} or null, or \"expectError\": text}\n",
			 name);
		t->result = -1;
		json_decref(doc);
		return;
	}
	json_object_set_new(doc, "file", json_string(name));
	json_array_append_new(t->list, doc);
}

static struct dirent **tenants_of(const char *dir, int *n, struct buf *report)
{
	struct dirent **list = NULL;

	*n = scandir(dir, &list, visible, by_name);
	if (*n < 0 && errno == ENOENT)
		*n = 0;
	if (*n < 0)
		buf_addf(report, "%s: cannot be read: %s\n", dir, strerror(errno));
	return list;
}

static bool is_dir(const char *dir, const char *name)
{
	char path[4096];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

int policy_dir_read(const char *dir, json_t **set, struct buf *report)
{
	AUTO_JSON json_t *out = json_object(), *all = json_array();
	int n, r = for_each(dir, POLICY_ALL, ".lua", report, take_script, all);
	struct dirent **list = tenants_of(dir, &n, report);

	if (n < 0)
		return -1;
	json_object_set(out, POLICY_ALL, all);
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;
		json_t *scripts;

		if (is_dir(dir, name) && strcmp(name, POLICY_ALL)) {
			scripts = json_deep_copy(all);
			r |= for_each(dir, name, ".lua", report, take_script, scripts);
			json_object_set_new(out, name, scripts);
		} else if (ends_with(name, ".lua")) {
			buf_addf(report,
				 "%s/%s: put it into a folder of the tenant's name, or into %s for "
				 "all tenants\n",
				 dir, name, POLICY_ALL);
			r = -1;
		}
		free(list[i]);
	}
	free(list);
	*set = TAKE(out);
	return r ? -1 : 0;
}

int policy_dir_tests(const char *dir, json_t **tests, struct buf *report)
{
	struct test_reader t = { .report = report };
	struct dirent **list;
	int n;

	*tests = json_object();
	list = tenants_of(dir, &n, report);
	for (int i = 0; i < n; i++) {
		char sub[512];

		t.list = json_array();
		snprintf(sub, sizeof(sub), "%.255s/tests", list[i]->d_name);
		if (is_dir(dir, list[i]->d_name) &&
		    for_each(dir, sub, ".json", report, take_test, &t))
			t.result = -1;
		json_object_set_new(*tests, list[i]->d_name, t.list);
		free(list[i]);
	}
	free(list);
	return n < 0 || t.result ? -1 : 0;
}
