/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pick lists: images and sizes, which never change, and machines, which the cloud answers all at once. A page begins at
 * the number that stands in "continue": nothing is kept between two. */

#define LIMIT 200
#define LIMIT_MAX 1000

static json_t *fixed(const char *kind)
{
	if (strcmp(kind, "kinds") == 0)
		return json_pack("[{s:s, s:s, s:s, s:s, s:[s]}, {s:s, s:s, s:s, s:s, s:[s]}, {s:s, s:s, s:s, s:s, s:[s]}]", "name",
				 "images", "id", "images", "path", "", "text", "images of machines", "filters", "name", "name", "sizes",
				 "id", "sizes", "path", "", "text", "sizes of machines", "filters", "name", "name", "machines", "id",
				 "machines", "path", "", "text", "machines that there are", "filters", "name");
	if (strcmp(kind, "images") == 0)
		return json_pack("[{s:s, s:s, s:s}]", "name", "simulated", "id", "simulated", "path", "simulated");
	if (strcmp(kind, "sizes") == 0)
		return json_pack("[{s:s, s:s, s:s}, {s:s, s:s, s:s}]", "name", "small", "id", "2-4096", "path", "small", "name",
				 "large", "id", "8-16384", "path", "large");
	return NULL;
}

/* NULL after an answer. */
static json_t *machines(struct sim *s, struct pcg_call *call)
{
	json_t *reply, *items, *m;
	int status;
	size_t i;

	if (!sim_http(s, call, "GET", "/v1/machines", NULL, &status, &reply))
		return NULL;
	if (status != 200) {
		sim_refused(s, call, "the list of machines", status, reply);
		json_decref(reply);
		return NULL;
	}
	items = json_array();
	json_array_foreach(json_object_get(reply, "items"), i, m)
		json_array_append_new(items, json_pack("{s:s, s:s, s:s}", "name", sim_str(m, "name") ?: "", "id",
						       sim_str(m, "uid") ?: "", "path", sim_str(m, "name") ?: ""));
	json_decref(reply);
	return items;
}

static const char *wrong_filter(const json_t *filter)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)filter, name, value)
		if (strcmp(name, "name") != 0 || !json_is_string(value))
			return name;
	return NULL;
}

static void answer(struct sim *s, struct pcg_call *call, const json_t *doc, const json_t *all)
{
	const char *from = sim_str(doc, "continue"), *part = sim_at(doc, "filter", "name");
	size_t at = from ? strtoul(from, NULL, 10) : 0;
	json_int_t limit = json_integer_value(json_object_get(doc, "limit"));
	json_t *items = json_array(), *item;
	char next[24] = "";

	limit = limit < 1 ? LIMIT : limit > LIMIT_MAX ? LIMIT_MAX : limit;
	for (; at < json_array_size(all) && (json_int_t)json_array_size(items) < limit; at++) {
		item = json_array_get(all, at);
		if (!part || strcasestr(sim_str(item, "name") ?: "", part))
			json_array_append(items, item);
	}
	if (at < json_array_size(all))
		snprintf(next, sizeof(next), "%zu", at);
	sim_done(s, call, json_pack("{s:o, s:s}", "items", items, "continue", next));
}

void sim_pick_list(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *all;
	const char *kind, *wrong;
	char why[256];

	if (!doc)
		return;
	kind = sim_str(doc, "kind") ?: "";
	wrong = wrong_filter(json_object_get(doc, "filter"));
	all = wrong ? NULL : fixed(kind);
	if (wrong) {
		snprintf(why, sizeof(why), "the list of %s has no filter \"%.40s\"; it has name", kind, wrong);
		s->svc->error(call, PCG_ERR_PERMANENT, why, "Leave it out, or filter by one of those.");
	} else if (all || strcmp(kind, "machines") == 0) {
		all = all ? all : machines(s, call);
		if (all)
			answer(s, call, doc, all);
	} else {
		snprintf(why, sizeof(why), "the simulated cloud has no list of \"%.60s\"; it has images, sizes, machines", kind);
		s->svc->error(call, PCG_ERR_NOT_FOUND, why, "Ask for one of those.");
	}
	json_decref(all);
	json_decref(doc);
}
