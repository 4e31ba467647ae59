/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/machine.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Clones that a cluster's controllers had begun when they were stopped: a machine is seen when its clone has ended, and a clone says
 * nowhere which machine it makes. Those of this account's user that run at the first look are waited for. They may be other clusters':
 * how long that is asked for is the host's to say.
 */

#define LOOK_AGAIN_MS 500u
#define TOLD_AFTER_MS 30000u

struct settling {
	struct settling *next;
	char cluster[64];
	json_t *clones;
	uint64_t since; /* monotonic */
};

struct settle {
	pthread_mutex_t lock;
	struct settling *list;
};

struct settle *settle_new(void)
{
	struct settle *all = calloc(1, sizeof(*all));

	assert(all);
	pthread_mutex_init(&all->lock, NULL);
	return all;
}

static struct settling **find_locked(struct settle *all, const char *cluster)
{
	struct settling **at = &all->list;

	while (*at && strcmp((*at)->cluster, cluster) != 0)
		at = &(*at)->next;
	return at;
}

static void drop_locked(struct settling **at)
{
	struct settling *s = *at;

	*at = s->next;
	json_decref(s->clones);
	free(s);
}

void settle_free(struct settle *all)
{
	while (all->list)
		drop_locked(&all->list);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

/* What was seen at the first look, NULL: this is it. */
static json_t *first_of(struct settle *all, const char *cluster)
{
	struct settling *s;
	json_t *clones;

	pthread_mutex_lock(&all->lock);
	s = *find_locked(all, cluster);
	clones = s ? json_incref(s->clones) : NULL;
	pthread_mutex_unlock(&all->lock);
	return clones;
}

/* Keeps what is left, and says for how long it has been waited; nothing left: forgets it. */
static uint64_t keep(struct settle *all, const char *cluster, json_t *left, uint64_t now)
{
	struct settling **at, *s;
	uint64_t waited = 0;

	pthread_mutex_lock(&all->lock);
	at = find_locked(all, cluster);
	s = *at;
	if (s && !json_array_size(left)) {
		drop_locked(at);
	} else if (json_array_size(left)) {
		if (!s) {
			s = *at = calloc(1, sizeof(*s));
			assert(s);
			snprintf(s->cluster, sizeof(s->cluster), "%s", cluster);
			s->since = now;
		}
		json_decref(s->clones);
		s->clones = json_incref(left);
		waited = now - s->since;
	}
	pthread_mutex_unlock(&all->lock);
	return waited;
}

static void tell(struct vsphere *v, struct pcg_call *call, const json_t *left)
{
	struct vs_err err;

	vs_fail(&err, PCG_ERR_RETRY, "Nothing: it goes on when these tasks have ended, or after half an hour. Canceling them in vCenter ends the "
		"wait.", "whether the cluster's controllers were making machines is known when %zu clones have ended that this "
		"account's user began (%s%s)", json_array_size(left), json_string_value(json_array_get(left, 0)),
		json_array_size(left) > 1 ? ", ..." : "");
	vs_error(v, call, &err);
}

bool settle_begun(struct vsphere *v, const char *cluster)
{
	json_t *first = first_of(v->settle, cluster);

	json_decref(first);
	return first != NULL;
}

bool settle_wait(struct vsphere *v, struct pcg_call *call, const char *cluster, const json_t *running)
{
	json_t *first = first_of(v->settle, cluster), *left;
	struct vs_err err;
	uint64_t waited;
	bool wait;

	left = running ? earlier_left(v, "", first, running) : earlier_running(v, call, "", first, NULL, &err);
	json_decref(first);
	if (!left) {
		vs_error(v, call, &err);
		return true;
	}
	waited = keep(v->settle, cluster, left, v->svc->mono_ms(v->host));
	wait = json_array_size(left) > 0;
	if (wait && waited > TOLD_AFTER_MS)
		tell(v, call, left);
	else if (wait)
		vs_pending(v, call, LOOK_AGAIN_MS, NULL);
	json_decref(left);
	return wait;
}
