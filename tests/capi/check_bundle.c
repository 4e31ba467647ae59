/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/bundle.h"
#include "host/capi/capi.h"
#include "tests/capi/sample.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char *const order[] = {
	"v0.9.9",        "1.0.0-alpha",    "1.0.0-alpha.1", "v1.0.0-alpha.beta",
	"v1.0.0-beta.2", "v1.0.0-beta.11", "v1.0.0-rc.1",   "v1.0.0",
	"v1.9.1",        "v1.10.0",        "v1.21.1",       "v2.0.0-rc.0+36",
};

START_TEST(versions_are_ordered_as_semver_does)
{
	bool ok;

	for (size_t a = 0; a < ARRAY_LEN(order); a++)
		for (size_t b = 0; b < ARRAY_LEN(order); b++) {
			int c = bundle_version_compare(order[a], order[b], &ok);

			ck_assert(ok);
			ck_assert_msg((c < 0) == (a < b) && (c > 0) == (a > b), "%s %s: %d",
				      order[a], order[b], c);
		}
}
END_TEST

START_TEST(what_is_no_version_is_said_to_be_none)
{
	static const char *const bad[] = {"",       "v1",      "v1.2",    "latest",
					  "v1.2.x", "1.2.3.4", "v1.2.3-", ".."};
	bool ok;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		bundle_version_compare(bad[i], "v1.0.0", &ok);
		ck_assert_msg(!ok, "%s", bad[i]);
	}
}
END_TEST

static char *dir;

static void setup(void)
{
	dir = sample_folder();
	sample_bundle(dir);
}

static void teardown(void)
{
	sample_remove(dir);
	free(dir);
}

START_TEST(newest_version_is_taken)
{
	char *path = NULL, *version = NULL;
	struct pcg_error err;

	ck_assert_int_eq(bundle_find(dir, "vsphere", &bundle_parts[0], &path, &version, &err), 0);
	ck_assert_str_eq(version, "v1.21.1");
	ck_assert_ptr_nonnull(strstr(path, "/cert-manager/v1.21.1/cert-manager.yaml"));
	free(path);
	free(version);
}
END_TEST

START_TEST(complete_bundle_has_nothing_missing)
{
	struct pcg_error err;

	ck_assert_int_eq(capi_bundle_check(dir, "vsphere", &err), 0);
}
END_TEST

START_TEST(everything_that_is_missing_is_named_at_once)
{
	struct pcg_error err;

	ck_assert_int_eq(capi_bundle_check(dir, "openstack", &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "infrastructure-openstack"));
	ck_assert_ptr_nonnull(strstr(err.remedy, "infrastructure-components.yaml"));
	ck_assert_int_eq(capi_bundle_check("/nonexistent", "sim", &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "cert-manager"));
	ck_assert_ptr_nonnull(strstr(err.text, "cluster-api"));
	ck_assert_ptr_nonnull(strstr(err.text, "infrastructure-sim"));
}
END_TEST

START_TEST(newest_version_without_its_file_is_no_reason_to_take_an_older_one)
{
	struct pcg_error err;

	sample_write_file(dir, "cluster-api/v1.15.0/metadata.yaml", "");
	ck_assert_int_eq(capi_bundle_check(dir, "vsphere", &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "v1.15.0/core-components.yaml"));
}
END_TEST

START_TEST(components_are_substituted_labelled_and_tolerate_the_control_plane)
{
	AUTO_JSON json_t *v = json_pack("{s:s}", "VSPHERE_USERNAME", "admin");
	AUTO_JSON json_t *objects = NULL;
	const json_t *d, *labels;
	struct pcg_error err;

	ck_assert_int_eq(bundle_load(dir, "vsphere", &bundle_parts[4], v, &objects, &err), 0);
	ck_assert_uint_eq(json_array_size(objects), 2);
	d = json_array_get(objects, 1);
	ck_assert_str_eq(json_str(d, "spec.template.spec.containers.0.args.0"), "--level=2");
	ck_assert_str_eq(json_str(d, "spec.template.spec.containers.0.args.1"), "--who=admin");
	labels = json_at(d, "metadata.labels");
	ck_assert_str_eq(json_string_value(json_object_get(labels, "cluster.x-k8s.io/provider")),
			 "infrastructure-vsphere");
	ck_assert_str_eq(json_string_value(json_object_get(labels, "clusterctl.cluster.x-k8s.io")),
			 "");
	ck_assert_str_eq(json_str(d, "spec.template.spec.tolerations.0.key"),
			 "node-role.kubernetes.io/control-plane");
	ck_assert(bundle_tolerates(d));
}
END_TEST

START_TEST(missing_variable_is_named_with_its_file)
{
	AUTO_JSON json_t *objects = NULL;
	struct pcg_error err;

	ck_assert_int_eq(bundle_load(dir, "vsphere", &bundle_parts[4], NULL, &objects, &err),
			 PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "VSPHERE_USERNAME"));
	ck_assert_ptr_nonnull(strstr(err.text, "infrastructure-components.yaml"));
}
END_TEST

static const struct {
	const char *toleration;
	bool tolerates;
} tolerations[] = {
	{"{\"operator\":\"Exists\"}", true},
	{"{\"operator\":\"Exists\",\"effect\":\"NoSchedule\"}", true},
	{"{\"operator\":\"Exists\",\"effect\":\"NoExecute\"}", false},
	{"{\"key\":\"node-role.kubernetes.io/control-plane\"}", true},
	{"{\"key\":\"node-role.kubernetes.io/master\",\"effect\":\"NoSchedule\"}", false},
};

START_TEST(tolerations_are_read_as_the_scheduler_does)
{
	struct pcg_error err;
	json_t *one = NULL;
	AUTO_JSON json_t *d = NULL;

	ck_assert_int_eq(json_parse(tolerations[_i].toleration, strlen(tolerations[_i].toleration),
				    "t", &one, &err),
			 0);
	d = json_pack("{s:{s:{s:{s:[o]}}}}", "spec", "template", "spec", "tolerations", one);
	ck_assert_int_eq(bundle_tolerates(d), tolerations[_i].tolerates);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capi bundle");
	TCase *t = tcase_create("bundle");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, versions_are_ordered_as_semver_does);
	tcase_add_test(t, what_is_no_version_is_said_to_be_none);
	tcase_add_test(t, newest_version_is_taken);
	tcase_add_test(t, complete_bundle_has_nothing_missing);
	tcase_add_test(t, everything_that_is_missing_is_named_at_once);
	tcase_add_test(t, newest_version_without_its_file_is_no_reason_to_take_an_older_one);
	tcase_add_test(t, components_are_substituted_labelled_and_tolerate_the_control_plane);
	tcase_add_test(t, missing_variable_is_named_with_its_file);
	tcase_add_loop_test(t, tolerations_are_read_as_the_scheduler_does, 0,
			    ARRAY_LEN(tolerations));
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
