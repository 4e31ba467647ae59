/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/api.h"

#include "core/clock.h"
#include "core/id.h"
#include "plane/clusters.h"
#include "plane/rows.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#define CERTS_MAX 20
#define TOKEN_LIFE_MS (4LL * 3600 * 1000)
#define ADMIN "admin"

static int projects(struct api_call *c, struct pcg_error *err)
{
	json_t *items = json_array();

	json_array_append_new(items, json_pack("{s:{s:s,s:s}}", "metadata", "name", "Default", "uid",
					       c->p->project));
	return api_items(c, items);
}

static int user_info(struct api_call *c, struct pcg_error *err)
{
	return api_reply(c, 200, json_pack("{s:s,s:s,s:s}", "orgName", "Default", "tenantUid", c->p->tenant,
					   "userUid", c->user));
}

static int users(struct api_call *c, struct pcg_error *err)
{
	json_t *items = json_array();

	json_array_append_new(items, json_pack("{s:{s:s,s:s},s:{s:s}}", "metadata", "name", ADMIN, "uid",
					       c->p->user, "spec", "emailId", ADMIN));
	return api_items(c, items);
}

static void random_token(char out[65])
{
	uint8_t bytes[32];

	id_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	secret_wipe(bytes, sizeof(bytes));
}

static int give_token(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	char token[65], hash[65];
	int r;

	random_token(token);
	setup_sha256(token, strlen(token), hash);
	doc = json_pack("{s:s,s:I}", "user", c->p->user, "expiresMs",
			(json_int_t)(clock_wall_ms() + TOKEN_LIFE_MS));
	r = rows_put(c->p, ROWS_TOKEN, hash, "", c->p->user, doc, err);
	if (!r)
		api_reply(c, 200, json_pack("{s:s,s:b}", "Authorization", token, "isMfa", 0));
	secret_wipe(token, sizeof(token));
	return r;
}

static int purge_tokens(struct plane *p, struct pcg_error *err)
{
	return db_exec(p->db, err,
		       "DELETE FROM objects WHERE kind='token' AND json_extract(doc, '$.expiresMs') < ?", "i",
		       clock_wall_ms());
}

static int authenticate(struct api_call *c, struct pcg_error *err)
{
	const char *email = json_str_or(c->body, "emailId", ""), *password = json_str_or(c->body, "password", "");
	AUTO_FREE char *want = NULL;
	char hash[65];
	int r = rows_meta_get(c->p, "admin-password", &want, err);

	if (!r)
		r = purge_tokens(c->p, err);
	if (r)
		return r;
	setup_sha256(password, strlen(password), hash);
	if (!want || strcmp(email, ADMIN) != 0 || CRYPTO_memcmp(want, hash, 64) != 0)
		return api_refuse(c, 401, "InvalidCredentials",
				  "emailId or password is wrong; the first user is '" ADMIN
				  "', with the password in the plane's state folder, file admin-password");
	return give_token(c, err);
}

static int refresh(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	char hash[65];
	int r;

	setup_sha256(c->param[0], strlen(c->param[0]), hash);
	r = rows_get(c->p, ROWS_TOKEN, hash, &doc, err);
	if (r < 0)
		return r;
	if (r == 0 || json_int_or(doc, "expiresMs", 0) < clock_wall_ms())
		return api_refuse(c, 401, "Unauthorized", "the token is not valid (any longer)");
	return give_token(c, err);
}

static json_t *public_key(const json_t *doc)
{
	return json_pack("{s:{s:s,s:s,s:s},s:{s:{s:s}},s:{s:b}}", "metadata", "name",
			 json_str_or(doc, "name", ""), "uid", json_str_or(doc, "uid", ""), "creationTimestamp",
			 json_str_or(doc, "createdAt", ""), "spec", "user", "uid", json_str_or(doc, "user", ""),
			 "status", "isActive", json_bool_or(doc, "isActive", false));
}

static int keys(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *items, *doc;
	size_t i;
	int r = rows_list(c->p, ROWS_APIKEY, NULL, &docs, err);

	if (r)
		return r;
	items = json_array();
	json_array_foreach(docs, i, doc)
		json_array_append_new(items, public_key(doc));
	return api_items(c, items);
}

static int key_create(struct api_call *c, struct pcg_error *err)
{
	const char *name = json_str(c->body, "metadata.name"), *expiry = json_str(c->body, "spec.expiry");
	char uid[25], key[65], hash[65], now[CLOCK_RFC3339_SIZE];
	AUTO_JSON json_t *doc = NULL;
	int r;

	if (!name || !*name)
		return api_refuse(c, 400, "InvalidRequest", "metadata.name is missing");
	id_hex24(uid);
	random_token(key);
	setup_sha256(key, strlen(key), hash);
	doc = json_pack("{s:s,s:s,s:s,s:s,s:b,s:s}", "uid", uid, "name", name, "hash", hash, "user", c->user,
			"isActive", 1, "createdAt", clock_rfc3339(clock_wall_ms(), now));
	if (expiry && clock_parse_rfc3339(expiry) > 0)
		json_object_set_new(doc, "expiresMs", json_integer(clock_parse_rfc3339(expiry)));
	r = rows_put(c->p, ROWS_APIKEY, uid, hash, c->user, doc, err);
	if (!r)
		api_reply(c, 201, json_pack("{s:s,s:s}", "apiKey", key, "uid", uid));
	secret_wipe(key, sizeof(key));
	return r;
}

static int key_load(struct api_call *c, json_t **doc, struct pcg_error *err)
{
	int r = rows_get(c->p, ROWS_APIKEY, c->param[0], doc, err);

	if (r < 0)
		return r;
	return r ? 0 : api_not_found(c, "API key", c->param[0]);
}

static int key_get(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = key_load(c, &doc, err);

	return r ? r : api_reply(c, 200, public_key(doc));
}

static int key_state(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = key_load(c, &doc, err);

	if (r)
		return r;
	if (!json_is_boolean(json_object_get(c->body, "isActive")))
		return api_refuse(c, 400, "InvalidRequest", "isActive must be true or false");
	json_object_set(doc, "isActive", json_object_get(c->body, "isActive"));
	r = rows_put(c->p, ROWS_APIKEY, c->param[0], json_str_or(doc, "hash", ""), json_str_or(doc, "user", ""),
		     doc, err);
	return r ? r : api_no_content(c);
}

static int key_delete(struct api_call *c, struct pcg_error *err)
{
	int r = rows_delete(c->p, ROWS_APIKEY, c->param[0], err);

	if (r < 0)
		return r;
	return r ? api_no_content(c) : api_not_found(c, "API key", c->param[0]);
}

/* Certificates of the tenant: put into the trust store of every node. */

static int tenant_check(struct api_call *c)
{
	return strcmp(c->param[0], c->p->tenant) == 0 ? 0 : api_not_found(c, "tenant", c->param[0]);
}

static json_t *public_cert(const json_t *doc)
{
	return json_pack("{s:O,s:O}", "metadata", json_object_get(doc, "metadata"), "spec",
			 json_object_get(doc, "spec"));
}

static int certs(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *items, *doc;
	size_t i;
	int r = tenant_check(c);

	if (!r)
		r = rows_list(c->p, ROWS_CERT, c->p->tenant, &docs, err);
	if (r)
		return r;
	items = json_array();
	json_array_foreach(docs, i, doc)
		json_array_append_new(items, public_cert(doc));
	return api_items(c, items);
}

static int cert_check(struct api_call *c)
{
	json_t *fields = json_array();

	if (!json_str(c->body, "metadata.name") || !*json_str(c->body, "metadata.name"))
		api_field(fields, "metadata.name", "is missing");
	if (!json_str(c->body, "spec.certificate") || !*json_str(c->body, "spec.certificate"))
		api_field(fields, "spec.certificate", "is missing");
	if (json_array_size(fields))
		return api_refuse_fields(c, "certificate", fields);
	json_decref(fields);
	return 0;
}

/* The key, if one is given, is sealed and never read back. */
static int cert_save(struct api_call *c, const char *uid, json_t *metadata, struct pcg_error *err)
{
	json_t *spec = json_deep_copy(json_object_get(c->body, "spec"));
	const char *key = json_str(spec, "key");
	AUTO_JSON json_t *doc = NULL;
	int r = 0;

	if (key && *key)
		r = rows_secret_put(c->p, uid, "key", key, strlen(key), err);
	json_object_set_new(spec, "key", json_string(""));
	doc = json_pack("{s:s,s:o,s:o}", "uid", uid, "metadata", metadata, "spec", spec);
	if (!r)
		r = rows_put(c->p, ROWS_CERT, uid, json_str_or(metadata, "name", ""), c->p->tenant, doc, err);
	return r ? r : clusters_refresh_users(c->p, ROWS_CERT, uid, err);
}

static int cert_create(struct api_call *c, struct pcg_error *err)
{
	char uid[25];
	int64_t n = 0;
	int r = tenant_check(c);

	if (!r)
		r = cert_check(c);
	if (!r)
		r = rows_count(c->p, ROWS_CERT, c->p->tenant, &n, err);
	if (r)
		return r;
	if (n >= CERTS_MAX)
		return api_refuse(c, 400, "ResourceLimitExceeded",
				  "a tenant has at most %d certificates: delete one first", CERTS_MAX);
	id_hex24(uid);
	r = cert_save(c, uid, api_metadata(c, json_object_get(c->body, "metadata"), uid), err);
	return r ? r : api_created(c, uid);
}

static int cert_load(struct api_call *c, json_t **doc, struct pcg_error *err)
{
	int r = tenant_check(c);

	if (r)
		return r;
	r = rows_get(c->p, ROWS_CERT, c->param[1], doc, err);
	if (r < 0)
		return r;
	return r ? 0 : api_not_found(c, "certificate", c->param[1]);
}

static int cert_get(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = cert_load(c, &doc, err);

	return r ? r : api_reply(c, 200, public_cert(doc));
}

static int cert_update(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	json_t *metadata;
	int r = cert_load(c, &doc, err);

	if (!r)
		r = cert_check(c);
	if (r)
		return r;
	metadata = json_incref(json_object_get(doc, "metadata"));
	api_metadata_update(metadata, json_object_get(c->body, "metadata"));
	r = cert_save(c, c->param[1], metadata, err);
	return r ? r : api_no_content(c);
}

static int cert_delete(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = cert_load(c, &doc, err);

	if (r)
		return r;
	r = rows_delete(c->p, ROWS_CERT, c->param[1], err);
	if (r >= 0)
		r = rows_secret_delete(c->p, c->param[1], NULL, err);
	if (!r)
		r = clusters_refresh_users(c->p, ROWS_CERT, c->param[1], err);
	return r ? r : api_no_content(c);
}

static int proxy_get(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = rows_secret_get_json(c->p, "system", "proxy", &doc, err);

	if (r < 0)
		return r;
	if (!r)
		doc = json_pack("{s:s,s:s,s:s}", "httpProxy", "", "httpsProxy", "", "noProxy", "");
	return api_reply(c, 200, TAKE(doc));
}

/* Sealed: its addresses may hold a password. */
static int proxy_put(struct api_call *c, struct pcg_error *err)
{
	int r = rows_secret_put_json(c->p, "system", "proxy", c->body, err);

	return r ? r : api_no_content(c);
}

static int grpc_config(struct api_call *c, struct pcg_error *err)
{
	return api_reply(c, 200, json_pack("{s:{s:s,s:{s:b,s:s,s:b}},s:[]}", "preferredServer", "endpoint",
					   c->p->url, "tls", "enabled", 1, "caCert", c->p->ca_pem,
					   "insecureSkipVerify", 0, "servers"));
}

static int ping(struct api_call *c, struct pcg_error *err)
{
	return api_reply(c, 200, json_pack("{s:s}", "msg", "OK"));
}

static int ready(struct api_call *c, struct pcg_error *err)
{
	int64_t n;
	int r = rows_count(c->p, ROWS_APIKEY, NULL, &n, err);

	return r ? r : ping(c, err);
}

const struct api_route api_tenant_routes[] = {
	{ "GET", "/v1/health/ping", ping, API_PUBLIC },
	{ "GET", "/v1/health/ready", ready, API_PUBLIC },
	{ "POST", "/v1/auth/authenticate", authenticate, API_PUBLIC | API_CHANGES | API_BODY },
	{ "GET", "/v1/auth/refresh/{}", refresh, API_PUBLIC | API_CHANGES },
	{ "GET", "/v1/dashboard/projects/metadata", projects, 0 },
	{ "GET", "/v1/users/info", user_info, 0 },
	{ "GET", "/v1/users", users, 0 },
	{ "GET", "/v1/apiKeys", keys, 0 },
	{ "POST", "/v1/apiKeys", key_create, API_CHANGES | API_BODY },
	{ "GET", "/v1/apiKeys/{}", key_get, 0 },
	{ "PATCH", "/v1/apiKeys/{}", key_state, API_CHANGES | API_BODY },
	{ "PUT", "/v1/apiKeys/{}/state", key_state, API_CHANGES | API_BODY },
	{ "DELETE", "/v1/apiKeys/{}", key_delete, API_CHANGES },
	{ "GET", "/v1/tenants/{}/assets/certs", certs, 0 },
	{ "POST", "/v1/tenants/{}/assets/certs", cert_create, API_CHANGES | API_BODY },
	{ "GET", "/v1/tenants/{}/assets/certs/{}", cert_get, 0 },
	{ "PUT", "/v1/tenants/{}/assets/certs/{}", cert_update, API_CHANGES | API_BODY },
	{ "DELETE", "/v1/tenants/{}/assets/certs/{}", cert_delete, API_CHANGES },
	{ "GET", "/v1/system/config/proxy", proxy_get, 0 },
	{ "PUT", "/v1/system/config/proxy", proxy_put, API_CHANGES | API_BODY },
	{ "GET", "/v1/grpc/config", grpc_config, 0 },
	{ NULL, NULL, NULL, 0 },
};
