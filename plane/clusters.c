/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/clusters.h"

#include "core/clock.h"
#include "core/log.h"
#include "plane/addresses.h"
#include "plane/document.h"
#include "plane/found.h"
#include "plane/gateways.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

int clusters_put(struct plane *p, const json_t *cluster, struct pcg_error *err)
{
	return rows_put(p, ROWS_CLUSTER, json_str_or(cluster, "uid", ""), json_str_or(cluster, "name", ""),
			json_str_or(cluster, "overlord", ""), cluster, err);
}

static bool too_old(const json_t *cluster)
{
	int64_t at = json_int_or(cluster, "deletedAt", 0);

	return at && clock_wall_ms() - at > PLANE_DELETED_KEPT_MS;
}

int clusters_get(struct plane *p, const char *uid, json_t **cluster, json_t **status,
		 struct pcg_error *err)
{
	int r = rows_get(p, ROWS_CLUSTER, uid, cluster, err);

	*status = NULL;
	if (r <= 0)
		return r;
	if (too_old(*cluster)) {
		json_decref(*cluster);
		*cluster = NULL;
		return 0;
	}
	r = rows_get(p, ROWS_STATUS, uid, status, err);
	if (r == 0)
		*status = json_object();
	return r < 0 ? r : 1;
}

const char *clusters_state(const json_t *cluster, const json_t *status)
{
	static const struct {
		const char *phase, *state;
	} states[] = {
		{ "Pending", "Pending" },         { "Preparing", "Provisioning" },
		{ "Bootstrapping", "Provisioning" }, { "Installing", "Provisioning" },
		{ "Pivoting", "Provisioning" },   { "Running", "Running" },
		{ "PivotingBack", "Deleting" },   { "Deleting", "Deleting" },
		{ "Deleted", "Deleted" }, /* before this plane was restored: it has only to be deleted here */
	};
	const char *phase = json_str_or(status, "phase", "Pending");

	if (json_object_get(cluster, "deletedAt"))
		return "Deleted";
	if (json_object_get(cluster, "deletingSince"))
		return "Deleting";
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (strcmp(phase, states[i].phase) == 0)
			return states[i].state;
	return "Pending";
}

/* What the document says apart from its generation. */
static bool same_document(const json_t *a, const json_t *b)
{
	AUTO_JSON json_t *x = json_copy((json_t *)a);
	AUTO_JSON json_t *y = json_copy((json_t *)b);

	if (!a || !b)
		return false;
	json_object_del(x, "generation");
	json_object_del(y, "generation");
	return json_equal(x, y);
}

/* A cluster that is to go keeps the document that it was built from: packs and accounts may have changed since. */
static int new_document(struct plane *p, const json_t *cluster, const json_t *old, json_t **doc,
			struct pcg_error *err)
{
	const char *desired = json_str_or(cluster, "desired", "present");
	int r = 0;

	if (old && strcmp(desired, "present") != 0)
		*doc = json_deep_copy(old);
	else
		r = document_build(p, cluster, doc, err);
	if (!r && strcmp(desired, "present") == 0)
		r = addresses_reserve(p, cluster, *doc, err);
	if (!r)
		json_put_str(*doc, "desired", desired);
	return r;
}

/* What of it is the most, for whoever has to make it smaller. */
static const char *largest_part(const json_t *doc, size_t *most)
{
	const char *key, *name = "";
	json_t *part;

	*most = 0;
	json_object_foreach((json_t *)(uintptr_t)doc, key, part) {
		size_t n = json_dumpb(part, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);

		if (n > *most) {
			*most = n;
			name = key;
		}
	}
	return name;
}

static bool sendable(const json_t *doc, json_t *problems)
{
	size_t bytes = json_dumpb(doc, NULL, 0, JSON_COMPACT), most;
	int depth = json_depth(doc);
	const char *part;

	if (depth > PLANE_DEPTH_MAX)
		document_problem(problems, CLUSTERS_UNSENDABLE, "nest the request and its profiles' values less deeply",
				 "what its gateway would be told is nested %d levels deep, allowed are %d", depth,
				 PLANE_DEPTH_MAX);
	if (bytes > GATEWAYS_DOCUMENT_MAX) {
		part = largest_part(doc, &most);
		document_problem(problems, CLUSTERS_UNSENDABLE,
				 "make the manifests and values of its profiles, or the request, smaller",
				 "what its gateway would be told has %zu bytes, allowed are %u; %zu of them are its %s", bytes,
				 GATEWAYS_DOCUMENT_MAX, most, part);
	}
	return depth <= PLANE_DEPTH_MAX && bytes <= GATEWAYS_DOCUMENT_MAX;
}

static int keep_old(struct plane *p, json_t *cluster, json_t *problems, struct pcg_error *err)
{
	json_object_set(cluster, "problems", problems);
	log_warn("document_too_large", LS("cluster", json_str_or(cluster, "uid", "")),
		 LS("name", json_str_or(cluster, "name", "")), LS("cause", json_str_or(problems, "0.text", "")),
		 LS("remedy", json_str_or(problems, "0.remedy", "")));
	return clusters_put(p, cluster, err);
}

int clusters_refresh(struct plane *p, json_t *cluster, struct pcg_error *err)
{
	const char *uid = json_str_or(cluster, "uid", "");
	AUTO_JSON json_t *old = NULL;
	AUTO_JSON json_t *doc = NULL;
	AUTO_JSON json_t *problems = json_array();
	int64_t generation;
	int r = rows_get(p, ROWS_DOCUMENT, uid, &old, err);

	if (r < 0)
		return r;
	r = new_document(p, cluster, old, &doc, err);
	if (r)
		return r;
	/* A delete is told with what was told before. */
	if (strcmp(json_str_or(cluster, "desired", "present"), "present") == 0 && !sendable(doc, problems))
		return keep_old(p, cluster, problems, err);
	if (same_document(old, doc)) {
		json_object_set(cluster, "problems", json_object_get(doc, "problems"));
		return clusters_put(p, cluster, err);
	}
	generation = json_int_or(old, "generation", 0) + 1;
	json_object_set_new(doc, "generation", json_integer(generation));
	json_object_set_new(cluster, "generation", json_integer(generation));
	/* What the public views show of it, so that they need not read the whole document. */
	json_object_set(cluster, "problems", json_object_get(doc, "problems"));
	json_put_str(cluster, "kubernetesVersion", json_str(doc, "kubernetesVersion"));
	r = clusters_put(p, cluster, err);
	if (!r)
		r = rows_put(p, ROWS_DOCUMENT, uid, "", "", doc, err);
	return r ? r : gateways_instruct(p, json_str_or(cluster, "overlord", ""), "cluster", uid, err);
}

static bool uses(const json_t *cluster, const char *kind, const char *uid)
{
	json_t *profile;
	size_t i;

	if (strcmp(kind, ROWS_CERT) == 0)
		return true;
	if (strcmp(kind, ROWS_POOL) == 0)
		return addresses_names_pool(cluster, uid);
	if (strcmp(kind, ROWS_ACCOUNT) == 0)
		return strcmp(json_str_or(cluster, "account", ""), uid) == 0;
	if (strcmp(kind, ROWS_OVERLORD) == 0)
		return strcmp(json_str_or(cluster, "overlord", ""), uid) == 0;
	json_array_foreach(json_at(cluster, "spec.profiles"), i, profile)
		if (strcmp(json_str_or(profile, "uid", ""), uid) == 0)
			return true;
	return false;
}

bool clusters_begun(const json_t *status)
{
	const char *phase = json_str_or(status, "phase", "Pending");

	return strcmp(phase, "Pending") != 0 &&
	       (strcmp(phase, "Preparing") != 0 || json_array_size(json_object_get(status, "machines")));
}

int clusters_refresh_users(struct plane *p, const char *kind, const char *uid, struct pcg_error *err)
{
	AUTO_JSON json_t *clusters = NULL;
	json_t *cluster;
	size_t i;
	int r = rows_list(p, ROWS_CLUSTER, NULL, &clusters, err);

	json_array_foreach(clusters, i, cluster) {
		AUTO_JSON json_t *status = NULL;

		if (r < 0)
			break;
		if (json_object_get(cluster, "deletingSince") || !uses(cluster, kind, uid))
			continue;
		r = rows_get(p, ROWS_STATUS, json_str_or(cluster, "uid", ""), &status, err);
		if (r >= 0 && !clusters_begun(status))
			r = clusters_refresh(p, cluster, err);
	}
	return r < 0 ? r : 0;
}

int clusters_users(struct plane *p, const char *kind, const char *uid, int64_t *n, char *name,
		   struct pcg_error *err)
{
	AUTO_JSON json_t *clusters = NULL;
	json_t *cluster;
	size_t i;
	int r = rows_list(p, ROWS_CLUSTER, NULL, &clusters, err);

	*n = 0;
	json_array_foreach(clusters, i, cluster)
		if (!json_object_get(cluster, "deletedAt") && uses(cluster, kind, uid)) {
			snprintf(name, 128, "%s", json_str_or(cluster, "name", ""));
			(*n)++;
		}
	return r;
}

int clusters_event(struct plane *p, const json_t *cluster, const char *at, const char *severity,
		   const char *reason, const char *message, const char *component, const char *host,
		   struct pcg_error *err)
{
	const char *uid = json_str_or(cluster, "uid", ""), *name = json_str_or(cluster, "name", "");
	AUTO_JSON json_t *event = json_pack(
		"{s:{s:s,s:s},s:{s:s,s:s,s:s},s:{s:s,s:s,s:s},s:s,s:s,s:s,s:{s:s,s:s}}", "metadata", "name",
		name, "creationTimestamp", at, "involvedObject", "kind", "spectrocluster", "name", name, "uid",
		uid, "relatedObject", "kind", "spectrocluster", "name", name, "uid", uid, "reason", reason,
		"message", message, "severity", severity, "source", "component", component, "host", host);

	if (!event)
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "an event is not UTF-8 text");
	return rows_event_add(p, uid, event, err);
}

/* Clusters that wait for what it had get it in the same transaction. Machines that were left behind may still answer for
 * their addresses: that is told, since nobody here will ever learn that they are gone. */
static int give_back(struct plane *p, const json_t *cluster, bool left, struct pcg_error *err)
{
	const char *uid = json_str_or(cluster, "uid", "");
	char now[CLOCK_RFC3339_SIZE];
	AUTO_JSON json_t *pools = NULL;
	json_t *pool;
	size_t i;
	int r = addresses_release(p, uid, &pools, err);

	if (!r && json_array_size(pools))
		r = found_keep_addresses(p, json_str_or(cluster, "overlord", ""), err);
	if (!r && left && json_array_size(pools))
		r = clusters_event(p, cluster, clock_rfc3339(clock_wall_ms(), now), "Warning", "AddressesReleased",
				   "The cluster's static addresses are free again; machines that were left behind may still "
				   "answer for them: remove these before another cluster gets their addresses",
				   "plane", "", err);

	json_array_foreach(pools, i, pool)
		if (!r)
			r = clusters_refresh_users(p, ROWS_POOL, json_string_value(pool), err);
	return r;
}

int clusters_deleted(struct plane *p, json_t *cluster, json_t *status, const json_t *left,
		     struct pcg_error *err)
{
	const char *uid = json_str_or(cluster, "uid", ""), *overlord = json_str_or(cluster, "overlord", "");
	size_t n = json_array_size(left);
	char now[CLOCK_RFC3339_SIZE], text[256];
	int r;

	json_object_set_new(cluster, "deletedAt", json_integer(clock_wall_ms()));
	json_object_set_new(status, "phase", json_string("Deleted"));
	json_object_set_new(status, "machines", json_array());
	json_object_set_new(status, "left", left ? json_deep_copy(left) : json_array());
	json_object_del(status, "hasKubeConfig");
	if (n)
		snprintf(text, sizeof(text), "The cluster is deleted; %zu things were left, see status.left", n);
	else
		snprintf(text, sizeof(text), "The cluster is deleted");
	r = clusters_put(p, cluster, err);
	if (!r)
		r = rows_put(p, ROWS_STATUS, uid, "", "", status, err);
	if (!r)
		r = rows_secret_delete(p, uid, NULL, err);
	if (!r)
		r = gateways_forget(p, overlord, uid, err);
	if (!r)
		r = give_back(p, cluster, n != 0, err);
	if (!r)
		r = clusters_event(p, cluster, clock_rfc3339(clock_wall_ms(), now), n ? "Warning" : "Normal",
				   "Deleted", text, "plane", "", err);
	if (!r)
		log_info("cluster_deleted", LS("cluster", uid), LI("left", n));
	return r;
}

static int purge_one(struct plane *p, const json_t *cluster, struct pcg_error *err)
{
	const char *uid = json_str_or(cluster, "uid", "");
	int r = rows_delete(p, ROWS_CLUSTER, uid, err);

	if (r >= 0)
		r = rows_delete(p, ROWS_STATUS, uid, err);
	if (r >= 0)
		r = rows_delete(p, ROWS_DOCUMENT, uid, err);
	if (r >= 0)
		r = rows_delete(p, ROWS_CLOUDCONFIG, json_str_or(cluster, "cfg", ""), err);
	if (r >= 0)
		r = rows_event_delete(p, uid, err);
	return r;
}

int clusters_purge(struct plane *p, struct pcg_error *err)
{
	AUTO_JSON json_t *clusters = NULL;
	json_t *cluster;
	size_t i;
	int r = rows_list(p, ROWS_CLUSTER, NULL, &clusters, err);

	if (!r)
		r = db_begin(p->db, err);
	json_array_foreach(clusters, i, cluster)
		if (r >= 0 && too_old(cluster))
			r = purge_one(p, cluster, err);
	if (r >= 0)
		r = db_commit(p->db, err);
	if (r < 0)
		db_rollback(p->db);
	return r;
}
