/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_KWATCH_H
#define SIMCLOUD_KWATCH_H

#include "plugins/sim/simcloud/kapi.h"

/* Answers a watch: a stream of events from the request's resourceVersion on. */
void kwatch_start(struct kreq *q);
/* Sends what is new to every watch of every API; called after the commit. */
void kwatch_deliver_all(struct cloud *c);
void kwatch_close_all(struct kapi *k);

#endif
