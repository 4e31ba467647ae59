/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_PLANE_H
#define PLANE_PLANE_H

/* What every part of the plane shares. One thread, one loop. */

#include "core/buf.h"
#include "core/db.h"
#include "core/error.h"
#include "core/json.h"
#include "core/secret.h"
#include "net/http_server.h"

#include <uv.h>

#define PLANE_VERSION 1
#define PLANE_DELETED_KEPT_MS (72LL * 3600 * 1000)
/* Levels that a body and a cluster's document may have. Every parser on the way stops at JSON_DEPTH_MAX, for a whole message,
 * and what came in a body stands deeper in it: by 3 in a gateway's instructions, by 4 in its reports, by a few in its own frames. */
#define PLANE_DEPTH_MAX 48

struct gateways;

struct plane_options {
	const char *state_dir;
	const char *listen;            /* ADDRESS:PORT */
	const char *packs_dir;         /* NULL: none */
	const char *ready_file;        /* NULL: none */
	const char *const *names;      /* more names for the server certificate; NULL-terminated */
	const char *public_url;        /* what gateways and clusters are told; NULL: https://NAME:PORT */
	int64_t force_delete_after_s;
	int64_t pairing_life_s;
	int64_t certificate_life_s;
	int64_t query_timeout_ms;
};

struct plane {
	struct plane_options opt;
	uv_loop_t *loop;
	struct db *db;
	struct secret *key;            /* seals what is secret in the database */
	char *id;
	char *tenant, *project, *user;
	char *ca_pem;
	struct secret *ca_key;
	char *server_pem;
	struct secret *server_key;
	char *url;
	struct http_server *server;
	struct gateways *gateways;
	uv_timer_t rest;               /* after a request: what it needed goes back */
};

/* Opens the state directory; on a first start makes CA, tenant, project, user, API key. *first tells. */
int setup_open(struct plane *p, bool *first, struct pcg_error *err);
/* A server certificate for the names that are asked for, kept while it is good. */
int setup_server_certificate(struct plane *p, struct pcg_error *err);
/* Writes whole or not at all, durable when it returns. */
int setup_write_file(const char *dir, const char *name, const char *text, size_t len, int mode,
		     struct pcg_error *err);
void setup_close(struct plane *p);
/* Default of --state, the same for both programs. The caller frees. */
char *setup_default_state_dir(void);
/* Lower-case hex of the SHA-256 of data. */
void setup_sha256(const void *data, size_t len, char out[65]);

#endif
