/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"

/*
 * One kubeadmConfigSpec is made, and the first node's user data is rendered from it the way
 * Cluster API's bootstrap provider renders it for the nodes that follow: both cannot differ.
 */

#include "core/attr.h"
#include "core/yaml.h"
#include "host/bootstrap/jinja.h"
#include "host/bootstrap/kubeadm_spec.h"
#include "host/bootstrap/kubeadm_yaml.h"
#include "host/bootstrap/node_files.h"
#include "host/bootstrap/version.h"

#include <string.h>

#define HEADER "## template: jinja\n"
#define CONFIG_PATH "/run/kubeadm/kubeadm.yaml"
#define SUCCESS "echo success > /run/cluster-api/bootstrap-success.complete"
#define PLACEHOLDER                                                                            \
	"This placeholder file is used to create the /run/cluster-api sub directory in a way " \
	"that is compatible with both Linux and Windows (mkdir -p /run/cluster-api does not "  \
	"work with Windows)"

static void set_filled(json_t *to, const char *name, json_t *list)
{
	if (json_array_size(list) || json_object_size(list))
		json_object_set(to, name, list);
}

/* The images of CAPV's templates know the user capv, those of the other providers ubuntu. */
static json_t *users(const json_t *spec)
{
	bool vsphere = strcmp(json_str_or(spec, "cloudType", ""), "vsphere") == 0;
	json_t *keys = json_array(), *k;
	size_t i;

	json_array_foreach (json_at(spec, "sshKeys"), i, k)
		if (json_is_string(k))
			json_array_append_new(keys, jinja_json(json_string_value(k)));
	if (json_array_size(keys) == 0) {
		json_decref(keys);
		return json_array();
	}
	return json_pack("[{s:s, s:s, s:o}]", "name", vsphere ? "capv" : "ubuntu", "sudo",
			 "ALL=(ALL) NOPASSWD:ALL", "sshAuthorizedKeys", keys);
}

static json_t *ntp(const json_t *spec)
{
	json_t *servers = json_array(), *s, *out;
	size_t i;

	json_array_foreach (json_at(spec, "ntpServers"), i, s)
		if (json_is_string(s))
			json_array_append_new(servers, jinja_json(json_string_value(s)));
	out = json_array_size(servers) ? json_pack("{s:b, s:O}", "enabled", 1, "servers", servers)
				       : json_object();
	json_decref(servers);
	return out;
}

/* What the specs of control plane and workers have in common. */
static int common_spec(const json_t *input, bool control_plane, json_t *out, struct pcg_error *err)
{
	AUTO_JSON json_t *user_list = users(json_at(input, "spec"));
	AUTO_JSON json_t *ntp_servers = ntp(json_at(input, "spec"));
	struct node_files parts;
	int r;

	r = node_files_collect(input, control_plane, &parts, err);
	if (r)
		return r;
	set_filled(out, "files", parts.files);
	set_filled(out, "preKubeadmCommands", parts.pre);
	set_filled(out, "postKubeadmCommands", parts.post);
	set_filled(out, "ntp", ntp_servers);
	set_filled(out, "users", user_list);
	node_files_free(&parts);
	return 0;
}

static int check_version(const json_t *input, struct version *v, struct pcg_error *err)
{
	const char *text = json_str_or(input, "spec.kubernetesVersion", "");

	if (version_parse(text, v))
		return 0;
	return pcg_fail(err, PCG_CLASS_PERMANENT, "give a version like v1.36.3",
			"kubernetesVersion \"%s\" is not a version", text);
}

int bootstrap_control_plane_spec(const json_t *input, json_t **kubeadm_config_spec,
				 struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = kubeadm_spec_cluster(input, KUBEADM_SPEC_SHARED);
	AUTO_JSON json_t *node = kubeadm_spec_node(input, true, KUBEADM_SPEC_SHARED);
	json_t *out = json_object();
	struct version v;
	int r;

	set_filled(out, "clusterConfiguration", cluster);
	json_object_set_new(out, "initConfiguration", json_pack("{s:O}", "nodeRegistration", node));
	json_object_set_new(out, "joinConfiguration",
			    json_pack("{s:o}", "nodeRegistration", json_deep_copy(node)));
	r = check_version(input, &v, err);
	if (!r)
		r = common_spec(input, true, out, err);
	if (r) {
		json_decref(out);
		return r;
	}
	*kubeadm_config_spec = out;
	return 0;
}

int bootstrap_first_machine_spec(const json_t *input, json_t **kubeadm_config_spec,
				 struct pcg_error *err)
{
	struct version v;
	json_t *out;
	int r;

	r = bootstrap_control_plane_spec(input, &out, err);
	if (!r)
		r = check_version(input, &v, err);
	if (r)
		return r;
	json_object_del(out, "joinConfiguration");
	if (version_has_kubelet_local_mode(&v))
		json_put(out, "clusterConfiguration.featureGates.ControlPlaneKubeletLocalMode",
			 json_true());
	*kubeadm_config_spec = out;
	return 0;
}

int bootstrap_worker_spec(const json_t *input, json_t **kubeadm_config_spec, struct pcg_error *err)
{
	json_t *out = json_object();
	struct version v;
	int r;

	json_object_set_new(out, "joinConfiguration",
			    json_pack("{s:o}", "nodeRegistration",
				      kubeadm_spec_node(input, false, KUBEADM_SPEC_SHARED)));
	r = check_version(input, &v, err);
	if (!r)
		r = common_spec(input, false, out, err);
	if (r) {
		json_decref(out);
		return r;
	}
	*kubeadm_config_spec = out;
	return 0;
}

static int add_key_files(json_t *files, const json_t *keys, struct pcg_error *err)
{
	static const struct {
		const char *member, *path, *permissions;
	} table[] = {
		{"ca.crt", "/etc/kubernetes/pki/ca.crt", "0640"},
		{"ca.key", "/etc/kubernetes/pki/ca.key", "0600"},
		{"etcd.crt", "/etc/kubernetes/pki/etcd/ca.crt", "0640"},
		{"etcd.key", "/etc/kubernetes/pki/etcd/ca.key", "0600"},
		{"proxy.crt", "/etc/kubernetes/pki/front-proxy-ca.crt", "0640"},
		{"proxy.key", "/etc/kubernetes/pki/front-proxy-ca.key", "0600"},
		{"sa.pub", "/etc/kubernetes/pki/sa.pub", "0640"},
		{"sa.key", "/etc/kubernetes/pki/sa.key", "0600"},
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const char *content = json_str(keys, table[i].member);

		if (!content)
			return pcg_fail(err, PCG_CLASS_BUG, "",
					"rendering user data: the cluster's keys have no %s",
					table[i].member);
		json_array_append_new(files,
				      json_pack("{s:s, s:s, s:s, s:s}", "path", table[i].path,
						"owner", "root:root", "permissions",
						table[i].permissions, "content", content));
	}
	return 0;
}

static int add_kubeadm_file(json_t *files, const json_t *input, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = kubeadm_spec_cluster(input, KUBEADM_SPEC_FIRST);
	AUTO_JSON json_t *node = kubeadm_spec_node(input, true, KUBEADM_SPEC_FIRST);
	struct buf b;
	int r;

	buf_init(&b, 1 << 20);
	r = kubeadm_yaml_init(input, cluster, node, &b, err);
	if (!r)
		json_array_append_new(files, json_pack("{s:s, s:s, s:s, s:s}", "path", CONFIG_PATH,
						       "owner", "root:root", "permissions", "0640",
						       "content", b.data));
	buf_free(&b);
	return r;
}

static json_t *run_commands(const json_t *spec)
{
	json_t *list = json_array();

	json_array_extend(list, json_object_get(spec, "preKubeadmCommands"));
	json_array_append_new(list,
			      json_string("kubeadm init --config " CONFIG_PATH " && " SUCCESS));
	json_array_extend(list, json_object_get(spec, "postKubeadmCommands"));
	return list;
}

/* From Cluster API's names to cloud-init's. */
static void set_users(json_t *doc, const json_t *list)
{
	json_t *out = json_array(), *u;
	size_t i;

	json_array_foreach (list, i, u) {
		json_t *copy = json_copy(u);

		json_object_set(copy, "ssh_authorized_keys",
				json_object_get(copy, "sshAuthorizedKeys"));
		json_object_del(copy, "sshAuthorizedKeys");
		json_array_append_new(out, copy);
	}
	set_filled(doc, "users", out);
	json_decref(out);
}

static int cloud_config(const json_t *input, const json_t *spec, json_t *doc, struct pcg_error *err)
{
	json_t *files = json_array();
	int r;

	json_object_set_new(doc, "write_files", files);
	r = add_key_files(files, json_at(input, "keys"), err);
	if (r)
		return r;
	json_array_extend(files, json_object_get(spec, "files"));
	r = add_kubeadm_file(files, input, err);
	if (r)
		return r;
	json_array_append_new(files, json_pack("{s:s, s:s, s:s, s:s}", "path",
					       "/run/cluster-api/placeholder", "owner", "root:root",
					       "permissions", "0640", "content", PLACEHOLDER));
	json_object_set_new(doc, "runcmd", run_commands(spec));
	set_filled(doc, "ntp", json_object_get(spec, "ntp"));
	set_users(doc, json_object_get(spec, "users"));
	return 0;
}

int bootstrap_user_data(const json_t *input, struct buf *out, struct pcg_error *err)
{
	AUTO_JSON json_t *spec = NULL;
	json_t *doc;
	int r;

	r = bootstrap_control_plane_spec(input, &spec, err);
	if (r)
		return r;
	doc = json_object();
	r = cloud_config(input, spec, doc, err);
	if (!r) {
		buf_adds(out, HEADER "#cloud-config\n");
		r = yaml_dump(doc, out, err);
	}
	json_decref(doc);
	if (!r && out->overflow)
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "make the profile's files smaller",
			     "the user data of %s is larger than %zu bytes",
			     json_str_or(input, "machine.name", "the first machine"), out->max);
	return r ? pcg_fail_prefix(err, "rendering user data") : 0;
}
