/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Unix socket for pcgctl: frames of core/frame.h. One request {"op", ...} a connection at a
 * time; the answer is {"ok":true,"result":{}} or {"ok":false,"error":{class,text,remedy}}, of a reload with
 * "problems" [text] as well. A watch
 * answers {"ok":true,"event":{}} for each change until the client leaves: the cluster whole, or uid,
 * name, phase and note of one of which all else is as it was. It shows and checks, and has no verb
 * that changes a cluster: Palette alone does. Who says nothing for ten seconds, or does not read
 * what it asked for, is let go, so that such a client keeps nobody out.
 */
#include "config.h"

#include "host/gateway.h"

#include "core/attr.h"
#include "core/clock.h"
#include "core/frame.h"
#include "core/log.h"
#include "core/utf8.h"
#include "host/settings.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_MAX (64u << 10)
#define CLIENTS_MAX 64
#define QUEUE_MAX (8u << 20) /* of events that a watch has not read */
#define OUT_MAX (FRAME_MAX + 4 + FLUSH_BYTES)
#define FLUSH_BYTES (64u << 10)
#define HISTORY_MAX 10000
#define TICK_MS 1000
#define SILENT_MS 10000
#define UNREAD_MS 30000

struct client {
	struct client *next;
	struct control *control;
	uv_pipe_t pipe;
	struct frame_reader in;
	char *watch; /* uid of a cluster, "" for all; NULL: not watching */
	struct later *later; /* the request that is answered later */
	struct buf out;      /* frames that go with the loop's next turn */
	int64_t since_ms;    /* that it is silent, or does not read */
	size_t unread;
	bool closing;
	char chunk[4096];
};

struct control {
	struct gateway *g;
	uv_pipe_t pipe;
	uv_timer_t tick;
	uv_prepare_t turn; /* while there is something to write */
	unsigned handles;
	char *path;
	struct client *clients;
	unsigned n_clients;
	bool closing;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* Belongs to whoever will answer; client is NULL once that has left. */
struct later {
	struct client *client;
};

struct out {
	uv_write_t req;
	struct buf data;
};

static void maybe_closed(struct control *c)
{
	if (!c->closing || c->n_clients || c->handles)
		return;
	if (c->closed)
		c->closed(c->closed_arg);
	free(c->path);
	free(c);
}

static void client_closed(uv_handle_t *h)
{
	struct client *cl = h->data;
	struct control *c = cl->control;
	struct client **p = &c->clients;

	while (*p != cl)
		p = &(*p)->next;
	*p = cl->next;
	if (cl->later)
		cl->later->client = NULL;
	frame_reader_free(&cl->in);
	buf_free(&cl->out);
	free(cl->watch);
	free(cl);
	c->n_clients--;
	maybe_closed(c);
}

static void client_close(struct client *cl)
{
	if (cl->closing)
		return;
	cl->closing = true;
	uv_close((uv_handle_t *)&cl->pipe, client_closed);
}

static void on_written(uv_write_t *req, int status)
{
	struct out *o = req->data;

	if (status < 0 && status != UV_ECANCELED)
		client_close(req->handle->data);
	buf_free(&o->data);
	free(o);
}

static void client_flush(struct client *cl)
{
	struct out *o;
	uv_buf_t b;

	if (!cl->out.len || cl->closing)
		return;
	o = calloc(1, sizeof(*o));
	assert(o);
	o->data = cl->out;
	o->req.data = o;
	buf_init(&cl->out, OUT_MAX);
	b = uv_buf_init(o->data.data, (unsigned)o->data.len);
	if (uv_write(&o->req, (uv_stream_t *)&cl->pipe, &b, 1, on_written)) {
		buf_free(&o->data);
		free(o);
		client_close(cl);
	}
}

static int try_send(struct client *cl, const json_t *doc, struct pcg_error *err)
{
	int r = frame_write(&cl->out, doc, err);

	if (!r)
		client_flush(cl);
	return r;
}

static void on_turn(uv_prepare_t *turn)
{
	struct control *c = turn->data;

	uv_prepare_stop(turn);
	for (struct client *cl = c->clients; cl; cl = cl->next)
		client_flush(cl);
}

/* Many clusters change many times within one turn of the loop: a write for each would wake the reader
 * as often. */
static int send_later(struct client *cl, const json_t *doc, struct pcg_error *err)
{
	int r = frame_write(&cl->out, doc, err);

	if (cl->out.len > FLUSH_BYTES)
		client_flush(cl);
	else if (!r)
		uv_prepare_start(&cl->control->turn, on_turn);
	return r;
}

static void refuse(struct client *cl, const struct pcg_error *err)
{
	json_t *o = json_pack("{s:b,s:o}", "ok", 0, "error", json_from_error(err));
	struct pcg_error other;

	cl->since_ms = clock_mono_ms();
	if (!cl->closing && try_send(cl, o, &other))
		client_close(cl);
	json_decref(o);
}

static void client_send(struct client *cl, const json_t *doc, bool later)
{
	struct pcg_error err;

	cl->since_ms = clock_mono_ms();
	if (!cl->closing && (later ? send_later : try_send)(cl, doc, &err)) {
		pcg_fail_prefix(&err, "the answer");
		refuse(cl, &err);
	}
}

/* result is stolen. */
static void answer(struct client *cl, json_t *result)
{
	json_t *o = json_pack("{s:b,s:o}", "ok", 1, "result", result);

	client_send(cl, o, false);
	json_decref(o);
}

static struct later *later_new(struct client *cl)
{
	struct later *l = calloc(1, sizeof(*l));

	assert(l);
	l->client = cl;
	cl->later = l;
	return l;
}

/* NULL: it has left. */
static struct client *later_take(struct later *l)
{
	struct client *cl = l->client;

	free(l);
	if (cl)
		cl->later = NULL;
	return cl;
}

static void on_history(void *arg, json_t *history)
{
	struct client *cl = later_take(arg);
	struct pcg_error err;

	if (!cl)
		return;
	if (json_array_size(json_object_get(history, "items"))) {
		answer(cl, json_incref(history));
		return;
	}
	pcg_fail(&err, PCG_CLASS_NOT_FOUND, "pcgctl cluster list shows what there is",
		 "nothing ever happened here to a cluster of that name or uid");
	refuse(cl, &err);
}

static void on_audit(void *arg, json_t *result)
{
	struct client *cl = later_take(arg);

	if (cl && result)
		answer(cl, json_incref(result));
}

/* One a line: together they may be longer than an error's text. */
static json_t *problem_list(const char *problems)
{
	AUTO_FREE char *text = utf8_repair(problems, strlen(problems));
	json_t *list = json_array();
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n")))
		if (*line)
			json_array_append_new(list, json_string(line));
	return list;
}

static void on_reloaded(void *arg, const char *problems)
{
	struct client *cl = later_take(arg);
	struct pcg_error err;
	json_t *o;

	if (!cl)
		return;
	if (!problems) {
		answer(cl, json_pack("{s:s}", "message", "taken up"));
		return;
	}
	pcg_fail(&err, PCG_CLASS_PERMANENT,
		 "mend what is named and reload again; the old settings are kept", "%s", problems);
	o = json_pack("{s:b,s:o,s:o}", "ok", 0, "error", json_from_error(&err), "problems", problem_list(problems));
	client_send(cl, o, false);
	json_decref(o);
}

static int need_cluster(const json_t *req, const char **name, struct pcg_error *err)
{
	*name = json_str(req, "cluster");
	if (*name)
		return 0;
	return pcg_fail(err, PCG_CLASS_PERMANENT, "give the cluster's name or uid",
			"the request names no cluster");
}

static void no_cluster(struct client *cl, const char *name)
{
	struct pcg_error err;

	pcg_fail(&err, PCG_CLASS_NOT_FOUND, "pcgctl cluster list shows what there is",
		 "cluster %s is not known to this gateway", name);
	refuse(cl, &err);
}

static void op_status(struct client *cl, const json_t *req)
{
	answer(cl, gateway_status(cl->control->g));
}

static void op_list(struct client *cl, const json_t *req)
{
	answer(cl, lifecycle_list(cl->control->g->lifecycle, json_bool_or(req, "all", false)));
}

static void op_show(struct client *cl, const json_t *req)
{
	struct pcg_error err;
	const char *name;
	json_t *view;

	if (need_cluster(req, &name, &err)) {
		refuse(cl, &err);
		return;
	}
	view = lifecycle_show(cl->control->g->lifecycle, name);
	if (view)
		answer(cl, view);
	else
		no_cluster(cl, name);
}

static void send_event(struct client *cl, const json_t *view)
{
	json_t *o = json_pack("{s:b,s:O}", "ok", 1, "event", view);

	if (uv_stream_get_write_queue_size((uv_stream_t *)&cl->pipe) > QUEUE_MAX)
		client_close(cl);
	else
		client_send(cl, o, true);
	json_decref(o);
}

static void op_watch(struct client *cl, const json_t *req)
{
	struct gateway *g = cl->control->g;
	const char *name = json_str(req, "cluster");
	AUTO_JSON json_t *all = NULL, *one = NULL;
	json_t *view;
	size_t i;

	if (name) {
		one = lifecycle_show(g->lifecycle, name);
		if (!one) {
			no_cluster(cl, name);
			return;
		}
		cl->watch = strdup(json_str_or(one, "uid", name));
		send_event(cl, one);
		return;
	}
	cl->watch = strdup("");
	all = lifecycle_list(g->lifecycle, false);
	json_array_foreach(json_object_get(all, "items"), i, view)
		send_event(cl, view);
}

/* Also of a cluster that is gone: history stays. */
static void op_history(struct client *cl, const json_t *req)
{
	struct pcg_error err;
	const char *name;

	if (need_cluster(req, &name, &err))
		refuse(cl, &err);
	else
		store_history(cl->control->g->store, name, HISTORY_MAX, on_history, later_new(cl));
}

static void on_plan(void *arg, json_t *plan, const struct pcg_error *err)
{
	struct client *cl = later_take(arg);

	if (cl && err)
		refuse(cl, err);
	else if (cl && plan)
		answer(cl, json_incref(plan));
}

static void op_plan(struct client *cl, const json_t *req)
{
	struct pcg_error err;
	const char *name;

	if (need_cluster(req, &name, &err))
		refuse(cl, &err);
	else
		lifecycle_plan(cl->control->g->lifecycle, name, on_plan, later_new(cl));
}

static void op_audit(struct client *cl, const json_t *req)
{
	lifecycle_audit(cl->control->g->lifecycle, on_audit, later_new(cl));
}

static void op_plugins(struct client *cl, const json_t *req)
{
	answer(cl, provider_list(cl->control->g->providers));
}

static void op_rescan(struct client *cl, const json_t *req)
{
	struct gateway *g = cl->control->g;

	answer(cl, provider_rescan(g->providers));
	lifecycle_nudge_all(g->lifecycle);
}

static void op_policy(struct client *cl, const json_t *req)
{
	answer(cl, policy_list(cl->control->g->policy));
}

static void op_reload(struct client *cl, const json_t *req)
{
	gateway_reload(cl->control->g, on_reloaded, later_new(cl));
}

static const struct {
	const char *name;
	void (*run)(struct client *cl, const json_t *req);
} ops[] = {
	{ "status", op_status },	{ "cluster.list", op_list },
	{ "cluster.show", op_show },	{ "cluster.watch", op_watch },
	{ "cluster.history", op_history }, { "cluster.plan", op_plan }, { "audit", op_audit },
	{ "plugin.list", op_plugins },	{ "plugin.rescan", op_rescan },
	{ "policy.list", op_policy },	{ "reload", op_reload },
};

static void serve(struct client *cl, const json_t *req)
{
	const char *op = json_str_or(req, "op", "");
	struct pcg_error err;

	if (cl->later || cl->watch) {
		pcg_fail(&err, PCG_CLASS_PERMANENT, "open another connection",
			 "this connection waits for an answer or watches");
		refuse(cl, &err);
		client_close(cl);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		if (strcmp(ops[i].name, op))
			continue;
		ops[i].run(cl, req);
		return;
	}
	pcg_fail(&err, PCG_CLASS_PERMANENT, "use a pcgctl of this gateway's version",
		 "the request \"%s\" is not known", op);
	refuse(cl, &err);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	struct client *cl = s->data;
	struct pcg_error err;
	json_t *doc;
	int r;

	if (n < 0) {
		client_close(cl);
		return;
	}
	if (frame_reader_feed(&cl->in, b->base, (size_t)n, &err)) {
		refuse(cl, &err);
		client_close(cl);
		return;
	}
	while (!cl->closing && (r = frame_reader_next(&cl->in, &doc, &err)) != 0) {
		if (r < 0) {
			refuse(cl, &err);
			client_close(cl);
			return;
		}
		serve(cl, doc);
		json_decref(doc);
	}
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
	struct client *cl = h->data;

	*b = uv_buf_init(cl->chunk, sizeof(cl->chunk));
}

static bool overdue(struct client *cl, int64_t now)
{
	size_t unread = uv_stream_get_write_queue_size((uv_stream_t *)&cl->pipe);
	int64_t silent = now - cl->since_ms;
	bool moves = unread != cl->unread;

	cl->unread = unread;
	if (unread) {
		if (moves)
			cl->since_ms = now;
		return !moves && silent > UNREAD_MS;
	}
	return !cl->later && !cl->watch && silent > SILENT_MS;
}

static void on_tick(uv_timer_t *t)
{
	struct control *c = t->data;
	int64_t now = clock_mono_ms();

	for (struct client *cl = c->clients; cl; cl = cl->next)
		if (!cl->closing && overdue(cl, now))
			client_close(cl);
	if (!c->clients)
		uv_timer_stop(t);
}

static void refuse_full(struct client *cl)
{
	struct pcg_error err;

	pcg_fail(&err, PCG_CLASS_RETRY, "end some pcgctl cluster watch, or ask again",
		 "%u programs are connected to this gateway's socket already", CLIENTS_MAX);
	refuse(cl, &err);
	client_close(cl);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct control *c = server->data;
	struct client *cl;

	if (status < 0)
		return;
	cl = calloc(1, sizeof(*cl));
	assert(cl);
	cl->control = c;
	cl->since_ms = clock_mono_ms();
	uv_pipe_init(&c->g->loop, &cl->pipe, 0);
	cl->pipe.data = cl;
	frame_reader_init(&cl->in, REQUEST_MAX);
	buf_init(&cl->out, OUT_MAX);
	cl->next = c->clients;
	c->clients = cl;
	c->n_clients++;
	if (!uv_is_active((uv_handle_t *)&c->tick))
		uv_timer_start(&c->tick, on_tick, TICK_MS, TICK_MS);
	if (uv_accept(server, (uv_stream_t *)&cl->pipe))
		client_close(cl);
	else if (c->n_clients > CLIENTS_MAX)
		refuse_full(cl);
	else if (uv_read_start((uv_stream_t *)&cl->pipe, on_alloc, on_read))
		client_close(cl);
}

static int check_path(const char *path, struct pcg_error *err)
{
	struct stat st;

	if (strlen(path) > SETTINGS_SOCKET_MAX)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "set socket to a shorter path",
				"the socket's path %s is longer than %zu bytes", path,
				SETTINGS_SOCKET_MAX);
	if (!lstat(path, &st) && !S_ISSOCK(st.st_mode))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "set socket to a path where nothing is",
				"listening on %s: there is something that is not a socket", path);
	return 0;
}

/* A socket that nobody answers on is left over from a kill: the store's lock says that no other
 * gateway runs on this state. A full queue (EAGAIN) is somebody. */
static int listen_on(const char *path, int *out, struct pcg_error *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	AUTO_CLOSE int probe = -1, fd = -1;
	int r = check_path(path, err);

	if (r)
		return r;
	memcpy(a.sun_path, path, strlen(path) + 1);
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0 || fd < 0)
		return pcg_fail_errno(err, errno, "making a Unix socket");
	r = connect(probe, (struct sockaddr *)&a, sizeof(a)) ? errno : 0;
	if (r && r != EAGAIN && r != ECONNREFUSED && r != ENOENT)
		return pcg_fail_errno(err, r, "looking who listens on %s", path);
	if (!r || r == EAGAIN)
		return pcg_fail(err, PCG_CLASS_CONFLICT, "set another socket, or stop that program",
				"another program listens on %s", path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)))
		return pcg_fail_errno(err, errno, "listening on %s", path);
	chmod(path, 0660);
	*out = fd;
	fd = -1;
	return 0;
}

int control_open(struct gateway *g, const char *path, struct control **out, struct pcg_error *err)
{
	struct control *c;
	int fd = -1, r = listen_on(path, &fd, err);

	if (r)
		return r;
	c = calloc(1, sizeof(*c));
	assert(c);
	c->g = g;
	c->path = strdup(path);
	uv_pipe_init(&g->loop, &c->pipe, 0);
	uv_timer_init(&g->loop, &c->tick);
	uv_unref((uv_handle_t *)&c->tick);
	uv_prepare_init(&g->loop, &c->turn);
	c->pipe.data = c->tick.data = c->turn.data = c;
	c->handles = 3;
	r = uv_pipe_open(&c->pipe, fd);
	if (!r)
		r = uv_listen((uv_stream_t *)&c->pipe, 128, on_connection);
	if (r) {
		control_close(c, NULL, NULL);
		return pcg_fail(err, PCG_CLASS_RETRY, "", "listening on %s: %s", path,
				uv_strerror(r));
	}
	*out = c;
	return 0;
}

static void handle_closed(uv_handle_t *h)
{
	struct control *c = h->data;

	c->handles--;
	maybe_closed(c);
}

void control_close(struct control *c, void (*closed)(void *arg), void *arg)
{
	c->closed = closed;
	c->closed_arg = arg;
	c->closing = true;
	unlink(c->path);
	for (struct client *cl = c->clients; cl; cl = cl->next) {
		client_flush(cl);
		client_close(cl);
	}
	uv_close((uv_handle_t *)&c->pipe, handle_closed);
	uv_close((uv_handle_t *)&c->tick, handle_closed);
	uv_close((uv_handle_t *)&c->turn, handle_closed);
}

bool control_watched(const struct control *c)
{
	for (const struct client *cl = c->clients; cl; cl = cl->next)
		if (cl->watch)
			return true;
	return false;
}

void control_cluster_changed(struct control *c, const json_t *view)
{
	const char *uid = json_str_or(view, "uid", "");

	for (struct client *cl = c->clients; cl; cl = cl->next)
		if (cl->watch && (!*cl->watch || !strcmp(cl->watch, uid)))
			send_event(cl, view);
}
