/* SPDX-License-Identifier: Apache-2.0 */
/* Entry of the image kube-proxy: nf_conntrack_max and its timeouts cannot be written in a network
 * namespace other than the host's, so settings left open in the configuration file become "leave
 * them alone"; then the real program runs. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL "/usr/local/bin/kube-proxy.real"
#define COPY "/tmp/kube-proxy.conf"

static const char *const settings[][2] = {
	{"maxPerCore: null", "maxPerCore: 0"},
	{"min: null", "min: 0"},
	{"tcpCloseWaitTimeout: null", "tcpCloseWaitTimeout: 0s"},
	{"tcpEstablishedTimeout: null", "tcpEstablishedTimeout: 0s"},
};

static void write_line(FILE *to, const char *line)
{
	size_t indent = strspn(line, " ");

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		size_t len = strlen(settings[i][0]);

		if (strncmp(line + indent, settings[i][0], len) == 0 && line[indent + len] == '\n') {
			fprintf(to, "%.*s%s\n", (int)indent, line, settings[i][1]);
			return;
		}
	}
	fputs(line, to);
}

static int copy(const char *path)
{
	FILE *from = fopen(path, "re"), *to = fopen(COPY, "we");
	char *line = NULL;
	size_t size = 0;

	if (!from || !to)
		return -1;
	while (getline(&line, &size, from) >= 0)
		write_line(to, line);
	free(line);
	fclose(from);
	return fclose(to);
}

int main(int argc, char **argv)
{
	static char config[] = "--config=" COPY;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--config=", 9) != 0)
			continue;
		if (copy(argv[i] + 9)) {
			perror(argv[i]);
			return 1;
		}
		argv[i] = config;
	}
	execv(REAL, argv);
	perror(REAL);
	return 1;
}
