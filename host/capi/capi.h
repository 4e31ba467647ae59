/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_H
#define HOST_CAPI_H

/*
 * Cluster API's side of a cluster: the objects, and the operations that move authority over them
 * into the cluster and back. Every operation is asynchronous in the loop's thread, safe to begin
 * again from its start after a crash (it finds what it made), and ends by exactly one call of done.
 * progress tells each step and object for watch and history.
 */

#include "core/error.h"
#include "core/json.h"
#include "kube/kube.h"

#define CAPI_AUTHORITY "pcg.dev/authority" /* annotation on the Cluster: "gateway" or "cluster" */
#define CAPI_EPOCH "pcg.dev/epoch"         /* annotation on the Cluster: decimal */
#define CAPI_OWNER "pcg.dev/gateway-uid"   /* annotation on the Cluster */

struct capi_op;

struct capi_callbacks {
	void (*progress)(void *arg, const char *step,
			 const char *object); /* "created", "Machine/c1-cp-x2k" */
	void (*done)(
		void *arg, json_t *result,
		const struct pcg_error *err); /* err NULL: done; result borrowed, may be NULL */
	void *arg;
};

/*
 * input: {"spec",
 * "machines":[{"uid","name","pool","role","observed":{"providerID","addresses",...}}], "endpoint",
 * "keys", "epoch", "gatewayUid", "controlPlaneSpec", "workerSpec" (of bootstrap.h; one for all
 * pools) or "workerSpecs" {POOL: spec}, "providerObjects":[...] (of export_objects), "namespace",
 *   "kubeconfig"}
 * machines are control-plane machines, the one that ran kubeadm init first. An object of the
 * provider with role "extra": owner "Machine" means the infrastructure machine of the same uid.
 * Several of role "workerTemplate" for one pool: a MachineDeployment for each, with its "failureDomain" (spread.h).
 * plan: {"objects":[{"group":N,"object":{..},"status":{..}|null,"owner":{"kind","name"}|null,
 *   "controller":bool}]} in order of writing. Secret.
 */
int capi_objects_build(const json_t *input, json_t **plan, struct pcg_error *err);

/* Layers of the spec in order (network, cloud provider, ...), certificate manager, controllers from
 * the bundle folder, each waited for; before all of them kube-proxy, for at most servicesMs. input:
 * {"layers":[..], "bundle":DIR, "provider":"vsphere", "addresses": whether it has static ones, "variables":{..}, "imageRepository",
 * "servicesMs"}. */
struct capi_op *capi_install(struct kube *k, const json_t *input, const struct capi_callbacks *cb);
/* Whether the manifests of a spec's layers can be read, and each object says what it is. Any thread; takes time. */
int capi_layers_check(const json_t *layers, struct pcg_error *err);
/* What is missing in a bundle folder for this provider: named, with where it comes from. addresses: for clusters with
 * static addresses, whose pools need a provider of their own. */
int capi_bundle_check(const char *dir, const char *provider, bool addresses, struct pcg_error *err);

/* Whether the cluster can take the plan over (host/capi/check.h says what is checked): reads and dry
 * runs, nothing is written. input {"keys" of the recovery document, "made": by this process}. Ends without an error whatever
 * was found: result {"checks":[..], "plan": the plan in the shapes that the cluster serves, when those
 * are older}. */
struct capi_op *capi_preflight(struct kube *k, const json_t *plan, const json_t *input,
			       const struct capi_callbacks *cb);

/* Writes the plan paused, owners from the target's answers, status, reads back and compares. result
 * {"cluster":{"resourceVersion","uid"}}. */
struct capi_op *capi_write(struct kube *k, const json_t *plan, const struct capi_callbacks *cb);

/* input {"namespace","name","epoch":n+1,"gatewayUid"}. Reads the Cluster: already committed with
 * this epoch: done. Else one PATCH guarded by resourceVersion. No answer: err class RETRY, and the
 * caller only calls capi_commit_check until it knows. */
struct capi_op *capi_commit(struct kube *k, const json_t *input, const struct capi_callbacks *cb);
/* Only reads. result {"state":"committed"|"not_committed","epoch":n,"authority":..}; err RETRY:
 * cannot know. */
struct capi_op *capi_commit_check(struct kube *k, const json_t *input,
				  const struct capi_callbacks *cb);
/* PATCH guarded the same way to authority gateway with input's epoch, then removal in reverse,
 * finalizers stripped, never unpaused. The namespace stays. */
struct capi_op *capi_rollback(struct kube *k, const json_t *plan, const json_t *input,
			      const struct capi_callbacks *cb);

/* Authority gateway, given epoch, paused, in one guarded PATCH (again: done); waits until
 * controllers have observed it, scales them to 0, waits until their pods are gone, reads the graph (its
 * machines alone when all had observed it: nothing else changes then).
 * input as capi_commit, with "afterEpoch" in place of "epoch" when it shall be higher than both that
 * and the cluster's, or what this gateway has taken since (then a Cluster that is not there is result
 * {"exists":false}), and
 * "infrastructureNamespaces" [] of further controllers,
 * "observeTimeoutMs" (30 s; passed over when nobody observes). Result
 * {"objects":[..],"machines":[{"name","pool","role","providerID","addresses","uid"}],"pools":[{"name","size",
 * "deployments":[NAME]}],"epoch"}: a pool once, whatever its number of MachineDeployments, and how many workers it wants. */
struct capi_op *capi_take_back(struct kube *k, const json_t *input,
			       const struct capi_callbacks *cb);

/* What the cluster has in the infrastructure beside its machines. Only reads. result
 * {"loadBalancers":[{"namespace","name","uid","addresses","deleting"}], "volumes":[{"name",
 * "reclaimPolicy","driver","handle","capacity","phase","message","claim":{"namespace","name",
 * "uid"}|null}]}; volumes that live in one machine are left out. */
struct capi_op *capi_attached(struct kube *k, const struct capi_callbacks *cb);
/* What of that result is left, [{"id","name","why"}]. keep: volumes by name that policy keeps. why: of what the
 * cluster would have removed; NULL: it was asked to, and did not in time. */
json_t *capi_attached_left(const json_t *attached, const json_t *keep, const char *why);
/* Has the cluster's own controllers remove its load balancers and the volumes with reclaim policy
 * Delete, with what uses these; for a cluster whose authority was taken back. input
 * {"keepVolumes":[name], "timeoutMs" (300 s)}. A claim whose volume a driver is making is left alone for a fifth of
 * that. What is still there then, and what is kept, is in
 * result {"left":[{"id","name","why"}]}; only an API that does not answer is an error. */
struct capi_op *capi_release(struct kube *k, const json_t *input, const struct capi_callbacks *cb);

void capi_op_cancel(struct capi_op *op); /* no callback any more; before kube_free */

#endif
