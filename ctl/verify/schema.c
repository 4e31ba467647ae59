/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema of what ops answer (pcg/provider.h), as JSON Schema in a small dialect: type (a name or several),
 * required, properties, items, enum, minLength, anyOf, and "$ref" to a definition. Unknown members are allowed
 * everywhere. pcgctl plugin verify --schema prints it.
 */
#include "config.h"

#include "ctl/verify/verify.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char definitions[] =
	"{"
	"\"text\":{\"type\":\"string\",\"minLength\":1},"
	"\"problems\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"field\",\"text\",\"remedy\"],"
	"\"properties\":{\"field\":{\"type\":\"string\"},\"text\":{\"$ref\":\"text\"},\"remedy\":{\"$ref\":\"text\"}}}},"
	"\"endpoint\":{\"type\":[\"object\",\"null\"],\"required\":[\"host\",\"port\"],"
	"\"properties\":{\"host\":{\"$ref\":\"text\"},\"port\":{\"type\":\"integer\"}}},"
	"\"addresses\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"type\",\"address\"],"
	"\"properties\":{\"type\":{\"enum\":[\"InternalIP\",\"ExternalIP\",\"Hostname\",\"InternalDNS\"]},"
	"\"address\":{\"$ref\":\"text\"}}}},"
	"\"observed\":{\"type\":\"object\",\"required\":[\"id\",\"providerID\",\"addresses\"],"
	"\"properties\":{\"id\":{\"$ref\":\"text\"},\"providerID\":{\"$ref\":\"text\"},"
	"\"addresses\":{\"$ref\":\"addresses\"}}},"
	"\"any\":{\"type\":[\"object\",\"null\"]},"

	"\"account_validate\":{\"type\":\"object\",\"anyOf\":["
	"{\"required\":[\"problems\"],\"properties\":{\"problems\":{\"$ref\":\"problems\"}}},"
	"{\"required\":[\"version\"],\"properties\":{\"version\":{\"$ref\":\"text\"},"
	"\"warnings\":{\"type\":\"array\",\"items\":{\"$ref\":\"text\"}}}}]},"
	"\"pick_list\":{\"type\":\"object\",\"required\":[\"items\",\"continue\"],\"properties\":{\"continue\":{\"type\":\"string\"},"
	"\"items\":{\"type\":\"array\","
	"\"items\":{\"type\":\"object\",\"required\":[\"name\",\"id\",\"path\"],\"properties\":{\"name\":{\"$ref\":\"text\"},"
	"\"id\":{\"type\":\"string\"},\"path\":{\"type\":\"string\"}}}}}},"
	"\"cluster_ensure\":{\"type\":\"object\",\"anyOf\":["
	"{\"required\":[\"problems\"],\"properties\":{\"problems\":{\"$ref\":\"problems\"},\"endpoint\":{\"$ref\":\"endpoint\"}}},"
	"{\"required\":[\"endpoint\",\"observed\"],\"properties\":{\"endpoint\":{\"$ref\":\"endpoint\"},"
	"\"observed\":{\"type\":\"object\"}}}]},"
	"\"cluster_delete\":{\"type\":\"object\",\"required\":[\"left\"],\"properties\":{\"left\":{\"type\":\"array\","
	"\"items\":{\"type\":\"object\",\"required\":[\"id\",\"name\",\"why\"],\"properties\":{\"id\":{\"type\":\"string\"},"
	"\"name\":{\"type\":\"string\"},\"why\":{\"$ref\":\"text\"}}}}}},"
	"\"machine_ensure\":{\"type\":\"object\",\"required\":[\"observed\"],"
	"\"properties\":{\"observed\":{\"$ref\":\"observed\"}}},"
	"\"machine_delete\":{\"$ref\":\"any\"},\"machine_redact\":{\"$ref\":\"any\"},\"machine_power_off\":{\"$ref\":\"any\"},"
	"\"watch\":{\"$ref\":\"any\"},"
	"\"inventory\":{\"type\":\"object\",\"required\":[\"items\"],\"properties\":{\"items\":{\"type\":\"array\","
	"\"items\":{\"type\":\"object\",\"required\":[\"id\",\"name\",\"cluster\",\"pool\",\"machine\",\"kind\",\"power\",\"providerID\","
	"\"addresses\",\"role\"],\"properties\":{\"id\":{\"$ref\":\"text\"},\"name\":{\"type\":\"string\"},\"cluster\":{\"$ref\":\"text\"},"
	"\"pool\":{\"type\":\"string\"},\"machine\":{\"type\":\"string\"},\"kind\":{\"enum\":[\"machine\",\"cluster\"]},"
	"\"power\":{\"enum\":[\"on\",\"off\"]},\"providerID\":{\"type\":\"string\"},\"addresses\":{\"$ref\":\"addresses\"},"
	"\"role\":{\"enum\":[\"control-plane\",\"worker\",\"\"]},\"stranger\":{\"$ref\":\"text\"}}}}}},"
	"\"export_objects\":{\"type\":\"object\",\"required\":[\"objects\"],\"properties\":{\"objects\":{\"type\":\"array\","
	"\"items\":{\"type\":\"object\",\"required\":[\"role\",\"object\"],\"properties\":{"
	"\"role\":{\"enum\":[\"identity\",\"cluster\",\"controlPlaneTemplate\",\"workerTemplate\",\"machine\",\"extra\"]},"
	"\"owner\":{\"enum\":[\"Cluster\",\"Machine\",\"\"]},\"pool\":{\"type\":\"string\"},\"machine\":{\"type\":\"string\"},"
	"\"failureDomain\":{\"$ref\":\"text\"},"
	"\"status\":{\"type\":\"object\"},\"object\":{\"type\":\"object\",\"required\":[\"apiVersion\",\"kind\",\"metadata\"],"
	"\"properties\":{\"apiVersion\":{\"$ref\":\"text\"},\"kind\":{\"$ref\":\"text\"},\"metadata\":{\"type\":\"object\","
	"\"required\":[\"name\"],\"properties\":{\"name\":{\"$ref\":\"text\"}}}}}}}}}},"
	"\"import_objects\":{\"type\":\"object\",\"required\":[\"machines\"],\"properties\":{\"machines\":{\"type\":\"array\","
	"\"items\":{\"type\":\"object\",\"required\":[\"name\",\"pool\",\"role\",\"observed\"],\"properties\":{\"name\":{\"$ref\":\"text\"},"
	"\"pool\":{\"type\":\"string\"},\"role\":{\"enum\":[\"control-plane\",\"worker\"]},\"observed\":{\"type\":\"object\","
	"\"required\":[\"id\",\"providerID\"],\"properties\":{\"id\":{\"$ref\":\"text\"},\"providerID\":{\"$ref\":\"text\"}}}}}}}},"
	"\"settings\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"name\",\"type\",\"doc\"],\"properties\":{"
	"\"name\":{\"$ref\":\"text\"},\"type\":{\"enum\":[\"string\",\"int\",\"bool\"]},"
	"\"default\":{\"type\":[\"string\",\"integer\",\"boolean\",\"null\"]},\"doc\":{\"$ref\":\"text\"},"
	"\"secret\":{\"type\":\"boolean\"}}}}"
	"}";

struct look {
	const json_t *all;
	char *found, *expected;
	size_t found_size, expected_size;
};

static const char *type_of(const json_t *v)
{
	static const char *const names[] = { [JSON_OBJECT] = "object", [JSON_ARRAY] = "array", [JSON_STRING] = "string",
					     [JSON_INTEGER] = "integer", [JSON_REAL] = "number", [JSON_TRUE] = "boolean",
					     [JSON_FALSE] = "boolean", [JSON_NULL] = "null" };

	return v ? names[json_typeof(v)] : "null";
}

static bool wrong(const struct look *k, const char *path, const json_t *v, const char *expected)
{
	AUTO_FREE char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	snprintf(k->found, k->found_size, "%s is %.120s", *path ? path : "the answer", text ? text : "not there");
	snprintf(k->expected, k->expected_size, "%s", expected);
	return true;
}

static bool one_of(const struct look *k, const char *path, const json_t *v, const json_t *list, const char *value)
{
	char expected[160] = "";
	size_t i, len = 0;
	json_t *e;

	json_array_foreach(list, i, e) {
		if (value && strcmp(json_string_value(e), value) == 0)
			return false;
		len += (size_t)snprintf(expected + len, len < sizeof(expected) ? sizeof(expected) - len : 0, "%s%s",
					i ? ", " : "one of ", *json_string_value(e) ? json_string_value(e) : "\"\"");
	}
	return wrong(k, path, v, expected);
}

static bool wrong_type(const struct look *k, const char *path, const json_t *v, const json_t *type)
{
	if (json_is_array(type))
		return one_of(k, path, v, type, type_of(v));
	return type && strcmp(json_string_value(type), type_of(v)) != 0 && wrong(k, path, v, json_string_value(type));
}

static bool look(const struct look *k, const char *path, const json_t *v, const json_t *schema);

static bool wrong_members(const struct look *k, const char *path, const json_t *v, const json_t *schema)
{
	char at[200];
	const char *name;
	json_t *e, *member;
	size_t i;

	json_array_foreach(json_object_get(schema, "required"), i, e) {
		snprintf(at, sizeof(at), "%s%s%s", path, *path ? "." : "", json_string_value(e));
		if (!json_object_get(v, json_string_value(e)))
			return wrong(k, at, NULL, "it is needed");
	}
	json_object_foreach(json_object_get(schema, "properties"), name, e) {
		member = json_object_get(v, name);
		snprintf(at, sizeof(at), "%s%s%s", path, *path ? "." : "", name);
		if (member && look(k, at, member, e))
			return true;
	}
	return false;
}

static bool wrong_items(const struct look *k, const char *path, const json_t *v, const json_t *items)
{
	char at[200];
	size_t i;
	json_t *e;

	json_array_foreach(v, i, e) {
		snprintf(at, sizeof(at), "%s[%zu]", path, i);
		if (items && look(k, at, e, items))
			return true;
	}
	return false;
}

/* All of them wrong: told is what is wrong with the one whose needed member is there, else with the last. */
static bool wrong_in_all(const struct look *k, const char *path, const json_t *v, const json_t *list)
{
	size_t i;
	json_t *e;

	json_array_foreach(list, i, e) {
		const char *first = json_string_value(json_array_get(json_object_get(e, "required"), 0));

		if (!look(k, path, v, e))
			return false;
		if (first && json_object_get(v, first))
			return true;
	}
	return json_array_size(list) > 0;
}

static bool look(const struct look *k, const char *path, const json_t *v, const json_t *schema)
{
	const char *ref = json_str(schema, "$ref");
	const json_t *list = json_object_get(schema, "enum");

	if (ref)
		return look(k, path, v, json_object_get(k->all, ref));
	if (wrong_type(k, path, v, json_object_get(schema, "type")))
		return true;
	if (list && one_of(k, path, v, list, json_string_value(v)))
		return true;
	if (json_is_string(v) && (int64_t)json_string_length(v) < json_int_or(schema, "minLength", 0))
		return wrong(k, path, v, "a text that is not empty");
	if (json_is_object(v) && wrong_members(k, path, v, schema))
		return true;
	if (wrong_in_all(k, path, v, json_object_get(schema, "anyOf")))
		return true;
	return json_is_array(v) && wrong_items(k, path, v, json_object_get(schema, "items"));
}

static json_t *schemas(void)
{
	struct pcg_error err;
	json_t *all = NULL;
	int r = json_parse(definitions, strlen(definitions), "schema", &all, &err);

	assert(!r);
	return all;
}

static bool look_by(const char *name, const json_t *v, char *found, size_t size, char *expected, size_t expected_size)
{
	AUTO_JSON json_t *all = schemas();
	const json_t *schema = json_object_get(all, name);
	struct look k = { all, found, expected, size, expected_size };

	return schema && look(&k, "", v, schema);
}

bool schema_wrong(const char *op, const json_t *answer, char *found, size_t size, char *expected, size_t expected_size)
{
	return look_by(op, answer, found, size, expected, expected_size);
}

bool schema_wrong_settings(const json_t *settings, char *found, size_t size, char *expected, size_t expected_size)
{
	return look_by("settings", settings, found, size, expected, expected_size);
}

void schema_print(void)
{
	AUTO_JSON json_t *all = schemas();

	show_json(all);
}
