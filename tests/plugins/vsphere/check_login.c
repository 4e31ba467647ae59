/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "pcg/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Log-ins and sessions of accounts and validations, against govmomi's simulator and its front. */

static const char machine_uid[] = "11111111-2222-4333-8444-555555555555";
static struct rig rig;

static void setup(void)
{
	rig_open(&rig, "");
}

static void teardown(void)
{
	rig_close(&rig);
}

static const char *const rest_points[] = { "vsphere.before_rest_login", "vsphere.after_rest_login" };

START_TEST(attaches_tags_though_the_worker_is_killed_at_the_rest_log_in)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1"), *machine = NULL, *infra = NULL, *inventory = NULL, *calls = NULL;

	rig_vmctl(&rig, "make-tags env/prod");
	json_object_set_new(json_at(cluster, "spec.cloudConfig"), "tags", json_pack("[s]", "env/prod"));
	machine = rig_machine(cluster, machine_uid, "c1-cp-bcdfg");
	/* The check of a cluster resolves the tags, too. */
	rig_arm(&rig, rest_points[_i]);
	infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed"));
	rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	rig_fired(&rig, rest_points[_i]);
	rig_pool_close(&rig);
	inventory = rig_vmread_tags(&rig);
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 1);
	ck_assert_str_eq(json_str_or(rig_vm(inventory, "c1-cp-bcdfg"), "tags.0", ""), "env/prod");
	calls = rig_admin(&rig, "GET", "/calls", NULL);
	ck_assert_int_eq(json_int_or(calls, "sessions.open", 99), 0);
#ifdef PCG_FAULT_POINTS
	/* One whose answer nobody saw is in no list: it is left to vCenter's idle limit. */
	ck_assert_int_eq(json_int_or(calls, "sessions.rest", 0), _i);
#else
	ck_assert_int_eq(json_int_or(calls, "sessions.rest", 0), 0);
#endif
}
END_TEST

START_TEST(uses_the_session_of_a_killed_worker_again)
{
	json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");

	rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL));
	rig_kill_workers(&rig);
	rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL));
	ck_assert_int_eq(rig_calls(&rig, "Login"), 1);
	ck_assert_int_eq(rig_calls(&rig, "RetrieveServiceContent"), 1);
	rig_pool_close(&rig);
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);
	ck_assert_int_eq(json_int_or(calls, "sessions.open", 99), 0);
	json_decref(cluster);
}
END_TEST

START_TEST(tries_a_wrong_password_once)
{
	json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	struct run *run;

	rig_account(&rig, "a2", "wrong-password", NULL, NULL);
	for (int i = 0; i < 3; i++) {
		run = rig_do(&rig, "a2", "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL));
		ck_assert_int_eq(run->err.class, PCG_CLASS_AUTH);
		ck_assert_ptr_nonnull(strstr(run->err.text, "InvalidLogin"));
		ck_assert_ptr_nonnull(strstr(run->err.remedy, "password"));
		ck_assert_ptr_null(strstr(run->err.text, "wrong-password"));
	}
	ck_assert_int_eq(rig_calls(&rig, "Login"), 1);
	json_decref(cluster);
}
END_TEST

static json_t *account_spec(const char *password)
{
	char server[64];

	snprintf(server, sizeof(server), "%s:%s", json_str(rig.ready, "host"), json_str(rig.ready, "port"));
	return json_pack("{s:s, s:s, s:s}", "vcenterServer", server, "username", "administrator@vsphere.local", "password", password);
}

/* Each in a worker of its own, as the gateway validates: all at once, and one after the other, of two accounts and none. */
START_TEST(of_many_wrong_passwords_few_are_tried_whoever_gives_them)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	struct run *runs[10];
	int told = 0;

	for (int i = 0; i < 10; i++) {
		AUTO_FREE char *uid = NULL, *password = NULL;
		AUTO_JSON json_t *spec = NULL;

		ck_assert_int_gt(asprintf(&uid, "query-%d", i), 0);
		ck_assert_int_gt(asprintf(&password, "wrong-%d", i), 0);
		rig_account(&rig, uid, password, NULL, NULL);
		spec = account_spec(password);
		runs[i] = rig_begin(&rig, uid, i % 2 ? "account_validate" : "cluster_ensure", uid,
				    i % 2 ? json_pack("{s:O}", "account", spec) : rig_doc(cluster, NULL, NULL));
	}
	rig_end_all(&rig);
	ck_assert_int_eq(rig_calls(&rig, "Login"), 3);
	for (int i = 0; i < 10; i++)
		told += strstr(i % 2 ? json_str_or(runs[i]->reply, "problems.0.text", "") : runs[i]->err.text, "log-ins of this user") != NULL;
	ck_assert_int_eq(told, 7);
	run_free(&rig);
	rig_do(&rig, "a1", "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL));
	ck_assert_int_eq(rig_calls(&rig, "Login"), 3);
	ck_assert_int_eq(rig.runs->err.class, PCG_CLASS_RETRY);
	/* Time goes by. */
	json_object_del(rig.secrets, "turns/vsphere");
	rig_pool_close(&rig);
	rig_pool_open(&rig);
	rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL));
}
END_TEST

START_TEST(validates_an_account_by_using_it)
{
	AUTO_JSON json_t *spec = account_spec(PASSWORD);
	json_t *reply;

	reply = json_object_get(rig_ok(&rig, "account_validate", "v1", json_pack("{s:{}}", "account")), "problems");
	ck_assert_uint_eq(json_array_size(reply), 3);
	for (int i = 0; i < 2; i++) {
		struct run *run;

		json_object_set_new(spec, "password", json_string(i ? "no" : PASSWORD));
		run = rig_do(&rig, "a1", "account_validate", "v2", json_pack("{s:O}", "account", spec));
		ck_assert(run->ok);
		if (i)
			ck_assert_str_eq(json_str(run->reply, "problems.0.field"), "password");
		else
			ck_assert_ptr_nonnull(strstr(json_str_or(run->reply, "version", ""), "vCenter"));
	}
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);
	ck_assert_int_eq(json_int_or(calls, "sessions.open", 99), 0);
}
END_TEST

/* Whatever moment it is killed in, the next one ends what it began. */
START_TEST(a_validation_that_is_killed_leaves_no_session_behind_the_next_one)
{
	static const char *const moments[] = { "vsphere.before_login", "vsphere.after_login" };
	AUTO_JSON json_t *spec = account_spec(PASSWORD);
	struct run *run;

	rig_arm(&rig, moments[_i]);
	for (int i = 0; i < 2; i++) {
		run = rig_do(&rig, "a1", "account_validate", "v1", json_pack("{s:O}", "account", spec));
		ck_assert_msg(run->ok || run->err.class == PCG_CLASS_RETRY, "%s", run->err.text);
	}
	ck_assert(run->ok);
	rig_fired(&rig, moments[_i]);
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);
	ck_assert_int_eq(json_int_or(calls, "sessions.open", 99), 0);
	/* And nothing is remembered of what has ended. */
	ck_assert_uint_eq(json_object_size(json_object_get(rig.secrets, "a1")), 0);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;
	int status;

	if (!rig_main(argc, argv, "vcsim vmread vmctl", &status))
		return status;
	s = suite_create("vsphere log-ins");
	tc = rig_case(s, "login", setup, teardown);
	tcase_add_loop_test(tc, attaches_tags_though_the_worker_is_killed_at_the_rest_log_in, 0, ARRAY_LEN(rest_points));
	tcase_add_test(tc, uses_the_session_of_a_killed_worker_again);
	tcase_add_test(tc, tries_a_wrong_password_once);
	tcase_add_test(tc, of_many_wrong_passwords_few_are_tried_whoever_gives_them);
	tcase_add_test(tc, validates_an_account_by_using_it);
	tcase_add_loop_test(tc, a_validation_that_is_killed_leaves_no_session_behind_the_next_one, 0, 2);
	return rig_run(s);
}
