/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/net/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

static struct http_server *server;
static struct http_server_limits limits;
static int n_requests, n_gone, n_written, write_end;
static struct http_exchange *held;
static char last_path[256], last_query[256];

static void gone(void *arg, struct http_exchange *x)
{
	n_gone++;
	held = NULL;
}

static void handle(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	const char *q = http_exchange_query(x, "q");

	n_requests++;
	snprintf(last_path, sizeof(last_path), "%s", req->path);
	snprintf(last_query, sizeof(last_query), "%s", q ? q : "(none)");
	if (!strcmp(req->path, "/hold") || !strcmp(req->path, "/hold-deaf")) {
		held = x;
		if (!strcmp(req->path, "/hold"))
			http_exchange_on_gone(x, gone, NULL);
	} else if (!strcmp(req->path, "/stream")) {
		held = x;
		http_exchange_on_gone(x, gone, NULL);
		http_exchange_stream_begin(x, 200, "text/plain");
	} else if (!strcmp(req->path, "/inject")) {
		http_exchange_set_header(x, "X-Out", "a\r\nX-Evil: 1");
		http_exchange_reply(x, 200, "text/plain", "ok", 2);
	} else {
		http_exchange_reply(x, 200, "text/plain", req->body, req->body_len);
	}
}

static void start(void)
{
	struct pcg_error err;

	ck_assert_msg(!http_server_new(rig_loop, "127.0.0.1", 0, NULL, &limits, handle, NULL, &server, &err),
		      "%s", err.text);
}

static void setup(void)
{
	rig_start();
	limits = (struct http_server_limits){ 0 };
}

static void teardown(void)
{
	if (server)
		rig_server_end(server);
	rig_end();
}

struct raw {
	int fd;
	bool eof;
	size_t len;
	char in[8192];
};

static struct raw *dial(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(http_server_port(server)) };
	struct raw *r = calloc(1, sizeof(*r));

	ck_assert_ptr_nonnull(r);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(r->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return r;
}

static void put_n(struct raw *r, const char *data, size_t len)
{
	ck_assert_int_eq(send(r->fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void put(struct raw *r, const char *data)
{
	put_n(r, data, strlen(data));
}

static bool take(struct raw *r)
{
	ssize_t n;

	while (!r->eof && r->len < sizeof(r->in) - 1) {
		n = recv(r->fd, r->in + r->len, sizeof(r->in) - 1 - r->len, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			r->eof = true;
		else
			r->len += (size_t)n;
	}
	r->in[r->len] = '\0';
	return r->eof;
}

static bool got(struct raw *r, const char *text)
{
	take(r);
	return strstr(r->in, text) != NULL;
}

static void hang_up(struct raw *r)
{
	close(r->fd);
	free(r);
}

static int count(const char *text, const char *part)
{
	int n = 0;

	for (const char *p = text; (p = strstr(p, part)); p += strlen(part))
		n++;
	return n;
}

#define HOST "Host: h\r\n"

static const struct {
	const char *sent;
	const char *answer; /* begins so, and the connection ends */
} refused[] = {
	/* two lengths: two readers could see two different requests */
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400" },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", "HTTP/1.1 400" },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", "HTTP/1.1 400" },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 4, 4\r\n\r\nabcd", "HTTP/1.1 400" },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: +4\r\n\r\nabcd", "HTTP/1.1 400" },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", "HTTP/1.1 400" },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999999\r\n\r\n", "HTTP/1.1 4" },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length : 4\r\n\r\nabcd", "HTTP/1.1 400" },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 " },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 501" },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 " },
	{ "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 501" },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nZZ\r\n", "HTTP/1.1 400" },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", "HTTP/1.1 4" },
	{ "GET / HTTP/1.1\r\n" HOST "Host: other\r\n\r\n", "HTTP/1.1 400" },
	{ "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400" },
	{ "GET / HTTP/2.0\r\n" HOST "\r\n", "HTTP/1.1 " },
	{ "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 405" },
	{ "rubbish\r\n\r\n", "HTTP/1.1 400" },
	{ "\x16\x03\x01\x02\x01\x01", "HTTP/1.1 400" },
	{ "GET / HTTP/1.1\r\n" HOST "Bad Name: x\r\n\r\n", "HTTP/1.1 400" },
};

START_TEST(ambiguous_or_broken_requests_are_refused_and_end)
{
	struct raw *r;

	start();
	r = dial();
	put(r, refused[_i].sent);
	RIG_UNTIL(take(r));
	ck_assert_msg(!strncmp(r->in, refused[_i].answer, strlen(refused[_i].answer)), "%s -> %s",
		      refused[_i].sent, r->in);
	ck_assert_int_eq(count(r->in, "\r\nContent-Length: "), 1);
	ck_assert_msg(strstr(r->in, "{\"code\":\"") && strstr(r->in, "\"details\":{}") &&
			      strstr(r->in, "\"ref\":\""), "%s", r->in);
	ck_assert_int_eq(n_requests, 0);
	hang_up(r);
}
END_TEST

START_TEST(paths_are_decoded_once_and_stay_below_the_root)
{
	static const struct {
		const char *target, *path, *query; /* path NULL: refused */
	} rows[] = {
		{ "/a/b", "/a/b", "(none)" }, { "/a%20b", "/a b", "(none)" },
		{ "/%C3%A4?q=%C3%B6+x%26y&q=2", "/\xc3\xa4", "\xc3\xb6 x&y" },
		{ "/a?q", "/a", "" }, { "/a?other=1", "/a", "(none)" }, { "/a%252e", "/a%2e", "(none)" },
		{ "http://h/a?q=1", "/a", "1" }, { "/a..b/...", "/a..b/...", "(none)" },
		{ "/../etc/passwd", NULL, NULL }, { "/a/%2e%2e/b", NULL, NULL }, { "/a/..", NULL, NULL },
		{ "/a/./b", NULL, NULL }, { "/a%2f..%2fb", NULL, NULL }, { "/a%00b", NULL, NULL },
		{ "/a%", NULL, NULL }, { "/a%4", NULL, NULL }, { "/a%zz", NULL, NULL },
		{ "/a%ff", NULL, NULL }, { "/a%0d%0aX:1", NULL, NULL }, { "/a\\..\\b", NULL, NULL },
		{ "/a?q=%", NULL, NULL }, { "/a?q=%00", NULL, NULL }, { "*", NULL, NULL },
	};
	char text[512];

	start();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct raw *r = dial();
		int before = n_requests;

		snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n" HOST "\r\n",
			 rows[i].target[0] == '*' ? "OPTIONS" : "GET", rows[i].target);
		put(r, text);
		RIG_UNTIL(got(r, "\r\n\r\n"));
		ck_assert_msg(!strncmp(r->in + 9, rows[i].path ? "200" : "400", 3), "%s: %s", rows[i].target, r->in);
		ck_assert_int_eq(n_requests - before, rows[i].path ? 1 : 0);
		if (rows[i].path) {
			ck_assert_str_eq(last_path, rows[i].path);
			ck_assert_str_eq(last_query, rows[i].query);
		}
		hang_up(r);
	}
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
	struct raw *r;

	start();
	r = dial();
	put(r, "POST /hold HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx"
	       "POST /b HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\nTrailer: t\r\n\r\n"
	       "\r\nGET /c HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"
	       "GET /never HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(held);
	ck_assert_int_eq(n_requests, 1);
	http_exchange_reply(TAKE(held), 201, "text/plain", "one", 3);
	RIG_UNTIL(take(r));
	ck_assert_int_eq(n_requests, 3);
	ck_assert_int_eq(count(r->in, "HTTP/1.1 "), 3);
	ck_assert(strstr(r->in, "one") < strstr(r->in, "two"));
	ck_assert_str_eq(last_path, "/c");
	hang_up(r);
}
END_TEST

START_TEST(one_byte_at_a_time_works_until_the_time_is_over)
{
	static const char text[] = "POST /slow HTTP/1.1\r\n" HOST "Empty:\r\nContent-Length: 3\r\n\r\nabc";
	struct raw *r, *slow;

	limits.request_ms = 400;
	limits.max_header = 64u << 20;
	start();
	r = dial();
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		put_n(r, text + i, 1);
		uv_run(rig_loop, UV_RUN_NOWAIT);
	}
	RIG_UNTIL(got(r, "abc"));
	slow = dial();
	put(slow, "GET / HTTP/1.1\r\nX: ");
	RIG_UNTIL(send(slow->fd, "y", 1, MSG_NOSIGNAL) < 1 || take(slow));
	ck_assert_msg(got(slow, "HTTP/1.1 408"), "%s", slow->in);
	ck_assert_int_eq(n_requests, 1);
	hang_up(r);
	hang_up(slow);
}
END_TEST

START_TEST(sizes_are_limited)
{
	struct raw *r;
	char big[3000];

	limits.max_header = 1000;
	limits.max_body = 2000;
	memset(big, 'x', sizeof(big));
	start();
	r = dial(); /* one long header */
	put(r, "GET / HTTP/1.1\r\n" HOST "X: ");
	put_n(r, big, 2000);
	RIG_UNTIL(take(r));
	ck_assert_msg(!strncmp(r->in, "HTTP/1.1 431", 12), "%s", r->in);
	hang_up(r);
	r = dial(); /* a long target */
	put(r, "GET /");
	put_n(r, big, 2000);
	RIG_UNTIL(take(r));
	ck_assert_msg(!strncmp(r->in, "HTTP/1.1 431", 12), "%s", r->in);
	hang_up(r);
	r = dial(); /* told in advance */
	put(r, "POST / HTTP/1.1\r\n" HOST "Content-Length: 2001\r\n\r\n");
	RIG_UNTIL(take(r));
	ck_assert_msg(!strncmp(r->in, "HTTP/1.1 413", 12), "%s", r->in);
	hang_up(r);
	r = dial(); /* in chunks */
	put(r, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nbb8\r\n");
	put_n(r, big, 3000);
	RIG_UNTIL(take(r));
	ck_assert_msg(!strncmp(r->in, "HTTP/1.1 413", 12), "%s", r->in);
	hang_up(r);
	ck_assert_int_eq(n_requests, 0);
	r = dial(); /* exactly the limit */
	put(r, "POST / HTTP/1.1\r\n" HOST "Content-Length: 2000\r\n\r\n");
	put_n(r, big, 2000);
	RIG_UNTIL(got(r, "xxx"));
	hang_up(r);
}
END_TEST

START_TEST(connections_in_use_are_not_closed_for_new_ones)
{
	struct raw *r[5];

	limits.max_connections = 3;
	start();
	r[0] = dial();
	put(r[0], "GET /hold-deaf HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(n_requests == 1);
	for (int i = 1; i < 3; i++) {
		r[i] = dial();
		put(r[i], "POST /x HTTP/1.1\r\n" HOST "Content-Length: 1\r\nExpect: 100-continue\r\n\r\n");
		RIG_UNTIL(got(r[i], "100 Continue"));
	}
	for (int i = 3; i < 5; i++) {
		r[i] = dial();
		RIG_UNTIL(take(r[i]));
		ck_assert_uint_eq(r[i]->len, 0);
		hang_up(r[i]);
	}
	for (int i = 1; i < 3; i++) {
		put(r[i], "b");
		RIG_UNTIL(got(r[i], "200 OK"));
		hang_up(r[i]);
	}
	http_exchange_reply(held, 200, "text/plain", "held", 4);
	RIG_UNTIL(got(r[0], "held"));
	hang_up(r[0]);
}
END_TEST

static void pass_ms(uint64_t ms)
{
	uint64_t until = uv_now(rig_loop) + ms;

	RIG_UNTIL(uv_now(rig_loop) > until);
}

/* Clients that keep a connection, or never say a word, must not keep others off. */
START_TEST(idle_connections_give_way_to_new_ones_the_oldest_first)
{
	struct raw *r[5];

	limits.max_connections = 3;
	start();
	for (int i = 0; i < 3; i++) {
		r[i] = dial();
		put(r[i], "GET /x HTTP/1.1\r\n" HOST "\r\n");
		RIG_UNTIL(got(r[i], "200 OK"));
		pass_ms(2);
	}
	/* used again: no longer the oldest */
	r[0]->len = 0;
	put(r[0], "GET /x HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(got(r[0], "200 OK"));
	for (int i = 3; i < 5; i++) {
		r[i] = dial();
		put(r[i], "GET /x HTTP/1.1\r\n" HOST "\r\n");
		RIG_UNTIL(got(r[i], "200 OK"));
		RIG_UNTIL(take(r[i - 2]));
		ck_assert(!take(r[0]));
	}
	ck_assert(!take(r[3]) && !take(r[4]));
	for (int i = 0; i < 5; i++)
		hang_up(r[i]);
}
END_TEST

START_TEST(handshakes_that_do_not_come_to_an_end_give_way_too)
{
	struct rig_ca ca = rig_ca_new("ca");
	struct rig_cert cert = rig_cert_new(&ca, "localhost", "127.0.0.1");
	struct http_server_tls tls = { .cert_pem = cert.cert, .key_pem = cert.key };
	struct raw *r[4];
	struct pcg_error err;

	limits.max_connections = 2;
	start();
	ck_assert_int_eq(http_server_set_tls(server, &tls, &err), 0);
	r[0] = dial();
	r[1] = dial();
	r[2] = dial();
	RIG_UNTIL(take(r[2])); /* the two are young */
	ck_assert(!take(r[0]) && !take(r[1]));
	pass_ms(1100);
	r[3] = dial();
	RIG_UNTIL(take(r[0]));
	pass_ms(20);
	ck_assert(!take(r[1]) && !take(r[3]));
	for (int i = 0; i < 4; i++)
		hang_up(r[i]);
	rig_cert_free(&cert);
	rig_ca_free(&ca);
}
END_TEST

START_TEST(idle_connections_end)
{
	struct raw *r;

	limits.idle_ms = 60;
	start();
	r = dial();
	put(r, "GET /x HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(take(r));
	ck_assert_ptr_nonnull(strstr(r->in, "200 OK"));
	hang_up(r);
}
END_TEST

START_TEST(client_that_leaves_a_long_poll_is_told_once)
{
	struct raw *r;
	struct http_exchange *deaf;

	start();
	r = dial();
	put(r, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(held);
	hang_up(r);
	RIG_UNTIL(n_gone == 1);
	r = dial(); /* a handler that did not ask may still answer */
	put(r, "GET /hold-deaf HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(held);
	deaf = TAKE(held);
	hang_up(r);
	for (int i = 0; i < 20; i++)
		uv_run(rig_loop, UV_RUN_NOWAIT);
	http_exchange_reply(deaf, 200, "text/plain", "x", 1);
	ck_assert_int_eq(n_gone, 1);
}
END_TEST

START_TEST(slow_reader_of_a_stream_is_cut_and_memory_bounded)
{
	static char block[64 << 10];
	struct raw *r;

	memset(block, 's', sizeof(block));
	start();
	r = dial();
	put(r, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(held);
	for (n_written = 0; n_written < 4096 && held; n_written++) {
		write_end = http_exchange_stream_write(held, block, sizeof(block));
		if (write_end)
			break;
	}
	ck_assert_int_eq(write_end, -1);
	ck_assert_int_lt(n_written, 400); /* what waits here and in the kernel's buffers */
	RIG_UNTIL(n_gone == 1);
	hang_up(r);
}
END_TEST

START_TEST(client_that_takes_nothing_is_cut)
{
	static char block[64 << 10];
	struct raw *r;

	limits.write_stall_ms = 80;
	start();
	r = dial();
	put(r, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(held);
	for (int i = 0; i < 60; i++)
		ck_assert_int_eq(http_exchange_stream_write(held, block, sizeof(block)), 0);
	RIG_UNTIL(n_gone == 1);
	hang_up(r);
}
END_TEST

START_TEST(small_rules_of_the_protocol_are_kept)
{
	struct raw *r;

	start();
	r = dial();
	put(r, "HEAD /a HTTP/1.1\r\n" HOST "\r\nPOST /b HTTP/1.1\r\n" HOST
	       "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	RIG_UNTIL(got(r, "100 Continue\r\n\r\n"));
	put(r, "hi");
	RIG_UNTIL(got(r, "hi"));
	ck_assert_int_eq(count(r->in, "200 OK"), 2);
	hang_up(r);
	r = dial(); /* HTTP/1.0 ends after the answer, and knows no chunks */
	put(r, "GET /stream HTTP/1.0\r\n\r\n");
	RIG_UNTIL(held);
	http_exchange_stream_write(held, "part", 4);
	http_exchange_stream_end(TAKE(held));
	RIG_UNTIL(take(r));
	ck_assert_ptr_null(strstr(r->in, "chunked"));
	ck_assert_ptr_nonnull(strstr(r->in, "\r\n\r\npart"));
	hang_up(r);
	r = dial(); /* a value never becomes a header of its own */
	put(r, "GET /inject HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(got(r, "ok"));
	ck_assert_ptr_null(strstr(r->in, "\nX-Evil"));
	hang_up(r);
}
END_TEST

START_TEST(flood_behind_an_open_exchange_is_bounded)
{
	static char block[64 << 10];
	struct raw *r;
	size_t sent = 0;
	int quiet = 0;

	memset(block, 'f', sizeof(block));
	start();
	r = dial();
	put(r, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	RIG_UNTIL(held);
	while (quiet < 50) { /* until neither side takes more */
		ssize_t n = send(r->fd, block, sizeof(block), MSG_NOSIGNAL | MSG_DONTWAIT);

		quiet = n > 0 ? 0 : quiet + 1;
		sent += n > 0 ? (size_t)n : 0;
		uv_run(rig_loop, UV_RUN_NOWAIT);
		ck_assert_uint_lt(sent, 64u << 20);
	}
	http_exchange_reply(TAKE(held), 200, "text/plain", "x", 1);
	RIG_UNTIL(got(r, "HTTP/1.1 4"));
	hang_up(r);
}
END_TEST

START_TEST(address_that_cannot_be_used_is_named)
{
	struct http_server *other;
	struct pcg_error err;

	start();
	ck_assert_int_lt(http_server_new(rig_loop, "127.0.0.1", http_server_port(server), NULL, NULL, handle,
					 NULL, &other, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "127.0.0.1"));
	ck_assert_int_lt(http_server_new(rig_loop, "here", 0, NULL, NULL, handle, NULL, &other, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "here"));
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, ambiguous_or_broken_requests_are_refused_and_end, 0, (int)ARRAY_LEN(refused));
	tcase_add_test(tc, paths_are_decoded_once_and_stay_below_the_root);
	tcase_add_test(tc, pipelined_requests_are_answered_in_order);
	tcase_add_test(tc, one_byte_at_a_time_works_until_the_time_is_over);
	tcase_add_test(tc, sizes_are_limited);
	tcase_add_test(tc, connections_in_use_are_not_closed_for_new_ones);
	tcase_add_test(tc, idle_connections_give_way_to_new_ones_the_oldest_first);
	tcase_add_test(tc, handshakes_that_do_not_come_to_an_end_give_way_too);
	tcase_add_test(tc, idle_connections_end);
	tcase_add_test(tc, client_that_leaves_a_long_poll_is_told_once);
	tcase_add_test(tc, slow_reader_of_a_stream_is_cut_and_memory_bounded);
	tcase_add_test(tc, client_that_takes_nothing_is_cut);
	tcase_add_test(tc, small_rules_of_the_protocol_are_kept);
	tcase_add_test(tc, flood_behind_an_open_exchange_is_bounded);
	tcase_add_test(tc, address_that_cannot_be_used_is_named);
}

int main(void)
{
	return unit_main("http_server", add);
}
