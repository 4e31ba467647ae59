/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "ctl/ctl.h"

#include "core/frame.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MS 90000

/* problems: all that is wrong, in place of a text that has room for some of it. */
static int complain(const struct pcg_error *err, const json_t *problems)
{
	size_t i;
	json_t *v;

	json_array_foreach((json_t *)problems, i, v)
		fprintf(stderr, "pcgctl: %s\n", show_text(json_string_value(v)));
	if (!json_array_size(problems))
		fprintf(stderr, "pcgctl: %s\n", show_text(err->text));
	if (*err->remedy)
		fprintf(stderr, "  what to do: %s\n", show_text(err->remedy));
	return err->class == PCG_CLASS_NOT_FOUND ? CTL_NOT_FOUND : CTL_FAILED;
}

int ctl_complain(const struct pcg_error *err)
{
	return complain(err, NULL);
}

static int dial(const struct ctl *c, int *fd)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (strlen(c->socket) >= sizeof(a.sun_path)) {
		fprintf(stderr, "pcgctl: the socket's path %s is too long\n", c->socket);
		return CTL_USAGE;
	}
	strcpy(a.sun_path, c->socket);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd >= 0 && !connect(*fd, (struct sockaddr *)&a, sizeof(a)))
		return 0;
	fprintf(stderr,
		"pcgctl: no gateway answers on %s: %s\n"
		"  what to do: start pcgd, run pcgctl as a user that may open its socket, or name "
		"another one with --socket\n",
		c->socket, strerror(errno));
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return CTL_UNREACHABLE;
}

static int gone(const struct pcg_error *err)
{
	fprintf(stderr,
		"pcgctl: %s\n  what to do: look whether a gateway of this version listens there, and at its "
		"log\n",
		err ? show_text(err->text) : "the gateway ended the conversation");
	return CTL_UNREACHABLE;
}

static int checked(json_t *doc, int *exit_status)
{
	struct pcg_error err;

	if (json_bool_or(doc, "ok", false))
		return 0;
	json_to_error(json_object_get(doc, "error"), &err);
	*exit_status = complain(&err, json_object_get(doc, "problems"));
	return -1;
}

int ctl_ask(const struct ctl *c, json_t *request, json_t **result, int *exit_status)
{
	AUTO_JSON json_t *req = request, *doc = NULL;
	struct frame_reader in;
	struct pcg_error err, other;
	AUTO_CLOSE int fd = -1;
	int r;

	*exit_status = dial(c, &fd);
	if (*exit_status)
		return -1;
	frame_reader_init(&in, FRAME_MAX);
	r = frame_send_fd(fd, req, &err);
	/* A gateway that takes no more clients has said so before it hung up. */
	if (!frame_recv_fd(fd, &in, ANSWER_MS, &doc, r ? &other : &err))
		r = doc ? 0 : r;
	else
		r = -1;
	frame_reader_free(&in);
	if (r || !doc) {
		*exit_status = gone(r ? &err : NULL);
		return -1;
	}
	if (checked(doc, exit_status))
		return -1;
	*result = json_incref(json_object_get(doc, "result"));
	return 0;
}

int ctl_follow(const struct ctl *c, json_t *request, int (*on_event)(void *arg, json_t *event),
	       void *arg)
{
	AUTO_JSON json_t *req = request;
	struct frame_reader in;
	struct pcg_error err;
	AUTO_CLOSE int fd = -1;
	int status = dial(c, &fd), r;

	if (status)
		return status;
	frame_reader_init(&in, FRAME_MAX);
	frame_send_fd(fd, req, &err);
	for (;;) {
		AUTO_JSON json_t *doc = NULL;

		r = frame_recv_fd(fd, &in, 0, &doc, &err);
		if (r || !doc) {
			status = gone(r ? &err : NULL);
			break;
		}
		if (checked(doc, &status))
			break;
		if (on_event(arg, json_object_get(doc, "event")))
			break;
	}
	frame_reader_free(&in);
	return status;
}
