/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LIFECYCLE_LIFECYCLE_H
#define HOST_LIFECYCLE_LIFECYCLE_H

/*
 * The clusters of this gateway: takes desired state from the link, walks each cluster through its
 * phases by the pure core (step.h), runs the tasks, and reports. Loop thread only, no locks. What
 * is durable is decided here: a task begins only after the state that names it is in the store.
 */

#include "core/error.h"
#include "core/json.h"
#include "host/policy/policy.h"
#include "host/provider/provider_pool.h"
#include "host/store/store.h"
#include "net/http_client.h"
#include "net/proxy.h"

#include <uv.h>

struct lifecycle;

struct lifecycle_spec {
	uv_loop_t *loop;
	struct store *store;
	struct provider_pool *providers;
	struct policy *policy;
	struct http_client *http;
	const char *gateway_uid;
	const char *bundle_dir;
	const char *image_repository; /* NULL: images of the bundle stay as named */
	int64_t take_back_ms, release_ms; /* 0: 2 and 5 minutes */
	struct proxy_set *proxy; /* NULL: direct */
	void *arg;
	void (*reports_ready)(void *arg, bool urgent);      /* something for the plane is durable; urgent: it is waited for */
	/* For pcgctl watch: a view, and for each step of a task a view with {"event", ...} as "note". Made only
	 * while somebody watches. */
	bool (*watched)(void *arg);
	void (*changed)(void *arg, const json_t *cluster);
	/* What its plugin has kept is out of the store: nothing of it is kept any more. */
	void (*account_dropped)(void *arg, const char *uid);
};

struct lifecycle *lifecycle_new(const struct lifecycle_spec *spec);
/* Cancels what runs; the store keeps where each cluster is. What the store still tells after this is
 * let pass: free it when the store is closed. */
void lifecycle_close(struct lifecycle *l);
void lifecycle_free(struct lifecycle *l);

/* While loading, before lifecycle_begin. */
void lifecycle_load_account(struct lifecycle *l, json_t *document);
void lifecycle_load_cluster(struct lifecycle *l, const struct store_cluster_row *row);
void lifecycle_load_machine(struct lifecycle *l, const struct store_machine_row *row);
void lifecycle_load_report(struct lifecycle *l, int64_t seq, const char *kind, const char *key,
			   json_t *doc);
void lifecycle_load_report_seq(struct lifecycle *l, int64_t seq);
/* A new lifecycle is held: it learns and remembers, and has no side effect. Begin lets every cluster
 * go on where it was; hold stops all of them there, as a kill would. Both may be repeated. */
void lifecycle_begin(struct lifecycle *l);
void lifecycle_hold(struct lifecycle *l);

/* A batch of instructions (docs/protocol.md): everything of it and the cursor become durable in one
 * transaction, then stored is called, then it is acted upon. */
void lifecycle_take(struct lifecycle *l, const json_t *batch, void (*stored)(void *arg, int64_t cursor),
		    void *arg);

/* The queue to the plane. */
json_t *lifecycle_reports(struct lifecycle *l, size_t max);
/* Before lifecycle_reported: those that the plane will not have, [{"seq","text","code"?}]. */
void lifecycle_refused(struct lifecycle *l, const json_t *refused);
/* reported: the highest seq that the plane ever had. */
void lifecycle_reported(struct lifecycle *l, const json_t *seqs, int64_t reported);
/* Adds a report of the gateway itself. */
void lifecycle_report(struct lifecycle *l, const char *kind, const char *key, json_t *doc);

/* A step of a provider kept a checkpoint before its answer (provider_hooks.checkpoint). */
void lifecycle_checkpoint(struct lifecycle *l, void *call_arg, json_t *checkpoint, void *ack);
/* A hint about a machine or cluster. */
void lifecycle_hint(struct lifecycle *l, const char *account, const char *subject);
/* The endpoint of an account showed this certificate: clusters that were handed over with the thumbprint of another
 * one say so. */
void lifecycle_peer(struct lifecycle *l, const char *account, const char *sha1, const char *sha256);
/* Policy or settings changed: whoever waits is tried now. */
void lifecycle_nudge_all(struct lifecycle *l);
/* After enrolment: clusters are marked with it. */
void lifecycle_set_gateway_uid(struct lifecycle *l, const char *uid);
/* What is under way goes on with these. */
void lifecycle_set_proxy(struct lifecycle *l, struct proxy_set *proxy);
void lifecycle_set_bundle(struct lifecycle *l, const char *dir, const char *image_repository);
void lifecycle_set_limits(struct lifecycle *l, int64_t take_back_ms, int64_t release_ms);

/* Views: a cluster as pcgctl and reports show it; NULL: not known. New references. */
json_t *lifecycle_list(struct lifecycle *l, bool with_deleted);
json_t *lifecycle_show(struct lifecycle *l, const char *uid_or_name);
bool lifecycle_knows(struct lifecycle *l, const char *uid_or_name);
json_t *lifecycle_counts(struct lifecycle *l); /* {"clusters","inFlight","phases":{..}} */
json_t *lifecycle_insecure_accounts(struct lifecycle *l);
bool lifecycle_has_account(const struct lifecycle *l, const char *uid);

/* What a hand-over of this cluster writes, in which order, and how its checks come out; of a running one what
 * a take-back does. Nothing is changed. Secrets are masked. done: {"cluster","uid","phase","groups":[{"group",
 * "objects":[{"object","owner","manifest","status"}]}],"checks":[..],"unknown":[text],"steps":[text]}, or an
 * error; neither: the gateway ends. */
void lifecycle_plan(struct lifecycle *l, const char *uid_or_name,
		    void (*done)(void *arg, json_t *result, const struct pcg_error *err), void *arg);

/* The infrastructure of every account against the store; changes nothing. done: {"items":[{class, id, name, cluster}],
 * "problems":[{account, cause, remedy}]}; NULL: the gateway ends. */
void lifecycle_audit(struct lifecycle *l, void (*done)(void *arg, json_t *result), void *arg);

#endif
