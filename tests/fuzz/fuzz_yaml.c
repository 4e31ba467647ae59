/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/yaml.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What is read must come back the same from what is written. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	AUTO_JSON json_t *docs = NULL, *back = NULL;
	struct pcg_error err;
	struct buf out;

	if (len > 1 << 16 || yaml_load_all((const char *)data, len, "fuzz", &docs, &err))
		return 0;
	buf_init(&out, 1 << 24);
	assert(yaml_dump_all(docs, &out, &err) == 0);
	assert(yaml_load_all(out.data, out.len, "fuzz", &back, &err) == 0);
	assert(json_equal(docs, back));
	buf_free(&out);
	return 0;
}
