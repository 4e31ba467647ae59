/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

/*
 * Runs a fuzz target without a fuzzer, so that make check does it: every seed of the folder
 * tests/fuzz/corpus/FUZZ_CORPUS as it is, and changed in the same ways in each run. With
 * FUZZ_SECONDS in the environment it goes on for so long, from a start that differs; what was
 * last tried is in the file that FUZZ_LAST names.
 */

#include <assert.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEED_MAX 65536
#define CHANGES 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint32_t state = 88172645u;
static const char *last_path;

static uint32_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

/* The copy has the exact size, so that a sanitizer sees each byte read past its end. */
static void run(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert(copy);
	if (len)
		memcpy(copy, data, len);
	if (last_path) {
		FILE *f = fopen(last_path, "w");

		assert(f && fwrite(data, 1, len, f) == len);
		fclose(f);
	}
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static size_t change(uint8_t *data, size_t len)
{
	size_t at = len ? next_random() % len : 0, n;

	switch (next_random() % 5) {
	case 0:
		if (len)
			data[at] = (uint8_t)next_random();
		break;
	case 1:
		if (len)
			data[at] ^= (uint8_t)(1u << next_random() % 8);
		break;
	case 2:
		return at;
	case 3:
		n = len - at < 16 ? len - at : 16;
		if (len + n <= SEED_MAX) {
			memmove(data + at + n, data + at, len - at);
			return len + n;
		}
		break;
	default:
		n = next_random() % 9;
		if (n > len - at)
			n = len - at;
		memmove(data + at, data + at + n, len - at - n);
		return len - n;
	}
	return len;
}

static void run_seed(const uint8_t *seed, size_t len)
{
	static uint8_t data[SEED_MAX];

	run(seed, len);
	for (int i = 0; i < CHANGES; i++) {
		size_t n = len;

		if (len)
			memcpy(data, seed, len);
		for (uint32_t k = 1 + next_random() % 4; k > 0; k--)
			n = change(data, n);
		run(data, n);
	}
}

/* How many seeds the folder has; each was run. */
static int run_folder(const char *path)
{
	static uint8_t seed[SEED_MAX];
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort), done = 0;

	for (int i = 0; i < n; i++) {
		char file[1400];
		FILE *f;

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		f = names[i]->d_name[0] == '.' ? NULL : fopen(file, "r");
		free(names[i]);
		if (!f)
			continue;
		run_seed(seed, fread(seed, 1, sizeof(seed), f));
		fclose(f);
		done++;
	}
	if (n >= 0)
		free(names);
	return done;
}

int main(int argc, char **argv)
{
	const char *src = getenv("srcdir"), *seconds = getenv("FUZZ_SECONDS");
	time_t end = time(NULL) + (seconds ? atoi(seconds) : 0);
	char path[1024];
	int done;

	if (argc > 1)
		snprintf(path, sizeof(path), "%s", argv[1]);
	else
		snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", src ? src : ".", FUZZ_CORPUS);
	if (seconds)
		state ^= (uint32_t)end * 2654435761u;
	last_path = getenv("FUZZ_LAST");
	do
		done = run_folder(path);
	while (done && time(NULL) < end);
	printf("%d seeds of %s\n", done, path);
	return done ? 0 : 1;
}
