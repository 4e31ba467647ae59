/* SPDX-License-Identifier: Apache-2.0 */
/* What addresses a cluster needs, and what it is told when it cannot have them. */
#include "config.h"
#include "plane/addresses.h"

#include "core/fault.h"
#include "plane/api.h"
#include "plane/dns_mappings.h"
#include "plane/document.h"
#include "plane/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beside the nodes: the machine that a cluster begins with, its API's address, a machine that replaces another. */
#define SPARE 3
#define NODES_MAX 1000 /* as a pool of machines is limited */
#define FIELD "addressPools"

struct use {
	json_t *doc;             /* row "pool"; NULL: none of this gateway */
	char uid[64];
	char domain[256];        /* the DNS mapping's of a network that names it */
	struct ip_range range;
	int64_t nodes, have;     /* have: already reserved for nodes */
	bool endpoint;           /* the endpoint is one of its addresses */
	bool endpoint_new;       /* and not reserved yet */
	json_t *fresh;           /* what it gets now, texts */
};

struct plan {
	struct plane *p;
	const json_t *cluster;
	const char *uid, *gateway, *name;
	json_t *doc, *problems;
	json_t *rows;            /* what it has */
	struct use *uses;
	size_t n;
	struct addresses_taken taken;
	char endpoint[IP_TEXT_SIZE]; /* one that is taken from a pool here */
};

/* ---- which pools, how many ---- */

typedef int (*network_fn)(void *arg, json_t *network, size_t device);

/* A placement, or a cloudConfig without any, has the first device's network in "network", and those of more in "networks". */
static int each_device(const json_t *where, network_fn fn, void *arg)
{
	json_t *network = json_object_get(where, "network");
	size_t i;
	int r = network ? fn(arg, network, 0) : 0;

	json_array_foreach(json_object_get(where, "networks"), i, network)
		if (!r)
			r = fn(arg, network, i + 1);
	return r;
}

static int each_network(const json_t *cloud, network_fn fn, void *arg)
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

/* How many addresses of a pool one machine has, wherever it is placed. */
static int64_t for_each_machine(const json_t *cloud, const char *uid)
{
	struct counting c = { .uid = uid };
	json_t *placement;
	int64_t most;
	size_t i;

	each_device(cloud, count_named, &c);
	most = c.n;
	json_array_foreach(json_object_get(cloud, "placements"), i, placement) {
		c.n = 0;
		each_device(placement, count_named, &c);
		most = c.n > most ? c.n : most;
	}
	return most;
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
		if (*uid && each_network(json_object_get(given, "cloudConfig"), is_named, uid))
			return true;
	return false;
}

static struct use *use_of(struct plan *w, const char *uid)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->uses[i].uid, uid) == 0)
			return &w->uses[i];
	return NULL;
}

static int add_use(struct plan *w, const char *uid, struct pcg_error *err)
{
	AUTO_JSON json_t *fields = json_array();
	struct use *u;
	int r;

	if (use_of(w, uid))
		return 0;
	w->uses = realloc(w->uses, (w->n + 1) * sizeof(*w->uses));
	if (!w->uses)
		abort();
	u = &w->uses[w->n++];
	memset(u, 0, sizeof(*u));
	snprintf(u->uid, sizeof(u->uid), "%s", uid);
	r = rows_get(w->p, ROWS_POOL, uid, &u->doc, err);
	if (r <= 0)
		return r; /* document.c says that it is not there */
	if (strcmp(json_str_or(u->doc, "overlord", ""), w->gateway) != 0) {
		document_problem(w->problems, "network.parentPoolUid", "name an IP pool of the account's gateway",
				 "IP pool '%.64s' belongs to another gateway", json_str_or(u->doc, "metadata.name", ""));
		json_decref(TAKE(u->doc));
	} else if (!ip_range_read(json_at(u->doc, "spec.pool"), &u->range, fields)) {
		document_problem(w->problems, FIELD, "correct the IP pool", "IP pool '%.64s': %s: %s",
				 json_str_or(u->doc, "metadata.name", ""), json_str_or(fields, "0.field", ""),
				 json_str_or(fields, "0.text", ""));
		json_decref(TAKE(u->doc));
	}
	return 0;
}

struct collecting {
	struct plan *plan;
	struct pcg_error *err;
	const char *datacenter;
	const json_t *cloud;
	int64_t nodes;
	const char *seen[8]; /* uids of one machine pool: its nodes count once in each */
	size_t n_seen;
};

static int collect(void *arg, json_t *network, size_t device)
{
	struct collecting *c = arg;
	const char *uid = json_str_or(network, "parentPoolUid", "");
	struct use *u;
	int r;

	if (!*uid) {
		if (json_bool_or(network, "staticIp", false))
			document_problem(c->plan->problems, "network.parentPoolUid",
					 "name an IP pool of the gateway (pcg-planectl pool list), or leave staticIp out",
					 "network %.64s wants static addresses, and names no IP pool",
					 json_str_or(network, "networkName", ""));
		return 0;
	}
	for (size_t i = 0; i < c->n_seen; i++)
		if (strcmp(c->seen[i], uid) == 0)
			return 0;
	r = add_use(c->plan, uid, c->err);
	if (r < 0)
		return r;
	u = use_of(c->plan, uid);
	u->nodes += c->nodes * for_each_machine(c->cloud, uid);
	if (c->n_seen < ARRAY_LEN(c->seen))
		c->seen[c->n_seen++] = uid;
	return *u->domain ? 0 : dns_mapping_domain(c->plan->p, c->plan->gateway, c->datacenter,
						   json_str_or(network, "networkName", ""), u->domain, c->err);
}

static int64_t nodes_of(const json_t *pool_config)
{
	int64_t n = json_int_or(pool_config, "size", 0), most = json_int_or(pool_config, "maxSize", 0);

	return most > n ? most < NODES_MAX ? most : NODES_MAX : n;
}

static int collect_uses(struct plan *w, struct pcg_error *err)
{
	json_t *given;
	size_t i;
	int r = 0;

	json_array_foreach(json_at(w->cluster, "spec.machinepoolconfig"), i, given) {
		struct collecting c = { .plan = w, .err = err,
					.datacenter = json_str_or(w->cluster, "spec.cloudConfig.placement.datacenter", ""),
					.cloud = json_object_get(given, "cloudConfig"),
					.nodes = nodes_of(json_object_get(given, "poolConfig")) };

		if (r >= 0)
			r = each_network(json_object_get(given, "cloudConfig"), collect, &c);
	}
	return r;
}

/* ---- the endpoint ---- */

#define ENDPOINT "cloudConfig.controlPlaneEndpoint"

static void endpoint_refused(struct plan *w, const char *host, const char *why, const char *who)
{
	document_problem(w->problems, ENDPOINT, "give a free address (pcg-planectl pool show NAME)", "%s %s%.64s", host, why,
			 who);
}

static int endpoint_holders(struct plan *w, const char *host, bool in_pool, bool *ours, struct pcg_error *err)
{
	AUTO_JSON json_t *row = NULL;
	AUTO_JSON json_t *other = NULL;
	char key[128];
	int r = addresses_holder(w->p, w->gateway, host, &row, err);

	if (r > 0 && strcmp(json_str_or(row, "cluster", ""), w->uid) != 0)
		endpoint_refused(w, host, "is an address of cluster ", json_str_or(row, "cluster", ""));
	else if (r > 0 && strcmp(json_str_or(row, "role", ""), "node") == 0)
		endpoint_refused(w, host, "is reserved for a node of this cluster", "");
	else
		*ours = r > 0;
	snprintf(key, sizeof(key), "%s/%s", w->gateway, host);
	if (r >= 0 && in_pool)
		r = rows_find(w->p, ROWS_ENDPOINT, key, &other, err);
	if (other && strcmp(json_str_or(other, "cluster", ""), w->uid) != 0)
		endpoint_refused(w, host, "is the endpoint of cluster ", json_str_or(other, "cluster", ""));
	return r < 0 ? r : 0;
}

/* One that the request gives: nobody else may have it, and of a pool of its own it is one of the three. */
static int given_endpoint(struct plan *w, const char *host, struct pcg_error *err)
{
	struct use *pool = NULL;
	bool ours = false;
	char text[IP_TEXT_SIZE];
	struct ip ip;
	int r;

	if (!ip_parse(host, &ip))
		return 0;
	ip_text(&ip, text);
	for (size_t i = 0; i < w->n; i++)
		if (w->uses[i].doc && ip_range_holds(&w->uses[i].range, &ip))
			pool = &w->uses[i];
	r = endpoint_holders(w, text, pool != NULL, &ours, err);
	if (r || !pool)
		return r;
	if (!ip_range_gives(&pool->range, &ip)) {
		endpoint_refused(w, text, "is the gateway's or the network's own address in IP pool ",
				 json_str_or(pool->doc, "metadata.name", ""));
		return 0;
	}
	pool->endpoint = true;
	pool->endpoint_new = !ours;
	addresses_taken_add(&w->taken, &ip);
	return 0;
}

static const char *control_plane_pool(const struct plan *w)
{
	json_t *given;
	size_t i;

	json_array_foreach(json_at(w->cluster, "spec.machinepoolconfig"), i, given)
		if (json_bool_or(given, "poolConfig.isControlPlane", false))
			return addresses_pool_of(json_object_get(given, "cloudConfig"));
	return "";
}

/* Where the request has no endpoint and the provider makes none, it is the first free address of the pool. */
static void own_endpoint(struct plan *w)
{
	AUTO_JSON json_t *first = json_array();
	struct use *u = use_of(w, control_plane_pool(w));
	struct ip ip;
	json_t *row;
	size_t i;

	if (strcmp(json_str_or(w->cluster, "cloudType", ""), "vsphere") != 0 || !u || !u->doc)
		return;
	u->endpoint = true;
	json_array_foreach(w->rows, i, row)
		if (strcmp(json_str_or(row, "role", ""), "endpoint") == 0)
			snprintf(w->endpoint, sizeof(w->endpoint), "%s", json_str_or(row, "address", ""));
	if (*w->endpoint)
		return;
	u->endpoint_new = true;
	addresses_free(&w->taken, &u->range, first, 1);
	snprintf(w->endpoint, sizeof(w->endpoint), "%s", json_str_or(first, "0", ""));
	if (ip_parse(w->endpoint, &ip))
		addresses_taken_add(&w->taken, &ip);
}

/* ---- enough? ---- */

/* Empty: it has none. */
static const char *endpoint_of(const struct plan *w)
{
	return json_str_or(w->doc, "controlPlaneEndpoint.host", w->endpoint);
}

static int others_of(struct plan *w, const struct use *u, char *text, size_t size, struct pcg_error *err)
{
	AUTO_JSON json_t *rows = NULL;
	AUTO_JSON json_t *counts = json_object();
	const char *cluster;
	json_t *row, *n;
	size_t i, used = 0;
	int r = addresses_of_pool(w->p, u->uid, &rows, err);

	*text = '\0';
	json_array_foreach(rows, i, row) {
		cluster = json_str_or(row, "cluster", "");
		if (strcmp(cluster, w->uid) != 0)
			json_object_set_new(counts, cluster, json_integer(json_int_or(counts, cluster, 0) + 1));
	}
	json_object_foreach(counts, cluster, n) {
		AUTO_JSON json_t *other = NULL;

		if (!r && used < size && rows_get(w->p, ROWS_CLUSTER, cluster, &other, err) >= 0)
			used += (size_t)snprintf(text + used, size - used, "%s%s has %" JSON_INTEGER_FORMAT,
						 used ? ", " : "", json_str_or(other, "name", cluster),
						 json_integer_value(n));
	}
	return r;
}

static int64_t missing_of(const struct use *u)
{
	int64_t want = u->nodes + SPARE - (u->endpoint ? 1 : 0);

	return want > u->have ? want - u->have : 0;
}

static int tell_shortage(struct plan *w, const struct use *u, uint64_t n_free, struct pcg_error *err)
{
	const char *pool = json_str_or(u->doc, "metadata.name", "");
	int64_t more = missing_of(u) + u->endpoint_new;
	char others[512], remedy[800];
	int r = others_of(w, u, others, sizeof(others), err);

	snprintf(remedy, sizeof(remedy), "make the pool larger (pcg-planectl pool update %.64s -f FILE)%s%.400s%s, or ask for "
		 "fewer nodes", pool, *others ? ", delete a cluster that has addresses of it (" : "", others,
		 *others ? ")" : "");
	document_problem(w->problems, FIELD, remedy,
			 "IP pool '%.64s' has %" PRIu64 " free of %" PRIu64 " addresses, and cluster %s needs %" PRId64
			 "%s: %" PRId64 " nodes, and %d for its endpoint, its first and replaced machines",
			 pool, n_free + (u->endpoint_new && *endpoint_of(w)), ip_range_size(&u->range), w->name, more, u->have ? " more" : "", u->nodes, SPARE);
	return r;
}

static int check_restricted(struct plan *w, const struct use *u, struct pcg_error *err)
{
	char others[512];
	int r;

	if (!json_bool_or(u->doc, "spec.restrictToSingleCluster", false))
		return 0;
	r = others_of(w, u, others, sizeof(others), err);
	if (!r && *others)
		document_problem(w->problems, FIELD, "name another IP pool, delete that cluster, or take the restriction off "
						     "the pool",
				 "IP pool '%.64s' is restricted to one cluster, and another uses it (%s addresses)",
				 json_str_or(u->doc, "metadata.name", ""), others);
	return r;
}

static bool take_fresh(struct plan *w, struct use *u, uint64_t *n_free)
{
	size_t more = (size_t)missing_of(u);

	u->fresh = json_array();
	*n_free = addresses_free(&w->taken, &u->range, u->fresh, more);
	return json_array_size(u->fresh) == more && (!u->endpoint || *endpoint_of(w));
}

static int fill(struct plan *w, struct pcg_error *err)
{
	json_t *row;
	size_t i;
	int r = 0;

	json_array_foreach(w->rows, i, row) {
		struct use *u = use_of(w, json_str_or(row, "pool", ""));

		if (u && strcmp(json_str_or(row, "role", ""), "node") == 0)
			u->have++;
	}
	for (i = 0; !r && i < w->n; i++) {
		struct use *u = &w->uses[i];
		uint64_t n_free;

		if (!u->doc)
			continue;
		r = check_restricted(w, u, err);
		if (!r && !take_fresh(w, u, &n_free))
			r = tell_shortage(w, u, n_free, err);
	}
	return r;
}

/* ---- all of it, or nothing ---- */

static const char *object_name(const struct use *u, char out[80])
{
	const char *name = json_str_or(u->doc, "metadata.name", "");

	/* The name of an object in the cluster: the pool's own where it can be one. */
	if (api_dns_label(name, 63))
		snprintf(out, 80, "%s", name);
	else
		snprintf(out, 80, "pool-%.64s", u->uid);
	return out;
}

static int keep_one(struct plan *w, const struct use *u, const char *address, const char *role, struct pcg_error *err)
{
	char object[80];
	struct addresses_row row = { .gateway = w->gateway, .pool = u->uid, .cluster = w->uid, .address = address,
				     .role = role, .object = object_name(u, object) };

	return addresses_keep(w->p, &row, err);
}

static int keep_endpoint(struct plan *w, const struct use *u, struct pcg_error *err)
{
	char text[IP_TEXT_SIZE];
	struct ip ip;

	if (!u->endpoint || !ip_parse(endpoint_of(w), &ip))
		return 0;
	return keep_one(w, u, ip_text(&ip, text), "endpoint", err);
}

static int keep_all(struct plan *w, struct pcg_error *err)
{
	json_t *v;
	size_t k;
	int r = 0;

	for (size_t i = 0; !r && i < w->n; i++) {
		struct use *u = &w->uses[i];

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
static json_t *search_of(const struct use *u)
{
	json_t *search = json_at(u->doc, "spec.pool.nameserver.search");

	if (json_array_size(search))
		return json_deep_copy(search);
	return *u->domain ? json_pack("[s]", u->domain) : json_array();
}

/* NULL: nothing is reserved in it. */
static json_t *pool_document(const struct plan *w, const struct use *u)
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
	struct plan *plan;
	json_t *devices; /* NULL: only the networks are looked at */
};

static const char *reserved_name(const struct plan *w, const char *uid)
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

static void name_pools(struct plan *w)
{
	json_t *pool;
	size_t i;

	json_array_foreach(json_object_get(w->doc, "pools"), i, pool) {
		const json_t *cloud = json_object_get(pool, "cloudConfig");
		struct naming n = { .plan = w };

		each_network(cloud, name_network, &n);
		n.devices = json_array();
		each_device(first_place(cloud), name_network, &n);
		json_object_set_new(pool, "addressPools", n.devices);
	}
}

static void write_document(struct plan *w)
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

static int work(struct plan *w, struct pcg_error *err)
{
	const char *host = json_str(w->doc, "controlPlaneEndpoint.host");
	int r = collect_uses(w, err);

	/* What it has stays in its document, also of a pool that the request names no more. */
	for (size_t i = 0; r >= 0 && i < json_array_size(w->rows); i++)
		r = add_use(w, json_str_or(json_array_get(w->rows, i), "pool", ""), err);
	if (r >= 0 && w->n)
		r = addresses_taken(w->p, w->gateway, &w->taken, err);
	if (r >= 0 && host)
		r = given_endpoint(w, host, err);
	else if (r >= 0 && w->n)
		own_endpoint(w);
	if (r >= 0)
		r = fill(w, err);
	if (r >= 0 && w->n && !json_array_size(w->problems))
		r = keep_all(w, err);
	if (r < 0)
		return r;
	/* What a cluster has it keeps, whatever else is wrong with its request now. */
	if (json_array_size(w->rows))
		write_document(w);
	return addresses_keep_endpoint(w->p, w->gateway, w->uid, json_str(w->doc, "controlPlaneEndpoint.host"), err);
}

int addresses_reserve(struct plane *p, const json_t *cluster, json_t *doc, struct pcg_error *err)
{
	struct plan w = { .p = p, .cluster = cluster, .uid = json_str_or(cluster, "uid", ""),
			  .gateway = json_str_or(cluster, "overlord", ""), .name = json_str_or(cluster, "name", ""),
			  .doc = doc, .problems = json_object_get(doc, "problems") };
	int r = rows_list(p, ROWS_ADDRESS, w.uid, &w.rows, err);

	if (!r)
		r = work(&w, err);
	for (size_t i = 0; i < w.n; i++) {
		json_decref(w.uses[i].doc);
		json_decref(w.uses[i].fresh);
	}
	free(w.uses);
	addresses_taken_free(&w.taken);
	json_decref(w.rows);
	return r;
}
