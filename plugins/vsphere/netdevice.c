/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/netdevice.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD "pool.cloudConfig.placements.network"
#define MTU_MIN 576
#define MTU_MAX 9000 /* vSphere Networking: jumbo frames */

size_t netdevice_count(const json_t *where)
{
	return 1 + json_array_size(json_object_get(where, "networks"));
}

const json_t *netdevice_network(const json_t *where, size_t device)
{
	return device ? json_array_get(json_object_get(where, "networks"), device - 1) : json_object_get(where, "network");
}

static bool is_address(const char *text)
{
	unsigned char out[16];

	return inet_pton(AF_INET, text, out) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

static bool is_prefix(const char *text)
{
	const char *slash = strchr(text, '/');
	char address[64], *end;
	long bits;

	if (!slash || slash == text || (size_t)(slash - text) >= sizeof(address) || !slash[1])
		return false;
	snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
	bits = strtol(slash + 1, &end, 10);
	return is_address(address) && !*end && bits >= 0 && bits <= (strchr(address, ':') ? 128 : 32);
}

static bool is_domain(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return n && n <= 253 && !text[n];
}

static void check_texts(const json_t *network, const char *key, bool (*good)(const char *), const char *what, json_t *problems)
{
	const json_t *list = json_object_get(network, key);
	char field[160];
	size_t i;
	json_t *one;

	snprintf(field, sizeof(field), FIELD ".%s", key);
	if (list && !json_is_array(list))
		vs_problem(problems, field, "Give a list of texts.", "%s is no list", key);
	json_array_foreach(list, i, one)
		if (!json_is_string(one) || !good(json_string_value(one)))
			vs_problem(problems, field, "Correct it.", "\"%s\" is no %s", json_is_string(one) ? json_string_value(one) : "",
				   what);
}

static void check_routes(const json_t *network, json_t *problems)
{
	size_t i;
	json_t *one;

	json_array_foreach(json_object_get(network, "routes"), i, one) {
		const json_t *metric = json_object_get(one, "metric");

		if (!is_prefix(vs_str(one, "to")) || !is_address(vs_str(one, "via")) ||
		    (metric && (!json_is_integer(metric) || json_integer_value(metric) < 0)))
			vs_problem(problems, FIELD ".routes", "Give to as ADDRESS/BITS, via as an address, metric as a number.",
				   "the route to \"%s\" via \"%s\" cannot be set", vs_str(one, "to"), vs_str(one, "via"));
	}
}

static void check_one(const json_t *network, json_t *problems)
{
	const json_t *mtu = json_object_get(network, "mtu");
	json_int_t n = json_integer_value(mtu);

	if (mtu && (!json_is_integer(mtu) || n < MTU_MIN || n > MTU_MAX))
		vs_problem(problems, FIELD ".mtu", "Give a number of bytes in that range, or leave it out.",
			   "an MTU is a number from %d to %d", MTU_MIN, MTU_MAX);
	check_texts(network, "nameservers", is_address, "address of a name server", problems);
	check_texts(network, "searchDomains", is_domain, "domain", problems);
	check_routes(network, problems);
	if (json_is_true(json_object_get(network, "staticIp")) && !*vs_str(network, "parentPoolUid") &&
	    !json_is_object(json_object_get(network, "ipPool")))
		vs_problem(problems, FIELD ".staticIp", "Give parentPoolUid, the uid of an IP pool of the gateway, or choose a network "
			   "with DHCP, and staticIp false.",
			   "static addresses on %s are wanted, but no pool is named that they come from", vs_str(network, "networkName"));
}

void netdevice_check(const json_t *where, json_t *problems)
{
	size_t n = netdevice_count(where);
	const json_t *first;

	if (n > NICS_MAX)
		vs_problem(problems, "pool.cloudConfig.placements.networks", "Take some out.",
			   "%zu network devices are asked for, a machine of vSphere has %d at most", n, NICS_MAX);
	for (size_t i = 0; i < n; i++)
		check_one(netdevice_network(where, i), problems);
	first = netdevice_network(where, 0);
	if (json_is_false(json_object_get(first, "dhcp4")) && !json_is_true(json_object_get(first, "dhcp6")) &&
	    !json_is_true(json_object_get(first, "staticIp")))
		vs_problem(problems, FIELD ".dhcp4", "Leave dhcp4 out, or give dhcp6 or staticIp.",
			   "the first network, %s, has no way to an address", vs_str(first, "networkName"));
}

static bool holds_text(const json_t *list, const char *text)
{
	size_t i;
	json_t *one;

	json_array_foreach(list, i, one)
		if (strcmp(json_string_value(one) ? json_string_value(one) : "", text) == 0)
			return true;
	return false;
}

/* Adds to the device's list what it does not hold yet; an empty list is never made. */
static void add_texts(json_t *device, const char *key, const json_t *more)
{
	json_t *list = json_object_get(device, key), *one;
	size_t i;

	json_array_foreach(more, i, one) {
		if (!json_is_string(one) || holds_text(list, json_string_value(one)))
			continue;
		if (!list) {
			list = json_array();
			json_object_set_new(device, key, list);
		}
		json_array_append(list, one);
	}
}

static void add_pool(json_t *device, const char *name)
{
	json_t *list = json_object_get(device, "addressesFromPools"), *one;
	size_t i;

	if (!*name)
		return;
	json_array_foreach(list, i, one)
		if (strcmp(vs_str(one, "name"), name) == 0)
			return;
	if (!list) {
		list = json_array();
		json_object_set_new(device, "addressesFromPools", list);
	}
	json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "apiGroup", "ipam.cluster.x-k8s.io", "kind", "InClusterIPPool", "name",
					      name));
}

static void add_routes(json_t *device, const json_t *routes)
{
	json_t *list, *one;
	size_t i;

	if (!json_array_size(routes))
		return;
	list = json_array();
	json_array_foreach(routes, i, one)
		json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "to", vs_str(one, "to"), "via", vs_str(one, "via"), "metric",
						      json_integer_value(json_object_get(one, "metric"))));
	json_object_set_new(device, "routes", list);
}

json_t *netdevice_of(const json_t *network, const char *path)
{
	const json_t *dhcp4 = json_object_get(network, "dhcp4"), *pool = json_object_get(network, "ipPool");
	bool is_static = json_is_true(json_object_get(network, "staticIp"));
	json_t *device = json_pack("{s:s}", "networkName", path);

	if (dhcp4 ? json_is_true(dhcp4) : !is_static)
		json_object_set_new(device, "dhcp4", json_true());
	if (json_is_true(json_object_get(network, "dhcp6")))
		json_object_set_new(device, "dhcp6", json_true());
	/* Else the vSphere controllers would wait for an address of it. */
	if (!is_static && json_object_size(device) == 1)
		json_object_set_new(device, "skipIPAllocation", json_true());
	if (json_is_integer(json_object_get(network, "mtu")))
		json_object_set(device, "mtu", json_object_get(network, "mtu"));
	add_routes(device, json_object_get(network, "routes"));
	add_texts(device, "nameservers", json_object_get(network, "nameservers"));
	add_texts(device, "searchDomains", json_object_get(network, "searchDomains"));
	if (is_static) {
		add_pool(device, vs_str(pool, "name"));
		add_texts(device, "nameservers", json_object_get(json_object_get(pool, "nameserver"), "addresses"));
		add_texts(device, "searchDomains", json_object_get(json_object_get(pool, "nameserver"), "search"));
	}
	return device;
}

void netdevice_address(json_t *devices, const json_t *addresses)
{
	size_t i;
	json_t *one;

	json_array_foreach(addresses, i, one) {
		json_t *device = json_array_get(devices, (size_t)json_integer_value(json_object_get(one, "device"))), *list, *with;
		const char *address = vs_str(one, "address"), *gateway = vs_str(one, "gateway");

		if (!device || !*address)
			continue;
		list = json_array();
		with = json_sprintf("%s/%" JSON_INTEGER_FORMAT, address, json_integer_value(json_object_get(one, "prefix")));
		json_array_append_new(list, with);
		add_texts(device, "ipAddrs", list);
		json_decref(list);
		if (*gateway)
			json_object_set_new(device, strchr(gateway, ':') ? "gateway6" : "gateway4", json_string(gateway));
		add_pool(device, vs_str(one, "pool"));
		add_texts(device, "nameservers", json_object_get(one, "nameservers"));
		add_texts(device, "searchDomains", json_object_get(one, "search"));
	}
}

int netdevice_ready(json_t *devices, const json_t *where, const char *uid, struct vs_err *err)
{
	size_t i;
	json_t *device;

	json_array_foreach(devices, i, device) {
		char mac[18], of[96];

		snprintf(of, sizeof(of), "%s/%zu", uid, i);
		vs_mac(i ? of : uid, mac);
		json_object_set_new(device, "macAddr", json_string(mac));
		if (!json_is_true(json_object_get(netdevice_network(where, i), "staticIp")) ||
		    json_array_size(json_object_get(device, "ipAddrs")))
			continue;
		vs_fail(err, PCG_ERR_RETRY, "Look at the IP pool of the network: whether it has free addresses, and whether this cluster "
			"may use it.",
			"network %s shall give static addresses, and none is reserved for the machine", vs_str(device, "networkName"));
		return -1;
	}
	return 0;
}
