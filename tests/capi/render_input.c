/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For test-render: what we give the first node, and the configuration of that machine that the controllers
 * get, as one request of the peer "render".
 *
 * usage: render_input CASE; without one: how many there are
 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *version;
	bool proxy, cloud_provider, as_worker, profile;
} cases[] = {
	{"v1.36.3", false, false, false, false}, {"v1.36.3", true, false, true, true},
	{"v1.36.3", true, true, false, true},	 {"v1.34.4", true, false, false, true},
	{"v1.30.8", false, false, false, true},	 {"v1.30.8", true, true, true, true},
};

static json_t *profile(void)
{
	return json_pack("{s:{s:{s:s,s:s},s:[s]},s:{s:{s:s}},s:{s:s},s:[{s:s,s:s,s:s,s:s}],s:[s,s],s:[s]}",
			 "apiServer", "extraArgs", "audit-log-maxage", "30", "profiling", "false",
			 "certSANs", "api.example", "controllerManager", "extraArgs", "v", "2",
			 "kubeletExtraArgs", "max-pods", "200", "files", "targetPath", "/etc/kubernetes/audit.yaml",
			 "targetOwner", "root:root", "targetPermissions", "0600", "content",
			 "a: \"{{ x }}\" $y\n", "preKubeadmCommands", "echo 'it is {{ so }}'",
			 "true && false", "postKubeadmCommands", "systemctl status kubelet");
}

static json_t *spec_of(size_t i)
{
	json_t *spec = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:[s],s:[s]}", "uid",
				 "0123456789abcdef01234567", "name", "c1", "cloudType", "vsphere",
				 "kubernetesVersion", cases[i].version, "podCIDR", "10.1.0.0/16",
				 "serviceCIDR", "10.2.0.0/16", "sshKeys", "ssh-ed25519 AAAA one",
				 "ntpServers", "192.0.2.123");

	json_object_set_new(spec, "pools",
			    json_pack("[{s:s,s:i,s:b,s:b,s:{s:s}}]", "name", "control", "size", 1,
				      "controlPlane", 1, "controlPlaneAsWorker", cases[i].as_worker,
				      "labels", "zone", "a"));
	if (cases[i].profile)
		json_object_set_new(spec, "kubeadmConfig", profile());
	if (cases[i].cloud_provider)
		json_object_set_new(spec, "layers",
				    json_pack("[{s:s,s:s,s:[]}]", "layer", "cloud-provider", "name",
					      "vsphere-cpi", "manifests"));
	return spec;
}

static json_t *files(const json_t *keys)
{
	static const struct {
		const char *path, *key;
	} pki[] = {
		{"ca.crt", "ca.crt"},		  {"ca.key", "ca.key"},
		{"etcd/ca.crt", "etcd.crt"},	  {"etcd/ca.key", "etcd.key"},
		{"front-proxy-ca.crt", "proxy.crt"}, {"front-proxy-ca.key", "proxy.key"},
		{"sa.pub", "sa.pub"},		  {"sa.key", "sa.key"},
	};
	json_t *out = json_object();
	char path[128];

	for (size_t i = 0; i < ARRAY_LEN(pki); i++) {
		snprintf(path, sizeof(path), "/etc/kubernetes/pki/%s", pki[i].path);
		json_object_set_new(out, path, json_string(json_str(keys, pki[i].key)));
	}
	return out;
}

int main(int argc, char **argv)
{
	size_t i = argc > 1 ? strtoul(argv[1], NULL, 10) : ARRAY_LEN(cases);
	json_t *spec, *keys = NULL, *config = NULL, *in, *out;
	struct pcg_error err;
	struct buf text;

	if (i >= ARRAY_LEN(cases)) {
		printf("%zu\n", ARRAY_LEN(cases));
		return 0;
	}
	spec = spec_of(i);
	buf_init(&text, 1 << 20);
	if (bootstrap_keys_new(spec, clock_wall_ms(), &keys, &err))
		goto failed;
	in = json_pack("{s:O,s:{s:s,s:s,s:s},s:{s:s,s:i},s:O,s:s,s:[{s:s,s:s}]}", "spec", spec,
		       "machine", "uid", "m-1", "name", "c1-cp-bcdfg", "pool", "control", "endpoint",
		       "host", "10.0.0.5", "port", 6443, "keys", keys, "providerIDCommand",
		       "smbios-vmware", "certificates", "name", "site", "pem",
		       json_str(keys, "etcd.crt"));
	if (cases[i].proxy)
		json_object_set_new(in, "proxy",
				    json_pack("{s:s,s:s,s:[s]}", "httpProxy", "http://p.example:3128",
					      "httpsProxy", "http://p.example:3128", "noProxy",
					      "10.0.0.0/8"));
	if (bootstrap_user_data(in, &text, &err) ||
	    bootstrap_first_machine_spec(in, &config, &err))
		goto failed;
	out = json_pack("{s:O,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:s}", "spec", config, "version",
			cases[i].version, "clusterName", "c1", "endpoint", "10.0.0.5:6443", "podCIDR",
			"10.1.0.0/16", "serviceCIDR", "10.2.0.0/16", "serviceDomain", "cluster.local",
			"keys", files(keys), "ours", text.data);
	json_dumpf(out, stdout, JSON_COMPACT);
	json_decref(out);
	json_decref(in);
	json_decref(config);
	json_decref(keys);
	json_decref(spec);
	buf_free(&text);
	return 0;
failed:
	fprintf(stderr, "render_input: %s\n", err.text);
	return 1;
}
