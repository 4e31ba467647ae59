/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_KUBE_IMPL_H
#define KUBE_KUBE_IMPL_H

/*
 * What the files of the client share.
 *
 * Every operation begins with a struct kube_op, is in its client's list from start to end, and
 * ends once: by its own callback (the operation is freed before the callback runs, so the
 * callback may free the client) or by kube_op_cancel (no callback). Operations hold others.
 */

#include "core/buf.h"
#include "kube/kube.h"

#include <sys/queue.h>
#include <uv.h>

#define KUBE_MAGIC 0x6b756265
#define KUBE_OP_MAGIC 0x6b6f7070
#define KUBE_RESPONSE_MAX (64ull << 20)
/* Beside watches. Another one costs a handshake on both sides, as much as twenty calls. */
#define KUBE_CONNECTIONS 1

struct kube_op {
	unsigned magic;
	struct kube *k;
	void (*destroy)(struct kube_op *op); /* ends what it holds, and frees it */
	TAILQ_ENTRY(kube_op) link;
};

/* The resources of one group and version, and who waits for them. */
struct kube_group {
	char *version;     /* "apps/v1" */
	json_t *resources; /* NULL: not asked yet */
	struct kube_op *request;
	LIST_HEAD(, kube_find) waiting;
	LIST_ENTRY(kube_group) link;
};

struct kube {
	unsigned magic;
	struct http_client *http;
	char *server, *ca_pem, *field_manager;
	struct proxy_set *proxy;
	int (*mint)(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err);
	void *mint_arg;
	void (*warned)(void *arg, const char *what, const char *text);
	void *warned_arg;
	struct http_tls_ctx *tls;
	int64_t minted_at_ms, renew_at_ms; /* by the wall clock, which can be set */
	bool refused;                      /* by a 401, since which one certificate was minted or will be */
	json_t *applied; /* path -> what an object was at that it was there already when it was applied; NULL: none yet */
	TAILQ_HEAD(, kube_op) ops; /* oldest first */
	LIST_HEAD(, kube_group) groups;
};

void kube_op_start(struct kube_op *op, struct kube *k, void (*destroy)(struct kube_op *op));
void kube_op_end(struct kube_op *op); /* takes it out of the list; the operation's end frees it */

/* A timer that may be stopped from anywhere, its own callback included. */
struct kube_timer;
struct kube_timer *kube_timer_start(struct kube *k, uint64_t ms, void (*cb)(void *arg), void *arg);
void kube_timer_stop(struct kube_timer **t);

/* The connection class with a certificate that still lives long enough; the caller unrefs. */
int kube_tls(struct kube *k, struct http_tls_ctx **tls, struct pcg_error *err);
/* The server answered 401: the next request has a new certificate, once until one is let in. */
void kube_refused(struct kube *k);
/* NULL: too long. What is asked for may be named in a manifest, which is whatever its author wrote. */
char *kube_url(const struct kube *k, const char *path);
int kube_too_long(const char *what, struct pcg_error *err);

struct kube_request_spec {
	const char *method, *path, *content_type;
	const json_t *body;
	uint32_t timeout_ms;
	const char *text; /* a body that is JSON already, instead of body; copied */
	size_t text_len;
	bool raw; /* the answer is no JSON, or nobody reads it */
	bool read_old; /* of raw: what was there already is read all the same (200, where a new one is 201) */
	bool metadata; /* nothing else of the objects that come back is wanted */
};
struct kube_op *kube_request_start(struct kube *k, const struct kube_request_spec *spec, kube_cb cb,
				   void *arg);
/* err from a status of 400 or more and the Status object that came with it, if any. */
void kube_status_error(int status, const json_t *body, const char *what, struct pcg_error *err);

struct kube_resource {
	const char *kind, *name;
	bool namespaced;
};
/* NULL: the server has to be asked. */
const struct kube_resource *kube_builtin(const char *version, const char *kind);

/* kube_path_of as an operation. */
struct kube_op *kube_find_start(struct kube *k, const char *api_version, const char *kind,
				const char *ns, const char *name, kube_path_cb cb, void *arg);
void kube_groups_free(struct kube *k);

/* Adds "?name=value" or "&name=value" with value encoded. */
void kube_query_add(struct buf *path, const char *name, const char *value);
/* "Deployment kube-system/coredns" */
void kube_object_name(const json_t *object, const char *default_namespace, char out[256]);
/* What an object that should become available lacks; true when it lacks nothing. */
bool kube_available(const json_t *object, char *says, size_t size);
/* Objects of List kinds taken apart, in the order of applying; ranks of equal kinds are equal. */
json_t *kube_apply_order(const json_t *objects);
int kube_apply_rank(const json_t *object);

#endif
