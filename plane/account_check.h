/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_ACCOUNT_CHECK_H
#define PLANE_ACCOUNT_CHECK_H

/* What a cloud account's spec must have, and its validation by the gateway that reaches the infrastructure. */

#include "plane/api.h"

struct account_cloud {
	const char *name;
	const char *needed[5];
	const char *secrets[4];
};

const struct account_cloud *account_cloud(const char *name); /* NULL: there is none of that name */
int account_refuse_cloud(struct api_call *c, const char *name);
/* Appends what is wrong to fields; at: where the spec stands in the request; kept: what account_keep_secrets said. */
void account_check_spec(const struct account_cloud *cloud, const json_t *spec, const char *at, bool kept, json_t *fields);
/* A secret that is sent empty stays what it was: that is what a read gave. Not when the account names another server, which
 * would be told the password of the one before: false, and it stays empty. */
bool account_keep_secrets(const struct account_cloud *cloud, json_t *spec, const json_t *old);
/* POST /v1/overlords/{cloud}/{overlord}/account/validate {account}, {accountUid}, or both for a change of that one */
int account_validate(struct api_call *c, struct pcg_error *err);

#endif
