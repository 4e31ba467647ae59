/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/attr.h"
#include "core/clock.h"
#include "core/frame.h"
#include "tests/core/unit.h"

#include <pthread.h>
#include <sys/socket.h>

static void feed(struct frame_reader *r, const void *data, size_t len)
{
	struct pcg_error err;

	ck_assert_int_eq(frame_reader_feed(r, data, len, &err), 0);
}

static json_t *next_whole(struct frame_reader *r)
{
	struct pcg_error err;
	json_t *doc;

	ck_assert_int_eq(frame_reader_next(r, &doc, &err), 1);
	return doc;
}

START_TEST(frames_come_out_as_they_went_in_whatever_the_pieces)
{
	struct frame_reader r;
	struct pcg_error err;
	struct buf out;
	int got = 0;

	buf_init(&out, 1 << 20);
	for (int i = 0; i < 100; i++) {
		AUTO_JSON json_t *doc = json_pack("{s:i,s:s}", "n", i, "text", "\xc3\xa4 \n \"");

		ck_assert_int_eq(frame_write(&out, doc, &err), 0);
	}
	frame_reader_init(&r, 1000);
	for (size_t at = 0; at < out.len; at += (size_t)_i) {
		json_t *doc;
		int ret;

		feed(&r, out.data + at, out.len - at < (size_t)_i ? out.len - at : (size_t)_i);
		while ((ret = frame_reader_next(&r, &doc, &err)) == 1) {
			ck_assert_int_eq(json_int_or(doc, "n", -1), got++);
			json_decref(doc);
		}
		ck_assert_int_eq(ret, 0);
	}
	ck_assert_int_eq(got, 100);
	frame_reader_free(&r);
	buf_free(&out);
}
END_TEST

static const struct {
	const char *bytes;
	size_t len;
	const char *says;
} hostile[] = {
	{ "\0\0\0\0", 4, "length is 0" },
	{ "\xff\xff\xff\xff", 4, "length is 4294967295" },
	{ "\0\0\x03\xe9", 4, "length is 1001" },
	{ "\0\0\0\2[]", 6, "not a JSON object" },
	{ "\0\0\0\4null", 8, "not a JSON object" },
	{ "\0\0\0\4{}{}", 8, "not JSON" },
	{ "\0\0\0\3{}\0", 7, "not JSON" },
	{ "\0\0\0\1{", 5, "not JSON" },
	{ "GET / HTTP/1.1\r\n", 16, "length is" },
};

START_TEST(every_kind_of_value_is_written_as_json_reads_it)
{
	static const char *const texts[] = {
		"{}", "{\"a\":[]}", "{\"a\":[1,-2,3.5,1e300,true,false,null,\"\",{\"b\":{}}],\"c\":{\"d\":0}}",
		"{\"quote\\\"d\":\"back\\\\slash\\b\\t\\n\\f\\r\\u0001\\u001f\\u007f\"}",
		"{\"text\":\"z\\u00fcrich \\u20ac \\ud83d\\ude00 </script>\"}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		json_t *doc = json_loads(texts[i], 0, NULL), *back;
		struct pcg_error err;
		struct buf out;

		ck_assert_ptr_nonnull(doc);
		buf_init(&out, 4096);
		ck_assert_int_eq(frame_write(&out, doc, &err), 0);
		back = json_loadb(out.data + 4, out.len - 4, JSON_REJECT_DUPLICATES, NULL);
		ck_assert_msg(back && json_equal(doc, back), "%s became %s", texts[i], out.data + 4);
		ck_assert_ptr_null(memchr(out.data + 4, '\n', out.len - 4));
		json_decref(doc);
		json_decref(back);
		buf_free(&out);
	}
}
END_TEST

START_TEST(broken_frames_end_the_conversation)
{
	struct frame_reader r;
	struct pcg_error err;
	json_t *doc = (json_t *)&err;

	frame_reader_init(&r, 1000);
	feed(&r, hostile[_i].bytes, hostile[_i].len);
	ck_assert_int_eq(frame_reader_next(&r, &doc, &err), PCG_EPERMANENT);
	ck_assert_ptr_null(doc);
	ck_assert_msg(strstr(err.text, hostile[_i].says) != NULL, "%s", err.text);
	frame_reader_free(&r);
}
END_TEST

START_TEST(an_announced_length_takes_no_memory_before_the_bytes_are_there)
{
	struct frame_reader r;
	struct pcg_error err;
	json_t *doc;

	frame_reader_init(&r, FRAME_MAX);
	feed(&r, "\0\xff\xff\xff{", 5);
	ck_assert_int_eq(frame_reader_next(&r, &doc, &err), 0);
	ck_assert_uint_lt(r.in.cap, 4096);
	frame_reader_free(&r);
}
END_TEST

START_TEST(many_small_frames_in_one_piece_take_linear_time)
{
	size_t n = 400000;
	char *all = malloc(n * 6);
	struct frame_reader r;
	int64_t start = clock_mono_ms();

	for (size_t i = 0; i < n; i++)
		memcpy(all + i * 6, "\0\0\0\2{}", 6);
	frame_reader_init(&r, 10);
	feed(&r, all, n * 6);
	for (size_t i = 0; i < n; i++)
		json_decref(next_whole(&r));
	ck_assert_int_lt(clock_mono_ms() - start, 20000);
	frame_reader_free(&r);
	free(all);
}
END_TEST

START_TEST(writing_past_the_limit_leaves_no_half_frame)
{
	struct pcg_error err;
	struct buf out;
	AUTO_JSON json_t *doc = json_pack("{s:s}", "k", "a value that is longer than the buffer");
	AUTO_JSON json_t *list = json_array();

	buf_init(&out, 40);
	buf_adds(&out, "before");
	ck_assert_int_eq(frame_write(&out, doc, &err), PCG_EPERMANENT);
	ck_assert_str_eq(out.data, "before");
	ck_assert_int_eq(frame_write(&out, list, &err), PCG_EBUG);
	buf_free(&out);
}
END_TEST

static void *send_big(void *arg)
{
	AUTO_JSON json_t *doc = json_object();
	AUTO_FREE char *text = malloc(3000001);
	struct pcg_error err;

	memset(text, 'x', 3000000);
	text[3000000] = 0;
	json_put_str(doc, "big", text);
	return (void *)(intptr_t)frame_send_fd(*(int *)arg, doc, &err);
}

START_TEST(blocking_ends_talk_over_sockets_and_pipes)
{
	int fd[2], from, to;
	struct frame_reader r;
	struct pcg_error err;
	pthread_t t;
	json_t *doc;
	void *ret;

	if (_i)
		ck_assert_int_eq(pipe(fd), 0);
	else
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	from = fd[0];
	to = fd[1];
	fcntl(to, F_SETFL, O_NONBLOCK);
	fcntl(from, F_SETFL, O_NONBLOCK);
	frame_reader_init(&r, FRAME_MAX);
	pthread_create(&t, NULL, send_big, &to);
	ck_assert_int_eq(frame_recv_fd(from, &r, 20000, &doc, &err), 0);
	ck_assert_uint_eq(strlen(json_str(doc, "big")), 3000000);
	json_decref(doc);
	pthread_join(t, &ret);
	ck_assert_ptr_null(ret);
	ck_assert_int_eq(frame_recv_fd(from, &r, 20, &doc, &err), PCG_ECANCELLED);
	ck_assert_ptr_null(doc);
	close(to);
	ck_assert_int_eq(frame_recv_fd(from, &r, 0, &doc, &err), 0);
	ck_assert_ptr_null(doc);
	close(from);
	frame_reader_free(&r);
}
END_TEST

START_TEST(an_end_inside_a_frame_is_an_error)
{
	struct frame_reader r;
	struct pcg_error err;
	json_t *doc;
	int fd[2];

	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq(write(fd[1], "\0\0\0\5{", 5), 5);
	close(fd[1]);
	frame_reader_init(&r, 100);
	ck_assert_int_eq(frame_recv_fd(fd[0], &r, 0, &doc, &err), PCG_ERETRY);
	ck_assert_ptr_nonnull(strstr(err.text, "in the middle"));
	frame_reader_free(&r);
	close(fd[0]);
}
END_TEST

START_TEST(sending_to_a_closed_socket_is_an_error_and_no_signal)
{
	AUTO_JSON json_t *doc = json_object();
	struct pcg_error err;
	int fd[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	close(fd[0]);
	ck_assert_int_eq(frame_send_fd(fd[1], doc, &err), PCG_ERETRY);
	close(fd[1]);
}
END_TEST

START_TEST(a_frame_that_is_handed_on_is_what_was_written)
{
	AUTO_JSON json_t *head = json_pack("{s:s}", "t", "op"), *body = json_pack("{s:s}", "text", "\xc3\xa4 \n \""), *got = NULL;
	AUTO_JSON json_t *large = json_object();
	AUTO_FREE char *text = NULL;
	AUTO_FREE char *whole = NULL;
	struct frame_reader r;
	struct pcg_error err;
	struct buf out;

	for (int i = 0; i < 3000; i++)
		json_object_set_new(large, (char[]){ (char)('a' + i % 26), (char)('a' + i / 26 % 26), (char)('a' + i / 676), 0 },
				    json_string("a value of some length"));
	buf_init(&out, 1 << 20);
	ck_assert_int_eq(frame_write(&out, head, &err) || frame_write(&out, body, &err) || frame_write(&out, large, &err), 0);
	frame_reader_init(&r, 1 << 20);
	feed(&r, out.data, 4);
	ck_assert_int_eq(frame_reader_text(&r, &text, &err), 0);
	ck_assert_ptr_null(text);
	feed(&r, out.data + 4, out.len - 4);
	json_decref(next_whole(&r));
	ck_assert_int_eq(frame_reader_text(&r, &text, &err), 1);
	got = json_loads(text, 0, NULL);
	ck_assert(json_equal(got, body));
	ck_assert_int_eq(frame_reader_text(&r, &whole, &err), 1);
	json_decref(got);
	got = json_loads(whole, 0, NULL);
	ck_assert(json_equal(got, large));
	frame_reader_free(&r);
	buf_free(&out);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_frame_that_is_handed_on_is_what_was_written);
	tcase_add_loop_test(tc, frames_come_out_as_they_went_in_whatever_the_pieces, 1, 60);
	tcase_add_test(tc, every_kind_of_value_is_written_as_json_reads_it);
	tcase_add_loop_test(tc, broken_frames_end_the_conversation, 0, ARRAY_LEN(hostile));
	tcase_add_test(tc, an_announced_length_takes_no_memory_before_the_bytes_are_there);
	tcase_add_test(tc, many_small_frames_in_one_piece_take_linear_time);
	tcase_add_test(tc, writing_past_the_limit_leaves_no_half_frame);
	tcase_add_loop_test(tc, blocking_ends_talk_over_sockets_and_pipes, 0, 2);
	tcase_add_test(tc, an_end_inside_a_frame_is_an_error);
	tcase_add_test(tc, sending_to_a_closed_socket_is_an_error_and_no_signal);
}

int main(void)
{
	return unit_main("core/frame", add);
}
