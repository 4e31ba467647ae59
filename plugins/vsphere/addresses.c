/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/addresses.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct address {
	int family;            /* 0: none */
	unsigned char bytes[16];
	size_t len;
};

static struct address address_read(const char *text)
{
	struct address a = { .family = 0 };

	if (inet_pton(AF_INET, text, a.bytes) == 1) {
		a.family = AF_INET;
		a.len = 4;
	} else if (inet_pton(AF_INET6, text, a.bytes) == 1) {
		a.family = AF_INET6;
		a.len = 16;
	}
	return a;
}

static bool same_bits(const struct address *a, const struct address *net, unsigned bits)
{
	if (a->family != net->family || bits > net->len * 8)
		return false;
	for (unsigned i = 0; i < bits; i++)
		if ((a->bytes[i / 8] ^ net->bytes[i / 8]) & (0x80u >> (i % 8)))
			return false;
	return true;
}

static bool within_one(const struct address *a, const char *cidr)
{
	const char *slash = strchr(cidr, '/');
	char text[64], *end = NULL;
	struct address net;
	unsigned long bits;

	if (!slash || (size_t)(slash - cidr) >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)(slash - cidr), cidr);
	net = address_read(text);
	bits = strtoul(slash + 1, &end, 10);
	return net.family && end != slash + 1 && !*end && same_bits(a, &net, (unsigned)bits);
}

bool address_within(const char *address, const char *network)
{
	struct address a = address_read(address);
	char one[80];

	while (a.family && *network) {
		size_t len = strcspn(network, ", ");

		if (len && len < sizeof(one)) {
			snprintf(one, sizeof(one), "%.*s", (int)len, network);
			if (within_one(&a, one))
				return true;
		}
		network += len;
		network += strspn(network, ", ");
	}
	return false;
}

bool address_usable(const char *address)
{
	return address_read(address).family &&
	       !address_within(address, "0.0.0.0/8,127.0.0.0/8,169.254.0.0/16,224.0.0.0/3,::/127,fe80::/10,ff00::/8");
}

static bool same_address(const char *a, const char *b)
{
	struct address one = address_read(a), other = address_read(b);

	return one.family && same_bits(&one, &other, (unsigned)one.len * 8);
}

static bool holds(const json_t *list, const char *address)
{
	size_t i;
	json_t *e;

	json_array_foreach(list, i, e)
		if (same_address(json_string_value(e), address))
			return true;
	return false;
}

static void address_add(json_t *list, const char *address)
{
	if (address_usable(address) && !holds(list, address))
		json_array_append_new(list, json_string(address));
}

/* What the guest says of one of a device's addresses; "" when it says nothing. */
static const char *state_of(const struct xn *nic, const char *address)
{
	const struct xn *list = xn_child(nic, "ipConfig");

	for (const struct xn *a = xn_child(list, "ipAddress"); a; a = xn_next(a, "ipAddress"))
		if (same_address(xn_get(a, "ipAddress"), address))
			return xn_get(a, "state");
	return "";
}

static bool in_use(const char *state)
{
	return strcmp(state, "tentative") != 0 && strcmp(state, "duplicate") != 0 && strcmp(state, "invalid") != 0 &&
	       strcmp(state, "inaccessible") != 0;
}

json_t *addresses_of_net(const struct xn *net)
{
	json_t *list = json_array();

	for (const struct xn *nic = net ? net->child : NULL; nic; nic = nic->next) {
		if (atoll(xn_get(nic, "deviceConfigId")) < 0)
			continue;
		for (const struct xn *a = xn_child(nic, "ipAddress"); a; a = xn_next(a, "ipAddress"))
			if (in_use(state_of(nic, xn_text(a))))
				address_add(list, xn_text(a));
	}
	return list;
}

json_t *addresses_of_guest(const json_t *net, const char *primary)
{
	json_t *list = json_array();
	size_t i;
	json_t *a;

	if (!net || holds(net, primary))
		address_add(list, primary);
	json_array_foreach(net, i, a)
		address_add(list, json_string_value(a));
	return list;
}

/* json_unpack reads alone. */
static json_t *of(const json_t *j)
{
	return (json_t *)(uintptr_t)j;
}

static const char *preferred_network(const struct vsphere *v, const json_t *cluster, const json_t *pool)
{
	static const char key[] = "preferredAPIServerCidr";
	const char *network = "";

	if (json_unpack(of(pool), "{s:{s:[{s:{s:s}}]}}", "cloudConfig", "placements", "network", key, &network) &&
	    json_unpack(of(cluster), "{s:{s:{s:{s:{s:s}}}}}", "spec", "cloudConfig", "placement", "network", key, &network))
		json_unpack(v->account, "{s:{s:s}}", "settings", key, &network);
	return network;
}

json_t *addresses_for(const struct vsphere *v, const json_t *cluster, const json_t *pool, const json_t *addresses)
{
	const char *vip = "", *network = preferred_network(v, cluster, pool);
	json_t *list = json_array(), *a;
	size_t i;

	json_unpack(of(cluster), "{s:{s:{s:s}}}", "spec", "controlPlaneEndpoint", "host", &vip);
	for (int pass = 0; pass < 2; pass++)
		json_array_foreach(addresses, i, a)
			if (!same_address(json_string_value(a), vip) &&
			    (pass || address_within(json_string_value(a), network)))
				address_add(list, json_string_value(a));
	return list;
}
