/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/devices.h"

#include "core/attr.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a machine takes of its datastore. */

#define DISK(gib_kib, thin) "<VirtualDevice xsi:type=\"VirtualDisk\"><key>2000</key><backing>" thin "</backing><capacityInKB>" gib_kib \
			    "</capacityInKB></VirtualDevice>"
#define THIN "<thinProvisioned>true</thinProvisioned>"
#define THICK "<thinProvisioned>false</thinProvisioned>"
#define GIB20 "20971520"
#define GIB10 "10485760"

static const struct {
	const char *disks;
	json_int_t disk_gib, memory_mib, reserved_mib;
	const char *data;
	bool linked;
	int64_t committed_gib, gib;
} table[] = {
	{ DISK(GIB20, THICK), 0, 4096, 0, "[]", false, 20, 24 },
	{ DISK(GIB20, THICK), 40, 4096, 0, "[]", false, 20, 44 },
	{ DISK(GIB20, ""), 40, 4096, 0, "[]", false, 0, 44 },
	{ DISK(GIB20, THIN), 40, 4096, 0, "[]", false, 3, 7 },
	{ DISK(GIB20, THIN), 40, 4096, 0, "[]", false, 0, 44 },   /* not told */
	{ DISK(GIB20, THIN), 0, 4096, 0, "[]", false, 90, 24 },   /* its snapshots are not copied */
	{ DISK(GIB20, THICK) DISK(GIB10, THIN), 0, 4096, 0, "[]", false, 22, 26 },
	{ DISK(GIB20, THIN), 0, 4096, 1024, "[]", false, 3, 6 },
	{ DISK(GIB20, THICK), 0, 4096, 4096, "[]", true, 20, 0 },
	{ DISK(GIB20, THIN), 0, 1024, 0, "[{\"sizeGiB\":5,\"provisioningMode\":\"Thin\"},{\"sizeGiB\":7,\"provisioningMode\":\"Thick\"},"
	  "{\"sizeGiB\":2}]", false, 3, 13 },
};

START_TEST(a_machine_takes_what_its_disks_and_its_swap_file_take)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *data = json_loads(table[_i].data, 0, NULL);
	struct vs_options o = { .disk_gib = table[_i].disk_gib, .memory_mib = table[_i].memory_mib, .linked = table[_i].linked,
				.memory.reservation = table[_i].reserved_mib, .data_disks = data };
	struct vs_err err;
	struct xn *devices;

	ck_assert_int_gt(asprintf(&text, "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\" "
				  "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><Body>%s</Body></Envelope>",
				  table[_i].disks), 0);
	ck_assert_msg(xn_parse(text, strlen(text), &devices, &err) == 0, "%s", err.text);
	ck_assert_int_eq(disk_bytes(xn_child(devices, "Body"), &o, table[_i].committed_gib << 30) >> 30, table[_i].gib);
	xn_free(devices);
}
END_TEST

/* vsphere.c has these of the plugin. */
void vs_problem(json_t *list, const char *field, const char *remedy, const char *fmt, ...)
{
	ck_abort_msg("%s", field);
}

const char *vs_str(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key)) ?: "";
}

int main(void)
{
	TCase *tc = tcase_create("devices");
	Suite *s = suite_create("vsphere devices");
	SRunner *r;
	int failed;

	tcase_add_loop_test(tc, a_machine_takes_what_its_disks_and_its_swap_file_take, 0, ARRAY_LEN(table));
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
