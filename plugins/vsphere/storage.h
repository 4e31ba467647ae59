/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_STORAGE_H
#define PLUGINS_VSPHERE_STORAGE_H

#include "plugins/vsphere/placement.h"

#define POLICY_ID 64

/*
 * The storage policy that is asked for: its id in policy, and whether the datastore satisfies it; when none is
 * named, the one with the most free space of those that the compute cluster sees and that do becomes spot's. What cannot be is
 * added to problems. Nothing is asked without a policy. What a machine takes is spot's, and is promised on the datastore (promise.h).
 */
int storage_policy(struct vsphere *v, struct pcg_call *call, const struct vs_options *o, struct spot *spot,
		   char policy[POLICY_ID], json_t *problems, struct vs_err *err);
/* The same for machines that are not made now: nothing is promised. */
int storage_check(struct vsphere *v, struct pcg_call *call, const struct vs_options *o, struct spot *spot,
		  json_t *problems, struct vs_err *err);
/* A policy's name, as the vSphere controllers want it, of its name or id. What is not known stays as it is. */
int storage_policy_name(struct vsphere *v, struct pcg_call *call, const char *policy, char *name, size_t size, struct vs_err *err);
/* The datastore of spot's datastore cluster that vCenter recommends for a clone becomes spot's: the first that has room when what
 * others were promised is taken off it, else another of the cluster's that has, else the first; without Storage DRS the one that has
 * the most left. After storage_policy(). write writes the clone's specification as the element that it is given the name of. */
int storage_recommend(struct vsphere *v, struct pcg_call *call, const char *name, struct spot *spot,
		      void (*write)(struct soap *s, const char *element, void *arg), void *arg, struct vs_err *err);
/* Path of the datastore of spot's datastore cluster that has the most free space now, of those that its compute cluster reaches: the
 * vSphere controllers know no clusters. */
int storage_member(struct vsphere *v, struct pcg_call *call, const struct spot *spot, char *path, size_t size, struct vs_err *err);

#endif
