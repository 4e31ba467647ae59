/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_POLICY_IMPL_H
#define HOST_POLICY_IMPL_H

/* Inside policy: reading folders, the shape of results, Lua values. */

#include "host/policy/policy.h"

#include <lua.h>

#define POLICY_ALL "_all"
#define POLICY_FILE_MAX (1u << 20)
#define POLICY_DEADLINE_MS 1000
#define POLICY_MEMORY_MAX (64u << 20)
#define POLICY_START_MS 10000 /* from the question to the first script's begin */
/* Address space of a worker: the script's state, documents in and out, program and libraries. */
#define POLICY_PROCESS_MAX(memory_max) (192ull * 1048576 + 2 * (memory_max))
#define POLICY_SET_MAX (4u << 20) /* bytes of all scripts that one tenant's worker is given */

/* policy_dir.c: {"TENANT":[{"name":"TENANT/10-x.lua","text":...}, ...]}; a tenant's list begins with those of _all.
 * An absent folder is an empty set. Problems (unreadable, not valid UTF-8, too large, writable by others), one a line. */
int policy_dir_read(const char *dir, json_t **set, struct buf *report);
/* {"TENANT":[{"file", "name","hook","input","expect"|"expectError"}]} of TENANT/tests/NAME.json. */
int policy_dir_tests(const char *dir, json_t **tests, struct buf *report);

/* policy_once.c: one worker for each question, some at a time. */
struct policy_job {
	const json_t *scripts, *request; /* borrowed */
	json_t *reply;                   /* the caller's; NULL: err says why there is none */
	struct pcg_error err;
};
/* Waited for, in a loop of their own. */
void policy_run_jobs(const char *exe, struct policy_job *jobs, size_t n, uint32_t deadline_ms,
		     uint64_t memory_max);
/* exe and jobs stay until done, which comes once, from the loop; the crew is no more after it. */
struct policy_crew;
struct policy_crew *policy_crew_new(uv_loop_t *loop, const char *exe, struct policy_job *jobs, size_t n,
				    uint32_t deadline_ms, uint64_t memory_max,
				    void (*done)(void *arg), void *arg);
/* Kills what runs and begins nothing more; done comes still. */
void policy_crew_stop(struct policy_crew *c);
json_t *policy_hello(const json_t *scripts, uint64_t memory_max);

/* policy_suite.c: every script compiles, runs without calling a hook, and has one; hooks is
 * {"TENANT":{"SCRIPT":[..]}}. Of a tenant whose scripts are those of the set before, what was found then
 * holds. before, hooks_before may be NULL. */
int policy_set_check(const char *exe, const json_t *set, const json_t *before,
		     const json_t *hooks_before, struct buf *report, json_t **hooks);
/* The same in two steps, for who runs the jobs itself: prepare, run, take; or prepare, free. Nothing is
 * borrowed after prepare. */
struct set_check {
	struct policy_job *jobs;
	size_t n;
	json_t *set, *request, *hooks;
	const char **names; /* of the tenant that each job is for */
};
void set_check_prepare(struct set_check *c, const json_t *set, const json_t *before,
		       const json_t *hooks_before);
int set_check_take(struct set_check *c, struct buf *report, json_t **hooks); /* frees too */
void set_check_free(struct set_check *c);

/* policy_schema.c: makes result the shape that the hook promises, or says which field is wrong. */
bool policy_hook_known(const char *hook);
int policy_schema_check(const char *hook, json_t *result, struct pcg_error *err);
/* Joins a checked result of a later script to those before; input becomes what the next script is given. */
int policy_merge(const char *hook, json_t *total, json_t *result, json_t *input, struct pcg_error *err);

/* policy_change.c: {"path": value}. check: are the paths allowed, does none lie below another. */
int policy_changes_check(const json_t *changes, struct pcg_error *err);
/* Later changes replace earlier ones of the same path and below it. */
void policy_changes_join(json_t *total, const json_t *more);

/* policy_value.c: both may raise a Lua error, so only inside lua_pcall. */
void policy_lua_push(lua_State *L, const json_t *value);
int policy_lua_read(lua_State *L, int index, json_t **value, struct pcg_error *err);

/* policy_lua.c */
/* Runs the scripts in order, each in a state of its own. result NULL: no script has the hook. */
int policy_lua_eval(const json_t *scripts, const char *hook, const json_t *input, size_t memory_max,
		    void (*begin)(void *arg, const char *script), void *arg, json_t **result,
		    struct pcg_error *err);
/* {"name":[hooks]} */
int policy_lua_hooks(const json_t *script, size_t memory_max, json_t **hooks, struct pcg_error *err);

#endif
