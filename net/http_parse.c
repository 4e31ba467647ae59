/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/http_parse.h"

#include "core/utf8.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef HAVE_LLHTTP_H
#include <llhttp.h>
typedef llhttp_t parser_t;
typedef llhttp_settings_t settings_t;
#else
#include <http_parser.h>
typedef http_parser parser_t;
typedef http_parser_settings settings_t;
#endif

#define CHUNK_OVERHEAD 16 /* bytes of chunk headers for each byte of body */

struct http_parse {
	parser_t parser;
	struct http_parsed out;
	enum http_parse_state state;
	uint32_t max_header;
	uint64_t max_body;
	uint64_t raw;      /* bytes used of this request */
	bool in_name, in_value; /* which part of a header is being read */
	size_t name_start; /* of that header, in out.headers */
	unsigned n_length, n_host, n_coding;
	bool bad_coding;
	int status;
	const char *text;
};

static int refuse(struct http_parse *p, int status, const char *text)
{
	if (!p->status) {
		p->status = status;
		p->text = text;
	}
	return -1;
}

static int too_large(struct http_parse *p)
{
	return refuse(p, 431, "the header is larger than the limit");
}

static int on_url(parser_t *parser, const char *data, size_t len)
{
	struct http_parse *p = parser->data;

	return buf_add(&p->out.target, data, len) ? too_large(p) : 0;
}

/* A header is whole: what decides where the request ends is looked at, once. */
static int header_end(struct http_parse *p)
{
	const char *name, *value;

	if (!p->in_value)
		return 0;
	p->in_name = p->in_value = false;
	if (buf_add(&p->out.headers, "", 1))
		return too_large(p);
	name = p->out.headers.data + p->name_start;
	value = name + strlen(name) + 1;
	p->out.n_headers++;
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("!#$%&'*+-.^_`|~", *c))
			return refuse(p, 400, "a header name holds a blank or another wrong character");
	if (!strcmp(name, "content-length"))
		p->n_length++;
	else if (!strcmp(name, "host"))
		p->n_host++;
	else if (!strcmp(name, "expect"))
		p->out.expect_continue = !strcasecmp(value, "100-continue");
	else if (!strcmp(name, "transfer-encoding")) {
		p->n_coding++;
		p->bad_coding |= strcasecmp(value, "chunked") != 0;
	}
	return 0;
}

static int on_field(parser_t *parser, const char *data, size_t len)
{
	struct http_parse *p = parser->data;

	if (p->state != HTTP_PARSE_HEAD) /* trailers are read and dropped */
		return 0;
	if (p->in_value && header_end(p))
		return -1;
	if (!p->in_name)
		p->name_start = p->out.headers.len;
	p->in_name = true;
	for (size_t i = 0; i < len; i++)
		if (buf_add(&p->out.headers, &(char){ (char)tolower((unsigned char)data[i]) }, 1))
			return too_large(p);
	return 0;
}

static int on_value(parser_t *parser, const char *data, size_t len)
{
	struct http_parse *p = parser->data;

	if (p->state != HTTP_PARSE_HEAD)
		return 0;
	if (memchr(data, '\0', len) || memchr(data, '\r', len) || memchr(data, '\n', len))
		return refuse(p, 400, "a header value holds a control character");
	if (!p->in_value && buf_add(&p->out.headers, "", 1))
		return too_large(p);
	p->in_value = true;
	return buf_add(&p->out.headers, data, len) ? too_large(p) : 0;
}

static const char *method_name(parser_t *parser)
{
#ifdef HAVE_LLHTTP_H
	return llhttp_method_name((llhttp_method_t)parser->method);
#else
	return http_method_str((enum http_method)parser->method);
#endif
}

static bool keep_alive(parser_t *parser)
{
#ifdef HAVE_LLHTTP_H
	return llhttp_should_keep_alive(parser);
#else
	return http_should_keep_alive(parser);
#endif
}

static int on_head_done(parser_t *parser)
{
	struct http_parse *p = parser->data;
	const char *method = method_name(parser);

	if (p->state != HTTP_PARSE_HEAD)
		return 0;
	if (header_end(p))
		return -1;
	if (parser->http_major != 1 || parser->http_minor > 1)
		return refuse(p, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
	p->out.http10 = parser->http_minor == 0;
	if (p->n_length > 1 || (p->n_length && p->n_coding))
		return refuse(p, 400, "the length of the body is given more than once");
	if (p->n_coding > 1 || p->bad_coding || (p->n_coding && p->out.http10))
		return refuse(p, 501, "chunked is the only transfer coding");
	if (p->n_host > 1 || (!p->n_host && !p->out.http10))
		return refuse(p, 400, "a request names its host once");
	if (p->n_length && parser->content_length > p->max_body)
		return refuse(p, 413, "the body is larger than the limit");
	if (!strcmp(method, "CONNECT") || strlen(method) >= sizeof(p->out.method))
		return refuse(p, 405, "this method is not spoken here");
	strcpy(p->out.method, method);
	p->out.keep_alive = keep_alive(parser) && !parser->upgrade;
	p->state = HTTP_PARSE_BODY;
	return 0;
}

static int on_body(parser_t *parser, const char *data, size_t len)
{
	struct http_parse *p = parser->data;

	if (p->out.body.len + len > p->max_body || buf_add(&p->out.body, data, len))
		return refuse(p, 413, "the body is larger than the limit");
	return 0;
}

static int on_done(parser_t *parser)
{
	struct http_parse *p = parser->data;

	p->state = HTTP_PARSE_DONE;
#ifdef HAVE_LLHTTP_H
	return HPE_PAUSED;
#else
	http_parser_pause(parser, 1);
	return 0;
#endif
}

static const settings_t *settings(void)
{
	static settings_t s;

	if (!s.on_message_complete) {
#ifdef HAVE_LLHTTP_H
		llhttp_settings_init(&s);
#else
		http_parser_settings_init(&s);
		http_parser_set_max_header_size(16u << 20); /* ours is lower */
#endif
		s.on_url = on_url;
		s.on_header_field = on_field;
		s.on_header_value = on_value;
		s.on_headers_complete = on_head_done;
		s.on_body = on_body;
		s.on_message_complete = on_done;
	}
	return &s;
}

static void parse_begin(struct http_parse *p)
{
#ifdef HAVE_LLHTTP_H
	llhttp_init(&p->parser, HTTP_REQUEST, settings());
#else
	settings();
	http_parser_init(&p->parser, HTTP_REQUEST);
#endif
	p->parser.data = p;
	p->state = HTTP_PARSE_START;
	p->raw = 0;
	p->in_name = p->in_value = false;
	p->name_start = 0;
	p->n_length = p->n_host = p->n_coding = 0;
	p->bad_coding = false;
	p->status = 0;
	p->text = NULL;
}

struct http_parse *http_parse_new(uint32_t max_header, uint64_t max_body)
{
	struct http_parse *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	p->max_header = max_header;
	p->max_body = max_body;
	buf_init(&p->out.target, max_header);
	buf_init_secret(&p->out.headers, max_header);
	buf_init_secret(&p->out.body, (size_t)max_body);
	parse_begin(p);
	return p;
}

void http_parse_free(struct http_parse *p)
{
	if (!p)
		return;
	buf_free(&p->out.target);
	buf_free(&p->out.headers);
	buf_free(&p->out.body);
	free(p);
}

void http_parse_reset(struct http_parse *p)
{
	buf_free(&p->out.target);
	buf_free(&p->out.headers);
	buf_free(&p->out.body);
	p->out.method[0] = '\0';
	p->out.n_headers = 0;
	p->out.keep_alive = p->out.http10 = p->out.expect_continue = false;
	parse_begin(p);
}

static size_t execute(struct http_parse *p, const char *data, size_t len, bool *failed)
{
#ifdef HAVE_LLHTTP_H
	llhttp_errno_t e = llhttp_execute(&p->parser, data, len);
	const char *at = llhttp_get_error_pos(&p->parser);

	*failed = e != HPE_OK && e != HPE_PAUSED && e != HPE_PAUSED_UPGRADE;
	return e == HPE_OK || !at ? len : (size_t)(at - data);
#else
	size_t used = http_parser_execute(&p->parser, settings(), data, len);
	enum http_errno e = HTTP_PARSER_ERRNO(&p->parser);

	*failed = e != HPE_OK && e != HPE_PAUSED;
	return used;
#endif
}

static void limits_check(struct http_parse *p)
{
	if (p->state == HTTP_PARSE_HEAD && p->raw > p->max_header)
		too_large(p);
	else if (p->raw > (uint64_t)p->max_header + p->out.body.len +
				  CHUNK_OVERHEAD * (uint64_t)p->out.body.len)
		refuse(p, 400, "the body is in chunks too small");
}

size_t http_parse_feed(struct http_parse *p, const char *data, size_t len)
{
	size_t used, skip = 0;
	bool failed = false;

	if (p->state == HTTP_PARSE_DONE || p->state == HTTP_PARSE_ERROR)
		return 0;
	if (p->state == HTTP_PARSE_START) { /* line ends between requests are allowed */
		while (skip < len && (data[skip] == '\r' || data[skip] == '\n'))
			skip++;
		if (skip == len)
			return len;
		p->state = HTTP_PARSE_HEAD;
	}
	used = execute(p, data + skip, len - skip, &failed);
	p->raw += used;
	if (!failed && p->state != HTTP_PARSE_DONE && used < len - skip)
		failed = true;
	if (!p->status)
		limits_check(p);
	if (failed)
		refuse(p, 400, "this is no HTTP request");
	if (p->status)
		p->state = HTTP_PARSE_ERROR;
	return skip + used;
}

enum http_parse_state http_parse_state(const struct http_parse *p)
{
	return p->state;
}

int http_parse_error(const struct http_parse *p, const char **text)
{
	*text = p->text ? p->text : "";
	return p->status;
}

struct http_parsed *http_parse_result(struct http_parse *p)
{
	return &p->out;
}

const char *http_parse_header(const struct http_parsed *r, const char *lower_name)
{
	const char *p = r->headers.data;

	for (size_t i = 0; i < r->n_headers; i++) {
		const char *value = p + strlen(p) + 1;

		if (!strcmp(p, lower_name))
			return value;
		p = value + strlen(value) + 1;
	}
	return NULL;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_parse_unescape(char *text, bool plus)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		int c = (unsigned char)*p;

		if (c == '%') {
			int high = hex_digit(p[1]), low = high < 0 ? -1 : hex_digit(p[2]);

			if (low < 0)
				return false;
			c = high * 16 + low;
			p += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c == 0)
			return false;
		*to++ = (char)c;
	}
	*to = '\0';
	return utf8_valid(text, (size_t)(to - text));
}

static bool dots_inside(const char *path)
{
	for (const char *p = path; (p = strchr(p, '/')); p++) {
		size_t n = strcspn(p + 1, "/");

		if ((n == 1 && p[1] == '.') || (n == 2 && p[1] == '.' && p[2] == '.'))
			return true;
	}
	return false;
}

bool http_parse_path(const char *target, char *out, const char **query)
{
	const char *mark;
	size_t n;

	if (!strncasecmp(target, "http://", 7) || !strncasecmp(target, "https://", 8)) {
		target = strchr(strstr(target, "://") + 3, '/');
		if (!target)
			target = "/";
	}
	mark = strchr(target, '?');
	*query = mark ? mark + 1 : NULL;
	n = mark ? (size_t)(mark - target) : strlen(target);
	memcpy(out, target, n);
	out[n] = '\0';
	if (out[0] != '/' || !http_parse_unescape(out, false) || dots_inside(out))
		return false;
	for (const char *p = out; *p; p++)
		if (iscntrl((unsigned char)*p) || *p == '\\')
			return false;
	return true;
}
