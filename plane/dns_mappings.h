/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_DNS_MAPPINGS_H
#define PLANE_DNS_MAPPINGS_H

/*
 * DNS mappings of a gateway: the search domain that names have on a network of a datacenter. The public API has them under
 * /v1/users/assets/vsphere/dnsMappings; row "dnsmap": {metadata, spec {datacenter, network, networkUrl, dnsName,
 * privateGatewayUid}}.
 */

#include "plane/plane.h"

/* The search domain of a network; empty: none is mapped. */
int dns_mapping_domain(struct plane *p, const char *gateway, const char *datacenter, const char *network, char domain[256],
		       struct pcg_error *err);
int dns_mappings_migrate(struct plane *p, const char *from, const char *to, struct pcg_error *err);
/* A name that resolvers search in: capitals, '_' and a dot at the end as well. */
bool dns_name(const char *text);
/* A name that kubeadm takes for a control plane's endpoint, which is that of RFC 1123 in lower case; none that looks like an
 * address. */
bool dns_host(const char *text);
/* As names of hosts in it end: in lower case, without a dot at the end. Returns out. */
const char *dns_domain(const char *text, char out[256]);

#endif
