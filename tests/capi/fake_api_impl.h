/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CAPI_FAKE_API_IMPL_H
#define TESTS_CAPI_FAKE_API_IMPL_H

/* Inside the stand-in: fake_objects.c keeps objects by the rules of a server, fake_api.c has requests,
 * controllers and faults. */

#include "tests/capi/fake_api.h"

struct fake_api {
	uv_loop_t *loop;
	struct http_server *server;
	struct relay *relay;
	struct kube *kube;
	char *ca, *server_cert, url[64];
	struct secret *ca_key, *server_key;
	json_t *objects; /* path -> object */
	json_t *violations;
	long requests, fail_at, cluster_patches, fail_cluster_patch_at, overtake_at;
	const char *overtake_name, *overtake_value;
	enum fake_fault fault;
	bool fired, deaf, stuck_pod, dry_run;
	int64_t clock_ms; /* ahead of ours */
	char *warning;
	json_t *served; /* group: version, where it is not v1beta2 */
	void (*controller)(struct fake_api *f);
	int webhooks_down, refused_deletes;
	const char *refused_kind;
	uint64_t version;
	long uid;
	bool closed;
};

struct answer {
	int status;
	json_t *body; /* owned */
};

void fake_violation(struct fake_api *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
struct answer fake_refuse(int code, const char *reason, const char *message);
void fake_stamp(struct fake_api *f, json_t *object);
void fake_merge(json_t *into, const json_t *patch);
struct answer fake_create(struct fake_api *f, const char *collection, const json_t *body);
struct answer fake_patch_status(struct fake_api *f, const char *path, const json_t *body);
struct answer fake_patch(struct fake_api *f, const char *path, const json_t *body);
struct answer fake_remove(struct fake_api *f, const char *path, const json_t *body);
struct answer fake_apply(struct fake_api *f, const char *path, const json_t *body);
struct answer fake_get(struct fake_api *f, const char *path, const char *selector,
			    const char *from);
bool fake_serves(struct fake_api *f, const char *path);

#endif
