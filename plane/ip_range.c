/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/ip_range.h"

#include "plane/api.h"
#include "plane/dns_mappings.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAMES_MAX 16

bool ip_range_holds(const struct ip_range *r, const struct ip *ip)
{
	return ip_compare(ip, &r->first) >= 0 && ip_compare(ip, &r->last) <= 0;
}

/* What of the network no machine may have. */
static bool is_network_own(const struct ip_range *r, const struct ip *ip)
{
	if (ip_bits(&r->first) - r->prefix < 2)
		return false;
	return ip_compare(ip, &r->net_first) == 0 || (!ip->v6 && ip_compare(ip, &r->net_last) == 0);
}

bool ip_range_gives(const struct ip_range *r, const struct ip *ip)
{
	return ip_range_holds(r, ip) && ip_compare(ip, &r->gateway) != 0 && !is_network_own(r, ip);
}

uint64_t ip_range_size(const struct ip_range *r)
{
	const struct ip *const own[] = { &r->net_first, &r->net_last };
	uint64_t n = ip_count(&r->first, &r->last);

	if (n == UINT64_MAX)
		return n;
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		n -= ip_range_holds(r, own[i]) && is_network_own(r, own[i]);
	n -= ip_range_holds(r, &r->gateway) && !is_network_own(r, &r->gateway);
	return n;
}

bool ip_range_overlaps(const struct ip_range *a, const struct ip_range *b)
{
	return ip_compare(&a->first, &b->last) <= 0 && ip_compare(&b->first, &a->last) <= 0;
}

const char *ip_range_text(const struct ip_range *r, char out[2 * IP_TEXT_SIZE + 8])
{
	char first[IP_TEXT_SIZE], last[IP_TEXT_SIZE];

	snprintf(out, 2 * IP_TEXT_SIZE + 8, "%s to %s", ip_text(&r->first, first), ip_text(&r->last, last));
	return out;
}

static bool given(const json_t *pool, const char *key)
{
	const char *text = json_str(pool, key);

	return text && *text;
}

static bool read_address(const json_t *pool, const char *key, struct ip *out, json_t *fields)
{
	const char *text = json_str_or(pool, key, ""), *special;
	char field[64];

	snprintf(field, sizeof(field), "spec.pool.%s", key);
	if (!*text) {
		api_field(fields, field, "is missing");
		return false;
	}
	if (!ip_parse(text, out)) {
		api_field(fields, field, "'%.64s' is not an IPv4 or IPv6 address", text);
		return false;
	}
	special = ip_special(out);
	/* The usual gateway of an IPv6 network is a router's link-local address. */
	if (special && !(strcmp(key, "gateway") == 0 && out->v6 && out->b[0] == 0xfe)) {
		api_field(fields, field, "%s is %s", text, special);
		return false;
	}
	return true;
}

/* 0 and absent are the same to clients of this API. */
static bool read_prefix(const json_t *pool, unsigned least, unsigned most, unsigned *prefix, json_t *fields)
{
	int64_t n = json_int_or(pool, "prefix", 0);
	const json_t *value = json_object_get(pool, "prefix");

	if (value && !json_is_integer(value) && !json_is_null(value)) {
		api_field(fields, "spec.pool.prefix", "is not a whole number");
		return false;
	}
	if (n == 0 && least == 0)
		return true;
	if (n == 0) {
		api_field(fields, "spec.pool.prefix", "is missing: a range needs the length of its network's prefix, 24 for "
						      "255.255.255.0");
		return false;
	}
	if (n < 1 || n > (int64_t)most) {
		api_field(fields, "spec.pool.prefix", "must be 1 to %u, not %" PRId64, most, n);
		return false;
	}
	*prefix = (unsigned)n;
	return true;
}

static bool read_subnet(const json_t *pool, struct ip_range *r, json_t *fields)
{
	const char *text = json_str_or(pool, "subnet", "");
	unsigned length;
	struct ip base;
	char first[IP_TEXT_SIZE];
	const char *special;

	if (!ip_parse_cidr(text, &base, &length) || !length) {
		api_field(fields, "spec.pool.subnet", "'%.64s' is not a network like 10.0.0.0/24 or 2001:db8::/64", text);
		return false;
	}
	ip_network(&base, length, &r->first, &r->last);
	if (ip_compare(&base, &r->first) != 0) {
		api_field(fields, "spec.pool.subnet", "%s has bits of a host: its network is %s/%u", text,
			  ip_text(&r->first, first), length);
		return false;
	}
	special = ip_special(&r->first);
	if (!special)
		special = ip_special(&r->last);
	if (special) {
		api_field(fields, "spec.pool.subnet", "%s begins or ends with %s", text, special);
		return false;
	}
	r->prefix = length;
	return read_prefix(pool, 0, length, &r->prefix, fields);
}

static bool read_range(const json_t *pool, struct ip_range *r, json_t *fields)
{
	bool first = read_address(pool, "start", &r->first, fields);
	bool last = read_address(pool, "end", &r->last, fields);
	struct ip low, high;

	if (!first || !last)
		return false;
	if (r->first.v6 != r->last.v6) {
		api_field(fields, "spec.pool.end", "start and end are not of one family");
		return false;
	}
	if (!read_prefix(pool, 1, ip_bits(&r->first), &r->prefix, fields))
		return false;
	if (ip_compare(&r->first, &r->last) > 0) {
		api_field(fields, "spec.pool.end", "is before start");
		return false;
	}
	ip_network(&r->first, r->prefix, &low, &high);
	if (ip_compare(&r->last, &high) > 0) {
		api_field(fields, "spec.pool.end", "%s is not in the network of start with prefix %u",
			  json_str(pool, "end"), r->prefix);
		return false;
	}
	return true;
}

static bool read_gateway(const json_t *pool, struct ip_range *r, json_t *fields)
{
	const char *text = json_str_or(pool, "gateway", "");

	if (!read_address(pool, "gateway", &r->gateway, fields))
		return false;
	if (ip_special(&r->gateway) && r->first.v6)
		return true;
	if (r->gateway.v6 != r->first.v6 || ip_compare(&r->gateway, &r->net_first) < 0 ||
	    ip_compare(&r->gateway, &r->net_last) > 0) {
		char first[IP_TEXT_SIZE];

		api_field(fields, "spec.pool.gateway", "%s is not in the pool's network %s/%u", text,
			  ip_text(&r->net_first, first), r->prefix);
		return false;
	}
	if (!r->first.v6 && is_network_own(r, &r->gateway)) {
		api_field(fields, "spec.pool.gateway", "%s is the network's own address", text);
		return false;
	}
	return true;
}

static bool read_names(const json_t *pool, json_t *fields)
{
	const json_t *addresses = json_at(pool, "nameserver.addresses"), *search = json_at(pool, "nameserver.search");
	size_t i, before = json_array_size(fields);
	struct ip ip;
	json_t *v;

	if (json_array_size(addresses) > NAMES_MAX || json_array_size(search) > NAMES_MAX)
		api_field(fields, "spec.pool.nameserver", "at most %d addresses and search suffixes", NAMES_MAX);
	json_array_foreach((json_t *)addresses, i, v)
		if (!ip_parse(json_string_value(v), &ip))
			api_field(fields, "spec.pool.nameserver.addresses", "'%.64s' is not an address",
				  json_is_string(v) ? json_string_value(v) : "(not text)");
	json_array_foreach((json_t *)search, i, v)
		if (!dns_name(json_string_value(v)))
			api_field(fields, "spec.pool.nameserver.search", "'%.64s' is not a domain",
				  json_is_string(v) ? json_string_value(v) : "(not text)");
	return json_array_size(fields) == before;
}

bool ip_range_read(const json_t *pool, struct ip_range *out, json_t *fields)
{
	bool subnet = given(pool, "subnet"), range = given(pool, "start") || given(pool, "end"), ok;

	memset(out, 0, sizeof(*out));
	if (!json_is_object(pool)) {
		api_field(fields, "spec.pool", "is missing");
		return false;
	}
	if (subnet == range) {
		api_field(fields, "spec.pool", subnet ? "give start and end, or subnet, not both" :
							"start and end, or subnet, are needed");
		return false;
	}
	ok = subnet ? read_subnet(pool, out, fields) : read_range(pool, out, fields);
	if (ok) {
		ip_network(&out->first, out->prefix, &out->net_first, &out->net_last);
		ok = read_gateway(pool, out, fields);
	} else {
		read_address(pool, "gateway", &out->gateway, fields); /* wrong too, maybe */
	}
	if (!read_names(pool, fields))
		ok = false;
	if (ok && !ip_range_size(out)) {
		api_field(fields, "spec.pool", "has no address that a machine may have");
		ok = false;
	}
	return ok;
}
