/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/blocks.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>

#if defined(__GLIBC__) && !defined(PCG_SANITIZED)
#include <malloc.h>

#define SMALLEST 24 /* glibc's sizes: 24, 40, 56, ... */
#define STEP 16
#define SIZES 8
#define KEPT_MAX 4096 /* in all: some 200 KiB */

struct block {
	struct block *next;
};

static struct block *lists[SIZES];
static size_t kept;
static __thread bool mine;

static void *take(size_t size)
{
	size_t at = size <= SMALLEST ? 0 : (size - SMALLEST + STEP - 1) / STEP;
	struct block *b;

	if (!mine || at >= SIZES)
		return malloc(size);
	b = lists[at];
	if (!b)
		return malloc(SMALLEST + at * STEP);
	lists[at] = b->next;
	kept--;
	return b;
}

static void put(void *p)
{
	struct block *b = p;
	size_t size, at;

	if (!mine || !p || kept >= KEPT_MAX) {
		free(p);
		return;
	}
	size = malloc_usable_size(p);
	at = (size - SMALLEST) / STEP;
	if (size < SMALLEST || at >= SIZES) {
		free(p);
		return;
	}
	b->next = lists[at];
	lists[at] = b;
	kept++;
}

static void *crypto_take(size_t size, const char *file, int line)
{
	return take(size);
}

static void *crypto_change(void *p, size_t size, const char *file, int line)
{
	return realloc(p, size);
}

static void crypto_put(void *p, const char *file, int line)
{
	put(p);
}

void blocks_begin(void)
{
	mine = true;
	json_set_alloc_funcs(take, put);
	/* Refused once OpenSSL has taken its first block: then it stays with malloc. */
	CRYPTO_set_mem_functions(crypto_take, crypto_change, crypto_put);
}

void blocks_give_back(void)
{
	struct block *b;

	for (size_t i = 0; mine && i < SIZES; i++)
		while ((b = lists[i])) {
			lists[i] = b->next;
			kept--;
			free(b);
		}
}

size_t blocks_kept(void)
{
	return kept;
}
#else
void blocks_begin(void)
{
}

void blocks_give_back(void)
{
}

size_t blocks_kept(void)
{
	return 0;
}
#endif
