/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The provider's Cluster API objects: what the controllers in the cluster go on from, and back. */

#define API_VERSION "infrastructure.cluster.x-k8s.io/v1beta2"
#define CLUSTER_LABEL "cluster.x-k8s.io/cluster-name"

static json_t *sim_object(const char *kind, const char *name, const char *cluster, json_t *spec)
{
	return json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:o}", "apiVersion", API_VERSION, "kind", kind, "metadata", "name", name,
			 "labels", CLUSTER_LABEL, cluster, "spec", spec);
}

static void sim_export(json_t *objects, const char *role, const char *owner, const char *pool, const char *machine,
		       json_t *object, json_t *status)
{
	json_t *e = json_pack("{s:s, s:s, s:s, s:s, s:o}", "role", role, "owner", owner, "pool", pool ? pool : "", "machine",
			      machine ? machine : "", "object", object);

	if (status)
		json_object_set_new(e, "status", status);
	json_array_append_new(objects, e);
}

static json_t *sim_ready(const char *type)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "type", type, "status", "True", "reason", type, "message", "");
}

static void sim_export_cluster(struct sim *s, const json_t *doc, const char *name, json_t *objects)
{
	json_t *endpoint = json_object_get(doc, "endpoint");

	sim_export(objects, "identity", "", NULL, NULL,
		   json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:s, s:{s:s, s:s}}", "apiVersion", "v1", "kind", "Secret", "metadata",
			     "name", name, "labels", CLUSTER_LABEL, name, "type", "Opaque", "stringData", "endpoint", s->endpoint,
			     "token", s->token),
		   NULL);
	sim_export(objects, "cluster", "Cluster", NULL, NULL,
		   sim_object("SimCluster", name, name,
			      json_pack("{s:O?, s:{s:s, s:s}, s:s}", "controlPlaneEndpoint", endpoint, "identityRef", "kind",
					"Secret", "name", name, "uid", sim_at(doc, "cluster", "uid") ?: "")),
		   json_pack("{s:{s:b}, s:[o]}", "initialization", "provisioned", 1, "conditions", sim_ready("Ready")));
}

static json_t *sim_pool_mark(const json_t *doc, const char *pool)
{
	json_t *mark = json_pack("{s:s, s:s}", "cluster", sim_at(doc, "cluster", "uid") ?: "", "pool", pool);
	json_t *given = json_object_get(doc, "mark");

	if (json_object_get(given, "gateway"))
		json_object_set(mark, "gateway", json_object_get(given, "gateway"));
	if (json_object_get(given, "epoch"))
		json_object_set(mark, "epoch", json_object_get(given, "epoch"));
	return mark;
}

/* The pool that machines of a machine pool have their addresses from, by the name that it has in the cluster; NULL: none. */
static json_t *sim_network(const json_t *doc, const json_t *pool)
{
	const char *uid = sim_str(json_array_get(json_object_get(pool, "addressPools"), 0), "pool");
	json_t *spec = json_object_get(json_object_get(doc, "cluster"), "spec"), *p;
	size_t i;

	json_array_foreach(json_object_get(spec, "addressPools"), i, p)
		if (uid && strcmp(sim_str(p, "uid") ?: "", uid) == 0)
			return json_pack("{s:[{s:[{s:s, s:s, s:s}]}]}", "devices", "addressesFromPools", "apiGroup",
					 "ipam.cluster.x-k8s.io", "kind", "InClusterIPPool", "name", sim_str(p, "object"));
	return NULL;
}

static json_t *sim_machine_spec(const json_t *doc, const json_t *pool, const char *pool_name)
{
	json_t *instance = json_object_get(json_object_get(pool, "cloudConfig"), "instanceType");
	json_int_t cpus = json_integer_value(json_object_get(instance, "numCPUs"));
	json_int_t memory = json_integer_value(json_object_get(instance, "memoryMiB"));

	return json_pack("{s:o, s:I, s:I, s:o*}", "mark", sim_pool_mark(doc, pool_name), "cpus", cpus ? cpus : 2, "memoryMiB",
			 memory ? memory : 4096, "network", sim_network(doc, pool));
}

static void sim_export_pools(const json_t *doc, const char *name, json_t *objects)
{
	json_t *pools = json_object_get(doc, "pools"), *pool;
	size_t i;

	if (!pools)
		pools = json_object_get(json_object_get(json_object_get(doc, "cluster"), "spec"), "pools");
	json_array_foreach(pools, i, pool) {
		bool control_plane = json_is_true(json_object_get(pool, "controlPlane"));
		const char *pool_name = sim_str(pool, "name") ?: "";
		char *template;

		if (asprintf(&template, "%s-%s", name, control_plane ? "cp" : pool_name) < 0)
			abort();
		sim_export(objects, control_plane ? "controlPlaneTemplate" : "workerTemplate", "Cluster", pool_name, NULL,
			   sim_object("SimMachineTemplate", template, name,
				      json_pack("{s:{s:o}}", "template", "spec", sim_machine_spec(doc, pool, pool_name))),
			   NULL);
		free(template);
	}
}

static void sim_export_machines(const json_t *doc, const char *name, json_t *objects)
{
	json_t *machine;
	size_t i;

	json_array_foreach(json_object_get(doc, "machines"), i, machine) {
		json_t *observed = json_object_get(machine, "observed"), *object, *spec;
		const char *pool = sim_str(machine, "pool") ?: "", *uid = sim_str(machine, "uid") ?: "";

		spec = sim_machine_spec(doc, json_object_get(machine, "poolSpec"), pool);
		json_object_set_new(json_object_get(spec, "mark"), "machine", json_string(uid));
		json_object_set_new(spec, "uid", json_string(sim_str(observed, "id") ?: uid));
		if (sim_str(observed, "providerID"))
			json_object_set(spec, "providerID", json_object_get(observed, "providerID"));
		object = sim_object("SimMachine", sim_str(machine, "name") ?: "", name, spec);
		sim_export(objects, "machine", "Machine", pool, uid, object,
			   json_pack("{s:{s:b}, s:O?, s:[o]}", "initialization", "provisioned", 1, "addresses",
				     json_object_get(observed, "addresses"), "conditions", sim_ready("Ready")));
		json_object_set_new(json_array_get(objects, json_array_size(objects) - 1), "claims",
				    json_pack("{s:s}", "finalizer",
					      "simmachine.infrastructure.cluster.x-k8s.io/ip-claim-protection"));
	}
}

void sim_export_objects(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *objects;
	const char *name;

	if (!doc)
		return;
	name = sim_at(doc, "cluster", "name");
	if (!name) {
		s->svc->error(call, PCG_ERR_BUG, "export_objects was given no cluster name", "");
		json_decref(doc);
		return;
	}
	objects = json_array();
	sim_export_cluster(s, doc, name, objects);
	sim_export_pools(doc, name, objects);
	sim_export_machines(doc, name, objects);
	sim_done(s, call, json_pack("{s:o}", "objects", objects));
	json_decref(doc);
}

void sim_import_objects(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *machines, *e;
	size_t i;

	if (!doc)
		return;
	machines = json_array();
	json_array_foreach(json_object_get(doc, "objects"), i, e) {
		json_t *object = json_object_get(e, "object") ? json_object_get(e, "object") : e;
		json_t *spec = json_object_get(object, "spec"), *labels;
		const char *id = sim_str(spec, "uid"), *provider_id = sim_str(spec, "providerID");

		if (strcmp(sim_str(object, "kind") ?: "", "SimMachine") != 0)
			continue;
		if (!id && provider_id && strncmp(provider_id, "sim://", 6) == 0)
			id = provider_id + 6;
		labels = json_object_get(json_object_get(object, "metadata"), "labels");
		json_array_append_new(machines,
				      json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:O?}}", "name",
						sim_at(object, "metadata", "name") ?: "", "pool", sim_at(spec, "mark", "pool") ?: "",
						"role", json_object_get(labels, "cluster.x-k8s.io/control-plane") ? "control-plane" :
						"worker", "observed", "id", id ? id : "", "providerID", provider_id ? provider_id : "",
						"addresses", json_object_get(json_object_get(object, "status"), "addresses")));
	}
	sim_done(s, call, json_pack("{s:o}", "machines", machines));
	json_decref(doc);
}
