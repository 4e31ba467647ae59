/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/attr.h"
#include "core/frame.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The first byte says in which pieces the rest arrives. What was read is written and read again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct frame_reader r, again;
	struct pcg_error err;
	size_t piece;

	if (len == 0)
		return 0;
	piece = data[0] ? data[0] : len;
	frame_reader_init(&r, 4096);
	for (size_t at = 1; at < len; at += piece) {
		json_t *doc;
		int ret;

		if (frame_reader_feed(&r, data + at, len - at < piece ? len - at : piece, &err))
			break;
		while ((ret = frame_reader_next(&r, &doc, &err)) == 1) {
			AUTO_JSON json_t *first = doc, *second = NULL;
			struct buf out;

			buf_init(&out, FRAME_MAX);
			frame_reader_init(&again, FRAME_MAX);
			assert(frame_write(&out, first, &err) == 0);
			assert(frame_reader_feed(&again, out.data, out.len, &err) == 0);
			assert(frame_reader_next(&again, &second, &err) == 1);
			assert(json_equal(first, second));
			frame_reader_free(&again);
			buf_free(&out);
		}
		if (ret < 0)
			break;
	}
	frame_reader_free(&r);
	return 0;
}
