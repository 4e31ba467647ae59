/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/provider/rig.h"
#include "core/attr.h"
#include "core/clock.h"
#include "pcg/provider.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef PCG_SANITIZED
#define CRASHED "exit status 1" /* after the sanitizer's own report */
#else
#define CRASHED "signal 11"
#endif

static int pid_of(struct rig *r, const char *account)
{
	struct got g;
	int pid;

	rig_do(r, &g, account, "done");
	ck_assert_msg(g.status == PCG_STEP_DONE, "%s", g.err.text);
	pid = (int)json_int_or(g.doc, "pid", 0);
	got_free(&g);
	return pid;
}

static void open_good(struct rig *r, uint32_t idle_ms)
{
	rig_open(r, idle_ms);
	rig_plugin(r, "good");
	rig_account(r, "a1", "good", "swordfish");
	rig_account(r, "a2", "good", "swordfish");
}

static const struct {
	const char *what, *reason;
} deaths[] = {
	{ "crash", CRASHED },
	{ "exit", "exit status 3" },
};

START_TEST(death_in_an_op_answers_retry_and_harms_no_other_account)
{
	struct rig r;
	struct got crash, beside, other;
	int first, second;

	open_good(&r, 0);
	first = pid_of(&r, "a1");
	second = pid_of(&r, "a2");
	ck_assert_int_ne(first, second);
	rig_call(&r, &beside, "a1", "machine_ensure", "m2", json_pack("{s:s}", "do", "wait"), CALL_MS);
	rig_call(&r, &other, "a2", "machine_ensure", "m2", json_pack("{s:s}", "do", "exclusive"), CALL_MS);
	rig_do(&r, &crash, "a1", deaths[_i].what);
	ck_assert_int_eq(crash.err.class, PCG_CLASS_RETRY);
	ck_assert_msg(strstr(crash.err.text, deaths[_i].reason), "%s", crash.err.text);
	rig_wait(&r, &beside.done);
	ck_assert_int_eq(beside.err.class, PCG_CLASS_RETRY);
	rig_wait(&r, &other.done);
	ck_assert_uint_eq(other.status, PCG_STEP_DONE);
	ck_assert_int_ne(pid_of(&r, "a1"), first);
	ck_assert_int_eq(pid_of(&r, "a2"), second);
	got_free(&other);
	rig_close(&r);
}
END_TEST

START_TEST(a_killed_worker_is_replaced_and_calls_that_waited_are_not_lost)
{
	struct rig r;
	struct got g[20];
	size_t done = 0, retried = 0;
	char said[sizeof(g[0].err.text)] = "";

	open_good(&r, 0);
	kill(pid_of(&r, "a1"), SIGKILL);
	for (size_t i = 0; i < ARRAY_LEN(g); i++) {
		char subject[16];

		snprintf(subject, sizeof(subject), "m%zu", i);
		rig_call(&r, &g[i], "a1", "machine_ensure", subject, json_object(), CALL_MS);
	}
	for (size_t i = 0; i < ARRAY_LEN(g); i++) {
		rig_wait(&r, &g[i].done);
		done += g[i].status == PCG_STEP_DONE;
		retried += g[i].status == PCG_STEP_ERROR && g[i].err.class == PCG_CLASS_RETRY;
		if (g[i].status == PCG_STEP_ERROR)
			snprintf(said, sizeof(said), "%s", g[i].err.text);
		got_free(&g[i]);
	}
	/* 8 at most were on their way to the dead one. */
	ck_assert_msg(done >= 12, "%zu of 20, at last: %s", done, said);
	ck_assert_uint_eq(done + retried, ARRAY_LEN(g));
	rig_close(&r);
}
END_TEST

START_TEST(an_op_learns_of_its_deadline)
{
	struct rig r;
	struct got g;
	int pid;

	open_good(&r, 0);
	pid = pid_of(&r, "a1");
	rig_call(&r, &g, "a1", "machine_ensure", "m1", json_pack("{s:s}", "do", "wait"), 100);
	rig_wait(&r, &g.done);
	ck_assert_int_eq(g.err.class, PCG_CLASS_CANCELLED);
	ck_assert_str_eq(g.err.text, "stopped in time");
	ck_assert_int_eq(pid_of(&r, "a1"), pid);
	rig_close(&r);
}
END_TEST

static const char *const stuck[] = { "hang", "loop" };

START_TEST(an_op_that_passes_its_deadline_is_killed)
{
	struct rig r;
	struct got g;
	int64_t began;
	int pid;

	open_good(&r, 0);
	pid = pid_of(&r, "a1");
	began = clock_mono_ms();
	rig_call(&r, &g, "a1", "machine_ensure", "m1", json_pack("{s:s}", "do", stuck[_i]), 100);
	rig_wait(&r, &g.done);
	ck_assert_int_ge(clock_mono_ms() - began, 2000);
	ck_assert_int_lt(clock_mono_ms() - began, 8000);
	ck_assert_int_eq(g.err.class, PCG_CLASS_RETRY);
	ck_assert_msg(strstr(g.err.text, "machine_ensure of m1 did not end"), "%s", g.err.text);
	ck_assert_int_ne(kill(pid, 0), 0);
	ck_assert_int_ne(pid_of(&r, "a1"), pid);
	rig_close(&r);
}
END_TEST

START_TEST(a_cancelled_call_is_not_answered_and_its_op_ends)
{
	struct rig r;
	struct got running, queued, again;
	int pid;

	open_good(&r, 0);
	pid = pid_of(&r, "a1");
	rig_call(&r, &running, "a1", "machine_ensure", "m1", json_pack("{s:s}", "do", "wait"), 60000);
	rig_call(&r, &queued, "a1", "machine_ensure", "m1", json_object(), 60000);
	provider_call_cancel(queued.call);
	provider_call_cancel(running.call);
	rig_call(&r, &again, "a1", "machine_ensure", "m1", json_object(), 60000);
	rig_wait(&r, &again.done);
	ck_assert_int_eq(json_int_or(again.doc, "pid", 0), pid);
	ck_assert(!running.done && !queued.done);
	/* Also before the answer of a call that could not run is told. */
	got_free(&again);
	rig_call(&r, &again, "nobody", "machine_ensure", "m1", json_object(), 60000);
	provider_call_cancel(again.call);
	rig_turn(&r);
	ck_assert(!again.done);
	rig_close(&r);
}
END_TEST

START_TEST(five_deaths_put_a_plugin_into_quarantine_until_rescan_or_new_credentials)
{
	struct rig r;
	struct got g;

	open_good(&r, 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 5; i++) {
			rig_do(&r, &g, "a1", "crash");
			ck_assert_int_eq(g.err.class, PCG_CLASS_RETRY);
		}
		rig_do(&r, &g, "a1", "done");
		ck_assert_int_eq(g.err.class, PCG_CLASS_PERMANENT);
		ck_assert_msg(strstr(g.err.text, "quarantined"), "%s", g.err.text);
		ck_assert_msg(strstr(g.err.text, CRASHED), "%s", g.err.text);
		ck_assert_ptr_nonnull(strstr(g.err.remedy, "pcgctl plugin rescan"));
		AUTO_JSON json_t *list = provider_list(r.pool);

		ck_assert_str_eq(json_str_or(list, "items.0.state", ""), "quarantined");
		pid_of(&r, "a2"); /* the other account goes on */
		if (round == 0)
			json_decref(provider_rescan(r.pool));
		else
			rig_account(&r, "a1", "good", "new password");
		pid_of(&r, "a1");
	}
	rig_close(&r);
}
END_TEST

START_TEST(deaths_that_are_far_apart_are_forgiven)
{
	struct rig r;
	struct got g;

	open_good(&r, 0);
	for (int i = 0; i < 7; i++) {
		rig_do(&r, &g, "a1", "crash");
		ck_assert_int_eq(g.err.class, PCG_CLASS_RETRY);
		clock_turn_ms(3 * 60 * 1000);
	}
	pid_of(&r, "a1");
	rig_close(&r);
}
END_TEST

START_TEST(a_worker_killed_by_others_is_no_fault_of_its_plugin)
{
	struct rig r;

	open_good(&r, 0);
	for (int i = 0; i < 7; i++) {
		kill(pid_of(&r, "a1"), SIGKILL);
		rig_wait_workers(&r, 0);
	}
	pid_of(&r, "a1");
	rig_close(&r);
}
END_TEST

static const struct {
	const char *plugin, *text;
} start_deaths[] = {
	{ "startcrash", CRASHED },
	{ "ctorcrash", "signal 6" },
};

START_TEST(a_plugin_that_dies_while_it_starts_is_quarantined)
{
	struct rig r;
	struct got g;

	rig_open(&r, 0);
	rig_plugin(&r, start_deaths[_i].plugin);
	rig_account(&r, "a1", start_deaths[_i].plugin, "x");
	rig_do(&r, &g, "a1", "done");
	ck_assert_int_eq(g.err.class, PCG_CLASS_PERMANENT);
	ck_assert_msg(strstr(g.err.text, start_deaths[_i].text), "%s", g.err.text);
	rig_close(&r);
}
END_TEST

START_TEST(an_idle_worker_ends_and_its_stop_runs)
{
	struct rig r;
	int pid;

	open_good(&r, 100);
	pid = pid_of(&r, "a1");
	rig_wait_workers(&r, 0);
	ck_assert_str_eq(json_str_or(r.secrets, "a1.stopped", ""), "not final");
	ck_assert_int_ne(pid_of(&r, "a1"), pid);
	rig_close(&r);
}
END_TEST

START_TEST(what_a_killed_process_left_is_ended_by_a_worker_that_waits_for_no_call)
{
	struct rig r;
	int pid;

	rig_open(&r, 60000);
	rig_plugin(&r, "good");
	rig_account(&r, "a1", "good", "x");
	provider_account_tidy(r.pool, "nobody");
	provider_account_tidy(r.pool, "a1");
	ck_assert_uint_eq(provider_workers(r.pool), 1);
	rig_wait_workers(&r, 0);
	ck_assert_str_eq(json_str_or(r.secrets, "a1.stopped", ""), "not final");
	/* With a call it is a worker like others, and stays. */
	provider_account_tidy(r.pool, "a1");
	pid = pid_of(&r, "a1");
	ck_assert_int_eq(pid_of(&r, "a1"), pid);
	rig_close(&r);
}
END_TEST

START_TEST(new_credentials_mean_a_new_worker_while_running_calls_finish)
{
	struct rig r;
	struct got g, account;
	int pid;

	open_good(&r, 0);
	pid = pid_of(&r, "a1");
	rig_call(&r, &g, "a1", "machine_ensure", "m9", json_pack("{s:s}", "do", "exclusive"), CALL_MS);
	rig_account(&r, "a1", "good", "swordfish");
	ck_assert_uint_eq(provider_workers(r.pool), 1); /* nothing new in it */
	rig_account(&r, "a1", "good", "other");
	rig_do(&r, &account, "a1", "account");
	ck_assert_str_eq(json_str_or(account.doc, "spec.password", ""), "other");
	ck_assert_int_ne(pid_of(&r, "a1"), pid);
	rig_wait(&r, &g.done);
	ck_assert_uint_eq(g.status, PCG_STEP_DONE);
	rig_wait_workers(&r, 1);
	ck_assert_str_eq(json_str_or(r.secrets, "a1.stopped", ""), "final");
	got_free(&g);
	got_free(&account);
	rig_close(&r);
}
END_TEST

/* The one before says in its stop() what it kept, when the new one has kept something of that name. */
START_TEST(a_replaced_worker_takes_nothing_from_the_new_one)
{
	struct rig r;
	struct got old, new;

	open_good(&r, 0);
	pid_of(&r, "a1");
	rig_call(&r, &old, "a1", "machine_ensure", "m9", json_pack("{s:s}", "do", "linger"), 1500);
	rig_account(&r, "a1", "good", "other");
	rig_call(&r, &new, "a1", "machine_ensure", "m1",
		 json_pack("{s:s, s:s, s:s}", "do", "secret_put", "name", "stopped", "value", "not mine"), CALL_MS);
	rig_wait(&r, &new.done);
	ck_assert(!old.done);
	rig_wait(&r, &old.done);
	rig_wait_workers(&r, 1);
	ck_assert_str_eq(json_str_or(r.secrets, "a1.stopped", ""), "not mine");
	got_free(&old);
	got_free(&new);
	rig_close(&r);
}
END_TEST

START_TEST(a_changed_plugin_file_means_a_new_worker)
{
	struct rig r;
	int pid;

	open_good(&r, 0);
	pid = pid_of(&r, "a1");
	json_decref(provider_rescan(r.pool));
	ck_assert_int_eq(pid_of(&r, "a1"), pid);
	rig_plugin(&r, "good");
	json_decref(provider_rescan(r.pool));
	ck_assert_int_ne(pid_of(&r, "a1"), pid);
	rig_close(&r);
}
END_TEST

START_TEST(a_removed_account_answers_what_waits_and_ends_its_worker)
{
	struct rig r;
	struct got running, waiting;

	open_good(&r, 0);
	pid_of(&r, "a1");
	rig_call(&r, &running, "a1", "machine_ensure", "m1", json_pack("{s:s}", "do", "exclusive"), CALL_MS);
	rig_call(&r, &waiting, "a1", "machine_ensure", "m1", json_object(), CALL_MS);
	provider_account_remove(r.pool, "a1");
	rig_wait(&r, &waiting.done);
	ck_assert_int_eq(waiting.err.class, PCG_CLASS_NOT_FOUND);
	rig_wait(&r, &running.done);
	ck_assert_uint_eq(running.status, PCG_STEP_DONE);
	rig_wait_workers(&r, 0);
	got_free(&running);
	rig_close(&r);
}
END_TEST

START_TEST(secrets_outlive_a_killed_worker)
{
	struct rig r;
	struct got g;
	int pid;

	open_good(&r, 0);
	pid = pid_of(&r, "a1");
	rig_call(&r, &g, "a1", "machine_ensure", "m1",
		 json_pack("{s:s, s:s}", "do", "secret_put", "value", "vmware-soap-session-1"), CALL_MS);
	rig_wait(&r, &g.done);
	ck_assert_msg(g.status == PCG_STEP_DONE, "%s", g.err.text);
	ck_assert_str_eq(json_str_or(r.secrets, "a1.session", ""), "vmware-soap-session-1");
	got_free(&g);
	kill(pid, SIGKILL);
	rig_wait_workers(&r, 0);
	rig_do(&r, &g, "a1", "secret_get");
	ck_assert_str_eq(json_str_or(g.doc, "value", ""), "vmware-soap-session-1");
	got_free(&g);
	rig_do(&r, &g, "a2", "secret_get");
	ck_assert_str_eq(json_str_or(g.doc, "value", ""), "(none)");
	got_free(&g);
	/* What came back from the store is not shown in errors either. */
	rig_do(&r, &g, "a1", "echo_secret");
	ck_assert_str_eq(g.err.text, "401: token '***' and cookie '***' refused");
	rig_close(&r);
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

START_TEST(leaves_no_descriptor_after_200_worker_starts)
{
	struct rig r;
	int before = 0;
	char password[32];

	open_good(&r, 0);
	for (int i = 0; i < 201; i++) {
		snprintf(password, sizeof(password), "password-%d", i);
		rig_account(&r, "a1", "good", password);
		pid_of(&r, "a1");
		if (i == 0) {
			rig_wait_workers(&r, 1);
			before = open_files();
		}
	}
	rig_wait_workers(&r, 1);
	ck_assert_int_eq(open_files(), before);
	rig_close(&r);
}
END_TEST

#ifdef PCG_FAULT_POINTS
static const struct {
	const char *point, *what;
} faults[] = {
	{ "worker.before_op", "done" },
	{ "worker.after_op", "done" },
	{ "worker.after_http_reply", "http" },
};

static const char *const host_faults[] = { "provider.before_call_sent", "provider.after_reply_received" };

static void arm(const char *dir, const char *point)
{
	char path[64];
	FILE *f;

	setenv("PCG_FAULT_DIR", dir, 1);
	snprintf(path, sizeof(path), "%s/arm", dir);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "%s 1\n", point);
	fclose(f);
}

START_TEST(dies_at_a_fault_point_of_the_worker_and_answers_retry)
{
	char dir[] = "/tmp/check_fault.XXXXXX", command[64];
	struct rig r;
	struct got g;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	arm(dir, faults[_i].point);
	open_good(&r, 0);
	rig_call(&r, &g, "a1", "machine_ensure", "m1",
		 json_pack("{s:s, s:s}", "do", faults[_i].what, "url", "http://127.0.0.1:1/"), CALL_MS);
	rig_wait(&r, &g.done);
	ck_assert_int_eq(g.err.class, PCG_CLASS_RETRY);
	ck_assert_ptr_nonnull(strstr(g.err.text, "signal 9"));
	pid_of(&r, "a1");
	rig_close(&r);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(the_host_dies_at_its_fault_points)
{
	char dir[] = "/tmp/check_fault.XXXXXX", fired[96], command[64];
	struct rig r;
	struct got g;
	pid_t host;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	arm(dir, host_faults[_i]);
	host = fork();
	if (host == 0) {
		rig_base = dir; /* taken away with the rest */
		open_good(&r, 0);
		rig_do(&r, &g, "a1", "done");
		_exit(0);
	}
	ck_assert_int_eq(waitpid(host, &(int){ 0 }, 0), host);
	snprintf(fired, sizeof(fired), "%s/fired.%s", dir, host_faults[_i]);
	ck_assert_int_eq(access(fired, F_OK), 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}
END_TEST
#endif

TCase *death_cases(void)
{
	TCase *c = tcase_create("death");

	tcase_set_timeout(c, 120);
	tcase_add_loop_test(c, death_in_an_op_answers_retry_and_harms_no_other_account, 0, ARRAY_LEN(deaths));
	tcase_add_test(c, a_killed_worker_is_replaced_and_calls_that_waited_are_not_lost);
	tcase_add_test(c, an_op_learns_of_its_deadline);
	tcase_add_loop_test(c, an_op_that_passes_its_deadline_is_killed, 0, ARRAY_LEN(stuck));
	tcase_add_test(c, a_cancelled_call_is_not_answered_and_its_op_ends);
	tcase_add_test(c, five_deaths_put_a_plugin_into_quarantine_until_rescan_or_new_credentials);
	tcase_add_test(c, deaths_that_are_far_apart_are_forgiven);
	tcase_add_test(c, a_worker_killed_by_others_is_no_fault_of_its_plugin);
	tcase_add_loop_test(c, a_plugin_that_dies_while_it_starts_is_quarantined, 0, ARRAY_LEN(start_deaths));
	tcase_add_test(c, an_idle_worker_ends_and_its_stop_runs);
	tcase_add_test(c, what_a_killed_process_left_is_ended_by_a_worker_that_waits_for_no_call);
	tcase_add_test(c, a_replaced_worker_takes_nothing_from_the_new_one);
	tcase_add_test(c, new_credentials_mean_a_new_worker_while_running_calls_finish);
	tcase_add_test(c, a_changed_plugin_file_means_a_new_worker);
	tcase_add_test(c, a_removed_account_answers_what_waits_and_ends_its_worker);
	tcase_add_test(c, secrets_outlive_a_killed_worker);
	tcase_add_test(c, leaves_no_descriptor_after_200_worker_starts);
#ifdef PCG_FAULT_POINTS
	tcase_add_loop_test(c, dies_at_a_fault_point_of_the_worker_and_answers_retry, 0, ARRAY_LEN(faults));
	tcase_add_loop_test(c, the_host_dies_at_its_fault_points, 0, ARRAY_LEN(host_faults));
#endif
	return c;
}
