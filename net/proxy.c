/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/proxy.h"

#include "core/secret.h"
#include "net/pki.h"
#include "net/url.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROXY_MAGIC 0x70726f78

struct proxy_one {
	char *shown;         /* http://host:port */
	struct secret *full; /* with user and password, as it was given, with the port */
};

struct proxy_set {
	unsigned magic;
	atomic_int refs;
	struct proxy_one http, https;
	char *no_proxy;
	char *ca_pem;
};

/* libcurl takes 1080 when a proxy URL names no port, everybody else 80: so it is always written. */
static struct secret *url_with_port(const char *text, const struct url *u)
{
	const char *rest = strstr(text, "://") + 3;
	const char *at = strrchr(rest, '@');
	size_t user = at ? (size_t)(at + 1 - rest) : 0, size = strlen(text) + strlen(u->host) + 32;
	char *s = malloc(size);
	struct secret *out;

	if (!s)
		abort();
	snprintf(s, size, strchr(u->host, ':') ? "http://%.*s[%s]:%u" : "http://%.*s%s:%u",
		 (int)user, rest, u->host, u->port);
	out = secret_new_str(s);
	secret_wipe(s, size);
	free(s);
	return out;
}

static int proxy_one_new(const char *text, const char *what, struct proxy_one *out,
			 struct pcg_error *err)
{
	struct url u;
	char shown[512];
	int r = 0;

	if (!text || !text[0])
		return 0;
	if (url_parse(text, what, &u, err)) {
		snprintf(err->remedy, sizeof(err->remedy),
			 "write it as http://[USER:PASSWORD@]HOST[:PORT], user and password percent-encoded");
		return pcg_error_code(err);
	}
	if (u.https)
		r = pcg_fail(err, PCG_CLASS_PERMANENT,
			     "write it as http://[USER:PASSWORD@]HOST[:PORT]; https traffic goes through such a proxy too",
			     "%s is an https:// URL", what);
	else if (strcmp(u.path ? u.path : "/", "/") || strpbrk(text, "?#"))
		r = pcg_fail(err, PCG_CLASS_PERMANENT,
			     "write it as http://[USER:PASSWORD@]HOST[:PORT]; percent-encode / ? # in a password",
			     "%s has more than user, password, host and port", what);
	if (!r) {
		snprintf(shown, sizeof(shown),
			 strchr(u.host, ':') ? "http://[%s]:%u" : "http://%s:%u", u.host, u.port);
		out->shown = strdup(shown);
		out->full = url_with_port(text, &u);
	}
	url_free(&u);
	return r;
}

static void proxy_one_free(struct proxy_one *o)
{
	free(o->shown);
	secret_unref(o->full);
}

int proxy_set_new(const char *http_proxy, const char *https_proxy, const char *no_proxy,
		  const char *ca_pem, struct proxy_set **out, struct pcg_error *err)
{
	struct proxy_set *p = calloc(1, sizeof(*p));
	size_t n;
	int r;

	if (!p)
		abort();
	p->magic = PROXY_MAGIC;
	atomic_init(&p->refs, 1);
	*out = NULL;
	r = proxy_one_new(http_proxy, "the HTTP proxy", &p->http, err);
	if (!r)
		r = proxy_one_new(https_proxy, "the HTTPS proxy", &p->https, err);
	if (!r)
		r = no_proxy_check(no_proxy, err);
	if (!r && ca_pem && ca_pem[0]) {
		r = pki_bundle_check(ca_pem, &n, err);
		if (r)
			pcg_fail_prefix(err, "the proxy's CA");
		p->ca_pem = strdup(ca_pem);
	}
	p->no_proxy = strdup(no_proxy ? no_proxy : "");
	if (r) {
		proxy_set_unref(p);
		return r;
	}
	*out = p;
	return 0;
}

struct proxy_set *proxy_set_ref(const struct proxy_set *p)
{
	struct proxy_set *set = (struct proxy_set *)p;

	if (set) {
		assert(set->magic == PROXY_MAGIC);
		atomic_fetch_add(&set->refs, 1);
	}
	return set;
}

void proxy_set_unref(struct proxy_set *p)
{
	if (!p)
		return;
	assert(p->magic == PROXY_MAGIC);
	if (atomic_fetch_sub(&p->refs, 1) > 1)
		return;
	proxy_one_free(&p->http);
	proxy_one_free(&p->https);
	free(p->no_proxy);
	free(p->ca_pem);
	p->magic = 0;
	free(p);
}

static const struct proxy_one *proxy_pick(const struct proxy_set *p, const char *text)
{
	const struct proxy_one *one = NULL;
	struct pcg_error err;
	struct url u;

	if (!p || (!p->http.shown && !p->https.shown))
		return NULL;
	assert(p->magic == PROXY_MAGIC);
	if (url_parse(text, "URL", &u, &err))
		return NULL;
	if (!no_proxy_match(p->no_proxy, u.host, u.port))
		one = u.https ? &p->https : &p->http;
	url_free(&u);
	return one && one->shown ? one : NULL;
}

const char *proxy_for_url(const struct proxy_set *p, const char *url)
{
	const struct proxy_one *one = proxy_pick(p, url);

	return one ? one->shown : NULL;
}

const char *proxy_url_secret(const struct proxy_set *p, const char *url)
{
	const struct proxy_one *one = proxy_pick(p, url);

	return one ? secret_data(one->full) : NULL;
}

const char *proxy_ca_pem(const struct proxy_set *p)
{
	return p ? p->ca_pem : NULL;
}

json_t *proxy_to_json(const struct proxy_set *p)
{
	json_t *j = json_object();

	if (p && p->http.full)
		json_object_set_new(j, "httpProxy", json_string(secret_data(p->http.full)));
	if (p && p->https.full)
		json_object_set_new(j, "httpsProxy", json_string(secret_data(p->https.full)));
	if (p && p->no_proxy[0])
		json_object_set_new(j, "noProxy", json_string(p->no_proxy));
	return j;
}
