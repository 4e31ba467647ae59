/* SPDX-License-Identifier: Apache-2.0 */
/* Workers under trial: what they tell, and where they die. */
#include "config.h"
#include "tests/provider/rig.h"
#include "core/attr.h"
#include "net/http_server.h"
#include "pcg/provider.h"

#include <stdio.h>
#include <string.h>

static int requests;

static void serve(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	requests++;
	http_exchange_reply(x, 200, "text/plain", "pong", 4);
}

static void on_server_closed(void *arg)
{
	*(bool *)arg = true;
}

static struct http_server *open_trial(struct rig *r, const json_t *trial)
{
	struct http_server *server;
	struct pcg_error err;

	rig_open(r, 0);
	rig_plugin(r, "good");
	rig_account(r, "a1", "good", "swordfish");
	ck_assert_int_eq(http_server_new(&r->loop, "127.0.0.1", 0, NULL, NULL, serve, NULL, &server, &err), 0);
	provider_pool_set_trial(r->pool, trial);
	requests = 0;
	return server;
}

static void close_trial(struct rig *r, struct http_server *server)
{
	bool closed = false;

	http_server_close(server, on_server_closed, &closed);
	rig_wait(r, &closed);
	rig_close(r);
}

static void ask(struct rig *r, struct http_server *server, struct got *g, const char *method, const char *body)
{
	char url[80];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1/x?y=1", http_server_port(server));
	rig_call(r, g, "a1", "machine_ensure", "m1",
		 json_pack("{s:s, s:s, s:s, s:s}", "do", "http", "url", url, "method", method, "body", body), CALL_MS);
	rig_wait(r, &g->done);
}

/* The last that was told of this sort. */
static const json_t *told(const struct rig *r, const char *what)
{
	const json_t *found = NULL;
	size_t i;
	json_t *e;

	json_array_foreach(r->told, i, e)
		if (strcmp(json_str_or(e, "what", ""), what) == 0)
			found = e;
	return found;
}

#define ENVELOPE(inner) "<?xml version='1.0'?><s:Envelope xmlns:s='x'><s:Header><o:operationID>1</o:operationID></s:Header>" \
			"<s:Body>" inner "</s:Body></s:Envelope>"

static const struct {
	const char *method, *body, *request, *class;
} named[] = {
	{ "GET", "", "GET /v1/x?y=1", "read" },
	{ "HEAD", "", "HEAD /v1/x?y=1", "read" },
	{ "DELETE", "", "DELETE /v1/x?y=1", "change" },
	{ "PUT", "{}", "PUT /v1/x?y=1", "change" },
	{ "POST", "<html><Body><p></p></Body></html>", "POST /v1/x?y=1", "change" },
	{ "POST", ENVELOPE("<v:CloneVM_Task xmlns:v='y'></v:CloneVM_Task>"), "SOAP CloneVM_Task", "change" },
	{ "POST", ENVELOPE("<Destroy_Task/>"), "SOAP Destroy_Task", "change" },
	{ "POST", ENVELOPE("<RetrievePropertiesEx></RetrievePropertiesEx>"), "SOAP RetrievePropertiesEx", "read" },
	{ "POST", ENVELOPE("<Login></Login>"), "SOAP Login", "session" },
	/* by the patterns: change before session before read */
	{ "PATCH", "", "PATCH /v1/x?y=1", "read" },
	{ "POST", ENVELOPE("<FindByUuid></FindByUuid>"), "SOAP FindByUuid", "change" },
};

START_TEST(a_request_is_named_and_classed_before_it_is_sent)
{
	AUTO_JSON json_t *trial = json_pack("{s:[s, s], s:[s]}", "read", "PATCH /v1/*", "SOAP Find*", "change", "SOAP FindBy*");
	struct http_server *server;
	json_int_t counted = 0;
	struct rig r;
	struct got g;

	server = open_trial(&r, trial);
	for (size_t i = 0; i < ARRAY_LEN(named); i++) {
		const json_t *t;

		ask(&r, server, &g, named[i].method, named[i].body);
		got_free(&g);
		t = told(&r, "request");
		ck_assert_str_eq(json_str_or(t, "request", ""), named[i].request);
		ck_assert_str_eq(json_str_or(t, "class", ""), named[i].class);
		ck_assert_str_eq(json_str_or(t, "op", ""), "machine_ensure");
		ck_assert_int_eq(json_int_or(t, "n", -1), strcmp(named[i].class, "read") ? ++counted : 0);
	}
	close_trial(&r, server);
}
END_TEST

static const struct {
	const char *when;
	int seen; /* requests that the server has got */
} kills[] = { { "before", 2 }, { "sent", 3 }, { "answered", 3 } };

START_TEST(a_worker_dies_at_the_counted_request_that_it_is_told)
{
	for (size_t i = 0; i < ARRAY_LEN(kills); i++) {
		AUTO_JSON json_t *trial = json_pack("{s:{s:i, s:s}}", "kill", "n", 2, "when", kills[i].when);
		struct http_server *server;
		struct rig r;
		struct got g;

		server = open_trial(&r, trial);
		ask(&r, server, &g, "PUT", "1");
		ck_assert_uint_eq(g.status, PCG_STEP_DONE);
		got_free(&g);
		ask(&r, server, &g, "GET", "");
		got_free(&g);
		ask(&r, server, &g, "PUT", "2");
		ck_assert_uint_eq(g.status, PCG_STEP_ERROR);
		ck_assert_int_eq(g.err.class, PCG_CLASS_RETRY);
		ck_assert_str_eq(json_str_or(told(&r, "killed"), "request", ""), "PUT /v1/x?y=1");
		while (requests < kills[i].seen)
			rig_turn(&r);
		ck_assert_msg(requests == kills[i].seen, "%s: %d requests", kills[i].when, requests);
		/* the next one goes on */
		provider_pool_set_trial(r.pool, NULL);
		ask(&r, server, &g, "PUT", "2");
		ck_assert_uint_eq(g.status, PCG_STEP_DONE);
		got_free(&g);
		close_trial(&r, server);
	}
}
END_TEST

START_TEST(a_worker_under_trial_tells_of_its_plugin_and_of_secrets_in_texts)
{
	AUTO_JSON json_t *trial = json_object();
	struct http_server *server;
	struct rig r;
	struct got g;

	server = open_trial(&r, trial);
	rig_do(&r, &g, "a1", "done");
	got_free(&g);
	ck_assert(json_is_array(json_at(told(&r, "loaded"), "settings")));
	ck_assert_ptr_null(told(&r, "secret"));
	rig_do(&r, &g, "a1", "log");
	got_free(&g);
	ck_assert_str_eq(json_str_or(told(&r, "log"), "event", ""), "plugin_says");
	ck_assert_str_eq(json_str_or(told(&r, "secret"), "text", ""), "token ***");
	rig_do(&r, &g, "a1", "echo_secret");
	ck_assert_ptr_nonnull(strstr(json_str_or(told(&r, "secret"), "text", ""), "401: token '***'"));
	close_trial(&r, server);
}
END_TEST

START_TEST(a_worker_of_a_gateway_tells_nothing_of_it)
{
	struct http_server *server;
	struct rig r;
	struct got g;

	server = open_trial(&r, NULL);
	ask(&r, server, &g, "PUT", "1");
	ck_assert_uint_eq(g.status, PCG_STEP_DONE);
	got_free(&g);
	rig_do(&r, &g, "a1", "log");
	got_free(&g);
	ck_assert_uint_eq(json_array_size(r.told), 0);
	close_trial(&r, server);
}
END_TEST

TCase *trial_cases(void)
{
	TCase *c = tcase_create("trial");

	tcase_set_timeout(c, 60);
	tcase_add_test(c, a_request_is_named_and_classed_before_it_is_sent);
	tcase_add_test(c, a_worker_dies_at_the_counted_request_that_it_is_told);
	tcase_add_test(c, a_worker_under_trial_tells_of_its_plugin_and_of_secrets_in_texts);
	tcase_add_test(c, a_worker_of_a_gateway_tells_nothing_of_it);
	return c;
}
