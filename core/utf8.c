/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/attr.h"
#include "core/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t utf8_char(const char *s, size_t len, uint32_t *cp)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *u = (const unsigned char *)s;
	uint32_t c;
	size_t n;

	if (len == 0)
		return 0;
	if (u[0] < 0x80)
		c = u[0], n = 1;
	else if ((u[0] & 0xe0) == 0xc0)
		c = u[0] & 0x1f, n = 2;
	else if ((u[0] & 0xf0) == 0xe0)
		c = u[0] & 0x0f, n = 3;
	else if ((u[0] & 0xf8) == 0xf0)
		c = u[0] & 0x07, n = 4;
	else
		return 0;
	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (u[i] & 0x3f);
	}
	if (n > 1 && (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)))
		return 0;
	if (cp)
		*cp = c;
	return n;
}

bool utf8_valid(const char *s, size_t len)
{
	while (len > 0) {
		size_t n = utf8_char(s, len, NULL);

		if (n == 0)
			return false;
		s += n;
		len -= n;
	}
	return true;
}

size_t utf8_cut(const char *s, size_t len, size_t max)
{
	size_t n = max, back = 0;

	if (len <= max)
		return len;
	while (n > 0 && back < 3 && ((unsigned char)s[n] & 0xc0) == 0x80)
		n--, back++;
	/* Stray continuation bytes belong to no character: cutting among them harms nothing. */
	return ((unsigned char)s[n] & 0xc0) == 0x80 ? max : n;
}

static bool commands_terminal(uint32_t cp)
{
	return cp < ' ' || (cp >= 0x7f && cp < 0xa0) || cp == 0x200e || cp == 0x200f ||
	       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

void utf8_for_terminal(char *s)
{
	size_t len = strlen(s);
	char *out = s;

	while (len > 0) {
		uint32_t cp;
		size_t n = utf8_char(s, len, &cp);

		if (n && !commands_terminal(cp)) {
			memmove(out, s, n);
			out += n;
		} else {
			*out++ = n && cp == '\n' ? ' ' : '?';
		}
		s += n ? n : 1;
		len -= n ? n : 1;
	}
	*out = 0;
}

char *utf8_repair(const char *s, size_t len)
{
	char *out = malloc(len * 3 + 1), *p = out;

	assert(out);
	while (len > 0) {
		size_t n = utf8_char(s, len, NULL);

		if (n > 0) {
			memcpy(p, s, n);
			p += n;
		} else {
			memcpy(p, "\xef\xbf\xbd", 3);
			p += 3;
			n = 1;
		}
		s += n;
		len -= n;
	}
	*p = 0;
	return out;
}

/* How many bytes there are of a character whose end is missing; 0: they are none. */
static size_t cut_char(const char *s)
{
	unsigned char lead = (unsigned char)*s;
	size_t whole = lead >= 0xf0 && lead < 0xf5 ? 4 : lead >= 0xe0 ? 3 : 2, n = 1;

	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	while (((unsigned char)s[n] & 0xc0) == 0x80)
		n++;
	return n < whole ? n : 0;
}

static void drop_cut(char *s)
{
	char *out = s;

	while (*s) {
		size_t n = utf8_char(s, strnlen(s, 4), NULL), cut = n ? 0 : cut_char(s);

		n = n ? n : 1;
		if (!cut) {
			memmove(out, s, n);
			out += n;
		}
		s += cut ? cut : n;
	}
	*out = 0;
}

char *utf8_format(size_t max, const char *fmt, va_list ap)
{
	AUTO_FREE char *raw = NULL;
	char *out;
	int n = vasprintf(&raw, fmt, ap);

	assert(n >= 0);
	if ((size_t)n > max + 4)
		raw[max + 4] = 0;
	drop_cut(raw);
	out = utf8_repair(raw, strlen(raw));
	out[utf8_cut(out, strlen(out), max)] = 0;
	return out;
}
