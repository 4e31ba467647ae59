/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "core/clock.h"
#include "host/worker/worker.h"
#include "pcg/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * So many machines at once by the provider in its worker, and by a bare loop of clones before it, on one simulator: drive_clones
 * [COUNT]. Prints {"bare_ms","ours_ms","ratio","worker_rss_mib","worker_cpu_ms","calls","kib"} for `make bench`;
 * calls, KiB and processor time are of a machine that is created, redacted and deleted.
 */

#define MOST 240

static struct rig rig;
static int count = 200;

static double bare(void)
{
	AUTO_JSON json_t *reply = NULL;
	char command[4096], vmctl[2048] = "";
	FILE *p = popen(TEST_SRCDIR "/tests/peers/build-peers vmctl 2>/dev/null", "r");

	ck_assert(p && fgets(vmctl, sizeof(vmctl), p));
	pclose(p);
	vmctl[strcspn(vmctl, "\n")] = 0;
	snprintf(command, sizeof(command), "cd %s && exec %s --url %s --password-file password --ca ca.pem clones %s /DC0/vm %d --pool "
		 "/DC0/host/DC0_C0/Resources", rig.dir, vmctl, json_str_or(rig.ready, "url", ""),
		 json_str_or(rig.ready, "template", ""), count);
	p = popen(command, "r");
	ck_assert_ptr_nonnull(p);
	reply = json_loadf(p, 0, NULL);
	ck_assert_int_eq(pclose(p), 0);
	return json_number_value(json_object_get(reply, "ms"));
}

static pid_t account_pid(void)
{
	AUTO_JSON json_t *list = provider_list(rig.pool);
	json_t *item, *account;
	size_t i, k;

	json_array_foreach(json_object_get(list, "items"), i, item)
		json_array_foreach(json_object_get(item, "accounts"), k, account)
			if (json_int_or(account, "pid", 0) > 0)
				return (pid_t)json_int_or(account, "pid", 0);
	return 0;
}

/* VmHWM in MiB. */
static double worker_rss(void)
{
	char path[64], line[256];
	double kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)account_pid());
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtod(line + 6, NULL);
	fclose(f);
	return kib / 1024;
}

static double worker_cpu(void)
{
	char path[64], line[1024];
	unsigned long user = 0, sys = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)account_pid());
	f = fopen(path, "r");
	ck_assert(f && fgets(line, sizeof(line), f));
	fclose(f);
	ck_assert_int_eq(sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys), 2);
	return (double)(user + sys) * 1000 / (double)sysconf(_SC_CLK_TCK);
}

static void each(const char *op, json_t *cluster, json_t *machines, json_t *observed)
{
	struct run *runs[MOST];

	for (int i = 0; i < count; i++) {
		json_t *machine = json_array_get(machines, (size_t)i);

		runs[i] = rig_begin(&rig, "a1", op, json_str_or(machine, "uid", ""),
				    rig_doc(cluster, machine, json_array_size(observed) == (size_t)count ?
					    json_array_get(observed, (size_t)i) : json_array_get(observed, 0)));
		runs[i]->retry = true;
	}
	rig_end_all(&rig);
	if (strcmp(op, "machine_ensure") == 0)
		json_array_clear(observed);
	for (int i = 0; i < count; i++) {
		ck_assert_msg(runs[i]->ok, "%s", runs[i]->err.text);
		if (strcmp(op, "machine_ensure") == 0)
			json_array_append(observed, json_object_get(runs[i]->reply, "observed"));
	}
	run_free(&rig);
}

START_TEST(drive)
{
	AUTO_JSON json_t *cluster = NULL, *machines = json_array(), *observed = json_array(), *result = NULL, *calls = NULL;
	double bare_ms, ours_ms, cpu;
	json_int_t n;
	int64_t begun;

	rig_open(&rig, "");
	cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	json_array_append(observed, json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed"));
	for (int i = 0; i < count; i++) {
		char uid[40], name[40];

		snprintf(uid, sizeof(uid), "11111111-2222-4333-8444-%012d", i);
		snprintf(name, sizeof(name), "c1-md-%d", i);
		json_array_append_new(machines, rig_machine(cluster, uid, name));
	}
	bare_ms = bare();
	cpu = worker_cpu();
	json_decref(rig_admin(&rig, "POST", "/reset", ""));
	begun = clock_mono_ms();
	each("machine_ensure", cluster, machines, observed);
	ours_ms = (double)(clock_mono_ms() - begun);
	each("machine_redact", cluster, machines, observed);
	each("machine_delete", cluster, machines, observed);
	n = rig_calls(&rig, NULL);
	calls = rig_admin(&rig, "GET", "/calls", NULL);
	result = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "bare_ms", bare_ms, "ours_ms", ours_ms, "ratio", ours_ms / bare_ms,
			   "worker_rss_mib", worker_rss(), "worker_cpu_ms", (worker_cpu() - cpu) / count, "calls", (double)n / count, "kib",
			   json_number_value(json_object_get(calls, "kibSinceReset")) / count);
	json_dumpf(result, stdout, JSON_REAL_PRECISION(5));
	printf("\n");
	rig_close(&rig);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s = suite_create("drive");
	TCase *tc = tcase_create("drive");
	SRunner *r;
	int failed;

	if (!rig_main(argc, argv, "", &failed))
		return failed;
	if (argc == 2)
		count = atoi(argv[1]);
	if (count < 1 || count > MOST) {
		fprintf(stderr, "usage: drive_clones [COUNT], at most %d\n", MOST);
		return 2;
	}
	tcase_add_test(tc, drive);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_SILENT);
	failed = srunner_ntests_failed(r);
	if (failed)
		srunner_print(r, CK_NORMAL);
	srunner_free(r);
	return failed ? 1 : 0;
}
