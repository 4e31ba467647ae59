/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/rest.h"

#include "plugins/vsphere/session_impl.h"

#include <assert.h>
#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 30000u
#define CLOSE_MS 4000u
#define RESPONSE_MAX (16u << 20)

struct vs_rest {
	pthread_mutex_t lock;  /* everything below; not held while the server is asked */
	pthread_cond_t changed;
	bool busy;             /* somebody logs in or out */
	bool tried_kept;
	bool replaced;         /* the token is of former credentials: to be ended */
	bool old;              /* /rest, not /api */
	char *token;           /* NULL: no session */
	unsigned generation;   /* of the token */
	uint64_t used_at;      /* monotonic */
	unsigned calls;        /* that run now */
};

/* What the error types of the API mean (com.vmware.vapi.std.errors). NOT_FOUND and ALREADY_EXISTS are for the caller to judge. */
static const struct vapi_error {
	const char *type;
	uint32_t class;
	const char *text, *remedy;
} vapi_errors[] = {
	{ "UNAUTHENTICATED", PCG_ERR_AUTH, "the session is over, or user name or password is wrong",
	  "Correct username and password of the cloud account; if both are right, see whether the user is locked, disabled or expired." },
	{ "UNAUTHORIZED", PCG_ERR_AUTH, "the user may not do that", "Give the account's role that privilege on the object." },
	{ "NOT_FOUND", PCG_ERR_NOT_FOUND, "there is no such object", "Nothing, if somebody removed it on purpose." },
	{ "ALREADY_EXISTS", PCG_ERR_CONFLICT, "it exists already", "Remove the other one, or choose another name." },
	{ "ALREADY_IN_DESIRED_STATE", PCG_ERR_CONFLICT, "it is so already", "Nothing." },
	{ "INVALID_ARGUMENT", PCG_ERR_PERMANENT, "an argument is not what vCenter takes",
	  "Check the names of tags and categories." },
	{ "INVALID_ELEMENT_TYPE", PCG_ERR_PERMANENT, "the object is of a type that does not fit",
	  "Check which types of objects the category allows." },
	{ "NOT_ALLOWED_IN_CURRENT_STATE", PCG_ERR_RETRY, "the object's state does not allow that now",
	  "Nothing: it is tried again." },
	{ "UNSUPPORTED", PCG_ERR_PERMANENT, "vCenter does not support that", "Check the version of vCenter." },
	{ "OPERATION_NOT_FOUND", PCG_ERR_PERMANENT, "this vCenter does not have that call", "Check the version of vCenter." },
	{ "RESOURCE_BUSY", PCG_ERR_RETRY, "the object is in use", "Nothing: it is tried again." },
	{ "RESOURCE_INACCESSIBLE", PCG_ERR_RETRY, "vCenter does not reach the object", "Check the object in vCenter." },
	{ "RESOURCE_IN_USE", PCG_ERR_RETRY, "the object is in use", "Nothing: it is tried again." },
	{ "CONCURRENT_CHANGE", PCG_ERR_RETRY, "somebody else changed the object at the same time",
	  "Nothing: it is tried again." },
	{ "SERVICE_UNAVAILABLE", PCG_ERR_RETRY, "the service is not running", "Check the vCenter's services." },
	{ "TIMED_OUT", PCG_ERR_RETRY, "vCenter ran out of time", "Nothing: it is tried again." },
	{ "UNABLE_TO_ALLOCATE_RESOURCE", PCG_ERR_QUOTA, "vCenter has no room for that",
	  "End idle sessions of this user in vCenter, or free resources there." },
	{ "INTERNAL_SERVER_ERROR", PCG_ERR_RETRY, "vCenter failed", "Look at the vCenter's log." },
};

struct vs_rest *vs_rest_new(void)
{
	struct vs_rest *rest = calloc(1, sizeof(*rest));

	assert(rest);
	pthread_mutex_init(&rest->lock, NULL);
	vs_cond_init(&rest->changed);
	rest->generation = 1;
	return rest;
}

void vs_rest_free(struct vs_rest *rest)
{
	if (!rest)
		return;
	vs_wipe(&rest->token);
	pthread_mutex_destroy(&rest->lock);
	pthread_cond_destroy(&rest->changed);
	free(rest);
}

/* "com.vmware.vapi.std.errors.not_found" of /rest, "NOT_FOUND" of /api. */
static void error_type(const json_t *doc, char *out, size_t size)
{
	const char *type = json_string_value(json_object_get(doc, "error_type")), *dot;

	if (!type)
		type = json_string_value(json_object_get(doc, "type"));
	dot = type ? strrchr(type, '.') : NULL;
	snprintf(out, size, "%s", dot ? dot + 1 : type ? type : "");
	for (char *c = out; *c; c++)
		*c = (char)toupper((unsigned char)*c);
}

static const char *type_of_status(unsigned status)
{
	switch (status) {
	case 401:
		return "UNAUTHENTICATED";
	case 403:
		return "UNAUTHORIZED";
	case 404:
		return "NOT_FOUND";
	case 429:
	case 503:
		return "SERVICE_UNAVAILABLE";
	default:
		return status >= 500 ? "INTERNAL_SERVER_ERROR" : "";
	}
}

static void error_of(const char *what, unsigned status, const json_t *doc, struct vs_err *err)
{
	const json_t *messages = json_object_get(json_object_get(doc, "value") ? json_object_get(doc, "value") : doc, "messages");
	const char *message = json_string_value(json_object_get(json_array_get(messages, 0), "default_message"));
	const struct vapi_error *e = NULL;
	char type[64];

	error_type(doc, type, sizeof(type));
	if (!*type)
		snprintf(type, sizeof(type), "%s", type_of_status(status));
	for (size_t i = 0; i < sizeof(vapi_errors) / sizeof(vapi_errors[0]); i++)
		if (strcmp(vapi_errors[i].type, type) == 0)
			e = &vapi_errors[i];
	if (e)
		vs_fail(err, e->class, e->remedy, "%s: %s (%s%s%s)", what, e->text, type, message ? ": " : "",
			message ? message : "");
	else
		vs_fail(err, status >= 500 ? PCG_ERR_RETRY : PCG_ERR_PERMANENT, "Look at the vCenter's log.",
			"%s: the server answered HTTP status %u%s%s%s%s", what, status, *type ? ", " : "", type,
			message ? ": " : "", message ? message : "");
	snprintf(err->fault, sizeof(err->fault), "%s", type);
}

/* Colons are good in a path, and ids of tags have many. */
static void put_id(FILE *out, const char *id)
{
	for (const unsigned char *c = (const unsigned char *)id; *c; c++)
		if (isalnum(*c) || strchr("-._~:", *c))
			fputc(*c, out);
		else
			fprintf(out, "%%%02X", *c);
}

static char *url_of(const struct vs_session *ss, const struct vs_rest_call *what, bool old)
{
	bool vcenter = strncmp(what->service, "vcenter/", 8) == 0;
	const char *id = old && what->rest_id ? what->rest_id : what->id;
	char *url = NULL;
	size_t size;
	FILE *out = open_memstream(&url, &size);

	assert(out);
	fprintf(out, "https://%s/%s%s%s", ss->server, old ? "rest/" : "api/", old && !vcenter ? "com/vmware/" : "", what->service);
	if (id) {
		fputs(old && !vcenter ? "/id:" : "/", out);
		put_id(out, id);
	}
	if (what->action)
		fprintf(out, "?%saction=%s", old && !vcenter ? "~" : "", what->action);
	if (what->query)
		fprintf(out, "%c%s", what->action ? '&' : '?', what->query);
	fclose(out);
	return url;
}

static char *body_of(const struct vs_rest_call *what, bool old)
{
	json_t *whole;
	char *text;

	if (!what->body || (old && what->rest_id))
		return NULL;
	if (!old || !what->wrap)
		return json_dumps(what->body, JSON_COMPACT | JSON_ENCODE_ANY);
	whole = json_pack("{s:O}", what->wrap, what->body);
	text = json_dumps(whole, JSON_COMPACT);
	json_decref(whole);
	return text;
}

struct rest_request {
	const char *method, *url, *body, *what;
	const char *header, *value; /* who asks */
	uint32_t timeout_ms;
};

/* One request and its answer. *doc: a new reference, JSON null for an empty body. The status is what decides for
 * the caller when there is one; 0: there was no answer, err is set. */
static unsigned exchange(struct vs_session *ss, struct pcg_call *call, const struct rest_request *r, json_t **doc,
			 struct vs_err *err)
{
	struct pcg_http_header headers[] = { { "accept", "application/json" }, { "user-agent", "pcg/" PACKAGE_VERSION },
					     { r->header, r->value }, { "content-type", "application/json" } };
	struct pcg_http_request req = {
		.struct_size = sizeof(req), .timeout_ms = r->timeout_ms, .method = r->method, .url = r->url,
		.headers = headers, .n_headers = r->body ? 4 : 3, .body = r->body, .body_len = r->body ? strlen(r->body) : 0,
		.max_response = RESPONSE_MAX,
	};
	struct pcg_http_response resp = { .struct_size = sizeof(resp) };
	unsigned status;

	*doc = NULL;
	if (ss->svc->http(ss->host, call, &req, &resp))
		vs_fail(err, PCG_ERR_BUG, "", "%s: the host refused the request", r->what);
	else if (!resp.status)
		vs_no_answer(err, r->what, &resp);
	else
		*doc = resp.body_len ? json_loadb(resp.body, resp.body_len, JSON_DECODE_ANY, NULL) : json_null();
	status = resp.status;
	ss->svc->http_free(ss->host, &resp);
	return status;
}

static void token_keep(struct vs_session *ss)
{
	const struct vs_rest *rest = ss->rest;
	json_t *doc;
	char *text;

	/* Secrets of validations are shared: their sessions are none that may be in there. */
	if (!ss->keep)
		return;
	doc = rest->token ? json_pack("{s:s, s:s, s:s, s:s, s:b}", "server", ss->server, "salt", ss->salt, "credential", ss->credential,
				      "token", rest->token, "old", rest->old) : NULL;
	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	ss->svc->secret_put(ss->host, VS_REST_SECRET, text);
	vs_wipe(&text);
	json_decref(doc);
}

/* rest's lock held */
static void token_restore(struct vs_session *ss)
{
	struct vs_rest *rest = ss->rest;
	const char *text, *token;
	json_t *doc;

	if (rest->tried_kept || !ss->keep)
		return;
	rest->tried_kept = true;
	text = ss->svc->secret_get(ss->host, VS_REST_SECRET);
	doc = text ? json_loads(text, 0, NULL) : NULL;
	token = json_string_value(json_object_get(doc, "token"));
	/* It goes to nobody but the server that gave it. */
	if (token && strcmp(json_string_value(json_object_get(doc, "server")) ?: "", ss->server) == 0) {
		rest->replaced = strcmp(json_string_value(json_object_get(doc, "credential")) ?: "", ss->credential) != 0;
		rest->token = strdup(token);
		rest->old = json_is_true(json_object_get(doc, "old"));
		rest->used_at = ss->svc->mono_ms(ss->host);
	}
	json_decref(doc);
}

static char *basic(const struct vs_session *ss)
{
	char *plain = NULL, *out;
	int n = asprintf(&plain, "%s:%s", ss->user, ss->password);
	size_t room;

	assert(n >= 0);
	room = sizeof("Basic ") + ((size_t)n + 2) / 3 * 4;
	out = malloc(room);
	assert(out);
	memcpy(out, "Basic ", 6);
	EVP_EncodeBlock((unsigned char *)out + 6, (const unsigned char *)plain, n);
	vs_wipe(&plain);
	return out;
}

static const char *token_in(const json_t *doc)
{
	return json_is_string(doc) ? json_string_value(doc) : json_string_value(json_object_get(doc, "value"));
}

/* One place to log in at. 0: *token; 1: this vCenter does not have it; -1 with err. */
static int login_at(struct vs_session *ss, struct pcg_call *call, bool old, char **token, struct vs_err *err)
{
	char url[400], what[320], *who = basic(ss);
	struct rest_request r = { .method = "POST", .url = url, .what = what, .header = "authorization", .value = who,
				  .timeout_ms = CALL_MS };
	json_t *doc;
	unsigned status;
	int result = -1;

	snprintf(url, sizeof(url), "https://%s%s", ss->server, old ? "/rest/com/vmware/cis/session" : "/api/session");
	snprintf(what, sizeof(what), "login to the REST API at %s", ss->server);
	status = exchange(ss, call, &r, &doc, err);
	vs_wipe(&who);
	if ((status == 200 || status == 201) && token_in(doc)) {
		*token = strdup(token_in(doc));
		result = 0;
	} else if (!old && (status == 400 || status == 404 || status == 405)) {
		result = 1;
	} else if (status == 200 || status == 201) {
		vs_fail(err, PCG_ERR_RETRY, "Check what stands between the gateway and the vCenter.", "%s: no session came back",
			what);
	} else if (status) {
		error_of(what, status, doc, err);
	}
	if (doc && json_is_string(doc))
		explicit_bzero((void *)(uintptr_t)json_string_value(doc), json_string_length(doc));
	json_decref(doc);
	return result;
}

/* At /api, else at /rest. */
static int login_somewhere(struct vs_session *ss, struct pcg_call *call, bool *old, char **token, struct vs_err *err)
{
	int r;

	if (vs_login_must_wait(ss, err) || vs_login_begin(ss, call, err))
		return -1;
	ss->svc->fault_point(ss->host, "vsphere.before_rest_login");
	*old = false;
	r = login_at(ss, call, false, token, err);
	if (r == 1) {
		*old = true;
		r = login_at(ss, call, true, token, err);
	}
	ss->svc->fault_point(ss->host, "vsphere.after_rest_login");
	/* UNAUTHORIZED is not about the password. */
	vs_login_end(ss, r ? err : NULL, r && err->class == PCG_ERR_AUTH && strcmp(err->fault, "UNAUTHENTICATED") == 0,
		     false);
	return r ? -1 : 0;
}

/* rest's lock held; released while the server is asked */
static int login(struct vs_session *ss, struct pcg_call *call, struct vs_err *err)
{
	struct vs_rest *rest = ss->rest;
	char *token = NULL;
	bool old = false;
	int r;

	rest->busy = true;
	pthread_mutex_unlock(&rest->lock);
	r = login_somewhere(ss, call, &old, &token, err);
	pthread_mutex_lock(&rest->lock);
	rest->busy = false;
	if (!r) {
		rest->token = token;
		rest->old = old;
		rest->generation++;
		rest->used_at = ss->svc->mono_ms(ss->host);
		token_keep(ss);
	}
	pthread_cond_broadcast(&rest->changed);
	return r;
}

/* rest's lock held, token there; released while the server is asked */
static void logout(struct vs_session *ss, struct pcg_call *call)
{
	struct vs_rest *rest = ss->rest;
	char url[400], *token = rest->token;
	struct rest_request r = { .method = "DELETE", .url = url, .what = "logout of the REST API",
				  .header = "vmware-api-session-id", .value = token, .timeout_ms = CLOSE_MS };
	struct vs_err err;
	json_t *doc;
	unsigned status;

	rest->busy = true;
	rest->token = NULL;
	rest->replaced = false;
	snprintf(url, sizeof(url), "https://%s%s", ss->server, rest->old ? "/rest/com/vmware/cis/session" : "/api/session");
	pthread_mutex_unlock(&rest->lock);
	status = exchange(ss, call, &r, &doc, &err);
	json_decref(doc);
	pthread_mutex_lock(&rest->lock);
	rest->busy = false;
	/* Not answered, it may go on: the next worker uses it, and logs it out. */
	if (status)
		token_keep(ss);
	vs_wipe(&token);
	pthread_cond_broadcast(&rest->changed);
}

/* A copy of the session's token, the caller's; NULL with err. Counts the caller among those who use it. */
static char *token_take(struct vs_session *ss, struct pcg_call *call, bool *old, unsigned *generation, struct vs_err *err)
{
	struct vs_rest *rest = ss->rest;
	char *copy = NULL;
	int r = 0;

	pthread_mutex_lock(&rest->lock);
	token_restore(ss);
	while (!r && (!rest->token || rest->replaced || rest->busy)) {
		if (!rest->busy && rest->replaced) {
			logout(ss, call);
		} else if (!rest->busy) {
			r = login(ss, call, err);
		} else if (call && !ss->svc->remaining_ms(call)) {
			vs_fail(err, PCG_ERR_CANCELLED, "", "waiting for the REST login at %s: the op is over", ss->server);
			r = -1;
		} else {
			vs_cond_wait(&rest->changed, &rest->lock);
		}
	}
	if (!r) {
		copy = strdup(rest->token);
		*old = rest->old;
		*generation = rest->generation;
		rest->calls++;
	}
	pthread_mutex_unlock(&rest->lock);
	return copy;
}

static void token_give_back(struct vs_session *ss, bool over, unsigned generation)
{
	struct vs_rest *rest = ss->rest;

	pthread_mutex_lock(&rest->lock);
	rest->calls--;
	rest->used_at = ss->svc->mono_ms(ss->host);
	if (over && rest->generation == generation)
		vs_wipe(&rest->token);
	pthread_mutex_unlock(&rest->lock);
}

/* What an older vCenter wraps. */
static json_t *unwrapped(json_t *doc, bool old)
{
	json_t *value = old ? json_object_get(doc, "value") : NULL;

	if (!value)
		return doc;
	json_incref(value);
	json_decref(doc);
	return value;
}

static int call_once(struct vs_session *ss, struct pcg_call *call, const struct vs_rest_call *what, json_t **reply,
		     struct vs_err *err)
{
	char label[400], *url, *body, *token;
	struct rest_request r = { .method = what->method, .what = label, .header = "vmware-api-session-id", .timeout_ms = CALL_MS };
	unsigned generation, status;
	json_t *doc = NULL;
	bool old;

	token = token_take(ss, call, &old, &generation, err);
	if (!token)
		return -1;
	url = url_of(ss, what, old);
	body = body_of(what, old);
	r.url = url;
	r.body = body;
	r.value = token;
	snprintf(label, sizeof(label), "%s %s%s%s at %s", what->method, what->service, what->action ? " " : "",
		 what->action ? what->action : "", ss->server);
	status = exchange(ss, call, &r, &doc, err);
	token_give_back(ss, status == 401, generation);
	vs_wipe(&token);
	free(url);
	vs_wipe(&body);
	if (status >= 200 && status < 300 && doc) {
		*reply = unwrapped(doc, old);
		return 0;
	}
	if (status >= 200 && status < 300)
		vs_fail(err, PCG_ERR_RETRY, "Check the vCenter, and the proxy if there is one.", "%s: the answer is no JSON", label);
	else if (status)
		error_of(label, status, doc, err);
	json_decref(doc);
	return status == 401 ? 1 : -1;
}

int vs_rest(struct vs_session *ss, struct pcg_call *call, const struct vs_rest_call *what, json_t **reply,
	    struct vs_err *err)
{
	int r;

	*reply = NULL;
	r = call_once(ss, call, what, reply, err);
	if (r == 1)
		r = call_once(ss, call, what, reply, err);
	/* With a session that was new: this is not about the password. */
	if (r == 1)
		err->class = PCG_ERR_RETRY;
	return r ? -1 : 0;
}

void vs_rest_idle(struct vs_session *ss, struct pcg_call *call)
{
	struct vs_rest *rest = ss->rest;

	pthread_mutex_lock(&rest->lock);
	token_restore(ss);
	if (rest->token && !rest->busy && !rest->calls && ss->svc->mono_ms(ss->host) - rest->used_at >= VS_REST_IDLE_MS)
		logout(ss, call);
	pthread_mutex_unlock(&rest->lock);
}

void vs_rest_close(struct vs_session *ss, struct pcg_call *call)
{
	struct vs_rest *rest = ss->rest;

	pthread_mutex_lock(&rest->lock);
	token_restore(ss);
	if (rest->token && !rest->busy)
		logout(ss, call);
	pthread_mutex_unlock(&rest->lock);
}
