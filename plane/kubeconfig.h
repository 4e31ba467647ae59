/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_KUBECONFIG_H
#define PLANE_KUBECONFIG_H

/*
 * The kubeconfig that people get. A gateway makes one, for a year, while it builds the cluster, and has
 * nothing to do with it later: the plane makes the next ones, from the recovery document that it keeps.
 */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"

/* 1: out holds a new one, because less than a third of the old one's life was left; 0: the old one is
 * good, or no other can be made. */
int kubeconfig_renew(const char *text, size_t len, const char *cluster_name, const json_t *recovery,
		     struct buf *out /* secret */, struct pcg_error *err);

#endif
