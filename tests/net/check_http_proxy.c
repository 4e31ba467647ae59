/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/net/rig.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* The HTTP client through a real tinyproxy that asks for Basic credentials. */

static char tinyproxy[512], dir[256];
static pid_t pid;
static uint16_t proxy_port;
static struct rig_ca ca, other_ca;
static struct rig_cert cert;
static struct http_server *tls_server, *plain_server;
static struct http_client *client;
static int n_requests;
static char last_proxy_header[128];

/* The machine's own, or the one that tests/peers/build-peers keeps. */
static bool proxy_find(void)
{
	const char *source = getenv("srcdir");
	char command[600];
	FILE *f;

	snprintf(tinyproxy, sizeof(tinyproxy), "/usr/bin/tinyproxy");
	if (access(tinyproxy, X_OK) == 0 || !source)
		return access(tinyproxy, X_OK) == 0;
	snprintf(command, sizeof(command), "'%s'/tests/peers/build-peers tinyproxy", source);
	f = popen(command, "r");
	if (!f || !fgets(tinyproxy, sizeof(tinyproxy), f))
		tinyproxy[0] = '\0';
	if (f)
		pclose(f);
	tinyproxy[strcspn(tinyproxy, "\n")] = '\0';
	return access(tinyproxy, X_OK) == 0;
}

static void handle(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	const char *h = http_exchange_header(x, "proxy-authorization");

	n_requests++;
	snprintf(last_proxy_header, sizeof(last_proxy_header), "%s", h ? h : "");
	http_exchange_reply(x, 200, "text/plain", "through", 7);
}

static int try_connect(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r = connect(fd, (struct sockaddr *)&a, sizeof(a));
	close(fd);
	return r;
}

/* tinyproxy cannot choose a free port by itself: one is taken from the kernel and given on. */
static uint16_t free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	close(fd);
	return ntohs(a.sin_port);
}

static void proxy_start(void)
{
	char conf[1024];

	unit_dir_make(dir);
	proxy_port = free_port();
	snprintf(conf, sizeof(conf),
		 "Port %u\nListen 127.0.0.1\nTimeout 30\nMaxClients 20\nLogFile \"%s/log\"\n"
		 "LogLevel Info\nBasicAuth gateway s3cret\nConnectPort %u\n",
		 proxy_port, dir, http_server_port(tls_server));
	unit_write(unit_path(dir, "conf"), conf, strlen(conf));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		execl(tinyproxy, "tinyproxy", "-d", "-c", unit_path(dir, "conf"), NULL);
		_exit(127);
	}
	RIG_UNTIL(try_connect(proxy_port) == 0);
}

static void setup(void)
{
	struct http_server_tls tls = { 0 };
	struct pcg_error err;

	rig_start();
	ca = rig_ca_new("ours");
	other_ca = rig_ca_new("proxy's");
	cert = rig_cert_new(&ca, "gateway.test", "0.0.0.0");
	tls.cert_pem = cert.cert;
	tls.key_pem = cert.key;
	ck_assert_int_eq(http_server_new(rig_loop, "127.0.0.1", 0, &tls, NULL, handle, NULL, &tls_server, &err), 0);
	ck_assert_int_eq(http_server_new(rig_loop, "127.0.0.1", 0, NULL, NULL, handle, NULL, &plain_server, &err), 0);
	client = http_client_new(rig_loop, NULL);
	proxy_start();
	/* Libcurl's own look at the environment would send everything elsewhere. */
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1);
	setenv("NO_PROXY", "*", 1);
}

static void teardown(void)
{
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	rig_client_end(client);
	rig_server_end(tls_server);
	rig_server_end(plain_server);
	rig_end();
	rig_cert_free(&cert);
	rig_ca_free(&ca);
	rig_ca_free(&other_ca);
	unit_dir_remove(dir);
}

/* The target is 0.0.0.0: Linux takes it to this machine, and unlike loopback it is not exempt. */
static struct rig_answer ask(bool https, const char *user, const char *list, const char *proxy_ca,
			     struct http_tls_ctx *t)
{
	char url[128], proxy[256];
	struct http_request req = { .method = "GET", .url = url, .tls = t };
	struct rig_answer a = { 0 };
	struct proxy_set *set;
	struct pcg_error err;

	snprintf(url, sizeof(url), "%s://0.0.0.0:%u/x", https ? "https" : "http",
		 http_server_port(https ? tls_server : plain_server));
	snprintf(proxy, sizeof(proxy), "http://%s127.0.0.1:%u", user, proxy_port);
	ck_assert_int_eq(proxy_set_new(proxy, proxy, list, proxy_ca, &set, &err), 0);
	req.proxy = set;
	http_submit(client, &req, rig_done, &a);
	proxy_set_unref(set);
	RIG_UNTIL(a.done);
	return a;
}

static struct http_tls_ctx *trust(const struct rig_ca *c)
{
	struct http_tls spec = { .ca_pem = c->cert };
	struct http_tls_ctx *t;
	struct pcg_error err;

	ck_assert_int_eq(http_tls_new(&spec, &t, &err), 0);
	return t;
}

#define USER "gateway:s3cr%65t@"

static bool in_log(const char *text)
{
	static char log[65536];
	FILE *f = fopen(unit_path(dir, "log"), "r");
	size_t n = f ? fread(log, 1, sizeof(log) - 1, f) : 0;

	if (f)
		fclose(f);
	log[n] = '\0';
	return strstr(log, text) != NULL;
}

START_TEST(plain_and_tunnelled_calls_go_through_with_credentials)
{
	struct http_tls_ctx *t = trust(&ca);

	for (int https = 0; https < 2; https++) {
		struct rig_answer a = ask(https, USER, "", NULL, t);

		ck_assert_msg(a.status == 200, "%s", a.err.text);
		ck_assert_str_eq(a.body, "through");
		ck_assert_str_eq(last_proxy_header, "");
		RIG_UNTIL(in_log(https ? "CONNECT 0.0.0.0:" : "GET http://0.0.0.0:"));
		free(a.body);
	}
	http_tls_unref(t);
}
END_TEST

START_TEST(wrong_credentials_are_named_as_such_and_not_shown)
{
	static const char *const users[] = { "gateway:hunter2@", "", "hunter2:x@" };
	struct http_tls_ctx *t = trust(&ca);
	char proxy[64];

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", proxy_port);
	for (size_t i = 0; i < 2 * ARRAY_LEN(users); i++) {
		struct rig_answer a = ask(i % 2, users[i / 2], "", NULL, t);

		ck_assert_int_eq(a.status, 0);
		ck_assert_msg(a.err.class == PCG_CLASS_AUTH, "%s", a.err.text);
		ck_assert_msg(strstr(a.err.text, "refused the credentials") && strstr(a.err.text, proxy), "%s", a.err.text);
		ck_assert_ptr_null(strstr(a.err.text, "hunter2"));
		ck_assert_ptr_null(strstr(a.err.remedy, "hunter2"));
		free(a.body);
	}
	ck_assert_int_eq(n_requests, 0);
	http_tls_unref(t);
}
END_TEST

START_TEST(other_credentials_never_use_a_tunnel_that_is_open)
{
	struct http_tls_ctx *t = trust(&ca);

	for (int i = 0; i < 4; i++) {
		struct rig_answer a = ask(true, i % 2 ? "gateway:wrong@" : USER, "", NULL, t);

		ck_assert_int_eq(a.status, i % 2 ? 0 : 200);
		free(a.body);
	}
	http_tls_unref(t);
}
END_TEST

START_TEST(exempt_destination_goes_direct)
{
	struct http_tls_ctx *t = trust(&ca);
	struct rig_answer a = ask(true, "no:body@", "0.0.0.0/32", NULL, t);

	ck_assert_msg(a.status == 200, "%s", a.err.text);
	ck_assert(!in_log("CONNECT 0.0.0.0:"));
	free(a.body);
	http_tls_unref(t);
}
END_TEST

START_TEST(refusal_and_absence_of_the_proxy_are_named)
{
	struct http_tls_ctx *t = trust(&ca);
	char proxy[64], url[64];
	struct http_request req = { .method = "GET", .url = url, .tls = t };
	struct rig_answer a = { 0 };
	struct proxy_set *set;
	struct pcg_error err;

	for (int gone = 0; gone < 2; gone++) {
		snprintf(proxy, sizeof(proxy), "http://%s127.0.0.1:%u", USER, gone ? 1 : proxy_port);
		/* a port that ConnectPort does not allow: 403 */
		snprintf(url, sizeof(url), "https://0.0.0.0:%u/", http_server_port(plain_server));
		ck_assert_int_eq(proxy_set_new(proxy, proxy, NULL, NULL, &set, &err), 0);
		req.proxy = set;
		a.done = 0;
		http_submit(client, &req, rig_done, &a);
		RIG_UNTIL(a.done);
		ck_assert_int_eq(a.status, 0);
		ck_assert_msg(a.err.class == (gone ? PCG_CLASS_RETRY : PCG_CLASS_PERMANENT), "%s", a.err.text);
		ck_assert_msg(strstr(a.err.text, gone ? "cannot be reached" : "403") != NULL, "%s", a.err.text);
		ck_assert_ptr_null(strstr(a.err.text, "gateway:"));
		proxy_set_unref(set);
	}
	free(a.body);
	http_tls_unref(t);
}
END_TEST

/* The server's certificate stands for the one that an intercepting proxy would show. */
START_TEST(proxys_authority_counts_only_through_the_proxy)
{
	struct http_tls_ctx *t = trust(&other_ca);
	struct rig_answer a = ask(true, USER, "", ca.cert, t);

	ck_assert_msg(a.status == 200, "%s", a.err.text);
	free(a.body);
	a = ask(true, USER, "0.0.0.0", ca.cert, t);
	ck_assert_int_eq(a.status, 0);
	ck_assert_int_eq(a.err.class, PCG_CLASS_PERMANENT);
	free(a.body);
	a = ask(true, USER, "", NULL, t);
	ck_assert_int_eq(a.status, 0);
	free(a.body);
	http_tls_unref(t);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, plain_and_tunnelled_calls_go_through_with_credentials);
	tcase_add_test(tc, wrong_credentials_are_named_as_such_and_not_shown);
	tcase_add_test(tc, other_credentials_never_use_a_tunnel_that_is_open);
	tcase_add_test(tc, exempt_destination_goes_direct);
	tcase_add_test(tc, refusal_and_absence_of_the_proxy_are_named);
	tcase_add_test(tc, proxys_authority_counts_only_through_the_proxy);
}

int main(void)
{
	if (!proxy_find()) {
		fprintf(stderr, "skipped: tinyproxy is neither at /usr/bin nor built by tests/peers/build-peers\n");
		return 77;
	}
	return unit_main("http_proxy", add);
}
