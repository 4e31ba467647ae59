/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_SIM_H
#define PLUGINS_SIM_H

/* The provider of the simulated cloud: an HTTP client of pcg-simcloud. */

#include <jansson.h>
#include <pcg/provider.h>
#include <stdbool.h>

struct sim {
	struct pcg_host *host;
	const struct pcg_services *svc;
	json_t *account;
	const char *endpoint, *token; /* of account */
};

/* One request of an op. body is borrowed. On success: *status and *reply (NULL when the answer is no JSON); false: the op was answered
 * with the error. */
bool sim_http(struct sim *s, struct pcg_call *call, const char *method, const char *path, const json_t *body, int *status,
	      json_t **reply);
/* Answers the op with what a refused request says. */
void sim_refused(struct sim *s, struct pcg_call *call, const char *what, int status, const json_t *reply);
void sim_done(struct sim *s, struct pcg_call *call, json_t *doc); /* steals doc */
/* The op's document; NULL after an answer. New reference. */
json_t *sim_doc(struct sim *s, struct pcg_call *call, const char *text);
const char *sim_str(const json_t *j, const char *key);             /* NULL when absent */
const char *sim_at(const json_t *j, const char *a, const char *b); /* j.a.b */

void sim_account_validate(void *plugin, struct pcg_call *call, const char *doc);
void sim_pick_list(void *plugin, struct pcg_call *call, const char *doc);
void sim_cluster_ensure(void *plugin, struct pcg_call *call, const char *doc);
void sim_cluster_delete(void *plugin, struct pcg_call *call, const char *doc);
void sim_machine_ensure(void *plugin, struct pcg_call *call, const char *doc);
void sim_machine_delete(void *plugin, struct pcg_call *call, const char *doc);
void sim_machine_redact(void *plugin, struct pcg_call *call, const char *doc);
void sim_machine_power_off(void *plugin, struct pcg_call *call, const char *doc);
void sim_inventory(void *plugin, struct pcg_call *call, const char *doc);
void sim_watch(void *plugin, struct pcg_call *call, const char *doc);
void sim_export_objects(void *plugin, struct pcg_call *call, const char *doc);
void sim_import_objects(void *plugin, struct pcg_call *call, const char *doc);

#endif
