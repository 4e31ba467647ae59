/* SPDX-License-Identifier: Apache-2.0 */
/* What instructions do to clusters and accounts. */
#include "config.h"
#include "tests/lifecycle/rig.h"

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
				answer(PCG_STEP_DONE, "{\"items\":[]}", NULL);
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

static void add_tests(TCase *t)
{
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
	tcase_add_loop_test(t, a_plan_of_a_cluster_that_goes_meanwhile_ends_with_that, 0, 2);
}

RIG_MAIN("instructions", add_tests)
