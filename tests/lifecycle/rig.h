/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIFECYCLE_RIG_H
#define TESTS_LIFECYCLE_RIG_H

/* A lifecycle with a store and a provider whose answers the test gives. */

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "core/log.h"
#include "host/bootstrap/bootstrap.h"
#include "host/provider/provider_pool.h"
#include "pcg/provider.h"
#include "tests/core/unit.h"

#include <check.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UID "66f0c0ffee0000000000c1a5"
#define MACHINE_UID "11111111-2222-4333-8444-555555555555"

static uv_loop_t loop;
static char dir[256], path[512];
static struct secret *key;
static struct store *store;
static struct lifecycle *l;
static struct http_client *http;
static struct policy *policy; /* without scripts */

/* ---- the provider: the last call, and how many there were */

static struct {
	unsigned count;
	char op[32], subject[64];
	json_t *doc;
	provider_cb cb;
	void *arg;
} call;

struct provider_call *provider_call(struct provider_pool *p, const char *account, const char *op,
				    const char *subject, json_t *doc, uint32_t timeout_ms,
				    provider_cb cb, void *arg)
{
	call.count++;
	snprintf(call.op, sizeof(call.op), "%s", op);
	snprintf(call.subject, sizeof(call.subject), "%s", subject);
	json_decref(call.doc);
	call.doc = json_deep_copy(doc);
	call.cb = cb;
	call.arg = arg;
	return (struct provider_call *)&call;
}

void provider_call_cancel(struct provider_call *c)
{
	call.cb = NULL;
}

void provider_account_set(struct provider_pool *p, const json_t *account)
{
}

static unsigned accounts_removed;

void provider_account_remove(struct provider_pool *p, const char *uid)
{
	accounts_removed++;
}

void provider_ack(void *ack, int result)
{
	*(int *)ack = result;
}

int provider_known(struct provider_pool *p, const char *cloud_type, struct pcg_error *err)
{
	return 0;
}

static inline void answer(uint32_t status, const char *doc, const char *checkpoint)
{
	struct provider_reply r = { .status = status, .after_ms = 10 };
	provider_cb cb = call.cb;

	ck_assert_ptr_nonnull(cb);
	r.doc = doc ? json_loads(doc, 0, NULL) : NULL;
	r.checkpoint = checkpoint ? json_loads(checkpoint, 0, NULL) : NULL;
	call.cb = NULL;
	cb(call.arg, &r);
	json_decref(r.doc);
	json_decref(r.checkpoint);
}

/* ---- the store */

static inline void on_deadline(uv_timer_t *t)
{
	ck_abort_msg("not within the deadline");
}

static inline void on_tick(uv_timer_t *t)
{
}

#define UNTIL(cond)                                                                                \
	do {                                                                                       \
		uv_timer_t limit_, tick_;                                                          \
		uv_timer_init(&loop, &limit_);                                                     \
		uv_timer_init(&loop, &tick_);                                                      \
		uv_timer_start(&limit_, on_deadline, 10000, 0);                                    \
		uv_timer_start(&tick_, on_tick, 5, 5);                                             \
		while (!(cond))                                                                    \
			uv_run(&loop, UV_RUN_ONCE);                                                \
		uv_close((uv_handle_t *)&limit_, NULL);                                            \
		uv_close((uv_handle_t *)&tick_, NULL);                                             \
		uv_run(&loop, UV_RUN_NOWAIT);                                                      \
	} while (0)

static inline void nothing(void *arg, bool urgent)
{
}

static inline void account_dropped(void *arg, const char *uid)
{
	ck_assert_str_eq(uid, "a1");
	ck_assert_uint_eq(accounts_removed, 1);
}

static inline bool unwatched(void *arg)
{
	return false;
}

static inline void unseen(void *arg, const json_t *cluster)
{
}

static inline void open_lifecycle(void)
{
	struct lifecycle_spec spec = { .loop = &loop, .store = store, .gateway_uid = "gw", .bundle_dir = TEST_SRCDIR "/bundles/sim",
				       .policy = policy,
				       .http = http, .reports_ready = nothing, .watched = unwatched, .changed = unseen,
				       .account_dropped = account_dropped };

	l = lifecycle_new(&spec);
}

static inline void setup(void)
{
	static const uint8_t bytes[32] = { 7 };
	struct pcg_error err;

	log_init("check_tasks", LOG_L_ERROR);
	unit_dir_make(dir);
	snprintf(path, sizeof(path), "%s/pcgd.db", dir);
	uv_loop_init(&loop);
	key = secret_new(bytes, sizeof(bytes));
	ck_assert_msg(!store_open(&loop, path, key, &store, &err), "%s", err.text);
	memset(&call, 0, sizeof(call));
	http = http_client_new(&loop, NULL);
	ck_assert_int_eq(policy_new(&loop, &(struct policy_spec){ .exe = "", .dir = "/no/policies" }, &policy, &err), 0);
	open_lifecycle();
}

static inline void teardown(void)
{
	lifecycle_close(l);
	http_client_close(http, NULL, NULL);
	policy_close(policy, NULL, NULL);
	store_close(store, NULL, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	lifecycle_free(l);
	json_decref(call.doc);
	secret_unref(key);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	unit_dir_remove(dir);
}

static inline json_t *spec_document(const char *desired)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:{s:s,s:s},s:[{s:s,s:i,s:b}]}", "uid", UID, "name", "prod",
			 "tenant", "t1", "project", "p1", "desired", desired, "cloudType", "sim",
			 "kubernetesVersion", "v1.36.3", "account", "uid", "a1", "name", "lab", "pools", "name",
			 "cp", "size", 1, "controlPlane", 1);
}

static inline json_t *keys_new(const json_t *spec)
{
	struct pcg_error err;
	json_t *keys = NULL;

	ck_assert_int_eq(bootstrap_keys_new(spec, clock_wall_ms(), &keys, &err), 0);
	return keys;
}

/* As a start of the gateway reads it from the store. */
static inline struct cluster *load(const char *phase, const char *task, const char *desired, bool forced, int64_t epoch)
{
	AUTO_JSON json_t *spec = spec_document(desired), *state = NULL, *recovery = NULL;
	struct store_cluster_row row = { .uid = UID, .name = "prod", .tenant = "t1", .project = "p1",
					 .account = "a1", .phase = phase, .task = task, .desired = desired,
					 .generation = 3, .epoch = epoch };
	struct store_machine_row machine = { .uid = MACHINE_UID, .cluster = UID, .name = "prod-cp-x", .pool = "cp",
					     .role = "control-plane", .state = MACHINE_INTENT, .op = "ensure" };

	row.spec = spec;
	row.state = state = json_pack("{s:I,s:I,s:b,s:b,s:{s:s,s:i}}", "phaseSince", (json_int_t)1, "taskSince",
				      (json_int_t)1, "touched", 1, "forced", forced, "endpoint", "host",
				      "192.0.2.7", "port", 6443);
	row.recovery = recovery = json_pack("{s:o}", "keys", keys_new(spec));
	lifecycle_load_cluster(l, &row);
	lifecycle_load_machine(l, &machine);
	return cluster_find(l, UID);
}

/* ---- what is written */

static json_t *history;

static inline void on_history(void *arg, json_t *result)
{
	history = json_incref(result);
}

static inline size_t times_told(const char *event)
{
	json_t *line;
	size_t i, n = 0;

	history = NULL;
	lifecycle_flush_notes(l);
	store_history(store, UID, 1000, on_history, NULL);
	UNTIL(history);
	json_array_foreach(json_object_get(history, "items"), i, line)
		n += !strcmp(json_str_or(line, "event", ""), event);
	json_decref(history);
	return n;
}

static inline size_t rows(const char *table)
{
	AUTO_FREE char *sql = NULL;
	sqlite3 *db;
	sqlite3_stmt *st;
	size_t n;

	times_told("nothing"); /* what came before that question is written */
	if (asprintf(&sql, "SELECT count(*) FROM %s", table) < 0)
		abort();
	ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
	n = (size_t)sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return n;
}

/* ---- instructions */

static inline void on_stored(void *arg, int64_t cursor)
{
	*(int64_t *)arg = cursor;
}

static inline void take(int64_t generation, json_t *document)
{
	AUTO_JSON json_t *batch = json_pack("{s:I,s:s,s:[{s:s,s:s,s:I,s:o}]}", "cursor", (json_int_t)generation,
					    "planeId", "p", "items", "kind", "cluster", "uid", UID, "generation",
					    (json_int_t)generation, "document", document);
	int64_t cursor = 0;

	lifecycle_take(l, batch, on_stored, &cursor);
	UNTIL(cursor == generation);
}

static inline void load_account(void)
{
	AUTO_JSON json_t *account = json_pack("{s:s,s:s,s:i,s:{}}", "uid", "a1", "provider", "sim", "generation", 1, "spec");

	lifecycle_load_account(l, account);
}

static inline bool waits_for(const struct cluster *c, const char *text)
{
	return c->lc.condition.set && strstr(c->lc.condition.cause, text);
}

#define RIG_MAIN(name, add_tests)                                                                  \
	int main(void)                                                                             \
	{                                                                                          \
		Suite *suite = suite_create(name);                                                 \
		TCase *t = tcase_create(name);                                                     \
		SRunner *r;                                                                        \
		int failed;                                                                        \
											   \
		tcase_add_checked_fixture(t, setup, teardown);                                     \
		tcase_set_timeout(t, 30);                                                          \
		add_tests(t);                                                                      \
		suite_add_tcase(suite, t);                                                         \
		r = srunner_create(suite);                                                         \
		srunner_run_all(r, CK_NORMAL);                                                     \
		failed = srunner_ntests_failed(r);                                                 \
		srunner_free(r);                                                                   \
		return failed ? 1 : 0;                                                             \
	}

#endif
