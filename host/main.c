/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/gateway.h"

#include "core/blocks.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/secret.h"
#include "core/stdout.h"
#include "host/folders.h"
#include "host/settings.h"
#include "host/worker/worker.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE };

static void usage(FILE *out)
{
	struct buf settings;

	buf_init(&settings, 1u << 16);
	conf_document(settings_table, settings_count, &settings);
	fprintf(out,
		"usage: pcgd [--config FILE] [--check-config | --pair FILE | --version | --help]\n"
		"\n"
		"The private cloud gateway: keeps the connection to its plane, builds and removes\n"
		"clusters. Runs in the foreground until SIGTERM; SIGHUP takes up a changed file.\n"
		"\n"
		"  --config FILE    settings (default %s)\n"
		"  --check-config   reads the settings and the policies, looks at the folders of plugins and\n"
		"                   controllers, says everything that is wrong, and ends\n"
		"  --pair FILE      enrols with the pairing code in FILE (- is standard input), and ends\n"
		"\n"
		"Settings (libconfig: name = value;):\n%s"
		"\n"
		"Exit status: 0 done, 1 failed, 2 usage.\n",
		SETTINGS_DEFAULT_FILE, settings.data);
	buf_free(&settings);
}

static int worker_main(const char *role)
{
	static const struct worker_role roles[] = {
		{ "account", account_worker_main },
		{ "policy", policy_worker_main },
	};

	log_init(role, LOG_L_INFO);
	return worker_child_main(role, roles, ARRAY_LEN(roles));
}

static int load(const char *file, struct conf **conf)
{
	struct buf report;
	int r;

	buf_init(&report, 1u << 20);
	r = settings_load(file, conf, &report);
	if (r)
		fprintf(stderr, "%s", report.data);
	buf_free(&report);
	return r;
}

static int check_config(const char *file, const struct conf *conf)
{
	struct buf report, notes;
	int status;

	buf_init(&report, 1u << 20);
	buf_init(&notes, 1u << 20);
	folders_check(conf, &report, &notes);
	fputs(report.data, stderr);
	fputs(notes.data, stdout);
	status = report.len ? EXIT_FAILED : EXIT_DONE;
	if (!report.len)
		printf("%s: no problems\n", file);
	buf_free(&report);
	buf_free(&notes);
	return status;
}

static int run(const char *file, struct conf *conf, const char *code_file)
{
	static struct gateway g;
	struct pcg_error err;
	int r;

	g.pair_only = code_file != NULL;
	if (code_file && gateway_read_code(&g, code_file, &err))
		r = -1;
	else
		r = gateway_open(&g, file, conf, &err);
	if (!r)
		return gateway_run(&g) ? EXIT_FAILED : EXIT_DONE;
	gateway_abandon(&g);
	log_err("gateway_not_started", &err);
	fprintf(stderr, "pcgd: %s\n%s%s%s", err.text, *err.remedy ? "  what to do: " : "", err.remedy,
		*err.remedy ? "\n" : "");
	return EXIT_FAILED;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "check-config", no_argument, NULL, 'C' },
		{ "pair", required_argument, NULL, 'p' },   { "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },	    { "worker", required_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	const char *file = SETTINGS_DEFAULT_FILE, *code_file = NULL;
	bool check = false;
	enum log_level level;
	struct conf *conf;
	int o;

	stdio_begin();
	signal(SIGPIPE, SIG_IGN);
	umask(077);
	if (argc == 3 && !strcmp(argv[1], "--worker"))
		return worker_main(argv[2]);
	blocks_begin();
	while ((o = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			file = optarg;
			break;
		case 'C':
			check = true;
			break;
		case 'p':
			code_file = optarg;
			break;
		case 'V':
			printf("pcgd %s\n", PACKAGE_VERSION);
			return EXIT_DONE;
		case 'h':
			usage(stdout);
			return EXIT_DONE;
		default:
			fprintf(stderr, "pcgd --help says what is allowed\n");
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "pcgd: %s: no such argument; pcgd --help says what is allowed\n",
			argv[optind]);
		return EXIT_USAGE;
	}
	if (load(file, &conf))
		return EXIT_FAILED;
	if (check) {
		o = check_config(file, conf);
		conf_unref(conf);
		return o;
	}
	memory_begin(argv);
	log_level_parse(conf_str(conf, "log_level"), &level);
	log_init("pcgd", level);
	secret_no_core();
	http_global_init();
	o = run(file, conf, code_file);
	conf_unref(conf);
	return o;
}
