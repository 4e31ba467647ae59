/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/storage.h"

#include "plugins/vsphere/devices.h"
#include "plugins/vsphere/kept.h"
#include "plugins/vsphere/pbm.h"
#include "plugins/vsphere/placement_impl.h"
#include "plugins/vsphere/promise.h"
#include "plugins/vsphere/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND "policy"
#define KIND_NAME "policy name"
#define FIELD "pool.cloudConfig.storagePolicyName"
#define STORES_MAX 512
#define LEASE_S 300 /* Storage DRS holds the space of a recommendation so long: its clone may stand in line */

static int policy_find(struct vsphere *v, struct pcg_call *call, const char *name, char id[POLICY_ID], json_t *problems,
		       struct vs_err *err)
{
	json_t *policies, *one, *names;
	char there[700];
	size_t i;

	if (kept_get(v, KIND, name, id, POLICY_ID))
		return 0;
	if (vs_pbm_policies(&v->session, call, &policies, err))
		return -1;
	names = json_array();
	json_array_foreach(policies, i, one) {
		json_array_append_new(names, candidate(vs_str(one, "name"), vs_str(one, "id")));
		if (strcmp(vs_str(one, "name"), name) == 0 || strcmp(vs_str(one, "id"), name) == 0)
			snprintf(id, POLICY_ID, "%s", vs_str(one, "id"));
	}
	candidates_text(names, there, sizeof(there));
	if (*id)
		kept_put(v, KIND, name, id);
	else
		vs_problem(problems, FIELD, "Name a policy of this vCenter, or leave it out.", "there is no storage policy \"%s\"%s",
			   name, there);
	json_decref(names);
	json_decref(policies);
	return 0;
}

int storage_policy_name(struct vsphere *v, struct pcg_call *call, const char *policy, char *name, size_t size, struct vs_err *err)
{
	json_t *policies, *one;
	size_t i;

	if (kept_get(v, KIND_NAME, policy, name, size))
		return 0;
	snprintf(name, size, "%s", policy);
	/* The server's ids are uuids. */
	if (strlen(policy) != 36 || policy[strspn(policy, "0123456789abcdefABCDEF-")])
		return 0;
	if (vs_pbm_policies(&v->session, call, &policies, err))
		return -1;
	json_array_foreach(policies, i, one)
		if (strcmp(vs_str(one, "id"), policy) == 0)
			snprintf(name, size, "%s", vs_str(one, "name"));
	json_decref(policies);
	kept_put(v, KIND_NAME, policy, name);
	return 0;
}

struct stores {
	struct vs_ref refs[STORES_MAX];
	int64_t free[STORES_MAX];
	size_t n;
};

static void on_store(void *arg, const struct xn *object)
{
	const struct xn *summary = xn_prop(object, "summary");
	const char *mode = xn_get(summary, "maintenanceMode");
	struct stores *s = arg;

	if (s->n == STORES_MAX || strcmp(xn_get(summary, "accessible"), "true") != 0 || (*mode && strcmp(mode, "normal") != 0) ||
	    !xn_ref(xn_child(object, "obj"), &s->refs[s->n]))
		return;
	s->free[s->n++] = atoll(xn_get(summary, "freeSpace"));
}

/* What a compute cluster sees, or a datastore cluster holds, and may be written to. */
static int stores_read(struct vsphere *v, struct pcg_call *call, const struct vs_ref *of, struct stores *out, struct vs_err *err)
{
	bool pod = strcmp(of->type, "StoragePod") == 0;
	struct soap s;

	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	soap_open(&s, "specSet");
	soap_open(&s, "propSet");
	soap_text(&s, "type", "Datastore");
	soap_text(&s, "pathSet", "summary");
	soap_close(&s);
	soap_open(&s, "objectSet");
	soap_ref(&s, "obj", of);
	soap_bool(&s, "skip", true);
	soap_open_type(&s, "selectSet", "TraversalSpec");
	soap_text(&s, "type", pod ? "StoragePod" : "ComputeResource");
	soap_text(&s, "path", pod ? "childEntity" : "datastore");
	soap_bool(&s, "skip", false);
	soap_close(&s);
	soap_close(&s);
	soap_close(&s);
	out->n = 0;
	return vs_retrieve(&v->session, call, &s, 0, 0, on_store, out, err);
}

/* Which of them is good by the policy. */
static int stores_judge(struct vsphere *v, struct pcg_call *call, const char *policy, const struct stores *s, bool good[STORES_MAX],
			struct vs_err *err)
{
	for (size_t i = 0; i < s->n; i++)
		good[i] = true;
	return s->n && *policy ? vs_pbm_check(&v->session, call, policy, s->refs, s->n, good, err) : 0;
}

static void store_choose(struct vsphere *v, const struct stores *s, const bool *good, struct spot *spot, bool making)
{
	struct promise_ask ask = { .stores = s->refs, .free = s->free, .good = good, .n = s->n, .bytes = making ? spot->bytes : 0,
				   .name = "" };
	int chosen = promise_space(v, &ask);

	if (chosen >= 0)
		spot->datastore = s->refs[chosen];
}

/* The datastore of a policy: the one that is named, or the best. */
static int policy_store(struct vsphere *v, struct pcg_call *call, const struct vs_options *o, struct spot *spot, const char *policy,
			bool making, json_t *problems, struct vs_err *err)
{
	struct vs_ref named = spot->datastore;
	struct stores *stores = calloc(1, sizeof(*stores));
	bool good[STORES_MAX];
	int r = 0;

	if (!stores)
		abort();
	memset(&spot->datastore, 0, sizeof(spot->datastore));
	if (named.value[0]) {
		stores->refs[0] = named;
		stores->n = 1;
	} else {
		r = stores_read(v, call, &spot->cluster, stores, err);
	}
	if (!r)
		r = stores_judge(v, call, policy, stores, good, err);
	if (!r)
		store_choose(v, stores, good, spot, making);
	if (!r && !spot->datastore.value[0] && named.value[0])
		vs_problem(problems, FIELD, "Name another datastore or policy, or leave the datastore out.",
			   "datastore %s does not satisfy storage policy \"%s\"", spot->datastore_path, o->policy);
	else if (!r && !spot->datastore.value[0])
		vs_problem(problems, FIELD, "Name another policy, or give the compute cluster a datastore that satisfies it.",
			   "no datastore that %s sees satisfies storage policy \"%s\"", spot->cluster_path, o->policy);
	if (named.value[0])
		spot->datastore = named;
	free(stores);
	return r;
}

static int policy_look(struct vsphere *v, struct pcg_call *call, const struct vs_options *o, struct spot *spot, char policy[POLICY_ID],
		       bool making, json_t *problems, struct vs_err *err)
{
	struct promise_ask named = { .stores = &spot->datastore, .n = 1, .name = "" };
	int r;

	*policy = 0;
	spot->bytes = spot->devices ? disk_bytes(spot->devices, o, spot->committed) : 0;
	named.bytes = spot->bytes;
	if (!*o->policy) {
		/* Others that may choose shall know. */
		if (making && spot->datastore.value[0])
			promise_space(v, &named);
		return 0;
	}
	r = policy_find(v, call, o->policy, policy, problems, err);
	snprintf(spot->policy, sizeof(spot->policy), "%s", policy);
	/* A recommendation for a datastore cluster looks at the policy itself. */
	if (r || !*policy || spot->pod.value[0] || !spot->cluster.value[0])
		return r;
	return policy_store(v, call, o, spot, policy, making, problems, err);
}

int storage_policy(struct vsphere *v, struct pcg_call *call, const struct vs_options *o, struct spot *spot,
		   char policy[POLICY_ID], json_t *problems, struct vs_err *err)
{
	return policy_look(v, call, o, spot, policy, true, problems, err);
}

int storage_check(struct vsphere *v, struct pcg_call *call, const struct vs_options *o, struct spot *spot,
		  json_t *problems, struct vs_err *err)
{
	char policy[POLICY_ID];

	return policy_look(v, call, o, spot, policy, false, problems, err);
}

/* In every vCenter. */
static const struct vs_ref manager = { "StorageResourceManager", "StorageResourceManager" };

static bool listed(const struct stores *s, const struct vs_ref *ref, size_t *at)
{
	for (*at = 0; *at < s->n; (*at)++)
		if (strcmp(s->refs[*at].value, ref->value) == 0)
			return true;
	return false;
}

/* The best first. */
static void recommended(const struct xn *result, struct stores *out)
{
	const struct xn *one = xn_child(xn_child(result, "returnval"), "recommendations");
	struct vs_ref ref;
	size_t at;

	out->n = 0;
	for (; one; one = xn_next(one, "recommendations"))
		for (const struct xn *action = xn_child(one, "action"); action; action = xn_next(action, "action"))
			if (xn_ref(xn_child(action, "destination"), &ref) && !listed(out, &ref, &at) && out->n < STORES_MAX)
				out->refs[out->n++] = ref;
}

/* What of the datastore cluster the hosts see and may be written to, behind the recommended ones, in *all; by the policy, too. */
static int stores_of_pod(struct vsphere *v, struct pcg_call *call, const struct spot *spot, struct stores *all,
			 bool good[STORES_MAX], struct vs_err *err)
{
	struct stores *pod = calloc(2, sizeof(*pod)), *seen = pod + 1;
	size_t first = all->n, at;
	int r;

	if (!pod)
		abort();
	r = stores_read(v, call, &spot->pod, pod, err);
	if (!r)
		r = stores_read(v, call, &spot->cluster, seen, err);
	for (size_t i = 0; !r && i < pod->n; i++) {
		if (listed(all, &pod->refs[i], &at))
			all->free[at] = pod->free[i];
		else if (listed(seen, &pod->refs[i], &at) && all->n < STORES_MAX) {
			all->refs[all->n] = pod->refs[i];
			all->free[all->n++] = pod->free[i];
		}
	}
	free(pod);
	if (!r)
		r = stores_judge(v, call, spot->policy, all, good, err);
	for (size_t i = 0; i < first; i++)
		good[i] = true; /* Storage DRS has judged */
	return r;
}

int storage_member(struct vsphere *v, struct pcg_call *call, const struct spot *spot, char *path, size_t size, struct vs_err *err)
{
	struct stores *stores = calloc(1, sizeof(*stores));
	const struct place *place;
	bool good[STORES_MAX];
	size_t best = 0;
	int r;

	if (!stores)
		abort();
	r = stores_of_pod(v, call, spot, stores, good, err);
	if (!r && !stores->n) {
		vs_fail(err, PCG_ERR_QUOTA, "Add datastores to it, end their maintenance, or connect the hosts to them.",
			"datastore cluster %s has no datastore that can be written to and that %s reaches", spot->datastore_path,
			spot->cluster_path);
		r = -1;
	}
	for (size_t i = 1; i < stores->n; i++)
		best = stores->free[i] > stores->free[best] ? i : best;
	pthread_mutex_lock(&v->placement->lock);
	place = r ? NULL : placement_by_ref(v->placement, &stores->refs[best]);
	snprintf(path, size, "%s", place ? place->path : r ? "" : stores->refs[best].value);
	pthread_mutex_unlock(&v->placement->lock);
	free(stores);
	return r;
}

/* Storage DRS gives the same answer to all who ask before the first of them counts. */
static int recommendation_take(struct vsphere *v, struct pcg_call *call, const char *name, struct spot *spot, struct stores *all,
			       struct vs_err *err)
{
	struct promise_ask ask = { .stores = all->refs, .n = all->n, .bytes = spot->bytes, .name = name };
	bool good[STORES_MAX];
	int chosen = -1;

	if (promise_there(v, &all->refs[0], name)) {
		if (stores_of_pod(v, call, spot, all, good, err))
			return -1;
		ask.n = all->n;
		ask.free = all->free;
		ask.good = good;
		ask.first = true;
		chosen = promise_space(v, &ask);
	}
	if (chosen < 0) {
		/* Nobody else was sent there, or all are full by what was promised, which is more than what will be taken. */
		ask.free = NULL;
		chosen = promise_space(v, &ask);
	}
	spot->datastore = all->refs[chosen];
	return 0;
}

static void on_pod(void *arg, const struct xn *object)
{
	const struct xn *config = xn_child(xn_prop(object, "podStorageDrsEntry"), "storageDrsConfig");
	bool *off = arg;

	*off = *off || strcmp(xn_get(xn_child(config, "podConfig"), "enabled"), "false") == 0;
}

/* Of a datastore cluster without Storage DRS, which is a folder of datastores then: the one that has the most left. */
static int pod_choose(struct vsphere *v, struct pcg_call *call, const char *name, struct spot *spot, struct vs_err *err)
{
	struct stores *all = calloc(1, sizeof(*all));
	struct promise_ask ask = { .bytes = spot->bytes, .name = name };
	bool good[STORES_MAX];
	int r, chosen = -1;

	if (!all)
		abort();
	r = stores_of_pod(v, call, spot, all, good, err);
	ask.stores = all->refs;
	ask.free = all->free;
	ask.good = good;
	ask.n = all->n;
	if (!r)
		chosen = promise_space(v, &ask);
	if (chosen >= 0)
		spot->datastore = all->refs[chosen];
	else if (!r)
		vs_fail(err, PCG_ERR_QUOTA, "Look at its datastores in vCenter: whether they are accessible, out of maintenance and seen by the compute "
			"cluster, or turn Storage DRS on.",
			"datastore cluster %s has Storage DRS off, and no datastore that can hold %s", spot->datastore_path, name);
	free(all);
	return chosen < 0 ? -1 : 0;
}

/* No recommendation came, for the reason in err. */
static int not_recommended(struct vsphere *v, struct pcg_call *call, const char *name, struct spot *spot, struct vs_err *err)
{
	static const char *const paths[] = { "podStorageDrsEntry" };
	struct vs_err why;
	bool off = false;

	if (err->class == PCG_ERR_AUTH || err->class == PCG_ERR_CANCELLED || (err->class == PCG_ERR_RETRY && !*err->fault) ||
	    object_read(v, call, &spot->pod, paths, 1, on_pod, &off, &why) || !off)
		return -1;
	return pod_choose(v, call, name, spot, err);
}

int storage_recommend(struct vsphere *v, struct pcg_call *call, const char *name, struct spot *spot,
		      void (*write)(struct soap *s, const char *element, void *arg), void *arg, struct vs_err *err)
{
	struct stores *stores = calloc(1, sizeof(*stores));
	struct xn *reply = NULL;
	struct soap s;
	int r;

	if (!stores)
		abort();
	soap_begin(&s, "RecommendDatastores", &manager);
	soap_open(&s, "storageSpec");
	soap_text(&s, "type", "clone");
	soap_ref(&s, "vm", &spot->template);
	soap_open(&s, "podSelectionSpec");
	soap_ref(&s, "storagePod", &spot->pod);
	soap_close(&s);
	write(&s, "cloneSpec", arg);
	soap_text(&s, "cloneName", name);
	soap_ref(&s, "folder", &spot->folder);
	soap_int(&s, "resourceLeaseDurationSec", LEASE_S);
	soap_close(&s);
	soap_finish(&s);
	r = vs_call(&v->session, call, &s, 0, 0, 0, &reply, err);
	if (!r)
		recommended(vs_result(reply), stores);
	xn_free(reply);
	if (!r && !stores->n) {
		vs_fail(err, PCG_ERR_QUOTA, "Look at the datastore cluster in vCenter: free space, Storage DRS, datastores in maintenance.",
			"vCenter recommends no datastore of datastore cluster %s for %s", spot->datastore_path, name);
		r = -1;
	}
	r = r ? not_recommended(v, call, name, spot, err) : recommendation_take(v, call, name, spot, stores, err);
	free(stores);
	return r;
}
