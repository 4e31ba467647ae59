/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "kube/kube_impl.h"

#include "core/attr.h"

#include <string.h>

#define RESTARTS_MAX 3
#define PAGES_MAX 400 /* of 500 */

struct list {
	struct kube_op op;
	struct kube_op *page;
	char *path, *selector, *next;
	json_t *whole;
	int restarts, pages;
	kube_cb cb;
	void *arg;
};

static void destroy(struct kube_op *op)
{
	struct list *l = (struct list *)op;

	kube_op_cancel(l->page);
	json_decref(l->whole);
	free(l->path);
	free(l->selector);
	free(l->next);
	free(l);
}

static void finish(struct list *l, const struct kube_reply *reply)
{
	struct kube_reply last = *reply;
	kube_cb cb = l->cb;
	void *arg = l->arg;

	last.body = last.status == 200 ? json_incref(l->whole) : json_incref(last.body);
	kube_op_end(&l->op);
	cb(arg, &last);
	json_decref(last.body);
}

static void on_page(void *arg, const struct kube_reply *reply);

static void ask(struct list *l)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_adds(&b, l->path);
	kube_query_add(&b, "limit", "500");
	if (l->selector)
		kube_query_add(&b, "labelSelector", l->selector);
	if (l->next)
		kube_query_add(&b, "continue", l->next);
	l->page = kube_request(l->op.k, "GET", b.data, NULL, NULL, 0, on_page, l);
	buf_free(&b);
}

static void restart(struct list *l)
{
	l->pages = 0;
	free(l->next);
	l->next = NULL;
	json_decref(l->whole);
	l->whole = NULL;
	ask(l);
}

static void take_page(struct list *l, const json_t *body)
{
	json_t *items = json_at(body, "items"), *meta = json_at(body, "metadata");
	const char *next = json_str(meta, "continue");

	if (!l->whole)
		l->whole = json_pack("{s:s, s:s, s:{}, s:[]}", "apiVersion",
				     json_str_or(body, "apiVersion", "v1"), "kind",
				     json_str_or(body, "kind", "List"), "metadata", "items");
	l->pages++;
	json_array_extend(json_at(l->whole, "items"), items);
	json_put_str(l->whole, "metadata.resourceVersion", json_str(meta, "resourceVersion"));
	free(l->next);
	l->next = next && *next ? strdup(next) : NULL;
}

static bool all_objects(const json_t *items)
{
	size_t i;
	json_t *item;

	json_array_foreach((json_t *)items, i, item)
		if (!json_is_object(item))
			return false;
	return json_is_array(items);
}

/* The other end may be anybody's: what callers look into is objects, and a list has an end. */
static int check_page(const struct list *l, const json_t *body, struct pcg_error *err)
{
	if (!all_objects(json_at(body, "items")))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "see what answers at this address",
				"GET %s%s: the API server's answer is not a list", l->op.k->server,
				l->path);
	if (l->pages >= PAGES_MAX)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "see what answers at this address",
				"GET %s%s: the list does not end after %d pages", l->op.k->server,
				l->path, l->pages);
	return 0;
}

static void on_page(void *arg, const struct kube_reply *reply)
{
	struct list *l = arg;
	struct kube_reply bad = {0};

	l->page = NULL;
	/* The list that the token belongs to is too old: from its beginning. */
	if (reply->status == 410 && l->next && l->restarts++ < RESTARTS_MAX) {
		restart(l);
		return;
	}
	if (reply->status == 200 && check_page(l, reply->body, &bad.err)) {
		finish(l, &bad);
		return;
	}
	if (reply->status == 200)
		take_page(l, reply->body);
	if (reply->status == 200 && l->next)
		ask(l);
	else
		finish(l, reply);
}

struct kube_op *kube_list(struct kube *k, const char *path, const char *label_selector, kube_cb cb,
			  void *arg)
{
	struct list *l = calloc(1, sizeof(*l));

	if (!l || !(l->path = strdup(path)))
		abort();
	kube_op_start(&l->op, k, destroy);
	if (label_selector && *label_selector)
		l->selector = strdup(label_selector);
	l->cb = cb;
	l->arg = arg;
	ask(l);
	return &l->op;
}
