/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/provider/plugins/skeleton.h"

const struct pcg_provider *pcg_provider_v0(uint32_t host_abi)
{
	static struct pcg_provider table;

	table = skeleton("needscap");
	table.caps_required = UINT64_C(1) << 40;
	return &table;
}
