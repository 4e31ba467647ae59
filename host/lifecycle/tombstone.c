/* SPDX-License-Identifier: Apache-2.0 */
/* Deleted clusters as text, each in one block. As trees of JSON they would be a hundred small blocks
 * each, among the large ones of the work that goes on: every block that stays keeps a page from going
 * back to the system. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include <assert.h>
#include <string.h>

struct tombstone {
	struct tombstone *next; /* in its bucket */
	int64_t generation;
	size_t name, row; /* where in text these begin */
	char text[];      /* uid, name, and the row as JSON, each with its NUL */
};

static json_t *row_of(const struct cluster *c)
{
	return json_pack("{s:s,s:s,s:I,s:O,s:O}", "task", lc_task_name(c->lc.task), "desired",
			 lc_desired_name(c->lc.desired), "epoch", (json_int_t)c->lc.epoch, "state",
			 c->state, "spec", c->spec);
}

static struct tombstone *tombstone_new(const struct cluster *c)
{
	AUTO_JSON json_t *row = row_of(c);
	AUTO_FREE char *text = json_text(row);
	size_t uid = strlen(c->uid) + 1, name = strlen(c->name) + 1, len = strlen(text) + 1;
	struct tombstone *t = malloc(sizeof(*t) + uid + name + len);

	assert(t);
	t->generation = c->lc.generation;
	t->name = uid;
	t->row = uid + name;
	memcpy(t->text, c->uid, uid);
	memcpy(t->text + t->name, c->name, name);
	memcpy(t->text + t->row, text, len);
	return t;
}

void tombstone_put(struct cluster *c)
{
	struct lifecycle *l = c->l;
	struct tombstone **at = &l->tombstones[cluster_bucket(c->uid)], *t = tombstone_new(c);

	t->next = *at;
	*at = t;
	l->n_tombstones++;
	cluster_free(c);
}

struct tombstone *tombstone_find(struct lifecycle *l, const char *uid_or_name)
{
	struct tombstone *t;

	for (t = l->tombstones[cluster_bucket(uid_or_name)]; t; t = t->next)
		if (!strcmp(t->text, uid_or_name))
			return t;
	for (size_t i = 0; i < ARRAY_LEN(l->tombstones); i++)
		for (t = l->tombstones[i]; t; t = t->next)
			if (!strcmp(t->text + t->name, uid_or_name))
				return t;
	return NULL;
}

int64_t tombstone_generation(const struct tombstone *t)
{
	return t->generation;
}

static struct cluster *cluster_of(struct lifecycle *l, const struct tombstone *t)
{
	const char *text = t->text + t->row;
	AUTO_JSON json_t *doc = NULL;
	struct pcg_error err;
	int r = json_parse(text, strlen(text), "a deleted cluster", &doc, &err);

	assert(!r);
	return cluster_from_row(l, &(struct store_cluster_row){
		.uid = t->text,
		.name = t->text + t->name,
		.phase = lc_phase_name(LC_DELETED),
		.task = json_str_or(doc, "task", ""),
		.desired = json_str_or(doc, "desired", ""),
		.generation = t->generation,
		.epoch = json_int_or(doc, "epoch", 1),
		.state = json_object_get(doc, "state"),
		.spec = json_object_get(doc, "spec"),
	});
}

struct cluster *tombstone_take(struct lifecycle *l, struct tombstone *t)
{
	struct tombstone **at = &l->tombstones[cluster_bucket(t->text)];
	struct cluster *c = cluster_of(l, t);

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	l->n_tombstones--;
	free(t);
	cluster_link(c);
	return c;
}

json_t *tombstone_view(struct lifecycle *l, const struct tombstone *t)
{
	struct cluster *c = cluster_of(l, t);
	json_t *view = cluster_view(c);

	cluster_free(c);
	return view;
}

void tombstone_views(struct lifecycle *l, json_t *items)
{
	for (size_t i = 0; i < ARRAY_LEN(l->tombstones); i++)
		for (const struct tombstone *t = l->tombstones[i]; t; t = t->next)
			json_array_append_new(items, tombstone_view(l, t));
}

void tombstone_free_all(struct lifecycle *l)
{
	for (size_t i = 0; i < ARRAY_LEN(l->tombstones); i++)
		while (l->tombstones[i]) {
			struct tombstone *next = l->tombstones[i]->next;

			free(l->tombstones[i]);
			l->tombstones[i] = next;
			l->n_tombstones--;
		}
}
