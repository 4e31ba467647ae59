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

#include <math.h>
#include <string.h>

#define DEPTH_MAX 32
#define ITEMS_MAX 20000
#define TEXT_MAX (1u << 20)

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

static int lua_log_text(lua_State *L)
{
	size_t len;
	const char *s = luaL_checklstring(L, 1, &len);

	log_info("policy_says", LS("text", s));
	return 0;
}

static void remove_globals(lua_State *L)
{
	static const char *const names[] = { "dofile", "loadfile", "load", "require",
					     "collectgarbage", "print", "warn" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		lua_pushnil(L);
		lua_setglobal(L, names[i]);
	}
	lua_getglobal(L, "string");
	lua_pushnil(L);
	lua_setfield(L, -2, "dump");
	lua_pop(L, 1);
}

static void open_libraries(lua_State *L)
{
	static const luaL_Reg libraries[] = {
		{ LUA_GNAME, luaopen_base },	    { LUA_TABLIBNAME, luaopen_table },
		{ LUA_STRLIBNAME, luaopen_string }, { LUA_MATHLIBNAME, luaopen_math },
		{ LUA_UTF8LIBNAME, luaopen_utf8 },
	};

	for (size_t i = 0; i < ARRAY_LEN(libraries); i++) {
		luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
		lua_pop(L, 1);
	}
	remove_globals(L);
	lua_newtable(L);
	lua_pushcfunction(L, lua_log_text);
	lua_setfield(L, -2, "log");
	lua_setglobal(L, "pcg");
}

void policy_lua_push(lua_State *L, const json_t *value)
{
	const char *key;
	json_t *v;
	size_t i;

	luaL_checkstack(L, 4, "document too deep");
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		lua_createtable(L, 0, (int)json_object_size(value));
		json_object_foreach((json_t *)value, key, v) {
			policy_lua_push(L, v);
			lua_setfield(L, -2, key);
		}
		return;
	case JSON_ARRAY:
		lua_createtable(L, (int)json_array_size(value), 0);
		json_array_foreach(value, i, v) {
			policy_lua_push(L, v);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		return;
	case JSON_STRING:
		lua_pushlstring(L, json_string_value(value), json_string_length(value));
		return;
	case JSON_INTEGER:
		lua_pushinteger(L, (lua_Integer)json_integer_value(value));
		return;
	case JSON_REAL:
		lua_pushnumber(L, json_real_value(value));
		return;
	case JSON_TRUE:
	case JSON_FALSE:
		lua_pushboolean(L, json_is_true(value));
		return;
	default:
		lua_pushnil(L);
	}
}

struct reading {
	unsigned items;
	struct pcg_error *err;
};

static int not_allowed(struct reading *r, const char *what)
{
	return pcg_fail(r->err, PCG_CLASS_PERMANENT, "return tables, texts, numbers and booleans",
			"the result holds %s", what);
}

static int read_value(lua_State *L, int index, unsigned depth, struct reading *r, json_t **out);

static int read_list(lua_State *L, int index, lua_Integer n, unsigned depth, struct reading *r,
		     json_t *list)
{
	for (lua_Integer i = 1; i <= n; i++) {
		json_t *v;
		int e;

		lua_rawgeti(L, index, i);
		e = read_value(L, lua_gettop(L), depth + 1, r, &v);
		lua_pop(L, 1);
		if (e)
			return e;
		json_array_append_new(list, v);
	}
	return 0;
}

static int read_record(lua_State *L, int index, unsigned depth, struct reading *r, json_t *record)
{
	lua_pushnil(L);
	while (lua_next(L, index)) {
		json_t *v;
		int e;

		if (lua_type(L, -2) != LUA_TSTRING)
			e = not_allowed(r, "a table that is neither a list nor a record");
		else
			e = read_value(L, lua_gettop(L), depth + 1, r, &v);
		if (!e && json_object_set_new(record, lua_tostring(L, -2), v))
			e = not_allowed(r, "a name that is not UTF-8");
		lua_pop(L, 1);
		if (e) {
			lua_pop(L, 1);
			return e;
		}
	}
	return 0;
}

static int read_table(lua_State *L, int index, unsigned depth, struct reading *r, json_t **out)
{
	lua_Integer n = (lua_Integer)lua_rawlen(L, index);
	int e;

	if (n > ITEMS_MAX)
		return not_allowed(r, "more values than are allowed");
	*out = n ? json_array() : json_object();
	e = n ? read_list(L, index, n, depth, r, *out) : read_record(L, index, depth, r, *out);
	if (e) {
		json_decref(*out);
		*out = NULL;
	}
	return e;
}

static int read_value(lua_State *L, int index, unsigned depth, struct reading *r, json_t **out)
{
	size_t len;
	const char *s;
	double d;

	if (depth > DEPTH_MAX || ++r->items > ITEMS_MAX)
		return not_allowed(r, "more values than are allowed, or a table that holds itself");
	switch (lua_type(L, index)) {
	case LUA_TTABLE:
		return read_table(L, index, depth, r, out);
	case LUA_TSTRING:
		s = lua_tolstring(L, index, &len);
		*out = len <= TEXT_MAX ? json_stringn(s, len) : NULL;
		return *out ? 0 : not_allowed(r, "a text that is too long or not UTF-8");
	case LUA_TNUMBER:
		if (lua_isinteger(L, index)) {
			*out = json_integer((json_int_t)lua_tointeger(L, index));
			return 0;
		}
		d = lua_tonumber(L, index);
		*out = isfinite(d) ? json_real(d) : NULL;
		return *out ? 0 : not_allowed(r, "a number that is not finite");
	case LUA_TBOOLEAN:
		*out = json_boolean(lua_toboolean(L, index));
		return 0;
	default:
		return not_allowed(r, "a function, or something else that is not data");
	}
}

int policy_lua_read(lua_State *L, int index, json_t **value, struct pcg_error *err)
{
	struct reading r = { .err = err };

	return read_value(L, lua_absindex(L, index), 0, &r, value);
}

/* What runs inside lua_pcall: everything that may raise does so in here. */
struct evaluation {
	const char *name, *text, *hook;
	const json_t *input;
	json_t *result, *hooks;
	bool found;
	int status;
	struct pcg_error *err;
};

static void list_hooks(lua_State *L, struct evaluation *e)
{
#define X(id, input, result)                                                                       \
	lua_getglobal(L, #id);                                                                     \
	if (lua_isfunction(L, -1))                                                                 \
		json_array_append_new(e->hooks, json_string(#id));                                 \
	lua_pop(L, 1);
	POLICY_HOOKS(X)
#undef X
}

static int evaluate(lua_State *L)
{
	struct evaluation *e = lua_touserdata(L, 1);
	char chunk[300];

	open_libraries(L);
	snprintf(chunk, sizeof(chunk), "@%s", e->name);
	if (luaL_loadbufferx(L, e->text, strlen(e->text), chunk, "t"))
		return lua_error(L);
	lua_call(L, 0, 0);
	if (!e->hook) {
		list_hooks(L, e);
		return 0;
	}
	lua_getglobal(L, e->hook);
	if (!lua_isfunction(L, -1))
		return 0;
	e->found = true;
	policy_lua_push(L, e->input);
	lua_call(L, 1, 1);
	if (lua_isnil(L, -1))
		return 0;
	e->status = policy_lua_read(L, -1, &e->result, e->err);
	return 0;
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
	struct memory memory = { .max = memory_max };
	lua_State *L = lua_newstate(allocate, &memory);
	int status, r = 0;

	if (!L)
		return pcg_fail(err, PCG_CLASS_RETRY, "", "policy %s: no memory for Lua", e->name);
	e->err = err;
	lua_pushcfunction(L, evaluate);
	lua_pushlightuserdata(L, e);
	status = lua_pcall(L, 1, 0, 0);
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
	struct evaluation e = { .name = json_str_or(script, "name", "?"),
				.text = json_str_or(script, "text", ""),
				.hooks = json_array() };
	int r = run(&e, memory_max, err);

	if (r)
		json_decref(e.hooks);
	else
		*hooks = e.hooks;
	return r;
}

static int checked(struct evaluation *e, struct pcg_error *err)
{
	int r = policy_schema_check(e->hook, e->result, err);

	return r ? pcg_fail_prefix(err, "policy %s, hook %s", e->name, e->hook) : 0;
}

int policy_lua_eval(const json_t *scripts, const char *hook, const json_t *input, size_t memory_max,
		    void (*begin)(void *arg, const char *script), void *arg, json_t **result,
		    struct pcg_error *err)
{
	AUTO_JSON json_t *total = NULL, *given = json_deep_copy(input);
	size_t i;
	json_t *script;

	*result = NULL;
	json_array_foreach(scripts, i, script) {
		struct evaluation e = { .name = json_str_or(script, "name", "?"),
					.text = json_str_or(script, "text", ""),
					.hook = hook,
					.input = given };
		int r;

		begin(arg, e.name);
		r = run(&e, memory_max, err);
		if (!r && e.result)
			r = checked(&e, err);
		if (r) {
			json_decref(e.result);
			return r;
		}
		if (!e.result)
			continue;
		if (!total)
			total = json_object();
		policy_merge(hook, total, e.result, given);
		json_decref(e.result);
		if (!strcmp(hook, "admission") && !json_bool_or(total, "allow", true)) {
			json_object_set_new(total, "script", json_string(e.name));
			break;
		}
	}
	*result = TAKE(total);
	return 0;
}
