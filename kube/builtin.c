/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "kube/kube_impl.h"

/*
 * Where the kinds are that every Kubernetes serves: what a stable version of an API group calls a
 * kind, and whether it is namespaced, never changes. Saves the largest answers of discovery, before
 * the first object can be sent. Whatever is not here is asked for.
 */

#include "core/attr.h"

#include <string.h>

static const struct {
	const char *version;
	struct kube_resource resource;
} builtin[] = {
	{"v1", {"Namespace", "namespaces", false}},
	{"v1", {"ConfigMap", "configmaps", true}},
	{"v1", {"Secret", "secrets", true}},
	{"v1", {"Service", "services", true}},
	{"v1", {"ServiceAccount", "serviceaccounts", true}},
	{"v1", {"Pod", "pods", true}},
	{"apps/v1", {"DaemonSet", "daemonsets", true}},
	{"apps/v1", {"Deployment", "deployments", true}},
	{"apps/v1", {"StatefulSet", "statefulsets", true}},
	{"apiextensions.k8s.io/v1",
	 {"CustomResourceDefinition", "customresourcedefinitions", false}},
	{"rbac.authorization.k8s.io/v1", {"ClusterRole", "clusterroles", false}},
	{"rbac.authorization.k8s.io/v1", {"ClusterRoleBinding", "clusterrolebindings", false}},
	{"rbac.authorization.k8s.io/v1", {"Role", "roles", true}},
	{"rbac.authorization.k8s.io/v1", {"RoleBinding", "rolebindings", true}},
	{"admissionregistration.k8s.io/v1",
	 {"MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false}},
	{"admissionregistration.k8s.io/v1",
	 {"ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false}},
	{"batch/v1", {"Job", "jobs", true}},
};

const struct kube_resource *kube_builtin(const char *version, const char *kind)
{
	for (size_t i = 0; i < ARRAY_LEN(builtin); i++)
		if (strcmp(builtin[i].resource.kind, kind) == 0 &&
		    strcmp(builtin[i].version, version) == 0)
			return &builtin[i].resource;
	return NULL;
}
