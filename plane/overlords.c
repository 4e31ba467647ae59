/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/api.h"

#include "core/clock.h"
#include "core/id.h"
#include "core/log.h"
#include "core/yaml.h"
#include "plane/addresses.h"
#include "plane/dns_mappings.h"
#include "plane/gateways.h"
#include "plane/ip_pools.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

#define NAMES_SHOWN 8

/* Row "overlord": {uid, kind, metadata, isSelfHosted, gateway (what it last said of itself)}. */

static int load(struct api_call *c, const char *uid, json_t **doc, struct pcg_error *err)
{
	int r = rows_get(c->p, ROWS_OVERLORD, uid, doc, err);

	if (r < 0)
		return r;
	return r ? 0 : api_not_found(c, "gateway", uid);
}

static int save(struct api_call *c, const json_t *doc, struct pcg_error *err)
{
	return rows_put(c->p, ROWS_OVERLORD, json_str_or(doc, "uid", ""),
			json_str_or(doc, "metadata.name", ""), "", doc, err);
}

static int public_overlord(struct plane *p, const json_t *doc, json_t **public, struct pcg_error *err)
{
	const char *uid = json_str_or(doc, "uid", "");
	json_t *pools = NULL;
	int r = ip_pools_public(p, uid, true, &pools, err);
	int64_t at = gateways_last_contact_ms(p, uid);
	bool active = gateways_active(p, uid);
	char beat[CLOCK_RFC3339_SIZE] = "";
	json_t *out;

	if (r) {
		json_decref(pools);
		return r;
	}
	if (at)
		clock_rfc3339(at, beat);
	out = json_pack(
		"{s:s,s:O,s:{s:s,s:s,s:o,s:b,s:b,s:s,s:s},s:{s:s,s:b,s:b,s:[],s:{s:b,s:b},s:{s:s,s:s,s:s,s:[]}}}",
		"kind", json_str_or(doc, "kind", ""), "metadata", json_object_get(doc, "metadata"), "spec",
		"cloudAccountUid", "", "ipAddress", "", "ipPools", pools, "isSelfHosted",
		json_bool_or(doc, "isSelfHosted", true), "isSystem", 0, "spectroClusterUid", "", "tenantUid",
		p->tenant, "status", "state", active ? "Running" : at ? "Error" : "Pending", "isActive", active,
		"isReady", active, "kubectlCommands", "notifications", "isAvailable", 0,
		"isTemplateVariableResolutionPending", 0, "health", "agentVersion",
		json_str_or(doc, "gateway.version", ""), "lastHeartBeatTimestamp", beat, "state",
		active ? "Healthy" : "Unhealthy", "conditions");
	if (json_object_get(doc, "gateway"))
		json_put(out, "status.gateway", json_incref(json_object_get(doc, "gateway")));
	*public = out;
	return 0;
}

static int list(struct api_call *c, struct pcg_error *err)
{
	const char *name = api_query(c, "name");
	AUTO_JSON json_t *docs = NULL;
	json_t *items, *doc;
	size_t i;
	int r = rows_list(c->p, ROWS_OVERLORD, NULL, &docs, err);

	if (r)
		return r;
	items = json_array();
	json_array_foreach(docs, i, doc) {
		json_t *one = NULL;

		if (r || (name && strcmp(json_str_or(doc, "metadata.name", ""), name) != 0))
			continue;
		r = public_overlord(c->p, doc, &one, err);
		if (!r)
			json_array_append_new(items, one);
	}
	if (!r)
		return api_items(c, items);
	json_decref(items);
	return r;
}

static int get(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	json_t *out = NULL;
	int r = load(c, c->param[0], &doc, err);

	if (!r)
		r = public_overlord(c->p, doc, &out, err);
	return r ? r : api_reply(c, 200, out);
}

static int message(struct api_call *c, const char *text)
{
	return api_reply(c, 200, json_pack("{s:s}", "msg", text));
}

/* How many clusters that are not Deleted it has, and their names, of many the first ones. */
static int clusters_of(struct plane *p, const char *uid, size_t *n, struct buf *names, struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *doc;
	size_t i;
	int r = rows_list(p, ROWS_CLUSTER, uid, &docs, err);

	*n = 0;
	json_array_foreach(docs, i, doc) {
		if (json_object_get(doc, "deletedAt"))
			continue;
		if (++*n <= NAMES_SHOWN)
			buf_addf(names, "%s%s", *n > 1 ? ", " : "", json_str_or(doc, "name", ""));
	}
	if (*n > NAMES_SHOWN)
		buf_addf(names, " and %zu more", *n - NAMES_SHOWN);
	return r;
}

/* Palette removes a gateway whatever it has. But nobody else can delete its clusters, and its certificate does not come back:
 * so the same word is needed here as for a cluster. */
static int refuse_used(struct api_call *c, const char *uid, struct pcg_error *err)
{
	const char *force = api_query(c, "forceDelete");
	struct buf names;
	size_t n;
	int r;

	if (force && strcmp(force, "true") == 0)
		return 0;
	buf_init(&names, 1024);
	r = clusters_of(c->p, uid, &n, &names, err);
	if (!r && n)
		r = api_refuse(c, 409, "GatewayInUse",
			       "%zu clusters are this gateway's: %s. Delete them first, or move them to another gateway (POST "
			       "/v1/overlords/migrate); with forceDelete=true it is removed all the same, and nobody "
			       "can remove their machines any more",
			       n, names.data);
	buf_free(&names);
	return r;
}

static int delete(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = load(c, c->param[0], &doc, err);

	if (!r)
		r = refuse_used(c, c->param[0], err);
	if (!r)
		r = gateways_revoke(c->p, c->param[0], err);
	if (!r)
		r = gateways_forget(c->p, c->param[0], NULL, err);
	if (!r)
		r = db_exec(c->p->db, err, "DELETE FROM objects WHERE kind IN ('" ROWS_POOL "', '" ROWS_DNSMAP "') AND parent=?",
			    "s", c->param[0]);
	if (r)
		return r;
	r = rows_delete(c->p, ROWS_OVERLORD, c->param[0], err);
	return r < 0 ? r : message(c, "the gateway is removed; machines stay as they are");
}

static int update_metadata(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = load(c, c->param[0], &doc, err);

	if (r)
		return r;
	if (!json_str(c->body, "metadata.name"))
		return api_refuse(c, 400, "InvalidRequest", "metadata.name is missing");
	api_metadata_update(json_object_get(doc, "metadata"), json_object_get(c->body, "metadata"));
	r = save(c, doc, err);
	return r ? r : api_no_content(c);
}

static int reset(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	int r = load(c, c->param[0], &doc, err);

	if (!r)
		r = gateways_revoke(c->p, c->param[0], err);
	return r ? r : message(c, "the gateway's certificate is refused from now on; pair it again");
}

/* Everything of one kind is the other gateway's, and released by the one that had it. */
static int move_rows(struct plane *p, const char *kind, const char *what, const char *from, const char *to,
		     json_t **docs, struct pcg_error *err)
{
	json_t *doc;
	size_t i;
	int r = rows_list(p, kind, from, docs, err);

	json_array_foreach(*docs, i, doc) {
		const char *uid = json_str_or(doc, "uid", "");

		if (r)
			break;
		json_put_str(doc, "overlord", to);
		json_put_str(doc, "metadata.annotations.overlordUid", to);
		r = rows_put(p, kind, uid, json_str_or(doc, "metadata.name", ""), to, doc, err);
		if (!r)
			r = gateways_release(p, from, what, uid, err);
	}
	return r;
}

static int instruct_all(struct plane *p, const char *to, const char *what, const json_t *docs, struct pcg_error *err)
{
	json_t *doc;
	size_t i;
	int r = 0;

	json_array_foreach((json_t *)(uintptr_t)docs, i, doc)
		if (!r && !json_object_get(doc, "deletedAt"))
			r = gateways_instruct(p, to, what, json_str_or(doc, "uid", ""), err);
	return r;
}

/* Clusters leave before the accounts that they use, and arrive after them. */
static int move_all(struct plane *p, const char *from, const char *to, struct pcg_error *err)
{
	AUTO_JSON json_t *clusters = NULL;
	AUTO_JSON json_t *accounts = NULL;
	int r = move_rows(p, ROWS_CLUSTER, "cluster", from, to, &clusters, err);

	if (!r)
		r = move_rows(p, ROWS_ACCOUNT, "account", from, to, &accounts, err);
	if (!r)
		r = instruct_all(p, to, "account", accounts, err);
	return r ? r : instruct_all(p, to, "cluster", clusters, err);
}

static int migrate(struct api_call *c, struct pcg_error *err)
{
	const char *from = json_str_or(c->body, "sourceUid", ""), *to = json_str_or(c->body, "targetUid", "");
	AUTO_JSON json_t *source = NULL;
	AUTO_JSON json_t *target = NULL;
	AUTO_JSON json_t *forward = json_pack("{s:s}", "target", to);
	char why[256];
	int r;

	if (!*from || !*to || strcmp(from, to) == 0)
		return api_refuse(c, 400, "InvalidRequest", "sourceUid and targetUid must be two gateways");
	r = load(c, from, &source, err);
	if (!r)
		r = load(c, to, &target, err);
	if (r)
		return r;
	r = ip_pools_collide(c->p, from, to, why, err);
	if (r == 1)
		return api_refuse(c, 409, "IPPoolOverlap", "%s: change or remove one of the two, then migrate", why);
	if (!r)
		r = addresses_migrate(c->p, from, to, err);
	if (!r)
		r = dns_mappings_migrate(c->p, from, to, err);
	if (!r)
		r = move_all(c->p, from, to, err);
	if (!r)
		r = rows_put(c->p, ROWS_FORWARD, from, "", to, forward, err);
	return r ? r : api_no_content(c);
}

static int pairing_code(struct api_call *c, struct pcg_error *err)
{
	const char *overlord = api_query(c, "overlordUid");
	AUTO_JSON json_t *doc = NULL;
	char code[32];
	int r = overlord ? load(c, overlord, &doc, err) : 0;

	if (!r)
		r = gateways_pairing_new(c->p, overlord, api_query(c, "cloudType"), api_query(c, "name"), code,
					 err);
	return r ? r : api_reply(c, 200, json_pack("{s:s,s:I}", "pairingCode", code, "expiresInSeconds",
						   (json_int_t)c->p->opt.pairing_life_s));
}

/* 0: good, else refused. */
static int check_code(struct api_call *c, const char *code, struct pcg_error *err)
{
	const char *why;
	int r = gateways_pairing_check(c->p, code, &why, err);

	if (r < 0)
		return r;
	return r ? 0 : api_refuse(c, 400, "PairingCodeRefused", "%s", why);
}

static int manifest(struct api_call *c, struct pcg_error *err)
{
	const char *code = api_query(c, "pairingCode");
	AUTO_JSON json_t *doc = NULL;
	struct buf yaml;
	int r = check_code(c, code ? code : "", err);

	if (r)
		return r;
	doc = json_pack("{s:s,s:s,s:{s:s,s:s},s:{s:s,s:s,s:s}}", "apiVersion", "v1", "kind", "Secret",
			"metadata", "name", "overlord-config", "namespace", "jet-system", "stringData",
			"pairingCode", code, "planeUrl", c->p->url, "planeCa", c->p->ca_pem);
	buf_init_secret(&yaml, 65536);
	r = yaml_dump(doc, &yaml, err);
	if (!r)
		api_reply(c, 200, json_pack("{s:s}", "manifest", yaml.data));
	buf_free(&yaml);
	return r;
}

static int self_hosted(struct api_call *c, struct pcg_error *err)
{
	const char *name = json_str(c->body, "name"), *cloud = json_str(c->body, "cloudType");
	AUTO_JSON json_t *doc = NULL;
	AUTO_JSON json_t *other = NULL;
	json_t *metadata, *given;
	char uid[25], pair[96];
	int r;

	if (!name || !*name || !cloud || !*cloud)
		return api_refuse(c, 400, "InvalidRequest", "name and cloudType are needed");
	r = rows_find(c->p, ROWS_OVERLORD, name, &other, err);
	if (r < 0)
		return r;
	if (r)
		return api_refuse(c, 409, "ResourceAlreadyExists", "a gateway named '%.64s' exists", name);
	id_hex24(uid);
	given = json_pack("{s:s}", "name", name);
	metadata = api_metadata(c, given, uid);
	json_decref(given);
	doc = json_pack("{s:s,s:s,s:b,s:o}", "uid", uid, "kind", cloud, "isSelfHosted", 1, "metadata", metadata);
	r = save(c, doc, err);
	if (r)
		return r;
	snprintf(pair, sizeof(pair), "pcg-planectl pair --overlord %s > pairing-code", uid);
	return api_reply(c, 200, json_pack("{s:s,s:[s,s]}", "overlordUid", uid, "kubectlCommands", pair,
					   "pcgd --pair pairing-code"));
}

static int pcg_register(struct api_call *c, struct pcg_error *err)
{
	const char *code = json_str_or(c->body, "pairingCode", "");
	AUTO_JSON json_t *doc = NULL;
	int r = load(c, c->param[0], &doc, err);

	if (!r)
		r = check_code(c, code, err);
	if (!r)
		r = gateways_pairing_bind(c->p, code, c->param[0], err);
	return r ? r : api_no_content(c);
}

const struct api_route api_overlord_routes[] = {
	{ "GET", "/v1/overlords", list, 0 },
	{ "GET", "/v1/overlords/pairing/code", pairing_code, API_CHANGES },
	{ "POST", "/v1/overlords/migrate", migrate, API_CHANGES | API_BODY },
	{ "GET", "/v1/overlords/{}/manifest", manifest, 0 },
	{ "PUT", "/v1/overlords/{}/metadata", update_metadata, API_CHANGES | API_BODY },
	{ "PUT", "/v1/overlords/{}/reset", reset, API_CHANGES },
	{ "GET", "/v1/overlords/{}", get, 0 },
	{ "DELETE", "/v1/overlords/{}", delete, API_CHANGES },
	{ "POST", "/v1/pcg/selfHosted", self_hosted, API_CHANGES | API_BODY },
	{ "POST", "/v1/pcg/{}/register", pcg_register, API_CHANGES | API_BODY },
	{ NULL, NULL, NULL, 0 },
};
