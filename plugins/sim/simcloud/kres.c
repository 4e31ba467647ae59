/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kapi.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

/* group, version, plural, kind, namespaced, status */
static const struct {
	const char *group, *version, *plural, *kind;
	bool namespaced, status;
	const char *short_name;
} builtins[] = {
	{ "", "v1", "namespaces", "Namespace", false, true, "ns" },
	{ "", "v1", "nodes", "Node", false, true, "no" },
	{ "", "v1", "persistentvolumes", "PersistentVolume", false, true, "pv" },
	{ "", "v1", "configmaps", "ConfigMap", true, false, "cm" },
	{ "", "v1", "secrets", "Secret", true, false, NULL },
	{ "", "v1", "services", "Service", true, true, "svc" },
	{ "", "v1", "serviceaccounts", "ServiceAccount", true, false, "sa" },
	{ "", "v1", "endpoints", "Endpoints", true, false, "ep" },
	{ "", "v1", "events", "Event", true, false, "ev" },
	{ "", "v1", "pods", "Pod", true, true, "po" },
	{ "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true, true, "pvc" },
	{ "", "v1", "resourcequotas", "ResourceQuota", true, true, "quota" },
	{ "", "v1", "limitranges", "LimitRange", true, false, "limits" },
	{ "apps", "v1", "deployments", "Deployment", true, true, "deploy" },
	{ "apps", "v1", "daemonsets", "DaemonSet", true, true, "ds" },
	{ "apps", "v1", "statefulsets", "StatefulSet", true, true, "sts" },
	{ "apps", "v1", "replicasets", "ReplicaSet", true, true, "rs" },
	{ "batch", "v1", "jobs", "Job", true, true, NULL },
	{ "batch", "v1", "cronjobs", "CronJob", true, true, "cj" },
	{ "rbac.authorization.k8s.io", "v1", "roles", "Role", true, false, NULL },
	{ "rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true, false, NULL },
	{ "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false, false, NULL },
	{ "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false, false, NULL },
	{ "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false, true, "crd" },
	{ "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false, false, NULL },
	{ "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false, false, NULL },
	{ "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", false, true, NULL },
	{ "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", false, false, NULL },
	{ "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true, true, "pdb" },
	{ "coordination.k8s.io", "v1", "leases", "Lease", true, false, NULL },
	{ "networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true, false, "netpol" },
	{ "networking.k8s.io", "v1", "ingresses", "Ingress", true, true, "ing" },
	{ "networking.k8s.io", "v1", "ingressclasses", "IngressClass", false, false, NULL },
	{ "storage.k8s.io", "v1", "storageclasses", "StorageClass", false, false, "sc" },
	{ "storage.k8s.io", "v1", "csidrivers", "CSIDriver", false, false, NULL },
	{ "storage.k8s.io", "v1", "csinodes", "CSINode", false, false, NULL },
	{ "storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", false, true, NULL },
	{ "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false, false, "pc" },
	{ "apiregistration.k8s.io", "v1", "apiservices", "APIService", false, true, NULL },
};

struct kres *kres_find(struct kapi *k, const char *group, const char *plural)
{
	for (size_t i = 0; i < k->n_res; i++)
		if (!k->res[i]->gone && strcmp(k->res[i]->plural, plural) == 0 &&
		    strcmp(k->res[i]->group, group) == 0)
			return k->res[i];
	return NULL;
}

struct kres *kres_by_kind(struct kapi *k, const char *group, const char *kind)
{
	for (size_t i = 0; i < k->n_res; i++)
		if (!k->res[i]->gone && strcmp(k->res[i]->kind, kind) == 0 &&
		    strcmp(k->res[i]->group, group) == 0)
			return k->res[i];
	return NULL;
}

bool kres_serves(const struct kres *r, const char *version)
{
	size_t i;
	json_t *v;

	json_array_foreach(r->versions, i, v)
		if (strcmp(json_string_value(v), version) == 0)
			return true;
	return false;
}

static struct kres *kres_add(struct kapi *k)
{
	struct kres *r = calloc(1, sizeof(*r));

	assert(r);
	if ((k->n_res & (k->n_res - 1)) == 0) {
		k->res = realloc(k->res, (k->n_res ? k->n_res * 2 : 1) * sizeof(struct kres *));
		assert(k->res);
	}
	k->res[k->n_res++] = r;
	r->objects = json_object();
	return r;
}

void kres_add_builtins(struct kapi *k)
{
	for (size_t i = 0; i < ARRAY_LEN(builtins); i++) {
		struct kres *r = kres_add(k);

		r->group = strdup(builtins[i].group);
		r->version = strdup(builtins[i].version);
		r->plural = strdup(builtins[i].plural);
		r->kind = strdup(builtins[i].kind);
		r->singular = strdup(builtins[i].kind);
		for (char *p = r->singular; *p; p++)
			*p = (char)tolower((unsigned char)*p);
		if (asprintf(&r->list_kind, "%sList", r->kind) < 0)
			abort();
		r->versions = json_pack("[s]", builtins[i].version);
		if (builtins[i].short_name)
			r->short_names = json_pack("[s]", builtins[i].short_name);
		r->namespaced = builtins[i].namespaced;
		r->status = builtins[i].status;
		r->builtin = r->established = true;
	}
}

static void kres_set(char **at, const char *value)
{
	free(*at);
	*at = strdup(value);
}

void kres_from_crd(struct kapi *k, const json_t *crd)
{
	const json_t *spec = json_object_get(crd, "spec"), *names = json_object_get(spec, "names");
	const char *group = json_str_or(spec, "group", ""), *kind = json_str_or(names, "kind", "");
	const char *plural = json_str_or(names, "plural", "");
	struct kres *r = kres_find(k, group, plural);
	size_t i;
	json_t *v;

	if (!r) {
		r = kres_add(k);
		r->group = strdup(group);
		r->plural = strdup(plural);
	}
	kres_set(&r->kind, kind);
	kres_set(&r->singular, json_str_or(names, "singular", ""));
	free(r->list_kind);
	r->list_kind = NULL;
	if (json_str(names, "listKind"))
		r->list_kind = strdup(json_str(names, "listKind"));
	else if (asprintf(&r->list_kind, "%sList", kind) < 0)
		abort();
	json_decref(r->versions);
	r->versions = json_array();
	r->status = false;
	json_array_foreach(json_object_get(spec, "versions"), i, v) {
		if (!json_bool_or(v, "served", true))
			continue;
		json_array_append(r->versions, json_object_get(v, "name"));
		if (json_bool_or(v, "storage", false)) {
			kres_set(&r->version, json_str_or(v, "name", ""));
			r->status = json_at(v, "subresources.status") != NULL;
		}
	}
	if (!r->version)
		r->version = strdup(json_string_value(json_array_get(r->versions, 0)) ?: "");
	json_decref(r->short_names);
	r->short_names = json_incref(json_object_get(names, "shortNames"));
	json_decref(r->categories);
	r->categories = json_incref(json_object_get(names, "categories"));
	r->namespaced = strcmp(json_str_or(spec, "scope", ""), "Namespaced") == 0;
}

void kres_remove(struct kapi *k, const char *group, const char *plural)
{
	struct kres *r = kres_find(k, group, plural);

	if (r && !r->builtin) {
		r->gone = true;
		r->established = false;
	}
}

void kres_free_all(struct kapi *k)
{
	for (size_t i = 0; i < k->n_res; i++) {
		struct kres *r = k->res[i];

		free(r->group);
		free(r->version);
		free(r->plural);
		free(r->singular);
		free(r->kind);
		free(r->list_kind);
		json_decref(r->versions);
		json_decref(r->short_names);
		json_decref(r->categories);
		json_decref(r->objects);
		free(r);
	}
	free(k->res);
	k->res = NULL;
	k->n_res = 0;
}

char *kres_api_version(const struct kres *r, const char *version)
{
	char *out;

	if (asprintf(&out, "%s%s%s", r->group, *r->group ? "/" : "", version ? version : r->version) < 0)
		abort();
	return out;
}
