/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/db.h"
#include "core/attr.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define DB_MAGIC 0x64623178u
#define BUCKETS 128
#define REMEDY_MAX 512

struct prepared {
	struct prepared *next;
	sqlite3_stmt *st;
};

struct db {
	uint32_t magic;
	sqlite3 *handle;
	int lock_fd;
	char *path;
	char remedy[REMEDY_MAX]; /* what to do about a file that cannot be used */
	struct prepared *prepared[BUCKETS];
};

static void set_remedy(struct db *db, const char *kind)
{
	const char *then = strcmp(kind, "pcgd") == 0 ?
		"start again and pair this gateway under its old uid: the plane gives its clusters back" :
		"put a backup in its place, or start again with an empty store";

	snprintf(db->remedy, sizeof(db->remedy),
		 "stop %s, move %s (and the -wal and -shm files beside it) away, then %s", kind, db->path,
		 then);
}

/* Nobody unlinks the lock file: a process could hold the lock of a file without a name. */
static int take_lock(struct db *db, struct pcg_error *err)
{
	AUTO_FREE char *path = NULL;
	char text[32] = "";
	ssize_t n;

	if (asprintf(&path, "%s.lock", db->path) < 0)
		abort();
	db->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (db->lock_fd < 0)
		return pcg_fail_errno(err, errno, "opening lock file %s", path);
	if (flock(db->lock_fd, LOCK_EX | LOCK_NB) == 0) {
		int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

		if (ftruncate(db->lock_fd, 0) || pwrite(db->lock_fd, text, (size_t)len, 0) != len)
			return pcg_fail_errno(err, errno, "writing lock file %s", path);
		return 0;
	}
	if (errno != EWOULDBLOCK)
		return pcg_fail_errno(err, errno, "locking %s", path);
	n = pread(db->lock_fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = 0;
	return pcg_fail(err, PCG_CLASS_CONFLICT, "stop that process first, or give this one a store of its own",
			"opening store %s: process %ld uses it", db->path, strtol(text, NULL, 10));
}

/* Made by us so that its mode, which -wal and -shm inherit, is ours. */
static int open_file(struct db *db, struct pcg_error *err)
{
	int r, fd = open(db->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return pcg_fail_errno(err, errno, "opening store %s", db->path);
	close(fd);
	r = sqlite3_open_v2(db->path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (r != SQLITE_OK)
		return db_fail(db, err, "opening the store");
	sqlite3_extended_result_codes(db->handle, 1);
	sqlite3_busy_timeout(db->handle, 5000);
	return 0;
}

static int run(struct db *db, const char *sql, struct pcg_error *err)
{
	return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(db, err, sql);
}

static int get_number(struct db *db, const char *sql, int64_t *out, struct pcg_error *err)
{
	sqlite3_stmt *st = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(db->handle, sql, -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		r = db_fail(db, err, sql);
	else
		*out = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return r;
}

static int quick_check(struct db *db, struct pcg_error *err)
{
	sqlite3_stmt *st = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(db->handle, "PRAGMA quick_check(1)", -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		r = db_fail(db, err, "PRAGMA quick_check");
	else if (strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
		r = pcg_fail(err, PCG_CLASS_PERMANENT, db->remedy, "opening store %s: it is damaged: %s",
			     db->path, sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	return r;
}

static int create_schema(struct db *db, const struct db_spec *spec, struct pcg_error *err)
{
	char sql[128];
	int r = db_begin(db, err);

	if (r)
		return r;
	/* PRAGMA takes no bound values; both are numbers of ours. */
	snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d",
		 (int)spec->application_id, spec->version);
	r = run(db, sql, err);
	if (!r && sqlite3_exec(db->handle, spec->schema, NULL, NULL, NULL) != SQLITE_OK)
		r = db_fail(db, err, "making the schema");
	if (!r)
		r = db_commit(db, err);
	if (r)
		db_rollback(db);
	return r;
}

static int check_version(struct db *db, const struct db_spec *spec, int64_t id, int64_t version,
			 struct pcg_error *err)
{
	AUTO_FREE char *remedy = NULL;

	if ((uint32_t)id != spec->application_id)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"give the path of a file of its own, or of none that exists",
				"opening store %s: it belongs to another program (application id 0x%08x, %s has 0x%08x)",
				db->path, (unsigned)id, spec->kind, (unsigned)spec->application_id);
	if (version == spec->version)
		return 0;
	if (asprintf(&remedy, "install the %s %s again; or %s",
		     version > spec->version ? "newer" : "older", spec->kind, db->remedy) < 0)
		abort();
	return pcg_fail(err, PCG_CLASS_PERMANENT, remedy,
			"opening store %s: its schema has version %lld, this %s knows version %d (%s wrote it)",
			db->path, (long long)version, spec->kind, spec->version,
			version > spec->version ? "a newer one" : "an older one");
}

static int prepare_file(struct db *db, const struct db_spec *spec, struct pcg_error *err)
{
	int64_t id = 0, version = 0, tables = 0;
	bool fresh;
	int r;

	r = get_number(db, "PRAGMA application_id", &id, err);
	if (!r)
		r = get_number(db, "PRAGMA user_version", &version, err);
	if (!r)
		r = get_number(db, "SELECT count(*) FROM sqlite_master", &tables, err);
	if (r)
		return r;
	fresh = id == 0 && version == 0 && tables == 0;
	if (!fresh)
		r = check_version(db, spec, id, version, err);
	if (!r && !fresh)
		r = quick_check(db, err);
	if (!r)
		r = run(db, "PRAGMA journal_mode=WAL", err);
	if (!r)
		r = run(db, "PRAGMA synchronous=FULL", err);
	if (!r)
		r = run(db, "PRAGMA foreign_keys=ON", err);
	if (!r && fresh)
		r = create_schema(db, spec, err);
	return r;
}

int db_open(const struct db_spec *spec, struct db **out, struct pcg_error *err)
{
	struct db *db = calloc(1, sizeof(*db));
	int r;

	assert(db);
	*out = NULL;
	db->magic = DB_MAGIC;
	db->lock_fd = -1;
	db->path = strdup(spec->path);
	assert(db->path);
	set_remedy(db, spec->kind);
	r = take_lock(db, err);
	if (!r)
		r = open_file(db, err);
	if (!r)
		r = prepare_file(db, spec, err);
	if (r)
		db_close(db);
	else
		*out = db;
	return r;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	assert(db->magic == DB_MAGIC);
	for (int i = 0; i < BUCKETS; i++) {
		struct prepared *p = db->prepared[i];

		while (p) {
			struct prepared *next = p->next;

			sqlite3_finalize(p->st);
			free(p);
			p = next;
		}
	}
	sqlite3_close_v2(db->handle);
	if (db->lock_fd >= 0)
		close(db->lock_fd);
	free(db->path);
	db->magic = 0;
	free(db);
}

sqlite3 *db_handle(struct db *db)
{
	assert(db->magic == DB_MAGIC);
	return db->handle;
}

static unsigned hash_text(const char *s)
{
	unsigned h = 2166136261u;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h % BUCKETS;
}

int db_prepare(struct db *db, const char *sql, sqlite3_stmt **st, struct pcg_error *err)
{
	struct prepared **bucket = &db->prepared[hash_text(sql)], *p;

	assert(db->magic == DB_MAGIC);
	for (p = *bucket; p; p = p->next) {
		if (strcmp(sqlite3_sql(p->st), sql) == 0) {
			sqlite3_reset(p->st);
			sqlite3_clear_bindings(p->st);
			*st = p->st;
			return 0;
		}
	}
	*st = NULL;
	if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, st, NULL) != SQLITE_OK)
		return db_fail(db, err, sql);
	p = calloc(1, sizeof(*p));
	assert(p && *st);
	p->st = *st;
	p->next = *bucket;
	*bucket = p;
	return 0;
}

static int bind_all(struct db *db, sqlite3_stmt *st, struct pcg_error *err, const char *fmt, va_list ap)
{
	int n = 0, r = SQLITE_OK;

	assert((int)strlen(fmt) == sqlite3_bind_parameter_count(st));
	for (; *fmt && r == SQLITE_OK; fmt++) {
		const void *p;

		n++;
		switch (*fmt) {
		case 's':
			r = sqlite3_bind_text(st, n, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
			break;
		case 'i':
			r = sqlite3_bind_int64(st, n, va_arg(ap, int64_t));
			break;
		case 'b':
			p = va_arg(ap, const void *);
			r = sqlite3_bind_blob64(st, n, p, va_arg(ap, size_t), SQLITE_TRANSIENT);
			break;
		default:
			assert(*fmt == 'n');
			r = sqlite3_bind_null(st, n);
		}
	}
	return r == SQLITE_OK ? 0 : db_fail(db, err, sqlite3_sql(st));
}

int db_bind(struct db *db, sqlite3_stmt *st, struct pcg_error *err, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = bind_all(db, st, err, fmt, ap);
	va_end(ap);
	return r;
}

int db_exec(struct db *db, struct pcg_error *err, const char *sql, const char *fmt, ...)
{
	sqlite3_stmt *st;
	va_list ap;
	int r = db_prepare(db, sql, &st, err);

	if (r)
		return r;
	va_start(ap, fmt);
	r = bind_all(db, st, err, fmt, ap);
	va_end(ap);
	if (!r) {
		int s;

		do
			s = sqlite3_step(st);
		while (s == SQLITE_ROW);
		if (s != SQLITE_DONE)
			r = db_fail(db, err, sql);
	}
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return r;
}

int db_begin(struct db *db, struct pcg_error *err)
{
	return db_exec(db, err, "BEGIN IMMEDIATE", "");
}

int db_commit(struct db *db, struct pcg_error *err)
{
	return db_exec(db, err, "COMMIT", "");
}

void db_rollback(struct db *db)
{
	struct pcg_error ignored;

	if (!sqlite3_get_autocommit(db->handle))
		db_exec(db, &ignored, "ROLLBACK", "");
}

void db_rest(struct db *db)
{
	assert(db->magic == DB_MAGIC);
	sqlite3_db_release_memory(db->handle);
}

/* what may be SQL of ours: it holds no value. */
int db_fail(struct db *db, struct pcg_error *err, const char *what)
{
	int code = sqlite3_extended_errcode(db->handle);
	const char *remedy = "";
	enum pcg_class class = PCG_CLASS_BUG;

	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_NOMEM:
	case SQLITE_INTERRUPT:
		class = PCG_CLASS_RETRY;
		break;
	case SQLITE_IOERR:
		class = PCG_CLASS_RETRY;
		remedy = "check the disk and the kernel's messages";
		break;
	case SQLITE_FULL:
		class = PCG_CLASS_QUOTA;
		remedy = "free space on the file system";
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		class = PCG_CLASS_PERMANENT;
		remedy = db->remedy;
		break;
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		class = PCG_CLASS_PERMANENT;
		remedy = "check owner and mode of the store's folder and files";
		break;
	case SQLITE_CONSTRAINT:
		class = PCG_CLASS_CONFLICT;
		break;
	}
	return pcg_fail(err, class, remedy, "store %s: %.200s: %s (SQLite %d)", db->path, what,
			sqlite3_errmsg(db->handle), code);
}
