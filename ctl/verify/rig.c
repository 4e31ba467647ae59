/* SPDX-License-Identifier: Apache-2.0 */
/* The pool with one plugin and several accounts, whose hooks keep things in memory alone, and two endpoints of our
 * own: one that takes connections and never answers, one where nothing listens. */
#include "config.h"

#include "ctl/verify/verify.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define END_MS 9000      /* a stop of 5 s, the pool's patience, and some */
#define STOP_MS 5500
#define SAID_MAX 65536
#define IDLE_MS 3600000u /* workers end when this program says so */

uint64_t verify_now(struct verify *v)
{
	uv_update_time(&v->loop);
	return uv_now(&v->loop);
}

bool verify_has(const struct verify *v, uint64_t cap)
{
	return ((uint64_t)json_int_or(v->loaded, "caps", 0) & cap) != 0;
}

static void on_timer(uv_timer_t *t)
{
}

void verify_turn(struct verify *v, uint64_t ms)
{
	uv_update_time(&v->loop);
	uv_timer_start(&v->timer, on_timer, ms, 0);
	uv_run(&v->loop, UV_RUN_ONCE);
	uv_timer_stop(&v->timer);
}

bool rig_holds_secret(const struct verify *v, const char *text)
{
	const json_t *spec = json_at(v->docs, "account.spec");
	const char *name;
	json_t *value;

	if (strstr(text, v->canary))
		return true;
	json_object_foreach((json_t *)spec, name, value)
		if (json_is_string(value) && json_string_length(value) >= 4 && input_secret_member(v, name) &&
		    strstr(text, json_string_value(value)))
			return true;
	return false;
}

/* Workers have this program's standard error, as they have the log of pcgd there. */
static void catch_stderr(struct verify *v)
{
	v->stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	v->said_fd = memfd_create("stderr", MFD_CLOEXEC);
	if (v->stderr_fd >= 0 && v->said_fd >= 0)
		dup2(v->said_fd, STDERR_FILENO);
}

static void free_stderr(struct verify *v)
{
	rig_said(v);
	if (v->stderr_fd >= 0) {
		dup2(v->stderr_fd, STDERR_FILENO);
		close(v->stderr_fd);
	}
	if (v->said_fd >= 0)
		close(v->said_fd);
}

void rig_said(struct verify *v)
{
	static char piece[SAID_MAX + 1];
	ssize_t n;

	if (v->said_fd < 0)
		return;
	while ((n = pread(v->said_fd, piece, SAID_MAX, v->said_read)) > 0) {
		piece[n] = 0;
		v->said_read += n;
		if (rig_holds_secret(v, piece))
			verify_note(v->leaks, "log: never give secrets (standard error of a worker is the log of pcgd)", "none",
				    "a secret was written to standard error");
		else if (write(v->stderr_fd, piece, (size_t)n) < 0)
			return;
	}
}

static void keep_secret(void *arg, const char *account, const char *name, struct secret *value, void *ack)
{
	struct verify *v = arg;
	json_t *kept = json_object_get(v->secrets, account);

	if (!kept) {
		kept = json_object();
		json_object_set_new(v->secrets, account, kept);
	}
	if (value)
		json_object_set_new(kept, name, json_string(secret_data(value)));
	else
		json_object_del(kept, name);
	provider_ack(ack, 0);
}

static json_t *give_secrets(void *arg, const char *account)
{
	return json_deep_copy(json_object_get(((struct verify *)arg)->secrets, account));
}

static void keep_checkpoint(void *arg, void *call_arg, json_t *checkpoint, void *ack)
{
	struct step *s = call_arg;

	json_decref(s->checkpoint);
	s->checkpoint = json_deep_copy(checkpoint);
	provider_ack(ack, 0);
}

static void take_hint(void *arg, const char *account, const char *subject)
{
	ask_hint(arg, subject);
}

static void on_died(void *arg, const char *account, const char *reason)
{
	struct verify *v = arg;

	v->deaths++;
	snprintf(v->death, sizeof(v->death), "%s", reason);
}

static bool event_name_good(const char *event)
{
	size_t len = strspn(event, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return len > 0 && len < 64 && !event[len];
}

/* The service takes the account's secrets out by itself; of what stands in user data it does not know. */
static void on_log(struct verify *v, const json_t *told)
{
	const char *event = json_str_or(told, "event", ""), *fields = json_str(told, "fields"), *name;
	AUTO_JSON json_t *doc = NULL;
	struct pcg_error err;
	json_t *value;

	if (!event_name_good(event))
		verify_note(v->documents, "log: one event with fixed name [a-z0-9_]", "such a name", "a log event \"%s\"", event);
	if (!fields)
		return;
	if (strstr(fields, v->canary))
		verify_note(v->leaks, "log: never give secrets", "none of it", "log event %s has a key of the user data", event);
	if (json_parse(fields, strlen(fields), "fields", &doc, &err) || !json_is_object(doc)) {
		verify_note(v->documents, "log: fields is a JSON object of strings and numbers, or NULL", "a JSON object",
			    "fields of log event %s: %s", event, doc ? "no object" : err.text);
		return;
	}
	json_object_foreach(doc, name, value)
		if (!json_is_string(value) && !json_is_number(value))
			verify_note(v->documents, "log: fields is a JSON object of strings and numbers, or NULL",
				    "strings and numbers", "field %s of log event %s is neither", name, event);
}

static void on_request(struct verify *v, const json_t *told)
{
	uint64_t n = (uint64_t)json_int_or(told, "n", 0);

	if (!n)
		return;
	v->counted++;
	if (strcmp(json_str_or(told, "class", ""), "change") == 0) {
		v->changes++;
		snprintf(v->counted_last, sizeof(v->counted_last), "%s in %s", json_str_or(told, "request", ""),
			 json_str_or(told, "op", "no op"));
	}
	if (v->on_counted)
		v->on_counted(v, v->counted);
}

static json_t *trial_doc(const struct verify *v, uint64_t kill_n, const char *when)
{
	static const char *const classes[] = { "read", "session", "change" };
	json_t *doc = json_object();

	for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
		json_t *list = json_object_get(json_object_get(v->docs, "requests"), classes[i]);

		if (list)
			json_object_set(doc, classes[i], list);
	}
	if (kill_n)
		json_object_set_new(doc, "kill", json_pack("{s:I, s:s}", "n", (json_int_t)kill_n, "when", when));
	return doc;
}

static void set_trial(struct verify *v, uint64_t kill_n, const char *when)
{
	AUTO_JSON json_t *doc = trial_doc(v, kill_n, when);

	provider_pool_set_trial(v->pool, doc);
}

static void on_trial(void *arg, const char *account, const json_t *told)
{
	struct verify *v = arg;
	const char *what = json_str_or(told, "what", "");

	if (strcmp(what, "request") == 0) {
		on_request(v, told);
	} else if (strcmp(what, "killed") == 0) {
		v->killed = true;
		snprintf(v->killed_at, sizeof(v->killed_at), "%s", json_str_or(told, "request", ""));
		set_trial(v, 0, NULL);
	} else if (strcmp(what, "log") == 0) {
		on_log(v, told);
	} else if (strcmp(what, "secret") == 0) {
		verify_note(v->leaks, "log and error: never give secrets", "a text without it",
			    "a secret of the account was given to log or error; the host took it out: %s",
			    json_str_or(told, "text", ""));
	} else if (strcmp(what, "loaded") == 0) {
		json_decref(v->loaded);
		v->loaded = json_deep_copy(told);
	}
}

int verify_fresh(struct verify *v, uint64_t kill_n, const char *when)
{
	uint64_t began = verify_now(v), took;

	set_trial(v, kill_n, when);
	while (provider_workers(v->pool) && verify_now(v) - began < END_MS)
		verify_turn(v, 200);
	took = verify_now(v) - began;
	v->counted = v->changes = 0;
	v->counted_last[0] = 0;
	v->kill_n = kill_n;
	v->killed = false;
	v->killed_at[0] = 0;
	if (took <= STOP_MS)
		return 0;
	return verify_fail(v, "stop: ends sessions within 5 s, joins threads; watch: runs until cancelled", "an end within 5 s",
			   "the worker had not ended by stop and by the end of its watch after %.1f s", (double)took / 1000);
}

static void set_account(struct verify *v, const char *uid, const char *wrong)
{
	json_t *patch = wrong ? json_at(v->docs, wrong) : NULL;
	json_t *settings = json_at(v->docs, "account.settings");
	json_t *doc;

	if (wrong && !patch)
		return;
	doc = json_pack("{s:s, s:s, s:s, s:i, s:o}", "uid", uid, "name", uid, "provider", v->provider, "generation", 1, "spec",
			input_patched(json_at(v->docs, "account.spec"), patch));
	if (settings)
		json_object_set(doc, "settings", settings);
	provider_account_set(v->pool, doc);
	json_object_set_new(v->accounts, uid, doc);
}

static void on_connection(uv_stream_t *server, int status)
{
	uv_tcp_t *client = malloc(sizeof(*client));

	assert(client);
	uv_tcp_init(server->loop, client);
	/* Not read: what comes stays with the system. Closed by rig_end, as all handles are. */
	uv_accept(server, (uv_stream_t *)client);
}

static int listen_silent(struct verify *v, struct pcg_error *err)
{
	struct sockaddr_in a;
	int len = sizeof(a), r;
	char address[32];

	uv_tcp_init(&v->loop, &v->silent);
	uv_ip4_addr("127.0.0.1", 0, &a);
	r = uv_tcp_bind(&v->silent, (const struct sockaddr *)&a, 0);
	r = r ? r : uv_listen((uv_stream_t *)&v->silent, 64, on_connection);
	r = r ? r : uv_tcp_getsockname(&v->silent, (struct sockaddr *)&a, &len);
	if (r)
		return pcg_fail(err, PCG_CLASS_RETRY, "", "listening on 127.0.0.1: %s", uv_strerror(r));
	snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(a.sin_port));
	input_replace(v->docs, "SILENT", address);
	return 0;
}

/* Bound, so that nobody else has it, and not listening. */
static void hold_closed(struct verify *v)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	char address[32];

	v->closed_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (v->closed_fd < 0 || bind(v->closed_fd, (struct sockaddr *)&a, sizeof(a)) ||
	    getsockname(v->closed_fd, (struct sockaddr *)&a, &len))
		a.sin_port = htons(1);
	snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(a.sin_port));
	input_replace(v->docs, "CLOSED", address);
}

static void on_signal(uv_signal_t *s, int signum)
{
	((struct verify *)s->data)->stopped = true;
}

static void watch_signals(struct verify *v)
{
	static const int numbers[] = { SIGINT, SIGTERM };

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		uv_signal_init(&v->loop, &v->signals[i]);
		v->signals[i].data = v;
		uv_signal_start(&v->signals[i], on_signal, numbers[i]);
	}
}

int rig_begin(struct verify *v, struct pcg_error *err)
{
	struct provider_pool_spec spec = {
		.exe = "/proc/self/exe",
		.plugins_dir = v->plugin_dir,
		.gateway_uid = "pcgctl-plugin-verify",
		.idle_ms = IDLE_MS,
		.hooks = { .arg = v, .secret_put = keep_secret, .secrets = give_secrets, .checkpoint = keep_checkpoint,
			   .hint = take_hint, .died = on_died, .trial = on_trial },
	};
	int r;

	v->secrets = json_object();
	v->accounts = json_object();
	uv_loop_init(&v->loop);
	uv_timer_init(&v->loop, &v->timer);
	watch_signals(v);
	r = listen_silent(v, err);
	if (r)
		return r;
	hold_closed(v);
	r = provider_pool_new(&v->loop, &spec, &v->pool, err);
	if (r)
		return r;
	set_account(v, ACCOUNT, NULL);
	set_account(v, ACCOUNT_EMPTY, NULL);
	set_account(v, ACCOUNT_AUTH, "wrong.auth");
	set_account(v, ACCOUNT_CLOSED, "wrong.unreachable");
	set_account(v, ACCOUNT_SILENT, "wrong.silent");
	set_trial(v, 0, NULL);
	catch_stderr(v);
	return 0;
}

static void on_pool_closed(void *arg)
{
	*(bool *)arg = true;
}

static void on_closed(uv_handle_t *h)
{
	struct verify *v = h->loop->data;

	if (h->type == UV_TCP && h != (uv_handle_t *)&v->silent)
		free(h);
}

static void close_handle(uv_handle_t *h, void *arg)
{
	if (!uv_is_closing(h))
		uv_close(h, on_closed);
}

void rig_end(struct verify *v)
{
	bool closed = false;

	if (v->pool) {
		provider_pool_close(v->pool, on_pool_closed, &closed);
		while (!closed)
			verify_turn(v, 1000);
	}
	free_stderr(v);
	v->loop.data = v;
	uv_walk(&v->loop, close_handle, NULL);
	uv_run(&v->loop, UV_RUN_DEFAULT);
	uv_loop_close(&v->loop);
	if (v->closed_fd > 0)
		close(v->closed_fd);
	json_wipe(v->secrets);
	json_wipe(v->accounts);
	json_decref(v->loaded);
}
