/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/trial.h"
#include "host/provider/account_worker.h"

#include <assert.h>
#include <ctype.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 512

struct trial {
	json_t *doc;
	uint64_t n;                    /* counted requests; host->lock */
	uint64_t kill_n;
	enum trial_when when;
	char killed[NAME_SIZE];        /* the request at which it dies */
};

static enum trial_when when_of(const char *name)
{
	return strcmp(name, "before") == 0 ? TRIAL_BEFORE :
	       strcmp(name, "sent") == 0 ? TRIAL_SENT :
	       strcmp(name, "answered") == 0 ? TRIAL_ANSWERED : TRIAL_NEVER;
}

struct trial *trial_new(const json_t *doc)
{
	struct trial *t = calloc(1, sizeof(*t));

	assert(t);
	t->doc = json_deep_copy(doc);
	t->kill_n = (uint64_t)json_int_or(doc, "kill.n", 0);
	t->when = when_of(json_str_or(doc, "kill.when", ""));
	return t;
}

static void tell(struct pcg_host *h, json_t *frame)
{
	assert(frame);
	json_object_set_new(frame, "t", json_string("trial"));
	account_send(h, frame);
	json_decref(frame);
}

/* The end of an element's name that begins at *at (after "<"), without its prefix. */
static const char *local_name(const char *at, const char *end, size_t *len)
{
	const char *name = at;

	while (at < end && !isspace((unsigned char)*at) && *at != '>' && *at != '/') {
		if (*at == ':')
			name = at + 1;
		at++;
	}
	*len = (size_t)(at - name);
	return name;
}

/* The first element in the envelope's Body; NULL: it is none. */
static const char *soap_operation(const char *body, size_t size, size_t *len)
{
	const char *end = body + size;
	bool envelope = false, inside = false;

	for (const char *at = body; at && at < end; at++) {
		at = memchr(at, '<', (size_t)(end - at));
		if (!at || at + 1 >= end)
			break;
		if (at[1] == '?' || at[1] == '!' || at[1] == '/')
			continue;
		const char *name = local_name(at + 1, end, len);

		if (inside)
			return name;
		if (!envelope && !(*len == 8 && memcmp(name, "Envelope", 8) == 0))
			return NULL;
		envelope = true;
		inside = *len == 4 && memcmp(name, "Body", 4) == 0;
	}
	return NULL;
}

static bool begins(const char *s, const char *const *prefixes)
{
	for (; *prefixes; prefixes++)
		if (strncmp(s, *prefixes, strlen(*prefixes)) == 0)
			return true;
	return false;
}

/* Names of operations say what they do; of a vCenter's, those that change a session alone. */
static const char *class_of_soap(const char *operation)
{
	static const char *const read[] = { "Retrieve", "Find", "Query", "Wait", "Check", "Get", "List", "Search",
					    "Browse", "Validate", "Recommend", "CurrentTime", "HasPrivilege",
					    "CancelWait", "Continue", "Fetch", "Read", NULL };
	static const char *const session[] = { "Login", "Logout", "TerminateSession", "AcquireCloneTicket", "CloneSession",
					       "CreateListView", "CreateContainerView", "CreateInventoryView", "ModifyListView",
					       "ResetListView", "DestroyView", "CreateFilter", "CreatePropertyCollector",
					       "DestroyPropertyFilter", "DestroyPropertyCollector", "CreateCollectorFor", NULL };

	return begins(operation, read) ? "read" : begins(operation, session) ? "session" : "change";
}

static const char *class_of_method(const char *method)
{
	static const char *const read[] = { "GET", "HEAD", "OPTIONS", NULL };

	return begins(method, read) ? "read" : "change";
}

/* "METHOD /path?query" or "SOAP Operation"; returns the class that this alone gives. */
static const char *name_request(const struct http_request *req, char name[NAME_SIZE])
{
	const char *path = strstr(req->url, "://"), *operation;
	size_t len;

	operation = req->body_len ? soap_operation(req->body, req->body_len, &len) : NULL;
	if (operation) {
		snprintf(name, NAME_SIZE, "SOAP %.*s", (int)(len < 200 ? len : 200), operation);
		return class_of_soap(name + 5);
	}
	path = path ? strchr(path + 3, '/') : NULL;
	snprintf(name, NAME_SIZE, "%s %s", req->method, path ? path : "/");
	return class_of_method(req->method);
}

static const char *classify(const struct trial *t, const struct http_request *req, char name[NAME_SIZE])
{
	static const char *const classes[] = { "change", "session", "read" };
	const char *by_itself = name_request(req, name);
	size_t i;
	json_t *pattern;

	for (size_t k = 0; k < ARRAY_LEN(classes); k++)
		json_array_foreach(json_object_get(t->doc, classes[k]), i, pattern)
			if (json_is_string(pattern) && fnmatch(json_string_value(pattern), name, 0) == 0)
				return classes[k];
	return by_itself;
}

void trial_die(struct pcg_host *h)
{
	const struct trial *t = h->trial;

	tell(h, json_pack("{s:s, s:I, s:o}", "what", "killed", "n", (json_int_t)t->kill_n, "request",
			  json_string(t->killed) ?: json_string("?")));
	for (;;)
		raise(SIGKILL);
}

enum trial_when trial_request(struct pcg_host *h, const struct pcg_call *call, const struct http_request *req)
{
	struct trial *t = h->trial;
	char name[NAME_SIZE];
	const char *class = classify(t, req, name);
	enum trial_when when = TRIAL_NEVER;
	uint64_t n = 0;

	pthread_mutex_lock(&h->lock);
	if (strcmp(class, "read") != 0)
		n = ++t->n;
	if (n && n == t->kill_n) {
		when = t->when;
		snprintf(t->killed, sizeof(t->killed), "%s", name);
	}
	pthread_mutex_unlock(&h->lock);
	tell(h, json_pack("{s:s, s:I, s:s, s:o, s:s}", "what", "request", "n", (json_int_t)n, "class", class,
			  "request", json_string(name) ?: json_string("?"), "op", call && call->op ? call->op->name : ""));
	if (when == TRIAL_BEFORE)
		trial_die(h);
	return when;
}

void trial_loaded(struct pcg_host *h)
{
	const struct pcg_provider *p = &h->plugin.table;

	tell(h, json_pack("{s:s, s:O, s:I, s:I}", "what", "loaded", "settings", h->plugin.settings, "caps",
			  (json_int_t)(p->caps_optional | p->caps_required), "maxParallel", (json_int_t)p->max_parallel));
}

void trial_log(struct pcg_host *h, uint32_t level, const char *event, const char *fields)
{
	tell(h, json_pack("{s:s, s:I, s:o, s:o}", "what", "log", "level", (json_int_t)level, "event",
			  json_string(event ? event : "") ?: json_string("?"), "fields",
			  fields ? json_string(fields) ?: json_string("?") : json_null()));
}

void trial_secret(struct pcg_host *h, const char *clean)
{
	tell(h, json_pack("{s:s, s:o}", "what", "secret", "text", json_string(clean) ?: json_string("?")));
}
