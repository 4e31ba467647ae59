/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/attached.h"
#include "host/capi/capi.h"

#include <string.h>

void attached_free(struct attached *a)
{
	json_decref(a->load_balancers);
	json_decref(a->volumes);
	a->load_balancers = a->volumes = NULL;
}

/* One that is kept for a claim has that named, and will have it. */
static bool never_claimed(const json_t *volume)
{
	return strcmp(json_str_or(volume, "phase", ""), "Available") == 0 && !json_str(volume, "claim.name");
}

bool attached_is_removed(const json_t *volume, const json_t *keep)
{
	json_t *name;
	size_t i;

	json_array_foreach (keep, i, name)
		if (strcmp(json_string_value(name) ? json_string_value(name) : "",
			   json_str_or(volume, "name", "")) == 0)
			return false;
	/* One that nobody ever claimed is removed by no driver. */
	return strcmp(json_str_or(volume, "reclaimPolicy", ""), "Delete") == 0 && !never_claimed(volume);
}

static json_t *ingress_addresses(const json_t *service)
{
	json_t *out = json_array(), *i;
	size_t n;

	json_array_foreach (json_at(service, "status.loadBalancer.ingress"), n, i) {
		const char *address = json_str(i, "ip");

		if (!address)
			address = json_str(i, "hostname");
		if (address)
			json_array_append_new(out, json_string(address));
	}
	return out;
}

static void take_services(struct attached *a, const json_t *items)
{
	json_t *s;
	size_t i;

	a->load_balancers = json_array();
	json_array_foreach (items, i, s)
		if (strcmp(json_str_or(s, "spec.type", ""), "LoadBalancer") == 0)
			json_array_append_new(
				a->load_balancers,
				json_pack("{s:s,s:s,s:s,s:o,s:b}", "namespace",
					  json_str_or(s, "metadata.namespace", ""), "name",
					  json_str_or(s, "metadata.name", ""), "uid",
					  json_str_or(s, "metadata.uid", ""), "addresses",
					  ingress_addresses(s), "deleting",
					  json_str(s, "metadata.deletionTimestamp") != NULL));
}

static bool is_of_a_machine(const json_t *volume)
{
	return json_at(volume, "spec.hostPath") || json_at(volume, "spec.local");
}

/* The driver, and what the infrastructure calls the volume. Drivers inside Kubernetes have a
 * member of their own in the spec each; what they do not say stays empty. */
static void add_source(const json_t *volume, json_t *out)
{
	static const char *const sources[][2] = {
		{"spec.csi", "volumeHandle"},
		{"spec.vsphereVolume", "volumePath"},
		{"spec.cinder", "volumeID"},
		{"spec.nfs", "path"},
	};
	const char *driver = json_str(volume, "spec.csi.driver");

	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		const json_t *source = json_at(volume, sources[i][0]);

		if (!source)
			continue;
		json_object_set_new(out, "driver",
				    json_string(driver ? driver : sources[i][0] + strlen("spec.")));
		json_object_set_new(out, "handle", json_string(json_str_or(source, sources[i][1], "")));
		return;
	}
	json_object_set_new(out, "driver", json_string(""));
	json_object_set_new(out, "handle", json_string(""));
}

static json_t *claim_of(const json_t *volume)
{
	const json_t *claim = json_at(volume, "spec.claimRef");

	return json_str(claim, "name") ? json_pack("{s:s,s:s,s:s}", "namespace",
						   json_str_or(claim, "namespace", ""), "name",
						   json_str(claim, "name"), "uid",
						   json_str_or(claim, "uid", ""))
				       : json_null();
}

static void take_volumes(struct attached *a, const json_t *items)
{
	json_t *v, *out;
	size_t i;

	a->volumes = json_array();
	json_array_foreach (items, i, v) {
		if (is_of_a_machine(v))
			continue;
		out = json_pack("{s:s,s:s,s:s,s:s,s:s,s:o}", "name",
				json_str_or(v, "metadata.name", ""), "reclaimPolicy",
				json_str_or(v, "spec.persistentVolumeReclaimPolicy", "Retain"),
				"capacity", json_str_or(v, "spec.capacity.storage", ""), "phase",
				json_str_or(v, "status.phase", ""), "message",
				json_str_or(v, "status.message", ""), "claim", claim_of(v));
		add_source(v, out);
		json_array_append_new(a->volumes, out);
	}
}

static void fail(struct capi_op *op, const struct kube_reply *r, const char *what)
{
	struct pcg_error err = r->err;

	pcg_fail_prefix(&err, "listing the %s of the cluster", what);
	op_fail(op, &err);
}

static void on_listed(struct capi_op *op, void *arg, const struct kube_reply *r)
{
	struct attached *a = arg;
	bool services = !a->load_balancers;

	if (r->status != 200) {
		fail(op, r, services ? "Services" : "volumes");
		return;
	}
	if (services) {
		take_services(a, json_object_get(r->body, "items"));
		op_list(op, "/api/v1/persistentvolumes", NULL, on_listed, a);
		return;
	}
	take_volumes(a, json_object_get(r->body, "items"));
	a->done(op, a);
}

void attached_read(struct capi_op *op, struct attached *a,
		   void (*done)(struct capi_op *op, struct attached *a))
{
	attached_free(a);
	a->done = done;
	op_list(op, "/api/v1/services", NULL, on_listed, a);
}

/* ---- what of it is left ---- */

static json_t *left_item(const char *id, const char *name, const char *why)
{
	return json_pack("{s:s,s:s,s:s}", "id", id, "name", name, "why", why);
}

static json_t *left_balancer(const json_t *service, const char *why)
{
	AUTO_FREE char *name = NULL;

	if (asprintf(&name, "load balancer of Service %s/%s", json_str(service, "namespace"),
		     json_str(service, "name")) < 0)
		abort();
	return left_item(json_str_or(service, "addresses.0", json_str(service, "uid")), name,
			 why ? why : "its cloud provider did not remove it in time");
}

static json_t *left_volume(const json_t *v, bool kept, const char *why)
{
	const char *handle = json_str_or(v, "handle", ""), *message = json_str_or(v, "message", "");
	AUTO_FREE char *name = NULL;
	AUTO_FREE char *text = NULL;

	if (kept && never_claimed(v))
		why = "kept: nobody has claimed it, so no driver removes it";
	else if (kept)
		why = strcmp(json_str_or(v, "reclaimPolicy", ""), "Delete") == 0
			      ? "kept by policy"
			      : "kept: its reclaim policy is not Delete";
	else if (!why)
		why = "its driver did not remove it in time";
	if (asprintf(&name, "volume %s of claim %s/%s", json_str_or(v, "name", ""),
		     json_str_or(v, "claim.namespace", "-"), json_str_or(v, "claim.name", "-")) < 0 ||
	    asprintf(&text, "%s%s%s", why, *message && !kept ? ": " : "", kept ? "" : message) < 0)
		abort();
	return left_item(*handle ? handle : json_str_or(v, "name", ""), name, text);
}

json_t *capi_attached_left(const json_t *attached, const json_t *keep, const char *why)
{
	json_t *out = json_array(), *o;
	size_t i;

	json_array_foreach (json_object_get(attached, "loadBalancers"), i, o)
		json_array_append_new(out, left_balancer(o, why));
	json_array_foreach (json_object_get(attached, "volumes"), i, o)
		json_array_append_new(out, left_volume(o, !attached_is_removed(o, keep), why));
	return out;
}

/* ---- as an operation of its own ---- */

static void free_state(void *state)
{
	attached_free(state);
}

static void on_read(struct capi_op *op, struct attached *a)
{
	op_done(op, json_pack("{s:O,s:O}", "loadBalancers", a->load_balancers, "volumes",
			      a->volumes));
}

static void start(struct capi_op *op)
{
	attached_read(op, op_state(op), on_read);
}

struct capi_op *capi_attached(struct kube *k, const struct capi_callbacks *cb)
{
	static const struct op_type type = {
		.name = "attached",
		.start = start,
		.free_state = free_state,
		.state_size = sizeof(struct attached),
	};

	return op_new(k, &type, cb);
}
