/* SPDX-License-Identifier: Apache-2.0 */
/* Does what the member "do" of the op's document says, well or badly. */
#include "tests/provider/plugins/skeleton.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int inside, most;
static _Atomic(int) watching;

/* The text of a string member; enough for the flat documents of the tests. */
static const char *member(const char *doc, const char *name, char *out, size_t size)
{
	char key[64];
	const char *at;
	size_t n = 0;

	snprintf(key, sizeof(key), "\"%s\":\"", name);
	at = strstr(doc, key);
	if (!at)
		return NULL;
	for (at += strlen(key); *at && *at != '"' && n + 1 < size; at++)
		out[n++] = *at;
	out[n] = 0;
	return out;
}

static void do_done(struct pcg_call *call, const char *doc)
{
	char reply[64];

	snprintf(reply, sizeof(reply), "{\"pid\":%d}", (int)getpid());
	services->done(call, reply);
}

static void do_pending(struct pcg_call *call, const char *doc)
{
	services->pending(call, 30, "{\"seen\":1}", "{\"step\":2}");
}

static void do_error(struct pcg_call *call, const char *doc)
{
	services->error(call, PCG_ERR_QUOTA, "no room in the rack", "buy another");
}

static void do_echo_secret(struct pcg_call *call, const char *doc)
{
	services->error(call, PCG_ERR_AUTH, "401: token 'swordfish' and cookie 'vmware-soap-session-1' refused", "");
}

static void do_crash(struct pcg_call *call, const char *doc)
{
	raise(SIGSEGV);
}

static void do_exit(struct pcg_call *call, const char *doc)
{
	_exit(3);
}

static void do_loop(struct pcg_call *call, const char *doc)
{
	for (volatile unsigned i = 0;; i++)
		;
}

static void do_hang(struct pcg_call *call, const char *doc)
{
	static pthread_mutex_t never = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&never);
	pthread_mutex_lock(&never);
}

static void do_wait(struct pcg_call *call, const char *doc)
{
	if (services->wait(the_host, call, 60000))
		services->error(call, PCG_ERR_CANCELLED, services->remaining_ms(call) ? "early" : "stopped in time", "");
	else
		services->done(call, "{}");
}

static void do_twice(struct pcg_call *call, const char *doc)
{
	services->done(call, "{}");
	services->error(call, PCG_ERR_RETRY, "or not", "");
}

static void do_never(struct pcg_call *call, const char *doc)
{
}

static void do_bad_json(struct pcg_call *call, const char *doc)
{
	services->done(call, "{\"open\":");
}

static void do_no_object(struct pcg_call *call, const char *doc)
{
	services->done(call, "[1]");
}

static void do_leak(struct pcg_call *call, const char *doc)
{
	char reply[64];
	int n = 0;

	while (open("/dev/null", O_RDONLY) >= 0)
		n++;
	snprintf(reply, sizeof(reply), "{\"opened\":%d}", n);
	services->done(call, reply);
}

static void do_exclusive(struct pcg_call *call, const char *doc)
{
	char reply[64];
	int now = ++inside;

	if (now > most)
		most = now;
	services->wait(the_host, call, 30);
	inside--;
	snprintf(reply, sizeof(reply), "{\"most\":%d}", most);
	services->done(call, reply);
}

/* Until its deadline. */
static void do_linger(struct pcg_call *call, const char *doc)
{
	services->wait(the_host, call, 3600000);
	services->done(call, "{}");
}

static void do_secret_put(struct pcg_call *call, const char *doc)
{
	char value[256], name[64];

	if (!member(doc, "name", name, sizeof(name)))
		strcpy(name, "session");
	if (services->secret_put(the_host, name, member(doc, "value", value, sizeof(value))))
		services->error(call, PCG_ERR_RETRY, "secret_put failed", "");
	else
		services->done(call, "{}");
}

static void do_secret_get(struct pcg_call *call, const char *doc)
{
	const char *value = services->secret_get(the_host, "session");
	char reply[300];

	snprintf(reply, sizeof(reply), "{\"value\":\"%s\"}", value ? value : "(none)");
	services->done(call, reply);
}

static void do_checkpoint(struct pcg_call *call, const char *doc)
{
	if (services->checkpoint(call, "{\"task\":\"task-7\"}"))
		services->error(call, PCG_ERR_RETRY, "checkpoint failed", "");
	else
		services->done(call, "{\"kept\":true}");
}

static void do_account(struct pcg_call *call, const char *doc)
{
	services->done(call, services->account(the_host));
}

static void do_http(struct pcg_call *call, const char *doc)
{
	char url[512], reply[1024], method[16], body[512];
	struct pcg_http_header headers[] = { { "x-test", "yes" } };
	struct pcg_http_request req = { .struct_size = sizeof(req), .method = "POST",
					.url = member(doc, "url", url, sizeof(url)), .headers = headers,
					.n_headers = 1, .body = "ping", .body_len = 4 };
	struct pcg_http_response resp = { .struct_size = sizeof(resp) };

	if (member(doc, "method", method, sizeof(method))) {
		req.method = method;
		req.body = member(doc, "body", body, sizeof(body));
		req.body_len = strlen(body);
	}
	if (services->http(the_host, call, &req, &resp)) {
		services->error(call, PCG_ERR_BUG, "http refused the request", "");
		return;
	}
	if (!resp.status) {
		services->error(call, resp.error_class, resp.error, resp.remedy);
		return;
	}
	snprintf(reply, sizeof(reply), "{\"status\":%u,\"body\":\"%s\"}", resp.status, (const char *)resp.body);
	services->http_free(the_host, &resp);
	services->done(call, reply);
}

static void do_log(struct pcg_call *call, const char *doc)
{
	services->log(the_host, PCG_LOG_WARN, "plugin_says", "{\"what\":\"token swordfish\",\"n\":3}");
	services->done(call, NULL);
}

static void answer_number(struct pcg_call *call, int64_t n)
{
	char reply[64];

	snprintf(reply, sizeof(reply), "{\"n\":%lld}", (long long)n);
	services->done(call, reply);
}

static void do_turn(struct pcg_call *call, const char *doc)
{
	answer_number(call, services->turn_begin(the_host, call, "login", 2, 60000));
}

static void do_turn_counts(struct pcg_call *call, const char *doc)
{
	answer_number(call, services->turn_end(the_host, "login", 1));
}

static void do_turn_over(struct pcg_call *call, const char *doc)
{
	answer_number(call, services->turn_end(the_host, "login", 0));
}

static const struct {
	const char *name;
	void (*run)(struct pcg_call *call, const char *doc);
} acts[] = {
	{ "done", do_done },           { "pending", do_pending },       { "error", do_error },
	{ "crash", do_crash },         { "exit", do_exit },             { "loop", do_loop },
	{ "hang", do_hang },           { "wait", do_wait },             { "twice", do_twice },
	{ "never", do_never },         { "bad_json", do_bad_json },     { "no_object", do_no_object },
	{ "leak", do_leak },           { "exclusive", do_exclusive },   { "secret_put", do_secret_put },
	{ "secret_get", do_secret_get }, { "checkpoint", do_checkpoint }, { "account", do_account },
	{ "http", do_http },           { "log", do_log },               { "echo_secret", do_echo_secret },
	{ "linger", do_linger },       { "turn", do_turn },           { "turn_counts", do_turn_counts }, { "turn_over", do_turn_over },
};

static void act(void *plugin, struct pcg_call *call, const char *doc)
{
	char what[64];

	if (!member(doc, "do", what, sizeof(what)))
		strcpy(what, "done");
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (strcmp(acts[i].name, what) == 0) {
			acts[i].run(call, doc);
			return;
		}
	services->error(call, PCG_ERR_BUG, "unknown act", "");
}

static void watch(void *plugin, struct pcg_call *call, const char *doc)
{
	watching++;
	while (!services->wait(the_host, call, 10))
		services->hint(the_host, "machine-1");
	watching--;
	services->error(call, PCG_ERR_CANCELLED, "cancelled", "");
}

static void stop(void *plugin, uint32_t final)
{
	services->secret_put(the_host, "stopped", final ? "final" : "not final");
}

const struct pcg_provider *pcg_provider_v0(uint32_t host_abi)
{
	static struct pcg_provider table;

	table = skeleton("good");
	table.caps_optional = PCG_CAP_WATCH;
	table.machine_ensure = act;
	table.machine_delete = act;
	table.watch = watch;
	table.stop = stop;
	table.settings = "[{\"name\":\"folder\",\"type\":\"string\",\"default\":\"clusters\",\"doc\":\"Folder\"}]";
	return &table;
}
