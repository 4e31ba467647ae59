/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/link/link_impl.h"

#include "core/clock.h"
#include "core/fault.h"
#include "net/pki.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CALL_MS 30000
#define LOOK_AGAIN_MS (6LL * 3600 * 1000)
#define RETRY_MAX_MS (3600LL * 1000)

/* Renewal. */

static void on_renew_timer(uv_timer_t *t);

static void renew_later(struct link *l, int64_t life_ms)
{
	int64_t ms = life_ms / 50;

	ms = ms > RETRY_MAX_MS ? RETRY_MAX_MS : ms < 200 ? 200 : ms;
	uv_timer_start(&l->renew.timer, on_renew_timer, (uint64_t)ms, 0);
}

static int64_t life_ms(struct link *l, int64_t *due_ms)
{
	struct pki_info info;
	struct pcg_error err;

	if (pki_cert_info(l->cert_pem, &info, &err))
		return 0;
	*due_ms = info.not_before_ms + (info.not_after_ms - info.not_before_ms) / 3 * 2;
	return info.not_after_ms - info.not_before_ms;
}

void link_renew_plan(struct link *l)
{
	int64_t due = 0, life = life_ms(l, &due), wait = due - clock_wall_ms();

	if (l->closing || !life)
		return;
	if (wait < 0)
		wait = 0;
	if (wait > LOOK_AGAIN_MS)
		wait = LOOK_AGAIN_MS;
	uv_timer_start(&l->renew.timer, on_renew_timer, (uint64_t)wait, 0);
}

static int take_certificate(struct link *l, const struct http_response *resp, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	const char *pem;
	int r;

	if (resp->status != 200)
		return link_response_error(resp, "renewing the certificate", err);
	r = json_parse(resp->body, resp->body_len, "the plane's answer", &doc, err);
	if (r)
		return r;
	pem = json_str_or(doc, "certificate", "");
	r = pki_match(pem, l->asked_key, err);
	if (r)
		return r;
	free(l->next_cert);
	l->next_cert = strdup(pem);
	assert(l->next_cert);
	secret_unref(l->next_key);
	l->next_key = TAKE(l->asked_key);
	return 0;
}

static void on_renewed(void *arg, const struct http_response *resp)
{
	struct link *l = arg;
	struct pcg_error err = { 0 };
	int64_t due = 0;

	l->renew.call = NULL;
	if (take_certificate(l, resp, &err)) {
		secret_unref(TAKE(l->asked_key));
		log_outage_begin(&l->renew.outage, "certificate_not_renewed", l->gateway_uid, &err);
		renew_later(l, life_ms(l, &due));
		return;
	}
	FAULT_POINT("link.after_certificate_received");
	log_outage_end(&l->renew.outage, "certificate_renewed", l->gateway_uid);
	if (l->hooks.certificate)
		l->hooks.certificate(l->hooks.arg, l->next_cert, l->next_key);
}

static int ask(struct link *l, struct pcg_error *err)
{
	AUTO_FREE char *csr = NULL;
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *body = NULL;
	int r = pki_key_new(PKI_ECDSA_P256, &l->asked_key, err);

	if (!r)
		r = pki_csr_new(l->gateway_uid, l->asked_key, &csr, err);
	if (r)
		return r;
	body = json_pack("{s:s}", "csr", csr);
	text = json_text(body);
	l->renew.call = link_request(l, "POST", "/gateway/v1/certificate", text, strlen(text), CALL_MS, false,
				     on_renewed, l);
	return 0;
}

static void on_renew_timer(uv_timer_t *t)
{
	struct link_lane *lane = t->data;
	struct link *l = lane->link;
	struct pcg_error err = { 0 };
	int64_t due = 0, life = life_ms(l, &due);

	if (due > clock_wall_ms()) {
		link_renew_plan(l);
		return;
	}
	if (l->renew.call || l->next_cert)
		return;
	secret_unref(TAKE(l->asked_key));
	if (ask(l, &err)) {
		log_err("certificate_not_renewed", &err);
		renew_later(l, life);
	}
}

/* Enrolment: by the plane's CA, or by that CA's fingerprint. The CA itself is public and is fetched without
 * knowing the other side; nothing else is sent before it was compared with the fingerprint. */

struct enrolment {
	struct http_client *http;
	const struct proxy_set *proxy;
	char *url, *ca_pem, *ca_sha256, *csr, *host_name;
	struct secret *code;
	link_enrol_cb cb;
	void *arg;
};

static void enrolment_end(struct enrolment *e, const char *uid, const char *cert, const char *ca,
			  const struct pcg_error *err)
{
	e->cb(e->arg, uid, cert, ca, err);
	proxy_set_unref((struct proxy_set *)e->proxy);
	secret_unref(e->code);
	free(e->url);
	free(e->ca_pem);
	free(e->ca_sha256);
	free(e->csr);
	free(e->host_name);
	free(e);
}

static int send_to(struct enrolment *e, const char *method, const char *path, const struct http_tls *tls,
		   const char *body, size_t len, http_done_cb done, struct pcg_error *err)
{
	static const struct http_header json_body = { "Content-Type", "application/json" };
	AUTO_FREE char *url = NULL;
	struct http_tls_ctx *ctx = NULL;
	struct http_request req = { .method = method, .body = body, .body_len = len, .proxy = e->proxy,
				    .timeout_ms = CALL_MS, .headers = &json_body, .n_headers = body ? 1 : 0 };
	int n, r = http_tls_new(tls, &ctx, err);

	if (r)
		return r;
	n = asprintf(&url, "%s%s", e->url, path);
	assert(n >= 0);
	req.url = url;
	req.tls = ctx;
	http_submit(e->http, &req, done, e);
	http_tls_unref(ctx);
	return 0;
}

static void on_enrolled(void *arg, const struct http_response *resp)
{
	struct enrolment *e = arg;
	struct pcg_error err = { 0 };
	AUTO_JSON json_t *doc = NULL;

	if (resp->status != 200)
		link_response_error(resp, "pairing with the plane", &err);
	else if (json_parse(resp->body, resp->body_len, "the plane's answer", &doc, &err) == 0 &&
		 (!json_str(doc, "gatewayUid") || !json_str(doc, "certificate")))
		pcg_fail(&err, PCG_CLASS_PERMANENT, "see that plane.url names a pcg-plane",
			 "the plane's answer holds no certificate");
	if (err.text[0]) {
		if (resp->status == 403)
			snprintf(err.remedy, sizeof(err.remedy), "make a new pairing code: pcg-planectl pair");
		enrolment_end(e, NULL, NULL, NULL, &err);
		return;
	}
	FAULT_POINT("link.after_enrolment_received");
	enrolment_end(e, json_str(doc, "gatewayUid"), json_str(doc, "certificate"), e->ca_pem, NULL);
}

static void enrol_now(struct enrolment *e)
{
	struct http_tls tls = { .ca_pem = e->ca_pem };
	struct pcg_error err = { 0 };
	json_t *body = json_pack("{s:s,s:s,s:s,s:s}", "pairingCode", secret_data(e->code), "csr", e->csr,
				 "hostName", e->host_name, "version", PACKAGE_VERSION);
	size_t len = 0;
	char *text = json_text_secret(body, &len);

	if (send_to(e, "POST", "/gateway/v1/enrol", &tls, text, len, on_enrolled, &err))
		enrolment_end(e, NULL, NULL, NULL, &err);
	secret_wipe(text, len);
	free(text);
	json_wipe(body);
}

static int check_ca(struct enrolment *e, const char *pem, struct pcg_error *err)
{
	struct pki_info info;
	char want[65];
	int r = pki_thumbprint_normal(e->ca_sha256, want, err);

	if (!r)
		r = pki_cert_info(pem, &info, err);
	if (r)
		return r;
	if (strcmp(want, info.sha256) != 0)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"compare the fingerprint with the one that pcg-plane printed; if it is right, somebody "
				"stands between",
				"the plane's CA has the SHA-256 %s, expected was %s", info.sha256, want);
	e->ca_pem = strdup(pem);
	assert(e->ca_pem);
	return 0;
}

static void on_ca(void *arg, const struct http_response *resp)
{
	struct enrolment *e = arg;
	struct pcg_error err = { 0 };
	AUTO_JSON json_t *doc = NULL;
	int r = 0;

	if (resp->status != 200)
		r = link_response_error(resp, "fetching the plane's CA", &err);
	else
		r = json_parse(resp->body, resp->body_len, "the plane's CA", &doc, &err);
	if (!r)
		r = check_ca(e, json_str_or(doc, "ca", ""), &err);
	if (r)
		enrolment_end(e, NULL, NULL, NULL, &err);
	else
		enrol_now(e);
}

void link_enrol(const struct link_enrol_spec *spec, link_enrol_cb cb, void *arg)
{
	struct enrolment *e = calloc(1, sizeof(*e));
	struct http_tls unknown = { .insecure = true };
	struct pcg_error err = { 0 };
	size_t n;

	assert(e && spec->pairing_code && spec->csr_pem);
	e->http = spec->http;
	e->proxy = spec->proxy ? proxy_set_ref(spec->proxy) : NULL;
	e->url = strdup(spec->url);
	e->ca_pem = spec->ca_pem ? strdup(spec->ca_pem) : NULL;
	e->ca_sha256 = spec->ca_sha256 ? strdup(spec->ca_sha256) : NULL;
	e->csr = strdup(spec->csr_pem);
	e->host_name = strdup(spec->host_name ? spec->host_name : "gateway");
	e->code = secret_new(spec->pairing_code, strcspn(spec->pairing_code, " \t\r\n"));
	e->cb = cb;
	e->arg = arg;
	n = strlen(e->url);
	if (n && e->url[n - 1] == '/')
		e->url[n - 1] = 0;
	if (e->ca_pem) {
		enrol_now(e);
		return;
	}
	if (!e->ca_sha256)
		pcg_fail(&err, PCG_CLASS_PERMANENT, "set plane.ca_file to the plane's ca.crt",
			 "pairing with %s: nothing says which certificate authority is the plane's", e->url);
	else
		send_to(e, "GET", "/gateway/v1/ca", &unknown, NULL, 0, on_ca, &err);
	if (err.text[0])
		enrolment_end(e, NULL, NULL, NULL, &err);
}
