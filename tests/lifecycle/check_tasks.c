/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks and what they make durable, with a store and a provider whose answers the test gives. */
#include "config.h"
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

static void answer(uint32_t status, const char *doc, const char *checkpoint)
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

static void on_deadline(uv_timer_t *t)
{
	ck_abort_msg("not within the deadline");
}

static void on_tick(uv_timer_t *t)
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

static void nothing(void *arg, bool urgent)
{
}

static void account_dropped(void *arg, const char *uid)
{
	ck_assert_str_eq(uid, "a1");
	ck_assert_uint_eq(accounts_removed, 1);
}

static bool unwatched(void *arg)
{
	return false;
}

static void unseen(void *arg, const json_t *cluster)
{
}

static void open_lifecycle(void)
{
	struct lifecycle_spec spec = { .loop = &loop, .store = store, .gateway_uid = "gw", .bundle_dir = TEST_SRCDIR "/bundles/sim",
				       .policy = policy,
				       .http = http, .reports_ready = nothing, .watched = unwatched, .changed = unseen,
				       .account_dropped = account_dropped };

	l = lifecycle_new(&spec);
}

static void setup(void)
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

static void teardown(void)
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

static json_t *spec_document(const char *desired)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:{s:s,s:s},s:[{s:s,s:i,s:b}]}", "uid", UID, "name", "prod",
			 "tenant", "t1", "project", "p1", "desired", desired, "cloudType", "sim",
			 "kubernetesVersion", "v1.36.3", "account", "uid", "a1", "name", "lab", "pools", "name",
			 "cp", "size", 1, "controlPlane", 1);
}

static json_t *keys_new(const json_t *spec)
{
	struct pcg_error err;
	json_t *keys = NULL;

	ck_assert_int_eq(bootstrap_keys_new(spec, clock_wall_ms(), &keys, &err), 0);
	return keys;
}

/* As a start of the gateway reads it from the store. */
static struct cluster *load(const char *phase, const char *task, const char *desired, bool forced, int64_t epoch)
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

static void on_history(void *arg, json_t *result)
{
	history = json_incref(result);
}

static size_t times_told(const char *event)
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

static size_t rows(const char *table)
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

/* ---- tests */

static const char empty[] = "{\"items\":[]}",
		  one[] = "{\"items\":[{\"id\":\"vm-9\",\"name\":\"prod-w-y\",\"kind\":\"machine\",\"machine\":\"\"}]}";

START_TEST(a_forced_delete_ends_when_two_inventories_in_a_row_were_empty)
{
	struct cluster *c = load("Deleting", "inventory", "force-absent", true, 2);

	lifecycle_begin(l);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "inventory");
	answer(PCG_STEP_DONE, empty, NULL);
	ck_assert_int_eq(c->lc.phase, LC_DELETING);
	ck_assert_int_ge(c->lc.next_try_ms, clock_wall_ms() + 20000); /* controllers that still run get their time */
	lifecycle_nudge_all(l);
	/* One that came up in between goes, and it counts from the beginning. */
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, one, NULL);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "machine_delete");
	ck_assert_str_eq(call.subject, "vm-9");
	answer(PCG_STEP_DONE, "{}", NULL);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(c->lc.phase, LC_DELETING);
		lifecycle_nudge_all(l);
		UNTIL(call.cb);
		ck_assert_str_eq(call.op, "inventory");
		answer(PCG_STEP_DONE, empty, NULL);
	}
	ck_assert_int_eq(c->lc.phase, LC_DELETED);
}
END_TEST

START_TEST(other_deletes_look_once)
{
	struct cluster *c = load("Deleting", "inventory", "absent", false, 2);

	lifecycle_begin(l);
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, empty, NULL);
	ck_assert_int_eq(c->lc.phase, LC_DELETED);
}
END_TEST

START_TEST(a_strangers_copy_does_not_hold_up_a_delete_and_is_told)
{
	struct cluster *c = load("Deleting", "inventory", "absent", false, 2);

	lifecycle_begin(l);
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, "{\"items\":[{\"id\":\"vm-5\",\"name\":\"keepsake\",\"kind\":\"machine\",\"machine\":\""
	       MACHINE_UID "\",\"stranger\":\"a copy\"}]}", NULL);
	ck_assert_int_eq(c->lc.phase, LC_DELETED);
	ck_assert_uint_eq(call.count, 1);
	ck_assert_str_eq(json_str_or(c->state, "left.0.id", ""), "vm-5");
	ck_assert_str_eq(json_str_or(c->state, "left.0.why", ""), "a copy");
}
END_TEST

/* Nor does it stand for the machine that it is a copy of. */
START_TEST(a_machine_is_removed_although_a_copy_of_it_is_seen)
{
	load("Deleting", "machines_gone", "absent", false, 2);
	lifecycle_begin(l);
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, "{\"items\":[{\"id\":\"vm-5\",\"name\":\"keepsake\",\"kind\":\"machine\",\"machine\":\""
	       MACHINE_UID "\",\"stranger\":\"a copy\"}]}", NULL);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "machine_delete");
	ck_assert_str_eq(call.subject, MACHINE_UID);
}
END_TEST

static void report(struct cluster *c, void (*add)(struct cluster *c, struct store_batch *b))
{
	struct store_batch *b = store_batch_new(store);

	add(c, b);
	store_batch_commit(b, NULL, NULL);
}

static int64_t only_report(json_t *reports)
{
	ck_assert_uint_eq(json_array_size(reports), 1);
	return json_int_or(reports, "0.seq", 0);
}

START_TEST(a_report_that_was_not_sent_stands_for_those_that_follow)
{
	struct cluster *c = load("Running", "", "present", false, 4);
	AUTO_JSON json_t *first = NULL, *second = NULL;
	int64_t seq;

	report(c, report_cluster_recovery);
	seq = l->report_seq;
	c->lc.epoch = 9;
	json_put_str(c->state, "endpoint.host", "192.0.2.8");
	report(c, report_cluster_recovery);
	ck_assert_int_eq(l->report_seq, seq);
	first = lifecycle_reports(l, 10);
	ck_assert_int_eq(only_report(first), seq);
	ck_assert_int_eq(json_int_or(first, "0.doc.recovery.epoch", 0), 9);
	ck_assert_str_eq(json_str_or(first, "0.doc.recovery.endpoint.host", ""), "192.0.2.8");
	ck_assert_str_eq(json_str_or(first, "0.doc.recovery.machines.0.uid", ""), MACHINE_UID);
	ck_assert_ptr_nonnull(json_at(first, "0.doc.recovery.keys.ca.crt"));
	/* What changes while it is on its way is told once more. */
	report(c, report_cluster_recovery);
	second = lifecycle_reports(l, 10);
	ck_assert_int_gt(only_report(second), seq);
}
END_TEST

START_TEST(a_machine_that_is_asked_for_again_gets_the_same_user_data_until_the_request_changes)
{
	struct cluster *c = load("Bootstrapping", "machine", "present", false, 1);
	AUTO_JSON json_t *spec = spec_document("present");
	AUTO_FREE char *first = NULL;

	lifecycle_begin(l);
	UNTIL(call.cb);
	first = strdup(json_str_or(call.doc, "userData", ""));
	ck_assert_ptr_nonnull(strstr(first, "v1.36.3"));
	answer(PCG_STEP_PENDING, "{}", NULL);
	lifecycle_nudge_all(l);
	UNTIL(call.cb);
	ck_assert_str_eq(json_str_or(call.doc, "userData", ""), first);
	ck_assert_ptr_nonnull(c->user_data);
	json_put_str(spec, "kubernetesVersion", "v1.36.2");
	cluster_set_spec(c, spec);
	answer(PCG_STEP_PENDING, "{}", NULL);
	lifecycle_nudge_all(l);
	UNTIL(call.cb);
	ck_assert_ptr_nonnull(strstr(json_str_or(call.doc, "userData", ""), "v1.36.2"));
	answer(PCG_STEP_ERROR, NULL, NULL);
	ck_assert_ptr_null(c->user_data);
}
END_TEST

START_TEST(an_answer_without_a_checkpoint_leaves_the_last)
{
	struct cluster *c = load("Bootstrapping", "machine", "present", false, 1);
	struct machine *m = machine_find(c, MACHINE_UID);

	lifecycle_begin(l);
	UNTIL(call.cb);
	ck_assert_str_eq(call.op, "machine_ensure");
	ck_assert(json_is_null(json_object_get(call.doc, "checkpoint"))); /* nothing was begun */
	answer(PCG_STEP_PENDING, NULL, "{\"begun\":true}");
	ck_assert(!m->dirty); /* it is with the store's writer */
	for (int i = 0; i < 2; i++) {
		lifecycle_nudge_all(l);
		UNTIL(call.cb);
		ck_assert(json_is_true(json_at(call.doc, "checkpoint.begun")));
		answer(PCG_STEP_PENDING, NULL, NULL);
	}
}
END_TEST

START_TEST(the_machines_of_a_deleted_cluster_leave_no_row)
{
	struct cluster *c = load("Deleting", "inventory", "absent", false, 2);
	struct machine *m = machine_find(c, MACHINE_UID);

	m->state = MACHINE_GONE;
	m->dirty = true;
	cluster_save(c, NULL, NULL);
	ck_assert_uint_eq(rows("machines"), 1);
	lifecycle_begin(l);
	UNTIL(call.cb);
	answer(PCG_STEP_DONE, empty, NULL);
	UNTIL(!cluster_find(l, UID));
	ck_assert_uint_eq(rows("machines"), 0);
}
END_TEST

static bool is_deleted(void)
{
	AUTO_JSON json_t *view = lifecycle_show(l, UID);

	return !strcmp(json_str_or(view, "phase", ""), "Deleted");
}

START_TEST(an_abandoned_delete_ends_although_a_machine_never_goes)
{
	AUTO_JSON json_t *view = NULL;

	lifecycle_set_limits(l, 50, 1000);
	load("Deleting", "machines_gone", "abandoned", true, 1);
	lifecycle_begin(l);
	for (;;) {
		UNTIL(call.cb || is_deleted());
		if (!call.cb)
			break;
		ck_assert_str_eq(call.op, "machine_delete");
		answer(PCG_STEP_PENDING, NULL, NULL);
	}
	view = lifecycle_show(l, UID);
	ck_assert_str_eq(json_str_or(view, "left.0.id", ""), MACHINE_UID);
	ck_assert_str_eq(json_str_or(view, "left.0.name", ""), "prod-cp-x");
	ck_assert_ptr_nonnull(strstr(json_str_or(view, "left.0.why", ""), "does not come to an end"));
	ck_assert_str_eq(json_str_or(view, "left.1.id", ""), UID);
}
END_TEST

static void on_stored(void *arg, int64_t cursor)
{
	*(int64_t *)arg = cursor;
}

static const struct {
	const char *phase;
	const char *desired, *op;
	int epoch;
} adopted[] = {
	{ "Bootstrapping", "absent", "machine_delete", 1 },
	{ "Deleting", "absent", "inventory", 4 },
	{ "Running", "force-absent", "inventory", 4 },
};

/* What another installation had begun is known by the recovery document alone. */
START_TEST(a_cluster_of_a_lost_store_is_gone_on_with_from_its_recovery_document)
{
	json_t *document = spec_document(adopted[_i].desired);
	AUTO_JSON json_t *batch = NULL;
	int64_t cursor = 0;
	struct cluster *c;
	struct machine *m;

	json_object_set_new(document, "recovery",
			    json_pack("{s:s,s:i,s:{s:s,s:i},s:[{s:s,s:s,s:s,s:s,s:{s:s}},{s:s,s:s,s:s,s:s}],s:o}", "phase",
				      adopted[_i].phase, "epoch", adopted[_i].epoch, "endpoint", "host", "192.0.2.9",
				      "port", 6443, "machines", "uid", MACHINE_UID, "name", "prod-cp-x", "pool", "cp",
				      "role", "control-plane", "observed", "id", "vm-1", "uid", "u2", "name",
				      "prod-cp-y", "pool", "cp", "role", "control-plane", "keys", keys_new(document)));
	batch = json_pack("{s:I,s:s,s:[{s:s,s:s,s:I,s:o}]}", "cursor", (json_int_t)9, "planeId", "p", "items",
			  "kind", "cluster", "uid", UID, "generation", (json_int_t)5, "document", document);
	lifecycle_begin(l);
	lifecycle_take(l, batch, on_stored, &cursor);
	UNTIL(cursor == 9 && call.cb);
	c = cluster_find(l, UID);
	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(c->lc.epoch, adopted[_i].epoch);
	ck_assert(c->lc.touched);
	ck_assert_str_eq(json_str_or(c->state, "endpoint.host", ""), "192.0.2.9");
	ck_assert_ptr_nonnull(json_at(c->recovery, "keys.ca.crt"));
	m = machine_find(c, MACHINE_UID);
	ck_assert_ptr_nonnull(m);
	ck_assert_str_eq(m->state, MACHINE_PRESENT);
	ck_assert_str_eq(json_str_or(m->observed, "id", ""), "vm-1");
	/* Not null: something may have been begun for it. */
	ck_assert(json_is_object(m->checkpoint));
	m = machine_find(c, "u2");
	ck_assert_ptr_nonnull(m);
	ck_assert_str_eq(m->state, MACHINE_INTENT);
	ck_assert(json_is_object(m->checkpoint));
	ck_assert_str_eq(call.op, adopted[_i].op);
}
END_TEST

static json_t *plan_answer;
static struct pcg_error plan_error;
static int planned;

static void on_plan(void *arg, json_t *result, const struct pcg_error *err)
{
	planned++;
	plan_answer = result;
	if (err)
		plan_error = *err;
}

static void take(int64_t generation, json_t *document)
{
	AUTO_JSON json_t *batch = json_pack("{s:I,s:s,s:[{s:s,s:s,s:I,s:o}]}", "cursor", (json_int_t)generation,
					    "planeId", "p", "items", "kind", "cluster", "uid", UID, "generation",
					    (json_int_t)generation, "document", document);
	int64_t cursor = 0;

	lifecycle_take(l, batch, on_stored, &cursor);
	UNTIL(cursor == generation);
}

/* _i: it moved to another gateway; else it is deleted. */
START_TEST(a_plan_of_a_cluster_that_goes_meanwhile_ends_with_that)
{
	planned = 0;
	load("Pending", "admit", "present", false, 1)->lc.touched = false;
	lifecycle_plan(l, UID, on_plan, NULL);
	ck_assert_ptr_nonnull(call.cb);
	ck_assert_int_eq(planned, 0);
	take(4, _i ? json_null() : spec_document("absent"));
	UNTIL(!cluster_find(l, UID));
	ck_assert_ptr_null(call.cb); /* nobody waits for the provider any more */
	ck_assert_int_eq(planned, 1);
	ck_assert_ptr_null(plan_answer);
	ck_assert_int_eq(plan_error.class, PCG_CLASS_NOT_FOUND);
	ck_assert_str_eq(plan_error.text, "the plan of cluster prod: the cluster went away meanwhile");
}
END_TEST

static struct proxy_set *proxy_at(unsigned port)
{
	struct proxy_set *set;
	struct pcg_error err;
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
	ck_assert_int_eq(proxy_set_new(url, url, NULL, NULL, &set, &err), 0);
	return set;
}

static bool waits_for(const struct cluster *c, const char *text)
{
	return c->lc.condition.set && strstr(c->lc.condition.cause, text);
}

START_TEST(a_cluster_that_is_under_way_is_asked_through_the_proxy_of_now)
{
	struct cluster *c = load("Bootstrapping", "api", "present", false, 1);
	struct proxy_set *first = proxy_at(1), *second = proxy_at(2);

	c->lc.task_since_ms = clock_wall_ms() - 3600000; /* it is told why it does not answer */
	lifecycle_set_proxy(l, first);
	lifecycle_begin(l);
	UNTIL(waits_for(c, "127.0.0.1:1"));
	lifecycle_set_proxy(l, second);
	lifecycle_nudge_all(l);
	UNTIL(waits_for(c, "127.0.0.1:2"));
	proxy_set_unref(first);
	proxy_set_unref(second);
}
END_TEST

static const char *pods_of(const struct cluster *c)
{
	return json_str_or(c->spec, "podCIDR", "");
}

/* ---- what policy changed */

static struct cluster *load_changed(const char *phase, const char *task)
{
	struct cluster *c = load(phase, task, "present", false, 1);
	AUTO_JSON json_t *change = json_pack("{s:s}", "podCIDR", "10.77.0.0/16");

	cluster_keep_change(c, change);
	return c;
}

START_TEST(what_policy_changed_stands_in_each_newer_request)
{
	struct cluster *c = load_changed("Bootstrapping", "machine");
	json_t *document = spec_document("present");
	AUTO_JSON json_t *recovery = NULL;

	json_put_str(document, "podCIDR", "10.1.0.0/16");
	take(4, document);
	ck_assert_str_eq(pods_of(c), "10.77.0.0/16");
	ck_assert(!c->spec_dirty && !c->recovery_dirty); /* with the store's writer */
	recovery = cluster_recovery_document(c);
	ck_assert_ptr_nonnull(json_at(recovery, "policyChange.podCIDR"));
}
END_TEST

START_TEST(what_policy_changed_is_known_to_another_installation)
{
	struct cluster *c = load_changed("Bootstrapping", "machine");
	json_t *document = spec_document("present"), *recovery = cluster_recovery_document(c);

	take(4, json_null()); /* it is not here any more */
	ck_assert_ptr_null(cluster_find(l, UID));
	json_object_set_new(document, "recovery", recovery);
	take(5, document);
	c = cluster_find(l, UID);
	ck_assert_str_eq(pods_of(c), "10.77.0.0/16");
	ck_assert_ptr_nonnull(cluster_change(c));
}
END_TEST

START_TEST(policy_is_asked_about_the_request_itself_as_long_as_nothing_was_made)
{
	struct cluster *c = load_changed("Preparing", "check");

	c->lc.touched = false;
	take(4, spec_document("present"));
	ck_assert_int_eq(c->lc.task, LC_TASK_ADMIT);
	ck_assert_str_eq(pods_of(c), "");
}
END_TEST

START_TEST(a_change_that_does_not_fit_a_newer_request_is_told_and_the_request_kept)
{
	struct cluster *c = load_changed("Bootstrapping", "machine");
	json_t *document = spec_document("present");

	json_object_set_new(document, "podCIDR", json_array());
	json_array_append_new(json_object_get(document, "podCIDR"), json_integer(1));
	take(4, document);
	ck_assert(json_is_array(json_object_get(c->spec, "podCIDR")));
	ck_assert_uint_eq(times_told("policy_change_lost"), 1);
}
END_TEST

/* ---- a request that changes before anything is made */

static bool waits_for_plane(void)
{
	const struct cluster *c = cluster_find(l, UID);

	if (call.cb && !strcmp(call.op, "cluster_ensure") && c->lc.task == LC_TASK_CHECK)
		answer(PCG_STEP_DONE, "{}", NULL);
	return c->lc.task == LC_TASK_RECOVERY;
}

static void load_account(void)
{
	AUTO_JSON json_t *account = json_pack("{s:s,s:s,s:i,s:{}}", "uid", "a1", "provider", "sim", "generation", 1, "spec");

	lifecycle_load_account(l, account);
}

START_TEST(what_was_prepared_from_a_request_goes_with_it)
{
	AUTO_FREE char *ca = NULL, *name = NULL;
	json_t *second = spec_document("present");
	AUTO_JSON json_t *recovery = NULL;
	const struct cluster *c;

	load_account();
	lifecycle_begin(l);
	take(4, spec_document("present"));
	UNTIL(waits_for_plane());
	c = cluster_find(l, UID);
	ca = strdup(json_str_or(c->recovery, "keys.ca.crt", ""));
	name = strdup(task_first_machine(c)->name);
	ck_assert_uint_eq(json_array_size(json_at(c->recovery, "render.certificates")), 0);
	/* The plane is away. Its user gives a certificate, and renames the pool. */
	json_put_str(json_at(second, "pools.0"), "name", "control");
	json_object_set_new(second, "certificates", json_pack("[{s:s,s:s}]", "name", "corp", "pem", ca));
	take(5, second);
	UNTIL(waits_for_plane());
	ck_assert_str_eq(json_str_or(c->recovery, "render.certificates.0.name", ""), "corp");
	ck_assert_str_ne(json_str_or(c->recovery, "keys.ca.crt", ""), ca);
	ck_assert_str_eq(task_first_machine(c)->pool, "control");
	ck_assert_str_ne(task_first_machine(c)->name, name);
	recovery = cluster_recovery_document(c);
	ck_assert_uint_eq(json_array_size(json_object_get(recovery, "machines")), 1);
	ck_assert_uint_eq(times_told("request_changed"), 1);
	ck_assert_uint_eq(rows("machines"), 1);
	/* Once something was made it stays: the node was given it. */
	cluster_find(l, UID)->lc.touched = true;
	take(6, spec_document("present"));
	ck_assert_str_eq(json_str_or(c->recovery, "render.certificates.0.name", ""), "corp");
}
END_TEST

/* ---- an account that the plane has removed */

static void take_account(int64_t cursor, json_t *document)
{
	AUTO_JSON json_t *batch = json_pack("{s:I,s:s,s:[{s:s,s:s,s:I,s:o}]}", "cursor", (json_int_t)cursor, "planeId",
					    "p", "items", "kind", "account", "uid", "a1", "generation",
					    (json_int_t)cursor, "document", document);
	int64_t stored = 0;

	lifecycle_take(l, batch, on_stored, &stored);
	UNTIL(stored == cursor);
}

/* _i: the cluster is deleted; else it moves to another gateway. */
START_TEST(a_removed_account_goes_with_the_last_cluster_that_uses_it)
{
	accounts_removed = 0;
	load("Running", "", "present", false, 2);
	take_account(4, json_pack("{s:s,s:s,s:i,s:{}}", "uid", "a1", "provider", "sim", "generation", 4, "spec"));
	take_account(5, json_null());
	ck_assert(lifecycle_has_account(l, "a1")); /* a delete would need it */
	ck_assert_uint_eq(rows("accounts"), 1);
	take(6, _i ? spec_document("force-absent") : json_null());
	if (_i) {
		lifecycle_begin(l);
		for (int looks = 0; cluster_find(l, UID);) {
			UNTIL(call.cb || !cluster_find(l, UID));
			ck_assert(lifecycle_has_account(l, "a1") || !call.cb);
			if (call.cb && strcmp(call.op, "inventory"))
				answer(PCG_STEP_DONE, "{}", NULL);
			else if (call.cb)
				answer(PCG_STEP_DONE, empty, NULL);
			ck_assert_int_lt(looks++, 20);
			lifecycle_nudge_all(l);
		}
	}
	ck_assert(!lifecycle_has_account(l, "a1"));
	ck_assert_uint_eq(rows("accounts"), 0);
	ck_assert_uint_eq(accounts_removed, 1);
}
END_TEST

START_TEST(a_removed_account_is_known_as_such_to_the_next_start_unless_it_came_back)
{
	AUTO_JSON json_t *kept = NULL;

	accounts_removed = 0;
	load("Running", "", "present", false, 2);
	load_account();
	take_account(5, json_null());
	kept = json_deep_copy(json_object_get(l->accounts, "a1"));
	lifecycle_close(l);
	uv_run(&loop, UV_RUN_NOWAIT);
	lifecycle_free(l);
	open_lifecycle();
	lifecycle_load_account(l, kept);
	load("Running", "", "present", false, 2);
	if (_i)
		take_account(6, json_pack("{s:s,s:s,s:i,s:{}}", "uid", "a1", "provider", "sim", "generation", 6, "spec"));
	take(7, json_null());
	ck_assert(lifecycle_has_account(l, "a1") == (_i == 1));
	ck_assert_uint_eq(accounts_removed, _i ? 0 : 1);
}
END_TEST

START_TEST(what_may_have_been_handed_over_stays_so_over_a_restart_and_for_the_next_installation)
{
	struct cluster *c = load("Preparing", "in_charge", "present", false, 2), *again;
	AUTO_JSON json_t *recovery = NULL, *state = NULL;
	struct store_cluster_row row = { .uid = "other", .name = "other", .phase = "Preparing", .task = "in_charge",
					 .desired = "present", .spec = c->spec };

	c->lc.handed = true;
	recovery = cluster_recovery_document(c);
	ck_assert_str_eq(json_str_or(recovery, "phase", ""), "Pivoting");
	cluster_save(c, NULL, NULL);
	row.state = state = json_deep_copy(c->state);
	again = cluster_from_row(l, &row);
	ck_assert(again->lc.handed);
	cluster_free(again);
}
END_TEST

static const char *left_of(const struct cluster *c, size_t i, const char *member)
{
	return json_str_or(json_array_get(json_object_get(c->state, "left"), i), member, "");
}

static void fail_with(struct cluster *c, enum pcg_class class)
{
	struct pcg_error err;

	pcg_fail(&err, class, "", "no route to host");
	cluster_failed(c, &err);
}

START_TEST(what_a_forced_delete_did_not_ask_the_cluster_for_is_told)
{
	struct cluster *c = load("Running", "", "present", false, 2);

	take(4, spec_document("force-absent"));
	ck_assert_int_eq(c->lc.task, LC_TASK_FORCED_OFF);
	ck_assert_uint_eq(json_array_size(json_object_get(c->state, "left")), 1);
	ck_assert_str_eq(left_of(c, 0, "name"), "load balancers and volumes of cluster prod");
	ck_assert_ptr_nonnull(strstr(left_of(c, 0, "why"), "the delete was forced"));
}
END_TEST

static const char attached[] =
	"{\"loadBalancers\":[{\"namespace\":\"default\",\"name\":\"web\",\"uid\":\"s1\",\"addresses\":[\"192.0.2.9\"]}],"
	"\"volumes\":[{\"name\":\"pv1\",\"reclaimPolicy\":\"Delete\",\"handle\":\"disk-1\",\"claim\":null},"
	"{\"name\":\"pv2\",\"reclaimPolicy\":\"Retain\",\"handle\":\"disk-2\",\"claim\":null}]}";

static const struct {
	const char *task, *why;
} passed_by[] = {
	{ "take_back", "the cluster did not answer, so it was not asked" },
	{ "release", "the cluster did not answer any more" },
};

START_TEST(what_was_seen_of_a_cluster_that_does_not_answer_any_more_is_told_one_by_one)
{
	struct cluster *c = load("PivotingBack", passed_by[_i].task, "absent", false, 3);

	json_object_set_new(c->state, "attached", json_loads(attached, 0, NULL));
	lifecycle_set_limits(l, 0, 0);
	fail_with(c, PCG_CLASS_RETRY);
	ck_assert_uint_eq(json_array_size(json_object_get(c->state, "left")), 3);
	ck_assert_str_eq(left_of(c, 0, "id"), "192.0.2.9");
	ck_assert_str_eq(left_of(c, 1, "id"), "disk-1");
	for (size_t i = 0; i < 2; i++)
		ck_assert_msg(strstr(left_of(c, i, "why"), passed_by[_i].why), "%s", left_of(c, i, "why"));
	ck_assert_str_eq(left_of(c, 2, "id"), "disk-2");
	ck_assert_str_eq(left_of(c, 2, "why"), "kept: its reclaim policy is not Delete");
	ck_assert_ptr_null(json_object_get(c->state, "attached"));
}
END_TEST

/* ---- a proxy that accepts, and says nothing */

static uv_tcp_t silent;
static int connections;

static void on_peer_closed(uv_handle_t *h)
{
	free(h);
}

static void on_connection(uv_stream_t *server, int status)
{
	uv_tcp_t *peer = malloc(sizeof(*peer));

	ck_assert_int_eq(status, 0);
	uv_tcp_init(&loop, peer);
	ck_assert_int_eq(uv_accept(server, (uv_stream_t *)peer), 0);
	peer->data = silent.data;
	silent.data = peer;
	connections++;
}

static void silent_proxy_begin(void)
{
	struct sockaddr_in at;
	struct proxy_set *set;
	int len = sizeof(at);

	connections = 0;
	uv_ip4_addr("127.0.0.1", 0, &at);
	uv_tcp_init(&loop, &silent);
	ck_assert_int_eq(uv_tcp_bind(&silent, (struct sockaddr *)&at, 0), 0);
	ck_assert_int_eq(uv_listen((uv_stream_t *)&silent, 16, on_connection), 0);
	uv_tcp_getsockname(&silent, (struct sockaddr *)&at, &len);
	set = proxy_at(ntohs(at.sin_port));
	lifecycle_set_proxy(l, set);
	proxy_set_unref(set);
}

static void silent_proxy_end(void)
{
	uv_tcp_t *next;

	for (uv_tcp_t *p = silent.data; p; p = next) {
		next = p->data;
		uv_close((uv_handle_t *)p, on_peer_closed);
	}
	uv_close((uv_handle_t *)&silent, NULL);
}

START_TEST(other_limits_count_for_a_release_that_is_under_way)
{
	load("PivotingBack", "release", "absent", false, 3);
	silent_proxy_begin();
	lifecycle_begin(l);
	UNTIL(connections == 1);
	lifecycle_set_limits(l, 1000, l->settings.release_ms);
	lifecycle_set_limits(l, 1000, l->settings.release_ms * 2);
	UNTIL(connections == 2);
	silent_proxy_end();
}
END_TEST

START_TEST(another_bundle_counts_for_an_install_that_is_under_way)
{
	struct cluster *c = load("Installing", "install", "present", false, 1);

	silent_proxy_begin();
	lifecycle_begin(l);
	UNTIL(connections == 1);
	lifecycle_set_bundle(l, "/no/bundle/is/here", "");
	UNTIL(waits_for(c, "/no/bundle/is/here"));
	silent_proxy_end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tasks");
	TCase *t = tcase_create("tasks");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, a_forced_delete_ends_when_two_inventories_in_a_row_were_empty);
	tcase_add_test(t, other_deletes_look_once);
	tcase_add_test(t, a_strangers_copy_does_not_hold_up_a_delete_and_is_told);
	tcase_add_test(t, a_machine_is_removed_although_a_copy_of_it_is_seen);
	tcase_add_test(t, the_machines_of_a_deleted_cluster_leave_no_row);
	tcase_add_test(t, an_abandoned_delete_ends_although_a_machine_never_goes);
	tcase_add_test(t, a_report_that_was_not_sent_stands_for_those_that_follow);
	tcase_add_test(t, a_machine_that_is_asked_for_again_gets_the_same_user_data_until_the_request_changes);
	tcase_add_test(t, an_answer_without_a_checkpoint_leaves_the_last);
	tcase_add_loop_test(t, a_cluster_of_a_lost_store_is_gone_on_with_from_its_recovery_document, 0,
			    ARRAY_LEN(adopted));
	tcase_add_test(t, what_policy_changed_stands_in_each_newer_request);
	tcase_add_test(t, what_policy_changed_is_known_to_another_installation);
	tcase_add_test(t, policy_is_asked_about_the_request_itself_as_long_as_nothing_was_made);
	tcase_add_test(t, a_change_that_does_not_fit_a_newer_request_is_told_and_the_request_kept);
	tcase_add_test(t, what_was_prepared_from_a_request_goes_with_it);
	tcase_add_loop_test(t, a_removed_account_goes_with_the_last_cluster_that_uses_it, 0, 2);
	tcase_add_loop_test(t, a_removed_account_is_known_as_such_to_the_next_start_unless_it_came_back, 0, 2);
	tcase_add_test(t, what_may_have_been_handed_over_stays_so_over_a_restart_and_for_the_next_installation);
	tcase_add_test(t, what_a_forced_delete_did_not_ask_the_cluster_for_is_told);
	tcase_add_loop_test(t, what_was_seen_of_a_cluster_that_does_not_answer_any_more_is_told_one_by_one, 0,
			    ARRAY_LEN(passed_by));
	tcase_add_test(t, a_cluster_that_is_under_way_is_asked_through_the_proxy_of_now);
	tcase_add_test(t, other_limits_count_for_a_release_that_is_under_way);
	tcase_add_test(t, another_bundle_counts_for_an_install_that_is_under_way);
	tcase_add_loop_test(t, a_plan_of_a_cluster_that_goes_meanwhile_ends_with_that, 0, 2);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
