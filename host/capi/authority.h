/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_AUTHORITY_H
#define HOST_CAPI_AUTHORITY_H

/*
 * Who is in charge of a cluster stands in its Cluster object, and changes by one PATCH that the
 * resourceVersion just read guards: a request of an earlier attempt that arrives late is answered
 * 409. A 409 of our own only means that something else of the object changed (controllers write
 * status): it is read again and decided again.
 */

#include "host/capi/op.h"

struct authority {
	const char *holder; /* "gateway", "cluster", or "" */
	int64_t epoch;
	bool paused;
};

void authority_read(const json_t *cluster, struct authority *out);

enum authority_verdict { AUTHORITY_CHANGE, AUTHORITY_DONE, AUTHORITY_REFUSED };

struct authority_change {
	const char *what; /* "commit", for errors */
	const char *holder;
	bool paused;
	const char *before_point, *after_point; /* fault points */
	/* Decides from what was read; fills err when refused. */
	enum authority_verdict (*decide)(struct capi_op *op, const json_t *cluster,
					 const struct authority *now, struct pcg_error *err);
	/* cluster: as it stands after the change, borrowed; NULL: there is none (only with
	 * missing_ok). */
	void (*changed)(struct capi_op *op, const json_t *cluster);
	bool missing_ok;
	bool patient; /* an answer that says nothing of the Cluster is class RETRY, but AUTH */
	bool unpaused_ok; /* authority stands, only the pause is refused: goes on, told so */
};

struct authority_attempt {
	const struct authority_change *change;
	const json_t *input;
	int conflicts;
	bool old; /* by v1beta1, where nothing newer is served */
	bool stands; /* holder and epoch are those wanted */
};

/* input {"namespace","name","epoch","gatewayUid"}; a, change and input live as long as the op.
 * Errors end the op: class RETRY when nobody can know whether the change was made. */
void authority_change(struct capi_op *op, struct authority_attempt *a,
		      const struct authority_change *change, const json_t *input);
/* Only the read; old: by v1beta1. */
void authority_get(struct capi_op *op, const json_t *input, bool old, op_reply cb);
/* A 404 that is for the kind in this version, not for the object. */
bool authority_not_served(const struct kube_reply *r);

/* What every input needs; -PCG_CLASS_BUG's code and err otherwise. */
int authority_check_input(const json_t *input, struct pcg_error *err);

#define CAPI_CLUSTER_API "cluster.x-k8s.io/v1beta2"
#define CAPI_CLUSTER_API_OLD "cluster.x-k8s.io/v1beta1"

#endif
