/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/cloud_api.h"

#include "plugins/sim/simcloud/machine.h"
#include "plugins/sim/simcloud/node.h"
#include "plugins/sim/simcloud/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct api_call {
	struct cloud *c;
	struct http_exchange *x;
	const struct http_server_request *req;
	json_t *body;
	const char *id;      /* of the path, NULL when absent */
};

static void api_reply(struct api_call *a, int status, json_t *body)
{
	reply_json(a->c, a->x, status, body, a->c->settings.call_ms);
}

static void api_error(struct api_call *a, int status, const char *class, const char *text)
{
	api_reply(a, status, json_pack("{s:{s:s, s:o}}", "error", "class", class, "message",
				       json_string(text) ?: json_string("")));
}

static void api_pcg_error(struct api_call *a, const struct pcg_error *err)
{
	int status = err->class == PCG_CLASS_CONFLICT ? 409 : err->class == PCG_CLASS_QUOTA ? 429 :
		     err->class == PCG_CLASS_RETRY ? 503 : 422;

	api_error(a, status, pcg_class_name(err->class), err->text);
}

static void api_not_found(struct api_call *a, const char *what)
{
	char text[256];

	snprintf(text, sizeof(text), "there is no %s %s", what, a->id ?: "");
	api_error(a, 404, "not_found", text);
}

static void api_account(struct api_call *a)
{
	api_reply(a, 200, json_pack("{s:s, s:I, s:I}", "version", PACKAGE_VERSION, "capacity",
				    (json_int_t)a->c->settings.capacity, "machines", (json_int_t)a->c->machines.n));
}

static json_t *api_cluster_json(const struct cluster *cl)
{
	return json_pack("{s:s, s:s, s:{s:s, s:i}}", "uid", cl->uid, "name", cl->name, "endpoint", "host", "127.0.0.1",
			 "port", (int)cl->port);
}

static void api_cluster_put(struct api_call *a)
{
	struct pcg_error err = { 0 };
	struct cluster *cl;

	if (!*json_str_or(a->body, "name", "")) {
		api_error(a, 422, "permanent", "a cluster needs a \"name\"");
		return;
	}
	if (cloud_cluster_ensure(a->c, a->id, json_str(a->body, "name"), &cl, &err))
		api_pcg_error(a, &err);
	else
		api_reply(a, 200, api_cluster_json(cl));
}

static void api_cluster_get(struct api_call *a)
{
	struct cluster *cl = map_get(&a->c->clusters, a->id);

	if (cl)
		api_reply(a, 200, api_cluster_json(cl));
	else
		api_not_found(a, "cluster");
}

struct api_in_use {
	const char *cluster;
	size_t n;
};

static void api_count_machine(void *arg, const char *uid, void *value)
{
	struct api_in_use *u = arg;
	const struct machine *m = value;

	u->n += strcmp(m->cluster, u->cluster) == 0;
}

static void api_cluster_delete(struct api_call *a)
{
	struct cluster *cl = map_get(&a->c->clusters, a->id);
	struct api_in_use u = { .cluster = a->id };

	if (!cl) {
		api_not_found(a, "cluster");
		return;
	}
	map_each(&a->c->machines, api_count_machine, &u);
	if (u.n) {
		api_error(a, 409, "conflict", "the cluster still has machines");
		return;
	}
	cloud_cluster_delete(a->c, cl);
	api_reply(a, 200, json_object());
}

struct api_list {
	const char *cluster; /* NULL: all */
	json_t *items;
};

static void api_list_cluster(void *arg, const char *uid, void *value)
{
	struct api_list *l = arg;

	if (!l->cluster || strcmp(l->cluster, uid) == 0)
		json_array_append_new(l->items, api_cluster_json(value));
}

static void api_clusters(struct api_call *a)
{
	struct api_list l = { .items = json_array(), .cluster = http_exchange_query(a->x, "cluster") };

	map_each(&a->c->clusters, api_list_cluster, &l);
	api_reply(a, 200, json_pack("{s:o}", "items", l.items));
}

/* By mark: it alone says whose a machine is. */
static void api_list_machine(void *arg, const char *uid, void *value)
{
	struct api_list *l = arg;

	if (!l->cluster || strcmp(machine_mark(value, "cluster"), l->cluster) == 0)
		json_array_append_new(l->items, machine_json(value));
}

static void api_inventory(struct api_call *a)
{
	const char *cluster = http_exchange_query(a->x, "cluster");
	struct api_list machines = { .items = json_array(), .cluster = cluster && *cluster ? cluster : NULL };
	struct api_list clusters = { .items = json_array(), .cluster = machines.cluster };

	map_each(&a->c->machines, api_list_machine, &machines);
	map_each(&a->c->clusters, api_list_cluster, &clusters);
	api_reply(a, 200, json_pack("{s:o, s:o}", "items", machines.items, "clusters", clusters.items));
}

static void api_machine_put(struct api_call *a)
{
	struct pcg_error err = { 0 };
	struct machine *m;
	bool made;

	if (machine_ensure(a->c, a->id, a->body, &m, &made, &err))
		api_pcg_error(a, &err);
	else
		api_reply(a, m->task[0] ? 202 : 200, machine_json(m));
}

static struct machine *api_machine(struct api_call *a)
{
	struct machine *m = map_get(&a->c->machines, a->id);

	if (!m)
		api_not_found(a, "machine");
	return m;
}

static void api_machine_get(struct api_call *a)
{
	struct machine *m = api_machine(a);

	if (m)
		api_reply(a, 200, machine_json(m));
}

static void api_machine_delete(struct api_call *a)
{
	struct machine *m = api_machine(a);

	if (!m)
		return;
	machine_delete(m);
	api_reply(a, 202, machine_json(m));
}

static void api_machine_power(struct api_call *a)
{
	struct machine *m = api_machine(a);

	if (!m)
		return;
	if (!json_is_boolean(json_object_get(a->body, "on"))) {
		api_error(a, 422, "permanent", "give {\"on\": true or false}");
		return;
	}
	machine_power(m, json_bool_or(a->body, "on", false));
	api_reply(a, m->task[0] ? 202 : 200, machine_json(m));
}

static void api_machine_redact(struct api_call *a)
{
	struct machine *m = api_machine(a);

	if (!m)
		return;
	machine_redact(m);
	api_reply(a, 200, machine_json(m));
}

static void api_machine_user_data(struct api_call *a)
{
	struct machine *m = api_machine(a);

	if (m)
		reply_text(a->c, a->x, 200, "text/plain; charset=utf-8", m->user_data);
}

static void api_wait(struct api_call *a)
{
	const char *since = http_exchange_query(a->x, "since"), *timeout = http_exchange_query(a->x, "timeout_ms");
	int64_t ms = timeout ? strtoll(timeout, NULL, 10) : 25000;

	/* A client's first question only learns where the count is. */
	reply_when_changed(a->c, a->x, since ? strtoull(since, NULL, 10) : 0, ms < 1 ? 1 : ms > 60000 ? 60000 : ms);
}

static json_t *api_kubeapi_json(const struct kapi *k)
{
	return json_pack("{s:s, s:s, s:s, s:O?, s:b}", "id", k->id, "address", k->address, "hostName", k->host_name,
			 "endpoint", json_object_get(k->config, "endpoint"), "up", k->n_servers > 0);
}

static void api_kubeapi_post(struct api_call *a)
{
	struct pcg_error err = { 0 };
	struct kapi *k;

	if (node_api_add(a->c, a->body, &k, &err))
		api_pcg_error(a, &err);
	else
		api_reply(a, 201, api_kubeapi_json(k));
}

/* The machine is off: with "?keep=1" its disk stays, and the next POST of its id finds it. */
static void api_kubeapi_delete(struct api_call *a)
{
	struct kapi *k = map_get(&a->c->apis, a->id);

	if (!k) {
		api_not_found(a, "Kubernetes API");
		return;
	}
	if (http_exchange_query(a->x, "keep"))
		node_api_off(k);
	else
		node_api_remove(k);
	api_reply(a, 200, json_object());
}

static void api_list_kubeapi(void *arg, const char *id, void *value)
{
	json_array_append_new(arg, api_kubeapi_json(value));
}

static void api_kubeapis(struct api_call *a)
{
	json_t *items = json_array();

	map_each(&a->c->apis, api_list_kubeapi, items);
	api_reply(a, 200, json_pack("{s:o}", "items", items));
}

/* What waits by a setting looks at the new one. */
static void api_poke(void *arg, const char *id, void *value)
{
	(void)arg;
	(void)id;
	kcontrol_poke(value);
}

static void api_settings_put(struct api_call *a)
{
	const char *wrong = cloud_settings_wrong(a->body);
	char text[200];
	json_t *now;

	if (wrong) {
		snprintf(text, sizeof(text),
			 "settings: \"%.60s\" is none, or its value is none; allowed are the names that "
			 "GET /v1/settings lists, with 0 to a day in ms",
			 wrong);
		api_error(a, 400, "permanent", text);
		return;
	}
	cloud_settings_apply(a->c, a->body);
	map_each(&a->c->apis, api_poke, NULL);
	now = cloud_settings_json(a->c);
	persist_doc(a->c->persist, "settings", "settings", now);
	reply_json(a->c, a->x, 200, now, 0);
}

static void api_settings_get(struct api_call *a)
{
	reply_json(a->c, a->x, 200, cloud_settings_json(a->c), 0);
}

static void api_count_up(void *arg, const char *id, void *value)
{
	*(size_t *)arg += ((struct kapi *)value)->n_servers > 0;
}

static void api_stats(struct api_call *a)
{
	const struct cloud_stats *s = &a->c->stats;
	size_t up = 0;

	map_each(&a->c->apis, api_count_up, &up);
	reply_json(a->c, a->x, 200,
		   json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "clusters",
			     (json_int_t)a->c->clusters.n, "machines", (json_int_t)a->c->machines.n, "machinesMade",
			     (json_int_t)s->machines_made, "machinesDeleted", (json_int_t)s->machines_deleted, "tasks",
			     (json_int_t)s->tasks, "kubeAPIs", (json_int_t)a->c->apis.n, "kubeAPIsUp", (json_int_t)up,
			     "calls", (json_int_t)s->calls, "kubeCalls", (json_int_t)s->kube_calls, "kubeRefused",
			     (json_int_t)s->kube_refused, "newCA", (json_int_t)s->new_ca, "released",
			     (json_int_t)s->released, "callsByOp", a->c->calls),
		   0);
}

static const struct api_route {
	const char *op, *method, *prefix, *suffix; /* path: PREFIX [ID SUFFIX] */
	bool has_id, has_body;
	void (*run)(struct api_call *a);
} routes[] = {
	{ "account", "GET", "/v1/account", "", false, false, api_account },
	{ "clusters", "GET", "/v1/clusters", "", false, false, api_clusters },
	{ "cluster_put", "PUT", "/v1/clusters/", "", true, true, api_cluster_put },
	{ "cluster_get", "GET", "/v1/clusters/", "", true, false, api_cluster_get },
	{ "cluster_delete", "DELETE", "/v1/clusters/", "", true, false, api_cluster_delete },
	{ "inventory", "GET", "/v1/machines", "", false, false, api_inventory },
	{ "machine_put", "PUT", "/v1/machines/", "", true, true, api_machine_put },
	{ "machine_get", "GET", "/v1/machines/", "", true, false, api_machine_get },
	{ "machine_delete", "DELETE", "/v1/machines/", "", true, false, api_machine_delete },
	{ "machine_power", "POST", "/v1/machines/", "/power", true, true, api_machine_power },
	{ "machine_redact", "POST", "/v1/machines/", "/redact", true, false, api_machine_redact },
	{ "machine_user_data", "GET", "/v1/machines/", "/user-data", true, false, api_machine_user_data },
	{ "wait", "GET", "/v1/wait", "", false, false, api_wait },
	{ "kubeapi_post", "POST", "/v1/kubeapis", "", false, true, api_kubeapi_post },
	{ "kubeapis", "GET", "/v1/kubeapis", "", false, false, api_kubeapis },
	{ "kubeapi_delete", "DELETE", "/v1/kubeapis/", "", true, false, api_kubeapi_delete },
	{ "settings_put", "PUT", "/v1/settings", "", false, true, api_settings_put },
	{ "settings_get", "GET", "/v1/settings", "", false, false, api_settings_get },
	{ "stats", "GET", "/v1/stats", "", false, false, api_stats },
};

/* The id of the path when the route is meant; "" for a route without one; NULL: another route. Caller frees. */
static char *api_route_id(const struct api_route *r, const struct http_server_request *req)
{
	size_t prefix = strlen(r->prefix), suffix = strlen(r->suffix), len = strlen(req->path);

	if (strcmp(r->method, req->method) != 0)
		return NULL;
	if (!r->has_id)
		return strcmp(req->path, r->prefix) == 0 ? strdup("") : NULL;
	if (len <= prefix + suffix || strncmp(req->path, r->prefix, prefix) != 0 ||
	    strcmp(req->path + len - suffix, r->suffix) != 0 ||
	    memchr(req->path + prefix, '/', len - prefix - suffix))
		return NULL;
	return strndup(req->path + prefix, len - prefix - suffix);
}

static bool api_authorized(struct api_call *a)
{
	const char *given = http_exchange_header(a->x, "authorization");
	struct secret *s;
	bool ok;

	s = secret_new_str(given && strncmp(given, "Bearer ", 7) == 0 ? given + 7 : "");
	ok = secret_equal(s, a->c->token);
	secret_unref(s);
	if (!ok)
		api_error(a, 401, "auth", "the token is missing or wrong");
	return ok;
}

static void api_run(struct api_call *a, const struct api_route *r)
{
	struct pcg_error err = { 0 };
	char class[32];
	int status;

	json_object_set_new(a->c->calls, r->op, json_integer(json_int_or(a->c->calls, r->op, 0) + 1));
	if (r->has_body && (json_parse(a->req->body, a->req->body_len, "body", &a->body, &err) ||
			    !json_is_object(a->body))) {
		api_error(a, 400, "permanent", "the body is not a JSON object");
		return;
	}
	if (cloud_take_failure(a->c, r->op, &status, class)) {
		api_error(a, status, class, "a failure that the settings asked for");
		return;
	}
	r->run(a);
}

void cloud_api_handle(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	struct api_call a = { .c = arg, .x = x, .req = req };

	a.c->stats.calls++;
	if (!api_authorized(&a))
		return;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		AUTO_FREE char *id = api_route_id(&routes[i], req);

		if (!id)
			continue;
		a.id = id;
		api_run(&a, &routes[i]);
		if (a.body)
			json_wipe(a.body);
		return;
	}
	api_error(&a, 404, "not_found", "there is no such path, or not with this method");
}
