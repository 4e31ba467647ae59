/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_SHAPES_H
#define HOST_CAPI_SHAPES_H

/*
 * Single objects in the v1beta2 shapes of Cluster API. The schemas there refuse empty objects,
 * strings and lists: what is empty is left out. Each returns a new reference; references to other
 * objects are {apiGroup, kind, name}.
 */

#include "core/json.h"

#define CAPI_API "cluster.x-k8s.io/v1beta2"
#define CAPI_BOOTSTRAP_API "bootstrap.cluster.x-k8s.io/v1beta2"
#define CAPI_CONTROL_PLANE_API "controlplane.cluster.x-k8s.io/v1beta2"
#define CAPI_LABEL_CLUSTER "cluster.x-k8s.io/cluster-name"
#define CAPI_LABEL_CONTROL_PLANE "cluster.x-k8s.io/control-plane"
#define CAPI_LABEL_CONTROL_PLANE_NAME "cluster.x-k8s.io/control-plane-name"
#define CAPI_LABEL_DEPLOYMENT "cluster.x-k8s.io/deployment-name"
#define CAPI_SECRET_TYPE "cluster.x-k8s.io/secret"
#define CAPI_POOL "pcg.dev/pool"               /* annotation: name of the machine pool; on its machines and MachineDeployments */
#define CAPI_MACHINE_UID "pcg.dev/machine-uid" /* annotation on machines that the gateway made */

struct shapes {
	const json_t *input; /* of capi_objects_build */
	const json_t *spec;
	const char *cluster, *ns, *version;
	char control_plane[80];     /* name of the control plane object */
	char now[32];               /* for conditions */
	json_t *control_plane_spec; /* kubeadmConfigSpec, nothing empty in it */
};

json_t *shape_reference(const json_t *object);
/* Copy without empty objects, lists, strings and nulls; values of labels, annotations and {name,
 * value} pairs stay as they are. */
json_t *shape_without_empty(const json_t *value);
/* What every object carries: namespace and the cluster's label; members that are there stay. */
void shape_mark(const struct shapes *s, json_t *object);
void shape_annotate(json_t *object, const char *key, const char *value);
void shape_label(json_t *object, const char *key, const char *value);

json_t *shape_cluster(const struct shapes *s, const json_t *infrastructure);
json_t *shape_control_plane(const struct shapes *s, const json_t *pool,
			    const json_t *machine_template);
/* shared: worker_spec is the same for all pools, the pool's labels and taints are added. */
json_t *shape_config_template(const struct shapes *s, const json_t *pool, const char *name,
			      const json_t *worker_spec, bool shared);
/* One of a pool's places (spread.h). */
struct shape_place {
	const char *name, *config; /* of the MachineDeployment, of the KubeadmConfigTemplate */
	int64_t replicas;
	const char *failure_domain; /* NULL: none */
};
json_t *shape_deployment(const struct shapes *s, const json_t *pool, const struct shape_place *place,
			 const json_t *machine_template);
json_t *shape_machine(const struct shapes *s, const json_t *machine, const json_t *infrastructure);
/* first: the machine that ran kubeadm init. */
json_t *shape_config(const struct shapes *s, const json_t *machine, bool first);
json_t *shape_pair_secret(const struct shapes *s, const char *suffix, const char *crt,
			  const char *key);
json_t *shape_kubeconfig_secret(const struct shapes *s, const char *kubeconfig);
json_t *shape_bootstrap_secret(const struct shapes *s, const json_t *machine);
json_t *shape_back_reference(const struct shapes *s);

json_t *shape_cluster_status(const struct shapes *s);
json_t *shape_control_plane_status(const struct shapes *s, size_t machines);
json_t *shape_machine_status(const struct shapes *s, const json_t *machine);
json_t *shape_config_status(const json_t *machine);

#endif
