/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DB_H
#define CORE_DB_H

/* SQLite with the settings that every program of ours uses: WAL, synchronous=FULL, foreign keys,
 * quick_check at start, an exclusive lock file beside it (a second process is refused with the
 * pid of the first), application id and schema version in user_version. One thread at a time. */

#include "core/error.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

struct db;

struct db_spec {
	const char *path;
	const char *kind;        /* "pcgd" or "pcg-plane": refuses the other's file */
	uint32_t application_id;
	int version;             /* other versions are refused, both named, with a way out */
	const char *schema;      /* run in one transaction when the file is new */
};

int db_open(const struct db_spec *spec, struct db **out, struct pcg_error *err);
void db_close(struct db *db);
sqlite3 *db_handle(struct db *db);
/* Prepared once for each sql text (a string literal), reset before it is handed out. */
int db_prepare(struct db *db, const char *sql, sqlite3_stmt **st, struct pcg_error *err);
/* Binds by format: s text (NULL allowed), i int64, b blob (pointer, size_t), n null. */
int db_bind(struct db *db, sqlite3_stmt *st, struct pcg_error *err, const char *fmt, ...);
/* Prepares, binds, runs to the end. */
int db_exec(struct db *db, struct pcg_error *err, const char *sql, const char *fmt, ...);
int db_begin(struct db *db, struct pcg_error *err);  /* IMMEDIATE */
int db_commit(struct db *db, struct pcg_error *err);
void db_rollback(struct db *db);
/* Gives back the pages that are kept in memory, up to 2 MiB; the next statements read them again. */
void db_rest(struct db *db);
int db_fail(struct db *db, struct pcg_error *err, const char *what);

#endif
