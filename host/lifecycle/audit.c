/* SPDX-License-Identifier: Apache-2.0 */
/* Every account's infrastructure against the store. Reads only. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "pcg/provider.h"

#include <assert.h>
#include <string.h>

#define AUDIT_MS 60000

struct audit {
	struct audit *next;
	struct lifecycle *l;
	struct look *looks;
	json_t *items, *problems;
	unsigned waiting;
	void (*done)(void *arg, json_t *result);
	void *arg;
};

struct look {
	struct look *next;
	struct audit *audit;
	struct provider_call *call;
	char *account;
};

static void audit_free(struct audit *a)
{
	struct audit **p = &a->l->audits;

	while (*p != a)
		p = &(*p)->next;
	*p = a->next;
	while (a->looks) {
		struct look *next = a->looks->next;

		if (a->looks->call)
			provider_call_cancel(a->looks->call);
		free(a->looks->account);
		free(a->looks);
		a->looks = next;
	}
	json_decref(a->items);
	json_decref(a->problems);
	free(a);
}

static void audit_end(struct audit *a)
{
	json_t *result = json_pack("{s:O,s:O}", "items", a->items, "problems", a->problems);

	a->done(a->arg, result);
	json_decref(result);
	audit_free(a);
}

void audit_end_all(struct lifecycle *l)
{
	while (l->audits) {
		l->audits->done(l->audits->arg, NULL);
		audit_free(l->audits);
	}
}

static void add(struct audit *a, const char *class, const char *id, const char *name,
		const char *cluster, const char *account)
{
	json_array_append_new(a->items,
			      json_pack("{s:s,s:s,s:s,s:s,s:s}", "class", class, "id", id, "name",
					name, "cluster", cluster, "account", account));
}

/* orphan: carries the mark of a cluster that is not here or is gone. stranger: of a cluster that the
 * gateway still owns alone, but a machine that it did not make; or what somebody copied of a machine. */
static void judge(struct audit *a, const json_t *item, const char *account)
{
	const char *id = json_str_or(item, "id", ""), *name = json_str_or(item, "name", "");
	const char *cluster = json_str_or(item, "cluster", "");
	const char *uid = json_str_or(item, "machine", "");
	struct cluster *c = cluster_find(a->l, cluster);
	bool machine = !strcmp(json_str_or(item, "kind", "machine"), "machine");

	if (json_str(item, "stranger"))
		add(a, "stranger", id, name, c ? c->name : cluster, account);
	else if (!c || c->lc.phase == LC_DELETED)
		add(a, "orphan", id, name, cluster, account);
	else if (machine && c->lc.phase < LC_RUNNING && (!*uid || !machine_find(c, uid)))
		add(a, "stranger", id, name, c->name, account);
}

static bool seen(const json_t *items, const struct machine *m)
{
	const char *provider_id = json_str_or(m->observed, "providerID", "-");
	size_t i;
	json_t *item;

	json_array_foreach(items, i, item)
		if (!json_str(item, "stranger") &&
		    (!strcmp(json_str_or(item, "machine", ""), m->uid) ||
		     !strcmp(json_str_or(item, "providerID", ""), provider_id)))
			return true;
	return false;
}

static void find_missing(struct audit *a, const json_t *items, const char *account)
{
	for (size_t i = 0; i < ARRAY_LEN(a->l->buckets); i++)
		for (struct cluster *c = a->l->buckets[i]; c; c = c->next) {
			if (strcmp(c->account, account) || c->lc.phase >= LC_PIVOTING_BACK)
				continue;
			for (struct machine *m = c->machines; m; m = m->next)
				if (!strcmp(m->state, MACHINE_PRESENT) && !seen(items, m))
					add(a, "missing",
					    json_str_or(m->observed, "id", m->uid), m->name,
					    c->name, account);
		}
}

static void on_inventory(void *arg, const struct provider_reply *r)
{
	struct look *look = arg;
	struct audit *a = look->audit;
	json_t *items = json_object_get(r->doc, "items"), *item;
	size_t i;

	if (r->status == PCG_STEP_DONE) {
		json_array_foreach(items, i, item)
			judge(a, item, look->account);
		find_missing(a, items, look->account);
	} else {
		json_array_append_new(a->problems,
				      json_pack("{s:s,s:s,s:s}", "account", look->account, "cause",
						r->err.text, "remedy", r->err.remedy));
	}
	look->call = NULL;
	if (!--a->waiting)
		audit_end(a);
}

void lifecycle_audit(struct lifecycle *l, void (*done)(void *arg, json_t *result), void *arg)
{
	struct audit *a = calloc(1, sizeof(*a));
	AUTO_JSON json_t *doc = json_pack("{s:n}", "cluster");
	const char *uid;
	json_t *account;

	assert(a);
	a->l = l;
	a->items = json_array();
	a->problems = json_array();
	a->done = done;
	a->arg = arg;
	a->next = l->audits;
	l->audits = a;
	a->waiting = (unsigned)json_object_size(l->accounts);
	if (!a->waiting) {
		audit_end(a);
		return;
	}
	json_object_foreach(l->accounts, uid, account) {
		struct look *look = calloc(1, sizeof(*look));

		assert(look);
		look->audit = a;
		look->account = strdup(uid);
		look->next = a->looks;
		a->looks = look;
		look->call = provider_call(l->spec.providers, uid, "inventory", "audit", doc, AUDIT_MS,
			      on_inventory, look);
	}
}
