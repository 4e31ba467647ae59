/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/node_files.h"

/* What a node needs to reach the world: the proxy's settings, and the certificates it trusts. */

#include "core/attr.h"
#include "core/buf.h"
#include "host/bootstrap/bootstrap.h"
#include "net/pki.h"

#include <ctype.h>
#include <string.h>

#define TRUST_DIR "/usr/local/share/ca-certificates"
#define TRUST_SCRIPT "/etc/pcg/trust-certificates.sh"
#define PEM_END "-----END CERTIFICATE-----"

/* Debian reads the folder itself; the tools of SUSE (of the same name as Debian's), Red Hat and Photon read others. */
static const char trust_script[] =
	"#!/bin/sh\n"
	"# Makes the system trust the certificates in " TRUST_DIR ".\n"
	"from=" TRUST_DIR "\n"
	"if [ -d /etc/pki/trust/anchors ] && command -v update-ca-certificates >/dev/null 2>&1; then\n"
	"\tcp \"$from\"/pcg-*.crt /etc/pki/trust/anchors/ && update-ca-certificates\n"
	"elif command -v update-ca-certificates >/dev/null 2>&1; then\n"
	"\tupdate-ca-certificates\n"
	"elif command -v update-ca-trust >/dev/null 2>&1; then\n"
	"\tmkdir -p /etc/pki/ca-trust/source/anchors\n"
	"\tcp \"$from\"/pcg-*.crt /etc/pki/ca-trust/source/anchors/ && update-ca-trust extract\n"
	"elif command -v rehash_ca_certificates.sh >/dev/null 2>&1; then\n"
	"\tfor f in \"$from\"/pcg-*.crt; do\n"
	"\t\tcp \"$f\" \"/etc/ssl/certs/$(basename \"$f\" .crt).pem\" || exit 1\n"
	"\tdone\n"
	"\trehash_ca_certificates.sh\n"
	"else\n"
	"\techo \"$0: no tool of this system takes certificates in\" >&2\n"
	"\texit 1\n"
	"fi\n";

/* Managed Kubernetes and Edge hosts take no certificates of the tenant; their profile may bring
 * some. */
static bool takes_certificates(const char *cloud)
{
	static const char *const exempt[] = {"eks", "aks", "gke"};

	for (size_t i = 0; i < ARRAY_LEN(exempt); i++)
		if (strcmp(cloud, exempt[i]) == 0)
			return false;
	return strncmp(cloud, "edge", 4) != 0;
}

static void file_name(const char *name, size_t nth, char *out, size_t size)
{
	size_t n = 0;

	for (; *name && n < 64 && n + 24 < size; name++)
		out[n++] =
			isalnum((unsigned char)*name) || *name == '-' || *name == '.' ? *name : '-';
	snprintf(out + n, size - n, nth ? "-%zu" : "%.0zu", nth);
}

/* Debian's tool takes one certificate a file. */
static void add_bundle(struct node_files *n, size_t index, const char *name, const char *pem)
{
	const char *at = strstr(pem, "-----BEGIN CERTIFICATE-----"), *end;

	for (size_t nth = 0; at && (end = strstr(at, PEM_END)); nth++) {
		char base[128], path[256];
		size_t len = (size_t)(end - at) + strlen(PEM_END);
		AUTO_FREE char *one = malloc(len + 2);

		memcpy(one, at, len);
		memcpy(one + len, "\n", 2);
		file_name(name, nth, base, sizeof(base));
		snprintf(path, sizeof(path), TRUST_DIR "/pcg-%zu-%s.crt", index, base);
		node_files_add(n, path, "0644", "root:root", false, one);
		at = strstr(end, "-----BEGIN CERTIFICATE-----");
	}
}

int node_files_add_certificates(struct node_files *n, const json_t *input, struct pcg_error *err)
{
	const json_t *certs = json_at(input, "certificates");
	size_t i, count;
	json_t *c;

	if (json_array_size(certs) == 0 ||
	    !takes_certificates(json_str_or(input, "spec.cloudType", "")))
		return 0;
	json_array_foreach (certs, i, c) {
		const char *name = json_str_or(c, "name", "certificate");
		const char *pem = json_str_or(c, "pem", "");
		int r = pki_bundle_check(pem, &count, err);

		if (r)
			return pcg_fail_prefix(err, "certificate \"%s\" for the nodes", name);
		add_bundle(n, i, name, pem);
	}
	node_files_add(n, TRUST_SCRIPT, "0755", "root:root", false, trust_script);
	node_files_command(n->pre, "sh " TRUST_SCRIPT);
	return 0;
}

json_t *bootstrap_no_proxy(const json_t *spec, const json_t *endpoint, const json_t *no_proxy)
{
	const char *domain = json_str_or(spec, "serviceDomain", "cluster.local");
	AUTO_JSON json_t *own_domain = json_sprintf(".%s", domain);
	const char *always[] = {
		"localhost",
		"127.0.0.1",
		"::1",
		json_str_or(spec, "podCIDR", "192.168.0.0/16"),
		json_str_or(spec, "serviceCIDR", "10.96.0.0/12"),
		".svc",
		".cluster.local",
		json_string_value(own_domain),
		json_str(endpoint, "host"),
		"169.254.169.254",
	};
	AUTO_JSON json_t *seen = json_object();
	json_t *out = json_array(), *v;
	size_t i;

	json_array_foreach (no_proxy, i, v) {
		const char *s = json_string_value(v);

		if (s && *s && !json_object_get(seen, s)) {
			json_object_set_new(seen, s, json_true());
			json_array_append(out, v);
		}
	}
	for (i = 0; i < ARRAY_LEN(always); i++)
		if (always[i] && *always[i] && !json_object_get(seen, always[i])) {
			json_object_set_new(seen, always[i], json_true());
			json_array_append_new(out, json_string(always[i]));
		}
	return out;
}

struct proxy_var {
	const char *upper, *lower;
	const char *value; /* NULL: not set */
};

/* The values stand between quotes in files of three syntaxes: what none of them needs is refused.
 */
static int check_value(const struct proxy_var *v, struct pcg_error *err)
{
	for (const char *p = v->value; p && *p; p++)
		if ((unsigned char)*p <= 0x20 || *p == 0x7f || strchr("\"'\\#$`", *p))
			return pcg_fail(err, PCG_CLASS_PERMANENT,
					"write such characters in a URL as %XX",
					"the proxy setting %s for the nodes holds a character that "
					"cannot stand there (code %d)",
					v->upper, (unsigned char)*p);
	return 0;
}

static void add_environment(struct node_files *n, const struct proxy_var *vars, size_t count)
{
	struct buf b;

	buf_init_secret(&b, 1 << 20);
	buf_adds(&b, "\n"); /* the image's last line may have no end */
	for (size_t i = 0; i < count; i++)
		if (vars[i].value)
			buf_addf(&b, "%s=\"%s\"\n%s=\"%s\"\n", vars[i].upper, vars[i].value,
				 vars[i].lower, vars[i].value);
	node_files_add(n, "/etc/environment", "0644", "root:root", true, b.data);
	buf_free(&b);
}

static void add_unit_value(struct buf *b, const char *name, const char *value)
{
	buf_addf(b, "Environment=\"%s=", name);
	for (; *value; value++) /* "%" begins a specifier of systemd */
		buf_add(b, *value == '%' ? "%%" : value, *value == '%' ? 2 : 1);
	buf_adds(b, "\"\n");
}

static void add_drop_in(struct node_files *n, const struct proxy_var *vars, size_t count)
{
	struct buf b;

	buf_init_secret(&b, 1 << 20);
	buf_adds(&b, "[Service]\n");
	for (size_t i = 0; i < count; i++)
		if (vars[i].value)
			add_unit_value(&b, vars[i].upper, vars[i].value);
	node_files_add(n, "/etc/systemd/system/containerd.service.d/http-proxy.conf", "0640",
		       "root:root", false, b.data);
	buf_free(&b);
}

static void add_apt(struct node_files *n, const char *http, const char *https)
{
	struct buf b;

	buf_init_secret(&b, 1 << 20);
	if (http)
		buf_addf(&b, "Acquire::http::Proxy \"%s\";\n", http);
	if (https)
		buf_addf(&b, "Acquire::https::Proxy \"%s\";\n", https);
	if (b.len)
		node_files_add(n, "/etc/apt/apt.conf.d/95pcg-proxy", "0644", "root:root", false,
			       b.data);
	buf_free(&b);
}

static char *join(const json_t *list)
{
	struct buf b;
	size_t i;
	json_t *v;

	buf_init(&b, 1 << 20);
	json_array_foreach (list, i, v)
		buf_addf(&b, "%s%s", i ? "," : "", json_string_value(v));
	return buf_take(&b);
}

static const char *set_or_null(const json_t *proxy, const char *name)
{
	const char *s = json_str(proxy, name);

	return s && *s ? s : NULL;
}

int node_files_add_proxy(struct node_files *n, const json_t *input, struct pcg_error *err)
{
	const json_t *proxy = json_at(input, "proxy");
	const char *http = set_or_null(proxy, "httpProxy"),
		   *https = set_or_null(proxy, "httpsProxy");
	AUTO_JSON json_t *list = NULL;
	AUTO_FREE char *no_proxy = NULL;
	int r = 0;

	if (!http && !https)
		return 0;
	list = bootstrap_no_proxy(json_at(input, "spec"), json_at(input, "endpoint"),
				  json_at(proxy, "noProxy"));
	no_proxy = join(list);

	struct proxy_var vars[] = {
		{"HTTP_PROXY", "http_proxy", http},
		{"HTTPS_PROXY", "https_proxy", https},
		{"NO_PROXY", "no_proxy", no_proxy},
	};
	for (size_t i = 0; !r && i < ARRAY_LEN(vars); i++)
		r = check_value(&vars[i], err);
	if (r)
		return r;
	add_drop_in(n, vars, ARRAY_LEN(vars));
	add_environment(n, vars, ARRAY_LEN(vars));
	add_apt(n, http, https);
	return 0;
}
