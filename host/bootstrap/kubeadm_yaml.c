/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/kubeadm_yaml.h"

#include "core/attr.h"
#include "core/yaml.h"
#include "host/bootstrap/bootstrap.h"
#include "host/bootstrap/kubeadm_spec.h"
#include "host/bootstrap/version.h"

#include <assert.h>
#include <string.h>

static void list_to_map(json_t *holder, const char *member)
{
	json_t *list = json_object_get(holder, member), *map, *a;
	size_t i;

	if (!json_is_array(list))
		return;
	map = json_object();
	json_array_foreach (list, i, a)
		json_object_set(map, json_str_or(a, "name", ""), json_object_get(a, "value"));
	json_object_set_new(holder, member, map);
}

static void to_v1beta3(json_t *cluster, json_t *node)
{
	static const char *const components[] = {"apiServer", "controllerManager", "scheduler"};

	for (size_t i = 0; i < ARRAY_LEN(components); i++)
		list_to_map(json_object_get(cluster, components[i]), "extraArgs");
	list_to_map(json_object_get(node, "nodeRegistration"), "kubeletExtraArgs");
	json_object_del(cluster, "encryptionAlgorithm");
}

static json_t *endpoint_text(const json_t *endpoint)
{
	const char *host = json_str(endpoint, "host");
	bool six = host && strchr(host, ':');

	if (!host)
		return NULL;
	return json_sprintf("%s%s%s:%d", six ? "[" : "", host, six ? "]" : "",
			    (int)json_int_or(endpoint, "port", 6443));
}

/* What Cluster API's bootstrap provider takes from the Cluster and the Machine. */
static void fill_cluster(json_t *doc, const json_t *input, const struct version *v)
{
	const json_t *spec = json_at(input, "spec");
	json_t *endpoint = endpoint_text(json_at(input, "endpoint"));

	json_put_str(doc, "clusterName", json_str(spec, "name"));
	if (endpoint)
		json_object_set_new(doc, "controlPlaneEndpoint", endpoint);
	json_put_str(doc, "kubernetesVersion", json_str(spec, "kubernetesVersion"));
	json_put_str(doc, "networking.dnsDomain",
		     json_str_or(spec, "serviceDomain", "cluster.local"));
	json_put_str(doc, "networking.podSubnet", json_str_or(spec, "podCIDR", "192.168.0.0/16"));
	json_put_str(doc, "networking.serviceSubnet",
		     json_str_or(spec, "serviceCIDR", "10.96.0.0/12"));
	if (version_has_kubelet_local_mode(v))
		json_put(doc, "featureGates.ControlPlaneKubeletLocalMode", json_true());
}

int kubeadm_yaml_init(const json_t *input, const json_t *cluster, const json_t *node,
		      struct buf *out, struct pcg_error *err)
{
	const char *text = json_str_or(input, "spec.kubernetesVersion", "");
	AUTO_JSON json_t *docs = NULL;
	json_t *c, *n;
	struct version v;

	if (!version_parse(text, &v))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "give a version like v1.36.3",
				"kubernetesVersion \"%s\" is not a version", text);
	const char *api =
		version_has_v1beta4(&v) ? "kubeadm.k8s.io/v1beta4" : "kubeadm.k8s.io/v1beta3";

	c = json_pack("{s:s, s:s}", "apiVersion", api, "kind", "ClusterConfiguration");
	n = json_pack("{s:s, s:s, s:o}", "apiVersion", api, "kind", "InitConfiguration",
		      "nodeRegistration", json_deep_copy(node));
	docs = json_pack("[o,o]", c, n);
	assert(docs);
	AUTO_JSON json_t *copy = json_deep_copy(cluster);
	json_object_update(c, copy);
	fill_cluster(c, input, &v);
	if (!version_has_v1beta4(&v))
		to_v1beta3(c, n);
	return yaml_dump_all(docs, out, err);
}

int bootstrap_kubeadm_yaml(const json_t *input, struct buf *out, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = kubeadm_spec_cluster(input, KUBEADM_SPEC_PLAIN);
	AUTO_JSON json_t *node = kubeadm_spec_node(input, true, KUBEADM_SPEC_PLAIN);

	return kubeadm_yaml_init(input, cluster, node, out, err);
}
