/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/pool_impl.h"
#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POOL_MAGIC 0x706f6f6cu
#define DEFAULT_IDLE_MS 60000

uint64_t pool_now(const struct provider_pool *p)
{
	return uv_now(p->loop);
}

static void on_timer(uv_timer_t *timer)
{
	struct provider_pool *p = timer->data;
	uint64_t now = pool_now(p), next = UINT64_MAX;

	p->timer_at = UINT64_MAX;
	for (struct account *a = p->accounts; a; a = a->next) {
		if (a->queued)
			pool_dispatch(a);
		for (struct pool_worker *w = a->workers; w; w = w->next) {
			uint64_t at = pool_worker_tick(w, now);

			next = at < next ? at : next;
		}
	}
	if (next != UINT64_MAX)
		pool_due(p, next);
}

void pool_due(struct provider_pool *p, uint64_t at)
{
	uint64_t now = pool_now(p);

	if (at == UINT64_MAX || at >= p->timer_at || uv_is_closing((uv_handle_t *)&p->timer))
		return;
	p->timer_at = at;
	uv_timer_start(&p->timer, on_timer, at > now ? at - now : 0, 0);
}

struct account *pool_account(struct provider_pool *p, const char *uid)
{
	struct account *a = p->accounts;

	while (a && strcmp(a->uid, uid) != 0)
		a = a->next;
	return a;
}

void pool_account_forgive(struct account *a)
{
	a->refused = a->quarantined = false;
	a->n_crashes = 0;
	a->restart_at = 0;
}

static void account_free(struct account *a)
{
	json_wipe(a->doc);
	json_decref(a->secrets_of);
	free(a->uid);
	free(a->provider);
	free(a->pending);
	pool_projects_free(a);
	free(a);
}

void pool_account_gone(struct account *a)
{
	struct account **at = &a->pool->accounts;

	if (a->doc || a->workers || a->queued)
		return;
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	account_free(a);
}

static struct account *account_new(struct provider_pool *p, const char *uid)
{
	struct account *a = calloc(1, sizeof(*a));

	assert(a);
	a->pool = p;
	a->uid = strdup(uid);
	assert(a->uid);
	a->clusters_end = &a->clusters;
	a->next = p->accounts;
	p->accounts = a;
	return a;
}

/* The name and the generation may change without another login. */
static bool account_same(const json_t *a, const json_t *b)
{
	static const char *const members[] = { "spec", "settings", "provider" };

	for (size_t i = 0; a && i < ARRAY_LEN(members); i++) {
		json_t *x = json_object_get(a, members[i]), *y = json_object_get(b, members[i]);

		if (x != y && !(x && y && json_equal(x, y)))
			return false;
	}
	return a != NULL;
}

void provider_account_set(struct provider_pool *p, const json_t *account)
{
	const char *uid = json_str(account, "uid");
	struct account *a;
	bool same;

	assert(uid && json_str(account, "provider"));
	a = pool_account(p, uid);
	if (!a)
		a = account_new(p, uid);
	same = account_same(a->doc, account);
	json_wipe(a->doc);
	a->doc = json_deep_copy(account);
	free(a->provider);
	a->provider = strdup(json_str(account, "provider"));
	assert(a->doc && a->provider);
	if (same)
		return;
	pool_account_forgive(a);
	if (a->current)
		pool_worker_retire(a->current, true);
	pool_dispatch(a);
}

/* What a worker left that was killed: a session, most likely. Accounts of queries, whose uids have a slash, keep nothing of their own. */
static bool keeps_something(const struct account *a)
{
	const struct provider_hooks *hooks = &a->pool->hooks;
	json_t *secrets = hooks->secrets && !strchr(a->uid, '/') ? hooks->secrets(hooks->arg, a->uid) : NULL;
	bool some = json_object_size(secrets) > 0;

	json_wipe(secrets);
	return some;
}

void provider_account_remove(struct provider_pool *p, const char *uid)
{
	struct account *a = pool_account(p, uid);
	struct pcg_error err;

	if (!a || !a->doc)
		return;
	if (!a->current && keeps_something(a))
		pool_worker_get(a);
	json_wipe(a->doc);
	a->doc = NULL;
	pcg_fail(&err, PCG_CLASS_NOT_FOUND, "add the account again, or choose another for the cluster",
		 "account %s was removed", uid);
	pool_fail_queued(a, &err);
	if (a->current)
		pool_worker_retire(a->current, true);
	pool_account_gone(a);
}

void provider_account_tidy(struct provider_pool *p, const char *uid)
{
	struct account *a = pool_account(p, uid);
	struct pool_worker *w;

	if (!a || !a->doc || a->current)
		return;
	w = pool_worker_get(a);
	if (w)
		w->brief = true;
}

int provider_known(struct provider_pool *p, const char *cloud_type, struct pcg_error *err)
{
	struct plugin_file *f;

	if (!plugin_name_good(cloud_type))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "cloud types are made of a-z, 0-9 and -",
				"no plugin can be for cloud type \"%.64s\"", cloud_type);
	f = plugin_folder_find(p->plugins, cloud_type);
	if (!f || !f->mark.mtime_ns)
		plugin_folder_scan(p->plugins_dir, &p->plugins);
	f = plugin_folder_find(p->plugins, cloud_type);
	if (f && f->mark.mtime_ns)
		return 0;
	return plugin_folder_missing(p->plugins_dir, p->plugins, cloud_type, err);
}

void provider_pool_set_proxy(struct provider_pool *p, struct proxy_set *proxy)
{
	struct proxy_set *old = p->proxy;

	p->proxy = proxy ? proxy_set_ref(proxy) : NULL;
	proxy_set_unref(old);
	for (struct account *a = p->accounts; a; a = a->next)
		if (a->current)
			pool_worker_retire(a->current, false);
}

void provider_pool_set_max_connections(struct provider_pool *p, uint32_t max)
{
	if (max == p->max_connections)
		return;
	p->max_connections = max;
	for (struct account *a = p->accounts; a; a = a->next)
		if (a->current)
			pool_worker_retire(a->current, false);
}

void provider_pool_set_trial(struct provider_pool *p, const json_t *trial)
{
	json_decref(p->trial);
	p->trial = json_deep_copy(trial);
	for (struct account *a = p->accounts; a; a = a->next)
		if (a->current)
			pool_worker_retire(a->current, false);
}

size_t provider_workers(const struct provider_pool *p)
{
	return p->n_workers;
}

int provider_pool_new(uv_loop_t *loop, const struct provider_pool_spec *spec, struct provider_pool **out,
		      struct pcg_error *err)
{
	struct provider_pool *p;
	char *dir = realpath(spec->plugins_dir, NULL);

	*out = NULL;
	if (!dir) {
		pcg_fail_errno(err, errno, "opening the plugins folder %s", spec->plugins_dir);
		snprintf(err->remedy, sizeof(err->remedy),
			 "make it and put libpcg-NAME.so into it, or name another one as plugins_dir");
		return pcg_error_code(err);
	}
	p = calloc(1, sizeof(*p));
	assert(p);
	p->magic = POOL_MAGIC;
	p->loop = loop;
	p->exe = strdup(spec->exe);
	p->plugins_dir = dir;
	p->gateway_uid = strdup(spec->gateway_uid ? spec->gateway_uid : "");
	assert(p->exe && p->gateway_uid);
	p->idle_ms = spec->idle_ms ? spec->idle_ms : DEFAULT_IDLE_MS;
	p->max_connections = spec->max_connections;
	p->proxy = spec->proxy ? proxy_set_ref(spec->proxy) : NULL;
	p->hooks = spec->hooks;
	p->deferred_end = &p->deferred;
	p->timer_at = UINT64_MAX;
	uv_idle_init(loop, &p->deliver);
	uv_timer_init(loop, &p->timer);
	p->deliver.data = p->timer.data = p;
	plugin_folder_scan(p->plugins_dir, &p->plugins);
	*out = p;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct provider_pool *p = handle->data;
	void (*closed)(void *arg) = p->closed;
	void *arg = p->closed_arg;

	if (--p->open_handles)
		return;
	pool_drop_calls(p); /* those that were in flight when their worker ended */
	while (p->accounts) {
		struct account *a = p->accounts;

		p->accounts = a->next;
		account_free(a);
	}
	turns_free(p);
	plugin_folder_free(p->plugins);
	proxy_set_unref(p->proxy);
	json_decref(p->trial);
	free(p->exe);
	free(p->plugins_dir);
	free(p->gateway_uid);
	p->magic = 0;
	free(p);
	if (closed)
		closed(arg);
}

void pool_check_closed(struct provider_pool *p)
{
	if (!p->closing || p->n_workers || p->open_handles)
		return;
	p->open_handles = 2;
	uv_close((uv_handle_t *)&p->deliver, on_closed);
	uv_close((uv_handle_t *)&p->timer, on_closed);
}

void provider_pool_close(struct provider_pool *p, void (*closed)(void *arg), void *arg)
{
	assert(p->magic == POOL_MAGIC && !p->closing);
	p->closing = true;
	p->closed = closed;
	p->closed_arg = arg;
	pool_drop_calls(p);
	for (struct account *a = p->accounts; a; a = a->next)
		for (struct pool_worker *w = a->workers; w; w = w->next)
			pool_worker_close(w);
	pool_check_closed(p);
}
