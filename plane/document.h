/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_DOCUMENT_H
#define PLANE_DOCUMENT_H

/* From a public request to the cluster document of docs/spec.md. What is missing becomes "problems"
 * in the document; an error is only a fault of ours. */

#include "plane/plane.h"

/* cluster: row "cluster". *doc: new reference, without generation and desired. */
int document_build(struct plane *p, const json_t *cluster, json_t **doc, struct pcg_error *err);

/* The parts, for tests. */

/* Appends {field, text, remedy}. */
void document_problem(json_t *problems, const char *field, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Palette's layer of a pack: its "layer", else by its name. k8s, os, cni, cloud-provider, csi, addon. */
const char *document_layer(const json_t *pack);
/* Puts variables ({name: text}) into {{.spectro.var.NAME}}; unknown ones become problems. Caller frees. */
char *document_substitute(const char *text, const json_t *vars, const char *field, json_t *problems);
/* "1.36.3" or "v1.36.3" to "v1.36.3"; false: no such version. */
bool document_kubernetes_version(const char *tag, char out[32]);
/* Merges the kubeadmconfig of one layer's values into config (extraArgs by name, lists appended). */
void document_merge_kubeadm(json_t *config, const json_t *kubeadmconfig, const char *field,
			    const char *pack_dir, json_t *problems);
/* packs: in order, each {name, tag, type, layer, values, manifests, vars}; fills kubernetesVersion, podCIDR, ...,
 * layers of doc and the os layer's name in *os (borrowed from packs; NULL: none). */
void document_add_packs(const char *packs_dir, const json_t *packs, json_t *doc, json_t *problems,
			const json_t **os);

#endif
