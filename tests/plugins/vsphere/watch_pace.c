/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/plugins/vsphere/fake_vc.h"

#include "plugins/vsphere/clone_limit.h"
#include "plugins/vsphere/pbm.h"
#include "plugins/vsphere/storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What keeps a vCenter from being asked too much: outages, clones in flight, pauses between calls. */

static const struct vs_err refused = { .class = PCG_ERR_RETRY, .text = "Login at vc.test: connection refused" };

/* Three calls without an answer, of whatever ops. */
static struct vs_outage *outage_begun(void)
{
	struct vs_outage *o = vs_outage_new(&fake_services, NULL, "vc.test");
	struct vs_err err;

	for (int i = 0; i < 3; i++) {
		ck_assert(!vs_outage_on(o));
		ck_assert(!vs_outage_blocks(o, &err));
		vs_outage_result(o, true, false, &refused);
	}
	ck_assert(vs_outage_on(o));
	return o;
}

START_TEST(tells_an_outage_once_whoever_meets_it)
{
	struct vs_outage *o = outage_begun(), *next;
	struct vs_err first, err;

	vs_outage_subject("c1");
	ck_assert(vs_outage_blocks(o, &first));
	ck_assert_ptr_nonnull(strstr(first.text, "vc.test has not answered since 2023-11-14T22:13:20Z"));
	ck_assert_ptr_nonnull(strstr(first.text, "connection refused"));
	ck_assert_str_ne(first.remedy, "");
	for (int i = 0; i < 50; i++) {
		vs_outage_subject(i % 2 ? "c1" : "c2");
		ck_assert(vs_outage_blocks(o, &err));
		ck_assert_str_eq(err.text, first.text);
	}
	ck_assert_str_eq(end.events, "vcenter_away ");
	/* The next worker of the account knows: it logs nothing, and its first call tries. */
	next = vs_outage_new(&fake_services, NULL, "vc.test");
	ck_assert(vs_outage_on(next));
	ck_assert(!vs_outage_blocks(next, &err));
	ck_assert(vs_outage_blocks(next, &err));
	ck_assert_str_eq(err.text, first.text);
	vs_outage_result(next, true, false, &refused);
	vs_outage_free(next);
	ck_assert_str_eq(end.events, "vcenter_away ");
	/* One at a time tries, ever more slowly; a fault is an answer. */
	end.clock += 1000;
	ck_assert(!vs_outage_refuses(o, &err));
	ck_assert(!vs_outage_blocks(o, &err));
	ck_assert(vs_outage_refuses(o, &err));
	ck_assert(vs_outage_blocks(o, &err));
	vs_outage_result(o, true, false, &refused);
	end.clock += 1500;
	ck_assert(vs_outage_blocks(o, &err));
	end.clock += 500;
	ck_assert(!vs_outage_blocks(o, &err));
	vs_outage_result(o, false, false, NULL);
	ck_assert(!vs_outage_on(o));
	ck_assert(!vs_outage_blocks(o, &err));
	ck_assert_str_eq(end.events, "vcenter_away vcenter_back ");
	ck_assert(strstr(end.hints, "c1 ") && strstr(end.hints, "c2 "));
	ck_assert_uint_eq(strlen(end.hints), 6);
	ck_assert_str_eq(end.kept, "");
	vs_outage_free(o);
}
END_TEST

START_TEST(takes_single_failures_for_no_outage)
{
	struct vs_outage *o = vs_outage_new(&fake_services, NULL, "vc.test");
	struct vs_err err;

	for (int i = 0; i < 20; i++) {
		vs_outage_result(o, true, false, &refused);
		vs_outage_result(o, true, false, &refused);
		vs_outage_result(o, false, false, NULL);
		vs_outage_result(o, false, true, &refused);
		ck_assert(!vs_outage_blocks(o, &err));
	}
	ck_assert_str_eq(end.events, "");
	vs_outage_free(o);
}
END_TEST

static void no_profiles(const char *method)
{
	end.away = strncmp(method, "Pbm", 3) == 0;
}

START_TEST(takes_a_storage_profile_service_that_is_down_for_no_outage)
{
	end.on_call = no_profiles;
	for (int i = 0; i < 5; i++) {
		json_t *policies = NULL;
		struct vs_err err;

		ck_assert_int_eq(vs_pbm_policies(&end.v->session, NULL, &policies, &err), -1);
		ck_assert_uint_eq(err.class, PCG_ERR_RETRY);
		ck_assert_msg(strstr(err.text, "PbmRetrieveServiceContent") && strstr(err.remedy, "vmware-sps"), "%s: %s", err.text, err.remedy);
	}
	ck_assert_str_eq(end.events, "");
	ck_assert(!vs_outage_on(end.v->session.outage));
}
END_TEST

#define STORE(id, gib_free, accessible)                                                                                \
	"<objects><obj type=\"Datastore\">" id "</obj><propSet><name>summary</name><val><accessible>" accessible            \
	"</accessible><freeSpace>" gib_free "000000000</freeSpace></val></propSet></objects>"
#define POD(enabled)                                                                                                   \
	HEAD "<RetrievePropertiesExResponse xmlns=\"urn:vim25\"><returnval><objects><obj type=\"StoragePod\">group-p1</obj><propSet>" \
	     "<name>podStorageDrsEntry</name><val><storageDrsConfig><podConfig><enabled>" enabled "</enabled></podConfig>"   \
	     "</storageDrsConfig></val></propSet></objects>" STORE("ds-1", "50", "true") STORE("ds-2", "70", "true")          \
	     STORE("ds-3", "900", "false") "</returnval></RetrievePropertiesExResponse>" TAIL

static void write_nothing(struct soap *s, const char *element, void *arg)
{
}

/* vCenter recommends nothing, or refuses to. */
START_TEST(chooses_from_a_datastore_cluster_without_storage_drs_itself)
{
	static const char *const stores[] = { "ds-2", "ds-1", "ds-2" };
	struct spot spot = { .pod = { "StoragePod", "group-p1" }, .cluster = { "ClusterComputeResource", "domain-c1" },
			     .template = { "VirtualMachine", "vm-9" }, .bytes = INT64_C(30000000000), .datastore_path = "/DC/datastore/pod" };
	char name[8];
	struct vs_err err;

	end.objects = POD("false");
	end.refused = _i ? "RecommendDatastores" : NULL;
	for (size_t i = 0; i < ARRAY_LEN(stores); i++) {
		snprintf(name, sizeof(name), "m%zu", i);
		ck_assert_msg(storage_recommend(end.v, NULL, name, &spot, write_nothing, NULL, &err) == 0, "%s", err.text);
		ck_assert_str_eq(spot.datastore.value, stores[i]);
	}
	/* Where it is on, that is an answer. */
	end.objects = POD("true");
	ck_assert_int_eq(storage_recommend(end.v, NULL, "m9", &spot, write_nothing, NULL, &err), -1);
	ck_assert_msg(strstr(err.text, _i ? "InvalidPowerState" : "recommends no datastore of datastore cluster") != NULL, "%s", err.text);
}
END_TEST

#define STORES(list) HEAD "<RetrievePropertiesExResponse xmlns=\"urn:vim25\"><returnval>" list "</returnval></RetrievePropertiesExResponse>" TAIL

/* The first read is of the datastore cluster, the second of what the hosts reach. */
static void reach_less(const char *method)
{
	static const char *const answers[] = { STORES(STORE("ds-1", "50", "true") STORE("ds-2", "70", "true")), STORES(STORE("ds-1", "50", "true")) };
	static size_t reads;

	if (strcmp(method, "Login") == 0)
		reads = 0;
	if (strcmp(method, "RetrievePropertiesEx") == 0)
		end.objects = answers[reads++ % 2];
}

START_TEST(hands_over_a_datastore_of_a_datastore_cluster_that_the_hosts_reach)
{
	struct spot spot = { .pod = { "StoragePod", "group-p1" }, .cluster = { "ClusterComputeResource", "domain-c1" } };
	char path[64];
	unsigned generation;
	struct vs_err err;

	end.on_call = reach_less;
	ck_assert_int_eq(vs_session_open(&end.v->session, NULL, &generation, &err), 0);
	ck_assert_msg(storage_member(end.v, NULL, &spot, path, sizeof(path), &err) == 0, "%s", err.text);
	ck_assert_str_eq(path, "ds-1");
}
END_TEST

/* It goes on trying, for nobody else may. */
START_TEST(the_watch_waits_for_the_end_of_an_outage)
{
	static const char *const updates[] = { UPDATE("1", "false", ""), NULL };
	struct vs_err err;

	/* Two of ops; then the watch's own, its third try at the end of it. */
	end.away = 2 + 3;
	for (int i = 0; i < 2; i++) {
		unsigned generation;

		ck_assert_int_eq(vs_session_open(&end.v->session, NULL, &generation, &err), -1);
	}
	fake_watch(updates);
	ck_assert_str_eq(end.events, "vcenter_away vcenter_back ");
	ck_assert_uint_eq(end.waits, 2);
	ck_assert_uint_ge(end.clock, 1000 + 2000);
	ck_assert_int_eq(end.away, 0);
}
END_TEST

START_TEST(holds_a_clone_back_that_fails_again_and_again)
{
	struct clone_limit *cl = clone_limit_new(0);
	struct vs_err full = { .class = PCG_ERR_QUOTA, .fault = "NoDiskSpace", .text = "no space" }, err;

	clone_limit_failed(cl, "m1", &full, 1000);
	ck_assert(!clone_limit_held(cl, "m1", 1000, &err));
	clone_limit_failed(cl, "m1", &full, 2000);
	ck_assert(clone_limit_held(cl, "m1", 3999, &err));
	ck_assert_str_eq(err.text, "no space");
	ck_assert(!clone_limit_held(cl, "m1", 4000, &err));
	ck_assert(!clone_limit_held(cl, "m2", 2000, &err));
	for (int i = 0; i < 20; i++)
		clone_limit_failed(cl, "m1", &full, 10000);
	ck_assert(clone_limit_held(cl, "m1", 69999, &err));
	ck_assert(!clone_limit_held(cl, "m1", 70000, &err));
	clone_limit_made(cl, "m1");
	clone_limit_failed(cl, "m1", &full, 80000);
	ck_assert(!clone_limit_held(cl, "m1", 80000, &err));
	clone_limit_free(cl);
}
END_TEST

static void ended(struct clone_limit *cl, const char *fault, uint64_t began, uint64_t now)
{
	struct clone_task_end e = { fault, began, now };

	clone_limit_ended(cl, &e);
}

START_TEST(halves_the_window_once_for_clones_that_began_together_and_opens_it_by_one_for_each_round)
{
	static const char *const crowded[] = { "LimitExceeded", "Timedout", "TooManyConcurrentNativeClones", "HostCommunication" };
	struct clone_limit *cl = clone_limit_new(42);
	struct vs_err lost = { .class = PCG_ERR_RETRY }, full = { .class = PCG_ERR_QUOTA, .fault = "NoDiskSpace" };

	for (unsigned i = 0; i < 10; i++)
		ended(cl, "", 1000, 3000);
	ck_assert_uint_eq(clone_limit_window(cl), 42);
	for (size_t i = 0; i < ARRAY_LEN(crowded); i++)
		ended(cl, crowded[i], 4000, 5000 + i);
	ck_assert_uint_eq(clone_limit_window(cl), 21);
	for (unsigned i = 0; i < 22; i++)
		ended(cl, "", 6000, 8000);
	ck_assert_uint_eq(clone_limit_window(cl), 22);
	/* What is wrong with one request says nothing of the vCenter's load. */
	ended(cl, "NoDiskSpace", 9000, 9500);
	ended(cl, "InvalidArgument", 9000, 9500);
	ck_assert_uint_eq(clone_limit_window(cl), 22);
	/* Requests without an answer, all of one moment. */
	for (unsigned i = 0; i < 8; i++) {
		ck_assert(clone_limit_enter(cl, "m", 0, 20000));
		clone_limit_sent(cl, &lost, 20000 + i * 50);
	}
	ck_assert_uint_eq(clone_limit_window(cl), 11);
	ck_assert(clone_limit_enter(cl, "m", 0, 30000));
	clone_limit_sent(cl, &full, 30000);
	ck_assert_uint_eq(clone_limit_window(cl), 11);
	/* Many times as long as the fastest: vCenter lets them wait. */
	ended(cl, "", 40000, 40000 + 2000 * 40);
	ck_assert_uint_eq(clone_limit_window(cl), 5);
	for (unsigned i = 0; i < 10; i++)
		ended(cl, "SystemError", 200000 + i * 1000, 200500 + i * 1000);
	ck_assert_uint_eq(clone_limit_window(cl), 1);
	clone_limit_free(cl);
	cl = clone_limit_new(3);
	ended(cl, "", 1000, 2000);
	ck_assert_uint_eq(clone_limit_window(cl), 3);
	clone_limit_free(cl);
}
END_TEST

/* Nobody answers; or a read before the clone goes wrong. */
START_TEST(a_clone_that_came_to_no_request_halves_no_window)
{
	static const char doc[] = "{\"cluster\":{\"uid\":\"c1\",\"spec\":{}}, \"machine\":{\"uid\":\"m2\", \"name\":\"n2\"}, \"mark\":{}}";
	static const char nonsense[] = HEAD "<RetrievePropertiesExResponse xmlns=\"urn:vim25\"><returnval><token>1</token></returnval>"
				       "</RetrievePropertiesExResponse>" TAIL;
	unsigned before = clone_limit_window(end.v->clones);

	end.away = _i ? 0 : 1000;
	end.objects = nonsense;
	for (int i = 0; i < 12; i++) {
		end.class = 0;
		provider->machine_ensure(end.v, NULL, doc);
		ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
		end.clock += 30000;
	}
	ck_assert_ptr_null(strstr(end.calls, "CloneVM_Task"));
	ck_assert_uint_eq(clone_limit_window(end.v->clones), before);
}
END_TEST

START_TEST(lets_clones_in_in_the_order_of_coming)
{
	struct clone_limit *cl = clone_limit_new(2);
	char next[64];

	ck_assert(clone_limit_enter(cl, "a", 0, 1000));
	ck_assert(clone_limit_enter(cl, "b", 0, 1000));
	ck_assert(!clone_limit_enter(cl, "c", 0, 1000));
	clone_limit_sent(cl, NULL, 1100);
	clone_limit_sent(cl, NULL, 1100);
	ck_assert(!clone_limit_enter(cl, "d", 2, 1200));
	ck_assert(!clone_limit_next(cl, 2, 1300, next));
	/* One place: c's, whoever asks first. */
	ck_assert(clone_limit_next(cl, 1, 1400, next));
	ck_assert_str_eq(next, "c");
	ck_assert(!clone_limit_next(cl, 1, 1400, next));
	ck_assert(!clone_limit_enter(cl, "d", 1, 1500));
	ck_assert(!clone_limit_enter(cl, "e", 1, 1500));
	ck_assert(clone_limit_enter(cl, "c", 1, 1600));
	clone_limit_sent(cl, NULL, 1700);
	/* d was told and never came: its place is the next one's after a while, and later it is out of the line. */
	ck_assert(clone_limit_next(cl, 1, 1800, next));
	ck_assert_str_eq(next, "d");
	ck_assert(!clone_limit_enter(cl, "e", 1, 2000));
	ck_assert(clone_limit_enter(cl, "e", 1, 6000));
	clone_limit_sent(cl, NULL, 6000);
	ck_assert(!clone_limit_enter(cl, "f", 2, 30000));
	ck_assert(clone_limit_next(cl, 0, 30000, next));
	ck_assert_str_eq(next, "f");
	clone_limit_free(cl);
}
END_TEST

/* More than the ops that run at once cannot join a read, so more are not waited for; the view takes up all that there is. */
START_TEST(waits_the_longer_the_more_there_is_in_flight)
{
	static const struct {
		int flying;
		bool ops_wait;
		uint64_t ms;
	} table[] = { { 1, false, 110 }, { 1, true, 110 }, { 10, true, 200 }, { 100, true, 260 }, { 50, false, 600 }, { 200, false, 1000 } };

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		uint64_t now = fake_services.mono_ms(NULL), before = end.clock;

		for (int k = 1; k < table[i].flying; k++) {
			char uid[16];

			snprintf(uid, sizeof(uid), "x%d", k);
			track_set_task(end.v, uid, uid, TASK_CLONE, &fake_task, &fake_folder, 5000);
		}
		track_pace(end.v, NULL, now, table[i].ops_wait);
		ck_assert_uint_eq(end.clock - before, table[i].ms);
		track_pace(end.v, NULL, now, table[i].ops_wait);
		ck_assert_uint_eq(end.clock - before, table[i].ms);
		for (int k = 1; k < table[i].flying; k++) {
			char uid[16];

			snprintf(uid, sizeof(uid), "x%d", k);
			track_drop(end.v, uid);
		}
	}
}
END_TEST

void pace_cases(TCase *tc)
{
	tcase_add_test(tc, waits_the_longer_the_more_there_is_in_flight);
	tcase_add_test(tc, halves_the_window_once_for_clones_that_began_together_and_opens_it_by_one_for_each_round);
	tcase_add_loop_test(tc, a_clone_that_came_to_no_request_halves_no_window, 0, 2);
	tcase_add_test(tc, lets_clones_in_in_the_order_of_coming);
	tcase_add_test(tc, holds_a_clone_back_that_fails_again_and_again);
	tcase_add_test(tc, tells_an_outage_once_whoever_meets_it);
	tcase_add_test(tc, takes_single_failures_for_no_outage);
	tcase_add_test(tc, takes_a_storage_profile_service_that_is_down_for_no_outage);
	tcase_add_loop_test(tc, chooses_from_a_datastore_cluster_without_storage_drs_itself, 0, 2);
	tcase_add_test(tc, hands_over_a_datastore_of_a_datastore_cluster_that_the_hosts_reach);
	tcase_add_test(tc, the_watch_waits_for_the_end_of_an_outage);
}
