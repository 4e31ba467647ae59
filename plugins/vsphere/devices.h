/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_DEVICES_H
#define PLUGINS_VSPHERE_DEVICES_H

#include "plugins/vsphere/placement.h"

/* Changes to a template's devices, as <deviceChange> of a clone's configuration. devices: val of config.hardware.device. */

/* What the disks of a template cannot become is added to problems. */
void disk_check(const struct xn *devices, const struct vs_options *o, const char *template_path, json_t *problems);
/* Disks that grow (not of a linked clone) and disks that are added. profile: id of the storage policy, "" none. */
void disk_write(struct soap *s, const struct xn *devices, const struct vs_options *o, const char *profile);
/* What a machine takes of its datastore when it is made: thick disks with their whole size, the template's thin ones with what is
 * written in them (committed, of all of the template's files; 0: not known, then their whole size), nothing for a linked clone's and for
 * thin ones that are added, and the swap file, which is as large as the memory that is not reserved. */
int64_t disk_bytes(const struct xn *devices, const struct vs_options *o, int64_t committed);
/* <disk> of a clone's location: the template's disks get the profile too, which the location's own is not for (it is the
 * home directory's: VirtualMachineRelocateSpec). Nothing without a profile. */
void disk_locate(struct soap *s, const struct xn *devices, const struct vs_ref *datastore, const char *move_type,
		 const char *profile);
/* The template's network devices go, those of nics come with the MAC addresses of netdevice_ready(). */
void nic_write(struct soap *s, const struct spot *spot, const json_t *netdevices);
/* <profile> of a storage policy; nothing for "". */
void profile_write(struct soap *s, const char *profile);

#endif
