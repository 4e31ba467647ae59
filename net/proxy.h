/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PROXY_H
#define NET_PROXY_H

/*
 * The one decision whether a destination goes through a proxy. Immutable once made; counted
 * references, any thread. NO_PROXY entries: host (also its subdomains when it begins with a dot or "*."),
 * IPv4, IPv6, CIDR of both with host bits allowed, each with an optional :port, and "*".
 * 169.254.169.254, loopback and "localhost" are always exempt.
 */

#include "core/error.h"
#include "core/json.h"

struct proxy_set;

/* Any may be NULL or "". URLs are http://[user:password@]host[:port]. ca_pem: what the proxy's own
 * certificate authority is, added for connections that go through the proxy only. */
int proxy_set_new(const char *http_proxy, const char *https_proxy, const char *no_proxy,
		  const char *ca_pem, struct proxy_set **out, struct pcg_error *err);
struct proxy_set *proxy_set_ref(const struct proxy_set *p);
void proxy_set_unref(struct proxy_set *p);
/* The proxy URL for this destination, without user and password, or NULL: direct. */
const char *proxy_for_url(const struct proxy_set *p, const char *url);
/* With user and password, for libcurl only. */
const char *proxy_url_secret(const struct proxy_set *p, const char *url);
const char *proxy_ca_pem(const struct proxy_set *p);
bool no_proxy_match(const char *no_proxy, const char *host, uint16_t port);
/* Says which entry is wrong and what is allowed. */
int no_proxy_check(const char *no_proxy, struct pcg_error *err);
/* {"httpProxy","httpsProxy","noProxy"} (with credentials) for nodes. New reference, secret. */
json_t *proxy_to_json(const struct proxy_set *p);

#endif
