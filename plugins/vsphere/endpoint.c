/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/endpoint.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 253u
#define LABEL_MAX 63u

struct parts {
	char text[512];      /* of what was given, without spaces around */
	char *host, *port;   /* in it; port NULL: none */
	bool v6;
	const char *why;
};

static bool wrong(struct parts *p, const char *why)
{
	p->why = why;
	return false;
}

static bool trimmed(struct parts *p, const char *given)
{
	size_t len;

	while (isspace((unsigned char)*given))
		given++;
	len = strlen(given);
	while (len && isspace((unsigned char)given[len - 1]))
		len--;
	if (!len)
		return wrong(p, "is empty: give the vCenter's name or address");
	if (len >= sizeof(p->text))
		return wrong(p, "is too long for a name");
	memcpy(p->text, given, len);
	p->text[len] = 0;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)p->text[i] >= 0x80)
			return wrong(p, "has letters outside of ASCII: give an international name in its xn-- form");
		if (isspace((unsigned char)p->text[i]) || iscntrl((unsigned char)p->text[i]))
			return wrong(p, "has a space or control character in it");
	}
	return true;
}

static bool scheme(struct parts *p)
{
	char *sep = strstr(p->text, "://");

	p->host = p->text;
	if (!sep)
		return true;
	if (strncasecmp(p->text, "http://", 7) == 0)
		return wrong(p, "begins with http://, but a vCenter is asked over https alone: leave that out");
	if (strncasecmp(p->text, "https://", 8) != 0)
		return wrong(p, "has a scheme that is not https: leave it out");
	p->host = sep + 3;
	return *p->host ? true : wrong(p, "has no name after https://");
}

/* Pages and APIs of a vCenter that people copy: all of them mean the vCenter. */
static bool path_means_it(const char *path)
{
	static const char *const known[] = { "/sdk", "/ui", "/api", "/rest", "/vsphere-client", "/websso" };

	if (strspn(path, "/") == strlen(path))
		return true;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t n = strlen(known[i]);

		if (strncasecmp(path, known[i], n) == 0 && (!path[n] || path[n] == '/'))
			return true;
	}
	return false;
}

static bool path(struct parts *p)
{
	char *slash = strchr(p->host, '/'), *odd;

	if (slash && (odd = strpbrk(slash, "?#")))
		*odd = 0; /* of a page in the browser, whose path is judged below */
	if (slash && !path_means_it(slash))
		return wrong(p, "has a path that is none of a vCenter's (/sdk, /ui): give the name alone");
	if (slash)
		*slash = 0;
	if (strchr(p->host, '@'))
		return wrong(p, "has a user in it (the part before @): user name and password have members of their own");
	if (strpbrk(p->host, "?#"))
		return wrong(p, "has a query or fragment (? or #) in it: give the name alone");
	if (strpbrk(p->host, "\\%\"'<>{}|^`,;$&()*+=!"))
		return wrong(p, strchr(p->host, '%') ? "has a % in it: link-local addresses with a zone do not work, give a name or "
						       "a global address" : "has a character that no host name has");
	return *p->host ? true : wrong(p, "has no name in it");
}

static size_t colons(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == ':';
	return n;
}

static bool host_and_port(struct parts *p)
{
	char *end;

	if (*p->host == '[') {
		end = strchr(p->host, ']');
		if (!end)
			return wrong(p, "has a [ without its ]");
		if (end[1] && end[1] != ':')
			return wrong(p, "has something other than :PORT after the ]");
		p->v6 = true;
		p->port = end[1] ? end + 2 : NULL;
		*end = 0;
		p->host++;
	} else if (colons(p->host) > 1) {
		p->v6 = true; /* bare, so without a port */
	} else if ((end = strchr(p->host, ':'))) {
		*end = 0;
		p->port = end + 1;
	}
	return *p->host ? true : wrong(p, "has no name before the port");
}

static bool port_good(struct parts *p, unsigned *port)
{
	size_t n = p->port ? strlen(p->port) : 0;

	*port = 443;
	if (!p->port)
		return true;
	if (!n)
		return wrong(p, "ends with a colon: give the port, or leave the colon out");
	*port = n <= 5 && strspn(p->port, "0123456789") == n ? (unsigned)strtoul(p->port, NULL, 10) : 0;
	return *port && *port <= 65535 ? true : wrong(p, "has a port that is no number from 1 to 65535");
}

static bool label_good(const char *label, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)label[i]) && label[i] != '-' && label[i] != '_')
			return false;
	return len && len <= LABEL_MAX && label[0] != '-' && label[len - 1] != '-';
}

static bool name_good(struct parts *p)
{
	size_t len = strlen(p->host);
	const char *last;
	struct in_addr v4;

	if (p->host[len - 1] == '.') /* the root's, which certificates do not have */
		p->host[--len] = 0;
	if (!len || len > HOST_MAX)
		return wrong(p, "has a name of no letters, or of more than 253");
	for (const char *at = p->host; at; at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL)
		if (!label_good(at, strcspn(at, ".")))
			return wrong(p, "has a part between its dots that is empty, longer than 63, begins or ends with -, or has "
					"other characters than letters, digits and -");
	last = strrchr(p->host, '.') ? strrchr(p->host, '.') + 1 : p->host;
	/* No top-level domain is a number: this is meant to be an address. */
	if (strspn(last, "0123456789") == strlen(last) && inet_pton(AF_INET, p->host, &v4) != 1)
		return wrong(p, "looks like an IPv4 address and is none");
	for (char *c = p->host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return true;
}

static bool v6_good(struct parts *p, char out[INET6_ADDRSTRLEN])
{
	struct in6_addr v6;

	if (inet_pton(AF_INET6, p->host, &v6) != 1)
		return wrong(p, "is no IPv6 address; with a port it is written [ADDRESS]:PORT");
	inet_ntop(AF_INET6, &v6, out, INET6_ADDRSTRLEN);
	return true;
}

int vs_endpoint(const char *given, char *out, size_t size, char *why, size_t why_size)
{
	struct parts p = { .why = "" };
	char v6[INET6_ADDRSTRLEN] = "";
	unsigned port = 443;
	bool good = trimmed(&p, given) && scheme(&p) && path(&p) && host_and_port(&p) &&
		    (p.v6 ? v6_good(&p, v6) : name_good(&p)) && port_good(&p, &port);
	int n;

	if (!good) {
		snprintf(why, why_size, "%s", p.why);
		return -1;
	}
	n = snprintf(out, size, "%s%s%s", p.v6 ? "[" : "", p.v6 ? v6 : p.host, p.v6 ? "]" : "");
	if (port != 443 && n > 0 && (size_t)n < size)
		snprintf(out + n, size - (size_t)n, ":%u", port);
	return 0;
}

const char *vs_endpoint_shown(const char *given)
{
	const char *at = strrchr(given, '@');

	return at ? at + 1 : given;
}
