/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_KUBE_H
#define KUBE_KUBE_H

/* Client of one kube-apiserver: asynchronous, loop thread, over net/http_client. */

#include "core/error.h"
#include "core/json.h"
#include "core/secret.h"
#include "net/http_client.h"

struct kube;
struct kube_op;

struct kube_spec {
	struct http_client *http;
	const char *server;            /* "https://host:port" */
	const char *ca_pem;
	/* Client certificate that is asked for before each use when the last one has less than a third of its life left: minted
	 * from the cluster's CA for an hour. Also when the clock was set back since, and once when it was refused. */
	int (*mint)(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err);
	void *mint_arg;
	const struct proxy_set *proxy;
	const char *field_manager;     /* "pcg" */
	/* May be NULL: a warning that came with an answer; what is "PATCH https://...". */
	void (*warned)(void *arg, const char *what, const char *text);
	void *warned_arg;
};

int kube_new(const struct kube_spec *spec, struct kube **out, struct pcg_error *err);
void kube_free(struct kube *k); /* cancels what runs, no callbacks */
/* For what is sent from now on. NULL: direct. */
void kube_set_proxy(struct kube *k, const struct proxy_set *proxy);
/* The loop it runs in (of its HTTP client), and the CA that every connection was verified against. */
uv_loop_t *kube_loop(const struct kube *k);
const char *kube_ca_pem(const struct kube *k);

struct kube_reply {
	int status;                /* HTTP status; 0: err says why there is none */
	json_t *body;              /* borrowed; a Status object for errors; may be NULL */
	int64_t date_ms;           /* of the server's clock, to the second; 0: it told none */
	struct pcg_error err;      /* set when status is 0 or >= 400: class by status and reason, text with the server's message */
};
typedef void (*kube_cb)(void *arg, const struct kube_reply *r);

/* One request as it stands; content_type NULL: application/json. Retries nothing. Writes say fieldValidation=Strict: a field that
 * the server does not know is an error and never dropped. */
struct kube_op *kube_request(struct kube *k, const char *method, const char *path, const char *content_type,
			     const json_t *body, uint32_t timeout_ms, kube_cb cb, void *arg);
/* GET of a list or an object of which only metadata is wanted: a server that knows how leaves the rest out. */
struct kube_op *kube_get_metadata(struct kube *k, const char *path, kube_cb cb, void *arg);
/* The same for an object that is written, of which only metadata comes back (PartialObjectMetadata, where the server can): what
 * was sent need not be sent back and read. unread: body is NULL unless it is a Status object for an error. */
struct kube_op *kube_write(struct kube *k, const char *method, const char *path, const char *content_type, const json_t *body,
			   uint32_t timeout_ms, bool unread, kube_cb cb, void *arg);
void kube_op_cancel(struct kube_op *op);

/* Where an object lives: finds its kind's resource by discovery (cached; asked again once when unknown). path is freed by the
 * caller. namespace of the object, else ns, for namespaced kinds. cb gets err NOT_FOUND naming kind and apiVersion when it is not served. */
typedef void (*kube_path_cb)(void *arg, char *path, const struct pcg_error *err);
void kube_path_of(struct kube *k, const char *api_version, const char *kind, const char *ns, const char *name, kube_path_cb cb, void *arg);

/* Server-side apply of objects in order of kinds (Namespace, CRD, ... as kubectl and clusterctl do), force, field manager; objects
 * of one group in parallel (at most 8); retries 409, 429, 5xx, connection errors, webhooks not ready and kinds not yet served until
 * timeout_ms. cb once; err names the first object that could not be applied. progress may be NULL; it is not told of
 * an object that is as this client's apply before the last one left it. */
struct kube_apply_spec {
	const json_t *objects;         /* array; List kinds are taken apart */
	const char *default_namespace; /* NULL: "default" */
	uint32_t timeout_ms;
	void (*progress)(void *arg, const json_t *object, bool created);
	/* May be NULL: what an object is as JSON, where somebody has it; NULL: nobody. */
	const char *(*text)(void *arg, const json_t *object, size_t *len);
	void (*done)(void *arg, const struct pcg_error *err);  /* err NULL: all applied */
	void *arg;
};
struct kube_op *kube_apply(struct kube *k, const struct kube_apply_spec *spec);
/* Whether each of them, and of the items of a List, says what it is: what kube_apply would refuse. Any thread. */
int kube_apply_check(const json_t *objects, struct pcg_error *err);

/* All pages of a list (limit 500, continue), items in one array. */
struct kube_op *kube_list(struct kube *k, const char *path, const char *label_selector, kube_cb cb, void *arg);
/* Watch from a resource version: each event to on_event; end tells why it ended (410: list again). */
struct kube_op *kube_watch(struct kube *k, const char *path, const char *resource_version,
			   void (*on_event)(void *arg, const char *type, json_t *object),
			   void (*end)(void *arg, const struct pcg_error *err), void *arg);
/* /readyz until 200 once (one try): status 200 means ready. */
struct kube_op *kube_ready(struct kube *k, kube_cb cb, void *arg);
/* Waits until a Deployment/DaemonSet/CRD/APIService is available, by kind; cb with err RETRY at the deadline naming what it said last. */
struct kube_op *kube_wait_available(struct kube *k, const json_t *object, uint32_t timeout_ms, kube_cb cb, void *arg);

#endif
