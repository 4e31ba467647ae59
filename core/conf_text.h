/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CONF_TEXT_H
#define CORE_CONF_TEXT_H

/*
 * The text of a configuration file with its "@include" lines replaced by the files that they
 * name, and for each line of it the file and line that it came from. Limits: 1 MiB for each file,
 * 4 MiB in all, 16 included files, none of which includes another, all in the folder (or below
 * it) of the file that includes them.
 */

#include "core/buf.h"

struct conf_text_file {
	char *path;
	bool included;
};

struct conf_text {
	struct buf text;
	struct conf_text_file *files;
	size_t n_files;
	struct conf_text_line {
		unsigned file, line;
	} *lines;
	size_t n_lines, cap_lines;
};

/* 0, or -1 with report filled. The caller ends it by conf_text_free() in both cases. */
int conf_text_read(const char *path, struct conf_text *t, struct buf *report);
void conf_text_free(struct conf_text *t);
/* File and line behind a line (from 1) of the text. */
const char *conf_text_where(const struct conf_text *t, unsigned line, unsigned *file_line);

#endif
