/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/found.h"

#include "core/clock.h"
#include "core/id.h"
#include "core/log.h"
#include "plane/addresses.h"
#include "plane/api.h"
#include "plane/clusters.h"
#include "plane/gateways_impl.h"
#include "plane/rows.h"

#include <string.h>

#define FOUND_MAX 1000 /* of one gateway */

static bool uid_good(const char *uid)
{
	return strlen(uid) == 24 && strspn(uid, "0123456789abcdef") == 24;
}

int found_take(struct plane *p, const char *gateway, const json_t *doc, struct pcg_error *err)
{
	const char *uid = json_str_or(doc, "uid", "");
	const json_t *document = json_object_get(doc, "document"), *recovery = json_object_get(doc, "recovery");
	const char *name = json_str_or(document, "name", "");
	AUTO_JSON json_t *cluster = NULL, *status = NULL, *row = NULL, *kept = NULL, *old = NULL;
	char taken[128];
	int64_t n = 0;
	int r;

	if (!uid_good(uid) || strcmp(json_str_or(document, "uid", ""), uid) != 0 || !api_dns_label(name, 48))
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "a found cluster needs uid and document");
	r = clusters_get(p, uid, &cluster, &status, err);
	if (!r)
		r = rows_count(p, ROWS_FOUND, gateway, &n, err);
	if (r)
		return r < 0 ? r : 0;
	r = rows_get(p, ROWS_FOUND, uid, &old, err);
	if (r < 0)
		return r;
	if (r && strcmp(json_str_or(old, "overlord", ""), gateway) != 0)
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "another gateway has found cluster %s", uid);
	if (!r && n >= FOUND_MAX)
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "%d found clusters wait already", FOUND_MAX);
	row = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I}", "uid", uid, "name", name, "overlord", gateway, "cloudType",
			json_str_or(document, "cloudType", ""), "phase", json_str_or(doc, "phase", ""), "account",
			json_str_or(document, "account.name", ""), "at", (json_int_t)clock_wall_ms());
	kept = json_pack("{s:O,s:O}", "document", document, "recovery",
			 json_is_object(recovery) ? recovery : json_null());
	r = rows_put(p, ROWS_FOUND, uid, name, gateway, row, err);
	if (!r)
		r = rows_secret_put_json(p, uid, "found", kept, err);
	if (!r)
		r = addresses_found(p, gateway, uid, document, taken, err);
	if (!r && *taken)
		log_warn("address_twice", LS("gateway", gateway), LS("cluster", uid), LS("name", name),
			 LS("address", taken), LS("remedy", "delete one of the two clusters"));
	if (!r)
		log_warn("cluster_found", LS("gateway", gateway), LS("cluster", uid), LS("name", name),
			 LS("remedy", "adopt it: pcg-planectl cluster adopt UID"));
	return r;
}

int found_keep_addresses(struct plane *p, const char *gateway, struct pcg_error *err)
{
	AUTO_JSON json_t *rows = NULL;
	char taken[128];
	json_t *row;
	size_t i;
	int r = rows_list(p, ROWS_FOUND, gateway, &rows, err);

	json_array_foreach(rows, i, row) {
		const char *uid = json_str_or(row, "uid", "");
		json_t *kept = NULL;

		if (r >= 0)
			r = rows_secret_get_json(p, uid, "found", &kept, err);
		if (r > 0)
			r = addresses_found(p, gateway, uid, json_object_get(kept, "document"), taken, err);
		json_wipe(kept);
	}
	return r < 0 ? r : 0;
}

static json_t *public_found(const json_t *row)
{
	char at[CLOCK_RFC3339_SIZE];

	return json_pack("{s:{s:s,s:s,s:s,s:{s:s}},s:{s:s,s:s},s:{s:s}}", "metadata", "uid",
			 json_str_or(row, "uid", ""), "name", json_str_or(row, "name", ""), "creationTimestamp",
			 clock_rfc3339(json_int_or(row, "at", 0), at), "annotations", "overlordUid",
			 json_str_or(row, "overlord", ""), "spec", "cloudType", json_str_or(row, "cloudType", ""),
			 "cloudAccountName", json_str_or(row, "account", ""), "status", "phase",
			 json_str_or(row, "phase", ""));
}

static int list(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *rows = NULL;
	json_t *items, *row;
	size_t i;
	int r = rows_list(c->p, ROWS_FOUND, NULL, &rows, err);

	if (r)
		return r;
	items = json_array();
	json_array_foreach(rows, i, row)
		json_array_append_new(items, public_found(row));
	return api_items(c, items);
}

/* The account that it shall have: the one that it had, or the one that is named. */
static int check_account(struct api_call *c, const json_t *document, json_t **account, struct pcg_error *err)
{
	const char *given = json_str(c->body, "cloudAccountUid");
	const char *uid = given ? given : json_str_or(document, "account.uid", "");
	int r = rows_get(c->p, ROWS_ACCOUNT, uid, account, err);

	if (r < 0)
		return r;
	if (r == 0)
		return api_refuse(c, 409, "AccountUnknown",
				  "cloud account %.64s (%.64s) does not exist here: add it, and adopt the cluster with "
				  "cloudAccountUid (pcg-planectl cluster adopt UID --account NAME)",
				  uid, json_str_or(document, "account.name", ""));
	if (strcmp(json_str_or(*account, "kind", ""), json_str_or(document, "cloudType", "")) != 0)
		return api_refuse(c, 409, "AccountUnknown", "account %.64s is one of %s, not of %s", uid,
				  json_str_or(*account, "kind", ""), json_str_or(document, "cloudType", ""));
	return 0;
}

static int check_name(struct api_call *c, const char *name, struct pcg_error *err)
{
	AUTO_JSON json_t *other = NULL;
	int r = rows_find(c->p, ROWS_CLUSTER, name, &other, err);

	if (r <= 0 || json_object_get(other, "deletedAt"))
		return r < 0 ? r : 0;
	return api_refuse(c, 409, "ResourceAlreadyExists",
			  "a cluster named '%s' exists (%s): delete that one first", name,
			  json_str_or(other, "uid", ""));
}

static json_t *cluster_row(struct api_call *c, const json_t *row, const json_t *document, const json_t *account,
			   const char *cfg)
{
	const char *uid = json_str_or(row, "uid", ""), *name = json_str_or(row, "name", "");
	const json_t *request = json_object_get(document, "request");
	AUTO_JSON json_t *given = json_pack("{s:s}", "name", name);
	json_t *cluster = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:O,s:O?,s:s}", "uid", uid, "cfg", cfg,
				    "name", name, "cloudType", json_str_or(document, "cloudType", ""), "overlord",
				    json_str_or(row, "overlord", ""), "account", json_str_or(account, "uid", ""),
				    "desired", "present", "metadata", api_metadata(c, given, uid), "spec",
				    json_is_object(request) ? json_deep_copy(request) : json_object(), "generation",
				    json_object_get(document, "generation"), "problems",
				    json_object_get(document, "problems"), "kubernetesVersion",
				    json_str_or(document, "kubernetesVersion", ""));

	json_put_str(cluster, "spec.cloudAccountUid", json_str(account, "uid"));
	json_put_str(cluster, "metadata.annotations.overlordUid", json_str(row, "overlord"));
	json_put_str(cluster, "metadata.annotations.cloudAccountUid", json_str(account, "uid"));
	return cluster;
}

/* The document stays the one that it was built from; only its number is new, so that its gateway takes it. */
static int put_adopted(struct api_call *c, const json_t *row, json_t *document, const json_t *recovery,
		       const json_t *account, struct pcg_error *err)
{
	const char *uid = json_str_or(row, "uid", ""), *name = json_str_or(row, "name", "");
	const char *overlord = json_str_or(row, "overlord", "");
	AUTO_JSON json_t *cluster = NULL, *link = json_pack("{s:s}", "cluster", uid);
	AUTO_JSON json_t *status = json_pack("{s:s}", "phase", json_str_or(row, "phase", "Pending"));
	char cfg[25], now[CLOCK_RFC3339_SIZE];
	int r;

	id_hex24(cfg);
	gateway_raise(document);
	json_put_str(document, "desired", "present");
	json_object_set_new(document, "account",
			    json_pack("{s:s,s:s,s:I}", "uid", json_str_or(account, "uid", ""), "name",
				      json_str_or(account, "metadata.name", ""), "generation",
				      (json_int_t)json_int_or(account, "generation", 1)));
	cluster = cluster_row(c, row, document, account, cfg);
	r = clusters_put(c->p, cluster, err);
	if (!r)
		r = rows_put(c->p, ROWS_CLOUDCONFIG, cfg, name, uid, link, err);
	if (!r)
		r = rows_put(c->p, ROWS_DOCUMENT, uid, "", "", document, err);
	if (!r)
		r = rows_put(c->p, ROWS_STATUS, uid, "", "", status, err);
	if (!r && json_is_object(recovery))
		r = rows_secret_put_json(c->p, uid, "recovery", recovery, err);
	if (!r)
		r = gateways_instruct(c->p, overlord, "cluster", uid, err);
	return r ? r : clusters_event(c->p, cluster, clock_rfc3339(clock_wall_ms(), now), "Normal", "Adopted",
				      "The cluster was adopted from its gateway", "plane", "", err);
}

static int adopt(struct api_call *c, struct pcg_error *err)
{
	const char *uid = c->param[0];
	AUTO_JSON json_t *row = NULL, *account = NULL, *overlord = NULL;
	json_t *kept = NULL;
	char taken[128];
	int r = rows_get(c->p, ROWS_FOUND, uid, &row, err);

	if (r == 1)
		r = rows_secret_get_json(c->p, uid, "found", &kept, err);
	if (r <= 0)
		return r ? r : api_not_found(c, "found cluster", uid);
	r = rows_get(c->p, ROWS_OVERLORD, json_str_or(row, "overlord", ""), &overlord, err);
	if (r >= 0)
		r = r ? check_name(c, json_str_or(row, "name", ""), err) :
			api_refuse(c, 409, "GatewayUnknown", "the gateway that found it is not there any longer");
	if (!r)
		r = check_account(c, json_object_get(kept, "document"), &account, err);
	if (!r)
		r = addresses_found(c->p, json_str_or(row, "overlord", ""), uid, json_object_get(kept, "document"), taken,
				    err);
	if (!r && *taken)
		r = api_refuse(c, 409, "AddressTaken", "the cluster has the address %s: delete that one first", taken);
	if (!r)
		r = put_adopted(c, row, json_object_get(kept, "document"), json_object_get(kept, "recovery"),
				account, err);
	json_wipe(kept);
	if (r)
		return r;
	r = rows_delete(c->p, ROWS_FOUND, uid, err);
	if (r >= 0)
		r = rows_secret_delete(c->p, uid, "found", err);
	if (r < 0)
		return r;
	log_info("cluster_adopted", LS("cluster", uid), LS("name", json_str_or(row, "name", "")));
	return api_no_content(c);
}

const struct api_route api_found_routes[] = {
	{ "GET", "/v1/pcg/clusters/found", list, 0 },
	{ "POST", "/v1/pcg/clusters/found/{}/adopt", adopt, API_CHANGES },
	{ NULL, NULL, NULL, 0 },
};
