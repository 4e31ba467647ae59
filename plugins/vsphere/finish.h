/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_FINISH_H
#define PLUGINS_VSPHERE_FINISH_H

#include "plugins/vsphere/machine.h"

/*
 * What a clone cannot be told: steps on the machine, each found done or done (again) by who asks after a crash. An
 * option that is not set costs no call. 0, or -1 with err.
 */

/* Before it is powered on: the hardware upgrade. *upgraded: there was one, so its clone was not told to power it on. */
int finish_off(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct vs_ref *vm, bool *upgraded,
	       struct vs_err *err);
/* Before it is handed over: custom attributes, tags, the rule that keeps control planes apart. */
int finish_on(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct vs_ref *vm, struct vs_err *err);

/* attributes.c. Makes the definitions that there are none of. */
int attributes_set(struct vsphere *v, struct pcg_call *call, const struct vs_ref *vm, const json_t *attributes,
		   struct vs_err *err);

/* tags.c. Ids of tags, in order, added to ids; what is not there is added to problems. */
int tags_resolve(struct vsphere *v, struct pcg_call *call, const json_t *tags, json_t *ids, json_t *problems,
		 struct vs_err *err);
/* Ids of all tags of a category that is named by its id. */
int tags_of(struct vsphere *v, struct pcg_call *call, const char *category, json_t **ids, struct vs_err *err);
/* Name of the tag of that category that an object carries; "" when it has none. */
int tag_of(struct vsphere *v, struct pcg_call *call, const struct vs_ref *object, const char *category, char *name, size_t size,
	   struct vs_err *err);
int tags_attach(struct vsphere *v, struct pcg_call *call, const struct vs_ref *vm, const json_t *tags, struct vs_err *err);

/* rule.c: the DRS rule of a cluster's control planes in a compute cluster. */
int rule_join(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const struct vs_ref *compute,
	      const struct vs_ref *vm, struct vs_err *err);
/* Removes it; 0 also when there is none. */
int rule_remove(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const struct vs_ref *compute,
		struct vs_err *err);

#endif
