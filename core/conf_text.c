/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/conf_text.h"
#include "core/attr.h"
#include "core/utf8.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX_BYTES (1u << 20)
#define ALL_MAX_BYTES (4u << 20)
#define INCLUDES_MAX 16

/* Where an @include counts and where it is only a piece of text or of a comment. */
enum place { IN_CODE, IN_TEXT, IN_COMMENT };

static int read_file(const char *path, const char *from, struct buf *out, struct buf *report)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char piece[8192];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st)) {
		buf_addf(report, "%s%s: cannot be read: %s; allowed: a file that this user may read\n", from,
			 path, strerror(errno));
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		buf_addf(report, "%s%s: is not a regular file; allowed: a configuration file\n", from, path);
		return -1;
	}
	do {
		n = read(fd, piece, sizeof(piece));
		if (n > 0)
			buf_add(out, piece, (size_t)n);
	} while (!out->overflow && (n > 0 || (n < 0 && errno == EINTR)));
	if (out->overflow) {
		buf_addf(report, "%s%s: is too large; allowed: at most %u bytes\n", from, path, FILE_MAX_BYTES);
		return -1;
	}
	if (n < 0) {
		buf_addf(report, "%s%s: cannot be read: %s\n", from, path, strerror(errno));
		return -1;
	}
	return 0;
}

static void add_line(struct conf_text *t, const char *s, size_t len, unsigned file, unsigned line)
{
	buf_add(&t->text, s, len);
	buf_add(&t->text, "\n", 1);
	if (t->n_lines == t->cap_lines) {
		t->cap_lines = t->cap_lines ? t->cap_lines * 2 : 256;
		t->lines = realloc(t->lines, t->cap_lines * sizeof(*t->lines));
		assert(t->lines);
	}
	t->lines[t->n_lines++] = (struct conf_text_line){ file, line };
}

static enum place scan(const char *s, size_t len, enum place at)
{
	for (size_t i = 0; i < len; i++) {
		char c = s[i], next = i + 1 < len ? s[i + 1] : 0;

		if (at == IN_TEXT) {
			if (c == '\\')
				i++;
			else if (c == '"')
				at = IN_CODE;
		} else if (at == IN_COMMENT) {
			if (c == '*' && next == '/')
				at = IN_CODE, i++;
		} else if (c == '#' || (c == '/' && next == '/')) {
			break;
		} else if (c == '"') {
			at = IN_TEXT;
		} else if (c == '/' && next == '*') {
			at = IN_COMMENT, i++;
		}
	}
	return at;
}

static bool is_include(const char *s, size_t len, const char **rest, size_t *rest_len)
{
	static const char word[] = "@include";

	while (len > 0 && (*s == ' ' || *s == '\t'))
		s++, len--;
	if (len < sizeof(word) - 1 || memcmp(s, word, sizeof(word) - 1) != 0)
		return false;
	*rest = s + sizeof(word) - 1;
	*rest_len = len - (sizeof(word) - 1);
	return true;
}

/* The name between quotes; NULL when the line holds anything else. */
static char *include_name(const char *s, size_t len)
{
	size_t end;

	while (len > 0 && (*s == ' ' || *s == '\t'))
		s++, len--;
	while (len > 0 && strchr(" \t\r", s[len - 1]))
		len--;
	if (len < 3 || s[0] != '"' || s[len - 1] != '"')
		return NULL;
	end = len - 2;
	if (memchr(s + 1, '"', end) || memchr(s + 1, '\\', end))
		return NULL;
	return strndup(s + 1, end);
}

static bool stays_below(const char *name)
{
	if (name[0] == '/')
		return false;
	for (const char *p = name; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
		if (p[0] == '.' && p[1] == '.' && (p[2] == '/' || p[2] == 0))
			return false;
	return true;
}

static int add_file(struct conf_text *t, const char *path, const char *from, bool included,
		    struct buf *report);

static int add_include(struct conf_text *t, unsigned file, unsigned line, const char *rest, size_t len,
		       struct buf *report)
{
	const char *path = t->files[file].path, *slash = strrchr(path, '/');
	AUTO_FREE char *name = include_name(rest, len), *full = NULL, *from = NULL;
	const char *why = NULL;

	if (!name)
		why = "is not understood; allowed: @include \"NAME\" alone on its line";
	else if (t->files[file].included)
		why = "stands in an included file; allowed: only in the main file";
	else if (t->n_files > INCLUDES_MAX)
		why = "is one too many; allowed: 16 included files";
	else if (!stays_below(name))
		why = "leaves the folder; allowed: a file in the folder of this one, or below it";
	if (why) {
		buf_addf(report, "%s:%u: @include %s\n", path, line, why);
		return -1;
	}
	if (asprintf(&full, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, name) < 0 ||
	    asprintf(&from, "%s:%u: @include ", path, line) < 0)
		abort();
	return add_file(t, full, from, true, report);
}

static int check_bytes(const char *path, const char *s, size_t len, unsigned line, struct buf *report)
{
	if (memchr(s, 0, len))
		buf_addf(report, "%s:%u: a zero byte; allowed: UTF-8 text\n", path, line);
	else if (!utf8_valid(s, len))
		buf_addf(report, "%s:%u: bytes that are not UTF-8; allowed: UTF-8 text\n", path, line);
	else
		return 0;
	return -1;
}

static int add_lines(struct conf_text *t, unsigned file, const struct buf *in, struct buf *report)
{
	enum place at = IN_CODE;
	unsigned line = 1;
	int r = 0;

	for (size_t i = 0; i < in->len && !t->text.overflow; line++) {
		const char *s = in->data + i, *rest, *end = memchr(s, '\n', in->len - i);
		size_t len = end ? (size_t)(end - s) : in->len - i, rest_len;

		i += len + 1;
		if (check_bytes(t->files[file].path, s, len, line, report))
			return -1;
		if (at == IN_CODE && is_include(s, len, &rest, &rest_len)) {
			r |= add_include(t, file, line, rest, rest_len, report);
			continue;
		}
		at = scan(s, len, at);
		add_line(t, s, len, file, line);
	}
	if (at != IN_CODE) {
		buf_addf(report, "%s:%u: a %s has no end\n", t->files[file].path, line - 1,
			 at == IN_TEXT ? "text in quotes" : "comment");
		return -1;
	}
	return r;
}

static int add_file(struct conf_text *t, const char *path, const char *from, bool included,
		    struct buf *report)
{
	unsigned file = (unsigned)t->n_files++;
	struct buf in;
	int r;

	t->files[file] = (struct conf_text_file){ strdup(path), included };
	assert(t->files[file].path);
	buf_init_secret(&in, FILE_MAX_BYTES);
	r = read_file(path, from, &in, report);
	if (!r)
		r = add_lines(t, file, &in, report);
	buf_free(&in);
	return r;
}

int conf_text_read(const char *path, struct conf_text *t, struct buf *report)
{
	int r;

	*t = (struct conf_text){ 0 };
	buf_init_secret(&t->text, ALL_MAX_BYTES);
	t->files = calloc(INCLUDES_MAX + 1, sizeof(*t->files));
	assert(t->files);
	r = add_file(t, path, "", false, report);
	if (t->text.overflow) {
		buf_addf(report, "%s: is too large with all that it includes; allowed: at most %u bytes\n",
			 path, ALL_MAX_BYTES);
		r = -1;
	}
	return r ? -1 : 0;
}

void conf_text_free(struct conf_text *t)
{
	buf_free(&t->text);
	for (size_t i = 0; i < t->n_files; i++)
		free(t->files[i].path);
	free(t->files);
	free(t->lines);
	*t = (struct conf_text){ 0 };
}

const char *conf_text_where(const struct conf_text *t, unsigned line, unsigned *file_line)
{
	const struct conf_text_line *l;

	if (t->n_lines == 0) {
		*file_line = 1;
		return t->files[0].path;
	}
	/* A fault at the end of the text is told one line past the last. */
	l = &t->lines[line == 0 ? 0 : line > t->n_lines ? t->n_lines - 1 : line - 1];
	*file_line = l->line;
	return t->files[l->file].path;
}
