/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LIFECYCLE_CLUSTER_H
#define HOST_LIFECYCLE_CLUSTER_H

/* Inside the lifecycle: one cluster, its machines, and the task that runs. */

#include "host/capi/capi.h"
#include "host/lifecycle/lifecycle.h"
#include "host/lifecycle/step.h"
#include "kube/kube.h"

#define MACHINE_INTENT "intent"   /* durable; may or may not exist */
#define MACHINE_PRESENT "present" /* observed */
#define MACHINE_GONE "gone"       /* the infrastructure says so */

struct machine {
	struct machine *next;
	struct cluster *cluster;
	char *uid, *name, *pool, *role;
	const char *state;
	const char *op;
	json_t *observed;
	json_t *checkpoint;
	bool dirty;
};

/* For what cannot be cancelled (policy, work on the pool): a cancelled task leaves its guard to
 * the callback, emptied. */
struct guard {
	struct cluster *cluster;
};

#define CLUSTER_MAGIC 0x636c7573u

struct cluster {
	uint32_t magic;
	struct cluster *next; /* in its bucket */
	struct lifecycle *l;
	char *uid, *name, *tenant, *project, *account;
	struct lc_state lc;
	json_t *spec;     /* holds what a profile may hide: never shown */
	json_t *recovery; /* secret: keys, render input */
	json_t *state;    /* endpoint, observed, health, left */
	struct machine *machines;
	uv_timer_t *timer;
	uint64_t serial; /* of the state that was last made durable */
	bool spec_dirty, recovery_dirty;

	struct guard *guard;
	struct provider_call *call;
	struct capi_op *op;
	struct kube_op *kube_op;
	struct kube *kube;
	json_t *plan;
	int64_t plan_generation; /* of the request that it was made from */
	char *warning; /* of its API, the last one */
	json_t *checks; /* records of the last preflight */
	json_t *stages; /* of the install, those that were told */
	bool keys_made; /* by this process */
	struct secret *kubeconfig; /* while the cluster is made: the plane and the cluster get the same */
	struct secret *user_data; /* of its first machine, while that is asked for again and again */
	struct removal *removals; /* machines on their way out */
	unsigned empty;           /* inventories in a row that found nothing */
	bool known_again;         /* the instruction that the plane knows it by is being made durable */
	struct pcg_error worst;   /* of the removals; no text: none */
};

#define LC_BUCKETS 1024

/* A failure that was logged of an account. */
struct told {
	char account[64];
	char text[1024];
	int64_t at_ms;
};

struct lifecycle {
	struct lifecycle_spec spec;
	char *gateway_uid, *bundle_dir, *image_repository;
	struct proxy_set *proxy;
	struct cluster *buckets[LC_BUCKETS];
	struct tombstone *tombstones[LC_BUCKETS];
	size_t n_tombstones;
	struct store_batch *notes; /* lines of history that wait for the next transaction; NULL: none */
	uv_timer_t *notes_timer;
	json_t *accounts; /* uid -> document; secret */
	json_t *reports;  /* array in order of seq; secret */
	int64_t report_seq;
	int64_t taken_seq; /* up to here reports were sent, or are being sent */
	struct told told[16];
	size_t told_next;
	struct lc_settings settings;
	struct audit *audits; /* under way */
	struct planning *plans;
	bool held, closing;
};

/* cluster.c */
unsigned cluster_bucket(const char *uid);
struct cluster *cluster_find(struct lifecycle *l, const char *uid_or_name);
/* Not linked: not found yet. */
struct cluster *cluster_new(struct lifecycle *l, const char *uid, const json_t *spec);
struct cluster *cluster_from_row(struct lifecycle *l, const struct store_cluster_row *row);
void cluster_link(struct cluster *c);
void cluster_unlink(struct cluster *c);
void cluster_free(struct cluster *c);
/* Once policy has looked at the request, with what policy changed in it. */
void cluster_set_spec(struct cluster *c, const json_t *spec);
/* What policy changed in the request, {"path":value}: it stands as long as the cluster. NULL or {}: nothing. */
void cluster_keep_change(struct cluster *c, const json_t *change);
const json_t *cluster_change(const struct cluster *c);
void cluster_change_again(struct cluster *c); /* in c->spec */
/* What was prepared from a request that another one takes the place of (lc_begins_again): keys, what nodes would have
 * been given, the first machine's name. */
void cluster_begin_again(struct cluster *c, struct store_batch *b);
/* Their rows and addresses. */
void cluster_forget_machines(struct cluster *c, struct store_batch *b);
struct machine *machine_find(struct cluster *c, const char *uid);
struct machine *machine_new(struct cluster *c, const char *uid, const char *name, const char *pool,
			    const char *role);
void machine_observe(struct machine *m, const json_t *observed);
const json_t *cluster_pool(const struct cluster *c, const char *name);
const json_t *cluster_control_plane_pool(const struct cluster *c);
json_t *cluster_view(const struct cluster *c);   /* for people: no secret */
json_t *cluster_public_spec(const struct cluster *c); /* for policy: without secrets of accounts; its parts are shared */

/* tombstone.c: a deleted cluster, in one small block. A plane that was restored may ask again for what
 * is long gone: these are kept as long as their rows are. */
struct tombstone *tombstone_find(struct lifecycle *l, const char *uid_or_name);
int64_t tombstone_generation(const struct tombstone *t);
void tombstone_put(struct cluster *c); /* takes the cluster, which is not linked */
struct cluster *tombstone_take(struct lifecycle *l, struct tombstone *t); /* linked again */
json_t *tombstone_view(struct lifecycle *l, const struct tombstone *t);
void tombstone_views(struct lifecycle *l, json_t *items);
void tombstone_free_all(struct lifecycle *l);

/* accounts.c: an item of instructions; those that the plane has removed, and no cluster uses any more */
void lifecycle_take_account(struct lifecycle *l, const json_t *item, struct store_batch *b);
void lifecycle_drop_accounts(struct lifecycle *l, struct store_batch *b);

/* audit.c */
void audit_end_all(struct lifecycle *l); /* without an answer */

/* feed.c: events in, durable state and actions out. A group makes many clusters durable in one
 * transaction: its owner commits the batch, calls feed_group_submitted, and feed_group_durable when it is.
 * NULL: one by itself. */
struct saved;
struct feed_group {
	struct store_batch *batch;
	struct saved *saved;
};
void feed_group_submitted(struct feed_group *g);
void feed_group_durable(struct feed_group *g);
void cluster_feed(struct cluster *c, const struct lc_event *e, struct feed_group *g);
/* A new row with the task it begins with. */
void cluster_begin_saved(struct cluster *c, struct feed_group *g);
void cluster_done(struct cluster *c);
void cluster_done_epoch(struct cluster *c, int64_t epoch, bool skip);
void cluster_pending(struct cluster *c, uint32_t after_ms);
void cluster_failed(struct cluster *c, const struct pcg_error *err);
void cluster_nudge(struct cluster *c);
/* To whoever watches: the view, with note (NULL: none; stolen) as its "note". */
void cluster_show(struct cluster *c, json_t *note);
/* A line of history that belongs to no change of phase (an object was created). fields is stolen. */
void cluster_note(struct cluster *c, const char *event, json_t *fields);
/* The same to whoever watches alone. */
void cluster_tell(struct cluster *c, const char *event, json_t *fields);
void lifecycle_flush_notes(struct lifecycle *l);
void cluster_save(struct cluster *c, store_cb cb, void *arg); /* rows as they are now */
void cluster_save_into(struct cluster *c, struct store_batch *b);
void cluster_cancel(struct cluster *c);
void cluster_let_go(struct cluster *c);
/* What a delete leaves in the infrastructure, [{"id","name","why"}]: added to what is known. */
void cluster_left(struct cluster *c, const json_t *items);

/* The same of its load balancers and volumes, which the cluster was not, or not to the end, asked to remove. */
void cluster_left_unasked(struct cluster *c, const char *why);

/* abandon.c: all that is known to be left, with addresses; places: the cluster's own place too. err NULL: the
 * infrastructure answers, and has no end. */
void cluster_left_behind(struct cluster *c, bool places, const struct pcg_error *err);

/* addresses.c: static addresses of the machines that the gateway makes, [{"device","pool","address","prefix","gateway",
 * "nameservers","search"}]; part of the cluster's state, so durable with its machines. */
const json_t *addresses_of_machine(const struct cluster *c, const char *uid); /* NULL: by DHCP */
void addresses_keep(struct cluster *c, const char *uid, const json_t *addresses);
void addresses_forget(struct cluster *c);
/* Once for each machine; again changes nothing. */
int addresses_assign(struct cluster *c, const char *uid, const char *machine_pool, struct pcg_error *err);
json_t *addresses_view(const struct cluster *c); /* what is reserved, [{"name","addresses"}] */

/* reports.c */
void report_add(struct lifecycle *l, struct store_batch *b, const char *kind, const char *key, json_t *doc);
void report_cluster_status(struct cluster *c, struct store_batch *b);
/* Saves the cluster too. */
void report_cluster_recovery(struct cluster *c, struct store_batch *b);
/* What the plane keeps: keys and render input, and where the cluster and its machines are now. */
json_t *cluster_recovery_document(const struct cluster *c);
/* Nothing when its keys or its endpoint are not known. */
void report_cluster_kubeconfig(struct cluster *c, struct store_batch *b);

/* unknown.c: clusters that the plane has forgotten, since its database came from a backup */
bool cluster_unknown(const struct cluster *c);
void cluster_unknown_begin(struct cluster *c, const char *text); /* the plane refused a report about it */
void cluster_unknown_end(struct cluster *c, struct store_batch *b);
json_t *cluster_unknown_condition(const struct cluster *c);
/* The plane does not know what it was told, or what it has told: everything is told again. */
void lifecycle_retell(struct lifecycle *l, struct store_batch *b);
/* What an instruction shows to be missing in the plane. */
void cluster_retell(struct cluster *c, const json_t *document, struct store_batch *b);

/* tasks */
void task_start(struct cluster *c);
struct guard *task_guard(struct cluster *c);
struct cluster *task_guard_take(void *arg); /* NULL: the task was cancelled */
json_t *task_cluster_doc(const struct cluster *c);
json_t *task_mark(const struct cluster *c, const char *pool, const char *machine_uid);
json_t *task_machine_doc(const struct cluster *c, const char *uid, const char *name, const char *pool,
			 const char *role);
int task_kube(struct cluster *c, struct pcg_error *err);
struct capi_callbacks task_callbacks(struct cluster *c, void (*done)(void *arg, json_t *result,
								     const struct pcg_error *err));
/* Another conversation, of the caller's. */
int task_kube_new(struct cluster *c,
		  int (*mint_fn)(void *arg, char **cert_pem, struct secret **key_pem,
				 struct pcg_error *err),
		  void *arg, struct kube **out, struct pcg_error *err);
int task_kubeconfig(struct cluster *c, struct pcg_error *err); /* into c->kubeconfig */
json_t *task_render_input(const struct cluster *c);
struct machine *task_first_machine(const struct cluster *c);
json_t *task_machines(const struct cluster *c); /* as export_objects gets them */
json_t *task_export_doc(const struct cluster *c, json_t *machines);

/* What the objects of a hand-over are made of beside the request. */
struct plan_parts {
	json_t *machines, *endpoint, *keys;
	json_t *objects;        /* of export_objects */
	const char *kubeconfig; /* NULL: none is written */
};
int task_plan(const struct cluster *c, const struct plan_parts *parts, json_t **plan,
	      struct pcg_error *err);

/* peer.c */
void peer_handed_over(struct cluster *c, const json_t *exported); /* remembers what the objects say */
json_t *peer_condition(const struct cluster *c); /* NULL: as it was; new reference */

/* plan.c */
void plans_end_all(struct lifecycle *l); /* without an answer */
void plans_set_proxy(struct lifecycle *l); /* l->proxy is another one */
void plans_end_cluster(struct cluster *c); /* they fail: it goes */

#define TASK_STARTS(X)                                                                             \
	X(ADMIT, task_admit) X(IN_CHARGE, task_authority) X(CHECK, task_check) X(IDENTITY, task_identity)                       \
	X(RECOVERY, task_recovery) X(INFRA, task_infra) X(MACHINE, task_machine)                   \
	X(API, task_api) X(REDACT, task_redact) X(AUTHORITY, task_authority)                       \
	X(INSTALL, task_install) X(PREFLIGHT, task_preflight) X(WRITE, task_write)                 \
	X(ROLLBACK, task_rollback)                                                                 \
	X(SNAPSHOT, task_recovery) X(COMMIT, task_commit) X(GUARD, task_delete_guard)              \
	X(TAKE_BACK, task_take_back) X(RELEASE, task_release)                                      \
	X(RELEASE_EARLY, task_release)                                                             \
	X(FORCED_OFF, task_forced_off) X(MACHINES_GONE, task_machines_gone)                        \
	X(INFRA_GONE, task_infra_gone) X(INVENTORY, task_inventory)

void task_removals_cancel(struct cluster *c);
void task_removal_hint(struct cluster *c, const char *subject);

#define X(id, fn) void fn(struct cluster *c);
TASK_STARTS(X)
#undef X

#endif
