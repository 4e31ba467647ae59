/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "host/worker/worker.h"
#include "pcg/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Who powers a machine on: vCenter after the clone, by a task of its own, and the provider when it stays off. */

static const char machine_uid[] = "11111111-2222-4333-8444-555555555555";

static struct rig rig;
static json_t *cluster, *machine, *infra;

static void open_with(const char *args)
{
	rig_open(&rig, args);
	cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	machine = rig_machine(cluster, machine_uid, "c1-cp-bcdfg");
	infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed"));
}

static void setup(void)
{
	open_with("");
}

static void late_setup(void)
{
	open_with("--power-on-delay-ms 1500");
}

static void teardown(void)
{
	json_decref(cluster);
	json_decref(machine);
	json_decref(infra);
	rig_close(&rig);
}

static void is_on(void)
{
	AUTO_JSON json_t *all = rig_vmread(&rig);

	ck_assert_str_eq(json_str_or(rig_vm(all, "c1-cp-bcdfg"), "powerState", ""), "poweredOn");
}

/* Also when the worker has died in between, and the machine is found by its uuid. */
START_TEST(leaves_it_to_vcenter_to_power_a_clone_on)
{
	struct run *run;

	if (_i) {
		run = rig_begin(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
		run->once = true;
		rig_end_all(&rig);
		rig_kill_workers(&rig);
	}
	run = rig_do(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	ck_assert_msg(run->ok, "%s", run->err.text);
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 1);
	ck_assert_int_eq(rig_calls(&rig, "PowerOnVM_Task"), 0);
	is_on();
}
END_TEST

static const char *const refusals[] = {
	"{\"method\":\"PowerOnVM_Task\",\"mode\":\"fault\",\"fault\":\"TaskInProgress\"}",
	"{\"method\":\"PowerOnVM_Task\",\"mode\":\"fault\",\"fault\":\"InvalidPowerState\"}",
	"{\"method\":\"PowerOnVM_Task\",\"mode\":\"task\",\"fault\":\"TaskInProgress\"}",
};

/* Whoever is at it already is waited for: that is no error. */
START_TEST(powers_on_what_stays_off_and_waits_for_who_is_at_it)
{
	AUTO_JSON json_t *observed = json_deep_copy(json_object_get(rig_ok(&rig, "machine_ensure", machine_uid,
									   rig_doc(cluster, machine, infra)), "observed"));
	struct run *run;
	char path[160];

	snprintf(path, sizeof(path), "/power-off?uuid=%s", json_str(observed, "id"));
	json_decref(rig_admin(&rig, "POST", path, ""));
	rig_kill_workers(&rig);
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	json_decref(rig_admin(&rig, "POST", "/fault", refusals[_i]));
	run = rig_do(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	ck_assert_msg(run->ok, "%s", run->err.text);
	ck_assert_int_eq(rig_calls(&rig, "PowerOnVM_Task"), 2);
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 0);
	is_on();
}
END_TEST

/* vCenter begins later than is waited for, and refuses ours while it is at it. What is known of places and templates stays. */
START_TEST(a_clone_that_vcenter_is_about_to_power_on_is_no_failure)
{
	struct run *run = rig_do(&rig, "a1", "machine_ensure", machine_uid, rig_doc(cluster, machine, infra));
	AUTO_JSON json_t *other = rig_machine(cluster, "11111111-2222-4333-8444-666666666666", "c1-cp-other");

	ck_assert_msg(run->ok, "%s", run->err.text);
	ck_assert_int_ge(rig_calls(&rig, "PowerOnVM_Task"), 1);
	is_on();
	run = rig_begin(&rig, "a1", "machine_ensure", json_str(other, "uid"), rig_doc(cluster, other, infra));
	run->once = true;
	rig_end_all(&rig);
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 2);
	ck_assert_int_eq(rig_calls(&rig, "FindByInventoryPath"), 1);
}
END_TEST

static void later_setup(void)
{
	open_with("--power-on-delay-ms 7000");
}

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;
	int status;

	if (!rig_main(argc, argv, "vcsim vmread", &status))
		return status;
	s = suite_create("vsphere power");
	tc = rig_case(s, "late", late_setup, teardown);
	tcase_add_loop_test(tc, leaves_it_to_vcenter_to_power_a_clone_on, 0, 2);
	tc = rig_case(s, "later", later_setup, teardown);
	tcase_add_test(tc, a_clone_that_vcenter_is_about_to_power_on_is_no_failure);
	tc = rig_case(s, "power", setup, teardown);
	tcase_add_loop_test(tc, powers_on_what_stays_off_and_waits_for_who_is_at_it, 0, ARRAY_LEN(refusals));
	return rig_run(s);
}
