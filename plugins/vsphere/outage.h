/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_OUTAGE_H
#define PLUGINS_VSPHERE_OUTAGE_H

#include "plugins/vsphere/soap.h"

/*
 * A vCenter that is restarted, fails over or is in maintenance answers nobody for minutes: no connection, or 502 to 504 of what
 * stands before it. That is one outage for the account, not an error of each cluster: it is logged once, with its end; while
 * it lasts one call after the other tries whether it is over, and all others are answered at once, by the same text, without
 * being sent. When it is over, those who were turned away are told by hints. What was logged is kept, so that the
 * next worker of the account does not log it again.
 */

struct vs_outage;

struct vs_outage *vs_outage_new(const struct pcg_services *svc, struct pcg_host *host, const char *server);
void vs_outage_free(struct vs_outage *o); /* NULL is fine */
/* Whose op this thread works on, to be told when an outage is over. */
void vs_outage_subject(const char *subject);
/* True: it is not to be sent, and err says why. False: it is sent, and vs_outage_result follows. */
bool vs_outage_blocks(struct vs_outage *o, struct vs_err *err);
/* The same without being the one that tries: for what begins with something else than a call. */
bool vs_outage_refuses(struct vs_outage *o, struct vs_err *err);
/* away: no answer, for the reason in err, or one of a gateway's that the vCenter does not answer it. gave_up: we did not wait for one. */
void vs_outage_result(struct vs_outage *o, bool away, bool gave_up, const struct vs_err *err);
bool vs_outage_on(struct vs_outage *o);
/* How long until the next call would be sent; 0: at once. */
uint64_t vs_outage_wait_ms(struct vs_outage *o);

#endif
