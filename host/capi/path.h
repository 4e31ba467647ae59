/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_PATH_H
#define HOST_CAPI_PATH_H

/*
 * Where an object lives in the API, without discovery: Cluster API computes the name of a
 * definition as lower(plural(kind)).group and asks every provider to keep to that, so the path
 * follows from apiVersion and kind. All results are freed by the caller.
 */

#include "core/json.h"

/* "clusters", "vspheremachines", "k8sproxies". */
char *path_plural(const char *kind);
char *path_collection(const char *api_version, const char *kind, const char *ns);
char *path_object(const char *api_version, const char *kind, const char *ns, const char *name);
/* Of an object that has apiVersion, kind, metadata. */
char *path_of(const json_t *object);
char *path_of_collection(const json_t *object);
/* "Machine/c1-cp-x2k", for progress and errors. */
char *path_label(const json_t *object);
/* The group of an apiVersion: "" for core kinds. */
char *path_group(const char *api_version);

#endif
