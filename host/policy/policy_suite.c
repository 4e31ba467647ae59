/* SPDX-License-Identifier: Apache-2.0 */
/* A whole folder: are its scripts fit to be taken up, and do its own tests pass. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Problems of a script of _all come once for each tenant: said once. */
static void add_problem(struct buf *report, const char *text)
{
	AUTO_FREE char *line = NULL;

	if (asprintf(&line, "%s\n", text) < 0)
		abort();
	if (!strstr(report->data, line))
		buf_adds(report, line);
}

static int take_check(const struct policy_job *job, struct buf *report, const char *tenant,
		      json_t *hooks)
{
	json_t *problems = json_object_get(job->reply, "problems"), *p;
	json_t *found = json_object_get(job->reply, "hooks");
	size_t i;

	if (!json_is_array(problems) || !json_is_object(found)) {
		add_problem(report, job->reply ? "a policy worker gave no answer to a check"
					       : job->err.text);
		return -1;
	}
	json_array_foreach (problems, i, p)
		add_problem(report, json_is_string(p) ? json_string_value(p) : "?");
	json_object_set(hooks, tenant, found);
	return json_array_size(problems) ? -1 : 0;
}

void set_check_prepare(struct set_check *c, const json_t *set, const json_t *before,
		       const json_t *hooks_before)
{
	const char *tenant;
	json_t *scripts;

	*c = (struct set_check){
		.jobs = calloc(json_object_size(set) + 1, sizeof(*c->jobs)),
		.names = calloc(json_object_size(set) + 1, sizeof(*c->names)),
		.set = json_incref((json_t *)set),
		.request = json_pack("{s:s,s:i}", "op", "check", "id", 1),
		.hooks = json_object(),
	};
	assert(c->jobs && c->names);
	json_object_foreach (c->set, tenant, scripts) {
		json_t *known = json_object_get(hooks_before, tenant);

		if (!json_array_size(scripts)) {
			json_object_set_new(c->hooks, tenant, json_object());
		} else if (known && json_equal(scripts, json_object_get(before, tenant))) {
			json_object_set(c->hooks, tenant, known);
		} else {
			c->names[c->n] = tenant;
			c->jobs[c->n++] = (struct policy_job){.scripts = scripts,
							      .request = c->request};
		}
	}
}

void set_check_free(struct set_check *c)
{
	for (size_t i = 0; i < c->n; i++)
		json_decref(c->jobs[i].reply);
	free(c->jobs);
	free(c->names);
	json_decref(c->set);
	json_decref(c->request);
	json_decref(c->hooks);
}

int set_check_take(struct set_check *c, struct buf *report, json_t **hooks)
{
	int r = 0;

	for (size_t i = 0; i < c->n; i++)
		if (take_check(&c->jobs[i], report, c->names[i], c->hooks))
			r = -1;
	*hooks = json_incref(c->hooks);
	set_check_free(c);
	return r;
}

int policy_set_check(const char *exe, const json_t *set, const json_t *before,
		     const json_t *hooks_before, struct buf *report, json_t **hooks)
{
	struct set_check c;

	set_check_prepare(&c, set, before, hooks_before);
	if (c.n)
		policy_run_jobs(exe, c.jobs, c.n, POLICY_DEADLINE_MS, 0);
	return set_check_take(&c, report, hooks);
}

static int need_dir(const char *dir, struct buf *out)
{
	if (!access(dir, R_OK | X_OK))
		return 0;
	buf_addf(out, "%s: no such policy folder, or it cannot be read\n", dir);
	return -1;
}

/* The scripts of _all stand in every tenant's list: named once. */
static void list_hooks(const json_t *hooks, struct buf *out)
{
	const char *tenant, *script;
	json_t *scripts, *names, *name;
	size_t i;

	json_object_foreach ((json_t *)hooks, tenant, scripts)
		json_object_foreach (scripts, script, names) {
			if (strcmp(tenant, POLICY_ALL) && !strncmp(script, POLICY_ALL "/", 5))
				continue;
			buf_addf(out, "%s:", script);
			json_array_foreach (names, i, name)
				buf_addf(out, " %s", json_string_value(name));
			buf_adds(out, "\n");
		}
}

int policy_check_dir(const char *exe, const char *dir, struct buf *out)
{
	AUTO_JSON json_t *set = NULL, *hooks = NULL;
	int r = need_dir(dir, out);

	if (r || policy_dir_read(dir, &set, out))
		return -1;
	r = policy_set_check(exe, set, NULL, NULL, out, &hooks);
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
	json_object_foreach ((json_t *)expect, key, v)
		if (!contains(json_object_get(result, key), v))
			return false;
	return true;
}

static bool test_passes(const json_t *test, const struct policy_job *job, struct buf *out)
{
	const char *wanted = json_str(test, "expectError");
	const char *error = job->reply ? json_str(job->reply, "error.text") : job->err.text;
	AUTO_FREE char *got = NULL;

	if (wanted && error && strstr(error, wanted))
		return true;
	if (!wanted && !error &&
	    contains(json_object_get(job->reply, "result"), json_object_get(test, "expect")))
		return true;
	got = error ? strdup(error) : json_text(json_object_get(job->reply, "result"));
	buf_addf(out, "FAIL %s: got %s\n", json_str_or(test, "file", ""), got);
	return false;
}

/* One tenant's tests; how many passed. */
static size_t run_tests(const char *exe, const json_t *scripts, const json_t *tests,
			struct buf *out)
{
	size_t n = json_array_size(tests), passed = 0, i;
	struct policy_job *jobs = calloc(n + 1, sizeof(*jobs));
	json_t *test;

	assert(jobs);
	json_array_foreach (tests, i, test)
		jobs[i] = (struct policy_job){
			.scripts = scripts,
			.request = json_pack("{s:s,s:i,s:s,s:O}", "op", "eval", "id", 1, "hook",
					     json_str(test, "hook"), "input",
					     json_object_get(test, "input")),
		};
	if (n)
		policy_run_jobs(exe, jobs, n, POLICY_DEADLINE_MS, 0);
	json_array_foreach (tests, i, test) {
		if (test_passes(test, &jobs[i], out)) {
			buf_addf(out, "ok   %s\n", json_str_or(test, "file", ""));
			passed++;
		}
		json_decref((json_t *)(uintptr_t)jobs[i].request);
		json_decref(jobs[i].reply);
	}
	free(jobs);
	return passed;
}

int policy_test_dir(const char *exe, const char *dir, struct buf *out)
{
	AUTO_JSON json_t *set = NULL, *tests = NULL, *hooks = NULL;
	size_t passed = 0, all = 0;
	const char *tenant;
	json_t *list;

	if (need_dir(dir, out) || policy_dir_read(dir, &set, out) ||
	    policy_set_check(exe, set, NULL, NULL, out, &hooks) ||
	    policy_dir_tests(dir, &tests, out))
		return -1;
	json_object_foreach (tests, tenant, list) {
		passed += run_tests(exe, json_object_get(set, tenant), list, out);
		all += json_array_size(list);
	}
	if (!all)
		buf_addf(out, "%s: no tests; put some into TENANT/tests/NAME.json\n", dir);
	buf_addf(out, "%zu passed, %zu failed\n", passed, all - passed);
	return all == passed && all ? 0 : -1;
}
