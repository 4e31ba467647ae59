/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/capictl.h"

#include "core/id.h"

#include <stdio.h>
#include <string.h>

static json_t *pool_set(struct capictl *c, const json_t *deployment)
{
	AUTO_JSON json_t *sets = capictl_of_cluster(c, c->sets);
	const char *key, *of;
	json_t *set;

	json_object_foreach(sets, key, set) {
		of = kstore_label(set, CAPI_MD_LABEL);
		if (of && strcmp(of, kstore_name(deployment)) == 0 && !capictl_deleting(set))
			return json_object_get(c->sets->objects, key);
	}
	return NULL;
}

static json_t *pool_make_set(struct capictl *c, const json_t *deployment)
{
	AUTO_FREE char *name = NULL, *hash = NULL, *api_version = kres_api_version(c->sets, NULL);
	AUTO_FREE char *template = json_dumps(json_at(deployment, "spec.template"), JSON_COMPACT | JSON_SORT_KEYS);
	AUTO_JSON json_t *labels = NULL;
	uint32_t h = 2166136261u;
	json_t *set, *spec;
	char suffix[6];

	for (const char *p = template; p && *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	id_suffix(suffix, 5);
	if (asprintf(&name, "%s-%s", kstore_name(deployment), suffix) < 0 || asprintf(&hash, "%u-%s", h, suffix) < 0)
		abort();
	labels = json_pack("{s:s, s:s, s:s, s:s}", CAPI_NAME_LABEL, c->name, CAPI_MD_LABEL, kstore_name(deployment), CAPI_MS_LABEL,
			   name, "machine-template-hash", hash);
	json_object_update_missing(labels, json_at(deployment, "spec.template.metadata.labels") ?: json_null());
	spec = json_pack("{s:s, s:I, s:{s:{s:s, s:s}}, s:{s:{s:O}, s:O}}", "clusterName", c->name, "replicas",
			 (json_int_t)json_int_or(deployment, "spec.replicas", 1), "selector", "matchLabels", CAPI_MD_LABEL,
			 kstore_name(deployment), "machine-template-hash", hash, "template", "metadata", "labels", labels, "spec",
			 json_at(deployment, "spec.template.spec"));
	set = json_pack("{s:s, s:s, s:{s:s, s:s, s:O}, s:o}", "apiVersion", api_version, "kind", "MachineSet", "metadata", "name", name,
			"namespace", c->ns, "labels", labels, "spec", spec);
	return kstore_create(c->k, c->sets, set);
}

static json_t *pool_machines(struct capictl *c, const json_t *set)
{
	AUTO_JSON json_t *all = capictl_of_cluster(c, c->machines);
	json_t *out = json_object(), *m;
	const char *key, *of;

	json_object_foreach(all, key, m) {
		of = kstore_label(m, CAPI_MS_LABEL);
		if (of && strcmp(of, kstore_name(set)) == 0 && !capictl_deleting(m))
			json_object_set(out, key, m);
	}
	return out;
}

static void pool_grow(struct capictl *c, const json_t *set)
{
	const json_t *spec = json_at(set, "spec.template.spec");
	const json_t *ref = json_at(spec, "bootstrap.configRef");
	struct kres *templates = kres_by_kind(c->k, CAPI_BOOTSTRAP, "KubeadmConfigTemplate");
	const json_t *template = templates ? kstore_get(templates, c->ns, json_str_or(ref, "name", "")) : NULL;
	AUTO_FREE char *name = NULL;
	char suffix[6];

	if (!template || !c->infra_ready)
		return;
	id_suffix(suffix, 5);
	if (asprintf(&name, "%s-%s", kstore_name(set), suffix) < 0)
		abort();
	capictl_machine_make(c, name, json_at(set, "spec.template.metadata.labels"), spec, json_at(template, "spec.template.spec"),
			     c->sets, set);
}

static void pool_status(struct capictl *c, struct kres *r, const char *name, json_int_t want, json_int_t n, json_int_t ready)
{
	json_t *obj = kstore_get(r, c->ns, name), *edited;

	if (!obj)
		return;
	edited = kstore_edit(obj);
	if (!json_object_get(edited, "status"))
		json_object_set_new(edited, "status", json_object());
	json_put(edited, "status.replicas", json_integer(n));
	json_put(edited, "status.readyReplicas", json_integer(ready));
	json_put(edited, "status.availableReplicas", json_integer(ready));
	json_put(edited, "status.upToDateReplicas", json_integer(n));
	json_put(edited, "status.observedGeneration", json_integer(json_int_or(obj, "metadata.generation", 1)));
	kcontrol_condition(edited, "Available", ready >= want ? "True" : "False", ready >= want ? "Available" : "NotAvailable", "");
	kstore_update(c->k, r, edited);
}

void capictl_pool(struct capictl *c, json_t *deployment)
{
	AUTO_JSON json_t *set = json_incref(pool_set(c, deployment)), *machines = NULL;
	json_int_t want = json_int_or(deployment, "spec.replicas", 1), ready = 0;
	size_t n;
	const char *key;
	json_t *m;

	if (!set)
		set = json_incref(pool_make_set(c, deployment));
	if (json_int_or(set, "spec.replicas", 0) != want) {
		json_t *edited = kstore_edit(set);

		json_put(edited, "spec.replicas", json_integer(want));
		json_decref(set);
		set = json_incref(kstore_update(c->k, c->sets, edited));
	}
	m = capictl_adopt(c, c->sets, set, c->deployments, deployment, true, "cluster.x-k8s.io/machineset");
	json_incref(m);
	json_decref(set);
	set = m;
	machines = pool_machines(c, set);
	n = json_object_size(machines);
	json_object_foreach(machines, key, m) {
		ready += capictl_true(m, "Ready");
		capictl_adopt(c, c->machines, m, c->sets, set, true, "machine.cluster.x-k8s.io");
	}
	for (json_int_t i = (json_int_t)n; i < want; i++)
		pool_grow(c, set);
	json_object_foreach(machines, key, m) {
		if ((json_int_t)n-- <= want)
			break;
		kstore_delete(c->k, c->machines, json_object_get(c->machines->objects, key), NULL);
	}
	pool_status(c, c->sets, kstore_name(set), want, (json_int_t)json_object_size(machines), ready);
	pool_status(c, c->deployments, kstore_name(deployment), want, (json_int_t)json_object_size(machines), ready);
}
