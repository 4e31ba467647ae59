/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/settings.h"

#include "core/attr.h"
#include "core/log.h"
#include "net/pki.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PEM_MAX (1u << 20)

/* name, type, default, min, max, required, may change while running, meaning */
const struct conf_setting settings_table[] = {
	{ "state_dir", CONF_STR, PCG_LOCALSTATEDIR "/lib/pcg", 0, 0, false, false,
	  "folder of the store and its key; made with mode 0700" },
	{ "plugins_dir", CONF_STR, PCG_LIBDIR "/plugins", 0, 0, false, false,
	  "folder of infrastructure providers, libpcg-NAME.so" },
	{ "policy_dir", CONF_STR, PCG_SYSCONFDIR "/pcg/policy.d", 0, 0, false, false,
	  "folder of Lua policies, one folder for each tenant; may be absent" },
	{ "bundle_dir", CONF_STR, PCG_DATADIR "/bundles", 0, 0, false, true,
	  "folder of controllers, laid out as clusterctl's local repository" },
	{ "socket", CONF_STR, NULL, 0, 0, false, false,
	  "Unix socket for pcgctl; pcgd.sock in state_dir unless set" },
	{ "log_level", CONF_STR, "info", 0, 0, false, true, "error, warn, info or debug" },
	{ "plane.url", CONF_URL, NULL, 0, 0, true, true, "address of the plane, https://host:port" },
	{ "plane.ca_file", CONF_STR, NULL, 0, 0, false, true,
	  "PEM file of the CA that signed the plane's certificate; the system's CAs unless set" },
	{ "plane.pairing_code_file", CONF_STR, NULL, 0, 0, false, false,
	  "file with the pairing code, read once when this gateway has no identity yet" },
	{ "proxy.http", CONF_STR, NULL, 0, 0, false, true, "proxy for http:// destinations" },
	{ "proxy.https", CONF_STR, NULL, 0, 0, false, true,
	  "proxy for https:// destinations, http://[user:password@]host:port" },
	{ "proxy.no_proxy", CONF_STR, NULL, 0, 0, false, true,
	  "destinations reached directly: host, .suffix, address, CIDR, each with an optional :port, or *" },
	{ "proxy.ca_file", CONF_STR, NULL, 0, 0, false, true,
	  "PEM file of the CA of an intercepting proxy; trusted by the gateway only" },
	{ "limits.account_connections", CONF_INT, "0", 0, 256, false, true,
	  "connections to the infrastructure of one account; 0: what its provider says" },
	{ "limits.take_back_s", CONF_INT, "120", 1, 86400, false, true,
	  "seconds that an unreachable cluster is asked for its state before a delete goes on without it" },
	{ "worker.idle_s", CONF_INT, "60", 1, 86400, false, false,
	  "seconds without work after which an account's worker ends" },
};
const size_t settings_count = ARRAY_LEN(settings_table);

int settings_pem(const struct conf *c, const char *name, char **pem, struct pcg_error *err)
{
	const char *path = conf_str(c, name);
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = -1;
	size_t n;
	ssize_t got;

	*pem = NULL;
	if (!path || !*path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return pcg_fail_errno(err, errno, "setting %s: opening %s", name, path);
	text = calloc(1, PEM_MAX + 1);
	got = text ? read(fd, text, PEM_MAX) : -1;
	if (got < 0)
		return pcg_fail_errno(err, errno, "setting %s: reading %s", name, path);
	if (pki_bundle_check(text, &n, err))
		return pcg_fail_prefix(err, "setting %s: %s", name, path);
	*pem = TAKE(text);
	return 0;
}

int settings_proxy(const struct conf *c, struct proxy_set **out, struct pcg_error *err)
{
	const char *http = conf_str(c, "proxy.http"), *https = conf_str(c, "proxy.https");
	AUTO_FREE char *ca = NULL;

	*out = NULL;
	if (!(http && *http) && !(https && *https))
		return 0;
	if (settings_pem(c, "proxy.ca_file", &ca, err))
		return pcg_error_code(err);
	return proxy_set_new(http, https, conf_str(c, "proxy.no_proxy"), ca, out, err);
}

static void tell(struct buf *report, const struct pcg_error *err)
{
	buf_addf(report, "%s%s%s\n", err->text, *err->remedy ? "; " : "", err->remedy);
}

int settings_check(const struct conf *c, struct buf *report)
{
	const char *no_proxy = conf_str(c, "proxy.no_proxy"), *url = conf_str(c, "plane.url");
	size_t before = report->len;
	struct proxy_set *proxy = NULL;
	AUTO_FREE char *pem = NULL;
	enum log_level level;
	struct pcg_error err;

	if (no_proxy && no_proxy_check(no_proxy, &err)) {
		pcg_fail_prefix(&err, "setting proxy.no_proxy");
		tell(report, &err);
	} else if (settings_proxy(c, &proxy, &err)) {
		tell(report, &err);
	}
	proxy_set_unref(proxy);
	if (settings_pem(c, "plane.ca_file", &pem, &err))
		tell(report, &err);
	if (url && strncmp(url, "https://", 8))
		buf_addf(report, "setting plane.url: %s: allowed: https://host:port\n", url);
	if (log_level_parse(conf_str(c, "log_level"), &level))
		buf_addf(report, "setting log_level: \"%s\": allowed: error, warn, info, debug\n",
			 conf_str(c, "log_level"));
	return report->len == before ? 0 : -1;
}
