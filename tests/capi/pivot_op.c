/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One operation of a hand-over on a real API server, in a process of its own that a test can kill.
 *
 * usage: pivot_op preflight|write|commit|check|rollback|take_back|release INPUT.json
 * INPUT: {"server", "ca" and "caKey" (files), "keys", "namespace", "epoch" (of the operation), "planEpoch",
 * "machine", "providerID", "address", "endpoint", "pools", "kubeconfig", "providerObjects", "timeoutMs", and for static
 * addresses "addressPools" and "machineAddresses"}
 * Prints a line of JSON for each step ({"step","object"}), and at last {"result"} or {"class","error","remedy"}:
 * exit status 0 or 1.
 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"
#include "host/capi/capi.h"
#include "tests/capi/sample.h"
#include "core/clock.h"
#include "core/log.h"
#include "net/pki.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uv_loop_t loop;
static struct kube *k;
static json_t *input, *plan;
static int status = -1;

static void say(json_t *line)
{
	char *text = json_dumps(line, JSON_COMPACT | JSON_ENCODE_ANY);

	puts(text);
	fflush(stdout);
	free(text);
	json_decref(line);
}

static void die(const struct pcg_error *err)
{
	say(json_pack("{s:s,s:s,s:s}", "class", pcg_class_name(err->class), "error", err->text,
		      "remedy", err->remedy));
	exit(1);
}

static int mint(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	(void)arg;
	return bootstrap_mint_admin(json_object_get(input, "keys"), "pcg-gateway", 3600000, cert_pem,
				    key_pem, err);
}

static void on_progress(void *arg, const char *step, const char *object)
{
	(void)arg;
	say(json_pack("{s:s,s:s}", "step", step, "object", object));
}

static void on_done(void *arg, json_t *result, const struct pcg_error *err)
{
	(void)arg;
	if (err)
		say(json_pack("{s:s,s:s,s:s}", "class", pcg_class_name(err->class), "error",
			      err->text, "remedy", err->remedy));
	else
		say(json_pack("{s:O?}", "result", result));
	status = err ? 1 : 0;
}

static json_t *machines(void)
{
	return json_pack("[{s:s,s:O,s:s,s:s,s:{s:O,s:[{s:s,s:O}]},s:O*}]", "uid", "m-1", "name",
			 json_object_get(input, "machine"), "pool", "control", "role",
			 "control-plane", "observed", "providerID",
			 json_object_get(input, "providerID"), "addresses", "type", "InternalIP",
			 "address", json_object_get(input, "address"), "addresses",
			 json_object_get(input, "machineAddresses"));
}

static void make_plan(const char *ca_pem)
{
	AUTO_JSON json_t *in = sample_input(ca_pem), *render = NULL;
	json_t *cp = NULL, *worker = NULL;
	struct pcg_error err;

	json_object_set(in, "keys", json_object_get(input, "keys"));
	json_object_set(in, "epoch", json_object_get(input, "planEpoch"));
	json_object_set(in, "endpoint", json_object_get(input, "endpoint"));
	json_object_set(in, "providerObjects", json_object_get(input, "providerObjects"));
	json_object_set(in, "namespace", json_object_get(input, "namespace"));
	json_object_set(in, "kubeconfig", json_object_get(input, "kubeconfig"));
	json_object_set(json_object_get(in, "spec"), "pools", json_object_get(input, "pools"));
	if (json_object_get(input, "addressPools"))
		json_object_set(json_object_get(in, "spec"), "addressPools", json_object_get(input, "addressPools"));
	json_object_set_new(in, "machines", machines());
	render = json_pack("{s:O,s:O,s:O,s:{s:s,s:O,s:s},s:s}", "spec", json_object_get(in, "spec"),
			   "keys", json_object_get(in, "keys"), "endpoint",
			   json_object_get(in, "endpoint"), "machine", "uid", "m-1", "name",
			   json_object_get(input, "machine"), "pool", "control",
			   "providerIDCommand", "smbios-vmware");
	if (bootstrap_control_plane_spec(render, &cp, &err) ||
	    bootstrap_worker_spec(render, &worker, &err))
		die(&err);
	json_object_set_new(in, "controlPlaneSpec", cp);
	json_object_set_new(in, "workerSpec", worker);
	if (capi_objects_build(in, &plan, &err))
		die(&err);
}

static struct capi_op *begin(const char *name)
{
	struct capi_callbacks cb = {.progress = on_progress, .done = on_done};
	AUTO_JSON json_t *identity =
		json_pack("{s:O,s:s,s:s,s:O,s:O*,s:O*}", "namespace",
			  json_object_get(input, "namespace"), "name", "c1", "gatewayUid", "gw-1",
			  "epoch", json_object_get(input, "epoch"), "observeTimeoutMs",
			  json_object_get(input, "timeoutMs"), "timeoutMs",
			  json_object_get(input, "timeoutMs"));

	if (strcmp(name, "preflight") == 0)
		return capi_preflight(k, plan, input, &cb);
	if (strcmp(name, "write") == 0)
		return capi_write(k, plan, &cb);
	if (strcmp(name, "commit") == 0)
		return capi_commit(k, identity, &cb);
	if (strcmp(name, "check") == 0)
		return capi_commit_check(k, identity, &cb);
	if (strcmp(name, "rollback") == 0)
		return capi_rollback(k, plan, identity, &cb);
	if (strcmp(name, "take_back") == 0)
		return capi_take_back(k, identity, &cb);
	if (strcmp(name, "release") == 0)
		return capi_release(k, identity, &cb);
	return NULL;
}

int main(int argc, char **argv)
{
	struct kube_spec spec = {.mint = mint, .field_manager = "pcg"};
	struct pcg_error err;
	json_error_t wrong;
	char *ca;

	if (argc != 3 || !(input = json_load_file(argv[2], 0, &wrong))) {
		fprintf(stderr, "usage: pivot_op OPERATION INPUT.json\n");
		return 2;
	}
	log_init("pivot_op", LOG_L_WARN);
	http_global_init();
	uv_loop_init(&loop);
	ca = sample_read(json_str(input, "ca"));
	spec.http = http_client_new(&loop, NULL);
	spec.server = json_str(input, "server");
	spec.ca_pem = ca;
	make_plan(ca);
	if (kube_new(&spec, &k, &err))
		die(&err);
	if (!begin(argv[1])) {
		fprintf(stderr, "pivot_op: no operation %s\n", argv[1]);
		return 2;
	}
	while (status < 0)
		uv_run(&loop, UV_RUN_ONCE);
	kube_free(k);
	json_decref(plan);
	json_decref(input);
	free(ca);
	return status;
}
