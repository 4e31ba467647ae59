/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/session_impl.h"

#include "plugins/vsphere/fault.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define SECRET_NAME "vsphere.session"
#define SECRET_VALIDATION "vsphere.validation."
#define CALL_MS 60000u
#define CLOSE_MS 4000u
#define REFUSED_FIRST_MS 30000u
#define REFUSED_MAX_MS 600000u
#define PAGE_OBJECTS 500
#define RESPONSE_MAX (32u << 20)
#define LOST_MAX 8

static const struct vs_ref instance = { "ServiceInstance", "ServiceInstance" };

static const struct {
	const char *name;
	size_t at;
} content_refs[] = {
	{ "sessionManager", offsetof(struct vs_session, session_manager) },
	{ "propertyCollector", offsetof(struct vs_session, collector) },
	{ "searchIndex", offsetof(struct vs_session, search) },
	{ "viewManager", offsetof(struct vs_session, views) },
	{ "rootFolder", offsetof(struct vs_session, root) },
	{ "taskManager", offsetof(struct vs_session, tasks) },
};

#define N_CONTENT (sizeof(content_refs) / sizeof(content_refs[0]))

static struct vs_ref *content_ref(struct vs_session *ss, size_t i)
{
	return (struct vs_ref *)(void *)((char *)ss + content_refs[i].at);
}

static void wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

static bool make_url(struct vs_session *ss, const char *server)
{
	const char *host = strncasecmp(server, "https://", 8) == 0 ? server + 8 : server;
	size_t len = strcspn(host, "/");

	if (!len || strpbrk(host, " \t\r\n@?#%\\\"<>") || (host[len] && strcmp(host + len, "/sdk") != 0 &&
							 strcmp(host + len, "/") != 0))
		return false;
	ss->server = strndup(host, len);
	return ss->server && asprintf(&ss->url, "https://%s/sdk", ss->server) > 0;
}

/* Workers of validations share their secrets: the name tells the vCenter and the user to nobody who does not
 * know them, and the value holds neither. */
static void validation_secret(struct vs_session *ss, const char *user)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	char *text;
	size_t at;
	int n = asprintf(&text, "%s\n%s", ss->server, user);

	assert(n > 0 && EVP_Digest(text, (size_t)n, digest, &len, EVP_sha256(), NULL) == 1 && len >= 16);
	free(text);
	at = (size_t)snprintf(ss->secret, sizeof(ss->secret), SECRET_VALIDATION);
	for (size_t i = 0; i < 16; i++)
		at += (size_t)snprintf(ss->secret + at, sizeof(ss->secret) - at, "%02x", digest[i]);
}

int vs_session_init(struct vs_session *ss, const struct pcg_services *svc, struct pcg_host *host,
		    const json_t *spec, bool keep, struct vs_err *err)
{
	const char *server = json_string_value(json_object_get(spec, "vcenterServer"));
	const char *user = json_string_value(json_object_get(spec, "username"));
	const char *password = json_string_value(json_object_get(spec, "password"));
	pthread_condattr_t attr;

	memset(ss, 0, sizeof(*ss));
	ss->svc = svc;
	ss->host = host;
	ss->keep = keep;
	ss->generation = 1;
	pthread_mutex_init(&ss->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&ss->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (!server || !make_url(ss, server)) {
		vs_fail(err, PCG_ERR_PERMANENT, "Give vcenterServer of the cloud account as HOST or HOST:PORT.",
			"\"%s\" is not the name of a vCenter", server ? server : "");
		return -1;
	}
	ss->lost = json_array();
	snprintf(ss->secret, sizeof(ss->secret), SECRET_NAME);
	if (!keep)
		validation_secret(ss, user ? user : "");
	ss->user = strdup(user ? user : "");
	ss->password = strdup(password ? password : "");
	assert(ss->user && ss->password);
	return 0;
}

void vs_session_fini(struct vs_session *ss)
{
	wipe(&ss->cookie);
	wipe(&ss->password);
	free(ss->server);
	free(ss->url);
	free(ss->user);
	json_decref(ss->lost);
	pthread_mutex_destroy(&ss->lock);
	pthread_cond_destroy(&ss->changed);
}

static char *cookie_of(const struct pcg_http_response *resp)
{
	for (size_t i = 0; i < resp->n_headers; i++) {
		const char *v = resp->headers[i].value;

		if (strcasecmp(resp->headers[i].name, "set-cookie") == 0 && strncmp(v, "vmware_soap_session=", 20) == 0)
			return strndup(v, strcspn(v, ";"));
	}
	return NULL;
}

static void fault_of(struct vs_err *err, const char *what, const struct xn *fault)
{
	const struct xn *detail = xn_child(fault, "detail"), *first = detail ? detail->child : NULL;
	char type[64] = "";

	if (first)
		snprintf(type, sizeof(type), "%s", first->xsi ? first->xsi : first->name);
	/* Without xsi:type the element is named after the type, with "Fault" behind it. */
	if (first && !first->xsi && strlen(type) > 5 && strcmp(type + strlen(type) - 5, "Fault") == 0)
		type[strlen(type) - 5] = 0;
	vs_fault(err, what, type, xn_get(fault, "faultstring"));
}

static int read_reply(const char *what, const struct pcg_http_response *resp, struct xn **reply, struct vs_err *err)
{
	const struct xn *fault;
	struct vs_err parse;

	if (xn_parse(resp->body ? resp->body : "", resp->body_len, reply, &parse)) {
		uint32_t class = resp->status == 401 || resp->status == 403 ? PCG_ERR_AUTH :
				 resp->status == 404 ? PCG_ERR_PERMANENT : PCG_ERR_RETRY;

		if (resp->status == 200)
			vs_fail(err, PCG_ERR_RETRY, parse.remedy, "%s: %s", what, parse.text);
		else
			vs_fail(err, class, class == PCG_ERR_PERMANENT ?
				"Check that vcenterServer of the cloud account names a vCenter." :
				"Check the vCenter, and the proxy if there is one.",
				"%s: the server answered HTTP status %u", what, resp->status);
		return -1;
	}
	fault = xn_at(*reply, "Body", "Fault");
	if (!fault && resp->status == 200)
		return 0;
	if (fault)
		fault_of(err, what, fault);
	else
		vs_fail(err, PCG_ERR_RETRY, "Check the vCenter.", "%s: the server answered HTTP status %u", what, resp->status);
	xn_free(*reply);
	*reply = NULL;
	return -1;
}

static void note_peer(struct vs_session *ss, const struct pcg_http_response *resp)
{
	if (!resp->peer_sha256)
		return;
	pthread_mutex_lock(&ss->lock);
	snprintf(ss->thumbprint, sizeof(ss->thumbprint), "%s", resp->peer_sha256);
	pthread_mutex_unlock(&ss->lock);
}

int vs_exchange(struct vs_session *ss, struct pcg_call *call, struct soap *s, const char *cookie, unsigned flags,
		    uint32_t timeout_ms, struct xn **reply, char **cookie_out, struct vs_err *err)
{
	char agent[sizeof(ss->agent)], what[320];
	struct pcg_http_header headers[5] = { { "content-type", "text/xml; charset=utf-8" },
					      { "soapaction", "urn:vim25/6.7" },
					      { "user-agent", agent },
					      { "cookie", cookie }, { "connection", "close" } };
	struct pcg_http_request req = {
		.struct_size = sizeof(req), .timeout_ms = timeout_ms ? timeout_ms : CALL_MS, .method = "POST",
		.url = ss->url, .headers = headers, .n_headers = cookie ? 4 : 3, .body = xmlBufferContent(s->buf),
		.body_len = (size_t)xmlBufferLength(s->buf), .max_response = RESPONSE_MAX,
		.flags = flags & VS_LONG ? PCG_HTTP_LONG_WAIT : 0,
	};
	struct pcg_http_response resp = { .struct_size = sizeof(resp) };
	int r = -1;

	*reply = NULL;
	pthread_mutex_lock(&ss->lock);
	snprintf(agent, sizeof(agent), "%s", *ss->agent ? ss->agent : "pcg");
	pthread_mutex_unlock(&ss->lock);
	if (flags & VS_CLOSE_AFTER) {
		assert(!cookie);
		headers[3] = headers[4];
		req.n_headers = 4;
	}
	snprintf(what, sizeof(what), "%s at %s", s->method, ss->server);
	if (ss->svc->http(ss->host, call, &req, &resp)) {
		vs_fail(err, PCG_ERR_BUG, "", "%s: the host refused the request", what);
	} else if (!resp.status) {
		vs_fail(err, resp.error_class, resp.remedy && *resp.remedy ? resp.remedy :
			"Check vcenterServer of the cloud account, the network and the proxy.", "%s: %s", what,
			resp.error ? resp.error : "no answer");
	} else {
		note_peer(ss, &resp);
		r = read_reply(what, &resp, reply, err);
		if (!r && cookie_out)
			*cookie_out = cookie_of(&resp);
	}
	ss->svc->http_free(ss->host, &resp);
	return r;
}

const struct xn *vs_result(const struct xn *envelope)
{
	const struct xn *body = xn_child(envelope, "Body");

	return body ? body->child : NULL;
}

static void content_keep(struct vs_session *ss)
{
	json_t *doc = !ss->keep ? json_pack("{s:O}", "lost", ss->lost) : json_pack("{s:s, s:s, s:s*, s:s, s:s, s:O}", "server", ss->server, "user", ss->user, "cookie",
				ss->cookie, "version", ss->version, "agent", ss->agent, "lost", ss->lost);
	char *text;

	for (size_t i = 0; i < N_CONTENT && ss->cookie && ss->keep; i++)
		json_object_set_new(doc, content_refs[i].name, json_string(content_ref(ss, i)->value));
	text = ss->keep || json_array_size(ss->lost) ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	ss->svc->secret_put(ss->host, ss->secret, text);
	wipe(&text);
}

static void content_types(struct vs_session *ss)
{
	static const char *const types[N_CONTENT] = { "SessionManager", "PropertyCollector", "SearchIndex",
						      "ViewManager", "Folder", "TaskManager" };

	for (size_t i = 0; i < N_CONTENT; i++)
		snprintf(content_ref(ss, i)->type, sizeof(ss->root.type), "%s", types[i]);
}

/* What a worker before this one left: good until the server says otherwise. lock held */
static void content_restore(struct vs_session *ss)
{
	const char *text, *cookie;
	json_t *doc;

	if (ss->tried_kept)
		return;
	ss->tried_kept = true;
	text = ss->svc->secret_get(ss->host, ss->secret);
	doc = text ? json_loads(text, 0, NULL) : NULL;
	cookie = json_string_value(json_object_get(doc, "cookie"));
	/* The cookie of a session goes to nobody but the server that gave it. */
	if (ss->keep && (strcmp(json_string_value(json_object_get(doc, "server")) ?: "", ss->server) != 0 ||
			 strcmp(json_string_value(json_object_get(doc, "user")) ?: "", ss->user) != 0))
		cookie = NULL;
	else if (json_is_array(json_object_get(doc, "lost")))
		json_array_extend(ss->lost, json_object_get(doc, "lost"));
	if (cookie) {
		bool whole = true;

		content_types(ss);
		snprintf(ss->agent, sizeof(ss->agent), "%s", json_string_value(json_object_get(doc, "agent")) ?: "");
		snprintf(ss->version, sizeof(ss->version), "%s",
			 json_string_value(json_object_get(doc, "version")) ?: "");
		for (size_t i = 0; i < N_CONTENT; i++) {
			const char *v = json_string_value(json_object_get(doc, content_refs[i].name));

			whole = whole && v && *v;
			snprintf(content_ref(ss, i)->value, sizeof(ss->root.value), "%s", v ? v : "");
		}
		if (whole)
			ss->cookie = strdup(cookie);
	}
	json_decref(doc);
}

static int read_content(struct vs_session *ss, struct pcg_call *call, struct vs_err *err)
{
	struct xn *reply;
	const struct xn *content;
	struct soap s;
	int r;

	soap_begin(&s, "RetrieveServiceContent", &instance);
	soap_finish(&s);
	/* libcurl sends a request again by itself when a connection that it used before ends without an answer. A login
	 * that was carried out before that would leave a session which nobody knows of. */
	r = vs_exchange(ss, call, &s, NULL, VS_CLOSE_AFTER, 0, &reply, NULL, err);
	soap_free(&s);
	if (r)
		return r;
	content = xn_child(vs_result(reply), "returnval");
	for (size_t i = 0; i < N_CONTENT && !r; i++)
		if (!xn_ref(xn_child(content, content_refs[i].name), content_ref(ss, i)))
			r = -1;
	snprintf(ss->version, sizeof(ss->version), "%s", xn_get(xn_child(content, "about"), "fullName"));
	if (!r && strcmp(xn_get(xn_child(content, "about"), "apiType"), "VirtualCenter") != 0)
		r = -2;
	xn_free(reply);
	if (r)
		vs_fail(err, PCG_ERR_PERMANENT, "Give a vCenter as vcenterServer of the cloud account.",
			r == -2 ? "%s is not a vCenter but a single host, which cannot clone templates" :
			"%s does not answer as a vCenter", ss->server);
	return r ? -1 : 0;
}

static int login(struct vs_session *ss, struct pcg_call *call, char **cookie, struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	int r = ss->root.value[0] ? 0 : read_content(ss, call, err);

	if (r)
		return r;
	soap_begin(&s, "Login", &ss->session_manager);
	soap_text(&s, "userName", ss->user);
	soap_text(&s, "password", ss->password);
	soap_finish(&s);
	r = vs_exchange(ss, call, &s, NULL, 0, 0, &reply, cookie, err);
	soap_free(&s);
	xn_free(reply);
	if (!r && !*cookie) {
		vs_fail(err, PCG_ERR_RETRY, "Check what stands between the gateway and the vCenter.",
			"Login at %s: no session cookie came back", ss->server);
		r = -1;
	}
	return r;
}

/* An agent that no other login has, among the lost until the end of this one is known. lock held */
static void agent_new(struct vs_session *ss)
{
	unsigned char random[16];
	size_t at;

	assert(RAND_bytes(random, sizeof(random)) == 1);
	at = (size_t)snprintf(ss->agent, sizeof(ss->agent), "pcg/" PACKAGE_VERSION " login/");
	for (size_t i = 0; i < sizeof(random) && at < sizeof(ss->agent); i++)
		at += (size_t)snprintf(ss->agent + at, sizeof(ss->agent) - at, "%02x", random[i]);
	if (json_array_size(ss->lost) >= LOST_MAX)
		json_array_remove(ss->lost, 0);
	json_array_append_new(ss->lost, json_string(ss->agent));
	content_keep(ss);
}

static void not_lost(struct vs_session *ss, const char *agent)
{
	for (size_t i = json_array_size(ss->lost); i--;)
		if (strcmp(json_string_value(json_array_get(ss->lost, i)) ?: "", agent) == 0)
			json_array_remove(ss->lost, i);
}

/* Wrong passwords lock accounts: the next attempt waits, each time longer. lock held */
static void note_refusal(struct vs_session *ss, const struct vs_err *err)
{
	uint64_t wait = (uint64_t)REFUSED_FIRST_MS << (ss->refusals < 6 ? ss->refusals : 6);

	ss->refusals++;
	ss->refusal = *err;
	ss->refused_until = ss->svc->mono_ms(ss->host) + (wait < REFUSED_MAX_MS ? wait : REFUSED_MAX_MS);
}

/* lock held; released while the server is asked */
static int login_once(struct vs_session *ss, struct pcg_call *call, struct vs_err *err)
{
	char *cookie = NULL;
	int r;

	if (ss->refused_until > ss->svc->mono_ms(ss->host)) {
		*err = ss->refusal;
		return -1;
	}
	ss->busy = true;
	agent_new(ss);
	pthread_mutex_unlock(&ss->lock);
	ss->svc->fault_point(ss->host, "vsphere.before_login");
	r = login(ss, call, &cookie, err);
	ss->svc->fault_point(ss->host, "vsphere.after_login");
	pthread_mutex_lock(&ss->lock);
	ss->busy = false;
	/* A fault is an answer: no session began. One whose cookie is not kept is known by its agent until its end. */
	if (r ? *err->fault != 0 : ss->keep)
		not_lost(ss, ss->agent);
	if (!r) {
		ss->tidied = false;
		ss->cookie = cookie;
		ss->refusals = 0;
		ss->generation++;
	} else if (err->class == PCG_ERR_AUTH) {
		note_refusal(ss, err);
	}
	pthread_cond_broadcast(&ss->changed);
	if (r ? *err->fault != 0 : ss->keep)
		content_keep(ss);
	return r;
}

/* lock held */
static json_t *lost_others(const struct vs_session *ss)
{
	json_t *agents = json_array(), *agent;
	size_t i;

	json_array_foreach(ss->lost, i, agent)
		if (strcmp(json_string_value(agent) ?: "", ss->agent) != 0)
			json_array_append(agents, agent);
	return agents;
}

/* Ends what logins with an unknown end may have begun. lock held; released while the server is asked */
static void lost_tidy(struct vs_session *ss, struct pcg_call *call)
{
	json_t *agents = lost_others(ss), *agent;
	char *cookie = strdup(ss->cookie);
	bool done;
	size_t i;

	assert(agents && cookie);
	ss->busy = true;
	pthread_mutex_unlock(&ss->lock);
	done = vs_lost_end(ss, call, cookie, agents);
	wipe(&cookie);
	pthread_mutex_lock(&ss->lock);
	ss->busy = false;
	ss->tidied = true;
	if (done) {
		json_array_foreach(agents, i, agent)
			not_lost(ss, json_string_value(agent) ?: "");
		content_keep(ss);
	}
	json_decref(agents);
	pthread_cond_broadcast(&ss->changed);
}

static void wait_changed(struct vs_session *ss)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += 100000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&ss->changed, &ss->lock, &until);
}

/* There is something to end, and this session has not tried it. */
static bool lost_waits(const struct vs_session *ss)
{
	json_t *others = ss->cookie && !ss->tidied ? lost_others(ss) : NULL;
	bool some = json_array_size(others) > 0;

	json_decref(others);
	return some;
}

/* The cookie of the session, a copy of the caller's; NULL with err. */
static char *cookie_get(struct vs_session *ss, struct pcg_call *call, unsigned *generation, struct vs_err *err)
{
	char *copy = NULL;
	int r = 0;

	pthread_mutex_lock(&ss->lock);
	if (!ss->cookie)
		content_restore(ss);
	while (!r && (!ss->cookie || lost_waits(ss))) {
		if (!ss->busy && ss->cookie) {
			lost_tidy(ss, call);
		} else if (!ss->busy) {
			r = login_once(ss, call, err);
		} else if (call && !ss->svc->remaining_ms(call)) {
			vs_fail(err, PCG_ERR_CANCELLED, "", "waiting for the login at %s: the op is over", ss->server);
			r = -1;
		} else {
			wait_changed(ss);
		}
	}
	if (!r)
		copy = strdup(ss->cookie);
	*generation = ss->generation;
	pthread_mutex_unlock(&ss->lock);
	return copy;
}

int vs_session_open(struct vs_session *ss, struct pcg_call *call, unsigned *generation, struct vs_err *err)
{
	char *cookie = cookie_get(ss, call, generation, err);

	if (!cookie)
		return -1;
	wipe(&cookie);
	return 0;
}

bool vs_session_current(struct vs_session *ss, unsigned generation)
{
	bool yes;

	pthread_mutex_lock(&ss->lock);
	yes = ss->generation == generation && ss->cookie;
	pthread_mutex_unlock(&ss->lock);
	return yes;
}

static void session_over(struct vs_session *ss, unsigned generation)
{
	pthread_mutex_lock(&ss->lock);
	if (ss->generation == generation)
		wipe(&ss->cookie);
	pthread_mutex_unlock(&ss->lock);
}

int vs_call(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned generation,
	    uint32_t timeout_ms, struct xn **reply, struct vs_err *err)
{
	int r = -1;

	*reply = NULL;
	for (int attempt = 0; attempt < 2; attempt++) {
		unsigned current;
		char *cookie = cookie_get(ss, call, &current, err);

		if (!cookie)
			break;
		if (flags & VS_SESSION && current != generation) {
			wipe(&cookie);
			vs_fault(err, s->method, "NotAuthenticated", "");
			break;
		}
		r = vs_exchange(ss, call, s, cookie, flags, timeout_ms, reply, NULL, err);
		wipe(&cookie);
		if (!r || strcmp(err->fault, "NotAuthenticated") != 0)
			break;
		session_over(ss, current);
		if (flags & VS_SESSION)
			break;
	}
	soap_free(s);
	return r;
}

void vs_session_close(struct vs_session *ss, struct pcg_call *call)
{
	struct xn *reply;
	struct vs_err err = { .fault = "" };
	struct soap s;
	int r;

	pthread_mutex_lock(&ss->lock);
	if (!ss->cookie)
		content_restore(ss);
	pthread_mutex_unlock(&ss->lock);
	if (!ss->cookie)
		return;
	soap_begin(&s, "Logout", &ss->session_manager);
	soap_finish(&s);
	r = vs_exchange(ss, call, &s, ss->cookie, 0, CLOSE_MS, &reply, NULL, &err);
	soap_free(&s);
	xn_free(reply);
	/* Not answered, it may go on: the next worker uses it, and logs it out. */
	if (!r || *err.fault) {
		wipe(&ss->cookie);
		if (!ss->keep)
			not_lost(ss, ss->agent);
		if (json_array_size(ss->lost))
			content_keep(ss);
		else
			ss->svc->secret_put(ss->host, ss->secret, NULL);
	}
	wipe(&ss->cookie);
}

/* Without a session the property collector answers all the same, each property missing for that reason. */
static bool session_missing(const struct xn *result)
{
	for (const struct xn *o = xn_child(result, "objects"); o; o = xn_next(o, "objects")) {
		const struct xn *fault = xn_child(xn_child(xn_child(o, "missingSet"), "fault"), "fault");

		if (fault && fault->xsi && strcmp(fault->xsi, "NotAuthenticated") == 0)
			return true;
	}
	return false;
}

/* A page of results; *again: the session was over, and the first page is to be asked for again. */
static int retrieve_page(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned generation,
			 struct xn **reply, struct vs_err *err)
{
	unsigned current;

	if (vs_session_open(ss, call, &current, err))
		return -1;
	if (vs_call(ss, call, s, flags, generation, 0, reply, err))
		return -1;
	if (!session_missing(xn_child(vs_result(*reply), "returnval")))
		return 0;
	session_over(ss, current);
	xn_free(*reply);
	*reply = NULL;
	vs_fault(err, "RetrievePropertiesEx", "NotAuthenticated", "");
	return -1;
}

static void soap_again(struct soap *to, const struct soap *from)
{
	memset(to, 0, sizeof(*to));
	snprintf(to->method, sizeof(to->method), "%s", from->method);
	to->buf = xmlBufferCreate();
	assert(to->buf);
	xmlBufferAdd(to->buf, xmlBufferContent(from->buf), xmlBufferLength(from->buf));
}

int vs_retrieve(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned generation,
		void (*cb)(void *arg, const struct xn *object), void *arg, struct vs_err *err)
{
	char token[128] = "";
	struct xn *reply;
	const struct xn *result;
	struct soap again;
	int r;

	soap_open(s, "options");
	soap_int(s, "maxObjects", PAGE_OBJECTS);
	soap_close(s);
	soap_finish(s);
	soap_again(&again, s);
	r = retrieve_page(ss, call, s, flags, generation, &reply, err);
	if (r && strcmp(err->fault, "NotAuthenticated") == 0 && !(flags & VS_SESSION))
		r = retrieve_page(ss, call, &again, flags, generation, &reply, err);
	else
		soap_free(&again);
	if (r)
		return -1;
	for (;;) {
		result = xn_child(vs_result(reply), "returnval");
		for (const struct xn *o = xn_child(result, "objects"); o; o = xn_next(o, "objects"))
			cb(arg, o);
		snprintf(token, sizeof(token), "%s", xn_get(result, "token"));
		xn_free(reply);
		if (!*token)
			return 0;
		/* The rest belongs to the session that was asked first. */
		if (!(flags & VS_SESSION)) {
			pthread_mutex_lock(&ss->lock);
			generation = ss->generation;
			pthread_mutex_unlock(&ss->lock);
			flags |= VS_SESSION;
		}
		soap_begin(s, "ContinueRetrievePropertiesEx", &ss->collector);
		soap_text(s, "token", token);
		soap_finish(s);
		if (retrieve_page(ss, call, s, flags, generation, &reply, err))
			return -1;
	}
}

int vs_task(struct vs_session *ss, struct pcg_call *call, struct soap *s, struct vs_ref *task, struct vs_err *err)
{
	struct xn *reply;
	char method[48];
	int r;

	snprintf(method, sizeof(method), "%s", s->method);
	soap_finish(s);
	r = vs_call(ss, call, s, 0, 0, 0, &reply, err);
	if (!r && !xn_ref(xn_child(vs_result(reply), "returnval"), task)) {
		vs_fail(err, PCG_ERR_RETRY, "Look at the tasks in vCenter.", "%s at %s: no task came back", method, ss->server);
		r = -1;
	}
	xn_free(reply);
	return r;
}
