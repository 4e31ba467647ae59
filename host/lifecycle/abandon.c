/* SPDX-License-Identifier: Apache-2.0 */
/* What an abandoned delete leaves in an infrastructure that cannot be asked, by all that is known here. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include <string.h>

static void add_machine(json_t *left, const json_t *observed, const char *uid, const char *name,
			const char *why)
{
	json_array_append_new(left, json_pack("{s:s,s:s,s:s,s:O*,s:O*}", "id",
					      json_str_or(observed, "id", uid), "name", name, "why", why,
					      "providerID", json_object_get(observed, "providerID"),
					      "addresses", json_object_get(observed, "addresses")));
}

static void add_machines(const struct cluster *c, json_t *left, const char *why)
{
	size_t i;
	json_t *item;

	for (const struct machine *m = c->machines; m; m = m->next)
		if (strcmp(m->state, MACHINE_GONE))
			add_machine(left, m->observed, m->uid, m->name, why);
	/* Those that the cluster's own controllers have made. */
	json_array_foreach(json_object_get(c->state, "seen"), i, item) {
		const char *uid = json_str_or(item, "machine", "");

		if (!json_str(item, "stranger") && (!*uid || !machine_find((struct cluster *)c, uid)))
			add_machine(left, item, uid, json_str_or(item, "name", ""), why);
	}
}

/* Places are what the provider says of them: {"folder":{"id",...},...}. */
static void add_places(const struct cluster *c, json_t *left, const char *why)
{
	const char *what;
	json_t *place;

	json_object_foreach(json_object_get(c->state, "infra"), what, place) {
		const char *id = json_is_string(place) ? json_string_value(place) : json_str(place, "id");

		if (id)
			json_array_append_new(left, json_pack("{s:s,s:s,s:s}", "id", id, "name",
							      json_str_or(place, "name", what), "why", why));
	}
}

void cluster_left_behind(struct cluster *c, bool places, const struct pcg_error *err)
{
	AUTO_FREE char *why = NULL, *rest = NULL;
	AUTO_JSON json_t *left = json_array();

	if (asprintf(&why, "the delete was abandoned: %s",
		     err ? err->text : "the infrastructure did not come to an end of it") < 0 ||
	    asprintf(&rest, "whatever else carries the mark of cluster %s in account %s: %s", c->uid,
		     json_str_or(c->spec, "account.name", c->account), why) < 0)
		abort();
	add_machines(c, left, why);
	if (places)
		add_places(c, left, why);
	json_array_append_new(left, json_pack("{s:s,s:s,s:s}", "id", c->uid, "name", c->name, "why", rest));
	cluster_left(c, left);
}
