/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTSTRAP_KUBEADM_SPEC_H
#define BOOTSTRAP_KUBEADM_SPEC_H

/* kubeadm's part of a kubeadmConfigSpec (Cluster API v1beta2). */

#include "core/error.h"
#include "core/json.h"

enum kubeadm_spec_form {
	KUBEADM_SPEC_SHARED, /* for the objects: the same for every node; protected against jinja */
	KUBEADM_SPEC_FIRST,  /* for the first node's user data: protected */
	KUBEADM_SPEC_PLAIN,  /* for the first node as kubeadm reads it: rendered */
};

/* {"apiServer", "controllerManager", ...}; may be empty. */
json_t *kubeadm_spec_cluster(const json_t *input, enum kubeadm_spec_form form);
/* A nodeRegistration. */
json_t *kubeadm_spec_node(const json_t *input, bool control_plane, enum kubeadm_spec_form form);
/* A label that Cluster API copies from a Machine to its Node: a kubelet that is told to give it to itself does not start. */
bool kubeadm_spec_label_of_machine(const char *label);
/* The pool of the spec that the input's machine belongs to; NULL when there is none. */
const json_t *kubeadm_spec_pool(const json_t *input, bool control_plane);

#endif
