/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/kubeadm_spec.h"

#include "core/attr.h"
#include "core/buf.h"
#include "host/bootstrap/bootstrap.h"
#include "host/bootstrap/jinja.h"
#include "host/bootstrap/node_files.h"
#include "host/bootstrap/version.h"

#include <string.h>

static json_t *text(const char *s, bool raw)
{
	return raw ? json_string(s) : jinja_json(s);
}

/* Values of a profile may be written as numbers or booleans. */
static json_t *value_text(const json_t *v, bool raw)
{
	AUTO_FREE char *s = NULL;

	if (json_is_string(v))
		return text(json_string_value(v), raw);
	s = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
	return s ? text(s, raw) : NULL;
}

static void add_arg(json_t *list, const char *name, json_t *value)
{
	if (value)
		json_array_append_new(list, json_pack("{s:s, s:o}", "name", name, "value", value));
}

static json_t *args_list(const json_t *map, bool raw)
{
	json_t *list = json_array(), *v;
	const char *name;

	json_object_foreach ((json_t *)map, name, v)
		if (!json_is_object(v) && !json_is_array(v) && !json_is_null(v))
			add_arg(list, name, value_text(v, raw));
	return list;
}

/* Cluster API refuses empty lists and objects, and takes them for a change where it does not. */
static void set_filled(json_t *to, const char *name, json_t *value)
{
	bool empty =
		json_is_array(value) ? json_array_size(value) == 0 : json_object_size(value) == 0;

	if (empty)
		json_decref(value);
	else
		json_object_set_new(to, name, value);
}

/* What the arguments name on the host: without it in the pod, the component does not start. */
static json_t *volumes(const json_t *given, bool raw)
{
	static const char *const texts[] = {"name", "hostPath", "mountPath", "pathType"};
	json_t *list = json_array(), *v;
	size_t i;

	json_array_foreach (given, i, v) {
		json_t *out = json_object();

		for (size_t k = 0; k < ARRAY_LEN(texts); k++)
			if (*json_str_or(v, texts[k], ""))
				json_object_set_new(out, texts[k], text(json_str(v, texts[k]), raw));
		if (json_bool_or(v, "readOnly", false))
			json_object_set_new(out, "readOnly", json_true());
		json_array_append_new(list, out);
	}
	return list;
}

static json_t *component(const json_t *config, const char *name, bool raw)
{
	const json_t *c = json_object_get(config, name);
	json_t *out = json_object(), *v;
	size_t i;
	json_t *sans = json_array();

	set_filled(out, "extraArgs", args_list(json_object_get(c, "extraArgs"), raw));
	json_array_foreach (json_object_get(c, "certSANs"), i, v)
		if (json_is_string(v))
			json_array_append_new(sans, text(json_string_value(v), raw));
	set_filled(out, "certSANs", sans);
	set_filled(out, "extraVolumes", volumes(json_object_get(c, "extraVolumes"), raw));
	return out;
}

static bool has_arg(const json_t *list, const char *name)
{
	size_t i;
	json_t *a;

	json_array_foreach (list, i, a)
		if (strcmp(json_str_or(a, "name", ""), name) == 0)
			return true;
	return false;
}

/* Before 1.31 the controller manager still has loops of its own for clouds, which must be off. */
static void external_cloud(json_t *cluster, const struct version *v)
{
	json_t *args;

	if (version_has_v1beta4(v))
		return;
	if (!json_at(cluster, "controllerManager.extraArgs"))
		json_put(cluster, "controllerManager.extraArgs", json_array());
	args = json_at(cluster, "controllerManager.extraArgs");
	if (!has_arg(args, "cloud-provider"))
		add_arg(args, "cloud-provider", json_string("external"));
}

json_t *kubeadm_spec_cluster(const json_t *input, enum kubeadm_spec_form form)
{
	bool raw = form == KUBEADM_SPEC_PLAIN;
	const json_t *spec = json_at(input, "spec");
	const json_t *config = json_at(spec, "kubeadmConfig");
	const char *repository = json_str(config, "imageRepository");
	json_t *out = json_object();
	struct version v = {1, 31, 0};

	version_parse(json_str(spec, "kubernetesVersion"), &v);
	set_filled(out, "apiServer", component(config, "apiServer", raw));
	set_filled(out, "controllerManager", component(config, "controllerManager", raw));
	set_filled(out, "scheduler", component(config, "scheduler", raw));
	if (repository && *repository)
		json_object_set_new(out, "imageRepository", text(repository, raw));
	if (node_files_cloud_provider(spec))
		external_cloud(out, &v);
	/* RSA-2048 is what is meant when nothing is said. */
	if (version_has_v1beta4(&v) &&
	    strcmp(json_str_or(config, "encryptionAlgorithm", "ECDSA-P256"), "ECDSA-P256") == 0)
		json_object_set_new(out, "encryptionAlgorithm", json_string("ECDSA-P256"));
	return out;
}

const json_t *kubeadm_spec_pool(const json_t *input, bool control_plane)
{
	const char *name = json_str_or(input, "machine.pool", "");
	const json_t *found = NULL;
	size_t i;
	json_t *p;

	json_array_foreach (json_at(input, "spec.pools"), i, p) {
		if (json_bool_or(p, "controlPlane", false) != control_plane)
			continue;
		if (control_plane || strcmp(json_str_or(p, "name", ""), name) == 0)
			found = p;
	}
	return found;
}

bool kubeadm_spec_label_of_machine(const char *label)
{
	static const char *const domains[] = {"node-role.kubernetes.io/",
					      "node-restriction.kubernetes.io/",
					      "node.cluster.x-k8s.io/"};

	for (size_t i = 0; i < ARRAY_LEN(domains); i++)
		if (strncmp(label, domains[i], strlen(domains[i])) == 0)
			return true;
	return false;
}

static void add_labels(json_t *args, const json_t *pool, bool raw)
{
	const json_t *labels = json_at(pool, "labels");
	const char *name;
	struct buf b;
	size_t i;
	json_t *v, *arg;

	buf_init(&b, 64 << 10);
	json_object_foreach ((json_t *)labels, name, v)
		if (json_is_string(v) && !kubeadm_spec_label_of_machine(name))
			buf_addf(&b, "%s%s=%s", b.len ? "," : "", name, json_string_value(v));
	json_array_foreach (args, i, arg) {
		if (!b.len || strcmp(json_str_or(arg, "name", ""), "node-labels") != 0)
			continue;
		buf_addf(&b, ",%s", json_str_or(arg, "value", ""));
		json_array_remove(args, i);
		break;
	}
	if (b.len)
		add_arg(args, "node-labels", text(b.data, raw));
	buf_free(&b);
}

static json_t *kubelet_args(const json_t *input, const json_t *pool, enum kubeadm_spec_form form)
{
	bool raw = form == KUBEADM_SPEC_PLAIN;
	json_t *args = args_list(json_at(input, "spec.kubeadmConfig.kubeletExtraArgs"), raw);
	const char *id = node_files_provider_id(input);

	if (node_files_cloud_provider(json_at(input, "spec")) && !has_arg(args, "cloud-provider"))
		add_arg(args, "cloud-provider", json_string("external"));
	if (id && strncmp(id, "sim://", 6) == 0 && form != KUBEADM_SPEC_SHARED)
		add_arg(args, "provider-id",
			json_sprintf("sim://%s", json_str_or(input, "machine.uid", "")));
	else if (id)
		add_arg(args, "provider-id", json_string(id));
	add_labels(args, pool, raw);
	return args;
}

/* No member: kubeadm's default, which keeps a control plane for itself. An empty list: no taint. */
static void set_taints(json_t *node, const json_t *pool, bool control_plane, bool raw)
{
	const json_t *given = json_at(pool, "taints");
	json_t *list = json_array(), *t;
	bool open = control_plane && json_bool_or(pool, "controlPlaneAsWorker", false);
	size_t i;

	if (control_plane && !open)
		json_array_append_new(list, json_pack("{s:s, s:s}", "key",
						      "node-role.kubernetes.io/control-plane",
						      "effect", "NoSchedule"));
	json_array_foreach (given, i, t) {
		json_t *out = json_pack("{s:o}", "key", text(json_str_or(t, "key", ""), raw));
		const char *value = json_str(t, "value");

		if (value && *value)
			json_object_set_new(out, "value", text(value, raw));
		json_object_set_new(out, "effect",
				    json_string(json_str_or(t, "effect", "NoSchedule")));
		json_array_append_new(list, out);
	}
	if (open || json_array_size(given))
		json_object_set(node, "taints", list);
	json_decref(list);
}

json_t *kubeadm_spec_node(const json_t *input, bool control_plane, enum kubeadm_spec_form form)
{
	bool raw = form == KUBEADM_SPEC_PLAIN;
	const json_t *pool = kubeadm_spec_pool(input, control_plane);
	const char *name = json_str(input, "machine.name");
	json_t *out =
		json_pack("{s:s, s:s}", "criSocket", "unix:///var/run/containerd/containerd.sock",
			  "name", raw && name ? name : "{{ local_hostname }}");

	set_filled(out, "kubeletExtraArgs", kubelet_args(input, pool, form));
	set_taints(out, pool, control_plane, raw);
	return out;
}
