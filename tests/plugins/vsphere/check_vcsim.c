/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "host/worker/worker.h"
#include "pcg/provider.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The vSphere provider against govmomi's simulator (a simulator, not ESXi). */

static struct rig rig;

static void setup(void)
{
	rig_open(&rig, "");
}

static void teardown(void)
{
	rig_close(&rig);
}

static void make_machine(json_t **cluster, json_t **machine, json_t **infra, json_t **observed, const char *cluster_uid,
			 const char *name, const char *machine_uid)
{
	char machine_name[80];

	*cluster = rig_cluster(&rig, cluster_uid, name);
	snprintf(machine_name, sizeof(machine_name), "%s-cp-bcdfg", name);
	*machine = rig_machine(*cluster, machine_uid, machine_name);
	*infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", cluster_uid, rig_doc(*cluster, NULL, NULL)),
						"observed"));
	*observed = json_deep_copy(json_object_get(rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(*cluster, *machine, *infra)),
						   "observed"));
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static size_t machines_in(json_t *inventory)
{
	size_t i, n = 0;
	json_t *vm;

	json_array_foreach(json_object_get(inventory, "items"), i, vm)
		n += !json_is_true(json_object_get(vm, "template")) && strstr(json_str_or(vm, "name", ""), "-cp-");
	return n;
}

START_TEST(makes_a_machine_as_the_request_says)
{
	json_t *cluster, *machine, *infra, *observed, *inventory, *vm;
	char *metadata, expected[1024];
	size_t len;

	make_machine(&cluster, &machine, &infra, &observed, CLUSTER_UID, "c1", "11111111-2222-4333-8444-555555555555");
	inventory = rig_vmread(&rig);
	vm = rig_vm(inventory, "c1-cp-bcdfg");
	ck_assert_ptr_nonnull(vm);
	ck_assert_str_eq(json_str(vm, "powerState"), "poweredOn");
	ck_assert_str_eq(json_str(vm, "folder"), "/DC0/vm/c1");
	ck_assert_str_eq(json_str(vm, "resourcePool"), "/DC0/host/DC0_C0/Resources");
	ck_assert_str_eq(json_str(vm, "datastores.0"), "LocalDS_0");
	ck_assert_str_eq(json_str(vm, "networks.0"), "DC0_DVPG0");
	ck_assert_uint_eq(json_array_size(json_object_get(vm, "networks")), 1);
	ck_assert_int_eq(json_int_or(vm, "numCPU", 0), 4);
	ck_assert_int_eq(json_int_or(vm, "memoryMB", 0), 8192);
	ck_assert_int_eq(json_int_or(vm, "diskKB.0", 0), 40 << 20);
	ck_assert_uint_eq(json_array_size(json_object_get(vm, "diskKB")), 1);
	ck_assert_uint_eq(json_array_size(json_object_get(vm, "mac")), 1);
	ck_assert_str_eq(json_str(vm, "mac.0"), json_str(observed, "mac"));
	ck_assert_str_eq(json_str(vm, "instanceUuid"), json_str(observed, "id"));
	ck_assert_str_eq(json_str(vm, "uuid"), json_str(observed, "biosUUID"));
	ck_assert_str_eq(json_str(vm, "ipAddress"), json_str(observed, "addresses.0.address"));
	const json_t *extra = json_object_get(vm, "extraConfig");
	ck_assert_str_eq(json_string_value(json_object_get(extra, "pcg.cluster")), CLUSTER_UID);
	ck_assert_str_eq(json_string_value(json_object_get(extra, "pcg.machine")), "11111111-2222-4333-8444-555555555555");
	ck_assert_str_eq(json_string_value(json_object_get(extra, "pcg.pool")), "control-plane");
	metadata = rig_base64(json_string_value(json_object_get(extra, "guestinfo.metadata")), &len);
	snprintf(expected, sizeof(expected),
		 "\ninstance-id: \"c1-cp-bcdfg\"\nlocal-hostname: \"c1-cp-bcdfg\"\nwait-on-network:\n  ipv4: true\n  ipv6: false\n"
		 "network:\n  version: 2\n  ethernets:\n    id0:\n      match:\n        macaddress: \"%s\"\n"
		 "      set-name: \"eth0\"\n      wakeonlan: true\n      dhcp4: true\n      dhcp6: false\n", json_str(vm, "mac.0"));
	ck_assert_str_eq(metadata, expected);
	free(metadata);
	metadata = rig_base64(json_string_value(json_object_get(extra, "guestinfo.userdata")), &len);
	ck_assert_str_eq(metadata, "#cloud-config\nwrite_files: []\n");
	free(metadata);

	rig_ok(&rig, "machine_redact", "11111111-2222-4333-8444-555555555555", rig_doc(cluster, machine, observed));
	json_decref(inventory);
	inventory = rig_vmread(&rig);
	extra = json_object_get(rig_vm(inventory, "c1-cp-bcdfg"), "extraConfig");
	ck_assert_str_eq(json_string_value(json_object_get(extra, "guestinfo.userdata")), "---");
	ck_assert_ptr_null(json_object_get(extra, "guestinfo.userdata.encoding"));
	ck_assert_ptr_nonnull(json_object_get(extra, "guestinfo.metadata"));

	json_t *items = json_object_get(rig_ok(&rig, "inventory", "inv", json_pack("{s:s}", "cluster", CLUSTER_UID)), "items");
	ck_assert_uint_eq(json_array_size(items), 1);
	ck_assert_str_eq(json_str(json_array_get(items, 0), "machine"), "11111111-2222-4333-8444-555555555555");
	ck_assert_str_eq(json_str(json_array_get(items, 0), "role"), "control-plane");
	ck_assert_str_eq(json_str(json_array_get(items, 0), "power"), "on");

	rig_ok(&rig, "machine_delete", "11111111-2222-4333-8444-555555555555", rig_doc(cluster, machine, observed));
	ck_assert_uint_eq(json_array_size(json_object_get(rig_ok(&rig, "cluster_delete", CLUSTER_UID,
								  rig_doc(cluster, NULL, infra)), "left")), 0);
	json_decref(inventory);
	inventory = rig_vmread(&rig);
	ck_assert_ptr_null(rig_vm(inventory, "c1-cp-bcdfg"));
	ck_assert_ptr_null(strstr(json_dumps(json_object_get(inventory, "folders"), 0), "/c1\""));
	json_decref(inventory);
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
}
END_TEST

static void say_calls(struct rig *r, const char *title, json_int_t n, int64_t ms)
{
	json_t *calls = rig_admin(r, "GET", "/calls", NULL);
	char *text = json_dumps(json_at(calls, "sinceReset.method"), JSON_COMPACT | JSON_SORT_KEYS);

	printf("%s: %lld calls, %lld ms: %s\n", title, (long long)n, (long long)ms, text);
	free(text);
	json_decref(calls);
}

START_TEST(needs_few_calls)
{
	static const struct { int n; int most; } loads[] = { { 1, 27 }, { 20, 20 * 16 } };

	for (size_t l = 0; l < 2; l++) {
		json_t *cluster[20], *machine[20], *infra[20], *observed[20];
		char uid[20][40], muid[20][40], name[20][32];
		struct run *runs[20];
		int n = loads[l].n;
		int64_t begin = now_ms(), made;
		json_int_t calls;

		json_decref(rig_admin(&rig, "POST", "/reset", ""));
		for (int i = 0; i < n; i++) {
			snprintf(uid[i], 40, "66f0c0ffee000000000000%02d", i);
			snprintf(muid[i], 40, "11111111-2222-4333-8444-5555555555%02d", i);
			snprintf(name[i], 32, "load%d-%02d-cp-bcdfg", (int)l, i);
			cluster[i] = rig_cluster(&rig, uid[i], name[i]);
			json_object_set_new(cluster[i], "name", json_sprintf("load%d-%02d", (int)l, i));
			machine[i] = rig_machine(cluster[i], muid[i], name[i]);
			runs[i] = rig_begin(&rig, "a1", "cluster_ensure", uid[i], rig_doc(cluster[i], NULL, NULL));
		}
		rig_end_all(&rig);
		for (int i = 0; i < n; i++) {
			infra[i] = json_deep_copy(json_object_get(runs[i]->reply, "observed"));
			ck_assert_msg(runs[i]->ok, "%s", runs[i]->err.text);
			runs[i] = rig_begin(&rig, "a1", "machine_ensure", muid[i], rig_doc(cluster[i], machine[i], infra[i]));
		}
		rig_end_all(&rig);
		made = now_ms() - begin;
		for (int i = 0; i < n; i++) {
			ck_assert_msg(runs[i]->ok, "%s", runs[i]->err.text);
			observed[i] = json_deep_copy(json_object_get(runs[i]->reply, "observed"));
			runs[i] = rig_begin(&rig, "a1", "machine_redact", muid[i], rig_doc(cluster[i], machine[i], observed[i]));
		}
		rig_end_all(&rig);
		for (int i = 0; i < n; i++)
			ck_assert_msg(runs[i]->ok, "%s", runs[i]->err.text);
		say_calls(&rig, "made and redacted", rig_calls(&rig, NULL), made);
		for (int i = 0; i < n; i++)
			runs[i] = rig_begin(&rig, "a1", "machine_delete", muid[i], rig_doc(cluster[i], machine[i], observed[i]));
		rig_end_all(&rig);
		for (int i = 0; i < n; i++) {
			ck_assert_msg(runs[i]->ok, "%s", runs[i]->err.text);
			runs[i] = rig_begin(&rig, "a1", "cluster_delete", uid[i], rig_doc(cluster[i], NULL, infra[i]));
		}
		rig_end_all(&rig);
		for (int i = 0; i < n; i++)
			runs[i] = rig_begin(&rig, "a1", "inventory", uid[i], json_pack("{s:s}", "cluster", uid[i]));
		rig_end_all(&rig);
		for (int i = 0; i < n; i++)
			ck_assert_uint_eq(json_array_size(json_object_get(runs[i]->reply, "items")), 0);
		rig_pool_close(&rig);
		calls = rig_calls(&rig, NULL);
		say_calls(&rig, n == 1 ? "one machine" : "20 machines", calls, made);
		ck_assert_int_le(calls, loads[l].most);
		json_t *all = rig_admin(&rig, "GET", "/calls", NULL);
		ck_assert_int_le(json_int_or(all, "connections.maxSinceReset", 99), 5);
		ck_assert_int_le(json_int_or(all, "sessions.maxSinceReset", 99), 1);
		ck_assert_int_eq(json_int_or(all, "sessions.open", 99), 0);
		json_decref(all);
		all = rig_vmread(&rig);
		ck_assert_uint_eq(machines_in(all), 0);
		json_decref(all);
		rig_pool_open(&rig);
		for (int i = 0; i < n; i++) {
			json_decref(cluster[i]);
			json_decref(machine[i]);
			json_decref(infra[i]);
			json_decref(observed[i]);
		}
	}
}
END_TEST

int main(int argc, char **argv)
{
	static const struct worker_role roles[] = { { "account", account_worker_main } };
	ssize_t n = readlink("/proc/self/exe", rig_exe, sizeof(rig_exe) - 1);
	TCase *tc = tcase_create("vcsim");
	Suite *s;
	SRunner *r;
	int failed;

	if (argc == 3 && strcmp(argv[1], "--worker") == 0)
		return worker_child_main(argv[2], roles, 1);
	rig_exe[n > 0 ? n : 0] = 0;
	s = suite_create("vsphere");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, makes_a_machine_as_the_request_says);
	tcase_add_test(tc, needs_few_calls);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
