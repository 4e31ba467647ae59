/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/api.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/id.h"
#include "core/log.h"
#include "core/utf8.h"
#include "plane/gateways.h"
#include "plane/rows.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MESSAGE_MAX 1023
#define FIELD_MAX 511

int api_reply(struct api_call *c, int status, json_t *reply)
{
	c->status = status;
	c->reply = reply;
	return 0;
}

int api_created(struct api_call *c, const char *uid)
{
	return api_reply(c, 201, json_pack("{s:s}", "uid", uid));
}

int api_no_content(struct api_call *c)
{
	return api_reply(c, 204, NULL);
}

/* Never NULL, whatever bytes the message has. */
static json_t *error_body(const char *code, const char *message, json_t *details)
{
	json_t *body = json_object();
	char ref[37];

	id_uuid4(ref);
	json_put_str(body, "code", code);
	json_put_str(body, "message", message);
	json_put_str(body, "ref", ref);
	json_put(body, "details", details ? details : json_object());
	return body;
}

int api_refuse(struct api_call *c, int status, const char *code, const char *fmt, ...)
{
	AUTO_FREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = utf8_format(MESSAGE_MAX, fmt, ap);
	va_end(ap);
	api_reply(c, status, error_body(code, text, NULL));
	return 1;
}

int api_refuse_fields(struct api_call *c, const char *what, json_t *fields)
{
	AUTO_FREE char *text = NULL;
	const json_t *first = json_array_get(fields, 0);
	size_t more = json_array_size(fields) - 1;
	int n;

	if (more)
		n = asprintf(&text, "%s: %s: %s; and %zu more, see details", what,
			     json_str_or(first, "field", ""), json_str_or(first, "text", ""), more);
	else
		n = asprintf(&text, "%s: %s: %s", what, json_str_or(first, "field", ""),
			     json_str_or(first, "text", ""));
	assert(n >= 0);
	api_reply(c, 400, error_body("InvalidRequest", text, json_pack("{s:o}", "fields", fields)));
	return 1;
}

int api_not_found(struct api_call *c, const char *what, const char *uid)
{
	return api_refuse(c, 404, "ResourceNotFound", "%s '%.64s' does not exist", what, uid);
}

void api_field(json_t *fields, const char *field, const char *fmt, ...)
{
	AUTO_FREE char *text = NULL;
	json_t *one = json_object();
	va_list ap;

	va_start(ap, fmt);
	text = utf8_format(FIELD_MAX, fmt, ap);
	va_end(ap);
	json_put_str(one, "field", field);
	json_put_str(one, "text", text);
	json_add(fields, one);
}

void api_answer_error(struct http_exchange *x, int status, const char *code, const char *message,
		      json_t *details)
{
	AUTO_JSON json_t *body = error_body(code, message, details);

	http_exchange_reply_json(x, status, body);
}

static int64_t number(const char *s, int64_t def)
{
	char *end;
	long long n;

	if (!s || !*s)
		return def;
	n = strtoll(s, &end, 10);
	return *end || n < 0 ? def : n;
}

int api_items(struct api_call *c, json_t *items)
{
	size_t count = json_array_size(items);
	size_t offset = (size_t)number(api_query(c, "continue"), number(api_query(c, "offset"), 0));
	size_t limit = (size_t)number(api_query(c, "limit"), 0);
	json_t *page = items;
	char next[24] = "";

	if (offset || (limit && limit < count)) {
		page = json_array();
		for (size_t i = offset; i < count && (!limit || i < offset + limit); i++)
			json_array_append(page, json_array_get(items, i));
		json_decref(items);
		if (limit && offset + limit < count)
			snprintf(next, sizeof(next), "%zu", offset + limit);
	}
	return api_reply(c, 200, json_pack("{s:o,s:{s:s,s:I,s:I,s:I}}", "items", page, "listmeta",
					   "continue", next, "count", (json_int_t)count, "limit",
					   (json_int_t)limit, "offset", (json_int_t)offset));
}

bool api_absent(const json_t *j)
{
	return !j || json_is_null(j);
}

bool api_dns_label(const char *s, size_t max)
{
	size_t n = s ? strlen(s) : 0;

	if (!n || n > max || s[0] == '-' || s[n - 1] == '-')
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

void api_metadata_update(json_t *metadata, const json_t *given)
{
	const char *key;
	json_t *value, *annotations;
	char now[CLOCK_RFC3339_SIZE];

	json_object_foreach((json_t *)given, key, value) {
		if (strcmp(key, "uid") == 0 || strstr(key, "Timestamp") || strcmp(key, "annotations") == 0 || api_absent(value))
			continue;
		json_object_set(metadata, key, value);
	}
	annotations = json_object_get(metadata, "annotations");
	if (!json_is_object(annotations)) {
		annotations = json_object();
		json_object_set_new(metadata, "annotations", annotations);
	}
	json_object_foreach(json_object_get(given, "annotations"), key, value)
		json_object_set(annotations, key, value);
	json_object_set_new(metadata, "lastModifiedTimestamp",
			    json_string(clock_rfc3339(clock_wall_ms(), now)));
}

json_t *api_metadata(struct api_call *c, const json_t *given, const char *uid)
{
	char now[CLOCK_RFC3339_SIZE];
	json_t *out;

	clock_rfc3339(clock_wall_ms(), now);
	out = json_pack("{s:s,s:s,s:{},s:{}}", "uid", uid, "creationTimestamp", now, "labels",
			"annotations");
	if (json_is_object(given))
		api_metadata_update(out, given);
	if (!json_is_object(json_object_get(out, "labels")))
		json_object_set_new(out, "labels", json_object());
	json_put_str(out, "annotations.scope", c->tenant_scope ? "tenant" : "project");
	json_put_str(out, "annotations.tenantUid", c->p->tenant);
	json_put_str(out, "annotations.ownerUid", c->user);
	if (!c->tenant_scope)
		json_put_str(out, "annotations.projectUid", c->p->project);
	return out;
}

const char *api_query(struct api_call *c, const char *name)
{
	return http_exchange_query(c->x, name);
}

/* Longest literal match first is given by the order of the tables: a route with a literal stands before
 * the one that has {} in its place. */
static bool match(const char *pattern, const char *path, struct api_call *c)
{
	size_t n = 0;

	while (*pattern) {
		if (pattern[0] == '{' && pattern[1] == '}') {
			size_t len = strcspn(path, "/");

			if (!len || len >= sizeof(c->param[0]) || n == API_PARAMS)
				return false;
			memcpy(c->param[n], path, len);
			c->param[n++][len] = 0;
			path += len;
			pattern += 2;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *path == 0 || strcmp(path, "/") == 0;
}

static const struct api_route *find_route(struct api_call *c, bool *path_known)
{
	static const struct api_route *const tables[] = { api_tenant_routes,     api_choice_routes,
							  api_overlord_routes,
							  api_account_routes,    api_profile_routes,
							  api_cloudconfig_routes, api_feature_routes,
							  api_cluster_routes,     api_found_routes,
							  api_pool_routes,        api_dns_routes };

	*path_known = false;
	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		for (const struct api_route *r = tables[i]; r->method; r++) {
			if (!match(r->pattern, c->req->path, c))
				continue;
			*path_known = true;
			if (strcmp(r->method, c->req->method) == 0)
				return r;
		}
	return NULL;
}

/* 1: known, c->user set. */
static int who(struct api_call *c, char user[64], struct pcg_error *err)
{
	const char *key = http_exchange_header(c->x, "apikey");
	const char *token = http_exchange_header(c->x, "authorization");
	AUTO_JSON json_t *doc = NULL;
	char hash[65];
	int r;

	if (!key && !token)
		return 0;
	setup_sha256(key ? key : token, strlen(key ? key : token), hash);
	r = key ? rows_find(c->p, ROWS_APIKEY, hash, &doc, err) : rows_get(c->p, ROWS_TOKEN, hash, &doc, err);
	if (r <= 0)
		return r;
	if (key && !json_bool_or(doc, "isActive", false))
		return 0;
	if (json_int_or(doc, "expiresMs", INT64_MAX) < clock_wall_ms())
		return 0;
	snprintf(user, 64, "%s", json_str_or(doc, "user", ""));
	c->user = user;
	return 1;
}

/* Texts by name. */
static void check_texts(const json_t *texts, const char *field, json_t *fields)
{
	const char *key;
	json_t *v;

	if (!api_absent(texts) && !json_is_object(texts))
		api_field(fields, field, "is not an object");
	json_object_foreach((json_t *)(uintptr_t)texts, key, v)
		if (!api_absent(v) && !json_is_string(v))
			api_field(fields, field, "'%.64s' is not text", key);
}

/* Every body's metadata has the same form. */
static int check_metadata(struct api_call *c)
{
	const json_t *m = json_object_get(c->body, "metadata"), *name = json_object_get(m, "name");
	json_t *fields = json_array();

	if (!api_absent(m) && !json_is_object(m))
		api_field(fields, "metadata", "is not an object");
	if (!api_absent(name) && !json_is_string(name))
		api_field(fields, "metadata.name", "is not text");
	check_texts(json_object_get(m, "labels"), "metadata.labels", fields);
	check_texts(json_object_get(m, "annotations"), "metadata.annotations", fields);
	if (json_array_size(fields))
		return api_refuse_fields(c, "the request", fields);
	json_decref(fields);
	return 0;
}

static int read_body(struct api_call *c, unsigned int flags, struct pcg_error *err)
{
	if (c->req->body_len) {
		if (json_parse_within(c->req->body, c->req->body_len, PLANE_DEPTH_MAX, "the request's body", &c->body,
				      err))
			return api_refuse(c, 400, "InvalidRequest", "%s", err->text);
		if (json_is_null(c->body))
			json_decref(TAKE(c->body));
	}
	if ((flags & API_BODY) && !json_is_object(c->body))
		return api_refuse(c, 400, "InvalidRequest", "the request's body is not a JSON object");
	return check_metadata(c);
}

static int run(struct api_call *c, const struct api_route *route, struct pcg_error *err)
{
	int r = read_body(c, route->flags, err);

	if (r)
		return r;
	if (!(route->flags & API_CHANGES))
		return route->handler(c, err);
	r = db_begin(c->p->db, err);
	if (r)
		return r;
	r = route->handler(c, err);
	if (r) {
		db_rollback(c->p->db);
		return r;
	}
	FAULT_POINT("plane.before_api_commit");
	r = gateways_commit(c->p, err);
	if (r)
		db_rollback(c->p->db);
	FAULT_POINT("plane.after_api_commit");
	/* Before the answer: the gateway has more to do with it than who asked. */
	gateways_flush(c->p);
	return r;
}

static void send_reply(struct api_call *c)
{
	if (c->content_type)
		http_exchange_reply(c->x, c->status, c->content_type, secret_data(c->raw),
				    secret_len(c->raw));
	else
		http_exchange_reply_json(c->x, c->status, c->reply);
}

static void dispatch(struct api_call *c, struct pcg_error *err)
{
	const struct api_route *route;
	char user[64] = "";
	bool known;
	int r = 0;

	route = find_route(c, &known);
	if (!route || !(route->flags & API_PUBLIC))
		r = who(c, user, err);
	if (r < 0) {
		log_err("api_failed", err, LS("method", c->req->method), LS("path", c->req->path));
		api_refuse(c, 500, "InternalError", "%s", err->text);
	} else if (r == 0 && !(route && (route->flags & API_PUBLIC))) {
		api_refuse(c, 401, "Unauthorized",
			   "no valid ApiKey or Authorization header was sent; the plane's first key is in its state "
			   "folder, file api-key");
	} else if (!route && known) {
		api_refuse(c, 405, "MethodNotAllowed", "%s is not served for %s", c->req->method,
			   c->req->path);
	} else if (!route) {
		api_refuse(c, 404, "ResourceNotFound", "%s is not served", c->req->path);
	} else {
		r = run(c, route, err);
		if (r == API_LATER)
			return;
		if (r < 0) {
			log_err("api_failed", err, LS("method", c->req->method), LS("path", c->req->path));
			json_decref(TAKE(c->reply));
			secret_unref(TAKE(c->raw));
			c->content_type = NULL;
			api_refuse(c, 500, "InternalError", "%s", err->text);
		}
	}
	FAULT_POINT("plane.before_api_reply");
	send_reply(c);
}

void api_handle(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	struct plane *p = arg;
	struct api_call c = { .p = p, .x = x, .req = req };
	struct pcg_error err = { 0 };

	if (strncmp(req->path, "/gateway/v1/", 12) == 0) {
		gateways_handle(p, x, req);
		return;
	}
	c.tenant_scope = !http_exchange_header(x, "projectuid");
	dispatch(&c, &err);
	json_wipe(c.body);
	json_decref(c.reply);
	secret_unref(c.raw);
	gateways_flush(p);
}
