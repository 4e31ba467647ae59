/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_BUNDLE_H
#define HOST_CAPI_BUNDLE_H

/* The bundle folder: component files in the layout of clusterctl's local repository
 * (docs/bundle.md). Pure reading, any thread. */

#include "core/error.h"
#include "core/json.h"

#include <stdbool.h>
#include <stddef.h>

#define BUNDLE_PARTS 5

/* In order of installation; the folder of the last is "infrastructure-" and the provider's name. */
struct bundle_part {
	const char *folder;
	const char *file;
	const char *asset; /* what upstream's release calls it, for errors */
	bool infrastructure;
};
extern const struct bundle_part bundle_parts[BUNDLE_PARTS];

/* Compares versions as semver does: 1.10.0 is newer than 1.9.0, and 1.2.0 newer than 1.2.0-rc.1.
 * *ok false: not both versions. */
int bundle_version_compare(const char *a, const char *b, bool *ok);
/* File of the newest version of a part. path and version are freed by the caller. */
int bundle_find(const char *dir, const char *provider, const struct bundle_part *part, char **path,
		char **version, struct pcg_error *err);
/* Its objects: variables substituted, labelled as clusterctl labels them, and tolerating the taint
 * of control-plane nodes. */
int bundle_load(const char *dir, const char *provider, const struct bundle_part *part,
		const json_t *variables, json_t **objects, struct pcg_error *err);
/* True when a pod of this workload (Deployment, DaemonSet, Job, StatefulSet) may run on a tainted
 * control-plane node. */
bool bundle_tolerates(const json_t *workload);

#endif
