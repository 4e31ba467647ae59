/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/gateways_impl.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "plane/api.h"
#include "plane/clusters.h"
#include "plane/found.h"
#include "plane/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORTS_MAX 64

static const char *const phases[] = { "Pending", "Preparing", "Bootstrapping", "Installing", "Pivoting",
				      "Running", "PivotingBack", "Deleting", "Deleted" };

static bool phase_known(const char *phase)
{
	for (size_t i = 0; i < ARRAY_LEN(phases); i++)
		if (phase && strcmp(phase, phases[i]) == 0)
			return true;
	return false;
}

/* Each returns 0, or negative; PCG_ECONFLICT is a refusal, PCG_ENOTFOUND one of a cluster that is not known here,
 * all else a fault of ours. */
typedef int (*report_fn)(struct plane *p, const char *gateway, json_t *cluster, json_t *status,
			 const json_t *doc, struct pcg_error *err);

static int put_status(struct plane *p, const json_t *cluster, const json_t *status,
		      struct pcg_error *err)
{
	return rows_put(p, ROWS_STATUS, json_str_or(cluster, "uid", ""), "", "", status, err);
}

static int take_status(struct plane *p, const char *gateway, json_t *cluster, json_t *status,
		       const json_t *doc, struct pcg_error *err)
{
	static const char *const members[] = { "generation", "phase", "epoch", "endpoint", "conditions",
					       "machines", "health" };
	const char *phase = json_str(doc, "phase"), *was = json_str_or(status, "phase", "");
	char now[CLOCK_RFC3339_SIZE], text[128];
	int r = 0;

	if (!phase_known(phase))
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "phase '%.64s' is not one of this protocol",
				phase ? phase : "");
	clock_rfc3339(clock_wall_ms(), now);
	if (strcmp(phase, was) != 0) {
		snprintf(text, sizeof(text), "The cluster is %s", phase);
		r = clusters_event(p, cluster, now, "Normal", phase, text, "gateway", gateway, err);
	}
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_t *v = json_object_get(doc, members[i]);

		if (v)
			json_object_set(status, members[i], v);
	}
	json_object_set_new(status, "at", json_integer(clock_wall_ms()));
	return r ? r : put_status(p, cluster, status, err);
}

static int take_recovery(struct plane *p, const char *gateway, json_t *cluster, json_t *status,
			 const json_t *doc, struct pcg_error *err)
{
	const json_t *recovery = json_object_get(doc, "recovery");

	if (!json_is_object(recovery))
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "recovery is not an object");
	return rows_secret_put_json(p, json_str_or(cluster, "uid", ""), "recovery", recovery, err);
}

static int take_kubeconfig(struct plane *p, const char *gateway, json_t *cluster, json_t *status,
			   const json_t *doc, struct pcg_error *err)
{
	const char *text = json_str(doc, "kubeconfig");
	int r;

	if (!text || !*text)
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "kubeconfig is not text");
	r = rows_secret_put(p, json_str_or(cluster, "uid", ""), "kubeconfig", text, strlen(text), err);
	json_object_set_new(status, "hasKubeConfig", json_true());
	return r ? r : put_status(p, cluster, status, err);
}

static int take_deleted(struct plane *p, const char *gateway, json_t *cluster, json_t *status,
			const json_t *doc, struct pcg_error *err)
{
	if (strcmp(json_str_or(cluster, "desired", "present"), "present") == 0)
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "the plane wants this cluster to be there");
	return clusters_deleted(p, cluster, status, json_object_get(doc, "left"), err);
}

static int take_event(struct plane *p, const char *gateway, json_t *cluster, json_t *status,
		      const json_t *doc, struct pcg_error *err)
{
	const char *at = json_str(doc, "at"), *reason = json_str(doc, "reason");
	char text[CLOCK_RFC3339_SIZE];
	const json_t *number = json_object_get(doc, "at");

	if (json_is_integer(number))
		at = clock_rfc3339(json_integer_value(number), text);
	if (!at || clock_parse_rfc3339(at) < 0 || !reason)
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "an event needs at and reason");
	return clusters_event(p, cluster, at, json_str_or(doc, "severity", "Normal"), reason,
			      json_str_or(doc, "message", ""), "gateway", gateway, err);
}

static const struct {
	const char *kind;
	report_fn fn;
} kinds[] = {
	{ "cluster.status", take_status },         { "cluster.recovery", take_recovery },
	{ "cluster.kubeconfig", take_kubeconfig }, { "cluster.deleted", take_deleted },
	{ "cluster.event", take_event },
};

static int take_gateway_status(struct plane *p, const char *gateway, const json_t *doc,
			       struct pcg_error *err)
{
	AUTO_JSON json_t *overlord = NULL;
	int r = rows_get(p, ROWS_OVERLORD, gateway, &overlord, err);

	if (r <= 0)
		return r;
	json_object_set(overlord, "gateway", (json_t *)doc);
	return rows_put(p, ROWS_OVERLORD, gateway, json_str_or(overlord, "metadata.name", ""), "", overlord,
			err);
}

int gateway_reported(struct plane *p, const char *uid, int64_t *seq, struct pcg_error *err)
{
	AUTO_FREE char *text = NULL;
	char name[96];
	int r;

	snprintf(name, sizeof(name), "reported/%s", uid);
	r = rows_meta_get(p, name, &text, err);
	*seq = text ? strtoll(text, NULL, 10) : 0;
	return r;
}

int gateway_reported_put(struct plane *p, const char *uid, int64_t seq, struct pcg_error *err)
{
	char name[96], text[32];

	snprintf(name, sizeof(name), "reported/%s", uid);
	snprintf(text, sizeof(text), "%lld", (long long)seq);
	return rows_meta_put(p, name, text, err);
}

static int take_cluster_report(struct plane *p, const char *gateway, report_fn fn, const json_t *doc,
			       struct pcg_error *err)
{
	AUTO_JSON json_t *cluster = NULL;
	AUTO_JSON json_t *status = NULL;
	const char *uid = json_str_or(doc, "uid", "");
	int r = clusters_get(p, uid, &cluster, &status, err);

	if (r < 0)
		return r;
	if (r == 0)
		return pcg_fail(err, PCG_CLASS_NOT_FOUND, "", "cluster '%.64s' does not exist here", uid);
	if (strcmp(json_str_or(cluster, "overlord", ""), gateway) != 0)
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "cluster %s belongs to another gateway", uid);
	if (json_object_get(cluster, "deletedAt"))
		return 0;
	return fn(p, gateway, cluster, status, doc, err);
}

static int take(struct plane *p, const char *gateway, const json_t *report, struct pcg_error *err)
{
	const char *kind = json_str_or(report, "kind", "");
	const json_t *doc = json_object_get(report, "doc");

	if (!json_is_object(doc))
		return pcg_fail(err, PCG_CLASS_CONFLICT, "", "doc is not an object");
	if (strcmp(kind, "gateway.status") == 0)
		return take_gateway_status(p, gateway, doc, err);
	if (strcmp(kind, "cluster.found") == 0)
		return found_take(p, gateway, doc, err);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kind, kinds[i].kind) == 0)
			return take_cluster_report(p, gateway, kinds[i].fn, doc, err);
	return pcg_fail(err, PCG_CLASS_CONFLICT, "", "kind '%.64s' is not one of this protocol", kind);
}

static json_t *refusal(const json_t *seq, int r, const struct pcg_error *why)
{
	json_t *o = json_object();

	if (seq)
		json_object_set(o, "seq", (json_t *)seq);
	json_put_str(o, "text", why->text);
	if (r == PCG_ENOTFOUND)
		json_put_str(o, "code", "ClusterUnknown");
	return o;
}

static int take_all(struct plane *p, const char *gateway, const json_t *reports, json_t *acked,
		    json_t *refused, struct pcg_error *err)
{
	int64_t reported, last;
	json_t *report;
	size_t i;
	int got = gateway_reported(p, gateway, &reported, err);

	if (got)
		return got;
	last = reported;

	json_array_foreach((json_t *)reports, i, report) {
		const json_t *seq = json_object_get(report, "seq");
		int r = take(p, gateway, report, err);

		if (r == PCG_ECONFLICT || r == PCG_ENOTFOUND) {
			json_array_append_new(refused, refusal(seq, r, err));
			log_warn("report_refused", LS("gateway", gateway),
				 LS("kind", json_str_or(report, "kind", "")), LS("cause", err->text));
		} else if (r < 0) {
			return r;
		}
		if (seq)
			json_array_append(acked, (json_t *)seq);
		if (json_integer_value(seq) > last)
			last = json_integer_value(seq);
	}
	return last > reported ? gateway_reported_put(p, gateway, last, err) : 0;
}

int gateway_reports(struct plane *p, struct http_exchange *x, const struct gateway_row *row,
		    const json_t *body, struct pcg_error *err)
{
	const json_t *reports = json_object_get(body, "reports");
	AUTO_JSON json_t *acked = json_array();
	AUTO_JSON json_t *refused = json_array();
	AUTO_JSON json_t *reply = NULL;
	int r;

	if (!json_is_array(reports) || json_array_size(reports) > REPORTS_MAX) {
		api_answer_error(x, 400, "InvalidRequest", "reports must be an array of at most 64", NULL);
		return 0;
	}
	r = db_begin(p->db, err);
	if (r)
		return r;
	r = take_all(p, row->uid, reports, acked, refused, err);
	FAULT_POINT("plane.before_reports_commit");
	if (!r)
		r = db_commit(p->db, err);
	if (r) {
		db_rollback(p->db);
		return r;
	}
	FAULT_POINT("plane.after_reports_commit");
	reply = json_pack("{s:O,s:O}", "acked", acked, "refused", refused);
	http_exchange_reply_json(x, 200, reply);
	FAULT_POINT("plane.after_reports_reply");
	return 0;
}
