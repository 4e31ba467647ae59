/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTSTRAP_KUBEADM_YAML_H
#define BOOTSTRAP_KUBEADM_YAML_H

/* The document that kubeadm init reads: v1beta4, or v1beta3 for Kubernetes 1.30 and older. */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"

/* cluster and node as kubeadm_spec.h makes them. */
int kubeadm_yaml_init(const json_t *input, const json_t *cluster, const json_t *node,
		      struct buf *out, struct pcg_error *err);

#endif
