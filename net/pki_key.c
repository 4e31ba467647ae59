/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/pki_impl.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

int pki_fail_openssl(struct pcg_error *err, enum pcg_class class, const char *remedy,
		     const char *what)
{
	char text[256] = "no reason given";
	unsigned long code = ERR_peek_last_error();

	if (code)
		ERR_error_string_n(code, text, sizeof(text));
	ERR_clear_error();
	return pcg_fail(err, class, remedy, "%s: %s", what, text);
}

char *pki_bio_text(BIO *bio)
{
	char *data = NULL, *out;
	long n = BIO_get_mem_data(bio, &data);

	out = strndup(data, n > 0 ? (size_t)n : 0);
	BIO_free(bio);
	if (!out)
		abort();
	return out;
}

static struct secret *bio_secret(BIO *bio)
{
	char *data = NULL;
	long n = BIO_get_mem_data(bio, &data);
	struct secret *s = secret_new(data, n > 0 ? (size_t)n : 0);

	BIO_free(bio);
	return s;
}

static EVP_PKEY *key_from_pkcs8(const unsigned char *der, long len)
{
	PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &der, len);
	EVP_PKEY *key = info ? EVP_PKCS82PKEY(info) : NULL;

	PKCS8_PRIV_KEY_INFO_free(info);
	return key;
}

EVP_PKEY *pki_load_key(const struct secret *pem, const char *what, struct pcg_error *err)
{
	BIO *bio = BIO_new_mem_buf(secret_data(pem), (int)secret_len(pem));
	char *name = NULL, *header = NULL;
	unsigned char *der = NULL;
	EVP_PKEY *key = NULL;
	long len = 0;

	ERR_clear_error();
	if (bio && PEM_read_bio(bio, &name, &header, &der, &len)) {
		const unsigned char *p = der;

		if (!strcmp(name, PEM_STRING_PKCS8INF)) {
			key = pki_p256_from_der(der, (size_t)len);
			if (!key)
				key = key_from_pkcs8(der, len);
		}
		else if (!strcmp(name, PEM_STRING_RSA))
			key = d2i_PrivateKey(EVP_PKEY_RSA, NULL, &p, len);
		else if (!strcmp(name, PEM_STRING_ECPRIVATEKEY)) {
			key = pki_p256_from_traditional(der, (size_t)len);
			if (!key)
				key = d2i_PrivateKey(EVP_PKEY_EC, NULL, &p, len);
		}
		OPENSSL_clear_free(der, (size_t)len);
		OPENSSL_free(name);
		OPENSSL_free(header);
	}
	BIO_free(bio);
	if (!key)
		pki_fail_openssl(err, PCG_CLASS_PERMANENT,
				 "give an unencrypted private key in PEM (PKCS#8, RSA or EC)", what);
	return key;
}

static bool key_write(BIO *bio, EVP_PKEY *key)
{
	unsigned char der[PKI_P256_DER];
	bool ok;

	if (!pki_p256_to_der(key, der))
		return PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
	ok = PEM_write_bio(bio, PEM_STRING_PKCS8INF, "", der, sizeof(der)) > 0;
	OPENSSL_cleanse(der, sizeof(der));
	return ok;
}

static bool key_write_traditional(BIO *bio, EVP_PKEY *key)
{
	unsigned char der[PKI_P256_OLD_DER];
	bool ok;

	if (!pki_p256_to_traditional(key, der))
		return PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
	ok = PEM_write_bio(bio, PEM_STRING_ECPRIVATEKEY, "", der, sizeof(der)) > 0;
	OPENSSL_cleanse(der, sizeof(der));
	return ok;
}

static bool public_write(BIO *bio, EVP_PKEY *key)
{
	unsigned char der[PKI_P256_PUBLIC_DER];

	if (!pki_p256_to_public(key, der))
		return PEM_write_bio_PUBKEY(bio, key) == 1;
	return PEM_write_bio(bio, PEM_STRING_PUBLIC, "", der, sizeof(der)) > 0;
}

static int key_new(enum pki_alg alg, bool (*write)(BIO *bio, EVP_PKEY *key), struct secret **key_pem,
		   struct pcg_error *err)
{
	EVP_PKEY *key;
	BIO *bio;
	int r = 0;

	*key_pem = NULL;
	ERR_clear_error();
	key = alg == PKI_RSA_2048 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	bio = BIO_new(BIO_s_secmem());
	if (!key || !bio || !write(bio, key))
		r = pki_fail_openssl(err, PCG_CLASS_BUG, "", "making a private key");
	else
		*key_pem = bio_secret(TAKE(bio));
	BIO_free(bio);
	EVP_PKEY_free(key);
	return r;
}

int pki_key_new(enum pki_alg alg, struct secret **key_pem, struct pcg_error *err)
{
	return key_new(alg, key_write, key_pem, err);
}

int pki_key_new_traditional(enum pki_alg alg, struct secret **key_pem, struct pcg_error *err)
{
	return key_new(alg, key_write_traditional, key_pem, err);
}

int pki_public_pem(const struct secret *key_pem, char **pem, struct pcg_error *err)
{
	EVP_PKEY *key = pki_load_key(key_pem, "reading a private key", err);
	BIO *bio = BIO_new(BIO_s_mem());
	int r = 0;

	*pem = NULL;
	if (!key)
		r = pcg_error_code(err);
	else if (!public_write(bio, key))
		r = pki_fail_openssl(err, PCG_CLASS_BUG, "", "writing a public key");
	else
		*pem = pki_bio_text(TAKE(bio));
	BIO_free(bio);
	EVP_PKEY_free(key);
	return r;
}

int pki_key_traditional(const struct secret *key_pem, struct secret **out, struct pcg_error *err)
{
	EVP_PKEY *key = pki_load_key(key_pem, "reading a private key", err);
	BIO *bio = BIO_new(BIO_s_secmem());
	int r = 0;

	*out = NULL;
	if (!key)
		r = pcg_error_code(err);
	else if (!key_write_traditional(bio, key))
		r = pki_fail_openssl(err, PCG_CLASS_BUG, "", "writing a private key");
	else
		*out = bio_secret(TAKE(bio));
	BIO_free(bio);
	EVP_PKEY_free(key);
	return r;
}

bool pki_same_key(X509 *cert, EVP_PKEY *key)
{
	const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(cert);
	unsigned char point[PKI_P256_POINT];

	if (pki_p256_point(key, point))
		return bits->length == PKI_P256_POINT && !memcmp(bits->data, point, PKI_P256_POINT);
	return EVP_PKEY_eq(X509_get0_pubkey(cert), key) == 1;
}

int pki_match(const char *cert_pem, const struct secret *key_pem, struct pcg_error *err)
{
	X509 *cert = pki_load_cert(cert_pem, "reading a certificate", err);
	EVP_PKEY *key = cert ? pki_load_key(key_pem, "reading a private key", err) : NULL;
	int r = 0;

	if (cert)
		pki_keep_ca(cert_pem, cert, true); /* of a pair that is used next, most likely */
	if (!cert || !key)
		r = pcg_error_code(err);
	else if (!pki_same_key(cert, key))
		r = pcg_fail(err, PCG_CLASS_PERMANENT,
			     "give the key that the certificate was made for",
			     "certificate and private key do not belong together");
	ERR_clear_error();
	EVP_PKEY_free(key);
	X509_free(cert);
	return r;
}
