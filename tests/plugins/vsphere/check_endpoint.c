/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/endpoint.h"

#include "core/attr.h"

#include <check.h>
#include <string.h>

/* NULL: what is wrong. */
static const struct { const char *given, *is, *wrong; } endpoints[] = {
	{ "vc.example.com", "vc.example.com", NULL },
	{ "  VC.Example.Com. ", "vc.example.com", NULL },
	{ "https://vc.example.com", "vc.example.com", NULL },
	{ "HTTPS://vc.example.com:443/", "vc.example.com", NULL },
	{ "https://vc.example.com/sdk", "vc.example.com", NULL },
	{ "vc.example.com/sdk/", "vc.example.com", NULL },
	{ "HTTPS://VC.EXAMPLE.COM/SDK", "vc.example.com", NULL },
	{ "https://vc.example.com/ui/#?extensionId=vsphere.core", "vc.example.com", NULL },
	{ "https://vc.example.com:9443/ui/app/folder;nav=v/x", "vc.example.com:9443", NULL },
	{ "vc:8443", "vc:8443", NULL },
	{ "vc:0443", "vc", NULL },
	{ "10.0.0.7", "10.0.0.7", NULL },
	{ "10.0.0.7:8989", "10.0.0.7:8989", NULL },
	{ "2001:DB8:0:0:0:0:0:1", "[2001:db8::1]", NULL },
	{ "[2001:db8::1]", "[2001:db8::1]", NULL },
	{ "https://[2001:db8::1]:8443/sdk", "[2001:db8::1]:8443", NULL },
	{ "::1", "[::1]", NULL },
	{ "", NULL, "is empty" },
	{ "   ", NULL, "is empty" },
	{ "https://", NULL, "no name after https://" },
	{ "http://vc", NULL, "begins with http://" },
	{ "ftp://vc", NULL, "a scheme that is not https" },
	{ "https:///sdk", NULL, "no name in it" },
	{ "admin@vc", NULL, "a user in it" },
	{ "https://a:b@vc/sdk", NULL, "a user in it" },
	{ "vc/other", NULL, "a path that is none" },
	{ "vc/sdkx", NULL, "a path that is none" },
	{ "vc?x", NULL, "a query or fragment" },
	{ "vc#x", NULL, "a query or fragment" },
	{ "v c", NULL, "a space" },
	{ "vc\n.example.com", NULL, "a space or control" },
	{ "vc:", NULL, "ends with a colon" },
	{ "vc:0", NULL, "no number from 1 to 65535" },
	{ "vc:65536", NULL, "no number from 1 to 65535" },
	{ "vc:4x3", NULL, "no number from 1 to 65535" },
	{ "vc:-1", NULL, "no number from 1 to 65535" },
	{ ":443", NULL, "no name before the port" },
	{ "[2001:db8::1", NULL, "[ without its ]" },
	{ "[2001:db8::1]8443", NULL, "other than :PORT" },
	{ "[vc]", NULL, "no IPv6 address" },
	{ "2001:db8::1:zz", NULL, "no IPv6 address" },
	{ "fe80::1%eth0", NULL, "zone" },
	{ "10.0.0.256", NULL, "IPv4" },
	{ "10.0.0", NULL, "IPv4" },
	{ "vc..example.com", NULL, "between its dots" },
	{ "-vc.example.com", NULL, "between its dots" },
	{ "vc<1>", NULL, "a character that no host name has" },
	{ "v\xc3\xa7.example.com", NULL, "xn--" },
};

START_TEST(takes_an_endpoint_as_people_write_it_or_says_what_is_wrong)
{
	char out[300] = "", why[200] = "";
	int r = vs_endpoint(endpoints[_i].given, out, sizeof(out), why, sizeof(why));

	if (endpoints[_i].is) {
		ck_assert_msg(r == 0, "\"%s\" %s", endpoints[_i].given, why);
		ck_assert_str_eq(out, endpoints[_i].is);
		/* What it makes of it is an endpoint itself, and the same. */
		ck_assert_int_eq(vs_endpoint(endpoints[_i].is, out, sizeof(out), why, sizeof(why)), 0);
		ck_assert_str_eq(out, endpoints[_i].is);
	} else {
		ck_assert_msg(r == -1, "\"%s\" was taken as %s", endpoints[_i].given, out);
		ck_assert_msg(strstr(why, endpoints[_i].wrong) != NULL, "\"%s\" %s", endpoints[_i].given, why);
	}
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("endpoint");
	Suite *s = suite_create("vsphere");
	SRunner *r;
	int failed;

	tcase_add_loop_test(tc, takes_an_endpoint_as_people_write_it_or_says_what_is_wrong, 0, ARRAY_LEN(endpoints));
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
