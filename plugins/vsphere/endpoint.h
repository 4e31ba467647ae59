/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_ENDPOINT_H
#define PLUGINS_VSPHERE_ENDPOINT_H

/*
 * Where a vCenter is, as people write it: with or without https://, port, the path of a page or API of it, trailing
 * slashes, IPv6 addresses with or without brackets. The one rule of it: the plane refuses by it, the plugin connects by
 * it. No other file of the project is needed, so that both can build it.
 */

#include <stddef.h>

/* out: "host" or "host:port" (no port for 443), in lower case, an IPv6 address in brackets and in its short form. Returns
 * 0, or -1 with why: what is wrong with given and what to do, to be read after it ("... names a port out of 1 to 65535"). */
int vs_endpoint(const char *given, char *out, size_t size, char *why, size_t why_size);
/* The part of it that a message may show: what is before an @ may be a password. */
const char *vs_endpoint_shown(const char *given);

#endif
