/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/outdated.h"
#include "host/capi/path.h"
#include "host/capi/shapes.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND "MachineDeployment"

void outdated_free(struct outdated *o)
{
	for (size_t i = 0; i < o->n; i++) {
		free(o->targets[i].path);
		free(o->targets[i].label);
	}
	free(o->targets);
}

static const json_t *planned(const struct outdated *o, const char *kind, const char *name)
{
	size_t i;
	json_t *entry;

	json_array_foreach (json_object_get(o->plan, "objects"), i, entry)
		if (strcmp(json_str_or(entry, "object.kind", ""), kind) == 0 &&
		    (!name || strcmp(json_str_or(entry, "object.metadata.name", ""), name) == 0))
			return json_object_get(entry, "object");
	return NULL;
}

static void end_all(struct capi_op *op, void *arg)
{
	struct outdated *o = arg;

	o->done(op);
}

static void on_gone(struct capi_op *op, void *arg)
{
	struct outdated_target *t = arg;

	op_progress(op, "removed, as the request no longer has it,", t->label);
	op_item_done(op);
}

static void begin_one(struct capi_op *op, void *arg, size_t i)
{
	struct outdated *o = arg;
	struct outdated_target *t = &o->targets[i];

	remove_object(op, &t->removal, t->path, NULL, on_gone, t);
}

static void note(struct outdated *o, const json_t *cluster, const json_t *got)
{
	struct outdated_target *t = &o->targets[o->n];
	const char *name = json_str_or(got, "metadata.name", "");

	if (!json_object_get(json_at(got, "metadata.annotations"), CAPI_POOL) || planned(o, KIND, name))
		return;
	t->path = path_object(json_str(cluster, "apiVersion"), KIND, json_str(cluster, "metadata.namespace"), name);
	if (asprintf(&t->label, KIND "/%s", name) < 0)
		abort();
	o->n++;
}

static void on_listed(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct outdated *o = arg;
	const json_t *cluster = planned(o, "Cluster", NULL), *items = json_object_get(r->body, "items");
	struct pcg_error err = r->err;
	json_t *got;
	size_t i;

	if (r->status != 200) {
		pcg_fail_prefix(&err, "reading the machine deployments before writing");
		op_fail(op, &err);
		return;
	}
	o->targets = calloc(json_array_size(items) + 1, sizeof(*o->targets));
	assert(o->targets);
	json_array_foreach (items, i, got)
		note(o, cluster, got);
	op_batch(op, o->n, begin_one, end_all, o);
}

void outdated_remove(struct capi_op *op, struct outdated *o, const json_t *plan, void (*done)(struct capi_op *op))
{
	const json_t *cluster;
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *selector = NULL;

	o->plan = plan;
	o->done = done;
	cluster = planned(o, "Cluster", NULL);
	path = path_collection(json_str(cluster, "apiVersion"), KIND, json_str(cluster, "metadata.namespace"));
	if (asprintf(&selector, CAPI_LABEL_CLUSTER "=%s", json_str(cluster, "metadata.name")) < 0)
		abort();
	op_list(op, path, selector, on_listed, o);
}
