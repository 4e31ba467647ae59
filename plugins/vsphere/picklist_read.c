/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/picklist.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kinds of the inventory: a view of the objects, or what a compute cluster has of them, in the property collector's pages. */

bool pick_wanted(const struct pick_list *l, const char *name)
{
	const char *part = vs_str(l->filter, "name");

	return !*part || strcasestr(name, part);
}

json_t *pick_item_named(const struct pick_list *l, const struct xn *object, const char *type)
{
	const char *name = xn_text(xn_prop(object, "name"));
	struct vs_ref ref, parent;
	json_t *item;
	char *path;

	if (!xn_ref(xn_child(object, "obj"), &ref) || !pick_wanted(l, name))
		return NULL;
	xn_ref(xn_prop(object, "parent"), &parent);
	path = pick_tree_path(&l->tree, parent.value, name);
	item = json_pack("{s:s, s:s, s:s}", "name", name, "id", ref.value, "path", path);
	if (type)
		json_object_set_new(item, "type", json_string(type));
	free(path);
	return item;
}

/* Folders of machines: those that a cluster can be put in. The root of all has no parent. */
static json_t *item_folder(const struct pick_list *l, const struct xn *object)
{
	const struct xn *types = xn_prop(object, "childType");
	struct vs_ref parent, ref;

	if (!xn_ref(xn_prop(object, "parent"), &parent) || !xn_ref(xn_child(object, "obj"), &ref) ||
	    strcmp(ref.type, "Folder") != 0)
		return NULL;
	for (const struct xn *t = types ? types->child : NULL; t; t = t->next)
		if (strcmp(xn_text(t), "VirtualMachine") == 0)
			return pick_item_named(l, object, NULL);
	return NULL;
}

static json_t *item_plain(const struct pick_list *l, const struct xn *object)
{
	return pick_item_named(l, object, NULL);
}

/* What stands in item by the kind of what is behind it: numbers of the server are numbers. */
static void put_text(json_t *item, const char *key, const struct xn *value)
{
	if (item && value)
		json_object_set_new(item, key, json_string(xn_text(value)));
}

static void put_gib(json_t *item, const char *key, const struct xn *value)
{
	if (item && value)
		json_object_set_new(item, key, json_integer(strtoll(xn_text(value), NULL, 10) >> 30));
}

static void put_bool(json_t *item, const char *key, const struct xn *value)
{
	if (item && value)
		json_object_set_new(item, key, json_boolean(strcmp(xn_text(value), "true") == 0));
}

static json_t *item_host(const struct pick_list *l, const struct xn *object)
{
	json_t *item = pick_item_named(l, object, NULL);

	put_text(item, "state", xn_prop(object, "runtime.connectionState"));
	put_bool(item, "maintenance", xn_prop(object, "runtime.inMaintenanceMode"));
	return item;
}

static json_t *item_datastore(const struct pick_list *l, const struct xn *object)
{
	json_t *item = pick_item_named(l, object, NULL);

	put_text(item, "type", xn_prop(object, "summary.type"));
	put_gib(item, "capacityGiB", xn_prop(object, "summary.capacity"));
	put_gib(item, "freeGiB", xn_prop(object, "summary.freeSpace"));
	put_bool(item, "accessible", xn_prop(object, "summary.accessible"));
	put_text(item, "maintenance", xn_prop(object, "summary.maintenanceMode"));
	return item;
}

static json_t *item_network(const struct pick_list *l, const struct xn *object)
{
	const struct xn *tags = xn_prop(object, "tag");
	struct vs_ref ref;

	if (!xn_ref(xn_child(object, "obj"), &ref))
		return NULL;
	/* The port group of a switch's uplinks is nothing for machines. (config.uplink says so too, but not in 7.0.) */
	for (const struct xn *t = tags ? tags->child : NULL; t; t = t->next)
		if (strcmp(xn_get(t, "key"), "SYSTEM/DVS.UPLINKPG") == 0)
			return NULL;
	return pick_item_named(l, object, strcmp(ref.type, "DistributedVirtualPortgroup") == 0 ? "distributed" :
			       strcmp(ref.type, "OpaqueNetwork") == 0 ? "opaque" : "standard");
}

static json_t *item_template(const struct pick_list *l, const struct xn *object)
{
	json_t *item = strcmp(xn_text(xn_prop(object, "config.template")), "true") == 0 ? pick_item_named(l, object, NULL) : NULL;
	struct vs_ref snapshot;

	put_text(item, "guestId", xn_prop(object, "config.guestId"));
	put_text(item, "hardwareVersion", xn_prop(object, "config.version"));
	if (item)
		json_object_set_new(item, "snapshot", json_boolean(xn_ref(xn_prop(object, "snapshot.currentSnapshot"), &snapshot)));
	return item;
}

const struct pick_kind pick_kinds[] = {
	{ .name = "datacenters", .doc = "datacenters", .types = { "Datacenter" }, .item = item_plain },
	{ .name = "folders", .doc = "folders for machines", .filters = { "datacenter" }, .types = { "Folder" },
	  .props = { "childType" }, .item = item_folder },
	{ .name = "clusters", .doc = "compute clusters", .filters = { "datacenter" }, .types = { "ComputeResource" },
	  .item = item_plain },
	{ .name = "resourcePools", .doc = "resource pools", .filters = { "datacenter", "cluster" }, .types = { "ResourcePool" },
	  .item = item_plain },
	{ .name = "hosts", .doc = "hosts, with their state", .filters = { "datacenter", "cluster" }, .types = { "HostSystem" },
	  .props = { "runtime.connectionState", "runtime.inMaintenanceMode" }, .item = item_host },
	{ .name = "datastores", .doc = "datastores, with their space", .filters = { "datacenter", "cluster" },
	  .types = { "Datastore" }, .of_cluster = "datastore",
	  .props = { "summary.type", "summary.capacity", "summary.freeSpace", "summary.accessible", "summary.maintenanceMode" },
	  .item = item_datastore },
	{ .name = "datastoreClusters", .doc = "datastore clusters, with their space", .filters = { "datacenter" },
	  .types = { "StoragePod" }, .props = { "summary.capacity", "summary.freeSpace" }, .item = item_datastore },
	{ .name = "networks", .doc = "networks: standard, distributed, opaque", .filters = { "datacenter", "cluster" },
	  .types = { "Network", "DistributedVirtualPortgroup", "OpaqueNetwork" }, .of_cluster = "network", .props = { "tag" },
	  .item = item_network },
	{ .name = "templates", .doc = "templates, with their snapshot", .filters = { "datacenter" }, .types = { "VirtualMachine" },
	  .props = { "config.template", "config.guestId", "config.version", "snapshot.currentSnapshot" }, .item = item_template },
	{ .name = "contentLibraryItems", .doc = "items of content libraries that machines can be made of", .filters = { "library" },
	  .begin = pick_library_begin, .look = pick_library_look },
	{ .name = "storagePolicies", .doc = "storage policies", .begin = pick_policies_begin, .look = pick_policies_look },
	{ .name = "tags", .doc = "tags, with their category", .filters = { "category" }, .begin = pick_tags_begin,
	  .look = pick_tags_look },
	{ .name = NULL },
};

const struct pick_kind *pick_kind(const char *name)
{
	for (const struct pick_kind *k = pick_kinds; k->name; k++)
		if (strcmp(k->name, name) == 0)
			return k;
	return NULL;
}

/* What the filter names. */
static int find_within(struct pick_list *l, struct vs_err *err)
{
	const char *dc = vs_str(l->filter, "datacenter"), *cluster = vs_str(l->filter, "cluster");
	const struct pick_place *place = NULL;

	if (*dc && !(place = pick_tree_find(&l->tree, 'D', "datacenter", dc, NULL, err)))
		return -1;
	if (*cluster && !(place = pick_tree_find(&l->tree, 'C', "compute cluster", cluster, place, err)))
		return -1;
	if (place) {
		l->within_type = place->type;
		snprintf(l->within.type, sizeof(l->within.type), "%s", place->kind);
		snprintf(l->within.value, sizeof(l->within.value), "%s", place->id);
	}
	return 0;
}

static bool through_cluster(const struct pick_list *l)
{
	return l->kind->of_cluster && l->within_type == 'C';
}

static int view_make(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	int r;

	if (vs_session_open(&v->session, call, &l->generation, err))
		return -1;
	soap_begin(&s, "CreateContainerView", &v->session.views);
	soap_ref(&s, "container", l->within.value[0] ? &l->within : &v->session.root);
	for (size_t i = 0; i < 3 && l->kind->types[i]; i++)
		soap_text(&s, "type", l->kind->types[i]);
	soap_bool(&s, "recursive", true);
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, 0, 0, 0, &reply, err))
		return -1;
	r = vs_returned(reply, "CreateContainerView", true, &l->view, err);
	xn_free(reply);
	pthread_mutex_lock(&v->session.lock);
	l->generation = v->session.generation;
	pthread_mutex_unlock(&v->session.lock);
	return r;
}

int pick_read_begin(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err)
{
	if (pick_tree_read(v, call, strcmp(l->kind->name, "resourcePools") == 0, &l->tree, err) || find_within(l, err))
		return -1;
	if (through_cluster(l))
		return vs_session_open(&v->session, call, &l->generation, err);
	return view_make(v, call, l, err);
}

static void write_spec(struct soap *s, const struct pick_list *l)
{
	const struct pick_kind *k = l->kind;

	soap_open(s, "specSet");
	for (size_t i = 0; i < 3 && k->types[i]; i++) {
		soap_open(s, "propSet");
		soap_text(s, "type", k->types[i]);
		soap_text(s, "pathSet", "name");
		soap_text(s, "pathSet", "parent");
		for (size_t n = 0; n < 6 && k->props[n]; n++)
			soap_text(s, "pathSet", k->props[n]);
		soap_close(s);
	}
	soap_open(s, "objectSet");
	soap_ref(s, "obj", through_cluster(l) ? &l->within : &l->view);
	soap_bool(s, "skip", true);
	soap_open_type(s, "selectSet", "TraversalSpec");
	soap_text(s, "type", through_cluster(l) ? "ComputeResource" : "ContainerView");
	soap_text(s, "path", through_cluster(l) ? k->of_cluster : "view");
	soap_bool(s, "skip", false);
	soap_close(s);
	soap_close(s);
	soap_close(s);
}

struct page {
	const struct pick_list *l;
	json_t *items;
};

static void on_object(void *arg, const struct xn *object)
{
	struct page *p = arg;
	json_t *item = xn_prop(object, "name") ? p->l->kind->item(p->l, object) : NULL;

	if (item)
		json_array_append_new(p->items, item);
}

int pick_read(struct vsphere *v, struct pcg_call *call, struct pick_list *l, json_t *items, struct vs_err *err)
{
	struct page page = { l, items };
	struct soap s;

	if (l->read)
		return vs_retrieve_next(&v->session, call, l->generation, on_object, &page, l->token, err);
	l->read = true;
	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	write_spec(&s, l);
	return vs_retrieve_first(&v->session, call, &s, VS_SESSION, &l->generation, l->max_objects, on_object, &page, l->token,
				 err);
}

static void give_back(struct vsphere *v, struct pcg_call *call, struct soap *s, unsigned generation)
{
	struct xn *reply;
	struct vs_err err;

	soap_finish(s);
	vs_call(&v->session, call, s, VS_SESSION, generation, 5000, &reply, &err);
	xn_free(reply);
}

/* Went with the session, if that is over. */
void pick_read_end(struct vsphere *v, struct pcg_call *call, struct pick_list *l)
{
	struct soap s;

	if (*l->token && vs_session_current(&v->session, l->generation)) {
		soap_begin(&s, "CancelRetrievePropertiesEx", &v->session.collector);
		soap_text(&s, "token", l->token);
		give_back(v, call, &s, l->generation);
	}
	if (l->view.value[0] && vs_session_current(&v->session, l->generation)) {
		soap_begin(&s, "DestroyView", &l->view);
		give_back(v, call, &s, l->generation);
	}
	pick_tree_free(&l->tree);
}
