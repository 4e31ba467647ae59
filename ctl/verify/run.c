/* SPDX-License-Identifier: Apache-2.0 */
/* The checks one after the other, and what people see. Whatever a plugin does ends here as a message. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "core/log.h"
#include "core/stdout.h"
#include "core/table.h"
#include "net/http_client.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CLEAN_MS 20000u

const struct verify_check verify_checks[] = {
#define X(name, doc) { #name, doc, check_##name },
	VERIFY_CHECKS(X)
#undef X
	{ NULL, NULL, NULL },
};

static json_t *finding(const char *clause, const char *expected, const char *found)
{
	/* What does not stand there is of the command line or DOCS.json. */
	bool header = *clause && *clause != '-' && strncmp(clause, "commands.", 9) != 0 && strncmp(clause, "limits.", 7) != 0;
	char where[600];

	snprintf(where, sizeof(where), "%s%s", header ? "pcg/provider.h, " : "", clause);
	return json_pack("{s:o, s:o, s:o}", "found", json_string(found) ?: json_string("?"), "expected",
			 json_string(expected) ?: json_string("?"), "clause", json_string(where) ?: json_string("?"));
}

int verify_fail(struct verify *v, const char *clause, const char *expected, const char *fmt, ...)
{
	char found[2400];
	size_t len = 0;
	va_list ap;

	if (v->killed)
		len = (size_t)snprintf(found, sizeof(found), "%s (%s): ", v->context, v->killed_at);
	else if (*v->context && !v->kill_n)
		len = (size_t)snprintf(found, sizeof(found), "%s: ", v->context);
	va_start(ap, fmt);
	vsnprintf(found + len, sizeof(found) - len, fmt, ap);
	va_end(ap);
	json_array_append_new(v->failures, finding(clause, expected, found));
	return -1;
}

int verify_skip(struct verify *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->skipped, sizeof(v->skipped), fmt, ap);
	va_end(ap);
	return 1;
}

void verify_note(json_t *list, const char *clause, const char *expected, const char *fmt, ...)
{
	char found[2400];
	json_t *made, *e;
	size_t i;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(found, sizeof(found), fmt, ap);
	va_end(ap);
	made = finding(clause, expected, found);
	json_array_foreach(list, i, e)
		if (json_equal(e, made)) {
			json_decref(made);
			return;
		}
	json_array_append_new(list, made);
}

/* What a check has left is removed before the next begins. */
static void clean(struct verify *v)
{
	uint32_t done_ms = v->limits.done_ms;
	json_t *failures = v->failures;
	bool stopped = v->stopped;

	v->stopped = false;
	v->failures = json_array();
	v->on_counted = NULL;
	v->limits.done_ms = done_ms < CLEAN_MS ? done_ms : CLEAN_MS;
	while (v->lives) {
		struct life *l = v->lives;

		json_array_append_new(v->made, json_string(l->uid));
		for (size_t i = 0; i < l->n; i++)
			if (l->machines[i].maybe)
				life_delete(v, l, &l->machines[i]);
		if (l->maybe)
			life_end(v, l);
		v->lives = l->next;
		life_free(l);
	}
	v->limits.done_ms = done_ms;
	json_decref(v->failures);
	v->failures = failures;
	v->stopped = v->stopped || stopped;
}

static void note_death(struct verify *v, unsigned deaths)
{
	if (v->deaths == deaths)
		return;
	v->killed = false;
	v->context[0] = 0;
	verify_fail(v, CLAUSE_SERVICES, "a worker that lives", "the worker died %u times, at last: %s", v->deaths - deaths, v->death);
}

/* Takes the failures of the check that ends. */
static json_t *row_new(struct verify *v, const char *name, const char *doc, bool skipped, uint64_t began)
{
	const char *state = json_array_size(v->failures) ? "failed" : skipped ? "skipped" : "ok";

	return json_pack("{s:s, s:s, s:s, s:I, s:o}", "check", name, "doc", doc, "state", state, "ms",
			 (json_int_t)(verify_now(v) - began), "findings", TAKE(v->failures));
}

/* What the plugin can do is told when it is loaded; check_load says why it is not. */
static int check_loaded(struct verify *v)
{
	return v->loaded ? 0 : check_load(v);
}

static json_t *run_check(struct verify *v, const struct verify_check *check)
{
	uint64_t began = verify_now(v);
	unsigned deaths = v->deaths;
	int skipped;
	json_t *row;

	v->check = check;
	v->failures = json_array();
	v->at = json_array();
	v->skipped[0] = v->did[0] = 0;
	v->context[0] = 0;
	json_decref(provider_rescan(v->pool)); /* ends a quarantine */
	skipped = verify_fresh(v, 0, NULL) || check_loaded(v) ? 0 : check->run(v);
	rig_said(v);
	v->context[0] = 0;
	v->killed = false;
	v->kill_n = 0;
	if (v->stopped)
		verify_fail(v, "", "its end", "it was ended by a signal");
	note_death(v, deaths);
	json_decref(provider_rescan(v->pool));
	clean(v);
	row = row_new(v, check->name, check->doc, skipped > 0, began);
	if (*v->did)
		json_object_set_new(row, "did", json_string(v->did));
	if (json_array_size(v->at))
		json_object_set(row, "at", v->at);
	json_decref(TAKE(v->at));
	if (skipped > 0)
		json_object_set_new(row, "why", json_string(v->skipped));
	return row;
}

/* What the infrastructure itself still has of what was made here. */
static json_t *run_left(struct verify *v)
{
	uint64_t began = verify_now(v);
	json_t *row, *items, *e;
	size_t i, k;

	v->stopped = false;
	v->failures = json_array();
	json_decref(provider_rescan(v->pool));
	verify_fresh(v, 0, NULL);
	if (v->limits.done_ms > CLEAN_MS)
		v->limits.done_ms = CLEAN_MS;
	items = json_array_size(v->made) ? life_inventory(v, ACCOUNT, NULL) : NULL;
	json_array_foreach(items, i, e)
		for (k = 0; k < json_array_size(v->made); k++)
			if (strcmp(json_string_value(json_array_get(v->made, k)), json_str_or(e, "cluster", "")) == 0)
				verify_fail(v, CLAUSE_DELETE, "nothing: remove it by hand", "left behind: %s %s (id %s, cluster %s)",
					    json_str_or(e, "kind", ""), json_str_or(e, "name", ""), json_str_or(e, "id", ""),
					    json_str_or(e, "cluster", ""));
	json_decref(items);
	row = row_new(v, "left", "nothing of what was made here is left", false, began);
	return row;
}

/* uids say nothing here: each is one of this run alone. */
static void without_uids(const char *request, char *out, size_t size)
{
	size_t len = 0;

	while (*request && len + 4 < size) {
		size_t hex = strspn(request, "0123456789abcdef");

		if (hex >= 16) {
			len += (size_t)snprintf(out + len, size - len, "UID");
			request += hex;
		} else {
			out[len++] = *request++;
		}
	}
	out[len] = 0;
}

static void show_requests(const json_t *at)
{
	char request[80];
	json_t *e;
	size_t i;

	printf("        at:        ");
	json_array_foreach(at, i, e) {
		without_uids(json_string_value(e), request, sizeof(request));
		printf("%s%s", i ? ", " : "", show_text(request));
	}
	putchar('\n');
}

static void show_row(const json_t *row)
{
	const char *state = json_str_or(row, "state", "");
	json_t *f;
	size_t i;

	printf("%-7s %-13s %6.1f s  %s%s%s\n", strcmp(state, "failed") == 0 ? "FAILED" : state, json_str_or(row, "check", ""),
	       (double)json_int_or(row, "ms", 0) / 1000, json_str_or(row, "doc", ""), json_str(row, "did") ? ": " : "",
	       json_str_or(row, "did", ""));
	if (json_object_get(row, "at"))
		show_requests(json_object_get(row, "at"));
	if (json_str(row, "why"))
		printf("        why:       %s\n", show_text(json_str(row, "why")));
	json_array_foreach(json_object_get(row, "findings"), i, f) {
		printf("        found:     %s\n", show_text(json_str_or(f, "found", "")));
		printf("        expected:  %s\n", show_text(json_str_or(f, "expected", "")));
		if (*json_str_or(f, "clause", ""))
			printf("        clause:    %s\n", show_text(json_str_or(f, "clause", "")));
	}
	stdout_flush();
}

static bool wanted(const struct ctl *c, const char *name)
{
	size_t len = strlen(name);
	const char *at = c->only;

	while (at && *at) {
		size_t n = strcspn(at, ",");

		if (n == len && strncmp(at, name, n) == 0)
			return true;
		at += n + (at[n] == ',');
	}
	return !c->only;
}

/* A name that is none would be a check that is not made. */
static bool only_known(const struct ctl *c)
{
	const char *at = c->only;

	while (at && *at) {
		size_t n = strcspn(at, ","), i = 0;

		while (verify_checks[i].name &&
		       (strlen(verify_checks[i].name) != n || strncmp(verify_checks[i].name, at, n) != 0))
			i++;
		if (!verify_checks[i].name) {
			fprintf(stderr, "pcgctl: there is no check \"%.*s\"; pcgctl plugin verify --list names them\n", (int)n,
				show_text(at));
			return false;
		}
		at += n + (at[n] == ',');
	}
	return true;
}

static void add_row(json_t *rows, json_t *row, unsigned counts[3], bool json)
{
	const char *state = json_str_or(row, "state", "");

	counts[strcmp(state, "ok") == 0 ? 0 : strcmp(state, "failed") == 0 ? 1 : 2]++;
	if (!json)
		show_row(row);
	json_array_append_new(rows, row);
}

static int run_checks(struct verify *v, const struct ctl *c)
{
	AUTO_JSON json_t *rows = json_array();
	unsigned counts[3] = { 0 };

	for (const struct verify_check *k = verify_checks; k->name && !v->stopped; k++)
		if (wanted(c, k->name))
			add_row(rows, run_check(v, k), counts, c->json);
	add_row(rows, run_left(v), counts, c->json);
	if (c->json) {
		AUTO_JSON json_t *all = json_pack("{s:s, s:s, s:O, s:i, s:i, s:i}", "plugin", v->provider, "version",
						  json_str_or(v->loaded, "version", ""), "items", rows, "ok", (int)counts[0],
						  "failed", (int)counts[1], "skipped", (int)counts[2]);

		show_json(all);
	} else {
		printf("%u ok, %u failed, %u skipped\n", counts[0], counts[1], counts[2]);
	}
	return counts[1] ? CTL_FAILED : CTL_DONE;
}

static int list_checks(const struct ctl *c)
{
	AUTO_JSON json_t *items = json_array();

	for (const struct verify_check *k = verify_checks; k->name; k++)
		if (c->json)
			json_array_append_new(items, json_pack("{s:s, s:s}", "check", k->name, "doc", k->doc));
		else
			printf("%-13s  %s\n", k->name, k->doc);
	if (c->json) {
		AUTO_JSON json_t *all = json_pack("{s:O}", "items", items);

		show_json(all);
	}
	return CTL_DONE;
}

static int verify(const struct ctl *c, const char *file)
{
	struct verify v = { .kubeconfig = c->kubeconfig, .closed_fd = -1, .said_fd = -1, .stderr_fd = -1, .documents = json_array(), .leaks = json_array(),
			    .made = json_array() };
	struct pcg_error err;
	int status, r = input_read(&v, file, c->with, &err);

	if (r) {
		status = ctl_complain(&err);
		status = status == CTL_FAILED ? CTL_USAGE : status;
	} else {
		r = rig_begin(&v, &err);
		status = r ? ctl_complain(&err) : run_checks(&v, c);
		rig_end(&v);
	}
	json_decref(v.documents);
	json_decref(v.leaks);
	json_decref(v.made);
	input_free(&v);
	return status;
}

int plugin_verify(const struct ctl *c, const char *file)
{
	if (c->schema) {
		schema_print();
		return CTL_DONE;
	}
	if (c->list)
		return list_checks(c);
	if (!file || !c->with) {
		fprintf(stderr, "pcgctl: plugin verify needs %s; pcgctl --help says what is allowed\n",
			file ? "--with DOCS.json" : "the plugin's file");
		return CTL_USAGE;
	}
	if (!only_known(c))
		return CTL_USAGE;
	log_set_level(LOG_L_ERROR); /* what happens to workers is told by the checks */
	http_global_init();
	return verify(c, file);
}
