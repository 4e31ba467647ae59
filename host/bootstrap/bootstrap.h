/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_BOOTSTRAP_H
#define HOST_BOOTSTRAP_H

/*
 * What the first control-plane node is made from: keys, certificates, kubeadm configuration, cloud-init user data; and the same
 * configuration as a KubeadmControlPlane carries it. Pure computing: no I/O, any thread (run on the loop's pool).
 * spec is a cluster's spec (docs/spec.md).
 */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"
#include "core/secret.h"

/* {"algorithm":"ECDSA-P256|RSA-2048","ca":{"crt","key"},"etcd":{"crt","key"},"proxy":{"crt","key"},"sa":{"pub","key"}}: secret.
 * ECDSA P-256 from Kubernetes 1.31 on unless the spec says RSA, RSA-2048 before. */
int bootstrap_keys_new(const json_t *spec, int64_t now_ms, json_t **keys, struct pcg_error *err);

/*
 * input: {"spec":{...}, "machine":{"uid","name","pool"}, "endpoint":{"host","port"}, "keys":{...},
 *   "proxy":{"httpProxy","httpsProxy","noProxy":[..]}|null     after policy
 *   "certificates":[{"name","pem"}]                             tenant and policy: trusted by nodes
 *   "files":[{"path","content","owner","permissions"}], "preKubeadmCommands":[], "postKubeadmCommands":[]   from policy
 *   "providerIDCommand": "smbios-vmware"|"sim"|null,
 *   "imageRepository": where the image of kube-vip is instead; absent or "": where it is made }
 * The spec's kubeadmConfig (profile files, commands, arguments), sshKeys and ntpServers are taken from spec.
 */
int bootstrap_user_data(const json_t *input, struct buf *out /* secret */, struct pcg_error *err);
/* The same input as kubeadmConfigSpec of a KubeadmControlPlane (v1beta2), and of a worker's KubeadmConfigTemplate. */
int bootstrap_control_plane_spec(const json_t *input, json_t **kubeadm_config_spec, struct pcg_error *err);
/* The spec of the first machine's own KubeadmConfig: as the control plane's, without joinConfiguration, and with the
 * feature gate that the controller adds to what it compares with (Kubernetes 1.31 to 1.35). */
int bootstrap_first_machine_spec(const json_t *input, json_t **kubeadm_config_spec, struct pcg_error *err);
int bootstrap_worker_spec(const json_t *input, json_t **kubeadm_config_spec, struct pcg_error *err);
/* Whole kubeadm.yaml of the first node (for tests with kubeadm): ClusterConfiguration and InitConfiguration. */
int bootstrap_kubeadm_yaml(const json_t *input, struct buf *out, struct pcg_error *err);

/* NO_PROXY for nodes: what is given, and always loopback, pod and service ranges, .svc, .cluster.local, endpoint, 169.254.169.254. New array. */
json_t *bootstrap_no_proxy(const json_t *spec, const json_t *endpoint, const json_t *no_proxy);

/* An admin client certificate (CN kubernetes-admin or the given one, O system:masters) of the given life. */
int bootstrap_mint_admin(const json_t *keys, const char *common_name, int64_t life_ms, char **cert_pem,
			 struct secret **key_pem, struct pcg_error *err);
/* kubeconfig in CAPI's names: cluster NAME, user NAME-admin, context NAME-admin@NAME. */
int bootstrap_kubeconfig(const char *cluster_name, const json_t *endpoint, const json_t *keys, int64_t life_ms,
			 struct buf *out /* secret */, struct pcg_error *err);
/* What is wrong with a spec for bootstrap: array of {"field","text","remedy"} (version unknown, bad CIDR, ...); empty when fine. New reference. */
json_t *bootstrap_check(const json_t *spec);

#endif
