/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/attr.h"
#include "core/buf.h"
#include "core/id.h"
#include "core/json.h"
#include "core/secret.h"
#include "tests/core/unit.h"

#include <inttypes.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define PATTERN_LEN 24

/* Kept only as its complement, so that the search finds what others kept. */
static uint8_t inverse[PATTERN_LEN];

static void new_pattern(char out[PATTERN_LEN + 1])
{
	id_hex24(out);
	for (int i = 0; i < PATTERN_LEN; i++)
		inverse[i] = (uint8_t)~out[i];
}

static size_t count_in(const uint8_t *data, size_t len)
{
	size_t found = 0;

	for (size_t i = 0; i + PATTERN_LEN <= len; i++) {
		size_t k = 0;

		while (k < PATTERN_LEN && (data[i + k] ^ inverse[k]) == 0xff)
			k++;
		found += k == PATTERN_LEN;
	}
	return found;
}

/* How often the pattern stands in the writable memory of this process. */
static size_t count_in_memory(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	int mem = open("/proc/self/mem", O_RDONLY);
	static uint8_t piece[1 << 16];
	char line[512], mode[5];
	uint64_t from, to;
	size_t found = 0;

	/* Check's own assertions allocate: they would take the place of what was freed. */
	if (!maps || mem < 0)
		abort();
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, mode) != 3 || mode[0] != 'r' ||
		    mode[1] != 'w' || to - from > (64u << 20))
			continue;
		for (uint64_t at = from; at < to; at += sizeof(piece) - PATTERN_LEN) {
			size_t want = to - at < sizeof(piece) ? (size_t)(to - at) : sizeof(piece);
			ssize_t n;

			/* The piece itself lies in memory that is searched. */
			if ((uintptr_t)piece < at + want && (uintptr_t)piece + sizeof(piece) > at)
				continue;
			n = pread(mem, piece, want, (off_t)at);
			if (n > 0)
				found += count_in(piece, (size_t)n);
			secret_wipe(piece, sizeof(piece));
		}
	}
	fclose(maps);
	close(mem);
	return found;
}

START_TEST(a_secret_is_gone_with_its_last_reference)
{
	char text[PATTERN_LEN + 1];
	struct secret *s, *second;

	new_pattern(text);
	s = secret_new(text, PATTERN_LEN);
	secret_wipe(text, sizeof(text));
	second = secret_ref(s);
	ck_assert_uint_ge(count_in_memory(), 1);
	secret_unref(s);
	ck_assert_uint_ge(count_in_memory(), 1);
	secret_unref(second);
	ck_assert_uint_eq(count_in_memory(), 0);
}
END_TEST

START_TEST(a_secret_buffer_leaves_nothing_behind_when_it_grows_and_ends)
{
	char text[PATTERN_LEN + 1];
	struct buf b;

	buf_init_secret(&b, 1 << 20);
	new_pattern(text);
	buf_add(&b, text, PATTERN_LEN);
	secret_wipe(text, sizeof(text));
	for (int i = 0; i < 5000; i++)
		buf_adds(&b, "filling");
	ck_assert_uint_eq(count_in_memory(), 1);
	buf_free(&b);
	ck_assert_uint_eq(count_in_memory(), 0);
}
END_TEST

START_TEST(a_wiped_document_leaves_no_text_behind)
{
	/* The allocator writes over the first bytes of what is freed. */
	char text[64 + PATTERN_LEN + 1];
	json_t *j = json_object();
	char *secret;
	size_t len;

	memset(text, '-', 64);
	new_pattern(text + 64);
	json_put(j, "deep.list", json_pack("[s]", text));
	secret_wipe(text, sizeof(text));
	ck_assert_uint_ge(count_in_memory(), 1);
	secret = json_text_secret(j, &len);
	secret_wipe(secret, len);
	free(secret);
	json_wipe(j);
	ck_assert_uint_eq(count_in_memory(), 0);
}
END_TEST

START_TEST(an_opened_record_is_gone_after_use)
{
	AUTO_FREE uint8_t *sealed = NULL;
	struct secret *key = secret_new("0123456789abcdef0123456789abcdef", 32), *out;
	char text[PATTERN_LEN + 1];
	struct pcg_error err;
	size_t len;

	new_pattern(text);
	ck_assert_int_eq(secret_seal(key, "a", text, PATTERN_LEN, &sealed, &len, &err), 0);
	secret_wipe(text, sizeof(text));
	ck_assert_uint_eq(count_in_memory(), 0);
	ck_assert_int_eq(secret_open(key, "a", sealed, len, &out, &err), 0);
	ck_assert_uint_ge(count_in_memory(), 1);
	secret_unref(out);
	ck_assert_uint_eq(count_in_memory(), 0);
	secret_unref(key);
}
END_TEST

START_TEST(equality_looks_at_all_bytes)
{
	struct secret *a = secret_new("ab\0c", 4), *b = secret_new("ab\0c", 4), *c = secret_new("ab\0d", 4);
	struct secret *none = secret_new_str(NULL), *text = secret_new_str("ab");

	ck_assert(secret_equal(a, b));
	ck_assert(!secret_equal(a, c));
	ck_assert(!secret_equal(a, text));
	ck_assert_uint_eq(secret_len(none), 0);
	ck_assert_str_eq(secret_data(none), "");
	ck_assert_str_eq(secret_data(text), "ab");
	secret_unref(a);
	secret_unref(b);
	secret_unref(c);
	secret_unref(none);
	secret_unref(text);
	secret_unref(NULL);
}
END_TEST

START_TEST(a_sealed_record_opens_only_unchanged_with_its_key_and_name)
{
	struct secret *key = secret_new("0123456789abcdef0123456789abcdef", 32);
	struct secret *other = secret_new("0123456789abcdef0123456789abcdeF", 32), *out;
	struct pcg_error err;
	uint8_t *sealed, *again;
	size_t len, again_len;

	ck_assert_int_eq(secret_seal(key, "cluster/1/3", "top secret", 10, &sealed, &len, &err), 0);
	ck_assert_uint_eq(len, 12 + 10 + 16);
	ck_assert_int_eq(secret_seal(key, "cluster/1/3", "top secret", 10, &again, &again_len, &err), 0);
	ck_assert(memcmp(sealed, again, len) != 0);
	ck_assert_int_eq(secret_open(key, "cluster/1/3", sealed, len, &out, &err), 0);
	ck_assert_str_eq(secret_data(out), "top secret");
	secret_unref(out);

	ck_assert_int_eq(secret_open(key, "cluster/1/4", sealed, len, &out, &err), PCG_EPERMANENT);
	ck_assert_ptr_null(out);
	ck_assert_ptr_nonnull(strstr(err.text, "cluster/1/4"));
	ck_assert_str_ne(err.remedy, "");
	ck_assert_int_eq(secret_open(other, "cluster/1/3", sealed, len, &out, &err), PCG_EPERMANENT);
	for (size_t i = 0; i < len; i++) {
		sealed[i] ^= 1;
		ck_assert_int_lt(secret_open(key, "cluster/1/3", sealed, len, &out, &err), 0);
		sealed[i] ^= 1;
		ck_assert_int_lt(secret_open(key, "cluster/1/3", sealed, i, &out, &err), 0);
	}
	free(sealed);
	free(again);
	secret_unref(key);
	secret_unref(other);
}
END_TEST

START_TEST(sealing_nothing_works_and_a_short_key_is_a_bug)
{
	struct secret *key = secret_new("0123456789abcdef0123456789abcdef", 32), *out;
	struct secret *bad = secret_new_str("short");
	struct pcg_error err;
	uint8_t *sealed;
	size_t len;

	ck_assert_int_eq(secret_seal(key, "", NULL, 0, &sealed, &len, &err), 0);
	ck_assert_int_eq(secret_open(key, "", sealed, len, &out, &err), 0);
	ck_assert_uint_eq(secret_len(out), 0);
	secret_unref(out);
	ck_assert_int_eq(secret_open(bad, "", sealed, len, &out, &err), PCG_EBUG);
	free(sealed);
	ck_assert_int_eq(secret_seal(bad, "", "x", 1, &sealed, &len, &err), PCG_EBUG);
	secret_unref(key);
	secret_unref(bad);
}
END_TEST

START_TEST(a_key_file_is_made_once_for_its_owner_alone)
{
	struct secret *a, *b;
	struct pcg_error err;
	struct stat st;
	char dir[256];

	unsetenv("CREDENTIALS_DIRECTORY");
	unit_dir_make(dir);
	ck_assert_int_eq(secret_key_load("store.key", unit_path(dir, "key"), false, &a, &err), PCG_ENOTFOUND);
	ck_assert_int_eq(secret_key_load("store.key", unit_path(dir, "key"), true, &a, &err), 0);
	ck_assert_int_eq(secret_key_load("store.key", unit_path(dir, "key"), true, &b, &err), 0);
	ck_assert(secret_equal(a, b));
	ck_assert_uint_eq(secret_len(a), 32);
	ck_assert_int_eq(stat(unit_path(dir, "key"), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	secret_unref(a);
	secret_unref(b);
	unit_dir_remove(dir);
}
END_TEST

START_TEST(a_credential_of_systemd_comes_before_the_file)
{
	struct secret *key;
	struct pcg_error err;
	char dir[256];

	unit_dir_make(dir);
	setenv("CREDENTIALS_DIRECTORY", dir, 1);
	unit_write(unit_path(dir, "store.key"), "credential-credential-credential", 32);
	ck_assert_int_eq(secret_key_load("store.key", unit_path(dir, "key"), true, &key, &err), 0);
	ck_assert_int_eq(memcmp(secret_data(key), "credential-", 11), 0);
	ck_assert_int_ne(access(unit_path(dir, "key"), F_OK), 0);
	secret_unref(key);
	unit_dir_remove(dir);
}
END_TEST

START_TEST(a_key_file_that_is_wrong_is_refused)
{
	static const struct {
		mode_t mode;
		size_t len;
		const char *says;
	} rows[] = {
		{ 0640, 32, "lets others" }, { 0604, 32, "lets others" }, { 0600, 31, "31 bytes" },
		{ 0600, 33, "more than 32" }, { 0600, 0, "0 bytes" },
		{ 0600, 32, "belongs to user 65534" }, /* the last: only root can make it */
	};
	struct secret *key;
	struct pcg_error err;
	char dir[256];

	unsetenv("CREDENTIALS_DIRECTORY");
	if (strstr(rows[_i].says, "belongs") && geteuid() != 0)
		return;
	unit_dir_make(dir);
	unit_write(unit_path(dir, "key"), "0123456789012345678901234567890123456789", rows[_i].len);
	if (strstr(rows[_i].says, "belongs"))
		ck_assert_int_eq(chown(unit_path(dir, "key"), 65534, 65534), 0);
	chmod(unit_path(dir, "key"), rows[_i].mode);
	ck_assert_int_eq(secret_key_load(NULL, unit_path(dir, "key"), true, &key, &err), PCG_EPERMANENT);
	ck_assert_msg(strstr(err.text, rows[_i].says) != NULL, "%s", err.text);
	ck_assert_str_ne(err.remedy, "");
	ck_assert_int_eq(secret_key_load(NULL, dir, true, &key, &err), PCG_EPERMANENT);
	unit_dir_remove(dir);
}
END_TEST

START_TEST(core_dumps_are_off)
{
	struct rlimit limit;

	secret_no_core();
	ck_assert_int_eq(getrlimit(RLIMIT_CORE, &limit), 0);
	ck_assert_uint_eq(limit.rlim_max, 0);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_secret_is_gone_with_its_last_reference);
	tcase_add_test(tc, a_secret_buffer_leaves_nothing_behind_when_it_grows_and_ends);
	tcase_add_test(tc, a_wiped_document_leaves_no_text_behind);
	tcase_add_test(tc, an_opened_record_is_gone_after_use);
	tcase_add_test(tc, equality_looks_at_all_bytes);
	tcase_add_test(tc, a_sealed_record_opens_only_unchanged_with_its_key_and_name);
	tcase_add_test(tc, sealing_nothing_works_and_a_short_key_is_a_bug);
	tcase_add_test(tc, a_key_file_is_made_once_for_its_owner_alone);
	tcase_add_test(tc, a_credential_of_systemd_comes_before_the_file);
	tcase_add_loop_test(tc, a_key_file_that_is_wrong_is_refused, 0, 6);
	tcase_add_test(tc, core_dumps_are_off);
}

int main(int argc, char **argv)
{
	/* The dynamic linker, where it looks a symbol up at its first call, saves vector registers on the stack,
	 * with pieces of the text that was copied last. */
	if (!getenv("LD_BIND_NOW")) {
		setenv("LD_BIND_NOW", "1", 1);
		execv("/proc/self/exe", argv);
	}
	return unit_main("core/secret", add);
}
