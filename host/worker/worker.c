/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/worker/worker.h"
#include "core/frame.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/secret.h"
#include "host/worker/confine.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * A worker lives until its process has been reaped and its end of the conversation was read to
 * the end, in either order; then its handles are closed, and after the last of them on_end is told.
 */

#define WORKER_MAGIC 0x776f726bu
#define DRAIN_MS 1000      /* from the child's exit to the end of what it sent */
#define LINGER_MS 2000     /* from the end of the conversation to the child's exit */
#define QUEUE_MAX (64u << 20)
#define ENV_PASSED_MAX 8   /* names that may go on to a child */
#ifdef PCG_SANITIZED
#define GRACE_FACTOR 20    /* it looks for leaks before it ends */
#else
#define GRACE_FACTOR 1
#endif

struct worker {
	uint32_t magic;
	uv_process_t process;
	uv_pipe_t pipe;
	uv_timer_t timer;
	uv_shutdown_t shutdown;
	int open_handles;
	bool started, exited, eof, closing, ending, killed_outside;
	struct frame_reader reader;
	char killed[200];      /* why we killed it; empty: we did not */
	char reason[320];
	void (*on_frame)(void *arg, struct worker *w, json_t *doc);
	void (*on_end)(void *arg, struct worker *w, const char *reason);
	void *arg;
};

struct write_job {
	uv_write_t req;
	size_t len;
	char data[];
};

static void check_end(struct worker *w);

static void on_closed(uv_handle_t *handle)
{
	struct worker *w = handle->data;

	if (--w->open_handles)
		return;
	if (w->started)
		w->on_end(w->arg, w, w->reason);
	frame_reader_free(&w->reader);
	w->magic = 0;
	free(w);
}

static void close_handle(struct worker *w, uv_handle_t *handle)
{
	w->open_handles++;
	handle->data = w;
	uv_close(handle, on_closed);
}

static void close_all(struct worker *w)
{
	w->closing = true;
	close_handle(w, (uv_handle_t *)&w->process);
	close_handle(w, (uv_handle_t *)&w->pipe);
	close_handle(w, (uv_handle_t *)&w->timer);
}

static void on_timer(uv_timer_t *timer)
{
	struct worker *w = timer->data;

	if (w->exited) {
		w->eof = true; /* somebody else holds the other end: nothing of ours comes any more */
		check_end(w);
	} else if (w->ending) {
		worker_kill(w, "it did not end in its time of grace");
	} else {
		worker_kill(w, "it closed its conversation and went on");
	}
}

static void check_end(struct worker *w)
{
	if (w->closing)
		return;
	if (w->exited && w->eof)
		close_all(w);
	else if (w->exited)
		uv_timer_start(&w->timer, on_timer, DRAIN_MS, 0);
	else if (w->eof && !w->ending)
		uv_timer_start(&w->timer, on_timer, LINGER_MS, 0);
}

static void on_exit_cb(uv_process_t *process, int64_t status, int signum)
{
	struct worker *w = process->data;

	w->exited = true;
	w->killed_outside = signum == SIGKILL && !w->killed[0];
	if (w->killed[0])
		snprintf(w->reason, sizeof(w->reason), "killed: %s", w->killed);
	else if (signum)
		snprintf(w->reason, sizeof(w->reason), "signal %d (%s)", signum, strsignal(signum));
	else
		snprintf(w->reason, sizeof(w->reason), "exit status %d", (int)status);
	check_end(w);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	static char piece[65536]; /* one loop thread, and used up before the next read */

	*buf = uv_buf_init(piece, sizeof(piece));
}

static int take_frames(struct worker *w, const char *data, size_t len, struct pcg_error *err)
{
	int r = frame_reader_feed(&w->reader, data, len, err);
	json_t *doc;

	while (!r && (r = frame_reader_next(&w->reader, &doc, err)) > 0) {
		w->on_frame(w->arg, w, doc);
		json_decref(doc);
		r = 0;
	}
	return r;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct worker *w = stream->data;
	struct pcg_error err;

	if (n < 0) {
		uv_read_stop(stream);
		w->eof = true;
		check_end(w);
	} else if (n > 0) {
		int r = take_frames(w, buf->base, (size_t)n, &err);

		secret_wipe(buf->base, (size_t)n);
		if (r) {
			char why[sizeof(w->killed)];

			snprintf(why, sizeof(why), "it broke the conversation: %.150s", err.text);
			uv_read_stop(stream);
			w->eof = true;
			worker_kill(w, why);
		}
	}
}

static void on_written(uv_write_t *req, int status)
{
	struct write_job *job = (struct write_job *)req;

	secret_wipe(job->data, job->len);
	free(job);
}

/* What the socket does not take at once is queued as a copy. */
static int send_bytes(struct worker *w, const char *data, size_t len, struct pcg_error *err)
{
	uv_stream_t *stream = (uv_stream_t *)&w->pipe;
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)len);
	struct write_job *job;
	int n = uv_try_write(stream, &buf, 1);

	if (n < 0 && n != UV_EAGAIN)
		return pcg_fail_errno(err, -n, "sending to a worker");
	if (n == (int)len)
		return 0;
	if (n < 0)
		n = 0;
	job = malloc(sizeof(*job) + len - (size_t)n);
	assert(job);
	job->len = len - (size_t)n;
	memcpy(job->data, data + n, job->len);
	buf = uv_buf_init(job->data, (unsigned)job->len);
	if (uv_write(&job->req, stream, &buf, 1, on_written)) {
		secret_wipe(job->data, job->len);
		free(job);
		return pcg_fail(err, PCG_CLASS_RETRY, "", "sending to a worker: it has closed");
	}
	return 0;
}

int worker_send(struct worker *w, const json_t *doc, struct pcg_error *err)
{
	return worker_send_pair(w, doc, NULL, err);
}

int worker_send_pair(struct worker *w, const json_t *doc, const json_t *next, struct pcg_error *err)
{
	struct buf out;
	int r;

	assert(w->magic == WORKER_MAGIC);
	if (w->exited || w->closing || w->ending || w->eof)
		return pcg_fail(err, PCG_CLASS_RETRY, "", "sending to a worker: it has ended");
	if (uv_stream_get_write_queue_size((uv_stream_t *)&w->pipe) > QUEUE_MAX)
		return pcg_fail(err, PCG_CLASS_RETRY, "", "sending to a worker: it takes nothing any more");
	buf_init_secret(&out, 2 * (FRAME_MAX + 4));
	r = frame_write(&out, doc, err);
	if (!r && next)
		r = frame_write(&out, next, err);
	if (!r)
		r = send_bytes(w, out.data, out.len, err);
	buf_free(&out);
	return r;
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
}

void worker_end(struct worker *w, uint32_t grace_ms)
{
	assert(w->magic == WORKER_MAGIC);
	if (w->exited || w->closing || w->ending)
		return;
	w->ending = true;
	uv_shutdown(&w->shutdown, (uv_stream_t *)&w->pipe, on_shutdown);
	uv_timer_start(&w->timer, on_timer, grace_ms * GRACE_FACTOR, 0);
}

void worker_kill(struct worker *w, const char *why)
{
	assert(w->magic == WORKER_MAGIC);
	if (w->exited || w->closing)
		return;
	if (!w->killed[0])
		snprintf(w->killed, sizeof(w->killed), "%s", why);
	uv_timer_stop(&w->timer);
	uv_process_kill(&w->process, SIGKILL);
}

bool worker_killed_outside(const struct worker *w)
{
	return w->killed_outside;
}

int worker_pid(const struct worker *w)
{
	return uv_process_get_pid(&w->process);
}

static json_t *path_list(const char *const *paths)
{
	json_t *list = json_array();

	for (; paths && *paths; paths++)
		json_array_append_new(list, json_string(*paths));
	return list;
}

static json_t *hello_frame(const struct worker_spec *spec)
{
	json_t *doc = json_object();

	if (spec->hello)
		json_object_update(doc, (json_t *)(uintptr_t)spec->hello);
	json_object_set_new(doc, "confine",
			    json_pack("{s:s, s:s, s:o, s:o, s:b, s:I, s:i}", "role", spec->role,
				      "name", spec->name ? spec->name : "", "read",
				      path_list(spec->read_paths), "exec", path_list(spec->exec_paths),
				      "network", spec->network ? 1 : 0, "memory",
				      (json_int_t)spec->memory_max, "files", (int)spec->max_files));
	return doc;
}

/* Nothing of the host's environment goes on but where its OpenSSL finds the system's CAs, and what tests and sanitizers need in
 * their builds. */
static void child_environment(char *env[ENV_PASSED_MAX + 5], struct buf *room)
{
	static const char *const passed[] = {
		"SSL_CERT_FILE", "SSL_CERT_DIR",
#ifdef PCG_FAULT_POINTS
		"PCG_FAULT_DIR", "PCG_TEST_CLOCK_FILE",
#endif
#ifdef PCG_SANITIZED
		"ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",
#endif
		NULL,
	};
	static char path[] = "PATH=/usr/bin:/bin", lang[] = "LANG=C.UTF-8", home[] = "HOME=/";
	static char memory[] = MEMORY_ENVIRONMENT;
	size_t starts[ENV_PASSED_MAX], n = 0, e = 0;

	_Static_assert(ARRAY_LEN(passed) - 1 <= ENV_PASSED_MAX, "room for each name that goes on");

	env[e++] = path;
	env[e++] = lang;
	env[e++] = home;
	env[e++] = memory;
	for (size_t i = 0; passed[i]; i++) {
		const char *value = getenv(passed[i]);

		if (!value)
			continue;
		starts[n++] = room->len;
		buf_addf(room, "%s=%s", passed[i], value);
		buf_add(room, "", 1);
	}
	for (size_t i = 0; i < n && !room->overflow; i++)
		env[e++] = room->data + starts[i];
	env[e] = NULL;
}

static int spawn(uv_loop_t *loop, struct worker *w, const struct worker_spec *spec, int fd)
{
	char program[] = "pcgd", flag[] = "--worker", role[32];
	char *args[] = { program, flag, role, NULL }, *env[ENV_PASSED_MAX + 5];
	uv_stdio_container_t stdio[4] = {
		{ .flags = UV_IGNORE },
		{ .flags = UV_IGNORE },
		{ .flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO },
		{ .flags = UV_INHERIT_FD, .data.fd = fd },
	};
	uv_process_options_t options = {
		.exit_cb = on_exit_cb,
		.file = spec->exe,
		.args = args,
		.env = env,
		.stdio_count = 4,
		.stdio = stdio,
	};
	struct buf room;
	int r;

	snprintf(role, sizeof(role), "%s", spec->role);
	buf_init(&room, 65536);
	child_environment(env, &room);
	r = uv_spawn(loop, &w->process, &options);
	buf_free(&room);
	return r;
}

static struct worker *worker_alloc(uv_loop_t *loop, const struct worker_spec *spec)
{
	struct worker *w = calloc(1, sizeof(*w));

	assert(w);
	w->magic = WORKER_MAGIC;
	w->on_frame = spec->on_frame;
	w->on_end = spec->on_end;
	w->arg = spec->arg;
	frame_reader_init(&w->reader, FRAME_MAX);
	uv_pipe_init(loop, &w->pipe, 0);
	uv_timer_init(loop, &w->timer);
	w->process.data = w->pipe.data = w->timer.data = w;
	return w;
}

int worker_start(uv_loop_t *loop, const struct worker_spec *spec, struct worker **out,
		 struct pcg_error *err)
{
	struct worker *w;
	json_t *hello;
	int sv[2], r;

	*out = NULL;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return pcg_fail_errno(err, errno, "starting a %s worker: socketpair", spec->role);
	w = worker_alloc(loop, spec);
	r = uv_pipe_open(&w->pipe, sv[0]);
	if (r)
		close(sv[0]);
	else
		r = spawn(loop, w, spec, sv[1]);
	close(sv[1]);
	if (r) {
		close_all(w);
		return pcg_fail_errno(err, -r, "starting a %s worker: %s", spec->role, spec->exe);
	}
	w->started = true;
	uv_read_start((uv_stream_t *)&w->pipe, on_alloc, on_read);
	hello = hello_frame(spec);
	r = worker_send(w, hello, err);
	json_decref(hello);
	if (r)
		worker_kill(w, "its hello frame could not be sent");
	*out = w;
	return 0;
}
