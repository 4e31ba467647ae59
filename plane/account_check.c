/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/account_check.h"

#include "net/pki.h"
#include "plane/gateways.h"
#include "plane/rows.h"
#include "plugins/vsphere/endpoint.h"

#include <assert.h>
#include <string.h>

/* An answer to a gateway carries 16 queries, with an account each (docs/protocol.md). A machine's whole CA bundle is half of it. */
#define SPEC_MAX (512u << 10)
#define NAME_MAX_BYTES 128

static const struct account_cloud clouds[] = {
	{ "vsphere", { "vcenterServer", "username", "password" }, { "password" } },
	{ "maas", { "apiEndpoint", "apiKey" }, { "apiKey" } },
	{ "openstack", { "identityEndpoint", "username", "password" }, { "password" } },
	{ "sim", { "endpoint", "token" }, { "token" } },
};

const struct account_cloud *account_cloud(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(clouds); i++)
		if (strcmp(clouds[i].name, name) == 0)
			return &clouds[i];
	return NULL;
}

int account_refuse_cloud(struct api_call *c, const char *name)
{
	return api_refuse(c, 404, "ResourceNotFound",
			  "cloud type '%.32s' is none of vsphere, maas, openstack, sim", name);
}

static bool is_secret(const struct account_cloud *cloud, const char *member)
{
	for (size_t i = 0; i < ARRAY_LEN(cloud->secrets) && cloud->secrets[i]; i++)
		if (strcmp(cloud->secrets[i], member) == 0)
			return true;
	return false;
}

static bool is_missing(const json_t *spec, const char *member)
{
	const json_t *value = json_object_get(spec, member);

	return api_absent(value) || (json_is_string(value) && !json_string_length(value));
}

static void field_wrong(json_t *fields, const char *field, const struct pcg_error *why)
{
	api_field(fields, field, "%s%s%s", why->text, *why->remedy ? "; " : "", why->remedy);
}

/* What a number or a text would be read as is nothing that anybody meant. */
static void check_types(const struct account_cloud *cloud, const json_t *spec, json_t *fields)
{
	static const char *const texts[] = { "caCert", "thumbprint", "imageTemplate" };
	const json_t *insecure = json_object_get(spec, "insecure");

	for (size_t i = 0; i < ARRAY_LEN(cloud->needed) + ARRAY_LEN(texts); i++) {
		const char *name = i < ARRAY_LEN(cloud->needed) ? cloud->needed[i] : texts[i - ARRAY_LEN(cloud->needed)];
		const json_t *value = name ? json_object_get(spec, name) : NULL;

		if (!api_absent(value) && !json_is_string(value))
			api_field(fields, name, "is no text: put it in quotes");
	}
	if (!api_absent(insecure) && !json_is_boolean(insecure))
		api_field(fields, "insecure", "is neither true nor false, without quotes");
}

void account_check_spec(const struct account_cloud *cloud, const json_t *spec, const char *at, bool kept,
			json_t *fields)
{
	struct pcg_error why;
	const char *text;
	char hex[65], server[300], wrong[200];
	size_t n;

	if (!json_is_object(spec)) {
		api_field(fields, at, "is missing, or not an object");
		return;
	}
	n = json_dumpb(spec, NULL, 0, JSON_COMPACT);
	if (n > SPEC_MAX)
		api_field(fields, at, "has %zu bytes, allowed are %u", n, SPEC_MAX);
	check_types(cloud, spec, fields);
	for (size_t i = 0; i < ARRAY_LEN(cloud->needed) && cloud->needed[i]; i++)
		if (is_missing(spec, cloud->needed[i]))
			api_field(fields, cloud->needed[i], kept || !is_secret(cloud, cloud->needed[i]) ? "is missing" :
				  "is missing: the account names another server now, which is not sent what was given for the "
				  "one before; give it again");
	text = json_str(spec, "vcenterServer");
	if (text && *text && strcmp(cloud->name, "vsphere") == 0 && vs_endpoint(text, server, sizeof(server), wrong, sizeof(wrong)))
		api_field(fields, "vcenterServer", "\"%.100s\" %s", vs_endpoint_shown(text), wrong);
	text = json_str(spec, "caCert");
	if (text && *text && strcmp(cloud->name, "openstack") && pki_bundle_check(text, &n, &why))
		field_wrong(fields, "caCert", &why);
	if (json_object_get(spec, "settings") && !json_is_object(json_object_get(spec, "settings")))
		api_field(fields, "settings", "is an object of settings of the provider");
	text = json_str(spec, "thumbprint");
	if (text && *text && pki_thumbprint_normal(text, hex, &why))
		field_wrong(fields, "thumbprint", &why);
}

/* The first member that a cloud needs says where its API is. */
static bool same_server(const struct account_cloud *cloud, const json_t *spec, const json_t *old)
{
	const char *now = json_str_or(spec, cloud->needed[0], ""), *was = json_str_or(old, cloud->needed[0], "");
	char a[300], b[300], wrong[200];

	if (strcmp(cloud->name, "vsphere") || vs_endpoint(now, a, sizeof(a), wrong, sizeof(wrong)) ||
	    vs_endpoint(was, b, sizeof(b), wrong, sizeof(wrong)))
		return strcmp(now, was) == 0;
	return strcmp(a, b) == 0;
}

bool account_keep_secrets(const struct account_cloud *cloud, json_t *spec, const json_t *old)
{
	if (old && !same_server(cloud, spec, old))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(cloud->secrets) && cloud->secrets[i]; i++) {
		const char *was = json_str(old, cloud->secrets[i]);

		if (was && is_missing(spec, cloud->secrets[i]))
			json_object_set_new(spec, cloud->secrets[i], json_string(was));
	}
	return true;
}

/* A validation that waits for the gateway. */
struct validation {
	struct http_exchange *x;
	bool detail;                /* ?detail=true: a body that says what the infrastructure is, and warnings */
	struct gateways_query *query;
};

static void validation_gone(void *arg, struct http_exchange *x)
{
	struct validation *v = arg;

	gateways_query_cancel(v->query);
	free(v);
}

/* Palette's clients want 204 without a body. */
static void answer_detail(struct http_exchange *x, const json_t *doc)
{
	AUTO_JSON json_t *out = json_pack("{s:b,s:s,s:O*}", "valid", 1, "version", json_str_or(doc, "version", ""), "warnings",
					  json_object_get(doc, "warnings"));

	http_exchange_reply_json(x, 200, out);
}

static void answer_validation(struct http_exchange *x, bool detail, const json_t *reply, const struct pcg_error *err)
{
	const json_t *problems = json_at(reply, "doc.problems"), *error = json_object_get(reply, "error");

	if (!reply)
		api_answer_error(x, 408, "GatewayTimeout", err->text, NULL);
	else if (error || strcmp(json_str_or(reply, "status", ""), "done") != 0)
		api_answer_error(x, 400, "CloudAccountInvalid", json_str_or(error, "text", "the gateway could not "
											     "validate the account"),
				 json_pack("{s:[{s:s,s:s,s:s}]}", "fields", "field", "account", "text",
					   json_str_or(error, "text", ""), "remedy",
					   json_str_or(error, "remedy", "")));
	else if (json_array_size(problems))
		api_answer_error(x, 400, "CloudAccountInvalid",
				 json_str_or(json_array_get(problems, 0), "text", "the account is not valid"),
				 json_pack("{s:O,s:O*}", "fields", problems, "warnings", json_at(reply, "doc.warnings")));
	else if (detail)
		answer_detail(x, json_object_get(reply, "doc"));
	else
		http_exchange_reply_json(x, 204, NULL);
}

static void validation_done(void *arg, const json_t *reply, const struct pcg_error *err)
{
	struct validation *v = arg;

	http_exchange_on_gone(v->x, NULL, NULL);
	answer_validation(v->x, v->detail, reply, err);
	free(v);
}

/* {accountUid} in place of {account} is one that the plane has; beside it the account that it shall become. Its secrets need not
 * be sent again. */
static int stored_account(struct api_call *c, const struct account_cloud *cloud, bool *kept, struct pcg_error *err)
{
	json_t *account = json_object_get(c->body, "account");
	const char *uid = json_str(c->body, "accountUid");
	AUTO_JSON json_t *doc = NULL;
	json_t *spec = NULL;
	int r;

	if (!uid)
		return 0;
	r = rows_get(c->p, ROWS_ACCOUNT, uid, &doc, err);
	if (r > 0 && strcmp(json_str_or(doc, "kind", ""), c->param[0]) == 0)
		r = rows_secret_get_json(c->p, uid, "spec", &spec, err);
	if (r < 0)
		return r;
	if (!spec)
		return api_not_found(c, "cloud account", uid);
	if (!account) {
		json_object_set_new(c->body, "account", spec);
	} else {
		*kept = account_keep_secrets(cloud, account, spec);
		json_wipe(spec);
	}
	json_put_str(c->body, "name", json_str(doc, "metadata.name"));
	return 0;
}

/* POST /v1/overlords/{cloud}/{overlord}/account/validate {account} */
int account_validate(struct api_call *c, struct pcg_error *err)
{
	const struct account_cloud *cloud = account_cloud(c->param[0]);
	AUTO_JSON json_t *overlord = NULL;
	json_t *fields, *account;
	struct validation *v;
	bool kept = true;
	int r;

	if (!cloud)
		return account_refuse_cloud(c, c->param[0]);
	r = stored_account(c, cloud, &kept, err);
	if (r)
		return r;
	fields = json_array();
	account_check_spec(cloud, json_object_get(c->body, "account"), "account", kept, fields);
	if (strlen(json_str_or(c->body, "name", "")) > NAME_MAX_BYTES)
		api_field(fields, "name", "is longer than %d bytes", NAME_MAX_BYTES);
	if (json_array_size(fields))
		return api_refuse_fields(c, "cloud account", fields);
	json_decref(fields);
	r = rows_get(c->p, ROWS_OVERLORD, c->param[1], &overlord, err);
	if (r <= 0)
		return r ? r : api_not_found(c, "gateway", c->param[1]);
	v = calloc(1, sizeof(*v));
	assert(v);
	v->x = c->x;
	v->detail = api_query(c, "detail") != NULL;
	account = json_pack("{s:s,s:s,s:O}", "name", json_str_or(c->body, "name", ""), "provider",
			    cloud->name, "spec", json_object_get(c->body, "account"));
	r = gateways_query(c->p, c->param[1], "account_validate", account, NULL, validation_done, v,
			   &v->query, err);
	json_decref(account);
	if (r) {
		free(v);
		return api_refuse(c, r == PCG_EQUOTA ? 429 : 400,
				  r == PCG_EQUOTA ? "TooManyRequests" : "GatewayOffline", "%s; %s", err->text,
				  err->remedy);
	}
	http_exchange_on_gone(c->x, validation_gone, v);
	return API_LATER;
}
