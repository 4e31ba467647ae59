/* SPDX-License-Identifier: Apache-2.0 */
/* What link and providers ask of the gateway. */
#include "config.h"

#include "host/gateway.h"

#include "core/log.h"
#include "pcg/provider.h"

#include <assert.h>
#include <string.h>

#define QUERY_ACCOUNT "query/"
#define QUERIES_KEEPER "query" /* no account's uid */
#define QUERY_MS 28000
#define QUERIES_MAX 16 /* each has a worker of its own */

static void on_stored(void *arg, int64_t cursor)
{
	struct gateway *g = arg;

	g->cursor = cursor;
	if (g->link)
		link_batch_durable(g->link, cursor);
}

static void on_batch(void *arg, const json_t *batch)
{
	struct gateway *g = arg;

	lifecycle_take(g->lifecycle, batch, on_stored, g);
}

/* A query works on an account of its own, since the one it is about may not exist yet. */
struct query {
	struct query *next;
	struct gateway *g;
	char *id, *account;
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
	struct query *q = arg;

	query_reply(q, r);
	provider_account_remove(q->g->providers, q->account);
	query_free(q);
}

static struct query *query_new(struct gateway *g, const char *id)
{
	struct query *q = calloc(1, sizeof(*q));

	assert(q);
	q->g = g;
	q->id = strdup(id);
	if (asprintf(&q->account, QUERY_ACCOUNT "%s", id) < 0)
		abort();
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

static void on_query(void *arg, const json_t *query)
{
	struct gateway *g = arg;
	struct provider_reply bad = { .status = PCG_STEP_ERROR };
	struct query *q;
	json_t *doc, *copy;

	if (query_known(g, json_str_or(query, "id", ""))) /* it came twice, and is answered once */
		return;
	q = query_new(g, json_str_or(query, "id", ""));
	if (query_check(g, query, &bad.err)) {
		query_reply(q, &bad);
		query_free(q);
		return;
	}
	copy = json_deep_copy(json_object_get(query, "account"));
	json_object_set_new(copy, "uid", json_string(q->account));
	provider_account_set(g->providers, copy);
	doc = json_is_object(json_object_get(query, "doc")) ?
		      json_deep_copy(json_object_get(query, "doc")) :
		      json_object();
	json_object_set(doc, "account", json_object_get(copy, "spec"));
	provider_call(g->providers, q->account, json_str_or(query, "op", ""), q->id, doc, QUERY_MS,
		      on_query_done, q);
	json_decref(doc);
	json_decref(copy);
}

static json_t *on_reports(void *arg, size_t max)
{
	return lifecycle_reports(((struct gateway *)arg)->lifecycle, max);
}

static void on_refused(void *arg, const json_t *refused)
{
	lifecycle_refused(((struct gateway *)arg)->lifecycle, refused);
}

static void on_reported(void *arg, const json_t *seqs, int64_t reported)
{
	lifecycle_reported(((struct gateway *)arg)->lifecycle, seqs, reported);
}

static void certificate_stored(void *arg)
{
	struct gateway *g = arg;

	if (g->link)
		link_certificate_durable(g->link);
}

static void on_certificate(void *arg, const char *cert_pem, struct secret *key_pem)
{
	struct gateway *g = arg;
	struct store_batch *b = store_batch_new(g->store);

	store_put_meta(b, "client_cert", cert_pem);
	store_put_secret(b, "", "client_key", key_pem);
	store_batch_commit(b, certificate_stored, g);
}

static void on_state(void *arg, const json_t *state)
{
	const char *name = json_str_or(state, "state", "");

	log_debug("link_state", LS("state", name), LS("cause", json_str_or(state, "cause", "")));
	if (!strcmp(name, "connected"))
		gateway_work(arg, true);
	else if (!strcmp(name, "refused"))
		gateway_work(arg, false);
	else if (!strcmp(name, "offline") && uv_is_active((uv_handle_t *)&((struct gateway *)arg)->contact_timer))
		gateway_work(arg, true);
}

void gateway_link_hooks(struct gateway *g, struct link_hooks *h)
{
	*h = (struct link_hooks){ .arg = g, .batch = on_batch, .query = on_query,
				  .reports = on_reports, .refused = on_refused,
				  .reported = on_reported,
				  .certificate = on_certificate, .state = on_state };
}

static void ack_secret(void *ack)
{
	provider_ack(ack, 0);
}

static void remember(struct gateway *g, const char *account, const char *name,
		     const struct secret *value)
{
	json_t *of = json_object_get(g->secrets, account), *old;

	if (!of) {
		of = json_object();
		json_object_set_new(g->secrets, account, of);
	}
	old = json_incref(json_object_get(of, name));
	json_object_del(of, name);
	json_wipe(old);
	if (value)
		json_object_set_new(of, name, json_string(secret_data(value)));
}

/* The account of a query ends with it. Kept is what its worker must not forget, for all queries: pcg/provider.h
 * says what may be in it. */
static const char *keeper(const char *account)
{
	return strncmp(account, QUERY_ACCOUNT, sizeof(QUERY_ACCOUNT) - 1) ? account : QUERIES_KEEPER;
}

static void on_secret_put(void *arg, const char *account, const char *name, struct secret *value,
			  void *ack)
{
	struct gateway *g = arg;
	struct store_batch *b;

	if (account != keeper(account) && !strstr(name, ".validation.")) {
		provider_ack(ack, 0);
		return;
	}
	account = keeper(account);
	remember(g, account, name, value);
	b = store_batch_new(g->store);
	store_put_secret(b, account, name, value);
	store_batch_commit(b, ack_secret, ack);
}

static json_t *on_secrets(void *arg, const char *account)
{
	json_t *of = json_object_get(((struct gateway *)arg)->secrets, keeper(account));

	return of ? json_deep_copy(of) : json_object();
}

static void on_checkpoint(void *arg, void *call_arg, json_t *checkpoint, void *ack)
{
	lifecycle_checkpoint(((struct gateway *)arg)->lifecycle, call_arg, checkpoint, ack);
}

static void on_hint(void *arg, const char *account, const char *subject)
{
	struct gateway *g = arg;

	if (g->lifecycle)
		lifecycle_hint(g->lifecycle, account, subject);
}

static void on_peer(void *arg, const char *account, const char *sha1, const char *sha256)
{
	struct gateway *g = arg;

	if (g->lifecycle)
		lifecycle_peer(g->lifecycle, account, sha1, sha256);
}

void gateway_provider_hooks(struct gateway *g, struct provider_hooks *h)
{
	*h = (struct provider_hooks){ .arg = g, .secret_put = on_secret_put, .secrets = on_secrets,
				      .checkpoint = on_checkpoint, .hint = on_hint,
				      .peer = on_peer };
}
