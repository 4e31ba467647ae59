/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/api.h"

#include "plane/cluster_request.h"
#include "plane/cluster_view.h"
#include "plane/clusters.h"
#include "plane/rows.h"

#include <string.h>

/* Paths: /v1/cloudconfigs/{cloud}/{cfg}[/machinePools/{pool}[/machines/{uid}]] */

static int load(struct api_call *c, json_t **cluster, json_t **status, struct pcg_error *err)
{
	AUTO_JSON json_t *link = NULL;
	int r = rows_get(c->p, ROWS_CLOUDCONFIG, c->param[1], &link, err);

	*status = NULL;
	if (r > 0)
		r = clusters_get(c->p, json_str_or(link, "cluster", ""), cluster, status, err);
	if (r < 0)
		return r;
	if (r && strcmp(json_str_or(*cluster, "cloudType", ""), c->param[0]) == 0)
		return 0;
	return api_not_found(c, "cloud config", c->param[1]);
}

static int get(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	AUTO_JSON json_t *account = NULL;
	const json_t *config;
	json_t *pools = NULL;
	int r = load(c, &cluster, &status, err);

	if (!r)
		r = rows_get(c->p, ROWS_ACCOUNT, json_str_or(cluster, "account", ""), &account, err);
	else
		return r;
	if (r >= 0)
		r = cluster_view_pools(c->p, cluster, &pools, err);
	if (r < 0) {
		json_decref(pools);
		return r;
	}
	config = json_at(cluster, "spec.cloudConfig");
	return api_reply(c, 200,
			 json_pack("{s:s,s:{s:s,s:s},s:{s:{s:s,s:s,s:s},s:o,s:o},s:{}}", "kind", c->param[0],
				   "metadata", "uid", c->param[1], "name", json_str_or(cluster, "name", ""), "spec",
				   "cloudAccountRef", "kind", "cloudaccount", "name",
				   json_str_or(account, "metadata.name", ""), "uid",
				   json_str_or(cluster, "account", ""), "clusterConfig",
				   json_is_object(config) ? json_deep_copy(config) : json_object(), "machinePoolConfig",
				   pools, "status"));
}

static int put_config(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	int r = load(c, &cluster, &status, err);

	if (r)
		return r;
	if (!json_is_object(json_object_get(c->body, "clusterConfig")))
		return api_refuse(c, 400, "InvalidRequest", "clusterConfig is missing");
	json_put(cluster, "spec.cloudConfig", json_deep_copy(json_object_get(c->body, "clusterConfig")));
	r = cluster_request_apply(c, cluster, err);
	return r ? r : api_no_content(c);
}

static int find_pool(const json_t *cluster, const char *name)
{
	json_t *pool;
	size_t i;

	json_array_foreach(json_at(cluster, "spec.machinepoolconfig"), i, pool)
		if (strcmp(json_str_or(pool, "poolConfig.name", ""), name) == 0)
			return (int)i;
	return -1;
}

/* A cluster that waits says itself what it waits for; one that runs would get machines without addresses. */
static int refuse_shortage(struct api_call *c, const json_t *cluster, const json_t *status)
{
	json_t *problem;
	size_t i;

	json_array_foreach(json_object_get(cluster, "problems"), i, problem)
		if (clusters_begun(status) && strcmp(json_str_or(problem, "field", ""), "addressPools") == 0)
			return api_refuse(c, 409, "IPPoolExhausted", "%s: %s", json_str_or(problem, "text", ""),
					  json_str_or(problem, "remedy", ""));
	return 0;
}

/* What came is right by itself, and together with the other pools. */
static int check_and_refresh(struct api_call *c, json_t *cluster, const json_t *status, const json_t *pool,
			     struct pcg_error *err)
{
	json_t *fields = json_array();
	int r;

	if (pool)
		cluster_request_check_pool(c->param[0], pool, "machinePool", fields);
	cluster_request_check_pools(json_at(cluster, "spec.machinepoolconfig"), fields);
	if (json_array_size(fields))
		return api_refuse_fields(c, "machine pool", fields);
	json_decref(fields);
	r = cluster_request_apply(c, cluster, err);
	return r ? r : refuse_shortage(c, cluster, status);
}

static int put_pool(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	json_t *pool;
	int at, r = load(c, &cluster, &status, err);

	if (r)
		return r;
	at = find_pool(cluster, c->param[2]);
	if (at < 0)
		return api_not_found(c, "machine pool", c->param[2]);
	pool = json_deep_copy(c->body);
	if (json_is_object(json_object_get(pool, "poolConfig")) && !json_str(pool, "poolConfig.name"))
		json_put_str(pool, "poolConfig.name", c->param[2]);
	json_array_set_new(json_at(cluster, "spec.machinepoolconfig"), (size_t)at, pool);
	r = check_and_refresh(c, cluster, status, pool, err);
	return r ? r : api_no_content(c);
}

static int post_pool(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	json_t *pool;
	int r = load(c, &cluster, &status, err);

	if (r)
		return r;
	if (!json_is_array(json_at(cluster, "spec.machinepoolconfig")))
		json_put(cluster, "spec.machinepoolconfig", json_array());
	pool = json_deep_copy(c->body);
	json_add(json_at(cluster, "spec.machinepoolconfig"), pool);
	r = check_and_refresh(c, cluster, status, pool, err);
	return r ? r : api_created(c, json_str_or(pool, "poolConfig.name", ""));
}

static int delete_pool(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	int at, r = load(c, &cluster, &status, err);

	if (r)
		return r;
	at = find_pool(cluster, c->param[2]);
	if (at < 0)
		return api_not_found(c, "machine pool", c->param[2]);
	json_array_remove(json_at(cluster, "spec.machinepoolconfig"), (size_t)at);
	r = check_and_refresh(c, cluster, status, NULL, err);
	return r ? r : api_no_content(c);
}

static int machines(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	json_t *items, *m;
	size_t i;
	int r = load(c, &cluster, &status, err);

	if (r)
		return r;
	items = json_array();
	json_array_foreach(json_object_get(status, "machines"), i, m)
		if (strcmp(json_str_or(m, "pool", ""), c->param[2]) == 0)
			json_array_append_new(items, cluster_view_machine(cluster, m));
	return api_items(c, items);
}

static int machine(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	json_t *m;
	size_t i;
	int r = load(c, &cluster, &status, err);

	if (r)
		return r;
	json_array_foreach(json_object_get(status, "machines"), i, m)
		if (strcmp(json_str_or(m, "uid", ""), c->param[3]) == 0)
			return api_reply(c, 200, cluster_view_machine(cluster, m));
	return api_not_found(c, "machine", c->param[3]);
}

const struct api_route api_cloudconfig_routes[] = {
	{ "GET", "/v1/cloudconfigs/{}/{}", get, 0 },
	{ "PUT", "/v1/cloudconfigs/{}/{}/clusterConfig", put_config, API_CHANGES | API_BODY },
	{ "POST", "/v1/cloudconfigs/{}/{}/machinePools", post_pool, API_CHANGES | API_BODY },
	{ "PUT", "/v1/cloudconfigs/{}/{}/machinePools/{}", put_pool, API_CHANGES | API_BODY },
	{ "DELETE", "/v1/cloudconfigs/{}/{}/machinePools/{}", delete_pool, API_CHANGES },
	{ "GET", "/v1/cloudconfigs/{}/{}/machinePools/{}/machines", machines, 0 },
	{ "GET", "/v1/cloudconfigs/{}/{}/machinePools/{}/machines/{}", machine, 0 },
	{ NULL, NULL, NULL, 0 },
};
