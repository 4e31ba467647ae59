/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_GATEWAYS_IMPL_H
#define PLANE_GATEWAYS_IMPL_H

#include "plane/gateways.h"

struct gateway_row {
	char uid[64];
	char serial[64], next_serial[64];
	int64_t acked, sent, contact_ms;
};

/* The highest seq of a report of it that is durable here. */
int gateway_reported(struct plane *p, const char *uid, int64_t *seq, struct pcg_error *err);
int gateway_reported_put(struct plane *p, const char *uid, int64_t seq, struct pcg_error *err);
/* 1: found; 0: none. */
int gateway_row_get(struct plane *p, const char *uid, struct gateway_row *row, struct pcg_error *err);
/* Who sent this, by its certificate. 1: known; 0: answered with a refusal; negative: fault of ours. */
int gateway_identify(struct plane *p, struct http_exchange *x, const struct http_server_request *req,
		     struct gateway_row *row, struct pcg_error *err);
/* Each answers the exchange, or returns a negative code with err set and has not answered. */
int gateway_enrol(struct plane *p, struct http_exchange *x, const json_t *body, struct pcg_error *err);
int gateway_renew(struct plane *p, struct http_exchange *x, const struct gateway_row *row,
		  const json_t *body, struct pcg_error *err);
int gateway_reports(struct plane *p, struct http_exchange *x, const struct gateway_row *row,
		    const json_t *body, struct pcg_error *err);
/* The newest instructions after cursor, at most what one answer may hold. *cursor is moved to the last one's. */
int gateway_items(struct plane *p, const char *gateway, int64_t *cursor, json_t **items,
		  struct pcg_error *err);
/* A document's generation, to one that no gateway has seen. */
void gateway_raise(json_t *document);
/* Gives everything that is for the gateway new numbers, accounts first; raised: and new generations. */
int gateway_resequence(struct plane *p, const char *gateway, bool raised, struct pcg_error *err);

#endif
