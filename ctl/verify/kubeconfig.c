/* SPDX-License-Identifier: Apache-2.0 */
/* What a real API server says to the exported objects: each is created in a dry run, fields strictly checked. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "core/base64.h"
#include "core/buf.h"
#include "core/yaml.h"
#include "kube/kube.h"

#include <stdio.h>
#include <string.h>

#define WAIT_MS 60000u
#define CALL_MS 20000u
#define CLAUSE "export_objects: what is exported is what an API server takes, fields strictly checked"

struct talk {
	struct verify *v;
	json_t *config;
	const char *server;
	char *ca, *cert, *key;
	struct http_client *http;
	struct kube *kube;
	bool done, closed;
	char *path;
	json_t *body;
	struct pcg_error err;
	int status;
};

static const json_t *named(const json_t *list, const char *name)
{
	size_t i;
	json_t *e;

	json_array_foreach(list, i, e)
		if (strcmp(json_str_or(e, "name", ""), name) == 0)
			return e;
	return NULL;
}

static char *decoded(const char *data, const char *member, struct pcg_error *err)
{
	size_t len;
	uint8_t *bytes = base64_decode(data, strlen(data), &len);
	char *text = bytes ? strndup((const char *)bytes, len) : NULL;

	if (!bytes)
		pcg_fail(err, PCG_CLASS_PERMANENT, "", "its %s is not base64", member);
	free(bytes);
	return text;
}

/* NAME-data in base64, or NAME as a file's path. NULL: neither, or err. */
static char *blob(const char *config, const json_t *o, const char *name, struct pcg_error *err)
{
	const char *data, *file = json_str(o, name), *slash = strrchr(config, '/');
	AUTO_FREE char *path = NULL;
	char member[64];
	struct buf text;

	snprintf(member, sizeof(member), "%s-data", name);
	data = json_str(o, member);
	if (!data && !file) {
		pcg_fail(err, PCG_CLASS_PERMANENT, "", "it has no %s", name);
		return NULL;
	}
	if (data)
		return decoded(data, member, err);
	/* Relative to the kubeconfig. */
	if (asprintf(&path, "%.*s%s", *file == '/' || !slash ? 0 : (int)(slash - config) + 1, config, file) < 0)
		abort();
	if (input_file(path, &text, err)) {
		buf_free(&text);
		return NULL;
	}
	return buf_take(&text);
}

static int read_config(struct talk *t, const char *path, struct pcg_error *err)
{
	const json_t *context, *cluster, *user;
	struct buf text;
	int r = input_file(path, &text, err);

	if (!r)
		r = yaml_load_one(text.data, text.len, path, &t->config, err);
	buf_free(&text);
	if (r)
		return r;
	context = named(json_object_get(t->config, "contexts"), json_str_or(t->config, "current-context", ""));
	cluster = named(json_object_get(t->config, "clusters"), json_str_or(context, "context.cluster", ""));
	user = named(json_object_get(t->config, "users"), json_str_or(context, "context.user", ""));
	t->server = json_str(cluster, "cluster.server");
	if (!t->server || !user)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "its current context names no cluster and user that it has");
	t->ca = blob(path, json_object_get(cluster, "cluster"), "certificate-authority", err);
	t->cert = t->ca ? blob(path, json_object_get(user, "user"), "client-certificate", err) : NULL;
	t->key = t->cert ? blob(path, json_object_get(user, "user"), "client-key", err) : NULL;
	return t->key ? 0 : -1;
}

static int give_cert(void *arg, char **cert_pem, struct secret **key_pem, struct pcg_error *err)
{
	struct talk *t = arg;

	*cert_pem = strdup(t->cert);
	*key_pem = secret_new_str(t->key);
	return 0;
}

static void wait_for(struct talk *t)
{
	uint64_t began = verify_now(t->v);

	while (!t->done && !t->v->stopped && verify_now(t->v) - began < WAIT_MS)
		verify_turn(t->v, 1000);
}

static void on_path(void *arg, char *path, const struct pcg_error *err)
{
	struct talk *t = arg;

	t->done = true;
	t->path = path;
	if (!path)
		t->err = *err;
}

static void on_created(void *arg, const struct kube_reply *r)
{
	struct talk *t = arg;

	t->done = true;
	t->status = r->status;
	t->err = r->err;
	t->body = r->status / 100 == 2 ? json_deep_copy(r->body) : NULL;
}

/* Of an object, to that of the collection that it would be created in. */
static void to_collection(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = 0;
}

static int try_one(struct talk *t, const json_t *object)
{
	const char *kind = json_str_or(object, "kind", ""), *name = json_str_or(object, "metadata.name", "");
	AUTO_FREE char *query = NULL;

	t->done = false;
	t->path = NULL;
	kube_path_of(t->kube, json_str_or(object, "apiVersion", ""), kind, "default", name, on_path, t);
	wait_for(t);
	if (!t->path)
		return verify_fail(t->v, CLAUSE, "a kind that the server has (install the provider's definitions)", "%s %s: %s", kind, name,
				   t->done ? t->err.text : "the server did not answer");
	to_collection(t->path);
	if (asprintf(&query, "%s?dryRun=All", t->path) < 0)
		abort();
	free(t->path);
	t->done = false;
	kube_request(t->kube, "POST", query, NULL, object, CALL_MS, on_created, t);
	wait_for(t);
	if (t->body)
		return 0;
	return verify_fail(t->v, CLAUSE, "a dry run that creates it", "%s %s: %s", kind, name,
			   t->done ? t->err.text : "the server did not answer");
}

static void on_http_closed(void *arg)
{
	*(bool *)arg = true;
}

static void talk_end(struct talk *t)
{
	kube_free(t->kube);
	if (t->http) {
		http_client_close(t->http, on_http_closed, &t->closed);
		while (!t->closed)
			verify_turn(t->v, 1000);
	}
	json_wipe(t->config);
	free(t->ca);
	free(t->cert);
	if (t->key)
		secret_wipe(t->key, strlen(t->key));
	free(t->key);
}

int kubeconfig_try(struct verify *v, const json_t *exported, json_t **read)
{
	struct talk t = { .v = v };
	struct kube_spec spec = { .mint = give_cert, .mint_arg = &t, .field_manager = "pcgctl" };
	struct pcg_error err;
	int r = read_config(&t, v->kubeconfig, &err);
	size_t i;
	json_t *e;

	*read = json_array();
	if (!r) {
		t.http = http_client_new(&v->loop, NULL);
		spec.http = t.http;
		spec.server = t.server;
		spec.ca_pem = t.ca;
		r = kube_new(&spec, &t.kube, &err);
	}
	if (r)
		verify_fail(v, "--kubeconfig", "a kubeconfig with a CA and a client certificate", "%s: %s", v->kubeconfig, err.text);
	json_array_foreach(exported, i, e) {
		if (r)
			break;
		t.body = NULL;
		r = try_one(&t, json_object_get(e, "object"));
		if (t.body)
			json_array_append_new(*read, t.body);
	}
	talk_end(&t);
	return r ? -1 : 0;
}
