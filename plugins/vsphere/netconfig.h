/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_NETCONFIG_H
#define PLUGINS_VSPHERE_NETCONFIG_H

#include "plugins/vsphere/vsphere.h"

/* The value of guestinfo.metadata for a machine with these devices (netdevice.h, addressed); base64, caller frees. */
char *netconfig_metadata(const char *name, const json_t *devices);

#endif
