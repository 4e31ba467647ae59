/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/sample.h"
#include "core/buf.h"

#include <assert.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VSPHERE "infrastructure.cluster.x-k8s.io/v1beta2"

static json_t *sample_spec(void)
{
	json_t *spec = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "uid", "0123456789abcdef01234567",
				 "name", "c1", "cloudType", "vsphere", "kubernetesVersion",
				 "v1.36.3", "planeUrl", "https://plane.example:8443", "planeCa",
				 "-----BEGIN CERTIFICATE-----\nplane\n-----END CERTIFICATE-----\n");

	json_object_set_new(
		spec, "pools",
		json_pack(
			"[{s:s,s:i,s:b,s:{}},{s:s,s:i,s:{s:s,s:s,s:s},s:[{s:s,s:s,s:s}],s:{s:s}}]",
			"name", "control", "size", 3, "controlPlane", 1, "labels", "name", "md",
			"size", 5, "labels", "zone", "a", "empty", "",
			"node-role.kubernetes.io/gpu", "yes", "taints", "key", "gpu", "value",
			"yes", "effect", "NoSchedule", "updateStrategy", "type",
			"RollingUpdateScaleIn"));
	return spec;
}

static json_t *sample_keys(const char *ca_crt)
{
	return json_pack("{s:{s:s,s:s},s:{s:s,s:s},s:{s:s,s:s},s:{s:s,s:s}}", "ca", "crt", ca_crt,
			 "key", "ca key\n", "etcd", "crt", "etcd crt\n", "key", "etcd key\n",
			 "proxy", "crt", "proxy crt\n", "key", "proxy key\n", "sa", "pub",
			 "sa pub\n", "key", "sa key\n");
}

static json_t *sample_control_plane_spec(void)
{
	json_t *registration =
		json_pack("{s:s,s:[{s:s,s:s}],s:[]}", "name", "{{ local_hostname }}",
			  "kubeletExtraArgs", "name", "cloud-provider", "value", "", "taints");

	return json_pack("{s:{s:{},s:s},s:{s:O},s:{s:o,s:{}},s:[s],s:[],s:[{s:s,s:s}]}",
			 "clusterConfiguration", "apiServer", "encryptionAlgorithm", "ECDSA-P256",
			 "initConfiguration", "nodeRegistration", registration, "joinConfiguration",
			 "nodeRegistration", registration, "controlPlane", "preKubeadmCommands",
			 SAMPLE_NASTY, "postKubeadmCommands", "files", "path", "/etc/nasty",
			 "content", SAMPLE_NASTY);
}

static json_t *object(const char *api, const char *kind, const char *name, json_t *spec)
{
	return json_pack("{s:s,s:s,s:{s:s},s:o}", "apiVersion", api, "kind", kind, "metadata",
			 "name", name, "spec", spec);
}

static json_t *clone_spec(void)
{
	return json_pack("{s:s,s:i,s:{s:[{s:b,s:s}]}}", "template", "ubuntu-2404-kube-v1.36.3",
			 "numCPUs", 2, "network", "devices", "dhcp4", 1, "networkName",
			 "VM Network");
}

static json_t *template_spec(void)
{
	return json_pack("{s:{s:o}}", "template", "spec", clone_spec());
}

static json_t *with(json_t *spec, const char *key, json_t *value)
{
	json_object_set_new(spec, key, value);
	return spec;
}

static json_t *sample_provider_objects(void)
{
	json_t *identity =
		json_pack("{s:s,s:s,s:{s:s},s:{s:s}}", "apiVersion", "v1", "kind", "Secret",
			  "metadata", "name", "c1", "data", "username", "dQ==");
	json_t *cluster = json_pack("{s:s,s:{s:s,s:s}}", "server", "vc.example:443", "identityRef",
				    "kind", "Secret", "name", "c1");

	return json_pack("[{s:s,s:o},{s:s,s:o,s:{s:{s:b}}},{s:s,s:o},{s:s,s:s,s:o},{s:s,s:s,s:o,s:{"
			 "s:{s:b}}},{s:s,s:s,s:s,s:o}]",
			 "role", "identity", "object", identity, "role", "cluster", "object",
			 object(VSPHERE, "VSphereCluster", "c1", cluster), "status",
			 "initialization", "provisioned", 1, "role", "controlPlaneTemplate",
			 "object",
			 object(VSPHERE, "VSphereMachineTemplate", "c1-cp", template_spec()),
			 "role", "workerTemplate", "pool", "md", "object",
			 object(VSPHERE, "VSphereMachineTemplate", "c1-md", template_spec()),
			 "role", "machine", "machine", "m-1", "object",
			 object(VSPHERE, "VSphereMachine", "c1-cp-bcdfg",
				with(clone_spec(), "providerID", json_string("vsphere://42"))),
			 "status", "initialization", "provisioned", 1, "role", "extra", "machine",
			 "m-1", "owner", "Machine", "object",
			 object(VSPHERE, "VSphereVM", "c1-cp-bcdfg",
				with(clone_spec(), "biosUUID", json_string("42"))));
}

json_t *sample_input(const char *ca_crt)
{
	json_t *in = json_pack("{s:o,s:o,s:i,s:s,s:{s:s,s:i},s:s}", "spec", sample_spec(), "keys",
			       sample_keys(ca_crt), "epoch", 1, "gatewayUid", "gw-1", "endpoint",
			       "host", "10.0.0.5", "port", 6443, "kubeconfig", "kind: Config\n");

	json_object_set_new(in, "machines",
			    json_pack("[{s:s,s:s,s:s,s:s,s:{s:s,s:[{s:s,s:s}]}}]", "uid", "m-1",
				      "name", "c1-cp-bcdfg", "pool", "control", "role",
				      "control-plane", "observed", "providerID", "vsphere://42",
				      "addresses", "type", "InternalIP", "address", "10.0.0.5"));
	json_object_set_new(in, "controlPlaneSpec", sample_control_plane_spec());
	json_object_set_new(in, "workerSpec",
			    json_pack("{s:{s:{s:s,s:[{s:s,s:s}]}},s:[]}", "joinConfiguration",
				      "nodeRegistration", "name", "{{ local_hostname }}",
				      "kubeletExtraArgs", "name", "node-labels", "value",
				      "given=yes", "files"));
	json_object_set_new(in, "providerObjects", sample_provider_objects());
	assert(json_object_get(in, "providerObjects"));
	return in;
}

json_t *sample_entry(const json_t *plan, const char *kind, const char *name)
{
	json_t *e;
	size_t i;

	json_array_foreach (json_object_get(plan, "objects"), i, e)
		if (strcmp(json_str_or(e, "object.kind", ""), kind) == 0 &&
		    strcmp(json_str_or(e, "object.metadata.name", ""), name) == 0)
			return e;
	return NULL;
}

void sample_write_file(const char *dir, const char *path, const char *text)
{
	char full[1024];
	FILE *out;

	snprintf(full, sizeof(full), "%s/%s", dir, path);
	for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0700);
		*slash = '/';
	}
	out = fopen(full, "w");
	assert(out);
	fputs(text, out);
	fclose(out);
}

static const char component[] = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: "
				"%1$s\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n"
				"  name: %1$s-manager\n  namespace: %1$s\nspec:\n  replicas: 1\n  "
				"selector:\n    matchLabels:\n      control-plane: %1$s\n"
				"  template:\n    metadata:\n      labels:\n        control-plane: "
				"%1$s\n    spec:\n      containers:\n      - name: manager\n"
				"        image: registry.example/%1$s\n        args: "
				"[\"--level=${LEVEL:=2}\", \"--who=%2$s\"]\n";

void sample_bundle(const char *dir)
{
	static const struct {
		const char *path, *ns, *variable;
	} files[] = {
		{"cert-manager/v1.9.1/cert-manager.yaml", "old", "x"},
		{"cert-manager/v1.21.1/cert-manager.yaml", "cert-manager", "x"},
		{"cluster-api/v1.14.2/core-components.yaml", "capi-system", "x"},
		{"bootstrap-kubeadm/v1.14.2/bootstrap-components.yaml",
		 "capi-kubeadm-bootstrap-system", "x"},
		{"control-plane-kubeadm/v1.14.2/control-plane-components.yaml",
		 "capi-kubeadm-control-plane-system", "x"},
		{"infrastructure-vsphere/v1.17.0/infrastructure-components.yaml", "capv-system",
		 "${VSPHERE_USERNAME}"},
		{"ipam-in-cluster/v1.0.3/ipam-components.yaml", "capi-ipam-in-cluster-system", "x"},
	};
	char text[2048];

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(text, sizeof(text), component, files[i].ns, files[i].variable);
		sample_write_file(dir, files[i].path, text);
	}
}

char *sample_read(const char *path)
{
	FILE *f = fopen(path, "r");
	struct buf b;
	char block[65536];
	size_t n;

	if (!f) {
		perror(path);
		exit(2);
	}
	buf_init(&b, 64u << 20);
	while ((n = fread(block, 1, sizeof(block), f)) > 0)
		buf_add(&b, block, n);
	fclose(f);
	return buf_take(&b);
}

char *sample_folder(void)
{
	const char *tmp = getenv("TMPDIR");
	char *path = NULL;

	assert(asprintf(&path, "%s/check-capi-XXXXXX", tmp ? tmp : "/tmp") > 0);
	assert(mkdtemp(path));
	return path;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void sample_remove(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
