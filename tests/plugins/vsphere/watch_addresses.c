/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/plugins/vsphere/fake_vc.h"

#include "plugins/vsphere/addresses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which of the addresses that a guest reports are a machine's. */

/* They come in different updates, each with what has changed alone. */
START_TEST(puts_addresses_together_from_what_changes)
{
	static const char *const updates[] = {
		UPDATE("1", "false", OBJECT("VirtualMachine", "vm-1", CHANGE("runtime.powerState", "<val>poweredOn</val>")
					    CHANGE("guest.ipAddress", "<val>172.17.0.1</val>"))),
		UPDATE("2", "false",
		       OBJECT("VirtualMachine", "vm-1",
			      CHANGE("guest.net",
				     "<val xsi:type=\"ArrayOfGuestNicInfo\"><GuestNicInfo><ipAddress>10.1.2.3</ipAddress><ipAddress>fe80::1"
				     "</ipAddress><ipAddress>10.1.2.4</ipAddress><deviceConfigId>4000</deviceConfigId></GuestNicInfo>"
				     "<GuestNicInfo><ipAddress>172.17.0.1</ipAddress><deviceConfigId>-1</deviceConfigId></GuestNicInfo></val>"))),
		UPDATE("3", "false", OBJECT("VirtualMachine", "vm-1", CHANGE("guest.ipAddress", "<val>10.1.2.4</val>"))),
		NULL,
	};
	struct track t;

	track_set_vm(end.v, "m1", "u1", &fake_vm);
	fake_watch(updates);
	fake_got(&t);
	ck_assert_uint_eq(json_array_size(t.addresses), 2);
	ck_assert_str_eq(json_string_value(json_array_get(t.addresses, 0)), "10.1.2.4");
	ck_assert_str_eq(json_string_value(json_array_get(t.addresses, 1)), "10.1.2.3");
	track_copy_free(&t);
}
END_TEST

static json_t *net_of(const char *nics)
{
	AUTO_FREE char *text = NULL;
	struct vs_err err;
	struct xn *n;
	json_t *list;

	ck_assert_int_gt(asprintf(&text, HEAD "<val>%s</val>" TAIL, nics), 0);
	ck_assert_msg(xn_parse(text, strlen(text), &n, &err) == 0, "%s", err.text);
	list = addresses_of_net(xn_at(n, "Body", "val"));
	xn_free(n);
	return list;
}

START_TEST(takes_addresses_that_others_reach_alone)
{
	static const struct { const char *nics, *expected; } table[] = {
		{ "", "" },
		{ "<n><ipAddress>10.0.0.1</ipAddress></n>", "10.0.0.1" },
		{ "<n><ipAddress>127.0.0.1</ipAddress><ipAddress>169.254.3.4</ipAddress><ipAddress>0.0.0.0</ipAddress><ipAddress>"
		  "224.0.0.5</ipAddress><ipAddress>255.255.255.255</ipAddress><ipAddress>10.0.0.1</ipAddress></n>", "10.0.0.1" },
		{ "<n><ipAddress>::1</ipAddress><ipAddress>::</ipAddress><ipAddress>fe80::250:56ff:fe00:1</ipAddress><ipAddress>febf::1"
		  "</ipAddress><ipAddress>ff02::1</ipAddress><ipAddress>fec0::1</ipAddress><ipAddress>2001:db8::1</ipAddress></n>",
		  "fec0::1 2001:db8::1" },
		{ "<n><ipAddress>2001:db8::1</ipAddress><ipAddress>2001:DB8:0::1</ipAddress></n>", "2001:db8::1" },
		{ "<n><ipAddress>no address</ipAddress><ipAddress/></n>", "" },
		{ "<n><ipAddress>10.244.0.1</ipAddress><deviceConfigId>-1</deviceConfigId></n><n><ipAddress>10.0.0.1</ipAddress>"
		  "<deviceConfigId>4000</deviceConfigId></n>", "10.0.0.1" },
		{ "<n><ipAddress>10.0.0.1</ipAddress><ipAddress>10.0.0.2</ipAddress><ipConfig><ipAddress><ipAddress>10.0.0.1</ipAddress>"
		  "<state>duplicate</state></ipAddress><ipAddress><ipAddress>10.0.0.2</ipAddress><state>preferred</state></ipAddress>"
		  "</ipConfig></n>", "10.0.0.2" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		AUTO_JSON json_t *list = net_of(table[i].nics);
		char text[256] = "";
		size_t k;
		json_t *a;

		json_array_foreach(list, k, a)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", k ? " " : "", json_string_value(a));
		ck_assert_str_eq(text, table[i].expected);
	}
}
END_TEST

static void check_first(const char *cluster, const char *pool, const char *expected)
{
	AUTO_JSON json_t *c = json_loads(cluster, 0, NULL), *p = json_loads(pool, 0, NULL);
	AUTO_JSON json_t *all = json_loads("[\"10.1.0.1\",\"10.2.0.1\",\"10.9.0.1\",\"2001:db8::5\",\"2001:db8::0:9\"]", 0, NULL);
	AUTO_JSON json_t *list = addresses_for(end.v, c, p, all);
	AUTO_FREE char *text = json_dumps(list, JSON_COMPACT);

	ck_assert_str_eq(text, expected);
}

START_TEST(prefers_a_network_and_leaves_out_the_virtual_address)
{
	static const char none[] = "{\"spec\":{\"controlPlaneEndpoint\":{\"host\":\"api.test\"}}}";

	check_first(none, "{}", "[\"10.9.0.1\",\"10.1.0.1\",\"10.2.0.1\",\"2001:db8::5\",\"2001:db8::0:9\"]");
	check_first("{\"spec\":{\"controlPlaneEndpoint\":{\"host\":\"10.9.0.1\"}}}", "{}",
		    "[\"10.1.0.1\",\"10.2.0.1\",\"2001:db8::5\",\"2001:db8::0:9\"]");
	check_first("{\"spec\":{\"controlPlaneEndpoint\":{\"host\":\"2001:db8:0::9\"},\"cloudConfig\":{\"placement\":{\"network\":"
		    "{\"preferredAPIServerCidr\":\"10.2.0.0/24\"}}}}}", "{}", "[\"10.2.0.1\",\"10.1.0.1\",\"10.9.0.1\",\"2001:db8::5\"]");
	check_first(none, "{\"cloudConfig\":{\"placements\":[{\"network\":{\"preferredAPIServerCidr\":\"2001:db8::/64, 10.1.0.0/16\"}}]}}",
		    "[\"10.1.0.1\",\"2001:db8::5\",\"2001:db8::0:9\",\"10.2.0.1\",\"10.9.0.1\"]");
	ck_assert(!address_within("10.1.0.1", "10.1.0.1"));
	ck_assert(!address_within("10.1.0.1", "10.1.0.0/33"));
	ck_assert(!address_within("10.1.0.1", "2001:db8::/0"));
	ck_assert(address_within("10.1.0.1", "0.0.0.0/0"));
}
END_TEST

void address_cases(TCase *tc)
{
	tcase_add_test(tc, puts_addresses_together_from_what_changes);
	tcase_add_test(tc, takes_addresses_that_others_reach_alone);
	tcase_add_test(tc, prefers_a_network_and_leaves_out_the_virtual_address);
}
