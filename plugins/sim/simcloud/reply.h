/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_REPLY_H
#define SIMCLOUD_REPLY_H

/*
 * Answers leave after the commit of what they tell of: they are queued and sent once in each turn
 * of the loop, behind persist_flush(), those with a delay by a timer after that.
 */

#include "plugins/sim/simcloud/cloud.h"

/* Steals body, which must not change any more; NULL: an empty answer. */
void reply_json(struct cloud *c, struct http_exchange *x, int status, json_t *body,
		int64_t delay_ms);
void reply_text(struct cloud *c, struct http_exchange *x, int status, const char *content_type,
		const char *text);
/* Answered by the next change after since, or after timeout_ms with none. */
void reply_when_changed(struct cloud *c, struct http_exchange *x, uint64_t since,
			int64_t timeout_ms);
/* Something has changed: the long waits are answered. */
void reply_wake(struct cloud *c);
/* Commits, then sends what waits; called by the loop. */
void reply_settle(struct cloud *c);
/* Nobody is answered any more. */
void reply_close(struct cloud *c);

#endif
