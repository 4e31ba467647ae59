/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/promise.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct promise {
	struct vs_ref store;
	int64_t bytes;
	uint64_t until; /* monotonic */
	char name[128];
};

struct promises {
	pthread_mutex_t lock; /* what is chosen is promised before others choose */
	struct promise *list;
	size_t n;
};

struct promises *promises_new(void)
{
	struct promises *p = calloc(1, sizeof(*p));

	assert(p);
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void promises_free(struct promises *p)
{
	pthread_mutex_destroy(&p->lock);
	free(p->list);
	free(p);
}

static bool of(const struct promise *p, const char *name)
{
	return *name && strcmp(p->name, name) == 0;
}

static void prune(struct promises *p, uint64_t now)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		if (p->list[i].until > now)
			p->list[n++] = p->list[i];
	p->n = n;
}

static int64_t promised(const struct promises *p, const struct vs_ref *store, const char *name)
{
	int64_t sum = 0;

	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->list[i].store.value, store->value) == 0 && !of(&p->list[i], name))
			sum += p->list[i].bytes;
	return sum;
}

static int choose(const struct promises *p, const struct promise_ask *ask)
{
	int64_t most = INT64_MIN;
	int chosen = -1;

	if (!ask->free)
		return ask->n ? 0 : -1;
	for (size_t i = 0; i < ask->n; i++) {
		int64_t left = ask->free[i] - promised(p, &ask->stores[i], ask->name);

		if ((ask->good && !ask->good[i]) || (ask->first && left < ask->bytes) || left <= most)
			continue;
		if (ask->first)
			return (int)i;
		most = left;
		chosen = (int)i;
	}
	return chosen;
}

static void put(struct promises *p, const struct vs_ref *store, int64_t bytes, const char *name, uint64_t now)
{
	struct promise one = { .store = *store, .bytes = bytes, .until = now + PROMISE_MS };
	size_t at = 0;

	while (at < p->n && !of(&p->list[at], name))
		at++;
	if (at == p->n) {
		p->list = realloc(p->list, (p->n + 1) * sizeof(*p->list));
		assert(p->list);
		p->n++;
	}
	snprintf(one.name, sizeof(one.name), "%s", name);
	p->list[at] = one;
}

int promise_space(struct vsphere *v, const struct promise_ask *ask)
{
	uint64_t now = v->svc->mono_ms(v->host);
	int chosen;

	pthread_mutex_lock(&v->promises->lock);
	prune(v->promises, now);
	chosen = choose(v->promises, ask);
	if (chosen >= 0 && ask->bytes)
		put(v->promises, &ask->stores[chosen], ask->bytes, ask->name, now);
	pthread_mutex_unlock(&v->promises->lock);
	return chosen;
}

bool promise_there(struct vsphere *v, const struct vs_ref *store, const char *name)
{
	uint64_t now = v->svc->mono_ms(v->host);
	bool yes;

	pthread_mutex_lock(&v->promises->lock);
	prune(v->promises, now);
	yes = promised(v->promises, store, name) > 0;
	pthread_mutex_unlock(&v->promises->lock);
	return yes;
}
