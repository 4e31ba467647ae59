/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/proxy.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* First line: host; the rest: the list. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	AUTO_FREE char *text = malloc(len + 1);
	struct pcg_error err;
	char *list;

	assert(text);
	memcpy(text, data, len);
	text[len] = '\0';
	list = strchr(text, '\n');
	if (list)
		*list++ = '\0';
	no_proxy_match(list, text, 443);
	assert(no_proxy_match("*", text, 443));
	assert(no_proxy_match(list, "169.254.169.254", 80));
	if (no_proxy_check(list, &err))
		assert(err.text[0] && err.remedy[0]);
	return 0;
}
