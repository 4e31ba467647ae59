/* SPDX-License-Identifier: Apache-2.0 */
/* What addresses a cluster needs, and what it is told when it cannot have them. */
#include "config.h"
#include "plane/address_plan.h"

#include "plane/api.h"
#include "plane/dns_mappings.h"
#include "plane/document.h"
#include "plane/rows.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beside the nodes: the machine that a cluster begins with, its API's address, a machine that replaces another. */
#define SPARE 3
#define NODES_MAX 1000 /* as a pool of machines is limited */
#define FIELD "addressPools"

/* ---- which pools, how many ---- */

struct address_need *address_use(struct address_plan *w, const char *uid)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->uses[i].uid, uid) == 0)
			return &w->uses[i];
	return NULL;
}

static int add_use(struct address_plan *w, const char *uid, struct pcg_error *err)
{
	AUTO_JSON json_t *fields = json_array();
	struct address_need *u;
	int r;

	if (address_use(w, uid))
		return 0;
	w->uses = realloc(w->uses, (w->n + 1) * sizeof(*w->uses));
	if (!w->uses)
		abort();
	u = &w->uses[w->n++];
	memset(u, 0, sizeof(*u));
	u->uid = strdup(uid);
	assert(u->uid);
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
	struct address_plan *plan;
	struct pcg_error *err;
	const char *datacenter;
	const json_t *cloud;
	int64_t nodes;
	bool spread; /* workers: over the placements */
};

static int collect(void *arg, json_t *network, size_t device)
{
	struct collecting *c = arg;
	const char *uid = json_str_or(network, "parentPoolUid", "");
	struct address_need *u;
	int r;

	if (!*uid) {
		if (json_bool_or(network, "staticIp", false))
			document_problem(c->plan->problems, "network.parentPoolUid",
					 "name an IP pool of the gateway (pcg-planectl pool list), or leave staticIp out",
					 "network %.64s wants static addresses, and names no IP pool",
					 json_str_or(network, "networkName", ""));
		return 0;
	}
	r = add_use(c->plan, uid, c->err);
	if (r < 0)
		return r;
	u = address_use(c->plan, uid);
	if (u->counted == c->cloud)
		return 0;
	u->counted = c->cloud;
	u->nodes += address_needed(c->cloud, uid, c->nodes, c->spread);
	return *u->domain ? 0 : dns_mapping_domain(c->plan->p, c->plan->gateway, c->datacenter,
						   json_str_or(network, "networkName", ""), u->domain, c->err);
}

static int64_t nodes_of(const json_t *pool_config)
{
	int64_t n = json_int_or(pool_config, "size", 0), most = json_int_or(pool_config, "maxSize", 0);

	return most > n ? most < NODES_MAX ? most : NODES_MAX : n;
}

static int collect_uses(struct address_plan *w, struct pcg_error *err)
{
	json_t *given;
	size_t i;
	int r = 0;

	json_array_foreach(json_at(w->cluster, "spec.machinepoolconfig"), i, given) {
		struct collecting c = { .plan = w, .err = err,
					.datacenter = json_str_or(w->cluster, "spec.cloudConfig.placement.datacenter", ""),
					.cloud = json_object_get(given, "cloudConfig"),
					.nodes = nodes_of(json_object_get(given, "poolConfig")),
					.spread = !json_bool_or(given, "poolConfig.isControlPlane", false) };

		if (r >= 0)
			r = address_networks(json_object_get(given, "cloudConfig"), collect, &c);
	}
	return r;
}

/* ---- the endpoint ---- */

#define ENDPOINT "cloudConfig.controlPlaneEndpoint"

static void endpoint_refused(struct address_plan *w, const char *host, const char *why, const char *who)
{
	document_problem(w->problems, ENDPOINT, "give a free address (pcg-planectl pool show NAME)", "%s %s%.64s", host, why,
			 who);
}

static int endpoint_holders(struct address_plan *w, const char *host, bool in_pool, bool *ours, struct pcg_error *err)
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
static int given_endpoint(struct address_plan *w, const char *host, struct pcg_error *err)
{
	struct address_need *pool = NULL;
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

static const char *control_plane_pool(const struct address_plan *w)
{
	json_t *given;
	size_t i;

	json_array_foreach(json_at(w->cluster, "spec.machinepoolconfig"), i, given)
		if (json_bool_or(given, "poolConfig.isControlPlane", false))
			return addresses_pool_of(json_object_get(given, "cloudConfig"));
	return "";
}

/* Where the request has no endpoint and the provider makes none, it is the first free address of the pool. */
static void own_endpoint(struct address_plan *w)
{
	AUTO_JSON json_t *first = json_array();
	struct address_need *u = address_use(w, control_plane_pool(w));
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

const char *address_endpoint(const struct address_plan *w)
{
	return json_str_or(w->doc, "controlPlaneEndpoint.host", w->endpoint);
}

static int others_of(struct address_plan *w, const struct address_need *u, char *text, size_t size, struct pcg_error *err)
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

static int64_t missing_of(const struct address_need *u)
{
	int64_t want = u->nodes + SPARE - (u->endpoint ? 1 : 0);

	return want > u->have ? want - u->have : 0;
}

static int tell_shortage(struct address_plan *w, const struct address_need *u, uint64_t n_free, struct pcg_error *err)
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
			 pool, n_free + (u->endpoint_new && *address_endpoint(w)), ip_range_size(&u->range), w->name, more, u->have ? " more" : "", u->nodes, SPARE);
	return r;
}

static int check_restricted(struct address_plan *w, const struct address_need *u, struct pcg_error *err)
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

static bool take_fresh(struct address_plan *w, struct address_need *u, uint64_t *n_free)
{
	size_t more = (size_t)missing_of(u);

	u->fresh = json_array();
	*n_free = addresses_free(&w->taken, &u->range, u->fresh, more);
	return json_array_size(u->fresh) == more && (!u->endpoint || *address_endpoint(w));
}

static int fill(struct address_plan *w, struct pcg_error *err)
{
	json_t *row;
	size_t i;
	int r = 0;

	json_array_foreach(w->rows, i, row) {
		struct address_need *u = address_use(w, json_str_or(row, "pool", ""));

		if (u && strcmp(json_str_or(row, "role", ""), "node") == 0)
			u->have++;
	}
	for (i = 0; !r && i < w->n; i++) {
		struct address_need *u = &w->uses[i];
		uint64_t n_free;

		if (!u->doc)
			continue;
		r = check_restricted(w, u, err);
		if (!r && !take_fresh(w, u, &n_free))
			r = tell_shortage(w, u, n_free, err);
	}
	return r;
}

static int work(struct address_plan *w, struct pcg_error *err)
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
		r = address_keep_all(w, err);
	if (r < 0)
		return r;
	/* What a cluster has it keeps, whatever else is wrong with its request now. */
	if (json_array_size(w->rows))
		address_write_document(w);
	return addresses_keep_endpoint(w->p, w->gateway, w->uid, json_str(w->doc, "controlPlaneEndpoint.host"), err);
}

int addresses_reserve(struct plane *p, const json_t *cluster, json_t *doc, struct pcg_error *err)
{
	struct address_plan w = { .p = p, .cluster = cluster, .uid = json_str_or(cluster, "uid", ""),
			  .gateway = json_str_or(cluster, "overlord", ""), .name = json_str_or(cluster, "name", ""),
			  .doc = doc, .problems = json_object_get(doc, "problems") };
	int r = rows_list(p, ROWS_ADDRESS, w.uid, &w.rows, err);

	if (!r)
		r = work(&w, err);
	for (size_t i = 0; i < w.n; i++) {
		free(w.uses[i].uid);
		json_decref(w.uses[i].doc);
		json_decref(w.uses[i].fresh);
	}
	free(w.uses);
	addresses_taken_free(&w.taken);
	json_decref(w.rows);
	return r;
}
