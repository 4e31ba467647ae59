/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/addresses.h"

#include "core/fault.h"
#include "plane/api.h"
#include "plane/rows.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int addresses_of_pool(struct plane *p, const char *pool, json_t **rows, struct pcg_error *err)
{
	return rows_named(p, ROWS_ADDRESS, pool, rows, err);
}

/* ---- what is taken ---- */

static int by_address(const void *a, const void *b)
{
	return ip_compare(a, b);
}

static void take(struct addresses_taken *t, size_t *cap, const char *text)
{
	struct ip ip;

	if (!ip_parse(text, &ip))
		return;
	if (t->n == *cap) {
		*cap = *cap ? *cap * 2 : 64;
		t->v = realloc(t->v, *cap * sizeof(*t->v));
		assert(t->v);
	}
	t->v[t->n++] = ip;
}

/* Keys "GATEWAY/ADDRESS" of one column; those of a gateway stand together in its index. */
static int take_keys(struct plane *p, const char *sql, const char *kind, const char *gateway,
		     struct addresses_taken *t, size_t *cap, struct pcg_error *err)
{
	sqlite3_stmt *st;
	char from[96], to[96];
	int r = db_prepare(p->db, sql, &st, err);

	snprintf(from, sizeof(from), "%s/", gateway);
	snprintf(to, sizeof(to), "%s0", gateway); /* '0' comes after '/' */
	if (!r)
		r = db_bind(p->db, st, err, "sss", kind, from, to);
	if (r)
		return r;
	while ((r = sqlite3_step(st)) == SQLITE_ROW)
		take(t, cap, (const char *)sqlite3_column_text(st, 0) + strlen(from));
	if (r != SQLITE_DONE)
		return db_fail(p->db, err, "listing addresses");
	sqlite3_reset(st);
	return 0;
}

int addresses_taken(struct plane *p, const char *gateway, struct addresses_taken *out, struct pcg_error *err)
{
	size_t cap = 0;
	int r;

	memset(out, 0, sizeof(*out));
	r = take_keys(p, "SELECT uid FROM objects WHERE kind=? AND uid>=? AND uid<?", ROWS_ADDRESS, gateway, out, &cap,
		      err);
	if (!r)
		r = take_keys(p, "SELECT name FROM objects WHERE kind=? AND name>=? AND name<?", ROWS_ENDPOINT, gateway,
			      out, &cap, err);
	if (out->n)
		qsort(out->v, out->n, sizeof(*out->v), by_address);
	return r;
}

void addresses_taken_add(struct addresses_taken *t, const struct ip *ip)
{
	t->v = realloc(t->v, (t->n + 1) * sizeof(*t->v));
	assert(t->v);
	t->v[t->n++] = *ip;
	qsort(t->v, t->n, sizeof(*t->v), by_address);
}

void addresses_taken_free(struct addresses_taken *t)
{
	free(t->v);
}

/* The first that is not before ip. */
static size_t taken_from(const struct addresses_taken *t, const struct ip *ip)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (ip_compare(&t->v[mid], ip) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static uint64_t count_free(const struct addresses_taken *t, const struct ip_range *range)
{
	uint64_t n = ip_range_size(range), used = 0;

	for (size_t i = taken_from(t, &range->first); i < t->n && ip_range_holds(range, &t->v[i]); i++)
		if (ip_range_gives(range, &t->v[i]) && (!i || ip_compare(&t->v[i], &t->v[i - 1]) != 0))
			used++;
	return n == UINT64_MAX ? n : n - used;
}

uint64_t addresses_free(const struct addresses_taken *t, const struct ip_range *range, json_t *out, size_t max)
{
	uint64_t n = count_free(t, range);
	size_t at = taken_from(t, &range->first), want = n < max ? (size_t)n : max;
	struct ip ip = range->first;
	char text[IP_TEXT_SIZE];

	/* Each turn gives one, or passes one that is taken or never given: their number is the bound. */
	while (out && json_array_size(out) < want) {
		while (at < t->n && ip_compare(&t->v[at], &ip) < 0)
			at++;
		if (ip_range_gives(range, &ip) && (at == t->n || ip_compare(&t->v[at], &ip) != 0))
			json_array_append_new(out, json_string(ip_text(&ip, text)));
		if (!ip_next(&ip))
			break;
	}
	return n;
}

/* ---- the end, and other gateways ---- */

int addresses_release(struct plane *p, const char *cluster, json_t **pools, struct pcg_error *err)
{
	AUTO_JSON json_t *rows = NULL;
	json_t *row, *out = json_object();
	const char *pool;
	size_t i;
	int r = rows_list(p, ROWS_ADDRESS, cluster, &rows, err);

	*pools = json_array();
	json_array_foreach(rows, i, row) {
		char key[128];

		if (r < 0)
			break;
		snprintf(key, sizeof(key), "%s/%s", json_str_or(row, "gateway", ""), json_str_or(row, "address", ""));
		r = rows_delete(p, ROWS_ADDRESS, key, err);
		json_object_set_new(out, json_str_or(row, "pool", ""), json_true());
	}
	if (r >= 0)
		r = rows_delete(p, ROWS_ENDPOINT, cluster, err);
	if (json_array_size(rows))
		FAULT_POINT("plane.addresses_released");
	json_object_foreach(out, pool, row)
		json_array_append_new(*pools, json_string(pool));
	json_decref(out);
	return r < 0 ? r : 0;
}

static int keep(struct plane *p, json_t *row, const char *gateway, struct pcg_error *err)
{
	char key[128];

	snprintf(key, sizeof(key), "%s/%s", gateway, json_str_or(row, "address", ""));
	json_put_str(row, "gateway", gateway);
	return rows_put(p, ROWS_ADDRESS, key, json_str_or(row, "pool", ""), json_str_or(row, "cluster", ""), row, err);
}

int addresses_keep(struct plane *p, const struct addresses_row *a, struct pcg_error *err)
{
	AUTO_JSON json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:s}", "pool", a->pool, "cluster", a->cluster, "address",
					  a->address, "role", a->role, "object", a->object);

	return keep(p, row, a->gateway, err);
}

int addresses_holder(struct plane *p, const char *gateway, const char *address, json_t **row, struct pcg_error *err)
{
	char key[128];

	snprintf(key, sizeof(key), "%s/%s", gateway, address);
	return rows_get(p, ROWS_ADDRESS, key, row, err);
}

int addresses_found(struct plane *p, const char *gateway, const char *cluster, const json_t *doc, char *taken,
		    struct pcg_error *err)
{
	json_t *pool, *a;
	size_t i, k;
	int r = 0;

	*taken = '\0';
	json_array_foreach(json_object_get(doc, "addressPools"), i, pool)
		json_array_foreach(json_object_get(pool, "addresses"), k, a) {
			struct addresses_row row = { .gateway = gateway, .cluster = cluster, .role = "node",
						     .pool = json_str_or(pool, "uid", ""),
						     .object = json_str_or(pool, "object", ""),
						     .address = json_is_string(a) ? json_string_value(a) : "" };
			AUTO_JSON json_t *other = NULL;
			struct ip ip;

			if (r < 0 || !ip_parse(row.address, &ip))
				continue;
			r = addresses_holder(p, gateway, row.address, &other, err);
			if (r > 0 && !*taken && strcmp(json_str_or(other, "cluster", ""), cluster) != 0)
				snprintf(taken, 128, "%s, which cluster %.64s has", row.address,
					 json_str_or(other, "cluster", ""));
			if (r == 0)
				r = addresses_keep(p, &row, err);
		}
	return r < 0 ? r : addresses_keep_endpoint(p, gateway, cluster, json_str(doc, "controlPlaneEndpoint.host"), err);
}

int addresses_keep_endpoint(struct plane *p, const char *gateway, const char *cluster, const char *host,
			    struct pcg_error *err)
{
	AUTO_JSON json_t *doc = json_pack("{s:s}", "cluster", cluster);
	char key[128], text[IP_TEXT_SIZE];
	struct ip ip;
	int r;

	if (!ip_parse(host, &ip)) {
		r = rows_delete(p, ROWS_ENDPOINT, cluster, err);
		return r < 0 ? r : 0;
	}
	snprintf(key, sizeof(key), "%s/%s", gateway, ip_text(&ip, text));
	return rows_put(p, ROWS_ENDPOINT, cluster, key, "", doc, err);
}

static int move_rows(struct plane *p, const char *from, const char *to, struct pcg_error *err)
{
	AUTO_JSON json_t *rows = NULL;
	json_t *row;
	size_t i;
	int r = rows_list(p, ROWS_ADDRESS, NULL, &rows, err);

	json_array_foreach(rows, i, row) {
		char key[128];

		if (r < 0 || strcmp(json_str_or(row, "gateway", ""), from) != 0)
			continue;
		snprintf(key, sizeof(key), "%s/%s", from, json_str_or(row, "address", ""));
		r = rows_delete(p, ROWS_ADDRESS, key, err);
		if (r >= 0)
			r = keep(p, row, to, err);
	}
	return r < 0 ? r : 0;
}

int addresses_migrate(struct plane *p, const char *from, const char *to, struct pcg_error *err)
{
	AUTO_JSON json_t *pools = NULL;
	json_t *pool;
	size_t i;
	int r = move_rows(p, from, to, err);

	if (!r)
		r = db_exec(p->db, err,
			    "UPDATE objects SET name=?2 || substr(name, length(?1) + 1) WHERE kind='" ROWS_ENDPOINT
			    "' AND name>=?1 || '/' AND name<?1 || '0'",
			    "ss", from, to);
	if (!r)
		r = rows_list(p, ROWS_POOL, from, &pools, err);
	json_array_foreach(pools, i, pool) {
		if (r)
			break;
		json_put_str(pool, "overlord", to);
		r = rows_put(p, ROWS_POOL, json_str_or(pool, "uid", ""), json_str_or(pool, "metadata.name", ""), to,
			     pool, err);
	}
	return r;
}
