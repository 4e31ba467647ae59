/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cluster needs before it can own itself, stage by stage: network, cloud provider,
 * certificate manager, controllers; then the other layers of the profile. All files are read and
 * checked before the first object is sent. Only what can run on the one control-plane node is
 * waited for: storage and add-ons get their nodes after the hand-over. The controllers start beside
 * each other and are waited for together, as clusterctl does: none needs another one to start.
 *
 * A network layer reaches the API by its Service's address. Started before kube-proxy has made that
 * one, its first connection is lost and not tried again for half a minute, so kube-proxy is waited
 * for, though not for ever: a cluster may be without.
 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/bundle.h"
#include "host/capi/inventory.h"
#include "host/capi/manifest.h"
#include "host/capi/op.h"
#include "core/fault.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define APPLY_MS 600000
#define AVAILABLE_MS 600000
#define SERVICES_MS 30000

struct install;

/* The objects are the manifests', and shared with other clusters. */
struct stages {
	json_t *list; /* [{"name","objects","wait","go_on"}] */
	struct manifest **held;
	size_t n_held;
};

/* Reading runs on the loop's pool and may outlive a cancelled op: it then frees itself. */
struct reading {
	uv_work_t work;
	struct capi_op *op; /* NULL: cancelled */
	json_t *input;
	struct stages stages;
	int r;
	struct pcg_error err;
};

struct install {
	struct reading *reading;
	struct stages stages;
	size_t stage;
	json_t *waits;   /* [{"stage","object"}]: workloads that were applied and are waited for */
	size_t awaiting; /* the first stage that was not reported as available */
	uint32_t services_ms;
};

static void stages_free(struct stages *s)
{
	json_wipe(s->list);
	for (size_t i = 0; i < s->n_held; i++)
		manifest_put(s->held[i]);
	free(s->held);
	memset(s, 0, sizeof(*s));
}

static void free_reading(struct reading *rd)
{
	json_wipe(rd->input);
	stages_free(&rd->stages);
	free(rd);
}

static void free_install(void *state)
{
	struct install *in = state;

	if (in->reading)
		in->reading->op = NULL;
	json_decref(in->waits);
	stages_free(&in->stages);
}

/* ---- on the pool ---- */

/* wait: for its workloads. go_on: not before the next stage is applied. */
static void add_stage(struct reading *rd, const char *name, json_t *objects, bool wait, bool go_on)
{
	json_array_append_new(rd->stages.list,
			      json_pack("{s:s,s:o,s:b,s:b}", "name", name, "objects", objects,
					"wait", wait, "go_on", go_on));
}

static const json_t *hold(struct reading *rd, struct manifest *m)
{
	struct stages *s = &rd->stages;

	s->held = realloc(s->held, (s->n_held + 1) * sizeof(struct manifest *));
	assert(s->held);
	s->held[s->n_held++] = m;
	return manifest_objects(m);
}

static int load_layer(struct reading *rd, const json_t *layer, bool wait)
{
	const char *name = json_str_or(layer, "name", json_str_or(layer, "layer", "layer"));
	AUTO_JSON json_t *objects = json_array();
	json_t *manifest;
	size_t i;

	json_array_foreach (json_object_get(layer, "manifests"), i, manifest) {
		const char *content = json_str_or(manifest, "content", "");
		struct manifest *m;
		int r = manifest_get("layer", content, strlen(content),
				     json_str_or(manifest, "name", name), NULL, &m, &rd->err);

		if (r)
			return pcg_fail_prefix(&rd->err, "layer %s", name);
		json_array_extend(objects, (json_t *)(uintptr_t)hold(rd, m));
	}
	if (json_array_size(objects))
		add_stage(rd, name, TAKE(objects), wait, false);
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
	bool addresses = json_bool_or(rd->input, "addresses", false);
	size_t last = addresses ? BUNDLE_PARTS - 1 : BUNDLE_INFRASTRUCTURE;
	int r = capi_bundle_check(dir, options.provider, addresses, &rd->err);

	for (size_t i = 0; r == 0 && i <= last; i++) {
		const struct bundle_part *part = &bundle_parts[i];
		bool controllers_follow = i > 0 && i < last;
		struct manifest *m;
		json_t *entry = NULL;
		char name[160];

		r = bundle_load(dir, &options, part, &m, &entry, &rd->err);
		if (r)
			break;
		snprintf(name, sizeof(name), "%s%s", part->folder,
			 part->infrastructure ? options.provider : "");
		add_stage(rd, name, json_incref((json_t *)(uintptr_t)hold(rd, m)), true,
			  controllers_follow);
		if (entry)
			json_array_append_new(inventory, entry);
	}
	if (r == 0)
		add_stage(rd, "inventory", inventory, false, false);
	else
		json_decref(inventory);
	return r;
}

int capi_layers_check(const json_t *layers, struct pcg_error *err)
{
	struct reading rd = {.input = json_pack("{s:O*}", "layers", layers), .stages.list = json_array()};
	json_t *stage;
	size_t i;
	int r = load_layers(&rd, true);

	if (!r)
		r = load_layers(&rd, false);
	json_array_foreach (rd.stages.list, i, stage)
		if (!r) {
			r = kube_apply_check(json_object_get(stage, "objects"), &rd.err);
			if (r)
				pcg_fail_prefix(&rd.err, "layer %s", json_str(stage, "name"));
		}
	if (r && !*rd.err.remedy)
		snprintf(rd.err.remedy, sizeof(rd.err.remedy), "correct this manifest in the cluster's profile");
	*err = rd.err;
	json_decref(rd.input);
	stages_free(&rd.stages);
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
	return json_array_get(in->stages.list, in->stage);
}

static void fail_stage(struct capi_op *op, const char *stage, const struct pcg_error *cause)
{
	struct pcg_error err = *cause;

	pcg_fail_prefix(&err, "installing %s", stage);
	op_fail(op, &err);
}

static void on_available(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	const json_t *wait = arg;

	if (r->status >= 200 && r->status < 300 && r->err.text[0] == '\0')
		op_item_done(op);
	else
		fail_stage(op, json_str(wait, "stage"), &r->err);
}

static void begin_wait(struct capi_op *op, void *arg, size_t i)
{
	struct install *in = arg;
	json_t *wait = json_array_get(in->waits, i);

	op_wait_available(op, json_object_get(wait, "object"), AVAILABLE_MS, on_available, wait);
}

static void end_stage(struct capi_op *op)
{
	struct install *in = op_state(op);

	FAULT_POINT("capi.after_install_stage");
	in->stage++;
	next_stage(op);
}

static void end_wait(struct capi_op *op, void *arg)
{
	struct install *in = arg;

	json_array_clear(in->waits);
	for (; in->awaiting <= in->stage; in->awaiting++)
		op_progress(op, "available",
			    json_str(json_array_get(in->stages.list, in->awaiting), "name"));
	end_stage(op);
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
			json_array_append_new(in->waits,
					      json_pack("{s:s,s:O}", "stage",
							json_str(current(in), "name"), "object",
							o));
	}
}

static void on_applied(struct capi_op *op, const struct pcg_error *err)
{
	struct install *in = op_state(op);

	if (err) {
		fail_stage(op, json_str(current(in), "name"), err);
		return;
	}
	if (json_bool_or(current(in), "wait", false))
		collect_waits(in, json_object_get(current(in), "objects"));
	if (json_bool_or(current(in), "go_on", false))
		end_stage(op);
	else
		op_batch(op, json_array_size(in->waits), begin_wait, end_wait, in);
}

/* What many clusters are given is made into text once. */
static const char *text_of(struct capi_op *op, const json_t *object, size_t *len)
{
	const struct stages *s = &((struct install *)op_state(op))->stages;
	const char *text = NULL;

	for (size_t i = 0; i < s->n_held && !text; i++)
		text = manifest_text(s->held[i], object, len);
	return text;
}

static void next_stage(struct capi_op *op)
{
	struct install *in = op_state(op);

	if (in->stage >= json_array_size(in->stages.list)) {
		op_done(op, NULL);
		return;
	}
	op_progress(op, "installing", json_str(current(in), "name"));
	FAULT_POINT("capi.before_install_stage");
	op_apply(op, json_object_get(current(in), "objects"), APPLY_MS, text_of, on_applied);
}

static void on_services(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	(void)arg;
	if (r->status == 200)
		op_progress(op, "available", "kube-proxy");
	next_stage(op);
}

static void wait_for_services(struct capi_op *op)
{
	struct install *in = op_state(op);
	AUTO_JSON json_t *proxy =
		json_pack("{s:s,s:s,s:{s:s,s:s}}", "apiVersion", "apps/v1", "kind", "DaemonSet",
			  "metadata", "namespace", "kube-system", "name", "kube-proxy");

	op_wait_available(op, proxy, in->services_ms, on_services, NULL);
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
			in->stages = rd->stages;
			memset(&rd->stages, 0, sizeof(rd->stages));
			wait_for_services(op);
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
	rd->stages.list = json_array();
	in->waits = json_array();
	in->services_ms = (uint32_t)json_int_or(input, "servicesMs", SERVICES_MS);
	default_variables(rd->input);
	in->reading = rd;
	return op;
}
