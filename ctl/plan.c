/* SPDX-License-Identifier: Apache-2.0 */
/* A hand-over on paper. */
#include "config.h"

#include "ctl/ctl.h"

#include "core/table.h"

#include <stdio.h>
#include <string.h>

static void print_objects(const json_t *groups)
{
	static const char *const columns[] = { "GROUP", "OBJECT", "OWNER", "STATUS" };
	struct table *t = table_new(columns, ARRAY_LEN(columns));
	json_t *g, *o;
	size_t i, k;

	json_array_foreach(groups, i, g)
		json_array_foreach(json_object_get(g, "objects"), k, o)
			table_row(t, (const char *[]){ k ? "" : json_str_or(g, "group", ""),
						       json_str_or(o, "object", ""),
						       json_str_or(o, "owner", ""),
						       json_bool_or(o, "status", false) ? "written" :
											  "" });
	table_print(t, stdout);
	table_free(t);
}

static void print_check(const json_t *r)
{
	const char *state = json_str_or(r, "state", "");

	printf("  %-7s  %-13s  %s\n", state, json_str_or(r, "check", ""),
	       show_text(json_str_or(r, "what", "")));
	if (!json_str(r, "seen"))
		return;
	printf("           seen:         %s\n", show_text(json_str(r, "seen")));
	printf("           expected:     %s\n", show_text(json_str_or(r, "expected", "")));
	printf("           what to do:   %s\n", show_text(json_str_or(r, "remedy", "")));
}

static void print_texts(const char *title, const json_t *list)
{
	size_t i;
	json_t *v;

	if (!json_array_size(list))
		return;
	printf("\n%s\n", title);
	json_array_foreach(list, i, v)
		printf("  %s\n", show_text(json_string_value(v)));
}

int show_plan(const json_t *p)
{
	const json_t *checks = json_object_get(p, "checks");
	int status = CTL_DONE;
	size_t i;
	json_t *r;

	printf("%s (%s), %s: nothing is done\n", json_str_or(p, "cluster", ""),
	       json_str_or(p, "uid", ""), json_str_or(p, "phase", ""));
	if (json_array_size(json_object_get(p, "groups"))) {
		putchar('\n');
		print_objects(json_object_get(p, "groups"));
	}
	if (json_array_size(checks))
		printf("\nchecks (later: they need the cluster)\n");
	json_array_foreach(checks, i, r) {
		print_check(r);
		if (!strcmp(json_str_or(r, "state", ""), "failed"))
			status = CTL_FAILED;
	}
	print_texts("not known yet", json_object_get(p, "unknown"));
	print_texts("steps", json_object_get(p, "steps"));
	return status;
}
