/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LIFECYCLE_PHASE_H
#define HOST_LIFECYCLE_PHASE_H

/* The phases of a cluster and the tasks within them: enum, names, documentation, allowed edges and
 * the test that walks them all come from these two tables. */

#include <stdbool.h>
#include <stdint.h>

#define LC_EDGE(id) (1u << LC_##id)

/* id, name, meaning, phases that may follow */
#define LC_PHASES(X)                                                                               \
	X(PENDING, "Pending", "accepted here; nothing has been made",                              \
	  LC_EDGE(PREPARING) | LC_EDGE(RUNNING) | LC_EDGE(PIVOTING_BACK) | LC_EDGE(DELETING) |     \
		  LC_EDGE(DELETED))                                                                \
	X(PREPARING, "Preparing", "keys are made and kept by the plane; the infrastructure is checked", \
	  LC_EDGE(PENDING) | LC_EDGE(BOOTSTRAPPING) | LC_EDGE(RUNNING) | LC_EDGE(PIVOTING_BACK) |  \
		  LC_EDGE(DELETING) | LC_EDGE(DELETED))                                            \
	X(BOOTSTRAPPING, "Bootstrapping", "the first control-plane machine is made",               \
	  LC_EDGE(INSTALLING) | LC_EDGE(PIVOTING_BACK) | LC_EDGE(DELETING))                        \
	X(INSTALLING, "Installing", "layers and controllers go into the cluster",                  \
	  LC_EDGE(PIVOTING) | LC_EDGE(RUNNING) | LC_EDGE(PIVOTING_BACK) | LC_EDGE(DELETING))       \
	X(PIVOTING, "Pivoting", "the cluster's state is written into it and handed over",          \
	  LC_EDGE(RUNNING) | LC_EDGE(PIVOTING_BACK) | LC_EDGE(DELETING))                           \
	X(RUNNING, "Running", "the cluster owns itself", LC_EDGE(PIVOTING_BACK))                   \
	X(PIVOTING_BACK, "PivotingBack", "authority is taken back for the delete",                 \
	  LC_EDGE(DELETING) | LC_EDGE(DELETED))                                                    \
	X(DELETING, "Deleting", "machines and infrastructure are removed", LC_EDGE(DELETED))       \
	X(DELETED, "Deleted", "the infrastructure holds nothing of it but what is listed", 0u)

enum lc_phase {
#define X(id, name, doc, edges) LC_##id,
	LC_PHASES(X)
#undef X
	LC_PHASE_COUNT
};

/* When a task may begin: DURABLE for all that change something outside, which must find the state that
 * names them in the store after a crash; AT_ONCE for those that only read, compute, or tell the plane what
 * they would tell again: they begin while that state is being written. */

/* id, name, phase, when it begins, what is waited for, task that follows (in its own phase) */
#define LC_TASKS(X)                                                                                \
	X(NONE, "", RUNNING, DURABLE, "nothing", NONE)                                             \
	X(ADMIT, "admit", PENDING, AT_ONCE, "policy and a complete request", CHECK)                \
	X(IN_CHARGE, "in_charge", PREPARING, AT_ONCE, "who is in charge, by the cluster itself",   \
	  CHECK)                                                                                   \
	X(CHECK, "check", PREPARING, AT_ONCE, "the infrastructure to have what the request names", \
	  IDENTITY)                                                                                \
	X(IDENTITY, "identity", PREPARING, AT_ONCE, "keys and the first machine's name", RECOVERY) \
	X(RECOVERY, "recovery", PREPARING, AT_ONCE, "the plane to keep what a take-back needs",    \
	  INFRA)                                                                                   \
	X(INFRA, "infra", PREPARING, DURABLE, "the cluster's place in the infrastructure",         \
	  MACHINE)                                                                                 \
	X(MACHINE, "machine", BOOTSTRAPPING, DURABLE, "the first machine to be on with an address", \
	  API)                                                                                     \
	X(API, "api", BOOTSTRAPPING, AT_ONCE, "the Kubernetes API of the first node", REDACT)      \
	X(REDACT, "redact", BOOTSTRAPPING, DURABLE, "keys to be taken out of the machine's user data", \
	  AUTHORITY)                                                                               \
	X(AUTHORITY, "authority", INSTALLING, AT_ONCE, "who is in charge, by the cluster itself",  \
	  INSTALL)                                                                                 \
	X(INSTALL, "install", INSTALLING, DURABLE, "layers and controllers to be available",       \
	  PREFLIGHT)                                                                               \
	X(PREFLIGHT, "preflight", PIVOTING, AT_ONCE, "the cluster to be able to take over", WRITE) \
	X(WRITE, "write", PIVOTING, DURABLE, "the objects to be in the cluster, paused", SNAPSHOT) \
	X(ROLLBACK, "rollback", PIVOTING, DURABLE, "the objects to be out of the cluster again",   \
	  PREFLIGHT)                                                                               \
	X(SNAPSHOT, "snapshot", PIVOTING, AT_ONCE, "the plane to keep the snapshot", COMMIT)       \
	X(COMMIT, "commit", PIVOTING, DURABLE, "the cluster to take over", NONE)                   \
	X(GUARD, "guard", PIVOTING_BACK, AT_ONCE, "policy to allow the delete", TAKE_BACK)         \
	X(TAKE_BACK, "take_back", PIVOTING_BACK, DURABLE, "the cluster to give authority back",    \
	  RELEASE)                                                                                 \
	X(RELEASE, "release", PIVOTING_BACK, DURABLE, "load balancers and volumes to be gone",     \
	  MACHINES_GONE)                                                                           \
	X(FORCED_OFF, "forced_off", PIVOTING_BACK, DURABLE, "every control-plane machine to be off", \
	  MACHINES_GONE)                                                                           \
	X(RELEASE_EARLY, "release_early", DELETING, DURABLE, "load balancers and volumes to be gone", \
	  MACHINES_GONE)                                                                           \
	X(MACHINES_GONE, "machines_gone", DELETING, DURABLE, "the machines to be gone",            \
	  INFRA_GONE)                                                                              \
	X(INFRA_GONE, "infra_gone", DELETING, DURABLE, "the cluster's place to be gone",           \
	  INVENTORY)                                                                               \
	X(INVENTORY, "inventory", DELETING, AT_ONCE, "an inventory that finds nothing",            \
	  REPORT_GONE)                                                                             \
	X(REPORT_GONE, "report_gone", DELETED, DURABLE, "nothing", REPORT_GONE)

enum lc_task {
#define X(id, name, phase, when, waits, next) LC_TASK_##id,
	LC_TASKS(X)
#undef X
	LC_TASK_COUNT
};

const char *lc_phase_name(enum lc_phase p);
const char *lc_phase_doc(enum lc_phase p);
bool lc_phase_parse(const char *name, enum lc_phase *p);
bool lc_edge_allowed(enum lc_phase from, enum lc_phase to);
const char *lc_task_name(enum lc_task t);
const char *lc_task_waits(enum lc_task t);
enum lc_phase lc_task_phase(enum lc_task t);
enum lc_task lc_task_next(enum lc_task t);
bool lc_task_at_once(enum lc_task t);
bool lc_task_parse(const char *name, enum lc_task *t);

#endif
