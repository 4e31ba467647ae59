/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/lifecycle/proxy_view.h"

#include "core/attr.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static json_t *doc(const char *text)
{
	json_t *j = text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_null();

	ck_assert_msg(j != NULL, "%s", text);
	return j;
}

static void check_equal(const json_t *got, const char *want, const char *what)
{
	AUTO_JSON json_t *w = doc(want);
	AUTO_FREE char *shown = json_text(got);

	ck_assert_msg(json_equal(got, w), "%s: %s", what, shown);
}

#define BOTH "{\"httpProxy\":\"http://u:p%40x@h:3128\",\"httpsProxy\":\"http://v:q@s:3129\",\"noProxy\":\"a, .b,10.0.0.0/8\"}"

static const struct view {
	const char *proxy, *settings, *shown;
} views[] = {
	{ NULL, "null", "null" },
	{ "{}", "null", "null" },
	{ "{\"noProxy\":\"a\"}", "null", "null" },
	{ "{\"httpProxy\":\"\",\"httpsProxy\":\"\"}", "null", "null" },
	{ "{\"httpProxy\":\"http://h:1\"}", "{\"httpProxy\":\"http://h:1\",\"noProxy\":[]}",
	  "{\"httpProxy\":\"http://h:1\",\"noProxy\":[]}" },
	{ "{\"httpProxy\":\"http://u:a/b@h:1/\",\"noProxy\":[\"x\"]}", "{\"httpProxy\":\"http://u:a/b@h:1/\",\"noProxy\":[\"x\"]}",
	  "{\"httpProxy\":\"http://h:1\",\"noProxy\":[\"x\"]}" },
	{ BOTH, "{\"httpProxy\":\"http://u:p%40x@h:3128\",\"httpsProxy\":\"http://v:q@s:3129\",\"noProxy\":[\"a\",\".b\",\"10.0.0.0/8\"]}",
	  "{\"httpProxy\":\"http://h:3128\",\"httpsProxy\":\"http://s:3129\",\"noProxy\":[\"a\",\".b\",\"10.0.0.0/8\"]}" },
};

START_TEST(a_policy_sees_no_user_and_no_password)
{
	const struct view *v = &views[_i];
	AUTO_JSON json_t *in = doc(v->proxy), *settings = proxy_view_settings(in);
	AUTO_JSON json_t *shown = proxy_view_public(settings);
	AUTO_FREE char *text = json_text(shown);

	check_equal(settings, v->settings, "settings");
	check_equal(shown, v->shown, "shown");
	ck_assert_msg(!strchr(text, '@'), "%s", text);
}
END_TEST

#define HTTP "\"httpProxy\":\"http://u:p%40x@h:3128\""
#define HTTPS "\"httpsProxy\":\"http://v:q@s:3129\""
#define NO "\"noProxy\":[\"a\",\".b\",\"10.0.0.0/8\"]"

static const struct merge {
	const char *proxy, *result, *merged;
} merges[] = {
	{ BOTH, "{}", "{" HTTP "," HTTPS "," NO "}" },
	{ BOTH, "{\"httpProxy\":\"http://h:3128\",\"httpsProxy\":\"http://s:3129\"}", "{" HTTP "," HTTPS "," NO "}" },
	{ BOTH, "{\"httpProxy\":\"HTTP://H:3128/\"}", "{" HTTP "," HTTPS "," NO "}" },
	{ BOTH, "{\"httpsProxy\":\"http://h:3128\"}", "{" HTTP ",\"httpsProxy\":\"http://u:p%40x@h:3128\"," NO "}" },
	{ BOTH, "{\"httpProxy\":\"http://h:9\"}", "{\"httpProxy\":\"http://h:9\"," HTTPS "," NO "}" },
	{ BOTH, "{\"httpProxy\":\"http://n:w@h:3128\"}", "{\"httpProxy\":\"http://n:w@h:3128\"," HTTPS "," NO "}" },
	{ BOTH, "{\"httpProxy\":\"\"}", "{" HTTPS "," NO "}" },
	{ BOTH, "{\"httpProxy\":\"\",\"httpsProxy\":\"\"}", "null" },
	{ BOTH, "{\"noProxy\":[\"z\"]}", "{" HTTP "," HTTPS ",\"noProxy\":[\"z\"]}" },
	{ BOTH, "{\"noProxy\":[]}", "{" HTTP "," HTTPS ",\"noProxy\":[]}" },
	{ NULL, "{}", "null" },
	{ NULL, "{\"noProxy\":[\"z\"]}", "null" },
	{ NULL, "{\"httpsProxy\":\"http://n:1\"}", "{\"httpsProxy\":\"http://n:1\",\"noProxy\":[]}" },
};

START_TEST(a_result_keeps_what_it_leaves_out_and_gets_its_credentials_back)
{
	const struct merge *m = &merges[_i];
	AUTO_JSON json_t *in = doc(m->proxy), *settings = proxy_view_settings(in), *result = doc(m->result);
	AUTO_JSON json_t *merged = proxy_view_merge(settings, result);

	check_equal(merged, m->merged, m->result);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("proxy_view");
	TCase *c = tcase_create("proxy_view");
	SRunner *r;
	int failed;

	tcase_add_loop_test(c, a_policy_sees_no_user_and_no_password, 0, ARRAY_LEN(views));
	tcase_add_loop_test(c, a_result_keeps_what_it_leaves_out_and_gets_its_credentials_back, 0, ARRAY_LEN(merges));
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
