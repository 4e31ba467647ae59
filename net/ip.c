/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/ip.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define V4_AT 12

bool ip_parse(const char *text, struct ip *out)
{
	static const uint8_t mapped[V4_AT] = { [10] = 0xff, [11] = 0xff };

	memset(out, 0, sizeof(*out));
	if (!text)
		return false;
	if (inet_pton(AF_INET, text, out->b + V4_AT) == 1)
		return true;
	out->v6 = true;
	return inet_pton(AF_INET6, text, out->b) == 1 && memcmp(out->b, mapped, sizeof(mapped)) != 0;
}

bool ip_parse_cidr(const char *text, struct ip *out, unsigned *prefix)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	char address[IP_TEXT_SIZE];
	size_t len = slash ? (size_t)(slash - text) : 0, digits = slash ? strlen(slash + 1) : 0;

	if (!slash || len >= sizeof(address) || !digits || digits > 3 || strspn(slash + 1, "0123456789") != digits)
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	*prefix = (unsigned)strtoul(slash + 1, NULL, 10);
	return ip_parse(address, out) && *prefix <= ip_bits(out);
}

const char *ip_text(const struct ip *ip, char out[IP_TEXT_SIZE])
{
	const char *text = ip->v6 ? inet_ntop(AF_INET6, ip->b, out, IP_TEXT_SIZE) :
				    inet_ntop(AF_INET, ip->b + V4_AT, out, IP_TEXT_SIZE);

	assert(text);
	return text;
}

unsigned ip_bits(const struct ip *ip)
{
	return ip->v6 ? 128 : 32;
}

int ip_compare(const struct ip *a, const struct ip *b)
{
	if (a->v6 != b->v6)
		return a->v6 ? 1 : -1;
	return memcmp(a->b, b->b, sizeof(a->b));
}

bool ip_next(struct ip *ip)
{
	size_t first = ip->v6 ? 0 : V4_AT;
	struct ip next = *ip;

	for (size_t i = sizeof(next.b); i-- > first;)
		if (++next.b[i]) {
			*ip = next;
			return true;
		}
	return false;
}

void ip_network(const struct ip *ip, unsigned prefix, struct ip *first, struct ip *last)
{
	unsigned skipped = 128 - ip_bits(ip);

	assert(prefix <= ip_bits(ip));
	*first = *last = *ip;
	for (unsigned bit = skipped + prefix; bit < 128; bit++) {
		uint8_t mask = (uint8_t)(0x80u >> bit % 8);

		first->b[bit / 8] &= (uint8_t)~mask;
		last->b[bit / 8] |= mask;
	}
}

static uint64_t half(const uint8_t *b)
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | b[i];
	return n;
}

uint64_t ip_count(const struct ip *first, const struct ip *last)
{
	uint64_t high = half(last->b) - half(first->b), low_first = half(first->b + 8), low_last = half(last->b + 8);

	if (ip_compare(last, first) < 0)
		return 0;
	if (low_last < low_first)
		high--;
	if (high || low_last - low_first == UINT64_MAX)
		return UINT64_MAX;
	return low_last - low_first + 1;
}

const char *ip_special(const struct ip *ip)
{
	static const uint8_t none[16];
	const uint8_t *b = ip->b, *four = ip->b + V4_AT;

	if (ip->v6) {
		if (memcmp(b, none, 16) == 0)
			return "the unspecified address";
		if (memcmp(b, none, 15) == 0 && b[15] == 1)
			return "the loopback address";
		if (b[0] == 0xff)
			return "a multicast address";
		return b[0] == 0xfe && (b[1] & 0xc0) == 0x80 ? "a link-local address" : NULL;
	}
	if (four[0] == 0)
		return "an address of this host alone (0.0.0.0/8)";
	if (four[0] == 127)
		return "a loopback address";
	if (four[0] == 169 && four[1] == 254)
		return "a link-local address";
	if (four[0] >= 240)
		return "a reserved address (240.0.0.0/4)";
	return four[0] >= 224 ? "a multicast address" : NULL;
}
