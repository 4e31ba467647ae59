/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/placement_impl.h"

#include "plugins/vsphere/devices.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES 5

json_t *candidate(const char *path, const char *id)
{
	return json_pack("{s:s, s:s}", "path", path, "id", id);
}

void candidates_text(const json_t *candidates, char *out, size_t size)
{
	size_t n = json_array_size(candidates), at = 0;

	*out = 0;
	if (!n) {
		snprintf(out, size, "; there is none");
		return;
	}
	at = (size_t)snprintf(out, size, "; there %s: ", n == 1 ? "is" : "are");
	for (size_t i = 0; i < n && i < CANDIDATES && at < size; i++) {
		const json_t *one = json_array_get(candidates, i);

		at += (size_t)snprintf(out + at, size - at, "%s%s (%s)", i ? ", " : "", vs_str(one, "path"), vs_str(one, "id"));
	}
	if (n > CANDIDATES && at < size)
		snprintf(out + at, size - at, " and %zu more", n - CANDIDATES);
}

/* Of a name; NULL: of all. */
static json_t *candidates_of(const struct placement *p, enum place_kind kind, const char *within, const char *given)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->n; i++) {
		const struct place *x = &p->places[i];

		if (x->kind == kind && path_below(x->path, within) && (!given || place_is(x, given)))
			json_array_append_new(list, candidate(x->path, x->ref.value));
	}
	return list;
}

struct lookup {
	const struct placement *p;
	json_t *problems;
	const char *what, *field, *remedy;
	enum place_kind kind;
};

static void not_unique(const struct lookup *l, const char *given, const json_t *candidates)
{
	char there[700];

	candidates_text(candidates, there, sizeof(there));
	vs_problem(l->problems, l->field, "Give the whole inventory path, or the id in brackets.", "%zu %ss go by \"%s\"%s",
		   json_array_size(candidates), l->what, given, there);
}

static const struct place *look(const struct lookup *l, const char *given, const char *within)
{
	size_t count;
	const struct place *found = placement_match(l->p, l->kind, given, within, &count);
	json_t *candidates;
	char there[700];

	if (found && count == 1)
		return found;
	candidates = candidates_of(l->p, l->kind, within, count > 1 ? given : NULL);
	candidates_text(candidates, there, sizeof(there));
	if (count > 1)
		not_unique(l, given, candidates);
	else if (*given)
		vs_problem(l->problems, l->field, l->remedy, "there is no %s \"%s\" in %s%s", l->what, given,
			   *within ? within : "this vCenter", there);
	else
		vs_problem(l->problems, l->field, l->remedy, "the request names no %s%s", l->what, there);
	json_decref(candidates);
	return NULL;
}

static void set(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text);
	vs_utf8(to);
}

/* What a request names below a datacenter: how it is called there and here. */
enum named { NAMED_FOLDER, NAMED_CLUSTER, NAMED_POOL, NAMED_NETWORK, NAMED_DATASTORE, NAMED_POD };

static const struct {
	const char *what, *field, *remedy, *below; /* below: the datacenter's folder of that kind */
	enum place_kind kind;
} named[] = {
	[NAMED_FOLDER] = { "folder", "cloudConfig.placement.folder", "Make the folder in vCenter, or name one that is there.",
			   "vm", PLACE_FOLDER },
	[NAMED_CLUSTER] = { "compute cluster", "pool.cloudConfig.placements.cluster", "Name a compute cluster of the datacenter.",
			    "host", PLACE_CLUSTER },
	[NAMED_POOL] = { "resource pool", "pool.cloudConfig.placements.resourcePool",
			 "Name a resource pool of the compute cluster, or leave it out.", "host", PLACE_POOL },
	[NAMED_NETWORK] = { "network", "pool.cloudConfig.placements.network.networkName", "Name a network of the datacenter.",
			    "network", PLACE_NETWORK },
	[NAMED_DATASTORE] = { "datastore", "pool.cloudConfig.placements.datastore",
			      "Name a datastore or a datastore cluster of the datacenter, or a storage policy.", "datastore",
			      PLACE_DATASTORE },
	[NAMED_POD] = { "datastore cluster", "pool.cloudConfig.placements.datastore", "Name a datastore cluster of the datacenter.",
			"datastore", PLACE_POD },
};

/* within: NULL for all of the datacenter. A problem was told when it is NULL. */
static const struct place *look_named(const struct lookup *base, enum named n, const char *given, const char *within,
				      const struct spot *out)
{
	struct lookup l = *base;
	char all[300];

	l.what = named[n].what;
	l.field = named[n].field;
	l.remedy = named[n].remedy;
	l.kind = named[n].kind;
	snprintf(all, sizeof(all), "%s/%s", out->datacenter, named[n].below);
	return look(&l, given, within ? within : all);
}

static void find_folder(const struct lookup *l, const char *given, struct spot *out)
{
	char root[300];
	const struct place *f;
	size_t count;

	snprintf(root, sizeof(root), "%s/vm", out->datacenter);
	if (!*given || strcmp(given, "vm") == 0 || strcmp(given, root) == 0)
		f = placement_match(l->p, PLACE_FOLDER, root, "", &count);
	else
		f = look_named(l, NAMED_FOLDER, given, NULL, out);
	if (!f)
		return;
	out->folder = f->ref;
	set(out->folder_path, sizeof(out->folder_path), f->path);
}

static void find_pool(const struct lookup *l, const char *cluster, const char *given, struct spot *out)
{
	const struct place *c = look_named(l, NAMED_CLUSTER, cluster, NULL, out), *pool;

	if (!c)
		return;
	pool = *given && strcmp(given, "Resources") != 0 ? look_named(l, NAMED_POOL, given, c->path, out) :
							   placement_by_ref(l->p, &c->extra);
	if (!pool)
		return;
	out->cluster = c->ref;
	set(out->cluster_path, sizeof(out->cluster_path), c->path);
	out->pool = pool->ref;
	set(out->pool_path, sizeof(out->pool_path), pool->path);
}

/* A port group's devices name its switch (DistributedVirtualSwitchPortConnection.switchUuid). Without System.Read on the switch, which stands
 * elsewhere in the inventory, the port group does not say which one it is on, or the switch not what uuid it has. */
static void no_switch(const struct lookup *l, const struct place *network)
{
	vs_problem(l->problems, named[NAMED_NETWORK].field, "Give the account's role System.Read (as in the role Read-only) on the distributed switch "
		   "that the port group is on, or name another network.", "the user may not read the distributed switch of port group %s, "
		   "without which no machine can be connected to it", network->path);
}

/* A standard network and a port group, or segments of NSX on several switches, may have one name in one folder. */
static bool has_twin(const struct placement *p, const struct place *network)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->places[i].kind == PLACE_NETWORK && &p->places[i] != network && strcmp(p->places[i].path, network->path) == 0)
			return true;
	return false;
}

static void find_network(const struct lookup *l, const char *given, struct spot *out)
{
	const struct place *n = look_named(l, NAMED_NETWORK, given, NULL, out), *sw;
	struct spot_nic *nic;

	if (!n || out->n_nics == NICS_MAX)
		return;
	nic = &out->nics[out->n_nics++];
	nic->network = n->ref;
	nic->twin = has_twin(l->p, n);
	set(nic->path, sizeof(nic->path), n->path);
	set(nic->name, sizeof(nic->name), n->name);
	set(nic->key, sizeof(nic->key), n->key);
	set(nic->key_type, sizeof(nic->key_type), n->key_type);
	sw = placement_by_ref(l->p, &n->extra);
	if (sw)
		set(nic->switch_uuid, sizeof(nic->switch_uuid), sw->key);
	if (strcmp(n->ref.type, "DistributedVirtualPortgroup") == 0 && !nic->switch_uuid[0])
		no_switch(l, n);
}

/* A name that no datastore has may be that of a datastore cluster, as Palette has one member for both. */
static void find_datastore(const struct lookup *l, const char *given, bool policy, struct spot *out)
{
	const struct place *d;
	char all[300];
	size_t stores, pods;

	if (!*given && policy)
		return;
	snprintf(all, sizeof(all), "%s/datastore", out->datacenter);
	placement_match(l->p, PLACE_DATASTORE, given, all, &stores);
	placement_match(l->p, PLACE_POD, given, all, &pods);
	d = look_named(l, !stores && pods ? NAMED_POD : NAMED_DATASTORE, given, NULL, out);
	if (!d)
		return;
	if (d->kind == PLACE_POD)
		out->pod = d->ref;
	else
		out->datastore = d->ref;
	set(out->datastore_path, sizeof(out->datastore_path), d->path);
}

const json_t *placement_at(const json_t *pool, size_t zone)
{
	return json_array_get(json_object_get(json_object_get(pool, "cloudConfig"), "placements"), zone);
}

static void find_pool_parts(const struct lookup *l, const json_t *pool, size_t zone, const struct vs_options *o, struct spot *out)
{
	const json_t *where = placement_at(pool, zone);

	if (!where) {
		vs_problem(l->problems, "pool.cloudConfig.placements", "Give a placement: cluster, datastore, network.",
			   "pool %s says not where its machines go", vs_str(pool, "name"));
		return;
	}
	out->where = where;
	find_pool(l, vs_str(where, "cluster"), vs_str(where, "resourcePool"), out);
	find_datastore(l, vs_str(where, "datastore"), *o->policy, out);
	for (size_t i = 0; i < netdevice_count(where) && i < NICS_MAX; i++)
		find_network(l, vs_str(netdevice_network(where, i), "networkName"), out);
	netdevice_check(where, l->problems);
}

static void no_template(const struct lookup *l, const char *given, size_t count, const json_t *candidates, const struct spot *out)
{
	struct lookup of = *l;
	char there[700];

	of.field = "image.template";
	of.what = "template";
	if (count > 1) {
		not_unique(&of, given, candidates);
		return;
	}
	candidates_text(candidates, there, sizeof(there));
	if (*given)
		vs_problem(l->problems, of.field, "Import the image as a template there, or change imageTemplateFolder or "
			   "the os layer of the profile.", "there is no template \"%s\" in %s%s", given, out->datacenter, there);
	else
		vs_problem(l->problems, of.field, "Give imageTemplateFolder and an os layer, or imageTemplate of the cloud "
			   "account.", "the request names no template%s", there);
}

static int find_template(struct vsphere *v, struct pcg_call *call, const struct lookup *l, const json_t *spec,
			 const struct vs_options *o, struct spot *out, struct vs_err *err)
{
	const char *given = vs_at(spec, "image", "template");
	const struct template *t = NULL;
	json_t *candidates;
	size_t count = 0;
	int r;

	if (!*given)
		given = vs_str(vs_spec(v), "imageTemplate");
	candidates = json_array();
	r = *given ? template_find(v, call, out->datacenter, given, &t, candidates, &count, err)
		   : template_list(v, call, out->datacenter, candidates, err);
	if (!r && !t)
		no_template(l, given, count, candidates, out);
	json_decref(candidates);
	if (!t)
		return r;
	out->template = t->ref;
	out->devices = t->devices;
	out->committed = t->committed;
	set(out->template_path, sizeof(out->template_path), t->path);
	set(out->hardware, sizeof(out->hardware), t->hardware);
	if (o->linked)
		template_snapshot(t, o->snapshot, &out->snapshot, l->problems);
	disk_check(t->devices, o, t->path, l->problems);
	return 0;
}

size_t placement_zones(const json_t *pool)
{
	size_t n = json_array_size(json_object_get(json_object_get(pool, "cloudConfig"), "placements"));

	return n ? n : 1;
}

int placement_find(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const json_t *pool, size_t zone,
		   struct spot *out, json_t *problems, struct vs_err *err)
{
	const json_t *spec = json_object_get(cluster, "spec");
	const json_t *place = json_object_get(json_object_get(spec, "cloudConfig"), "placement");
	struct lookup l = { .p = v->placement, .problems = problems, .what = "datacenter",
			    .field = "cloudConfig.placement.datacenter", .kind = PLACE_DATACENTER,
			    .remedy = "Name a datacenter of this vCenter." };
	const struct place *dc;
	struct vs_options o;
	int r;

	memset(out, 0, sizeof(*out));
	options_read(v, cluster, pool, placement_at(pool, zone), &o, problems);
	pthread_mutex_lock(&v->placement->lock);
	r = placement_read(v, call, err);
	dc = r ? NULL : look(&l, vs_str(place, "datacenter"), "");
	if (dc) {
		out->dc = dc->ref;
		set(out->datacenter, sizeof(out->datacenter), dc->path);
		find_folder(&l, vs_str(place, "folder"), out);
		if (pool)
			find_pool_parts(&l, pool, zone, &o, out);
		r = find_template(v, call, &l, spec, &o, out, err);
	}
	pthread_mutex_unlock(&v->placement->lock);
	return r;
}

int placement_child(struct vsphere *v, struct pcg_call *call, const struct vs_ref *parent, const char *name,
		    struct vs_ref *found, struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	int r;

	memset(found, 0, sizeof(*found));
	soap_begin(&s, "FindChild", &v->session.search);
	soap_ref(&s, "entity", parent);
	soap_text(&s, "name", name);
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, 0, 0, 0, &reply, err))
		return -1;
	r = vs_returned(reply, "FindChild", false, found, err);
	xn_free(reply);
	return r;
}
