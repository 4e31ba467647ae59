/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "host/worker/worker.h"
#include "pcg/provider.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How machines go, and what stays, against govmomi's simulator: volumes, guests that are asked to shut down, what people
 * did to a machine meanwhile. */

static const char machine_uid[] = "11111111-2222-4333-8444-555555555555";

static struct rig rig;
static json_t *cluster, *machine, *infra, *observed;

static void setup(void)
{
	rig_open(&rig, "");
	cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	machine = rig_machine(cluster, machine_uid, "c1-cp-bcdfg");
	infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed"));
	observed = json_deep_copy(json_object_get(rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(cluster, machine, infra)),
						  "observed"));
}

static void teardown(void)
{
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	json_decref(observed);
	rig_close(&rig);
}

/* What somebody does to the machine. */
static void people(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void people(const char *fmt, ...)
{
	char path[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	json_decref(rig_admin(&rig, "POST", path, ""));
}

static bool disk_there(const char *path)
{
	AUTO_JSON json_t *reply = NULL;
	char url[200];

	snprintf(url, sizeof(url), "/disk?path=%s", path);
	reply = rig_admin(&rig, "GET", url, NULL);
	return json_is_true(json_object_get(reply, "there"));
}

static json_t *inventory(void)
{
	return json_object_get(rig_ok(&rig, "inventory", "i", json_pack("{s:s}", "cluster", CLUSTER_UID)), "items");
}

static const json_t *vm_named(json_t *all, const char *name)
{
	return rig_vm(all, name);
}

/* First class disks of a storage driver, its files alone (the in-tree one), and a disk that is the machine's own: two of
 * them at once. Twice with an inventory read before, which says how many disks there are. */
START_TEST(detaches_volumes_so_that_they_are_not_destroyed)
{
	static const char volume[] = "%5BLocalDS_0%5D%20fcd/volume.vmdk", other[] = "%5BLocalDS_0%5D%20fcd/kubevol.vmdk";
	static const char own[] = "%5BLocalDS_0%5D%20c1-cp-bcdfg/c1-cp-bcdfg_1.vmdk";
	const char *id = json_str(observed, "id");
	AUTO_JSON json_t *item = NULL;

	people("/attach-disk?uuid=%s&path=%s&id=6f4c", id, volume);
	people("/attach-disk?uuid=%s&path=%s", id, other);
	people("/attach-disk?uuid=%s&path=%s", id, own);
	ck_assert(disk_there(volume) && disk_there(other) && disk_there(own));
	if (_i & 1)
		rig_kill_workers(&rig);
	item = json_deep_copy(json_array_get(inventory(), 0));
	ck_assert_int_eq(json_int_or(item, "disks", 0), 4);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, _i & 2 ? item : observed));
	ck_assert(disk_there(volume));
	ck_assert(disk_there(other));
	ck_assert(!disk_there(own));
	ck_assert_int_eq(rig_calls(&rig, "ReconfigVM_Task"), 1);
	ck_assert_int_eq(rig_calls(&rig, "Destroy_Task"), 1);
	ck_assert_uint_eq(json_array_size(inventory()), 0);
}
END_TEST

START_TEST(asks_nothing_about_volumes_of_a_machine_with_one_disk)
{
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, json_array_get(inventory(), 0)));
	ck_assert_int_eq(rig_calls(&rig, "ReconfigVM_Task"), 0);
	ck_assert_int_eq(rig_calls(&rig, "RetrievePropertiesEx"), 1);
}
END_TEST

START_TEST(destroys_nothing_while_volumes_cannot_be_detached)
{
	static const char volume[] = "%5BLocalDS_0%5D%20fcd/volume.vmdk";
	struct run *run;

	people("/attach-disk?uuid=%s&path=%s&id=6f4c", json_str(observed, "id"), volume);
	json_decref(rig_admin(&rig, "POST", "/fault", _i ? "{\"method\":\"ReconfigVM_Task\",\"mode\":\"task\",\"fault\":\"InvalidState\"}" :
					 "{\"method\":\"ReconfigVM_Task\",\"mode\":\"fault\",\"fault\":\"TaskInProgress\"}"));
	run = rig_do(&rig, "a1", "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert(!run->ok);
	ck_assert_int_eq(run->err.class, PCG_CLASS_RETRY);
	ck_assert_ptr_nonnull(strstr(run->err.text, _i ? "detaching volumes" : "TaskInProgress"));
	ck_assert_int_eq(rig_calls(&rig, "Destroy_Task"), 0);
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert(disk_there(volume));
	ck_assert_uint_eq(json_array_size(inventory()), 0);
}
END_TEST

/* What a snapshot has of a volume would go with it. */
START_TEST(snapshots_go_before_volumes_that_are_in_them_are_detached)
{
	static const char volume[] = "%5BLocalDS_0%5D%20fcd/volume.vmdk";

	people("/attach-disk?uuid=%s&path=%s&id=6f4c%s", json_str(observed, "id"), volume, _i == 1 ? "&independent=true" : "");
	people("/snapshot?uuid=%s", json_str(observed, "id"));
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	if (_i == 2) {
		struct run *run;

		json_decref(rig_admin(&rig, "POST", "/fault", "{\"method\":\"RemoveAllSnapshots_Task\",\"mode\":\"task\",\"fault\":\"SnapshotFault\"}"));
		run = rig_do(&rig, "a1", "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
		ck_assert(!run->ok);
		ck_assert_ptr_nonnull(strstr(run->err.text, "removing snapshots"));
		ck_assert_ptr_nonnull(strstr(run->err.remedy, "detach the volumes"));
		ck_assert_int_eq(rig_calls(&rig, "ReconfigVM_Task"), 0);
	}
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert_int_eq(rig_calls(&rig, "RemoveAllSnapshots_Task"), _i == 1 ? 0 : _i == 2 ? 2 : 1);
	ck_assert_int_eq(rig_calls(&rig, "ReconfigVM_Task"), 1);
	ck_assert_int_eq(rig_calls(&rig, "Destroy_Task"), 1);
	ck_assert(disk_there(volume));
}
END_TEST

static void account_with(const char *setting, int value)
{
	run_free(&rig);
	rig_pool_close(&rig);
	rig_pool_open(&rig);
	rig_account_settings(&rig, "a1", json_pack("{s:i}", setting, value));
}

START_TEST(shuts_the_guest_down_first_when_that_is_asked_for)
{
	if (_i)
		json_object_set_new(json_at(cluster, "spec.cloudConfig"), "powerOffMode", json_string("trySoft"));
	else
		account_with("guestShutdownSeconds", 20);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert_int_eq(rig_calls(&rig, "ShutdownGuest"), 1);
	ck_assert_int_eq(rig_calls(&rig, "PowerOffVM_Task"), 0);
	ck_assert_uint_eq(json_array_size(inventory()), 0);
}
END_TEST

/* It hangs, or has no tools. */
START_TEST(powers_off_a_guest_that_does_not_shut_down)
{
	static const char *const modes[] = { "{\"method\":\"ShutdownGuest\",\"mode\":\"nothing\"}",
					     "{\"method\":\"ShutdownGuest\",\"mode\":\"fault\",\"fault\":\"ToolsUnavailable\"}" };

	account_with("guestShutdownSeconds", _i ? 600 : 1);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	json_decref(rig_admin(&rig, "POST", "/fault", modes[_i]));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert_int_eq(rig_calls(&rig, "ShutdownGuest"), 1);
	ck_assert_int_eq(rig_calls(&rig, "PowerOffVM_Task"), 1);
	ck_assert_uint_eq(json_array_size(inventory()), 0);
}
END_TEST

START_TEST(never_asks_a_guest_that_has_to_be_powered_off)
{
	account_with("guestShutdownSeconds", 600);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	rig_ok(&rig, "machine_power_off", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert_int_eq(rig_calls(&rig, "ShutdownGuest"), 0);
	ck_assert_int_eq(rig_calls(&rig, "PowerOffVM_Task"), 1);
}
END_TEST

/* A worker that knows nothing looks where the machine was last; what is there is believed for its uuid alone. */
START_TEST(looks_where_the_machine_was_and_knows_it_by_its_uuid)
{
	static const char other_uid[] = "11111111-2222-4333-8444-555555555556";
	AUTO_JSON json_t *other = rig_machine(cluster, other_uid, "c1-cp-other"), *wrong = json_deep_copy(observed), *seen = NULL;
	json_t *made = json_object_get(rig_ok(&rig, "machine_ensure", other_uid, rig_doc(cluster, other, infra)), "observed");

	if (_i == 1)
		json_object_set(wrong, "vm", json_object_get(made, "vm"));
	else if (_i == 2)
		json_object_set_new(wrong, "vm", json_string("vm-99999"));
	run_free(&rig);
	rig_kill_workers(&rig);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, wrong));
	ck_assert_int_eq(rig_calls(&rig, "FindByUuid"), _i ? 1 : 0);
	ck_assert_int_eq(rig_calls(&rig, "Destroy_Task"), 1);
	seen = rig_vmread(&rig);
	ck_assert_ptr_null(vm_named(seen, "c1-cp-bcdfg"));
	ck_assert_str_eq(json_str_or(rig_vm(seen, "c1-cp-other"), "powerState", ""), "poweredOn");
}
END_TEST

START_TEST(leaves_a_machine_that_somebody_made_a_template_of)
{
	json_t *items, *seen;

	people("/make-template?uuid=%s", json_str(observed, "id"));
	rig_kill_workers(&rig);
	items = inventory();
	ck_assert_uint_eq(json_array_size(items), 1);
	ck_assert_ptr_nonnull(strstr(json_str_or(json_array_get(items, 0), "stranger", ""), "template"));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	seen = rig_vmread(&rig);
	ck_assert_ptr_nonnull(vm_named(seen, "c1-cp-bcdfg"));
	json_decref(seen);
	ck_assert_int_eq(rig_calls(&rig, "Destroy_Task"), 0);
	/* The folder that holds it is told as well. */
	ck_assert_uint_eq(json_array_size(json_object_get(rig_ok(&rig, "cluster_delete", CLUSTER_UID, rig_doc(cluster, NULL, infra)),
							  "left")), 1);
}
END_TEST

/* Without a uid of ours, as the controllers make them; in another folder under the same name, as a backup is restored. */
START_TEST(knows_a_copy_with_the_machines_own_name_by_its_network_devices)
{
	AUTO_FREE char *text = NULL, *others = NULL;
	char metadata[256], path[240];
	json_t *items, *item;
	const char *why;
	size_t i, n = 0;

	ck_assert_int_gt(asprintf(&text, "\nlocal-hostname: \"made\"\nmac: %s\n", _i ? "00:50:56:00:00:01" :
				  json_str(observed, "mac")), 0);
	EVP_EncodeBlock((unsigned char *)metadata, (unsigned char *)text, (int)strlen(text));
	ck_assert_int_gt(asprintf(&others, "{\"pcg.machine\": \"\", \"guestinfo.metadata\": \"%s\"}", metadata), 0);
	for (int copy = 0; copy < 2; copy++) {
		snprintf(path, sizeof(path), "/clone-vm?uuid=%s&name=made&folder=%s", json_str(observed, "id"),
			 copy ? "/DC0/vm&macs=new" : "/DC0/vm/templates");
		json_decref(rig_admin(&rig, "POST", path, others));
	}
	items = inventory();
	ck_assert_uint_eq(json_array_size(items), 3);
	json_array_foreach(items, i, item) {
		why = json_str(item, "stranger");
		n += why != NULL;
		ck_assert(!why || strcmp(json_str_or(item, "name", ""), "made") == 0);
		ck_assert(!why || strstr(why, _i ? "nothing tells which" : "its network devices are not"));
	}
	ck_assert_uint_eq(n, _i ? 2 : 1);
}
END_TEST

START_TEST(deletes_a_machine_that_somebody_renamed_and_moved)
{
	people("/rename-vm?uuid=%s&name=my-favourite", json_str(observed, "id"));
	people("/move-vm?uuid=%s&folder=/DC0/vm/templates", json_str(observed, "id"));
	rig_kill_workers(&rig);
	ck_assert_ptr_null(json_str(json_array_get(inventory(), 0), "stranger"));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, _i ? json_array_get(inventory(), 0) : NULL));
	ck_assert_uint_eq(json_array_size(inventory()), 0);
}
END_TEST

/* In the call's own answer, or in its task's. Whatever state keeps it from going is said, with what to do; afterwards it goes. */
START_TEST(says_what_keeps_a_machine_from_going)
{
	static const struct { const char *method, *fault, *remedy; } table[] = {
		{ "PowerOffVM_Task", "QuestionPending", "Answer the question" },
		{ "PowerOffVM_Task", "HostNotConnected", "Reconnect the host" },
		{ "PowerOffVM_Task", "InvalidState", "tried again" },
		{ "Destroy_Task", "InvalidHostConnectionState", "Reconnect the host" },
		{ "Destroy_Task", "TaskInProgress", "tried again" },
		{ "Destroy_Task", "MethodDisabled", "backup" },
		{ "Destroy_Task", "InvalidVmState", "register it anew" },
		{ "Destroy_Task", "NotFound", "Look at the machine" },
		{ "PowerOffVM_Task", "NotFound", "Look at the machine" },
	};
	AUTO_JSON json_t *body = json_pack("{s:s, s:s, s:s}", "method", table[_i].method, "mode", _i % 2 ? "task" : "fault",
					   "fault", table[_i].fault);
	AUTO_FREE char *text = json_dumps(body, 0);
	struct run *run;

	json_decref(rig_admin(&rig, "POST", "/fault", text));
	run = rig_do(&rig, "a1", "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert(!run->ok);
	ck_assert_int_eq(run->err.class, PCG_CLASS_RETRY);
	ck_assert_ptr_nonnull(strstr(run->err.text, table[_i].fault));
	ck_assert_msg(strstr(run->err.remedy, table[_i].remedy) != NULL, "%s", run->err.remedy);
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert_uint_eq(json_array_size(inventory()), 0);
}
END_TEST

/* The vCenter was started anew without what it knew. */
START_TEST(invents_nothing_when_everything_is_gone)
{
	json_t *items;

	rig_restart(&rig);
	items = inventory();
	ck_assert_uint_eq(json_array_size(items), 0);
	if (_i)
		rig_kill_workers(&rig);
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 0);
	ck_assert_int_eq(rig_calls(&rig, "CreateFolder"), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(rig_ok(&rig, "cluster_delete", CLUSTER_UID, rig_doc(cluster, NULL, infra)),
							  "left")), 0);
}
END_TEST

START_TEST(goes_on_though_the_worker_is_killed_meanwhile)
{
	static const char *const points[] = { "vsphere.before_shutdown", "vsphere.after_shutdown", "vsphere.before_detach",
					      "vsphere.after_detach", "vsphere.before_snapshots", "vsphere.after_snapshots" };
	static const char volume[] = "%5BLocalDS_0%5D%20fcd/volume.vmdk";

	people("/attach-disk?uuid=%s&path=%s&id=6f4c", json_str(observed, "id"), volume);
	if (_i > 3)
		people("/snapshot?uuid=%s", json_str(observed, "id"));
	rig_arm(&rig, points[_i]);
	account_with("guestShutdownSeconds", 20);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	rig_fired(&rig, points[_i]);
	ck_assert(disk_there(volume));
	ck_assert_int_ge(rig_calls(&rig, "ShutdownGuest"), 1);
	ck_assert_int_eq(rig_calls(&rig, "Destroy_Task"), 1);
	ck_assert_uint_eq(json_array_size(inventory()), 0);
}
END_TEST

/* One that says of a machine that runs that it cannot be powered off for its state. */
START_TEST(a_server_that_contradicts_itself_is_not_asked_in_a_hurry)
{
	struct timespec began, now;
	json_int_t reads;

	rig_ok(&rig, "inventory", "i", json_pack("{s:s}", "cluster", CLUSTER_UID));
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	json_decref(rig_admin(&rig, "POST", "/fault", _i ?
			      "{\"method\":\"Destroy_Task\",\"mode\":\"fault\",\"fault\":\"InvalidPowerState\",\"times\":2}" :
			      "{\"method\":\"PowerOffVM_Task\",\"mode\":\"fault\",\"fault\":\"InvalidPowerState\",\"times\":2}"));
	clock_gettime(CLOCK_MONOTONIC, &began);
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	clock_gettime(CLOCK_MONOTONIC, &now);
	ck_assert_int_eq(rig_calls(&rig, _i ? "Destroy_Task" : "PowerOffVM_Task"), 3);
	ck_assert_int_ge((now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1000000, 2000);
	reads = rig_calls(&rig, "RetrievePropertiesEx");
	ck_assert_int_le(reads, 8);
}
END_TEST

/* It comes between our look and vCenter's turn. One that runs cannot even be taken out of the inventory: the folder stays, and is told. */
START_TEST(a_machine_that_somebody_moves_into_the_folder_late_keeps_its_files)
{
	static const char file[] = "%5BLocalDS_0%5D%20stranger/stranger_1.vmdk";
	AUTO_JSON json_t *before = NULL, *after = NULL;
	const char *uuid;
	struct run *run;

	people("/clone-vm?uuid=%s&folder=/DC0/vm/templates&name=stranger", json_str(observed, "id"));
	before = rig_vmread(&rig);
	uuid = json_str_or(vm_named(before, "stranger"), "instanceUuid", "");
	people("/attach-disk?uuid=%s&path=%s", uuid, file);
	if (_i)
		people("/power-on?uuid=%s", uuid);
	ck_assert(disk_there(file));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	people("/move-vm?uuid=%s&folder=/DC0/vm/c1&late=true", uuid);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	run = rig_begin(&rig, "a1", "cluster_delete", CLUSTER_UID, rig_doc(cluster, NULL, infra));
	run->retry = true;
	rig_end_all(&rig);
	ck_assert_msg(run->ok, "%s", run->err.text);
	ck_assert_int_eq(rig_calls(&rig, "UnregisterAndDestroy_Task"), 1);
	ck_assert_uint_eq(json_array_size(json_object_get(run->reply, "left")), (size_t)_i);
	after = rig_vmread(&rig);
	if (_i)
		ck_assert_str_eq(json_str_or(vm_named(after, "stranger"), "folder", ""), "/DC0/vm/c1");
	else
		ck_assert_ptr_null(vm_named(after, "stranger"));
	ck_assert(disk_there(file));
}
END_TEST

static void slow_setup(void)
{
	rig_open(&rig, "--task-delay-ms 3000");
	cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	machine = rig_machine(cluster, machine_uid, "c1-cp-bcdfg");
	infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed"));
	observed = json_object();
}

/* Its clone is in line, and somebody else's too, which is none of its concern. With a vCenter that does not end it, and when
 * nobody knows the task any more, it is waited for. */
START_TEST(a_clone_that_is_not_wanted_any_more_is_canceled)
{
	AUTO_JSON json_t *all = NULL, *other = rig_machine(cluster, "11111111-2222-4333-8444-666666666666", "c1-cp-other");
	struct run *run = rig_begin(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster, machine, infra)), *late;

	run->once = true;
	rig_end_all(&rig);
	late = rig_begin(&rig, "a1", "machine_ensure", json_str(other, "uid"), rig_doc(cluster, other, infra));
	late->once = true;
	rig_end_all(&rig);
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 2);
	if (_i == 2)
		rig_kill_workers(&rig);
	if (_i == 1)
		json_decref(rig_admin(&rig, "POST", "/fault", "{\"method\":\"CancelTask\",\"mode\":\"fault\",\"fault\":\"NotSupported\"}"));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, infra));
	ck_assert_int_eq(rig_calls(&rig, "CancelTask"), _i != 2);
	ck_assert_int_eq(rig_calls(&rig, "Destroy_Task") > 0, _i > 0);
	all = rig_vmread(&rig);
	if (!_i)
		ck_assert_ptr_null(vm_named(all, "c1-cp-other"));
	json_decref(all);
	rig_ok(&rig, "machine_ensure", json_str(other, "uid"), rig_doc(cluster, other, infra));
	all = rig_vmread(&rig);
	ck_assert_ptr_null(vm_named(all, "c1-cp-bcdfg"));
	ck_assert_ptr_nonnull(vm_named(all, "c1-cp-other"));
}
END_TEST

/* As a clone of the cluster's controllers, which were stopped meanwhile: nobody knows whose it is, and what it makes is not there yet. */
START_TEST(an_inventory_for_a_delete_waits_for_clones_that_run)
{
	struct run *run = rig_begin(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));

	run->once = true;
	rig_end_all(&rig);
	rig_kill_workers(&rig);
	ck_assert_uint_eq(json_array_size(inventory()), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(rig_ok(&rig, "inventory", "i", json_pack("{s:s, s:b}", "cluster", CLUSTER_UID,
										       "settled", 1)), "items")), 1);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	rig_ok(&rig, "inventory", "i", json_pack("{s:s, s:b}", "cluster", CLUSTER_UID, "settled", 1));
	ck_assert_int_eq(rig_calls(&rig, "RetrievePropertiesEx"), 1);
}
END_TEST

/* No task ends before people have answered, and none says so. */
START_TEST(a_question_that_a_task_waits_for_is_told)
{
	struct run *run;

	json_decref(observed);
	observed = json_deep_copy(json_object_get(rig_ok(&rig, "machine_ensure", machine_uid, rig_doc(cluster, machine, infra)),
						  "observed"));
	people("/question?uuid=%s&text=There+is+no+more+space+for+virtual+disk", json_str(observed, "id"));
	run = rig_do(&rig, "a1", "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert(!run->ok);
	ck_assert_int_eq(run->err.class, PCG_CLASS_RETRY);
	ck_assert_ptr_nonnull(strstr(run->err.text, "There is no more space for virtual disk"));
	ck_assert_ptr_nonnull(strstr(run->err.remedy, "Answer the question"));
	people("/question?uuid=%s", json_str(observed, "id"));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	ck_assert_int_eq(rig_calls(&rig, "PowerOffVM_Task"), 1);
	ck_assert_uint_eq(json_array_size(inventory()), 0);
}
END_TEST

START_TEST(a_clone_of_somebody_else_is_not_waited_for)
{
	AUTO_JSON json_t *before = rig_vmread(&rig), *after = NULL;
	const char *template = strrchr(json_str_or(rig.ready, "template", "/"), '/') + 1;

	people("/clone-vm?uuid=%s&folder=/DC0/vm&name=strange&wait=no", json_str(vm_named(before, template), "instanceUuid"));
	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, infra));
	after = rig_vmread(&rig);
	ck_assert_ptr_null(vm_named(after, "strange"));
}
END_TEST

/* The simulator has another fault for that. */
START_TEST(tells_of_a_folder_that_somebody_removed)
{
	struct run *run;

	rig_ok(&rig, "machine_delete", machine_uid, rig_doc(cluster, machine, observed));
	rig_ok(&rig, "cluster_delete", CLUSTER_UID, rig_doc(cluster, NULL, infra));
	json_decref(rig_admin(&rig, "POST", "/fault", "{\"method\":\"CloneVM_Task\",\"mode\":\"fault\",\"fault\":\"ManagedObjectNotFound\"}"));
	run = rig_do(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	ck_assert(!run->ok);
	ck_assert_msg(run->err.class == PCG_CLASS_CONFLICT, "%s", run->err.text);
	ck_assert_msg(strstr(run->err.text, "somebody removed the folder of its cluster, /DC0/vm/c1 (group-") != NULL, "%s", run->err.text);
	ck_assert_ptr_nonnull(strstr(run->err.remedy, "create it again"));
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;
	int status;

	if (!rig_main(argc, argv, "vcsim vmread", &status))
		return status;
	s = suite_create("vsphere remove");
	tc = rig_case(s, "remove", setup, teardown);
	tcase_add_loop_test(tc, detaches_volumes_so_that_they_are_not_destroyed, 0, 4);
	tcase_add_test(tc, asks_nothing_about_volumes_of_a_machine_with_one_disk);
	tcase_add_loop_test(tc, destroys_nothing_while_volumes_cannot_be_detached, 0, 2);
	tcase_add_loop_test(tc, snapshots_go_before_volumes_that_are_in_them_are_detached, 0, 3);
	tcase_add_loop_test(tc, shuts_the_guest_down_first_when_that_is_asked_for, 0, 2);
	tcase_add_loop_test(tc, powers_off_a_guest_that_does_not_shut_down, 0, 2);
	tcase_add_test(tc, never_asks_a_guest_that_has_to_be_powered_off);
	tcase_add_loop_test(tc, looks_where_the_machine_was_and_knows_it_by_its_uuid, 0, 3);
	tcase_add_test(tc, leaves_a_machine_that_somebody_made_a_template_of);
	tcase_add_loop_test(tc, knows_a_copy_with_the_machines_own_name_by_its_network_devices, 0, 2);
	tcase_add_loop_test(tc, deletes_a_machine_that_somebody_renamed_and_moved, 0, 2);
	tcase_add_loop_test(tc, says_what_keeps_a_machine_from_going, 0, 9);
	tcase_add_loop_test(tc, goes_on_though_the_worker_is_killed_meanwhile, 0, 6);
	tcase_add_loop_test(tc, invents_nothing_when_everything_is_gone, 0, 2);
	tcase_add_loop_test(tc, a_server_that_contradicts_itself_is_not_asked_in_a_hurry, 0, 2);
	tcase_add_loop_test(tc, a_machine_that_somebody_moves_into_the_folder_late_keeps_its_files, 0, 2);
	tcase_add_test(tc, tells_of_a_folder_that_somebody_removed);
	tc = rig_case(s, "slow", slow_setup, teardown);
	tcase_add_loop_test(tc, a_clone_that_is_not_wanted_any_more_is_canceled, 0, 3);
	tcase_add_test(tc, a_clone_of_somebody_else_is_not_waited_for);
	tcase_add_test(tc, a_question_that_a_task_waits_for_is_told);
	tcase_add_test(tc, an_inventory_for_a_delete_waits_for_clones_that_run);
	return rig_run(s);
}
