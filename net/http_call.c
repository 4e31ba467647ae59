/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_client_impl.h"

#include "core/secret.h"
#include "net/url.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static void slist_wipe(struct curl_slist *list)
{
	for (struct curl_slist *l = list; l; l = l->next)
		secret_wipe(l->data, strlen(l->data));
	curl_slist_free_all(list);
}

static bool token_ok(const char *s)
{
	if (!s[0])
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
			return false;
	return true;
}

static void header_append(struct http_call *call, const char *line)
{
	struct curl_slist *list = curl_slist_append(call->headers, line);

	if (!list)
		abort();
	call->headers = list;
}

static int headers_copy(struct http_call *call, const struct http_request *req,
			struct pcg_error *err)
{
	bool has_type = false;
	struct buf line;

	buf_init_secret(&line, HTTP_HEADERS_MAX);
	for (size_t i = 0; i < req->n_headers; i++) {
		const struct http_header *h = &req->headers[i];

		if (!token_ok(h->name) || h->value[strcspn(h->value, "\r\n")]) {
			buf_free(&line);
			return pcg_fail(err, PCG_CLASS_PERMANENT,
					"a header value is one line of text",
					"%s %s: header \"%.60s\" cannot be sent", call->method,
					call->shown, h->name);
		}
		has_type |= !strcasecmp(h->name, "content-type");
		buf_reset(&line);
		/* "Name;" is libcurl's way to send an empty value */
		buf_adds(&line, h->name);
		buf_adds(&line, h->value[0] ? ": " : ";");
		buf_adds(&line, h->value);
		if (line.overflow) {
			buf_free(&line);
			return pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s %s: a header is too long",
					call->method, call->shown);
		}
		header_append(call, line.data);
	}
	buf_free(&line);
	header_append(call, "Expect:");
	if (!has_type)
		header_append(call, "Content-Type:");
	return 0;
}

/* With server_name the URL's host becomes that name (SNI, Host, verification), the way stays. */
static int url_rename(struct http_call *call, const struct url *u, const char *name,
		      struct pcg_error *err)
{
	bool v6 = strchr(u->host, ':'), name6 = strchr(name, ':');
	char to[512], host[300], *text = NULL;
	CURLU *c = curl_url();
	int r = 0;

	if (!c)
		abort();
	snprintf(host, sizeof(host), name6 ? "[%s]" : "%s", name);
	snprintf(to, sizeof(to), v6 ? "::[%s]:%u" : "::%s:%u", u->host, u->port);
	if (curl_url_set(c, CURLUPART_URL, call->url, 0) ||
	    curl_url_set(c, CURLUPART_HOST, host, 0) || curl_url_get(c, CURLUPART_URL, &text, 0))
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "give a host name or an IP address",
			     "%s %s: the server name \"%s\" is no host name", call->method,
			     call->shown, name);
	curl_url_cleanup(c);
	if (r)
		return r;
	free(call->url);
	call->url = strdup(text);
	curl_free(text);
	free(call->verify_host);
	call->verify_host = strdup(name);
	call->connect_to = curl_slist_append(NULL, to);
	return 0;
}

static struct http_host *host_get(struct http_client *c, const struct url *u)
{
	struct http_host *h;
	char key[300];

	snprintf(key, sizeof(key), "%s:%u", u->host, u->port);
	LIST_FOREACH(h, &c->hosts, link)
		if (!strcmp(h->key, key))
			break;
	if (!h) {
		h = calloc(1, sizeof(*h));
		if (!h)
			abort();
		h->key = strdup(key);
		TAILQ_INIT(&h->queue);
		LIST_INSERT_HEAD(&c->hosts, h, link);
	}
	h->refs++;
	return h;
}

static void host_put(struct http_host *h)
{
	if (!h || --h->refs)
		return;
	LIST_REMOVE(h, link);
	free(h->key);
	free(h);
}

/* The system's authorities are a quarter of a megabyte of certificates to read: not for a call without TLS. */
static int default_tls(struct http_client *c, const struct url *u, const struct http_request *req,
		       struct http_tls_ctx **out, struct pcg_error *err)
{
	bool plain = !u->https && !proxy_url_secret(req->proxy, req->url);
	struct http_tls_ctx **tls = plain ? &c->no_tls : &c->system_tls;
	struct http_tls spec = { .insecure = plain };
	int r = *tls ? 0 : http_tls_new(&spec, tls, err);

	*out = *tls;
	return r;
}

static int call_fill(struct http_call *call, const struct http_request *req, struct pcg_error *err)
{
	struct http_client *c = call->client;
	struct http_tls_ctx *tls = req->tls;
	char shown[512];
	struct url u;
	int r = url_parse(req->url, "the URL", &u, err);

	call->shown = strdup(r ? "(unreadable URL)" : url_show(&u, shown, sizeof(shown)));
	if (r)
		return r;
	call->verify_host = strdup(u.host);
	if (!tls)
		r = default_tls(c, &u, req, &tls, err);
	if (!r && (u.user || u.password))
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "send credentials in a header",
			     "%s %s: the URL holds a user name", call->method, call->shown);
	if (!r && u.https && tls->server_name)
		r = url_rename(call, &u, tls->server_name, err);
	if (!r)
		r = headers_copy(call, req, err);
	if (!r)
		r = http_pool_get(c, tls, req->proxy, req->url, &call->pool, err);
	if (!r)
		call->host = host_get(c, &u);
	url_free(&u);
	return r;
}

/* Those that HTTP calls idempotent (RFC 9110, 9.2.2), and that are used here. */
static bool is_repeatable(const struct http_request *req)
{
	static const char *const methods[] = { "GET", "HEAD", "PUT", "DELETE" };

	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (!strcmp(req->method, methods[i]))
			return true;
	return req->repeatable;
}

struct http_call *http_call_new(struct http_client *c, const struct http_request *req,
				http_done_cb done, void *arg)
{
	struct http_call *call = calloc(1, sizeof(*call));
	struct pcg_error err;

	if (!call)
		abort();
	call->magic = HTTP_CALL_MAGIC;
	call->client = c;
	call->done = done;
	call->arg = arg;
	call->method = strdup(req->method);
	call->url = strdup(req->url);
	call->connect_timeout_ms = req->connect_timeout_ms ? req->connect_timeout_ms : 10000;
	call->deadline = uv_now(c->loop) + (req->timeout_ms ? req->timeout_ms : 60000);
	call->max_response = req->max_response ? req->max_response : 8u << 20;
	call->own_connection = req->own_connection;
	call->repeatable = is_repeatable(req);
	call->host_connections = req->host_connections ? req->host_connections : c->limits.max_host;
	call->on_data = req->on_data;
	call->on_sent = req->on_sent;
	buf_init_secret(&call->body, req->body_len + 1);
	buf_init_secret(&call->in, (size_t)call->max_response);
	buf_init_secret(&call->in_headers, HTTP_HEADERS_MAX);
	if (req->body_len)
		buf_add(&call->body, req->body, req->body_len);
	LIST_INSERT_HEAD(&c->calls, call, all);
	if (call_fill(call, req, &err)) {
		call->err = malloc(sizeof(err));
		if (!call->err)
			abort();
		*call->err = err;
	}
	return call;
}

void http_call_free(struct http_call *call)
{
	assert(call->magic == HTTP_CALL_MAGIC && !call->slot);
	LIST_REMOVE(call, all);
	host_put(call->host);
	slist_wipe(call->headers);
	curl_slist_free_all(call->connect_to);
	buf_free(&call->body);
	buf_free(&call->in);
	buf_free(&call->in_headers);
	secret_wipe(call->url, strlen(call->url));
	free(call->method);
	free(call->url);
	free(call->shown);
	free(call->verify_host);
	free(call->err);
	call->magic = 0;
	free(call);
}

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct http_call *call = arg;

	if (call->cancelled)
		return 0;
	if (call->on_data) {
		call->ended = call->on_data(call->arg, data, len) != 0;
		return call->ended || call->cancelled ? 0 : len;
	}
	if (buf_add(&call->in, data, len)) {
		call->too_large = true;
		return 0;
	}
	return len;
}

static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct http_call *call = arg;
	const char *colon = memchr(data, ':', len);
	size_t end = len, value, name;

	if (len >= 5 && !memcmp(data, "HTTP/", 5)) { /* after 100 Continue comes another one */
		buf_reset(&call->in_headers);
		call->n_headers = 0;
		return len;
	}
	if (!colon)
		return len;
	name = call->in_headers.len;
	buf_add(&call->in_headers, data, (size_t)(colon - data));
	buf_add(&call->in_headers, "", 1);
	for (char *p = call->in_headers.data + name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	value = (size_t)(colon - data) + 1;
	while (value < end && strchr(" \t", data[value]))
		value++;
	while (end > value && strchr(" \t\r\n", data[end - 1]))
		end--;
	buf_add(&call->in_headers, data + value, end - value);
	buf_add(&call->in_headers, "", 1);
	if (call->in_headers.overflow) {
		call->too_large = true;
		return 0;
	}
	call->n_headers++;
	return len;
}

static void method_set(struct http_call *call, CURL *e)
{
	bool body = call->body.len > 0 || !strcmp(call->method, "POST") ||
		    !strcmp(call->method, "PUT") || !strcmp(call->method, "PATCH");

	curl_easy_setopt(e, CURLOPT_NOBODY, 0L);
	if (!strcmp(call->method, "HEAD")) {
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, NULL);
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	} else if (body) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, call->body.data);
		curl_easy_setopt(e, CURLOPT_POST, 1L);
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, call->method);
	} else {
		curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST,
				 strcmp(call->method, "GET") ? call->method : NULL);
	}
}

/* Before each time that the request is written. When a kept connection ends without an answer, libcurl writes it to another
 * one by itself, although the server may have carried it out. */
static int on_write(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct http_call *call = arg;

	call->not_again = call->sent_once && !call->repeatable;
	call->sent_once = true;
	return call->not_again ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* libcurl tells what it has handed to the system, headers first. */
static int on_trace(CURL *e, curl_infotype type, char *data, size_t len, void *arg)
{
	struct http_call *call = arg;

	if (type == CURLINFO_HEADER_OUT)
		call->headers_sent = true;
	else if (type == CURLINFO_DATA_OUT)
		call->body_sent += len;
	else
		return 0;
	if (call->on_sent && call->headers_sent && call->body_sent >= call->body.len) {
		void (*on_sent)(void *arg) = call->on_sent;

		call->on_sent = NULL;
		on_sent(call->arg);
	}
	return 0;
}

void http_call_start(struct http_call *call)
{
	struct http_client *c = call->client;
	struct http_slot *s = http_pool_slot(call->pool);
	uint64_t now = uv_now(c->loop);
	CURL *e = s->easy;

	assert(c->in_curl == 0);
	call->state = HTTP_CALL_RUNNING;
	call->slot = s;
	s->call = call;
	free(s->host);
	s->host = strdup(call->verify_host);
	method_set(call, e);
	curl_easy_setopt(e, CURLOPT_URL, call->url);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(e, CURLOPT_CONNECT_TO, call->connect_to);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)call->connect_timeout_ms);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS,
			 call->deadline > now ? (long)(call->deadline - now) : 1L);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_write);
	curl_easy_setopt(e, CURLOPT_PREREQDATA, call);
	if (call->on_sent) {
		curl_easy_setopt(e, CURLOPT_DEBUGFUNCTION, on_trace);
		curl_easy_setopt(e, CURLOPT_DEBUGDATA, call);
		curl_easy_setopt(e, CURLOPT_VERBOSE, 1L);
	}
	if (!call->own_connection) {
		call->host->active++;
		c->active++;
	}
	c->in_curl++;
	if (curl_multi_add_handle(call->pool->multi, e))
		abort();
	c->in_curl--;
}

static bool is_client_cert_alert(const char *text)
{
	static const char *const alerts[] = {
		"alert certificate required", "alert bad certificate", "alert unknown ca",
		"alert certificate expired", "alert certificate revoked",
		"alert certificate unknown", "alert access denied", "alert handshake failure",
	};

	for (size_t i = 0; i < ARRAY_LEN(alerts); i++)
		if (strstr(text, alerts[i]))
			return true;
	return false;
}

static void tls_error(struct http_call *call, const char *text, struct pcg_error *err)
{
	if (is_client_cert_alert(text))
		pcg_fail(err, PCG_CLASS_AUTH,
			 "check that the client certificate is valid and signed by a CA that the server knows",
			 "%s %s: the server ended the handshake: %s", call->method, call->shown, text);
	else if (strstr(text, "wrong version number") || strstr(text, "packet length too long"))
		pcg_fail(err, PCG_CLASS_PERMANENT, "check the port: what answers there does not speak TLS",
			 "%s %s: %s", call->method, call->shown, text);
	else
		pcg_fail(err, PCG_CLASS_RETRY, "", "%s %s: TLS: %s", call->method, call->shown, text);
}

static bool proxy_error(struct http_call *call, CURLcode code, long status, const char *text,
			struct pcg_error *err)
{
	const char *proxy = call->pool->proxy_shown;

	if (!proxy)
		return false;
	if (status == 407 || status == 401)
		pcg_fail(err, PCG_CLASS_AUTH, "give the proxy's user and password in its URL",
			 "%s %s: the proxy %s refused the credentials (%ld)", call->method,
			 call->shown, proxy, status);
	else if (status == 403)
		pcg_fail(err, PCG_CLASS_PERMANENT,
			 "allow the destination in the proxy, or exempt it in the no-proxy list, in which only .DOMAIN names all hosts of a domain",
			 "%s %s: the proxy %s does not allow this destination (403)", call->method,
			 call->shown, proxy);
	else if (status >= 300)
		pcg_fail(err, PCG_CLASS_RETRY, "check that the proxy can reach the destination",
			 "%s %s: the proxy %s answered %ld", call->method, call->shown, proxy,
			 status);
	else if (code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_COULDNT_CONNECT)
		pcg_fail(err, PCG_CLASS_RETRY, "check the proxy's address and that it runs",
			 "%s %s: the proxy %s cannot be reached: %s", call->method, call->shown,
			 proxy, text);
	else
		return false;
	return true;
}

static void call_error(struct http_call *call, CURLcode code, struct pcg_error *err)
{
	const struct http_slot *s = call->slot;
	const char *text = s->errbuf[0] ? s->errbuf : curl_easy_strerror(code);
	long proxy_status = 0;

	curl_easy_getinfo(s->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
	if (call->not_again)
		pcg_fail(err, PCG_CLASS_RETRY, "",
			 "%s %s: the connection ended before an answer came; it may have been carried out",
			 call->method, call->shown);
	else if (s->verify_failed)
		pcg_fail(err, PCG_CLASS_PERMANENT,
			 call->pool->tls->thumb_len ?
				 "compare the thumbprint with the server's own, then correct the setting" :
			 s->verify_time ?
				 "set this machine's clock right; if it is right, renew the server's certificate" :
				 "trust the issuer by giving its CA certificate, or correct the host name",
			 "%s %s: %s", call->method, call->shown, s->verify_text);
	else if (call->too_large)
		pcg_fail(err, PCG_CLASS_PERMANENT, "",
			 "%s %s: the answer is larger than the limit of %llu bytes", call->method,
			 call->shown, (unsigned long long)call->max_response);
	else if (proxy_error(call, code, proxy_status, text, err))
		;
	else if (code == CURLE_PEER_FAILED_VERIFICATION)
		pcg_fail(err, PCG_CLASS_PERMANENT, "correct the host name or give the right CA",
			 "%s %s: %s", call->method, call->shown, text);
	else if (code == CURLE_SSL_CONNECT_ERROR || strstr(text, "alert"))
		tls_error(call, text, err);
	else if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
		pcg_fail(err, PCG_CLASS_PERMANENT, "correct the URL", "%s %s: %s", call->method,
			 call->shown, text);
	else
		pcg_fail(err, PCG_CLASS_RETRY, "", "%s %s: %s", call->method, call->shown, text);
}

static void call_ended(struct http_call *call, bool close)
{
	struct http_client *c = call->client;
	struct http_slot *s = call->slot;

	call->slot = NULL;
	http_pool_release(s, close);
	if (!call->own_connection) {
		call->host->active--;
		c->active--;
	}
	if (call->cancelled)
		c->cancelled--;
}

static struct http_header *headers_list(struct http_call *call)
{
	struct http_header *list = calloc(call->n_headers + 1, sizeof(*list));
	const char *p = call->in_headers.data;

	if (!list)
		abort();
	for (size_t i = 0; i < call->n_headers; i++) {
		list[i].name = p;
		p += strlen(p) + 1;
		list[i].value = p;
		p += strlen(p) + 1;
	}
	return list;
}

/* An answer without a tunnel that is the proxy's own: 407, and tinyproxy's 401 for a wrong password. */
static bool is_proxy_refusal(struct http_call *call, long status, const struct http_header *h)
{
	if (!call->pool->proxy_shown || !strncmp(call->url, "https", 5) || (status != 407 && status != 401))
		return false;
	for (size_t i = 0; status == 401 && i < call->n_headers; i++)
		if (!strcmp(h[i].name, "server"))
			return !strncmp(h[i].value, "tinyproxy", 9);
	return status == 407;
}

static void call_tell(struct http_call *call, struct http_response *resp)
{
	http_done_cb done = call->done;
	const struct http_tls_ctx *tls = call->pool && !strncmp(call->url, "https", 5) ? call->pool->tls : NULL;

	resp->peer_sha1 = http_tls_peer_sha1(tls);
	resp->peer_sha256 = http_tls_peer_sha256(tls);
	call->done = NULL;
	call->client->in_done++;
	done(call->arg, resp);
	call->client->in_done--;
}

void http_call_finish(struct http_call *call, CURLcode code)
{
	struct http_client *c = call->client;
	struct http_header *headers = headers_list(call);
	struct http_host *host = call->host;
	struct http_response resp;
	long status = 0;

	memset(&resp, 0, sizeof(resp));
	curl_easy_getinfo(call->slot->easy, CURLINFO_RESPONSE_CODE, &status);
	if (code && !call->ended) {
		call_error(call, code, &resp.err);
		status = 0;
	} else if (is_proxy_refusal(call, status, headers)) {
		proxy_error(call, code, status, "", &resp.err);
		status = 0;
	}
	call_ended(call, code != CURLE_OK);
	if (!call->cancelled) {
		resp.status = status;
		resp.body = call->on_data ? "" : call->in.data;
		resp.body_len = call->on_data ? 0 : call->in.len;
		resp.headers = headers;
		resp.n_headers = call->n_headers;
		call_tell(call, &resp);
	}
	free(headers);
	host->refs++;
	http_call_free(call);
	http_client_pump_host(c, host);
	host_put(host);
}

void http_call_fail(struct http_call *call)
{
	struct http_response resp;

	memset(&resp, 0, sizeof(resp));
	resp.body = "";
	if (call->err)
		resp.err = *call->err;
	else if (call->timed_out)
		pcg_fail(&resp.err, PCG_CLASS_RETRY, "",
			 "%s %s: the time was over before a connection was free", call->method,
			 call->shown);
	else
		pcg_fail(&resp.err, PCG_CLASS_CANCELLED, "", "%s %s: the client was closed",
			 call->method, call->shown);
	if (call->slot)
		call_ended(call, true);
	if (!call->cancelled) {
		call_tell(call, &resp);
	}
	http_call_free(call);
}
