/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/kube/client.h"

START_TEST(objects_are_applied_in_the_order_of_kinds)
{
	struct applied a;
	json_t *list = json_pack("[o, o, {s:s, s:s, s:[o]}, o]", object("v1", "Pod", "p"),
				 object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "w"),
				 "apiVersion", "v1", "kind", "List", "items",
				 object("v1", "ConfigMap", "c"), object("v1", "Namespace", "n"));
	static const char *const order[] = {"/api/v1/namespaces/n?",
					    "/customresourcedefinitions/w?", "/configmaps/c?",
					    "/pods/p?"};
	size_t at = 0, i;
	json_t *v;

	apply(list, 10000, &a);
	RIG_UNTIL(a.done);
	ck_assert_msg(!a.failed, "%s", a.err.text);
	ck_assert_int_eq(a.created, 4);
	json_array_foreach (api.log, i, v) {
		const char *line = json_string_value(v);

		if (strncmp(line, "PATCH", 5) != 0)
			continue;
		ck_assert_msg(strstr(line, order[at]) != NULL, "%s", line);
		ck_assert_ptr_nonnull(strstr(line, "fieldManager=pcg"));
		ck_assert_ptr_nonnull(strstr(line, "force=true"));
		at++;
	}
	ck_assert_uint_eq(at, 4);
	ck_assert_str_eq(json_string_value(json_array_get(api.types, 0)),
			 "application/apply-patch+yaml");
	/* What was sent need not come back. */
	ck_assert_str_eq(json_string_value(json_array_get(api.accepts, 0)),
			 "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, "
			 "application/json");
	apply(list, 10000, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.created, 0);
	ck_assert_int_eq(a.updated, 4);
	json_decref(list);
}
END_TEST

/* What the server answers to one apply after the other, and whether it is told. */
static const struct {
	const char *body;
	bool told;
} again[] = {
	{"{\"metadata\":{\"generation\":1,\"resourceVersion\":\"10\"}}", true},
	{"{\"metadata\":{\"generation\":1,\"resourceVersion\":\"11\"}}", false}, /* its status was written */
	{"{\"metadata\":{\"generation\":2,\"resourceVersion\":\"12\"}}", true},
	{"{\"metadata\":{\"generation\":2,\"resourceVersion\":\"12\"}}", false},
	{"{\"metadata\":{\"resourceVersion\":\"12\"}}", true}, /* of a kind that has no generation */
	{"{\"metadata\":{\"resourceVersion\":\"12\"}}", false},
	{"{\"metadata\":{\"resourceVersion\":\"13\"}}", true},
};

START_TEST(an_apply_that_changes_nothing_is_not_told)
{
	json_t *list = json_pack("[o]", object("v1", "ConfigMap", "c"));
	struct applied a;

	apply(list, 10000, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.created, 1);
	for (size_t i = 0; i < ARRAY_LEN(again); i++) {
		api_script("PATCH", "/configmaps/c", 200, again[i].body, 1);
		apply(list, 10000, &a);
		RIG_UNTIL(a.done);
		ck_assert_int_eq(a.created, 0);
		ck_assert_msg(a.updated == again[i].told, "apply %zu", i);
	}
	json_decref(list);
}
END_TEST

static const struct {
	const char *method, *part;
	int status;
	const char *body;
} passing[] = {
	{"PATCH", "/configmaps/", 409, "{\"reason\":\"Conflict\"}"},
	{"PATCH", "/configmaps/", 429, "{}"},
	{"PATCH", "/configmaps/", 500,
	 "{\"message\":\"failed calling webhook \\\"x\\\": no endpoints\"}"},
	{"PATCH", "/configmaps/", 503, "busy"},
	{"PATCH", "/configmaps/", 302, ""},
	{"PATCH", "/configmaps/", 404, "{\"message\":\"namespaces \\\"default\\\" not found\"}"},
	{"GET", "/apis/example.com/v1", 200, "{\"cut"},
	{"GET", "/apis/example.com/v1", 503, "{}"},
};

START_TEST(what_passes_by_itself_is_tried_again)
{
	json_t *list = json_pack("[o, o]", object("v1", "ConfigMap", "c"),
				 object("example.com/v1", "Widget", "w"));
	struct applied a;

	api.served = "Widget";
	api_script(passing[_i].method, passing[_i].part, passing[_i].status, passing[_i].body, 2);
	apply(list, 10000, &a);
	RIG_UNTIL(a.done);
	ck_assert_msg(!a.failed, "%s", a.err.text);
	ck_assert_int_eq(api.scripts[0].times, 0);
	ck_assert_ptr_nonnull(
		json_object_get(api.objects, "/api/v1/namespaces/default/configmaps/c"));
	ck_assert_ptr_nonnull(json_object_get(
		api.objects, "/apis/example.com/v1/namespaces/default/widgets/w"));
	json_decref(list);
}
END_TEST

START_TEST(a_kind_that_is_not_served_yet_is_waited_for)
{
	json_t *list = json_pack("[o]", object("example.com/v1", "Widget", "w"));
	struct applied a;

	api.served = "Widget";
	api.served_after = 3;
	apply(list, 10000, &a);
	RIG_UNTIL(a.done);
	ck_assert_msg(!a.failed, "%s", a.err.text);
	ck_assert_int_eq(api_count("GET /apis/example.com/v1"), 4);
	json_decref(list);
}
END_TEST

START_TEST(a_refused_object_is_named_and_ends_the_apply)
{
	json_t *list =
		json_pack("[o, o]", object("v1", "ConfigMap", "c"), object("v1", "Pod", "p"));
	struct applied a;

	api_script("PATCH", "/configmaps/", 422,
		   "{\"reason\":\"Invalid\",\"message\":\"data: wrong\"}", 1);
	apply(list, 10000, &a);
	RIG_UNTIL(a.done);
	ck_assert(a.failed);
	ck_assert_int_eq(a.err.class, PCG_CLASS_PERMANENT);
	ck_assert_ptr_nonnull(strstr(a.err.text, "ConfigMap c"));
	ck_assert_ptr_nonnull(strstr(a.err.text, "data: wrong"));
	ck_assert_int_eq(api_count("PATCH /api/v1/namespaces/default/pods"), 0);
	json_decref(list);
}
END_TEST

START_TEST(an_apply_ends_at_its_time_with_what_the_server_said_last)
{
	json_t *list = json_pack("[o]", object("v1", "ConfigMap", "c"));
	struct applied a;

	api_script("PATCH", "/configmaps/", 503, "{\"message\":\"etcd is away\"}", 1000);
	apply(list, 600, &a);
	RIG_UNTIL(a.done);
	ck_assert(a.failed);
	ck_assert_int_eq(a.err.class, PCG_CLASS_RETRY);
	ck_assert_ptr_nonnull(strstr(a.err.text, "etcd is away"));
	json_decref(list);
}
END_TEST

START_TEST(an_object_without_a_name_is_refused_before_any_is_sent)
{
	json_t *list = json_pack("[o, {s:s, s:s}]", object("v1", "ConfigMap", "c"), "apiVersion",
				 "v1", "kind", "Pod");
	struct applied a;

	apply(list, 1000, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.err.class, PCG_CLASS_PERMANENT);
	ck_assert_int_eq(api_count("PATCH"), 0);
	json_decref(list);
}
END_TEST

/* A manifest is whatever its author wrote. */
START_TEST(a_name_of_any_length_is_refused_and_no_harm)
{
	static const size_t lengths[] = { 9000, 70000, 3 << 20 };

	for (size_t i = 0; i < ARRAY_LEN(lengths) * 2; i++) {
		char *name = calloc(1, lengths[i / 2] + 1);
		struct applied a;
		json_t *list;

		memset(name, i % 2 ? '%' : 'n', lengths[i / 2]);
		list = json_pack("[o]", object("v1", "ConfigMap", name));
		apply(list, 10000, &a);
		RIG_UNTIL(a.done);
		ck_assert(a.failed);
		ck_assert_int_eq(a.err.class, PCG_CLASS_PERMANENT);
		json_decref(list);
		list = json_pack("[o]", object(name, "Widget", "w"));
		apply(list, 500, &a);
		RIG_UNTIL(a.done);
		ck_assert(a.failed);
		json_decref(list);
		free(name);
	}
}
END_TEST

START_TEST(nothing_to_apply_is_done)
{
	json_t *list = json_array();
	struct applied a;

	apply(list, 1000, &a);
	ck_assert_int_eq(a.done, 0);
	RIG_UNTIL(a.done);
	ck_assert(!a.failed);
	json_decref(list);
}
END_TEST

START_TEST(three_hundred_objects_go_over_few_connections)
{
	json_t *list = json_array();
	struct applied a;

	for (int i = 0; i < 300; i++) {
		char name[16];

		snprintf(name, sizeof(name), "c%d", i);
		json_array_append_new(list, object("v1", "ConfigMap", name));
	}
	apply(list, 10000, &a);
	RIG_UNTIL(a.done);
	ck_assert_int_eq(a.created, 300);
	json_decref(list);
}
END_TEST

START_TEST(an_apply_that_is_cancelled_or_freed_says_nothing_more)
{
	json_t *list =
		json_pack("[o, o]", object("v1", "ConfigMap", "c"), object("v1", "Pod", "p"));
	struct applied a, b;
	struct answer ready = {0};

	kube_op_cancel(apply(list, 10000, &a));
	apply(list, 10000, &b);
	uv_run(rig_loop, UV_RUN_NOWAIT);
	kube_free(kube);
	kube = NULL;
	rig_client_end(http);
	client_start(http_server_port(api.server));
	kube_ready(kube, on_reply, &ready);
	RIG_UNTIL(ready.done);
	ck_assert_int_eq(a.done + b.done, 0);
	json_decref(list);
}
END_TEST

#define LOOP(fn, table) tcase_add_loop_test(t, fn, 0, sizeof(table) / sizeof((table)[0]))

int main(void)
{
	Suite *s = suite_create("apply");
	TCase *t = tcase_create("apply");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, objects_are_applied_in_the_order_of_kinds);
	tcase_add_test(t, an_apply_that_changes_nothing_is_not_told);
	LOOP(what_passes_by_itself_is_tried_again, passing);
	tcase_add_test(t, a_kind_that_is_not_served_yet_is_waited_for);
	tcase_add_test(t, a_refused_object_is_named_and_ends_the_apply);
	tcase_add_test(t, an_apply_ends_at_its_time_with_what_the_server_said_last);
	tcase_add_test(t, an_object_without_a_name_is_refused_before_any_is_sent);
	tcase_add_test(t, a_name_of_any_length_is_refused_and_no_harm);
	tcase_add_test(t, nothing_to_apply_is_done);
	tcase_add_test(t, three_hundred_objects_go_over_few_connections);
	tcase_add_test(t, an_apply_that_is_cancelled_or_freed_says_nothing_more);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
