/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/provider/plugins/skeleton.h"

extern int symbol_that_nobody_has(void);

const struct pcg_provider *pcg_provider_v0(uint32_t host_abi)
{
	static struct pcg_provider table;

	table = skeleton("undefined");
	table.max_parallel = (uint32_t)symbol_that_nobody_has();
	return &table;
}
