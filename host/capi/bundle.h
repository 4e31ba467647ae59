/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_BUNDLE_H
#define HOST_CAPI_BUNDLE_H

/* The bundle folder: component files in the layout of clusterctl's local repository
 * (docs/bundle.md). Pure reading, any thread. */

#include "core/error.h"
#include "core/json.h"
#include "host/capi/manifest.h"

#include <stdbool.h>
#include <stddef.h>

#define BUNDLE_PARTS 6
#define BUNDLE_INFRASTRUCTURE 4 /* its number */

/* In order of installation; the folder of the infrastructure's is "infrastructure-" and the provider's name. */
struct bundle_part {
	const char *folder;
	const char *file;
	const char *asset; /* what upstream's release calls it, for errors */
	bool infrastructure;
	bool addresses; /* only for clusters with static addresses */
};
extern const struct bundle_part bundle_parts[BUNDLE_PARTS];

/* Compares versions as semver does: 1.10.0 is newer than 1.9.0, and 1.2.0 newer than 1.2.0-rc.1.
 * *ok false: not both versions. */
int bundle_version_compare(const char *a, const char *b, bool *ok);
/* File of the newest version of a part. path and version are freed by the caller. */
int bundle_find(const char *dir, const char *provider, const struct bundle_part *part, char **path,
		char **version, struct pcg_error *err);
struct bundle_options {
	const char *provider;
	const json_t *variables;
	const char *image_repository; /* NULL or "": images stay as the files name them */
};
/* Its objects: variables substituted, labelled as clusterctl labels them, and tolerating the taint
 * of control-plane nodes; it ends by manifest_put. inventory, if not NULL, gets clusterctl's object
 * for it, or NULL. */
int bundle_load(const char *dir, const struct bundle_options *options,
		const struct bundle_part *part, struct manifest **objects, json_t **inventory,
		struct pcg_error *err);
/* {"dir","items":[{"component","version","file","path","variables":[{"name","default"}],"images",
 * "cause","remedy"}]}; one that is missing has "missing":true, "from", "cause", "remedy" instead; one that
 * only some clusters need has "optional":true, and "note" in place of cause and remedy. */
json_t *bundle_show(const char *dir);
/* True when a pod of this workload (Deployment, DaemonSet, Job, StatefulSet) may run on a tainted
 * control-plane node. */
bool bundle_tolerates(const json_t *workload);

#endif
