/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "core/log.h"
#include "core/secret.h"
#include "core/stdout.h"
#include "plugins/sim/simcloud/cloud.h"
#include "plugins/sim/simcloud/cloud_api.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct options {
	const char *state, *listen, *token_file, *ready_file;
	uint32_t max_connections;
};

static const char usage[] =
	"usage: pcg-simcloud --state DIR [options]\n"
	"A simulated infrastructure: machines, and a stand-in Kubernetes API for each control plane.\n"
	"\n"
	"  --state DIR             what survives a restart (made when absent)\n"
	"  --listen 127.0.0.1:0    address and port of its HTTP API; port 0 takes a free one\n"
	"  --token-file FILE       the bearer token that clients must show; none: no token\n"
	"  --ready-file FILE       written when it serves: {\"url\": ..., \"pid\": ...}\n"
	"  --max-connections N     to the HTTP API (default 1024)\n"
	"  --help, --version\n"
	"\n"
	"Settings: PUT /v1/settings with any of:\n"
#define X(name, def, doc) "  " #name " (" #def "): " doc "\n"
	CLOUD_SETTINGS(X)
#undef X
	"  failures: [{\"op\", \"count\", \"status\", \"class\"}]: the next calls of op fail\n";

static int options_read(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "state", required_argument, NULL, 's' }, { "listen", required_argument, NULL, 'l' },
		{ "token-file", required_argument, NULL, 't' }, { "ready-file", required_argument, NULL, 'r' },
		{ "max-connections", required_argument, NULL, 'm' }, { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' }, { NULL, 0, NULL, 0 },
	};
	unsigned long n;
	char *end;
	int c;

	*o = (struct options){ .listen = "127.0.0.1:0" };
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's': o->state = optarg; break;
		case 'l': o->listen = optarg; break;
		case 't': o->token_file = optarg; break;
		case 'r': o->ready_file = optarg; break;
		case 'm':
			n = strtoul(optarg, &end, 10);
			if (*end || !n || n > UINT32_MAX) {
				fprintf(stderr, "pcg-simcloud: --max-connections %s: not a number of connections\n", optarg);
				return -1;
			}
			o->max_connections = (uint32_t)n;
			break;
		case 'h': fputs(usage, stdout); exit(0);
		case 'v': puts("pcg-simcloud " PACKAGE_VERSION); exit(0);
		default: fputs(usage, stderr); return -1;
		}
	}
	if (o->state && optind == argc)
		return 0;
	fputs(o->state ? "pcg-simcloud: takes no arguments\n" : "pcg-simcloud: --state DIR is missing\n", stderr);
	return -1;
}

static int token_read(const char *path, struct secret **out, struct pcg_error *err)
{
	char text[4096];
	ssize_t n;
	int fd;

	if (!path) {
		*out = secret_new_str("");
		return 0;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0) {
		int e = errno;

		if (fd >= 0)
			close(fd);
		return pcg_fail_errno(err, e, "reading the token from %s", path);
	}
	close(fd);
	while (n && strchr("\r\n \t", text[n - 1]))
		n--;
	*out = secret_new(text, (size_t)n);
	secret_wipe(text, sizeof(text));
	return n ? 0 : pcg_fail(err, PCG_CLASS_PERMANENT, "Write the token into it.", "the token file %s is empty", path);
}

static int listen_parse(const char *text, char host[64], uint16_t *port, struct pcg_error *err)
{
	unsigned p;

	if (sscanf(text, "%63[0-9.]:%u", host, &p) != 2 || p > 65535)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "Give for example 127.0.0.1:8080.",
				"--listen %s is not an IPv4 address and a port", text);
	*port = (uint16_t)p;
	return 0;
}

/* Whole or not at all: readers wait for the file. */
static int ready_write(const char *path, const char *host, uint16_t port, struct pcg_error *err)
{
	AUTO_JSON json_t *j = json_pack("{s:o, s:i}", "url", json_sprintf("http://%s:%u", host, port), "pid", (int)getpid());
	AUTO_FREE char *tmp = NULL;

	if (!path)
		return 0;
	if (asprintf(&tmp, "%s.new", path) < 0)
		abort();
	if (json_dump_file(j, tmp, JSON_COMPACT) || rename(tmp, path))
		return pcg_fail_errno(err, errno, "writing %s", path);
	return 0;
}

static void on_signal(uv_signal_t *s, int signum)
{
	struct cloud *c = s->data;

	log_info("simcloud_ends", LI("signal", signum));
	cloud_close(c);
	uv_signal_stop(s);
}

static void watch_signal(uv_loop_t *loop, uv_signal_t *s, int signum, struct cloud *c)
{
	uv_signal_init(loop, s);
	s->data = c;
	uv_signal_start(s, on_signal, signum);
	uv_unref((uv_handle_t *)s);
}

static void raise_files(void)
{
	struct rlimit r;

	if (!getrlimit(RLIMIT_NOFILE, &r)) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int serve(const struct options *o, uv_loop_t *loop, struct cloud **out, struct pcg_error *err)
{
	struct http_server_limits limits = { .max_connections = o->max_connections, .idle_ms = 120000 };
	struct secret *token = NULL;
	char host[64];
	uint16_t port = 0;
	int r = listen_parse(o->listen, host, &port, err);

	r = r ?: token_read(o->token_file, &token, err);
	r = r ?: cloud_new(loop, o->state, token, out, err);
	secret_unref(token);
	r = r ?: http_server_new(loop, host, port, NULL, &limits, cloud_api_handle, *out, &(*out)->server, err);
	if (r)
		return r;
	port = http_server_port((*out)->server);
	log_info("simcloud_serves", LS("address", host), LI("port", port));
	return ready_write(o->ready_file, host, port, err);
}

int main(int argc, char **argv)
{
	uv_signal_t on_int, on_term;
	struct pcg_error err = { 0 };
	struct cloud *c = NULL;
	struct options o;
	uv_loop_t loop;

	stdio_begin();
	if (options_read(argc, argv, &o))
		return 2;
	log_init("pcg-simcloud", LOG_L_INFO);
	signal(SIGPIPE, SIG_IGN);
	umask(077);
	raise_files();
	uv_loop_init(&loop);
	if (serve(&o, &loop, &c, &err)) {
		log_err("simcloud_cannot_start", &err);
		fprintf(stderr, "pcg-simcloud: %s\n%s\n", err.text, err.remedy);
		return 1;
	}
	watch_signal(&loop, &on_int, SIGINT, c);
	watch_signal(&loop, &on_term, SIGTERM, c);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&on_int, NULL);
	uv_close((uv_handle_t *)&on_term, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	cloud_free(c);
	uv_loop_close(&loop);
	return 0;
}
