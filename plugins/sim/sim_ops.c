/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An answer is asked for again after this when no hint of the watch comes earlier. */
#define ASK_FIRST_MS 100
#define ASK_MAX_MS 2000

static void sim_problem(json_t *problems, const char *field, const char *text, const char *remedy)
{
	json_array_append_new(problems, json_pack("{s:s, s:s, s:s}", "field", field, "text", text, "remedy", remedy));
}

static bool sim_is_url(const char *url)
{
	const char *host = strncmp(url, "http://", 7) == 0 ? url + 7 : strncmp(url, "https://", 8) == 0 ? url + 8 : NULL;

	return host && *host && *host != '/' && *host != ':' && !strpbrk(host, " \t@?#/");
}

/* The request's own errors become problems of the account, so that all of them are shown together. */
static void sim_validate_request(struct sim *s, struct pcg_call *call, json_t *problems, json_t **account)
{
	char *url = NULL, *auth = NULL;
	struct pcg_http_header header = { "authorization", NULL };
	struct pcg_http_request req = { .struct_size = sizeof(req), .method = "GET", .headers = &header, .n_headers = 1 };
	struct pcg_http_response resp = { .struct_size = sizeof(resp) };
	char text[512];

	if (asprintf(&url, "%s/v1/account", s->endpoint) < 0 || asprintf(&auth, "Bearer %s", s->token) < 0)
		abort();
	req.url = url;
	header.value = auth;
	s->svc->http(s->host, call, &req, &resp);
	if (!resp.status)
		sim_problem(problems, "endpoint", resp.error ? resp.error : "no answer",
			    "Start pcg-simcloud, or correct host and port of \"endpoint\".");
	else if (resp.status == 401)
		sim_problem(problems, "token", "the simulated cloud refused the token",
			    "Put the token that pcg-simcloud was started with into the cloud account.");
	else if (resp.status != 200) {
		snprintf(text, sizeof(text), "GET %s answered %u", url, resp.status);
		sim_problem(problems, "endpoint", text, "Give the URL of a pcg-simcloud.");
	} else {
		*account = json_loadb(resp.body, resp.body_len, 0, NULL);
		if (!*account || !json_object_get(*account, "capacity"))
			sim_problem(problems, "endpoint", "the answer is not that of a pcg-simcloud",
				    "Give the URL of a pcg-simcloud.");
	}
	s->svc->http_free(s->host, &resp);
	explicit_bzero(auth, strlen(auth));
	free(auth);
	free(url);
}

void sim_account_validate(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin, given = *s;
	json_t *doc = sim_doc(s, call, text), *problems, *account = NULL, *reply;
	const char *endpoint, *token;

	if (!doc)
		return;
	problems = json_array();
	endpoint = sim_at(doc, "account", "endpoint");
	token = sim_at(doc, "account", "token");
	given.endpoint = endpoint ? endpoint : "";
	given.token = token ? token : "";
	if (!*given.endpoint)
		sim_problem(problems, "endpoint", "the endpoint is missing", "Give the URL of a pcg-simcloud, http://HOST:PORT.");
	else if (!sim_is_url(given.endpoint))
		sim_problem(problems, "endpoint", "the endpoint is not a URL of the form http://HOST:PORT",
			    "Give the URL of a pcg-simcloud, without a path.");
	if (!*given.token)
		sim_problem(problems, "token", "the token is missing", "Give the token that pcg-simcloud was started with.");
	if (*given.endpoint && sim_is_url(given.endpoint))
		sim_validate_request(&given, call, problems, &account);
	if (json_array_size(problems))
		reply = json_pack("{s:O}", "problems", problems);
	else
		reply = json_pack("{s:O?, s:[]}", "version", json_object_get(account, "version"), "warnings");
	sim_done(s, call, reply);
	json_decref(account);
	json_decref(problems);
	json_decref(doc);
}

static void sim_cluster_check(struct sim *s, struct pcg_call *call, const json_t *doc)
{
	json_t *problems = json_array(), *reply, *pool;
	int status;
	size_t i, wanted = 0;

	json_array_foreach(json_object_get(json_object_get(json_object_get(doc, "cluster"), "spec"), "pools"), i, pool)
		wanted += (size_t)json_integer_value(json_object_get(pool, "size"));
	if (!sim_http(s, call, "GET", "/v1/account", NULL, &status, &reply)) {
		json_decref(problems);
		return;
	}
	if (status != 200) {
		sim_refused(s, call, "GET /v1/account", status, reply);
		json_decref(problems);
	} else {
		json_int_t left = json_integer_value(json_object_get(reply, "capacity")) -
				  json_integer_value(json_object_get(reply, "machines"));

		if ((json_int_t)wanted > left)
			sim_problem(problems, "pools", "the simulated cloud has no room for that many machines",
				    "Ask for fewer machines, or raise \"capacity\".");
		sim_done(s, call, json_pack("{s:o, s:n}", "problems", problems, "endpoint"));
	}
	json_decref(reply);
}

void sim_cluster_ensure(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *body, *reply;
	char path[128];
	int status;

	if (!doc)
		return;
	if (json_is_true(json_object_get(doc, "check"))) {
		sim_cluster_check(s, call, doc);
		json_decref(doc);
		return;
	}
	snprintf(path, sizeof(path), "/v1/clusters/%s", sim_at(doc, "cluster", "uid") ?: "");
	body = json_pack("{s:s}", "name", sim_at(doc, "cluster", "name") ?: "");
	s->svc->fault_point(s->host, "sim.before_put_cluster");
	if (sim_http(s, call, "PUT", path, body, &status, &reply)) {
		s->svc->fault_point(s->host, "sim.after_put_cluster");
		if (status == 200)
			sim_done(s, call, json_pack("{s:O, s:{s:O}}", "endpoint", json_object_get(reply, "endpoint"), "observed",
						    "endpoint", json_object_get(reply, "endpoint")));
		else
			sim_refused(s, call, "PUT of the cluster's endpoint", status, reply);
		json_decref(reply);
	}
	json_decref(body);
	json_decref(doc);
}

void sim_cluster_delete(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *reply;
	char path[128];
	int status;

	if (!doc)
		return;
	snprintf(path, sizeof(path), "/v1/clusters/%s", sim_at(doc, "cluster", "uid") ?: "");
	s->svc->fault_point(s->host, "sim.before_delete_cluster");
	if (sim_http(s, call, "DELETE", path, NULL, &status, &reply)) {
		s->svc->fault_point(s->host, "sim.after_delete_cluster");
		if (status == 200 || status == 404)
			sim_done(s, call, json_pack("{s:[]}", "left"));
		else
			sim_refused(s, call, "DELETE of the cluster's endpoint", status, reply);
		json_decref(reply);
	}
	json_decref(doc);
}

static json_t *sim_observed(const json_t *machine)
{
	return json_pack("{s:O?, s:O?, s:O?, s:O?}", "id", json_object_get(machine, "uid"), "providerID",
			 json_object_get(machine, "providerID"), "addresses", json_object_get(machine, "addresses"), "state",
			 json_object_get(machine, "state"));
}

/* Asked again later, each time a little later: hints of the watch make it earlier. */
static void sim_later(struct sim *s, struct pcg_call *call, const json_t *doc)
{
	json_int_t asked = json_integer_value(json_object_get(json_object_get(doc, "checkpoint"), "asked"));
	uint32_t after = asked < 5 ? ASK_FIRST_MS << asked : ASK_MAX_MS;
	char checkpoint[64];

	snprintf(checkpoint, sizeof(checkpoint), "{\"asked\":%d}", (int)asked + 1);
	s->svc->pending(call, after < ASK_MAX_MS ? after : ASK_MAX_MS, NULL, checkpoint);
}

static void sim_machine_answer(struct sim *s, struct pcg_call *call, const json_t *doc, const json_t *machine)
{
	const char *state = sim_str(machine, "state") ?: "";
	char text[512];

	if (strcmp(state, "on") == 0 && !json_object_get(machine, "task")) {
		sim_done(s, call, json_pack("{s:o}", "observed", sim_observed(machine)));
	} else if (strcmp(state, "failed") == 0) {
		snprintf(text, sizeof(text), "machine %s failed: %s", sim_str(machine, "name") ?: "",
			 sim_str(machine, "console") ?: "");
		s->svc->error(call, PCG_ERR_RETRY, text, "Nothing: it is made again.");
	} else {
		sim_later(s, call, doc);
	}
}

static json_t *sim_machine_body(const json_t *doc)
{
	json_t *cloud = json_object_get(json_object_get(json_object_get(doc, "machine"), "poolSpec"), "cloudConfig");
	json_t *instance = json_object_get(cloud, "instanceType");
	json_int_t cpus = json_integer_value(json_object_get(instance, "numCPUs"));
	json_int_t memory = json_integer_value(json_object_get(instance, "memoryMiB"));
	json_t *addresses = json_object_get(json_object_get(doc, "machine"), "addresses");

	return json_pack("{s:s, s:s, s:s, s:s, s:O, s:s, s:I, s:I, s:s*}", "name", sim_at(doc, "machine", "name") ?: "", "pool",
			 sim_at(doc, "machine", "pool") ?: "", "cluster", sim_at(doc, "cluster", "uid") ?: "", "role",
			 sim_at(doc, "machine", "role") ?: "worker", "mark", json_object_get(doc, "mark"), "userData",
			 sim_str(doc, "userData") ?: "", "cpus", cpus ? cpus : 2, "memoryMiB", memory ? memory : 4096, "address",
			 sim_str(json_array_get(addresses, 0), "address"));
}

static void sim_machine_put(struct sim *s, struct pcg_call *call, const json_t *doc, const char *path)
{
	json_t *body = sim_machine_body(doc), *reply;
	int status;

	if (!body) {
		s->svc->error(call, PCG_ERR_BUG, "machine_ensure was given no machine, mark or user data", "");
		return;
	}
	s->svc->fault_point(s->host, "sim.before_put_machine");
	if (sim_http(s, call, "PUT", path, body, &status, &reply)) {
		s->svc->fault_point(s->host, "sim.after_put_machine");
		if (status == 200 || status == 202)
			sim_machine_answer(s, call, doc, reply);
		else
			sim_refused(s, call, "PUT of the machine", status, reply);
		json_decref(reply);
	}
	json_decref(body);
}

/* Its task failed: what started it the first time does so again, and the cause is told. */
static void sim_machine_again(struct sim *s, struct pcg_call *call, const json_t *doc, const char *path, const json_t *machine)
{
	json_t *body = sim_machine_body(doc), *reply = NULL;
	int status;

	if (!body)
		s->svc->error(call, PCG_ERR_BUG, "machine_ensure was given no machine, mark or user data", "");
	else if (sim_http(s, call, "PUT", path, body, &status, &reply)) {
		if (status == 200 || status == 202)
			sim_machine_answer(s, call, doc, machine);
		else
			sim_refused(s, call, "PUT of the machine", status, reply);
	}
	json_decref(reply);
	json_decref(body);
}

void sim_machine_ensure(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *reply;
	char path[128];
	int status;

	if (!doc)
		return;
	snprintf(path, sizeof(path), "/v1/machines/%s", sim_at(doc, "machine", "uid") ?: "");
	if (!json_is_object(json_object_get(doc, "checkpoint"))) {
		sim_machine_put(s, call, doc, path);
	} else if (sim_http(s, call, "GET", path, NULL, &status, &reply)) {
		const char *state = sim_str(reply, "state") ?: "";

		if (status == 404)
			sim_machine_put(s, call, doc, path);
		else if (status == 200 && strcmp(state, "failed") == 0)
			sim_machine_again(s, call, doc, path, reply);
		else if (status == 200)
			sim_machine_answer(s, call, doc, reply);
		else
			sim_refused(s, call, "GET of the machine", status, reply);
		json_decref(reply);
	}
	json_decref(doc);
}

/* The machine's own uid, or that of one which the cluster's controllers made. */
static const char *sim_machine_uid(const json_t *doc)
{
	const char *id = sim_at(doc, "observed", "id");

	return id && *id ? id : sim_at(doc, "machine", "uid") ?: "";
}

void sim_machine_delete(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *reply;
	bool asked;
	char path[128];
	int status;

	if (!doc)
		return;
	asked = json_integer_value(json_object_get(json_object_get(doc, "checkpoint"), "asked")) > 0;
	snprintf(path, sizeof(path), "/v1/machines/%s", sim_machine_uid(doc));
	s->svc->fault_point(s->host, "sim.before_delete_machine");
	if (sim_http(s, call, asked ? "GET" : "DELETE", path, NULL, &status, &reply)) {
		s->svc->fault_point(s->host, "sim.after_delete_machine");
		if (status == 404)
			sim_done(s, call, json_object());
		else if (status == 200 && strcmp(sim_str(reply, "state") ?: "", "deleting") != 0)
			/* The deletion failed there: it is asked for anew. */
			s->svc->pending(call, ASK_FIRST_MS, NULL, "{}");
		else if (status == 200 || status == 202)
			sim_later(s, call, doc);
		else
			sim_refused(s, call, "DELETE of the machine", status, reply);
		json_decref(reply);
	}
	json_decref(doc);
}

void sim_machine_redact(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *reply;
	char path[128];
	int status;

	if (!doc)
		return;
	snprintf(path, sizeof(path), "/v1/machines/%s/redact", sim_machine_uid(doc));
	s->svc->fault_point(s->host, "sim.before_redact");
	if (sim_http(s, call, "POST", path, NULL, &status, &reply)) {
		s->svc->fault_point(s->host, "sim.after_redact");
		if (status == 200)
			sim_done(s, call, json_object());
		else
			sim_refused(s, call, "redaction of the machine's user data", status, reply);
		json_decref(reply);
	}
	json_decref(doc);
}

void sim_machine_power_off(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *reply, *body;
	char path[128];
	int status;

	if (!doc)
		return;
	body = json_pack("{s:b}", "on", 0);
	snprintf(path, sizeof(path), "/v1/machines/%s/power", sim_machine_uid(doc));
	s->svc->fault_point(s->host, "sim.before_power_off");
	if (sim_http(s, call, "POST", path, body, &status, &reply)) {
		s->svc->fault_point(s->host, "sim.after_power_off");
		if (status == 404 || (status == 200 && strcmp(sim_str(reply, "state") ?: "", "off") == 0))
			sim_done(s, call, json_object());
		else if (status == 200 || status == 202)
			sim_later(s, call, doc);
		else
			sim_refused(s, call, "power off of the machine", status, reply);
		json_decref(reply);
	}
	json_decref(body);
	json_decref(doc);
}

static json_t *sim_inventory_machine(const json_t *m)
{
	const json_t *mark = json_object_get(m, "mark");
	const char *state = sim_str(m, "state") ?: "";

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:s}", "id", sim_str(m, "uid") ?: "", "name",
			 sim_str(m, "name") ?: "", "cluster", sim_str(mark, "cluster") ?: "", "pool",
			 sim_str(mark, "pool") ?: "", "machine", sim_str(mark, "machine") ?: "", "kind", "machine", "power",
			 strcmp(state, "off") == 0 || strcmp(state, "failed") == 0 ? "off" : "on", "providerID",
			 sim_str(m, "providerID") ?: "", "addresses", json_object_get(m, "addresses"), "role",
			 sim_str(m, "role") ?: "");
}

void sim_inventory(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_t *doc = sim_doc(s, call, text), *reply, *items, *e;
	const char *cluster;
	char path[160];
	int status;
	size_t i;

	if (!doc)
		return;
	cluster = sim_str(doc, "cluster");
	snprintf(path, sizeof(path), "/v1/machines%s%s", cluster ? "?cluster=" : "", cluster ? cluster : "");
	json_decref(doc);
	if (!sim_http(s, call, "GET", path, NULL, &status, &reply))
		return;
	if (status != 200) {
		sim_refused(s, call, "the inventory", status, reply);
		json_decref(reply);
		return;
	}
	items = json_array();
	json_array_foreach(json_object_get(reply, "items"), i, e)
		json_array_append_new(items, sim_inventory_machine(e));
	json_array_foreach(json_object_get(reply, "clusters"), i, e)
		json_array_append_new(items, json_pack("{s:O, s:O, s:O, s:s, s:s, s:s, s:s, s:s, s:[], s:s}", "id",
						       json_object_get(e, "uid"), "name", json_object_get(e, "name"), "cluster",
						       json_object_get(e, "uid"), "pool", "", "machine", "", "kind", "cluster",
						       "power", "off", "providerID", "", "addresses", "role", ""));
	sim_done(s, call, json_pack("{s:o}", "items", items));
	json_decref(reply);
}

void sim_watch(void *plugin, struct pcg_call *call, const char *text)
{
	struct sim *s = plugin;
	json_int_t since = 0;
	bool first = true;

	while (s->svc->remaining_ms(call)) {
		json_t *reply, *uid;
		char path[96];
		int status;
		size_t i;

		snprintf(path, sizeof(path), "/v1/wait?since=%" JSON_INTEGER_FORMAT, since);
		if (!sim_http(s, call, "GET", path, NULL, &status, &reply))
			return;
		if (status != 200) {
			sim_refused(s, call, "the wait for changes", status, reply);
			json_decref(reply);
			return;
		}
		since = json_integer_value(json_object_get(reply, "seq"));
		json_array_foreach(json_object_get(reply, "changed"), i, uid)
			if (!first || json_is_true(json_object_get(reply, "reset")))
				s->svc->hint(s->host, json_string_value(uid));
		first = false;
		json_decref(reply);
	}
	s->svc->error(call, PCG_ERR_CANCELLED, "the watch was ended", "");
}
