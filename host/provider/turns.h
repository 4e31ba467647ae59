/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROVIDER_TURNS_H
#define HOST_PROVIDER_TURNS_H

/*
 * Turns of what an infrastructure counts (turn_begin of pcg/provider.h): by provider and name, which ones run in which
 * worker, and when the last ones counted. The times are kept as secrets of TURNS_KEEPER with the provider's name
 * behind it, which is no account. Loop thread only.
 */

#include "core/json.h"

#define TURNS_KEEPER "turns/" /* no account's uid has a slash */
#define TURN_TAKEN (-2)       /* all that are left run: to be asked again */

struct pool_worker;
struct provider_pool;

/* 0: begun; > 0: milliseconds until the next one may begin; TURN_TAKEN; -1: the frame is wrong. */
int turns_begin(struct pool_worker *w, const json_t *frame);
/* ack: provider_ack is called when it is durable. */
void turns_end(struct pool_worker *w, const json_t *frame, void *ack);
/* The worker has ended. */
void turns_drop(struct pool_worker *w);
void turns_free(struct provider_pool *p);

#endif
