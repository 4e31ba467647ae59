/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "pcg/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Pick lists, of a vCenter with two datacenters, each of two compute clusters and 60 port groups. */

#define MODEL "datacenter=2,cluster=2,host=3,pool=2,datastore=2,portgroup=60,pod=1,podstore=1,opaque=1,vm=1,standalone=1"

static struct rig rig;
static bool with_api;

/* Lists that change nothing share one vCenter. */
static void begin(void)
{
	run_free(&rig);
	json_decref(rig_admin(&rig, "POST", "/reset", NULL));
}

static json_t *ask(const char *kind, json_t *filter, int limit, const char *token, struct run **out)
{
	struct run *run = rig_do(&rig, "a1", "pick_list", "list", json_pack("{s:s, s:o, s:i, s:s}", "kind", kind, "filter",
									    filter ? filter : json_object(), "limit", limit, "continue",
									    token));

	if (out)
		*out = run;
	else
		ck_assert_msg(run->ok, "%s: %s; %s", kind, run->err.text, run->err.remedy);
	return run->reply;
}

/* All pages of it. A new reference. */
static json_t *all_of(const char *kind, json_t *filter, int limit, int *pages)
{
	json_t *items = json_array(), *reply;
	char token[128] = "";
	int n = 0;

	do {
		reply = ask(kind, json_incref(filter), limit, token, NULL);
		json_array_extend(items, json_object_get(reply, "items"));
		snprintf(token, sizeof(token), "%s", json_str_or(reply, "continue", "-"));
		ck_assert_int_lt(n++, 500);
	} while (*token);
	if (pages)
		*pages = n;
	json_decref(filter);
	return items;
}

static bool has(const json_t *items, const char *member, const char *value)
{
	size_t i;
	json_t *item;

	json_array_foreach(items, i, item)
		if (strcmp(json_str_or(item, member, ""), value) == 0)
			return true;
	return false;
}

static void each_once(const json_t *items, size_t n)
{
	AUTO_JSON json_t *seen = json_object();
	size_t i;
	json_t *item;

	json_array_foreach(items, i, item) {
		ck_assert_msg(!json_object_get(seen, json_str_or(item, "id", "")), "%s twice", json_str_or(item, "path", ""));
		json_object_set_new(seen, json_str_or(item, "id", ""), json_true());
	}
	if (json_array_size(items) != n) {
		AUTO_FREE char *text = json_dumps(items, JSON_INDENT(1));

		ck_abort_msg("%zu in place of %zu: %.3000s", json_array_size(items), n, text);
	}
}

static const struct {
	const char *kind, *filter;
	size_t n;
	const char *path, *member, *value; /* one of them; what it has */
} lists[] = {
	{ "datacenters", "{}", 2, "/DC0", NULL, NULL },
	{ "datacenters", "{\"name\":\"c1\"}", 1, "/DC1", NULL, NULL },
	{ "folders", "{\"datacenter\":\"DC0\"}", 2, "/DC0/vm/templates", NULL, NULL },
	{ "folders", "{\"datacenter\":\"/DC1\"}", 1, "/DC1/vm", NULL, NULL },
	{ "clusters", "{}", 6, "/DC1/host/DC1_C1", NULL, NULL },
	{ "clusters", "{\"datacenter\":\"DC0\",\"name\":\"_c\"}", 2, "/DC0/host/DC0_C0", NULL, NULL },
	{ "resourcePools", "{\"cluster\":\"DC0_C1\"}", 3, "/DC0/host/DC0_C1/Resources", NULL, NULL },
	{ "resourcePools", "{\"datacenter\":\"DC1\"}", 7, "/DC1/host/DC1_C0/Resources/DC1_C0_RP1", NULL, NULL },
	{ "hosts", "{\"cluster\":\"/DC1/host/DC1_C0\"}", 3, "/DC1/host/DC1_C0/DC1_C0_H2", "state", "connected" },
	{ "datastores", "{\"datacenter\":\"DC0\"}", 2, "/DC0/datastore/LocalDS_0", "type", "OTHER" },
	{ "datastores", "{\"cluster\":\"DC0_C0\"}", 2, "/DC0/datastore/DC0_POD0/LocalDS_1", NULL, NULL },
	{ "datastoreClusters", "{\"datacenter\":\"DC1\"}", 1, "/DC1/datastore/DC1_POD0", NULL, NULL },
	/* The simulator's uplinks are not tagged as such: they are among these. */
	{ "networks", "{\"datacenter\":\"DC0\"}", 64, "/DC0/network/DC0_DVPG59", "type", "distributed" },
	{ "networks", "{\"datacenter\":\"DC0\",\"name\":\"vm net\"}", 1, "/DC0/network/VM Network", "type", "standard" },
	{ "networks", "{\"datacenter\":\"DC0\",\"name\":\"_nsx0\"}", 1, "/DC0/network/DC0_NSX0", "type", "opaque" },
	{ "networks", "{\"cluster\":\"DC1_C1\"}", 63, "/DC1/network/DC1_DVPG0", "type", "distributed" },
	{ "templates", "{}", 1, "/DC0/vm/templates/ubuntu-2404-kube-v1.36.3", "hardwareVersion", "vmx-13" },
	{ "templates", "{\"datacenter\":\"DC1\"}", 0, NULL, NULL, NULL },
	{ "storagePolicies", "{\"name\":\"vsan\"}", 1, "vSAN Default Storage Policy", NULL, NULL },
};

static void list_one(int _i)
{
	AUTO_JSON json_t *items = all_of(lists[_i].kind, json_loads(lists[_i].filter, 0, NULL), 50, NULL);
	size_t i;
	json_t *item;

	each_once(items, lists[_i].n);
	if (lists[_i].path && !has(items, "path", lists[_i].path)) {
		AUTO_FREE char *text = json_dumps(items, JSON_INDENT(1));

		ck_abort_msg("%s is not in %.3000s", lists[_i].path, text);
	}
	json_array_foreach(items, i, item)
		if (lists[_i].member && strcmp(json_str_or(item, "path", ""), lists[_i].path) == 0)
			ck_assert_str_eq(json_str_or(item, lists[_i].member, ""), lists[_i].value);
	/* Nothing is left open on the server. */
	ck_assert_int_eq(rig_calls(&rig, "CreateContainerView"), rig_calls(&rig, "DestroyView"));
}

START_TEST(lists_what_there_is_by_kind_and_filter)
{
	for (size_t i = 0; i < ARRAY_LEN(lists); i++, begin())
		list_one((int)i);
}
END_TEST

START_TEST(pages_are_the_servers_own)
{
	AUTO_JSON json_t *items = NULL;
	int pages;

	items = all_of("networks", NULL, 25, &pages);
	each_once(items, 128);
	ck_assert_int_eq(pages, 6);
	ck_assert_int_eq(rig_calls(&rig, "ContinueRetrievePropertiesEx"), 5);
	ck_assert_int_eq(rig_calls(&rig, "RetrievePropertiesEx"), 2); /* folders, first page */
	ck_assert_int_eq(rig_calls(&rig, "Login"), 1);
}
END_TEST

START_TEST(a_page_whose_reply_was_lost_is_answered_again)
{
	AUTO_JSON json_t *first = json_incref(ask("networks", NULL, 50, "", NULL));
	const char *token = json_str(first, "continue");
	AUTO_JSON json_t *second = json_incref(ask("networks", NULL, 50, token, NULL));
	AUTO_JSON json_t *again = json_incref(ask("networks", NULL, 50, token, NULL));
	struct run *run;

	ck_assert_uint_eq(json_array_size(json_object_get(second, "items")), 50);
	ck_assert(json_equal(second, again));
	ck_assert_int_eq(rig_calls(&rig, "ContinueRetrievePropertiesEx"), 1);
	ask("networks", NULL, 50, json_str(second, "continue"), NULL);
	/* That was the last page. */
	ask("networks", NULL, 50, token, &run);
	ck_assert_int_eq(run->err.class, PCG_CLASS_CONFLICT);
	ck_assert_ptr_nonnull(strstr(run->err.remedy, "from its beginning"));
}
END_TEST

START_TEST(a_list_that_is_gone_says_so)
{
	char token[64];
	struct run *run;

	snprintf(token, sizeof(token), "%s", json_str(ask("networks", NULL, 50, "", NULL), "continue"));
	/* Of another filter, another kind, nobody. */
	ask("networks", json_pack("{s:s}", "name", "x"), 50, token, &run);
	ck_assert_int_eq(run->err.class, PCG_CLASS_CONFLICT);
	ask("datastores", NULL, 50, token, &run);
	ck_assert_int_eq(run->err.class, PCG_CLASS_CONFLICT);
	ask("networks", NULL, 50, "nonsense", &run);
	ck_assert_int_eq(run->err.class, PCG_CLASS_CONFLICT);
	if (_i)
		json_decref(rig_admin(&rig, "POST", "/expire-sessions", NULL));
	else
		rig_kill_workers(&rig);
	ask("networks", NULL, 50, token, &run);
	ck_assert_int_eq(run->err.class, PCG_CLASS_CONFLICT);
	ck_assert_ptr_nonnull(strstr(run->err.text, "networks"));
	ask("networks", NULL, 50, "", NULL);
}
END_TEST

START_TEST(lists_that_nobody_goes_on_with_make_room)
{
	for (int i = 0; i < 9; i++)
		ask("networks", NULL, 50, "", NULL);
	ck_assert_int_eq(rig_calls(&rig, "CreateContainerView"), 9);
	ck_assert_int_eq(rig_calls(&rig, "DestroyView"), 5);
	ck_assert_int_eq(rig_calls(&rig, "CancelRetrievePropertiesEx"), 5);
}
END_TEST

static const struct { const char *kind, *filter; enum pcg_class class; const char *said; } refused[] = {
	{ "machines", "{}", PCG_CLASS_NOT_FOUND, "datacenters, folders, clusters" },
	{ "networks", "{\"datacenter\":\"DC9\"}", PCG_CLASS_NOT_FOUND, "there are /DC0, /DC1" },
	{ "hosts", "{\"datacenter\":\"DC1\",\"cluster\":\"DC0_C0\"}", PCG_CLASS_NOT_FOUND, "/DC1/host/DC1_C0" },
	{ "templates", "{\"cluster\":\"DC0_C0\"}", PCG_CLASS_PERMANENT, "it has name, datacenter" },
	{ "networks", "{\"name\":7}", PCG_CLASS_PERMANENT, "has no filter \"name\"" },
	{ "tags", "{\"category\":\"none\"}", PCG_CLASS_NOT_FOUND, "there is no category \"none\"" },
};

START_TEST(refuses_what_there_is_not_and_says_what_there_is)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++, begin()) {
		struct run *run;

		ask(refused[i].kind, json_loads(refused[i].filter, 0, NULL), 50, "", &run);
		ck_assert_int_eq(run->err.class, refused[i].class);
		ck_assert_msg(strstr(run->err.text, refused[i].said) != NULL, "%s", run->err.text);
		ck_assert_str_ne(run->err.remedy, "");
		ck_assert_int_eq(rig_calls(&rig, "CreateContainerView"), rig_calls(&rig, "DestroyView"));
	}
}
END_TEST

START_TEST(says_what_kinds_there_are)
{
	json_t *items = json_object_get(ask("kinds", NULL, 50, "", NULL), "items"), *item;
	size_t i;

	ck_assert_uint_eq(json_array_size(items), 12);
	json_array_foreach(items, i, item) {
		struct run *run;

		ck_assert_str_ne(json_str_or(item, "text", ""), "");
		ask(json_str(item, "name"), NULL, 50, "", &run);
		ck_assert_msg(run->ok, "%s: %s", json_str(item, "name"), run->err.text);
	}
}
END_TEST

/* What another client made, with its own session. */
static void shell(const char *command)
{
	char whole[4096];

	snprintf(whole, sizeof(whole),
		 "cd %s && exec 2>>curl.log && vc() { m=$1 p=$2; shift 2; curl -sSf --cacert ca.pem -X $m https://%s:%s/rest/com/vmware/$p "
		 "-H \"vmware-api-session-id: $token\" -H 'content-type: application/json' \"$@\" | sed 's/.*\"value\":\"\\([^\"]*\\)\".*/\\1/'; }; "
		 "token=$(vc POST cis/session -u 'administrator@vsphere.local:" PASSWORD "') && %s && vc DELETE cis/session",
		 rig.dir, json_str(rig.ready, "host"), json_str(rig.ready, "port"), command);
	ck_assert_msg(system(whole) == 0, "%s", command);
}

static json_int_t rest_sessions(void)
{
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);

	return json_int_or(calls, "sessions.rest", 0);
}

START_TEST(lists_tags_with_their_category)
{
	AUTO_JSON json_t *all = NULL, *one = NULL;

	shell("for c in k8s-region k8s-zone; do cat=$(vc POST cis/tagging/category -d '{\"create_spec\":{\"name\":\"'$c'\",\"description\":\"\","
	      "\"cardinality\":\"SINGLE\",\"associable_types\":[]}}') && for i in 1 2 3 4 5; do vc POST cis/tagging/tag -d "
	      "'{\"create_spec\":{\"name\":\"'$c-$i'\",\"description\":\"\",\"category_id\":\"'$cat'\"}}' || exit 1; done; done");
	all = all_of("tags", NULL, 4, NULL);
	each_once(all, 10);
	ck_assert(has(all, "path", "k8s-zone/k8s-zone-5"));
	one = all_of("tags", json_pack("{s:s}", "category", "k8s-region"), 50, NULL);
	each_once(one, 5);
	ck_assert(has(one, "category", "k8s-region"));
	ck_assert_int_eq(rest_sessions(), !with_api);
	ck_assert_int_eq(rig_calls(&rig, "POST /api/session"), 1);
	ck_assert_int_eq(rig_calls(&rig, "POST /api/cis/tagging/tag"), with_api ? 3 : 0);
	rig_pool_close(&rig);
	ck_assert_int_eq(rest_sessions(), 0);
	ck_assert_int_eq(rig_calls(&rig, "DELETE /api/session"), with_api);
}
END_TEST

START_TEST(lists_library_items_that_machines_can_be_made_of)
{
	AUTO_JSON json_t *items = NULL;

	char command[1024];

	snprintf(command, sizeof(command),
		 "lib=$(vc POST content/local-library -d '{\"create_spec\":{\"name\":\"images\",\"type\":\"LOCAL\",\"storage_backings\":[{"
		 "\"type\":\"DATASTORE\",\"datastore_id\":\"%s\"}]}}') && for t in ovf iso; do vc POST content/library/item -d "
		 "'{\"create_spec\":{\"library_id\":\"'$lib'\",\"name\":\"ubuntu-'$t'\",\"type\":\"'$t'\"}}' || exit 1; done",
		 json_str(ask("datastores", NULL, 50, "", NULL), "items.0.id"));
	shell(command);
	items = all_of("contentLibraryItems", json_pack("{s:s}", "library", "images"), 50, NULL);
	each_once(items, 1);
	ck_assert(has(items, "path", "images/ubuntu-ovf"));
	ck_assert(has(items, "type", "ovf"));
}
END_TEST

static void setup(void)
{
	rig_open(&rig, with_api ? "--api --model " MODEL : "--model " MODEL);
	rig_account(&rig, "a1", PASSWORD, NULL, NULL);
}

static void api_setup(void)
{
	with_api = true;
	setup();
}

static void teardown(void)
{
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;
	int status;

	if (!rig_main(argc, argv, "vcsim vmread", &status))
		return status;
	s = suite_create("vsphere");
	tc = rig_case(s, "picks", setup, teardown);
	tcase_add_test(tc, lists_what_there_is_by_kind_and_filter);
	tcase_add_test(tc, pages_are_the_servers_own);
	tcase_add_test(tc, a_page_whose_reply_was_lost_is_answered_again);
	tcase_add_loop_test(tc, a_list_that_is_gone_says_so, 0, 2);
	tcase_add_test(tc, lists_that_nobody_goes_on_with_make_room);
	tcase_add_test(tc, refuses_what_there_is_not_and_says_what_there_is);
	tcase_add_test(tc, says_what_kinds_there_are);
	tcase_add_test(tc, lists_tags_with_their_category);
	tcase_add_test(tc, lists_library_items_that_machines_can_be_made_of);
	/* As a vCenter 7.0 U2 or newer has them. */
	tc = rig_case(s, "api", api_setup, teardown);
	tcase_add_test(tc, lists_tags_with_their_category);
	tcase_add_test(tc, lists_library_items_that_machines_can_be_made_of);
	return rig_run(s);
}
