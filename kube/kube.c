/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "kube/kube_impl.h"

#include "core/attr.h"
#include "core/clock.h"

#include <assert.h>
#include <string.h>

static char *copy(const char *s)
{
	char *c = strdup(s);

	if (!c)
		abort();
	return c;
}

int kube_new(const struct kube_spec *spec, struct kube **out, struct pcg_error *err)
{
	struct kube *k;
	size_t n = strlen(spec->server);

	if (strncmp(spec->server, "https://", 8) != 0)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "give a URL that begins with https://",
				"the Kubernetes API server \"%s\" is not reached by TLS",
				spec->server);
	k = calloc(1, sizeof(*k));
	if (!k)
		abort();
	k->magic = KUBE_MAGIC;
	k->http = spec->http;
	k->server = copy(spec->server);
	while (n && k->server[n - 1] == '/')
		k->server[--n] = '\0';
	k->ca_pem = copy(spec->ca_pem);
	k->field_manager = copy(spec->field_manager ? spec->field_manager : "pcg");
	k->proxy = spec->proxy ? proxy_set_ref(spec->proxy) : NULL;
	k->mint = spec->mint;
	k->mint_arg = spec->mint_arg;
	k->warned = spec->warned;
	k->warned_arg = spec->warned_arg;
	TAILQ_INIT(&k->ops);
	LIST_INIT(&k->groups);
	*out = k;
	return 0;
}

void kube_free(struct kube *k)
{
	struct kube_op *op;

	if (!k)
		return;
	assert(k->magic == KUBE_MAGIC);
	/* Those that hold others are older than what they hold, and end it. */
	while ((op = TAILQ_FIRST(&k->ops)))
		kube_op_cancel(op);
	kube_groups_free(k);
	http_tls_unref(k->tls);
	http_client_sweep_soon(k->http);
	proxy_set_unref(k->proxy);
	json_decref(k->applied);
	free(k->server);
	free(k->ca_pem);
	free(k->field_manager);
	k->magic = 0;
	free(k);
}

void kube_set_proxy(struct kube *k, const struct proxy_set *proxy)
{
	struct proxy_set *old = k->proxy;

	k->proxy = proxy ? proxy_set_ref(proxy) : NULL;
	proxy_set_unref(old);
}

uv_loop_t *kube_loop(const struct kube *k)
{
	return http_client_loop(k->http);
}

const char *kube_ca_pem(const struct kube *k)
{
	return k->ca_pem;
}

void kube_op_start(struct kube_op *op, struct kube *k, void (*destroy)(struct kube_op *op))
{
	assert(k->magic == KUBE_MAGIC);
	op->magic = KUBE_OP_MAGIC;
	op->k = k;
	op->destroy = destroy;
	TAILQ_INSERT_TAIL(&k->ops, op, link);
}

void kube_op_end(struct kube_op *op)
{
	assert(op->magic == KUBE_OP_MAGIC);
	TAILQ_REMOVE(&op->k->ops, op, link);
	op->magic = 0;
	op->destroy(op);
}

void kube_op_cancel(struct kube_op *op)
{
	if (op)
		kube_op_end(op);
}

struct kube_timer {
	uv_timer_t timer;
	void (*cb)(void *arg);
	void *arg;
};

static void timer_fired(uv_timer_t *timer)
{
	struct kube_timer *t = timer->data;

	t->cb(t->arg);
}

static void timer_closed(uv_handle_t *h)
{
	free(h->data);
}

struct kube_timer *kube_timer_start(struct kube *k, uint64_t ms, void (*cb)(void *arg), void *arg)
{
	struct kube_timer *t = calloc(1, sizeof(*t));

	if (!t || uv_timer_init(kube_loop(k), &t->timer))
		abort();
	t->timer.data = t;
	t->cb = cb;
	t->arg = arg;
	uv_timer_start(&t->timer, timer_fired, ms, 0);
	return t;
}

void kube_timer_stop(struct kube_timer **t)
{
	if (!*t)
		return;
	uv_timer_stop(&(*t)->timer);
	uv_close((uv_handle_t *)&(*t)->timer, timer_closed);
	*t = NULL;
}

static int mint(struct kube *k, struct pcg_error *err)
{
	AUTO_FREE char *cert = NULL;
	struct secret *key = NULL;
	struct http_tls_ctx *fresh = NULL;
	int64_t now = clock_wall_ms(), not_after;
	int r;

	r = k->mint(k->mint_arg, &cert, &key, err);
	if (!r) {
		struct http_tls spec = {
			.ca_pem = k->ca_pem, .client_cert_pem = cert, .client_key_pem = key};

		r = http_tls_new(&spec, &fresh, err);
	}
	secret_unref(key);
	if (r)
		return pcg_fail_prefix(err, "preparing a connection to %s", k->server);
	http_tls_unref(k->tls);
	k->tls = fresh;
	not_after = http_tls_not_after_ms(fresh);
	k->minted_at_ms = now;
	k->renew_at_ms = not_after - (not_after - now) / 3;
	return 0;
}

/* A clock that was ahead when it was minted made one that is not valid yet. */
static bool tls_usable(const struct kube *k)
{
	int64_t now = clock_wall_ms();

	return k->tls && now >= k->minted_at_ms && now < k->renew_at_ms;
}

void kube_refused(struct kube *k)
{
	if (!k->refused)
		k->renew_at_ms = 0;
	k->refused = true;
}

int kube_tls(struct kube *k, struct http_tls_ctx **tls, struct pcg_error *err)
{
	int r;

	if (!tls_usable(k)) {
		r = mint(k, err);
		if (r)
			return r;
	}
	*tls = http_tls_ref(k->tls);
	return 0;
}

char *kube_url(const struct kube *k, const char *path)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_adds(&b, k->server);
	buf_adds(&b, path);
	return buf_take(&b);
}

int kube_too_long(const char *what, struct pcg_error *err)
{
	return pcg_fail(err, PCG_CLASS_PERMANENT, "correct apiVersion, kind and name", "%.300s: the address is too long",
			what);
}

void kube_query_add(struct buf *path, const char *name, const char *value)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

	buf_addf(path, "%c%s=", strchr(path->data, '?') ? '&' : '?', name);
	for (; *value; value++)
		if (strchr(plain, *value))
			buf_add(path, value, 1);
		else
			buf_addf(path, "%%%02X", (unsigned char)*value);
}

void kube_object_name(const json_t *object, const char *default_namespace, char out[256])
{
	const char *ns = json_str_or(object, "metadata.namespace", default_namespace);

	snprintf(out, 256, "%s %s%s%s", json_str_or(object, "kind", "object"), ns ? ns : "",
		 ns ? "/" : "", json_str_or(object, "metadata.name", "without a name"));
}
