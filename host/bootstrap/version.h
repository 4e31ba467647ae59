/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTSTRAP_VERSION_H
#define BOOTSTRAP_VERSION_H

/* A Kubernetes version, and what depends on it. */

#include <stdbool.h>

struct version {
	int major, minor, patch;
};

/* "v1.36.3", also without the v, with a pre-release or build suffix. */
bool version_parse(const char *text, struct version *out);
/* kubeadm's API: v1beta4 from 1.31 on, v1beta3 before. */
bool version_has_v1beta4(const struct version *v);
/* kubeadm's feature gate ControlPlaneKubeletLocalMode exists from 1.31 to 1.35; Cluster API sets
 * it. */
bool version_has_kubelet_local_mode(const struct version *v);

#endif
