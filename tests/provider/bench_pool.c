/* SPDX-License-Identifier: Apache-2.0 */
/* What the pool itself costs: start of a worker, one call after another, 200 clusters at once,
 * processor time of the host for each call, private memory of a worker that has used every thread. */
#include "config.h"
#include "tests/provider/rig.h"
#include "core/attr.h"
#include "host/worker/worker.h"
#include "pcg/provider.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CLUSTERS 200
#define ROUNDS 50
#define SINGLE 2000

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double cpu_ms(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

/* As large as a machine with its user data: made once, the pool's cost is asked for and not jansson's. */
static json_t *user_data;

static json_t *document(const char *cluster)
{
	char data[12001];

	memset(data, 'x', sizeof(data) - 1);
	data[sizeof(data) - 1] = 0;
	if (!user_data)
		user_data = json_string(data);
	return json_pack("{s:s, s:{s:s}, s:O}", "do", "done", "cluster", "uid", cluster, "userData", user_data);
}

static int one_call(struct rig *r)
{
	struct got g;
	int pid;

	rig_call(r, &g, "a1", "machine_ensure", "m1", document("c1"), CALL_MS);
	rig_wait(r, &g.done);
	pid = (int)json_int_or(g.doc, "pid", 0);
	got_free(&g);
	return pid;
}

static void many_calls(struct rig *r)
{
	static struct got g[CLUSTERS];

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < CLUSTERS; i++) {
			char cluster[16];

			snprintf(cluster, sizeof(cluster), "c%d", i);
			rig_call(r, &g[i], "a1", "machine_ensure", cluster, document(cluster), CALL_MS);
		}
		for (int i = 0; i < CLUSTERS; i++) {
			rig_wait(r, &g[i].done);
			got_free(&g[i]);
		}
	}
}

static double private_mib(int pid)
{
	char path[64], line[256];
	long kib, sum = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Private_Clean: %ld", &kib) == 1 || sscanf(line, "Private_Dirty: %ld", &kib) == 1)
			sum += kib;
	if (f)
		fclose(f);
	return (double)sum / 1024;
}

START_TEST(measure)
{
	double at, cpu;
	struct rig r;
	int pid = 0;

	rig_open(&r, 0);
	rig_plugin(&r, "good");
	rig_account(&r, "a1", "good", "swordfish");
	at = now_ms();
	one_call(&r);
	printf("pool_cold_call_ms %.3f\n", now_ms() - at);
	at = now_ms();
	for (int i = 0; i < SINGLE; i++)
		pid = one_call(&r);
	printf("pool_warm_call_ms %.4f\n", (now_ms() - at) / SINGLE);
	at = now_ms();
	cpu = cpu_ms();
	many_calls(&r);
	printf("pool_busy_call_ms %.4f\n", (now_ms() - at) / (CLUSTERS * ROUNDS));
	printf("pool_host_cpu_ms_per_call %.4f\n", (cpu_ms() - cpu) / (CLUSTERS * ROUNDS));
	printf("pool_worker_private_mib %.2f\n", private_mib(pid));
	rig_close(&r);
	json_decref(user_data);
}
END_TEST

int main(int argc, char **argv)
{
	static const struct worker_role roles[] = { { "account", account_worker_main } };
	ssize_t n = readlink("/proc/self/exe", rig_exe, sizeof(rig_exe) - 1);
	Suite *s;
	TCase *c;
	SRunner *runner;
	int failed;

	if (argc == 3 && strcmp(argv[1], "--worker") == 0)
		return worker_child_main(argv[2], roles, 1);
	rig_exe[n > 0 ? n : 0] = 0;
	s = suite_create("bench");
	c = tcase_create("bench");
	tcase_add_test(c, measure);
	suite_add_tcase(s, c);
	runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
