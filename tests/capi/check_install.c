/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/rig.h"
#include "tests/capi/sample.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char cni[] = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata:\n  name: cni\n  "
			  "namespace: kube-system\nspec: {}\n";
static const char addon[] =
	"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: addon\n  namespace: "
	"kube-system\nspec:\n  replicas: 1\n"
	"  template:\n    metadata:\n      labels: {a: b}\n    spec: {containers: []}\n---\n"
	"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text\ndata:\n  a: \"${NOT_A_VARIABLE} "
	"{{ x }}\"\n";

static char *dir;

static const char kube_proxy[] =
	"/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy";

static void setup(void)
{
	rig_setup();
	fake_api_put(rig.api, kube_proxy,
		     json_pack("{s:s,s:s,s:{s:s,s:s}}", "apiVersion", "apps/v1", "kind", "DaemonSet",
			       "metadata", "namespace", "kube-system", "name", "kube-proxy"));
	dir = sample_folder();
	sample_bundle(dir);
}

static void teardown(void)
{
	sample_remove(dir);
	free(dir);
	rig_teardown();
}

static json_t *input(void)
{
	return json_pack("{s:[{s:s,s:s,s:[{s:s,s:s}]},{s:s,s:s,s:[{s:s,s:s}]}],s:s,s:s,s:{}}",
			 "layers", "layer", "addon", "name", "addons", "manifests", "name", "a",
			 "content", addon, "layer", "cni", "name", "network", "manifests", "name",
			 "c", "content", cni, "bundle", dir, "provider", "vsphere", "variables");
}

static bool install(const json_t *in)
{
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_install(fake_api_kube(rig.api), in, &cb));
}

/* The controllers start beside each other; everything else waits for what is before it. */
START_TEST(stages_come_in_order_each_available_before_what_needs_it)
{
	static const char *const lines[] = {"available kube-proxy",
					    "installing network",
					    "available network",
					    "installing cert-manager",
					    "available cert-manager",
					    "installing cluster-api",
					    "installing bootstrap-kubeadm",
					    "installing control-plane-kubeadm",
					    "installing infrastructure-vsphere",
					    "available cluster-api",
					    "available bootstrap-kubeadm",
					    "available control-plane-kubeadm",
					    "available infrastructure-vsphere",
					    "installing inventory",
					    "available inventory",
					    "installing addons",
					    "available addons"};
	AUTO_JSON json_t *in = input();
	size_t i, line = 0;
	json_t *v;

	ck_assert_msg(install(in), "%s", rig.err.text);
	json_array_foreach (rig.progress, i, v) {
		const char *said = json_string_value(v);

		if (strncmp(said, "installing ", 11) && strncmp(said, "available ", 10))
			continue;
		ck_assert_uint_lt(line, ARRAY_LEN(lines));
		ck_assert_str_eq(said, lines[line++]);
	}
	ck_assert_uint_eq(line, ARRAY_LEN(lines));
}
END_TEST

START_TEST(a_cluster_without_kube_proxy_gets_its_network_all_the_same)
{
	AUTO_JSON json_t *in = input();

	ck_assert_int_eq(fake_api_request(rig.api, "DELETE", kube_proxy, NULL, NULL), 200);
	json_object_set_new(in, "servicesMs", json_integer(50));
	ck_assert_msg(install(in), "%s", rig.err.text);
	ck_assert(!rig_progressed("available kube-proxy"));
	ck_assert(rig_progressed("available network"));
}
END_TEST

START_TEST(components_are_sent_substituted_and_profiles_as_they_stand)
{
	AUTO_JSON json_t *in = input();
	const json_t *d;

	ck_assert_msg(install(in), "%s", rig.err.text);
	d = fake_api_get(rig.api,
			 "/apis/apps/v1/namespaces/capv-system/deployments/capv-system-manager");
	ck_assert_ptr_nonnull(d);
	ck_assert_str_eq(json_str(d, "spec.template.spec.containers.0.args.0"), "--level=2");
	ck_assert_str_eq(json_str(d, "spec.template.spec.containers.0.args.1"), "--who=");
	ck_assert_str_eq(json_str(d, "spec.template.spec.tolerations.0.key"),
			 "node-role.kubernetes.io/control-plane");
	d = fake_api_get(rig.api, "/api/v1/namespaces/default/configmaps/text");
	ck_assert_str_eq(json_str(d, "data.a"), "${NOT_A_VARIABLE} {{ x }}");
	d = fake_api_get(rig.api, "/apis/apps/v1/namespaces/kube-system/deployments/addon");
	ck_assert_ptr_null(json_at(d, "spec.template.spec.tolerations"));
	ck_assert_ptr_null(fake_api_get(rig.api, "/api/v1/namespaces/old"));
}
END_TEST

START_TEST(clusterctl_would_know_the_components)
{
	AUTO_JSON json_t *in = input();
	const json_t *p;

	ck_assert_msg(install(in), "%s", rig.err.text);
	p = fake_api_get(rig.api, "/apis/clusterctl.cluster.x-k8s.io/v1alpha3/namespaces/"
				  "capv-system/providers/infrastructure-vsphere");
	ck_assert_str_eq(json_str(p, "version"), "v1.17.0");
	ck_assert_ptr_nonnull(fake_api_get(
		rig.api, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
			 "providers.clusterctl.cluster.x-k8s.io"));
}
END_TEST

START_TEST(images_come_from_the_sites_own_repository)
{
	AUTO_JSON json_t *in = input();
	const json_t *d;

	json_object_set_new(in, "imageRepository", json_string("own.example/mirror"));
	ck_assert_msg(install(in), "%s", rig.err.text);
	d = fake_api_get(rig.api,
			 "/apis/apps/v1/namespaces/capv-system/deployments/capv-system-manager");
	ck_assert_str_eq(json_str(d, "spec.template.spec.containers.0.image"),
			 "own.example/mirror/capv-system");
	d = fake_api_get(rig.api, "/apis/apps/v1/namespaces/kube-system/deployments/addon");
	ck_assert_ptr_null(strstr(json_str_or(d, "spec.template.spec.containers.0.image", ""),
				  "own.example"));
}
END_TEST

static size_t count_progress(const char *prefix)
{
	json_t *v;
	size_t i, n = 0;

	json_array_foreach (rig.progress, i, v)
		n += !strncmp(json_string_value(v), prefix, strlen(prefix));
	return n;
}

START_TEST(installing_again_arrives_at_the_same)
{
	AUTO_JSON json_t *in = input();
	size_t n, told;

	ck_assert(install(in));
	n = fake_api_count(rig.api);
	ck_assert(install(in));
	ck_assert_uint_eq(fake_api_count(rig.api), n);
	told = count_progress("applied ");
	/* It is told of no object, as none is changed any more. */
	ck_assert(install(in));
	ck_assert_uint_eq(fake_api_count(rig.api), n);
	ck_assert_uint_gt(told, 0);
	ck_assert_uint_eq(count_progress("applied "), told);
}
END_TEST

START_TEST(nothing_is_sent_when_a_file_is_wrong)
{
	AUTO_JSON json_t *in = input();

	sample_write_file(dir, "infrastructure-vsphere/v1.17.0/infrastructure-components.yaml",
			  "a: ${NEEDED}\n");
	ck_assert(!install(in));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_PERMANENT);
	ck_assert_ptr_nonnull(strstr(rig.err.text, "NEEDED"));
	ck_assert_int_eq(fake_api_requests(rig.api), 0);
	sample_write_file(dir, "infrastructure-vsphere/v1.17.0/infrastructure-components.yaml",
			  "a: [\n");
	ck_assert(!install(in));
	ck_assert_ptr_nonnull(strstr(rig.err.text, "infrastructure-components.yaml"));
	sample_bundle(dir);
	json_put(json_array_get(json_object_get(in, "layers"), 0), "manifests",
		 json_pack("[{s:s,s:s}]", "name", "bad", "content", "}"));
	ck_assert(!install(in));
	ck_assert_ptr_nonnull(strstr(rig.err.text, "addons"));
	ck_assert_int_eq(fake_api_requests(rig.api), 0);
}
END_TEST

static const struct {
	const char *content, *says; /* NULL: it is good */
} layer_rows[] = {
	{addon, NULL},
	{"", NULL},
	{"kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n---\nkind: List\napiVersion: v1\nitems: []\n", NULL},
	{"kind: ConfigMap\nmetadata: {name: a}\n", "lacks apiVersion, kind or metadata.name"},
	{"kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Secret}\n", "lacks apiVersion"},
	{"- a\n", "lacks apiVersion"},
	{"apiVersion: v1\nkind: ConfigMap\nkind: Secret\n", "stands twice"},
	{"a:\n\tb: 1\n", "line 2"},
};

START_TEST(layers_that_cannot_be_installed_are_told_without_a_cluster)
{
	AUTO_JSON json_t *in = input(), *layers = json_incref(json_object_get(in, "layers"));
	json_t *layer = json_array_get(layers, (size_t)_i % 2);
	struct pcg_error err;
	int r;

	json_put(layer, "manifests", json_pack("[{s:s,s:s}]", "name", "m", "content", layer_rows[_i].content));
	r = capi_layers_check(layers, &err);
	if (!layer_rows[_i].says) {
		ck_assert_msg(!r, "%s", err.text);
		return;
	}
	ck_assert_int_ne(r, 0);
	ck_assert_int_eq(err.class, PCG_CLASS_PERMANENT);
	ck_assert_msg(strstr(err.text, layer_rows[_i].says) && strstr(err.text, json_str(layer, "name")), "%s", err.text);
	ck_assert_str_ne(err.remedy, "");
}
END_TEST

START_TEST(cancelled_at_any_time_it_never_calls_back)
{
	AUTO_JSON json_t *in = input();
	struct capi_callbacks cb = rig_callbacks();

	for (int turns = 0; turns < 40; turns += 3) {
		struct capi_op *op = capi_install(fake_api_kube(rig.api), in, &cb);

		rig.done = 0;
		rig_turn(turns);
		if (rig.done)
			break;
		capi_op_cancel(op);
		rig_turn(20);
		ck_assert_int_eq(rig.done, 0);
	}
}
END_TEST

static const char *text_at_hand(void *arg, const json_t *object, size_t *len)
{
	const char *text = arg;

	*len = strlen(text);
	return strcmp(json_str_or(object, "metadata.name", ""), "a") == 0 ? text : NULL;
}

static void on_applied(void *arg, const struct pcg_error *err)
{
	ck_assert_msg(!err, "%s", err ? err->text : "");
	rig.done++;
}

/* Of what many clusters are given; the object itself says only where it goes. */
START_TEST(a_text_that_is_at_hand_is_what_is_sent)
{
	static char text[] = "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"},"
			     "\"data\":{\"from\":\"text\"}}";
	AUTO_JSON json_t *list = json_pack("[{s:s,s:s,s:{s:s}},{s:s,s:s,s:{s:s},s:{s:s}}]", "apiVersion", "v1",
					   "kind", "ConfigMap", "metadata", "name", "a", "apiVersion", "v1", "kind",
					   "ConfigMap", "metadata", "name", "b", "data", "from", "object");
	struct kube_apply_spec spec = {.objects = list, .text = text_at_hand, .done = on_applied, .arg = text};

	rig.done = 0;
	kube_apply(fake_api_kube(rig.api), &spec);
	while (!rig.done)
		uv_run(&rig.loop, UV_RUN_ONCE);
	ck_assert_str_eq(json_str_or(fake_api_get(rig.api, "/api/v1/namespaces/default/configmaps/a"),
				     "data.from", ""), "text");
	ck_assert_str_eq(json_str_or(fake_api_get(rig.api, "/api/v1/namespaces/default/configmaps/b"),
				     "data.from", ""), "object");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capi install");
	TCase *t = tcase_create("install");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, stages_come_in_order_each_available_before_what_needs_it);
	tcase_add_test(t, a_cluster_without_kube_proxy_gets_its_network_all_the_same);
	tcase_add_test(t, components_are_sent_substituted_and_profiles_as_they_stand);
	tcase_add_test(t, clusterctl_would_know_the_components);
	tcase_add_test(t, images_come_from_the_sites_own_repository);
	tcase_add_test(t, installing_again_arrives_at_the_same);
	tcase_add_test(t, nothing_is_sent_when_a_file_is_wrong);
	tcase_add_loop_test(t, layers_that_cannot_be_installed_are_told_without_a_cluster, 0, ARRAY_LEN(layer_rows));
	tcase_add_test(t, a_text_that_is_at_hand_is_what_is_sent);
	tcase_add_test(t, cancelled_at_any_time_it_never_calls_back);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
