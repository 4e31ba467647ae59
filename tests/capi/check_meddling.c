/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody else edits, pauses, unpauses or deletes in the middle of a hand-over, keys are others than
 * they were, clocks are wrong, a year has passed: it goes on where that is right, and else ends in an
 * error that names what was found and what to do.
 */
#include "config.h"
#include "host/capi/path.h"
#include "tests/capi/rig.h"
#include "tests/capi/sample.h"
#include "tests/capi/world.h"
#include "core/base64.h"
#include "core/clock.h"
#include "net/pki.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLUSTER "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/clusters/c1"
#define MACHINES "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines"
#define ETCD "/api/v1/namespaces/default/secrets/c1-etcd"
#define DAY_MS INT64_C(86400000)

static json_t *keys, *plan;

static void setup(void)
{
	rig_setup();
	keys = world_keys();
	plan = world_plan(keys);
}

static void teardown(void)
{
	json_decref(keys);
	json_decref(plan);
	rig_teardown();
}

static bool write_plan(void)
{
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_write(fake_api_kube(rig.api), plan, &cb));
}

static bool commit(int64_t epoch)
{
	AUTO_JSON json_t *in = rig_identity(epoch);
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_commit(fake_api_kube(rig.api), in, &cb));
}

static bool roll_back(int64_t epoch)
{
	AUTO_JSON json_t *in = rig_identity(epoch);
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_rollback(fake_api_kube(rig.api), plan, in, &cb));
}

static bool take_back(int64_t epoch)
{
	AUTO_JSON json_t *in = rig_identity(epoch);
	struct capi_callbacks cb = rig_callbacks();

	return rig_run(capi_take_back(fake_api_kube(rig.api), in, &cb));
}

static void somebody(const char *path, json_t *patch)
{
	ck_assert_int_eq(fake_api_request(rig.api, "PATCH", path, "application/merge-patch+json", patch),
			 200);
	json_decref(patch);
}

static json_t *unpause(void)
{
	return json_pack("{s:{s:n}}", "spec", "paused");
}

static void names(const char *what)
{
	ck_assert_msg(strstr(rig.err.text, what), "%s", rig.err.text);
	ck_assert_str_ne(rig.err.remedy, "");
}

/* Again and again, between all that the operation does. */
struct meddler {
	uv_prepare_t turn;
	const char *path;
	json_t *(*patch)(void);
	int times;
};

static void on_turn(uv_prepare_t *turn)
{
	struct meddler *m = turn->data;
	json_t *patch = m->patch();

	if (m->times && fake_api_get(rig.api, m->path)) {
		m->times--;
		fake_api_request(rig.api, "PATCH", m->path, "application/merge-patch+json", patch);
	}
	json_decref(patch);
}

static void meddle(struct meddler *m, const char *path, json_t *(*patch)(void), int times)
{
	*m = (struct meddler){.path = path, .patch = patch, .times = times};
	uv_prepare_init(&rig.loop, &m->turn);
	m->turn.data = m;
	uv_prepare_start(&m->turn, on_turn);
	uv_unref((uv_handle_t *)&m->turn);
}

static void stop(struct meddler *m)
{
	uv_close((uv_handle_t *)&m->turn, NULL);
	rig_turn(2);
}

START_TEST(a_cluster_unpaused_while_it_is_written_is_paused_again)
{
	struct meddler m;

	meddle(&m, CLUSTER, unpause, 1);
	ck_assert_msg(write_plan(), "%s", rig.err.text);
	stop(&m);
	ck_assert(json_bool_or(fake_api_get(rig.api, CLUSTER), "spec.paused", false));
	ck_assert(rig_progressed("paused again, as somebody had unpaused it, Cluster/c1"));
}
END_TEST

START_TEST(a_cluster_unpaused_again_and_again_is_refused_by_name)
{
	struct meddler m;

	meddle(&m, CLUSTER, unpause, 10000);
	ck_assert(!write_plan());
	stop(&m);
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	names("Cluster/c1");
	names("spec.paused");
}
END_TEST

START_TEST(machines_that_nobody_asked_for_stop_the_hand_over)
{
	fake_api_put(rig.api, MACHINES "/c1-cp-other",
		     json_pack("{s:s,s:s,s:{s:s,s:s,s:{s:s}},s:{s:s}}", "apiVersion",
			       "cluster.x-k8s.io/v1beta2", "kind", "Machine", "metadata", "name",
			       "c1-cp-other", "namespace", "default", "labels",
			       "cluster.x-k8s.io/cluster-name", "c1", "spec", "clusterName", "c1"));
	ck_assert(!write_plan());
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	names("Machine/c1-cp-other");
}
END_TEST

START_TEST(a_cluster_that_is_being_deleted_is_not_committed)
{
	ck_assert(write_plan());
	ck_assert_int_eq(fake_api_request(rig.api, "DELETE", CLUSTER, NULL, NULL), 200);
	ck_assert(!commit(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_NOT_FOUND);
	names("somebody deleted");
	ck_assert(json_bool_or(fake_api_get(rig.api, CLUSTER), "spec.paused", false));
	/* What the lifecycle does then. */
	ck_assert_msg(roll_back(3), "%s", rig.err.text);
	json_put_str(sample_entry(plan, "Cluster", "c1"), "object.metadata.name", "c1");
	json_object_set_new(json_at(sample_entry(plan, "Cluster", "c1"),
				    "object.metadata.annotations"),
			    CAPI_EPOCH, json_string("3"));
	ck_assert_msg(write_plan(), "%s", rig.err.text);
	ck_assert_msg(commit(4), "%s", rig.err.text);
}
END_TEST

START_TEST(a_cluster_that_is_gone_is_not_committed)
{
	ck_assert(write_plan());
	somebody(CLUSTER, json_pack("{s:{s:n}}", "metadata", "finalizers"));
	ck_assert_int_eq(fake_api_request(rig.api, "DELETE", CLUSTER, NULL, NULL), 200);
	ck_assert(!commit(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_NOT_FOUND);
	names("Cluster object is not there");
}
END_TEST

START_TEST(annotations_that_somebody_removed_are_named)
{
	ck_assert(write_plan());
	somebody(CLUSTER, json_pack("{s:{s:n}}", "metadata", "annotations"));
	ck_assert(!commit(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_NOT_FOUND);
	names("annotations");
	ck_assert_msg(roll_back(3), "%s", rig.err.text);
}
END_TEST

START_TEST(a_cluster_unpaused_before_the_commit_is_committed)
{
	ck_assert(write_plan());
	somebody(CLUSTER, unpause());
	ck_assert_msg(commit(2), "%s", rig.err.text);
	ck_assert(rig_progressed("found unpaused by somebody c1"));
	ck_assert_ptr_null(json_at(fake_api_get(rig.api, CLUSTER), "spec.paused"));
}
END_TEST

START_TEST(a_foreign_pair_that_is_there_already_is_replaced)
{
	AUTO_JSON json_t *foreign = json_deep_copy(
		json_object_get(sample_entry(plan, "Secret", "c1-etcd"), "object"));
	json_t *got;

	json_put(foreign, "data",
		 json_pack("{s:s,s:s}", "tls.crt", "Zm9yZWlnbg==", "tls.key", "Zm9yZWlnbg=="));
	/* As the one that controllers made has: members with dots are one name each. */
	ck_assert_int_eq(fake_api_request(rig.api, "POST", "/api/v1/namespaces/default/secrets", NULL,
					  foreign),
			 201);
	ck_assert_msg(write_plan(), "%s", rig.err.text);
	got = json_object_get(fake_api_get(rig.api, ETCD), "data");
	ck_assert(json_equal(got, json_at(sample_entry(plan, "Secret", "c1-etcd"), "object.data")));
	ck_assert(rig_progressed("changed Secret/c1-etcd"));
}
END_TEST

static json_t *foreign_key(void)
{
	return json_pack("{s:{s:s}}", "data", "tls.crt", "Zm9yZWlnbg==");
}

START_TEST(a_pair_that_reads_back_differently_each_time_is_refused)
{
	struct meddler m;

	meddle(&m, ETCD, foreign_key, 10000);
	ck_assert(!write_plan());
	stop(&m);
	ck_assert_int_eq(rig.err.class, PCG_CLASS_CONFLICT);
	names("Secret/c1-etcd");
}
END_TEST

/* ---- keys and clocks ---- */

static int mint_own(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	const json_t *pair = arg;

	(void)err;
	*cert_pem = strdup(json_str(pair, "crt"));
	*key_pem = secret_new_str(json_str(pair, "key"));
	return 0;
}

START_TEST(a_cluster_whose_ca_was_replaced_is_named)
{
	struct capi_callbacks cb = rig_callbacks();
	AUTO_JSON json_t *in = rig_identity(2);
	struct kube_spec spec = {.http = rig.http,
				 .server = fake_api_url(rig.api),
				 .ca_pem = json_str(keys, "etcd.crt"),
				 .mint = mint_own,
				 .mint_arg = json_object_get(keys, "etcd")};
	struct kube *other = NULL;
	struct pcg_error err;

	ck_assert_int_eq(kube_new(&spec, &other, &err), 0);
	ck_assert(!rig_run(capi_commit(other, in, &cb)));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_PERMANENT);
	names("certificate");
	ck_assert(!rig_run(capi_take_back(other, in, &cb)));
	names("certificate");
	kube_free(other);
	rig_turn(5);
}
END_TEST

static const int64_t skews[] = {DAY_MS, -DAY_MS};

START_TEST(a_clock_that_is_wrong_by_a_day_is_named)
{
	ck_assert(write_plan());
	fake_api_turn_clock(rig.api, skews[_i]);
	fake_api_fail(rig.api, 1, FAKE_DENIED);
	ck_assert(!commit(2));
	ck_assert_int_eq(rig.err.class, PCG_CLASS_AUTH);
	names(skews[_i] > 0 ? " s ahead of this machine's" : " s behind of this machine's");
	ck_assert_ptr_nonnull(strstr(rig.err.remedy, "clock"));
	ck_assert_msg(commit(2), "%s", rig.err.text);
}
END_TEST

START_TEST(a_refusal_with_clocks_that_agree_says_nothing_of_clocks)
{
	ck_assert(write_plan());
	fake_api_fail(rig.api, 1, FAKE_DENIED);
	ck_assert(!commit(2));
	ck_assert_ptr_null(strstr(rig.err.text, "clock"));
}
END_TEST

START_TEST(a_year_later_a_cluster_is_taken_back_as_on_the_first_day)
{
	ck_assert(write_plan());
	ck_assert_msg(commit(2), "%s", rig.err.text);
	clock_turn_ms(400 * DAY_MS);
	ck_assert_msg(take_back(3), "%s", rig.err.text);
	ck_assert_uint_gt(json_array_size(json_object_get(rig.result, "machines")), 0);
}
END_TEST

static int mint_client(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	int64_t now = clock_wall_ms();
	struct pki_cert_spec spec = {.common_name = "pcg",
				     .client_auth = true,
				     .not_before_ms = now - 60000,
				     .not_after_ms = now + 3600000};

	(void)arg;
	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, key_pem, err), 0);
	return pki_sign(&spec, *key_pem, fake_api_ca(rig.api), fake_api_ca_key(rig.api), cert_pem, err);
}

#define TOLD_MAX 600

static void on_warned(void *arg, const char *what, const char *text)
{
	ck_assert_ptr_nonnull(strstr(what, "https://"));
	snprintf(arg, TOLD_MAX, "%s", text);
}

START_TEST(what_the_server_warns_of_is_told)
{
	struct capi_callbacks cb = rig_callbacks();
	AUTO_JSON json_t *in = rig_identity(2);
	char told[TOLD_MAX] = "", longer[600] = "299 - \"";
	struct kube_spec spec = {.http = rig.http,
				 .server = fake_api_url(rig.api),
				 .ca_pem = fake_api_ca(rig.api),
				 .mint = mint_client,
				 .warned = on_warned,
				 .warned_arg = told};
	struct kube *other = NULL;
	struct pcg_error err;

	ck_assert(write_plan());
	fake_api_warn(rig.api, "299 - \"v1beta1 is \\\"old\\\"\"");
	ck_assert_int_eq(kube_new(&spec, &other, &err), 0);
	ck_assert_msg(rig_run(capi_commit(other, in, &cb)), "%s", rig.err.text);
	ck_assert_str_eq(told, "v1beta1 is \"old\"");
	/* Any webhook of the cluster may write there what is no UTF-8; and it is cut between characters. */
	fake_api_warn(rig.api, "299 - \"caf\xc3\xa9 \xff\xc3\"");
	cb = rig_callbacks();
	ck_assert_msg(rig_run(capi_commit(other, in, &cb)), "%s", rig.err.text);
	ck_assert_str_eq(told, "caf\xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd");
	memset(longer + 7, 'a', 510);
	snprintf(longer + 517, sizeof(longer) - 517, "\xc3\xa9 and more\"");
	fake_api_warn(rig.api, longer);
	cb = rig_callbacks();
	ck_assert_msg(rig_run(capi_commit(other, in, &cb)), "%s", rig.err.text);
	ck_assert_uint_eq(strlen(told), 510);
	kube_free(other);
	rig_turn(5);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capi meddling");
	TCase *t = tcase_create("meddling");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_cluster_unpaused_while_it_is_written_is_paused_again);
	tcase_add_test(t, a_cluster_unpaused_again_and_again_is_refused_by_name);
	tcase_add_test(t, machines_that_nobody_asked_for_stop_the_hand_over);
	tcase_add_test(t, a_cluster_that_is_being_deleted_is_not_committed);
	tcase_add_test(t, a_cluster_that_is_gone_is_not_committed);
	tcase_add_test(t, annotations_that_somebody_removed_are_named);
	tcase_add_test(t, a_cluster_unpaused_before_the_commit_is_committed);
	tcase_add_test(t, a_foreign_pair_that_is_there_already_is_replaced);
	tcase_add_test(t, a_pair_that_reads_back_differently_each_time_is_refused);
	tcase_add_test(t, a_cluster_whose_ca_was_replaced_is_named);
	tcase_add_loop_test(t, a_clock_that_is_wrong_by_a_day_is_named, 0, ARRAY_LEN(skews));
	tcase_add_test(t, a_refusal_with_clocks_that_agree_says_nothing_of_clocks);
	tcase_add_test(t, what_the_server_warns_of_is_told);
	tcase_add_test(t, a_year_later_a_cluster_is_taken_back_as_on_the_first_day);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
