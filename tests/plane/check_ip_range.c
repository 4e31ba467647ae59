/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/addresses.h"
#include "tests/core/unit.h"

static bool read_pool(const char *text, struct ip_range *out, json_t *fields)
{
	AUTO_JSON json_t *pool = NULL;
	struct pcg_error err;

	ck_assert_int_eq(json_parse(text, strlen(text), "pool", &pool, &err), 0);
	return ip_range_read(pool, out, fields);
}

static const struct {
	const char *pool;
	uint64_t size;
	const char *first, *given, *not_given[4];
} good[] = {
	{ "{\"start\":\"10.0.0.10\",\"end\":\"10.0.0.20\",\"prefix\":24,\"gateway\":\"10.0.0.1\"}", 11, "10.0.0.10",
	  "10.0.0.20", { "10.0.0.9", "10.0.0.21", "10.0.0.1" } },
	{ "{\"start\":\"10.0.0.0\",\"end\":\"10.0.0.255\",\"prefix\":24,\"gateway\":\"10.0.0.7\"}", 253, "10.0.0.1",
	  "10.0.0.254", { "10.0.0.0", "10.0.0.255", "10.0.0.7" } },
	{ "{\"subnet\":\"10.0.0.0/24\",\"gateway\":\"10.0.0.254\"}", 253, "10.0.0.1", "10.0.0.253",
	  { "10.0.0.0", "10.0.0.255", "10.0.0.254" } },
	/* a part of a larger network has no network address of its own */
	{ "{\"subnet\":\"10.0.1.0/24\",\"prefix\":16,\"gateway\":\"10.0.0.1\"}", 256, "10.0.1.0", "10.0.1.255",
	  { "10.0.0.255", "10.0.2.0" } },
	{ "{\"subnet\":\"10.0.0.4/31\",\"gateway\":\"10.0.0.4\"}", 1, "10.0.0.5", "10.0.0.5", { "10.0.0.4" } },
	{ "{\"subnet\":\"10.0.0.4/32\",\"prefix\":24,\"gateway\":\"10.0.0.1\"}", 1, "10.0.0.4", "10.0.0.4", { "10.0.0.5" } },
	{ "{\"start\":\"10.0.0.250\",\"end\":\"10.0.1.5\",\"prefix\":23,\"gateway\":\"10.0.0.1\"}", 12, "10.0.0.250",
	  "10.0.0.255", { "10.0.1.6" } },
	{ "{\"subnet\":\"0.0.0.0/1\",\"gateway\":\"10.0.0.1\"}", 0, NULL, NULL, { NULL } },
	{ "{\"start\":\"1.0.0.0\",\"end\":\"126.255.255.255\",\"prefix\":1,\"gateway\":\"10.0.0.1\"}", 2113929215u, "1.0.0.0",
	  "126.255.255.255", { "10.0.0.1" } },
	{ "{\"subnet\":\"2001:db8::/64\",\"gateway\":\"fe80::1\"}", UINT64_MAX, "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff",
	  { "2001:db8::", "2001:db8:0:1::", "fe80::1" } },
	{ "{\"subnet\":\"2001:db8::/16\",\"gateway\":\"2001::1\"}", 0, NULL, NULL, { NULL } },
	{ "{\"subnet\":\"2001::/16\",\"gateway\":\"2001::1\"}", UINT64_MAX, "2001::2", "2001:ffff::1", { "2001::", "2001::1" } },
	{ "{\"start\":\"2001:db8::ff\",\"end\":\"2001:db8::1:0\",\"prefix\":64,\"gateway\":\"2001:db8::1\"}", 65282,
	  "2001:db8::ff", "2001:db8::1:0", { "2001:db8::1:1", "2001:db8::1" } },
	{ "{\"subnet\":\"2001:db8::4/127\",\"gateway\":\"2001:db8::4\"}", 1, "2001:db8::5", "2001:db8::5",
	  { "2001:db8::4" } },
};

START_TEST(knows_what_a_pool_gives_and_how_much)
{
	struct addresses_taken none = { 0 };
	AUTO_JSON json_t *fields = json_array();
	AUTO_JSON json_t *first = json_array();
	struct ip_range r;
	struct ip ip;

	if (!good[_i].first) { /* host bits, an address of this host */
		ck_assert(!read_pool(good[_i].pool, &r, fields));
		return;
	}
	ck_assert_msg(read_pool(good[_i].pool, &r, fields), "%s: %s", good[_i].pool, json_str_or(fields, "0.text", ""));
	ck_assert_uint_eq(ip_range_size(&r), good[_i].size);
	ck_assert_uint_eq(addresses_free(&none, &r, first, 1), good[_i].size);
	ck_assert_str_eq(json_str_or(first, "0", ""), good[_i].first);
	ck_assert(ip_parse(good[_i].given, &ip) && ip_range_gives(&r, &ip));
	for (size_t i = 0; good[_i].not_given[i]; i++)
		ck_assert_msg(ip_parse(good[_i].not_given[i], &ip) && !ip_range_gives(&r, &ip), "%s",
			      good[_i].not_given[i]);
}
END_TEST

static const struct {
	const char *pool, *field, *text;
} bad[] = {
	{ "{}", "spec.pool", "start and end, or subnet" },
	{ "{\"subnet\":\"10.0.0.0/24\",\"start\":\"10.0.0.1\"}", "spec.pool", "not both" },
	{ "{\"subnet\":\"10.0.0.5/24\",\"gateway\":\"10.0.0.1\"}", "spec.pool.subnet", "its network is 10.0.0.0/24" },
	{ "{\"subnet\":\"10.0.0.0\",\"gateway\":\"10.0.0.1\"}", "spec.pool.subnet", "not a network" },
	{ "{\"subnet\":\"10.0.0.0/33\",\"gateway\":\"10.0.0.1\"}", "spec.pool.subnet", "not a network" },
	{ "{\"subnet\":\"10.0.0.0/24x\",\"gateway\":\"10.0.0.1\"}", "spec.pool.subnet", "not a network" },
	{ "{\"subnet\":\"10.0.0.0/24\",\"prefix\":25,\"gateway\":\"10.0.0.1\"}", "spec.pool.prefix", "1 to 24" },
	{ "{\"subnet\":\"127.0.0.0/8\",\"gateway\":\"127.0.0.1\"}", "spec.pool.subnet", "loopback" },
	{ "{\"subnet\":\"::ffff:10.0.0.0/120\",\"gateway\":\"10.0.0.1\"}", "spec.pool.subnet", "not a network" },
	{ "{\"start\":\"10.0.0.10\",\"prefix\":24,\"gateway\":\"10.0.0.1\"}", "spec.pool.end", "missing" },
	{ "{\"start\":\"10.0.0.10\",\"end\":\"10.0.0.20\",\"gateway\":\"10.0.0.1\"}", "spec.pool.prefix", "missing" },
	{ "{\"start\":\"10.0.0.10\",\"end\":\"10.0.0.20\",\"prefix\":33,\"gateway\":\"10.0.0.1\"}", "spec.pool.prefix", "1 to 32" },
	{ "{\"start\":\"10.0.0.10\",\"end\":\"10.0.0.20\",\"prefix\":-1,\"gateway\":\"10.0.0.1\"}", "spec.pool.prefix", "1 to 32" },
	{ "{\"start\":\"10.0.0.10\",\"end\":\"10.0.0.20\",\"prefix\":\"24\",\"gateway\":\"10.0.0.1\"}", "spec.pool.prefix", "whole" },
	{ "{\"start\":\"10.0.0.20\",\"end\":\"10.0.0.10\",\"prefix\":24,\"gateway\":\"10.0.0.1\"}", "spec.pool.end", "before start" },
	{ "{\"start\":\"10.0.0.10\",\"end\":\"10.0.1.10\",\"prefix\":24,\"gateway\":\"10.0.0.1\"}", "spec.pool.end", "not in the network" },
	{ "{\"start\":\"10.0.0.10\",\"end\":\"2001:db8::1\",\"prefix\":24,\"gateway\":\"10.0.0.1\"}", "spec.pool.end", "one family" },
	{ "{\"start\":\"10.0.0.010\",\"end\":\"10.0.0.20\",\"prefix\":24,\"gateway\":\"10.0.0.1\"}", "spec.pool.start", "not an IPv4" },
	{ "{\"start\":\"224.0.0.1\",\"end\":\"224.0.0.9\",\"prefix\":24,\"gateway\":\"224.0.0.10\"}", "spec.pool.start", "multicast" },
	{ "{\"start\":\"fe80::5\",\"end\":\"fe80::9\",\"prefix\":64,\"gateway\":\"fe80::1\"}", "spec.pool.start", "link-local" },
	{ "{\"subnet\":\"10.0.0.0/24\"}", "spec.pool.gateway", "missing" },
	{ "{\"subnet\":\"10.0.0.0/24\",\"gateway\":\"10.0.1.1\"}", "spec.pool.gateway", "10.0.0.0/24" },
	{ "{\"subnet\":\"10.0.0.0/24\",\"gateway\":\"10.0.0.255\"}", "spec.pool.gateway", "network's own" },
	{ "{\"subnet\":\"10.0.0.0/24\",\"gateway\":\"2001:db8::1\"}", "spec.pool.gateway", "not in the pool's network" },
	{ "{\"subnet\":\"10.0.0.0/24\",\"gateway\":\"10.0.0.1\",\"nameserver\":{\"addresses\":[\"dns.test\"]}}",
	  "spec.pool.nameserver.addresses", "not an address" },
	{ "{\"subnet\":\"10.0.0.0/24\",\"gateway\":\"10.0.0.1\",\"nameserver\":{\"search\":[\"a b\"]}}",
	  "spec.pool.nameserver.search", "not a domain" },
	{ "{\"start\":\"10.0.0.0\",\"end\":\"10.0.0.1\",\"prefix\":24,\"gateway\":\"10.0.0.1\"}", "spec.pool", "has no address" },
};

START_TEST(refuses_a_pool_and_says_what_is_wrong)
{
	AUTO_JSON json_t *fields = json_array();
	struct ip_range r;

	ck_assert_msg(!read_pool(bad[_i].pool, &r, fields), "%s", bad[_i].pool);
	ck_assert_str_eq(json_str_or(fields, "0.field", ""), bad[_i].field);
	ck_assert_msg(strstr(json_str_or(fields, "0.text", ""), bad[_i].text) != NULL, "%s",
		      json_str_or(fields, "0.text", ""));
}
END_TEST

static void taken_of(struct addresses_taken *t, const char *const *texts)
{
	struct ip ip;

	for (; *texts; texts++) {
		ck_assert(ip_parse(*texts, &ip));
		addresses_taken_add(t, &ip);
	}
}

START_TEST(gives_the_lowest_free_addresses_and_counts_the_others)
{
	static const char *const texts[] = { "10.0.0.12", "10.0.0.10", "10.0.0.10", "10.0.0.1", "9.9.9.9", "10.0.0.14",
					     "2001:db8::1", NULL };
	AUTO_JSON json_t *fields = json_array(), *out = json_array(), *all = json_array();
	struct addresses_taken t = { 0 };
	struct ip_range r;

	ck_assert(read_pool("{\"start\":\"10.0.0.10\",\"end\":\"10.0.0.16\",\"prefix\":24,\"gateway\":\"10.0.0.13\"}", &r, fields));
	taken_of(&t, texts);
	ck_assert_uint_eq(addresses_free(&t, &r, out, 2), 3);
	ck_assert_uint_eq(json_array_size(out), 2);
	ck_assert_str_eq(json_str_or(out, "0", ""), "10.0.0.11");
	ck_assert_str_eq(json_str_or(out, "1", ""), "10.0.0.15");
	ck_assert_uint_eq(addresses_free(&t, &r, all, 100), 3);
	ck_assert_uint_eq(json_array_size(all), 3);
	addresses_taken_free(&t);
}
END_TEST

START_TEST(ends_at_the_last_address_there_is)
{
	AUTO_JSON json_t *fields = json_array(), *out = json_array();
	struct addresses_taken none = { 0 };
	struct ip_range r;
	struct ip last;

	ck_assert(read_pool("{\"start\":\"3fff:ffff:ffff:ffff:ffff:ffff:ffff:fffe\","
			    "\"end\":\"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\",\"prefix\":64,\"gateway\":\"fe80::1\"}", &r, fields));
	ck_assert_uint_eq(addresses_free(&none, &r, out, 9), 2);
	ck_assert_uint_eq(json_array_size(out), 2);
	ck_assert(ip_parse("255.255.255.255", &last) && !ip_next(&last));
	ck_assert(ip_parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &last) && !ip_next(&last));
}
END_TEST

START_TEST(sees_two_pools_overlap)
{
	static const struct {
		const char *a, *b;
		bool overlap;
	} cases[] = {
		{ "{\"subnet\":\"10.0.0.0/24\",\"gateway\":\"10.0.0.1\"}",
		  "{\"start\":\"10.0.0.255\",\"end\":\"10.0.1.9\",\"prefix\":16,\"gateway\":\"10.0.0.1\"}", true },
		{ "{\"subnet\":\"10.0.0.0/24\",\"gateway\":\"10.0.0.1\"}",
		  "{\"start\":\"10.0.1.0\",\"end\":\"10.0.1.9\",\"prefix\":16,\"gateway\":\"10.0.0.1\"}", false },
		{ "{\"subnet\":\"10.0.0.0/24\",\"gateway\":\"10.0.0.1\"}", "{\"subnet\":\"2001:db8::/64\",\"gateway\":\"fe80::1\"}",
		  false },
		{ "{\"subnet\":\"2001:db8::/32\",\"gateway\":\"fe80::1\"}", "{\"subnet\":\"2001:db8:5::/64\",\"gateway\":\"fe80::1\"}",
		  true },
	};
	AUTO_JSON json_t *fields = json_array();
	struct ip_range a, b;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ck_assert(read_pool(cases[i].a, &a, fields) && read_pool(cases[i].b, &b, fields));
		ck_assert(ip_range_overlaps(&a, &b) == cases[i].overlap);
		ck_assert(ip_range_overlaps(&b, &a) == cases[i].overlap);
	}
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, knows_what_a_pool_gives_and_how_much, 0, ARRAY_LEN(good));
	tcase_add_loop_test(tc, refuses_a_pool_and_says_what_is_wrong, 0, ARRAY_LEN(bad));
	tcase_add_test(tc, gives_the_lowest_free_addresses_and_counts_the_others);
	tcase_add_test(tc, ends_at_the_last_address_there_is);
	tcase_add_test(tc, sees_two_pools_overlap);
}

int main(void)
{
	return unit_main("ip_range", add);
}
