/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/gateway.h"

#include "core/clock.h"
#include "core/log.h"
#include "host/folders.h"
#include "host/settings.h"
#include "host/worker/worker.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_CONTACT_MS 10000

static void keep(char **field, const char *value)
{
	free(*field);
	*field = strdup(value);
}

static void load_meta(void *arg, const char *key, const char *value)
{
	struct gateway *g = arg;

	if (!strcmp(key, "gateway_uid"))
		keep(&g->uid, value);
	else if (!strcmp(key, "client_cert"))
		keep(&g->cert_pem, value);
	else if (!strcmp(key, "plane_ca"))
		keep(&g->plane_ca, value);
	else if (!strcmp(key, "plane_id"))
		keep(&g->plane_id, value);
	else if (!strcmp(key, "cursor"))
		g->cursor = strtoll(value, NULL, 10);
	else if (!strcmp(key, "reported"))
		g->reported = strtoll(value, NULL, 10);
}

static void load_secret(void *arg, const char *account, const char *name, struct secret *value)
{
	struct gateway *g = arg;
	json_t *of = json_object_get(g->secrets, account);

	if (!*account && !strcmp(name, "client_key")) {
		g->key = secret_ref(value);
		return;
	}
	if (!*account && !strcmp(name, "enrolment_key")) {
		g->new_key = secret_ref(value);
		return;
	}
	if (!of) {
		of = json_object();
		json_object_set_new(g->secrets, account, of);
	}
	json_object_set_new(of, name, json_string(secret_data(value)));
}

static void load_report_seq(void *arg, const char *key, const char *value)
{
	struct gateway *g = arg;

	if (!strcmp(key, "report_seq"))
		lifecycle_load_report_seq(g->lifecycle, strtoll(value, NULL, 10));
}

static void load_account(void *arg, json_t *document)
{
	struct gateway *g = arg;

	lifecycle_load_account(g->lifecycle, document);
}

static void load_cluster(void *arg, const struct store_cluster_row *row)
{
	lifecycle_load_cluster(((struct gateway *)arg)->lifecycle, row);
}

static void load_machine(void *arg, const struct store_machine_row *row)
{
	lifecycle_load_machine(((struct gateway *)arg)->lifecycle, row);
}

static void load_report(void *arg, int64_t seq, const char *kind, const char *key, json_t *doc)
{
	lifecycle_load_report(((struct gateway *)arg)->lifecycle, seq, kind, key, doc);
}

/* The identity comes first: providers and lifecycle are made with it. */
static int load_identity(struct gateway *g, struct pcg_error *err)
{
	struct store_loader l = { .arg = g, .meta = load_meta, .secret = load_secret };

	return store_load(g->store, &l, err);
}

static int load_work(struct gateway *g, struct pcg_error *err)
{
	struct store_loader l = { .arg = g, .meta = load_report_seq, .account = load_account,
				  .cluster = load_cluster, .machine = load_machine,
				  .report = load_report };

	return store_load(g->store, &l, err);
}

static int open_store(struct gateway *g, struct pcg_error *err)
{
	const char *dir = conf_str(g->conf, "state_dir");
	struct secret *key = NULL;
	char path[4096], key_path[4096];
	bool is_new;
	int r;

	if (folders_state_dir(dir, err))
		return pcg_error_code(err);
	if (mkdir(dir, 0700) && errno != EEXIST)
		return pcg_fail_errno(err, errno, "making state_dir %s", dir);
	snprintf(path, sizeof(path), "%s/pcgd.db", dir);
	snprintf(key_path, sizeof(key_path), "%s/pcgd.key", dir);
	is_new = access(path, F_OK) && errno == ENOENT;
	r = secret_key_load("pcgd.key", key_path, is_new, &key, err);
	if (r == PCG_ENOTFOUND && !is_new)
		snprintf(err->remedy, sizeof(err->remedy),
			 "put back the key that belongs to pcgd.db; when it is lost, move state_dir away and pair anew: "
			 "pcg-planectl pair --overlord, with the uid that pcg-planectl gateway list has");
	if (!r)
		r = store_open(&g->loop, path, key, &g->store, err);
	secret_unref(key);
	return r;
}

static int open_policy(struct gateway *g, struct pcg_error *err)
{
	struct policy_spec spec = { .exe = g->exe, .dir = conf_str(g->conf, "policy_dir") };

	return policy_new(&g->loop, &spec, &g->policy, err);
}

static int open_providers(struct gateway *g, struct pcg_error *err)
{
	struct provider_pool_spec spec = {
		.exe = g->exe,
		.plugins_dir = conf_str(g->conf, "plugins_dir"),
		.gateway_uid = g->uid ? g->uid : "",
		.idle_ms = (uint32_t)conf_int(g->conf, "worker.idle_s") * 1000,
		.max_connections = (uint32_t)conf_int(g->conf, "limits.account_connections"),
		.proxy = g->proxy,
	};

	gateway_provider_hooks(g, &spec.hooks);
	return provider_pool_new(&g->loop, &spec, &g->providers, err);
}

static void on_reports_ready(void *arg, bool urgent)
{
	struct gateway *g = arg;

	if (g->link)
		link_wake_reports(g->link, urgent);
}

static bool on_watched(void *arg)
{
	struct gateway *g = arg;

	return g->control && control_watched(g->control);
}

static void on_changed(void *arg, const json_t *view)
{
	struct gateway *g = arg;

	control_cluster_changed(g->control, view);
}

static void open_lifecycle(struct gateway *g)
{
	struct lifecycle_spec spec = {
		.loop = &g->loop,
		.store = g->store,
		.providers = g->providers,
		.policy = g->policy,
		.http = g->http,
		.gateway_uid = g->uid,
		.bundle_dir = conf_str(g->conf, "bundle_dir"),
		.image_repository = conf_str(g->conf, "bundle_image_repository"),
		.take_back_ms = conf_int(g->conf, "limits.take_back_s") * 1000,
		.release_ms = conf_int(g->conf, "limits.release_s") * 1000,
		.proxy = g->proxy,
		.arg = g,
		.reports_ready = on_reports_ready,
		.watched = on_watched,
		.changed = on_changed,
		.account_dropped = gateway_account_dropped,
	};

	g->lifecycle = lifecycle_new(&spec);
}

static int open_control(struct gateway *g, struct pcg_error *err)
{
	AUTO_FREE char *path = settings_socket(g->conf);

	return control_open(g, path, &g->control, err);
}

/* With an identity: everything that works on clusters. */
static int open_work(struct gateway *g, struct pcg_error *err)
{
	int r = open_providers(g, err);

	if (r)
		return r;
	open_lifecycle(g);
	return 0;
}

int gateway_open(struct gateway *g, const char *config_file, struct conf *conf,
		 struct pcg_error *err)
{
	struct http_client_limits limits = { .max_total = 512, .max_host = 64 };
	ssize_t n;
	int r;

	uv_loop_init(&g->loop);
	for (unsigned i = 0; i < ARRAY_LEN(g->signals); i++)
		uv_signal_init(&g->loop, &g->signals[i]);
	uv_timer_init(&g->loop, &g->pair_timer);
	uv_timer_init(&g->loop, &g->contact_timer);
	g->pair_timer.data = g->contact_timer.data = g;
	g->config_file = strdup(config_file);
	g->conf = conf_ref(conf);
	g->secrets = json_object();
	g->started_ms = clock_wall_ms();
	n = readlink("/proc/self/exe", g->exe, sizeof(g->exe) - 1);
	if (n < 0)
		return pcg_fail_errno(err, errno, "reading /proc/self/exe");
	r = open_store(g, err);
	if (!r)
		r = load_identity(g, err);
	if (!r)
		r = settings_proxy(conf, &g->proxy, err);
	if (r)
		return r;
	g->http = http_client_new(&g->loop, &limits);
	r = open_policy(g, err);
	if (!r)
		r = open_work(g, err);
	if (!r)
		r = load_work(g, err);
	if (!r && !g->pair_only)
		r = open_control(g, err);
	return r;
}

int gateway_start_link(struct gateway *g, struct pcg_error *err)
{
	AUTO_FREE char *ca = NULL;
	struct link_spec spec = {
		.http = g->http,
		.loop = &g->loop,
		.url = conf_str(g->conf, "plane.url"),
		.proxy = g->proxy,
		.gateway_uid = g->uid,
		.cert_pem = g->cert_pem,
		.key_pem = g->key,
		.plane_id = g->plane_id,
		.cursor = g->cursor,
		.reported = g->reported,
	};
	int r = settings_pem(g->conf, "plane.ca_file", &ca, err);

	if (r)
		return r;
	spec.ca_pem = ca ? ca : g->plane_ca;
	gateway_link_hooks(g, &spec.hooks);
	return link_new(&spec, &g->link, err);
}

static json_t *plugin_names(struct gateway *g)
{
	AUTO_JSON json_t *list = provider_list(g->providers);
	json_t *names = json_array(), *item;
	size_t i;

	json_array_foreach(json_object_get(list, "items"), i, item)
		json_array_append_new(names, json_pack("{s:s,s:s}", "name",
						       json_str_or(item, "name", ""), "version",
						       json_str_or(item, "version", "")));
	return names;
}

static void report_gateway(struct gateway *g)
{
	lifecycle_report(g->lifecycle, "gateway.status", "gateway",
			 json_pack("{s:s,s:o,s:o,s:o}", "version", PACKAGE_VERSION, "plugins",
				   plugin_names(g), "confinement", worker_confinement_report(),
				   "insecureAccounts", lifecycle_insecure_accounts(g->lifecycle)));
}

static void on_first_contact(uv_timer_t *t)
{
	gateway_work(t->data, true);
}

/* What a worker still holds when this process is killed: nobody may have work for its account any more. */
static void end_left_sessions(struct gateway *g)
{
	const char *account;
	json_t *of;

	if (g->tidied)
		return;
	g->tidied = true;
	json_object_foreach(g->secrets, account, of)
		if (*account && json_object_size(of))
			provider_account_tidy(g->providers, account);
}

/* A store that was copied, or left behind by an installation that was paired anew, must touch nothing:
 * so the plane is asked first, and only one that refuses stops the work, not one that is away. */
void gateway_work(struct gateway *g, bool ours)
{
	if (g->stopping)
		return;
	uv_timer_stop(&g->contact_timer);
	if (!ours)
		log_warn("work_held", LS("uid", g->uid),
			 LS("remedy", "another installation is paired under this uid; end this one"));
	if (ours) {
		lifecycle_begin(g->lifecycle);
		end_left_sessions(g);
	} else {
		lifecycle_hold(g->lifecycle);
	}
}

void gateway_begin(struct gateway *g)
{
	struct pcg_error err;

	if (gateway_start_link(g, &err)) {
		log_err("link_not_started", &err);
		g->exit_status = 1;
		gateway_stop(g);
		return;
	}
	uv_timer_start(&g->contact_timer, on_first_contact, FIRST_CONTACT_MS, 0);
	report_gateway(g);
	log_info("gateway_started", LS("uid", g->uid), LS("version", PACKAGE_VERSION),
		 LS("plane", conf_str(g->conf, "plane.url")), LI("cursor", g->cursor));
}

static void part_closed(void *arg)
{
	struct gateway *g = arg;

	if (--g->closing)
		return;
	for (unsigned i = 0; i < ARRAY_LEN(g->signals); i++)
		uv_close((uv_handle_t *)&g->signals[i], NULL);
	uv_close((uv_handle_t *)&g->pair_timer, NULL);
	uv_close((uv_handle_t *)&g->contact_timer, NULL);
	if (g->store)
		store_close(g->store, NULL, NULL);
}

/* Order: nothing new comes in, what runs is cancelled, what is durable stays. The store ends last,
 * since workers that log out remove their cookies from it; what it still tells the lifecycle falls
 * on a closed one, whose memory goes after the loop. */
void gateway_stop(struct gateway *g)
{
	if (g->stopping)
		return;
	g->stopping = true;
	log_info("gateway_stopping", LS("uid", g->uid ? g->uid : ""));
	g->closing = 1;
	uv_timer_stop(&g->pair_timer);
	uv_timer_stop(&g->contact_timer);
	if (g->control) {
		g->closing++;
		control_close(TAKE(g->control), part_closed, g);
	}
	if (g->link) {
		g->closing++;
		link_close(TAKE(g->link), part_closed, g);
	}
	if (g->lifecycle)
		lifecycle_close(g->lifecycle);
	gateway_drop_queries(g);
	if (g->policy) {
		g->closing++;
		policy_close(TAKE(g->policy), part_closed, g);
	}
	if (g->providers) {
		g->closing++;
		provider_pool_close(g->providers, part_closed, g);
	}
	if (g->http) {
		g->closing++;
		http_client_close(TAKE(g->http), part_closed, g);
	}
	part_closed(g);
}

static void gateway_free(struct gateway *g)
{
	uv_run(&g->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&g->loop))
		log_error("loop_not_empty");
	if (g->lifecycle)
		lifecycle_free(g->lifecycle);
	proxy_set_unref(g->proxy);
	conf_unref(g->conf);
	secret_unref(g->key);
	secret_unref(g->new_key);
	gateway_forget_code(g);
	json_wipe(g->secrets);
	free(g->uid);
	free(g->cert_pem);
	free(g->plane_ca);
	free(g->plane_id);
	free(g->config_file);
}

void gateway_abandon(struct gateway *g)
{
	if (!g->config_file) {
		gateway_forget_code(g);
		return;
	}
	gateway_stop(g);
	gateway_free(g);
}

static void on_signal(uv_signal_t *s, int signum)
{
	struct gateway *g = s->data;

	if (signum != SIGHUP)
		gateway_stop(g);
	else
		gateway_reload(g, NULL, NULL);
}

int gateway_run(struct gateway *g)
{
	static const int signums[] = { SIGTERM, SIGINT, SIGHUP };

	for (unsigned i = 0; i < ARRAY_LEN(signums); i++) {
		g->signals[i].data = g;
		uv_signal_start(&g->signals[i], on_signal, signums[i]);
	}
	if (g->cert_pem && g->key && !g->pair_only)
		gateway_begin(g);
	else
		gateway_pair(g);
	gateway_free(g);
	return g->exit_status;
}

json_t *gateway_status(struct gateway *g)
{
	char since[CLOCK_RFC3339_SIZE];
	json_t *o = json_pack("{s:s,s:s,s:s,s:I}", "version", PACKAGE_VERSION, "uid",
			      g->uid ? g->uid : "", "since", clock_rfc3339(g->started_ms, since),
			      "pid", (json_int_t)getpid());

	json_object_set_new(o, "plane", json_string(conf_str(g->conf, "plane.url")));
	json_object_set_new(o, "link", g->link ? link_status(g->link)
					       : json_pack("{s:s,s:s}", "state", "unpaired",
							   "remedy",
							   "pair it: pcgd --pair FILE, with a code "
							   "from pcg-planectl pair"));
	json_object_set_new(o, "clusters", lifecycle_counts(g->lifecycle));
	json_object_set_new(o, "plugins", provider_list(g->providers));
	json_object_set_new(o, "policy", policy_list(g->policy));
	json_object_set_new(o, "store", store_stats(g->store));
	json_object_set_new(o, "confinement", worker_confinement_report());
	json_object_set_new(o, "insecureAccounts", lifecycle_insecure_accounts(g->lifecycle));
	return o;
}
