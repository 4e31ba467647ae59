/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/envsubst.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static json_t *variables(void)
{
	return json_pack("{s:s,s:s,s:s}", "USER", "root", "EMPTY", "", "NASTY",
			 "a: \"${USER}\" $$ }\n");
}

static const struct {
	const char *text, *result;
} substituted[] = {
	{"", ""},
	{"plain $ text $USER {USER} }", "plain $ text $USER {USER} }"},
	{"${USER}", "root"},
	{"a${USER}b${USER}", "arootbroot"},
	{"${ USER } ${USER } ${ USER}", "root root root"},
	{"${EMPTY}", ""},
	{"${NASTY}", "a: \"${USER}\" $$ }\n"},
	{"${USER:-d} ${USER:=d} ${USER=d}", "root root root"},
	{"${NO:-d} ${NO:=d} ${NO=d}", "d d d"},
	{"${EMPTY:-d} ${EMPTY:=d}", "d d"},
	{"${NO:=:8443}", ":8443"},
	{"${NO:=true}/${NO:=\"\"}", "true/\"\""},
	{"${USER:=}|${EMPTY:=}|", "root||"},
	{"${USER:?d} ${USER:+d} ${NO:?d} ${NO:+d}", "root root d d"},
	{"${NO:=a$$b\\\\c}", "a$$b\\\\c"},
	{"${NO:=$${USER}}", "$root"},
	{"${NO:={b}}", "{b}"},
	{"$$$${USER} $$${USER}", "$${USER} $root"},
	{"${NO:=a${USER}b}", "arootb"},
	{"${NO:=${ALSO_NO:=x}}", "x"},
	{"${USER:=${NOT_NEEDED}}", "root"},
	{"$${USER}", "${USER}"},
	{"$$USER $$", "$USER $"},
	{"some ${USER}$${var$${USER}$USER${USER}", "some root${var${USER}$USERroot"},
	{"something $${var=${USER}}", "something ${var=root}"},
	{"pattern: ^\\d+$", "pattern: ^\\d+$"},
	{"a\\/b\\\\c\\n", "a\\/b\\\\c\\n"},
	{"'^[!$&\\\\'()]+$'", "'^[!$&\\\\'()]+$'"},
};

START_TEST(substitutes_as_clusterctl_does)
{
	AUTO_JSON json_t *v = variables();
	struct pcg_error err;
	struct buf out;

	buf_init(&out, 65536);
	ck_assert_int_eq(envsubst_expand(substituted[_i].text, strlen(substituted[_i].text), "file",
					 v, &out, &err),
			 0);
	ck_assert_str_eq(out.data, substituted[_i].result);
	buf_free(&out);
}
END_TEST

static const struct {
	const char *text, *says;
} refused[] = {
	{"a\nb: ${NO}", "no value for 1 variable: NO"},
	{"${B} ${A} ${B} ${USER}", "no value for 2 variables: B, A"},
	{"${NO:=${DEEP}}", "DEEP"},
	{"a\nb\n${USER", "line 3"},
	{"${USER:=x", "without its end"},
	{"${}", "without a name"},
	{"${USER^^}", "not known"},
	{"${USER-x}", "not known"},
	{"${USER:1}", "not known"},
	{"${#USER}", "without a name"},
	{"${NO:=}", "no value for 1 variable: NO"},
	{"${USER/a/b}", "not known"},
};

START_TEST(names_what_cannot_be_substituted)
{
	AUTO_JSON json_t *v = variables();
	struct pcg_error err;
	struct buf out;

	buf_init(&out, 65536);
	ck_assert_int_eq(envsubst_expand(refused[_i].text, strlen(refused[_i].text), "file.yaml", v,
					 &out, &err),
			 PCG_EPERMANENT);
	ck_assert_msg(strstr(err.text, refused[_i].says), "%s", err.text);
	ck_assert_ptr_nonnull(strstr(err.text, "file.yaml"));
	ck_assert_str_ne(err.remedy, "");
	buf_free(&out);
}
END_TEST

START_TEST(says_what_a_text_asks_for)
{
	static const char text[] = "${B} ${A:=x} ${A:=y} ${C:-${D:=$$}}\n${A} $${NOT} ${ E }";
	AUTO_JSON json_t *asked = NULL, *want = NULL;
	struct pcg_error err;

	want = json_pack("[{s:s,s:n},{s:s,s:n},{s:s,s:s},{s:s,s:s},{s:s,s:n}]", "name", "B",
			 "default", "name", "A", "default", "name", "D", "default", "$$", "name",
			 "C", "default", "${D:=$$}", "name", "E", "default");
	ck_assert_int_eq(envsubst_variables(text, strlen(text), "f", &asked, &err), 0);
	ck_assert(json_equal(want, asked));
}
END_TEST

START_TEST(endless_nesting_is_refused)
{
	struct pcg_error err;
	struct buf text, out;

	buf_init(&text, 65536);
	buf_init(&out, 65536);
	for (int i = 0; i < 1000; i++)
		buf_adds(&text, "${A:=");
	ck_assert_int_eq(envsubst_expand(text.data, text.len, "f", NULL, &out, &err),
			 PCG_EPERMANENT);
	buf_free(&text);
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capi envsubst");
	TCase *t = tcase_create("envsubst");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, substitutes_as_clusterctl_does, 0, ARRAY_LEN(substituted));
	tcase_add_loop_test(t, names_what_cannot_be_substituted, 0, ARRAY_LEN(refused));
	tcase_add_test(t, says_what_a_text_asks_for);
	tcase_add_test(t, endless_nesting_is_refused);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
