/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/policy/rig.h"

#include "tests/core/unit.h"

#include <dirent.h>

char rig_exe[4096];

static unsigned answers;
static uv_loop_t *running; /* stopped by an answer: a timer may give it before the loop begins to wait */

static void on_limit(uv_timer_t *timer)
{
	((struct rig *)timer->data)->timed_out = true;
}

void rig_begin(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	unit_dir_make(r->dir);
	uv_loop_init(&r->loop);
	uv_timer_init(&r->loop, &r->limit);
	r->limit.data = r;
	running = &r->loop;
}

void rig_write(struct rig *r, const char *path, const char *text)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", r->dir, path);
	for (char *c = full + strlen(r->dir) + 1; (c = strchr(c, '/')); c++) {
		*c = '\0';
		mkdir(full, 0755);
		*c = '/';
	}
	unit_write(full, text, strlen(text));
	ck_assert_int_eq(chmod(full, 0644), 0);
}

void rig_open(struct rig *r)
{
	struct policy_spec spec = { .exe = rig_exe, .dir = r->dir, .deadline_ms = RIG_DEADLINE_MS,
				    .memory_max = 16u << 20 };
	struct pcg_error err;

	ck_assert_msg(policy_new(&r->loop, &spec, &r->policy, &err) == 0, "%s", err.text);
}

void rig_one(struct rig *r, const char *text)
{
	rig_begin(r);
	rig_write(r, "t1/10-x.lua", text);
	rig_open(r);
}

static void on_answer(void *arg, const json_t *result, const struct pcg_error *err)
{
	struct got *g = arg;

	ck_assert(!g->done);
	g->done = true;
	uv_stop(running);
	g->order = ++answers;
	g->result = json_incref((json_t *)(uintptr_t)result);
	g->failed = err != NULL;
	if (err)
		g->err = *err;
}

void rig_ask(struct rig *r, struct got *g, const char *tenant, const char *hook, const char *input)
{
	AUTO_JSON json_t *doc = NULL;
	struct pcg_error err;

	memset(g, 0, sizeof(*g));
	ck_assert_msg(!json_parse(input, strlen(input), "input", &doc, &err), "%s", err.text);
	policy_eval(r->policy, tenant, NULL, hook, doc, on_answer, g);
	ck_assert(!g->done); /* never from inside */
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

void rig_do(struct rig *r, struct got *g, const char *tenant, const char *hook, const char *input)
{
	rig_ask(r, g, tenant, hook, input);
	rig_wait(r, &g->done);
}

static void on_reloaded(void *arg, const char *problems)
{
	struct reloaded *got = arg;

	ck_assert(!got->done);
	got->done = true;
	uv_stop(running);
	got->order = ++answers;
	if (problems)
		got->problems = strdup(problems);
}

void rig_reload_begin(struct rig *r, struct reloaded *got)
{
	memset(got, 0, sizeof(*got));
	policy_reload(r->policy, on_reloaded, got);
}

int rig_reload(struct rig *r, struct buf *report)
{
	struct reloaded got;

	rig_reload_begin(r, &got);
	rig_wait(r, &got.done);
	if (!got.problems)
		return 0;
	buf_adds(report, got.problems);
	free(got.problems);
	return -1;
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

void rig_end(struct rig *r)
{
	if (r->policy) {
		policy_close(r->policy, on_closed, &r->closed);
		rig_wait(r, &r->closed);
	}
	uv_close((uv_handle_t *)&r->limit, NULL);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&r->loop), 0);
	unit_dir_remove(r->dir);
}

void got_free(struct got *g)
{
	json_decref(g->result);
	g->result = NULL;
}

int rig_child(void)
{
	char path[64], text[256];
	FILE *f;
	int pid = 0, more = 0, n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	n = fgets(text, sizeof(text), f) ? sscanf(text, "%d %d", &pid, &more) : 0;
	fclose(f);
	ck_assert_int_le(n, 1);
	return n == 1 ? pid : 0;
}

unsigned rig_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
