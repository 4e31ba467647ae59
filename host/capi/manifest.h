/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_MANIFEST_H
#define HOST_CAPI_MANIFEST_H

/*
 * The objects of a YAML text, read once for all clusters that install the same text at the same
 * time: a bundle is megabytes, and as a tree ten times that. Any thread. Lives as long as somebody
 * holds it, then it is wiped: a text may hold credentials.
 */

#include "core/error.h"
#include "core/json.h"

struct manifest;

/* prepare (may be NULL) changes what was read, once, before others see it; kind tells texts apart
 * that are prepared in different ways. what names the text in errors. */
int manifest_get(const char *kind, const char *text, size_t len, const char *what,
		 void (*prepare)(json_t *objects, const void *arg), const void *arg,
		 struct manifest **out, struct pcg_error *err);
void manifest_put(struct manifest *m); /* NULL is fine */
/* An array that nobody may change; what was taken from it goes before manifest_put. */
const json_t *manifest_objects(const struct manifest *m);
/* Of an element of that array as JSON, made once; NULL: it is none. */
const char *manifest_text(const struct manifest *m, const json_t *object, size_t *len);

#endif
