/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a plan into a paused cluster. Each object: create; when it is there already, compare, and
 * patch what differs. An object that is on its way out, that an owner of an earlier life holds (the
 * garbage collector deletes it, paused or not), or that refuses the patch is removed and created
 * again. Then everything is read back, until a whole round finds nothing to mend.
 *
 * The Cluster says who is in charge: whenever it was read that is looked at first, and a patch of it
 * is guarded by what was read. One that refuses the patch is left to the roll-back, which takes
 * authority before it removes anything.
 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/authority.h"
#include "host/capi/compare.h"
#include "host/capi/outdated.h"
#include "host/capi/path.h"
#include "host/capi/remove.h"
#include "host/capi/serving_ca.h"
#include "host/capi/shapes.h"
#include "core/fault.h"

#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MENDS_MAX 4
#define ROUNDS_MAX 4
#define CONFLICTS_MAX 20

struct item {
	struct capi_op *op;
	json_t *entry, *object;
	/* In the plan; NULL: none. The second is not its controller, and the object outlives neither. */
	struct item *owner, *holder;
	bool owns; /* others name its uid */
	char *path, *collection, *label;
	json_t *seen; /* as a list of the round under way showed it */
	char uid[64];
	int mends, conflicts;
	bool created, mended;
	char differs[160]; /* where, when it was last mended */
	struct removal removal;
};

struct write {
	json_t *plan;
	struct item *items;
	size_t n, first, count; /* the group under way is items[first .. first + count) */
	struct item **heads; /* of collections that are listed before the group */
	size_t n_heads;
	int rounds;
	char resource_version[64];
	struct outdated outdated;
};

static void free_write(void *state)
{
	struct write *w = state;

	for (size_t i = 0; i < w->n; i++) {
		free(w->items[i].path);
		free(w->items[i].collection);
		free(w->items[i].label);
		json_wipe(w->items[i].seen);
	}
	free(w->items);
	free(w->heads);
	outdated_free(&w->outdated);
	json_wipe(w->plan);
}

static struct item *find(struct write *w, const char *kind, const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(json_str_or(w->items[i].object, "kind", ""), kind) == 0 &&
		    strcmp(json_str_or(w->items[i].object, "metadata.name", ""), name) == 0)
			return &w->items[i];
	return NULL;
}

static bool is_cluster(const struct item *it)
{
	return strcmp(json_str_or(it->object, "kind", ""), "Cluster") == 0;
}

static const json_t *cluster_of(const struct write *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (is_cluster(&w->items[i]))
			return w->items[i].object;
	return NULL;
}

static struct item *named_by(struct write *w, const struct item *it, const char *member)
{
	const json_t *owner = json_object_get(it->entry, member);

	return json_is_object(owner)
		       ? find(w, json_str_or(owner, "kind", ""), json_str_or(owner, "name", ""))
		       : NULL;
}

static void find_owners(struct write *w, struct item *it)
{
	it->owner = named_by(w, it, "owner");
	it->holder = named_by(w, it, "holder");
	if (it->owner)
		it->owner->owns = true;
	if (it->holder)
		it->holder->owns = true;
}

static void fail_item(struct item *it, const struct kube_reply *r, const char *doing)
{
	struct pcg_error err = r->err;

	pcg_fail_prefix(&err, "%s %s", doing, it->label);
	op_fail(it->op, &err);
}

static bool ok(const struct kube_reply *r)
{
	return r->status >= 200 && r->status < 300;
}

/* Owners carry uids that this cluster answered, never others. */
static json_t *reference(const struct item *owner)
{
	assert(owner->uid[0]);
	return json_pack("{s:s,s:s,s:s,s:s}", "apiVersion", json_str(owner->object, "apiVersion"),
			 "kind", json_str(owner->object, "kind"), "name",
			 json_str(owner->object, "metadata.name"), "uid", owner->uid);
}

/* The object as it is sent. */
static json_t *with_owner(const struct item *it)
{
	const struct item *owner = it->owner, *holder = it->holder;
	json_t *object, *ref, *refs;

	if (!owner)
		return json_incref(it->object);
	object = json_copy(it->object);
	json_object_set_new(object, "metadata",
			    json_copy(json_object_get(it->object, "metadata")));
	ref = reference(owner);
	if (json_bool_or(it->entry, "controller", false)) {
		json_object_set_new(ref, "controller", json_true());
		json_object_set_new(ref, "blockOwnerDeletion", json_true());
	}
	refs = json_pack("[o]", ref);
	if (holder) {
		ref = reference(holder);
		json_object_set_new(ref, "controller", json_false());
		json_object_set_new(ref, "blockOwnerDeletion", json_true());
		json_array_append_new(refs, ref);
	}
	json_put(object, "metadata.ownerReferences", refs);
	return object;
}

static void keep_identity(struct write *w, struct item *it, const json_t *got)
{
	snprintf(it->uid, sizeof(it->uid), "%s", json_str_or(got, "metadata.uid", ""));
	if (is_cluster(it))
		snprintf(w->resource_version, sizeof(w->resource_version), "%s",
			 json_str_or(got, "metadata.resourceVersion", ""));
}

static void create(struct item *it);
static void examine(struct item *it, const json_t *got);

/* ---- status ---- */

static void on_status(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct item *it = arg;

	/* Some kinds have no status of their own to write to. */
	if (!ok(r) && r->status != 404) {
		fail_item(it, r, "writing the status of");
		return;
	}
	FAULT_POINT("capi.after_status_written");
	op_item_done(op);
}

/* Without resourceVersion: controllers write their own conditions at once, also while paused. */
static void write_status(struct item *it, const json_t *got)
{
	const json_t *status = json_object_get(it->entry, "status");
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *difference = NULL;
	AUTO_JSON json_t *body = NULL;
	int n;

	if (json_is_object(status))
		difference = compare_contains(status, json_object_get(got, "status"));
	if (!difference) {
		op_item_done(it->op);
		return;
	}
	body = json_pack("{s:O}", "status", status);
	n = asprintf(&path, "%s/status", it->path);
	assert(n > 0);
	op_call(it->op, "PATCH", path, OP_MERGE_PATCH, body, OP_UNREAD, on_status, it);
}

/* ---- there already ---- */

static void on_removed(struct capi_op *op, void *arg)
{
	struct item *it = arg;

	(void)op;
	it->uid[0] = '\0';
	create(it);
}

static void replace(struct item *it, const json_t *got, const char *why)
{
	struct pcg_error err;

	if (++it->mends > MENDS_MAX) {
		pcg_fail(&err, PCG_CLASS_CONFLICT,
			 "see who else writes this object; then it is tried again",
			 "writing %s: made anew %d times, and again %s", it->label, MENDS_MAX, why);
		op_fail(it->op, &err);
		return;
	}
	op_progress(it->op, "replaced", it->label);
	snprintf(it->differs, sizeof(it->differs), "%s", why);
	it->mended = true;
	remove_object(it->op, &it->removal, it->path, json_str(got, "metadata.uid"), on_removed,
		      it);
}

/* An owner that is part of the plan under another uid than the one it has now. */
static bool has_stale_owner(struct write *w, const json_t *got)
{
	json_t *ref;
	size_t i;

	json_array_foreach (json_at(got, "metadata.ownerReferences"), i, ref) {
		const struct item *owner =
			find(w, json_str_or(ref, "kind", ""), json_str_or(ref, "name", ""));

		if (owner && owner->uid[0] && strcmp(owner->uid, json_str_or(ref, "uid", "")) != 0)
			return true;
	}
	return false;
}

static bool has_owner(const json_t *got, const struct item *owner)
{
	json_t *ref;
	size_t i;

	json_array_foreach (json_at(got, "metadata.ownerReferences"), i, ref)
		if (strcmp(json_str_or(ref, "uid", ""), owner->uid) == 0)
			return true;
	return false;
}

/* NULL: as wanted. Caller frees. */
static char *difference(const struct item *it, const json_t *got)
{
	const struct item *owner = it->owner, *holder = it->holder;
	char *path;

	if ((owner && !has_owner(got, owner)) || (holder && !has_owner(got, holder))) {
		path = strdup("metadata.ownerReferences");
		assert(path);
		return path;
	}
	return compare_object(it->object, got);
}

static void on_got(struct capi_op *op, void *arg, const struct kube_reply *r);

static void on_patched(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct item *it = arg;

	if (ok(r)) {
		examine(it, r->body);
	} else if (r->status == 404) {
		create(it);
	} else if (r->status == 409 && is_cluster(it)) {
		it->conflicts++;
		it->mends--;
		op_call(op, "GET", it->path, NULL, NULL, 0, on_got, it);
	} else if ((r->status == 422 || r->status == 403) && !is_cluster(it)) {
		replace(it, NULL, "its change was refused");
	} else {
		fail_item(it, r, "changing");
	}
}

/* The object that is wanted, with the version of the one that was read. */
static json_t *guarded(json_t *object, const json_t *got)
{
	json_t *copy = json_copy(object);

	json_object_set_new(copy, "metadata", json_copy(json_object_get(object, "metadata")));
	json_put(copy, "metadata.resourceVersion",
		 json_string(json_str_or(got, "metadata.resourceVersion", "")));
	json_decref(object);
	return copy;
}

static void mend(struct item *it, const json_t *got, const char *what)
{
	struct pcg_error err;
	json_t *body;

	if (++it->mends > MENDS_MAX || it->conflicts > CONFLICTS_MAX) {
		pcg_fail(&err, PCG_CLASS_CONFLICT,
			 "see who else writes this object; then it is tried again",
			 "writing %s: %s is not what was written, after %d changes", it->label,
			 what, it->conflicts > CONFLICTS_MAX ? it->conflicts : MENDS_MAX);
		op_fail(it->op, &err);
		return;
	}
	it->mended = true;
	snprintf(it->differs, sizeof(it->differs), "%s", what);
	op_progress(it->op,
		    strcmp(what, "spec.paused") == 0 ? "paused again, as somebody had unpaused it,"
						     : "changed",
		    it->label);
	body = with_owner(it);
	if (is_cluster(it))
		body = guarded(body, got);
	op_call(it->op, "PATCH", it->path, OP_MERGE_PATCH, body, 0, on_patched, it);
	json_wipe(body);
}

/* False: the op has failed, as a newer authority is in charge. */
static bool authority_is_ours(struct capi_op *op, const json_t *got)
{
	struct authority now, ours;
	struct pcg_error err;

	authority_read(got, &now);
	authority_read(cluster_of(op_state(op)), &ours);
	if (strcmp(now.holder, "cluster") != 0 && now.epoch <= ours.epoch)
		return true;
	pcg_fail(&err, PCG_CLASS_CONFLICT, "the Cluster was left as it is; the newer authority stands",
		 "writing the objects with epoch %" PRId64
		 ": authority over the cluster is \"%s\" with epoch %" PRId64,
		 ours.epoch, now.holder, now.epoch);
	op_fail(op, &err);
	return false;
}

static void examine(struct item *it, const json_t *got)
{
	struct write *w = op_state(it->op);
	AUTO_FREE char *what = NULL;

	if (is_cluster(it) && !authority_is_ours(it->op, got))
		return;
	if (json_str(got, "metadata.deletionTimestamp")) {
		replace(it, got, "it is being deleted");
		return;
	}
	if (has_stale_owner(w, got)) {
		replace(it, got, "an owner that is gone holds it");
		return;
	}
	keep_identity(w, it, got);
	what = difference(it, got);
	if (what)
		mend(it, got, what);
	else
		write_status(it, got);
}

static void on_got(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct item *it = arg;

	(void)op;
	if (r->status == 404)
		create(it);
	else if (ok(r))
		examine(it, r->body);
	else
		fail_item(it, r, "reading");
}

/* ---- create ---- */

static void on_created(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct item *it = arg;

	FAULT_POINT("capi.after_create_object");
	if (r->status == 409) {
		op_call(op, "GET", it->path, NULL, NULL, 0, on_got, it);
	} else if (ok(r)) {
		it->created = true;
		op_progress(op, "created", it->label);
		keep_identity(op_state(op), it, r->body);
		write_status(it, r->body);
	} else {
		fail_item(it, r, "creating");
	}
}

static void create(struct item *it)
{
	json_t *body = with_owner(it);

	FAULT_POINT("capi.before_create_object");
	op_call(it->op, "POST", it->collection, NULL, body,
		it->owns || is_cluster(it) ? OP_METADATA : OP_UNREAD, on_created, it);
	json_wipe(body);
}

/* ---- rounds ---- */

static void next_group(struct capi_op *op);

static void begin_item(struct capi_op *op, void *arg, size_t i)
{
	struct write *w = arg;

	(void)op;
	create(&w->items[w->first + i]);
}

static void end_group(struct capi_op *op, void *arg)
{
	struct write *w = arg;

	w->first += w->count;
	next_group(op);
}

static void read_back(struct capi_op *op);

static void begin_check(struct capi_op *op, void *arg, size_t i)
{
	struct write *w = arg;
	struct item *it = &w->items[w->first + i];
	const struct item *owner = it->owner, *holder = it->holder;
	json_t *seen = TAKE(it->seen);

	if (seen && !(owner && owner->mended) && !(holder && holder->mended))
		examine(it, seen);
	else
		op_call(op, "GET", it->path, NULL, NULL, 0, on_got, it);
	json_wipe(seen);
}

static bool is_machine(const struct item *it)
{
	return strcmp(json_str_or(it->object, "kind", ""), "Machine") == 0;
}

/* Whoever let the controllers loose while not everything was written has made them make machines. */
static int check_machines(struct write *w, const json_t *machines, struct pcg_error *err)
{
	json_t *m;
	size_t n;

	json_array_foreach (machines, n, m)
		if (!find(w, "Machine", json_str_or(m, "metadata.name", "")))
			return pcg_fail(err, PCG_CLASS_CONFLICT,
					"somebody unpaused the Cluster while it was written: remove "
					"that Machine and what it made in the infrastructure, or "
					"delete the cluster",
					"Machine/%s is not of the gateway's making",
					json_str_or(m, "metadata.name", "?"));
	return 0;
}

static void finish(struct capi_op *op)
{
	struct write *w = op_state(op);
	json_t *result = NULL;

	for (size_t i = 0; i < w->n; i++)
		if (is_cluster(&w->items[i]))
			result = json_pack("{s:{s:s,s:s}}", "cluster", "resourceVersion",
					   w->resource_version, "uid", w->items[i].uid);
	op_progress(op, "verified", "objects");
	op_done(op, result);
}

static void end_check(struct capi_op *op, void *arg)
{
	struct write *w = arg;
	const struct item *other = NULL;
	struct pcg_error err;

	w->first += w->count;
	if (w->first < w->n) {
		next_group(op);
		return;
	}
	for (size_t i = 0; i < w->n; i++)
		if (w->items[i].mended)
			other = &w->items[i];
	if (!other) {
		finish(op);
	} else if (w->rounds >= ROUNDS_MAX) {
		pcg_fail(&err, PCG_CLASS_CONFLICT,
			 "see who else writes these objects; then it is tried again",
			 "objects read back differed in each of %d rounds, the last one %s: %s",
			 ROUNDS_MAX, other->label, other->differs);
		op_fail(op, &err);
	} else {
		read_back(op);
	}
}

/* ---- reading back ---- */

static struct item *seen_in(struct write *w, const struct item *head, const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->items[i].collection, head->collection) == 0 &&
		    strcmp(json_str_or(w->items[i].object, "metadata.name", ""), name) == 0)
			return &w->items[i];
	return NULL;
}

/* Items of a list need not say what they are. */
static void take_seen(struct write *w, const struct item *head, const json_t *items)
{
	json_t *got;
	size_t i;

	json_array_foreach (items, i, got) {
		struct item *it = seen_in(w, head, json_str_or(got, "metadata.name", ""));

		if (!it)
			continue;
		json_object_set(got, "apiVersion", json_object_get(it->object, "apiVersion"));
		json_object_set(got, "kind", json_object_get(it->object, "kind"));
		json_wipe(it->seen);
		it->seen = json_incref(got);
	}
}

static void on_listed(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct item *head = arg;
	const json_t *items = json_object_get(r->body, "items");
	struct pcg_error err = r->err;

	if (r->status != 200) {
		pcg_fail_prefix(&err, "listing what is beside %s", head->label);
		op_fail(op, &err);
		return;
	}
	if (is_machine(head) && check_machines(op_state(op), items, &err)) {
		op_fail(op, &err);
		return;
	}
	take_seen(op_state(op), head, items);
	op_item_done(op);
}

static void begin_list(struct capi_op *op, void *arg, size_t i)
{
	struct write *w = arg;
	struct item *head = w->heads[i];
	AUTO_FREE char *selector = NULL;

	if (asprintf(&selector, CAPI_LABEL_CLUSTER "=%s",
		     json_str(cluster_of(w), "metadata.name")) < 0)
		abort();
	op_list(op, head->collection, selector, on_listed, head);
}

static void end_lists(struct capi_op *op, void *arg)
{
	struct write *w = arg;

	op_batch(op, w->count, begin_check, end_check, w);
}

/* The first of at least two in its collection, in this round; or the first Machine, as the others are
 * looked at too. The Cluster was read before it: machines that somebody had made while it was not
 * paused are there. */
static bool is_listed(const struct write *w, size_t at)
{
	bool more = is_machine(&w->items[at]);

	for (size_t i = 0; i < w->n; i++) {
		if (i == at || strcmp(w->items[i].collection, w->items[at].collection) != 0)
			continue;
		if (i < at)
			return false;
		more = true;
	}
	return more;
}

/* Group by group here too, so that what is made anew finds its owner's uid. */
static void check_group(struct capi_op *op)
{
	struct write *w = op_state(op);

	w->n_heads = 0;
	for (size_t i = 0; i < w->count; i++)
		if (is_listed(w, w->first + i))
			w->heads[w->n_heads++] = &w->items[w->first + i];
	op_batch(op, w->n_heads, begin_list, end_lists, w);
}

static void read_back(struct capi_op *op)
{
	struct write *w = op_state(op);

	FAULT_POINT("capi.before_read_back");
	w->rounds++;
	w->first = 0;
	w->count = 0;
	for (size_t i = 0; i < w->n; i++) {
		w->items[i].mended = false;
		json_wipe(TAKE(w->items[i].seen));
	}
	next_group(op);
}

static void next_group(struct capi_op *op)
{
	struct write *w = op_state(op);
	json_int_t group;

	w->count = 0;
	if (w->first >= w->n) {
		read_back(op);
		return;
	}
	group = json_int_or(w->items[w->first].entry, "group", 0);
	while (w->first + w->count < w->n &&
	       json_int_or(w->items[w->first + w->count].entry, "group", 0) == group)
		w->count++;
	if (w->rounds)
		check_group(op);
	else
		op_batch(op, w->count, begin_item, end_group, w);
}

/* ---- before the first write ---- */

/* An earlier attempt has got as far as the Cluster: what it wrote after that may be of another request. */
static void on_cluster_read(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct write *w = op_state(op);
	struct pcg_error err = r->err;

	(void)arg;
	if (r->status == 404) {
		next_group(op);
		return;
	}
	if (r->status != 200) {
		pcg_fail_prefix(&err, "reading the cluster's object before writing");
		op_fail(op, &err);
		return;
	}
	if (authority_is_ours(op, r->body))
		outdated_remove(op, &w->outdated, w->plan, next_group);
}

static void start_write(struct capi_op *op)
{
	struct write *w = op_state(op);
	const json_t *cluster;
	AUTO_FREE char *path = NULL;
	struct pcg_error err;
	json_t *entry;
	size_t i;

	w->n = json_array_size(json_object_get(w->plan, "objects"));
	w->items = calloc(w->n ? w->n : 1, sizeof(*w->items));
	w->heads = calloc(w->n ? w->n : 1, sizeof(struct item *));
	assert(w->items && w->heads);
	json_array_foreach (json_object_get(w->plan, "objects"), i, entry) {
		struct item *it = &w->items[i];

		it->op = op;
		it->entry = entry;
		it->object = json_object_get(entry, "object");
		it->path = path_of(it->object);
		it->collection = path_of_collection(it->object);
		it->label = path_label(it->object);
	}
	for (i = 0; i < w->n; i++)
		find_owners(w, &w->items[i]);
	if (serving_ca_check(w->plan, kube_ca_pem(op_kube(op)), &err)) {
		op_fail(op, &err);
		return;
	}
	cluster = cluster_of(w);
	path = path_of(cluster);
	op_call(op, "GET", path, NULL, NULL, 0, on_cluster_read, NULL);
}

struct capi_op *capi_write(struct kube *k, const json_t *plan, const struct capi_callbacks *cb)
{
	static const struct op_type type = {
		.name = "write",
		.start = start_write,
		.free_state = free_write,
		.state_size = sizeof(struct write),
	};
	struct capi_op *op = op_new(k, &type, cb);
	struct write *w = op_state(op);

	w->plan = json_incref((json_t *)(uintptr_t)plan); /* read only */
	return op;
}
