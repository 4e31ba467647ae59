/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_MAP_H
#define SIMCLOUD_MAP_H

/* Strings to pointers. The map owns the keys, not the values. */

#include <stddef.h>

struct map_entry {
	struct map_entry *next;
	void *value;
	char key[];
};

struct map {
	struct map_entry **slots;
	size_t n_slots, n;
};

void *map_get(const struct map *m, const char *key);
void map_put(struct map *m, const char *key, void *value); /* replaces */
void *map_remove(struct map *m, const char *key);          /* what was there, or NULL */
void map_free(struct map *m);
/* Visits every value; the visitor may remove the entry that it was called for, and nothing else. */
void map_each(struct map *m, void (*visit)(void *arg, const char *key, void *value), void *arg);

#endif
