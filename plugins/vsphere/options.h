/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_OPTIONS_H
#define PLUGINS_VSPHERE_OPTIONS_H

#include "plugins/vsphere/vsphere.h"

/*
 * What a request says of a pool's machines beside their place: plugins/vsphere/README.md has the table. A member of
 * the pool's cloudConfig holds, else the one of that name in the cluster's cloudConfig, else the account's setting.
 */

struct vs_share {
	json_int_t reservation, limit, shares; /* MHz or MiB; 0: not set */
};

/* Texts and lists are those of the documents. 0, "" and NULL: not set. */
struct vs_options {
	json_int_t cpus, cores, memory_mib, disk_gib;
	struct vs_share cpu, memory;
	const json_t *template_disks; /* GiB of the template's further disks, in order */
	const json_t *data_disks;     /* {"name","sizeGiB","provisioningMode"} */
	bool linked;
	bool anti_affinity, together;  /* asked for; refused */
	const char *snapshot, *hardware, *policy, *notes, *power_off_mode;
	json_int_t soft_off_s;
	const json_t *tags, *attributes;
};

/* Fills all of o; what cannot be meant is added to problems. where: the placement that is about, NULL: none. */
void options_read(const struct vsphere *v, const json_t *cluster, const json_t *pool, const json_t *where, struct vs_options *o,
		  json_t *problems);
/* Number of "vmx-19"; 0: it is none. */
int options_hardware(const char *version);

#endif
