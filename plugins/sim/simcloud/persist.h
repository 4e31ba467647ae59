/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_PERSIST_H
#define SIMCLOUD_PERSIST_H

/*
 * What survives a kill of this process: documents by (kind, id), and the objects of the Kubernetes
 * APIs by (api, resource, key). Changes are collected and written in one transaction by
 * persist_flush(); no answer and no event leaves before that. A killed process loses nothing but what
 * controllers had done since the last of them, which they do again; a machine that loses its power may
 * lose more: it is a simulator.
 */

#include "core/db.h"
#include "core/error.h"
#include "core/json.h"

struct persist;

int persist_open(const char *dir, struct persist **out, struct pcg_error *err);
void persist_close(struct persist *p);

/* body NULL removes. Takes a reference; the tree must not change until the flush. */
void persist_doc(struct persist *p, const char *kind, const char *id, json_t *body);
void persist_object(struct persist *p, const char *api, const char *res, const char *key,
		    json_t *body);
/* Removes every object of an API, at once. */
void persist_drop_api(struct persist *p, const char *api);
void persist_flush(struct persist *p);
/* Documents wait to be written: they do not wait for an answer. */
bool persist_urgent(const struct persist *p);

void persist_each_doc(struct persist *p, const char *kind,
		      void (*visit)(void *arg, const char *id, json_t *body), void *arg);
void persist_each_object(struct persist *p, const char *api,
			 void (*visit)(void *arg, const char *res, const char *key, json_t *body),
			 void *arg);

#endif
