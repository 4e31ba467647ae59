/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_H
#define PLUGINS_VSPHERE_H

/* The vSphere provider: its state, and what its files give each other. Lock order: track before
 * session; neither is held while the server is asked, but for placement's, which makes its readers
 * wait for one answer. */

#include "plugins/vsphere/session.h"

#define METADATA "guestinfo.metadata"
#define MARK_CLUSTER "pcg.cluster"
#define MARK_POOL "pcg.pool"
#define MARK_MACHINE "pcg.machine"
#define MARK_ROLE "pcg.role"
#define MARK_GATEWAY "pcg.gateway"
#define MARK_EPOCH "pcg.epoch"

#define VS_OPS_MAX 16 /* ops that run at once */

struct placement;
struct track_table;
struct inventory;
struct picks;
struct kept;
struct zones;
struct checks;
struct clone_limit;
struct promises;

struct vsphere {
	struct pcg_host *host;
	const struct pcg_services *svc;
	json_t *account;
	bool usable;
	struct vs_err unusable;
	struct vs_session session;
	struct placement *placement;
	struct track_table *tracks;
	struct inventory *inventory;
	struct settle *settle;
	struct picks *picks;
	struct kept *kept;
	struct zones *zones;
	struct checks *checks;
	struct clone_limit *clones;
	struct promises *promises;
};

/* vsphere.c */
const char *vs_str(const json_t *j, const char *key);                  /* "" when absent */
const char *vs_at(const json_t *j, const char *a, const char *b);
const json_t *vs_spec(const struct vsphere *v);                        /* the account's spec */
/* The op's document, a new reference; NULL after an answer, also when the account cannot be used. */
json_t *vs_doc(struct vsphere *v, struct pcg_call *call, const char *text);
void vs_done(struct vsphere *v, struct pcg_call *call, json_t *doc);   /* steals */
void vs_pending(struct vsphere *v, struct pcg_call *call, uint32_t after_ms, json_t *checkpoint); /* steals */
void vs_error(struct vsphere *v, struct pcg_call *call, const struct vs_err *err);
void vs_problem(json_t *problems, const char *field, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* guestinfo.c */
/* The machine's instance uuid: RFC 4122 version 5 of its uid in a namespace of ours. */
void vs_instance_uuid(const char *uid, char out[37]);
/* A locally administered address of the machine's own, the same every time. */
void vs_mac(const char *uid, char out[18]);
char *vs_base64(const void *data, size_t len); /* caller frees */
/* The name of the machine that metadata was written for. False: there is none, or it cannot be read. */
bool vs_metadata_host(const char *metadata, char *host, size_t size);
bool vs_metadata_has(const char *metadata, const char *word); /* in any case */
/* User data for guestinfo: base64, packed when that is large. NULL with err when it is too large. */
char *vs_user_data(const char *text, const char **encoding, struct vs_err *err);

void vs_account_validate(void *plugin, struct pcg_call *call, const char *doc);
void vs_pick_list(void *plugin, struct pcg_call *call, const char *doc);
void vs_cluster_ensure(void *plugin, struct pcg_call *call, const char *doc);
void vs_cluster_delete(void *plugin, struct pcg_call *call, const char *doc);
void vs_machine_ensure(void *plugin, struct pcg_call *call, const char *doc);
void vs_machine_delete(void *plugin, struct pcg_call *call, const char *doc);
void vs_machine_redact(void *plugin, struct pcg_call *call, const char *doc);
void vs_machine_power_off(void *plugin, struct pcg_call *call, const char *doc);
void vs_inventory(void *plugin, struct pcg_call *call, const char *doc);
void vs_watch(void *plugin, struct pcg_call *call, const char *doc);
void vs_export_objects(void *plugin, struct pcg_call *call, const char *doc);
void vs_import_objects(void *plugin, struct pcg_call *call, const char *doc);

struct inventory *inventory_new(void);
/* Reads the inventory together with what the track of subject waits for, in one call, for the inventory of the
 * cluster that is asked for next. False when others read now: nothing was done. */
bool inventory_with(struct vsphere *v, struct pcg_call *call, const char *subject, const char *cluster, int *result,
		    struct vs_err *err);
/* copies.c: says of machines without a uid of ours that have one name which of them are copies: "stranger" of the item. */
int copies_tell(struct vsphere *v, struct pcg_call *call, json_t *items, struct vs_err *err);
void inventory_free(struct inventory *inv);

/* settle.c: true when the op was answered, for clones run that may be of the cluster's controllers. running: ids of those that run,
 * NULL: the vCenter is asked. Begun: some were found before. */
struct settle *settle_new(void);
void settle_free(struct settle *all);
bool settle_begun(struct vsphere *v, const char *cluster);
bool settle_wait(struct vsphere *v, struct pcg_call *call, const char *cluster, const json_t *running);

#endif
