/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/capictl.h"

#include "core/base64.h"
#include "core/log.h"
#include "plugins/sim/simcloud/machine.h"
#include "plugins/sim/simcloud/node.h"

#include <string.h>

static const char join_data[] =
	"## template: jinja\n"
	"#cloud-config\n"
	"\n"
	"write_files:\n"
	"- path: /run/cluster-api/placeholder\n"
	"  content: placeholder to create the /run/cluster-api directory\n"
	"runcmd:\n"
	"- 'kubeadm join --config /run/kubeadm/kubeadm-join-config.yaml && "
	"echo success > /run/cluster-api/bootstrap-success.complete'\n";

static json_t *machine_object(const struct capictl *c, const struct kres *r, const char *name, const json_t *labels,
			      json_t *spec)
{
	AUTO_FREE char *api_version = kres_api_version(r, NULL);

	return json_pack("{s:s, s:s, s:{s:s, s:s, s:O}, s:o}", "apiVersion", api_version, "kind", r->kind, "metadata", "name",
			 name, "namespace", c->ns, "labels", labels, "spec", spec);
}

static struct kres *machine_infra_res(struct capictl *c, const char *kind)
{
	return kres_by_kind(c->k, CAPI_INFRA, kind);
}

/* "SimMachineTemplate" -> "SimMachine". */
static struct kres *machine_kind_of_template(struct capictl *c, const char *template_kind)
{
	AUTO_FREE char *kind = strdup(template_kind);
	char *end = strstr(kind, "Template");

	if (end)
		*end = '\0';
	return machine_infra_res(c, kind);
}

static void machine_make_infra(struct capictl *c, struct kres *r, const char *name, const json_t *labels,
			       const json_t *template_ref, const json_t *template)
{
	json_t *spec = json_deep_copy(json_at(template, "spec.template.spec")), *obj;

	obj = machine_object(c, r, name, labels, spec ? spec : json_object());
	json_put(obj, "metadata.annotations", json_object());
	json_object_set_new(json_at(obj, "metadata.annotations"), "cluster.x-k8s.io/cloned-from-name",
			    json_string(json_str_or(template_ref, "name", "")));
	json_object_set_new(json_at(obj, "metadata.annotations"), "cluster.x-k8s.io/cloned-from-groupkind",
			    json_sprintf("%s." CAPI_INFRA, json_str_or(template_ref, "kind", "")));
	kstore_create(c->k, r, obj);
}

static void machine_make_secret(struct capictl *c, const char *name)
{
	AUTO_FREE char *value = base64_encode(join_data, sizeof(join_data) - 1);
	AUTO_FREE char *format = base64_encode("cloud-config", 12);

	kstore_create(c->k, c->secrets,
		      json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s}}, s:s, s:{s:s, s:s}}", "apiVersion", "v1", "kind", "Secret",
				"metadata", "name", name, "namespace", c->ns, "labels", CAPI_NAME_LABEL, c->name, "type",
				"cluster.x-k8s.io/secret", "data", "value", value, "format", format));
}

void capictl_machine_make(struct capictl *c, const char *name, const json_t *labels, const json_t *machine_spec,
			  const json_t *config_spec, const struct kres *owner_res, const json_t *owner)
{
	const json_t *template_ref = json_object_get(machine_spec, "infrastructureRef");
	struct kres *template_res = kres_by_kind(c->k, CAPI_INFRA, json_str_or(template_ref, "kind", ""));
	struct kres *r = machine_kind_of_template(c, json_str_or(template_ref, "kind", ""));
	const json_t *template = template_res ? kstore_get(template_res, c->ns, json_str_or(template_ref, "name", "")) : NULL;
	json_t *machine;

	if (!r || !template)
		return;
	machine_make_infra(c, r, name, labels, template_ref, template);
	kstore_create(c->k, c->configs, machine_object(c, c->configs, name, labels,
						       config_spec ? json_deep_copy(config_spec) : json_object()));
	machine_make_secret(c, name);
	machine = machine_object(c, c->machines, name, labels,
				 json_pack("{s:s, s:O?, s:{s:{s:s, s:s, s:s}, s:s}, s:{s:s, s:s, s:s}}", "clusterName", c->name, "version",
					   json_object_get(machine_spec, "version"), "bootstrap", "configRef", "apiGroup",
					   CAPI_BOOTSTRAP, "kind", "KubeadmConfig", "name", name, "dataSecretName", name,
					   "infrastructureRef", "apiGroup", CAPI_INFRA, "kind", r->kind, "name", name));
	machine = kstore_create(c->k, c->machines, machine);
	capictl_adopt(c, c->machines, machine, owner_res, owner, true, "machine.cluster.x-k8s.io");
	log_info("simcloud_controllers_machine", LS("api", c->k->id), LS("name", name));
}

/* ---- the machine behind an infrastructure object ---- */

static const char *machine_cloud_uid(const json_t *infra)
{
	const char *uid = json_str(infra, "spec.uid"), *id = json_str(infra, "spec.providerID");

	if (!uid && id && strncmp(id, "sim://", 6) == 0)
		uid = id + 6;
	return uid ? uid : kstore_uid(infra);
}

static struct machine *machine_ensure_cloud(struct capictl *c, const json_t *infra, bool control_plane, const char *address,
					    struct pcg_error *err)
{
	AUTO_JSON json_t *body = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:O?, s:I, s:I}", "name", kstore_name(infra), "pool", json_str_or(infra, "spec.mark.pool", ""),
		"cluster", json_str_or(c->k->config, "simCluster", ""), "role", control_plane ? "control-plane" : "worker", "userData",
		join_data, "mark", json_at(infra, "spec.mark"), "cpus", (json_int_t)json_int_or(infra, "spec.cpus", 2), "memoryMiB",
		(json_int_t)json_int_or(infra, "spec.memoryMiB", 4096));
	struct machine *m = NULL;
	bool made;

	if (address)
		json_put_str(body, "address", address);
	if (machine_ensure(c->k->cloud, machine_cloud_uid(infra), body, &m, &made, err))
		return NULL;
	return m;
}

/* A SimMachine without a machine gets one; with one that is on, a provider id and a node. True: it is provisioned. */
static bool machine_sim(struct capictl *c, struct kres *r, json_t *infra, bool control_plane)
{
	bool ready = json_str(infra, "spec.providerID") != NULL;
	AUTO_FREE char *provider_id = NULL;
	struct pcg_error err = { 0 };
	struct machine *m;
	const char *address;
	json_t *edited;

	if (!ready && !c->infra_ready)
		return false;
	if (!capictl_addresses(c, r, infra, &address)) {
		kcontrol_again(c->k, 1000);
		return false;
	}
	m = ready ? map_get(&c->k->cloud->machines, machine_cloud_uid(infra)) :
		    machine_ensure_cloud(c, infra, control_plane, address, &err);
	edited = kstore_edit(infra);
	if (!m) {
		kcontrol_condition(edited, "Ready", "False", ready ? "NotFound" : "CreateFailed",
				   ready ? "the machine is not there any more" : err.text);
		kstore_update(c->k, r, edited);
		kcontrol_again(c->k, 1000);
		return false;
	}
	if (m->state == MACHINE_ON) {
		if (asprintf(&provider_id, "sim://%s", m->uid) < 0)
			abort();
		if (!ready)
			json_put_str(edited, "spec.providerID", provider_id);
		if (!kstore_get(kres_find(c->k, "", "nodes"), NULL, m->name) && !ready)
			node_register(c->k, m->name, provider_id, m->address, false, NULL);
		kcontrol_condition(edited, "Ready", "True", "Provisioned", "");
		json_put(edited, "status.initialization", json_pack("{s:b}", "provisioned", 1));
		json_put(edited, "status.addresses", json_pack("[{s:s, s:s}, {s:s, s:s}]", "type", "InternalIP", "address",
							       m->address, "type", "Hostname", "address", m->name));
		ready = true;
	} else {
		kcontrol_condition(edited, "Ready", "False", machine_state_name(m), "");
		ready = false;
	}
	kstore_update(c->k, r, edited);
	return ready;
}

static void machine_end(struct capictl *c, json_t *machine, struct kres *r, json_t *infra)
{
	const char *name = kstore_name(machine);
	struct kres *nodes = kres_find(c->k, "", "nodes");
	struct machine *m = infra && strcmp(r->kind, "SimMachine") == 0 ?
			    map_get(&c->k->cloud->machines, machine_cloud_uid(infra)) : NULL;
	AUTO_JSON json_t *node = json_incref(kstore_get(nodes, NULL, json_str_or(machine, "status.nodeRef.name", "")));
	AUTO_JSON json_t *held = json_incref(infra), *config = NULL, *secret = NULL;

	if (m) {
		machine_delete(m);
		return;
	}
	if (node)
		kstore_delete(c->k, nodes, node, NULL);
	if (held)
		capictl_addresses_release(c, held);
	if (held && !capictl_deleting(held))
		kstore_delete(c->k, r, held, NULL);
	json_decref(held);
	held = json_incref(r ? kstore_get(r, c->ns, json_str_or(machine, "spec.infrastructureRef.name", "")) : NULL);
	if (held)
		capictl_drop_finalizers(c, r, held);
	config = json_incref(kstore_get(c->configs, c->ns, name));
	if (config)
		kstore_delete(c->k, c->configs, config, NULL);
	secret = json_incref(kstore_get(c->secrets, c->ns, name));
	if (secret)
		kstore_delete(c->k, c->secrets, secret, NULL);
	capictl_drop_finalizers(c, c->machines, machine);
}

static const json_t *machine_node(struct capictl *c, const char *provider_id)
{
	const char *key;
	json_t *node;

	if (!provider_id)
		return NULL;
	json_object_foreach(kres_find(c->k, "", "nodes")->objects, key, node)
		if (strcmp(json_str_or(node, "spec.providerID", ""), provider_id) == 0)
			return node;
	return NULL;
}

static void machine_status(struct capictl *c, const char *name, const json_t *infra, bool provisioned)
{
	json_t *edited = kstore_edit(kstore_get(c->machines, c->ns, name));
	const char *id = infra ? json_str(infra, "spec.providerID") : NULL;
	const json_t *node;
	bool up;

	if (id)
		json_put_str(edited, "spec.providerID", id);
	node = machine_node(c, json_str(edited, "spec.providerID"));
	up = provisioned && node && capictl_true(node, "Ready");
	json_put(edited, "status.initialization", json_pack("{s:b, s:b}", "infrastructureProvisioned", provisioned,
							    "bootstrapDataSecretCreated", 1));
	json_put(edited, "status.phase", json_string(node && provisioned ? "Running" : provisioned ? "Provisioned" : "Provisioning"));
	if (node)
		json_put(edited, "status.nodeRef", json_pack("{s:s}", "name", kstore_name(node)));
	if (json_at(infra, "status.addresses"))
		json_put(edited, "status.addresses", json_deep_copy(json_at(infra, "status.addresses")));
	kcontrol_condition(edited, "BootstrapConfigReady", "True", "Ready", "");
	kcontrol_condition(edited, "InfrastructureReady", provisioned ? "True" : "False", "InfrastructureReady", "");
	kcontrol_condition(edited, "NodeHealthy", up ? "True" : "Unknown", up ? "NodeHealthy" : "WaitingForNode", "");
	kcontrol_condition(edited, "Ready", up ? "True" : "False", up ? "Ready" : "NotReady", "");
	kcontrol_condition(edited, "Available", up ? "True" : "False", up ? "Available" : "NotReady", "");
	kstore_update(c->k, c->machines, edited);
}

static void machine_own_parts(struct capictl *c, json_t *machine, struct kres *r, json_t *infra)
{
	json_t *config = kstore_get(c->configs, c->ns, json_str_or(machine, "spec.bootstrap.configRef.name", ""));
	json_t *secret = kstore_get(c->secrets, c->ns, json_str_or(machine, "spec.bootstrap.dataSecretName", ""));

	config = capictl_adopt(c, c->configs, config, c->machines, machine, true, NULL);
	if (config && secret)
		capictl_adopt(c, c->secrets, secret, c->configs, config, true, NULL);
	if (infra)
		capictl_adopt(c, r, infra, c->machines, machine, true,
			      strcmp(r->kind, "SimMachine") ? "vspheremachine.infrastructure.cluster.x-k8s.io" :
							      "simmachine.infrastructure.cluster.x-k8s.io");
}

void capictl_machine(struct capictl *c, json_t *machine)
{
	const char *name = kstore_name(machine), *infra_name = json_str_or(machine, "spec.infrastructureRef.name", "");
	AUTO_JSON json_t *now = json_incref(kstore_get(c->machines, c->ns, name)), *infra = NULL;
	struct kres *r;
	bool control_plane, provisioned;

	if (!now)
		return;
	control_plane = kstore_label(now, CAPI_CP_LABEL) != NULL;
	r = machine_infra_res(c, json_str_or(now, "spec.infrastructureRef.kind", ""));
	infra = r ? json_incref(kstore_get(r, c->ns, infra_name)) : NULL;
	if (capictl_deleting(now)) {
		machine_end(c, now, r, infra);
		return;
	}
	machine_own_parts(c, now, r, infra);
	json_decref(infra);
	infra = r ? json_incref(kstore_get(r, c->ns, infra_name)) : NULL;
	if (infra && strcmp(r->kind, "SimMachine") == 0)
		provisioned = machine_sim(c, r, infra, control_plane);
	else
		provisioned = infra && json_str(infra, "spec.providerID");
	json_decref(infra);
	infra = r ? json_incref(kstore_get(r, c->ns, infra_name)) : NULL;
	machine_status(c, name, infra, provisioned);
}
