/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_KUBE_CLIENT_H
#define TESTS_KUBE_CLIENT_H

/* A client of the stand-in, and what it was answered. */

#include "kube/kube_impl.h"
#include "tests/kube/stand_in.h"

static struct http_client *http;
static struct kube *kube;
static int minted;
static int64_t mint_life_ms;

static inline int mint(void *arg, char **cert, struct secret **key, struct pcg_error *err)
{
	json_t *keys = json_pack("{s:{s:s, s:s}}", "ca", "crt", api.ca.cert, "key",
				 secret_data(api.ca.key));
	int r;

	(void)arg;
	minted++;
	r = bootstrap_mint_admin(keys, "pcg", mint_life_ms, cert, key, err);
	json_decref(keys);
	return r;
}

static inline void client_start(uint16_t port)
{
	char url[64];
	struct kube_spec spec = {
		.server = url, .ca_pem = api.ca.cert, .mint = mint, .field_manager = "pcg"};
	struct pcg_error err;

	snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
	http = http_client_new(rig_loop, NULL);
	spec.http = http;
	minted = 0;
	mint_life_ms = 3600000;
	ck_assert_int_eq(kube_new(&spec, &kube, &err), 0);
}

static inline void setup(void)
{
	api_start();
	client_start(http_server_port(api.server));
}

static inline void teardown(void)
{
	kube_free(kube);
	kube = NULL;
	rig_client_end(http);
	api_end();
}

struct answer {
	int done, status;
	json_t *body;
	struct pcg_error err;
};

static inline void on_reply(void *arg, const struct kube_reply *r)
{
	struct answer *a = arg;

	a->done++;
	a->status = r->status;
	json_decref(a->body);
	a->body = json_incref(r->body);
	a->err = r->err;
}

static inline void on_path(void *arg, char *path, const struct pcg_error *err)
{
	struct answer *a = arg;

	a->done++;
	json_decref(a->body);
	a->body = path ? json_string(path) : NULL;
	if (err)
		a->err = *err;
	free(path);
}

struct applied {
	int done, created, updated;
	bool failed;
	struct pcg_error err;
};

static inline void on_progress(void *arg, const json_t *object, bool created)
{
	struct applied *a = arg;

	ck_assert_ptr_nonnull(object);
	if (created)
		a->created++;
	else
		a->updated++;
}

static inline void on_applied(void *arg, const struct pcg_error *err)
{
	struct applied *a = arg;

	a->done++;
	a->failed = err != NULL;
	if (err)
		a->err = *err;
}

static inline struct kube_op *apply(const json_t *objects, uint32_t timeout_ms, struct applied *a)
{
	struct kube_apply_spec spec = {.objects = objects,
				       .timeout_ms = timeout_ms,
				       .progress = on_progress,
				       .done = on_applied,
				       .arg = a};

	*a = (struct applied){0};
	return kube_apply(kube, &spec);
}

static inline json_t *object(const char *version, const char *kind, const char *name)
{
	return json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", version, "kind", kind, "metadata",
			 "name", name);
}

#endif
