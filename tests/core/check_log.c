/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/utf8.h"
#include "tests/core/unit.h"

#include <pthread.h>
#include <time.h>

static char captured[1 << 20];
static int saved_fd = -1, file_fd = -1;

static void begin_capture(void)
{
	char path[] = "/tmp/pcg-unit-log-XXXXXX";

	file_fd = mkstemp(path);
	ck_assert_int_ge(file_fd, 0);
	unlink(path);
	saved_fd = dup(STDERR_FILENO);
	dup2(file_fd, STDERR_FILENO);
}

static const char *end_capture(void)
{
	ssize_t n = pread(file_fd, captured, sizeof(captured) - 1, 0);

	dup2(saved_fd, STDERR_FILENO);
	close(saved_fd);
	close(file_fd);
	ck_assert_int_ge(n, 0);
	captured[n] = 0;
	return captured;
}

static size_t count_lines(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

START_TEST(one_event_is_one_line_of_pairs)
{
	const char *line;

	log_init("pcgd", LOG_L_INFO);
	begin_capture();
	log_info("machine_created", LS("cluster", "c1"), LI("ms", 812));
	line = end_capture();
	ck_assert_int_eq(strncmp(line, "ts=", 3), 0);
	ck_assert_int_eq(line[3 + 24], ' ');
	ck_assert_str_eq(line + 28, "level=info prog=pcgd event=machine_created cluster=c1 ms=812\n");
}
END_TEST

static const char *const escapes[][2] = {
	{ "plain-value_1.2:/@", "v=plain-value_1.2:/@\n" },
	{ "", "v=\"\"\n" },
	{ "two words", "v=\"two words\"\n" },
	{ "a=b", "v=\"a=b\"\n" },
	{ "say \"x\"", "v=\"say \\\"x\\\"\"\n" },
	{ "back\\slash", "v=\"back\\\\slash\"\n" },
	{ "line\nlevel=error event=forged", "v=\"line\\nlevel=error event=forged\"\n" },
	{ "\r\t\x1b[31m\x7f", "v=\"\\r\\t\\x1b[31m\\x7f\"\n" },
	{ "bad \xff\xc3", "v=\"bad \\xff\\xc3\"\n" },
	{ "\xc3\xa4", "v=\"\xc3\xa4\"\n" },
	{ "\xc2\x85\xe2\x80\xa8\xe2\x80\xae", "v=\"\\u0085\\u2028\\u202e\"\n" },
};

START_TEST(values_from_outside_are_escaped)
{
	const char *line;

	log_init("t", LOG_L_INFO);
	begin_capture();
	log_info("e", LS("v", escapes[_i][0]));
	line = end_capture();
	ck_assert_uint_eq(count_lines(line), 1);
	ck_assert_str_eq(strstr(line, " v=") + 1, escapes[_i][1]);
}
END_TEST

START_TEST(long_values_are_cut_between_characters)
{
	char value[5000];
	const char *line, *v;

	memset(value, 'y', (size_t)_i);
	for (size_t i = (size_t)_i; i + 3 < sizeof(value); i += 2)
		memcpy(value + i, "\xc3\xa4", 3);
	log_init("t", LOG_L_INFO);
	begin_capture();
	log_info("e", LS("v", value), LI("after", 1));
	line = end_capture();
	v = strstr(line, " v=\"");
	ck_assert_ptr_nonnull(strstr(v, "...\" after=1\n"));
	ck_assert_uint_le((size_t)(strstr(v, "...\"") - v), 4 + 512);
	ck_assert(utf8_valid(line, strlen(line)));
}
END_TEST

START_TEST(a_line_that_is_too_long_leaves_pairs_out_whole)
{
	struct log_kv kv[200];
	char value[520];
	const char *line;

	memset(value, '\x01', sizeof(value) - 1);
	value[sizeof(value) - 1] = 0;
	for (int i = 0; i < 199; i++)
		kv[i] = (struct log_kv)LS("v", value);
	kv[199].key = NULL;
	log_init("t", LOG_L_INFO);
	begin_capture();
	log_write(LOG_L_INFO, "e", kv);
	line = end_capture();
	ck_assert_uint_eq(count_lines(line), 1);
	ck_assert_uint_le(strlen(line), 8192);
	ck_assert_str_eq(line + strlen(line) - 2, "\"\n");
}
END_TEST

START_TEST(levels_below_the_chosen_one_are_silent)
{
	enum log_level level;

	ck_assert_int_eq(log_level_parse("warn", &level), 0);
	ck_assert_int_eq(log_level_parse("WARN", &level), -1);
	log_init("t", level);
	begin_capture();
	log_info("quiet");
	log_debug("quiet");
	log_warn("heard");
	log_error("heard");
	ck_assert_uint_eq(count_lines(end_capture()), 2);
	ck_assert_ptr_null(strstr(captured, "quiet"));
}
END_TEST

START_TEST(an_error_is_told_with_class_cause_and_remedy)
{
	struct pcg_error err;

	pcg_fail(&err, PCG_CLASS_AUTH, "renew the password", "login at vc: refused");
	log_init("t", LOG_L_INFO);
	begin_capture();
	log_err("account_failed", &err, LS("account", "a1"));
	end_capture();
	ck_assert_ptr_nonnull(strstr(captured, "level=warn prog=t event=account_failed account=a1 class=auth "
					       "cause=\"login at vc: refused\" remedy=\"renew the password\"\n"));
}
END_TEST

START_TEST(an_outage_is_told_once_with_its_end)
{
	struct log_outage o = { 0 };
	struct pcg_error err;

	pcg_fail(&err, PCG_CLASS_RETRY, "", "no route");
	log_init("t", LOG_L_INFO);
	begin_capture();
	log_outage_end(&o, "link", "plane");
	for (int i = 0; i < 5; i++)
		log_outage_begin(&o, "link", "plane", &err);
	clock_turn_ms(60000);
	log_outage_end(&o, "link", "plane");
	log_outage_end(&o, "link", "plane");
	end_capture();
	ck_assert_uint_eq(count_lines(captured), 2);
	ck_assert_ptr_nonnull(strstr(captured, "state=begin"));
	ck_assert_ptr_nonnull(strstr(captured, "state=end ms=600"));
	ck_assert_ptr_nonnull(strstr(captured, "count=5\n"));
}
END_TEST

static void *log_many(void *arg)
{
	for (int i = 0; i < 500; i++)
		log_info("threaded", LS("who", arg), LI("i", i));
	return NULL;
}

START_TEST(lines_of_several_threads_stay_whole)
{
	pthread_t t[4];
	char *line, *save = NULL;
	size_t n = 0;

	log_init("t", LOG_L_INFO);
	begin_capture();
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, log_many, "some thread");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	end_capture();
	for (line = strtok_r(captured, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++) {
		ck_assert_int_eq(strncmp(line, "ts=", 3), 0);
		ck_assert_ptr_nonnull(strstr(line, " event=threaded who=\"some thread\" i="));
	}
	ck_assert_uint_eq(n, 2000);
}
END_TEST

static const struct {
	const char *text;
	int64_t ms;
} times[] = {
	{ "1970-01-01T00:00:00Z", 0 },
	{ "2026-01-02T03:04:05.678Z", 1767323045678 },
	{ "2026-01-02T03:04:05.6Z", 1767323045600 },
	{ "2026-01-02T03:04:05.678999999Z", 1767323045678 },
	{ "2026-01-02T05:34:05.678+02:30", 1767323045678 },
	{ "2026-01-01T22:04:05-05:00", 1767323045000 },
	{ "2024-02-29T00:00:00Z", 1709164800000 },
	{ "2023-02-29T00:00:00Z", -1 },
	{ "2026-13-01T00:00:00Z", -1 },
	{ "2026-04-31T00:00:00Z", -1 },
	{ "2026-01-02T24:00:00Z", -1 },
	{ "2026-01-02 03:04:05Z", -1 },
	{ "2026-01-02T03:04:05", -1 },
	{ "2026-01-02T03:04:05.Z", -1 },
	{ "2026-01-02T03:04:05Zx", -1 },
	{ "2026-1-2T03:04:05Z", -1 },
	{ "", -1 },
};

START_TEST(times_parse_as_rfc_3339_has_them)
{
	char text[CLOCK_RFC3339_SIZE];

	ck_assert_int_eq(clock_parse_rfc3339(times[_i].text), times[_i].ms);
	if (times[_i].ms >= 0)
		ck_assert_int_eq(clock_parse_rfc3339(clock_rfc3339(times[_i].ms, text)), times[_i].ms);
}
END_TEST

START_TEST(the_clock_can_be_turned)
{
	int64_t wall = clock_wall_ms(), mono = clock_mono_ms();

	clock_turn_ms(3600 * 1000);
	ck_assert_int_ge(clock_wall_ms(), wall + 3600 * 1000);
	ck_assert_int_ge(clock_mono_ms(), mono + 3600 * 1000);
	ck_assert_int_lt(clock_mono_ms(), mono + 3660 * 1000);
}
END_TEST

#ifdef PCG_FAULT_POINTS
START_TEST(a_test_turns_the_clock_of_another_process_by_a_file)
{
	char dir[256];
	int64_t start;

	unit_dir_make(dir);
	setenv("PCG_TEST_CLOCK_FILE", unit_path(dir, "clock"), 1);
	start = clock_mono_ms();
	unit_write(unit_path(dir, "clock"), "86400000", 8);
	for (time_t end = time(NULL) + 10; clock_mono_ms() < start + 86400000;)
		ck_assert_int_lt(time(NULL), end);
	unlink(unit_path(dir, "clock"));
	ck_assert_int_ge(clock_mono_ms(), start + 86400000);
	unit_dir_remove(dir);
}
END_TEST
#endif

static void add(TCase *tc)
{
	tcase_add_test(tc, one_event_is_one_line_of_pairs);
	tcase_add_loop_test(tc, values_from_outside_are_escaped, 0, sizeof(escapes) / sizeof(escapes[0]));
	tcase_add_loop_test(tc, long_values_are_cut_between_characters, 0, 2);
	tcase_add_test(tc, a_line_that_is_too_long_leaves_pairs_out_whole);
	tcase_add_test(tc, levels_below_the_chosen_one_are_silent);
	tcase_add_test(tc, an_error_is_told_with_class_cause_and_remedy);
	tcase_add_test(tc, an_outage_is_told_once_with_its_end);
	tcase_add_test(tc, lines_of_several_threads_stay_whole);
	tcase_add_loop_test(tc, times_parse_as_rfc_3339_has_them, 0, sizeof(times) / sizeof(times[0]));
	tcase_add_test(tc, the_clock_can_be_turned);
#ifdef PCG_FAULT_POINTS
	tcase_add_test(tc, a_test_turns_the_clock_of_another_process_by_a_file);
#endif
}

int main(void)
{
	return unit_main("core/log", add);
}
