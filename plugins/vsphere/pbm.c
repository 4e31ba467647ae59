/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/pbm.h"

#include "plugins/vsphere/session_impl.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct vs_ref pbm_instance = { "PbmServiceInstance", "ServiceInstance" };

/* arg writes what the method needs beside _this. */
struct pbm_call {
	const char *method;
	const struct vs_ref *this;
	void (*write)(struct soap *s, const void *arg);
	const void *arg;
};

static int pbm_once(struct vs_session *ss, struct pcg_call *call, const struct pbm_call *what, struct xn **reply,
		    unsigned *generation, struct vs_err *err)
{
	char *cookie = vs_session_cookie(ss, call, generation, err);
	struct soap s;
	int r;

	*reply = NULL;
	if (!cookie)
		return -1;
	soap_begin_at(&s, &soap_pbm, cookie, what->method, what->this);
	if (what->write)
		what->write(&s, what->arg);
	soap_finish(&s);
	r = vs_exchange(ss, call, &s, cookie, 0, 0, reply, NULL, err);
	soap_free(&s);
	vs_wipe(&cookie);
	return r;
}

/* All that is asked of it reads: once more is safe. */
static int pbm(struct vs_session *ss, struct pcg_call *call, const struct pbm_call *what, struct xn **reply,
	       struct vs_err *err)
{
	unsigned generation;
	int r = pbm_once(ss, call, what, reply, &generation, err);

	if (r && strcmp(err->fault, "NotAuthenticated") == 0) {
		vs_session_over(ss, generation);
		r = pbm_once(ss, call, what, reply, &generation, err);
	}
	return r;
}

static void write_query(struct soap *s, const void *arg)
{
	soap_open(s, "resourceType");
	soap_text(s, "resourceType", "STORAGE");
	soap_close(s);
	soap_text(s, "profileCategory", "REQUIREMENT");
}

/* arg: the answer to PbmQueryProfile. */
static void write_ids(struct soap *s, const void *arg)
{
	for (const struct xn *id = xn_child(arg, "returnval"); id; id = xn_next(id, "returnval")) {
		soap_open(s, "profileIds");
		soap_text(s, "uniqueId", xn_get(id, "uniqueId"));
		soap_close(s);
	}
}

static json_t *policies_of(const struct xn *result)
{
	json_t *out = json_array();

	for (const struct xn *p = xn_child(result, "returnval"); p; p = xn_next(p, "returnval"))
		json_array_append_new(out, json_pack("{s:s, s:s, s:s}", "id", xn_get(xn_child(p, "profileId"), "uniqueId"), "name",
						     xn_get(p, "name"), "text", xn_get(p, "description")));
	return out;
}

/* manager: "profileManager" or "placementSolver". */
static int pbm_manager(struct vs_session *ss, struct pcg_call *call, const char *manager, struct vs_ref *out, struct vs_err *err)
{
	struct pbm_call content = { .method = "PbmRetrieveServiceContent", .this = &pbm_instance };
	struct xn *reply = NULL;
	int r = pbm(ss, call, &content, &reply, err);

	if (!r && !xn_ref(xn_at(vs_result(reply), "returnval", manager), out)) {
		vs_fail(err, PCG_ERR_RETRY, "Check the vCenter's storage profile service (vmware-sps).",
			"%s at %s: there is no %s", content.method, ss->server, manager);
		r = -1;
	}
	xn_free(reply);
	return r;
}

int vs_pbm_policies(struct vs_session *ss, struct pcg_call *call, json_t **policies, struct vs_err *err)
{
	struct pbm_call query = { .method = "PbmQueryProfile", .write = write_query };
	struct pbm_call get = { .method = "PbmRetrieveContent", .write = write_ids };
	struct xn *reply = NULL, *ids = NULL;
	struct vs_ref manager;
	int r = pbm_manager(ss, call, "profileManager", &manager, err);

	*policies = NULL;
	if (!r) {
		query.this = get.this = &manager;
		r = pbm(ss, call, &query, &ids, err);
	}
	get.arg = vs_result(ids);
	/* No ids is an argument that it does not take. */
	if (!r && xn_child(get.arg, "returnval"))
		r = pbm(ss, call, &get, &reply, err);
	if (!r)
		*policies = policies_of(vs_result(reply));
	xn_free(reply);
	xn_free(ids);
	return r;
}

struct requirement {
	const char *policy;
	const struct vs_ref *stores;
	size_t n;
};

static void write_requirement(struct soap *s, const void *arg)
{
	const struct requirement *of = arg;

	for (size_t i = 0; i < of->n; i++) {
		soap_open(s, "hubsToSearch");
		soap_text(s, "hubType", of->stores[i].type);
		soap_text(s, "hubId", of->stores[i].value);
		soap_close(s);
	}
	soap_open_type(s, "placementSubjectRequirement", "PbmPlacementCapabilityProfileRequirement");
	soap_open(s, "profileId");
	soap_text(s, "uniqueId", of->policy);
	soap_close(s);
	soap_close(s);
}

int vs_pbm_check(struct vs_session *ss, struct pcg_call *call, const char *policy, const struct vs_ref *stores, size_t n,
		 bool *good, struct vs_err *err)
{
	struct requirement of = { policy, stores, n };
	struct vs_ref solver;
	struct pbm_call check = { .method = "PbmCheckRequirements", .this = &solver, .write = write_requirement, .arg = &of };
	struct xn *reply = NULL;
	int r = pbm_manager(ss, call, "placementSolver", &solver, err);

	if (!r)
		r = pbm(ss, call, &check, &reply, err);
	memset(good, 0, n * sizeof(*good));
	for (const struct xn *one = xn_child(r ? NULL : vs_result(reply), "returnval"); one; one = xn_next(one, "returnval"))
		for (size_t i = 0; i < n; i++)
			if (!xn_child(one, "error") && strcmp(xn_get(xn_child(one, "hub"), "hubId"), stores[i].value) == 0)
				good[i] = true;
	xn_free(reply);
	return r;
}
