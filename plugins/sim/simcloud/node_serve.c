/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/node_serve.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/yaml.h"
#include "net/pki.h"
#include "plugins/sim/simcloud/node.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAMES 64

struct node_names {
	const char *dns[MAX_NAMES + 1], *ip[MAX_NAMES + 1];
	size_t n_dns, n_ip;
};

static bool node_serve_is_ip(const char *s)
{
	struct in6_addr a;

	return inet_pton(AF_INET, s, &a) == 1 || inet_pton(AF_INET6, s, &a) == 1;
}

static void node_serve_name(struct node_names *n, const char *name)
{
	if (!name || !*name)
		return;
	if (node_serve_is_ip(name) && n->n_ip < MAX_NAMES)
		n->ip[n->n_ip++] = name;
	else if (!node_serve_is_ip(name) && n->n_dns < MAX_NAMES)
		n->dns[n->n_dns++] = name;
}

/* The first address of the service range is the API's own. */
static void node_serve_service_ip(const json_t *config, char out[INET_ADDRSTRLEN])
{
	char subnet[64];
	struct in_addr a;
	unsigned bits = 32;

	out[0] = '\0';
	if (sscanf(json_str_or(config, "serviceSubnet", ""), "%63[0-9.]/%u", subnet, &bits) != 2 || bits > 30 ||
	    inet_pton(AF_INET, subnet, &a) != 1)
		return;
	a.s_addr = htonl((ntohl(a.s_addr) & ~(bits ? (UINT32_MAX >> bits) : UINT32_MAX)) + 1);
	inet_ntop(AF_INET, &a, out, INET_ADDRSTRLEN);
}

static int node_serve_certificate(struct kapi *k, struct secret **key, char **cert, struct pcg_error *err)
{
	const char *domain = json_str_or(k->config, "dnsDomain", "cluster.local");
	char service_ip[INET_ADDRSTRLEN];
	AUTO_FREE char *full = NULL;
	struct node_names n = { 0 };
	struct pki_cert_spec spec = { .common_name = "kube-apiserver", .dns = n.dns, .ip = n.ip, .server_auth = true,
				      .not_before_ms = clock_wall_ms() - 300000,
				      .not_after_ms = clock_wall_ms() + INT64_C(365) * 86400000 };
	struct secret *ca_key;
	size_t i;
	json_t *san;
	int r;

	if (asprintf(&full, "kubernetes.default.svc.%s", domain) < 0)
		abort();
	node_serve_service_ip(k->config, service_ip);
	node_serve_name(&n, k->host_name);
	node_serve_name(&n, "kubernetes");
	node_serve_name(&n, "kubernetes.default");
	node_serve_name(&n, "kubernetes.default.svc");
	node_serve_name(&n, full);
	node_serve_name(&n, service_ip);
	node_serve_name(&n, k->address);
	node_serve_name(&n, json_str(k->config, "endpoint.host"));
	json_array_foreach(json_object_get(k->config, "certSANs"), i, san)
		node_serve_name(&n, json_string_value(san));
	r = pki_key_new(PKI_ECDSA_P256, key, err);
	if (r)
		return r;
	ca_key = secret_new_str(json_str_or(k->config, "caKey", ""));
	r = pki_sign(&spec, *key, json_str_or(k->config, "caCert", ""), ca_key, cert, err);
	secret_unref(ca_key);
	if (r) {
		secret_unref(*key);
		*key = NULL;
	}
	return r;
}

static int node_serve_listen(struct kapi *k, const char *address, uint16_t port, const struct http_server_tls *tls,
			     struct pcg_error *err)
{
	struct http_server_limits limits = { .max_body = 8u << 20, .max_connections = 256, .idle_ms = 120000 };
	int r = http_server_new(k->cloud->loop, address, port, tls, &limits, kapi_handle, k, &k->servers[k->n_servers],
				err);

	if (r)
		return r;
	k->n_servers++;
	k->open_handles++;
	return 0;
}

static bool node_serve_is_local(const char *address)
{
	struct ifaddrs *list, *i;
	bool found = false;

	if (strncmp(address, "127.", 4) == 0)
		return true;
	if (getifaddrs(&list))
		return false;
	for (i = list; i; i = i->ifa_next) {
		char text[INET6_ADDRSTRLEN] = "";

		if (!i->ifa_addr)
			continue;
		if (i->ifa_addr->sa_family == AF_INET)
			inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, text, sizeof(text));
		else if (i->ifa_addr->sa_family == AF_INET6)
			inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr, text, sizeof(text));
		found = found || strcmp(text, address) == 0;
	}
	freeifaddrs(list);
	return found;
}

int node_serve_start(struct kapi *k, struct pcg_error *err)
{
	const char *host = json_str_or(k->config, "endpoint.host", "");
	uint16_t port = (uint16_t)json_int_or(k->config, "endpoint.port", 6443);
	struct http_server_tls tls = { .client_ca_pem = json_str(k->config, "caCert") };
	AUTO_FREE char *cert = NULL;
	struct secret *key = NULL;
	int r = node_serve_certificate(k, &key, &cert, err);

	if (r)
		return r;
	tls.cert_pem = cert;
	tls.key_pem = key;
	if (k->machine_uid) {
		r = node_serve_listen(k, "127.0.0.1", (uint16_t)json_int_or(k->config, "simPort", 0), &tls, err);
	} else {
		r = node_serve_listen(k, k->address, 6443, &tls, err);
		if (!r && (strcmp(host, k->address) != 0 || port != 6443) && node_serve_is_ip(host) &&
		    node_serve_is_local(host))
			r = node_serve_listen(k, host, port, &tls, err);
	}
	secret_unref(key);
	if (r)
		node_stop(k);
	return r;
}

static void node_serve_add(struct kapi *k, const char *group, const char *plural, json_t *obj)
{
	kstore_create(k, kres_find(k, group, plural), obj);
}

static void node_serve_kubeadm_config(struct kapi *k)
{
	struct pcg_error err = { 0 };
	struct buf b;

	buf_init(&b, 1u << 20);
	if (!yaml_dump(json_object_get(k->config, "clusterConfiguration"), &b, &err))
		node_serve_add(k, "", "configmaps",
			       json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s}}", "apiVersion", "v1", "kind", "ConfigMap",
					 "metadata", "name", "kubeadm-config", "namespace", "kube-system", "data",
					 "ClusterConfiguration", b.data));
	buf_free(&b);
}

static json_t *node_serve_pod(const char *app, bool host_network, json_t *tolerations)
{
	json_t *pod = json_pack("{s:[{s:s, s:o}], s:o}", "containers", "name", app, "image",
				json_sprintf("registry.k8s.io/%s", app), "tolerations", tolerations);

	if (host_network)
		json_object_set_new(pod, "hostNetwork", json_true());
	return json_pack("{s:{s:{s:s}}, s:{s:{s:{s:s}}, s:o}}", "selector", "matchLabels", "k8s-app", app, "template",
			 "metadata", "labels", "k8s-app", app, "spec", pod);
}

static void node_serve_addons(struct kapi *k)
{
	json_t *proxy = node_serve_pod("kube-proxy", true, json_pack("[{s:s}]", "operator", "Exists"));
	json_t *dns = node_serve_pod("kube-dns", false,
				     json_pack("[{s:s, s:s}, {s:s, s:s}]", "key", "CriticalAddonsOnly", "operator", "Exists",
					       "key", "node-role.kubernetes.io/control-plane", "effect", "NoSchedule"));

	json_object_set_new(dns, "replicas", json_integer(2));
	node_serve_add(k, "apps", "daemonsets",
		       json_pack("{s:s, s:s, s:{s:s, s:s}, s:o}", "apiVersion", "apps/v1", "kind", "DaemonSet", "metadata",
				 "name", "kube-proxy", "namespace", "kube-system", "spec", proxy));
	node_serve_add(k, "apps", "deployments",
		       json_pack("{s:s, s:s, s:{s:s, s:s}, s:o}", "apiVersion", "apps/v1", "kind", "Deployment", "metadata",
				 "name", "coredns", "namespace", "kube-system", "spec", dns));
}

void node_serve_objects(struct kapi *k)
{
	static const char *const namespaces[] = { "default", "kube-system", "kube-public", "kube-node-lease" };
	char service_ip[INET_ADDRSTRLEN];
	AUTO_JSON json_t *def = json_pack("[{s:s, s:s}]", "key", "node-role.kubernetes.io/control-plane", "effect",
					  "NoSchedule");
	const json_t *taints = json_object_get(k->config, "taints");

	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++)
		node_serve_add(k, "", "namespaces",
			       json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "Namespace", "metadata", "name",
					 namespaces[i]));
	node_serve_service_ip(k->config, service_ip);
	node_serve_add(k, "", "services",
		       json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s, s:s}}, s:{s:s, s:s, s:[{s:s, s:i, s:i, s:s}]}}", "apiVersion",
				 "v1", "kind", "Service", "metadata", "name", "kubernetes", "namespace", "default", "labels",
				 "component", "apiserver", "provider", "kubernetes", "spec", "clusterIP", service_ip, "type",
				 "ClusterIP", "ports", "name", "https", "port", 443, "targetPort", 6443, "protocol", "TCP"));
	node_serve_kubeadm_config(k);
	node_serve_addons(k);
	node_register(k, json_str_or(k->config, "nodeName", k->host_name), json_str(k->config, "providerID"), k->address, true,
		      taints ? taints : def);
}

static json_t *node_register_labels(struct kapi *k, const char *name, bool control_plane)
{
	json_t *labels = json_pack("{s:s, s:s, s:s}", "kubernetes.io/hostname", name, "kubernetes.io/os", "linux",
				   "kubernetes.io/arch", "amd64");
	AUTO_FREE char *given = strdup(control_plane ? json_str_or(k->config, "nodeLabels", "") : "");
	char *save = NULL;

	if (control_plane) {
		json_object_set_new(labels, "node-role.kubernetes.io/control-plane", json_string(""));
		json_object_set_new(labels, "node.kubernetes.io/exclude-from-external-load-balancers", json_string(""));
	}
	for (char *p = strtok_r(given, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		char *value = strchr(p, '=');

		if (value)
			*value++ = '\0';
		json_object_set_new(labels, p, json_string(value ? value : ""));
	}
	return labels;
}

void node_register(struct kapi *k, const char *name, const char *provider_id, const char *address, bool control_plane,
		   const json_t *taints)
{
	bool external = control_plane && json_bool_or(k->config, "externalCloud", false);
	json_t *all = taints ? json_deep_copy(taints) : json_array(), *node, *spec;

	json_array_append_new(all, json_pack("{s:s, s:s}", "key", "node.kubernetes.io/not-ready", "effect", "NoSchedule"));
	if (external)
		json_array_append_new(all, json_pack("{s:s, s:s, s:s}", "key", "node.cloudprovider.kubernetes.io/uninitialized",
						     "value", "true", "effect", "NoSchedule"));
	spec = json_pack("{s:o}", "taints", all);
	if (provider_id && !external)
		json_object_set_new(spec, "providerID", json_string(provider_id));
	node = json_pack("{s:s, s:s, s:{s:s, s:o}, s:o, s:{s:[{s:s, s:s}, {s:s, s:s}], s:{s:s, s:s}}}", "apiVersion", "v1",
			 "kind", "Node", "metadata", "name", name, "labels", node_register_labels(k, name, control_plane), "spec",
			 spec, "status", "addresses", "type", "InternalIP", "address", address, "type", "Hostname", "address",
			 name, "nodeInfo", "kubeletVersion", json_str_or(k->config, "version", ""), "operatingSystem", "linux");
	node_serve_add(k, "", "nodes", node);
}
