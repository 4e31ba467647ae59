/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/address_plan.h"

#include <stdio.h>
#include <string.h>

/* A placement, or a cloudConfig without any, has the first device's network in "network", and those of more in "networks". */
static int each_device(const json_t *where, address_network_fn fn, void *arg)
{
	json_t *network = json_object_get(where, "network");
	size_t i;
	int r = network ? fn(arg, network, 0) : 0;

	json_array_foreach(json_object_get(where, "networks"), i, network)
		if (!r)
			r = fn(arg, network, i + 1);
	return r;
}

int address_networks(const json_t *cloud, address_network_fn fn, void *arg)
{
	json_t *placement;
	size_t i;
	int r = each_device(cloud, fn, arg);

	json_array_foreach(json_object_get(cloud, "placements"), i, placement)
		if (!r)
			r = each_device(placement, fn, arg);
	return r;
}

/* Where machines are made first. */
static const json_t *first_place(const json_t *cloud)
{
	const json_t *placement = json_array_get(json_object_get(cloud, "placements"), 0);

	return placement ? placement : cloud;
}

int address_first_networks(const json_t *cloud, address_network_fn fn, void *arg)
{
	return each_device(first_place(cloud), fn, arg);
}

struct counting {
	const char *uid;
	int64_t n;
};

static int count_named(void *arg, json_t *network, size_t device)
{
	struct counting *c = arg;

	c->n += strcmp(json_str_or(network, "parentPoolUid", ""), c->uid) == 0;
	return 0;
}

static int64_t named_in(const json_t *where, const char *uid)
{
	struct counting c = { .uid = uid };

	each_device(where, count_named, &c);
	return c.n;
}

int64_t address_needed(const json_t *cloud, const char *uid, int64_t nodes, bool spread)
{
	json_t *placements = json_object_get(cloud, "placements"), *placement;
	int64_t places = (int64_t)json_array_size(placements), most = nodes * named_in(cloud, uid), sum = 0, n;
	size_t i;

	json_array_foreach(placements, i, placement) {
		n = named_in(placement, uid);
		sum += n * (nodes / places + ((int64_t)i < nodes % places));
		most = n * nodes > most ? n * nodes : most;
	}
	return spread && places ? sum : most;
}

static int is_named(void *arg, json_t *network, size_t device)
{
	return strcmp(json_str_or(network, "parentPoolUid", ""), arg) == 0;
}

const char *addresses_pool_of(const json_t *cloud)
{
	return json_str_or(first_place(cloud), "network.parentPoolUid", "");
}

bool addresses_names_pool(const json_t *cluster, const char *pool)
{
	char uid[64];
	json_t *given;
	size_t i;

	snprintf(uid, sizeof(uid), "%s", pool);
	json_array_foreach(json_at(cluster, "spec.machinepoolconfig"), i, given)
		if (*uid && address_networks(json_object_get(given, "cloudConfig"), is_named, uid))
			return true;
	return false;
}
