/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/vsphere.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define PLAIN_MAX (48u << 10)  /* base64 beyond this is packed */
#define VALUE_MAX (512u << 10) /* of one guestinfo value */

static void digest_of(const uint8_t ns[16], const char *name, uint8_t out[20])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned len = 0;

	assert(ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 && EVP_DigestUpdate(ctx, ns, 16) == 1 &&
	       EVP_DigestUpdate(ctx, name, strlen(name)) == 1 && EVP_DigestFinal_ex(ctx, out, &len) == 1 && len == 20);
	EVP_MD_CTX_free(ctx);
}

static const uint8_t instance_ns[16] = { 0x3f, 0x9d, 0x52, 0x6b, 0x1c, 0x7e, 0x4a, 0x0f,
					 0x9a, 0x64, 0x8e, 0x21, 0xd5, 0x0b, 0x77, 0xc3 };
static const uint8_t mac_ns[16] = { 0x8a, 0x11, 0x0c, 0x5e, 0x64, 0xb9, 0x49, 0xd2,
				    0xb3, 0x07, 0x5d, 0x9f, 0xe2, 0x38, 0x16, 0xaf };

void vs_instance_uuid(const char *uid, char out[37])
{
	uint8_t d[20];

	digest_of(instance_ns, uid, d);
	d[6] = (uint8_t)((d[6] & 0x0f) | 0x50);
	d[8] = (uint8_t)((d[8] & 0x3f) | 0x80);
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", d[0], d[1], d[2], d[3],
		 d[4], d[5], d[6], d[7], d[8], d[9], d[10], d[11], d[12], d[13], d[14], d[15]);
}

void vs_mac(const char *uid, char out[18])
{
	uint8_t d[20];

	digest_of(mac_ns, uid, d);
	snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", (d[0] & 0xfcu) | 2u, d[1], d[2], d[3], d[4], d[5]);
}

char *vs_base64(const void *data, size_t len)
{
	char *out = malloc((len + 2) / 3 * 4 + 1);

	assert(out);
	EVP_EncodeBlock((unsigned char *)out, data, (int)len);
	return out;
}

/* After a line break; empty when it is not base64. Caller frees. */
static char *metadata_text(const char *metadata)
{
	size_t len = strlen(metadata);
	unsigned char *text = malloc(len / 4 * 3 + 2);
	int n;

	assert(text);
	text[0] = '\n';
	n = len % 4 == 0 && len < VALUE_MAX ? EVP_DecodeBlock(text + 1, (const unsigned char *)metadata, (int)len) : -1;
	text[n > 0 ? n + 1 : 0] = 0; /* padding is decoded to zeros */
	return (char *)text;
}

bool vs_metadata_has(const char *metadata, const char *word)
{
	char *text = metadata_text(metadata);
	bool yes = strcasestr(text, word) != NULL;

	free(text);
	return yes;
}

bool vs_metadata_host(const char *metadata, char *host, size_t size)
{
	static const char key[] = "\nlocal-hostname:";
	char *text = metadata_text(metadata), *at = strstr(text, key);

	if (at) {
		at += sizeof(key) - 1;
		at += strspn(at, " \"'");
		snprintf(host, size, "%.*s", (int)strcspn(at, " \"'\r\n"), at);
	}
	free(text);
	return at != NULL;
}

static unsigned char *gzipped(const char *text, size_t len, size_t *out_len)
{
	z_stream z = { 0 };
	unsigned char *out;
	size_t bound;

	assert(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	bound = deflateBound(&z, len);
	out = malloc(bound);
	assert(out);
	z.next_in = (unsigned char *)(uintptr_t)text;
	z.avail_in = (unsigned)len;
	z.next_out = out;
	z.avail_out = (unsigned)bound;
	assert(deflate(&z, Z_FINISH) == Z_STREAM_END);
	*out_len = bound - z.avail_out;
	deflateEnd(&z);
	return out;
}

char *vs_user_data(const char *text, const char **encoding, struct vs_err *err)
{
	size_t len = strlen(text), packed_len;
	unsigned char *packed;
	char *out;

	*encoding = "base64";
	if ((len + 2) / 3 * 4 <= PLAIN_MAX)
		return vs_base64(text, len);
	if (len > (64u << 20)) {
		vs_fail(err, PCG_ERR_PERMANENT, "Take files out of the cluster's profile.", "the user data has %zu bytes", len);
		return NULL;
	}
	*encoding = "gzip+base64";
	packed = gzipped(text, len, &packed_len);
	out = vs_base64(packed, packed_len);
	explicit_bzero(packed, packed_len);
	free(packed);
	if (strlen(out) <= VALUE_MAX)
		return out;
	vs_fail(err, PCG_ERR_PERMANENT, "Take files out of the cluster's profile, or let the nodes fetch them.",
		"the user data has %zu bytes, packed %zu; guestinfo takes %u", len, strlen(out), VALUE_MAX);
	explicit_bzero(out, strlen(out));
	free(out);
	return NULL;
}
