/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_POLICY_RIG_H
#define TESTS_POLICY_RIG_H

/* A policy folder of the test's own, the policies in a loop, questions and their answers. */

#include "host/policy/policy.h"

#include <check.h>

#define RIG_WAIT_MS 10000
#define RIG_DEADLINE_MS 400

extern char rig_exe[4096];

struct rig {
	uv_loop_t loop;
	uv_timer_t limit;
	char dir[256];
	struct policy *policy;
	bool timed_out, closed;
};

struct got {
	bool done;
	unsigned order;
	json_t *result;
	bool failed;
	struct pcg_error err;
};

struct reloaded {
	bool done;
	unsigned order;
	char *problems; /* NULL: taken up */
};

void rig_begin(struct rig *r);
void rig_write(struct rig *r, const char *path, const char *text); /* makes folders */
void rig_open(struct rig *r);
void rig_one(struct rig *r, const char *text); /* begin, one script t1/10-x.lua, open */
void rig_ask(struct rig *r, struct got *g, const char *tenant, const char *hook, const char *input);
void rig_wait(struct rig *r, const bool *done);
void rig_do(struct rig *r, struct got *g, const char *tenant, const char *hook, const char *input);
void rig_reload_begin(struct rig *r, struct reloaded *got);
int rig_reload(struct rig *r, struct buf *report); /* waited for: 0, or -1 with problems */
void rig_end(struct rig *r);
void got_free(struct got *g);
/* The process that is the only child of this one; 0: there is none. */
int rig_child(void);
unsigned rig_descriptors(void);

TCase *language_cases(void); /* check_language.c: what scripts may do and return */
TCase *folder_cases(void);   /* check_folder.c: reading, reload, check, test */

#endif
