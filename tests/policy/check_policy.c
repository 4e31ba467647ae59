/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/policy/rig.h"

#include "core/frame.h"
#include "host/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALLOW "function admission(c) return {allow = true} end\n"
#define PROBE "-- probe\n"
#define FORGE "-- forge\n"

START_TEST(a_tenant_that_loops_holds_up_nobody_else)
{
	struct rig r;
	struct got loops, behind, other[3];

	rig_begin(&r);
	rig_write(&r, "t1/10-x.lua",
		  "function admission(c) while c.loop do end return {allow = true} end");
	rig_write(&r, "t2/10-x.lua", ALLOW);
	rig_open(&r);
	rig_ask(&r, &loops, "t1", "admission", "{\"loop\":true}");
	rig_ask(&r, &behind, "t1", "admission", "{}");
	for (int i = 0; i < 3; i++)
		rig_do(&r, &other[i], "t2", "admission", "{}");
	ck_assert(!loops.done && !behind.done);
	rig_wait(&r, &behind.done);
	ck_assert(loops.done && loops.failed && strstr(loops.err.text, "t1/10-x.lua"));
	ck_assert_msg(!behind.failed, "%s", behind.err.text);
	for (int i = 0; i < 3; i++) {
		ck_assert(!other[i].failed && other[i].order < loops.order);
		got_free(&other[i]);
	}
	got_free(&behind);
	rig_end(&r);
	ck_assert_int_eq(rig_child(), 0);
}
END_TEST

START_TEST(a_thousand_evaluations_leave_nothing)
{
	struct rig r;
	struct got g;
	unsigned descriptors = 0;
	int worker = 0;

	rig_one(&r, "n = 0 function admission(c) n = n + 1 junk = ('x'):rep(100000)\n"
		    "return {allow = n == 1, reason = 'state was kept'} end");
	for (int i = 0; i < 1000; i++) {
		rig_do(&r, &g, "t1", "admission", "{\"name\":\"c1\",\"pools\":[{\"size\":1}]}");
		ck_assert_msg(!g.failed && json_is_true(json_object_get(g.result, "allow")), "%d", i);
		got_free(&g);
		if (!i) {
			descriptors = rig_descriptors();
			worker = rig_child();
		}
	}
	ck_assert_uint_eq(rig_descriptors(), descriptors);
	ck_assert_int_eq(rig_child(), worker);
	rig_end(&r);
	ck_assert_int_eq(rig_child(), 0);
}
END_TEST

/* A worker that is gone while it had nothing to do, and one that a person kills in the middle. */
START_TEST(a_worker_that_was_killed_is_replaced)
{
	struct rig r;
	struct got g;
	char pids[2][32];

	rig_one(&r, ALLOW);
	rig_do(&r, &g, "t1", "admission", "{}");
	got_free(&g);
	snprintf(pids[0], sizeof(pids[0]), "%d", rig_child());
	ck_assert_int_eq(kill(rig_child(), SIGKILL), 0);
	rig_do(&r, &g, "t1", "admission", "{}");
	ck_assert_msg(!g.failed, "%s", g.err.text);
	got_free(&g);
	snprintf(pids[1], sizeof(pids[1]), "%d", rig_child());
	ck_assert_str_ne(pids[0], pids[1]);
	rig_end(&r);
}
END_TEST

START_TEST(a_program_that_cannot_be_started_fails_every_question)
{
	struct policy_spec spec = { .exe = rig_exe };
	struct pcg_error err;
	struct rig r;
	struct got g[3];
	char link_path[300];

	rig_begin(&r);
	rig_write(&r, "p/t1/10-x.lua", ALLOW);
	snprintf(link_path, sizeof(link_path), "%s/exe", r.dir);
	ck_assert_int_eq(symlink(rig_exe, link_path), 0);
	spec.exe = link_path;
	AUTO_FREE char *dir = NULL;
	ck_assert_int_gt(asprintf(&dir, "%s/p", r.dir), 0);
	spec.dir = dir;
	ck_assert_int_eq(policy_new(&r.loop, &spec, &r.policy, &err), 0);
	ck_assert_int_eq(unlink(link_path), 0);
	for (int i = 0; i < 3; i++)
		rig_ask(&r, &g[i], "t1", "admission", "{}");
	for (int i = 0; i < 3; i++) {
		rig_wait(&r, &g[i].done);
		ck_assert(g[i].failed && strstr(g[i].err.text, "starting a policy worker"));
	}
	rig_end(&r);
}
END_TEST

START_TEST(closes_while_questions_run_and_wait)
{
	struct rig r;
	struct got runs, waits, ready;

	rig_one(&r, "function admission(c) while true do end end");
	rig_ask(&r, &runs, "t1", "admission", "{}");
	rig_ask(&r, &waits, "t1", "admission", "{}");
	rig_ask(&r, &ready, "t1", "proxy", "{}");
	rig_end(&r);
	ck_assert(runs.failed && waits.failed && ready.failed);
	ck_assert_int_eq(runs.err.class, PCG_CLASS_CANCELLED);
	ck_assert_int_eq(rig_child(), 0);
}
END_TEST

struct closer {
	struct rig *rig;
	bool closed;
};

static void on_closed(void *arg)
{
	((struct closer *)arg)->closed = true;
}

static void close_now(void *arg, const json_t *result, const struct pcg_error *err)
{
	struct closer *c = arg;

	struct policy *p = TAKE(c->rig->policy);

	if (p)
		policy_close(p, on_closed, c);
}

START_TEST(may_be_closed_from_an_answer)
{
	AUTO_JSON json_t *in = json_object();
	struct rig r;
	struct closer c = { .rig = &r };

	rig_one(&r, ALLOW);
	for (int i = 0; i < 3; i++)
		policy_eval(r.policy, i == 1 ? "t2" : "t1", NULL, i == 2 ? "proxy" : "admission", in, close_now, &c);
	rig_wait(&r, &c.closed);
	rig_end(&r);
}
END_TEST

/* What policy_worker_main would be given is put to the kernel instead. */
static int probe_main(json_t *hello)
{
	struct frame_reader in;
	struct pcg_error err;
	char found[300];
	json_t *req, *reply;
	int fd, s;

	frame_reader_init(&in, FRAME_MAX);
	reply = json_pack("{s:b}", "ready", 1);
	frame_send_fd(3, reply, &err);
	json_decref(reply);
	while (!frame_recv_fd(3, &in, 0, &req, &err) && req) {
		fd = open("/etc/passwd", O_RDONLY);
		snprintf(found, sizeof(found), "file:%s", fd < 0 ? strerror(errno) : "opened");
		s = socket(AF_INET, SOCK_STREAM, 0);
		snprintf(found + strlen(found), 100, " socket:%s", s < 0 ? strerror(errno) : "made");
		s = socket(AF_UNIX, SOCK_STREAM, 0);
		snprintf(found + strlen(found), 100, " unix:%s", s < 0 ? strerror(errno) : "made");
		snprintf(found + strlen(found), 100, " fork:%s", fork() < 0 ? strerror(errno) : "done");
		reply = json_pack("{s:I,s:s}", "id", (json_int_t)json_int_or(req, "id", 0), "begin", "probe");
		frame_send_fd(3, reply, &err);
		json_decref(reply);
		reply = json_pack("{s:I,s:{s:b,s:s}}", "id", (json_int_t)json_int_or(req, "id", 0), "result", "allow",
				  0, "reason", found);
		if (!strcmp(json_str_or(req, "op", ""), "check"))
			json_object_update_new(reply, json_pack("{s:[],s:{s:[s]}}", "problems", "hooks",
								"t1/10-x.lua", "admission"));
		frame_send_fd(3, reply, &err);
		json_decref(reply);
		json_decref(req);
	}
	frame_reader_free(&in);
	json_decref(hello);
	return 0;
}

/* A worker that a script has taken over: it answers what the question's input says. */
static int forge_main(json_t *hello)
{
	struct frame_reader in;
	struct pcg_error err;
	json_t *req, *reply = json_pack("{s:b}", "ready", 1);

	frame_reader_init(&in, FRAME_MAX);
	frame_send_fd(3, reply, &err);
	json_decref(reply);
	while (!frame_recv_fd(3, &in, 0, &req, &err) && req) {
		if (!strcmp(json_str_or(req, "op", ""), "check"))
			reply = json_pack("{s:[],s:{s:[s]}}", "problems", "hooks", "t1/10-x.lua",
					  "admission");
		else
			reply = json_deep_copy(json_object_get(req, "input"));
		json_object_set(reply, "id", json_object_get(req, "id"));
		frame_send_fd(3, reply, &err);
		json_decref(reply);
		json_decref(req);
	}
	frame_reader_free(&in);
	return 0;
}

static int worker_main(json_t *hello)
{
	const char *text = json_str_or(hello, "scripts.0.text", "");

	if (!strncmp(text, FORGE, strlen(FORGE)))
		return forge_main(hello);
	return strncmp(text, PROBE, strlen(PROBE)) ? policy_worker_main(hello) : probe_main(hello);
}

static const char *const forged[] = {
	"{\"result\":{\"allow\":\"yes\"}}",
	"{\"result\":{\"change\":{}}}",
	"{\"result\":{\"allow\":true,\"change\":{\"account\":\"another\"}}}",
	"{\"result\":[]}",
	"{\"result\":true}",
	"{}",
};

START_TEST(a_worker_that_was_taken_over_is_not_believed)
{
	struct rig r;
	struct got g;

	rig_one(&r, FORGE ALLOW);
	rig_do(&r, &g, "t1", "admission", "{\"result\":{\"allow\":true}}");
	ck_assert_msg(!g.failed, "%s", g.err.text);
	got_free(&g);
	rig_do(&r, &g, "t1", "admission", forged[_i]);
	ck_assert_msg(g.failed, "believed %s", forged[_i]);
	ck_assert_int_eq(g.err.class, PCG_CLASS_PERMANENT);
	got_free(&g);
	rig_end(&r);
}
END_TEST

START_TEST(a_worker_reaches_no_file_no_network_no_process)
{
	struct rig r;
	struct got g;
	const char *reason;

	rig_one(&r, PROBE ALLOW);
	rig_do(&r, &g, "t1", "admission", "{}");
	reason = json_str_or(g.result, "reason", g.err.text);
	ck_assert_msg(strstr(reason, "file:Permission denied"), "%s", reason);
	ck_assert_msg(strstr(reason, "socket:Operation not permitted"), "%s", reason);
	ck_assert_msg(strstr(reason, "unix:Operation not permitted"), "%s", reason);
	ck_assert_msg(strstr(reason, "fork:Operation not permitted"), "%s", reason);
	got_free(&g);
	rig_end(&r);
}
END_TEST

static bool status_has(int pid, const char *file, const char *line)
{
	char path[64], text[256];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(text, sizeof(text), f))
		found |= strncmp(text, line, strlen(line)) == 0;
	fclose(f);
	return found;
}

START_TEST(a_worker_is_limited_before_it_sees_a_script)
{
	struct rig r;
	struct got g;

	rig_one(&r, ALLOW);
	rig_do(&r, &g, "t1", "admission", "{}");
	got_free(&g);
	ck_assert(status_has(rig_child(), "status", "Seccomp:\t2"));
	ck_assert(status_has(rig_child(), "status", "NoNewPrivs:\t1"));
	ck_assert(status_has(rig_child(), "status", "CapEff:\t0000000000000000"));
	ck_assert(status_has(rig_child(), "limits", "Max core file size        0 "));
#ifndef PCG_SANITIZED
	ck_assert(!status_has(rig_child(), "limits", "Max address space         unlimited"));
#endif
	rig_end(&r);
}
END_TEST

START_TEST(lists_what_is_in_force)
{
	struct rig r;
	json_t *list, *t;
	size_t i;
	bool found = false;

	rig_one(&r, ALLOW);
	list = policy_list(r.policy);
	json_array_foreach(json_object_get(list, "tenants"), i, t)
		if (!strcmp(json_str_or(t, "tenant", ""), "t1"))
			found = !strcmp(json_str_or(t, "scripts.0.name", ""), "t1/10-x.lua") &&
				!strcmp(json_str_or(t, "scripts.0.hooks.0", ""), "admission");
	ck_assert(found);
	json_decref(list);
	rig_end(&r);
}
END_TEST

static TCase *worker_cases(void)
{
	TCase *c = tcase_create("workers");

	tcase_set_timeout(c, 20);
	tcase_add_test(c, a_tenant_that_loops_holds_up_nobody_else);
	tcase_add_test(c, a_thousand_evaluations_leave_nothing);
	tcase_add_test(c, a_worker_that_was_killed_is_replaced);
	tcase_add_test(c, a_program_that_cannot_be_started_fails_every_question);
	tcase_add_test(c, closes_while_questions_run_and_wait);
	tcase_add_test(c, may_be_closed_from_an_answer);
	tcase_add_test(c, a_worker_reaches_no_file_no_network_no_process);
	tcase_add_loop_test(c, a_worker_that_was_taken_over_is_not_believed, 0, ARRAY_LEN(forged));
	tcase_add_test(c, a_worker_is_limited_before_it_sees_a_script);
	tcase_add_test(c, lists_what_is_in_force);
	return c;
}

int main(int argc, char **argv)
{
	static const struct worker_role roles[] = { { "policy", worker_main } };
	ssize_t n = readlink("/proc/self/exe", rig_exe, sizeof(rig_exe) - 1);
	Suite *s;
	SRunner *r;
	int failed;

	if (argc == 3 && strcmp(argv[1], "--worker") == 0)
		return worker_child_main(argv[2], roles, 1);
	rig_exe[n > 0 ? n : 0] = 0;
	signal(SIGPIPE, SIG_IGN); /* as pcgd does */
	s = suite_create("policy");
	suite_add_tcase(s, language_cases());
	suite_add_tcase(s, folder_cases());
	suite_add_tcase(s, worker_cases());
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
