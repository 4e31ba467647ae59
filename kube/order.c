/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "kube/kube_impl.h"

/* In which order kinds are applied: what others need to exist comes first. */

#include "core/attr.h"

#include <string.h>

#define RANK_OTHERS 9

static const struct {
	int rank;
	const char *kind;
} ranks[] = {
	{0, "Namespace"},
	{1, "CustomResourceDefinition"},
	{2, "PriorityClass"},
	{2, "StorageClass"},
	{2, "RuntimeClass"},
	{2, "IngressClass"},
	{2, "ResourceQuota"},
	{2, "LimitRange"},
	{2, "CSIDriver"},
	{3, "ServiceAccount"},
	{3, "Secret"},
	{3, "ConfigMap"},
	{4, "ClusterRole"},
	{4, "Role"},
	{5, "ClusterRoleBinding"},
	{5, "RoleBinding"},
	{6, "PersistentVolume"},
	{6, "PersistentVolumeClaim"},
	{6, "Service"},
	{6, "Endpoints"},
	{6, "EndpointSlice"},
	{6, "NetworkPolicy"},
	{7, "DaemonSet"},
	{7, "Deployment"},
	{7, "StatefulSet"},
	{7, "ReplicaSet"},
	{7, "Pod"},
	{7, "Job"},
	{7, "CronJob"},
	{8, "HorizontalPodAutoscaler"},
	{8, "PodDisruptionBudget"},
	{8, "Ingress"},
	{8, "APIService"},
	/* A webhook that answers nobody yet would hold up what comes after it. */
	{10, "MutatingWebhookConfiguration"},
	{10, "ValidatingWebhookConfiguration"},
	{10, "ValidatingAdmissionPolicy"},
	{10, "ValidatingAdmissionPolicyBinding"},
};

int kube_apply_rank(const json_t *object)
{
	const char *kind = json_str_or(object, "kind", "");

	for (size_t i = 0; i < ARRAY_LEN(ranks); i++)
		if (strcmp(ranks[i].kind, kind) == 0)
			return ranks[i].rank;
	return RANK_OTHERS;
}

static void flatten(const json_t *objects, json_t *out, int depth)
{
	size_t i;
	json_t *o;

	json_array_foreach (objects, i, o) {
		const char *kind = json_str_or(o, "kind", "");
		const json_t *items = json_at(o, "items");
		size_t n = strlen(kind);

		if (depth < 8 && n >= 4 && strcmp(kind + n - 4, "List") == 0 &&
		    json_is_array(items))
			flatten(items, out, depth + 1);
		else if (!json_is_null(o))
			json_array_append(out, o);
	}
}

json_t *kube_apply_order(const json_t *objects)
{
	AUTO_JSON json_t *flat = json_array();
	json_t *out = json_array(), *o;
	size_t i;

	flatten(objects, flat, 0);
	for (int rank = 0; rank <= 10; rank++)
		json_array_foreach (flat, i, o)
			if (kube_apply_rank(o) == rank)
				json_array_append(out, o);
	return out;
}
