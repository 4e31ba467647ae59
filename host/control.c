/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Unix socket for pcgctl: frames of core/frame.h. One request {"op", ...} a connection at a
 * time; the answer is {"ok":true,"result":{}} or {"ok":false,"error":{class,text,remedy}}. A watch
 * answers {"ok":true,"event":{}} for each change until the client leaves. It shows and checks, and
 * has no verb that changes a cluster: Palette alone does.
 */
#include "config.h"

#include "host/gateway.h"

#include "core/frame.h"
#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_MAX (64u << 10)
#define CLIENTS_MAX 64
#define OUT_MAX (64u << 20)
#define HISTORY_MAX 10000

struct client {
	struct client *next;
	struct control *control;
	uv_pipe_t pipe;
	struct frame_reader in;
	char *watch; /* uid or name of a cluster, "" for all; NULL: not watching */
	bool closing, busy;
	char chunk[4096];
};

struct control {
	struct gateway *g;
	uv_pipe_t pipe;
	char *path;
	struct client *clients;
	unsigned n_clients;
	bool closing;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* A request that is answered later keeps its client by number, not by pointer. */
struct later {
	struct control *control;
	struct client *client;
};

struct out {
	uv_write_t req;
	struct buf data;
};

static void maybe_closed(struct control *c)
{
	if (!c->closing || c->n_clients)
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
	frame_reader_free(&cl->in);
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

static void client_send(struct client *cl, const json_t *doc)
{
	struct pcg_error err;
	struct out *o;
	uv_buf_t b;

	if (cl->closing)
		return;
	o = calloc(1, sizeof(*o));
	assert(o);
	buf_init(&o->data, OUT_MAX);
	o->req.data = o;
	if (frame_write(&o->data, doc, &err) ||
	    uv_stream_get_write_queue_size((uv_stream_t *)&cl->pipe) > OUT_MAX) {
		buf_free(&o->data);
		free(o);
		client_close(cl);
		return;
	}
	b = uv_buf_init(o->data.data, (unsigned)o->data.len);
	if (uv_write(&o->req, (uv_stream_t *)&cl->pipe, &b, 1, on_written)) {
		buf_free(&o->data);
		free(o);
		client_close(cl);
	}
}

/* result is stolen. */
static void answer(struct client *cl, json_t *result)
{
	json_t *o = json_pack("{s:b,s:o}", "ok", 1, "result", result);

	cl->busy = false;
	client_send(cl, o);
	json_decref(o);
}

static void refuse(struct client *cl, const struct pcg_error *err)
{
	json_t *o = json_pack("{s:b,s:o}", "ok", 0, "error", json_from_error(err));

	cl->busy = false;
	client_send(cl, o);
	json_decref(o);
}

static struct later *later_new(struct client *cl)
{
	struct later *l = calloc(1, sizeof(*l));

	assert(l);
	l->control = cl->control;
	l->client = cl;
	cl->busy = true;
	return l;
}

static struct client *later_take(struct later *l)
{
	struct client *cl = l->control->clients;

	while (cl && cl != l->client)
		cl = cl->next;
	free(l);
	return cl && !cl->closing && cl->busy ? cl : NULL;
}

static void on_history(void *arg, json_t *history)
{
	struct client *cl = later_take(arg);

	if (cl)
		answer(cl, json_incref(history));
}

static void on_audit(void *arg, json_t *result)
{
	struct client *cl = later_take(arg);

	if (cl)
		answer(cl, json_incref(result));
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

	client_send(cl, o);
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

static void op_history(struct client *cl, const json_t *req)
{
	struct pcg_error err;
	const char *name;

	if (need_cluster(req, &name, &err)) {
		refuse(cl, &err);
		return;
	}
	if (lifecycle_knows(cl->control->g->lifecycle, name))
		store_history(cl->control->g->store, name, HISTORY_MAX, on_history, later_new(cl));
	else
		no_cluster(cl, name);
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
	struct pcg_error err;
	struct buf report;

	buf_init(&report, 1u << 16);
	if (gateway_reload(cl->control->g, &report)) {
		pcg_fail(&err, PCG_CLASS_PERMANENT,
			 "mend what is named and reload again; the old settings are kept", "%s",
			 report.data);
		refuse(cl, &err);
	} else {
		answer(cl, json_pack("{s:s}", "message", "taken up"));
	}
	buf_free(&report);
}

static const struct {
	const char *name;
	void (*run)(struct client *cl, const json_t *req);
} ops[] = {
	{ "status", op_status },	{ "cluster.list", op_list },
	{ "cluster.show", op_show },	{ "cluster.watch", op_watch },
	{ "cluster.history", op_history }, { "audit", op_audit },
	{ "plugin.list", op_plugins },	{ "plugin.rescan", op_rescan },
	{ "policy.list", op_policy },	{ "reload", op_reload },
};

static void serve(struct client *cl, const json_t *req)
{
	const char *op = json_str_or(req, "op", "");
	struct pcg_error err;

	if (cl->busy) {
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

	if (n < 0 || frame_reader_feed(&cl->in, b->base, (size_t)n, &err)) {
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

static void on_connection(uv_stream_t *server, int status)
{
	struct control *c = server->data;
	struct client *cl;

	if (status < 0)
		return;
	cl = calloc(1, sizeof(*cl));
	assert(cl);
	cl->control = c;
	uv_pipe_init(&c->g->loop, &cl->pipe, 0);
	cl->pipe.data = cl;
	frame_reader_init(&cl->in, REQUEST_MAX);
	cl->next = c->clients;
	c->clients = cl;
	c->n_clients++;
	if (uv_accept(server, (uv_stream_t *)&cl->pipe) || c->n_clients > CLIENTS_MAX ||
	    uv_read_start((uv_stream_t *)&cl->pipe, on_alloc, on_read))
		client_close(cl);
}

/* A socket that nobody answers on is left over from a kill: the store's lock says that no other
 * gateway runs on this state. */
static int listen_on(const char *path, int *out, struct pcg_error *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = -1;

	if (strlen(path) >= sizeof(a.sun_path))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "set socket to a shorter path",
				"the socket's path %s is longer than %zu bytes", path,
				sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return pcg_fail_errno(err, errno, "making a Unix socket");
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return pcg_fail(err, PCG_CLASS_CONFLICT, "set another socket, or stop that program",
				"another program listens on %s", path);
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)))
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
	c->pipe.data = c;
	r = uv_pipe_open(&c->pipe, fd);
	if (!r)
		r = uv_listen((uv_stream_t *)&c->pipe, 16, on_connection);
	if (r)
		return pcg_fail(err, PCG_CLASS_RETRY, "", "listening on %s: %s", path,
				uv_strerror(r));
	*out = c;
	return 0;
}

static void server_closed(uv_handle_t *h)
{
	struct control *c = h->data;

	c->closing = true;
	for (struct client *cl = c->clients; cl; cl = cl->next)
		client_close(cl);
	maybe_closed(c);
}

void control_close(struct control *c, void (*closed)(void *arg), void *arg)
{
	c->closed = closed;
	c->closed_arg = arg;
	unlink(c->path);
	uv_close((uv_handle_t *)&c->pipe, server_closed);
}

void control_cluster_changed(struct control *c, const json_t *view)
{
	const char *uid = json_str_or(view, "uid", "");

	for (struct client *cl = c->clients; cl; cl = cl->next)
		if (cl->watch && (!*cl->watch || !strcmp(cl->watch, uid)))
			send_event(cl, view);
}
