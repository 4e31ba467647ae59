/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/attr.h"
#include "core/db.h"
#include "tests/core/unit.h"

#include <errno.h>
#include <sys/wait.h>

static char dir[256];
static char path[512];
static struct db_spec spec;

static void setup(void)
{
	unit_dir_make(dir);
	snprintf(path, sizeof(path), "%s/store.db", dir);
	spec = (struct db_spec){
		.path = path, .kind = "pcgd", .application_id = 0x70636764, .version = 3,
		.schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, data BLOB);"
			  "CREATE TABLE child (t INTEGER NOT NULL REFERENCES t(id))",
	};
}

static void teardown(void)
{
	unit_dir_remove(dir);
}

static struct db *open_db(void)
{
	struct pcg_error err;
	struct db *db;

	ck_assert_msg(db_open(&spec, &db, &err) == 0, "%s", err.text);
	return db;
}

static int64_t number(struct db *db, const char *sql)
{
	struct pcg_error err;
	sqlite3_stmt *st;
	int64_t n;

	ck_assert_msg(db_prepare(db, sql, &st, &err) == 0, "%s", err.text);
	ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
	n = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return n;
}

static void add_row(struct db *db, int64_t id, const char *name)
{
	struct pcg_error err;

	ck_assert_msg(db_exec(db, &err, "INSERT INTO t VALUES (?,?,?)", "isb", id, name, "b\0b", (size_t)3) == 0,
		      "%s", err.text);
}

START_TEST(a_new_file_has_schema_marks_and_settings)
{
	struct db *db = open_db();
	struct stat st;

	ck_assert_int_eq(number(db, "PRAGMA user_version"), 3);
	ck_assert_int_eq(number(db, "PRAGMA application_id"), 0x70636764);
	ck_assert_int_eq(number(db, "PRAGMA synchronous"), 2);
	ck_assert_int_eq(number(db, "PRAGMA foreign_keys"), 1);
	ck_assert_int_eq(number(db, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"), 1);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	db_close(db);
}
END_TEST

START_TEST(rows_stay_and_values_are_bound)
{
	struct db *db = open_db();
	struct pcg_error err;

	add_row(db, INT64_MAX, "x'); DROP TABLE t; --");
	ck_assert_int_eq(db_exec(db, &err, "INSERT INTO t VALUES (?,?,?)", "isn", (int64_t)2, NULL), 0);
	db_close(db);
	db = open_db();
	ck_assert_int_eq(number(db, "SELECT id FROM t WHERE name = 'x''); DROP TABLE t; --'"), INT64_MAX);
	ck_assert_int_eq(number(db, "SELECT length(data) FROM t WHERE name IS NOT NULL"), 3);
	ck_assert_int_eq(number(db, "SELECT count(*) FROM t WHERE name IS NULL AND data IS NULL"), 1);
	db_close(db);
}
END_TEST

START_TEST(a_statement_is_prepared_once)
{
	struct db *db = open_db();
	struct pcg_error err;
	sqlite3_stmt *a, *b;
	char copy[] = "SELECT 1";

	ck_assert_int_eq(db_prepare(db, "SELECT 1", &a, &err), 0);
	ck_assert_int_eq(db_prepare(db, copy, &b, &err), 0);
	ck_assert_ptr_eq(a, b);
	ck_assert_int_eq(db_prepare(db, "SELECT nothing FROM nowhere", &a, &err), PCG_EBUG);
	ck_assert_ptr_nonnull(strstr(err.text, "nowhere"));
	db_close(db);
}
END_TEST

START_TEST(transactions_commit_or_roll_back_whole)
{
	struct db *db = open_db();
	struct pcg_error err;

	ck_assert_int_eq(db_begin(db, &err), 0);
	add_row(db, 1, "a");
	db_rollback(db);
	ck_assert_int_eq(number(db, "SELECT count(*) FROM t"), 0);
	db_rollback(db);
	ck_assert_int_eq(db_begin(db, &err), 0);
	add_row(db, 1, "a");
	ck_assert_int_eq(db_commit(db, &err), 0);
	ck_assert_int_eq(number(db, "SELECT count(*) FROM t"), 1);
	ck_assert_int_eq(db_exec(db, &err, "INSERT INTO t (name) VALUES (?)", "s", "a"), PCG_ECONFLICT);
	ck_assert_int_eq(db_exec(db, &err, "INSERT INTO child VALUES (?)", "i", (int64_t)9), PCG_ECONFLICT);
	db_close(db);
}
END_TEST

START_TEST(a_second_process_is_refused_with_the_pid_of_the_first)
{
	struct db *db = open_db();
	int report[2], status;
	struct pcg_error err;
	struct db *second;
	char pid[32];
	pid_t child;

	snprintf(pid, sizeof(pid), "process %ld uses it", (long)getpid());
	ck_assert_int_eq(pipe(report), 0);
	child = fork();
	if (child == 0) {
		int r = db_open(&spec, &second, &err);

		if (write(report[1], &err, sizeof(err)) != (ssize_t)sizeof(err))
			_exit(9);
		_exit(r == PCG_ECONFLICT && !second ? 0 : 1);
	}
	ck_assert_int_eq(read(report[0], &err, sizeof(err)), sizeof(err));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_msg(strstr(err.text, pid) != NULL, "%s", err.text);
	ck_assert_str_ne(err.remedy, "");
	db_close(db);
	db_close(open_db());
}
END_TEST

START_TEST(a_killed_process_leaves_no_lock)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		open_db();
		kill(getpid(), SIGKILL);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	db_close(open_db());
}
END_TEST

static const struct {
	int file_version;
	const char *text, *remedy;
} versions[] = {
	{ 4, "a newer one wrote it", "install the newer pcgd again" },
	{ 2, "an older one wrote it", "install the older pcgd again" },
};

START_TEST(other_schema_versions_are_refused_with_both_numbers_and_a_way_out)
{
	struct pcg_error err;
	struct db *db;
	char knows[64];

	spec.version = versions[_i].file_version;
	db_close(open_db());
	spec.version = 3;
	ck_assert_int_eq(db_open(&spec, &db, &err), PCG_EPERMANENT);
	snprintf(knows, sizeof(knows), "has version %d, this pcgd knows version 3", versions[_i].file_version);
	ck_assert_msg(strstr(err.text, knows) && strstr(err.text, versions[_i].text), "%s", err.text);
	ck_assert_ptr_nonnull(strstr(err.remedy, versions[_i].remedy));
	ck_assert_ptr_nonnull(strstr(err.remedy, "pair this gateway under its old uid"));
	ck_assert_ptr_nonnull(strstr(err.remedy, path));
	spec.version = versions[_i].file_version;
	db_close(open_db());
}
END_TEST

START_TEST(the_file_of_another_program_is_refused)
{
	struct pcg_error err;
	struct db *db;
	sqlite3 *other;

	db_close(open_db());
	spec.kind = "pcg-plane";
	spec.application_id++;
	ck_assert_int_eq(db_open(&spec, &db, &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "another program"));
	snprintf(path, sizeof(path), "%s/other.db", dir);
	ck_assert_int_eq(sqlite3_open(path, &other), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(other, "CREATE TABLE theirs (x)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	ck_assert_int_eq(db_open(&spec, &db, &err), PCG_EPERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "another program"));
}
END_TEST

static void spoil(off_t from, off_t to)
{
	int fd = open(path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	for (off_t at = from; at < to; at++)
		ck_assert_int_eq(pwrite(fd, "\xa5", 1, at), 1);
	close(fd);
}

START_TEST(a_damaged_file_is_refused_with_a_way_to_go_on)
{
	static const struct {
		off_t from, to;
	} rows[] = { { 0, 16 }, { 100, 400 }, { 4096, 12288 } };
	struct pcg_error err;
	struct db *db = open_db();

	for (int i = 0; i < 2000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "name-%d", i);
		add_row(db, i, name);
	}
	db_close(db);
	spoil(rows[_i].from, rows[_i].to);
	ck_assert_int_eq(db_open(&spec, &db, &err), PCG_EPERMANENT);
	ck_assert_ptr_null(db);
	ck_assert_msg(strstr(err.text, path) != NULL, "%s", err.text);
	ck_assert_msg(strstr(err.remedy, "move ") && strstr(err.remedy, path), "%s", err.remedy);
	ck_assert_ptr_nonnull(strstr(err.remedy, "pair this gateway under its old uid"));

	/* The remedy holds. */
	ck_assert_int_eq(rename(path, unit_path(dir, "away")), 0);
	db_close(open_db());
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_told)
{
	struct pcg_error err;
	struct db *db;

	snprintf(path, sizeof(path), "%s/missing/store.db", dir);
	ck_assert_int_eq(db_open(&spec, &db, &err), PCG_ENOTFOUND);
	ck_assert_ptr_nonnull(strstr(err.text, path));
}
END_TEST

START_TEST(a_schema_that_fails_leaves_an_empty_file)
{
	const char *good = spec.schema;
	struct pcg_error err;
	struct db *db;

	spec.schema = "CREATE TABLE a (x); CREATE TABLE a (x)";
	ck_assert_int_eq(db_open(&spec, &db, &err), PCG_EBUG);
	spec.schema = good;
	db = open_db();
	ck_assert_int_eq(number(db, "SELECT count(*) FROM sqlite_master WHERE name IN ('a', 't')"), 1);
	db_close(db);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_new_file_has_schema_marks_and_settings);
	tcase_add_test(tc, rows_stay_and_values_are_bound);
	tcase_add_test(tc, a_statement_is_prepared_once);
	tcase_add_test(tc, transactions_commit_or_roll_back_whole);
	tcase_add_test(tc, a_second_process_is_refused_with_the_pid_of_the_first);
	tcase_add_test(tc, a_killed_process_leaves_no_lock);
	tcase_add_loop_test(tc, other_schema_versions_are_refused_with_both_numbers_and_a_way_out, 0, 2);
	tcase_add_test(tc, the_file_of_another_program_is_refused);
	tcase_add_loop_test(tc, a_damaged_file_is_refused_with_a_way_to_go_on, 0, 3);
	tcase_add_test(tc, a_folder_that_is_not_there_is_told);
	tcase_add_test(tc, a_schema_that_fails_leaves_an_empty_file);
}

int main(void)
{
	return unit_main("core/db", add);
}
