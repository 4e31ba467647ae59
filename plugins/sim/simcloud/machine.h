/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_MACHINE_H
#define SIMCLOUD_MACHINE_H

/* Machines and their tasks. A machine of role control-plane whose user data is right serves a Kubernetes API while
 * it is on (node.h). */

#include "plugins/sim/simcloud/cloud.h"

#define MACHINE_STATES(X) X(CREATING, "creating") X(ON, "on") X(OFF, "off") X(DELETING, "deleting") X(FAILED, "failed")

enum machine_state {
#define X(id, name) MACHINE_##id,
	MACHINE_STATES(X)
#undef X
};

struct machine {
	struct cloud *cloud;
	char *uid, *name, *pool, *role, *cluster;
	json_t *spec;               /* mark, cpus, memoryMiB */
	char *user_data;            /* secret */
	bool redacted;
	enum machine_state state;
	char task[16];              /* "", "create", "on", "off", "delete" */
	uint64_t task_id;
	int64_t due_ms;             /* wall clock */
	char address[46];
	bool is_static;             /* it was asked for; else given here */
	char *console;
	bool fails;                 /* the running task ends badly */
	uv_timer_t timer;
	bool timer_live, removed;
};

/* Finds or makes. On refusal: a negative code, err's class says which (conflict, quota, permanent). *made tells which. */
int machine_ensure(struct cloud *c, const char *uid, const json_t *body, struct machine **out,
		   bool *made, struct pcg_error *err);
void machine_power(struct machine *m, bool on);
void machine_redact(struct machine *m);
void machine_delete(struct machine *m);
void machine_console(struct machine *m, const char *text);
const char *machine_state_name(const struct machine *m);
json_t *machine_json(const struct machine *m);
/* The mark's member, "" when absent. */
const char *machine_mark(const struct machine *m, const char *member);

void machine_load(struct cloud *c, const char *uid, const json_t *body);
/* After all machines and APIs were loaded: goes on with tasks. */
void machine_resume(struct machine *m);
void machine_close(struct machine *m);
void machine_free(struct machine *m);

#endif
