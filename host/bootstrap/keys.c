/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"

#include "core/attr.h"
#include "core/base64.h"
#include "core/clock.h"
#include "core/yaml.h"
#include "host/bootstrap/version.h"
#include "net/pki.h"

#include <assert.h>
#include <string.h>

#define DAY_MS (24LL * 3600 * 1000)
#define CA_DAYS 3650
#define BACKDATE_MS (5LL * 60 * 1000) /* nodes whose clock is a little behind */

static int choose_algorithm(const json_t *spec, enum pki_alg *alg, struct pcg_error *err)
{
	const char *text = json_str_or(spec, "kubernetesVersion", "");
	const char *wish = json_str(spec, "kubeadmConfig.encryptionAlgorithm");
	struct version v;

	if (!version_parse(text, &v))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "give a version like v1.36.3",
				"kubernetesVersion \"%s\" is not a version", text);
	if (!wish) {
		*alg = version_has_v1beta4(&v) ? PKI_ECDSA_P256 : PKI_RSA_2048;
		return 0;
	}
	if (strcmp(wish, "RSA-2048") == 0) {
		*alg = PKI_RSA_2048;
		return 0;
	}
	if (strcmp(wish, "ECDSA-P256") == 0 && version_has_v1beta4(&v)) {
		*alg = PKI_ECDSA_P256;
		return 0;
	}
	return pcg_fail(err, PCG_CLASS_PERMANENT,
			"give RSA-2048, or ECDSA-P256 with Kubernetes 1.31 or later",
			"encryptionAlgorithm \"%s\" cannot be used with Kubernetes %s", wish, text);
}

/* PEM in the form that kubeadm writes (EC PRIVATE KEY, RSA PRIVATE KEY). */
static int new_key(enum pki_alg alg, struct secret **key, json_t *pair, struct pcg_error *err)
{
	int r = pki_key_new_traditional(alg, key, err);

	if (!r)
		json_object_set_new(pair, "key", json_string(secret_data(*key)));
	return r;
}

static int add_ca(json_t *keys, const char *name, enum pki_alg alg, int64_t now_ms,
		  struct pcg_error *err)
{
	struct pki_cert_spec cs = {
		.common_name = "kubernetes",
		.is_ca = true,
		.serial_zero = true,
		.not_before_ms = now_ms - BACKDATE_MS,
		.not_after_ms = now_ms + CA_DAYS * DAY_MS,
	};
	struct secret *key = NULL;
	AUTO_FREE char *cert = NULL;
	json_t *pair = json_object();
	int r;

	json_object_set_new(keys, name, pair);
	r = new_key(alg, &key, pair, err);
	if (!r)
		r = pki_self_signed(&cs, key, &cert, err);
	if (!r)
		json_object_set_new(pair, "crt", json_string(cert));
	secret_unref(key);
	return r ? pcg_fail_prefix(err, "making the certificate authority \"%s\"", name) : 0;
}

static int add_service_account(json_t *keys, enum pki_alg alg, struct pcg_error *err)
{
	struct secret *key = NULL;
	AUTO_FREE char *pub = NULL;
	json_t *pair = json_object();
	int r;

	json_object_set_new(keys, "sa", pair);
	r = new_key(alg, &key, pair, err);
	if (!r)
		r = pki_public_pem(key, &pub, err);
	if (!r)
		json_object_set_new(pair, "pub", json_string(pub));
	secret_unref(key);
	return r ? pcg_fail_prefix(err, "making the service account key") : 0;
}

int bootstrap_keys_new(const json_t *spec, int64_t now_ms, json_t **keys, struct pcg_error *err)
{
	static const char *const cas[] = {"ca", "etcd", "proxy"};
	enum pki_alg alg = PKI_ECDSA_P256;
	json_t *k;
	int r;

	r = choose_algorithm(spec, &alg, err);
	if (r)
		return r;
	k = json_pack("{s:s}", "algorithm", alg == PKI_RSA_2048 ? "RSA-2048" : "ECDSA-P256");
	for (size_t i = 0; !r && i < ARRAY_LEN(cas); i++)
		r = add_ca(k, cas[i], alg, now_ms, err);
	if (!r)
		r = add_service_account(k, alg, err);
	if (r) {
		json_wipe(k);
		return r;
	}
	*keys = k;
	return 0;
}

int bootstrap_mint_admin(const json_t *keys, const char *common_name, int64_t life_ms,
			 char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	const char *ca = json_str(keys, "ca.crt"), *ca_key = json_str(keys, "ca.key");
	struct pki_cert_spec cs = {
		.common_name = common_name ? common_name : "kubernetes-admin",
		.organization = "system:masters",
		.client_auth = true,
		.not_before_ms = clock_wall_ms() - BACKDATE_MS,
		.not_after_ms = clock_wall_ms() + life_ms,
	};
	struct secret *signer;
	int r;

	if (!ca || !ca_key)
		return pcg_fail(err, PCG_CLASS_BUG, "",
				"making an admin certificate: the cluster's keys have no CA");
	signer = secret_new_str(ca_key);
	*key_pem = NULL;
	r = pki_key_new_traditional(PKI_ECDSA_P256, key_pem, err);
	if (!r)
		r = pki_sign(&cs, *key_pem, ca, signer, cert_pem, err);
	secret_unref(signer);
	if (r) {
		secret_unref(*key_pem);
		*key_pem = NULL;
		return pcg_fail_prefix(err, "making an admin certificate");
	}
	return 0;
}

static json_t *base64_json(const void *data, size_t len)
{
	char *text = base64_encode(data, len);
	json_t *j = json_string(text);

	secret_wipe(text, strlen(text));
	free(text);
	return j;
}

static json_t *server_url(const json_t *endpoint)
{
	const char *host = json_str_or(endpoint, "host", "");
	bool six = strchr(host, ':') != NULL;

	return json_sprintf("https://%s%s%s:%d", six ? "[" : "", host, six ? "]" : "",
			    (int)json_int_or(endpoint, "port", 6443));
}

static json_t *kubeconfig_tree(const char *name, const json_t *endpoint, const char *ca,
			       const char *cert, const struct secret *key)
{
	AUTO_JSON json_t *user = json_sprintf("%s-admin", name);
	AUTO_JSON json_t *context = json_sprintf("%s-admin@%s", name, name);

	return json_pack("{s:s, s:s, s:[{s:s, s:{s:o, s:o}}], s:[{s:s, s:{s:s, s:O}}], s:O, s:{},"
			 " s:[{s:O, s:{s:o, s:o}}]}",
			 "apiVersion", "v1", "kind", "Config", "clusters", "name", name, "cluster",
			 "certificate-authority-data", base64_json(ca, strlen(ca)), "server",
			 server_url(endpoint), "contexts", "name", json_string_value(context),
			 "context", "cluster", name, "user", user, "current-context", context,
			 "preferences", "users", "name", user, "user", "client-certificate-data",
			 base64_json(cert, strlen(cert)), "client-key-data",
			 base64_json(secret_data(key), secret_len(key)));
}

int bootstrap_kubeconfig(const char *cluster_name, const json_t *endpoint, const json_t *keys,
			 int64_t life_ms, struct buf *out, struct pcg_error *err)
{
	AUTO_FREE char *cert = NULL;
	struct secret *key = NULL;
	json_t *tree;
	int r;

	if (!json_str(endpoint, "host"))
		return pcg_fail(err, PCG_CLASS_BUG, "",
				"making the kubeconfig of %s: the cluster has no endpoint yet",
				cluster_name);
	r = bootstrap_mint_admin(keys, NULL, life_ms, &cert, &key, err);
	if (!r) {
		tree = kubeconfig_tree(cluster_name, endpoint, json_str(keys, "ca.crt"), cert, key);
		assert(tree);
		r = yaml_dump(tree, out, err);
		json_wipe(tree);
	}
	secret_unref(key);
	return r;
}
