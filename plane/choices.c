/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/api.h"

#include "plane/gateways.h"
#include "plane/rows.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/*
 * What the infrastructure of an account has to choose from, asked of its gateway. /v1/pcg/{uid}/picklists/{kind} hands a
 * page on as it comes. Palette's own paths have no pages: they are gathered from several lists, of names
 * alone, and end with an error past GATHER_MAX names, which names the path that has pages.
 */

#define PAGE 500
#define GATHER_MAX 5000

struct choice {
	struct plane *p;
	struct http_exchange *x;
	struct gateways_query *query;
	char gateway[256];
	json_t *account;       /* of the query; secret */
	/* of what is gathered; NULL: one page is handed on */
	json_t *steps;         /* [{kind, filter, into: [names]}], into shared with the reply */
	size_t at, names;
	json_t *reply;
	char token[128];
	bool goes_on;          /* with a list of before */
};

static void choice_free(struct choice *ch)
{
	json_wipe(ch->account);
	json_decref(ch->steps);
	json_decref(ch->reply);
	free(ch);
}

static void on_gone(void *arg, struct http_exchange *x)
{
	struct choice *ch = arg;

	gateways_query_cancel(ch->query);
	choice_free(ch);
}

static void refuse(struct http_exchange *x, int status, const char *code, const char *text, const char *remedy)
{
	AUTO_FREE char *whole = NULL;

	if (asprintf(&whole, "%s%s%s", text, *remedy ? "; " : "", remedy) < 0)
		abort();
	api_answer_error(x, status, code, whole, NULL);
}

/* An error of the gateway as one of this API: what the user may mend is 4xx. */
static void answer_error(struct choice *ch, const json_t *reply, const struct pcg_error *err)
{
	static const struct { const char *class, *code; int status; } table[] = {
		{ "not_found", "ResourceNotFound", 404 }, { "conflict", "ListExpired", 409 },
		{ "auth", "CloudAccountInvalid", 400 },   { "quota", "TooManyRequests", 429 },
		{ "permanent", "InvalidRequest", 400 },
	};
	const json_t *error = json_object_get(reply, "error");
	const char *class = json_str_or(error, "class", "");
	struct http_exchange *x = ch->x;

	/* Only a list that was open can have been closed; else a name is not unique. */
	if (!ch->goes_on && strcmp(class, "conflict") == 0)
		class = "permanent";
	if (!reply) {
		refuse(x, 408, "GatewayTimeout", err->text, "");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (strcmp(class, table[i].class) == 0) {
			refuse(x, table[i].status, table[i].code, json_str_or(error, "text", ""), json_str_or(error, "remedy", ""));
			return;
		}
	refuse(x, 503, "InfrastructureUnavailable", json_str_or(error, "text", "the gateway could not list"),
	       json_str_or(error, "remedy", ""));
}

static void on_page(void *arg, const json_t *reply, const struct pcg_error *err)
{
	struct choice *ch = arg;
	json_t *items = json_at(reply, "doc.items");

	http_exchange_on_gone(ch->x, NULL, NULL);
	if (!reply || strcmp(json_str_or(reply, "status", ""), "done") != 0) {
		answer_error(ch, reply, err);
	} else {
		AUTO_JSON json_t *out = json_pack("{s:O?,s:{s:s,s:I}}", "items", items, "listmeta", "continue",
						  json_str_or(reply, "doc.continue", ""), "count",
						  (json_int_t)json_array_size(items));

		http_exchange_reply_json(ch->x, 200, out);
	}
	choice_free(ch);
}

/* The account of the request, with its secrets; 0, or refused. kind NULL: of any cloud. */
static int load_account(struct api_call *c, const char *uid, const char *kind, json_t **row, json_t **account,
			struct pcg_error *err)
{
	json_t *spec = NULL;
	int r = rows_get(c->p, ROWS_ACCOUNT, uid, row, err);

	if (r > 0 && (!kind || strcmp(json_str_or(*row, "kind", ""), kind) == 0))
		r = rows_secret_get_json(c->p, uid, "spec", &spec, err);
	if (r < 0)
		return r;
	if (!spec)
		return api_not_found(c, "cloud account", uid);
	*account = json_pack("{s:s,s:s,s:s,s:o}", "uid", uid, "name", json_str_or(*row, "metadata.name", ""), "provider",
			     json_str_or(*row, "kind", ""), "spec", spec);
	return 0;
}

/* An overlord's path names no account: it is the gateway's only one, or the one in ?accountUid=. */
static int overlord_account(struct api_call *c, const char *overlord, const char *kind, char uid[256], struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	const char *given = api_query(c, "accountUid");
	json_t *doc;
	size_t i, n = 0;
	int r;

	if (given) {
		snprintf(uid, 256, "%s", given);
		return 0;
	}
	r = rows_list(c->p, ROWS_ACCOUNT, overlord, &docs, err);
	if (r)
		return r;
	json_array_foreach(docs, i, doc)
		if (!kind || strcmp(json_str_or(doc, "kind", ""), kind) == 0) {
			snprintf(uid, 256, "%s", json_str_or(doc, "uid", ""));
			n++;
		}
	if (n == 1)
		return 0;
	return api_refuse(c, 400, "InvalidRequest", "gateway '%.64s' has %zu accounts: name one with ?accountUid=", overlord, n);
}

/* The gateway of the path is the account's. */
static int check_overlord(struct api_call *c, const json_t *account, const char *uid)
{
	const char *overlord = json_str_or(account, "overlord", "");

	return strcmp(overlord, c->param[0]) == 0 ? 0 :
	       api_refuse(c, 400, "InvalidRequest", "account '%.64s' belongs to gateway '%.64s'", uid, overlord);
}

static int ask(struct choice *ch, const char *kind, const json_t *filter, json_int_t limit, const char *token,
	       gateways_query_cb done, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = json_pack("{s:s,s:O,s:I,s:s}", "kind", kind, "filter", filter, "limit", limit, "continue", token);

	ch->goes_on = *token;
	return gateways_query(ch->p, ch->gateway, "pick_list", ch->account, doc, done, ch, &ch->query, err);
}

static int refuse_query(struct api_call *c, int r, const struct pcg_error *err)
{
	return api_refuse(c, r == PCG_EQUOTA ? 429 : 400, r == PCG_EQUOTA ? "TooManyRequests" : "GatewayOffline", "%s; %s",
			  err->text, err->remedy);
}

static struct choice *choice_new(struct api_call *c, const char *gateway, json_t *account)
{
	struct choice *ch = calloc(1, sizeof(*ch));

	assert(ch);
	ch->p = c->p;
	ch->x = c->x;
	ch->account = account;
	snprintf(ch->gateway, sizeof(ch->gateway), "%s", gateway);
	return ch;
}

/* Whatever it does not know the provider refuses by its name: a filter that is passed over would show too much. */
static json_t *filter_of(struct api_call *c)
{
	static const char *const ours[] = { "accountUid", "limit", "continue" };
	const json_t *given = http_exchange_queries(c->x);
	json_t *filter = given ? json_copy((json_t *)(uintptr_t)given) : json_object();

	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		json_object_del(filter, ours[i]);
	return filter;
}

/* limit=0 means all in this API; a page is what there is here. False: it is no number. */
static bool limit_of(struct api_call *c, json_int_t *limit)
{
	const char *text = api_query(c, "limit");

	*limit = text && *text ? strtoll(text, NULL, 10) : 50;
	if (*limit == 0)
		*limit = PAGE;
	return !text || strspn(text, "0123456789") == strlen(text);
}

/* GET /v1/pcg/{gateway}/picklists/{kind}?accountUid=[&limit=][&continue=][&datacenter= ...] */
static int picklist(struct api_call *c, struct pcg_error *err)
{
	AUTO_JSON json_t *overlord = NULL;
	AUTO_JSON json_t *row = NULL;
	AUTO_JSON json_t *filter = filter_of(c);
	json_t *account = NULL;
	const char *token = api_query(c, "continue");
	struct choice *ch;
	char uid[256];
	json_int_t limit;
	int r = rows_get(c->p, ROWS_OVERLORD, c->param[0], &overlord, err);

	if (r <= 0)
		return r ? r : api_not_found(c, "gateway", c->param[0]);
	if (!limit_of(c, &limit))
		return api_refuse(c, 400, "InvalidRequest", "limit '%.20s' is not a number", api_query(c, "limit"));
	r = overlord_account(c, c->param[0], NULL, uid, err);
	if (!r)
		r = load_account(c, uid, NULL, &row, &account, err);
	if (!r)
		r = check_overlord(c, row, uid);
	if (r) {
		json_wipe(account);
		return r;
	}
	ch = choice_new(c, c->param[0], account);
	r = ask(ch, c->param[1], filter, limit, token ? token : "", on_page, err);
	if (r) {
		choice_free(ch);
		return refuse_query(c, r, err);
	}
	http_exchange_on_gone(c->x, on_gone, ch);
	return API_LATER;
}

static void step_add(struct choice *ch, const char *kind, const char *datacenter, const char *cluster, json_t *into)
{
	json_t *filter = json_object();

	if (datacenter)
		json_object_set_new(filter, "datacenter", json_string(datacenter));
	if (cluster)
		json_object_set_new(filter, "cluster", json_string(cluster));
	json_array_append_new(ch->steps, json_pack("{s:s,s:o,s:O}", "kind", kind, "filter", filter, "into", into));
}

/* By its name, unless others have the same: placements know them by their paths, too. */
static const char *datacenter_name(const json_t *items, const json_t *dc)
{
	const char *name = json_str_or(dc, "name", "");
	size_t i, n = 0;
	json_t *other;

	json_array_foreach((json_t *)(uintptr_t)items, i, other)
		n += strcmp(json_str_or(other, "name", ""), name) == 0;
	return n > 1 ? json_str_or(dc, "path", "") : name;
}

/* For each datacenter what is asked of it; its item of the reply grows with the answers. */
static void datacenters_found(struct choice *ch, const json_t *items)
{
	json_t *dc, *out, *clusters, *folders;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)items, i, dc) {
		clusters = json_array();
		folders = json_array();
		out = json_pack("{s:s,s:o,s:o}", "datacenter", datacenter_name(items, dc), "computeclusters", clusters, "folders",
				folders);
		json_array_append_new(json_object_get(ch->reply, "items"), out);
		step_add(ch, "clusters", json_str_or(dc, "path", ""), NULL, clusters);
		step_add(ch, "folders", json_str_or(dc, "path", ""), NULL, folders);
	}
}

/* A folder as a placement names it: below the datacenter's folder of machines, whose own name nobody writes. */
static const char *folder_name(const json_t *step, const json_t *item)
{
	const char *path = json_str_or(item, "path", ""), *datacenter = json_str_or(step, "filter.datacenter", "");
	size_t n = strlen(datacenter);

	return strncmp(path, datacenter, n) == 0 && strncmp(path + n, "/vm/", 4) == 0 ? path + n + 4 : NULL;
}

static void names_found(struct choice *ch, const json_t *step, const json_t *items)
{
	bool folders = strcmp(json_str_or(step, "kind", ""), "folders") == 0;
	json_t *item, *into = json_object_get(step, "into");
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)items, i, item) {
		const char *name = folders ? folder_name(step, item) : json_str_or(item, "name", "");

		if (name)
			json_array_append_new(into, json_string(name));
	}
	ch->names += json_array_size(items);
}

static void on_step(void *arg, const json_t *reply, const struct pcg_error *err);

/* The next question, or the answer, which is the end. The exchange is not ours any more once it is answered. */
static void gather_next(struct choice *ch)
{
	struct pcg_error err = { 0 };
	const json_t *step = json_array_get(ch->steps, ch->at);

	if (step && ch->names <= GATHER_MAX &&
	    !ask(ch, json_str_or(step, "kind", ""), json_object_get(step, "filter"), PAGE, ch->token, on_step, &err))
		return;
	http_exchange_on_gone(ch->x, NULL, NULL);
	if (ch->names > GATHER_MAX)
		refuse(ch->x, 400, "TooManyObjects", "there are more objects than this list of names takes",
		       "use /v1/pcg/{uid}/picklists/{kind}, which has pages");
	else if (step)
		refuse(ch->x, 400, "GatewayOffline", err.text, err.remedy);
	else
		http_exchange_reply_json(ch->x, 200, ch->reply);
	choice_free(ch);
}

static void on_step(void *arg, const json_t *reply, const struct pcg_error *err)
{
	struct choice *ch = arg;
	const json_t *step = json_array_get(ch->steps, ch->at), *items = json_at(reply, "doc.items");

	if (!reply || strcmp(json_str_or(reply, "status", ""), "done") != 0) {
		http_exchange_on_gone(ch->x, NULL, NULL);
		answer_error(ch, reply, err);
		choice_free(ch);
		return;
	}
	if (json_is_null(json_object_get(step, "into")))
		datacenters_found(ch, items);
	else
		names_found(ch, step, items);
	snprintf(ch->token, sizeof(ch->token), "%s", json_str_or(reply, "doc.continue", ""));
	if (!*ch->token)
		ch->at++;
	gather_next(ch);
}

static int gather(struct api_call *c, struct choice *ch, struct pcg_error *err)
{
	const json_t *step = json_array_get(ch->steps, 0);
	int r = ask(ch, json_str_or(step, "kind", ""), json_object_get(step, "filter"), PAGE, "", on_step, err);

	if (r) {
		choice_free(ch);
		return refuse_query(c, r, err);
	}
	http_exchange_on_gone(c->x, on_gone, ch);
	return API_LATER;
}

/* by_account: the path's uid is the account's, else the gateway's. NULL with *r. */
static struct choice *vsphere_choice(struct api_call *c, bool by_account, int *r, struct pcg_error *err)
{
	AUTO_JSON json_t *row = NULL;
	json_t *account = NULL;
	char uid[256];

	*r = 0;
	if (by_account)
		snprintf(uid, sizeof(uid), "%s", c->param[0]);
	else
		*r = overlord_account(c, c->param[0], "vsphere", uid, err);
	if (!*r)
		*r = load_account(c, uid, "vsphere", &row, &account, err);
	if (!*r && !by_account)
		*r = check_overlord(c, row, uid);
	if (*r) {
		json_wipe(account);
		return NULL;
	}
	return choice_new(c, json_str_or(row, "overlord", ""), account);
}

static int datacenters(struct api_call *c, bool by_account, struct pcg_error *err)
{
	int r;
	struct choice *ch = vsphere_choice(c, by_account, &r, err);

	if (!ch)
		return r;
	ch->steps = json_array();
	ch->reply = json_pack("{s:[]}", "items");
	step_add(ch, "datacenters", NULL, NULL, json_null());
	return gather(c, ch, err);
}

static int resources(struct api_call *c, bool by_account, struct pcg_error *err)
{
	const char *dc = api_query(c, "datacenter"), *cluster = api_query(c, "computecluster");
	static const struct { const char *member, *kind; } parts[] = {
		{ "datastores", "datastores" }, { "networks", "networks" }, { "resourcePools", "resourcePools" },
	};
	struct choice *ch;
	json_t *out;
	int r;

	if (!dc || !*dc || !cluster || !*cluster)
		return api_refuse(c, 400, "InvalidRequest", "?datacenter= and &computecluster= are needed");
	ch = vsphere_choice(c, by_account, &r, err);
	if (!ch)
		return r;
	ch->steps = json_array();
	out = json_pack("{s:s}", "name", cluster);
	ch->reply = json_pack("{s:s,s:o}", "datacenter", dc, "computecluster", out);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		json_t *names = json_array();

		json_object_set_new(out, parts[i].member, names);
		step_add(ch, parts[i].kind, dc, cluster, names);
	}
	return gather(c, ch, err);
}

static int account_datacenters(struct api_call *c, struct pcg_error *err)
{
	return datacenters(c, true, err);
}

static int account_resources(struct api_call *c, struct pcg_error *err)
{
	return resources(c, true, err);
}

static int overlord_datacenters(struct api_call *c, struct pcg_error *err)
{
	return datacenters(c, false, err);
}

static int overlord_resources(struct api_call *c, struct pcg_error *err)
{
	return resources(c, false, err);
}

const struct api_route api_choice_routes[] = {
	{ "GET", "/v1/pcg/{}/picklists/{}", picklist, 0 },
	{ "GET", "/v1/overlords/vsphere/{}/properties/datacenters", overlord_datacenters, 0 },
	{ "GET", "/v1/overlords/vsphere/{}/properties/computecluster/resources", overlord_resources, 0 },
	{ "GET", "/v1/cloudaccounts/vsphere/{}/properties/datacenters", account_datacenters, 0 },
	{ "GET", "/v1/cloudaccounts/vsphere/{}/properties/computecluster/resources", account_resources, 0 },
	{ NULL, NULL, NULL, 0 },
};
