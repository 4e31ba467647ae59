/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PKI_H
#define NET_PKI_H

/* Keys and certificates by OpenSSL's EVP. Pure computing, any thread. Private keys leave as struct secret (PEM, PKCS#8
 * unless said otherwise). */

#include "core/error.h"
#include "core/secret.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pki_alg { PKI_ECDSA_P256, PKI_RSA_2048 };

struct pki_cert_spec {
	const char *common_name;
	const char *organization;       /* NULL: none */
	const char *const *dns;         /* subject alternative names; NULL-terminated, or NULL */
	const char *const *ip;
	bool is_ca;
	bool server_auth, client_auth;
	int64_t not_before_ms;          /* wall clock */
	int64_t not_after_ms;
	bool serial_zero;               /* what kubeadm and CAPI do for a CA */
};

int pki_key_new(enum pki_alg alg, struct secret **key_pem, struct pcg_error *err);
/* In RSA PRIVATE KEY / EC PRIVATE KEY form (what kubeadm writes). */
int pki_key_new_traditional(enum pki_alg alg, struct secret **key_pem, struct pcg_error *err);
/* PEM of the public key (SubjectPublicKeyInfo). Caller frees. */
int pki_public_pem(const struct secret *key_pem, char **pem, struct pcg_error *err);
/* That form of a key that there is. */
int pki_key_traditional(const struct secret *key_pem, struct secret **out, struct pcg_error *err);
int pki_self_signed(const struct pki_cert_spec *spec, const struct secret *key_pem, char **cert_pem,
		    struct pcg_error *err);
/* A certificate for the public key of subject_key_pem, signed by the CA. */
int pki_sign(const struct pki_cert_spec *spec, const struct secret *subject_key_pem, const char *ca_cert_pem,
	     const struct secret *ca_key_pem, char **cert_pem, struct pcg_error *err);
int pki_csr_new(const char *common_name, const struct secret *key_pem, char **csr_pem, struct pcg_error *err);
/* Verifies the request's own signature; takes the key from it and nothing else. */
int pki_sign_csr(const struct pki_cert_spec *spec, const char *csr_pem, const char *ca_cert_pem,
		 const struct secret *ca_key_pem, char **cert_pem, struct pcg_error *err);

struct pki_info {
	char subject_cn[128];
	char issuer[256];
	char serial_hex[64];
	char sha256[65];          /* of the DER certificate, lower-case hex */
	char sha1[41];
	char spki_sha256[65];     /* of the public key: kubeadm's caCertHashes */
	int64_t not_before_ms, not_after_ms;
	bool is_ca;
};
int pki_cert_info(const char *cert_pem, struct pki_info *out, struct pcg_error *err);
/* Whom a certificate was made for. */
struct pki_subject {
	char common_name[256];
	char serial_hex[64];
	char **organizations; /* NULL-terminated */
	bool expired;         /* where the server lets such ones in (http_server.h) */
};
void pki_subject_free(struct pki_subject *s);
/* 0 when cert's key is key_pem's. */
int pki_match(const char *cert_pem, const struct secret *key_pem, struct pcg_error *err);
/* 0 when leaf verifies against the CA at the given time. */
int pki_verify(const char *cert_pem, const char *ca_cert_pem, int64_t at_ms, struct pcg_error *err);
/* Checks that text is one or more PEM certificates; how many to *n. */
int pki_bundle_check(const char *pem, size_t *n, struct pcg_error *err);
/* Certificates of CAs are remembered by their text, as reading one takes longer than signing: lets go of them, at rest. */
void pki_forget(void);
/* "AA:BB:..", also with white space, to lower-case hex without colons; 40 or 64 digits, else an error that says so. */
int pki_thumbprint_normal(const char *text, char out[65], struct pcg_error *err);

#endif
