/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

/* The points of this test, compiled in whether or not the build has any. */
#undef PCG_FAULT_POINTS
#define PCG_FAULT_POINTS 1
#define FAULT_POINTS_DEF "tests/core/fault_points_test.def"
#define fault_point fault_point_under_test
#include "core/fault.c"

#include "tests/core/unit.h"

#include <sys/wait.h>

static char dir[256];

static void setup(void)
{
	unit_dir_make(dir);
	setenv("PCG_FAULT_DIR", dir, 1);
}

static void teardown(void)
{
	unit_dir_remove(dir);
}

/* Passes the point n times in a child; returns the signal that ended it. */
static int pass(const char *name, int n)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		for (int i = 0; i < n; i++)
			FAULT_POINT(name);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static bool there(const char *name)
{
	return access(unit_path(dir, name), F_OK) == 0;
}

START_TEST(an_unarmed_point_notes_its_first_passage_and_goes_on)
{
	ck_assert_int_eq(pass("test.first", 3), 0);
	ck_assert(there("hit.test.first"));
	ck_assert(!there("fired.test.first"));
	ck_assert(!there("hit.test.second"));
}
END_TEST

START_TEST(an_armed_point_kills_at_its_count_and_only_once)
{
	unit_write(unit_path(dir, "arm"), "test.second 1\ntest.first 3\n", 27);
	ck_assert_int_eq(pass("test.first", 2), 0);
	ck_assert(!there("fired.test.first"));
	ck_assert_int_eq(pass("test.first", 3), SIGKILL);
	ck_assert(there("fired.test.first"));
	ck_assert_int_eq(pass("test.first", 9), 0);
	ck_assert_int_eq(pass("test.second", 1), SIGKILL);
}
END_TEST

START_TEST(without_a_folder_nothing_happens)
{
	unsetenv("PCG_FAULT_DIR");
	ck_assert_int_eq(pass("test.first", 1), 0);
	ck_assert(!there("hit.test.first"));
}
END_TEST

START_TEST(a_name_that_is_not_listed_stops_the_program)
{
	ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
	FAULT_POINT("test.unlisted");
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_unarmed_point_notes_its_first_passage_and_goes_on);
	tcase_add_test(tc, an_armed_point_kills_at_its_count_and_only_once);
	tcase_add_test(tc, without_a_folder_nothing_happens);
	tcase_add_test_raise_signal(tc, a_name_that_is_not_listed_stops_the_program, SIGABRT);
}

int main(void)
{
	return unit_main("core/fault", add);
}
