/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_UTF8_H
#define CORE_UTF8_H

/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing past U+10FFFF. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the character at s (1 to 4), 0 when the bytes there are none. cp may be NULL. */
size_t utf8_char(const char *s, size_t len, uint32_t *cp);
bool utf8_valid(const char *s, size_t len);
/* The longest prefix of at most max bytes that does not cut a character. */
size_t utf8_cut(const char *s, size_t len, size_t max);
/* A copy in which every wrong byte is U+FFFD. The caller frees; never NULL. */
char *utf8_repair(const char *s, size_t len);
/* As vasprintf, and always UTF-8 of at most max bytes: of a character that a precision (%.64s) or max cuts nothing is left,
 * other wrong bytes are U+FFFD. The caller frees; never NULL. */
char *utf8_format(size_t max, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Makes a text one line that a terminal only shows: what would command it (control characters, also
 * those above U+007F), or turn the direction of what follows, and wrong bytes become '?', a newline
 * a space. In place; the text gets no longer. */
void utf8_for_terminal(char *s);

#endif
