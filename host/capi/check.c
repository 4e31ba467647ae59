/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/check.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name, *what;
} checks[] = {
#define X(id, name, what) {name, what},
	CHECKS(X)
#undef X
};

const char *check_name(enum check_id id)
{
	return checks[id].name;
}

const char *check_what(enum check_id id)
{
	return checks[id].what;
}

static json_t *record_of(const json_t *records, enum check_id id)
{
	size_t i;
	json_t *r;

	json_array_foreach (records, i, r)
		if (strcmp(json_str(r, "check"), checks[id].name) == 0)
			return r;
	return NULL;
}

static json_t *new_record(json_t *records, enum check_id id, const char *state)
{
	json_t *r = json_pack("{s:s,s:s,s:s}", "check", checks[id].name, "state", state, "what",
			      checks[id].what);

	json_array_append_new(records, r);
	return r;
}

void check_ok(json_t *records, enum check_id id)
{
	if (!record_of(records, id))
		new_record(records, id, "ok");
}

void check_later(json_t *records, enum check_id id)
{
	if (!record_of(records, id))
		new_record(records, id, "later");
}

void check_fail(json_t *records, enum check_id id, bool passes, const char *remedy,
		const char *expected, const char *seen, ...)
{
	char text[512];
	va_list ap;
	json_t *r;

	if (record_of(records, id))
		return;
	va_start(ap, seen);
	vsnprintf(text, sizeof(text), seen, ap);
	va_end(ap);
	r = new_record(records, id, passes ? "waiting" : "failed");
	json_put_str(r, "seen", text);
	json_object_set_new(r, "expected", json_string(expected));
	json_object_set_new(r, "remedy", json_string(remedy));
}

void check_complete(json_t *records)
{
	AUTO_JSON json_t *found = json_copy(records);

	json_array_clear(records);
	for (int id = 0; id < CHECK_COUNT; id++) {
		json_t *r = record_of(found, (enum check_id)id);

		if (r)
			json_array_append(records, r);
		else
			check_later(records, (enum check_id)id);
	}
}

bool check_failed(const json_t *records, enum check_id id)
{
	const char *state = json_str_or(record_of(records, id), "state", "");

	return strcmp(state, "failed") == 0 || strcmp(state, "waiting") == 0;
}

/* One that does not pass by itself comes before one that does. */
int check_first_failure(const json_t *records, struct pcg_error *err)
{
	static const char *const states[] = {"failed", "waiting"};
	size_t i;
	json_t *r;

	for (size_t s = 0; s < ARRAY_LEN(states); s++)
		json_array_foreach (records, i, r)
			if (strcmp(json_str(r, "state"), states[s]) == 0)
				return pcg_fail(err,
						s ? PCG_CLASS_RETRY : PCG_CLASS_PERMANENT,
						json_str_or(r, "remedy", ""),
						"check %s before the hand-over: %s; expected: %s",
						json_str(r, "check"), json_str_or(r, "seen", ""),
						json_str_or(r, "expected", ""));
	return 0;
}
