/* SPDX-License-Identifier: Apache-2.0 */
/* What link and providers ask of the gateway. */
#include "config.h"

#include "host/gateway.h"

#include "core/log.h"
#include "host/queries.h"
#include "pcg/provider.h"

#include <assert.h>
#include <string.h>

#define QUERIES_KEEPER "query" /* no account's uid */

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
	*h = (struct link_hooks){ .arg = g, .batch = on_batch, .query = gateway_on_query,
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

void gateway_account_dropped(void *arg, const char *account)
{
	struct gateway *g = arg;
	json_t *of = json_incref(json_object_get(g->secrets, account));

	json_object_del(g->secrets, account);
	json_wipe(of);
}

/* The worker of an account that was dropped may still be at its end. */
static bool is_kept(const struct gateway *g, const char *account, const char *name)
{
	if (account != keeper(account))
		return strstr(name, ".validation.");
	/* What has a slash is no account's: turns that are counted for all of them. */
	return !g->lifecycle || strchr(account, '/') || lifecycle_has_account(g->lifecycle, account);
}

static void on_secret_put(void *arg, const char *account, const char *name, struct secret *value,
			  void *ack)
{
	struct gateway *g = arg;
	struct store_batch *b;

	if (!is_kept(g, account, name)) {
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
