/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_TABLE_H
#define CORE_TABLE_H

/* A table for people: columns as wide as their widest cell, control characters shown as ?. */

#include <stdio.h>

struct table;

struct table *table_new(const char *const *columns, size_t n);
/* n cells, copied; NULL is shown as "-". */
void table_row(struct table *t, const char *const *cells);
void table_print(const struct table *t, FILE *out);
void table_free(struct table *t);
/* "3s", "12m", "5h", "2d": how long something has lasted. */
const char *table_age(long long ms, char out[16]);

#endif
