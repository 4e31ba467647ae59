/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"

#include "core/clock.h"
#include "core/yaml.h"
#include "host/bootstrap/jinja.h"
#include "host/bootstrap/node_files.h"
#include "host/bootstrap/version.h"
#include "net/pki.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_MS (24LL * 3600 * 1000)

static json_t *spec_of(const char *version)
{
	return json_pack("{s:s, s:s, s:s, s:[{s:s, s:b}, {s:s, s:b}]}", "name", "c1", "cloudType",
			 "vsphere", "kubernetesVersion", version, "pools", "name", "cp",
			 "controlPlane", 1, "name", "workers", "controlPlane", 0);
}

static json_t *input_of(json_t *spec)
{
	json_t *in =
		json_pack("{s:o, s:{s:s, s:s, s:s}, s:{s:s, s:i}, s:s}", "spec", spec, "machine",
			  "uid", "m-1", "name", "c1-cp-bcdfg", "pool", "cp", "endpoint", "host",
			  "10.1.2.3", "port", 6443, "providerIDCommand", "smbios-vmware");
	ck_assert_ptr_nonnull(in);
	return in;
}

static json_t *keys_of(const json_t *spec)
{
	struct pcg_error err;
	json_t *keys = NULL;

	ck_assert_int_eq(bootstrap_keys_new(spec, clock_wall_ms(), &keys, &err), 0);
	return keys;
}

static const struct {
	const char *version, *wish, *algorithm; /* algorithm NULL: refused */
} algorithms[] = {
	{"v1.30.9", NULL, "RSA-2048"},       {"v1.31.0", NULL, "ECDSA-P256"},
	{"v1.36.3", NULL, "ECDSA-P256"},     {"v1.36.3", "RSA-2048", "RSA-2048"},
	{"v1.30.9", "RSA-2048", "RSA-2048"}, {"v1.30.9", "ECDSA-P256", NULL},
	{"v1.36.3", "RSA-4096", NULL},       {"latest", NULL, NULL},
};

START_TEST(the_algorithm_of_keys_follows_version_and_wish)
{
	json_t *spec = spec_of(algorithms[_i].version), *keys = NULL;
	struct pcg_error err;
	int r;

	json_put_str(spec, "kubeadmConfig.encryptionAlgorithm", algorithms[_i].wish);
	r = bootstrap_keys_new(spec, clock_wall_ms(), &keys, &err);
	if (algorithms[_i].algorithm) {
		ck_assert_int_eq(r, 0);
		ck_assert_str_eq(json_str(keys, "algorithm"), algorithms[_i].algorithm);
		json_decref(keys);
	} else {
		ck_assert_int_eq(r, PCG_EPERMANENT);
		ck_assert_str_ne(err.remedy, "");
	}
	json_decref(spec);
}
END_TEST

START_TEST(certificate_authorities_live_ten_years_with_serial_zero)
{
	static const char *const cas[] = {"ca", "etcd", "proxy"};
	json_t *spec = spec_of("v1.36.3"), *keys = keys_of(spec);

	for (size_t i = 0; i < 3; i++) {
		struct pki_info info;
		struct pcg_error err;
		struct secret *key;
		char path[16];

		snprintf(path, sizeof(path), "%s.crt", cas[i]);
		ck_assert_int_eq(pki_cert_info(json_str(keys, path), &info, &err), 0);
		ck_assert_str_eq(info.subject_cn, "kubernetes");
		ck_assert(info.is_ca);
		ck_assert_int_eq(strtol(info.serial_hex, NULL, 16), 0);
		ck_assert(info.not_before_ms <= clock_wall_ms() - 299000);
		ck_assert_int_eq((info.not_after_ms - clock_wall_ms() + DAY_MS / 2) / DAY_MS, 3650);
		snprintf(path, sizeof(path), "%s.key", cas[i]);
		ck_assert_ptr_nonnull(strstr(json_str(keys, path), "BEGIN EC PRIVATE KEY"));
		key = secret_new_str(json_str(keys, path));
		snprintf(path, sizeof(path), "%s.crt", cas[i]);
		ck_assert_int_eq(pki_match(json_str(keys, path), key, &err), 0);
		secret_unref(key);
	}
	json_decref(keys);
	json_decref(spec);
}
END_TEST

START_TEST(an_admin_certificate_is_signed_by_the_clusters_ca_for_the_life_asked)
{
	json_t *spec = spec_of("v1.36.3"), *keys = keys_of(spec);
	struct secret *key = NULL;
	struct pcg_error err;
	struct pki_info info;
	char *cert = NULL;

	ck_assert_int_eq(bootstrap_mint_admin(keys, "pcg", 3600000, &cert, &key, &err), 0);
	ck_assert_int_eq(pki_verify(cert, json_str(keys, "ca.crt"), clock_wall_ms(), &err), 0);
	ck_assert_int_ne(pki_verify(cert, json_str(keys, "etcd.crt"), clock_wall_ms(), &err), 0);
	ck_assert_int_eq(pki_cert_info(cert, &info, &err), 0);
	ck_assert_str_eq(info.subject_cn, "pcg");
	ck_assert(info.not_after_ms <= clock_wall_ms() + 3600000);
	ck_assert(info.not_after_ms >= clock_wall_ms() + 3590000);
	ck_assert_int_eq(pki_match(cert, key, &err), 0);
	free(cert);
	secret_unref(key);
	json_decref(keys);
	json_decref(spec);
}
END_TEST

START_TEST(minting_without_a_ca_is_an_error)
{
	json_t *keys = json_object();
	struct secret *key = NULL;
	struct pcg_error err;
	char *cert = NULL;

	ck_assert_int_eq(bootstrap_mint_admin(keys, NULL, 1000, &cert, &key, &err), PCG_EBUG);
	ck_assert_ptr_null(key);
	json_decref(keys);
}
END_TEST

static bool holds(const json_t *list, const char *s)
{
	size_t i;
	json_t *v;

	json_array_foreach (list, i, v)
		if (strcmp(json_string_value(v), s) == 0)
			return true;
	return false;
}

START_TEST(no_proxy_always_holds_what_a_node_must_reach_directly)
{
	static const char *const wanted[] = {"localhost",       "127.0.0.1",    "::1",
					     "10.42.0.0/16",    "10.43.0.0/16", ".svc",
					     ".cluster.local",  ".k8s.corp",    "10.1.2.3",
					     "169.254.169.254", "vcenter.corp"};
	json_t *spec = json_pack("{s:s, s:s, s:s}", "podCIDR", "10.42.0.0/16", "serviceCIDR",
				 "10.43.0.0/16", "serviceDomain", "k8s.corp");
	json_t *endpoint = json_pack("{s:s, s:i}", "host", "10.1.2.3", "port", 6443);
	json_t *given = json_pack("[s,s,s]", "vcenter.corp", "localhost", "vcenter.corp");
	json_t *out = bootstrap_no_proxy(spec, endpoint, given);

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		ck_assert_msg(holds(out, wanted[i]), "%s", wanted[i]);
	ck_assert_uint_eq(json_array_size(out), sizeof(wanted) / sizeof(wanted[0]));
	ck_assert_str_eq(json_string_value(json_array_get(out, 0)), "vcenter.corp");
	json_decref(out);
	out = bootstrap_no_proxy(spec, NULL, NULL);
	ck_assert(holds(out, "169.254.169.254"));
	json_decref(out);
	json_decref(given);
	json_decref(endpoint);
	json_decref(spec);
}
END_TEST

static const struct {
	const char *path, *value, *field; /* JSON value; field NULL: no problem */
} checks[] = {
	{"name", "\"c1\"", NULL},
	{"name", "\"Cluster_1\"", "name"},
	{"name", "\"-a\"", "name"},
	{"kubernetesVersion", "\"latest\"", "kubernetesVersion"},
	{"kubernetesVersion", "\"1.36.3\"", "kubernetesVersion"},
	{"kubernetesVersion", "\"v1.21.0\"", "kubernetesVersion"},
	{"podCIDR", "\"10.0.0.0/8\"", NULL},
	{"podCIDR", "\"10.0.0.0/16,fd00::/48\"", NULL},
	{"podCIDR", "\"10.0.0.0\"", "podCIDR"},
	{"podCIDR", "\"10.0.0.0/33\"", "podCIDR"},
	{"podCIDR", "\"10.0.0.0/-1\"", "podCIDR"},
	{"serviceCIDR", "\"10.0.0.0/12,\"", "serviceCIDR"},
	{"podCIDR", "\"10.0.0.0/26\"", "podCIDR"},
	{"podCIDR", "\"10.0.0.0/7\"", "podCIDR"},
	{"podCIDR", "\"fd00::/47\"", "podCIDR"},
	{"podCIDR", "\"10.0.0.0/16,10.1.0.0/16\"", "podCIDR"},
	{"podCIDR", "\"10.0.0.0/16,fd00::/48,fd01::/48\"", "podCIDR"},
	{"serviceCIDR", "\"10.0.0.0/8\"", "serviceCIDR"},
	{"serviceCIDR", "\"10.0.0.0/29\"", "serviceCIDR"},
	{"serviceCIDR", "\"10.0.0.0/28,fd00::/112\"", NULL},
	{"serviceCIDR", "\"fd00::/64\"", "serviceCIDR"},
	{"kubeadmConfig.apiServer.certSANs", "[\"*.a.example\",\"10.0.0.1\",\"fd00::1\",\"b\"]", NULL},
	{"kubeadmConfig.apiServer.certSANs", "[\"https://a.example\"]",
	 "kubeadmConfig.apiServer.certSANs.0"},
	{"kubeadmConfig.apiServer.certSANs", "[\"a.example:6443\"]",
	 "kubeadmConfig.apiServer.certSANs.0"},
	{"kubeadmConfig.encryptionAlgorithm", "\"RSA-4096\"", "kubeadmConfig.encryptionAlgorithm"},
	{"kubeadmConfig.files", "[{\"targetPath\":\"etc/x\",\"content\":\"a\"}]",
	 "kubeadmConfig.files.0"},
	{"kubeadmConfig.files",
	 "[{\"targetPath\":\"/x\",\"content\":\"a\",\"targetPermissions\":\"rw\"}]",
	 "kubeadmConfig.files.0"},
	{"kubeadmConfig.preKubeadmCommands", "[\"true\", 5]", "kubeadmConfig.preKubeadmCommands.1"},
	{"kubeadmConfig.apiServer.extraVolumes",
	 "[{\"name\":\"a\",\"hostPath\":\"/a\",\"mountPath\":\"/b\"}]", NULL},
	{"kubeadmConfig.scheduler.extraVolumes", "[{\"name\":\"a\",\"hostPath\":\"/a\"}]",
	 "kubeadmConfig.scheduler.extraVolumes.0"},
	{"sshKeys", "[\"ssh-ed25519 AAAAC3Nz me@host\"]", NULL},
	{"sshKeys", "[\"ssh-ed25519 AAAA\\nssh-rsa BBBB\"]", "sshKeys.0"},
	{"sshKeys", "[\"-----BEGIN OPENSSH PRIVATE KEY-----\"]", "sshKeys.0"},
	{"ntpServers", "[\"ntp.corp\", \"a b\"]", "ntpServers.1"},
	{"pools", "[]", "pools"},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"cp\"}]",
	 "pools.1"},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}]",
	 "pools.1"},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"w\",\"labels\":{\"a.b/c\":\"D_1.e\",\"f\":\"\"}}]",
	 NULL},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"w\",\"labels\":{\"a\":\"b,c=d\"}}]",
	 "pools.1.labels"},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"w\",\"labels\":{\"a b\":\"c\"}}]",
	 "pools.1.labels"},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"w\",\"labels\":{\"kubernetes.io/role\":\"c\"}}]",
	 "pools.1.labels"},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"w\",\"labels\":{\"a.k8s.io/b\":\"c\"}}]",
	 "pools.1.labels"},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"w\",\"labels\":{\"node-role.kubernetes.io/w\":\"\",\"x-k8s.io/b\":\"c\","
	          "\"topology.kubernetes.io/zone\":\"z\",\"node.kubernetes.io/x\":\"y\"}}]",
	 NULL},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"w\",\"taints\":[{\"key\":\"a\",\"value\":\"b\",\"effect\":\"NoExecute\"}]}]",
	 NULL},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"w\",\"taints\":[{\"key\":\"a\",\"effect\":\"Never\"}]}]",
	 "pools.1.taints.0"},
	{"pools", "[{\"name\":\"m\",\"controlPlane\":true},"
	          "{\"name\":\"w\",\"taints\":[{\"key\":\"a\\n\",\"effect\":\"NoSchedule\"}]}]",
	 "pools.1.taints.0"},
};

START_TEST(a_wrong_spec_is_told_by_field_with_a_remedy)
{
	json_t *spec = spec_of("v1.36.3"), *list;

	json_put(spec, checks[_i].path, json_loads(checks[_i].value, JSON_DECODE_ANY, NULL));
	list = bootstrap_check(spec);
	if (!checks[_i].field) {
		ck_assert_uint_eq(json_array_size(list), 0);
	} else {
		ck_assert_uint_eq(json_array_size(list), 1);
		ck_assert_str_eq(json_str(list, "0.field"), checks[_i].field);
		ck_assert_str_ne(json_str_or(list, "0.text", ""), "");
		ck_assert_str_ne(json_str_or(list, "0.remedy", ""), "");
	}
	json_decref(list);
	json_decref(spec);
}
END_TEST

static void no_empty_members(const json_t *j, const char *path)
{
	const char *k;
	json_t *v;
	size_t i;

	if (json_is_object(j)) {
		ck_assert_msg(json_object_size(j) > 0, "%s is empty", path);
		json_object_foreach ((json_t *)j, k, v)
			no_empty_members(v, k);
	} else if (json_is_array(j)) {
		ck_assert_msg(json_array_size(j) > 0, "%s is empty", path);
		json_array_foreach (j, i, v)
			no_empty_members(v, path);
	}
}

START_TEST(specs_have_no_empty_member_and_lists_of_arguments)
{
	json_t *in = input_of(spec_of("v1.36.3")), *cp = NULL, *first = NULL, *worker = NULL;
	struct pcg_error err;

	json_put_str(in, "spec.kubeadmConfig.apiServer.extraArgs.audit-log-path", "/var/log/a.log");
	json_put(in, "spec.kubeadmConfig.scheduler.extraArgs", json_object());
	ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), 0);
	no_empty_members(cp, "control plane");
	ck_assert_str_eq(json_str(cp, "clusterConfiguration.apiServer.extraArgs.0.name"),
			 "audit-log-path");
	ck_assert_str_eq(json_str(cp, "clusterConfiguration.encryptionAlgorithm"), "ECDSA-P256");
	ck_assert(json_equal(json_at(cp, "initConfiguration"), json_at(cp, "joinConfiguration")));
	ck_assert_ptr_null(json_at(cp, "initConfiguration.nodeRegistration.taints"));

	ck_assert_int_eq(bootstrap_first_machine_spec(in, &first, &err), 0);
	json_object_del(cp, "joinConfiguration");
	ck_assert(json_equal(cp, first));

	json_put_str(in, "machine.pool", "workers");
	ck_assert_int_eq(bootstrap_worker_spec(in, &worker, &err), 0);
	no_empty_members(worker, "worker");
	ck_assert_ptr_null(json_at(worker, "initConfiguration"));
	ck_assert_ptr_null(json_at(worker, "clusterConfiguration"));
	json_decref(cp);
	json_decref(first);
	json_decref(worker);
	json_decref(in);
}
END_TEST

START_TEST(volumes_of_a_component_reach_kubeadm_and_the_control_plane)
{
	static const char *const versions[] = {"v1.30.4", "v1.36.3"};
	static const char volume[] = "[{\"name\":\"audit-policy\",\"hostPath\":\"/etc/kubernetes/audit-policy.yaml\","
				     "\"mountPath\":\"/etc/kubernetes/audit-policy.yaml\",\"readOnly\":true,"
				     "\"pathType\":\"File\"}]";
	json_t *want = json_loads(volume, 0, NULL);

	for (size_t i = 0; i < 2; i++) {
		json_t *in = input_of(spec_of(versions[i])), *cp = NULL, *docs = NULL;
		struct pcg_error err;
		struct buf b;

		json_put(in, "spec.kubeadmConfig.apiServer.extraVolumes", json_deep_copy(want));
		ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), 0);
		ck_assert(json_equal(json_at(cp, "clusterConfiguration.apiServer.extraVolumes"), want));
		buf_init(&b, 1 << 20);
		ck_assert_int_eq(bootstrap_kubeadm_yaml(in, &b, &err), 0);
		ck_assert_int_eq(yaml_load_all(b.data, b.len, "kubeadm.yaml", &docs, &err), 0);
		ck_assert(json_equal(json_at(docs, "0.apiServer.extraVolumes"), want));
		buf_free(&b);
		json_decref(docs);
		json_decref(cp);
		json_decref(in);
	}
	json_decref(want);
}
END_TEST

START_TEST(the_first_machine_has_the_gate_that_the_controller_compares_with)
{
	static const struct {
		const char *version;
		bool gate;
	} table[] = {{"v1.30.4", false}, {"v1.31.0", true}, {"v1.35.4", true}, {"v1.36.3", false}};

	for (size_t i = 0; i < 4; i++) {
		json_t *in = input_of(spec_of(table[i].version)), *first = NULL;
		struct pcg_error err;

		ck_assert_int_eq(bootstrap_first_machine_spec(in, &first, &err), 0);
		ck_assert_int_eq(json_bool_or(first,
					      "clusterConfiguration.featureGates."
					      "ControlPlaneKubeletLocalMode",
					      false),
				 table[i].gate);
		json_decref(first);
		json_decref(in);
	}
}
END_TEST

static const char *kubelet_arg(const json_t *spec, const char *kind, const char *name)
{
	char path[96];
	size_t i;
	json_t *a;

	snprintf(path, sizeof(path), "%s.nodeRegistration.kubeletExtraArgs", kind);
	json_array_foreach (json_at(spec, path), i, a)
		if (strcmp(json_str(a, "name"), name) == 0)
			return json_str(a, "value");
	return NULL;
}

START_TEST(nodes_register_with_a_provider_id_unless_a_cloud_provider_does_it)
{
	json_t *in = input_of(spec_of("v1.36.3")), *cp = NULL;
	struct pcg_error err;

	ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), 0);
	ck_assert_ptr_nonnull(
		strstr(kubelet_arg(cp, "initConfiguration", "provider-id"), "vsphere://"));
	ck_assert_ptr_null(kubelet_arg(cp, "initConfiguration", "cloud-provider"));
	json_decref(cp);

	json_put(in, "spec.layers", json_pack("[{s:s}]", "layer", "cloud-provider"));
	ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), 0);
	ck_assert_ptr_null(kubelet_arg(cp, "initConfiguration", "provider-id"));
	ck_assert_str_eq(kubelet_arg(cp, "joinConfiguration", "cloud-provider"), "external");
	json_decref(cp);

	json_object_del(json_object_get(in, "spec"), "layers");
	json_put_str(in, "providerIDCommand", "sim");
	ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), 0);
	ck_assert_str_eq(kubelet_arg(cp, "joinConfiguration", "provider-id"),
			 "sim://{{ instance_id }}");
	json_decref(cp);
	json_decref(in);
}
END_TEST

START_TEST(labels_and_taints_of_a_pool_reach_its_nodes)
{
	json_t *in = input_of(spec_of("v1.36.3")), *worker = NULL;
	struct pcg_error err;

	json_put_str(in, "machine.pool", "workers");
	json_object_set_new(json_at(in, "spec.pools.1"), "labels",
			    json_pack("{s:s, s:s}", "zone", "a", "disk", "ssd"));
	json_object_set_new(json_at(in, "spec.pools.1"), "taints",
			    json_pack("[{s:s, s:s, s:s}]", "key", "gpu", "value", "yes", "effect",
				      "NoExecute"));
	ck_assert_int_eq(bootstrap_worker_spec(in, &worker, &err), 0);
	ck_assert_str_eq(kubelet_arg(worker, "joinConfiguration", "node-labels"),
			 "zone=a,disk=ssd");
	ck_assert_str_eq(json_str(worker, "joinConfiguration.nodeRegistration.taints.0.effect"),
			 "NoExecute");
	json_decref(worker);
	json_decref(in);
}
END_TEST

START_TEST(a_range_of_pods_may_have_any_size_that_goes_with_the_nodes_own)
{
	json_t *spec = spec_of("v1.36.3"), *list;

	json_put_str(spec, "podCIDR", "10.0.0.0/26");
	json_put_str(spec, "kubeadmConfig.controllerManager.extraArgs.node-cidr-mask-size", "28");
	list = bootstrap_check(spec);
	ck_assert_uint_eq(json_array_size(list), 0);
	json_decref(list);
	json_decref(spec);
}
END_TEST

/* kubelet: "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels", and it ends. */
START_TEST(labels_that_kubelet_may_not_set_are_left_to_the_controllers)
{
	json_t *in = input_of(spec_of("v1.36.3")), *cp = NULL;
	struct pcg_error err;

	json_object_set_new(json_at(in, "spec.pools.0"), "labels",
			    json_pack("{s:s, s:s}", "node-role.kubernetes.io/infra", "", "zone", "a"));
	ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), 0);
	ck_assert_str_eq(kubelet_arg(cp, "initConfiguration", "node-labels"), "zone=a");
	json_decref(cp);
	json_object_del(json_at(in, "spec.pools.0.labels"), "zone");
	ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), 0);
	ck_assert_ptr_null(kubelet_arg(cp, "initConfiguration", "node-labels"));
	json_decref(cp);
	json_decref(in);
}
END_TEST

START_TEST(a_control_plane_that_also_works_has_an_empty_list_of_taints)
{
	json_t *in = input_of(spec_of("v1.36.3")), *cp = NULL;
	struct pcg_error err;

	json_object_set_new(json_at(in, "spec.pools.0"), "controlPlaneAsWorker", json_true());
	ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), 0);
	ck_assert(json_is_array(json_at(cp, "initConfiguration.nodeRegistration.taints")));
	ck_assert_uint_eq(json_array_size(json_at(cp, "initConfiguration.nodeRegistration.taints")),
			  0);
	json_decref(cp);
	json_decref(in);
}
END_TEST

START_TEST(long_files_are_cut_where_cluster_api_limits_them)
{
	struct node_files n = {json_array(), json_array(), json_array()};
	char *big = malloc(40001);
	size_t i, total = 0;
	json_t *f;

	memset(big, 'x', 40000);
	big[40000] = '\0';
	node_files_add(&n, "/x", "0644", "root:root", false, big);
	json_array_foreach (n.files, i, f) {
		ck_assert_int_eq(json_bool_or(f, "append", false), i > 0);
		ck_assert_str_eq(json_str(f, "permissions"), "0644");
		total += strlen(json_str(f, "content"));
		ck_assert_uint_le(strlen(json_str(f, "content")), 10240);
	}
	ck_assert_uint_ge(total, 53000);
	free(big);
	node_files_free(&n);
}
END_TEST

/* The limits of a KubeadmControlPlane: CustomResourceDefinition of Cluster API 1.14. */
START_TEST(what_a_control_planes_object_cannot_hold_is_refused_before_there_is_a_node)
{
	static const struct {
		const char *path, *says; /* of a list, one more than is taken */
		size_t items, length;
		const char *kind;
	} table[] = {
		{"preKubeadmCommands", "10241 characters", 1, 10241, NULL},
		{"postKubeadmCommands", "1002 postKubeadmCommands", 1001, 4, NULL},
		{"files", "files (each certificate is one", 201, 3, "path"},
		{"files", "more than the 512 characters", 1, 513, "path"},
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		json_t *in = input_of(spec_of("v1.36.3")), *list = json_array(), *cp = NULL;
		struct pcg_error err;
		char *text = calloc(1, table[i].length + 1);

		memset(text, '/', table[i].length);
		for (size_t k = 0; k < table[i].items; k++)
			json_array_append_new(list, table[i].kind ? json_pack("{s:s,s:s}", "path", text, "content", "x")
								  : json_string(text));
		json_object_set_new(in, table[i].path, list);
		ck_assert_int_ne(bootstrap_control_plane_spec(in, &cp, &err), 0);
		ck_assert_msg(strstr(err.text, table[i].says), "%s", err.text);
		ck_assert_int_eq(err.class, PCG_CLASS_PERMANENT);
		free(text);
		json_decref(in);
	}
}
END_TEST

START_TEST(arguments_and_labels_that_a_control_planes_object_cannot_hold_are_told)
{
	json_t *spec = spec_of("v1.36.3"), *labels = json_object(), *list;
	char text[1026], key[32];

	memset(text, 'x', 1025);
	text[1025] = '\0';
	json_put_str(spec, "kubeadmConfig.apiServer.extraArgs.oidc-issuer-url", text);
	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "label-%d", i);
		json_object_set_new(labels, key, json_string("value"));
	}
	json_object_set_new(json_at(spec, "pools.1"), "labels", labels);
	list = bootstrap_check(spec);
	ck_assert_uint_eq(json_array_size(list), 2);
	ck_assert_str_eq(json_str(list, "0.field"), "pools.1.labels");
	ck_assert_str_eq(json_str(list, "1.field"), "kubeadmConfig.apiServer.extraArgs");
	json_decref(list);
	json_decref(spec);
}
END_TEST

START_TEST(the_image_of_kube_vip_is_where_those_of_the_bundle_are)
{
	static const struct {
		const char *repository, *image;
	} table[] = {
		{NULL, "image: ghcr.io/kube-vip/kube-vip:v0.6.4\n"},
		{"", "image: ghcr.io/kube-vip/kube-vip:v0.6.4\n"},
		{"registry.example/mirror/", "image: registry.example/mirror/kube-vip:v0.6.4\n"},
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		json_t *in = input_of(spec_of("v1.36.3")), *cp = NULL, *f;
		const char *manifest = "";
		struct pcg_error err;
		size_t n;

		json_put_str(in, "imageRepository", table[i].repository);
		ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), 0);
		json_array_foreach (json_at(cp, "files"), n, f)
			if (strstr(json_str(f, "path"), "manifests/kube-vip.yaml"))
				manifest = json_str(f, "content");
		ck_assert_msg(strstr(manifest, table[i].image), "%s", manifest);
		json_decref(cp);
		json_decref(in);
	}
}
END_TEST

START_TEST(a_proxy_value_that_would_break_a_file_is_refused)
{
	static const char *const bad[] = {"http://a b/", "http://x\"y/", "http://x\ny/",
					  "http://u:p$w@h:1"};

	for (size_t i = 0; i < 4; i++) {
		json_t *in = input_of(spec_of("v1.36.3"));
		struct pcg_error err;
		json_t *cp = NULL;

		json_put_str(in, "proxy.httpProxy", bad[i]);
		ck_assert_int_eq(bootstrap_control_plane_spec(in, &cp, &err), PCG_EPERMANENT);
		ck_assert_ptr_null(strstr(err.text, "p$w"));
		json_decref(in);
	}
}
END_TEST

START_TEST(a_certificate_that_is_none_is_refused_by_name)
{
	json_t *in = input_of(spec_of("v1.36.3")), *cp = NULL;
	struct pcg_error err;

	json_object_set_new(in, "certificates",
			    json_pack("[{s:s, s:s}]", "name", "corp", "pem", "no pem"));
	ck_assert_int_lt(bootstrap_control_plane_spec(in, &cp, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "corp"));
	json_decref(in);
}
END_TEST

START_TEST(user_data_without_keys_is_refused)
{
	json_t *in = input_of(spec_of("v1.36.3"));
	struct pcg_error err;
	struct buf b;

	buf_init_secret(&b, 1 << 20);
	ck_assert_int_eq(bootstrap_user_data(in, &b, &err), PCG_EBUG);
	buf_free(&b);
	json_decref(in);
}
END_TEST

START_TEST(user_data_that_does_not_fit_is_an_error)
{
	json_t *in = input_of(spec_of("v1.36.3"));
	struct pcg_error err;
	struct buf b;

	json_object_set_new(in, "keys", keys_of(json_at(in, "spec")));
	buf_init_secret(&b, 2000);
	ck_assert_int_lt(bootstrap_user_data(in, &b, &err), 0);
	buf_free(&b);
	json_decref(in);
}
END_TEST

#if !defined(PCG_SANITIZED)
static int64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

START_TEST(a_cluster_costs_less_than_three_milliseconds)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < 10; i++) {
		json_t *in = input_of(spec_of("v1.36.3"));
		struct pcg_error err;
		struct buf b;
		int64_t start = cpu_us();

		buf_init_secret(&b, 1 << 20);
		json_object_set_new(in, "keys", keys_of(json_at(in, "spec")));
		ck_assert_int_eq(bootstrap_user_data(in, &b, &err), 0);
		if (cpu_us() - start < best)
			best = cpu_us() - start;
		buf_free(&b);
		json_decref(in);
	}
	ck_assert_int_lt(best, 3000);
}
END_TEST
#endif

int main(void)
{
	Suite *s = suite_create("bootstrap");
	TCase *t = tcase_create("bootstrap");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, the_algorithm_of_keys_follows_version_and_wish, 0,
			    sizeof(algorithms) / sizeof(algorithms[0]));
	tcase_add_test(t, certificate_authorities_live_ten_years_with_serial_zero);
	tcase_add_test(t, an_admin_certificate_is_signed_by_the_clusters_ca_for_the_life_asked);
	tcase_add_test(t, minting_without_a_ca_is_an_error);
	tcase_add_test(t, no_proxy_always_holds_what_a_node_must_reach_directly);
	tcase_add_loop_test(t, a_wrong_spec_is_told_by_field_with_a_remedy, 0,
			    sizeof(checks) / sizeof(checks[0]));
	tcase_add_test(t, specs_have_no_empty_member_and_lists_of_arguments);
	tcase_add_test(t, volumes_of_a_component_reach_kubeadm_and_the_control_plane);
	tcase_add_test(t, the_first_machine_has_the_gate_that_the_controller_compares_with);
	tcase_add_test(t, nodes_register_with_a_provider_id_unless_a_cloud_provider_does_it);
	tcase_add_test(t, labels_and_taints_of_a_pool_reach_its_nodes);
	tcase_add_test(t, a_range_of_pods_may_have_any_size_that_goes_with_the_nodes_own);
	tcase_add_test(t, labels_that_kubelet_may_not_set_are_left_to_the_controllers);
	tcase_add_test(t, a_control_plane_that_also_works_has_an_empty_list_of_taints);
	tcase_add_test(t, long_files_are_cut_where_cluster_api_limits_them);
	tcase_add_test(t, what_a_control_planes_object_cannot_hold_is_refused_before_there_is_a_node);
	tcase_add_test(t, arguments_and_labels_that_a_control_planes_object_cannot_hold_are_told);
	tcase_add_test(t, the_image_of_kube_vip_is_where_those_of_the_bundle_are);
	tcase_add_test(t, a_proxy_value_that_would_break_a_file_is_refused);
	tcase_add_test(t, a_certificate_that_is_none_is_refused_by_name);
	tcase_add_test(t, user_data_without_keys_is_refused);
	tcase_add_test(t, user_data_that_does_not_fit_is_an_error);
#if !defined(PCG_SANITIZED)
	tcase_add_test(t, a_cluster_costs_less_than_three_milliseconds);
#endif
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
