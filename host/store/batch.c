/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/store/batch.h"

#include "core/attr.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VALUES_MAX 13

/* Lines of one cluster. */
#define HISTORY_FIRST 1000
#define HISTORY_LAST 4000
#define SHORTEN_EVERY 61 /* lines of all clusters: a prime, so that none that writes by turns is never looked at */
#define STRING(x) STRING_OF(x)
#define STRING_OF(x) #x

struct value {
	char type; /* s, i, b; 0: NULL */
	int64_t num;
	char *data;
	size_t len;
};

struct statement {
	struct statement *next;
	const char *sql;
	size_t n;
	struct value v[VALUES_MAX];
};

struct store_batch {
	struct store *store;
	struct statement *head, **tail;
	size_t len;
};

struct store_batch *store_batch_new(struct store *s)
{
	struct store_batch *b = calloc(1, sizeof(*b));

	assert(b);
	b->store = s;
	b->tail = &b->head;
	return b;
}

bool store_batch_empty(const struct store_batch *b)
{
	return !b->head;
}

size_t batch_len(const struct store_batch *b)
{
	return b->len;
}

struct store *batch_store(const struct store_batch *b)
{
	return b->store;
}

void store_batch_free(struct store_batch *b)
{
	if (!b)
		return;
	while (b->head) {
		struct statement *next = b->head->next;

		for (size_t i = 0; i < b->head->n; i++)
			free(b->head->v[i].data);
		free(b->head);
		b->head = next;
	}
	free(b);
}

static void set_text(struct value *v, const char *s)
{
	if (!s)
		return;
	v->type = 's';
	v->data = strdup(s);
	assert(v->data);
}

static void set_json(struct value *v, const json_t *doc)
{
	if (!doc)
		return;
	v->type = 's';
	v->data = json_text(doc);
}

static void set_sealed(struct store_batch *b, struct value *v, const char *aad, const void *data,
		       size_t len)
{
	struct pcg_error err;
	uint8_t *sealed;

	if (secret_seal(store_key(b->store), aad, data, len, &sealed, &v->len, &err))
		abort();
	v->type = 'b';
	v->data = (char *)sealed;
}

static void set_sealed_json(struct store_batch *b, struct value *v, const char *aad,
			    const json_t *doc)
{
	size_t len;
	char *text;

	if (!doc)
		return;
	text = json_text_secret(doc, &len);
	set_sealed(b, v, aad, text, len);
	secret_wipe(text, len);
	free(text);
}

/* fmt: s text, i int64, j JSON, x sealed JSON (aad, document), y sealed secret (aad, secret). */
static void add(struct store_batch *b, const char *sql, const char *fmt, ...)
{
	struct statement *st = calloc(1, sizeof(*st));
	va_list ap;

	assert(st && strlen(fmt) <= VALUES_MAX);
	st->sql = sql;
	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		struct value *v = &st->v[st->n++];
		const char *aad;

		switch (*fmt) {
		case 's':
			set_text(v, va_arg(ap, const char *));
			break;
		case 'i':
			v->type = 'i';
			v->num = va_arg(ap, int64_t);
			break;
		case 'j':
			set_json(v, va_arg(ap, const json_t *));
			break;
		case 'x':
			aad = va_arg(ap, const char *);
			set_sealed_json(b, v, aad, va_arg(ap, const json_t *));
			break;
		case 'y': {
			const struct secret *value;

			aad = va_arg(ap, const char *);
			value = va_arg(ap, const struct secret *);
			set_sealed(b, v, aad, secret_data(value), secret_len(value));
			break;
		}
		default:
			abort();
		}
	}
	va_end(ap);
	*b->tail = st;
	b->tail = &st->next;
	b->len++;
}

static int bind_value(sqlite3_stmt *st, int at, const struct value *v)
{
	switch (v->type) {
	case 's':
		return sqlite3_bind_text(st, at, v->data, -1, SQLITE_STATIC);
	case 'i':
		return sqlite3_bind_int64(st, at, v->num);
	case 'b':
		return sqlite3_bind_blob64(st, at, v->data, v->len, SQLITE_STATIC);
	default:
		return sqlite3_bind_null(st, at);
	}
}

static int statement_run(const struct statement *s, struct db *db, struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r = db_prepare(db, s->sql, &st, err);

	if (r)
		return r;
	for (size_t i = 0; i < s->n; i++)
		if (bind_value(st, (int)i + 1, &s->v[i]) != SQLITE_OK)
			return db_fail(db, err, s->sql);
	r = sqlite3_step(st);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	if (r != SQLITE_DONE && r != SQLITE_ROW)
		return db_fail(db, err, s->sql);
	return 0;
}

static const char add_history[] = "INSERT INTO history (cluster, name, at, event, fields) VALUES (?, ?, ?, ?, ?)";

/* A cluster that is stuck for months fills no disk: the beginning of its story stays, and the end. Where lines are missing
 * one says so. */
#define LINE(order, n) "(SELECT id FROM history WHERE cluster = ?1 ORDER BY id " order " LIMIT 1 OFFSET " STRING(n) ")"
#define LAST_LEFT_OUT LINE("DESC", HISTORY_LAST)

static const char *const shorten[] = {
	"UPDATE history SET event = 'lines_left_out', fields = NULL WHERE id = " LAST_LEFT_OUT
	" AND id > " LINE("ASC", HISTORY_FIRST),
	"DELETE FROM history WHERE cluster = ?1 AND id >= " LINE("ASC", HISTORY_FIRST) " AND id < " LAST_LEFT_OUT,
};

static int shorten_history(struct db *db, const struct value *cluster, struct pcg_error *err)
{
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_LEN(shorten); i++) {
		struct statement s = { .sql = shorten[i], .n = 1, .v = { *cluster } };

		r = statement_run(&s, db, err);
	}
	return r;
}

int batch_run(const struct store_batch *b, struct db *db, struct pcg_error *err)
{
	for (const struct statement *s = b->head; s; s = s->next) {
		int r = statement_run(s, db, err);

		if (!r && s->sql == add_history && sqlite3_last_insert_rowid(db_handle(db)) % SHORTEN_EVERY == 0)
			r = shorten_history(db, &s->v[0], err);

		if (r)
			return r;
	}
	return 0;
}

char *batch_aad(const char *table, const char *row, const char *column)
{
	char *aad;

	if (asprintf(&aad, "v1/%s/%s/%s", table, row, column) < 0)
		abort();
	return aad;
}

void store_put_meta(struct store_batch *b, const char *key, const char *value)
{
	add(b, "INSERT INTO meta (key, value) VALUES (?, ?)"
	       " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
	    "ss", key, value);
}

void store_put_account(struct store_batch *b, const char *uid, int64_t generation,
		       const json_t *document)
{
	AUTO_FREE char *aad = batch_aad("accounts", uid, "document");

	add(b, "INSERT INTO accounts (uid, generation, document) VALUES (?, ?, ?) ON CONFLICT (uid)"
	       " DO UPDATE SET generation = excluded.generation, document = excluded.document",
	    "six", uid, generation, aad, document);
}

void store_remove_account(struct store_batch *b, const char *uid)
{
	add(b, "DELETE FROM accounts WHERE uid = ?", "s", uid);
	add(b, "DELETE FROM secrets WHERE account = ?", "s", uid);
}

void store_put_secret(struct store_batch *b, const char *account, const char *name,
		      const struct secret *value)
{
	AUTO_FREE char *row = NULL, *aad = NULL;

	if (!value) {
		add(b, "DELETE FROM secrets WHERE account = ? AND name = ?", "ss", account, name);
		return;
	}
	if (asprintf(&row, "%s/%s", account, name) < 0)
		abort();
	aad = batch_aad("secrets", row, "value");
	add(b, "INSERT INTO secrets (account, name, value) VALUES (?, ?, ?)"
	       " ON CONFLICT (account, name) DO UPDATE SET value = excluded.value",
	    "ssy", account, name, aad, value);
}

void store_put_cluster(struct store_batch *b, const struct store_cluster_row *r)
{
	AUTO_FREE char *spec = batch_aad("clusters", r->uid, "spec");
	AUTO_FREE char *recovery = batch_aad("clusters", r->uid, "recovery");

	add(b,
	    "INSERT INTO clusters (uid, name, tenant, project, account, phase, task, desired,"
	    " generation, epoch, state, spec, recovery) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
	    " ?) ON CONFLICT (uid) DO UPDATE SET name = excluded.name, account = excluded.account,"
	    " phase = excluded.phase, task = excluded.task, desired = excluded.desired,"
	    " generation = excluded.generation, epoch = excluded.epoch, state = excluded.state,"
	    " spec = coalesce(excluded.spec, spec), recovery = coalesce(excluded.recovery, recovery)",
	    "ssssssssiijxx", r->uid, r->name, r->tenant, r->project, r->account, r->phase, r->task,
	    r->desired, r->generation, r->epoch, r->state,
	    spec, r->spec, recovery, r->recovery);
}

void store_remove_machines(struct store_batch *b, const char *cluster)
{
	add(b, "DELETE FROM machines WHERE cluster = ?", "s", cluster);
}

void store_remove_cluster(struct store_batch *b, const char *uid)
{
	store_remove_machines(b, uid);
	add(b, "DELETE FROM clusters WHERE uid = ?", "s", uid);
}

void store_put_machine(struct store_batch *b, const struct store_machine_row *r)
{
	add(b,
	    "INSERT INTO machines (uid, cluster, name, pool, role, state, op, observed, checkpoint)"
	    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO UPDATE SET state ="
	    " excluded.state, op = excluded.op, observed = excluded.observed,"
	    " checkpoint = excluded.checkpoint",
	    "sssssssjj", r->uid, r->cluster, r->name, r->pool, r->role, r->state, r->op,
	    r->observed, r->checkpoint);
}

void store_add_history(struct store_batch *b, const char *cluster, const char *name, int64_t at_ms,
		       const char *event, const json_t *fields)
{
	add(b, add_history, "ssisj", cluster, name, at_ms, event, fields);
}

void store_put_report(struct store_batch *b, int64_t seq, const char *kind, const char *key,
		      const json_t *doc)
{
	AUTO_FREE char *aad = NULL;
	char row[32];

	snprintf(row, sizeof(row), "%lld", (long long)seq);
	aad = batch_aad("reports", row, "document");
	if (key)
		add(b, "DELETE FROM reports WHERE key = ?", "s", key);
	add(b, "INSERT INTO reports (seq, kind, key, document) VALUES (?, ?, ?, ?)", "issx", seq,
	    kind, key, aad, doc);
	store_put_meta(b, "report_seq", row);
}

void store_remove_report(struct store_batch *b, int64_t seq)
{
	add(b, "DELETE FROM reports WHERE seq = ?", "i", seq);
}
