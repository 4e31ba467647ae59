/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kapi.h"

#include <ctype.h>
#include <string.h>

static char *kselect_trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return s;
}

/* "a,b" of "in (a,b)" contains value. */
static bool kselect_in_set(const char *set, const char *value)
{
	AUTO_FREE char *copy = strdup(set);
	char *save = NULL;

	for (char *p = strtok_r(copy, "(),", &save); p; p = strtok_r(NULL, "(),", &save))
		if (value && strcmp(kselect_trim(p), value) == 0)
			return true;
	return false;
}

static bool kselect_term(char *term, const json_t *labels)
{
	char *op, *key = kselect_trim(term);
	const char *value;
	bool negative = *key == '!';

	if (negative) {
		key = kselect_trim(key + 1);
		return !json_object_get(labels, key);
	}
	if ((op = strstr(key, " notin ")) || (op = strstr(key, " in "))) {
		bool in = op[1] == 'i';

		*op = '\0';
		value = json_string_value(json_object_get(labels, kselect_trim(key)));
		return in ? value && kselect_in_set(op + (in ? 4 : 7), value) : !kselect_in_set(op + 7, value);
	}
	op = strchr(key, '=');
	if (!op)
		return json_object_get(labels, key) != NULL;
	negative = op > key && op[-1] == '!';
	op[negative ? -1 : 0] = '\0';
	op += op[1] == '=' ? 2 : 1;
	value = json_string_value(json_object_get(labels, kselect_trim(key)));
	return negative ? !value || strcmp(value, kselect_trim(op)) != 0 :
			  value && strcmp(value, kselect_trim(op)) == 0;
}

/* Splits at commas outside parentheses. */
static char *kselect_next(char **at)
{
	char *start = *at, *p = start;
	int depth = 0;

	if (!start || !*start)
		return NULL;
	for (; *p && (*p != ',' || depth); p++)
		depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
	*at = *p ? p + 1 : NULL;
	*p = '\0';
	return start;
}

bool kselect_labels(const char *selector, const json_t *obj)
{
	const json_t *labels = json_object_get(json_object_get(obj, "metadata"), "labels");
	AUTO_FREE char *copy = selector ? strdup(selector) : NULL;
	char *at = copy, *term;

	while ((term = kselect_next(&at)))
		if (!kselect_term(term, labels))
			return false;
	return true;
}

bool kselect_labels_valid(const char *selector)
{
	return !selector || !strpbrk(selector, "\"'{}[];\\");
}

bool kselect_fields(const char *selector, const json_t *obj)
{
	AUTO_FREE char *copy = selector ? strdup(selector) : NULL;
	char *at = copy, *term;

	while ((term = kselect_next(&at))) {
		char *op = strchr(term, '=');
		const char *have;
		bool negative;

		if (!op)
			return false;
		negative = op > term && op[-1] == '!';
		op[negative ? -1 : 0] = '\0';
		op += op[1] == '=' ? 2 : 1;
		have = json_str_or(obj, kselect_trim(term), "");
		if ((strcmp(have, op) == 0) == negative)
			return false;
	}
	return true;
}

bool kselect_object(const json_t *selector, const json_t *labels)
{
	const char *key;
	json_t *v;
	size_t i;

	json_object_foreach(json_object_get(selector, "matchLabels"), key, v)
		if (!json_equal(v, json_object_get(labels, key)))
			return false;
	json_array_foreach(json_object_get(selector, "matchExpressions"), i, v) {
		const char *op = json_str_or(v, "operator", "");
		json_t *have = json_object_get(labels, json_str_or(v, "key", "")), *one;
		bool in = false;
		size_t n;

		json_array_foreach(json_object_get(v, "values"), n, one)
			in = in || json_equal(one, have);
		if ((strcmp(op, "Exists") == 0 && !have) || (strcmp(op, "DoesNotExist") == 0 && have) ||
		    (strcmp(op, "In") == 0 && !in) || (strcmp(op, "NotIn") == 0 && in))
			return false;
	}
	return true;
}
