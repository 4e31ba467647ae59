/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_STORE_BATCH_H
#define HOST_STORE_BATCH_H

/* Inside the store: a batch is a list of statements with their values, made in the loop's thread,
 * run in the writer's. */

#include "core/db.h"
#include "host/store/store.h"

int batch_run(const struct store_batch *b, struct db *db, struct pcg_error *err);
size_t batch_len(const struct store_batch *b);
struct store *batch_store(const struct store_batch *b);

/* What ciphertext is bound to: table, row and column. Caller frees. */
char *batch_aad(const char *table, const char *row, const char *column);

struct secret *store_key(struct store *s);
struct db *store_db(struct store *s); /* before the first write only */

#endif
