/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_PBM_H
#define PLUGINS_VSPHERE_PBM_H

/*
 * Storage policies: the SOAP service at /pbm, which takes the session of /sdk. ("VMware vSphere Storage Policy API".) The
 * same in vCenter 7 and 8. Seeing policies needs the privilege StorageProfile.View on the vCenter.
 */

#include "plugins/vsphere/session.h"

/* Every policy that machines may be made with: [{"id", "name", "text"}], a new reference. -1 with err. */
int vs_pbm_policies(struct vs_session *ss, struct pcg_call *call, json_t **policies, struct vs_err *err);
/* Which of n datastores satisfy a policy: good[i]. -1 with err. */
int vs_pbm_check(struct vs_session *ss, struct pcg_call *call, const char *policy, const struct vs_ref *stores, size_t n,
		 bool *good, struct vs_err *err);

#endif
