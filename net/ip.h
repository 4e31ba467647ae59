/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_IP_H
#define NET_IP_H

/* IPv4 and IPv6 addresses as numbers, for ranges of them. Nothing here loops over a range. */

#include <stdbool.h>
#include <stdint.h>

#define IP_TEXT_SIZE 46

struct ip {
	uint8_t b[16]; /* big endian; an IPv4 address is in the last four, the others are 0 */
	bool v6;
};

/* One address as inet_pton takes it, without zone; an IPv4 address within IPv6 (::ffff:a.b.c.d) is none. */
bool ip_parse(const char *text, struct ip *out);
/* "ADDRESS/PREFIX"; bits of the host may be set. */
bool ip_parse_cidr(const char *text, struct ip *out, unsigned *prefix);
/* The one form of it: equal addresses have equal texts. Returns out. */
const char *ip_text(const struct ip *ip, char out[IP_TEXT_SIZE]);
unsigned ip_bits(const struct ip *ip); /* 32 or 128 */
/* As memcmp, IPv4 before IPv6. */
int ip_compare(const struct ip *a, const struct ip *b);
/* False, and unchanged: there is none after it. */
bool ip_next(struct ip *ip);
/* First and last address of its network. prefix is at most ip_bits. */
void ip_network(const struct ip *ip, unsigned prefix, struct ip *first, struct ip *last);
/* How many there are from first to last, both of one family; UINT64_MAX: that many or more. 0: last is before first. */
uint64_t ip_count(const struct ip *first, const struct ip *last);
/* What it is when no machine may have it: "a loopback address" and the like; NULL: an ordinary one. */
const char *ip_special(const struct ip *ip);

#endif
