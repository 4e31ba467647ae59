/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/objects_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The names that plain_name() gave, written so that others find them. */

json_t *export_path(const char *path)
{
	char *text = malloc(3 * strlen(path) + 1), *to = text;
	json_t *out;

	assert(text);
	for (; *path; path++) {
		if (*path == '\\' || (*path == '%' && strncasecmp(path, "%2f", 3) != 0)) {
			to = stpcpy(to, *path == '%' ? "%25" : "%5c");
			continue;
		}
		if (strchr("*?[", *path))
			*to++ = '\\';
		*to++ = *path;
	}
	*to = 0;
	out = json_string(text);
	free(text);
	return out;
}

void export_path_text(json_t *object, const char *key, const char *path)
{
	if (*path)
		json_object_set_new(object, key, export_path(path));
}

/* networkName may be a managed object reference, as the controllers' definitions say. */
json_t *export_network(const struct spot_nic *nic)
{
	return nic->twin ? json_sprintf("%s:%s", nic->network.type, nic->network.value) : export_path(nic->path);
}

json_t *export_netdevices(const struct spot *spot)
{
	json_t *devices = clone_netdevices(spot), *device;
	size_t i;

	json_array_foreach(devices, i, device)
		json_object_set_new(device, "networkName", export_network(&spot->nics[i]));
	return devices;
}
