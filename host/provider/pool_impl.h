/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROVIDER_POOL_IMPL_H
#define HOST_PROVIDER_POOL_IMPL_H

/*
 * Inside the provider pool. pool.c: accounts, settings, begin and end. pool_queue.c: calls, their
 * order and answers. pool_worker.c: the worker processes of an account. pool_list.c: what people see.
 *
 * Lifetimes: a call is in exactly one list: queued at its cluster, in flight at its worker, or
 * deferred (its answer is known and told from the loop). An account lives while it is set, has a
 * worker or a call. A pool_worker lives until its process has ended and no ack refers to it.
 */

#include "host/provider/provider_pool.h"
#include "host/provider/plugin_folder.h"
#include "host/provider/turns.h"
#include "host/worker/worker.h"

#define POOL_MAX_INFLIGHT 64
#define POOL_CRASHES 5
#define POOL_CRASH_WINDOW_MS (10 * 60 * 1000)
#define POOL_OVERDUE_MS 2000   /* past an op's deadline: the worker hangs */
#define POOL_START_MS 10000    /* for load and start() */
#define POOL_STOP_MS 7000      /* stop() has 5 s of it */
#define POOL_CHECK_MS 1000     /* how often a call looks at the plugin file */

struct account;
struct pool_worker;

enum call_state { CALL_QUEUED, CALL_INFLIGHT, CALL_DEFERRED };

struct provider_call {
	uint32_t magic;
	enum call_state state;
	struct provider_pool *pool;
	struct account *account;       /* NULL: unknown account, deferred */
	struct pool_worker *worker;    /* in flight */
	struct provider_call *next;
	char *cluster;                 /* whose turn it takes */
	char *project;                 /* tenant/project: the turn before that */
	char *op, *subject;
	uint64_t key;                  /* hash of op and subject */
	uint64_t id;
	json_t *doc;
	uint32_t timeout_ms;
	uint64_t kill_at;
	provider_cb cb;                /* NULL: cancelled */
	void *arg;
	struct pcg_error err;          /* deferred */
};

/* A tenant's project: its turn is the time, in served calls, at which it was last served. */
struct project_turn {
	struct project_turn *next;
	char *name;
	uint64_t turn;
};

struct cluster_queue {
	struct cluster_queue *next;
	struct project_turn *project;
	char *uid;
	struct provider_call *head, **tail;
};

enum pool_worker_state { PW_STARTING, PW_READY, PW_STOPPING, PW_DEAD };

struct pool_worker {
	uint32_t magic;
	unsigned refs;
	uint64_t number;               /* grows from one worker of an account to the next */
	enum pool_worker_state state;
	struct provider_pool *pool;
	struct account *account;
	struct pool_worker *next;
	struct worker *process;
	struct plugin_file *plugin;
	struct file_mark mark;         /* of the file it was started with */
	bool retired, final, refused, retired_early;
	bool deaf;                     /* took nothing any more: no call goes there */
	bool brief;                    /* started to end what another one left, not for a call */
	struct provider_call *calls;   /* in flight */
	size_t n_calls, max_parallel;
	uint64_t due;                  /* of starting, of stopping */
	uint64_t idle_since;
	bool has_watch, watch_cancelled;
	uint64_t watch_id, watch_at;
	unsigned watch_failures;
	int64_t started_ms;            /* wall clock */
	uint64_t answered;
};

struct pending_key {
	uint64_t key, until;
};

struct account {
	struct account *next;
	struct provider_pool *pool;
	char *uid, *provider;
	json_t *doc;                   /* NULL: removed */
	struct cluster_queue *clusters, **clusters_end;
	struct project_turn *projects; /* few, kept with the account */
	uint64_t turns;
	size_t queued, inflight;
	struct pool_worker *workers, *current;
	int64_t crashes[POOL_CRASHES]; /* newest last */
	size_t n_crashes;
	uint64_t restart_at;
	bool refused;                  /* err says why; also when quarantined */
	bool quarantined;
	struct file_mark refused_mark; /* the plugin file that was refused */
	struct pcg_error err;
	uint64_t last_number;
	json_t *secrets_of;            /* name -> number of the worker that put it last */
	struct pending_key *pending;   /* asked, not done: the caller will ask again */
	size_t n_pending;
	uint64_t calls;
};

struct provider_pool {
	uint32_t magic;
	uv_loop_t *loop;
	char *exe, *plugins_dir, *gateway_uid;
	uint32_t idle_ms, max_connections;
	struct proxy_set *proxy;
	json_t *trial;                 /* NULL in a gateway */
	struct provider_hooks hooks;
	struct account *accounts;
	struct plugin_file *plugins;
	struct turn_name *turns;
	struct file_mark resolver[2];
	uint64_t resolver_checked;
	uint64_t next_id;
	size_t n_workers;
	struct provider_call *deferred, **deferred_end;
	uv_idle_t deliver;
	uv_timer_t timer;              /* for everything that falls due; not running when nothing does */
	uint64_t timer_at;
	bool closing;
	int open_handles;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* pool.c */
uint64_t pool_now(const struct provider_pool *p);
void pool_due(struct provider_pool *p, uint64_t at); /* something falls due then */
struct account *pool_account(struct provider_pool *p, const char *uid);
void pool_account_gone(struct account *a); /* frees a removed account that has nothing left */
void pool_check_closed(struct provider_pool *p);
void pool_account_forgive(struct account *a); /* ends refusal, quarantine, crashes */

/* pool_queue.c */
void pool_dispatch(struct account *a);
void pool_defer_error(struct provider_call *c, const struct pcg_error *err);
void pool_fail_queued(struct account *a, const struct pcg_error *err);
void pool_reply(struct pool_worker *w, const json_t *frame);
void pool_fail_inflight(struct pool_worker *w, const struct pcg_error *err);
void pool_drop_calls(struct provider_pool *p); /* no callbacks any more */
struct provider_call *pool_inflight_find(struct pool_worker *w, uint64_t id);
bool pool_pending(struct account *a);
void pool_deliver(uv_idle_t *idle);

/* pool_worker.c */
/* The worker that calls go to; starts one. NULL: none now (err of the account, or restart_at). */
struct pool_worker *pool_worker_get(struct account *a);
int pool_worker_send(struct pool_worker *w, json_t *frame, struct pcg_error *err); /* steals frame */
int pool_worker_send_op(struct pool_worker *w, json_t *frame, const json_t *doc, struct pcg_error *err); /* the same */
void pool_worker_retire(struct pool_worker *w, bool final); /* finishes its calls, then stops */
void pool_worker_close(struct pool_worker *w); /* at the end of the pool: does not wait for calls */
void pool_worker_settle(struct pool_worker *w); /* after an answer: watch, idle, stop */
/* What is due at this worker now; returns when to look again, UINT64_MAX: never. May free w. */
uint64_t pool_worker_tick(struct pool_worker *w, uint64_t now);
void pool_worker_unref(struct pool_worker *w);

void pool_projects_free(struct account *a);

#endif
