/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/turns.h"

#include "core/clock.h"
#include "host/provider/pool_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct turn_run {
	struct turn_run *next;
	const struct pool_worker *worker;
};

struct turn_name {
	struct turn_name *next;
	char *keeper, *name;
	json_t *counted;        /* wall clock times, ascending */
	int64_t window_ms;
	bool kept;              /* the store has some */
	struct turn_run *running;
};

static struct turn_name *turn_find(struct provider_pool *p, const char *keeper, const char *name)
{
	struct turn_name *t = p->turns;

	while (t && (strcmp(t->keeper, keeper) || strcmp(t->name, name)))
		t = t->next;
	return t;
}

static json_t *counted_before(struct provider_pool *p, const char *keeper, const char *name)
{
	json_t *secrets = p->hooks.secrets ? p->hooks.secrets(p->hooks.arg, keeper) : NULL, *counted = NULL;
	const char *text = json_string_value(json_object_get(secrets, name));
	struct pcg_error err;

	if (text && (json_parse(text, strlen(text), "turns", &counted, &err) || !json_is_array(counted))) {
		json_decref(counted);
		counted = NULL;
	}
	json_wipe(secrets);
	return counted ? counted : json_array();
}

static struct turn_name *turn_get(struct pool_worker *w, const char *name)
{
	struct provider_pool *p = w->pool;
	struct turn_name *t;
	char keeper[128];

	snprintf(keeper, sizeof(keeper), TURNS_KEEPER "%s", w->plugin->name);
	t = turn_find(p, keeper, name);
	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	assert(t);
	t->keeper = strdup(keeper);
	t->name = strdup(name);
	assert(t->keeper && t->name);
	t->counted = counted_before(p, keeper, name);
	t->kept = json_array_size(t->counted) > 0;
	t->next = p->turns;
	p->turns = t;
	return t;
}

/* What does not count any more, and times that a clock which was set back has not come to yet: they are taken for now. */
static void tidy(struct turn_name *t, int64_t now)
{
	for (size_t i = json_array_size(t->counted); i--;) {
		int64_t at = json_integer_value(json_array_get(t->counted, i));

		if (at > now)
			json_array_set_new(t->counted, i, json_integer(now));
		else if (at + t->window_ms <= now)
			json_array_remove(t->counted, i);
	}
}

static size_t running(const struct turn_name *t)
{
	size_t n = 0;

	for (const struct turn_run *r = t->running; r; r = r->next)
		n++;
	return n;
}

int turns_begin(struct pool_worker *w, const json_t *frame)
{
	const char *name = json_str(frame, "name");
	size_t most = (size_t)json_int_or(frame, "most", 0), counted;
	int64_t window_ms = json_int_or(frame, "windowMs", 0), now = clock_wall_ms();
	struct turn_name *t;
	struct turn_run *r;

	if (!name || !most || window_ms <= 0 || window_ms > INT32_MAX)
		return -1;
	t = turn_get(w, name);
	t->window_ms = window_ms;
	tidy(t, now);
	counted = json_array_size(t->counted);
	if (counted >= most)
		return (int)(json_integer_value(json_array_get(t->counted, counted - most)) + window_ms - now);
	if (counted + running(t) >= most)
		return TURN_TAKEN;
	r = calloc(1, sizeof(*r));
	assert(r);
	r->worker = w;
	r->next = t->running;
	t->running = r;
	return 0;
}

static bool run_end(struct turn_name *t, const struct pool_worker *w)
{
	struct turn_run **at = &t->running, *r;

	while (*at && (*at)->worker != w)
		at = &(*at)->next;
	r = *at;
	if (!r)
		return false;
	*at = r->next;
	free(r);
	return true;
}

static void keep(struct provider_pool *p, struct turn_name *t, void *ack)
{
	char *text = json_array_size(t->counted) ? json_dumps(t->counted, JSON_COMPACT) : NULL;
	struct secret *value = text ? secret_new_str(text) : NULL;

	t->kept = value != NULL;
	if (p->hooks.secret_put)
		p->hooks.secret_put(p->hooks.arg, t->keeper, t->name, value, ack);
	else
		provider_ack(ack, 0);
	secret_unref(value);
	free(text);
}

void turns_end(struct pool_worker *w, const json_t *frame, void *ack)
{
	const char *name = json_str(frame, "name");
	struct turn_name *t = name ? turn_get(w, name) : NULL;
	bool counts = json_bool_or(frame, "counts", false);
	int64_t now = clock_wall_ms();

	if (!t || !run_end(t, w)) {
		provider_ack(ack, -1);
		return;
	}
	tidy(t, now);
	if (counts)
		json_array_append_new(t->counted, json_integer(now));
	if (counts || (t->kept && !json_array_size(t->counted)))
		keep(w->pool, t, ack);
	else
		provider_ack(ack, 0);
}

void turns_drop(struct pool_worker *w)
{
	for (struct turn_name *t = w->pool->turns; t; t = t->next)
		while (run_end(t, w))
			;
}

void turns_free(struct provider_pool *p)
{
	while (p->turns) {
		struct turn_name *t = p->turns;

		p->turns = t->next;
		assert(!t->running);
		json_decref(t->counted);
		free(t->keeper);
		free(t->name);
		free(t);
	}
}
