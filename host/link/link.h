/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LINK_H
#define HOST_LINK_H

/*
 * The gateway's connection to its plane (docs/protocol.md). Loop thread. Instructions at least once, in order, with a cursor that moves when
 * the receiver says that they are durable; reports from a durable queue, acknowledged, idempotent; queries with a deadline.
 */

#include "core/error.h"
#include "core/json.h"
#include "core/secret.h"
#include "net/http_client.h"

struct link;

struct link_hooks {
	void *arg;
	/* A batch in order: {"planeId","epochs"?,"resync":bool,"cursor":N,"items":[{"seq","kind":"cluster|account","uid","generation",...}]}. Call
	 * link_batch_durable when stored (cursor too, in the same transaction); nothing more is asked for before that. */
	void (*batch)(void *arg, const json_t *batch);
	/* {"id","op","account":{...},"doc":{...},"deadlineMs"}: answer with link_query_reply. */
	void (*query)(void *arg, const json_t *query);
	/* Reports waiting, oldest first, at most max: array of {"seq","kind","key","doc"}; new reference. */
	json_t *(*reports)(void *arg, size_t max);
	/* Those among the next reported that the plane will not have: [{"seq","text","code"?}], code "ClusterUnknown". */
	void (*refused)(void *arg, const json_t *refused);
	/* The plane is done with them: remove these seqs (array of numbers). reported: the highest that it ever had. */
	void (*reported)(void *arg, const json_t *seqs, int64_t reported);
	/* New certificate: store it durably, then link_certificate_durable. */
	void (*certificate)(void *arg, const char *cert_pem, struct secret *key_pem);
	/* The state changed: {"state":"connected|connecting|offline|refused|unpaired","since","cause","remedy","lastContact","cursor"}. */
	void (*state)(void *arg, const json_t *state);
};

struct link_spec {
	struct http_client *http;
	uv_loop_t *loop;
	const char *url;               /* "https://plane:8443" */
	const char *ca_pem;            /* the plane's CA */
	const struct proxy_set *proxy;
	const char *gateway_uid;
	const char *cert_pem;
	struct secret *key_pem;
	const char *plane_id;          /* last known; NULL: none */
	int64_t cursor;
	int64_t reported;              /* the highest seq of a report that was acknowledged; 0: none */
	struct link_hooks hooks;
};

int link_new(const struct link_spec *spec, struct link **out, struct pcg_error *err);
void link_close(struct link *l, void (*closed)(void *arg), void *arg);
void link_batch_durable(struct link *l, int64_t cursor);
void link_certificate_durable(struct link *l);
void link_query_reply(struct link *l, const char *query_id, const json_t *reply); /* {"status":"done|error","doc"|"error":{class,text,remedy}} */
/* Something is to be sent: in a moment, with what follows it; urgent: at once. */
void link_wake_reports(struct link *l, bool urgent);
/* Changed url, CA, proxy: the next connection uses them; what is under way is asked again. */
void link_reconfigure(struct link *l, const char *url, const char *ca_pem, const struct proxy_set *proxy);
json_t *link_status(const struct link *l);

/* Enrolment: sends pairing code and signing request, verifies the plane by ca_pem, or by the SHA-256
 * fingerprint of its CA. cb once, perhaps before link_enrol returns. */
typedef void (*link_enrol_cb)(void *arg, const char *gateway_uid, const char *cert_pem, const char *plane_ca_pem, const struct pcg_error *err);
struct link_enrol_spec {
	struct http_client *http;
	const char *url, *ca_pem, *ca_sha256;
	const struct proxy_set *proxy;
	const char *pairing_code;      /* secret: read from a file or standard input, never argv */
	const char *csr_pem;
	const char *host_name;
};
void link_enrol(const struct link_enrol_spec *spec, link_enrol_cb cb, void *arg);

#endif
