/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_URL_H
#define NET_URL_H

/* The parts of an http or https URL, as libcurl will understand it: both read by the same parser,
 * so that a decision about a URL is a decision about where the connection goes. */

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

struct url {
	bool https;
	char *host;     /* lower case, no brackets, no trailing dot, no zone */
	uint16_t port;  /* never 0 */
	char *user;     /* decoded; NULL: none */
	char *password; /* decoded; NULL: none */
	char *path;     /* with leading slash, without query */
	char *query;    /* NULL: none */
};

/* what names the thing in errors ("proxy", "URL"). Errors never show user, password or query. */
int url_parse(const char *text, const char *what, struct url *out, struct pcg_error *err);
void url_free(struct url *u); /* wipes the password */
/* "scheme://host:port/path" without user, password and query, cut to size. Returns out. */
char *url_show(const struct url *u, char *out, size_t size);
char *url_display(const char *text, char *out, size_t size);
bool url_host_is_ip(const char *host);

#endif
