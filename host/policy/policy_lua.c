/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lua in the policy worker: text chunks only, a fresh state for each script and evaluation, no way
 * to files, processes, other chunks or the collector. The deadline is kept from outside, by
 * killing this process; memory by the allocator and by the process's limit.
 */
#include "config.h"

#include "host/policy/policy_impl.h"

#include "core/log.h"

#include <lauxlib.h>
#include <lualib.h>

#include <stdio.h>
#include <string.h>

#define SAID_LINES_MAX 20
#define SAID_TEXT_MAX 500

struct memory {
	size_t used, max;
};

static void *allocate(void *ud, void *ptr, size_t osize, size_t nsize)
{
	struct memory *m = ud;
	size_t old = ptr ? osize : 0;
	void *p;

	if (!nsize) {
		free(ptr);
		m->used -= old;
		return NULL;
	}
	if (nsize > old && m->used + (nsize - old) > m->max)
		return NULL;
	p = realloc(ptr, nsize);
	if (p)
		m->used = m->used - old + nsize;
	return p;
}

/* A script in a loop must not fill the log: upvalues are its name and how often it spoke. */
static int lua_log_text(lua_State *L)
{
	const char *text = luaL_checkstring(L, 1);
	lua_Integer said = lua_tointeger(L, lua_upvalueindex(2)) + 1;
	char cut[SAID_TEXT_MAX];

	lua_pushinteger(L, said);
	lua_replace(L, lua_upvalueindex(2));
	if (said > SAID_LINES_MAX)
		return 0;
	snprintf(cut, sizeof(cut), "%s", text);
	log_info("policy_says", LS("policy", lua_tostring(L, lua_upvalueindex(1))),
		 LS("text", cut));
	return 0;
}

/* Other chunks, the collector, our standard output; and chance: the same input has the same answer.
 */
static void remove_names(lua_State *L)
{
	static const char *const names[][2] = {
		{"_G", "dofile"},       {"_G", "loadfile"},       {"_G", "load"},
		{"_G", "require"},      {"_G", "collectgarbage"}, {"_G", "print"},
		{"_G", "warn"},         {"string", "dump"},       {"math", "random"},
		{"math", "randomseed"},
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		lua_getglobal(L, names[i][0]);
		lua_pushnil(L);
		lua_setfield(L, -2, names[i][1]);
		lua_pop(L, 1);
	}
}

static void open_libraries(lua_State *L, const char *script)
{
	static const luaL_Reg libraries[] = {
		{LUA_GNAME, luaopen_base},        {LUA_TABLIBNAME, luaopen_table},
		{LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math},
		{LUA_UTF8LIBNAME, luaopen_utf8},
	};

	for (size_t i = 0; i < ARRAY_LEN(libraries); i++) {
		luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
		lua_pop(L, 1);
	}
	remove_names(L);
	lua_newtable(L);
	lua_pushstring(L, script);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, lua_log_text, 2);
	lua_setfield(L, -2, "log");
	lua_setglobal(L, "pcg");
}

/* What runs inside lua_pcall: everything that may raise does so in here. */
struct evaluation {
	const char *name, *text, *hook;
	const json_t *input;
	json_t *result, *hooks;
	int status;
	struct pcg_error *err;
};

/* False: there is none of that name. */
static bool get_hook(lua_State *L, const char *name)
{
	int type = lua_getglobal(L, name);

	if (type != LUA_TFUNCTION && type != LUA_TNIL)
		luaL_error(L, "%s is a hook's name, and here a %s, not a function", name,
			   lua_typename(L, type));
	return type == LUA_TFUNCTION;
}

static void list_hooks(lua_State *L, json_t *hooks)
{
#define X(id, input, result)                                    \
	if (get_hook(L, #id))                                   \
		json_array_append_new(hooks, json_string(#id)); \
	lua_pop(L, 1);
	POLICY_HOOKS(X)
#undef X
	if (!json_array_size(hooks))
		luaL_error(L, "the script has no hook: a hook is a global function named "
			      "admission, ca_bundle, proxy, node_bootstrap or delete_guard");
}

static int evaluate(lua_State *L)
{
	struct evaluation *e = lua_touserdata(L, 1);
	char chunk[300];

	open_libraries(L, e->name);
	/* Lua cuts long names in the middle of its messages; ours is said by lua_failed anyway. */
	snprintf(chunk, sizeof(chunk), "@%s",
		 strrchr(e->name, '/') ? strrchr(e->name, '/') + 1 : e->name);
	if (luaL_loadbufferx(L, e->text, strlen(e->text), chunk, "t"))
		return lua_error(L);
	lua_call(L, 0, 0);
	if (!e->hook) {
		list_hooks(L, e->hooks);
		return 0;
	}
	if (!get_hook(L, e->hook))
		return 0;
	policy_lua_push(L, e->input);
	lua_call(L, 1, 1);
	if (lua_isnil(L, -1))
		return 0;
	e->status = policy_lua_read(L, -1, &e->result, e->err);
	return 0;
}

/* Says which line it was where the message does not: error() takes any value, and C functions know
 * no line. */
static int add_line(lua_State *L)
{
	const char *said = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
	lua_Debug ar;
	char line[32];

	if (!said)
		said = lua_pushfstring(L, "error() was called with a %s, not with a text",
				       luaL_typename(L, 1));
	for (int level = 1; lua_getstack(L, level, &ar); level++) {
		if (!lua_getinfo(L, "Sl", &ar) || ar.currentline <= 0)
			continue;
		snprintf(line, sizeof(line), ":%d:", ar.currentline);
		if (!strstr(said, line))
			said = lua_pushfstring(L, "%s:%d: %s", ar.short_src, ar.currentline, said);
		break;
	}
	lua_pushstring(L, said);
	return 1;
}

static int lua_failed(lua_State *L, int status, const struct evaluation *e, struct pcg_error *err)
{
	const char *said = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
							  : "an error that is not a text";

	if (status == LUA_ERRMEM)
		said = "it needs more memory than is allowed";
	return pcg_fail(err, PCG_CLASS_PERMANENT,
			"correct the script; pcgctl policy check and pcgctl policy test show it",
			"policy %s%s%s: %s", e->name, e->hook ? ", hook " : "",
			e->hook ? e->hook : "", said);
}

static int run(struct evaluation *e, size_t memory_max, struct pcg_error *err)
{
	struct memory memory = {.max = memory_max};
	lua_State *L = lua_newstate(allocate, &memory);
	int status, r = 0;

	if (!L)
		return pcg_fail(err, PCG_CLASS_RETRY, "", "policy %s: no memory for Lua", e->name);
	e->err = err;
	lua_pushcfunction(L, add_line);
	lua_pushcfunction(L, evaluate);
	lua_pushlightuserdata(L, e);
	status = lua_pcall(L, 1, 0, 1);
	if (status)
		r = lua_failed(L, status, e, err);
	else if (e->status)
		r = pcg_fail_prefix(err, "policy %s, hook %s", e->name, e->hook);
	lua_close(L);
	if (r) {
		json_decref(e->result);
		e->result = NULL;
	}
	return r;
}

int policy_lua_hooks(const json_t *script, size_t memory_max, json_t **hooks, struct pcg_error *err)
{
	struct evaluation e = {.name = json_str_or(script, "name", "?"),
			       .text = json_str_or(script, "text", ""),
			       .hooks = json_array()};
	int r = run(&e, memory_max, err);

	if (r)
		json_decref(e.hooks);
	else
		*hooks = e.hooks;
	return r;
}

/* One script's part in an evaluation: runs it, checks what it returned and joins that to total. */
static int run_script(struct evaluation *e, size_t memory_max, json_t **total, json_t *given,
		      struct pcg_error *err)
{
	int r = run(e, memory_max, err);

	if (r || !e->result)
		return r;
	if (!*total)
		*total = json_object();
	r = policy_schema_check(e->hook, e->result, err);
	if (!r)
		r = policy_merge(e->hook, *total, e->result, given, err);
	json_decref(e->result);
	return r ? pcg_fail_prefix(err, "policy %s, hook %s", e->name, e->hook) : 0;
}

int policy_lua_eval(const json_t *scripts, const char *hook, const json_t *input, size_t memory_max,
		    void (*begin)(void *arg, const char *script), void *arg, json_t **result,
		    struct pcg_error *err)
{
	AUTO_JSON json_t *total = NULL, *given = json_deep_copy(input);
	bool refused = false;
	json_t *script;
	size_t i;

	*result = NULL;
	for (i = 0; i < json_array_size(scripts) && !refused; i++) {
		struct evaluation e = {.hook = hook, .input = given};
		int r;

		script = json_array_get(scripts, i);
		e.name = json_str_or(script, "name", "?");
		e.text = json_str_or(script, "text", "");
		begin(arg, e.name);
		r = run_script(&e, memory_max, &total, given, err);
		if (r)
			return r;
		refused = !json_bool_or(total, "allow", true);
	}
	*result = TAKE(total);
	return 0;
}
