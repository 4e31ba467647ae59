/* SPDX-License-Identifier: Apache-2.0 */
/* Live progress: a line for each change of what a cluster does or waits for, and for each step and
 * object of it, with the time since the watch began. */
#include "config.h"

#include "ctl/ctl.h"

#include "core/clock.h"
#include "core/stdout.h"

#include <stdio.h>
#include <string.h>

struct watch {
	const struct ctl *ctl;
	bool one;
	json_t *whole; /* uid: the cluster as it was last told of whole */
	char last[2048];
	int64_t started_ms;
};

static const char *doing(const json_t *c)
{
	const json_t *k = json_at(c, "conditions.0");

	if (!strcmp(json_str_or(k, "status", "True"), "False"))
		return json_str_or(k, "cause", "");
	return json_str_or(k, "waitingFor", "");
}

/* "created Machine/x", "check node: ok", or the event with its fields. */
static void note_text(const json_t *note, char *out, size_t size)
{
	const char *event = json_str_or(note, "event", ""), *key;
	size_t n;
	json_t *v;

	if (!strcmp(event, "object")) {
		snprintf(out, size, "%s %s", json_str_or(note, "step", ""),
			 json_str_or(note, "object", ""));
	} else if (!strcmp(event, "check")) {
		snprintf(out, size, "check %s: %s%s%s", json_str_or(note, "check", ""),
			 json_str_or(note, "state", ""), json_str(note, "seen") ? ", " : "",
			 json_str_or(note, "seen", ""));
	} else {
		n = (size_t)snprintf(out, size, "%s", event);
		json_object_foreach((json_t *)note, key, v)
			if (n < size && json_is_string(v) && strcmp(key, "event"))
				n += (size_t)snprintf(out + n, size - n, " %s=%s", key,
						      json_string_value(v));
	}
}

static int show_note(struct watch *w, const json_t *c)
{
	char text[1024];

	note_text(json_object_get(c, "note"), text, sizeof(text));
	printf("%8.1fs  %-20s %-14s   %s\n", (double)(clock_mono_ms() - w->started_ms) / 1000.0,
	       json_str_or(c, "name", ""), json_str_or(c, "phase", ""), show_text(text));
	stdout_flush();
	return ferror(stdout);
}

/* A note comes without what has not changed; a line of output is a whole cluster. */
static void show_whole(struct watch *w, json_t *c)
{
	const char *uid = json_str_or(c, "uid", "");
	json_t *was;

	if (json_object_get(c, "conditions")) {
		show_json_line(c);
		was = json_copy(c);
		json_object_del(was, "note");
		json_object_set_new(w->whole, uid, was);
	} else {
		was = json_object_get(w->whole, uid);
		json_object_update_missing(c, was);
		show_json_line(c);
	}
	if (!strcmp(json_str_or(c, "phase", ""), "Deleted"))
		json_object_del(w->whole, uid);
}

static int on_event(void *arg, json_t *c)
{
	struct watch *w = arg;
	const json_t *k = json_at(c, "conditions.0");
	const char *phase = json_str_or(c, "phase", "");
	char line[2048];

	if (w->ctl->json) {
		show_whole(w, c);
		return ferror(stdout) || (w->one && !strcmp(phase, "Deleted"));
	}
	if (json_object_get(c, "note"))
		return show_note(w, c);
	snprintf(line, sizeof(line), "%-20s %-14s %s", json_str_or(c, "name", ""), phase,
		 show_text(doing(c)));
	if (strcmp(line, w->last)) {
		printf("%8.1fs  %s\n", (double)(clock_mono_ms() - w->started_ms) / 1000.0, line);
		if (!strcmp(json_str_or(k, "status", "True"), "False") &&
		    json_str_or(k, "remedy", "")[0])
			printf("%11swhat to do: %s\n", "", show_text(json_str(k, "remedy")));
		stdout_flush();
		memcpy(w->last, line, sizeof(line));
	}
	return ferror(stdout) || (w->one && !strcmp(phase, "Deleted"));
}

int watch_clusters(const struct ctl *c, const char *cluster)
{
	struct watch w = { .ctl = c, .one = cluster != NULL, .started_ms = clock_mono_ms() };
	json_t *req = json_pack("{s:s}", "op", "cluster.watch");
	int r;

	w.whole = json_object();
	if (cluster)
		json_object_set_new(req, "cluster", json_string(cluster));
	r = ctl_follow(c, req, on_event, &w);
	json_decref(w.whole);
	return r;
}
