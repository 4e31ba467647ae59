/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/kubeconfig.h"

#include "core/base64.h"
#include "core/clock.h"
#include "core/yaml.h"
#include "host/bootstrap/bootstrap.h"
#include "net/pki.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)

static json_t *recovery;
static struct buf text, fresh;

static void setup(void)
{
	AUTO_JSON json_t *spec = json_pack("{s:s}", "kubernetesVersion", "v1.36.3");
	json_t *keys = NULL;
	struct pcg_error err;

	ck_assert_int_eq(bootstrap_keys_new(spec, clock_wall_ms(), &keys, &err), 0);
	recovery = json_pack("{s:o,s:{s:s,s:i}}", "keys", keys, "endpoint", "host", "10.0.0.5", "port",
			     6443);
	buf_init_secret(&text, 1 << 16);
	buf_init_secret(&fresh, 1 << 16);
	ck_assert_int_eq(bootstrap_kubeconfig("c1", json_object_get(recovery, "endpoint"), keys,
					      365 * DAY_MS, &text, &err),
			 0);
}

static void teardown(void)
{
	json_decref(recovery);
	buf_free(&text);
	buf_free(&fresh);
}

static int renew(void)
{
	struct pcg_error err;
	int r = kubeconfig_renew(text.data, text.len, "c1", recovery, &fresh, &err);

	ck_assert_msg(r >= 0, "%s", err.text);
	return r;
}

/* The certificate of a kubeconfig, checked against the cluster's CA now. */
static void check_works(const struct buf *b)
{
	AUTO_JSON json_t *doc = NULL;
	struct pcg_error err;
	const char *data;
	AUTO_FREE char *pem = NULL;
	size_t n;

	ck_assert_int_eq(yaml_load_one(b->data, b->len, "k", &doc, &err), 0);
	data = json_str(doc, "users.0.user.client-certificate-data");
	pem = (char *)base64_decode(data, strlen(data), &n);
	pem = realloc(pem, n + 1);
	pem[n] = '\0';
	ck_assert_int_eq(pki_verify(pem, json_str(recovery, "keys.ca.crt"), clock_wall_ms(), &err), 0);
	ck_assert_str_eq(json_str(doc, "current-context"), "c1-admin@c1");
	ck_assert_str_eq(json_str(doc, "clusters.0.cluster.server"), "https://10.0.0.5:6443");
}

START_TEST(a_good_one_stays)
{
	ck_assert_int_eq(renew(), 0);
	clock_turn_ms(240 * DAY_MS);
	ck_assert_int_eq(renew(), 0);
}
END_TEST

START_TEST(one_that_comes_to_its_end_is_made_anew)
{
	clock_turn_ms(250 * DAY_MS);
	ck_assert_int_eq(renew(), 1);
	check_works(&fresh);
}
END_TEST

START_TEST(years_later_people_still_get_in)
{
	clock_turn_ms(9 * 365 * DAY_MS);
	ck_assert_int_eq(renew(), 1);
	check_works(&fresh);
}
END_TEST

START_TEST(without_keys_the_old_one_stays)
{
	clock_turn_ms(400 * DAY_MS);
	json_object_del(recovery, "keys");
	ck_assert_int_eq(renew(), 0);
}
END_TEST

START_TEST(what_cannot_be_read_stays)
{
	buf_reset(&text);
	buf_adds(&text, "kind: Config\n");
	ck_assert_int_eq(renew(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("plane kubeconfig");
	TCase *t = tcase_create("kubeconfig");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_good_one_stays);
	tcase_add_test(t, one_that_comes_to_its_end_is_made_anew);
	tcase_add_test(t, years_later_people_still_get_in);
	tcase_add_test(t, without_keys_the_old_one_stays);
	tcase_add_test(t, what_cannot_be_read_stays);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
