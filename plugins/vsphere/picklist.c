/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/picklist.h"

#include <assert.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENOUGH_MS 5000u /* left of the op: a page is answered with what is there */
#define LOOKS 50        /* of those that are looked up one by one, in a page */

struct picks *picks_new(void)
{
	struct picks *p = calloc(1, sizeof(*p));

	assert(p);
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

static void list_drop(struct pick_list *l)
{
	pick_tree_free(&l->tree);
	json_decref(l->filter);
	json_decref(l->last);
	json_decref(l->ids);
	json_decref(l->groups);
	memset(l, 0, sizeof(*l));
}

/* The session ends at the same time, and takes views and tokens with it. */
void picks_free(struct picks *p)
{
	for (size_t i = 0; i < PICK_OPEN; i++)
		list_drop(&p->open[i]);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static bool filter_known(const struct pick_kind *kind, const char *name)
{
	if (strcmp(name, "name") == 0)
		return true;
	for (size_t i = 0; i < 4 && kind->filters[i]; i++)
		if (strcmp(kind->filters[i], name) == 0)
			return true;
	return false;
}

static int check_filter(const struct pick_kind *kind, const json_t *filter, struct vs_err *err)
{
	const char *name;
	json_t *value;
	char known[128] = "name";

	for (size_t i = 0; i < 4 && kind->filters[i]; i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), ", %s", kind->filters[i]);
	json_object_foreach((json_t *)(uintptr_t)filter, name, value) {
		if (filter_known(kind, name) && json_is_string(value))
			continue;
		vs_fail(err, PCG_ERR_PERMANENT, "Leave it out, or filter by one of those.",
			"the list of %s has no filter \"%.40s\"; it has %s", kind->name, name, known);
		return -1;
	}
	return 0;
}

static void id_new(char out[17])
{
	unsigned char random[8];

	assert(RAND_bytes(random, sizeof(random)) == 1);
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(out + 2 * i, 3, "%02x", random[i]);
}

/* A free place, or the one that was not asked for the longest; NULL: all are at work. */
static struct pick_list *place_take(struct picks *p, uint64_t now, struct pick_list *old)
{
	struct pick_list *best = NULL;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < PICK_OPEN; i++) {
		struct pick_list *l = &p->open[i];

		if (!l->busy && (!best || (*best->id && (!*l->id || l->used_at < best->used_at))))
			best = l;
	}
	if (best) {
		*old = *best;
		memset(best, 0, sizeof(*best));
		best->busy = true;
		best->used_at = now;
		id_new(best->id);
	}
	pthread_mutex_unlock(&p->lock);
	return best;
}

/* The list that a token continues. NULL with err. */
static struct pick_list *place_find(struct picks *p, const struct pick_kind *kind, const json_t *filter, const char *token,
				    unsigned *page, struct vs_err *err)
{
	struct pick_list *found = NULL;
	bool busy = false;
	char id[17] = "";

	if (sscanf(token, "%16[0-9a-f].%u", id, page) != 2)
		*id = 0;
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < PICK_OPEN; i++) {
		struct pick_list *l = &p->open[i];

		if (!*id || strcmp(l->id, id) != 0 || l->kind != kind || !json_equal(l->filter, filter) ||
		    ((*page != l->page || l->ended) && *page + 1 != l->page))
			continue;
		busy = l->busy;
		found = busy ? NULL : l;
	}
	if (found)
		found->busy = true;
	pthread_mutex_unlock(&p->lock);
	if (busy)
		vs_fail(err, PCG_ERR_RETRY, "Ask again when that is answered.", "this page of the list is being read");
	else if (!found)
		vs_fail(err, PCG_ERR_CONFLICT, "Ask for the list from its beginning.",
			"the list of %s is not open any more: it was left for too long, or belongs to another request", kind->name);
	return found;
}

static void place_give(struct vsphere *v, struct pick_list *l)
{
	pthread_mutex_lock(&v->picks->lock);
	l->busy = false;
	l->used_at = v->svc->mono_ms(v->host);
	pthread_mutex_unlock(&v->picks->lock);
}

static void list_end(struct vsphere *v, struct pcg_call *call, struct pick_list *l)
{
	struct pick_list old;

	pthread_mutex_lock(&v->picks->lock);
	old = *l;
	memset(l, 0, sizeof(*l));
	pthread_mutex_unlock(&v->picks->lock);
	if (old.kind && old.kind->types[0])
		pick_read_end(v, call, &old);
	list_drop(&old);
}

/* Its last page was answered, and may be asked for again. */
static void list_settle(struct vsphere *v, struct pcg_call *call, struct pick_list *l, const json_t *answer)
{
	struct pick_list open = *l;

	memset(&l->tree, 0, sizeof(l->tree));
	memset(&l->view, 0, sizeof(l->view));
	*l->token = 0;
	l->ended = true;
	json_decref(l->last);
	l->last = json_deep_copy(answer);
	place_give(v, l);
	if (open.kind->types[0])
		pick_read_end(v, call, &open);
}

/* Those that nobody went on with. */
static void lists_tidy(struct vsphere *v, struct pcg_call *call)
{
	for (size_t i = 0; i < PICK_OPEN; i++) {
		struct pick_list *l = &v->picks->open[i];
		bool end;

		pthread_mutex_lock(&v->picks->lock);
		end = *l->id && !l->busy && v->svc->mono_ms(v->host) - l->used_at > PICK_IDLE_MS;
		l->busy = l->busy || end;
		pthread_mutex_unlock(&v->picks->lock);
		if (end)
			list_end(v, call, l);
	}
}

static bool in_hurry(struct vsphere *v, struct pcg_call *call)
{
	return v->svc->remaining_ms(call) < ENOUGH_MS;
}

/* *more: there is another page. */
static int page_read(struct vsphere *v, struct pcg_call *call, struct pick_list *l, size_t limit, json_t *items, bool *more,
		     struct vs_err *err)
{
	size_t looks = 0;

	if (l->kind->types[0]) {
		do {
			if (pick_read(v, call, l, items, err))
				return -1;
		} while (*l->token && json_array_size(items) + l->max_objects <= limit && !in_hurry(v, call));
		*more = *l->token;
		return 0;
	}
	while (l->at < json_array_size(l->ids) && json_array_size(items) < limit && looks++ < LOOKS) {
		json_t *item;

		if (l->kind->look(v, call, l, json_array_get(l->ids, l->at), &item, err))
			return -1;
		l->at++;
		if (item)
			json_array_append_new(items, item);
		if (in_hurry(v, call))
			break;
	}
	*more = l->at < json_array_size(l->ids);
	return 0;
}

/* Answers with the page that comes next, or again with the last one. */
static void page_answer(struct vsphere *v, struct pcg_call *call, struct pick_list *l, unsigned page, size_t limit)
{
	struct vs_err err = { .fault = "" };
	json_t *items, *doc;
	bool more = false;
	char token[32] = "";

	if (page + 1 == l->page) {
		vs_done(v, call, json_deep_copy(l->last));
		place_give(v, l);
		return;
	}
	items = json_array();
	if (page_read(v, call, l, limit, items, &more, &err)) {
		json_decref(items);
		/* The rest of the list went with the session. */
		if (page && strcmp(err.fault, "NotAuthenticated") == 0)
			vs_fail(&err, PCG_ERR_CONFLICT, "Ask for the list from its beginning.",
				"the list of %s is not open any more: the session that it belonged to is over", l->kind->name);
		vs_error(v, call, &err);
		list_end(v, call, l);
		return;
	}
	l->page = page + 1;
	if (more)
		snprintf(token, sizeof(token), "%s.%u", l->id, l->page);
	doc = json_pack("{s:o, s:s}", "items", items, "continue", token);
	if (more) {
		json_decref(l->last);
		l->last = json_incref(doc);
		vs_done(v, call, doc);
		place_give(v, l);
	} else if (page) {
		vs_done(v, call, json_incref(doc));
		list_settle(v, call, l, doc);
		json_decref(doc);
	} else {
		vs_done(v, call, doc);
		list_end(v, call, l);
	}
}

static void list_begin(struct vsphere *v, struct pcg_call *call, const struct pick_kind *kind, const json_t *filter, size_t limit)
{
	struct pick_list old, *l = place_take(v->picks, v->svc->mono_ms(v->host), &old);
	struct vs_err err;
	int r;

	if (!l) {
		v->svc->error(call, PCG_ERR_RETRY, "as many lists of this account are read as may be at once", "Ask again in a moment.");
		return;
	}
	if (old.kind && old.kind->types[0])
		pick_read_end(v, call, &old);
	list_drop(&old);
	l->kind = kind;
	l->filter = json_deep_copy(filter);
	/* The server's pages are even parts of ours, and small enough that their trees take no memory to speak of. */
	l->max_objects = (unsigned)(limit / ((limit + PICK_OBJECTS - 1) / PICK_OBJECTS));
	r = kind->begin ? kind->begin(v, call, l, &err) : pick_read_begin(v, call, l, &err);
	if (r) {
		vs_error(v, call, &err);
		list_end(v, call, l);
		return;
	}
	page_answer(v, call, l, 0, limit);
}

/* What lists there are. */
static json_t *kinds_doc(void)
{
	json_t *items = json_array();

	for (const struct pick_kind *k = pick_kinds; k->name; k++) {
		json_t *filters = json_pack("[s]", "name");

		for (size_t i = 0; i < 4 && k->filters[i]; i++)
			json_array_append_new(filters, json_string(k->filters[i]));
		json_array_append_new(items, json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", k->name, "id", k->name, "path", "", "text",
						       k->doc, "filters", filters));
	}
	return json_pack("{s:o, s:s}", "items", items, "continue", "");
}

static void unknown_kind(struct vsphere *v, struct pcg_call *call, const char *kind)
{
	char known[400] = "";
	struct vs_err err;

	for (const struct pick_kind *k = pick_kinds; k->name; k++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", k == pick_kinds ? "" : ", ", k->name);
	vs_fail(&err, PCG_ERR_NOT_FOUND, "Ask for one of those.", "vSphere has no list of \"%.60s\"; it has %s", kind, known);
	vs_error(v, call, &err);
}

void vs_pick_list(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	json_t *doc = vs_doc(v, call, text);
	const json_t *filter;
	const struct pick_kind *kind;
	json_int_t limit;
	struct pick_list *l;
	struct vs_err err;
	unsigned page;

	if (!doc)
		return;
	kind = pick_kind(vs_str(doc, "kind"));
	if (!json_is_object(json_object_get(doc, "filter")))
		json_object_set_new(doc, "filter", json_object());
	filter = json_object_get(doc, "filter");
	limit = json_integer_value(json_object_get(doc, "limit"));
	limit = limit < 1 ? PICK_LIMIT : limit > PICK_LIMIT_MAX ? PICK_LIMIT_MAX : limit;
	if (strcmp(vs_str(doc, "kind"), "kinds") == 0) {
		vs_done(v, call, kinds_doc());
	} else if (!kind) {
		unknown_kind(v, call, vs_str(doc, "kind"));
	} else if (check_filter(kind, filter, &err)) {
		vs_error(v, call, &err);
	} else if (!*vs_str(doc, "continue")) {
		lists_tidy(v, call);
		list_begin(v, call, kind, filter, (size_t)limit);
	} else {
		l = place_find(v->picks, kind, filter, vs_str(doc, "continue"), &page, &err);
		if (l)
			page_answer(v, call, l, page, (size_t)limit);
		else
			vs_error(v, call, &err);
	}
	json_decref(doc);
}
