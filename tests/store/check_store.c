/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/store/store.h"

#include "core/clock.h"
#include "core/log.h"
#include "host/store/schema.h"
#include "tests/core/unit.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>

static char dir[256], path[512];
static uv_loop_t loop;
static struct secret *key;

static void setup(void)
{
	static const uint8_t bytes[32] = { 7 };

	unit_dir_make(dir);
	snprintf(path, sizeof(path), "%s/pcgd.db", dir);
	uv_loop_init(&loop);
	key = secret_new(bytes, sizeof(bytes));
	log_init("check_store", LOG_L_ERROR);
}

static void teardown(void)
{
	secret_unref(key);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	unit_dir_remove(dir);
}

static struct store *open_store(void)
{
	struct pcg_error err;
	struct store *s;

	ck_assert_msg(!store_open(&loop, path, key, &s, &err), "%s", err.text);
	return s;
}

static void close_store(struct store *s)
{
	store_close(s, NULL, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
}

static void on_deadline(uv_timer_t *t)
{
	ck_abort_msg("not within the deadline");
}

/* Until *n reaches want. */
static void run_until(const unsigned *n, unsigned want)
{
	uv_timer_t deadline;

	uv_timer_init(&loop, &deadline);
	uv_timer_start(&deadline, on_deadline, 20000, 0);
	while (*n < want)
		uv_run(&loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&deadline, NULL);
	uv_run(&loop, UV_RUN_NOWAIT);
}

static void count(void *arg)
{
	++*(unsigned *)arg;
}

static void commit_wait(struct store_batch *b)
{
	unsigned n = 0;

	store_batch_commit(b, count, &n);
	run_until(&n, 1);
}

static json_t *parse(const char *text)
{
	json_t *j = json_loads(text, JSON_ALLOW_NUL, NULL);

	ck_assert_ptr_nonnull(j);
	return j;
}

/* What a load tells, as one document. */
static void on_meta(void *arg, const char *k, const char *value)
{
	json_object_set_new(json_object_get(arg, "meta"), k, json_string(value));
}

static void on_account(void *arg, json_t *doc)
{
	json_array_append(json_object_get(arg, "accounts"), doc);
}

static void on_secret(void *arg, const char *account, const char *name, struct secret *value)
{
	json_array_append_new(json_object_get(arg, "secrets"),
			      json_pack("[s,s,s#]", account, name, secret_data(value),
					(int)secret_len(value)));
}

static void on_cluster(void *arg, const struct store_cluster_row *r)
{
	json_array_append_new(
		json_object_get(arg, "clusters"),
		json_pack("{s:s,s:s,s:s?,s:s?,s:s?,s:s,s:s?,s:s,s:I,s:I,s:O?,s:O?,s:O?}", "uid", r->uid,
			  "name", r->name, "tenant", r->tenant, "project", r->project, "account",
			  r->account, "phase", r->phase, "task", r->task, "desired", r->desired,
			  "generation", (json_int_t)r->generation, "epoch", (json_int_t)r->epoch, "state",
			  r->state, "spec", r->spec, "recovery", r->recovery));
}

static void on_machine(void *arg, const struct store_machine_row *r)
{
	json_array_append_new(json_object_get(arg, "machines"),
			      json_pack("{s:s,s:s,s:s,s:s?,s:s?,s:s,s:s?,s:O?,s:O?}", "uid", r->uid,
					"cluster", r->cluster, "name", r->name, "pool", r->pool, "role",
					r->role, "state", r->state, "op", r->op, "observed", r->observed,
					"checkpoint", r->checkpoint));
}

static void on_report(void *arg, int64_t seq, const char *kind, const char *k, json_t *doc)
{
	json_array_append_new(json_object_get(arg, "reports"),
			      json_pack("[I,s,s?,O]", (json_int_t)seq, kind, k, doc));
}

static int try_load(struct store *s, json_t **all, struct pcg_error *err)
{
	struct store_loader l = { .meta = on_meta, .account = on_account, .secret = on_secret,
				  .cluster = on_cluster, .machine = on_machine, .report = on_report };

	l.arg = *all = json_pack("{s:{},s:[],s:[],s:[],s:[],s:[]}", "meta", "accounts", "secrets",
				 "clusters", "machines", "reports");
	return store_load(s, &l, err);
}

static json_t *load(struct store *s)
{
	struct pcg_error err;
	json_t *all;

	ck_assert_msg(!try_load(s, &all, &err), "%s", err.text);
	return all;
}

static void ck_same(json_t *got, const char *want)
{
	AUTO_JSON json_t *w = parse(want);
	char *text = json_dumps(got, JSON_ENCODE_ANY | JSON_SORT_KEYS);

	ck_assert_msg(json_equal(got, w), "got %s\nwant %s", text, want);
	free(text);
}

static void put_meta(struct store *s, const char *k, const char *value)
{
	struct store_batch *b = store_batch_new(s);

	store_put_meta(b, k, value);
	commit_wait(b);
}

/* Another connection, as a person with sqlite3 would have. */
static void sql(const char *text)
{
	sqlite3 *db;
	char *why = NULL;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &why) == SQLITE_OK, "%s: %s", text, why);
	sqlite3_close(db);
}

static void put_every_row(struct store_batch *b, const char *cluster)
{
	AUTO_JSON json_t *account = parse("{\"uid\":\"a1\",\"spec\":{\"token\":\"account-secret\"}}");
	AUTO_JSON json_t *state = parse("{\"endpoint\":{\"host\":\"10.0.0.1\"}}");
	AUTO_JSON json_t *spec = parse("{\"hidden\":\"spec-secret\"}");
	AUTO_JSON json_t *recovery = parse("{\"keys\":\"recovery-secret\"}");
	AUTO_JSON json_t *doc = parse("{\"n\":\"report-secret\"}");
	struct secret *cookie = secret_new("a\0b", 3);
	struct store_cluster_row c = { .uid = cluster, .name = "prod", .tenant = "t", .project = "p",
				       .account = "a1", .phase = "Bootstrapping", .task = "api",
				       .desired = "present", .generation = INT64_MAX, .epoch = 1,
				       .state = state, .spec = spec, .recovery = recovery };
	struct store_machine_row m = { .uid = "m1", .cluster = cluster, .name = "prod-cp-1",
				       .pool = "cp", .role = "control-plane", .state = "intent",
				       .op = "ensure", .observed = state, .checkpoint = NULL };

	store_put_meta(b, "cursor", "17");
	store_put_account(b, "a1", 3, account);
	store_put_secret(b, "a1", "cookie", cookie);
	store_put_cluster(b, &c);
	store_put_machine(b, &m);
	store_put_report(b, 5, "cluster.status", "status/c1", doc);
	store_put_report(b, 6, "cluster.event", NULL, doc);
	secret_unref(cookie);
}

START_TEST(every_row_comes_back_as_it_was)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	json_t *all;

	put_every_row(b, "c1");
	commit_wait(b);
	close_store(s);
	s = open_store();
	all = load(s);
	ck_same(json_object_get(all, "meta"), "{\"cursor\":\"17\",\"report_seq\":\"6\"}");
	ck_same(json_object_get(all, "accounts"),
		"[{\"uid\":\"a1\",\"spec\":{\"token\":\"account-secret\"}}]");
	ck_same(json_object_get(all, "secrets"), "[[\"a1\",\"cookie\",\"a\\u0000b\"]]");
	ck_same(json_object_get(all, "clusters"),
		"[{\"uid\":\"c1\",\"name\":\"prod\",\"tenant\":\"t\",\"project\":\"p\",\"account\":\"a1\","
		"\"phase\":\"Bootstrapping\",\"task\":\"api\",\"desired\":\"present\","
		"\"generation\":9223372036854775807,\"epoch\":1,"
		"\"state\":{\"endpoint\":{\"host\":\"10.0.0.1\"}},\"spec\":{\"hidden\":\"spec-secret\"},"
		"\"recovery\":{\"keys\":\"recovery-secret\"}}]");
	ck_same(json_object_get(all, "machines"),
		"[{\"uid\":\"m1\",\"cluster\":\"c1\",\"name\":\"prod-cp-1\",\"pool\":\"cp\","
		"\"role\":\"control-plane\",\"state\":\"intent\",\"op\":\"ensure\","
		"\"observed\":{\"endpoint\":{\"host\":\"10.0.0.1\"}},\"checkpoint\":null}]");
	ck_same(json_object_get(all, "reports"),
		"[[5,\"cluster.status\",\"status/c1\",{\"n\":\"report-secret\"}],"
		"[6,\"cluster.event\",null,{\"n\":\"report-secret\"}]]");
	json_decref(all);
	close_store(s);
}
END_TEST

/* A uid longer than any buffer still opens what was sealed for it. */
START_TEST(a_cluster_with_a_long_uid_comes_back)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	char uid[1001];
	json_t *all;

	memset(uid, 'u', 1000);
	uid[1000] = '\0';
	put_every_row(b, uid);
	commit_wait(b);
	close_store(s);
	s = open_store();
	all = load(s);
	ck_assert_str_eq(json_str(json_array_get(json_object_get(all, "clusters"), 0), "uid"), uid);
	json_decref(all);
	close_store(s);
}
END_TEST

START_TEST(spec_and_recovery_stay_when_a_row_is_written_without_them)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	AUTO_JSON json_t *state = parse("{\"n\":2}");
	struct store_cluster_row c = { .uid = "c1", .name = "prod", .phase = "Running",
				       .desired = "present", .generation = 2, .epoch = 2, .state = state };
	json_t *all, *row;

	put_every_row(b, "c1");
	commit_wait(b);
	b = store_batch_new(s);
	store_put_cluster(b, &c);
	commit_wait(b);
	close_store(s);
	s = open_store();
	all = load(s);
	row = json_array_get(json_object_get(all, "clusters"), 0);
	ck_assert_str_eq(json_str(row, "phase"), "Running");
	ck_assert_str_eq(json_str(row, "spec.hidden"), "spec-secret");
	ck_assert_str_eq(json_str(row, "recovery.keys"), "recovery-secret");
	json_decref(all);
	close_store(s);
}
END_TEST

START_TEST(removed_rows_are_gone_and_history_stays)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	json_t *all;

	put_every_row(b, "c1");
	store_add_history(b, "c1", "prod", 1000, "phase", NULL);
	commit_wait(b);
	b = store_batch_new(s);
	store_remove_account(b, "a1");
	store_remove_cluster(b, "c1");
	store_remove_report(b, 5);
	store_remove_report(b, 6);
	commit_wait(b);
	close_store(s);
	s = open_store();
	all = load(s);
	ck_same(json_object_get(all, "accounts"), "[]");
	ck_same(json_object_get(all, "secrets"), "[]");
	ck_same(json_object_get(all, "clusters"), "[]");
	ck_same(json_object_get(all, "machines"), "[]");
	ck_same(json_object_get(all, "reports"), "[]");
	/* a report after a restart must not get the number of one that the plane has seen */
	ck_assert_str_eq(json_str(json_object_get(all, "meta"), "report_seq"), "6");
	json_decref(all);
	close_store(s);
}
END_TEST

START_TEST(a_report_of_the_same_key_replaces_the_one_that_waits)
{
	struct store *s = open_store();
	AUTO_JSON json_t *first = parse("{\"n\":1}"), *second = parse("{\"n\":2}");
	struct store_batch *b = store_batch_new(s);
	json_t *all;

	store_put_report(b, 1, "cluster.status", "status/c1", first);
	store_put_report(b, 2, "cluster.status", "status/c2", first);
	store_put_report(b, 3, "cluster.event", NULL, first);
	store_put_report(b, 4, "cluster.event", NULL, second);
	store_put_report(b, 5, "cluster.status", "status/c1", second);
	commit_wait(b);
	close_store(s);
	s = open_store();
	all = load(s);
	ck_same(json_object_get(all, "reports"),
		"[[2,\"cluster.status\",\"status/c2\",{\"n\":1}],[3,\"cluster.event\",null,{\"n\":1}],"
		"[4,\"cluster.event\",null,{\"n\":2}],[5,\"cluster.status\",\"status/c1\",{\"n\":2}]]");
	json_decref(all);
	close_store(s);
}
END_TEST

static unsigned order_next;

static void in_order(void *arg)
{
	ck_assert_uint_eq((uintptr_t)arg, order_next);
	order_next++;
}

START_TEST(callbacks_come_in_order_and_batches_share_commits)
{
	struct store *s = open_store();
	const unsigned n = 2000;
	AUTO_JSON json_t *stats = NULL;
	char value[16];

	order_next = 0;
	for (unsigned i = 0; i < n; i++) {
		struct store_batch *b = store_batch_new(s);

		snprintf(value, sizeof(value), "%u", i);
		store_put_meta(b, "n", value);
		store_batch_commit(b, in_order, (void *)(uintptr_t)i);
	}
	run_until(&order_next, n);
	stats = store_stats(s);
	ck_assert_int_eq(json_int_or(stats, "batches", 0), n);
	ck_assert_int_lt(json_int_or(stats, "commits", n), n / 10);
	close_store(s);
}
END_TEST

START_TEST(closing_waits_for_what_was_committed)
{
	struct store *s = open_store();
	unsigned done = 0;
	json_t *all;

	for (unsigned i = 0; i < 700; i++) {
		struct store_batch *b = store_batch_new(s);
		char k[16];

		snprintf(k, sizeof(k), "k%u", i);
		store_put_meta(b, k, "v");
		store_batch_commit(b, count, &done);
	}
	close_store(s);
	ck_assert_uint_eq(done, 700);
	s = open_store();
	all = load(s);
	ck_assert_uint_eq(json_object_size(json_object_get(all, "meta")), 700);
	json_decref(all);
	close_store(s);
}
END_TEST

static bool file_holds(const char *name, const char *text)
{
	FILE *f = fopen(unit_path(dir, name), "r");
	static char data[4u << 20];
	size_t n;

	if (!f)
		return false;
	n = fread(data, 1, sizeof(data), f);
	fclose(f);
	return memmem(data, n, text, strlen(text)) != NULL;
}

START_TEST(no_secret_stands_in_a_file_in_clear)
{
	static const char *const files[] = { "pcgd.db", "pcgd.db-wal", "pcgd.db-shm" };
	static const char *const secrets[] = { "account-secret", "spec-secret", "recovery-secret",
					       "report-secret" };
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	bool name = false;

	put_every_row(b, "c1");
	commit_wait(b);
	for (unsigned i = 0; i < ARRAY_LEN(files); i++) {
		name = name || file_holds(files[i], "prod-cp-1");
		for (unsigned k = 0; k < ARRAY_LEN(secrets); k++)
			ck_assert_msg(!file_holds(files[i], secrets[k]), "%s in %s", secrets[k],
				      files[i]);
	}
	ck_assert(name); /* what is not secret is there: the files were really looked at */
	close_store(s);
}
END_TEST

static void ck_load_refused(const char *what)
{
	struct store *s = open_store();
	struct pcg_error err;
	json_t *all;

	ck_assert_int_lt(try_load(s, &all, &err), 0);
	ck_assert_msg(strstr(err.text, what), "%s", err.text);
	ck_assert_ptr_null(strstr(err.text, "secret"));
	json_decref(all);
	close_store(s);
}

static void fill(void)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);

	put_every_row(b, "c1");
	store_remove_report(b, 6);
	put_every_row(b, "c2");
	commit_wait(b);
	close_store(s);
}

START_TEST(another_key_is_refused_with_table_and_row)
{
	static const uint8_t bytes[32] = { 8 };

	fill();
	secret_unref(key);
	key = secret_new(bytes, sizeof(bytes));
	ck_load_refused("accounts a1");
}
END_TEST

/* What a thief with the file alone could try: give one cluster the keys of another. */
static const char *const moves[] = {
	"UPDATE clusters SET recovery = (SELECT recovery FROM clusters WHERE uid = 'c2') WHERE uid = 'c1'",
	"UPDATE clusters SET spec = recovery WHERE uid = 'c1'",
	"UPDATE clusters SET spec = substr(spec, 1, length(spec) - 1) WHERE uid = 'c1'",
	"UPDATE clusters SET spec = x'00' WHERE uid = 'c1'",
	"UPDATE clusters SET uid = 'c3' WHERE uid = 'c1'",
};

START_TEST(ciphertext_that_was_moved_or_cut_is_refused)
{
	fill();
	sql(moves[_i]);
	ck_load_refused(strstr(moves[_i], "'c3'") ? "clusters c3" : "clusters c1");
}
END_TEST

static json_t *history;
static unsigned histories;

static void on_history(void *arg, json_t *h)
{
	json_decref(history);
	history = json_incref(json_object_get(h, "items"));
	histories++;
}

static void ask_history(struct store *s, const char *who, uint32_t limit)
{
	store_history(s, who, limit, on_history, NULL);
	run_until(&histories, histories + 1);
}

START_TEST(history_is_found_by_uid_and_name_oldest_first_and_cut_at_the_old_end)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	AUTO_JSON json_t *fields = parse("{\"from\":\"Pending\",\"n\":3}");

	histories = 0;
	store_add_history(b, "c1", "prod", 0, "instructed", NULL);
	store_add_history(b, "c1", "prod", 1500, "phase", fields);
	store_add_history(b, "c2", "test", 2000, "instructed", NULL);
	store_add_history(b, "c3", "prod", 3000, "instructed", NULL);
	commit_wait(b);
	ask_history(s, "c1", 100);
	ck_same(history,
		"[{\"at\":\"1970-01-01T00:00:00.000Z\",\"event\":\"instructed\",\"cluster\":\"prod\",\"uid\":\"c1\"},"
		"{\"at\":\"1970-01-01T00:00:01.500Z\",\"event\":\"phase\",\"cluster\":\"prod\",\"uid\":\"c1\","
		"\"from\":\"Pending\",\"n\":3}]");
	ask_history(s, "prod", 100); /* both that had the name */
	ck_assert_uint_eq(json_array_size(history), 3);
	ask_history(s, "prod", 2);
	ck_assert_uint_eq(json_array_size(history), 2);
	ck_assert_str_eq(json_str(json_array_get(history, 1), "uid"), "c3");
	ask_history(s, "prod' OR 1=1 --", 100);
	ck_assert_uint_eq(json_array_size(history), 0);
	json_decref(history);
	history = NULL;
	close_store(s);
}
END_TEST

/* Two clusters that are stuck write by turns, and one that is not. */
START_TEST(a_long_history_keeps_its_beginning_and_its_end)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	const int lines = 7000;
	size_t n;

	histories = 0;
	store_add_history(b, "c3", "short", 0, "instructed", NULL);
	for (int i = 0; i < lines; i++) {
		AUTO_JSON json_t *fields = json_pack("{s:i}", "n", i);

		store_add_history(b, "c1", "stuck", i, "object", fields);
		store_add_history(b, "c2", "stuck too", i, "object", fields);
	}
	commit_wait(b);
	for (int i = 0; i < 2; i++) {
		ask_history(s, i ? "c2" : "c1", 100000);
		n = json_array_size(history);
		ck_assert_uint_ge(n, 5001);
		ck_assert_uint_lt(n, 5001 + 2 * 61);
		ck_assert_int_eq(json_int_or(json_array_get(history, 0), "n", -1), 0);
		ck_assert_int_eq(json_int_or(json_array_get(history, 999), "n", -1), 999);
		ck_assert_str_eq(json_str(json_array_get(history, 1000), "event"), "lines_left_out");
		ck_assert_int_ge(json_int_or(json_array_get(history, 1001), "n", -1), lines - 4000 - 61);
		ck_assert_int_eq(json_int_or(json_array_get(history, n - 1), "n", -1), lines - 1);
	}
	ask_history(s, "c3", 100);
	ck_assert_uint_eq(json_array_size(history), 1);
	json_decref(history);
	history = NULL;
	close_store(s);
}
END_TEST

static void allow_bytes(rlim_t n)
{
	struct rlimit r;

	getrlimit(RLIMIT_FSIZE, &r);
	r.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static void on_grace(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

/* The write does not come back: half a second of the loop shows that nobody was told. */
static void ck_nothing_told(const unsigned *done)
{
	uv_timer_t grace;
	bool over = false;

	uv_timer_init(&loop, &grace);
	grace.data = &over;
	uv_timer_start(&grace, on_grace, 500, 0);
	while (!over)
		uv_run(&loop, UV_RUN_ONCE);
	ck_assert_uint_eq(*done, 0);
	uv_close((uv_handle_t *)&grace, NULL);
	uv_run(&loop, UV_RUN_NOWAIT);
}

START_TEST(a_full_disk_is_waited_for_while_history_can_be_read)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	unsigned done = 0;
	char big[60000];
	json_t *all, *stats;

	signal(SIGXFSZ, SIG_IGN);
	histories = 0;
	store_add_history(b, "c1", "prod", 1000, "instructed", NULL);
	commit_wait(b);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	allow_bytes(32768);
	b = store_batch_new(s);
	store_put_meta(b, "big", big);
	store_batch_commit(b, count, &done);
	b = store_batch_new(s);
	store_put_meta(b, "small", "after");
	store_batch_commit(b, count, &done);
	ck_nothing_told(&done);
	ask_history(s, "c1", 10);
	ck_assert_uint_eq(json_array_size(history), 1);
	ck_assert_uint_eq(done, 0);
	stats = store_stats(s);
	ck_assert_ptr_nonnull(strstr(json_str_or(stats, "unwritable.cause", ""), "pcgd.db"));
	ck_assert_ptr_nonnull(json_str(stats, "unwritable.since"));
	json_decref(stats);
	allow_bytes(RLIM_INFINITY);
	run_until(&done, 2);
	stats = store_stats(s);
	ck_assert_ptr_null(json_object_get(stats, "unwritable"));
	json_decref(stats);
	json_decref(history);
	history = NULL;
	close_store(s);
	s = open_store();
	all = load(s);
	ck_assert_str_eq(json_str(json_object_get(all, "meta"), "big"), big);
	ck_assert_str_eq(json_str(json_object_get(all, "meta"), "small"), "after");
	json_decref(all);
	close_store(s);
}
END_TEST

START_TEST(a_gateway_can_end_while_the_disk_is_full)
{
	struct store *s = open_store();
	struct store_batch *b;
	unsigned done = 0;
	char big[60000];
	json_t *all;

	signal(SIGXFSZ, SIG_IGN);
	put_meta(s, "before", "kept");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	allow_bytes(32768);
	b = store_batch_new(s);
	store_put_meta(b, "big", big);
	store_batch_commit(b, count, &done);
	close_store(s);
	ck_assert_uint_eq(done, 0);
	allow_bytes(RLIM_INFINITY);
	s = open_store();
	all = load(s);
	ck_same(json_object_get(all, "meta"), "{\"before\":\"kept\"}");
	json_decref(all);
	close_store(s);
}
END_TEST

struct writer {
	struct store *store;
	int out;
	uint32_t next;
};

struct written {
	struct writer *w;
	uint32_t id;
};

static void submit(struct writer *w);

static void acknowledge(void *arg)
{
	struct written *d = arg;

	if (write(d->w->out, &d->id, sizeof(d->id)) != sizeof(d->id))
		_exit(1);
	submit(d->w);
	free(d);
}

static void submit(struct writer *w)
{
	struct written *d = malloc(sizeof(*d));
	struct store_batch *b = store_batch_new(w->store);
	char k[16];

	*d = (struct written){ w, w->next++ };
	snprintf(k, sizeof(k), "id%u", d->id);
	store_put_meta(b, k, "there");
	store_add_history(b, "c1", "prod", d->id, "written", NULL);
	store_batch_commit(b, acknowledge, d);
}

static pid_t start_writer(uint32_t first, int *in)
{
	int p[2];
	pid_t pid;

	ck_assert_int_eq(pipe(p), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		struct writer w = { .out = p[1], .next = first };
		uv_timer_t stay; /* the store alone does not keep a loop going */

		close(p[0]);
		uv_loop_init(&loop); /* of its own */
		uv_timer_init(&loop, &stay);
		uv_timer_start(&stay, on_deadline, 50000, 0);
		w.store = open_store();
		for (int i = 0; i < 8; i++)
			submit(&w);
		for (;;)
			uv_run(&loop, UV_RUN_ONCE);
	}
	close(p[1]);
	*in = p[0];
	return pid;
}

#define ROUNDS 6
#define IDS_MAX 20000

START_TEST(no_acknowledged_batch_is_lost_under_kill_9)
{
	static uint32_t acked[IDS_MAX];
	unsigned n = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned stop = n + 20 + round * 37;
		struct store *s;
		int in, status;
		pid_t pid = start_writer(round * 100000, &in);
		json_t *all;
		uint32_t id;

		while (read(in, &id, sizeof(id)) == sizeof(id)) {
			ck_assert_uint_lt(n, IDS_MAX);
			acked[n++] = id;
			if (n == stop)
				kill(pid, SIGKILL);
		}
		close(in);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		ck_assert_uint_ge(n, stop);
		s = open_store();
		all = load(s);
		for (unsigned i = 0; i < n; i++) {
			char k[16];

			snprintf(k, sizeof(k), "id%u", acked[i]);
			ck_assert_msg(json_str(json_object_get(all, "meta"), k), "%s is lost", k);
		}
		json_decref(all);
		close_store(s);
	}
}
END_TEST

static void ck_open_refused(enum pcg_class class, const char *text, const char *remedy)
{
	struct pcg_error err;
	struct store *s;

	ck_assert_int_lt(store_open(&loop, path, key, &s, &err), 0);
	ck_assert_int_eq(err.class, class);
	ck_assert_msg(strstr(err.text, text), "%s", err.text);
	ck_assert_msg(strstr(err.text, path), "%s", err.text);
	ck_assert_msg(strstr(err.remedy, remedy), "%s", err.remedy);
}

START_TEST(a_damaged_file_is_told_with_a_way_out)
{
	int fd;

	fill();
	fd = open(path, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, "this was the schema once, and is it no more", 43, 100), 43);
	close(fd);
	ck_open_refused(PCG_CLASS_PERMANENT, "malformed", "pair this gateway under its old uid");
}
END_TEST

START_TEST(a_file_that_is_no_database_is_told_with_a_way_out)
{
	char text[4096];

	memset(text, 'n', sizeof(text));
	unit_write(path, text, sizeof(text));
	ck_open_refused(PCG_CLASS_PERMANENT, "not a database", "away");
}
END_TEST

START_TEST(another_schema_version_is_refused_with_both_numbers)
{
	fill();
	sql("PRAGMA user_version=99");
	ck_open_refused(PCG_CLASS_PERMANENT, "version 99, this pcgd knows version 1", "newer pcgd");
}
END_TEST

START_TEST(the_store_of_another_program_is_refused)
{
	fill();
	sql("PRAGMA application_id=1");
	ck_open_refused(PCG_CLASS_PERMANENT, "another program", "file of its own");
}
END_TEST

START_TEST(a_second_process_is_refused_by_the_pid_of_the_first)
{
	struct store *s = open_store();
	char who[64];

	snprintf(who, sizeof(who), "process %ld uses it", (long)getpid());
	ck_open_refused(PCG_CLASS_CONFLICT, who, "stop that process");
	close_store(s);
	close_store(open_store());
}
END_TEST

START_TEST(a_batch_that_is_not_committed_leaves_nothing)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	json_t *all;

	ck_assert(store_batch_empty(b));
	put_every_row(b, "c1");
	ck_assert(!store_batch_empty(b));
	store_batch_free(b);
	put_meta(s, "k", "v");
	close_store(s);
	s = open_store();
	all = load(s);
	ck_same(json_object_get(all, "meta"), "{\"k\":\"v\"}");
	json_decref(all);
	close_store(s);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_row_comes_back_as_it_was);
	tcase_add_test(tc, a_cluster_with_a_long_uid_comes_back);
	tcase_add_test(tc, spec_and_recovery_stay_when_a_row_is_written_without_them);
	tcase_add_test(tc, removed_rows_are_gone_and_history_stays);
	tcase_add_test(tc, a_report_of_the_same_key_replaces_the_one_that_waits);
	tcase_add_test(tc, callbacks_come_in_order_and_batches_share_commits);
	tcase_add_test(tc, closing_waits_for_what_was_committed);
	tcase_add_test(tc, no_secret_stands_in_a_file_in_clear);
	tcase_add_test(tc, another_key_is_refused_with_table_and_row);
	tcase_add_loop_test(tc, ciphertext_that_was_moved_or_cut_is_refused, 0, ARRAY_LEN(moves));
	tcase_add_test(tc, history_is_found_by_uid_and_name_oldest_first_and_cut_at_the_old_end);
	tcase_add_test(tc, a_long_history_keeps_its_beginning_and_its_end);
	tcase_add_test(tc, a_full_disk_is_waited_for_while_history_can_be_read);
	tcase_add_test(tc, a_gateway_can_end_while_the_disk_is_full);
	tcase_add_test(tc, no_acknowledged_batch_is_lost_under_kill_9);
	tcase_add_test(tc, a_damaged_file_is_told_with_a_way_out);
	tcase_add_test(tc, a_file_that_is_no_database_is_told_with_a_way_out);
	tcase_add_test(tc, another_schema_version_is_refused_with_both_numbers);
	tcase_add_test(tc, the_store_of_another_program_is_refused);
	tcase_add_test(tc, a_second_process_is_refused_by_the_pid_of_the_first);
	tcase_add_test(tc, a_batch_that_is_not_committed_leaves_nothing);
}

int main(void)
{
	return unit_main("store", add);
}
