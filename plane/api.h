/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_API_H
#define PLANE_API_H

/*
 * The public API: a table of routes, each a function that runs inside one transaction when it may
 * change something. It leaves its answer in the call and returns 0 (committed, then answered), 1 (the
 * answer is a refusal: rolled back, then answered), API_LATER (the exchange was given to
 * somebody else who answers), or a negative code (a fault of ours: rolled back, 500).
 */

#include "plane/plane.h"

#define API_PARAMS 4
#define API_LATER 2

struct api_call {
	struct plane *p;
	struct http_exchange *x;
	const struct http_server_request *req;
	json_t *body;                  /* NULL: none was sent */
	char param[API_PARAMS][256];   /* the path's {} in order */
	const char *user;
	bool tenant_scope;             /* no ProjectUid header */
	/* the answer */
	int status;
	json_t *reply;
	const char *content_type;      /* NULL: JSON */
	struct secret *raw;            /* body when content_type is set */
};

typedef int (*api_handler)(struct api_call *c, struct pcg_error *err);

#define API_PUBLIC 1u  /* without credentials */
#define API_CHANGES 2u /* in a transaction */
#define API_BODY 4u    /* a JSON object is needed */

struct api_route {
	const char *method;
	const char *pattern; /* {} stands for one segment */
	api_handler handler;
	unsigned int flags;
};

/* http_handler of the server; arg is the plane. */
void api_handle(void *arg, struct http_exchange *x, const struct http_server_request *req);

/* Answers. reply's reference is taken. Each returns what the handler returns. */
int api_reply(struct api_call *c, int status, json_t *reply);
int api_created(struct api_call *c, const char *uid);
int api_no_content(struct api_call *c);
int api_items(struct api_call *c, json_t *items); /* {items, listmeta}, paged by limit and offset; takes items */
int api_refuse(struct api_call *c, int status, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* 400 InvalidRequest whose details.fields is an array of {field, text[, remedy]}; takes fields. */
int api_refuse_fields(struct api_call *c, const char *what, json_t *fields);
int api_not_found(struct api_call *c, const char *what, const char *uid);
/* Appends one. */
void api_field(json_t *fields, const char *field, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same form for an exchange that waited. */
void api_answer_error(struct http_exchange *x, int status, const char *code, const char *message,
		      json_t *details);

/* A public metadata object from a request's, with uid, times and scope set by us. New reference. */
json_t *api_metadata(struct api_call *c, const json_t *given, const char *uid);
/* Copies name, labels, annotations of a request over metadata, keeping what is ours. A body's "metadata" was checked before
 * any handler runs: absent, or an object with a text as name and objects of texts as labels and annotations. */
void api_metadata_update(json_t *metadata, const json_t *given);
const char *api_query(struct api_call *c, const char *name);
/* Equality of type: NULL and JSON null count as absent. */
bool api_absent(const json_t *j);
bool api_dns_label(const char *s, size_t max);

extern const struct api_route api_pool_routes[], api_dns_routes[];
extern const struct api_route api_tenant_routes[], api_overlord_routes[], api_account_routes[],
	api_profile_routes[], api_cluster_routes[], api_feature_routes[], api_cloudconfig_routes[],
	api_found_routes[], api_choice_routes[];

#endif
