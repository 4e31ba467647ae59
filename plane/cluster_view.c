/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/cluster_view.h"

#include "core/clock.h"
#include "plane/clusters.h"
#include "plane/gateways.h"
#include "plane/profiles.h"
#include "plane/rows.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static void add_condition(json_t *out, const char *type, const char *reason, const char *message,
			  const char *since, const char *remedy)
{
	json_t *c = json_pack("{s:s,s:s,s:s,s:s}", "type", type, "status", "False", "reason", reason, "message",
			      message);

	json_put_str(c, "lastTransitionTime", since);
	json_put_str(c, "since", since);
	json_put_str(c, "cause", message);
	json_put_str(c, "remedy", remedy);
	json_array_append_new(out, c);
}

/* The gateway's conditions keep their own members, with the public API's beside them. */
static void reported_conditions(const json_t *status, json_t *out)
{
	json_t *given;
	size_t i;

	json_array_foreach(json_object_get(status, "conditions"), i, given) {
		json_t *c = json_copy(given);

		if (!json_is_object(c)) {
			json_decref(c);
			continue;
		}
		if (json_object_get(c, "since"))
			json_object_set(c, "lastTransitionTime", json_object_get(c, "since"));
		json_put_str(c, "message", json_str_or(given, "cause", ""));
		json_put_str(c, "reason", json_str_or(given, "type", ""));
		json_array_append_new(out, c);
	}
}

/* Of its document: what is wrong with a request matters while it waits, that it is told to nobody always. */
static void problem_conditions(const json_t *cluster, bool waits, json_t *out)
{
	json_t *problem;
	size_t i;

	json_array_foreach(json_object_get(cluster, "problems"), i, problem) {
		const char *field = json_str_or(problem, "field", "");

		if (waits || strcmp(field, CLUSTERS_UNSENDABLE) == 0)
			add_condition(out, "Complete", field, json_str_or(problem, "text", ""), NULL,
				      json_str_or(problem, "remedy", ""));
	}
}

static void offline_condition(struct plane *p, const json_t *cluster, json_t *out)
{
	const char *overlord = json_str_or(cluster, "overlord", "");
	char text[256];

	if (!gateways_active(p, overlord)) {
		snprintf(text, sizeof(text), "gateway %.64s is offline, and does this work when it is back", overlord);
		add_condition(out, "GatewayOnline", "GatewayOffline", text, NULL,
			      "start the gateway, or pair a new one under its uid: pcg-planectl pair --overlord UID");
	}
}

static json_t *endpoints(const json_t *status)
{
	const json_t *e = json_object_get(status, "endpoint");
	json_t *out = json_array();

	if (json_str(e, "host"))
		json_array_append_new(out, json_pack("{s:s,s:I}", "host", json_str(e, "host"), "port",
						     (json_int_t)json_int_or(e, "port", 6443)));
	return out;
}

static json_t *health(const json_t *cluster, const json_t *status)
{
	const char *word = json_str_or(status, "health.state", "Unknown");
	const json_t *at = json_at(status, "health.at");
	json_t *out, *conditions = json_array();
	char when[CLOCK_RFC3339_SIZE] = "", text[128];

	if (strcmp(clusters_state(cluster, status), "Running") != 0)
		word = "Unknown";
	if (json_is_integer(at))
		clock_rfc3339(json_integer_value(at), when);
	else if (json_is_string(at) && clock_parse_rfc3339(json_string_value(at)) >= 0)
		snprintf(when, sizeof(when), "%s", json_string_value(at));
	if (*when) {
		snprintf(text, sizeof(text), "as the gateway saw it at %s", when);
		json_array_append_new(conditions,
				      json_pack("{s:s,s:s}", "type", "SeenByGateway", "message", text));
	}
	out = json_pack("{s:s,s:s,s:s,s:o}", "state", word, "agentVersion",
			json_str_or(status, "heartbeat.agentVersion", ""), "lastHeartBeatTimestamp", when,
			"conditions", conditions);
	return out;
}

int cluster_view_status(struct plane *p, const json_t *cluster, const json_t *status, json_t **out,
			struct pcg_error *err)
{
	const char *state = clusters_state(cluster, status);
	const char *phase = json_str_or(status, "phase", "Pending");
	bool waits = strcmp(state, "Pending") == 0 || strcmp(state, "Deleting") == 0;
	json_t *conditions = json_array(), *doc;

	reported_conditions(status, conditions);
	problem_conditions(cluster, waits, conditions);
	if (waits)
		offline_condition(p, cluster, conditions);
	doc = json_pack("{s:s,s:s,s:I,s:I,s:o,s:o,s:[],s:[],s:[],s:[],s:{s:s},s:{s:s,s:b},s:{s:b,s:s},s:{s:s}}",
			"state", state, "phase", phase, "generation",
			(json_int_t)json_int_or(cluster, "generation", 0), "epoch",
			(json_int_t)json_int_or(status, "epoch", 0), "conditions", conditions, "apiEndpoints",
			endpoints(status), "services", "packs", "upgrades", "addOnServices", "repave", "state",
			"Approved", "spcApply", "actionType", "DownloadAndInstall", "canBeApplied", 1,
			"clusterImport", "isBrownfield", 0, "state", "", "fips", "mode", "none");
	json_object_set_new(doc, "health", health(cluster, status));
	if (json_object_get(cluster, "location"))
		json_object_set(doc, "location", json_object_get(cluster, "location"));
	json_object_set_new(doc, "machines", json_is_array(json_object_get(status, "machines")) ?
						     json_deep_copy(json_object_get(status, "machines")) :
						     json_array());
	if (json_object_get(status, "left"))
		json_object_set(doc, "left", json_object_get(status, "left"));
	*out = doc;
	return 0;
}

static int templates(struct plane *p, const json_t *cluster, json_t **out, struct pcg_error *err)
{
	json_t *given, *one;
	size_t i;
	int r;

	*out = json_array();
	json_array_foreach(json_at(cluster, "spec.profiles"), i, given) {
		r = profiles_template(p, given, &one, err);
		if (r) {
			json_decref(TAKE(*out));
			return r;
		}
		json_array_append_new(*out, one);
	}
	return 0;
}

int cluster_view(struct plane *p, const json_t *cluster, const json_t *status, json_t **out,
		 struct pcg_error *err)
{
	const json_t *config = json_at(cluster, "spec.clusterConfig");
	const char *cloud = json_str_or(cluster, "cloudType", "");
	json_t *profiles, *doc, *state;
	int r = templates(p, cluster, &profiles, err);

	if (r)
		return r;
	r = cluster_view_status(p, cluster, status, &state, err);
	if (r) {
		json_decref(profiles);
		return r;
	}
	doc = json_pack("{s:s,s:s,s:o,s:{s:s,s:{s:s,s:s,s:s},s:o,s:o,s:s},s:o}", "apiVersion", "v1", "kind",
			"SpectroCluster", "metadata", json_deep_copy(json_object_get(cluster, "metadata")), "spec",
			"cloudType", cloud, "cloudConfigRef", "kind", cloud, "name", json_str_or(cluster, "name", ""),
			"uid", json_str_or(cluster, "cfg", ""), "clusterConfig",
			json_is_object(config) ? json_deep_copy(config) : json_object(), "clusterProfileTemplates",
			profiles, "clusterType", json_str_or(cluster, "spec.clusterType", "PureManage"), "status",
			state);
	*out = doc;
	return 0;
}

/* Going in a network names its IP pool by uid, coming out by reference. */
static int reshape_network(struct plane *p, json_t *network, struct pcg_error *err)
{
	AUTO_JSON json_t *pool = NULL;
	const char *uid;
	int r;

	if (!json_is_object(network))
		return 0;
	uid = json_str_or(network, "parentPoolUid", "");
	r = *uid ? rows_get(p, ROWS_POOL, uid, &pool, err) : 0;
	if (r < 0)
		return r;
	json_object_set_new(network, "parentPoolRef",
			    json_pack("{s:s,s:s,s:s}", "kind", "ippool", "name", json_str_or(pool, "metadata.name", ""), "uid",
				      uid));
	if (r > 0)
		json_object_set(network, "ipPool", json_at(pool, "spec.pool"));
	json_object_del(network, "parentPoolUid");
	return 0;
}

static int pool_view(struct plane *p, const json_t *pool, json_t **view, struct pcg_error *err)
{
	int r;
	json_t *out = json_deep_copy(json_object_get(pool, "cloudConfig")), *placement;
	size_t i;

	if (!json_is_object(out)) {
		json_decref(out);
		out = json_object();
	}
	json_object_update(out, json_object_get(pool, "poolConfig"));
	r = reshape_network(p, json_object_get(out, "network"), err);
	json_array_foreach(json_object_get(out, "placements"), i, placement)
		if (!r)
			r = reshape_network(p, json_object_get(placement, "network"), err);
	if (!r)
		*view = json_incref(out);
	json_decref(out);
	return r;
}

int cluster_view_pools(struct plane *p, const json_t *cluster, json_t **pools, struct pcg_error *err)
{
	json_t *pool, *view;
	size_t i;
	int r = 0;

	*pools = json_array();
	json_array_foreach(json_at(cluster, "spec.machinepoolconfig"), i, pool) {
		if (!r)
			r = pool_view(p, pool, &view, err);
		if (!r)
			json_array_append_new(*pools, view);
	}
	return r;
}

int cluster_view_overview(struct plane *p, const json_t *cluster, const json_t *status, bool brief,
			  json_t **out, struct pcg_error *err)
{
	AUTO_JSON json_t *account = NULL;
	json_t *profiles = NULL, *state = NULL, *pools = NULL;
	bool kubeconfig = json_bool_or(status, "hasKubeConfig", false);
	int r = rows_get(p, ROWS_ACCOUNT, json_str_or(cluster, "account", ""), &account, err);

	if (r >= 0 && brief)
		profiles = json_array();
	else if (r >= 0)
		r = templates(p, cluster, &profiles, err);
	if (r >= 0)
		r = cluster_view_status(p, cluster, status, &state, err);
	if (r >= 0)
		r = cluster_view_pools(p, cluster, &pools, err);
	if (r < 0) {
		json_decref(profiles);
		json_decref(state);
		json_decref(pools);
		return r;
	}
	json_object_set_new(state, "kubeMeta",
			    json_pack("{s:b,s:b,s:b,s:s}", "hasKubeConfig", kubeconfig, "hasKubeConfigClient",
				      kubeconfig, "hasManifest", 0, "kubernetesVersion",
				      json_str_or(cluster, "kubernetesVersion", "")));
	*out = json_pack("{s:o,s:{s:{s:s,s:s,s:o},s:{s:s,s:s},s:o},s:o}", "metadata",
			 json_deep_copy(json_object_get(cluster, "metadata")), "spec", "cloudConfig", "uid",
			 json_str_or(cluster, "cfg", ""), "cloudType", json_str_or(cluster, "cloudType", ""),
			 "machinePools", pools, "cloudaccount", "uid", json_str_or(cluster, "account", ""), "name",
			 json_str_or(account, "metadata.name", ""), "clusterProfileTemplates", profiles, "status",
			 state);
	return 0;
}

static const char *instance_state(const char *state)
{
	static const char *const states[][2] = { { "creating", "Provisioning" }, { "provisioning", "Provisioning" },
						 { "on", "Running" },            { "running", "Running" },
						 { "off", "Provisioned" },       { "deleting", "Deleting" } };

	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (strcmp(states[i][0], state) == 0)
			return states[i][1];
	return "Unknown";
}

json_t *cluster_view_machine(const json_t *cluster, const json_t *m)
{
	json_t *addresses = json_array(), *a;
	const char *state = instance_state(json_str_or(m, "state", ""));
	size_t i;

	json_array_foreach(json_object_get(m, "addresses"), i, a)
		json_array_append(addresses, a);
	return json_pack("{s:s,s:{s:s,s:s},s:{s:s,s:s},s:{s:s,s:o,s:{s:s,s:[]},s:{s:s,s:s,s:s},s:b}}", "kind",
			 json_str_or(cluster, "cloudType", ""), "metadata", "name", json_str_or(m, "name", ""),
			 "uid", json_str_or(m, "uid", ""), "spec", "providerID", json_str_or(m, "providerID", ""),
			 "pool", json_str_or(m, "pool", ""), "status", "instanceState", state, "addresses",
			 addresses, "health", "state", strcmp(state, "Running") == 0 ? "Healthy" : "Unknown",
			 "conditions", "maintenanceStatus", "action", "", "state", "", "message", "", "ready",
			 strcmp(state, "Running") == 0);
}
