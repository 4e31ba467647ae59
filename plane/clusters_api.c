/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/api.h"

#include "core/clock.h"
#include "core/id.h"
#include "core/log.h"
#include "plane/cluster_request.h"
#include "plane/clusters.h"
#include "plane/cluster_view.h"
#include "plane/gateways.h"
#include "plane/kubeconfig.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

static const char *const clouds[] = { "vsphere", "maas", "openstack", "sim" };

static int load(struct api_call *c, json_t **cluster, json_t **status, struct pcg_error *err)
{
	int r = clusters_get(c->p, c->param[0], cluster, status, err);

	if (r < 0)
		return r;
	return r ? 0 : api_not_found(c, "cluster", c->param[0]);
}

static int check_account(struct api_call *c, const char *cloud, json_t *fields, json_t **account,
			 struct pcg_error *err)
{
	const char *uid = json_str_or(c->body, "spec.cloudAccountUid", "");
	int r = rows_get(c->p, ROWS_ACCOUNT, uid, account, err);

	if (r < 0)
		return r;
	if (r == 0)
		api_field(fields, "spec.cloudAccountUid", "cloud account '%.64s' does not exist", uid);
	else if (strcmp(json_str_or(*account, "kind", ""), cloud) != 0)
		api_field(fields, "spec.cloudAccountUid", "account %s is one of %s, not of %s", uid,
			  json_str_or(*account, "kind", ""), cloud);
	return 0;
}

static int check_profiles(struct api_call *c, json_t *fields, struct pcg_error *err)
{
	json_t *given;
	size_t i;

	json_array_foreach(json_at(c->body, "spec.profiles"), i, given) {
		const char *uid = json_str_or(given, "uid", "");
		AUTO_JSON json_t *profile = NULL;
		int r = rows_get(c->p, ROWS_PROFILE, uid, &profile, err);

		if (r < 0)
			return r;
		if (r == 0)
			api_field(fields, "spec.profiles", "cluster profile '%.64s' does not exist", uid);
	}
	return 0;
}

static int check_name(struct api_call *c, struct pcg_error *err)
{
	const char *name = json_str_or(c->body, "metadata.name", "");
	AUTO_JSON json_t *other = NULL;
	int r = rows_find(c->p, ROWS_CLUSTER, name, &other, err);

	if (r < 0)
		return r;
	if (r == 0 || json_object_get(other, "deletedAt"))
		return 0;
	return api_refuse(c, 409, "ResourceAlreadyExists", "a cluster named '%s' exists (%s)", name,
			  json_str_or(other, "uid", ""));
}

/* Clients read back the uid of each placement and send it again. */
static void name_placements(json_t *pools)
{
	json_t *pool, *placement;
	size_t i, k;

	json_array_foreach(pools, i, pool)
		json_array_foreach(json_at(pool, "cloudConfig.placements"), k, placement) {
			char uid[25];

			if (json_str(placement, "uid") && *json_str(placement, "uid"))
				continue;
			id_hex24(uid);
			json_object_set_new(placement, "uid", json_string(uid));
		}
}

static int store_new(struct api_call *c, const char *cloud, const json_t *account, char uid[25],
		     struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *link = json_object();
	const char *name = json_str_or(c->body, "metadata.name", "");
	const char *overlord = json_str_or(account, "overlord", "");
	char cfg[25], now[CLOCK_RFC3339_SIZE];
	int r;

	id_hex24(uid);
	id_hex24(cfg);
	cluster = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o}", "uid", uid, "cfg", cfg, "name", name,
			    "cloudType", cloud, "overlord", overlord, "account", json_str_or(account, "uid", ""),
			    "desired", "present", "metadata",
			    api_metadata(c, json_object_get(c->body, "metadata"), uid), "spec",
			    json_deep_copy(json_object_get(c->body, "spec")));
	json_put_str(cluster, "metadata.annotations.overlordUid", overlord);
	json_put_str(cluster, "metadata.annotations.cloudAccountUid", json_str(account, "uid"));
	name_placements(json_at(cluster, "spec.machinepoolconfig"));
	json_put_str(link, "cluster", uid);
	r = rows_put(c->p, ROWS_CLOUDCONFIG, cfg, name, uid, link, err);
	if (!r)
		r = cluster_request_apply(c, cluster, err);
	return r ? r : clusters_event(c->p, cluster, clock_rfc3339(clock_wall_ms(), now), "Normal", "Created",
				      "The cluster was requested", "plane", "", err);
}

static int create(struct api_call *c, struct pcg_error *err)
{
	const char *cloud = NULL;
	json_t *fields = json_array();
	AUTO_JSON json_t *account = NULL;
	char uid[25];
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(clouds); i++)
		if (strcmp(clouds[i], c->param[0]) == 0)
			cloud = clouds[i];
	if (!cloud) {
		json_decref(fields);
		return api_refuse(c, 404, "ResourceNotFound",
				  "cloud type '%.32s' is none of vsphere, maas, openstack, sim", c->param[0]);
	}
	cluster_request_check(cloud, c->body, fields);
	if (!json_array_size(fields))
		r = check_account(c, cloud, fields, &account, err);
	if (!r && !json_array_size(fields))
		r = check_profiles(c, fields, err);
	if (!r && json_array_size(fields))
		return api_refuse_fields(c, "cluster", fields);
	json_decref(fields);
	if (!r)
		r = check_name(c, err);
	if (!r)
		r = store_new(c, cloud, account, uid, err);
	if (r)
		return r;
	log_info("cluster_requested", LS("cluster", uid), LS("name", json_str_or(c->body, "metadata.name", "")));
	return api_created(c, uid);
}

static int get(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	json_t *out = NULL;
	int r = load(c, &cluster, &status, err);

	if (!r)
		r = cluster_view(c->p, cluster, status, &out, err);
	return r ? r : api_reply(c, 200, out);
}

static int get_status(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	json_t *out = NULL;
	int r = load(c, &cluster, &status, err);

	if (!r)
		r = cluster_view_status(c->p, cluster, status, &out, err);
	return r ? r : api_reply(c, 200, json_pack("{s:o}", "status", out));
}

static int overview(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	json_t *out = NULL;
	int r = load(c, &cluster, &status, err);

	if (!r && json_object_get(cluster, "deletedAt"))
		return api_not_found(c, "cluster", c->param[0]);
	if (!r)
		r = cluster_view_overview(c->p, cluster, status, false, &out, err);
	return r ? r : api_reply(c, 200, out);
}

/* Nobody is left who could be asked: said at once, with what was last known of its machines. */
static int delete_without_gateway(struct api_call *c, json_t *cluster, json_t *status,
				  struct pcg_error *err)
{
	json_t *left = json_array(), *m;
	size_t i;
	int r;

	json_array_foreach(json_object_get(status, "machines"), i, m)
		json_array_append_new(left, json_pack("{s:s,s:s,s:s}", "id", json_str_or(m, "providerID", ""),
						      "name", json_str_or(m, "name", ""), "why",
						      "its gateway was removed from the plane"));
	r = clusters_deleted(c->p, cluster, status, left, err);
	json_decref(left);
	return r ? r : api_no_content(c);
}

static int force_delete(struct api_call *c, json_t *cluster, json_t *status, struct pcg_error *err)
{
	int64_t since = json_int_or(cluster, "deletingSince", 0);
	int64_t at = since + c->p->opt.force_delete_after_s * 1000;
	AUTO_JSON json_t *overlord = NULL;
	char when[CLOCK_RFC3339_SIZE];
	int r;

	if (!since)
		return api_refuse(c, 409, "ForceDeleteNotAllowed",
				  "the cluster is not being deleted: delete it without forceDelete first; forceDelete is "
				  "possible %lld s later", (long long)c->p->opt.force_delete_after_s);
	if (clock_wall_ms() < at)
		return api_refuse(c, 409, "ForceDeleteNotAllowed",
				  "forceDelete is possible from %s on, %lld s from now", clock_rfc3339(at, when),
				  (long long)((at - clock_wall_ms() + 999) / 1000));
	r = rows_get(c->p, ROWS_OVERLORD, json_str_or(cluster, "overlord", ""), &overlord, err);
	if (r < 0)
		return r;
	if (r == 0)
		return delete_without_gateway(c, cluster, status, err);
	json_put_str(cluster, "desired", "force-absent");
	r = clusters_refresh(c->p, cluster, err);
	return r ? r : api_no_content(c);
}

/* Nobody shall lose machines by repeating a request: it is asked for by a word of its own, after force. */
static int abandon(struct api_call *c, json_t *cluster, struct pcg_error *err)
{
	const char *desired = json_str_or(cluster, "desired", "");
	char now[CLOCK_RFC3339_SIZE];
	int r;

	if (strcmp(desired, "abandoned") == 0)
		return api_no_content(c);
	if (strcmp(desired, "force-absent") != 0)
		return api_refuse(c, 409, "AbandonNotAllowed",
				  "the cluster is not being deleted by force: delete it with forceDelete=true first; "
				  "abandon is for an infrastructure that does not come back");
	json_put_str(cluster, "desired", "abandoned");
	r = clusters_refresh(c->p, cluster, err);
	if (!r)
		r = clusters_event(c->p, cluster, clock_rfc3339(clock_wall_ms(), now), "Warning", "Abandoned",
				   "The cluster's deletion ends without its infrastructure when that does not answer",
				   "plane", "", err);
	return r ? r : api_no_content(c);
}

static int delete(struct api_call *c, struct pcg_error *err)
{
	const char *force = api_query(c, "forceDelete"), *let_go = api_query(c, "abandon");
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	char now[CLOCK_RFC3339_SIZE];
	int r = load(c, &cluster, &status, err);

	if (r)
		return r;
	if (json_object_get(cluster, "deletedAt"))
		return api_no_content(c);
	if (let_go && strcmp(let_go, "true") == 0)
		return abandon(c, cluster, err);
	if (force && strcmp(force, "true") == 0)
		return force_delete(c, cluster, status, err);
	if (json_object_get(cluster, "deletingSince"))
		return api_no_content(c);
	clock_rfc3339(clock_wall_ms(), now);
	json_object_set_new(cluster, "deletingSince", json_integer(clock_wall_ms()));
	json_put_str(cluster, "desired", "absent");
	json_put_str(cluster, "metadata.deletionTimestamp", now);
	r = clusters_refresh(c->p, cluster, err);
	if (!r)
		r = clusters_event(c->p, cluster, now, "Normal", "DeleteRequested", "The cluster's deletion was requested",
				   "plane", "", err);
	return r ? r : api_no_content(c);
}

/* What is kept is replaced when it comes to its end. */
static int renew_kubeconfig(struct api_call *c, const json_t *cluster, struct pcg_error *err)
{
	json_t *recovery = NULL;
	struct buf fresh;
	int r = rows_secret_get_json(c->p, c->param[0], "recovery", &recovery, err);

	if (r < 0)
		return r;
	buf_init_secret(&fresh, 1u << 16);
	r = kubeconfig_renew(secret_data(c->raw), secret_len(c->raw), json_str_or(cluster, "metadata.name", ""), recovery,
			     &fresh, err);
	json_wipe(recovery);
	if (r == 1) {
		r = rows_secret_put(c->p, c->param[0], "kubeconfig", fresh.data, fresh.len, err);
		secret_unref(c->raw);
		c->raw = secret_new_str(fresh.data);
	}
	buf_free(&fresh);
	return r;
}

static int kubeconfig(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	int r = load(c, &cluster, &status, err);

	if (r)
		return r;
	r = rows_secret_get(c->p, c->param[0], "kubeconfig", &c->raw, err);
	if (r < 0)
		return r;
	if (!r)
		return api_refuse(c, 404, "ResourceNotFound", "cluster %s has no kubeconfig (yet)", c->param[0]);
	r = renew_kubeconfig(c, cluster, err);
	if (r)
		return r;
	c->status = 200;
	c->content_type = "application/octet-stream";
	return 0;
}

static int events(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	const char *limit = api_query(c, "limit");
	long n = limit ? strtol(limit, NULL, 10) : 50;
	int r = rows_event_list(c->p, c->param[1][0] ? c->param[1] : NULL, n > 0 && n <= 1000 ? n : 1000, &docs,
				err);

	return r ? r : api_items(c, TAKE(docs));
}

static int events_delete(struct api_call *c, struct pcg_error *err)
{
	int r = rows_event_delete(c->p, c->param[1], err);

	return r ? r : api_no_content(c);
}

static int event_create(struct api_call *c, struct pcg_error *err)
{
	const char *uid = json_str(c->body, "involvedObject.uid");
	int r;

	if (!uid || !json_str(c->body, "reason"))
		return api_refuse(c, 400, "InvalidRequest", "involvedObject.uid and reason are needed");
	r = rows_event_add(c->p, uid, c->body, err);
	return r ? r : api_created(c, uid);
}

static int heartbeat(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	int r = load(c, &cluster, &status, err);

	if (r)
		return r;
	if (!json_str(c->body, "agentVersion"))
		return api_refuse(c, 400, "InvalidRequest", "agentVersion is missing");
	json_object_set_new(status, "heartbeat",
			    json_pack("{s:s,s:I}", "agentVersion", json_str(c->body, "agentVersion"), "at",
				      (json_int_t)clock_wall_ms()));
	r = rows_put(c->p, ROWS_STATUS, c->param[0], "", "", status, err);
	return r ? r : api_no_content(c);
}

/* Search: the filters that clients of the public API use. */

static bool string_matches(const json_t *condition, const char *value)
{
	const json_t *s = json_object_get(condition, "string");
	bool hit = false, negate = json_bool_or(s, "negation", false);
	const char *op = json_str_or(s, "operator", "eq");
	json_t *v;
	size_t i;

	json_array_foreach(json_at(s, "match.values"), i, v) {
		const char *want = json_string_value(v);

		if (!want)
			continue;
		if (strcmp(op, "contains") == 0)
			hit |= strstr(value, want) != NULL;
		else if (strcmp(op, "beginsWith") == 0)
			hit |= strncmp(value, want, strlen(want)) == 0;
		else
			hit |= strcmp(value, want) == 0;
	}
	return hit != negate;
}

/* -1: not a property that can be searched by. */
static int filter_matches(const json_t *filter, const json_t *cluster, const json_t *status)
{
	const char *property = json_str_or(filter, "property", "");
	const json_t *condition = json_object_get(filter, "condition");
	bool deleted = json_object_get(cluster, "deletedAt") != NULL;

	if (strcmp(property, "clusterName") == 0)
		return string_matches(condition, json_str_or(cluster, "name", ""));
	if (strcmp(property, "environment") == 0 || strcmp(property, "cloudType") == 0)
		return string_matches(condition, json_str_or(cluster, "cloudType", ""));
	if (strcmp(property, "clusterState") == 0)
		return string_matches(condition, clusters_state(cluster, status));
	if (strcmp(property, "isDeleted") == 0)
		return deleted == json_bool_or(condition, "bool.value", false);
	return -1;
}

static int group_matches(const json_t *filters, const char *conjunction, const json_t *cluster,
			 const json_t *status)
{
	bool any = strcmp(conjunction, "or") == 0, hit = !any || !json_array_size(filters);
	json_t *filter;
	size_t i;

	json_array_foreach((json_t *)filters, i, filter) {
		int r = filter_matches(filter, cluster, status);

		if (r < 0)
			return r;
		hit = any ? hit || r : hit && r;
	}
	return hit;
}

static int search_matches(const json_t *body, const json_t *cluster, const json_t *status)
{
	const json_t *groups = json_at(body, "filter.filterGroups");
	bool any = strcmp(json_str_or(body, "filter.conjunction", "and"), "or") == 0;
	bool hit = !any || !json_array_size(groups);
	json_t *group;
	size_t i;

	json_array_foreach((json_t *)groups, i, group) {
		int r = group_matches(json_object_get(group, "filters"), json_str_or(group, "conjunction", "and"),
				      cluster, status);

		if (r < 0)
			return r;
		hit = any ? hit || r : hit && r;
	}
	return hit;
}

static int search(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *clusters = NULL;
	AUTO_JSON json_t *items = json_array();
	json_t *cluster;
	size_t i;
	int r = rows_list(c->p, ROWS_CLUSTER, NULL, &clusters, err);

	if (r)
		return r;
	json_array_foreach(clusters, i, cluster) {
		AUTO_JSON json_t *row = NULL;
		AUTO_JSON json_t *status = NULL;
		json_t *out = NULL;

		r = clusters_get(c->p, json_str_or(cluster, "uid", ""), &row, &status, err);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		r = search_matches(c->body, cluster, status);
		if (r < 0)
			return api_refuse(c, 400, "InvalidRequest",
					  "filter: properties are clusterName, clusterState, cloudType, environment, "
					  "isDeleted");
		if (r == 0)
			continue;
		r = cluster_view_overview(c->p, cluster, status, true, &out, err);
		if (r)
			return r;
		json_object_set(out, "specSummary", json_object_get(out, "spec"));
		json_array_append_new(items, out);
	}
	return api_items(c, TAKE(items));
}

const struct api_route api_cluster_routes[] = {
	{ "POST", "/v1/dashboard/spectroclusters/search", search, 0 },
	{ "GET", "/v1/dashboard/spectroclusters/{}/overview", overview, 0 },
	{ "GET", "/v1/dashboard/spectroclusters/{}", overview, 0 },
	{ "GET", "/v1/events/components", events, 0 },
	{ "POST", "/v1/events/components", event_create, API_CHANGES | API_BODY },
	{ "GET", "/v1/events/components/{}/{}", events, 0 },
	{ "DELETE", "/v1/events/components/{}/{}", events_delete, API_CHANGES },
	{ "POST", "/v1/spectroclusters/{}", create, API_CHANGES | API_BODY },
	{ "GET", "/v1/spectroclusters/{}", get, 0 },
	{ "DELETE", "/v1/spectroclusters/{}", delete, API_CHANGES },
	{ "GET", "/v1/spectroclusters/{}/status", get_status, 0 },
	{ "PUT", "/v1/spectroclusters/{}/heartbeat", heartbeat, API_CHANGES | API_BODY },
	{ "GET", "/v1/spectroclusters/{}/assets/kubeconfig", kubeconfig, 0 },
	{ "GET", "/v1/spectroclusters/{}/assets/kubeconfigclient", kubeconfig, 0 },
	{ "GET", "/v1/spectroclusters/{}/assets/adminKubeconfig", kubeconfig, 0 },
	{ NULL, NULL, NULL, 0 },
};
