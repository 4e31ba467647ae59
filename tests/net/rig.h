/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_NET_RIG_H
#define TESTS_NET_RIG_H

/* What the tests of net share: a loop that runs until a condition holds, authorities and
 * certificates, a server, calls whose results stay. */

#include "core/clock.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "net/pki.h"
#include "tests/core/unit.h"

#define RIG_DEADLINE_MS 10000
#define RIG_DAY_MS (24 * 3600 * 1000LL)

static uv_loop_t *rig_loop;

static inline void rig_tick(uv_timer_t *t)
{
	(void)t;
}

/* Runs the loop until (cond); fails the test when it does not come true in time. */
#define RIG_UNTIL(cond)                                                                           \
	do {                                                                                      \
		int64_t end_ = clock_mono_ms() + RIG_DEADLINE_MS;                                 \
		uv_timer_t tick_;                                                                 \
		uv_timer_init(rig_loop, &tick_);                                                  \
		uv_timer_start(&tick_, rig_tick, 5, 5);                                           \
		while (!(cond) && clock_mono_ms() < end_)                                         \
			uv_run(rig_loop, UV_RUN_ONCE);                                            \
		uv_close((uv_handle_t *)&tick_, NULL);                                            \
		uv_run(rig_loop, UV_RUN_NOWAIT);                                                  \
		ck_assert_msg((cond), "not in time: %s", #cond);                                  \
	} while (0)

static inline void rig_start(void)
{
	http_global_init();
	rig_loop = uv_default_loop();
}

/* Nothing that was opened in the loop is left: what is would keep it running to the test's limit. */
static inline void rig_end(void)
{
	uv_run(rig_loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(rig_loop), 0);
}

struct rig_ca {
	struct secret *key;
	char *cert;
};

struct rig_cert {
	struct secret *key;
	char *cert;
	struct pki_info info;
};

static inline struct rig_ca rig_ca_new(const char *name)
{
	int64_t now = clock_wall_ms();
	struct pki_cert_spec spec = { .common_name = name, .is_ca = true,
				      .not_before_ms = now - 300000, .not_after_ms = now + RIG_DAY_MS };
	struct pcg_error err;
	struct rig_ca ca;

	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, &ca.key, &err), 0);
	ck_assert_int_eq(pki_self_signed(&spec, ca.key, &ca.cert, &err), 0);
	return ca;
}

static inline void rig_ca_free(struct rig_ca *ca)
{
	secret_unref(ca->key);
	free(ca->cert);
}

static inline struct rig_cert rig_cert_span(const struct rig_ca *ca, const char *name, const char *ip,
					    int64_t from_ms, int64_t to_ms)
{
	int64_t now = clock_wall_ms();
	const char *dns[] = { name, NULL }, *ips[] = { ip, NULL };
	struct pki_cert_spec spec = { .common_name = name, .dns = dns, .ip = ips, .server_auth = true,
				      .client_auth = true, .not_before_ms = now + from_ms,
				      .not_after_ms = now + to_ms };
	struct pcg_error err;
	struct rig_cert c;

	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, &c.key, &err), 0);
	ck_assert_int_eq(pki_sign(&spec, c.key, ca->cert, ca->key, &c.cert, &err), 0);
	ck_assert_int_eq(pki_cert_info(c.cert, &c.info, &err), 0);
	return c;
}

static inline struct rig_cert rig_cert_new(const struct rig_ca *ca, const char *name, const char *ip)
{
	return rig_cert_span(ca, name, ip, -300000, RIG_DAY_MS);
}

static inline void rig_cert_free(struct rig_cert *c)
{
	secret_unref(c->key);
	free(c->cert);
}

/* The answer to one call, kept. */
struct rig_answer {
	int done;
	long status;
	struct pcg_error err;
	char *body;
	size_t len;
	char header[256]; /* of x-test */
};

static inline void rig_done(void *arg, const struct http_response *r)
{
	struct rig_answer *a = arg;
	const char *h = http_response_header(r, "x-test");

	a->done++;
	a->status = r->status;
	a->err = r->err;
	free(a->body);
	a->body = malloc(r->body_len + 1);
	ck_assert_ptr_nonnull(a->body);
	memcpy(a->body, r->body, r->body_len + 1);
	a->len = r->body_len;
	snprintf(a->header, sizeof(a->header), "%s", h ? h : "");
}

static inline void rig_closed(void *arg)
{
	(*(int *)arg)++;
}

static inline void rig_client_end(struct http_client *c)
{
	int closed = 0;

	http_client_close(c, rig_closed, &closed);
	RIG_UNTIL(closed);
}

static inline void rig_server_end(struct http_server *s)
{
	int closed = 0;

	http_server_close(s, rig_closed, &closed);
	RIG_UNTIL(closed);
}

#endif
