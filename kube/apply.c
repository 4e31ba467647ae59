/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "kube/kube_impl.h"

#include "core/attr.h"
#include "core/clock.h"

#include <string.h>

#define PARALLEL 8
#define RETRY_FIRST_MS 100
#define RETRY_LAST_MS 2000

struct apply;

/* One object on its way: looked for, sent, or waiting for its next try. */
struct lane {
	struct apply *a;
	const json_t *object; /* NULL: idle */
	struct kube_op *step;
	struct kube_timer *timer;
	char *path;
	uint32_t wait_ms;
	struct pcg_error last;
};

struct apply {
	struct kube_op op;
	json_t *objects; /* in order */
	size_t next;
	struct lane lanes[PARALLEL];
	struct kube_timer *begin;
	int64_t deadline;
	char *ns;
	bool *gone;
	struct kube_apply_spec spec;
};

static void destroy(struct kube_op *op)
{
	struct apply *a = (struct apply *)op;

	if (a->gone)
		*a->gone = true;
	for (size_t i = 0; i < PARALLEL; i++) {
		kube_op_cancel(a->lanes[i].step);
		kube_timer_stop(&a->lanes[i].timer);
		free(a->lanes[i].path);
	}
	kube_timer_stop(&a->begin);
	json_decref(a->objects);
	free(a->ns);
	free(a);
}

static void finish(struct apply *a, const struct pcg_error *err)
{
	void (*done)(void *, const struct pcg_error *) = a->spec.done;
	void *arg = a->spec.arg;
	struct pcg_error copy;

	if (err)
		copy = *err;
	kube_op_end(&a->op);
	done(arg, err ? &copy : NULL);
}

static void fail(struct lane *l, const struct pcg_error *err)
{
	struct pcg_error e = *err;
	char name[256];

	kube_object_name(l->object, NULL, name);
	pcg_fail_prefix(&e, "applying %s", name);
	finish(l->a, &e);
}

static bool passes(const struct pcg_error *err)
{
	return err->class == PCG_CLASS_RETRY || err->class == PCG_CLASS_CONFLICT ||
	       err->class == PCG_CLASS_NOT_FOUND;
}

static void try_object(void *arg);

static void again(struct lane *l, const struct pcg_error *err)
{
	struct pcg_error e = *err;

	if (!passes(err)) {
		fail(l, err);
		return;
	}
	if (clock_mono_ms() + l->wait_ms >= l->a->deadline) {
		pcg_fail_prefix(&e, "not done after %u s", l->a->spec.timeout_ms / 1000);
		fail(l, &e);
		return;
	}
	l->last = e;
	l->timer = kube_timer_start(l->a->op.k, l->wait_ms, try_object, l);
	l->wait_ms = l->wait_ms * 2 < RETRY_LAST_MS ? l->wait_ms * 2 : RETRY_LAST_MS;
}

static void fill(struct apply *a);

/* An apply that changes nothing leaves the generation as it is, and of what has none the version; controllers that write
 * the status do not count. */
static bool is_as_before(struct lane *l, const struct kube_reply *reply)
{
	const json_t *meta = json_object_get(reply->body, "metadata");
	json_t *now = json_object_get(meta, "generation"), *before;
	struct kube *k = l->a->op.k;

	if (!now)
		now = json_object_get(meta, "resourceVersion");
	if (reply->status == 201 || !now)
		return false;
	if (!k->applied)
		k->applied = json_object();
	before = json_object_get(k->applied, l->path);
	if (before && json_equal(before, now))
		return true;
	json_object_set(k->applied, l->path, now);
	return false;
}

static void on_applied(void *arg, const struct kube_reply *reply)
{
	struct lane *l = arg;
	struct apply *a = l->a;
	bool gone = false;

	l->step = NULL;
	if (reply->status == 0 || reply->status >= 400) {
		again(l, &reply->err);
		return;
	}
	if (a->spec.progress && !is_as_before(l, reply)) {
		a->gone = &gone;
		a->spec.progress(a->spec.arg, l->object, reply->status == 201);
		if (gone)
			return;
		a->gone = NULL;
	}
	l->object = NULL;
	fill(a);
}

static uint32_t time_left(const struct apply *a)
{
	int64_t left = a->deadline - clock_mono_ms();

	return left < 1000 ? 1000 : left > 30000 ? 30000 : (uint32_t)left;
}

static void on_path(void *arg, char *path, const struct pcg_error *err)
{
	struct lane *l = arg;
	const struct kube_apply_spec *spec = &l->a->spec;
	struct kube *k = l->a->op.k;
	const char *text = NULL;
	size_t text_len = 0;
	struct buf b;

	l->step = NULL;
	if (err) {
		again(l, err);
		return;
	}
	buf_init(&b, 1 << 16);
	buf_adds(&b, path);
	free(l->path);
	l->path = path;
	kube_query_add(&b, "fieldManager", k->field_manager);
	kube_query_add(&b, "force", "true");
	if (spec->text)
		text = spec->text(spec->arg, l->object, &text_len);
	/* Of an object that was made nothing is read. */
	l->step = kube_request_start(k,
				     &(struct kube_request_spec){
					     .method = "PATCH",
					     .path = b.data,
					     .content_type = "application/apply-patch+yaml",
					     .body = l->object,
					     .text = text,
					     .text_len = text_len,
					     .timeout_ms = time_left(l->a),
					     .raw = true,
					     .read_old = true,
					     .metadata = true,
				     },
				     on_applied, l);
	buf_free(&b);
}

static void try_object(void *arg)
{
	struct lane *l = arg;
	const json_t *o = l->object;

	kube_timer_stop(&l->timer);
	l->step = kube_find_start(l->a->op.k, json_str(o, "apiVersion"), json_str(o, "kind"),
				  json_str_or(o, "metadata.namespace", l->a->ns),
				  json_str(o, "metadata.name"), on_path, l);
}

static bool busy(const struct apply *a, int *rank)
{
	for (size_t i = 0; i < PARALLEL; i++)
		if (a->lanes[i].object) {
			*rank = kube_apply_rank(a->lanes[i].object);
			return true;
		}
	return false;
}

/* Gives idle lanes what may run beside what is running. */
static void fill(struct apply *a)
{
	int rank;

	for (size_t i = 0; i < PARALLEL && a->next < json_array_size(a->objects); i++) {
		const json_t *o = json_array_get(a->objects, a->next);
		struct lane *l = &a->lanes[i];

		if (busy(a, &rank) && rank != kube_apply_rank(o))
			return;
		if (l->object)
			continue;
		a->next++;
		l->object = o;
		l->wait_ms = RETRY_FIRST_MS;
		try_object(l);
	}
	if (!busy(a, &rank) && a->next == json_array_size(a->objects))
		finish(a, NULL);
}

static bool complete(const json_t *o)
{
	const char *version = json_str(o, "apiVersion"), *kind = json_str(o, "kind");
	const char *name = json_str(o, "metadata.name");

	return version && *version && kind && *kind && name && *name;
}

static int check(const json_t *ordered, struct pcg_error *err)
{
	size_t i;
	json_t *o;

	json_array_foreach (ordered, i, o) {
		char name[256];

		if (complete(o))
			continue;
		kube_object_name(o, NULL, name);
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"give every object apiVersion, kind and metadata.name",
				"applying %s: it lacks apiVersion, kind or metadata.name", name);
	}
	return 0;
}

int kube_apply_check(const json_t *objects, struct pcg_error *err)
{
	AUTO_JSON json_t *ordered = kube_apply_order(objects);

	return check(ordered, err);
}

static void begin(void *arg)
{
	struct apply *a = arg;
	struct pcg_error err;

	kube_timer_stop(&a->begin);
	if (check(a->objects, &err))
		finish(a, &err);
	else
		fill(a);
}

struct kube_op *kube_apply(struct kube *k, const struct kube_apply_spec *spec)
{
	struct apply *a = calloc(1, sizeof(*a));

	if (!a)
		abort();
	kube_op_start(&a->op, k, destroy);
	a->spec = *spec;
	if (!a->spec.timeout_ms)
		a->spec.timeout_ms = 300000;
	a->deadline = clock_mono_ms() + a->spec.timeout_ms;
	a->ns = strdup(spec->default_namespace ? spec->default_namespace : "default");
	a->objects = kube_apply_order(spec->objects);
	for (size_t i = 0; i < PARALLEL; i++)
		a->lanes[i].a = a;
	a->begin = kube_timer_start(k, 0, begin, a);
	return &a->op;
}
