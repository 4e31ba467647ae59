/* SPDX-License-Identifier: Apache-2.0 */
/* pcg-planectl pool and dns: IP pools of a gateway, and its DNS mappings. */
#include "config.h"
#include "plane/ctl.h"

#include "net/ip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DNS_PATH "/v1/users/assets/vsphere/dnsMappings"

/* The gateway that --overlord names, or the only one. */
static int pools_path(struct ctl *c, char path[256])
{
	char uid[64];
	int r = ctl_choose_overlord(c, uid);

	if (!r)
		snprintf(path, 256, "/v1/overlords/vsphere/%s/pools", uid);
	return r;
}

int ctl_find_item(struct ctl *c, const char *path, const char *what, const char *arg, json_t **found)
{
	AUTO_JSON json_t *items = NULL;
	json_t *item, *by_uid = NULL, *by_name = NULL;
	size_t i, named = 0;
	int r = ctl_get_items(c, path, &items);

	json_array_foreach(items, i, item) {
		if (strcmp(json_str_or(item, "metadata.uid", ""), arg) == 0)
			by_uid = item;
		if (strcmp(json_str_or(item, "metadata.name", ""), arg) == 0) {
			by_name = item;
			named++;
		}
	}
	*found = json_incref(by_uid ? by_uid : named == 1 ? by_name : NULL);
	if (!r && !*found && named)
		r = ctl_fail(CTL_FAILED, "%zu have the name '%s': give the uid of one %s (its list has it)", named, arg, what);
	else if (!r && !*found)
		r = ctl_fail(CTL_NOT_FOUND, "there is no %s with the uid or name '%s'", what, arg);
	return r;
}

static void range_text(const json_t *pool, char *out, size_t size)
{
	const char *subnet = json_str_or(pool, "spec.pool.subnet", "");

	if (*subnet)
		snprintf(out, size, "%s", subnet);
	else
		snprintf(out, size, "%s to %s", json_str_or(pool, "spec.pool.start", ""),
			 json_str_or(pool, "spec.pool.end", ""));
}

/* What cannot be counted is shown as many. */
static json_t *count_text(const json_t *pool, const char *path)
{
	int64_t n = json_int_or(pool, path, 0);

	return n == INT64_MAX ? json_string("many") : json_sprintf("%lld", (long long)n);
}

int ctl_pool_list(struct ctl *c, const char *arg)
{
	static const char *const columns[] = { "UID", "NAME", "ADDRESSES", "GATEWAY", "FREE", "OF", "CLUSTERS", NULL };
	static const char *const paths[] = { "uid", "name", "range", "gateway", "free", "total", "clusters", NULL };
	AUTO_JSON json_t *items = NULL;
	AUTO_JSON json_t *flat = json_array();
	json_t *p;
	size_t i;
	char path[256];
	int r = pools_path(c, path);

	if (!r)
		r = ctl_get_items(c, path, &items);
	if (r)
		return r;
	if (c->json)
		return ctl_print_list(c, items, columns, paths);
	json_array_foreach(items, i, p) {
		char range[128];

		range_text(p, range, sizeof(range));
		json_array_append_new(
			flat, json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:o}", "uid", json_str_or(p, "metadata.uid", ""), "name",
					json_str_or(p, "metadata.name", ""), "range", range, "gateway",
					json_str_or(p, "spec.pool.gateway", ""), "free",
					count_text(p, "status.availableCount"), "total",
					count_text(p, "status.totalCount"), "clusters",
					json_sprintf("%zu%s", json_array_size(json_at(p, "status.associatedClusters")),
						     json_bool_or(p, "spec.restrictToSingleCluster", false) ? " of 1" : "")));
	}
	return ctl_print_list(c, flat, columns, paths);
}

int ctl_pool_add(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *doc = NULL;
	char path[256];
	int r = ctl_read_file(c, &doc);

	if (!r)
		r = pools_path(c, path);
	return r ? r : ctl_post_new(c, path, "IP pool", doc);
}

int ctl_pool_update(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_JSON json_t *pool = NULL;
	char path[256];
	int r = ctl_read_file(c, &doc);

	if (!r)
		r = pools_path(c, path);
	if (!r)
		r = ctl_find_item(c, path, "IP pool", arg, &pool);
	return r ? r : ctl_change(c, "PUT", "IP pool", "changed", path, pool, doc);
}

int ctl_pool_remove(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *pool = NULL;
	char path[256];
	int r = pools_path(c, path);

	if (!r)
		r = ctl_find_item(c, path, "IP pool", arg, &pool);
	return r ? r : ctl_change(c, "DELETE", "IP pool", "removed", path, pool, NULL);
}

static void print_words(const char *label, const json_t *list)
{
	json_t *v;
	size_t i;

	if (!json_array_size(list))
		return;
	printf("  %-15s", label);
	json_array_foreach((json_t *)list, i, v)
		printf("%s%s", i ? ", " : "", json_is_string(v) ? json_string_value(v) : "");
	putchar('\n');
}

/* Addresses one after the other are one range. */
static void print_addresses(const char *cluster, const json_t *list)
{
	struct ip end = { 0 };
	bool open = false, more = false;
	char last[IP_TEXT_SIZE];
	json_t *v;
	size_t i;

	printf("  %-15s", cluster);
	json_array_foreach((json_t *)list, i, v) {
		struct ip ip, next = end;

		if (!ip_parse(json_string_value(v), &ip))
			continue;
		if (open && ip_next(&next) && ip_compare(&next, &ip) == 0) {
			more = true;
		} else {
			printf("%s%s%s%s", more ? " to " : "", more ? ip_text(&end, last) : "", open ? ", " : "",
			       json_string_value(v));
			more = false;
		}
		open = true;
		end = ip;
	}
	printf("%s%s\n", more ? " to " : "", more ? ip_text(&end, last) : "");
}

static int by_number(const void *a, const void *b)
{
	struct ip x, y;

	ip_parse(json_string_value(*(json_t *const *)a), &x);
	ip_parse(json_string_value(*(json_t *const *)b), &y);
	return ip_compare(&x, &y);
}

static json_t *in_order(const json_t *list)
{
	size_t n = json_array_size(list), i;
	json_t **v = calloc(n ? n : 1, sizeof(*v)), *out = json_array();

	if (!v)
		abort();
	for (i = 0; i < n; i++)
		v[i] = json_array_get(list, i);
	qsort(v, n, sizeof(*v), by_number);
	for (i = 0; i < n; i++)
		json_array_append(out, v[i]);
	free(v);
	return out;
}

int ctl_pool_show(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *pool = NULL, *free_n = NULL, *total = NULL;
	char path[256], range[128];
	const char *cluster;
	json_t *list;
	int r = pools_path(c, path);

	if (!r)
		r = ctl_find_item(c, path, "IP pool", arg, &pool);
	if (r)
		return r;
	if (c->json) {
		ctl_print_json(pool);
		return CTL_DONE;
	}
	free_n = count_text(pool, "status.availableCount");
	total = count_text(pool, "status.totalCount");
	range_text(pool, range, sizeof(range));
	printf("%s (%s)\n  %-15s%s, gateway %s\n", json_str_or(pool, "metadata.name", ""),
	       json_str_or(pool, "metadata.uid", ""), "addresses:", range, json_str_or(pool, "spec.pool.gateway", ""));
	if (json_int_or(pool, "spec.pool.prefix", 0))
		printf("  %-15s/%lld\n", "network:", (long long)json_int_or(pool, "spec.pool.prefix", 0));
	print_words("name servers:", json_at(pool, "spec.pool.nameserver.addresses"));
	print_words("search:", json_at(pool, "spec.pool.nameserver.search"));
	if (json_bool_or(pool, "spec.restrictToSingleCluster", false))
		printf("  %-15s\n", "for one cluster alone");
	printf("  %-15s%s free of %s\n", "", json_string_value(free_n), json_string_value(total));
	json_object_foreach(json_at(pool, "status.clusterIps"), cluster, list) {
		AUTO_JSON json_t *sorted = in_order(list);

		print_addresses(cluster, sorted);
	}
	return CTL_DONE;
}

/* ---- names in a cluster's request ---- */

static void name_in(const json_t *pools, json_t *network)
{
	const char *given = json_str_or(network, "parentPoolUid", "");
	json_t *pool;
	size_t i;

	json_array_foreach((json_t *)pools, i, pool)
		if (*given && strcmp(json_str_or(pool, "metadata.name", ""), given) == 0) {
			json_object_set(network, "parentPoolUid", json_at(pool, "metadata.uid"));
			return;
		}
}

static void name_in_place(const json_t *pools, const json_t *place)
{
	json_t *network;
	size_t i;

	name_in(pools, json_object_get(place, "network"));
	json_array_foreach(json_object_get(place, "networks"), i, network)
		name_in(pools, network);
}

int ctl_name_pools(struct ctl *c, const char *overlord, json_t *doc)
{
	AUTO_JSON json_t *pools = NULL;
	json_t *machines, *place;
	char path[256];
	size_t i, k;
	int r;

	snprintf(path, sizeof(path), "/v1/overlords/vsphere/%.64s/pools", overlord);
	r = ctl_get_items(c, path, &pools);
	json_array_foreach(json_at(doc, "spec.machinepoolconfig"), i, machines) {
		const json_t *cloud = json_object_get(machines, "cloudConfig");

		name_in_place(pools, cloud);
		json_array_foreach(json_object_get(cloud, "placements"), k, place)
			name_in_place(pools, place);
	}
	return r;
}

/* ---- DNS mappings ---- */

int ctl_dns_list(struct ctl *c, const char *arg)
{
	static const char *const columns[] = { "UID", "NAME", "DATACENTER", "NETWORK", "DOMAIN", "GATEWAY", NULL };
	static const char *const paths[] = { "metadata.uid", "metadata.name", "spec.datacenter", "spec.network",
					     "spec.dnsName", "spec.privateGatewayUid", NULL };
	AUTO_JSON json_t *items = NULL;
	int r = ctl_get_items(c, DNS_PATH, &items);

	return r ? r : ctl_print_list(c, items, columns, paths);
}

int ctl_dns_add(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *doc = NULL;
	char uid[64];
	int r = ctl_read_file(c, &doc);

	if (!r && !json_str(doc, "spec.privateGatewayUid")) {
		r = ctl_choose_overlord(c, uid);
		if (!r)
			json_put_str(doc, "spec.privateGatewayUid", uid);
	}
	return r ? r : ctl_post_new(c, DNS_PATH, "DNS mapping", doc);
}

int ctl_dns_remove(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *mapping = NULL;
	int r = ctl_find_item(c, DNS_PATH, "DNS mapping", arg, &mapping);

	return r ? r : ctl_change(c, "DELETE", "DNS mapping", "removed", DNS_PATH, mapping, NULL);
}
