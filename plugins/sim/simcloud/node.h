/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_NODE_H
#define SIMCLOUD_NODE_H

/* From a machine that is on to a Kubernetes API that answers, and back. */

#include "plugins/sim/simcloud/kapi.h"
#include "plugins/sim/simcloud/machine.h"

void node_machine_on(struct machine *m);
void node_machine_off(struct machine *m);
void node_machine_gone(struct machine *m);

/* An API of a machine that somebody else runs. {"id","address","userData","metadata","providerID"}; errors are what the console shows. */
int node_api_add(struct cloud *c, const json_t *body, struct kapi **out, struct pcg_error *err);
/* The machine is off; its disk stays. */
void node_api_off(struct kapi *k);
/* The machine and its disk are gone. */
void node_api_remove(struct kapi *k);

void node_load(struct cloud *c, const char *id, json_t *body);
/* Stops answering; what is stored stays. */
void node_stop(struct kapi *k);
void node_close(struct kapi *k);
void node_free(struct kapi *k);

/* The cluster's API that a sim machine belongs to; NULL: none. */
struct kapi *node_api_of(struct cloud *c, const char *cluster_uid);
/* Registers a node, as kubelet does. taints NULL: none. */
void node_register(struct kapi *k, const char *name, const char *provider_id, const char *address, bool control_plane,
		   const json_t *taints);

#endif
