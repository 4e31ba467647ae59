/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/base64.h"

#include "core/attr.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
	const uint8_t *in = data;
	char *out, *p;

	assert(len < SIZE_MAX / 2);
	out = p = malloc((len + 2) / 3 * 4 + 1);
	assert(out);
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
			     (left > 2 ? in[i + 2] : 0u);

		*p++ = letters[v >> 18];
		*p++ = letters[v >> 12 & 63];
		*p++ = left > 1 ? letters[v >> 6 & 63] : '=';
		*p++ = left > 2 ? letters[v & 63] : '=';
	}
	*p = 0;
	return out;
}

static int value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

uint8_t *base64_decode(const char *text, size_t len, size_t *out_len)
{
	size_t pad = 0, n = 0;
	AUTO_FREE uint8_t *out = NULL;

	if (len % 4)
		return NULL;
	while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
		pad++;
	out = malloc(len / 4 * 3 + 1);
	assert(out);
	for (size_t i = 0; i < len; i += 4) {
		size_t chars = i + 4 == len ? 4 - pad : 4;
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = k < chars ? value(text[i + k]) : 0;

			if (d < 0)
				return NULL;
			v = v << 6 | (uint32_t)d;
		}
		/* Bits under the padding must be zero: one value, one text. */
		if ((chars == 2 && (v & 0xffff)) || (chars == 3 && (v & 0xff)))
			return NULL;
		out[n++] = (uint8_t)(v >> 16);
		if (chars > 2)
			out[n++] = (uint8_t)(v >> 8);
		if (chars > 3)
			out[n++] = (uint8_t)v;
	}
	out[n] = 0;
	*out_len = n;
	return TAKE(out);
}
