/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/pki_impl.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <string.h>

/*
 * P-256 keys to and from PKCS#8 and the traditional form, and public keys, by the one fixed form of each
 * that the curve has (RFC 5208, RFC 5915, RFC 5480): OpenSSL 3.0's general decoders and encoders take ten times the time
 * of the cryptography.
 */

static const unsigned char head[] = {
	0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
	0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
	0x01, 0x01, 0x04, 0x20,
};
static const unsigned char middle[] = { 0xa1, 0x44, 0x03, 0x42, 0x00 };
static const unsigned char old_head[] = { 0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20 };
static const unsigned char old_middle[] = {
	0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42,
	0x00,
};

static const unsigned char public_head[] = {
	0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
	0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
};

_Static_assert(sizeof(head) + 32 + sizeof(middle) + PKI_P256_POINT == PKI_P256_DER, "PKCS#8 of P-256");
_Static_assert(sizeof(old_head) + 32 + sizeof(old_middle) + PKI_P256_POINT == PKI_P256_OLD_DER,
	       "traditional form of P-256");
_Static_assert(sizeof(public_head) + PKI_P256_POINT == PKI_P256_PUBLIC_DER, "public key of P-256");

bool pki_p256_point(EVP_PKEY *key, unsigned char point[PKI_P256_POINT])
{
	char group[32];
	size_t len = 0;

	return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
	       EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
	       !strcmp(group, "prime256v1") &&
	       EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, PKI_P256_POINT,
					       &len) == 1 &&
	       len == PKI_P256_POINT && point[0] == 4;
}

static bool to_form(EVP_PKEY *key, unsigned char *der, const unsigned char *first, size_t first_len,
		    const unsigned char *between, size_t between_len)
{
	unsigned char *scalar = der + first_len, *point = scalar + 32 + between_len;
	BIGNUM *d = NULL;
	bool ok;

	memcpy(der, first, first_len);
	memcpy(scalar + 32, between, between_len);
	ok = pki_p256_point(key, point) &&
	     EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1 &&
	     BN_bn2binpad(d, scalar, 32) == 32;
	BN_clear_free(d);
	return ok;
}

bool pki_p256_to_der(EVP_PKEY *key, unsigned char der[PKI_P256_DER])
{
	return to_form(key, der, head, sizeof(head), middle, sizeof(middle));
}

bool pki_p256_to_traditional(EVP_PKEY *key, unsigned char der[PKI_P256_OLD_DER])
{
	return to_form(key, der, old_head, sizeof(old_head), old_middle, sizeof(old_middle));
}

bool pki_p256_to_public(EVP_PKEY *key, unsigned char der[PKI_P256_PUBLIC_DER])
{
	memcpy(der, public_head, sizeof(public_head));
	return pki_p256_point(key, der + sizeof(public_head));
}

static EVP_PKEY *from_parts(const unsigned char *scalar, const unsigned char *point)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = NULL;
	EVP_PKEY *key = NULL;
	BIGNUM *d = BN_secure_new();

	if (d && bld && BN_bin2bn(scalar, 32, d) &&
	    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) &&
	    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, PKI_P256_POINT) &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, d))
		params = OSSL_PARAM_BLD_to_param(bld);
	if (params)
		ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	BN_clear_free(d);
	return key;
}

/* der is first, scalar, between, point and nothing else; NULL: it is not. */
static EVP_PKEY *from_form(const unsigned char *der, size_t len, const unsigned char *first,
			   size_t first_len, const unsigned char *between, size_t between_len)
{
	const unsigned char *scalar = der + first_len, *point = scalar + 32 + between_len;

	if (len != first_len + 32 + between_len + PKI_P256_POINT || memcmp(der, first, first_len) ||
	    memcmp(scalar + 32, between, between_len))
		return NULL;
	return from_parts(scalar, point);
}

EVP_PKEY *pki_p256_from_der(const unsigned char *der, size_t len)
{
	return from_form(der, len, head, sizeof(head), middle, sizeof(middle));
}

EVP_PKEY *pki_p256_from_traditional(const unsigned char *der, size_t len)
{
	return from_form(der, len, old_head, sizeof(old_head), old_middle, sizeof(old_middle));
}
