/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/link/link.h"

#include "core/clock.h"
#include "core/log.h"
#include "net/pki.h"
#include "plane/api.h"
#include "plane/gateways.h"
#include "plane/rows.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

/* The real plane and the real link in one loop, over TLS on loopback. */

static struct world {
	uv_loop_t loop;
	struct plane plane;
	struct http_client *http;
	char dir[64], url[64], address[16];
	uint16_t port;
	/* the gateway */
	struct link *link;
	struct secret *key;
	char *uid, *cert;
	struct pcg_error enrol_err;
	bool enrolled;
	int batches, items, queries, certificates;
	json_t *last_batch, *state, *reports;
	size_t acked;
	int requests;      /* that came to the plane */
	int posts;         /* of them with reports */
	const char *says; /* a plane whose every answer to a poll is this; NULL: ours */
	bool acks_nothing; /* a plane that forgets to acknowledge */
	int64_t refuses_seq; /* a request with this report is malformed to it; 0: none */
	bool hold_batches;
	int64_t cursor, reported;
	json_t *refused;
} w;

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	return remove(path);
}

static bool holds(const struct http_server_request *req, int64_t seq)
{
	char text[32];

	snprintf(text, sizeof(text), "\"seq\":%lld,", (long long)seq);
	return strstr(req->raw_target, "/reports") && memmem(req->body, req->body_len, text, strlen(text));
}

static void count(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	w.requests++;
	w.posts += strstr(req->raw_target, "/reports") != NULL;
	if (w.acks_nothing && strstr(req->raw_target, "/reports"))
		http_exchange_reply(x, 200, "application/json", "{\"acked\":[]}", 12);
	else if (w.says && strstr(req->raw_target, "/instructions"))
		http_exchange_reply(x, 200, "application/json", w.says, strlen(w.says));
	else if (w.refuses_seq && holds(req, w.refuses_seq))
		http_exchange_reply(x, 400, "application/json", "{\"message\":\"no\"}", 16);
	else
		api_handle(arg, x, req);
}

static void start_plane(void)
{
	struct http_server_tls tls;
	struct pcg_error err = { 0 };
	bool first;

	w.plane.opt = (struct plane_options){ .state_dir = w.dir, .force_delete_after_s = 900,
					      .pairing_life_s = 900, .certificate_life_s = 3600,
					      .query_timeout_ms = 5000 };
	w.plane.loop = &w.loop;
	ck_assert_msg(setup_open(&w.plane, &first, &err) == 0, "%s", err.text);
	ck_assert_int_eq(setup_server_certificate(&w.plane, &err), 0);
	w.plane.gateways = gateways_new(&w.plane);
	tls = (struct http_server_tls){ .cert_pem = w.plane.server_pem, .key_pem = w.plane.server_key,
					.client_ca_pem = w.plane.ca_pem };
	ck_assert_msg(http_server_new(&w.loop, "127.0.0.1", w.port, &tls, NULL, count, &w.plane,
				      &w.plane.server, &err) == 0, "%s", err.text);
	w.port = http_server_port(w.plane.server);
	snprintf(w.url, sizeof(w.url), "https://127.0.0.1:%u", w.port);
	w.plane.url = strdup(w.url);
}

static bool closed_flag;

static void on_closed(void *arg)
{
	closed_flag = true;
}

static void run_until(bool *flag)
{
	int64_t deadline = clock_mono_ms() + 10000;

	while (!*flag && clock_mono_ms() < deadline)
		uv_run(&w.loop, UV_RUN_NOWAIT);
	ck_assert_msg(*flag, "condition not reached in 10 s");
}

static void stop_plane(void)
{
	closed_flag = false;
	gateways_free(w.plane.gateways, NULL, NULL);
	http_server_close(w.plane.server, on_closed, NULL);
	run_until(&closed_flag);
	setup_close(&w.plane);
	memset(&w.plane, 0, sizeof(w.plane));
}

static void setup(void)
{
	memset(&w, 0, sizeof(w));
	strcpy(w.dir, "/tmp/check_link.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w.dir));
	log_set_level(LOG_L_ERROR);
	uv_loop_init(&w.loop);
	w.http = http_client_new(&w.loop, NULL);
	w.reports = json_array();
	start_plane();
}

static void teardown(void)
{
	if (w.link) {
		closed_flag = false;
		link_close(w.link, on_closed, NULL);
		run_until(&closed_flag);
	}
	stop_plane();
	http_client_close(w.http, NULL, NULL);
	uv_run(&w.loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&w.loop), 0);
	secret_unref(w.key);
	json_decref(w.last_batch);
	json_decref(w.state);
	json_decref(w.reports);
	json_decref(w.refused);
	free(w.uid);
	free(w.cert);
	nftw(w.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Runs the loop until cond holds. */
#define UNTIL(cond)                                                                                \
	do {                                                                                       \
		int64_t deadline_ = clock_mono_ms() + 10000;                                       \
		while (!(cond) && clock_mono_ms() < deadline_) {                                   \
			uv_run(&w.loop, UV_RUN_NOWAIT);                                            \
			uv_sleep(1);                                                               \
		}                                                                                  \
		ck_assert_msg(cond, "%s: not reached in 10 s", #cond);                             \
	} while (0)

static void on_enrolled(void *arg, const char *uid, const char *cert, const char *ca,
			const struct pcg_error *err)
{
	w.enrolled = true;
	w.enrol_err = err ? *err : (struct pcg_error){ 0 };
	if (err)
		return;
	free(w.uid);
	free(w.cert);
	w.uid = strdup(uid);
	w.cert = strdup(cert);
}

static void new_code(const char *overlord, char code[32])
{
	struct pcg_error err;

	ck_assert_int_eq(db_begin(w.plane.db, &err), 0);
	ck_assert_int_eq(gateways_pairing_new(&w.plane, overlord, "sim", NULL, code, &err), 0);
	ck_assert_int_eq(db_commit(w.plane.db, &err), 0);
}

static void enrol_with(const char *code, const char *ca_pem, const char *ca_sha256)
{
	AUTO_FREE char *csr = NULL;
	struct pcg_error err;
	struct link_enrol_spec spec = { .http = w.http, .url = w.url, .ca_pem = ca_pem, .ca_sha256 = ca_sha256,
					.pairing_code = code, .host_name = "gateway-host" };

	secret_unref(w.key);
	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, &w.key, &err), 0);
	ck_assert_int_eq(pki_csr_new("gateway", w.key, &csr, &err), 0);
	spec.csr_pem = csr;
	w.enrolled = false;
	link_enrol(&spec, on_enrolled, NULL);
	UNTIL(w.enrolled);
}

static void enrol(const char *overlord)
{
	char code[32];

	new_code(overlord, code);
	enrol_with(code, w.plane.ca_pem, NULL);
	ck_assert_msg(!w.enrol_err.text[0], "%s", w.enrol_err.text);
}

static void on_batch(void *arg, const json_t *batch)
{
	w.batches++;
	w.items += (int)json_array_size(json_object_get(batch, "items"));
	json_decref(w.last_batch);
	w.last_batch = json_deep_copy(batch);
	w.cursor = json_int_or(batch, "cursor", 0);
	if (!w.hold_batches)
		link_batch_durable(w.link, w.cursor);
}

static void on_query(void *arg, const json_t *query)
{
	AUTO_JSON json_t *reply = json_pack("{s:s,s:{s:[{s:s,s:s}]}}", "status", "done", "doc", "problems", "field",
					    "password", "text", "wrong");

	w.queries++;
	link_query_reply(w.link, json_str(query, "id"), reply);
}

static json_t *on_reports(void *arg, size_t max)
{
	json_t *out = json_array();

	for (size_t i = 0; i < json_array_size(w.reports) && i < max; i++)
		json_array_append(out, json_array_get(w.reports, i));
	return out;
}

static void on_refused(void *arg, const json_t *refused)
{
	json_decref(w.refused);
	w.refused = json_deep_copy(refused);
}

static void on_reported(void *arg, const json_t *seqs, int64_t reported)
{
	w.reported = reported;

	for (size_t i = 0; i < json_array_size(seqs); i++) {
		ck_assert_int_eq(json_integer_value(json_array_get(seqs, i)),
				 json_int_or(json_array_get(w.reports, 0), "seq", -1));
		json_array_remove(w.reports, 0);
		w.acked++;
	}
}

static void on_certificate(void *arg, const char *pem, struct secret *key)
{
	w.certificates++;
	free(w.cert);
	w.cert = strdup(pem);
	link_certificate_durable(w.link);
}

static void on_state(void *arg, const json_t *state)
{
	json_decref(w.state);
	w.state = json_deep_copy(state);
}

static const char *state(void)
{
	return json_str_or(w.state, "state", "");
}

static void start_link(const char *plane_id)
{
	struct link_spec spec = { .http = w.http, .loop = &w.loop, .url = w.url, .ca_pem = w.plane.ca_pem,
				  .gateway_uid = w.uid, .cert_pem = w.cert, .key_pem = w.key,
				  .plane_id = plane_id, .cursor = w.cursor };
	struct pcg_error err = { 0 };

	spec.reported = w.reported;
	spec.hooks = (struct link_hooks){ NULL,	      on_batch,	   on_query,	   on_reports,
					  on_refused, on_reported, on_certificate, on_state };
	ck_assert_msg(link_new(&spec, &w.link, &err) == 0, "%s", err.text);
}

static void stop_link(void)
{
	closed_flag = false;
	link_close(TAKE(w.link), on_closed, NULL);
	run_until(&closed_flag);
}

static void instruct(const char *kind, const char *uid)
{
	AUTO_JSON json_t *doc = json_pack("{s:s,s:s,s:i,s:{s:s}}", "uid", uid, "kind", "sim", "generation", 1,
					  "metadata", "name", uid);
	struct pcg_error err;

	ck_assert_int_eq(db_begin(w.plane.db, &err), 0);
	ck_assert_int_eq(rows_put(&w.plane, strcmp(kind, "cluster") ? ROWS_ACCOUNT : ROWS_DOCUMENT, uid, uid, "",
				  doc, &err), 0);
	ck_assert_int_eq(gateways_instruct(&w.plane, w.uid, kind, uid, &err), 0);
	ck_assert_int_eq(db_commit(w.plane.db, &err), 0);
	gateways_flush(&w.plane);
}

static void add_report(int64_t seq, const char *kind, json_t *doc)
{
	json_array_append_new(w.reports, json_pack("{s:I,s:s,s:n,s:o}", "seq", (json_int_t)seq, "kind", kind, "key",
						   "doc", doc));
}

START_TEST(enrols_with_a_code_and_is_given_its_own_certificate)
{
	struct pki_info info;
	struct pcg_error err;

	enrol(NULL);
	ck_assert_int_eq(pki_cert_info(w.cert, &info, &err), 0);
	ck_assert_str_eq(info.subject_cn, w.uid);
	ck_assert_int_eq(pki_match(w.cert, w.key, &err), 0);
	ck_assert_int_eq(pki_verify(w.cert, w.plane.ca_pem, clock_wall_ms(), &err), 0);
}
END_TEST

START_TEST(enrols_by_the_fingerprint_of_the_plane_and_refuses_another)
{
	struct pki_info info;
	struct pcg_error err;
	char code[32];

	ck_assert_int_eq(pki_cert_info(w.plane.ca_pem, &info, &err), 0);
	new_code(NULL, code);
	enrol_with(code, NULL, "00000000000000000000000000000000000000000000000000000000000000aa");
	ck_assert_ptr_nonnull(strstr(w.enrol_err.text, info.sha256));
	enrol_with(code, NULL, info.sha256);
	ck_assert_str_eq(w.enrol_err.text, "");
}
END_TEST

START_TEST(refuses_a_pairing_code_that_is_wrong_used_or_expired)
{
	char code[32];

	enrol_with("bcdfghjklmnpqrstvwxz", w.plane.ca_pem, NULL);
	ck_assert_ptr_nonnull(strstr(w.enrol_err.text, "wrong"));
	ck_assert_ptr_nonnull(strstr(w.enrol_err.remedy, "pcg-planectl pair"));
	new_code(NULL, code);
	enrol_with(code, w.plane.ca_pem, NULL);
	enrol_with(code, w.plane.ca_pem, NULL);
	ck_assert_ptr_nonnull(strstr(w.enrol_err.text, "used"));
	new_code(NULL, code);
	clock_turn_ms(901 * 1000);
	enrol_with(code, w.plane.ca_pem, NULL);
	clock_turn_ms(-901 * 1000);
	ck_assert_ptr_nonnull(strstr(w.enrol_err.text, "expired"));
}
END_TEST

START_TEST(an_instruction_reaches_a_request_that_waits_within_250_ms)
{
	int64_t begin;

	enrol(NULL);
	start_link(NULL);
	UNTIL(gateways_active(&w.plane, w.uid));
	begin = clock_mono_ms();
	instruct("account", "a1");
	UNTIL(w.batches == 1);
	ck_assert_int_lt(clock_mono_ms() - begin, 250);
	ck_assert_str_eq(json_str_or(w.last_batch, "items.0.uid", ""), "a1");
	ck_assert_str_eq(state(), "connected");
}
END_TEST

START_TEST(asks_for_nothing_more_before_a_batch_is_durable)
{
	enrol(NULL);
	w.hold_batches = true;
	start_link(NULL);
	instruct("account", "a1");
	UNTIL(w.batches == 1);
	instruct("account", "a2");
	for (int i = 0; i < 50; i++)
		uv_run(&w.loop, UV_RUN_NOWAIT);
	ck_assert_int_eq(w.batches, 1);
	link_batch_durable(w.link, w.cursor);
	UNTIL(w.batches == 2);
	ck_assert_str_eq(json_str_or(w.last_batch, "items.0.uid", ""), "a2");
}
END_TEST

START_TEST(a_batch_whose_cursor_was_not_stored_comes_again)
{
	enrol(NULL);
	w.hold_batches = true;
	start_link(NULL);
	instruct("account", "a1");
	UNTIL(w.batches == 1);
	stop_link();
	w.cursor = 0;
	w.hold_batches = false;
	start_link(NULL);
	UNTIL(w.batches == 2);
	ck_assert_str_eq(json_str_or(w.last_batch, "items.0.uid", ""), "a1");
}
END_TEST

START_TEST(what_was_acknowledged_is_not_sent_again_after_a_restart_of_both)
{
	enrol(NULL);
	start_link(NULL);
	instruct("account", "a1");
	UNTIL(w.batches == 1);
	stop_link();
	stop_plane();
	start_plane();
	start_link(w.plane.id);
	instruct("account", "a2");
	UNTIL(w.batches == 2);
	ck_assert_int_eq(w.items, 2);
	ck_assert(!json_bool_or(w.last_batch, "resync", true));
}
END_TEST

START_TEST(a_cursor_that_the_plane_never_gave_leads_to_a_resync_with_raised_generations)
{
	enrol(NULL);
	instruct("cluster", "c1");
	instruct("account", "a1");
	w.cursor = 4711;
	start_link(w.plane.id);
	UNTIL(w.batches == 1);
	ck_assert(json_bool_or(w.last_batch, "resync", false));
	ck_assert_str_eq(json_str_or(w.last_batch, "items.0.kind", ""), "account");
	ck_assert_str_eq(json_str_or(w.last_batch, "items.1.kind", ""), "cluster");
	ck_assert_int_gt(json_int_or(w.last_batch, "items.0.document.generation", 0), 1);
	ck_assert_int_gt(json_int_or(w.last_batch, "items.1.generation", 0), 1);
	ck_assert_int_eq(json_int_or(w.last_batch, "items.1.generation", 0),
			 json_int_or(w.last_batch, "items.1.document.generation", 0));
}
END_TEST

START_TEST(another_plane_id_leads_to_a_resync)
{
	enrol(NULL);
	instruct("account", "a1");
	start_link(NULL);
	UNTIL(w.batches == 1);
	stop_link();
	start_link("00000000-0000-4000-8000-000000000000");
	UNTIL(w.batches == 2);
	ck_assert(json_bool_or(w.last_batch, "resync", false));
	ck_assert_str_eq(json_str_or(w.last_batch, "planeId", ""), w.plane.id);
}
END_TEST

START_TEST(more_than_one_batch_of_instructions_comes_in_order)
{
	char uid[16];

	enrol(NULL);
	for (int i = 0; i < 150; i++) {
		snprintf(uid, sizeof(uid), "a%03d", i);
		instruct("account", uid);
	}
	start_link(NULL);
	UNTIL(w.items == 150);
	ck_assert_int_eq(w.batches, 3);
	ck_assert_str_eq(json_str_or(w.last_batch, "items.0.uid", ""), "a128");
}
END_TEST

static json_t *query_reply;

static void on_answer(void *arg, const json_t *reply, const struct pcg_error *err)
{
	query_reply = reply ? json_deep_copy(reply) : json_pack("{s:s}", "error", err->text);
}

START_TEST(a_query_is_answered_while_the_request_waits)
{
	struct gateways_query *q;
	struct pcg_error err = { 0 };

	query_reply = NULL;
	enrol(NULL);
	ck_assert_int_lt(gateways_query(&w.plane, w.uid, "account_validate", NULL, NULL, on_answer, NULL, &q, &err),
			 0);
	ck_assert_ptr_nonnull(strstr(err.text, "offline"));
	start_link(NULL);
	UNTIL(gateways_active(&w.plane, w.uid));
	ck_assert_int_eq(gateways_query(&w.plane, w.uid, "account_validate", NULL, NULL, on_answer, NULL, &q, &err),
			 0);
	gateways_flush(&w.plane);
	UNTIL(query_reply);
	ck_assert_int_eq(w.queries, 1);
	ck_assert_str_eq(json_str_or(query_reply, "doc.problems.0.field", ""), "password");
	json_decref(query_reply);
}
END_TEST

START_TEST(reports_are_acknowledged_in_batches_and_a_refused_one_does_not_block_the_rest)
{
	enrol(NULL);
	for (int i = 1; i <= 100; i++)
		add_report(i, i == 50 ? "nonsense" : "gateway.status", json_pack("{s:i}", "version", i));
	start_link(NULL);
	UNTIL(w.acked == 100);
	add_report(101, "gateway.status", json_pack("{s:s}", "version", "0.1"));
	link_wake_reports(w.link, false);
	UNTIL(w.acked == 101);
}
END_TEST

START_TEST(reports_that_follow_one_another_are_one_request)
{
	enrol(NULL);
	start_link(NULL);
	UNTIL(strcmp(state(), "connected") == 0);
	for (int i = 1; i <= 5; i++) {
		add_report(i, "gateway.status", json_object());
		link_wake_reports(w.link, false);
	}
	UNTIL(w.acked == 5);
	ck_assert_int_eq(w.posts, 1);
	/* What is waited for takes along what was there, and is not held up by it. */
	add_report(6, "gateway.status", json_object());
	link_wake_reports(w.link, false);
	add_report(7, "gateway.status", json_object());
	link_wake_reports(w.link, true);
	add_report(8, "gateway.status", json_object());
	link_wake_reports(w.link, true);
	UNTIL(w.acked == 8);
	ck_assert_int_eq(w.posts, 3);
}
END_TEST

START_TEST(a_refused_report_is_told_to_be_one_and_why)
{
	enrol(NULL);
	add_report(1, "gateway.status", json_pack("{s:s}", "version", "1"));
	add_report(2, "cluster.status", json_pack("{s:s,s:s}", "uid", "0123456789abcdef01234567", "phase", "Running"));
	add_report(3, "nonsense", json_object());
	start_link(NULL);
	UNTIL(w.acked == 3);
	ck_assert_uint_eq(json_array_size(w.refused), 2);
	ck_assert_int_eq(json_int_or(w.refused, "0.seq", 0), 2);
	ck_assert_str_eq(json_str_or(w.refused, "0.code", ""), "ClusterUnknown");
	ck_assert_int_eq(json_int_or(w.refused, "1.seq", 0), 3);
	ck_assert_ptr_null(json_str(w.refused, "1.code"));
	ck_assert_int_eq(w.reported, 3);
}
END_TEST

/* A report that makes every request that holds it malformed. */
START_TEST(a_report_that_is_given_up_is_told_as_refused_and_the_others_get_through)
{
	enrol(NULL);
	for (int i = 1; i <= 5; i++)
		add_report(i, "gateway.status", json_pack("{s:i}", "version", i));
	w.refuses_seq = 3;
	start_link(NULL);
	UNTIL(w.acked == 5);
	ck_assert_uint_eq(json_array_size(w.refused), 1);
	ck_assert_int_eq(json_int_or(w.refused, "0.seq", 0), 3);
	ck_assert_ptr_nonnull(json_str(w.refused, "0.text"));
}
END_TEST

START_TEST(a_plane_that_has_lost_reports_begins_a_resync_once)
{
	enrol(NULL);
	start_link(NULL);
	instruct("account", "a1");
	UNTIL(w.batches == 1);
	add_report(1, "gateway.status", json_object());
	link_wake_reports(w.link, false);
	UNTIL(w.acked == 1);
	stop_link();
	start_link(w.plane.id);
	UNTIL(strcmp(state(), "connected") == 0);
	ck_assert_int_eq(w.batches, 1);
	stop_link();
	w.reported = 7; /* from a time that the plane's backup does not know */
	start_link(w.plane.id);
	UNTIL(w.batches == 2);
	ck_assert(json_bool_or(w.last_batch, "resync", false));
	ck_assert_str_eq(json_str_or(w.last_batch, "items.0.uid", ""), "a1");
	instruct("account", "a2");
	UNTIL(w.batches == 3);
	ck_assert(!json_bool_or(w.last_batch, "resync", true));
}
END_TEST

START_TEST(a_plane_that_knows_nothing_for_the_gateway_says_once_that_it_knows_nothing)
{
	enrol(NULL);
	w.cursor = 4711;
	start_link(w.plane.id);
	UNTIL(w.batches == 1);
	ck_assert(json_bool_or(w.last_batch, "resync", false));
	ck_assert_uint_eq(json_array_size(json_object_get(w.last_batch, "items")), 0);
	ck_assert_int_eq(w.cursor, 0);
	w.requests = 0;
	for (int i = 0; i < 50; i++) {
		uv_run(&w.loop, UV_RUN_NOWAIT);
		uv_sleep(4);
	}
	ck_assert_int_le(w.requests, 2);
	ck_assert_int_eq(w.batches, 1);
}
END_TEST

static void run_for(int64_t ms);

static const char *const garbage[] = {
	"[]",
	"null",
	"{\"cursor\":\"5\",\"items\":[]}",
	"{\"cursor\":-5,\"items\":[],\"resync\":true}",
	"{\"cursor\":5,\"items\":{},\"resync\":true}",
	"{\"cursor\":5,\"items\":[{}],\"planeId\":\"a b\"}",
	"{\"cursor\":5,\"items\":[{}],\"planeId\":\"a&cursor=0\"}",
	"{\"cursor\":5,\"items\":[{}],\"planeId\":"
	"\"0123456789012345678901234567890123456789012345678901234567890123456789\"}",
	"{\"cursor\":5,\"items\":[",
};

START_TEST(an_answer_that_is_none_is_an_outage_and_nothing_of_it_stays)
{
	enrol(NULL);
	w.says = garbage[_i];
	start_link(NULL);
	UNTIL(strcmp(state(), "offline") == 0);
	ck_assert_int_eq(w.batches, 0);
	w.says = NULL;
	instruct("account", "a1");
	UNTIL(w.batches == 1);
	ck_assert_str_eq(state(), "connected");
}
END_TEST

static const char *const endless[] = {
	"{\"cursor\":5,\"items\":[],\"resync\":true}",
	"{\"cursor\":5,\"items\":[{\"seq\":5,\"kind\":\"account\",\"uid\":\"a1\"}]}",
};

START_TEST(a_plane_that_repeats_itself_is_asked_with_pauses)
{
	enrol(NULL);
	w.says = endless[_i];
	start_link(NULL);
	run_for(1500);
	ck_assert_int_gt(w.requests, 3);
	ck_assert_int_lt(w.requests, 20);
}
END_TEST

START_TEST(a_contact_that_lies_ahead_makes_no_gateway_active)
{
	enrol(NULL);
	clock_turn_ms(600 * 1000);
	start_link(NULL);
	UNTIL(gateways_active(&w.plane, w.uid));
	stop_link();
	stop_plane();
	clock_turn_ms(-600 * 1000);
	start_plane();
	ck_assert(!gateways_active(&w.plane, w.uid));
}
END_TEST

static void run_for(int64_t ms)
{
	int64_t end = clock_mono_ms() + ms;

	while (clock_mono_ms() < end) {
		uv_run(&w.loop, UV_RUN_NOWAIT);
		uv_sleep(1);
	}
}

START_TEST(two_copies_of_a_gateway_do_not_chase_each_other)
{
	struct link *first;

	enrol(NULL);
	start_link(NULL);
	UNTIL(strcmp(state(), "connected") == 0);
	first = TAKE(w.link);
	w.requests = 0;
	start_link(NULL);
	run_for(1000);
	ck_assert_int_lt(w.requests, 40);
	closed_flag = false;
	link_close(first, on_closed, NULL);
	run_until(&closed_flag);
	w.requests = 0;
	instruct("account", "a1");
	UNTIL(w.batches == 1);
}
END_TEST

START_TEST(reports_that_are_never_acknowledged_are_sent_again_with_pauses)
{
	enrol(NULL);
	w.acks_nothing = true;
	start_link(NULL);
	add_report(1, "gateway.status", json_object());
	run_for(700);
	ck_assert_int_gt(w.requests, 1);
	ck_assert_int_lt(w.requests, 20);
	w.acks_nothing = false;
	UNTIL(w.acked == 1);
}
END_TEST

START_TEST(an_outage_ends_by_itself_and_nothing_is_lost)
{
	enrol(NULL);
	start_link(NULL);
	UNTIL(strcmp(state(), "connected") == 0);
	stop_plane();
	UNTIL(strcmp(state(), "offline") == 0);
	ck_assert_ptr_nonnull(json_str(w.state, "cause"));
	add_report(1, "gateway.status", json_object());
	link_wake_reports(w.link, false);
	start_plane();
	instruct("account", "a1");
	UNTIL(w.batches == 1 && w.acked == 1);
	ck_assert_str_eq(state(), "connected");
}
END_TEST

START_TEST(a_certificate_is_refused_once_the_gateway_was_paired_again)
{
	AUTO_FREE char *old_cert = NULL;
	AUTO_FREE char *uid = NULL;
	struct secret *old_key;

	enrol(NULL);
	old_cert = strdup(w.cert);
	uid = strdup(w.uid);
	old_key = secret_ref(w.key);
	enrol(uid);
	ck_assert_str_eq(w.uid, uid);
	free(w.cert);
	w.cert = strdup(old_cert);
	secret_unref(w.key);
	w.key = old_key;
	start_link(NULL);
	UNTIL(strcmp(state(), "refused") == 0);
	ck_assert_ptr_nonnull(strstr(json_str_or(w.state, "remedy", ""), "pair"));
}
END_TEST

START_TEST(a_certificate_is_renewed_at_two_thirds_of_its_life_and_the_old_one_is_then_refused)
{
	AUTO_FREE char *old_cert = NULL;
	struct secret *old_key;

	w.plane.opt.certificate_life_s = 3; /* and five minutes of grace before it begins */
	enrol(NULL);
	old_cert = strdup(w.cert);
	old_key = secret_ref(w.key);
	start_link(NULL);
	w.plane.opt.certificate_life_s = 3600;
	UNTIL(w.certificates == 1);
	instruct("account", "a1");
	UNTIL(w.batches == 1);
	stop_link();
	free(w.cert);
	w.cert = strdup(old_cert);
	secret_unref(w.key);
	w.key = old_key;
	start_link(NULL);
	UNTIL(strcmp(state(), "refused") == 0 || strcmp(state(), "offline") == 0);
}
END_TEST

START_TEST(a_changed_address_is_used_at_once)
{
	enrol(NULL);
	start_link(NULL);
	UNTIL(strcmp(state(), "connected") == 0);
	link_reconfigure(w.link, "https://127.0.0.1:1", w.plane.ca_pem, NULL);
	UNTIL(strcmp(state(), "offline") == 0);
	link_reconfigure(w.link, w.url, w.plane.ca_pem, NULL);
	UNTIL(strcmp(state(), "connected") == 0);
}
END_TEST

START_TEST(a_plane_of_another_ca_is_never_told_anything)
{
	struct pki_cert_spec spec = { .common_name = "other", .is_ca = true, .not_before_ms = 0,
				      .not_after_ms = clock_wall_ms() + 86400000 };
	AUTO_FREE char *other = NULL;
	struct secret *key = NULL;
	struct pcg_error err;
	char code[32];

	new_code(NULL, code);
	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, &key, &err), 0);
	ck_assert_int_eq(pki_self_signed(&spec, key, &other, &err), 0);
	secret_unref(key);
	enrol_with(code, other, NULL);
	ck_assert(w.enrol_err.text[0]);
	enrol_with(code, w.plane.ca_pem, NULL);
	ck_assert_str_eq(w.enrol_err.text, "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("link");
	TCase *t = tcase_create("with a plane");
	SRunner *r;
	int failed;

	http_global_init();
	log_init("check_link", LOG_L_ERROR);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, enrols_with_a_code_and_is_given_its_own_certificate);
	tcase_add_test(t, enrols_by_the_fingerprint_of_the_plane_and_refuses_another);
	tcase_add_test(t, refuses_a_pairing_code_that_is_wrong_used_or_expired);
	tcase_add_test(t, an_instruction_reaches_a_request_that_waits_within_250_ms);
	tcase_add_test(t, asks_for_nothing_more_before_a_batch_is_durable);
	tcase_add_test(t, a_batch_whose_cursor_was_not_stored_comes_again);
	tcase_add_test(t, what_was_acknowledged_is_not_sent_again_after_a_restart_of_both);
	tcase_add_test(t, a_cursor_that_the_plane_never_gave_leads_to_a_resync_with_raised_generations);
	tcase_add_test(t, another_plane_id_leads_to_a_resync);
	tcase_add_test(t, more_than_one_batch_of_instructions_comes_in_order);
	tcase_add_test(t, a_query_is_answered_while_the_request_waits);
	tcase_add_test(t, reports_are_acknowledged_in_batches_and_a_refused_one_does_not_block_the_rest);
	tcase_add_test(t, reports_that_follow_one_another_are_one_request);
	tcase_add_test(t, a_refused_report_is_told_to_be_one_and_why);
	tcase_add_loop_test(t, an_answer_that_is_none_is_an_outage_and_nothing_of_it_stays, 0, ARRAY_LEN(garbage));
	tcase_add_loop_test(t, a_plane_that_repeats_itself_is_asked_with_pauses, 0, ARRAY_LEN(endless));
	tcase_add_test(t, a_contact_that_lies_ahead_makes_no_gateway_active);
	tcase_add_test(t, a_report_that_is_given_up_is_told_as_refused_and_the_others_get_through);
	tcase_add_test(t, a_plane_that_has_lost_reports_begins_a_resync_once);
	tcase_add_test(t, a_plane_that_knows_nothing_for_the_gateway_says_once_that_it_knows_nothing);
	tcase_add_test(t, two_copies_of_a_gateway_do_not_chase_each_other);
	tcase_add_test(t, reports_that_are_never_acknowledged_are_sent_again_with_pauses);
	tcase_add_test(t, an_outage_ends_by_itself_and_nothing_is_lost);
	tcase_add_test(t, a_certificate_is_refused_once_the_gateway_was_paired_again);
	tcase_add_test(t, a_certificate_is_renewed_at_two_thirds_of_its_life_and_the_old_one_is_then_refused);
	tcase_add_test(t, a_changed_address_is_used_at_once);
	tcase_add_test(t, a_plane_of_another_ca_is_never_told_anything);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
