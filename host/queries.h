/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_QUERIES_H
#define HOST_QUERIES_H

/*
 * Queries of the plane (docs/protocol.md): not durable, answered once, to the request that waits. A validation works on an
 * account of its own, with a worker of its own, since what it is about may not exist yet; equal validations that come
 * while one runs share its answer, so that a password is tried once. A pick list of an account that this gateway has is asked of
 * that account's worker, which keeps its session and the list's pages.
 */

#include "host/gateway.h"

#define QUERY_ACCOUNT "query/" /* uids of the accounts of queries begin so */

/* link_hooks.query; arg is the gateway. */
void gateway_on_query(void *arg, const json_t *query);

#endif
