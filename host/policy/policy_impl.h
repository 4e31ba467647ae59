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

/* policy_dir.c: {"TENANT":[{"name":"TENANT/10-x.lua","text":...}, ...]}; a tenant's list begins with those of _all.
 * An absent folder is an empty set. Problems (unreadable, not valid UTF-8, too large, writable by others), one a line. */
int policy_dir_read(const char *dir, json_t **set, struct buf *report);
/* {"TENANT":[{"file", "name","hook","input","expect"|"expectError"}]} of TENANT/tests/NAME.json. */
int policy_dir_tests(const char *dir, json_t **tests, struct buf *report);

/* policy_once.c: one worker for one question, waited for. */
int policy_once(const char *exe, const json_t *scripts, const json_t *request, uint32_t deadline_ms,
		uint64_t memory_max, json_t **reply, struct pcg_error *err);
json_t *policy_hello(const json_t *scripts, uint64_t memory_max);
/* Every script compiles and runs without calling a hook; {"hooks":[..]} of each to *list. */
int policy_set_check(const char *exe, const json_t *set, struct buf *report, json_t **hooks);

/* policy_schema.c: makes result the shape that the hook promises, or says which field is wrong. */
bool policy_hook_known(const char *hook);
int policy_schema_check(const char *hook, json_t *result, struct pcg_error *err);
/* Joins the result of a later script to those before; returns what the next script is given. */
void policy_merge(const char *hook, json_t *total, const json_t *result, json_t *input);

/* policy_lua.c */
void policy_lua_push(lua_State *L, const json_t *value);
int policy_lua_read(lua_State *L, int index, json_t **value, struct pcg_error *err);
/* Runs the scripts in order, each in a state of its own. result NULL: no script has the hook. */
int policy_lua_eval(const json_t *scripts, const char *hook, const json_t *input, size_t memory_max,
		    void (*begin)(void *arg, const char *script), void *arg, json_t **result,
		    struct pcg_error *err);
/* {"name":[hooks]} */
int policy_lua_hooks(const json_t *script, size_t memory_max, json_t **hooks, struct pcg_error *err);

#endif
