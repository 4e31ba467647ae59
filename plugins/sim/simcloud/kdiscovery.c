/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kapi.h"

#include <string.h>

static json_t *kdiscovery_resources(struct kapi *k, const char *group, const char *version)
{
	AUTO_FREE char *gv = NULL;
	json_t *list = json_array();

	if (asprintf(&gv, "%s%s%s", group, *group ? "/" : "", version) < 0)
		abort();
	for (size_t i = 0; i < k->n_res; i++) {
		struct kres *r = k->res[i];
		AUTO_FREE char *status_name = NULL;
		json_t *e;

		if (!r->established || strcmp(r->group, group) != 0 || !kres_serves(r, version))
			continue;
		e = json_pack("{s:s, s:s, s:b, s:s, s:[s,s,s,s,s,s,s,s]}", "name", r->plural, "singularName",
			      r->singular, "namespaced", r->namespaced, "kind", r->kind, "verbs", "create",
			      "delete", "deletecollection", "get", "list", "patch", "update", "watch");
		if (r->short_names)
			json_object_set(e, "shortNames", r->short_names);
		if (r->categories)
			json_object_set(e, "categories", r->categories);
		json_array_append_new(list, e);
		if (!r->status)
			continue;
		if (asprintf(&status_name, "%s/status", r->plural) < 0)
			abort();
		json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s, s:[s,s,s]}", "name", status_name,
						      "singularName", "", "namespaced", r->namespaced, "kind",
						      r->kind, "verbs", "get", "patch", "update"));
	}
	if (!json_array_size(list)) {
		json_decref(list);
		return NULL;
	}
	return json_pack("{s:s, s:s, s:s, s:o}", "kind", "APIResourceList", "apiVersion", "v1", "groupVersion",
			 gv, "resources", list);
}

static json_t *kdiscovery_group(struct kapi *k, const char *group)
{
	AUTO_JSON json_t *seen = json_object();
	json_t *versions = json_array();
	json_t *preferred;

	for (size_t i = 0; i < k->n_res; i++) {
		struct kres *r = k->res[i];
		size_t n;
		json_t *v;

		if (!r->established || strcmp(r->group, group) != 0)
			continue;
		json_array_foreach(r->versions, n, v) {
			json_t *e;

			if (json_object_get(seen, json_string_value(v)))
				continue;
			e = json_pack("{s:o, s:O}", "groupVersion",
				      json_sprintf("%s/%s", group, json_string_value(v)), "version", v);
			json_object_set_new(seen, json_string_value(v), json_true());
			/* A group's preferred version is the one that is stored. */
			if (strcmp(json_string_value(v), r->version) == 0)
				json_array_insert_new(versions, 0, e);
			else
				json_array_append_new(versions, e);
		}
	}
	preferred = json_array_get(versions, 0);
	if (!preferred) {
		json_decref(versions);
		return NULL;
	}
	return json_pack("{s:s, s:s, s:s, s:o, s:O}", "kind", "APIGroup", "apiVersion", "v1", "name", group,
			 "versions", versions, "preferredVersion", preferred);
}

static json_t *kdiscovery_groups(struct kapi *k)
{
	AUTO_JSON json_t *seen = json_object();
	json_t *groups = json_array();

	for (size_t i = 0; i < k->n_res; i++) {
		struct kres *r = k->res[i];
		json_t *g;

		if (!r->established || !*r->group || json_object_get(seen, r->group))
			continue;
		json_object_set_new(seen, r->group, json_true());
		g = kdiscovery_group(k, r->group);
		json_object_del(g, "kind");
		json_object_del(g, "apiVersion");
		json_array_append_new(groups, g);
	}
	return json_pack("{s:s, s:s, s:o}", "kind", "APIGroupList", "apiVersion", "v1", "groups", groups);
}

bool kdiscovery_handle(struct kapi *k, struct http_exchange *x, const char *path)
{
	AUTO_FREE char *copy = strdup(path);
	json_t *body;
	char *slash;

	if (strcmp(path, "/api") == 0)
		body = json_pack("{s:s, s:[s], s:[{s:s, s:s}]}", "kind", "APIVersions", "versions", "v1",
				 "serverAddressByClientCIDRs", "clientCIDR", "0.0.0.0/0", "serverAddress", "");
	else if (strcmp(path, "/apis") == 0)
		body = kdiscovery_groups(k);
	else if (strcmp(path, "/api/v1") == 0)
		body = kdiscovery_resources(k, "", "v1");
	else if (strncmp(path, "/apis/", 6) != 0)
		return false;
	else if (!(slash = strchr(copy + 6, '/')))
		body = kdiscovery_group(k, path + 6);
	else if (strchr(slash + 1, '/'))
		return false;
	else {
		*slash = '\0';
		body = kdiscovery_resources(k, copy + 6, slash + 1);
	}
	if (body)
		kapi_reply(k, x, 200, body);
	else
		kapi_fail(k, x, 404, "NotFound", NULL, NULL, "the server could not find the requested resource");
	return true;
}
