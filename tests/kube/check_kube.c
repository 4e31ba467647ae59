/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/kube/client.h"

#include "core/utf8.h"

START_TEST(a_request_carries_a_certificate_minted_on_need)
{
	struct answer a = {0};

	kube_ready(kube, on_reply, &a);
	RIG_UNTIL(a.done == 1);
	ck_assert_int_eq(a.status, 200);
	kube_ready(kube, on_reply, &a);
	RIG_UNTIL(a.done == 2);
	ck_assert_int_eq(minted, 1);
	clock_turn_ms(3600000 * 7 / 10); /* less than a third is left */
	kube_ready(kube, on_reply, &a);
	RIG_UNTIL(a.done == 3);
	clock_turn_ms(-3600000 * 7 / 10);
	ck_assert_int_eq(minted, 2);
}
END_TEST

START_TEST(a_clock_that_is_set_back_makes_a_certificate_that_is_valid_now)
{
	struct answer a = {0};

	clock_turn_ms(2 * 3600000);
	kube_ready(kube, on_reply, &a);
	RIG_UNTIL(a.done == 1);
	clock_turn_ms(-2 * 3600000);
	kube_ready(kube, on_reply, &a);
	RIG_UNTIL(a.done == 2);
	ck_assert_int_eq(minted, 2);
	ck_assert_int_lt(http_tls_not_after_ms(kube->tls), clock_wall_ms() + mint_life_ms + 1000);
	kube_ready(kube, on_reply, &a);
	RIG_UNTIL(a.done == 3);
	ck_assert_int_eq(minted, 2);
}
END_TEST

START_TEST(a_refused_certificate_is_minted_anew_once_until_one_is_let_in)
{
	static const int statuses[] = {401, 401, 401, 200, 401, 200},
			 certificates[] = {1, 2, 2, 2, 2, 3};
	struct answer a = {0};

	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		api_script("GET", "/version", statuses[i], "{}", 1);
		kube_request(kube, "GET", "/version", NULL, NULL, 0, on_reply, &a);
		RIG_UNTIL(a.done == (int)i + 1);
		ck_assert_int_eq(a.status, statuses[i]);
		ck_assert_int_eq(minted, certificates[i]);
	}
	json_decref(a.body);
}
END_TEST

static int mint_fails(void *arg, char **cert, struct secret **key, struct pcg_error *err)
{
	return pcg_fail(err, PCG_CLASS_BUG, "", "no keys");
}

START_TEST(a_certificate_that_cannot_be_made_is_told_by_the_callback)
{
	struct answer a = {0};

	kube->mint = mint_fails;
	kube_ready(kube, on_reply, &a);
	ck_assert_int_eq(a.done, 0);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 0);
	ck_assert_ptr_nonnull(strstr(a.err.text, "no keys"));
}
END_TEST

START_TEST(a_server_of_another_authority_is_refused)
{
	struct rig_ca other = rig_ca_new("kubernetes");
	struct answer a = {0};

	free(kube->ca_pem);
	kube->ca_pem = strdup(other.cert);
	kube_ready(kube, on_reply, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 0);
	ck_assert_int_eq(a.err.class, PCG_CLASS_PERMANENT);
	ck_assert_int_eq(api_count("GET /readyz"), 0);
	rig_ca_free(&other);
}
END_TEST

static const struct {
	int status;
	const char *body;
	enum pcg_class class;
	const char *says; /* NULL: any */
} statuses[] = {
	{401, "{\"kind\":\"Status\",\"message\":\"Unauthorized\"}", PCG_CLASS_AUTH, "Unauthorized"},
	{403, "{\"message\":\"secrets is forbidden\",\"reason\":\"Forbidden\"}", PCG_CLASS_AUTH,
	 "Forbidden: secrets is forbidden"},
	{403, "{\"message\":\"exceeded quota: q\"}", PCG_CLASS_QUOTA, "exceeded quota"},
	{403, "{\"message\":\"namespace x because it is being terminated\"}", PCG_CLASS_RETRY,
	 NULL},
	{404, "{}", PCG_CLASS_NOT_FOUND, "404"},
	{409,
	 "{\"reason\":\"Conflict\",\"message\":\"Apply failed with 1 "
	 "conflict\",\"details\":{\"causes\":"
	 "[{\"reason\":\"FieldManagerConflict\",\"message\":\"conflict with "
	 "\\\"kubectl\\\"\",\"field\":\".spec.replicas\"}]}}",
	 PCG_CLASS_CONFLICT, ".spec.replicas: conflict with \"kubectl\""},
	{410, "{\"reason\":\"Expired\",\"message\":\"too old resource version\"}",
	 PCG_CLASS_CONFLICT, "too old"},
	{422,
	 "{\"reason\":\"Invalid\",\"message\":\"Pod is "
	 "invalid\",\"details\":{\"causes\":[{\"message\":\"Required value\","
	 "\"field\":\"spec.containers\"}]}}",
	 PCG_CLASS_PERMANENT, "spec.containers: Required value"},
	{429, "{\"message\":\"slow down\"}", PCG_CLASS_RETRY, "slow down"},
	{500, "{\"message\":\"failed calling webhook\"}", PCG_CLASS_RETRY, "webhook"},
	{503, "<html>busy</html>\nmore", PCG_CLASS_RETRY, "<html>busy</html>"},
};

#define TEN "<p>&nbsp; "
#define FORTY TEN TEN TEN TEN
/* Pages whose first line is long. */
static const char *const pages[] = {
	"<html>The proxy says" FORTY FORTY FORTY FORTY FORTY FORTY,
	"<html>The proxy says " FORTY FORTY FORTY FORTY TEN TEN "12345678901\nmore",
	"<html>The proxy says \xc3\xa4\xff" FORTY FORTY FORTY FORTY FORTY FORTY,
};

START_TEST(a_page_on_one_line_says_what_it_is)
{
	struct answer a = {0};

	api_script("GET", "/x", 502, pages[_i], 1);
	kube_request(kube, "GET", "/x", NULL, NULL, 0, on_reply, &a);
	RIG_UNTIL(a.done);
	ck_assert_msg(strstr(a.err.text, "<html>The proxy says") != NULL, "%s", a.err.text);
	json_decref(a.body);
}
END_TEST

START_TEST(a_refusal_becomes_an_error_with_the_servers_words)
{
	struct answer a = {0};

	api_script("GET", "/x", statuses[_i].status, statuses[_i].body, 1);
	kube_request(kube, "GET", "/x?token=abc", NULL, NULL, 0, on_reply, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, statuses[_i].status);
	ck_assert_int_eq(a.err.class, statuses[_i].class);
	ck_assert_ptr_nonnull(strstr(a.err.text, "GET https://127.0.0.1"));
	ck_assert_ptr_null(strstr(a.err.text, "token="));
	if (statuses[_i].says)
		ck_assert_msg(strstr(a.err.text, statuses[_i].says) != NULL, "%s", a.err.text);
	json_decref(a.body);
}
END_TEST

/* Admission webhooks and validation answer with pages of text. */
START_TEST(words_of_a_refusal_that_are_too_many_are_cut_not_dropped)
{
	AUTO_JSON json_t *body = json_pack("{s:s,s:{s:[{s:s}]}}", "reason", "Invalid", "details", "causes",
					   "field", "spec.template");
	AUTO_FREE char *text = NULL, *message = malloc(6001);
	struct answer a = {0};

	for (int i = 0; i < 3000; i++)
		memcpy(message + 2 * i, "\xc3\xa4", 2);
	message[6000] = 0;
	memcpy(message, "webhook says", 12);
	json_object_set_new(body, "message", json_string(message));
	json_put(body, "details.causes.0", json_pack("{s:s,s:s}", "field", "spec.template", "message", message));
	text = json_text(body);
	api_script("GET", "/x", 422, text, 1);
	kube_request(kube, "GET", "/x", NULL, NULL, 0, on_reply, &a);
	RIG_UNTIL(a.done);
	ck_assert_ptr_nonnull(strstr(a.err.text, "answered 422 Invalid: webhook says"));
	ck_assert_ptr_nonnull(strstr(a.err.text, "; spec.template: webhook says"));
	ck_assert(utf8_valid(a.err.text, strlen(a.err.text)));
	json_decref(a.body);
}
END_TEST

START_TEST(json_that_ends_early_is_tried_again_later_and_no_object)
{
	struct answer a = {0};

	api_script("GET", "/x", 200, "{\"kind\":\"Pod\",\"metadata\":{\"na", 1);
	kube_request(kube, "GET", "/x", NULL, NULL, 0, on_reply, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 0);
	ck_assert_int_eq(a.err.class, PCG_CLASS_RETRY);
	ck_assert_ptr_null(a.body);
}
END_TEST

static const struct {
	const char *version, *kind, *ns, *name, *path; /* path NULL: not served */
} paths[] = {
	{"v1", "Namespace", "ignored", "a", "/api/v1/namespaces/a"},
	{"v1", "Pod", "kube-system", "a", "/api/v1/namespaces/kube-system/pods/a"},
	{"v1", "Pod", NULL, "a", "/api/v1/namespaces/default/pods/a"},
	{"v1", "Pod", NULL, NULL, "/api/v1/pods"},
	{"v1", "Pod", "x", NULL, "/api/v1/namespaces/x/pods"},
	{"apps/v1", "Deployment", "x", "a", "/apis/apps/v1/namespaces/x/deployments/a"},
	{"v1", "Pod", "x", "a/../b", "/api/v1/namespaces/x/pods/a%2F..%2Fb"},
	{"v1", "Thing", "x", "a", NULL},
	{"none.example/v1", "Thing", "x", "a", NULL},
};

START_TEST(an_objects_path_comes_from_discovery)
{
	struct answer a = {0};

	kube_path_of(kube, paths[_i].version, paths[_i].kind, paths[_i].ns, paths[_i].name, on_path,
		     &a);
	ck_assert_int_eq(a.done, 0);
	RIG_UNTIL(a.done);
	if (paths[_i].path) {
		ck_assert_str_eq(json_string_value(a.body), paths[_i].path);
	} else {
		ck_assert_int_eq(a.err.class, PCG_CLASS_NOT_FOUND);
		ck_assert_ptr_nonnull(strstr(a.err.text, paths[_i].kind));
		ck_assert_ptr_nonnull(strstr(a.err.text, paths[_i].version));
	}
	json_decref(a.body);
}
END_TEST

START_TEST(discovery_is_asked_once_and_again_for_an_unknown_kind)
{
	struct answer a = {0};

	api.served = "Widget";
	for (int i = 0; i < 5; i++)
		kube_path_of(kube, "example.com/v1", "Widget", "x", "a", on_path, &a);
	RIG_UNTIL(a.done == 5);
	kube_path_of(kube, "example.com/v1", "Widget", "x", "b", on_path, &a);
	RIG_UNTIL(a.done == 6);
	ck_assert_int_eq(api_count("GET /apis/example.com/v1"), 1);
	kube_path_of(kube, "example.com/v1", "Thing", "x", "a", on_path, &a);
	RIG_UNTIL(a.done == 7);
	ck_assert_int_eq(api_count("GET /apis/example.com/v1"), 2);
	json_decref(a.body);
}
END_TEST

START_TEST(kinds_that_every_server_has_are_not_asked_for)
{
	struct answer a = {0};

	kube_path_of(kube, "v1", "Secret", "x", "a", on_path, &a);
	kube_path_of(kube, "apps/v1", "Deployment", "x", "a", on_path, &a);
	kube_path_of(kube, "apiextensions.k8s.io/v1", "CustomResourceDefinition", NULL, "a", on_path, &a);
	ck_assert_int_eq(a.done, 0);
	RIG_UNTIL(a.done == 3);
	ck_assert_uint_eq(json_array_size(api.log), 0);
	kube_path_of(kube, "apps/v1beta1", "Deployment", "x", "a", on_path, &a);
	RIG_UNTIL(a.done == 4);
	ck_assert_int_eq(a.err.class, PCG_CLASS_NOT_FOUND);
	json_decref(a.body);
}
END_TEST

static const struct {
	int items, gone;
	int requests;
} lists[] = {{0, 0, 1}, {499, 0, 1}, {500, 0, 1}, {501, 0, 2}, {5234, 0, 11}, {1200, 1, 5}};

START_TEST(a_list_has_every_page_once)
{
	struct answer a = {0};

	api.pages_of = lists[_i].items;
	api.gone_pages = lists[_i].gone;
	kube_list(kube, "/api/v1/secrets", "a=b,c in (d)", on_reply, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 200);
	ck_assert_uint_eq(json_array_size(json_at(a.body, "items")), (size_t)lists[_i].items);
	ck_assert_str_eq(json_str(a.body, "metadata.resourceVersion"), "77");
	ck_assert_int_eq(
		api_count("GET /api/v1/secrets?limit=500&labelSelector=a%3Db%2Cc%20in%20%28d%29"),
		lists[_i].requests);
	for (int i = 0; i < lists[_i].items; i++) {
		char name[16];

		snprintf(name, sizeof(name), "s%d", i);
		ck_assert_str_eq(json_str(json_array_get(json_at(a.body, "items"), (size_t)i),
					  "metadata.name"),
				 name);
	}
	json_decref(a.body);
}
END_TEST

static const char *const no_lists[] = {
	"{\"kind\":\"Secret\"}",
	"{\"items\":[{},7]}",
	"{\"items\":[null]}",
	"[]",
};

START_TEST(a_list_that_is_none_is_an_error)
{
	struct answer a = {0};

	api_script("GET", "/api/v1/secrets", 200, no_lists[_i], 1);
	kube_list(kube, "/api/v1/secrets", NULL, on_reply, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 0);
	ck_assert_ptr_nonnull(strstr(a.err.text, "not a list"));
}
END_TEST

START_TEST(a_list_that_does_not_end_is_given_up)
{
	struct answer a = {0};

	api_script("GET", "/api/v1/secrets", 200,
		   "{\"items\":[],\"metadata\":{\"continue\":\"on\"}}", 100000);
	kube_list(kube, "/api/v1/secrets", NULL, on_reply, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 0);
	ck_assert_ptr_nonnull(strstr(a.err.text, "does not end"));
}
END_TEST

struct events {
	int n, ended;
	char last[64];
	struct pcg_error err;
	struct kube_op *op;
	int cancel_at; /* event that cancels the watch; 0: none */
	bool free_client;
};

static void on_event(void *arg, const char *type, json_t *o)
{
	struct events *e = arg;

	e->n++;
	snprintf(e->last, sizeof(e->last), "%s %s", type, json_str_or(o, "metadata.name", "?"));
	if (e->n != e->cancel_at)
		return;
	if (e->free_client) {
		kube_free(kube);
		kube = NULL;
	} else {
		kube_op_cancel(e->op);
	}
}

static void on_end(void *arg, const struct pcg_error *err)
{
	struct events *e = arg;

	e->ended++;
	e->err = *err;
}

static void event_write(const char *text)
{
	http_exchange_stream_write(api.watch, text, strlen(text));
}

START_TEST(a_watch_gives_events_whole_however_they_are_cut)
{
	struct events e = {0};

	e.op = kube_watch(kube, "/api/v1/pods", "77", on_event, on_end, &e);
	RIG_UNTIL(api.watch);
	ck_assert_int_eq(api_count("GET /api/v1/pods?watch=1&allowWatchBookmarks=true"
				   "&timeoutSeconds=300&resourceVersion=77"),
			 1);
	event_write("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\"}}}\n{\"type\":"
		    "\"MODI");
	RIG_UNTIL(e.n == 1);
	event_write("FIED\",\"object\":{\"metadata\":{\"name\":\"b\"}}}\n"
		    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"name\":\"c\"}}}\n");
	RIG_UNTIL(e.n == 3);
	ck_assert_str_eq(e.last, "BOOKMARK c");
	http_exchange_stream_end(api.watch);
	RIG_UNTIL(e.ended);
	ck_assert_int_eq(e.err.class, PCG_CLASS_RETRY);
}
END_TEST

static const struct {
	const char *sent;
	enum pcg_class class;
	const char *says;
} endings[] = {
	{"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\","
	 "\"message\":\"too old resource version: 77 (99)\"}}\n",
	 PCG_CLASS_CONFLICT, "too old resource version"},
	{"{\"type\":\"ADDED\",\"object\":{}}\nnot json\n", PCG_CLASS_RETRY, "no event"},
	{"{\"type\":\"ADDED\",\"object\":{}}\n{\"type\":\"ADD", PCG_CLASS_RETRY, "inside an event"},
};

START_TEST(a_watch_says_why_it_ended)
{
	struct events e = {0};

	e.op = kube_watch(kube, "/api/v1/pods", "77", on_event, on_end, &e);
	RIG_UNTIL(api.watch);
	event_write(endings[_i].sent);
	http_exchange_stream_end(api.watch);
	RIG_UNTIL(e.ended);
	ck_assert_int_eq(e.err.class, endings[_i].class);
	ck_assert_msg(strstr(e.err.text, endings[_i].says) != NULL, "%s", e.err.text);
}
END_TEST

START_TEST(a_watch_that_is_refused_has_the_servers_reason)
{
	struct events e = {0};

	api_script("GET", "watch=1", 410,
		   "{\n \"kind\": \"Status\",\n \"message\": \"too old\"\n}\n", 1);
	kube_watch(kube, "/api/v1/pods", "1", on_event, on_end, &e);
	RIG_UNTIL(e.ended);
	ck_assert_int_eq(e.n, 0);
	ck_assert_int_eq(e.err.class, PCG_CLASS_CONFLICT);
	ck_assert_ptr_nonnull(strstr(e.err.text, "too old"));
}
END_TEST

START_TEST(an_event_may_end_its_watch_or_the_client)
{
	struct events e = {.cancel_at = 1, .free_client = _i == 1};

	e.op = kube_watch(kube, "/api/v1/pods", "77", on_event, on_end, &e);
	RIG_UNTIL(api.watch);
	event_write("{\"type\":\"ADDED\",\"object\":{}}\n{\"type\":\"ADDED\",\"object\":{}}\n");
	RIG_UNTIL(e.n == 1);
	http_exchange_stream_end(api.watch);
	for (int i = 0; i < 20; i++)
		uv_run(rig_loop, UV_RUN_NOWAIT);
	ck_assert_int_eq(e.n, 1);
	ck_assert_int_eq(e.ended, 0);
}
END_TEST

static const struct {
	const char *object;
	bool available;
} availables[] = {
	{"{\"kind\":\"Deployment\",\"metadata\":{\"generation\":2},\"status\":{"
	 "\"observedGeneration\":1,"
	 "\"updatedReplicas\":1,\"conditions\":[{\"type\":\"Available\",\"status\":\"True\"}]}}",
	 false},
	{"{\"kind\":\"Deployment\",\"metadata\":{\"generation\":2},\"status\":{"
	 "\"observedGeneration\":2,"
	 "\"updatedReplicas\":1,\"conditions\":[{\"type\":\"Available\",\"status\":\"True\"}]}}",
	 true},
	{"{\"kind\":\"Deployment\",\"metadata\":{\"generation\":1},\"spec\":{\"replicas\":2},"
	 "\"status\":"
	 "{\"observedGeneration\":1,\"updatedReplicas\":1,\"conditions\":[{\"type\":\"Available\","
	 "\"status\":\"True\"}]}}",
	 false},
	{"{\"kind\":\"Deployment\",\"metadata\":{\"generation\":1},\"status\":{"
	 "\"observedGeneration\":1,"
	 "\"updatedReplicas\":1,\"conditions\":[{\"type\":\"Available\",\"status\":\"False\"}]}}",
	 false},
	{"{\"kind\":\"DaemonSet\",\"metadata\":{\"generation\":1},\"status\":{"
	 "\"observedGeneration\":1,"
	 "\"desiredNumberScheduled\":2,\"updatedNumberScheduled\":2,\"numberAvailable\":1}}",
	 false},
	{"{\"kind\":\"DaemonSet\",\"metadata\":{\"generation\":1},\"status\":{"
	 "\"observedGeneration\":1,"
	 "\"desiredNumberScheduled\":2,\"updatedNumberScheduled\":2,\"numberAvailable\":2}}",
	 true},
	{"{\"kind\":\"DaemonSet\",\"metadata\":{\"generation\":1}}", false},
	{"{\"kind\":\"CustomResourceDefinition\"}", false},
	{"{\"kind\":\"CustomResourceDefinition\",\"status\":{\"conditions\":[{\"type\":"
	 "\"Established\",\"status\":\"True\"}]}}",
	 true},
	{"{\"kind\":\"APIService\",\"status\":{\"conditions\":[{\"type\":\"Available\",\"status\":"
	 "\"False\"}]}}",
	 false},
	{"{\"kind\":\"ValidatingWebhookConfiguration\",\"webhooks\":[{\"clientConfig\":{"
	 "\"service\":{}}}]}",
	 false},
	{"{\"kind\":\"ValidatingWebhookConfiguration\",\"webhooks\":[{\"clientConfig\":{"
	 "\"service\":{},\"caBundle\":\"QQ==\"}}]}",
	 true},
	{"{\"kind\":\"ConfigMap\"}", true},
};

START_TEST(availability_follows_the_kind)
{
	json_t *o = json_loads(availables[_i].object, 0, NULL);
	char says[512];

	/* An empty object is no service reference. */
	if (json_at(o, "webhooks"))
		json_put_str(json_array_get(json_at(o, "webhooks"), 0), "clientConfig.service.name",
			     "s");
	ck_assert_int_eq(kube_available(o, says, sizeof(says)), availables[_i].available);
	if (!availables[_i].available)
		ck_assert_str_ne(says, "");
	json_decref(o);
}
END_TEST

static void make_available(uv_timer_t *t)
{
	json_object_set_new(api.objects, "/apis/apps/v1/namespaces/x/deployments/d",
			    json_loads(availables[1].object, 0, NULL));
	uv_close((uv_handle_t *)t, NULL);
}

START_TEST(an_object_is_waited_for_until_it_is_available)
{
	json_t *d = json_pack("{s:s, s:s, s:{s:s, s:s}}", "apiVersion", "apps/v1", "kind",
			      "Deployment", "metadata", "name", "d", "namespace", "x");
	struct answer a = {0};
	uv_timer_t t;

	kube_wait_available(kube, d, 400, on_reply, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.status, 0);
	ck_assert_int_eq(a.err.class, PCG_CLASS_RETRY);
	ck_assert_ptr_nonnull(strstr(a.err.text, "Deployment x/d"));
	ck_assert_ptr_nonnull(strstr(a.err.text, "no such thing"));

	uv_timer_init(rig_loop, &t);
	uv_timer_start(&t, make_available, 200, 0);
	kube_wait_available(kube, d, 8000, on_reply, &a);
	RIG_UNTIL(a.done == 2);
	ck_assert_int_eq(a.status, 200);
	json_decref(a.body);
	json_decref(d);
}
END_TEST

START_TEST(a_connection_cut_anywhere_is_an_error_or_the_whole_answer)
{
	struct answer a = {0};

	api.pages_of = 40;
	relay_start(1 + _i * 331);
	kube_free(kube);
	rig_client_end(http);
	client_start(relay.port);
	kube_list(kube, "/api/v1/secrets", NULL, on_reply, &a);
	RIG_UNTIL(a.done);
	if (a.status == 200) {
		ck_assert_uint_eq(json_array_size(json_at(a.body, "items")), 40);
	} else {
		ck_assert_int_eq(a.status, 0);
		ck_assert_int_eq(a.err.class, PCG_CLASS_RETRY);
		ck_assert_int_gt(relay.cuts, 0);
	}
	json_decref(a.body);
	a.body = NULL;
	relay.cut_after = -1; /* and the next one goes through */
	kube_list(kube, "/api/v1/secrets", NULL, on_reply, &a);
	RIG_UNTIL(a.done == 2);
	ck_assert_int_eq(a.status, 200);
	json_decref(a.body);
	relay_end();
}
END_TEST

START_TEST(an_apply_passes_over_cut_connections)
{
	json_t *list = json_array();
	struct applied a;

	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof(name), "c%d", i);
		json_array_append_new(list, object("v1", "ConfigMap", name));
	}
	relay_start(2500 + _i * 700);
	kube_free(kube);
	rig_client_end(http);
	client_start(relay.port);
	apply(list, 10000, &a);
	RIG_UNTIL(relay.cuts || a.done);
	relay.cut_after = -1;
	RIG_UNTIL(a.done);
	ck_assert_msg(!a.failed, "%s", a.err.text);
	ck_assert_uint_eq(json_object_size(api.objects), 20);
	json_decref(list);
	relay_end();
}
END_TEST

#define LOOP(fn, table) tcase_add_loop_test(t, fn, 0, sizeof(table) / sizeof((table)[0]))

int main(void)
{
	Suite *s = suite_create("kube");
	TCase *t = tcase_create("kube");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_request_carries_a_certificate_minted_on_need);
	tcase_add_test(t, a_clock_that_is_set_back_makes_a_certificate_that_is_valid_now);
	tcase_add_test(t, a_refused_certificate_is_minted_anew_once_until_one_is_let_in);
	tcase_add_test(t, a_certificate_that_cannot_be_made_is_told_by_the_callback);
	tcase_add_test(t, a_server_of_another_authority_is_refused);
	LOOP(a_refusal_becomes_an_error_with_the_servers_words, statuses);
	LOOP(a_page_on_one_line_says_what_it_is, pages);
	tcase_add_test(t, words_of_a_refusal_that_are_too_many_are_cut_not_dropped);
	tcase_add_test(t, json_that_ends_early_is_tried_again_later_and_no_object);
	LOOP(an_objects_path_comes_from_discovery, paths);
	tcase_add_test(t, discovery_is_asked_once_and_again_for_an_unknown_kind);
	tcase_add_test(t, kinds_that_every_server_has_are_not_asked_for);
	LOOP(a_list_has_every_page_once, lists);
	tcase_add_loop_test(t, a_list_that_is_none_is_an_error, 0, ARRAY_LEN(no_lists));
	tcase_add_test(t, a_list_that_does_not_end_is_given_up);
	tcase_add_test(t, a_watch_gives_events_whole_however_they_are_cut);
	LOOP(a_watch_says_why_it_ended, endings);
	tcase_add_test(t, a_watch_that_is_refused_has_the_servers_reason);
	tcase_add_loop_test(t, an_event_may_end_its_watch_or_the_client, 0, 2);
	LOOP(availability_follows_the_kind, availables);
	tcase_add_test(t, an_object_is_waited_for_until_it_is_available);
	tcase_add_loop_test(t, a_connection_cut_anywhere_is_an_error_or_the_whole_answer, 0, 16);
	tcase_add_loop_test(t, an_apply_passes_over_cut_connections, 0, 4);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
