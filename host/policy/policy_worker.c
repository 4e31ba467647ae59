/* SPDX-License-Identifier: Apache-2.0 */
/* The policy worker: one question after another, by frames on descriptor 3. Before a script runs
 * its name goes out, so that the host can name the one it had to kill. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include "core/frame.h"
#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLICY_FD 3

struct asked {
	int64_t id;
};

static void send_doc(json_t *doc)
{
	struct pcg_error err;

	if (frame_send_fd(POLICY_FD, doc, &err))
		_exit(1);
	json_decref(doc);
}

static void on_begin(void *arg, const char *script)
{
	struct asked *a = arg;

	send_doc(json_pack("{s:I,s:s}", "id", (json_int_t)a->id, "begin", script));
}

static json_t *answer_eval(const json_t *scripts, const json_t *req, size_t memory_max)
{
	struct asked a = {.id = json_int_or(req, "id", 0)};
	struct pcg_error err;
	json_t *result;

	if (policy_lua_eval(scripts, json_str_or(req, "hook", ""), json_object_get(req, "input"),
			    memory_max, on_begin, &a, &result, &err))
		return json_pack("{s:o}", "error", json_from_error(&err));
	return json_pack("{s:o}", "result", result ? result : json_null());
}

/* A script may put any bytes into its error. */
static json_t *any_text(const char *text)
{
	AUTO_FREE char *repaired = utf8_repair(text, strlen(text));

	return json_string(repaired);
}

static json_t *answer_check(const json_t *scripts, size_t memory_max)
{
	json_t *problems = json_array(), *hooks = json_object(), *script, *list;
	struct pcg_error err;
	size_t i;

	json_array_foreach (scripts, i, script) {
		const char *name = json_str_or(script, "name", "?");

		on_begin(&(struct asked){0}, name);
		if (policy_lua_hooks(script, memory_max, &list, &err))
			json_array_append_new(problems, any_text(err.text));
		else
			json_object_set_new(hooks, name, list);
	}
	return json_pack("{s:o,s:o}", "problems", problems, "hooks", hooks);
}

int policy_worker_main(json_t *hello)
{
	json_t *scripts = json_object_get(hello, "scripts");
	size_t memory_max = (size_t)json_int_or(hello, "memoryMax", POLICY_MEMORY_MAX);
	struct frame_reader in;
	struct pcg_error err;

	frame_reader_init(&in, FRAME_MAX);
	/* Not before this may the host send: what follows the hello at once would be lost with its
	 * reader. */
	send_doc(json_pack("{s:b}", "ready", 1));
	for (;;) {
		json_t *req, *reply;

		if (frame_recv_fd(POLICY_FD, &in, 0, &req, &err) || !req)
			break;
		if (!strcmp(json_str_or(req, "op", ""), "check"))
			reply = answer_check(scripts, memory_max);
		else
			reply = answer_eval(scripts, req, memory_max);
		json_object_set_new(reply, "id", json_integer(json_int_or(req, "id", 0)));
		send_doc(reply);
		json_decref(req);
	}
	frame_reader_free(&in);
	json_decref(hello);
	return 0;
}
