/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/error.h"
#include "core/utf8.h"
#include "tests/core/unit.h"

#include <errno.h>

START_TEST(every_class_has_a_name_that_parses_back)
{
	enum pcg_class class = PCG_CLASS_COUNT;

	ck_assert(pcg_class_parse(pcg_class_name(_i), &class));
	ck_assert_int_eq(class, _i);
}
END_TEST

START_TEST(refuses_class_that_is_none)
{
	enum pcg_class class;

	ck_assert(!pcg_class_parse("retry ", &class));
	ck_assert(!pcg_class_parse("", &class));
	ck_assert(!pcg_class_parse(NULL, &class));
}
END_TEST

START_TEST(failure_returns_the_code_of_its_class_and_keeps_errno)
{
	struct pcg_error err;

	errno = EXDEV;
	ck_assert_int_eq(pcg_fail(&err, PCG_CLASS_QUOTA, "do this", "cloning %s: %d", "vm", 7), PCG_EQUOTA);
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_str_eq(err.text, "cloning vm: 7");
	ck_assert_str_eq(err.remedy, "do this");
	ck_assert_int_eq(pcg_error_code(&err), PCG_EQUOTA);
	ck_assert_int_eq(pcg_fail(&err, PCG_CLASS_BUG, NULL, "x"), PCG_EBUG);
	ck_assert_str_eq(err.remedy, "");
}
END_TEST

START_TEST(failure_may_quote_the_error_that_it_fills)
{
	struct pcg_error err;

	pcg_fail(&err, PCG_CLASS_AUTH, "renew it", "login");
	pcg_fail(&err, PCG_CLASS_RETRY, err.remedy, "outer (%s)", err.text);
	ck_assert_str_eq(err.text, "outer (login)");
	ck_assert_str_eq(err.remedy, "renew it");
}
END_TEST

START_TEST(prefix_stands_before_the_text_and_keeps_class_and_remedy)
{
	struct pcg_error err;

	pcg_fail(&err, PCG_CLASS_CONFLICT, "wait", "taken");
	ck_assert_int_eq(pcg_fail_prefix(&err, "machine %s", "m1"), PCG_ECONFLICT);
	ck_assert_str_eq(err.text, "machine m1: taken");
	ck_assert_str_eq(err.remedy, "wait");
}
END_TEST

START_TEST(long_text_is_cut_between_characters)
{
	struct pcg_error err;
	char text[2000];

	/* _i shifts where the two-byte characters fall on the end. */
	memset(text, 'x', (size_t)_i);
	for (size_t i = (size_t)_i; i + 3 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 3);
	pcg_fail(&err, PCG_CLASS_BUG, text, "%s", text);
	ck_assert_uint_ge(strlen(err.text), sizeof(err.text) - 3);
	ck_assert(utf8_valid(err.text, strlen(err.text)));
	ck_assert_uint_ge(strlen(err.remedy), sizeof(err.remedy) - 3);
	ck_assert(utf8_valid(err.remedy, strlen(err.remedy)));
	pcg_fail_prefix(&err, "%s", text);
	ck_assert(utf8_valid(err.text, strlen(err.text)));
}
END_TEST

START_TEST(system_errors_get_class_reason_and_remedy)
{
	static const struct {
		int errnum, code;
		const char *reason;
	} rows[] = {
		{ ENOENT, PCG_ENOTFOUND, "No such file" },
		{ EACCES, PCG_EPERMANENT, "Permission denied" },
		{ ENOSPC, PCG_EQUOTA, "No space left" },
		{ ECONNREFUSED, PCG_ERETRY, "refused" },
		{ EADDRINUSE, PCG_ECONFLICT, "in use" },
		{ EBADF, PCG_EBUG, "Bad file" },
	};
	struct pcg_error err;

	ck_assert_int_eq(pcg_fail_errno(&err, rows[_i].errnum, "opening %s", "f"), rows[_i].code);
	ck_assert_ptr_nonnull(strstr(err.text, "opening f: "));
	ck_assert_ptr_nonnull(strstr(err.text, rows[_i].reason));
	if (rows[_i].errnum == ENOSPC)
		ck_assert_ptr_nonnull(strstr(err.remedy, "free space"));
}
END_TEST

START_TEST(utf8_takes_what_rfc_3629_has_and_nothing_else)
{
	static const struct {
		const char *bytes;
		bool good;
	} rows[] = {
		{ "", true }, { "abc", true }, { "\xc3\xa4", true }, { "\xe2\x82\xac", true },
		{ "\xf0\x9f\x98\x80", true }, { "\xf4\x8f\xbf\xbf", true }, { "\x80", false },
		{ "\xc0\x80", false }, { "\xc3", false }, { "\xe2\x82", false }, { "\xe0\x80\x80", false },
		{ "\xed\xa0\x80", false }, { "\xf4\x90\x80\x80", false }, { "\xf8\x88\x80\x80\x80", false },
		{ "\xff", false },
	};
	char *repaired;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_msg(utf8_valid(rows[i].bytes, strlen(rows[i].bytes)) == rows[i].good, "row %zu", i);
		repaired = utf8_repair(rows[i].bytes, strlen(rows[i].bytes));
		ck_assert(utf8_valid(repaired, strlen(repaired)));
		ck_assert_int_eq(strcmp(repaired, rows[i].bytes) == 0, rows[i].good);
		free(repaired);
	}
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, every_class_has_a_name_that_parses_back, 0, PCG_CLASS_COUNT);
	tcase_add_test(tc, refuses_class_that_is_none);
	tcase_add_test(tc, failure_returns_the_code_of_its_class_and_keeps_errno);
	tcase_add_test(tc, failure_may_quote_the_error_that_it_fills);
	tcase_add_test(tc, prefix_stands_before_the_text_and_keeps_class_and_remedy);
	tcase_add_loop_test(tc, long_text_is_cut_between_characters, 0, 2);
	tcase_add_loop_test(tc, system_errors_get_class_reason_and_remedy, 0, 6);
	tcase_add_test(tc, utf8_takes_what_rfc_3629_has_and_nothing_else);
}

int main(void)
{
	return unit_main("core/error", add);
}
