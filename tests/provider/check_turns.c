/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/provider/rig.h"
#include "core/attr.h"
#include "core/clock.h"
#include "pcg/provider.h"

/* Turns of plugin good: two that count in a minute. */

static struct rig rig;

static void setup(void)
{
	rig_open(&rig, 0);
	rig_plugin(&rig, "good");
	rig_account(&rig, "a1", "good", "swordfish");
	rig_account(&rig, "a2", "good", "swordfish");
}

static void teardown(void)
{
	rig_close(&rig);
}

static int64_t told(struct got *g)
{
	int64_t n;

	rig_wait(g->rig, &g->done);
	ck_assert_msg(g->status == PCG_STEP_DONE, "%s", g->err.text);
	n = json_int_or(g->doc, "n", -99);
	got_free(g);
	return n;
}

static int64_t ask(struct rig *r, const char *account, const char *what)
{
	struct got g;

	rig_do(r, &g, account, what);
	return told(&g);
}

static size_t kept(struct rig *r)
{
	AUTO_JSON json_t *times = NULL;
	const char *text = json_string_value(json_object_get(json_object_get(r->secrets, "turns/good"), "login"));

	times = text ? json_loads(text, 0, NULL) : NULL;
	return json_array_size(times);
}

START_TEST(turns_are_counted_over_all_workers_and_restarts)
{
	struct rig again;

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(ask(&rig, i ? "a2" : "a1", "turn"), 0);
		ck_assert_int_eq(ask(&rig, i ? "a2" : "a1", "turn_counts"), 0);
		ck_assert_uint_eq(kept(&rig), (size_t)i + 1);
	}
	for (int i = 0; i < 2; i++) {
		int64_t left = ask(&rig, i ? "a2" : "a1", "turn");

		ck_assert_msg(left > 0 && left <= 60000, "%lld", (long long)left);
	}
	rig_open(&again, 0);
	json_decref(again.secrets);
	again.secrets = json_deep_copy(rig.secrets);
	rig_plugin(&again, "good");
	rig_account(&again, "a3", "good", "swordfish");
	ck_assert_int_gt(ask(&again, "a3", "turn"), 0);
	rig_close(&again);
}
END_TEST

/* As many times as have been given, and what comes of a turn then. */
static const struct { int64_t ago_ms[3]; size_t n; int64_t least, most; } before[] = {
	{ { 60001, 59000 }, 2, 0, 0 },
	{ { 59000, 10000 }, 2, 1, 1000 },
	{ { 59000, 50000, 10000 }, 3, 9000, 10000 },  /* two of three have to go */
	{ { -7200000, -3600000 }, 2, 59000, 60000 },  /* the clock was set back */
};

START_TEST(a_turn_comes_when_the_last_ones_are_old_enough)
{
	AUTO_JSON json_t *times = json_array(), *of = NULL;
	AUTO_FREE char *text = NULL;
	int64_t left;

	for (size_t i = 0; i < before[_i].n; i++)
		json_array_append_new(times, json_integer(clock_wall_ms() - before[_i].ago_ms[i]));
	text = json_dumps(times, 0);
	of = json_pack("{s:s}", "login", text);
	json_object_set(rig.secrets, "turns/good", of);
	left = ask(&rig, "a1", "turn");
	ck_assert_msg(left >= before[_i].least && left <= before[_i].most, "%lld", (long long)left);
}
END_TEST

START_TEST(a_turn_waits_for_those_that_run_and_has_what_they_give_back)
{
	struct got waits;

	ck_assert_int_eq(ask(&rig, "a1", "turn"), 0);
	ck_assert_int_eq(ask(&rig, "a1", "turn"), 0);
	rig_call(&rig, &waits, "a2", "machine_ensure", "m1", json_pack("{s:s}", "do", "turn"), 300);
	ck_assert_int_eq(told(&waits), -1);
	rig_call(&rig, &waits, "a2", "machine_ensure", "m1", json_pack("{s:s}", "do", "turn"), CALL_MS);
	ck_assert_int_eq(ask(&rig, "a1", "turn_over"), 0);
	ck_assert_int_eq(told(&waits), 0);
	ck_assert_uint_eq(kept(&rig), 0);
	/* One that was not begun is not ended. */
	ck_assert_int_eq(ask(&rig, "a2", "turn_over"), 0);
	ck_assert_int_eq(ask(&rig, "a2", "turn_counts"), -1);
	ck_assert_uint_eq(kept(&rig), 0);
}
END_TEST

START_TEST(what_a_dead_worker_had_begun_has_not_counted)
{
	struct got g;

	ck_assert_int_eq(ask(&rig, "a1", "turn"), 0);
	ck_assert_int_eq(ask(&rig, "a1", "turn"), 0);
	rig_do(&rig, &g, "a1", "exit");
	got_free(&g);
	ck_assert_int_eq(ask(&rig, "a2", "turn"), 0);
	ck_assert_int_eq(ask(&rig, "a2", "turn"), 0);
	ck_assert_uint_eq(kept(&rig), 0);
}
END_TEST

/* What counted long ago is kept no longer. */
START_TEST(a_turn_that_does_not_count_takes_away_what_is_old)
{
	AUTO_JSON json_t *of = json_pack("{s:s}", "login", "[1000, 2000]");

	json_object_set(rig.secrets, "turns/good", of);
	ck_assert_int_eq(ask(&rig, "a1", "turn"), 0);
	ck_assert_int_eq(ask(&rig, "a1", "turn_over"), 0);
	ck_assert_ptr_null(json_object_get(json_object_get(rig.secrets, "turns/good"), "login"));
}
END_TEST

TCase *turns_cases(void)
{
	TCase *c = tcase_create("turns");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, turns_are_counted_over_all_workers_and_restarts);
	tcase_add_loop_test(c, a_turn_comes_when_the_last_ones_are_old_enough, 0, ARRAY_LEN(before));
	tcase_add_test(c, a_turn_waits_for_those_that_run_and_has_what_they_give_back);
	tcase_add_test(c, what_a_dead_worker_had_begun_has_not_counted);
	tcase_add_test(c, a_turn_that_does_not_count_takes_away_what_is_old);
	return c;
}
