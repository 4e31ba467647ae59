/* SPDX-License-Identifier: Apache-2.0 */
#include "pcg/provider.h"

PCG_PROVIDER_EXPORT int something_else(void);

int something_else(void)
{
	return 1;
}
