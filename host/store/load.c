/* SPDX-License-Identifier: Apache-2.0 */
/* Reading all of the store, once, at start. */
#include "config.h"

#include "host/store/batch.h"

#include "core/attr.h"

#include <stdio.h>
#include <string.h>

static const char *text(sqlite3_stmt *st, int i)
{
	return (const char *)sqlite3_column_text(st, i);
}

static json_t *json_column(sqlite3_stmt *st, int i)
{
	const char *s = text(st, i);

	return s ? json_loads(s, 0, NULL) : NULL;
}

static int open_column(struct store *s, sqlite3_stmt *st, int i, const char *table, const char *row,
		       const char *column, struct secret **out, struct pcg_error *err)
{
	AUTO_FREE char *aad = NULL;
	int r;

	*out = NULL;
	if (sqlite3_column_type(st, i) == SQLITE_NULL)
		return 0;
	aad = batch_aad(table, row, column);
	r = secret_open(store_key(s), aad, sqlite3_column_blob(st, i),
			(size_t)sqlite3_column_bytes(st, i), out, err);
	return r ? pcg_fail_prefix(err, "reading %s of %s %s in the store", column, table, row) : 0;
}

static int json_sealed(struct store *s, sqlite3_stmt *st, int i, const char *table, const char *row,
		       const char *column, json_t **out, struct pcg_error *err)
{
	struct secret *plain;
	int r = open_column(s, st, i, table, row, column, &plain, err);

	*out = NULL;
	if (r || !plain)
		return r;
	r = json_parse(secret_data(plain), secret_len(plain), table, out, err);
	secret_unref(plain);
	return r;
}

static int load_meta(struct store *s, sqlite3_stmt *st, const struct store_loader *l,
		     struct pcg_error *err)
{
	l->meta(l->arg, text(st, 0), text(st, 1));
	return 0;
}

static int load_account(struct store *s, sqlite3_stmt *st, const struct store_loader *l,
			struct pcg_error *err)
{
	json_t *doc;
	int r = json_sealed(s, st, 1, "accounts", text(st, 0), "document", &doc, err);

	if (!r && doc)
		l->account(l->arg, doc);
	json_decref(doc);
	return r;
}

static int load_secret(struct store *s, sqlite3_stmt *st, const struct store_loader *l,
		       struct pcg_error *err)
{
	AUTO_FREE char *row = NULL;
	struct secret *value;
	int r;

	if (asprintf(&row, "%s/%s", text(st, 0), text(st, 1)) < 0)
		abort();
	r = open_column(s, st, 2, "secrets", row, "value", &value, err);
	if (!r && value)
		l->secret(l->arg, text(st, 0), text(st, 1), value);
	secret_unref(value);
	return r;
}

static int load_cluster(struct store *s, sqlite3_stmt *st, const struct store_loader *l,
			struct pcg_error *err)
{
	struct store_cluster_row row = {
		.uid = text(st, 0),
		.name = text(st, 1),
		.tenant = text(st, 2),
		.project = text(st, 3),
		.account = text(st, 4),
		.phase = text(st, 5),
		.task = text(st, 6),
		.desired = text(st, 7),
		.generation = sqlite3_column_int64(st, 8),
		.epoch = sqlite3_column_int64(st, 9),
		.state = json_column(st, 10),
	};
	int r = json_sealed(s, st, 11, "clusters", row.uid, "spec", &row.spec, err);

	if (!r)
		r = json_sealed(s, st, 12, "clusters", row.uid, "recovery", &row.recovery, err);
	if (!r)
		l->cluster(l->arg, &row);
	json_decref(row.state);
	json_decref(row.spec);
	json_decref(row.recovery);
	return r;
}

static int load_machine(struct store *s, sqlite3_stmt *st, const struct store_loader *l,
			struct pcg_error *err)
{
	struct store_machine_row row = {
		.uid = text(st, 0),
		.cluster = text(st, 1),
		.name = text(st, 2),
		.pool = text(st, 3),
		.role = text(st, 4),
		.state = text(st, 5),
		.op = text(st, 6),
		.observed = json_column(st, 7),
		.checkpoint = json_column(st, 8),
	};

	l->machine(l->arg, &row);
	json_decref(row.observed);
	json_decref(row.checkpoint);
	return 0;
}

static int load_report(struct store *s, sqlite3_stmt *st, const struct store_loader *l,
		       struct pcg_error *err)
{
	json_t *doc;
	int r = json_sealed(s, st, 3, "reports", text(st, 0), "document", &doc, err);

	if (!r && doc)
		l->report(l->arg, sqlite3_column_int64(st, 0), text(st, 1), text(st, 2), doc);
	json_decref(doc);
	return r;
}

static const struct {
	const char *sql;
	int (*row)(struct store *s, sqlite3_stmt *st, const struct store_loader *l,
		   struct pcg_error *err);
} tables[] = {
	{ "SELECT key, value FROM meta", load_meta },
	{ "SELECT uid, document FROM accounts", load_account },
	{ "SELECT account, name, value FROM secrets", load_secret },
	{ "SELECT uid, name, tenant, project, account, phase, task, desired, generation, epoch,"
	  " state, spec, recovery FROM clusters ORDER BY rowid",
	  load_cluster },
	{ "SELECT uid, cluster, name, pool, role, state, op, observed, checkpoint FROM machines",
	  load_machine },
	{ "SELECT seq, kind, key, document FROM reports ORDER BY seq", load_report },
};

static bool wanted(const struct store_loader *l, size_t table)
{
	const bool by_table[ARRAY_LEN(tables)] = { l->meta,    l->account, l->secret,
						   l->cluster, l->machine, l->report };

	return by_table[table];
}

int store_load(struct store *s, const struct store_loader *l, struct pcg_error *err)
{
	struct db *db = store_db(s);

	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		sqlite3_stmt *st;
		int r, step = SQLITE_DONE;

		if (!wanted(l, i))
			continue;
		r = db_prepare(db, tables[i].sql, &st, err);

		while (!r && (step = sqlite3_step(st)) == SQLITE_ROW)
			r = tables[i].row(s, st, l, err);
		if (!r && step != SQLITE_DONE)
			r = db_fail(db, err, tables[i].sql);
		if (r)
			return r;
		sqlite3_reset(st);
	}
	return 0;
}
