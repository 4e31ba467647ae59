/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/provider/rig.h"
#include "core/attr.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

char rig_exe[4096];
const char *rig_base = "/tmp";

static void keep_secret(void *arg, const char *account, const char *name, struct secret *value, void *ack)
{
	struct rig *r = arg;
	char path[128];

	snprintf(path, sizeof(path), "%s.%s", account, name);
	if (value)
		json_put_str(r->secrets, path, secret_data(value));
	else
		json_object_del(json_at(r->secrets, account), name);
	if (r->hold_acks)
		r->held = ack;
	else
		provider_ack(ack, 0);
}

static json_t *give_secrets(void *arg, const char *account)
{
	return json_deep_copy(json_at(((struct rig *)arg)->secrets, account));
}

static void keep_checkpoint(void *arg, void *call_arg, json_t *checkpoint, void *ack)
{
	struct rig *r = arg;

	json_decref(r->checkpoint);
	r->checkpoint = json_incref(checkpoint);
	r->checkpoint_arg = call_arg;
	if (r->hold_acks)
		r->held = ack;
	else
		provider_ack(ack, 0);
}

static void take_hint(void *arg, const char *account, const char *subject)
{
	struct rig *r = arg;

	r->hints++;
	snprintf(r->hint, sizeof(r->hint), "%s", subject);
}

static void take_peer(void *arg, const char *account, const char *sha1, const char *sha256)
{
	struct rig *r = arg;

	snprintf(r->peer, sizeof(r->peer), "%s", sha256);
}

static void take_trial(void *arg, const char *account, const json_t *told)
{
	json_array_append_new(((struct rig *)arg)->told, json_deep_copy(told));
}

static void on_limit(uv_timer_t *timer)
{
	((struct rig *)timer->data)->timed_out = true;
}

void rig_open(struct rig *r, uint32_t idle_ms)
{
	struct pcg_error err;

	memset(r, 0, sizeof(*r));
	snprintf(r->dir, sizeof(r->dir), "%s/check_provider.XXXXXX", rig_base);
	ck_assert_ptr_nonnull(mkdtemp(r->dir));
	r->secrets = json_object();
	r->told = json_array();
	uv_loop_init(&r->loop);
	uv_timer_init(&r->loop, &r->limit);
	r->limit.data = r;

	struct provider_pool_spec spec = {
		.exe = rig_exe,
		.plugins_dir = r->dir,
		.gateway_uid = "gateway-1",
		.idle_ms = idle_ms,
		.hooks = { r, keep_secret, give_secrets, keep_checkpoint, take_hint, take_peer, .trial = take_trial },
	};
	ck_assert_msg(provider_pool_new(&r->loop, &spec, &r->pool, &err) == 0, "%s", err.text);
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

void rig_close(struct rig *r)
{
	char command[128];

	provider_pool_close(r->pool, on_closed, &r->closed);
	rig_wait(r, &r->closed);
	uv_close((uv_handle_t *)&r->limit, NULL);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&r->loop), 0);
	json_decref(r->secrets);
	json_decref(r->checkpoint);
	json_decref(r->told);
	snprintf(command, sizeof(command), "rm -rf %s", r->dir);
	ck_assert_int_eq(system(command), 0);
}

char *rig_plugin_path(struct rig *r, const char *name)
{
	char *path;

	ck_assert_int_gt(asprintf(&path, "%s/libpcg-%s.so", r->dir, name), 0);
	return path;
}

void rig_plugin(struct rig *r, const char *name)
{
	AUTO_FREE char *to = rig_plugin_path(r, name);
	char from[4096];
	struct stat st;
	int in, out;

	snprintf(from, sizeof(from), TEST_PLUGINS "/libpcg-%s.so", name);
	in = open(from, O_RDONLY | O_CLOEXEC);
	ck_assert_msg(in >= 0, "%s is not built", from);
	unlink(to);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ck_assert_int_ge(out, 0);
	fstat(in, &st);
	ck_assert_int_eq(sendfile(out, in, NULL, (size_t)st.st_size), st.st_size);
	close(in);
	close(out);
}

void rig_account(struct rig *r, const char *uid, const char *provider, const char *password)
{
	AUTO_JSON json_t *doc = json_pack("{s:s, s:s, s:s, s:i, s:{s:s}}", "uid", uid, "name", uid,
					  "provider", provider, "generation", 1, "spec", "password", password);

	provider_account_set(r->pool, doc);
}

static void on_reply(void *arg, const struct provider_reply *reply)
{
	struct got *g = arg;

	ck_assert(!g->done);
	g->done = true;
	g->call = NULL;
	g->order = g->rig->answers++;
	g->status = reply->status;
	g->after_ms = reply->after_ms;
	g->doc = json_incref(reply->doc);
	g->checkpoint = json_incref(reply->checkpoint);
	g->err = reply->err;
}

void rig_call(struct rig *r, struct got *g, const char *account, const char *op, const char *subject,
	      json_t *doc, uint32_t timeout_ms)
{
	memset(g, 0, sizeof(*g));
	g->rig = r;
	g->call = provider_call(r->pool, account, op, subject, doc, timeout_ms, on_reply, g);
	json_decref(doc);
	ck_assert(!g->done); /* never from inside */
}

void rig_turn(struct rig *r)
{
	r->timed_out = false;
	uv_timer_start(&r->limit, on_limit, RIG_WAIT_MS, 0);
	uv_run(&r->loop, UV_RUN_ONCE);
	uv_timer_stop(&r->limit);
	ck_assert_msg(!r->timed_out, "nothing happened for %d ms", RIG_WAIT_MS);
}

void rig_wait(struct rig *r, const bool *done)
{
	r->timed_out = false;
	uv_timer_start(&r->limit, on_limit, RIG_WAIT_MS, 0);
	while (!*done && !r->timed_out)
		uv_run(&r->loop, UV_RUN_ONCE);
	uv_timer_stop(&r->limit);
	ck_assert_msg(*done, "waited %d ms", RIG_WAIT_MS);
}

void rig_wait_workers(struct rig *r, size_t n)
{
	r->timed_out = false;
	uv_timer_start(&r->limit, on_limit, RIG_WAIT_MS, 0);
	while (provider_workers(r->pool) != n && !r->timed_out)
		uv_run(&r->loop, UV_RUN_ONCE);
	uv_timer_stop(&r->limit);
	ck_assert_uint_eq(provider_workers(r->pool), n);
}

void rig_do(struct rig *r, struct got *g, const char *account, const char *what)
{
	rig_call(r, g, account, "machine_ensure", "m1", json_pack("{s:s}", "do", what), CALL_MS);
	rig_wait(r, &g->done);
}

void got_free(struct got *g)
{
	json_decref(g->doc);
	json_decref(g->checkpoint);
	g->doc = g->checkpoint = NULL;
}
