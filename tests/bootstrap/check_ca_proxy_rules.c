/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"

/*
 * Which settings reach which nodes: proxy settings all nodes, the proxy's own CA none of them
 * (it is the gateway's alone), tenant certificates all nodes but those of EKS, AKS, GKE and Edge,
 * certificates of a profile the clusters of that profile. One table, on rendered user data and
 * on what joining nodes are made from.
 */

#include "core/base64.h"
#include "core/clock.h"
#include "core/yaml.h"
#include "net/pki.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define PROXY "http://alice:s3cret@proxy.corp.example:3128"

static const struct rule {
	const char *name, *cloud;
	bool tenant, profile, proxy;             /* given to the gateway */
	bool has_tenant, has_profile, has_proxy; /* found on nodes */
} rules[] = {
	{"nothing given", "vsphere", false, false, false, false, false, false},
	{"proxy on vSphere", "vsphere", false, false, true, false, false, true},
	{"proxy on MAAS", "maas", false, false, true, false, false, true},
	{"proxy on OpenStack", "openstack", false, false, true, false, false, true},
	{"proxy on sim", "sim", false, false, true, false, false, true},
	{"proxy on EKS", "eks", false, false, true, false, false, true},
	{"tenant on vSphere", "vsphere", true, false, false, true, false, false},
	{"tenant on MAAS", "maas", true, false, false, true, false, false},
	{"tenant on OpenStack", "openstack", true, false, false, true, false, false},
	{"tenant on sim", "sim", true, false, false, true, false, false},
	{"tenant on EKS", "eks", true, false, false, false, false, false},
	{"tenant on AKS", "aks", true, false, false, false, false, false},
	{"tenant on GKE", "gke", true, false, false, false, false, false},
	{"tenant on Edge", "edge", true, false, false, false, false, false},
	{"tenant on Edge native", "edge-native", true, false, false, false, false, false},
	{"profile on vSphere", "vsphere", false, true, false, false, true, false},
	{"profile on EKS", "eks", false, true, false, false, true, false},
	{"profile on Edge", "edge-native", false, true, false, false, true, false},
	{"all on vSphere", "vsphere", true, true, true, true, true, true},
	{"all on Edge", "edge-native", true, true, true, false, true, true},
};

static char *tenant_ca, *profile_ca, *proxy_ca;

static char *new_ca(const char *name)
{
	struct pki_cert_spec cs = {.common_name = name,
				   .is_ca = true,
				   .not_before_ms = clock_wall_ms() - 60000,
				   .not_after_ms = clock_wall_ms() + 3600000};
	struct secret *key = NULL;
	struct pcg_error err;
	char *pem = NULL;

	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, &key, &err), 0);
	ck_assert_int_eq(pki_self_signed(&cs, key, &pem, &err), 0);
	secret_unref(key);
	return pem;
}

static json_t *input_of(const struct rule *r)
{
	struct pcg_error err;
	json_t *in, *spec, *keys;

	spec = json_pack("{s:s, s:s, s:s, s:s, s:[{s:s, s:b}, {s:s, s:b}]}", "uid",
			 "0123456789abcdef01234567", "name", "c1", "cloudType", r->cloud,
			 "kubernetesVersion", "v1.36.3", "pools", "name", "cp", "controlPlane", 1,
			 "name", "workers", "controlPlane", 0);
	ck_assert_int_eq(bootstrap_keys_new(spec, clock_wall_ms(), &keys, &err), 0);
	in = json_pack("{s:o, s:{s:s, s:s, s:s}, s:{s:s, s:i}, s:o, s:n}", "spec", spec, "machine",
		       "uid", "m-1", "name", "c1-cp-bcdfg", "pool", "cp", "endpoint", "host",
		       "10.1.2.3", "port", 6443, "keys", keys, "providerIDCommand");
	ck_assert_ptr_nonnull(in);
	if (r->tenant)
		json_object_set_new(in, "certificates",
				    json_pack("[{s:s, s:s}]", "name", "corp", "pem", tenant_ca));
	if (r->proxy)
		json_object_set_new(in, "proxy",
				    json_pack("{s:s, s:s, s:[s], s:s}", "httpProxy", PROXY,
					      "httpsProxy", PROXY, "noProxy", "10.9.0.0/16",
					      "caPem", proxy_ca));
	if (r->profile)
		json_put(in, "spec.kubeadmConfig.files",
			 json_pack("[{s:s, s:s}]", "targetPath",
				   "/usr/local/share/ca-certificates/app.crt", "content",
				   profile_ca));
	return in;
}

/* All contents of files one after the other, as they would lie on the node. */
static void gather(const json_t *files, struct buf *out)
{
	size_t i, len;
	json_t *f;

	json_array_foreach (files, i, f) {
		const char *content = json_str_or(f, "content", "");

		buf_addf(out, "==> %s\n", json_str(f, "path"));
		if (strcmp(json_str_or(f, "encoding", ""), "base64") == 0) {
			uint8_t *raw = base64_decode(content, strlen(content), &len);

			ck_assert_ptr_nonnull(raw);
			buf_add(out, raw, len);
			free(raw);
		} else {
			buf_adds(out, content);
		}
	}
}

static void expect(const struct rule *r, const char *where, const json_t *files)
{
	struct buf all;

	buf_init(&all, 8 << 20);
	gather(files, &all);
	ck_assert_msg((strstr(all.data, tenant_ca) != NULL) == r->has_tenant, "%s, %s: tenant CA",
		      r->name, where);
	ck_assert_msg((strstr(all.data, profile_ca) != NULL) == r->has_profile,
		      "%s, %s: profile CA", r->name, where);
	ck_assert_msg((strstr(all.data, "HTTP_PROXY=" PROXY) != NULL) == r->has_proxy,
		      "%s, %s: containerd's proxy", r->name, where);
	ck_assert_msg((strstr(all.data, "https_proxy=\"" PROXY "\"") != NULL) == r->has_proxy,
		      "%s, %s: the system's proxy", r->name, where);
	ck_assert_msg((strstr(all.data, "169.254.169.254") != NULL) == r->has_proxy,
		      "%s, %s: NO_PROXY", r->name, where);
	ck_assert_msg(!strstr(all.data, proxy_ca), "%s, %s: proxy CA on a node", r->name, where);
	buf_free(&all);
}

START_TEST(every_setting_reaches_the_nodes_it_is_meant_for_and_no_others)
{
	const struct rule *r = &rules[_i];
	struct pcg_error err = {0};
	json_t *in = input_of(r), *spec = NULL, *doc = NULL;
	struct buf b;

	buf_init_secret(&b, 8 << 20);
	ck_assert_msg(bootstrap_user_data(in, &b, &err) == 0, "%s: %s", r->name, err.text);
	ck_assert_int_eq(yaml_load_one(b.data, b.len, "user data", &doc, &err), 0);
	expect(r, "first node", json_at(doc, "write_files"));
	buf_free(&b);
	json_decref(doc);

	ck_assert_int_eq(bootstrap_control_plane_spec(in, &spec, &err), 0);
	expect(r, "control plane", json_at(spec, "files"));
	json_decref(spec);
	json_put_str(in, "machine.pool", "workers");
	ck_assert_int_eq(bootstrap_worker_spec(in, &spec, &err), 0);
	expect(r, "workers", json_at(spec, "files"));
	json_decref(spec);
	json_decref(in);
}
END_TEST

START_TEST(a_profile_certificate_stays_out_of_another_profiles_cluster)
{
	const struct rule with = {"with", "vsphere", .profile = true, .has_profile = true};
	const struct rule without = {"without", "vsphere"};
	struct pcg_error err;
	json_t *a = input_of(&with), *b = input_of(&without), *spec = NULL;

	ck_assert_int_eq(bootstrap_control_plane_spec(a, &spec, &err), 0);
	expect(&with, "first", json_at(spec, "files"));
	json_decref(spec);
	ck_assert_int_eq(bootstrap_control_plane_spec(b, &spec, &err), 0);
	expect(&without, "second", json_at(spec, "files"));
	json_decref(spec);
	json_decref(a);
	json_decref(b);
}
END_TEST

static void make_authorities(void)
{
	tenant_ca = new_ca("tenant");
	profile_ca = new_ca("profile");
	proxy_ca = new_ca("proxy");
}

static void free_authorities(void)
{
	free(tenant_ca);
	free(profile_ca);
	free(proxy_ca);
}

int main(void)
{
	Suite *s = suite_create("ca_proxy_rules");
	TCase *t = tcase_create("rules");
	SRunner *r;
	int failed;

	tcase_add_unchecked_fixture(t, make_authorities, free_authorities);
	tcase_add_loop_test(t, every_setting_reaches_the_nodes_it_is_meant_for_and_no_others, 0,
			    sizeof(rules) / sizeof(rules[0]));
	tcase_add_test(t, a_profile_certificate_stays_out_of_another_profiles_cluster);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
