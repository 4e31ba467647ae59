/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/rig.h"
#include "tests/capi/sample.h"
#include "core/clock.h"

#include <assert.h>
#include <check.h>
#include <stdio.h>
#include <string.h>

struct rig rig;

void rig_setup(void)
{
	memset(&rig, 0, sizeof(rig));
	http_global_init();
	assert(uv_loop_init(&rig.loop) == 0);
	rig.http = http_client_new(&rig.loop, NULL);
	rig.api = fake_api_new(&rig.loop, rig.http);
	rig.progress = json_array();
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

void rig_teardown(void)
{
	bool closed = false;

	json_decref(rig.result);
	json_decref(rig.progress);
	fake_api_free(rig.api);
	http_client_close(rig.http, on_closed, &closed);
	while (!closed)
		uv_run(&rig.loop, UV_RUN_ONCE);
	uv_run(&rig.loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
}

static void on_progress(void *arg, const char *step, const char *object)
{
	char line[512];

	(void)arg;
	snprintf(line, sizeof(line), "%s %s", step, object);
	json_array_append_new(rig.progress, json_string(line));
}

static void on_done(void *arg, json_t *result, const struct pcg_error *err)
{
	(void)arg;
	rig.done++;
	rig.op = NULL;
	rig.failed = err != NULL;
	if (err)
		rig.err = *err;
	rig.result = json_deep_copy(result);
}

struct capi_callbacks rig_callbacks(void)
{
	return (struct capi_callbacks){.progress = on_progress, .done = on_done};
}

static void on_deadline(uv_timer_t *t)
{
	(void)t;
	ck_abort_msg("the operation did not end in time");
}

bool rig_run(struct capi_op *op)
{
	uv_timer_t deadline;

	ck_assert_ptr_nonnull(op);
	json_decref(rig.result);
	rig.result = NULL;
	rig.done = 0;
	rig.op = op;
	uv_timer_init(&rig.loop, &deadline);
	uv_timer_start(&deadline, on_deadline, 20000, 0);
	while (!rig.done)
		uv_run(&rig.loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&deadline, NULL);
	rig_turn(3);
	ck_assert_int_eq(rig.done, 1);
	return !rig.failed;
}

void rig_turn(int turns)
{
	while (turns-- > 0)
		uv_run(&rig.loop, UV_RUN_NOWAIT);
}

bool rig_progressed(const char *line)
{
	json_t *v;
	size_t i;

	json_array_foreach (rig.progress, i, v)
		if (strcmp(json_string_value(v), line) == 0)
			return true;
	return false;
}

json_t *rig_plan(void)
{
	AUTO_JSON json_t *in = sample_input(fake_api_ca(rig.api));
	json_t *plan = NULL;
	struct pcg_error err;

	ck_assert_msg(capi_objects_build(in, &plan, &err) == 0, "%s", err.text);
	return plan;
}

json_t *rig_identity(int64_t epoch)
{
	return json_pack("{s:s,s:s,s:s,s:I}", "namespace", "default", "name", "c1", "gatewayUid",
			 "gw-1", "epoch", (json_int_t)epoch);
}
