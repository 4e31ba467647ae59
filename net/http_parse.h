/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_PARSE_H
#define NET_HTTP_PARSE_H

/*
 * One HTTP/1 request from bytes, by llhttp or http_parser, with limits. Strict where two readers
 * could disagree about where a request ends: Content-Length together with Transfer-Encoding,
 * repeated Content-Length or Host, any transfer coding but chunked, blanks in a name are refused.
 */

#include "core/buf.h"

#include <stdint.h>

struct http_parse;

enum http_parse_state {
	HTTP_PARSE_START, /* nothing of the request has come */
	HTTP_PARSE_HEAD,
	HTTP_PARSE_BODY,
	HTTP_PARSE_DONE,
	HTTP_PARSE_ERROR,
};

struct http_parsed {
	char method[16];
	struct buf target;
	struct buf headers; /* lower-case name, zero, value, zero, ... */
	size_t n_headers;
	struct buf body;
	bool keep_alive;
	bool http10;
	bool expect_continue;
};

struct http_parse *http_parse_new(uint32_t max_header, uint64_t max_body);
void http_parse_free(struct http_parse *p);
/* Returns how many bytes were used; stops at the end of the request. */
size_t http_parse_feed(struct http_parse *p, const char *data, size_t len);
enum http_parse_state http_parse_state(const struct http_parse *p);
int http_parse_error(const struct http_parse *p, const char **text); /* the status to answer */
/* What was read; borrowed. */
struct http_parsed *http_parse_result(struct http_parse *p);
/* Makes ready for the next request; the result is dropped. */
void http_parse_reset(struct http_parse *p);

const char *http_parse_header(const struct http_parsed *r, const char *lower_name);
/* Decoded path of a target into out (room for strlen(target) + 1); false: refused. *query is what
 * follows '?', or NULL. */
bool http_parse_path(const char *target, char *out, const char **query);
/* Decodes %XX (and '+' in a query) in place; false: not decodable to UTF-8 text. */
bool http_parse_unescape(char *text, bool plus);

#endif
