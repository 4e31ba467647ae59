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

void zone_name(const json_t *cluster, const json_t *pool, size_t zone, char *out, size_t size)
{
	const json_t *where = json_array_get(json_object_get(json_object_get(pool, "cloudConfig"), "placements"), zone);
	const char *name = vs_str(where, "zone"), *slash;
	size_t n;

	*out = 0;
	if (placement_zones(pool) == 1)
		return;
	slash = strrchr(vs_str(where, "cluster"), '/');
	if (!*name)
		name = slash ? slash + 1 : vs_str(where, "cluster");
	n = (size_t)snprintf(out, size, "%s-%s", vs_str(cluster, "name"), name);
	for (char *c = out; *c; c++)
		*c = isalnum((unsigned char)*c) ? (char)tolower((unsigned char)*c) : '-';
	n = n < size ? n : size - 1;
	while (n && out[n - 1] == '-')
		out[--n] = 0;
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
