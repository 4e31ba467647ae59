/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PLUGINS_VSPHERE_RIG_H
#define TESTS_PLUGINS_VSPHERE_RIG_H

/*
 * govmomi's vCenter simulator with TLS, and the provider as the gateway runs it: by the pool, in an
 * account worker. Ops are asked until they end, earlier by hints, with their checkpoints.
 */

#include "host/provider/provider_pool.h"
#include "core/attr.h"
#include "core/json.h"

#include <check.h>
#include <pthread.h>

#define PASSWORD "seeded-P&ss<word>-4711"
#define CLUSTER_UID "66f0c0ffee0000000000c1a5"

struct rig {
	char dir[64];
	pid_t vcsim;
	int listener, boot_port;
	pthread_t boot_thread;
	json_t *ready;         /* vcsim's line */
	uv_loop_t loop;
	struct provider_pool *pool;
	uv_timer_t limit;
	bool timed_out, closed;
	json_t *secrets;
	json_t *checkpoints;   /* as the store keeps them: op and subject -> checkpoint */
	struct run *runs;
	unsigned deaths;       /* RETRY answers of a worker's death, asked again */
};

/* One op, asked until it ends. */
struct run {
	struct run *next;
	struct rig *rig;
	const char *op;
	char subject[64];
	json_t *doc;           /* without checkpoint */
	json_t *checkpoint;
	uv_timer_t timer;
	struct provider_call *call;
	bool ended, ok;
	unsigned asked;
	bool once;             /* one step: pending ends it too */
	bool retry;            /* RETRY errors are asked again, as the lifecycle does */
	bool any;              /* with retry: those of every other class too */
	struct pcg_error first; /* the first of the errors that were asked again */
	uint32_t status;
	json_t *reply;
	struct pcg_error err;
};

/* main of a test program: this binary is the account worker too; otherwise the peers are built first (77: they cannot be),
 * e.g. "vcsim vmread", or "". False: *status is what main returns. */
bool rig_main(int argc, char **argv, const char *peers, int *status);
/* A case with its limit and fixture. */
TCase *rig_case(Suite *s, const char *name, void (*setup)(void), void (*teardown)(void));
int rig_run(Suite *s);

void rig_open(struct rig *r, const char *vcsim_args); /* e.g. "--task-delay-ms 50"; "" */
void rig_pool_open(struct rig *r);
void rig_pool_close(struct rig *r);                   /* workers end as they do in service */
void rig_close(struct rig *r);
void rig_account(struct rig *r, const char *uid, const char *password, const char *member, json_t *value);
void rig_account_settings(struct rig *r, const char *uid, json_t *settings); /* taken */
void rig_restart(struct rig *r);                      /* the simulator, at the same address, all that it knew gone */
/* From now on the first worker that passes the point dies there. Without fault points in the build nobody does. */
void rig_arm(struct rig *r, const char *point);
void rig_fired(struct rig *r, const char *point);
void rig_kill_workers(struct rig *r);                /* and waits until the pool knows */

struct run *rig_begin(struct rig *r, const char *account, const char *op, const char *subject, json_t *doc);
void rig_end_all(struct rig *r);                      /* waits for all begun */
void run_free(struct rig *r);                         /* forgets all */
/* Begins and ends one; the reply lives until run_free. */
struct run *rig_do(struct rig *r, const char *account, const char *op, const char *subject, json_t *doc);
json_t *rig_ok(struct rig *r, const char *op, const char *subject, json_t *doc); /* must end well */

json_t *rig_cluster(struct rig *r, const char *uid, const char *name); /* {"uid","name",..,"spec"} */
json_t *rig_machine(const json_t *cluster, const char *uid, const char *name);
/* The op's document, for machine (NULL: none) of cluster. References are taken. */
json_t *rig_doc(json_t *cluster, json_t *machine, json_t *observed);

json_t *rig_admin(struct rig *r, const char *method, const char *path, const char *body);
json_int_t rig_calls(struct rig *r, const char *method); /* since the reset; NULL: all */
json_t *rig_vmread(struct rig *r);
json_t *rig_vmread_tags(struct rig *r);              /* with a REST session */
void rig_vmctl(struct rig *r, const char *command);  /* must end well */
/* The machine of that name as govmomi reads it, borrowed from inventory; NULL. */
json_t *rig_vm(json_t *inventory, const char *name);
char *rig_base64(const char *text, size_t *len);      /* decoded, caller frees */

#endif
