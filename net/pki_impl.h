/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PKI_IMPL_H
#define NET_PKI_IMPL_H

/* What the files of net/pki share: OpenSSL objects from and to PEM. */

#include "core/attr.h"
#include "net/pki.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

/* Each fails with what OpenSSL said. what names the thing: "the CA's key". */
int pki_fail_openssl(struct pcg_error *err, enum pcg_class class, const char *remedy,
		     const char *what);
EVP_PKEY *pki_load_key(const struct secret *pem, const char *what, struct pcg_error *err);
X509 *pki_load_cert(const char *pem, const char *what, struct pcg_error *err);
char *pki_bio_text(BIO *bio); /* frees the BIO */
#define PKI_KEPT 1024
/* CAs met lately, by their text (pki_kept.c). whole: with a public key to verify by, not its bits
 * alone. The caller frees what it gets. */
void pki_keep_ca(const char *pem, X509 *cert, bool whole);
X509 *pki_kept_ca(const char *pem, bool whole);
int64_t pki_time_ms(const ASN1_TIME *t);
struct pki_subject *pki_subject_of(const X509 *cert);
/* pki_bundle_check that shows each certificate to fn (which takes a reference if it keeps it). */
int pki_bundle_each(const char *pem, void (*fn)(void *arg, X509 *cert), void *arg, size_t *n,
		    struct pcg_error *err);

/* The key of cert as bits equals the public half of key. */
bool pki_same_key(X509 *cert, EVP_PKEY *key);

#define PKI_P256_POINT 65
#define PKI_P256_DER 138
#define PKI_P256_OLD_DER 121
#define PKI_P256_PUBLIC_DER 91
/* False: key is of another kind. */
bool pki_p256_point(EVP_PKEY *key, unsigned char point[PKI_P256_POINT]);
bool pki_p256_to_der(EVP_PKEY *key, unsigned char der[PKI_P256_DER]);
bool pki_p256_to_traditional(EVP_PKEY *key, unsigned char der[PKI_P256_OLD_DER]);
bool pki_p256_to_public(EVP_PKEY *key, unsigned char der[PKI_P256_PUBLIC_DER]);
/* PKCS#8, and "EC PRIVATE KEY" as kubeadm writes it. NULL: not of this form. */
EVP_PKEY *pki_p256_from_der(const unsigned char *der, size_t len);
EVP_PKEY *pki_p256_from_traditional(const unsigned char *der, size_t len);

#endif
