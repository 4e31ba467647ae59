/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/address_plan.h"

#include "core/fault.h"
#include "plane/api.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

/* ---- all of it, or nothing ---- */

static const char *object_name(const struct address_need *u, char out[80])
{
	const char *name = json_str_or(u->doc, "metadata.name", "");

	/* The name of an object in the cluster: the pool's own where it can be one. */
	if (api_dns_label(name, 63))
		snprintf(out, 80, "%s", name);
	else
		snprintf(out, 80, "pool-%.64s", u->uid);
	return out;
}

static int keep_one(struct address_plan *w, const struct address_need *u, const char *address, const char *role, struct pcg_error *err)
{
	char object[80];
	struct addresses_row row = { .gateway = w->gateway, .pool = u->uid, .cluster = w->uid, .address = address,
				     .role = role, .object = object_name(u, object) };

	return addresses_keep(w->p, &row, err);
}

static int keep_endpoint(struct address_plan *w, const struct address_need *u, struct pcg_error *err)
{
	char text[IP_TEXT_SIZE];
	struct ip ip;

	if (!u->endpoint || !ip_parse(address_endpoint(w), &ip))
		return 0;
	return keep_one(w, u, ip_text(&ip, text), "endpoint", err);
}

int address_keep_all(struct address_plan *w, struct pcg_error *err)
{
	json_t *v;
	size_t k;
	int r = 0;

	for (size_t i = 0; !r && i < w->n; i++) {
		struct address_need *u = &w->uses[i];

		r = keep_endpoint(w, u, err);
		json_array_foreach(u->fresh, k, v)
			if (!r)
				r = keep_one(w, u, json_string_value(v), "node", err);
	}
	FAULT_POINT("plane.addresses_reserved");
	if (r)
		return r;
	json_decref(TAKE(w->rows));
	return rows_list(w->p, ROWS_ADDRESS, w->uid, &w->rows, err);
}

/* ---- into the document ---- */

/* A search suffix that a pool lacks is that of its network. */
static json_t *search_of(const struct address_need *u)
{
	json_t *search = json_at(u->doc, "spec.pool.nameserver.search");

	if (json_array_size(search))
		return json_deep_copy(search);
	return *u->domain ? json_pack("[s]", u->domain) : json_array();
}

/* NULL: nothing is reserved in it. */
static json_t *pool_document(const struct address_plan *w, const struct address_need *u)
{
	json_t *addresses = json_array(), *row, *names = json_at(u->doc, "spec.pool.nameserver.addresses");
	const char *object = "";
	char text[IP_TEXT_SIZE];
	size_t i;

	json_array_foreach(w->rows, i, row)
		if (strcmp(json_str_or(row, "pool", ""), u->uid) == 0 &&
		    strcmp(json_str_or(row, "role", ""), "node") == 0) {
			object = json_str_or(row, "object", "");
			json_array_append(addresses, json_object_get(row, "address"));
		}
	if (!json_array_size(addresses)) {
		json_decref(addresses);
		return NULL;
	}
	return json_pack("{s:s,s:s,s:s,s:I,s:s,s:o,s:o,s:o}", "uid", u->uid, "name",
			 json_str_or(u->doc, "metadata.name", ""), "object", object, "prefix",
			 (json_int_t)u->range.prefix, "gateway", ip_text(&u->range.gateway, text), "nameservers",
			 json_is_array(names) ? json_deep_copy(names) : json_array(), "search", search_of(u), "addresses",
			 addresses);
}

struct naming {
	struct address_plan *plan;
	json_t *devices; /* NULL: only the networks are looked at */
};

static const char *reserved_name(const struct address_plan *w, const char *uid)
{
	json_t *row;
	size_t i;

	json_array_foreach(w->rows, i, row)
		if (strcmp(json_str_or(row, "pool", ""), uid) == 0 && strcmp(json_str_or(row, "role", ""), "node") == 0)
			return json_str_or(row, "object", "");
	return NULL;
}

/* A network that names a pool is static, whatever it says, and its ipPool has the name that the pool has in the cluster. */
static int name_network(void *arg, json_t *network, size_t device)
{
	struct naming *n = arg;
	const char *uid = json_str_or(network, "parentPoolUid", ""), *object = *uid ? reserved_name(n->plan, uid) : NULL;

	if (!object)
		return 0;
	if (n->devices) {
		json_array_append_new(n->devices, json_pack("{s:I,s:s}", "device", (json_int_t)device, "pool", uid));
		return 0;
	}
	json_object_set_new(network, "staticIp", json_true());
	if (json_is_object(json_object_get(network, "ipPool"))) {
		json_object_set_new(network, "ipPool", json_deep_copy(json_object_get(network, "ipPool")));
		json_put_str(network, "ipPool.name", object);
	}
	return 0;
}

static void name_pools(struct address_plan *w)
{
	json_t *pool;
	size_t i;

	json_array_foreach(json_object_get(w->doc, "pools"), i, pool) {
		const json_t *cloud = json_object_get(pool, "cloudConfig");
		struct naming n = { .plan = w };

		address_networks(cloud, name_network, &n);
		n.devices = json_array();
		address_first_networks(cloud, name_network, &n);
		json_object_set_new(pool, "addressPools", n.devices);
	}
}

void address_write_document(struct address_plan *w)
{
	json_t *pools = json_array(), *pool, *row;
	size_t i;

	for (i = 0; i < w->n; i++)
		if (w->uses[i].doc && (pool = pool_document(w, &w->uses[i])))
			json_array_append_new(pools, pool);
	json_object_set_new(w->doc, "addressPools", pools);
	name_pools(w);
	json_array_foreach(w->rows, i, row)
		if (!json_str(w->doc, "controlPlaneEndpoint.host") &&
		    strcmp(json_str_or(row, "role", ""), "endpoint") == 0)
			json_object_set_new(w->doc, "controlPlaneEndpoint",
					    json_pack("{s:s,s:s,s:i}", "type", "VIP", "host",
						      json_str_or(row, "address", ""), "port", 6443));
}
