/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/provider/plugins/skeleton.h"

#include <signal.h>

static int32_t crash(struct pcg_host *host, const struct pcg_services *s, void **plugin, char *err,
		     size_t err_size)
{
	raise(SIGSEGV);
	return 0;
}

const struct pcg_provider *pcg_provider_v0(uint32_t host_abi)
{
	static struct pcg_provider table;

	table = skeleton("startcrash");
	table.start = crash;
	return &table;
}
