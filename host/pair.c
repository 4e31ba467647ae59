/* SPDX-License-Identifier: Apache-2.0 */
/* Enrolment: a code that is good once becomes a certificate whose key never leaves this gateway. */
#include "config.h"

#include "host/gateway.h"

#include "core/log.h"
#include "core/secret.h"
#include "host/settings.h"
#include "net/pki.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CODE_MAX 512
#define AGAIN_MS 5000

int gateway_read_code(struct gateway *g, const char *path, struct pcg_error *err)
{
	AUTO_CLOSE int fd = -1;
	char code[CODE_MAX + 1];
	ssize_t n;

	fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : dup(STDIN_FILENO);
	if (fd < 0)
		return pcg_fail_errno(err, errno, "opening the pairing code %s", path);
	n = read(fd, code, CODE_MAX);
	if (n < 0)
		return pcg_fail_errno(err, errno, "reading the pairing code %s", path);
	code[n] = '\0';
	code[strcspn(code, " \t\r\n")] = '\0';
	if (!*code)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "make one: pcg-planectl pair",
				"%s holds no pairing code", strcmp(path, "-") ? path : "standard input");
	free(g->pairing_code);
	g->pairing_code = strdup(code);
	secret_wipe(code, sizeof(code));
	return 0;
}

void gateway_forget_code(struct gateway *g)
{
	if (g->pairing_code)
		secret_wipe(g->pairing_code, strlen(g->pairing_code));
	free(TAKE(g->pairing_code));
}

static void identity_durable(void *arg)
{
	struct gateway *g = arg;

	log_info("paired", LS("uid", g->uid));
	if (g->pair_only)
		gateway_stop(g);
	else
		gateway_begin(g);
}

static void on_again(uv_timer_t *t)
{
	gateway_pair(t->data);
}

static void give_up(struct gateway *g, const struct pcg_error *err)
{
	log_err("pairing_failed", err);
	if (g->pair_only)
		fprintf(stderr, "pcgd: pairing failed: %s\n%s%s%s", err->text,
			*err->remedy ? "  what to do: " : "", err->remedy, *err->remedy ? "\n" : "");
	g->enrolling = false;
	if (err->class == PCG_CLASS_RETRY && !g->pair_only) {
		uv_timer_start(&g->pair_timer, on_again, AGAIN_MS, 0);
		return;
	}
	secret_unref(TAKE(g->new_key));
	gateway_forget_code(g);
	if (g->pair_only) {
		g->exit_status = 1;
		gateway_stop(g);
	}
}

static void on_enrolled(void *arg, const char *uid, const char *cert_pem, const char *plane_ca,
			const struct pcg_error *err)
{
	struct gateway *g = arg;
	struct store_batch *b;
	struct pcg_error other;

	g->enrolling = false;
	if (g->stopping)
		return;
	if (err) {
		give_up(g, err);
		return;
	}
	if (g->uid && *g->uid && strcmp(g->uid, uid)) {
		pcg_fail(&other, PCG_CLASS_PERMANENT,
			 "move state_dir away first, or make the code with pcg-planectl pair "
			 "--overlord and the uid that is here",
			 "the code is for gateway %s, the store here belongs to gateway %s", uid,
			 g->uid);
		give_up(g, &other);
		return;
	}
	free(g->uid);
	free(g->cert_pem);
	g->uid = strdup(uid);
	g->cert_pem = strdup(cert_pem);
	secret_unref(g->key);
	g->key = TAKE(g->new_key);
	b = store_batch_new(g->store);
	store_put_meta(b, "gateway_uid", uid);
	store_put_meta(b, "client_cert", cert_pem);
	if (plane_ca) {
		free(g->plane_ca);
		g->plane_ca = strdup(plane_ca);
		store_put_meta(b, "plane_ca", plane_ca);
	}
	store_put_secret(b, "", "client_key", g->key);
	store_put_secret(b, "", "enrolment_key", NULL);
	gateway_forget_code(g);
	lifecycle_set_gateway_uid(g->lifecycle, uid);
	store_batch_commit(b, identity_durable, g);
}

static void enrol(void *arg)
{
	struct gateway *g = arg;
	AUTO_FREE char *ca = NULL, *csr = NULL;
	struct link_enrol_spec spec = { 0 };
	struct pcg_error err;
	char host[256] = "";

	if (g->stopping)
		return;
	gethostname(host, sizeof(host) - 1);
	if (settings_pem(g->conf, "plane.ca_file", &ca, &err) ||
	    pki_csr_new(*host ? host : "pcgd", g->new_key, &csr, &err)) {
		give_up(g, &err);
		return;
	}
	spec.http = g->http;
	spec.url = conf_str(g->conf, "plane.url");
	spec.ca_pem = ca;
	spec.proxy = g->proxy;
	spec.pairing_code = g->pairing_code;
	spec.csr_pem = csr;
	spec.host_name = host;
	link_enrol(&spec, on_enrolled, g);
}

/* The code may be used up with this key, and its answer lost: the key is durable before it is sent,
 * and stays that of the next attempt. */
void gateway_pair(struct gateway *g)
{
	const char *file = conf_str(g->conf, "plane.pairing_code_file");
	struct store_batch *b;
	struct pcg_error err;

	if (!g->pairing_code && file && gateway_read_code(g, file, &err))
		log_err("pairing_code_unreadable", &err);
	if (!g->pairing_code) {
		log_warn("unpaired", LS("remedy", "pcg-planectl pair makes a code; then: pcgd --pair "
						  "FILE, or set plane.pairing_code_file"));
		return;
	}
	g->enrolling = true;
	if (g->new_key) {
		enrol(g);
		return;
	}
	if (pki_key_new(PKI_ECDSA_P256, &g->new_key, &err)) {
		give_up(g, &err);
		return;
	}
	b = store_batch_new(g->store);
	store_put_secret(b, "", "enrolment_key", g->new_key);
	store_batch_commit(b, enrol, g);
}

void gateway_pair_again(struct gateway *g)
{
	if (g->enrolling || g->key)
		return;
	uv_timer_stop(&g->pair_timer);
	gateway_pair(g);
}
