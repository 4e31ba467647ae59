/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/placement_impl.h"

#include "plugins/vsphere/task.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Templates: found by path, since a listing would read every machine of the datacenter; only when the
 * path leads nowhere the templates are listed. A template's devices stay as long as the plugin. */

#define KEPT_MS 300000u

struct template_read {
	struct xn *devices, *snapshots;
	char path[1024];          /* of the name alone until the parent is known */
	struct vs_ref parent;
	char hardware[16];
	bool is_template;
	int64_t committed;
};

static struct xn *steal(const struct xn *object, const char *path)
{
	struct xn *val = (struct xn *)(uintptr_t)xn_prop(object, path), *copy;

	if (!val)
		return NULL;
	copy = calloc(1, sizeof(*copy));
	assert(copy);
	copy->name = (char *)xmlStrdup(BAD_CAST "val");
	copy->child = val->child;
	val->child = NULL;
	return copy;
}

static void on_template(void *arg, const struct xn *object)
{
	char *name = plain_name(xn_text(xn_prop(object, "name")));
	struct template_read *r = arg;

	xn_free(r->devices);
	xn_free(r->snapshots);
	r->devices = steal(object, "config.hardware.device");
	r->snapshots = steal(object, "snapshot");
	xn_ref(xn_prop(object, "parent"), &r->parent);
	snprintf(r->path, sizeof(r->path), "%s", name);
	free(name);
	vs_utf8(r->path);
	snprintf(r->hardware, sizeof(r->hardware), "%s", xn_text(xn_prop(object, "config.version")));
	r->is_template = strcmp(xn_text(xn_prop(object, "config.template")), "true") == 0;
	r->committed = atoll(xn_text(xn_prop(object, "summary.storage.committed")));
}

static int template_read(struct vsphere *v, struct pcg_call *call, const struct vs_ref *ref, struct template_read *r,
			 struct vs_err *err)
{
	static const char *const paths[] = { "config.hardware.device", "config.version", "config.template", "snapshot", "name",
					     "parent", "summary.storage.committed" };

	return object_read(v, call, ref, paths, sizeof(paths) / sizeof(paths[0]), on_template, r, err);
}

/* By path, or by instance uuid as the vSphere controllers take one. */
static int search(struct vsphere *v, struct pcg_call *call, const char *path, const char *uuid, struct vs_ref *ref,
		  struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	unsigned generation;
	int r;

	if (vs_session_open(&v->session, call, &generation, err))
		return -1;
	soap_begin(&s, *uuid ? "FindByUuid" : "FindByInventoryPath", &v->session.search);
	if (*uuid) {
		soap_text(&s, "uuid", uuid);
		soap_bool(&s, "vmSearch", true);
		soap_bool(&s, "instanceUuid", true);
	} else {
		soap_text(&s, "inventoryPath", path);
	}
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, 0, 0, 0, &reply, err))
		return -1;
	r = vs_returned(reply, *uuid ? "FindByUuid" : "FindByInventoryPath", false, ref, err);
	xn_free(reply);
	if (strcmp(ref->type, "VirtualMachine") != 0)
		memset(ref, 0, sizeof(*ref));
	return r;
}

struct listing {
	const struct placement *placement;
	json_t *candidates;
};

static void on_listed(void *arg, const struct xn *object)
{
	struct listing *l = arg;
	const struct place *parent;
	struct vs_ref ref;
	char path[1024], *name;

	if (strcmp(xn_text(xn_prop(object, "config.template")), "true") != 0 || !xn_ref(xn_prop(object, "parent"), &ref))
		return;
	parent = placement_by_ref(l->placement, &ref);
	name = plain_name(xn_text(xn_prop(object, "name")));
	snprintf(path, sizeof(path), "%s/%s", parent ? parent->path : "", name);
	free(name);
	vs_utf8(path);
	json_array_append_new(l->candidates, candidate(path, xn_get(object, "obj")));
}

int template_list(struct vsphere *v, struct pcg_call *call, const char *datacenter_path, json_t *candidates, struct vs_err *err)
{
	struct listing l = { v->placement, candidates };
	struct soap s;
	size_t n = 0;

	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	soap_open(&s, "specSet");
	soap_open(&s, "propSet");
	soap_text(&s, "type", "VirtualMachine");
	soap_text(&s, "pathSet", "name");
	soap_text(&s, "pathSet", "parent");
	soap_text(&s, "pathSet", "config.template");
	soap_close(&s);
	for (size_t i = 0; i < v->placement->n; i++) {
		const struct place *f = &v->placement->places[i];
		char vm[512];

		snprintf(vm, sizeof(vm), "%s/vm", datacenter_path);
		if (f->kind != PLACE_FOLDER || (strcmp(f->path, vm) != 0 && !path_below(f->path, vm)))
			continue;
		soap_open(&s, "objectSet");
		soap_ref(&s, "obj", &f->ref);
		soap_bool(&s, "skip", true);
		soap_open_type(&s, "selectSet", "TraversalSpec");
		soap_text(&s, "type", "Folder");
		soap_text(&s, "path", "childEntity");
		soap_bool(&s, "skip", false);
		soap_close(&s);
		soap_close(&s);
		n++;
	}
	soap_close(&s);
	if (!n) {
		soap_free(&s);
		return 0;
	}
	return vs_retrieve(&v->session, call, &s, 0, 0, on_listed, &l, err);
}

static json_t *listed_match(const json_t *candidates, const char *given)
{
	json_t *found = json_array(), *one;
	size_t i;

	json_array_foreach(candidates, i, one)
		if (path_is(vs_str(one, "path"), given))
			json_array_append(found, one);
	return found;
}

static void template_free(struct template *t)
{
	xn_free(t->devices);
	xn_free(t->snapshots);
	free(t->path);
	free(t);
}

/* path: NULL when only the reference is known. */
static int template_add(struct vsphere *v, struct pcg_call *call, const char *path, const struct vs_ref *ref,
			const struct template **out, struct vs_err *err)
{
	struct template_read r = { .devices = NULL };
	int failed = template_read(v, call, ref, &r, err);
	const struct place *parent;
	struct template *t;

	t = calloc(1, sizeof(*t));
	assert(t);
	t->devices = r.devices;
	t->snapshots = r.snapshots;
	if (!failed && !r.devices) {
		vs_fail(err, PCG_ERR_RETRY, "Check that the account's role may read the template.",
			"the devices of template %s cannot be read", path ? path : ref->value);
		failed = -1;
	}
	if (failed) {
		template_free(t);
		return failed;
	}
	parent = placement_by_ref(v->placement, &r.parent);
	if (path)
		t->path = strdup(path);
	else if (asprintf(&t->path, "%s/%s", parent ? parent->path : "", r.path) < 0)
		abort();
	t->ref = *ref;
	snprintf(t->hardware, sizeof(t->hardware), "%s", r.hardware);
	t->committed = r.committed;
	t->is_template = r.is_template;
	t->at = v->svc->mono_ms(v->host);
	/* In front: what was found last is what counts; older ones may still be in use by a clone. */
	t->next = v->placement->templates;
	v->placement->templates = t;
	*out = t;
	return 0;
}

static const struct template *kept(const struct vsphere *v, const char *path)
{
	for (struct template *t = v->placement->templates; t; t = t->next)
		if (strcmp(t->path, path) == 0 || strcmp(t->ref.value, path) == 0)
			return t->at && v->svc->mono_ms(v->host) - t->at < KEPT_MS ? t : NULL;
	return NULL;
}

static bool is_id(const char *given)
{
	return strncmp(given, "vm-", 3) == 0 && given[3] && !given[3 + strspn(given + 3, "0123456789")];
}

static bool is_uuid(const char *given)
{
	return strlen(given) == 36 && !given[strspn(given, "0123456789abcdefABCDEF-")];
}

/* By what names exactly one: its id, its instance uuid, its path. A machine may be called like an id: then the id
 * of nothing is an error of the read, and the name is looked for. */
static int template_one(struct vsphere *v, struct pcg_call *call, const char *path, const char *given,
			const struct template **out, struct vs_err *err)
{
	struct vs_ref ref = { "VirtualMachine", "" };
	int r;

	*out = kept(v, is_id(given) ? given : path);
	if (*out)
		return 0;
	if (is_id(given)) {
		snprintf(ref.value, sizeof(ref.value), "%s", given);
		r = template_add(v, call, NULL, &ref, out, err);
		if (!r || strcmp(err->fault, "ManagedObjectNotFound") != 0)
			return r;
	}
	if (is_uuid(given)) {
		r = search(v, call, "", given, &ref, err);
		if (r || ref.value[0])
			return r ? r : template_add(v, call, NULL, &ref, out, err);
	}
	r = search(v, call, path, "", &ref, err);
	return r || !ref.value[0] ? r : template_add(v, call, path, &ref, out, err);
}

int template_find(struct vsphere *v, struct pcg_call *call, const char *datacenter_path, const char *given,
		  const struct template **out, json_t *candidates, size_t *count, struct vs_err *err)
{
	json_t *found;
	char path[1024];
	int r;

	if (*given == '/')
		snprintf(path, sizeof(path), "%s", given);
	else
		snprintf(path, sizeof(path), "%s/vm/%s", datacenter_path, given);
	r = template_one(v, call, path, given, out, err);
	*count = *out != NULL;
	if (r || *out)
		return r;
	r = template_list(v, call, datacenter_path, candidates, err);
	found = listed_match(candidates, given);
	*count = json_array_size(found);
	if (*count > 1) {
		json_array_clear(candidates);
		json_array_extend(candidates, found);
	} else if (!r && *count == 1) {
		/* By its id: a path with escaped names in it leads nowhere. */
		r = template_one(v, call, path, vs_str(json_array_get(found, 0), "id"), out, err);
	}
	json_decref(found);
	return r;
}

/* One level of VirtualMachineSnapshotTree; given may name the rest of a path. */
static size_t snapshots_of(const struct xn *tree, const char *path, const char *given, struct vs_ref *out, json_t *all)
{
	size_t n = 0;

	for (; tree; tree = tree->next) {
		char here[512];
		struct vs_ref ref;

		if (strcmp(tree->name, "rootSnapshotList") != 0 && strcmp(tree->name, "childSnapshotList") != 0)
			continue;
		snprintf(here, sizeof(here), "%s/%s", path, xn_get(tree, "name"));
		if (xn_ref(xn_child(tree, "snapshot"), &ref))
			json_array_append_new(all, candidate(here + 1, ref.value));
		if (strcmp(ref.value, given) == 0 || strcmp(here + 1, given) == 0 || strcmp(xn_get(tree, "name"), given) == 0) {
			*out = ref;
			n++;
		}
		n += snapshots_of(tree->child, here, given, out, all);
	}
	return n;
}

bool template_snapshot(const struct template *t, const char *given, struct vs_ref *out, json_t *problems)
{
	json_t *all = json_array();
	char there[700];
	size_t n;

	n = snapshots_of(t->snapshots ? t->snapshots->child : NULL, "", given, out, all);
	candidates_text(all, there, sizeof(there));
	json_decref(all);
	if (!*given)
		n = xn_ref(xn_child(t->snapshots, "currentSnapshot"), out);
	if (n == 1)
		return true;
	memset(out, 0, sizeof(*out));
	if (n > 1)
		vs_problem(problems, "cloudConfig.snapshot", "Give the path of names from the first snapshot on, or the id.",
			   "%zu snapshots of template %s go by \"%s\"%s", n, t->path, given, there);
	else if (*given)
		vs_problem(problems, "cloudConfig.snapshot", "Name a snapshot of the template, or take cloneMode fullClone.",
			   "template %s has no snapshot \"%s\" for a linked clone%s", t->path, given, there);
	else
		vs_problem(problems, "cloudConfig.cloneMode", "Make a snapshot of the template, or take cloneMode fullClone.",
			   "a linked clone needs a snapshot, and template %s has none", t->path);
	return false;
}

void template_free_all(struct placement *p)
{
	while (p->templates) {
		struct template *t = p->templates;

		p->templates = t->next;
		template_free(t);
	}
}
