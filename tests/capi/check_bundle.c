/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/bundle.h"
#include "host/capi/images.h"
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

	ck_assert_int_eq(capi_bundle_check(dir, "vsphere", true, &err), 0);
}
END_TEST

START_TEST(everything_that_is_missing_is_named_at_once)
{
	struct pcg_error err;

	ck_assert_int_eq(capi_bundle_check(dir, "openstack", false, &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "infrastructure-openstack"));
	ck_assert_ptr_nonnull(strstr(err.remedy, "infrastructure-components.yaml"));
	ck_assert_int_eq(capi_bundle_check("/nonexistent", "sim", false, &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "cert-manager"));
	ck_assert_ptr_nonnull(strstr(err.text, "cluster-api"));
	ck_assert_ptr_nonnull(strstr(err.text, "infrastructure-sim"));
}
END_TEST

START_TEST(provider_of_addresses_is_missed_by_who_has_static_ones)
{
	AUTO_JSON json_t *shown = NULL;
	struct pcg_error err;
	char path[512];

	snprintf(path, sizeof(path), "%s/ipam-in-cluster/v1.0.3/ipam-components.yaml", dir);
	ck_assert_int_eq(remove(path), 0);
	ck_assert_int_eq(capi_bundle_check(dir, "vsphere", false, &err), 0);
	ck_assert_int_eq(capi_bundle_check(dir, "vsphere", true, &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "ipam-in-cluster/v1.0.3/ipam-components.yaml"));
	ck_assert_ptr_nonnull(strstr(err.remedy, "IPAM provider in-cluster"));
	shown = bundle_show(dir);
	ck_assert(json_bool_or(shown, "items.5.missing", false));
	ck_assert(json_bool_or(shown, "items.5.optional", false));
	ck_assert_ptr_null(json_at(shown, "items.5.cause"));
	ck_assert_ptr_nonnull(strstr(json_str(shown, "items.5.note"), "static addresses"));
}
END_TEST

START_TEST(newest_version_without_its_file_is_no_reason_to_take_an_older_one)
{
	struct pcg_error err;

	sample_write_file(dir, "cluster-api/v1.15.0/metadata.yaml", "");
	ck_assert_int_eq(capi_bundle_check(dir, "vsphere", true, &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "v1.15.0/core-components.yaml"));
}
END_TEST

static int load(const struct bundle_options *options, const struct bundle_part *part,
		json_t **objects, json_t **inventory, struct pcg_error *err)
{
	struct manifest *m;
	int r = bundle_load(dir, options, part, &m, inventory, err);

	if (r)
		return r;
	*objects = json_incref((json_t *)(uintptr_t)manifest_objects(m));
	manifest_put(m);
	return 0;
}

START_TEST(components_are_substituted_labelled_and_tolerate_the_control_plane)
{
	AUTO_JSON json_t *v = json_pack("{s:s}", "VSPHERE_USERNAME", "admin");
	struct bundle_options options = {.provider = "vsphere"};
	AUTO_JSON json_t *objects = NULL;
	const json_t *d, *labels;
	struct pcg_error err;

	options.variables = v;
	ck_assert_int_eq(load(&options, &bundle_parts[4], &objects, NULL, &err), 0);
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

/* What differs is not shared: the text, a variable's value, where images come from, the kind. */
START_TEST(only_what_is_the_same_is_shared)
{
	AUTO_JSON json_t *v = json_pack("{s:s}", "VSPHERE_USERNAME", "admin");
	AUTO_JSON json_t *w = json_pack("{s:s}", "VSPHERE_USERNAME", "else");
	const struct bundle_options options[] = {
		{.provider = "vsphere", .variables = v},
		{.provider = "vsphere", .variables = v},
		{.provider = "vsphere", .variables = w},
		{.provider = "vsphere", .variables = v, .image_repository = "own.example"},
	};
	static const char text[] = "kind: A\n";
	struct manifest *m[6];
	struct pcg_error err;
	size_t len;

	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(bundle_load(dir, &options[i], &bundle_parts[4], &m[i], NULL, &err),
				 0);
	ck_assert_ptr_eq(m[0], m[1]);
	ck_assert_ptr_ne(m[0], m[2]);
	ck_assert_ptr_ne(m[0], m[3]);
	ck_assert_str_eq(json_str(manifest_objects(m[2]), "1.spec.template.spec.containers.0.args.1"),
			 "--who=else");
	ck_assert_int_eq(manifest_get("x", text, strlen(text), "t", NULL, &m[4], &err), 0);
	ck_assert_int_eq(manifest_get("y", text, strlen(text), "t", NULL, &m[5], &err), 0);
	ck_assert_ptr_ne(m[4], m[5]);
	ck_assert_str_eq(manifest_text(m[4], json_array_get(manifest_objects(m[4]), 0), &len), "{\"kind\":\"A\"}");
	ck_assert_uint_eq(len, strlen("{\"kind\":\"A\"}"));
	ck_assert_ptr_null(manifest_text(m[4], json_array_get(manifest_objects(m[5]), 0), &len));
	for (size_t i = 0; i < ARRAY_LEN(m); i++)
		manifest_put(m[i]);
	ck_assert_int_lt(manifest_get("x", "}", 1, "t.yaml", NULL, &m[0], &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "t.yaml"));
}
END_TEST

START_TEST(missing_variable_is_named_with_its_file)
{
	struct bundle_options options = {.provider = "vsphere"};
	AUTO_JSON json_t *objects = NULL;
	struct pcg_error err;

	ck_assert_int_eq(load(&options, &bundle_parts[4], &objects, NULL, &err),
			 PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "VSPHERE_USERNAME"));
	ck_assert_ptr_nonnull(strstr(err.text, "infrastructure-components.yaml"));
}
END_TEST

START_TEST(the_certificate_managers_file_holds_no_variables)
{
	struct bundle_options options = {.provider = "vsphere"};
	AUTO_JSON json_t *objects = NULL, *entry = NULL;
	struct pcg_error err;

	sample_write_file(dir, "cert-manager/v1.21.1/cert-manager.yaml",
			  "kind: ConfigMap\nmetadata:\n  name: a\ndata:\n  p: \"^${NO}$$\\\\d\"\n");
	ck_assert_int_eq(load(&options, &bundle_parts[0], &objects, &entry, &err), 0);
	ck_assert_str_eq(json_str(objects, "0.data.p"), "^${NO}$$\\d");
	ck_assert_str_eq(json_string_value(json_object_get(
				 json_at(objects, "0.metadata.annotations"),
				 "cert-manager.clusterctl.cluster.x-k8s.io/version")),
			 "v1.21.1");
	ck_assert_ptr_null(entry);
}
END_TEST

static const struct {
	int part;
	const char *name, *provider, *type, *ns;
} entries[] = {
	{1, "cluster-api", "cluster-api", "CoreProvider", "capi-system"},
	{2, "bootstrap-kubeadm", "kubeadm", "BootstrapProvider", "capi-kubeadm-bootstrap-system"},
	{3, "control-plane-kubeadm", "kubeadm", "ControlPlaneProvider",
	 "capi-kubeadm-control-plane-system"},
	{4, "infrastructure-vsphere", "vsphere", "InfrastructureProvider", "capv-system"},
};

START_TEST(each_provider_has_the_inventory_object_that_clusterctl_writes)
{
	AUTO_JSON json_t *v = json_pack("{s:s}", "VSPHERE_USERNAME", "");
	struct bundle_options options = {.provider = "vsphere", .variables = v};
	AUTO_JSON json_t *objects = NULL, *entry = NULL;
	struct pcg_error err;

	ck_assert_int_eq(load(&options, &bundle_parts[entries[_i].part], &objects,
				     &entry, &err),
			 0);
	ck_assert_str_eq(json_str(entry, "apiVersion"), "clusterctl.cluster.x-k8s.io/v1alpha3");
	ck_assert_str_eq(json_str(entry, "kind"), "Provider");
	ck_assert_str_eq(json_str(entry, "metadata.name"), entries[_i].name);
	ck_assert_str_eq(json_str(entry, "metadata.namespace"), entries[_i].ns);
	ck_assert_str_eq(json_str(entry, "providerName"), entries[_i].provider);
	ck_assert_str_eq(json_str(entry, "type"), entries[_i].type);
	ck_assert_str_eq(json_str(entry, "version"), _i == 3 ? "v1.17.0" : "v1.14.2");
	ck_assert_str_eq(json_string_value(json_object_get(json_at(entry, "metadata.labels"),
							   "clusterctl.cluster.x-k8s.io/core")),
			 "inventory");
}
END_TEST

static const struct {
	const char *image, *moved;
} images[] = {
	{"registry.k8s.io/cluster-api/cluster-api-controller:v1.14.2",
	 "own.example:5000/mirror/cluster-api-controller:v1.14.2"},
	{"quay.io/jetstack/cert-manager-webhook@sha256:0a1b",
	 "own.example:5000/mirror/cert-manager-webhook@sha256:0a1b"},
	{"host:5000/a/b/c:v1@sha256:0a1b", "own.example:5000/mirror/c:v1@sha256:0a1b"},
	{"plain", "own.example:5000/mirror/plain"},
};

START_TEST(images_come_from_another_repository_by_clusterctls_rule)
{
	AUTO_JSON json_t *d = json_pack("{s:s,s:{s:{s:{s:[{s:s}],s:[{s:s},{s:s}]}}}}", "kind",
					"DaemonSet", "spec", "template", "spec", "initContainers",
					"image", images[_i].image, "containers", "image",
					images[_i].image, "name", "without");
	AUTO_JSON json_t *list = json_array();

	images_move(d, "own.example:5000/mirror/");
	images_list(d, list);
	ck_assert_uint_eq(json_array_size(list), 1);
	ck_assert_str_eq(json_str(list, "0"), images[_i].moved);
	ck_assert_str_eq(json_str(d, "spec.template.spec.initContainers.0.image"),
			 images[_i].moved);
}
END_TEST

START_TEST(a_bundle_is_loaded_with_its_images_moved)
{
	AUTO_JSON json_t *v = json_pack("{s:s}", "VSPHERE_USERNAME", "");
	struct bundle_options options = {
		.provider = "vsphere", .variables = v, .image_repository = "own.example"};
	AUTO_JSON json_t *objects = NULL;
	struct pcg_error err;

	for (int i = 0; i < BUNDLE_PARTS; i++) {
		json_decref(objects);
		ck_assert_int_eq(
			load(&options, &bundle_parts[i], &objects, NULL, &err), 0);
		ck_assert_ptr_eq(strstr(json_str(json_array_get(objects, 1),
						 "spec.template.spec.containers.0.image"),
					"own.example/"),
				 json_str(json_array_get(objects, 1),
					  "spec.template.spec.containers.0.image"));
	}
}
END_TEST

START_TEST(a_bundle_is_shown_with_versions_images_variables_and_what_is_missing)
{
	AUTO_JSON json_t *shown = NULL;
	const json_t *v;
	char path[512];

	snprintf(path, sizeof(path), "%s/cluster-api/v1.14.2/core-components.yaml", dir);
	ck_assert_int_eq(remove(path), 0);
	shown = bundle_show(dir);
	ck_assert_uint_eq(json_array_size(json_object_get(shown, "items")), 6);
	ck_assert_str_eq(json_str(shown, "items.0.version"), "v1.21.1");
	ck_assert_str_eq(json_str(shown, "items.0.images.0"), "registry.example/cert-manager");
	ck_assert_uint_eq(json_array_size(json_at(shown, "items.0.variables")), 0);
	ck_assert(json_bool_or(shown, "items.1.missing", false));
	ck_assert_ptr_nonnull(strstr(json_str(shown, "items.1.from"), "Cluster API release"));
	ck_assert_str_eq(json_str(shown, "items.4.component"), "infrastructure-vsphere");
	v = json_at(shown, "items.4.variables");
	ck_assert_str_eq(json_str(v, "0.name"), "LEVEL");
	ck_assert_str_eq(json_str(v, "0.default"), "2");
	ck_assert_str_eq(json_str(v, "1.name"), "VSPHERE_USERNAME");
	ck_assert_ptr_null(json_str(v, "1.default"));
	json_decref(TAKE(shown));
	shown = bundle_show("/nonexistent");
	ck_assert_uint_eq(json_array_size(json_object_get(shown, "items")), 6);
	ck_assert(json_bool_or(shown, "items.4.missing", false));
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
	tcase_add_test(t, provider_of_addresses_is_missed_by_who_has_static_ones);
	tcase_add_test(t, newest_version_without_its_file_is_no_reason_to_take_an_older_one);
	tcase_add_test(t, components_are_substituted_labelled_and_tolerate_the_control_plane);
	tcase_add_test(t, only_what_is_the_same_is_shared);
	tcase_add_test(t, missing_variable_is_named_with_its_file);
	tcase_add_test(t, the_certificate_managers_file_holds_no_variables);
	tcase_add_loop_test(t, each_provider_has_the_inventory_object_that_clusterctl_writes, 0,
			    ARRAY_LEN(entries));
	tcase_add_loop_test(t, images_come_from_another_repository_by_clusterctls_rule, 0,
			    ARRAY_LEN(images));
	tcase_add_test(t, a_bundle_is_loaded_with_its_images_moved);
	tcase_add_test(t, a_bundle_is_shown_with_versions_images_variables_and_what_is_missing);
	tcase_add_loop_test(t, tolerations_are_read_as_the_scheduler_does, 0,
			    ARRAY_LEN(tolerations));
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
