/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/document.h"

#include "plane/cluster_request.h"

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(knows_a_kubernetes_version_from_a_pack_tag)
{
	static const struct {
		const char *tag, *version;
	} cases[] = {
		{ "1.36.3", "v1.36.3" }, { "v1.34.4", "v1.34.4" }, { "1.36", NULL },   { "1.36.x", NULL },
		{ "1.36.3-rc1", NULL },  { "", NULL },		   { "-1.2.3", NULL }, { "latest", NULL },
		{ "1.36.3 ", NULL },	 { "0.1.2", NULL },
	};
	char out[32];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool good = document_kubernetes_version(cases[i].tag, out);

		ck_assert_msg(good == (cases[i].version != NULL), "%s", cases[i].tag);
		if (good)
			ck_assert_str_eq(out, cases[i].version);
	}
	ck_assert(!document_kubernetes_version(NULL, out));
}
END_TEST

START_TEST(finds_the_layer_of_a_pack_by_what_it_says_or_by_its_name)
{
	static const struct {
		const char *pack, *layer;
	} cases[] = {
		{ "{\"name\":\"x\",\"layer\":\"cni\"}", "cni" },
		{ "{\"name\":\"x\",\"layer\":\"cloud-provider\"}", "cloud-provider" },
		{ "{\"name\":\"kubernetes\"}", "k8s" },
		{ "{\"name\":\"ubuntu-vsphere\"}", "os" },
		{ "{\"name\":\"cni-calico\"}", "cni" },
		{ "{\"name\":\"csi-vsphere-csi\"}", "csi" },
		{ "{\"name\":\"anything\"}", "addon" },
		{ "{\"name\":\"kubernetes-dashboard\",\"layer\":\"addon\"}", "addon" },
	};
	struct pcg_error err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_JSON json_t *pack = NULL;

		ck_assert_int_eq(json_parse(cases[i].pack, strlen(cases[i].pack), "pack", &pack, &err), 0);
		ck_assert_str_eq(document_layer(pack), cases[i].layer);
	}
}
END_TEST

START_TEST(puts_variables_in_and_names_those_without_a_value)
{
	static const struct {
		const char *text, *want;
		size_t problems;
	} cases[] = {
		{ "a: {{.spectro.var.ONE}}", "a: 1", 0 },
		{ "a: {{ .spectro.var.ONE }}{{.spectro.var.ONE}}", "a: 11", 0 },
		{ "{{.spectro.var.TWO}}", "", 1 },
		{ "{{ .Values.x }} and {{", "{{ .Values.x }} and {{", 0 },
		{ "{{.spectro.var.ONE", "{{.spectro.var.ONE", 0 },
		{ "", "", 0 },
	};
	AUTO_JSON json_t *vars = json_pack("{s:s}", "ONE", "1");

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_JSON json_t *problems = json_array();
		AUTO_FREE char *out = document_substitute(cases[i].text, vars, "f", problems);

		ck_assert_str_eq(out, cases[i].want);
		ck_assert_uint_eq(json_array_size(problems), cases[i].problems);
	}
}
END_TEST

static json_t *build(const char *packs_text, const char *dir, json_t *problems, const json_t **os)
{
	json_t *doc = json_pack("{s:{},s:[]}", "kubeadmConfig", "layers");
	json_t *packs = NULL;
	struct pcg_error err;

	ck_assert_msg(json_parse(packs_text, strlen(packs_text), "packs", &packs, &err) == 0, "%s", err.text);
	document_add_packs(dir, packs, doc, problems, os);
	json_decref(packs);
	return doc;
}

START_TEST(values_of_the_base_layers_become_settings_of_the_cluster)
{
	static const char packs[] =
		"[{\"name\":\"ubuntu\",\"layer\":\"os\",\"tag\":\"22.04\",\"values\":"
		"\"kubeadmconfig:\\n  preKubeadmCommands:\\n  - first\\n  files:\\n  - targetPath: /etc/a\\n    content: x\\n\"},"
		"{\"name\":\"kubernetes\",\"layer\":\"k8s\",\"tag\":\"1.36.3\",\"values\":"
		"\"pack:\\n  podCIDR: 10.1.0.0/16\\n  serviceClusterIpRange: 10.2.0.0/16\\nkubeadmconfig:\\n  apiServer:\\n    "
		"extraArgs:\\n      secure-port: 6443\\n      profiling: false\\n    extraVolumes:\\n    - name: audit\\n      hostPath: /a\\n      "
		"mountPath: /b\\n      readOnly: true\\n  preKubeadmCommands:\\n  - second\\n\"}]";
	AUTO_JSON json_t *problems = json_array();
	const json_t *os;
	AUTO_JSON json_t *doc = build(packs, NULL, problems, &os);

	ck_assert_uint_eq(json_array_size(problems), 0);
	ck_assert_str_eq(json_str(doc, "podCIDR"), "10.1.0.0/16");
	ck_assert_str_eq(json_str(doc, "serviceCIDR"), "10.2.0.0/16");
	ck_assert_str_eq(json_str(doc, "kubernetesVersion"), "v1.36.3");
	ck_assert_str_eq(json_str(doc, "kubeadmConfig.apiServer.extraArgs.secure-port"), "6443");
	ck_assert_str_eq(json_str(doc, "kubeadmConfig.apiServer.extraArgs.profiling"), "false");
	ck_assert_str_eq(json_str(doc, "kubeadmConfig.apiServer.extraVolumes.0.mountPath"), "/b");
	ck_assert(json_bool_or(doc, "kubeadmConfig.apiServer.extraVolumes.0.readOnly", false));
	ck_assert_str_eq(json_str(doc, "kubeadmConfig.preKubeadmCommands.0"), "first");
	ck_assert_str_eq(json_str(doc, "kubeadmConfig.preKubeadmCommands.1"), "second");
	ck_assert_str_eq(json_str(doc, "kubeadmConfig.files.0.targetOwner"), "root:root");
}
END_TEST

START_TEST(what_a_profile_says_and_no_cluster_is_given_is_listed)
{
	static const char packs[] =
		"[{\"name\":\"kubernetes\",\"layer\":\"k8s\",\"tag\":\"1.36.3\",\"values\":"
		"\"kubeadmconfig:\\n  etcd:\\n    local: {}\\n  preKubeadmCommand:\\n  - one\\n  imageRepository: r\\n  postKubeadmCommands: two\\n  scheduler:\\n    extraArgs: three\\n  "
		"files: []\\n  "
		"dns:\\n  apiServer:\\n    timeoutForControlPlane: 4m\\n    extraArgs:\\n    - name: profiling\\n      value: no\\n    "
		"- name: odd\\n      value: [1]\\n\"}]";
	AUTO_JSON json_t *problems = json_array(), *want = json_pack("[s,s,s,s,s,s]", "etcd", "preKubeadmCommand",
								     "apiServer.timeoutForControlPlane", "apiServer.extraArgs.odd",
								     "scheduler.extraArgs", "postKubeadmCommands");
	const json_t *os;
	AUTO_JSON json_t *doc = build(packs, NULL, problems, &os);

	ck_assert_uint_eq(json_array_size(problems), 0);
	ck_assert_msg(json_equal(json_at(doc, "kubeadmConfig.ignored"), want), "%s",
		      json_dumps(json_at(doc, "kubeadmConfig.ignored"), JSON_ENCODE_ANY));
	ck_assert_str_eq(json_str(doc, "kubeadmConfig.apiServer.extraArgs.profiling"), "false");
	ck_assert_str_eq(json_str(doc, "kubeadmConfig.imageRepository"), "r");
}
END_TEST

START_TEST(layers_are_in_the_order_in_which_they_are_applied)
{
	static const char packs[] =
		"[{\"name\":\"kubernetes\",\"tag\":\"1.36.3\"},{\"name\":\"a\",\"type\":\"manifest\",\"manifests\":[]},"
		"{\"name\":\"s\",\"layer\":\"csi\",\"type\":\"manifest\"},{\"name\":\"p\",\"layer\":\"cloud-provider\",\"type\":"
		"\"manifest\"},{\"name\":\"n\",\"layer\":\"cni\",\"type\":\"manifest\",\"manifests\":[{\"name\":\"m\",\"content\":\"c: "
		"1\"}]}]";
	AUTO_JSON json_t *problems = json_array();
	const json_t *os;
	AUTO_JSON json_t *doc = build(packs, NULL, problems, &os);

	ck_assert_str_eq(json_str(doc, "layers.0.layer"), "cni");
	ck_assert_str_eq(json_str(doc, "layers.0.manifests.0.content"), "c: 1");
	ck_assert_str_eq(json_str(doc, "layers.1.layer"), "cloud-provider");
	ck_assert_str_eq(json_str(doc, "layers.2.layer"), "csi");
	ck_assert_str_eq(json_str(doc, "layers.3.layer"), "addon");
}
END_TEST

static bool has_problem(const json_t *problems, const char *part)
{
	const json_t *problem;
	size_t i;

	json_array_foreach((json_t *)problems, i, problem)
		if (strstr(json_str_or(problem, "text", ""), part) && *json_str_or(problem, "remedy", ""))
			return true;
	return false;
}

START_TEST(what_is_missing_is_named_with_a_remedy)
{
	static const struct {
		const char *packs, *text;
	} cases[] = {
		{ "[]", "layer 'k8s'" },
		{ "[{\"name\":\"kubernetes\",\"tag\":\"1.36.x\"}]", "'1.36.x' is not a Kubernetes version" },
		{ "[{\"name\":\"kubernetes\",\"tag\":\"1.36.3\"},{\"name\":\"kubernetes-b\",\"layer\":\"k8s\",\"tag\":\"1.35.0\"}]",
		  "a second layer 'k8s'" },
		{ "[{\"name\":\"kubernetes\",\"tag\":\"1.36.3\",\"values\":\"a: [\"}]", "not YAML" },
		{ "[{\"name\":\"calico\",\"layer\":\"cni\",\"tag\":\"3.30\"}]", "calico 3.30 is not in" },
		{ "[{\"name\":\"../../etc\",\"layer\":\"cni\",\"tag\":\"x\"}]", "is not in the plane's pack folder" },
		{ "[{\"name\":\"ubuntu\",\"layer\":\"os\",\"values\":\"kubeadmconfig:\\n  files:\\n  - targetPath: etc/a\\n\"}]",
		  "not absolute" },
		{ "[{\"name\":\"ubuntu\",\"layer\":\"os\",\"values\":\"kubeadmconfig:\\n  files:\\n  - targetPath: /etc/a\\n\"}]",
		  "/etc/a has no content" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_JSON json_t *problems = json_array();
		const json_t *os;
		AUTO_JSON json_t *doc = build(cases[i].packs, "/nonexistent", problems, &os);

		ck_assert_msg(has_problem(problems, cases[i].text), "%s: %s", cases[i].text, json_text(problems));
	}
}
END_TEST

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(a_pack_from_the_folder_gives_its_manifests_in_the_order_of_their_names)
{
	char dir[] = "/tmp/check_document.XXXXXX", path[128];
	AUTO_JSON json_t *problems = json_array();
	const json_t *os;
	json_t *doc;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/net", dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/net/1.0", dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/net/1.0/b.yaml", dir);
	write_file(path, "b: 1\n");
	snprintf(path, sizeof(path), "%s/net/1.0/a.yaml", dir);
	write_file(path, "a: 1\n");
	snprintf(path, sizeof(path), "%s/net/1.0/README", dir);
	write_file(path, "no manifest");
	doc = build("[{\"name\":\"kubernetes\",\"tag\":\"1.36.3\"},{\"name\":\"net\",\"tag\":\"1.0\",\"layer\":\"cni\"}]", dir,
		    problems, &os);
	ck_assert_uint_eq(json_array_size(problems), 0);
	ck_assert_uint_eq(json_array_size(json_at(doc, "layers.0.manifests")), 2);
	ck_assert_str_eq(json_str(doc, "layers.0.manifests.0.content"), "a: 1\n");
	json_decref(doc);
	/* Without one of its files it is another pack. */
	snprintf(path, sizeof(path), "%s/net/1.0/c.yaml", dir);
	write_file(path, "c: \xff\n");
	snprintf(path, sizeof(path), "%s/net/1.0/d.yaml", dir);
	ck_assert_int_eq(symlink("nowhere", path), 0);
	doc = build("[{\"name\":\"kubernetes\",\"tag\":\"1.36.3\"},{\"name\":\"net\",\"tag\":\"1.0\",\"layer\":\"cni\"}]", dir,
		    problems, &os);
	ck_assert(has_problem(problems, "/net/1.0/c.yaml: it is not UTF-8 text"));
	ck_assert(has_problem(problems, "/net/1.0/d.yaml: No such file"));
	ck_assert_uint_eq(json_array_size(problems), 2);
	json_decref(doc);
	snprintf(path, sizeof(path), "rm -rf %s", dir);
	ck_assert_int_eq(system(path), 0);
}
END_TEST

static const char good[] =
	"{\"metadata\":{\"name\":\"c\"},\"spec\":{\"cloudAccountUid\":\"a\",\"cloudConfig\":{\"placement\":{\"datacenter\":\"d\"}},"
	"\"machinepoolconfig\":[{\"poolConfig\":{\"name\":\"cp\",\"size\":3,\"isControlPlane\":true},\"cloudConfig\":{"
	"\"instanceType\":{\"numCPUs\":2,\"memoryMiB\":4096,\"diskGiB\":20}}}]}}";

START_TEST(takes_a_good_request_and_names_every_wrong_member_of_a_bad_one)
{
	static const struct {
		const char *path, *value, *field;
	} cases[] = {
		{ "metadata.name", "\"Caps\"", "metadata.name" },
		{ "spec.cloudAccountUid", "\"\"", "spec.cloudAccountUid" },
		{ "spec.cloudConfig", "[]", "spec.cloudConfig" },
		{ "spec.cloudConfig.placement", "null", "spec.cloudConfig.placement" },
		{ "spec.cloudConfig.sshKeys", "[1]", "spec.cloudConfig.sshKeys" },
		{ "spec.cloudConfig.controlPlaneEndpoint", "{\"type\":\"X\"}", "spec.cloudConfig.controlPlaneEndpoint.type" },
		{ "spec.profiles", "[{}]", "spec.profiles" },
		{ "spec.machinepoolconfig", "{}", "spec.machinepoolconfig" },
		{ "spec.machinepoolconfig.0.poolConfig.size", "4", "spec.machinepoolconfig.0" },
		{ "spec.machinepoolconfig.0.poolConfig.isControlPlane", "false", "spec.machinepoolconfig" },
		{ "spec.machinepoolconfig.0.poolConfig.taints", "[{\"key\":\"a\"}]", "spec.machinepoolconfig.0" },
		{ "spec.machinepoolconfig.0.cloudConfig.instanceType", "{}", "spec.machinepoolconfig.0" },
	};
	struct pcg_error err;

	for (size_t i = 0; i <= ARRAY_LEN(cases); i++) {
		AUTO_JSON json_t *fields = json_array();
		AUTO_JSON json_t *body = NULL;
		json_t *value = NULL, *parent;
		char path[128];

		ck_assert_int_eq(json_parse(good, strlen(good), "good", &body, &err), 0);
		if (i < ARRAY_LEN(cases)) {
			ck_assert_int_eq(json_parse(cases[i].value, strlen(cases[i].value), "value", &value, &err), 0);
			snprintf(path, sizeof(path), "%s", cases[i].path);
			*strrchr(path, '.') = 0;
			parent = json_at(body, path);
			json_object_set_new(parent, strrchr(cases[i].path, '.') + 1, value);
		}
		cluster_request_check("vsphere", body, fields);
		if (i == ARRAY_LEN(cases)) {
			ck_assert_uint_eq(json_array_size(fields), 0);
			break;
		}
		ck_assert_msg(json_array_size(fields) >= 1, "%s", cases[i].path);
		ck_assert_str_eq(json_str(json_array_get(fields, 0), "field"), cases[i].field);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("document");
	TCase *t = tcase_create("pure");
	SRunner *r;
	int failed;

	tcase_add_test(t, knows_a_kubernetes_version_from_a_pack_tag);
	tcase_add_test(t, finds_the_layer_of_a_pack_by_what_it_says_or_by_its_name);
	tcase_add_test(t, puts_variables_in_and_names_those_without_a_value);
	tcase_add_test(t, values_of_the_base_layers_become_settings_of_the_cluster);
	tcase_add_test(t, what_a_profile_says_and_no_cluster_is_given_is_listed);
	tcase_add_test(t, layers_are_in_the_order_in_which_they_are_applied);
	tcase_add_test(t, what_is_missing_is_named_with_a_remedy);
	tcase_add_test(t, a_pack_from_the_folder_gives_its_manifests_in_the_order_of_their_names);
	tcase_add_test(t, takes_a_good_request_and_names_every_wrong_member_of_a_bad_one);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
