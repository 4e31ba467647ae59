/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_MANIFEST_H
#define HOST_CAPI_MANIFEST_H

/*
 * The objects of a YAML text, read once for all clusters that install the same text at the same
 * time: a bundle is megabytes, and as a tree ten times that. Any thread. Lives as long as somebody
 * holds it, then it is wiped: a text may hold credentials.
 */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"

#define MANIFEST_MAX (32 * 1024 * 1024)

struct manifest;

/* What is done to a text that is met the first time, before others see its objects. */
struct manifest_making {
	int (*expand)(const void *arg, const char *text, size_t len, struct buf *out,
		      struct pcg_error *err); /* may be NULL: the text is what is read */
	void (*prepare)(json_t *objects, const void *arg);
	const void *arg;
};

/* making may be NULL; kind tells texts apart that are made into objects in different ways. what names the text in errors. */
int manifest_get(const char *kind, const char *text, size_t len, const char *what,
		 const struct manifest_making *making, struct manifest **out, struct pcg_error *err);
void manifest_put(struct manifest *m); /* NULL is fine */
/* An array that nobody may change; what was taken from it goes before manifest_put. */
const json_t *manifest_objects(const struct manifest *m);
/* Of an element of that array as JSON, made once; NULL: it is none. */
const char *manifest_text(const struct manifest *m, const json_t *object, size_t *len);

#endif
