/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "host/worker/worker.h"
#include "pcg/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
	char *metadata, *folders, expected[1024];
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
		 "      set-name: \"eth0\"\n      wakeonlan: true\n      dhcp4: true\n      dhcp6: false\n      accept-ra: false\n", json_str(vm, "mac.0"));
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
	folders = json_dumps(json_object_get(inventory, "folders"), 0);
	ck_assert_ptr_null(strstr(folders, "/c1\""));
	free(folders);
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
	static const struct { int n; int most; } loads[] = { { 1, 24 }, { 20, 20 * 10 } };

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
		ck_assert_int_le(json_int_or(all, "connections.maxSinceReset", 99), 4);
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

/* A whole life: folder, machine, redaction, all of it read by govmomi in between, and removed. */
static void live(const char *name, const char *cluster_uid, const char *machine_uid, void (*before)(const char *op))
{
	json_t *cluster = rig_cluster(&rig, cluster_uid, name), *machine, *infra, *observed, *inventory;
	char machine_name[80];

	snprintf(machine_name, sizeof(machine_name), "%s-cp-bcdfg", name);
	machine = rig_machine(cluster, machine_uid, machine_name);
	before("cluster_ensure");
	infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", cluster_uid, rig_doc(cluster, NULL, NULL)),
					       "observed"));
	before("machine_ensure");
	observed = json_deep_copy(json_object_get(rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(cluster, machine, infra)),
						  "observed"));
	before("machine_redact");
	rig_ok(&rig, "machine_redact", machine_uid, rig_doc(cluster, machine, observed));
	before("inventory");
	ck_assert_uint_eq(json_array_size(json_object_get(rig_ok(&rig, "inventory", cluster_uid,
								json_pack("{s:s}", "cluster", cluster_uid)), "items")), 1);
	inventory = rig_vmread(&rig);
	ck_assert_uint_eq(machines_in(inventory), 1);
	ck_assert_str_eq(json_str_or(rig_vm(inventory, machine_name), "powerState", ""), "poweredOn");
	ck_assert_str_eq(json_str_or(rig_vm(inventory, machine_name), "instanceUuid", ""), json_str(observed, "id"));
	json_decref(inventory);
	before("machine_delete");
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	before("cluster_delete");
	ck_assert_uint_eq(json_array_size(json_object_get(rig_ok(&rig, "cluster_delete", cluster_uid,
								 rig_doc(cluster, NULL, infra)), "left")), 0);
	inventory = rig_vmread(&rig);
	ck_assert_uint_eq(machines_in(inventory), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(inventory, "folders")), 5);
	json_decref(inventory);
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
	run_free(&rig);
}

static const char machine_uid[] = "11111111-2222-4333-8444-555555555555";

static void nothing(const char *op)
{
}

static void expire(const char *op)
{
	json_decref(rig_admin(&rig, "POST", "/expire-sessions", ""));
}

START_TEST(goes_on_when_its_session_has_expired_before_any_op)
{
	live("c1", CLUSTER_UID, machine_uid, expire);
	rig_pool_close(&rig);
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);
	ck_assert_int_eq(json_int_or(calls, "sessions.open", 99), 0);
}
END_TEST

static void fault(const char *method, const char *mode)
{
	AUTO_JSON json_t *body = json_pack("{s:s, s:s, s:i}", "method", method, "mode", mode, "times", 1);
	char *text;

	if (strcmp(mode, "NotAuthenticated") == 0) {
		json_object_set_new(body, "mode", json_string("fault"));
		json_object_set_new(body, "fault", json_string("NotAuthenticated"));
	}
	text = json_dumps(body, 0);
	json_decref(rig_admin(&rig, "POST", "/fault", text));
	free(text);
}

static const char *const methods[] = { "RetrieveServiceContent", "CreateFolder", "FindByInventoryPath", "FindByUuid", "CloneVM_Task",
				       "CreateListView", "CreateFilter", "WaitForUpdatesEx", "ReconfigVM_Task", "PowerOffVM_Task",
				       "Destroy_Task", "UnregisterAndDestroy_Task", "RetrievePropertiesEx",
				       "CreateContainerView" };
static const char *const modes[] = { "drop-after", "drop-before", "NotAuthenticated" };

START_TEST(makes_exactly_one_machine_whatever_reply_is_lost)
{
	const char *method = methods[_i / 3], *mode = modes[_i % 3];

	if (strcmp(method, "RetrieveServiceContent") == 0 && _i % 3 == 2)
		return; /* that one needs no session */
	fault(method, mode);
	/* It is looked for only when an earlier attempt may have made it. */
	if (strcmp(method, "FindByUuid") == 0)
		json_object_set_new(rig.checkpoints, "machine_ensure 11111111-2222-4333-8444-555555555555", json_object());
	live("c1", CLUSTER_UID, machine_uid, nothing);
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);
	if (_i % 3 == 2) {
		/* Twice by govmomi's reader, once at first, once again. The simulator keeps the session that it disowned. */
		ck_assert_int_eq(json_int_or(calls, "sinceStart.method.Login", 0), 4);
		return;
	}
	ck_assert_int_eq(json_int_or(calls, "faultsInjected", 0), 1);
	rig_pool_close(&rig);
	AUTO_JSON json_t *after = rig_admin(&rig, "GET", "/calls", NULL);
	ck_assert_int_eq(json_int_or(after, "sessions.open", 99), 0);
}
END_TEST

static const char *const points[] = { "vsphere.before_login", "vsphere.after_login", "vsphere.before_create_folder",
				      "vsphere.after_create_folder", "vsphere.before_clone", "vsphere.after_clone_sent",
				      "vsphere.before_redact", "vsphere.after_redact", "vsphere.before_power_off",
				      "vsphere.after_power_off", "vsphere.before_destroy", "vsphere.after_destroy",
				      "vsphere.before_destroy_folder", "vsphere.after_destroy_folder" };

static const char *const power_points[] = { "vsphere.before_power_on", "vsphere.after_power_on" };
static const char *const upgrade_points[] = { "vsphere.before_upgrade", "vsphere.after_upgrade" };

START_TEST(makes_exactly_one_machine_though_the_worker_is_killed)
{
	rig_arm(&rig, points[_i]);
	live("c1", CLUSTER_UID, machine_uid, nothing);
	rig_fired(&rig, points[_i]);
#ifdef PCG_FAULT_POINTS
	rig_pool_close(&rig);
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);
	/* Also that of a login whose cookie nobody ever saw. */
	ck_assert_int_eq(json_int_or(calls, "sessions.open", 99), 0);
#endif
}
END_TEST

START_TEST(powers_on_a_machine_that_is_off_though_the_worker_is_killed)
{
	json_t *cluster, *machine, *infra, *observed, *inventory;
	char path[160];

	make_machine(&cluster, &machine, &infra, &observed, CLUSTER_UID, "c1", machine_uid);
	snprintf(path, sizeof(path), "/power-off?uuid=%s", json_str(observed, "id"));
	json_decref(rig_admin(&rig, "POST", path, ""));
	run_free(&rig);
	rig_pool_close(&rig);
	rig_arm(&rig, power_points[_i]);
	rig_pool_open(&rig);
	rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	rig_fired(&rig, power_points[_i]);
	inventory = rig_vmread(&rig);
	ck_assert_uint_eq(machines_in(inventory), 1);
	ck_assert_str_eq(json_str_or(rig_vm(inventory, "c1-cp-bcdfg"), "powerState", ""), "poweredOn");
	json_decref(inventory);
	rig_ok(&rig, "machine_power_off", machine_uid, rig_doc(cluster, machine, observed));
	inventory = rig_vmread(&rig);
	ck_assert_str_eq(json_str_or(rig_vm(inventory, "c1-cp-bcdfg"), "powerState", ""), "poweredOff");
	json_decref(inventory);
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
}
END_TEST

START_TEST(upgrades_a_machine_before_it_boots_though_the_worker_is_killed)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1"), *machine = NULL, *infra = NULL, *inventory = NULL;

	json_object_set_new(json_at(cluster, "spec.cloudConfig"), "hardwareVersion", json_string("vmx-19"));
	machine = rig_machine(cluster, machine_uid, "c1-cp-bcdfg");
	rig_arm(&rig, upgrade_points[_i]);
	infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed"));
	rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	rig_fired(&rig, upgrade_points[_i]);
	inventory = rig_vmread(&rig);
	ck_assert_uint_eq(machines_in(inventory), 1);
	ck_assert_str_eq(json_str_or(rig_vm(inventory, "c1-cp-bcdfg"), "hardwareVersion", ""), "vmx-19");
	ck_assert_str_eq(json_str_or(rig_vm(inventory, "c1-cp-bcdfg"), "powerState", ""), "poweredOn");
}
END_TEST

static const struct {
	const char *path, *value, *field, *said;
} wrong_places[] = {
	{ "spec.cloudConfig.placement.datacenter", "DC9", "cloudConfig.placement.datacenter", "/DC0" },
	{ "spec.cloudConfig.placement.folder", "nowhere", "cloudConfig.placement.folder", "/DC0/vm" },
	{ "spec.image.template", "templates/none", "image.template", "/DC0/vm/templates/ubuntu-2404-kube-v1.36.3" },
	{ "spec.pools.0.cloudConfig.placements.0.cluster", "C9", "pool.cloudConfig.placements.cluster", "/DC0/host/DC0_C0" },
	{ "spec.pools.0.cloudConfig.placements.0.resourcePool", "P9", "pool.cloudConfig.placements.resourcePool", "Resources" },
	{ "spec.pools.0.cloudConfig.placements.0.datastore", "D9", "pool.cloudConfig.placements.datastore", "LocalDS_0" },
	{ "spec.pools.0.cloudConfig.placements.0.network.networkName", "N9",
	  "pool.cloudConfig.placements.network.networkName", "DC0_DVPG0" },
};

static void set_path(json_t *doc, const char *path, const char *value)
{
	char at[128], *last;

	snprintf(at, sizeof(at), "%s", path);
	last = strrchr(at, '.');
	*last = 0;
	json_object_set_new((json_t *)(uintptr_t)json_at(doc, at), last + 1, json_string(value));
}

static json_t *check_problems(json_t *cluster)
{
	json_t *doc = rig_doc(cluster, NULL, NULL);

	json_object_set_new(doc, "check", json_true());
	return json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, doc), "problems");
}

START_TEST(names_each_missing_object_and_what_is_there)
{
	json_t *all = rig_cluster(&rig, CLUSTER_UID, "c1"), *problems;

	ck_assert_uint_eq(json_array_size(check_problems(all)), 0);
	for (size_t i = 0; i < ARRAY_LEN(wrong_places); i++) {
		json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");

		set_path(cluster, wrong_places[i].path, wrong_places[i].value);
		problems = check_problems(cluster);
		ck_assert_msg(json_array_size(problems) == 1, "%s: %s", wrong_places[i].path, json_dumps(problems, 0));
		ck_assert_str_eq(json_str(json_array_get(problems, 0), "field"), wrong_places[i].field);
		ck_assert_ptr_nonnull(strstr(json_str(json_array_get(problems, 0), "text"), wrong_places[i].value));
		ck_assert_msg(strstr(json_str(json_array_get(problems, 0), "text"), wrong_places[i].said) != NULL, "%s",
			      json_str(json_array_get(problems, 0), "text"));
		ck_assert_str_ne(json_str(json_array_get(problems, 0), "remedy"), "");
		json_decref(cluster);
		if (i && i != 4)
			set_path(all, wrong_places[i].path, wrong_places[i].value);
	}
	ck_assert_uint_eq(json_array_size(check_problems(all)), ARRAY_LEN(wrong_places) - 2);
	json_decref(all);
}
END_TEST

/* The session holds each view until it ends. */
START_TEST(a_read_that_fails_leaves_no_view_behind)
{
	struct run *run;

	rig_ok(&rig, "inventory", "i", json_pack("{s:s}", "cluster", CLUSTER_UID));
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	for (int i = 0; i < 3; i++) {
		fault("RetrievePropertiesEx", "garbage");
		run = rig_do(&rig, "a1", "inventory", "i", json_pack("{s:s}", "cluster", CLUSTER_UID));
		ck_assert(!run->ok);
		rig_ok(&rig, "inventory", "i", json_pack("{s:s}", "cluster", CLUSTER_UID));
	}
	ck_assert_int_eq(rig_calls(&rig, "CreateContainerView"), 0);
	/* One that went with its session is made anew. */
	json_decref(rig_admin(&rig, "POST", "/expire-sessions", ""));
	rig_ok(&rig, "inventory", "i", json_pack("{s:s}", "cluster", CLUSTER_UID));
	ck_assert_int_ge(rig_calls(&rig, "CreateContainerView"), 1);
}
END_TEST

/* Nor is a machine made there with a device of no switch. */
START_TEST(tells_of_a_port_group_whose_switch_may_not_be_read)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1"), *machine = rig_machine(cluster, machine_uid, "c1-cp-bcdfg");
	AUTO_JSON json_t *infra = NULL;
	struct run *run;
	json_t *problems;

	json_decref(rig_admin(&rig, "POST", _i ? "/hide-switches?name=dvs-404" : "/hide-switches", ""));
	problems = check_problems(cluster);
	ck_assert_uint_eq(json_array_size(problems), 1);
	ck_assert_str_eq(json_str(json_array_get(problems, 0), "field"), "pool.cloudConfig.placements.network.networkName");
	ck_assert_ptr_nonnull(strstr(json_str(json_array_get(problems, 0), "text"), "switch of port group /DC0/network/DC0_DVPG0"));
	ck_assert_ptr_nonnull(strstr(json_str(json_array_get(problems, 0), "remedy"), "System.Read"));
	infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed"));
	run = rig_do(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	ck_assert(!run->ok);
	ck_assert_ptr_nonnull(strstr(run->err.remedy, "System.Read"));
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 0);
	set_path(cluster, "spec.pools.0.cloudConfig.placements.0.network.networkName", "VM Network");
	ck_assert_uint_eq(json_array_size(check_problems(cluster)), 0);
}
END_TEST

START_TEST(takes_inventory_paths_as_well_as_names)
{
	json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");

	set_path(cluster, "spec.cloudConfig.placement.datacenter", "/DC0");
	set_path(cluster, "spec.cloudConfig.placement.folder", "/DC0/vm/templates");
	set_path(cluster, "spec.image.template", "ubuntu-2404-kube-v1.36.3");
	set_path(cluster, "spec.pools.0.cloudConfig.placements.0.cluster", "/DC0/host/DC0_C0");
	set_path(cluster, "spec.pools.0.cloudConfig.placements.0.resourcePool", "/DC0/host/DC0_C0/Resources");
	set_path(cluster, "spec.pools.0.cloudConfig.placements.0.datastore", "/DC0/datastore/LocalDS_0");
	set_path(cluster, "spec.pools.0.cloudConfig.placements.0.network.networkName", "network/DC0_DVPG0");
	ck_assert_uint_eq(json_array_size(check_problems(cluster)), 0);
	set_path(cluster, "spec.cloudConfig.placement.folder", "/DC0/vm");
	ck_assert_uint_eq(json_array_size(check_problems(cluster)), 0);
	json_decref(cluster);
}
END_TEST

START_TEST(finds_a_machine_that_somebody_moved)
{
	json_t *cluster, *machine, *infra, *observed, *items;
	char path[160];

	make_machine(&cluster, &machine, &infra, &observed, CLUSTER_UID, "c1", machine_uid);
	snprintf(path, sizeof(path), "/move-vm?uuid=%s&folder=/DC0/vm/templates", json_str(observed, "id"));
	json_decref(rig_admin(&rig, "POST", path, ""));
	items = json_object_get(rig_ok(&rig, "inventory", "i", json_pack("{s:s}", "cluster", CLUSTER_UID)), "items");
	ck_assert_uint_eq(json_array_size(items), 1);
	rig_kill_workers(&rig);
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, NULL));
	items = json_object_get(rig_ok(&rig, "inventory", "i", json_pack("{s:s}", "cluster", CLUSTER_UID)), "items");
	ck_assert_uint_eq(json_array_size(items), 0);
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
}
END_TEST

/* A task, or a reference, that stands for another machine than it did: what a vCenter gives that was set back. */
START_TEST(believes_nothing_of_a_machine_with_another_uuid)
{
	static const char other_uid[] = "11111111-2222-4333-8444-555555555556";
	static const char mine[] = "machine_ensure 11111111-2222-4333-8444-555555555555";
	json_t *cluster[2], *machine[2], *infra[2], *observed[2], *again, *inventory, *theirs;
	struct run *run;

	make_machine(&cluster[0], &machine[0], &infra[0], &observed[0], CLUSTER_UID, "c1", machine_uid);
	make_machine(&cluster[1], &machine[1], &infra[1], &observed[1], "66f0c0ffee0000000000ffff", "c2", other_uid);
	theirs = json_object_get(rig.checkpoints, "machine_ensure 11111111-2222-4333-8444-555555555556");
	ck_assert_str_ne(json_str_or(theirs, "task", ""), "");
	rig_kill_workers(&rig);
	json_object_set(rig.checkpoints, mine, theirs);
	again = json_object_get(rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(cluster[0], machine[0], infra[0])), "observed");
	ck_assert_str_eq(json_str(again, "vm"), json_str(observed[0], "vm"));
	ck_assert_str_eq(json_str(again, "biosUUID"), json_str(observed[0], "biosUUID"));
	/* When its own is not there, no other one is taken for it, nor made. */
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster[0], machine[0], observed[0]));
	rig_kill_workers(&rig);
	json_object_set(rig.checkpoints, mine, theirs);
	for (int i = 0; i < 2; i++) {
		run = rig_do(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster[0], machine[0], infra[0]));
		ck_assert(!run->ok);
		ck_assert_int_eq(run->err.class, PCG_CLASS_CONFLICT);
		ck_assert_msg(strstr(run->err.text, json_str(observed[1], "id")) && strstr(run->err.text, json_str(observed[0], "id")), "%s",
			      run->err.text);
	}
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 2);
	inventory = rig_vmread(&rig);
	ck_assert_ptr_null(rig_vm(inventory, "c1-cp-bcdfg"));
	ck_assert_str_eq(json_str_or(rig_vm(inventory, "c2-cp-bcdfg"), "powerState", ""), "poweredOn");
	json_decref(inventory);
	for (int i = 0; i < 2; i++) {
		json_decref(cluster[i]);
		json_decref(machine[i]);
		json_decref(infra[i]);
		json_decref(observed[i]);
	}
}
END_TEST

START_TEST(leaves_machines_of_others_alone)
{
	json_t *cluster, *machine, *infra, *observed, *other, *stranger, *inventory;
	struct run *run;

	make_machine(&cluster, &machine, &infra, &observed, CLUSTER_UID, "c1", machine_uid);
	other = rig_cluster(&rig, "66f0c0ffee0000000000ffff", "c2");
	stranger = rig_machine(other, "", "c1-cp-bcdfg");
	run = rig_do(&rig, "a1", "machine_delete", json_str(observed, "id"), rig_doc(other, stranger, observed));
	ck_assert(!run->ok);
	ck_assert_int_eq(run->err.class, PCG_CLASS_CONFLICT);
	/* A folder with somebody's machine in it stays, and is told. */
	run = rig_do(&rig, "a1", "cluster_delete", CLUSTER_UID, rig_doc(cluster, NULL, infra));
	ck_assert(run->ok);
	ck_assert_uint_eq(json_array_size(json_object_get(run->reply, "left")), 1);
	inventory = rig_vmread(&rig);
	ck_assert_str_eq(json_str_or(rig_vm(inventory, "c1-cp-bcdfg"), "powerState", ""), "poweredOn");
	json_decref(inventory);
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
	json_decref(other);
	json_decref(stranger);
}
END_TEST

static json_t *item_of(const char *cluster)
{
	json_t *items = json_object_get(rig_ok(&rig, "inventory", "i", json_pack("{s:s}", "cluster", cluster)), "items");

	ck_assert_uint_eq(json_array_size(items), 1);
	return json_deep_copy(json_array_get(items, 0));
}

START_TEST(deletes_what_an_inventory_has_just_read_without_another_look)
{
	json_t *cluster, *machine, *infra, *observed, *item;
	struct run *run;

	make_machine(&cluster, &machine, &infra, &observed, CLUSTER_UID, "c1", machine_uid);
	rig_kill_workers(&rig);
	item = item_of(CLUSTER_UID);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, item));
	ck_assert_int_eq(rig_calls(&rig, "FindByUuid"), 0);
	ck_assert_int_eq(rig_calls(&rig, "RetrievePropertiesEx"), 0);
	ck_assert_int_eq(rig_calls(&rig, "Destroy_Task"), 1);
	/* What has gone since is found out, once. */
	run = rig_do(&rig, "a1", "machine_delete", machine_uid, rig_doc(cluster, machine, item));
	ck_assert_msg(run->ok, "%s", run->err.text);
	ck_assert_uint_le(run->asked, 4);
	ck_assert_int_eq(rig_calls(&rig, "PowerOffVM_Task"), 2);
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
	json_decref(item);
}
END_TEST

/* What an inventory read is nothing to go by when it is of another machine, or of long ago. */
START_TEST(deletes_by_its_own_uuid_whatever_an_inventory_says)
{
	static const char other_uid[] = "11111111-2222-4333-8444-555555555556";
	json_t *cluster[2], *machine[2], *infra[2], *observed[2], *item, *inventory;
	const char *names[] = { "c1-cp-bcdfg", "c2-cp-bcdfg" };

	make_machine(&cluster[0], &machine[0], &infra[0], &observed[0], CLUSTER_UID, "c1", machine_uid);
	make_machine(&cluster[1], &machine[1], &infra[1], &observed[1], "66f0c0ffee0000000000ffff", "c2", other_uid);
	/* As of a copy of the first machine, which carries its mark. */
	item = item_of("66f0c0ffee0000000000ffff");
	json_object_set_new(item, "cluster", json_string(CLUSTER_UID));
	json_object_set_new(item, "machine", json_string(machine_uid));
	if (_i) {
		json_object_set(item, "id", json_object_get(observed[0], "id"));
		json_object_set_new(item, "readAt", json_integer(1));
	}
	rig_kill_workers(&rig);
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster[0], machine[0], item));
	inventory = rig_vmread(&rig);
	ck_assert_ptr_null(rig_vm(inventory, names[0]));
	ck_assert_str_eq(json_str_or(rig_vm(inventory, names[1]), "powerState", ""), "poweredOn");
	json_decref(inventory);
	json_decref(item);
	for (int i = 0; i < 2; i++) {
		json_decref(cluster[i]);
		json_decref(machine[i]);
		json_decref(infra[i]);
		json_decref(observed[i]);
	}
}
END_TEST

static void copy_vm(const json_t *observed, const char *name, const char *others)
{
	char path[240];

	snprintf(path, sizeof(path), "/clone-vm?uuid=%s&folder=/DC0/vm/templates&name=%s", json_str(observed, "id"), name);
	json_decref(rig_admin(&rig, "POST", path, others));
}

static const json_t *named(const json_t *items, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach(items, i, item)
		if (!strcmp(json_str_or(item, "name", ""), name))
			return item;
	ck_abort_msg("%s is not in the inventory", name);
	return NULL;
}

/* A copy that somebody makes of a machine takes its mark along. */
START_TEST(knows_a_copy_of_a_machine_from_the_machine)
{
	json_t *cluster, *machine, *infra, *observed, *items;
	const json_t *item;

	make_machine(&cluster, &machine, &infra, &observed, CLUSTER_UID, "c1", machine_uid);
	copy_vm(observed, "copied", "");
	/* As the controllers make them: without a uid of ours, the metadata names the machine ("\nlocal-hostname: \"made\"\n"). */
	copy_vm(observed, "made", "{\"pcg.machine\": \"\", \"guestinfo.metadata\": \"CmxvY2FsLWhvc3RuYW1lOiAibWFkZSIK\"}");
	copy_vm(observed, "copied-again", "{\"pcg.machine\": \"\", \"guestinfo.metadata\": \"CmxvY2FsLWhvc3RuYW1lOiAibWFkZSIK\"}");
	/* A guest may write its metadata itself: what is no text does not take it out of the list. */
	copy_vm(observed, "bent", "{\"pcg.machine\": \"\", \"guestinfo.metadata\": \"CmxvY2FsLWhvc3RuYW1lOiAi//4iCg==\"}");
	copy_vm(observed, "begun", "{\"pcg.machine\": \"\", \"guestinfo.metadata\": \"\"}");
	items = json_object_get(rig_ok(&rig, "inventory", "i", json_pack("{s:s}", "cluster", CLUSTER_UID)), "items");
	ck_assert_uint_eq(json_array_size(items), 6);
	ck_assert_ptr_null(json_str(named(items, json_str(machine, "name")), "stranger"));
	ck_assert_ptr_null(json_str(named(items, "made"), "stranger"));
	ck_assert_ptr_null(json_str(named(items, "begun"), "stranger"));
	ck_assert_ptr_nonnull(strstr(json_str_or(named(items, "bent"), "stranger", ""), "metadata names ??"));
	item = named(items, "copied");
	ck_assert_ptr_nonnull(strstr(json_str_or(item, "stranger", ""), machine_uid));
	ck_assert_str_ne(json_str_or(item, "id", ""), json_str(observed, "id"));
	ck_assert_ptr_nonnull(strstr(json_str_or(named(items, "copied-again"), "stranger", ""), "metadata names made"));
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
}
END_TEST

START_TEST(looks_for_an_earlier_machine_only_when_there_may_be_one)
{
	json_t *cluster, *machine, *infra, *observed, *again, *inventory;
	char path[160];

	make_machine(&cluster, &machine, &infra, &observed, CLUSTER_UID, "c1", machine_uid);
	ck_assert_int_eq(rig_calls(&rig, "FindByUuid"), 0);
	/* A gateway that lost its store knows nothing of it, and somebody has moved it. */
	snprintf(path, sizeof(path), "/move-vm?uuid=%s&folder=/DC0/vm/templates", json_str(observed, "id"));
	json_decref(rig_admin(&rig, "POST", path, ""));
	rig_kill_workers(&rig);
	json_object_set_new(rig.checkpoints, "machine_ensure 11111111-2222-4333-8444-555555555555", json_object());
	again = json_object_get(rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(cluster, machine, infra)), "observed");
	ck_assert_str_eq(json_str(again, "vm"), json_str(observed, "vm"));
	ck_assert_int_ge(rig_calls(&rig, "FindByUuid"), 1);
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 1);
	inventory = rig_vmread(&rig);
	ck_assert_uint_eq(machines_in(inventory), 1);
	json_decref(inventory);
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
}
END_TEST

START_TEST(tells_a_full_datastore_and_goes_on_when_there_is_room)
{
	json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1"), *machine = rig_machine(cluster, machine_uid, "c1-cp-bcdfg");
	json_t *infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)),
						       "observed"));
	struct run *run;

	json_decref(rig_admin(&rig, "POST", "/fault",
			      "{\"method\":\"CloneVM_Task\",\"mode\":\"fault\",\"fault\":\"NoDiskSpace\",\"times\":1}"));
	run = rig_do(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	ck_assert(!run->ok);
	ck_assert_int_eq(run->err.class, PCG_CLASS_QUOTA);
	rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
}
END_TEST

/* The account is verified by its CA: the controllers get the thumbprint all the same, in govmomi's form. */
static void check_thumbprint(const char *exported)
{
	ck_assert_ptr_nonnull(exported);
	ck_assert_str_eq(exported, json_str(rig.ready, "thumbprintSHA256"));
}

static json_t *exported(json_t *cluster, json_t *machine, json_t *infra)
{
	json_t *doc = rig_doc(cluster, NULL, infra);

	json_object_set_new(doc, "machines", json_pack("[O]", machine));
	json_object_set_new(doc, "endpoint", json_pack("{s:s, s:i}", "host", "10.9.0.1", "port", 6443));
	return json_object_get(rig_ok(&rig, "export_objects", CLUSTER_UID, doc), "objects");
}

START_TEST(exports_what_the_controllers_adopt_and_reads_it_back)
{
	json_t *cluster, *machine, *infra, *observed, *objects, *o, *machines;
	size_t i, seen = 0;

	make_machine(&cluster, &machine, &infra, &observed, CLUSTER_UID, "c1", machine_uid);
	json_object_set(machine, "observed", observed);
	objects = exported(cluster, machine, infra);
	json_array_foreach(objects, i, o) {
		const char *kind = json_str(o, "object.kind");

		if (strcmp(kind, "VSphereVM") == 0) {
			ck_assert_str_eq(json_str(o, "object.spec.biosUUID"), json_str(observed, "biosUUID"));
			ck_assert_str_eq(json_str(o, "object.spec.folder"), "/DC0/vm/c1");
			ck_assert_str_eq(json_str(o, "object.spec.bootstrapRef.name"), "c1-cp-bcdfg");
			ck_assert_str_eq(json_str(o, "claims.finalizer"),
					 "vspherevm.infrastructure.cluster.x-k8s.io/ip-claim-protection");
			check_thumbprint(json_str(o, "object.spec.thumbprint"));
			seen |= 1;
		} else if (strcmp(kind, "VSphereMachine") == 0) {
			ck_assert_str_eq(json_str(o, "object.spec.providerID"), json_str(observed, "providerID"));
			seen |= 2;
		} else if (strcmp(kind, "VSphereMachineTemplate") == 0) {
			const json_t *keys = json_at(o, "object.spec.template.spec.customVMXKeys");

			ck_assert_str_eq(json_string_value(json_object_get(keys, "pcg.cluster")), CLUSTER_UID);
			ck_assert_str_eq(json_str(o, "object.metadata.name"), "c1-cp");
			check_thumbprint(json_str(o, "object.spec.template.spec.thumbprint"));
			seen |= 4;
		} else if (strcmp(kind, "Secret") == 0) {
			ck_assert_str_eq(json_str(o, "object.stringData.password"), PASSWORD);
			seen |= 8;
		} else {
			ck_assert_str_eq(kind, "VSphereCluster");
			check_thumbprint(json_str(o, "object.spec.thumbprint"));
			ck_assert_str_eq(json_str(o, "object.spec.identityRef.name"), "c1");
			seen |= 16;
		}
	}
	ck_assert_uint_eq(seen, 31);
	machines = json_object_get(rig_ok(&rig, "import_objects", CLUSTER_UID, json_pack("{s:O}", "objects", objects)), "machines");
	ck_assert_uint_eq(json_array_size(machines), 1);
	ck_assert_str_eq(json_str(json_array_get(machines, 0), "observed.providerID"), json_str(observed, "providerID"));
	ck_assert_str_eq(json_str(json_array_get(machines, 0), "pool"), "control-plane");
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
}
END_TEST

/* Killed while it hands a cluster over: the next worker goes on with the kept session, by which nobody has shown a
 * certificate yet. */
START_TEST(exports_the_thumbprint_in_a_worker_that_takes_up_a_session)
{
	AUTO_JSON json_t *cluster = NULL, *machine = NULL, *infra = NULL, *observed = NULL;
	json_t *objects, *o;
	size_t i, seen = 0;

	make_machine(&cluster, &machine, &infra, &observed, CLUSTER_UID, "c1", machine_uid);
	json_object_set(machine, "observed", observed);
	rig_kill_workers(&rig);
	for (int again = 0; again < 2; again++) {
		objects = exported(cluster, machine, infra);
		json_array_foreach(objects, i, o)
			if (strcmp(json_str(o, "object.kind"), "VSphereCluster") == 0 && ++seen)
				check_thumbprint(json_str(o, "object.spec.thumbprint"));
	}
	ck_assert_uint_eq(seen, 2);
	/* One at the beginning, one by the second worker, and that only once. */
	ck_assert_int_eq(rig_calls(&rig, "Login"), 1);
	ck_assert_int_eq(rig_calls(&rig, "RetrieveServiceContent"), 2);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;
	int status;

	if (!rig_main(argc, argv, "vcsim vmread", &status))
		return status;
	s = suite_create("vsphere");
	tc = rig_case(s, "vcsim", setup, teardown);
	tcase_add_test(tc, makes_a_machine_as_the_request_says);
	tcase_add_test(tc, needs_few_calls);
	tcase_add_test(tc, goes_on_when_its_session_has_expired_before_any_op);
	tcase_add_loop_test(tc, makes_exactly_one_machine_whatever_reply_is_lost, 0, 3 * ARRAY_LEN(methods));
	tcase_add_loop_test(tc, makes_exactly_one_machine_though_the_worker_is_killed, 0, ARRAY_LEN(points));
	tcase_add_loop_test(tc, powers_on_a_machine_that_is_off_though_the_worker_is_killed, 0, ARRAY_LEN(power_points));
	tcase_add_loop_test(tc, upgrades_a_machine_before_it_boots_though_the_worker_is_killed, 0, ARRAY_LEN(upgrade_points));
	tcase_add_test(tc, names_each_missing_object_and_what_is_there);
	tcase_add_test(tc, takes_inventory_paths_as_well_as_names);
	tcase_add_test(tc, finds_a_machine_that_somebody_moved);
	tcase_add_test(tc, believes_nothing_of_a_machine_with_another_uuid);
	tcase_add_test(tc, leaves_machines_of_others_alone);
	tcase_add_test(tc, deletes_what_an_inventory_has_just_read_without_another_look);
	tcase_add_test(tc, a_read_that_fails_leaves_no_view_behind);
	tcase_add_loop_test(tc, tells_of_a_port_group_whose_switch_may_not_be_read, 0, 2);
	tcase_add_loop_test(tc, deletes_by_its_own_uuid_whatever_an_inventory_says, 0, 2);
	tcase_add_test(tc, knows_a_copy_of_a_machine_from_the_machine);
	tcase_add_test(tc, looks_for_an_earlier_machine_only_when_there_may_be_one);
	tcase_add_test(tc, tells_a_full_datastore_and_goes_on_when_there_is_room);
	tcase_add_test(tc, exports_what_the_controllers_adopt_and_reads_it_back);
	tcase_add_test(tc, exports_the_thumbprint_in_a_worker_that_takes_up_a_session);
	return rig_run(s);
}
