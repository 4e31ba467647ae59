/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_client_impl.h"

#include "core/clock.h"
#include "net/pki_impl.h"
#include "net/url.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static int slot_index = -1;

static void store_add(void *store, X509 *cert)
{
	X509_STORE_add_cert(store, cert);
}

static int store_add_pem(X509_STORE *store, const char *pem, const char *what,
			 struct pcg_error *err)
{
	size_t n;

	if (pki_bundle_each(pem, store_add, store, &n, err))
		return pcg_fail_prefix(err, "%s", what);
	ERR_clear_error();
	return 0;
}

X509_STORE *http_tls_store_with(const struct http_tls_ctx *t, const char *more_pem,
				struct pcg_error *err)
{
	X509_STORE *store = X509_STORE_new();
	int r = 0;

	if (!store)
		abort();
	/* A CA file may hold an intermediate alone, as it may for curl and Go. */
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	if (t->ca_pem)
		r = store_add_pem(store, t->ca_pem, "the CA", err);
	else if (!X509_STORE_set_default_paths(store))
		r = pki_fail_openssl(err, PCG_CLASS_PERMANENT, "install the package ca-certificates",
				     "opening the system's certificate authorities");
	if (!r && more_pem)
		r = store_add_pem(store, more_pem, "the proxy's CA", err);
	if (r) {
		X509_STORE_free(store);
		return NULL;
	}
	return store;
}

static int thumb_set(struct http_tls_ctx *t, const char *text, struct pcg_error *err)
{
	char hex[65];
	unsigned byte;
	int r = pki_thumbprint_normal(text, hex, err);

	if (r)
		return r;
	for (const char *p = hex; *p; p += 2) {
		if (sscanf(p, "%2x", &byte) != 1)
			abort();
		t->thumb[t->thumb_len++] = (unsigned char)byte;
	}
	return 0;
}

/* The first is the client's own, the others lead to its CA. */
static void client_cert_add(void *arg, X509 *cert)
{
	struct http_tls_ctx *t = arg;

	X509_up_ref(cert);
	if (!t->cert)
		t->cert = cert;
	else if (!sk_X509_push(t->chain, cert))
		abort();
}

static int client_cert_set(struct http_tls_ctx *t, const struct http_tls *spec,
			   struct pcg_error *err)
{
	size_t n;

	if (!spec->client_key_pem)
		return pcg_fail(err, PCG_CLASS_BUG, "", "a client certificate without its key");
	t->chain = sk_X509_new_null();
	if (!t->chain)
		abort();
	if (pki_bundle_each(spec->client_cert_pem, client_cert_add, t, &n, err))
		return pcg_fail_prefix(err, "the client certificate");
	t->key = pki_load_key(spec->client_key_pem, "the client certificate's key", err);
	if (!t->key)
		return pcg_error_code(err);
	if (!pki_same_key(t->cert, t->key))
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"give the key that the certificate was made for",
				"the client certificate and its private key do not belong together");
	ERR_clear_error();
	return 0;
}

int http_tls_new(const struct http_tls *spec, struct http_tls_ctx **out, struct pcg_error *err)
{
	struct http_tls_ctx *t = calloc(1, sizeof(*t));
	int r = 0;

	if (!t)
		abort();
	t->magic = HTTP_TLS_MAGIC;
	atomic_init(&t->refs, 1);
	t->insecure = spec->insecure;
	t->ca_pem = spec->ca_pem && spec->ca_pem[0] ? strdup(spec->ca_pem) : NULL;
	t->server_name = spec->server_name && spec->server_name[0] ? strdup(spec->server_name) : NULL;
	if (spec->thumbprint && spec->thumbprint[0])
		r = thumb_set(t, spec->thumbprint, err);
	if (!r && !t->insecure && !t->thumb_len) {
		t->store = http_tls_store_with(t, NULL, err);
		if (!t->store)
			r = pcg_error_code(err);
	}
	if (!r && spec->client_cert_pem && spec->client_cert_pem[0])
		r = client_cert_set(t, spec, err);
	if (r) {
		http_tls_unref(t);
		t = NULL;
	}
	*out = t;
	return r;
}

struct http_tls_ctx *http_tls_ref(struct http_tls_ctx *t)
{
	if (t) {
		assert(t->magic == HTTP_TLS_MAGIC);
		atomic_fetch_add(&t->refs, 1);
	}
	return t;
}

void http_tls_unref(struct http_tls_ctx *t)
{
	if (!t)
		return;
	assert(t->magic == HTTP_TLS_MAGIC);
	if (atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	X509_STORE_free(t->store);
	X509_free(t->cert);
	sk_X509_pop_free(t->chain, X509_free);
	EVP_PKEY_free(t->key);
	free(t->ca_pem);
	free(t->server_name);
	t->magic = 0;
	free(t);
}

bool http_tls_unshared(const struct http_tls_ctx *t)
{
	return atomic_load(&t->refs) == 1;
}

int64_t http_tls_not_after_ms(const struct http_tls_ctx *t)
{
	return t->cert ? pki_time_ms(X509_get0_notAfter(t->cert)) : 0;
}

static void name_text(const X509_NAME *name, char *out, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;

	if (!bio)
		abort();
	X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
	text = pki_bio_text(bio);
	snprintf(out, size, "%s", text);
	free(text);
}

static int thumb_verify(struct http_slot *s, X509 *leaf)
{
	const struct http_tls_ctx *t = s->pool->tls;
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	size_t used;

	if (!X509_digest(leaf, t->thumb_len == 20 ? EVP_sha1() : EVP_sha256(), md, &len))
		len = 0;
	if (len == t->thumb_len && !CRYPTO_memcmp(md, t->thumb, len))
		return X509_V_OK;
	used = (size_t)snprintf(s->verify_text, sizeof(s->verify_text),
				"the server's certificate has the %s thumbprint ",
				t->thumb_len == 20 ? "SHA-1" : "SHA-256");
	for (unsigned i = 0; i < len && used + 4 < sizeof(s->verify_text); i++)
		used += (size_t)snprintf(s->verify_text + used, sizeof(s->verify_text) - used,
					 i ? ":%02X" : "%02X", md[i]);
	snprintf(s->verify_text + used, sizeof(s->verify_text) - used, ", another one is expected");
	return X509_V_ERR_APPLICATION_VERIFICATION;
}

/* A certificate that is at fault by its time, or this machine's clock. */
static void add_time(struct http_slot *s, const X509 *cert)
{
	char from[CLOCK_RFC3339_SIZE], until[CLOCK_RFC3339_SIZE], now[CLOCK_RFC3339_SIZE];
	size_t used = strlen(s->verify_text);

	s->verify_time = true;
	snprintf(s->verify_text + used, sizeof(s->verify_text) - used,
		 " (valid from %s to %s, this machine's clock says %s)",
		 clock_rfc3339(pki_time_ms(X509_get0_notBefore(cert)), from),
		 clock_rfc3339(pki_time_ms(X509_get0_notAfter(cert)), until),
		 clock_rfc3339(clock_wall_ms(), now));
}

static int chain_verify(struct http_slot *s, X509_STORE_CTX *seen, SSL *ssl)
{
	X509 *leaf = X509_STORE_CTX_get0_cert(seen);
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	X509 *at_fault = NULL;
	char issuer[256];
	int result = X509_V_ERR_UNSPECIFIED;

	if (!ctx || !X509_STORE_CTX_init(ctx, s->pool->store, leaf,
					 X509_STORE_CTX_get0_untrusted(seen)))
		goto out;
	param = X509_STORE_CTX_get0_param(ctx);
	X509_STORE_CTX_set_default(ctx, "ssl_server");
	X509_VERIFY_PARAM_set_auth_level(param, SSL_get_security_level(ssl));
	X509_VERIFY_PARAM_set_time(param, (time_t)(clock_wall_ms() / 1000));
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (url_host_is_ip(s->host) ? !X509_VERIFY_PARAM_set1_ip_asc(param, s->host) :
				      !X509_VERIFY_PARAM_set1_host(param, s->host, 0))
		goto out;
	result = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	at_fault = X509_STORE_CTX_get_current_cert(ctx);
out:
	if (result != X509_V_OK) {
		name_text(X509_get_issuer_name(leaf), issuer, sizeof(issuer));
		snprintf(s->verify_text, sizeof(s->verify_text),
			 "the server's certificate, issued by \"%s\", was not accepted for %s: %s", issuer,
			 s->host, X509_verify_cert_error_string(result));
		if (at_fault && (result == X509_V_ERR_CERT_NOT_YET_VALID ||
				 result == X509_V_ERR_CERT_HAS_EXPIRED))
			add_time(s, at_fault);
	}
	X509_STORE_CTX_free(ctx);
	return result;
}

static void digest_hex(X509 *leaf, const EVP_MD *type, char *out)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (!X509_digest(leaf, type, md, &len))
		len = 0;
	out[0] = '\0';
	for (unsigned i = 0; i < len; i++)
		snprintf(out + (size_t)2 * i, 3, "%02x", md[i]);
}

static void note_peer(struct http_tls_ctx *t, X509 *leaf)
{
	digest_hex(leaf, EVP_sha1(), t->peer_sha1);
	digest_hex(leaf, EVP_sha256(), t->peer_sha256);
}

const char *http_tls_peer_sha1(const struct http_tls_ctx *t)
{
	return t ? t->peer_sha1 : "";
}

const char *http_tls_peer_sha256(const struct http_tls_ctx *t)
{
	return t ? t->peer_sha256 : "";
}

/* Takes the place of OpenSSL's own verification, whatever libcurl has put into the SSL_CTX. */
static int verify_cb(X509_STORE_CTX *seen, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(seen, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct http_slot *s = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), slot_index);
	int result;

	assert(s && s->pool == arg);
	note_peer(s->pool->tls, X509_STORE_CTX_get0_cert(seen));
	if (s->pool->tls->thumb_len)
		result = thumb_verify(s, X509_STORE_CTX_get0_cert(seen));
	else if (s->pool->tls->insecure)
		result = X509_V_OK;
	else
		result = chain_verify(s, seen, ssl);
	X509_STORE_CTX_set_error(seen, result);
	s->verify_failed = result != X509_V_OK;
	ERR_clear_error();
	return result == X509_V_OK;
}

CURLcode http_tls_setup(CURL *easy, void *ssl_ctx, void *arg)
{
	struct http_slot *s = arg;
	const struct http_tls_ctx *t = s->pool->tls;
	SSL_CTX *ctx = ssl_ctx;

	if (slot_index < 0)
		slot_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	s->verify_failed = s->verify_time = false;
	SSL_CTX_set_ex_data(ctx, slot_index, s);
	SSL_CTX_set_cert_verify_callback(ctx, verify_cb, s->pool);
	SSL_CTX_set_verify(ctx, t->insecure && !t->thumb_len ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	/* The slot serves other calls later: no second handshake on this connection. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	if (t->cert) {
		if (SSL_CTX_use_certificate(ctx, t->cert) != 1 ||
		    SSL_CTX_set1_chain(ctx, t->chain) != 1 ||
		    SSL_CTX_use_PrivateKey(ctx, t->key) != 1)
			return CURLE_SSL_CERTPROBLEM;
	}
	return CURLE_OK;
}
