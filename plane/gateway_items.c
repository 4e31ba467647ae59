/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/gateways_impl.h"

#include "core/clock.h"
#include "core/log.h"
#include "plane/clusters.h"
#include "plane/document.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

#define ITEMS_MAX 64
#define BYTES_MAX (4u << 20)
/* A document and what its gateway reported for it: both are limited where they come in. With the queries that an answer may
 * have it is less than a gateway takes. */
#define ITEM_MAX (14u << 20)

struct item {
	int64_t seq;
	char kind[16], uid[64];
	bool released;
};

static int load_items(struct plane *p, const char *gateway, int64_t after, int limit,
		      struct item **out, size_t *n, struct pcg_error *err)
{
	struct item *items = NULL;
	size_t count = 0, cap = 0;
	sqlite3_stmt *st;
	int r = db_prepare(p->db,
			   "SELECT seq, kind, uid, released FROM instructions WHERE gateway=? AND seq>?"
			   " ORDER BY seq LIMIT ?",
			   &st, err);

	if (!r)
		r = db_bind(p->db, st, err, "sii", gateway, after, (int64_t)limit);
	if (r)
		return r;
	while ((r = sqlite3_step(st)) == SQLITE_ROW) {
		if (count == cap) {
			cap = cap ? cap * 2 : 64;
			items = realloc(items, cap * sizeof(*items));
			if (!items)
				abort();
		}
		items[count].seq = sqlite3_column_int64(st, 0);
		snprintf(items[count].kind, sizeof(items->kind), "%s", sqlite3_column_text(st, 1));
		snprintf(items[count].uid, sizeof(items->uid), "%s", sqlite3_column_text(st, 2));
		items[count++].released = sqlite3_column_int(st, 3) != 0;
	}
	if (r != SQLITE_DONE) {
		free(items);
		return db_fail(p->db, err, "reading instructions");
	}
	sqlite3_reset(st);
	*out = items;
	*n = count;
	return 0;
}

/* What the gateway needs to take the cluster over comes with it, as last reported. */
static int cluster_document(struct plane *p, const char *uid, json_t **doc, struct pcg_error *err)
{
	AUTO_JSON json_t *status = NULL;
	json_t *recovery = NULL;
	int r = rows_get(p, ROWS_DOCUMENT, uid, doc, err);

	if (r <= 0)
		return r;
	r = rows_secret_get_json(p, uid, "recovery", &recovery, err);
	if (r < 0)
		return r;
	json_object_set_new(*doc, "recovery", recovery ? recovery : json_null());
	r = rows_get(p, ROWS_STATUS, uid, &status, err);
	if (r < 0)
		return r;
	json_object_set_new(*doc, "hasKubeConfig", json_boolean(json_bool_or(status, "hasKubeConfig", false)));
	json_put_str(*doc, "planeUrl", p->url);
	json_put_str(*doc, "planeCa", p->ca_pem);
	return 0;
}

static int account_document(struct plane *p, const char *uid, json_t **doc, struct pcg_error *err)
{
	AUTO_JSON json_t *account = NULL;
	json_t *spec = NULL;
	int r = rows_get(p, ROWS_ACCOUNT, uid, &account, err);

	if (r <= 0)
		return r;
	r = rows_secret_get_json(p, uid, "spec", &spec, err);
	if (r < 0)
		return r;
	*doc = json_pack("{s:s,s:s,s:s,s:I,s:o}", "uid", uid, "name",
			 json_str_or(account, "metadata.name", ""), "provider",
			 json_str_or(account, "kind", ""), "generation",
			 (json_int_t)json_int_or(account, "generation", 1), "spec",
			 spec ? spec : json_object());
	if (json_is_object(json_object_get(spec, "settings")))
		json_object_set(*doc, "settings", json_object_get(spec, "settings"));
	return 0;
}

static int item_document(struct plane *p, const struct item *it, json_t **doc, struct pcg_error *err)
{
	*doc = NULL;
	if (it->released)
		return 0;
	if (strcmp(it->kind, "cluster") == 0)
		return cluster_document(p, it->uid, doc, err);
	return account_document(p, it->uid, doc, err);
}

/* What nests deeper than a body may is from before there was a limit. Nobody reads anything there, and the whole answer would be
 * refused for it. */
static bool cut_below(json_t *j, int levels)
{
	const char *key;
	json_t *child;
	size_t i;

	if (!json_is_object(j) && !json_is_array(j))
		return false;
	if (levels == 0)
		return true;
	json_object_foreach(j, key, child)
		if (cut_below(child, levels - 1))
			json_object_set_new(j, key, json_null());
	json_array_foreach(j, i, child)
		if (cut_below(child, levels - 1))
			json_array_set_new(j, i, json_null());
	return false;
}

/* One that no answer can carry must not hold up the others: it is left out until it changes, and its cluster says so. */
static int leave_out(struct plane *p, const char *gateway, const struct item *it, size_t bytes, struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	int r = db_exec(p->db, err, "DELETE FROM instructions WHERE gateway=? AND kind=? AND uid=?", "sss", gateway, it->kind,
			it->uid);

	log_warn("instruction_too_large", LS("gateway", gateway), LS("kind", it->kind), LS("uid", it->uid), LI("bytes", bytes),
		 LI("allowed", ITEM_MAX), LS("remedy", "make the profiles of the cluster, or the account, smaller"));
	if (!r && strcmp(it->kind, "cluster") == 0)
		r = rows_get(p, ROWS_CLUSTER, it->uid, &cluster, err);
	if (r <= 0)
		return r;
	if (!json_is_array(json_object_get(cluster, "problems")))
		json_object_set_new(cluster, "problems", json_array());
	document_problem(json_object_get(cluster, "problems"), CLUSTERS_UNSENDABLE,
			 "make the manifests and values of its profiles, or the request, smaller",
			 "its gateway is not told of it: that has %zu bytes, allowed are %u", bytes, ITEM_MAX);
	return clusters_put(p, cluster, err);
}

static json_t *item_json(const struct item *it, json_t *doc)
{
	return json_pack("{s:I,s:s,s:s,s:I,s:o}", "seq", (json_int_t)it->seq, "kind", it->kind, "uid", it->uid, "generation",
			 (json_int_t)json_int_or(doc, "generation", 0), "document", doc ? doc : json_null());
}

int gateway_items(struct plane *p, const char *gateway, int64_t *cursor, json_t **out,
		  struct pcg_error *err)
{
	AUTO_FREE struct item *items = NULL;
	json_t *list = json_array();
	size_t n = 0, bytes = 0;
	int r = load_items(p, gateway, *cursor, ITEMS_MAX, &items, &n, err);

	for (size_t i = 0; !r && i < n; i++) {
		json_t *doc = NULL;
		size_t size;

		r = item_document(p, &items[i], &doc, err);
		cut_below(doc, PLANE_DEPTH_MAX);
		size = json_dumpb(doc ? doc : json_null(), NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
		if (!r && size > ITEM_MAX) {
			r = leave_out(p, gateway, &items[i], size, err);
			json_wipe(doc);
			continue;
		}
		if (r || (bytes && bytes + size > BYTES_MAX)) {
			json_wipe(doc);
			break;
		}
		bytes += size;
		json_add(list, item_json(&items[i], doc));
		*cursor = items[i].seq;
	}
	if (r) {
		json_wipe(list);
		return r;
	}
	*out = list;
	return 0;
}

/* Above whatever the lost database had counted to. */
void gateway_raise(json_t *doc)
{
	int64_t next = json_int_or(doc, "generation", 0) + 1, now_s = clock_wall_ms() / 1000;

	json_object_set_new(doc, "generation", json_integer(next < now_s ? now_s : next));
}

static int raise_generation(struct plane *p, const char *kind, const char *uid, struct pcg_error *err)
{
	bool cluster = strcmp(kind, "cluster") == 0;
	AUTO_JSON json_t *doc = NULL;
	int r = rows_get(p, cluster ? ROWS_DOCUMENT : ROWS_ACCOUNT, uid, &doc, err);

	if (r <= 0)
		return r;
	gateway_raise(doc);
	if (cluster)
		return rows_put(p, ROWS_DOCUMENT, uid, "", "", doc, err);
	return rows_put(p, ROWS_ACCOUNT, uid, json_str_or(doc, "metadata.name", ""),
			json_str_or(doc, "overlord", ""), doc, err);
}

int gateway_resequence(struct plane *p, const char *gateway, bool raised, struct pcg_error *err)
{
	AUTO_FREE struct item *items = NULL;
	size_t n = 0;
	int r = load_items(p, gateway, 0, 1 << 30, &items, &n, err);

	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; !r && i < n; i++) {
			bool cluster = strcmp(items[i].kind, "cluster") == 0;

			if (cluster != (pass == 1) || items[i].released)
				continue;
			if (raised)
				r = raise_generation(p, items[i].kind, items[i].uid, err);
			if (!r)
				r = gateways_instruct(p, gateway, items[i].kind, items[i].uid, err);
		}
	return r;
}
