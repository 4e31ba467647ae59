/* SPDX-License-Identifier: Apache-2.0 */
#include "pcg/provider.h"

PCG_PROVIDER_EXPORT const void *pcg_provider_v1(uint32_t host_abi);

const void *pcg_provider_v1(uint32_t host_abi)
{
	return NULL;
}
