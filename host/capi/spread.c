/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/spread.h"
#include "core/buf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define HASH_DIGITS 8

int64_t spread_size(int64_t size, size_t place, size_t places)
{
	int64_t n = (int64_t)places, least = size / n;

	assert(place < places);
	return least + ((int64_t)place < size % n);
}

/* FNV-1a: names are to differ, and nobody gains by two that do not. */
static uint32_t hash(const char *text)
{
	uint32_t h = 2166136261u;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 16777619u;
	return h;
}

/* suffix: what follows the cluster's name. The control plane's template has "cp", whatever its pool is called. */
static bool is_of_another(const json_t *spec, const char *pool, const char *suffix)
{
	json_t *other;
	size_t i;

	if (strcmp(suffix, "cp") == 0)
		return true;
	json_array_foreach (json_object_get(spec, "pools"), i, other)
		if (strcmp(json_str_or(other, "name", ""), pool) != 0 &&
		    strcmp(json_str_or(other, "name", ""), suffix) == 0)
			return true;
	return false;
}

void spread_name(const json_t *spec, const char *pool, size_t place, size_t places, char out[SPREAD_NAME_SIZE])
{
	const char *cluster = json_str_or(spec, "name", "");
	struct buf full;
	size_t keep = SPREAD_NAME_SIZE - 1 - HASH_DIGITS - 1;

	buf_init(&full, 1024);
	buf_addf(&full, "%s-%s", cluster, pool);
	if (places > 1)
		buf_addf(&full, "-%zu", place + 1);
	if (full.len < SPREAD_NAME_SIZE && !is_of_another(spec, pool, full.data + strlen(cluster) + 1)) {
		snprintf(out, SPREAD_NAME_SIZE, "%s", full.data);
	} else {
		keep = full.len < keep ? full.len : keep;
		while (keep && full.data[keep - 1] == '-')
			keep--;
		snprintf(out, SPREAD_NAME_SIZE, "%.*s-%0*" PRIx32, (int)keep, full.data, HASH_DIGITS, hash(full.data));
	}
	buf_free(&full);
}
