/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/rows.h"

#include "core/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define EVENTS_KEPT 1000 /* for each cluster */

const char rows_schema[] =
	"CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL);"
	"CREATE TABLE objects(n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, uid TEXT NOT NULL,"
	" name TEXT NOT NULL, parent TEXT NOT NULL, doc TEXT NOT NULL, UNIQUE(kind, uid));"
	"CREATE INDEX objects_name ON objects(kind, name);"
	"CREATE INDEX objects_parent ON objects(kind, parent);"
	"CREATE TABLE secrets(uid TEXT NOT NULL, what TEXT NOT NULL, sealed BLOB NOT NULL,"
	" PRIMARY KEY(uid, what));"
	"CREATE TABLE events(n INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, hash TEXT NOT NULL,"
	" doc TEXT NOT NULL, UNIQUE(cluster, hash));"
	"CREATE TABLE pairing(hash TEXT PRIMARY KEY, overlord TEXT, cloud_type TEXT, name TEXT,"
	" expires_ms INTEGER NOT NULL, used_key TEXT, gateway TEXT);"
	"CREATE TABLE gateways(uid TEXT PRIMARY KEY, serial TEXT, next_serial TEXT,"
	" acked INTEGER NOT NULL DEFAULT 0, sent INTEGER NOT NULL DEFAULT 0,"
	" contact_ms INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE instructions(seq INTEGER PRIMARY KEY, gateway TEXT NOT NULL, kind TEXT NOT NULL,"
	" uid TEXT NOT NULL, released INTEGER NOT NULL DEFAULT 0, UNIQUE(gateway, kind, uid));";

int rows_put(struct plane *p, const char *kind, const char *uid, const char *name, const char *parent,
	     const json_t *doc, struct pcg_error *err)
{
	AUTO_FREE char *text = json_text(doc);

	return db_exec(p->db, err,
		       "INSERT INTO objects(kind, uid, name, parent, doc) VALUES(?,?,?,?,?)"
		       " ON CONFLICT(kind, uid) DO UPDATE SET name=excluded.name,"
		       " parent=excluded.parent, doc=excluded.doc",
		       "sssss", kind, uid, name ? name : "", parent ? parent : "", text);
}

static int parse_column(struct plane *p, sqlite3_stmt *st, int col, json_t **doc, struct pcg_error *err)
{
	const char *text = (const char *)sqlite3_column_text(st, col);

	if (!text)
		return db_fail(p->db, err, "reading a row");
	return json_parse(text, strlen(text), "a row of the plane's database", doc, err);
}

/* 1 with the first row's document, 0 without a row. */
static int one_doc(struct plane *p, sqlite3_stmt *st, json_t **doc, struct pcg_error *err)
{
	int r = sqlite3_step(st);

	*doc = NULL;
	if (r == SQLITE_ROW) {
		r = parse_column(p, st, 0, doc, err);
		sqlite3_reset(st);
		return r ? r : 1;
	}
	if (r != SQLITE_DONE)
		return db_fail(p->db, err, "reading a row");
	sqlite3_reset(st);
	return 0;
}

static int many_docs(struct plane *p, sqlite3_stmt *st, json_t **docs, struct pcg_error *err)
{
	AUTO_JSON json_t *out = json_array();
	int r;

	while ((r = sqlite3_step(st)) == SQLITE_ROW) {
		json_t *doc = NULL;

		r = parse_column(p, st, 0, &doc, err);
		if (r) {
			sqlite3_reset(st);
			return r;
		}
		json_array_append_new(out, doc);
	}
	if (r != SQLITE_DONE)
		return db_fail(p->db, err, "listing rows");
	sqlite3_reset(st);
	*docs = TAKE(out);
	return 0;
}

int rows_get(struct plane *p, const char *kind, const char *uid, json_t **doc, struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r;

	*doc = NULL;
	r = db_prepare(p->db, "SELECT doc FROM objects WHERE kind=? AND uid=?", &st, err);
	if (!r)
		r = db_bind(p->db, st, err, "ss", kind, uid);
	return r ? r : one_doc(p, st, doc, err);
}

int rows_find(struct plane *p, const char *kind, const char *name, json_t **doc, struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r;

	*doc = NULL;
	r = db_prepare(p->db, "SELECT doc FROM objects WHERE kind=? AND name=? ORDER BY n DESC LIMIT 1",
		       &st, err);
	if (!r)
		r = db_bind(p->db, st, err, "ss", kind, name);
	return r ? r : one_doc(p, st, doc, err);
}

int rows_list(struct plane *p, const char *kind, const char *parent, json_t **docs,
	      struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r;

	*docs = NULL;
	if (parent) {
		r = db_prepare(p->db, "SELECT doc FROM objects WHERE kind=? AND parent=? ORDER BY n", &st,
			       err);
		if (!r)
			r = db_bind(p->db, st, err, "ss", kind, parent);
	} else {
		r = db_prepare(p->db, "SELECT doc FROM objects WHERE kind=? ORDER BY n", &st, err);
		if (!r)
			r = db_bind(p->db, st, err, "s", kind);
	}
	return r ? r : many_docs(p, st, docs, err);
}

int rows_named(struct plane *p, const char *kind, const char *name, json_t **docs, struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r = db_prepare(p->db, "SELECT doc FROM objects WHERE kind=? AND name=? ORDER BY n", &st, err);

	*docs = NULL;
	if (!r)
		r = db_bind(p->db, st, err, "ss", kind, name);
	return r ? r : many_docs(p, st, docs, err);
}

int rows_count(struct plane *p, const char *kind, const char *parent, int64_t *n,
	       struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r = db_prepare(p->db,
			   "SELECT count(*) FROM objects WHERE kind=?1 AND (?2 IS NULL OR parent=?2)", &st,
			   err);

	if (!r)
		r = db_bind(p->db, st, err, "ss", kind, parent);
	if (r)
		return r;
	if (sqlite3_step(st) != SQLITE_ROW)
		return db_fail(p->db, err, "counting rows");
	*n = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return 0;
}

int rows_delete(struct plane *p, const char *kind, const char *uid, struct pcg_error *err)
{
	int r = db_exec(p->db, err, "DELETE FROM objects WHERE kind=? AND uid=?", "ss", kind, uid);

	return r ? r : sqlite3_changes(db_handle(p->db)) > 0;
}

static void aad_of(const char *uid, const char *what, char *out, size_t size)
{
	snprintf(out, size, "pcg-plane/1/%s/%s", uid, what);
}

int rows_secret_put(struct plane *p, const char *uid, const char *what, const void *data, size_t len,
		    struct pcg_error *err)
{
	AUTO_FREE uint8_t *sealed = NULL;
	size_t sealed_len = 0;
	char aad[256];
	int r;

	aad_of(uid, what, aad, sizeof(aad));
	r = secret_seal(p->key, aad, data, len, &sealed, &sealed_len, err);
	if (r)
		return r;
	return db_exec(p->db, err,
		       "INSERT INTO secrets(uid, what, sealed) VALUES(?,?,?)"
		       " ON CONFLICT(uid, what) DO UPDATE SET sealed=excluded.sealed",
		       "ssb", uid, what, sealed, sealed_len);
}

int rows_secret_put_json(struct plane *p, const char *uid, const char *what, const json_t *doc,
			 struct pcg_error *err)
{
	size_t len = 0;
	char *text = json_text_secret(doc, &len);
	int r = rows_secret_put(p, uid, what, text, len, err);

	secret_wipe(text, len);
	free(text);
	return r;
}

int rows_secret_get(struct plane *p, const char *uid, const char *what, struct secret **out,
		    struct pcg_error *err)
{
	sqlite3_stmt *st;
	char aad[256];
	int r = db_prepare(p->db, "SELECT sealed FROM secrets WHERE uid=? AND what=?", &st, err);

	*out = NULL;
	if (!r)
		r = db_bind(p->db, st, err, "ss", uid, what);
	if (r)
		return r;
	r = sqlite3_step(st);
	if (r == SQLITE_DONE) {
		sqlite3_reset(st);
		return 0;
	}
	if (r != SQLITE_ROW)
		return db_fail(p->db, err, "reading a secret");
	aad_of(uid, what, aad, sizeof(aad));
	r = secret_open(p->key, aad, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0), out,
			err);
	sqlite3_reset(st);
	return r ? r : 1;
}

int rows_secret_get_json(struct plane *p, const char *uid, const char *what, json_t **doc,
			 struct pcg_error *err)
{
	struct secret *s = NULL;
	int r = rows_secret_get(p, uid, what, &s, err);

	*doc = NULL;
	if (r <= 0)
		return r;
	r = json_parse(secret_data(s), secret_len(s), "a secret of the plane's database", doc, err);
	secret_unref(s);
	return r ? r : 1;
}

int rows_secret_delete(struct plane *p, const char *uid, const char *what, struct pcg_error *err)
{
	return db_exec(p->db, err, "DELETE FROM secrets WHERE uid=?1 AND (?2 IS NULL OR what=?2)", "ss",
		       uid, what);
}

int rows_meta_put(struct plane *p, const char *name, const char *value, struct pcg_error *err)
{
	return db_exec(p->db, err,
		       "INSERT INTO meta(name, value) VALUES(?,?)"
		       " ON CONFLICT(name) DO UPDATE SET value=excluded.value",
		       "ss", name, value);
}

int rows_meta_get(struct plane *p, const char *name, char **value, struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r = db_prepare(p->db, "SELECT value FROM meta WHERE name=?", &st, err);

	*value = NULL;
	if (!r)
		r = db_bind(p->db, st, err, "s", name);
	if (r)
		return r;
	r = sqlite3_step(st);
	if (r == SQLITE_ROW) {
		*value = strdup((const char *)sqlite3_column_text(st, 0));
		assert(*value);
	} else if (r != SQLITE_DONE) {
		return db_fail(p->db, err, "reading a setting");
	}
	sqlite3_reset(st);
	return 0;
}

int rows_next_seq(struct plane *p, int64_t *seq, struct pcg_error *err)
{
	AUTO_FREE char *last = NULL;
	char text[32];
	int r = rows_meta_get(p, "seq", &last, err);
	int64_t next = clock_wall_ms() * 1000;

	if (r)
		return r;
	if (last && strtoll(last, NULL, 10) >= next)
		next = strtoll(last, NULL, 10) + 1;
	snprintf(text, sizeof(text), "%lld", (long long)next);
	*seq = next;
	return rows_meta_put(p, "seq", text, err);
}

int rows_event_add(struct plane *p, const char *cluster, const json_t *event, struct pcg_error *err)
{
	AUTO_FREE char *text = json_text(event);
	char hash[65];
	int r;

	setup_sha256(text, strlen(text), hash);
	r = db_exec(p->db, err, "INSERT OR IGNORE INTO events(cluster, hash, doc) VALUES(?,?,?)", "sss",
		    cluster, hash, text);
	if (r)
		return r;
	return db_exec(p->db, err,
		       "DELETE FROM events WHERE cluster=?1 AND n <= (SELECT n FROM events WHERE"
		       " cluster=?1 ORDER BY n DESC LIMIT 1 OFFSET ?2)",
		       "si", cluster, (int64_t)EVENTS_KEPT);
}

int rows_event_list(struct plane *p, const char *cluster, int64_t limit, json_t **events,
		    struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r = db_prepare(p->db,
			   "SELECT doc FROM events WHERE (?1 IS NULL OR cluster=?1) ORDER BY n DESC"
			   " LIMIT ?2",
			   &st, err);

	*events = NULL;
	if (!r)
		r = db_bind(p->db, st, err, "si", cluster, limit);
	return r ? r : many_docs(p, st, events, err);
}

int rows_event_delete(struct plane *p, const char *cluster, struct pcg_error *err)
{
	return db_exec(p->db, err, "DELETE FROM events WHERE cluster=?", "s", cluster);
}
