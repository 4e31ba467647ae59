/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CAPI_RIG_H
#define TESTS_CAPI_RIG_H

/* A loop with a client and the stand-in API, and one operation at a time run to its end. */

#include "host/capi/capi.h"
#include "tests/capi/fake_api.h"

struct rig {
	uv_loop_t loop;
	struct http_client *http;
	struct fake_api *api;
	/* of the last operation */
	struct capi_op *op;
	int done;
	bool failed;
	struct pcg_error err;
	json_t *result;
	json_t *progress; /* ["created Machine/x"] */
};

extern struct rig rig;

void rig_setup(void);
void rig_teardown(void);
struct capi_callbacks rig_callbacks(void);
/* Runs the loop until op has ended; true: without an error. */
bool rig_run(struct capi_op *op);
/* Runs the loop for some turns. */
void rig_turn(int turns);
bool rig_progressed(const char *line);

/* The sample's plan for the stand-in's CA, and inputs of the changes of authority. */
json_t *rig_plan(void);
json_t *rig_identity(int64_t epoch);

#endif
