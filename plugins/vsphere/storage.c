/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/storage.h"

#include "plugins/vsphere/kept.h"
#include "plugins/vsphere/pbm.h"
#include "plugins/vsphere/placement_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND "policy"
#define FIELD "pool.cloudConfig.storagePolicyName"
#define STORES_MAX 512

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

static int store_choose(struct vsphere *v, struct pcg_call *call, const char *policy, struct stores *s, struct vs_ref *out,
			struct vs_err *err)
{
	bool good[STORES_MAX];
	int64_t most = -1;

	if (s->n && vs_pbm_check(&v->session, call, policy, s->refs, s->n, good, err))
		return -1;
	for (size_t i = 0; i < s->n; i++)
		if (good[i] && s->free[i] > most) {
			most = s->free[i];
			*out = s->refs[i];
		}
	return 0;
}

int storage_policy(struct vsphere *v, struct pcg_call *call, const struct vs_options *o, struct spot *spot,
		   char policy[POLICY_ID], json_t *problems, struct vs_err *err)
{
	struct vs_ref chosen = { "", "" };
	struct stores *stores;
	int r;

	*policy = 0;
	if (!*o->policy)
		return 0;
	r = policy_find(v, call, o->policy, policy, problems, err);
	/* A recommendation for a datastore cluster looks at the policy itself. */
	if (r || !*policy || spot->pod.value[0] || !spot->cluster.value[0])
		return r;
	stores = calloc(1, sizeof(*stores));
	if (!stores)
		abort();
	if (spot->datastore.value[0]) {
		stores->refs[0] = spot->datastore;
		stores->n = 1;
	} else {
		r = stores_read(v, call, &spot->cluster, stores, err);
	}
	if (!r)
		r = store_choose(v, call, policy, stores, &chosen, err);
	if (!r && !chosen.value[0] && spot->datastore.value[0])
		vs_problem(problems, FIELD, "Name another datastore or policy, or leave the datastore out.",
			   "datastore %s does not satisfy storage policy \"%s\"", spot->datastore_path, o->policy);
	else if (!r && !chosen.value[0])
		vs_problem(problems, FIELD, "Name another policy, or give the compute cluster a datastore that satisfies it.",
			   "no datastore that %s sees satisfies storage policy \"%s\"", spot->cluster_path, o->policy);
	else if (!r)
		spot->datastore = chosen;
	free(stores);
	return r;
}

int storage_member(struct vsphere *v, struct pcg_call *call, const struct spot *spot, char *path, size_t size, struct vs_err *err)
{
	struct stores *stores = calloc(1, sizeof(*stores));
	const struct place *place;
	size_t best = 0;
	int r;

	if (!stores)
		abort();
	r = stores_read(v, call, &spot->pod, stores, err);
	if (!r && !stores->n) {
		vs_fail(err, PCG_ERR_QUOTA, "Add datastores to it, or end their maintenance.",
			"datastore cluster %s has no datastore that can be written to", spot->datastore_path);
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

/* In every vCenter. */
static const struct vs_ref manager = { "StorageResourceManager", "StorageResourceManager" };

static bool recommended(const struct xn *result, struct vs_ref *out)
{
	const struct xn *first = xn_child(xn_child(result, "returnval"), "recommendations");

	for (const struct xn *action = xn_child(first, "action"); action; action = xn_next(action, "action"))
		if (xn_ref(xn_child(action, "destination"), out))
			return true;
	return false;
}

int storage_recommend(struct vsphere *v, struct pcg_call *call, const char *name, struct spot *spot,
		      void (*write)(struct soap *s, const char *element, void *arg), void *arg, struct vs_err *err)
{
	struct xn *reply = NULL;
	struct soap s;
	int r;

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
	soap_close(&s);
	soap_finish(&s);
	r = vs_call(&v->session, call, &s, 0, 0, 0, &reply, err);
	if (!r && !recommended(vs_result(reply), &spot->datastore)) {
		vs_fail(err, PCG_ERR_QUOTA, "Look at the datastore cluster in vCenter: free space, Storage DRS, datastores in maintenance.",
			"vCenter recommends no datastore of datastore cluster %s for %s", spot->datastore_path, name);
		r = -1;
	}
	xn_free(reply);
	return r;
}
