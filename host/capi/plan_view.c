/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/plan_view.h"
#include "host/capi/graph.h"
#include "host/capi/path.h"
#include "core/buf.h"

#include <string.h>

static json_t *length_of(const json_t *v)
{
	return json_sprintf("(%zu bytes, not shown)", json_string_length(v));
}

static void mask_values(json_t *object)
{
	const char *key;
	json_t *v;

	json_object_foreach (object, key, v)
		json_object_set_new(object, key, length_of(v));
}

static void mask_items(json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_is_string(json_array_get(list, i)))
			json_array_set_new(list, i, length_of(json_array_get(list, i)));
}

/* A profile may hide anything in what its nodes run and hold. */
static bool is_hidden(const char *key)
{
	static const char *const keys[] = {"content", "passwd", "password", "token", "bootCommands",
					   "preKubeadmCommands", "postKubeadmCommands"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (strcmp(keys[i], key) == 0)
			return true;
	return false;
}

static void mask(json_t *v)
{
	size_t i;
	json_t *item;
	const char *key;

	json_array_foreach (v, i, item)
		mask(item);
	json_object_foreach (v, key, item) {
		if (is_hidden(key) && json_is_string(item))
			json_object_set_new(v, key, length_of(item));
		else if (is_hidden(key) && json_is_array(item))
			mask_items(item);
		else
			mask(item);
	}
}

static json_t *manifest(const json_t *object)
{
	json_t *copy = json_deep_copy(object);

	if (strcmp(json_str_or(copy, "kind", ""), "Secret") == 0) {
		mask_values(json_object_get(copy, "data"));
		mask_values(json_object_get(copy, "stringData"));
	} else {
		mask(json_object_get(copy, "spec"));
	}
	return copy;
}

static json_t *shown_owner(const json_t *owner)
{
	return json_is_object(owner) ? json_sprintf("%s/%s", json_str_or(owner, "kind", "?"),
						    json_str_or(owner, "name", "?"))
				     : json_null();
}

json_t *plan_view(const json_t *plan)
{
	static const char *const names[] = {
		"namespace",		     "before the cluster",  "cluster, paused",
		"of the cluster",	     "of the control plane", "of a machine",
		"last",
	};
	json_t *groups = json_array(), *objects = NULL, *entry;
	json_int_t last = -1;
	size_t i;

	json_array_foreach (json_object_get(plan, "objects"), i, entry) {
		const json_t *object = json_object_get(entry, "object");
		json_int_t group = json_int_or(entry, "group", 0);
		AUTO_FREE char *label = path_label(object);

		if (group != last) {
			objects = json_array();
			json_array_append_new(
				groups,
				json_pack("{s:s,s:o}", "group",
					  (size_t)group < ARRAY_LEN(names) ? names[group] : "",
					  "objects", objects));
			last = group;
		}
		json_array_append_new(
			objects, json_pack("{s:s,s:o,s:b,s:o}", "object", label, "owner",
					   shown_owner(json_object_get(entry, "owner")), "status",
					   json_is_object(json_object_get(entry, "status")),
					   "manifest", manifest(object)));
	}
	return groups;
}

static json_t *texts(const char *const *list, size_t n)
{
	json_t *out = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(out, json_string(list[i]));
	return out;
}

json_t *plan_steps(void)
{
	static const char *const steps[] = {
		"check: by reads and dry runs alone",
		"write: group by group, objects of one group at the same time; owners by the uids that "
		"the cluster answered; status while everything is paused",
		"read back: every object is compared, owners included, until nothing differs",
		"keep: the plane keeps the snapshot",
		"commit: one PATCH of the Cluster that its resourceVersion guards: authority is the "
		"cluster's, paused goes",
	};

	return texts(steps, ARRAY_LEN(steps));
}

json_t *plan_take_back_steps(void)
{
	static const char *const steps[] = {
		"check: the authority that stands in the Cluster is not newer than ours",
		"take: one PATCH of the Cluster that its resourceVersion guards: authority is the "
		"gateway's with a higher epoch, paused",
		"wait: until the controllers have seen the pause, 30 s at most",
		"stop: Deployments of providers are scaled to 0, until no pod of them is left",
		NULL,
		"release: Services of type LoadBalancer and volumes that are not kept are removed, as "
		"policy says",
		"delete: workers, control plane, place, until the inventory finds nothing; machines that "
		"the controllers made included",
		"by force, when the API does not answer in time: control-plane machines are powered off "
		"first, then everything with the cluster's mark is deleted",
	};
	json_t *out = json_array();
	struct buf read;
	AUTO_JSON json_t *kinds = graph_core_kinds();
	size_t i;
	json_t *k;

	buf_init(&read, 4096);
	buf_adds(&read, "read: every");
	json_array_foreach (kinds, i, k)
		buf_addf(&read, "%s %s", i ? "," : "", json_string_value(k));
	buf_adds(&read, " of the cluster, and the infrastructure's kinds that they refer to");
	for (i = 0; i < ARRAY_LEN(steps); i++)
		json_array_append_new(out, json_string(steps[i] ? steps[i] : read.data));
	buf_free(&read);
	return out;
}
