/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/cluster_request.h"

#include "plane/api.h"
#include "plane/clusters.h"

#include <stdio.h>
#include <string.h>

#define NAME_MAX_LEN 48
#define POOLS_MAX 64
#define POOL_SIZE_MAX 1000

static void want_positive(const json_t *obj, const char *path, const char *field, json_t *fields)
{
	const json_t *v = json_at(obj, path);

	if (!json_is_integer(v) || json_integer_value(v) <= 0)
		api_field(fields, field, "%s must be a whole number above 0", path);
}

static void check_taints(const json_t *taints, const char *field, json_t *fields)
{
	json_t *t;
	size_t i;

	if (!api_absent(taints) && !json_is_array(taints)) {
		api_field(fields, field, "taints is not an array");
		return;
	}
	json_array_foreach((json_t *)taints, i, t) {
		const char *effect = json_str_or(t, "effect", "");

		if (!json_str(t, "key") || !*json_str(t, "key"))
			api_field(fields, field, "a taint needs a key");
		if (strcmp(effect, "NoSchedule") && strcmp(effect, "PreferNoSchedule") &&
		    strcmp(effect, "NoExecute"))
			api_field(fields, field,
				  "the taint effect '%.32s' is none of NoSchedule, PreferNoSchedule, NoExecute",
				  effect);
	}
}

static void check_size(const json_t *c, const char *field, json_t *fields)
{
	const json_t *size = json_object_get(c, "size");
	json_int_t n = json_integer_value(size);

	if (!json_is_integer(size) || n < 0 || n > POOL_SIZE_MAX)
		api_field(fields, field, "size must be a whole number from 0 to %d", POOL_SIZE_MAX);
	else if (json_bool_or(c, "isControlPlane", false) && n != 1 && n != 3 && n != 5)
		api_field(fields, field, "a control plane has 1, 3 or 5 machines, not %lld", (long long)n);
}

void cluster_request_check_pool(const char *cloud, const json_t *pool, const char *field, json_t *fields)
{
	const json_t *c = json_object_get(pool, "poolConfig"), *own = json_object_get(pool, "cloudConfig");

	if (!json_is_object(c)) {
		api_field(fields, field, "poolConfig is missing, or not an object");
		return;
	}
	if (!api_dns_label(json_str(c, "name"), NAME_MAX_LEN))
		api_field(fields, field,
			  "name must be of lower-case letters, digits and '-' (not at its ends), at "
			  "most %d characters",
			  NAME_MAX_LEN);
	check_size(c, field, fields);
	check_taints(json_object_get(c, "taints"), field, fields);
	if (!api_absent(json_object_get(c, "additionalLabels")) &&
	    !json_is_object(json_object_get(c, "additionalLabels")))
		api_field(fields, field, "additionalLabels is not an object");
	if (!api_absent(own) && !json_is_object(own))
		api_field(fields, field, "cloudConfig is not an object");
	if (strcmp(cloud, "vsphere") == 0) {
		want_positive(own, "instanceType.numCPUs", field, fields);
		want_positive(own, "instanceType.memoryMiB", field, fields);
		want_positive(own, "instanceType.diskGiB", field, fields);
	}
}

void cluster_request_check_pools(const json_t *pools, json_t *fields)
{
	size_t i, k, control_planes = 0;
	json_t *pool;

	if (!json_is_array(pools) || !json_array_size(pools) || json_array_size(pools) > POOLS_MAX) {
		api_field(fields, "spec.machinepoolconfig", "must be an array of 1 to %d pools", POOLS_MAX);
		return;
	}
	json_array_foreach((json_t *)pools, i, pool) {
		const char *name = json_str_or(pool, "poolConfig.name", "");

		if (json_bool_or(pool, "poolConfig.isControlPlane", false))
			control_planes++;
		for (k = 0; k < i; k++)
			if (*name && strcmp(name, json_str_or(json_array_get(pools, k), "poolConfig.name", "")) == 0)
				api_field(fields, "spec.machinepoolconfig", "two pools are named '%.48s'", name);
	}
	if (control_planes != 1)
		api_field(fields, "spec.machinepoolconfig",
			  "exactly one pool must have isControlPlane true, not %zu", control_planes);
}

static void want_strings(const json_t *list, const char *field, json_t *fields)
{
	json_t *v;
	size_t i;

	if (api_absent(list))
		return;
	if (!json_is_array(list)) {
		api_field(fields, field, "is not an array");
		return;
	}
	json_array_foreach((json_t *)list, i, v)
		if (!json_is_string(v))
			api_field(fields, field, "holds something that is not text");
}

static void check_endpoint(const json_t *e, json_t *fields)
{
	const char *type = json_str_or(e, "type", "VIP");

	if (api_absent(e))
		return;
	if (!json_is_object(e))
		api_field(fields, "spec.cloudConfig.controlPlaneEndpoint", "is not an object");
	else if (*type && strcmp(type, "VIP") && strcmp(type, "DDNS") && strcmp(type, "External"))
		api_field(fields, "spec.cloudConfig.controlPlaneEndpoint.type",
			  "'%.32s' is none of VIP, DDNS, External", type);
}

static void check_profiles(const json_t *profiles, json_t *fields)
{
	json_t *profile;
	size_t i;

	if (api_absent(profiles))
		return;
	if (!json_is_array(profiles)) {
		api_field(fields, "spec.profiles", "is not an array");
		return;
	}
	json_array_foreach((json_t *)profiles, i, profile)
		if (!json_str(profile, "uid"))
			api_field(fields, "spec.profiles", "each needs the uid of a cluster profile");
}

void cluster_request_check(const char *cloud, const json_t *body, json_t *fields)
{
	const json_t *spec = json_object_get(body, "spec"), *config = json_object_get(spec, "cloudConfig");
	const json_t *pools = json_object_get(spec, "machinepoolconfig");
	json_t *pool;
	size_t i;

	if (!api_dns_label(json_str(body, "metadata.name"), NAME_MAX_LEN))
		api_field(fields, "metadata.name",
			  "must be of lower-case letters, digits and '-' (not at its ends), at most "
			  "%d characters",
			  NAME_MAX_LEN);
	if (!json_is_object(spec)) {
		api_field(fields, "spec", "is missing, or not an object");
		return;
	}
	if (!api_absent(json_object_get(spec, "clusterConfig")) && !json_is_object(json_object_get(spec, "clusterConfig")))
		api_field(fields, "spec.clusterConfig", "is not an object");
	if (!json_str(spec, "cloudAccountUid") || !*json_str(spec, "cloudAccountUid"))
		api_field(fields, "spec.cloudAccountUid", "is missing");
	if (!api_absent(config) && !json_is_object(config))
		api_field(fields, "spec.cloudConfig", "is not an object");
	else if (api_absent(config) && strcmp(cloud, "sim") != 0)
		api_field(fields, "spec.cloudConfig", "is missing");
	if (strcmp(cloud, "vsphere") == 0 && json_is_object(config) &&
	    !json_is_object(json_object_get(config, "placement")))
		api_field(fields, "spec.cloudConfig.placement", "is missing");
	want_strings(json_object_get(config, "sshKeys"), "spec.cloudConfig.sshKeys", fields);
	want_strings(json_object_get(config, "ntpServers"), "spec.cloudConfig.ntpServers", fields);
	check_endpoint(json_object_get(config, "controlPlaneEndpoint"), fields);
	check_profiles(json_object_get(spec, "profiles"), fields);
	cluster_request_check_pools(pools, fields);
	json_array_foreach((json_t *)pools, i, pool) {
		char field[64];

		snprintf(field, sizeof(field), "spec.machinepoolconfig.%zu", i);
		cluster_request_check_pool(cloud, pool, field, fields);
	}
}

int cluster_request_apply(struct api_call *c, json_t *cluster, struct pcg_error *err)
{
	json_t *problem;
	size_t i;
	int r = clusters_refresh(c->p, cluster, err);

	if (r)
		return r;
	json_array_foreach(json_object_get(cluster, "problems"), i, problem)
		if (strcmp(json_str_or(problem, "field", ""), CLUSTERS_UNSENDABLE) == 0)
			return api_refuse(c, 400, "InvalidRequest", "cluster %s: %s; %s", json_str_or(cluster, "name", ""),
					  json_str_or(problem, "text", ""), json_str_or(problem, "remedy", ""));
	return 0;
}
