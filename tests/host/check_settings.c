/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/settings.h"

#include "core/attr.h"
#include "core/clock.h"
#include "net/pki.h"
#include "tests/core/unit.h"

static char dir[256];

/* A certificate authority whose time is from now + from_s to now + to_s. */
static void write_ca(const char *name, int64_t from_s, int64_t to_s, const char *before)
{
	struct pki_cert_spec spec = { .common_name = "test", .is_ca = true,
				      .not_before_ms = clock_wall_ms() + from_s * 1000,
				      .not_after_ms = clock_wall_ms() + to_s * 1000 };
	AUTO_FREE char *pem = NULL, *text = NULL;
	struct secret *key;
	struct pcg_error err;

	ck_assert(!pki_key_new(PKI_ECDSA_P256, &key, &err));
	ck_assert(!pki_self_signed(&spec, key, &pem, &err));
	secret_unref(key);
	ck_assert_int_gt(asprintf(&text, "%s%s", before, pem), 0);
	unit_write(unit_path(dir, name), text, strlen(text));
}

static void setup(void)
{
	static const char broken[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
	char *big = calloc(1, (1u << 20) + 1);

	unit_dir_make(dir);
	write_ca("good.pem", -3600, 3600, "");
	write_ca("expired.pem", -7200, -3600, "");
	unit_write(unit_path(dir, "garbage.pem"), "not a certificate\n", 18);
	unit_write(unit_path(dir, "broken.pem"), broken, strlen(broken));
	memset(big, '\n', 1u << 20);
	unit_write(unit_path(dir, "big.pem"), big, (1u << 20) + 1);
	free(big);
}

static void teardown(void)
{
	unit_dir_remove(dir);
}

/* text with every ~ replaced by the test's folder. */
static char *in_dir(const char *text)
{
	struct buf out;
	char *copy;

	buf_init(&out, 1u << 16);
	for (; *text; text++)
		if (*text == '~')
			buf_adds(&out, dir);
		else
			buf_add(&out, text, 1);
	copy = strdup(out.len ? out.data : "");
	buf_free(&out);
	return copy;
}

static int try_load(const char *text, struct conf **conf, struct buf *report)
{
	AUTO_FREE char *full = in_dir(text);
	char *path = unit_path(dir, "pcgd.conf");

	unit_write(path, full, strlen(full));
	buf_init(report, 1u << 16);
	return settings_load(path, conf, report);
}

#define P "plane = { url = \"https://plane:8443\"; };\n"
#define C "~/pcgd.conf:"
#define PROXY_REMEDY "; write it as http://[USER:PASSWORD@]HOST[:PORT]"
#define PEM_ALLOWED "; allowed: a file of PEM certificates that this user may read\n"
#define PEM_BLOCKS "; give one or more PEM blocks -----BEGIN CERTIFICATE-----\n"
#define NO_PROXY_ALLOWED                                                                           \
	"; allowed are host, .suffix, *.suffix, an IPv4 or IPv6 address, a CIDR range, each with an " \
	"optional :port (IPv6 then in brackets), and *; entries are separated by commas\n"

static const struct {
	const char *text, *report;
} wrong[] = {
	{ "", "~/pcgd.conf: setting plane.url: missing; allowed: an address like "
	      "\"https://plane.example.org:8443\"\n" },
	{ "plane = {\n url = 7; };\n", C "2: setting plane.url: is not a text in quotes; allowed: an "
					 "address like \"https://plane.example.org:8443\"\n" },
	{ "plane = { url = \"http://plane:8443\"; };\n",
	  C "1: setting plane.url: the address does not begin with https://; allowed: "
	    "\"https://HOST[:PORT]\"\n" },
	{ "plane = { url = \"ftp://plane\"; };\n",
	  C "1: setting plane.url: the address does not begin with https:// or http://; allowed: an "
	    "address like \"https://plane.example.org:8443\"\n" },
	{ "plane = { url = \"https://plane:99999\"; };\n",
	  C "1: setting plane.url: the port is no number from 1 to 65535; allowed: an address like "
	    "\"https://plane.example.org:8443\"\n" },
	{ "plane = { url = \"https://me:pass-word@plane:8443\"; };\n",
	  C "1: setting plane.url: the address has a user or a password; allowed: "
	    "\"https://HOST[:PORT]\"\n" },
	{ "plane = { url = \"https://plane:8443/api\"; };\n",
	  C "1: setting plane.url: the address has more than host and port; allowed: "
	    "\"https://HOST[:PORT]\"\n" },
	{ "plane = { url = \"https://plane:8443/\"; };\n",
	  C "1: setting plane.url: the address ends with a slash; allowed: \"https://HOST[:PORT]\"\n" },
	{ "plane = { url = \"https://plane\"; ca_file = \"~/none.pem\"; };\n",
	  C "1: setting plane.ca_file: opening ~/none.pem: No such file or directory" PEM_ALLOWED },
	{ "plane = { url = \"https://plane\"; ca_file = \"~\"; };\n",
	  C "1: setting plane.ca_file: ~ is not a regular file" PEM_ALLOWED },
	{ "plane = { url = \"https://plane\"; ca_file = \"~/big.pem\"; };\n",
	  C "1: setting plane.ca_file: ~/big.pem is larger than 1 MiB" PEM_ALLOWED },
	{ "plane = { url = \"https://plane\"; ca_file = \"~/garbage.pem\"; };\n",
	  C "1: setting plane.ca_file: ~/garbage.pem: the PEM bundle holds no certificate" PEM_BLOCKS },
	{ P "proxy = {\n\n  ca_file = \"~/broken.pem\";\n};\n",
	  C "4: setting proxy.ca_file: ~/broken.pem: block 1 of the PEM bundle is a damaged "
	    "\"CERTIFICATE\"" PEM_BLOCKS },
	{ P "proxy = { https = \"proxy:3128\"; };\n",
	  C "2: setting proxy.https: the HTTPS proxy has no scheme" PROXY_REMEDY
	    ", user and password percent-encoded\n" },
	{ P "proxy = { https = \"https://proxy:3128\"; };\n",
	  C "2: setting proxy.https: the HTTPS proxy is an https:// URL" PROXY_REMEDY
	    "; https traffic goes through such a proxy too\n" },
	{ P "proxy = { http = \"http://me:pass-word@proxy:3128/x\"; };\n",
	  C "2: setting proxy.http: the HTTP proxy has more than user, password, host and port" PROXY_REMEDY
	    "; percent-encode / ? # in a password\n" },
	{ P "proxy = { no_proxy = \"localhost,10.0.0.0/40\"; };\n",
	  C "2: setting proxy.no_proxy: entry 2 of the no-proxy list, \"10.0.0.0/40\": the "
	    "prefix length is not a number from 0 to 32" NO_PROXY_ALLOWED },
	{ P "proxy = { no_proxy = \"host:http\"; };\n",
	  C "2: setting proxy.no_proxy: entry 1 of the no-proxy list, \"host:http\": the port is "
	    "not a number from 1 to 65535" NO_PROXY_ALLOWED },
	{ P "log_level = \"loud\";\n",
	  C "2: setting log_level: is no level; allowed: \"error\", \"warn\", \"info\" or \"debug\"\n" },
	{ P "log_level = 3;\n", C "2: setting log_level: is not a text in quotes; allowed: a text in quotes\n" },
	{ P "limits = { account_connections = 257; };\n",
	  C "2: setting limits.account_connections: is out of range; allowed: a whole number from 0 to "
	    "256\n" },
	{ P "limits = { account_connections = \"4\"; };\n",
	  C "2: setting limits.account_connections: is not a whole number; allowed: a whole number from 0 "
	    "to 256\n" },
	{ P "limits = { take_back_s = 0; };\n",
	  C "2: setting limits.take_back_s: is out of range; allowed: a whole number from 1 to 86400\n" },
	{ P "worker = { idle = 60; };\n",
	  C "2: setting worker.idle: unknown, is worker.idle_s meant?; allowed: worker.idle_s\n" },
	{ P "worker = 60;\n",
	  C "2: setting worker: is a group; allowed: worker = { ... }; with worker.idle_s\n" },
	{ P "state_dir = \"\";\n", C "2: setting state_dir: is empty; allowed: the path of a folder\n" },
	{ P "bundle_dir = \"~/big.pem\";\n",
	  C "2: setting bundle_dir: ~/big.pem is no folder; allowed: the path of a folder\n" },
	{ P "log_level = ;\n",
	  C "2: syntax error; allowed: NAME = VALUE; or NAME = { ... };\n" },
	{ P "log_level = \"info;\n", C "2: a text in quotes has no end\n" },
	{ P "@include \"none.conf\"\n", C "2: @include ~/none.conf: cannot be read: No such file or "
					  "directory; allowed: a file that this user may read\n" },
	/* everything at once, single values and what goes beyond them */
	{ "plane = { url = \"http://plane\"; ca_file = \"~/garbage.pem\"; };\n"
	  "proxy = { http = \"x\"; https = \"y\"; no_proxy = \"a/b\"; ca_file = \"~/none.pem\"; };\n"
	  "worker = { idle_s = 0; };\nlog_level = \"loud\";\ncolour = \"red\";\n",
	  C "3: setting worker.idle_s: is out of range; allowed: a whole number from 1 to 86400\n"
	  C "5: setting colour: unknown; allowed: state_dir, plugins_dir, policy_dir, bundle_dir, "
	    "bundle_image_repository, socket, "
	    "log_level, plane.url, plane.ca_file, plane.pairing_code_file, proxy.http, proxy.https, "
	    "proxy.no_proxy, proxy.ca_file, limits.account_connections, limits.take_back_s, "
	    "limits.release_s, worker.idle_s\n"
	  C "4: setting log_level: is no level; allowed: \"error\", \"warn\", \"info\" or \"debug\"\n"
	  C "1: setting plane.url: the address does not begin with https://; allowed: "
	    "\"https://HOST[:PORT]\"\n"
	  C "1: setting plane.ca_file: ~/garbage.pem: the PEM bundle holds no certificate" PEM_BLOCKS
	  C "2: setting proxy.http: the HTTP proxy has no scheme" PROXY_REMEDY
	    ", user and password percent-encoded\n"
	  C "2: setting proxy.https: the HTTPS proxy has no scheme" PROXY_REMEDY
	    ", user and password percent-encoded\n"
	  C "2: setting proxy.no_proxy: entry 1 of the no-proxy list, \"a/b\": before the / there "
	    "is no IP address" NO_PROXY_ALLOWED
	  C "2: setting proxy.ca_file: opening ~/none.pem: No such file or directory" PEM_ALLOWED },
};

START_TEST(a_wrong_configuration_is_told_exactly)
{
	AUTO_FREE char *want = in_dir(wrong[_i].report);
	struct conf *conf = NULL;
	struct buf report;

	ck_assert_int_eq(try_load(wrong[_i].text, &conf, &report), -1);
	ck_assert_ptr_null(conf);
	ck_assert_str_eq(report.data, want);
	ck_assert_ptr_null(strstr(report.data, "pass-word"));
	buf_free(&report);
}
END_TEST

START_TEST(a_ca_file_that_has_expired_is_told_with_the_date)
{
	struct conf *conf;
	struct buf report;

	ck_assert_int_eq(try_load("plane = { url = \"https://plane\"; ca_file = \"~/expired.pem\"; };\n",
				  &conf, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, "/pcgd.conf:1: setting plane.ca_file: "));
	ck_assert_ptr_nonnull(strstr(report.data, "/expired.pem: every certificate has expired, the last on 2"));
	ck_assert_ptr_nonnull(strstr(report.data, "; allowed: a file with a certificate that is valid now"));
	buf_free(&report);
}
END_TEST

START_TEST(a_bundle_with_one_certificate_that_is_good_will_do)
{
	char old[8192] = "";
	struct conf *conf;
	struct buf report;
	FILE *f = fopen(unit_path(dir, "expired.pem"), "r");

	ck_assert_uint_gt(fread(old, 1, sizeof(old) - 1, f), 0);
	fclose(f);
	write_ca("mixed.pem", -3600, 3600, old);
	ck_assert_msg(!try_load("plane = { url = \"https://plane\"; ca_file = \"~/mixed.pem\"; };\n", &conf,
				&report), "%s", report.data);
	conf_unref(conf);
	buf_free(&report);
}
END_TEST

START_TEST(a_socket_path_that_no_socket_can_have_is_told)
{
	struct conf *conf;
	struct buf report;
	char text[512], name[121];

	memset(name, 's', 120);
	name[120] = '\0';
	snprintf(text, sizeof(text), P "socket = \"/run/%s\";\n", name);
	ck_assert_int_eq(try_load(text, &conf, &report), -1);
	ck_assert_ptr_nonnull(
		strstr(report.data, "/pcgd.conf:2: setting socket: the path has 125 bytes; allowed: at most 107\n"));
	buf_free(&report);
	snprintf(text, sizeof(text), P "state_dir = \"/run/%s\";\n", name);
	ck_assert_int_eq(try_load(text, &conf, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, "/pcgd.conf: setting socket: the path has 135 bytes"));
	buf_free(&report);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_told)
{
	struct conf *conf;
	struct buf report;

	buf_init(&report, 1u << 16);
	ck_assert_int_eq(settings_load("/nonexistent/pcgd.conf", &conf, &report), -1);
	ck_assert_str_eq(report.data, "/nonexistent/pcgd.conf: cannot be read: No such file or directory; "
				      "allowed: a file that this user may read\n");
	buf_free(&report);
}
END_TEST

START_TEST(a_whole_configuration_is_read)
{
	struct proxy_set *proxy;
	struct pcg_error err;
	struct conf *conf;
	struct buf report;
	char *pem, *socket;

	ck_assert_msg(!try_load("state_dir = \"/s\";\nlog_level = \"debug\";\n"
				"plane = { url = \"https://plane:8443\"; ca_file = \"~/good.pem\"; };\n"
				"proxy = { https = \"http://proxy:3128\"; no_proxy = \"10.0.0.0/8,.lab\"; "
				"ca_file = \"~/good.pem\"; };\n"
				"limits = { account_connections = 9; take_back_s = 7; };\n",
				&conf, &report), "%s", report.data);
	ck_assert_uint_eq(report.len, 0);
	ck_assert_int_eq(conf_int(conf, "limits.account_connections"), 9);
	ck_assert_int_eq(conf_int(conf, "worker.idle_s"), 60);
	socket = settings_socket(conf);
	ck_assert_str_eq(socket, "/s/pcgd.sock");
	free(socket);
	ck_assert(!settings_pem(conf, "plane.ca_file", &pem, &err));
	ck_assert_ptr_nonnull(strstr(pem, "BEGIN CERTIFICATE"));
	free(pem);
	ck_assert(!settings_proxy(conf, &proxy, &err));
	ck_assert_str_eq(proxy_for_url(proxy, "https://plane:8443/x"), "http://proxy:3128");
	ck_assert_ptr_null(proxy_for_url(proxy, "https://10.1.2.3/"));
	proxy_set_unref(proxy);
	conf_unref(conf);
	buf_free(&report);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_wrong_configuration_is_told_exactly, 0, ARRAY_LEN(wrong));
	tcase_add_test(tc, a_ca_file_that_has_expired_is_told_with_the_date);
	tcase_add_test(tc, a_bundle_with_one_certificate_that_is_good_will_do);
	tcase_add_test(tc, a_socket_path_that_no_socket_can_have_is_told);
	tcase_add_test(tc, a_file_that_cannot_be_read_is_told);
	tcase_add_test(tc, a_whole_configuration_is_read);
}

int main(void)
{
	return unit_main("settings", add);
}
