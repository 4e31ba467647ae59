/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_POLICY_H
#define HOST_POLICY_H

/*
 * Per-tenant policy in Lua, evaluated in a worker for each tenant: policy.d/TENANT/NN-name.lua in order, and policy.d/_all/
 * for every tenant first. Loop thread only. Anything but a good result is an error of class PERMANENT that names script, line
 * and rule (fails closed); what an error means for a delete is the caller's decision. Class RETRY: the worker
 * did not get as far as a script.
 */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"

#include <uv.h>

/* hook, input, result: one line for each */
#define POLICY_HOOKS(X)                                                                           \
	X(admission, "cluster spec without secrets", "{allow=bool, reason=string, change={path=value}}") \
	X(ca_bundle, "cluster, certificates by class", "{certificates={{name, pem}}}")            \
	X(proxy, "cluster, proxy settings without credentials", "{httpProxy, httpsProxy, noProxy={...}}") \
	X(node_bootstrap, "cluster, pool, role", "{files={{path, content, owner, permissions}}, preKubeadmCommands={}, postKubeadmCommands={}}") \
	X(delete_guard, "cluster, whether its API answers, load balancers, volumes", "{allow=bool, reason=string, keepVolumes={name}}")

struct policy;

struct policy_spec {
	const char *exe;
	const char *dir;             /* policy.d; may be absent: everything is allowed */
	uint32_t deadline_ms;        /* 0: 1000 */
	uint64_t memory_max;         /* 0: 64 MiB for a script's state */
};

/* result: borrowed; NULL when no script has the hook, or none had anything to say. A refusal has "script" beside
 * "allow" and "reason". From the loop, never from inside policy_eval, but for CANCELLED after or by policy_close. */
typedef void (*policy_cb)(void *arg, const json_t *result, const struct pcg_error *err);

int policy_new(uv_loop_t *loop, const struct policy_spec *spec, struct policy **out, struct pcg_error *err);
void policy_close(struct policy *p, void (*closed)(void *arg), void *arg);
/* Takes the folder's present content whole, or keeps the old set: problems, one a line; NULL: taken up. Workers try the
 * scripts of folders that changed, a deadline at most for each four folders; questions are answered by the old set until
 * then. cb comes once: from inside for a folder that cannot be read and by policy_close, else from the loop. One at a
 * time. */
typedef void (*policy_reloaded)(void *arg, const char *problems);
void policy_reload(struct policy *p, policy_reloaded cb, void *arg);
/* tenant: its uid; both may be NULL. The folder is named by either. input is copied. */
void policy_eval(struct policy *p, const char *tenant, const char *tenant_name, const char *hook,
		 const json_t *input, policy_cb cb, void *arg);
/* False: no script of this tenant has the hook, and policy_eval answers NULL. */
bool policy_asks(const struct policy *p, const char *tenant, const char *tenant_name, const char *hook);
/* Puts what admission changed into a cluster spec, {"path": value}: whole or with an error that names the path; then
 * spec may be half changed, so give a copy. */
int policy_changes_apply(json_t *spec, const json_t *changes, struct pcg_error *err);
json_t *policy_list(const struct policy *p); /* {"tenants":[{"tenant","scripts":[..],"hooks":[..],"since","problem"}]} */
/* For pcgctl policy check and test: needs no daemon. Problems or test results to out; 0, or -1 when something is wrong. */
int policy_check_dir(const char *exe, const char *dir, struct buf *out);
int policy_test_dir(const char *exe, const char *dir, struct buf *out); /* runs DIR/TENANT/tests/NAME.json (docs/policy.md) */

int policy_worker_main(json_t *hello);

#endif
