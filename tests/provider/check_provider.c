/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/provider/rig.h"
#include "core/attr.h"
#include "core/clock.h"
#include "host/worker/worker.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "pcg/provider.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void open_good(struct rig *r, uint32_t idle_ms)
{
	rig_open(r, idle_ms);
	rig_plugin(r, "good");
	rig_account(r, "a1", "good", "swordfish");
}

static const struct {
	const char *what;
	uint32_t status;
	enum pcg_class class;
	const char *text; /* of the error, or of the answer */
} answers[] = {
	{ "done", PCG_STEP_DONE, 0, "pid" },
	{ "pending", PCG_STEP_PENDING, 0, "seen" },
	{ "error", PCG_STEP_ERROR, PCG_CLASS_QUOTA, "no room in the rack" },
	{ "twice", PCG_STEP_ERROR, PCG_CLASS_BUG, "answered 2 times" },
	{ "never", PCG_STEP_ERROR, PCG_CLASS_BUG, "answered 0 times" },
	{ "bad_json", PCG_STEP_ERROR, PCG_CLASS_BUG, "answer of machine_ensure: not JSON" },
	{ "no_object", PCG_STEP_ERROR, PCG_CLASS_BUG, "not a JSON object" },
	{ "leak", PCG_STEP_DONE, 0, "opened" },
	{ "log", PCG_STEP_DONE, 0, NULL },
	{ "echo_secret", PCG_STEP_ERROR, PCG_CLASS_AUTH, "token '***'" },
};

START_TEST(carries_each_kind_of_answer_and_names_what_a_plugin_did_wrong)
{
	struct rig r;
	struct got g;

	open_good(&r, 0);
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		rig_do(&r, &g, "a1", answers[i].what);
		ck_assert_msg(g.status == answers[i].status, "%s: %u %s", answers[i].what, g.status, g.err.text);
		if (g.status == PCG_STEP_ERROR) {
			ck_assert_int_eq(g.err.class, answers[i].class);
			ck_assert_msg(strstr(g.err.text, answers[i].text), "%s", g.err.text);
		} else if (answers[i].text) {
			ck_assert_ptr_nonnull(json_at(g.doc, answers[i].text));
		} else {
			ck_assert_ptr_null(g.doc);
		}
		if (strcmp(answers[i].what, "pending") == 0) {
			ck_assert_uint_eq(g.after_ms, 30);
			ck_assert_int_eq(json_int_or(g.checkpoint, "step", 0), 2);
		}
		got_free(&g);
	}
	rig_close(&r);
}
END_TEST

START_TEST(gives_the_plugin_its_account_with_the_defaults_of_its_settings)
{
	struct rig r;
	struct got g;

	open_good(&r, 0);
	rig_do(&r, &g, "a1", "account");
	ck_assert_str_eq(json_str_or(g.doc, "uid", ""), "a1");
	ck_assert_str_eq(json_str_or(g.doc, "provider", ""), "good");
	ck_assert_str_eq(json_str_or(g.doc, "spec.password", ""), "swordfish");
	ck_assert_str_eq(json_str_or(g.doc, "settings.folder", ""), "clusters");
	ck_assert_str_eq(json_str_or(g.doc, "gatewayUid", ""), "gateway-1");
	got_free(&g);
	rig_call(&r, &g, "a1", "machine_redact", "m1", json_object(), CALL_MS);
	rig_wait(&r, &g.done);
	ck_assert_int_eq(g.err.class, PCG_CLASS_PERMANENT);
	ck_assert_msg(strstr(g.err.text, "has no op machine_redact"), "%s", g.err.text);
	rig_close(&r);
}
END_TEST

static int most_inside(const char *subjects[], size_t n)
{
	struct rig r;
	struct got g[8];
	int most = 0;

	open_good(&r, 0);
	for (size_t i = 0; i < n; i++)
		rig_call(&r, &g[i], "a1", "machine_ensure", subjects[i], json_pack("{s:s}", "do", "exclusive"),
			 CALL_MS);
	for (size_t i = 0; i < n; i++) {
		int seen;

		rig_wait(&r, &g[i].done);
		seen = (int)json_int_or(g[i].doc, "most", 0);
		most = seen > most ? seen : most;
		got_free(&g[i]);
	}
	rig_close(&r);
	return most;
}

START_TEST(calls_of_one_subject_never_overlap_and_others_do)
{
	const char *one[] = { "m1", "m1", "m1", "m1" };
	const char *four[] = { "m1", "m2", "m3", "m4" };

	ck_assert_int_eq(most_inside(one, 4), 1);
	ck_assert_int_gt(most_inside(four, 4), 1);
}
END_TEST

static json_t *exclusive_doc(const char *cluster, const char *tenant, const char *project)
{
	return json_pack("{s:s, s:{s:s, s:s, s:s}}", "do", "exclusive", "cluster", "uid", cluster, "tenant", tenant,
			 "project", project);
}

/* Sixty clusters of one project, one of another: it has half of the turns. */
START_TEST(a_project_with_few_clusters_does_not_wait_for_one_with_many)
{
	struct rig r;
	struct got many[60], few[4];

	open_good(&r, 0);
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		char uid[16];

		snprintf(uid, sizeof(uid), "m%zu", i);
		rig_call(&r, &many[i], "a1", "machine_ensure", uid, exclusive_doc(uid, "t1", "p1"), CALL_MS);
	}
	for (size_t i = 0; i < ARRAY_LEN(few); i++) {
		char subject[16];

		snprintf(subject, sizeof(subject), "f%zu", i);
		rig_call(&r, &few[i], "a1", "machine_ensure", subject, exclusive_doc("few", "t2", "p1"), CALL_MS);
	}
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		rig_wait(&r, &many[i].done);
		got_free(&many[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(few); i++) {
		ck_assert(few[i].done);
		ck_assert_int_lt(few[i].order, 26); /* every second turn, after what was running already */
		got_free(&few[i]);
	}
	rig_close(&r);
}
END_TEST

START_TEST(a_small_cluster_does_not_wait_for_a_large_one)
{
	struct rig r;
	struct got large[60], small;

	open_good(&r, 0);
	for (size_t i = 0; i < ARRAY_LEN(large); i++) {
		char subject[16];

		snprintf(subject, sizeof(subject), "l%zu", i);
		rig_call(&r, &large[i], "a1", "machine_ensure", subject,
			 json_pack("{s:s, s:{s:s}}", "do", "exclusive", "cluster", "uid", "large"), CALL_MS);
	}
	rig_call(&r, &small, "a1", "machine_ensure", "s0",
		 json_pack("{s:s, s:{s:s}}", "do", "exclusive", "cluster", "uid", "small"), CALL_MS);
	for (size_t i = 0; i < ARRAY_LEN(large); i++) {
		rig_wait(&r, &large[i].done);
		got_free(&large[i]);
	}
	ck_assert(small.done);
	ck_assert_int_lt(small.order, 17); /* within the first two rounds of eight */
	got_free(&small);
	rig_close(&r);
}
END_TEST

START_TEST(a_checkpoint_returns_when_the_host_has_kept_it)
{
	struct rig r;
	struct got g;

	open_good(&r, 0);
	r.hold_acks = true;
	rig_call(&r, &g, "a1", "machine_ensure", "m1", json_pack("{s:s}", "do", "checkpoint"), CALL_MS);
	while (!r.held)
		rig_turn(&r);
	ck_assert_ptr_eq(r.checkpoint_arg, &g);
	ck_assert_str_eq(json_str_or(r.checkpoint, "task", ""), "task-7");
	ck_assert(!g.done);
	provider_ack(TAKE(r.held), 0);
	rig_wait(&r, &g.done);
	ck_assert_uint_eq(g.status, PCG_STEP_DONE);
	got_free(&g);
	rig_call(&r, &g, "a1", "machine_ensure", "m1", json_pack("{s:s}", "do", "checkpoint"), CALL_MS);
	while (!r.held)
		rig_turn(&r);
	provider_ack(TAKE(r.held), -1);
	rig_wait(&r, &g.done);
	ck_assert_str_eq(g.err.text, "checkpoint failed");
	r.hold_acks = false;
	rig_close(&r);
}
END_TEST

START_TEST(an_ack_that_comes_after_the_workers_death_does_no_harm)
{
	struct rig r;
	struct got g;

	open_good(&r, 0);
	r.hold_acks = true;
	rig_call(&r, &g, "a1", "machine_ensure", "m1", json_pack("{s:s}", "do", "checkpoint"), 100);
	rig_wait(&r, &g.done);
	ck_assert_int_eq(g.err.class, PCG_CLASS_RETRY);
	provider_ack(TAKE(r.held), 0);
	r.hold_acks = false;
	rig_close(&r);
}
END_TEST

START_TEST(watches_while_calls_are_pending_and_no_longer)
{
	struct rig r;
	struct got g;
	int hints;

	open_good(&r, 500);
	rig_do(&r, &g, "a1", "done");
	got_free(&g);
	ck_assert_int_eq(r.hints, 0);
	rig_do(&r, &g, "a1", "pending");
	got_free(&g);
	while (r.hints < 3)
		rig_turn(&r);
	ck_assert_str_eq(r.hint, "machine-1");
	rig_do(&r, &g, "a1", "done");
	got_free(&g);
	rig_wait_workers(&r, 0);
	hints = r.hints;
	ck_assert_str_eq(json_str_or(r.secrets, "a1.stopped", ""), "not final");
	rig_do(&r, &g, "a1", "done");
	got_free(&g);
	ck_assert_int_eq(r.hints, hints);
	rig_close(&r);
}
END_TEST

static void forget(void *arg, struct http_exchange *x)
{
}

static void serve(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	int *requests = arg;
	const char *test = http_exchange_header(x, "x-test");

	++*requests;
	if (strcmp(req->path, "/slow") == 0) {
		http_exchange_on_gone(x, forget, NULL);
		return;
	}
	http_exchange_reply(x, test && strcmp(test, "yes") == 0 ? 201 : 400, "text/plain", req->body, req->body_len);
}

static void on_server_closed(void *arg)
{
	*(bool *)arg = true;
}

struct web {
	struct http_server *server;
	int requests;
	bool closed;
	char url[64];
};

static void web_open(struct rig *r, struct web *w, const char *path)
{
	struct pcg_error err;

	memset(w, 0, sizeof(*w));
	ck_assert_msg(http_server_new(&r->loop, "127.0.0.1", 0, NULL, NULL, serve, &w->requests, &w->server,
				      &err) == 0, "%s", err.text);
	snprintf(w->url, sizeof(w->url), "http://127.0.0.1:%u%s", http_server_port(w->server), path);
}

static void web_close(struct rig *r, struct web *w)
{
	http_server_close(w->server, on_server_closed, &w->closed);
	rig_wait(r, &w->closed);
}

static void call_http(struct rig *r, struct got *g, const char *url, uint32_t timeout_ms)
{
	rig_call(r, g, "a1", "machine_ensure", "m1", json_pack("{s:s, s:s}", "do", "http", "url", url), timeout_ms);
}

START_TEST(a_plugin_speaks_http_through_the_worker)
{
	struct rig r;
	struct web w;
	struct got g;

	open_good(&r, 0);
	web_open(&r, &w, "/x");
	for (int i = 0; i < 3; i++) {
		call_http(&r, &g, w.url, CALL_MS);
		rig_wait(&r, &g.done);
		ck_assert_msg(g.status == PCG_STEP_DONE, "%s", g.err.text);
		ck_assert_int_eq(json_int_or(g.doc, "status", 0), 201);
		ck_assert_str_eq(json_str_or(g.doc, "body", ""), "ping");
		got_free(&g);
	}
	call_http(&r, &g, "http://127.0.0.1:1/", CALL_MS);
	rig_wait(&r, &g.done);
	ck_assert_int_eq(g.err.class, PCG_CLASS_RETRY);
	call_http(&r, &g, "ftp://127.0.0.1/", CALL_MS);
	rig_wait(&r, &g.done);
	ck_assert_int_eq(g.err.class, PCG_CLASS_PERMANENT);
	web_close(&r, &w);
	rig_close(&r);
}
END_TEST

/* The account names no authority, so it is the system's that count; they do not know this one. */
START_TEST(the_certificate_of_an_account_without_an_authority_is_told_too)
{
	struct pki_cert_spec spec = { .common_name = "somebody", .ip = (const char *const[]){ "127.0.0.1", NULL },
				      .server_auth = true, .not_after_ms = clock_wall_ms() + 3600000 };
	struct http_server_tls tls = { 0 };
	struct pki_info info;
	struct pcg_error err;
	char *cert, url[64];
	struct web w = { 0 };
	struct got g;
	struct rig r;

	open_good(&r, 0);
	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, &tls.key_pem, &err), 0);
	ck_assert_int_eq(pki_self_signed(&spec, tls.key_pem, &cert, &err), 0);
	ck_assert_int_eq(pki_cert_info(cert, &info, &err), 0);
	tls.cert_pem = cert;
	ck_assert_int_eq(http_server_new(&r.loop, "127.0.0.1", 0, &tls, NULL, serve, &w.requests, &w.server, &err), 0);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", http_server_port(w.server));
	call_http(&r, &g, url, CALL_MS);
	rig_wait(&r, &g.done);
	ck_assert_int_eq(g.err.class, PCG_CLASS_PERMANENT);
	ck_assert_str_eq(r.peer, info.sha256);
	got_free(&g);
	web_close(&r, &w);
	rig_close(&r);
	secret_unref(tls.key_pem);
	free(cert);
}
END_TEST

START_TEST(a_request_ends_with_the_op_that_made_it)
{
	struct rig r;
	struct web w;
	struct got late, cancelled, after;

	open_good(&r, 0);
	web_open(&r, &w, "/slow");
	call_http(&r, &late, w.url, 200);
	rig_wait(&r, &late.done);
	ck_assert_int_eq(late.err.class, PCG_CLASS_CANCELLED);
	call_http(&r, &cancelled, w.url, 60000);
	while (w.requests < 2)
		rig_turn(&r);
	provider_call_cancel(cancelled.call);
	rig_do(&r, &after, "a1", "done"); /* the same subject: begins when the cancelled one has ended */
	ck_assert_uint_eq(after.status, PCG_STEP_DONE);
	ck_assert(!cancelled.done);
	got_free(&after);
	web_close(&r, &w);
	rig_close(&r);
}
END_TEST

#define BUSY_CLUSTERS 200

START_TEST(serves_200_clusters_of_one_account)
{
	static struct got g[BUSY_CLUSTERS];
	struct rig r;

	open_good(&r, 0);
	for (int i = 0; i < BUSY_CLUSTERS; i++) {
		char cluster[32];

		snprintf(cluster, sizeof(cluster), "c%d", i);
		rig_call(&r, &g[i], "a1", "machine_ensure", cluster,
			 json_pack("{s:s, s:{s:s}}", "do", "done", "cluster", "uid", cluster), CALL_MS);
	}
	for (int i = 0; i < BUSY_CLUSTERS; i++) {
		rig_wait(&r, &g[i].done);
		ck_assert_uint_eq(g[i].status, PCG_STEP_DONE);
		got_free(&g[i]);
	}
	ck_assert_uint_eq(provider_workers(r.pool), 1);
	rig_close(&r);
}
END_TEST

START_TEST(closes_with_calls_in_every_state)
{
	struct rig r;
	struct got running, queued, deferred, fresh;

	open_good(&r, 0);
	rig_account(&r, "a2", "good", "x");
	rig_do(&r, &fresh, "a1", "done");
	got_free(&fresh);
	rig_call(&r, &running, "a1", "machine_ensure", "m1", json_pack("{s:s}", "do", "wait"), 60000);
	rig_call(&r, &queued, "a1", "machine_ensure", "m1", json_object(), 60000);
	rig_call(&r, &deferred, "nobody", "machine_ensure", "m1", json_object(), 60000);
	rig_call(&r, &fresh, "a2", "machine_ensure", "m1", json_object(), 60000);
	rig_close(&r);
	ck_assert(!running.done && !queued.done && !deferred.done && !fresh.done);
}
END_TEST

static TCase *provider_cases(void)
{
	TCase *c = tcase_create("provider");

	tcase_set_timeout(c, 60);
	tcase_add_test(c, carries_each_kind_of_answer_and_names_what_a_plugin_did_wrong);
	tcase_add_test(c, gives_the_plugin_its_account_with_the_defaults_of_its_settings);
	tcase_add_test(c, calls_of_one_subject_never_overlap_and_others_do);
	tcase_add_test(c, a_small_cluster_does_not_wait_for_a_large_one);
	tcase_add_test(c, a_project_with_few_clusters_does_not_wait_for_one_with_many);
	tcase_add_test(c, a_checkpoint_returns_when_the_host_has_kept_it);
	tcase_add_test(c, an_ack_that_comes_after_the_workers_death_does_no_harm);
	tcase_add_test(c, watches_while_calls_are_pending_and_no_longer);
	tcase_add_test(c, a_plugin_speaks_http_through_the_worker);
	tcase_add_test(c, the_certificate_of_an_account_without_an_authority_is_told_too);
	tcase_add_test(c, a_request_ends_with_the_op_that_made_it);
	tcase_add_test(c, serves_200_clusters_of_one_account);
	tcase_add_test(c, closes_with_calls_in_every_state);
	return c;
}

int main(int argc, char **argv)
{
	static const struct worker_role roles[] = { { "account", account_worker_main } };
	ssize_t n = readlink("/proc/self/exe", rig_exe, sizeof(rig_exe) - 1);
	Suite *s;
	SRunner *r;
	int failed;

	signal(SIGPIPE, SIG_IGN); /* as pcgd does */
	if (argc == 3 && strcmp(argv[1], "--worker") == 0)
		return worker_child_main(argv[2], roles, 1);
	rig_exe[n > 0 ? n : 0] = 0;
	s = suite_create("provider");
	suite_add_tcase(s, provider_cases());
	suite_add_tcase(s, refusal_cases());
	suite_add_tcase(s, death_cases());
	suite_add_tcase(s, trial_cases());
	suite_add_tcase(s, turns_cases());
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
