/* SPDX-License-Identifier: Apache-2.0 */
/* A plane that was restored from a backup may not know a cluster that is newer than the backup. The gateway keeps
 * such a cluster as it is, says so in a condition, and gives the plane what it needs to adopt it. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "core/log.h"

#include <stdio.h>
#include <string.h>

static const char member[] = "unknownToPlane"; /* of a cluster's state: {since, cause} */

bool cluster_unknown(const struct cluster *c)
{
	return json_object_get(c->state, member) && c->lc.phase != LC_DELETED;
}

/* Holds what the cluster's document and recovery document hold: secrets. */
static void report_found(struct cluster *c, struct store_batch *b)
{
	AUTO_FREE char *key = NULL;

	if (asprintf(&key, "found/%s", c->uid) < 0)
		abort();
	report_add(c->l, b, "cluster.found", key,
		   json_pack("{s:s,s:s,s:I,s:I,s:o,s:o?}", "uid", c->uid, "phase",
			     lc_phase_name(c->lc.phase), "generation", (json_int_t)c->lc.generation,
			     "epoch", (json_int_t)c->lc.epoch, "document",
			     json_deep_copy(c->spec), "recovery",
			     json_object_get(c->recovery, "keys") ? cluster_recovery_document(c) : NULL));
}

void cluster_unknown_begin(struct cluster *c, const char *text)
{
	struct store_batch *b;

	if (cluster_unknown(c) || c->lc.phase == LC_DELETED)
		return;
	json_object_set_new(c->state, member,
			    json_pack("{s:I,s:o}", "since", (json_int_t)clock_wall_ms(), "cause",
				      json_sprintf("the plane refuses reports about this cluster: %.300s", text)));
	log_warn("cluster_unknown_to_plane", LS("cluster", c->name), LS("uid", c->uid), LS("cause", text),
		 LS("remedy", "pcg-planectl cluster adopt UID"));
	cluster_note(c, "unknown_to_plane", json_pack("{s:s}", "cause", text));
	lifecycle_flush_notes(c->l);
	b = store_batch_new(c->l->spec.store);
	report_found(c, b);
	cluster_save_into(c, b);
	store_batch_commit(b, NULL, NULL);
	cluster_show(c, NULL);
}

void cluster_unknown_end(struct cluster *c, struct store_batch *b)
{
	if (json_object_del(c->state, member))
		return;
	store_add_history(b, c->uid, c->name, clock_wall_ms(), "known_to_plane", NULL);
	c->known_again = true;
}

json_t *cluster_unknown_condition(const struct cluster *c)
{
	const json_t *u = json_object_get(c->state, member);
	char since[CLOCK_RFC3339_SIZE];

	return json_pack("{s:s,s:s,s:s,s:n,s:s,s:o}", "type", "KnownToPlane", "status", "False", "since",
			 clock_rfc3339(json_int_or(u, "since", 0), since), "nextTry", "cause",
			 json_str_or(u, "cause", ""), "remedy",
			 json_sprintf("adopt it in the plane: pcg-planectl cluster adopt %s", c->uid));
}

void lifecycle_retell(struct lifecycle *l, struct store_batch *b)
{
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *c = l->buckets[i]; c; c = c->next) {
			if (c->lc.phase == LC_DELETED)
				continue;
			report_cluster_status(c, b);
			if (cluster_unknown(c))
				report_found(c, b);
		}
}

void cluster_retell(struct cluster *c, const json_t *document, struct store_batch *b)
{
	bool built = c->lc.phase >= LC_INSTALLING && c->lc.phase <= LC_RUNNING;
	AUTO_JSON json_t *recovery = json_object_get(c->recovery, "keys") ? cluster_recovery_document(c) : NULL;

	if (recovery && !json_equal(recovery, json_object_get(document, "recovery")))
		report_cluster_recovery(c, b);
	if (built && json_is_false(json_object_get(document, "hasKubeConfig")))
		report_cluster_kubeconfig(c, b);
	if (c->lc.phase == LC_RUNNING)
		secret_unref(TAKE(c->kubeconfig));
}
