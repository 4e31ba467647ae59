/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/frame.h"
#include "core/clock.h"
#include "core/secret.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD 4

/* Frames carry account credentials: everything that held one is wiped. */
void frame_reader_init(struct frame_reader *r, uint32_t max)
{
	assert(max > 0 && max <= FRAME_MAX);
	buf_init_secret(&r->in, SIZE_MAX / 8);
	r->max = max;
	r->pos = 0;
}

void frame_reader_free(struct frame_reader *r)
{
	buf_free(&r->in);
	r->pos = 0;
}

int frame_reader_feed(struct frame_reader *r, const void *data, size_t len, struct pcg_error *err)
{
	buf_consume(&r->in, r->pos);
	r->pos = 0;
	if (r->in.len >= (size_t)r->max + HEAD)
		return pcg_fail(err, PCG_CLASS_BUG, "", "reading frames: fed while a whole frame waits");
	if (buf_add(&r->in, data, len))
		return pcg_fail(err, PCG_CLASS_RETRY, "", "reading frames: no memory for %zu bytes", len);
	return 0;
}

static uint32_t get_length(const char *at)
{
	const unsigned char *u = (const unsigned char *)at;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* 1: a whole one; it is passed by frame_passed. */
static int whole_frame(const struct frame_reader *r, const char **text, uint32_t *text_len, struct pcg_error *err)
{
	const char *at = r->in.data + r->pos;
	size_t have = r->in.len - r->pos;
	uint32_t len;

	if (have < HEAD)
		return 0;
	len = get_length(at);
	if (len == 0 || len > r->max)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "",
				"reading a frame: its length is %u, allowed are 1 to %u", len, r->max);
	if (have - HEAD < len)
		return 0;
	*text = at + HEAD;
	*text_len = len;
	return 1;
}

static void frame_passed(struct frame_reader *r, uint32_t len)
{
	r->pos += HEAD + len;
	if (r->pos == r->in.len) {
		buf_reset(&r->in);
		r->pos = 0;
	}
}

int frame_reader_next(struct frame_reader *r, json_t **doc, struct pcg_error *err)
{
	const char *text;
	uint32_t len;
	int ret = whole_frame(r, &text, &len, err);

	*doc = NULL;
	if (ret <= 0)
		return ret;
	ret = json_parse(text, len, "reading a frame", doc, err);
	if (ret)
		return ret;
	if (!json_is_object(*doc)) {
		json_wipe(*doc);
		*doc = NULL;
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "reading a frame: it is not a JSON object");
	}
	frame_passed(r, len);
	return 1;
}

int frame_reader_text(struct frame_reader *r, char **text, struct pcg_error *err)
{
	const char *at;
	uint32_t len;
	int ret = whole_frame(r, &at, &len, err);

	*text = NULL;
	if (ret <= 0)
		return ret;
	*text = malloc((size_t)len + 1);
	if (!*text)
		return pcg_fail(err, PCG_CLASS_RETRY, "", "reading frames: no memory for %u bytes", len);
	memcpy(*text, at, len);
	(*text)[len] = 0;
	frame_passed(r, len);
	return 1;
}

#define ROOM 8192 /* what does not fit is written a second time */

/* In one piece: jansson tells of each brace and comma by itself. Not on the stack: those of a worker's ops are small and many. */
static int add_json(struct buf *out, const json_t *doc)
{
	size_t room = ROOM, n = room;
	char *text = NULL;
	int r = -1;

	do {
		if (text)
			secret_wipe(text, room);
		free(text);
		room = n;
		text = malloc(room);
		n = text ? json_dumpb(doc, text, room, JSON_COMPACT) : 0;
	} while (n > room);
	if (n)
		r = buf_add(out, text, n);
	if (text)
		secret_wipe(text, n);
	free(text);
	return r;
}

int frame_write(struct buf *out, const json_t *doc, struct pcg_error *err)
{
	size_t start = out->len, len;
	int r;

	if (!json_is_object(doc))
		return pcg_fail(err, PCG_CLASS_BUG, "", "writing a frame: it is not a JSON object");
	r = buf_add(out, "\0\0\0\0", HEAD);
	if (!r)
		r = add_json(out, doc);
	if (r || out->overflow) {
		/* The start of a frame must not go out: what follows would be read as its rest. */
		if (out->len > start)
			out->data[out->len = start] = 0;
		if (!out->overflow)
			return pcg_fail(err, PCG_CLASS_BUG, "",
					"writing a frame: the document holds itself");
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "writing a frame: the buffer's limit of %zu bytes is reached",
				out->max);
	}
	len = out->len - start - HEAD;
	if (len > FRAME_MAX) {
		out->data[out->len = start] = 0;
		return pcg_fail(err, PCG_CLASS_PERMANENT, "",
				"writing a frame: it has %zu bytes, allowed are %u", len, FRAME_MAX);
	}
	for (int i = 0; i < HEAD; i++)
		out->data[start + (size_t)i] = (char)(len >> (24 - 8 * i));
	return 0;
}

/* end_ms 0: no deadline. */
static int wait_fd(int fd, short events, int64_t end_ms, const char *what, struct pcg_error *err)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int64_t left = end_ms ? end_ms - clock_mono_ms() : -1;
		int n;

		if (end_ms && left <= 0)
			return pcg_fail(err, PCG_CLASS_CANCELLED, "", "%s: no answer by the deadline", what);
		n = poll(&p, 1, left > INT_MAX ? INT_MAX : (int)left);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return pcg_fail_errno(err, errno, "%s", what);
	}
}

/* A pipe takes no flags, a socket must not raise SIGPIPE. */
static ssize_t send_some(int fd, const char *data, size_t len)
{
	ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

	return n < 0 && errno == ENOTSOCK ? write(fd, data, len) : n;
}

int frame_send_fd(int fd, const json_t *doc, struct pcg_error *err)
{
	struct buf out;
	size_t at = 0;
	int r;

	buf_init_secret(&out, FRAME_MAX + HEAD);
	r = frame_write(&out, doc, err);
	while (!r && at < out.len) {
		ssize_t n = send_some(fd, out.data + at, out.len - at);

		if (n > 0)
			at += (size_t)n;
		else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			r = wait_fd(fd, POLLOUT, 0, "sending a frame", err);
		else if (n < 0 && errno != EINTR)
			r = pcg_fail_errno(err, errno, "sending a frame");
	}
	buf_free(&out);
	return r;
}

int frame_recv_fd(int fd, struct frame_reader *r, int64_t deadline_ms, json_t **doc,
		  struct pcg_error *err)
{
	int64_t end_ms = deadline_ms ? clock_mono_ms() + deadline_ms : 0;
	char piece[16384];
	int ret;

	for (;;) {
		ssize_t n;

		ret = frame_reader_next(r, doc, err);
		if (ret)
			break;
		ret = wait_fd(fd, POLLIN, end_ms, "waiting for a frame", err);
		if (ret)
			break;
		n = read(fd, piece, sizeof(piece));
		if (n > 0)
			ret = frame_reader_feed(r, piece, (size_t)n, err);
		else if (n == 0 && r->in.len > r->pos)
			ret = pcg_fail(err, PCG_CLASS_RETRY, "",
				       "reading a frame: the other side closed in the middle of one");
		else if (n == 0)
			break;
		else if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
			ret = pcg_fail_errno(err, errno, "reading a frame");
		if (ret)
			break;
	}
	secret_wipe(piece, sizeof(piece));
	return ret < 0 ? ret : 0;
}
