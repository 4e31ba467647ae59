/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/picklist.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64
#define CANDIDATES 5

static char type_of(const char *type)
{
	size_t n = strlen(type);

	if (strcmp(type, "Datacenter") == 0)
		return 'D';
	if (strcmp(type, "StoragePod") == 0)
		return 'S';
	if (strcmp(type, "ResourcePool") == 0 || strcmp(type, "VirtualApp") == 0)
		return 'P';
	return n >= 15 && strcmp(type + n - 15, "ComputeResource") == 0 ? 'C' : 'F';
}

static void on_place(void *arg, const struct xn *object)
{
	struct pick_tree *t = arg;
	struct pick_place *p;
	struct vs_ref ref, parent;

	if (!xn_ref(xn_child(object, "obj"), &ref) || !xn_prop(object, "name"))
		return;
	if (t->n == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->places = reallocarray(t->places, t->room, sizeof(*t->places));
		assert(t->places);
	}
	p = &t->places[t->n++];
	xn_ref(xn_prop(object, "parent"), &parent);
	p->id = strdup(ref.value);
	p->parent = strdup(parent.value);
	p->name = strdup(xn_text(xn_prop(object, "name")));
	p->kind = strdup(ref.type);
	p->type = type_of(ref.type);
	assert(p->id && p->parent && p->name && p->kind);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct pick_place *)a)->id, ((const struct pick_place *)b)->id);
}

const struct pick_place *pick_tree_at(const struct pick_tree *tree, const char *id)
{
	struct pick_place key = { .id = (char *)(uintptr_t)id };

	return tree->n ? bsearch(&key, tree->places, tree->n, sizeof(*tree->places), by_id) : NULL;
}

/* Folders below folders and datacenters; compute clusters, for what is in them; pools only when they are asked for. */
static void write_spec(struct soap *s, const struct vs_ref *root, bool pools)
{
	static const char *const types[] = { "Folder", "Datacenter", "ComputeResource", "ResourcePool" };
	static const struct { const char *name, *type, *path; } walks[] = {
		{ "children", "Folder", "childEntity" }, { "hosts", "Datacenter", "hostFolder" },
		{ "stores", "Datacenter", "datastoreFolder" }, { "networks", "Datacenter", "networkFolder" },
		{ "machines", "Datacenter", "vmFolder" }, { "pool", "ComputeResource", "resourcePool" },
		{ "pools", "ResourcePool", "resourcePool" },
	};
	size_t n = sizeof(walks) / sizeof(walks[0]) - (pools ? 0 : 2);

	soap_open(s, "specSet");
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]) - !pools; i++) {
		soap_open(s, "propSet");
		soap_text(s, "type", types[i]);
		soap_text(s, "pathSet", "name");
		soap_text(s, "pathSet", "parent");
		soap_close(s);
	}
	soap_open(s, "objectSet");
	soap_ref(s, "obj", root);
	soap_bool(s, "skip", false);
	for (size_t i = 0; i < n; i++) {
		soap_open_type(s, "selectSet", "TraversalSpec");
		soap_text(s, "name", walks[i].name);
		soap_text(s, "type", walks[i].type);
		soap_text(s, "path", walks[i].path);
		soap_bool(s, "skip", false);
		for (size_t k = 0; k < n; k++) {
			soap_open(s, "selectSet");
			soap_text(s, "name", walks[k].name);
			soap_close(s);
		}
		soap_close(s);
	}
	soap_close(s);
	soap_close(s);
}

int pick_tree_read(struct vsphere *v, struct pcg_call *call, bool pools, struct pick_tree *tree, struct vs_err *err)
{
	struct soap s;
	unsigned generation;

	memset(tree, 0, sizeof(*tree));
	if (vs_session_open(&v->session, call, &generation, err))
		return -1;
	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	write_spec(&s, &v->session.root, pools);
	if (vs_retrieve(&v->session, call, &s, 0, 0, on_place, tree, err)) {
		pick_tree_free(tree);
		return -1;
	}
	if (tree->n)
		qsort(tree->places, tree->n, sizeof(*tree->places), by_id);
	return 0;
}

void pick_tree_free(struct pick_tree *tree)
{
	for (size_t i = 0; i < tree->n; i++) {
		free(tree->places[i].id);
		free(tree->places[i].parent);
		free(tree->places[i].name);
		free(tree->places[i].kind);
	}
	free(tree->places);
	memset(tree, 0, sizeof(*tree));
}

char *pick_tree_path(const struct pick_tree *tree, const char *parent, const char *name)
{
	const struct pick_place *chain[DEPTH_MAX], *p;
	size_t n = 0, len = strlen(name) + 2;
	char *path, *to;

	for (p = pick_tree_at(tree, parent); p && *p->parent && n < DEPTH_MAX; p = pick_tree_at(tree, p->parent)) {
		chain[n++] = p;
		len += strlen(p->name) + 1;
	}
	path = to = malloc(len);
	assert(path);
	while (n--) {
		*to++ = '/';
		to = stpcpy(to, chain[n]->name);
	}
	*to++ = '/';
	strcpy(to, name);
	return path;
}

static bool below(const struct pick_tree *tree, const struct pick_place *p, const struct pick_place *within)
{
	for (int depth = 0; p && depth < DEPTH_MAX; p = pick_tree_at(tree, p->parent), depth++)
		if (p == within)
			return true;
	return !within;
}

static bool is_named(const struct pick_tree *tree, const struct pick_place *p, const char *given)
{
	char *path;
	bool yes;

	if (strcmp(p->id, given) == 0 || strcmp(p->name, given) == 0)
		return true;
	if (*given != '/')
		return false;
	path = pick_tree_path(tree, p->parent, p->name);
	yes = strcmp(path, given) == 0;
	free(path);
	return yes;
}

const struct pick_place *pick_tree_find(const struct pick_tree *tree, char type, const char *what, const char *given,
					const struct pick_place *within, struct vs_err *err)
{
	const struct pick_place *found = NULL;
	size_t n = 0, all = 0, at = 0;
	char there[400] = "";

	for (size_t i = 0; i < tree->n; i++) {
		const struct pick_place *p = &tree->places[i];

		if (p->type != type || !*p->parent || !below(tree, p, within))
			continue;
		if (is_named(tree, p, given)) {
			found = p;
			n++;
		}
	}
	if (n == 1)
		return found;
	for (size_t i = 0; i < tree->n; i++) {
		const struct pick_place *p = &tree->places[i];
		char *path;

		if (p->type != type || !*p->parent || !below(tree, p, within) || (n && !is_named(tree, p, given)))
			continue;
		path = all < CANDIDATES ? pick_tree_path(tree, p->parent, p->name) : NULL;
		if (path && at < sizeof(there))
			at += (size_t)snprintf(there + at, sizeof(there) - at, "%s%s", all ? ", " : "", path);
		free(path);
		all++;
	}
	if (n)
		vs_fail(err, PCG_ERR_CONFLICT, "Give the whole inventory path.", "%zu %ss have the name \"%s\": %s", n, what, given,
			there);
	else
		vs_fail(err, PCG_ERR_NOT_FOUND, "Name one that is there.", "there is no %s \"%s\"; there %s %s%s", what, given,
			all == 1 ? "is" : "are", all ? there : "none", all > CANDIDATES ? ", and more" : "");
	return NULL;
}
