/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_NODE_SERVE_H
#define SIMCLOUD_NODE_SERVE_H

#include "plugins/sim/simcloud/kapi.h"

/* Serving certificate from the cluster's CA with kubeadm's names, then listens. */
int node_serve_start(struct kapi *k, struct pcg_error *err);
/* What kubeadm init leaves in the API. */
void node_serve_objects(struct kapi *k);

#endif
