/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"

/* Everything wrong with a spec at once, before a machine is made. */

#include "core/attr.h"
#include "host/bootstrap/version.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define COMMAND_MAX 10240 /* Cluster API's limits for a KubeadmConfig */
#define KEY_MAX 2048
#define ARGUMENT_MAX 1024
#define PATH_LEN_MAX 512
#define FILES_MAX_BYTES \
	(700 << 10) /* of all files: an object of the cluster ends at 1.5 MiB, two carry them */

static void problem(json_t *list, const char *field, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void problem(json_t *list, const char *field, const char *remedy, const char *fmt, ...)
{
	va_list ap;
	json_t *text;

	va_start(ap, fmt);
	text = json_vsprintf(fmt, ap);
	va_end(ap);
	json_array_append_new(list,
			      json_pack("{s:s, s:o, s:s}", "field", field, "text",
					text ? text : json_string("not valid"), "remedy", remedy));
}

static void check_version(json_t *list, const json_t *spec)
{
	const char *text = json_str_or(spec, "kubernetesVersion", "");
	const char *alg = json_str(spec, "kubeadmConfig.encryptionAlgorithm");
	struct version v;

	if (!version_parse(text, &v)) {
		problem(list, "kubernetesVersion", "give a version like v1.36.3",
			"\"%.64s\" is not a Kubernetes version", text);
		return;
	}
	if (text[0] != 'v')
		problem(list, "kubernetesVersion", "begin it with a v, like v1.36.3",
			"\"%.64s\" does not begin with a v", text);
	if (v.major != 1 || v.minor < 22)
		problem(list, "kubernetesVersion", "choose Kubernetes 1.22 or later",
			"%.64s is older than what kubeadm's configuration v1beta3 serves", text);
	if (!alg || strcmp(alg, "RSA-2048") == 0)
		return;
	if (strcmp(alg, "ECDSA-P256") != 0)
		problem(list, "kubeadmConfig.encryptionAlgorithm", "give RSA-2048 or ECDSA-P256",
			"\"%.64s\" is not an algorithm that can be made here", alg);
	else if (!version_has_v1beta4(&v))
		problem(list, "kubeadmConfig.encryptionAlgorithm",
			"leave it out, or choose Kubernetes 1.31 or later",
			"ECDSA-P256 needs Kubernetes 1.31, not %.64s", text);
}

struct range {
	bool six;
	long bits;
};

static bool prefix_ok(const char *cidr, size_t len, struct range *r)
{
	char host[64], *slash, *end;
	unsigned char bytes[16];

	if (len >= sizeof(host))
		return false;
	memcpy(host, cidr, len);
	host[len] = '\0';
	slash = strchr(host, '/');
	if (!slash || !slash[1])
		return false;
	*slash = '\0';
	r->six = strchr(host, ':') != NULL;
	r->bits = strtol(slash + 1, &end, 10);
	return !*end && slash[1] >= '0' && slash[1] <= '9' && r->bits <= (r->six ? 128 : 32) &&
	       inet_pton(r->six ? AF_INET6 : AF_INET, host, bytes) == 1;
}

/* kubeadm's rules. Each node has a /24 or /64 of the pods' range, which holds at most 2^16 of them. */
static bool size_ok(const struct range *r, bool pods)
{
	if (pods)
		return r->six ? r->bits >= 48 && r->bits <= 64 : r->bits >= 8 && r->bits <= 24;
	return r->six ? r->bits >= 108 && r->bits <= 124 : r->bits >= 12 && r->bits <= 28;
}

static bool own_node_ranges(const json_t *spec)
{
	static const char *const args[] = {"node-cidr-mask-size", "node-cidr-mask-size-ipv4",
					   "node-cidr-mask-size-ipv6", "allocate-node-cidrs"};

	for (size_t i = 0; i < ARRAY_LEN(args); i++)
		if (json_object_get(json_at(spec, "kubeadmConfig.controllerManager.extraArgs"), args[i]))
			return true;
	return false;
}

/* One range, or one of each family with a comma between them. */
static void check_ranges(json_t *list, const json_t *spec, const char *field, bool pods)
{
	const char *text = json_str(spec, field), *p = text;
	struct range r[2] = {0};

	if (!text)
		return;
	for (size_t n = 0;; n++) {
		size_t len = strcspn(p, ",");

		if (n == 2 || !prefix_ok(p, len, &r[n]) || (n && r[0].six == r[1].six)) {
			problem(list, field,
				"give an address range like 192.168.0.0/16, or one of each family",
				"\"%.128s\" is not an address range", text);
			return;
		}
		if (!(pods && own_node_ranges(spec)) && !size_ok(&r[n], pods)) {
			problem(list, field,
				pods ? "give a /8 to a /24, of IPv6 a /48 to a /64"
				     : "give a /12 to a /28, of IPv6 a /108 to a /124",
				"kubeadm refuses \"%.128s\" for its size", text);
			return;
		}
		if (!p[len])
			return;
		p += len + 1;
	}
}

static bool dns_label(const char *s, size_t max)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n && n == strlen(s) && n <= max && s[0] != '-' && s[n - 1] != '-';
}

/* As kubeadm takes it: an address, or a domain whose first label may be "*". */
static bool san_ok(const char *s)
{
	unsigned char bytes[16];

	if (inet_pton(AF_INET, s, bytes) == 1 || inet_pton(AF_INET6, s, bytes) == 1)
		return true;
	if (strncmp(s, "*.", 2) == 0)
		s += 2;
	if (strlen(s) > 253)
		return false;
	for (;;) {
		size_t n = strcspn(s, ".");

		if (!n || s[0] == '-' || s[n - 1] == '-' ||
		    strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") < n)
			return false;
		if (!s[n])
			return true;
		s += n + 1;
	}
}

static void check_sans(json_t *list, const json_t *spec)
{
	char field[64];
	size_t i;
	json_t *v;

	json_array_foreach (json_at(spec, "kubeadmConfig.apiServer.certSANs"), i, v) {
		snprintf(field, sizeof(field), "kubeadmConfig.apiServer.certSANs.%zu", i);
		if (!json_is_string(v) || !san_ok(json_string_value(v)))
			problem(list, field, "give a host name or an address, without scheme and port",
				"\"%.128s\" cannot stand in a certificate",
				json_is_string(v) ? json_string_value(v) : "(no text)");
	}
}

static void check_name(json_t *list, const json_t *spec)
{
	const char *name = json_str_or(spec, "name", "");

	if (!dns_label(name, 48))
		problem(list, "name",
			"use lower-case letters, digits and hyphens, at most 48 characters",
			"\"%.128s\" cannot be a cluster's name", name);
}

static bool has_control(const char *s, const char *allowed)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 && !strchr(allowed, *s))
			return true;
	return false;
}

/* Cluster API writes paths, owners, keys and servers into YAML without quotes. */
static bool plain_yaml(const char *s)
{
	return *s && !has_control(s, "") && !strstr(s, ": ") && !strstr(s, " #") &&
	       !strchr("!&*?|>@`\"'%{}[],#-: ", *s) && s[strlen(s) - 1] != ':' &&
	       s[strlen(s) - 1] != ' ';
}

static void check_files(json_t *list, const json_t *spec)
{
	const json_t *files = json_at(spec, "kubeadmConfig.files");
	size_t i, total = 0;
	json_t *f;

	json_array_foreach (files, i, f) {
		const char *path = json_str_or(f, "targetPath", "");
		const char *owner = json_str_or(f, "targetOwner", "root:root");
		const char *mode = json_str_or(f, "targetPermissions", "0644");
		char field[64];

		snprintf(field, sizeof(field), "kubeadmConfig.files.%zu", i);
		if (path[0] != '/' || !plain_yaml(path) || strlen(path) > PATH_LEN_MAX)
			problem(list, field, "give targetPath as an absolute path of at most 512 characters",
				"the file has the targetPath \"%.128s\"", path);
		if (!plain_yaml(owner))
			problem(list, field, "give targetOwner as user:group",
				"the file has the targetOwner \"%.128s\"", owner);
		if (strspn(mode, "01234567") != strlen(mode) || strlen(mode) < 3 ||
		    strlen(mode) > 4)
			problem(list, field, "give targetPermissions in octal, like 0644",
				"the file has the targetPermissions \"%.128s\"", mode);
		total += strlen(json_str_or(f, "content", ""));
	}
	if (total > FILES_MAX_BYTES)
		problem(list, "kubeadmConfig.files", "let the image bring large files",
			"the files have %zu bytes in all; %d are possible", total, FILES_MAX_BYTES);
}

static void check_commands(json_t *list, const json_t *spec, const char *field)
{
	char path[64], item[96];
	size_t i;
	json_t *c;

	snprintf(path, sizeof(path), "kubeadmConfig.%s", field);
	json_array_foreach (json_at(spec, path), i, c) {
		snprintf(item, sizeof(item), "%s.%zu", path, i);
		if (!json_is_string(c))
			problem(list, item, "put quotes around it", "the command is not a text");
		else if (json_string_length(c) > COMMAND_MAX)
			problem(list, item, "put it into a file and run that",
				"the command has %zu characters; Cluster API takes %d",
				json_string_length(c), COMMAND_MAX);
	}
}

static void check_args(json_t *list, const json_t *spec, const char *field)
{
	const char *name;
	char path[64];
	json_t *v;

	snprintf(path, sizeof(path), "kubeadmConfig.%s", field);
	json_object_foreach (json_at(spec, path), name, v)
		if (json_string_length(v) > ARGUMENT_MAX)
			problem(list, path, "put it into a file, where the argument has such a form",
				"the value of %.128s has %zu characters; Cluster API takes %d", name,
				json_string_length(v), ARGUMENT_MAX);
}

static void check_volumes(json_t *list, const json_t *spec, const char *component)
{
	char path[64], item[96];
	size_t i;
	json_t *v;

	snprintf(path, sizeof(path), "kubeadmConfig.%s.extraVolumes", component);
	json_array_foreach (json_at(spec, path), i, v) {
		snprintf(item, sizeof(item), "%s.%zu", path, i);
		if (!*json_str_or(v, "name", "") || json_str_or(v, "hostPath", "")[0] != '/' ||
		    json_str_or(v, "mountPath", "")[0] != '/')
			problem(list, item, "give name, and absolute hostPath and mountPath",
				"the volume \"%.64s\" mounts \"%.128s\" at \"%.128s\"",
				json_str_or(v, "name", ""), json_str_or(v, "hostPath", ""),
				json_str_or(v, "mountPath", ""));
	}
}

static bool ssh_key_ok(const char *s)
{
	static const char *const types[] = {"ssh-ed25519 ", "ssh-rsa ", "ssh-dss ",
					    "ecdsa-sha2-",  "sk-ssh-",  "sk-ecdsa-"};
	const char *blob = strchr(s, ' ');

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strncmp(s, types[i], strlen(types[i])) == 0)
			return blob && blob[1] && strlen(s) <= KEY_MAX && plain_yaml(s);
	return false;
}

static void check_access(json_t *list, const json_t *spec)
{
	char field[64];
	size_t i;
	json_t *v;

	json_array_foreach (json_at(spec, "sshKeys"), i, v) {
		snprintf(field, sizeof(field), "sshKeys.%zu", i);
		if (!json_is_string(v) || !ssh_key_ok(json_string_value(v)))
			problem(list, field,
				"give one public key in OpenSSH's form, like \"ssh-ed25519 AAAA… "
				"name\"",
				"the SSH key is not one line of a public key");
	}
	json_array_foreach (json_at(spec, "ntpServers"), i, v) {
		const char *s = json_is_string(v) ? json_string_value(v) : "";

		snprintf(field, sizeof(field), "ntpServers.%zu", i);
		if (strspn(s,
			   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:") !=
			    strlen(s) ||
		    !*s)
			problem(list, field, "give a host name or an address",
				"\"%.128s\" is not a time server", s);
	}
}

#define ALPHANUMERIC "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* Kubernetes' rule for what names a label and for its value. */
static bool label_text(const char *s, size_t n)
{
	return n && n <= 63 && strspn(s, ALPHANUMERIC "-_.") >= n && strchr(ALPHANUMERIC, s[0]) &&
	       strchr(ALPHANUMERIC, s[n - 1]);
}

static bool label_key(const char *s)
{
	const char *slash = strchr(s, '/'), *name = slash ? slash + 1 : s;
	size_t prefix = slash ? (size_t)(slash - s) : 0;

	if (slash && (!prefix || prefix > 253 ||
		      strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") < prefix))
		return false;
	return label_text(name, strlen(name));
}

static bool label_value(const char *s)
{
	return s && (!*s || label_text(s, strlen(s)));
}

/* Kubernetes' own domains: which of their labels a node may be given, by kubelet itself or by Cluster API.
 * With another one kubelet does not start. */
static bool label_of_a_node(const char *key)
{
	static const char *const names[] = {
		"beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os",
		"failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
		"kubernetes.io/arch", "kubernetes.io/hostname", "kubernetes.io/os",
		"topology.kubernetes.io/region", "topology.kubernetes.io/zone"};
	static const char *const domains[] = {"kubelet.kubernetes.io/", "node.kubernetes.io/",
					      "node-role.kubernetes.io/", "node-restriction.kubernetes.io/"};
	static const char *const own[] = {"kubernetes.io/", "k8s.io/"};
	const char *slash = strchr(key, '/');
	bool kubernetes = false;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(key, names[i]) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(domains); i++)
		if (strncmp(key, domains[i], strlen(domains[i])) == 0)
			return true;
	for (size_t i = 0; slash && i < ARRAY_LEN(own); i++) {
		const char *at = slash + 1 - strlen(own[i]);

		kubernetes |= at >= key && strncmp(at, own[i], strlen(own[i])) == 0 &&
			      (at == key || at[-1] == '.');
	}
	return !kubernetes;
}

static void check_labels(json_t *list, const json_t *spec, const char *pool_field,
			 const json_t *pool)
{
	const json_t *given = json_at(spec, "kubeadmConfig.kubeletExtraArgs.node-labels");
	size_t argument = json_string_length(given);
	char field[96];
	const char *key;
	json_t *value;

	snprintf(field, sizeof(field), "%s.labels", pool_field);
	json_object_foreach (json_at(pool, "labels"), key, value)
		argument += strlen(key) + json_string_length(value) + 2;
	if (argument > ARGUMENT_MAX)
		problem(list, field, "give fewer or shorter labels",
			"the labels have %zu characters in all; Cluster API takes %d", argument,
			ARGUMENT_MAX);
	json_object_foreach (json_at(pool, "labels"), key, value)
		if (!label_key(key) || !label_value(json_string_value(value)))
			problem(list, field,
				"use letters, digits, '-', '_' and '.', at most 63 characters, as "
				"Kubernetes does",
				"\"%.128s\": \"%.128s\" is not a label of a node", key,
				json_is_string(value) ? json_string_value(value) : "(no text)");
		else if (!label_of_a_node(key))
			problem(list, field,
				"use a domain of your own, or node-role.kubernetes.io or "
				"node.kubernetes.io",
				"kubelet may not give a node the label \"%.128s\"", key);
}

static bool taint_ok(const json_t *taint)
{
	static const char *const effects[] = {"NoSchedule", "PreferNoSchedule", "NoExecute"};

	if (!label_key(json_str_or(taint, "key", "")) ||
	    !label_value(json_str_or(taint, "value", "")))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(effects); i++)
		if (strcmp(json_str_or(taint, "effect", ""), effects[i]) == 0)
			return true;
	return false;
}

static void check_taints(json_t *list, const char *pool_field, const json_t *pool)
{
	char field[96];
	json_t *taint;
	size_t i;

	json_array_foreach (json_at(pool, "taints"), i, taint) {
		snprintf(field, sizeof(field), "%s.taints.%zu", pool_field, i);
		if (!taint_ok(taint))
			problem(list, field,
				"give key and value like those of a label, and the effect "
				"NoSchedule, PreferNoSchedule or NoExecute",
				"\"%.128s=%.128s:%.64s\" is not a taint",
				json_str_or(taint, "key", ""), json_str_or(taint, "value", ""),
				json_str_or(taint, "effect", ""));
	}
}

/* The objects of a worker pool are CLUSTER-POOL, and that name is the value of a label; the control
 * plane's are CLUSTER-cp. */
static void check_pool_name(json_t *list, const char *field, const json_t *spec, const json_t *pool)
{
	const char *name = json_str_or(pool, "name", ""), *cluster = json_str_or(spec, "name", "");

	if (json_bool_or(pool, "controlPlane", false))
		return;
	if (strcmp(name, "cp") == 0)
		problem(list, field, "give the pool another name",
			"a worker pool cannot be named \"cp\": its objects would be those of the "
			"control plane");
	else if (strlen(cluster) + 1 + strlen(name) > 63)
		problem(list, field, "shorten one of the names",
			"\"%.64s-%.64s\", the names of cluster and pool, is longer than the 63 "
			"characters that Kubernetes takes",
			cluster, name);
}

static void check_pools(json_t *list, const json_t *spec)
{
	const json_t *pools = json_at(spec, "pools");
	size_t i, control_planes = 0;
	char field[48];
	json_t *p;

	if (!pools)
		return;
	json_array_foreach (pools, i, p) {
		snprintf(field, sizeof(field), "pools.%zu", i);
		control_planes += json_bool_or(p, "controlPlane", false);
		check_pool_name(list, field, spec, p);
		check_labels(list, spec, field, p);
		check_taints(list, field, p);
	}
	if (control_planes != 1)
		problem(list, "pools", "mark exactly one pool as the control plane",
			"%zu pools are control planes", control_planes);
}

json_t *bootstrap_check(const json_t *spec)
{
	json_t *list = json_array();

	check_name(list, spec);
	check_version(list, spec);
	check_ranges(list, spec, "podCIDR", true);
	check_ranges(list, spec, "serviceCIDR", false);
	check_sans(list, spec);
	check_pools(list, spec);
	check_files(list, spec);
	check_args(list, spec, "apiServer.extraArgs");
	check_args(list, spec, "controllerManager.extraArgs");
	check_args(list, spec, "scheduler.extraArgs");
	check_args(list, spec, "kubeletExtraArgs");
	check_volumes(list, spec, "apiServer");
	check_volumes(list, spec, "controllerManager");
	check_volumes(list, spec, "scheduler");
	check_commands(list, spec, "preKubeadmCommands");
	check_commands(list, spec, "postKubeadmCommands");
	check_access(list, spec);
	return list;
}
