/* SPDX-License-Identifier: Apache-2.0 */
/* Changed settings and policies are taken up whole or not at all. The policies are tried by workers
 * while the loop goes on, so a reload is under way for a while; those who ask meanwhile share the next
 * one, which begins when it has ended: each reads what was there when it was asked for, or later. */
#include "config.h"

#include "host/gateway.h"

#include "core/log.h"
#include "host/settings.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct reload_waiter {
	struct reload_waiter *next;
	gateway_reloaded cb;
	void *arg;
};

struct reload {
	struct gateway *g;
	struct conf *conf;
	struct proxy_set *proxy;
	char *ca;
	struct reload_waiter *waiters;
};

static void add_fixed(struct gateway *g, const struct conf *conf, struct buf *report)
{
	struct buf names;
	char *save = NULL;

	buf_init(&names, 1u << 16);
	conf_diff_fixed(g->conf, conf, &names);
	for (char *name = names.len ? strtok_r(names.data, "\n", &save) : NULL; name;
	     name = strtok_r(NULL, "\n", &save)) {
		conf_where(conf, name, report);
		buf_adds(report, "cannot change while the gateway runs; put the old value back, or "
				 "restart pcgd\n");
	}
	buf_free(&names);
}

static int load_new(struct gateway *g, struct conf **conf, struct proxy_set **proxy, char **ca,
		    struct buf *report)
{
	struct pcg_error err;

	if (settings_load(g->config_file, conf, report))
		return -1;
	add_fixed(g, *conf, report);
	if (report->len)
		return -1;
	if (settings_proxy(*conf, proxy, &err) || settings_pem(*conf, "plane.ca_file", ca, &err)) {
		buf_addf(report, "%s\n", err.text);
		return -1;
	}
	return 0;
}

/* Nothing here can fail: all of it was tried before. */
static void take_up(struct gateway *g, struct conf *conf, struct proxy_set *proxy, const char *ca)
{
	enum log_level level;

	conf_unref(g->conf);
	g->conf = conf;
	proxy_set_unref(g->proxy);
	g->proxy = proxy;
	if (!log_level_parse(conf_str(conf, "log_level"), &level))
		log_set_level(level);
	provider_pool_set_proxy(g->providers, proxy);
	provider_pool_set_max_connections(g->providers,
					  (uint32_t)conf_int(conf, "limits.account_connections"));
	lifecycle_set_proxy(g->lifecycle, proxy);
	lifecycle_set_bundle(g->lifecycle, conf_str(conf, "bundle_dir"),
			     conf_str(conf, "bundle_image_repository"));
	lifecycle_set_limits(g->lifecycle, conf_int(conf, "limits.take_back_s") * 1000,
			     conf_int(conf, "limits.release_s") * 1000);
	if (g->link)
		link_reconfigure(g->link, conf_str(conf, "plane.url"), ca ? ca : g->plane_ca, proxy);
	else
		gateway_pair_again(g);
	lifecycle_nudge_all(g->lifecycle);
}

static void begin(struct gateway *g);

static void end(struct reload *r, const char *problems)
{
	struct gateway *g = r->g;
	struct reload_waiter *w;

	if (problems) {
		log_warn("reload_refused", LS("problems", problems));
		conf_unref(r->conf);
		proxy_set_unref(r->proxy);
	} else {
		take_up(g, r->conf, r->proxy, r->ca);
		log_info("reloaded", LS("file", g->config_file));
	}
	g->reload = NULL;
	while ((w = r->waiters)) {
		r->waiters = w->next;
		if (w->cb)
			w->cb(w->arg, problems);
		free(w);
	}
	free(r->ca);
	free(r);
	if (g->reload_next)
		begin(g);
}

static void on_policies(void *arg, const char *problems)
{
	end(arg, problems);
}

static void begin(struct gateway *g)
{
	struct reload *r = calloc(1, sizeof(*r));
	struct buf report;

	assert(r);
	r->g = g;
	r->waiters = TAKE(g->reload_next);
	g->reload = r;
	buf_init(&report, 1u << 16);
	if (g->stopping)
		end(r, "the gateway is stopping\n");
	else if (load_new(g, &r->conf, &r->proxy, &r->ca, &report))
		end(r, report.data);
	else
		policy_reload(g->policy, on_policies, r);
	buf_free(&report);
}

void gateway_reload(struct gateway *g, gateway_reloaded cb, void *arg)
{
	struct reload_waiter *w = calloc(1, sizeof(*w));

	assert(w);
	w->cb = cb;
	w->arg = arg;
	w->next = g->reload_next;
	g->reload_next = w;
	if (!g->reload)
		begin(g);
}
