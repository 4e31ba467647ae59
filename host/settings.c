/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/settings.h"

#include "core/attr.h"
#include "core/clock.h"
#include "core/log.h"
#include "net/pki.h"
#include "net/url.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_MAX (1u << 20)

/* name, type, default, min, max, required, may change while running, meaning */
const struct conf_setting settings_table[] = {
	{ "state_dir", CONF_STR, PCG_LOCALSTATEDIR "/lib/pcg", 0, 0, false, false,
	  "folder of the store and its key; made with mode 0700, refused when others may write to it" },
	{ "plugins_dir", CONF_STR, PCG_LIBDIR "/plugins", 0, 0, false, false,
	  "folder of infrastructure providers, libpcg-NAME.so" },
	{ "policy_dir", CONF_STR, PCG_SYSCONFDIR "/pcg/policy.d", 0, 0, false, false,
	  "folder of Lua policies, one folder for each tenant; may be absent" },
	{ "bundle_dir", CONF_STR, PCG_DATADIR "/bundles", 0, 0, false, true,
	  "folder of controllers, laid out as clusterctl's local repository" },
	{ "bundle_image_repository", CONF_STR, NULL, 0, 0, false, true,
	  "registry and path that images of the bundle are pulled from instead, for sites without internet" },
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
	{ "limits.release_s", CONF_INT, "300", 1, 86400, false, true,
	  "seconds that a delete waits for a cluster's load balancers and volumes to be removed" },
	{ "worker.idle_s", CONF_INT, "60", 1, 86400, false, false,
	  "seconds without work after which an account's worker ends" },
};
const size_t settings_count = ARRAY_LEN(settings_table);

static int read_all(int fd, char *text, size_t max, size_t *len)
{
	ssize_t n;

	for (*len = 0; *len < max; *len += (size_t)n) {
		n = read(fd, text + *len, max - *len);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0)
			return -1;
		else if (!n)
			break;
	}
	return 0;
}

/* Of a bundle, one certificate that is still good will do. */
static int check_expiry(const char *pem, struct pcg_error *err)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	char until[CLOCK_RFC3339_SIZE];
	int64_t last = 0;

	for (const char *p = strstr(pem, begin); p; p = strstr(p + 1, begin)) {
		struct pki_info info;
		int r = pki_cert_info(p, &info, err);

		if (r)
			return r;
		if (info.not_after_ms > last)
			last = info.not_after_ms;
	}
	if (last > clock_wall_ms())
		return 0;
	return pcg_fail(err, PCG_CLASS_PERMANENT,
			"allowed: a file with a certificate that is valid now; look at this machine's "
			"clock too",
			"every certificate has expired, the last on %s", clock_rfc3339(last, until));
}

static int read_pem(const char *path, char **pem, struct pcg_error *err)
{
	static const char allowed[] = "allowed: a file of PEM certificates that this user may read";
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	AUTO_FREE char *text = NULL;
	struct stat st;
	size_t n;
	int r;

	if (fd < 0 || fstat(fd, &st)) {
		pcg_fail_errno(err, errno, "opening %s", path);
		snprintf(err->remedy, sizeof(err->remedy), "%s", allowed);
		return pcg_error_code(err);
	}
	if (!S_ISREG(st.st_mode) || st.st_size > PEM_MAX)
		return pcg_fail(err, PCG_CLASS_PERMANENT, allowed, "%s is %s", path,
				S_ISREG(st.st_mode) ? "larger than 1 MiB" : "not a regular file");
	text = calloc(1, PEM_MAX + 1);
	assert(text);
	if (read_all(fd, text, PEM_MAX, &n))
		return pcg_fail_errno(err, errno, "reading %s", path);
	r = pki_bundle_check(text, &n, err);
	if (!r)
		r = check_expiry(text, err);
	if (r)
		return pcg_fail_prefix(err, "%s", path);
	*pem = TAKE(text);
	return 0;
}

int settings_pem(const struct conf *c, const char *name, char **pem, struct pcg_error *err)
{
	const char *path = conf_str(c, name);

	*pem = NULL;
	if (!path || !*path)
		return 0;
	if (read_pem(path, pem, err))
		return pcg_fail_prefix(err, "setting %s", name);
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

char *settings_socket(const struct conf *c)
{
	const char *path = conf_str(c, "socket");
	char *own = NULL;

	if (path && *path)
		return strdup(path);
	if (asprintf(&own, "%s/pcgd.sock", conf_str(c, "state_dir")) < 0)
		abort();
	return own;
}

static void tell(const struct conf *c, const char *name, const struct pcg_error *err,
		 struct buf *report)
{
	conf_where(c, name, report);
	buf_addf(report, "%s%s%s\n", err->text, *err->remedy ? "; " : "", err->remedy);
}

static void check_pem(const struct conf *c, const char *name, struct buf *report)
{
	const char *path = conf_str(c, name);
	AUTO_FREE char *pem = NULL;
	struct pcg_error err;

	if (path && *path && read_pem(path, &pem, &err))
		tell(c, name, &err, report);
}

static void check_proxies(const struct conf *c, struct buf *report)
{
	const char *http = conf_str(c, "proxy.http"), *https = conf_str(c, "proxy.https");
	const char *no_proxy = conf_str(c, "proxy.no_proxy");
	struct proxy_set *p = NULL;
	struct pcg_error err;

	if (proxy_set_new(http, NULL, NULL, NULL, &p, &err))
		tell(c, "proxy.http", &err, report);
	proxy_set_unref(p);
	if (proxy_set_new(NULL, https, NULL, NULL, &p, &err))
		tell(c, "proxy.https", &err, report);
	proxy_set_unref(p);
	if (no_proxy && no_proxy_check(no_proxy, &err))
		tell(c, "proxy.no_proxy", &err, report);
}

/* The value itself is not told: somebody may have written a password into it. */
static void check_plane_url(const struct conf *c, struct buf *report)
{
	static const char allowed[] = "allowed: \"https://HOST[:PORT]\"";
	const char *text = conf_str(c, "plane.url"), *wrong = NULL;
	struct pcg_error err;
	struct url u;

	if (!text)
		return;
	if (url_parse(text, "the plane's address", &u, &err)) {
		tell(c, "plane.url", &err, report);
		return;
	}
	if (!u.https)
		wrong = "the address does not begin with https://";
	else if (u.user || u.password)
		wrong = "the address has a user or a password";
	else if ((u.path && strcmp(u.path, "/")) || strpbrk(text, "?#"))
		wrong = "the address has more than host and port";
	else if (text[strlen(text) - 1] == '/')
		wrong = "the address ends with a slash";
	url_free(&u);
	if (!wrong)
		return;
	conf_where(c, "plane.url", report);
	buf_addf(report, "%s; %s\n", wrong, allowed);
}

static void check_level(const struct conf *c, struct buf *report)
{
	const char *text = conf_str(c, "log_level");
	enum log_level level;

	if (!text || !log_level_parse(text, &level))
		return;
	conf_where(c, "log_level", report);
	buf_adds(report, "is no level; allowed: \"error\", \"warn\", \"info\" or \"debug\"\n");
}

static void check_dirs(const struct conf *c, struct buf *report)
{
	static const char *const names[] = { "state_dir", "plugins_dir", "policy_dir", "bundle_dir" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *path = conf_str(c, names[i]);
		struct stat st;

		if (!path || (*path && (stat(path, &st) || S_ISDIR(st.st_mode))))
			continue;
		conf_where(c, names[i], report);
		buf_addf(report, "%s%s; allowed: the path of a folder\n", *path ? path : "is empty",
			 *path ? " is no folder" : "");
	}
}

static void check_socket(const struct conf *c, struct buf *report)
{
	AUTO_FREE char *path = NULL;

	if (!conf_str(c, "state_dir"))
		return;
	path = settings_socket(c);
	if (strlen(path) <= SETTINGS_SOCKET_MAX)
		return;
	conf_where(c, "socket", report);
	buf_addf(report, "the path has %zu bytes; allowed: at most %zu\n", strlen(path),
		 SETTINGS_SOCKET_MAX);
}

static void check(const struct conf *c, struct buf *report)
{
	check_dirs(c, report);
	check_socket(c, report);
	check_level(c, report);
	check_plane_url(c, report);
	check_pem(c, "plane.ca_file", report);
	check_proxies(c, report);
	check_pem(c, "proxy.ca_file", report);
}

int settings_load(const char *file, struct conf **out, struct buf *report)
{
	return conf_load_checked(file, settings_table, settings_count, check, out, report);
}
