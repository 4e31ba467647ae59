/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/url.h"

#include "core/secret.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool url_host_is_ip(const char *host)
{
	struct in6_addr a;

	return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

static char *url_part(CURLU *u, CURLUPart part, unsigned flags)
{
	char *value = NULL, *copy = NULL;

	if (!curl_url_get(u, part, &value, flags)) {
		copy = strdup(value);
		secret_wipe(value, strlen(value));
		curl_free(value);
	}
	return copy;
}

static void host_normal(char *host)
{
	size_t n = strlen(host);
	char *zone;

	if (n > 1 && host[0] == '[' && host[n - 1] == ']') {
		memmove(host, host + 1, n - 2);
		host[n - 2] = '\0';
		zone = strchr(host, '%');
		if (zone)
			*zone = '\0';
	}
	n = strlen(host);
	if (n > 1 && host[n - 1] == '.')
		host[n - 1] = '\0';
	for (char *p = host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
}

static int url_fill(CURLU *u, const char *what, struct url *out, struct pcg_error *err)
{
	char *scheme = url_part(u, CURLUPART_SCHEME, 0);
	char *port = url_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	long number = port ? strtol(port, NULL, 10) : 0;
	int r = 0;

	out->host = url_part(u, CURLUPART_HOST, 0);
	if (!scheme || (strcmp(scheme, "http") && strcmp(scheme, "https"))) {
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "begin it with http:// or https://",
			     "%s has the scheme \"%s\"", what, scheme ? scheme : "");
	} else if (!out->host || !out->host[0]) {
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "write it as https://HOST[:PORT]/PATH",
			     "%s names no host", what);
	} else if (number < 1 || number > 65535) {
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "a port is a number from 1 to 65535",
			     "%s has a wrong port", what);
	} else {
		host_normal(out->host);
		out->https = !strcmp(scheme, "https");
		out->port = (uint16_t)number;
		out->user = url_part(u, CURLUPART_USER, CURLU_URLDECODE);
		out->password = url_part(u, CURLUPART_PASSWORD, CURLU_URLDECODE);
		out->path = url_part(u, CURLUPART_PATH, 0);
		out->query = url_part(u, CURLUPART_QUERY, 0);
	}
	free(scheme);
	free(port);
	return r;
}

int url_parse(const char *text, const char *what, struct url *out, struct pcg_error *err)
{
	CURLU *u;
	CURLUcode code;
	int r;

	memset(out, 0, sizeof(*out));
	if (!text || !text[0])
		return pcg_fail(err, PCG_CLASS_PERMANENT, "write it as https://HOST[:PORT]/PATH",
				"%s is empty", what);
	if (!strstr(text, "://"))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "begin it with http:// or https://",
				"%s has no scheme", what);
	u = curl_url();
	if (!u)
		abort();
	code = curl_url_set(u, CURLUPART_URL, text, 0);
	if (code)
		r = pcg_fail(err, PCG_CLASS_PERMANENT,
			     "write it as https://HOST[:PORT]/PATH, with reserved characters percent-encoded",
			     "%s cannot be read: %s", what, curl_url_strerror(code));
	else
		r = url_fill(u, what, out, err);
	curl_url_cleanup(u);
	if (r)
		url_free(out);
	return r;
}

void url_free(struct url *u)
{
	if (u->password)
		secret_wipe(u->password, strlen(u->password));
	free(u->host);
	free(u->user);
	free(u->password);
	free(u->path);
	free(u->query);
	memset(u, 0, sizeof(*u));
}

char *url_show(const struct url *u, char *out, size_t size)
{
	snprintf(out, size, strchr(u->host, ':') ? "%s://[%s]:%u%s" : "%s://%s:%u%s",
		 u->https ? "https" : "http", u->host, u->port, u->path ? u->path : "/");
	return out;
}

char *url_display(const char *text, char *out, size_t size)
{
	struct pcg_error err;
	struct url u;

	if (url_parse(text, "URL", &u, &err)) {
		snprintf(out, size, "(unreadable URL)");
		return out;
	}
	url_show(&u, out, size);
	url_free(&u);
	return out;
}
