/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/ip_pools.h"

#include "core/id.h"
#include "core/log.h"
#include "plane/addresses.h"
#include "plane/api.h"
#include "plane/clusters.h"
#include "plane/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_FREE 256 /* a pool may have more addresses than there are numbers for */

static const char *const clouds[] = { "vsphere", "maas", "openstack", "sim" };

static const char *name_of(const json_t *doc)
{
	return json_str_or(doc, "metadata.name", "");
}

static bool range_of(const json_t *doc, struct ip_range *out)
{
	AUTO_JSON json_t *fields = json_array();

	return ip_range_read(json_at(doc, "spec.pool"), out, fields);
}

/* ---- how it is shown ---- */

/* Addresses of each cluster, by its uid. */
static json_t *by_cluster(const json_t *rows)
{
	json_t *out = json_object(), *row, *list;
	size_t i;

	json_array_foreach((json_t *)rows, i, row) {
		const char *uid = json_str_or(row, "cluster", "");

		list = json_object_get(out, uid);
		if (!list) {
			list = json_array();
			json_object_set_new(out, uid, list);
		}
		json_array_append(list, json_object_get(row, "address"));
	}
	return out;
}

static int name_clusters(struct plane *p, const json_t *by_uid, json_t *uids, json_t *by_name, struct pcg_error *err)
{
	const char *uid;
	json_t *list;

	json_object_foreach((json_t *)by_uid, uid, list) {
		AUTO_JSON json_t *cluster = NULL;
		int r = rows_get(p, ROWS_CLUSTER, uid, &cluster, err);

		if (r < 0)
			return r;
		json_array_append_new(uids, json_string(uid));
		json_object_set(by_name, json_str_or(cluster, "name", uid), list);
	}
	return 0;
}

static json_t *status_of(const json_t *rows, json_t *uids, json_t *by_name, const json_t *free_ips, uint64_t n_free,
			 uint64_t total)
{
	json_t *allotted = json_array(), *row;
	size_t i;

	json_array_foreach((json_t *)rows, i, row)
		json_array_append(allotted, json_object_get(row, "address"));
	return json_pack("{s:b,s:o,s:O,s:O,s:O,s:I,s:I}", "inUse", json_array_size(rows) != 0, "allottedIps", allotted,
			 "availableIps", free_ips, "associatedClusters", uids, "clusterIps", by_name, "availableCount",
			 (json_int_t)(n_free > INT64_MAX ? INT64_MAX : n_free), "totalCount",
			 (json_int_t)(total > INT64_MAX ? INT64_MAX : total));
}

static int public_pool(struct plane *p, const json_t *doc, const struct addresses_taken *taken, bool brief, json_t **out,
		       struct pcg_error *err)
{
	AUTO_JSON json_t *rows = NULL;
	AUTO_JSON json_t *free_ips = json_array(), *uids = json_array(), *by_uid = NULL, *by_name = json_object();
	struct ip_range range;
	uint64_t n_free = 0, total = 0;
	int r = addresses_of_pool(p, json_str_or(doc, "uid", ""), &rows, err);

	if (r)
		return r;
	by_uid = by_cluster(rows);
	r = name_clusters(p, by_uid, uids, by_name, err);
	if (r)
		return r;
	if (range_of(doc, &range)) {
		n_free = addresses_free(taken, &range, brief ? NULL : free_ips, SHOWN_FREE);
		total = ip_range_size(&range);
	}
	*out = json_pack("{s:O,s:{s:O?,s:s,s:b},s:o}", "metadata", json_object_get(doc, "metadata"), "spec", "pool",
			 json_at(doc, "spec.pool"), "priavetGatewayUid", json_str_or(doc, "overlord", ""),
			 "restrictToSingleCluster", json_bool_or(doc, "spec.restrictToSingleCluster", false), "status",
			 status_of(rows, uids, by_name, free_ips, n_free, total));
	return 0;
}

int ip_pools_public(struct plane *p, const char *gateway, bool brief, json_t **items, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	struct addresses_taken taken = { 0 };
	json_t *doc;
	size_t i;
	int r = rows_list(p, ROWS_POOL, gateway, &docs, err);

	*items = json_array();
	if (!r && json_array_size(docs))
		r = addresses_taken(p, gateway, &taken, err);
	json_array_foreach(docs, i, doc) {
		json_t *one = NULL;

		if (!r)
			r = public_pool(p, doc, &taken, brief, &one, err);
		if (!r)
			json_array_append_new(*items, one);
	}
	addresses_taken_free(&taken);
	return r;
}

static int load_gateway(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *overlord = NULL;
	size_t i = 0;
	int r;

	while (i < ARRAY_LEN(clouds) && strcmp(clouds[i], c->param[0]) != 0)
		i++;
	if (i == ARRAY_LEN(clouds))
		return api_not_found(c, "cloud type", c->param[0]);
	r = rows_get(c->p, ROWS_OVERLORD, c->param[1], &overlord, err);
	if (r < 0)
		return r;
	return r ? 0 : api_not_found(c, "gateway", c->param[1]);
}

static int list(struct api_call *c, struct pcg_error *err)
{
	json_t *items = NULL;
	int r = load_gateway(c, err);

	if (!r)
		r = ip_pools_public(c->p, c->param[1], false, &items, err);
	if (!r)
		return api_items(c, items);
	json_decref(items);
	return r;
}

/* ---- what may be ---- */

static const char *collision(const json_t *a, const json_t *b, char *why, size_t size)
{
	struct ip_range x, y;
	char text[2 * IP_TEXT_SIZE + 8];

	if (strcmp(name_of(a), name_of(b)) == 0)
		snprintf(why, size, "an IP pool named '%.64s' exists (%.64s)", name_of(b), json_str_or(b, "uid", ""));
	else if (range_of(a, &x) && range_of(b, &y) && ip_range_overlaps(&x, &y))
		snprintf(why, size, "it overlaps with IP pool '%.64s' (%s)", name_of(b), ip_range_text(&y, text));
	else
		return NULL;
	return why;
}

int ip_pools_collide(struct plane *p, const char *gateway, const char *other, char *why, struct pcg_error *err)
{
	AUTO_JSON json_t *ours = NULL;
	AUTO_JSON json_t *theirs = NULL;
	json_t *a, *b;
	char text[256];
	size_t i, k;
	int r = rows_list(p, ROWS_POOL, gateway, &ours, err);

	if (!r)
		r = rows_list(p, ROWS_POOL, other, &theirs, err);
	if (r)
		return r;
	json_array_foreach(ours, i, a)
		json_array_foreach(theirs, k, b)
			if (collision(a, b, text, sizeof(text))) {
				snprintf(why, 256, "IP pool '%.64s': %.160s", name_of(a), text);
				return 1;
			}
	return 0;
}

static int check_body(struct api_call *c, struct ip_range *range)
{
	json_t *fields = json_array(), *single = json_at(c->body, "spec.restrictToSingleCluster");

	if (!*json_str_or(c->body, "metadata.name", ""))
		api_field(fields, "metadata.name", "is missing");
	if (single && !json_is_boolean(single) && !json_is_null(single))
		api_field(fields, "spec.restrictToSingleCluster", "is not true or false");
	ip_range_read(json_at(c->body, "spec.pool"), range, fields);
	if (json_array_size(fields))
		return api_refuse_fields(c, "IP pool", fields);
	json_decref(fields);
	return 0;
}

/* A pool of one network that is in another gateway's too may be another network behind another gateway. */
static int check_others(struct api_call *c, const char *uid, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *doc;
	char why[256];
	size_t i;
	int r = rows_list(c->p, ROWS_POOL, c->param[1], &docs, err);

	if (r)
		return r;
	json_array_foreach(docs, i, doc)
		if (strcmp(json_str_or(doc, "uid", ""), uid) != 0 && collision(c->body, doc, why, sizeof(why)))
			return api_refuse(c, 409,
					  strcmp(name_of(c->body), name_of(doc)) == 0 ? "ResourceAlreadyExists" :
											 "IPPoolOverlap",
					  "IP pool '%.64s': %s", name_of(c->body), why);
	return 0;
}

/* What clusters have must stay what the pool gives. */
static int check_used(struct api_call *c, const char *uid, const struct ip_range *range, struct pcg_error *err)
{
	AUTO_JSON json_t *rows = NULL;
	json_t *row;
	size_t i;
	int r = addresses_of_pool(c->p, uid, &rows, err);

	json_array_foreach(rows, i, row) {
		const char *address = json_str_or(row, "address", ""), *cluster = json_str_or(row, "cluster", "");
		AUTO_JSON json_t *holder = NULL;
		struct ip ip;

		if (r || (ip_parse(address, &ip) && ip_range_gives(range, &ip)))
			continue;
		r = rows_get(c->p, ROWS_CLUSTER, cluster, &holder, err);
		if (r < 0)
			return r;
		return api_refuse(c, 409, "IPPoolInUse",
				  "IP pool '%.64s' would not give %s any more, which is reserved for cluster %.64s: keep it "
				  "in the pool, or delete the cluster first",
				  name_of(c->body), address, json_str_or(holder, "name", cluster));
	}
	return r;
}

/* A restriction that clusters break already would keep each of them from growing. */
static int check_single(struct api_call *c, const char *uid, struct pcg_error *err)
{
	AUTO_JSON json_t *rows = NULL, *by_uid = NULL, *uids = json_array(), *by_name = json_object();
	const char *name;
	char text[200] = "";
	size_t used = 0;
	json_t *list;
	int r = addresses_of_pool(c->p, uid, &rows, err);

	if (r || !json_bool_or(c->body, "spec.restrictToSingleCluster", false))
		return r;
	by_uid = by_cluster(rows);
	if (json_object_size(by_uid) < 2)
		return 0;
	r = name_clusters(c->p, by_uid, uids, by_name, err);
	if (r)
		return r;
	json_object_foreach(by_name, name, list)
		if (used < sizeof(text))
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used ? ", " : "", name);
	return api_refuse(c, 409, "IPPoolInUse",
			  "IP pool '%.64s' cannot be restricted to one cluster while several have addresses of it (%s): delete "
			  "all but one of them first",
			  name_of(c->body), text);
}

static int save(struct api_call *c, const char *uid, json_t *metadata, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = json_pack("{s:s,s:s,s:o,s:O}", "uid", uid, "overlord", c->param[1], "metadata", metadata,
					  "spec", json_object_get(c->body, "spec"));
	int r = rows_put(c->p, ROWS_POOL, uid, json_str_or(metadata, "name", ""), c->param[1], doc, err);

	if (!r)
		log_info("ip_pool_saved", LS("pool", uid), LS("name", json_str_or(metadata, "name", "")));
	return r ? r : clusters_refresh_users(c->p, ROWS_POOL, uid, err);
}

static int create(struct api_call *c, struct pcg_error *err)
{
	struct ip_range range;
	char uid[25];
	int r = load_gateway(c, err);

	id_hex24(uid);
	if (!r)
		r = check_body(c, &range);
	if (!r)
		r = check_others(c, uid, err);
	if (!r)
		r = save(c, uid, api_metadata(c, json_object_get(c->body, "metadata"), uid), err);
	return r ? r : api_created(c, uid);
}

static int load(struct api_call *c, json_t **doc, struct pcg_error *err)
{
	int r = load_gateway(c, err);

	*doc = NULL;
	if (!r)
		r = rows_get(c->p, ROWS_POOL, c->param[2], doc, err);
	else
		return r;
	if (r > 0 && strcmp(json_str_or(*doc, "overlord", ""), c->param[1]) == 0)
		return 0;
	return r < 0 ? r : api_not_found(c, "IP pool", c->param[2]);
}

static int update(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct ip_range range;
	json_t *metadata;
	int r = load(c, &doc, err);

	if (!r)
		r = check_body(c, &range);
	if (!r)
		r = check_others(c, c->param[2], err);
	if (!r)
		r = check_used(c, c->param[2], &range, err);
	if (!r)
		r = check_single(c, c->param[2], err);
	if (r)
		return r;
	metadata = json_incref(json_object_get(doc, "metadata"));
	api_metadata_update(metadata, json_object_get(c->body, "metadata"));
	r = save(c, c->param[2], metadata, err);
	return r ? r : api_no_content(c);
}

static int delete(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_JSON json_t *rows = NULL;
	int64_t n = 0;
	char name[128];
	int r = load(c, &doc, err);

	if (!r)
		r = clusters_users(c->p, ROWS_POOL, c->param[2], &n, name, err);
	if (!r)
		r = addresses_of_pool(c->p, c->param[2], &rows, err);
	/* Of clusters that name another pool by now. */
	if (!r && !n && json_array_size(rows))
		snprintf(name, sizeof(name), "%s", json_str_or(rows, "0.cluster", ""));
	if (!r && !n)
		n = json_array_size(rows) != 0;
	if (r)
		return r;
	if (n)
		return api_refuse(c, 409, "IPPoolInUse",
				  "IP pool '%.64s' is used by cluster %s%s: delete %s first", name_of(doc), name,
				  n > 1 ? " and others" : "", n > 1 ? "them" : "it");
	r = rows_delete(c->p, ROWS_POOL, c->param[2], err);
	return r < 0 ? r : api_no_content(c);
}

const struct api_route api_pool_routes[] = {
	{ "GET", "/v1/overlords/{}/{}/pools", list, 0 },
	{ "POST", "/v1/overlords/{}/{}/pools", create, API_CHANGES | API_BODY },
	{ "PUT", "/v1/overlords/{}/{}/pools/{}", update, API_CHANGES | API_BODY },
	{ "DELETE", "/v1/overlords/{}/{}/pools/{}", delete, API_CHANGES },
	{ NULL, NULL, NULL, 0 },
};
