/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_TRACK_H
#define PLUGINS_VSPHERE_TRACK_H

/*
 * What is known of the machines that ops work on: filled by the one wait for changes and by reads
 * for many machines at once, so that a step needs no call of its own. All of it is only memory: a
 * worker that was killed finds the machines again by their uuid.
 */

#include "plugins/vsphere/vsphere.h"

enum track_task { TASK_NONE, TASK_CLONE, TASK_ON, TASK_OFF, TASK_DESTROY, TASK_REDACT, TASK_DETACH, TASK_SNAPSHOTS };

struct track {
	struct track *next;
	char subject[64];       /* machine uid, or the id of a machine that others made */
	char uuid[37];          /* instance uuid, "" when only the machine itself is known */
	bool active;            /* an op waits for it */
	bool want_poll, polled, polled_vm;
	struct vs_ref vm, folder, task;
	enum track_task kind;   /* of task */
	bool task_done, task_failed;
	struct vs_err task_err;
	bool canceled;          /* its end was asked for */
	bool known;             /* the machine's state was read */
	bool on, gone;
	bool suspended, as_off; /* as_off: suspended, and vCenter powers off only what is on */
	uint64_t off_since, on_since; /* when an op first found it off, on; 0: it did not */
	char name[128], bios[37], mac[18];
	char instance[37];      /* instance uuid as it was read */
	char cluster[64], machine[64]; /* mark, when it was read */
	size_t children;        /* of a folder, which stands in vm; CHILDREN_UNKNOWN */
	json_t *addresses;      /* texts: usable ones (addresses.h) */
	json_t *net;            /* of its own devices, NULL: not reported; with ip they make addresses. Not in a copy */
	char ip[64];            /* the guest's primary one */
	bool tools;             /* VMware Tools run in it */
	bool template;          /* somebody made a template of it */
	unsigned disks;         /* how many it has, 0: not known */
	char question[160];     /* what vCenter asks about it and waits for, "" nothing */
	char blind[96];         /* what of it may not be read, and why: "PATH: FAULT" */
	uint64_t next_poll, poll_step, begun;
	unsigned looks;         /* reads since the task began */
};

#define CHILDREN_UNKNOWN SIZE_MAX
#define TRACK_SHORT UINT64_MAX /* first_poll_ms of a task that is over in a moment */

struct track_table *track_table_new(void);
void track_table_free(struct track_table *tt);

/* A copy, addresses with a reference of its own; false and empty when there is none. */
bool track_get(struct vsphere *v, const char *subject, struct track *out);
void track_copy_free(struct track *copy);
bool track_there(struct vsphere *v, const char *subject);
void track_set_vm(struct vsphere *v, const char *subject, const char *uuid, const struct vs_ref *vm);
/* What an inventory has just read of the machine, in place of a read of its own. */
void track_set_read(struct vsphere *v, const char *subject, const char *uuid, const json_t *item);
void track_set_task(struct vsphere *v, const char *subject, const char *uuid, enum track_task kind,
		    const struct vs_ref *task, const struct vs_ref *folder, uint64_t first_poll_ms);
/* For how long it has been known to be off; 0 the first time, and always when it is not. */
uint64_t track_off_ms(struct vsphere *v, const char *subject);
uint64_t track_on_ms(struct vsphere *v, const char *subject); /* the same for on */
/* From now on it counts as off while it is suspended; false: it is not. */
bool track_as_off(struct vsphere *v, const char *subject);
/* True once for a task that runs: who asked for its end. */
bool track_cancel(struct vsphere *v, const char *subject);
void track_clear_task(struct vsphere *v, const char *subject);
void track_idle(struct vsphere *v, const char *subject);  /* no op waits any more */
void track_drop(struct vsphere *v, const char *subject);

/* Waits until some time after last, for others to join what comes then: the longer the more there is in flight. ops_wait: each
 * of those who join is an op that waits meanwhile. */
void track_pace(struct vsphere *v, struct pcg_call *call, uint64_t last, bool ops_wait);
/* Reads machine and task now, together with others that want it at the same time. */
int track_poll(struct vsphere *v, struct pcg_call *call, const char *subject, struct vs_err *err);
/* As track_poll does, in a request of somebody else's: adds a specSet to it, takes up objects of its answer, and ends the
 * read. Begin is false when something else is read or waited for. */
bool track_join_begin(struct vsphere *v, const char *subject);
void track_join_write(struct vsphere *v, struct soap *s);
void track_join_object(struct vsphere *v, const struct xn *object);
void track_join_end(struct vsphere *v, const char *subject, bool good);
/* The same when it is time to, or at once when the watch does not see it. */
int track_poll_due(struct vsphere *v, struct pcg_call *call, const char *subject, struct vs_err *err);
/* When to ask again, in ms. */
uint32_t track_after_ms(struct vsphere *v, const char *subject);

/* Takes up an object of a reply; hints go to ops that wait. False: it says nothing of what is tracked. */
bool track_observe(struct vsphere *v, const struct xn *object, bool left);
/* The server knows no such object: whoever is about it looks. */
void track_missing(struct vsphere *v, const struct vs_ref *ref);

/* That task is another machine's. */
bool track_task_of_other(struct vsphere *v, const char *subject, const char *task);
/* Clone tasks whose end is not known. */
unsigned track_clones_running(struct vsphere *v);

/* For the watch. */
bool track_any_active(struct vsphere *v, uint32_t wait_ms); /* waits for one at most that long */
/* What the watch has to see, as an array of references; caller frees. */
struct vs_ref *track_needed(struct vsphere *v, size_t *n);
/* One that the view does not have yet. */
bool track_uncovered(struct vsphere *v, char subject[64]);
void track_watch_live(struct vsphere *v, bool live);
/* Makes the wait see what is active now, in one call for all; no error: the watch repairs itself. */
void watch_sync(struct vsphere *v, struct pcg_call *call);

#endif
