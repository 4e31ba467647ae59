/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_parse.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Digest of all requests of the bytes, read in pieces of step bytes. */
static uint64_t read_all(const uint8_t *data, size_t len, size_t step)
{
	struct http_parse *p = http_parse_new(4096, 8192);
	uint64_t seen = 0;

	for (size_t at = 0; at < len && http_parse_state(p) != HTTP_PARSE_ERROR;) {
		size_t n = len - at < step ? len - at : step;

		at += http_parse_feed(p, (const char *)data + at, n);
		if (http_parse_state(p) == HTTP_PARSE_DONE) {
			struct http_parsed *r = http_parse_result(p);
			char *path = malloc(r->target.len + 2);
			const char *query;

			assert(path && r->body.len <= 8192 && r->method[0]);
			http_parse_header(r, "content-length");
			if (http_parse_path(r->target.data, path, &query))
				assert(path[0] == '/' && !strstr(path, "/../"));
			free(path);
			seen = seen * 31 + r->body.len + r->target.len * 7 + r->n_headers * 3 + 1;
			http_parse_reset(p);
		}
	}
	http_parse_free(p);
	return seen;
}

/* However the bytes are cut, the requests are the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t whole = read_all(data, len, len ? len : 1);

	assert(whole == read_all(data, len, 1));
	assert(whole == read_all(data, len, 7));
	return 0;
}
