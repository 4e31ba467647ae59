/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/api.h"

#include "plane/cluster_request.h"
#include "plane/clusters.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

/* Settings of a cluster that are kept and given back: what acts on them is not this program. */

static int load(struct api_call *c, json_t **cluster, struct pcg_error *err)
{
	AUTO_JSON json_t *status = NULL;
	int r = clusters_get(c->p, c->param[0], cluster, &status, err);

	if (r < 0)
		return r;
	return r ? 0 : api_not_found(c, "cluster", c->param[0]);
}

static int done(struct api_call *c, json_t *cluster, struct pcg_error *err)
{
	int r = clusters_put(c->p, cluster, err);

	return r ? r : api_no_content(c);
}

/* Copies body.from to the cluster's path, when it is of that type. */
static int keep(struct api_call *c, const char *from, const char *path, json_type type,
		struct pcg_error *err)
{
	const json_t *value = json_object_get(c->body, from);
	AUTO_JSON json_t *cluster = NULL;
	int r = load(c, &cluster, err);

	if (r)
		return r;
	if (!value || json_typeof(value) != type)
		return api_refuse(c, 400, "InvalidRequest", "%s is missing or of the wrong type", from);
	json_put(cluster, path, json_deep_copy(value));
	return done(c, cluster, err);
}

static int os_patch(struct api_call *c, struct pcg_error *err)
{
	return keep(c, "osPatchConfig", "spec.clusterConfig.machineManagementConfig.osPatchConfig", JSON_OBJECT,
		    err);
}

static int host_cluster(struct api_call *c, struct pcg_error *err)
{
	return keep(c, "hostClusterConfig", "spec.clusterConfig.hostClusterConfig", JSON_OBJECT, err);
}

static int timezone_set(struct api_call *c, struct pcg_error *err)
{
	return keep(c, "timezone", "spec.clusterConfig.timezone", JSON_STRING, err);
}

static int meta_attribute(struct api_call *c, struct pcg_error *err)
{
	return keep(c, "clusterMetaAttribute", "spec.clusterConfig.clusterMetaAttribute", JSON_STRING, err);
}

static int location(struct api_call *c, struct pcg_error *err)
{
	return keep(c, "location", "location", JSON_OBJECT, err);
}

static int put_namespaces(struct api_call *c, struct pcg_error *err)
{
	return keep(c, "namespaces", "namespaces", JSON_ARRAY, err);
}

static int put_rbacs(struct api_call *c, struct pcg_error *err)
{
	return keep(c, "rbacs", "rbacs", JSON_ARRAY, err);
}

static int items_of(struct api_call *c, const char *member, const char *in_request, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	const json_t *list;
	int r = load(c, &cluster, err);

	if (r)
		return r;
	list = json_object_get(cluster, member);
	if (!list)
		list = json_at(cluster, in_request);
	return api_items(c, json_is_array(list) ? json_deep_copy(list) : json_array());
}

static int get_namespaces(struct api_call *c, struct pcg_error *err)
{
	return items_of(c, "namespaces", "spec.clusterConfig.resources.namespaces", err);
}

static int get_rbacs(struct api_call *c, struct pcg_error *err)
{
	return items_of(c, "rbacs", "spec.clusterConfig.resources.rbacs", err);
}

static int update_metadata(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	const char *name = json_str(c->body, "metadata.name");
	int r = load(c, &cluster, err);

	if (r)
		return r;
	if (!json_is_object(json_object_get(c->body, "metadata")))
		return api_refuse(c, 400, "InvalidRequest", "metadata is missing");
	if (name && strcmp(name, json_str_or(cluster, "name", "")) != 0)
		return api_refuse(c, 400, "InvalidRequest",
				  "metadata.name: a cluster cannot be renamed, its machines carry the name");
	api_metadata_update(json_object_get(cluster, "metadata"), json_object_get(c->body, "metadata"));
	return done(c, cluster, err);
}

static int upgrade_settings(struct api_call *c, struct pcg_error *err)
{
	const char *word = json_str_or(c->body, "spectroComponents", "");
	AUTO_JSON json_t *cluster = NULL;
	int r = load(c, &cluster, err);

	if (r)
		return r;
	if (strcmp(word, "lock") && strcmp(word, "unlock"))
		return api_refuse(c, 400, "InvalidRequest", "spectroComponents must be lock or unlock");
	json_put_str(cluster, "metadata.annotations.spectroComponentsUpgradeForbidden",
		     strcmp(word, "lock") == 0 ? "true" : "false");
	return done(c, cluster, err);
}

static int renew_certificates(struct api_call *c, struct pcg_error *err)
{
	return api_refuse(c, 400, "NotSupported",
			  "certificates of a cluster are renewed by its own control plane when it is upgraded");
}

/* Profiles of a cluster: replaced, added or taken away; its document follows. */

static int find_profile(const json_t *profiles, const char *uid)
{
	json_t *profile;
	size_t i;

	json_array_foreach((json_t *)profiles, i, profile)
		if (strcmp(json_str_or(profile, "uid", ""), uid) == 0)
			return (int)i;
	return -1;
}

static json_t *profiles_of(json_t *cluster)
{
	json_t *list = json_at(cluster, "spec.profiles");

	if (!json_is_array(list)) {
		json_put(cluster, "spec.profiles", json_array());
		list = json_at(cluster, "spec.profiles");
	}
	return list;
}

static int patch_profiles(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	json_t *list, *given;
	size_t i;
	int r = load(c, &cluster, err);

	if (r)
		return r;
	if (!json_is_array(json_object_get(c->body, "profiles")))
		return api_refuse(c, 400, "InvalidRequest", "profiles is not an array");
	list = profiles_of(cluster);
	json_array_foreach(json_object_get(c->body, "profiles"), i, given) {
		const char *uid = json_str_or(given, "uid", ""), *old = json_str(given, "replaceWithProfile");
		AUTO_JSON json_t *profile = NULL;
		json_t *copy;
		int at;

		r = rows_get(c->p, ROWS_PROFILE, old && *old ? old : uid, &profile, err);
		if (r < 0)
			return r;
		if (r == 0)
			return api_refuse(c, 400, "InvalidRequest", "cluster profile '%.64s' does not exist",
					  old && *old ? old : uid);
		copy = json_deep_copy(given);
		if (old && *old)
			json_object_set_new(copy, "uid", json_string(old));
		json_object_del(copy, "replaceWithProfile");
		at = find_profile(list, uid);
		if (at >= 0)
			json_array_set_new(list, (size_t)at, copy);
		else
			json_array_append_new(list, copy);
	}
	r = cluster_request_apply(c, cluster, err);
	return r ? r : api_no_content(c);
}

static int delete_profiles(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	json_t *list, *uid;
	size_t i;
	int at, r = load(c, &cluster, err);

	if (r)
		return r;
	list = profiles_of(cluster);
	json_array_foreach(json_object_get(c->body, "profileUids"), i, uid) {
		at = json_is_string(uid) ? find_profile(list, json_string_value(uid)) : -1;
		if (at >= 0)
			json_array_remove(list, (size_t)at);
	}
	r = cluster_request_apply(c, cluster, err);
	return r ? r : api_no_content(c);
}

static int get_profiles(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	int r = load(c, &cluster, err);

	return r ? r : api_reply(c, 200, json_pack("{s:o}", "profiles", json_deep_copy(profiles_of(cluster))));
}

static int get_variables(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	json_t *out = json_array(), *profile;
	size_t i;
	int r = load(c, &cluster, err);

	if (r) {
		json_decref(out);
		return r;
	}
	json_array_foreach(profiles_of(cluster), i, profile) {
		const json_t *vars = json_object_get(profile, "variables");

		json_array_append_new(out, json_pack("{s:s,s:o}", "profileUid", json_str_or(profile, "uid", ""),
						     "variables",
						     json_is_array(vars) ? json_deep_copy(vars) : json_array()));
	}
	return api_reply(c, 200, out);
}

static int patch_variables(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	json_t *given;
	size_t i;
	int at, r = load(c, &cluster, err);

	if (r)
		return r;
	if (!json_is_array(c->body))
		return api_refuse(c, 400, "InvalidRequest", "the request's body is not an array");
	json_array_foreach(c->body, i, given) {
		at = find_profile(profiles_of(cluster), json_str_or(given, "profileUid", ""));
		if (at < 0)
			return api_refuse(c, 400, "InvalidRequest", "profileUid '%.64s' is not one of the cluster's",
					  json_str_or(given, "profileUid", ""));
		json_object_set_new(json_array_get(profiles_of(cluster), (size_t)at), "variables",
				    json_deep_copy(json_object_get(given, "variables")));
	}
	r = cluster_request_apply(c, cluster, err);
	return r ? r : api_no_content(c);
}

/* features/{backup,complianceScan} */

static int feature_known(struct api_call *c)
{
	if (strcmp(c->param[1], "backup") == 0 || strcmp(c->param[1], "complianceScan") == 0)
		return 0;
	return api_not_found(c, "feature", c->param[1]);
}

static int put_feature(struct api_call *c, bool create, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	char path[300];
	int r = load(c, &cluster, err);

	if (!r)
		r = feature_known(c);
	if (r)
		return r;
	snprintf(path, sizeof(path), "features.%s", c->param[1]);
	json_put(cluster, path, json_deep_copy(c->body));
	r = clusters_put(c->p, cluster, err);
	if (r)
		return r;
	return create ? api_created(c, c->param[0]) : api_no_content(c);
}

static int feature_create(struct api_call *c, struct pcg_error *err)
{
	return put_feature(c, true, err);
}

static int feature_update(struct api_call *c, struct pcg_error *err)
{
	return put_feature(c, false, err);
}

static void add_driver(json_t *drivers, const char *name, const json_t *given)
{
	const json_t *schedule = json_object_get(given, "schedule");

	if (!json_is_object(given))
		return;
	json_object_set_new(drivers, name,
			    json_pack("{s:{s:o}}", "config", "schedule",
				      json_is_object(schedule) ? json_deep_copy(schedule) : json_object()));
}

static int feature_get(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	json_t *drivers;
	const json_t *feature;
	char path[300];
	int r = load(c, &cluster, err);

	if (r)
		return r;
	snprintf(path, sizeof(path), "features.%s", c->param[1]);
	feature = json_at(cluster, path);
	if (!feature)
		return api_not_found(c, "feature", c->param[1]);
	if (strcmp(c->param[1], "complianceScan") != 0)
		return api_reply(c, 200, json_pack("{s:{s:O}}", "spec", "config", feature));
	drivers = json_object();
	add_driver(drivers, "kube-bench", json_object_get(feature, "kubeBench"));
	add_driver(drivers, "kube-hunter", json_object_get(feature, "kubeHunter"));
	add_driver(drivers, "sonobuoy", json_object_get(feature, "sonobuoy"));
	return api_reply(c, 200, json_pack("{s:{s:o}}", "spec", "driverSpec", drivers));
}

const struct api_route api_feature_routes[] = {
	{ "PATCH", "/v1/spectroclusters/{}/metadata", update_metadata, API_CHANGES | API_BODY },
	{ "GET", "/v1/spectroclusters/{}/config/namespaces", get_namespaces, 0 },
	{ "PUT", "/v1/spectroclusters/{}/config/namespaces", put_namespaces, API_CHANGES | API_BODY },
	{ "GET", "/v1/spectroclusters/{}/config/rbacs", get_rbacs, 0 },
	{ "PUT", "/v1/spectroclusters/{}/config/rbacs", put_rbacs, API_CHANGES | API_BODY },
	{ "PATCH", "/v1/spectroclusters/{}/clusterConfig/osPatch", os_patch, API_CHANGES | API_BODY },
	{ "PATCH", "/v1/spectroclusters/{}/clusterConfig/hostCluster", host_cluster, API_CHANGES | API_BODY },
	{ "PATCH", "/v1/spectroclusters/{}/clusterConfig/timezone", timezone_set, API_CHANGES | API_BODY },
	{ "PATCH", "/v1/spectroclusters/{}/clusterConfig/clusterMetaAttribute", meta_attribute,
	  API_CHANGES | API_BODY },
	{ "PUT", "/v1/spectroclusters/{}/location", location, API_CHANGES | API_BODY },
	{ "POST", "/v1/spectroclusters/{}/upgrade/settings", upgrade_settings, API_CHANGES | API_BODY },
	{ "PATCH", "/v1/spectroclusters/{}/k8certificates/renew", renew_certificates, 0 },
	{ "GET", "/v1/spectroclusters/{}/profiles", get_profiles, 0 },
	{ "PATCH", "/v1/spectroclusters/{}/profiles", patch_profiles, API_CHANGES | API_BODY },
	{ "DELETE", "/v1/spectroclusters/{}/profiles", delete_profiles, API_CHANGES | API_BODY },
	{ "GET", "/v1/spectroclusters/{}/variables", get_variables, 0 },
	{ "PATCH", "/v1/spectroclusters/{}/variables", patch_variables, API_CHANGES },
	{ "GET", "/v1/spectroclusters/{}/features/{}", feature_get, 0 },
	{ "POST", "/v1/spectroclusters/{}/features/{}", feature_create, API_CHANGES | API_BODY },
	{ "PUT", "/v1/spectroclusters/{}/features/{}", feature_update, API_CHANGES | API_BODY },
	{ NULL, NULL, NULL, 0 },
};
