/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CAPI_FAKE_API_H
#define TESTS_CAPI_FAKE_API_H

/*
 * A kube-apiserver as far as the operations use it, strict where a real one is: resourceVersion,
 * uids, immutable templates, empty members of Cluster API's schemas, finalizers, paged lists.
 * Behind it a Deployment controller and controllers that observe a pause, which act between
 * requests. TLS, behind a relay that can cut every connection.
 */

#include "core/json.h"
#include "core/secret.h"
#include "kube/kube.h"

#include <uv.h>

enum fake_fault {
	FAKE_NONE,
	FAKE_ERROR,      /* 500, nothing done */
	FAKE_CUT_BEFORE, /* the connection ends, nothing done */
	FAKE_CUT_AFTER,  /* done, and the connection ends without an answer */
	FAKE_DENIED,     /* 401, nothing done */
	FAKE_BUSY,       /* 429, nothing done */
	FAKE_CONFLICT,   /* 409, as if somebody else had written in between */
};

struct fake_api;

struct fake_api *fake_api_new(uv_loop_t *loop, struct http_client *http);
void fake_api_free(struct fake_api *f); /* and runs the loop until all is closed */
struct kube *fake_api_kube(struct fake_api *f);
const char *fake_api_url(const struct fake_api *f);
const char *fake_api_ca(const struct fake_api *f);
const struct secret *fake_api_ca_key(const struct fake_api *f);

/* The n-th request from now on (1: the next) goes wrong. */
void fake_api_fail(struct fake_api *f, long n, enum fake_fault fault);
/* The n-th PATCH of a Cluster from now on. */
void fake_api_fail_cluster_patch(struct fake_api *f, long n, enum fake_fault fault);
/* Takes back what has not happened yet, and lets every connection in. */
void fake_api_heal(struct fake_api *f);
bool fake_api_fired(const struct fake_api *f);
/* Right before the n-th PATCH of a Cluster from now on somebody else writes this to it: a merge patch
 * of its annotations, "name" to "value". */
void fake_api_overtake_cluster_patch(struct fake_api *f, long n, const char *name, const char *value);
long fake_api_requests(const struct fake_api *f);
/* The first n creations are answered as when a webhook's pod is not up yet. */
void fake_api_webhooks_down(struct fake_api *f, int n);
/* The first n deletes of objects of this kind are refused, as by a webhook whose cache is behind. */
void fake_api_refuse_deletes(struct fake_api *f, const char *kind, int n);
/* Controllers that never look at anything. */
void fake_api_deaf_controllers(struct fake_api *f);
/* A pod of a controller that does not end. */
void fake_api_stuck_pod(struct fake_api *f, bool stuck);

/* Another controller, which looks at the objects between requests. */
void fake_api_controller(struct fake_api *f, void (*fn)(struct fake_api *f));
void fake_api_drop(struct fake_api *f, const char *path);
/* Its clock, as every answer tells it, beside ours. */
void fake_api_turn_clock(struct fake_api *f, int64_t ahead_ms);
/* A Warning header in every answer; NULL: none. */
void fake_api_warn(struct fake_api *f, const char *header);
/* The one version of a group of Cluster API that is served; v1beta2 unless set. */
void fake_api_serve(struct fake_api *f, const char *group, const char *version);

/* As a client of its own: "/api/v1/namespaces/default/secrets/c1-ca". borrowed; NULL: not there. */
json_t *fake_api_get(struct fake_api *f, const char *path);
size_t fake_api_count(struct fake_api *f);
/* Puts an object as it stands, without checks; steals it. */
void fake_api_put(struct fake_api *f, const char *path, json_t *object);
/* One request handled at once; returns the status. body may be NULL. */
int fake_api_request(struct fake_api *f, const char *method, const char *path,
		     const char *content_type, const json_t *body);
/* What no client may do, as sentences; empty when all was well. */
const json_t *fake_api_violations(const struct fake_api *f);

#endif
