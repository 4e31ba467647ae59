/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/pool_impl.h"
#include "core/clock.h"

#include <assert.h>
#include <string.h>

struct found {
	const struct account *refused, *quarantined;
	bool loaded;
};

static json_t *account_item(const struct account *a)
{
	const struct pool_worker *w = a->current ? a->current : a->workers;
	char since[CLOCK_RFC3339_SIZE];
	json_t *item = json_pack("{s:s, s:I, s:I}", "account", a->uid, "calls", (json_int_t)a->calls,
				 "inFlight", (json_int_t)a->inflight);

	if (w && w->process) {
		json_put(item, "pid", json_integer(worker_pid(w->process)));
		json_put_str(item, "lastStart", clock_rfc3339(w->started_ms, since));
	}
	if (a->refused)
		json_put(item, "refused", json_from_error(&a->err));
	return item;
}

static json_t *accounts_of(const struct provider_pool *p, const struct plugin_file *f, struct found *found)
{
	json_t *items = json_array();

	for (const struct account *a = p->accounts; a; a = a->next) {
		if (!a->doc || strcmp(a->provider, f->name) != 0)
			continue;
		if (a->quarantined)
			found->quarantined = a;
		else if (a->refused)
			found->refused = a;
		found->loaded = found->loaded || (a->current && a->current->state == PW_READY);
		json_array_append_new(items, account_item(a));
	}
	return items;
}

static json_t *plugin_item(const struct provider_pool *p, const struct plugin_file *f)
{
	struct found found = { 0 };
	json_t *accounts = accounts_of(p, f, &found);
	const char *state = found.quarantined ? "quarantined"
			    : found.refused   ? "refused"
			    : found.loaded    ? "loaded"
					      : "available";
	const struct account *why = found.quarantined ? found.quarantined : found.refused;
	json_t *item = json_pack("{s:s, s:s, s:s, s:o}", "name", f->name, "path", f->path, "state", state,
				 "accounts", accounts);

	assert(item);
	json_put_str(item, "version", f->version[0] ? f->version : NULL);
	json_put_str(item, "abi", f->abi[0] ? f->abi : NULL);
	if (why) {
		json_put_str(item, "reason", why->err.text);
		json_put_str(item, "remedy", why->err.remedy);
	}
	return item;
}

json_t *provider_list(struct provider_pool *p)
{
	json_t *items = json_array();

	for (const struct plugin_file *f = p->plugins; f; f = f->next)
		if (f->mark.mtime_ns)
			json_array_append_new(items, plugin_item(p, f));
	return json_pack("{s:o}", "items", items);
}

json_t *provider_rescan(struct provider_pool *p)
{
	plugin_folder_scan(p->plugins_dir, &p->plugins);
	for (struct account *a = p->accounts; a; a = a->next) {
		struct plugin_file *f = a->doc ? plugin_folder_find(p->plugins, a->provider) : NULL;

		if (!f)
			continue;
		pool_account_forgive(a);
		if (a->current && !file_mark_same(&a->current->mark, &f->mark))
			pool_worker_retire(a->current, false);
	}
	return provider_list(p);
}
