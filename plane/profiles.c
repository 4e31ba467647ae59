/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/profiles.h"

#include "core/id.h"
#include "plane/api.h"
#include "plane/clusters.h"
#include "plane/document.h"
#include "plane/profile_check.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

/* Row "profile": {uid, metadata, spec (as sent), published}. Manifests carry a uid each. */

static int save(struct api_call *c, const json_t *doc, struct pcg_error *err)
{
	return rows_put(c->p, ROWS_PROFILE, json_str_or(doc, "uid", ""), json_str_or(doc, "metadata.name", ""),
			"", doc, err);
}

/* 0: found; 1: refused. */
static int load(struct api_call *c, json_t **doc, struct pcg_error *err)
{
	int r = rows_get(c->p, ROWS_PROFILE, c->param[0], doc, err);

	if (r < 0)
		return r;
	return r ? 0 : api_not_found(c, "cluster profile", c->param[0]);
}

static int check(struct api_call *c)
{
	json_t *fields = json_array();

	profile_check(c->body, fields);
	if (json_array_size(fields))
		return api_refuse_fields(c, "cluster profile", fields);
	json_decref(fields);
	return 0;
}

static void name_manifests(json_t *spec)
{
	json_t *pack, *m;
	size_t i, k;

	json_array_foreach(json_at(spec, "template.packs"), i, pack)
		json_array_foreach(json_object_get(pack, "manifests"), k, m) {
			char uid[25];

			if (json_str(m, "uid"))
				continue;
			id_hex24(uid);
			json_object_set_new(m, "uid", json_string(uid));
		}
}

static int create(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	char uid[25];
	int r = check(c);

	if (r)
		return r;
	id_hex24(uid);
	doc = json_pack("{s:s,s:o,s:o,s:b}", "uid", uid, "metadata",
			api_metadata(c, json_object_get(c->body, "metadata"), uid), "spec",
			json_deep_copy(json_object_get(c->body, "spec")), "published", 0);
	name_manifests(json_object_get(doc, "spec"));
	r = save(c, doc, err);
	return r ? r : api_created(c, uid);
}

static json_t *public_pack(const json_t *pack)
{
	json_t *out = json_deep_copy(pack), *refs = json_array(), *m;
	size_t i;

	json_array_foreach(json_object_get(pack, "manifests"), i, m)
		json_array_append_new(refs, json_pack("{s:s,s:s,s:s}", "kind", "manifest", "name",
						      json_str_or(m, "name", ""), "uid", json_str_or(m, "uid", "")));
	json_object_set_new(out, "manifests", refs);
	json_object_set_new(out, "packUid", json_string(json_str_or(pack, "uid", "")));
	json_object_set_new(out, "layer", json_string(document_layer(pack)));
	json_object_set_new(out, "version", json_string(json_str_or(pack, "tag", "")));
	if (!json_str(out, "type"))
		json_object_set_new(out, "type", json_string("spectro"));
	return out;
}

static json_t *public_template(const json_t *doc)
{
	json_t *out = json_deep_copy(json_at(doc, "spec.template"));
	json_t *packs = json_array(), *pack;
	size_t i;

	json_array_foreach(json_at(doc, "spec.template.packs"), i, pack)
		json_array_append_new(packs, public_pack(pack));
	json_object_set_new(out, "packs", packs);
	json_object_set_new(out, "uid", json_string(json_str_or(doc, "uid", "")));
	json_object_set_new(out, "name", json_string(json_str_or(doc, "metadata.name", "")));
	json_object_set_new(out, "profileVersion", json_string(json_str_or(doc, "spec.version", "1.0.0")));
	return out;
}

static json_t *public_profile(const json_t *doc)
{
	const char *version = json_str_or(doc, "spec.version", "1.0.0");
	bool published = json_bool_or(doc, "published", false);
	json_t *spec = json_pack("{s:s,s:o,s:[{s:s,s:s}]}", "version", *version ? version : "1.0.0",
				 "published", public_template(doc), "versions", "uid",
				 json_str_or(doc, "uid", ""), "version", *version ? version : "1.0.0");

	if (!published)
		json_object_set(spec, "draft", json_object_get(spec, "published"));
	return json_pack("{s:s,s:O,s:o,s:{s:b,s:[],s:b}}", "kind", "ClusterProfile", "metadata",
			 json_object_get(doc, "metadata"), "spec", spec, "status", "isPublished", published,
			 "inUseClusterUids", "hasUserMacros", 0);
}

static int get(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = load(c, &doc, err);

	return r ? r : api_reply(c, 200, public_profile(doc));
}

static int list(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *items = json_array(), *doc;
	size_t i;
	int r = rows_list(c->p, ROWS_PROFILE, NULL, &docs, err);

	json_array_foreach(docs, i, doc)
		json_array_append_new(items, public_profile(doc));
	if (r)
		json_decref(items);
	return r ? r : api_items(c, items);
}

static int metadata_list(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *items = json_array(), *doc;
	size_t i;
	int r = rows_list(c->p, ROWS_PROFILE, NULL, &docs, err);

	json_array_foreach(docs, i, doc)
		json_array_append_new(items,
				      json_pack("{s:O,s:{s:s,s:s}}", "metadata", json_object_get(doc, "metadata"),
						"spec", "cloudType",
						json_str_or(doc, "spec.template.cloudType", "all"), "version",
						json_str_or(doc, "spec.version", "1.0.0")));
	if (r)
		json_decref(items);
	return r ? r : api_items(c, items);
}

static int update(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	json_t *spec;
	int r = load(c, &doc, err);

	if (!r)
		r = check(c);
	if (r)
		return r;
	spec = json_deep_copy(json_object_get(c->body, "spec"));
	if (!json_object_get(spec, "variables") && json_at(doc, "spec.variables"))
		json_object_set(spec, "variables", json_at(doc, "spec.variables"));
	name_manifests(spec);
	json_object_set_new(doc, "spec", spec);
	api_metadata_update(json_object_get(doc, "metadata"), json_object_get(c->body, "metadata"));
	r = save(c, doc, err);
	if (!r)
		r = clusters_refresh_users(c->p, ROWS_PROFILE, c->param[0], err);
	return r ? r : api_no_content(c);
}

static int update_metadata(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = load(c, &doc, err);

	if (r)
		return r;
	if (!json_is_object(json_object_get(c->body, "metadata")))
		return api_refuse(c, 400, "InvalidRequest", "metadata is missing");
	api_metadata_update(json_object_get(doc, "metadata"), json_object_get(c->body, "metadata"));
	r = save(c, doc, err);
	return r ? r : api_no_content(c);
}

static int publish(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = load(c, &doc, err);

	if (r)
		return r;
	json_object_set_new(doc, "published", json_true());
	r = save(c, doc, err);
	return r ? r : api_no_content(c);
}

static int copy(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	char uid[25];
	int r = load(c, &doc, err);

	if (r)
		return r;
	if (!json_str(c->body, "metadata.name"))
		return api_refuse(c, 400, "InvalidRequest", "metadata.name is missing");
	id_hex24(uid);
	json_object_set_new(doc, "uid", json_string(uid));
	json_object_set_new(doc, "metadata", api_metadata(c, json_object_get(c->body, "metadata"), uid));
	json_put_str(doc, "spec.version", json_str(c->body, "metadata.version"));
	json_object_set_new(doc, "published", json_false());
	r = save(c, doc, err);
	return r ? r : api_created(c, uid);
}

static int delete(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	char name[128];
	int64_t n = 0;
	int r = load(c, &doc, err);

	if (!r)
		r = clusters_users(c->p, ROWS_PROFILE, c->param[0], &n, name, err);
	if (r)
		return r;
	if (n)
		return api_refuse(c, 400, "ClusterProfileInUse",
				  "%lld clusters use this profile, %s among them: delete them first", (long long)n,
				  name);
	r = rows_delete(c->p, ROWS_PROFILE, c->param[0], err);
	return r < 0 ? r : api_no_content(c);
}

static int manifests(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	json_t *items = NULL, *pack, *m;
	size_t i, k;
	int r = load(c, &doc, err);

	if (r)
		return r;
	json_array_foreach(json_at(doc, "spec.template.packs"), i, pack) {
		if (strcmp(json_str_or(pack, "name", ""), c->param[1]) != 0)
			continue;
		items = items ? items : json_array();
		json_array_foreach(json_object_get(pack, "manifests"), k, m)
			json_array_append_new(items, json_pack("{s:{s:s,s:s},s:{s:{s:s}}}", "metadata", "name",
							       json_str_or(m, "name", ""), "uid",
							       json_str_or(m, "uid", ""), "spec", "published",
							       "content", json_str_or(m, "content", "")));
	}
	return items ? api_items(c, items) : api_not_found(c, "pack", c->param[1]);
}

static int variables(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = load(c, &doc, err);
	const json_t *vars;

	if (r)
		return r;
	vars = json_at(doc, "spec.variables");
	return api_reply(c, 200, json_pack("{s:o}", "variables",
					   json_is_array(vars) ? json_deep_copy(vars) : json_array()));
}

static int put_variables(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	json_t *fields;
	int r = load(c, &doc, err);

	if (r)
		return r;
	fields = json_array();
	profile_check_variables(json_object_get(c->body, "variables"), "variables", fields);
	if (json_array_size(fields))
		return api_refuse_fields(c, "cluster profile", fields);
	json_decref(fields);
	json_put(doc, "spec.variables", json_deep_copy(json_object_get(c->body, "variables")));
	r = save(c, doc, err);
	if (!r)
		r = clusters_refresh_users(c->p, ROWS_PROFILE, c->param[0], err);
	return r ? r : api_no_content(c);
}

static int registries(struct api_call *c, struct pcg_error *err)
{
	return api_items(c, json_array());
}

/* The profile's defaults with the cluster's values over them. */
static json_t *variable_values(const json_t *profile, const json_t *given)
{
	json_t *out = json_object(), *v;
	size_t i;

	json_array_foreach(json_at(profile, "spec.variables"), i, v)
		if (json_str(v, "name") && json_str(v, "defaultValue"))
			json_object_set(out, json_str(v, "name"), json_object_get(v, "defaultValue"));
	json_array_foreach(json_object_get(given, "variables"), i, v)
		if (json_str(v, "name") && json_str(v, "value"))
			json_object_set(out, json_str(v, "name"), json_object_get(v, "value"));
	return out;
}

static const json_t *pack_values(const json_t *given, const char *name)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(given, "packValues"), i, v)
		if (strcmp(json_str_or(v, "name", ""), name) == 0)
			return v;
	return NULL;
}

static void override(json_t *pack, const json_t *over)
{
	static const char *const members[] = { "tag", "values", "type" };

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const char *v = json_str(over, members[i]);

		if (v && *v)
			json_object_set_new(pack, members[i], json_string(v));
	}
	if (json_array_size(json_object_get(over, "manifests")))
		json_object_set(pack, "manifests", json_object_get(over, "manifests"));
}

int profiles_packs(struct plane *p, const json_t *given, json_t *packs, json_t *problems,
		   struct pcg_error *err)
{
	const char *uid = json_str_or(given, "uid", "");
	AUTO_JSON json_t *profile = NULL;
	AUTO_JSON json_t *vars = NULL;
	json_t *pack;
	size_t i;
	int r = rows_get(p, ROWS_PROFILE, uid, &profile, err);

	if (r < 0)
		return r;
	if (r == 0) {
		document_problem(problems, "profiles", "name a profile that exists",
				 "cluster profile %.64s does not exist (any longer)", uid);
		return 0;
	}
	vars = variable_values(profile, given);
	json_array_foreach(json_at(profile, "spec.template.packs"), i, pack) {
		json_t *copy = json_deep_copy(pack);

		override(copy, pack_values(given, json_str_or(pack, "name", "")));
		json_object_set(copy, "vars", vars);
		json_array_append_new(packs, copy);
	}
	return 0;
}

int profiles_template(struct plane *p, const json_t *given, json_t **out, struct pcg_error *err)
{
	const char *uid = json_str_or(given, "uid", "");
	AUTO_JSON json_t *profile = NULL;
	json_t *pack;
	size_t i;
	int r = rows_get(p, ROWS_PROFILE, uid, &profile, err);

	if (r < 0)
		return r;
	if (r == 0) {
		*out = json_pack("{s:s,s:s,s:[]}", "uid", uid, "name", "", "packs");
		return 0;
	}
	*out = public_template(profile);
	json_object_set_new(*out, "version", json_string(json_str_or(profile, "spec.version", "1.0.0")));
	json_array_foreach(json_object_get(*out, "packs"), i, pack)
		override(pack, pack_values(given, json_str_or(pack, "name", "")));
	if (json_object_get(given, "variables"))
		json_object_set(*out, "variables", json_object_get(given, "variables"));
	return 0;
}

const struct api_route api_profile_routes[] = {
	{ "POST", "/v1/clusterprofiles", create, API_CHANGES | API_BODY },
	{ "GET", "/v1/clusterprofiles", list, 0 },
	{ "GET", "/v1/clusterprofiles/{}", get, 0 },
	{ "PUT", "/v1/clusterprofiles/{}", update, API_CHANGES | API_BODY },
	{ "DELETE", "/v1/clusterprofiles/{}", delete, API_CHANGES },
	{ "PATCH", "/v1/clusterprofiles/{}/publish", publish, API_CHANGES },
	{ "PATCH", "/v1/clusterprofiles/{}/metadata", update_metadata, API_CHANGES | API_BODY },
	{ "POST", "/v1/clusterprofiles/{}/clone", copy, API_CHANGES | API_BODY },
	{ "GET", "/v1/clusterprofiles/{}/variables", variables, 0 },
	{ "PUT", "/v1/clusterprofiles/{}/variables", put_variables, API_CHANGES | API_BODY },
	{ "GET", "/v1/clusterprofiles/{}/packs/{}/manifests", manifests, 0 },
	{ "GET", "/v1/dashboard/clusterprofiles/metadata", metadata_list, 0 },
	{ "GET", "/v1/registries/metadata", registries, 0 },
	{ NULL, NULL, NULL, 0 },
};
