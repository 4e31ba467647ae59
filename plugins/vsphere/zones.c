/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/zones.h"

#include "plugins/vsphere/finish.h"
#include "plugins/vsphere/task.h"
#include "plugins/vsphere/track_impl.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZONE_NAME 192 /* ".POOL.N" beside it is within the 253 of an object's name */
#define POOLS_MAX 4096 /* beyond that the memory begins anew */

struct zones {
	pthread_mutex_t lock;
	json_t *pools; /* "CLUSTER POOL" -> {machine uid: zone} */
};

struct zones *zones_new(void)
{
	struct zones *z = calloc(1, sizeof(*z));

	assert(z);
	pthread_mutex_init(&z->lock, NULL);
	z->pools = json_object();
	return z;
}

void zones_free(struct zones *z)
{
	json_decref(z->pools);
	pthread_mutex_destroy(&z->lock);
	free(z);
}

static json_t *machines_locked(struct zones *z, const struct subject *s)
{
	char key[200];
	json_t *machines;

	snprintf(key, sizeof(key), "%s %s", vs_str(s->cluster, "uid"), vs_str(s->machine, "pool"));
	machines = json_object_get(z->pools, key);
	if (machines)
		return machines;
	if (json_object_size(z->pools) >= POOLS_MAX)
		json_object_clear(z->pools);
	machines = json_object();
	json_object_set_new(z->pools, key, machines);
	return machines;
}

/* The first machines of clusters begin at different zones. */
static size_t first_zone(const struct subject *s, size_t n)
{
	size_t h = 5381;

	for (const char *c = vs_str(s->cluster, "uid"); *c; c++)
		h = h * 33 + (unsigned char)*c;
	return h % n;
}

static size_t emptiest(json_t *machines, size_t first, size_t n)
{
	size_t best = first, least = SIZE_MAX;
	const char *uid;
	json_t *zone;

	for (size_t i = 0; i < n; i++) {
		size_t at = (first + i) % n, count = 0;

		json_object_foreach(machines, uid, zone)
			count += (size_t)json_integer_value(zone) == at;
		if (count < least) {
			least = count;
			best = at;
		}
	}
	return best;
}

size_t zone_pick(struct vsphere *v, const struct subject *s)
{
	size_t n = placement_zones(json_object_get(s->machine, "poolSpec")), zone;
	json_t *machines, *known;

	if (n == 1)
		return 0;
	pthread_mutex_lock(&v->zones->lock);
	machines = machines_locked(v->zones, s);
	known = json_object_get(machines, s->uid);
	zone = known ? (size_t)json_integer_value(known) : emptiest(machines, first_zone(s, n), n);
	if (!known)
		json_object_set_new(machines, s->uid, json_integer((json_int_t)zone));
	pthread_mutex_unlock(&v->zones->lock);
	return zone < n ? zone : 0;
}

static void on_machine(void *arg, const struct xn *object)
{
	*(size_t *)arg = strtoul(track_option(object, MARK_ZONE), NULL, 10);
}

int zone_of(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct vs_ref *vm, size_t *zone,
	    struct vs_err *err)
{
	static const char *const paths[] = { "config.extraConfig[\"" MARK_ZONE "\"]" };
	size_t n = placement_zones(json_object_get(s->machine, "poolSpec"));
	const json_t *known;

	*zone = 0;
	if (n == 1)
		return 0;
	pthread_mutex_lock(&v->zones->lock);
	known = json_object_get(machines_locked(v->zones, s), s->uid);
	if (known)
		*zone = (size_t)json_integer_value(known);
	pthread_mutex_unlock(&v->zones->lock);
	if (!known) {
		if (object_read(v, call, vm, paths, 1, on_machine, zone, err))
			return -1;
		pthread_mutex_lock(&v->zones->lock);
		json_object_set_new(machines_locked(v->zones, s), s->uid, json_integer((json_int_t)*zone));
		pthread_mutex_unlock(&v->zones->lock);
	}
	*zone = *zone < n ? *zone : 0;
	return 0;
}

static void base_name(const json_t *cluster, const json_t *where, char *out, size_t size)
{
	const char *name = vs_str(where, "zone"), *slash = strrchr(vs_str(where, "cluster"), '/');
	size_t n;

	if (!*name)
		name = slash ? slash + 1 : vs_str(where, "cluster");
	n = (size_t)snprintf(out, size, "%s-%s", vs_str(cluster, "name"), name);
	for (char *c = out; *c; c++)
		*c = isalnum((unsigned char)*c) ? (char)tolower((unsigned char)*c) : '-';
	n = n < size ? n : size - 1;
	while (n && out[n - 1] == '-')
		out[--n] = 0;
}

/* To a failure domain and its deployment zone. */
static bool same_place(const json_t *a, const json_t *b)
{
	static const char *const members[] = { "cluster", "resourcePool", "datastore", "storagePolicyName" };
	size_t n = netdevice_count(a);
	bool same = n == netdevice_count(b);

	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
		same = same && strcmp(vs_str(a, members[i]), vs_str(b, members[i])) == 0;
	for (size_t i = 0; same && i < n; i++)
		same = strcmp(vs_str(netdevice_network(a, i), "networkName"), vs_str(netdevice_network(b, i), "networkName")) == 0;
	return same;
}

/* Placements before this one that would have its name. */
struct naming {
	const json_t *cluster, *pool;
	size_t zone;
	char base[ZONE_NAME];
	bool any, own;          /* there are some; and some in this pool */
	const json_t *same;     /* pool of the first that is the same place, NULL: none is */
	size_t same_zone;
};

/* False: the placement itself was come to. */
static bool look_before(struct naming *n, const json_t *other)
{
	bool own = strcmp(vs_str(other, "name"), vs_str(n->pool, "name")) == 0;
	char base[ZONE_NAME];

	for (size_t zone = 0; placement_zones(other) > 1 && zone < placement_zones(other); zone++) {
		if (own && zone == n->zone)
			return false;
		base_name(n->cluster, placement_at(other, zone), base, sizeof(base));
		if (strcmp(base, n->base) != 0)
			continue;
		n->any = true;
		n->own = n->own || own;
		if (n->same || !same_place(placement_at(other, zone), placement_at(n->pool, n->zone)))
			continue;
		n->same = other;
		n->same_zone = zone;
	}
	return true;
}

void zone_name(const json_t *cluster, const json_t *pool, size_t zone, char *out, size_t size)
{
	const json_t *pools = json_object_get(json_object_get(cluster, "spec"), "pools"), *other;
	struct naming n = { .cluster = cluster, .pool = pool, .zone = zone };
	bool more = true;
	size_t i;

	*out = 0;
	if (placement_zones(pool) == 1)
		return;
	base_name(cluster, placement_at(pool, zone), n.base, sizeof(n.base));
	for (int workers = 0; workers < 2; workers++)
		json_array_foreach(pools, i, other)
			if (json_is_true(json_object_get(other, "controlPlane")) != workers)
				more = more && look_before(&n, other);
	if (n.same)
		zone_name(cluster, n.same, n.same_zone, out, size);
	else if (!n.any)
		snprintf(out, size, "%s", n.base);
	else if (!n.own)
		snprintf(out, size, "%s.%s", n.base, vs_str(pool, "name"));
	else
		snprintf(out, size, "%s.%s.%zu", n.base, vs_str(pool, "name"), zone + 1);
}

static void no_tag(json_t *problems, const char *what, const char *path, const char *category)
{
	vs_problem(problems, "pool.cloudConfig.placements", "Attach a tag of that category to it in vCenter, or give one placement.",
		   "%s %s has no tag of category %s, by which several placements are told apart", what, path, category);
}

int zone_tags(struct vsphere *v, struct pcg_call *call, const struct spot *spot, char region[256], char zone[256],
	      json_t *problems, struct vs_err *err)
{
	int r = tag_of(v, call, &spot->dc, REGION_CATEGORY, region, 256, err);

	if (!r)
		r = tag_of(v, call, &spot->cluster, ZONE_CATEGORY, zone, 256, err);
	if (!r && !*region)
		no_tag(problems, "datacenter", spot->datacenter, REGION_CATEGORY);
	if (!r && !*zone)
		no_tag(problems, "compute cluster", spot->cluster_path, ZONE_CATEGORY);
	return r;
}

static const char *address_pool(const json_t *where, size_t device)
{
	const json_t *network = netdevice_network(where, device);
	const char *uid = vs_str(network, "parentPoolUid");

	return *uid ? uid : vs_str(json_object_get(network, "ipPool"), "name");
}

void zone_addresses(const json_t *pool, json_t *problems)
{
	const json_t *first = placement_at(pool, 0);

	for (size_t zone = 1; json_is_true(json_object_get(pool, "controlPlane")) && zone < placement_zones(pool); zone++) {
		const json_t *where = placement_at(pool, zone);
		size_t n = netdevice_count(first);
		bool same = n == netdevice_count(where);

		for (size_t i = 0; same && i < n; i++)
			same = strcmp(address_pool(first, i), address_pool(where, i)) == 0;
		if (!same)
			vs_problem(problems, "pool.cloudConfig.placements.network.parentPoolUid",
				   "Give every placement of the control plane as many networks with the same IP pools, or DHCP.",
				   "placement %zu of control plane pool %s has other networks with addresses than the first, and its machines "
				   "have one template", zone + 1, vs_str(pool, "name"));
	}
}

void zone_policies(const struct vsphere *v, const json_t *cluster, const json_t *pool, json_t *problems)
{
	const char *first = vs_str(placement_at(pool, 0), "storagePolicyName");
	json_t *told = json_array();
	struct vs_options o;

	options_read(v, cluster, pool, NULL, &o, told);
	json_decref(told);
	/* One that all have holds whatever the placements say. */
	for (size_t zone = 1; !*o.policy && json_is_true(json_object_get(pool, "controlPlane")) && zone < placement_zones(pool); zone++)
		if (strcmp(first, vs_str(placement_at(pool, zone), "storagePolicyName")) != 0)
			vs_problem(problems, "pool.cloudConfig.placements.storagePolicyName",
				   "Give every placement of the control plane the same storage policy, or none.",
				   "placement %zu of control plane pool %s has another storage policy than the first, and its machines have one "
				   "template", zone + 1, vs_str(pool, "name"));
}
