/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BUF_H
#define CORE_BUF_H

/* A growing byte buffer that knows its ceiling. Not thread-safe. Always zero-terminated after
 * the last byte (the zero is not counted), so data of an empty buffer is "". */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data;
	size_t len;
	size_t cap;
	size_t max;
	bool secret;   /* wiped when it grows or ends */
	bool overflow; /* an append would have passed max (or memory ended): latched, appends do nothing */
};

void buf_init(struct buf *b, size_t max);
void buf_init_secret(struct buf *b, size_t max);
void buf_free(struct buf *b); /* also leaves it as after buf_init with the same max */
void buf_reset(struct buf *b);
/* All return 0, or -1 with overflow set. */
int buf_add(struct buf *b, const void *data, size_t len);
int buf_adds(struct buf *b, const char *s);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t len); /* drops len bytes from the front */
char *buf_take(struct buf *b); /* the caller frees; NULL after an overflow */

#endif
