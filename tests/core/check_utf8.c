/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "core/attr.h"
#include "core/utf8.h"

#include "tests/core/unit.h"

static const struct {
	const char *text, *shown;
} terminal_rows[] = {
	{ "", "" },
	{ "a cluster", "a cluster" },
	{ "z\xc3\xbcrich \xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x98\x80",
	  "z\xc3\xbcrich \xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x98\x80" },
	{ "two\nlines", "two lines" },
	{ "a\x1b[31mred", "a?[31mred" },
	{ "bell\a tab\t cr\r del\x7f", "bell? tab? cr? del?" },
	/* the control sequence introducer in one character */
	{ "a\xc2\x9b" "2Jb", "a?2Jb" },
	{ "\xc2\xa0", "\xc2\xa0" },
	/* what follows is shown from right to left */
	{ "x\xe2\x80\xae" "cod.exe", "x?cod.exe" },
	{ "x\xe2\x81\xa6y\xe2\x81\xa9", "x?y?" },
	{ "line\xe2\x80\xa8separator", "line?separator" },
	{ "\xff\xc3", "??" },
	{ "\xc0\x9b", "??" },
};

START_TEST(a_text_cannot_command_a_terminal)
{
	AUTO_FREE char *s = strdup(terminal_rows[_i].text);

	utf8_for_terminal(s);
	ck_assert_str_eq(s, terminal_rows[_i].shown);
}
END_TEST

static char *format(size_t max, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static char *format(size_t max, const char *fmt, ...)
{
	va_list ap;
	char *out;

	va_start(ap, fmt);
	out = utf8_format(max, fmt, ap);
	va_end(ap);
	return out;
}

#define E "\xc3\xa9"
#define EURO "\xe2\x82\xac"
#define FACE "\xf0\x9f\x98\x80"

START_TEST(a_text_is_cut_between_characters)
{
	static const struct {
		const char *arg;
		int precision;
		size_t max;
		const char *wanted;
	} rows[] = {
		{ "abc", 64, 64, "'abc' is none" },
		{ "a" E E, 4, 64, "'a" E "' is none" },
		{ "a" E E, 5, 64, "'a" E E "' is none" },
		{ EURO EURO, 4, 64, "'" EURO "' is none" },
		{ EURO EURO, 5, 64, "'" EURO "' is none" },
		{ FACE FACE, 7, 64, "'" FACE "' is none" },
		{ E E E, 64, 4, "'" E },
		{ E E E, 64, 5, "'" E E },
		{ "x\xff", 64, 64, "'x\xef\xbf\xbd' is none" },
		{ "x\xc0\x80", 64, 64, "'x\xef\xbf\xbd\xef\xbf\xbd' is none" },
		{ "", 64, 64, "'' is none" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *text = format(rows[i].max, "'%.*s' is none", rows[i].precision, rows[i].arg);

		ck_assert_str_eq(text, rows[i].wanted);
		ck_assert(utf8_valid(text, strlen(text)));
	}
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_text_is_cut_between_characters);
	tcase_add_loop_test(tc, a_text_cannot_command_a_terminal, 0, ARRAY_LEN(terminal_rows));
}

int main(void)
{
	return unit_main("core/utf8", add);
}
