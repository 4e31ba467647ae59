/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_CAPICTL_H
#define SIMCLOUD_CAPICTL_H

/*
 * The controllers of Cluster API in short: they run while their Deployments do, adopt what they find
 * the way the real ones do, wrong things included, and build machines in the simulated cloud.
 * capictl.c: which clusters, pause, the Cluster and its control plane; capictl_machine.c: one machine;
 * capictl_pool.c: MachineDeployments.
 */

#include "plugins/sim/simcloud/kapi.h"

#define CAPI_GROUP "cluster.x-k8s.io"
#define CAPI_BOOTSTRAP "bootstrap.cluster.x-k8s.io"
#define CAPI_CONTROL "controlplane.cluster.x-k8s.io"
#define CAPI_INFRA "infrastructure.cluster.x-k8s.io"
#define CAPI_NAME_LABEL "cluster.x-k8s.io/cluster-name"
#define CAPI_CP_LABEL "cluster.x-k8s.io/control-plane"
#define CAPI_MD_LABEL "cluster.x-k8s.io/deployment-name"
#define CAPI_MS_LABEL "cluster.x-k8s.io/set-name"

struct capictl {
	struct kapi *k;
	const char *ns, *name;      /* of the Cluster */
	struct kres *clusters, *machines, *sets, *deployments, *configs, *kcps, *secrets;
	bool infra_ready;
};

/* capictl.c */
json_t *capictl_of_cluster(const struct capictl *c, const struct kres *r); /* key -> object, new reference */
/* Edits, owns and stores in one: owner NULL, finalizer NULL leave it. Returns what is stored, borrowed. */
json_t *capictl_adopt(struct capictl *c, struct kres *r, json_t *obj, const struct kres *owner_res, const json_t *owner,
		      bool controller, const char *finalizer);
void capictl_drop_finalizers(struct capictl *c, struct kres *r, const json_t *obj);
bool capictl_deleting(const json_t *obj);
bool capictl_true(const json_t *obj, const char *condition);

/* capictl_machine.c */
/* One Machine a step further. */
void capictl_machine(struct capictl *c, json_t *machine);
/* A new Machine with its KubeadmConfig, bootstrap Secret and infrastructure machine. labels, spec are borrowed. */
void capictl_machine_make(struct capictl *c, const char *name, const json_t *labels, const json_t *machine_spec,
			  const json_t *config_spec, const struct kres *owner_res, const json_t *owner);

/* capictl_address.c */
/* Of an infrastructure machine, from the pools that it names. False: not all of them have one. *address: the first, borrowed;
 * NULL: it names none. */
bool capictl_addresses(struct capictl *c, struct kres *r, const json_t *infra, const char **address);
void capictl_addresses_release(struct capictl *c, const json_t *infra);

/* capictl_pool.c */
void capictl_pool(struct capictl *c, json_t *deployment);

#endif
