/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_CHECK_H
#define HOST_CAPI_CHECK_H

/*
 * Checks before a hand-over. Each has a name, and ends in a record
 *   {"check","state":"ok|failed|waiting|later","what","seen","expected","remedy"}:
 * what it is for; for one that failed, what was seen, what was expected, what to do. waiting passes
 * by itself; later needs the cluster. No record holds a secret.
 */

#include "core/error.h"
#include "core/json.h"

/* id, name, what is checked; those of the plan alone first, then those that ask the cluster */
#define CHECKS(X)                                                                                  \
	X(PAUSED, "paused", "the Cluster is written paused, and nothing in it acts before the commit") \
	X(LABELS, "labels", "every object carries the cluster's label: controllers do not see others") \
	X(OWNERS, "owners", "owners are written first, and no uid of another cluster stands in an object") \
	X(MACHINES, "machines", "every Machine belongs to the control plane or to a MachineSet that is written too") \
	X(VERSIONS, "versions", "every Machine has the version of its control plane")               \
	X(CONFIGURATION, "configuration", "each Machine's KubeadmConfig is what the control plane would make for it") \
	X(TEMPLATE, "template", "the control plane's machine template is there, each machine was cloned from it, and what MachineDeployments name is written too") \
	X(PROVIDER_IDS, "provider-ids", "each machine has one provider id everywhere, and no other has it") \
	X(KEY_PAIRS, "key-pairs", "ca, etcd, proxy and sa are the pairs that the node was built with") \
	X(SERVING_CA, "serving-ca", "the CA that is written is the one that serves the API")        \
	X(VALIDITY, "validity", "certificate authorities are valid by this machine's clock")         \
	X(IDENTITY, "identity", "the credentials that the infrastructure's objects name are written") \
	X(CLOCK, "clock", "the clock of the API server agrees with this machine's")                 \
	X(KINDS, "kinds", "the cluster serves every kind")                                          \
	X(CONTRACTS, "contracts", "the definitions of providers carry the label of their contract") \
	X(CONTROLLERS, "controllers", "the controllers of all four providers are available")         \
	X(NODE, "node", "a node that is ready can run the controllers")                             \
	X(NODE_IDS, "node-ids", "the Node of each machine has the machine's provider id, byte for byte") \
	X(WEBHOOKS, "webhooks", "the API and its webhooks accept every object in a dry run, fields strictly checked")

enum check_id {
#define X(id, name, what) CHECK_##id,
	CHECKS(X)
#undef X
	CHECK_COUNT
};
#define CHECK_FIRST_OF_CLUSTER CHECK_CLOCK


/* What the checks of a plan need beside it; each may be NULL: then "later". */
struct check_facts {
	const json_t *keys;     /* of the recovery document */
	const char *serving_ca; /* PEM */
	bool made;              /* keys were made by this process, so its pairs belong together */
};

const char *check_name(enum check_id id);
const char *check_what(enum check_id id);
void check_ok(json_t *records, enum check_id id);
void check_later(json_t *records, enum check_id id);
/* Only the first failure of a check is kept; all formats are for text without secrets. */
void check_fail(json_t *records, enum check_id id, bool passes, const char *remedy,
		const char *expected, const char *seen, ...) __attribute__((format(printf, 6, 7)));
/* In the order of the table; what has no record is "later". */
void check_complete(json_t *records);
bool check_failed(const json_t *records, enum check_id id);
/* The record that says why it does not go on, as an error; 0: none. */
int check_first_failure(const json_t *records, struct pcg_error *err);

/* Everything that the plan itself tells. */
void check_plan(const json_t *plan, const struct check_facts *facts, json_t *records);

#endif
