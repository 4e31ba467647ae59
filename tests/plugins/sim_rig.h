/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PLUGINS_SIM_RIG_H
#define TESTS_PLUGINS_SIM_RIG_H

/* A running pcg-simcloud, and the services that a plugin is given: libcurl, blocking. */

#include "core/attr.h"
#include "core/json.h"

#include <check.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pcg/provider.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TOKEN "seeded-token-4711"
#define DEADLINE_MS 10000

struct rig {
	char dir[64], url[64];
	pid_t pid;
};

struct pcg_host {
	char *account;
	char hinted[128];
	pthread_mutex_t lock;
};

struct pcg_call {
	uint32_t status, after_ms, class;
	json_t *doc, *checkpoint;
	char text[1024], remedy[512];
	int answers;
	volatile bool cancelled;
};

static inline int64_t rig_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static inline void rig_pause(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

static inline void rig_path(const struct rig *r, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", r->dir, name);
}

/* Starts it again on the same state when it ran before. */
static inline void rig_start(struct rig *r)
{
	char state[128], token[128], ready[128];
	int64_t until = rig_now() + DEADLINE_MS;
	json_t *j = NULL;
	FILE *f;

	if (!r->dir[0]) {
		snprintf(r->dir, sizeof(r->dir), "/tmp/check-sim-XXXXXX");
		ck_assert_ptr_nonnull(mkdtemp(r->dir));
	}
	rig_path(r, "state", state);
	rig_path(r, "token", token);
	rig_path(r, "ready", ready);
	unlink(ready);
	f = fopen(token, "w");
	fputs(TOKEN "\n", f);
	fclose(f);
	r->pid = fork();
	if (!r->pid) {
		char log[128];
		int fd;

		rig_path(r, "log", log);
		fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(fd, 2);
		execl("./pcg-simcloud", "pcg-simcloud", "--state", state, "--token-file", token, "--ready-file", ready, NULL);
		_exit(127);
	}
	while (!j && rig_now() < until) {
		j = json_load_file(ready, 0, NULL);
		rig_pause();
	}
	ck_assert_msg(j != NULL, "pcg-simcloud did not start");
	snprintf(r->url, sizeof(r->url), "%s", json_str(j, "url"));
	json_decref(j);
}

static inline int rig_end(struct rig *r, int signum)
{
	int status;

	kill(r->pid, signum);
	ck_assert_int_eq(waitpid(r->pid, &status, 0), r->pid);
	r->pid = 0;
	return status;
}

static inline void rig_remove(struct rig *r)
{
	static const char *const files[] = { "state/simcloud.db", "state/simcloud.db-wal", "state/simcloud.db-shm",
					     "state/simcloud.db.lock", "state", "token", "ready", "log" };
	char path[128];

	if (r->pid)
		rig_end(r, SIGTERM);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		rig_path(r, files[i], path);
		remove(path);
	}
	ck_assert_msg(rmdir(r->dir) == 0, "%s: %s", r->dir, strerror(errno));
}

struct rig_body {
	char *data;
	size_t len;
};

static inline size_t rig_take(char *data, size_t size, size_t n, void *arg)
{
	struct rig_body *b = arg;

	b->data = realloc(b->data, b->len + size * n + 1);
	memcpy(b->data + b->len, data, size * n);
	b->len += size * n;
	b->data[b->len] = '\0';
	return size * n;
}

struct rig_tls {
	const char *ca, *cert, *key; /* PEM */
};

/* One request; *status 0: no answer. The body is the caller's. */
static inline char *rig_http(const char *method, const char *url, const char *headers[], size_t n_headers, const void *body,
			     size_t len, const struct rig_tls *tls, long timeout_ms, long *status, char error[256])
{
	struct rig_body b = { calloc(1, 1), 0 };
	struct curl_slist *list = NULL;
	char text[CURL_ERROR_SIZE] = "";
	CURL *c = curl_easy_init();

	for (size_t i = 0; i < n_headers; i++)
		list = curl_slist_append(list, headers[i]);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, rig_take);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, &b);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, timeout_ms ? timeout_ms : (long)DEADLINE_MS);
	if (body) {
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)len);
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
	}
	if (tls) {
		struct curl_blob ca = { (void *)(uintptr_t)tls->ca, strlen(tls->ca), CURL_BLOB_COPY };

		curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &ca);
		if (tls->cert) {
			struct curl_blob crt = { (void *)(uintptr_t)tls->cert, strlen(tls->cert), CURL_BLOB_COPY };
			struct curl_blob key = { (void *)(uintptr_t)tls->key, strlen(tls->key), CURL_BLOB_COPY };

			curl_easy_setopt(c, CURLOPT_SSLCERT_BLOB, &crt);
			curl_easy_setopt(c, CURLOPT_SSLKEY_BLOB, &key);
		}
	}
	*status = 0;
	if (curl_easy_perform(c) == CURLE_OK)
		curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, status);
	if (error)
		snprintf(error, 256, "%s", *status ? "" : *text ? text : "no answer");
	curl_slist_free_all(list);
	curl_easy_cleanup(c);
	return b.data;
}

/* A request to the simulated cloud itself, as an administrator of it. */
static inline json_t *rig_cloud(const struct rig *r, const char *method, const char *path, const json_t *body, long *status)
{
	const char *headers[] = { "Authorization: Bearer " TOKEN, "Content-Type: application/json" };
	char *text = body ? json_dumps(body, 0) : NULL, url[256], *answer;
	json_t *j;

	snprintf(url, sizeof(url), "%s%s", r->url, path);
	answer = rig_http(method, url, headers, 2, text, text ? strlen(text) : 0, NULL, 0, status, NULL);
	j = json_loads(answer, 0, NULL);
	free(answer);
	free(text);
	return j;
}

/* ---- services ---- */

static inline const char *rig_account(struct pcg_host *h)
{
	return h->account;
}

static inline void rig_log(struct pcg_host *h, uint32_t level, const char *event, const char *fields)
{
}

static inline int32_t rig_svc_http(struct pcg_host *h, struct pcg_call *call, const struct pcg_http_request *req,
				   struct pcg_http_response *resp)
{
	const char *headers[8];
	char error[256];
	long status;

	for (size_t i = 0; i < req->n_headers; i++) {
		char *line = NULL;

		ck_assert(asprintf(&line, "%s: %s", req->headers[i].name, req->headers[i].value) > 0);
		headers[i] = line;
	}
	resp->body = rig_http(req->method, req->url, headers, req->n_headers, req->body, req->body_len, NULL, req->timeout_ms,
			      &status, error);
	resp->body_len = strlen(resp->body);
	resp->status = (uint32_t)status;
	if (!status) {
		resp->error_class = PCG_ERR_RETRY;
		resp->error = strdup(error);
	}
	for (size_t i = 0; i < req->n_headers; i++)
		free((void *)(uintptr_t)headers[i]);
	return 0;
}

static inline void rig_http_free(struct pcg_host *h, struct pcg_http_response *resp)
{
	free((void *)(uintptr_t)resp->body);
	free((void *)(uintptr_t)resp->error);
	memset(resp, 0, sizeof(*resp));
}

static inline uint64_t rig_remaining(struct pcg_call *call)
{
	return call->cancelled ? 0 : DEADLINE_MS;
}

static inline void rig_hint(struct pcg_host *h, const char *uid)
{
	pthread_mutex_lock(&h->lock);
	snprintf(h->hinted, sizeof(h->hinted), "%s", uid);
	pthread_mutex_unlock(&h->lock);
}

static inline void rig_done(struct pcg_call *call, const char *doc)
{
	call->status = PCG_STEP_DONE;
	call->doc = json_loads(doc ? doc : "{}", 0, NULL);
	call->answers++;
}

static inline void rig_pending(struct pcg_call *call, uint32_t after_ms, const char *doc, const char *checkpoint)
{
	call->status = PCG_STEP_PENDING;
	call->after_ms = after_ms;
	json_decref(call->checkpoint);
	call->checkpoint = checkpoint ? json_loads(checkpoint, 0, NULL) : NULL;
	call->answers++;
}

static inline void rig_error(struct pcg_call *call, uint32_t class, const char *text, const char *remedy)
{
	call->status = PCG_STEP_ERROR;
	call->class = class;
	snprintf(call->text, sizeof(call->text), "%s", text);
	snprintf(call->remedy, sizeof(call->remedy), "%s", remedy);
	call->answers++;
}

static inline void rig_fault_point(struct pcg_host *h, const char *name)
{
}

static const struct pcg_services rig_services = {
	.struct_size = sizeof(rig_services), .abi_minor = PCG_PROVIDER_ABI_MINOR, .account = rig_account, .log = rig_log,
	.http = rig_svc_http, .http_free = rig_http_free, .remaining_ms = rig_remaining, .hint = rig_hint, .done = rig_done,
	.pending = rig_pending, .error = rig_error, .fault_point = rig_fault_point,
};

static inline const struct pcg_provider *rig_provider(void)
{
	void *lib = dlopen(".libs/libpcg-sim.so", RTLD_NOW | RTLD_LOCAL);
	pcg_provider_entry entry;
	const struct pcg_provider *p;

	ck_assert_msg(lib != NULL, "%s", dlerror());
	*(void **)&entry = dlsym(lib, PCG_PROVIDER_SYMBOL);
	ck_assert_ptr_nonnull(*(void **)&entry);
	ck_assert_msg(entry((PCG_PROVIDER_ABI_MAJOR + 1) << 16) == NULL, "takes a host of another major");
	p = entry(PCG_PROVIDER_ABI_MAJOR << 16 | PCG_PROVIDER_ABI_MINOR);
	ck_assert_ptr_nonnull(p);
	return p;
}

/* One step of an op; steals doc. */
static inline void rig_op(pcg_op op, void *plugin, struct pcg_call *call, json_t *doc)
{
	char *text;

	ck_assert_ptr_nonnull(doc);
	if (call->checkpoint)
		json_object_set(doc, "checkpoint", call->checkpoint);
	text = json_dumps(doc, 0);
	json_decref(doc);
	json_decref(call->doc);
	call->doc = NULL;
	call->answers = 0;
	op(plugin, call, text);
	free(text);
	ck_assert_msg(call->answers == 1, "an op must answer once, it did %d times", call->answers);
}

/* Steps until the op is not pending. doc is borrowed. */
static inline void rig_op_whole(pcg_op op, void *plugin, struct pcg_call *call, const json_t *doc)
{
	int64_t until = rig_now() + DEADLINE_MS;

	do {
		rig_op(op, plugin, call, json_deep_copy(doc));
		if (call->status == PCG_STEP_PENDING)
			rig_pause();
	} while (call->status == PCG_STEP_PENDING && rig_now() < until);
}

static inline void rig_call_end(struct pcg_call *call)
{
	json_decref(call->doc);
	json_decref(call->checkpoint);
	memset(call, 0, sizeof(*call));
}

#endif
