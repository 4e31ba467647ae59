/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "ctl/ctl.h"

#include "core/log.h"
#include "core/stdout.h"
#include "core/utf8.h"
#include "host/policy/policy.h"
#include "host/provider/provider_pool.h"
#include "host/worker/worker.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME_BYTES 1024
#define DEFAULT_SOCKET PCG_LOCALSTATEDIR "/lib/pcg/pcgd.sock"

struct command {
	const char *words[2];
	const char *op;        /* of the control socket; NULL: own function */
	int (*show)(const json_t *result);
	int (*run)(const struct ctl *c, const char *arg);
	const char *arg;       /* name of the argument; NULL: none; in brackets: may be left out */
	const char *doc;
};

static int run_watch(const struct ctl *c, const char *arg)
{
	return watch_clusters(c, arg);
}

static int own_exe(char *out, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", out, size - 1);

	if (n < 0)
		return -1;
	out[n] = '\0';
	return 0;
}

static int on_dir(const char *dir, int (*work)(const char *exe, const char *dir, struct buf *out))
{
	struct buf out;
	char exe[4096];
	int r;

	if (own_exe(exe, sizeof(exe))) {
		perror("pcgctl: /proc/self/exe");
		return CTL_FAILED;
	}
	buf_init(&out, 4u << 20);
	r = work(exe, dir, &out);
	fputs(out.data, r ? stderr : stdout);
	buf_free(&out);
	return r ? CTL_FAILED : CTL_DONE;
}

static int run_policy_check(const struct ctl *c, const char *arg)
{
	return on_dir(arg, policy_check_dir);
}

static int run_policy_test(const struct ctl *c, const char *arg)
{
	return on_dir(arg, policy_test_dir);
}

static int show_message(const json_t *r)
{
	printf("%s\n", json_str_or(r, "message", "done"));
	return CTL_DONE;
}

static const struct command commands[] = {
	{ { "status", NULL }, "status", show_status, NULL, NULL, "gateway, plane, providers, kernel" },
	{ { "cluster", "list" }, "cluster.list", show_clusters, NULL, NULL, "clusters and what they wait for" },
	{ { "cluster", "show" }, "cluster.show", show_cluster, NULL, "NAME|UID", "one cluster, its conditions and machines" },
	{ { "cluster", "watch" }, NULL, NULL, run_watch, "[NAME|UID]", "progress as it happens, until the cluster is deleted" },
	{ { "cluster", "history" }, "cluster.history", show_history, NULL, "NAME|UID", "the whole story of a cluster" },
	{ { "cluster", "plan" }, "cluster.plan", show_plan, NULL, "NAME|UID", "what a hand-over or a take-back does, and its checks; does nothing" },
	{ { "audit", NULL }, "audit", show_audit, NULL, NULL, "infrastructure against store; changes nothing" },
	{ { "plugin", "list" }, "plugin.list", show_plugins, NULL, NULL, "providers and their workers" },
	{ { "plugin", "rescan" }, "plugin.rescan", show_plugins, NULL, NULL, "takes up new and changed plugins" },
	{ { "plugin", "verify" }, NULL, NULL, plugin_verify, "[FILE]", "tries a plugin without a gateway, by --with DOCS.json" },
	{ { "bundle", "show" }, NULL, NULL, bundle_print, "DIR", "versions, images and variables of a bundle folder, and what is missing" },
	{ { "policy", "list" }, "policy.list", show_policies, NULL, NULL, "policies in force" },
	{ { "policy", "check" }, NULL, NULL, run_policy_check, "DIR", "reads a policy folder, says what is wrong" },
	{ { "policy", "test" }, NULL, NULL, run_policy_test, "DIR", "runs the tests of a policy folder" },
	{ { "reload", NULL }, "reload", show_message, NULL, NULL, "takes up changed settings and policies" },
};

static void usage(FILE *out)
{
	fprintf(out, "usage: pcgctl [--socket PATH] [--output table|json] COMMAND\n\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const struct command *k = &commands[i];
		char words[64];

		snprintf(words, sizeof(words), "%s%s%s%s%s", k->words[0], k->words[1] ? " " : "",
			 k->words[1] ? k->words[1] : "", k->arg ? " " : "", k->arg ? k->arg : "");
		fprintf(out, "  %-28s %s\n", words, k->doc);
	}
	fprintf(out,
		"\n  --socket PATH    the gateway's socket (default %s, or PCG_SOCKET)\n"
		"  --output json    for programs: lists are {\"items\":[...]}, watch is one object a line\n"
		"\nOf plugin verify:\n"
		"  --with FILE      account, cluster and commands to work with (docs/plugin-verify.md)\n"
		"  --only NAME,...  these checks alone\n"
		"  --kubeconfig FILE  of an API server that tries what the plugin exports\n"
		"  --list           names the checks\n"
		"  --schema         prints the schema of answers\n"
		"\nClusters are made and deleted in the plane (pcg-planectl); this shows and checks.\n"
		"Exit status: 0 done, 1 failed, 2 usage, 3 not found, 4 unreachable, 5 audit found "
		"something.\n",
		DEFAULT_SOCKET);
}

/* Such a name would be lost on the way, and the request be one of all clusters. */
static bool can_be_name(const char *arg)
{
	size_t n = strlen(arg);

	return n <= NAME_BYTES && utf8_valid(arg, n);
}

static int run(const struct ctl *c, const struct command *k, const char *arg)
{
	AUTO_JSON json_t *result = NULL;
	json_t *req;
	int status;

	if (arg && strstr(k->arg, "NAME") && !can_be_name(arg)) {
		fprintf(stderr, "pcgctl: no cluster has such a name: it is longer than %d bytes, or not UTF-8\n"
				"  what to do: pcgctl cluster list shows what there is\n", NAME_BYTES);
		return CTL_NOT_FOUND;
	}
	if (k->run)
		return k->run(c, arg);
	req = json_pack("{s:s}", "op", k->op);
	if (arg)
		json_object_set_new(req, "cluster", json_string(arg));
	if (ctl_ask(c, req, &result, &status))
		return status;
	if (!c->json)
		return k->show(result);
	show_json(result);
	if (strcmp(k->op, "audit"))
		return CTL_DONE;
	if (json_array_size(json_object_get(result, "items")))
		return CTL_AUDIT;
	return json_array_size(json_object_get(result, "problems")) ? CTL_FAILED : CTL_DONE;
}

static const struct command *find(char **words, int n, int *used)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const struct command *k = &commands[i];

		*used = k->words[1] ? 2 : 1;
		if (n < *used || strcmp(words[0], k->words[0]))
			continue;
		if (!k->words[1] || !strcmp(words[1], k->words[1]))
			return k;
	}
	return NULL;
}

static int wrong_usage(const char *what)
{
	fprintf(stderr, "pcgctl: %s; pcgctl --help says what is allowed\n", what);
	return CTL_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' }, { "output", required_argument, NULL, 'o' },
		{ "with", required_argument, NULL, 'w' },   { "only", required_argument, NULL, 'O' },
		{ "kubeconfig", required_argument, NULL, 'k' }, { "list", no_argument, NULL, 'l' },
		{ "schema", no_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },	    { "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *from_env = getenv("PCG_SOCKET");
	struct ctl c = { .socket = from_env && *from_env ? from_env : DEFAULT_SOCKET };
	const struct command *k;
	const char *arg;
	int o, used;

	stdio_begin();
	signal(SIGPIPE, SIG_IGN);
	log_init("pcgctl", LOG_L_WARN);
	if (argc == 3 && !strcmp(argv[1], "--worker")) {
		static const struct worker_role roles[] = { { "policy", policy_worker_main },
							      { "account", account_worker_main } };

		return worker_child_main(argv[2], roles, ARRAY_LEN(roles));
	}
	while ((o = getopt_long(argc, argv, "s:o:h", options, NULL)) != -1) {
		switch (o) {
		case 's':
			c.socket = optarg;
			break;
		case 'o':
			if (strcmp(optarg, "json") && strcmp(optarg, "table"))
				return wrong_usage("--output is table or json");
			c.json = !strcmp(optarg, "json");
			break;
		case 'w':
			c.with = optarg;
			break;
		case 'O':
			c.only = optarg;
			break;
		case 'k':
			c.kubeconfig = optarg;
			break;
		case 'l':
			c.list = true;
			break;
		case 'S':
			c.schema = true;
			break;
		case 'h':
			usage(stdout);
			return CTL_DONE;
		case 'V':
			printf("pcgctl %s\n", PACKAGE_VERSION);
			return CTL_DONE;
		default:
			return wrong_usage("the options are wrong");
		}
	}
	if (optind >= argc) {
		usage(stderr);
		return CTL_USAGE;
	}
	k = find(argv + optind, argc - optind, &used);
	if (!k)
		return wrong_usage("no such command");
	arg = optind + used < argc ? argv[optind + used] : NULL;
	if (k->run != plugin_verify && (c.with || c.only || c.kubeconfig || c.list || c.schema))
		return wrong_usage("--with, --only, --kubeconfig, --list and --schema are of plugin verify alone");
	if (argc > optind + used + 1 || (arg && !k->arg))
		return wrong_usage("too many arguments");
	if (!arg && k->arg && k->arg[0] != '[')
		return wrong_usage("an argument is missing");
	return stdout_end("pcgctl", run(&c, k, arg), CTL_FAILED);
}
