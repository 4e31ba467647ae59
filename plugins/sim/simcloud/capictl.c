/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/capictl.h"

#include "core/base64.h"
#include "core/clock.h"
#include "core/id.h"
#include "net/pki.h"

#include <string.h>

bool capictl_deleting(const json_t *obj)
{
	return json_at(obj, "metadata.deletionTimestamp") != NULL;
}

bool capictl_true(const json_t *obj, const char *condition)
{
	size_t i;
	json_t *c;

	json_array_foreach(json_at(obj, "status.conditions"), i, c)
		if (strcmp(json_str_or(c, "type", ""), condition) == 0)
			return strcmp(json_str_or(c, "status", ""), "True") == 0;
	return false;
}

json_t *capictl_of_cluster(const struct capictl *c, const struct kres *r)
{
	json_t *out = json_object(), *obj;
	const char *key, *label;

	if (!r)
		return out;
	json_object_foreach(r->objects, key, obj) {
		label = kstore_label(obj, CAPI_NAME_LABEL);
		if (label && strcmp(label, c->name) == 0 && strcmp(kstore_ns(obj) ?: "", c->ns) == 0)
			json_object_set(out, key, obj);
	}
	return out;
}

static void capictl_own(json_t *edited, const struct kres *owner_res, const json_t *owner, bool controller)
{
	json_t *meta = json_object_get(edited, "metadata"), *list = json_object_get(meta, "ownerReferences"), *o;
	AUTO_FREE char *api_version = kres_api_version(owner_res, NULL);
	size_t i;

	if (!list) {
		list = json_array();
		json_object_set_new(meta, "ownerReferences", list);
	}
	json_array_foreach(list, i, o)
		if (strcmp(json_str_or(o, "uid", ""), kstore_uid(owner)) == 0)
			return;
	o = json_pack("{s:s, s:s, s:s, s:s}", "apiVersion", api_version, "kind", owner_res->kind, "name", kstore_name(owner),
		      "uid", kstore_uid(owner));
	if (controller) {
		json_object_set_new(o, "controller", json_true());
		json_object_set_new(o, "blockOwnerDeletion", json_true());
	}
	json_array_append_new(list, o);
}

static void capictl_finalizer(json_t *edited, const char *name)
{
	json_t *meta = json_object_get(edited, "metadata"), *list = json_object_get(meta, "finalizers"), *f;
	size_t i;

	if (!list) {
		list = json_array();
		json_object_set_new(meta, "finalizers", list);
	}
	json_array_foreach(list, i, f)
		if (strcmp(json_string_value(f), name) == 0)
			return;
	json_array_append_new(list, json_string(name));
}

json_t *capictl_adopt(struct capictl *c, struct kres *r, json_t *obj, const struct kres *owner_res, const json_t *owner,
		      bool controller, const char *finalizer)
{
	json_t *edited;

	if (!obj)
		return NULL;
	edited = kstore_edit(obj);
	if (owner)
		capictl_own(edited, owner_res, owner, controller);
	if (finalizer && !capictl_deleting(obj))
		capictl_finalizer(edited, finalizer);
	return kstore_update(c->k, r, edited);
}

void capictl_drop_finalizers(struct capictl *c, struct kres *r, const json_t *obj)
{
	json_t *edited = kstore_edit(obj);

	json_object_del(json_object_get(edited, "metadata"), "finalizers");
	kstore_update(c->k, r, edited);
}

/* ---- which controllers run ---- */

static bool capictl_runs(struct kapi *k, const char *ns)
{
	const char *key;
	json_t *d;

	json_object_foreach(kres_find(k, "apps", "deployments")->objects, key, d)
		if (strcmp(kstore_ns(d), ns) == 0 && json_int_or(d, "spec.replicas", 1) > 0 &&
		    json_int_or(d, "status.availableReplicas", 0) > 0)
			return true;
	return false;
}

static bool capictl_infra_runs(struct kapi *k)
{
	static const char *const namespaces[] = { "capsim-system", "capv-system", "capo-system", "capmaas-system" };

	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++)
		if (capictl_runs(k, namespaces[i]))
			return true;
	return false;
}

/* ---- pause ---- */

/* Each pass comes by here, and most find that it was said. True: it was not. */
static bool capictl_pause_one(struct capictl *c, struct kres *r, json_t *obj, bool paused)
{
	const char *says = paused ? "True" : "False";
	json_t *edited, *condition;
	size_t i;

	json_array_foreach(json_at(obj, "status.conditions"), i, condition)
		if (!strcmp(json_str_or(condition, "type", ""), "Paused") &&
		    !strcmp(json_str_or(condition, "status", ""), says))
			return false;
	edited = kstore_edit(obj);
	kcontrol_condition(edited, "Paused", says, paused ? "Paused" : "NotPaused",
			   paused ? "Cluster spec.paused is set to true" : "");
	kstore_update(c->k, r, edited);
	return true;
}

static void capictl_say_paused(struct capictl *c, struct kres *r, bool paused)
{
	AUTO_JSON json_t *all = capictl_of_cluster(c, r);
	const char *key;
	json_t *obj;

	json_object_foreach(all, key, obj) {
		bool knows = strcmp(r->group, CAPI_INFRA) != 0 || json_array_size(json_at(obj, "metadata.ownerReferences"));

		capictl_pause_one(c, r, obj, paused && knows);
	}
}

static void capictl_pause_all(struct capictl *c, bool paused)
{
	struct kres *clusters = c->clusters;

	if (capictl_pause_one(c, clusters, kstore_get(clusters, c->ns, c->name), paused) && !paused)
		c->k->cloud->stats.released++;
	for (size_t i = 0; i < c->k->n_res; i++) {
		struct kres *r = c->k->res[i];

		if (r->gone || r->builtin || !r->status || r == clusters)
			continue;
		if (!strcmp(r->group, CAPI_GROUP) || !strcmp(r->group, CAPI_BOOTSTRAP) || !strcmp(r->group, CAPI_CONTROL) ||
		    !strcmp(r->group, CAPI_INFRA))
			capictl_say_paused(c, r, paused);
	}
}

/* ---- Secrets of the cluster ---- */

static json_t *capictl_pair(struct capictl *c, bool ca, struct pcg_error *err)
{
	struct pki_cert_spec spec = { .common_name = "kubernetes", .is_ca = true, .serial_zero = true,
				      .not_before_ms = clock_wall_ms() - 300000,
				      .not_after_ms = clock_wall_ms() + INT64_C(3650) * 86400000 };
	AUTO_FREE char *crt = NULL, *crt64 = NULL, *key64 = NULL;
	struct secret *key = NULL;
	json_t *data = NULL;

	if (!pki_key_new(PKI_ECDSA_P256, &key, err) &&
	    !(ca ? pki_self_signed(&spec, key, &crt, err) : pki_public_pem(key, &crt, err))) {
		crt64 = base64_encode(crt, strlen(crt));
		key64 = base64_encode(secret_data(key), secret_len(key));
		data = json_pack("{s:s, s:s}", "tls.crt", crt64, "tls.key", key64);
	}
	secret_unref(key);
	return data;
}

static json_t *capictl_secret_make(struct capictl *c, const char *name, json_t *data)
{
	return kstore_create(c->k, c->secrets,
			     json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s}}, s:s, s:o}", "apiVersion", "v1", "kind", "Secret",
				       "metadata", "name", name, "namespace", c->ns, "labels", CAPI_NAME_LABEL, c->name, "type",
				       "cluster.x-k8s.io/secret", "data", data));
}

/* A missing pair is made anew, silently: what the real control plane provider does before it is initialized. */
static void capictl_secrets(struct capictl *c, const json_t *kcp)
{
	static const char *const suffixes[] = { "ca", "etcd", "proxy", "sa" };

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		struct pcg_error err = { 0 };
		AUTO_FREE char *name = NULL;
		json_t *secret, *data;

		if (asprintf(&name, "%s-%s", c->name, suffixes[i]) < 0)
			abort();
		secret = kstore_get(c->secrets, c->ns, name);
		if (!secret) {
			data = capictl_pair(c, strcmp(suffixes[i], "sa") != 0, &err);
			if (!data)
				continue;
			secret = capictl_secret_make(c, name, data);
			if (i == 0)
				c->k->cloud->stats.new_ca++;
		}
		capictl_adopt(c, c->secrets, secret, c->kcps, kcp, true, NULL);
	}
}

/* True: the control plane provider gets past its kubeconfig. */
static bool capictl_kubeconfig(struct capictl *c, const json_t *kcp)
{
	AUTO_FREE char *name = NULL;
	json_t *secret;

	if (asprintf(&name, "%s-kubeconfig", c->name) < 0)
		abort();
	secret = kstore_get(c->secrets, c->ns, name);
	/* Its cached client sees labelled Secrets only, so it tries to create what is there. */
	if (secret && !kstore_label(secret, CAPI_NAME_LABEL))
		return false;
	if (!secret)
		secret = capictl_secret_make(c, name, json_pack("{s:s}", "value", ""));
	capictl_adopt(c, c->secrets, secret, c->kcps, kcp, true, NULL);
	return true;
}

/* ---- control plane ---- */

static struct kres *capictl_infra(struct capictl *c, const json_t *ref)
{
	const char *kind = json_str(ref, "kind");

	return kind ? kres_by_kind(c->k, json_str_or(ref, "apiGroup", CAPI_INFRA), kind) : NULL;
}

/* Why a control-plane Machine is not what the KubeadmControlPlane says; NULL: it is. */
static const char *capictl_outdated(struct capictl *c, const json_t *kcp, const json_t *machine)
{
	json_t *config = kstore_get(c->configs, c->ns, json_str_or(machine, "spec.bootstrap.configRef.name", ""));
	struct kres *infra_res = capictl_infra(c, json_at(machine, "spec.infrastructureRef"));
	json_t *infra = infra_res ? kstore_get(infra_res, c->ns, json_str_or(machine, "spec.infrastructureRef.name", "")) : NULL;
	const char *from = json_string_value(
		json_object_get(json_at(infra, "metadata.annotations"), "cluster.x-k8s.io/cloned-from-name"));

	if (strcmp(json_str_or(machine, "spec.version", ""), json_str_or(kcp, "spec.version", "")) != 0)
		return "Machine version is not up-to-date";
	if (config && json_object_size(json_at(config, "spec.initConfiguration")) &&
	    json_object_size(json_at(config, "spec.joinConfiguration")))
		return "KubeadmConfig is not up-to-date";
	if (config && (!json_equal(json_at(config, "spec.preKubeadmCommands") ?: json_null(),
				   json_at(kcp, "spec.kubeadmConfigSpec.preKubeadmCommands") ?: json_null()) ||
		       !json_equal(json_at(config, "spec.postKubeadmCommands") ?: json_null(),
				   json_at(kcp, "spec.kubeadmConfigSpec.postKubeadmCommands") ?: json_null())))
		return "KubeadmConfig is not up-to-date";
	if (from && strcmp(from, json_str_or(kcp, "spec.machineTemplate.spec.infrastructureRef.name", "")) != 0)
		return "infrastructure machine is not up-to-date";
	return NULL;
}

static void capictl_control_plane_add(struct capictl *c, const json_t *kcp)
{
	char suffix[6];
	AUTO_FREE char *name = NULL;
	AUTO_JSON json_t *labels = json_pack("{s:s, s:s, s:s}", CAPI_NAME_LABEL, c->name, CAPI_CP_LABEL, "",
					     "cluster.x-k8s.io/control-plane-name", kstore_name(kcp));
	AUTO_JSON json_t *spec = json_pack("{s:O?, s:O}", "version", json_at(kcp, "spec.version"), "infrastructureRef",
					   json_at(kcp, "spec.machineTemplate.spec.infrastructureRef"));
	AUTO_JSON json_t *config = json_deep_copy(json_at(kcp, "spec.kubeadmConfigSpec"));

	id_suffix(suffix, 5);
	if (asprintf(&name, "%s-%s", kstore_name(kcp), suffix) < 0)
		abort();
	json_object_del(config, "initConfiguration");
	capictl_machine_make(c, name, labels, spec, config, c->kcps, kcp);
}

static void capictl_kcp_status(struct capictl *c, json_t *kcp, size_t n, size_t ready, const char *problem,
			       const char *outdated)
{
	json_t *edited = kstore_edit(kcp);

	if (!json_object_get(edited, "status"))
		json_object_set_new(edited, "status", json_object());
	json_put(edited, "status.replicas", json_integer((json_int_t)n));
	json_put(edited, "status.readyReplicas", json_integer((json_int_t)ready));
	json_put(edited, "status.availableReplicas", json_integer((json_int_t)ready));
	json_put(edited, "status.observedGeneration", json_integer(json_int_or(kcp, "metadata.generation", 1)));
	json_put(edited, "status.initialization", json_pack("{s:b}", "controlPlaneInitialized", !problem));
	kcontrol_condition(edited, "Available", !problem && ready ? "True" : "False", problem ? "InternalError" : "Available",
			   problem ?: "");
	kcontrol_condition(edited, "RollingOut", outdated ? "True" : "False", outdated ? "RollingOut" : "NotRollingOut",
			   outdated ?: "");
	kstore_update(c->k, c->kcps, edited);
}

static const char *capictl_kcp_problem(struct capictl *c, const json_t *kcp, json_t *machines)
{
	struct kres *template_res = capictl_infra(c, json_at(kcp, "spec.machineTemplate.spec.infrastructureRef"));
	const char *template = json_str_or(kcp, "spec.machineTemplate.spec.infrastructureRef.name", ""), *key;
	json_t *m;

	capictl_secrets(c, kcp);
	if (!capictl_kubeconfig(c, kcp))
		return "the kubeconfig Secret already exists, without the label of the cluster";
	if (!template_res || !kstore_get(template_res, c->ns, template))
		return "failed to retrieve the infrastructure machine template: not found";
	json_object_foreach(machines, key, m)
		if (kstore_label(m, CAPI_CP_LABEL) && strcmp(json_str_or(m, "spec.bootstrap.configRef.kind", ""), "KubeadmConfig"))
			return "unable to adopt Machine: expected a ConfigRef of kind KubeadmConfig";
	return NULL;
}

static void capictl_kcp(struct capictl *c, json_t *kcp)
{
	AUTO_JSON json_t *machines = capictl_of_cluster(c, c->machines);
	json_int_t want = json_int_or(kcp, "spec.replicas", 1);
	const char *problem = capictl_kcp_problem(c, kcp, machines), *outdated = NULL, *key;
	json_t *m, *old = NULL;
	size_t n = 0, ready = 0;

	json_object_foreach(machines, key, m) {
		const char *why;

		if (!kstore_label(m, CAPI_CP_LABEL) || capictl_deleting(m))
			continue;
		n++;
		ready += capictl_true(m, "Ready");
		if (problem)
			continue;
		capictl_adopt(c, c->machines, m, c->kcps, kcp, true, "machine.cluster.x-k8s.io");
		why = capictl_outdated(c, kcp, m);
		if (why) {
			outdated = why;
			old = m;
		}
	}
	capictl_kcp_status(c, kcp, n, ready, problem, outdated);
	if (problem || !c->infra_ready)
		return;
	if ((json_int_t)n < want + (outdated != NULL))
		capictl_control_plane_add(c, kcp);
	else if (outdated && ready == n)
		kstore_delete(c->k, c->machines, kstore_get(c->machines, c->ns, kstore_name(old)), NULL);
}

/* ---- the Cluster ---- */

static void capictl_infra_cluster(struct capictl *c, json_t *cluster)
{
	struct kres *r = capictl_infra(c, json_at(cluster, "spec.infrastructureRef"));
	json_t *infra = r ? kstore_get(r, c->ns, json_str_or(cluster, "spec.infrastructureRef.name", "")) : NULL, *edited;
	const char *identity;

	if (!infra)
		return;
	infra = capictl_adopt(c, r, infra, c->clusters, cluster, false, strcmp(r->kind, "SimCluster") ?
			      "vspherecluster.infrastructure.cluster.x-k8s.io" : "simcluster.infrastructure.cluster.x-k8s.io");
	if (!infra)
		return;
	identity = json_str(infra, "spec.identityRef.name");
	c->infra_ready = !identity || kstore_get(c->secrets, c->ns, identity);
	if (identity && c->infra_ready)
		capictl_adopt(c, c->secrets, kstore_get(c->secrets, c->ns, identity), r, infra, false, NULL);
	edited = kstore_edit(infra);
	kcontrol_condition(edited, "Ready", c->infra_ready ? "True" : "False", c->infra_ready ? "Provisioned" : "NotReady",
			   c->infra_ready ? "" : "failed to get credentials from IdentityRef: Secret not found");
	if (c->infra_ready)
		json_put(edited, "status.initialization", json_pack("{s:b}", "provisioned", 1));
	kstore_update(c->k, r, edited);
}

static void capictl_own_templates(struct capictl *c, const json_t *cluster)
{
	for (size_t i = 0; i < c->k->n_res; i++) {
		struct kres *r = c->k->res[i];
		AUTO_JSON json_t *all = NULL;
		const char *key;
		json_t *obj;

		if (r->gone || r->builtin || !strstr(r->kind, "Template"))
			continue;
		all = capictl_of_cluster(c, r);
		json_object_foreach(all, key, obj)
			capictl_adopt(c, r, obj, c->clusters, cluster, false, NULL);
	}
}

static void capictl_cluster_status(struct capictl *c, bool control_plane)
{
	json_t *edited = kstore_edit(kstore_get(c->clusters, c->ns, c->name));
	bool all = control_plane && c->infra_ready;

	kcontrol_condition(edited, "InfrastructureReady", c->infra_ready ? "True" : "False", "InfrastructureReady", "");
	kcontrol_condition(edited, "ControlPlaneInitialized", control_plane ? "True" : "False", "Initialized", "");
	kcontrol_condition(edited, "ControlPlaneAvailable", control_plane ? "True" : "False", "Available", "");
	kcontrol_condition(edited, "RemoteConnectionProbe", "True", "ProbeSucceeded", "");
	kcontrol_condition(edited, "Available", all ? "True" : "False", all ? "Available" : "NotAvailable", "");
	json_put(edited, "status.phase", json_string(c->infra_ready ? "Provisioned" : "Provisioning"));
	json_put(edited, "status.initialization", json_pack("{s:b, s:b}", "infrastructureProvisioned", c->infra_ready,
							    "controlPlaneInitialized", control_plane));
	json_put(edited, "status.observedGeneration", json_integer(json_int_or(edited, "metadata.generation", 1)));
	kstore_update(c->k, c->clusters, edited);
}

/* Workers, then the control plane, then what the Cluster had: as the Cluster controller goes. True: nothing is left. */
static bool capictl_tear_down(struct capictl *c, json_t *cluster)
{
	struct kres *const order[] = { c->deployments, c->sets, c->machines, c->kcps,
				       capictl_infra(c, json_at(cluster, "spec.infrastructureRef")) };

	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		AUTO_JSON json_t *all = capictl_of_cluster(c, order[i]);
		const char *key;
		json_t *obj;

		json_object_foreach(all, key, obj) {
			if (!capictl_deleting(obj))
				kstore_delete(c->k, order[i], obj, NULL);
			obj = json_object_get(order[i]->objects, key);
			if (obj && order[i] != c->machines)
				capictl_drop_finalizers(c, order[i], obj);
		}
		if (json_object_size(all))
			return false;
	}
	return true;
}

static void capictl_cluster(struct capictl *c, json_t *cluster)
{
	AUTO_JSON json_t *held = NULL, *held_kcp = NULL, *machines = NULL, *deployments = NULL;
	json_t *kcp, *obj;
	const char *key;

	capictl_pause_all(c, false);
	cluster = capictl_adopt(c, c->clusters, kstore_get(c->clusters, c->ns, c->name), NULL, NULL, false,
				"cluster.cluster.x-k8s.io");
	held = json_incref(cluster);
	if (capictl_deleting(cluster) && capictl_tear_down(c, cluster)) {
		capictl_drop_finalizers(c, c->clusters, cluster);
		return;
	}
	capictl_infra_cluster(c, cluster);
	capictl_own_templates(c, cluster);
	kcp = kstore_get(c->kcps, c->ns, json_str_or(cluster, "spec.controlPlaneRef.name", ""));
	if (kcp && !capictl_deleting(cluster)) {
		kcp = capictl_adopt(c, c->kcps, kcp, c->clusters, cluster, false, "kubeadm.controlplane.cluster.x-k8s.io");
		held_kcp = json_incref(kcp);
		if (kcp)
			capictl_kcp(c, kcp);
	}
	machines = capictl_of_cluster(c, c->machines);
	json_object_foreach(machines, key, obj)
		capictl_machine(c, obj);
	deployments = capictl_of_cluster(c, c->deployments);
	json_object_foreach(deployments, key, obj) {
		if (capictl_deleting(cluster))
			break;
		obj = capictl_adopt(c, c->deployments, obj, c->clusters, cluster, false, "cluster.x-k8s.io/machinedeployment");
		if (obj) {
			AUTO_JSON json_t *held_obj = json_incref(obj);

			capictl_pool(c, held_obj);
		}
	}
	kcp = kstore_get(c->kcps, c->ns, json_str_or(cluster, "spec.controlPlaneRef.name", ""));
	if (kstore_get(c->clusters, c->ns, c->name))
		capictl_cluster_status(c, kcp && capictl_true(kcp, "Available"));
}

void capictl_run(struct kapi *k)
{
	struct capictl c = { .k = k, .clusters = kres_find(k, CAPI_GROUP, "clusters"),
			     .machines = kres_find(k, CAPI_GROUP, "machines"), .sets = kres_find(k, CAPI_GROUP, "machinesets"),
			     .deployments = kres_find(k, CAPI_GROUP, "machinedeployments"),
			     .configs = kres_find(k, CAPI_BOOTSTRAP, "kubeadmconfigs"),
			     .kcps = kres_find(k, CAPI_CONTROL, "kubeadmcontrolplanes"),
			     .secrets = kres_find(k, "", "secrets") };
	AUTO_JSON json_t *clusters = NULL;
	const char *key;
	json_t *cluster;

	if (!c.clusters || !c.machines || !c.sets || !c.deployments || !c.configs || !c.kcps ||
	    !json_object_size(c.clusters->objects) || !capictl_runs(k, "capi-system") ||
	    !capictl_runs(k, "capi-kubeadm-bootstrap-system") || !capictl_runs(k, "capi-kubeadm-control-plane-system") ||
	    !capictl_infra_runs(k))
		return;
	if (!kcontrol_due(k, "controllers", k->cloud->settings.controllers_ms))
		return;
	json_object_del(k->due, "controllers");
	clusters = json_copy(c.clusters->objects);
	json_object_foreach(clusters, key, cluster) {
		c.ns = kstore_ns(cluster);
		c.name = kstore_name(cluster);
		c.infra_ready = false;
		if (json_bool_or(cluster, "spec.paused", false))
			capictl_pause_all(&c, true);
		else
			capictl_cluster(&c, cluster);
	}
}
