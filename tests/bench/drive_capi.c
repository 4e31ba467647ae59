/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does with a real kube-apiserver what the gateway does in a hand-over and in a take-back, and prints
 * how long each step took: {"ms":{STEP: ms},...}. The connection and its certificate are new.
 *
 * usage: drive_capi pivot SERVER CA.pem CA.key WORKERS
 *        drive_capi take-back SERVER CA.pem CA.key NAMESPACE NAME
 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"
#include "host/capi/capi.h"
#include "host/capi/check.h"
#include "tests/capi/vsphere_plan.h"
#include "tests/capi/sample.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static uv_loop_t loop;
static struct kube *k;
static char *ca, *ca_key;
static json_t *times, *result;
static uint64_t step_began;
static bool turn_done;

static void give_up(const char *what, const char *why)
{
	fprintf(stderr, "drive_capi: %s: %s\n", what, why);
	exit(1);
}

static int mint(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	AUTO_JSON json_t *keys = json_pack("{s:{s:s,s:s}}", "ca", "crt", ca, "key", ca_key);

	(void)arg;
	return bootstrap_mint_admin(keys, "pcg-gateway", 3600000, cert_pem, key_pem, err);
}

static void note(const char *step, uint64_t since)
{
	json_object_set_new(times, step, json_real((double)(uv_hrtime() - since) / 1e6));
}

/* The stages of a take-back, each since the one before. */
static void on_progress(void *arg, const char *step, const char *object)
{
	static const char *const stages[] = {"paused", "observed", "stopped", "read"};

	(void)arg;
	(void)object;
	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		if (strcmp(step, stages[i]) == 0) {
			note(step, step_began);
			step_began = uv_hrtime();
		}
}

static void on_done(void *arg, json_t *got, const struct pcg_error *err)
{
	if (err)
		give_up(arg, err->text);
	json_decref(result);
	result = json_incref(got);
	turn_done = true;
}

static const struct capi_callbacks *callbacks(const char *step)
{
	static struct capi_callbacks cb;

	cb = (struct capi_callbacks){
		.progress = on_progress, .done = on_done, .arg = (void *)step};
	return &cb;
}

static void run(const char *step, uint64_t since)
{
	for (turn_done = false; !turn_done;)
		uv_run(&loop, UV_RUN_ONCE);
	note(step, since);
}

static json_t *identity(const char *ns, const char *name, int64_t epoch)
{
	return json_pack("{s:s,s:s,s:s,s:I}", "namespace", ns, "name", name, "gatewayUid", "gw-1",
			 "epoch", (json_int_t)epoch);
}

/* ---- a hand-over ---- */

static json_t *pivot(int workers)
{
	AUTO_JSON json_t *keys = vsphere_plan_keys(ca, ca_key), *in = json_pack("{s:O}", "keys", keys);
	AUTO_JSON json_t *plan = vsphere_plan(ca, keys, 1, 1, workers), *two = identity("default", "c1", 2);
	struct pcg_error err;
	uint64_t all = uv_hrtime(), begin = all;

	capi_preflight(k, plan, in, callbacks("preflight"));
	run("preflight", begin);
	if (check_first_failure(json_object_get(result, "checks"), &err))
		give_up("preflight", err.text);
	begin = uv_hrtime();
	capi_write(k, plan, callbacks("write"));
	run("write", begin);
	begin = uv_hrtime();
	capi_commit(k, two, callbacks("commit"));
	run("commit", begin);
	note("all", all);
	return json_pack("{s:i}", "objects", (int)json_array_size(json_object_get(plan, "objects")));
}

/* ---- a take-back ---- */

static void check_machine(const json_t *m)
{
	static const char *const needed[] = {"name", "pool", "role", "providerID"};

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!*json_str_or(m, needed[i], ""))
			give_up(json_str_or(m, "name", "?"), needed[i]);
	if (!json_array_size(json_object_get(m, "addresses")))
		give_up(json_str_or(m, "name", "?"), "has no addresses");
}

/* Nothing is on its way out, and every owner is among what was read. */
static void check_object(const json_t *o, const json_t *uids)
{
	json_t *ref;
	size_t i;

	if (json_str(o, "metadata.deletionTimestamp"))
		give_up(json_str_or(o, "metadata.name", "?"), "is being deleted");
	json_array_foreach (json_at(o, "metadata.ownerReferences"), i, ref)
		if (!json_object_get(uids, json_str_or(ref, "uid", "")))
			give_up(json_str_or(o, "metadata.name", "?"), "has an owner that was not read");
}

static json_t *verify(const json_t *graph)
{
	AUTO_JSON json_t *uids = json_object();
	json_t *kinds = json_object(), *o;
	size_t i;

	json_array_foreach (json_object_get(graph, "machines"), i, o)
		check_machine(o);
	json_array_foreach (json_object_get(graph, "objects"), i, o) {
		const char *kind = json_str(o, "kind");

		json_object_set_new(uids, json_str_or(o, "metadata.uid", ""), json_true());
		json_object_set_new(kinds, kind, json_integer(json_int_or(kinds, kind, 0) + 1));
	}
	json_array_foreach (json_object_get(graph, "objects"), i, o)
		check_object(o, uids);
	return json_pack("{s:o,s:i}", "kinds", kinds, "machines",
			 (int)json_array_size(json_object_get(graph, "machines")));
}

static json_t *take_back(const char *ns, const char *name)
{
	AUTO_JSON json_t *in = identity(ns, name, 1), *none = json_object();
	uint64_t all = uv_hrtime(), begin = all;
	json_t *out;

	capi_commit_check(k, in, callbacks("authority"));
	run("authority", begin);
	json_object_set_new(in, "epoch", json_integer(json_int_or(result, "epoch", 0) + 1));
	begin = step_began = uv_hrtime();
	capi_take_back(k, in, callbacks("take back"));
	run("take back", begin);
	begin = uv_hrtime();
	out = verify(result);
	note("verify", begin);
	begin = uv_hrtime();
	capi_release(k, none, callbacks("release"));
	run("release", begin);
	note("all", all);
	return out;
}

int main(int argc, char **argv)
{
	struct kube_spec spec = {.mint = mint, .field_manager = "pcg"};
	bool handing_over = argc == 6 && strcmp(argv[1], "pivot") == 0;
	json_t *out;
	struct pcg_error err;

	if (!handing_over && (argc != 7 || strcmp(argv[1], "take-back") != 0)) {
		fprintf(stderr, "usage: drive_capi pivot SERVER CA.pem CA.key WORKERS\n"
				"       drive_capi take-back SERVER CA.pem CA.key NAMESPACE NAME\n");
		return 2;
	}
	log_init("drive_capi", LOG_L_WARN);
	http_global_init();
	uv_loop_init(&loop);
	times = json_object();
	spec.http = http_client_new(&loop, NULL);
	spec.server = argv[2];
	spec.ca_pem = ca = sample_read(argv[3]);
	ca_key = sample_read(argv[4]);
	if (kube_new(&spec, &k, &err))
		give_up(argv[2], err.text);
	out = handing_over ? pivot(atoi(argv[5])) : take_back(argv[5], argv[6]);
	json_object_set(out, "ms", times);
	json_dumpf(out, stdout, JSON_REAL_PRECISION(6));
	putchar('\n');
	kube_free(k);
	json_decref(out);
	json_decref(times);
	json_decref(result);
	return 0;
}
