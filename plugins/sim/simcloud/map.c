/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/map.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static size_t map_hash(const char *key)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; *key; key++)
		h = (h ^ (unsigned char)*key) * UINT64_C(1099511628211);
	return (size_t)(h ^ (h >> 32));
}

static struct map_entry **map_find(const struct map *m, const char *key)
{
	struct map_entry **e = &m->slots[map_hash(key) & (m->n_slots - 1)];

	while (*e && strcmp((*e)->key, key) != 0)
		e = &(*e)->next;
	return e;
}

static void map_grow(struct map *m)
{
	struct map old = *m;

	m->n_slots = old.n_slots ? old.n_slots * 2 : 64;
	m->slots = calloc(m->n_slots, sizeof(*m->slots));
	assert(m->slots);
	for (size_t i = 0; i < old.n_slots; i++) {
		struct map_entry *e = old.slots[i];

		while (e) {
			struct map_entry *next = e->next;
			size_t slot = map_hash(e->key) & (m->n_slots - 1);

			e->next = m->slots[slot];
			m->slots[slot] = e;
			e = next;
		}
	}
	free(old.slots);
}

void *map_get(const struct map *m, const char *key)
{
	struct map_entry *e = m->n_slots ? *map_find(m, key) : NULL;

	return e ? e->value : NULL;
}

void map_put(struct map *m, const char *key, void *value)
{
	struct map_entry **at, *e;
	size_t len = strlen(key) + 1;

	if (m->n >= m->n_slots)
		map_grow(m);
	at = map_find(m, key);
	if (*at) {
		(*at)->value = value;
		return;
	}
	e = malloc(sizeof(*e) + len);
	assert(e);
	memcpy(e->key, key, len);
	e->value = value;
	e->next = NULL;
	*at = e;
	m->n++;
}

void *map_remove(struct map *m, const char *key)
{
	struct map_entry **at, *e;
	void *value;

	if (!m->n_slots)
		return NULL;
	at = map_find(m, key);
	e = *at;
	if (!e)
		return NULL;
	value = e->value;
	*at = e->next;
	free(e);
	m->n--;
	return value;
}

void map_free(struct map *m)
{
	for (size_t i = 0; i < m->n_slots; i++) {
		struct map_entry *e = m->slots[i];

		while (e) {
			struct map_entry *next = e->next;

			free(e);
			e = next;
		}
	}
	free(m->slots);
	memset(m, 0, sizeof(*m));
}

void map_each(struct map *m, void (*visit)(void *arg, const char *key, void *value), void *arg)
{
	for (size_t i = 0; i < m->n_slots; i++) {
		struct map_entry *e = m->slots[i];

		while (e) {
			struct map_entry *next = e->next;

			visit(arg, e->key, e->value);
			e = next;
		}
	}
}
