/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_WORKER_H
#define HOST_WORKER_H

/*
 * A supervised, confined child: this same binary started again as "pcgd --worker ROLE", one JSON
 * frame conversation on descriptor 3, nothing secret in argv or environment. The host side runs
 * in the loop's thread. A child that ends, however, is told once by on_end.
 */

#include "core/error.h"
#include "core/json.h"

#include <stdint.h>
#include <uv.h>

struct worker;

struct worker_spec {
	const char *exe;               /* path of the binary; "/proc/self/exe" opened once is fine */
	const char *role;              /* "account", "policy" */
	const char *name;              /* for log and process title: account uid, tenant; no secret */
	/* First frame, given before anything else: what the role needs (may hold secrets). Borrowed until worker_start
	 * returns; "confine" is added to a copy. The bytes of the frame are wiped after they were written. */
	const json_t *hello;
	/* confinement, applied by the child itself before it reads more than the hello frame */
	const char *const *read_paths; /* NULL-terminated: files and folders it may read (Landlock) */
	const char *const *exec_paths; /* NULL-terminated: shared objects it may map (Landlock) */
	/* false: no socket but descriptor 3 (seccomp). true: also reads what resolver, TLS and loader need. */
	bool network;
	uint64_t memory_max;           /* bytes of address space (RLIMIT_AS; 0: none) and of data */
	uint32_t max_files;            /* RLIMIT_NOFILE */
	void (*on_frame)(void *arg, struct worker *w, json_t *doc); /* borrowed */
	/* The child has ended, all it sent was delivered; reason says how (exit status, signal, killed by us and why).
	 * Told once, never from inside a function of this header; w is freed after. */
	void (*on_end)(void *arg, struct worker *w, const char *reason);
	void *arg;
};

int worker_start(uv_loop_t *loop, const struct worker_spec *spec, struct worker **out, struct pcg_error *err);
int worker_send(struct worker *w, const json_t *doc, struct pcg_error *err);
/* Two frames, both or none. next NULL: one. */
int worker_send_pair(struct worker *w, const json_t *doc, const json_t *next, struct pcg_error *err);
/* Closes our end: the child reads to the end, may still send, and leaves; killed when grace_ms are over. */
void worker_end(struct worker *w, uint32_t grace_ms);
void worker_kill(struct worker *w, const char *why);
int worker_pid(const struct worker *w);
/* In on_end: by a SIGKILL that we did not send (the system short of memory, a person). Not the child's fault. */
bool worker_killed_outside(const struct worker *w);

/* In the child. Reads the hello frame from descriptor 3, confines this process, gives the rest of
 * the hello. missing lists what the kernel lacks ("landlock"), comma separated. */
int worker_child_enter(json_t **hello, char *missing, size_t missing_size, struct pcg_error *err);
/* Before an end by _exit, which passes the leak check of a sanitized build by: the exit status, after the
 * report. 0 in other builds. */
int worker_child_leaks(void);
/* The whole main of a child: enters, then runs the role's main with the rest of the hello (its reference; member
 * "missing" is what the kernel lacks). To be called before the process has a second thread. */
struct worker_role {
	const char *name;
	int (*main)(json_t *hello);
};
int worker_child_main(const char *role, const struct worker_role *roles, size_t n);
/* What this kernel offers: {"landlock":abi,"seccomp":bool,...} for pcgctl status. */
json_t *worker_confinement_report(void);

#endif
