/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/objects_impl.h"

#include <stdlib.h>
#include <string.h>

static json_t *zone_named(const struct export *e, const char *name)
{
	json_t *one;
	size_t i;

	json_array_foreach(e->domains, i, one)
		if (strcmp(vs_str(one, "name"), name) == 0)
			return one;
	return NULL;
}

bool export_has_zone(const struct export *e, const char *name)
{
	return zone_named(e, name) != NULL;
}

static const json_t *pool_at(const struct export *e, size_t i)
{
	return json_array_get(json_object_get(json_object_get(e->cluster, "spec"), "pools"), i);
}

/* The first of a name counts; the others are the same place. */
static void collect(struct export *e, size_t number, const json_t *pool)
{
	bool control_plane = json_is_true(json_object_get(pool, "controlPlane"));

	for (size_t zone = 0; zone < placement_zones(pool); zone++) {
		json_t *known;
		char name[256];

		zone_name(e->cluster, pool, zone, name, sizeof(name));
		known = zone_named(e, name);
		if (known && control_plane)
			json_object_set_new(known, "controlPlane", json_true());
		else if (*name && !known)
			json_array_append_new(e->domains, json_pack("{s:s, s:b, s:I, s:I}", "name", name, "controlPlane", control_plane,
								    "pool", (json_int_t)number, "placement", (json_int_t)zone));
	}
}

static void without_tags(struct export *e, const json_t *domain, const json_t *problem)
{
	json_t *fields = json_pack("{s:s, s:s, s:s}", "cluster", e->name, "failureDomain", vs_str(domain, "name"), "why",
				   vs_str(problem, "text"));
	char *text = json_dumps(fields, JSON_COMPACT);

	e->v->svc->log(e->v->host, PCG_LOG_INFO, "vsphere_no_failure_domain", text);
	free(text);
	json_decref(fields);
}

static int find_spot(struct export *e, const json_t *domain, struct spot *spot, struct vs_options *o)
{
	return clone_find(e->v, e->call, e->cluster, pool_at(e, (size_t)json_integer_value(json_object_get(domain, "pool"))),
			  (size_t)json_integer_value(json_object_get(domain, "placement")), spot, o, &e->err);
}

/* 0: it has its tags; 1: it has not, and is left out; -1: e->err. */
static int find_tags(struct export *e, json_t *domain)
{
	json_t *problems = json_array();
	const json_t *first;
	char region[256], zone[256];
	struct vs_options o;
	struct spot spot;
	int r = find_spot(e, domain, &spot, &o);

	if (!r)
		r = zone_tags(e->v, e->call, &spot, region, zone, problems, &e->err);
	first = json_array_get(problems, 0);
	if (!r && first && json_is_true(json_object_get(domain, "controlPlane"))) {
		vs_fail(&e->err, PCG_ERR_PERMANENT, vs_str(first, "remedy"), "%s", vs_str(first, "text"));
		r = -1;
	} else if (!r && first) {
		without_tags(e, domain, first);
		r = 1;
	} else if (!r) {
		json_object_set_new(domain, "region", json_string(region));
		json_object_set_new(domain, "zone", json_string(zone));
	}
	json_decref(problems);
	return r;
}

bool export_find_zones(struct export *e)
{
	const json_t *pool;

	for (size_t i = 0; (pool = pool_at(e, i)); i++)
		collect(e, i, pool);
	for (size_t i = 0; i < json_array_size(e->domains);) {
		int r = find_tags(e, json_array_get(e->domains, i));

		if (r < 0)
			return false;
		if (r)
			json_array_remove(e->domains, i);
		else
			i++;
	}
	return true;
}

json_t *export_domains(const struct export *e)
{
	json_t *list = json_array(), *one;
	size_t i;

	json_array_foreach(e->domains, i, one)
		json_array_append_new(list, json_pack("{s:O, s:O}", "name", json_object_get(one, "name"), "controlPlane",
						      json_object_get(one, "controlPlane")));
	return list;
}

static void scope_cluster(const struct export *e)
{
	json_object_set_new(json_array_get(e->objects, json_array_size(e->objects) - 1), "clusterScoped", json_true());
}

/* A failure domain says where, a deployment zone what it is for; by that one's name the controllers place a Machine. */
static bool export_zone(struct export *e, const json_t *domain)
{
	const char *name = vs_str(domain, "name");
	json_t *topology, *networks;
	struct vs_options o;
	struct spot spot;

	if (find_spot(e, domain, &spot, &o))
		return false;
	networks = json_array();
	for (size_t i = 0; i < spot.n_nics; i++)
		json_array_append_new(networks, export_network(&spot.nics[i]));
	topology = json_pack("{s:o, s:o, s:o}", "datacenter", export_path(spot.datacenter), "computeCluster",
			     export_path(spot.cluster_path), "networks", networks);
	if (!export_datastore(e, topology, &spot, &o)) {
		json_decref(topology);
		return false;
	}
	export_add(e, "extra", "", "", "",
		   export_object(e, "VSphereFailureDomain", name,
				 json_pack("{s:{s:O, s:s, s:s}, s:{s:O, s:s, s:s}, s:o}", "region", "name",
					   json_object_get(domain, "region"), "type", "Datacenter", "tagCategory", REGION_CATEGORY,
					   "zone", "name", json_object_get(domain, "zone"), "type", "ComputeCluster", "tagCategory",
					   ZONE_CATEGORY, "topology", topology)), NULL);
	scope_cluster(e);
	export_add(e, "extra", "", "", "",
		   export_object(e, "VSphereDeploymentZone", name,
				 json_pack("{s:s, s:s, s:O, s:{s:o, s:o}}", "server", e->v->session.server, "failureDomain", name,
					   "controlPlane", json_object_get(domain, "controlPlane"), "placementConstraint",
					   "resourcePool", export_path(spot.pool_path), "folder",
					   export_path(*e->folder ? e->folder : spot.folder_path))),
		   json_pack("{s:b}", "ready", 1));
	scope_cluster(e);
	return true;
}

bool export_zones(struct export *e)
{
	bool good = true;
	json_t *domain;
	size_t i;

	json_array_foreach(e->domains, i, domain)
		good = good && export_zone(e, domain);
	return good;
}
