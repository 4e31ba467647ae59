/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/provider/plugins/skeleton.h"

#include <stdlib.h>

__attribute__((constructor)) static void at_load(void)
{
	abort();
}

const struct pcg_provider *pcg_provider_v0(uint32_t host_abi)
{
	static struct pcg_provider table;

	table = skeleton("ctorcrash");

	return &table;
}
