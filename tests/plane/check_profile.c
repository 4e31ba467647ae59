/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/profile_check.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char whole[] =
	"{'metadata': {'name': 'base'}, 'spec': {'version': '1.0.0', 'variables': [{'name': 'V', 'defaultValue': '1'}],"
	" 'template': {'cloudType': 'vsphere', 'packs': ["
	"{'name': 'kubernetes', 'layer': 'k8s', 'tag': '1.36.3', 'values': 'a: 1'},"
	"{'name': 'net', 'layer': 'cni', 'type': 'manifest', 'manifests': [{'name': 'm', 'content': 'a: b\\n---\\nc: d'}]}]}}}";

/* JSON with ' for ". */
static json_t *parse(const char *text)
{
	AUTO_FREE char *copy = strdup(text);
	json_error_t error;
	json_t *j;

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	j = json_loads(copy, JSON_DECODE_ANY, &error);
	ck_assert_msg(j, "%s: %s", text, error.text);
	return j;
}

static json_t *problems_of(const json_t *body)
{
	json_t *fields = json_array();

	profile_check(body, fields);
	return fields;
}

/* What stands at a path, "packs.0.tag" with the number of an element, becomes another value. */
static void put(json_t *at, const char *path, json_t *value)
{
	AUTO_FREE char *copy = strdup(path);
	char *rest = copy, *word, *next = strsep(&rest, "/");

	for (word = next; rest; word = next) {
		next = strsep(&rest, "/");
		at = json_is_array(at) ? json_array_get(at, strtoul(word, NULL, 10)) : json_object_get(at, word);
	}
	if (json_is_array(at))
		json_array_set_new(at, strtoul(word, NULL, 10), value);
	else
		json_object_set_new(at, word, value);
}

static const struct {
	const char *path, *value, *field, *text;
} wrong[] = {
	{ "metadata/name", "''", "metadata.name", "is missing" },
	{ "spec/template", "null", "spec.template", "is missing, or not an object" },
	{ "spec/version", "1.0", "spec.version", "is not text: write it in quotes" },
	{ "spec/template/cloudType", "[]", "spec.template.cloudType", "is not text" },
	{ "spec/template/packs", "{}", "spec.template.packs", "is not an array" },
	{ "spec/template/packs/0", "7", "spec.template.packs.0", "each pack needs a name" },
	{ "spec/template/packs/0/name", "''", "spec.template.packs.0", "each pack needs a name" },
	{ "spec/template/packs/0/tag", "1.36", "spec.template.packs.0.tag", "is not text: write it in quotes" },
	{ "spec/template/packs/0/layer", "'kubernetes'", "spec.template.packs.0",
	  "layer 'kubernetes' is none of os, k8s, cni, cloud-provider, csi, addon, kernel" },
	{ "spec/template/packs/0/layer", "true", "spec.template.packs.0.layer", "is not text" },
	{ "spec/template/packs/0/type", "'chart'", "spec.template.packs.0",
	  "type 'chart' is none of spectro, helm, manifest, oci" },
	{ "spec/template/packs/0/values", "{'a': 1}", "spec.template.packs.0.values", "is not text" },
	{ "spec/template/packs/0/values", "'a: [1'", "spec.template.packs.0.values", "is not YAML: " },
	{ "spec/template/packs/1/manifests", "'a: b'", "spec.template.packs.1.manifests", "is not an array" },
	{ "spec/template/packs/1/manifests/0/name", "null", "spec.template.packs.1.manifests.0",
	  "each manifest needs name and content" },
	{ "spec/template/packs/1/manifests/0/content", "'a: b: c'", "spec.template.packs.1.manifests.0", "is not YAML: " },
	{ "spec/variables", "{}", "spec.variables", "is not an array" },
	{ "spec/variables/0/name", "''", "spec.variables.0", "each variable needs a name" },
	{ "spec/variables/0/defaultValue", "1", "spec.variables.0.defaultValue", "is not text: write it in quotes" },
};

START_TEST(what_is_wrong_is_told)
{
	AUTO_JSON json_t *body = parse(whole);
	AUTO_JSON json_t *fields = NULL;
	const char *text;

	put(body, wrong[_i].path, parse(wrong[_i].value));
	fields = problems_of(body);
	ck_assert_msg(json_array_size(fields) == 1, "%s = %s: %zu problems", wrong[_i].path, wrong[_i].value,
		      json_array_size(fields));
	ck_assert_str_eq(json_str_or(json_array_get(fields, 0), "field", ""), wrong[_i].field);
	text = json_str_or(json_array_get(fields, 0), "text", "");
	ck_assert_msg(strncmp(text, wrong[_i].text, strlen(wrong[_i].text)) == 0, "%s", text);
}
END_TEST

static const struct {
	const char *path, *value;
} right[] = {
	{ "spec/version", "null" },
	{ "spec/variables", "null" },
	{ "spec/template/packs", "[]" },
	{ "spec/template/packs/0/layer", "''" },
	{ "spec/template/packs/0/values", "'a: {{ .spectro.var.V }}: ['" },
	{ "spec/template/packs/1/values", "'a: &here [1]\\nb: *here'" },
	{ "spec/template/packs/1/manifests/0/content", "'{{.spectro.var.V}}: ['" },
	{ "spec/template/packs/1/manifests/0", "{'name': 'm', 'uid': '0123'}" },
};

START_TEST(what_is_right_is_taken)
{
	AUTO_JSON json_t *body = parse(whole);
	AUTO_JSON json_t *fields = problems_of(body);

	ck_assert_uint_eq(json_array_size(fields), 0);
	put(body, right[_i].path, parse(right[_i].value));
	json_decref(fields);
	fields = problems_of(body);
	ck_assert_msg(json_array_size(fields) == 0, "%s: %s", right[_i].path,
		      json_str_or(json_array_get(fields, 0), "text", ""));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("profile");
	TCase *t = tcase_create("profile");
	SRunner *r = srunner_create(s);

	tcase_add_loop_test(t, what_is_wrong_is_told, 0, ARRAY_LEN(wrong));
	tcase_add_loop_test(t, what_is_right_is_taken, 0, ARRAY_LEN(right));
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
