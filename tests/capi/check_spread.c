/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/spread.h"
#include "tests/capi/sample.h"
#include "host/capi/capi.h"

#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define L20 "abcdefghijklmnopqrst"
#define L48 L20 L20 "abcdefgh"

START_TEST(sizes_are_even_and_the_first_places_get_one_more)
{
	static const int64_t want[8][4][4] = {
		{{0}, {0, 0}, {0, 0, 0}, {0, 0, 0, 0}}, {{1}, {1, 0}, {1, 0, 0}, {1, 0, 0, 0}},
		{{2}, {1, 1}, {1, 1, 0}, {1, 1, 0, 0}}, {{3}, {2, 1}, {1, 1, 1}, {1, 1, 1, 0}},
		{{4}, {2, 2}, {2, 1, 1}, {1, 1, 1, 1}}, {{5}, {3, 2}, {2, 2, 1}, {2, 1, 1, 1}},
		{{6}, {3, 3}, {2, 2, 2}, {2, 2, 1, 1}}, {{7}, {4, 3}, {3, 2, 2}, {2, 2, 2, 1}},
	};

	for (int64_t size = 0; size <= 7; size++)
		for (size_t places = 1; places <= 4; places++)
			for (size_t place = 0; place < places; place++)
				ck_assert_msg(spread_size(size, place, places) == want[size][places - 1][place],
					      "%d over %zu: place %zu has %d", (int)size, places, place,
					      (int)spread_size(size, place, places));
}
END_TEST

static json_t *spec_of(const char *cluster, const char *const *pools, size_t n)
{
	json_t *spec = json_pack("{s:s,s:[{s:s,s:b}]}", "name", cluster, "pools", "name", "control", "controlPlane", 1);

	for (size_t i = 0; i < n && pools[i]; i++)
		json_array_append_new(json_object_get(spec, "pools"), json_pack("{s:s}", "name", pools[i]));
	return spec;
}

static const struct {
	const char *cluster, *pools[4];
	size_t place, places;
	const char *name; /* of the first pool's place; one that ends in "-#": eight digits of a hash */
} names[] = {
	{"c1", {"w"}, 0, 1, "c1-w"},
	{"c1", {"w"}, 0, 2, "c1-w-1"},
	{"c1", {"w"}, 11, 12, "c1-w-12"},
	{"c1", {"w", "w-3"}, 1, 3, "c1-w-2"},
	{"c1", {"w", "w-2"}, 1, 3, "c1-w-2-#"},   /* the other pool keeps its name */
	{"c1", {"w-2", "w"}, 0, 1, "c1-w-2"},
	{"c1", {"cp"}, 0, 1, "c1-cp-#"},          /* the control plane's template */
	{"c1", {"cp"}, 0, 2, "c1-cp-1"},
	{L20, {L20 L20 "ab"}, 0, 1, L20 "-" L20 L20 "ab"},
	{L20, {L20 L20 "abc"}, 0, 1, L20 "-" L20 "abcdefghijklm-#"},
	{L48, {L48}, 0, 1, L48 "-abcde-#"},
	{L48, {L48}, 2, 3, L48 "-abcde-#"},
	{L48, {"abcd-" L20}, 0, 1, L48 "-abcd-#"}, /* never two dashes */
};

START_TEST(names_are_labels_and_nobody_elses)
{
	AUTO_JSON json_t *spec = spec_of(names[_i].cluster, names[_i].pools, 4);
	const char *want = names[_i].name, *hash = strstr(want, "-#");
	size_t fixed = hash ? (size_t)(hash - want) + 1 : strlen(want);
	char name[SPREAD_NAME_SIZE], again[SPREAD_NAME_SIZE];

	spread_name(spec, names[_i].pools[0], names[_i].place, names[_i].places, name);
	spread_name(spec, names[_i].pools[0], names[_i].place, names[_i].places, again);
	ck_assert_str_eq(name, again);
	ck_assert_msg(strlen(name) <= 63, "%s", name);
	ck_assert_msg(strlen(name) == fixed + (hash ? 8 : 0) && strncmp(name, want, fixed) == 0, "%s, not %s", name, want);
	for (const char *c = name + fixed; *c; c++)
		ck_assert_msg(isdigit((unsigned char)*c) || (*c >= 'a' && *c <= 'f'), "%s", name);
}
END_TEST

/* Whatever pools are called, no two places have one name. */
START_TEST(all_names_of_a_cluster_differ)
{
	static const char *const pools[] = {"w", "w-1", "w-1-1", "w-2", L48, L48 "-1"};
	AUTO_JSON json_t *spec = spec_of(L20 L20, pools, ARRAY_LEN(pools));
	char all[ARRAY_LEN(pools) * 4][SPREAD_NAME_SIZE];
	size_t n = 0;

	for (size_t p = 0; p < ARRAY_LEN(pools); p++)
		for (size_t place = 0; place < 4; place++)
			spread_name(spec, pools[p], place, 4, all[n++]);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(all[i], all[k]);
}
END_TEST

static json_t *place(const char *pool, const char *resource_pool, const char *domain)
{
	return json_pack("{s:s,s:s,s:s*,s:{s:s,s:s,s:{s:s},s:{s:{s:{s:s,s:s}}}}}", "role", "workerTemplate", "pool", pool,
			 "failureDomain", domain, "object", "apiVersion", "infrastructure.cluster.x-k8s.io/v1beta2", "kind",
			 "VSphereMachineTemplate", "metadata", "name", resource_pool, "spec", "template", "spec", "template", "t",
			 "resourcePool", resource_pool);
}

static const json_t *deployment(const json_t *plan, const char *name)
{
	const json_t *o = json_object_get(sample_entry(plan, "MachineDeployment", name), "object");

	ck_assert_msg(o != NULL, "no MachineDeployment %s", name);
	return o;
}

/* The first and the third say the same. */
START_TEST(a_pool_in_several_places_is_a_deployment_for_each)
{
	static const struct { const char *name, *domain, *template; int replicas; } want[] = {
		{"c1-md-1", "c1-a", "c1-md-1", 2}, {"c1-md-2", "c1-b", "c1-md-2", 2}, {"c1-md-3", NULL, "c1-md-1", 1},
	};
	AUTO_JSON json_t *in = sample_input("ca crt\n"), *plan = NULL;
	json_t *objects = json_object_get(in, "providerObjects"), *e;
	struct pcg_error err;
	size_t i, templates = 0;

	json_array_foreach (objects, i, e)
		if (strcmp(json_str_or(e, "role", ""), "workerTemplate") == 0)
			json_array_remove(objects, i--);
	json_array_append_new(objects, place("md", "rp-a", "c1-a"));
	json_array_append_new(objects, place("md", "rp-b", "c1-b"));
	json_array_append_new(objects, place("md", "rp-a", NULL));
	ck_assert_msg(capi_objects_build(in, &plan, &err) == 0, "%s", err.text);
	for (i = 0; i < ARRAY_LEN(want); i++) {
		const json_t *o = deployment(plan, want[i].name), *spec = json_at(o, "spec.template.spec");

		ck_assert_int_eq((int)json_int_or(o, "spec.replicas", -1), want[i].replicas);
		ck_assert_str_eq(json_str_or(spec, "failureDomain", ""), want[i].domain ? want[i].domain : "");
		ck_assert_str_eq(json_str_or(spec, "infrastructureRef.name", ""), want[i].template);
		ck_assert_str_eq(json_str_or(spec, "bootstrap.configRef.name", ""), "c1-md");
		ck_assert_str_eq(json_string_value(json_object_get(json_at(o, "spec.selector.matchLabels"),
								   "cluster.x-k8s.io/deployment-name")), want[i].name);
		ck_assert_str_eq(json_string_value(json_object_get(json_at(o, "metadata.annotations"), "pcg.dev/pool")), "md");
		ck_assert_str_eq(json_string_value(json_object_get(json_at(o, "spec.template.metadata.annotations"),
								   "pcg.dev/pool")), "md");
	}
	ck_assert_str_eq(json_str_or(sample_entry(plan, "VSphereMachineTemplate", "c1-md-2"),
				     "object.spec.template.spec.resourcePool", ""), "rp-b");
	ck_assert_ptr_nonnull(sample_entry(plan, "KubeadmConfigTemplate", "c1-md"));
	json_array_foreach (json_object_get(plan, "objects"), i, e)
		templates += strcmp(json_str_or(e, "object.kind", ""), "VSphereMachineTemplate") == 0;
	ck_assert_uint_eq(templates, 3); /* the control plane's, and two */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pools in several places");
	TCase *t = tcase_create("spread");
	SRunner *r;
	int failed;

	tcase_add_test(t, sizes_are_even_and_the_first_places_get_one_more);
	tcase_add_loop_test(t, names_are_labels_and_nobody_elses, 0, ARRAY_LEN(names));
	tcase_add_test(t, all_names_of_a_cluster_differ);
	tcase_add_test(t, a_pool_in_several_places_is_a_deployment_for_each);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
