/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_ADDRESS_SHAPES_H
#define HOST_CAPI_ADDRESS_SHAPES_H

/*
 * Objects of Cluster API's IPAM contract (ipam.cluster.x-k8s.io), as the in-cluster provider
 * (cluster-api-ipam-provider-in-cluster, v1alpha2) and the controllers of infrastructures make
 * them. The pool holds what is reserved for this cluster and nothing else: one that several
 * clusters share would be given out by each of them. A claim is named MACHINE-DEVICE-N, after the
 * object that it belongs to (CAPV, pkg/util/ipaddress_claim.go), and its address after it. Each
 * returns a new reference.
 */

#include "host/capi/shapes.h"

#define CAPI_IPAM_GROUP "ipam.cluster.x-k8s.io"
#define CAPI_IPAM_API CAPI_IPAM_GROUP "/v1beta2"
#define CAPI_IPAM_POOL_API CAPI_IPAM_GROUP "/v1alpha2"
#define CAPI_IPAM_POOL "InClusterIPPool"

/* pool: of the spec's addressPools. */
json_t *address_shape_pool(const struct shapes *s, const json_t *pool);
/* address: of a machine's addresses. finalizer: of the controller that made it; "": none. */
json_t *address_shape_claim(const struct shapes *s, const char *name, const json_t *address,
			    const char *finalizer);
json_t *address_shape_claim_status(const char *name);
json_t *address_shape_address(const struct shapes *s, const char *name, const json_t *address);

#endif
