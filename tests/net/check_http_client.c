/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/json.h"
#include "net/http_client_impl.h"
#include "tests/net/rig.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <sys/socket.h>

static struct rig_ca ca, other_ca;
static struct rig_cert cert;
static struct http_server *server;
static struct http_client *client;
static int n_requests, n_gone, max_open, now_open;
static struct http_exchange *held[64];
static int n_held, n_sent;
static char url_base[64];

static void gone(void *arg, struct http_exchange *x)
{
	n_gone++;
	for (int i = 0; i < n_held; i++)
		if (held[i] == x)
			held[i] = NULL;
}

static void handle(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	n_requests++;
	if (!strcmp(req->path, "/echo")) {
		const char *h = http_exchange_header(x, "x-test");

		http_exchange_set_header(x, "X-Test", h ? h : "none");
		http_exchange_reply(x, 200, "text/plain", req->body, req->body_len);
	} else if (!strcmp(req->path, "/hold")) {
		http_exchange_on_gone(x, gone, NULL);
		held[n_held++] = x;
		if (++now_open > max_open)
			max_open = now_open;
	} else if (!strcmp(req->path, "/stream")) {
		http_exchange_on_gone(x, gone, NULL);
		http_exchange_stream_begin(x, 200, "text/plain");
		http_exchange_stream_write(x, "one\n", 4);
		held[n_held++] = x;
	} else if (!strcmp(req->path, "/big")) {
		static char big[1 << 20];

		memset(big, 'b', sizeof(big));
		http_exchange_reply(x, 200, "text/plain", big, sizeof(big));
	} else if (!strcmp(req->path, "/who")) {
		char who[300];

		snprintf(who, sizeof(who), "%s%s", req->client ? req->client->common_name : "nobody",
			 req->client && req->client->expired ? ", expired" : "");
		http_exchange_reply(x, 200, "text/plain", who, strlen(who));
	} else if (!strncmp(req->path, "/status/", 8)) {
		http_exchange_reply(x, atoi(req->path + 8), "text/plain", "", 0);
	} else {
		http_exchange_reply(x, 200, "text/plain", req->method, strlen(req->method));
	}
}

static void release_held(void)
{
	for (int i = 0; i < n_held; i++) {
		struct http_exchange *x = held[i];

		if (x) {
			held[i] = NULL;
			now_open--;
			http_exchange_reply(x, 200, "text/plain", "late", 4);
		}
	}
	n_held = 0;
}

static struct http_server *tls_server(const char *client_ca, bool required)
{
	struct http_server_tls tls = { .cert_pem = cert.cert, .key_pem = cert.key,
				       .client_ca_pem = client_ca, .client_required = required };
	struct http_server *s;
	struct pcg_error err;

	ck_assert_msg(!http_server_new(rig_loop, "127.0.0.1", 0, &tls, NULL, handle, NULL, &s, &err),
		      "%s", err.text);
	snprintf(url_base, sizeof(url_base), "https://127.0.0.1:%u", http_server_port(s));
	return s;
}

static void setup(void)
{
	rig_start();
	ca = rig_ca_new("ours");
	other_ca = rig_ca_new("other");
	cert = rig_cert_new(&ca, "gateway.test", "127.0.0.1");
	server = tls_server(NULL, false);
	client = http_client_new(rig_loop, NULL);
}

static void teardown(void)
{
	if (client)
		rig_client_end(client);
	if (server)
		rig_server_end(server);
	rig_end();
	rig_cert_free(&cert);
	rig_ca_free(&ca);
	rig_ca_free(&other_ca);
}

static struct http_tls_ctx *trust(const char *ca_pem, const char *thumbprint, const char *server_name)
{
	struct http_tls spec = { .ca_pem = ca_pem, .thumbprint = thumbprint,
				 .server_name = server_name };
	struct http_tls_ctx *t;
	struct pcg_error err;

	ck_assert_msg(!http_tls_new(&spec, &t, &err), "%s", err.text);
	return t;
}

static struct http_call *send_to(const char *path, struct http_tls_ctx *t, struct rig_answer *a)
{
	char url[256];
	struct http_request req = { .method = "GET", .url = url, .tls = t };

	snprintf(url, sizeof(url), "%s%s", url_base, path);
	return http_submit(client, &req, rig_done, a);
}

static struct rig_answer get(const char *path, struct http_tls_ctx *t)
{
	struct rig_answer a = { 0 };

	send_to(path, t, &a);
	RIG_UNTIL(a.done);
	return a;
}

START_TEST(answers_with_status_headers_and_body)
{
	static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);

	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		struct http_header h = { "X-Test", "a value" };
		struct rig_answer a = { 0 };
		char url[128];
		struct http_request req = { .method = methods[i], .url = url, .headers = &h,
					    .n_headers = 1, .tls = t };

		snprintf(url, sizeof(url), "%s/echo?x=1", url_base);
		if (strcmp(methods[i], "GET")) {
			req.body = "some\0body";
			req.body_len = 9;
		}
		http_submit(client, &req, rig_done, &a);
		ck_assert_int_eq(a.done, 0);
		RIG_UNTIL(a.done);
		ck_assert_msg(a.status == 200, "%s: %s", methods[i], a.err.text);
		ck_assert_str_eq(a.header, "a value");
		ck_assert_uint_eq(a.len, req.body_len);
		ck_assert(!req.body_len || !memcmp(a.body, "some\0body", 9));
		free(a.body);
	}
	http_tls_unref(t);
}
END_TEST

START_TEST(wrong_thumbprint_sends_no_byte_of_http)
{
	char wrong[65], right[128];
	struct http_tls_ctx *t;
	struct rig_answer a;

	memset(wrong, 'a', 64);
	wrong[64] = '\0';
	t = trust(NULL, wrong, NULL);
	a = get("/echo", t);
	ck_assert_int_eq(a.status, 0);
	ck_assert_int_eq(a.err.class, PCG_CLASS_PERMANENT);
	ck_assert_ptr_nonnull(strstr(a.err.text, "thumbprint"));
	ck_assert_int_eq(n_requests, 0);
	free(a.body);
	http_tls_unref(t);
	for (int sha1 = 0; sha1 < 2; sha1++) {
		const char *hex = sha1 ? cert.info.sha1 : cert.info.sha256;
		char *to = right;

		for (const char *p = hex; *p; p += 2)
			to += sprintf(to, "%s%c%c", p == hex ? "" : ":", toupper(p[0]), toupper(p[1]));
		t = trust(NULL, right, NULL);
		a = get("/echo", t);
		ck_assert_msg(a.status == 200, "%s", a.err.text);
		free(a.body);
		http_tls_unref(t);
	}
	ck_assert_int_eq(n_requests, 2);
}
END_TEST

START_TEST(a_connection_serves_only_those_who_verified_it)
{
	struct http_tls_ctx *good = trust(ca.cert, NULL, NULL), *bad = trust(other_ca.cert, NULL, NULL);
	struct http_tls insecure_spec = { .insecure = true };
	struct http_tls_ctx *insecure;
	struct rig_answer a;
	struct pcg_error err;

	ck_assert_int_eq(http_tls_new(&insecure_spec, &insecure, &err), 0);
	for (int round = 0; round < 3; round++) {
		a = get("/echo", round == 1 ? insecure : good);
		ck_assert_int_eq(a.status, 200);
		free(a.body);
		a = get("/echo", bad);
		ck_assert_int_eq(a.status, 0);
		ck_assert_int_eq(a.err.class, PCG_CLASS_PERMANENT);
		ck_assert_msg(strstr(a.err.text, "CN=ours") != NULL, "%s", a.err.text);
		free(a.body);
	}
	ck_assert_int_eq(n_requests, 3);
	a = get("/echo", NULL); /* the system's authorities do not know ours */
	ck_assert_int_eq(a.err.class, PCG_CLASS_PERMANENT);
	ck_assert_int_eq(a.status, 0);
	free(a.body);
	http_tls_unref(good);
	http_tls_unref(bad);
	http_tls_unref(insecure);
}
END_TEST

START_TEST(server_name_takes_the_place_of_the_address)
{
	struct http_tls_ctx *t = trust(ca.cert, NULL, "gateway.test"),
			    *wrong = trust(ca.cert, NULL, "elsewhere.test");
	struct rig_answer a = get("/echo", t);

	ck_assert_msg(a.status == 200, "%s", a.err.text);
	free(a.body);
	a = get("/echo", wrong);
	ck_assert_int_eq(a.status, 0);
	ck_assert_int_eq(a.err.class, PCG_CLASS_PERMANENT);
	ck_assert_msg(strstr(a.err.text, "elsewhere.test") != NULL, "%s", a.err.text);
	free(a.body);
	ck_assert_int_eq(n_requests, 1);
	http_tls_unref(t);
	http_tls_unref(wrong);
}
END_TEST

START_TEST(expired_certificate_is_refused_by_the_one_clock)
{
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct rig_answer a = get("/echo", t);

	ck_assert_int_eq(a.status, 200);
	free(a.body);
	rig_client_end(client);
	client = http_client_new(rig_loop, NULL);
	clock_turn_ms(2 * RIG_DAY_MS);
	a = get("/echo", t);
	clock_turn_ms(-2 * RIG_DAY_MS);
	ck_assert_int_eq(a.status, 0);
	ck_assert_ptr_nonnull(strstr(a.err.text, "expired"));
	ck_assert_ptr_nonnull(strstr(a.err.text, "this machine's clock says"));
	ck_assert_ptr_nonnull(strstr(a.err.remedy, "clock"));
	free(a.body);
	http_tls_unref(t);
}
END_TEST

/* Where that is wanted, and no other that is wrong. */
START_TEST(expired_client_certificate_is_told_where_that_is_wanted)
{
	struct rig_cert old = rig_cert_span(&ca, "gw-1", "127.0.0.9", -RIG_DAY_MS, -3600000),
			foreign = rig_cert_span(&other_ca, "gw-2", "127.0.0.9", -RIG_DAY_MS, -3600000),
			early = rig_cert_span(&ca, "gw-3", "127.0.0.9", 3600000, RIG_DAY_MS);
	const struct rig_cert *shown[] = { &old, &foreign, &early };
	struct http_tls spec = { .ca_pem = ca.cert };

	for (int i = 0; i < 6; i++) {
		struct http_server_tls tls = { .cert_pem = cert.cert, .key_pem = cert.key, .client_ca_pem = ca.cert,
					       .client_expired_told = i % 2 };
		struct http_server *mutual;
		struct http_tls_ctx *t;
		struct rig_answer a;
		struct pcg_error err;

		ck_assert_int_eq(http_server_new(rig_loop, "127.0.0.1", 0, &tls, NULL, handle, NULL, &mutual, &err), 0);
		snprintf(url_base, sizeof(url_base), "https://127.0.0.1:%u", http_server_port(mutual));
		spec.client_cert_pem = shown[i / 2]->cert;
		spec.client_key_pem = shown[i / 2]->key;
		ck_assert_int_eq(http_tls_new(&spec, &t, &err), 0);
		a = get("/who", t);
		ck_assert_int_eq(a.status, i == 1 ? 200 : 0);
		if (i == 1)
			ck_assert_str_eq(a.body, "gw-1, expired");
		free(a.body);
		http_tls_unref(t);
		rig_server_end(mutual);
	}
	rig_cert_free(&old);
	rig_cert_free(&foreign);
	rig_cert_free(&early);
}
END_TEST

START_TEST(client_certificate_reaches_the_server)
{
	struct rig_cert mine = rig_cert_new(&ca, "gw-1", "127.0.0.9"),
			foreign = rig_cert_new(&other_ca, "gw-2", "127.0.0.9");
	struct http_server *mutual = tls_server(ca.cert, true);
	struct http_tls spec = { .ca_pem = ca.cert };
	struct http_tls_ctx *t;
	struct pcg_error err;
	struct rig_answer a;

	for (int i = 0; i < 3; i++) {
		spec.client_cert_pem = i == 0 ? mine.cert : i == 1 ? foreign.cert : NULL;
		spec.client_key_pem = i == 0 ? mine.key : i == 1 ? foreign.key : NULL;
		ck_assert_int_eq(http_tls_new(&spec, &t, &err), 0);
		a = get("/who", t);
		ck_assert_int_eq(a.status, i == 0 ? 200 : 0);
		if (i == 0)
			ck_assert_str_eq(a.body, "gw-1");
		else
			ck_assert_msg(a.err.class == PCG_CLASS_AUTH, "%s", a.err.text);
		free(a.body);
		http_tls_unref(t);
	}
	spec.client_cert_pem = mine.cert;
	spec.client_key_pem = foreign.key;
	ck_assert_int_eq(http_tls_new(&spec, &t, &err), PCG_EPERMANENT);
	rig_server_end(mutual);
	rig_cert_free(&mine);
	rig_cert_free(&foreign);
}
END_TEST

START_TEST(cancel_closes_the_connection_and_calls_nobody)
{
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct rig_answer a = { 0 };
	struct http_call *call = send_to("/hold", t, &a);

	RIG_UNTIL(n_held == 1);
	http_cancel(call);
	RIG_UNTIL(n_gone == 1);
	ck_assert_int_eq(a.done, 0);
	call = send_to("/hold", t, &a); /* at once, before it started */
	http_cancel(call);
	a = get("/echo", t);
	ck_assert_int_eq(a.status, 200);
	ck_assert_int_eq(a.done, 1);
	free(a.body);
	http_tls_unref(t);
}
END_TEST

static void note_sent(void *arg)
{
	ck_assert_int_eq(((struct rig_answer *)arg)->done, 0);
	n_sent++;
}

/* Also with a body, and not for those who did not ask on the same connection. */
START_TEST(a_request_that_is_sent_is_told_before_its_answer)
{
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct rig_answer a = { 0 }, b = { 0 }, c;
	char hold[128], echo[128];
	struct http_request held_req = { .method = "GET", .url = hold, .tls = t, .on_sent = note_sent };
	struct http_request with_body = { .method = "PUT", .url = echo, .tls = t, .on_sent = note_sent,
					  .body = "four", .body_len = 4 };

	snprintf(hold, sizeof(hold), "%s/hold", url_base);
	snprintf(echo, sizeof(echo), "%s/echo", url_base);
	http_submit(client, &held_req, rig_done, &a);
	RIG_UNTIL(n_held == 1);
	ck_assert_int_eq(n_sent, 1);
	ck_assert_int_eq(a.done, 0);
	release_held();
	RIG_UNTIL(a.done);
	http_submit(client, &with_body, rig_done, &b);
	RIG_UNTIL(b.done);
	c = get("/echo", t);
	ck_assert_int_eq(n_sent, 2);
	ck_assert_uint_eq(b.len, 4);
	free(a.body);
	free(b.body);
	free(c.body);
	http_tls_unref(t);
}
END_TEST

START_TEST(closing_ends_every_call_as_cancelled)
{
	struct http_client_limits limits = { .max_host = 2 };
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct rig_answer a[4] = { 0 };
	struct http_request bad = { .method = "GET", .url = "ftp://x/" };

	rig_client_end(client);
	client = http_client_new(rig_loop, &limits);
	for (int i = 0; i < 3; i++)
		send_to("/hold", t, &a[i]);
	RIG_UNTIL(n_held == 2);
	http_submit(client, &bad, rig_done, &a[3]);
	rig_client_end(TAKE(client));
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(a[i].done, 1);
		ck_assert_int_eq(a[i].status, 0);
		ck_assert_int_eq(a[i].err.class, PCG_CLASS_CANCELLED);
	}
	ck_assert_int_eq(a[3].done, 1);
	for (int i = 0; i < 4; i++)
		free(a[i].body);
	RIG_UNTIL(n_gone == 2);
	http_tls_unref(t);
}
END_TEST

static int count_done(const struct rig_answer *a, int n)
{
	int done = 0;

	for (int i = 0; i < n; i++)
		done += a[i].done;
	return done;
}

START_TEST(host_limit_queues_and_own_connections_pass)
{
	struct http_client_limits limits = { .max_host = 3 };
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct rig_answer a[12] = { 0 }, own = { 0 };
	char url[128];
	struct http_request req = { .method = "GET", .url = url, .tls = t, .own_connection = true };

	rig_client_end(client);
	client = http_client_new(rig_loop, &limits);
	for (int i = 0; i < 12; i++)
		send_to("/hold", t, &a[i]);
	snprintf(url, sizeof(url), "%s/echo", url_base);
	http_submit(client, &req, rig_done, &own);
	RIG_UNTIL(own.done && n_held == 3);
	ck_assert_int_eq(own.status, 200);
	while (count_done(a, 12) < 12) {
		release_held();
		RIG_UNTIL(n_held > 0 || count_done(a, 12) == 12);
	}
	ck_assert_int_eq(max_open, 3);
	for (int i = 0; i < 12; i++) {
		ck_assert_int_eq(a[i].status, 200);
		free(a[i].body);
	}
	free(own.body);
	http_tls_unref(t);
}
END_TEST

START_TEST(time_limit_counts_for_waiting_and_running)
{
	struct http_client_limits limits = { .max_host = 1 };
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct rig_answer a[2] = { 0 }, first = { 0 };
	char url[128];
	struct http_request req = { .method = "GET", .url = url, .tls = t, .timeout_ms = 100 };

	rig_client_end(client);
	client = http_client_new(rig_loop, &limits);
	snprintf(url, sizeof(url), "%s/hold", url_base);
	send_to("/hold", t, &first);
	RIG_UNTIL(n_held == 1);
	http_submit(client, &req, rig_done, &a[0]);
	RIG_UNTIL(a[0].done);
	ck_assert_int_eq(a[0].status, 0);
	ck_assert_int_eq(a[0].err.class, PCG_CLASS_RETRY);
	req.own_connection = true;
	http_submit(client, &req, rig_done, &a[1]);
	RIG_UNTIL(a[1].done);
	ck_assert_int_eq(a[1].status, 0);
	ck_assert_int_eq(a[1].err.class, PCG_CLASS_RETRY);
	free(a[0].body);
	free(a[1].body);
	release_held();
	RIG_UNTIL(first.done);
	ck_assert_int_eq(first.status, 200);
	free(first.body);
	http_tls_unref(t);
}
END_TEST

START_TEST(answer_over_the_limit_is_an_error_that_says_so)
{
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct rig_answer a = { 0 };
	char url[128];
	struct http_request req = { .method = "GET", .url = url, .tls = t, .max_response = 1000 };

	snprintf(url, sizeof(url), "%s/big", url_base);
	http_submit(client, &req, rig_done, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 0);
	ck_assert_ptr_nonnull(strstr(a.err.text, "limit of 1000 bytes"));
	free(a.body);
	a = get("/big", t);
	ck_assert_int_eq(a.status, 200);
	ck_assert_uint_eq(a.len, 1 << 20);
	free(a.body);
	http_tls_unref(t);
}
END_TEST

struct stream {
	char got[64];
	int limit;
	struct http_call *call;
	struct rig_answer a;
};

static int on_data(void *arg, const char *data, size_t len)
{
	struct stream *s = arg;

	strncat(s->got, data, len);
	if (s->limit < 0)
		http_cancel(s->call);
	return s->limit > 0 && (int)strlen(s->got) >= s->limit;
}

static void stream_done(void *arg, const struct http_response *r)
{
	rig_done(&((struct stream *)arg)->a, r);
}

START_TEST(stream_gives_data_as_it_comes)
{
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct stream s = { 0 };
	char url[128];
	struct http_request req = { .method = "GET", .url = url, .tls = t, .on_data = on_data };

	snprintf(url, sizeof(url), "%s/stream", url_base);
	http_submit(client, &req, stream_done, &s);
	RIG_UNTIL(!strcmp(s.got, "one\n"));
	ck_assert_int_eq(http_exchange_stream_write(held[0], "two\n", 4), 0);
	RIG_UNTIL(!strcmp(s.got, "one\ntwo\n"));
	http_exchange_stream_end(TAKE(held[0]));
	RIG_UNTIL(s.a.done);
	ck_assert_int_eq(s.a.status, 200);
	ck_assert_uint_eq(s.a.len, 0);
	free(s.a.body);

	s = (struct stream){ .limit = 4 };
	http_submit(client, &req, stream_done, &s);
	RIG_UNTIL(s.a.done && n_gone == 1);
	ck_assert_int_eq(s.a.status, 200);
	free(s.a.body);

	s = (struct stream){ .limit = -1 };
	s.call = http_submit(client, &req, stream_done, &s);
	RIG_UNTIL(n_gone == 2);
	ck_assert_int_eq(s.a.done, 0);
	http_tls_unref(t);
}
END_TEST

START_TEST(errors_have_class_and_remedy)
{
	static const struct {
		const char *url;
		enum pcg_class class;
		const char *says;
	} rows[] = {
		{ "http://127.0.0.1:1/", PCG_CLASS_RETRY, "127.0.0.1:1/" },
		{ "ftp://127.0.0.1/", PCG_CLASS_PERMANENT, "scheme" },
		{ "https://", PCG_CLASS_PERMANENT, "URL" },
		{ "https://user:hunter2@127.0.0.1/?t=hunter2", PCG_CLASS_PERMANENT, "user name" },
		{ "http://127.0.0.1:70000/", PCG_CLASS_PERMANENT, "URL" },
		{ "no scheme", PCG_CLASS_PERMANENT, "scheme" },
		{ "", PCG_CLASS_PERMANENT, "empty" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_request req = { .method = "GET", .url = rows[i].url };
		struct rig_answer a = { 0 };

		http_submit(client, &req, rig_done, &a);
		ck_assert_int_eq(a.done, 0);
		RIG_UNTIL(a.done);
		ck_assert_int_eq(a.status, 0);
		ck_assert_msg(a.err.class == rows[i].class, "%s: %s", rows[i].url, a.err.text);
		ck_assert_msg(strstr(a.err.text, rows[i].says) != NULL, "%s: %s", rows[i].url, a.err.text);
		ck_assert_ptr_null(strstr(a.err.text, "hunter2"));
		free(a.body);
	}
}
END_TEST

START_TEST(status_becomes_a_class)
{
	static const struct {
		int status;
		int code;
	} rows[] = { { 200, 0 }, { 400, PCG_EPERMANENT }, { 401, PCG_EAUTH }, { 403, PCG_EAUTH },
		     { 404, PCG_ENOTFOUND }, { 409, PCG_ECONFLICT }, { 429, PCG_ERETRY },
		     { 500, PCG_ERETRY }, { 503, PCG_ERETRY }, { 422, PCG_EPERMANENT } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_response r = { .status = rows[i].status };
		struct pcg_error err;

		ck_assert_int_eq(http_response_error(&r, "GET x", &err), rows[i].code);
	}
}
END_TEST

static void resubmit(void *arg, const struct http_response *r)
{
	int *left = arg;
	char url[128];
	struct http_request req = { .method = "GET", .url = url };

	ck_assert_int_eq(r->status, 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:1/");
	if (--*left > 0)
		http_submit(client, &req, resubmit, left);
	else
		http_client_close(TAKE(client), NULL, NULL);
}

START_TEST(callback_may_submit_and_close)
{
	int left = 3;
	struct http_request req = { .method = "GET", .url = "http://127.0.0.1:1/" };

	http_submit(client, &req, resubmit, &left);
	RIG_UNTIL(!client);
}
END_TEST

START_TEST(idle_connections_are_closed)
{
	struct http_client_limits limits = { .idle_close_ms = 50 };
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct rig_answer a;
	int fds = 0, after;

	rig_client_end(client);
	RIG_UNTIL(true);
	client = http_client_new(rig_loop, &limits);
	fds = dup(0);
	close(fds);
	a = get("/echo", t);
	ck_assert_int_eq(a.status, 200);
	free(a.body);
	RIG_UNTIL((after = dup(0), close(after), after == fds));
	http_tls_unref(t);
}
END_TEST

/* Long before their time, once nobody else holds what they were made with. */
START_TEST(connections_that_nobody_can_use_any_more_are_closed_at_once)
{
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	int before = dup(0), now;
	struct rig_answer a;

	close(before);
	a = get("/echo", t);
	ck_assert_int_eq(a.status, 200);
	free(a.body);
	http_client_sweep_soon(client);
	uv_run(rig_loop, UV_RUN_NOWAIT);
	now = dup(0);
	close(now);
	ck_assert_int_gt(now, before); /* it may still be used */
	http_tls_unref(t);
	http_client_sweep_soon(client);
	RIG_UNTIL((now = dup(0), close(now), now == before));
}
END_TEST

START_TEST(authorities_of_the_system_are_read_for_tls_only)
{
	struct http_server *plain;
	struct rig_answer a = { 0 };
	struct pcg_error err;
	char url[64];
	struct http_request req = { .method = "GET", .url = url };

	ck_assert_int_eq(http_server_new(rig_loop, "127.0.0.1", 0, NULL, NULL, handle, NULL, &plain, &err), 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/echo", http_server_port(plain));
	http_submit(client, &req, rig_done, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 200);
	ck_assert_ptr_null(client->system_tls);
	free(a.body);
	http_server_close(plain, NULL, NULL);
	/* Not one of them has signed this server's certificate. */
	memset(&a, 0, sizeof(a));
	send_to("/echo", NULL, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 0);
	ck_assert_ptr_nonnull(client->system_tls);
	ck_assert_ptr_nonnull(client->system_tls->store);
	free(a.body);
}
END_TEST

static void on_peer(void *arg, const struct http_response *resp)
{
	struct rig_answer *a = arg;

	a->done++;
	a->status = resp->status;
	ck_assert_uint_eq(strlen(resp->peer_sha1), 40);
	a->body = strdup(resp->peer_sha256);
}

/* The class that the client itself makes for calls that name none. */
START_TEST(a_server_that_the_system_trusts_has_its_thumbprint_told)
{
	char path[] = "/tmp/pcg-system-ca-XXXXXX", url[80];
	struct http_request req = { .method = "GET", .url = url };
	struct rig_answer a = { 0 };
	int fd = mkstemp(path);
	struct pki_info info;
	struct pcg_error err;

	ck_assert_int_eq(write(fd, ca.cert, strlen(ca.cert)), (ssize_t)strlen(ca.cert));
	close(fd);
	setenv("SSL_CERT_FILE", path, 1);
	snprintf(url, sizeof(url), "%s/echo", url_base);
	http_submit(client, &req, on_peer, &a);
	RIG_UNTIL(a.done);
	unlink(path);
	ck_assert_int_eq(a.status, 200);
	ck_assert_int_eq(pki_cert_info(cert.cert, &info, &err), 0);
	ck_assert_str_eq(a.body, info.sha256);
	free(a.body);
}
END_TEST

/* A listener that takes nobody: who connects waits. The sockets that fill its queue are closed with it. */
static uint16_t full_listener(int fds[4])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(fds[0], 0), 0);
	ck_assert_int_eq(getsockname(fds[0], (struct sockaddr *)&a, &len), 0);
	for (int i = 1; i < 4; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fds[i], (struct sockaddr *)&a, sizeof(a));
	}
	return ntohs(a.sin_port);
}

/* libcurl closes a socket that never connected by itself, without a word. */
START_TEST(a_socket_that_never_connected_is_let_go)
{
	struct http_tls_ctx *t = trust(ca.cert, NULL, NULL);
	struct rig_answer late = { 0 }, a;
	uv_pipe_t pipe;
	int fds[4], pair[2];
	char url[64];
	struct http_request req = { .method = "GET", .url = url, .tls = t, .timeout_ms = 50 };

	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", full_listener(fds));
	http_submit(client, &req, rig_done, &late);
	RIG_UNTIL(late.done);
	ck_assert_int_eq(late.status, 0);
	ck_assert_int_eq(late.err.class, PCG_CLASS_RETRY);
	free(late.body);
	/* Its number is free, for the loop too. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	uv_pipe_init(rig_loop, &pipe, 0);
	ck_assert_int_eq(uv_pipe_open(&pipe, pair[0]), 0);
	uv_close((uv_handle_t *)&pipe, NULL);
	uv_run(rig_loop, UV_RUN_NOWAIT);
	close(pair[1]);
	/* Its number is taken by another connection of the pool, which works, and is closed by it. */
	a = get("/echo", t);
	ck_assert_int_eq(a.status, 200);
	free(a.body);
	memset(&late, 0, sizeof(late));
	http_submit(client, &req, rig_done, &late);
	RIG_UNTIL(late.done);
	free(late.body);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	rig_client_end(client);
	client = NULL;
	http_tls_unref(t);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, answers_with_status_headers_and_body);
	tcase_add_test(tc, wrong_thumbprint_sends_no_byte_of_http);
	tcase_add_test(tc, a_connection_serves_only_those_who_verified_it);
	tcase_add_test(tc, server_name_takes_the_place_of_the_address);
	tcase_add_test(tc, expired_certificate_is_refused_by_the_one_clock);
	tcase_add_test(tc, expired_client_certificate_is_told_where_that_is_wanted);
	tcase_add_test(tc, client_certificate_reaches_the_server);
	tcase_add_test(tc, cancel_closes_the_connection_and_calls_nobody);
	tcase_add_test(tc, a_request_that_is_sent_is_told_before_its_answer);
	tcase_add_test(tc, closing_ends_every_call_as_cancelled);
	tcase_add_test(tc, host_limit_queues_and_own_connections_pass);
	tcase_add_test(tc, time_limit_counts_for_waiting_and_running);
	tcase_add_test(tc, answer_over_the_limit_is_an_error_that_says_so);
	tcase_add_test(tc, stream_gives_data_as_it_comes);
	tcase_add_test(tc, errors_have_class_and_remedy);
	tcase_add_test(tc, status_becomes_a_class);
	tcase_add_test(tc, callback_may_submit_and_close);
	tcase_add_test(tc, idle_connections_are_closed);
	tcase_add_test(tc, connections_that_nobody_can_use_any_more_are_closed_at_once);
	tcase_add_test(tc, a_socket_that_never_connected_is_let_go);
	tcase_add_test(tc, authorities_of_the_system_are_read_for_tls_only);
	tcase_add_test(tc, a_server_that_the_system_trusts_has_its_thumbprint_told);
}

int main(void)
{
	return unit_main("http_client", add);
}
