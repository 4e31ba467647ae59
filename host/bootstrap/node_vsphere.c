/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/node_files.h"

/* The parts of a node that stand in for a load balancer and for a cloud provider. */

#include "core/attr.h"
#include "core/buf.h"
#include "core/yaml.h"
#include "host/bootstrap/version.h"

#include <assert.h>
#include <string.h>

#define KUBE_VIP_REGISTRY "ghcr.io/kube-vip"
#define KUBE_VIP_NAME "kube-vip:v0.6.4"
#define KUBE_VIP_MANIFEST "/etc/kubernetes/manifests/kube-vip.yaml"
#define KUBE_VIP_SCRIPT "/etc/pcg/kube-vip-admin.sh"
#define PROVIDER_ID_SCRIPT "/etc/pcg/provider-id.sh"
#define PROVIDER_ID_UNKNOWN "vsphere://pcg-smbios-uuid"

static const char kube_vip_script[] =
	"#!/bin/sh\n"
	"# kube-vip-admin.sh FILE: which kubeconfig kube-vip uses on the node that runs kubeadm "
	"init.\n"
	"# From Kubernetes 1.29 on admin.conf has no rights before init has nearly ended.\n"
	"[ -f /run/kubeadm/kubeadm.yaml ] || exit 0\n"
	"manifest=" KUBE_VIP_MANIFEST "\n"
	"copy=/run/kubeadm/kube-vip.yaml\n"
	"sed \"s#path: /etc/kubernetes/[a-z-]*[.]conf#path: /etc/kubernetes/$1#\" \"$manifest\" "
	">\"$copy\" &&\n"
	"\tcat \"$copy\" >\"$manifest\"\n";

/* The serial has the uuid's bytes in the order in which vCenter shows config.uuid; product_uuid
 * has its first three groups swapped or not, by virtual hardware version. */
static const char provider_id_script[] =
	"#!/bin/sh\n"
	"# provider-id.sh FILE...: writes this machine's uuid, as vCenter shows it, into "
	"kubeadm's\n"
	"# configuration.\n"
	"dmi=${PCG_DMI_DIR:-/sys/class/dmi/id}\n"
	"serial=$(cat \"$dmi/product_serial\" 2>/dev/null)\n"
	"[ -n \"$serial\" ] ||\n"
	"\tserial=$(dmidecode -s system-serial-number 2>/dev/null | grep '^VMware-' | head -n 1)\n"
	"hex=$(printf %s \"$serial\" | sed -n 's/^VMware-//p' | tr -d ' \\r-' | tr A-F a-f)\n"
	"uuid=$(printf '%s\\n' \"$hex\" |\n"
	"\tsed -n 's/^\\([0-9a-f]\\{8\\}\\)\\([0-9a-f]\\{4\\}\\)\\([0-9a-f]\\{4\\}\\)"
	"\\([0-9a-f]\\{4\\}\\)\\([0-9a-f]\\{12\\}\\)$/\\1-\\2-\\3-\\4-\\5/p')\n"
	"if [ -z \"$uuid\" ]; then\n"
	"\techo \"$0: the serial number '$serial' is not one of a vSphere machine\" >&2\n"
	"\texit 1\n"
	"fi\n"
	"written=no\n"
	"for f; do\n"
	"\tgrep -q " PROVIDER_ID_UNKNOWN " \"$f\" 2>/dev/null || continue\n"
	"\ttext=$(sed \"s#" PROVIDER_ID_UNKNOWN "#vsphere://$uuid#\" \"$f\") || exit 1\n"
	"\tprintf '%s\\n' \"$text\" >\"$f\" || exit 1\n"
	"\twritten=yes\n"
	"done\n"
	"if [ $written = no ]; then\n"
	"\techo \"$0: no file of $* waits for a provider id\" >&2\n"
	"\texit 1\n"
	"fi\n";

static bool wants_kube_vip(const json_t *input)
{
	const char *type = json_str_or(input, "spec.controlPlaneEndpoint.type", "VIP");

	return strcmp(json_str_or(input, "spec.cloudType", ""), "vsphere") == 0 &&
	       strcmp(type, "VIP") == 0 && json_str(input, "endpoint.host");
}

static json_t *kube_vip_env(const json_t *input)
{
	const char *host = json_str(input, "endpoint.host");
	AUTO_JSON json_t *port = json_sprintf("%d", (int)json_int_or(input, "endpoint.port", 6443));
	const char *const env[][2] = {
		{"cp_enable", "true"},
		{"cp_namespace", "kube-system"},
		{"vip_interface", ""}, /* the one of the default route */
		{"address", host},
		{"port", json_string_value(port)},
		{"vip_arp", "true"},
		{"vip_cidr", strchr(host, ':') ? "128" : "32"},
		{"vip_leaderelection", "true"},
		{"vip_leasename", "plndr-cp-lock"},
		{"vip_leaseduration", "15"},
		{"vip_renewdeadline", "10"},
		{"vip_retryperiod", "2"},
	};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(env); i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s}", "name", env[i][0], "value", env[i][1]));
	return list;
}

/* As the images of the bundle: another registry in place of what stands before the last "/". */
static json_t *kube_vip_image(const json_t *input)
{
	const char *repository = json_str_or(input, "imageRepository", "");
	size_t n = strlen(repository);

	while (n && repository[n - 1] == '/')
		n--;
	return n ? json_sprintf("%.*s/" KUBE_VIP_NAME, (int)n, repository)
		 : json_string(KUBE_VIP_REGISTRY "/" KUBE_VIP_NAME);
}

static json_t *kube_vip_pod(const json_t *input)
{
	json_t *container = json_pack(
		"{s:s, s:o, s:s, s:[s], s:o, s:{s:{s:[s,s]}}, s:[{s:s, s:s}, {s:s, s:s}]}", "name",
		"kube-vip", "image", kube_vip_image(input), "imagePullPolicy", "IfNotPresent", "args",
		"manager", "env", kube_vip_env(input), "securityContext", "capabilities", "add",
		"NET_ADMIN", "NET_RAW", "volumeMounts", "mountPath", "/etc/kubernetes/admin.conf",
		"name", "kubeconfig", "mountPath", "/etc/hosts", "name", "etchosts");

	return json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:[o], s:b, s:s, s:[{s:s, s:{s:s, s:s}},"
			 " {s:s, s:{s:s, s:s}}]}}",
			 "apiVersion", "v1", "kind", "Pod", "metadata", "name", "kube-vip",
			 "namespace", "kube-system", "spec", "containers", container, "hostNetwork",
			 1, "priorityClassName", "system-node-critical", "volumes", "name",
			 "kubeconfig", "hostPath", "path", "/etc/kubernetes/admin.conf", "type",
			 "FileOrCreate", "name", "etchosts", "hostPath", "path",
			 "/etc/kube-vip.hosts", "type", "File");
}

int node_files_add_kube_vip(struct node_files *n, const json_t *input, struct pcg_error *err)
{
	struct version v;
	json_t *pod;
	struct buf b;
	int r;

	if (!wants_kube_vip(input))
		return 0;
	buf_init(&b, 64 << 10);
	pod = kube_vip_pod(input);
	assert(pod);
	r = yaml_dump(pod, &b, err);
	json_decref(pod);
	if (!r) {
		node_files_add(n, KUBE_VIP_MANIFEST, "0644", "root:root", false, b.data);
		/* kube-vip must find the API server of its own node, not the address it holds. */
		node_files_add(n, "/etc/kube-vip.hosts", "0644", "root:root", false,
			       "127.0.0.1 localhost kubernetes\n");
	}
	buf_free(&b);
	if (r || !version_parse(json_str(input, "spec.kubernetesVersion"), &v) || v.minor < 29)
		return r;
	node_files_add(n, KUBE_VIP_SCRIPT, "0755", "root:root", false, kube_vip_script);
	node_files_command(n->pre, "sh " KUBE_VIP_SCRIPT " super-admin.conf");
	node_files_command(n->post, "sh " KUBE_VIP_SCRIPT " admin.conf");
	return 0;
}

bool node_files_cloud_provider(const json_t *spec)
{
	size_t i;
	json_t *layer;

	json_array_foreach (json_at(spec, "layers"), i, layer)
		if (strcmp(json_str_or(layer, "layer", ""), "cloud-provider") == 0)
			return true;
	return false;
}

const char *node_files_provider_id(const json_t *input)
{
	const char *command = json_str_or(input, "providerIDCommand", "");

	if (node_files_cloud_provider(json_at(input, "spec")) ||
	    json_str(input, "spec.kubeadmConfig.kubeletExtraArgs.provider-id"))
		return NULL;
	if (strcmp(command, "smbios-vmware") == 0)
		return PROVIDER_ID_UNKNOWN;
	if (strcmp(command, "sim") == 0)
		return "sim://{{ instance_id }}";
	return NULL;
}

void node_files_add_provider_id(struct node_files *n, const json_t *input)
{
	const char *id = node_files_provider_id(input);

	if (!id || strcmp(id, PROVIDER_ID_UNKNOWN) != 0)
		return;
	node_files_add(n, PROVIDER_ID_SCRIPT, "0755", "root:root", false, provider_id_script);
	/* runcmd is one script: "exit" keeps kubeadm from registering a node that nobody finds. */
	node_files_command(n->pre, "sh " PROVIDER_ID_SCRIPT " /run/kubeadm/kubeadm.yaml "
				   "/run/kubeadm/kubeadm-join-config.yaml || exit 1");
}
