/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of DOCS.json: the infrastructure seen by another client than the plugin. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "core/buf.h"
#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMAND_MS 60000
#define OUTPUT_MAX (4u << 20)
#define WORDS_MAX 64

extern char **environ;

static json_t *command_of(const struct verify *v, const char *name)
{
	return json_object_get(json_object_get(v->docs, "commands"), name);
}

bool command_there(const struct verify *v, const char *name)
{
	return command_of(v, name) != NULL;
}

/* ${...} in its words: what it is about. */
static json_t *words_of(const struct verify *v, const char *name, const struct life *l, const struct machine *m)
{
	json_t *words = json_deep_copy(command_of(v, name));

	input_replace(words, "CLUSTER", l ? l->uid : "");
	input_replace(words, "CLUSTER_NAME", l ? l->name : "");
	input_replace(words, "POOL", m ? m->pool : "");
	input_replace(words, "ROLE", m ? m->role : "");
	input_replace(words, "MACHINE", m ? m->uid : "");
	input_replace(words, "MACHINE_NAME", m ? m->name : "");
	input_replace(words, "ID", m ? json_str_or(m->observed, "id", "") : "");
	return words;
}

static size_t argv_of(json_t *words, char *argv[WORDS_MAX + 1])
{
	size_t i, n = 0;
	json_t *word;

	json_array_foreach(words, i, word) {
		if (!json_is_string(word) || n == WORDS_MAX)
			return 0;
		argv[n++] = (char *)(uintptr_t)json_string_value(word);
	}
	argv[n] = NULL;
	return n;
}

static int start(const struct verify *v, char **argv, pid_t *pid, int *out, struct pcg_error *err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC))
		return pcg_fail_errno(err, errno, "making a pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	if (v->stderr_fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, v->stderr_fd, STDERR_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addchdir_np(&actions, v->docs_dir);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	r = posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (r) {
		close(fds[0]);
		return pcg_fail_errno(err, r, "starting %s", argv[0]);
	}
	*out = fds[0];
	return 0;
}

/* 0: it wrote all it had; -1: its time is over. */
static int read_all(int fd, struct buf *out)
{
	int64_t end = clock_mono_ms() + COMMAND_MS;
	char piece[8192];

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = end - clock_mono_ms();
		ssize_t n;

		if (left <= 0)
			return -1;
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		buf_add(out, piece, (size_t)n);
	}
}

/* The loop of the workers has a handler for children of its own: this one is waited for by its id. */
static int finish(pid_t pid, int fd, struct buf *out, const char *name, struct pcg_error *err)
{
	int status = 0, late = read_all(fd, out);

	close(fd);
	if (late)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (late)
		return pcg_fail(err, PCG_CLASS_RETRY, "", "%s had not ended after %d s", name, COMMAND_MS / 1000);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return out->overflow ? pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s wrote too much", name) : 0;
	return pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s ended with %s %d", name, WIFEXITED(status) ? "status" : "signal",
			WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

int command_run(struct verify *v, const char *name, const struct life *l, const struct machine *m, char **out)
{
	AUTO_JSON json_t *words = words_of(v, name, l, m);
	char *argv[WORDS_MAX + 1], what[80];
	struct pcg_error err;
	struct buf text;
	pid_t pid;
	int fd = -1, r;

	*out = NULL;
	snprintf(what, sizeof(what), "commands.%s of DOCS.json", name);
	if (!argv_of(words, argv))
		return verify_fail(v, what, "an array of words", "it is something else");
	buf_init(&text, OUTPUT_MAX);
	r = start(v, argv, &pid, &fd, &err);
	if (!r)
		r = finish(pid, fd, &text, argv[0], &err);
	if (r)
		verify_fail(v, what, "exit status 0", "%s", err.text);
	else
		*out = strdup(text.data);
	buf_free(&text);
	return r ? -1 : 0;
}
