/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_FRAME_H
#define CORE_FRAME_H

/*
 * The one frame of all local conversations (host and workers, pcgctl and host): 4 byte length,
 * big-endian, then that many bytes of one JSON object. A length of 0, over the limit, or bytes
 * that are not one JSON object end the conversation.
 */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"

#define FRAME_MAX (16u << 20)

struct frame_reader {
	struct buf in;
	uint32_t max;
	size_t pos; /* start of the next frame in the buffer */
};

void frame_reader_init(struct frame_reader *r, uint32_t max);
void frame_reader_free(struct frame_reader *r);
/* Gives bytes as they arrive. */
int frame_reader_feed(struct frame_reader *r, const void *data, size_t len, struct pcg_error *err);
/* 1: *doc is a new reference; 0: not whole yet; negative: broken conversation. */
int frame_reader_next(struct frame_reader *r, json_t **doc, struct pcg_error *err);
/* The same for whoever hands it on and does not look into it: a copy of what stands in the frame, which the caller wipes and
 * frees. Of a sender that is trusted to write one JSON object. */
int frame_reader_text(struct frame_reader *r, char **text, struct pcg_error *err);
/* Appends one frame. */
int frame_write(struct buf *out, const json_t *doc, struct pcg_error *err);
/* Blocking forms, for workers and pcgctl; deadline_ms from now, 0: none. */
int frame_send_fd(int fd, const json_t *doc, struct pcg_error *err);
int frame_recv_fd(int fd, struct frame_reader *r, int64_t deadline_ms, json_t **doc,
		  struct pcg_error *err); /* 0 and *doc == NULL: the other side has closed */

#endif
