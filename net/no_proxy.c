/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/proxy.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_MAX 256

/* One entry, taken apart. Either any, or an address with a prefix, or a name. */
struct entry {
	bool any;
	bool subdomains;
	bool is_ip;
	int prefix;             /* bits of the 128 */
	struct in6_addr ip;     /* IPv4 as IPv4-mapped */
	char name[ENTRY_MAX];
	uint16_t port;          /* 0: every port */
};

static const char allowed[] =
	"allowed are host, .suffix, *.suffix, an IPv4 or IPv6 address, a CIDR range, each with an optional "
	":port (IPv6 then in brackets), and *; entries are separated by commas";

static bool ip_parse(const char *text, struct in6_addr *out, bool *v4)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) == 1) {
		memset(out, 0, 10);
		memset(&out->s6_addr[10], 0xff, 2);
		memcpy(&out->s6_addr[12], &a, 4);
		*v4 = true;
		return true;
	}
	*v4 = false;
	return inet_pton(AF_INET6, text, out) == 1;
}

static bool number_parse(const char *text, int max, int *out)
{
	char *end;
	long n;

	if (!isdigit((unsigned char)text[0]) || strlen(text) > 5)
		return false;
	n = strtol(text, &end, 10);
	*out = (int)n;
	return !*end && n <= max;
}

static bool prefix_equal(const struct in6_addr *a, const struct in6_addr *b, int bits)
{
	int bytes = bits / 8, rest = bits % 8;
	uint8_t mask = (uint8_t)(0xff00 >> rest);

	if (memcmp(a, b, (size_t)bytes))
		return false;
	return !rest || !((a->s6_addr[bytes] ^ b->s6_addr[bytes]) & mask);
}

static bool name_ok(const char *name)
{
	if (!name[0] || name[0] == '.' || name[0] == '-')
		return false;
	for (const char *p = name; *p; p++) {
		if (*p == '.' && p[1] == '.')
			return false;
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_' && *p != '.')
			return false;
	}
	return true;
}

/* Cuts ":port" and brackets off text; *bracket says that there were brackets. */
static const char *port_cut(char **text, struct entry *e, bool *bracket)
{
	char *colon, *s = *text;
	int port;

	*bracket = false;
	if (s[0] == '[') {
		char *close = strchr(s, ']');

		if (!close)
			return "the bracket is not closed";
		*bracket = true;
		*text = s + 1;
		colon = close + 1;
		*close = '\0';
		if (*colon == '/') { /* [2001:db8::]/32 */
			size_t n = strlen(colon) + 1;

			memmove(close, colon, n);
			colon = strchr(close, ':');
			if (!colon)
				return NULL;
		} else if (!*colon) {
			return NULL;
		} else if (*colon != ':') {
			return "only :port may follow the bracket";
		}
	} else {
		colon = strrchr(s, ':');
		if (!colon || strchr(s, ':') != colon)
			return NULL; /* none, or a bare IPv6 address */
	}
	*colon = '\0';
	if (!number_parse(colon + 1, 65535, &port) || port == 0)
		return "the port is not a number from 1 to 65535";
	e->port = (uint16_t)port;
	return NULL;
}

static const char *cidr_parse(char *s, char *slash, struct entry *e)
{
	bool v4;
	int bits;

	*slash = '\0';
	if (!ip_parse(s, &e->ip, &v4))
		return "before the / there is no IP address";
	if (!number_parse(slash + 1, v4 ? 32 : 128, &bits))
		return v4 ? "the prefix length is not a number from 0 to 32" :
			    "the prefix length is not a number from 0 to 128";
	e->is_ip = true;
	e->prefix = v4 ? bits + 96 : bits;
	return NULL;
}

static const char *name_parse(const char *s, struct entry *e)
{
	size_t n;

	if (s[0] == '*') {
		if (s[1] != '.')
			return "a * stands alone or before a dot";
		s++;
	}
	if (s[0] == '.') {
		e->subdomains = true;
		s++;
	}
	n = strlen(s);
	memcpy(e->name, s, n + 1);
	if (n > 1 && e->name[n - 1] == '.')
		e->name[n - 1] = '\0';
	if (!name_ok(e->name))
		return "it is no host name";
	/* 10.1.2.300 or 10.1.2: meant as an address, would never match a host */
	n = strlen(e->name);
	if (!e->subdomains && n && strspn(e->name, "0123456789.") == n)
		return "it is no IP address";
	return NULL;
}

/* NULL: parsed. Else what is wrong. */
static const char *entry_parse(const char *text, size_t len, struct entry *e)
{
	char copy[ENTRY_MAX], *s = copy, *slash;
	const char *wrong;
	bool bracket, v4;

	memset(e, 0, sizeof(*e));
	if (len >= sizeof(copy))
		return "it is too long";
	memcpy(copy, text, len);
	copy[len] = '\0';
	wrong = port_cut(&s, e, &bracket);
	if (wrong)
		return wrong;
	if (!strcmp(s, "*")) {
		e->any = true;
		return NULL;
	}
	slash = strchr(s, '/');
	if (slash)
		return cidr_parse(s, slash, e);
	if (ip_parse(s, &e->ip, &v4)) {
		e->is_ip = true;
		e->prefix = 128;
		return NULL;
	}
	if (bracket || strchr(s, ':'))
		return "it is no IPv6 address";
	return name_parse(s, e);
}

static bool entry_match(const struct entry *e, const char *host, const struct in6_addr *ip,
			uint16_t port)
{
	size_t h, n;

	if (e->port && e->port != port)
		return false;
	if (e->any)
		return true;
	if (e->is_ip) /* no range of IPv6 holds addresses of IPv4, although it may begin as these do here */
		return ip && prefix_equal(ip, &e->ip, e->prefix) &&
		       (e->prefix >= 96 || !IN6_IS_ADDR_V4MAPPED(ip));
	if (ip)
		return false;
	if (!strcasecmp(host, e->name))
		return true;
	h = strlen(host);
	n = strlen(e->name);
	return e->subdomains && h > n + 1 && host[h - n - 1] == '.' &&
	       !strcasecmp(host + h - n, e->name);
}

/* The metadata service and this machine itself are never behind a proxy. */
static bool always_exempt(const char *host, const struct in6_addr *ip)
{
	static const struct in6_addr loop6 = IN6ADDR_LOOPBACK_INIT;
	static const struct in6_addr metadata = { { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff,
						      169, 254, 169, 254 } } };

	if (!ip)
		return !strcasecmp(host, "localhost");
	return !memcmp(ip, &loop6, 16) || !memcmp(ip, &metadata, 16) ||
	       (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 127);
}

static void host_copy(const char *host, char out[ENTRY_MAX])
{
	size_t n = strlen(host);

	if (n > 1 && host[0] == '[' && host[n - 1] == ']') {
		host++;
		n -= 2;
	}
	if (n >= ENTRY_MAX)
		n = ENTRY_MAX - 1;
	memcpy(out, host, n);
	out[n] = '\0';
	out[strcspn(out, "%")] = '\0';
	n = strlen(out);
	if (n > 1 && out[n - 1] == '.')
		out[n - 1] = '\0';
}

static const char *const separators = ", \t\r\n";

bool no_proxy_match(const char *no_proxy, const char *host, uint16_t port)
{
	char name[ENTRY_MAX];
	struct in6_addr addr, *ip;
	struct entry e;
	bool v4;

	host_copy(host, name);
	ip = ip_parse(name, &addr, &v4) ? &addr : NULL;
	if (always_exempt(name, ip))
		return true;
	for (const char *p = no_proxy ? no_proxy : ""; *p;) {
		size_t len = strcspn(p, separators);

		if (len && !entry_parse(p, len, &e) && entry_match(&e, name, ip, port))
			return true;
		p += len;
		p += strspn(p, separators);
	}
	return false;
}

int no_proxy_check(const char *no_proxy, struct pcg_error *err)
{
	struct entry e;
	int number = 0;

	for (const char *p = no_proxy ? no_proxy : ""; *p;) {
		size_t len = strcspn(p, separators);
		const char *wrong = NULL;

		if (len) {
			number++;
			wrong = entry_parse(p, len, &e);
		}
		if (wrong)
			return pcg_fail(err, PCG_CLASS_PERMANENT, allowed,
					"entry %d of the no-proxy list, \"%.*s\": %s", number,
					(int)(len > 80 ? 80 : len), p, wrong);
		p += len;
		p += strspn(p, separators);
	}
	return 0;
}
