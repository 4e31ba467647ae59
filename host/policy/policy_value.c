/* SPDX-License-Identifier: Apache-2.0 */
/* Documents to Lua tables and back. A table that came from a list says so in its metatable: else an
 * empty list that a script hands back would return as a record. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include <lauxlib.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 32
#define ITEMS_MAX 20000
#define TEXTS_MAX \
	(1u << 20) /* bytes of all texts: a frame holds them also when each byte is escaped */
#define LIST_MARK "pcg.list"
#define FLOAT_INT_MAX 9007199254740992.0

static void mark_list(lua_State *L)
{
	if (luaL_newmetatable(L, LIST_MARK)) {
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "__metatable");
	}
	lua_setmetatable(L, -2);
}

static bool marked_list(lua_State *L, int index)
{
	bool is;

	if (!lua_getmetatable(L, index))
		return false;
	luaL_getmetatable(L, LIST_MARK);
	is = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return is;
}

void policy_lua_push(lua_State *L, const json_t *value)
{
	const char *key;
	json_t *v;
	size_t i;

	luaL_checkstack(L, 6, "document too deep");
	switch (value ? json_typeof(value) : JSON_NULL) {
	case JSON_OBJECT:
		lua_createtable(L, 0, (int)json_object_size(value));
		json_object_foreach ((json_t *)value, key, v) {
			policy_lua_push(L, v);
			lua_setfield(L, -2, key);
		}
		return;
	case JSON_ARRAY:
		lua_createtable(L, (int)json_array_size(value), 0);
		json_array_foreach (value, i, v) {
			policy_lua_push(L, v);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		mark_list(L);
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
	size_t bytes;
	char where[200]; /* path of what is read, for errors */
	struct pcg_error *err;
};

static int not_allowed(struct reading *r, const char *what)
{
	return pcg_fail(r->err, PCG_CLASS_PERMANENT, "return tables, texts, numbers and booleans",
			"the result%s%s holds %s", *r->where ? "'s " : "", r->where, what);
}

static int read_value(lua_State *L, int index, unsigned depth, struct reading *r, json_t **out);

static int read_member(lua_State *L, unsigned depth, struct reading *r, const char *step,
		       json_t **out)
{
	size_t len = strlen(r->where);
	int e;

	snprintf(r->where + len, sizeof(r->where) - len, "%s%s", len ? "." : "", step);
	e = read_value(L, lua_gettop(L), depth + 1, r, out);
	if (!e)
		r->where[len] = '\0';
	return e;
}

static int read_list(lua_State *L, int index, lua_Integer n, unsigned depth, struct reading *r,
		     json_t *list)
{
	for (lua_Integer i = 1; i <= n; i++) {
		char step[24];
		json_t *v;
		int e;

		snprintf(step, sizeof(step), "%lld", (long long)i);
		if (lua_rawgeti(L, index, i) == LUA_TNIL)
			return not_allowed(r, "a list with a hole in it");
		e = read_member(L, depth, r, step, &v);
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
		size_t len;
		const char *key = lua_tolstring(L, -2, &len);
		json_t *v;
		int e;

		if (strlen(key) != len)
			return not_allowed(r, "a name with a zero byte");
		r->bytes += len;
		e = read_member(L, depth, r, key, &v);
		if (e)
			return e;
		if (json_object_set_new(record, key, v))
			return not_allowed(r, "a name that is not UTF-8");
		lua_pop(L, 1);
	}
	return 0;
}

/* Counts: *texts keys that are texts, *others all the rest. */
static void count_keys(lua_State *L, int index, lua_Integer *texts, lua_Integer *others)
{
	*texts = *others = 0;
	lua_pushnil(L);
	while (lua_next(L, index)) {
		if (lua_type(L, -2) == LUA_TSTRING)
			++*texts;
		else
			++*others;
		lua_pop(L, 1);
	}
}

static int read_table(lua_State *L, int index, unsigned depth, struct reading *r, json_t **out)
{
	lua_Integer texts, others;
	bool list;
	int e;

	count_keys(L, index, &texts, &others);
	if (texts && others)
		return not_allowed(r, "a table that is neither a list nor a record");
	if (texts + others > ITEMS_MAX)
		return not_allowed(r, "more values than are allowed");
	list = others || (!texts && marked_list(L, index));
	*out = list ? json_array() : json_object();
	e = list ? read_list(L, index, others, depth, r, *out)
		 : read_record(L, index, depth, r, *out);
	if (e) {
		json_decref(*out);
		*out = NULL;
	}
	return e;
}

static int read_text(lua_State *L, int index, struct reading *r, json_t **out)
{
	size_t len;
	const char *s = lua_tolstring(L, index, &len);

	r->bytes += len;
	if (r->bytes > TEXTS_MAX)
		return not_allowed(r, "more text than is allowed (1 MiB in all)");
	if (memchr(s, 0, len))
		return not_allowed(r, "a text with a zero byte");
	*out = json_stringn(s, len);
	return *out ? 0 : not_allowed(r, "a text that is not UTF-8");
}

/* 3.0 is 3 in a document: a script that divides does not mean another type. */
static int read_number(lua_State *L, int index, struct reading *r, json_t **out)
{
	lua_Number d = lua_tonumber(L, index);

	if (lua_isinteger(L, index))
		*out = json_integer((json_int_t)lua_tointeger(L, index));
	else if (!isfinite(d))
		return not_allowed(r, "a number that is not finite");
	else if (d == floor(d) && fabs(d) <= FLOAT_INT_MAX)
		*out = json_integer((json_int_t)d);
	else
		*out = json_real(d);
	return 0;
}

static int read_value(lua_State *L, int index, unsigned depth, struct reading *r, json_t **out)
{
	*out = NULL;
	if (depth > DEPTH_MAX)
		return not_allowed(
			r,
			"tables in tables, deeper than is allowed, or a table that holds itself");
	if (++r->items > ITEMS_MAX)
		return not_allowed(r, "more values than are allowed");
	switch (lua_type(L, index)) {
	case LUA_TTABLE:
		return read_table(L, index, depth, r, out);
	case LUA_TSTRING:
		return read_text(L, index, r, out);
	case LUA_TNUMBER:
		return read_number(L, index, r, out);
	case LUA_TBOOLEAN:
		*out = json_boolean(lua_toboolean(L, index));
		return 0;
	default:
		return not_allowed(r, "a function, or something else that is not data");
	}
}

int policy_lua_read(lua_State *L, int index, json_t **value, struct pcg_error *err)
{
	struct reading r = {.err = err};
	int top = lua_gettop(L), e;

	index = lua_absindex(L, index);
	luaL_checkstack(L, 4 * (DEPTH_MAX + 2), "result too deep");
	e = read_value(L, index, 0, &r, value);
	lua_settop(L, top);
	return e;
}
