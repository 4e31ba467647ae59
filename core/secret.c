/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/secret.h"
#include "core/attr.h"
#include "core/id.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAGIC 0x73656372u
#define KEY_LEN 32
#define NONCE_LEN 12
#define TAG_LEN 16
#define SEALED_MAX ((size_t)1 << 30) /* EVP counts in int */

struct secret {
	uint32_t magic;
	atomic_uint refs;
	size_t len;
	char data[];
};

void secret_wipe(void *p, size_t len)
{
	if (p && len)
		OPENSSL_cleanse(p, len);
}

static struct secret *secret_alloc(size_t len)
{
	struct secret *s;

	assert(len < SIZE_MAX / 2);
	s = calloc(1, sizeof(*s) + len + 1);
	assert(s);
	s->magic = SECRET_MAGIC;
	atomic_init(&s->refs, 1);
	s->len = len;
	return s;
}

struct secret *secret_new(const void *data, size_t len)
{
	struct secret *s = secret_alloc(len);

	if (len)
		memcpy(s->data, data, len);
	return s;
}

struct secret *secret_new_str(const char *s)
{
	return secret_new(s, s ? strlen(s) : 0);
}

struct secret *secret_ref(struct secret *s)
{
	if (s) {
		assert(s->magic == SECRET_MAGIC);
		atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	}
	return s;
}

void secret_unref(struct secret *s)
{
	if (!s)
		return;
	assert(s->magic == SECRET_MAGIC);
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	secret_wipe(s, sizeof(*s) + s->len);
	free(s);
}

const char *secret_data(const struct secret *s)
{
	assert(s->magic == SECRET_MAGIC);
	return s->data;
}

size_t secret_len(const struct secret *s)
{
	assert(s->magic == SECRET_MAGIC);
	return s->len;
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
	assert(a->magic == SECRET_MAGIC && b->magic == SECRET_MAGIC);
	return a->len == b->len && CRYPTO_memcmp(a->data, b->data, a->len) == 0;
}

void secret_no_core(void)
{
	struct rlimit none = { 0, 0 };
	int r = setrlimit(RLIMIT_CORE, &none) | prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);

	assert(r == 0);
}

static int check_key(const struct secret *key, const char *aad, struct pcg_error *err)
{
	if (secret_len(key) == KEY_LEN)
		return 0;
	return pcg_fail(err, PCG_CLASS_BUG, "", "sealing %s: the key has %zu bytes, not %d", aad,
			secret_len(key), KEY_LEN);
}

int secret_seal(const struct secret *key, const char *aad, const void *data, size_t len,
		uint8_t **sealed, size_t *sealed_len, struct pcg_error *err)
{
	EVP_CIPHER_CTX *ctx;
	uint8_t *out;
	int n, ok, r;

	*sealed = NULL;
	r = check_key(key, aad, err);
	if (r)
		return r;
	if (len > SEALED_MAX)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "sealing %s: %zu bytes are too many", aad, len);
	out = malloc(NONCE_LEN + len + TAG_LEN);
	ctx = EVP_CIPHER_CTX_new();
	assert(out && ctx);
	id_random(out, NONCE_LEN);
	ok = EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, (const uint8_t *)secret_data(key), out) &&
	     EVP_EncryptUpdate(ctx, NULL, &n, (const uint8_t *)aad, (int)strlen(aad)) &&
	     (len == 0 || EVP_EncryptUpdate(ctx, out + NONCE_LEN, &n, data, (int)len)) &&
	     EVP_EncryptFinal_ex(ctx, out + NONCE_LEN + len, &n) &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_LEN, out + NONCE_LEN + len);
	EVP_CIPHER_CTX_free(ctx);
	if (!ok) {
		free(out);
		return pcg_fail(err, PCG_CLASS_BUG, "", "sealing %s: AES-256-GCM failed in libcrypto", aad);
	}
	*sealed = out;
	*sealed_len = NONCE_LEN + len + TAG_LEN;
	return 0;
}

int secret_open(const struct secret *key, const char *aad, const uint8_t *sealed,
		size_t sealed_len, struct secret **out, struct pcg_error *err)
{
	EVP_CIPHER_CTX *ctx;
	struct secret *s;
	size_t len;
	int n, ok, r;

	*out = NULL;
	r = check_key(key, aad, err);
	if (r)
		return r;
	if (sealed_len < NONCE_LEN + TAG_LEN || sealed_len > SEALED_MAX + NONCE_LEN + TAG_LEN)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "opening %s: %zu bytes are no sealed record",
				aad, sealed_len);
	len = sealed_len - NONCE_LEN - TAG_LEN;
	s = secret_alloc(len);
	ctx = EVP_CIPHER_CTX_new();
	assert(ctx);
	ok = EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, (const uint8_t *)secret_data(key), sealed) &&
	     EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)aad, (int)strlen(aad)) &&
	     (len == 0 || EVP_DecryptUpdate(ctx, (uint8_t *)s->data, &n, sealed + NONCE_LEN, (int)len)) &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_LEN,
				 (void *)(uintptr_t)(sealed + NONCE_LEN + len)) &&
	     EVP_DecryptFinal_ex(ctx, (uint8_t *)s->data + len, &n);
	EVP_CIPHER_CTX_free(ctx);
	if (!ok) {
		secret_unref(s);
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"put back the key file that belongs to this store",
				"opening %s: wrong key, or the record was changed", aad);
	}
	*out = s;
	return 0;
}

static int read_key_fd(int fd, const char *path, struct secret **key, struct pcg_error *err)
{
	char raw[KEY_LEN + 1];
	size_t got = 0;
	ssize_t n = 1;
	int r = 0;

	while (got < sizeof(raw) && n > 0) {
		n = read(fd, raw + got, sizeof(raw) - got);
		if (n > 0)
			got += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	if (n < 0)
		r = pcg_fail_errno(err, errno, "reading key file %s", path);
	else if (got != KEY_LEN)
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "put back the key file that belongs to this store",
			     "key file %s: has %s%zu bytes, a key has %d", path,
			     got > KEY_LEN ? "more than " : "", got > KEY_LEN ? (size_t)KEY_LEN : got,
			     KEY_LEN);
	else
		*key = secret_new(raw, KEY_LEN);
	secret_wipe(raw, sizeof(raw));
	return r;
}

/* systemd chooses mode and owner of a credential itself. */
static int open_key(const char *path, bool credential, struct secret **key, struct pcg_error *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return pcg_fail_errno(err, errno, "opening key file %s", path);
	if (!S_ISREG(st.st_mode))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "name a file of 32 random bytes",
				"key file %s: is not a regular file", path);
	if (!credential && (st.st_mode & 077))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "chmod 0600 it, and make a new key if others may have read it",
				"key file %s: mode %04o lets others at it", path,
				(unsigned)st.st_mode & 07777);
	if (!credential && st.st_uid != geteuid() && st.st_uid != 0)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "give the file to the user that runs this program",
				"key file %s: belongs to user %u", path, (unsigned)st.st_uid);
	return read_key_fd(fd, path, key, err);
}

static int sync_folder(const char *path, struct pcg_error *err)
{
	char dir[4096];
	char *slash;
	AUTO_CLOSE int fd = -1;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		return pcg_fail_errno(err, errno, "syncing the folder of key file %s", path);
	return 0;
}

/* Written beside and linked into place, so that a half-written key is never taken for one. */
static int create_key(const char *path, struct pcg_error *err)
{
	char tmp[4096], tail[9];
	uint8_t raw[KEY_LEN];
	int fd, r = 0;

	id_suffix(tail, 8);
	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.%s", path, tail) >= sizeof(tmp))
		return pcg_fail_errno(err, ENAMETOOLONG, "making key file %s", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return pcg_fail_errno(err, errno, "making key file %s", path);
	id_random(raw, sizeof(raw));
	errno = EIO;
	if (write(fd, raw, sizeof(raw)) != (ssize_t)sizeof(raw) || fsync(fd))
		r = pcg_fail_errno(err, errno, "writing key file %s", path);
	secret_wipe(raw, sizeof(raw));
	close(fd);
	if (!r && link(tmp, path) && errno != EEXIST)
		r = pcg_fail_errno(err, errno, "making key file %s", path);
	unlink(tmp);
	return r ? r : sync_folder(path, err);
}

int secret_key_load(const char *credential, const char *path, bool create, struct secret **key,
		    struct pcg_error *err)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char from[4096];
	int r;

	*key = NULL;
	if (credential && dir && *dir) {
		if ((size_t)snprintf(from, sizeof(from), "%s/%s", dir, credential) >= sizeof(from))
			return pcg_fail_errno(err, ENAMETOOLONG, "opening credential %s", credential);
		if (access(from, F_OK) == 0)
			return open_key(from, true, key, err);
	}
	r = open_key(path, false, key, err);
	if (r != PCG_ENOTFOUND || !create)
		return r;
	r = create_key(path, err);
	return r ? r : open_key(path, false, key, err);
}
