/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Static addresses. The plane has reserved them (addressPools of the request); here one is given to each machine that the
 * gateway makes, durable with the machine's row before anything is asked of the infrastructure, and told to the plane with
 * the recovery document, so that another installation gives the same one. What is left of them is handed over for the
 * machines that the cluster's own controllers make.
 */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include <string.h>

#define KEPT "machineAddresses" /* in the cluster's state: machine uid -> addresses as providers get them */

const json_t *addresses_of_machine(const struct cluster *c, const char *uid)
{
	return json_object_get(json_object_get(c->state, KEPT), uid);
}

void addresses_keep(struct cluster *c, const char *uid, const json_t *addresses)
{
	json_t *kept = json_object_get(c->state, KEPT);

	if (!kept) {
		kept = json_object();
		json_object_set_new(c->state, KEPT, kept);
	}
	json_object_set_new(kept, uid, json_deep_copy(addresses));
}

void addresses_forget(struct cluster *c)
{
	json_object_del(c->state, KEPT);
}

static const json_t *pool_named(const struct cluster *c, const char *uid)
{
	json_t *pool;
	size_t i;

	json_array_foreach(json_object_get(c->spec, "addressPools"), i, pool)
		if (strcmp(json_str_or(pool, "uid", ""), uid) == 0)
			return pool;
	return NULL;
}

/* A plane whose database came from a backup may have reserved for this cluster what another had already. */
static const char *holder_of(const struct cluster *c, const char *address)
{
	for (size_t b = 0; b < LC_BUCKETS; b++)
		for (const struct cluster *other = c->l->buckets[b]; other; other = other->next) {
			json_t *pool, *a;
			size_t i, k;

			if (other == c || other->lc.phase == LC_DELETED)
				continue;
			if (strcmp(json_str_or(other->state, "endpoint.host", ""), address) == 0)
				return other->name;
			json_array_foreach(json_object_get(other->spec, "addressPools"), i, pool)
				json_array_foreach(json_object_get(pool, "addresses"), k, a)
					if (json_is_string(a) && strcmp(json_string_value(a), address) == 0)
						return other->name;
		}
	return NULL;
}

static int check_twice(const struct cluster *c, struct pcg_error *err)
{
	json_t *pool, *a;
	size_t i, k;

	json_array_foreach(json_object_get(c->spec, "addressPools"), i, pool)
		json_array_foreach(json_object_get(pool, "addresses"), k, a) {
			const char *address = json_is_string(a) ? json_string_value(a) : "";
			const char *holder = holder_of(c, address);

			if (holder)
				return pcg_fail(err, PCG_CLASS_CONFLICT,
						"delete this cluster and make it anew: the plane has learned of the other by now",
						"address %s of IP pool %s is reserved for cluster %s too, and for %s since "
						"before",
						address, json_str_or(pool, "name", ""), c->name, holder);
		}
	return 0;
}

static json_t *given(const json_t *pool, int64_t device, const char *address)
{
	json_t *names = json_object_get(pool, "nameservers"), *search = json_object_get(pool, "search");

	return json_pack("{s:I,s:s,s:s,s:I,s:s,s:o,s:o}", "device", (json_int_t)device, "pool",
			 json_str_or(pool, "object", ""), "address", address, "prefix",
			 (json_int_t)json_int_or(pool, "prefix", 0), "gateway", json_str_or(pool, "gateway", ""), "nameservers",
			 json_is_array(names) ? json_deep_copy(names) : json_array(), "search",
			 json_is_array(search) ? json_deep_copy(search) : json_array());
}

static bool is_listed(const json_t *list, const char *address)
{
	json_t *a;
	size_t i;

	json_array_foreach((json_t *)list, i, a)
		if (strcmp(json_str_or(a, "address", ""), address) == 0)
			return true;
	return false;
}

static bool is_given(const struct cluster *c, const char *address)
{
	const char *uid;
	json_t *list;

	json_object_foreach(json_object_get(c->state, KEPT), uid, list)
		if (is_listed(list, address))
			return true;
	return false;
}

/* The first of the pool that no machine has. */
static int give(const struct cluster *c, const json_t *wanted, json_t *list, struct pcg_error *err)
{
	const json_t *pool = pool_named(c, json_str_or(wanted, "pool", ""));
	json_t *a;
	size_t i;

	json_array_foreach(json_object_get(pool, "addresses"), i, a) {
		const char *address = json_is_string(a) ? json_string_value(a) : "";

		if (!*address || is_given(c, address) || is_listed(list, address))
			continue;
		json_array_append_new(list, given(pool, json_int_or(wanted, "device", 0), address));
		return 0;
	}
	return pcg_fail(err, PCG_CLASS_QUOTA, "make the IP pool larger (pcg-planectl pool update), or delete the cluster",
			"cluster %s has no address left of IP pool %s", c->name,
			json_str_or(pool, "name", json_str_or(wanted, "pool", "")));
}

int addresses_assign(struct cluster *c, const char *uid, const char *machine_pool, struct pcg_error *err)
{
	const json_t *wanted = json_object_get(cluster_pool(c, machine_pool), "addressPools");
	AUTO_JSON json_t *list = json_array();
	json_t *one;
	size_t i;
	int r;

	if (!json_array_size(wanted) || addresses_of_machine(c, uid))
		return 0;
	r = check_twice(c, err);
	json_array_foreach((json_t *)wanted, i, one)
		if (!r)
			r = give(c, one, list, err);
	if (r)
		return r;
	addresses_keep(c, uid, list);
	json_array_foreach(list, i, one)
		cluster_note(c, "address_given", json_pack("{s:s,s:s,s:s}", "machine", uid, "pool", json_str_or(one, "pool", ""),
							   "address", json_str_or(one, "address", "")));
	return 0;
}

json_t *addresses_view(const struct cluster *c)
{
	json_t *list = json_array(), *pool;
	size_t i;

	json_array_foreach(json_object_get(c->spec, "addressPools"), i, pool)
		json_array_append_new(list, json_pack("{s:s,s:O?}", "name", json_str_or(pool, "name", ""), "addresses",
						      json_object_get(pool, "addresses")));
	return list;
}
