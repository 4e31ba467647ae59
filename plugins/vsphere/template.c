/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/placement_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Templates: found by path, since a listing would read every machine of the datacenter; only when the
 * path leads nowhere the templates are listed. A template's devices stay as long as the plugin. */

#define KEPT_MS 300000u

struct template_read {
	struct xn *devices;
	struct vs_ref snapshot;
	bool seen;
};

static struct xn *steal_devices(const struct xn *object)
{
	struct xn *val = (struct xn *)(uintptr_t)xn_prop(object, "config.hardware.device"), *copy;

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
	struct template_read *r = arg;

	r->seen = true;
	xn_free(r->devices);
	r->devices = steal_devices(object);
	xn_ref(xn_prop(object, "snapshot.currentSnapshot"), &r->snapshot);
}

static int template_read(struct vsphere *v, struct pcg_call *call, const struct vs_ref *ref, struct template_read *r,
			 struct vs_err *err)
{
	struct soap s;

	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	soap_open(&s, "specSet");
	soap_open(&s, "propSet");
	soap_text(&s, "type", "VirtualMachine");
	soap_text(&s, "pathSet", "config.hardware.device");
	soap_text(&s, "pathSet", "snapshot.currentSnapshot");
	soap_close(&s);
	soap_open(&s, "objectSet");
	soap_ref(&s, "obj", ref);
	soap_bool(&s, "skip", false);
	soap_close(&s);
	soap_close(&s);
	return vs_retrieve(&v->session, call, &s, 0, 0, on_template, r, err);
}

static int find_path(struct vsphere *v, struct pcg_call *call, const char *path, struct vs_ref *ref, struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	unsigned generation;

	if (vs_session_open(&v->session, call, &generation, err))
		return -1;
	soap_begin(&s, "FindByInventoryPath", &v->session.search);
	soap_text(&s, "inventoryPath", path);
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, 0, 0, 0, &reply, err))
		return -1;
	xn_ref(xn_child(vs_result(reply), "returnval"), ref);
	xn_free(reply);
	if (strcmp(ref->type, "VirtualMachine") != 0)
		memset(ref, 0, sizeof(*ref));
	return 0;
}

struct listing {
	const struct placement *placement;
	json_t *paths;
};

static void on_listed(void *arg, const struct xn *object)
{
	struct listing *l = arg;
	const struct place *parent;
	struct vs_ref ref;
	char path[1024];

	if (strcmp(xn_text(xn_prop(object, "config.template")), "true") != 0 || !xn_ref(xn_prop(object, "parent"), &ref))
		return;
	parent = placement_by_ref(l->placement, &ref);
	snprintf(path, sizeof(path), "%s/%s", parent ? parent->path : "", xn_text(xn_prop(object, "name")));
	json_array_append_new(l->paths, json_string(path));
}

int template_list(struct vsphere *v, struct pcg_call *call, const char *datacenter_path, json_t *paths, struct vs_err *err)
{
	struct listing l = { v->placement, paths };
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

static const char *listed_match(const json_t *paths, const char *given)
{
	const char *found = NULL;
	size_t i;
	json_t *p;

	json_array_foreach(paths, i, p) {
		if (!path_is(json_string_value(p), given))
			continue;
		if (found)
			return NULL;
		found = json_string_value(p);
	}
	return found;
}

static int template_add(struct vsphere *v, struct pcg_call *call, const char *path, const struct vs_ref *ref,
			const struct template **out, struct vs_err *err)
{
	struct template_read r = { .seen = false };
	struct template *t;

	if (template_read(v, call, ref, &r, err)) {
		xn_free(r.devices);
		return -1;
	}
	if (!r.devices) {
		vs_fail(err, PCG_ERR_RETRY, "Check that the account's role may read the template.",
			"the devices of template %s cannot be read", path);
		return -1;
	}
	t = calloc(1, sizeof(*t));
	assert(t);
	t->path = strdup(path);
	t->ref = *ref;
	t->snapshot = r.snapshot;
	t->devices = r.devices;
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
		if (strcmp(t->path, path) == 0)
			return t->at && v->svc->mono_ms(v->host) - t->at < KEPT_MS ? t : NULL;
	return NULL;
}

int template_find(struct vsphere *v, struct pcg_call *call, const char *datacenter_path, const char *given,
		  const struct template **out, json_t *candidates, struct vs_err *err)
{
	char path[1024];
	struct vs_ref ref = { "", "" };
	const char *match;
	int r;

	if (*given == '/')
		snprintf(path, sizeof(path), "%s", given);
	else
		snprintf(path, sizeof(path), "%s/vm/%s", datacenter_path, given);
	*out = kept(v, path);
	if (*out)
		return 0;
	r = find_path(v, call, path, &ref, err);
	if (r || ref.value[0])
		return r ? r : template_add(v, call, path, &ref, out, err);
	r = template_list(v, call, datacenter_path, candidates, err);
	match = r ? NULL : listed_match(candidates, given);
	if (!match)
		return r;
	snprintf(path, sizeof(path), "%s", match);
	*out = kept(v, path);
	if (*out)
		return 0;
	r = find_path(v, call, path, &ref, err);
	return r || !ref.value[0] ? r : template_add(v, call, path, &ref, out, err);
}

void template_free_all(struct placement *p)
{
	while (p->templates) {
		struct template *t = p->templates;

		p->templates = t->next;
		xn_free(t->devices);
		free(t->path);
		free(t);
	}
}
