/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_REMOVE_H
#define HOST_CAPI_REMOVE_H

/*
 * Takes one object out of a paused cluster: delete, finalizers off (controllers that would take
 * them off are paused or not there), wait until it is gone. The infrastructure behind it is not
 * touched, since nobody acts on a paused object.
 */

#include "host/capi/op.h"

struct removal {
	const char *path; /* lives as long */
	const char *uid;  /* only the object with this uid; NULL: whichever has the name */
	void (*gone)(struct capi_op *op, void *arg);
	void *arg;
	int64_t deadline_ms;
	char uid_copy[64];
};

/* Errors end the op. Gone also means: another object has the name now (with uid). */
void remove_object(struct capi_op *op, struct removal *r, const char *path, const char *uid,
		   void (*gone)(struct capi_op *op, void *arg), void *arg);

#endif
