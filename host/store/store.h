/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_STORE_H
#define HOST_STORE_H

/*
 * What the gateway must not forget: typed functions over one SQLite file. One writer thread groups
 * the batches that wait into one transaction (WAL, synchronous=FULL). The host keeps its working
 * copy in memory: it reads all of it once at start and writes only from then on.
 *
 * A batch is all or nothing. Its callback runs in the loop's thread once it is durable, in the
 * order of commits. Writing never fails from the caller's view: while the disk refuses, the store
 * tries again and says so once; nothing acts on what is not durable.
 *
 * Documents marked sealed are encrypted with the store's key, bound to table and row.
 */

#include "core/error.h"
#include "core/json.h"
#include "core/secret.h"

#include <uv.h>

struct store;
struct store_batch;

typedef void (*store_cb)(void *arg);

int store_open(uv_loop_t *loop, const char *path, struct secret *key, struct store **out,
	       struct pcg_error *err);
/* Waits for what was committed, then closes; closed runs in the loop. */
void store_close(struct store *s, void (*closed)(void *arg), void *arg);

struct store_cluster_row {
	const char *uid, *name, *tenant, *project, *account, *phase, *task, *desired;
	int64_t generation, epoch;
	json_t *state;    /* not secret */
	json_t *spec;     /* sealed */
	json_t *recovery; /* sealed; NULL: none */
};

struct store_machine_row {
	const char *uid, *cluster, *name, *pool, *role, *state, *op;
	json_t *observed;   /* NULL: none */
	json_t *checkpoint; /* NULL: none */
};

/* Everything that has a function here, before the first batch; documents are borrowed during the
 * call. */
struct store_loader {
	void *arg;
	void (*meta)(void *arg, const char *key, const char *value);
	void (*account)(void *arg, json_t *document);
	void (*secret)(void *arg, const char *account, const char *name, struct secret *value);
	void (*cluster)(void *arg, const struct store_cluster_row *row);
	void (*machine)(void *arg, const struct store_machine_row *row);
	void (*report)(void *arg, int64_t seq, const char *kind, const char *key, json_t *doc);
};
int store_load(struct store *s, const struct store_loader *l, struct pcg_error *err);

struct store_batch *store_batch_new(struct store *s);
/* Takes the batch. cb may be NULL. */
void store_batch_commit(struct store_batch *b, store_cb cb, void *arg);
bool store_batch_empty(const struct store_batch *b);
void store_batch_free(struct store_batch *b); /* drops one that is not committed */

void store_put_meta(struct store_batch *b, const char *key, const char *value);
void store_put_account(struct store_batch *b, const char *uid, int64_t generation,
		       const json_t *document);
void store_remove_account(struct store_batch *b, const char *uid);
/* account "" is the gateway's own. value NULL removes. */
void store_put_secret(struct store_batch *b, const char *account, const char *name,
		      const struct secret *value);
/* spec and recovery NULL: left as they are (state and columns are always written). */
void store_put_cluster(struct store_batch *b, const struct store_cluster_row *row);
void store_remove_cluster(struct store_batch *b, const char *uid); /* row and machines; history stays */
void store_put_machine(struct store_batch *b, const struct store_machine_row *row);
void store_remove_machines(struct store_batch *b, const char *cluster); /* all of it */
/* Of one that has grown long the first 1000 and the newest 4000 lines stay, with one "lines_left_out" between. */
void store_add_history(struct store_batch *b, const char *cluster, const char *name, int64_t at_ms,
		       const char *event, const json_t *fields);
/* A report not yet sent under the same key is replaced. seq comes from the caller and only grows. */
void store_put_report(struct store_batch *b, int64_t seq, const char *kind, const char *key,
		      const json_t *doc);
void store_remove_report(struct store_batch *b, int64_t seq);

/* History of a cluster by uid or name, oldest first: {"items":[{"at","event",...fields}]}. */
typedef void (*store_history_cb)(void *arg, json_t *history);
void store_history(struct store *s, const char *uid_or_name, uint32_t limit, store_history_cb cb,
		   void *arg);

/* Time spent and commits made, for the benchmark: {"commits","batches","rows","cpu_us"}. While it cannot be written
 * "unwritable" {"since","cause","remedy"} as well. */
json_t *store_stats(struct store *s);

#endif
