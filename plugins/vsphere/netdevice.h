/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_NETDEVICE_H
#define PLUGINS_VSPHERE_NETDEVICE_H

#include "plugins/vsphere/vsphere.h"

/*
 * A machine's network devices, as an array of objects with the members that the vSphere controllers have for
 * them ("networkName", "macAddr", "dhcp4", "dhcp6", "ipAddrs", "gateway4", "gateway6", "mtu", "routes", "nameservers",
 * "searchDomains", "addressesFromPools"): what a machine was made with is what they go on from.
 *
 * A placement has the first one in "network", as Palette's API has it, and more in "networks".
 */

#define NICS_MAX 10 /* of a virtual machine: vSphere's configuration maximums */

size_t netdevice_count(const json_t *where);
const json_t *netdevice_network(const json_t *where, size_t device);
/* Looks through the networks of a placement; what is wrong is added to problems. */
void netdevice_check(const json_t *where, json_t *problems);
/* The device of a network, with its path as networkName: what every machine of the pool has in common. */
json_t *netdevice_of(const json_t *network, const char *path);
/* Writes the reserved addresses of a machine (provider.h: "addresses") into devices. */
void netdevice_address(json_t *devices, const json_t *addresses);
/* Writes MAC addresses of the machine uid into devices. -1 with err when one of them shall have a static address and none
 * was reserved. */
int netdevice_ready(json_t *devices, const json_t *where, const char *uid, struct vs_err *err);

#endif
