/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/dns_mappings.h"

#include "core/id.h"
#include "plane/api.h"
#include "plane/clusters.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789-"
#define ANY LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"

static bool labels_good(const char *text, const char *letters)
{
	size_t len = text ? strlen(text) : 0;

	if (!len || len > 253)
		return false;
	for (const char *at = text;; at++) {
		size_t n = strcspn(at, ".");

		if (!n || n > 63 || strspn(at, letters) < n || at[0] == '-' || at[n - 1] == '-')
			return false;
		at += n;
		if (!*at)
			return true;
	}
}

/* Without the dot that a name may end with. */
static size_t bare(const char *text, char *out, size_t size)
{
	size_t len = (size_t)snprintf(out, size, "%s", text ? text : "");

	len = len < size ? len : size - 1;
	if (len > 1 && out[len - 1] == '.')
		out[--len] = '\0';
	return len;
}

bool dns_name(const char *text)
{
	char name[256];

	bare(text, name, sizeof(name));
	return labels_good(name, ANY);
}

bool dns_host(const char *text)
{
	const char *last = text ? strrchr(text, '.') : NULL;

	last = last ? last + 1 : text;
	return labels_good(text, LOWER) && strspn(last, "0123456789") < strlen(last);
}

const char *dns_domain(const char *text, char out[256])
{
	size_t len = bare(text, out, 256);

	for (size_t i = 0; i < len; i++)
		if (out[i] >= 'A' && out[i] <= 'Z')
			out[i] = (char)(out[i] - 'A' + 'a');
	return out;
}

static bool is_of(const json_t *doc, const char *datacenter, const char *network)
{
	return strcmp(json_str_or(doc, "spec.datacenter", ""), datacenter) == 0 &&
	       strcmp(json_str_or(doc, "spec.network", ""), network) == 0;
}

int dns_mapping_domain(struct plane *p, const char *gateway, const char *datacenter, const char *network, char domain[256],
		       struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *doc;
	size_t i;
	int r = rows_list(p, ROWS_DNSMAP, gateway, &docs, err);

	domain[0] = '\0';
	json_array_foreach(docs, i, doc)
		if (!*domain && is_of(doc, datacenter, network))
			snprintf(domain, 256, "%s", json_str_or(doc, "spec.dnsName", ""));
	return r;
}

int dns_mappings_migrate(struct plane *p, const char *from, const char *to, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *doc;
	size_t i;
	int r = rows_list(p, ROWS_DNSMAP, from, &docs, err);

	json_array_foreach(docs, i, doc) {
		json_put_str(doc, "spec.privateGatewayUid", to);
		if (!r)
			r = rows_put(p, ROWS_DNSMAP, json_str_or(doc, "metadata.uid", ""), "", to, doc, err);
	}
	return r;
}

/* filters=spec.privateGatewayUid=UID is what clients send; no other filter is known. */
static int list(struct api_call *c, struct pcg_error *err)
{
	static const char property[] = "spec.privateGatewayUid=";
	const char *filters = api_query(c, "filters");
	AUTO_JSON json_t *docs = NULL;
	int r;

	if (filters && *filters && strncmp(filters, property, sizeof(property) - 1) != 0)
		return api_refuse(c, 400, "InvalidRequest", "filters can be %sUID, not '%.64s'", property, filters);
	r = rows_list(c->p, ROWS_DNSMAP, filters && *filters ? filters + sizeof(property) - 1 : NULL, &docs, err);
	return r ? r : api_items(c, TAKE(docs));
}

static void check_fields(const json_t *body, json_t *fields)
{
	static const char *const needed[] = { "spec.datacenter", "spec.network", "spec.dnsName",
					      "spec.privateGatewayUid" };
	char domain[256];

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!*json_str_or(body, needed[i], ""))
			api_field(fields, needed[i], "is missing");
	if (*json_str_or(body, "spec.dnsName", "") && !dns_host(dns_domain(json_str(body, "spec.dnsName"), domain)))
		api_field(fields, "spec.dnsName",
			  "'%.64s' is not a domain of host names: letters, digits and '-', with dots between", json_str(body, "spec.dnsName"));
}

/* 0: good, else refused. */
static int check(struct api_call *c, const char *uid, struct pcg_error *err)
{
	const char *gateway = json_str_or(c->body, "spec.privateGatewayUid", "");
	AUTO_JSON json_t *overlord = NULL;
	AUTO_JSON json_t *docs = NULL;
	json_t *fields = json_array(), *doc;
	size_t i;
	int r;

	check_fields(c->body, fields);
	if (json_array_size(fields))
		return api_refuse_fields(c, "DNS mapping", fields);
	json_decref(fields);
	r = rows_get(c->p, ROWS_OVERLORD, gateway, &overlord, err);
	if (r <= 0)
		return r ? r : api_not_found(c, "gateway", gateway);
	r = rows_list(c->p, ROWS_DNSMAP, gateway, &docs, err);
	if (r)
		return r;
	json_array_foreach(docs, i, doc)
		if (strcmp(json_str_or(doc, "metadata.uid", ""), uid) != 0 &&
		    is_of(doc, json_str(c->body, "spec.datacenter"), json_str(c->body, "spec.network")))
			return api_refuse(c, 409, "ResourceAlreadyExists",
					  "network %.64s of datacenter %.64s is mapped to %.64s already: change or remove "
					  "that mapping (%s)",
					  json_str(c->body, "spec.network"), json_str(c->body, "spec.datacenter"),
					  json_str_or(doc, "spec.dnsName", ""), json_str_or(doc, "metadata.uid", ""));
	return 0;
}

static int save(struct api_call *c, const char *uid, json_t *metadata, struct pcg_error *err)
{
	const char *gateway = json_str_or(c->body, "spec.privateGatewayUid", "");
	AUTO_JSON json_t *doc = json_pack("{s:o,s:O}", "metadata", metadata, "spec", json_object_get(c->body, "spec"));
	int r = rows_put(c->p, ROWS_DNSMAP, uid, "", gateway, doc, err);

	return r ? r : clusters_refresh_users(c->p, ROWS_OVERLORD, gateway, err);
}

static int create(struct api_call *c, struct pcg_error *err)
{
	char uid[25];
	int r;

	id_hex24(uid);
	r = check(c, uid, err);
	if (!r)
		r = save(c, uid, api_metadata(c, json_object_get(c->body, "metadata"), uid), err);
	return r ? r : api_created(c, uid);
}

static int load(struct api_call *c, json_t **doc, struct pcg_error *err)
{
	int r = rows_get(c->p, ROWS_DNSMAP, c->param[0], doc, err);

	if (r < 0)
		return r;
	return r ? 0 : api_not_found(c, "DNS mapping", c->param[0]);
}

static int get(struct api_call *c, struct pcg_error *err)
{
	json_t *doc;
	int r = load(c, &doc, err);

	return r ? r : api_reply(c, 200, doc);
}

static int update(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	json_t *metadata;
	int r = load(c, &doc, err);

	if (!r)
		r = check(c, c->param[0], err);
	if (r)
		return r;
	metadata = json_incref(json_object_get(doc, "metadata"));
	api_metadata_update(metadata, json_object_get(c->body, "metadata"));
	r = save(c, c->param[0], metadata, err);
	return r ? r : api_no_content(c);
}

static int delete(struct api_call *c, struct pcg_error *err)
{
	int r = rows_delete(c->p, ROWS_DNSMAP, c->param[0], err);

	if (r < 0)
		return r;
	return r ? api_no_content(c) : api_not_found(c, "DNS mapping", c->param[0]);
}

const struct api_route api_dns_routes[] = {
	{ "GET", "/v1/users/assets/vsphere/dnsMappings", list, 0 },
	{ "POST", "/v1/users/assets/vsphere/dnsMappings", create, API_CHANGES | API_BODY },
	{ "GET", "/v1/users/assets/vsphere/dnsMappings/{}", get, 0 },
	{ "PUT", "/v1/users/assets/vsphere/dnsMappings/{}", update, API_CHANGES | API_BODY },
	{ "DELETE", "/v1/users/assets/vsphere/dnsMappings/{}", delete, API_CHANGES },
	{ NULL, NULL, NULL, 0 },
};
