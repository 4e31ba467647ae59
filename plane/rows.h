/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_ROWS_H
#define PLANE_ROWS_H

/*
 * The plane's database: public objects as JSON trees by kind and uid, sealed secrets, settings that the plane
 * made for itself. All functions return a negative code with err set on failure. A caller that changes
 * something holds a transaction.
 */

#include "plane/plane.h"

/* kind: what the object is, and what parent means for it */
#define ROWS_OVERLORD "overlord"       /* - */
#define ROWS_ACCOUNT "account"         /* overlord; secret "spec" */
#define ROWS_PROFILE "profile"         /* - */
#define ROWS_CLUSTER "cluster"         /* overlord; secrets "recovery", "kubeconfig" */
#define ROWS_STATUS "status"           /* uid of its cluster; what the gateway reported */
#define ROWS_DOCUMENT "document"       /* uid of its cluster; what the gateway is told */
#define ROWS_CLOUDCONFIG "cloudconfig" /* parent: cluster */
#define ROWS_CERT "cert"               /* tenant; secret "key" */
#define ROWS_POOL "pool"               /* overlord */
#define ROWS_DNSMAP "dnsmap"           /* overlord */
#define ROWS_ADDRESS "address"         /* cluster; name: its pool (addresses.h) */
#define ROWS_ENDPOINT "endpoint"       /* -; uid: its cluster's */
#define ROWS_APIKEY "apikey"           /* user; name is the key's hash */
#define ROWS_TOKEN "token"             /* user; uid is the token's hash */
#define ROWS_FOUND "found"             /* overlord; a cluster that only its gateway knows; secret "found" */
#define ROWS_FORWARD "forward"         /* migrated overlord; parent: its successor */

extern const char rows_schema[];

int rows_put(struct plane *p, const char *kind, const char *uid, const char *name, const char *parent,
	     const json_t *doc, struct pcg_error *err);
/* 1: *doc is a new reference; 0: none (*doc is NULL). */
int rows_get(struct plane *p, const char *kind, const char *uid, json_t **doc, struct pcg_error *err);
/* By name. */
int rows_find(struct plane *p, const char *kind, const char *name, json_t **doc, struct pcg_error *err);
/* All of that name. */
int rows_named(struct plane *p, const char *kind, const char *name, json_t **docs, struct pcg_error *err);
/* In the order in which they were made; parent NULL: all. *docs is a new array. */
int rows_list(struct plane *p, const char *kind, const char *parent, json_t **docs,
	      struct pcg_error *err);
/* Number of rows; parent NULL: all. */
int rows_count(struct plane *p, const char *kind, const char *parent, int64_t *n,
	       struct pcg_error *err);
/* 1: was there. */
int rows_delete(struct plane *p, const char *kind, const char *uid, struct pcg_error *err);

int rows_secret_put(struct plane *p, const char *uid, const char *what, const void *data, size_t len,
		    struct pcg_error *err);
int rows_secret_put_json(struct plane *p, const char *uid, const char *what, const json_t *doc,
			 struct pcg_error *err);
/* 1: there; 0: none. */
int rows_secret_get(struct plane *p, const char *uid, const char *what, struct secret **out,
		    struct pcg_error *err);
int rows_secret_get_json(struct plane *p, const char *uid, const char *what, json_t **doc,
			 struct pcg_error *err);
/* what NULL: all of that uid. */
int rows_secret_delete(struct plane *p, const char *uid, const char *what, struct pcg_error *err);

int rows_meta_put(struct plane *p, const char *name, const char *value, struct pcg_error *err);
/* *value NULL: none. The caller frees. */
int rows_meta_get(struct plane *p, const char *name, char **value, struct pcg_error *err);
/* A number that grows with every call and is never given twice, also not by a plane that was
 * restored from a backup. */
int rows_next_seq(struct plane *p, int64_t *seq, struct pcg_error *err);

/* The same event again changes nothing. */
int rows_event_add(struct plane *p, const char *cluster, const json_t *event, struct pcg_error *err);
/* Newest first. kind_uid NULL: of all clusters. */
int rows_event_list(struct plane *p, const char *cluster, int64_t limit, json_t **events,
		    struct pcg_error *err);
int rows_event_delete(struct plane *p, const char *cluster, struct pcg_error *err);

#endif
