/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_SESSION_IMPL_H
#define PLUGINS_VSPHERE_SESSION_IMPL_H

/* What session.c and session_lost.c share. */

#include "plugins/vsphere/session.h"

#define VS_CLOSE_AFTER 0x100u /* flag: what comes next gets a connection of its own */

/* One request and its answer; the body stays the caller's. cookie_out may be NULL. */
int vs_exchange(struct vs_session *ss, struct pcg_call *call, struct soap *s, const char *cookie, unsigned flags,
		uint32_t timeout_ms, struct xn **reply, char **cookie_out, struct vs_err *err);
/* Ends the sessions of these user agents. True when there is nothing more to be tried: all ended, or we may not. */
bool vs_lost_end(struct vs_session *ss, struct pcg_call *call, const char *cookie, const json_t *agents);

#endif
