/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "core/table.h"
#include "core/utf8.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct table {
	size_t columns, rows, cap;
	char **cells; /* the first row is the heading */
};

static char *clean(const char *s)
{
	char *copy = strdup(s && *s ? s : "-");

	assert(copy);
	utf8_for_terminal(copy);
	return copy;
}

void table_row(struct table *t, const char *const *cells)
{
	if (t->rows == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 16;
		t->cells = realloc(t->cells, t->cap * t->columns * sizeof(*t->cells));
		assert(t->cells);
	}
	for (size_t i = 0; i < t->columns; i++)
		t->cells[t->rows * t->columns + i] = clean(cells[i]);
	t->rows++;
}

struct table *table_new(const char *const *columns, size_t n)
{
	struct table *t = calloc(1, sizeof(*t));

	assert(t);
	t->columns = n;
	table_row(t, columns);
	return t;
}

/* Columns on the screen: bytes that begin a character. */
static size_t width_of(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static size_t column_width(const struct table *t, size_t column)
{
	size_t max = 0;

	for (size_t r = 0; r < t->rows; r++) {
		size_t w = width_of(t->cells[r * t->columns + column]);

		max = w > max ? w : max;
	}
	return max;
}

void table_print(const struct table *t, FILE *out)
{
	for (size_t r = 0; r < t->rows; r++)
		for (size_t i = 0; i < t->columns; i++) {
			const char *cell = t->cells[r * t->columns + i];
			bool last = i + 1 == t->columns;
			size_t pad = last ? 0 : column_width(t, i) + 2 - width_of(cell);

			fprintf(out, "%s%*s%s", cell, (int)pad, "", last ? "\n" : "");
		}
}

void table_free(struct table *t)
{
	for (size_t i = 0; i < t->rows * t->columns; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}

const char *table_age(long long ms, char out[16])
{
	long long s = ms < 0 ? 0 : ms / 1000;

	if (s < 120)
		snprintf(out, 16, "%llds", s);
	else if (s < 7200)
		snprintf(out, 16, "%lldm", s / 60);
	else if (s < 172800)
		snprintf(out, 16, "%lldh", s / 3600);
	else
		snprintf(out, 16, "%lldd", s / 86400);
	return out;
}
