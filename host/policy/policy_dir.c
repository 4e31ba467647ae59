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
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TESTS "tests"
#define READINGS_MAX 5

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

static char *fail_text(const char *path, struct buf *report)
{
	buf_addf(report, "%s: cannot be read: %s\n", path,
		 errno == ELOOP ? "it is a symbolic link; put the file itself there"
				: strerror(errno));
	return NULL;
}

/* As many bytes as the file had when it was looked at; one that grows is noticed by the second
 * reading. */
static char *read_all(int fd, size_t size, size_t *len)
{
	AUTO_FREE char *text = calloc(1, size + 1);
	ssize_t n = 0;

	for (*len = 0; text && *len < size; *len += (size_t)n) {
		n = read(fd, text + *len, size - *len);
		if (n <= 0)
			break;
	}
	return n < 0 ? NULL : TAKE(text);
}

/* Not blocking: a FIFO must not hold the reader up. */
static char *read_text(const char *path, struct buf *report)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	AUTO_FREE char *text = NULL;
	struct stat st;
	size_t n;

	if (fd < 0 || fstat(fd, &st))
		return fail_text(path, report);
	if (!S_ISREG(st.st_mode) || st.st_size > POLICY_FILE_MAX) {
		buf_addf(report, "%s: allowed: a regular file of at most %u bytes\n", path,
			 POLICY_FILE_MAX);
		return NULL;
	}
	if (st.st_mode & S_IWOTH) {
		buf_addf(report, "%s: writable by everybody; chmod o-w it\n", path);
		return NULL;
	}
	text = read_all(fd, (size_t)st.st_size, &n);
	if (!text)
		return fail_text(path, report);
	if (!utf8_valid(text, n) || strlen(text) != n) {
		buf_addf(report, "%s: not a text in UTF-8 (compiled Lua is not accepted)\n", path);
		return NULL;
	}
	return TAKE(text);
}

/* Names stand in documents and messages. */
static bool name_allowed(const char *dir, const char *name, struct buf *report)
{
	AUTO_FREE char *shown = utf8_repair(name, strlen(name));
	bool fine = utf8_valid(name, strlen(name));

	for (const char *c = name; *c; c++)
		fine &= (unsigned char)*c >= ' ' && *c != 127;
	if (!fine)
		buf_addf(report, "%s: a name with bytes that are not UTF-8 text: %s\n", dir, shown);
	return fine;
}

static char *path_of(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		abort();
	return path;
}

/* 1: a folder; 0: something else; -1: one that is not fit, told. Links are not followed: what a
 * dangling one was to add would silently be missing. */
static int is_dir(const char *path, struct buf *report)
{
	struct stat st;

	if (lstat(path, &st) || S_ISLNK(st.st_mode)) {
		buf_addf(report,
			 "%s: a symbolic link, or it cannot be read; put the folder itself there\n",
			 path);
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return 0;
	if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX)) {
		buf_addf(report, "%s: writable by everybody; chmod o-w it\n", path);
		return -1;
	}
	return 1;
}

typedef void take_file(void *arg, const char *name, const char *text);

static int take_entry(const char *dir, const char *sub, const char *entry, const char *ending,
		      struct buf *report, take_file *take, void *arg)
{
	AUTO_FREE char *name = path_of(sub, entry), *file = path_of(dir, name), *text = NULL;

	if (!name_allowed(dir, name, report))
		return -1;
	if (!ends_with(entry, ending)) {
		int folder = strcmp(entry, TESTS) ? is_dir(file, report) : 0;

		if (folder > 0)
			buf_addf(report, "%s: a folder of a tenant has no folder but " TESTS "\n",
				 file);
		return folder ? -1 : 0;
	}
	text = read_text(file, report);
	if (!text)
		return -1;
	take(arg, name, text);
	return 0;
}

static int for_each(const char *dir, const char *sub, const char *ending, struct buf *report,
		    take_file *take, void *arg)
{
	AUTO_FREE char *path = path_of(dir, sub);
	struct dirent **list = NULL;
	int n, r = 0;

	n = scandir(path, &list, visible, by_name);
	if (n < 0) {
		if (errno == ENOENT)
			return 0;
		buf_addf(report, "%s: cannot be read: %s\n", path, strerror(errno));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		r |= take_entry(dir, sub, list[i]->d_name, ending, report, take, arg);
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

static bool test_fits(const json_t *t)
{
	return json_str(t, "hook") && policy_hook_known(json_str(t, "hook")) &&
	       json_is_object(json_object_get(t, "input")) &&
	       (json_object_get(t, "expect") || json_str(t, "expectError"));
}

static void take_one_test(struct test_reader *t, const char *file, json_t *doc)
{
	AUTO_FREE char *label = NULL;

	if (!test_fits(doc)) {
		buf_addf(t->report,
			 "%s: a test is {\"name\": text, \"hook\": admission, ca_bundle, proxy or "
			 "node_bootstrap, \"input\": {...}, \"expect\": {...} or null, or "
			 "\"expectError\": text}, or a list of such\n",
			 file);
		t->result = -1;
		return;
	}
	if (asprintf(&label, "%s%s%s", file, json_str(doc, "name") ? ": " : "",
		     json_str_or(doc, "name", "")) < 0)
		abort();
	json_object_set_new(doc, "file", json_string(label));
	json_array_append(t->list, doc);
}

static void take_test(void *arg, const char *name, const char *text)
{
	struct test_reader *t = arg;
	AUTO_JSON json_t *doc = NULL;
	struct pcg_error err;
	json_t *one;
	size_t i;

	if (json_parse(text, strlen(text), name, &doc, &err)) {
		buf_addf(t->report, "%s\n", err.text);
		t->result = -1;
		return;
	}
	if (!json_is_array(doc))
		take_one_test(t, name, doc);
	json_array_foreach (doc, i, one)
		take_one_test(t, name, one);
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

static size_t bytes_of(const json_t *scripts)
{
	size_t bytes = 0, i;
	json_t *s;

	json_array_foreach (scripts, i, s)
		bytes += strlen(json_str_or(s, "text", ""));
	return bytes;
}

static int take_tenant(const char *dir, const char *name, const json_t *all, struct buf *report,
		       json_t *out)
{
	AUTO_FREE char *path = path_of(dir, name);
	int folder = name_allowed(dir, name, report) ? is_dir(path, report) : -1, r = 0;
	json_t *scripts;

	if (folder > 0 && strcmp(name, POLICY_ALL)) {
		scripts = json_deep_copy(all);
		r = for_each(dir, name, ".lua", report, take_script, scripts);
		if (bytes_of(scripts) > POLICY_SET_MAX) {
			buf_addf(report, "%s: its scripts have more than %u bytes\n", path,
				 POLICY_SET_MAX);
			r = -1;
		}
		json_object_set_new(out, name, scripts);
	} else if (!folder && ends_with(name, ".lua")) {
		buf_addf(report,
			 "%s: put it into a folder of the tenant's uid or name, or into %s for all "
			 "tenants\n",
			 path, POLICY_ALL);
		r = -1;
	}
	return folder < 0 ? -1 : r;
}

static int read_once(const char *dir, json_t **set, struct buf *report)
{
	AUTO_JSON json_t *out = json_object(), *all = json_array();
	struct dirent **list;
	int n, r;

	*set = NULL;
	list = tenants_of(dir, &n, report);
	if (n < 0)
		return -1;
	r = for_each(dir, POLICY_ALL, ".lua", report, take_script, all);
	json_object_set(out, POLICY_ALL, all);
	for (int i = 0; i < n; i++) {
		r |= take_tenant(dir, list[i]->d_name, all, report, out);
		free(list[i]);
	}
	free(list);
	*set = TAKE(out);
	return r ? -1 : 0;
}

/* Twice the same, so that a folder is not taken up while somebody copies into it. */
int policy_dir_read(const char *dir, json_t **set, struct buf *report)
{
	json_t *again;
	struct buf ignored;

	*set = NULL;
	if (!*dir) {
		*set = json_pack("{s:[]}", POLICY_ALL);
		return 0;
	}
	if (read_once(dir, set, report))
		return -1;
	for (int i = 0; i < READINGS_MAX; i++) {
		bool same;
		int r;

		buf_init(&ignored, 1u << 20);
		r = read_once(dir, &again, &ignored);
		buf_free(&ignored);
		/* What could not be read is not in it: two such readings agree too. */
		same = !r && json_equal(*set, again);
		json_decref(*set);
		*set = again;
		if (same)
			return 0;
	}
	buf_addf(report, "%s: it changes while it is read; try again when that is over\n", dir);
	return -1;
}

int policy_dir_tests(const char *dir, json_t **tests, struct buf *report)
{
	struct test_reader t = {.report = report};
	struct dirent **list;
	int n;

	*tests = json_object();
	list = tenants_of(dir, &n, report);
	for (int i = 0; i < n; i++) {
		AUTO_FREE char *sub = path_of(list[i]->d_name, TESTS);
		AUTO_FREE char *path = path_of(dir, sub);
		struct stat st;

		t.list = json_array();
		if (!lstat(path, &st) && for_each(dir, sub, ".json", report, take_test, &t))
			t.result = -1;
		json_object_set_new(*tests, list[i]->d_name, t.list);
		free(list[i]);
	}
	free(list);
	return n < 0 || t.result ? -1 : 0;
}
