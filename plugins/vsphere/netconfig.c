/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/netconfig.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * guestinfo.metadata: instance and network configuration, version 2, for cloud-init's VMware data source.
 *
 * The vSphere controllers write the text anew when it differs by a byte, so it is what those of 1.17 write: its line
 * breaks, its order, and accept-ra, which they have had since 1.12 (older ones leave dhcp4 and dhcp6 out of a
 * device with neither, and write the text anew once). They look whether to wait for an address at addresses
 * without a prefix alone, and these are refused: a static address is never waited for.
 */

static void line(FILE *f, int depth, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void line(FILE *f, int depth, const char *fmt, ...)
{
	va_list ap;

	fprintf(f, "\n%*s", 2 * depth, "");
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
}

static void texts(FILE *f, int depth, const char *key, const json_t *list)
{
	size_t i;
	json_t *one;

	if (!json_array_size(list))
		return;
	line(f, depth, "%s:", key);
	json_array_foreach(list, i, one)
		line(f, depth, "- \"%s\"", json_string_value(one));
}

static void text(FILE *f, int depth, const char *key, const json_t *device)
{
	if (*vs_str(device, key))
		line(f, depth, "%s: \"%s\"", key, vs_str(device, key));
}

static void routes(FILE *f, const json_t *list)
{
	size_t i;
	json_t *one;

	if (!json_array_size(list))
		return;
	line(f, 3, "routes:");
	json_array_foreach(list, i, one) {
		line(f, 3, "- to: \"%s\"", vs_str(one, "to"));
		line(f, 4, "via: \"%s\"", vs_str(one, "via"));
		line(f, 4, "metric: %" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(one, "metric")));
	}
}

static const char *yes(const json_t *device, const char *key)
{
	return json_is_true(json_object_get(device, key)) ? "true" : "false";
}

static void device_text(FILE *f, size_t at, const json_t *device)
{
	const json_t *mtu = json_object_get(device, "mtu"), *servers = json_object_get(device, "nameservers");
	const json_t *search = json_object_get(device, "searchDomains");

	line(f, 2, "id%zu:", at);
	line(f, 3, "match:");
	line(f, 4, "macaddress: \"%s\"", vs_str(device, "macAddr"));
	line(f, 3, "set-name: \"eth%zu\"", at);
	line(f, 3, "wakeonlan: true");
	line(f, 3, "dhcp4: %s", yes(device, "dhcp4"));
	line(f, 3, "dhcp6: %s", yes(device, "dhcp6"));
	line(f, 3, "accept-ra: %s", yes(device, "dhcp6"));
	texts(f, 3, "addresses", json_object_get(device, "ipAddrs"));
	text(f, 3, "gateway4", device);
	text(f, 3, "gateway6", device);
	if (json_integer_value(mtu))
		line(f, 3, "mtu: %" JSON_INTEGER_FORMAT, json_integer_value(mtu));
	routes(f, json_object_get(device, "routes"));
	if (!json_array_size(servers) && !json_array_size(search))
		return;
	line(f, 3, "nameservers:");
	texts(f, 4, "addresses", servers);
	texts(f, 4, "search", search);
}

static const char *any(const json_t *devices, const char *key)
{
	size_t i;
	json_t *one;

	json_array_foreach(devices, i, one)
		if (json_is_true(json_object_get(one, key)))
			return "true";
	return "false";
}

char *netconfig_metadata(const char *name, const json_t *devices)
{
	char *out = NULL, *coded;
	size_t len = 0, i;
	FILE *f = open_memstream(&out, &len);
	json_t *one;

	assert(f);
	line(f, 0, "instance-id: \"%s\"", name);
	line(f, 0, "local-hostname: \"%s\"", name);
	line(f, 0, "wait-on-network:");
	line(f, 1, "ipv4: %s", any(devices, "dhcp4"));
	line(f, 1, "ipv6: %s", any(devices, "dhcp6"));
	line(f, 0, "network:");
	line(f, 1, "version: 2");
	line(f, 1, "ethernets:");
	json_array_foreach(devices, i, one)
		device_text(f, i, one);
	fputc('\n', f);
	fclose(f);
	coded = vs_base64(out, len);
	free(out);
	return coded;
}
