/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kubeadm_config.h"

#include "core/clock.h"
#include "core/secret.h"
#include "core/yaml.h"
#include "net/pki.h"

#include <string.h>

#define CONFIG_PATH "/run/kubeadm/kubeadm.yaml"
#define PKI "/etc/kubernetes/pki/"

static const char *const cluster_fields[] = {
	"apiVersion", "kind", "etcd", "networking", "kubernetesVersion", "controlPlaneEndpoint",
	"apiServer", "controllerManager", "scheduler", "dns", "proxy", "certificatesDir", "imageRepository",
	"featureGates", "clusterName", "encryptionAlgorithm", "certificateValidityPeriod",
	"caCertificateValidityPeriod", NULL
};
static const char *const init_fields[] = {
	"apiVersion", "kind", "bootstrapTokens", "dryRun", "nodeRegistration", "localAPIEndpoint",
	"certificateKey", "skipPhases", "patches", "timeouts", NULL
};
static const char *const registration_fields[] = {
	"name", "criSocket", "taints", "kubeletExtraArgs", "ignorePreflightErrors", "imagePullPolicy",
	"imagePullSerial", NULL
};
static const char *const networking_fields[] = { "serviceSubnet", "podSubnet", "dnsDomain", NULL };
static const char *const api_server_fields[] = {
	"extraArgs", "extraVolumes", "extraEnvs", "certSANs", "timeoutForControlPlane", NULL
};
static const char *const component_fields[] = { "extraArgs", "extraVolumes", "extraEnvs", NULL };

#define kubeadm_fail(err, ...)                                                                    \
	pcg_fail((err), PCG_CLASS_PERMANENT, "Correct the user data.", __VA_ARGS__)

static int kubeadm_fields(const json_t *doc, const char *path, const char *const *allowed,
			  struct pcg_error *err)
{
	const json_t *part = *path ? json_at(doc, path) : doc;
	const char *key;
	json_t *v;

	if (part && !json_is_object(part))
		return kubeadm_fail(err, "kubeadm: %s is not a mapping", path);
	json_object_foreach((json_t *)part, key, v) {
		size_t i = 0;

		while (allowed[i] && strcmp(allowed[i], key) != 0)
			i++;
		if (!allowed[i])
			return kubeadm_fail(err, "kubeadm: strict decoding error: unknown field \"%s%s\"",
					    *path ? path : "", key);
	}
	return 0;
}

static int kubeadm_strict(const json_t *cluster, const json_t *init, struct pcg_error *err)
{
	int r = kubeadm_fields(cluster, "", cluster_fields, err);

	r = r ?: kubeadm_fields(cluster, "networking", networking_fields, err);
	r = r ?: kubeadm_fields(cluster, "apiServer", api_server_fields, err);
	r = r ?: kubeadm_fields(cluster, "controllerManager", component_fields, err);
	r = r ?: kubeadm_fields(cluster, "scheduler", component_fields, err);
	r = r ?: kubeadm_fields(init, "", init_fields, err);
	return r ?: kubeadm_fields(init, "nodeRegistration", registration_fields, err);
}

/* v1beta4 has lists of {name, value}, v1beta3 maps. */
static const char *kubeadm_arg(const json_t *args, const char *name)
{
	size_t i;
	json_t *a;

	if (json_is_object(args))
		return json_string_value(json_object_get(args, name));
	json_array_foreach(args, i, a)
		if (strcmp(json_str_or(a, "name", ""), name) == 0)
			return json_str(a, "value");
	return NULL;
}

static int kubeadm_args_form(const json_t *args, bool list, const char *where, struct pcg_error *err)
{
	if (!args || (list ? json_is_array(args) : json_is_object(args)))
		return 0;
	return kubeadm_fail(err, "kubeadm: %s must be %s in this version", where,
			    list ? "a list of name and value" : "a mapping");
}

static int kubeadm_documents(const json_t *docs, const json_t **cluster, const json_t **init,
			     struct pcg_error *err)
{
	const char *version = NULL;
	size_t i;
	json_t *doc;
	int r;

	*cluster = *init = NULL;
	json_array_foreach(docs, i, doc) {
		const char *kind = json_str_or(doc, "kind", ""), *v = json_str_or(doc, "apiVersion", "");

		if (strncmp(v, "kubeadm.k8s.io/", 15) != 0 && strncmp(v, "kubelet.config.k8s.io/", 22) != 0 &&
		    strncmp(v, "kubeproxy.config.k8s.io/", 24) != 0)
			return kubeadm_fail(err, "kubeadm: unknown apiVersion \"%s\" of kind \"%s\"", v, kind);
		if (strncmp(v, "kubeadm.k8s.io/", 15) != 0)
			continue;
		if (strcmp(v + 15, "v1beta3") != 0 && strcmp(v + 15, "v1beta4") != 0)
			return kubeadm_fail(err, "kubeadm: apiVersion \"%s\" of %s is not supported", v, kind);
		version = v + 15;
		if (strcmp(kind, "ClusterConfiguration") == 0)
			*cluster = doc;
		else if (strcmp(kind, "InitConfiguration") == 0)
			*init = doc;
		else if (strcmp(kind, "JoinConfiguration") != 0)
			return kubeadm_fail(err, "kubeadm: no kind \"%s\" is registered for version \"%s\"", kind, v);
	}
	if (!*cluster)
		return kubeadm_fail(err, "kubeadm: %s has no ClusterConfiguration", CONFIG_PATH);
	r = kubeadm_strict(*cluster, *init, err);
	if (r || !version)
		return r;
	r = kubeadm_args_form(json_at(*cluster, "apiServer.extraArgs"), strcmp(version, "v1beta4") == 0,
			      "apiServer.extraArgs", err);
	return r ?: kubeadm_args_form(json_at(*init, "nodeRegistration.kubeletExtraArgs"),
				      strcmp(version, "v1beta4") == 0, "nodeRegistration.kubeletExtraArgs", err);
}

static int kubeadm_pair(const json_t *files, const char *crt, const char *key, struct pcg_error *err)
{
	const char *crt_pem = json_string_value(json_object_get(files, crt));
	const char *key_pem = json_string_value(json_object_get(files, key));
	struct secret *secret;
	int r;

	if (!crt_pem || !key_pem)
		return kubeadm_fail(err, "kubeadm: error execution phase certs: couldn't load the certificate "
				    "authority: %s: no such file", crt_pem ? key : crt);
	secret = secret_new_str(key_pem);
	r = pki_match(crt_pem, secret, err);
	secret_unref(secret);
	return r ? pcg_fail_prefix(err, "kubeadm: error execution phase certs: %s and %s", crt, key) : 0;
}

static int kubeadm_files(const json_t *files, struct pcg_error *err)
{
	const char *pub = json_string_value(json_object_get(files, PKI "sa.pub"));
	const char *key = json_string_value(json_object_get(files, PKI "sa.key"));
	int r = kubeadm_pair(files, PKI "ca.crt", PKI "ca.key", err);

	r = r ?: kubeadm_pair(files, PKI "etcd/ca.crt", PKI "etcd/ca.key", err);
	r = r ?: kubeadm_pair(files, PKI "front-proxy-ca.crt", PKI "front-proxy-ca.key", err);
	if (r)
		return r;
	if (!pub || !strstr(pub, "BEGIN PUBLIC KEY") || !key || !strstr(key, "PRIVATE KEY"))
		return kubeadm_fail(err, "kubeadm: error execution phase certs/sa: %s is missing or no key",
				    pub ? PKI "sa.key" : PKI "sa.pub");
	return 0;
}

static int kubeadm_runs_init(const json_t *runcmd, struct pcg_error *err)
{
	size_t i;
	json_t *cmd;

	json_array_foreach(runcmd, i, cmd)
		if (strstr(json_string_value(cmd), "kubeadm init --config " CONFIG_PATH))
			return 0;
	return kubeadm_fail(err, "nothing was bootstrapped: runcmd has no \"%s%s\"",
			    "kubeadm init --config ", CONFIG_PATH);
}

static int kubeadm_endpoint(const char *text, json_t **out, struct pcg_error *err)
{
	const char *colon = text ? strrchr(text, ':') : NULL;
	char host[256];
	long port;

	if (!text || !*text)
		return kubeadm_fail(err, "kubeadm: controlPlaneEndpoint is missing in %s", CONFIG_PATH);
	if (colon && strchr(text, ':') != colon && text[0] != '[')
		colon = NULL;
	port = colon ? strtol(colon + 1, NULL, 10) : 6443;
	snprintf(host, sizeof(host), "%.*s", colon ? (int)(colon - text) : (int)strlen(text), text);
	if (port <= 0 || port > 65535 || !host[0])
		return kubeadm_fail(err, "kubeadm: controlPlaneEndpoint \"%s\" is not HOST:PORT", text);
	*out = json_pack("{s:s, s:i}", "host", host, "port", (int)port);
	return 0;
}

/* A v1.2x.y or v1.3x.y version, not more strictly than kubeadm takes it. */
static int kubeadm_version(const char *v, struct pcg_error *err)
{
	unsigned major, minor, patch;

	if (!v)
		return kubeadm_fail(err, "kubeadm: kubernetesVersion is missing in %s and there is no way to the "
				    "internet to ask for one", CONFIG_PATH);
	if (sscanf(v, "v%u.%u.%u", &major, &minor, &patch) != 3)
		return kubeadm_fail(err, "kubeadm: \"%s\" is not a semantic version like v1.36.3", v);
	return 0;
}

/* The last assignment in a command such as: sed -i "s#@ID@#sim://abc#g" FILE */
static void kubeadm_apply_sed(const char *cmd, json_t *files)
{
	const char *s = strstr(cmd, "sed -i"), *a, *b, *c;
	const char *path;
	json_t *content;
	char from[256], to[512];
	void *tmp;

	if (!s)
		return;
	s = strpbrk(s, "'\"");
	if (!s || s[1] != 's' || !s[2])
		return;
	a = s + 3;
	b = strchr(a, s[2]);
	c = b ? strchr(b + 1, s[2]) : NULL;
	if (!c || (size_t)(b - a) >= sizeof(from) || (size_t)(c - b - 1) >= sizeof(to))
		return;
	snprintf(from, sizeof(from), "%.*s", (int)(b - a), a);
	snprintf(to, sizeof(to), "%.*s", (int)(c - b - 1), b + 1);
	json_object_foreach_safe(files, tmp, path, content) {
		struct buf out;
		const char *p = json_string_value(content), *hit;

		if (!strstr(cmd, path) || !*from)
			continue;
		buf_init(&out, 4u << 20);
		while ((hit = strstr(p, from))) {
			buf_add(&out, p, (size_t)(hit - p));
			buf_adds(&out, to);
			p = hit + strlen(from);
		}
		buf_adds(&out, p);
		json_object_set_new(files, path, json_string(out.data));
		buf_free(&out);
	}
}

static json_t *kubeadm_result(const json_t *cluster, const json_t *init, const json_t *files,
			      const char *host_name)
{
	const json_t *node = json_at(init, "nodeRegistration");
	const json_t *kubelet = json_at(node, "kubeletExtraArgs");
	const char *cloud = kubeadm_arg(kubelet, "cloud-provider");
	json_t *out = json_object();

	json_put_str(out, "version", json_str(cluster, "kubernetesVersion"));
	json_put_str(out, "clusterName", json_str_or(cluster, "clusterName", "kubernetes"));
	json_put_str(out, "serviceSubnet", json_str_or(cluster, "networking.serviceSubnet", "10.96.0.0/12"));
	json_put_str(out, "podSubnet", json_str_or(cluster, "networking.podSubnet", ""));
	json_put_str(out, "dnsDomain", json_str_or(cluster, "networking.dnsDomain", "cluster.local"));
	json_put_str(out, "nodeName", json_str_or(node, "name", host_name));
	json_put_str(out, "providerID", kubeadm_arg(kubelet, "provider-id"));
	json_put_str(out, "nodeLabels", kubeadm_arg(kubelet, "node-labels"));
	json_object_set_new(out, "externalCloud", json_boolean(cloud && strcmp(cloud, "external") == 0));
	if (json_object_get(node, "taints"))
		json_object_set(out, "taints", json_object_get(node, "taints"));
	if (json_at(cluster, "apiServer.certSANs"))
		json_object_set(out, "certSANs", json_at(cluster, "apiServer.certSANs"));
	json_object_set(out, "caCert", json_object_get(files, PKI "ca.crt"));
	json_object_set(out, "caKey", json_object_get(files, PKI "ca.key"));
	json_object_set(out, "clusterConfiguration", (json_t *)cluster);
	return out;
}

int kubeadm_config_read(const json_t *config, const char *host_name, json_t **out, struct pcg_error *err)
{
	json_t *files = json_object_get(config, "files"), *runcmd = json_object_get(config, "runcmd");
	AUTO_JSON json_t *docs = NULL, *endpoint = NULL;
	const json_t *cluster, *init;
	const char *text;
	size_t i;
	json_t *cmd;
	int r;

	json_array_foreach(runcmd, i, cmd)
		kubeadm_apply_sed(json_string_value(cmd), files);
	r = kubeadm_runs_init(runcmd, err);
	if (r)
		return r;
	text = json_string_value(json_object_get(files, CONFIG_PATH));
	if (!text)
		return kubeadm_fail(err, "kubeadm: unable to read config from \"%s\": no such file or directory",
				    CONFIG_PATH);
	r = yaml_load_all(text, strlen(text), CONFIG_PATH, &docs, err);
	r = r ?: kubeadm_documents(docs, &cluster, &init, err);
	r = r ?: kubeadm_version(json_str(cluster, "kubernetesVersion"), err);
	r = r ?: kubeadm_endpoint(json_str(cluster, "controlPlaneEndpoint"), &endpoint, err);
	r = r ?: kubeadm_files(files, err);
	if (r)
		return r;
	*out = kubeadm_result(cluster, init, files, host_name);
	json_object_set(*out, "endpoint", endpoint);
	return 0;
}
