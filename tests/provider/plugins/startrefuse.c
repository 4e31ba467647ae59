/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/provider/plugins/skeleton.h"

#include <stdio.h>
#include <string.h>

static int32_t refuse(struct pcg_host *host, const struct pcg_services *s, void **plugin, char *err,
		      size_t err_size)
{
	snprintf(err, err_size, "the account looks wrong: %s", strstr(s->account(host), "swordfish") ? "swordfish" : "");
	return -1;
}

const struct pcg_provider *pcg_provider_v0(uint32_t host_abi)
{
	static struct pcg_provider table;

	table = skeleton("startrefuse");
	table.start = refuse;
	return &table;
}
