/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/error.h"
#include "core/utf8.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const class_names[] = {
#define X(id, name, doc) name,
	PCG_ERROR_CLASSES(X)
#undef X
};

const char *pcg_class_name(enum pcg_class class)
{
	return (unsigned)class < PCG_CLASS_COUNT ? class_names[class] : "bug";
}

bool pcg_class_parse(const char *name, enum pcg_class *class)
{
	for (int i = 0; name && i < PCG_CLASS_COUNT; i++) {
		if (strcmp(name, class_names[i]) == 0) {
			*class = i;
			return true;
		}
	}
	return false;
}

int pcg_error_code(const struct pcg_error *err)
{
	return -(1 + (int)err->class);
}

/* src may lie inside of out. */
static void put_text(char *out, size_t size, const char *src)
{
	size_t len = src ? strlen(src) : 0;

	len = src ? utf8_cut(src, len, size - 1) : 0;
	if (len)
		memmove(out, src, len);
	out[len] = 0;
}

/* Arguments may point into err: the text is made beside it, and one byte longer than fits, so
 * that put_text sees where the last character ends. */
static void __attribute__((format(printf, 2, 0)))
format_text(struct pcg_error *err, const char *fmt, va_list ap, const char *tail)
{
	char text[sizeof(err->text) + 8];
	size_t n;
	int r = vsnprintf(text, sizeof(text), fmt, ap);

	assert(r >= 0);
	n = (size_t)r < sizeof(text) ? (size_t)r : sizeof(text) - 1;
	if (tail)
		snprintf(text + n, sizeof(text) - n, ": %s", tail);
	put_text(err->text, sizeof(err->text), text);
}

int pcg_fail(struct pcg_error *err, enum pcg_class class, const char *remedy, const char *fmt, ...)
{
	int saved = errno;
	char keep[sizeof(err->remedy)];
	va_list ap;

	assert(err && (unsigned)class < PCG_CLASS_COUNT);
	put_text(keep, sizeof(keep), remedy);
	va_start(ap, fmt);
	format_text(err, fmt, ap, NULL);
	va_end(ap);
	memcpy(err->remedy, keep, sizeof(keep));
	err->class = class;
	errno = saved;
	return pcg_error_code(err);
}

int pcg_fail_prefix(struct pcg_error *err, const char *fmt, ...)
{
	int saved = errno;
	char before[sizeof(err->text)];
	va_list ap;

	memcpy(before, err->text, sizeof(before));
	va_start(ap, fmt);
	format_text(err, fmt, ap, before);
	va_end(ap);
	errno = saved;
	return pcg_error_code(err);
}

struct errno_row {
	int errnum;
	enum pcg_class class;
	const char *remedy;
};

static const struct errno_row errno_rows[] = {
	{ ENOENT, PCG_CLASS_NOT_FOUND, "check that the path is right" },
	{ EACCES, PCG_CLASS_PERMANENT, "check owner and mode of the file and of its folders" },
	{ EPERM, PCG_CLASS_PERMANENT, "check which user and capabilities the program runs with" },
	{ EROFS, PCG_CLASS_PERMANENT, "the file system is read-only: choose another place" },
	{ ENOTDIR, PCG_CLASS_PERMANENT, "check that the path is right" },
	{ EISDIR, PCG_CLASS_PERMANENT, "name a file, not a folder" },
	{ ELOOP, PCG_CLASS_PERMANENT, "check the symbolic links of the path" },
	{ ENAMETOOLONG, PCG_CLASS_PERMANENT, "choose a shorter path" },
	{ EADDRINUSE, PCG_CLASS_CONFLICT, "stop the program that listens there, or choose another address" },
	{ EADDRNOTAVAIL, PCG_CLASS_PERMANENT, "choose an address of this machine" },
	{ EEXIST, PCG_CLASS_CONFLICT, "" },
	{ ENOSPC, PCG_CLASS_QUOTA, "free space on the file system" },
	{ EDQUOT, PCG_CLASS_QUOTA, "free space, or raise the user's disk quota" },
	{ EMFILE, PCG_CLASS_QUOTA, "raise the limit of open files (LimitNOFILE, ulimit -n)" },
	{ ENFILE, PCG_CLASS_QUOTA, "raise the system's limit of open files (fs.file-max)" },
	{ EBADF, PCG_CLASS_BUG, "" },
	{ EFAULT, PCG_CLASS_BUG, "" },
	{ EINVAL, PCG_CLASS_BUG, "" },
	{ ENOTSOCK, PCG_CLASS_BUG, "" },
	{ ENOSYS, PCG_CLASS_PERMANENT, "run it on a newer kernel" },
	{ ECANCELED, PCG_CLASS_CANCELLED, "" },
};

int pcg_fail_errno(struct pcg_error *err, int errnum, const char *fmt, ...)
{
	int saved = errno;
	char why[128];
	va_list ap;

	assert(err);
	err->class = PCG_CLASS_RETRY;
	err->remedy[0] = 0;
	for (size_t i = 0; i < sizeof(errno_rows) / sizeof(errno_rows[0]); i++) {
		if (errno_rows[i].errnum == errnum) {
			err->class = errno_rows[i].class;
			put_text(err->remedy, sizeof(err->remedy), errno_rows[i].remedy);
		}
	}
	va_start(ap, fmt);
	format_text(err, fmt, ap, strerror_r(errnum, why, sizeof(why)));
	va_end(ap);
	errno = saved;
	return pcg_error_code(err);
}
