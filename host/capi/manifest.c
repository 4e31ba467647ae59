/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/manifest.h"

#include "core/attr.h"
#include "core/secret.h"
#include "core/yaml.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#if !JSON_HAVE_ATOMIC_BUILTINS && !JSON_HAVE_SYNC_BUILTINS
#error "this jansson counts references without atomics: trees cannot be shared between threads"
#endif

#define HASH 32

struct manifest {
	LIST_ENTRY(manifest) link;
	unsigned char hash[HASH];
	size_t refs; /* under the lock */
	json_t *objects;
	struct text {
		char *data;
		size_t len;
	} *texts; /* of each of objects */
};

static LIST_HEAD(, manifest) live = LIST_HEAD_INITIALIZER(live);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void hash_of(const char *kind, const char *text, size_t len, unsigned char out[HASH])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestUpdate(ctx, kind, strlen(kind) + 1) != 1 ||
	    EVP_DigestUpdate(ctx, text, len) != 1 || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
}

static struct manifest *find_locked(const unsigned char hash[HASH])
{
	struct manifest *m;

	LIST_FOREACH(m, &live, link)
		if (memcmp(m->hash, hash, HASH) == 0) {
			m->refs++;
			return m;
		}
	return NULL;
}

static void manifest_free(struct manifest *m)
{
	for (size_t i = 0; i < json_array_size(m->objects); i++) {
		secret_wipe(m->texts[i].data, m->texts[i].len);
		free(m->texts[i].data);
	}
	free(m->texts);
	json_wipe(m->objects);
	free(m);
}

static struct manifest *manifest_new(const unsigned char hash[HASH], json_t *objects)
{
	struct manifest *m = calloc(1, sizeof(*m));
	json_t *o;
	size_t i;

	assert(m);
	memcpy(m->hash, hash, HASH);
	m->refs = 1;
	m->objects = objects;
	m->texts = calloc(json_array_size(objects) + 1, sizeof(*m->texts));
	assert(m->texts);
	json_array_foreach(objects, i, o)
		m->texts[i].data = json_text_secret(o, &m->texts[i].len);
	return m;
}

/* Somebody else may have read the same meanwhile: then theirs is the one. */
static struct manifest *share(struct manifest *mine)
{
	struct manifest *m;

	pthread_mutex_lock(&lock);
	m = find_locked(mine->hash);
	if (!m)
		LIST_INSERT_HEAD(&live, mine, link);
	pthread_mutex_unlock(&lock);
	if (m)
		manifest_free(mine);
	return m ? m : mine;
}

/* As it is read: expanded, then prepared. */
static int read_objects(const char *text, size_t len, const char *what, const struct manifest_making *making,
			json_t **objects, struct pcg_error *err)
{
	struct buf expanded;
	int r = 0;

	buf_init_secret(&expanded, MANIFEST_MAX);
	if (making && making->expand) {
		r = making->expand(making->arg, text, len, &expanded, err);
		text = expanded.data;
		len = expanded.len;
	}
	if (!r)
		r = yaml_load_all(text, len, what, objects, err);
	buf_free(&expanded);
	if (!r && making)
		making->prepare(*objects, making->arg);
	return r;
}

int manifest_get(const char *kind, const char *text, size_t len, const char *what,
		 const struct manifest_making *making, struct manifest **out, struct pcg_error *err)
{
	unsigned char hash[HASH];
	json_t *objects = NULL;
	struct manifest *m;
	int r;

	hash_of(kind, text, len, hash);
	pthread_mutex_lock(&lock);
	m = find_locked(hash);
	pthread_mutex_unlock(&lock);
	if (!m) {
		r = read_objects(text, len, what, making, &objects, err);
		if (r)
			return r;
		m = share(manifest_new(hash, objects));
	}
	*out = m;
	return 0;
}

void manifest_put(struct manifest *m)
{
	bool last;

	if (!m)
		return;
	pthread_mutex_lock(&lock);
	last = --m->refs == 0;
	if (last)
		LIST_REMOVE(m, link);
	pthread_mutex_unlock(&lock);
	if (last)
		manifest_free(m);
}

const json_t *manifest_objects(const struct manifest *m)
{
	return m->objects;
}

const char *manifest_text(const struct manifest *m, const json_t *object, size_t *len)
{
	const json_t *o;
	size_t i;

	json_array_foreach(m->objects, i, o)
		if (o == object) {
			*len = m->texts[i].len;
			return m->texts[i].data;
		}
	return NULL;
}
