/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PROVIDER_RIG_H
#define TESTS_PROVIDER_RIG_H

/* A pool with a plugins folder of its own, whose hooks keep secrets the way the store would. */

#include "host/provider/provider_pool.h"

#include <check.h>

#define RIG_WAIT_MS 20000
#define CALL_MS 10000

struct rig {
	uv_loop_t loop;
	uv_timer_t limit;
	bool timed_out, closed;
	struct provider_pool *pool;
	char dir[64];
	json_t *secrets;        /* {account: {name: value}} */
	json_t *checkpoint;     /* the last one */
	void *checkpoint_arg;
	bool hold_acks;
	void *held;
	int hints, answers;
	json_t *told;           /* by workers under trial, in order */
	char hint[64];
	char peer[65];          /* SHA-256 of the certificate that was told last */
};

struct got {
	struct rig *rig;
	struct provider_call *call;
	bool done;
	int order;              /* among all answers of the rig */
	uint32_t status, after_ms;
	json_t *doc, *checkpoint;
	struct pcg_error err;
};

extern char rig_exe[4096];
extern const char *rig_base; /* where folders are made: "/tmp" */

void rig_open(struct rig *r, uint32_t idle_ms);
void rig_close(struct rig *r);
void rig_plugin(struct rig *r, const char *name); /* copied into the folder */
char *rig_plugin_path(struct rig *r, const char *name); /* caller frees */
void rig_account(struct rig *r, const char *uid, const char *provider, const char *password);
/* doc is stolen. */
void rig_call(struct rig *r, struct got *g, const char *account, const char *op, const char *subject,
	      json_t *doc, uint32_t timeout_ms);
void rig_wait(struct rig *r, const bool *done);
void rig_wait_workers(struct rig *r, size_t n);
void rig_turn(struct rig *r); /* one turn of the loop */
/* machine_ensure of "m1" with {"do":what} to its end. */
void rig_do(struct rig *r, struct got *g, const char *account, const char *what);
void got_free(struct got *g);

TCase *death_cases(void);
TCase *refusal_cases(void);
TCase *trial_cases(void);
TCase *turns_cases(void);

#endif
