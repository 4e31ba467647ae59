/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cluster needs before it can own itself, stage by stage: network, cloud provider,
 * certificate manager, controllers; then the other layers of the profile. All files are read and
 * checked before the first object is sent. Only what can run on the one control-plane node is
 * waited for: storage and add-ons get their nodes after the hand-over.
 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/bundle.h"
#include "host/capi/inventory.h"
#include "host/capi/op.h"
#include "core/fault.h"
#include "core/yaml.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define APPLY_MS 600000
#define AVAILABLE_MS 600000

struct install;

/* Reading runs on the loop's pool and may outlive a cancelled op: it then frees itself. */
struct reading {
	uv_work_t work;
	struct capi_op *op; /* NULL: cancelled */
	json_t *input;
	json_t *stages; /* [{"name","objects","wait"}] */
	int r;
	struct pcg_error err;
};

struct install {
	struct reading *reading;
	json_t *stages;
	size_t stage;
	json_t *waits; /* workloads of the stage */
};

static void free_reading(struct reading *rd)
{
	json_wipe(rd->input);
	json_wipe(rd->stages);
	free(rd);
}

static void free_install(void *state)
{
	struct install *in = state;

	if (in->reading)
		in->reading->op = NULL;
	json_wipe(in->stages);
	json_decref(in->waits);
}

/* ---- on the pool ---- */

static void add_stage(struct reading *rd, const char *name, json_t *objects, bool wait)
{
	json_array_append_new(rd->stages, json_pack("{s:s,s:o,s:b}", "name", name, "objects",
						    objects, "wait", wait));
}

static int load_layer(struct reading *rd, const json_t *layer, bool wait)
{
	const char *name = json_str_or(layer, "name", json_str_or(layer, "layer", "layer"));
	AUTO_JSON json_t *objects = json_array();
	json_t *manifest;
	size_t i;

	json_array_foreach (json_object_get(layer, "manifests"), i, manifest) {
		const char *content = json_str_or(manifest, "content", "");
		AUTO_JSON json_t *docs = NULL;
		int r = yaml_load_all(content, strlen(content), json_str_or(manifest, "name", name),
				      &docs, &rd->err);

		if (r)
			return pcg_fail_prefix(&rd->err, "layer %s", name);
		json_array_extend(objects, docs);
	}
	if (json_array_size(objects))
		add_stage(rd, name, TAKE(objects), wait);
	return 0;
}

static int load_layers(struct reading *rd, bool before_controllers)
{
	static const char *const first[] = {"cni", "cloud-provider"};
	const json_t *layers = json_object_get(rd->input, "layers");
	json_t *layer;
	size_t i;
	int r;

	for (size_t f = 0; before_controllers && f < ARRAY_LEN(first); f++)
		json_array_foreach (layers, i, layer)
			if (strcmp(json_str_or(layer, "layer", ""), first[f]) == 0) {
				r = load_layer(rd, layer, true);
				if (r)
					return r;
			}
	if (before_controllers)
		return 0;
	json_array_foreach (layers, i, layer) {
		const char *kind = json_str_or(layer, "layer", "");

		if (strcmp(kind, first[0]) == 0 || strcmp(kind, first[1]) == 0)
			continue;
		r = load_layer(rd, layer, false);
		if (r)
			return r;
	}
	return 0;
}

/* Credentials that a provider's components ask for, for clusters that name none of their own; ours
 * always do. */
static void default_variables(json_t *input)
{
	static const char *const unused[] = {"VSPHERE_USERNAME", "VSPHERE_PASSWORD"};
	json_t *variables = json_object_get(input, "variables");

	if (!json_is_object(variables)) {
		variables = json_object();
		json_object_set_new(input, "variables", variables);
	}
	for (size_t i = 0; i < ARRAY_LEN(unused); i++)
		if (!json_object_get(variables, unused[i]))
			json_object_set_new(variables, unused[i], json_string(""));
}

static int load_bundle(struct reading *rd)
{
	struct bundle_options options = {
		.provider = json_str_or(rd->input, "provider", ""),
		.variables = json_object_get(rd->input, "variables"),
		.image_repository = json_str(rd->input, "imageRepository"),
	};
	const char *dir = json_str_or(rd->input, "bundle", "");
	json_t *inventory = json_pack("[o]", inventory_definition());
	int r = capi_bundle_check(dir, options.provider, &rd->err);

	for (size_t i = 0; r == 0 && i < BUNDLE_PARTS; i++) {
		const struct bundle_part *part = &bundle_parts[i];
		json_t *objects = NULL, *entry = NULL;
		char name[160];

		r = bundle_load(dir, &options, part, &objects, &entry, &rd->err);
		if (r)
			break;
		snprintf(name, sizeof(name), "%s%s", part->folder,
			 part->infrastructure ? options.provider : "");
		add_stage(rd, name, objects, true);
		if (entry)
			json_array_append_new(inventory, entry);
	}
	if (r == 0)
		add_stage(rd, "inventory", inventory, false);
	else
		json_decref(inventory);
	return r;
}

static void read_all(uv_work_t *work)
{
	struct reading *rd = work->data;

	rd->r = load_layers(rd, true);
	if (rd->r == 0)
		rd->r = load_bundle(rd);
	if (rd->r == 0)
		rd->r = load_layers(rd, false);
}

/* ---- in the loop ---- */

static void next_stage(struct capi_op *op);

static const json_t *current(const struct install *in)
{
	return json_array_get(in->stages, in->stage);
}

static void fail_stage(struct capi_op *op, const struct pcg_error *cause)
{
	struct install *in = op_state(op);
	struct pcg_error err = *cause;

	pcg_fail_prefix(&err, "installing %s", json_str(current(in), "name"));
	op_fail(op, &err);
}

static void on_available(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	(void)arg;
	if (r->status >= 200 && r->status < 300 && r->err.text[0] == '\0')
		op_item_done(op);
	else
		fail_stage(op, &r->err);
}

static void begin_wait(struct capi_op *op, void *arg, size_t i)
{
	struct install *in = arg;
	const json_t *object = json_array_get(in->waits, i);

	op_wait_available(op, object, AVAILABLE_MS, on_available, NULL);
}

static void end_wait(struct capi_op *op, void *arg)
{
	struct install *in = arg;

	op_progress(op, "available", json_str(current(in), "name"));
	FAULT_POINT("capi.after_install_stage");
	in->stage++;
	next_stage(op);
}

static void collect_waits(struct install *in, const json_t *objects)
{
	json_t *o;
	size_t i;

	json_array_foreach (objects, i, o) {
		const char *kind = json_str_or(o, "kind", "");

		if (strcmp(kind, "List") == 0)
			collect_waits(in, json_object_get(o, "items"));
		else if (strcmp(kind, "DaemonSet") == 0 ||
			 (strcmp(kind, "Deployment") == 0 && bundle_tolerates(o)))
			json_array_append(in->waits, o);
	}
}

static void on_applied(struct capi_op *op, const struct pcg_error *err)
{
	struct install *in = op_state(op);

	if (err) {
		fail_stage(op, err);
		return;
	}
	json_decref(in->waits);
	in->waits = json_array();
	if (json_bool_or(current(in), "wait", false))
		collect_waits(in, json_object_get(current(in), "objects"));
	op_batch(op, json_array_size(in->waits), begin_wait, end_wait, in);
}

static void next_stage(struct capi_op *op)
{
	struct install *in = op_state(op);

	if (in->stage >= json_array_size(in->stages)) {
		op_done(op, NULL);
		return;
	}
	op_progress(op, "installing", json_str(current(in), "name"));
	FAULT_POINT("capi.before_install_stage");
	op_apply(op, json_object_get(current(in), "objects"), APPLY_MS, on_applied);
}

static void on_read(uv_work_t *work, int status)
{
	struct reading *rd = work->data;
	struct capi_op *op = rd->op;
	struct install *in;

	if (op) {
		in = op_state(op);
		in->reading = NULL;
		assert(status == 0);
		if (rd->r) {
			op_fail(op, &rd->err);
		} else {
			in->stages = TAKE(rd->stages);
			next_stage(op);
		}
	}
	free_reading(rd);
}

static void start_install(struct capi_op *op)
{
	struct install *in = op_state(op);

	in->reading->work.data = in->reading;
	uv_queue_work(kube_loop(op_kube(op)), &in->reading->work, read_all, on_read);
}

/* Cancelled before its first turn: nothing was queued, so nobody else frees what would have been
 * read. */
static void free_unstarted(void *state)
{
	struct install *in = state;

	if (in->reading && !in->reading->work.data)
		free_reading(TAKE(in->reading));
	free_install(state);
}

struct capi_op *capi_install(struct kube *k, const json_t *input, const struct capi_callbacks *cb)
{
	static const struct op_type type = {
		.name = "install",
		.start = start_install,
		.free_state = free_unstarted,
		.state_size = sizeof(struct install),
	};
	struct capi_op *op = op_new(k, &type, cb);
	struct install *in = op_state(op);
	struct reading *rd = calloc(1, sizeof(*rd));

	assert(rd);
	rd->op = op;
	rd->input = json_deep_copy(input);
	rd->stages = json_array();
	default_variables(rd->input);
	in->reading = rd;
	return op;
}
