/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/base64.h"
#include "core/buf.h"
#include "core/id.h"
#include "tests/core/unit.h"

#include <ctype.h>

START_TEST(empty_buffer_is_an_empty_text)
{
	struct buf b;
	char *taken;

	buf_init(&b, 10);
	ck_assert_str_eq(b.data, "");
	taken = buf_take(&b);
	ck_assert_str_eq(taken, "");
	free(taken);
	buf_free(&b);
	ck_assert_str_eq(b.data, "");
}
END_TEST

START_TEST(appends_reach_the_ceiling_and_not_past_it)
{
	struct buf b;

	buf_init(&b, 10);
	ck_assert_int_eq(buf_adds(&b, "12345"), 0);
	ck_assert_int_eq(buf_addf(&b, "%d", 67890), 0);
	ck_assert_int_eq(buf_adds(&b, ""), 0);
	ck_assert_int_eq(buf_adds(&b, "x"), -1);
	ck_assert(b.overflow);
	ck_assert_str_eq(b.data, "1234567890");
	ck_assert_int_eq(buf_adds(&b, ""), -1);
	ck_assert_ptr_null(buf_take(&b));
	ck_assert_int_eq(buf_adds(&b, "again"), 0);
	buf_free(&b);
}
END_TEST

START_TEST(huge_length_overflows_instead_of_wrapping)
{
	struct buf b;

	buf_init(&b, 100);
	buf_adds(&b, "abc");
	ck_assert_int_eq(buf_add(&b, "", SIZE_MAX - 2), -1);
	ck_assert_uint_eq(b.len, 3);
	buf_free(&b);
}
END_TEST

START_TEST(consume_keeps_the_rest_and_its_zero)
{
	struct buf b;

	for (int secret = 0; secret < 2; secret++) {
		secret ? buf_init_secret(&b, 1000) : buf_init(&b, 1000);
		buf_adds(&b, "hello world");
		buf_consume(&b, 6);
		ck_assert_str_eq(b.data, "world");
		if (secret)
			for (size_t i = b.len; i < b.cap && i < 11; i++)
				ck_assert_int_eq(b.data[i], 0);
		buf_consume(&b, 5);
		ck_assert_str_eq(b.data, "");
		buf_free(&b);
	}
}
END_TEST

START_TEST(grows_through_many_appends)
{
	struct buf b;

	buf_init_secret(&b, 1 << 20);
	for (int i = 0; i < 100000; i++)
		ck_assert_int_eq(buf_add(&b, &"0123456789"[i % 10], 1), 0);
	for (int i = 0; i < 100000; i++)
		ck_assert_int_eq(b.data[i], '0' + i % 10);
	ck_assert_uint_eq(strlen(b.data), 100000);
	buf_free(&b);
}
END_TEST

START_TEST(base64_has_the_values_of_rfc_4648)
{
	static const char *const rows[][2] = {
		{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
		{ "\xfb\xff\xfe", "+//+" },
	};
	char *text = base64_encode(rows[_i][0], strlen(rows[_i][0]));
	size_t len = 99;
	uint8_t *data = base64_decode(text, strlen(text), &len);

	ck_assert_str_eq(text, rows[_i][1]);
	ck_assert_uint_eq(len, strlen(rows[_i][0]));
	ck_assert_mem_eq(data, rows[_i][0], len);
	free(text);
	free(data);
}
END_TEST

START_TEST(base64_refuses_what_is_not_exact)
{
	static const char *const rows[] = {
		"Z", "Zg", "Zg=", "Zg==\n", " Zg==", "Zg==Zg==", "Zh==", "Zm9=", "====", "Z===",
		"Zm-v", "Zm_v", "Zm9v=", "=Zm9", "Zm9v\n\n\n\n",
	};
	size_t len;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(!base64_decode(rows[i], strlen(rows[i]), &len), "row %zu", i);
}
END_TEST

START_TEST(base64_of_any_bytes_comes_back)
{
	uint8_t raw[200], *back;
	size_t len;

	for (size_t n = 0; n < sizeof(raw); n++) {
		char *text;

		id_random(raw, n);
		text = base64_encode(raw, n);
		back = base64_decode(text, strlen(text), &len);
		ck_assert_uint_eq(len, n);
		ck_assert(memcmp(back, raw, n) == 0);
		free(text);
		free(back);
	}
}
END_TEST

START_TEST(uuid5_is_that_of_rfc_4122)
{
	/* Python's documentation: uuid5(NAMESPACE_DNS, 'python.org') */
	static const uint8_t dns[16] = { 0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1,
					 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8 };
	char uuid[37];

	id_uuid5(dns, "python.org", uuid);
	ck_assert_str_eq(uuid, "886313e1-3b8a-5372-9b90-0c9aee199e5d");
}
END_TEST

START_TEST(identifiers_have_their_form_and_differ)
{
	char hex[2][25], uuid[2][37], suffix[2][17];

	for (int i = 0; i < 2; i++) {
		id_hex24(hex[i]);
		id_uuid4(uuid[i]);
		id_suffix(suffix[i], 16);
		ck_assert_uint_eq(strspn(hex[i], "0123456789abcdef"), 24);
		ck_assert_uint_eq(strlen(uuid[i]), 36);
		ck_assert_int_eq(uuid[i][14], '4');
		ck_assert_ptr_nonnull(strchr("89ab", uuid[i][19]));
		ck_assert_uint_eq(strspn(suffix[i], "bcdfghjklmnpqrstvwxz2456789"), 16);
		ck_assert_uint_eq(strlen(suffix[i]), 16);
	}
	ck_assert_str_ne(hex[0], hex[1]);
	ck_assert_str_ne(uuid[0], uuid[1]);
	ck_assert_str_ne(suffix[0], suffix[1]);
}
END_TEST

START_TEST(suffix_from_a_seed_is_always_the_same)
{
	char a[101], b[101], c[101];

	id_suffix_from("machine-1", a, 100);
	id_suffix_from("machine-1", b, 100);
	id_suffix_from("machine-2", c, 5);
	ck_assert_str_eq(a, b);
	ck_assert_int_ne(strncmp(a, c, 5), 0);
	id_suffix_from("machine-1", b, 5);
	ck_assert_int_eq(strncmp(a, b, 5), 0);
	ck_assert_uint_eq(strlen(b), 5);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, empty_buffer_is_an_empty_text);
	tcase_add_test(tc, appends_reach_the_ceiling_and_not_past_it);
	tcase_add_test(tc, huge_length_overflows_instead_of_wrapping);
	tcase_add_test(tc, consume_keeps_the_rest_and_its_zero);
	tcase_add_test(tc, grows_through_many_appends);
	tcase_add_loop_test(tc, base64_has_the_values_of_rfc_4648, 0, 8);
	tcase_add_test(tc, base64_refuses_what_is_not_exact);
	tcase_add_test(tc, base64_of_any_bytes_comes_back);
	tcase_add_test(tc, uuid5_is_that_of_rfc_4122);
	tcase_add_test(tc, identifiers_have_their_form_and_differ);
	tcase_add_test(tc, suffix_from_a_seed_is_always_the_same);
}

int main(void)
{
	return unit_main("core/buf", add);
}
