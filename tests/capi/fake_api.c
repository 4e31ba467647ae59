/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/fake_api_impl.h"
#include "tests/capi/relay.h"
#include "host/capi/capi.h"
#include "core/clock.h"
#include "net/http_server.h"
#include "net/pki.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- controllers, between requests ---- */

static void report_paused(struct fake_api *f, json_t *o)
{
	json_t *conditions = json_at(o, "status.conditions"), *c;
	size_t i;

	if (!json_is_array(conditions)) {
		conditions = json_array();
		json_put(o, "status.conditions", conditions);
	}
	json_array_foreach (conditions, i, c)
		if (strcmp(json_str_or(c, "type", ""), "Paused") == 0)
			return;
	json_array_append_new(conditions, json_pack("{s:s,s:s,s:s}", "type", "Paused", "status",
						    "True", "reason", "Paused"));
	fake_stamp(f, o);
}

/* As a real Deployment: its status follows the spec a request later, its pod goes a request after
 * that. */
static void run_deployment(struct fake_api *f, json_t *d)
{
	json_int_t wanted = json_int_or(d, "spec.replicas", 1);
	const char *ns = json_str(d, "metadata.namespace"), *name = json_str(d, "metadata.name");
	char pod[512];
	json_t *labels;

	snprintf(pod, sizeof(pod), "/api/v1/namespaces/%s/pods/%s-1", ns, name);
	if (json_int_or(d, "status.observedGeneration", 0) ==
	    json_int_or(d, "metadata.generation", 1)) {
		if (wanted == 0 && !f->stuck_pod)
			json_object_del(f->objects, pod);
		return;
	}
	json_put(d, "status.replicas", json_integer(wanted));
	json_put(d, "status.updatedReplicas", json_integer(wanted));
	json_put(d, "status.observedGeneration",
		 json_integer(json_int_or(d, "metadata.generation", 1)));
	json_put(d, "status.conditions",
		 json_pack("[{s:s,s:s}]", "type", "Available", "status", "True"));
	if (wanted == 0 || json_object_get(f->objects, pod))
		return;
	labels = json_at(d, "spec.template.metadata.labels");
	json_object_set_new(f->objects, pod,
			    json_pack("{s:s,s:s,s:{s:s,s:s,s:O}}", "apiVersion", "v1", "kind",
				      "Pod", "metadata", "name", strrchr(pod, '/') + 1, "namespace",
				      ns, "labels", labels));
}

static void controllers(struct fake_api *f)
{
	const char *path;
	json_t *o;
	void *next;

	if (f->deaf)
		return;
	if (f->controller)
		f->controller(f);
	json_object_foreach_safe (f->objects, next, path, o) {
		if (strcmp(json_str(o, "kind"), "Deployment") == 0 && json_object_get(o, "spec"))
			run_deployment(f, o);
		else if (strcmp(json_str(o, "kind"), "DaemonSet") == 0)
			json_put(o, "status.observedGeneration",
				 json_integer(json_int_or(o, "metadata.generation", 1)));
		else if (strcmp(json_str(o, "kind"), "Cluster") == 0 &&
			 json_bool_or(o, "spec.paused", false) && f->requests % 5 == 4)
			report_paused(f, o);
	}
}

/* ---- requests ---- */

static struct answer act(struct fake_api *f, const char *method, const char *path,
			 const char *selector, const char *from, const char *type,
			 const json_t *body)
{
	size_t n = strlen(path);
	struct answer a;

	if (!fake_serves(f, path))
		a = fake_refuse(404, "NotFound", "the server could not find the requested resource");
	else if (strcmp(method, "GET") == 0)
		a = fake_get(f, path, selector, from);
	else if (strcmp(method, "POST") == 0)
		a = fake_create(f, path, body);
	else if (strcmp(method, "DELETE") == 0)
		a = fake_remove(f, path, body);
	else if (strcmp(method, "PATCH") == 0 && type &&
		 strcmp(type, "application/apply-patch+yaml") == 0)
		a = fake_apply(f, path, body);
	else if (strcmp(method, "PATCH") == 0 &&
		 (!type || strcmp(type, "application/merge-patch+json") != 0))
		a = fake_refuse(415, "UnsupportedMediaType", "only merge patches");
	else if (strcmp(method, "PATCH") == 0)
		a = n > 7 && strcmp(path + n - 7, "/status") == 0 ? fake_patch_status(f, path, body)
								  : fake_patch(f, path, body);
	else
		a = fake_refuse(405, "MethodNotAllowed", method);
	controllers(f);
	return a;
}

static enum fake_fault next_fault(struct fake_api *f, const char *method, const char *path)
{
	bool cluster_patch = strcmp(method, "PATCH") == 0 && strstr(path, "/clusters/") &&
			     !strstr(path, "/status");

	f->requests++;
	f->cluster_patches += cluster_patch;
	if (cluster_patch && f->overtake_at && f->cluster_patches == f->overtake_at) {
		AUTO_JSON json_t *other = json_pack("{s:{s:{s:s}}}", "metadata", "annotations",
						    f->overtake_name, f->overtake_value);

		f->overtake_at = 0;
		fake_api_request(f, "PATCH", path, "application/merge-patch+json", other);
	}
	if (f->fail_at && f->requests == f->fail_at) {
		f->fail_at = 0;
	} else if (cluster_patch && f->fail_cluster_patch_at &&
		   f->cluster_patches == f->fail_cluster_patch_at) {
		f->fail_cluster_patch_at = 0;
	} else {
		return FAKE_NONE;
	}
	f->fired = true;
	return f->fault;
}

/* An exchange that is never answered ends when its client has gone. */
static void on_gone(void *arg, struct http_exchange *x)
{
	(void)arg;
	(void)x;
}

static void check_write(struct fake_api *f, struct http_exchange *x,
			const struct http_server_request *req)
{
	const char *strict = http_exchange_query(x, "fieldValidation");

	if (strcmp(req->method, "GET") != 0 && strcmp(req->method, "DELETE") != 0 &&
	    (!strict || strcmp(strict, "Strict") != 0))
		fake_violation(f, "%s %s: unknown fields would be dropped", req->method, req->path);
}

static void tell_clock(struct fake_api *f, struct http_exchange *x)
{
	time_t now = (time_t)((clock_wall_ms() + f->clock_ms) / 1000);
	struct tm tm;
	char date[64];

	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	http_exchange_set_header(x, "Date", date);
	if (f->warning)
		http_exchange_set_header(x, "Warning", f->warning);
}

static bool wants_metadata(struct http_exchange *x)
{
	const char *accept = http_exchange_header(x, "accept");

	return accept && strstr(accept, "as=PartialObjectMetadata");
}

/* As a real server does, for every verb. */
static void cut_down(struct answer *a)
{
	json_t *whole = a->body, *items = json_object_get(whole, "items"), *item, *cut;
	size_t i;

	a->body = json_pack("{s:s,s:s,s:O}", "kind",
			    items ? "PartialObjectMetadataList" : "PartialObjectMetadata",
			    "apiVersion", "meta.k8s.io/v1", "metadata",
			    json_object_get(whole, "metadata"));
	if (items) {
		cut = json_array();
		json_array_foreach (items, i, item)
			json_array_append_new(cut, json_pack("{s:O}", "metadata",
							     json_object_get(item, "metadata")));
		json_object_set_new(a->body, "items", cut);
	}
	json_decref(whole);
}

static void on_request(void *arg, struct http_exchange *x, const struct http_server_request *req)
{
	struct fake_api *f = arg;
	AUTO_JSON json_t *body = NULL;
	enum fake_fault fault = next_fault(f, req->method, req->path);
	struct pcg_error err;
	struct answer a;

	check_write(f, x, req);
	f->dry_run = http_exchange_query(x, "dryRun") != NULL;
	tell_clock(f, x);
	if (req->body_len && json_parse(req->body, req->body_len, "body", &body, &err))
		fake_violation(f, "%s %s: %s", req->method, req->path, err.text);
	if (fault == FAKE_BUSY) {
		a = fake_refuse(429, "TooManyRequests", "storage is (re)initializing");
	} else if (fault == FAKE_DENIED) {
		a = fake_refuse(401, "Unauthorized", "Unauthorized");
	} else if (fault == FAKE_ERROR) {
		a = fake_refuse(500, "InternalError", "etcdserver: request timed out");
	} else if (fault == FAKE_CONFLICT) {
		a = fake_refuse(409, "Conflict",
			   "the object has been modified; please apply your changes to the latest "
			   "version");
	} else if (fault == FAKE_CUT_BEFORE) {
		http_exchange_on_gone(x, on_gone, NULL);
		relay_cut(f->relay);
		return;
	} else {
		a = act(f, req->method, req->path, http_exchange_query(x, "labelSelector"),
			http_exchange_query(x, "continue"), http_exchange_header(x, "content-type"),
			body);
	}
	if (fault == FAKE_CUT_AFTER) {
		http_exchange_on_gone(x, on_gone, NULL);
		relay_cut(f->relay);
	} else {
		if (a.status < 400 && wants_metadata(x))
			cut_down(&a);
		http_exchange_reply_json(x, a.status, a.body);
	}
	json_decref(a.body);
}

int fake_api_request(struct fake_api *f, const char *method, const char *path,
		     const char *content_type, const json_t *body)
{
	struct answer a = act(f, method, path, NULL, NULL, content_type, body);

	json_decref(a.body);
	return a.status;
}

/* ---- set-up ---- */

static void make_certificates(struct fake_api *f)
{
	static const char *const ip[] = {"127.0.0.1", NULL};
	int64_t now = clock_wall_ms();
	struct pki_cert_spec ca = {.common_name = "kubernetes",
				   .is_ca = true,
				   .not_before_ms = now - 300000,
				   .not_after_ms = now + INT64_C(315360000000)};
	struct pki_cert_spec leaf = {.common_name = "kube-apiserver",
				     .ip = ip,
				     .server_auth = true,
				     .not_before_ms = now - 300000,
				     .not_after_ms = now + INT64_C(315360000000)};
	struct pcg_error err;

	assert(pki_key_new(PKI_ECDSA_P256, &f->ca_key, &err) == 0);
	assert(pki_self_signed(&ca, f->ca_key, &f->ca, &err) == 0);
	assert(pki_key_new(PKI_ECDSA_P256, &f->server_key, &err) == 0);
	assert(pki_sign(&leaf, f->server_key, f->ca, f->ca_key, &f->server_cert, &err) == 0);
}

static int mint(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	struct fake_api *f = arg;
	int64_t now = clock_wall_ms();
	struct pki_cert_spec spec = {.common_name = "pcg",
				     .organization = "system:masters",
				     .client_auth = true,
				     .not_before_ms = now - 60000,
				     .not_after_ms = now + 3600000};
	int r = pki_key_new(PKI_ECDSA_P256, key_pem, err);

	return r ? r : pki_sign(&spec, *key_pem, f->ca, f->ca_key, cert_pem, err);
}

struct fake_api *fake_api_new(uv_loop_t *loop, struct http_client *http)
{
	struct fake_api *f = calloc(1, sizeof(*f));
	struct http_server_tls tls;
	struct kube_spec spec;
	struct pcg_error err;

	assert(f);
	f->loop = loop;
	f->objects = json_object();
	f->violations = json_array();
	f->served = json_object();
	make_certificates(f);
	tls = (struct http_server_tls){.cert_pem = f->server_cert,
				       .key_pem = f->server_key,
				       .client_ca_pem = f->ca,
				       .client_required = true};
	assert(http_server_new(loop, "127.0.0.1", 0, &tls, NULL, on_request, f, &f->server, &err) ==
	       0);
	f->relay = relay_new(loop, http_server_port(f->server));
	snprintf(f->url, sizeof(f->url), "https://127.0.0.1:%u", relay_port(f->relay));
	spec = (struct kube_spec){.http = http,
				  .server = f->url,
				  .ca_pem = f->ca,
				  .mint = mint,
				  .mint_arg = f,
				  .field_manager = "pcg"};
	assert(kube_new(&spec, &f->kube, &err) == 0);
	return f;
}

static void on_closed(void *arg)
{
	((struct fake_api *)arg)->closed = true;
}

void fake_api_free(struct fake_api *f)
{
	kube_free(f->kube);
	relay_close(f->relay);
	http_server_close(f->server, on_closed, f);
	while (!f->closed)
		uv_run(f->loop, UV_RUN_ONCE);
	json_decref(f->objects);
	json_decref(f->violations);
	json_decref(f->served);
	free(f->warning);
	free(f->ca);
	free(f->server_cert);
	secret_unref(f->ca_key);
	secret_unref(f->server_key);
	free(f);
}

struct kube *fake_api_kube(struct fake_api *f)
{
	return f->kube;
}

const char *fake_api_ca(const struct fake_api *f)
{
	return f->ca;
}

const struct secret *fake_api_ca_key(const struct fake_api *f)
{
	return f->ca_key;
}

void fake_api_fail(struct fake_api *f, long n, enum fake_fault fault)
{
	f->fail_at = n ? f->requests + n : 0;
	f->fault = fault;
	f->fired = false;
}

void fake_api_overtake_cluster_patch(struct fake_api *f, long n, const char *name, const char *value)
{
	f->overtake_at = f->cluster_patches + n;
	f->overtake_name = name;
	f->overtake_value = value;
}

void fake_api_fail_cluster_patch(struct fake_api *f, long n, enum fake_fault fault)
{
	f->fail_cluster_patch_at = f->cluster_patches + n;
	f->fault = fault;
	f->fired = false;
}

void fake_api_heal(struct fake_api *f)
{
	f->fail_at = f->fail_cluster_patch_at = 0;
	relay_heal(f->relay);
}

bool fake_api_fired(const struct fake_api *f)
{
	return f->fired;
}

long fake_api_requests(const struct fake_api *f)
{
	return f->requests;
}

void fake_api_webhooks_down(struct fake_api *f, int n)
{
	f->webhooks_down = n;
}

void fake_api_refuse_deletes(struct fake_api *f, const char *kind, int n)
{
	f->refused_kind = kind;
	f->refused_deletes = n;
}

void fake_api_deaf_controllers(struct fake_api *f)
{
	f->deaf = true;
}

void fake_api_stuck_pod(struct fake_api *f, bool stuck)
{
	f->stuck_pod = stuck;
}

void fake_api_controller(struct fake_api *f, void (*fn)(struct fake_api *f))
{
	f->controller = fn;
}

void fake_api_drop(struct fake_api *f, const char *path)
{
	json_object_del(f->objects, path);
}

json_t *fake_api_get(struct fake_api *f, const char *path)
{
	return json_object_get(f->objects, path);
}

size_t fake_api_count(struct fake_api *f)
{
	return json_object_size(f->objects);
}

void fake_api_put(struct fake_api *f, const char *path, json_t *object)
{
	char uid[64];

	if (!json_str(object, "metadata.uid")) {
		snprintf(uid, sizeof(uid), "uid-%ld", ++f->uid);
		json_put(object, "metadata.uid", json_string(uid));
	}
	fake_stamp(f, object);
	json_object_set_new(f->objects, path, object);
}

const json_t *fake_api_violations(const struct fake_api *f)
{
	return f->violations;
}

void fake_api_turn_clock(struct fake_api *f, int64_t ahead_ms)
{
	f->clock_ms = ahead_ms;
}

void fake_api_warn(struct fake_api *f, const char *header)
{
	free(f->warning);
	f->warning = header ? strdup(header) : NULL;
}

void fake_api_serve(struct fake_api *f, const char *group, const char *version)
{
	json_object_set_new(f->served, group, json_string(version));
}

const char *fake_api_url(const struct fake_api *f)
{
	return f->url;
}
