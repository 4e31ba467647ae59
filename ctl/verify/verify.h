/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_VERIFY_VERIFY_H
#define CTL_VERIFY_VERIFY_H

/*
 * The conformance suite for providers: loads one plugin into the account worker that pcgd uses, asks its ops the
 * way the lifecycle does, disturbs them, and compares with what pcg/provider.h says. One loop, one thread;
 * everything here waits by turning that loop, and nothing waits without an end.
 *
 *   run.c      the checks one after the other, and what people see
 *   input.c    DOCS.json
 *   rig.c      pool, hooks, what workers under trial tell
 *   ask.c      calls to their end
 *   life.c     a cluster and its machines, from nothing to nothing
 *   command.c  commands that DOCS.json names
 *   schema.c   the documents' schema
 *   check_*.c  the checks
 */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"
#include "ctl/ctl.h"
#include "host/provider/provider_pool.h"

#include <uv.h>

#define ACCOUNT "verify"             /* as given */
#define ACCOUNT_AUTH "verify-auth"   /* with wrong.auth, and so on */
#define ACCOUNT_CLOSED "verify-unreachable"
#define ACCOUNT_SILENT "verify-silent"
#define ACCOUNT_EMPTY "verify-empty" /* as given, with an empty store */

#define LIFE_MACHINES 8

struct verify;

struct verify_limits {
	uint32_t op_ms;              /* for one call */
	uint32_t done_ms;            /* until an op is done */
	uint32_t kills, kill_first, kill_step;
	uint32_t machines;           /* at once */
};

struct verify_check {
	const char *name, *doc;
	/* Tells what is wrong by verify_fail. Not 0: it was not run, and verify_skip said why. */
	int (*run)(struct verify *v);
};

struct machine {
	char uid[25], name[80];
	const char *pool, *role;     /* of the cluster's document */
	json_t *pool_spec;           /* borrowed */
	json_t *observed;
	json_t *ensured, *deleted;   /* checkpoints of machine_ensure and machine_delete; NULL: none */
	char *user_data;
	bool maybe;                  /* asked for, and not known to be gone */
};

struct life {
	struct life *next;
	json_t *cluster;             /* document of the ops */
	const char *uid, *name;      /* in it */
	json_t *endpoint, *infra;    /* of cluster_ensure */
	bool maybe;
	struct machine machines[LIFE_MACHINES];
	size_t n;
};

struct verify {
	/* input.c */
	json_t *docs;
	char *plugin_dir, *docs_dir;
	char provider[64];
	struct verify_limits limits;
	char canary[64];             /* stands for a key in user data */
	const char *kubeconfig;

	/* rig.c */
	uv_loop_t loop;
	uv_timer_t timer;
	uv_signal_t signals[2];
	uv_tcp_t silent;
	int closed_fd;
	int said_fd, stderr_fd;      /* what workers write to standard error goes there; the real one */
	off_t said_read;
	struct provider_pool *pool;
	json_t *secrets;             /* {account: {name: value}} */
	json_t *accounts;            /* documents */
	bool stopped;                /* by a signal */

	/* what workers told; reset by verify_fresh */
	json_t *loaded;              /* settings, caps, maxParallel; kept */
	uint64_t counted, changes;   /* requests of class session or change; of class change */
	char counted_last[256];
	uint64_t kill_n;             /* a kill is set */
	bool killed;
	char killed_at[300];         /* the request */
	char context[160];           /* of what is told: "the worker killed before counted request 3" */
	void (*on_counted)(struct verify *v, uint64_t n);
	uint64_t cancel_n;
	struct step *steps;          /* that run */
	size_t n_steps;

	/* results */
	const struct verify_check *check;
	json_t *failures;            /* of this check: {"found","expected","clause"} */
	json_t *documents, *leaks;   /* what the checks of those names tell: the same */
	char skipped[512];
	unsigned tried, was_cut;     /* of check_interrupt */
	char did[64];                /* how often, of checks that repeat something; may be empty */
	json_t *at;                  /* the requests at which a worker was killed */
	unsigned deaths;
	char death[512];
	struct life *lives;
	json_t *made;                /* uids of all clusters that were tried */
};

/* run.c */
/* One thing that is wrong with the check that runs. clause: where provider.h says so. Returns -1. */
int verify_fail(struct verify *v, const char *clause, const char *expected, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
int verify_skip(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Into one of the lists; told once. */
void verify_note(json_t *list, const char *clause, const char *expected, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
extern const struct verify_check verify_checks[]; /* ends with a NULL name */

/* input.c */
int input_read(struct verify *v, const char *file, const char *docs, struct pcg_error *err);
/* A whole file, as a secret; the caller frees out whatever is returned. */
int input_file(const char *path, struct buf *out, struct pcg_error *err);
void input_free(struct verify *v);
/* A copy of base with the members of patch: objects are merged, null removes. */
json_t *input_patched(const json_t *base, const json_t *patch);
/* ${NAME} in all strings replaced, in place. */
void input_replace(json_t *doc, const char *name, const char *value);
bool input_secret_member(const struct verify *v, const char *name);

/* rig.c */
int rig_begin(struct verify *v, struct pcg_error *err);
void rig_end(struct verify *v);
/* New workers from here on: without a kill, or one that dies at the n-th counted request. Waits until the old
 * have ended; -1, told, when they do not. */
int verify_fresh(struct verify *v, uint64_t kill_n, const char *when);
/* Turns the loop once, at most for ms. */
void verify_turn(struct verify *v, uint64_t ms);
uint64_t verify_now(struct verify *v);
bool verify_has(const struct verify *v, uint64_t cap);
/* Looks for secrets in what came on standard error since the last look, and passes it on. */
void rig_said(struct verify *v);
/* Whether text holds a secret of the account or the key of the user data. */
bool rig_holds_secret(const struct verify *v, const char *text);
/* A hint came for this subject. */
void ask_hint(struct verify *v, const char *subject);

/* ask.c */
struct step {
	const char *account, *op;
	char subject[64];
	json_t *doc;                 /* owned */
	json_t *checkpoint;          /* the last; owned */
	uint32_t timeout_ms;         /* 0: limits.op_ms */
	bool once;                   /* the first answer is the last */

	struct verify *v;
	struct provider_call *call;
	uint64_t due, began, until;
	unsigned asked, failed;
	bool over;
	uint32_t status;             /* of the last answer */
	uint64_t took_ms;            /* the last call */
	json_t *answer;              /* its document; owned */
	struct pcg_error err;
};

/* doc and checkpoint (may be NULL) are stolen. */
void step_init(struct step *s, const char *account, const char *op, const char *subject, json_t *doc, json_t *checkpoint);
/* Until all are over: done, or an error that does not pass by itself. RETRY is asked again until limits.done_ms. */
void steps_run(struct verify *v, struct step *steps, size_t n);
void step_cancel(struct step *s);
void step_free(struct step *s);
/* 0: done. Otherwise verify_fail was told, with what is expected and where it stands. */
int step_done(struct verify *v, const struct step *s, const char *clause);
const char *step_status(const struct step *s); /* "done", "pending", "error auth (text)": for messages */

/* life.c */
/* Nothing is made yet. Machines: the first of the control plane, then of the other pools in turn. */
struct life *life_new(struct verify *v, size_t machines);
void life_free(struct life *l);
json_t *life_doc(const struct life *l, const struct machine *m, const char *op);
/* One op to its end, by the account as given. 0, or -1 and told. */
int life_cluster(struct verify *v, struct life *l);
int life_machine(struct verify *v, struct life *l, struct machine *m);
int life_do(struct verify *v, struct life *l, struct machine *m, const char *op); /* redact, power_off */
int life_delete(struct verify *v, struct life *l, struct machine *m);
int life_end(struct verify *v, struct life *l); /* cluster_delete */
int life_make(struct verify *v, struct life *l);   /* cluster and all machines */
int life_remove(struct verify *v, struct life *l); /* all machines and the cluster */
void life_ensured(struct life *l, struct machine *m, struct step *s); /* takes what the step answered */
/* The items of the inventory for this cluster, by this account; cluster NULL: for all. NULL: told. New reference. */
json_t *life_inventory(struct verify *v, const char *account, const char *cluster);
/* That the inventory, and the command "count" if there is one, find so many machines of the cluster, each once. when:
 * for the message. */
int life_count(struct verify *v, const struct life *l, size_t expected, const char *when);
const json_t *life_item(const json_t *items, const struct machine *m, size_t *n); /* of how many */

/* check_make.c: every machine that the inventory finds of the cluster, as the lifecycle deletes what it knows from there. */
int verify_delete_found(struct verify *v, struct life *l);

/* command.c */
bool command_there(const struct verify *v, const char *name);
/* Runs commands.NAME; *out is what it wrote, freed by the caller. -1, told, when it failed. */
int command_run(struct verify *v, const char *name, const struct life *l, const struct machine *m, char **out);

/* schema.c */
/* What is wrong with the answer of an op; false: nothing. */
bool schema_wrong(const char *op, const json_t *answer, char *found, size_t size, char *expected, size_t expected_size);
bool schema_wrong_settings(const json_t *settings, char *found, size_t size, char *expected, size_t expected_size);
void schema_print(void);

/* kubeconfig.c: each object of export_objects is created in a dry run; *read gets what the server made of
 * them. -1: told. */
int kubeconfig_try(struct verify *v, const json_t *exported, json_t **read);

/* check_*.c */
#define VERIFY_CHECKS(X)                                                                                            \
	X(load, "the plugin loads and starts; its settings are well-formed")                                        \
	X(validate, "an account is validated by using it; everything wrong is told at once")                        \
	X(lists, "pick lists")                                                                                      \
	X(looks, "cluster_ensure with check: makes nothing, names what is missing")                                 \
	X(repeat, "each op asked again, also with an empty checkpoint: one machine")                                \
	X(reorder, "ops out of order: delete first, ensure before the cluster, late repeats")                       \
	X(values, "quotes, line breaks, {{, ]]> and unknown members pass through")                                  \
	X(redact, "keys are out of what the infrastructure keeps")                                                  \
	X(power, "power_off turns off and removes nothing")                                                         \
	X(interrupt, "calls that are cut at their deadline are asked again")                                        \
	X(cancel, "calls that are cancelled after each counted request are asked again")                            \
	X(together, "several machines, an inventory and a validation at once")                                      \
	X(kill_before, "the worker killed before its n-th counted request, for every n")                            \
	X(kill_sent, "the worker killed when its n-th counted request is sent, for every n")                        \
	X(kill_answered, "the worker killed when the answer to its n-th counted request arrived, for every n")      \
	X(inventory, "found with an empty store; other clusters apart")                                             \
	X(foreign, "machines that another client made with the mark")                                               \
	X(errors, "classes of errors: auth, retry, quota, with text and remedy")                                    \
	X(deadline, "an endpoint that never answers: deadlines and cancelling are obeyed")                          \
	X(watch, "the watch ends when it is cancelled")                                                             \
	X(objects, "export and import give the same machines")                                                      \
	X(server, "an API server accepts the exported objects (--kubeconfig)")                                      \
	X(deletes, "deleted until the inventory is empty, twice, and what never was")                               \
	X(ends, "stop ends within 5 s")                                                                             \
	X(documents, "every answer so far was of its schema")                                                       \
	X(secrets, "no secret was in a log event, error, answer or checkpoint so far")

#define X(name, doc) int check_##name(struct verify *v);
VERIFY_CHECKS(X)
#undef X

#define CLAUSE_STEPS "Steps, not operations: it finds what an earlier call made (by name, uid and mark), and never makes a second one"
#define CLAUSE_ENSURE "machine_ensure: done when powered on and has an address"
#define CLAUSE_DELETE "machine_delete: by mark and uid, whether observed is there or not; done {} = gone"
#define CLAUSE_INVENTORY "inventory: everything with our mark, by the infrastructure itself"
#define CLAUSE_SERVICES "a plugin blocks only inside services, which obey deadline and cancel"

#endif
