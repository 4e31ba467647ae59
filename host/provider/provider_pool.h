/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROVIDER_POOL_H
#define HOST_PROVIDER_POOL_H

/*
 * All accounts of this gateway and their workers. A worker is started by the first call for its
 * account, ended after idle_ms without one; replaced by a new one when credentials or the plugin
 * file change, when it dies or hangs past a deadline (then killed). A plugin that crashes 5 times within 10
 * minutes is quarantined for that account: calls answer PERMANENT with the reason until rescan or new credentials.
 * Deaths by a SIGKILL from outside do not count. A refused plugin answers PERMANENT until its file or the account changes.
 * Loop thread only.
 */

#include "core/error.h"
#include "core/json.h"
#include "core/secret.h"
#include "net/proxy.h"

#include <uv.h>

struct provider_pool;
struct provider_call;

struct provider_hooks {
	void *arg;
	/* A plugin keeps or removes (value NULL) a secret of its account. Call provider_ack when durable. */
	void (*secret_put)(void *arg, const char *account, const char *name, struct secret *value, void *ack);
	/* Every secret kept for this account, given to a new worker: {"name": value}. New reference, wiped by the pool. */
	json_t *(*secrets)(void *arg, const char *account);
	/* A step keeps a checkpoint before it answers. Call provider_ack when durable. call_arg is that of provider_call. */
	void (*checkpoint)(void *arg, void *call_arg, json_t *checkpoint, void *ack);
	void (*hint)(void *arg, const char *account, const char *subject);
	/* The endpoint of an account showed this certificate, accepted or not: thumbprints, lower-case hex. May be NULL. */
	void (*peer)(void *arg, const char *account, const char *sha1, const char *sha256);
	/* May be NULL: a worker ended that was not told to, other than by a SIGKILL from outside. */
	void (*died)(void *arg, const char *account, const char *reason);
	/* What a worker under trial tells (host/provider/trial.h). NULL in a gateway. */
	void (*trial)(void *arg, const char *account, const json_t *told);
};
void provider_ack(void *ack, int result);

struct provider_pool_spec {
	const char *exe;
	const char *plugins_dir;
	const char *gateway_uid;
	uint32_t idle_ms;             /* 0: 60000 */
	uint32_t max_connections;     /* to one account's infrastructure; 0: the plugin's settings, else 4 */
	struct proxy_set *proxy;      /* NULL: direct */
	struct provider_hooks hooks;
};

struct provider_reply {
	uint32_t status;              /* PCG_STEP_... of pcg/provider.h */
	uint32_t after_ms;            /* PENDING */
	json_t *doc;                  /* borrowed; NULL for none */
	json_t *checkpoint;           /* PENDING; borrowed; NULL for none */
	struct pcg_error err;         /* ERROR */
};
typedef void (*provider_cb)(void *arg, const struct provider_reply *reply);

int provider_pool_new(uv_loop_t *loop, const struct provider_pool_spec *spec, struct provider_pool **out, struct pcg_error *err);
/* Cancels every call without a callback, stops the workers (7 s at most), then tells closed. */
void provider_pool_close(struct provider_pool *p, void (*closed)(void *arg), void *arg);
void provider_pool_set_proxy(struct provider_pool *p, struct proxy_set *proxy); /* workers are replaced when they are idle between calls */

void provider_pool_set_max_connections(struct provider_pool *p, uint32_t max); /* likewise */

/* Workers that start from now on are under trial (host/provider/trial.h); those that run are replaced. Copied; NULL: no trial.
 * Not for a gateway. */
void provider_pool_set_trial(struct provider_pool *p, const json_t *trial);

/* {"uid","name","provider","generation","spec":{...}} copied. A changed spec means a new worker; running calls finish or are asked again. */
void provider_account_set(struct provider_pool *p, const json_t *account);
void provider_account_remove(struct provider_pool *p, const char *uid);
/* A worker was killed with the gateway, and left secrets: one is started, unless there is one, that ends by itself,
 * and so ends what they stand for (a session). */
void provider_account_tidy(struct provider_pool *p, const char *uid);
/* Is a plugin there for this cloud type? err names the folder and what is in it. */
int provider_known(struct provider_pool *p, const char *cloud_type, struct pcg_error *err);

/* timeout_ms counts from the moment at which the call goes to the worker; 0: no deadline. cb is never called from inside.
 * op: the member's name in struct pcg_provider ("machine_ensure"). doc: borrowed, the pool takes a reference of its own. Calls for one subject never overlap, cancelled ones that still run included.
 * Waiting calls of an account are taken in order of arrival, fair between (tenant, project), in each between clusters. A worker's death answers RETRY. */
struct provider_call *provider_call(struct provider_pool *p, const char *account, const char *op, const char *subject,
				    json_t *doc, uint32_t timeout_ms, provider_cb cb, void *arg);
void provider_call_cancel(struct provider_call *c); /* no callback any more */

/* {"items":[{"name","version","abi","path","state":"loaded|available|refused|quarantined","reason","accounts":[{"account","pid","calls","lastStart"}]}]} */
json_t *provider_list(struct provider_pool *p);
/* Looks at the folder again: new files are found, changed ones get new workers, quarantine ends. Same form as provider_list. */
json_t *provider_rescan(struct provider_pool *p);
/* How many workers run now. */
size_t provider_workers(const struct provider_pool *p);

/* The account worker's main, after worker_child_enter: never returns before the conversation ends. */
int account_worker_main(json_t *hello);

#endif
