/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/check.h"

#include "plugins/vsphere/placement.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The place of a pool's machines as objects to check. */

#define ENTITIES_MAX 24
#define KEPT 32
#define KEPT_MS 60000u

/* What was found good lately: many clusters go to the same place. */
struct checks {
	pthread_mutex_t lock;
	struct {
		unsigned char key[EVP_MAX_MD_SIZE];
		uint64_t at; /* monotonic; 0: none */
	} good[KEPT];
	size_t next;
};

struct checks *checks_new(void)
{
	struct checks *c = calloc(1, sizeof(*c));

	assert(c);
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void checks_free(struct checks *c)
{
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct spot_list {
	struct check_entity e[ENTITIES_MAX];
	size_t n;
};

static void add(struct spot_list *l, enum check_kind kind, const struct vs_ref *ref, const char *path, const char *field)
{
	if (!ref->value[0] || l->n == ENTITIES_MAX)
		return;
	l->e[l->n].kind = kind;
	l->e[l->n].ref = *ref;
	l->e[l->n].path = path;
	l->e[l->n].field = field;
	l->n++;
}

static void add_networks(struct spot_list *l, const struct spot *spot)
{
	for (size_t i = 0; i < spot->n_nics; i++)
		add(l, CHECK_NETWORK, &spot->nics[i].network, spot->nics[i].path, "pool.cloudConfig.placements.network.networkName");
}

static void list_spot(struct spot_list *l, struct vsphere *v, const struct spot *spot, unsigned uses)
{
	add(l, CHECK_ROOT, &v->session.root, "the vCenter", "cloudAccountUid");
	add(l, CHECK_FOLDER, &spot->folder, spot->folder_path, "cloudConfig.placement.folder");
	add(l, CHECK_TEMPLATE, &spot->template, spot->template_path, "image.template");
	add(l, CHECK_POOL, &spot->pool, spot->pool_path, "pool.cloudConfig.placements.resourcePool");
	if (uses & CHECK_RULES)
		add(l, CHECK_CLUSTER, &spot->cluster, spot->cluster_path, "pool.cloudConfig.placements.cluster");
	add(l, CHECK_DATASTORE, spot->pod.value[0] ? &spot->pod : &spot->datastore, spot->datastore_path,
	    "pool.cloudConfig.placements.datastore");
	add_networks(l, spot);
}

/* A member of the pool's cloudConfig, else of the cluster's, else of the account's settings. */
static const json_t *option(const struct vsphere *v, const json_t *cluster, const json_t *pool, const char *name)
{
	const json_t *of_pool = json_object_get(json_object_get(pool, "cloudConfig"), name);
	const json_t *of_cluster = json_object_get(json_object_get(json_object_get(cluster, "spec"), "cloudConfig"), name);

	return of_pool ? of_pool : of_cluster ? of_cluster : json_object_get(json_object_get(v->account, "settings"), name);
}

static unsigned uses_of(const struct vsphere *v, const json_t *cluster, const json_t *pool, const json_t *where)
{
	static const struct { const char *name; unsigned uses; } options[] = {
		{ "tags", CHECK_TAGS }, { "storagePolicyName", CHECK_POLICY }, { "customAttributes", CHECK_ATTRIBUTES },
		{ "hardwareVersion", CHECK_UPGRADE }, { "antiAffinity", CHECK_RULES },
	};
	const char *mode = json_string_value(option(v, cluster, pool, "cloneMode"));
	unsigned uses = mode && strcmp(mode, "linkedClone") == 0 ? CHECK_LINKED : 0;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const json_t *o = option(v, cluster, pool, options[i].name);

		if (json_is_true(o) || json_array_size(o) || json_object_size(o) ||
		    (json_is_string(o) && *json_string_value(o)))
			uses |= options[i].uses;
	}
	return *vs_str(where, "storagePolicyName") ? uses | CHECK_POLICY : uses;
}

static json_int_t gib_of(const json_t *list, const char *member)
{
	json_int_t sum = 0;
	json_t *one;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, one)
		sum += (json_int_t)json_number_value(member ? json_object_get(one, member) : one);
	return sum;
}

static void sizes_of(const struct vsphere *v, const json_t *cluster, const json_t *pool, struct check_sizes *sizes)
{
	const json_t *disk = json_object_get(json_object_get(json_object_get(pool, "cloudConfig"), "instanceType"), "diskGiB");
	json_int_t each = (json_int_t)json_number_value(disk) + gib_of(option(v, cluster, pool, "additionalDisksGiB"), NULL) +
			  gib_of(option(v, cluster, pool, "dataDisks"), "sizeGiB");

	sizes->machines = json_integer_value(json_object_get(pool, "size"));
	sizes->disk_gib = each * sizes->machines;
}

static void key_of(const struct spot_list *l, unsigned uses, const struct check_sizes *sizes, unsigned char key[EVP_MAX_MD_SIZE])
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert(out);
	fprintf(out, "%u %" JSON_INTEGER_FORMAT, uses, sizes->disk_gib);
	for (size_t i = 0; i < l->n; i++)
		fprintf(out, " %d %s", (int)l->e[i].kind, l->e[i].ref.value);
	fclose(out);
	memset(key, 0, EVP_MAX_MD_SIZE);
	assert(EVP_Digest(text, size, key, NULL, EVP_sha256(), NULL) == 1);
	free(text);
}

static bool lately_good(struct vsphere *v, const unsigned char *key)
{
	struct checks *c = v->checks;
	uint64_t now = v->svc->mono_ms(v->host);
	bool yes = false;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < KEPT; i++)
		yes = yes || (c->good[i].at && now - c->good[i].at < KEPT_MS && memcmp(c->good[i].key, key, EVP_MAX_MD_SIZE) == 0);
	pthread_mutex_unlock(&c->lock);
	return yes;
}

static void note_good(struct vsphere *v, const unsigned char *key)
{
	struct checks *c = v->checks;

	pthread_mutex_lock(&c->lock);
	memcpy(c->good[c->next].key, key, EVP_MAX_MD_SIZE);
	c->good[c->next].at = v->svc->mono_ms(v->host) + !v->svc->mono_ms(v->host);
	c->next = (c->next + 1) % KEPT;
	pthread_mutex_unlock(&c->lock);
}

/* A check answers with problems alone. */
static void log_warnings(struct vsphere *v, const json_t *cluster, const json_t *warnings)
{
	json_t *one;
	size_t i;

	json_array_foreach(warnings, i, one) {
		json_t *fields = json_pack("{s:s, s:O}", "cluster", vs_str(cluster, "name"), "warning", one);
		char *text = json_dumps(fields, JSON_COMPACT);

		v->svc->log(v->host, PCG_LOG_WARN, "vsphere_check", text);
		free(text);
		json_decref(fields);
	}
}

int check_spot(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const json_t *pool, const struct spot *spot,
	       json_t *problems, struct vs_err *err)
{
	struct spot_list l = { .n = 0 };
	struct check_sizes sizes = { 0, 0 };
	unsigned uses = uses_of(v, cluster, pool, spot->where);
	unsigned char key[EVP_MAX_MD_SIZE];
	size_t told = json_array_size(problems);
	json_t *warnings;
	int r;

	list_spot(&l, v, spot, uses);
	sizes_of(v, cluster, pool, &sizes);
	key_of(&l, uses, &sizes, key);
	if (lately_good(v, key))
		return 0;
	warnings = json_array();
	r = check_objects(&v->session, call, l.e, l.n, &uses, &sizes, problems, warnings, err);
	if (!r)
		r = check_privileges(&v->session, call, l.e, l.n, uses, problems, warnings, err);
	log_warnings(v, cluster, warnings);
	json_decref(warnings);
	if (!r && json_array_size(problems) == told)
		note_good(v, key);
	return r;
}
