/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/buf.h"
#include "core/attr.h"
#include "core/secret.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* data of a buffer that owns no memory (cap 0); never written. */
static char nothing[1];

void buf_init(struct buf *b, size_t max)
{
	assert(max > 0 && max < SIZE_MAX / 4);
	*b = (struct buf){ .data = nothing, .max = max };
}

void buf_init_secret(struct buf *b, size_t max)
{
	buf_init(b, max);
	b->secret = true;
}

void buf_free(struct buf *b)
{
	if (b->cap) {
		if (b->secret)
			secret_wipe(b->data, b->cap);
		free(b->data);
	}
	b->data = nothing;
	b->len = b->cap = 0;
	b->overflow = false;
}

void buf_reset(struct buf *b)
{
	if (b->cap) {
		if (b->secret)
			secret_wipe(b->data, b->cap);
		b->data[0] = 0;
	}
	b->len = 0;
	b->overflow = false;
}

static int fail(struct buf *b)
{
	b->overflow = true;
	return -1;
}

/* Room for len more bytes and the zero. */
static int grow(struct buf *b, size_t len)
{
	size_t need, cap;
	char *p;

	if (b->overflow || len > b->max || b->len > b->max - len)
		return fail(b);
	need = b->len + len + 1;
	if (need <= b->cap)
		return 0;
	cap = b->cap ? b->cap : 64;
	while (cap < need)
		cap *= 2;
	if (cap > b->max + 1)
		cap = b->max + 1;
	if (b->secret || !b->cap) {
		p = malloc(cap);
		if (!p)
			return fail(b);
		memcpy(p, b->data, b->len + 1);
		if (b->cap) {
			secret_wipe(b->data, b->cap);
			free(b->data);
		}
	} else {
		p = realloc(b->data, cap);
		if (!p)
			return fail(b);
	}
	b->data = p;
	b->cap = cap;
	return 0;
}

int buf_add(struct buf *b, const void *data, size_t len)
{
	if (len == 0)
		return b->overflow ? -1 : 0;
	if (grow(b, len))
		return -1;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = 0;
	return 0;
}

int buf_adds(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	assert(n >= 0);
	if (grow(b, (size_t)n))
		return -1;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

void buf_consume(struct buf *b, size_t len)
{
	size_t rest;

	assert(len <= b->len);
	if (len == 0)
		return;
	rest = b->len - len;
	memmove(b->data, b->data + len, rest);
	if (b->secret)
		secret_wipe(b->data + rest, len);
	b->len = rest;
	b->data[rest] = 0;
}

char *buf_take(struct buf *b)
{
	char *p;

	if (b->overflow) {
		buf_free(b);
		return NULL;
	}
	p = b->cap ? b->data : strdup("");
	assert(p);
	b->data = nothing;
	b->len = b->cap = 0;
	return p;
}
