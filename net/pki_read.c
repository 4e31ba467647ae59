/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/pki_impl.h"

#include <ctype.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void hex_write(char *out, const unsigned char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sprintf(out + 2 * i, "%02x", data[i]);
	out[2 * len] = '\0';
}

int64_t pki_time_ms(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) * 1000 : -1;
}

static void serial_write(const X509 *cert, char out[64])
{
	BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *hex = n ? BN_bn2hex(n) : NULL;

	snprintf(out, 64, "%s", hex ? hex : "");
	OPENSSL_free(hex);
	BN_free(n);
}

struct pki_subject *pki_subject_of(const X509 *cert)
{
	const X509_NAME *name = X509_get_subject_name(cert);
	struct pki_subject *s = calloc(1, sizeof(*s));
	size_t n = 0;

	if (s)
		s->organizations = calloc((size_t)X509_NAME_entry_count(name) + 1, sizeof(char *));
	if (!s || !s->organizations)
		abort();
	X509_NAME_get_text_by_NID((X509_NAME *)(uintptr_t)name, NID_commonName, s->common_name,
				  sizeof(s->common_name));
	for (int i = -1; (i = X509_NAME_get_index_by_NID((X509_NAME *)(uintptr_t)name,
							 NID_organizationName, i)) >= 0;) {
		const ASN1_STRING *o = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i));

		s->organizations[n++] = strndup((const char *)ASN1_STRING_get0_data(o),
						(size_t)ASN1_STRING_length(o));
	}
	serial_write(cert, s->serial_hex);
	return s;
}

void pki_subject_free(struct pki_subject *s)
{
	if (!s)
		return;
	for (char **o = s->organizations; *o; o++)
		free(*o);
	free(s->organizations);
	free(s);
}

static void name_write(const X509_NAME *name, char *out, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;

	if (!bio)
		abort();
	X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
	text = pki_bio_text(bio);
	snprintf(out, size, "%s", text);
	free(text);
}

int pki_cert_info(const char *cert_pem, struct pki_info *out, struct pcg_error *err)
{
	X509 *cert = pki_kept_ca(cert_pem, false);
	unsigned char md[EVP_MAX_MD_SIZE], *spki = NULL;
	unsigned int len = 0;
	int n;

	memset(out, 0, sizeof(*out));
	if (!cert)
		cert = pki_load_cert(cert_pem, "reading a certificate", err);
	if (!cert)
		return pcg_error_code(err);
	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, out->subject_cn,
				  sizeof(out->subject_cn));
	name_write(X509_get_issuer_name(cert), out->issuer, sizeof(out->issuer));
	serial_write(cert, out->serial_hex);
	if (X509_digest(cert, EVP_sha256(), md, &len))
		hex_write(out->sha256, md, len);
	if (X509_digest(cert, EVP_sha1(), md, &len))
		hex_write(out->sha1, md, len);
	n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &spki);
	if (n > 0 && EVP_Digest(spki, (size_t)n, md, &len, EVP_sha256(), NULL))
		hex_write(out->spki_sha256, md, len);
	OPENSSL_free(spki);
	out->not_before_ms = pki_time_ms(X509_get0_notBefore(cert));
	out->not_after_ms = pki_time_ms(X509_get0_notAfter(cert));
	out->is_ca = X509_check_ca(cert) == 1;
	ERR_clear_error();
	X509_free(cert);
	return 0;
}

int pki_verify(const char *cert_pem, const char *ca_cert_pem, int64_t at_ms, struct pcg_error *err)
{
	X509 *cert = pki_load_cert(cert_pem, "reading a certificate", err);
	X509 *ca = cert ? pki_load_cert(ca_cert_pem, "reading the CA's certificate", err) : NULL;
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int r = 0;

	if (!cert || !ca) {
		r = pcg_error_code(err);
	} else if (!store || !ctx || !X509_STORE_add_cert(store, ca) ||
		   !X509_STORE_CTX_init(ctx, store, cert, NULL)) {
		r = pki_fail_openssl(err, PCG_CLASS_BUG, "", "verifying a certificate");
	} else {
		X509_STORE_CTX_set_time(ctx, 0, (time_t)(at_ms / 1000));
		if (X509_verify_cert(ctx) != 1)
			r = pcg_fail(err, PCG_CLASS_PERMANENT,
				     "give a certificate that this CA has signed and that is valid now",
				     "a certificate does not verify against its CA: %s",
				     X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	}
	ERR_clear_error();
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(ca);
	X509_free(cert);
	return r;
}

/* OpenSSL passes over a block that does not begin its line. */
static size_t blocks_of(const char *pem)
{
	static const char begin[] = "-----BEGIN ";
	size_t n = 0;

	while ((pem = strstr(pem, begin))) {
		n++;
		pem += sizeof(begin) - 1;
	}
	return n;
}

int pki_bundle_each(const char *pem, void (*fn)(void *arg, X509 *cert), void *arg, size_t *n,
		    struct pcg_error *err)
{
	static const char remedy[] = "give one or more PEM blocks -----BEGIN CERTIFICATE-----";
	X509 *kept = pki_kept_ca(pem, true), *only = NULL;
	char *name, *header;
	unsigned char *der;
	BIO *bio;
	long len;
	int r = 0;

	*n = 0;
	if (kept) {
		if (fn)
			fn(arg, kept);
		X509_free(kept);
		*n = 1;
		return 0;
	}
	bio = BIO_new_mem_buf(pem, -1);
	ERR_clear_error();
	while (!r && bio && PEM_read_bio(bio, &name, &header, &der, &len)) {
		const unsigned char *p = der;
		X509 *cert = !strcmp(name, PEM_STRING_X509) ? d2i_X509(NULL, &p, len) : NULL;

		if (!cert)
			r = pcg_fail(err, PCG_CLASS_PERMANENT, remedy,
				     "block %zu of the PEM bundle is %s \"%.40s\"", *n + 1,
				     strcmp(name, PEM_STRING_X509) ? "a" : "a damaged", name);
		else if (fn)
			fn(arg, cert);
		X509_free(only);
		only = cert;
		(*n)++;
		OPENSSL_clear_free(der, (size_t)len);
		OPENSSL_free(name);
		OPENSSL_free(header);
	}
	BIO_free(bio);
	if (!r && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		r = pki_fail_openssl(err, PCG_CLASS_PERMANENT, remedy, "reading a PEM bundle");
	ERR_clear_error();
	if (!r && !*n)
		r = pcg_fail(err, PCG_CLASS_PERMANENT, remedy, "the PEM bundle holds no certificate");
	if (!r && blocks_of(pem) != *n)
		r = pcg_fail(err, PCG_CLASS_PERMANENT,
			     "begin each -----BEGIN CERTIFICATE----- on a line of its own, without blanks before it",
			     "of %zu blocks of the PEM bundle %zu can be read", blocks_of(pem), *n);
	if (!r && *n == 1)
		pki_keep_ca(pem, only, true);
	X509_free(only);
	return r;
}

int pki_bundle_check(const char *pem, size_t *n, struct pcg_error *err)
{
	return pki_bundle_each(pem, NULL, NULL, n, err);
}

int pki_thumbprint_normal(const char *text, char out[65], struct pcg_error *err)
{
	size_t n = 0;

	for (const char *p = text; *p; p++) {
		if (*p == ':' || isspace((unsigned char)*p))
			continue;
		if (!isxdigit((unsigned char)*p) || n >= 64)
			goto wrong;
		out[n++] = (char)tolower((unsigned char)*p);
	}
	out[n] = '\0';
	if (n == 40 || n == 64)
		return 0;
wrong:
	out[0] = '\0';
	return pcg_fail(err, PCG_CLASS_PERMANENT,
			"give SHA-1 (40 hex digits) or SHA-256 (64), with or without colons",
			"\"%.100s\" is no certificate thumbprint", text);
}
