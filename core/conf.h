/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CONF_H
#define CORE_CONF_H

/*
 * Settings from a libconfig file by a table: parsing, --check-config, help and documentation come
 * from it. Every wrong setting is told at once, each with file, line, setting, what is allowed.
 */

#include "core/buf.h"
#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

enum conf_type { CONF_STR, CONF_INT, CONF_BOOL, CONF_STR_LIST, CONF_FILE, CONF_DIR, CONF_URL };

struct conf_setting {
	const char *name;      /* path, "plane.url" */
	enum conf_type type;
	const char *def;       /* default as text; NULL: none */
	int64_t min, max;      /* CONF_INT */
	bool required;
	bool reload;           /* may change while running */
	const char *doc;       /* one line */
};

struct conf; /* immutable once loaded; counted references */

/* Reads path; problems (all of them, one a line) go to report. 0, or -1 with report filled. */
int conf_load(const char *path, const struct conf_setting *table, size_t n, struct conf **out,
	      struct buf *report);
/* Also asks check about what goes beyond single values; what it adds to report refuses the file.
 * It is asked even when single values are wrong, so that everything is told at once: those read as
 * not set. */
typedef void (*conf_check)(const struct conf *c, struct buf *report);
int conf_load_checked(const char *path, const struct conf_setting *table, size_t n, conf_check check,
		      struct conf **out, struct buf *report);
/* Begins a problem: "FILE:LINE: setting NAME: ", without the line when the file does not set it. */
void conf_where(const struct conf *c, const char *name, struct buf *report);
struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf *c);
const char *conf_str(const struct conf *c, const char *name);  /* NULL: not set, no default */
int64_t conf_int(const struct conf *c, const char *name);
bool conf_bool(const struct conf *c, const char *name);
size_t conf_list_len(const struct conf *c, const char *name);
const char *conf_list_at(const struct conf *c, const char *name, size_t i);
/* Names of settings that differ and may not change while running go to report (may be empty). */
void conf_diff_fixed(const struct conf *a, const struct conf *b, struct buf *report);
void conf_document(const struct conf_setting *table, size_t n, struct buf *out);

#endif
