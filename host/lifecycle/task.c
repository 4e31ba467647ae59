/* SPDX-License-Identifier: Apache-2.0 */
/* What all tasks share: where they begin, their guards, and the documents that providers get. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/fault.h"
#include "core/log.h"
#include "host/bootstrap/bootstrap.h"

#include <assert.h>
#include <string.h>

#define HOUR_MS 3600000
#define YEAR_MS (365LL * 24 * HOUR_MS)

static void (*const starts[LC_TASK_COUNT])(struct cluster *c) = {
#define X(id, fn) [LC_TASK_##id] = fn,
	TASK_STARTS(X)
#undef X
};

void task_start(struct cluster *c)
{
	cluster_cancel(c);
	if (!starts[c->lc.task])
		return;
	FAULT_POINT("lifecycle.before_task");
	starts[c->lc.task](c);
}

struct guard *task_guard(struct cluster *c)
{
	struct guard *g = calloc(1, sizeof(*g));

	assert(g);
	if (c->guard)
		c->guard->cluster = NULL;
	g->cluster = c;
	c->guard = g;
	return g;
}

struct cluster *task_guard_take(void *arg)
{
	struct guard *g = arg;
	struct cluster *c = g->cluster;

	if (c && c->guard == g)
		c->guard = NULL;
	free(g);
	return c;
}

/* What an infrastructure has no use for stays here: layers and files can be large, and each call
 * would carry them. */
static json_t *provider_spec(const struct cluster *c)
{
	static const char *const left_out[] = { "layers", "certificates", "kubeadmConfig",
						"planeCa", "problems", "request" };
	json_t *spec = json_copy(c->spec);

	for (size_t i = 0; i < ARRAY_LEN(left_out); i++)
		json_object_del(spec, left_out[i]);
	return spec;
}

json_t *task_cluster_doc(const struct cluster *c)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:I,s:o}", "uid", c->uid, "name", c->name, "tenant",
			 c->tenant, "project", c->project, "epoch", (json_int_t)c->lc.epoch, "spec",
			 provider_spec(c));
}

json_t *task_mark(const struct cluster *c, const char *pool, const char *machine_uid)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:I}", "cluster", c->uid, "pool", pool ? pool : "",
			 "machine", machine_uid ? machine_uid : "", "gateway", c->l->gateway_uid,
			 "epoch", (json_int_t)c->lc.epoch);
}

json_t *task_machine_doc(const struct cluster *c, const char *uid, const char *name,
			 const char *pool, const char *role)
{
	json_t *o = json_pack("{s:s,s:s,s:s,s:s}", "uid", uid, "name", name, "pool", pool, "role",
			      role);
	const json_t *p = cluster_pool(c, pool);

	const json_t *addresses = addresses_of_machine(c, uid);

	if (p)
		json_object_set(o, "poolSpec", (json_t *)p);
	if (addresses)
		json_object_set(o, "addresses", (json_t *)addresses);
	return o;
}

struct machine *task_first_machine(const struct cluster *c)
{
	for (struct machine *m = c->machines; m; m = m->next)
		if (!strcmp(m->role, "control-plane"))
			return m;
	return NULL;
}

json_t *task_render_input(const struct cluster *c)
{
	const struct machine *m = task_first_machine(c);
	json_t *input = json_deep_copy(json_object_get(c->recovery, "render"));
	json_t *endpoint = json_object_get(c->state, "endpoint");
	const char *cloud = json_str_or(c->spec, "cloudType", "");

	if (!input)
		input = json_object();
	json_object_set(input, "spec", c->spec);
	json_object_set(input, "keys", json_object_get(c->recovery, "keys"));
	json_object_set(input, "endpoint", endpoint ? endpoint : json_null());
	if (m)
		json_object_set_new(input, "machine",
				    json_pack("{s:s,s:s,s:s}", "uid", m->uid, "name", m->name,
					      "pool", m->pool));
	json_object_set_new(input, "imageRepository", json_string(c->l->image_repository));
	if (!strcmp(cloud, "vsphere"))
		json_object_set_new(input, "providerIDCommand", json_string("smbios-vmware"));
	else if (!strcmp(cloud, "sim"))
		json_object_set_new(input, "providerIDCommand", json_string("sim"));
	return input;
}

static int mint(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	struct cluster *c = arg;

	return bootstrap_mint_admin(json_object_get(c->recovery, "keys"), "pcg-gateway", HOUR_MS,
				    cert_pem, key_pem, err);
}

/* One that comes with every answer is told once. */
static void on_warned(void *arg, const char *what, const char *text)
{
	struct cluster *c = arg;

	if (c->warning && !strcmp(c->warning, text))
		return;
	free(c->warning);
	c->warning = strdup(text);
	cluster_note(c, "warning", json_pack("{s:s,s:s}", "request", what, "text", text));
}

int task_kubeconfig(struct cluster *c, struct pcg_error *err)
{
	struct buf text;
	int r;

	if (c->kubeconfig)
		return 0;
	buf_init_secret(&text, 1u << 16);
	r = bootstrap_kubeconfig(c->name, json_object_get(c->state, "endpoint"),
				 json_object_get(c->recovery, "keys"), YEAR_MS, &text, err);
	if (!r)
		c->kubeconfig = secret_new_str(text.data);
	buf_free(&text);
	return r;
}

int task_kube_new(struct cluster *c,
		  int (*mint_fn)(void *arg, char **cert_pem, struct secret **key_pem,
				 struct pcg_error *err),
		  void *arg, struct kube **out, struct pcg_error *err)
{
	const char *host = json_str(c->state, "endpoint.host");
	AUTO_FREE char *server = NULL;
	struct kube_spec spec = {
		.http = c->l->spec.http,
		.ca_pem = json_str(c->recovery, "keys.ca.crt"),
		.mint = mint_fn,
		.mint_arg = arg,
		.proxy = c->l->proxy,
		.field_manager = "pcg",
		.warned = on_warned,
		.warned_arg = c,
	};

	if (!host || !spec.ca_pem)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"delete the cluster; if it runs, use force delete",
				"reaching the Kubernetes API of cluster %s: its endpoint and keys are "
				"not known here",
				c->name);
	if (asprintf(&server, strchr(host, ':') ? "https://[%s]:%lld" : "https://%s:%lld", host,
		     (long long)json_int_or(c->state, "endpoint.port", 6443)) < 0)
		abort();
	spec.server = server;
	return kube_new(&spec, out, err);
}

/* A conversation with the cluster; made on need, dropped when the cluster is let go. */
int task_kube(struct cluster *c, struct pcg_error *err)
{
	return c->kube ? 0 : task_kube_new(c, mint, c, &c->kube, err);
}
