/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/api.h"

#include "core/id.h"
#include "plane/account_check.h"
#include "plane/clusters.h"
#include "plane/gateways.h"
#include "plane/rows.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Row "account": {uid, kind (cloud), overlord, generation, metadata, spec with its secrets blank}. */

static json_t *without_secrets(const struct account_cloud *cloud, const json_t *spec)
{
	json_t *out = json_deep_copy(spec);

	for (size_t i = 0; i < ARRAY_LEN(cloud->secrets) && cloud->secrets[i]; i++)
		if (json_object_get(out, cloud->secrets[i]))
			json_object_set_new(out, cloud->secrets[i], json_string(""));
	return out;
}

/* The gateway that an account names, through a migration if there was one. 0: found. */
static int find_overlord(struct api_call *c, const char *uid, char out[64], struct pcg_error *err)
{
	AUTO_JSON json_t *overlord = NULL;
	AUTO_JSON json_t *forward = NULL;
	int r = rows_get(c->p, ROWS_FORWARD, uid, &forward, err);

	if (r < 0)
		return r;
	snprintf(out, 64, "%s", r ? json_str_or(forward, "target", "") : uid);
	r = rows_get(c->p, ROWS_OVERLORD, out, &overlord, err);
	if (r < 0)
		return r;
	return r ? 0 : api_refuse(c, 400, "InvalidRequest",
				  "metadata.annotations.overlordUid: gateway '%.64s' does not exist; see 'pcg-planectl "
				  "gateway list'", uid);
}

static int load(struct api_call *c, json_t **doc, struct pcg_error *err)
{
	int r = rows_get(c->p, ROWS_ACCOUNT, c->param[1], doc, err);

	if (r < 0)
		return r;
	if (r && strcmp(json_str_or(*doc, "kind", ""), c->param[0]) == 0)
		return 0;
	return api_not_found(c, "cloud account", c->param[1]);
}

static int check_request(struct api_call *c, const struct account_cloud *cloud, bool kept)
{
	json_t *fields = json_array();
	const char *name = json_str(c->body, "metadata.name");

	if (!name || !*name || strlen(name) > 128)
		api_field(fields, "metadata.name", "is missing or longer than 128 bytes");
	if (!json_str(c->body, "metadata.annotations.overlordUid"))
		api_field(fields, "metadata.annotations.overlordUid",
			  "is missing: it names the gateway that reaches this infrastructure");
	account_check_spec(cloud, json_object_get(c->body, "spec"), "spec", kept, fields);
	if (json_array_size(fields))
		return api_refuse_fields(c, "cloud account", fields);
	json_decref(fields);
	return 0;
}

static int save(struct api_call *c, const json_t *doc, const json_t *secret_spec, struct pcg_error *err)
{
	const char *uid = json_str_or(doc, "uid", ""), *overlord = json_str_or(doc, "overlord", "");
	int r = rows_put(c->p, ROWS_ACCOUNT, uid, json_str_or(doc, "metadata.name", ""), overlord, doc, err);

	if (!r)
		r = rows_secret_put_json(c->p, uid, "spec", secret_spec, err);
	return r ? r : gateways_instruct(c->p, overlord, "account", uid, err);
}

static int create(struct api_call *c, struct pcg_error *err)
{
	const struct account_cloud *cloud = account_cloud(c->param[0]);
	AUTO_JSON json_t *doc = NULL;
	char uid[25], overlord[64];
	int r;

	if (!cloud)
		return account_refuse_cloud(c, c->param[0]);
	r = check_request(c, cloud, true);
	if (!r)
		r = find_overlord(c, json_str_or(c->body, "metadata.annotations.overlordUid", ""), overlord, err);
	if (r)
		return r;
	id_hex24(uid);
	doc = json_pack("{s:s,s:s,s:s,s:i,s:o,s:o}", "uid", uid, "kind", cloud->name, "overlord", overlord,
			"generation", 1, "metadata",
			api_metadata(c, json_object_get(c->body, "metadata"), uid), "spec",
			without_secrets(cloud, json_object_get(c->body, "spec")));
	json_put_str(doc, "metadata.annotations.overlordUid", overlord);
	r = save(c, doc, json_object_get(c->body, "spec"), err);
	return r ? r : api_created(c, uid);
}

/* An account goes to another gateway only when no cluster needs it where it is. */
static int leave_overlord(struct api_call *c, const json_t *doc, const char *next, struct pcg_error *err)
{
	const char *was = json_str_or(doc, "overlord", ""), *uid = json_str_or(doc, "uid", "");
	char name[128];
	int64_t n;
	int r;

	if (strcmp(was, next) == 0)
		return 0;
	r = clusters_users(c->p, ROWS_ACCOUNT, uid, &n, name, err);
	if (r)
		return r;
	if (n)
		return api_refuse(c, 400, "CloudAccountInUse",
				  "%lld clusters use this account at its gateway, %s among them: move them all with POST "
				  "/v1/overlords/migrate", (long long)n, name);
	return gateways_release(c->p, was, "account", uid, err);
}

static int update(struct api_call *c, struct pcg_error *err)
{
	const struct account_cloud *cloud = account_cloud(c->param[0]);
	AUTO_JSON json_t *doc = NULL;
	json_t *old = NULL;
	bool kept = true;
	char overlord[64];
	int r;

	if (!cloud)
		return account_refuse_cloud(c, c->param[0]);
	r = load(c, &doc, err);
	if (r)
		return r;
	r = rows_secret_get_json(c->p, c->param[1], "spec", &old, err);
	if (r < 0)
		return r;
	if (json_is_object(json_object_get(c->body, "spec")))
		kept = account_keep_secrets(cloud, json_object_get(c->body, "spec"), old);
	json_wipe(old);
	if (!json_str(c->body, "metadata.annotations.overlordUid"))
		json_put_str(c->body, "metadata.annotations.overlordUid", json_str(doc, "overlord"));
	r = check_request(c, cloud, kept);
	if (!r)
		r = find_overlord(c, json_str_or(c->body, "metadata.annotations.overlordUid", ""), overlord, err);
	if (r)
		return r;
	r = leave_overlord(c, doc, overlord, err);
	if (r)
		return r;
	api_metadata_update(json_object_get(doc, "metadata"), json_object_get(c->body, "metadata"));
	json_put_str(doc, "metadata.annotations.overlordUid", overlord);
	json_put_str(doc, "overlord", overlord);
	json_object_set_new(doc, "generation", json_integer(json_int_or(doc, "generation", 1) + 1));
	json_object_set_new(doc, "spec", without_secrets(cloud, json_object_get(c->body, "spec")));
	r = save(c, doc, json_object_get(c->body, "spec"), err);
	if (!r)
		r = clusters_refresh_users(c->p, ROWS_ACCOUNT, c->param[1], err);
	return r ? r : api_no_content(c);
}

static json_t *public_account(const json_t *doc)
{
	return json_pack("{s:s,s:O,s:O,s:{s:s}}", "kind", json_str_or(doc, "kind", ""), "metadata",
			 json_object_get(doc, "metadata"), "spec", json_object_get(doc, "spec"), "status",
			 "state", "Running");
}

static int get(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = load(c, &doc, err);

	return r ? r : api_reply(c, 200, public_account(doc));
}

static int list(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *items, *doc;
	size_t i;
	int r;

	if (!account_cloud(c->param[0]))
		return account_refuse_cloud(c, c->param[0]);
	r = rows_list(c->p, ROWS_ACCOUNT, NULL, &docs, err);
	if (r)
		return r;
	items = json_array();
	json_array_foreach(docs, i, doc)
		if (strcmp(json_str_or(doc, "kind", ""), c->param[0]) == 0)
			json_array_append_new(items, public_account(doc));
	return api_items(c, items);
}

static int summary(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *items, *doc;
	size_t i;
	int r = rows_list(c->p, ROWS_ACCOUNT, NULL, &docs, err);

	if (r)
		return r;
	items = json_array();
	json_array_foreach(docs, i, doc)
		json_array_append_new(items, json_pack("{s:s,s:O,s:{s:s},s:{s:s}}", "kind",
						       json_str_or(doc, "kind", ""), "metadata",
						       json_object_get(doc, "metadata"), "specSummary",
						       "accountId", json_str_or(doc, "uid", ""), "status", "state",
						       "Running"));
	return api_items(c, items);
}

static int delete(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	char name[128];
	int64_t n = 0;
	int r = load(c, &doc, err);

	if (!r)
		r = clusters_users(c->p, ROWS_ACCOUNT, c->param[1], &n, name, err);
	if (r)
		return r;
	if (n)
		return api_refuse(c, 400, "CloudAccountInUse",
				  "%lld clusters need this account, %s among them: delete them first, their "
				  "machines can only be removed with it", (long long)n, name);
	r = rows_delete(c->p, ROWS_ACCOUNT, c->param[1], err);
	if (r >= 0)
		r = rows_secret_delete(c->p, c->param[1], NULL, err);
	if (!r)
		r = gateways_instruct(c->p, json_str_or(doc, "overlord", ""), "account", c->param[1], err);
	return r ? r : api_no_content(c);
}

const struct api_route api_account_routes[] = {
	{ "GET", "/v1/cloudaccounts/summary", summary, 0 },
	{ "GET", "/v1/cloudaccounts/{}", list, 0 },
	{ "POST", "/v1/cloudaccounts/{}", create, API_CHANGES | API_BODY },
	{ "GET", "/v1/cloudaccounts/{}/{}", get, 0 },
	{ "PUT", "/v1/cloudaccounts/{}/{}", update, API_CHANGES | API_BODY },
	{ "DELETE", "/v1/cloudaccounts/{}/{}", delete, API_CHANGES },
	{ "POST", "/v1/overlords/{}/{}/account/validate", account_validate, API_BODY },
	{ NULL, NULL, NULL, 0 },
};
