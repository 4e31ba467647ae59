/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/proxy.h"
#include "tests/core/unit.h"

/* The list that Palette's documentation suggests for proxied gateways. */
#define PALETTE                                                                                   \
	".aks.io,aks.io,.amazonaws.com,.azure.com,.capz.io,.cluster.local,.gcr.io,gcr.io,"        \
	".hubble-system,.kube-system,.kvdb,.microsoftonline.com,.privatelink.eastus.azmk8s.io,"    \
	".spectrocloud.com,.spectrocloud.dev,.svc,.windows.net,windows.net,10.0.0.0/8,"           \
	"10.10.128.10,10.10.192.1/18,10.96.0.0/12,127.0.0.1,169.254.169.254,192.168.0.0/16,"      \
	"kubernetes,localhost,portworx-service,prometheus-operator-prometheus"

static const struct {
	const char *list;
	const char *host;
	uint16_t port;
	bool match;
} rows[] = {
	/* a host is itself */
	{ "example.com", "example.com", 443, true },
	{ "example.com", "www.example.com", 443, false },
	{ "example.com", "notexample.com", 443, false },
	{ "example.com", "example.com.evil.test", 443, false },
	{ "EXAMPLE.com", "example.COM", 443, true },
	{ "example.com.", "example.com", 443, true },
	{ "example.com", "example.com.", 443, true },
	{ "kubernetes", "kubernetes", 443, true },
	{ "kubernetes", "kubernetes.default", 443, false },
	{ "under_score.test", "under_score.test", 443, true },
	/* .suffix and *.suffix: the name and all below it */
	{ ".example.com", "www.example.com", 443, true },
	{ ".example.com", "a.b.example.com", 443, true },
	{ ".example.com", "example.com", 443, true },
	{ ".example.com", "notexample.com", 443, false },
	{ ".Example.Com", "WWW.example.com", 443, true },
	{ ".example.com", "www.example.com.", 443, true },
	{ ".example.com.", "www.example.com", 443, true },
	{ "*.example.com", "www.example.com", 443, true },
	{ "*.example.com", "example.com", 443, true },
	{ "*.example.com", "badexample.com", 443, false },
	{ ".svc", "minio.store.svc", 80, true },
	{ ".svc", "svcs", 80, false },
	/* ports */
	{ "example.com:8443", "example.com", 8443, true },
	{ "example.com:8443", "example.com", 443, false },
	{ ".example.com:443", "www.example.com", 443, true },
	{ ".example.com:443", "www.example.com", 80, false },
	{ "10.1.2.3:80", "10.1.2.3", 80, true },
	{ "10.1.2.3:80", "10.1.2.3", 443, false },
	{ "10.0.0.0/8:443", "10.1.2.3", 443, true },
	{ "10.0.0.0/8:443", "10.1.2.3", 80, false },
	{ "[2001:db8::1]:443", "2001:db8::1", 443, true },
	{ "[2001:db8::1]:443", "2001:db8::1", 80, false },
	{ "*:8080", "anything.test", 8080, true },
	{ "*:8080", "anything.test", 80, false },
	/* IPv4 */
	{ "10.1.2.3", "10.1.2.3", 443, true },
	{ "10.1.2.3", "10.1.2.30", 443, false },
	{ "10.1.2.3", "::ffff:10.1.2.3", 443, true },
	{ "10.1.2.3", "3.10.1.2.3.test", 443, false },
	/* CIDR, with host bits too */
	{ "10.0.0.0/8", "10.255.255.255", 443, true },
	{ "10.0.0.0/8", "11.0.0.0", 443, false },
	{ "10.10.192.1/18", "10.10.192.0", 443, true },
	{ "10.10.192.1/18", "10.10.255.255", 443, true },
	{ "10.10.192.1/18", "10.10.191.255", 443, false },
	{ "10.10.192.1/18", "10.11.0.0", 443, false },
	{ "192.168.1.7/31", "192.168.1.6", 443, true },
	{ "192.168.1.7/31", "192.168.1.8", 443, false },
	{ "192.168.1.7/32", "192.168.1.7", 443, true },
	{ "192.168.1.7/32", "192.168.1.6", 443, false },
	{ "0.0.0.0/0", "8.8.8.8", 443, true },
	{ "0.0.0.0/0", "2001:db8::1", 443, false },
	{ "10.0.0.0/8", "10.example.com", 443, false },
	{ "10.0.0.0/8", "::ffff:10.9.9.9", 443, true },
	/* IPv6 */
	{ "2001:db8::1", "2001:db8::1", 443, true },
	{ "2001:DB8:0:0::1", "2001:db8::1", 443, true },
	{ "[2001:db8::1]", "2001:db8::1", 443, true },
	{ "2001:db8::1", "[2001:db8::1]", 443, true },
	{ "2001:db8::1", "2001:db8::2", 443, false },
	{ "fe80::1", "fe80::1%eth0", 443, true },
	{ "2001:db8::/32", "2001:db8:ffff::1", 443, true },
	{ "2001:db8::/32", "2001:db9::1", 443, false },
	{ "2001:db8:7::1/47", "2001:db8:6::9", 443, true },
	{ "2001:db8:7::1/47", "2001:db8:8::9", 443, false },
	{ "[2001:db8::]/32", "2001:db8::5", 443, true },
	{ "[2001:db8::]/32:443", "2001:db8::5", 80, false },
	{ "::/0", "2001:db8::5", 443, true },
	{ "::/0", "10.1.2.3", 443, false },
	{ "::/16", "10.1.2.3", 443, false },
	{ "::ffff:0:0/96", "10.1.2.3", 443, true },
	/* everything, nothing, lists */
	{ "*", "anything.test", 443, true },
	{ "*", "2001:db8::5", 443, true },
	{ "", "anything.test", 443, false },
	{ NULL, "anything.test", 443, false },
	{ ",,,", "anything.test", 443, false },
	{ " a.test , b.test ", "b.test", 443, true },
	{ "a.test b.test\tc.test\n", "c.test", 443, true },
	{ "a.test,,b.test,", "b.test", 443, true },
	{ "a.test,b.test", "c.test", 443, false },
	/* what is always exempt */
	{ "", "169.254.169.254", 80, true },
	{ "", "169.254.169.253", 80, false },
	{ "", "127.0.0.1", 80, true },
	{ "", "127.9.9.9", 80, true },
	{ "", "::1", 80, true },
	{ "", "[::1]", 80, true },
	{ "", "::ffff:127.0.0.1", 80, true },
	{ "", "LOCALHOST", 80, true },
	{ "", "localhost.test", 80, false },
	/* Palette's list */
	{ PALETTE, "api.spectrocloud.com", 443, true },
	{ PALETTE, "spectrocloud.com.evil.test", 443, false },
	{ PALETTE, "10.10.200.7", 443, true },
	{ PALETTE, "172.16.0.1", 443, false },
	{ PALETTE, "192.168.255.1", 443, true },
	{ PALETTE, "prometheus.kube-system", 443, true },
	{ PALETTE, "kubernetes", 443, true },
	{ PALETTE, "kubernetes.default.svc", 443, true },
	{ PALETTE, "gcr.io", 443, true },
	{ PALETTE, "eu.gcr.io", 443, true },
	{ PALETTE, "registry.k8s.io", 443, false },
	{ PALETTE, "portworx-service", 9001, true },
};

START_TEST(no_proxy_list_decides_each_row)
{
	ck_assert_msg(no_proxy_match(rows[_i].list, rows[_i].host, rows[_i].port) == rows[_i].match,
		      "list \"%s\" host %s port %u", rows[_i].list ? rows[_i].list : "(null)",
		      rows[_i].host, rows[_i].port);
}
END_TEST

START_TEST(wrong_entries_are_named)
{
	static const struct {
		const char *list;
		const char *entry; /* NULL: fine */
	} checks[] = {
		{ PALETTE, NULL }, { "*,a.test", NULL }, { "", NULL }, { NULL, NULL },
		{ "a.test,10.0.0.0/33", "10.0.0.0/33" }, { "10.0.0.300", "10.0.0.300" },
		{ "10.0.0", "10.0.0" }, { "2001:db8::/129", "2001:db8::/129" },
		{ "a.test:0", "a.test:0" }, { "a.test:70000", "a.test:70000" },
		{ "a.test:http", "a.test:http" }, { "*a.test", "*a.test" }, { "a*", "a*" },
		{ "[2001:db8::1", "[2001:db8::1" }, { "[2001:db8::1]443", "[2001:db8::1]443" },
		{ "http://a.test", "http://a.test" }, { "a..b", "a..b" }, { ".", "." },
		{ "a.test/24", "a.test/24" }, { "a;b", "a;b" }, { "[a.test]", "[a.test]" },
	};
	struct pcg_error err;

	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		int r = no_proxy_check(checks[i].list, &err);

		if (!checks[i].entry) {
			ck_assert_int_eq(r, 0);
			continue;
		}
		ck_assert_msg(r == PCG_EPERMANENT, "%s", checks[i].list);
		ck_assert_msg(strstr(err.text, checks[i].entry) != NULL, "%s", err.text);
		ck_assert_ptr_nonnull(strstr(err.remedy, "CIDR"));
	}
}
END_TEST

START_TEST(destination_decides_which_proxy)
{
	static const struct {
		const char *url, *proxy;
	} urls[] = {
		{ "https://vc.test/sdk", "http://p2.test:3128" },
		{ "http://vc.test/sdk", "http://p1.test:80" },
		{ "https://VC.Inner.Test/sdk", NULL },
		{ "https://10.1.2.3:6443/", NULL },
		{ "https://0x0a.1.2.3/", NULL }, /* the same address in another spelling */
		{ "https://[2001:db8::1]/", "http://p2.test:3128" },
		{ "https://user@10.1.2.3.evil.test/", "http://p2.test:3128" },
		{ "http://169.254.169.254/latest", NULL },
		{ "not a url", NULL },
	};
	struct proxy_set *p;
	struct pcg_error err;
	json_t *j;

	ck_assert_int_eq(proxy_set_new("http://u:pw%40x@p1.test", "http://p2.test:3128/",
				       ".inner.test,10.0.0.0/8", NULL, &p, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		const char *got = proxy_for_url(p, urls[i].url);

		ck_assert_msg(got == urls[i].proxy || (got && urls[i].proxy && !strcmp(got, urls[i].proxy)),
			      "%s: %s", urls[i].url, got ? got : "direct");
	}
	ck_assert_str_eq(proxy_url_secret(p, "http://vc.test/"), "http://u:pw%40x@p1.test:80");
	j = proxy_to_json(p);
	ck_assert_str_eq(json_str(j, "httpProxy"), "http://u:pw%40x@p1.test:80");
	ck_assert_str_eq(json_str(j, "noProxy"), ".inner.test,10.0.0.0/8");
	json_decref(j);
	proxy_set_unref(proxy_set_ref(p));
	proxy_set_unref(p);
	ck_assert_ptr_null(proxy_for_url(NULL, "https://vc.test/"));
	proxy_set_unref(NULL);
}
END_TEST

START_TEST(wrong_settings_say_what_is_allowed_and_no_password)
{
	static const struct {
		const char *http, *https, *list, *ca;
	} wrong[] = {
		{ "p.test:3128", "", "", "" },		   { "socks5://p.test", "", "", "" },
		{ "https://u:hunter2@p.test", "", "", "" }, { "http://u:hunter2@", "", "", "" },
		{ "http://u:hunter2@p.test/path", "", "", "" }, { "http://p.test:0", "", "", "" },
		{ "http://u:hunter2#@p.test", "", "", "" },
		{ "", "http://u:hunter2@p.test:99999", "", "" }, { "", "", "10.0.0.0/99", "" },
		{ "", "", "", "no certificate" },
	};
	struct proxy_set *p;
	struct pcg_error err;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		int r = proxy_set_new(wrong[i].http, wrong[i].https, wrong[i].list, wrong[i].ca, &p, &err);

		ck_assert_msg(r == PCG_EPERMANENT, "row %zu", i);
		ck_assert_ptr_null(p);
		ck_assert_str_ne(err.remedy, "");
		ck_assert_ptr_null(strstr(err.text, "hunter2"));
		ck_assert_ptr_null(strstr(err.remedy, "hunter2"));
	}
	ck_assert_int_eq(proxy_set_new(NULL, "", NULL, NULL, &p, &err), 0);
	ck_assert_ptr_null(proxy_for_url(p, "https://vc.test/"));
	proxy_set_unref(p);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, no_proxy_list_decides_each_row, 0, (int)ARRAY_LEN(rows));
	tcase_add_test(tc, wrong_entries_are_named);
	tcase_add_test(tc, destination_decides_which_proxy);
	tcase_add_test(tc, wrong_settings_say_what_is_allowed_and_no_password);
}

int main(void)
{
	return unit_main("proxy", add);
}
