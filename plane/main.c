/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/plane.h"

#include "core/blocks.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/stdout.h"
#include "net/http_client.h"
#include "net/pki.h"
#include "plane/api.h"
#include "plane/clusters.h"
#include "plane/gateways.h"
#include "plane/rows.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define HOUR_MS (3600 * 1000)
#define BODY_MAX (8u << 20)
#define REST_MS 2000
#define CONNECTIONS_MAX 1024u
#define FILES_OWN 64u

static const char help[] =
	"usage: pcg-plane [OPTION]...\n"
	"A small self-hosted management plane for private cloud gateways: Palette's public API and the\n"
	"gateway protocol, over TLS, in the foreground.\n"
	"\n"
	"  --state DIR             where it keeps its database, keys and files\n"
	"                          (default: $PCG_PLANE_STATE, else " PCG_LOCALSTATEDIR "/lib/pcg-plane for root,\n"
	"                          else ${XDG_STATE_HOME:-~/.local/state}/pcg-plane)\n"
	"  --listen ADDRESS:PORT   default 127.0.0.1:8443; port 0: a free one\n"
	"  --name NAME             a host name or address under which others reach it, for its\n"
	"                          certificate; may be given again. The first one stands in its URL\n"
	"  --url URL               the URL that gateways and clusters are told, when it is another one\n"
	"  --packs DIR             manifests of packs, as DIR/NAME/VERSION/*.yaml\n"
	"  --ready-file FILE       written, with the URL, once it serves\n"
	"  --force-delete-after S  seconds in Deleting before a forced delete is allowed (default 900)\n"
	"  --pairing-life S        seconds that a pairing code is good for (default 900)\n"
	"  --certificate-life S    seconds that a gateway's certificate is good for (default 7776000)\n"
	"  --query-timeout S       seconds that a gateway has to answer a query (default 30)\n"
	"  --log-level LEVEL       error, warn, info (default), debug\n"
	"  --help, --version\n"
	"\n"
	"A first start makes, in the state folder: ca.crt (its certificate authority: trust this one),\n"
	"api-key (mode 0600, the first API key), admin-password (mode 0600, of the user 'admin'),\n"
	"plane.db, plane.key (opens what is secret in the database: keep both in the same backup).\n"
	"Every start writes url. pcg-planectl finds them there.\n"
	"SIGHUP makes it look at the pack folder again. SIGTERM and SIGINT end it; nothing is lost when it is killed.\n";

static struct stop {
	struct plane *p;
	uv_signal_t term, intr, hup;
	uv_timer_t hourly;
} stop;

static void on_gateways_closed(void *arg)
{
	(void)arg;
}

static void shut_down(struct plane *p)
{
	if (!p->server)
		return;
	log_info("plane_stopping");
	uv_close((uv_handle_t *)&stop.term, NULL);
	uv_close((uv_handle_t *)&stop.intr, NULL);
	uv_close((uv_handle_t *)&stop.hup, NULL);
	uv_close((uv_handle_t *)&stop.hourly, NULL);
	uv_close((uv_handle_t *)&p->rest, NULL);
	gateways_free(p->gateways, on_gateways_closed, NULL);
	http_server_close(p->server, NULL, NULL);
	p->server = NULL;
}

static void on_signal(uv_signal_t *s, int number)
{
	shut_down(s->data);
}

/* The pack folder may have changed: clusters that wait for something missing are worked out anew. */
static void look_again(struct plane *p)
{
	struct pcg_error err = { 0 };
	int r = db_begin(p->db, &err);

	if (!r)
		r = clusters_refresh_users(p, ROWS_CERT, "", &err);
	if (!r)
		r = db_commit(p->db, &err);
	if (r) {
		db_rollback(p->db);
		log_err("clusters_not_refreshed", &err);
	}
	gateways_flush(p);
}

static void on_hup(uv_signal_t *s, int number)
{
	look_again(s->data);
}

static void server_tls(struct plane *p, struct http_server_tls *tls)
{
	*tls = (struct http_server_tls){ .cert_pem = p->server_pem, .key_pem = p->server_key,
					 .client_ca_pem = p->ca_pem, .client_expired_told = true };
}

static void on_hour(uv_timer_t *t)
{
	struct plane *p = t->data;
	struct http_server_tls tls;
	struct pcg_error err = { 0 };

	if (clusters_purge(p, &err))
		log_err("purge_failed", &err);
	if (setup_server_certificate(p, &err)) {
		log_err("server_certificate_failed", &err);
		return;
	}
	server_tls(p, &tls);
	if (http_server_set_tls(p->server, &tls, &err))
		log_err("server_certificate_failed", &err);
}

static int split_listen(const char *listen, char host[128], uint16_t *port, struct pcg_error *err)
{
	const char *colon = strrchr(listen, ':');
	char *end = NULL;
	long n = colon ? strtol(colon + 1, &end, 10) : -1;
	size_t len = colon ? (size_t)(colon - listen) : 0;

	if (!colon || !len || len >= 128 || *end || end == colon + 1 || n < 0 || n > 65535)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "give it as ADDRESS:PORT, for example 127.0.0.1:8443",
				"--listen %s is not an address and a port", listen);
	memcpy(host, listen, len);
	host[len] = 0;
	if (host[0] == '[' && host[len - 1] == ']') {
		memmove(host, host + 1, len - 2);
		host[len - 2] = 0;
	}
	*port = (uint16_t)n;
	return 0;
}

static void make_url(struct plane *p, const char *host)
{
	const char *name = p->opt.names && p->opt.names[0] ? p->opt.names[0] : host;
	int n;

	if (strcmp(name, "0.0.0.0") == 0 || strcmp(name, "::") == 0)
		name = "localhost";
	if (p->opt.public_url)
		n = asprintf(&p->url, "%s", p->opt.public_url);
	else
		n = asprintf(&p->url, strchr(name, ':') ? "https://[%s]:%u" : "https://%s:%u", name,
			     http_server_port(p->server));
	assert(n >= 0);
}

static int write_ready(struct plane *p, struct pcg_error *err)
{
	AUTO_FREE char *line = NULL;
	AUTO_FREE char *dir = NULL;
	const char *slash;
	int n = asprintf(&line, "%s\n", p->url), r;

	assert(n >= 0);
	r = setup_write_file(p->opt.state_dir, "url", line, (size_t)n, 0644, err);
	if (r || !p->opt.ready_file)
		return r;
	slash = strrchr(p->opt.ready_file, '/');
	dir = slash ? strndup(p->opt.ready_file, (size_t)(slash - p->opt.ready_file)) : strdup(".");
	assert(dir);
	return setup_write_file(*dir ? dir : "/", slash ? slash + 1 : p->opt.ready_file, line, (size_t)n, 0644,
				err);
}

/* A first start that came no further than to a port that is taken has told nobody yet. */
static bool never_served(const struct plane *p)
{
	AUTO_FREE char *path = NULL;
	int n = asprintf(&path, "%s/url", p->opt.state_dir);

	assert(n >= 0);
	return access(path, F_OK) && errno == ENOENT;
}

static void say_first(struct plane *p)
{
	struct pki_info info = { 0 };
	struct pcg_error err;

	if (pki_cert_info(p->ca_pem, &info, &err))
		return;
	printf("pcg-plane has made its certificate authority and its first API key.\n"
	       "  URL        %s\n"
	       "  API key    in %s/api-key, sent as the header ApiKey\n"
	       "  trust      %s/ca.crt (SHA-256 %s)\n"
	       "             curl --cacert %s/ca.crt ...; gateways: plane.ca_file\n"
	       "  next       pcg-planectl --state %s pair\n",
	       p->url, p->opt.state_dir, p->opt.state_dir, info.sha256, p->opt.state_dir, p->opt.state_dir);
	fflush(stdout);
}

static void on_rest(uv_timer_t *t)
{
	struct plane *p = t->data;

	db_rest(p->db);
	pki_forget();
	memory_give_back();
}

static void on_request(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	struct plane *p = arg;

	if (!uv_is_active((uv_handle_t *)&p->rest))
		uv_timer_start(&p->rest, on_rest, REST_MS, 0);
	api_handle(p, x, req);
}

/* As many as there may be files, beside its own: a connection that is refused for want of one would be
 * closed in place of one that is idle. */
static uint32_t connections_max(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return CONNECTIONS_MAX;
	if (r.rlim_cur < CONNECTIONS_MAX + FILES_OWN) {
		r.rlim_cur = r.rlim_max < CONNECTIONS_MAX + FILES_OWN ? r.rlim_max : CONNECTIONS_MAX + FILES_OWN;
		setrlimit(RLIMIT_NOFILE, &r);
	}
	if (r.rlim_cur >= CONNECTIONS_MAX + FILES_OWN)
		return CONNECTIONS_MAX;
	return r.rlim_cur > 2 * FILES_OWN ? (uint32_t)r.rlim_cur - FILES_OWN : FILES_OWN;
}

static int serve(struct plane *p, struct pcg_error *err)
{
	struct http_server_limits limits = { .max_body = BODY_MAX, .max_connections = connections_max() };
	struct http_server_tls tls;
	char host[128];
	uint16_t port = 0;
	int r = split_listen(p->opt.listen, host, &port, err);

	if (r)
		return r;
	server_tls(p, &tls);
	p->gateways = gateways_new(p);
	r = http_server_new(p->loop, host, port, &tls, &limits, on_request, p, &p->server, err);
	if (r)
		return r;
	make_url(p, host);
	stop.p = p;
	uv_timer_init(p->loop, &p->rest);
	p->rest.data = p;
	uv_signal_init(p->loop, &stop.term);
	uv_signal_init(p->loop, &stop.intr);
	uv_signal_init(p->loop, &stop.hup);
	uv_timer_init(p->loop, &stop.hourly);
	stop.term.data = stop.intr.data = stop.hup.data = stop.hourly.data = p;
	uv_signal_start(&stop.term, on_signal, SIGTERM);
	uv_signal_start(&stop.intr, on_signal, SIGINT);
	uv_signal_start(&stop.hup, on_hup, SIGHUP);
	uv_timer_start(&stop.hourly, on_hour, HOUR_MS, HOUR_MS);
	look_again(p);
	return write_ready(p, err);
}

static int run(struct plane_options *opt)
{
	struct plane p = { .opt = *opt };
	struct pcg_error err = { 0 };
	uv_loop_t loop;
	bool first = false;
	int r;

	uv_loop_init(&loop);
	p.loop = &loop;
	r = setup_open(&p, &first, &err);
	first = first || (!r && never_served(&p));
	if (!r)
		r = setup_server_certificate(&p, &err);
	if (!r)
		r = clusters_purge(&p, &err);
	if (!r)
		r = serve(&p, &err);
	if (r) {
		fprintf(stderr, "pcg-plane: %s%s%s\n", err.text, err.remedy[0] ? "; " : "", err.remedy);
		return 1;
	}
	if (first)
		say_first(&p);
	log_info("plane_started", LS("url", p.url), LS("id", p.id), LS("state", p.opt.state_dir));
	uv_run(&loop, UV_RUN_DEFAULT);
	setup_close(&p);
	uv_loop_close(&loop);
	log_info("plane_stopped");
	return 0;
}

static int64_t number(const char *option, const char *text)
{
	char *end;
	long long n = strtoll(text, &end, 10);

	if (*end || end == text || n < 0 || n > INT64_MAX / 1000) {
		fprintf(stderr, "pcg-plane: %s %s: not a number of seconds\n", option, text);
		exit(2);
	}
	return n;
}

enum { OPT_STATE = 1, OPT_LISTEN, OPT_NAME, OPT_URL, OPT_PACKS, OPT_READY, OPT_FORCE, OPT_PAIRING, OPT_CERT,
       OPT_QUERY, OPT_LOG, OPT_HELP, OPT_VERSION };

static const struct option options[] = {
	{ "state", 1, NULL, OPT_STATE },
	{ "listen", 1, NULL, OPT_LISTEN },
	{ "name", 1, NULL, OPT_NAME },
	{ "url", 1, NULL, OPT_URL },
	{ "packs", 1, NULL, OPT_PACKS },
	{ "ready-file", 1, NULL, OPT_READY },
	{ "force-delete-after", 1, NULL, OPT_FORCE },
	{ "pairing-life", 1, NULL, OPT_PAIRING },
	{ "certificate-life", 1, NULL, OPT_CERT },
	{ "query-timeout", 1, NULL, OPT_QUERY },
	{ "log-level", 1, NULL, OPT_LOG },
	{ "help", 0, NULL, OPT_HELP },
	{ "version", 0, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static void take_option(int o, struct plane_options *opt, const char **names, size_t *n_names)
{
	enum log_level level;

	switch (o) {
	case OPT_STATE: opt->state_dir = optarg; return;
	case OPT_LISTEN: opt->listen = optarg; return;
	case OPT_URL: opt->public_url = optarg; return;
	case OPT_PACKS: opt->packs_dir = optarg; return;
	case OPT_READY: opt->ready_file = optarg; return;
	case OPT_FORCE: opt->force_delete_after_s = number("--force-delete-after", optarg); return;
	case OPT_PAIRING: opt->pairing_life_s = number("--pairing-life", optarg); return;
	case OPT_CERT: opt->certificate_life_s = number("--certificate-life", optarg); return;
	case OPT_QUERY: opt->query_timeout_ms = number("--query-timeout", optarg) * 1000; return;
	case OPT_NAME:
		if (*n_names < 32)
			names[(*n_names)++] = optarg;
		return;
	case OPT_LOG:
		if (!log_level_parse(optarg, &level)) {
			log_set_level(level);
			return;
		}
		fprintf(stderr, "pcg-plane: --log-level %s: use error, warn, info or debug\n", optarg);
		exit(2);
	case OPT_HELP: fputs(help, stdout); exit(0);
	case OPT_VERSION: puts("pcg-plane " PACKAGE_VERSION); exit(0);
	default: fputs("pcg-plane: see pcg-plane --help\n", stderr); exit(2);
	}
}

int main(int argc, char **argv)
{
	const char *names[33] = { NULL };
	struct plane_options opt = { .listen = "127.0.0.1:8443", .names = names, .force_delete_after_s = 900,
				     .pairing_life_s = 900, .certificate_life_s = 90LL * 24 * 3600,
				     .query_timeout_ms = 30000 };
	AUTO_FREE char *state = setup_default_state_dir();
	size_t n_names = 0;
	int o;

	stdio_begin();
	blocks_begin();
	log_init("pcg-plane", LOG_L_INFO);
	opt.state_dir = state;
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(o, &opt, names, &n_names);
	if (optind != argc) {
		fprintf(stderr, "pcg-plane: '%s' is not an option; see pcg-plane --help\n", argv[optind]);
		return 2;
	}
	memory_begin(argv);
	secret_no_core();
	http_global_init();
	signal(SIGPIPE, SIG_IGN);
	return run(&opt);
}
