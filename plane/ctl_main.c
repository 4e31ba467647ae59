/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/ctl.h"

#include "core/log.h"
#include "core/stdout.h"
#include "plane/plane.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
	"usage: pcg-planectl [OPTION]... COMMAND\n"
	"Works with a pcg-plane: its URL, CA and API key are found in the plane's state folder.\n"
	"\n"
	"  gateway list\n"
	"  pair [--overlord UID] [--name NAME]       a pairing code, on standard output; --overlord: for a gateway\n"
	"                                            that is there already, whose old certificate is then refused\n"
	"  account add -f FILE [--cloud TYPE] [--overlord UID] [--password-file FILE] [--ca-file FILE] [--no-validate]\n"
	"  account update NAME|UID [-f FILE] [--password-file FILE] [--ca-file FILE] [--overlord UID] [--no-validate]\n"
	"                                            -f: the whole account as it shall be; what else is given is changed\n"
	"                                            in it. A password that is not given stays as it is\n"
	"  account remove NAME|UID                   one that no cluster needs\n"
	"  account validate NAME|UID, or -f FILE as for add\n"
	"  account choices [KIND] [--account NAME|UID] [--filter NAME=VALUE]...   what there is to choose from, asked of\n"
	"                                            the infrastructure; without KIND: which kinds there are\n"
	"  account list\n"
	"  profile add -f FILE\n"
	"  profile list\n"
	"  profile remove NAME|UID                   one that no cluster uses\n"
	"  cluster create -f FILE [--cloud TYPE]\n"
	"  cluster list\n"
	"  cluster get NAME|UID\n"
	"  cluster watch NAME|UID [--until STATE] [--timeout S]   until it is Running, Deleted or Error, or in\n"
	"                                            STATE (Pending, Provisioning, Running, Deleting, Deleted)\n"
	"  cluster kubeconfig NAME|UID\n"
	"  cluster delete NAME|UID [--force [--abandon]]   --force: of a delete that has not ended after a quarter of\n"
	"                                            an hour; the cluster itself is asked no more. --abandon: of a\n"
	"                                            forced one whose infrastructure does not come back: it ends,\n"
	"                                            with the list of what is left there\n"
	"  cluster found                             clusters that only their gateway knows, since this plane's database\n"
	"                                            is a backup that is older than they are\n"
	"  cluster adopt UID [--account NAME|UID]    takes such a cluster back; --account: the one that it had is gone too\n"
	"  pool list [--overlord UID]                IP pools of a gateway: how much is free\n"
	"  pool add -f FILE [--overlord UID]\n"
	"  pool update NAME|UID -f FILE [--overlord UID]   the whole pool as it shall be\n"
	"  pool remove NAME|UID [--overlord UID]\n"
	"  pool show NAME|UID [--overlord UID]       which cluster has which addresses\n"
	"  dns list                                  DNS mappings: the domain of a network\n"
	"  dns add -f FILE [--overlord UID]\n"
	"  dns remove NAME|UID\n"
	"\n"
	"  -f, --file FILE        the body of the API's request, JSON or YAML; -: standard input. cloudAccountUid,\n"
	"                         parentPoolUid and a profile's uid may be names; cloudType in it names the cloud\n"
	"  --password-file FILE   password, token or key of an account; -: standard input. Without it, and without one in\n"
	"                         the file, it is asked for at the terminal\n"
	"  --ca-file FILE         the CA that the account's endpoint is verified by, PEM: it becomes the account's caCert\n"
	"  --output json          one object; lists are {\"items\":[...]}, watch is one object a line\n"
	"  --state DIR            the plane's state folder (default: $PCG_PLANE_STATE, else the one that\n"
	"                         pcg-plane takes by default)\n"
	"  --url URL              another URL of the plane than the one in the state folder\n"
	"  --help, --version\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 the plane is not reached.\n";

enum { OPT_FILE = 256, OPT_OVERLORD, OPT_NAME, OPT_ACCOUNT, OPT_CLOUD, OPT_PASSWORD, OPT_CA, OPT_FILTER, OPT_NOVALIDATE, OPT_UNTIL, OPT_TIMEOUT, OPT_FORCE, OPT_ABANDON,
       OPT_OUTPUT, OPT_STATE, OPT_URL, OPT_HELP, OPT_VERSION };

#define TAKES(option) (1u << (OPT_##option - OPT_FILE))
#define TAKES_ACCOUNT (TAKES(FILE) | TAKES(CLOUD) | TAKES(OVERLORD) | TAKES(PASSWORD) | TAKES(CA))

static const struct command {
	const char *noun, *verb;
	bool arg_needed, arg_allowed;
	int (*run)(struct ctl *c, const char *arg);
	unsigned takes; /* which of the options that are not of every command */
} commands[] = {
	{ "gateway", "list", false, false, ctl_gateway_list, 0 },
	{ "pair", NULL, false, false, ctl_pair, TAKES(OVERLORD) | TAKES(NAME) | TAKES(CLOUD) },
	{ "account", "add", false, false, ctl_account_add, TAKES_ACCOUNT | TAKES(NOVALIDATE) },
	{ "account", "update", true, true, ctl_account_update, TAKES_ACCOUNT | TAKES(NOVALIDATE) },
	{ "account", "remove", true, true, ctl_account_remove, 0 },
	{ "account", "validate", false, true, ctl_account_validate, TAKES_ACCOUNT },
	{ "account", "choices", false, true, ctl_account_choices, TAKES(ACCOUNT) | TAKES(FILTER) },
	{ "account", "list", false, false, ctl_account_list, 0 },
	{ "profile", "add", false, false, ctl_profile_add, TAKES(FILE) },
	{ "profile", "remove", true, true, ctl_profile_remove, 0 },
	{ "profile", "list", false, false, ctl_profile_list, 0 },
	{ "cluster", "create", false, false, ctl_cluster_create, TAKES(FILE) | TAKES(CLOUD) },
	{ "cluster", "list", false, false, ctl_cluster_list, 0 },
	{ "cluster", "get", true, true, ctl_cluster_get, 0 },
	{ "cluster", "watch", true, true, ctl_cluster_watch, TAKES(UNTIL) | TAKES(TIMEOUT) },
	{ "cluster", "kubeconfig", true, true, ctl_cluster_kubeconfig, 0 },
	{ "cluster", "delete", true, true, ctl_cluster_delete, TAKES(FORCE) | TAKES(ABANDON) },
	{ "cluster", "found", false, false, ctl_cluster_found, 0 },
	{ "cluster", "adopt", true, true, ctl_cluster_adopt, TAKES(ACCOUNT) },
	{ "pool", "list", false, false, ctl_pool_list, TAKES(OVERLORD) },
	{ "pool", "add", false, false, ctl_pool_add, TAKES(FILE) | TAKES(OVERLORD) },
	{ "pool", "update", true, true, ctl_pool_update, TAKES(FILE) | TAKES(OVERLORD) },
	{ "pool", "remove", true, true, ctl_pool_remove, TAKES(OVERLORD) },
	{ "pool", "show", true, true, ctl_pool_show, TAKES(OVERLORD) },
	{ "dns", "list", false, false, ctl_dns_list, 0 },
	{ "dns", "add", false, false, ctl_dns_add, TAKES(FILE) | TAKES(OVERLORD) },
	{ "dns", "remove", true, true, ctl_dns_remove, 0 },
};

static const struct option options[] = {
	{ "file", 1, NULL, OPT_FILE },
	{ "overlord", 1, NULL, OPT_OVERLORD },
	{ "name", 1, NULL, OPT_NAME },
	{ "account", 1, NULL, OPT_ACCOUNT },
	{ "cloud", 1, NULL, OPT_CLOUD },
	{ "password-file", 1, NULL, OPT_PASSWORD },
	{ "ca-file", 1, NULL, OPT_CA },
	{ "filter", 1, NULL, OPT_FILTER },
	{ "no-validate", 0, NULL, OPT_NOVALIDATE },
	{ "until", 1, NULL, OPT_UNTIL },
	{ "timeout", 1, NULL, OPT_TIMEOUT },
	{ "force", 0, NULL, OPT_FORCE },
	{ "abandon", 0, NULL, OPT_ABANDON },
	{ "output", 1, NULL, OPT_OUTPUT },
	{ "state", 1, NULL, OPT_STATE },
	{ "url", 1, NULL, OPT_URL },
	{ "help", 0, NULL, OPT_HELP },
	{ "version", 0, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static int take_number(struct ctl *c, const char *text)
{
	char *end;

	c->timeout_s = strtoll(text, &end, 10);
	return *end || end == text || c->timeout_s < 0 || c->timeout_s > INT64_MAX / 1000 ?
		       ctl_fail(CTL_USAGE, "--timeout %s: not a number of seconds", text) :
		       CTL_DONE;
}

static int take_output(struct ctl *c, const char *text)
{
	c->json = strcmp(text, "json") == 0;
	return c->json || strcmp(text, "table") == 0 ? CTL_DONE :
						       ctl_fail(CTL_USAGE, "--output %s: use json or table", text);
}

static int take_filter(struct ctl *c, const char *text)
{
	if (c->n_filters == CTL_FILTERS)
		return ctl_fail(CTL_USAGE, "--filter is taken %d times at most", CTL_FILTERS);
	c->filters[c->n_filters++] = text;
	return CTL_DONE;
}

/* An option that a command does not look at would leave somebody with something else than what was asked for. */
static int check_taken(const struct command *cmd, unsigned given)
{
	for (const struct option *o = options; o->name; o++)
		if (o->val < OPT_OUTPUT && (given & ~cmd->takes & (1u << (o->val - OPT_FILE))))
			return ctl_fail(CTL_USAGE, "--%s is not taken by %s%s%s; see pcg-planectl --help", o->name, cmd->noun,
					cmd->verb ? " " : "", cmd->verb ? cmd->verb : "");
	return CTL_DONE;
}

/* -1: go on. */
static int take_option(struct ctl *c, int o)
{
	int r = CTL_DONE;

	switch (o) {
	case OPT_FILE: c->file = optarg; break;
	case OPT_OVERLORD: c->overlord = optarg; break;
	case OPT_NAME: c->name = optarg; break;
	case OPT_ACCOUNT: c->account = optarg; break;
	case OPT_CLOUD: c->cloud = optarg; break;
	case OPT_PASSWORD: c->password_file = optarg; break;
	case OPT_CA: c->ca_file = optarg; break;
	case OPT_FILTER: r = take_filter(c, optarg); break;
	case OPT_NOVALIDATE: c->no_validate = true; break;
	case OPT_UNTIL: c->until = optarg; break;
	case OPT_TIMEOUT: r = take_number(c, optarg); break;
	case OPT_FORCE: c->force = true; break;
	case OPT_ABANDON: c->abandon = true; break;
	case OPT_OUTPUT: r = take_output(c, optarg); break;
	case OPT_STATE: c->state_dir = optarg; break;
	case OPT_URL: c->url_option = optarg; break;
	case OPT_HELP: fputs(help, stdout); return CTL_DONE;
	case OPT_VERSION: puts("pcg-planectl " PACKAGE_VERSION); return CTL_DONE;
	default: return ctl_fail(CTL_USAGE, "see pcg-planectl --help");
	}
	return r ? r : -1;
}

static const struct command *find_command(int n, char **words, const char **arg)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const struct command *cmd = &commands[i];
		int used = cmd->verb ? 2 : 1;

		if (n < used || strcmp(words[0], cmd->noun) != 0 || (cmd->verb && strcmp(words[1], cmd->verb) != 0))
			continue;
		*arg = n > used ? words[used] : NULL;
		if (n > used + (cmd->arg_allowed ? 1 : 0) || (cmd->arg_needed && !*arg))
			return NULL;
		return cmd;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	AUTO_FREE char *state = setup_default_state_dir();
	struct ctl c = { .state_dir = state };
	const struct command *cmd;
	const char *arg = NULL;
	unsigned given = 0;
	int o, r;

	stdio_begin();
	log_init("pcg-planectl", LOG_L_ERROR);
	while ((o = getopt_long(argc, argv, "f:", options, NULL)) != -1) {
		if (o == 'f')
			o = OPT_FILE;
		r = take_option(&c, o);
		if (r >= 0)
			return stdout_end("pcg-planectl", r, CTL_FAILED);
		if (o < OPT_OUTPUT)
			given |= 1u << (o - OPT_FILE);
	}
	cmd = find_command(argc - optind, argv + optind, &arg);
	if (!cmd)
		return ctl_fail(CTL_USAGE, optind < argc ? "not a command, or with too few or too many words; see "
							   "pcg-planectl --help" :
							   "which command? See pcg-planectl --help");
	if (check_taken(cmd, given))
		return CTL_USAGE;
	signal(SIGPIPE, SIG_IGN);
	secret_no_core();
	http_global_init();
	r = ctl_connect(&c);
	if (!r)
		r = cmd->run(&c, arg);
	ctl_disconnect(&c);
	return stdout_end("pcg-planectl", r, CTL_FAILED);
}
