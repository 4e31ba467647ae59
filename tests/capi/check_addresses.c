/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/address_shapes.h"
#include "host/capi/capi.h"
#include "host/capi/check.h"
#include "host/capi/downgrade.h"
#include "tests/capi/sample.h"
#include "tests/core/unit.h"

/* Two devices of one machine; a pool of each, and two addresses of the second. */
static json_t *input(void)
{
	json_t *in = sample_input("ca crt\n"), *item;
	size_t i;

	json_put(in, "spec.addressPools",
		 json_pack("[{s:s,s:s,s:i,s:s,s:[s,s]},{s:s,s:s,s:i,s:[s,s,s]}]", "uid", "u1", "object", "lab", "prefix", 24,
			   "gateway", "10.0.0.1", "addresses", "10.0.0.7", "10.0.0.8", "uid", "u2", "object", "pool-u2", "prefix",
			   127, "addresses", "2001:db8::6", "2001:db8::7", "2001:db8::8"));
	json_object_set_new(json_array_get(json_object_get(in, "machines"), 0), "addresses",
			    json_pack("[{s:i,s:s,s:s,s:i,s:s},{s:i,s:s,s:s,s:i},{s:i,s:s,s:s,s:i}]", "device", 0, "pool", "lab",
				      "address", "10.0.0.7", "prefix", 24, "gateway", "10.0.0.1", "device", 1, "pool", "pool-u2",
				      "address", "2001:db8::6", "prefix", 127, "device", 1, "pool", "pool-u2", "address",
				      "2001:db8::7", "prefix", 127));
	json_array_foreach (json_object_get(in, "providerObjects"), i, item)
		if (strcmp(json_str_or(item, "object.kind", ""), "VSphereVM") == 0)
			json_object_set_new(item, "claims", json_pack("{s:s}", "finalizer", "f/protect"));
	return in;
}

static const struct {
	const char *kind, *name, *api, *owner, *owner_name, *holder;
	const char *finalizers[2];
} expected[] = {
	{"InClusterIPPool", "lab", "ipam.cluster.x-k8s.io/v1alpha2", NULL, NULL, NULL,
	 {"ipam.cluster.x-k8s.io/ProtectPool"}},
	{"InClusterIPPool", "pool-u2", "ipam.cluster.x-k8s.io/v1alpha2", NULL, NULL, NULL,
	 {"ipam.cluster.x-k8s.io/ProtectPool"}},
	{"IPAddressClaim", "c1-cp-bcdfg-0-0", "ipam.cluster.x-k8s.io/v1beta2", "VSphereVM", "c1-cp-bcdfg", NULL,
	 {"f/protect", "ipam.cluster.x-k8s.io/ReleaseAddress"}},
	{"IPAddress", "c1-cp-bcdfg-0-0", "ipam.cluster.x-k8s.io/v1beta2", "IPAddressClaim", "c1-cp-bcdfg-0-0", "lab",
	 {"ipam.cluster.x-k8s.io/ProtectAddress"}},
	{"IPAddressClaim", "c1-cp-bcdfg-1-0", "ipam.cluster.x-k8s.io/v1beta2", "VSphereVM", "c1-cp-bcdfg", NULL,
	 {"f/protect", "ipam.cluster.x-k8s.io/ReleaseAddress"}},
	{"IPAddress", "c1-cp-bcdfg-1-1", "ipam.cluster.x-k8s.io/v1beta2", "IPAddressClaim", "c1-cp-bcdfg-1-1", "pool-u2",
	 {"ipam.cluster.x-k8s.io/ProtectAddress"}},
};

START_TEST(addresses_are_what_their_provider_and_the_controllers_make)
{
	AUTO_JSON json_t *in = input(), *plan = NULL, *records = json_array();
	struct check_facts facts = {.keys = NULL};
	struct pcg_error err;

	ck_assert_msg(capi_objects_build(in, &plan, &err) == 0, "%s", err.text);
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		const json_t *e = sample_entry(plan, expected[i].kind, expected[i].name);
		const json_t *list = json_at(e, "object.metadata.finalizers");

		ck_assert_msg(e, "%s/%s", expected[i].kind, expected[i].name);
		ck_assert_str_eq(json_str(e, "object.apiVersion"), expected[i].api);
		ck_assert_str_eq(json_string_value(json_object_get(json_at(e, "object.metadata.labels"), CAPI_LABEL_CLUSTER)),
				 "c1");
		ck_assert_str_eq(json_str_or(e, "owner.kind", "-"), expected[i].owner ? expected[i].owner : "-");
		ck_assert_str_eq(json_str_or(e, "owner.name", "-"), expected[i].owner_name ? expected[i].owner_name : "-");
		ck_assert_str_eq(json_str_or(e, "holder.name", "-"), expected[i].holder ? expected[i].holder : "-");
		ck_assert_int_eq(json_bool_or(e, "controller", false), expected[i].holder != NULL);
		ck_assert_uint_eq(json_array_size(list), expected[i].finalizers[1] ? 2 : 1);
		for (size_t k = 0; k < json_array_size(list); k++)
			ck_assert_str_eq(json_string_value(json_array_get(list, k)), expected[i].finalizers[k]);
	}
	check_plan(plan, &facts, records);
	ck_assert(!check_failed(records, CHECK_OWNERS));
	ck_assert(!check_failed(records, CHECK_LABELS));
}
END_TEST

START_TEST(a_pool_holds_what_is_reserved_and_says_so_of_the_smallest_networks)
{
	AUTO_JSON json_t *in = input(), *plan = NULL;
	const json_t *lab, *tiny, *address;
	struct pcg_error err;

	ck_assert_int_eq(capi_objects_build(in, &plan, &err), 0);
	lab = json_at(sample_entry(plan, "InClusterIPPool", "lab"), "object.spec");
	tiny = json_at(sample_entry(plan, "InClusterIPPool", "pool-u2"), "object.spec");
	address = json_at(sample_entry(plan, "IPAddress", "c1-cp-bcdfg-0-0"), "object.spec");
	ck_assert_uint_eq(json_object_size(lab), 3);
	ck_assert_str_eq(json_str(lab, "addresses.1"), "10.0.0.8");
	ck_assert_int_eq(json_int_or(lab, "prefix", 0), 24);
	ck_assert_str_eq(json_str(lab, "gateway"), "10.0.0.1");
	ck_assert(json_bool_or(tiny, "allocateReservedIPAddresses", false));
	ck_assert_ptr_null(json_str(tiny, "gateway"));
	ck_assert_str_eq(json_str(address, "address"), "10.0.0.7");
	ck_assert_int_eq(json_int_or(address, "prefix", 0), 24);
	ck_assert_str_eq(json_str(address, "gateway"), "10.0.0.1");
	ck_assert_str_eq(json_str(address, "claimRef.name"), "c1-cp-bcdfg-0-0");
	ck_assert_str_eq(json_str(address, "poolRef.name"), "lab");
	ck_assert_str_eq(json_str(sample_entry(plan, "IPAddressClaim", "c1-cp-bcdfg-0-0"), "status.addressRef.name"),
			 "c1-cp-bcdfg-0-0");
}
END_TEST

START_TEST(addresses_that_no_object_claims_are_refused)
{
	AUTO_JSON json_t *in = input(), *plan = NULL;
	struct pcg_error err;
	json_t *item;
	size_t i;

	json_array_foreach (json_object_get(in, "providerObjects"), i, item)
		json_object_del(item, "claims");
	ck_assert_int_ne(capi_objects_build(in, &plan, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "claims the addresses"));
}
END_TEST

START_TEST(an_address_without_its_pool_is_seen_before_it_is_written)
{
	AUTO_JSON json_t *in = input(), *plan = NULL, *records = json_array();
	struct check_facts facts = {.keys = NULL};
	struct pcg_error err;

	json_array_remove(json_at(in, "spec.addressPools"), 0);
	ck_assert_int_eq(capi_objects_build(in, &plan, &err), 0);
	check_plan(plan, &facts, records);
	ck_assert(check_failed(records, CHECK_OWNERS));
}
END_TEST

START_TEST(older_servers_get_claims_and_addresses_in_their_version)
{
	AUTO_JSON json_t *in = input(), *plan = NULL;
	AUTO_JSON json_t *served = json_pack("{s:{s:b,s:b}}", "ipam.cluster.x-k8s.io", "v1beta1", 1, "v1alpha2", 1);
	struct pcg_error err;

	ck_assert_int_eq(capi_objects_build(in, &plan, &err), 0);
	ck_assert(downgrade_needed(plan, served));
	downgrade_plan(plan, served);
	ck_assert(!downgrade_needed(plan, served));
	ck_assert_str_eq(json_str(sample_entry(plan, "IPAddressClaim", "c1-cp-bcdfg-0-0"), "object.apiVersion"),
			 "ipam.cluster.x-k8s.io/v1beta1");
	ck_assert_str_eq(json_str(sample_entry(plan, "IPAddress", "c1-cp-bcdfg-0-0"), "object.apiVersion"),
			 "ipam.cluster.x-k8s.io/v1beta1");
	ck_assert_str_eq(json_str(sample_entry(plan, "IPAddress", "c1-cp-bcdfg-0-0"), "object.spec.poolRef.apiGroup"),
			 "ipam.cluster.x-k8s.io");
	ck_assert_str_eq(json_str(sample_entry(plan, "InClusterIPPool", "lab"), "object.apiVersion"),
			 "ipam.cluster.x-k8s.io/v1alpha2");
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, older_servers_get_claims_and_addresses_in_their_version);
	tcase_add_test(tc, addresses_are_what_their_provider_and_the_controllers_make);
	tcase_add_test(tc, a_pool_holds_what_is_reserved_and_says_so_of_the_smallest_networks);
	tcase_add_test(tc, addresses_that_no_object_claims_are_refused);
	tcase_add_test(tc, an_address_without_its_pool_is_seen_before_it_is_written);
}

int main(void)
{
	return unit_main("addresses", add);
}
