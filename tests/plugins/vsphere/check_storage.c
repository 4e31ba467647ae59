/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include <stdio.h>
#include <string.h>

/* Where the disks of many machines at once go, while vCenter counts none of them yet: tasks take longer than the test. */

#define MODEL "--task-delay-ms 60000 --model datastore=5,pod=1,podstore=1,podwidth=2"

static struct rig rig;
static json_t *cluster, *infra;

static void setup(void)
{
	rig_open(&rig, MODEL);
	cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed"));
}

static void teardown(void)
{
	json_decref(cluster);
	json_decref(infra);
	rig_close(&rig);
}

static void free_gib(const char *datastore, int gib)
{
	char path[80];

	snprintf(path, sizeof(path), "/free-space?datastore=%s&gib=%d", datastore, gib);
	json_decref(rig_admin(&rig, "POST", path, ""));
}

/* Members of the pool's cloudConfig, and of its placement. */
static void set(const char *members, const char *of_placement)
{
	json_t *cloud = (json_t *)(uintptr_t)json_at(cluster, "spec.pools.0.cloudConfig");
	AUTO_JSON json_t *some = json_loads(members, 0, NULL), *more = json_loads(of_placement, 0, NULL);

	json_object_update(cloud, some);
	json_object_update(json_array_get(json_object_get(cloud, "placements"), 0), more);
}

static const char *id_of(const char *datastore)
{
	json_t *items = json_object_get(rig_ok(&rig, "pick_list", "datastores", json_pack("{s:s, s:i}", "kind", "datastores", "limit", 50)),
					"items"), *one;
	size_t i;

	json_array_foreach(items, i, one)
		if (strcmp(json_str_or(one, "name", ""), datastore) == 0)
			return json_str(one, "id");
	ck_abort_msg("there is no datastore %s", datastore);
	return NULL;
}

static void begin(int number)
{
	char uid[48], name[32];
	struct run *run;

	snprintf(uid, sizeof(uid), "11111111-2222-4333-8444-55555555%04d", number);
	snprintf(name, sizeof(name), "c1-cp-%04d", number);
	AUTO_JSON json_t *machine = rig_machine(cluster, uid, name);
	run = rig_begin(&rig, "a1", "machine_ensure", uid, rig_doc(cluster, machine, infra));
	run->once = true;
}

/* Of all clones. */
static size_t cloned_to(const char *datastore)
{
	AUTO_JSON json_t *clones = rig_admin(&rig, "GET", "/clones", NULL);
	const char *id = id_of(datastore);
	json_t *one;
	size_t i, n = 0;

	json_array_foreach(json_object_get(clones, "items"), i, one)
		n += strcmp(json_str_or(one, "datastore", ""), id) == 0;
	return n;
}

/* Machines that are begun before one is there. */
static void clone_at_once(int first, int n)
{
	for (int i = first; i < first + n; i++)
		begin(i);
	rig_end_all(&rig);
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), first + n);
}

/* Each takes 60 GiB of a thick disk, 8 GiB of swap, and what the template has written. */
#define LARGE "{\"dataDisks\":[{\"name\":\"d\",\"sizeGiB\":60,\"provisioningMode\":\"Thick\"}]}"

static void all_free(const int gib[5])
{
	for (int i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "LocalDS_%d", i);
		free_gib(name, gib[i]);
	}
}

START_TEST(a_policy_spreads_machines_that_are_made_at_once)
{
	set(LARGE, "{\"datastore\":\"\",\"storagePolicyName\":\"vSAN Default Storage Policy\"}");
	all_free((const int[]){ 300, 300, 500, 1, 1 });
	clone_at_once(0, 8);
	ck_assert_uint_eq(cloned_to("LocalDS_0"), 2);
	ck_assert_uint_eq(cloned_to("LocalDS_1"), 2);
	ck_assert_uint_eq(cloned_to("LocalDS_2"), 4);
}
END_TEST

/* Others that have no choice take space, too. */
START_TEST(a_policy_counts_machines_with_a_datastore_of_their_own)
{
	set(LARGE, "{\"datastore\":\"LocalDS_0\"}");
	all_free((const int[]){ 300, 200, 1, 1, 1 });
	clone_at_once(0, 3);
	ck_assert_uint_eq(cloned_to("LocalDS_0"), 3);
	set("{}", "{\"datastore\":\"\",\"storagePolicyName\":\"vSAN Default Storage Policy\"}");
	clone_at_once(3, 1);
	ck_assert_uint_eq(cloned_to("LocalDS_1"), 1);
}
END_TEST

/* Storage DRS names the same datastore to all, alone or as the first of both. */
START_TEST(a_recommendation_is_checked_against_what_others_were_promised)
{
	AUTO_JSON json_t *before = rig_admin(&rig, "POST", _i ? "/recommend?most=1" : "/recommend?most=0", ""), *after = NULL;

	set(LARGE, "{\"datastore\":\"DC0_POD0\"}");
	all_free((const int[]){ 900, 900, 900, 200, 200 });
	clone_at_once(0, 4);
	ck_assert_uint_eq(cloned_to("LocalDS_3"), 2);
	ck_assert_uint_eq(cloned_to("LocalDS_4"), 2);
	after = rig_admin(&rig, "POST", "/recommend?most=0", "");
	ck_assert_uint_eq(json_array_size(json_object_get(after, "leases")), 4);
	ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(after, "leases"), 3)), 300);
}
END_TEST

/* By what was promised there is no room for it anywhere: what vCenter recommends is right, it knows what of it was taken. */
START_TEST(without_room_anywhere_the_recommendation_holds)
{
	set(LARGE, "{\"datastore\":\"DC0_POD0\"}");
	all_free((const int[]){ 900, 900, 900, 100, 100 });
	clone_at_once(0, 5);
	ck_assert_uint_eq(cloned_to("LocalDS_3") + cloned_to("LocalDS_4"), 5);
	ck_assert(cloned_to("LocalDS_3") == 1 || cloned_to("LocalDS_4") == 1);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;
	int status;

	if (!rig_main(argc, argv, "vcsim vmread", &status))
		return status;
	s = suite_create("vsphere storage");
	tc = rig_case(s, "storage", setup, teardown);
	tcase_add_test(tc, a_policy_spreads_machines_that_are_made_at_once);
	tcase_add_test(tc, a_policy_counts_machines_with_a_datastore_of_their_own);
	tcase_add_loop_test(tc, a_recommendation_is_checked_against_what_others_were_promised, 0, 2);
	tcase_add_test(tc, without_room_anywhere_the_recommendation_holds);
	return rig_run(s);
}
