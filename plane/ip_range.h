/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_IP_RANGE_H
#define PLANE_IP_RANGE_H

/*
 * The addresses of an IP pool, as the public API has them: start and end with a prefix, or a subnet with an optional
 * shorter prefix of the network that it lies in. Pure computing, for IPv4 and IPv6, without a loop over the range.
 */

#include "core/json.h"
#include "net/ip.h"

struct ip_range {
	struct ip first, last;         /* of the pool */
	struct ip net_first, net_last; /* of the network that it lies in */
	struct ip gateway;
	unsigned prefix;               /* of that network */
};

/* spec.pool of a request. Whatever is wrong is appended to fields {field, text}, under "spec.pool."; true: nothing. */
bool ip_range_read(const json_t *pool, struct ip_range *out, json_t *fields);
/* Whether a machine may have it: in the pool, and neither the gateway, nor the network's own address (IPv6: the anycast
 * address of its routers, RFC 4291 2.6.1), nor an IPv4 broadcast address. Networks of one or two addresses have none of
 * these (RFC 3021, RFC 6164). */
bool ip_range_gives(const struct ip_range *r, const struct ip *ip);
/* How many it gives; UINT64_MAX: that many or more. */
uint64_t ip_range_size(const struct ip_range *r);
bool ip_range_holds(const struct ip_range *r, const struct ip *ip);
bool ip_range_overlaps(const struct ip_range *a, const struct ip_range *b);
/* "FIRST to LAST". Returns out. */
const char *ip_range_text(const struct ip_range *r, char out[2 * IP_TEXT_SIZE + 8]);

#endif
