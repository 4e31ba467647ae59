/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/attr.h"
#include "core/yaml.h"
#include "tests/core/unit.h"

static json_t *load(const char *text)
{
	struct pcg_error err;
	json_t *doc;

	ck_assert_msg(yaml_load_one(text, strlen(text), "test", &doc, &err) == 0, "%s\n%s", text, err.text);
	return doc;
}

static char *dump(const json_t *doc)
{
	struct pcg_error err;
	struct buf out;

	buf_init(&out, 1 << 22);
	ck_assert_msg(yaml_dump(doc, &out, &err) == 0, "%s", err.text);
	return buf_take(&out);
}

static void round_trip(const json_t *doc)
{
	AUTO_FREE char *text = dump(doc);
	AUTO_JSON json_t *back = load(text);

	ck_assert_msg(json_equal(doc, back), "not the same after:\n%s", text);
}

static const struct {
	const char *yaml, *json;
} readings[] = {
	{ "a: 1", "{\"a\":1}" },
	{ "a: -17", "{\"a\":-17}" },
	{ "a: +5", "{\"a\":5}" },
	{ "a: 0x10", "{\"a\":16}" },
	{ "a: 0o17", "{\"a\":15}" },
	{ "defaultMode: 0644", "{\"defaultMode\":420}" },
	{ "a: 089", "{\"a\":\"089\"}" },
	{ "a: 9223372036854775807", "{\"a\":9223372036854775807}" },
	{ "a: -9223372036854775808", "{\"a\":-9223372036854775808}" },
	{ "a: 1.5", "{\"a\":1.5}" },
	{ "a: 1e3", "{\"a\":1000.0}" },
	{ "a: .5", "{\"a\":0.5}" },
	{ "a: 1.2.3", "{\"a\":\"1.2.3\"}" },
	{ "a: 1_000", "{\"a\":\"1_000\"}" },
	{ "a: 12:30:45", "{\"a\":\"12:30:45\"}" },
	{ "a: 2026-01-02", "{\"a\":\"2026-01-02\"}" },
	{ "a: true\nb: False", "{\"a\":true,\"b\":false}" },
	/* kubectl label --local -f, 1.36.3 */
	{ "a: yes\nb: No\nc: on\nd: y\ne: OFF\nf: n", "{\"a\":true,\"b\":false,\"c\":true,\"d\":true,\"e\":false,\"f\":false}" },
	{ "a: yEs\nb: 'yes'\ny: \"on\"", "{\"a\":\"yEs\",\"b\":\"yes\",\"y\":\"on\"}" },
	{ "a: null\nb: ~\nc:", "{\"a\":null,\"b\":null,\"c\":null}" },
	{ "a: \"1\"\nb: 'true'\nc: \"\"", "{\"a\":\"1\",\"b\":\"true\",\"c\":\"\"}" },
	{ "a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}" },
	{ "[1, {a: b}, []]", "[1,{\"a\":\"b\"},[]]" },
	{ "1: x\ntrue: z", "{\"1\":\"x\",\"true\":\"z\"}" },
	{ "- a\n- - b\n", "[\"a\",[\"b\"]]" },
	{ "a: \"{{ ds.meta_data.x }}\"", "{\"a\":\"{{ ds.meta_data.x }}\"}" },
	{ "--- # comment\na: b\n...\n", "{\"a\":\"b\"}" },
	{ "\xef\xbb\xbf" "a: b", "{\"a\":\"b\"}" },
};

START_TEST(reads_scalars_as_kubernetes_takes_them)
{
	AUTO_JSON json_t *doc = load(readings[_i].yaml);
	AUTO_JSON json_t *want = json_loads(readings[_i].json, JSON_DECODE_ANY, NULL);

	ck_assert_msg(json_equal(doc, want), "%s", readings[_i].yaml);
}
END_TEST

static const char *const refused[][2] = {
	{ "a: &x 1\nb: *x", "anchors" },
	{ "b: *x", "alias" },
	{ "a: !!str 1", "tags" },
	{ "a: ! x", "tags" },
	{ "a: !!binary aGk=", "tags" },
	{ "a: &x\n  b: 1", "anchors" },
	{ "&x a: 1", "anchors" },
	{ "a: 1\nb: 2\na: 3", "line 3, column 1" },
	{ "a: .inf", "infinity" },
	{ "a: -.NaN", "infinity" },
	{ "a: 9223372036854775808", "64 bits" },
	{ "a: 1e999", "too large" },
	{ "{a: [1, 2}", "line 1" },
	{ "? [a]\n: b", "key" },
	{ "a: \"x\\0y\"", "zero byte" },
	{ "\"a\\0\": x", "zero byte" },
	{ "a: \t- b\n\tc", "line" },
	{ "a: \xff", "line" },
	{ "a: b\n---\nc: d", "2 YAML documents" },
	{ "# nothing", "0 YAML documents" },
	{ "", "0 YAML documents" },
};

START_TEST(refuses_what_it_does_not_take_and_says_where)
{
	struct pcg_error err;
	json_t *doc = (json_t *)&err;
	const char *text = refused[_i][0];

	ck_assert_int_eq(yaml_load_one(text, strlen(text), "values of layer k8s", &doc, &err), PCG_EPERMANENT);
	ck_assert_ptr_null(doc);
	ck_assert_int_eq(strncmp(err.text, "values of layer k8s: ", 21), 0);
	ck_assert_msg(strstr(err.text, refused[_i][1]) != NULL, "%s", err.text);
}
END_TEST

START_TEST(depth_is_limited_to_64)
{
	for (int depth = 64; depth <= 65; depth++) {
		char text[200] = "";
		struct pcg_error err;
		struct buf out;
		json_t *doc, *deep = json_array();

		for (int i = 0; i < depth; i++)
			strcat(text, "[");
		for (int i = 0; i < depth; i++)
			strcat(text, "]");
		ck_assert_int_eq(yaml_load_one(text, strlen(text), "x", &doc, &err) == 0, depth == 64);
		json_decref(doc);
		for (int i = 1; i < depth; i++)
			deep = json_pack("[o]", deep);
		buf_init(&out, 1 << 20);
		ck_assert_int_eq(yaml_dump(deep, &out, &err) == 0, depth == 64);
		buf_free(&out);
		json_decref(deep);
	}
}
END_TEST

START_TEST(a_stream_gives_its_documents_without_the_empty_ones)
{
	static const char text[] = "# head\n---\n---\na: 1\n---\n# only a comment\n---\n- b\n...\n---\n\"\"\n";
	AUTO_JSON json_t *docs = NULL, *want = json_loads("[{\"a\":1},[\"b\"],\"\"]", 0, NULL);
	struct pcg_error err;

	ck_assert_int_eq(yaml_load_all(text, strlen(text), "x", &docs, &err), 0);
	ck_assert(json_equal(docs, want));
}
END_TEST

static const char *const texts[] = {
	"", " ", "  lead", "trail ", "\n", "\n\n", "a\n", "a\nb", "a\nb\n", "a\n\n", "\na", "\n\na\n", " a\nb\n",
	"a \nb\n", "a\n b\n", "a\n\n\nb\n\n\n", "a\n ", "a\n \n", "\ta\n", "a\tb", "\t", "a\n\tb\n", "a\r\nb\r\n",
	"\r", "it's", "say \"x\"", "'", "\"", "\\", "\\n", "{{ x }}", "{% if %}", "]]>", "<![CDATA[", "&amp;", "yes",
	"No", "on", "off", "y", "n", "true", "True", "FALSE", "null", "Null", "~", "1e3", "0x10", "0o17", "017",
	"-1", "+1", "1", "1.0", ".5", "1.", "-.inf", ".nan", ".NaN", "1_000", "1:30", "12:30:45", "2026-01-02",
	"2026-01-02T03:04:05Z", "0b101", "<<", "=", "-", "--", "---", "...", "--- a", "... b", "- a", "? a", ": a",
	"a: b", "a:", ":", "a #b", "#a", "a#b", "*a", "&a", "!a", "|", ">", "%a", "@a", "`a", "[a", "{a", "a]", "a}",
	",", "a, b", "key: |\n  x\n", "# not a comment\nx\n", "--- \nx\n", "...\nx\n", "x\n---\ny\n", "x\n...\n",
	"\xc3\xa4\xc3\xb6", "\xe2\x82\xac\n\xe2\x82\xac\n", "\xf0\x9f\x98\x80", "\xc2\x85", "a\xe2\x80\xa8" "b",
	"\xef\xbb\xbf" "bom", "\x01\x02", "\x7f", "\x1b[0m", "\xc2\xa0", "10.0.0.1", "v1.34.4", "1.34", "1.34.4",
	"#cloud-config\nusers:\n- name: x\n", "#!/bin/sh\nset -e\necho \"$X\"\n", "0", "00", "0x", "1e", "e1",
	"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "long "
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy "
	"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
};

START_TEST(every_text_comes_back_in_every_place)
{
	const char *t = texts[_i];
	AUTO_JSON json_t *alone = json_string(t), *list = json_pack("[s,[s],{s:s}]", t, t, "k", t);
	AUTO_JSON json_t *map = json_pack("{s:s,s:{s:s,s:[s,s]}}", "a", t, "b", "c", t, "d", t, t);
	AUTO_JSON json_t *key = json_object();

	json_object_set_new(key, t, json_pack("{s:s}", t, t));
	round_trip(alone);
	round_trip(list);
	round_trip(map);
	round_trip(key);
}
END_TEST

/* A generator of its own numbers: the same documents in each run. */
static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static json_t *random_node(uint32_t *state, int depth)
{
	static const char *const pieces[] = {
		" ", "\n", "\t", "'", "\"", "{{", "{%", "]]>", ": ", " #", "-", "?", "x", "word", "1", "0x", "e3", "~",
		"null", "\xc3\xa4", "\xf0\x9f\x98\x80", "\r", "\xe2\x80\xa9", "\\", "|", ">", "&", "*", "!", "%", "@",
		"---", "...", "  ", "\n\n", "[", "]", "{", "}", ",", "\x07",
	};
	uint32_t kind = next_random(state) % (depth > 4 ? 6 : 8);
	char text[64] = "";
	json_t *j;

	for (uint32_t n = next_random(state) % 6; n > 0; n--)
		strcat(text, pieces[next_random(state) % ARRAY_LEN(pieces)]);
	switch (kind) {
	case 0:
		return json_integer((json_int_t)((uint64_t)next_random(state) << 32 | next_random(state)));
	case 1:
		return json_real((double)(int32_t)next_random(state) / (1 + next_random(state) % 1000000));
	case 2:
		return next_random(state) % 3 ? json_boolean(next_random(state) % 2) : json_null();
	case 6:
		j = json_array();
		for (uint32_t n = next_random(state) % 5; n > 0; n--)
			json_array_append_new(j, random_node(state, depth + 1));
		return j;
	case 7:
		j = json_object();
		for (uint32_t n = next_random(state) % 5; n > 0; n--) {
			json_object_set_new(j, text, random_node(state, depth + 1));
			strcat(text, "k");
		}
		return j;
	default:
		return json_string(text);
	}
}

START_TEST(random_documents_come_back)
{
	uint32_t state = 2463534242u + (uint32_t)_i;

	for (int i = 0; i < 500; i++) {
		AUTO_JSON json_t *doc = random_node(&state, 0);

		round_trip(doc);
	}
}
END_TEST

START_TEST(numbers_come_back_exactly)
{
	static const double reals[] = { 0.0, 0.1, 1.0 / 3, 1e20, 1e-7, 1.5e300, -2.5, 5e-324, 123456789.125 };

	for (size_t i = 0; i < ARRAY_LEN(reals); i++) {
		AUTO_JSON json_t *doc = json_pack("{s:f}", "r", reals[i]);

		round_trip(doc);
	}
}
END_TEST

static const char *const layouts[][2] = {
	{ "{\"a\":\"x\\ny\\n\"}", "a: |\n  x\n  y\n" },
	{ "{\"a\":\"x\\ny\"}", "a: |-\n  x\n  y\n" },
	{ "{\"a\":\"yes\"}", "a: 'yes'\n" },
	{ "{\"a\":\"1e3\",\"b\":\"word\"}", "a: '1e3'\nb: word\n" },
	{ "{\"a\":[],\"b\":{}}", "a: []\nb: {}\n" },
	{ "{\"a\":[1,true,null,\"null\"]}", "a:\n- 1\n- true\n- null\n- 'null'\n" },
	{ "{\"a\":1.0,\"b\":1e20}", "a: 1.0\nb: 1.0e+20\n" },
};

START_TEST(layout_is_block_style)
{
	AUTO_JSON json_t *doc = json_loads(layouts[_i][0], 0, NULL);
	AUTO_FREE char *text = dump(doc);

	ck_assert_str_eq(text, layouts[_i][1]);
}
END_TEST

START_TEST(documents_are_separated_and_read_back)
{
	AUTO_JSON json_t *docs = json_loads("[{\"a\":\"x\\n\\n\"},[1],{\"b\":{}},\"--- x\"]", 0, NULL), *back = NULL;
	struct pcg_error err;
	struct buf out;

	buf_init(&out, 1 << 20);
	ck_assert_int_eq(yaml_dump_all(docs, &out, &err), 0);
	ck_assert_ptr_nonnull(strstr(out.data, "\n---\n"));
	ck_assert_int_eq(yaml_load_all(out.data, out.len, "x", &back, &err), 0);
	ck_assert(json_equal(docs, back));
	buf_free(&out);
}
END_TEST

START_TEST(a_full_buffer_is_told)
{
	AUTO_JSON json_t *doc = json_pack("[s]", "a text of more than ten bytes");
	struct pcg_error err;
	struct buf out;

	buf_init(&out, 10);
	ck_assert_int_eq(yaml_dump(doc, &out, &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "limit of 10 bytes"));
	buf_free(&out);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, reads_scalars_as_kubernetes_takes_them, 0, ARRAY_LEN(readings));
	tcase_add_loop_test(tc, refuses_what_it_does_not_take_and_says_where, 0, ARRAY_LEN(refused));
	tcase_add_test(tc, depth_is_limited_to_64);
	tcase_add_test(tc, a_stream_gives_its_documents_without_the_empty_ones);
	tcase_add_loop_test(tc, every_text_comes_back_in_every_place, 0, ARRAY_LEN(texts));
	tcase_add_loop_test(tc, random_documents_come_back, 0, 8);
	tcase_add_test(tc, numbers_come_back_exactly);
	tcase_add_loop_test(tc, layout_is_block_style, 0, ARRAY_LEN(layouts));
	tcase_add_test(tc, documents_are_separated_and_read_back);
	tcase_add_test(tc, a_full_buffer_is_told);
}

int main(void)
{
	return unit_main("core/yaml", add);
}
