/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/id.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

static const char suffix_alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
#define SUFFIX_LETTERS (sizeof(suffix_alphabet) - 1)
/* Bytes from here on would favour the first letters: passed over. */
#define SUFFIX_BYTE_END (256 - 256 % SUFFIX_LETTERS)

void id_random(void *out, size_t len)
{
	uint8_t *p = out;

	while (len > 0) {
		ssize_t n = getrandom(p, len < 256 ? len : 256, 0);

		if (n < 0 && errno == EINTR)
			continue;
		assert(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

static void put_hex(const uint8_t *data, size_t len, char *out)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		*out++ = hex[data[i] >> 4];
		*out++ = hex[data[i] & 15];
	}
	*out = 0;
}

void id_hex24(char out[25])
{
	uint8_t raw[12];

	id_random(raw, sizeof(raw));
	put_hex(raw, sizeof(raw), out);
}

static void put_uuid(uint8_t raw[16], int version, char out[37])
{
	static const uint8_t groups[] = { 4, 2, 2, 2, 6 };
	size_t at = 0;

	raw[6] = (uint8_t)((raw[6] & 0x0f) | version << 4);
	raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
	for (size_t g = 0; g < sizeof(groups); g++) {
		put_hex(raw + at, groups[g], out);
		out += groups[g] * 2;
		at += groups[g];
		*out++ = '-';
	}
	out[-1] = 0;
}

void id_uuid4(char out[37])
{
	uint8_t raw[16];

	id_random(raw, sizeof(raw));
	put_uuid(raw, 4, out);
}

static void digest(const EVP_MD *md, const void *a, size_t alen, const void *b, size_t blen,
		   uint8_t out[EVP_MAX_MD_SIZE])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx && EVP_DigestInit_ex(ctx, md, NULL) == 1 && EVP_DigestUpdate(ctx, a, alen) == 1 &&
		 EVP_DigestUpdate(ctx, b, blen) == 1 && EVP_DigestFinal_ex(ctx, out, NULL) == 1;

	assert(ok);
	EVP_MD_CTX_free(ctx);
}

void id_uuid5(const uint8_t ns[16], const char *name, char out[37])
{
	uint8_t md[EVP_MAX_MD_SIZE];

	digest(EVP_sha1(), ns, 16, name, strlen(name), md);
	put_uuid(md, 5, out);
}

void id_suffix(char *out, size_t n)
{
	for (size_t i = 0; i < n;) {
		uint8_t raw[32];

		id_random(raw, sizeof(raw));
		for (size_t k = 0; k < sizeof(raw) && i < n; k++)
			if (raw[k] < SUFFIX_BYTE_END)
				out[i++] = suffix_alphabet[raw[k] % SUFFIX_LETTERS];
	}
	out[n] = 0;
}

void id_suffix_from(const char *seed, char *out, size_t n)
{
	uint8_t round = 0;

	for (size_t i = 0; i < n; round++) {
		uint8_t md[EVP_MAX_MD_SIZE];

		digest(EVP_sha256(), &round, 1, seed, strlen(seed), md);
		for (size_t k = 0; k < 32 && i < n; k++)
			if (md[k] < SUFFIX_BYTE_END)
				out[i++] = suffix_alphabet[md[k] % SUFFIX_LETTERS];
	}
	out[n] = 0;
}
