/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

/* pcgctl: asks pcgd over its Unix socket, and shows. */

#include "core/error.h"
#include "core/json.h"

#include <stdbool.h>

enum ctl_exit {
	CTL_DONE = 0,
	CTL_FAILED = 1,
	CTL_USAGE = 2,
	CTL_NOT_FOUND = 3,
	CTL_UNREACHABLE = 4,
	CTL_AUDIT = 5
};

struct ctl {
	const char *socket;
	bool json;
	/* of plugin verify; NULL: not given */
	const char *with, *only, *kubeconfig;
	bool list, schema;
};

/* One question, one answer (new reference). Negative: err, with *exit_status to end with. */
int ctl_ask(const struct ctl *c, json_t *request, json_t **result, int *exit_status);
/* Each event to on_event until it says stop (nonzero), the gateway leaves, or a signal comes. */
int ctl_follow(const struct ctl *c, json_t *request, int (*on_event)(void *arg, json_t *event),
	       void *arg);
/* Prints cause and remedy on standard error; the exit status for it. */
int ctl_complain(const struct pcg_error *err);

/* Text from outside for a terminal: one line, no control characters. Valid until the fourth call
 * after this one. */
const char *show_text(const char *s);
void show_json(const json_t *j);
void show_json_line(const json_t *j);
int show_status(const json_t *s);
int show_clusters(const json_t *list);
int show_cluster(const json_t *c);
int show_history(const json_t *h);
int show_plan(const json_t *p);
int show_audit(const json_t *a);
int show_plugins(const json_t *p);
int show_policies(const json_t *p);

int bundle_print(const struct ctl *c, const char *dir);
/* The conformance suite for providers (docs/plugin-verify.md). */
int plugin_verify(const struct ctl *c, const char *file);
int watch_clusters(const struct ctl *c, const char *cluster);

#endif
