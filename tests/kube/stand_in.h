/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_KUBE_STAND_IN_H
#define TESTS_KUBE_STAND_IN_H

/* An API server of the test's own: TLS with required client certificates, discovery, objects by
 * path, pages, watch; and answers that a test puts before those. A relay before it cuts
 * connections. */

#include "host/bootstrap/bootstrap.h"
#include "kube/kube.h"
#include "tests/net/rig.h"

#include <stdbool.h>
#include <string.h>

struct scripted {
	const char *method, *part; /* of the target */
	int status;
	const char *body;
	int times; /* left */
};

static struct {
	struct http_server *server;
	struct rig_ca ca;
	struct rig_cert cert;
	json_t *objects; /* path -> object */
	json_t *log;     /* "METHOD target" */
	json_t *types;   /* content types of PATCHes */
	json_t *accepts; /* of what was written */
	struct scripted scripts[8];
	size_t n_scripts;
	const char *served; /* an extra kind of example.com/v1 */
	int served_after;   /* that many questions for it */
	int pages_of;       /* items of /api/v1/secrets */
	int gone_pages;     /* continued pages answered with 410 */
	struct http_exchange *watch;
} api;

static inline void api_script(const char *method, const char *part, int status, const char *body,
			      int times)
{
	api.scripts[api.n_scripts++] = (struct scripted){method, part, status, body, times};
}

static inline bool api_scripted(struct http_exchange *x, const struct http_server_request *req)
{
	for (size_t i = 0; i < api.n_scripts; i++) {
		struct scripted *s = &api.scripts[i];

		if (s->times <= 0 || strcmp(s->method, req->method) != 0 ||
		    !strstr(req->raw_target, s->part))
			continue;
		s->times--;
		http_exchange_reply(x, s->status, "application/json", s->body, strlen(s->body));
		return true;
	}
	return false;
}

static inline void api_reply(struct http_exchange *x, int status, json_t *body)
{
	http_exchange_reply_json(x, status, body);
	json_decref(body);
}

static inline json_t *api_status(int code, const char *reason, const char *message)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "kind", "Status", "apiVersion", "v1",
			 "status", "Failure", "reason", reason, "message", message, "code", code);
}

static inline json_t *api_resource(const char *name, const char *kind, bool namespaced)
{
	return json_pack("{s:s, s:s, s:b}", "name", name, "kind", kind, "namespaced", namespaced);
}

static inline bool api_discovery(struct http_exchange *x, const char *path)
{
	json_t *list = json_array();

	if (strcmp(path, "/api/v1") == 0) {
		json_array_append_new(list, api_resource("namespaces", "Namespace", false));
		json_array_append_new(list, api_resource("pods/status", "Pod", true));
		json_array_append_new(list, api_resource("pods", "Pod", true));
		json_array_append_new(list, api_resource("secrets", "Secret", true));
		json_array_append_new(list, api_resource("configmaps", "ConfigMap", true));
	} else if (strcmp(path, "/apis/apps/v1") == 0) {
		json_array_append_new(list, api_resource("deployments", "Deployment", true));
	} else if (strcmp(path, "/apis/apiextensions.k8s.io/v1") == 0) {
		json_array_append_new(list, api_resource("customresourcedefinitions",
							 "CustomResourceDefinition", false));
	} else if (strcmp(path, "/apis/example.com/v1") == 0 && api.served &&
		   api.served_after-- <= 0) {
		json_array_append_new(list, api_resource("widgets", api.served, true));
	} else {
		json_decref(list);
		return false;
	}
	api_reply(x, 200, json_pack("{s:s, s:o}", "kind", "APIResourceList", "resources", list));
	return true;
}

static inline void api_page(struct http_exchange *x)
{
	const char *from = http_exchange_query(x, "continue"),
		   *limit = http_exchange_query(x, "limit");
	int at = from ? atoi(from) : 0, end = at + (limit ? atoi(limit) : 1000000);
	json_t *items = json_array(), *meta = json_pack("{s:s}", "resourceVersion", "77");

	if (from && api.gone_pages-- > 0) {
		json_decref(items);
		json_decref(meta);
		api_reply(x, 410, api_status(410, "Expired", "the continue token is too old"));
		return;
	}
	for (; at < api.pages_of && at < end; at++)
		json_array_append_new(
			items, json_pack("{s:{s:o}}", "metadata", "name", json_sprintf("s%d", at)));
	if (at < api.pages_of)
		json_object_set_new(meta, "continue", json_sprintf("%d", at));
	api_reply(x, 200,
		  json_pack("{s:s, s:s, s:o, s:o}", "kind", "SecretList", "apiVersion", "v1",
			    "metadata", meta, "items", items));
}

static inline void api_patch(struct http_exchange *x, const struct http_server_request *req)
{
	const char *type = http_exchange_header(x, "content-type");
	bool created = !json_object_get(api.objects, req->path);
	json_t *o = json_loads(req->body, 0, NULL);

	json_array_append_new(api.types, json_string(type ? type : ""));
	json_array_append_new(api.accepts, json_string(http_exchange_header(x, "accept")));
	if (!o) {
		api_reply(x, 400, api_status(400, "BadRequest", "no JSON"));
		return;
	}
	json_object_set(api.objects, req->path, o);
	api_reply(x, created ? 201 : 200, o);
}

static inline void api_handle(void *arg, struct http_exchange *x,
			      const struct http_server_request *req)
{
	(void)arg;
	json_array_append_new(api.log, json_sprintf("%s %s", req->method, req->raw_target));
	ck_assert_ptr_nonnull(req->client);
	if (api_scripted(x, req))
		return;
	if (strcmp(req->method, "PATCH") == 0) {
		api_patch(x, req);
	} else if (strcmp(req->path, "/readyz") == 0) {
		http_exchange_reply(x, 200, "text/plain", "ok", 2);
	} else if (http_exchange_query(x, "watch")) {
		http_exchange_stream_begin(x, 200, "application/json");
		api.watch = x;
	} else if (strcmp(req->path, "/api/v1/secrets") == 0) {
		api_page(x);
	} else if (!api_discovery(x, req->path)) {
		json_t *o = json_object_get(api.objects, req->path);

		if (o)
			http_exchange_reply_json(x, 200, o);
		else
			api_reply(x, 404, api_status(404, "NotFound", "there is no such thing"));
	}
}

static inline void api_start(void)
{
	struct pcg_error err;

	memset(&api, 0, sizeof(api));
	rig_start();
	api.ca = rig_ca_new("kubernetes");
	api.cert = rig_cert_new(&api.ca, "kubernetes", "127.0.0.1");
	api.objects = json_object();
	api.log = json_array();
	api.types = json_array();
	api.accepts = json_array();
	struct http_server_tls tls = {.cert_pem = api.cert.cert,
				      .key_pem = api.cert.key,
				      .client_ca_pem = api.ca.cert,
				      .client_required = true};
	ck_assert_msg(http_server_new(rig_loop, "127.0.0.1", 0, &tls, NULL, api_handle, NULL,
				      &api.server, &err) == 0,
		      "%s", err.text);
}

static inline void api_end(void)
{
	rig_server_end(api.server);
	rig_cert_free(&api.cert);
	rig_ca_free(&api.ca);
	json_decref(api.objects);
	json_decref(api.log);
	json_decref(api.types);
	json_decref(api.accepts);
	rig_end();
}

/* How often a request line begins with this. */
static inline int api_count(const char *line)
{
	int n = 0;
	size_t i;
	json_t *v;

	json_array_foreach (api.log, i, v)
		n += strncmp(json_string_value(v), line, strlen(line)) == 0;
	return n;
}

/* A relay: forwards bytes, and cuts the connection after so many that the server sent. */
struct relay_pipe {
	uv_tcp_t in, out;
	uv_connect_t connect;
	int open;
};

static struct {
	uv_tcp_t listener;
	uint16_t port;
	long cut_after; /* of each connection; < 0: never */
	int cuts;
} relay;

static inline void relay_closed(uv_handle_t *h)
{
	struct relay_pipe *p = h->data;

	if (--p->open == 0)
		free(p);
}

static inline void relay_close(struct relay_pipe *p)
{
	if (!uv_is_closing((uv_handle_t *)&p->in))
		uv_close((uv_handle_t *)&p->in, relay_closed);
	if (!uv_is_closing((uv_handle_t *)&p->out))
		uv_close((uv_handle_t *)&p->out, relay_closed);
}

static inline void relay_alloc(uv_handle_t *h, size_t size, uv_buf_t *b)
{
	(void)h;
	*b = uv_buf_init(malloc(size), (unsigned)size);
}

struct relay_write {
	uv_write_t req;
	char *data;
};

static inline void relay_written(uv_write_t *req, int status)
{
	struct relay_write *w = (struct relay_write *)req;

	(void)status;
	free(w->data);
	free(w);
}

static inline void relay_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	struct relay_pipe *p = s->data;
	bool from_server = (uv_handle_t *)s == (uv_handle_t *)&p->out;
	struct relay_write *w;
	uv_buf_t out;

	if (n < 0) {
		free(b->base);
		relay_close(p);
		return;
	}
	if (n == 0) {
		free(b->base);
		return;
	}
	if (from_server && relay.cut_after >= 0 && n > relay.cut_after)
		n = relay.cut_after;
	w = calloc(1, sizeof(*w));
	w->data = b->base;
	out = uv_buf_init(b->base, (unsigned)n);
	uv_write(&w->req, (uv_stream_t *)(from_server ? &p->in : &p->out), &out, 1, relay_written);
	if (from_server && relay.cut_after >= 0) {
		relay.cut_after -= n;
		if (relay.cut_after == 0) {
			relay.cuts++;
			relay_close(p);
		}
	}
}

static inline void relay_connected(uv_connect_t *req, int status)
{
	struct relay_pipe *p = req->data;

	if (status) {
		relay_close(p);
		return;
	}
	uv_read_start((uv_stream_t *)&p->in, relay_alloc, relay_read);
	uv_read_start((uv_stream_t *)&p->out, relay_alloc, relay_read);
}

static inline void relay_accept(uv_stream_t *s, int status)
{
	struct relay_pipe *p = calloc(1, sizeof(*p));
	struct sockaddr_in to;

	ck_assert_int_eq(status, 0);
	uv_tcp_init(rig_loop, &p->in);
	uv_tcp_init(rig_loop, &p->out);
	p->in.data = p->out.data = p->connect.data = p;
	p->open = 2;
	uv_accept(s, (uv_stream_t *)&p->in);
	uv_ip4_addr("127.0.0.1", http_server_port(api.server), &to);
	uv_tcp_connect(&p->connect, &p->out, (struct sockaddr *)&to, relay_connected);
}

static inline void relay_start(long cut_after)
{
	struct sockaddr_in at;
	int len = sizeof(at);

	uv_ip4_addr("127.0.0.1", 0, &at);
	relay.cut_after = cut_after;
	relay.cuts = 0;
	ck_assert_int_eq(uv_tcp_init(rig_loop, &relay.listener), 0);
	ck_assert_int_eq(uv_tcp_bind(&relay.listener, (struct sockaddr *)&at, 0), 0);
	ck_assert_int_eq(uv_listen((uv_stream_t *)&relay.listener, 64, relay_accept), 0);
	uv_tcp_getsockname(&relay.listener, (struct sockaddr *)&at, &len);
	relay.port = ntohs(at.sin_port);
}

static inline void relay_end(void)
{
	uv_close((uv_handle_t *)&relay.listener, NULL);
}

#endif
