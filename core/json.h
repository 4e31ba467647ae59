/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_JSON_H
#define CORE_JSON_H

/* Small helpers over jansson. Paths are "a.b.c"; array elements by number: "items.0.name". */

#include "core/attr.h"
#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64

/* Parses with duplicates refused and depth and size limited (JSON_DEPTH_MAX unless jansson's is lower). what names the source in errors. */
int json_parse(const char *text, size_t len, const char *what, json_t **out, struct pcg_error *err);
int json_parse_within(const char *text, size_t len, int max_depth, const char *what, json_t **out,
		      struct pcg_error *err);
int json_depth(const json_t *j); /* levels of objects and arrays; 0: it is neither */
json_t *json_at(const json_t *root, const char *path);             /* borrowed; NULL when absent */
const char *json_str(const json_t *root, const char *path);       /* NULL when absent or no string */
const char *json_str_or(const json_t *root, const char *path, const char *def);
int64_t json_int_or(const json_t *root, const char *path, int64_t def);
bool json_bool_or(const json_t *root, const char *path, bool def);
/* Sets with parents made as objects, also in place of one that cannot have what follows in path (text, or an array where path
 * has a name); root itself must be able to. Steals value. */
void json_put(json_t *root, const char *path, json_t *value);
void json_put_str(json_t *root, const char *path, const char *value); /* NULL value: nothing */
void json_add(json_t *list, json_t *value); /* appends, steals value; NULL is a programmer's error */
char *json_text(const json_t *j);         /* compact, sorted keys; caller frees; never NULL */
char *json_text_secret(const json_t *j, size_t *len); /* compact, keys as they came; caller wipes (secret_wipe) and frees */
/* The same in a buffer of room bytes to begin with: what does not fit is written a second time. */
char *json_text_large(const json_t *j, size_t room, size_t *len);
json_t *json_from_error(const struct pcg_error *err); /* {class, text, remedy} */
void json_to_error(const json_t *j, struct pcg_error *err);
/* Overwrites every string below j with zeros before the last reference goes (best effort for documents that held secrets), then decref. */
void json_wipe(json_t *j);

#endif
