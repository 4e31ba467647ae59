/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_MACHINE_H
#define PLUGINS_VSPHERE_MACHINE_H

#include "plugins/vsphere/placement.h"
#include "plugins/vsphere/track.h"

/* What an op about a machine is about. */
struct subject {
	const json_t *cluster, *machine, *mark, *observed;
	const char *uid, *name;
	char key[64];    /* of its track, and of hints */
	char uuid[37];   /* instance uuid, "" when only the BIOS one is known */
	char bios[37];
};

void subject_read(const json_t *doc, struct subject *s);
/* The machine's reference by uuid; empty when there is none. */
int machine_find(struct vsphere *v, struct pcg_call *call, const struct subject *s, struct vs_ref *found, struct vs_err *err);
/* No call of machine_ensure can have made anything yet: the first one says so durably before it does. */
bool machine_untouched(const json_t *doc);
/* What was read is another machine: the reference is another one's by now (a vCenter that was set back), or the uuid was
 * changed. Nothing is done to it, and nothing believed of it. */
bool machine_other(const struct subject *s, const struct track *t);
/* The track of the subject, with the machine looked up when memory knows nothing. */
int machine_known(struct vsphere *v, struct pcg_call *call, const struct subject *s, struct track *t, struct vs_err *err);
/* A task on the machine: POWER method without arguments. */
int machine_task(struct vsphere *v, struct pcg_call *call, const char *method, const struct vs_ref *vm,
		 struct vs_ref *task, struct vs_err *err);

/* earlier.c: a clone that an earlier call sent may run still, though nobody has its answer. Those of the template (NULL: of any) that this account's
 * user began and that run at the first look are waited for; which they are stands in the checkpoint, "clones". After the last of
 * them the op looks for the machine. */
enum earlier { EARLIER_NONE, EARLIER_ANSWERED };
enum earlier earlier_clones(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s,
			    const struct vs_ref *template);
/* Of the clones that run now those that ran at the first look too (first NULL: all), and are of no machine that is known here; key: but of
 * that one. A new array. */
json_t *earlier_left(struct vsphere *v, const char *key, const json_t *first, const json_t *now);
/* The same, asked for; NULL with err. */
json_t *earlier_running(struct vsphere *v, struct pcg_call *call, const char *key, const json_t *first, const struct vs_ref *template,
			struct vs_err *err);

/* remove.c: answers with what keeps a machine that is there from going. Never not_found, which would say that it is gone. */
void remove_error(struct vsphere *v, struct pcg_call *call, const struct vs_err *err);

/* volumes.c: takes disks off the machine that are not its own. False: there are none (any more); else the op was answered. */
bool volumes_detach(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct track *t);

/* clone.c: sends the clone. *asked: that vCenter was asked for it, whatever came of that. */
int clone_send(struct vsphere *v, struct pcg_call *call, const json_t *doc, const struct subject *s,
	       struct vs_ref *task, struct vs_ref *folder, bool *asked, struct vs_err *err);
/* Where a machine of the pool goes, and what the request says of it. -1 with err also when that cannot be. */
int clone_find(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const json_t *pool, size_t zone, struct spot *spot,
	       struct vs_options *o, struct vs_err *err);
json_t *clone_netdevices(const struct spot *spot); /* netdevice.h, without addresses */

#endif
