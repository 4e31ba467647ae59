/* SPDX-License-Identifier: Apache-2.0 */
/* A bundle folder as the gateway would install it; asks no gateway. */
#include "config.h"

#include "ctl/ctl.h"

#include "core/table.h"
#include "host/capi/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void print_table(const json_t *items)
{
	static const char *const columns[] = { "COMPONENT", "VERSION", "FILE" };
	struct table *t = table_new(columns, ARRAY_LEN(columns));
	size_t i;
	json_t *o;

	json_array_foreach(items, i, o)
		table_row(t, (const char *[]){ json_str_or(o, "component", ""),
					       json_bool_or(o, "missing", false) ?
						       json_bool_or(o, "optional", false) ? "-" : "missing" :
						       json_str_or(o, "version", ""),
					       json_str_or(o, "note", json_str_or(o, "file", "")) });
	table_print(t, stdout);
	table_free(t);
}

static void print_contents(const json_t *o)
{
	size_t i;
	json_t *v;

	if (!json_array_size(json_object_get(o, "images")) &&
	    !json_array_size(json_object_get(o, "variables")))
		return;
	printf("\n%s\n", json_str_or(o, "component", ""));
	json_array_foreach(json_object_get(o, "images"), i, v)
		printf("  image     %s\n", show_text(json_string_value(v)));
	json_array_foreach(json_object_get(o, "variables"), i, v)
		printf("  variable  %s%s%s\n", show_text(json_str_or(v, "name", "")),
		       json_str(v, "default") ? " = " : ", no default",
		       show_text(json_str_or(v, "default", "")));
}

/* Else each file of it would be told to be missing. */
static int folder_check(const char *dir, struct pcg_error *err)
{
	DIR *d = opendir(dir);

	if (!d)
		return pcg_fail(err, errno == ENOENT ? PCG_CLASS_NOT_FOUND : PCG_CLASS_PERMANENT,
				"give the folder that bundle_dir names in pcgd.conf", "%s: %s", dir,
				strerror(errno));
	closedir(d);
	return 0;
}

int bundle_print(const struct ctl *c, const char *dir)
{
	AUTO_JSON json_t *shown = NULL;
	int status = CTL_DONE;
	struct pcg_error err;
	size_t i;
	json_t *o;

	if (folder_check(dir, &err))
		return ctl_complain(&err);
	shown = bundle_show(dir);
	if (c->json)
		show_json(shown);
	else
		print_table(json_object_get(shown, "items"));
	json_array_foreach(json_object_get(shown, "items"), i, o) {
		if (!c->json)
			print_contents(o);
		if (!json_str(o, "cause"))
			continue;
		fprintf(stderr, "pcgctl: %s\n  what to do: %s\n", show_text(json_str(o, "cause")),
			show_text(json_str_or(o, "remedy", "")));
		status = CTL_FAILED;
	}
	return status;
}
