/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_client.h"
#include "tests/net/rig.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

/* A server that answers the first request of each connection, and of the first connection alone reads the second one and ends. */
struct server {
	int fd;
	uint16_t port;
	pthread_t thread;
	int connections, requests;
};

/* Reads one request, body included. */
static bool request_read(int fd)
{
	size_t have = 0, body = 0, head = 0;
	char text[4096];

	while (!head || have < head + body) {
		ssize_t n = read(fd, text + have, sizeof(text) - 1 - have);
		const char *end, *length;

		if (n <= 0)
			return false;
		have += (size_t)n;
		text[have] = '\0';
		end = strstr(text, "\r\n\r\n");
		if (!head && end) {
			head = (size_t)(end + 4 - text);
			length = strcasestr(text, "\r\nContent-Length:");
			body = length ? strtoul(length + 17, NULL, 10) : 0;
		}
	}
	return true;
}

static void *serve(void *arg)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		s->connections++;
		for (int i = 0; request_read(fd); i++) {
			s->requests++;
			if (s->connections == 1 && i == 1)
				break;
			ck_assert_int_eq(write(fd, answer, sizeof(answer) - 1), sizeof(answer) - 1);
		}
		close(fd);
	}
	return NULL;
}

static void server_start(struct server *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	memset(s, 0, sizeof(*s));
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(s->fd, 8), 0);
	ck_assert_int_eq(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
	s->port = ntohs(a.sin_port);
	ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static struct rig_answer ask(struct http_client *c, const struct server *s, const char *method,
			     const char *body, bool repeatable)
{
	char url[64];
	struct http_request req = { .method = method, .url = url, .body = body,
				    .body_len = strlen(body), .repeatable = repeatable };
	struct rig_answer a = { 0 };

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", s->port);
	http_submit(c, &req, rig_done, &a);
	RIG_UNTIL(a.done);
	free(a.body);
	return a;
}

static const struct {
	const char *method, *body;
	bool repeatable, again;
} rows[] = {
	{ "GET", "", false, true },
	{ "DELETE", "", false, true },
	{ "PUT", "{}", false, true },
	{ "POST", "{}", false, false },
	{ "POST", "", false, false },
	{ "PATCH", "{}", false, false },
	{ "POST", "{}", true, true },
	{ "PATCH", "{}", true, true },
};

START_TEST(what_may_have_been_carried_out_is_not_sent_again)
{
	struct http_client *c;
	struct rig_answer a;
	struct server s;

	rig_start();
	server_start(&s);
	c = http_client_new(rig_loop, NULL);
	a = ask(c, &s, "GET", "", false);
	ck_assert_int_eq(a.status, 200);
	a = ask(c, &s, rows[_i].method, rows[_i].body, rows[_i].repeatable);
	if (rows[_i].again) {
		ck_assert_msg(a.status == 200, "%s: %s", rows[_i].method, a.err.text);
	} else {
		ck_assert_int_eq(a.status, 0);
		ck_assert_int_eq(a.err.class, PCG_CLASS_RETRY);
		ck_assert_msg(strstr(a.err.text, "ended before an answer came; it may have been carried out"),
			      "%s", a.err.text);
	}
	/* And the client is as good as before. */
	a = ask(c, &s, "POST", "{}", false);
	ck_assert_msg(a.status == 200, "%s: %s", rows[_i].method, a.err.text);
	rig_client_end(c);
	shutdown(s.fd, SHUT_RDWR);
	pthread_join(s.thread, NULL);
	close(s.fd);
	rig_end();
	ck_assert_int_eq(s.requests, rows[_i].again ? 4 : 3);
	ck_assert_int_eq(s.connections, rows[_i].again ? 2 : 3);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, what_may_have_been_carried_out_is_not_sent_again, 0, ARRAY_LEN(rows));
}

int main(void)
{
	return unit_main("http_again", add);
}
