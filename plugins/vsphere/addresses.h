/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_ADDRESSES_H
#define PLUGINS_VSPHERE_ADDRESSES_H

#include "plugins/vsphere/vsphere.h"

/*
 * Which of the addresses that a guest reports are the machine's: those of its own network devices (GuestNicInfo of others, bridges and
 * tunnels that the guest made, has a deviceConfigId of -1), that are in use (not tentative, duplicate or invalid), and
 * that others can reach (no loopback, link-local or multicast address).
 */

/* Of guest.net, as an array of texts; a new reference. */
json_t *addresses_of_net(const struct xn *net);
/* The two together: the primary address first, when it is one of those. net NULL: nothing was reported but that. */
json_t *addresses_of_guest(const json_t *net, const char *primary);
/*
 * For the world: without the cluster's virtual address, and those of the preferred network first (CIDR, several with commas:
 * preferredAPIServerCidr of the pool's network, else of the cluster's placement, else of the account's settings).
 * pool may be NULL. A new reference.
 */
json_t *addresses_for(const struct vsphere *v, const json_t *cluster, const json_t *pool, const json_t *addresses);
bool address_usable(const char *address);
/* network: CIDR, several with commas. False for what is none. */
bool address_within(const char *address, const char *network);

#endif
