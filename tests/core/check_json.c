/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/json.h"
#include "core/secret.h"
#include "tests/core/unit.h"

static json_t *parse(const char *text)
{
	struct pcg_error err;
	json_t *j;

	ck_assert_msg(json_parse(text, strlen(text), "test", &j, &err) == 0, "%s: %s", text, err.text);
	return j;
}

static const char *const wrong[][2] = {
	{ "", "not JSON" },
	{ "{", "line 1" },
	{ "{\"a\":1,}", "not JSON" },
	{ "{\"a\":1,\"a\":2}", "duplicate" },
	{ "{\"a\":1} x", "not JSON" },
	{ "{\"a\":\"\xff\"}", "unable to decode byte" },
	{ "{\"a\":\"\\u0000\"}", "not JSON" },
	{ "\n\n  nul", "line 3" },
};

START_TEST(refuses_what_is_no_json_and_says_where)
{
	struct pcg_error err;
	json_t *j = (json_t *)&err;

	ck_assert_int_eq(json_parse(wrong[_i][0], strlen(wrong[_i][0]), "the answer", &j, &err),
			 PCG_EPERMANENT);
	ck_assert_ptr_null(j);
	ck_assert_int_eq(strncmp(err.text, "the answer: ", 12), 0);
	ck_assert_msg(strstr(err.text, wrong[_i][1]) != NULL, "%s", err.text);
}
END_TEST

START_TEST(an_error_quotes_nothing_of_the_document)
{
	static const char *const rows[] = {
		"{\"password\":\"hunter2\" hunter2}", "{\"a\":hunter2}", "{\"hunter2\":1,\"hunter2\":2}",
		"[\"hunter2", "{\"hunter2\" \"b\"}", "hunter2",
	};
	struct pcg_error err;
	json_t *j;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		ck_assert_int_lt(json_parse(rows[i], strlen(rows[i]), "x", &j, &err), 0);
		ck_assert_msg(!strstr(err.text, "hunter2"), "%s", err.text);
	}
}
END_TEST

START_TEST(depth_is_limited_to_64)
{
	for (int object = 0; object < 2; object++) {
		for (int depth = 64; depth <= 65; depth++) {
			char text[2000] = "";
			struct pcg_error err;
			json_t *j;

			for (int i = 0; i < depth; i++)
				strcat(text, object ? "{\"[\\\"{\":" : "[");
			strcat(text, "1");
			for (int i = 0; i < depth; i++)
				strcat(text, object ? "}" : "]");
			ck_assert_int_eq(json_parse(text, strlen(text), "x", &j, &err) == 0, depth == 64);
			json_decref(j);
		}
	}
}
END_TEST

START_TEST(brackets_in_texts_are_no_depth)
{
	char text[400] = "[\"";

	memset(text + 2, '[', 200);
	strcpy(text + 202, "\\\"[[\"]");
	json_decref(parse(text));
}
END_TEST

/* "\\" ends before its quote, "\"" does not. */
START_TEST(an_escaped_quote_ends_no_text)
{
	static const char *const texts[] = {"\"\\\\\"", "\"\\\"\"", "\"\\\\\\\"\"", "\"\\\"[\\\"\"", "\"\""};
	char doc[400];
	struct pcg_error err;
	json_t *j;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		for (int depth = 64; depth <= 65; depth++) {
			size_t n = (size_t)snprintf(doc, sizeof(doc), "[%s,", texts[i]);

			memset(doc + n, '[', (size_t)depth - 1);
			memset(doc + n + depth - 1, ']', (size_t)depth);
			ck_assert_int_eq(json_parse(doc, n + 2 * (size_t)depth - 1, "x", &j, &err) == 0, depth == 64);
			ck_assert(depth == 64 || strstr(err.text, "nested deeper"));
			json_decref(j);
		}
}
END_TEST

START_TEST(paths_reach_members_and_elements)
{
	AUTO_JSON json_t *j = parse("{\"a\":{\"b\":[{\"c\":\"x\"},7,true]},\"n\":null}");

	ck_assert_str_eq(json_str(j, "a.b.0.c"), "x");
	ck_assert_int_eq(json_int_or(j, "a.b.1", 0), 7);
	ck_assert(json_bool_or(j, "a.b.2", false));
	ck_assert(json_is_null(json_at(j, "n")));
	ck_assert_ptr_null(json_at(j, "a.b.3"));
	ck_assert_ptr_null(json_at(j, "a.b.x"));
	ck_assert_ptr_null(json_at(j, "a.b.-1"));
	ck_assert_ptr_null(json_at(j, "a.b.99999999999999999999"));
	ck_assert_ptr_null(json_at(j, "a.b.0.c.d"));
	ck_assert_ptr_null(json_str(j, "a.b.1"));
	ck_assert_str_eq(json_str_or(j, "zz", "def"), "def");
	ck_assert_int_eq(json_int_or(j, "a.b.0.c", -3), -3);
	ck_assert(json_bool_or(j, "a.b.1", true));
	ck_assert_ptr_null(json_at(NULL, "a"));
}
END_TEST

START_TEST(put_makes_parents_and_keeps_neighbours)
{
	AUTO_JSON json_t *j = parse("{\"a\":{\"keep\":1},\"l\":[1],\"s\":\"x\"}");
	AUTO_FREE char *text = NULL;

	json_put(j, "a.b.c", json_integer(2));
	json_put(j, "l.0", json_integer(5));
	json_put(j, "l.1", json_integer(6));
	json_put(j, "s.t", json_true());
	json_put(j, "none", NULL);
	json_put_str(j, "skip", NULL);
	json_put_str(j, "bad", "a\xff" "b");
	text = json_text(j);
	ck_assert_str_eq(text, "{\"a\":{\"b\":{\"c\":2},\"keep\":1},\"bad\":\"a\xef\xbf\xbd" "b\","
			       "\"l\":[5,6],\"none\":null,\"s\":{\"t\":true}}");
}
END_TEST

/* Whatever stands where a path leads through: what others wrote cannot stop the program. */
START_TEST(put_replaces_what_cannot_have_the_path)
{
	static const char *const members[] = { "[]", "[1]", "{}", "7", "null", "\"x\"", "true", "{\"b\":[]}", "{\"b\":[[]]}" };

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		char text[64];
		AUTO_JSON json_t *j = NULL;

		snprintf(text, sizeof(text), "{\"a\":%s,\"l\":[%s]}", members[i], members[i]);
		j = parse(text);
		json_put_str(j, "a.b.c", "deep");
		json_put_str(j, "l.0.name", "in a list");
		json_put_str(j, "l.9.name", "past its end");
		ck_assert_str_eq(json_str(j, "a.b.c"), "deep");
		ck_assert_str_eq(json_str(j, "l.9.name"), "past its end");
	}
}
END_TEST

START_TEST(depth_counts_levels)
{
	static const struct {
		const char *text;
		int depth;
	} rows[] = { { "1", 0 }, { "{}", 1 }, { "[]", 1 }, { "[1,{\"a\":[]},2]", 3 }, { "{\"a\":{},\"b\":{\"c\":{\"d\":1}}}", 3 } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_JSON json_t *j = parse(rows[i].text);

		ck_assert_int_eq(json_depth(j), rows[i].depth);
	}
	ck_assert_int_eq(json_depth(NULL), 0);
}
END_TEST

START_TEST(a_lower_limit_says_what_is_allowed_and_what_was_found)
{
	struct pcg_error err;
	json_t *j;

	ck_assert_int_eq(json_parse_within("[[[1]]]", 7, 3, "x", &j, &err), 0);
	json_decref(j);
	ck_assert_int_lt(json_parse_within("[[[[1]]]]", 9, 3, "x", &j, &err), 0);
	ck_assert_str_eq(err.text, "x: JSON nested deeper than 3 levels: 4");
}
END_TEST

START_TEST(text_for_secrets_keeps_the_order_of_keys)
{
	AUTO_JSON json_t *j = parse("{\"z\":[1,2.5,\"\\u00e4\\n\"],\"a\":{}}");
	AUTO_FREE char *secret = NULL;
	size_t len;

	secret = json_text_secret(j, &len);
	ck_assert_str_eq(secret, "{\"z\":[1,2.5,\"\xc3\xa4\\n\"],\"a\":{}}");
	ck_assert_uint_eq(len, strlen(secret));
}
END_TEST

START_TEST(errors_travel_as_documents)
{
	struct pcg_error a, b;
	json_t *j;

	pcg_fail(&a, PCG_CLASS_QUOTA, "ask for more", "no room");
	j = json_from_error(&a);
	json_to_error(j, &b);
	json_decref(j);
	ck_assert_int_eq(b.class, PCG_CLASS_QUOTA);
	ck_assert_str_eq(b.text, "no room");
	ck_assert_str_eq(b.remedy, "ask for more");
	json_to_error(NULL, &b);
	ck_assert_int_eq(b.class, PCG_CLASS_BUG);
	ck_assert_str_ne(b.text, "");
}
END_TEST

START_TEST(wiping_spares_parts_that_others_hold)
{
	json_t *j = parse("{\"shared\":{\"s\":\"kept\"},\"own\":\"gone\"}");
	json_t *shared = json_incref(json_at(j, "shared"));

	json_wipe(j);
	ck_assert_str_eq(json_str(shared, "s"), "kept");
	json_wipe(shared);
	json_wipe(NULL);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, refuses_what_is_no_json_and_says_where, 0, ARRAY_LEN(wrong));
	tcase_add_test(tc, an_error_quotes_nothing_of_the_document);
	tcase_add_test(tc, depth_is_limited_to_64);
	tcase_add_test(tc, brackets_in_texts_are_no_depth);
	tcase_add_test(tc, an_escaped_quote_ends_no_text);
	tcase_add_test(tc, paths_reach_members_and_elements);
	tcase_add_test(tc, put_makes_parents_and_keeps_neighbours);
	tcase_add_test(tc, put_replaces_what_cannot_have_the_path);
	tcase_add_test(tc, depth_counts_levels);
	tcase_add_test(tc, a_lower_limit_says_what_is_allowed_and_what_was_found);
	tcase_add_test(tc, text_for_secrets_keeps_the_order_of_keys);
	tcase_add_test(tc, errors_travel_as_documents);
	tcase_add_test(tc, wiping_spares_parts_that_others_hold);
}

int main(void)
{
	return unit_main("core/json", add);
}
