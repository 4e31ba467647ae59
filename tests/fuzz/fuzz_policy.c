/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/policy/policy_impl.h"

#include <lauxlib.h>

#include <assert.h>
#include <stdint.h>

/* A document goes to Lua and back, is looked at as each hook's result, and merged. The input's first byte
 * chooses the hook. */

struct trip {
	const json_t *in;
	json_t *out;
	int status;
};

static int there_and_back(lua_State *L)
{
	struct trip *t = lua_touserdata(L, 1);
	struct pcg_error err;

	policy_lua_push(L, t->in);
	t->status = policy_lua_read(L, -1, &t->out, &err);
	return 0;
}

static void merge(const char *hook, json_t *result)
{
	AUTO_JSON json_t *total = json_object(), *input = NULL;
	struct pcg_error err;

	input = json_pack("{s:[{s:i,s:{}}],s:n,s:s}", "pools", "size", 1, "labels", "proxy", "name", "c");
	if (policy_schema_check(hook, result, &err) || policy_merge(hook, total, result, input, &err))
		assert(err.text[0]);
	else
		policy_changes_apply(input, json_object_get(total, "change"), &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const hooks[] = { "admission", "ca_bundle", "proxy", "node_bootstrap" };
	AUTO_JSON json_t *doc = NULL, *out = NULL;
	struct trip t = { 0 };
	struct pcg_error err;
	lua_State *L;

	if (len < 1 || json_parse((const char *)data + 1, len - 1, "input", &doc, &err))
		return 0;
	L = luaL_newstate();
	assert(L);
	t.in = doc;
	lua_pushcfunction(L, there_and_back);
	lua_pushlightuserdata(L, &t);
	if (!lua_pcall(L, 1, 0, 0) && !t.status)
		out = t.out;
	lua_close(L);
	if (out)
		merge(hooks[data[0] % ARRAY_LEN(hooks)], out);
	return 0;
}
