/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/picklist.h"

#include "plugins/vsphere/finish.h"
#include "plugins/vsphere/pbm.h"
#include "plugins/vsphere/rest.h"

#include <stdio.h>
#include <string.h>

/*
 * What is not in the inventory. The REST API lists ids alone, all at once, and is asked for each object's name: ids
 * are kept, names are read page by page. (vSphere Automation API: com.vmware.cis.tagging, com.vmware.content.library; /rest of
 * 6.7 and /api of 7.0 U2 and newer, which rest.c tells apart.)
 */

static int get(struct vsphere *v, struct pcg_call *call, const char *service, const char *id, json_t **reply, struct vs_err *err)
{
	struct vs_rest_call what = { .method = "GET", .service = service, .id = id };

	return vs_rest(&v->session, call, &what, reply, err);
}

static json_t *item_new(const char *name, const char *group, const char *id)
{
	json_t *item = json_pack("{s:s, s:s}", "name", name, "id", id);

	json_object_set_new(item, "path", json_sprintf("%s/%s", group, name));
	return item;
}

/* Names of the groups (categories, libraries), and the ids of what is in those that the filter takes. */
static int groups_read(struct vsphere *v, struct pcg_call *call, struct pick_list *l, const char *service, const char *filter,
		       struct vs_err *err)
{
	json_t *ids, *id, *group;
	size_t i;
	int r = get(v, call, service, NULL, &ids, err);

	if (r)
		return r;
	l->groups = json_object();
	json_array_foreach(ids, i, id) {
		const char *text = json_string_value(id) ? json_string_value(id) : "", *name;

		r = get(v, call, service, text, &group, err);
		if (r && strcmp(err->fault, "NOT_FOUND") == 0)
			continue; /* removed since */
		if (r)
			break;
		name = vs_str(group, "name");
		if (!*vs_str(l->filter, filter) || strcmp(vs_str(l->filter, filter), name) == 0 ||
		    strcmp(vs_str(l->filter, filter), text) == 0)
			json_object_set_new(l->groups, text, json_string(name));
		json_decref(group);
		r = 0;
	}
	json_decref(ids);
	if (!r && *vs_str(l->filter, filter) && !json_object_size(l->groups)) {
		vs_fail(err, PCG_ERR_NOT_FOUND, "Name one that is there.", "there is no %s \"%s\"", filter, vs_str(l->filter, filter));
		r = -1;
	}
	return r;
}

/* {"id", "group"} for each of ids, which is taken. */
static void members_add(struct pick_list *l, json_t *ids, const char *group)
{
	json_t *id;
	size_t i;

	json_array_foreach(ids, i, id)
		json_array_append_new(l->ids, json_pack("{s:O, s:s}", "id", id, "group", group));
	json_decref(ids);
}

static bool gone(int r, const struct vs_err *err)
{
	return r && strcmp(err->fault, "NOT_FOUND") == 0;
}

int pick_tags_begin(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err)
{
	const char *id;
	json_t *name, *ids;
	int r = groups_read(v, call, l, "cis/tagging/category", "category", err);

	l->ids = json_array();
	json_object_foreach(l->groups, id, name) {
		if (r)
			break;
		r = tags_of(v, call, id, &ids, err);
		if (!r)
			members_add(l, ids, id);
		else if (gone(r, err))
			r = 0; /* removed since */
	}
	return r;
}

int pick_tags_look(struct vsphere *v, struct pcg_call *call, struct pick_list *l, const json_t *id, json_t **item,
		   struct vs_err *err)
{
	json_t *tag;
	int r = get(v, call, "cis/tagging/tag", vs_str(id, "id"), &tag, err);

	*item = NULL;
	if (r)
		return gone(r, err) ? 0 : r;
	if (pick_wanted(l, vs_str(tag, "name")))
		*item = item_new(vs_str(tag, "name"), vs_str(l->groups, vs_str(id, "group")), vs_str(id, "id"));
	if (*item)
		json_object_set_new(*item, "category", json_string(vs_str(l->groups, vs_str(id, "group"))));
	json_decref(tag);
	return 0;
}

int pick_library_begin(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err)
{
	struct vs_rest_call list = { .method = "GET", .service = "content/library/item" };
	const char *id;
	json_t *name, *ids;
	char query[200];
	int r = groups_read(v, call, l, "content/library", "library", err);

	l->ids = json_array();
	list.query = query;
	json_object_foreach(l->groups, id, name) {
		if (r)
			break;
		/* Ids of libraries are uuids: nothing in them needs an escape. */
		snprintf(query, sizeof(query), "library_id=%s", id);
		r = vs_rest(&v->session, call, &list, &ids, err);
		if (!r)
			members_add(l, ids, id);
	}
	return r;
}

/* An OVF or a machine's template; ISO images and other files are nothing to make a machine of. */
int pick_library_look(struct vsphere *v, struct pcg_call *call, struct pick_list *l, const json_t *id, json_t **item,
		      struct vs_err *err)
{
	json_t *found;
	const char *type;
	int r = get(v, call, "content/library/item", vs_str(id, "id"), &found, err);

	*item = NULL;
	if (r)
		return gone(r, err) ? 0 : r;
	type = vs_str(found, "type");
	if ((strcmp(type, "ovf") == 0 || strcmp(type, "vm-template") == 0) && pick_wanted(l, vs_str(found, "name"))) {
		*item = item_new(vs_str(found, "name"), vs_str(l->groups, vs_str(id, "group")), vs_str(id, "id"));
		json_object_set_new(*item, "type", json_string(type));
		json_object_set_new(*item, "library", json_string(vs_str(l->groups, vs_str(id, "group"))));
	}
	json_decref(found);
	return 0;
}

int pick_policies_begin(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err)
{
	return vs_pbm_policies(&v->session, call, &l->ids, err);
}

int pick_policies_look(struct vsphere *v, struct pcg_call *call, struct pick_list *l, const json_t *id, json_t **item,
		       struct vs_err *err)
{
	*item = NULL;
	if (!pick_wanted(l, vs_str(id, "name")))
		return 0;
	*item = json_pack("{s:s, s:s, s:s, s:s}", "name", vs_str(id, "name"), "id", vs_str(id, "id"), "path", vs_str(id, "name"),
			  "text", vs_str(id, "text"));
	return 0;
}
