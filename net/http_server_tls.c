/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_server_impl.h"

#include "core/clock.h"
#include "net/pki_impl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

static int own_cert_set(SSL_CTX *ctx, const struct http_server_tls *spec, struct pcg_error *err)
{
	EVP_PKEY *key = pki_load_key(spec->key_pem, "the server's key", err);
	BIO *bio = BIO_new_mem_buf(spec->cert_pem, -1);
	X509 *cert = NULL;
	int r = 0;

	if (!key) {
		r = pcg_error_code(err);
		goto out;
	}
	ERR_clear_error();
	cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	if (!cert || SSL_CTX_use_certificate(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey(ctx, key) != 1) {
		r = pki_fail_openssl(err, PCG_CLASS_PERMANENT,
				     "give a certificate in PEM and the key that belongs to it",
				     "the server's certificate");
		goto out;
	}
	X509_free(cert);
	while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		SSL_CTX_add1_chain_cert(ctx, cert);
		X509_free(cert);
	}
out:
	ERR_clear_error();
	if (r)
		X509_free(cert);
	BIO_free(bio);
	EVP_PKEY_free(key);
	return r;
}

static void client_ca_add(void *arg, X509 *cert)
{
	SSL_CTX *ctx = arg;

	X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert);
	SSL_CTX_add_client_CA(ctx, cert);
}

/* Of the client's own, and nothing else. The result stays what it is, for http_server_tls_client. */
static int on_verified(int ok, X509_STORE_CTX *ctx)
{
	return ok || (X509_STORE_CTX_get_error(ctx) == X509_V_ERR_CERT_HAS_EXPIRED && X509_STORE_CTX_get_error_depth(ctx) == 0);
}

static int client_ca_set(SSL_CTX *ctx, const struct http_server_tls *spec, struct pcg_error *err)
{
	size_t n;
	int r = pki_bundle_each(spec->client_ca_pem, client_ca_add, ctx, &n, err);

	if (r)
		return pcg_fail_prefix(err, "the CA for client certificates");
	ERR_clear_error();
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (spec->client_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
			   spec->client_expired_told ? on_verified : NULL);
	return 0;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		   const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *pick;

	if (SSL_select_next_proto(&pick, out_len, ours, sizeof(ours) - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = pick;
	return SSL_TLSEXT_ERR_OK;
}

int http_server_tls_new(const struct http_server_tls *spec, SSL_CTX **out, struct pcg_error *err)
{
	static const unsigned char id[] = "pcg";
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int r;

	if (!ctx)
		abort();
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* The CA of the clients is no part of the server's own chain. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0); /* each costs a copy of the session, and our clients never resume */
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	r = own_cert_set(ctx, spec, err);
	if (!r && spec->client_ca_pem)
		r = client_ca_set(ctx, spec, err);
	if (r) {
		SSL_CTX_free(ctx);
		ctx = NULL;
	}
	*out = ctx;
	return r;
}

SSL *http_server_tls_start(SSL_CTX *ctx, BIO **from_peer, BIO **to_peer)
{
	SSL *ssl = SSL_new(ctx);

	*from_peer = BIO_new(BIO_s_mem());
	*to_peer = BIO_new(BIO_s_mem());
	if (!ssl || !*from_peer || !*to_peer)
		abort();
	BIO_set_mem_eof_return(*from_peer, -1);
	BIO_set_mem_eof_return(*to_peer, -1);
	SSL_set_bio(ssl, *from_peer, *to_peer);
	SSL_set_accept_state(ssl);
	X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl), (time_t)(clock_wall_ms() / 1000));
	return ssl;
}

struct pki_subject *http_server_tls_client(SSL *ssl)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	long result = SSL_get_verify_result(ssl);
	struct pki_subject *s;

	/* A server that does not let expired ones in has ended the handshake. */
	if (!cert || (result != X509_V_OK && result != X509_V_ERR_CERT_HAS_EXPIRED))
		return NULL;
	s = pki_subject_of(cert);
	s->expired = result != X509_V_OK;
	return s;
}
