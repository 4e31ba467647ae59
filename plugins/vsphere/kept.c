/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/kept.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MS 300000u
#define KEY_MAX 1200 /* a tag: names of at most 256 characters each */

struct kept {
	pthread_mutex_t lock;
	json_t *ids; /* "KIND NAME" -> id */
	uint64_t at; /* monotonic: of the oldest */
};

struct kept *kept_new(void)
{
	struct kept *k = calloc(1, sizeof(*k));

	assert(k);
	pthread_mutex_init(&k->lock, NULL);
	k->ids = json_object();
	return k;
}

void kept_free(struct kept *k)
{
	json_decref(k->ids);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

bool kept_get(struct vsphere *v, const char *kind, const char *name, char *id, size_t size)
{
	struct kept *k = v->kept;
	char key[KEY_MAX];

	snprintf(key, sizeof(key), "%s %s", kind, name);
	pthread_mutex_lock(&k->lock);
	if (v->svc->mono_ms(v->host) - k->at >= KEPT_MS)
		json_object_clear(k->ids);
	snprintf(id, size, "%s", vs_str(k->ids, key));
	pthread_mutex_unlock(&k->lock);
	return *id != 0;
}

void kept_put(struct vsphere *v, const char *kind, const char *name, const char *id)
{
	struct kept *k = v->kept;
	char key[KEY_MAX];

	snprintf(key, sizeof(key), "%s %s", kind, name);
	pthread_mutex_lock(&k->lock);
	if (!json_object_size(k->ids))
		k->at = v->svc->mono_ms(v->host);
	json_object_set_new(k->ids, key, json_string(id));
	pthread_mutex_unlock(&k->lock);
}

void kept_forget(struct vsphere *v)
{
	pthread_mutex_lock(&v->kept->lock);
	json_object_clear(v->kept->ids);
	pthread_mutex_unlock(&v->kept->lock);
}
