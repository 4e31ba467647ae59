/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/attr.h"
#include "core/conf.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct conf_setting table[] = {
	{ .name = "plane.url", .type = CONF_URL, .required = true, .doc = "" },
	{ .name = "plane.ca_file", .type = CONF_FILE, .doc = "" },
	{ .name = "limits.connections", .type = CONF_INT, .def = "4", .min = 1, .max = 64, .doc = "" },
	{ .name = "limits.fair", .type = CONF_BOOL, .def = "true", .doc = "" },
	{ .name = "proxy.no_proxy", .type = CONF_STR_LIST, .def = "a,b", .doc = "" },
	{ .name = "log_level", .type = CONF_STR, .def = "info", .doc = "" },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	AUTO_CLOSE int fd = memfd_create("fuzz.conf", MFD_CLOEXEC);
	struct buf report;
	struct conf *c;
	char path[64];
	int r;

	assert(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	buf_init(&report, 1 << 22);
	r = conf_load(path, table, ARRAY_LEN(table), &c, &report);
	assert((r == 0) == (c != NULL) && (r == 0) == (report.len == 0));
	if (c)
		assert(conf_str(c, "plane.url") && conf_int(c, "limits.connections") <= 64);
	conf_unref(c);
	buf_free(&report);
	return 0;
}
