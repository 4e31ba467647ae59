/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "kube/kube_impl.h"

/* Where kinds live, for those that are not built in: the resource list of each group and version,
 * asked once, and again when a kind is not in it. Requests for the same list are made once. */

#include "core/attr.h"

#include <assert.h>
#include <string.h>

struct kube_find {
	struct kube_op op;
	struct kube_group *group; /* waits there while set */
	struct kube_timer *timer;
	LIST_ENTRY(kube_find) waiting;
	char *kind, *ns, *name;
	kube_path_cb cb;
	void *arg;
};

static struct kube_group *group_get(struct kube *k, const char *version)
{
	struct kube_group *g;

	LIST_FOREACH(g, &k->groups, link)
	if (strcmp(g->version, version) == 0)
		return g;
	g = calloc(1, sizeof(*g));
	if (!g || !(g->version = strdup(version)))
		abort();
	LIST_INIT(&g->waiting);
	LIST_INSERT_HEAD(&k->groups, g, link);
	return g;
}

void kube_groups_free(struct kube *k)
{
	struct kube_group *g;

	while ((g = LIST_FIRST(&k->groups))) {
		assert(LIST_EMPTY(&g->waiting));
		LIST_REMOVE(g, link);
		json_decref(g->resources);
		free(g->version);
		free(g);
	}
}

/* False: not in it. What out names lives as long as the list. */
static bool resource_of(const json_t *resources, const char *kind, struct kube_resource *out)
{
	size_t i;
	json_t *r;

	json_array_foreach (resources, i, r) {
		const char *name = json_str_or(r, "name", "/");

		if (strcmp(json_str_or(r, "kind", ""), kind) != 0 || strchr(name, '/'))
			continue;
		*out = (struct kube_resource){
			.kind = kind,
			.name = name,
			.namespaced = json_bool_or(r, "namespaced", false),
		};
		return true;
	}
	return false;
}

static void find_destroy(struct kube_op *op)
{
	struct kube_find *f = (struct kube_find *)op;

	if (f->group)
		LIST_REMOVE(f, waiting);
	kube_timer_stop(&f->timer);
	free(f->kind);
	free(f->ns);
	free(f->name);
	free(f);
}

static void find_finish(struct kube_find *f, char *path, const struct pcg_error *err)
{
	kube_path_cb cb = f->cb;
	void *arg = f->arg;

	kube_op_end(&f->op);
	cb(arg, path, err);
}

static void add_segment(struct buf *b, const char *s)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:@";

	buf_adds(b, "/");
	for (; *s; s++)
		if (strchr(plain, *s))
			buf_add(b, s, 1);
		else
			buf_addf(b, "%%%02X", (unsigned char)*s);
}

static char *make_path(const struct kube_find *f, const char *version,
		       const struct kube_resource *resource)
{
	struct buf b;

	buf_init(&b, 8192);
	buf_addf(&b, "%s/%s", strchr(version, '/') ? "/apis" : "/api", version);
	if (resource->namespaced && (f->ns || f->name)) {
		buf_adds(&b, "/namespaces");
		add_segment(&b, f->ns ? f->ns : "default");
	}
	add_segment(&b, resource->name);
	if (f->name)
		add_segment(&b, f->name);
	return buf_take(&b);
}

static void not_served(const struct kube_find *f, const char *version, struct pcg_error *err)
{
	pcg_fail(err, PCG_CLASS_NOT_FOUND,
		 "apply the definition of this kind first, or correct apiVersion and kind",
		 "the cluster at %s serves no kind %s in %s", f->op.k->server, f->kind, version);
}

static void find_answer(struct kube_find *f, const char *version,
			const struct kube_resource *resource, const struct pcg_error *why)
{
	char *path = resource ? make_path(f, version, resource) : NULL;
	struct pcg_error err;

	if (path) {
		find_finish(f, path, NULL);
		return;
	}
	if (resource)
		pcg_fail(&err, PCG_CLASS_PERMANENT, "correct the object's name and namespace",
			 "the name of %.60s %.60s is too long", f->kind, f->name ? f->name : "");
	else if (why)
		err = *why;
	else
		not_served(f, version, &err);
	find_finish(f, NULL, &err);
}

/* A callback may free the client, and every waiter with it: they are first moved to a list of
 * this function's own, from which the end of an operation still removes them. */
static void on_resources(void *arg, const struct kube_reply *reply)
{
	struct kube_group *g = arg;
	LIST_HEAD(, kube_find) told = LIST_HEAD_INITIALIZER(told);
	AUTO_JSON json_t *resources = NULL;
	AUTO_FREE char *version = strdup(g->version);
	bool failed = reply->status != 200 && reply->status != 404;
	struct kube_resource found;
	struct kube_find *f;

	g->request = NULL;
	if (!failed) {
		json_decref(g->resources);
		g->resources = json_incref(json_at(reply->body, "resources"));
		if (!g->resources)
			g->resources = json_array();
	}
	resources = json_incref(g->resources);
	while ((f = LIST_FIRST(&g->waiting))) {
		LIST_REMOVE(f, waiting);
		LIST_INSERT_HEAD(&told, f, waiting);
	}
	while ((f = LIST_FIRST(&told))) {
		bool there = !failed && resource_of(resources, f->kind, &found);

		find_answer(f, version, there ? &found : NULL, failed ? &reply->err : NULL);
	}
}

static void ask(struct kube *k, struct kube_group *g)
{
	char *path = NULL;

	if (g->request)
		return;
	if (asprintf(&path, "%s/%s", strchr(g->version, '/') ? "/apis" : "/api", g->version) < 0)
		abort();
	g->request = kube_request(k, "GET", path, NULL, NULL, 0, on_resources, g);
	free(path);
}

static void on_cached(void *arg)
{
	struct kube_find *f = arg;
	struct kube_group *g = f->group;
	const struct kube_resource *builtin = kube_builtin(g->version, f->kind);
	AUTO_JSON json_t *resources = json_incref(g->resources);
	AUTO_FREE char *version = strdup(g->version);
	struct kube_resource found;

	kube_timer_stop(&f->timer);
	if (builtin)
		find_answer(f, version, builtin, NULL);
	else if (resource_of(resources, f->kind, &found))
		find_answer(f, version, &found, NULL);
	else
		ask(f->op.k, g);
}

static char *copy_or_null(const char *s)
{
	char *c;

	if (!s || !*s)
		return NULL;
	c = strdup(s);
	if (!c)
		abort();
	return c;
}

struct kube_op *kube_find_start(struct kube *k, const char *api_version, const char *kind,
				const char *ns, const char *name, kube_path_cb cb, void *arg)
{
	struct kube_find *f = calloc(1, sizeof(*f));
	struct kube_resource found;

	if (!f)
		abort();
	kube_op_start(&f->op, k, find_destroy);
	f->kind = copy_or_null(kind);
	if (!f->kind)
		f->kind = strdup("?");
	f->ns = copy_or_null(ns);
	f->name = copy_or_null(name);
	f->cb = cb;
	f->arg = arg;
	f->group = group_get(k, api_version);
	LIST_INSERT_HEAD(&f->group->waiting, f, waiting);
	if (kube_builtin(api_version, f->kind) || resource_of(f->group->resources, f->kind, &found))
		f->timer = kube_timer_start(k, 0, on_cached, f);
	else
		ask(k, f->group);
	return &f->op;
}

void kube_path_of(struct kube *k, const char *api_version, const char *kind, const char *ns,
		  const char *name, kube_path_cb cb, void *arg)
{
	kube_find_start(k, api_version, kind, ns, name, cb, arg);
}
