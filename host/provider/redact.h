/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROVIDER_REDACT_H
#define HOST_PROVIDER_REDACT_H

/* Takes the account's own secrets out of text that comes back from a plugin: infrastructures echo
 * credentials in their errors. Not thread-safe: the caller locks. */

#include "core/json.h"

struct redact;

struct redact *redact_new(void);
void redact_free(struct redact *r);
/* Every string below doc whose member's name sounds like a secret, or every string when all is set. */
void redact_learn(struct redact *r, const json_t *doc, bool all);
void redact_learn_text(struct redact *r, const char *text);
/* A copy with each secret replaced by "***"; the caller frees. NULL gives "". */
char *redact_text(const struct redact *r, const char *text);

#endif
