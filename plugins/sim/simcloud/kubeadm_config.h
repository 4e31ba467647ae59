/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_KUBEADM_CONFIG_H
#define SIMCLOUD_KUBEADM_CONFIG_H

/* What `kubeadm init` would read and check on a node, in short: certificates, kubeadm.yaml, commands. */

#include "core/error.h"
#include "core/json.h"

/* config: of user_data_read. *out = {"endpoint":{"host","port"}, "version", "clusterName", "serviceSubnet", "podSubnet", "dnsDomain", "nodeName",
 * "providerID", "taints":[..]|null, "labels":{}, "certSANs":[], "externalCloud":bool, "caCert", "caKey", "clusterConfiguration"}; secret. Errors are
 * what the console would show. */
int kubeadm_config_read(const json_t *config, const char *host_name, json_t **out, struct pcg_error *err);

#endif
