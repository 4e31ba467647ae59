/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_GATEWAYS_H
#define PLANE_GATEWAYS_H

/* The plane's side of docs/protocol.md. */

#include "plane/plane.h"

#define GATEWAYS_ACTIVE_MS 70000

struct gateways *gateways_new(struct plane *p);
/* Answers all who wait; queries with an error. */
void gateways_free(struct gateways *g, void (*closed)(void *arg), void *arg);
void gateways_handle(struct plane *p, struct http_exchange *x, const struct http_server_request *req);

/* Of a cluster's document; what its gateway reported for it may come beside it. */
#define GATEWAYS_DOCUMENT_MAX (4u << 20)

/* Inside a transaction: the object's document has changed (or is gone) for that gateway. */
int gateways_instruct(struct plane *p, const char *gateway, const char *kind, const char *uid,
		      struct pcg_error *err);
/* Inside a transaction: the cluster is no longer this gateway's. */
int gateways_release(struct plane *p, const char *gateway, const char *kind, const char *uid,
		     struct pcg_error *err);
/* Inside a transaction: nothing waits for it any more; uid NULL: all of that gateway. */
int gateways_forget(struct plane *p, const char *gateway, const char *uid, struct pcg_error *err);
/* Commits the open transaction; what it instructs the gateways that wait becomes durable as sent with it. On
 * failure the caller rolls back. */
int gateways_commit(struct plane *p, struct pcg_error *err);
/* After the commit: whoever waits for what has changed is answered now. */
void gateways_flush(struct plane *p);
/* Inside a transaction: its certificate is refused from now on. */
int gateways_revoke(struct plane *p, const char *gateway, struct pcg_error *err);
/* Whatever waits for that gateway is refused at the next flush: its certificate is no longer good. */
void gateways_drop(struct plane *p, const char *gateway);
bool gateways_active(struct plane *p, const char *gateway);
int64_t gateways_last_contact_ms(struct plane *p, const char *gateway);

/* A pairing code, inside a transaction. overlord NULL: a new gateway. out: at least 32 bytes. */
int gateways_pairing_new(struct plane *p, const char *overlord, const char *cloud_type,
			 const char *name, char out[32], struct pcg_error *err);
/* 1: good; 0: not, and *why says wrong, used or expired. overlord: bound to it. */
int gateways_pairing_check(struct plane *p, const char *code, const char **why, struct pcg_error *err);
int gateways_pairing_bind(struct plane *p, const char *code, const char *overlord,
			  struct pcg_error *err);

/* Asks the gateway; done is called once, later, from the loop: reply {"status","doc"|"error"}, or NULL with err set.
 * account and doc are copied. Refused (negative, done not called) when the gateway is not active. */
typedef void (*gateways_query_cb)(void *arg, const json_t *reply, const struct pcg_error *err);
struct gateways_query;
int gateways_query(struct plane *p, const char *gateway, const char *op, json_t *account, json_t *doc,
		   gateways_query_cb done, void *arg, struct gateways_query **out, struct pcg_error *err);
void gateways_query_cancel(struct gateways_query *q);

#endif
