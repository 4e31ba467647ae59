/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/downgrade.h"
#include "host/capi/path.h"

#include <stdio.h>
#include <string.h>

static json_t *versions_of(const json_t *group)
{
	json_t *versions = json_object(), *v;
	size_t i;

	json_array_foreach (json_object_get(group, "versions"), i, v)
		if (json_str(v, "version"))
			json_object_set_new(versions, json_str(v, "version"), json_true());
	return versions;
}

json_t *served_of(const json_t *api_groups)
{
	json_t *served = json_object(), *group;
	size_t i;

	json_array_foreach (json_object_get(api_groups, "groups"), i, group)
		if (json_str(group, "name"))
			json_object_set_new(served, json_str(group, "name"), versions_of(group));
	return served;
}

static bool is_old(const json_t *served, const char *group)
{
	const json_t *versions = json_object_get(served, group);

	return json_object_get(versions, "v1beta1") && !json_object_get(versions, "v1beta2");
}

/* {apiGroup, kind, name} to an ObjectReference. */
static void full_reference(json_t *object, const char *path, const json_t *served)
{
	json_t *ref = json_at(object, path);
	AUTO_FREE char *group = NULL;

	if (!json_is_object(ref) || !json_str(ref, "apiGroup"))
		return;
	group = strdup(json_str(ref, "apiGroup"));
	json_object_del(ref, "apiGroup");
	json_object_set_new(ref, "apiVersion",
			    json_sprintf("%s/%s", group,
					 is_old(served, group) ? "v1beta1" : "v1beta2"));
	json_put_str(ref, "namespace", json_str(object, "metadata.namespace"));
}

static void move(json_t *object, const char *from, const char *to)
{
	json_t *value = json_incref(json_at(object, from));
	const char *last = strrchr(from, '.');
	AUTO_FREE char *parent = last ? strndup(from, (size_t)(last - from)) : NULL;
	json_t *holder = parent ? json_at(object, parent) : object;

	if (!value)
		return;
	json_object_del(holder, last ? last + 1 : from);
	json_put(object, to, value);
}

/* [{name, value}] to {name: value}; of a name given twice the last one counts, as in a command. */
static void map_args(json_t *holder, const char *key)
{
	json_t *list = json_object_get(holder, key), *map, *arg;
	size_t i;

	if (!json_is_array(list))
		return;
	map = json_object();
	json_array_foreach (list, i, arg)
		json_object_set_new(map, json_str_or(arg, "name", ""),
				    json_string(json_str_or(arg, "value", "")));
	json_object_set_new(holder, key, map);
}

static void old_kubeadm(json_t *spec)
{
	static const char *const components[] = {
		"clusterConfiguration.apiServer",
		"clusterConfiguration.controllerManager",
		"clusterConfiguration.scheduler",
		"clusterConfiguration.etcd.local",
	};

	for (size_t i = 0; i < ARRAY_LEN(components); i++)
		map_args(json_at(spec, components[i]), "extraArgs");
	map_args(json_at(spec, "initConfiguration.nodeRegistration"), "kubeletExtraArgs");
	map_args(json_at(spec, "joinConfiguration.nodeRegistration"), "kubeletExtraArgs");
	/* Known from Cluster API 1.12 on; without it the keys that there are serve all the same. */
	json_object_del(json_at(spec, "clusterConfiguration"), "encryptionAlgorithm");
}

static void machine_references(json_t *object, const char *spec, const json_t *served)
{
	char path[128];

	snprintf(path, sizeof(path), "%s.bootstrap.configRef", spec);
	full_reference(object, path, served);
	snprintf(path, sizeof(path), "%s.infrastructureRef", spec);
	full_reference(object, path, served);
}

static void old_spec(json_t *o, const json_t *served)
{
	const char *kind = json_str_or(o, "kind", "");

	if (strcmp(kind, "Cluster") == 0) {
		full_reference(o, "spec.controlPlaneRef", served);
		full_reference(o, "spec.infrastructureRef", served);
	} else if (strcmp(kind, "Machine") == 0) {
		machine_references(o, "spec", served);
	} else if (strcmp(kind, "MachineDeployment") == 0) {
		machine_references(o, "spec.template.spec", served);
		move(o, "spec.rollout.strategy", "spec.strategy");
		json_object_del(json_object_get(o, "spec"), "rollout");
	} else if (strcmp(kind, "MachineSet") == 0) {
		machine_references(o, "spec.template.spec", served);
	} else if (strcmp(kind, "KubeadmControlPlane") == 0) {
		move(o, "spec.machineTemplate.spec.infrastructureRef",
		     "spec.machineTemplate.infrastructureRef");
		json_object_del(json_at(o, "spec.machineTemplate"), "spec");
		full_reference(o, "spec.machineTemplate.infrastructureRef", served);
		old_kubeadm(json_at(o, "spec.kubeadmConfigSpec"));
	} else if (strcmp(kind, "KubeadmConfig") == 0) {
		old_kubeadm(json_object_get(o, "spec"));
	} else if (strcmp(kind, "KubeadmConfigTemplate") == 0) {
		old_kubeadm(json_at(o, "spec.template.spec"));
	} else if (strcmp(kind, "VSphereVM") == 0 && json_str(o, "spec.bootstrapRef.name")) {
		json_put_str(o, "spec.bootstrapRef.apiVersion", "v1");
		json_put_str(o, "spec.bootstrapRef.kind", "Secret");
		json_put_str(o, "spec.bootstrapRef.namespace", json_str(o, "metadata.namespace"));
	}
}

/* Reasons of that time were for what is not true, and messages too. */
static void old_conditions(json_t *status)
{
	json_t *c;
	size_t i;

	json_array_foreach (json_object_get(status, "conditions"), i, c) {
		json_object_del(c, "reason");
		json_object_del(c, "message");
	}
}

static void old_status(const char *kind, json_t *status)
{
	json_t *initialization = json_incref(json_object_get(status, "initialization"));
	static const struct {
		const char *kind, *from, *to;
	} members[] = {
		{"Cluster", "infrastructureProvisioned", "infrastructureReady"},
		{"Cluster", "controlPlaneInitialized", "controlPlaneReady"},
		{"Machine", "infrastructureProvisioned", "infrastructureReady"},
		{"Machine", "bootstrapDataSecretCreated", "bootstrapReady"},
		{"KubeadmControlPlane", "controlPlaneInitialized", "initialized"},
		{"KubeadmControlPlane", "controlPlaneInitialized", "ready"},
		{"KubeadmConfig", "dataSecretCreated", "ready"},
		{NULL, "provisioned", "ready"}, /* of any infrastructure */
	};

	json_object_del(status, "initialization");
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_t *v = json_object_get(initialization, members[i].from);

		if (v && (!members[i].kind || strcmp(members[i].kind, kind) == 0))
			json_object_set(status, members[i].to, v);
	}
	json_decref(initialization);
	old_conditions(status);
	if (strcmp(kind, "Machine") == 0 && json_str(status, "nodeRef.name")) {
		json_put_str(status, "nodeRef.apiVersion", "v1");
		json_put_str(status, "nodeRef.kind", "Node");
	}
	if (strcmp(kind, "KubeadmControlPlane") == 0) {
		move(status, "upToDateReplicas", "updatedReplicas");
		json_object_del(status, "availableReplicas");
	}
}

/* The group of an object that has to be changed; caller frees. NULL: it stays. */
static char *old_group(const json_t *object, const json_t *served)
{
	const char *api = json_str_or(object, "apiVersion", ""), *version = strchr(api, '/');
	AUTO_FREE char *group = path_group(api);

	return version && strcmp(version, "/v1beta2") == 0 && is_old(served, group) ? TAKE(group) : NULL;
}

bool downgrade_needed(const json_t *plan, const json_t *served)
{
	size_t i;
	json_t *entry;

	json_array_foreach (json_object_get(plan, "objects"), i, entry) {
		AUTO_FREE char *group = old_group(json_object_get(entry, "object"), served);

		if (group)
			return true;
	}
	return false;
}

void downgrade_plan(json_t *plan, const json_t *served)
{
	size_t i;
	json_t *entry;

	json_array_foreach (json_object_get(plan, "objects"), i, entry) {
		json_t *o = json_object_get(entry, "object"),
		       *status = json_object_get(entry, "status");
		AUTO_FREE char *group = old_group(o, served);

		if (!group)
			continue;
		old_spec(o, served);
		if (json_is_object(status))
			old_status(json_str_or(o, "kind", ""), status);
		json_object_set_new(o, "apiVersion", json_sprintf("%s/v1beta1", group));
	}
}
