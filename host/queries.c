/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/queries.h"

#include "core/log.h"
#include "pcg/provider.h"

#include <assert.h>
#include <string.h>

#define QUERY_MS 28000
#define QUERIES_MAX 16 /* each may have a worker of its own */

struct query {
	struct query *next;
	struct gateway *g;
	char *id, *account;
	bool own;              /* the account is the query's */
	json_t *what;          /* of a validation: what makes another one the same; secret */
	struct query *leader;  /* that this one shares the answer of; NULL: it is asked itself */
};

static void query_reply(const struct query *q, const struct provider_reply *r)
{
	json_t *o;

	if (r->status == PCG_STEP_DONE)
		o = json_pack("{s:s,s:O?}", "status", "done", "doc", r->doc);
	else
		o = json_pack("{s:s,s:o}", "status", "error", "error", json_from_error(&r->err));
	if (q->g->link)
		link_query_reply(q->g->link, q->id, o);
	json_decref(o);
}

static void query_free(struct query *q)
{
	struct query **p = &q->g->queries;

	while (*p != q)
		p = &(*p)->next;
	*p = q->next;
	json_wipe(q->what);
	free(q->id);
	free(q->account);
	free(q);
}

void gateway_drop_queries(struct gateway *g)
{
	while (g->queries)
		query_free(g->queries);
}

static void on_query_done(void *arg, const struct provider_reply *r)
{
	struct query *q = arg, *next;

	for (struct query *f = q->g->queries; f; f = next) {
		next = f->next;
		if (f->leader == q) {
			query_reply(f, r);
			query_free(f);
		}
	}
	query_reply(q, r);
	if (q->own)
		provider_account_remove(q->g->providers, q->account);
	query_free(q);
}

static struct query *query_new(struct gateway *g, const char *id)
{
	struct query *q = calloc(1, sizeof(*q));

	assert(q);
	q->g = g;
	q->id = strdup(id);
	assert(q->id);
	q->next = g->queries;
	g->queries = q;
	return q;
}

static int query_check(const struct gateway *g, const json_t *query, struct pcg_error *err)
{
	const char *op = json_str_or(query, "op", "");
	size_t n = 0;

	for (const struct query *q = g->queries; q; q = q->next)
		n++;
	if (n > QUERIES_MAX)
		return pcg_fail(err, PCG_CLASS_QUOTA, "try again in a few seconds",
				"this gateway answers %d queries already", QUERIES_MAX);

	if (strcmp(op, "account_validate") && strcmp(op, "pick_list"))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "upgrade the gateway",
				"query %s is not known to this gateway", op);
	if (!*json_str_or(query, "account.provider", ""))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "name the account's cloud type",
				"query %s has no account with a provider", op);
	return 0;
}

static bool query_known(const struct gateway *g, const char *id)
{
	for (const struct query *q = g->queries; q; q = q->next)
		if (!strcmp(q->id, id))
			return true;
	return false;
}

static json_t *doc_of(const json_t *query)
{
	return json_is_object(json_object_get(query, "doc")) ? json_deep_copy(json_object_get(query, "doc")) : json_object();
}

/* A validation that runs and is the same. */
static struct query *leader_of(struct query *q)
{
	for (struct query *other = q->g->queries; other; other = other->next)
		if (other != q && !other->leader && other->what && json_equal(other->what, q->what))
			return other;
	return NULL;
}

/* Of an account of the query's own. */
static void account_own(struct query *q, const json_t *query)
{
	json_t *copy = json_deep_copy(json_object_get(query, "account"));

	if (asprintf(&q->account, QUERY_ACCOUNT "%s", q->id) < 0)
		abort();
	q->own = true;
	json_object_set_new(copy, "uid", json_string(q->account));
	provider_account_set(q->g->providers, copy);
	json_decref(copy);
}

/* An equal one that runs answers both. */
static void validate(struct query *q, const json_t *query)
{
	json_t *doc = doc_of(query);

	json_object_set_new(doc, "account", json_deep_copy(json_at(query, "account.spec")));
	q->what = json_pack("{s:s, s:o}", "provider", json_str_or(query, "account.provider", ""), "doc", doc);
	q->leader = leader_of(q);
	if (q->leader)
		return;
	account_own(q, query);
	provider_call(q->g->providers, q->account, "account_validate", q->id, doc, QUERY_MS, on_query_done, q);
}

/* Only an account that this gateway has keeps its worker, and so its lists, between two pages. */
static void pick(struct query *q, const json_t *query)
{
	const char *uid = json_str_or(query, "account.uid", "");
	json_t *doc = doc_of(query);

	if (lifecycle_has_account(q->g->lifecycle, uid)) {
		q->account = strdup(uid);
		assert(q->account);
	} else {
		account_own(q, query);
	}
	provider_call(q->g->providers, q->account, "pick_list", q->id, doc, QUERY_MS, on_query_done, q);
	json_decref(doc);
}

void gateway_on_query(void *arg, const json_t *query)
{
	struct gateway *g = arg;
	struct provider_reply bad = { .status = PCG_STEP_ERROR };
	struct query *q;

	if (query_known(g, json_str_or(query, "id", ""))) /* it came twice, and is answered once */
		return;
	q = query_new(g, json_str_or(query, "id", ""));
	if (query_check(g, query, &bad.err)) {
		query_reply(q, &bad);
		query_free(q);
	} else if (strcmp(json_str_or(query, "op", ""), "pick_list") == 0) {
		pick(q, query);
	} else {
		validate(q, query);
	}
}
