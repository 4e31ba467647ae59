/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/json.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The document's first bytes also serve as a path into it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	AUTO_JSON json_t *doc = NULL, *back = NULL;
	AUTO_FREE char *text = NULL;
	struct pcg_error err;
	char path[64];
	size_t n = len / 4 < sizeof(path) ? len / 4 : sizeof(path) - 1;

	if (json_parse((const char *)data, len, "fuzz", &doc, &err))
		return 0;
	text = json_text(doc);
	assert(json_parse(text, strlen(text), "fuzz", &back, &err) == 0);
	assert(json_equal(doc, back));
	memcpy(path, data, n);
	path[n] = 0;
	json_at(doc, path);
	json_str_or(doc, "a.b.0", "");
	return 0;
}
