/* SPDX-License-Identifier: Apache-2.0 */
/* One worker for one question, waited for in a loop of its own: what check, test and reload use, so
 * that a hostile script is parsed where an evaluation would run. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include "host/worker/worker.h"

#include <stdio.h>
#include <string.h>

struct once {
	uv_loop_t loop;
	uv_timer_t timer;
	struct worker *worker;
	json_t *reply;
	char script[300];
	bool late;
	char reason[256];
};

json_t *policy_hello(const json_t *scripts, uint64_t memory_max)
{
	return json_pack("{s:O,s:I}", "scripts", scripts, "memoryMax",
			 (json_int_t)(memory_max ? memory_max : POLICY_MEMORY_MAX));
}

static void on_frame(void *arg, struct worker *w, json_t *doc)
{
	struct once *o = arg;

	if (json_str(doc, "begin")) {
		snprintf(o->script, sizeof(o->script), "%s", json_str(doc, "begin"));
		return;
	}
	o->reply = json_incref(doc);
	worker_end(w, 1000);
}

static void on_end(void *arg, struct worker *w, const char *reason)
{
	struct once *o = arg;

	o->worker = NULL;
	snprintf(o->reason, sizeof(o->reason), "%s", reason);
	uv_close((uv_handle_t *)&o->timer, NULL);
}

static void on_deadline(uv_timer_t *t)
{
	struct once *o = t->data;

	o->late = true;
	if (o->worker)
		worker_kill(o->worker, "past its deadline");
}

static int outcome(struct once *o, uint32_t deadline_ms, struct pcg_error *err)
{
	if (o->reply)
		return 0;
	if (o->late)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"look for a loop in it that does not end",
				"policy %s: stopped after %u ms without a result", o->script,
				deadline_ms);
	return pcg_fail(err, PCG_CLASS_PERMANENT, "look for what uses that much memory in it",
			"policy %s: its worker ended: %s", o->script, o->reason);
}

int policy_once(const char *exe, const json_t *scripts, const json_t *request, uint32_t deadline_ms,
		uint64_t memory_max, json_t **reply, struct pcg_error *err)
{
	struct once o = { .worker = NULL };
	AUTO_JSON json_t *hello = policy_hello(scripts, memory_max);
	struct worker_spec spec = { .exe = exe, .role = "policy", .name = "check", .hello = hello,
				    .memory_max = 4ull * (memory_max ? memory_max : POLICY_MEMORY_MAX),
				    .max_files = 16, .on_frame = on_frame, .on_end = on_end,
				    .arg = &o };
	int r;

	uv_loop_init(&o.loop);
	uv_timer_init(&o.loop, &o.timer);
	o.timer.data = &o;
	r = worker_start(&o.loop, &spec, &o.worker, err);
	if (!r)
		r = worker_send(o.worker, request, err);
	if (r && !o.worker)
		uv_close((uv_handle_t *)&o.timer, NULL);
	else
		uv_timer_start(&o.timer, on_deadline, deadline_ms, 0);
	uv_run(&o.loop, UV_RUN_DEFAULT);
	uv_loop_close(&o.loop);
	if (!r)
		r = outcome(&o, deadline_ms, err);
	*reply = o.reply;
	return r;
}

static int check_tenant(const char *exe, const char *tenant, const json_t *scripts,
			struct buf *report, json_t *hooks)
{
	AUTO_JSON json_t *req = json_pack("{s:s,s:i}", "op", "check", "id", 1), *reply = NULL;
	struct pcg_error err;
	json_t *p;
	size_t i;

	if (!json_array_size(scripts))
		return 0;
	if (policy_once(exe, scripts, req, POLICY_DEADLINE_MS * 5, 0, &reply, &err)) {
		buf_addf(report, "%s\n", err.text);
		return -1;
	}
	json_array_foreach(json_object_get(reply, "problems"), i, p)
		buf_addf(report, "%s\n", json_string_value(p));
	json_object_set(hooks, tenant, json_object_get(reply, "hooks"));
	return json_array_size(json_object_get(reply, "problems")) ? -1 : 0;
}

int policy_set_check(const char *exe, const json_t *set, struct buf *report, json_t **hooks)
{
	json_t *found = json_object(), *scripts;
	const char *tenant;
	int r = 0;

	json_object_foreach((json_t *)set, tenant, scripts)
		r |= check_tenant(exe, tenant, scripts, report, found);
	if (hooks)
		*hooks = found;
	else
		json_decref(found);
	return r ? -1 : 0;
}

static int need_dir(const char *dir, struct buf *out)
{
	if (!access(dir, R_OK | X_OK))
		return 0;
	buf_addf(out, "%s: no such policy folder, or it cannot be read\n", dir);
	return -1;
}

static void list_hooks(const json_t *hooks, struct buf *out)
{
	const char *tenant, *script;
	json_t *scripts, *names, *name;
	size_t i;

	json_object_foreach((json_t *)hooks, tenant, scripts)
		json_object_foreach(scripts, script, names) {
			if (!strcmp(tenant, POLICY_ALL) || strncmp(script, POLICY_ALL, 4))
				buf_addf(out, "%s:", script);
			else
				continue;
			json_array_foreach(names, i, name)
				buf_addf(out, " %s", json_string_value(name));
			if (!json_array_size(names))
				buf_adds(out, " no hooks (a hook is a global function: admission, "
					      "ca_bundle, proxy, node_bootstrap)");
			buf_adds(out, "\n");
		}
}

int policy_check_dir(const char *exe, const char *dir, struct buf *out)
{
	AUTO_JSON json_t *set = NULL, *hooks = NULL;
	int r = need_dir(dir, out);

	if (r || policy_dir_read(dir, &set, out))
		return -1;
	r = policy_set_check(exe, set, out, &hooks);
	if (!r)
		list_hooks(hooks, out);
	return r;
}

/* Every member of expect stands in result with the same value; lists are compared whole. */
static bool contains(const json_t *result, const json_t *expect)
{
	const char *key;
	json_t *v;

	if (!json_is_object(expect) || !json_is_object(result))
		return json_equal(result, expect);
	json_object_foreach((json_t *)expect, key, v)
		if (!contains(json_object_get(result, key), v))
			return false;
	return true;
}

static bool test_passes(const json_t *test, const json_t *reply, const struct pcg_error *err,
			int failed, struct buf *out)
{
	const char *wanted = json_str(test, "expectError");
	AUTO_FREE char *got = NULL;
	const char *error = failed ? err->text : json_str(reply, "error.text");

	if (wanted && error && strstr(error, wanted))
		return true;
	if (!wanted && !error && contains(json_object_get(reply, "result"), json_object_get(test, "expect")))
		return true;
	got = error ? strdup(error) : json_text(json_object_get(reply, "result"));
	buf_addf(out, "FAIL %s: got %s\n", json_str_or(test, "file", ""), got);
	return false;
}

static int run_test(const char *exe, const json_t *scripts, const json_t *test, struct buf *out)
{
	AUTO_JSON json_t *req = json_pack("{s:s,s:i,s:s,s:O}", "op", "eval", "id", 1, "hook",
					  json_str(test, "hook"), "input",
					  json_object_get(test, "input"));
	AUTO_JSON json_t *reply = NULL;
	struct pcg_error err;
	int failed = policy_once(exe, scripts, req, POLICY_DEADLINE_MS, 0, &reply, &err);

	if (!test_passes(test, reply, &err, failed, out))
		return -1;
	buf_addf(out, "ok   %s\n", json_str_or(test, "file", ""));
	return 0;
}

int policy_test_dir(const char *exe, const char *dir, struct buf *out)
{
	AUTO_JSON json_t *set = NULL, *tests = NULL;
	unsigned passed = 0, failed = 0;
	const char *tenant;
	json_t *list, *test;
	size_t i;

	if (need_dir(dir, out) || policy_dir_read(dir, &set, out) ||
	    policy_set_check(exe, set, out, NULL) || policy_dir_tests(dir, &tests, out))
		return -1;
	json_object_foreach(tests, tenant, list)
		json_array_foreach(list, i, test)
			if (run_test(exe, json_object_get(set, tenant), test, out))
				failed++;
			else
				passed++;
	if (!passed && !failed)
		buf_addf(out, "%s: no tests; put some into TENANT/tests/NAME.json\n", dir);
	buf_addf(out, "%u passed, %u failed\n", passed, failed);
	return failed || !passed ? -1 : 0;
}
