/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_CLOUD_H
#define SIMCLOUD_CLOUD_H

/*
 * The simulated infrastructure: clusters (an endpoint each), machines, settings. One loop, one
 * thread. Every change goes to persist at once and is durable before an answer tells of it
 * (reply.h).
 */

#include "core/error.h"
#include "core/json.h"
#include "core/secret.h"
#include "net/http_server.h"
#include "plugins/sim/simcloud/map.h"
#include "plugins/sim/simcloud/persist.h"

#include <uv.h>

struct kapi;
struct reply;

/* name, default, what it is: milliseconds unless said otherwise */
#define CLOUD_SETTINGS(X)                                                                          \
	X(call_ms, 0, "delay of each answer of this API")                                          \
	X(task_ms, 0, "time until a machine is on, off or deleted")                                \
	X(boot_ms, 0, "time from a machine's power on until its Kubernetes API answers")           \
	X(kube_call_ms, 0, "delay of each answer of the Kubernetes APIs")                          \
	X(crd_ms, 10, "time until an applied CRD is established")                                  \
	X(pods_ms, 20, "time until a Deployment or DaemonSet that can run is available")           \
	X(controllers_ms, 20, "time between a change and the controllers' answer to it")           \
	X(gc_ms, 1000, "time until the garbage collector looks for lost owners")                   \
	X(capacity, 100000, "how many machines there may be")

struct cloud_settings {
#define X(name, def, doc) int64_t name;
	CLOUD_SETTINGS(X)
#undef X
};

struct cloud_stats {
	uint64_t calls, kube_calls, tasks, machines_made, machines_deleted, new_ca, kube_refused, released;
};

#define CLOUD_CHANGES 4096

struct cloud {
	uv_loop_t *loop;
	struct persist *persist;
	struct secret *token;
	struct http_server *server;
	struct cloud_settings settings;
	struct cloud_stats stats;
	json_t *failures;          /* array of {op, count, status, class} */
	json_t *calls;             /* op -> how many */
	struct map clusters;       /* uid -> struct cluster */
	struct map machines;       /* uid -> struct machine */
	struct map apis;           /* id -> struct kapi */
	size_t watches;            /* of all APIs */
	char *changes[CLOUD_CHANGES]; /* uids, by seq */
	uint64_t seq;              /* of the newest change */
	uint64_t first_seq;        /* of this process: what a client knows from before is lost */
	uint32_t next_address;
	struct reply *replies;     /* wait for the commit */
	struct reply *waiters;     /* long waits for changes */
	uv_prepare_t prepare;
	uv_check_t check;
	bool closing;
};

struct cluster {
	struct cloud *cloud;
	char *uid, *name;
	uint16_t port;
	int holder; /* a bound socket that does not listen: keeps the port ours */
};

int cloud_new(uv_loop_t *loop, const char *dir, struct secret *token, struct cloud **out,
	      struct pcg_error *err);
/* Ends timers and APIs; the loop runs until they are closed. */
void cloud_close(struct cloud *c);
void cloud_free(struct cloud *c);

/* Finds or makes; PCG_ERR… when no port is free. */
int cloud_cluster_ensure(struct cloud *c, const char *uid, const char *name, struct cluster **out,
			 struct pcg_error *err);
void cloud_cluster_delete(struct cloud *c, struct cluster *cl);

/* What changed: wakes the long waits. */
void cloud_changed(struct cloud *c, const char *uid);
/* Uids changed after since, each once. *reset: since is not of this process, all are given. */
json_t *cloud_changes_since(struct cloud *c, uint64_t since, bool *reset);
/* Takes a failure that was set for op: 1 and status, class; 0: none. */
int cloud_take_failure(struct cloud *c, const char *op, int *status, char class[32]);
/* The name of a member that is none, or whose value is none; NULL: good. */
const char *cloud_settings_wrong(const json_t *j);
void cloud_settings_apply(struct cloud *c, const json_t *j);
json_t *cloud_settings_json(const struct cloud *c);

#endif
