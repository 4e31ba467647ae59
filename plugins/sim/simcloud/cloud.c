/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/cloud.h"

#include "core/clock.h"
#include "core/log.h"
#include "plugins/sim/simcloud/machine.h"
#include "plugins/sim/simcloud/node.h"
#include "plugins/sim/simcloud/reply.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETTING_MAX (24 * 3600 * 1000)

static void cloud_on_prepare(uv_prepare_t *h)
{
	reply_settle(h->data);
}

static void cloud_on_check(uv_check_t *h)
{
	reply_settle(h->data);
}

/* Keeps a loopback port for a cluster: bound, but not listening, so that connections are refused until a machine
 * serves there. SO_REUSEADDR lets the server of the same address bind beside it. */
static int cloud_hold_port(uint16_t *port, struct pcg_error *err)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(*port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		return pcg_fail_errno(err, errno, "making a socket for an endpoint");
	if (*port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || getsockname(fd, (struct sockaddr *)&sa, &len)) {
		int e = errno;

		close(fd);
		return pcg_fail_errno(err, e, "binding 127.0.0.1:%u for an endpoint", *port);
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	*port = ntohs(sa.sin_port);
	return fd;
}

static struct cluster *cloud_cluster_add(struct cloud *c, const char *uid, const char *name, uint16_t port,
					 int holder)
{
	struct cluster *cl = calloc(1, sizeof(*cl));

	assert(cl);
	cl->cloud = c;
	cl->uid = strdup(uid);
	cl->name = strdup(name);
	cl->port = port;
	cl->holder = holder;
	map_put(&c->clusters, uid, cl);
	return cl;
}

static void cloud_cluster_free(struct cluster *cl)
{
	if (cl->holder >= 0)
		close(cl->holder);
	free(cl->uid);
	free(cl->name);
	free(cl);
}

int cloud_cluster_ensure(struct cloud *c, const char *uid, const char *name, struct cluster **out,
			 struct pcg_error *err)
{
	AUTO_JSON json_t *body = NULL;
	uint16_t port = 0;
	int fd;

	*out = map_get(&c->clusters, uid);
	if (*out)
		return 0;
	fd = cloud_hold_port(&port, err);
	if (fd < 0)
		return fd;
	*out = cloud_cluster_add(c, uid, name, port, fd);
	body = json_pack("{s:s, s:i}", "name", name, "port", port);
	persist_doc(c->persist, "cluster", uid, body);
	return 0;
}

void cloud_cluster_delete(struct cloud *c, struct cluster *cl)
{
	persist_doc(c->persist, "cluster", cl->uid, NULL);
	map_remove(&c->clusters, cl->uid);
	cloud_cluster_free(cl);
}

static void cloud_load_cluster(void *arg, const char *uid, json_t *body)
{
	struct cloud *c = arg;
	struct pcg_error err = { 0 };
	uint16_t port = (uint16_t)json_int_or(body, "port", 0);
	int fd = cloud_hold_port(&port, &err);

	if (fd < 0)
		log_err("simcloud_port_lost", &err, LS("cluster", uid));
	cloud_cluster_add(c, uid, json_str_or(body, "name", ""), (uint16_t)json_int_or(body, "port", 0),
			  fd < 0 ? -1 : fd);
}

static void cloud_load_machine(void *arg, const char *uid, json_t *body)
{
	machine_load(arg, uid, body);
}

static void cloud_load_api(void *arg, const char *id, json_t *body)
{
	node_load(arg, id, body);
}

static void cloud_resume_machine(void *arg, const char *uid, void *value)
{
	machine_resume(value);
}

static void cloud_load_settings(void *arg, const char *id, json_t *body)
{
	cloud_settings_apply(arg, body);
}

int cloud_new(uv_loop_t *loop, const char *dir, struct secret *token, struct cloud **out,
	      struct pcg_error *err)
{
	struct cloud *c = calloc(1, sizeof(*c));
	int r;

	assert(c);
	c->loop = loop;
	c->token = secret_ref(token);
	c->failures = json_array();
	c->calls = json_object();
#define X(name, def, doc) c->settings.name = def;
	CLOUD_SETTINGS(X)
#undef X
	r = persist_open(dir, &c->persist, err);
	if (r) {
		cloud_free(c);
		return r;
	}
	c->first_seq = c->seq = (uint64_t)clock_wall_ms() * 1000;
	uv_prepare_init(loop, &c->prepare);
	c->prepare.data = c;
	uv_prepare_start(&c->prepare, cloud_on_prepare);
	uv_check_init(loop, &c->check);
	c->check.data = c;
	uv_check_start(&c->check, cloud_on_check);
	persist_each_doc(c->persist, "settings", cloud_load_settings, c);
	persist_each_doc(c->persist, "cluster", cloud_load_cluster, c);
	persist_each_doc(c->persist, "machine", cloud_load_machine, c);
	persist_each_doc(c->persist, "api", cloud_load_api, c);
	map_each(&c->machines, cloud_resume_machine, NULL);
	*out = c;
	return 0;
}

static void cloud_close_machine(void *arg, const char *uid, void *value)
{
	machine_close(value);
}

static void cloud_close_api(void *arg, const char *id, void *value)
{
	node_close(value);
}

void cloud_close(struct cloud *c)
{
	if (c->closing)
		return;
	c->closing = true;
	reply_close(c);
	http_server_close(c->server, NULL, NULL);
	c->server = NULL;
	map_each(&c->apis, cloud_close_api, NULL);
	map_each(&c->machines, cloud_close_machine, NULL);
	uv_close((uv_handle_t *)&c->prepare, NULL);
	uv_close((uv_handle_t *)&c->check, NULL);
}

static void cloud_free_machine(void *arg, const char *uid, void *value)
{
	machine_free(value);
}

static void cloud_free_api(void *arg, const char *id, void *value)
{
	node_free(value);
}

static void cloud_free_cluster(void *arg, const char *uid, void *value)
{
	cloud_cluster_free(value);
}

void cloud_free(struct cloud *c)
{
	if (!c)
		return;
	map_each(&c->apis, cloud_free_api, NULL);
	map_each(&c->machines, cloud_free_machine, NULL);
	map_each(&c->clusters, cloud_free_cluster, NULL);
	map_free(&c->apis);
	map_free(&c->machines);
	map_free(&c->clusters);
	persist_close(c->persist);
	for (size_t i = 0; i < CLOUD_CHANGES; i++)
		free(c->changes[i]);
	json_decref(c->failures);
	json_decref(c->calls);
	secret_unref(c->token);
	free(c);
}

void cloud_changed(struct cloud *c, const char *uid)
{
	size_t slot = (size_t)(++c->seq % CLOUD_CHANGES);

	free(c->changes[slot]);
	c->changes[slot] = strdup(uid);
	reply_wake(c);
}

static void cloud_add_uid(void *arg, const char *uid, void *value)
{
	json_object_set_new_nocheck(arg, uid, json_true());
}

json_t *cloud_changes_since(struct cloud *c, uint64_t since, bool *reset)
{
	AUTO_JSON json_t *set = json_object();
	json_t *out = json_array(), *v;
	const char *uid;

	*reset = since < c->first_seq || since > c->seq || c->seq - since >= CLOUD_CHANGES;
	if (*reset)
		map_each(&c->machines, cloud_add_uid, set);
	else
		for (uint64_t s = since + 1; s <= c->seq; s++)
			json_object_set_new_nocheck(set, c->changes[s % CLOUD_CHANGES], json_true());
	json_object_foreach(set, uid, v)
		json_array_append_new(out, json_string(uid));
	return out;
}

int cloud_take_failure(struct cloud *c, const char *op, int *status, char class[32])
{
	size_t i;
	json_t *f;

	json_array_foreach(c->failures, i, f) {
		int64_t count = json_int_or(f, "count", 1);

		if (strcmp(json_str_or(f, "op", ""), op) != 0)
			continue;
		*status = (int)json_int_or(f, "status", 500);
		snprintf(class, 32, "%s", json_str_or(f, "class", "retry"));
		if (count <= 1)
			json_array_remove(c->failures, i);
		else
			json_put(f, "count", json_integer(count - 1));
		return 1;
	}
	return 0;
}

const char *cloud_settings_wrong(const json_t *j)
{
	static const char *const numbers[] = {
#define X(name, def, doc) #name,
		CLOUD_SETTINGS(X)
#undef X
	};
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)j, key, v) {
		json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
		bool good = !strcmp(key, "failures") && json_is_array(v);

		for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
			good |= !strcmp(key, numbers[i]) && n >= 0 && n <= SETTING_MAX;
		if (!good)
			return key;
	}
	return NULL;
}

void cloud_settings_apply(struct cloud *c, const json_t *j)
{
	json_t *failures = json_object_get(j, "failures");

#define X(name, def, doc) c->settings.name = json_int_or(j, #name, c->settings.name);
	CLOUD_SETTINGS(X)
#undef X
	if (json_is_array(failures)) {
		json_decref(c->failures);
		c->failures = json_deep_copy(failures);
	}
}

json_t *cloud_settings_json(const struct cloud *c)
{
	json_t *j = json_object();

#define X(name, def, doc) json_object_set_new(j, #name, json_integer(c->settings.name));
	CLOUD_SETTINGS(X)
#undef X
	json_object_set_new(j, "failures", json_deep_copy(c->failures));
	return j;
}
