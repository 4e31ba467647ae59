/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/check.h"
#include "plugins/vsphere/finish.h"
#include "plugins/vsphere/storage.h"
#include "plugins/vsphere/zones.h"
#include "plugins/vsphere/track.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a cluster has beside its machines: a folder of its name. */

/* A problem that all pools share is told once. */
static void merge_problems(json_t *all, json_t *some)
{
	size_t i, k;
	json_t *p, *q;

	json_array_foreach(some, i, p) {
		bool known = false;

		json_array_foreach(all, k, q)
			known = known || json_equal(p, q);
		if (!known)
			json_array_append(all, p);
	}
}

static int check_labels(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const json_t *pool, struct spot *spot,
			json_t *problems, struct vs_err *err)
{
	json_t *ids = json_array(), *told = json_array();
	char region[256], zone[256];
	struct vs_options o;
	int r;

	options_read(v, cluster, pool, spot->where, &o, told);
	r = storage_check(v, call, &o, spot, problems, err);
	if (!r && placement_zones(pool) > 1 && spot->cluster.value[0] && json_is_true(json_object_get(pool, "controlPlane")))
		r = zone_tags(v, call, spot, region, zone, problems, err);
	if (!r && o.tags)
		r = tags_resolve(v, call, o.tags, ids, problems, err);
	json_decref(told);
	json_decref(ids);
	return r;
}

static int check_all(struct vsphere *v, struct pcg_call *call, const json_t *cluster, json_t *problems, struct vs_err *err)
{
	const json_t *pools = json_object_get(json_object_get(cluster, "spec"), "pools");
	size_t n = json_array_size(pools);
	struct spot spot;
	int r = 0;

	for (size_t i = 0; !r && i < (n ? n : 1); i++) {
		const json_t *pool = json_array_get(pools, i);

		zone_addresses(pool, problems);
		zone_policies(v, cluster, pool, problems);
		for (size_t zone = 0; !r && zone < placement_zones(pool); zone++) {
			json_t *some = json_array();

			r = placement_find(v, call, cluster, pool, zone, &spot, some, err);
			if (!r)
				r = check_labels(v, call, cluster, pool, &spot, some, err);
			if (!r)
				r = check_spot(v, call, cluster, pool, &spot, some, err);
			merge_problems(problems, some);
			json_decref(some);
		}
	}
	return r;
}

static json_t *endpoint_of(const json_t *cluster)
{
	json_t *asked = json_object_get(json_object_get(cluster, "spec"), "controlPlaneEndpoint");
	json_t *port = json_object_get(asked, "port");

	if (!*vs_str(asked, "host"))
		return json_null();
	return json_pack("{s:s, s:I}", "host", vs_str(asked, "host"), "port", json_is_integer(port) ? json_integer_value(port) : 6443);
}

static void cluster_check(struct vsphere *v, struct pcg_call *call, const json_t *doc)
{
	const json_t *cluster = json_object_get(doc, "cluster");
	json_t *problems = json_array();
	struct vs_err err;

	if (check_all(v, call, cluster, problems, &err)) {
		vs_error(v, call, &err);
	} else {
		if (!*vs_at(json_object_get(cluster, "spec"), "controlPlaneEndpoint", "host"))
			vs_problem(problems, "cloudConfig.controlPlaneEndpoint.host", "Give a free address of the network as VIP, or a name.",
				   "the cluster has no control plane endpoint, and vSphere makes none");
		/* The next look is a real one: somebody may have mended it. */
		if (json_array_size(problems))
			placement_forget(v);
		vs_done(v, call, json_pack("{s:O, s:o}", "problems", problems, "endpoint", endpoint_of(cluster)));
	}
	json_decref(problems);
}

static int folder_make(struct vsphere *v, struct pcg_call *call, const struct vs_ref *parent, const char *name,
		       struct vs_ref *folder, struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	int r;

	soap_begin(&s, "CreateFolder", parent);
	soap_text(&s, "name", name);
	soap_finish(&s);
	v->svc->fault_point(v->host, "vsphere.before_create_folder");
	r = vs_call(&v->session, call, &s, 0, 0, 0, &reply, err);
	v->svc->fault_point(v->host, "vsphere.after_create_folder");
	if (!r) {
		r = vs_returned(reply, "CreateFolder", true, folder, err);
	} else if (strcmp(err->fault, "DuplicateName") == 0) {
		/* Ours of an attempt whose reply was lost, or one that somebody made for it. */
		struct vs_err why = *err;

		r = placement_child(v, call, parent, name, folder, err);
		if (!r && !*folder->type) {
			*err = why; /* gone again meanwhile, or not to be seen by the account's user */
			r = -1;
		} else if (!r && strcmp(folder->type, "Folder") != 0) {
			vs_fail(err, PCG_ERR_CONFLICT, "Rename it, or give the cluster another name or folder.",
				"the folder of cluster %s cannot be made: a machine has that name", name);
			r = -1;
		}
	}
	xn_free(reply);
	return r;
}

static void cluster_make(struct vsphere *v, struct pcg_call *call, const json_t *doc)
{
	const json_t *cluster = json_object_get(doc, "cluster");
	json_t *problems = json_array();
	struct vs_ref folder;
	struct vs_err err;
	struct spot spot;
	char path[700];
	int r;

	r = placement_find(v, call, cluster, NULL, 0, &spot, problems, &err);
	if (!r && json_array_size(problems)) {
		placement_forget(v);
		vs_done(v, call, json_pack("{s:O}", "problems", problems));
	} else if (r || folder_make(v, call, &spot.folder, vs_str(cluster, "name"), &folder, &err)) {
		vs_error(v, call, &err);
	} else {
		snprintf(path, sizeof(path), "%s/%s", spot.folder_path, vs_str(cluster, "name"));
		vs_done(v, call, json_pack("{s:o, s:{s:{s:s, s:s}}}", "endpoint", endpoint_of(cluster), "observed", "folder", "id",
					   folder.value, "path", path));
	}
	json_decref(problems);
}

void vs_cluster_ensure(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	json_t *doc = vs_doc(v, call, text);

	if (!doc)
		return;
	if (json_is_true(json_object_get(doc, "check")))
		cluster_check(v, call, doc);
	else
		cluster_make(v, call, doc);
	json_decref(doc);
}

/* By its id, or by name below the placement when this installation never knew it. */
static int folder_find(struct vsphere *v, struct pcg_call *call, const json_t *doc, struct vs_ref *folder, struct vs_err *err)
{
	const json_t *cluster = json_object_get(doc, "cluster");
	const char *id = vs_at(json_object_get(doc, "observed"), "folder", "id");
	json_t *problems;
	struct spot spot;
	int r;

	memset(folder, 0, sizeof(*folder));
	if (*id) {
		snprintf(folder->type, sizeof(folder->type), "Folder");
		snprintf(folder->value, sizeof(folder->value), "%s", id);
		return 0;
	}
	problems = json_array();
	r = placement_find(v, call, cluster, NULL, 0, &spot, problems, err);
	json_decref(problems);
	if (!r && spot.folder.value[0])
		r = placement_child(v, call, &spot.folder, vs_str(cluster, "name"), folder, err);
	if (strcmp(folder->type, "Folder") != 0)
		memset(folder, 0, sizeof(*folder));
	return r;
}

static void rule_left(struct vsphere *v, const char *cluster, const struct spot *spot, const struct vs_err *err, json_t *left)
{
	json_t *fields = json_pack("{s:s, s:s}", "cluster", cluster, "why", err->text);
	char *text = json_dumps(fields, JSON_COMPACT);

	v->svc->log(v->host, PCG_LOG_WARN, "vsphere_rule_left", text);
	free(text);
	json_decref(fields);
	json_array_append_new(left, json_pack("{s:s, s:s, s:s}", "id", spot->cluster.value, "name", "DRS rule", "why", err->text));
}

/* A rule that may not be removed holds no machine any more, and nothing up: it is left, and told. */
static int pool_rules(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const json_t *pool, json_t *left,
		      struct vs_err *err)
{
	struct spot spot;
	int r = 0;

	for (size_t zone = 0; !r && zone < placement_zones(pool); zone++) {
		json_t *problems = json_array();

		r = placement_find(v, call, cluster, pool, zone, &spot, problems, err);
		json_decref(problems);
		if (r || !spot.cluster.value[0] || !rule_remove(v, call, cluster, &spot.cluster, err))
			continue;
		r = err->class == PCG_ERR_RETRY ? -1 : 0;
		if (!r)
			rule_left(v, vs_str(cluster, "name"), &spot, err, left);
	}
	return r;
}

static int rules_remove(struct vsphere *v, struct pcg_call *call, const json_t *cluster, json_t *left, struct vs_err *err)
{
	const json_t *pool;
	size_t i;
	int r = 0;

	json_array_foreach(json_object_get(json_object_get(cluster, "spec"), "pools"), i, pool) {
		json_t *problems = json_array();
		struct vs_options o;

		options_read(v, cluster, pool, NULL, &o, problems);
		json_decref(problems);
		if (!r && o.anti_affinity && json_is_true(json_object_get(pool, "controlPlane")))
			r = pool_rules(v, call, cluster, pool, left, err);
	}
	return r;
}

/* The end of a delete; left is taken. */
static void deleted(struct vsphere *v, struct pcg_call *call, const json_t *cluster, json_t *left)
{
	struct vs_err err;

	if (rules_remove(v, call, cluster, left, &err))
		vs_error(v, call, &err);
	else
		vs_done(v, call, json_pack("{s:O}", "left", left));
	json_decref(left);
}

static json_t *left_over(const struct vs_ref *folder, const char *name, const char *why)
{
	return json_pack("[{s:s, s:s, s:s}]", "id", folder->value, "name", name, "why", why);
}

/* The first look is one at the whole inventory as well, which is what comes next. */
static int folder_look(struct vsphere *v, struct pcg_call *call, const char *key, const char *cluster, bool first,
		       struct vs_err *err)
{
	int r;

	if (!first || !inventory_with(v, call, key, cluster, &r, err))
		r = track_poll_due(v, call, key, err);
	return r;
}

static void folder_destroyed(struct vsphere *v, struct pcg_call *call, const char *key, const struct vs_ref *folder,
			     const json_t *cluster)
{
	const char *name = vs_str(cluster, "name");
	struct vs_err err;
	struct track t;

	track_get(v, key, &t);
	if (folder_look(v, call, key, vs_str(cluster, "uid"), !t.looks, &err)) {
		vs_error(v, call, &err);
		track_copy_free(&t);
		return;
	}
	track_copy_free(&t);
	track_get(v, key, &t);
	if (t.task_done && t.task_failed && t.task_err.class == PCG_ERR_AUTH) {
		track_drop(v, key);
		deleted(v, call, cluster, left_over(folder, name, t.task_err.text));
	} else if (t.task_done && t.task_failed && strcmp(t.task_err.fault, "ManagedObjectNotFound") != 0) {
		track_drop(v, key);
		vs_error(v, call, &t.task_err);
	} else if (t.task_done && t.task_failed) {
		track_drop(v, key);
		vs_pending(v, call, 20, NULL);
	} else if (t.task_done || t.gone) {
		track_drop(v, key);
		deleted(v, call, cluster, json_array());
	} else {
		/* A task that the server has forgotten tells nothing: the folder is looked at anew. */
		if (!t.task.value[0])
			track_drop(v, key);
		vs_pending(v, call, track_after_ms(v, key), NULL);
	}
	track_copy_free(&t);
}

/* Not Destroy_Task, which destroys machines that somebody moves into the folder after it was read, with their files. This takes them out
 * of the inventory at most, and only with VirtualMachine.Inventory.Unregister (Folder, vSphere Web Services API; the same in 7 and 8). */
static void folder_destroy(struct vsphere *v, struct pcg_call *call, const char *key, const struct vs_ref *folder)
{
	struct vs_ref task;
	struct vs_err err;
	struct soap s;

	soap_begin(&s, "UnregisterAndDestroy_Task", folder);
	v->svc->fault_point(v->host, "vsphere.before_destroy_folder");
	if (vs_task(&v->session, call, &s, &task, &err)) {
		/* Gone, which the next look tells. */
		if (strcmp(err.fault, "ManagedObjectNotFound") == 0) {
			track_drop(v, key);
			vs_pending(v, call, 20, NULL);
		} else {
			vs_error(v, call, &err);
		}
		return;
	}
	v->svc->fault_point(v->host, "vsphere.after_destroy_folder");
	track_set_task(v, key, "", TASK_DESTROY, &task, NULL, TRACK_SHORT);
	vs_pending(v, call, track_after_ms(v, key), NULL);
}

/* Read together with the folders of other clusters that go at the same time. */
static void folder_judge(struct vsphere *v, struct pcg_call *call, const char *key, const struct vs_ref *folder,
			 const json_t *cluster)
{
	const char *name = vs_str(cluster, "name");
	struct vs_err err;
	struct track t;

	track_set_vm(v, key, "", folder);
	if (track_poll(v, call, key, &err)) {
		vs_error(v, call, &err);
		return;
	}
	track_get(v, key, &t);
	if (t.gone || !t.known)
		deleted(v, call, cluster, json_array());
	else if (t.children == CHILDREN_UNKNOWN)
		deleted(v, call, cluster, left_over(folder, t.name, "the account's user may not see what the folder holds"));
	else if (t.children)
		deleted(v, call, cluster, left_over(folder, t.name, "the folder holds something that is not the cluster's"));
	else if (strcmp(t.name, name) != 0)
		deleted(v, call, cluster, left_over(folder, t.name, "the folder was renamed"));
	else
		folder_destroy(v, call, key, folder);
	if (t.gone || !t.known || t.children || strcmp(t.name, name) != 0)
		track_drop(v, key);
	track_copy_free(&t);
}

void vs_cluster_delete(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	json_t *doc = vs_doc(v, call, text);
	const json_t *cluster;
	struct vs_ref folder;
	struct vs_err err;
	struct track t;
	char key[64];

	if (!doc)
		return;
	cluster = json_object_get(doc, "cluster");
	snprintf(key, sizeof(key), "folder:%s", vs_str(cluster, "uid"));
	track_get(v, key, &t);
	if (folder_find(v, call, doc, &folder, &err))
		vs_error(v, call, &err);
	else if (!folder.value[0])
		deleted(v, call, cluster, json_array());
	else if (t.kind == TASK_DESTROY)
		folder_destroyed(v, call, key, &folder, cluster);
	else
		folder_judge(v, call, key, &folder, cluster);
	track_copy_free(&t);
	json_decref(doc);
}
