/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/shapes.h"
#include "host/capi/capi.h"
#include "host/capi/path.h"
#include "core/base64.h"
#include "core/buf.h"
#include "host/bootstrap/kubeadm_spec.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static json_t *new_object(const struct shapes *s, const char *api, const char *kind,
			  const char *name)
{
	json_t *o = json_pack("{s:s,s:s,s:{s:s}}", "apiVersion", api, "kind", kind, "metadata",
			      "name", name);

	assert(o);
	shape_mark(s, o);
	return o;
}

static json_t *object_at(json_t *root, const char *key)
{
	json_t *o = json_object_get(root, key);

	if (o)
		return o;
	o = json_object();
	json_object_set_new(root, key, o);
	return o;
}

static void set_default(json_t *object, const char *key, const char *value)
{
	if (value && !json_object_get(object, key))
		json_object_set_new(object, key, json_string(value));
}

void shape_label(json_t *object, const char *key, const char *value)
{
	set_default(object_at(object_at(object, "metadata"), "labels"), key, value);
}

void shape_annotate(json_t *object, const char *key, const char *value)
{
	set_default(object_at(object_at(object, "metadata"), "annotations"), key, value);
}

void shape_mark(const struct shapes *s, json_t *object)
{
	set_default(object_at(object, "metadata"), "namespace", s->ns);
	shape_label(object, CAPI_LABEL_CLUSTER, s->cluster);
}

json_t *shape_reference(const json_t *object)
{
	AUTO_FREE char *group = path_group(json_str_or(object, "apiVersion", ""));

	return json_pack("{s:s,s:s,s:s}", "apiGroup", group, "kind",
			 json_str_or(object, "kind", ""), "name",
			 json_str_or(object, "metadata.name", ""));
}

static bool is_empty(const json_t *v)
{
	return json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0) ||
	       ((json_is_object(v) || json_is_array(v)) && json_object_size(v) == 0 &&
		json_array_size(v) == 0);
}

static bool keeps_empty_values(const char *key)
{
	return strcmp(key, "labels") == 0 || strcmp(key, "annotations") == 0 ||
	       strcmp(key, "matchLabels") == 0;
}

static json_t *members_without_empty(const json_t *value)
{
	bool pair = json_object_get(value, "name") && json_object_get(value, "value") &&
		    json_object_size(value) == 2;
	json_t *out = json_object(), *member, *kept;
	const char *key;

	json_object_foreach ((json_t *)value, key, member) {
		kept = keeps_empty_values(key) ? json_deep_copy(member)
					       : shape_without_empty(member);
		/* An empty list of taints means: no taint, and no list means kubeadm's default. */
		if (is_empty(kept) && !(pair && json_is_string(kept)) &&
		    !(json_is_array(kept) && strcmp(key, "taints") == 0))
			json_decref(kept);
		else
			json_object_set_new(out, key, kept);
	}
	return out;
}

json_t *shape_without_empty(const json_t *value)
{
	json_t *out, *item, *kept;
	size_t i;

	if (json_is_object(value))
		return members_without_empty(value);
	if (!json_is_array(value))
		return json_deep_copy(value);
	out = json_array();
	json_array_foreach (value, i, item) {
		kept = shape_without_empty(item);
		if (is_empty(kept) && !json_is_string(kept))
			json_decref(kept);
		else
			json_array_append_new(out, kept);
	}
	return out;
}

/* One range, or one of each family with a comma between them as kubeadm writes it. */
static json_t *ranges(const char *text)
{
	json_t *out = json_array();

	for (;;) {
		size_t n = strcspn(text, ",");

		json_array_append_new(out, json_stringn(text, n));
		if (!text[n])
			return out;
		text += n + 1;
	}
}

json_t *shape_cluster(const struct shapes *s, const json_t *infrastructure)
{
	json_t *o = new_object(s, CAPI_API, "Cluster", s->cluster);
	const char *gateway = json_str(s->input, "gatewayUid");
	char epoch[32];

	snprintf(epoch, sizeof(epoch), "%" PRId64, json_int_or(s->input, "epoch", 0));
	shape_annotate(o, CAPI_AUTHORITY, "gateway");
	shape_annotate(o, CAPI_EPOCH, epoch);
	shape_annotate(o, CAPI_OWNER, gateway);
	shape_annotate(o, "overlordUid", gateway);
	json_put(o, "metadata.finalizers", json_pack("[s]", "cluster.cluster.x-k8s.io"));
	json_object_set_new(
		o, "spec",
		json_pack("{s:b,s:{s:s,s:I},s:{s:{s:o},s:{s:o},s:s},s:{s:s,s:s,s:s},s:o}",
			  "paused", 1, "controlPlaneEndpoint", "host",
			  json_str(s->input, "endpoint.host"), "port",
			  (json_int_t)json_int_or(s->input, "endpoint.port", 6443),
			  "clusterNetwork", "pods", "cidrBlocks",
			  ranges(json_str_or(s->spec, "podCIDR", "192.168.0.0/16")), "services",
			  "cidrBlocks", ranges(json_str_or(s->spec, "serviceCIDR", "10.96.0.0/12")),
			  "serviceDomain", json_str_or(s->spec, "serviceDomain", "cluster.local"),
			  "controlPlaneRef", "apiGroup", "controlplane.cluster.x-k8s.io", "kind",
			  "KubeadmControlPlane", "name", s->control_plane, "infrastructureRef",
			  shape_reference(infrastructure)));
	return o;
}

/* Those of a pool's labels that reach its Nodes by their Machines. */
static void add_synced(json_t *labels, const json_t *pool)
{
	const char *key;
	json_t *value;

	json_object_foreach (json_object_get(pool, "labels"), key, value)
		if (kubeadm_spec_label_of_machine(key))
			json_object_set(labels, key, value);
}

json_t *shape_control_plane(const struct shapes *s, const json_t *pool,
			    const json_t *machine_template)
{
	json_t *o = new_object(s, CAPI_CONTROL_PLANE_API, "KubeadmControlPlane", s->control_plane),
	       *labels = json_object();

	json_put(o, "metadata.finalizers",
		 json_pack("[s]", "kubeadm.controlplane.cluster.x-k8s.io"));
	json_object_set_new(o, "spec",
			    json_pack("{s:I,s:s,s:{s:{s:{s:s}},s:{s:o}},s:O}", "replicas",
				      (json_int_t)json_int_or(pool, "size", 1), "version",
				      s->version, "machineTemplate", "metadata", "annotations",
				      CAPI_POOL, json_str(pool, "name"), "spec",
				      "infrastructureRef", shape_reference(machine_template),
				      "kubeadmConfigSpec", s->control_plane_spec));
	add_synced(labels, pool);
	if (json_object_size(labels))
		json_put(o, "spec.machineTemplate.metadata.labels", json_incref(labels));
	json_decref(labels);
	return o;
}

static json_t *argument(const json_t *args, const char *name)
{
	size_t i;
	json_t *arg;

	json_array_foreach (args, i, arg)
		if (strcmp(json_str_or(arg, "name", ""), name) == 0)
			return arg;
	return NULL;
}

static void register_labels(json_t *registration, const json_t *labels)
{
	json_t *args = json_object_get(registration, "kubeletExtraArgs"), *value, *given;
	struct buf list;
	const char *key;

	buf_init(&list, 64 * 1024);
	json_object_foreach ((json_t *)labels, key, value)
		if (!kubeadm_spec_label_of_machine(key))
			buf_addf(&list, "%s%s=%s", list.len ? "," : "", key,
				 json_string_value(value) ? json_string_value(value) : "");
	if (list.len && !args) {
		args = json_array();
		json_object_set_new(registration, "kubeletExtraArgs", args);
	}
	given = argument(args, "node-labels");
	if (list.len && given) {
		buf_addf(&list, ",%s", json_str_or(given, "value", ""));
		json_object_set_new(given, "value", json_string(list.data));
	} else if (list.len) {
		json_array_append_new(
			args, json_pack("{s:s,s:s}", "name", "node-labels", "value", list.data));
	}
	buf_free(&list);
}

/* One configuration serves all pools: what is the pool's own reaches a Node by its registration. */
static void register_pool(json_t *kubeadm, const json_t *pool)
{
	json_t *registration =
		object_at(object_at(kubeadm, "joinConfiguration"), "nodeRegistration");

	register_labels(registration, json_object_get(pool, "labels"));
	if (json_array_size(json_object_get(pool, "taints")))
		json_object_set_new(registration, "taints",
				    json_deep_copy(json_object_get(pool, "taints")));
}

json_t *shape_config_template(const struct shapes *s, const json_t *pool, const char *name,
			      const json_t *worker_spec, bool shared)
{
	AUTO_JSON json_t *kubeadm = json_deep_copy(worker_spec);
	json_t *o = new_object(s, CAPI_BOOTSTRAP_API, "KubeadmConfigTemplate", name);

	if (shared)
		register_pool(kubeadm, pool);
	json_put(o, "spec.template.spec", shape_without_empty(kubeadm));
	return o;
}

static json_t *rollout(const json_t *pool)
{
	const json_t *strategy = json_object_get(pool, "updateStrategy");
	const char *type =
		json_is_string(strategy) ? json_string_value(strategy) : json_str(strategy, "type");

	if (!type || strcmp(type, "RollingUpdateScaleIn") != 0)
		return NULL;
	return json_pack("{s:{s:s,s:{s:i,s:i}}}", "strategy", "type", "RollingUpdate",
			 "rollingUpdate", "maxSurge", 0, "maxUnavailable", 1);
}

static json_t *deployment_labels(const struct shapes *s, const char *name)
{
	return json_pack("{s:s,s:s}", CAPI_LABEL_CLUSTER, s->cluster, CAPI_LABEL_DEPLOYMENT, name);
}

json_t *shape_deployment(const struct shapes *s, const json_t *pool, const struct shape_place *place,
			 const json_t *machine_template)
{
	json_t *o = new_object(s, CAPI_API, "MachineDeployment", place->name);
	json_t *labels = deployment_labels(s, place->name), *value;

	add_synced(labels, pool);
	shape_annotate(o, CAPI_POOL, json_str(pool, "name"));
	json_put(o, "metadata.finalizers", json_pack("[s]", "cluster.x-k8s.io/machinedeployment"));
	json_object_set_new(
		o, "spec",
		json_pack(
			"{s:s,s:I,s:{s:o},s:{s:{s:o,s:{s:s}},s:{s:s,s:s,s:s*,s:{s:{s:s,s:s,s:s}},s:o}}}",
			"clusterName", s->cluster, "replicas", (json_int_t)place->replicas, "selector",
			"matchLabels", deployment_labels(s, place->name), "template", "metadata", "labels",
			labels, "annotations", CAPI_POOL, json_str(pool, "name"), "spec", "clusterName",
			s->cluster, "version", s->version, "failureDomain", place->failure_domain,
			"bootstrap", "configRef", "apiGroup", "bootstrap.cluster.x-k8s.io", "kind",
			"KubeadmConfigTemplate", "name", place->config, "infrastructureRef",
			shape_reference(machine_template)));
	value = rollout(pool);
	if (value)
		json_put(o, "spec.rollout", value);
	return o;
}

static void mark_control_plane(const struct shapes *s, json_t *object)
{
	shape_label(object, CAPI_LABEL_CONTROL_PLANE, "");
	shape_label(object, CAPI_LABEL_CONTROL_PLANE_NAME, s->control_plane);
}

json_t *shape_machine(const struct shapes *s, const json_t *machine, const json_t *infrastructure)
{
	const char *name = json_str(machine, "name");
	json_t *o = new_object(s, CAPI_API, "Machine", name);

	mark_control_plane(s, o);
	shape_annotate(o, CAPI_POOL, json_str(machine, "pool"));
	shape_annotate(o, CAPI_MACHINE_UID, json_str(machine, "uid"));
	shape_annotate(o, "pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup", "");
	json_put(o, "metadata.finalizers", json_pack("[s]", "machine.cluster.x-k8s.io"));
	json_object_set_new(o, "spec",
			    json_pack("{s:s,s:s,s:s*,s:{s:{s:s,s:s,s:s},s:s},s:o}", "clusterName",
				      s->cluster, "version", s->version, "providerID",
				      json_str(machine, "observed.providerID"), "bootstrap",
				      "configRef", "apiGroup", "bootstrap.cluster.x-k8s.io", "kind",
				      "KubeadmConfig", "name", name, "dataSecretName", name,
				      "infrastructureRef", shape_reference(infrastructure)));
	if (json_str(machine, "observed.failureDomain"))
		json_put_str(o, "spec.failureDomain", json_str(machine, "observed.failureDomain"));
	return o;
}

/* While 1.31 <= version < 1.36 the control plane provider adds this gate to every configuration
 * that it computes, and rolls a machine whose configuration lacks it. */
static bool wants_local_mode(const char *version)
{
	int minor = 0;

	return sscanf(version, "v1.%d", &minor) == 1 && minor >= 31 && minor < 36;
}

json_t *shape_config(const struct shapes *s, const json_t *machine, bool first)
{
	json_t *o = new_object(s, CAPI_BOOTSTRAP_API, "KubeadmConfig", json_str(machine, "name"));
	json_t *spec = json_deep_copy(s->control_plane_spec);

	mark_control_plane(s, o);
	json_object_del(spec, first ? "joinConfiguration" : "initConfiguration");
	if (wants_local_mode(s->version) && json_object_get(spec, "clusterConfiguration") &&
	    !json_at(spec, "clusterConfiguration.featureGates.ControlPlaneKubeletLocalMode"))
		json_put(spec, "clusterConfiguration.featureGates.ControlPlaneKubeletLocalMode",
			 json_true());
	json_object_set_new(o, "spec", spec);
	return o;
}

static json_t *encoded(const char *text)
{
	AUTO_FREE char *b64 = base64_encode(text, strlen(text));
	json_t *j = json_string(b64);

	explicit_bzero(b64, strlen(b64));
	return j;
}

static json_t *new_secret(const struct shapes *s, const char *name)
{
	json_t *o = new_object(s, "v1", "Secret", name);

	json_object_set_new(o, "type", json_string(CAPI_SECRET_TYPE));
	return o;
}

json_t *shape_pair_secret(const struct shapes *s, const char *suffix, const char *crt,
			  const char *key)
{
	char name[160];
	json_t *o;

	snprintf(name, sizeof(name), "%s-%s", s->cluster, suffix);
	o = new_secret(s, name);
	json_object_set_new(
		o, "data",
		json_pack("{s:o,s:o}", "tls.crt", encoded(crt), "tls.key", encoded(key)));
	return o;
}

json_t *shape_kubeconfig_secret(const struct shapes *s, const char *kubeconfig)
{
	char name[160];
	json_t *o;

	snprintf(name, sizeof(name), "%s-kubeconfig", s->cluster);
	o = new_secret(s, name);
	json_object_set_new(o, "data", json_pack("{s:o}", "value", encoded(kubeconfig)));
	return o;
}

json_t *shape_bootstrap_secret(const struct shapes *s, const json_t *machine)
{
	json_t *o = new_secret(s, json_str(machine, "name"));

	json_object_set_new(
		o, "data",
		json_pack("{s:o,s:o}", "value", encoded(""), "format", encoded("cloud-config")));
	return o;
}

json_t *shape_back_reference(const struct shapes *s)
{
	json_t *o = json_pack("{s:s,s:s,s:{s:s,s:s,s:{s:s}}}", "apiVersion", "v1", "kind",
			      "ConfigMap", "metadata", "name", "pcg-back-reference", "namespace",
			      "kube-system", "labels", CAPI_LABEL_CLUSTER, s->cluster);

	json_object_set_new(
		o, "data",
		json_pack("{s:s*,s:s*,s:s*,s:s*}", "gatewayUid", json_str(s->input, "gatewayUid"),
			  "clusterUid", json_str(s->spec, "uid"), "planeUrl",
			  json_str(s->spec, "planeUrl"), "planeCa", json_str(s->spec, "planeCa")));
	return o;
}

static json_t *condition(const struct shapes *s, const char *type, const char *reason)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:s}", "type", type, "status", "True", "reason", reason,
			 "message", "", "lastTransitionTime", s->now);
}

json_t *shape_cluster_status(const struct shapes *s)
{
	return json_pack("{s:{s:b,s:b},s:s,s:[o,o]}", "initialization", "infrastructureProvisioned",
			 1, "controlPlaneInitialized", 1, "phase", "Provisioned", "conditions",
			 condition(s, "InfrastructureReady", "Ready"),
			 condition(s, "ControlPlaneInitialized", "Initialized"));
}

json_t *shape_control_plane_status(const struct shapes *s, size_t machines)
{
	json_int_t n = (json_int_t)machines;

	return json_pack("{s:{s:b},s:I,s:I,s:I,s:I,s:s,s:[o,o]}", "initialization",
			 "controlPlaneInitialized", 1, "replicas", n, "readyReplicas", n,
			 "availableReplicas", n, "upToDateReplicas", n, "version", s->version,
			 "conditions", condition(s, "Initialized", "Initialized"),
			 condition(s, "Available", "Available"));
}

static json_t *addresses(const json_t *machine)
{
	json_t *out = json_array(), *a;
	size_t i;

	json_array_foreach (json_at(machine, "observed.addresses"), i, a)
		if (json_str(a, "type") && json_str(a, "address"))
			json_array_append_new(out,
					      json_pack("{s:s,s:s}", "type", json_str(a, "type"),
							"address", json_str(a, "address")));
	return out;
}

json_t *shape_machine_status(const struct shapes *s, const json_t *machine)
{
	json_t *status = json_pack("{s:{s:b,s:b},s:{s:s},s:s,s:[o,o]}", "initialization",
				   "infrastructureProvisioned", 1, "bootstrapDataSecretCreated", 1,
				   "nodeRef", "name", json_str(machine, "name"), "phase", "Running",
				   "conditions", condition(s, "InfrastructureReady", "Ready"),
				   condition(s, "BootstrapConfigReady", "Ready"));
	json_t *list = addresses(machine);

	if (json_array_size(list))
		json_object_set(status, "addresses", list);
	json_decref(list);
	return status;
}

json_t *shape_config_status(const json_t *machine)
{
	return json_pack("{s:s,s:{s:b}}", "dataSecretName", json_str(machine, "name"),
			 "initialization", "dataSecretCreated", 1);
}
