/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/persist.h"

#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define KEY_SEP "\x1f"

struct persist {
	struct db *db;
	json_t *docs;    /* kind SEP id -> body, or null: removed */
	json_t *objects; /* api SEP res SEP key -> body, or null */
	char *text;      /* of the body that is being written */
	size_t room;
};

static const char schema[] =
	"CREATE TABLE doc(kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,"
	" PRIMARY KEY(kind, id)) WITHOUT ROWID;"
	/* By rowid: objects that are made together stay on one page, and a change moves none. */
	"CREATE TABLE object(id INTEGER PRIMARY KEY, api TEXT NOT NULL, res TEXT NOT NULL, key TEXT NOT NULL,"
	" body TEXT NOT NULL, UNIQUE(api, res, key));";

int persist_open(const char *dir, struct persist **out, struct pcg_error *err)
{
	AUTO_FREE char *path = NULL;
	struct db_spec spec = { .kind = "pcg-simcloud", .application_id = 0x50534331, .version = 2,
				.schema = schema };
	struct persist *p;
	int r;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return pcg_fail_errno(err, errno, "making the state folder %s", dir);
	if (asprintf(&path, "%s/simcloud.db", dir) < 0)
		path = NULL;
	assert(path);
	spec.path = path;
	p = calloc(1, sizeof(*p));
	assert(p);
	r = db_open(&spec, &p->db, err);
	if (r) {
		free(p);
		return r;
	}
	sqlite3_exec(db_handle(p->db), "PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA wal_autocheckpoint=8000",
		     NULL, NULL, NULL);
	p->docs = json_object();
	p->objects = json_object();
	*out = p;
	return 0;
}

void persist_close(struct persist *p)
{
	if (!p)
		return;
	persist_flush(p);
	db_close(p->db);
	json_decref(p->docs);
	json_decref(p->objects);
	free(p->text);
	free(p);
}

static void persist_set(json_t *dirty, const char *key, json_t *body)
{
	if (body)
		json_object_set_nocheck(dirty, key, body);
	else
		json_object_set_new_nocheck(dirty, key, json_null());
}

void persist_doc(struct persist *p, const char *kind, const char *id, json_t *body)
{
	AUTO_FREE char *key = NULL;

	if (asprintf(&key, "%s" KEY_SEP "%s", kind, id) < 0)
		abort();
	persist_set(p->docs, key, body);
}

void persist_object(struct persist *p, const char *api, const char *res, const char *key,
		    json_t *body)
{
	AUTO_FREE char *whole = NULL;

	if (asprintf(&whole, "%s" KEY_SEP "%s" KEY_SEP "%s", api, res, key) < 0)
		abort();
	persist_set(p->objects, whole, body);
}

/* Nothing can go on without its durable state: a simulator that lies about it is worse than none. */
static void persist_must(int r, const struct pcg_error *err)
{
	if (!r)
		return;
	log_err("simcloud_state_lost", err);
	abort();
}

static const char *persist_text(struct persist *p, const json_t *body)
{
	size_t n = json_dumpb(body, p->text, p->room, JSON_COMPACT);

	if (n >= p->room) {
		p->room = 2 * n + 4096;
		p->text = realloc(p->text, p->room);
		assert(p->text);
		n = json_dumpb(body, p->text, p->room, JSON_COMPACT);
	}
	assert(n > 0 && n < p->room);
	p->text[n] = '\0';
	return p->text;
}

static void persist_write_docs(struct persist *p)
{
	struct pcg_error err = { 0 };
	const char *key;
	json_t *body;

	json_object_foreach(p->docs, key, body) {
		AUTO_FREE char *kind = strdup(key);
		char *id = strstr(kind, KEY_SEP);

		*id++ = '\0';
		if (json_is_null(body)) {
			persist_must(db_exec(p->db, &err, "DELETE FROM doc WHERE kind=?1 AND id=?2",
					     "ss", kind, id), &err);
			continue;
		}
		persist_must(db_exec(p->db, &err, "INSERT OR REPLACE INTO doc VALUES(?1,?2,?3)",
				     "sss", kind, id, persist_text(p, body)), &err);
	}
}

static void persist_write_objects(struct persist *p)
{
	struct pcg_error err = { 0 };
	const char *whole;
	json_t *body;

	json_object_foreach(p->objects, whole, body) {
		AUTO_FREE char *api = strdup(whole);
		char *res = strstr(api, KEY_SEP), *key;

		*res++ = '\0';
		key = strstr(res, KEY_SEP);
		*key++ = '\0';
		if (json_is_null(body)) {
			persist_must(db_exec(p->db, &err,
					     "DELETE FROM object WHERE api=?1 AND res=?2 AND key=?3",
					     "sss", api, res, key), &err);
			continue;
		}
		persist_must(db_exec(p->db, &err,
				     "INSERT INTO object(api, res, key, body) VALUES(?1,?2,?3,?4)"
				     " ON CONFLICT(api, res, key) DO UPDATE SET body=excluded.body",
				     "ssss", api, res, key, persist_text(p, body)), &err);
	}
}

void persist_flush(struct persist *p)
{
	struct pcg_error err = { 0 };

	if (!json_object_size(p->docs) && !json_object_size(p->objects))
		return;
	persist_must(db_begin(p->db, &err), &err);
	persist_write_docs(p);
	persist_write_objects(p);
	persist_must(db_commit(p->db, &err), &err);
	json_object_clear(p->docs);
	json_object_clear(p->objects);
}

bool persist_urgent(const struct persist *p)
{
	return json_object_size(p->docs) > 0;
}

void persist_drop_api(struct persist *p, const char *api)
{
	struct pcg_error err = { 0 };

	persist_flush(p);
	persist_must(db_exec(p->db, &err, "DELETE FROM object WHERE api=?1", "s", api), &err);
}

void persist_each_doc(struct persist *p, const char *kind,
		      void (*visit)(void *arg, const char *id, json_t *body), void *arg)
{
	struct pcg_error err = { 0 };
	sqlite3_stmt *st;

	persist_must(db_prepare(p->db, "SELECT id, body FROM doc WHERE kind=?1", &st, &err), &err);
	persist_must(db_bind(p->db, st, &err, "s", kind), &err);
	while (sqlite3_step(st) == SQLITE_ROW) {
		const char *body = (const char *)sqlite3_column_text(st, 1);
		AUTO_JSON json_t *j = json_loads(body, JSON_DECODE_ANY, NULL);

		if (j)
			visit(arg, (const char *)sqlite3_column_text(st, 0), j);
	}
	sqlite3_reset(st);
}

void persist_each_object(struct persist *p, const char *api,
			 void (*visit)(void *arg, const char *res, const char *key, json_t *body),
			 void *arg)
{
	struct pcg_error err = { 0 };
	sqlite3_stmt *st;

	persist_must(db_prepare(p->db, "SELECT res, key, body FROM object WHERE api=?1", &st, &err), &err);
	persist_must(db_bind(p->db, st, &err, "s", api), &err);
	while (sqlite3_step(st) == SQLITE_ROW) {
		const char *body = (const char *)sqlite3_column_text(st, 2);
		AUTO_JSON json_t *j = json_loads(body, 0, NULL);

		if (j)
			visit(arg, (const char *)sqlite3_column_text(st, 0),
			      (const char *)sqlite3_column_text(st, 1), j);
	}
	sqlite3_reset(st);
}
