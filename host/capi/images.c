/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/images.h"

#include <string.h>

static const char *const lists[] = {"containers", "initContainers"};

static const json_t *containers(const json_t *workload, size_t which)
{
	return json_object_get(json_at(workload, "spec.template.spec"), lists[which]);
}

static void append_once(json_t *list, const char *image)
{
	size_t i;
	json_t *known;

	json_array_foreach (list, i, known)
		if (strcmp(json_string_value(known), image) == 0)
			return;
	json_array_append_new(list, json_string(image));
}

void images_list(const json_t *workload, json_t *list)
{
	for (size_t which = 0; which < ARRAY_LEN(lists); which++) {
		size_t i;
		json_t *c;

		json_array_foreach (containers(workload, which), i, c)
			if (json_str(c, "image"))
				append_once(list, json_str(c, "image"));
	}
}

static json_t *moved(const char *image, const char *repository)
{
	const char *slash = strrchr(image, '/');
	size_t n = strlen(repository);

	while (n && repository[n - 1] == '/')
		n--;
	return json_sprintf("%.*s/%s", (int)n, repository, slash ? slash + 1 : image);
}

void images_move(json_t *workload, const char *repository)
{
	for (size_t which = 0; which < ARRAY_LEN(lists); which++) {
		size_t i;
		json_t *c;

		json_array_foreach (containers(workload, which), i, c)
			if (json_str(c, "image"))
				json_object_set_new(c, "image",
						    moved(json_str(c, "image"), repository));
	}
}
