/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_GATEWAY_H
#define HOST_GATEWAY_H

/* The parts of pcgd put together: one loop, the store, the link, policy, providers, clusters, and
 * the socket for pcgctl. */

#include "core/conf.h"
#include "host/lifecycle/lifecycle.h"
#include "host/link/link.h"
#include "host/policy/policy.h"
#include "host/provider/provider_pool.h"
#include "host/store/store.h"

#include <uv.h>

struct control;

struct gateway {
	uv_loop_t loop;
	char *config_file;
	struct conf *conf;
	char exe[4096];
	struct store *store;
	struct http_client *http;
	struct proxy_set *proxy;
	struct policy *policy;
	struct provider_pool *providers;
	struct lifecycle *lifecycle;
	struct link *link;
	struct control *control;

	/* identity, as the store has it */
	char *uid, *cert_pem, *plane_ca, *plane_id;
	struct secret *key;
	int64_t cursor, reported;
	json_t *secrets; /* account -> name -> value; secret */
	struct query *queries; /* of the plane, waiting for a provider */
	int64_t started_ms;
	struct reload *reload;             /* under way; NULL: none */
	struct reload_waiter *reload_next; /* those who have asked since */

	uv_signal_t signals[3];
	unsigned closing; /* parts that are not closed yet */
	bool stopping;
	bool pair_only;
	bool tidied; /* what a killed process left in infrastructures was seen to */
	int exit_status;
	char *pairing_code;
	struct secret *new_key;
	bool enrolling;
	uv_timer_t pair_timer;
	uv_timer_t contact_timer; /* work begins without the plane when it is away */
};

/* Opens everything; says what is wrong. *g is zero but for pair_only and pairing_code. */
int gateway_open(struct gateway *g, const char *config_file, struct conf *conf,
		 struct pcg_error *err);
/* After gateway_open failed: closes what it had opened. */
void gateway_abandon(struct gateway *g);
/* Runs until a signal ends it; the exit status. */
int gateway_run(struct gateway *g);
void gateway_stop(struct gateway *g);
/* reload.c: takes up the changed file and the policies whole, or nothing of them. Problems, one a line;
 * NULL: taken up. cb (may be NULL) comes once, from inside or later. */
typedef void (*gateway_reloaded)(void *arg, const char *problems);
void gateway_reload(struct gateway *g, gateway_reloaded cb, void *arg);
json_t *gateway_status(struct gateway *g);

/* pair.c: enrolment; ends in gateway_linked or tries again. */
void gateway_pair(struct gateway *g);
/* After a change of settings: tries at once, unless an attempt is under way. */
void gateway_pair_again(struct gateway *g);
void gateway_forget_code(struct gateway *g);
int gateway_read_code(struct gateway *g, const char *path, struct pcg_error *err);
/* Starts the link by the identity that is there. */
int gateway_start_link(struct gateway *g, struct pcg_error *err);
/* What the plane says about this identity: work goes on, or nothing is touched. */
void gateway_work(struct gateway *g, bool ours);
void gateway_begin(struct gateway *g);

/* hooks.c */
void gateway_link_hooks(struct gateway *g, struct link_hooks *h);
void gateway_provider_hooks(struct gateway *g, struct provider_hooks *h);
void gateway_account_dropped(void *arg, const char *account);
/* The providers are closing: they answer no query any more. */
void gateway_drop_queries(struct gateway *g);

/* control.c */
int control_open(struct gateway *g, const char *path, struct control **out, struct pcg_error *err);
void control_close(struct control *c, void (*closed)(void *arg), void *arg);
bool control_watched(const struct control *c); /* somebody watches clusters */
void control_cluster_changed(struct control *c, const json_t *view);

#endif
