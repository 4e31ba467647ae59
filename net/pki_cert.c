/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/pki_impl.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <string.h>

X509 *pki_load_cert(const char *pem, const char *what, struct pcg_error *err)
{
	X509 *cert = pki_kept_ca(pem, true);
	BIO *bio;

	if (cert)
		return cert;
	bio = BIO_new_mem_buf(pem, -1);
	ERR_clear_error();
	cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	if (!cert)
		pki_fail_openssl(err, PCG_CLASS_PERMANENT, "give a certificate in PEM", what);
	return cert;
}

static X509 *load_ca(const char *pem, struct pcg_error *err)
{
	X509 *ca = pki_kept_ca(pem, false);

	if (ca)
		return ca;
	ca = pki_load_cert(pem, "reading the CA's certificate", err);
	if (ca)
		pki_keep_ca(pem, ca, true);
	return ca;
}

static bool add_text(X509_NAME *name, int nid, const char *text)
{
	return !text || X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8,
						   (const unsigned char *)text, -1, -1, 0);
}

static bool set_time(ASN1_TIME *t, int64_t ms)
{
	return X509_time_adj_ex(t, 0, 0, &(time_t){ (time_t)(ms / 1000) }) != NULL;
}

static bool set_serial(X509 *cert, bool zero)
{
	unsigned char bytes[16];
	BIGNUM *n;
	bool ok;

	if (zero)
		return ASN1_INTEGER_set(X509_get_serialNumber(cert), 0);
	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] &= 0x7f; /* positive, at most 20 octets */
	bytes[0] |= 0x40;
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return ok;
}

static bool add_ext(X509 *cert, int nid, int critical, void *value)
{
	return value && X509_add1_ext_i2d(cert, nid, value, critical, X509V3_ADD_APPEND) == 1;
}

static bool add_basic(X509 *cert, bool is_ca)
{
	BASIC_CONSTRAINTS *b = BASIC_CONSTRAINTS_new();
	bool ok;

	if (b)
		b->ca = is_ca ? 0xff : 0;
	ok = add_ext(cert, NID_basic_constraints, 1, b);
	BASIC_CONSTRAINTS_free(b);
	return ok;
}

/* digitalSignature 0, keyEncipherment 2, keyCertSign 5: the set that kubeadm writes. */
static bool add_usage(X509 *cert, bool is_ca)
{
	ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
	bool ok = bits && ASN1_BIT_STRING_set_bit(bits, 0, 1) &&
		  ASN1_BIT_STRING_set_bit(bits, 2, 1) &&
		  (!is_ca || ASN1_BIT_STRING_set_bit(bits, 5, 1)) &&
		  add_ext(cert, NID_key_usage, 1, bits);

	ASN1_BIT_STRING_free(bits);
	return ok;
}

static bool add_extended(X509 *cert, const struct pki_cert_spec *spec)
{
	EXTENDED_KEY_USAGE *eku;
	bool ok;

	if (!spec->server_auth && !spec->client_auth)
		return true;
	eku = sk_ASN1_OBJECT_new_null();
	if (eku && spec->server_auth)
		sk_ASN1_OBJECT_push(eku, OBJ_nid2obj(NID_server_auth));
	if (eku && spec->client_auth)
		sk_ASN1_OBJECT_push(eku, OBJ_nid2obj(NID_client_auth));
	ok = add_ext(cert, NID_ext_key_usage, 0, eku);
	sk_ASN1_OBJECT_pop_free(eku, ASN1_OBJECT_free);
	return ok;
}

/* Key identifier by RFC 5280 4.2.1.2 (1): SHA-1 of the public key's bits. */
static bool add_key_ids(X509 *cert, const X509 *issuer)
{
	unsigned char hash[SHA_DIGEST_LENGTH];
	const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(cert);
	const ASN1_OCTET_STRING *from;
	ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
	AUTHORITY_KEYID *akid = AUTHORITY_KEYID_new();
	bool ok = id && akid;

	SHA1(bits->data, (size_t)bits->length, hash);
	ok = ok && ASN1_OCTET_STRING_set(id, hash, sizeof(hash)) &&
	     add_ext(cert, NID_subject_key_identifier, 0, id);
	from = issuer == cert || !issuer ? id : X509_get0_subject_key_id((X509 *)issuer);
	if (ok && from) {
		akid->keyid = ASN1_OCTET_STRING_dup(from);
		ok = add_ext(cert, NID_authority_key_identifier, 0, akid);
	}
	ASN1_OCTET_STRING_free(id);
	AUTHORITY_KEYID_free(akid);
	return ok;
}

static bool name_push(GENERAL_NAMES *names, int type, const void *data, int len)
{
	GENERAL_NAME *n = GENERAL_NAME_new();
	ASN1_STRING *s = ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);

	if (!n || !s || !ASN1_STRING_set(s, data, len)) {
		GENERAL_NAME_free(n);
		ASN1_STRING_free(s);
		return false;
	}
	GENERAL_NAME_set0_value(n, type, s);
	return sk_GENERAL_NAME_push(names, n) > 0;
}

static int add_names(X509 *cert, const struct pki_cert_spec *spec, struct pcg_error *err)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	unsigned char addr[16];
	bool ok = names != NULL;
	int r = 0;

	for (size_t i = 0; ok && spec->dns && spec->dns[i]; i++)
		ok = name_push(names, GEN_DNS, spec->dns[i], (int)strlen(spec->dns[i]));
	for (size_t i = 0; ok && !r && spec->ip && spec->ip[i]; i++) {
		if (inet_pton(AF_INET, spec->ip[i], addr) == 1)
			ok = name_push(names, GEN_IPADD, addr, 4);
		else if (inet_pton(AF_INET6, spec->ip[i], addr) == 1)
			ok = name_push(names, GEN_IPADD, addr, 16);
		else
			r = pcg_fail(err, PCG_CLASS_PERMANENT, "give an IPv4 or IPv6 address",
				     "certificate for %s: \"%s\" is no IP address",
				     spec->common_name, spec->ip[i]);
	}
	if (!r && (!ok || (sk_GENERAL_NAME_num(names) > 0 &&
			   !add_ext(cert, NID_subject_alt_name, 0, names))))
		r = pki_fail_openssl(err, PCG_CLASS_BUG, "", "writing a certificate's names");
	GENERAL_NAMES_free(names);
	return r;
}

static bool set_key(X509 *cert, EVP_PKEY *key)
{
	unsigned char point[PKI_P256_POINT], *copy;

	if (!pki_p256_point(key, point))
		return X509_set_pubkey(cert, key) == 1;
	copy = OPENSSL_memdup(point, sizeof(point));
	return copy && X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(cert), OBJ_nid2obj(NID_X9_62_id_ecPublicKey),
					      V_ASN1_OBJECT, OBJ_nid2obj(NID_X9_62_prime256v1), copy,
					      sizeof(point)) == 1;
}

static bool cert_body(X509 *cert, const struct pki_cert_spec *spec, EVP_PKEY *subject,
		      const X509 *issuer)
{
	X509_NAME *name = X509_get_subject_name(cert);

	return X509_set_version(cert, X509_VERSION_3) && set_serial(cert, spec->serial_zero) &&
	       set_time(X509_getm_notBefore(cert), spec->not_before_ms) &&
	       set_time(X509_getm_notAfter(cert), spec->not_after_ms) &&
	       add_text(name, NID_organizationName, spec->organization) &&
	       add_text(name, NID_commonName, spec->common_name) &&
	       X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : name) &&
	       set_key(cert, subject) && add_basic(cert, spec->is_ca) &&
	       add_usage(cert, spec->is_ca) && add_extended(cert, spec) &&
	       add_key_ids(cert, issuer);
}

/* issuer NULL: signs itself. */
static int cert_make(const struct pki_cert_spec *spec, EVP_PKEY *subject, const X509 *issuer,
		     EVP_PKEY *signer, char **cert_pem, struct pcg_error *err)
{
	X509 *cert = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	int r;

	*cert_pem = NULL;
	ERR_clear_error();
	if (!cert || !bio || !cert_body(cert, spec, subject, issuer)) {
		r = pki_fail_openssl(err, PCG_CLASS_PERMANENT,
				     "a common name has 1 to 64 characters",
				     "making a certificate");
		goto out;
	}
	r = add_names(cert, spec, err);
	if (r)
		goto out;
	if (!X509_sign(cert, signer, EVP_sha256()) || !PEM_write_bio_X509(bio, cert))
		r = pki_fail_openssl(err, PCG_CLASS_BUG, "", "signing a certificate");
	else
		*cert_pem = pki_bio_text(TAKE(bio));
	if (*cert_pem && spec->is_ca)
		pki_keep_ca(*cert_pem, cert, false); /* signs next, most likely */
out:
	BIO_free(bio);
	X509_free(cert);
	return r;
}

int pki_self_signed(const struct pki_cert_spec *spec, const struct secret *key_pem, char **cert_pem,
		    struct pcg_error *err)
{
	EVP_PKEY *key = pki_load_key(key_pem, "reading a private key", err);
	int r;

	*cert_pem = NULL;
	if (!key)
		return pcg_error_code(err);
	r = cert_make(spec, key, NULL, key, cert_pem, err);
	EVP_PKEY_free(key);
	return r;
}

static int sign_for(const struct pki_cert_spec *spec, EVP_PKEY *subject, const char *ca_cert_pem,
		    const struct secret *ca_key_pem, char **cert_pem, struct pcg_error *err)
{
	X509 *ca = load_ca(ca_cert_pem, err);
	EVP_PKEY *signer = ca ? pki_load_key(ca_key_pem, "reading the CA's key", err) : NULL;
	int r;

	if (!ca || !signer)
		r = pcg_error_code(err);
	else if (!pki_same_key(ca, signer))
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "give the key that the CA was made for",
			     "signing a certificate for %s: the CA's certificate and key do not belong together",
			     spec->common_name);
	else
		r = cert_make(spec, subject, ca, signer, cert_pem, err);
	EVP_PKEY_free(signer);
	X509_free(ca);
	return r;
}

int pki_sign(const struct pki_cert_spec *spec, const struct secret *subject_key_pem,
	     const char *ca_cert_pem, const struct secret *ca_key_pem, char **cert_pem,
	     struct pcg_error *err)
{
	EVP_PKEY *subject = pki_load_key(subject_key_pem, "reading a private key", err);
	int r;

	*cert_pem = NULL;
	if (!subject)
		return pcg_error_code(err);
	r = sign_for(spec, subject, ca_cert_pem, ca_key_pem, cert_pem, err);
	EVP_PKEY_free(subject);
	return r;
}

int pki_csr_new(const char *common_name, const struct secret *key_pem, char **csr_pem,
		struct pcg_error *err)
{
	EVP_PKEY *key = pki_load_key(key_pem, "reading a private key", err);
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	int r = 0;

	*csr_pem = NULL;
	if (!key)
		r = pcg_error_code(err);
	else if (!req || !bio || !X509_REQ_set_version(req, X509_REQ_VERSION_1) ||
		 !add_text(X509_REQ_get_subject_name(req), NID_commonName, common_name) ||
		 !X509_REQ_set_pubkey(req, key) || !X509_REQ_sign(req, key, EVP_sha256()) ||
		 !PEM_write_bio_X509_REQ(bio, req))
		r = pki_fail_openssl(err, PCG_CLASS_PERMANENT,
				     "a common name has 1 to 64 characters",
				     "making a certificate signing request");
	else
		*csr_pem = pki_bio_text(TAKE(bio));
	BIO_free(bio);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	return r;
}

int pki_sign_csr(const struct pki_cert_spec *spec, const char *csr_pem, const char *ca_cert_pem,
		 const struct secret *ca_key_pem, char **cert_pem, struct pcg_error *err)
{
	static const char remedy[] = "send a PKCS#10 request in PEM, signed by its own key, "
				     "ECDSA P-256 or RSA of 2048 bits or more";
	BIO *bio = BIO_new_mem_buf(csr_pem, -1);
	X509_REQ *req;
	EVP_PKEY *key;
	int r;

	*cert_pem = NULL;
	ERR_clear_error();
	req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	key = req ? X509_REQ_get0_pubkey(req) : NULL;
	if (!key)
		r = pki_fail_openssl(err, PCG_CLASS_PERMANENT, remedy,
				     "reading a certificate signing request");
	else if (X509_REQ_verify(req, key) != 1)
		r = pki_fail_openssl(err, PCG_CLASS_PERMANENT, remedy,
				     "a certificate signing request has a wrong signature");
	else if (EVP_PKEY_get_security_bits(key) < 112)
		r = pcg_fail(err, PCG_CLASS_PERMANENT, remedy,
			     "a certificate signing request has a key of %d bits, too weak",
			     EVP_PKEY_get_bits(key));
	else
		r = sign_for(spec, key, ca_cert_pem, ca_key_pem, cert_pem, err);
	X509_REQ_free(req);
	BIO_free(bio);
	return r;
}
