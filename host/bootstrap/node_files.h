/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTSTRAP_NODE_FILES_H
#define BOOTSTRAP_NODE_FILES_H

/*
 * Files and commands of a node, in the form of a kubeadmConfigSpec (v1beta2): protected against
 * jinja, and cut where Cluster API limits the length of a file's content.
 */

#include "core/error.h"
#include "core/json.h"

struct node_files {
	json_t *files; /* [{path, owner, permissions, encoding, append, content}] */
	json_t *pre;   /* commands before kubeadm */
	json_t *post;  /* commands after it */
};

/* Everything that the input of bootstrap.h asks for, own parts first. */
int node_files_collect(const json_t *input, bool control_plane, struct node_files *out,
		       struct pcg_error *err);
void node_files_free(struct node_files *n);

/* The rest is for the tests of each part and for the files of this folder. */
void node_files_add(struct node_files *n, const char *path, const char *permissions,
		    const char *owner, bool append, const char *content);
void node_files_command(json_t *list, const char *command); /* protects it */
int node_files_add_proxy(struct node_files *n, const json_t *input, struct pcg_error *err);
int node_files_add_certificates(struct node_files *n, const json_t *input, struct pcg_error *err);
int node_files_add_kube_vip(struct node_files *n, const json_t *input, struct pcg_error *err);
/* The kubelet's provider-id as it stands in the control plane object, NULL: none. */
const char *node_files_provider_id(const json_t *input);
void node_files_add_provider_id(struct node_files *n, const json_t *input);
/* The profile has a cloud provider layer: kubelets say cloud-provider=external. */
bool node_files_cloud_provider(const json_t *spec);

#endif
