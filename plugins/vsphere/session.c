/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/session_impl.h"

#include "plugins/vsphere/endpoint.h"
#include "plugins/vsphere/fault.h"
#include "plugins/vsphere/rest.h"

#include <assert.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define CLOSE_MS 4000u
#define CLOSE_LATE_MS 1000u /* past the op's deadline: the host waits two seconds more, the user of a validation as long */
#define LOST_MAX 8
#define SLOW_MS 5000u   /* a vCenter that checks a password may take so long, when the directory behind it is slow */
#define YOUNG_MS 60000u /* no session is idle for long enough in that time */

static const struct vs_ref instance = { "ServiceInstance", "ServiceInstance" };

void vs_wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void vs_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

void vs_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += 100000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(cond, lock, &until);
}

int vs_session_init(struct vs_session *ss, const struct pcg_services *svc, struct pcg_host *host,
		    const json_t *spec, bool keep, struct vs_err *err)
{
	const char *server = json_string_value(json_object_get(spec, "vcenterServer"));
	const char *user = json_string_value(json_object_get(spec, "username"));
	const char *password = json_string_value(json_object_get(spec, "password"));
	char server_name[300], why[200];

	memset(ss, 0, sizeof(*ss));
	ss->svc = svc;
	ss->host = host;
	ss->keep = keep;
	ss->generation = 1;
	pthread_mutex_init(&ss->lock, NULL);
	vs_cond_init(&ss->changed);
	if (vs_endpoint(server ? server : "", server_name, sizeof(server_name), why, sizeof(why))) {
		vs_fail(err, PCG_ERR_PERMANENT, "Give vcenterServer of the cloud account as HOST or HOST:PORT.",
			"vcenterServer \"%.200s\" %s", server ? vs_endpoint_shown(server) : "", why);
		return -1;
	}
	ss->server = strdup(server_name);
	assert(ss->server);
	ss->lost = json_array();
	ss->rest = vs_rest_new();
	if (keep)
		ss->outage = vs_outage_new(svc, host, ss->server);
	ss->user = strdup(user ? user : "");
	ss->password = strdup(password ? password : "");
	assert(ss->user && ss->password);
	vs_kept_name(ss);
	return 0;
}

void vs_session_fini(struct vs_session *ss)
{
	vs_wipe(&ss->cookie);
	vs_wipe(&ss->password);
	vs_rest_free(ss->rest);
	free(ss->server);
	free(ss->user);
	json_decref(ss->lost);
	vs_outage_free(ss->outage);
	pthread_mutex_destroy(&ss->lock);
	pthread_cond_destroy(&ss->changed);
}

static int ask_content(struct vs_session *ss, struct pcg_call *call, struct xn **reply, struct vs_err *err)
{
	struct soap s;
	int r;

	soap_begin(&s, "RetrieveServiceContent", &instance);
	soap_finish(&s);
	/* libcurl sends a request again by itself when a connection that it used before ends without an answer. A login
	 * that was carried out before that would leave a session which nobody knows of. */
	r = vs_exchange(ss, call, &s, NULL, VS_CLOSE_AFTER, 0, reply, NULL, err);
	soap_free(&s);
	return r;
}

int vs_session_certificate(struct vs_session *ss, struct pcg_call *call, struct vs_err *err)
{
	struct xn *reply = NULL;
	bool seen;
	int r;

	pthread_mutex_lock(&ss->lock);
	seen = *ss->thumbprint;
	pthread_mutex_unlock(&ss->lock);
	if (seen)
		return 0;
	r = ask_content(ss, call, &reply, err);
	xn_free(reply);
	return r;
}

static int read_content(struct vs_session *ss, struct pcg_call *call, struct vs_err *err)
{
	struct xn *reply;
	const struct xn *content;
	int r = ask_content(ss, call, &reply, err);

	if (r)
		return r;
	content = xn_child(vs_result(reply), "returnval");
	if (!vs_content_read(ss, content))
		r = -1;
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
	int r;

	soap_begin(&s, "Login", &ss->session_manager);
	soap_text(&s, "userName", ss->user);
	soap_text(&s, "password", ss->password);
	soap_finish(&s);
	r = vs_exchange(ss, call, &s, NULL, 0, 0, &reply, cookie, err);
	soap_free(&s);
	snprintf(ss->key, sizeof(ss->key), "%s", xn_get(xn_child(vs_result(reply), "returnval"), "key"));
	vs_utf8(ss->key);
	xn_free(reply);
	if (!r && !*cookie) {
		vs_fail(err, PCG_ERR_RETRY, "Check what stands between the gateway and the vCenter.",
			"Login at %s: no session cookie came back", ss->server);
		r = -1;
	}
	return r;
}

/* lock held */
static void lost_add(struct vs_session *ss)
{
	if (json_array_size(ss->lost) >= LOST_MAX)
		json_array_remove(ss->lost, 0);
	json_array_append_new(ss->lost, json_string(ss->agent));
	vs_content_keep(ss);
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
	lost_add(ss);
}

static void not_lost(struct vs_session *ss, const char *agent)
{
	for (size_t i = json_array_size(ss->lost); i--;)
		if (strcmp(json_string_value(json_array_get(ss->lost, i)) ?: "", agent) == 0)
			json_array_remove(ss->lost, i);
}

/* All that comes before a password is sent. *alive: the vCenter has just answered. 0: vs_login_end() has to follow. */
static int login_ready(struct vs_session *ss, struct pcg_call *call, bool *alive, struct vs_err *err)
{
	*alive = !ss->root.value[0] || ss->doubt;
	if (vs_login_must_wait(ss, err) || vs_outage_refuses(ss->outage, err))
		return -1;
	if (*alive && read_content(ss, call, err))
		return -1;
	return vs_login_begin(ss, call, err);
}

/* lock held; released while the server is asked */
static int login_once(struct vs_session *ss, struct pcg_call *call, struct vs_err *err)
{
	char *cookie = NULL;
	uint64_t sent_at;
	bool alive;
	int r;

	ss->busy = true;
	pthread_mutex_unlock(&ss->lock);
	r = login_ready(ss, call, &alive, err);
	pthread_mutex_lock(&ss->lock);
	if (r) {
		ss->busy = false;
		pthread_cond_broadcast(&ss->changed);
		return -1;
	}
	agent_new(ss);
	pthread_mutex_unlock(&ss->lock);
	ss->svc->fault_point(ss->host, "vsphere.before_login");
	sent_at = ss->svc->mono_ms(ss->host);
	r = login(ss, call, &cookie, err);
	ss->svc->fault_point(ss->host, "vsphere.after_login");
	vs_login_end(ss, r ? err : NULL, r && err->class == PCG_ERR_AUTH,
		     alive && r && !*err->fault && ss->svc->mono_ms(ss->host) - sent_at >= SLOW_MS);
	pthread_mutex_lock(&ss->lock);
	ss->busy = false;
	ss->doubt = r && !*err->fault;
	/* A fault is an answer: no session began. One whose cookie is not kept is known by its agent until its end. */
	if (r ? *err->fault != 0 : ss->keep)
		not_lost(ss, ss->agent);
	if (!r) {
		ss->tidied = false;
		ss->began = ss->svc->mono_ms(ss->host);
		ss->cookie = cookie;
		ss->generation++;
	}
	pthread_cond_broadcast(&ss->changed);
	if (r ? *err->fault != 0 : ss->keep)
		vs_content_keep(ss);
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
	vs_wipe(&cookie);
	pthread_mutex_lock(&ss->lock);
	ss->busy = false;
	ss->tidied = true;
	if (done) {
		json_array_foreach(agents, i, agent)
			not_lost(ss, json_string_value(agent) ?: "");
		vs_content_keep(ss);
	}
	json_decref(agents);
	pthread_cond_broadcast(&ss->changed);
}

static int logout(struct vs_session *ss, struct pcg_call *call, const char *cookie, struct vs_err *err)
{
	bool late = call && !ss->svc->remaining_ms(call);
	struct xn *reply;
	struct soap s;
	int r;

	soap_begin(&s, "Logout", &ss->session_manager);
	soap_finish(&s);
	r = vs_exchange(ss, late ? NULL : call, &s, cookie, 0, late ? CLOSE_LATE_MS : CLOSE_MS, &reply, NULL, err);
	soap_free(&s);
	xn_free(reply);
	return r;
}

/* A session of credentials that were replaced while nobody was there to end it. One try: the server ends it itself
 * when it is idle. lock held; released while the server is asked */
static void end_replaced(struct vs_session *ss, struct pcg_call *call)
{
	char *cookie = ss->cookie;
	struct vs_err err = { .fault = "" };

	ss->cookie = NULL;
	ss->busy = true;
	pthread_mutex_unlock(&ss->lock);
	logout(ss, call, cookie, &err);
	vs_wipe(&cookie);
	pthread_mutex_lock(&ss->lock);
	ss->busy = false;
	ss->replaced = false;
	*ss->agent = 0;
	pthread_cond_broadcast(&ss->changed);
}

/* There is something to end, and this session has not tried it. */
static bool lost_waits(const struct vs_session *ss)
{
	json_t *others = ss->cookie && !ss->tidied ? lost_others(ss) : NULL;
	bool some = json_array_size(others) > 0;

	json_decref(others);
	return some;
}

char *vs_session_cookie(struct vs_session *ss, struct pcg_call *call, unsigned *generation, struct vs_err *err)
{
	char *copy = NULL;
	int r = 0;

	pthread_mutex_lock(&ss->lock);
	if (!ss->cookie)
		vs_content_restore(ss);
	while (!r && (!ss->cookie || ss->replaced || lost_waits(ss))) {
		if (!ss->busy && ss->replaced) {
			end_replaced(ss, call);
		} else if (!ss->busy && ss->cookie) {
			lost_tidy(ss, call);
		} else if (!ss->busy) {
			r = login_once(ss, call, err);
		} else if (call && !ss->svc->remaining_ms(call)) {
			vs_fail(err, PCG_ERR_CANCELLED, "", "waiting for the login at %s: the op is over", ss->server);
			r = -1;
		} else {
			vs_cond_wait(&ss->changed, &ss->lock);
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
	char *cookie = vs_session_cookie(ss, call, generation, err);

	if (!cookie)
		return -1;
	vs_wipe(&cookie);
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

void vs_session_over(struct vs_session *ss, unsigned generation)
{
	pthread_mutex_lock(&ss->lock);
	if (ss->generation == generation && ss->cookie) {
		vs_wipe(&ss->cookie);
		if (ss->keep && ss->began && ss->svc->mono_ms(ss->host) - ss->began < YOUNG_MS)
			lost_add(ss);
	}
	pthread_mutex_unlock(&ss->lock);
}

int vs_call(struct vs_session *ss, struct pcg_call *call, struct soap *s, unsigned flags, unsigned generation,
	    uint32_t timeout_ms, struct xn **reply, struct vs_err *err)
{
	int r = -1;

	*reply = NULL;
	for (int attempt = 0; attempt < 2; attempt++) {
		unsigned current;
		char *cookie = vs_session_cookie(ss, call, &current, err);

		if (!cookie)
			break;
		if (flags & VS_SESSION && current != generation) {
			vs_wipe(&cookie);
			vs_fault(err, s->method, "NotAuthenticated", "");
			break;
		}
		r = vs_exchange(ss, call, s, cookie, flags, timeout_ms, reply, NULL, err);
		vs_wipe(&cookie);
		if (!r || strcmp(err->fault, "NotAuthenticated") != 0)
			break;
		vs_session_over(ss, current);
		if (flags & VS_SESSION)
			break;
	}
	soap_free(s);
	vs_rest_idle(ss, call);
	return r;
}

void vs_session_close(struct vs_session *ss, struct pcg_call *call)
{
	struct vs_err err = { .fault = "" };
	int r;

	vs_rest_close(ss, call);
	pthread_mutex_lock(&ss->lock);
	if (!ss->cookie)
		vs_content_restore(ss);
	pthread_mutex_unlock(&ss->lock);
	if (!ss->cookie)
		return;
	r = logout(ss, call, ss->cookie, &err);
	if (r && *err.fault && strcmp(err.fault, "NotAuthenticated") != 0)
		r = logout(ss, call, ss->cookie, &err);
	/* Not answered, or refused, it may go on: the next worker uses it, and logs it out. */
	if (!r || strcmp(err.fault, "NotAuthenticated") == 0) {
		vs_wipe(&ss->cookie);
		if (!ss->keep)
			not_lost(ss, ss->agent);
		vs_content_keep(ss);
	}
	vs_wipe(&ss->cookie);
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