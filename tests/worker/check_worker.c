/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/worker/worker.h"
#include "tests/worker/probes.h"
#include "core/clock.h"

#include <check.h>
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 20000

#ifdef PCG_SANITIZED
#define CRASHED "exit status 1" /* after the sanitizer's own report */
#else
#define CRASHED "signal 11"
#endif

static char exe[4096];

struct talk {
	uv_loop_t loop;
	uv_timer_t limit;
	struct worker *worker;
	int frames, ends, flood;
	json_t *last;
	char reason[400];
	bool timed_out;
};

static void on_frame(void *arg, struct worker *w, json_t *doc)
{
	struct talk *t = arg;

	t->frames++;
	if (json_at(doc, "flood"))
		t->flood++;
	json_decref(t->last);
	t->last = json_incref(doc);
}

static void on_end(void *arg, struct worker *w, const char *reason)
{
	struct talk *t = arg;

	t->ends++;
	t->worker = NULL;
	snprintf(t->reason, sizeof(t->reason), "%s", reason);
}

static void on_limit(uv_timer_t *timer)
{
	((struct talk *)timer->data)->timed_out = true;
}

static struct worker_spec spec_of(struct talk *t)
{
	return (struct worker_spec){ .exe = exe, .role = "probe", .name = "test", .on_frame = on_frame,
				     .on_end = on_end, .arg = t };
}

static void talk_init(struct talk *t)
{
	memset(t, 0, sizeof(*t));
	uv_loop_init(&t->loop);
	uv_timer_init(&t->loop, &t->limit);
	t->limit.data = t;
}

static void run_until(struct talk *t, int frames, int ends)
{
	t->timed_out = false;
	uv_timer_start(&t->limit, on_limit, WAIT_MS, 0);
	while (!t->timed_out && t->frames < frames && t->ends < ends)
		uv_run(&t->loop, UV_RUN_ONCE);
	uv_timer_stop(&t->limit);
	ck_assert_msg(!t->timed_out, "waited for %d frames (%d came) or %d ends", frames, t->frames, ends);
}

static void talk_start(struct talk *t, const struct worker_spec *spec)
{
	struct pcg_error err;

	ck_assert_msg(worker_start(&t->loop, spec, &t->worker, &err) == 0, "%s", err.text);
	run_until(t, 1, 1);
	ck_assert_msg(t->ends == 0, "%s", t->reason);
}

static void talk_end(struct talk *t)
{
	if (t->worker)
		worker_end(t->worker, 5000);
	run_until(t, INT_MAX, 1);
	json_decref(t->last);
	uv_close((uv_handle_t *)&t->limit, NULL);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&t->loop), 0);
}

static void ask(struct talk *t, const char *what, const char *arg)
{
	json_t *doc = json_pack("{s:s, s:s}", "try", what, "arg", arg);
	struct pcg_error err;

	ck_assert_msg(worker_send(t->worker, doc, &err) == 0, "%s", err.text);
	json_decref(doc);
}

static int attempt(struct talk *t, const char *what, const char *arg)
{
	int before = t->frames;

	ask(t, what, arg);
	run_until(t, before + 1, 1);
	ck_assert_msg(t->ends == 0, "%s ended the worker: %s", what, t->reason);
	return (int)json_int_or(t->last, "errno", -1);
}

static bool lacks(struct talk *t, const char *what)
{
	if (!strstr(json_str_or(t->last, "missing", "?"), what))
		return false;
	printf("skipped: this kernel has no %s\n", what);
	return true;
}

START_TEST(gives_the_hello_and_carries_frames)
{
	struct talk t;
	AUTO_JSON json_t *hello = json_pack("{s:s}", "secret", "s3cr3t");

	talk_init(&t);
	struct worker_spec spec = spec_of(&t);
	spec.hello = hello;
	talk_start(&t, &spec);
	ck_assert_str_eq(json_str(t.last, "secret"), "s3cr3t");
	ck_assert_int_eq(attempt(&t, "thread", ""), 0);
	worker_end(t.worker, 5000);
	run_until(&t, INT_MAX, 1);
	ck_assert(json_bool_or(t.last, "leaving", false));
	talk_end(&t);
	ck_assert_int_eq(t.ends, 1);
	ck_assert_str_eq(t.reason, "exit status 0");
}
END_TEST

START_TEST(has_nothing_secret_in_argv_or_environment)
{
	struct talk t;
	AUTO_JSON json_t *hello = json_pack("{s:s}", "secret", "s3cr3t-in-hello");
	char path[64], text[4096];

	talk_init(&t);
	setenv("PCG_TEST_SECRET", "s3cr3t-in-environment", 1);
	setenv("SSL_CERT_FILE", "/etc/hostname", 1);
	struct worker_spec spec = spec_of(&t);
	spec.hello = hello;
	talk_start(&t, &spec);
	ck_assert_int_eq(attempt(&t, "environment", "PCG_TEST_SECRET"), ENOENT);
	ck_assert_int_eq(attempt(&t, "environment", "PATH"), 0);
	ck_assert_int_eq(attempt(&t, "environment", "SSL_CERT_FILE"), 0);
	unsetenv("SSL_CERT_FILE");
	snprintf(path, sizeof(path), "/proc/%d/cmdline", worker_pid(t.worker));
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text));

	close(fd);
	ck_assert_int_gt(n, 0);
	ck_assert_ptr_null(memmem(text, (size_t)n, "s3cr3t", 6));
	talk_end(&t);
}
END_TEST

static const struct {
	const char *what, *arg;
	int want;      /* without network */
	int want_net;  /* with it */
} seccomp_table[] = {
	{ "exec", "/bin/true", EPERM, EPERM },
	{ "fork", "", EPERM, EPERM },
	{ "ptrace", "", EPERM, EPERM },
	{ "read_parent", "", EPERM, EPERM },
	{ "kill_parent", "", EPERM, EPERM },
	{ "limit_parent", "", EPERM, EPERM },
	{ "mount", "", EPERM, EPERM },
	{ "unshare", "", EPERM, EPERM },
	{ "bpf", "", EPERM, EPERM },
	{ "keyctl", "", EPERM, EPERM },
	{ "io_uring", "", EPERM, EPERM },
	{ "setuid", "", EPERM, EPERM },
	{ "chroot", "", EPERM, EPERM },
	{ "socket", "", EPERM, 0 },
	{ "packet_socket", "", EPERM, EPERM },
	{ "listen_unbound", "", EPERM, EPERM },
	{ "unix_socket", "", EPERM, EPERM },
	{ "thread", "", 0, 0 },
};

START_TEST(refuses_system_calls_that_a_worker_has_no_use_for)
{
	for (int network = 0; network < 2; network++) {
		struct talk t;

		talk_init(&t);
		struct worker_spec spec = spec_of(&t);
		spec.network = network;
		talk_start(&t, &spec);
		if (!lacks(&t, "seccomp"))
			for (size_t i = 0; i < ARRAY_LEN(seccomp_table); i++) {
				int want = network ? seccomp_table[i].want_net : seccomp_table[i].want;

				ck_assert_msg(attempt(&t, seccomp_table[i].what, seccomp_table[i].arg) == want,
					      "%s, network %d: errno %d", seccomp_table[i].what, network,
					      (int)json_int_or(t.last, "errno", -1));
			}
		talk_end(&t);
	}
}
END_TEST

static int landlock_abi(void)
{
	AUTO_JSON json_t *report = worker_confinement_report();

	return (int)json_int_or(report, "landlock", 0);
}

START_TEST(reads_only_what_it_was_given)
{
	char dir[] = "/tmp/check_worker.XXXXXX", inside[64], outside[64];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(outside, sizeof(outside), "%s.out", dir);
	snprintf(inside, sizeof(inside), "%s/in", dir);
	close(open(outside, O_CREAT | O_WRONLY, 0644));
	close(open(inside, O_CREAT | O_WRONLY, 0644));

	const char *given[] = { dir, NULL };
	const struct {
		const char *what, *arg;
		int want, want_net;
	} table[] = {
		{ "open", inside, 0, 0 },
		{ "open", outside, EACCES, EACCES },
		{ "open", "/etc/passwd", EACCES, EACCES },
		{ "open", "/etc/shadow", EACCES, EACCES },
		{ "open", "/etc/hosts", EACCES, 0 },
		{ "open", "/etc/ssl/private", EACCES, EACCES },
		{ "write", inside, EACCES, EACCES },
		{ "write", "/tmp/check_worker.new", EACCES, EACCES },
		{ "listen", "", EBADF, EACCES },
	};

	for (int network = 0; network < 2; network++) {
		struct talk t;

		talk_init(&t);
		struct worker_spec spec = spec_of(&t);
		spec.network = network;
		spec.read_paths = given;
		talk_start(&t, &spec);
		if (!lacks(&t, "landlock"))
			for (size_t i = 0; i < ARRAY_LEN(table); i++) {
				int got, want = network ? table[i].want_net : table[i].want;

				if (access(table[i].arg, F_OK) && errno == ENOENT &&
				    strcmp(table[i].what, "open") == 0)
					continue;
				if (strcmp(table[i].what, "listen") == 0 && (!network || landlock_abi() < 4))
					continue;
				got = attempt(&t, table[i].what, table[i].arg);
				ck_assert_msg(got == want, "%s %s, network %d: %s", table[i].what,
					      table[i].arg, network, strerror(got));
			}
		talk_end(&t);
	}
	unlink(inside);
	unlink(outside);
	rmdir(dir);
}
END_TEST

START_TEST(is_limited_in_memory_files_and_core)
{
	struct talk t;

	talk_init(&t);
	struct worker_spec spec = spec_of(&t);
	spec.memory_max = 256u << 20;
	spec.max_files = 32;
	talk_start(&t, &spec);
	ck_assert_int_eq(attempt(&t, "core", ""), EPERM);
	ck_assert_int_eq(attempt(&t, "inherited", ""), EBADF);
#ifndef PCG_SANITIZED
	ck_assert_int_eq(attempt(&t, "memory", "16777216"), 0);
	ck_assert_int_eq(attempt(&t, "memory", "268435456"), ENOMEM);
#endif
	ck_assert_int_eq(attempt(&t, "files", "10"), 0);
	ck_assert_int_eq(attempt(&t, "files", "40"), EMFILE);
	talk_end(&t);
}
END_TEST

START_TEST(tells_each_kind_of_death_once_with_its_reason)
{
	static const struct {
		const char *what, *reason;
	} table[] = {
		{ "exit", "exit status 0" },
		{ "crash", CRASHED },
		{ "garbage", "killed: it broke the conversation" },
		{ "kill", "killed: too slow" },
		{ "grace", "killed: it did not end in its time of grace" },
#ifdef __SANITIZE_ADDRESS__
		{ "leak", "exit status 23" },
#else
		{ "leak", "exit status 0" },
#endif
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct talk t;

		talk_init(&t);
		struct worker_spec spec = spec_of(&t);
		talk_start(&t, &spec);
		if (strcmp(table[i].what, "kill") == 0) {
			worker_kill(t.worker, "too slow");
			worker_kill(t.worker, "again");
		} else if (strcmp(table[i].what, "grace") == 0) {
			ask(&t, "stay", "");
			worker_end(t.worker, 50);
		} else {
			ask(&t, table[i].what, "");
		}
		run_until(&t, INT_MAX, 1);
		ck_assert_msg(strstr(t.reason, table[i].reason), "%s: %s", table[i].what, t.reason);
		talk_end(&t);
		ck_assert_int_eq(t.ends, 1);
	}
}
END_TEST

START_TEST(delivers_what_a_child_sent_before_it_died)
{
	struct talk t;

	talk_init(&t);
	struct worker_spec spec = spec_of(&t);
	talk_start(&t, &spec);
	ask(&t, "flood", "");
	ask(&t, "crash", "");
	run_until(&t, INT_MAX, 1);
	ck_assert_int_eq(t.flood, 1000);
	talk_end(&t);
}
END_TEST

START_TEST(says_which_program_could_not_be_started)
{
	struct talk t;
	struct pcg_error err;

	talk_init(&t);
	struct worker_spec spec = spec_of(&t);
	spec.exe = "/nonexistent/pcgd";
	ck_assert_int_lt(worker_start(&t.loop, &spec, &t.worker, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/pcgd"));
	uv_close((uv_handle_t *)&t.limit, NULL);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&t.loop), 0);
	ck_assert_int_eq(t.ends, 0);
}
END_TEST

static bool process_gone(pid_t pid)
{
	char path[64], text[512], *state;
	int fd, n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return true;
	n = (int)read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	state = strrchr(text, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

START_TEST(dies_with_a_host_that_is_killed)
{
	int pipe_fd[2];
	pid_t host, child = 0;
	int64_t end;

	ck_assert_int_eq(pipe(pipe_fd), 0);
	host = fork();
	if (host == 0) {
		struct talk t;

		talk_init(&t);
		struct worker_spec spec = spec_of(&t);
		talk_start(&t, &spec);
		ask(&t, "stay", "");
		child = worker_pid(t.worker);
		if (write(pipe_fd[1], &child, sizeof(child)) == sizeof(child))
			uv_run(&t.loop, UV_RUN_DEFAULT);
		_exit(1);
	}
	ck_assert_int_eq(read(pipe_fd[0], &child, sizeof(child)), sizeof(child));
	ck_assert(!process_gone(child));
	kill(host, SIGKILL);
	waitpid(host, NULL, 0);
	end = clock_mono_ms() + WAIT_MS;
	while (!process_gone(child) && clock_mono_ms() < end)
		sched_yield();
	ck_assert(process_gone(child));
}
END_TEST

static int open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

START_TEST(leaves_no_descriptor_after_200_workers)
{
	struct talk t;
	int before = 0;

	for (int i = 0; i < 201; i++) {
		talk_init(&t);
		struct worker_spec spec = spec_of(&t);
		talk_start(&t, &spec);
		worker_kill(t.worker, "enough");
		talk_end(&t);
		if (i == 0)
			before = open_files();
	}
	ck_assert_int_eq(open_files(), before);
}
END_TEST

START_TEST(reports_what_this_kernel_offers)
{
	AUTO_JSON json_t *report = worker_confinement_report();

	ck_assert_int_ge(json_int_or(report, "landlock", -1), 0);
	ck_assert(json_is_boolean(json_at(report, "seccomp")));
}
END_TEST

int main(int argc, char **argv)
{
	static const struct worker_role roles[] = { { "probe", probe_role_main } };
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	Suite *s;
	TCase *c;
	SRunner *r;
	int failed;

	if (argc == 3 && strcmp(argv[1], "--worker") == 0)
		return worker_child_main(argv[2], roles, 1);
	exe[n > 0 ? n : 0] = 0;
	s = suite_create("worker");
	c = tcase_create("worker");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, gives_the_hello_and_carries_frames);
	tcase_add_test(c, has_nothing_secret_in_argv_or_environment);
	tcase_add_test(c, refuses_system_calls_that_a_worker_has_no_use_for);
	tcase_add_test(c, reads_only_what_it_was_given);
	tcase_add_test(c, is_limited_in_memory_files_and_core);
	tcase_add_test(c, tells_each_kind_of_death_once_with_its_reason);
	tcase_add_test(c, delivers_what_a_child_sent_before_it_died);
	tcase_add_test(c, says_which_program_could_not_be_started);
	tcase_add_test(c, dies_with_a_host_that_is_killed);
	tcase_add_test(c, leaves_no_descriptor_after_200_workers);
	tcase_add_test(c, reports_what_this_kernel_offers);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
