/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/blocks.h"
#include "core/json.h"
#include "core/memory.h"
#include "tests/core/unit.h"

#include <openssl/crypto.h>
#include <pthread.h>

#define KEPT_MAX 4096 /* as blocks.h says */

#if defined(__GLIBC__) && !defined(PCG_SANITIZED)
static json_t *tree(size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:i,s:s,s:[s]}", "number", (int)i, "text",
						      "a string that does not fit into the smallest block", "more",
						      "short"));
	return list;
}

START_TEST(what_a_tree_was_made_of_makes_the_next_one)
{
	size_t kept;

	blocks_give_back();
	json_decref(tree(50));
	kept = blocks_kept();
	ck_assert_uint_gt(kept, 400);
	for (int i = 0; i < 20; i++) {
		json_t *again = tree(50);

		ck_assert_uint_lt(blocks_kept(), 20);
		json_decref(again);
		ck_assert_uint_eq(blocks_kept(), kept);
	}
}
END_TEST

START_TEST(no_more_is_kept_than_the_limit_and_nothing_at_rest)
{
	json_decref(tree(2000));
	ck_assert_uint_eq(blocks_kept(), KEPT_MAX);
	memory_give_back();
	ck_assert_uint_eq(blocks_kept(), 0);
}
END_TEST

START_TEST(blocks_of_any_size_hold_what_was_asked_for)
{
	json_t *list = json_array(), *s;
	char text[300];
	size_t i;

	for (int round = 0; round < 3; round++) {
		for (size_t n = 0; n < sizeof(text); n++) {
			memset(text, 'a' + (int)n % 26, n);
			json_array_append_new(list, json_stringn(text, n));
		}
		json_array_foreach(list, i, s) {
			ck_assert_uint_eq(json_string_length(s), i);
			for (size_t k = 0; k < i; k++)
				ck_assert_int_eq(json_string_value(s)[k], 'a' + (int)i % 26);
		}
		json_array_clear(list);
	}
	json_decref(list);
}
END_TEST

static void *make_and_free(void *arg)
{
	json_t **shared = arg;

	for (int i = 0; i < 200; i++)
		json_decref(tree(10));
	json_decref(*shared);
	return NULL;
}

START_TEST(a_tree_may_end_in_another_thread)
{
	pthread_t threads[4];
	json_t *shared[4];
	size_t kept;

	blocks_give_back();
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		shared[i] = tree(100);
	kept = blocks_kept();
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, make_and_free, &shared[i]), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(blocks_kept(), kept);
}
END_TEST

static void *make(void *arg)
{
	*(json_t **)arg = tree(100);
	memory_give_back();
	return NULL;
}

START_TEST(a_tree_may_come_from_another_thread)
{
	json_t *made = NULL;
	pthread_t thread;
	size_t kept;

	json_decref(tree(1));
	kept = blocks_kept();
	ck_assert_int_eq(pthread_create(&thread, NULL, make, &made), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(blocks_kept(), kept);
	json_decref(made);
	ck_assert_uint_gt(blocks_kept(), kept + 800);
}
END_TEST

START_TEST(what_openssl_frees_is_used_again_and_may_grow)
{
	char *p, *q;
	size_t kept;

	blocks_give_back();
	p = OPENSSL_malloc(100);
	memset(p, 'x', 100);
	q = OPENSSL_malloc(40);
	kept = blocks_kept();
	OPENSSL_free(q);
	ck_assert_uint_eq(blocks_kept(), kept + 1);
	p = OPENSSL_realloc(p, 10000);
	ck_assert_ptr_nonnull(p);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(p[i], 'x');
	OPENSSL_free(p);
	ck_assert_uint_eq(blocks_kept(), kept + 1);
	blocks_give_back();
}
END_TEST

START_TEST(text_that_jansson_made_may_be_freed_as_malloc_has_it)
{
	AUTO_JSON json_t *j = tree(1);

	for (int i = 0; i < 100; i++)
		free(json_dumps(j, JSON_COMPACT));
}
END_TEST
#endif

static void add(TCase *tc)
{
#if defined(__GLIBC__) && !defined(PCG_SANITIZED)
	tcase_add_test(tc, what_a_tree_was_made_of_makes_the_next_one);
	tcase_add_test(tc, no_more_is_kept_than_the_limit_and_nothing_at_rest);
	tcase_add_test(tc, blocks_of_any_size_hold_what_was_asked_for);
	tcase_add_test(tc, a_tree_may_end_in_another_thread);
	tcase_add_test(tc, a_tree_may_come_from_another_thread);
	tcase_add_test(tc, what_openssl_frees_is_used_again_and_may_grow);
	tcase_add_test(tc, text_that_jansson_made_may_be_freed_as_malloc_has_it);
#endif
}

int main(void)
{
	blocks_begin();
	return unit_main("core/blocks", add);
}
